# SPDX-License-Identifier: MIT
"""GLM-OCR: a tiny checkpoint and its cases."""

from __future__ import annotations

from pathlib import Path

from transformers.models.glm46v.video_processing_glm46v import smart_resize

from . import qwen2_5_vl, qwen3_vl, tokenizers
from .common import IMAGE, PICTURES, Case, Variant, linear, norm, spread, user, write_json
from .generator import Draw
from .grids import frames_with_pillow

# The template in our own words: marks of turns without ends, media between marks of their own.
TEMPLATE = """[gMASK]<sop>
{%- for message in messages -%}
{{ '<|' + message.role + '|>\\n' }}
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
<|begin_of_image|><|image|><|end_of_image|>
{%- elif part.type == 'video' or 'video' in part -%}
<|begin_of_video|><|video|><|end_of_video|>
{%- elif 'text' in part -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|assistant|>\\n' }}
{%- endif -%}"""

names = qwen3_vl.names
CASES = ("text", "landscape", "portrait", "turned", "several", "two-turns", "video")

DRAWS = [
    # The merger's GELU works around -2, where GELUs differ most for what they give.
    (r"merger\.post_projection_norm\.weight$", lambda shape: Draw.of_std(0.1, 0.5)),
    (r"merger\.post_projection_norm\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"merger\.(gate|up)_proj\.weight$", linear(14)),
    (r"(norm\d?|layernorm|q_norm|k_norm)\.weight$", norm(1)),
    (r"patch_embed\.proj\.weight$", linear(2.0)),
    (r"downsample\.weight$", linear(1.5)),
    (r"embed_tokens\.weight$", spread(0.6)),
    (r"attn\.qkv\.weight$", linear(1.6)),
    (r"(q_proj|k_proj)\.weight$", linear(1.7)),
    (r"merger.*weight$", linear(1.5)),
    (r"visual.*(attn\.proj|gate_proj|up_proj|down_proj)\.weight$", linear(1.4)),
    (r"(v_proj|o_proj)\.weight$", linear(0.9)),
    (r"(gate_up_proj|down_proj)\.weight$", linear(1.7)),
    (r"lm_head\.weight$", linear(2.5)),
    (r"bias$", spread(0.3)),
]


def pixels(config: dict, budget: tuple[int, int], **more) -> dict:
    """A processor's config: budget in squares of patches of two frames."""
    side = config["vision_config"]["patch_size"]
    square = 2 * (2 * side) ** 2
    return more | qwen2_5_vl.CLIP | {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "merge_size": 2,
        "patch_size": side,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": square * budget[1], "shortest_edge": square * budget[0]},
        "temporal_patch_size": 2,
    }


def files(folder: Path, config: dict, merges: int) -> None:
    size = tokenizers.glm(folder / "tokenizer.json", merges)
    assert config["video_token_id"] == size - 1, size
    settings = {
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "eos_token": "<|endoftext|>",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "processor_class": "Glm46VProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"do_sample": False, "eos_token_id": config["text_config"]["eos_token_id"]})
    image = {"image_processor_type": "Glm46VImageProcessor", "processor_class": "Glm46VProcessor"}
    write_json(folder / "preprocessor_config.json", pixels(config, (6, 40), **image))
    video = {"video_processor_type": "Glm46VVideoProcessor"}
    write_json(folder / "video_preprocessor_config.json", pixels(config, (12, 50), **video))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def variants() -> list[Variant]:
    first = 256 + 280
    config = {
        "architectures": ["GlmOcrForConditionalGeneration"],
        "image_end_token_id": first + 11,
        "image_start_token_id": first + 10,
        "image_token_id": first + 14,
        "model_type": "glm_ocr",
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "dtype": "float32",
            "eos_token_id": [first, first + 7],
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 4096,
            "model_type": "glm_ocr_text",
            "num_attention_heads": 6,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "num_nextn_predict_layers": 1,
            "pad_token_id": first,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {"mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0, "rope_theta": 10000, "rope_type": "default"},
            "tie_word_embeddings": False,
            "use_cache": True,
            "vocab_size": 560,
        },
        "transformers_version": "5.0.1dev0",
        "video_end_token_id": first + 13,
        "video_start_token_id": first + 12,
        "video_token_id": first + 15,
        "vision_config": {
            "attention_bias": True,
            "depth": 3,
            "hidden_act": "silu",
            "hidden_dropout_prob": 0.0,
            "hidden_size": 48,
            "image_size": 336,
            "initializer_range": 0.02,
            "intermediate_size": 76,
            "model_type": "glm_ocr_vision",
            "num_heads": 3,
            "out_hidden_size": 64,
            "patch_size": 8,
            "rms_norm_eps": 1e-05,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }
    cases = [case for case in qwen2_5_vl.cases("tiny") if case.name in CASES]
    cases.append(Case("tiny", [user("Where is it? ", IMAGE)], pictures=[f"{PICTURES}/tiny.png"], full=True, pixels=True))
    # What predicts several tokens at once lies in the file behind the layers, and nobody reads it.
    extra = {"name": "model.language_model.layers.3.eh_proj.weight", "dtype": "F32", "shape": [4, 2]}
    extras = [extra | {"convention": "hf"}, extra | {"convention": "hf_old"}]
    return [
        Variant(
            "glm_ocr",
            "glm_ocr",
            2,
            config,
            lambda folder: files(folder, config, 280),
            DRAWS,
            names,
            cases,
            extras,
            frames_with_pillow(smart_resize),
        )
    ]
