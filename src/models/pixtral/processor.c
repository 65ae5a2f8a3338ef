/* SPDX-License-Identifier: MIT */
/* Processor class PixtralProcessor, Mistral 3's too: a picture keeps its shape and becomes whole patches (or squares of
 * patches that are merged), a token each; a mark ends every line of them, another one the picture. */
#include <string.h>

#include "vlm/extend.h"

#define IMAGE "[IMG]"
#define BREAK "[IMG_BREAK]"
#define END "[IMG_END]"

enum { MOST_TOKENS = 1 << 20 };

typedef struct processor {
    bool do_resize;
    int64_t longest_edge, height, width; /* 0: absent */
    int64_t patch_size, spatial_merge_size;
    vlm_pixel_rules rules;
} processor;

/* What becomes of a picture. */
typedef struct geometry {
    vlm_size size;
    vlm_grid tokens;
} geometry;

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
static const vlm_config_field fields[] = {
    VLM_BOOL(processor, do_resize, "do_resize", true),
    VLM_INT(processor, longest_edge, "size.longest_edge", 1, 1 << 15, 0),
    VLM_INT(processor, height, "size.height", 1, 1 << 15, 0),
    VLM_INT(processor, width, "size.width", 1, 1 << 15, 0),
};
/* config.json speaks where the processor's file is silent. */
static const vlm_config_field model_fields[] = {
    VLM_INT(processor, patch_size, "vision_config.patch_size", 1, 1024, 16),
    VLM_INT(processor, spatial_merge_size, "spatial_merge_size", 1, 64, 1),
};
static const vlm_config_field own_fields[] = {
    VLM_INT(processor, patch_size, "patch_size", 1, 1024, VLM_KEEP),
    VLM_INT(processor, spatial_merge_size, "spatial_merge_size", 1, 64, VLM_KEEP),
};
static const vlm_pixel_rules default_rules = VLM_CLIP_PIXEL_RULES;

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    const char *where = build->image_where;
    vlm_status status = vlm_config_read(p, build->image_config, where, fields, COUNT(fields), err);
    if (status == VLM_OK)
        status = vlm_config_read(p, build->config, "config.json", model_fields, COUNT(model_fields), err);
    if (status == VLM_OK)
        status = vlm_config_read(p, build->processor_config, "processor_config.json", own_fields, COUNT(own_fields), err);
    if (status == VLM_OK)
        status = vlm_pixel_rules_read(&p->rules, build->image_config, where, &default_rules, err);
    if (status < 0) return status;
    if (!vlm_json_find(build->image_config, "size")) p->longest_edge = 1024;
    if (p->longest_edge) p->height = p->width = p->longest_edge;
    if (p->height == 0 || p->width == 0)
        return vlm_fail_field(err, VLM_ERR_CONFIG, where, "size", "must have longest_edge, or height and width");
    *out = p;
    return VLM_OK;
}

static const char *placeholder(const void *self, bool video) {
    (void)self;
    return video ? NULL : IMAGE;
}

/* ---- plan ---- */
static vlm_status measure(geometry *g, const processor *p, vlm_size size, vlm_error *err) {
    const uint32_t side = (uint32_t)(p->patch_size * p->spatial_merge_size);
    const vlm_size box = { (uint32_t)p->width, (uint32_t)p->height };
    if (p->do_resize) return vlm_resize_pixtral(&g->size, &g->tokens, size, box, (vlm_size) { side, side }, err);
    *g = (geometry) { size, { size.width / side, size.height / side } };
    if (g->tokens.columns && g->tokens.rows) return VLM_OK;
    return vlm_fail(err, VLM_ERR_IMAGE_PROCESSING, "a picture of %u x %u has no patch of %u, and do_resize is false",
                    size.width, size.height, side);
}

static char *append(char *to, const char *text) {
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

/* Lines of tokens; NULL: no memory. */
static char *picture_text(vlm_plan *plan, vlm_grid tokens) {
    const size_t line = tokens.columns * (sizeof IMAGE - 1) + sizeof BREAK - 1;
    char *text = vlm_plan_alloc(plan, tokens.rows * line + 1, 1), *end = text;
    for (uint32_t y = 0; text && y < tokens.rows; y++) {
        for (uint32_t x = 0; x < tokens.columns; x++) end = append(end, IMAGE);
        end = append(end, y + 1 < tokens.rows ? BREAK : END);
    }
    return text;
}

static vlm_status plan_picture(const processor *p, vlm_plan *out, size_t i, vlm_error *err) {
    geometry *g = vlm_plan_alloc(out, 1, sizeof *g);
    if (!g) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    vlm_status status = measure(g, p, out->media[i].size, err);
    if (status < 0) return status;
    const int64_t tokens = (int64_t)g->tokens.columns * g->tokens.rows;
    if (tokens > MOST_TOKENS)
        return vlm_fail(err, VLM_ERR_LIMIT, "%u x %u tokens of a picture are too many", g->tokens.columns, g->tokens.rows);
    char *text = picture_text(out, g->tokens);
    if (!text) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    out->items[i] = (vlm_plan_item) { text, tokens, g };
    return VLM_OK;
}

static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    for (size_t i = 0; i < out->n; i++) {
        vlm_status status = plan_picture(self, out, i, err);
        if (status < 0) return status;
    }
    return VLM_OK;
}

/* ---- fill ---- */
/* All pictures, each in the upper left of zeros as high and wide as the highest and the widest of them. */
static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media, vlm_prepared *prepared,
                       vlm_error *err) {
    const processor *p = self;
    vlm_size most = { 0, 0 };
    vlm_pixel_rules rules;
    void *pixels, *sizes;
    if (plan->n == 0) return VLM_OK;
    for (size_t i = 0; i < plan->n; i++) {
        const geometry *g = plan->items[i].geometry;
        if (g->size.width > most.width) most.width = g->size.width;
        if (g->size.height > most.height) most.height = g->size.height;
    }
    const size_t area = (size_t)most.width * most.height;
    const int64_t n = (int64_t)plan->n, shape[] = { n, 3, most.height, most.width }, pair[] = { n, 2 };
    vlm_status status = vlm_pixel_rules_for(&rules, &p->rules, plan->processing, err);
    if (status == VLM_OK) status = vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 4, shape, &pixels, err);
    if (status == VLM_OK) status = vlm_prepared_add(prepared, "image_sizes", VLM_DTYPE_I64, 2, pair, &sizes, err);
    for (size_t i = 0; i < plan->n && status == VLM_OK; i++) {
        const geometry *g = plan->items[i].geometry;
        vlm_image *resized;
        status = vlm_pixels_resize(&resized, media->frames[i], g->size, &rules, media->threads, err);
        if (status < 0) return status;
        vlm_pixels_planar((float *)pixels + i * 3 * area, most.width, area, resized, 0, 0, g->size, &rules);
        vlm_image_free(resized);
        ((int64_t *)sizes)[2 * i] = g->size.height;
        ((int64_t *)sizes)[2 * i + 1] = g->size.width;
    }
    return status;
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    const processor *p = self;
    out->size = (vlm_size) { (uint32_t)p->width, (uint32_t)p->height };
    out->do_resize = p->do_resize;
    vlm_pixel_rules_describe(out, &p->rules);
}

const vlm_processor_type vmodel_pixtral_processor = {
    .processor_class = "PixtralProcessor",
    .aliases = "Mistral3Processor",
    .create = create,
    .placeholder = placeholder,
    .add_special_tokens = true,
    .plan = plan,
    .fill = fill,
    .image_processor_config = image_processor_config,
};
