# SPDX-License-Identifier: MIT
"""Resizes of real pictures: writes tests/data/media/corpus.txt for tests/test_media_corpus.c. `python -m golden.media_corpus`.

A line: FILE (under tests/data) and ten hashes, of all twelve sizes one behind the other: Pillow's six filters, then
torchvision's nearest, Lanczos, bilinear and bicubic.
"""

from __future__ import annotations

import hashlib

from PIL import Image

from .media import FOLDER, INTERPOLATION, by_torchvision, read

ROOT = FOLDER.parent
FILES = ["media/photos/*.*", "pictures/p*.*", "pictures/s*.*", "pictures/t*.*", "pictures/w*.*"]


def sizes(width: int, height: int) -> list[tuple[int, int]]:
    """The same twelve as in tests/test_media_corpus.c: four of them depend on the picture."""
    fixed = [(1, 1), (7, 5), (224, 224), (384, 384), (64, 200), (200, 64), (336, 17), (11, 301)]
    return fixed + [(width - 1, height - 1), (width + 1, height + 1), (width // 2, height), (width, height // 3 + 1)]


def hashes(picture: Image.Image) -> list[str]:
    found = []
    for filter in range(6):
        hash = hashlib.sha256()
        for size in sizes(*picture.size):
            hash.update(picture.resize(size, filter).tobytes())
        found.append(hash.hexdigest()[:16])
    for filter in range(len(INTERPOLATION)):
        hash = hashlib.sha256()
        for size in sizes(*picture.size):
            hash.update(by_torchvision(picture, size, filter))
        found.append(hash.hexdigest()[:16])
    return found


def main() -> None:
    lines = []
    for path in sorted(path for pattern in FILES for path in ROOT.glob(pattern)):
        if path.is_file() and path.suffix != ".md":
            picture = read(path.read_bytes())
            lines.append(" ".join([path.relative_to(ROOT).as_posix(), *hashes(picture)]))
    (FOLDER / "corpus.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
