# SPDX-License-Identifier: MIT
"""Gemma 3: two tiny checkpoints and their cases. In the first the window is shorter than a picture is long."""

from __future__ import annotations

from pathlib import Path

from . import paligemma, tokenizers
from .common import IMAGE, PICTURES, Case, Variant, assistant, linear, user, write_json
from .generator import Draw

# The template in our own words: a system message joins the user's first, turns alternate, text is trimmed.
TEMPLATE = """{{ bos_token }}
{%- set first = namespace(text='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set first.text = (message.content if message.content is string else message.content[0].text) + '\\n\\n' -%}
{%- else -%}
{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' + first.text }}
{%- set first.text = '' -%}
{%- if message.content is string -%}
{{ message.content | trim }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
<start_of_image>
{%- elif part.type == 'text' -%}
{{ part.text | trim }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<end_of_turn>\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<start_of_turn>model\\n' }}
{%- endif -%}"""

TOKENS = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")

DRAWS = [
    # Queries and keys leave their norms about 1.75 long a value, so that attention has its favourites.
    (r"(q_norm|k_norm)\.weight$", lambda shape: Draw(0.75, -6, 31)),
    (r"mm_input_projection_weight$", lambda shape: Draw.of_std(0.5 / shape[0] ** 0.5, 2.0**-6)),
    (r"mm_soft_emb_norm\.weight$", lambda shape: Draw(0.5, -6, 31)),
    *paligemma.DRAWS2,
]


def names(name: str) -> dict[str, str]:
    return paligemma.names(name)


def tokenizer_files(folder: Path, merges: int, config: dict, tokenizer_class: str, named: dict) -> None:
    size = tokenizers.gemma(folder / "tokenizer.json", merges, TOKENS, bos=True)
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
    write_json(folder / "tokenizer_config.json", settings | named)
    write_json(folder / "config.json", config)
    end = config["image_token_index"] - 3
    generation = {"bos_token_id": 2, "do_sample": True, "eos_token_id": [1, end], "pad_token_id": 0, "top_k": 64, "top_p": 0.95}
    write_json(folder / "generation_config.json", generation)


MEDIA_TOKENS = {"boi_token": TOKENS[2], "eoi_token": TOKENS[3], "image_token": TOKENS[4]}


def image_processor(edge: int) -> dict:
    return {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_pan_and_scan": None,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Gemma3ImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "pan_and_scan_max_num_crops": None,
        "pan_and_scan_min_crop_size": None,
        "pan_and_scan_min_ratio_to_activate": None,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": edge, "width": edge},
    }


def old_files(folder: Path, config: dict, merges: int) -> None:
    """As published: preprocessor_config.json beside processor_config.json, chat_template.json."""
    named = MEDIA_TOKENS | {"extra_special_tokens": MEDIA_TOKENS}
    tokenizer_files(folder, merges, config, "PreTrainedTokenizerFast", named)
    tokens = config["mm_tokens_per_image"]
    processor = image_processor(54) | {"image_seq_length": tokens, "processor_class": "Gemma3Processor"}
    write_json(folder / "preprocessor_config.json", processor)
    write_json(folder / "processor_config.json", {"image_seq_length": tokens, "processor_class": "Gemma3Processor"})
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})


def new_files(folder: Path, config: dict, merges: int) -> None:
    """As transformers 5 saves it: the image processor nested in processor_config.json, chat_template.jinja."""
    tokenizer_files(folder, merges, config, "TokenizersBackend", {"extra_special_tokens": MEDIA_TOKENS})
    nested = image_processor(84) | {"do_convert_rgb": True}
    processor = {"image_processor": nested, "image_seq_length": 9, "processor_class": "Gemma3Processor"}
    write_json(folder / "processor_config.json", processor)
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def cases(full: str, scanned: str) -> list[Case]:
    def picture(*names: str) -> list[str]:
        return [f"{PICTURES}/{name}" for name in names]

    system = {"role": "system", "content": [{"type": "text", "text": "Answer with one word."}]}
    scan = {"do_pan_and_scan": True}
    found = [
        Case("text", [user("What colour is the sky? Count 10 to 25.")]),
        Case("small", [user(IMAGE, "What is shown in this image?")], pictures=picture("square.png")),
        Case("landscape", [user("Describe the picture.", IMAGE)], pictures=picture("landscape.jpg")),
        Case("portrait", [system, user(IMAGE, "How many shapes are there?")], pictures=picture("portrait.png")),
        Case("tiny", [user("Where?", IMAGE)], pictures=picture("tiny.png")),
        Case("several", [user(IMAGE, "Compare ", IMAGE, " with ", IMAGE)], pictures=picture("palette.png", "photo.jpg", "tiny.png")),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=picture("turned.jpg"),
        ),
        Case("raw", prompt="<start_of_image> In this picture there is", pictures=picture("wide.jpg")),
    ]
    if scanned:
        found.append(Case("scanned", [user(IMAGE, "Read the text.", IMAGE)], pictures=picture("landscape.jpg", "tiny.png"), options=scan))
    for case in found:
        case.full = case.pixels = case.name == full
    return found


def variants() -> list[Variant]:
    old = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 553,
        "eoi_token_index": 554,
        "eos_token_id": [1, 552],
        "image_token_index": 555,
        "initializer_range": 0.02,
        "mm_tokens_per_image": 9,
        "model_type": "gemma3",
        "text_config": {
            "head_dim": 20,
            "hidden_size": 64,
            "intermediate_size": 96,
            "model_type": "gemma3_text",
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "num_key_value_heads": 2,
            "query_pre_attn_scalar": 24,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 5,
            "sliding_window_pattern": 3,
            "vocab_size": 560,
        },
        "torch_dtype": "float32",
        "transformers_version": "4.50.0.dev0",
        "vision_config": {
            "hidden_size": 48,
            "image_size": 54,
            "intermediate_size": 80,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "patch_size": 9,
            "vision_use_head": False,
        },
    }
    new = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 533,
        "dtype": "float32",
        "eoi_token_index": 534,
        "image_token_index": 535,
        "initializer_range": 0.02,
        "mm_tokens_per_image": 9,
        "model_type": "gemma3",
        "text_config": {
            "_sliding_window_pattern": 6,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "attn_logit_softcapping": None,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "final_logit_softcapping": None,
            "head_dim": 16,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": 72,
            "initializer_range": 0.02,
            "intermediate_size": 100,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
            "max_position_embeddings": 8192,
            "model_type": "gemma3_text",
            "num_attention_heads": 6,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "pad_token_id": 0,
            "query_pre_attn_scalar": 16,
            "rms_norm_eps": 1e-06,
            "rope_parameters": {
                "full_attention": {"rope_theta": 500000.0, "rope_type": "default"},
                "sliding_attention": {"rope_theta": 5000.0, "rope_type": "default"},
            },
            "sliding_window": 16,
            "use_bidirectional_attention": False,
            "use_cache": True,
            "vocab_size": 535,
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
            "vision_use_head": False,
        },
    }
    return [
        Variant("gemma3-old", "gemma3", 2, old, lambda folder: old_files(folder, old, 230), DRAWS, names, cases("small", "")),
        Variant("gemma3-new", "gemma3", 21, new, lambda folder: new_files(folder, new, 210), DRAWS, names, cases("landscape", "scanned")),
    ]
