/* SPDX-License-Identifier: MIT */
/* The tower of Qwen2.5-VL: patches of any grid, attention within windows but for some blocks, 2-D
 * rotary positions, a merger that makes one row of a square of patches (a unit). Frames know
 * nothing of each other, so the pass goes frame by frame and its memory is that of one; in it, rows
 * stand window by window. */
#include <math.h>

#include "models/vision/vision.h"

typedef struct qwen2_5_vl_config {
    int64_t depth, hidden_size, intermediate_size, out_hidden_size, num_heads;
    int64_t in_channels, patch_size, temporal_patch_size, spatial_merge_size, window_size;
    int hidden_act;
    float rope_theta;
    vlm_ints fullatt_block_indexes;
} qwen2_5_vl_config;

typedef struct qwen2_5_vl_block {
    vlm_norm norm1, norm2;
    vlm_linear qkv, q, k, v; /* the latter three are views of the first */
    vlm_linear proj;
    vlm_gated_mlp mlp;
    bool full; /* attends within the frame, not within windows */
} qwen2_5_vl_block;

typedef struct qwen2_5_vl {
    vlm_vision base;
    qwen2_5_vl_config config;
    int64_t unit;        /* patches that become one row */
    int64_t window_side; /* in units */
    float attention_scale;
    float *inv_freq;  /* [head_dim / 2]: of rows, then of columns */
    uint8_t *axis_of; /* [head_dim / 2] */
    vlm_linear patch_embed;
    qwen2_5_vl_block *blocks;
    vlm_norm ln_q;
    vlm_mlp merger;
} qwen2_5_vl;

/* ---- config ---------------------------------------------------------------------------------- */
#define WHERE "config.json: vision_config"
#define INT(m, lo, hi, d) VLM_INT(qwen2_5_vl_config, m, #m, lo, hi, d)
static const vlm_config_field fields[] = {
    INT(depth, 1, 1024, 32),
    INT(hidden_size, 1, 1 << 16, 3584),
    INT(intermediate_size, 1, 1 << 18, 3420),
    INT(out_hidden_size, 1, 1 << 16, 3584),
    VLM_INT(qwen2_5_vl_config, num_heads, "num_heads|num_attention_heads", 1, 1024, 16),
    INT(in_channels, 1, 16, 3),
    INT(patch_size, 1, 1024, 14),
    INT(temporal_patch_size, 1, 16, 2),
    INT(spatial_merge_size, 1, 16, 2),
    INT(window_size, 1, 1 << 20, 112),
    VLM_NAME(qwen2_5_vl_config, hidden_act, "hidden_act", vlm_activation_names, VLM_ACT_SILU),
    VLM_REAL(qwen2_5_vl_config, rope_theta, "rope_parameters.rope_theta", 1, 1e12, 1e4),
    VLM_INTS(qwen2_5_vl_config, fullatt_block_indexes, "fullatt_block_indexes", 0, 1023),
};
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static vlm_status check(const qwen2_5_vl_config *c, vlm_error *err) {
    if (c->hidden_size % c->num_heads != 0 || c->hidden_size / c->num_heads % 4 != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "num_heads",
                                "%lld heads of hidden_size %lld are no whole multiples of 4",
                                (long long)c->num_heads, (long long)c->hidden_size);
    if (c->window_size < c->patch_size * c->spatial_merge_size)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "window_size",
                                "%lld is less than patch_size %lld times spatial_merge_size %lld",
                                (long long)c->window_size, (long long)c->patch_size,
                                (long long)c->spatial_merge_size);
    return VLM_OK;
}

static vlm_status read_config(qwen2_5_vl_config *c, const vlm_json *json, vlm_error *err) {
    static const vlm_ints last_of_four_quarters = { 4, { 7, 15, 23, 31 } };
    VTRY(vlm_config_read(c, json, WHERE, fields, COUNT(fields), err));
    if (vcore_json_kind_of(vcore_json_get(json, "fullatt_block_indexes")) == VCORE_JSON_NULL)
        c->fullatt_block_indexes = last_of_four_quarters;
    return check(c, err);
}

