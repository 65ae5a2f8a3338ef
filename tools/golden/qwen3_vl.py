# SPDX-License-Identifier: MIT
"""Qwen3-VL, dense and of experts: two tiny checkpoints and their cases. Template and tokenizer are those of Qwen2.5-VL, without its system message."""

from __future__ import annotations

from pathlib import Path

from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from . import qwen2_5_vl
from .common import Draw, Variant, linear, norm, spread, write_json
from .grids import frames_with_pillow

TEMPLATE = qwen2_5_vl.TEMPLATE[qwen2_5_vl.TEMPLATE.index("{%- for message") :]
CASES = ("text", "landscape", "portrait", "tiny", "turned", "several", "two-turns", "limits", "video", "video-fast")

DRAWS = [
    (r"(norm\d?|layernorm|q_norm|k_norm)\.weight$", norm(1)),
    (r"patch_embed\.proj\.weight$", linear(2.0)),
    (r"pos_embed\.weight$", spread(0.6)),
    (r"embed_tokens\.weight$", spread(0.3)),
    (r"attn\.qkv\.weight$", linear(1.6)),
    (r"(q_proj|k_proj)\.weight$", linear(1.7)),
    # The first layers work around -2, where the GELUs differ most for what they give.
    (r"linear_fc1\.weight$", linear(0.8)),
    (r"linear_fc1\.bias$", lambda shape: Draw(-2, -6, 31)),
    (r"merger.*linear_fc2\.weight$", linear(4)),
    (r"blocks.*linear_fc2\.weight$", linear(8)),
    (r"visual.*attn\.proj\.weight$", linear(1.4)),
    # Attention that is stronger makes all continuations of a picture's prompt the same.
    (r"(v_proj|o_proj)\.weight$", linear(0.9)),
    (r"(gate_proj|up_proj|down_proj)\.weight$", linear(1.7)),
    (r"mlp\.gate\.weight$", linear(2.0)),
    # of each expert [out, in]
    (r"experts\.(gate_up_proj|down_proj)$", lambda shape: Draw.of_std(2.0 / shape[2] ** 0.5)),
    (r"lm_head\.weight$", linear(2.5)),
    (r"bias$", spread(0.3)),
]


def names(name: str) -> dict[str, str]:
    """Published files and 5.17 keep the modules' own names; MLX has language_model.model, vision_tower, and experts' gates and ups apart (expert_layouts)."""
    mlx = name.replace("model.language_model.", "language_model.model.", 1).replace("model.visual.", "vision_tower.", 1)
    mlx = mlx.replace("lm_head.", "language_model.lm_head.", 1)
    if ".mlp.experts." in mlx:
        mlx = mlx.replace(".mlp.experts.", ".mlp.switch_mlp.") + ".weight"
    return {"hf": name, "hf_old": name, "mlx": mlx}


def expert_layouts(name: str) -> dict:
    """Published files have each expert [in, out]."""
    if ".experts." not in name:
        return {}
    layout = {"hf_old_axes": [0, 2, 1]}
    if name.endswith("gate_up_proj"):
        mlx = names(name)["mlx"]
        layout["mlx_parts"] = [mlx.replace("gate_up_proj", part) for part in ("gate_proj", "up_proj")]
    return layout


def pixels(config: dict, budget: tuple[int, int], **more) -> dict:
    """An image or video processor's config: budget in squares of patches."""
    side = config["vision_config"]["patch_size"]
    square = (2 * side) ** 2
    return more | {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "merge_size": 2,
        "patch_size": side,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": square * budget[1], "shortest_edge": square * budget[0]},
        "temporal_patch_size": 2,
    }


