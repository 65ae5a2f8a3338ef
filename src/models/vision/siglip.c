/* SPDX-License-Identifier: MIT */
/* The plain ViT that SigLIP, CLIP and Idefics3 have: patches, learned positions, pre-norm encoder
 * with full attention. What they differ in is a trait of their type. Idefics3 differs in its
 * positions only: a picture of any size and with padding takes the position of the place that a
 * patch has in the whole (NaViT). One picture a call, so that memory stays that of one picture. */
#include <math.h>

#include "models/vision/vision.h"

typedef struct siglip_config {
    int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
    int64_t num_channels, image_size, patch_size;
    int hidden_act;
    float layer_norm_eps;
} siglip_config;

/* A type: what the reference takes for absent keys, and how it departs from SigLIP. */
typedef struct siglip_type {
    siglip_config defaults;
    bool navit;
    bool clip; /* a class token in front, a norm before the layers and none behind, no bias of patches */
} siglip_type;

typedef struct siglip_layer {
    vlm_norm layer_norm1, layer_norm2;
    vlm_linear q_proj, k_proj, v_proj, out_proj;
    vlm_mlp mlp;
} siglip_layer;

typedef struct siglip {
    vlm_vision base;
    const siglip_type *type;
    siglip_config config;
    vlm_ints picks;  /* hidden states that are given, from 0; none: the end */
    int64_t depth;   /* layers that are run */
    bool drop_first; /* the first row is not given */
    int64_t side; /* patches of a side at image_size */
    float attention_scale;
    vlm_linear patch_embedding;
    vlm_matrix position_embedding;
    vlm_tensor class_embedding; /* CLIP */
    vlm_norm pre_layrnorm;      /* CLIP; spelt so there */
    siglip_layer *layers;
    vlm_norm post_layernorm;
} siglip;

/* ---- config and weights ---------------------------------------------------------------------- */
#define WHERE "config.json: vision_config"
#define INT(m, lo, hi) VLM_INT(siglip_config, m, #m, lo, hi, VLM_KEEP)
static const vlm_config_field fields[] = {
    INT(hidden_size, 1, 1 << 16),
    INT(intermediate_size, 1, 1 << 18),
    INT(num_hidden_layers, 1, 1024),
    INT(num_attention_heads, 1, 1024),
    INT(num_channels, 1, 16),
    INT(image_size, 1, 1 << 14),
    INT(patch_size, 1, 1024),
    VLM_NAME(siglip_config, hidden_act, "hidden_act", vlm_activation_names, VLM_KEEP),
    VLM_REAL(siglip_config, layer_norm_eps, "layer_norm_eps", 0, 1, VLM_KEEP),
};

