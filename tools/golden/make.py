# SPDX-License-Identifier: MIT
"""Writes tests/golden and tests/data/pictures: `python -m golden.make [VARIANT ...]` in tools/. Rerunnable; asserts as it goes."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch
from transformers.utils import logging

from . import common, pictures
from .common import ROOT, Variant

EXAMPLES = ("deepseek_vl",)  # of the examples, made only when they are named: the library has no such family


def families() -> list[str]:
    """The modules of this folder that have variants()."""
    names = (path.stem for path in sorted(Path(__file__).parent.glob("*.py")))
    return [name for name in names if "\ndef variants()" in (Path(__file__).parent / f"{name}.py").read_text()]


def variants(wanted: list[str]) -> list[Variant]:
    found = []
    for family in (name for name in families() if name not in EXAMPLES or name in wanted):
        found += importlib.import_module(f"golden.{family}").variants()
    return [variant for variant in found if not wanted or variant.name in wanted or variant.family in wanted]


def make(variant: Variant, write: bool) -> list[str]:
    """Runs all cases of a variant; returns what is wrong with them."""
    model, rows = common.build(variant)
    processor = common.load_processor(variant)
    entries, store, problems = [], {}, []
    for case in variant.cases:
        text, batch = common.prepare(processor, case)
        seen = common.run(model, batch)
        label = f"{variant.name}/{case.name}"
        problems += common.check_greedy(label, model, seen)
        problems += common.check_condition(label, model, batch, seen, case.full)
        entry = common.describe(case, text, variant.shown(batch), store)
        entry["prompt_tokens"] = batch["input_ids"].shape[1]
        entry["image_tokens"] = seen["image_features"].shape[0] if "image_features" in seen else 0
        entry["rows"] = "all" if case.full else "last"
        if write and case.full and case.prepare is None and "image_features" in seen:
            least = common.least_patch(model, batch)
            assert least > 1e-3, f"{label}: a patch changes the features by {least:.2g} only"
        if write:
            entry["bf16_logits_error"] = common.bf16_error(model, batch, seen["logits"])
        entries.append(entry)
        common.keep(case, seen, store)
        if write:
            distinct = len(set(seen["greedy.tokens"].tolist()))
            margin = float(seen["greedy.margins"].min() / seen["greedy.logits"].std())
            shapes = {name: tuple(batch[name].shape) for name in batch if name.startswith("pixel_values")}
            print(
                f"{label}: {entry['prompt_tokens']} tokens, {distinct} distinct, margin {margin:.2g} std,"
                f" bf16 {entry['bf16_logits_error']:.2g} {shapes}"
            )
    if write:
        common.save_case_files(variant, rows, entries, store)
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", help="names of variants or families; all when left out")
    parser.add_argument("--search", type=int, default=0, help="try this many seeds and print the first good one")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    pictures.make(ROOT / common.PICTURES)
    for variant in variants(args.variants):
        variant.folder.mkdir(parents=True, exist_ok=True)
        variant.write_files(variant.folder)
        for seed in range(1, args.search + 1):
            variant.seed = seed
            problems = make(variant, write=False)
            print(f"{variant.name}: seed {seed}: {problems or 'good'}", flush=True)
            if not problems:
                break
        if args.search == 0:
            problems = make(variant, write=True)
            assert not problems, "\n".join(problems)


if __name__ == "__main__":
    main()
