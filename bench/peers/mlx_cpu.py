#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mlx-vlm on MLX's CPU build, the text part of a checkpoint, the same files as libvlm reads: one JSON object.

    bench/peers/mlx_cpu.py CHECKPOINT [--threads 2] [--prefill 64] [--decode 4] [--depth 0]

It is slow, so few tokens are asked for. MLX has no setting for its threads: OpenBLAS's, which its float32 products use, is set; its other kernels run on
the thread of the stream."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--prefill", type=int, default=64)
parser.add_argument("--decode", type=int, default=4)
parser.add_argument("--depth", type=int, default=0)


def main() -> None:
    args = parser.parse_args()
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(args.threads)
    from importlib.metadata import version

    import mlx.core as mx
    from mlx_vlm.models.cache import make_prompt_cache
    from mlx_vlm.utils import load_model

    mx.set_default_device(mx.cpu)
    mx.random.seed(1)
    model = load_model(args.checkpoint).language_model
    text = json.loads((args.checkpoint / "config.json").read_text())
    text = text.get("text_config", text)

    def caches(depth: int) -> list:
        made = make_prompt_cache(model)
        heads = text.get("num_key_value_heads", text["num_attention_heads"])
        width = text.get("head_dim") or (256 if text["model_type"] == "gemma" else text["hidden_size"] // text["num_attention_heads"])
        if depth:
            for cache in made:
                mx.eval(cache.update_and_fetch(*(mx.random.normal((1, heads, depth, width), mx.bfloat16) for _ in range(2))))
        return made

    def run(tokens, cache: list) -> float:
        start = time.perf_counter()
        mx.eval(mx.argmax(model(tokens, cache=cache).logits[:, -1]))
        return time.perf_counter() - start

    ids = mx.random.randint(1000, 40000, (1, args.prefill))
    run(ids[:, :2], caches(0))
    prefill = run(ids, caches(0))
    cache = caches(args.depth)
    if args.depth:
        run(ids[:, :1], cache)
    times = sorted(run(ids[:, :1], cache) for _ in range(args.decode))
    report = {"peer": "mlx-vlm", "version": f"mlx-vlm {version('mlx-vlm')}, mlx {version('mlx')}", "flags": "CPU build of PyPI"}
    report |= {"threads": args.threads, "prefill": args.prefill, "decode": args.decode, "depth": args.depth, "setting": "default"}
    print(json.dumps(report | {"prefill_tok_s": args.prefill / prefill, "decode_tok_s": 1 / times[len(times) // 2]}))


if __name__ == "__main__":
    main()
