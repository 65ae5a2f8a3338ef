# SPDX-License-Identifier: MIT
"""Mutations of Mistral 3 and Ministral 3."""

from __future__ import annotations

import torch
from transformers.models.ministral3 import modeling_ministral3
from transformers.models.mistral import modeling_mistral

from . import TANH, Mutation, activation, attention, causal, no_rope, patch, without

MISTRAL, MINISTRAL = "mistral3-mistral", "mistral3-ministral3"


def merged_patch_by_patch(model, batch):
    """The merged row as patches side by side instead of channel by channel."""
    merger = model.model.multi_modal_projector.patch_merger
    original, parts = merger.merging_layer.forward, merger.spatial_merge_size**2
    return patch(
        merger.merging_layer,
        "forward",
        lambda x: original(x.view(x.shape[0], -1, parts).transpose(1, 2).reshape(x.shape)),
    )


def no_window(model, batch):
    return attention(modeling_mistral, lambda self, q, k, mask, kwargs: (causal(q, k), kwargs))


def no_growth(model, batch):
    return patch(modeling_ministral3, "get_llama_4_attn_scale", lambda ids, beta, length: torch.ones(1, 1, ids.shape[1], 1))


def steady_growth(model, batch):
    return patch(
        modeling_ministral3,
        "get_llama_4_attn_scale",
        lambda ids, beta, length: (1 + beta * torch.log(1 + ids / length))[:, None, :, None],
    )


def plain_frequencies(model, batch):
    rotary = model.model.language_model.rotary_emb
    return patch(rotary, "inv_freq", rotary.compute_default_rope_parameters(rotary.config)[0])


def no_attention_factor(model, batch):
    return patch(model.model.language_model.rotary_emb, "attention_scaling", 1.0)


MUTATIONS = [
    Mutation("merged patch by patch", MISTRAL, "small", "features", merged_patch_by_patch),
    Mutation("projector's GELU tanh instead of erf", MISTRAL, "small", "features", activation("multi_modal_projector", "act", TANH)),
    Mutation("no norm in front of the merger", MISTRAL, "small", "features", without("multi_modal_projector.norm")),
    Mutation("tower's SiLU instead of GELU", MISTRAL, "small", "features", activation("feed_forward", "act_fn", torch.nn.SiLU())),
    Mutation("no sliding window", MISTRAL, "small", "layers", no_window),
    Mutation("queries do not grow", MINISTRAL, "portrait", "layers", no_growth),
    Mutation("queries grow at every position", MINISTRAL, "portrait", "layers", steady_growth),
    Mutation("no YaRN", MINISTRAL, "portrait", "layers", plain_frequencies),
    Mutation("no attention factor", MINISTRAL, "portrait", "layers", no_attention_factor),
    Mutation("RoPE off", MINISTRAL, "portrait", "layers", no_rope(modeling_ministral3)),
    Mutation("queries do not grow in decode", MINISTRAL, "portrait", "decode", no_growth),
]