enum { D, INNER, CHANNELS, PATCH, POSITIONS, DIMS };
enum { CLIP = 1, NOT_CLIP = 2 };
static const vlm_weight_row layer_rows[] = {
    VLM_BIND_NORM(siglip_layer, layer_norm1, "encoder.layers.%d.layer_norm1", VLM_ALWAYS, D),
    VLM_BIND_LINEAR(siglip_layer, q_proj, "encoder.layers.%d.self_attn.q_proj", VLM_ALWAYS, D, D),
    VLM_BIND_LINEAR(siglip_layer, k_proj, "encoder.layers.%d.self_attn.k_proj", VLM_ALWAYS, D, D),
    VLM_BIND_LINEAR(siglip_layer, v_proj, "encoder.layers.%d.self_attn.v_proj", VLM_ALWAYS, D, D),
    VLM_BIND_LINEAR(siglip_layer, out_proj, "encoder.layers.%d.self_attn.out_proj", VLM_ALWAYS, D,
                    D),
    VLM_BIND_NORM(siglip_layer, layer_norm2, "encoder.layers.%d.layer_norm2", VLM_ALWAYS, D),
    VLM_BIND_LINEAR(siglip_layer, mlp.fc1, "encoder.layers.%d.mlp.fc1", VLM_ALWAYS, INNER, D),
    VLM_BIND_LINEAR(siglip_layer, mlp.fc2, "encoder.layers.%d.mlp.fc2", VLM_ALWAYS, D, INNER),
};
static const vlm_weight_row tower_rows[] = {
    VLM_BIND_CONV(siglip, patch_embedding, "embeddings.patch_embedding", NOT_CLIP, D, CHANNELS,
                  PATCH, PATCH),
    VLM_BIND_TENSOR_IF(CLIP, siglip, class_embedding, "embeddings.class_embedding", D),
    VLM_BIND_NORM_IF(CLIP, siglip, pre_layrnorm, "pre_layrnorm", VLM_ALWAYS, D),
    VLM_BIND_MATRIX(siglip, position_embedding, "embeddings.position_embedding", POSITIONS, D),
    VLM_BIND_NORM(siglip, post_layernorm, "post_layernorm", VLM_ALWAYS, D),
    VLM_BIND_IGNORED("embeddings.position_ids"),
    VLM_BIND_IGNORED("head.*"), /* a pooling head that no VLM uses */
};
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static vlm_status check(const siglip_config *c, vlm_error *err) {
    if (c->hidden_size % c->num_attention_heads != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "hidden_size",
                                "%lld is no multiple of num_attention_heads %lld",
                                (long long)c->hidden_size, (long long)c->num_attention_heads);
    if (c->image_size < c->patch_size)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "patch_size",
                                "%lld exceeds image_size %lld", (long long)c->patch_size,
                                (long long)c->image_size);
    return VLM_OK;
}

static vlm_status bind(siglip *s, vlm_build *build, const char *prefix, vlm_error *err) {
    const siglip_config *c = &s->config;
    const vlm_norm norm = { .eps = c->layer_norm_eps };
    const int64_t dims[DIMS] = { c->hidden_size, c->intermediate_size, c->num_channels,
                                 c->patch_size, s->side * s->side + s->type->clip };
    vlm_binding at = { .prefix = prefix, .dims = dims, .conditions = s->type->clip ? CLIP : NOT_CLIP };
    s->pre_layrnorm = s->post_layernorm = norm;
    VTRY(vlm_bind(build, s, tower_rows, COUNT(tower_rows), &at, err));
    for (; at.layer < c->num_hidden_layers; at.layer++) {
        siglip_layer *layer = &s->layers[at.layer];
        layer->layer_norm1 = layer->layer_norm2 = norm;
        layer->mlp.act = (vlm_activation)c->hidden_act;
        VTRY(vlm_bind(build, layer, layer_rows, COUNT(layer_rows), &at, err));
    }
    return VLM_OK;
}

/* ---- where patches stand --------------------------------------------------------------------- */
/* The patches of a picture. Those that hold picture come first while the encoder works, so that
 * padding is what lies behind the last of them. */
typedef struct layout {
    int64_t rows, columns;
    int64_t visible;   /* patches that hold picture */
    int32_t *position; /* of each patch, in picture order, behind that of a class token */
    int32_t *order;    /* [rows * columns] patch at each place of the encoder */
    int32_t *place;    /* [rows * columns] the inverse of order */
} layout;

/* Which of `side` equal parts of [0, 1) the start of patch i of n lies in, in the reference's
 * float32. */
static int64_t bucket(int64_t i, int64_t n, int64_t side) {
    float at = (float)i * (1.0f / (float)n), limit = (float)(1.0 - 1e-6);
    int64_t b = 0;
    if (at > limit) at = limit;
    while (b + 1 < side && (float)((double)(b + 1) / (double)side) <= at) b++;
    return b;
}

/* NaViT: by a patch's place among those of the first row and column that hold picture. */
static void positions_by_place(layout *l, const uint8_t *mask, int64_t side) {
    int64_t rows = 0, columns = 0;
    for (int64_t i = 0; i < l->rows; i++) rows += !mask || mask[i * l->columns];
    for (int64_t i = 0; i < l->columns; i++) columns += !mask || mask[i];
    for (int64_t i = 0; i < l->rows * l->columns; i++)
        if (!mask || mask[i])
            l->position[i] = (int32_t)(bucket(i / l->columns, rows, side) * side
                                       + bucket(i % l->columns, columns, side));
}

