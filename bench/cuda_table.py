#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The table of docs/SPEED.md for a GPU, from what tools/cuda.sh measured in one run: `vlm bench --json` of each size and format, bench_cuda, and
transformers beside them.

    bench/cuda_table.py RESULTS

RESULTS holds vlm-SIZE-FORMAT.json, transformers-SIZE.json and bench_cuda.txt; what is missing is left out. Limits are what bench_cuda reached at best in
the same run: bytes read by a product of one row, multiply-adds of a product of many."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

FORMATS = {"bf16": "bfloat16", "8bit": "8 bits", "4bit": "4 bits"}
HEAD = """| | vision | first token | prefill of 1,358 | decode behind 1,400, tokens/s | 32 together | load |
|---|---:|---:|---:|---:|---:|---:|
"""


def last_object(path: Path) -> dict | None:
    """The last line of a file that is a JSON object."""
    for line in reversed(path.read_text().splitlines()) if path.exists() else []:
        if line.startswith("{"):
            return json.loads(line)
    return None


def limits(path: Path) -> tuple[float, float]:
    """Best GB/s of products of one row, best GFLOP/s of products of many."""
    text = path.read_text() if path.exists() else ""
    read = [float(v) for v in re.findall(r"^linear.* n=1 .*?([\d.]+) GB/s", text, re.M)]
    product = [float(v) for v in re.findall(r"^linear.*?([\d.]+) GFLOP/s", text, re.M)]
    return max(read, default=0), max(product, default=0)


def first(rows: list[dict], **wanted: int) -> dict | None:
    return next((r for r in rows if all(r[k] == v for k, v in wanted.items())), None)


def share(value: float, limit: float) -> str:
    return f" ({100 * value / limit:.0f} %)" if limit else ""


def ours(name: str, found: dict, read: float, product: float) -> str:
    step, many = first(found["decode"], kv_tokens=1400, batch=1), first(found["decode"], kv_tokens=1400, batch=32)
    cells = [f"{found['vision'][0]['ms']:.1f} ms", f"{found['first_token'][0]['ms']:.1f} ms"]
    prefill = found["prefill"][0]
    cells.append(f"{prefill['ms']:.1f} ms{share(prefill['gflop_s'], product)}")
    cells.append(f"{step['tokens_s']:.0f}{share(step['gb_s'], read)}" if step else "")
    cells.append(f"{many['tokens_s']:,.0f}" if many else "")
    cells.append(f"{found['load_ms'] / 1e3:.2f} s")
    return f"| {name} | " + " | ".join(cells) + " |\n"


def theirs(name: str, peer: dict, best: dict | None) -> str:
    def ratio(mine: float) -> str:
        return f" ({mine:.1f} x)" if best else ""

    step = first(best["decode"], kv_tokens=1400, batch=1) if best else None
    vision = ratio(peer["vision_ms"] / best["vision"][0]["ms"]) if best else ""
    token = ratio(peer["first_token_ms"] / best["first_token"][0]["ms"]) if best else ""
    decode = ratio(step["tokens_s"] / peer["decode_tok_s"]) if step else ""
    return (
        f"| {name} | {peer['vision_ms']:.1f} ms{vision} | {peer['first_token_ms']:.1f} ms{token} | | {peer['decode_tok_s']:.0f}{decode} | | {peer['load_s']:.1f} s |\n"
    )


def main() -> None:
    folder = Path(sys.argv[1])
    read, product = limits(folder / "bench_cuda.txt")
    table = HEAD
    for size in ("3b", "7b"):
        best = None
        for form, words in FORMATS.items():
            found = last_object(folder / f"vlm-{size}-{form}.json")
            if found:
                table += ours(f"{size.upper()}, {words}", found, read, product)
                best = best or found
        peer = last_object(folder / f"transformers-{size}.json")
        if peer:
            table += theirs(f"{size.upper()}, {peer['peer']}", peer, best)
    table += f"\nLimits of the same run: {read / 1e3:.2f} TB/s read by a product of one row, {product / 1e3:.0f} TFLOP/s of a bfloat16 product. In brackets: of the limit; behind "
    table += "transformers' figures how many times ours in bfloat16 is faster.\n"
    print(table, end="")


if __name__ == "__main__":
    main()
