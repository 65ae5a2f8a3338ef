#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures libvlm against the goldens through the `vlm` program, as a user runs it, and prints the parity table.

    tools/parity.py [BUILD_DIR] [--write] [--only NAME] [--backend cuda] [--jobs N] [--save FILE] [--cuda FILE]

Needs nothing but Python and a build. --write puts the table into README.md between its parity marks. A machine with a GPU saves what it measured with
--backend cuda --save FILE; the table's last column is what the file of --cuda has, the newest of bench/results without one. Each golden is
written as a checkpoint (float32 for the exact column, bfloat16 for the fast one), and every case goes through `vlm dump` and
`vlm generate`; what the reference gave lies in tests/golden.
"""

from __future__ import annotations

import argparse
import array
import hashlib
import json
import math
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- parity -->", "<!-- /parity -->"
CODES = {"F32": "f", "I64": "q", "I32": "i"}
UNUSED = {"labels"}  # what the reference's processor returns for training


class Tensor:
    """A tensor of a safetensors file: dtype code, shape, raw bytes; values on demand."""

    def __init__(self, dtype: str, shape: list[int], raw: bytes):
        self.dtype, self.shape, self.raw = dtype, shape, raw

    @property
    def values(self) -> array.array:
        out = array.array(CODES[self.dtype])
        out.frombytes(self.raw)
        return out

    def last_row(self) -> Tensor:
        size = len(self.raw) // self.shape[0]
        return Tensor(self.dtype, [1, *self.shape[1:]], self.raw[-size:])


def read_tensors(path: Path) -> dict[str, Tensor]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    out = {}
    for name, row in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = row["data_offsets"]
            out[name] = Tensor(row["dtype"], row["shape"], data[8 + length + begin : 8 + length + end])
    return out


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    header, at = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, at + len(tensor.raw)]}
        at += len(tensor.raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.raw for tensor in tensors.values()))


def relative(got: Tensor, want: Tensor) -> float:
    """|got - want| / |want|; got may have more rows in front."""
    a, b = got.values, want.values
    if len(a) < len(b):
        return math.inf
    a = a[len(a) - len(b) :]
    norm = math.fsum(y * y for y in b)
    return math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b)) / norm)


class Refused(Exception):
    """vlm said no; the message is its line."""


BACKEND: list[str] = []


def vlm(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments, *BACKEND], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Refused(done.stderr.strip() or f"exit status {done.returncode}")
    return done.stdout


def dump(program: Path, model: Path, inputs: list[str], stage: str, folder: Path, dtype: str) -> dict[str, Tensor]:
    out = folder / f"{stage}.safetensors"
    vlm(program, "dump", "-m", str(model), *inputs, "--dtype", dtype, "--stage", stage, "--out", str(out))
    return joined_features(read_tensors(out))


def joined_features(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The goldens hold one tensor of features, those of videos behind those of pictures; vlm dumps two."""
    video = tensors.pop("video_features", None)
    if video is not None:
        picture = tensors.get("image_features", Tensor(video.dtype, [0, *video.shape[1:]], b""))
        rows = picture.shape[0] + video.shape[0]
        tensors["image_features"] = Tensor(video.dtype, [rows, *video.shape[1:]], picture.raw + video.raw)
    return tensors


def generate(program: Path, model: Path, inputs: list[str], count: int, dtype: str) -> list[int]:
    how = ["--dtype", dtype, "--max-tokens", str(count), "--temp", "0", "--repetition-penalty", "1", "--ignore-eos", "--json"]
    return json.loads(vlm(program, "generate", "-m", str(model), *inputs, *how))["tokens"]


# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Figures:
    cases: int = 0
    ids: int = 0
    outputs: int = 0
    features: float = 0.0
    layers: float = 0.0
    logits: float = 0.0
    greedy: int = 0
    steps: int = 0
    prepared: int = 0
    prepared_cases: int = 0
    fast: float = 0.0
    fast_ratio: float = 0.0
    wrong: list[str] = field(default_factory=list)


