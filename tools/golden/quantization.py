# SPDX-License-Identifier: MIT
"""Small checkpoints in every quantized layout that the loader translates, and what mlx-vlm makes of them.

    python -m tools.golden.quantization tests/data/quantization

Writes <case>.json (a config.json) and <case>.safetensors: `in/<name>` as the tool stores it, `out/<name>` as mlx-vlm
hands it to MLX, bit for bit. compressed-tensors' layouts are made by its own compressors, AWQ's and GPTQ's by auto-round
(pip install compressed-tensors==0.20.0 auto-round==0.16.1 py-cpuinfo mlx-lm==0.32.2, which no other tool here needs), ModelOpt's as
mlx-vlm reads them. mlx-vlm leaves mxfp4-pack-quantized to
its models: there, what counts is that MLX and compressed-tensors decode the same values. resolution.json has tables and
what mlx-vlm says of modules by them.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch
import torch.nn as nn_torch
from auto_round.export.export_to_awq.utils import WQLinear_GEMM, dequantize_gemm
from auto_round_extension.torch.qlinear_torch import QuantLinear
from auto_round_extension.torch.qlinear_torch_zp import QuantLinear as QuantLinearZP
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from mlx_lm.utils import _transform_awq_weights
from mlx_vlm.quantization.checkpoint import transform_quantized_weights
from mlx_vlm.utils import _quantization_for_module_path

TORCH = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def draw(out: int, columns: int, seed: int, dtype: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(-2, 1, out)[:, None]  # rows of unlike size, so that a scale in the wrong place is seen
    return (torch.randn(out, columns, generator=generator) * spread).to(TORCH[dtype])


def compress(name: str, args: dict, weight: torch.Tensor, scale: torch.Tensor, **more: torch.Tensor) -> dict:
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
    state = {"weight": weight, "weight_scale": scale, **more}
    return BaseCompressor.get_value_from_registry(name).compress(state, scheme)


def decompress(name: str, args: dict, state: dict) -> torch.Tensor:
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
    return BaseCompressor.get_value_from_registry(name).decompress(dict(state), scheme)["weight"]


def group_max(weight: torch.Tensor, size: int) -> torch.Tensor:
    return weight.float().reshape(weight.shape[0], -1, size).abs().amax(-1)


def ints(bits: int, size: int, weight: torch.Tensor) -> tuple[dict, dict]:
    args = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": size}
    scale = (group_max(weight, size) / (2 ** (bits - 1) - 0.5)).to(weight.dtype)
    return args, compress("pack-quantized", args, weight, scale)


def nvfp4(weight: torch.Tensor) -> tuple[dict, dict]:
    args = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
    whole = (448 * 6 / weight.float().abs().max()).reshape(1)
    scale = (group_max(weight, 16) / 6 * whole).to(torch.float8_e4m3fn).float()
    return args, compress("nvfp4-pack-quantized", args, weight, scale, weight_global_scale=whole)


def mxfp4(weight: torch.Tensor) -> tuple[dict, dict]:
    args = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": 32}
    scale = torch.exp2(torch.floor(torch.log2(group_max(weight, 32) / 4)))
    return args, compress("mxfp4-pack-quantized", args, weight, scale.to(weight.dtype))


def fp8(weight: torch.Tensor, scale_type: str, block: list[int] | None = None) -> tuple[dict, dict]:
    args = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "block" if block else "channel"}
    if block:
        args["block_structure"] = block
        rows, columns = -(-weight.shape[0] // block[0]), -(-weight.shape[1] // block[1])
        scale = torch.empty(rows, columns)
        for r in range(rows):
            for c in range(columns):
                part = weight.float()[r * block[0] :, c * block[1] :][: block[0], : block[1]]
                scale[r, c] = part.abs().max() / 448
    else:
        scale = weight.float().abs().amax(-1, keepdim=True) / 448
    return args, compress("float-quantized", args, weight.float(), scale.to(TORCH[scale_type]))


def to_mlx(value: torch.Tensor) -> mx.array:
    if value.dtype == torch.float8_e4m3fn:
        return mx.array(value.view(torch.uint8).numpy())
    if value.dtype == torch.bfloat16:
        return mx.array(value.view(torch.uint16).numpy()).view(mx.bfloat16)
    return mx.array(value.numpy())


def from_mlx(value: mx.array) -> torch.Tensor:
    if value.dtype == mx.bfloat16:
        return torch.from_numpy(np.array(value.view(mx.uint16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(value))


def add(tensors: dict, module: str, state: dict) -> None:
    tensors.update({f"{module}.{name}": value.detach().contiguous() for name, value in state.items()})


def same_values(decoded: mx.array, reference: torch.Tensor, within: float = 0) -> None:
    assert np.abs(np.array(decoded.astype(mx.float32)) - reference.float().numpy()).max() <= within


def save(folder: Path, case: str, config: dict, tensors: dict, result: dict) -> None:
    from safetensors.torch import save_file

    config = {"model_type": "idefics3", **config}
    (folder / f"{case}.json").write_text(json.dumps(config, indent=1) + "\n")
    stored = {f"in/{name}": value for name, value in tensors.items()}
    stored |= {f"out/{name}": from_mlx(value).contiguous() for name, value in result.items()}
    save_file(stored, folder / f"{case}.safetensors", metadata={"format": "pt"})
    print(f"{case}: {len(tensors)} tensors in, {len(result)} out")


def translate(folder: Path, case: str, section: dict, tensors: dict, expected: dict | None) -> dict:
    """Through mlx-vlm's own translation; what it says of the whole model is checked here."""
    result, quantization = transform_quantized_weights({name: to_mlx(v) for name, v in tensors.items()}, section)
    assert quantization == expected, quantization
    save(folder, case, {"quantization_config": section}, tensors, result)
    return result


