#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a random-weight checkpoint of real size: the shapes of a published config, weights drawn cheaply and streamed.

    tools/random_checkpoint.py tools/configs/smolvlm-256m/config.json OUT_DIR [--dtype bf16] [--shards N] [--sparse]
                               [--quantize BITS [--group-size N] [--mode affine|mxfp4|mxfp8|nvfp4]]

Names and shapes come from the reference's model built on the meta device, under the names that published checkpoints use. With
--quantize they are MLX's names and layouts: linear layers and embeddings outside the tower are packed words drawn directly, with
scales (and biases) that give values of the usual spread; what mlx-vlm's skip_multimodal_module names stays floats. The other
small files beside CONFIG.json are copied; a tokenizer is copied from --tokenizer DIR, or made up with the right number of entries
and the family's special tokens. With --sparse the values are a hole in the file: a checkpoint of any size that takes no disk, for what
reads headers only. Memory stays at a few dozen MiB whatever the size.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

sys.path.insert(0, str(Path(__file__).resolve().parent))
from golden.common import channels_last  # noqa: E402
from golden.tokenizers import QWEN_SPLIT  # noqa: E402

FAMILIES = {"idefics3": "idefics3", "smolvlm": "idefics3", "paligemma": "paligemma", "qwen2_5_vl": "qwen2_5_vl"}
FAMILIES |= {"qwen2_vl": "qwen2_vl", "qwen3_vl": "qwen3_vl", "qwen3_vl_moe": "qwen3_vl", "glm_ocr": "glm_ocr"}
FAMILIES |= {"llava": "llava", "llava_next": "llava_next", "llava-qwen2": "llava_bunny", "llava_qwen2": "fastvlm"}
FAMILIES |= {"gemma3": "gemma3", "mistral3": "pixtral", "lfm2_vl": "lfm2_vl"}
# Whose tokenizer and pipeline a made-up one has.
PIPELINES = {"llava": "paligemma", "llava_next": "paligemma", "llava_bunny": "qwen2_5_vl", "fastvlm": "qwen2_5_vl"}
PIPELINES |= {"qwen2_vl": "qwen2_5_vl", "qwen3_vl": "qwen2_5_vl", "glm_ocr": "qwen2_5_vl"}
PIPELINES |= {"gemma3": "paligemma"}


def family_of(config: dict) -> str:
    """The module of tools/golden whose names and template a config has."""
    pixtral = config["model_type"] == "llava" and config.get("vision_config", {}).get("model_type") == "pixtral"
    return "pixtral" if pixtral else FAMILIES[config["model_type"]]


DTYPES = {"f32": ("F32", "float32", 4), "bf16": ("BF16", "bfloat16", 2), "f16": ("F16", "float16", 2)}
BLOCK = 1 << 22  # values drawn once; every tensor is cut from them


@dataclass
class Stored:
    """A tensor of the file. kind: what draw() makes of it; level: standard deviation, or the mean of scales and biases."""

    name: str
    code: str  # of safetensors
    shape: tuple[int, ...]
    kind: str
    level: float
    start: int  # where in the drawn values it begins

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * {"F32": 4, "U32": 4, "U8": 1}.get(self.code, 2)


def parameters(config_path: Path, convention: str) -> list[tuple[str, tuple[int, ...], float]]:
    """Name, shape and standard deviation (0: a norm's weight) of every tensor; convention: "hf_old", as published, or "mlx"."""
    given = json.loads(config_path.read_text())
    module = importlib.import_module("golden." + family_of(given))
    own_name = getattr(module, "own_name", lambda name: name)
    foreign = hasattr(module, "reference_of")  # a family that is another one's to transformers
    config = AutoConfig.for_model(**module.reference_of(given)) if foreign else AutoConfig.from_pretrained(config_path.parent)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    saved, rows = model.state_dict(), []
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in saved and buffer.is_floating_point()}
    for name, parameter in [*model.named_parameters(), *buffers.items()]:
        name, shape = own_name(name), tuple(parameter.shape)
        std = float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 0.0
        if name.endswith("bias"):
            std = 0.02
        if "embed" in name and len(shape) == 2:
            std = 0.02
        if ".experts." in name:
            rows += stacks(module.names(name)[convention], shape, convention, module.expert_layouts(name))
            continue
        if convention == "mlx" and (axes := getattr(module, "mlx_axes", channels_last)(name, shape)):
            shape = tuple(shape[axis] for axis in axes)
        rows.append((module.names(name)[convention], shape, std))
    return rows


