/* SPDX-License-Identifier: MIT */
/* Gemma 3: a SigLIP tower whose patches are averaged square by square, normalised and multiplied into the decoder's
 * width; a decoder of windowed and full layers, in which the tokens of a picture all see each other. */
#include <math.h>

#include "vlm/extend.h"

typedef struct gemma3 {
    int64_t image_token_id, mm_tokens_per_image;
    bool tie_word_embeddings, use_bidirectional_attention;
    int64_t patches, side; /* of a side: of the tower, and of what they are averaged to */
    vlm_vision *vision;
    vlm_text *text;
    vlm_norm norm;
    vlm_tensor projection; /* [vision dim, text dim]: the file has it the other way round than linears */
} gemma3;

static const vlm_config_field fields[] = {
    VLM_INT(gemma3, image_token_id, "image_token_id|image_token_index", 0, UINT32_MAX, 262144),
    VLM_INT(gemma3, mm_tokens_per_image, "mm_tokens_per_image", 1, 1 << 20, 256),
    VLM_BOOL(gemma3, tie_word_embeddings, "tie_word_embeddings", true),
    VLM_BOOL(gemma3, use_bidirectional_attention, "text_config.use_bidirectional_attention", false),
};
typedef struct vision_eps {
    float layer_norm_eps;
} vision_eps;
static const vlm_config_field eps_field[] = {
    VLM_REAL(vision_eps, layer_norm_eps, "vision_config.layer_norm_eps", 0, 1, 1e-6),
};

enum { TEXT, VISION, DIMS };
static const vlm_weight_row rows[] = {
    { VLM_WEIGHT_TENSOR, "mm_input_projection_weight", offsetof(gemma3, projection), VLM_DIMS(VISION, TEXT),
      VLM_ALWAYS, VLM_NEVER },
    VLM_BIND_NORM(gemma3, norm, "mm_soft_emb_norm", VLM_NEVER, VISION),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* How many patches become one token. */
static vlm_status measure(gemma3 *m, vlm_error *err) {
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    m->patches = vision->image_size / vision->patch_size;
    m->side = (int64_t)sqrt((double)m->mm_tokens_per_image);
    if (m->side * m->side == m->mm_tokens_per_image && m->patches / m->side > 0
        && m->patches / (m->patches / m->side) == m->side)
        return VLM_OK;
    return vlm_fail_field(err, VLM_ERR_CONFIG, "config.json", "mm_tokens_per_image",
                          "%lld tokens are no square that %lld patches of a side can be averaged to",
                          (long long)m->mm_tokens_per_image, (long long)m->patches);
}

static vlm_status create_parts(gemma3 *m, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = "siglip_vision_model",
        .prefix = "model.vision_tower.|vision_tower.|model.vision_tower.vision_model.|vision_tower.vision_model.",
    };
    vlm_status status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status == VLM_OK) status = measure(m, err);
    if (status < 0) return status;
    const vlm_text_options text = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = "gemma3_text",
        .prefix = "model.language_model.|language_model.|language_model.model.",
        .head_prefix = "|language_model.",
        .tied = m->tie_word_embeddings,
        .mlx_untied = true,
    };
    return vlm_text_new(&m->text, build, &text, err);
}

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    vision_eps eps;
    gemma3 *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "gemma3: out of memory");
    vlm_status status = vlm_config_read(m, config, "config.json", fields, COUNT(fields), err);
    if (status == VLM_OK) status = vlm_config_read(&eps, config, "config.json", eps_field, 1, err);
    if (status == VLM_OK && m->use_bidirectional_attention)
        status = vlm_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "text_config.use_bidirectional_attention",
                                "text that sees what follows it is not supported");
    if (status == VLM_OK) status = create_parts(m, build, err);
    if (status < 0) return status;
    const int64_t dims[DIMS] = { vlm_text_get_info(m->text)->hidden_size, vlm_vision_get_info(m->vision)->dim };
    const vlm_binding at = { .prefix = "model.multi_modal_projector.|multi_modal_projector.", .dims = dims };
    m->norm = (vlm_norm) { .eps = eps.layer_norm_eps, .offset = 1 };
    if ((status = vlm_bind(build, m, rows, COUNT(rows), &at, err)) < 0) return status;
    *model = m;
    return VLM_OK;
}

