/* SPDX-License-Identifier: MIT */
/* The tensors of a tower of grids, by the traits of its type. */
#include "models/vision/grid/grid.h"

enum { D, QKV, INNER, CHANNELS, TIME, PATCH, MERGED, OUT, TABLE, HEAD, SIDE, WIDE, DIMS };
enum {
    LAYER_NORM = 1,
    PLAIN = 2,
    LINEAR_NAMES = 4,
    GATED = 8,
    PATCH_BIAS = 16,
    PLAIN_MERGER = 32,
    POSITIONS = 64,
    BLOCK_BIAS = 128,
    QK_NORM = 256,
    DOWNSAMPLE = 512
};

static const vlm_weight_row block_rows[] = {
    VLM_BIND_NORM(grid_block, norm1, "blocks.%d.norm1", LAYER_NORM, D),
    VLM_BIND_LINEAR(grid_block, qkv, "blocks.%d.attn.qkv", BLOCK_BIAS, QKV, D),
    VLM_BIND_LINEAR(grid_block, proj, "blocks.%d.attn.proj", BLOCK_BIAS, D, D),
    VLM_BIND_NORM_IF(QK_NORM, grid_block, q_norm, "blocks.%d.attn.q_norm", VLM_NEVER, HEAD),
    VLM_BIND_NORM_IF(QK_NORM, grid_block, k_norm, "blocks.%d.attn.k_norm", VLM_NEVER, HEAD),
    VLM_BIND_NORM(grid_block, norm2, "blocks.%d.norm2", LAYER_NORM, D),
    VLM_BIND_LINEAR_IF(PLAIN, grid_block, mlp.fc1, "blocks.%d.mlp.fc1", VLM_ALWAYS, INNER, D),
    VLM_BIND_LINEAR_IF(PLAIN, grid_block, mlp.fc2, "blocks.%d.mlp.fc2", VLM_ALWAYS, D, INNER),
    VLM_BIND_LINEAR_IF(LINEAR_NAMES, grid_block, mlp.fc1, "blocks.%d.mlp.linear_fc1", VLM_ALWAYS,
                       INNER, D),
    VLM_BIND_LINEAR_IF(LINEAR_NAMES, grid_block, mlp.fc2, "blocks.%d.mlp.linear_fc2", VLM_ALWAYS, D,
                       INNER),
    VLM_BIND_LINEAR_IF(GATED, grid_block, gated.gate_proj, "blocks.%d.mlp.gate_proj", BLOCK_BIAS,
                       INNER, D),
    VLM_BIND_LINEAR_IF(GATED, grid_block, gated.up_proj, "blocks.%d.mlp.up_proj", BLOCK_BIAS, INNER,
                       D),
    VLM_BIND_LINEAR_IF(GATED, grid_block, gated.down_proj, "blocks.%d.mlp.down_proj", BLOCK_BIAS, D,
                       INNER),
};
static const vlm_weight_row tower_rows[] = {
    VLM_BIND_CONV(grid_tower, patch_embed, "patch_embed.proj", PATCH_BIAS, D, CHANNELS, TIME, PATCH,
                  PATCH),
    VLM_BIND_ROW_(MATRIX, POSITIONS, grid_tower, pos_embed, "pos_embed", VLM_NEVER, TABLE, D),
    VLM_BIND_NORM_IF(PLAIN_MERGER, grid_tower, merger.norm, "merger.ln_q", LAYER_NORM, D),
    VLM_BIND_LINEAR_IF(PLAIN_MERGER, grid_tower, merger.mlp.fc1, "merger.mlp.0", VLM_ALWAYS, MERGED,
                       MERGED),
    VLM_BIND_LINEAR_IF(PLAIN_MERGER, grid_tower, merger.mlp.fc2, "merger.mlp.2", VLM_ALWAYS, OUT,
                       MERGED),
    VLM_BIND_NORM_IF(LINEAR_NAMES, grid_tower, merger.norm, "merger.norm", LAYER_NORM, D),
    VLM_BIND_LINEAR_IF(LINEAR_NAMES, grid_tower, merger.mlp.fc1, "merger.linear_fc1", VLM_ALWAYS,
                       MERGED, MERGED),
    VLM_BIND_LINEAR_IF(LINEAR_NAMES, grid_tower, merger.mlp.fc2, "merger.linear_fc2", VLM_ALWAYS,
                       OUT, MERGED),
    VLM_BIND_IGNORED("rotary_pos_emb.inv_freq"),
};
static const vlm_weight_row downsample_rows[] = {
    VLM_BIND_NORM(grid_downsample, norm, "post_layernorm", VLM_NEVER, D),
    VLM_BIND_CONV(grid_downsample, conv, "downsample", VLM_ALWAYS, OUT, D, SIDE, SIDE),
    VLM_BIND_LINEAR(grid_downsample, proj, "merger.proj", VLM_NEVER, OUT, OUT),
    VLM_BIND_NORM(grid_downsample, proj_norm, "merger.post_projection_norm", VLM_ALWAYS, OUT),
    VLM_BIND_LINEAR(grid_downsample, mlp.gate_proj, "merger.gate_proj", VLM_NEVER, WIDE, OUT),
    VLM_BIND_LINEAR(grid_downsample, mlp.up_proj, "merger.up_proj", VLM_NEVER, WIDE, OUT),
    VLM_BIND_LINEAR(grid_downsample, mlp.down_proj, "merger.down_proj", VLM_NEVER, OUT, WIDE),
};
static const vlm_weight_row deep_rows[] = {
    VLM_BIND_NORM(grid_merger, norm, "deepstack_merger_list.%d.norm", LAYER_NORM, MERGED),
    VLM_BIND_LINEAR(grid_merger, mlp.fc1, "deepstack_merger_list.%d.linear_fc1", VLM_ALWAYS, MERGED,
                    MERGED),
    VLM_BIND_LINEAR(grid_merger, mlp.fc2, "deepstack_merger_list.%d.linear_fc2", VLM_ALWAYS, OUT,
                    MERGED),
};
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static vlm_status bind_block(grid_block *block, const grid_tower *t, vlm_build *build,
                             const vlm_binding *at, vlm_error *err) {
    const int64_t dim = t->config.hidden_size;
    block->norm1 = block->norm2 = block->q_norm = block->k_norm =
        (vlm_norm) { .eps = t->config.norm_eps };
    block->mlp.act = block->gated.act = (vlm_activation)t->config.hidden_act;
    VTRY(vlm_bind(build, block, block_rows, COUNT(block_rows), at, err));
    block->q = vmodel_linear_outputs(&block->qkv, 0, dim);
    block->k = vmodel_linear_outputs(&block->qkv, dim, dim);
    block->v = vmodel_linear_outputs(&block->qkv, 2 * dim, dim);
    return VLM_OK;
}

