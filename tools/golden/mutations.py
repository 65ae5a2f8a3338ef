# SPDX-License-Identifier: MIT
"""Shows that the goldens see: each mutation of the reference must break its seam by at least 100 times the tolerance.

`python -m golden.mutations` (in tools/) writes docs/MUTATIONS.md and fails if a mutation stays invisible; with names of
variants or families it only shows theirs.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Callable
from unittest import mock

import torch
from torch import nn
from transformers.models.gemma import modeling_gemma
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.idefics3 import modeling_idefics3
from transformers.models.llama import modeling_llama
from transformers.models.paligemma import modeling_paligemma
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.models.siglip import modeling_siglip
from transformers.utils import logging

from . import common
from .common import ROOT
from .make import variants

TOLERANCES = {"features": 1e-5, "layers": 1e-5, "logits": 1e-4, "decode": 1e-4}
FACTOR = 100
DECODE_STEPS = 16

Mutate = Callable[[Any, dict[str, torch.Tensor]], Any]


@dataclass
class Mutation:
    what: str
    variant: str
    case: str
    seam: str
    apply: Mutate  # gets the model and a copy of the batch; changes the batch, or returns a context that changes the model


# ---------------------------------------------------------------------------------------------------------------------
# Changing the reference


def patch(owner: Any, name: str, value: Any):
    return mock.patch.object(owner, name, value)


def all_of(*contexts: Any):
    stack = ExitStack()
    for context in contexts:
        stack.enter_context(context)
    return stack


def modules(model: Any, suffix: str) -> list[Any]:
    return [module for name, module in model.named_modules() if name.endswith(suffix)]


def activation(suffix: str, attribute: str, function: Callable) -> Mutate:
    return lambda model, batch: all_of(
        *(patch(module, attribute, function) for module in modules(model, suffix) if hasattr(module, attribute))
    )


ERF = nn.GELU()
TANH = nn.GELU(approximate="tanh")


class Quick(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


def no_rope(module: Any) -> Mutate:
    return lambda model, batch: patch(module, "apply_rotary_pos_emb", lambda q, k, *args, **kwargs: (q, k))


def interleaved_rope(module: Any) -> Mutate:
    """Rotates neighbouring pairs instead of the halves."""

    def rotate(x):
        return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)

    def apply(q, k, cos, sin, unsqueeze_dim=1):
        half = cos.shape[-1] // 2
        cos, sin = (t[..., :half].repeat_interleave(2, -1).unsqueeze(unsqueeze_dim) for t in (cos, sin))
        return q * cos + rotate(q) * sin, k * cos + rotate(k) * sin

    return lambda model, batch: patch(module, "apply_rotary_pos_emb", apply)


def tiled_kv(module: Any) -> Mutate:
    """Query head h reads key head h mod n instead of h / n."""
    return lambda model, batch: patch(module, "repeat_kv", lambda x, n: x.repeat(1, n, 1, 1))


def attention(module: Any, change: Callable) -> Any:
    """Wraps a module's eager attention: change gets (module, query, key, value, mask, kwargs), returns mask and kwargs."""
    original = module.eager_attention_forward

    def wrapped(self, query, key, value, attention_mask, **kwargs):
        attention_mask, kwargs = change(self, query, key, attention_mask, kwargs)
        return original(self, query, key, value, attention_mask, **kwargs)

    return patch(module, "eager_attention_forward", wrapped)


def unmasked(module: Any) -> Mutate:
    return lambda model, batch: attention(module, lambda self, q, k, mask, kwargs: (None, kwargs))


def causal(query: torch.Tensor, key: torch.Tensor, window: int | None = None) -> torch.Tensor:
    q = torch.arange(query.shape[2])[:, None] + key.shape[2] - query.shape[2]
    k = torch.arange(key.shape[2])
    seen = k <= q if window is None else (k <= q) & (k > q - window)
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)


def causal_tower(module: Any) -> Mutate:
    return lambda model, batch: attention(module, lambda self, q, k, mask, kwargs: (causal(q, k), kwargs))


def bare_norm(module: Any, name: str) -> Mutate:
    """w instead of 1 + w."""
    return lambda model, batch: patch(
        getattr(module, name), "forward", lambda self, x: (self._norm(x.float()) * self.weight.float()).type_as(x)
    )


def without(suffix: str) -> Mutate:
    """Skips a module."""
    return lambda model, batch: all_of(
        *(patch(module, "forward", lambda x, *args, **kwargs: x.contiguous()) for module in modules(model, suffix))
    )


def zeroed(suffixes: tuple[str, ...]) -> Mutate:
    """Drops parameters whose names end so."""

    @contextmanager
    def context(model):
        found = [p for name, p in model.named_parameters() if name.endswith(suffixes)]
        kept = [p.data.clone() for p in found]
        for p in found:
            p.data.zero_()
        try:
            yield
        finally:
            for p, value in zip(found, kept):
                p.data.copy_(value)

    return lambda model, batch: context(model)


