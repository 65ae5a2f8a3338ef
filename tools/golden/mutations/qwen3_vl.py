# SPDX-License-Identifier: MIT
"""Mutations of Qwen3-VL, dense and of experts."""

from __future__ import annotations

from typing import Callable

import torch
from transformers.activations import ACT2FN
from transformers.models.qwen3_vl import modeling_qwen3_vl
from transformers.models.qwen3_vl_moe import modeling_qwen3_vl_moe

from . import Mutate, Mutation, TANH, activation, all_of, attention, modules, no_rope, patch, tiled_kv, without, zeroed
from .grids import (
    frames_joined,
    lost_delta,
    patches_row_major,
    sections,
    sequential_positions,
    swapped_halves,
    transposed_grid,
    vision_positions,
)

DENSE, MOE = "qwen3_vl", "qwen3_vl_moe"


def table(change: Callable) -> Mutate:
    """Another interpolation of the table of positions: change gets indices and weights."""
    original = modeling_qwen3_vl.get_vision_interpolation_indices_and_weights
    return lambda model, batch: patch(
        modeling_qwen3_vl,
        "get_vision_interpolation_indices_and_weights",
        lambda *args, **kwargs: change(*original(*args, **kwargs)),
    )


def nearest(indices, weights):
    return indices, torch.zeros_like(weights).scatter(-1, weights.argmax(-1, keepdim=True), 1)


def corners_apart(model, batch):
    return patch(model.model.visual, "interpolation_align_corners", False)


def deep(change: Callable) -> Mutate:
    """Other features behind the decoder's layers: change gets the list of them."""

    def mutate(model, batch):
        visual = model.model.visual
        original = visual.forward

        def forward(*args, **kwargs):
            out = original(*args, **kwargs)
            out.deepstack_features = change(out.deepstack_features)
            return out

        return patch(visual, "forward", forward)

    return mutate


def chunked(model, batch):
    """M-RoPE's sections one behind the other."""
    rotary = model.model.language_model.rotary_emb

    def recompose(freq):
        parts = [part[axis] for axis, part in enumerate(freq.split(rotary.mrope_section, dim=-1))]
        return torch.cat(parts * 2, dim=-1)

    return patch(rotary, "recomposition_frequencies", recompose)


def routes(change: Callable) -> Mutate:
    """Other experts or weights: change gets scores and indices."""

    def mutate(model, batch):
        def changed(module):
            original = module.forward

            def forward(*args, **kwargs):
                logits, scores, indices = original(*args, **kwargs)
                return logits, *change(logits, scores, indices)

            return patch(module, "forward", forward)

        return all_of(*(changed(module) for module in modules(model, "mlp.gate")))

    return mutate


def unnormalised(logits, scores, indices):
    return logits.softmax(-1).gather(-1, indices), indices


MUTATIONS = [
    Mutation("tower's RoPE off", DENSE, "turned", "features", vision_positions(modeling_qwen3_vl, lambda ids: ids * 0)),
    Mutation("tower's RoPE with rows and columns swapped", DENSE, "turned", "features", vision_positions(
        modeling_qwen3_vl, lambda ids: ids.flip(-1))),
    Mutation("no table of positions", DENSE, "turned", "features", table(lambda i, w: (i, w * 0))),
    Mutation("table of positions: nearest entry", DENSE, "turned", "features", table(nearest)),
    Mutation("table of positions: rows and columns swapped", DENSE, "landscape", "features", table(lambda i, w: (i % 6 * 6 + i // 6, w))),
    Mutation("table of positions: corners not aligned", DENSE, "turned", "features", corners_apart),
    Mutation("frames joined in attention", DENSE, "video", "features", frames_joined(modeling_qwen3_vl)),
    Mutation("tower's GELU erf instead of tanh", MOE, "landscape", "features", activation("mlp", "act_fn", ACT2FN["gelu"])),
    Mutation("merger's GELU tanh instead of erf", DENSE, "turned", "features", lambda model, batch: patch(
        model.model.visual.merger.act_fn, "forward", TANH.forward)),
    Mutation("no patch bias", DENSE, "turned", "features", zeroed(("patch_embed.proj.bias",))),
    Mutation("transposed grid", DENSE, "landscape", "features", transposed_grid),
    Mutation("patches row by row", DENSE, "turned", "features", patches_row_major),
    Mutation("no DeepStack", DENSE, "turned", "layers", deep(lambda features: [f * 0 for f in features])),
    Mutation("DeepStack a layer late", DENSE, "turned", "layers", deep(lambda features: [features[0] * 0, *features])),
    Mutation("DeepStack in reverse", MOE, "landscape", "layers", deep(lambda features: features[::-1])),
    Mutation("q and k without norms", DENSE, "turned", "layers", lambda model, batch: all_of(
        without("q_norm")(model, batch), without("k_norm")(model, batch))),
    Mutation("RoPE off", DENSE, "turned", "layers", no_rope(modeling_qwen3_vl)),
    Mutation("M-RoPE section by section", DENSE, "turned", "layers", chunked),
    Mutation("M-RoPE axes swapped", DENSE, "turned", "layers", sections([0, 2, 1])),
    Mutation("positions counted on", DENSE, "turned", "layers", sequential_positions),
    Mutation("rope delta lost in decode", DENSE, "turned", "decode", lost_delta),
    Mutation("full instead of causal mask", DENSE, "turned", "layers", lambda model, batch: attention(
        modeling_qwen3_vl, lambda self, q, k, mask, kwargs: (None, kwargs))),
    Mutation("key heads assigned in turn", MOE, "landscape", "layers", tiled_kv(modeling_qwen3_vl_moe)),
    Mutation("experts' weights not divided by their sum", MOE, "landscape", "layers", routes(unnormalised)),
    Mutation("experts' weights all alike", MOE, "landscape", "layers", routes(lambda l, s, i: (s * 0 + 0.5, i))),
    Mutation("experts' weights in another order", MOE, "landscape", "layers", routes(lambda l, s, i: (s.flip(-1), i))),
    Mutation("the likeliest expert alone", MOE, "landscape", "layers", routes(lambda l, s, i: (s[:, :1] / s[:, :1], i[:, :1]))),
    Mutation("an expert's gate and up swapped", MOE, "landscape", "layers", swapped_halves(
        lambda model: [module.gate_up_proj for module in modules(model, "mlp.experts")], 1)),
]
