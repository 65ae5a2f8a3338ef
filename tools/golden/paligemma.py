# SPDX-License-Identifier: MIT
"""PaliGemma (Gemma text) and PaliGemma 2 (Gemma 2 text): two tiny checkpoints and their cases."""

from __future__ import annotations

from pathlib import Path

from . import tokenizers
from .common import PICTURES, Case, Variant, linear, norm, spread, write_json
from .generator import Draw

DRAWS = [
    (r"down_proj\.weight$", linear(16)),
    (r"vision_tower.*(layer_norm\d|post_layernorm)\.weight$", norm(1)),
    (r"language_model\.norm\.weight$", lambda shape: Draw(3, -5, 31)),
    (r"layernorm\.weight$", norm(0)),
    (r"position_embedding\.weight$", spread(0.6)),
    (r"patch_embedding\.weight$", linear(2.5)),
    # Embeddings and features share a direction that the gates answer with about -2, where the GELUs differ most.
    (r"embed_tokens\.weight$", lambda shape: Draw.of_std(0.03, 2.0**-5)),
    (r"multi_modal_projector\.linear\.bias$", lambda shape: Draw.of_std(0.2, 0.5)),
    (r"gate_proj\.weight$", lambda shape: Draw.of_std(0.08, -(2.0**-3))),
    (r"language_model.*(q_proj|k_proj)\.weight$", linear(2.1)),
    (r"(q_proj|k_proj)\.weight$", linear(1.8)),
    # fc1 works around -2, where the GELUs differ most for what they give.
    (r"fc1\.weight$", linear(0.8)),
    (r"fc1\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"fc2\.weight$", linear(14)),
    (r"(v_proj|o_proj|out_proj)\.weight$", linear(1.4)),
    (r"up_proj\.weight$", linear(1.5)),
    (r"multi_modal_projector\.linear\.weight$", linear(0.6)),
    (r"bias$", spread(0.2)),
]

# Gemma 2's norm behind the MLP evens its scale out: the gates may spread more.
DRAWS2 = [
    (r"gate_proj\.weight$", lambda shape: Draw.of_std(0.1, -(2.0**-4))),
    (r"language_model.*(q_proj|k_proj)\.weight$", linear(2.6)),
    *DRAWS,
]


def names(name: str) -> dict[str, str]:
    """5.17 leaves `vision_model.` out of the tower's names; published files and MLX have it."""
    name = name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
    old = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return {"hf": name, "hf_old": old, "mlx": old}


def extras(config: dict) -> list[dict]:
    """What published checkpoints store needlessly."""
    vision = config["vision_config"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    prefix = "vision_tower.vision_model.embeddings."
    return [
        {"name": prefix + "position_ids", "dtype": "I64", "shape": [1, patches], "convention": "hf_old"},
        {
            "name": "language_model.lm_head.weight",
            "copy_of": "model.language_model.embed_tokens.weight",
            "convention": "hf_old",
        },
    ]


def tokenizer_files(folder: Path, merges: int, config: dict, tokenizer_class: str) -> None:
    size = tokenizers.gemma(folder / "tokenizer.json", merges)
    assert size == config["image_token_index"] + 1, size
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<bos>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<eos>",
        "model_max_length": 1024,
        "pad_token": "<pad>",
        "tokenizer_class": tokenizer_class,
        "unk_token": "<unk>",
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0})


def image_processor(edge: int, tokens: int) -> dict:
    return {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_seq_length": tokens,
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": edge, "width": edge},
    }


def old_files(folder: Path, config: dict, merges: int) -> None:
    """As published: preprocessor_config.json only."""
    tokenizer_files(folder, merges, config, "PreTrainedTokenizerFast")
    processor = image_processor(56, 16) | {"processor_class": "PaliGemmaProcessor"}
    write_json(folder / "preprocessor_config.json", processor)


def new_files(folder: Path, config: dict, merges: int) -> None:
    """As transformers 5 saves it: the image processor nested in processor_config.json."""
    tokenizer_files(folder, merges, config, "TokenizersBackend")
    nested = image_processor(84, 36) | {"do_convert_rgb": True}
    write_json(folder / "processor_config.json", {"image_processor": nested, "processor_class": "PaliGemmaProcessor"})


def cases(full: str) -> list[Case]:
    def picture(*names: str) -> list[str]:
        return [f"{PICTURES}/{name}" for name in names]

    found = [
        Case("small", prompt="caption en", pictures=picture("square.png")),
        Case("landscape", prompt="detect circle ; square", pictures=picture("landscape.jpg")),
        Case("portrait", prompt="How many shapes are there?", pictures=picture("portrait.png")),
        Case("tiny", prompt="naïve 北京 ☂ café", pictures=picture("tiny.png")),
        Case("wide", prompt="", pictures=picture("wide.jpg")),
        Case("turned", prompt="answer en  is it\nred?", pictures=picture("turned.jpg")),
        Case("placed", prompt="<image>caption en", pictures=picture("palette.png")),
        Case("several", prompt="<image><image>compare both", pictures=picture("photo.jpg", "palette.png")),
    ]
    for case in found:
        case.full = case.pixels = case.name == full
    return found


def variants() -> list[Variant]:
    gemma = {
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "hidden_size": 64,
        "ignore_index": -100,
        "image_token_index": 571,
        "model_type": "paligemma",
        "pad_token_id": 0,
        "projection_dim": 64,
        "text_config": {
            "head_dim": 24,
            "hidden_size": 64,
            "intermediate_size": 96,
            "model_type": "gemma",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_image_tokens": 16,
            "num_key_value_heads": 1,
            "torch_dtype": "float32",
            "vocab_size": 580,
        },
        "torch_dtype": "float32",
        "transformers_version": "4.41.0.dev0",
        "vision_config": {
            "hidden_size": 48,
            "image_size": 56,
            "intermediate_size": 80,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_image_tokens": 16,
            "patch_size": 14,
            "projection_dim": 64,
            "projector_hidden_act": "gelu_fast",
            "vision_use_head": False,
        },
        "vocab_size": 580,
    }
    gemma2 = {
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "dtype": "float32",
        "hidden_size": 72,
        "image_token_index": 551,
        "model_type": "paligemma",
        "projection_dim": 72,
        "text_config": {
            "attention_bias": False,
            "attn_logit_softcapping": 10.0,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "final_logit_softcapping": 5.0,
            "head_dim": 20,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": 72,
            "intermediate_size": 100,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            "max_position_embeddings": 8192,
            "model_type": "gemma2",
            "num_attention_heads": 6,
            "num_hidden_layers": 4,
            "num_key_value_heads": 3,
            "pad_token_id": 0,
            "query_pre_attn_scalar": 24,
            "rms_norm_eps": 1e-06,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
            "sliding_window": 12,
            "use_cache": True,
            "vocab_size": 551,
        },
        "tie_word_embeddings": True,
        "transformers_version": "5.17.0",
        "vision_config": {
            "attention_dropout": 0.0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 40,
            "image_size": 84,
            "intermediate_size": 72,
            "layer_norm_eps": 1e-06,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 2,
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": 14,
            "projection_dim": 72,
            "vision_use_head": False,
        },
    }
    return [
        Variant(
            "paligemma-gemma",
            "paligemma",
            2,
            gemma,
            lambda folder: old_files(folder, gemma, 250),
            DRAWS,
            names,
            cases("small"),
            extras(gemma),
        ),
        Variant(
            "paligemma2-gemma2",
            "paligemma",
            2,
            gemma2,
            lambda folder: new_files(folder, gemma2, 230),
            DRAWS2,
            names,
            cases("turned"),
            extras(gemma2),
        ),
    ]