def compressed(form: str, *groups: tuple[str | None, dict]) -> dict:
    names = {f"group_{i}": {"targets": ["Linear"], "weights": args} for i, (_, args) in enumerate(groups)}
    for (own, _), group in zip(groups, names.values()):
        if own:
            group["format"] = own
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
            "config_groups": names, "ignore": ["lm_head"], "kv_cache_scheme": None}


def integer_cases(folder: Path) -> None:
    for case, bits, size, dtype in (("int4", 4, 32, "bfloat16"), ("int4-half", 4, 128, "float16"), ("int8", 8, 64, "float32")):
        tensors: dict = {}
        args, state = ints(bits, size, draw(24, 256, 1, dtype))
        add(tensors, "quantized", state)
        add(tensors, "dense", {"weight": draw(3, 64, 2, dtype)})
        result = translate(folder, case, compressed("pack-quantized", (None, args)), tensors, {"group_size": size, "bits": bits, "mode": "affine"})
        # Both decode the same values, MLX with its bias, compressed-tensors with its integers; products with a float32
        # scale are rounded.
        scales = result["quantized.scales"].astype(mx.float32)
        decoded = mx.dequantize(result["quantized.weight"], scales, result["quantized.biases"].astype(mx.float32), size, bits)
        wide = {name: value.float() if name == "weight_scale" else value for name, value in state.items()}
        within = 2**-16 * float(scales.max()) if dtype == "float32" else 0
        same_values(decoded, decompress("pack-quantized", args, wide), within)


