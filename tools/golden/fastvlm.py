# SPDX-License-Identifier: MIT
"""FastVLM: FastViTHD and Qwen2, under Apple's names with its prompt and pictures as Bunny's, and as transformers has it.

The reference of both is transformers' FastVLM, whose tower is timm's FastViT with reparametrised blocks; here it is a tiny one.
"""

from __future__ import annotations

import re

from . import llava, llava_bunny, tokenizers
from .common import IMAGE, PICTURES, Case, Variant, assistant, linear, norm, spread, user, write_json
from .generator import Draw

LAYERS = (1, 1, 2, 1, 1)
TEMPLATE = llava_bunny.TEMPLATE
DIMS = (8, 16, 32, 32, 64)
EDGE = 256

DRAWS = [
    (r"running_mean$", spread(0.2)),
    (r"running_var$", norm(1)),
    (r"(bn|norm)\.weight$", norm(1)),
    (r"(lkb_reparam|reparam_conv)\.weight$", linear(2.0)),
    (r"se\.(reduce|expand|fc1|fc2)\.weight$", linear(2.0)),
    (r"(convffn|mlp)\.conv\.conv\.weight$", linear(1.5)),
    (r"(convffn|mlp)\.fc1\.weight$", linear(1.5)),
    (r"(convffn|mlp)\.fc2\.weight$", linear(2.0)),
    (r"layer_scale(_\d)?(\.gamma)?$", lambda shape: Draw.of_std(0.2, 0.5)),
    (r"token_mixer\.qkv\.weight$", linear(1.6)),
    (r"token_mixer\.proj\.weight$", linear(1.4)),
    (r"(linear_1|mm_projector\.0)\.weight$", linear(0.003)),  # the tower ends without a norm
    *llava.DRAWS,
]
DRAWS_TIMM = [(r"reparam_conv\.weight$", linear(1.5)), *DRAWS]
# Where timm's stages are in Apple's list: the layer that halves, the positions, the blocks.
PLACES = [(None, None, 0), (1, None, 2), (3, None, 4), (5, 6, 7), (8, 9, 10)]


def own_name(name: str) -> str:
    """Apple's names, for transformers' and timm's."""
    if not name.startswith("model.vision_tower."):
        return llava_bunny.own_name(name)
    name = name.removeprefix("model.vision_tower.timm_model.").replace("stem.", "patch_embed.", 1)
    if match := re.match(r"stages\.(\d)\.(downsample|pos_emb|blocks)", name):
        place = PLACES[int(match[1])][("downsample", "pos_emb", "blocks").index(match[2])]
        name = f"network.{place}" + name[match.end() :]
        if match[2] == "downsample":
            name = name.replace("proj.0.reparam_conv", "proj.0.lkb_reparam")
    name = name.replace(".gamma", "").replace(".mlp.", ".convffn.", 1).replace("final_conv.", "conv_exp.", 1)
    name = name.replace("se.fc1", "se.reduce").replace("se.fc2", "se.expand")
    return "model.vision_tower.vision_tower.model." + name


def names(name: str) -> dict[str, str]:
    mlx = name.removeprefix("model.")
    if mlx.startswith("vision_tower."):
        mlx = mlx.replace("vision_tower.vision_tower.model.", "vision_tower.vision_model.").replace("patch_embed.", "patch_embed.blocks.")
    elif not mlx.startswith("mm_projector."):
        mlx = "language_model." + name
    return {"hf": name, "hf_old": name, "mlx": mlx}


def mlx_axes(name: str, shape: tuple[int, ...]) -> list[int] | None:
    """Channels last: of convolutions, and of the layers' scales."""
    return {4: [0, 2, 3, 1], 3: [1, 2, 0]}.get(len(shape))


PICTURES_256 = llava.CLIP | {
    "crop_size": {"height": EDGE, "width": EDGE},
    "do_center_crop": True,
    "image_mean": [0.0, 0.0, 0.0],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [1.0, 1.0, 1.0],
    "size": {"shortest_edge": EDGE},
}


