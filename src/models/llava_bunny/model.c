/* SPDX-License-Identifier: MIT */
/* Bunny and nanoLLaVA: SigLIP's last hidden state through two linear layers, in front of a Qwen2 or Llama decoder.
 * FastVLM: the same of Apple's FastViTHD. Both in the manner of the first LLaVA: decoder keys at the config's top
 * level, a media token that is none of the vocabulary (-200). */
#include "vlm/extend.h"

/* What the families differ in; in constants, vision.config is found while building. */
typedef struct family {
    const char *vision_type, *vision_prefix, *text_type, *head_prefix;
    bool last_layer; /* the tower's last hidden state, without the norm behind it */
    bool mlx_untied;
} family;

static const family bunny = {
    .vision_type = "siglip_so400m",
    .vision_prefix = "model.vision_tower.vision_tower.vision_model.|vision_tower.vision_tower.vision_model.",
    .text_type = "qwen2",
    .head_prefix = "|language_model.model.",
    .last_layer = true,
    .mlx_untied = true,
};

static const family fastvlm = {
    .vision_type = "fastvithd",
    .vision_prefix = "model.vision_tower.vision_tower.model.|vision_tower.vision_model.",
    .text_type = "qwen2",
    .head_prefix = "|language_model.",
};

typedef struct llava {
    int64_t image_token_id;
    bool tied;
    vlm_vision *vision;
    vlm_text *text;
    vlm_mlp projector;
} llava;

static const vlm_name projector_types[] = { { "mlp2x_gelu", 0 }, { NULL, 0 } };
typedef struct projector_config {
    int type;
} projector_config;
static const vlm_config_field projector_fields[] = {
    VLM_NAME(projector_config, type, "mm_projector_type", projector_types, 0),
};
static const vlm_config_field fields[] = {
    VLM_INT(llava, image_token_id, "image_token_id|image_token_index", INT32_MIN, INT32_MAX, -200),
    VLM_BOOL(llava, tied, "tie_word_embeddings|text_config.tie_word_embeddings", false),
};

enum { TEXT, VISION, DIMS };
enum { BUNNY = 1, FASTVLM = 2 }; /* MLX has names of its own for the one's projector */
static const vlm_weight_row rows[] = {
    VLM_BIND_LINEAR_IF(BUNNY, llava, projector.fc1, "mm_projector.0|mm_projector.linear_1", VLM_ALWAYS, TEXT, VISION),
    VLM_BIND_LINEAR_IF(BUNNY, llava, projector.fc2, "mm_projector.2|mm_projector.linear_2", VLM_ALWAYS, TEXT, TEXT),
    VLM_BIND_LINEAR_IF(FASTVLM, llava, projector.fc1, "mm_projector.0", VLM_ALWAYS, TEXT, VISION),
    VLM_BIND_LINEAR_IF(FASTVLM, llava, projector.fc2, "mm_projector.2", VLM_ALWAYS, TEXT, TEXT),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_status create_parts(llava *m, vlm_build *build, const family *of, vlm_error *err) {
    static const vlm_ints last = { 1, { -1 } };
    const vlm_json *config = vlm_build_config(build), *text_config = vlm_json_find(config, "text_config.hidden_size");
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = of->vision_type,
        .prefix = of->vision_prefix,
        .layers = of->last_layer ? &last : NULL,
    };
    vlm_status status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status < 0) return status;
    const vlm_text_options text = {
        .config = text_config ? vlm_json_find(config, "text_config") : config,
        .fallback_type = of->text_type,
        .prefix = "model.|language_model.model.",
        .head_prefix = of->head_prefix,
        .tied = m->tied,
        .mlx_untied = of->mlx_untied,
    };
    return vlm_text_new(&m->text, build, &text, err);
}

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    projector_config projector;
    llava *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "llava: out of memory");
    vlm_status status = vlm_config_read(m, config, "config.json", fields, COUNT(fields), err);
    if (status == VLM_OK)
        status = vlm_config_read(&projector, config, "config.json", projector_fields, COUNT(projector_fields), err);
    if (status == VLM_OK) status = create_parts(m, build, vlm_build_user(build), err);
    if (status < 0) return status;
    m->projector.act = VLM_ACT_GELU;
    const int64_t dims[DIMS] = { vlm_text_get_info(m->text)->hidden_size, vlm_vision_get_info(m->vision)->dim };
    const vlm_binding at = { .prefix = "model.|", .dims = dims,
                             .conditions = vlm_build_user(build) == &fastvlm ? FASTVLM : BUNNY };
    if ((status = vlm_bind(build, m, rows, COUNT(rows), &at, err)) == VLM_OK) *model = m;
    return status;
}

static const vlm_text *text_of(const void *model) {
    return ((const llava *)model)->text;
}

static vlm_tensor project(vlm_frame *f, const void *model, vlm_tensor x) {
    return vlm_apply_mlp(f, x, &((const llava *)model)->projector);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const llava *m = model;
    const int64_t dim = vlm_text_get_info(m->text)->hidden_size;
    vlm_tensor all = vlm_view_features(f, prepared, m->vision, dim, project, m);
    if (all.rank == 0) return 0;
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

const vlm_model_type vmodel_llava_bunny = {
    .model_type = "llava_bunny",
    .default_processor_class = "BunnyProcessor",
    .processor_class = "BunnyProcessor",
    .create = create,
    .text = text_of,
    .features = features,
    .user = &bunny,
};

const vlm_model_type vmodel_fastvlm = {
    .model_type = "fastvlm",
    .processor_class = "FastVLMProcessor",
    .default_processor_class = "FastVLMProcessor",
    .create = create,
    .text = text_of,
    .features = features,
    .user = &fastvlm,
};