/* Which patches hold picture: those with any pixel that does. held [rows * columns] is zeroed. */
static void find_held(uint8_t *held, const layout *l, const vlm_vision_input *input, int64_t width,
                      int64_t patch) {
    const float *real = input->pixel_mask;
    const int64_t *whole = input->pixel_mask;
    const bool floats = input->mask_dtype == VLM_DTYPE_F32;
    for (int64_t y = 0; y < l->rows * patch; y++)
        for (int64_t x = 0; x < l->columns * patch; x++)
            if (floats ? real[y * width + x] != 0 : whole[y * width + x] != 0)
                held[y / patch * l->columns + x / patch] = 1;
}

static void order_patches(layout *l, const uint8_t *mask) {
    int64_t n = l->rows * l->columns, hidden;
    for (int64_t i = 0; i < n; i++) l->visible += !mask || mask[i];
    hidden = l->visible;
    for (int64_t i = 0, seen = 0; i < n; i++) {
        int64_t place = !mask || mask[i] ? seen++ : hidden++;
        l->place[i] = (int32_t)place;
        l->order[place] = (int32_t)i;
    }
}

/* Fills in a layout; free its position, which holds all lists. */
static bool plan_layout(layout *l, vlm_frame *f, const siglip *s, const vlm_vision_input *input) {
    const int64_t *shape = input->pixels.shape, patch = s->config.patch_size;
    *l = (layout) { .rows = shape[1] / patch, .columns = shape[2] / patch };
    bool fits = input->pixels.rank == 3 && shape[0] == s->config.num_channels && l->rows >= 1
                && l->columns >= 1
                && (s->type->navit || (l->rows == s->side && l->columns == s->side))
                && !(s->type->clip && input->pixel_mask);
    if (!fits) {
        vlm_frame_fail(
            f, VLM_ERR_PROCESSING,
            "vision tower: a picture [%lld, %lld, %lld] does not fit patches of %lld and a "
            "side of %lld",
            (long long)shape[0], (long long)shape[1], (long long)shape[2], (long long)patch,
            (long long)s->config.image_size);
        return false;
    }
    size_t n = (size_t)(l->rows * l->columns), first = s->type->clip;
    if (!(l->position = vcore_alloc_array(4 * n + first, sizeof *l->position))) {
        vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
        return false;
    }
    l->order = l->position + first + n;
    l->place = l->order + n;
    uint8_t *held = input->pixel_mask ? (uint8_t *)(l->place + n) : NULL;
    if (held) find_held(held, l, input, shape[2], patch);
    if (s->type->navit)
        positions_by_place(l, held, s->side);
    else
        for (size_t i = 0; i < first + n; i++) l->position[i] = (int32_t)i;
    order_patches(l, held);
    if (l->visible == 0)
        vlm_frame_fail(f, VLM_ERR_PROCESSING, "vision tower: a picture is padding altogether");
    return l->visible > 0;
}

/* ---- the forward pass ------------------------------------------------------------------------ */
/* x += out_proj(attention(norm(x))), x [n, dim] */
static void attention_block(vlm_frame *f, const siglip *s, const siglip_layer *layer, vlm_tensor x,
                            int64_t visible) {
    const vlm_linear *const qkv[] = { &layer->q_proj, &layer->k_proj, &layer->v_proj };
    int64_t heads = s->config.num_attention_heads, dim = s->config.hidden_size;
    const vlm_attention_desc desc = { .scale = s->attention_scale };
    const vlm_segment picture = { .length = x.shape[0], .visible = visible };
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor y[3]; /* q, k, v: [n, dim] */
    vlm_apply_linears(f, y, vlm_layer_norm(f, x, &layer->layer_norm1), qkv, 3);
    for (int i = 0; i < 3; i++) y[i] = vlm_reshape3(f, y[i], -1, heads, dim / heads);
    vlm_tensor a = vlm_attention(f, y[0], y[1], y[2], &picture, 1, &desc);
    vlm_add_to(f, x, vlm_apply_linear(f, vlm_reshape2(f, a, -1, dim), &layer->out_proj));
    vlm_scope_end(f, scope);
}

