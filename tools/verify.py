#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a checkpoint that you have through libvlm and through transformers, and prints the parity table for it.

    tools/verify.py MODEL_DIR IMAGE VLM_PROGRAM [--prompt TEXT] [--tokens N]

Needs the packages of tools/requirements.txt. Both run in float32 on the CPU (transformers with eager attention and
its Pillow image processor), so
a model needs four bytes a parameter, twice over one after the other.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from parity import Refused, Tensor, dump, generate, relative, vlm, write_tensors  # noqa: E402

try:
    import torch
    from golden import common
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging
except ImportError as error:
    sys.exit(f"verify: {error}; pip install -r tools/requirements.txt")

CODES = {torch.int64: "I64", torch.int32: "I32", torch.float32: "F32"}


def tensor(value: torch.Tensor) -> Tensor:
    value = value.contiguous()
    return Tensor(CODES[value.dtype], list(value.shape), value.numpy().tobytes())


def reference(
    model_dir: Path, image: str, prompt: str, tokens: int
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[float], bool]:
    """What transformers gives: processor outputs, seams, the margins of the greedy tokens, and whether it was a chat."""
    processor = AutoProcessor.from_pretrained(model_dir)
    processor.image_processor = AutoImageProcessor.from_pretrained(model_dir, backend="pil")
    config = AutoConfig.from_pretrained(model_dir)
    model = AutoModelForImageTextToText.from_pretrained(
        model_dir, config=config, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    model.generation_config = type(model.generation_config)(pad_token_id=0)
    if processor.chat_template or getattr(processor.tokenizer, "chat_template", None):
        case = common.Case("verify", messages=[common.user(common.IMAGE, prompt)], pictures=[image])
    else:
        case = common.Case("verify", prompt=prompt, pictures=[image])
    text, kwargs = case.prompt, {}
    if case.messages is not None:
        text = processor.apply_chat_template(case.messages, add_generation_prompt=True, tokenize=False)
        kwargs = common.as_tokenized(processor, text)
    batch = processor(text=text, images=[common.load_image(image)], return_tensors="pt", **kwargs)
    batch = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor) and name != "labels"}
    seen = common.run(model, batch, tokens, check=False)
    outputs = {name: tensor(value) for name, value in batch.items()}
    seams = {name: tensor(value) for name, value in seen.items()}
    return outputs, seams, seen["greedy.margins"].tolist(), case.messages is not None


def inputs_of(prompt: str, image: str, chat: bool, folder: Path) -> list[str]:
    """The same input for `vlm`: of a chat, the message with its parts in the same order (what -p and -i alone would put
    the picture behind, for some families)."""
    if not chat:
        return ["-p", prompt, "-i", image]
    parts = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
    path = folder / "messages.json"
    path.write_text(json.dumps([{"role": "user", "content": parts}]))
    return ["--messages", str(path)]


def show(what: str, result: str) -> None:
    print(f"| {what:<28} | {result} |", flush=True)


def compare_outputs(outputs: dict[str, Tensor], ours: dict[str, Tensor]) -> bool:
    good = True
    for name, want in outputs.items():
        got = ours.get(name)
        if got is None:
            result = "missing"
        elif got.shape != want.shape:
            result = f"shape {got.shape} instead of {want.shape}"
        elif got.raw == want.raw:
            result = "identical"
        elif want.dtype == "F32":
            result = f"differs by up to {max(abs(a - b) for a, b in zip(got.values, want.values)):.2g}"
        else:
            result = f"differs in {sum(a != b for a, b in zip(got.values, want.values))} of {len(want.values)} places"
        good = good and result == "identical"
        show(name, result)
    return good


def compare_seams(seams: dict[str, Tensor], ours: dict[str, Tensor]) -> bool:
    good = True
    for name, got in sorted(ours.items(), key=lambda item: (len(item[0]), item[0])):
        if name in seams:
            error, allowed = relative(got, seams[name]), 1e-4 if name == "logits" else 1e-5
            good = good and error <= allowed
            show(name, f"relative error {error:.2g} (allowed {allowed:g})")
    return good


def compare_tokens(want: list[int], got: list[int], margins: list[float]) -> bool:
    same = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), len(want))
    note = "" if same == len(want) else f"; the first other one where the margin is {margins[same]:.2g}"
    show("greedy tokens", f"{same} of {len(want)} the same{note}")
    return same == len(want)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL_DIR")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("vlm", type=Path, metavar="VLM_PROGRAM")
    parser.add_argument("--prompt", default="Describe the picture.")
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    args.vlm, args.model = args.vlm.resolve(), args.model.resolve()
    image = str(Path(args.image).resolve())
    try:
        vlm(args.vlm, "inspect", "-m", str(args.model))
    except Refused as refusal:
        sys.exit(f"verify: {refusal}")
    outputs, seams, margins, chat = reference(args.model, image, args.prompt, args.tokens)
    print(f"| {'seam':<28} | libvlm against transformers |\n|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder, good = Path(name), True
        inputs = inputs_of(args.prompt, image, chat, folder)
        try:
            good &= compare_outputs(outputs, dump(args.vlm, args.model, inputs, "processor", folder, "f32"))
            for stage in ("vision", "layers", "logits"):
                good &= compare_seams(seams, dump(args.vlm, args.model, inputs, stage, folder, "f32"))
            want = seams["greedy.tokens"].values.tolist()
            good &= compare_tokens(want, generate(args.vlm, args.model, inputs, len(want), "f32"), margins)
            ready = folder / "prepared.safetensors"
            write_tensors(ready, outputs)
            print("with transformers' prepared input:")
            good &= compare_tokens(want, generate(args.vlm, args.model, ["--input", str(ready)], len(want), "f32"), margins)
        except Refused as refusal:
            sys.exit(f"verify: {refusal}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
