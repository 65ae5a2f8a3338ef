# SPDX-License-Identifier: MIT
"""Pixtral (a LLaVA model to transformers) and Mistral 3 with both of its decoders: three tiny checkpoints and their cases."""

from __future__ import annotations

from pathlib import Path

import torch

from . import tokenizers
from .common import IMAGE, PICTURES, Case, Variant, assistant, linear, norm, spread, user, write_json
from .generator import Draw

# The template in our own words: a system message in front (Pixtral: of the last message), no spaces, answers end with </s>.
TEMPLATE = """{{ bos_token }}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{ '[SYSTEM_PROMPT]' + (message.content if message.content is string else message.content[0].text) + '[/SYSTEM_PROMPT]' }}
{%- elif message.role == 'assistant' -%}
{{ (message.content if message.content is string else message.content[0].text) + eos_token }}
{%- else -%}
[INST]
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
[IMG]
{%- elif part.type == 'text' -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
[/INST]
{%- endif -%}
{%- endfor -%}"""

TOKENS = ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<pad>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
IMG = 3 + TOKENS.index("[IMG]")

DRAWS = [
    (r"(norm|ln_pre|layernorm)\.weight$", norm(1)),
    (r"patch_conv\.weight$", linear(2.0)),
    (r"embed_tokens\.weight$", spread(0.3)),
    (r"(q_proj|k_proj)\.weight$", linear(1.7)),
    (r"vision_tower.*gate_proj\.weight$", linear(1.6)),
    (r"vision_tower.*proj\.weight$", linear(1.4)),
    (r"merging_layer\.weight$", linear(1.5)),
    (r"projector\.linear_1\.weight$", linear(1.5)),
    (r"projector\.linear_2\.weight$", linear(1.0)),
    (r"(v_proj|o_proj|gate_proj|up_proj|down_proj)\.weight$", linear(1.5)),
    (r"lm_head\.weight$", linear(2.5)),
    (r"bias$", spread(0.3)),
]


def biased(gain: float) -> list:
    """With a bias the projector's first layer works left of 0, where GELUs differ most for what they give."""
    return [
        (r"projector\.linear_1\.weight$", linear(gain)),
        (r"projector\.linear_1\.bias$", lambda shape: Draw(-2, -6, 31)),
        (r"projector\.linear_2\.weight$", linear(14)),
        (r"projector\.linear_2\.bias$", spread(0.1)),
        *DRAWS,
    ]


DRAWS_PIXTRAL = [(r"language_model.*(q_proj|k_proj)\.weight$", linear(1.25)), *biased(0.1)]  # whose tower ends without a norm
# Ministral 3's queries grow with their position: it needs calmer ones, or rounding grows, too.
DRAWS_GROWING = [(r"language_model.*(q_proj|k_proj)\.weight$", linear(1.25)), *DRAWS]


def names(name: str) -> dict[str, str]:
    """5.17 saves the old nesting, which published files have, too; MLX wraps the tower once more."""
    flat = name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
    flat = flat.replace("lm_head.", "language_model.lm_head.", 1)
    return {"hf": flat, "hf_old": flat, "mlx": flat.replace("vision_tower.", "vision_tower.vision_model.", 1)}


def tokenizer_files(folder: Path, merges: int, config: dict, tokenizer_class: str) -> None:
    size = tokenizers.tekken(folder / "tokenizer.json", merges, TOKENS)
    assert size == config["text_config"]["vocab_size"], size
    settings = {
        "add_bos_token": True,
        "add_prefix_space": False,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "model_max_length": 4096,
        "pad_token": "<pad>",
        "tokenizer_class": tokenizer_class,
        "unk_token": "<unk>",
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})


def image_processor(patch: int, edge: int) -> dict:
    return {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "PixtralImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "patch_size": {"height": patch, "width": patch},
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": edge},
    }


def processor(patch: int, merge: int) -> dict:
    return {
        "image_break_token": "[IMG_BREAK]",
        "image_end_token": "[IMG_END]",
        "image_token": "[IMG]",
        "patch_size": patch,
        "processor_class": "PixtralProcessor",
        "spatial_merge_size": merge,
    }


def old_files(folder: Path, config: dict, merges: int, patch: int, merge: int, edge: int) -> None:
    """As published: preprocessor_config.json beside processor_config.json, chat_template.json."""
    tokenizer_files(folder, merges, config, "PreTrainedTokenizerFast")
    write_json(folder / "preprocessor_config.json", image_processor(patch, edge) | {"processor_class": "PixtralProcessor"})
    write_json(folder / "processor_config.json", processor(patch, merge))
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})


