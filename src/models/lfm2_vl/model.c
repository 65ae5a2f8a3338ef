/* SPDX-License-Identifier: MIT */
/* LFM2-VL: a SigLIP 2 tower that takes views of any shape (NaFlex), pixel unshuffle and a two-layer
 * projector, an LFM2 decoder of attention and short convolutions. */
#include "vlm/extend.h"

typedef struct lfm2_vl {
    int64_t image_token_id, downsample_factor, projector_hidden_size;
    int projector_hidden_act;
    bool projector_bias, projector_use_layernorm, tie_word_embeddings;
    vlm_vision *vision;
    vlm_text *text;
    vlm_norm layer_norm; /* [unshuffled] */
    vlm_mlp projector;   /* unshuffled to projector_hidden_size to text dim */
} lfm2_vl;

static const vlm_config_field fields[] = {
    VLM_INT(lfm2_vl, image_token_id, "image_token_id|image_token_index", 0, UINT32_MAX, 396),
    VLM_INT(lfm2_vl, downsample_factor, "downsample_factor", 1, 64, 2),
    VLM_INT(lfm2_vl, projector_hidden_size, "projector_hidden_size", 1, 1 << 16, 2560),
    VLM_NAME(lfm2_vl, projector_hidden_act, "projector_hidden_act", vlm_activation_names, VLM_ACT_GELU),
    VLM_BOOL(lfm2_vl, projector_bias, "projector_bias", true),
    VLM_BOOL(lfm2_vl, projector_use_layernorm, "projector_use_layernorm", true),
    VLM_BOOL(lfm2_vl, tie_word_embeddings, "tie_embedding|tie_word_embeddings", true),
};

enum { TEXT, HIDDEN, UNSHUFFLED, DIMS };
enum { BIAS = 1, NORM = 2, NO_NORM = 4 };
static const vlm_weight_row rows[] = {
    VLM_BIND_NORM_IF(NORM, lfm2_vl, layer_norm, "layer_norm", VLM_ALWAYS, UNSHUFFLED),
    VLM_BIND_IGNORED_IF(NO_NORM, "layer_norm.*"),
    VLM_BIND_LINEAR(lfm2_vl, projector.fc1, "linear_1", BIAS, HIDDEN, UNSHUFFLED),
    VLM_BIND_LINEAR(lfm2_vl, projector.fc2, "linear_2", BIAS, TEXT, HIDDEN),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_status create_parts(lfm2_vl *m, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = "siglip2_vision_model",
        .prefix = "model.vision_tower.|model.vision_tower.vision_model.|vision_tower.",
    };
    const vlm_text_options text = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = "lfm2",
        .prefix = "model.language_model.|language_model.model.",
        .head_prefix = "|language_model.",
        .tied = m->tie_word_embeddings,
    };
    vlm_status status = vlm_vision_new(&m->vision, build, &vision, err);
    return status < 0 ? status : vlm_text_new(&m->text, build, &text, err);
}

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    lfm2_vl *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "lfm2_vl: out of memory");
    vlm_status status = vlm_config_read(m, vlm_build_config(build), "config.json", fields, COUNT(fields), err);
    if (status < 0) return status;
    if ((status = create_parts(m, build, err)) < 0) return status;
    m->layer_norm.eps = 1e-5f;
    m->projector.act = (vlm_activation)m->projector_hidden_act;
    const int64_t dims[DIMS] = {
        vlm_text_get_info(m->text)->hidden_size,
        m->projector_hidden_size,
        vlm_vision_get_info(m->vision)->dim * m->downsample_factor * m->downsample_factor,
    };
    const vlm_binding at = {
        .prefix = "model.multi_modal_projector.|multi_modal_projector.",
        .dims = dims,
        .conditions = (m->projector_bias ? BIAS : 0) | (m->projector_use_layernorm ? NORM : NO_NORM),
    };
    if ((status = vlm_bind(build, m, rows, COUNT(rows), &at, err)) < 0) return status;
    *model = m;
    return VLM_OK;
}

