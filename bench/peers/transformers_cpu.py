#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""transformers on PyTorch's CPU build, the text part of a checkpoint: one JSON object per setting.

    bench/peers/transformers_cpu.py CHECKPOINT [--threads 2] [--prefill 512] [--decode 16] [--depth 0] [--settings bf16-sdpa,bf16-eager,f32-sdpa]

It knows no 4-bit or 8-bit CPU format of its own, so a bf16 checkpoint is what it gets; float32 is a setting, since bf16 has no instructions on every
machine, and left out where it does not fit in memory. A cache of --depth positions is filled with random keys and values."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--prefill", type=int, default=512)
parser.add_argument("--decode", type=int, default=16)
parser.add_argument("--depth", type=int, default=0)
parser.add_argument("--settings", default="bf16-sdpa,bf16-eager,f32-sdpa")

DTYPES = {"bf16": ("bfloat16", 2), "f32": ("float32", 4)}


def free_bytes() -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def fits(checkpoint: Path, width: int) -> bool:
    """A tenth and a gigabyte stay free; the checkpoint is of two bytes a weight."""
    weights = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    return weights / 2 * width * 1.1 + (1 << 30) < free_bytes()


def filled_cache(torch, config, depth: int, dtype):
    from transformers import DynamicCache

    cache = DynamicCache(config=config)
    if depth:
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        for layer in range(config.num_hidden_layers):
            keys, values = (torch.randn(1, config.num_key_value_heads, depth, width, dtype=dtype) for _ in range(2))
            cache.update(keys, values, layer)
    return cache


def measure(torch, model, args: argparse.Namespace) -> dict:
    config = model.config.get_text_config()
    ids = torch.randint(1000, 40000, (1, args.prefill), generator=torch.Generator().manual_seed(1))

    def run(tokens, cache):
        start = time.perf_counter()
        out = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        out.logits.float().argmax()
        return time.perf_counter() - start

    run(ids[:, :16], filled_cache(torch, config, 0, model.dtype))
    prefill = run(ids, filled_cache(torch, config, 0, model.dtype))
    cache = filled_cache(torch, config, args.depth, model.dtype)
    times = [run(ids[:, :1], cache) for _ in range(args.decode + 1)][1:]
    return {"prefill_tok_s": args.prefill / prefill, "decode_tok_s": 1 / sorted(times)[len(times) // 2]}


def main() -> None:
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    capability = torch.backends.cpu.get_cpu_capability()
    same = {"peer": "transformers", "version": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    same |= {"flags": f"{capability}, oneDNN {torch.backends.mkldnn.is_available()}", "threads": args.threads}
    same |= {"prefill": args.prefill, "decode": args.decode, "depth": args.depth}
    for setting in args.settings.split(","):
        kind, attention = setting.split("-")
        name, width = DTYPES[kind]
        if not fits(args.checkpoint, width):
            print(f"transformers: {setting} left out: its weights do not fit in memory", file=sys.stderr)
            continue
        load = transformers.AutoModelForImageTextToText.from_pretrained
        model = load(args.checkpoint, dtype=getattr(torch, name), attn_implementation=attention).eval()
        with torch.inference_mode():
            print(json.dumps(same | {"setting": setting} | measure(torch, model, args)), flush=True)
        del model


if __name__ == "__main__":
    main()
