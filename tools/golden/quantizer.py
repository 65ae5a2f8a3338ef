# SPDX-License-Identifier: MIT
"""Rows of weights, and what MLX's quantizer and dequantizer on the CPU make of them.

    python -m tools.golden.quantizer tests/data/quantizer.safetensors

`<type>` has the rows; `<type>/<mode>-<bits>-<group>/` has weight, scales, biases (affine) and, for one
group size of each, dense: what mx.dequantize gives back in the type. The rows: plain ones of unlike
spread, zeros, constants, one value that stands out, values of one sign, halves between two steps, and
groups far below and far above the others.
"""

from __future__ import annotations

import sys

import mlx.core as mx
import numpy as np

COLUMNS = 128
TYPES = {"bf16": mx.bfloat16, "f16": mx.float16, "f32": mx.float32}


def rows() -> np.ndarray:
    random = np.random.default_rng(20)
    plain = [random.standard_normal(COLUMNS) * spread for spread in (0.02, 0.5, 3.0, 40.0)]
    steps = np.arange(COLUMNS)
    special = [
        np.zeros(COLUMNS),
        np.where(steps % 2, -0.0, 0.0),
        np.full(COLUMNS, 0.37),
        np.full(COLUMNS, -2.5),
        np.where(steps % 32 == 5, 9.0, random.standard_normal(COLUMNS) * 1e-3),
        np.abs(random.standard_normal(COLUMNS)),
        -np.abs(random.standard_normal(COLUMNS)) - 4,
        (steps % 31 - 15) / 4.0,  # ties between steps
        (steps % 25 - 12) / 2.0,
        random.standard_normal(COLUMNS) * np.repeat([1e-6, 3e-5, 1.0, 2000.0], 32),
        np.repeat([447.0, 464.0, 470.0, 479.0, 481.0, 1.0, 0.9, 0.01], 16) * np.where(steps % 3, 1, -1),
        random.standard_normal(COLUMNS) * np.exp2(random.integers(-12, 12, COLUMNS)),
    ]
    return np.stack(plain + special).astype(np.float32)


def main() -> None:
    mx.set_default_device(mx.cpu)
    ways = [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
    ways += [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
    out = {}
    for name, type_ in TYPES.items():
        w = mx.array(rows()).astype(type_)
        out[name] = w
        for mode, bits, group in ways:
            parts = mx.quantize(w, group_size=group, bits=bits, mode=mode)
            where = f"{name}/{mode}-{bits}-{group}/"
            for part, value in zip(("weight", "scales", "biases"), parts):
                out[where + part] = value
            if group != 64 and group != 128:
                more = {} if mode == "affine" else {"dtype": type_}
                out[where + "dense"] = mx.dequantize(*parts, group_size=group, bits=bits, mode=mode, **more)
    mx.save_safetensors(sys.argv[1], out)


if __name__ == "__main__":
    main()
