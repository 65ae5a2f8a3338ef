/* SPDX-License-Identifier: MIT */
/* Reading the vision_config of a tower of grids: fields with their ranges and what must hold between
 * them. */
#include "models/vision/grid/grid.h"

#define WHERE "config.json: vision_config"
#define ROW(m, k, lo, hi) VLM_INT(grid_config, m, k, lo, hi, VLM_KEEP)
#define INT(m, lo, hi) ROW(m, #m, lo, hi)
#define MOST_INNER (1 << 18)

static const struct {
    unsigned keys; /* of the types that read it; 0: all */
    vlm_config_field field;
} fields[] = {
    { 0, INT(depth, 1, 1024) },
    { GRID_WIDTHS, INT(hidden_size, 1, 1 << 16) },
    { GRID_WIDTHS, INT(intermediate_size, 1, MOST_INNER) },
    { GRID_WIDTHS, INT(out_hidden_size, 1, 1 << 16) },
    { GRID_EMBED_DIM, ROW(hidden_size, "embed_dim", 1, 1 << 16) },
    { GRID_EMBED_DIM, ROW(out_hidden_size, "hidden_size", 1, 1 << 16) },
    { GRID_EMBED_DIM, VLM_DOUBLE(grid_config, mlp_ratio, "mlp_ratio", 1e-3, 1024, VLM_KEEP) },
    { 0, ROW(num_heads, "num_heads|num_attention_heads", 1, 1024) },
    { 0, INT(in_channels, 1, 16) },
    { 0, INT(patch_size, 1, 1024) },
    { 0, INT(temporal_patch_size, 1, 16) },
    { 0, INT(spatial_merge_size, 1, 16) },
    { GRID_WINDOWS, INT(window_size, 1, 1 << 20) },
    { 0, VLM_NAME(grid_config, hidden_act, "hidden_act", vlm_activation_names, VLM_KEEP) },
    { 0, VLM_REAL(grid_config, rope_theta, "rope_parameters.rope_theta", 1, 1e12, VLM_KEEP) },
    { GRID_WINDOWS,
      VLM_INTS(grid_config, fullatt_block_indexes, "fullatt_block_indexes", 0, 1023) },
    { GRID_GLM, VLM_REAL(grid_config, norm_eps, "rms_norm_eps", 0, 1, VLM_KEEP) },
    { GRID_GLM, VLM_BOOL(grid_config, attention_bias, "attention_bias", VLM_KEEP) },
    { GRID_DEEPSTACK, INT(num_position_embeddings, 1, 1 << 20) },
    { GRID_DEEPSTACK,
      VLM_INTS(grid_config, deepstack_visual_indexes, "deepstack_visual_indexes", 0, 1023) },
};

static vlm_status check(grid_config *c, vlm_error *err) {
    if (c->hidden_size % c->num_heads != 0 || c->hidden_size / c->num_heads % 4 != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "num_heads",
                                "%lld heads of hidden_size %lld are no whole multiples of 4",
                                (long long)c->num_heads, (long long)c->hidden_size);
    if (c->window_size && c->window_size < c->patch_size * c->spatial_merge_size)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "window_size",
                                "%lld is less than patch_size %lld times spatial_merge_size %lld",
                                (long long)c->window_size, (long long)c->patch_size,
                                (long long)c->spatial_merge_size);
    if (c->mlp_ratio > 0) c->intermediate_size = (int64_t)((double)c->hidden_size * c->mlp_ratio);
    if (c->intermediate_size < 1 || c->intermediate_size > MOST_INNER)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "mlp_ratio", "%g of embed_dim %lld is not in [1, %d]",
                                c->mlp_ratio, (long long)c->hidden_size, MOST_INNER);
    if (c->deepstack_visual_indexes.n > VLM_MAX_DEEP)
        return vcore_fail_field(err, VLM_ERR_LIMIT, WHERE, "deepstack_visual_indexes",
                                "%lld blocks, at most %d", (long long)c->deepstack_visual_indexes.n,
                                VLM_MAX_DEEP);
    return VLM_OK;
}

/* A list has no default in its row: one that is absent keeps the type's. */
static bool is_absent(const vlm_json *json, const char *key) {
    return vcore_json_kind_of(vcore_json_get(json, key)) == VCORE_JSON_NULL;
}

vlm_status vmodel_grid_config_read(grid_config *out, const grid_type *type, const vlm_json *json,
                                   vlm_error *err) {
    *out = type->defaults;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (!fields[i].keys || type->keys & fields[i].keys)
            VTRY(vlm_config_read(out, json, WHERE, &fields[i].field, 1, err));
    if (is_absent(json, "fullatt_block_indexes"))
        out->fullatt_block_indexes = type->defaults.fullatt_block_indexes;
    if (is_absent(json, "deepstack_visual_indexes"))
        out->deepstack_visual_indexes = type->defaults.deepstack_visual_indexes;
    return check(out, err);
}
