# SPDX-License-Identifier: MIT
"""Qwen2-VL: a tiny checkpoint and its cases. What it shares with Qwen2.5-VL is taken from there."""

from __future__ import annotations

from . import qwen2_5_vl
from .common import Variant

TEMPLATE, names = qwen2_5_vl.TEMPLATE, qwen2_5_vl.names
CASES = ("text", "landscape", "portrait", "tiny", "turned", "several", "two-turns", "limits", "video", "video-fast")


def variants() -> list[Variant]:
    config = {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": 536,
        "eos_token_id": 538,
        "vision_start_token_id": 545,
        "vision_end_token_id": 546,
        "vision_token_id": 547,
        "image_token_id": 548,
        "video_token_id": 549,
        "hidden_act": "silu",
        "hidden_size": 60,
        "initializer_range": 0.02,
        "intermediate_size": 92,
        "max_position_embeddings": 4096,
        "max_window_layers": 28,
        "model_type": "qwen2_vl",
        "num_attention_heads": 5,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 3,
            "embed_dim": 48,
            "mlp_ratio": 3,
            "num_heads": 3,
            "in_chans": 3,
            "hidden_size": 60,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 2, 3]},
        "vocab_size": 560,
    }
    head = {"name": "lm_head.weight", "copy_of": "model.language_model.embed_tokens.weight", "convention": "hf_old"}
    return [
        Variant(
            "qwen2_vl",
            "qwen2_vl",
            5,
            config,
            lambda folder: qwen2_5_vl.old_files(folder, config, 280, "Qwen2VLProcessor"),
            qwen2_5_vl.DRAWS,
            names,
            [case for case in qwen2_5_vl.cases("turned") if case.name in CASES],
            [head],
            qwen2_5_vl.frames_with_pillow,
        )
    ]
