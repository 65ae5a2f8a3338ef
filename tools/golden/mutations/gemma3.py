# SPDX-License-Identifier: MIT
"""Mutations of Gemma 3."""

from __future__ import annotations

import torch
from transformers.models.gemma3 import modeling_gemma3
from transformers.models.siglip import modeling_siglip

from . import (
    ERF,
    Mutation,
    activation,
    all_of,
    attention,
    bare_norm,
    causal_tower,
    flip_channels,
    interleaved_rope,
    no_rope,
    patch,
    tiled_kv,
    without,
)
from .paligemma import scaled_features, unscaled_embeddings

OLD, NEW = "gemma3-old", "gemma3-new"


def one_rope(of: str):
    """All layers turn by the frequencies of one kind."""

    def change(model, batch):
        rotary = model.model.language_model.rotary_emb
        original = rotary.forward
        return patch(rotary, "forward", lambda x, position_ids, layer_type: original(x, position_ids, of))

    return change


def unscaled_rope(model, batch):
    rotary = model.model.language_model.rotary_emb
    return patch(rotary, "full_attention_inv_freq", rotary.full_attention_inv_freq * 8)


def scaled_local_rope(model, batch):
    rotary = model.model.language_model.rotary_emb
    return patch(rotary, "sliding_attention_inv_freq", rotary.sliding_attention_inv_freq / 8)


def causal_pictures(model, batch) -> None:
    batch["token_type_ids"] = torch.zeros_like(batch["token_type_ids"])


def no_window_in_pictures(model, batch):
    """The tokens of a picture all see each other in windowed layers, too."""
    picture = batch["token_type_ids"][0] == 1
    blocks = torch.where(picture, torch.cumsum(picture & ~torch.roll(picture, 1), 0), -1)
    same = (blocks[:, None] == blocks) & picture

    def change(self, q, k, mask, kwargs):
        return (mask.masked_fill(same, 0.0) if self.is_sliding else mask), kwargs

    return attention(modeling_gemma3, change)


def no_window(model, batch):
    return patch(modeling_gemma3, "sliding_window_overlay", lambda window: lambda b, h, q, kv: kv >= 0)


def head_dim_scale(model, batch):
    return attention(modeling_gemma3, lambda self, q, k, mask, kwargs: (mask, kwargs | {"scaling": self.head_dim**-0.5}))


def first_of_each_square(model, batch):
    pool = model.model.multi_modal_projector.avg_pool
    return patch(pool, "forward", lambda x: x[:, :, :: pool.kernel_size, :: pool.kernel_size])


def crops_reversed(model, batch) -> None:
    batch["pixel_values"] = batch["pixel_values"][[0, 2, 1, 3]]


def no_query_norm(model, batch):
    return all_of(without("q_norm")(model, batch))


MUTATIONS = [
    Mutation("RoPE off", OLD, "small", "layers", no_rope(modeling_gemma3)),
    Mutation("RoPE on neighbouring pairs", OLD, "small", "layers", interleaved_rope(modeling_gemma3)),
    Mutation("windowed layers with the full ones' frequencies", OLD, "small", "layers", one_rope("full_attention")),
    Mutation("windowed layers with the full ones' frequencies", NEW, "landscape", "layers", one_rope("full_attention")),
    Mutation("full layers with the windowed ones' frequencies", NEW, "landscape", "layers", one_rope("sliding_attention")),
    Mutation("full layers' frequencies not scaled", OLD, "small", "layers", unscaled_rope),
    Mutation("windowed layers' frequencies scaled", OLD, "small", "layers", scaled_local_rope),
    Mutation("no norm of queries", OLD, "small", "layers", no_query_norm),
    Mutation("no norm of keys", NEW, "landscape", "layers", without("k_norm")),
    Mutation("causal inside a picture", OLD, "small", "layers", causal_pictures),
    Mutation("causal inside a picture", NEW, "landscape", "layers", causal_pictures),
    Mutation("no window inside a picture", OLD, "small", "layers", no_window_in_pictures),
    Mutation("no sliding window", OLD, "small", "layers", no_window),
    Mutation("scale from head_dim", OLD, "small", "layers", head_dim_scale),
    Mutation("norm w instead of 1 + w", OLD, "small", "layers", bare_norm(modeling_gemma3, "Gemma3RMSNorm")),
    Mutation("features divided by sqrt(d)", OLD, "small", "layers", scaled_features(64**-0.5)),
    Mutation("embeddings not scaled", OLD, "small", "layers", unscaled_embeddings),
    Mutation("MLP's GELU erf instead of tanh", NEW, "landscape", "layers", activation("mlp", "act_fn", ERF)),
    Mutation("no norm behind attention", OLD, "small", "layers", without("post_attention_layernorm")),
    Mutation("no norm behind the MLP", OLD, "small", "layers", without("post_feedforward_layernorm")),
    Mutation("key heads assigned in turn", OLD, "small", "layers", tiled_kv(modeling_gemma3)),
    Mutation("a patch instead of the mean of its square", OLD, "small", "features", first_of_each_square),
    Mutation("no norm in front of the projection", OLD, "small", "features", without("mm_soft_emb_norm")),
    Mutation("causal tower", OLD, "small", "features", causal_tower(modeling_siglip)),
    Mutation("tower's GELU erf instead of tanh", OLD, "small", "features", activation("mlp", "activation_fn", ERF)),
    Mutation("blue and red swapped", OLD, "small", "features", flip_channels),
    Mutation("crops in another order", NEW, "scanned", "layers", crops_reversed),
]
