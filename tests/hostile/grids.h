/* SPDX-License-Identifier: MIT */
/* Families over grids of patches: what the configs, processors and tensors of Qwen2-VL, Qwen3-VL and GLM-OCR may not
 * be. */
#include "hostile/hostile.h"

static const hostile bad_grids[] = {
    { "qwen2_vl: an MLP too wide", { SET(CONFIG, "vision_config/embed_dim", "65536"), SET(CONFIG, "vision_config/num_heads", "4"), SET(CONFIG, "vision_config/mlp_ratio", "4.5") }, { "config.json: vision_config.mlp_ratio", "4.5", "262144" }, QWEN2 },
    { "qwen2_vl: an MLP of no width", { SET(CONFIG, "vision_config/mlp_ratio", "0.01") }, { "config.json: vision_config.mlp_ratio", "48" }, QWEN2 },
    { "qwen2_vl: heads that do not divide", { SET(CONFIG, "vision_config/num_heads", "5") }, { "config.json: vision_config.num_heads", "48" }, QWEN2 },
    { "qwen2_vl: a result of another width", { SET(CONFIG, "vision_config/hidden_size", "64") }, { WEIGHTS, "merger.mlp.2.weight", "[64, 192]" }, QWEN2 },
    { "qwen2_vl: no bias of a norm", { DROP(WEIGHTS, "visual.blocks.1.norm1.bias") }, { "visual.blocks.1.norm1.bias", "missing" }, QWEN2 },
    { "qwen2_vl: a gate", { TENSOR(WEIGHTS, "visual.blocks.1.mlp.gate_proj.weight", "F32 144 48") }, { "visual.blocks.1.mlp.gate_proj.weight" }, QWEN2 },
    { "qwen2_vl: one token for both", { SET(CONFIG, "video_token_id", "548") }, { "config.json: video_token_id", "548" }, QWEN2 },
    { "qwen3_vl: nine blocks that feed the decoder", { SET(CONFIG, "vision_config/deepstack_visual_indexes", "[0, 1, 2, 3, 4, 5, 6, 7, 8]") }, { "config.json: vision_config.deepstack_visual_indexes", "9", "8" }, QWEN3 },
    { "qwen3_vl: a third block that feeds the decoder", { SET(CONFIG, "vision_config/deepstack_visual_indexes", "[0, 1, 2]") }, { "deepstack_merger_list.2", "missing" }, QWEN3 },
    { "qwen3_vl: a larger table", { SET(CONFIG, "vision_config/num_position_embeddings", "49") }, { WEIGHTS, "pos_embed.weight", "[49, 48]" }, QWEN3 },
    { "qwen3_vl: no table", { DROP(WEIGHTS, "model.visual.pos_embed.weight") }, { "model.visual.pos_embed.weight", "missing" }, QWEN3 },
    { "qwen3_vl: two sections", { SET(CONFIG, "text_config/rope_scaling/mrope_section", "[4, 4]") }, { "mrope_section", "3 numbers" }, QWEN3 },
    { "qwen3_vl: no norm of queries", { DROP(WEIGHTS, "model.language_model.layers.1.self_attn.q_norm.weight") }, { "layers.1.self_attn.q_norm.weight", "missing" }, QWEN3 },
    { "qwen3_vl: a plain decoder", { SET(CONFIG, "text_config/model_type", "\"qwen2\"") }, { "config.json: text_config.model_type", "three axes" }, QWEN3 },
    { "qwen3_vl: patches of another size in the processor", { SET(PRE, "patch_size", "16") }, { "do not fit" }, QWEN3 },
    { "qwen3_vl: squares of another size in the processor", { SET(PRE, "merge_size", "4") }, { "media tokens" }, QWEN3 },
    { "qwen3_vl_moe: more experts for a token than there are", { SET(CONFIG, "text_config/num_experts_per_tok", "7") }, { "config.json: text_config.num_experts_per_tok", "7", "6" }, QWEN3_MOE },
    { "qwen3_vl_moe: an expert too many", { SET(CONFIG, "text_config/num_experts", "7") }, { WEIGHTS, "mlp.gate.weight", "[7, 60]" }, QWEN3_MOE },
    { "qwen3_vl_moe: no step between layers with experts", { SET(CONFIG, "text_config/decoder_sparse_step", "0") }, { "config.json: text_config.decoder_sparse_step" }, QWEN3_MOE },
    { "qwen3_vl_moe: experts where there are none", { SET(CONFIG, "text_config/mlp_only_layers", "[]") }, { "layers.2.mlp", "missing" }, QWEN3_MOE },
    { "qwen3_vl_moe: no router", { DROP(WEIGHTS, "model.language_model.layers.1.mlp.gate.weight") }, { "layers.1.mlp.gate.weight", "missing" }, QWEN3_MOE },
    { "qwen3_vl_moe: half a stack", { DROP(WEIGHTS, "model.language_model.layers.1.mlp.experts.down_proj") }, { "layers.1.mlp.experts.down_proj", "missing" }, QWEN3_MOE },
    { "qwen3_vl_moe: a stack of another width", { TENSOR(WEIGHTS, "model.language_model.layers.1.mlp.experts.down_proj", "F32 6 60 25") }, { WEIGHTS, "[6, 60, 25]", "[6, 60, 24]" }, QWEN3_MOE },
    { "qwen3_vl_moe: a stack that is a matrix", { TENSOR(WEIGHTS, "model.language_model.layers.1.mlp.experts.down_proj", "F32 360 24") }, { WEIGHTS, "[360, 24]", "[6, 60, 24]" }, QWEN3_MOE },
    { "glm_ocr: no convolution", { DROP(WEIGHTS, "model.visual.downsample.weight") }, { "model.visual.downsample.weight", "missing" }, GLM },
    { "glm_ocr: a convolution of other squares", { TENSOR(WEIGHTS, "model.visual.downsample.weight", "F32 64 48 3 3") }, { WEIGHTS, "[64, 48, 3, 3]", "[64, 48, 2, 2]" }, GLM },
    { "glm_ocr: gate alone", { TENSOR(WEIGHTS, "model.language_model.layers.1.mlp.gate_up_proj.weight", "F32 96 64") }, { WEIGHTS, "[96, 64]", "[192, 64]" }, GLM },
    { "glm_ocr: half the head turns", { SET(CONFIG, "text_config/rope_parameters/partial_rotary_factor", "0.5") }, { "partial_rotary_factor", "only 1" }, GLM },
    { "glm_ocr: biases that the config denies", { SET(CONFIG, "vision_config/attention_bias", "false") }, { "bias" }, GLM },
    { "glm_ocr: no token for videos", { SET(TOKENIZER, "added_tokens/15/content", "\"<|film|>\"") }, { "<|video|>" }, GLM },
};
