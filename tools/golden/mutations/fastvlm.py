# SPDX-License-Identifier: MIT
"""Mutations of FastVLM."""

from __future__ import annotations

from torch import nn
from transformers.models.qwen2 import modeling_qwen2

from . import Mutation, TANH, activation, all_of, flip_channels, no_rope, modules, patch, tiled_kv, without

QWEN, TIMM = "fastvlm-qwen2", "fastvlm-timm"


def tanh_everywhere(model, batch):
    """The tower's GELUs tanh instead of erf."""
    return all_of(*(patch(m, "forward", TANH.forward) for m in model.model.vision_tower.modules() if isinstance(m, nn.GELU)))


def wider_heads(model, batch):
    return all_of(*(patch(m, "scale", m.scale / 2**0.5) for m in modules(model, "token_mixer") if hasattr(m, "scale")),
                  *(patch(m, "fused_attn", False) for m in modules(model, "token_mixer") if hasattr(m, "fused_attn")))


MUTATIONS = [
    Mutation("RoPE off", QWEN, "small", "layers", no_rope(modeling_qwen2)),
    Mutation("key heads assigned in turn", QWEN, "small", "layers", tiled_kv(modeling_qwen2)),
    Mutation("tower's GELUs tanh instead of erf", QWEN, "small", "features", tanh_everywhere),
    Mutation("no GELU behind the large kernels", QWEN, "small", "features", without("downsample.proj.0.act")),
    Mutation("no batch normalisation", QWEN, "small", "features", without("mlp.conv.bn")),
    Mutation("no positions", QWEN, "small", "features", without("pos_emb")),
    Mutation("no squeeze and excitation", QWEN, "small", "features", without("final_conv.se")),
    Mutation("no scale of the MLPs", QWEN, "small", "features", without("layer_scale")),
    Mutation("no scale of attention", QWEN, "small", "features", without("layer_scale_1")),
    Mutation("no norm before attention", QWEN, "small", "features", without("blocks.0.norm")),
    Mutation("scores of heads of 64", QWEN, "small", "features", wider_heads),
    Mutation("transformers' FastVLM: projector's GELU tanh instead of erf", TIMM, "small", "features", activation("multi_modal_projector", "act", TANH)),
    Mutation("transformers' FastVLM: no squeeze and excitation", TIMM, "small", "features", without("final_conv.se")),
    Mutation("blue and red swapped", QWEN, "small", "features", flip_channels),
]