def stacks(name: str, shape: tuple[int, ...], convention: str, layout: dict) -> list[tuple[str, tuple[int, ...], float]]:
    """Experts [experts, out, in] as a convention has them: turned, or in parts."""
    std = shape[2] ** -0.5
    if convention == "hf_old":
        return [(name, tuple(shape[axis] for axis in layout["hf_old_axes"]), std)]
    parts = layout.get("mlx_parts", [name])
    return [(part, (shape[0], shape[1] // len(parts), shape[2]), std) for part in parts]


# ---------------------------------------------------------------------------------------------------------------------
# Quantization

# Parts of names whose modules mlx-vlm leaves alone where it skips the tower.
SKIPPED = ("vision", "aligner", "vl_connector", "sam_model", "audio_model", "audio_tower", "img_projector", "multi_modal_projector")
GROUP = {"affine": 64, "mxfp4": 32, "mxfp8": 32, "nvfp4": 16}
BITS = {"mxfp4": 4, "mxfp8": 8, "nvfp4": 4}
CODE_SPREAD = {"mxfp4": 2.93, "nvfp4": 2.93, "mxfp8": 71.0}  # root mean square of the codes that are drawn


def quantized(name: str, shape: tuple[int, ...], std: float, q: argparse.Namespace, start: int) -> list[Stored]:
    """MLX's triple, or pair, of one matrix."""
    groups, stem = (*shape[:-1], shape[-1] // q.group_size), name.removesuffix("weight")
    words = Stored(name, "U32", (*shape[:-1], shape[-1] * q.quantize // 32), "finite" if q.mode == "mxfp8" else "words", 0, start)
    if q.mode != "affine":
        kind = "e4m3" if q.mode == "nvfp4" else "e8m0"
        return [words, Stored(stem + "scales", "U8", groups, kind, std / CODE_SPREAD[q.mode], start)]
    scale = std * 12**0.5 / 2**q.quantize
    middle = -scale * (2**q.quantize - 1) / 2
    code = DTYPES[q.dtype][0]
    return [words, Stored(stem + "scales", code, groups, "near", scale, start), Stored(stem + "biases", code, groups, "near", middle, start)]


def stored(rows: list[tuple[str, tuple[int, ...], float]], args: argparse.Namespace, unit_norms: bool) -> Iterator[Stored]:
    for index, (name, shape, std) in enumerate(rows):
        start = index * 7919 * 64 % BLOCK
        matrix = len(shape) == 2 or ".switch_mlp." in name
        matrix = matrix and name.endswith(".weight") and not any(part in name for part in SKIPPED)
        if args.quantize and matrix and shape[-1] % args.group_size == 0:
            yield from quantized(name, shape, std, args, start)
        elif std == 0:
            yield Stored(name, DTYPES[args.dtype][0], shape, "same", 1.0 if unit_norms else 0.0, start)
        else:
            yield Stored(name, DTYPES[args.dtype][0], shape, "spread", std, start)


# ---------------------------------------------------------------------------------------------------------------------
# Values and files


def encode(values: np.ndarray, code: str) -> bytes:
    if code == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype(np.float16 if code == "F16" else np.float32).tobytes()


def draw(t: Stored, base: np.ndarray) -> bytes:
    """The tensor's piece that these drawn values give."""
    if t.kind in ("words", "finite"):
        words = base.view(np.uint32) * np.uint32(2654435761)
        return (words & np.uint32(0xF7F7F7F7) if t.kind == "finite" else words).tobytes()  # no code of all ones: a NaN
    if t.kind == "e8m0":
        return np.full(base.size, 127 + round(float(np.log2(t.level))), np.uint8).tobytes()
    if t.kind == "e4m3":
        return torch.full((base.size,), t.level).to(torch.float8_e4m3fn).view(torch.uint8).numpy().tobytes()
    if t.kind == "same":
        return encode(np.full(base.size, t.level, np.float32), t.code)
    if t.kind == "near":
        return encode((1 + np.clip(base, -2, 2) / 8) * np.float32(t.level), t.code)
    return encode(base * np.float32(t.level), t.code)


def write_tensor(file, t: Stored, base: np.ndarray) -> None:
    """One tensor, block by block, from a rotating place of the drawn values."""
    count, start = int(np.prod(t.shape)), t.start
    while count > 0:
        take = min(count, BLOCK - start)
        file.write(draw(t, base[start : start + take]))
        count, start = count - take, (start + take) % BLOCK


def write_weights(out: Path, rows: list[Stored], shards: int, maker: str, sparse: bool) -> None:
    base = np.random.Generator(np.random.PCG64(1)).standard_normal(BLOCK, dtype=np.float32)
    total = sum(t.bytes for t in rows)
    names: dict[str, str] = {}
    at, done = 0, 0
    for shard in range(1, shards + 1):
        name = "model.safetensors" if shards == 1 else f"model-{shard:05d}-of-{shards:05d}.safetensors"
        header: dict[str, dict] = {"__metadata__": {"format": maker}}
        chosen, offset = [], 0
        while at < len(rows) and (shard == shards or done < total * shard / shards):
            t = rows[at]
            header[t.name] = {"dtype": t.code, "shape": list(t.shape), "data_offsets": [offset, offset + t.bytes]}
            chosen.append(t)
            names[t.name] = name
            at, offset, done = at + 1, offset + t.bytes, done + t.bytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(out / name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            if sparse:
                file.truncate(file.tell() + offset)
                continue
            for t in chosen:
                write_tensor(file, t, base)
    if shards > 1:
        index = {"metadata": {"total_size": total}, "weight_map": names}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


# ---------------------------------------------------------------------------------------------------------------------
# Made-up tokenizers


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(extra)) for byte in range(256)]


def fill_vocabulary(vocab: dict[str, int], start: list[str], letters: list[str], taken: dict[int, str], size: int) -> list[list[str]]:
    """Fills the free ids with merges: each new entry is an older one and a letter, so that each has one way to be made."""
    merges, grown, cursor = [], list(start), 0
    used = set(taken) | set(vocab.values())
    for number in (i for i in range(size) if i not in used):
        prefix, letter = grown[cursor // len(letters)], letters[cursor % len(letters)]
        cursor += 1
        vocab[prefix + letter] = number
        merges.append([prefix, letter])
        grown.append(prefix + letter)
    return merges


def made_up_tokenizer(config: dict, family: str) -> tuple[dict, dict]:
    """tokenizer.json and tokenizer_config.json with the family's pipeline, special tokens at the config's ids, and a full vocabulary."""
    size = config.get("text_config", config).get("vocab_size", 262208)  # Gemma 3's files leave it out
    special, family = SPECIAL[family](config), PIPELINES.get(family, family)
    letters = list("etaoinshrdlucmfwypvbgk")
    if family == "paligemma":
        vocab = {f"<0x{byte:02X}>": 4 + byte for byte in range(256)}
        start = ["\u2581", *map(chr, range(33, 127)), "\n"]
        vocab |= {letter: 260 + index for index, letter in enumerate(start)}
    else:
        first = {"idefics3": 3, "pixtral": 1000, "lfm2_vl": 500}.get(family, 0)
        vocab = {letter: first + index for index, letter in enumerate(byte_alphabet())}
        start = ["\u0120", *letters]
    merges = fill_vocabulary(vocab, start, letters, special, size)
    vocab |= {text: number for number, text in special.items()}
    added = [
        {"id": n, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for n, t in sorted(special.items())
    ]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False, "merges": merges}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": family == "idefics3"}
    pipeline: dict = {"normalizer": None, "post_processor": None, "decoder": byte_level}
    if family == "idefics3":
        digits = {"type": "Digits", "individual_digits": True}
        pipeline["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    elif family in ("qwen2_5_vl", "pixtral", "lfm2_vl"):
        split = {"type": "Split", "pattern": {"Regex": QWEN_SPLIT}, "behavior": "Isolated", "invert": False}
        pipeline["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
        pipeline["normalizer"] = {"type": "NFC"} if family == "qwen2_5_vl" else None
    else:
        model |= {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
        pipeline["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        pipeline["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
        back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
        pipeline["decoder"] = {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added} | pipeline
    tokenizer["model"] = model | {"vocab": vocab}
    end = "<|im_end|>" if "<|im_end|>" in vocab else "<|endoftext|>"
    marks = {"idefics3": ("<|im_start|>", "<end_of_utterance>"), "paligemma": ("<bos>", "<eos>"), "qwen2_5_vl": (None, end)}
    marks |= {"pixtral": ("<s>", "</s>"), "lfm2_vl": ("<|startoftext|>", "<|im_end|>")}
    settings = {"bos_token": marks[family][0], "eos_token": marks[family][1], "clean_up_tokenization_spaces": False}
    return tokenizer, settings | {"model_max_length": 8192, "tokenizer_class": "PreTrainedTokenizerFast"}


def special_idefics3(config: dict) -> dict[int, str]:
    found = {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>", config["image_token_id"]: "<image>"}
    size, names = config["text_config"]["vocab_size"], ["<end_of_utterance>", "<fake_token_around_image>", "<global-img>"]
    names += [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    number = size
    for name in names:
        number -= 1
        while number in found:
            number -= 1
        found[number] = name
    return found


def special_paligemma(config: dict) -> dict[int, str]:
    found = {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", config["image_token_index"]: "<image>"}
    extra = [f"<loc{i:04d}>" for i in range(1024)] + [f"<seg{i:03d}>" for i in range(128)]
    return found | {config["image_token_index"] - len(extra) + i: name for i, name in enumerate(extra)}


def special_qwen(config: dict) -> dict[int, str]:
    first = config["image_token_id"] - 12
    names = "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end"
    names += " vision_start vision_end vision_pad image_pad video_pad"
    return {first + index: f"<|{name}|>" for index, name in enumerate(names.split())}


def special_llava(config: dict) -> dict[int, str]:
    return {0: "<unk>", 1: "<s>", 2: "</s>", 3: "<pad>", config["image_token_index"]: "<image>"}


def special_chatml(config: dict) -> dict[int, str]:
    return {config["bos_token_id"] + index: f"<|{name}|>" for index, name in enumerate(("endoftext", "im_start", "im_end"))}


def special_gemma3(config: dict) -> dict[int, str]:
    found = {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 105: "<start_of_turn>", 106: "<end_of_turn>"}
    found |= {config["boi_token_index"]: "<start_of_image>", config["eoi_token_index"]: "<end_of_image>"}
    return found | {config["image_token_index"]: "<image_soft_token>"}


def special_pixtral(config: dict) -> dict[int, str]:
    found = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 11: "<pad>", 12: "[IMG_BREAK]", 13: "[IMG_END]"}
    return found | {17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", config["image_token_index"]: "[IMG]"}


def special_glm(config: dict) -> dict[int, str]:
    first = config["image_start_token_id"] - 10
    names = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>"]
    names += ["<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
    found = {first + index: name for index, name in enumerate(names)}
    return found | {config["image_token_id"]: "<|image|>", config["video_token_id"]: "<|video|>"}


def special_lfm2(config: dict) -> dict[int, str]:
    image = config["image_token_id"]
    found = {0: "<|pad|>", 1: "<|startoftext|>", 2: "<|endoftext|>", 6: "<|im_start|>", 7: "<|im_end|>", image: "<image>"}
    tiles = [f"<|img_row_{r}_col_{c}|>" for r in range(1, 11) for c in range(1, 11)]
    return found | {image + 1 + i: name for i, name in enumerate([*tiles, "<|img_thumbnail|>", "<|image_start|>", "<|image_end|>"])}


SPECIAL = {"idefics3": special_idefics3, "paligemma": special_paligemma, "qwen2_5_vl": special_qwen}
SPECIAL |= {"llava": special_llava, "llava_next": special_llava, "llava_bunny": special_chatml, "fastvlm": special_chatml}
SPECIAL |= {"gemma3": special_gemma3, "pixtral": special_pixtral, "lfm2_vl": special_lfm2}
SPECIAL |= {"qwen2_vl": special_qwen, "qwen3_vl": special_qwen, "glm_ocr": special_glm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, metavar="CONFIG.json")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--sparse", action="store_true", help="no values: headers and a hole")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="copy tokenizer.json and tokenizer_config.json from here")
    parser.add_argument("--quantize", type=int, metavar="BITS", choices=(2, 3, 4, 5, 6, 8))
    parser.add_argument("--group-size", type=int, metavar="N", help="64; what the mode has")
    parser.add_argument("--mode", choices=GROUP, default="affine")
    args = parser.parse_args()
    args.group_size = args.group_size or GROUP[args.mode]
    if args.quantize and args.mode != "affine" and (args.quantize, args.group_size) != (BITS[args.mode], GROUP[args.mode]):
        parser.error(f"{args.mode} is {BITS[args.mode]} bits in groups of {GROUP[args.mode]}")
    args.out.mkdir(parents=True, exist_ok=True)
    config = json.loads(args.config.read_text())
    family = family_of(config)
    module = importlib.import_module("golden." + family)
    for path in args.config.parent.iterdir():
        if path.suffix in (".json", ".jinja") and path != args.config:
            shutil.copy(path, args.out)
    config["torch_dtype"] = DTYPES[args.dtype][1]
    if args.quantize:
        config["quantization"] = {"group_size": args.group_size, "bits": args.quantize, "mode": args.mode}
        config["quantization_config"] = config["quantization"]
    (args.out / "config.json").write_text(json.dumps(config, indent=2))
    if args.tokenizer:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(args.tokenizer / name, args.out)
    else:
        tokenizer, settings = made_up_tokenizer(config, family)
        (args.out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
        (args.out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    if hasattr(module, "TEMPLATE"):
        (args.out / "chat_template.jinja").write_text(module.TEMPLATE)
    rows = parameters(args.config, "mlx" if args.quantize else "hf_old")
    tensors = list(stored(rows, args, family not in ("paligemma", "gemma3")))
    write_weights(args.out, tensors, args.shards, "mlx" if args.quantize else "pt", args.sparse)
    count = sum(int(np.prod(shape)) for _, shape, _ in rows)
    print(f"{args.out}: {len(tensors)} tensors, {count / 1e6:.1f} M parameters, {sum(t.bytes for t in tensors) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
