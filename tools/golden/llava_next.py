# SPDX-License-Identifier: MIT
"""LLaVA-NeXT (1.6): tiles of any resolution with CLIP and Mistral, with SigLIP and Llama, and their cases."""

from __future__ import annotations

from pathlib import Path

from . import llava
from .common import IMAGE, PICTURES, Case, Variant, assistant, spread, user, write_json

# The templates in our own words. Mistral's: pictures of a message in front of its text, between the instruction marks.
TEMPLATE = """{% for message in messages -%}
{% if message.role == 'user' %}{{ '[INST] ' }}
{%- for part in message.content if part.type == 'image' %}{{ '<image>\\n' }}{% endfor %}
{%- for part in message.content if part.type == 'text' %}{{ part.text }}{% endfor %}{{ ' [/INST]' }}
{%- else %}{{ message.content[0].text + '</s>' }}{% endif %}
{%- endfor %}"""

DRAWS = [(r"image_newline$", spread(0.4)), *llava.DRAWS]


def names(name: str) -> dict[str, str]:
    return llava.names(name)


def pinpoints(edge: int, grids: list[tuple[int, int]]) -> list[list[int]]:
    return [[edge * rows, edge * columns] for rows, columns in grids]


GRIDS = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]


def old_files(folder: Path, config: dict, merges: int) -> None:
    """As published."""
    llava.vicuna_files(folder, config, merges)
    edge = config["vision_config"]["image_size"]
    processor = llava.CLIP | {
        "aspect_ratio_setting": "anyres",
        "crop_size": {"height": edge, "width": edge},
        "do_center_crop": True,
        "do_pad": True,
        "image_grid_pinpoints": config["image_grid_pinpoints"],
        "image_processor_type": "LlavaNextImageProcessor",
        "processor_class": "LlavaNextProcessor",
        "size": {"shortest_edge": edge},
    }
    write_json(folder / "preprocessor_config.json", processor)
    more = {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": config["vision_config"]["patch_size"],
        "processor_class": "LlavaNextProcessor",
        "vision_feature_select_strategy": "default",
    }
    write_json(folder / "processor_config.json", more)
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})


def new_files(folder: Path, config: dict, merges: int) -> None:
    """As transformers 5 saves it."""
    llava.chatml_files(folder, config, merges)
    edge = config["vision_config"]["image_size"]
    processor = {
        "image_processor": llava.CLIP
        | {
            "crop_size": {"height": edge, "width": edge},
            "do_center_crop": True,
            "do_pad": True,
            "image_grid_pinpoints": config["image_grid_pinpoints"],
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"height": edge, "width": edge},
        },
        "image_token": "<image>",
        "num_additional_image_tokens": 0,
        "patch_size": config["vision_config"]["patch_size"],
        "processor_class": "LlavaNextProcessor",
        "vision_feature_select_strategy": "full",
    }
    write_json(folder / "processor_config.json", processor)
    (folder / "chat_template.jinja").write_text(llava.CHATML)


def cases(full: str) -> list[Case]:
    def picture(*names: str) -> list[str]:
        return [f"{PICTURES}/{name}" for name in names]

    found = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("small", [user(IMAGE, "What is shown in this image?")], pictures=picture("square.png")),
        Case("landscape", [user(IMAGE, "Describe the picture.")], pictures=picture("landscape.jpg")),
        Case("portrait", [user(IMAGE, "How many shapes are there?")], pictures=picture("portrait.png")),
        Case("wide", [user(IMAGE, "Read the text.")], pictures=picture("wide.jpg")),
        Case("tall", [user("Where is it? ", IMAGE)], pictures=picture("tall.jpg")),
        Case("several", [user(IMAGE, IMAGE, "Compare the first with the other.")], pictures=picture("tall.jpg", "photo.jpg")),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=picture("turned.jpg"),
        ),
    ]
    for case in found:
        case.full = case.pixels = case.name == full
    return found


def variants() -> list[Variant]:
    mistral = {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "ignore_index": -100,
        "image_grid_pinpoints": pinpoints(56, GRIDS),
        "image_token_index": 464,
        "model_type": "llava_next",
        "projector_hidden_act": "gelu",
        "text_config": {
            "_name_or_path": "tiny",
            "architectures": ["MistralForCausalLM"],
            "hidden_size": 64,
            "intermediate_size": 96,
            "max_position_embeddings": 32768,
            "model_type": "mistral",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "torch_dtype": "bfloat16",
            "vocab_size": 480,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.39.0.dev0",
        "use_image_newline_parameter": True,
        "vision_config": {
            "hidden_size": 48,
            "image_size": 56,
            "intermediate_size": 80,
            "model_type": "clip_vision_model",
            "num_attention_heads": 3,
            "num_hidden_layers": 3,
            "patch_size": 14,
            "projection_dim": 48,
            "vocab_size": 480,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vocab_size": 480,
    }
    llama = {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "dtype": "float32",
        "image_grid_pinpoints": pinpoints(40, [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1)]),
        "image_seq_length": 16,
        "image_token_index": 504,
        "model_type": "llava_next",
        "multimodal_projector_bias": False,
        "projector_hidden_act": "gelu_pytorch_tanh",
        "text_config": {
            "attention_bias": False,
            "eos_token_id": 503,
            "head_dim": 14,
            "hidden_act": "silu",
            "hidden_size": 60,
            "intermediate_size": 88,
            "max_position_embeddings": 4096,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
            "vocab_size": 508,
        },
        "tie_word_embeddings": False,
        "transformers_version": "5.17.0",
        "vision_config": {
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 40,
            "image_size": 40,
            "intermediate_size": 72,
            "layer_norm_eps": 1e-06,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 2,
            "num_channels": 3,
            "num_hidden_layers": 3,
            "patch_size": 10,
            "vision_use_head": False,
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    return [
        Variant(
            "llava_next-mistral",
            "llava_next",
            4,
            mistral,
            lambda folder: old_files(folder, mistral, 145),
            DRAWS,
            names,
            cases("wide"),
            llava.extras(mistral),
        ),
        Variant(
            "llava_next-llama",
            "llava_next",
            2,
            llama,
            lambda folder: new_files(folder, llama, 245),
            DRAWS,
            names,
            cases("wide"),
        ),
    ]
