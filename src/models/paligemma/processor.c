/* SPDX-License-Identifier: MIT */
/* Processor class PaliGemmaProcessor: a picture is resized to the tower's square, whatever its shape, and stands
 * as a fixed number of <image> tokens in front of <bos>, the text and a line end. */
#include <string.h>

#include "vlm/extend.h"

#define IMAGE "<image>"
#define BOS "<bos>"

typedef struct processor {
    bool do_resize;
    int64_t height, width, image_seq_length;
    vlm_pixel_rules rules;
} processor;

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
static const vlm_config_field fields[] = {
    VLM_BOOL(processor, do_resize, "do_resize", true),
    VLM_INT(processor, height, "size.height", 1, 1 << 13, 224),
    VLM_INT(processor, width, "size.width", 1, 1 << 13, 224),
    VLM_INT(processor, image_seq_length, "image_seq_length", 1, 1 << 16, VLM_REQUIRED),
};
static const vlm_pixel_rules default_rules = {
    .resample = VLM_FILTER_BICUBIC, .do_rescale = true, .do_normalize = true,
    .rescale_factor = 1.0 / 255, .mean = { 0.5, 0.5, 0.5 }, .std = { 0.5, 0.5, 0.5 },
};

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    const char *where = build->image_where;
    vlm_status status = vlm_config_read(p, build->image_config, where, fields, COUNT(fields), err);
    if (status == VLM_OK)
        status = vlm_pixel_rules_read(&p->rules, build->image_config, where, &default_rules, err);
    if (status == VLM_OK) *out = p;
    return status;
}

static const char *placeholder(const void *self, bool video) {
    (void)self;
    return video ? NULL : IMAGE;
}

static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    const processor *p = self;
    size_t n = (size_t)p->image_seq_length;
    for (size_t i = 0; i < out->n; i++) {
        char *text = vlm_plan_alloc(out, n * strlen(IMAGE) + 1, 1);
        if (!text) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
        for (size_t k = 0; k < n; k++) memcpy(text + k * strlen(IMAGE), IMAGE, strlen(IMAGE));
        out->items[i] = (vlm_plan_item) { .expansion = text, .tokens = p->image_seq_length };
    }
    return VLM_OK;
}

/* One picture into [3, height, width] floats at out. */
static vlm_status fill_picture(const processor *p, const vlm_pixel_rules *rules, float *out,
                               const vlm_image *image, vlm_threads *threads, vlm_error *err) {
    const vlm_size size = { (uint32_t)p->width, (uint32_t)p->height };
    size_t width = size.width, area = width * size.height;
    vlm_size given = vlm_image_size(image);
    if (!p->do_resize && (given.width != size.width || given.height != size.height))
        return vlm_fail(err, VLM_ERR_IMAGE_PROCESSING, "a picture of %u x %u, but do_resize is false",
                        given.width, given.height);
    vlm_image *resized;
    vlm_status status = vlm_pixels_resize(&resized, image, size, rules, threads, err);
    if (status < 0) return status;
    vlm_pixels_planar(out, width, area, resized, 0, 0, size, rules);
    vlm_image_free(resized);
    return VLM_OK;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media,
                       vlm_prepared *prepared, vlm_error *err) {
    const processor *p = self;
    size_t tokens, area = (size_t)p->height * (size_t)p->width;
    vlm_prepared_ids(prepared, &tokens);
    const int64_t types_shape[] = { 1, (int64_t)tokens };
    const int64_t shape[] = { (int64_t)plan->n, 3, p->height, p->width };
    void *types, *pixels; /* the types of a prompt are all 0 */
    vlm_pixel_rules rules;
    vlm_status status = vlm_pixel_rules_for(&rules, &p->rules, plan->processing, err);
    if (status == VLM_OK)
        status = vlm_prepared_add(prepared, "token_type_ids", VLM_DTYPE_I64, 2, types_shape, &types, err);
    if (status == VLM_OK)
        status = vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 4, shape, &pixels, err);
    for (size_t i = 0; i < plan->n && status == VLM_OK; i++)
        status = fill_picture(p, &rules, (float *)pixels + i * 3 * area, media->frames[i],
                              media->threads, err);
    return status;
}

/* Text that places no picture gets all of them in front; <bos> stands behind the last. */
static const char *raw_prompt(const void *self, vlm_plan *plan, const char *text) {
    (void)self;
    const char *last = NULL;
    for (const char *hit = text; (hit = strstr(hit, IMAGE)); hit += strlen(IMAGE)) last = hit;
    if (last) {
        size_t before = (size_t)(last - text) + strlen(IMAGE);
        return vlm_plan_printf(plan, "%.*s" BOS "%s\n", (int)before, text, text + before);
    }
    const char *pictures = "";
    for (size_t i = 0; i < plan->n && pictures; i++) pictures = vlm_plan_printf(plan, "%s" IMAGE, pictures);
    return pictures ? vlm_plan_printf(plan, "%s" BOS "%s\n", pictures, text) : NULL;
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    const processor *p = self;
    out->size = (vlm_size) { (uint32_t)p->width, (uint32_t)p->height };
    out->do_resize = p->do_resize;
    vlm_pixel_rules_describe(out, &p->rules);
}

static const char chat_template[] =
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}{{ '" IMAGE "' }}{% endif %}"
    "{% endfor %}{% endfor %}{{ '" BOS "' }}"
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}{{ '\\n' }}";

/* Several pictures and turns, as transformers takes them; mlx-vlm's format has one of each. */
static const vlm_message_format message_format = { .name = "list_with_image_first", .image = "image" };

static const vlm_extra_token extra_tokens[] = {
    { .text = IMAGE, .special = true, .unless_named = "image_token" },
    { .text = "<loc", .behind = ">", .count = 1024, .digits = 4 },
    { .text = "<seg", .behind = ">", .count = 128, .digits = 3 },
};

const vlm_processor_type vmodel_paligemma_processor = {
    .processor_class = "PaliGemmaProcessor",
    .create = create,
    .placeholder = placeholder,
    .chat_template = chat_template,
    .message_format = &message_format,
    .extra_tokens = extra_tokens,
    .n_extra_tokens = COUNT(extra_tokens),
    .image_required = true,
    .plan = plan,
    .fill = fill,
    .raw_prompt = raw_prompt,
    .image_processor_config = image_processor_config,
};
