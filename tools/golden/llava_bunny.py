# SPDX-License-Identifier: MIT
"""Bunny and nanoLLaVA: SigLIP's last hidden state through two linear layers in front of Qwen2 or Llama.

transformers has no class for them. Its LLaVA computes the same (vision_feature_layer -1, strategy "full"), so it is the reference;
the processor below is put together from its image processor and tokenizers, as the remote code of nanoLLaVA does it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

from . import llava, tokenizers
from .common import IMAGE, PICTURES, Case, Variant, assistant, user, write_json

SENTINEL = -200
# ChatML over contents that are text, and Vicuna's turns, in our own words.
CHATML = """{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
TEMPLATE = CHATML
TURNS = """{% for message in messages %}{{ message.role | upper + ': ' + message.content + ' ' }}{% endfor %}
{%- if add_generation_prompt %}ASSISTANT:{% endif %}"""


def own_name(name: str) -> str:
    """Published names, for LLaVA's."""
    name = name.replace("model.vision_tower.", "model.vision_tower.vision_tower.vision_model.", 1)
    name = name.replace("model.multi_modal_projector.linear_1.", "model.mm_projector.0.", 1)
    name = name.replace("model.multi_modal_projector.linear_2.", "model.mm_projector.2.", 1)
    return name.replace("model.language_model.", "model.", 1)


def names(name: str) -> dict[str, str]:
    """MLX's differ; it calls the head a part of the inner model."""
    mlx = name.removeprefix("model.").replace("mm_projector.0", "mm_projector.linear_1").replace("mm_projector.2", "mm_projector.linear_2")
    if not mlx.startswith(("vision_tower.", "mm_projector.")):
        mlx = "language_model.model." + mlx
    return {"hf": name, "hf_old": name, "mlx": mlx}


class Processor:
    """The prompt cut at <image>, a sentinel for each row of features; pictures padded to squares of the mean colour."""

    def __init__(self, variant: Variant, folder: Path | None = None, backend: str = "pil") -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder or variant.folder)
        self.image_processor = AutoImageProcessor.from_pretrained(folder or variant.folder, backend=backend)
        self.patch_size = variant.config["vision_config"].get("patch_size", 64)
        self.image_id = variant.reference["image_token_index"]

    def apply_chat_template(self, messages: list[dict], **kwargs: Any) -> str:
        for message in messages:
            parts = ["<image>\n" if part["type"] == "image" else part["text"] for part in message["content"]]
            message["content"] = "".join(parts)
        return self.tokenizer.apply_chat_template(messages, **kwargs)

    def square(self, image: Image.Image) -> Image.Image:
        colour = tuple(int(x * 255) for x in self.image_processor.image_mean)
        side = max(image.size)
        square = Image.new("RGB", (side, side), colour)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square

    def __call__(self, text: str, images: list[Image.Image] | None = None, return_tensors: str = "pt") -> dict[str, torch.Tensor]:
        first, *others = text.split("<image>")
        ids, tokens, batch = list(self.tokenizer(first).input_ids), 0, {}
        if images:
            squares = [self.square(image) for image in images]
            batch["pixel_values"] = self.image_processor(squares, return_tensors=return_tensors)["pixel_values"]
            tokens = (batch["pixel_values"].shape[-1] // self.patch_size) ** 2
        for chunk in others:
            ids += [self.image_id] * tokens + self.tokenizer(chunk, add_special_tokens=False).input_ids
        return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long), **batch}


