/* SPDX-License-Identifier: MIT */
/* Processor classes LlavaProcessor and LlavaNextProcessor: a picture stands as one <image> token for each row of
 * features. LLaVA 1.5 shows one view of the tower's size; LLaVA-NeXT a view of the whole and tiles of a canvas. */
#include <string.h>

#include "vlm/extend.h"

enum { DEFAULT_STRATEGY, FULL_STRATEGY };

typedef struct processor {
    const char *image_token;
    int64_t image_token_id, patch_size, extra_tokens; /* of num_additional_image_tokens */
    int select_strategy;
    vlm_view_rules view;
    vlm_pinpoints pinpoints; /* LLaVA-NeXT */
    vlm_anyres_rule rule;
} processor;

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* ---- building -------------------------------------------------------------------------------- */
static const vlm_name strategies[] = { { "default", DEFAULT_STRATEGY }, { "full", FULL_STRATEGY }, { NULL, 0 } };
static const vlm_config_field model_fields[] = {
    VLM_INT(processor, image_token_id, "image_token_id|image_token_index", 0, UINT32_MAX, 32000),
    VLM_INT(processor, patch_size, "vision_config.patch_size", 1, 1024, 14),
    VLM_NAME(processor, select_strategy, "vision_feature_select_strategy", strategies, DEFAULT_STRATEGY),
};
static const vlm_config_field fields[] = {
    VLM_INT(processor, patch_size, "patch_size", 1, 1024, VLM_KEEP),
    VLM_INT(processor, extra_tokens, "num_additional_image_tokens", 0, 1, VLM_KEEP),
    VLM_NAME(processor, select_strategy, "vision_feature_select_strategy", strategies, VLM_KEEP),
};

static const vlm_config_field said_field[] = { VLM_INT(processor, patch_size, "patch_size", 1, 1024, 0) };

/* Files of releases that let the model count tokens say nothing of them, or null: then config.json does. */
static vlm_status read_counts(processor *p, const vlm_processor_build *build, vlm_error *err) {
    const vlm_json *given = build->processor_config;
    processor said;
    vlm_status status = vlm_config_read(&said, given, "processor_config.json", said_field, 1, err);
    if (status == VLM_OK) status = vlm_config_read(p, build->config, "config.json", model_fields, COUNT(model_fields), err);
    if (status < 0) return status;
    if (!said.patch_size) p->extra_tokens = p->select_strategy == DEFAULT_STRATEGY;
    status = vlm_config_read(p, given, "processor_config.json", fields, COUNT(fields), err);
    p->image_token = vlm_tokenizer_token(build->tokenizer, (uint32_t)p->image_token_id);
    if (!p->image_token) p->image_token = "<image>";
    return status;
}

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    vlm_status status = read_counts(p, build, err);
    if (status == VLM_OK)
        status = vlm_view_rules_read(&p->view, build->image_config, build->image_where, "CLIPImageProcessor", err);
    if (status == VLM_OK) *out = p;
    return status;
}

static const char *placeholder(const void *self, bool video) {
    return video ? NULL : ((const processor *)self)->image_token;
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    vlm_view_rules_describe(out, &((const processor *)self)->view);
}

/* An item of so many rows of patches and newlines. */
static vlm_status count(const processor *p, vlm_plan *out, size_t i, int64_t rows, vlm_error *err) {
    rows += p->extra_tokens - (p->select_strategy == DEFAULT_STRATEGY);
    if (rows < 1) return vlm_fail(err, VLM_ERR_CONFIG, "processor_config.json: patch_size: a picture has no tokens");
    out->items[i].tokens = rows;
    out->items[i].expansion = vlm_plan_repeat(out, p->image_token, rows);
    return out->items[i].expansion ? VLM_OK : vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
}

/* ---- LLaVA 1.5 ------------------------------------------------------------------------------- */
static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    const processor *p = self;
    const vlm_size view = vlm_view_size(&p->view);
    vlm_status status = VLM_OK;
    for (size_t i = 0; i < out->n && status == VLM_OK; i++)
        status = count(p, out, i, (view.height / p->patch_size) * (view.width / p->patch_size), err);
    return status;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media, vlm_prepared *prepared,
                       vlm_error *err) {
    if (plan->n == 0) return VLM_OK;
    return vlm_views_fill(&((const processor *)self)->view, plan, media, prepared, err);
}

static const vlm_message_format message_format = { .name = "list_with_image", .image = "image", .behind = true };

const vlm_processor_type vmodel_llava_processor = {
    .processor_class = "LlavaProcessor",
    .create = create,
    .placeholder = placeholder,
    .message_format = &message_format,
    .add_special_tokens = true,
    .plan = plan,
    .fill = fill,
    .image_processor_config = image_processor_config,
};

