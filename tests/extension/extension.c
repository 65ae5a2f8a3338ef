/* SPDX-License-Identifier: MIT */
/* A model type and processor classes added from outside, linked with the shared library and its public headers
 * only: what the built-in families can do, a user can. Run by test_extension as
 *   extension MODEL_DIR QUESTION [PICTURE ...]      (a PICTURE that is a directory is a video)
 * The toy sees a picture as its mean colour: four equal rows made of it. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <vlm/extend.h>

typedef struct toy {
    const vlm_text *text;
    uint32_t image_token_id;
} toy;

static vlm_status toy_create(void **out, vlm_build *build, vlm_error *err) {
    static const vlm_weight_row ignored[] = {
        VLM_BIND_IGNORED("model.vision_model.*"),
        VLM_BIND_IGNORED("model.connector.*"),
    };
    const vlm_json *config = vlm_build_config(build);
    toy *t = vlm_build_alloc(build, 1, sizeof *t);
    if (!t) return VLM_ERR_MEMORY;
    struct {
        int64_t image_token_id;
        bool tied;
    } read;
    const vlm_config_field fields[] = {
        { "image_token_id", VLM_FIELD_INT, 0, 0, 4294967295.0, 0, true, NULL },
        { "tie_word_embeddings", VLM_FIELD_BOOL, sizeof(int64_t), 0, 1, 0, false, NULL },
    };
    vlm_status status = vlm_config_read(&read, config, "config.json", fields, 2, err);
    if (status < 0) return status;
    t->image_token_id = (uint32_t)read.image_token_id;
    const vlm_binding binding = { .prefix = "", .layer = 0, .dims = NULL, .conditions = 0 };
    status = vlm_bind(build, t, ignored, 2, &binding, err);
    if (status < 0) return status;
    const vlm_text_options options = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = "llama",
        .prefix = "model.text_model.",
        .head_prefix = "",
        .tied = read.tied,
    };
    vlm_text *text;
    status = vlm_text_new(&text, build, &options, err);
    t->text = text;
    *out = t;
    return status;
}

static const vlm_text *toy_text(const void *model) {
    return ((const toy *)model)->text;
}

/* pixel_values [1, 3] -> rows [4, dim] that repeat the three means. */
static int toy_features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const toy *t = model;
    const vlm_array *pixels = vlm_prepared_find(prepared, "pixel_values");
    if (!pixels) return 0;
    int64_t dim = vlm_text_get_info(t->text)->hidden_size;
    float rows[4 * 4096];
    if (dim > 4096) return vlm_frame_fail(f, VLM_ERR_UNSUPPORTED, "toy: too wide"), 0;
    for (int64_t i = 0; i < 4 * dim; i++) rows[i] = ((const float *)pixels->data)[i % 3];
    const int64_t shape[] = { 4, dim };
    out[0] = (vlm_features) { .token_id = t->image_token_id, .rows = vlm_tensor_from(f, VLM_DTYPE_F32, 2, shape, rows), .name = "image_features" };
    return 1;
}

static const vlm_model_type toy_model = {
    .model_type = "toy_vlm",
    .create = toy_create,
    .text = toy_text,
    .features = toy_features,
};

/* ---- processors: one that works, and one for each rule of use ------------------------------------------------ */

static vlm_status processor_create(void **processor, const vlm_processor_build *build, vlm_error *err) {
    (void)build;
    (void)err;
    static int nothing;
    *processor = &nothing;
    return VLM_OK;
}

static const char *placeholder(const void *processor, bool video) {
    (void)processor;
    return video ? "<video>" : "<image>";
}

static vlm_status plan(const void *processor, vlm_plan *p, vlm_error *err) {
    (void)processor;
    (void)err;
    for (size_t i = 0; i < p->n; i++) {
        p->items[i].tokens = 4;
        p->items[i].expansion = vlm_plan_printf(p, "<image><image><image><image>");
        if (!p->items[i].expansion) return VLM_ERR_MEMORY;
    }
    return VLM_OK;
}

