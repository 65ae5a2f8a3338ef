#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""transformers on a GPU, a Qwen2.5-VL checkpoint with one picture of 1,008 x 1,008: one JSON object.

    bench/peers/transformers_cuda.py CHECKPOINT [--decode 48] [--attention sdpa]

Pixels are there already, as in `vlm bench`'s rows: vision is the tower alone, first token the whole prompt of 1,296 picture and 62 text tokens."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--decode", type=int, default=48)
parser.add_argument("--attention", default="sdpa")

PATCHES, TEXT = 72, 62


def median_ms(torch, work: Callable, rounds: int) -> float:
    times = []
    for _ in range(rounds + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[2:])


def main() -> None:
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    start = time.perf_counter()
    load = transformers.AutoModelForImageTextToText.from_pretrained
    model = load(args.checkpoint, dtype=torch.bfloat16, attn_implementation=args.attention, device_map="cuda").eval()
    torch.cuda.synchronize()
    result = {"peer": f"transformers {transformers.__version__}, torch {torch.__version__}", "load_s": time.perf_counter() - start}
    config = model.config
    grid = torch.tensor([[1, PATCHES, PATCHES]], device="cuda")
    pixels = torch.randn(PATCHES * PATCHES, 1176, device="cuda", dtype=torch.bfloat16)
    picture = [config.vision_start_token_id] + [config.image_token_id] * (PATCHES * PATCHES // 4) + [config.vision_end_token_id]
    ids = torch.tensor([[*range(1000, 1030), *picture, *range(2000, 2030)]], device="cuda")
    types = (ids == config.image_token_id).int()
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels, "image_grid_thw": grid}
    inputs["mm_token_type_ids"] = types
    with torch.inference_mode():
        result["vision_ms"] = median_ms(torch, lambda: model.model.get_image_features(pixels, grid), 5)

        def generate(n: int) -> None:
            model.generate(**inputs, max_new_tokens=n, min_new_tokens=n, do_sample=False)

        result["first_token_ms"] = median_ms(torch, lambda: generate(1), 5)
        more = median_ms(torch, lambda: generate(1 + args.decode), 1)
        result["decode_tok_s"] = 1e3 * args.decode / (more - result["first_token_ms"])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
