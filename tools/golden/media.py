# SPDX-License-Identifier: MIT
"""What Pillow makes of pictures: writes tests/data/media/ (pictures where missing, and the expected results).

`python -m golden.media` in tools/. Hashes are the first 16 digits of SHA-256 over RGB bytes or little-endian floats.
- decode.txt: FILE WIDTH HEIGHT HASH, or FILE refused, for exif_transpose and convert("RGB"); `damaged` behind it where
  Pillow shows a picture whose data are broken, which libvlm gives to those only who ask for it; CIELAB is left out;
- truncated.txt: FILE and the lengths FIRST-LAST of beginnings of the file that Pillow shows;
- resize.txt: KIND WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT FILTER HASH, of the pictures that `source` draws;
- torchvision.txt: the same of torchvision's resize of a uint8 tensor (AVX2 or AVX-512 kernels; filters 0 to 3);
- crop.txt: KIND WIDTH HEIGHT X Y NEW_WIDTH NEW_HEIGHT HASH;
- floats.txt: RESCALE_FACTOR MEAN*3 STD*3 HASH, `-` where the step is off, of the 3 x 256 floats that bytes become.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional
from transformers.image_transforms import normalize, rescale

from . import media_formats
from .pictures import scene

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "media"
NOISE, CONTRAST, RAMP = range(3)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def read(data: bytes) -> Image.Image:
    """As transformers' load_image."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


# ---- pictures ----


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def xmp(value: int) -> str:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="{value}"/></x:xmpmeta>'


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpegs(picture: Image.Image):
    def save(mode="RGB", **options) -> bytes:
        out = io.BytesIO()
        picture.convert(mode).save(out, "JPEG", **{"quality": 70, **options})
        return out.getvalue()

    yield "baseline-420.jpg", save(subsampling=2)
    yield "baseline-422.jpg", save(subsampling=1)
    yield "baseline-444.jpg", save(subsampling=0, quality=95)
    yield "rgb.jpg", save(keep_rgb=True)
    yield "grey.jpg", save("L")
    yield "progressive.jpg", save(progressive=True)
    yield "restarts.jpg", save(restart_marker_blocks=2)
    yield "xmp.jpg", save(xmp=xmp(8).encode())
    yield "exif-over-xmp.jpg", save(xmp=xmp(8).encode(), exif=orientation(3))
    for value in range(1, 10):
        yield f"orientation-{value}.jpg", save(exif=orientation(value))
    cmyk = save("CMYK", progressive=True)
    yield "cmyk.jpg", save("CMYK")
    at = cmyk.index(b"Adobe") + 11
    yield "ycck.jpg", cmyk[:at] + b"\x02" + cmyk[at + 1 :]


def pngs(picture: Image.Image):
    def save(mode="RGB", **options) -> bytes:
        out = io.BytesIO()
        picture.convert(mode).save(out, "PNG", **options)
        return out.getvalue()

    def text(key: str, value: str, compressed: bool = False) -> PngInfo:
        info = PngInfo()
        if key.startswith("XML"):
            info.add_itxt(key, value, zip=compressed)
        else:
            info.add_text(key, value, zip=compressed)
        return info

    blob = orientation(5).tobytes()
    raw = f"\nexif\n{len(blob):8}\n{blob.hex()}\n"
    plain = save()
    yield "rgba.png", save("RGBA", exif=orientation(7))
    yield "xmp.png", save(pnginfo=text("XML:com.adobe.xmp", xmp(6)))
    yield "xmp-compressed.png", save(pnginfo=text("XML:com.adobe.xmp", xmp(3), compressed=True))
    yield "raw-profile.png", save(pnginfo=text("Raw profile type exif", raw, compressed=True))
    yield "late-exif.png", plain[:-12] + chunk(b"eXIf", orientation(8).tobytes()[6:]) + plain[-12:]
    yield "one-bit.png", save("1")
    short = picture.quantize(16)
    short.putpalette(short.getpalette()[: 3 * 11])
    out = io.BytesIO()
    short.save(out, "PNG", bits=4)
    yield "short-palette.png", out.getvalue()
    out = io.BytesIO()
    ramp = np.arange(29 * 23, dtype=np.uint16).reshape(23, 29)
    Image.fromarray(ramp).save(out, "PNG")
    yield "grey-16.png", out.getvalue()


