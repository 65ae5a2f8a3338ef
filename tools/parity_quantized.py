#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The goldens' models quantized by MLX in every mode, through `vlm` and, on the values that MLX decodes, through transformers.

    tools/parity_quantized.py [BUILD_DIR] [--write] [--only NAME] [--modes TEXT]

Needs the packages of tools/requirements.txt and a build. --write puts the table into docs/PARITY_QUANTIZED.md and its summary into README.md, between
their marks; with --only, it replaces the lines of those goldens. Every matrix of the text decoder, embeddings and heads included, and of the vision tower that a mode's groups
divide is quantized; what is left stays float32. Goldens whose widths no group divides are made wider first.
"""

from __future__ import annotations

import argparse
import dataclasses
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
    import torch
    from golden import common, make
    from transformers.utils import logging
    from safetensors.torch import load_file
    from verify import inputs_of, reference, tensor
except ImportError as error:
    sys.exit(f"parity_quantized: {error}; pip install -r tools/requirements.txt")

BEGIN, END = "<!-- quantized -->", "<!-- /quantized -->"
PAGE = ROOT / "docs" / "PARITY_QUANTIZED.md"
SUMMARY = ROOT / "README.md"
# Changes of config.json that make groups fit, for goldens in which hardly a matrix would be quantized. Weights follow the goldens' own rules.
WIDER = {
    "mistral3-ministral3": {
        "text_config": {"hidden_size": 128, "intermediate_size": 192, "head_dim": 32},
        "vision_config": {"hidden_size": 192, "intermediate_size": 128, "head_dim": 64},
    },
    "pixtral-llava": {
        "text_config": {"hidden_size": 128, "intermediate_size": 192, "head_dim": 32},
        "vision_config": {"hidden_size": 192, "intermediate_size": 128, "head_dim": 64},
    },
    "idefics3-whole": {
        "text_config": {"hidden_size": 192, "intermediate_size": 256, "head_dim": 64},
        "vision_config": {"hidden_size": 320, "intermediate_size": 128},
    },
    "paligemma2-gemma2": {
        "hidden_size": 192,
        "projection_dim": 192,
        "text_config": {"hidden_size": 192, "intermediate_size": 256, "head_dim": 32},
        "vision_config": {"hidden_size": 64, "intermediate_size": 128, "projection_dim": 192},
    },
    "qwen2_5_vl-untied": {
        "text_config": {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4},
        "vision_config": {"hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 128},
    },
    "qwen3_vl_moe": {
        "text_config": {"hidden_size": 128, "intermediate_size": 192, "moe_intermediate_size": 64, "head_dim": 32},
        "vision_config": {"hidden_size": 96, "intermediate_size": 128, "out_hidden_size": 128},
    },
    "smolvlm-video": {
        "text_config": {"hidden_size": 192, "intermediate_size": 256, "head_dim": 32},
        "vision_config": {"hidden_size": 64, "intermediate_size": 128},
    },
}
MROPE = [4, 6, 6]  # sections of the wider Qwen's heads
GOLDENS = (
    *("fastvlm-qwen2", "fastvlm-timm", "gemma3-old", "glm_ocr", "idefics3-split", "idefics3-whole", "lfm2_vl-split"),
    *("llava-clip", "llava_bunny-qwen2", "llava_next-mistral"),
    *("mistral3-ministral3", "paligemma-gemma", "paligemma2-gemma2", "pixtral-llava", "qwen2_5_vl-tied"),
    *("qwen2_5_vl-untied", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "smolvlm-video"),
)
MODES = [("affine", bits, 32) for bits in (2, 3, 4, 5, 6, 8)] + [("affine", 4, 64), ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
PROMPT, TOKENS, PICTURE = "What is it?", 24, "tests/data/pictures/palette.png"
HEAD = """| golden | mode | bits | group | matrices | exact: logits | exact: greedy tokens | fast: logits | fast: greedy tokens | without int8: logits |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def widen(golden: str, base: Path) -> None:
    """A golden's checkpoint in `base` becomes one of other widths, drawn by the same rules."""
    path = base / "config.json"
    config = json.loads(path.read_text())
    for key, value in WIDER[golden].items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    if "mrope_section" in config["text_config"].get("rope_parameters", {}):
        config["text_config"]["rope_parameters"]["mrope_section"] = MROPE
    path.write_text(json.dumps(config))
    model, rows = common.build(dataclasses.replace(make.variants([golden])[0], place=str(base)))
    values = dict(model.named_parameters())
    tensors = {row["names"]["hf"]: mx.array(values[row["name"]].detach().to(torch.float32).numpy()) for row in rows}
    mx.save_safetensors(str(base / "model.safetensors"), tensors, metadata={"format": "pt"})