def float_cases(folder: Path) -> None:
    args, state = nvfp4(draw(16, 128, 3, "bfloat16"))
    tensors: dict = {}
    add(tensors, "quantized", state)
    add(tensors, "quantized", {"input_global_scale": torch.ones(1)})
    translate(folder, "nvfp4", compressed("nvfp4-pack-quantized", (None, args)), tensors, {"group_size": 16, "bits": 4, "mode": "nvfp4"})

    for case, dtype, block in (("fp8", "bfloat16", None), ("fp8-wide", "float32", None), ("fp8-half", "float16", None), ("fp8-blocks", "bfloat16", [16, 48])):
        tensors = {}
        args, state = fp8(draw(20, 100, 4, "bfloat16"), dtype, block)
        add(tensors, "quantized", state)
        translate(folder, case, compressed("float-quantized", ("float-quantized", args)), tensors, None)

    tensors = {}
    args4, state = nvfp4(draw(16, 64, 5, "bfloat16"))
    add(tensors, "four", state)
    args8, state = fp8(draw(16, 64, 6, "bfloat16"), "bfloat16")
    add(tensors, "eight", state)
    add(tensors, "dense", {"weight": draw(3, 64, 7, "bfloat16")})
    add(tensors, "attention", {"k_scale": torch.ones(1), "v_scale": torch.ones(1)})
    section = compressed("mixed-precision", ("nvfp4-pack-quantized", args4), ("float-quantized", args8))
    translate(folder, "mixed", section, tensors, {"group_size": 16, "bits": 4, "mode": "nvfp4"})

    tensors = {}
    args, state = mxfp4(draw(16, 128, 8, "bfloat16"))
    add(tensors, "quantized", state)
    result = {"quantized.weight": to_mlx(state["weight_packed"]).view(mx.uint32), "quantized.scales": to_mlx(state["weight_scale"])}
    decoded = mx.dequantize(result["quantized.weight"], result["quantized.scales"], group_size=32, bits=4, mode="mxfp4")
    same_values(decoded, decompress("mxfp4-pack-quantized", args, state))
    save(folder, "mxfp4", {"quantization_config": compressed("mxfp4-pack-quantized", (None, args))}, tensors, result)


def from_linear(make: type, bits: int, size: int, half: torch.Tensor, awq: bool) -> nn_torch.Module:
    """A layer of auto-round's, which packs as AutoAWQ and AutoGPTQ do, with zero points all over their range."""
    weight = half.float()
    low, high = (f(weight.reshape(weight.shape[0], -1, size), -1) for f in (torch.amin, torch.amax))
    scale = ((high - low) / (2**bits - 1)).half().float()
    zero = torch.clamp(torch.round(-low / scale), 1, 2**bits - 1)
    linear = nn_torch.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight
    if awq:
        return make.from_linear(linear, bits, size, scales=scale.t().contiguous(), zeros=zero.t().contiguous())
    layer = make(bits, size, weight.shape[1], weight.shape[0], False, g_idx=True)
    layer.device = "cpu"
    layer.pack(linear, scale, zero)
    return layer


def transposed_cases(folder: Path) -> None:
    """AWQ and GPTQ: `out/quantized.values` are what the tool itself decodes, in float16. For AWQ mlx-lm's translation is
    there, too; it rounds biases to the type of the scales."""
    for case, bits, size, kind in (("awq", 4, 64, None), ("gptq", 4, 32, QuantLinearZP), ("gptq8", 8, 128, QuantLinearZP), ("gptq-v2", 2, 64, QuantLinear)):
        layer = from_linear(kind or WQLinear_GEMM, bits, size, draw(40 if case == "awq" else 64, 256, 12, "float16"), kind is None)
        tensors: dict = {}
        add(tensors, "quantized", {name: value for name, value in layer.named_buffers()})
        assert set(tensors) == {f"quantized.{n}" for n in ("qweight", "qzeros", "scales") + (() if case == "awq" else ("g_idx",))}, tensors.keys()
        add(tensors, "dense", {"weight": draw(3, 64, 2, "float16")})
        section = {"quant_method": "awq" if case == "awq" else "gptq", "bits": bits, "group_size": size}
        if case == "awq":
            section |= {"version": "gemm", "zero_point": True}
            values = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, bits, size)
            result, quantization = _transform_awq_weights({name: to_mlx(v) for name, v in tensors.items()}, section)
            assert quantization == {"group_size": size, "bits": bits}
        else:
            section |= {"desc_act": False, "sym": False, "checkpoint_format": "gptq_v2" if case == "gptq-v2" else "gptq"}
            values = layer(torch.eye(256, dtype=torch.float16))
            result = {}
        result["quantized.values"] = to_mlx(values.t().contiguous())
        save(folder, case, {"quantization_config": section}, tensors, result)


