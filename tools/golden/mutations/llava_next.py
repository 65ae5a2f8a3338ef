# SPDX-License-Identifier: MIT
"""Mutations of LLaVA-NeXT."""

from __future__ import annotations

import torch
from transformers.models.llama import modeling_llama
from transformers.models.llava_next import modeling_llava_next
from transformers.models.mistral import modeling_mistral

from . import Mutation, Quick, TANH, activation, no_rope, patch, tiled_kv, zeroed

MISTRAL, LLAMA = "llava_next-mistral", "llava_next-llama"


def other_tiles(model, batch) -> None:
    """The tiles from the last to the first."""
    batch["pixel_values"] = torch.cat([batch["pixel_values"][:, :1], batch["pixel_values"][:, 1:].flip(1)], dim=1)


def whole_last(model, batch) -> None:
    batch["pixel_values"] = batch["pixel_values"].roll(-1, dims=1)


def cut_on_one_side(model, batch):
    """As much is cut off as should be, but below or on the right alone."""
    original = modeling_llava_next.unpad_image

    def change(tensor, size):
        rows, columns = original(tensor, size).shape[1:]
        return tensor[:, :rows, :columns]

    return patch(modeling_llava_next, "unpad_image", change)


MUTATIONS = [
    Mutation("RoPE off", MISTRAL, "wide", "layers", no_rope(modeling_mistral)),
    Mutation("key heads assigned in turn", MISTRAL, "wide", "layers", tiled_kv(modeling_mistral)),
    Mutation("no newlines", MISTRAL, "wide", "features", zeroed(("image_newline",))),
    Mutation("tiles in another order", MISTRAL, "wide", "features", other_tiles),
    Mutation("the whole behind the tiles", MISTRAL, "wide", "features", whole_last),
    Mutation("padding cut off on one side", MISTRAL, "wide", "features", cut_on_one_side),
    Mutation("padding cut off on one side", MISTRAL, "tall", "features", cut_on_one_side),
    Mutation("tower's GELU quick instead of tanh", LLAMA, "wide", "features", activation("mlp", "activation_fn", Quick())),
    Mutation("projector's GELU tanh instead of erf", MISTRAL, "wide", "features", activation("multi_modal_projector", "act", TANH)),
    Mutation("RoPE off", LLAMA, "wide", "layers", no_rope(modeling_llama)),
]