static const vlm_text *text_of(const void *model) {
    return ((const lfm2_vl *)model)->text;
}

/* ---- features -------------------------------------------------------------------------------- */
/* The views of a prepared input: rows of patches, padded to the same number. */
typedef struct views {
    const vlm_array *pixels; /* [n, patches, values] */
    const int64_t *shapes;   /* [n, 2]: height and width in patches */
    int64_t n, tokens;
} views;

static vlm_status read_views(views *v, const lfm2_vl *m, const vlm_prepared *prepared, vlm_error *err) {
    const vlm_array *shapes;
    const int64_t any[] = { -1, -1, -1 }, factor = m->downsample_factor;
    vlm_status status = vlm_prepared_get(&v->pixels, prepared, "pixel_values", VLM_DTYPE_F32, 3, any, err);
    if (status < 0) return status;
    v->n = v->pixels->shape[0];
    const int64_t pairs[] = { v->n, 2 }, patches = v->pixels->shape[1];
    status = vlm_prepared_get(&shapes, prepared, "spatial_shapes", VLM_DTYPE_I64, 2, pairs, err);
    if (status < 0) return status;
    v->shapes = shapes->data;
    v->tokens = 0;
    for (int64_t i = 0; i < v->n; i++) {
        const int64_t height = v->shapes[2 * i], width = v->shapes[2 * i + 1];
        if (height < 1 || width < 1 || height % factor || width % factor || height > patches / width)
            return vlm_fail(err, VLM_ERR_PROCESSING,
                            "prepared input: 'spatial_shapes': view %lld of %lld x %lld patches does not fit "
                            "downsample_factor %lld and the %lld patches of 'pixel_values'",
                            (long long)i, (long long)height, (long long)width, (long long)factor,
                            (long long)patches);
        v->tokens += height / factor * (width / factor);
    }
    return VLM_OK;
}

/* One view: tower, unshuffle, projector. @return [tokens, text dim] */
static vlm_tensor view_features(vlm_frame *f, const lfm2_vl *m, const views *v, int64_t i) {
    const int64_t height = v->shapes[2 * i], width = v->shapes[2 * i + 1];
    const int64_t *shape = v->pixels->shape, grid[] = { 1, height, width };
    const int64_t seen[] = { height * width, shape[2] };
    const float *pixels = (const float *)v->pixels->data + i * shape[1] * shape[2];
    const vlm_vision_input input = {
        .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 2, seen, pixels),
        .grids = grid,
        .n_grids = 1,
    };
    vlm_tensor x = vlm_vision_forward(f, m->vision, &input); /* [patches, vision dim] */
    x = vlm_pixel_shuffle(f, x, height, width, m->downsample_factor);
    if (m->projector_use_layernorm) x = vlm_layer_norm(f, x, &m->layer_norm);
    return vlm_apply_mlp(f, x, &m->projector);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const lfm2_vl *m = model;
    views v;
    vlm_error err = VLM_ERROR_INIT;
    if (!vlm_prepared_find(prepared, "pixel_values")) return 0;
    if (read_views(&v, m, prepared, &err) < 0) return vlm_frame_fail(f, err.code, "%s", err.message), 0;
    const int64_t shape[] = { v.tokens, vlm_text_get_info(m->text)->hidden_size };
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2, shape);
    for (int64_t i = 0, at = 0; i < v.n && vlm_frame_ok(f); i++) {
        vlm_scope scope = vlm_scope_begin(f);
        vlm_tensor rows_of_view = view_features(f, m, &v, i);
        if (vlm_frame_ok(f)) vlm_copy_to(f, vlm_rows(f, all, at, rows_of_view.shape[0]), rows_of_view);
        at += rows_of_view.shape[0];
        vlm_scope_end(f, scope);
    }
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

const vlm_model_type vmodel_lfm2_vl = {
    .model_type = "lfm2_vl",
    .default_processor_class = "Lfm2VlProcessor",
    .create = create,
    .text = text_of,
    .features = features,
};
