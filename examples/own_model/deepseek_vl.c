/* SPDX-License-Identifier: MIT */
/* DeepSeek-VL outside the library: a SigLIP tower, two linear layers with a GELU between them, a Llama decoder; and
 * its processor, which scales a picture to fit a square and fills the rest with one colour. Written with
 * vlm/extend.h alone, as the built-in families are; golden/ holds what transformers answers. */
#include "deepseek_vl.h"

#include <math.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* ---- the model ------------------------------------------------------------------------------------------- */
typedef struct deepseek_vl {
    int64_t image_token_id;
    bool tie_word_embeddings;
    vlm_vision *vision;
    vlm_text *text;
    vlm_linear linear1, linear2; /* [text dim, vision dim], [text dim, text dim] */
} deepseek_vl;

static const vlm_config_field fields[] = {
    VLM_INT(deepseek_vl, image_token_id, "image_token_id", 0, UINT32_MAX, 100015),
    VLM_BOOL(deepseek_vl, tie_word_embeddings, "tie_word_embeddings|text_config.tie_word_embeddings", true),
};

enum { TEXT, VISION, DIMS };
static const vlm_weight_row rows[] = {
    VLM_BIND_LINEAR(deepseek_vl, linear1, "linear1", VLM_ALWAYS, TEXT, VISION),
    VLM_BIND_LINEAR(deepseek_vl, linear2, "linear2", VLM_ALWAYS, TEXT, TEXT),
};

static vlm_status create_parts(deepseek_vl *m, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = "siglip_vision_model",
        .prefix = "model.vision_model.|model.vision_model.vision_model.",
    };
    vlm_status status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status < 0) return status;
    const vlm_text_options text = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = "llama",
        .prefix = "model.language_model.",
        .head_prefix = "",
        .tied = m->tie_word_embeddings,
    };
    return vlm_text_new(&m->text, build, &text, err);
}

static vlm_status create_model(void **model, vlm_build *build, vlm_error *err) {
    deepseek_vl *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "deepseek_vl: out of memory");
    vlm_status status = vlm_config_read(m, vlm_build_config(build), "config.json", fields, COUNT(fields), err);
    if (status < 0) return status;
    if ((status = create_parts(m, build, err)) < 0) return status;
    const int64_t dims[DIMS] = { vlm_text_get_info(m->text)->hidden_size, vlm_vision_get_info(m->vision)->dim };
    const vlm_binding at = { .prefix = "model.aligner.", .dims = dims };
    if ((status = vlm_bind(build, m, rows, COUNT(rows), &at, err)) < 0) return status;
    *model = m;
    return VLM_OK;
}

static const vlm_text *text_of(const void *model) {
    return ((const deepseek_vl *)model)->text;
}

int64_t deepseek_vl_picture_tokens(const void *model) {
    const vlm_vision_info *vision = vlm_vision_get_info(((const deepseek_vl *)model)->vision);
    int64_t side = vision->image_size / vision->patch_size;
    return side * side;
}

/* One picture. @param pixels host [3, side, side] @return [patches, text dim] */
static vlm_tensor picture_features(vlm_frame *f, const deepseek_vl *m, const float *pixels) {
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    const int64_t shape[] = { vision->channels, vision->image_size, vision->image_size };
    const vlm_vision_input input = { .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 3, shape, pixels) };
    vlm_tensor hidden = vlm_apply_linear(f, vlm_vision_forward(f, m->vision, &input), &m->linear1);
    vlm_activation_to(f, hidden, VLM_ACT_GELU);
    return vlm_apply_linear(f, hidden, &m->linear2);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const deepseek_vl *m = model;
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    const int64_t side = vision->image_size, like[] = { -1, vision->channels, side, side };
    const vlm_array *pixels; /* [pictures, 3, side, side] */
    vlm_error err = VLM_ERROR_INIT;
    if (!vlm_prepared_find(prepared, "pixel_values")) return 0;
    if (vlm_prepared_get(&pixels, prepared, "pixel_values", VLM_DTYPE_F32, 4, like, &err) < 0)
        return vlm_frame_fail(f, err.code, "%s", err.message), 0;
    const int64_t n = pixels->shape[0], tokens = deepseek_vl_picture_tokens(m);
    const int64_t shape[] = { n * tokens, vlm_text_get_info(m->text)->hidden_size };
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2, shape);
    for (int64_t i = 0; i < n && vlm_frame_ok(f); i++) {
        vlm_scope scope = vlm_scope_begin(f);
        const float *picture = (const float *)pixels->data + i * vision->channels * side * side;
        vlm_copy_to(f, vlm_rows(f, all, i * tokens, tokens), picture_features(f, m, picture));
        vlm_scope_end(f, scope);
    }
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