def files(folder, config: dict) -> None:
    llava_bunny.files(
        folder, config, llava_bunny.CHATML, lambda path: tokenizers.chatml(path, 255, []), llava_bunny.CHATML_TOKENS, PICTURES_256, 8192
    )


def timm_files(folder, config: dict) -> None:
    """As transformers' conversion saves it: LLaVA's processor with CLIP's pictures, which are cut and not padded."""
    llava.chatml_files(folder, config, 255)
    processor = {
        "image_processor": PICTURES_256,
        "image_token": "<image>",
        "num_additional_image_tokens": 0,
        "patch_size": 64,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": None,
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
        Case("several", [user(IMAGE, IMAGE, "Compare them.")], pictures=picture("photo.jpg", "tiny.png")),
        Case(
            "two-turns",
            [user("Who are you?"), assistant("A helpful assistant."), user(IMAGE, "What is in the picture?")],
            pictures=picture("turned.jpg"),
        ),
    ]
    for case in found:
        case.full = case.name == full
    return found


def reference_of(config: dict) -> dict:
    """transformers' config of a checkpoint."""
    vision = config["vision_config"]
    dims, layers = vision.get("embed_dims", (96, 192, 384, 768, 1536)), vision.get("layers", (2, 12, 24, 4, 2))
    return llava_bunny.reference(config | {"vision_config": {}}, "qwen2", config["vocab_size"] - 1) | {
        "model_type": "fast_vlm",
        "vision_config": timm_config(dims, layers) | {"patch_size": 64},
    }


def timm_config(dims, layers) -> dict:
    return {
        "architecture": "fastvit_mci3",
        "do_pooling": True,
        "global_pool": "avg",
        "hidden_size": 2 * dims[-1],
        "model_args": {"embed_dims": dims, "inference_mode": True, "layers": layers},
        "model_type": "timm_wrapper",
    }


def variants() -> list[Variant]:
    config = {
        "architectures": ["LlavaQwen2ForCausalLM"],
        "bos_token_id": 511,
        "eos_token_id": 513,
        "hidden_act": "silu",
        "hidden_size": 64,
        "image_aspect_ratio": "pad",
        "image_token_index": -200,
        "intermediate_size": 96,
        "max_position_embeddings": 4096,
        "max_window_layers": 24,
        "mm_hidden_size": 2 * DIMS[-1],
        "mm_patch_merge_type": "flat",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": f"mobileclip_l_{EDGE}",
        "model_type": "llava_qwen2",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "tokenizer_model_max_length": 8192,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vision_config": {"embed_dims": DIMS, "image_size": EDGE, "layers": LAYERS},
        "vocab_size": 520,
    }
    text_keys = ("hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers")
    timm = {
        "architectures": ["FastVlmForConditionalGeneration"],
        "dtype": "float32",
        "image_seq_length": (EDGE // 64) ** 2,
        "image_token_index": 514,
        "model_type": "fast_vlm",
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "text_config": {key: config[key] for key in text_keys}
        | {
            "layer_types": ["full_attention"] * 3,
            "model_type": "qwen2",
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
            "vocab_size": 520,
        },
        "tie_word_embeddings": False,
        "transformers_version": "5.17.0",
        "vision_config": timm_config(DIMS, LAYERS),
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    head = {"name": "model.vision_tower.vision_tower.model.head.proj", "dtype": "F32", "shape": [2 * DIMS[-1], 8]}
    return [
        Variant(
            "fastvlm-qwen2",
            "fastvlm",
            1,
            config,
            lambda folder: files(folder, config),
            DRAWS,
            names,
            cases("small"),
            [head | {"convention": "hf_old"}],
            reference=reference_of(config),
            own_name=own_name,
            load_processor=llava_bunny.Processor,
            shown=llava_bunny.shown(519),
            mlx_axes=mlx_axes,
        ),
        Variant(
            "fastvlm-timm",
            "fastvlm",
            2,
            timm,
            lambda folder: timm_files(folder, timm),
            DRAWS_TIMM,
            lambda name: {"hf": name, "hf_old": name, "mlx": name},
            cases("small"),
            reference=timm | {"vision_config": timm["vision_config"] | {"patch_size": 64}},
            mlx_axes=mlx_axes,
        ),
    ]
