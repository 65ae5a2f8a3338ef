#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`vlm convert` held to mlx-vlm's converter, over checkpoints of the goldens and whole ones.

    tools/compare_convert.py [--build build] [--quick] [--source DIR ...]

Beside goldens, experts as published files have them, in a checkpoint made for it (its own golden is too narrow to be
quantized). For each source and way of converting both converters run; every tensor must have the same name, type,
shape and bits, and config.json the same `quantization`. Then mlx-vlm loads what `vlm convert` wrote, and
its logits of a text prompt and its greedy tokens are held to libvlm's. Needs mlx and mlx-vlm
(tools/requirements.txt). Prints a line for each source and exits 1 on a difference of the first kind.

Goldens that mlx-vlm cannot load are left out: Gemma with a head_dim of its own, configs whose decoder is
nested as transformers 5 does it (Qwen2.5-VL), tied SmolVLMs without a copy of the head. PaliGemma 2 is
asked nothing: mlx-vlm's logits of the unconverted golden are 0.13 of the largest away from libvlm's already."""

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import mlx.nn
import numpy as np
from mlx_vlm.utils import load_config, load_model

converter = importlib.import_module("mlx_vlm.convert")  # the package has a function of that name

ROOT = Path(__file__).resolve().parent.parent
# Golden, and the names of its source that mlx-vlm can read.
FAMILIES = [("idefics3-split", "hf"), ("paligemma2-gemma2", "mlx"), ("qwen2_5_vl-tied", "mlx")]


def affine(bits, group):
    options = {"quantize": True, "q_bits": bits, "q_group_size": group}
    return options, ["--quantize", str(bits), "--group-size", str(group)]


def mode(name):
    return {"quantize": True, "q_mode": name, "q_bits": None, "q_group_size": None}, ["--mode", name]


def recipe(name):
    return {"quantize": True, "quant_predicate": name}, ["--recipe", name]


def dtype(name, short):
    return {"dtype": name}, ["--dtype", short]


MODES = [mode(m) for m in ("mxfp4", "mxfp8", "nvfp4")]
CASES = (
    [({}, []), dtype("bfloat16", "bf16"), dtype("float16", "f16"), dtype("float32", "f32")]
    + [affine(bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64)]
    + MODES
    + [recipe(r) for r in converter.QUANT_RECIPES]
)
WHOLE = [affine(4, 64), affine(8, 32), affine(3, 128), *MODES, recipe("mixed_3_6")]
QUICK = [affine(4, 32), mode("nvfp4")]
# Of the published mixture of experts, made small. Outputs, too, are whole groups of 64: mlx-vlm's recipes ask for it.
SMALL = {"hidden_size": 128, "head_dim": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 8}
SMALL |= {"moe_intermediate_size": 192, "intermediate_size": 160, "num_experts_per_tok": 2, "num_hidden_layers": 4}
SMALL |= {"mlp_only_layers": [2], "vocab_size": 1024, "bos_token_id": 1000, "eos_token_id": 1002}
SMALL_TOWER = {"hidden_size": 48, "intermediate_size": 76, "num_heads": 3, "depth": 3, "out_hidden_size": 128}
SMALL_TOWER |= {"num_position_embeddings": 36, "patch_size": 8, "deepstack_visual_indexes": [0, 1, 2]}
PROMPT = [1, 5, 9, 17, 33, 40, 3, 21]


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


def float_embeddings():
    """MLX decodes embeddings of the mx and nv modes to bfloat16, a type to which mlx-vlm's Qwen then
    rounds cosines and sines (logits 5e-3 to 1.1e-2 away)."""
    decode = mlx.nn.QuantizedEmbedding.__call__
    mlx.nn.QuantizedEmbedding.__call__ = lambda self, ids: decode(self, ids).astype(mx.float32)


def ask_mlx(folder, tokens):
    """Logits behind the prompt, and greedy tokens, each from a pass over all that is before it."""
    model = load_model(Path(folder))
    ids, first = list(PROMPT), None
    for _ in range(tokens):
        for state in ("_position_ids", "_rope_deltas"):  # Qwen's, of the pass before
            if hasattr(model.language_model, state):
                setattr(model.language_model, state, None)
        out = model.language_model(mx.array([ids]))
        row = np.array(getattr(out, "logits", out).astype(mx.float32))[0, -1]
        first = row if first is None else first
        ids.append(int(row.argmax()))
    return first, ids[len(PROMPT) :]


def ask_vlm(build, folder, tokens, scratch):
    prepared, dumped = scratch / "input.safetensors", scratch / "logits.safetensors"
    mx.save_safetensors(str(prepared), {"input_ids": mx.array([PROMPT], dtype=mx.int64)})
    both = ["-m", folder, "--input", prepared, "--dtype", "f32"]
    subprocess.run([build / "vlm", "dump", *both, "--stage", "logits", "--out", dumped], check=True)
    logits = np.array(next(iter(mx.load(str(dumped)).values())))
    run = subprocess.run([build / "vlm", "generate", *both, "--max-tokens", str(tokens), "--ignore-eos", "--json"],
                         check=True, capture_output=True)
    return logits.reshape(-1, logits.shape[-1])[-1], json.loads(run.stdout)["tokens"]


def compare(build, source, label, cases, tokens, asks):
    """Prints the source's line; how many conversions differ."""
    same = asked = agree = 0
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for options, words in cases:
            ours, theirs = folder / "vlm", folder / "mlx"
            converter.convert(str(source), str(theirs), **options)
            subprocess.run([build / "vlm", "convert", "-m", source, "-o", ours, *words], check=True)
            lines = differences(ours, theirs)
            same += not lines
            for line in lines[:8]:
                print(f"{label} {' '.join(words) or 'as it is'}: {line}")
            if asks(words):
                (a, x), (b, y) = ask_mlx(ours, tokens), ask_vlm(build, ours, tokens, folder)
                worst = max(worst, float(np.abs(a - b).max() / np.abs(a).max()))
                agree += x == y
                asked += 1
            shutil.rmtree(ours)
            shutil.rmtree(theirs)
    line = f"{label:28s} {same} of {len(cases)} the same bits"
    if asked:
        line += f"; loaded by mlx-vlm: {tokens} greedy tokens the same in {agree} of {asked}, logits within {worst:.1e}"
    print(line, flush=True)
    return len(cases) - same


