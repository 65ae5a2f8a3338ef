/* SPDX-License-Identifier: MIT */
/* FastViTHD's pass over one picture. */
#include <math.h>

#include "models/vision/fastvit/fastvit.h"

static void gelu(vlm_frame *f, vlm_tensor x) {
    vlm_activation_to(f, x, VLM_ACT_GELU);
}

/* ---- the stem -------------------------------------------------------------------------------- */
enum { TAPS = 27, BAND = 8 }; /* values that a 3 x 3 convolution of three channels sees; lines at once */

/* Which pixels the outputs of `lines` lines from `first` see, in the order of a kernel [channels, 3, 3]; those beside
 * the picture are number 3 * side * side. */
static void find_taps(int32_t *index, int64_t side, int64_t first, int64_t lines) {
    const int64_t area = side * side;
    for (int64_t y = first; y < first + lines; y++)
        for (int64_t x = 0; x < side / 2; x++)
            for (int64_t k = 0; k < TAPS; k++, index++) {
                const int64_t at_y = 2 * y - 1 + k % 9 / 3, at_x = 2 * x - 1 + k % 3;
                const bool inside = at_y >= 0 && at_y < side && at_x >= 0 && at_x < side;
                *index = (int32_t)(inside ? k / 9 * area + at_y * side + at_x : 3 * area);
            }
}

/* gelu(3 x 3 convolution, stride 2). @param pixels [3, side, side] @return [(side / 2)^2, dim] */
static vlm_tensor first_convolution(vlm_frame *f, const fastvit *t, vlm_tensor pixels, int64_t side) {
    const int64_t half = side / 2, values = 3 * side * side;
    const float zero = 0;
    vlm_tensor out = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { half * half, t->stages[0].dim });
    int32_t *index = vcore_alloc_array((size_t)(BAND * half * TAPS), sizeof *index);
    if (!index) return vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
    vlm_scope scope = vlm_scope_begin(f);
    const vlm_tensor parts[] = { vlm_reshape2(f, pixels, values, 1),
                                 vlm_tensor_from(f, VLM_DTYPE_F32, 2, (int64_t[]) { 1, 1 }, &zero) };
    vlm_tensor all = vlm_concat(f, parts, 2); /* [values + 1, 1] */
    for (int64_t first = 0, lines; first < half && vlm_frame_ok(f); first += lines) {
        vlm_scope band = vlm_scope_begin(f);
        lines = half - first < BAND ? half - first : BAND;
        const int64_t n = lines * half, seen = n * TAPS;
        find_taps(index, side, first, lines);
        vlm_tensor x = vlm_gather(f, all, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &seen, index));
        vlm_copy_to(f, vlm_rows(f, out, first * half, n), vlm_apply_linear(f, vlm_reshape2(f, x, n, TAPS), &t->stem));
        vlm_scope_end(f, band);
    }
    vlm_scope_end(f, scope);
    vcore_free(index);
    gelu(f, out);
    return out;
}

/* @return [(side / 4)^2, dim] */
static vlm_tensor stem(vlm_frame *f, const fastvit *t, vlm_tensor pixels, int64_t side) {
    vlm_tensor out = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { side / 4 * (side / 4), t->stages[0].dim });
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor x = first_convolution(f, t, pixels, side);
    x = vlm_depthwise_conv(f, x, side / 2, &t->stem_down, 2);
    gelu(f, x);
    x = vlm_apply_linear(f, x, &t->stem_mix);
    gelu(f, x);
    vlm_copy_to(f, out, x);
    vlm_scope_end(f, scope);
    return out;
}

/* ---- blocks; a map x is [side * side, dim] ----------------------------------------------------- */
/* x += scale * mlp(conv(x)) */
static void mlp_block(vlm_frame *f, const fastvit_block *b, vlm_tensor x, int64_t side) {
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor y = vlm_depthwise_conv(f, x, side, &b->conv, 1);
    int64_t at = 0;
    for (vlm_pieces p = vlm_pieces_of(f, y, b->mlp.fc1.weight.out); vlm_pieces_next(&p); at += p.rows.shape[0]) {
        vlm_tensor z = vlm_apply_mlp(f, p.rows, &b->mlp);
        vlm_mul_to(f, z, vlm_reshape1(f, b->layer_scale, -1));
        vlm_add_to(f, vlm_rows(f, x, at, p.rows.shape[0]), z);
    }
    vlm_scope_end(f, scope);
}

