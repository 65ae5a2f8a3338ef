/* SPDX-License-Identifier: MIT */
/* The load factory: from a checkpoint directory to a context. Owns the order of loading: cheap checks
 * that fail for ordinary reasons come first, weights are touched only when everything else can work. */
#include "engine/engine.h"

/* The registry's row for a model type, or an error that lists names like it. */
static vlm_status choose_model(vlm_context *c, const vlm_registry *registry, vlm_error *err) {
    c->model_type = vmodel_find(registry, vlm_base_config_model_type(c->config));
    if (c->model_type) return VLM_OK;
    const char *names[256], *key;
    size_t n = 0;
    for (size_t i = 0; n < 256 && (key = vlm_registry_model(registry, i, NULL)); i++) names[n++] = key;
    char near[160];
    vcore_closest(near, sizeof near, vlm_base_config_model_type(c->config), names, n, 3);
    return vcore_fail(err, VLM_ERR_UNKNOWN_MODEL_TYPE,
                      "%s/config.json: model_type: '%s' is not known (close: %s)", c->dir,
                      vlm_base_config_model_type(c->config), near);
}

static vlm_status choose_processor(vlm_context *c, const vlm_registry *registry, vlm_error *err) {
    const char *name = c->model_type->processor_class ? c->model_type->processor_class
                                                      : vlm_processor_config_class(c->processor_config);
    c->processor_type = vmodel_find_processor(registry, name);
    if (c->processor_type) return VLM_OK;
    const char *names[256], *key;
    size_t n = 0;
    for (size_t i = 0; n < 256 && (key = vlm_registry_processor(registry, i, NULL)); i++)
        names[n++] = key;
    char near[160];
    vcore_closest(near, sizeof near, name, names, n, 3);
    return vcore_fail(err, VLM_ERR_UNKNOWN_PROCESSOR,
                      "%s/%s: processor_class: '%s' is not known (close: %s)", c->dir,
                      vlm_processor_config_named_by(c->processor_config), name, near);
}

static vlm_status make_backend(vlm_context *c, const vlm_load_options *options, vengine_depth depth,
                               vlm_error *err) {
    const char *name = options->backend ? options->backend : "auto";
    if (strcmp(name, "auto") && strcmp(name, "cpu"))
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "backend: '%s' is not in this build (cpu)", name);
    if (options->precision < VLM_PRECISION_AUTO || options->precision > VLM_PRECISION_F16)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "precision: %d is none", (int)options->precision);
    if (options->precision == VLM_PRECISION_F16)
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "precision: f16 products are not in this build");
    c->mode = options->precision == VLM_PRECISION_F32 ? VTENSOR_EXACT : VTENSOR_FAST;
    if (depth == VENGINE_INSPECT) return vtensor_backend_dry(&c->backend, err);
    vtensor_cpu_options cpu = { .threads = options->threads };
    return vtensor_backend_cpu(&c->backend, &cpu, err);
}

static vlm_status open_weights(vlm_context *c, vengine_depth depth, vlm_error *err) {
    vlm_status status = vio_tensors_open_dir(&c->tensors, c->dir, &c->source, err);
    if (status == VLM_ERR_NOT_FOUND && depth == VENGINE_INSPECT) return VLM_OK;
    return status;
}

/* What a user types is never a media token, even where the tokenizer's files do not call it special. */
static void guard_media_tokens(vlm_context *c) {
    static const char *const keys[] = { "image_token_id", "image_token_index", "video_token_id" };
    int64_t id;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (vcore_json_int(vcore_json_get(vlm_base_config_json(c->config), keys[i]), &id) && id >= 0
            && id < UINT32_MAX)
            vtext_control_token(c->tokenizer, (uint32_t)id);
}

static vlm_status load_template(vlm_context *c, vtext_folder *folder, vlm_error *err) {
    VTRY(vtext_template_load(&c->chat_template, folder, err));
    const vlm_processor_type *type = c->processor_type;
    if (!c->chat_template && type->chat_template)
        VTRY(vtext_template_parse(&c->chat_template, type->chat_template,
                                  strlen(type->chat_template), type->processor_class, err));
    if (type->video_chat_template)
        VTRY(vtext_template_parse(&c->video_template, type->video_chat_template,
                                  strlen(type->video_chat_template), type->processor_class, err));
    return VLM_OK;
}

static vlm_status load_text(vlm_context *c, vtext_folder *folder, vlm_error *err) {
    VTRY(vtext_tokenizer_load(&c->tokenizer, folder, err));
    guard_media_tokens(c);
    return load_template(c, folder, err);
}

