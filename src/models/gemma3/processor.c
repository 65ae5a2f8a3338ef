/* SPDX-License-Identifier: MIT */
/* Processor class Gemma3Processor: a picture is resized to the tower's square, whatever its shape, and stands as a
 * fixed number of tokens between two marks; with pan and scan, a long picture is followed by its crops. */
#include <math.h>
#include <string.h>

#include "vlm/extend.h"

enum { MOST_TOKENS = 1 << 20 };

#define PLACE "<start_of_image>"
#define IMAGE "<image_soft_token>"
#define END "<end_of_image>"

typedef struct processor {
    bool do_resize, do_pan_and_scan;
    int64_t height, width, image_seq_length, image_token_id;
    int64_t min_crop_size, max_num_crops;
    float min_ratio_to_activate;
    vlm_pixel_rules rules;
} processor;

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
static const vlm_config_field fields[] = {
    VLM_BOOL(processor, do_resize, "do_resize", true),
    VLM_INT(processor, height, "size.height", 1, 1 << 13, 224),
    VLM_INT(processor, width, "size.width", 1, 1 << 13, 224),
    VLM_BOOL(processor, do_pan_and_scan, "do_pan_and_scan", false),
    VLM_INT(processor, min_crop_size, "pan_and_scan_min_crop_size", 1, 1 << 20, 256),
    VLM_INT(processor, max_num_crops, "pan_and_scan_max_num_crops", 1, 1 << 10, 4),
    VLM_REAL(processor, min_ratio_to_activate, "pan_and_scan_min_ratio_to_activate", 0, 1e6, 1.2),
};
static const vlm_config_field own_fields[] = {
    VLM_INT(processor, image_seq_length, "image_seq_length", 1, 1 << 16, 256),
};
static const vlm_config_field model_fields[] = {
    VLM_INT(processor, image_token_id, "image_token_id|image_token_index", 0, UINT32_MAX, 262144),
};
static const vlm_pixel_rules default_rules = VLM_HALF_PIXEL_RULES(VLM_FILTER_BILINEAR);

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    const char *where = build->image_where;
    vlm_status status = vlm_config_read(p, build->image_config, where, fields, COUNT(fields), err);
    if (status == VLM_OK)
        status = vlm_config_read(p, build->processor_config, "processor_config.json", own_fields, COUNT(own_fields), err);
    if (status == VLM_OK)
        status = vlm_config_read(p, build->config, "config.json", model_fields, COUNT(model_fields), err);
    if (status == VLM_OK)
        status = vlm_pixel_rules_read(&p->rules, build->image_config, where, &default_rules, err);
    if (status == VLM_OK) *out = p;
    return status;
}

static const char *placeholder(const void *self, bool video) {
    (void)self;
    return video ? NULL : PLACE;
}

/* ---- plan ---- */
#define WHOLE "Here is the original image "
#define CROPS " and here are some crops to help you see better "

