# SPDX-License-Identifier: MIT
"""Mutations of LFM2-VL."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch.nn import functional
from transformers.models.lfm2 import modeling_lfm2
from transformers.models.siglip2 import modeling_siglip2

from . import ERF, TANH, Mutate, Mutation, activation, interleaved_rope, no_rope, patch, permuted_positions, tiled_kv, unmasked, without


def positions_resized(**options: Any) -> Mutate:
    """The table of positions resized another way."""
    original = functional.interpolate
    return lambda model, batch: patch(
        modeling_siglip2.F, "interpolate", lambda x, size, **given: original(x, size=size, **options)
    )


def later_taps(model, batch):
    """Taps in reverse: the newest position by the first."""
    convolutions = [layer.conv.conv for layer in model.model.language_model.layers if hasattr(layer, "conv")]
    for conv in convolutions:
        conv.weight.data = conv.weight.data.flip(-1)
    stack = ExitStack()
    stack.callback(lambda: [setattr(conv.weight, "data", conv.weight.data.flip(-1)) for conv in convolutions])
    return stack


def gates(order: list[int]) -> Mutate:
    """The thirds of in_proj in another order."""

    def change(model, batch):
            stack = ExitStack()
        for layer in model.model.language_model.layers:
            if hasattr(layer, "conv"):
                original = layer.conv.in_proj.forward
                stack.enter_context(
                    patch(
                        layer.conv.in_proj,
                        "forward",
                        lambda x, given=original: torch.cat([given(x).chunk(3, -1)[i] for i in order], -1),
                    )
                )
        return stack

    return change


def unshuffle_columns_first(model, batch):
    projector = model.model.multi_modal_projector
    original = projector.pixel_unshuffle
    return patch(projector, "pixel_unshuffle", lambda x: original(x.transpose(1, 2)).transpose(1, 2))


def transposed_shapes(model, batch) -> None:
    batch["spatial_shapes"] = batch["spatial_shapes"].flip(-1)


LFM2 = "lfm2_vl-split"

MUTATIONS = [
    Mutation("positions bicubic, without antialias", LFM2, "landscape", "features", positions_resized(mode="bicubic", align_corners=False)),
    Mutation("positions without antialias", LFM2, "landscape", "features", positions_resized(mode="bilinear", align_corners=False)),
    Mutation("positions with corners aligned", LFM2, "tiny", "features", positions_resized(mode="bilinear", align_corners=True)),
    Mutation("transposed position grid", LFM2, "tiny", "features", permuted_positions("position_embedding")),
    Mutation("height and width of views swapped", LFM2, "shapes", "features", transposed_shapes),
    Mutation("tower's GELU erf instead of tanh", LFM2, "tiny", "features", activation("mlp", "activation_fn", ERF)),
    Mutation("no post_layernorm", LFM2, "tiny", "features", without("post_layernorm")),
    Mutation("unshuffle column by column", LFM2, "tiny", "features", unshuffle_columns_first),
    Mutation("projector without its norm", LFM2, "tiny", "features", without("multi_modal_projector.layer_norm")),
    Mutation("projector's GELU tanh instead of erf", LFM2, "tiny", "features", activation("multi_modal_projector", "act", TANH)),
    Mutation("RoPE off", LFM2, "tiny", "layers", no_rope(modeling_lfm2)),
    Mutation("RoPE on neighbouring pairs", LFM2, "tiny", "layers", interleaved_rope(modeling_lfm2)),
    Mutation("full instead of causal mask", LFM2, "tiny", "layers", unmasked(modeling_lfm2)),
    Mutation("key heads assigned in turn", LFM2, "tiny", "layers", tiled_kv(modeling_lfm2)),
    Mutation("no norm of q", LFM2, "tiny", "layers", without("q_layernorm")),
    Mutation("no norm of k", LFM2, "tiny", "layers", without("k_layernorm")),
    Mutation("taps in reverse", LFM2, "tiny", "layers", later_taps),
    Mutation("gates swapped", LFM2, "tiny", "layers", gates([1, 0, 2])),
]