/* x += scale * proj(attention(norm(x))) */
static void attention_block(vlm_frame *f, const fastvit_block *b, vlm_tensor x) {
    const int64_t dim = x.shape[1], heads = dim / FASTVIT_HEAD_DIM;
    const vlm_attention_desc desc = { .scale = (float)(1 / sqrt(FASTVIT_HEAD_DIM)) };
    const vlm_segment map = { .length = x.shape[0] };
    vlm_tensor parts[3]; /* q, k, v */
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor qkv = vlm_apply_linear(f, vlm_layer_norm(f, x, &b->norm), &b->qkv);
    for (int i = 0; i < 3; i++)
        parts[i] = vlm_reshape3(f, vlm_columns(f, qkv, i * dim, dim), -1, heads, FASTVIT_HEAD_DIM);
    vlm_tensor y = vlm_attention(f, parts[0], parts[1], parts[2], &map, 1, &desc);
    y = vlm_apply_linear(f, vlm_reshape2(f, y, -1, dim), &b->proj);
    vlm_mul_to(f, y, vlm_reshape1(f, b->layer_scale_1, -1));
    vlm_add_to(f, x, y);
    vlm_scope_end(f, scope);
}

/* x = conv(x) */
static void convolve(vlm_frame *f, vlm_tensor x, int64_t side, const vlm_depthwise *conv) {
    vlm_scope scope = vlm_scope_begin(f);
    vlm_copy_to(f, x, vlm_depthwise_conv(f, x, side, conv, 1));
    vlm_scope_end(f, scope);
}

/* The map at half its size. */
static vlm_tensor halve(vlm_frame *f, const fastvit_stage *s, vlm_tensor x, int64_t side) {
    vlm_tensor out = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { side / 2 * (side / 2), s->dim });
    vlm_scope scope = vlm_scope_begin(f);
    x = vlm_depthwise_conv(f, x, side, &s->down, 2);
    gelu(f, x);
    vlm_copy_to(f, out, vlm_apply_linear(f, x, &s->mix));
    gelu(f, out);
    vlm_scope_end(f, scope);
    return out;
}

static vlm_tensor mean_of_rows(vlm_frame *f, vlm_tensor x) {
    const int64_t shape[] = { 1, x.shape[0] };
    float *weights = vcore_alloc_array((size_t)shape[1], sizeof *weights);
    int32_t *index = vcore_alloc_array((size_t)shape[1], sizeof *index);
    vlm_tensor y = { 0 };
    for (int64_t i = 0; weights && index && i < shape[1]; i++)
        weights[i] = 1 / (float)shape[1], index[i] = (int32_t)i;
    if (weights && index)
        y = vlm_blend(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 2, shape, index),
                      vlm_tensor_from(f, VLM_DTYPE_F32, 2, shape, weights));
    else
        vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
    vcore_free(weights);
    vcore_free(index);
    return y;
}

/* gelu(y * sigmoid(excite(relu(squeeze(mean of y))))), y = the expanded map. sigmoid(z) = 1/2 + tanh(z / 2) / 2, and
 * softcap gives 2 tanh(z / 2). */
static vlm_tensor expand(vlm_frame *f, const fastvit *t, vlm_tensor x, int64_t side) {
    vlm_tensor y = vlm_depthwise_conv(f, x, side, &t->expand, 1);
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor gate = vlm_apply_linear(f, mean_of_rows(f, y), &t->squeeze); /* [1, reduced] */
    vlm_activation_to(f, gate, VLM_ACT_RELU);
    gate = vlm_apply_linear(f, gate, &t->excite);
    vlm_softcap_to(f, gate, 2);
    vlm_scale_to(f, gate, 0.25f);
    vlm_tensor z = vlm_copy(f, y);
    vlm_mul_to(f, z, vlm_reshape1(f, gate, -1));
    vlm_scale_to(f, y, 0.5f);
    vlm_add_to(f, y, z);
    vlm_scope_end(f, scope);
    gelu(f, y);
    return y;
}

