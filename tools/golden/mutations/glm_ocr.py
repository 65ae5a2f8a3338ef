# SPDX-License-Identifier: MIT
"""Mutations of GLM-OCR."""

from __future__ import annotations

import torch
from transformers.models.glm_ocr import modeling_glm_ocr

from . import TANH, Mutation, Quick, all_of, attention, no_rope, patch, tiled_kv, without, zeroed
from .grids import (
    lost_delta,
    patches_row_major,
    section_sizes,
    sections,
    sequential_positions,
    swapped_halves,
    transposed_grid,
    vision_positions,
)

NAME = "glm_ocr"


def halves(model, batch):
    """Pairs of the halves instead of neighbours."""

    def apply(q, k, cos, sin, unsqueeze_dim=1):
        def turn(x):
            left, right = x.chunk(2, dim=-1)
            return torch.cat([-right, left], dim=-1)

        cos, sin = (torch.cat([t[..., ::2]] * 2, dim=-1).unsqueeze(unsqueeze_dim) for t in (cos, sin))
        return q * cos + turn(q) * sin, k * cos + turn(k) * sin

    return patch(modeling_glm_ocr, "apply_rotary_pos_emb", apply)


def channels_last(model, batch):
    """The convolution of a unit reads patch by patch, not channel by channel."""
    conv = model.model.visual.downsample
    original = conv.forward

    def forward(x):
        return original(x.permute(0, 2, 3, 1).reshape(x.shape))

    return patch(conv, "forward", forward)


MUTATIONS = [
    Mutation("tower's RoPE off", NAME, "turned", "features", vision_positions(modeling_glm_ocr, lambda ids: ids * 0)),
    Mutation("tower's RoPE with rows and columns swapped", NAME, "turned", "features", vision_positions(
        modeling_glm_ocr, lambda ids: ids.flip(-1))),
    Mutation("tower's q and k without norms", NAME, "turned", "features", lambda model, batch: all_of(
        without("attn.q_norm")(model, batch), without("attn.k_norm")(model, batch))),
    Mutation("no norm in front of the convolution", NAME, "turned", "features", without("visual.post_layernorm")),
    Mutation("convolution patch by patch", NAME, "turned", "features", channels_last),
    Mutation("convolution without bias", NAME, "turned", "features", zeroed(("downsample.bias",))),
    Mutation("merger's GELU tanh instead of erf", NAME, "turned", "features", lambda model, batch: patch(
        model.model.visual.merger.act1, "forward", TANH.forward)),
    Mutation("merger's GELU quick instead of erf", NAME, "turned", "features", lambda model, batch: patch(
        model.model.visual.merger.act1, "forward", Quick().forward)),
    Mutation("no norm in the merger", NAME, "turned", "features", without("merger.post_projection_norm")),
    Mutation("tower's MLP without biases", NAME, "turned", "features", zeroed(("gate_proj.bias", "up_proj.bias", "down_proj.bias"))),
    Mutation("transposed grid", NAME, "landscape", "features", transposed_grid),
    Mutation("patches row by row", NAME, "turned", "features", patches_row_major),
    Mutation("no norm behind attention", NAME, "turned", "layers", without("post_self_attn_layernorm")),
    Mutation("no norm behind the MLP", NAME, "turned", "layers", without("post_mlp_layernorm")),
    Mutation("RoPE off", NAME, "turned", "layers", no_rope(modeling_glm_ocr)),
    Mutation("RoPE of the halves", NAME, "turned", "layers", halves),
    Mutation("M-RoPE axes swapped", NAME, "turned", "layers", sections([0, 2, 1])),
    Mutation("M-RoPE sections swapped", NAME, "turned", "layers", section_sizes),
    Mutation("positions counted on", NAME, "turned", "layers", sequential_positions),
    Mutation("rope delta lost in decode", NAME, "turned", "decode", lost_delta),
    Mutation("an MLP's gate and up swapped", NAME, "turned", "layers", swapped_halves(
        lambda model: [layer.mlp.gate_up_proj.weight for layer in model.model.language_model.layers], 0)),
    Mutation("full instead of causal mask", NAME, "turned", "layers", lambda model, batch: attention(
        modeling_glm_ocr, lambda self, q, k, mask, kwargs: (None, kwargs))),
    Mutation("key heads assigned in turn", NAME, "turned", "layers", tiled_kv(modeling_glm_ocr)),
]