/* x += mlp(norm(x)), x [n, dim] */
static void mlp_block(vlm_frame *f, const siglip *s, const siglip_layer *layer, vlm_tensor x) {
    for (vlm_pieces p = vlm_pieces_of(f, x, s->config.intermediate_size); vlm_pieces_next(&p);)
        vlm_add_to(f, p.rows,
                   vlm_apply_mlp(f, vlm_layer_norm(f, p.rows, &layer->layer_norm2), &layer->mlp));
}

/* Rows as they enter the first layer: [class token and patches, dim], in picture order. */
static vlm_tensor embed(vlm_frame *f, const siglip *s, vlm_tensor pixels, const layout *l) {
    const int64_t patch = s->config.patch_size;
    pixels.shape[1] = l->rows * patch; /* what is left at the edges is no patch: of 384, 6 by 14 */
    pixels.shape[2] = l->columns * patch;
    vlm_tensor x = vlm_apply_linear(f, vlm_patches(f, pixels, patch), &s->patch_embedding);
    if (s->type->clip) {
        const vlm_tensor parts[] = { vlm_reshape2(f, s->class_embedding, 1, -1), x };
        x = vlm_concat(f, parts, 2);
    }
    vlm_tensor position = vlm_tensor_from(f, VLM_DTYPE_I32, 1, &x.shape[0], l->position);
    vlm_add_to(f, x, vlm_embed(f, &s->position_embedding, position));
    return s->type->clip ? vlm_layer_norm(f, x, &s->pre_layrnorm) : x;
}

/* Copies a hidden state to its columns of out, [rows, picks * dim]. */
static void keep(vlm_frame *f, const siglip *s, vlm_tensor out, vlm_tensor x, int64_t state) {
    for (int64_t i = 0; i < s->picks.n; i++)
        if (s->picks.at[i] == state)
            vlm_copy_to(f, vlm_columns(f, out, i * x.shape[1], x.shape[1]), x);
}

/* A picture to features, [rows, dim] in picture order. */
static vlm_tensor encode(vlm_frame *f, const siglip *s, vlm_tensor pixels, const layout *l) {
    const int64_t n = l->rows * l->columns, wide = s->base.info.dim;
    vlm_tensor x = embed(f, s, pixels, l), out = { 0 };
    const bool padded = l->visible < n, several = s->picks.n > 1;
    if (padded) x = vlm_gather(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, l->order));
    if (several)
        out = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { x.shape[0], wide });
    for (int64_t i = 0; i < s->depth && vlm_frame_ok(f); i++) {
        if (several) keep(f, s, out, x, i);
        attention_block(f, s, &s->layers[i], x, l->visible + s->type->clip);
        mlp_block(f, s, &s->layers[i], x);
    }
    if (several) keep(f, s, out, x, s->depth), x = out;
    if (padded) x = vlm_gather(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, l->place));
    if (s->picks.n == 0 && !s->type->clip) x = vlm_layer_norm(f, x, &s->post_layernorm);
    return s->drop_first ? vlm_rows(f, x, 1, x.shape[0] - 1) : x;
}

static vlm_tensor forward(vlm_frame *f, const vlm_vision *vision, const vlm_vision_input *input) {
    const siglip *s = (const siglip *)vision;
    layout l = { 0 };
    vlm_tensor y = { 0 };
    if (vlm_frame_ok(f) && plan_layout(&l, f, s, input)) y = encode(f, s, input->pixels, &l);
    vcore_free(l.position);
    return y;
}

