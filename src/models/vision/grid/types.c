/* SPDX-License-Identifier: MIT */
/* The types of the one tower of grids: what each takes for absent keys (as the reference's config
 * classes do) and how it is built. */
#include "models/vision/grid/grid.h"

static const grid_type qwen2_vl = {
    .keys = GRID_EMBED_DIM,
    .defaults = { .depth = 32,
                  .hidden_size = 1280,
                  .out_hidden_size = 3584,
                  .mlp_ratio = 4,
                  .num_heads = 16,
                  .in_channels = 3,
                  .patch_size = 14,
                  .temporal_patch_size = 2,
                  .spatial_merge_size = 2,
                  .hidden_act = VLM_ACT_QUICK_GELU,
                  .norm_eps = 1e-6f,
                  .attention_bias = true,
                  .rope_theta = 1e4f },
    .layer_norm = true,
};
static const grid_type qwen2_5_vl = {
    .keys = GRID_WIDTHS | GRID_WINDOWS,
    .defaults = { .depth = 32,
                  .hidden_size = 3584,
                  .intermediate_size = 3420,
                  .out_hidden_size = 3584,
                  .num_heads = 16,
                  .in_channels = 3,
                  .patch_size = 14,
                  .temporal_patch_size = 2,
                  .spatial_merge_size = 2,
                  .window_size = 112,
                  .hidden_act = VLM_ACT_SILU,
                  .norm_eps = 1e-6f,
                  .attention_bias = true,
                  .rope_theta = 1e4f,
                  .fullatt_block_indexes = { 4, { 7, 15, 23, 31 } } },
    .gated = true,
};

static const grid_type qwen3_vl = {
    .keys = GRID_WIDTHS | GRID_DEEPSTACK,
    .defaults = { .depth = 27,
                  .hidden_size = 1152,
                  .intermediate_size = 4304,
                  .out_hidden_size = 3584,
                  .num_heads = 16,
                  .in_channels = 3,
                  .patch_size = 16,
                  .temporal_patch_size = 2,
                  .spatial_merge_size = 2,
                  .hidden_act = VLM_ACT_GELU_TANH,
                  .norm_eps = 1e-6f,
                  .attention_bias = true,
                  .rope_theta = 1e4f,
                  .num_position_embeddings = 2304,
                  .deepstack_visual_indexes = { 3, { 8, 16, 24 } } },
    .layer_norm = true,
    .patch_bias = true,
    .linear_names = true,
};

static const grid_type glm_ocr = {
    .keys = GRID_WIDTHS | GRID_GLM,
    .defaults = { .depth = 24,
                  .hidden_size = 1024,
                  .intermediate_size = 4096,
                  .out_hidden_size = 1536,
                  .num_heads = 16,
                  .in_channels = 3,
                  .patch_size = 14,
                  .temporal_patch_size = 2,
                  .spatial_merge_size = 2,
                  .hidden_act = VLM_ACT_SILU,
                  .norm_eps = 1e-5f,
                  .attention_bias = true,
                  .rope_theta = 1e4f },
    .gated = true,
    .qk_norm = true,
    .patch_bias = true,
    .downsamples = true,
};

#define TYPE(type, names)                                                                          \
    static vlm_status create_##type(vlm_vision **out, vlm_build *build,                            \
                                    const vlm_vision_options *options, vlm_error *err) {           \
        return vmodel_grid_new(out, &type, build, options, err);                                   \
    }                                                                                              \
    const vmodel_vision_type vmodel_vision_##type = { .model_type = names,                         \
                                                      .create = create_##type }
TYPE(qwen2_vl, "qwen2_vl_vision|qwen2_vl");
TYPE(qwen2_5_vl, "qwen2_5_vl_vision|qwen2_5_vl");
TYPE(qwen3_vl, "qwen3_vl_vision|qwen3_vl|qwen3_vl_moe_vision|qwen3_vl_moe");
TYPE(glm_ocr, "glm_ocr_vision|glm_ocr");
