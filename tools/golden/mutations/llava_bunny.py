# SPDX-License-Identifier: MIT
"""Mutations of Bunny; its reference is transformers' LLaVA."""

from __future__ import annotations

from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.siglip import modeling_siglip

from . import Mutation, Quick, TANH, activation, causal_tower, flip_channels, no_rope, patch, permuted_positions, tiled_kv

QWEN, LLAMA = "llava_bunny-qwen2", "llava_bunny-llama"


def normed(model, batch):
    """The tower's own end: the norm behind its layers."""
    projector, tower = model.model.multi_modal_projector, model.model.vision_tower
    original = projector.forward
    return patch(projector, "forward", lambda x: original(tower.post_layernorm(x)))


MUTATIONS = [
    Mutation("RoPE off", QWEN, "small", "layers", no_rope(modeling_qwen2)),
    Mutation("tower's GELU quick instead of tanh", QWEN, "small", "features", activation("mlp", "activation_fn", Quick())),
    Mutation("projector's GELU tanh instead of erf", QWEN, "small", "features", activation("multi_modal_projector", "act", TANH)),
    Mutation("a norm behind the tower", QWEN, "small", "features", normed),
    Mutation("features of the layer before", QWEN, "small", "features", lambda model, batch: patch(model.model.config, "vision_feature_layer", -2)),
    Mutation("causal tower", QWEN, "small", "features", causal_tower(modeling_siglip)),
    Mutation("transposed position grid", QWEN, "small", "features", permuted_positions("position_embedding")),
    Mutation("blue and red swapped", QWEN, "small", "features", flip_channels),
    Mutation("key heads assigned in turn", LLAMA, "wide", "layers", tiled_kv(modeling_llama)),
    Mutation("RoPE off", LLAMA, "wide", "layers", no_rope(modeling_llama)),
]