/* ---- building -------------------------------------------------------------------------------- */
/* Which hidden states are given, and so how many layers are run. */
static vlm_status pick_layers(siglip *s, const vlm_ints *layers, vlm_error *err) {
    const int64_t n = s->config.num_hidden_layers;
    s->depth = layers && layers->n ? 0 : n;
    for (int64_t i = 0; layers && i < layers->n; i++) {
        int64_t state = layers->at[i] < 0 ? n + 1 + layers->at[i] : layers->at[i];
        if (state < 0 || state > n)
            return vcore_fail_field(err, VLM_ERR_CONFIG, "config.json", "vision_feature_layer",
                                    "there is no hidden state %lld of %lld layers",
                                    (long long)layers->at[i], (long long)n);
        s->picks.at[s->picks.n++] = state;
        if (state > s->depth) s->depth = state;
    }
    return VLM_OK;
}

static vlm_status create(vlm_vision **out, vlm_build *build, const vlm_vision_options *options,
                         const siglip_type *type, vlm_error *err) {
    siglip *s = vlm_build_alloc(build, 1, sizeof *s);
    if (!s) return vcore_no_memory(err, "vision tower");
    siglip_config *c = &s->config;
    s->type = type;
    *c = type->defaults;
    VTRY(vlm_config_read(c, options->config, WHERE, fields, COUNT(fields), err));
    VTRY(check(c, err));
    VTRY(pick_layers(s, options->layers, err));
    s->drop_first = options->drop_class;
    s->side = c->image_size / c->patch_size;
    s->attention_scale = (float)(1 / sqrt((double)(c->hidden_size / c->num_attention_heads)));
    s->layers = vlm_build_alloc(build, (size_t)c->num_hidden_layers, sizeof *s->layers);
    if (!s->layers) return vcore_no_memory(err, "vision tower");
    s->base.forward = forward;
    s->base.info = (vlm_vision_info) { .dim = c->hidden_size * (s->picks.n ? s->picks.n : 1),
                                       .channels = c->num_channels,
                                       .image_size = c->image_size,
                                       .patch_size = c->patch_size,
                                       .extra_rows = type->clip - options->drop_class };
    VTRY(bind(s, build, options->prefix, err));
    *out = &s->base;
    return VLM_OK;
}

static const siglip_type siglip_traits = {
    .defaults = { .hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 12,
                  .num_channels = 3,
                  .image_size = 224,
                  .patch_size = 16,
                  .hidden_act = VLM_ACT_GELU_TANH,
                  .layer_norm_eps = 1e-6f },
};
static const siglip_type clip_traits = {
    .defaults = { .hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 12,
                  .num_channels = 3,
                  .image_size = 224,
                  .patch_size = 32,
                  .hidden_act = VLM_ACT_QUICK_GELU,
                  .layer_norm_eps = 1e-5f },
    .clip = true,
};
static const siglip_type idefics3_traits = {
    .defaults = { .hidden_size = 1152,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 16,
                  .num_channels = 3,
                  .image_size = 224,
                  .patch_size = 32,
                  .hidden_act = VLM_ACT_GELU_TANH,
                  .layer_norm_eps = 1e-6f },
    .navit = true,
};

static vlm_status create_siglip(vlm_vision **out, vlm_build *build,
                                const vlm_vision_options *options, vlm_error *err) {
    return create(out, build, options, &siglip_traits, err);
}

static vlm_status create_clip(vlm_vision **out, vlm_build *build,
                              const vlm_vision_options *options, vlm_error *err) {
    return create(out, build, options, &clip_traits, err);
}

static vlm_status create_idefics3(vlm_vision **out, vlm_build *build,
                                  const vlm_vision_options *options, vlm_error *err) {
    return create(out, build, options, &idefics3_traits, err);
}

const vmodel_vision_type vmodel_vision_siglip = {
    .model_type = "siglip_vision_model",
    .chooses_layers = true,
    .create = create_siglip,
};
const vmodel_vision_type vmodel_vision_clip = {
    .model_type = "clip_vision_model",
    .chooses_layers = true,
    .create = create_clip,
};
const vmodel_vision_type vmodel_vision_idefics3 = {
    .model_type = "idefics3_vision|idefics3|smolvlm_vision|smolvlm",
    .create = create_idefics3,
};