/* ---- weights --------------------------------------------------------------------------------- */
enum { D, QKV, INNER, CHANNELS, TIME, PATCH, MERGED, OUT, DIMS };
static const vlm_weight_row block_rows[] = {
    VLM_BIND_NORM(qwen2_5_vl_block, norm1, "blocks.%d.norm1", VLM_NEVER, D),
    VLM_BIND_LINEAR(qwen2_5_vl_block, qkv, "blocks.%d.attn.qkv", VLM_ALWAYS, QKV, D),
    VLM_BIND_LINEAR(qwen2_5_vl_block, proj, "blocks.%d.attn.proj", VLM_ALWAYS, D, D),
    VLM_BIND_NORM(qwen2_5_vl_block, norm2, "blocks.%d.norm2", VLM_NEVER, D),
    VLM_BIND_LINEAR(qwen2_5_vl_block, mlp.gate_proj, "blocks.%d.mlp.gate_proj", VLM_ALWAYS, INNER,
                    D),
    VLM_BIND_LINEAR(qwen2_5_vl_block, mlp.up_proj, "blocks.%d.mlp.up_proj", VLM_ALWAYS, INNER, D),
    VLM_BIND_LINEAR(qwen2_5_vl_block, mlp.down_proj, "blocks.%d.mlp.down_proj", VLM_ALWAYS, D,
                    INNER),
};
static const vlm_weight_row tower_rows[] = {
    VLM_BIND_CONV(qwen2_5_vl, patch_embed, "patch_embed.proj", VLM_NEVER, D, CHANNELS, TIME, PATCH,
                  PATCH),
    VLM_BIND_NORM(qwen2_5_vl, ln_q, "merger.ln_q", VLM_NEVER, D),
    VLM_BIND_LINEAR(qwen2_5_vl, merger.fc1, "merger.mlp.0", VLM_ALWAYS, MERGED, MERGED),
    VLM_BIND_LINEAR(qwen2_5_vl, merger.fc2, "merger.mlp.2", VLM_ALWAYS, OUT, MERGED),
    VLM_BIND_IGNORED("rotary_pos_emb.inv_freq"),
};

/* Rows [start, start + count) of a weight, seen where they lie. */
static vlm_tensor rows_of(vlm_tensor x, int64_t start, int64_t count) {
    size_t skipped = (size_t)(start * x.stride[0]) * vtensor_dtype_size(x.dtype);
    if (x.rank == 0) return x;
    if (x.data) x.data = (char *)x.data + skipped;
    x.shape[0] = count;
    return x;
}

static vlm_linear outputs_of(const vlm_linear *fused, int64_t start, int64_t count) {
    vlm_linear part = *fused;
    part.weight.out = count;
    part.weight.data = rows_of(part.weight.data, start, count);
    part.weight.scales = rows_of(part.weight.scales, start, count);
    part.weight.biases = rows_of(part.weight.biases, start, count);
    part.bias = rows_of(part.bias, start, count);
    return part;
}

static vlm_status bind(qwen2_5_vl *t, vlm_build *build, const char *prefix, vlm_error *err) {
    const qwen2_5_vl_config *c = &t->config;
    const vlm_norm norm = { .eps = 1e-6f };
    const int64_t dim = c->hidden_size;
    const int64_t dims[DIMS] = {
        dim,           3 * dim,       c->intermediate_size, c->in_channels, c->temporal_patch_size,
        c->patch_size, dim * t->unit, c->out_hidden_size
    };
    vlm_binding at = { .prefix = prefix, .dims = dims };
    t->ln_q = norm;
    VTRY(vlm_bind(build, t, tower_rows, COUNT(tower_rows), &at, err));
    for (; at.layer < c->depth; at.layer++) {
        qwen2_5_vl_block *block = &t->blocks[at.layer];
        block->norm1 = block->norm2 = norm;
        block->mlp.act = (vlm_activation)c->hidden_act;
        VTRY(vlm_bind(build, block, block_rows, COUNT(block_rows), &at, err));
        block->q = outputs_of(&block->qkv, 0, dim);
        block->k = outputs_of(&block->qkv, dim, dim);
        block->v = outputs_of(&block->qkv, 2 * dim, dim);
    }
    return VLM_OK;
}

