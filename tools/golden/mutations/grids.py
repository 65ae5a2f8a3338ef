# SPDX-License-Identifier: MIT
"""Mutations that the families over grids of patches share (Qwen2-VL and its successors, GLM-OCR); no family by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable
from unittest import mock

import torch

from . import Mutate, all_of, patch


def vision_positions(modeling: Any, change: Callable) -> Mutate:
    original = modeling.get_vision_position_ids
    return lambda model, batch: patch(
        modeling, "get_vision_position_ids", lambda *args, **kwargs: change(original(*args, **kwargs))
    )


def frames_joined(modeling: Any) -> Mutate:
    """Attention over a whole video instead of each frame by itself."""
    original = modeling.get_vision_attention_seqlens
    return lambda model, batch: patch(
        modeling,
        "get_vision_attention_seqlens",
        lambda grid, config, **kwargs: original(grid, config, merge_temporal=True),
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


def swapped_halves(parameters: Callable[[Any], list[torch.nn.Parameter]], axis: int) -> Mutate:
    """A gate and an up that are one tensor, the other way round."""

    @contextmanager
    def context(found):
        kept = [p.data.clone() for p in found]
        for p in found:
            p.data.copy_(torch.cat(p.data.chunk(2, dim=axis)[::-1], dim=axis))
        try:
            yield
        finally:
            for p, value in zip(found, kept):
                p.data.copy_(value)

    return lambda model, batch: context(parameters(model))
