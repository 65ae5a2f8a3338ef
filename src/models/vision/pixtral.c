/* SPDX-License-Identifier: MIT */
/* Pixtral's tower: patches of a picture of any size, rotary positions over rows and columns, pre-norm encoder with RMS
 * norms and gated MLPs. One picture a call: pictures do not see each other, and memory stays that of one. */
#include <math.h>

#include "models/vision/vision.h"

typedef struct pixtral_config {
    int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
    int64_t num_channels, patch_size;
    int hidden_act;
    float rope_theta;
} pixtral_config;

typedef struct pixtral_layer {
    vlm_norm attention_norm, ffn_norm;
    vlm_linear q_proj, k_proj, v_proj, o_proj;
    vlm_gated_mlp mlp;
} pixtral_layer;

typedef struct pixtral {
    vlm_vision base;
    pixtral_config config;
    vlm_ints picks; /* hidden states that are given, from 0 */
    int64_t depth;  /* layers that are run */
    int pairs;      /* of a head */
    float *inv_freq;
    uint8_t *axis_of; /* 0: rows, 1: columns */
    float attention_scale;
    vlm_linear patch_conv;
    vlm_norm ln_pre;
    pixtral_layer *layers;
} pixtral;

/* ---- config and weights ---------------------------------------------------------------------- */
#define WHERE "config.json: vision_config"
#define INT(m, lo, hi, d) VLM_INT(pixtral_config, m, #m, lo, hi, d)
static const vlm_config_field fields[] = {
    INT(hidden_size, 1, 1 << 16, 1024),
    INT(intermediate_size, 1, 1 << 18, 4096),
    INT(num_hidden_layers, 1, 1024, 24),
    INT(num_attention_heads, 1, 1024, 16),
    INT(num_channels, 1, 16, 3),
    INT(patch_size, 1, 1024, 16),
    VLM_NAME(pixtral_config, hidden_act, "hidden_act", vlm_activation_names, VLM_ACT_GELU),
    VLM_REAL(pixtral_config, rope_theta, "rope_parameters.rope_theta|rope_theta", 1, 1e12, 1e4),
};

enum { D, INNER, CHANNELS, PATCH, DIMS };
#define LINEAR(m, n, out, in)                                                                      \
    VLM_BIND_LINEAR(pixtral_layer, m, "transformer.layers.%d." n, VLM_NEVER, out, in)
static const vlm_weight_row layer_rows[] = {
    VLM_BIND_NORM(pixtral_layer, attention_norm, "transformer.layers.%d.attention_norm", VLM_NEVER, D),
    LINEAR(q_proj, "attention.q_proj", D, D),
    LINEAR(k_proj, "attention.k_proj", D, D),
    LINEAR(v_proj, "attention.v_proj", D, D),
    LINEAR(o_proj, "attention.o_proj", D, D),
    VLM_BIND_NORM(pixtral_layer, ffn_norm, "transformer.layers.%d.ffn_norm", VLM_NEVER, D),
    LINEAR(mlp.gate_proj, "feed_forward.gate_proj", INNER, D),
    LINEAR(mlp.up_proj, "feed_forward.up_proj", INNER, D),
    LINEAR(mlp.down_proj, "feed_forward.down_proj", D, INNER),
};
static const vlm_weight_row tower_rows[] = {
    VLM_BIND_CONV(pixtral, patch_conv, "patch_conv", VLM_NEVER, D, CHANNELS, PATCH, PATCH),
    VLM_BIND_NORM(pixtral, ln_pre, "ln_pre", VLM_NEVER, D),
};
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static vlm_status check(const pixtral_config *c, vlm_error *err) {
    if (c->hidden_size % (4 * c->num_attention_heads) == 0) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "hidden_size",
                            "%lld in %lld heads is no multiple of 4 each", (long long)c->hidden_size,
                            (long long)c->num_attention_heads);
}

static vlm_status bind(pixtral *p, vlm_build *build, const char *prefix, vlm_error *err) {
    const pixtral_config *c = &p->config;
    const vlm_norm norm = { .eps = 1e-5f };
    const int64_t dims[DIMS] = { c->hidden_size, c->intermediate_size, c->num_channels, c->patch_size };
    vlm_binding at = { .prefix = prefix, .dims = dims };
    p->ln_pre = norm;
    VTRY(vlm_bind(build, p, tower_rows, COUNT(tower_rows), &at, err));
    for (; at.layer < c->num_hidden_layers; at.layer++) {
        pixtral_layer *layer = &p->layers[at.layer];
        layer->attention_norm = layer->ffn_norm = norm;
        layer->mlp.act = (vlm_activation)c->hidden_act;
        VTRY(vlm_bind(build, layer, layer_rows, COUNT(layer_rows), &at, err));
    }
    return VLM_OK;
}

/* Rows turn the first half of a head's pairs by every other frequency, columns the second half by the others. */
static vlm_status create_rope(pixtral *p, vlm_build *build, vlm_error *err) {
    const int pairs = (int)(p->config.hidden_size / p->config.num_attention_heads / 2);
    float *all = vlm_build_alloc(build, (size_t)pairs, sizeof *all);
    p->pairs = pairs;
    p->inv_freq = vlm_build_alloc(build, (size_t)pairs, sizeof *p->inv_freq);
    p->axis_of = vlm_build_alloc(build, (size_t)pairs, sizeof *p->axis_of);
    if (!all || !p->inv_freq || !p->axis_of) return vcore_no_memory(err, "vision tower");
    vlm_rope_frequencies(all, 2 * pairs, p->config.rope_theta);
    for (int i = 0; i < pairs; i++) {
        p->axis_of[i] = i >= pairs / 2;
        p->inv_freq[i] = all[2 * (i % (pairs / 2)) + p->axis_of[i]];
    }
    return VLM_OK;
}

