# SPDX-License-Identifier: MIT
"""Mutations of PaliGemma and PaliGemma 2."""

from __future__ import annotations


import torch
from transformers.models.gemma import modeling_gemma
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.paligemma import modeling_paligemma
from transformers.models.siglip import modeling_siglip

from . import (
    ERF,
    Mutate,
    Mutation,
    activation,
    all_of,
    attention,
    bare_norm,
    causal,
    causal_tower,
    interleaved_rope,
    no_rope,
    patch,
    permuted_positions,
    tiled_kv,
    without,
)


def causal_prompt(model, batch) -> None:
    del batch["token_type_ids"]


def scaled_features(factor: float) -> Mutate:
    def change(model, batch):
        projector = model.model.multi_modal_projector
        original = projector.forward
        return patch(projector, "forward", lambda x: original(x) * factor)

    return change


def unscaled_embeddings(model, batch):
    return patch(model.model.language_model.embed_tokens, "embed_scale", torch.tensor(1.0))


def window_everywhere(model, batch):
    """Gemma 2's window inside the prompt too."""

    def change(self, q, k, mask, kwargs):
        return (causal(q, k, self.sliding_window) if self.sliding_window else mask), kwargs

    return attention(modeling_gemma2, change)


def no_window(model, batch):
    full = modeling_paligemma.create_causal_mask
    layers = model.model.language_model.layers
    stack = all_of(patch(modeling_paligemma, "create_sliding_window_causal_mask", full))
    stack.enter_context(patch(model.config.text_config, "layer_types", ["full_attention"] * len(layers)))
    return stack


def no_softcap(model, batch):
    return attention(modeling_gemma2, lambda self, q, k, mask, kwargs: (mask, kwargs | {"softcap": None}))


def head_dim_scale(model, batch):
    return attention(modeling_gemma2, lambda self, q, k, mask, kwargs: (mask, kwargs | {"scaling": self.head_dim**-0.5}))


def final_softcap(model, batch):
    cap = model.config.text_config.final_logit_softcapping
    original = model.lm_head.forward
    return patch(model.lm_head, "forward", lambda x: torch.tanh(original(x) / cap) * cap)


GEMMA, GEMMA2 = "paligemma-gemma", "paligemma2-gemma2"

MUTATIONS = [
    Mutation("RoPE off", GEMMA, "small", "layers", no_rope(modeling_gemma)),
    Mutation("RoPE on neighbouring pairs", GEMMA, "small", "layers", interleaved_rope(modeling_gemma)),
    Mutation("causal instead of bidirectional prompt", GEMMA, "small", "layers", causal_prompt),
    Mutation("causal instead of bidirectional prompt", GEMMA2, "small", "layers", causal_prompt),
    Mutation("features divided by sqrt(d)", GEMMA, "small", "layers", scaled_features(64**-0.5)),
    Mutation("embeddings not scaled", GEMMA, "small", "layers", unscaled_embeddings),
    Mutation("norm w instead of 1 + w", GEMMA, "small", "layers", bare_norm(modeling_gemma, "GemmaRMSNorm")),
    Mutation("norm w instead of 1 + w", GEMMA2, "small", "layers", bare_norm(modeling_gemma2, "Gemma2RMSNorm")),
    Mutation("MLP's GELU erf instead of tanh", GEMMA, "small", "layers", activation("mlp", "act_fn", ERF)),
    Mutation("MLP's GELU erf instead of tanh", GEMMA2, "small", "layers", activation("mlp", "act_fn", ERF)),
    Mutation("tower's GELU erf instead of tanh", GEMMA, "small", "features", activation("mlp", "activation_fn", ERF)),
    Mutation("causal tower", GEMMA, "small", "features", causal_tower(modeling_siglip)),
    Mutation("no post_layernorm", GEMMA, "small", "features", without("vision_tower.post_layernorm")),
    Mutation("transposed position grid", GEMMA, "small", "features", permuted_positions("position_embedding")),
    Mutation("window inside the prompt", GEMMA2, "small", "layers", window_everywhere),
    Mutation("no sliding window", GEMMA2, "small", "decode", no_window),
    Mutation("no soft-cap on scores", GEMMA2, "small", "layers", no_softcap),
    Mutation("scale from head_dim", GEMMA2, "small", "layers", head_dim_scale),
    Mutation("soft-cap on logits", GEMMA2, "small", "logits", final_softcap),
    Mutation("no norm behind attention", GEMMA2, "small", "layers", without("post_attention_layernorm")),
    Mutation("no norm behind the MLP", GEMMA2, "small", "layers", without("post_feedforward_layernorm")),
    Mutation("key heads assigned in turn", GEMMA2, "small", "layers", tiled_kv(modeling_gemma2)),
]
