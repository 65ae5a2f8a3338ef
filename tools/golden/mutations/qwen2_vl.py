# SPDX-License-Identifier: MIT
"""Mutations of Qwen2-VL."""

from __future__ import annotations

from transformers.activations import ACT2FN
from transformers.models.qwen2_vl import modeling_qwen2_vl

from . import Mutation, TANH, activation, attention, no_rope, patch, without, zeroed
from .grids import (
    frames_joined,
    lost_delta,
    patches_row_major,
    section_sizes,
    sections,
    sequential_positions,
    transposed_grid,
    vision_positions,
)

NAME = "qwen2_vl"


def one_time(model, batch):
    """A video's times all stand at its first."""
    original = model.model.get_vision_position_ids
    return patch(model.model, "get_vision_position_ids", lambda *args, **kwargs: original(*args, **kwargs | {"time_interval": 0}))


MUTATIONS = [
    Mutation("tower's RoPE off", NAME, "turned", "features", vision_positions(modeling_qwen2_vl, lambda ids: ids * 0)),
    Mutation("tower's RoPE with rows and columns swapped", NAME, "turned", "features", vision_positions(
        modeling_qwen2_vl, lambda ids: ids.flip(-1))),
    Mutation("frames joined in attention", NAME, "video", "features", frames_joined(modeling_qwen2_vl)),
    Mutation("tower's GELU tanh instead of quick", NAME, "turned", "features", activation("mlp", "act", ACT2FN["gelu_pytorch_tanh"])),
    Mutation("merger's GELU tanh instead of erf", NAME, "turned", "features", lambda model, batch: patch(
        model.model.visual.merger.mlp[1], "forward", TANH.forward)),
    Mutation("tower's norms without biases", NAME, "turned", "features", zeroed(("norm1.bias", "norm2.bias"))),
    Mutation("no merger norm", NAME, "turned", "features", without("merger.ln_q")),
    Mutation("transposed grid", NAME, "landscape", "features", transposed_grid),
    Mutation("patches row by row", NAME, "turned", "features", patches_row_major),
    Mutation("RoPE off", NAME, "turned", "layers", no_rope(modeling_qwen2_vl)),
    Mutation("M-RoPE axes swapped", NAME, "turned", "layers", sections([0, 2, 1])),
    Mutation("M-RoPE sections swapped", NAME, "turned", "layers", section_sizes),
    Mutation("positions counted on", NAME, "turned", "layers", sequential_positions),
    Mutation("a video's times in one place", NAME, "video", "layers", one_time),
    Mutation("rope delta lost in decode", NAME, "turned", "decode", lost_delta),
    Mutation("no biases on q, k, v", NAME, "turned", "layers", zeroed(("q_proj.bias", "k_proj.bias", "v_proj.bias"))),
    Mutation("full instead of causal mask", NAME, "turned", "layers", lambda model, batch: attention(
        modeling_qwen2_vl, lambda self, q, k, mask, kwargs: (None, kwargs))),
]
