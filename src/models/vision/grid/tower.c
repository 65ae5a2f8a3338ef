/* SPDX-License-Identifier: MIT */
/* The pass through a tower of grids. Frames know nothing of each other, so it goes frame by frame and
 * its memory is that of one; in it, rows stand window by window. */
#include <math.h>

#include "models/vision/grid/grid.h"

/* What the blocks of a frame share. */
typedef struct frame_state {
    vlm_rope_table rope;
    const grid_layout *layout;
} frame_state;

static vlm_tensor normed(vlm_frame *f, const grid_tower *t, vlm_tensor x, const vlm_norm *norm) {
    return t->type->layer_norm ? vlm_layer_norm(f, x, norm) : vlm_rms_norm(f, x, norm);
}

/* ---- blocks ---------------------------------------------------------------------------------- */
/* x += proj(attention(norm(x))), x [n, dim] */
static void attention_block(vlm_frame *f, const grid_tower *t, const grid_block *block,
                            vlm_tensor x, const frame_state *s) {
    const vlm_linear *const linears[] = { &block->q, &block->k, &block->v };
    const int64_t dim = t->config.hidden_size, heads = t->config.num_heads;
    const vlm_attention_desc desc = { .scale = t->attention_scale, .rope = &s->rope, .pairs = VLM_ROPE_HALVES };
    const vlm_segment frame = { .length = x.shape[0] };
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor qkv[3]; /* [n, dim] each */
    if (t->type->layer_norm)
        vlm_apply_linears(f, qkv, vlm_layer_norm(f, x, &block->norm1), linears, 3);
    else
        vlm_apply_norm_linears(f, qkv, x, &block->norm1, linears, 3);
    for (int i = 0; i < 3; i++) qkv[i] = vlm_reshape3(f, qkv[i], -1, heads, dim / heads);
    if (t->type->qk_norm) {
        qkv[0] = vlm_rms_norm(f, qkv[0], &block->q_norm);
        qkv[1] = vlm_rms_norm(f, qkv[1], &block->k_norm);
    }
    const vlm_segment *segments = block->full ? &frame : s->layout->windows;
    vlm_add_attention(f, x, qkv[0], qkv[1], qkv[2], segments, block->full ? 1 : s->layout->n_windows, &desc, &block->proj);
    vlm_scope_end(f, scope);
}

/* x += mlp(norm(x)), x [n, dim] */
static void mlp_block(vlm_frame *f, const grid_tower *t, const grid_block *block, vlm_tensor x) {
    for (vlm_pieces p = vlm_pieces_of(f, x, t->config.intermediate_size); vlm_pieces_next(&p);) {
        if (t->type->gated)
            vlm_add_gated_mlp(f, p.rows, &block->norm2, &block->gated);
        else
            vlm_add_to(f, p.rows,
                       vlm_apply_mlp(f, normed(f, t, p.rows, &block->norm2), &block->mlp));
    }
}

/* ---- into the frame's order and out of it ---------------------------------------------------- */
static vlm_tensor decoded(vlm_frame *f, const vlm_matrix *table) {
    int32_t *rows = vcore_alloc_array((size_t)table->out, sizeof *rows);
    if (!rows) return vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
    for (int64_t i = 0; i < table->out; i++) rows[i] = (int32_t)i;
    vlm_tensor x = vlm_embed(f, table, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &table->out, rows));
    vcore_free(rows);
    return x;
}

static vlm_tensor index_of(vlm_frame *f, const int32_t *host, int64_t n) {
    return vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, host);
}

