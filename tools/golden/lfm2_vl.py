# SPDX-License-Identifier: MIT
"""LFM2-VL: a tiny checkpoint and its cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from transformers import image_transforms
from transformers.image_processing_backends import TorchvisionBackend

from . import tokenizers
from .common import IMAGE, PICTURES, Case, Variant, assistant, linear, norm, spread, user, write_json
from .generator import Draw

# The template in our own words: ChatML behind the first token, parts one behind the other.
TEMPLATE = """{{- bos_token -}}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<image>{%- elif part.type == 'text' -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

DRAWS = [
    (r"(layer_?norm\d?|post_layernorm|_norm)\.weight$", norm(1)),
    (r"position_embedding\.weight$", spread(0.6)),
    (r"patch_embedding\.weight$", linear(2.5)),
    (r"embed_tokens\.weight$", spread(0.35)),
    (r"(q_proj|k_proj)\.weight$", linear(1.6)),
    # fc1 works around -2, where the GELUs differ most for what they give.
    (r"fc1\.weight$", linear(0.8)),
    (r"fc1\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"fc2\.weight$", linear(14)),
    (r"vision_tower.*(v_proj|out_proj)\.weight$", linear(1.4)),
    (r"conv\.conv\.weight$", spread(0.6)),
    (r"(v_proj|out_proj|in_proj|w1|w2|w3)\.weight$", linear(1.5)),
    (r"linear_1\.weight$", linear(0.8)),
    (r"linear_1\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"linear_2\.weight$", linear(8)),
    (r"bias$", spread(0.2)),
]


def names(name: str) -> dict[str, str]:
    """Published files have vision_model within the tower; MLX has language_model.model and no model in front."""
    old = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
    mlx = name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
    return {"hf": name, "hf_old": old, "mlx": mlx}


def files(folder: Path, config: dict, merges: int) -> None:
    """As published: everything of the processor in one nested processor_config.json, a jinja file."""
    size = tokenizers.lfm2(folder / "tokenizer.json", merges, 6)
    assert size == config["text_config"]["vocab_size"], size
    settings = {
        "add_bos_token": False,
        "bos_token": "<|startoftext|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "image_end_token": "<|image_end|>",
        "image_start_token": "<|image_start|>",
        "image_thumbnail": "<|img_thumbnail|>",
        "image_token": "<image>",
        "model_max_length": 4096,
        "pad_token": "<|pad|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 7, "pad_token_id": 0})
    processor = {
        "image_processor": {
            "do_image_splitting": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "downsample_factor": 2,
            "encoder_patch_size": 8,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "Lfm2VlImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "max_image_tokens": 12,
            "max_pixels_tolerance": 2.0,
            "max_tiles": 6,
            "min_image_tokens": 4,
            "min_tiles": 2,
            "resample": 2,
            "rescale_factor": 1 / 255,
            "tile_size": 32,
            "use_thumbnail": True,
        },
        "processor_class": "Lfm2VlProcessor",
    }
    write_json(folder / "processor_config.json", processor)
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def pillow_resize(self: Any, image: torch.Tensor, size: Any, resample: Any = None, **kwargs: Any) -> torch.Tensor:
    filters = {"nearest": 0, "bilinear": 2, "bicubic": 3, "lanczos": 1}
    kind = filters[resample.value] if hasattr(resample, "value") and isinstance(resample.value, str) else int(resample)
    resized = [
        np.asarray(Image.fromarray(one.permute(1, 2, 0).numpy()).resize((size.width, size.height), kind)) for one in image
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def pillow_normalize(self: Any, images: torch.Tensor, do_rescale, factor, do_normalize, mean, std) -> torch.Tensor:
    values = images.numpy()
    if do_rescale:
        values = image_transforms.rescale(values, factor)
    if do_normalize:
        values = np.stack([image_transforms.normalize(one, mean, std, "channels_first", "channels_first") for one in values])
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def with_pillow(processor: Any) -> None:
    """Pillow's arithmetic: the class itself exists for torchvision only (docs/REFERENCE.md)."""
    images = processor.image_processor
    given = images._preprocess

    def preprocess(pictures, **kwargs):
        with (
            mock.patch.object(TorchvisionBackend, "resize", pillow_resize),
            mock.patch.object(TorchvisionBackend, "rescale_and_normalize", pillow_normalize),
        ):
            return given(pictures, **kwargs)

    images._preprocess = preprocess


def cases() -> list[Case]:
    def picture(*names: str) -> list[str]:
        return [f"{PICTURES}/{name}" for name in names]

    def shapes(processor: Any) -> dict[str, torch.Tensor]:
        """A prepared input whose views have other shapes, and no padding."""
        patches = torch.from_numpy(np.random.default_rng(7).uniform(-1, 1, (2, 16, 192)).astype(np.float32))
        one = processor.tokenizer.convert_tokens_to_ids("<image>")
        text = [1, 20, 21, *[one] * 4, 30, 31, *[one] * 4, 40, 41]
        return {
            "input_ids": torch.tensor([text]),
            "attention_mask": torch.ones(1, len(text), dtype=torch.long),
            "pixel_values": patches,
            "pixel_attention_mask": torch.ones(2, 16, dtype=torch.long),
            "spatial_shapes": torch.tensor([[2, 8], [8, 2]]),
        }

    found = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("landscape", [user(IMAGE, "Describe the picture.")], pictures=picture("landscape.jpg")),
        Case("portrait", [user("How many shapes are there?", IMAGE)], pictures=picture("portrait.png")),
        Case("tiny", [user(IMAGE, "Where is it?")], pictures=picture("tiny.png")),
        Case("wide", [user(IMAGE, "Read the text.")], pictures=picture("wide.jpg")),
        Case("turned", [user(IMAGE, "Is the circle above?")], pictures=picture("turned.jpg")),
        Case(
            "several",
            [user(IMAGE, "Compare the first ", IMAGE, " with the others ", IMAGE)],
            pictures=picture("palette.png", "tiny.png", "square.png"),
        ),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=picture("photo.jpg"),
        ),
        Case("shapes", prepare=shapes),
    ]
    for case in found:
        case.full = case.pixels = case.name == "tiny"
    return found


def variants() -> list[Variant]:
    config = {
        "architectures": ["Lfm2VlForConditionalGeneration"],
        "downsample_factor": 2,
        "dtype": "float32",
        "image_token_id": 464,
        "model_type": "lfm2_vl",
        "projector_bias": True,
        "projector_hidden_act": "gelu",
        "projector_hidden_size": 56,
        "projector_use_layernorm": True,
        "text_config": {
            "block_auto_adjust_ff_dim": True,
            "block_ffn_dim_multiplier": 1.0,
            "block_multiple_of": 32,
            "bos_token_id": 1,
            "conv_L_cache": 3,
            "conv_bias": False,
            "eos_token_id": 7,
            "hidden_size": 64,
            "intermediate_size": 128,
            "layer_types": ["conv", "full_attention", "conv", "conv", "full_attention"],
            "max_position_embeddings": 4096,
            "model_type": "lfm2",
            "norm_eps": 1e-05,
            "num_attention_heads": 4,
            "num_hidden_layers": 5,
            "num_key_value_heads": 2,
            "pad_token_id": 0,
            "rope_theta": 1000000.0,
            "tie_embedding": True,
            "vocab_size": 504,
        },
        "tie_word_embeddings": True,
        "transformers_version": "4.57.0",
        "vision_config": {
            "attention_dropout": 0.0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 48,
            "intermediate_size": 80,
            "layer_norm_eps": 1e-06,
            "model_type": "siglip2_vision_model",
            "num_attention_heads": 3,
            "num_channels": 3,
            "num_hidden_layers": 3,
            "num_patches": 36,
            "patch_size": 8,
            "vision_use_head": False,
        },
    }
    return [
        Variant(
            "lfm2_vl-split",
            "lfm2_vl",
            7,
            config,
            lambda folder: files(folder, config, 200),
            DRAWS,
            names,
            cases(),
            [],
            with_pillow,
            pil=False,
        )
    ]