def old_files(folder: Path, config: dict, merges: int) -> None:
    """As published: one file for each processor, chat_template.json."""
    qwen2_5_vl.tokenizer_files(folder, merges, config, "Qwen2Tokenizer")
    image = {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor"}
    video = {"video_processor_type": "Qwen3VLVideoProcessor", "fps": 2, "min_frames": 4, "max_frames": 768}
    write_json(folder / "preprocessor_config.json", pixels(config, (6, 50), **image))
    write_json(folder / "video_preprocessor_config.json", pixels(config, (12, 60), **video))
    write_json(folder / "chat_template.json", {"chat_template": TEMPLATE})


def new_files(folder: Path, config: dict, merges: int) -> None:
    """As transformers 5 saves it: both processors in processor_config.json."""
    qwen2_5_vl.tokenizer_files(folder, merges, config, "TokenizersBackend")
    image = pixels(config, (6, 50), image_processor_type="Qwen2VLImageProcessor")
    video = pixels(config, (8, 40), video_processor_type="Qwen3VLVideoProcessor", do_sample_frames=False)
    processor = {"image_processor": image, "processor_class": "Qwen3VLProcessor", "video_processor": video}
    write_json(folder / "processor_config.json", processor)
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def vision_config(**more) -> dict:
    return {
        "deepstack_visual_indexes": [1, 2],
        "depth": 4,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 48,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 76,
        "num_heads": 3,
        "num_position_embeddings": 36,
        "out_hidden_size": 64,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    } | more


def variants() -> list[Variant]:
    config = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": 548,
        "model_type": "qwen3_vl",
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 536,
            "dtype": "float32",
            "eos_token_id": 538,
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 4096,
            "model_type": "qwen3_vl_text",
            "num_attention_heads": 3,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-06,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
            "rope_theta": 5000000,
            "tie_word_embeddings": True,
            "use_cache": True,
            "vocab_size": 560,
        },
        "tie_word_embeddings": True,
        "transformers_version": "4.57.0.dev0",
        "video_token_id": 549,
        "vision_config": vision_config(model_type="qwen3_vl"),
        "vision_end_token_id": 546,
        "vision_start_token_id": 545,
    }
    experts = {
        "architectures": ["Qwen3VLMoeForConditionalGeneration"],
        "dtype": "float32",
        "image_token_id": 568,
        "model_type": "qwen3_vl_moe",
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 556,
            "decoder_sparse_step": 1,
            "eos_token_id": 558,
            "head_dim": 12,
            "hidden_act": "silu",
            "hidden_size": 60,
            "initializer_range": 0.02,
            "intermediate_size": 92,
            "max_position_embeddings": 4096,
            "mlp_only_layers": [2],
            "model_type": "qwen3_vl_moe_text",
            "moe_intermediate_size": 24,
            "num_attention_heads": 4,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 4,
            "num_key_value_heads": 2,
            "pad_token_id": None,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {"mrope_interleaved": True, "mrope_section": [2, 2, 2], "rope_theta": 10000.0, "rope_type": "default"},
            "tie_word_embeddings": False,
            "use_cache": True,
            "vocab_size": 570,
        },
        "tie_word_embeddings": False,
        "transformers_version": "5.17.0",
        "video_token_id": 569,
        "vision_config": vision_config(model_type="qwen3_vl_moe_vision", deepstack_visual_indexes=[0, 1, 2], depth=3, out_hidden_size=60),
        "vision_end_token_id": 566,
        "vision_start_token_id": 565,
    }
    fewer = ("text", "landscape", "portrait", "several", "limits", "video-fast")
    few = [case for case in qwen2_5_vl.cases("limits") if case.name in fewer]
    return [
        Variant(
            "qwen3_vl",
            "qwen3_vl",
            2,
            config,
            lambda folder: old_files(folder, config, 280),
            DRAWS,
            names,
            [case for case in qwen2_5_vl.cases("limits") if case.name in CASES],
            [],
            frames_with_pillow(smart_resize),
        ),
        Variant(
            "qwen3_vl_moe",
            "qwen3_vl",
            3,
            experts,
            lambda folder: new_files(folder, experts, 300),
            DRAWS,
            names,
            few,
            [],
            frames_with_pillow(smart_resize),
            layouts=expert_layouts,
        ),
    ]
