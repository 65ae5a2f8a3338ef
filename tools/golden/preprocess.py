# SPDX-License-Identifier: MIT
"""The generic pipeline and tone curves: `python -m golden.preprocess` in tools/ writes tests/data/media/preprocess.txt, preprocess-torchvision.txt
and tones.txt.

preprocess.txt: PICTURE SETTING LAYOUT RANK SHAPE... HASH, HASH the first 16 digits of SHA-256 over the little-endian floats that the
image processors of the Pillow backend give; the settings are those of tests/test_media_process.c. HWC and BGR are the reference's planes
transposed and turned about. preprocess-torchvision.txt: the same of the torchvision backend. tones.txt: LIGHT SRGB, from the formulas of IEC 61966-2-1 in decimals.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal, getcontext

import numpy as np
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_clip import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip.image_processing_siglip import SiglipImageProcessor

from .common import ROOT

PICTURES = ["landscape.jpg", "palette.png", "photo.jpg", "portrait.png", "square.png", "tiny.png", "turned.jpg", "wide.jpg"]
CLIP, SIGLIP = {"pillow": CLIPImageProcessorPil, "torchvision": CLIPImageProcessor}, {"pillow": SiglipImageProcessorPil, "torchvision": SiglipImageProcessor}
SETTINGS = {
    "clip": (CLIP, dict()),
    "clip-336": (CLIP, dict(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})),
    "clip-padded": (CLIP, dict(size={"shortest_edge": 101}, crop_size={"height": 160, "width": 163})),
    "clip-edges": (CLIP, dict(size={"shortest_edge": 200, "longest_edge": 231}, do_center_crop=False)),
    "clip-crop": (CLIP, dict(do_resize=False, crop_size={"height": 97, "width": 50})),
    "clip-bytes": (CLIP, dict(do_normalize=False, do_rescale=False)),
    "siglip": (SIGLIP, dict()),
    "siglip-384": (SIGLIP, dict(size={"height": 384, "width": 384}, resample=1)),
    "siglip-oblong": (SIGLIP, dict(size={"height": 30, "width": 140}, resample=2, image_std=[0.2, 0.3, 0.4])),
    "siglip-unscaled": (SIGLIP, dict(do_rescale=False, rescale_factor=1.0)),
    "siglip-unnormalised": (SIGLIP, dict(do_normalize=False, rescale_factor=1 / 127.5)),
}


def rows(backend: str):
    for name in PICTURES:
        picture = ImageOps.exif_transpose(Image.open(ROOT / "tests" / "data" / "pictures" / name)).convert("RGB")
        for setting, (family, options) in SETTINGS.items():
            planes = np.asarray(family[backend](**options)(picture, return_tensors="pt")["pixel_values"]).astype(np.float32)
            if setting == "clip":  # one setting in all layouts, which the reference leaves to the caller
                yield name, setting, "HWC", planes[0].transpose(1, 2, 0)
                yield name, setting, "CHW", planes[0]
                yield name, setting, "BGR", planes[:, ::-1]
            yield name, setting, "BCHW", planes


def write(path, backend: str) -> None:
    lines = []
    for name, setting, layout, values in rows(backend):
        data = np.ascontiguousarray(values, "<f4").tobytes()
        lines.append(f"{name} {setting} {layout} {values.ndim} {' '.join(map(str, values.shape))} {hashlib.sha256(data).hexdigest()[:16]}\n")
    path.write_text("".join(lines))


def srgb(light: Decimal) -> Decimal:
    return light * Decimal("12.92") if light <= Decimal("0.0031308") else Decimal("1.055") * light ** (1 / Decimal("2.4")) - Decimal("0.055")


def main() -> None:
    folder = ROOT / "tests" / "data" / "media"
    write(folder / "preprocess.txt", "pillow")
    write(folder / "preprocess-torchvision.txt", "torchvision")
    getcontext().prec = 30
    lights = [Decimal(n) / 64 for n in range(65)] + [Decimal("0.0031308"), Decimal("0.001"), Decimal("0.0032")]
    (folder / "tones.txt").write_text("".join(f"{light:.9f} {srgb(light):.9f}\n" for light in lights))


if __name__ == "__main__":
    main()
