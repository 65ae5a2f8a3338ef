# SPDX-License-Identifier: MIT
"""Idefics3, SmolVLM and SmolVLM2: three tiny checkpoints and their cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import tokenizers
from .common import IMAGE, PICTURES, VIDEO, Case, Variant, assistant, linear, norm, spread, user, write_json
from .generator import Draw

# The template in our own words: the role's name, a colon (and a blank unless a picture comes first), the parts, end of utterance.
TEMPLATE = """<|im_start|>{% for message in messages -%}
{{ message.role | capitalize }}:{% if message.content[0].type != 'image' %} {% endif %}
{%- for part in message.content -%}
{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>{% elif part.type == 'video' %}<video>{% endif %}
{%- endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"""

DRAWS = [
    (r"(layer_norm\d|post_layernorm|layernorm|\.norm)\.weight$", norm(1)),
    (r"position_embedding\.weight$", spread(0.6)),
    (r"patch_embedding\.weight$", linear(2.5)),
    (r"embed_tokens\.weight$", spread(0.35)),
    (r"(q_proj|k_proj)\.weight$", linear(1.6)),
    # fc1 works around -2, where the GELUs differ most for what they give.
    (r"fc1\.weight$", linear(0.8)),
    (r"fc1\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"fc2\.weight$", linear(14)),
    (r"vision_model.*(v_proj|out_proj)\.weight$", linear(1.4)),
    (r"(v_proj|o_proj|gate_proj|up_proj|down_proj)\.weight$", linear(1.5)),
    (r"modality_projection\.proj\.weight$", linear(0.8)),
    (r"lm_head\.weight$", linear(2.5)),
    (r"bias$", spread(0.2)),
]


def names(name: str) -> dict[str, str]:
    """The published and the 5.17 names are the modules' own; MLX drops `model.` and calls the decoder language_model."""
    mlx = name.removeprefix("model.").replace("text_model.", "language_model.", 1)
    if name.startswith("lm_head"):
        mlx = "language_model." + name
    return {"hf": name, "hf_old": name, "mlx": mlx}


def extras(config: dict) -> list[dict]:
    """What published checkpoints store needlessly: buffers of older releases, and the copy of a tied head."""
    text, vision = config["text_config"], config["vision_config"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    rows = [
        {"name": "model.vision_model.embeddings.position_ids", "dtype": "I64", "shape": [1, patches]},
        {"name": "model.text_model.layers.0.self_attn.rotary_emb.inv_freq", "dtype": "F32", "shape": [text["head_dim"] // 2]},
    ]
    rows = [row | {"convention": "hf_old"} for row in rows]
    if config["tie_word_embeddings"]:  # mlx-vlm asks for the head in any case
        head = {"copy_of": "model.text_model.embed_tokens.weight"}
        rows.append(head | {"name": "lm_head.weight", "convention": "hf_old"})
        rows.append(head | {"name": "language_model.lm_head.weight", "convention": "mlx"})
    return rows


def tokenizer_files(folder: Path, size: int, tokenizer_class: str) -> None:
    config = {
        "add_prefix_space": False,
        "bos_token": "<|im_start|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<end_of_utterance>",
        "extra_special_tokens": {},
        "model_max_length": 4096,
        "pad_token": "<|im_end|>",
        "tokenizer_class": tokenizer_class,
        "unk_token": "<|endoftext|>",
    }
    write_json(folder / "tokenizer_config.json", config)


IMAGE_PROCESSOR = {
    "do_convert_rgb": True,
    "do_image_splitting": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 1,
    "rescale_factor": 1 / 255,
}


def old_files(folder: Path, config: dict, merges: int, grid: int, tile: int, edge: int, tokens: int, split: bool) -> None:
    """The layout of published checkpoints: preprocessor_config.json beside processor_config.json, chat_template.json."""
    size = tokenizers.smollm(folder / "tokenizer.json", merges, grid, grid)
    assert size <= config["text_config"]["vocab_size"]
    write_json(folder / "config.json", config)
    eos = config["text_config"]["eos_token_id"]
    write_json(folder / "generation_config.json", {"_from_model_config": True, "bos_token_id": eos - 4, "eos_token_id": eos})
    preprocessor = IMAGE_PROCESSOR | {
        "do_image_splitting": split,
        "image_processor_type": "Idefics3ImageProcessor",
        "max_image_size": {"longest_edge": tile},
        "processor_class": "Idefics3Processor",
        "size": {"longest_edge": edge},
    }
    write_json(folder / "preprocessor_config.json", preprocessor)
    write_json(folder / "processor_config.json", {"image_seq_len": tokens, "processor_class": "Idefics3Processor"})
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})
    tokenizer_files(folder, size, "PreTrainedTokenizerFast")


def new_files(folder: Path, config: dict, merges: int, grid: int, tile: int, edge: int, tokens: int) -> None:
    """The layout that transformers 5 saves: one processor_config.json with everything nested, chat_template.jinja."""
    size = tokenizers.smollm(folder / "tokenizer.json", merges, grid, grid)
    assert size == config["text_config"]["vocab_size"], (size, config["text_config"]["vocab_size"])
    write_json(folder / "config.json", config)
    eos = config["text_config"]["eos_token_id"]
    write_json(folder / "generation_config.json", {"bos_token_id": eos - 4, "eos_token_id": [eos, eos - 5]})
    shared = {"max_image_size": {"longest_edge": tile}, "size": {"longest_edge": edge}}
    video = {key: value for key, value in IMAGE_PROCESSOR.items() if key != "do_image_splitting"}
    processor = {
        "image_processor": IMAGE_PROCESSOR | shared | {"image_processor_type": "SmolVLMImageProcessor"},
        "image_seq_len": tokens,
        "processor_class": "SmolVLMProcessor",
        "video_processor": video
        | shared
        | {
            "do_sample_frames": False,
            "return_metadata": False,
            "video_processor_type": "SmolVLMVideoProcessor",
            "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": tile}},
        },
    }
    write_json(folder / "processor_config.json", processor)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer_files(folder, size, "TokenizersBackend")


def frames_with_pillow(processor: Any) -> None:
    """Video frames through Pillow: the class itself exists for torchvision only (docs/REFERENCE.md)."""
    images, videos = processor.image_processor, processor.video_processor

    def preprocess(videos_in, size, do_rescale, rescale_factor, image_mean, image_std, return_tensors=None, **kwargs):
        clips = []
        for clip in videos_in:
            frames = []
            for frame in clip.numpy():
                frame = images.resize(frame, size, resample=images.resample)
                edge = videos.max_image_size["longest_edge"]
                square = type(size)(height=edge, width=edge)
                frame = images.resize(frame, square, resample=images.resample)
                frame = images.normalize(images.rescale(frame, rescale_factor), image_mean, image_std)
                frames.append(torch.from_numpy(np.ascontiguousarray(frame)))
            clips.append(torch.stack(frames))
        longest = max(len(clip) for clip in clips)
        clips = [torch.cat([clip, clip.new_zeros(longest - len(clip), *clip.shape[1:])]) for clip in clips]
        pixels = torch.stack(clips)
        mask = torch.ones(pixels.shape[:2] + pixels.shape[-2:], dtype=torch.int64)
        from transformers import BatchFeature

        return BatchFeature({"pixel_values": pixels, "pixel_attention_mask": mask}, tensor_type=return_tensors)

    videos._preprocess = lambda videos, **kwargs: preprocess(videos, **kwargs)


def shared_cases(full: str, pixels: str) -> list[Case]:
    """The cases of every variant; full and pixels name the ones of which hidden states and pixels are stored whole."""

    def picture(name: str) -> str:
        return f"{PICTURES}/{name}"

    cases = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("small", [user(IMAGE, "What is shown in this image?")], pictures=[picture("square.png")]),
        Case("landscape", [user(IMAGE, "Describe the picture.")], pictures=[picture("landscape.jpg")]),
        Case("portrait", [user(IMAGE, "How many shapes are there?")], pictures=[picture("portrait.png")]),
        Case("tiny", [user("Where is it? ", IMAGE)], pictures=[picture("tiny.png")]),
        Case("wide", [user(IMAGE, "Read the text.")], pictures=[picture("wide.jpg")]),
        Case("turned", [user(IMAGE, "Is the circle above?")], pictures=[picture("turned.jpg")]),
        Case(
            "several",
            [user(IMAGE, "Compare the first ", IMAGE, " with the others ", IMAGE)],
            pictures=[picture("palette.png"), picture("photo.jpg"), picture("tiny.png")],
        ),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=[picture("photo.jpg")],
        ),
    ]
    for case in cases:
        case.full, case.pixels = case.name == full, case.name == pixels
    return cases