def is_matrix(name: str, value: mx.array, group: int) -> bool:
    """What a linear layer or a table of tokens has; no positions, no convolution."""
    return name.endswith(".weight") and value.ndim == 2 and value.shape[1] % group == 0 and "position" not in name


def stack(stored: dict, name: str, value: mx.array, how: dict) -> mx.array:
    """Experts [experts, out, in] as MLX stores them, gates and ups apart; returns what it decodes."""
    halves, decoded = mx.split(value, 2, axis=1) if name.endswith("gate_up_proj") else [value], []
    parts = ("gate_proj", "up_proj") if len(halves) == 2 else ("down_proj",)
    for part, half in zip(parts, halves):
        stem = name.replace(".mlp.experts.", ".mlp.switch_mlp.").rpartition(".")[0] + f".{part}."
        codes = mx.quantize(half, **how)
        stored |= {stem + key: array for key, array in zip(("weight", "scales", "biases"), codes)}
        decoded.append(mx.dequantize(*codes, **how, dtype=mx.float32))
    return mx.concatenate(decoded, axis=1)


def quantize(base: Path, folder: Path, decoded: Path, mode: str, bits: int, group: int) -> int:
    """Two checkpoints like `base`: as MLX stores it, and with the values that it decodes. Returns how many matrices."""
    for to in (folder, decoded):
        shutil.copytree(base, to)
    how = {"group_size": group, "bits": bits, "mode": mode}
    stored, values, count = {}, {}, 0
    for name, value in mx.load(str(base / "model.safetensors")).items():
        stored[name] = values[name] = value
        if ".mlp.experts." in name and value.ndim == 3 and value.shape[2] % group == 0:
            del stored[name]
            values[name] = stack(stored, name, value, how)
            count += 1
            continue
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


@dataclasses.dataclass
class Way:
    """One way of running libvlm: the relative error of its logits, greedy tokens that agree before the first that does not, of how many, and the
    margin of the reference's choice there."""

    error: float
    first: int
    tokens: int
    margin: float | None

    def cells(self) -> str:
        margin = "" if self.margin is None else f" (margin {self.margin:.1e})"
        return f"{self.error:.1e} | {self.first} of {self.tokens}{margin}"


@dataclasses.dataclass
class Row:
    matrices: int
    exact: Way
    fast: Way
    wide: float  # error of the fast mode without activations of 8 bits


def reference_of(variant: common.Variant, decoded: Path) -> tuple[dict, list[float], bool]:
    """Seams, margins and whether it was a chat: `verify`'s, or of the class that the golden's own reference is of."""
    if not variant.load_processor:
        return reference(decoded, str(ROOT / PICTURE), PROMPT, TOKENS)[1:]
    model, _ = common.build(variant)
    values = load_file(decoded / "model.safetensors")
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if (stored := variant.names(variant.own_name(name))["hf"]) in values:
            value.data.copy_(values.pop(stored))
    assert not values, list(values)[:3]
    _, batch = common.prepare(common.load_processor(variant), common.Case("quantized", [common.user(common.IMAGE, PROMPT)], pictures=[PICTURE]))
    seen = common.run(model, batch, TOKENS, check=False)
    return {name: tensor(value) for name, value in seen.items()}, seen["greedy.margins"].tolist(), True