/* End tokens: the files' rule, then the checkpoint registry's, the processor's and the caller's. */
static vlm_status resolve_eos(vlm_context *c, const vlm_load_options *options, vlm_error *err) {
    VTRY(vengine_eos_start(&c->eos, vlm_base_config_eos(c->config), c->tokenizer,
                           c->source.limits.end_tokens, err));
    const char *base = strrchr(c->dir, '/');
    base = base ? base + 1 : c->dir;
    const vlm_checkpoint *known;
    for (size_t i = 0; (known = vlm_checkpoint_at(i)); i++) {
        const char *name = strrchr(known->id, '/');
        if (strcmp(name ? name + 1 : known->id, base)) continue;
        VTRY(vengine_eos_add(&c->eos, c->tokenizer, known->extra_eos, "checkpoint registry", err));
        c->info.default_prompt = known->default_prompt;
    }
    VTRY(vengine_eos_add(&c->eos, c->tokenizer, c->processor_type->extra_eos, "processor", err));
    return vengine_eos_add(&c->eos, c->tokenizer, options->extra_eos, "caller", err);
}

static vlm_status build_model(vlm_context *c, const vlm_load_options *options, vengine_depth depth,
                              vlm_error *err) {
    c->arena = vcore_arena_new();
    if (!c->arena) return vcore_no_memory(err, "model");
    vmodel_build_args args = {
        .config = vlm_base_config_json(c->config),
        .config_text = vlm_base_config_text(c->config, NULL),
        .tensors = c->tensors,
        .log = &c->source.log,
        .arena = c->arena,
        .backend = c->backend,
        .inspect = depth == VENGINE_INSPECT,
        .quantization = vlm_base_config_quantization(c->config),
    };
    VTRY(vmodel_build_new(&c->build, &args, err));
    VTRY(c->model_type->create(&c->model, c->build, err));
    return vmodel_build_check(c->build, options->lenient, err);
}