/* ---- the forward pass ------------------------------------------------------------------------ */
/* x += o_proj(attention(norm(x))), x [n, dim] */
static void attention_block(vlm_frame *f, const pixtral *p, const pixtral_layer *layer, vlm_tensor x,
                            const vlm_rope_table *rope) {
    const vlm_linear *const qkv[] = { &layer->q_proj, &layer->k_proj, &layer->v_proj };
    const int64_t heads = p->config.num_attention_heads, dim = p->config.hidden_size;
    const vlm_attention_desc desc = { .scale = p->attention_scale, .rope = rope, .pairs = VLM_ROPE_HALVES };
    const vlm_segment picture = { .length = x.shape[0] };
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor y[3]; /* q, k, v: [n, dim] */
    vlm_apply_norm_linears(f, y, x, &layer->attention_norm, qkv, 3);
    for (int i = 0; i < 3; i++) y[i] = vlm_reshape3(f, y[i], -1, heads, dim / heads);
    vlm_add_attention(f, x, y[0], y[1], y[2], &picture, 1, &desc, &layer->o_proj);
    vlm_scope_end(f, scope);
}

/* Row and column of every patch: I32 [2, rows * columns]. */
static vlm_tensor positions_of(vlm_frame *f, int64_t rows, int64_t columns) {
    const int64_t n = rows * columns, shape[] = { 2, n };
    int32_t *at = vcore_alloc_array((size_t)n, 2 * sizeof *at);
    if (!at) return vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
    for (int64_t i = 0; i < n; i++) at[i] = (int32_t)(i / columns), at[n + i] = (int32_t)(i % columns);
    vlm_tensor positions = vlm_tensor_from(f, VLM_DTYPE_I32, 2, shape, at);
    vcore_free(at);
    return positions;
}

static vlm_tensor forward(vlm_frame *f, const vlm_vision *vision, const vlm_vision_input *input) {
    const pixtral *p = (const pixtral *)vision;
    const int64_t patch = p->config.patch_size;
    vlm_tensor pixels = input->pixels;
    if (!vlm_frame_ok(f)) return (vlm_tensor) { 0 };
    const int64_t rows = pixels.shape[1] / patch, columns = pixels.shape[2] / patch;
    if (pixels.rank != 3 || pixels.shape[0] != p->config.num_channels || rows < 1 || columns < 1)
        return vlm_frame_fail(f, VLM_ERR_PROCESSING,
                              "vision tower: a picture [%lld, %lld, %lld] does not fit patches of %lld",
                              (long long)pixels.shape[0], (long long)pixels.shape[1], (long long)pixels.shape[2],
                              (long long)patch);
    pixels.shape[1] = rows * patch; /* what is left at the edges is no patch */
    pixels.shape[2] = columns * patch;
    vlm_tensor x = vlm_apply_linear(f, vlm_patches(f, pixels, patch), &p->patch_conv), out = { 0 };
    x = vlm_rms_norm(f, x, &p->ln_pre);
    const bool several = p->picks.n > 1;
    if (several) out = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { rows * columns, p->base.info.dim });
    const vlm_rope_table rope =
        vlm_rope_angles(f, positions_of(f, rows, columns), p->inv_freq, p->axis_of, p->pairs);
    for (int64_t i = 0; i < p->depth && vlm_frame_ok(f); i++) {
        if (several) vmodel_vision_keep(f, out, &p->picks, x, i);
        attention_block(f, p, &p->layers[i], x, &rope);
        for (vlm_pieces s = vlm_pieces_of(f, x, p->config.intermediate_size); vlm_pieces_next(&s);)
            vlm_add_gated_mlp(f, s.rows, &p->layers[i].ffn_norm, &p->layers[i].mlp);
    }
    if (several) vmodel_vision_keep(f, out, &p->picks, x, p->depth);
    return several ? out : x;
}

/* ---- building -------------------------------------------------------------------------------- */
static vlm_status create(vlm_vision **out, vlm_build *build, const vlm_vision_options *options,
                         vlm_error *err) {
    pixtral *p = vlm_build_alloc(build, 1, sizeof *p);
    if (!p) return vcore_no_memory(err, "vision tower");
    pixtral_config *c = &p->config;
    VTRY(vlm_config_read(c, options->config, WHERE, fields, COUNT(fields), err));
    VTRY(check(c, err));
    VTRY(vmodel_vision_pick_layers(&p->picks, &p->depth, options->layers, c->num_hidden_layers, err));
    if (options->drop_class)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_feature_select_strategy",
                                "Pixtral's tower has no class token to leave out: must be \"full\"");
    VTRY(create_rope(p, build, err));
    p->attention_scale = (float)(1 / sqrt((double)(c->hidden_size / c->num_attention_heads)));
    p->layers = vlm_build_alloc(build, (size_t)c->num_hidden_layers, sizeof *p->layers);
    if (!p->layers) return vcore_no_memory(err, "vision tower");
    p->base.forward = forward;
    p->base.info = (vlm_vision_info) { .dim = c->hidden_size * (p->picks.n ? p->picks.n : 1),
                                       .channels = c->num_channels,
                                       .patch_size = c->patch_size };
    VTRY(bind(p, build, options->prefix, err));
    *out = &p->base;
    return VLM_OK;
}

const vmodel_vision_type vmodel_vision_pixtral = {
    .model_type = "pixtral",
    .chooses_layers = true,
    .create = create,
};
