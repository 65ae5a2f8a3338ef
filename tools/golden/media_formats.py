# SPDX-License-Identifier: MIT
"""Small GIF, BMP, TIFF and AVIF files for media.py: what Pillow writes, and what it only reads, put together by hand."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from .pictures import scene, with_alpha


def saved(picture: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


# ---- GIF ----


def lzw(indices: bytes, bits: int, clear_every: int = 10**9, end: bool = True) -> bytes:
    """LZW with a table that is used, cleared now and then; in sub-blocks."""
    clear, stop = 1 << bits, (1 << bits) + 1
    out, have, width = 0, 0, bits + 1
    stream = bytearray()

    def emit(code: int) -> None:
        nonlocal out, have
        out |= code << have
        have += width
        while have >= 8:
            stream.append(out & 255)
            out >>= 8
            have -= 8

    emit(clear)
    literals = {bytes([i]): i for i in range(min(clear, 256))}
    table, free, prefix, written = dict(literals), clear + 2, b"", 0
    for value in indices:
        word = prefix + bytes([value])
        if word in table:
            prefix = word
            continue
        emit(table[prefix])
        written += 1
        if free < 4096:
            table[word] = free
            if free == 1 << width and width < 12:
                width += 1
            free += 1
        prefix = bytes([value])
        if written % clear_every == 0:
            emit(table[prefix])
            emit(clear)
            table, free, prefix, width = dict(literals), clear + 2, b"", bits + 1
    if prefix:
        emit(table[prefix])
    if end:
        emit(stop)
    if have:
        stream.append(out & 255)
    blocks = b"".join(bytes([len(stream[i : i + 255])]) + stream[i : i + 255] for i in range(0, len(stream), 255))
    return bytes([bits]) + blocks + b"\0"


def gif(size, box, palette=b"", local=b"", transparent=None, interlace=False, between=b"", data=b"", flags=None) -> bytes:
    def table(entries: bytes) -> int:
        return 0x80 | (max(len(entries) // 3, 2) - 1).bit_length() - 1 if entries else 0

    out = b"GIF89a" + struct.pack("<HHBBB", *size, table(palette), 1, 0) + palette + between
    if transparent is not None:
        out += b"!\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
    out += b"," + struct.pack("<HHHHB", *box, table(local) | (0x40 if interlace else 0)) + local
    return out + data + b";"


def gifs():
    picture = scene(23, 17, 31, noise=20)
    colours = picture.quantize(64)
    indices, palette = np.asarray(colours), bytes(colours.getpalette()[: 64 * 3])
    ramp = bytes(v for i in range(256) for v in (i, i, i))
    grey = np.asarray(picture.convert("L"))
    passes = [y for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(first, 17, step)]
    whole = (0, 0, 23, 17)
    plain = lzw(indices.tobytes(), 6)
    yield "plain.gif", gif((23, 17), whole, palette, data=plain)
    yield "interlaced.gif", gif((23, 17), whole, palette, interlace=True, data=lzw(indices[passes].tobytes(), 6))
    yield "interlaced-low.gif", gif((5, 2), (0, 0, 5, 2), palette, interlace=True, data=lzw(bytes(range(10)), 6))
    yield "local-palette.gif", gif((23, 17), whole, ramp[:12], palette, data=plain)
    yield "no-palette.gif", gif((23, 17), whole, data=lzw(grey.tobytes(), 8, clear_every=50))
    yield "grey-ramp.gif", gif((23, 17), whole, palette, ramp, data=lzw(grey.tobytes(), 8))
    yield "short-palette.gif", gif((23, 17), whole, palette[:24], data=plain)
    yield "partial.gif", gif((40, 30), (9, 5, 23, 17), palette, data=plain)
    yield "partial-transparent.gif", gif((40, 30), (9, 5, 23, 17), palette, transparent=11, data=plain)
    yield "transparent.gif", gif((23, 17), whole, palette, transparent=int(indices[3, 3]), data=plain)
    yield "grows.gif", gif((10, 4), (9, 5, 23, 17), palette, transparent=3, data=plain)
    yield "extensions.gif", gif(
        (23, 17), whole, palette, between=b"!\xfe\x03abc\x02de\0!\xff\x0bNETSCAPE2.0\x03\1\0\0\0?!\x01\x02xy\0", data=plain
    )
    yield "clear-codes.gif", gif((23, 17), whole, palette, data=lzw(indices.tobytes(), 6, clear_every=7))
    yield "wide-codes.gif", gif((23, 17), whole, palette, data=lzw(indices.tobytes(), 9))
    yield "twelve-bit-codes.gif", gif((23, 17), whole, palette, data=lzw(indices.tobytes(), 12))
    yield "one-bit.gif", gif((23, 17), whole, b"\x10\x20\x30\xa0\xb0\xc0", data=lzw((indices & 1).tobytes(), 2))
    many = np.arange(150 * 100, dtype=np.uint32)
    noise = (many * np.uint32(2654435761) >> 24 & 3).astype(np.uint8)
    yield "full-table.gif", gif((150, 100), (0, 0, 150, 100), palette, data=lzw(noise.tobytes(), 2))
    frames = [scene(16, 12, seed).quantize(16) for seed in (1, 2, 3)]
    yield "animated.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50, disposal=2)
    yield "ends-early.gif", gif((23, 17), whole, palette, data=lzw(indices.tobytes()[:200], 6))
    yield "no-frame.gif", b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0, 0, 0) + b";"
    yield "bad-code.gif", gif((23, 17), whole, palette, data=b"\x06\x04\x40\xff\xff\xff\0")


# ---- BMP ----


def bmp(width, height, bits, pixels: bytes, header=40, compression=0, palette=b"", colours=0, offset=None, masks=()) -> bytes:
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 0, 0, colours, 0)
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info[: max(header, 40 + 4 * len(masks) if header == 40 else header)].ljust(header, b"\0")
    at = 14 + len(info) + len(palette) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + info + palette + pixels


def rows(array: np.ndarray, bits: int) -> bytes:
    """Rows of integers packed to `bits` each, padded to 32 bits, the last row first."""
    out = b""
    for row in array[::-1]:
        if bits <= 8:
            line = np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :].reshape(-1)).tobytes()
        else:
            line = b"".join(int(v).to_bytes(bits // 8, "little") for v in row)
        out += line + b"\0" * (-len(line) % 4)
    return out


def rle(array: np.ndarray, nibbles: bool) -> bytes:
    """Runs, literal pixels, steps and ends of rows, all in turn."""
    out = b""
    for number, row in enumerate(array[::-1]):
        x = 0
        while x < len(row):
            n = 1
            while x + n < len(row) and row[x + n] == row[x]:
                n += 1
            if n > 1 or len(row) - x < 4:
                value = int(row[x])
                out += bytes([n, value << 4 | value if nibbles else value])
                x += n
                continue
            n = min(len(row) - x, 3 + number % 5)
            values = [int(v) for v in row[x : x + n]]
            if nibbles:
                data = bytes(a << 4 | b for a, b in zip(values[::2], values[1::2] + [0]))
            else:
                data = bytes(values)
            out += bytes([0, n]) + data + b"\0" * (len(data) % 2)
            x += n
        out += b"\0\0"
    return out + b"\0\1"


def bmps():
    picture = scene(23, 17, 41, noise=8)
    rgb = np.asarray(picture).astype(np.uint32)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    many, few, two = picture.quantize(200), picture.quantize(14), picture.quantize(2)

    def table(image: Image.Image, entry: int) -> bytes:
        colours = np.array(image.getpalette()).reshape(-1, 3)[:, ::-1]
        return b"".join(bytes(c.tolist()) + b"\0" * (entry - 3) for c in colours.astype(np.uint8))

    ramp = b"".join(bytes([i, i, i, 0]) for i in range(256))
    flat = np.asarray(many) // 40 * 40
    for name, image, bits in (("8", many, 8), ("4", few, 4), ("1", two, 1)):
        data, palette = rows(np.asarray(image), bits), table(image, 4)
        yield f"{name}-bits.bmp", bmp(23, 17, bits, data, palette=palette, colours=len(palette) // 4)
        if len(image.getpalette()) // 3 == 1 << bits or bits == 1:
            yield f"{name}-bits-os2.bmp", bmp(23, 17, bits, data, header=12, palette=table(image, 3))
    full = table(many, 3).ljust(768, b"\x55")
    yield "8-bits-os2.bmp", bmp(23, 17, 8, rows(np.asarray(many), 8), header=12, palette=full)
    yield "os2-v2.bmp", bmp(23, 17, 8, rows(np.asarray(many), 8), header=64, palette=table(many, 4), colours=200)
    yield "missing-colours.bmp", bmp(23, 17, 8, rows(np.asarray(many), 8), palette=table(many, 4)[:400], colours=100)
    yield "greys.bmp", bmp(23, 17, 8, rows(g, 8), palette=ramp, colours=256)
    yield "black-white.bmp", bmp(23, 17, 1, rows(g >> 7, 1), palette=b"\0\0\0\0\xff\xff\xff\0", colours=2)
    yield "black-white-8.bmp", bmp(23, 17, 8, rows(g, 8), palette=b"\0\0\0\0\xff\xff\xff\0", colours=2)
    yield "white-black.bmp", bmp(23, 17, 1, rows(g >> 7, 1), palette=b"\xff\xff\xff\0\0\0\0\0", colours=2)
    yield "24-bits.bmp", bmp(23, 17, 24, rows(r << 16 | g << 8 | b, 24))
    yield "24-bits-os2.bmp", bmp(23, 17, 24, rows(r << 16 | g << 8 | b, 24), header=12)
    yield "32-bits.bmp", bmp(23, 17, 32, rows(r << 16 | g << 8 | b | 7 << 24, 32))
    yield "top-down.bmp", bmp(23, -17, 24, rows((r << 16 | g << 8 | b)[::-1], 24))
    yield "555.bmp", bmp(23, 17, 16, rows(r >> 3 << 10 | g >> 3 << 5 | b >> 3, 16))
    five = rows(r >> 3 << 11 | g >> 2 << 5 | b >> 3, 16)
    yield "565.bmp", bmp(23, 17, 16, five, compression=3, masks=(0xF800, 0x7E0, 0x1F))
    yield "565-v4.bmp", bmp(23, 17, 16, five, header=108, compression=3, masks=(0xF800, 0x7E0, 0x1F, 0))
    layouts = [
        (0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0), (0xFF000000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000, 0xFF000000), (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0xFF000000, 0xFF00, 0xFF, 0xFF0000), (0, 0, 0, 0), (0xFF, 0xFF00, 0xFF0000, 0),
    ]  # fmt: skip
    for number, masks in enumerate(layouts):
        places = [m.bit_length() - 8 if m else d for m, d in zip(masks, (16, 8, 0))]
        data = rows(r << places[0] | g << places[1] | b << places[2] | 0, 32)
        yield f"masks-{number}.bmp", bmp(23, 17, 32, data, header=124, compression=3, masks=masks)
    yield "rle8.bmp", bmp(23, 17, 8, rle(flat, False), compression=1, palette=table(many, 4), colours=200)
    yield "rle4.bmp", bmp(23, 17, 4, rle(np.asarray(few), True), compression=2, palette=table(few, 4), colours=14)
    steps = b"\5\3\0\2\4\1\3\7\0\0" + b"\x17\6\0\0" * 15 + b"\x30\2\0\1"
    yield "rle8-steps.bmp", bmp(23, 17, 8, steps, compression=1, palette=table(many, 4), colours=200)
    yield "rle8-greys.bmp", bmp(23, 17, 8, rle(flat, False), compression=1, palette=ramp, colours=256)
    yield "rle8-early.bmp", bmp(23, 17, 8, rle(flat[:9], False), compression=1, palette=table(many, 4), colours=200)
    yield "gap.bmp", bmp(23, 17, 24, b"xy" * 9 + rows(r << 16 | g << 8 | b, 24), offset=14 + 40 + 18)
    yield "no-offset.bmp", bmp(23, 17, 24, rows(r << 16 | g << 8 | b, 24), offset=0)
    yield "no-last-padding.bmp", bmp(23, 17, 24, rows(r << 16 | g << 8 | b, 24)[:-3])
    yield "cut.bmp", bmp(23, 17, 24, rows(r << 16 | g << 8 | b, 24)[:-4])
    yield "odd-masks.bmp", bmp(23, 17, 16, five, compression=3, masks=(0xF000, 0xF00, 0xF0))
    yield "jpeg-inside.bmp", bmp(23, 17, 24, b"xxxx", compression=4)


# ---- TIFF ----

TYPES = {"B": 1, "s": 2, "H": 3, "I": 4, "Q": 16}


def tiff(tags: dict, chunks: list[bytes], order="<", tiled=False, big=False) -> bytes:
    """One directory behind its strips or tiles. A value is a number, a list, or (type, list)."""
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0))))
    places = []
    for chunk in chunks:
        places.append(len(out))
        out += chunk + b"\0" * (len(chunk) % 2)
    tags = {**tags, (324 if tiled else 273): ("I", places), (325 if tiled else 279): ("I", [len(c) for c in chunks])}
    entry, inline, count = ("Q", 8, "Q") if big else ("I", 4, "H")
    fields = b""
    for tag, value in sorted(tags.items()):
        kind, values = value if isinstance(value, tuple) else ("H", value if isinstance(value, list) else [value])
        data = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(data) > inline:
            at = len(out)
            out += data + b"\0" * (len(data) % 2)
            data = struct.pack(order + entry, at)
        fields += struct.pack(f"{order}HH{entry}", tag, TYPES[kind], len(values)) + data.ljust(inline, b"\0")
    struct.pack_into(order + ("Q" if big else "I"), out, 8 if big else 4, len(out))
    return bytes(out + struct.pack(order + count, len(tags)) + fields + struct.pack(order + entry, 0))


def packed(array: np.ndarray, bits: int) -> bytes:
    """Rows of samples below 16 bits, each row to whole bytes, the highest bit first."""
    high = (array.reshape(len(array), -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(high.reshape(len(array), -1).astype(np.uint8), axis=1).tobytes()


def reverse(data: bytes) -> bytes:
    return np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, 8)[:, ::-1]).tobytes()


def raw_tiffs():
    picture = with_alpha(scene(23, 17, 51, noise=8))
    rgba = np.asarray(picture)
    rgb, grey = rgba[..., :3], np.asarray(picture.convert("L"))
    ink, index = np.asarray(picture.convert("RGB").convert("CMYK")), np.asarray(picture.convert("RGB").quantize(200))
    base = {256: 23, 257: 17}

    def kind(photometric: int, bits: int, samples=1, **more) -> dict:
        extra = {int(k[1:]): v for k, v in more.items()}
        return {**base, 258: [bits] * samples, 262: photometric, 277: samples, **extra}

    colours = [v * 257 for v in picture.convert("RGB").quantize(200).getpalette()]
    palettes = {bits: [c for band in range(3) for c in (colours[band::3] + [0] * 256)[: 1 << bits]] for bits in (1, 2, 4, 8)}
    for bits in (1, 2, 4, 8):
        data, shades = packed(index & ((1 << bits) - 1), bits), packed(grey >> (8 - bits), bits)
        yield f"white-{bits}.tif", tiff(kind(0, bits), [shades])
        yield f"black-{bits}.tif", tiff(kind(1, bits), [shades], ">")
        yield f"palette-{bits}.tif", tiff(kind(3, bits, t320=palettes[bits]), [data])
        yield f"reversed-{bits}.tif", tiff(kind(1, bits, t266=2), [reverse(shades)])
    for name, order in (("le", "<"), ("be", ">")):
        wide = (grey.astype(np.uint16) * 2 - 60).astype(order + "u2").tobytes()
        colour = (rgb.astype(np.uint16) * 257 - 100).astype(order + "u2").tobytes()
        yield f"grey-16-{name}.tif", tiff(kind(1, 16), [wide], order)
        yield f"white-16-{name}.tif", tiff(kind(0, 16), [wide], order)
        yield f"signed-16-{name}.tif", tiff(kind(1, 16, t339=2), [wide], order)
        yield f"colour-16-{name}.tif", tiff(kind(2, 16, 3), [colour], order)
        deep = (rgba.astype(np.uint16) * 257 - 100).astype(order + "u2").tobytes()
        for alpha in (0, 1, 2):
            yield f"alpha-{alpha}-16-{name}.tif", tiff(kind(2, 16, 4, t338=alpha), [deep], order)
        yield f"ink-16-{name}.tif", tiff(kind(5, 16, 4), [(ink.astype(np.uint16) * 257).astype(order + "u2").tobytes()], order)
        values = (grey.astype(np.int64) * 2 - 100).astype(order + "i4").tobytes()
        yield f"signed-32-{name}.tif", tiff(kind(1, 32, t339=2), [values], order)
        yield f"unsigned-32-{name}.tif", tiff(kind(1, 32), [values], order)
        reals = (grey.astype(np.float32) * 2.3 - 100.7).astype(order + "f4")
        reals[0, :3] = [np.nan, np.inf, -np.inf]
        yield f"real-{name}.tif", tiff(kind(1, 32, t339=3), [reals.tobytes()], order)
    yield "grey-12.tif", tiff({**kind(1, 12), 256: 22}, [packed(grey[:, :22].astype(np.uint16) * 2 - 60, 12)])
    yield "palette-reversed-8.tif", tiff(kind(3, 8, t320=palettes[8], t266=2), [reverse(index.tobytes())], ">")
    yield "signed-8.tif", tiff(kind(1, 8, t339=2), [grey.tobytes()])
    yield "colour.tif", tiff(kind(2, 8, 3), [rgb.tobytes()])
    yield "big.tif", tiff(kind(2, 8, 3), [rgb.tobytes()], big=True)
    yield "no-bits.tif", tiff({**base, 262: 1}, [packed(grey >> 7, 1)])
    for alpha in (None, 0, 1, 2, 999):
        more = {} if alpha is None else {"t338": alpha}
        yield f"alpha-{alpha}.tif", tiff(kind(2, 8, 4, **more), [rgba.tobytes()])
    six = np.concatenate([rgba, grey[..., None], grey[..., None]], -1)
    for first in (0, 1, 2):
        yield f"extra-{first}.tif", tiff(kind(2, 8, 6, t338=[first, 0, 0]), [six.tobytes()])
        pair = np.stack([grey, rgba[..., 3]], -1).tobytes()
        yield f"grey-alpha-{first}.tif", tiff(kind(1, 8, 2, t338=first), [pair])
    for first in (0, 2):
        pair = np.stack([index, rgba[..., 3]], -1).tobytes()
        yield f"palette-alpha-{first}.tif", tiff(kind(3, 8, 2, t338=first, t320=palettes[8]), [pair])
    yield "ink.tif", tiff(kind(5, 8, 4), [ink.tobytes()])
    yield "ink-extra.tif", tiff(kind(5, 8, 5, t338=0), [np.concatenate([ink, grey[..., None]], -1).tobytes()])
    planes = [rgba[..., c].tobytes() for c in range(4)]
    yield "planes.tif", tiff(kind(2, 8, 3, t284=2), planes[:3])
    yield "planes-alpha.tif", tiff(kind(2, 8, 4, t284=2, t338=2), planes)
    yield "planes-ink.tif", tiff(kind(5, 8, 4, t284=2), [ink[..., c].tobytes() for c in range(4)])
    yield "strips.tif", tiff(kind(2, 8, 3, t278=5), [rgb[y : y + 5].tobytes() for y in range(0, 17, 5)])

    def tiles(array: np.ndarray) -> list[bytes]:
        padded = np.zeros((32, 32, *array.shape[2:]), array.dtype)
        padded[:17, :23] = array
        return [padded[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16)]

    tiled = {"t322": 16, "t323": 16}
    yield "tiles.tif", tiff(kind(2, 8, 3, **tiled), tiles(rgb), tiled=True)
    yield "tiles-16.tif", tiff(kind(1, 16, **tiled), tiles(grey.astype("<u2") * 2), tiled=True)
    for turn in range(1, 10):
        yield f"turned-{turn}.tif", tiff(kind(2, 8, 3, t274=turn), [rgb.tobytes()])
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    yield "turned-by-xmp.tif", tiff({**kind(2, 8, 3), 700: ("B", list(xmp))}, [rgb.tobytes()])
    yield "cielab.tif", tiff(kind(8, 8, 3), [rgb.tobytes()])
    yield "five-samples.tif", tiff(kind(2, 8, 5), [six[..., :5].tobytes()])
    yield "half-real.tif", tiff(kind(1, 16, t339=3), [grey.astype("<f2").tobytes()])
    yield "cut.tif", tiff(kind(2, 8, 3, t278=17), [rgb.tobytes()[:-1]])
    yield "no-pixels.tif", tiff(kind(2, 8, 3), [b""])


def saved_tiffs():
    picture = scene(31, 22, 52, noise=8)
    modes = {"rgb": picture, "grey": picture.convert("L"), "palette": picture.quantize(60), "ink": picture.convert("CMYK")}
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "lzma", "zstd"):
        for name, image in modes.items():
            yield f"{compression.removeprefix('tiff_')}-{name}.tif", saved(image, "TIFF", compression=compression)
    predicted = {"compression": "tiff_lzw", "tiffinfo": {317: 2}}
    yield "lzw-predictor.tif", saved(picture, "TIFF", **predicted)
    for compression in ("group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw"):
        yield f"{compression.removeprefix('tiff_')}-bits.tif", saved(picture.convert("1"), "TIFF", compression=compression)
    yield "jpeg-rgb.tif", saved(picture, "TIFF", compression="jpeg", quality=80)
    yield "jpeg-grey.tif", saved(modes["grey"], "TIFF", compression="jpeg", quality=80)
    yield "jpeg-ink.tif", saved(modes["ink"], "TIFF", compression="jpeg", quality=80)
    yield "lzw-ycbcr.tif", saved(picture.convert("YCbCr"), "TIFF", compression="tiff_lzw")
    second = scene(20, 20, 53)
    yield "pages.tif", saved(picture, "TIFF", save_all=True, append_images=[second], compression="tiff_lzw")


def avifs():
    """What Pillow writes; deep-*.avif, premultiplied.avif and ../heic/scene.heic are avifenc's and heif-enc's."""
    picture = scene(45, 37, 61, noise=6)
    exif = Image.Exif()
    yield "420.avif", saved(picture, "AVIF", quality=60)
    yield "444.avif", saved(picture, "AVIF", quality=90, subsampling="4:4:4")
    yield "limited.avif", saved(picture, "AVIF", quality=60, range="limited", subsampling="4:2:2")
    yield "grey.avif", saved(picture.convert("L"), "AVIF", quality=60)
    yield "alpha.avif", saved(with_alpha(picture), "AVIF", quality=60)
    for value in range(2, 9):
        exif[0x0112] = value
        yield f"turned-{value}.avif", saved(picture, "AVIF", quality=50, exif=exif)
    yield "sequence.avif", saved(picture, "AVIF", quality=50, save_all=True, append_images=[scene(45, 37, 62)])


def groups():
    """Folder of tests/data/media, and the files in it."""
    yield "gif", gifs()
    yield "bmp", bmps()
    yield "tiff", raw_tiffs()
    yield "tiff", saved_tiffs()
    yield "avif", avifs()