def shown(variant_id: int):
    def replace(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        ids = batch["input_ids"]
        return batch | {"input_ids": torch.where(ids == variant_id, SENTINEL, ids)}

    return replace


def siglip(edge: int) -> dict:
    """SigLIP's processor."""
    return {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": edge, "width": edge},
    }


CHATML_TOKENS = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None}
TURNS_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def files(folder: Path, config: dict, template: str, write_tokenizer, tokens: dict, processor: dict, longest: int = 4096) -> None:
    """The files of a checkpoint in the manner of the first LLaVA."""
    write_tokenizer(folder / "tokenizer.json")
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]})
    settings = tokens | {"chat_template": template, "model_max_length": longest, "tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "preprocessor_config.json", processor)


def cases(full: str) -> list[Case]:
    def picture(name: str) -> list[str]:
        return [f"{PICTURES}/{name}"]

    found = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("small", [user(IMAGE, "What is shown in this image?")], pictures=picture("square.png")),
        Case("landscape", [user(IMAGE, "Describe the picture.")], pictures=picture("landscape.jpg")),
        Case("portrait", [user(IMAGE, "How many shapes are there?")], pictures=picture("portrait.png")),
        Case("wide", [user(IMAGE, "Read the text.")], pictures=picture("wide.jpg")),
        Case("tiny", [user(IMAGE, "Where is it?")], pictures=picture("tiny.png")),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=picture("turned.jpg"),
        ),
    ]
    for case in found:
        case.full = case.pixels = case.name == full
    return found


def reference_of(config: dict) -> dict:
    """The LLaVA that computes the same as a checkpoint of this config; its media token is the table's last row."""
    return reference(config, "llama" if config["model_type"] == "bunny-llama" else "qwen2", config["vocab_size"] - 1)


def reference(config: dict, text_type: str, image_id: int) -> dict:
    text = {key: value for key, value in config.items() if key not in ("vision_config", "model_type", "architectures")}
    return {
        "image_token_index": image_id,
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": text | {"model_type": text_type},
        "tie_word_embeddings": config["tie_word_embeddings"],
        "vision_config": config["vision_config"] | {"vision_use_head": False},
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }


def variants() -> list[Variant]:
    vision = {
        "hidden_size": 48,
        "image_size": 56,
        "intermediate_size": 80,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "patch_size": 14,
    }
    shared = {
        "freeze_mm_mlp_adapter": False,
        "image_aspect_ratio": "pad",
        "image_token_index": SENTINEL,
        "max_position_embeddings": 4096,
        "mm_hidden_size": 48,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "torch_dtype": "float32",
        "use_mm_proj": True,
        "vision_config": vision,
    }
    qwen = shared | {
        "architectures": ["LlavaQwen2ForCausalLM"],
        "bos_token_id": 516,
        "eos_token_id": 518,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_window_layers": 21,
        "model_type": "llava-qwen2",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "transformers_version": "4.39.3",
        "use_sliding_window": False,
        "vocab_size": 528,
    }
    llama = shared | {
        "architectures": ["BunnyLlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 112,
        "model_type": "bunny-llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "vocab_size": 480,
    }
    head = {"name": "lm_head.weight", "copy_of": "model.embed_tokens.weight", "convention": "hf_old"}
    mlx_head = {"name": "language_model.model.lm_head.weight", "copy_of": "model.embed_tokens.weight", "convention": "mlx"}
    return [
        Variant(
            "llava_bunny-qwen2",
            "llava_bunny",
            1,
            qwen,
            lambda folder: files(folder, qwen, CHATML, lambda path: tokenizers.chatml(path, 260, []), CHATML_TOKENS, siglip(56)),
            llava.DRAWS,
            names,
            cases("small"),
            [head, mlx_head],
            reference=reference_of(qwen),
            own_name=own_name,
            load_processor=Processor,
            shown=shown(527),
        ),
        Variant(
            "llava_bunny-llama",
            "llava_bunny",
            10,
            llama,
            lambda folder: files(folder, llama, TURNS, lambda path: tokenizers.llama(path, 150, ["<pad>"]), TURNS_TOKENS, siglip(56)),
            llava.DRAWS,
            names,
            cases("wide"),
            reference=reference_of(llama),
            own_name=own_name,
            load_processor=Processor,
            shown=shown(479),
        ),
    ]
