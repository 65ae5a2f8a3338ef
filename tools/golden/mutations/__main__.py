# SPDX-License-Identifier: MIT
"""Shows that the goldens see: each mutation of the reference must break its seam by at least 100 times the tolerance.

`python -m golden.mutations` (in tools/) writes docs/MUTATIONS.md and fails if a mutation stays invisible; with names of
variants or families, their rows alone are made anew. A family's mutations are the list MUTATIONS of golden/mutations/<family>.py.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack
from typing import Any

import torch
from transformers.utils import logging

from .. import common
from ..common import ROOT
from ..make import variants
from . import Mutation

TOLERANCES = {"features": 1e-5, "layers": 1e-5, "logits": 1e-4, "decode": 1e-4}
FACTOR = 100
DECODE_STEPS = 16


def mutations_of(family: str) -> list[Mutation]:
    return importlib.import_module(f"golden.mutations.{family}").MUTATIONS


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


PAGE = ROOT / "docs" / "MUTATIONS.md"


def kept(name: str) -> list[str]:
    """The rows that the page has of a variant."""
    return [line for line in PAGE.read_text().splitlines() if f"| {name}/" in line]


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    rows, invisible = [], []
    made = [variant.name for variant in variants(wanted)]
    for variant in variants([]):
        if variant.name not in made:
            rows += kept(variant.name)
            continue
        model, _ = common.build(variant)
        processor = common.load_processor(variant)
        for mutation in (m for m in mutations_of(variant.family) if m.variant == variant.name):
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
    PAGE.write_text(HEAD + "\n".join(rows) + "\n")
    assert not invisible, "invisible:\n" + "\n".join(invisible)


if __name__ == "__main__":
    main(sys.argv[1:])