static const vlm_text *text_of(const void *model) {
    return ((const gemma3 *)model)->text;
}

/* ---- features ---- */
/* The mean of every square of patches. @param x [patches * patches, dim] @return [side * side, dim] */
static vlm_tensor average(vlm_frame *f, const gemma3 *m, vlm_tensor x) {
    const int64_t dim = vlm_vision_get_info(m->vision)->dim, size = m->patches / m->side, used = m->side * size;
    if (used < m->patches) { /* what is left at the right and below is not looked at */
        x = vlm_reshape3(f, x, m->patches, m->patches, dim);
        const int64_t shape[] = { used, used, dim };
        vlm_tensor cut = vlm_tensor_new(f, VLM_DTYPE_F32, 3, shape);
        for (int64_t row = 0; row < used; row++)
            vlm_copy_to(f, vlm_reshape2(f, vlm_rows(f, cut, row, 1), used, dim),
                        vlm_rows(f, vlm_reshape2(f, vlm_rows(f, x, row, 1), m->patches, dim), 0, used));
        x = vlm_reshape2(f, cut, used * used, dim);
    }
    vlm_tensor squares = vlm_pixel_shuffle(f, x, used, used, size); /* [tokens, size * size * dim] */
    vlm_tensor mean = vlm_copy(f, vlm_columns(f, squares, 0, dim));
    for (int64_t i = 1; i < size * size; i++) vlm_add_to(f, mean, vlm_columns(f, squares, i * dim, dim));
    vlm_scale_to(f, mean, 1.0f / (float)(size * size));
    return mean;
}

/* One picture. @param pixels host [channels, side, side] @return [tokens, text dim] */
static vlm_tensor picture_features(vlm_frame *f, const gemma3 *m, const float *pixels, const vlm_linear *projection) {
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    const int64_t shape[] = { vision->channels, vision->image_size, vision->image_size };
    const vlm_vision_input input = { .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 3, shape, pixels) };
    vlm_tensor x = average(f, m, vlm_vision_forward(f, m->vision, &input));
    return vlm_apply_linear(f, vlm_rms_norm(f, x, &m->norm), projection);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const gemma3 *m = model;
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    const int64_t side = vision->image_size, like[] = { -1, vision->channels, side, side };
    const vlm_array *pixels; /* [pictures and crops, 3, side, side] */
    vlm_error err = VLM_ERROR_INIT;
    if (!vlm_prepared_find(prepared, "pixel_values")) return 0;
    if (vlm_prepared_get(&pixels, prepared, "pixel_values", VLM_DTYPE_F32, 4, like, &err) < 0)
        return vlm_frame_fail(f, err.code, "%s", err.message), 0;
    const int64_t n = pixels->shape[0], dim = vlm_text_get_info(m->text)->hidden_size;
    const int64_t shape[] = { n * m->mm_tokens_per_image, dim };
    const vlm_linear projection = { .weight = { .out = dim,
                                                .in = vision->dim,
                                                .data = vlm_permute(f, m->projection, (const int[]) { 1, 0 }) } };
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2, shape);
    for (int64_t i = 0; i < n && vlm_frame_ok(f); i++) {
        vlm_scope scope = vlm_scope_begin(f);
        const float *picture = (const float *)pixels->data + i * vision->channels * side * side;
        vlm_copy_to(f, vlm_rows(f, all, i * m->mm_tokens_per_image, m->mm_tokens_per_image),
                    picture_features(f, m, picture, &projection));
        vlm_scope_end(f, scope);
    }
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

const vlm_model_type vmodel_gemma3 = {
    .model_type = "gemma3",
    .default_processor_class = "Gemma3Processor",
    .create = create,
    .text = text_of,
    .features = features,
    .bidirectional_media = true,
};
