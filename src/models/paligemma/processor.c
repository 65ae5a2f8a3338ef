/* SPDX-License-Identifier: MIT */
/* Processor class PaliGemmaProcessor: a picture is resized to the tower's square, whatever its shape, and stands
 * as a fixed number of <image> tokens in front of <bos>, the text and a line end. */
#include <string.h>

#include "vlm/extend.h"

#define IMAGE "<image>"
#define BOS "<bos>"

typedef struct processor {
    int64_t image_seq_length;
    vlm_view_rules view;
} processor;

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
static const vlm_config_field fields[] = {
    VLM_INT(processor, image_seq_length, "image_seq_length", 1, 1 << 16, VLM_REQUIRED),
};

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    const char *where = build->image_where;
    vlm_status status = vlm_config_read(p, build->image_config, where, fields, COUNT(fields), err);
    if (status == VLM_OK)
        status = vlm_view_rules_read(&p->view, build->image_config, where, "SiglipImageProcessor", err);
    if (status == VLM_OK) *out = p;
    return status;
}

static const char *placeholder(const void *self, bool video) {
    (void)self;
    return video ? NULL : IMAGE;
}

static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    const processor *p = self;
    for (size_t i = 0; i < out->n; i++) {
        out->items[i].tokens = p->image_seq_length;
        out->items[i].expansion = vlm_plan_repeat(out, IMAGE, p->image_seq_length);
        if (!out->items[i].expansion) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    }
    return VLM_OK;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media,
                       vlm_prepared *prepared, vlm_error *err) {
    const processor *p = self;
    size_t tokens;
    void *types; /* of a prompt all 0 */
    vlm_prepared_ids(prepared, &tokens);
    const int64_t shape[] = { 1, (int64_t)tokens };
    vlm_status status = vlm_prepared_add(prepared, "token_type_ids", VLM_DTYPE_I64, 2, shape, &types, err);
    return status < 0 ? status : vlm_views_fill(&p->view, plan, media, prepared, err);
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
    vlm_view_rules_describe(out, &((const processor *)self)->view);
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