def measure(program: Path, variant: common.Variant, base: Path, work: Path, mode: str, bits: int, group: int) -> Row | None:
    """None where the groups divide nothing."""
    folder, decoded = work / "quantized", work / "decoded"
    for path in (folder, decoded):
        shutil.rmtree(path, ignore_errors=True)
    count = quantize(base, folder, decoded, mode, bits, group)
    if not count:
        return None
    seams, margins, chat = reference_of(variant, decoded)
    want, ways = seams["greedy.tokens"].values.tolist(), []
    inputs = inputs_of(PROMPT, str(ROOT / PICTURE), chat, work)
    for dtype in ("f32", "auto"):
        logits = dump(program, folder, inputs, "logits", work, dtype)["logits"]
        got = generate(program, folder, inputs, TOKENS, dtype)
        first = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), len(want))
        ways.append(Way(relative(logits, seams["logits"]), first, len(want), None if first == len(want) else margins[first]))
    logits = dump(program, folder, [*inputs, "--no-int8-activations"], "logits", work, "auto")["logits"]
    return Row(count, *ways, relative(logits, seams["logits"]))


def kept(only: str) -> dict[str, list[str]]:
    """The page's lines by golden, when only some are measured."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text().split(BEGIN, 1)[1].split(END, 1)[0].splitlines(keepends=True)[3:] if only else []:
        found.setdefault(line.split()[1], []).append(line)
    return found


def summary(lines: dict[str, list[str]]) -> str:
    """README's table: goldens down, modes across."""
    out = ["| golden | " + " | ".join(f"{mode} {bits}, {group}" for mode, bits, group in MODES) + " |", "|---|" + "---:|" * len(MODES)]
    agree = of = 0
    for found in lines.values():
        rows = [[cell.strip() for cell in line.strip(" |\n").split("|")] for line in found]
        out.append(f"| {rows[0][0]} | " + " | ".join(f"{row[5]} / {row[7]}" if len(row) == 10 and row[5] else "-" for row in rows) + " |")
        for row in rows:
            if len(row) == 10 and row[6]:
                agree, of = agree + int(row[6].split()[0]), of + int(row[6].split()[2])
    out += ["", f"Exact / fast mode; greedy tokens of the exact mode: {agree} of {of} as the reference's."]
    return "\n".join(out) + "\n"


def put(page: Path, text: str) -> None:
    front, rest = page.read_text().split(BEGIN, 1)
    page.write_text(front + BEGIN + "\n" + text + END + rest.split(END, 1)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", type=Path, default=ROOT / "build")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/PARITY_QUANTIZED.md and README.md")
    parser.add_argument("--only", default="", help="goldens whose name contains this")
    parser.add_argument("--modes", default="", help="modes whose name contains this, e.g. affine-4")
    args = parser.parse_args()
    if args.write and args.modes:
        parser.error("--write takes all modes")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    build, lines, wrong = args.build.resolve(), kept(args.only), 0
    print(HEAD, end="")
    for golden in (name for name in GOLDENS if args.only in name):
        variant, lines[golden] = make.variants([golden])[0], []
        with tempfile.TemporaryDirectory() as name:
            base = Path(name) / "base"
            base.mkdir()
            subprocess.run([build / "tests" / "write_checkpoint", ROOT / "tests/golden" / golden, base, "hf", "f32"], check=True)
            if golden in WIDER:
                widen(golden, base)
            for way in (m for m in MODES if args.modes in f"{m[0]}-{m[1]}-{m[2]}"):
                line = f"| {golden}{' (wider)' if golden in WIDER else ''} | {way[0]} | {way[1]} | {way[2]} | "
                try:
                    row = measure(build / "vlm", variant, base, Path(name), *way)
                except Refused as refusal:
                    wrong, line = wrong + 1, line + f"{refusal} |\n"
                else:
                    line += f"{row.matrices} | {row.exact.cells()} | {row.fast.cells()} | {row.wide:.1e} |\n" if row else "0 | | | | | |\n"
                print(line, end="", flush=True)
                lines[golden].append(line)
    if args.write:
        lines = {golden: lines[golden] for golden in GOLDENS if golden in lines}
        put(PAGE, HEAD + "".join(line for found in lines.values() for line in found))
        put(SUMMARY, summary(lines))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
