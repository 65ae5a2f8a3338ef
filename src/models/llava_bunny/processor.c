/* SPDX-License-Identifier: MIT */
/* Processor classes BunnyProcessor and FastVLMProcessor: a picture is padded to a square where the model's config says
 * so, resized, and stands as one media token for each of its patches. "<image>" is no token of these tokenizers: it is
 * added here, and then gets the id that the model knows. */
#include <string.h>

#include "vlm/extend.h"

#define IMAGE "<image>"

/* What the classes take where files are silent. */
typedef struct defaults {
    const char *image_processor_type;
    int64_t image_size, patch_size;
    bool pads;
} defaults;

typedef struct processor {
    int64_t image_token_id, image_size, patch_size;
    int aspect_ratio;
    uint32_t added_id; /* of IMAGE in the tokenizer */
    vlm_view_rules view;
} processor;

enum { SQUARE, PAD };
static const vlm_name aspect_ratios[] = { { "square", SQUARE }, { "pad", PAD }, { NULL, 0 } };
static const vlm_config_field fields[] = {
    VLM_INT(processor, image_token_id, "image_token_id|image_token_index", INT32_MIN, INT32_MAX, -200),
    VLM_INT(processor, image_size, "vision_config.image_size", 1, 1 << 13, VLM_KEEP),
    VLM_INT(processor, patch_size, "vision_config.patch_size", 1, 1024, VLM_KEEP),
    VLM_NAME(processor, aspect_ratio, "image_aspect_ratio", aspect_ratios, VLM_KEEP),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_status find_token(processor *p, const vlm_processor_build *build, vlm_error *err) {
    vlm_tokens tokens = { 0 };
    vlm_status status = vlm_tokenizer_encode(&tokens, build->tokenizer, IMAGE, strlen(IMAGE), 0, err);
    if (status < 0) return status;
    const bool one = tokens.count == 1;
    if (one) p->added_id = tokens.ids[0];
    vlm_tokens_free(&tokens);
    return one ? VLM_OK : vlm_fail(err, VLM_ERR_PROCESSING, "%s: the tokenizer has no " IMAGE, build->processor_class);
}

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    const defaults *of = build->user;
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    *p = (processor) { .image_size = of->image_size, .patch_size = of->patch_size, .aspect_ratio = of->pads ? PAD : SQUARE };
    vlm_status status = vlm_config_read(p, build->config, "config.json", fields, COUNT(fields), err);
    if (status == VLM_OK)
        status = vlm_view_rules_read(&p->view, build->image_config, build->image_where, of->image_processor_type, err);
    if (status == VLM_OK) status = find_token(p, build, err);
    if (status < 0) return status;
    if (!vlm_json_find(build->image_config, "size")) {
        p->view.size = (vlm_size) { (uint32_t)p->image_size, (uint32_t)p->image_size };
        p->view.shortest_edge = 0;
        p->view.do_center_crop = false;
    }
    p->view.do_pad = p->aspect_ratio == PAD;
    *out = p;
    return VLM_OK;
}

static const char *placeholder(const void *self, bool video) {
    (void)self;
    return video ? NULL : IMAGE;
}

static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    const processor *p = self;
    const vlm_size view = vlm_view_size(&p->view);
    const int64_t tokens = (view.width / p->patch_size) * (view.height / p->patch_size);
    for (size_t i = 0; i < out->n; i++) {
        out->items[i].tokens = tokens;
        out->items[i].expansion = vlm_plan_repeat(out, IMAGE, tokens);
        if (!out->items[i].expansion) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    }
    return VLM_OK;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media, vlm_prepared *prepared,
                       vlm_error *err) {
    const processor *p = self;
    if (plan->n == 0) return VLM_OK;
    vlm_prepared_replace_token(prepared, p->added_id, (uint32_t)p->image_token_id);
    return vlm_views_fill(&p->view, plan, media, prepared, err);
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    vlm_view_rules_describe(out, &((const processor *)self)->view);
}

static const vlm_extra_token extra_tokens[] = { { .text = IMAGE, .special = true } };
static const defaults bunny = { "SiglipImageProcessor", 384, 14, false };

const vlm_processor_type vmodel_bunny_processor = {
    .processor_class = "BunnyProcessor",
    .create = create,
    .placeholder = placeholder,
    .extra_tokens = extra_tokens,
    .n_extra_tokens = COUNT(extra_tokens),
    .add_special_tokens = true,
    .plan = plan,
    .fill = fill,
    .image_processor_config = image_processor_config,
    .user = &bunny,
};

static const defaults fastvlm = { "FastVLMImageProcessor", 1024, 64, true };

const vlm_processor_type vmodel_fastvlm_processor = {
    .processor_class = "FastVLMProcessor",
    .create = create,
    .placeholder = placeholder,
    .extra_tokens = extra_tokens,
    .n_extra_tokens = COUNT(extra_tokens),
    .add_special_tokens = true,
    .plan = plan,
    .fill = fill,
    .image_processor_config = image_processor_config,
    .user = &fastvlm,
};
