# SPDX-License-Identifier: MIT
"""Ways to change the reference and its input, which the mutations of all families are made of."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Callable
from unittest import mock

import torch
from torch import nn

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
