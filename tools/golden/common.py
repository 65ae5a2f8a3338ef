# SPDX-License-Identifier: MIT
"""What the three families share: building the model from a golden directory, running cases, writing what was seen."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
from transformers.image_utils import load_image
from transformers.video_utils import VideoMetadata

from .generator import Draw, fill

ROOT = Path(__file__).resolve().parents[2]
PICTURES = "tests/data/pictures"
STEPS = 32
STORED_BYTES = 4096  # processor tensors up to this size are stored whole, larger ones as a SHA-256


@dataclass
class Case:
    """One input. Exactly one of messages, prompt (a family's raw prompt) and tensors (a prepared input) is given."""

    name: str
    messages: list[dict] | None = None
    prompt: str | None = None
    pictures: list[str] = field(default_factory=list)
    frames: str | None = None
    fps: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any], dict[str, torch.Tensor]] | None = None
    full: bool = False
    pixels: bool = False


def channels_last(name: str, shape: tuple[int, ...]) -> list[int] | None:
    """MLX's axes of convolutions."""
    return [0, *range(2, len(shape)), 1] if len(shape) >= 4 or name.endswith("conv.conv.weight") else None


@dataclass
class Variant:
    """One tiny checkpoint: its small files, how weights are drawn, its names elsewhere, its cases."""

    name: str
    family: str
    seed: int
    config: dict
    write_files: Callable[[Path], None]
    draws: list[tuple[str, Callable[[tuple[int, ...]], Draw]]]
    names: Callable[[str], dict[str, str]]
    cases: list[Case]
    extras: list[dict] = field(default_factory=list)
    processor_patch: Callable[[Any], None] | None = None
    place: str | None = None
    layouts: Callable[[str], dict] = lambda name: {}  # further fields of a tensor's row: hf_old_axes, mlx_parts
    # Of a family that transformers has no class for: the config of the class of another that computes the same, what its
    # parameters are called in the family, what reads the family's files, and a batch as the family's processor would give it.
    reference: dict | None = None
    own_name: Callable[[str], str] = lambda name: name
    load_processor: Callable[[Variant], Any] | None = None
    shown: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = lambda batch: batch
    mlx_axes: Callable[[str, tuple[int, ...]], list[int] | None] = channels_last  # None: MLX has the axes as they are
    pil: bool = True  # the image processor's class exists for Pillow; else processor_patch has its arithmetic

    @property
    def folder(self) -> Path:
        return ROOT / (self.place or f"tests/golden/{self.name}")


def linear(gain: float) -> Callable[[tuple[int, ...]], Draw]:
    return lambda shape: Draw.of_std(gain / float(np.prod(shape[1:])) ** 0.5)


def spread(std: float) -> Callable[[tuple[int, ...]], Draw]:
    return lambda shape: Draw.of_std(std)


def norm(offset: int) -> Callable[[tuple[int, ...]], Draw]:
    return lambda shape: Draw.of_norm(offset)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def parts(*content: Any) -> list[dict]:
    """Content parts in OpenAI form: a string is text, 'image' and 'video' placeholders are given as {"type": ...}."""
    return [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]


IMAGE = {"type": "image"}
VIDEO = {"type": "video"}


def user(*content: Any) -> dict:
    return {"role": "user", "content": parts(*content)}


def assistant(*content: Any) -> dict:
    return {"role": "assistant", "content": parts(*content)}


# ---------------------------------------------------------------------------------------------------------------------
# The model


def draw_for(variant: Variant, name: str, shape: tuple[int, ...]) -> Draw:
    for pattern, make in variant.draws:
        if re.search(pattern, name):
            return make(shape)
    raise KeyError(f"{variant.name}: no rule draws '{name}'")


def build(variant: Variant) -> tuple[Any, list[dict]]:
    """The reference model on the generated weights, float32 and eager, and the rows of weights.json."""
    config = AutoConfig.for_model(**variant.reference) if variant.reference else AutoConfig.from_pretrained(variant.folder)
    config._attn_implementation = "eager"
    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    model.set_experts_implementation("eager")
    rows, parameters = [], dict(model.named_parameters())
    saved = model.state_dict().keys()
    parameters |= {name: buffer for name, buffer in model.named_buffers() if name in saved and buffer.is_floating_point()}
    for reference_name, parameter in parameters.items():
        name, shape = variant.own_name(reference_name), tuple(parameter.shape)
        draw = draw_for(variant, name, shape)
        values = fill(name, parameter.numel(), variant.seed, draw).reshape(shape)
        parameter.data.copy_(torch.from_numpy(values))
        row = {"name": name, "shape": list(shape), "offset": draw.offset, "exponent": draw.exponent, "range": draw.range}
        row["names"] = variant.names(name)
        row |= variant.layouts(name)
        if axes := variant.mlx_axes(name, shape):
            row["mlx_axes"] = axes
        rows.append(row)
    assert not any(name.startswith("lm_head") for name in parameters) or not config.tie_word_embeddings
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    model.generation_config.do_sample = False
    return model, rows