def new_files(folder: Path, config: dict, merges: int, patch: int, merge: int, edge: int) -> None:
    """As transformers 5 saves it: the image processor nested in processor_config.json, chat_template.jinja."""
    tokenizer_files(folder, merges, config, "TokenizersBackend")
    write_json(folder / "processor_config.json", processor(patch, merge) | {"image_processor": image_processor(patch, edge)})
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def of_two_sizes(patch: int, merge: int):
    """A prepared input: pictures of two sizes, padded to the larger sides with what is no zero."""

    def prepare(processor) -> dict[str, torch.Tensor]:
        token = processor.tokenizer.convert_tokens_to_ids
        unit, ids = patch * merge, [1, 3]
        sizes = [[3 * unit, 2 * unit], [unit, 4 * unit]]
        for height, width in sizes:
            rows = [[IMG] * (width // unit) + [token("[IMG_BREAK]")] for _ in range(height // unit)]
            ids += [t for row in rows for t in row][:-1] + [token("[IMG_END]")]
        pixels = torch.linspace(-1.5, 1.5, 2 * 3 * 3 * unit * 4 * unit).sin().mul(1.7).view(2, 3, 3 * unit, 4 * unit)
        ids = torch.tensor([ids + [40, 41, 4]])
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values": pixels.contiguous(),
            "image_sizes": torch.tensor(sizes),
        }

    return prepare


def cases(full: str, patch: int, merge: int) -> list[Case]:
    def picture(*names: str) -> list[str]:
        return [f"{PICTURES}/{name}" for name in names]

    system = {"role": "system", "content": [{"type": "text", "text": "Answer with one word."}]}
    found = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("small", [user(IMAGE, "What is shown in this image?")], pictures=picture("square.png")),
        Case("landscape", [user("Describe the picture.", IMAGE)], pictures=picture("landscape.jpg")),
        Case("portrait", [system, user(IMAGE, "How many shapes are there?")], pictures=picture("portrait.png")),
        # The reference fails on a picture of one merged token: it takes the one row for a batch.
        Case("tiny", [user("Where is it? ", IMAGE)], pictures=picture("tiny.png" if merge == 1 else "palette.png")),
        Case("several", [user(IMAGE, "Compare ", IMAGE, " with ", IMAGE)], pictures=picture("palette.png", "wide.jpg", "tiny.png")),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=picture("turned.jpg"),
        ),
        Case("raw", prompt="[INST][IMG]Read the text.[/INST]", pictures=picture("wide.jpg")),
        Case("two-sizes", prepare=of_two_sizes(patch, merge)),
    ]
    for case in found:
        case.full = case.pixels = case.name == full
    return found


def variants() -> list[Variant]:
    llava = {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_seq_length": 1,
        "image_token_index": IMG,
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": {
            "head_dim": 20,
            "hidden_size": 64,
            "intermediate_size": 96,
            "is_composition": True,
            "max_position_embeddings": 4096,
            "model_type": "mistral",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000000.0,
            "sliding_window": None,
            "vocab_size": 547,
        },
        "torch_dtype": "float32",
        "transformers_version": "4.45.0.dev0",
        "vision_config": {
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 48,
            "image_size": 96,
            "intermediate_size": 80,
            "is_composition": True,
            "model_type": "pixtral",
            "num_attention_heads": 3,
            "num_hidden_layers": 3,
            "patch_size": 12,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    mistral = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "image_token_index": IMG,
        "model_type": "mistral3",
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "spatial_merge_size": 2,
        "text_config": {
            "attention_dropout": 0.0,
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 60,
            "initializer_range": 0.02,
            "intermediate_size": 92,
            "max_position_embeddings": 4096,
            "model_type": "mistral",
            "num_attention_heads": 6,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-05,
            "rope_theta": 100000.0,
            "sliding_window": 24,
            "use_cache": True,
            "vocab_size": 527,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.50.0.dev0",
        "vision_config": {
            "attention_dropout": 0.0,
            "head_dim": 20,
            "hidden_act": "gelu",
            "hidden_size": 40,
            "image_size": 112,
            "initializer_range": 0.02,
            "intermediate_size": 72,
            "model_type": "pixtral",
            "num_attention_heads": 2,
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": 8,
            "rope_theta": 1000.0,
        },
        "vision_feature_layer": -1,
    }
    ministral = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "dtype": "float32",
        "image_token_index": IMG,
        "model_type": "mistral3",
        "multimodal_projector_bias": False,
        "projector_hidden_act": "gelu",
        "spatial_merge_size": 2,
        "text_config": {
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "dtype": "float32",
            "eos_token_id": 2,
            "head_dim": 24,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 88,
            "max_position_embeddings": 4096,
            "model_type": "ministral3",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "pad_token_id": 7,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {
                "beta_fast": 4.0,
                "beta_slow": 1.0,
                "factor": 16.0,
                "llama_4_scaling_beta": 0.3,
                "max_position_embeddings": 4096,
                "mscale": 1.0,
                "mscale_all_dim": 0.5,
                "original_max_position_embeddings": 16,
                "rope_theta": 10000.0,
                "rope_type": "yarn",
                "type": "yarn",
            },
            "sliding_window": None,
            "tie_word_embeddings": True,
            "use_cache": True,
            "vocab_size": 507,
        },
        "tie_word_embeddings": True,
        "transformers_version": "5.17.0",
        "vision_config": {
            "attention_dropout": 0.0,
            "dtype": "float32",
            "head_dim": 12,
            "hidden_act": "silu",
            "hidden_size": 36,
            "image_size": 100,
            "initializer_range": 0.02,
            "intermediate_size": 64,
            "model_type": "pixtral",
            "num_attention_heads": 3,
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": 10,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
        },
        "vision_feature_layer": -1,
    }
    return [
        Variant("pixtral-llava", "pixtral", 6, llava, lambda f: old_files(f, llava, 280, 12, 1, 96), DRAWS_PIXTRAL, names, cases("small", 12, 1)),
        Variant("mistral3-mistral", "mistral3", 1, mistral, lambda f: old_files(f, mistral, 260, 8, 2, 112), biased(0.3), names, cases("small", 8, 2)),
        Variant("mistral3-ministral3", "mistral3", 1, ministral, lambda f: new_files(f, ministral, 240, 10, 2, 100), DRAWS_GROWING, names, cases("portrait", 10, 2)),
    ]