def inputs_of(case: dict, golden: dict[str, Tensor], folder: Path) -> list[str]:
    """The case as options of vlm."""
    if "text" not in case:
        return ["--input", str(prepared_file(case, golden, folder))]
    out = []
    if "messages" in case:
        path = folder / "messages.json"
        path.write_text(json.dumps(case["messages"]))
        out += ["--messages", str(path)]
    elif any(place in case["prompt"] for place in ("<image>", "<start_of_image>", "[IMG]")):
        out += ["--raw-prompt", case["prompt"]]  # media tokens typed into -p are plain text
    else:
        out += ["-p", case["prompt"]]
    for picture in case.get("pictures", []):
        out += ["-i", picture]
    if "frames" in case:
        out += ["--video-frames", case["frames"], "--fps", str(case["fps"])]
    for name, value in case.get("options", {}).items():
        option = "--" + name.removeprefix("do_").replace("_", "-")
        out += [option] if value is True else [option, str(value)]
    return out


def prepared_file(case: dict, golden: dict[str, Tensor], folder: Path) -> Path:
    path = folder / "prepared.safetensors"
    write_tensors(path, {name: golden[f"{case['name']}.{name}"] for name in case["processor"]})
    return path


def check_processor(case: dict, got: dict[str, Tensor], figures: Figures) -> None:
    same = True
    for name, want in case["processor"].items():
        if name in UNUSED:
            continue
        tensor = got.get(name)
        equal = (
            tensor is not None
            and tensor.shape == want["shape"]
            and hashlib.sha256(tensor.raw).hexdigest() == want["sha256"]
        )
        figures.ids += equal and name == "input_ids"
        same = same and equal
        if not equal:
            figures.wrong.append(f"{case['name']}: {name} differs")
    figures.outputs += same


def check_seams(case: dict, golden: dict[str, Tensor], measured: dict[str, Tensor], figures: Figures) -> None:
    for name, tensor in measured.items():
        want = golden.get(f"{case['name']}.{name}")
        if want is None:
            continue
        error = relative(tensor, want)
        seam = "features" if name == "image_features" else "logits" if name == "logits" else "layers"
        setattr(figures, seam, max(getattr(figures, seam), error))


def check_case(program: Path, model: Path, fast: Path, case: dict, golden: dict[str, Tensor], folder: Path) -> Figures:
    figures = Figures(cases=1)
    inputs = inputs_of(case, golden, folder)
    check_processor(case, dump(program, model, inputs, "processor", folder, "f32"), figures)
    for stage in ("vision", "layers", "logits") if case["image_tokens"] else ("layers", "logits"):
        check_seams(case, golden, dump(program, model, inputs, stage, folder, "f32"), figures)
    want = golden[f"{case['name']}.greedy.tokens"].values.tolist()
    got = generate(program, model, inputs, len(want), "f32")
    figures.steps = len(want)
    figures.greedy = sum(1 for a, b in zip(got, want) if a == b)
    if all(f"{case['name']}.{name}" in golden for name in case["processor"]):
        figures.prepared_cases = 1
        ready = ["--input", str(prepared_file(case, golden, folder))]
        figures.prepared = int(generate(program, model, ready, len(want), "f32") == want)
    logits = dump(program, fast, inputs, "logits", folder, "auto")["logits"]
    figures.fast = relative(logits, golden[f"{case['name']}.logits"])
    figures.fast_ratio = figures.fast / case["bf16_logits_error"]
    return figures


