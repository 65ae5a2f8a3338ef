/* SPDX-License-Identifier: MIT */
/* Idefics3, SmolVLM and SmolVLM2: a SigLIP tower with NaViT positions, pixel shuffle and one linear
 * layer, a Llama decoder. A picture comes as views (tiles and the whole), each of the same number
 * of tokens. */
#include "vlm/extend.h"

typedef struct idefics3 {
    int64_t image_token_id, scale_factor;
    bool tie_word_embeddings;
    vlm_vision *vision;
    vlm_text *text;
    vlm_linear connector; /* [text dim, vision dim * scale * scale] */
} idefics3;

static const vlm_config_field fields[] = {
    VLM_INT(idefics3, image_token_id, "image_token_id", 0, UINT32_MAX, 128257),
    VLM_INT(idefics3, scale_factor, "scale_factor", 1, 64, 2),
    VLM_BOOL(idefics3, tie_word_embeddings, "tie_word_embeddings|text_config.tie_word_embeddings",
             false),
};

enum { TEXT, SHUFFLED, DIMS };
static const vlm_weight_row rows[] = {
    VLM_BIND_LINEAR(idefics3, connector, "modality_projection.proj", VLM_NEVER, TEXT, SHUFFLED),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_status check(const idefics3 *m, vlm_error *err) {
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    int64_t side = vision->image_size / vision->patch_size;
    if (side % m->scale_factor == 0) return VLM_OK;
    return vlm_fail_field(err, VLM_ERR_CONFIG, "config.json", "scale_factor",
                          "%lld does not divide the %lld patches of a side",
                          (long long)m->scale_factor, (long long)side);
}

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    idefics3 *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "idefics3: out of memory");
    vlm_status status = vlm_config_read(m, config, "config.json", fields, COUNT(fields), err);
    if (status < 0) return status;
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = "idefics3_vision",
        .prefix = "model.vision_model.|vision_model.",
    };
    status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status < 0) return status;
    if ((status = check(m, err)) < 0) return status;
    const vlm_text_options text = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = "llama",
        .prefix = "model.text_model.|language_model.model.|language_model.",
        .head_prefix = "|language_model.",
        .tied = m->tie_word_embeddings,
        .mlx_untied = true,
    };
    if ((status = vlm_text_new(&m->text, build, &text, err)) < 0) return status;
    const int64_t dims[DIMS] = {
        vlm_text_get_info(m->text)->hidden_size,
        vlm_vision_get_info(m->vision)->dim * m->scale_factor * m->scale_factor,
    };
    const vlm_binding at = { .prefix = "model.connector.|connector.", .dims = dims };
    if ((status = vlm_bind(build, m, rows, COUNT(rows), &at, err)) < 0) return status;
    *model = m;
    return VLM_OK;
}

static const vlm_text *text_of(const void *model) {
    return ((const idefics3 *)model)->text;
}

/* ---- features -------------------------------------------------------------------------------- */
/* The views of a prepared input. */
typedef struct views {
    const float *pixels; /* [n, channels, height, width] */
    const vlm_array *mask; /* [n, height, width], or NULL: every pixel holds picture */
    int64_t n, channels, height, width;
    int64_t patch, rows, columns; /* of a view, in patches */
} views;

static const float *pixels_of(const views *v, int64_t view) {
    return v->pixels + view * v->channels * v->height * v->width;
}

/* The reference drops views of nothing but zeros: they pad the shorter picture lists of a batch. */
static bool is_padding(const views *v, int64_t view) {
    const float *p = pixels_of(v, view);
    for (int64_t i = 0; i < v->channels * v->height * v->width; i++)
        if (p[i] != 0) return false;
    return true;
}