/* ---- the pass -------------------------------------------------------------------------------- */
static vlm_tensor forward(vlm_frame *f, const vlm_vision *vision, const vlm_vision_input *input) {
    const fastvit *t = (const fastvit *)vision;
    const int64_t *shape = input->pixels.shape, size = t->config.image_size ? t->config.image_size : shape[1];
    if (!vlm_frame_ok(f)) return (vlm_tensor) { 0 };
    if (input->pixels.rank != 3 || shape[0] != 3 || shape[1] != size || shape[2] != size || input->pixel_mask
        || size % FASTVIT_PATCH != 0 || size > FASTVIT_MOST_SIDE)
        return vlm_frame_fail(f, VLM_ERR_PROCESSING, "vision tower: a picture [%lld, %lld, %lld] is not of %s %lld",
                              (long long)shape[0], (long long)shape[1], (long long)shape[2],
                              t->config.image_size ? "side" : "a side that is a multiple of",
                              (long long)(t->config.image_size ? t->config.image_size : FASTVIT_PATCH));
    int64_t side = size / 4;
    vlm_tensor x = stem(f, t, input->pixels, size);
    for (int i = 0; i < FASTVIT_STAGES && vlm_frame_ok(f); i++) {
        const fastvit_stage *s = &t->stages[i];
        if (i > 0) x = halve(f, s, x, side), side /= 2;
        if (i >= FASTVIT_ATTENTION) convolve(f, x, side, &s->positions);
        for (int64_t k = 0; k < s->depth && vlm_frame_ok(f); k++) {
            if (i >= FASTVIT_ATTENTION)
                attention_block(f, &s->blocks[k], x);
            else
                convolve(f, x, side, &s->blocks[k].mixer);
            mlp_block(f, &s->blocks[k], x, side);
        }
    }
    return vlm_frame_ok(f) ? expand(f, t, x, side) : (vlm_tensor) { 0 };
}

static vlm_status create_named(vlm_vision **out, vlm_build *build, const vlm_vision_options *options, bool timm,
                               vlm_error *err) {
    fastvit *t = vlm_build_alloc(build, 1, sizeof *t);
    if (!t) return vcore_no_memory(err, "vision tower");
    t->config.timm = timm;
    VTRY(vmodel_fastvit_config(t, options->config, err));
    t->base.forward = forward;
    t->base.info = (vlm_vision_info) { .dim = 2 * t->stages[FASTVIT_STAGES - 1].dim,
                                       .channels = 3,
                                       .image_size = t->config.image_size,
                                       .patch_size = FASTVIT_PATCH };
    VTRY(vmodel_fastvit_bind(t, build, options->prefix, err));
    *out = &t->base;
    return VLM_OK;
}

static vlm_status create(vlm_vision **out, vlm_build *build, const vlm_vision_options *options, vlm_error *err) {
    return create_named(out, build, options, false, err);
}

/* To transformers, features are those of LLaVA's layer -1. */
static vlm_status create_timm(vlm_vision **out, vlm_build *build, const vlm_vision_options *options, vlm_error *err) {
    const vlm_ints *layers = options->layers;
    if (layers && (layers->n != 1 || layers->at[0] != -1))
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_feature_layer", "must be -1 for this tower");
    if (options->drop_class)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_feature_select_strategy",
                                "must be \"full\" for this tower");
    return create_named(out, build, options, true, err);
}

const vmodel_vision_type vmodel_vision_fastvit = { .model_type = "fastvithd|llava_qwen2|fastvlm", .create = create };
const vmodel_vision_type vmodel_vision_timm = {
    .model_type = "timm_wrapper", .chooses_layers = true, .create = create_timm
};
