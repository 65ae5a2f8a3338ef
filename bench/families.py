#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One random checkpoint of a published size after another, a family each: memory as `vlm inspect` predicts it and as `vlm generate` with a picture is seen to
hold it, then `vlm bench`. The table "Families at published sizes" of docs/SPEED.md.

    bench/families.py [--shapes lfm2-vl-450m,..] [--formats 4bit,bf16] [--under CMD] [--making CMD]

A checkpoint is made in --checkpoints by --python (a Python of tools/requirements.txt) and deleted behind its row, unless it was there. Each row is
written at once to bench/results/DATE-MACHINE-families.json and .md, beside what these files hold of other rows. Of shapes that are not small, bfloat16
is left out. --under CMD runs each measurement under a command, --making CMD the rest."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import shutil
import sys
from pathlib import Path

from common import ROOT, SIZES, checkpoint, parsed, parser_of, percent, save, say, slug, told, version

# The picture of `vlm bench`; of larger decoders one of fewer tokens, where the size is the picture's own.
PICTURES = dict.fromkeys(("lfm2-vl-450m", "fastvlm-0.5b", "nanollava"), "1000x1000")
PICTURES |= dict.fromkeys(("glm-ocr", "qwen2-vl-2b", "qwen3-vl-2b", "qwen3-vl-30b-a3b-8-layers", "ministral-3-3b", "gemma-3-4b"), "504x504")
PICTURES |= dict.fromkeys(("llava-1.5-7b", "llava-v1.6-mistral-7b", "pixtral-12b"), "336x336")
SMALL = 12.5  # 100 MB of parameters: bfloat16 is measured up to here


def measure(args: argparse.Namespace, shape: str, path: Path) -> dict:
    width, height = PICTURES[shape].split("x")
    picture = ["-i", args.picture, "-p", "What is in the picture?", "--max-tokens", "8", "--threads", args.threads, "--json"]
    if width != "1000":
        picture += ["--resize", f"{width}x{height}"]
    predicted = told([args.vlm, "inspect", "-m", path, *picture])
    seen = told([*args.making, args.vlm, "generate", "-m", path, "--ignore-eos", *picture])
    row = {"parameters": predicted["parameters"], "prompt_tokens": predicted["prompt_tokens"], "predicted_bytes": predicted["peak_bytes"]}
    row |= {"measured_bytes": seen["memory"]["peak_rss_bytes"], "parts": predicted["memory"], "picture": PICTURES[shape]}
    counts = ["--rounds", "2", "--seconds", args.seconds, "--prompt-tokens", "512", "--kv", "512", "--threads", args.threads]
    try:
        row["bench"] = told([*args.under, args.vlm, "bench", "-m", path, "--json", *counts, "--picture", PICTURES[shape]])
        row["bench"]["model"] = path.name
    except ValueError as error:
        say(f"{shape}, speed: {error}")
        row["bench"] = None
    return row


def machine_of(vlm: Path) -> dict:
    """What `vlm bench` says of the machine, over the bundled model."""
    few = ["--rounds", "1", "--prompt-tokens", "8", "--kv", "8", "--generate", "1"]
    return told([vlm, "bench", "-m", ROOT / "models/smolscene", "--json", *few])["machine"]


def first(rows: list[dict], rate: str, share: str) -> str:
    if not rows:
        return "-"
    return f"{rows[0][rate]:.{2 if rows[0][rate] < 10 else 1}f} ({percent(rows[0][share])} %)"


def line(name: str, row: dict) -> str:
    bench, mb = row["bench"], 1e6
    cells = [name, f"{row['parameters'] / mb:.0f} M", f"{row['predicted_bytes'] / mb:.0f}", f"{row['measured_bytes'] / mb:.0f}"]
    cells.append(f"{100 * (row['predicted_bytes'] / row['measured_bytes'] - 1):+.1f} %")
    if not bench:
        return "| " + " | ".join([*cells, *["not measured"] * 5]) + " |"
    limits, vision = bench["limits"], bench["vision"]
    cells.append(f"{bench['load_ms']:.0f}")
    prefill = bench["prefill"][0]
    cells.append(f"{prefill['tokens_s']:.1f} ({percent(prefill['share_of_f32'])} / {percent(prefill['share_of_int8'])} %)")
    cells.append(first(bench["decode"], "tokens_s", "share_of_read"))
    cells.append(f"{row['picture']}, {vision[0]['media_tokens']}, {vision[0]['ms'] / 1e3:.2f} s ({percent(vision[0]['share_of_f32'])} %)" if vision else "-")
    cells.append(f"{limits['read_gb_s']:.1f}, {limits['f32_gflop_s']:.0f}, {limits['int8_gop_s']:.0f}")
    return "| " + " | ".join(cells) + " |"


def page(whole: dict) -> str:
    machine = whole["machine"]
    lines = [f"# Families at published sizes, {whole['date']}", ""]
    lines += [f"{machine['cpu']} ({', '.join(machine['features'])}), {machine['threads']} threads; {whole['vlm']}. Random weights; medians of at most two rounds.", ""]
    lines.append("| shape, format | parameters | peak MB, predicted | measured | | load ms | prefill of 512, tokens/s (of float32 / int8) "
                 "| decode behind 512, tokens/s (of reading) | tower: picture, tokens, time (of float32) | limits: GB/s, GFLOP/s, int8 GOP/s |")
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    lines += [line(name, row) for name, row in whole["results"].items()]
    for name, why in whole["missing"].items():
        lines += ["", f"{name} is missing: {why}"]
    lines += ["", "Memory: one picture of 480 x 480 (fitted into the tower's picture where that is not 1000 x 1000) and 8 tokens by `vlm generate`, beside what "
              "`vlm inspect` said before. Limits of half the usual rate are minutes in which the machine gave two threads one core's work."]
    return "\n".join(lines) + "\n"


def options() -> argparse.Namespace:
    parser = parser_of(__doc__, list(PICTURES), "4bit,bf16", seconds=6)
    parser.add_argument("--picture", type=Path, default=ROOT / "examples/night.png")
    parser.add_argument("--making", type=shlex.split, default=[], metavar="CMD")
    return parsed(parser, list(PICTURES))


def main() -> None:
    args = options()
    whole = {"date": datetime.date.today().isoformat(), "vlm": version(args.vlm), "results": {}, "missing": {}}
    for shape, form in [(shape, form) for shape in args.shapes for form in args.formats if form != "bf16" or SIZES[shape] <= SMALL]:
        name, path = f"{shape}, {form}", args.checkpoints / f"{shape}-{form}"
        kept = path.exists()
        say(name)
        try:
            row = measure(args, shape, checkpoint(args, shape, form))
        except (ValueError, OSError) as error:
            say(f"{name}: {error}")
            whole["missing"][name] = str(error)
            continue
        finally:
            if not kept:
                shutil.rmtree(path, ignore_errors=True)
        machine = row["bench"] and row["bench"]["machine"] or whole.get("machine") or machine_of(args.vlm)
        whole["machine"] = machine
        file = f"{whole['date']}-{slug(whole['machine'])}-families"
        before = args.out / f"{file}.json"
        held = json.loads(before.read_text())["results"] if before.exists() else {}
        whole["results"] = held | {name: row}
        save(args.out, file, whole, page(whole))
    if not whole["results"]:
        sys.exit("bench/families.py: nothing could be measured")


if __name__ == "__main__":
    main()