/* x [units, unit * dim] = embedded patches, each unit at its place. @param pixels [patches, values] */
static void embed(vlm_frame *f, const grid_tower *t, vlm_tensor x, vlm_tensor pixels,
                  const grid_layout *l) {
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

/* x [patches, dim] += the learned table of positions, interpolated at every patch. */
static void add_positions(vlm_frame *f, const grid_tower *t, vlm_tensor x, const grid_layout *l) {
    const int64_t shape[] = { x.shape[0], 4 };
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor table = t->pos_embed.data;
    if (t->pos_embed.storage != VLM_STORAGE_DENSE) table = decoded(f, &t->pos_embed);
    vlm_add_to(f, x, vlm_blend(f, table, vlm_tensor_from(f, VLM_DTYPE_I32, 2, shape, l->taps),
                               vlm_tensor_from(f, VLM_DTYPE_F32, 2, shape, l->weights)));
    vlm_scope_end(f, scope);
}

/* Rows of units [n, unit * dim] as one each, [n, out dim]. */
static vlm_tensor joined(vlm_frame *f, const grid_tower *t, const grid_merger *merger, vlm_tensor x) {
    const int64_t width = merger->norms_joined ? x.shape[1] : t->config.hidden_size;
    vlm_tensor y = normed(f, t, vlm_reshape2(f, x, -1, width), &merger->norm);
    return vlm_apply_mlp(f, vlm_reshape2(f, y, -1, x.shape[1]), &merger->mlp);
}

static vlm_tensor downsampled(vlm_frame *f, const grid_tower *t, vlm_tensor x) {
    const grid_downsample *d = &t->downsample;
    vlm_tensor y = normed(f, t, vlm_reshape3(f, x, -1, t->unit, t->config.hidden_size), &d->norm);
    y = vlm_permute(f, y, (int[]) { 0, 2, 1 });
    y = vlm_apply_linear(f, vlm_reshape2(f, y, -1, x.shape[1]), &d->conv);
    y = vlm_layer_norm(f, vlm_apply_linear(f, y, &d->proj), &d->proj_norm);
    vlm_activation_to(f, y, VLM_ACT_GELU);
    return vlm_apply_gated_mlp(f, y, &d->mlp);
}

/* out [units, out dim] = merged units of x [units, unit * dim], each back in the picture's order.
 * @param merger NULL: by the convolution */
static void merge(vlm_frame *f, const grid_tower *t, const grid_merger *merger, vlm_tensor out,
                  vlm_tensor x, const grid_layout *l) {
    vlm_tensor order = index_of(f, l->order, x.shape[0]);
    int64_t at = 0;
    for (vlm_pieces p = vlm_pieces_of(f, x, x.shape[1]); vlm_pieces_next(&p);
         at += p.rows.shape[0]) {
        vlm_tensor y = merger ? joined(f, t, merger, p.rows) : downsampled(f, t, p.rows);
        vlm_scatter_to(f, out, vlm_rows(f, order, at, p.rows.shape[0]), y);
    }
}

/* ---- the forward pass ------------------------------------------------------------------------ */
/* What a pass gives, of all rows or of a frame's: each [units, out dim]. */
typedef struct results {
    vlm_tensor rows, deep[VLM_MAX_DEEP];
    int n_deep; /* 0: not wanted */
} results;

/* One frame. @param pixels [patches, values] */
static void encode(vlm_frame *f, const grid_tower *t, const results *out, vlm_tensor pixels,
                   const grid_layout *l) {
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
    if (t->table_side && vlm_frame_ok(f)) add_positions(f, t, x, l);
    int deep = 0;
    for (int64_t i = 0; i < t->config.depth && vlm_frame_ok(f); i++) {
        const grid_block *block = &t->blocks[i];
        attention_block(f, t, block, x, &s);
        mlp_block(f, t, block, x);
        if (block->deep && out->n_deep) merge(f, t, block->deep, out->deep[deep++], units, l);
    }
    if (vlm_frame_ok(f)) merge(f, t, t->type->downsamples ? NULL : &t->merger, out->rows, units, l);
    vlm_scope_end(f, scope);
}

/* Whether the grids are of whole units and cover the rows. */
static bool grids_fit(const grid_tower *t, const vlm_vision_input *input) {
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

static results all_rows(vlm_frame *f, const grid_tower *t, const vlm_vision_input *input) {
    const int64_t shape[] = { input->pixels.shape[0] / t->unit, t->config.out_hidden_size };
    results all = { .n_deep = input->deep ? t->base.info.n_deep : 0 };
    all.rows = vlm_tensor_new(f, VLM_DTYPE_F32, 2, shape);
    for (int i = 0; i < all.n_deep; i++)
        input->deep[i] = all.deep[i] = vlm_tensor_new(f, VLM_DTYPE_F32, 2, shape);
    return all;
}

static results rows_of_frame(vlm_frame *f, const results *all, int64_t at, int64_t units) {
    results part = { .rows = vlm_rows(f, all->rows, at, units), .n_deep = all->n_deep };
    for (int i = 0; i < all->n_deep; i++) part.deep[i] = vlm_rows(f, all->deep[i], at, units);
    return part;
}

static vlm_tensor forward(vlm_frame *f, const vlm_vision *vision, const vlm_vision_input *input) {
    const grid_tower *t = (const grid_tower *)vision;
    if (!vlm_frame_ok(f)) return (vlm_tensor) { 0 };
    if (!grids_fit(t, input))
        return vlm_frame_fail(
            f, VLM_ERR_PROCESSING,
            "vision tower: %lld rows of %lld values do not fit %d grids of patches of %lld "
            "values",
            (long long)input->pixels.shape[0], (long long)input->pixels.shape[1], input->n_grids,
            (long long)t->patch_embed.weight.in);
    const results all = all_rows(f, t, input);
    int64_t at = 0; /* in patches */
    for (int i = 0; i < input->n_grids && vlm_frame_ok(f); i++) {
        const int64_t *grid = input->grids + 3 * i, patches = grid[1] * grid[2];
        grid_layout l;
        if (!vmodel_grid_layout_new(&l, t, grid))
            return vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
        for (int64_t time = 0; time < grid[0] && vlm_frame_ok(f); time++, at += patches) {
            const results out = rows_of_frame(f, &all, at / t->unit, patches / t->unit);
            encode(f, t, &out, vlm_rows(f, input->pixels, at, patches), &l);
        }
        vmodel_grid_layout_free(&l);
    }
    return all.rows;
}

/* ---- building -------------------------------------------------------------------------------- */
/* A quarter of a head's elements turns by the row, the next by the column, as pairs of halves. */
static vlm_status find_frequencies(grid_tower *t, vlm_build *build, vlm_error *err) {
    const int64_t head_dim = t->config.hidden_size / t->config.num_heads, quarter = head_dim / 4;
    t->inv_freq = vlm_build_alloc(build, (size_t)(2 * quarter), sizeof *t->inv_freq);
    t->axis_of = vlm_build_alloc(build, (size_t)(2 * quarter), sizeof *t->axis_of);
    if (!t->inv_freq || !t->axis_of) return vcore_no_memory(err, "vision tower");
    vlm_rope_frequencies(t->inv_freq, (int)(2 * quarter), t->config.rope_theta);
    for (int64_t i = 0; i < quarter; i++) {
        t->inv_freq[quarter + i] = t->inv_freq[i];
        t->axis_of[quarter + i] = 1;
    }
    t->attention_scale = (float)(1 / sqrt((double)head_dim));
    return VLM_OK;
}

/* Which blocks have windows and which have a merger of their own. */
static vlm_status make_blocks(grid_tower *t, vlm_build *build, vlm_error *err) {
    const grid_config *c = &t->config;
    const vlm_ints *full = &c->fullatt_block_indexes, *deep = &c->deepstack_visual_indexes;
    t->blocks = vlm_build_alloc(build, (size_t)c->depth, sizeof *t->blocks);
    t->deep = vlm_build_alloc(build, (size_t)deep->n + 1, sizeof *t->deep);
    if (!t->blocks || !t->deep) return vcore_no_memory(err, "vision tower");
    for (int64_t i = 0; i < full->n; i++)
        if (full->at[i] < c->depth) t->blocks[full->at[i]].full = true;
    for (int64_t i = 0; i < deep->n; i++) {
        if (deep->at[i] >= c->depth || t->blocks[deep->at[i]].deep) continue;
        t->blocks[deep->at[i]].deep = &t->deep[i];
        t->base.info.n_deep++;
    }
    return VLM_OK;
}

vlm_status vmodel_grid_new(vlm_vision **out, const grid_type *type, vlm_build *build,
                           const vlm_vision_options *options, vlm_error *err) {
    grid_tower *t = vlm_build_alloc(build, 1, sizeof *t);
    if (!t) return vcore_no_memory(err, "vision tower");
    grid_config *c = &t->config;
    t->type = type;
    VTRY(vmodel_grid_config_read(c, type, options->config, err));
    VTRY(find_frequencies(t, build, err));
    t->unit = c->spatial_merge_size * c->spatial_merge_size;
    t->window_side = c->window_size / c->spatial_merge_size / c->patch_size;
    t->table_side = (int64_t)sqrt((double)c->num_position_embeddings);
    t->base.forward = forward;
    t->base.info = (vlm_vision_info) { .dim = c->out_hidden_size,
                                       .channels = c->in_channels,
                                       .patch_size = c->patch_size };
    VTRY(make_blocks(t, build, err));
    VTRY(vmodel_grid_bind(t, build, options->prefix, err));
    *out = &t->base;
    return VLM_OK;
}
