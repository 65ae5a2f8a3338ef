# SPDX-License-Identifier: MIT
"""LLaVA 1.5: a CLIP tower with Llama text, a SigLIP tower with Qwen2 text, and their cases."""

from __future__ import annotations

from pathlib import Path

from . import tokenizers
from .common import IMAGE, PICTURES, Case, Variant, assistant, linear, norm, spread, user, write_json
from .generator import Draw

# The templates in our own words. LLaVA 1.5: speakers in capitals, pictures of a message in front of its text.
TEMPLATE = """{% for message in messages -%}
{% if message.role != 'system' %}{{ message.role | upper }}: {% endif %}
{%- for part in message.content if part.type == 'image' %}{{ '<image>\\n' }}{% endfor %}
{%- for part in message.content if part.type == 'text' %}{{ part.text + ' ' }}{% endfor %}
{%- endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"""

# ChatML, parts in their order.
CHATML = """{% for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- for part in message.content -%}
{% if part.type == 'image' %}<image>{% elif part.type == 'text' %}{{ '\\n' + part.text }}{% endif %}
{%- endfor %}{{ '<|im_end|>\\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

DRAWS = [
    (r"(layer_norm\d|layrnorm|post_layernorm|layernorm|\.norm)\.weight$", norm(1)),
    (r"class_embedding$", spread(0.6)),
    (r"position_embedding\.weight$", spread(0.6)),
    (r"patch_embedding\.weight$", linear(2.5)),
    (r"embed_tokens\.weight$", spread(0.35)),
    (r"(q_proj|k_proj)\.weight$", linear(1.6)),
    # fc1 works around -2, where the GELUs differ most for what they give; so does the projector's first layer.
    (r"fc1\.weight$", linear(0.8)),
    (r"(fc1|linear_1|mm_projector\.0)\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"fc2\.weight$", linear(14)),
    (r"vision_tower.*(v_proj|out_proj)\.weight$", linear(1.4)),
    (r"(v_proj|o_proj|gate_proj|up_proj|down_proj)\.weight$", linear(1.5)),
    (r"(linear_1|mm_projector\.0)\.weight$", linear(0.25)),
    (r"(linear_2|mm_projector\.2)\.weight$", linear(14)),
    (r"(linear_2|mm_projector\.2)\.bias$", spread(0.1)),
    (r"lm_head\.weight$", linear(2.5)),
    (r"bias$", spread(0.2)),
]

CLIP = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
}


def names(name: str) -> dict[str, str]:
    """5.17 leaves `vision_model.` out of the tower's names; published files and MLX have it, and wrap the decoder."""
    if name.startswith("lm_head"):
        return {key: "language_model." + name for key in ("hf", "hf_old", "mlx")}
    flat = name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
    old = flat.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return {"hf": flat, "hf_old": old, "mlx": old}


def extras(config: dict) -> list[dict]:
    """What published checkpoints store needlessly."""
    vision, text = config["vision_config"], config["text_config"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2 + (vision["model_type"] == "clip_vision_model")
    head = text["hidden_size"] // text["num_attention_heads"]
    rows = [
        {"name": "vision_tower.vision_model.embeddings.position_ids", "dtype": "I64", "shape": [1, patches]},
        {"name": "language_model.model.layers.0.self_attn.rotary_emb.inv_freq", "dtype": "F32", "shape": [head // 2]},
    ]
    return [row | {"convention": "hf_old"} for row in rows]


def vicuna_files(folder: Path, config: dict, merges: int, tokenizer_class: str = "PreTrainedTokenizerFast") -> None:
    size = tokenizers.llama(folder / "tokenizer.json", merges, ["<image>", "<pad>"])
    assert config["image_token_index"] == size - 2, size
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "extra_special_tokens": {"image_token": "<image>"},
        "model_max_length": 4096,
        "pad_token": "<pad>",
        "tokenizer_class": tokenizer_class,
        "unk_token": "<unk>",
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": size - 1})


def chatml_files(folder: Path, config: dict, merges: int) -> None:
    size = tokenizers.chatml(folder / "tokenizer.json", merges, ["<image>"])
    assert config["image_token_index"] == size - 1, size
    settings = {
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "extra_special_tokens": {"image_token": "<image>"},
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "TokenizersBackend",
        "unk_token": None,
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"eos_token_id": [size - 2, size - 4], "pad_token_id": size - 4})


def old_files(folder: Path, config: dict, merges: int) -> None:
    """As published: CLIP's image processor in preprocessor_config.json, chat_template.json."""
    vicuna_files(folder, config, merges)
    edge = config["vision_config"]["image_size"]
    processor = CLIP | {
        "crop_size": {"height": edge, "width": edge},
        "do_center_crop": True,
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "size": {"shortest_edge": edge},
    }
    write_json(folder / "preprocessor_config.json", processor)
    more = {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": config["vision_config"]["patch_size"],
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "default",
    }
    write_json(folder / "processor_config.json", more)
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})