static vlm_status read_views(views *v, const idefics3 *m, const vlm_prepared *prepared,
                             vlm_error *err) {
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    const vlm_array *pixels;
    const int64_t any[] = { -1, -1, vision->channels, -1, -1 };
    vlm_status status =
        vlm_prepared_get(&pixels, prepared, "pixel_values", VLM_DTYPE_F32, 5, any, err);
    if (status < 0) return status;
    const int64_t *shape = pixels->shape;
    *v = (views) { .pixels = pixels->data,
                   .n = shape[0] * shape[1],
                   .channels = shape[2],
                   .height = shape[3],
                   .width = shape[4],
                   .patch = vision->patch_size,
                   .rows = shape[3] / vision->patch_size,
                   .columns = shape[4] / vision->patch_size };
    if (v->rows != v->columns || v->rows < 1 || v->rows % m->scale_factor != 0)
        return vlm_fail(err, VLM_ERR_PROCESSING,
                        "prepared input: 'pixel_values': views of %lld x %lld are no squares that "
                        "patches of %lld and scale_factor %lld divide",
                        (long long)v->width, (long long)v->height, (long long)v->patch,
                        (long long)m->scale_factor);
    const vlm_array *mask = vlm_prepared_find(prepared, "pixel_attention_mask");
    if (!mask) return VLM_OK;
    const int64_t like[] = { shape[0], shape[1], shape[3], shape[4] };
    const vlm_dtype type = mask->dtype == VLM_DTYPE_F32 ? VLM_DTYPE_F32 : VLM_DTYPE_I64;
    return vlm_prepared_get(&v->mask, prepared, "pixel_attention_mask", type, 4, like, err);
}

/* The mask of a view; NULL: every pixel holds picture. */
static const void *mask_of(const views *v, int64_t view) {
    if (!v->mask) return NULL;
    const size_t bytes = v->mask->dtype == VLM_DTYPE_F32 ? sizeof(float) : sizeof(int64_t);
    return (const char *)v->mask->data + (size_t)(view * v->height * v->width) * bytes;
}

/* One view: tower, pixel shuffle, projection. @return [tokens, text dim] */
static vlm_tensor view_features(vlm_frame *f, const idefics3 *m, const views *v, int64_t view) {
    const int64_t shape[] = { v->channels, v->height, v->width };
    const vlm_vision_input input = {
        .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 3, shape, pixels_of(v, view)),
        .pixel_mask = mask_of(v, view),
        .mask_dtype = v->mask ? v->mask->dtype : VLM_DTYPE_I64,
    };
    vlm_tensor x = vlm_vision_forward(f, m->vision, &input); /* [patches, vision dim] */
    x = vlm_pixel_shuffle(f, x, v->rows, v->columns, m->scale_factor);
    return vlm_apply_linear(f, x, &m->connector);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared,
                    vlm_features *out) {
    const idefics3 *m = model;
    views v;
    vlm_error err = VLM_ERROR_INIT;
    if (!vlm_prepared_find(prepared, "pixel_values")) return 0;
    if (read_views(&v, m, prepared, &err) < 0) {
        vlm_frame_fail(f, err.code, "%s", err.message);
        return 0;
    }
    int64_t tokens = v.rows / m->scale_factor * (v.columns / m->scale_factor), kept = 0;
    const int64_t shape[] = { v.n * tokens, vlm_text_get_info(m->text)->hidden_size };
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2, shape);
    for (int64_t i = 0; i < v.n && vlm_frame_ok(f); i++) {
        if (is_padding(&v, i)) continue;
        vlm_scope scope = vlm_scope_begin(f);
        vlm_copy_to(f, vlm_rows(f, all, kept++ * tokens, tokens), view_features(f, m, &v, i));
        vlm_scope_end(f, scope);
    }
    if (kept == 0) {
        vlm_frame_fail(f, VLM_ERR_PROCESSING,
                       "prepared input: 'pixel_values' holds nothing but zeros");
        return 0;
    }
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id,
                              .rows = vlm_rows(f, all, 0, kept * tokens),
                              .name = "image_features" };
    return 1;
}

const vlm_model_type vmodel_idefics3 = {
    .model_type = "idefics3",
    .default_processor_class = "Idefics3Processor",
    .aliases = "smolvlm",
    .create = create,
    .text = text_of,
    .features = features,
};