def modelopt_case(folder: Path) -> None:
    tensors: dict = {}
    weight, scales = mx.quantize(to_mlx(draw(16, 128, 9, "float32")), group_size=16, bits=4, mode="nvfp4")
    packed = torch.from_numpy(np.array(weight)).view(torch.uint8)
    e4m3 = torch.from_numpy(np.array(scales)).view(torch.float8_e4m3fn)
    add(tensors, "four", {"weight": packed, "weight_scale": e4m3, "weight_scale_2": torch.tensor(0.37), "input_scale": torch.tensor(1.0)})
    codes = torch.arange(256, dtype=torch.uint8).reshape(4, 64)  # every one but those that are no number
    codes[codes % 128 == 127] = 0
    codes = codes.view(torch.float8_e4m3fn)
    add(tensors, "eight", {"weight": codes, "weight_scale": torch.tensor(0.013), "input_scale": torch.tensor(1.0)})
    add(tensors, "dense", {"weight": draw(3, 64, 11, "bfloat16")})
    add(tensors, "attention", {"k_scale": torch.tensor(1.0), "v_scale": torch.tensor(1.0)})
    section = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    translate(folder, "modelopt", section, tensors, {"group_size": 16, "bits": 4, "mode": "nvfp4"})


def mlx_case(folder: Path) -> None:
    """Every mode as MLX itself writes it, with what it says of each module; `out/` are the values in float32."""
    tensors, result = {}, {}
    quantization: dict = {"group_size": 64, "bits": 4}
    modes = [("affine", bits, size, "bfloat16") for bits in (2, 3, 4, 5, 6, 8) for size in (32, 64, 128)]
    modes += [("affine", 4, 64, "float16"), ("affine", 4, 64, "float32")]
    modes += [("mxfp4", 4, 32, "bfloat16"), ("mxfp8", 8, 32, "bfloat16"), ("nvfp4", 4, 16, "bfloat16")]
    for at, (mode, bits, size, dtype) in enumerate(modes):
        module = f"layers.{at}.{mode}"
        parts = mx.quantize(to_mlx(draw(4, 128, 20 + at, dtype)), group_size=size, bits=bits, mode=mode)
        add(tensors, module, dict(zip(("weight", "scales", "biases"), map(from_mlx, parts))))
        if (mode, bits, size) != ("affine", 4, 64):
            quantization[module] = {"group_size": size, "bits": bits} | ({"mode": mode} if mode != "affine" else {})
        if mode == "affine":
            parts = [parts[0], *(part.astype(mx.float32) for part in parts[1:])]
        result[module] = mx.dequantize(*parts, group_size=size, bits=bits, mode=mode).astype(mx.float32)
    save(folder, "mlx", {"quantization": quantization}, tensors, result)


def resolution_case(folder: Path) -> None:
    """Tables of every kind of entry, and what mlx-vlm says of modules: null (the whole model's parameters, if its `.scales`
    are there), false, or the parameters that MLX gives a layer made with the entry."""
    choose = random.Random(7)
    paths = [f"language_model.model.layers.{i}.mlp.{n}" for i in range(3) for n in ("gate_proj", "down_proj")]
    paths += ["language_model.lm_head", "vision_tower.blocks.0.fc1", "multi_modal_projector.linear"]
    entries = [False, True, {}, {"bits": 8}, {"group_size": 32}, {"group_size": 128, "bits": 3}, {"mode": "mxfp4"}, {"mode": "mxfp8", "bits": 8},
               {"mode": "nvfp4", "group_size": 16}, {"mode": "affine", "bits": 5, "group_size": 64}, {"group_size": 32, "bits": 4, "mode": "mxfp4"}]
    cases = []
    for _ in range(40):
        table: dict = choose.choice([{"group_size": 64, "bits": 4}, {"group_size": 32, "bits": 4, "mode": "mxfp4"}])
        table = dict(table)
        for path in paths:
            for key in dict.fromkeys((path, path.removeprefix("language_model."))):
                if choose.random() < 0.3:
                    table[key] = choose.choice(entries)
        answers: dict = {}
        for path in paths:
            entry = _quantization_for_module_path(table, path)
            answers[path] = entry if entry is None else False
            if entry:
                layer = nn.Linear(128, 8).to_quantized(**entry)
                answers[path] = [layer.mode, layer.bits, layer.group_size]
        cases.append({"quantization": table, "answers": answers})
    (folder / "resolution.json").write_text(json.dumps({"cases": cases}, separators=(",", ":")) + "\n")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    integer_cases(folder)
    float_cases(folder)
    modelopt_case(folder)
    transposed_cases(folder)
    mlx_case(folder)
    resolution_case(folder)


if __name__ == "__main__":
    main()
