/* SPDX-License-Identifier: MIT */
/* PaliGemma and PaliGemma 2: a SigLIP tower, one linear layer, a Gemma or Gemma 2 decoder whose prompt tokens
 * all see each other. */
#include "vlm/extend.h"

typedef struct paligemma {
    int64_t image_token_id;
    bool tie_word_embeddings;
    vlm_vision *vision;
    vlm_text *text;
    vlm_linear projector; /* [text dim, vision dim] */
} paligemma;

static const vlm_config_field fields[] = {
    VLM_INT(paligemma, image_token_id, "image_token_id|image_token_index", 0, UINT32_MAX, 257152),
    VLM_BOOL(paligemma, tie_word_embeddings, "tie_word_embeddings|text_config.tie_word_embeddings", true),
};

enum { TEXT, VISION, DIMS };
static const vlm_weight_row rows[] = {
    VLM_BIND_LINEAR(paligemma, projector, "linear", VLM_ALWAYS, TEXT, VISION),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_status create_parts(paligemma *m, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = "siglip_vision_model",
        .prefix = "model.vision_tower.|vision_tower.|model.vision_tower.vision_model.|vision_tower.vision_model.",
    };
    vlm_status status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status < 0) return status;
    const vlm_text_options text = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = "gemma",
        .prefix = "model.language_model.|language_model.|language_model.model.",
        .head_prefix = "|language_model.",
        .tied = m->tie_word_embeddings,
    };
    return vlm_text_new(&m->text, build, &text, err);
}

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    paligemma *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "paligemma: out of memory");
    vlm_status status = vlm_config_read(m, vlm_build_config(build), "config.json", fields, COUNT(fields), err);
    if (status < 0) return status;
    if ((status = create_parts(m, build, err)) < 0) return status;
    const int64_t dims[DIMS] = { vlm_text_get_info(m->text)->hidden_size, vlm_vision_get_info(m->vision)->dim };
    const vlm_binding at = { .prefix = "model.multi_modal_projector.|multi_modal_projector.", .dims = dims };
    if ((status = vlm_bind(build, m, rows, COUNT(rows), &at, err)) < 0) return status;
    *model = m;
    return VLM_OK;
}

static const vlm_text *text_of(const void *model) {
    return ((const paligemma *)model)->text;
}

static vlm_tensor project(vlm_frame *f, const void *model, vlm_tensor x) {
    return vlm_apply_linear(f, x, &((const paligemma *)model)->projector);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const paligemma *m = model;
    const int64_t dim = vlm_text_get_info(m->text)->hidden_size;
    vlm_tensor all = vlm_view_features(f, prepared, m->vision, dim, project, m); /* [pictures * patches, dim] */
    if (all.rank == 0) return 0;
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

/* The reference counts positions from 1. */
static vlm_status positions(const void *model, const vlm_prepared *prepared, vlm_positions *p, vlm_error *err) {
    (void)model;
    (void)prepared;
    (void)err;
    int64_t first = p->past == 0 ? 1 : p->next;
    for (int64_t i = 0; i < p->n; i++) p->at[i] = (int32_t)(first + i);
    p->next = first + p->n;
    return VLM_OK;
}

const vlm_model_type vmodel_paligemma = {
    .model_type = "paligemma",
    .default_processor_class = "PaliGemmaProcessor",
    .create = create,
    .text = text_of,
    .features = features,
    .positions = positions,
    .bidirectional_prompt = true,
};