def load_processor(variant: Variant) -> Any:
    if variant.load_processor:
        return variant.load_processor(variant)
    processor = AutoProcessor.from_pretrained(variant.folder)
    if variant.pil:
        # AutoProcessor would hand backend="pil" to the video processor too, which refuses it.
        processor.image_processor = AutoImageProcessor.from_pretrained(variant.folder, backend="pil")
        assert type(processor.image_processor).__name__.endswith("Pil"), type(processor.image_processor)
    if variant.processor_patch:
        variant.processor_patch(processor)
    return processor


# ---------------------------------------------------------------------------------------------------------------------
# Inputs


def frame_paths(folder: str) -> list[Path]:
    return sorted((ROOT / folder).iterdir())


def prepare(processor: Any, case: Case) -> tuple[str | None, dict[str, torch.Tensor]]:
    """The text before expansion, and what the processor returns for it."""
    if case.prepare:
        return None, case.prepare(processor)
    text = case.prompt
    if case.messages is not None:
        text = processor.apply_chat_template(copy.deepcopy(case.messages), add_generation_prompt=True, tokenize=False)
    kwargs: dict[str, Any] = dict(case.options)
    if case.messages is not None:
        kwargs |= as_tokenized(processor, text)
    if case.pictures:
        kwargs["images"] = [load_image(str(ROOT / path)) for path in case.pictures]
    if case.frames:
        frames = [load_image(str(path)) for path in frame_paths(case.frames)]
        count = len(frames)
        metadata = VideoMetadata(
            total_num_frames=count, fps=case.fps, duration=count / case.fps, frames_indices=list(range(count))
        )
        kwargs |= {"videos": [[np.stack(frames)]], "video_metadata": [metadata], "do_sample_frames": False}
    batch = processor(text=text, return_tensors="pt", **kwargs)
    if case.prompt is not None:
        text = processor.prepare_inputs_layout(text=text, images=kwargs.get("images"))[1][0]
    batch = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    check_tokenizer_json(processor, batch["input_ids"][0].tolist())
    return text, batch


def as_tokenized(processor: Any, text: str) -> dict[str, bool]:
    """What apply_chat_template tells the tokenizer of a text that it rendered: no second first token."""
    bos = processor.tokenizer.bos_token
    return {"add_special_tokens": False} if bos and text.startswith(bos) else {}


def check_tokenizer_json(processor: Any, ids: list[int]) -> None:
    """tokenizer.json alone must give the ids: transformers 5 rebuilds some tokenizer classes from code instead."""
    alone = Tokenizer.from_file(str(Path(processor.tokenizer.name_or_path) / "tokenizer.json"))
    text = alone.decode(ids, skip_special_tokens=False)
    assert processor.tokenizer(text, add_special_tokens=False)["input_ids"] == alone.encode(text, add_special_tokens=False).ids


# ---------------------------------------------------------------------------------------------------------------------
# One run