/* ---- where patches stand --------------------------------------------------------------------- */
/* A frame's units in the order of its windows. */
typedef struct layout {
    int64_t rows, columns; /* in units */
    int32_t *order;        /* [units] unit of the picture at each place */
    int32_t *place;        /* [units] the inverse of order */
    int32_t *positions;    /* [2, patches] row and column of the patch at each place */
    vlm_segment *windows;  /* [n_windows] */
    int n_windows;
} layout;

static void layout_free(layout *l) {
    vcore_free(l->order);
    vcore_free(l->positions);
    vcore_free(l->windows);
}

/* Adds the window whose first unit is (top, left), cut off at the picture's edge. */
static void add_window(layout *l, const qwen2_5_vl *t, int64_t top, int64_t left, int32_t *at) {
    const int64_t merge = t->config.spatial_merge_size, patches = l->rows * l->columns * t->unit;
    const int64_t bottom = top + t->window_side, right = left + t->window_side;
    vlm_segment *window = &l->windows[l->n_windows++];
    *window = (vlm_segment) { .start = *at * t->unit };
    for (int64_t y = top; y < bottom && y < l->rows; y++) {
        for (int64_t x = left; x < right && x < l->columns; x++, ++*at) {
            l->order[*at] = (int32_t)(y * l->columns + x);
            l->place[l->order[*at]] = *at;
            for (int64_t k = 0; k < t->unit; k++) {
                int32_t *position = &l->positions[*at * t->unit + k];
                position[0] = (int32_t)(y * merge + k / merge);
                position[patches] = (int32_t)(x * merge + k % merge);
            }
        }
    }
    window->length = *at * t->unit - window->start;
}

/* @param grid time, height, width in patches, checked */
static bool layout_new(layout *l, const qwen2_5_vl *t, const int64_t *grid) {
    const int64_t merge = t->config.spatial_merge_size, side = t->window_side;
    *l = (layout) { .rows = grid[1] / merge, .columns = grid[2] / merge };
    size_t units = (size_t)(l->rows * l->columns);
    size_t windows = (size_t)(((l->rows - 1) / side + 1) * ((l->columns - 1) / side + 1));
    l->order = vcore_alloc_array(2 * units, sizeof *l->order);
    l->positions = vcore_alloc_array(2 * units, (size_t)t->unit * sizeof *l->positions);
    l->windows = vcore_alloc_array(windows, sizeof *l->windows);
    if (!l->order || !l->positions || !l->windows) {
        layout_free(l);
        return false;
    }
    l->place = l->order + units;
    int32_t at = 0;
    for (int64_t top = 0; top < l->rows; top += side)
        for (int64_t left = 0; left < l->columns; left += side) add_window(l, t, top, left, &at);
    return true;
}

/* ---- the forward pass ------------------------------------------------------------------------ */
/* What the blocks of a frame share. */
typedef struct frame_state {
    vlm_rope_table rope;
    const layout *layout;
} frame_state;

/* x += proj(attention(norm(x))), x [n, dim] */
static void attention_block(vlm_frame *f, const qwen2_5_vl *t, const qwen2_5_vl_block *block,
                            vlm_tensor x, const frame_state *s) {
    const vlm_linear *const linears[] = { &block->q, &block->k, &block->v };
    const int64_t dim = t->config.hidden_size, heads = t->config.num_heads;
    const vlm_attention_desc desc = { .scale = t->attention_scale, .rope = &s->rope, .pairs = VLM_ROPE_HALVES };
    const vlm_segment frame = { .length = x.shape[0] };
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor qkv[3]; /* [n, dim] each */
    vlm_apply_norm_linears(f, qkv, x, &block->norm1, linears, 3);
    for (int i = 0; i < 3; i++) qkv[i] = vlm_reshape3(f, qkv[i], -1, heads, dim / heads);
    const vlm_segment *segments = block->full ? &frame : s->layout->windows;
    vlm_tensor a = vlm_attention(f, qkv[0], qkv[1], qkv[2], segments,
                                 block->full ? 1 : s->layout->n_windows, &desc);
    vlm_add_linear(f, x, vlm_reshape2(f, a, -1, dim), &block->proj);
    vlm_scope_end(f, scope);
}