def webps(picture: Image.Image):
    def save(mode="RGB", **options) -> bytes:
        out = io.BytesIO()
        picture.convert(mode).save(out, "WEBP", **options)
        return out.getvalue()

    turned = picture.rotate(90, expand=True)
    alpha = picture.convert("RGBA")
    alpha.putalpha(picture.convert("L"))
    yield "lossy.webp", save(quality=60)
    yield "lossless.webp", save(lossless=True)
    yield "orientation-6.webp", save(quality=60, exif=orientation(6))
    yield "xmp.webp", save(quality=60, xmp=xmp(4).encode())
    for name, options in (("alpha.webp", {"quality": 60}), ("alpha-lossless.webp", {"lossless": True})):
        out = io.BytesIO()
        alpha.save(out, "WEBP", **options)
        yield name, out.getvalue()
    out = io.BytesIO()
    alpha.save(out, "WEBP", save_all=True, append_images=[turned.resize(alpha.size).convert("RGBA")], quality=50)
    yield "animated.webp", out.getvalue()


def broken():
    """Files that no reader should show, and one that says it is larger than it is."""
    magic = b"\x89PNG\r\n\x1a\n"
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    yield "huge.png", magic + huge + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    yield "text.txt", b"not a picture\n"
    yield "only-magic.png", magic
    yield "only-magic.jpg", b"\xff\xd8\xff"
    yield "only-magic.webp", b"RIFF\x04\0\0\0WEBP"


def write_pictures() -> None:
    picture = scene(45, 37, 11, noise=10)
    groups = [(".", group) for group in (jpegs(picture), pngs(picture), webps(picture), broken())]
    for folder, group in groups + list(media_formats.groups()):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
        for name, data in group:
            if not (FOLDER / folder / name).exists():
                (FOLDER / folder / name).write_bytes(data)


# ---- expectations ----


DAMAGED = {"pngsuite/xcsn0g01.png"}
REFUSED = {"tiff/cielab.tif"}
PICTURES = ("*", "pngsuite/*.png", "gif/*", "bmp/*", "tiff/*", "avif/*", "photos/*.*")


def write_decoded() -> None:
    lines = []
    for path in sorted(path for pattern in PICTURES for path in FOLDER.glob(pattern)):
        if not path.is_file() or path.suffix == ".md" or path.name in {f"{n}.txt" for n in ("decode", "truncated", "resize", "torchvision", "crop", "floats", "corpus")}:
            continue
        name = path.relative_to(FOLDER).as_posix()
        try:
            assert name not in REFUSED, "needs a colour management"
            picture = read(path.read_bytes())
            mark = " damaged" if name in DAMAGED else ""
            lines.append(f"{name} {picture.width} {picture.height} {digest(picture.tobytes())}{mark}")
        except Exception:  # Pillow's plugins raise anything
            lines.append(f"{name} refused")
    (FOLDER / "decode.txt").write_text("\n".join(lines) + "\n")


def shown_lengths(data: bytes) -> str:
    ranges: list[list[int]] = []
    for length in range(len(data) + 1):
        try:
            read(data[:length])
        except Exception:
            continue
        if ranges and ranges[-1][1] == length - 1:
            ranges[-1][1] = length
        else:
            ranges.append([length, length])
    return " ".join(f"{first}-{last}" for first, last in ranges)


TRUNCATED = """orientation-6.jpg grey.jpg progressive.jpg restarts.jpg cmyk.jpg late-exif.png raw-profile.png short-palette.png
pngsuite/basi2c08.png pngsuite/basn3p02.png lossy.webp alpha.webp animated.webp gif/interlaced.gif gif/extensions.gif
gif/animated.gif bmp/8-bits.bmp bmp/565.bmp bmp/rle4.bmp bmp/rle8.bmp bmp/no-offset.bmp tiff/strips.tif tiff/tiles.tif
tiff/lzw-palette.tif avif/420.avif""".split()


def write_truncated() -> None:
    lines = [f"{name} {shown_lengths((FOLDER / name).read_bytes())}" for name in TRUNCATED]
    (FOLDER / "truncated.txt").write_text("\n".join(lines) + "\n")


