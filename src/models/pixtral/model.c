/* SPDX-License-Identifier: MIT */
/* Mistral 3, and Pixtral as MLX has it (to transformers Pixtral is a LLaVA model over the same tower): a Pixtral tower,
 * two linear layers, a Mistral or Ministral 3 decoder. Mistral 3 first merges neighbouring patches. */
#include "vlm/extend.h"

typedef struct mistral3 {
    bool merges; /* Mistral 3 */
    int64_t image_token_id, spatial_merge_size;
    bool tie_word_embeddings, projector_bias;
    int projector_act;
    float rms_norm_eps;
    vlm_ints feature_layer;
    vlm_vision *vision;
    vlm_text *text;
    vlm_norm norm;
    vlm_linear merging_layer; /* [vision dim, vision dim * merge * merge] */
    vlm_mlp projector;
} mistral3;

/* ---- building -------------------------------------------------------------------------------- */
/* Published files are silent on the head of those decoders that have one of their own. */
static const vlm_config_field fields[] = {
    VLM_INT(mistral3, image_token_id, "image_token_id|image_token_index", 0, UINT32_MAX, 10),
    VLM_BOOL(mistral3, tie_word_embeddings, "tie_word_embeddings|text_config.tie_word_embeddings", false),
    VLM_BOOL(mistral3, projector_bias, "multimodal_projector_bias", VLM_KEEP),
    VLM_NAME(mistral3, projector_act, "projector_hidden_act", vlm_activation_names, VLM_ACT_GELU),
    VLM_INTS(mistral3, feature_layer, "vision_feature_layer", -1024, 1024),
};
static const vlm_config_field merging_fields[] = {
    VLM_INT(mistral3, spatial_merge_size, "spatial_merge_size", 1, 64, 2),
    VLM_REAL(mistral3, rms_norm_eps, "text_config.rms_norm_eps", 0, 1, 1e-5),
};

enum { TEXT, VISION, MERGED, DIMS };
enum { BIAS = 1, MERGES = 2 };
static const vlm_weight_row projector_rows[] = {
    VLM_BIND_NORM_IF(MERGES, mistral3, norm, "norm", VLM_NEVER, VISION),
    VLM_BIND_LINEAR_IF(MERGES, mistral3, merging_layer, "patch_merger.merging_layer", VLM_NEVER, VISION, MERGED),
    VLM_BIND_LINEAR(mistral3, projector.fc1, "linear_1", BIAS, TEXT, VISION),
    VLM_BIND_LINEAR(mistral3, projector.fc2, "linear_2", BIAS, TEXT, TEXT),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_status read_config(mistral3 *m, const vlm_json *config, vlm_error *err) {
    m->projector_bias = !m->merges;
    vlm_status status = vlm_config_read(m, config, "config.json", fields, COUNT(fields), err);
    if (status == VLM_OK && m->merges)
        status = vlm_config_read(m, config, "config.json", merging_fields, COUNT(merging_fields), err);
    if (m->feature_layer.n == 0) m->feature_layer = (vlm_ints) { 1, { -1 } };
    if (status < 0 || !m->merges || m->feature_layer.n == 1) return status;
    return vlm_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_feature_layer",
                          "patches of one hidden state are merged, not of %lld", (long long)m->feature_layer.n);
}

static vlm_status create_parts(mistral3 *m, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = "pixtral",
        .prefix = "model.vision_tower.|vision_tower.|vision_tower.vision_model.",
        .layers = &m->feature_layer,
    };
    vlm_status status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status < 0) return status;
    const vlm_vision_info *info = vlm_vision_get_info(m->vision);
    if (info->image_size != 0 || info->extra_rows != 0)
        return vlm_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_config.model_type",
                              "pictures of any size need Pixtral's tower");
    const vlm_text_options text = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = "mistral",
        .prefix = "model.language_model.|language_model.|language_model.model.",
        .head_prefix = "|language_model.",
        .tied = m->tie_word_embeddings,
    };
    return vlm_text_new(&m->text, build, &text, err);
}

static vlm_status create_any(void **model, vlm_build *build, bool merges, vlm_error *err) {
    mistral3 *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "mistral3: out of memory");
    m->merges = merges;
    vlm_status status = read_config(m, vlm_build_config(build), err);
    if (status == VLM_OK) status = create_parts(m, build, err);
    if (status < 0) return status;
    m->projector.act = (vlm_activation)m->projector_act;
    m->norm.eps = m->rms_norm_eps;
    const int64_t vision = vlm_vision_get_info(m->vision)->dim, merge = m->spatial_merge_size;
    const int64_t dims[DIMS] = { vlm_text_get_info(m->text)->hidden_size, vision, vision * merge * merge };
    const vlm_binding at = { .prefix = "model.multi_modal_projector.|multi_modal_projector.", .dims = dims,
                             .conditions = (m->projector_bias ? BIAS : 0) | (merges ? MERGES : 0) };
    if ((status = vlm_bind(build, m, projector_rows, COUNT(projector_rows), &at, err)) == VLM_OK) *model = m;
    return status;
}

static vlm_status create_mistral3(void **model, vlm_build *build, vlm_error *err) {
    return create_any(model, build, true, err);
}

static vlm_status create_pixtral(void **model, vlm_build *build, vlm_error *err) {
    return create_any(model, build, false, err);
}

static const vlm_text *text_of(const void *model) {
    return ((const mistral3 *)model)->text;
}

