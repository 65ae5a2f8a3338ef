# SPDX-License-Identifier: MIT
"""Draws the pictures under tests/data/pictures: small, deterministic, one of each kind that the processors meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def scene(width: int, height: int, seed: int, noise: float = 0.0) -> Image.Image:
    """Colour gradients, waves, a few shapes, and noise if asked for."""
    rng = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:height, 0:width]
    x, y = x / max(width - 1, 1), y / max(height - 1, 1)
    channels = []
    for _ in range(3):
        a, b, fx, fy, phase = rng.uniform(-1, 1, 2).tolist() + rng.uniform(1, 4, 2).tolist() + [rng.uniform(0, 6)]
        channels.append(128 + 55 * (a * x + b * y) + 50 * np.sin(fx * 6 * x + fy * 5 * y + phase))
    array = np.stack(channels, -1) + noise * rng.standard_normal((height, width, 3))
    picture = Image.fromarray(array.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        r = rng.uniform(0.08, 0.25) * min(width, height)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape([cx - r, cy - r, cx + r, cy + r], fill=colour)
    return picture


def with_alpha(picture: Image.Image) -> Image.Image:
    """RGBA whose alpha falls from left to right: dropped, not blended, by the reference."""
    ramp = np.linspace(255, 0, picture.width).astype(np.uint8)
    picture = picture.convert("RGBA")
    picture.putalpha(Image.fromarray(np.broadcast_to(ramp, (picture.height, picture.width)).copy()))
    return picture


def make(folder: Path) -> None:
    """Writes every picture that is not there yet (encoders differ between machines; the committed bytes count)."""

    def save(name: str, picture: Image.Image, **options) -> None:
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, **options)

    save("square.png", scene(72, 72, 1))
    save("landscape.jpg", scene(1500, 1000, 2), quality=70)
    save("portrait.png", with_alpha(scene(90, 160, 3)))
    save("tiny.png", scene(7, 5, 4, noise=20).convert("L"))
    save("palette.png", scene(60, 41, 5).quantize(32))
    save("wide.jpg", scene(321, 48, 6, noise=8), quality=90, subsampling=0)
    save("photo.jpg", scene(200, 151, 7, noise=12), quality=85)
    save("tall.jpg", scene(37, 211, 9, noise=8), quality=85)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate a quarter turn to the right
    save("turned.jpg", scene(120, 80, 8), quality=90, exif=exif)
    for name, frames, width, height in (("frames-five", 5, 64, 48), ("frames-four", 4, 50, 70)):
        for index in range(frames):
            frame = scene(width, height, 20 + len(name))
            ImageDraw.Draw(frame).ellipse([6 + 9 * index, 12, 22 + 9 * index, 28], fill=(250, 240 - 40 * index, 20))
            save(f"{name}/frame-{index:03d}.png", frame)
