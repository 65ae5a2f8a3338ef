# SPDX-License-Identifier: MIT
"""Mutations of Idefics3 and SmolVLM."""

from __future__ import annotations


import torch
from transformers.models.idefics3 import modeling_idefics3
from transformers.models.llama import modeling_llama

from . import (
    ERF,
    Mutation,
    Quick,
    TANH,
    activation,
    causal,
    causal_tower,
    columns_first,
    flip_channels,
    interleaved_rope,
    no_rope,
    patch,
    permuted_positions,
    reorder,
    tiled_kv,
    unmasked,
    without,
)


def full_mask(model, batch) -> None:
    batch["pixel_attention_mask"] = torch.ones_like(batch["pixel_attention_mask"])


def plain_positions(model, batch):
    """Partial views numbered by their own patches instead of by buckets."""
    embeddings = model.model.vision_model.embeddings

    def forward(pixel_values, patch_attention_mask):
        patches = embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        ids = (patch_attention_mask.flatten(1).long().cumsum(1) - 1).clamp(min=0) * patch_attention_mask.flatten(1)
        return patches + embeddings.position_embedding(ids)

    return patch(embeddings, "forward", forward)


def shuffle_columns_first(model, batch):
    """Pixel shuffle that gathers a block column by column."""
    connector = model.model.connector
    original = connector.pixel_shuffle

    def swapped(x, factor):
        side = round(x.shape[1] ** 0.5)
        x = x.view(x.shape[0], side, side, -1).transpose(1, 2).reshape(x.shape)
        out = original(x, factor)
        side //= factor
        return out.view(out.shape[0], side, side, -1).transpose(1, 2).reshape(out.shape)

    return patch(connector, "pixel_shuffle", swapped)


SPLIT, WHOLE, SMOL = "idefics3-split", "idefics3-whole", "smolvlm-video"

MUTATIONS = [
    Mutation("RoPE off", SPLIT, "wide", "layers", no_rope(modeling_llama)),
    Mutation("RoPE on neighbouring pairs", SPLIT, "wide", "layers", interleaved_rope(modeling_llama)),
    Mutation("full instead of causal mask", SPLIT, "wide", "layers", unmasked(modeling_llama)),
    Mutation("key heads assigned in turn", SPLIT, "wide", "layers", tiled_kv(modeling_llama)),
    Mutation("tower's GELU erf instead of tanh", SPLIT, "wide", "features", activation("mlp", "activation_fn", ERF)),
    Mutation("tower's GELU quick instead of tanh", SPLIT, "wide", "features", activation("mlp", "activation_fn", Quick())),
    Mutation("tower's GELU tanh instead of erf", WHOLE, "small", "features", activation("mlp", "activation_fn", TANH)),
    Mutation("causal tower", SPLIT, "wide", "features", causal_tower(modeling_idefics3)),
    Mutation("no post_layernorm", SPLIT, "wide", "features", without("post_layernorm")),
    Mutation("transposed position grid", SPLIT, "wide", "features", permuted_positions("position_embedding")),
    Mutation("tiles column by column", SPLIT, "landscape", "features", columns_first(3, 4)),
    Mutation("global view first", SPLIT, "landscape", "layers", reorder(lambda n: [n - 1, *range(n - 1)])),
    Mutation("blue and red swapped", SPLIT, "wide", "features", flip_channels),
    Mutation("pixel shuffle column by column", SPLIT, "wide", "features", shuffle_columns_first),
    Mutation("no position buckets", WHOLE, "partial-mask", "features", plain_positions),
    Mutation("patch mask ignored", WHOLE, "partial-mask", "features", full_mask),
    Mutation("frames in another order", SMOL, "video", "layers", reorder(lambda n: list(range(n))[::-1])),
]