static char *append(char *to, const char *text) {
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

static char *append_view(char *to, int64_t tokens) {
    to = append(to, "\n\n" PLACE);
    for (int64_t i = 0; i < tokens; i++) to = append(to, IMAGE);
    return append(to, END "\n\n");
}

/* The text of a picture with so many crops; NULL: no memory. */
static char *picture_text(const processor *p, vlm_plan *plan, int64_t crops) {
    const size_t view = sizeof "\n\n\n\n " PLACE END + (sizeof IMAGE - 1) * (size_t)p->image_seq_length;
    char *text = vlm_plan_alloc(plan, sizeof WHOLE CROPS + (size_t)(1 + crops) * view, 1), *end = text;
    if (!text) return NULL;
    if (crops) end = append(end, WHOLE);
    end = append_view(end, p->image_seq_length);
    if (crops) end = append(end, CROPS);
    for (int64_t i = 0; i < crops; i++) end = append_view(i ? append(end, " ") : end, p->image_seq_length);
    return text;
}

static vlm_status plan_picture(const processor *p, vlm_plan *out, size_t i, vlm_error *err) {
    const vlm_pan_and_scan_rule rule = { .min_crop_size = (uint32_t)p->min_crop_size,
                                         .max_num_crops = (uint32_t)p->max_num_crops,
                                         .min_ratio_to_activate = nearbyint(p->min_ratio_to_activate * 1e6) / 1e6 };
    vlm_pan_and_scan_plan *scan = vlm_plan_alloc(out, 1, sizeof *scan);
    if (!scan) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    if (p->do_pan_and_scan || out->processing->pan_and_scan) {
        vlm_status status = vlm_plan_pan_and_scan(scan, out->media[i].size, &rule, err);
        if (status < 0) return status;
    }
    const int64_t crops = (int64_t)scan->crops.rows * scan->crops.columns;
    if (1 + crops > MOST_TOKENS / p->image_seq_length)
        return vlm_fail(err, VLM_ERR_LIMIT, "%lld views of %lld tokens are too many", (long long)(1 + crops),
                        (long long)p->image_seq_length);
    char *text = picture_text(p, out, crops);
    if (!text) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    out->items[i] = (vlm_plan_item) { text, (1 + crops) * p->image_seq_length, scan };
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
typedef struct filling {
    const processor *p;
    vlm_pixel_rules rules;
    vlm_threads *threads;
    float *next; /* where the next view begins */
} filling;

/* A view [3, height, width] of a picture. */
static vlm_status fill_view(filling *to, const vlm_image *image, vlm_error *err) {
    const processor *p = to->p;
    const vlm_size size = { (uint32_t)p->width, (uint32_t)p->height }, given = vlm_image_size(image);
    const size_t width = size.width, area = width * size.height;
    if (!p->do_resize && (given.width != size.width || given.height != size.height))
        return vlm_fail(err, VLM_ERR_IMAGE_PROCESSING, "a picture of %u x %u, but do_resize is false",
                        given.width, given.height);
    vlm_image *resized;
    vlm_status status = vlm_pixels_resize(&resized, image, size, &to->rules, to->threads, err);
    if (status < 0) return status;
    vlm_pixels_planar(to->next, width, area, resized, 0, 0, size, &to->rules);
    to->next += 3 * area;
    vlm_image_free(resized);
    return VLM_OK;
}

/* The whole, then its crops. */
static vlm_status fill_picture(filling *to, const vlm_image *image, const vlm_pan_and_scan_plan *scan, vlm_error *err) {
    const vlm_size size = vlm_image_size(image);
    vlm_status status = fill_view(to, image, err);
    for (uint32_t i = 0; i < scan->crops.rows * scan->crops.columns && status == VLM_OK; i++) {
        const vlm_rect at = vlm_pan_and_scan_crop(scan, size, i);
        vlm_image *crop;
        status = vlm_image_crop(&crop, image, (int32_t)at.x, (int32_t)at.y, (vlm_size) { at.width, at.height }, err);
        if (status < 0) return status;
        status = fill_view(to, crop, err);
        vlm_image_free(crop);
    }
    return status;
}

/* 1 for the tokens of pictures, 0 for the others. */
static vlm_status fill_token_types(const processor *p, vlm_prepared *prepared, vlm_error *err) {
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    const int64_t shape[] = { 1, (int64_t)n };
    void *types;
    vlm_status status = vlm_prepared_add(prepared, "token_type_ids", VLM_DTYPE_I64, 2, shape, &types, err);
    for (size_t i = 0; i < n && status == VLM_OK; i++) ((int64_t *)types)[i] = ids[i] == (uint32_t)p->image_token_id;
    return status;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media, vlm_prepared *prepared,
                       vlm_error *err) {
    const processor *p = self;
    filling to = { .p = p, .threads = media->threads };
    int64_t views = 0;
    void *pixels;
    for (size_t i = 0; i < plan->n; i++) views += plan->items[i].tokens / p->image_seq_length;
    const int64_t shape[] = { views, 3, p->height, p->width };
    vlm_status status = fill_token_types(p, prepared, err);
    if (plan->n == 0 || status < 0) return status;
    status = vlm_pixel_rules_for(&to.rules, &p->rules, plan->processing, err);
    if (status == VLM_OK) status = vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 4, shape, &pixels, err);
    if (status < 0) return status;
    to.next = pixels;
    for (size_t i = 0; i < plan->n && status == VLM_OK; i++)
        status = fill_picture(&to, media->frames[i], plan->items[i].geometry, err);
    return status;
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    const processor *p = self;
    out->size = (vlm_size) { (uint32_t)p->width, (uint32_t)p->height };
    out->do_resize = p->do_resize;
    vlm_pixel_rules_describe(out, &p->rules);
}

/* Where mlx-vlm has pictures, but as parts, so that each piece of text is trimmed by itself as transformers has it. */
static const vlm_message_format message_format = { .name = "list_with_image", .image = "image", .behind = true };

const vlm_processor_type vmodel_gemma3_processor = {
    .processor_class = "Gemma3Processor",
    .create = create,
    .placeholder = placeholder,
    .message_format = &message_format,
    .add_special_tokens = true,
    .plan = plan,
    .fill = fill,
    .image_processor_config = image_processor_config,
};