def make_experts(folder, dtype):
    """A checkpoint in published files' names and layouts."""
    shape = folder / "shape"
    shutil.copytree(ROOT / "tools/configs/qwen3-vl-30b-a3b", shape)
    config = json.loads((shape / "config.json").read_text())
    config |= {"image_token_id": 1012, "video_token_id": 1013, "vision_start_token_id": 1009, "vision_end_token_id": 1010}
    config["text_config"] |= SMALL
    config["text_config"]["rope_scaling"]["mrope_section"] = [6, 5, 5]
    config["vision_config"] |= SMALL_TOWER
    (shape / "config.json").write_text(json.dumps(config))
    subprocess.run([sys.executable, ROOT / "tools/random_checkpoint.py", shape / "config.json", folder / "made", "--dtype", dtype],
                   check=True, stdout=subprocess.DEVNULL)
    return folder / "made"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--quick", action="store_true", help="float32 weights, two ways")
    parser.add_argument("--source", type=Path, action="append", default=[], help="a whole checkpoint, seven ways")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)
    float_embeddings()
    converter.fetch_from_hub = fetch
    converter.create_model_card = lambda *a, **k: None
    converter.print = importlib.import_module("mlx_vlm.quant_utils").print = lambda *a, **k: None
    failed = 0
    for golden, names in FAMILIES:
        for type_ in ("f32",) if args.quick else ("f32", "bf16", "f16"):
            with tempfile.TemporaryDirectory() as source:
                subprocess.run([args.build / "tests" / "write_checkpoint", ROOT / "tests/golden" / golden, source,
                                names, type_], check=True)
                failed += compare(args.build, source, f"{golden} {type_}", QUICK if args.quick else CASES, 12,
                                  lambda words: words[:1] != ["--dtype"] and type_ == "f32" and "gemma2" not in golden)
    for type_ in ("f32",) if args.quick else ("f32", "bf16", "f16"):
        with tempfile.TemporaryDirectory() as folder:
            failed += compare(args.build, make_experts(Path(folder), type_), f"experts {type_}", QUICK if args.quick else CASES, 12,
                              lambda words: words[:1] != ["--dtype"] and type_ == "f32")
    for source in args.source:
        failed += compare(args.build, source, source.name, WHOLE, 1, lambda words: False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