def source(kind: int, width: int, height: int) -> Image.Image:
    """The same bytes as tests/test_media_resize.c draws: from SplitMix64's finaliser of the byte's index."""
    index = np.arange(width * height * 3, dtype=np.uint64)
    if kind == RAMP:
        data = (index // np.uint64(3) * np.uint64(7) + index % np.uint64(3) * np.uint64(85)) & np.uint64(255)
    else:
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        data = (z ^ (z >> np.uint64(31))) >> np.uint64(56)
        if kind == CONTRAST:
            data = (data >> np.uint64(7)) * np.uint64(255)
    return Image.fromarray(data.astype(np.uint8).reshape(height, width, 3))


SIZES = [
    ((1, 1), (1, 1)), ((1, 1), (17, 9)), ((17, 9), (1, 1)), ((2, 3), (3, 2)), ((1, 20000), (1, 9)), ((1, 20000), (30, 20)),
    ((20000, 1), (9, 1)), ((20000, 1), (64, 64)), ((64, 64), (64, 64)), ((64, 48), (63, 47)), ((64, 48), (65, 49)),
    ((64, 48), (64, 31)), ((64, 48), (31, 48)), ((33, 100), (44, 7)), ((100, 33), (7, 44)), ((97, 89), (31, 30)),
    ((40, 90), (38, 86)), ((40, 90), (38, 85)), ((90, 40), (384, 384)), ((13, 11), (200, 3)), ((301, 203), (128, 87)),
    ((640, 480), (97, 73)), ((5, 700), (5, 699)), ((3, 3), (1000, 1)), ((151, 200), (512, 364)), ((400, 7), (3, 512)),
]  # fmt: skip
CROPS = [((20, 10), (0, 0), (20, 10)), ((20, 10), (3, 4), (5, 6)), ((20, 10), (-4, -3), (30, 20)), ((20, 10), (18, 8), (9, 9)),
         ((20, 10), (50, 0), (4, 4)), ((20, 10), (-2147483648, 2147483647), (3, 3))]  # fmt: skip


INTERPOLATION = [InterpolationMode.NEAREST_EXACT, InterpolationMode.LANCZOS, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]


def by_torchvision(picture: Image.Image, size: tuple[int, int], filter: int) -> bytes:
    """As transformers' TorchvisionBackend.resize; the layout of the tensor makes no difference to the bytes."""
    results = []
    for layout in (torch.Tensor.contiguous, lambda tensor: tensor):  # planes, interleaved
        tensor = layout(functional.pil_to_tensor(picture))
        try:
            resized = functional.resize(tensor, [size[1], size[0]], interpolation=INTERPOLATION[filter], antialias=True)
            results.append(resized.permute(1, 2, 0).contiguous().numpy().tobytes())
        except RuntimeError as error:  # torch 2.15, interleaved pixels to 1 x 1
            assert "INTERNAL ASSERT" in str(error), error
    assert results and results.count(results[0]) == len(results), (picture.size, size, filter)
    return results[0]


def write_resized() -> None:
    assert torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # elsewhere bilinear is not done on bytes
    lines, torchvision = [], []
    for number, ((width, height), new) in enumerate(SIZES):
        kind = number % 3
        picture = source(kind, width, height)
        for filter in range(6):
            hash = digest(picture.resize(new, filter).tobytes())
            lines.append(f"{kind} {width} {height} {new[0]} {new[1]} {filter} {hash}")
            if filter < len(INTERPOLATION):
                hash = digest(by_torchvision(picture, new, filter))
                torchvision.append(f"{kind} {width} {height} {new[0]} {new[1]} {filter} {hash}")
    (FOLDER / "resize.txt").write_text("\n".join(lines) + "\n")
    (FOLDER / "torchvision.txt").write_text("\n".join(torchvision) + "\n")
    lines = []
    for (width, height), (x, y), (new_width, new_height) in CROPS:
        far = abs(x) > 10**6
        box = (x, y, x + new_width, y + new_height)
        crop = Image.new("RGB", (new_width, new_height)) if far else source(NOISE, width, height).crop(box)
        lines.append(f"{NOISE} {width} {height} {x} {y} {new_width} {new_height} {digest(crop.tobytes())}")
    (FOLDER / "crop.txt").write_text("\n".join(lines) + "\n")


NORMALIZATIONS = [
    (1 / 255, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    (0.00392156862745098, [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
    (1 / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    (1 / 127.5, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    (1 / 255, None, None),
    (None, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    (None, None, None),
]


def write_floats() -> None:
    lines = []
    for factor, mean, std in NORMALIZATIONS:
        image = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
        if factor is not None:
            image = rescale(image, factor, input_data_format="channels_first")
        if mean is not None:
            image = normalize(image, mean, std, input_data_format="channels_first")
        numbers = [repr(factor)] + [repr(v) for v in (mean or [None] * 3) + (std or [None] * 3)]
        hash = digest(np.ascontiguousarray(image, dtype="<f4").tobytes())
        lines.append(" ".join(numbers + [hash]).replace("None", "-"))
    (FOLDER / "floats.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = 178956970 // 2
    write_pictures()
    write_decoded()
    write_truncated()
    write_resized()
    write_floats()


if __name__ == "__main__":
    main()