def new_files(folder: Path, config: dict, merges: int) -> None:
    """As transformers 5 saves it: the image processor nested, here LLaVA's own, which pads to a square first."""
    chatml_files(folder, config, merges)
    edge = config["vision_config"]["image_size"]
    processor = {
        "image_processor": CLIP
        | {
            "do_center_crop": False,
            "do_pad": True,
            "image_processor_type": "LlavaImageProcessor",
            "size": {"height": edge, "width": edge},
        },
        "image_token": "<image>",
        "num_additional_image_tokens": 0,
        "patch_size": config["vision_config"]["patch_size"],
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "full",
    }
    write_json(folder / "processor_config.json", processor)
    (folder / "chat_template.jinja").write_text(CHATML)


def cases(full: str) -> list[Case]:
    def picture(*names: str) -> list[str]:
        return [f"{PICTURES}/{name}" for name in names]

    found = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("small", [user(IMAGE, "What is shown in this image?")], pictures=picture("square.png")),
        Case("landscape", [user(IMAGE, "Describe the picture.")], pictures=picture("landscape.jpg")),
        Case("portrait", [user(IMAGE, "How many shapes are there?")], pictures=picture("portrait.png")),
        Case("tiny", [user("Where is it? ", IMAGE)], pictures=picture("tiny.png")),
        Case("wide", [user(IMAGE, "Read the text.")], pictures=picture("wide.jpg")),
        Case("several", [user(IMAGE, IMAGE, "Compare the first with the other.")], pictures=picture("photo.jpg", "tall.jpg")),
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
    clip = {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": 469,
        "model_type": "llava",
        "pad_token_id": 470,
        "projector_hidden_act": "gelu",
        "text_config": {
            "_name_or_path": "tiny",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 64,
            "intermediate_size": 96,
            "max_position_embeddings": 4096,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "rms_norm_eps": 1e-05,
            "torch_dtype": "float16",
            "vocab_size": 480,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.36.0.dev0",
        "vision_config": {
            "hidden_size": 48,
            "image_size": 56,
            "intermediate_size": 80,
            "model_type": "clip_vision_model",
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "patch_size": 14,
            "projection_dim": 48,
            "vocab_size": 480,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vocab_size": 480,
    }
    siglip = {
        "architectures": ["LlavaForConditionalGeneration"],
        "dtype": "float32",
        "image_seq_length": 25,
        "image_token_index": 519,
        "model_type": "llava",
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "text_config": {
            "attention_dropout": 0.0,
            "eos_token_id": 518,
            "hidden_act": "silu",
            "hidden_size": 72,
            "intermediate_size": 100,
            "layer_types": ["full_attention"] * 3,
            "max_position_embeddings": 4096,
            "max_window_layers": 3,
            "model_type": "qwen2",
            "num_attention_heads": 6,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
            "sliding_window": None,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "vocab_size": 522,
        },
        "tie_word_embeddings": True,
        "transformers_version": "5.17.0",
        "vision_config": {
            "attention_dropout": 0.0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 40,
            "image_size": 70,
            "intermediate_size": 72,
            "layer_norm_eps": 1e-06,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 2,
            "num_channels": 3,
            "num_hidden_layers": 4,
            "patch_size": 14,
            "vision_use_head": False,
        },
        "vision_feature_layer": [-3, -1],
        "vision_feature_select_strategy": "full",
    }
    return [
        Variant(
            "llava-clip",
            "llava",
            1,
            clip,
            lambda folder: old_files(folder, clip, 150),
            DRAWS,
            names,
            cases("wide"),
            extras(clip),
        ),
        Variant(
            "llava-siglip",
            "llava",
            3,
            siglip,
            lambda folder: new_files(folder, siglip, 260),
            DRAWS,
            names,
            cases("small"),
        ),
    ]
