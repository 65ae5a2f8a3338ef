#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`vlm bench` over published shapes with random weights, in bfloat16 and MLX's 8 and 4 bits: the table of docs/SPEED.md, for this machine.

    bench/run.py [--shapes smolvlm-256m,..] [--formats bf16,8bit,4bit] [--quick] [--threads N] [--under CMD]

Checkpoints lie in --checkpoints (build/shapes) as SHAPE-FORMAT and are made there by tools/random_checkpoint.py on first use, which takes --python, a
Python of tools/requirements.txt; a shape that cannot be made is told of and left out. Writes bench/results/DATE-MACHINE.json and .md. Needs
nothing but Python itself. --under CMD runs each measurement under a command (taskset, a script that keeps the machine quiet)."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from common import FORMATS, checkpoint, parsed, parser_of, percent, save, say, slug, told, version

# Shapes with the pictures whose towers are measured: tiles of 384 or 512 (four and the whole), 256 tokens of 224 x 224, and of Qwen2.5-VL 1,024 and
# 5,040 patches.
PICTURES = {
    "smolvlm-256m": ["2048x128"],
    "smolvlm-2.2b": ["1536x96"],
    "paligemma-3b-224": ["224x224"],
    "qwen2.5-vl-3b": ["448x448", "1008x980"],
}


def bench(args: argparse.Namespace, path: Path, *options: str) -> dict:
    return told([*args.under, args.vlm, "bench", "-m", path, "--json", "--threads", args.threads, *options])


def measure(args: argparse.Namespace, shape: str, form: str) -> list[dict]:
    """vlm bench's objects: text and, of bfloat16 (the towers are no other in the other formats), each picture."""
    path = checkpoint(args, shape, form)
    say(f"{shape} {form}")
    counts = ["--rounds", "2", "--seconds", "5"] if args.quick else ["--rounds", str(args.rounds), "--seconds", str(args.seconds)]
    prompts, held = ("512", "512") if args.quick else ("512,2048", "512,8192")
    found = [bench(args, path, *counts, "--prompt-tokens", prompts, "--kv", held)]
    if not args.quick:
        found.append(bench(args, path, *counts, "--prompt-tokens", "8", "--kv", "512", "--batch", "4"))
    for picture in PICTURES[shape] if form == "bf16" and not args.quick else []:
        found.append({**bench(args, path, *counts, "--prompt-tokens", "8", "--generate", "0", "--picture", picture), "picture": picture})
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The page


def kv_cost(decode: list[dict], limits: dict) -> str:
    """What the last row takes longer than the first, over what its further bytes would at the limit."""
    if len(decode) < 2:
        return "-"
    first, last = decode[0], decode[-1]
    bytes_more = last["kv_bytes"] - first["kv_bytes"]
    return f"{(last['ms'] - first['ms']) / 1e3 * limits['read_gb_s'] * 1e9 / bytes_more:.2f}"


def text_rows(results: dict) -> list[str]:
    lines = ["| shape, format | load ms | peak memory, of weights MB | prefill of | tokens/s | % of float32 / bfloat16 / int8 |", "|---|---|---|---|---|---|"]
    for name, found in results.items():
        memory = found[0]["memory"]
        held = f"{memory['peak_rss_bytes'] / 1e6:.0f}, {memory['weights_bytes'] / 1e6:.0f}"
        for row in found[0]["prefill"]:
            shares = " / ".join(percent(row[f"share_of_{kind}"]) for kind in ("f32", "bf16", "int8"))
            lines.append(f"| {name} | {found[0]['load_ms']:.0f} | {held} | {row['prompt_tokens']} | {row['tokens_s']:.1f} | {shares} |")
    lines += ["", "| shape, format | decode behind | together | tokens/s | MB a step: weights, KV | % of read bandwidth | cost of KV |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, found in results.items():
        for one in found[:2]:
            for row in one["decode"]:
                amount = f"{row['weight_bytes'] / 1e6:.0f}, {row['kv_bytes'] / 1e6:.0f}"
                cost = kv_cost(one["decode"], one["limits"]) if row is one["decode"][-1] else "-"
                lines.append(
                    f"| {name} | {row['kv_tokens']} | {row['batch']} | {row['tokens_s']:.2f} | {amount} | {percent(row['share_of_read'])} | {cost} |"
                )
    return lines


def vision_rows(results: dict) -> list[str]:
    lines = ["", "| tower of | picture | tokens | ms | GFLOP/s | % of float32 / bfloat16 |", "|---|---|---|---|---|---|"]
    for name, found in results.items():
        for one in found:
            for row in one["vision"]:
                shares = f"{percent(row['share_of_f32'])} / {percent(row['share_of_bf16'])}"
                lines.append(f"| {name} | {one['picture']} | {row['media_tokens']} | {row['ms']:.0f} | {row['gflop_s']:.1f} | {shares} |")
    return lines if len(lines) > 3 else []


def page(whole: dict) -> str:
    machine, lines = whole["machine"], [f"# Speed, {whole['date']}", ""]
    lines.append(f"{machine['cpu']} ({', '.join(machine['features'])}), {machine['threads']} threads; {whole['vlm']}. Random weights; medians.")
    lines += ["", "| limits beside | read GB/s: memory, mapped file | float32 GFLOP/s | bfloat16 | 8-bit integers |", "|---|---|---|---|---|"]
    for name, found in whole["results"].items():
        limits = {key: "-" if value is None else f"{value:.1f}" for key, value in found[0]["limits"].items()}
        reads = f"{limits['read_anonymous_gb_s']}, {limits['read_mapped_gb_s']}"
        lines.append(f"| {name} | {reads} | {limits['f32_gflop_s']} | {limits['bf16_gflop_s']} | {limits['int8_gop_s']} |")
    lines += ["", *text_rows(whole["results"]), *vision_rows(whole["results"])]
    for name, why in whole["missing"].items():
        lines += ["", f"{name} is missing: {why}"]
    lines += ["", "Cost of KV: what decoding behind the most tokens takes longer than behind the fewest, over the time to read that much more state.",
              "Memory is that of the text runs; weights that they do not touch are no part of it."]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------------------------------------------------------


def options() -> argparse.Namespace:
    parser = parser_of(__doc__, list(PICTURES), ",".join(FORMATS), seconds=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="512 tokens only, two rounds, no towers: a minute or two")
    return parsed(parser, list(PICTURES))


def main() -> None:
    args = options()
    whole = {"date": datetime.date.today().isoformat(), "vlm": version(args.vlm), "quick": args.quick, "results": {}, "missing": {}}
    for shape in args.shapes:
        for form in args.formats:
            try:
                found = measure(args, shape, form)
            except (ValueError, OSError) as error:
                say(f"{shape}, {form}: {error}")
                whole["missing"][f"{shape}, {form}"] = str(error)
                continue
            for one in found:
                one["model"] = Path(one["model"]).name
            whole["results"][f"{shape}, {form}"] = found
    if not whole["results"]:
        sys.exit("bench/run.py: nothing could be measured")
    whole["machine"] = next(iter(whole["results"].values()))[0]["machine"]
    save(args.out, f"{whole['date']}-{slug(whole['machine'])}{'-quick' if args.quick else ''}", whole, page(whole))


if __name__ == "__main__":
    main()