/* x += mlp(norm(x)), x [n, dim] */
static void mlp_block(vlm_frame *f, const qwen2_5_vl *t, const qwen2_5_vl_block *block,
                      vlm_tensor x) {
    for (vlm_pieces p = vlm_pieces_of(f, x, t->config.intermediate_size); vlm_pieces_next(&p);)
        vlm_add_gated_mlp(f, p.rows, &block->norm2, &block->mlp);
}

static vlm_tensor index_of(vlm_frame *f, const int32_t *host, int64_t n) {
    return vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, host);
}

/* x [units, unit * dim] = embedded patches, each unit at its place. @param pixels [patches, values]
 */
static void embed(vlm_frame *f, const qwen2_5_vl *t, vlm_tensor x, vlm_tensor pixels,
                  const layout *l) {
    const int64_t units = x.shape[0], values = t->patch_embed.weight.in;
    vlm_tensor place = index_of(f, l->place, units);
    int64_t at = 0;
    pixels = vlm_reshape2(f, pixels, units, t->unit * values);
    for (vlm_pieces p = vlm_pieces_of(f, pixels, x.shape[1]); vlm_pieces_next(&p);
         at += p.rows.shape[0]) {
        vlm_tensor y = vlm_apply_linear(f, vlm_reshape2(f, p.rows, -1, values), &t->patch_embed);
        vlm_scatter_to(f, x, vlm_rows(f, place, at, p.rows.shape[0]),
                       vlm_reshape2(f, y, -1, x.shape[1]));
    }
}

/* out [units, out dim] = merged units of x [units, unit * dim], each back in the picture's order.
 */
static void merge(vlm_frame *f, const qwen2_5_vl *t, vlm_tensor out, vlm_tensor x,
                  const layout *l) {
    vlm_tensor order = index_of(f, l->order, x.shape[0]);
    int64_t at = 0;
    for (vlm_pieces p = vlm_pieces_of(f, x, x.shape[1]); vlm_pieces_next(&p);
         at += p.rows.shape[0]) {
        vlm_tensor y =
            vlm_rms_norm(f, vlm_reshape2(f, p.rows, -1, t->config.hidden_size), &t->ln_q);
        y = vlm_apply_mlp(f, vlm_reshape2(f, y, -1, x.shape[1]), &t->merger);
        vlm_scatter_to(f, out, vlm_rows(f, order, at, p.rows.shape[0]), y);
    }
}

/* One frame. @param pixels [patches, values] @param out [units, out dim] */
static void encode(vlm_frame *f, const qwen2_5_vl *t, vlm_tensor out, vlm_tensor pixels,
                   const layout *l) {
    const int64_t patches = pixels.shape[0], dim = t->config.hidden_size;
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor x = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { patches, dim });
    vlm_tensor units = vlm_reshape2(f, x, -1, t->unit * dim);
    vlm_tensor positions =
        vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { 2, patches }, l->positions);
    const frame_state s = {
        .rope = vlm_rope_angles(f, positions, t->inv_freq, t->axis_of,
                                (int)(dim / t->config.num_heads / 2)),
        .layout = l,
    };
    if (vlm_frame_ok(f)) embed(f, t, units, pixels, l);
    for (int64_t i = 0; i < t->config.depth && vlm_frame_ok(f); i++) {
        attention_block(f, t, &t->blocks[i], x, &s);
        mlp_block(f, t, &t->blocks[i], x);
    }
    if (vlm_frame_ok(f)) merge(f, t, out, units, l);
    vlm_scope_end(f, scope);
}

/* Whether the grids are of whole units and cover the rows. */
static bool grids_fit(const qwen2_5_vl *t, const vlm_vision_input *input) {
    const int64_t merge = t->config.spatial_merge_size;
    if (input->pixels.rank != 2 || input->pixels.shape[1] != t->patch_embed.weight.in) return false;
    int64_t left = input->pixels.shape[0];
    if (left > INT32_MAX) return false;
    for (int i = 0; i < input->n_grids; i++) {
        const int64_t *g = input->grids + 3 * i;
        if (g[0] < 1 || g[1] < 1 || g[2] < 1 || g[1] % merge != 0 || g[2] % merge != 0)
            return false;
        if (g[0] > left || g[1] > left / g[0] || g[2] > left / g[0] / g[1]) return false;
        left -= g[0] * g[1] * g[2];
    }
    return left == 0;
}