static vlm_status fill(const void *processor, const vlm_plan *p, const vlm_media *media, vlm_prepared *prepared,
                       vlm_error *err) {
    (void)processor;
    if (p->n == 0) return VLM_OK;
    const int64_t shape[] = { 1, 3 };
    void *data;
    vlm_status status = vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 2, shape, &data, err);
    if (status < 0) return status;
    vlm_size size = vlm_image_size(media->frames[0]);
    const uint8_t *rgb = vlm_image_pixels(media->frames[0]);
    double sum[3] = { 0 };
    for (size_t i = 0; i < (size_t)size.width * size.height; i++)
        for (int c = 0; c < 3; c++) sum[c] += rgb[3 * i + (size_t)c];
    for (int c = 0; c < 3; c++) ((float *)data)[c] = (float)(sum[c] / 255 / ((double)size.width * size.height));
    return VLM_OK;
}

/* A model that edits pictures would want a mask beside them. */
static vlm_status fill_needs_mask(const void *processor, const vlm_plan *p, const vlm_media *media,
                                  vlm_prepared *prepared, vlm_error *err) {
    (void)processor;
    (void)p;
    (void)media;
    if (vlm_prepared_find(prepared, "mask")) return VLM_OK;
    if (err) {
        err->code = VLM_ERR_MASK_REQUIRED;
        snprintf(err->message, sizeof err->message, "ToyMask: a mask is required");
    }
    return VLM_ERR_MASK_REQUIRED;
}

static vlm_status fill_fails(const void *processor, const vlm_plan *p, const vlm_media *media,
                             vlm_prepared *prepared, vlm_error *err) {
    (void)processor;
    (void)media;
    (void)prepared;
    vlm_status code = p->n && p->media[0].video ? VLM_ERR_VIDEO_PROCESSING : VLM_ERR_PROCESSING;
    if (err) {
        err->code = code;
        snprintf(err->message, sizeof err->message, "ToyFails: it always does");
    }
    return code;
}

#define TOY(name, ...)                                                                             \
    { .processor_class = name, .create = processor_create, .placeholder = placeholder, .plan = plan, .fill = fill, __VA_ARGS__ }
static const vlm_processor_type toy_processors[] = {
    TOY("ToyProcessor", .single_image = false),
    TOY("ToyImageRequired", .image_required = true),
    TOY("ToySingleImage", .single_image = true),
    TOY("ToySingleVideo", .single_video = true),
    TOY("ToySingleType", .single_media_type = true),
    { .processor_class = "ToyMask", .create = processor_create, .placeholder = placeholder, .plan = plan, .fill = fill_needs_mask },
    { .processor_class = "ToyFails", .create = processor_create, .placeholder = placeholder, .plan = plan, .fill = fill_fails },
};

static vlm_status ask(const vlm_context *context, int argc, char **argv, vlm_error *err) {
    vlm_input *input;
    char *answer = NULL;
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    options.max_tokens = 8;
    options.ignore_eos = true;
    vlm_status status = vlm_input_new(&input, err);
    for (int i = 3; i < argc && status >= 0; i++) {
        struct stat st;
        bool video = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        status = video ? vlm_input_add_video_dir(input, argv[i], 1, err) : vlm_input_add_image_file(input, argv[i], err);
    }
    if (status >= 0) status = vlm_input_add_message(input, "user", argv[2], err);
    if (status >= 0) status = vlm_generate(&answer, context, input, &options, err);
    if (status >= 0) printf("%zu bytes\n", strlen(answer));
    vlm_string_free(answer);
    vlm_input_free(input);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    vlm_error err = VLM_ERROR_INIT;
    vlm_model_registry *models = NULL;
    vlm_processor_registry *processors = NULL;
    vlm_context *context = NULL;
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    vlm_status status = vlm_extend_check(VLM_API_VERSION, &err);
    if (status >= 0) status = vlm_model_registry_new(&models, vlm_model_registry_default(), &err);
    if (status >= 0) status = vlm_model_registry_add(models, &toy_model, NULL, &err);
    if (status >= 0) status = vlm_processor_registry_new(&processors, NULL, &err);
    for (size_t i = 0; i < sizeof toy_processors / sizeof toy_processors[0] && status >= 0; i++)
        status = vlm_processor_registry_add(processors, &toy_processors[i], NULL, &err);
    options.models = models;
    options.processors = processors;
    if (status >= 0) status = vlm_context_load(&context, argv[1], &options, &err);
    if (status >= 0) status = ask(context, argc, argv, &err);
    if (status < 0) fprintf(stderr, "%s: %s\n", vlm_status_name(status), err.message);
    vlm_context_free(context);
    vlm_model_registry_free(models);
    vlm_processor_registry_free(processors);
    return status < 0 ? 1 : 0;
}
