#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`vlm convert` held to mlx-vlm's converter, over the checkpoints of the goldens.

For each family, type of weights and way of converting: both converters run on the same source; every
tensor must have the same name, type, shape and bits, and config.json the same `quantization`. Then
mlx-vlm loads what `vlm convert` wrote, and its logits of a text prompt are held to libvlm's.

    tools/compare_convert.py [--build build] [--quick]

Needs mlx and mlx-vlm (tools/requirements.txt). Prints a line for each case and exits 1 on a
difference."""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_vlm.utils import load_config, load_model

converter = importlib.import_module("mlx_vlm.convert")  # the package has a function of that name

ROOT = Path(__file__).resolve().parent.parent
# Golden, and the names of its source that mlx-vlm can read.
FAMILIES = [
    ("idefics3-split", "hf"),
    ("smolvlm-video", "hf"),
    ("paligemma-gemma", "mlx"),
    ("paligemma2-gemma2", "mlx"),
    ("qwen2_5_vl-tied", "hf_old"),
    ("qwen2_5_vl-untied", "hf_old"),
]
AFFINE = [(bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
CASES = (
    [({}, [])]
    + [({"dtype": d}, ["--dtype", s]) for d, s in
       (("bfloat16", "bf16"), ("float16", "f16"), ("float32", "f32"))]
    + [({"quantize": True, "q_bits": b, "q_group_size": g},
        ["--quantize", str(b), "--group-size", str(g)]) for b, g in AFFINE]
    + [({"quantize": True, "q_mode": m, "q_bits": None, "q_group_size": None}, ["--mode", m])
       for m in ("mxfp4", "mxfp8", "nvfp4")]
    + [({"quantize": True, "quant_predicate": r}, ["--recipe", r]) for r in converter.QUANT_RECIPES]
)
QUICK = ({"quantize": True, "q_bits": 4, "q_group_size": 32}, ["--quantize", "4", "--group-size", "32"])


class NoProcessor:
    def save_pretrained(self, path):
        pass


def fetch(path, **_):
    return load_model(Path(path), lazy=True), load_config(path), NoProcessor()


def tensors(folder):
    out = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        out.update(mx.load(str(file)))
    return out


def differences(ours, theirs):
    """Lines about tensors that are not the same."""
    a, b = tensors(ours), tensors(theirs)
    lines = [f"only vlm has {n}" for n in sorted(a.keys() - b.keys())]
    lines += [f"only mlx-vlm has {n}" for n in sorted(b.keys() - a.keys())]
    for name in sorted(a.keys() & b.keys()):
        x, y = a[name], b[name]
        if x.dtype != y.dtype or x.shape != y.shape:
            lines.append(f"{name}: {x.dtype} {x.shape}, mlx-vlm {y.dtype} {y.shape}")
        elif x.size and not mx.array_equal(x.view(mx.uint8), y.view(mx.uint8)):
            wrong = int((x.view(mx.uint8) != y.view(mx.uint8)).sum())
            lines.append(f"{name}: {wrong} of {x.nbytes} bytes differ")
    read = [json.loads((Path(d) / "config.json").read_text()) for d in (ours, theirs)]
    for key in ("quantization", "quantization_config"):
        if read[0].get(key) != read[1].get(key):
            lines.append(f"config.json: {key}: {read[0].get(key)}, mlx-vlm {read[1].get(key)}")
    return lines


def logits_of_mlx(folder, ids):
    model = load_model(Path(folder))
    out = model.language_model(mx.array([ids]))
    return np.array(getattr(out, "logits", out).astype(mx.float32))[0, -1]


def logits_of_vlm(build, folder, ids, scratch):
    prepared = scratch / "input.safetensors"
    mx.save_safetensors(str(prepared), {"input_ids": mx.array([ids], dtype=mx.int64)})
    dumped = scratch / "logits.safetensors"
    subprocess.run([build / "vlm", "dump", "-m", folder, "--input", prepared, "--stage", "logits", "--out",
                    dumped, "--dtype", "f32"], check=True)
    loaded = mx.load(str(dumped))
    logits = np.array(next(iter(loaded.values())))
    return logits.reshape(-1, logits.shape[-1])[-1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--quick", action="store_true", help="one type of weights, one way")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)
    converter.fetch_from_hub = fetch
    converter.create_model_card = lambda *a, **k: None
    converter.print = importlib.import_module("mlx_vlm.quant_utils").print = lambda *a, **k: None
    failed = 0
    for golden, names in FAMILIES:
        for dtype in ("f32",) if args.quick else ("f32", "bf16", "f16"):
            same = cases = 0
            worst = agree = asked = 0
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                source = folder / "source"
                source.mkdir()
                subprocess.run([args.build / "tests" / "write_checkpoint", ROOT / "tests/golden" / golden,
                                source, names, dtype], check=True)
                for i, (options, words) in enumerate([QUICK] if args.quick else CASES):
                    ours, theirs = folder / f"vlm{i}", folder / f"mlx{i}"
                    try:
                        converter.convert(str(source), str(theirs), **options)
                    except ValueError as e:
                        print(f"{golden} {dtype} {' '.join(words)}: mlx-vlm cannot: {e}")
                        continue
                    cases += 1
                    subprocess.run([args.build / "vlm", "convert", "-m", source, "-o", ours, *words], check=True)
                    lines = differences(ours, theirs)
                    same += not lines
                    for line in lines[:8]:
                        print(f"{golden} {dtype} {' '.join(words) or 'as it is'}: {line}")
                    if not words or words[0] == "--recipe":
                        continue
                    ids = [1, 5, 9, 17, 33, 40, 3, 21]
                    a, b = logits_of_mlx(ours, ids), logits_of_vlm(args.build, ours, ids, folder)
                    error = float(np.abs(a - b).max() / np.abs(a).max())
                    worst = max(worst, error)
                    asked += 1
                    agree += int(a.argmax() == b.argmax())
            failed += cases - same
            print(f"{golden:20s} {dtype:4s}  {same} of {cases} the same bits;  loaded by mlx-vlm: first tokens "
                  f"{agree} of {asked}, logits within {worst:.1e} of the largest", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
