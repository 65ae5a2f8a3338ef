# SPDX-License-Identifier: MIT
"""Qwen2.5-VL: two tiny checkpoints and their cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature

from . import tokenizers
from .common import IMAGE, PICTURES, VIDEO, Case, Variant, assistant, linear, norm, spread, user, write_json
from .generator import Draw

# The template in our own words: ChatML, a default system message, media between vision_start and vision_end.
TEMPLATE = """{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' or 'video' in part -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}"""

DRAWS = [
    (r"(norm\d|ln_q|layernorm|\.norm)\.weight$", norm(1)),
    (r"patch_embed\.proj\.weight$", linear(2.0)),
    (r"embed_tokens\.weight$", spread(0.3)),
    (r"attn\.qkv\.weight$", linear(1.6)),
    (r"(q_proj|k_proj)\.weight$", linear(1.7)),
    (r"visual.*(attn\.proj|gate_proj|up_proj|down_proj|fc1|fc2)\.weight$", linear(1.4)),
    # The merger's first layer works around -2, where the GELUs differ most for what they give.
    (r"merger\.mlp\.0\.weight$", linear(0.8)),
    (r"merger\.mlp\.0\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"merger\.mlp\.2\.weight$", linear(8)),
    (r"(v_proj|o_proj|gate_proj|up_proj|down_proj)\.weight$", linear(1.5)),
    (r"lm_head\.weight$", linear(2.5)),
    (r"bias$", spread(0.3)),
]

CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def names(name: str) -> dict[str, str]:
    """Published files and 5.17 keep the flat names; MLX has language_model.model and vision_tower."""
    flat = name.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1)
    mlx = flat.replace("visual.", "vision_tower.", 1)
    if not mlx.startswith("vision_tower."):
        mlx = "language_model." + mlx
    return {"hf": flat, "hf_old": flat, "mlx": mlx}


def tokenizer_files(folder: Path, merges: int, config: dict, tokenizer_class: str) -> None:
    size = tokenizers.qwen(folder / "tokenizer.json", merges)
    assert config["video_token_id"] == size - 1, size
    end = size - 14
    settings = {
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": tokenizer_class,
        "unk_token": None,
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    generation = {
        "bos_token_id": end,
        "do_sample": True,
        "eos_token_id": [end + 2, end],
        "pad_token_id": end,
        "repetition_penalty": 1.05,
        "temperature": 0.000001,
    }
    write_json(folder / "generation_config.json", generation)


def old_files(folder: Path, config: dict, merges: int, processor_class: str = "Qwen2_5_VLProcessor") -> None:
    """As published: a flat config, preprocessor_config.json without most keys, chat_template.json."""
    tokenizer_files(folder, merges, config, "Qwen2Tokenizer")
    processor = CLIP | {
        "image_processor_type": "Qwen2VLImageProcessor",
        "max_pixels": 28 * 28 * 30,
        "merge_size": 2,
        "min_pixels": 28 * 28 * 4,
        "patch_size": 14,
        "processor_class": processor_class,
        "temporal_patch_size": 2,
    }
    write_json(folder / "preprocessor_config.json", processor)
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})


def new_files(folder: Path, config: dict, merges: int) -> None:
    """As transformers 5 saves it: both processors nested in processor_config.json, size instead of min and max pixels."""
    tokenizer_files(folder, merges, config, "TokenizersBackend")
    shared = CLIP | {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "merge_size": 2,
        "patch_size": 8,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "temporal_patch_size": 2,
    }
    processor = {
        "image_processor": shared
        | {
            "image_processor_type": "Qwen2VLImageProcessor",
            "size": {"longest_edge": 16 * 16 * 50, "shortest_edge": 16 * 16 * 6},
        },
        "processor_class": "Qwen2_5_VLProcessor",
        "video_processor": shared
        | {
            "do_sample_frames": False,
            "size": {"longest_edge": 16 * 16 * 12, "shortest_edge": 16 * 16 * 4},
            "video_processor_type": "Qwen2VLVideoProcessor",
        },
    }
    write_json(folder / "processor_config.json", processor)
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def frames_with_pillow(processor: Any) -> None:
    """Video frames through Pillow: the class itself exists for torchvision only (docs/REFERENCE.md)."""
    images, clips = processor.image_processor, processor.video_processor

    def preprocess(videos, size, rescale_factor, image_mean, image_std, patch_size, temporal_patch_size, merge_size, **kwargs):
        rows, grids = [], []
        for video in videos:
            frames = []
            for frame in video.numpy():
                frame = images.resize(frame, size, resample=images.resample, factor=patch_size * merge_size)
                frame = images.normalize(images.rescale(frame, rescale_factor), image_mean, image_std)
                frames.append(torch.from_numpy(np.ascontiguousarray(frame)))
            patches, *grid = clips.patchify(torch.stack(frames)[None], patch_size, merge_size, temporal_patch_size)
            rows.append(patches[0])
            grids.append(grid)
        data = {"pixel_values_videos": torch.cat(rows), "video_grid_thw": torch.tensor(grids)}
        return BatchFeature(data, tensor_type=kwargs.get("return_tensors"))

    clips._preprocess = preprocess