def permuted_positions(suffix: str) -> Mutate:
    """Position embeddings of the transposed grid."""

    @contextmanager
    def context(model):
        weight = modules(model, suffix)[0].weight
        kept, side = weight.data.clone(), round(weight.shape[0] ** 0.5)
        weight.data.copy_(kept.view(side, side, -1).transpose(0, 1).reshape(kept.shape))
        try:
            yield
        finally:
            weight.data.copy_(kept)

    return lambda model, batch: context(model)


# ---------------------------------------------------------------------------------------------------------------------
# Changing the input


def reorder(order: Callable[[int], list[int]]) -> Mutate:
    def change(model, batch):
        views = batch["pixel_values"].shape[1]
        batch["pixel_values"] = batch["pixel_values"][:, order(views)]

    return change


def columns_first(rows: int, cols: int) -> Mutate:
    return reorder(lambda views: [r * cols + c for c in range(cols) for r in range(rows)] + [views - 1])


def flip_channels(model, batch) -> None:
    batch["pixel_values"] = batch["pixel_values"].flip(-3)


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


# Qwen


def vision_positions(change: Callable) -> Mutate:
    original = modeling_qwen2_5_vl.get_vision_position_ids
    return lambda model, batch: patch(
        modeling_qwen2_5_vl, "get_vision_position_ids", lambda *args, **kwargs: change(original(*args, **kwargs))
    )


def full_blocks(indexes: Callable[[int], list[int]]) -> Mutate:
    def change(model, batch):
        visual = model.model.visual
        return patch(visual, "fullatt_block_indexes", indexes(len(visual.blocks)))

    return change


def frames_joined(model, batch):
    """Attention over a whole video instead of each frame by itself."""
    original = modeling_qwen2_5_vl.get_vision_attention_seqlens
    return patch(
        modeling_qwen2_5_vl,
        "get_vision_attention_seqlens",
        lambda grid, config, **kwargs: original(grid, config, merge_temporal=True),
    )


def window_of(units: int) -> Mutate:
    return lambda model, batch: patch(
        model.model.visual, "window_size", model.model.visual.patch_size * model.model.visual.spatial_merge_size * units
    )


def transposed_grid(model, batch) -> None:
    batch["image_grid_thw"] = batch["image_grid_thw"][:, [0, 2, 1]]


