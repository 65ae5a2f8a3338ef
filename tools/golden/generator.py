# SPDX-License-Identifier: MIT
"""The counter-based weight generator that C (tests/support/checkpoint.c) and Python share.

No weights are stored: element i of the tensor with canonical name N is

    key   = mix(fnv1a64(N) XOR seed)
    h     = mix(key + (i + 1) * 0x9E3779B97F4A7C15)        all modulo 2^64
    k     = ((h >> 32) * (2 * range + 1) >> 32) - range    an integer in [-range, range]
    value = offset + k * 2^exponent

with mix the finaliser of SplitMix64. The offset is a multiple of 2^exponent and |offset| / 2^exponent + range is below 256, so that
every value is exact in bfloat16, float16 and float32, and one golden serves the three kinds of checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a64(name: str) -> int:
    """FNV-1a over the UTF-8 bytes of a tensor's name."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, on uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Draw:
    """How the values of one tensor are drawn: offset + k * 2^exponent, k uniform in [-range, range]."""

    offset: float
    exponent: int
    range: int

    @staticmethod
    def of_std(std: float, offset: float = 0) -> Draw:
        """Values around an offset with about the given standard deviation (range between 64 and 127, or less)."""
        width = std * math.sqrt(3)
        exponent = math.ceil(math.log2(max(width / 127, (width + abs(offset)) / 255)))
        return Draw(offset, exponent, round(width / 2.0**exponent))

    @staticmethod
    def of_norm(offset: int) -> Draw:
        """Values of a norm's weight: offset 1, or 0 where the model adds the 1 itself."""
        return Draw(offset, -7, 31)


def fill(name: str, count: int, seed: int, draw: Draw) -> np.ndarray:
    """The first count values of a tensor, float32."""
    with np.errstate(over="ignore"):
        key = mix(np.array([fnv1a64(name) ^ seed], dtype=np.uint64))
        h = mix(key + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA))
        k = ((h >> np.uint64(32)) * np.uint64(2 * draw.range + 1)) >> np.uint64(32)
    value = draw.offset + (k.astype(np.int64) - draw.range) * 2.0**draw.exponent
    out = value.astype(np.float32)
    assert (out == out.astype(np.float16)).all(), f"{name}: not exact in float16"
    assert (out.view(np.uint32) & 0xFFFF == 0).all(), f"{name}: not exact in bfloat16"
    return out
