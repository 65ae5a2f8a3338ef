#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The goldens' models quantized by MLX in every mode, through `vlm` and, on the values that MLX decodes, through transformers.

    tools/parity_quantized.py [BUILD_DIR] [--write] [--only NAME] [--modes TEXT]

Needs the packages of tools/requirements.txt and a build. --write puts the table into docs/PARITY_QUANTIZED.md between its marks.
Every matrix of the text decoder, embeddings and heads included, and of the vision tower that a mode's groups divide is
quantized; what is left stays float32.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from parity import ROOT, Refused, dump, generate, relative  # noqa: E402

try:
    import mlx.core as mx
    from transformers.utils import logging
    from verify import reference
except ImportError as error:
    sys.exit(f"parity_quantized: {error}; pip install -r tools/requirements.txt")

BEGIN, END = "<!-- quantized -->", "<!-- /quantized -->"
PAGE = ROOT / "docs" / "PARITY_QUANTIZED.md"
GOLDENS = ("idefics3-split", "paligemma-gemma", "paligemma2-gemma2", "qwen2_5_vl-tied", "qwen2_5_vl-untied", "smolvlm-video")
MODES = [("affine", bits, 32) for bits in (2, 3, 4, 5, 6, 8)] + [("affine", 4, 64), ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
PROMPT, TOKENS, PICTURE = "What is it?", 24, "tests/data/pictures/tiny.png"
HEAD = """| golden | mode | bits | group | matrices | exact: logits | exact: greedy tokens | fast: logits | fast: greedy tokens | without int8: logits |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def is_matrix(name: str, value: mx.array, group: int) -> bool:
    """What a linear layer or a table of tokens has; no positions, no convolution."""
    return name.endswith(".weight") and value.ndim == 2 and value.shape[1] % group == 0 and "position" not in name


def quantize(base: Path, folder: Path, decoded: Path, mode: str, bits: int, group: int) -> int:
    """Two checkpoints like `base`: as MLX stores it, and with the values that it decodes. Returns how many matrices."""
    for to in (folder, decoded):
        shutil.copytree(base, to)
    how = {"group_size": group, "bits": bits, "mode": mode}
    stored, values, count = {}, {}, 0
    for name, value in mx.load(str(base / "model.safetensors")).items():
        stored[name] = values[name] = value
        if not is_matrix(name, value, group):
            continue
        parts = mx.quantize(value, **how)
        stored |= {name.removesuffix("weight") + part: p for part, p in zip(("weight", "scales", "biases"), parts)}
        values[name] = mx.dequantize(*parts, **how, dtype=mx.float32)
        count += 1
    for to, tensors in ((folder, stored), (decoded, values)):
        mx.save_safetensors(str(to / "model.safetensors"), tensors, metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization": how}))
    return count


def same(got: list[int], want: list[int], margins: list[float]) -> str:
    """How many tokens agree; the margin of the reference's choice where the first does not."""
    first = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), len(want))
    return f"{first} of {len(want)}" + ("" if first == len(want) else f" (margin {margins[first]:.1e})")


def measure(program: Path, base: Path, work: Path, mode: str, bits: int, group: int) -> str | None:
    folder, decoded = work / "quantized", work / "decoded"
    for path in (folder, decoded):
        shutil.rmtree(path, ignore_errors=True)
    count = quantize(base, folder, decoded, mode, bits, group)
    if not count:
        return None
    _, seams, margins = reference(decoded, str(ROOT / PICTURE), PROMPT, TOKENS)
    want, inputs, cells = seams["greedy.tokens"].values.tolist(), ["-p", PROMPT, "-i", PICTURE], []
    for dtype in ("f32", "auto"):
        logits = dump(program, folder, inputs, "logits", work, dtype)["logits"]
        cells += [f"{relative(logits, seams['logits']):.1e}", same(generate(program, folder, inputs, TOKENS, dtype), want, margins)]
    logits = dump(program, folder, [*inputs, "--no-int8-activations"], "logits", work, "auto")["logits"]
    cells.append(f"{relative(logits, seams['logits']):.1e}")
    return f"| {mode} | {bits} | {group} | {count} | " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", type=Path, default=ROOT / "build")
    parser.add_argument("--write", action="store_true", help="put the table into docs/PARITY_QUANTIZED.md")
    parser.add_argument("--only", default="", help="goldens whose name contains this")
    parser.add_argument("--modes", default="", help="modes whose name contains this, e.g. affine-4")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    build, table, wrong = args.build.resolve(), HEAD, 0
    print(HEAD, end="")
    for golden in (name for name in GOLDENS if args.only in name):
        with tempfile.TemporaryDirectory() as name:
            base = Path(name) / "base"
            base.mkdir()
            subprocess.run([build / "tests" / "write_checkpoint", ROOT / "tests/golden" / golden, base, "hf", "f32"], check=True)
            for mode, bits, group in (m for m in MODES if args.modes in f"{m[0]}-{m[1]}-{m[2]}"):
                try:
                    cells = measure(build / "vlm", base, Path(name), mode, bits, group)
                except Refused as refusal:
                    wrong, cells = wrong + 1, f"| {mode} | {bits} | {group} | {refusal} |"
                row = f"| {golden} {cells}\n" if cells else ""  # nothing that the groups divide
                print(row, end="", flush=True)
                table += row
    if args.write:
        front, rest = PAGE.read_text().split(BEGIN, 1)
        PAGE.write_text(front + BEGIN + "\n" + table + END + rest.split(END, 1)[1])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
