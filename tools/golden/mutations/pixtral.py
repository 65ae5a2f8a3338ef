# SPDX-License-Identifier: MIT
"""Mutations of Pixtral."""

from __future__ import annotations

from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

from . import ERF, TANH, Mutation, activation, flip_channels, modules, no_rope, patch, tiled_kv, unmasked, without

PIXTRAL = "pixtral-llava"


def rope(model):
    return modules(model, "patch_positional_embedding")[0]


def swapped_axes(model, batch):
    module = rope(model)
    original = module.forward
    return patch(module, "forward", lambda x, position_ids: original(x, position_ids.flip(-1)))


def frequencies_in_order(model, batch):
    """Rows have the first half of the frequencies, columns the second, instead of every other one."""
    module = rope(model)
    return patch(module, "inv_freq", module.inv_freq.sort(descending=True).values)


def pictures_joined(model, batch):
    mask = modeling_pixtral.generate_block_attention_mask
    return patch(modeling_pixtral, "generate_block_attention_mask", lambda lengths, x: mask([sum(lengths)], x))


MUTATIONS = [
    Mutation("tower's RoPE off", PIXTRAL, "small", "features", no_rope(modeling_pixtral)),
    Mutation("tower's RoPE with rows and columns swapped", PIXTRAL, "small", "features", swapped_axes),
    Mutation("tower's frequencies in order", PIXTRAL, "small", "features", frequencies_in_order),
    Mutation("pictures see each other", PIXTRAL, "several", "features", pictures_joined),
    Mutation("no norm of patches", PIXTRAL, "small", "features", without("ln_pre")),
    Mutation("tower's GELU instead of SiLU", PIXTRAL, "small", "features", activation("feed_forward", "act_fn", ERF)),
    Mutation("projector's GELU tanh instead of erf", PIXTRAL, "small", "features", activation("multi_modal_projector", "act", TANH)),
    Mutation("blue and red swapped", PIXTRAL, "small", "features", flip_channels),
    Mutation("RoPE off", PIXTRAL, "small", "layers", no_rope(modeling_mistral)),
    Mutation("full instead of causal mask", PIXTRAL, "small", "layers", unmasked(modeling_mistral)),
    Mutation("key heads assigned in turn", PIXTRAL, "small", "layers", tiled_kv(modeling_mistral)),
]