def cases(full: str) -> list[Case]:
    def picture(*names: str) -> list[str]:
        return [f"{PICTURES}/{name}" for name in names]

    five, four = f"{PICTURES}/frames-five", f"{PICTURES}/frames-four"
    system = {"role": "system", "content": [{"type": "text", "text": "You answer with 1 word."}]}
    found = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("small", [user(IMAGE, "What is shown in this image?")], pictures=picture("square.png")),
        Case("landscape", [user(IMAGE, "Describe the picture.")], pictures=picture("landscape.jpg")),
        Case("portrait", [system, user(IMAGE, "How many shapes are there?")], pictures=picture("portrait.png")),
        Case("tiny", [user("Where is it? ", IMAGE)], pictures=picture("tiny.png")),
        Case("wide", [user(IMAGE, "Read the text.")], pictures=picture("wide.jpg")),
        Case("turned", [user(IMAGE, "Is the circle above?")], pictures=picture("turned.jpg")),
        Case(
            "several",
            [user(IMAGE, "Compare the first ", IMAGE, " with the others ", IMAGE)],
            pictures=picture("palette.png", "photo.jpg", "tiny.png"),
        ),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=picture("photo.jpg"),
        ),
        Case(
            "limits",
            [user(IMAGE, "Describe it.")],
            pictures=picture("landscape.jpg"),
            options={"min_pixels": 28 * 28 * 5, "max_pixels": 28 * 28 * 9},
        ),
        Case("video", [user(VIDEO, "What happens?")], frames=five, fps=1.0),
        Case("video-fast", [user(IMAGE, VIDEO, "Look.")], pictures=picture("square.png"), frames=four, fps=4.0),
    ]
    for case in found:
        case.full = case.pixels = case.name == full
    return found


def variants() -> list[Variant]:
    tied = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": 536,
        "eos_token_id": 538,
        "vision_start_token_id": 545,
        "vision_end_token_id": 546,
        "vision_token_id": 547,
        "image_token_id": 548,
        "video_token_id": 549,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "max_position_embeddings": 4096,
        "max_window_layers": 70,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 4,
            "hidden_act": "silu",
            "hidden_size": 48,
            "intermediate_size": 76,
            "num_heads": 3,
            "in_chans": 3,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vocab_size": 560,
    }
    untied = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "dtype": "float32",
        "image_token_id": 568,
        "model_type": "qwen2_5_vl",
        "text_config": {
            "attention_dropout": 0.0,
            "bos_token_id": 556,
            "eos_token_id": 558,
            "hidden_act": "silu",
            "hidden_size": 60,
            "initializer_range": 0.02,
            "intermediate_size": 92,
            "layer_types": ["full_attention"] * 4,
            "max_position_embeddings": 4096,
            "max_window_layers": 4,
            "model_type": "qwen2_5_vl_text",
            "num_attention_heads": 5,
            "num_hidden_layers": 4,
            "num_key_value_heads": 1,
            "pad_token_id": None,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {"mrope_section": [1, 2, 3], "rope_theta": 10000.0, "rope_type": "default"},
            "sliding_window": None,
            "use_cache": True,
            "use_sliding_window": False,
            "vocab_size": 570,
        },
        "tie_word_embeddings": False,
        "transformers_version": "5.17.0",
        "video_token_id": 569,
        "vision_config": {
            "depth": 3,
            "fullatt_block_indexes": [2],
            "hidden_act": "silu",
            "hidden_size": 40,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": 68,
            "model_type": "qwen2_5_vl_vision",
            "num_heads": 2,
            "out_hidden_size": 60,
            "patch_size": 8,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "tokens_per_second": 4,
            "window_size": 48,
        },
        "vision_end_token_id": 566,
        "vision_start_token_id": 565,
    }
    head = {"name": "lm_head.weight", "copy_of": "model.language_model.embed_tokens.weight", "convention": "hf_old"}
    return [
        Variant(
            "qwen2_5_vl-tied",
            "qwen2_5_vl",
            4,
            tied,
            lambda folder: old_files(folder, tied, 280),
            DRAWS,
            names,
            cases("turned"),
            [head],
            frames_with_pillow,
        ),
        Variant(
            "qwen2_5_vl-untied",
            "qwen2_5_vl",
            8,
            untied,
            lambda folder: new_files(folder, untied, 300),
            DRAWS,
            names,
            cases("video-fast"),
            [],
            frames_with_pillow,
        ),
    ]