const vlm_model_type deepseek_vl_model = {
    .model_type = "deepseek_vl",
    .default_processor_class = "DeepseekVLProcessor",
    .create = create_model,
    .text = text_of,
    .features = features,
};

/* ---- the processor ------------------------------------------------------------------------------------------ */
typedef struct processor {
    int64_t side, min_size, num_image_tokens, image_token_id;
    const char *image_token; /* text of it, as the chat template writes it; the tokenizer's */
    vlm_pixel_rules rules;
    uint8_t background[3]; /* what the square holds beside the picture: the mean, as a colour */
} processor;

static const vlm_config_field image_fields[] = {
    VLM_INT(processor, side, "size.height", 1, 1 << 13, 384),
    VLM_INT(processor, min_size, "min_size", 1, 1 << 13, 14),
};
static const vlm_config_field processor_fields[] = {
    VLM_INT(processor, num_image_tokens, "num_image_tokens", 1, 1 << 16, 576),
};
static const vlm_config_field token_fields[] = {
    VLM_INT(processor, image_token_id, "image_token_id", 0, UINT32_MAX, 100015),
};
static const vlm_pixel_rules default_rules = VLM_CLIP_PIXEL_RULES;

static vlm_status read_image(processor *p, const vlm_processor_build *build, vlm_error *err) {
    const char *where = build->image_where;
    vlm_status status = vlm_config_read(p, build->image_config, where, image_fields, COUNT(image_fields), err);
    if (status == VLM_OK) status = vlm_pixel_rules_read(&p->rules, build->image_config, where, &default_rules, err);
    if (status < 0) return status;
    if (p->min_size > p->side)
        return vlm_fail_field(err, VLM_ERR_CONFIG, where, "min_size", "%lld exceeds size %lld",
                              (long long)p->min_size, (long long)p->side);
    for (int c = 0; c < 3; c++) {
        if (p->rules.mean[c] < 0 || p->rules.mean[c] > 1)
            return vlm_fail_field(err, VLM_ERR_CONFIG, where, "image_mean", "must be within 0 and 1");
        p->background[c] = (uint8_t)(p->rules.mean[c] * 255);
    }
    return VLM_OK;
}

/* The config names the media token by its id, the tokenizer knows how it is written. */
static vlm_status read_token(processor *p, const vlm_processor_build *build, vlm_error *err) {
    vlm_status status = vlm_config_read(p, build->config, "config.json", token_fields, COUNT(token_fields), err);
    if (status < 0) return status;
    p->image_token = vlm_tokenizer_token(build->tokenizer, (uint32_t)p->image_token_id);
    if (p->image_token) return VLM_OK;
    return vlm_fail_field(err, VLM_ERR_CONFIG, "config.json", "image_token_id", "the tokenizer has no token %lld",
                          (long long)p->image_token_id);
}

static vlm_status create_processor(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    vlm_status status = vlm_config_read(p, build->processor_config, "processor_config.json", processor_fields,
                                        COUNT(processor_fields), err);
    if (status == VLM_OK) status = read_image(p, build, err);
    if (status == VLM_OK) status = read_token(p, build, err);
    if (status == VLM_OK) *out = p;
    return status;
}

