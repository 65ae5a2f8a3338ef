# SPDX-License-Identifier: MIT
"""DeepSeek-VL: the tiny checkpoint of examples/own_model, a family that the library does not have."""

from __future__ import annotations

from pathlib import Path

from . import tokenizers
from .common import IMAGE, PICTURES, Case, Variant, linear, norm, spread, user, write_json
from .generator import Draw

# The template in our own words: who speaks, the parts, a line end.
TEMPLATE = """{% for message in messages -%}
{{ message.role | upper }}: {% for part in message.content -%}
{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>{{ '\\n' }}{% endif %}
{%- endfor %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"""

DRAWS = [
    (r"(layer_norm\d|post_layernorm|layernorm|\.norm)\.weight$", norm(1)),
    (r"position_embedding\.weight$", spread(0.6)),
    (r"patch_embedding\.weight$", linear(2.5)),
    (r"embed_tokens\.weight$", spread(0.35)),
    (r"(q_proj|k_proj)\.weight$", linear(1.6)),
    (r"fc1\.weight$", linear(0.8)),
    (r"fc1\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"fc2\.weight$", linear(14)),
    (r"vision_model.*(v_proj|out_proj)\.weight$", linear(1.4)),
    (r"(v_proj|o_proj|gate_proj|up_proj|down_proj)\.weight$", linear(1.5)),
    (r"linear1\.weight$", linear(0.8)),
    (r"linear2\.weight$", linear(1.2)),
    (r"lm_head\.weight$", linear(2.5)),
    (r"bias$", spread(0.2)),
]

CONFIG = {
    "architectures": ["DeepseekVLForConditionalGeneration"],
    "image_token_id": 460,
    "model_type": "deepseek_vl",
    "text_config": {
        "bos_token_id": 457,
        "eos_token_id": 458,
        "head_dim": 16,
        "hidden_size": 56,
        "intermediate_size": 96,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 456,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "vocab_size": 480,
    },
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "vision_config": {
        "hidden_size": 40,
        "image_size": 70,
        "intermediate_size": 72,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "patch_size": 14,
        "vision_use_head": False,
    },
}


def names(name: str) -> dict[str, str]:
    """The published names are the modules' own, but for the tower, which is wrapped once more there."""
    old = name.replace("model.vision_model.", "model.vision_model.vision_model.", 1)
    return {"hf": name, "hf_old": old, "mlx": old}


def files(folder: Path) -> None:
    size = tokenizers.smollm(folder / "tokenizer.json", 200, 1, 1)
    assert size <= CONFIG["text_config"]["vocab_size"], size
    settings = {
        "add_prefix_space": False,
        "bos_token": "<|im_start|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "extra_special_tokens": {"image_token": "<image>"},
        "model_max_length": 2048,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    image = {
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.45, 0.4],
        "image_processor_type": "DeepseekVLImageProcessor",
        "image_std": [0.5, 0.25, 0.3],
        "min_size": 14,
        "processor_class": "DeepseekVLProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": 70, "width": 70},
    }
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "generation_config.json", {"bos_token_id": 457, "eos_token_id": 458, "pad_token_id": 456})
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "preprocessor_config.json", image)
    write_json(folder / "processor_config.json", {"num_image_tokens": 25, "processor_class": "DeepseekVLProcessor"})
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})


def cases() -> list[Case]:
    def shown(name: str, question: str, *pictures: str) -> Case:
        return Case(name, [user(*[IMAGE] * len(pictures), question)], pictures=[f"{PICTURES}/{p}" for p in pictures])

    return [
        shown("text", "Who are you?"),
        shown("square", "What is shown in this image?", "square.png"),
        shown("landscape", "Describe the picture.", "landscape.jpg"),
        shown("portrait", "How many shapes are there?", "portrait.png"),
        shown("wide", "Is there a circle above the square?", "wide.jpg"),
        shown("several", "Compare the two images, then explain.", "photo.jpg", "palette.png"),
    ]


def variants() -> list[Variant]:
    return [
        Variant("own_model", "deepseek_vl", 2, CONFIG, files, DRAWS, names, cases(), place="examples/own_model/golden")
    ]