/* What errors call a body of the processor config: its file and, where transformers 5 nests it, the key. */
static const char *where_is(const vlm_processor_config *p, const vlm_json *body, const char *nested) {
    static const char *const files[] = { "preprocessor_config.json", "processor_config.json",
                                         "video_preprocessor_config.json" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (vlm_processor_config_json(p, files[i]) == body) return files[i];
    return nested;
}

/* transformers 5 nests objects; anything else there would pass for absent. */
static vlm_status check_nested(const vlm_processor_config *p, const char *key, vlm_error *err) {
    const char *file = "processor_config.json";
    const vlm_json *v = vcore_json_get(vlm_processor_config_json(p, file), key);
    vcore_json_kind kind = vcore_json_kind_of(v);
    if (kind == VCORE_JSON_OBJECT || kind == VCORE_JSON_NULL) return VLM_OK;
    return vlm_config_fail(err, file, key, "must be an object, is %s", vcore_json_kind_name(v));
}

static vlm_status build_processor(vlm_context *c, vlm_error *err) {
    const vlm_processor_config *p = c->processor_config;
    const vlm_json *image = vlm_processor_config_image(p), *video = vlm_processor_config_video(p);
    VTRY(check_nested(p, "image_processor", err));
    VTRY(check_nested(p, "video_processor", err));
    vlm_processor_build build = {
        .processor_class = c->processor_type->processor_class,
        .processor_file = vlm_processor_config_named_by(p),
        .preprocessor_config = vlm_processor_config_json(p, "preprocessor_config.json"),
        .processor_config = vlm_processor_config_json(p, "processor_config.json"),
        .image_config = image,
        .image_where = where_is(p, image, "processor_config.json: image_processor"),
        .video_config = video,
        .video_where = where_is(p, video, "processor_config.json: video_processor"),
        .config = vlm_base_config_json(c->config),
        .config_text = vlm_base_config_text(c->config, NULL),
        .tokenizer = c->tokenizer,
        .arena = c->arena,
    };
    return c->processor_type->create(&c->processor, &build, err);
}

static void fill_info(vlm_context *c) {
    const vmodel_usage *usage = vmodel_build_usage(c->build);
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    c->info.model_type = c->model_type->model_type;
    c->info.processor_class = c->processor_type->processor_class;
    c->info.processor_file = vlm_processor_config_named_by(c->processor_config);
    c->info.config_json = vlm_base_config_text(c->config, NULL);
    c->info.backend = vtensor_backend_name(c->backend);
    c->info.eos_ids = c->eos.id;
    c->info.n_eos = c->eos.n;
    c->info.parameters = usage->parameters;
    c->info.weight_bytes = usage->weight_bytes;
    c->info.computed_bytes = usage->computed_bytes;
    c->info.vocab_size = (uint32_t)text->vocab_size;
    c->info.layers = (uint32_t)text->layers;
}

/* The directory without slashes at its end, as messages have it. */
static char *clean_path(const char *dir) {
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    return vcore_strndup(dir, n);
}

/* folder: of the tokenizer; what the processor config has read of it is not opened again. */
static vlm_status load_configs(vlm_context *c, const vlm_registry *registry, vtext_folder *folder,
                               vlm_error *err) {
    vengine_reader from = { .dir = c->dir, .source = c->source };
    if (!strcmp(folder->dir, c->dir)) from.folder = folder;
    VTRY(vengine_base_config_new(&c->config, &from, err));
    VTRY(choose_model(c, registry, err));
    VTRY(vlm_quantization_usable(vlm_base_config_quantization(c->config), err));
    VTRY(vengine_processor_config_new(&c->processor_config, &from,
                                      c->model_type->default_processor_class, err));
    if (from.folder)
        vtext_folder_give(folder, VTEXT_PROCESSOR_CONFIG,
                          vlm_processor_config_json(c->processor_config, "processor_config.json"));
    return choose_processor(c, registry, err);
}

static vlm_status load_all(vlm_context *c, const vlm_load_options *options, const vlm_registry *registry,
                           vtext_folder *folder, vengine_depth depth, vlm_error *err) {
    VTRY(load_configs(c, registry, folder, err));
    VTRY(make_backend(c, options, depth, err));
    VTRY(open_weights(c, depth, err));
    if (depth == VENGINE_LOAD)
        VTRY(vmodel_quantization_check(vlm_base_config_quantization(c->config), c->tensors, err));
    VTRY(load_text(c, folder, err));
    VTRY(resolve_eos(c, options, err));
    VTRY(build_model(c, options, depth, err));
    VTRY(build_processor(c, err));
    fill_info(c);
    return VLM_OK;
}

static vlm_status load(vlm_context *c, const char *dir, const vlm_load_options *options,
                       vengine_depth depth, vlm_error *err) {
    vtext_folder folder;
    c->source = vengine_source_of(options);
    c->source.in_memory &= depth == VENGINE_LOAD;
    c->source.lenient |= depth == VENGINE_INSPECT;
    c->dir = clean_path(dir);
    if (!c->dir) return vcore_no_memory(err, dir);
    const vlm_registry *registry = options->registry;
    if (!registry) {
        VTRY(vlm_registry_new(&c->own_registry, err));
        registry = c->own_registry;
    }
    char *tokenizer_dir = clean_path(options->tokenizer_dir ? options->tokenizer_dir : dir);
    if (!tokenizer_dir) return vcore_no_memory(err, dir);
    vlm_status status = vtext_folder_open(&folder, tokenizer_dir, &c->source, err);
    if (status >= 0) {
        status = load_all(c, options, registry, &folder, depth, err);
        vtext_folder_close(&folder);
    }
    vcore_free(tokenizer_dir);
    return status;
}

vlm_status vengine_load(vlm_context **out, const char *dir, const vlm_load_options *options,
                        vengine_depth depth, vlm_error *err) {
    vlm_load_options given = VLM_LOAD_OPTIONS_INIT;
    *out = NULL;
    if (options) VTRY(vengine_take_options(&given, sizeof given, options, "load options", err));
    vlm_context *c = vcore_alloc(sizeof *c);
    if (!c) return vcore_no_memory(err, "context");
    vlm_status status = load(c, dir, &given, depth, err);
    if (status < 0) {
        vlm_context_free(c);
        return status;
    }
    *out = c;
    return VLM_OK;
}

vlm_status vlm_context_load(vlm_context **out, const char *dir, const vlm_load_options *options,
                            vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !dir) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_context_load: a null argument");
    return vengine_load(out, dir, options, VENGINE_LOAD, err);
}

void vlm_context_free(vlm_context *c) {
    if (!c) return;
    if (c->processor && c->processor_type->destroy) c->processor_type->destroy(c->processor);
    if (c->model && c->model_type->destroy) c->model_type->destroy(c->model);
    vmodel_build_free(c->build);
    vcore_arena_free(c->arena);
    vtext_template_free(c->chat_template);
    vtext_template_free(c->video_template);
    vtext_tokenizer_free(c->tokenizer);
    vio_tensors_close(c->tensors);
    vtensor_backend_free(c->backend);
    vengine_eos_free(&c->eos);
    vlm_processor_config_free(c->processor_config);
    vlm_base_config_free(c->config);
    vlm_registry_free(c->own_registry);
    vcore_free(c->dir);
    vcore_free(c);
}

const vlm_context_info *vlm_context_get_info(const vlm_context *context) {
    return context ? &context->info : NULL;
}

const vlm_tokenizer *vlm_context_tokenizer(const vlm_context *context) {
    return context ? context->tokenizer : NULL;
}