/* ---- LLaVA-NeXT ------------------------------------------------------------------------------ */
static vlm_status create_next(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    vlm_status status = read_counts(p, build, err);
    if (status == VLM_OK)
        status = vlm_view_rules_read(&p->view, build->image_config, build->image_where, "LlavaNextImageProcessor", err);
    if (status == VLM_OK)
        status = vlm_pinpoints_read(&p->pinpoints, build->image_config, build->image_where, err);
    if (status < 0) return status;
    const vlm_size view = vlm_view_size(&p->view);
    const uint32_t whole = p->view.shortest_edge ? p->view.shortest_edge : p->view.size.width;
    if (view.width != view.height || whole != view.width)
        return vlm_fail_field(err, VLM_ERR_UNSUPPORTED, build->image_where, "crop_size",
                              "tiles must be squares of the size that views are resized to");
    p->rule = (vlm_anyres_rule) { p->pinpoints.at, p->pinpoints.n, view.width, (uint32_t)p->patch_size };
    *out = p;
    return VLM_OK;
}

static vlm_status plan_next(const void *self, vlm_plan *out, vlm_error *err) {
    const processor *p = self;
    for (size_t i = 0; i < out->n; i++) {
        vlm_anyres_plan *geometry = vlm_plan_alloc(out, 1, sizeof *geometry);
        if (!geometry) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
        vlm_status status = vlm_plan_anyres(geometry, out->media[i].size, &p->rule, err);
        if (status == VLM_OK) status = count(p, out, i, geometry->tokens, err);
        if (status < 0) return status;
        out->items[i].geometry = geometry;
    }
    return VLM_OK;
}

/* The whole, then the tiles of the canvas, into [views, 3, tile, tile] floats at out. */
static vlm_status fill_views(float *out, const processor *p, const vlm_anyres_plan *g, const vlm_pixel_rules *rules,
                             const vlm_image *image, vlm_threads *threads, vlm_error *err) {
    const vlm_size tile = { p->rule.tile, p->rule.tile };
    const size_t area = (size_t)tile.width * tile.height;
    vlm_image *whole, *resized, *canvas = NULL;
    vlm_status status = vlm_pixels_resize(&whole, image, tile, rules, threads, err);
    if (status < 0) return status;
    vlm_pixels_planar(out, tile.width, area, whole, 0, 0, tile, rules);
    vlm_image_free(whole);
    if ((status = vlm_pixels_resize(&resized, image, g->resized, rules, threads, err)) < 0) return status;
    status = vlm_image_crop(&canvas, resized, -(int32_t)g->x, -(int32_t)g->y, g->canvas, err);
    vlm_image_free(resized);
    if (status < 0) return status;
    for (uint32_t y = 0; y < g->tiles.rows; y++)
        for (uint32_t x = 0; x < g->tiles.columns; x++)
            vlm_pixels_planar(out += 3 * area, tile.width, area, canvas, x * tile.width, y * tile.height, tile, rules);
    vlm_image_free(canvas);
    return VLM_OK;
}

static vlm_status fill_next(const void *self, const vlm_plan *plan, const vlm_media *media, vlm_prepared *prepared,
                            vlm_error *err) {
    const processor *p = self;
    const int64_t n = (int64_t)plan->n, tile = p->rule.tile;
    int64_t views = 0;
    if (n == 0) return VLM_OK;
    for (int64_t i = 0; i < n; i++) {
        const vlm_anyres_plan *g = plan->items[i].geometry;
        int64_t needed = 1 + (int64_t)g->tiles.columns * g->tiles.rows;
        if (needed > views) views = needed;
    }
    const int64_t shape[] = { n, views, 3, tile, tile }, pair[] = { n, 2 };
    void *pixels, *sizes;
    vlm_pixel_rules rules;
    vlm_status status = vlm_pixel_rules_for(&rules, &p->view.pixels, plan->processing, err);
    if (status == VLM_OK) status = vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 5, shape, &pixels, err);
    if (status == VLM_OK) status = vlm_prepared_add(prepared, "image_sizes", VLM_DTYPE_I64, 2, pair, &sizes, err);
    for (int64_t i = 0; i < n && status == VLM_OK; i++) {
        const vlm_size size = plan->media[i].size;
        ((int64_t *)sizes)[2 * i] = size.height;
        ((int64_t *)sizes)[2 * i + 1] = size.width;
        status = fill_views((float *)pixels + i * views * 3 * tile * tile, p, plan->items[i].geometry, &rules,
                            media->frames[i], media->threads, err);
    }
    return status;
}

const vlm_processor_type vmodel_llava_next_processor = {
    .processor_class = "LlavaNextProcessor",
    .create = create_next,
    .placeholder = placeholder,
    .message_format = &message_format,
    .add_special_tokens = true,
    .plan = plan_next,
    .fill = fill_next,
    .image_processor_config = image_processor_config,
};