static unsigned conditions_of(const grid_tower *t) {
    const grid_type *type = t->type;
    unsigned found = type->linear_names ? LINEAR_NAMES : type->downsamples ? DOWNSAMPLE : PLAIN_MERGER;
    if (t->config.attention_bias) found |= BLOCK_BIAS;
    if (type->qk_norm) found |= QK_NORM;
    if (type->gated)
        found |= GATED;
    else if (!type->linear_names)
        found |= PLAIN;
    if (type->layer_norm) found |= LAYER_NORM;
    if (type->patch_bias) found |= PATCH_BIAS;
    return t->table_side ? found | POSITIONS : found;
}

vlm_status vmodel_grid_bind(grid_tower *t, vlm_build *build, const char *prefix, vlm_error *err) {
    const grid_config *c = &t->config;
    const int64_t dim = c->hidden_size;
    const int64_t dims[DIMS] = {
        dim,           3 * dim,       c->intermediate_size, c->in_channels, c->temporal_patch_size,
        c->patch_size, dim * t->unit, c->out_hidden_size, c->num_position_embeddings,
        dim / c->num_heads, c->spatial_merge_size, c->out_hidden_size * c->in_channels
    };
    const grid_merger merger = { .norm.eps = c->norm_eps, .mlp.act = VLM_ACT_GELU };
    vlm_binding at = { .prefix = prefix, .dims = dims, .conditions = conditions_of(t) };
    t->merger = merger;
    VTRY(vlm_bind(build, t, tower_rows, COUNT(tower_rows), &at, err));
    for (; at.layer < c->depth; at.layer++)
        VTRY(bind_block(&t->blocks[at.layer], t, build, &at, err));
    if (t->type->downsamples) {
        t->downsample.norm.eps = c->norm_eps;
        t->downsample.proj_norm.eps = 1e-5f;
        t->downsample.mlp.act = (vlm_activation)c->hidden_act;
        VTRY(vlm_bind(build, &t->downsample, downsample_rows, COUNT(downsample_rows), &at, err));
    }
    for (at.layer = 0; at.layer < c->deepstack_visual_indexes.n; at.layer++) {
        t->deep[at.layer] = merger;
        t->deep[at.layer].norms_joined = true;
        VTRY(vlm_bind(build, &t->deep[at.layer], deep_rows, COUNT(deep_rows), &at, err));
    }
    return VLM_OK;
}