def video_cases() -> list[Case]:
    return [
        Case("video", [user(VIDEO, "What happens?")], frames=f"{PICTURES}/frames-five", fps=2.0),
        Case("video-slow", [user("Look: ", VIDEO, " Explain it.")], frames=f"{PICTURES}/frames-four", fps=0.04),
    ]


def partial_mask(processor: Any) -> dict[str, torch.Tensor]:
    """A prepared input that no picture gives: pixel masks that leave patches out, and an all-zero padding view."""
    edge, tokens = 70, processor.image_seq_len
    generator = torch.Generator().manual_seed(5)
    pixels = (torch.randint(0, 256, (1, 3, 3, edge, edge), generator=generator) / 127.5 - 1).float()
    mask = torch.ones(1, 3, edge, edge, dtype=torch.int64)
    mask[0, 0, 42:, :] = 0  # 3 of 5 rows of patches
    mask[0, 1, :, 57:] = 0  # the last column of patches is left by a single pixel column
    mask[0, 1, 28:, :] = 0
    pixels[0, :2] *= mask[0, :2, None]
    pixels[0, 2], mask[0, 2] = 0, 0
    view = "<fake_token_around_image><global-img>" + "<image>" * tokens + "<fake_token_around_image>"
    text = "<|im_start|>User:" + view + view + "Describe.<end_of_utterance>\nAssistant:"
    batch = processor.tokenizer(text, return_tensors="pt")
    out = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    return out | {"pixel_values": pixels, "pixel_attention_mask": mask}


