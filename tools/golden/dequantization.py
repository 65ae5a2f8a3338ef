# SPDX-License-Identifier: MIT
"""What MLX decodes, in float32: every mode, bits, group size and type of scales, over random codes and scales.

    python -m tools.golden.dequantization tests/data/quantization

Writes values.safetensors: `in/<module>.weight`, `.scales`, `.biases` as MLX stores them and `out/<module>` in float32;
`factor/<case>/<module>` are the values of the nvfp4 modules of the other files, which have a factor of the whole matrix.
`stack/<module>` are experts, one below the other. MLX applies a factor to a product's result; of a table's row it is the same as of its values.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlx.core as mx
import numpy as np

DTYPES = {"f16": mx.float16, "bf16": mx.bfloat16, "f32": mx.float32}


def codes(rng: np.random.Generator, out: int, columns: int, bits: int) -> mx.array:
    return mx.array(rng.integers(0, 2**32, (out, columns * bits // 32), dtype=np.uint32))


def scales(rng: np.random.Generator, out: int, groups: int, dtype: mx.Dtype) -> mx.array:
    """Of both signs and many magnitudes; a zero and a subnormal of float16 among them."""
    values = rng.standard_normal((out, groups)) * 2.0 ** rng.integers(-12, 6, (out, groups))
    values[0, 0] = 0 if rng.random() < 0.2 else values[0, 0]
    values[-1, -1] = 3e-7 if rng.random() < 0.2 else values[-1, -1]
    return mx.array(values.astype(np.float32)).astype(dtype)


def affine(tensors: dict, rng: np.random.Generator) -> None:
    """Rows of one to three groups, one to three of them; a fifth has scales and biases of unlike types."""
    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            for name, dtype in DTYPES.items():
                groups, out = (int(n) for n in rng.integers(1, 4, 2))
                other = dtype if rng.random() < 0.8 else mx.float32
                parts = (codes(rng, out, group * groups, bits), scales(rng, out, groups, dtype), scales(rng, out, groups, other))
                module = f"affine.{bits}.{group}.{name}"
                tensors |= {f"in/{module}.{part}": value for part, value in zip(("weight", "scales", "biases"), parts)}
                wide = (parts[0], *(part.astype(mx.float32) for part in parts[1:]))
                tensors[f"out/{module}"] = mx.dequantize(*wide, group_size=group, bits=bits)


def floats(tensors: dict, rng: np.random.Generator) -> None:
    """Every scale that is a number with every code: MLX takes the scale 255 of the mx modes for infinity, OCP for NaN."""
    exponents = np.arange(255, dtype=np.uint8)
    e4m3 = np.array([code for code in range(256) if code % 128 != 127], dtype=np.uint8)
    for mode, bits, group, values in (("mxfp4", 4, 32, exponents), ("mxfp8", 8, 32, exponents[15::16]), ("nvfp4", 4, 16, e4m3)):
        per_row = 3 if len(values) % 3 == 0 else 2 if len(values) % 2 == 0 else 1
        of = mx.array(values.reshape(-1, per_row))
        every = np.arange(2**bits, dtype=np.uint8)
        if bits == 4:
            row = np.tile(every[::2] | every[1::2] << 4, group // 16)
            data = np.tile(row, (len(values) // per_row, per_row))
        else:  # 256 codes are eight groups
            data = np.stack([np.roll(every, 32 * i)[: 32 * per_row] for i in range(len(values) // per_row)])
        weight = mx.array(np.ascontiguousarray(data)).view(mx.uint32)
        tensors |= {f"in/{mode}.weight": weight, f"in/{mode}.scales": of}
        tensors[f"out/{mode}"] = mx.dequantize(weight, of, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
        # random ones, odd shapes
        out, groups = 6, 7  # MLX decodes no odd number of groups of 16
        weight = codes(rng, out, group * groups, bits)
        of = mx.array(rng.choice(values, (out, groups)))
        tensors |= {f"in/{mode}.random.weight": weight, f"in/{mode}.random.scales": of}
        tensors[f"out/{mode}.random"] = mx.dequantize(weight, of, group_size=group, bits=bits, mode=mode, dtype=mx.float32)


def stacks(tensors: dict, rng: np.random.Generator) -> None:
    """Experts [3, 4, 128] as mlx-vlm's switch layers hold them."""
    experts = mx.array(rng.standard_normal((3, 4, 128)).astype(np.float32))
    tensors["in/stack.dense.weight"] = tensors["stack/stack.dense"] = experts
    for mode, bits, group in (("affine", 3, 64), ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)):
        parts = mx.quantize(experts, group_size=group, bits=bits, mode=mode)
        tensors |= {f"in/stack.{mode}.{part}": value for part, value in zip(("weight", "scales", "biases"), parts)}
        tensors[f"stack/stack.{mode}"] = mx.dequantize(*parts, group_size=group, bits=bits, mode=mode, dtype=mx.float32)


def factors(tensors: dict, folder: Path) -> None:
    for case, module, packed, name in (("nvfp4", "quantized", "weight_packed", "weight_global_scale"),
                                       ("mixed", "four", "weight_packed", "weight_global_scale"),
                                       ("modelopt", "four", "weight", "weight_scale_2")):
        read = mx.load(str(folder / f"{case}.safetensors"))
        weight, of = read[f"out/{module}.weight"], read[f"out/{module}.scales"]
        factor = read[f"in/{module}.{name}"].astype(mx.float32)
        values = mx.dequantize(weight, of, group_size=16, bits=4, mode="nvfp4", dtype=mx.float32)
        tensors[f"factor/{case}/{module}"] = values * factor if name == "weight_scale_2" else values / factor


def main() -> None:
    folder = Path(sys.argv[1])
    rng = np.random.default_rng(11)
    tensors: dict = {}
    affine(tensors, rng)
    floats(tensors, rng)
    factors(tensors, folder)
    stacks(tensors, rng)
    mx.save_safetensors(str(folder / "values.safetensors"), tensors, metadata={"format": "mlx"})
    (folder / "values.json").write_text('{"model_type": "idefics3"}\n')
    print(f"{len(tensors)} tensors")


if __name__ == "__main__":
    main()
