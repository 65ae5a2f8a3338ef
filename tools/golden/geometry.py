# SPDX-License-Identifier: MIT
"""Which picture sizes the reference takes, and how many tokens each becomes: `python -m golden.geometry` writes tests/golden/geometry.json;
with names of variants or families, their rows alone are made anew."""

from __future__ import annotations

import json
import sys

import torch
from PIL import Image
from transformers.utils import logging

from . import common
from .common import ROOT
from .make import variants

# Twenty odd sides, every pair of them, and the extremes.
SIDES = [1, 2, 3, 5, 13, 14, 15, 27, 28, 29, 31, 33, 55, 57, 63, 65, 127, 223, 225, 389]
EXTREMES = [(1, 1), (1, 20000), (20000, 1), (3, 700), (700, 3), (1, 200), (1, 201), (201, 1)]


def tokens_of(processor, family: str, width: int, height: int) -> int | None:
    """Media tokens of a picture of that size; None where the reference refuses it."""
    picture = Image.new("RGB", (width, height), (120, 80, 200))
    text = {"qwen2_5_vl": "<|image_pad|>", "gemma3": "<start_of_image>", "pixtral": "[IMG]", "mistral3": "[IMG]"}.get(family, "<image>")
    if family.startswith("llava"):
        text = processor.image_token
    try:
        ids = processor(text=text, images=[picture])["input_ids"]
    except Exception:
        return None
    ids = ids.tolist() if isinstance(ids, torch.Tensor) else ids  # Pixtral's processor returns tensors unasked
    ids = ids[0] if isinstance(ids[0], list) else ids
    token = "<image_soft_token>" if family == "gemma3" else text
    return list(ids).count(processor.tokenizer.convert_tokens_to_ids(token))


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    sizes = [(w, h) for w in SIDES for h in SIDES] + EXTREMES
    path = ROOT / "tests" / "golden" / "geometry.json"
    found = json.loads(path.read_text()) if wanted else {}
    for variant in variants(wanted):
        processor = common.load_processor(variant)
        found[variant.name] = [[w, h, tokens_of(processor, variant.family, w, h)] for w, h in sizes]
        refused = sum(entry[2] is None for entry in found[variant.name])
        print(f"{variant.name}: {len(sizes)} sizes, {refused} refused")
    rows = ",\n".join(f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}" for name, row in found.items())
    path.write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
