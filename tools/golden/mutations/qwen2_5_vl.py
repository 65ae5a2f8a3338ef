# SPDX-License-Identifier: MIT
"""Mutations of Qwen2.5-VL."""

from __future__ import annotations

from typing import Callable

import torch
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

from . import Mutate, Mutation, TANH, attention, no_rope, patch, tiled_kv, without, zeroed
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


def full_blocks(indexes: Callable[[int], list[int]]) -> Mutate:
    def change(model, batch):
        visual = model.model.visual
        return patch(visual, "fullatt_block_indexes", indexes(len(visual.blocks)))

    return change


def window_of(units: int) -> Mutate:
    return lambda model, batch: patch(
        model.model.visual, "window_size", model.model.visual.patch_size * model.model.visual.spatial_merge_size * units
    )


def still_time(model, batch) -> None:
    batch["second_per_grid_ts"] = torch.zeros_like(batch["second_per_grid_ts"])


TIED, UNTIED = "qwen2_5_vl-tied", "qwen2_5_vl-untied"

MUTATIONS = [
    Mutation("tower's RoPE off", TIED, "turned", "features", vision_positions(modeling_qwen2_5_vl, lambda ids: ids * 0)),
    Mutation("tower's RoPE with rows and columns swapped", TIED, "turned", "features", vision_positions(modeling_qwen2_5_vl, lambda i: i.flip(-1))),
    Mutation("no windows", TIED, "landscape", "features", full_blocks(lambda n: list(range(n)))),
    Mutation("windows in every block", TIED, "landscape", "features", full_blocks(lambda n: [])),
    Mutation("windows of another size", UNTIED, "landscape", "features", window_of(2)),
    Mutation("frames joined in attention", TIED, "video", "features", frames_joined(modeling_qwen2_5_vl)),
    Mutation("merger's GELU tanh instead of erf", TIED, "turned", "features", lambda model, batch: patch(
        model.model.visual.merger.mlp[1], "forward", TANH.forward)),
    Mutation("transposed grid", TIED, "landscape", "features", transposed_grid),
    Mutation("patches row by row", TIED, "turned", "features", patches_row_major),
    Mutation("no merger norm", TIED, "turned", "features", without("merger.ln_q")),
    Mutation("RoPE off", TIED, "turned", "layers", no_rope(modeling_qwen2_5_vl)),
    Mutation("M-RoPE axes swapped", TIED, "turned", "layers", sections([0, 2, 1])),
    Mutation("M-RoPE sections swapped", TIED, "turned", "layers", section_sizes),
    Mutation("positions counted on", TIED, "turned", "layers", sequential_positions),
    Mutation("video's time interval lost", TIED, "video", "layers", still_time),
    Mutation("rope delta lost in decode", TIED, "turned", "decode", lost_delta),
    Mutation("rope delta lost in decode", UNTIED, "video-fast", "decode", lost_delta),
    Mutation("no biases on q, k, v", TIED, "turned", "layers", zeroed(("q_proj.bias", "k_proj.bias", "v_proj.bias"))),
    Mutation("full instead of causal mask", TIED, "turned", "layers", lambda model, batch: attention(
        modeling_qwen2_5_vl, lambda self, q, k, mask, kwargs: (None, kwargs))),
    Mutation("key heads assigned in turn", TIED, "turned", "layers", tiled_kv(modeling_qwen2_5_vl)),
]