/* ---- features -------------------------------------------------------------------------------- */
/* Pictures of a prepared input, each in the upper left of its place. */
typedef struct pictures {
    int64_t n, channels, height, width; /* of a place */
    const float *pixels;                /* [n, channels, height, width] */
    const int64_t *sizes;               /* [n, 2]: height, width */
} pictures;

static vlm_status find_pictures(pictures *p, const mistral3 *m, const vlm_prepared *prepared, vlm_error *err) {
    const int64_t like[] = { -1, vlm_vision_get_info(m->vision)->channels, -1, -1 };
    const vlm_array *pixels, *sizes;
    vlm_status status = vlm_prepared_get(&pixels, prepared, "pixel_values", VLM_DTYPE_F32, 4, like, err);
    if (status < 0) return status;
    const int64_t pair[] = { pixels->shape[0], 2 };
    if ((status = vlm_prepared_get(&sizes, prepared, "image_sizes", VLM_DTYPE_I64, 2, pair, err)) < 0) return status;
    *p = (pictures) { pair[0], like[1], pixels->shape[2], pixels->shape[3], pixels->data, sizes->data };
    const int64_t least = vlm_vision_get_info(m->vision)->patch_size * (m->merges ? m->spatial_merge_size : 1);
    for (int64_t i = 0; i < p->n; i++) {
        const int64_t *size = p->sizes + 2 * i;
        if (size[0] < least || size[1] < least || size[0] > p->height || size[1] > p->width)
            return vlm_fail(err, VLM_ERR_PROCESSING,
                            "prepared input: 'image_sizes': picture %lld of %lld x %lld has no place in %lld x %lld pixels",
                            (long long)i, (long long)size[1], (long long)size[0], (long long)p->width, (long long)p->height);
    }
    return VLM_OK;
}

/* Squares of patches become one row each, their values channel by channel. @param x [rows * columns, dim] */
static vlm_tensor merge(vlm_frame *f, const mistral3 *m, vlm_tensor x, int64_t rows, int64_t columns) {
    const int64_t size = m->spatial_merge_size, dim = vlm_vision_get_info(m->vision)->dim;
    const int64_t used_rows = rows / size * size, used = columns / size * size;
    x = vlm_rms_norm(f, x, &m->norm);
    if (used < columns) { /* what fills no square is left out */
        vlm_tensor cut = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { used_rows * used, dim });
        for (int64_t row = 0; row < used_rows; row++)
            vlm_copy_to(f, vlm_rows(f, cut, row * used, used), vlm_rows(f, x, row * columns, used));
        x = cut;
    }
    x = vlm_pixel_shuffle(f, vlm_rows(f, x, 0, used_rows * used), used_rows, used, size);
    x = vlm_permute(f, vlm_reshape3(f, x, -1, size * size, dim), (const int[]) { 0, 2, 1 });
    return vlm_apply_linear(f, vlm_reshape2(f, x, -1, dim * size * size), &m->merging_layer);
}

static int64_t tokens_of(const mistral3 *m, const pictures *p, int64_t i) {
    const int64_t patch = vlm_vision_get_info(m->vision)->patch_size, size = m->merges ? m->spatial_merge_size : 1;
    return p->sizes[2 * i] / patch / size * (p->sizes[2 * i + 1] / patch / size);
}

/* @return [tokens, text dim] */
static vlm_tensor picture_features(vlm_frame *f, const mistral3 *m, const pictures *p, int64_t i) {
    const int64_t patch = vlm_vision_get_info(m->vision)->patch_size, *size = p->sizes + 2 * i;
    const int64_t shape[] = { p->channels, p->height, p->width };
    vlm_vision_input input = {
        .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 3, shape, p->pixels + i * p->channels * p->height * p->width)
    };
    input.pixels.shape[1] = size[0];
    input.pixels.shape[2] = size[1];
    vlm_tensor x = vlm_vision_forward(f, m->vision, &input);
    if (m->merges) x = merge(f, m, x, size[0] / patch, size[1] / patch);
    return vlm_apply_mlp(f, x, &m->projector);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const mistral3 *m = model;
    pictures p;
    vlm_error err = VLM_ERROR_INIT;
    int64_t total = 0;
    if (!vlm_prepared_find(prepared, "pixel_values")) return 0;
    if (find_pictures(&p, m, prepared, &err) < 0) return vlm_frame_fail(f, err.code, "%s", err.message), 0;
    for (int64_t i = 0; i < p.n; i++) total += tokens_of(m, &p, i);
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2,
                                    (int64_t[]) { total, vlm_text_get_info(m->text)->hidden_size });
    for (int64_t i = 0, at = 0, n; i < p.n && vlm_frame_ok(f); i++, at += n) {
        vlm_scope scope = vlm_scope_begin(f);
        n = tokens_of(m, &p, i);
        vlm_copy_to(f, vlm_rows(f, all, at, n), picture_features(f, m, &p, i));
        vlm_scope_end(f, scope);
    }
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

const vlm_model_type vmodel_mistral3 = {
    .model_type = "mistral3",
    .default_processor_class = "PixtralProcessor",
    .create = create_mistral3,
    .text = text_of,
    .features = features,
};

const vlm_model_type vmodel_pixtral = {
    .model_type = "pixtral",
    .default_processor_class = "PixtralProcessor",
    .create = create_pixtral,
    .text = text_of,
    .features = features,
};