def patches_row_major(model, batch) -> None:
    """Patches in plain row-major order instead of by merge blocks."""
    _, h, w = batch["image_grid_thw"][0].tolist()
    rows = batch["pixel_values"].view(h // 2, w // 2, 2, 2, -1)
    batch["pixel_values"] = rows.permute(0, 2, 1, 3, 4).reshape(h * w, -1)


def sections(order: list[int]) -> Mutate:
    """M-RoPE axes in another order."""

    def change(model, batch):
        rotary = model.model.language_model.rotary_emb
        original = rotary.forward
        return patch(rotary, "forward", lambda x, position_ids: original(x, position_ids[order]))

    return change


def section_sizes(model, batch):
    rotary = model.model.language_model.rotary_emb
    return patch(rotary, "mrope_section", rotary.mrope_section[::-1])


def sequential_positions(model, batch) -> None:
    length = batch["input_ids"].shape[1]
    batch["position_ids"] = torch.arange(length).expand(3, 1, -1)


def still_time(model, batch) -> None:
    batch["second_per_grid_ts"] = torch.zeros_like(batch["second_per_grid_ts"])


def lost_delta(model, batch):
    """Decode counts on from the prompt's length; the attribute swallows what prefill stores."""

    class Zero:
        def __get__(self, instance, owner):
            return torch.zeros(1, 1, dtype=torch.long)

        def __set__(self, instance, value):
            pass

    kept = model.model.__dict__.pop("rope_deltas", None)
    context = mock.patch.object(type(model.model), "rope_deltas", Zero(), create=True)
    stack = all_of(context)
    stack.callback(lambda: model.model.__dict__.__setitem__("rope_deltas", kept))
    return stack


SPLIT, WHOLE, SMOL = "idefics3-split", "idefics3-whole", "smolvlm-video"
GEMMA, GEMMA2 = "paligemma-gemma", "paligemma2-gemma2"
TIED, UNTIED = "qwen2_5_vl-tied", "qwen2_5_vl-untied"

MUTATIONS = [
    # Idefics3, SmolVLM
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
    # PaliGemma
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
    # Qwen2.5-VL
    Mutation("tower's RoPE off", TIED, "turned", "features", vision_positions(lambda ids: ids * 0)),
    Mutation("tower's RoPE with rows and columns swapped", TIED, "turned", "features", vision_positions(lambda i: i.flip(-1))),
    Mutation("no windows", TIED, "landscape", "features", full_blocks(lambda n: list(range(n)))),
    Mutation("windows in every block", TIED, "landscape", "features", full_blocks(lambda n: [])),
    Mutation("windows of another size", UNTIED, "landscape", "features", window_of(2)),
    Mutation("frames joined in attention", TIED, "video", "features", frames_joined),
    Mutation("merger's GELU tanh instead of erf", TIED, "turned", "features", lambda model, batch: patch(
        model.model.visual.merger.mlp[1], "forward", TANH.forward)),
    Mutation("transposed grid", TIED, "landscape", "features", transposed_grid),
    Mutation("patches row by row", TIED, "turned", "features", patches_row_major),
    Mutation("no merger norm", TIED, "turned", "features", without("merger.ln_q")),
    Mutation("RoPE off", TIED, "turned", "layers", no_rope(modeling_qwen2_5_vl)),
    Mutation("M-RoPE axes swapped", TIED, "turned", "layers", sections([0, 2, 1])),
    Mutation("M-RoPE sections swapped", TIED, "turned", "layers", section_sizes),
    Mutation("positions counted on", TIED, "turned", "layers", sequential_positions),
    Mutation("video's time interval lost", TIED, "video", "layers", still_time),
    Mutation("rope delta lost in decode", TIED, "turned", "decode", lost_delta),
    Mutation("rope delta lost in decode", UNTIED, "video-fast", "decode", lost_delta),
    Mutation("no biases on q, k, v", TIED, "turned", "layers", zeroed(("q_proj.bias", "k_proj.bias", "v_proj.bias"))),
    Mutation("full instead of causal mask", TIED, "turned", "layers", lambda model, batch: attention(
        modeling_qwen2_5_vl, lambda self, q, k, mask, kwargs: (None, kwargs))),
    Mutation("key heads assigned in turn", TIED, "turned", "layers", tiled_kv(modeling_qwen2_5_vl)),
]


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


@torch.no_grad()
def measure(model: Any, batch: dict[str, torch.Tensor], seam: str, tokens: torch.Tensor | None) -> torch.Tensor:
    model.model.rope_deltas = None
    batch = {name: value for name, value in batch.items() if name != "labels"}
    if seam == "features":
        return common.image_features(model, batch)
    if seam == "decode":
        return decode(model, batch, tokens)
    with common.watch(model) as hidden:
        logits = model(**batch, use_cache=False).logits[0]
    if seam == "logits":
        return logits
    names = sorted((name for name in hidden if name != "hidden.norm"), key=lambda name: int(name.split(".")[1]))
    return torch.stack([hidden[name] for name in names])


def decode(model: Any, batch: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Logits of cached steps that are fed the reference's own continuation."""
    step = model(**batch, use_cache=True)
    cache, rows = step.past_key_values, []
    for token in tokens[:DECODE_STEPS]:
        step = model(input_ids=token.view(1, 1), past_key_values=cache, use_cache=True)
        rows.append(step.logits[0, -1])
    return torch.stack(rows)


def change_of(seam: str, base: torch.Tensor, changed: torch.Tensor) -> float:
    """Relative change; of the layers, the largest."""
    if seam == "layers":
        return max(common.relative(a, b) for a, b in zip(changed, base))
    return common.relative(changed, base)


HEAD = f"""# Mutations

Made by `python -m golden.mutations` in `tools/`: what the goldens would say if the C code did one thing otherwise. Each row changes the
reference in one place, on the weights and the input of a golden, and gives the relative change of the seam it should break. A change
below {FACTOR} times the seam's tolerance fails the script. "layers" takes the largest change over all hidden states; "decode" is {DECODE_STEPS}
cached steps over the reference's own continuation.

One thing cannot be seen by any golden: PaliGemma's positions start at 1, but RoPE is relative, so starting at 0 gives the same numbers.

| mutation | golden | seam | tolerance | change | change / tolerance |
|---|---|---|---:|---:|---:|
"""


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    rows, invisible = [], []
    for variant in variants(wanted):
        model, _ = common.build(variant)
        processor = common.load_processor(variant)
        for mutation in (m for m in MUTATIONS if m.variant == variant.name):
            case = next(case for case in variant.cases if case.name == mutation.case)
            batch = common.prepare(processor, case)[1]
            tokens = common.run(model, batch)["greedy.tokens"] if mutation.seam == "decode" else None
            base = measure(model, batch, mutation.seam, tokens)
            changed = dict(batch)
            with mutation.apply(model, changed) or ExitStack():
                change = change_of(mutation.seam, base, measure(model, changed, mutation.seam, tokens))
            again = measure(model, batch, mutation.seam, tokens)
            assert torch.equal(again, base), f"{mutation.what}: not undone"
            tolerance = TOLERANCES[mutation.seam]
            golden = f"{variant.name}/{case.name}"
            row = f"| {mutation.what} | {golden} | {mutation.seam} | {tolerance:g} | {change:.2g} | {change / tolerance:,.0f} |"
            print(row, flush=True)
            rows.append(row)
            if not change >= FACTOR * tolerance:
                invisible.append(row)
    if not wanted:
        (ROOT / "docs" / "MUTATIONS.md").write_text(HEAD + "\n".join(rows) + "\n")
    assert not invisible, "invisible:\n" + "\n".join(invisible)


if __name__ == "__main__":
    main(sys.argv[1:])