def measure(program: Path, writer: Path, golden_dir: Path) -> Figures:
    total = Figures()
    cases = json.loads((golden_dir / "cases.json").read_text())["cases"]
    golden = read_tensors(golden_dir / "golden.safetensors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dtype in ("f32", "bf16"):
            (folder / dtype).mkdir()
            subprocess.run([str(writer), str(golden_dir), str(folder / dtype), "hf", dtype], check=True)
        for case in cases:
            one = check_case(program, folder / "f32", folder / "bf16", case, golden, folder)
            for key in ("cases", "ids", "outputs", "greedy", "steps", "prepared", "prepared_cases"):
                setattr(total, key, getattr(total, key) + getattr(one, key))
            for key in ("features", "layers", "logits", "fast", "fast_ratio"):
                setattr(total, key, max(getattr(total, key), getattr(one, key)))
            total.wrong += one.wrong
    return total


CUDA_HEAD = "CUDA: logits, fast mode, greedy tokens"
HEAD = f"""| golden | cases | ids | masks, grids, pixels | features | layers | logits | greedy tokens | tokens from the reference's prepared input | fast mode: logits | {CUDA_HEAD} |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def cuda_cell(f: Figures) -> str:
    return f"{f.logits:.1e}, {f.fast:.1e} ({f.fast_ratio:.2f}), {f.greedy} of {f.steps}"


def row(name: str, f: Figures, cuda: str) -> str:
    return (
        f"| {name} | {f.cases} | {f.ids} identical | {f.outputs} identical | {f.features:.1e} | {f.layers:.1e} | {f.logits:.1e}"
        f" | {f.greedy} of {f.steps} | {f.prepared} of {f.prepared_cases} | {f.fast:.1e} ({f.fast_ratio:.2f})"
        f" | {cuda} |\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", type=Path, default=ROOT / "build")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--only", default="", help="goldens whose name contains this")
    parser.add_argument("--backend", choices=["cpu", "cuda"], help="where to compute")
    parser.add_argument("--jobs", type=int, default=1, help="goldens measured at a time")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the cells of the CUDA column")
    parser.add_argument("--cuda", type=Path, metavar="FILE", help="take the CUDA column from there")
    args = parser.parse_args()
    saved = args.cuda or max((ROOT / "bench" / "results").glob("*-parity.json"), default=None)
    column = json.loads(saved.read_text()) if saved else {}
    if args.backend:
        BACKEND.extend(["--backend", args.backend])
    build = args.build.resolve()
    table, wrong = HEAD, []
    goldens = [path.parent for path in sorted((ROOT / "tests" / "golden").glob("*/cases.json")) if args.only in path.parent.name]

    def attempt(golden_dir: Path) -> Figures | Refused:
        try:
            return measure(build / "vlm", build / "tests" / "write_checkpoint", golden_dir)
        except Refused as refusal:
            return refusal

    with ThreadPoolExecutor(args.jobs) as pool:
        for golden_dir, figures in zip(goldens, pool.map(attempt, goldens)):
            if isinstance(figures, Refused):
                wrong.append(f"{golden_dir.name}: {figures}")
                continue
            if args.backend == "cuda":
                column[golden_dir.name] = cuda_cell(figures)
            table += row(golden_dir.name, figures, column.get(golden_dir.name, "not measured"))
            wrong += [f"{golden_dir.name}/{line}" for line in figures.wrong]
    versions = json.loads((ROOT / "tests" / "golden" / "idefics3-split" / "cases.json").read_text())["reference"]
    named = {"PIL": "Pillow"}
    table += "\nReference: " + ", ".join(f"{named.get(name, name)} {version}" for name, version in versions.items())
    table += (
        "; float32, CPU. Features, layers and logits: relative error in exact mode (`--dtype f32`), the largest over all cases."
        " Fast mode: the default on the bfloat16 checkpoint, in brackets as a share of the error of the reference's own bfloat16 run.\n"
    )
    print(table)
    for line in wrong:
        print("differs: " + line, file=sys.stderr)
    if args.save:
        args.save.write_text(json.dumps(column, indent=1) + "\n")
    if args.write:
        readme = ROOT / "README.md"
        text = readme.read_text()
        if BEGIN not in text or END not in text:
            sys.exit(f"{readme.name}: no parity marks")
        front, rest = text.split(BEGIN, 1)
        readme.write_text(front + BEGIN + "\n" + table + END + rest.split(END, 1)[1])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