@contextmanager
def watch(model: Any):
    """Records image features, the hidden state before each decoder layer and after the last, and the final norm."""
    seen: dict[str, torch.Tensor] = {}
    decoder = model.model.text_model if hasattr(model.model, "text_model") else model.model.language_model
    handles = []

    # What enters a module is seen, not what leaves the one before: features may be added in between (DeepStack).
    def entering(index):
        def hook(module, args, kwargs):
            states = args[0] if args else kwargs["hidden_states"]
            seen[f"hidden.{index}"] = states[0].clone()

        return hook

    last = decoder.norm if hasattr(decoder, "norm") else decoder.embedding_norm
    for index, module in enumerate([*decoder.layers, last]):
        handles.append(module.register_forward_pre_hook(entering(index), with_kwargs=True))
    handles.append(last.register_forward_hook(lambda m, a, output: seen.update({"hidden.norm": output[0]})))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def image_features(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Features as they enter the decoder, [tokens, dim], pictures before videos."""
    out = []
    if "pixel_values" in batch:
        kwargs = {k: batch[k] for k in ("pixel_attention_mask", "image_grid_thw", "image_sizes", "spatial_shapes") if k in batch}
        owner = model if hasattr(model, "get_image_features") else model.model
        out.append(owner.get_image_features(batch["pixel_values"], **kwargs).pooler_output)
    if "pixel_values_videos" in batch:
        out.append(model.get_video_features(batch["pixel_values_videos"], batch["video_grid_thw"]).pooler_output)
    out = [torch.cat(list(item)) if isinstance(item, (tuple, list)) else item for item in out]
    return torch.cat([item.reshape(-1, item.shape[-1]) for item in out]) if out else None


@torch.no_grad()
def run(model: Any, batch: dict[str, torch.Tensor], steps: int = STEPS, check: bool = True) -> dict[str, torch.Tensor]:
    """Every seam of one case: features, hidden states, logits, positions, and greedy steps with their logits."""
    model.model.rope_deltas = None
    batch = {name: value for name, value in batch.items() if name != "labels"}
    seen: dict[str, torch.Tensor] = {}
    features = image_features(model, batch)
    if features is not None:
        seen["image_features"] = features
    with watch(model) as hidden:
        seen["logits"] = model(**batch, use_cache=False).logits[0]
    seen |= hidden
    if hasattr(model.model, "get_rope_index"):
        seen |= positions(model, batch)
    generated = model.generate(
        **batch, max_new_tokens=steps, do_sample=False, output_logits=True, return_dict_in_generate=True, use_cache=True
    )
    length = batch["input_ids"].shape[1]
    seen["greedy.tokens"] = generated.sequences[0, length:]
    seen["greedy.logits"] = torch.stack([step[0] for step in generated.logits])
    top = seen["greedy.logits"].topk(2, dim=-1).values
    seen["greedy.margins"] = top[:, 0] - top[:, 1]
    if check and not media_tokens(model) & set(seen["greedy.tokens"].tolist()):
        check_cache(model, batch, seen)
    return seen


def media_tokens(model: Any) -> set[int]:
    return {getattr(model.config, name) for name in ("image_token_id", "video_token_id") if hasattr(model.config, name)}


def check_cache(model: Any, batch: dict[str, torch.Tensor], seen: dict[str, torch.Tensor]) -> None:
    """The reference must agree with itself: cached decode against one forward over prompt and continuation."""
    model.model.rope_deltas = None
    tokens = seen["greedy.tokens"][None]
    longer = dict(batch, input_ids=torch.cat([batch["input_ids"], tokens], dim=1))
    behind = 0 if model.config.model_type == "gemma3" else 1  # token types: of a picture there, of what is generated elsewhere
    for name, filler in (("attention_mask", 1), ("token_type_ids", behind), ("mm_token_type_ids", 0)):
        if name in batch:
            longer[name] = torch.cat([batch[name], torch.full_like(tokens, filler)], dim=1)
    logits = model(**longer, use_cache=False).logits[0, -STEPS - 1 : -1]
    error = relative(logits, seen["greedy.logits"])
    assert error < 1e-4, f"cached decode differs from a full forward by {error:.2g}"


def positions(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """M-RoPE positions [3, tokens] and the delta that decode adds."""
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "video_grid_thw", "second_per_grid_ts", "attention_mask")
    if "image_grid_thw" in batch or "video_grid_thw" in batch:
        ids, delta = model.model.get_rope_index(**{name: batch[name] for name in names if name in batch})
        return {"position_ids": ids[:, 0], "rope_delta": delta.reshape(1)}
    length = batch["input_ids"].shape[1]
    return {"position_ids": torch.arange(length).expand(3, -1), "rope_delta": torch.zeros(1, dtype=torch.long)}


@torch.no_grad()
def bf16_error(model: Any, batch: dict[str, torch.Tensor], logits: torch.Tensor) -> float:
    """Relative error of the reference's own bfloat16 run: the yardstick for fast mode."""
    model.model.rope_deltas = None
    batch = {name: value for name, value in batch.items() if name != "labels"}
    low = copy.deepcopy(model).to(torch.bfloat16)
    cast = {name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in batch.items()}
    return relative(low(**cast, use_cache=False).logits[0].float(), logits)


# What float32 itself may cost at a seam: the tests allow 1e-5 between two float32 runs.
CONDITION = 5e-6


@torch.no_grad()
def check_condition(label: str, model: Any, batch: dict[str, torch.Tensor], seen: dict[str, torch.Tensor], rows: bool) -> list[str]:
    """What is wrong with a case whose own float32 run is far from its float64 run: nobody else's float32 could agree with it."""
    model.model.rope_deltas = None
    batch = {name: value for name, value in batch.items() if name != "labels"}
    exact = copy.deepcopy(model).to(torch.float64)
    cast = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    with watch(exact) as hidden:
        hidden["logits"] = exact(**cast, use_cache=False).logits[0]
    problems = []
    for name, value in hidden.items():
        a, b = (seen[name], value) if rows else (seen[name][-1:], value[-1:])
        error = relative(a.double(), b.double())
        if error > CONDITION:
            problems.append(f"{label}: {name}: float32 is {error:.2g} away from float64")
    return problems


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


# ---------------------------------------------------------------------------------------------------------------------
# What is written


def digest(value: torch.Tensor) -> str:
    return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()


DTYPES = {torch.int64: "I64", torch.float32: "F32", torch.int32: "I32"}


def describe(case: Case, text: str | None, batch: dict[str, torch.Tensor], store: dict[str, np.ndarray]) -> dict:
    """The entry of cases.json for the processor's outputs; small tensors go to the store as well."""
    entry: dict[str, Any] = {"name": case.name}
    for key in ("messages", "prompt", "pictures", "frames", "fps", "options"):
        if (value := getattr(case, key)) not in (None, [], {}):
            entry[key] = value
    if text is not None:
        entry["text"] = text
    entry["processor"] = {}
    for name, value in batch.items():
        info = {"dtype": DTYPES[value.dtype], "shape": list(value.shape), "sha256": digest(value)}
        big = value.numel() * value.element_size() > STORED_BYTES
        if name.startswith("pixel_values"):
            flat = value.flatten()
            info |= {"first": flat[:16].tolist(), "last": flat[-16:].tolist()}
            info["stored"] = case.pixels or case.prepare is not None
        else:
            info["stored"] = not big or case.prepare is not None
        if info["stored"]:
            store[f"{case.name}.{name}"] = value.contiguous().numpy()
        entry["processor"][name] = info
    return entry


FULL_ONLY = re.compile(r"^(hidden\..*|logits|greedy\.logits)$")


def keep(case: Case, seen: dict[str, torch.Tensor], store: dict[str, np.ndarray]) -> None:
    """Stores the seams: everything of a full case, else only the last row of hidden states and logits."""
    for name, value in seen.items():
        if not case.full and FULL_ONLY.match(name):
            if name == "greedy.logits":
                continue
            value = value[-1:]
        store[f"{case.name}.{name}"] = value.contiguous().numpy()


def check_greedy(label: str, model: Any, seen: dict[str, torch.Tensor]) -> list[str]:
    """What is wrong with a continuation: a media token in it, too few distinct ones, or a margin too small to compare by."""
    if media_tokens(model) & set(seen["greedy.tokens"].tolist()):
        return [f"{label}: a media token was generated"]
    distinct = len(set(seen["greedy.tokens"].tolist()))
    scale = float(seen["greedy.logits"].std())
    margin = float(seen["greedy.margins"].min())
    problems = []
    if distinct < 12:
        problems.append(f"{label}: only {distinct} distinct tokens of {STEPS}")
    if margin < 5e-4 * scale:
        problems.append(f"{label}: margin {margin:.2g} against logits of {scale:.2g}")
    return problems


@torch.no_grad()
def least_patch(model: Any, batch: dict[str, torch.Tensor]) -> float:
    """The least relative change of the features when a single patch is inverted: nothing may go unseen."""
    base, changes = image_features(model, batch), []
    name = "pixel_values" if "pixel_values" in batch else "pixel_values_videos"
    pixels, side = batch[name], model.config.vision_config.patch_size
    if pixels.ndim == 2:
        places = [(row,) for row in range(pixels.shape[0])]
    elif pixels.ndim == 3:
        places = [tuple(place) for place in batch["pixel_attention_mask"].nonzero().tolist()]
    else:
        ranges = [range(size) for size in pixels.shape[:-3]] + [range(0, size, side) for size in pixels.shape[-2:]]
        places = list(itertools.product(*ranges))
    for place in places:
        changed = pixels.clone()
        if pixels.ndim <= 3:
            patch = changed[place]
        else:
            *view, y, x = place
            patch = changed[tuple(view)][:, y : y + side, x : x + side]
            if (patch == patch[:, :1, :1]).all():
                continue  # of one colour: padding, which may be cut off again
        patch.neg_()
        changes.append(relative(image_features(model, batch | {name: changed}), base))
    return min(changes)


def one_row_a_line(value: dict) -> str:
    """JSON with each item of a list of rows on a line of its own."""
    fields = []
    for key, item in value.items():
        if isinstance(item, list) and item:
            item = "[\n" + ",\n".join("    " + json.dumps(row) for row in item) + "\n  ]"
        else:
            item = json.dumps(item)
        fields.append(f"  {json.dumps(key)}: {item}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def save_case_files(variant: Variant, rows: list[dict], cases: list[dict], store: dict[str, np.ndarray]) -> None:
    weights = {"family": variant.family, "seed": variant.seed, "tensors": rows, "extras": variant.extras}
    (variant.folder / "weights.json").write_text(one_row_a_line(weights))
    versions = {name: __import__(name).__version__ for name in ("transformers", "torch", "tokenizers", "PIL")}
    write_json(variant.folder / "cases.json", {"family": variant.family, "reference": versions, "cases": cases})
    save_file(store, variant.folder / "golden.safetensors")
