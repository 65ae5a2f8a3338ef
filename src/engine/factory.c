/* SPDX-License-Identifier: MIT */
/* The load factory: from a checkpoint directory to a context. Owns the order of loading: cheap checks
 * that fail for ordinary reasons come first, weights are touched only when everything else can work. */
#include "engine/engine.h"

/* The registry's row for a model type, or an error that lists names like it. */
static vlm_status choose_model(vlm_context *c, const vlm_registry *registry, vlm_error *err) {
    c->model_type = vmodel_find(registry, c->configs.model_type);
    if (c->model_type) return VLM_OK;
    const char *names[256], *key;
    size_t n = 0;
    for (size_t i = 0; n < 256 && (key = vlm_registry_model(registry, i, NULL)); i++) names[n++] = key;
    char near[160];
    vcore_closest(near, sizeof near, c->configs.model_type, names, n, 3);
    return vcore_fail(err, VLM_ERR_UNKNOWN_MODEL_TYPE,
                      "%s/config.json: model_type: '%s' is not known (close: %s)", c->dir,
                      c->configs.model_type, near);
}

static vlm_status choose_processor(vlm_context *c, const vlm_registry *registry, vlm_error *err) {
    const char *name = c->model_type->processor_class ? c->model_type->processor_class
                                                      : c->configs.processor_class;
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
                      c->configs.processor_file, name, near);
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
        if (vcore_json_int(vcore_json_get(vcore_json_root(c->configs.config), keys[i]), &id) && id >= 0
            && id < UINT32_MAX)
            vtext_control_token(c->tokenizer, (uint32_t)id);
}

static vlm_status load_text(vlm_context *c, const vlm_load_options *options, vlm_error *err) {
    const char *dir = options->tokenizer_dir ? options->tokenizer_dir : c->dir;
    VTRY(vtext_tokenizer_load(&c->tokenizer, dir, &c->source, err));
    guard_media_tokens(c);
    VTRY(vtext_template_load(&c->chat_template, dir, &c->source, err));
    const vlm_processor_type *type = c->processor_type;
    if (!c->chat_template && type->chat_template)
        VTRY(vtext_template_parse(&c->chat_template, type->chat_template,
                                  strlen(type->chat_template), type->processor_class, err));
    if (type->video_chat_template)
        VTRY(vtext_template_parse(&c->video_template, type->video_chat_template,
                                  strlen(type->video_chat_template), type->processor_class, err));
    return VLM_OK;
}

/* End tokens: the files' rule, then the checkpoint registry's, the processor's and the caller's. */
static vlm_status resolve_eos(vlm_context *c, const vlm_load_options *options, vlm_error *err) {
    const vlm_json *generation = c->configs.generation ? vcore_json_root(c->configs.generation) : NULL;
    VTRY(vengine_eos_resolve(&c->eos, vcore_json_root(c->configs.config), generation, c->tokenizer,
                             err));
    const char *base = strrchr(c->dir, '/');
    base = base ? base + 1 : c->dir;
    const vlm_checkpoint *known;
    for (size_t i = 0; (known = vlm_checkpoint_at(i)); i++) {
        const char *name = strrchr(known->id, '/');
        if (strcmp(name ? name + 1 : known->id, base)) continue;
        vengine_eos_add(&c->eos, c->tokenizer, known->extra_eos, "checkpoint registry");
        c->info.default_prompt = known->default_prompt;
    }
    vengine_eos_add(&c->eos, c->tokenizer, c->processor_type->extra_eos, "processor");
    vengine_eos_add(&c->eos, c->tokenizer, options->extra_eos, "caller");
    return VLM_OK;
}

static vlm_status build_model(vlm_context *c, const vlm_load_options *options, vengine_depth depth,
                              vlm_error *err) {
    c->arena = vcore_arena_new();
    if (!c->arena) return vcore_no_memory(err, "model");
    vmodel_build_args args = {
        .config = vcore_json_root(c->configs.config),
        .config_text = c->configs.config_text,
        .tensors = c->tensors,
        .log = &c->source.log,
        .arena = c->arena,
        .backend = c->backend,
        .inspect = depth == VENGINE_INSPECT,
    };
    VTRY(vmodel_build_new(&c->build, &args, err));
    VTRY(c->model_type->create(&c->model, c->build, err));
    return vmodel_build_check_unused(c->build, options->lenient || depth == VENGINE_INSPECT, err);
}

/* Where the keys of an image or video processor are: nested in transformers 5's single file, else the
 * old file's top level. */
static vlm_status build_processor(vlm_context *c, vlm_error *err) {
    const vengine_configs *f = &c->configs;
    const vlm_json *pre = f->preprocessor ? vcore_json_root(f->preprocessor) : NULL;
    const vlm_json *all = f->processor ? vcore_json_root(f->processor) : NULL;
    const vlm_json *image = vcore_json_get(all, "image_processor");
    const vlm_json *video = vcore_json_get(all, "video_processor");
    bool nested = vcore_json_kind_of(image) == VCORE_JSON_OBJECT;
    vlm_processor_build build = {
        .processor_class = c->processor_type->processor_class,
        .processor_file = f->processor_file,
        .preprocessor_config = pre,
        .processor_config = all,
        .image_config = nested ? image : pre ? pre : all,
        .video_config = f->video ? vcore_json_root(f->video)
                        : vcore_json_kind_of(video) == VCORE_JSON_OBJECT ? video
                                                                         : pre,
        .config = vcore_json_root(f->config),
        .config_text = f->config_text,
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
    c->info.processor_file = c->configs.processor_file;
    c->info.config_json = c->configs.config_text;
    c->info.backend = vtensor_backend_name(c->backend);
    c->info.eos_ids = c->eos.id;
    c->info.n_eos = c->eos.n;
    c->info.parameters = usage->parameters;
    c->info.weight_bytes = usage->weight_bytes;
    c->info.computed_bytes = usage->computed_bytes;
    c->info.vocab_size = (uint32_t)text->vocab_size;
    c->info.layers = (uint32_t)text->layers;
}

static vlm_status load(vlm_context *c, const char *dir, const vlm_load_options *options,
                       vengine_depth depth, vlm_error *err) {
    c->source = vio_source_of(options->limits);
    c->source.log = (vcore_log) { options->log, options->log_user };
    c->source.opened = options->opened;
    c->source.opened_user = options->opened_user;
    c->source.in_memory = options->in_memory;
    c->dir = vcore_strdup(dir);
    if (!c->dir) return vcore_no_memory(err, dir);
    size_t end = strlen(c->dir);
    while (end > 1 && c->dir[end - 1] == '/') c->dir[--end] = 0;
    const vlm_registry *registry = options->registry;
    if (!registry) {
        VTRY(vlm_registry_new(&c->own_registry, err));
        registry = c->own_registry;
    }
    VTRY(vengine_configs_base(&c->configs, c->dir, &c->source, err));
    VTRY(choose_model(c, registry, err));
    VTRY(vengine_configs_processor(&c->configs, c->dir, &c->source, err));
    VTRY(choose_processor(c, registry, err));
    VTRY(make_backend(c, options, depth, err));
    VTRY(open_weights(c, depth, err));
    VTRY(load_text(c, options, err));
    VTRY(resolve_eos(c, options, err));
    VTRY(build_model(c, options, depth, err));
    VTRY(build_processor(c, err));
    fill_info(c);
    return VLM_OK;
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
    vengine_configs_free(&c->configs);
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