static vlm_tensor forward(vlm_frame *f, const vlm_vision *vision, const vlm_vision_input *input) {
    const qwen2_5_vl *t = (const qwen2_5_vl *)vision;
    if (!vlm_frame_ok(f)) return (vlm_tensor) { 0 };
    if (!grids_fit(t, input))
        return vlm_frame_fail(
            f, VLM_ERR_PROCESSING,
            "vision tower: %lld rows of %lld values do not fit %d grids of patches of %lld "
            "values",
            (long long)input->pixels.shape[0], (long long)input->pixels.shape[1], input->n_grids,
            (long long)t->patch_embed.weight.in);
    vlm_tensor out =
        vlm_tensor_new(f, VLM_DTYPE_F32, 2,
                       (int64_t[]) { input->pixels.shape[0] / t->unit, t->config.out_hidden_size });
    int64_t at = 0; /* in patches */
    for (int i = 0; i < input->n_grids && vlm_frame_ok(f); i++) {
        const int64_t *grid = input->grids + 3 * i, patches = grid[1] * grid[2];
        layout l;
        if (!layout_new(&l, t, grid))
            return vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
        for (int64_t time = 0; time < grid[0] && vlm_frame_ok(f); time++, at += patches)
            encode(f, t, vlm_rows(f, out, at / t->unit, patches / t->unit),
                   vlm_rows(f, input->pixels, at, patches), &l);
        layout_free(&l);
    }
    return out;
}

/* ---- building -------------------------------------------------------------------------------- */
static vlm_status create(vlm_vision **out, vlm_build *build, const vlm_vision_options *options,
                         vlm_error *err) {
    qwen2_5_vl *t = vlm_build_alloc(build, 1, sizeof *t);
    if (!t) return vcore_no_memory(err, "vision tower");
    qwen2_5_vl_config *c = &t->config;
    VTRY(read_config(c, options->config, err));
    int64_t head_dim = c->hidden_size / c->num_heads, quarter = head_dim / 4;
    t->unit = c->spatial_merge_size * c->spatial_merge_size;
    t->window_side = c->window_size / c->spatial_merge_size / c->patch_size;
    t->attention_scale = (float)(1 / sqrt((double)head_dim));
    t->merger.act = VLM_ACT_GELU;
    t->blocks = vlm_build_alloc(build, (size_t)c->depth, sizeof *t->blocks);
    t->inv_freq = vlm_build_alloc(build, (size_t)(2 * quarter), sizeof *t->inv_freq);
    t->axis_of = vlm_build_alloc(build, (size_t)(2 * quarter), sizeof *t->axis_of);
    if (!t->blocks || !t->inv_freq || !t->axis_of) return vcore_no_memory(err, "vision tower");
    vlm_rope_frequencies(t->inv_freq, (int)(2 * quarter), c->rope_theta);
    for (int64_t i = 0; i < quarter; i++) {
        t->inv_freq[quarter + i] = t->inv_freq[i];
        t->axis_of[quarter + i] = 1;
    }
    for (int64_t i = 0; i < c->fullatt_block_indexes.n; i++)
        if (c->fullatt_block_indexes.at[i] < c->depth)
            t->blocks[c->fullatt_block_indexes.at[i]].full = true;
    t->base.forward = forward;
    t->base.info = (vlm_vision_info) { .dim = c->out_hidden_size,
                                       .channels = c->in_channels,
                                       .patch_size = c->patch_size };
    VTRY(bind(t, build, options->prefix, err));
    *out = &t->base;
    return VLM_OK;
}

const vmodel_vision_type vmodel_vision_qwen2_5_vl = {
    .model_type = "qwen2_5_vl_vision|qwen2_5_vl",
    .create = create,
};