static const char *placeholder(const void *self, bool video) {
    return video ? NULL : ((const processor *)self)->image_token;
}

/* Every picture becomes the same number of tokens. */
static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    const processor *p = self;
    const size_t n = (size_t)p->num_image_tokens, bytes = strlen(p->image_token);
    for (size_t i = 0; i < out->n; i++) {
        char *text = vlm_plan_alloc(out, n * bytes + 1, 1);
        if (!text) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
        for (size_t k = 0; k < n; k++) memcpy(text + k * bytes, p->image_token, bytes);
        out->items[i] = (vlm_plan_item) { .expansion = text, .tokens = (int64_t)n };
    }
    return VLM_OK;
}

/* A side of a picture whose longer side becomes p->side. */
static uint32_t scaled(const processor *p, uint32_t side, uint32_t longer) {
    double to = rint(side * ((double)p->side / longer));
    return (uint32_t)fmax(to, (double)p->min_size);
}

/* One colour everywhere: what is left of it lies around the picture. */
static vlm_status fill_background(const processor *p, const vlm_pixel_rules *rules, float *out, vlm_error *err) {
    const vlm_size one = { 1, 1 };
    const size_t area = (size_t)(p->side * p->side);
    float values[3];
    vlm_image *dot;
    vlm_status status = vlm_image_from_pixels(&dot, p->background, one, 3, 3, err);
    if (status < 0) return status;
    vlm_pixels_planar(values, 1, 1, dot, 0, 0, one, rules);
    vlm_image_free(dot);
    for (size_t i = 0; i < 3 * area; i++) out[i] = values[i / area];
    return VLM_OK;
}

/* One picture into [3, side, side] floats at out. */
static vlm_status fill_picture(const processor *p, const vlm_pixel_rules *rules, float *out, const vlm_image *image,
                               vlm_error *err) {
    const vlm_size given = vlm_image_size(image);
    const uint32_t longer = given.width > given.height ? given.width : given.height;
    const vlm_size size = { scaled(p, given.width, longer), scaled(p, given.height, longer) };
    const size_t side = (size_t)p->side, left = (side - size.width) / 2, top = (side - size.height) / 2;
    vlm_image *resized;
    vlm_status status = fill_background(p, rules, out, err);
    if (status == VLM_OK) status = vlm_pixels_resize(&resized, image, size, rules, NULL, err);
    if (status < 0) return status;
    vlm_pixels_planar(out + top * side + left, side, side * side, resized, 0, 0, size, rules);
    vlm_image_free(resized);
    return VLM_OK;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media, vlm_prepared *prepared,
                       vlm_error *err) {
    const processor *p = self;
    const int64_t shape[] = { (int64_t)plan->n, 3, p->side, p->side };
    void *pixels;
    vlm_pixel_rules rules;
    if (plan->n == 0) return VLM_OK;
    vlm_status status = vlm_pixel_rules_for(&rules, &p->rules, plan->processing, err);
    if (status == VLM_OK)
        status = vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 4, shape, &pixels, err);
    for (size_t i = 0; i < plan->n && status == VLM_OK; i++)
        status = fill_picture(p, &rules, (float *)pixels + i * 3 * (size_t)(p->side * p->side), media->frames[i], err);
    return status;
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    const processor *p = self;
    out->size = (vlm_size) { (uint32_t)p->side, (uint32_t)p->side };
    out->do_resize = true;
    vlm_pixel_rules_describe(out, &p->rules);
}

const vlm_processor_type deepseek_vl_processor = {
    .processor_class = "DeepseekVLProcessor",
    .create = create_processor,
    .placeholder = placeholder,
    .add_special_tokens = true,
    .plan = plan,
    .fill = fill,
    .image_processor_config = image_processor_config,
};
