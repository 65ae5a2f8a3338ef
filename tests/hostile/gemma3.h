/* SPDX-License-Identifier: MIT */
/* Gemma 3: what its config, its processor and its tensors may not be. */
#include "hostile/hostile.h"

static const hostile bad_gemma3[] = {
    { "gemma3: tokens that are no square", { SET(CONFIG, "mm_tokens_per_image", "8") }, { "config.json: mm_tokens_per_image", "no square", "6" }, GEMMA3 },
    { "gemma3: more tokens than patches", { SET(CONFIG, "mm_tokens_per_image", "49") }, { "config.json: mm_tokens_per_image", "49", "6" }, GEMMA3 },
    { "gemma3: tokens that squares of patches do not make", { SET(CONFIG, "mm_tokens_per_image", "16") }, { "config.json: mm_tokens_per_image", "16", "6" }, GEMMA3 },
    { "gemma3: another number of tokens in the prompt", { SET(PROC, "image_seq_length", "8") }, { "8 media tokens", "9 features" }, GEMMA3 },
    { "gemma3: 2^16 tokens of a picture", { SET(PROC, "image_seq_length", "65537") }, { PROC, "image_seq_length", "65537" }, GEMMA3 },
    { "gemma3: text that sees ahead", { SET(CONFIG, "text_config/use_bidirectional_attention", "true") }, { "config.json: text_config.use_bidirectional_attention", "not supported" }, GEMMA3 },
    { "gemma3: a pattern of 0", { SET(CONFIG, "text_config/sliding_window_pattern", "0") }, { "config.json: text_config.sliding_window_pattern" }, GEMMA3 },
    { "gemma3: a local base of 0", { SET(CONFIG, "text_config/rope_local_base_freq", "0") }, { "config.json: text_config", "rope_local_base_freq" }, GEMMA3 },
    { "gemma3: linear without a factor", { UNSET(CONFIG, "text_config/rope_scaling/factor") }, { "config.json: text_config.rope_parameters.factor", "missing" }, GEMMA3 },
    { "gemma3: windowed layers' rope a list", { SET(CONFIG, "text_config/rope_parameters", "{\"sliding_attention\": []}") }, { "config.json: text_config.rope_parameters.sliding_attention", "object" }, GEMMA3 },
    { "gemma3: another size of picture", { SET(PRE, "size", "{\"height\": 45, \"width\": 54}") }, { "pixel_values", "45", "54" }, GEMMA3 },
    { "gemma3: crops of nothing", { SET(PRE, "pan_and_scan_min_crop_size", "0") }, { PRE, "pan_and_scan_min_crop_size" }, GEMMA3 },
    { "gemma3: no projection", { DROP(WEIGHTS, "multi_modal_projector.mm_input_projection_weight") }, { "mm_input_projection_weight", "missing" }, GEMMA3 },
    { "gemma3: a projection the other way round", { TENSOR(WEIGHTS, "multi_modal_projector.mm_input_projection_weight", "F32 64 48") }, { WEIGHTS, "[64, 48]", "[48, 64]" }, GEMMA3 },
    { "gemma3: no norm of queries", { DROP(WEIGHTS, "language_model.model.layers.1.self_attn.q_norm.weight") }, { "layers.1.self_attn.q_norm.weight", "missing" }, GEMMA3 },
    { "gemma3: a norm of keys as wide as all heads", { TENSOR(WEIGHTS, "language_model.model.layers.1.self_attn.k_norm.weight", "F32 40") }, { WEIGHTS, "[40]", "[20]" }, GEMMA3 },
    { "gemma3: a bias of the projection", { TENSOR(WEIGHTS, "multi_modal_projector.mm_input_projection_bias", "F32 64") }, { "mm_input_projection_bias" }, GEMMA3 },
};
