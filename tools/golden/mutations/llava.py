# SPDX-License-Identifier: MIT
"""Mutations of LLaVA 1.5."""

from __future__ import annotations

from transformers.models.clip import modeling_clip
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

from . import (
    ERF,
    Mutate,
    Mutation,
    Quick,
    TANH,
    activation,
    causal_tower,
    flip_channels,
    interleaved_rope,
    no_rope,
    patch,
    permuted_positions,
    tiled_kv,
    without,
    zeroed,
)

CLIP, SIGLIP = "llava-clip", "llava-siglip"


def feature_layer(layer: int | list[int]) -> Mutate:
    return lambda model, batch: patch(model.model.config, "vision_feature_layer", layer)


def projector_act(function) -> Mutate:
    return activation("multi_modal_projector", "act", function)


MUTATIONS = [
    Mutation("RoPE off", CLIP, "wide", "layers", no_rope(modeling_llama)),
    Mutation("RoPE on neighbouring pairs", CLIP, "wide", "layers", interleaved_rope(modeling_llama)),
    Mutation("tower's GELU erf instead of quick", CLIP, "wide", "features", activation("mlp", "activation_fn", ERF)),
    Mutation("tower's GELU tanh instead of quick", CLIP, "wide", "features", activation("mlp", "activation_fn", TANH)),
    Mutation("projector's GELU tanh instead of erf", CLIP, "wide", "features", projector_act(TANH)),
    Mutation("features of the last layer", CLIP, "wide", "features", feature_layer(-1)),
    Mutation("features of the layer before", CLIP, "wide", "features", feature_layer(-3)),
    Mutation("no norm before the layers", CLIP, "wide", "features", without("vision_tower.pre_layrnorm")),
    Mutation("no class token", CLIP, "wide", "features", zeroed(("class_embedding",))),
    Mutation("causal tower", CLIP, "wide", "features", causal_tower(modeling_clip)),
    Mutation("blue and red swapped", CLIP, "wide", "features", flip_channels),
    Mutation("tower's GELU quick instead of tanh", SIGLIP, "small", "features", activation("mlp", "activation_fn", Quick())),
    Mutation("two layers' features in another order", SIGLIP, "small", "features", feature_layer([-1, -3])),
    Mutation("transposed position grid", SIGLIP, "small", "features", permuted_positions("position_embedding")),
    Mutation("no biases of q, k and v", SIGLIP, "small", "layers", zeroed(("q_proj.bias", "k_proj.bias", "v_proj.bias"))),
    Mutation("key heads assigned in turn", SIGLIP, "small", "layers", tiled_kv(modeling_qwen2)),
]
