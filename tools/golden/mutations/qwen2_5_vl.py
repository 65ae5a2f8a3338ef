# SPDX-License-Identifier: MIT
"""Mutations of Qwen2.5-VL."""

from __future__ import annotations

from typing import Callable
from unittest import mock

import torch
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

from . import Mutate, Mutation, TANH, all_of, attention, causal, no_rope, patch, tiled_kv, without, zeroed


def vision_positions(change: Callable) -> Mutate:
    original = modeling_qwen2_5_vl.get_vision_position_ids
    return lambda model, batch: patch(
        modeling_qwen2_5_vl, "get_vision_position_ids", lambda *args, **kwargs: change(original(*args, **kwargs))
    )


def full_blocks(indexes: Callable[[int], list[int]]) -> Mutate:
    def change(model, batch):
        visual = model.model.visual
        return patch(visual, "fullatt_block_indexes", indexes(len(visual.blocks)))

    return change


def frames_joined(model, batch):
    """Attention over a whole video instead of each frame by itself."""
    original = modeling_qwen2_5_vl.get_vision_attention_seqlens
    return patch(
        modeling_qwen2_5_vl,
        "get_vision_attention_seqlens",
        lambda grid, config, **kwargs: original(grid, config, merge_temporal=True),
    )


def window_of(units: int) -> Mutate:
    return lambda model, batch: patch(
        model.model.visual, "window_size", model.model.visual.patch_size * model.model.visual.spatial_merge_size * units
    )


def transposed_grid(model, batch) -> None:
    batch["image_grid_thw"] = batch["image_grid_thw"][:, [0, 2, 1]]


def patches_row_major(model, batch) -> None:
    """Patches in plain row-major order instead of by merge blocks."""
    _, h, w = batch["image_grid_thw"][0].tolist()
    rows = batch["pixel_values"].view(h // 2, w // 2, 2, 2, -1)
    batch["pixel_values"] = rows.permute(0, 2, 1, 3, 4).reshape(h * w, -1)


def sections(order: list[int]) -> Mutate:
    """M-RoPE axes in another order."""

    def change(model, batch):
        rotary = model.model.language_model.rotary_emb
        original = rotary.forward
        return patch(rotary, "forward", lambda x, position_ids: original(x, position_ids[order]))

    return change


def section_sizes(model, batch):
    rotary = model.model.language_model.rotary_emb
    return patch(rotary, "mrope_section", rotary.mrope_section[::-1])


def sequential_positions(model, batch) -> None:
    length = batch["input_ids"].shape[1]
    batch["position_ids"] = torch.arange(length).expand(3, 1, -1)


def still_time(model, batch) -> None:
    batch["second_per_grid_ts"] = torch.zeros_like(batch["second_per_grid_ts"])


def lost_delta(model, batch):
    """Decode counts on from the prompt's length; the attribute swallows what prefill stores."""

    class Zero:
        def __get__(self, instance, owner):
            return torch.zeros(1, 1, dtype=torch.long)

        def __set__(self, instance, value):
            pass

    kept = model.model.__dict__.pop("rope_deltas", None)
    context = mock.patch.object(type(model.model), "rope_deltas", Zero(), create=True)
    stack = all_of(context)
    stack.callback(lambda: model.model.__dict__.__setitem__("rope_deltas", kept))
    return stack


TIED, UNTIED = "qwen2_5_vl-tied", "qwen2_5_vl-untied"

MUTATIONS = [
    Mutation("tower's RoPE off", TIED, "turned", "features", vision_positions(lambda ids: ids * 0)),
    Mutation("tower's RoPE with rows and columns swapped", TIED, "turned", "features", vision_positions(lambda i: i.flip(-1))),
    Mutation("no windows", TIED, "landscape", "features", full_blocks(lambda n: list(range(n)))),
    Mutation("windows in every block", TIED, "landscape", "features", full_blocks(lambda n: [])),
    Mutation("windows of another size", UNTIED, "landscape", "features", window_of(2)),
    Mutation("frames joined in attention", TIED, "video", "features", frames_joined),
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