def variants() -> list[Variant]:
    split = {
        "architectures": ["Idefics3ForConditionalGeneration"],
        "image_token_id": 520,
        "model_type": "idefics3",
        "pad_token_id": 518,
        "scale_factor": 2,
        "text_config": {
            "architectures": ["VLlama3ForCausalLM"],
            "eos_token_id": 521,
            "bos_token_id": 517,
            "pad_token_id": 518,
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 64,
            "intermediate_size": 112,
            "max_position_embeddings": 2048,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-05,
            "rope_interleaved": False,
            "rope_scaling": None,
            "rope_theta": 100000.0,
            "torch_dtype": "bfloat16",
            "vocab_size": 544,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.47.1",
        "use_cache": True,
        "vision_config": {
            "hidden_size": 48,
            "image_size": 64,
            "intermediate_size": 80,
            "max_image_size": {"longest_edge": 64},
            "model_type": "idefics3",
            "num_attention_heads": 3,
            "num_hidden_layers": 3,
            "patch_size": 16,
            "torch_dtype": "bfloat16",
        },
        "vocab_size": 544,
    }
    whole = {
        "architectures": ["Idefics3ForConditionalGeneration"],
        "image_token_id": 480,
        "model_type": "idefics3",
        "scale_factor": 5,
        "text_config": {
            "eos_token_id": 481,
            "bos_token_id": 477,
            "head_dim": 24,
            "hidden_size": 57,
            "intermediate_size": 96,
            "model_type": "llama",
            "num_attention_heads": 3,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-06,
            "rope_theta": 10000.0,
            "vocab_size": 500,
        },
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vision_config": {
            "hidden_act": "gelu",
            "hidden_size": 40,
            "image_size": 70,
            "intermediate_size": 72,
            "layer_norm_eps": 1e-05,
            "model_type": "idefics3_vision",
            "num_attention_heads": 5,
            "num_hidden_layers": 2,
            "patch_size": 14,
        },
    }
    smol = {
        "architectures": ["SmolVLMForConditionalGeneration"],
        "dtype": "float32",
        "image_token_id": 530,
        "model_type": "smolvlm",
        "pad_token_id": 528,
        "scale_factor": 4,
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 527,
            "eos_token_id": 531,
            "head_dim": 12,
            "hidden_act": "silu",
            "hidden_size": 72,
            "intermediate_size": 100,
            "max_position_embeddings": 2048,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": 6,
            "num_hidden_layers": 4,
            "num_key_value_heads": 2,
            "pad_token_id": 528,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
            "tie_word_embeddings": False,
            "use_cache": True,
            "vocab_size": 537,
        },
        "tie_word_embeddings": True,
        "transformers_version": "5.17.0",
        "use_cache": True,
        "vision_config": {
            "attention_dropout": 0.0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 56,
            "image_size": 64,
            "intermediate_size": 90,
            "layer_norm_eps": 1e-06,
            "model_type": "smolvlm_vision",
            "num_attention_heads": 4,
            "num_channels": 3,
            "num_hidden_layers": 3,
            "patch_size": 8,
        },
    }
    few = ("text", "small", "landscape", "portrait", "several")
    single = [case for case in shared_cases("text", "small") if case.name in few]
    return [
        Variant(
            "idefics3-split",
            "idefics3",
            6,
            split,
            lambda folder: old_files(folder, split, 260, 4, 64, 256, 4, True),
            DRAWS,
            names,
            shared_cases("wide", "wide"),
            extras(split),
        ),
        Variant(
            "idefics3-whole",
            "idefics3",
            3,
            whole,
            lambda folder: old_files(folder, whole, 220, 2, 70, 140, 1, False),
            DRAWS,
            names,
            single + [Case("partial-mask", prepare=partial_mask, full=True)],
            extras(whole),
        ),
        Variant(
            "smolvlm-video",
            "idefics3",
            1,
            smol,
            lambda folder: new_files(folder, smol, 270, 2, 64, 128, 4),
            DRAWS,
            names,
            shared_cases("wide", "wide") + video_cases(),
            extras(smol),
            frames_with_pillow,
        ),
    ]
