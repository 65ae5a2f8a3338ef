/* SPDX-License-Identifier: MIT */
/* The load factory: from a checkpoint to a context. Owns the order of the stages, which is one table: what fails
 * for ordinary reasons comes first, weights are touched only when everything else can work, and constructors find
 * all that was read. */
#include <stdio.h>

#include "engine/engine.h"

/* One load under way. The context is what becomes of it. */
typedef struct factory {
    vlm_context *c;
    const char *dir_or_id;
    const vlm_load_options *options;
    vengine_depth depth;
    const vlm_model_registry *models;
    const vlm_processor_registry *processors;
    const vlm_model_configuration *configuration; /* what is known beside the files; may be NULL */
    vtext_folder folder; /* small files that several readers ask for: the tokenizer's directory, in the end */
} factory;

/* An inspection goes on without a part whose files are not there. */
static vlm_status forgive(const factory *f, vlm_status status, vlm_error *err) {
    if (f->depth != VENGINE_INSPECT || status != VLM_ERR_NOT_FOUND) return status;
    if (err) *err = (vlm_error)VLM_ERROR_INIT;
    return VLM_OK;
}

/* ---- where the files are ------------------------------------------------------------------------------- */
static vlm_status report(const factory *f, vlm_load_stage at, const char *what, uint64_t done,
                         uint64_t total, vlm_error *err);

/* A pull told of as a part of the load, beside the caller's own progress of it. */
typedef struct relay {
    const factory *f;
    vlm_load_stage stage;
    vlm_hub_progress_fn own;
    void *own_user;
} relay;

static int pass_on(void *user, const vlm_hub_progress *p) {
    const relay *r = user;
    if (r->own && r->own(r->own_user, p)) return 1;
    return report(r->f, r->stage, p->file ? p->file : "", p->bytes, p->size, NULL) < 0;
}

/* The snapshot of a hub id: the one in the cache, else pulled. */
static vlm_status find_snapshot(const factory *f, vlm_load_stage stage, char **dir, const char *id,
                                const char *revision, vlm_error *err) {
    const vlm_load_options *options = f->options;
    vlm_hub_options o = VLM_HUB_OPTIONS_INIT;
    VTRY(vengine_take_options(&o, sizeof o, options->hub, "hub options", err));
    o.struct_size = sizeof o;
    o.revision = revision;
    /* An inspection reads headers, where weights are there already: gigabytes are no price for that. */
    if (stage == VLM_LOAD_TOKENIZER_SOURCE || f->depth == VENGINE_INSPECT) o.without_weights = true;
    if (!o.limits) o.limits = options->limits;
    if (!o.log) o.log = options->log, o.log_user = options->log_user;
    relay r = { f, stage, o.progress, o.progress_user };
    o.progress = pass_on, o.progress_user = &r;
    vlm_status status = vlm_hub_find(dir, id, &o, err);
    /* What is not whole in the cache, or broken there, the hub has. */
    if (status < 0 && status != VLM_ERR_MEMORY) status = vlm_hub_pull(dir, id, &o, err);
    return vcore_context(err, status, "no directory '%s', and as a hub id", id);
}

/* The directory that dir_or_id is, or that a hub id has in the cache. */
static vlm_status find_directory(const factory *f, vlm_load_stage stage, char **dir,
                                 const char *dir_or_id, const char *revision, vlm_error *err) {
    if (!vio_is_dir(dir_or_id)) {
        if (f->options->hub && strchr(dir_or_id, '/') && vlm_hub_is_id(dir_or_id))
            return find_snapshot(f, stage, dir, dir_or_id, revision, err);
        return vengine_fail_no_dir(err, dir_or_id);
    }
    *dir = vcore_strdup(dir_or_id);
    if (!*dir) return vcore_no_memory(err, dir_or_id);
    for (size_t end = strlen(*dir); end > 1 && (*dir)[end - 1] == '/';) (*dir)[--end] = 0;
    return VLM_OK;
}

static vlm_status resolve(factory *f, vlm_error *err) {
    const vlm_load_options *o = f->options;
    const vlm_checkpoint_registry *known =
        o->checkpoints ? o->checkpoints : vlm_checkpoint_registry_default();
    const vlm_model_configuration *c =
        vengine_configuration_of(known, f->dir_or_id, vio_is_dir(f->dir_or_id));
    f->configuration = c;
    const char *revision = o->hub && o->hub->revision ? o->hub->revision : c ? c->revision : NULL;
    VTRY(find_directory(f, VLM_LOAD_RESOLVE, &f->c->dir, f->dir_or_id, revision, err));
    return vtext_folder_open(&f->folder, f->c->dir, &f->c->source, err);
}

static vlm_status find_tokenizer(factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    const char *source = f->options->tokenizer_source;
    if (!source && f->configuration) source = f->configuration->tokenizer_source;
    VTRY(find_directory(f, VLM_LOAD_TOKENIZER_SOURCE, &c->tokenizer_dir, source ? source : c->dir, NULL,
                        err));
    if (strcmp(c->tokenizer_dir, c->dir) == 0) return VLM_OK;
    vtext_folder_close(&f->folder);
    return vtext_folder_open(&f->folder, c->tokenizer_dir, &c->source, err);
}

/* ---- configs ---------------------------------------------------------------------------------------------- */
static vlm_status read_base_config(factory *f, vlm_error *err) {
    const vengine_reader from = { .dir = f->c->dir, .source = f->c->source, .folder = &f->folder };
    VTRY(vengine_base_config_new(&f->c->config, &from, err));
    vtext_folder_give(&f->folder, VTEXT_CONFIG, vlm_base_config_json(f->c->config));
    return VLM_OK;
}

static vlm_status choose_model(factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    const char *name = vlm_base_config_model_type(c->config);
    c->model_type = vlm_model_registry_find(f->models, name);
    if (c->model_type) return vlm_quantization_usable(vlm_base_config_quantization(c->config), err);
    char *path = vio_join(c->dir, "config.json");
    if (!path) return vcore_no_memory(err, "config.json");
    vlm_status status = vmodel_unknown_model(err, f->models, path, name);
    vcore_free(path);
    return status;
}

static vlm_status read_processor_config(factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    const vengine_reader from = { .dir = c->dir, .source = c->source, .folder = &f->folder };
    vlm_status status = vengine_processor_config_new(&c->processor_config, &from,
                                                     c->model_type->default_processor_class, err);
    VTRY(forgive(f, status, err));
    vtext_folder_give(&f->folder, VTEXT_PROCESSOR_CONFIG,
                      vlm_processor_config_json(c->processor_config, "processor_config.json"));
    return VLM_OK;
}

/* Says how the name came about, where it is not what the file says. */
static vlm_status refuse_processor(const factory *f, const char *wanted, const char *override,
                                   vlm_error *err) {
    const vlm_processor_config *config = f->c->processor_config;
    const char *by = vlm_processor_config_named_by(config), *type = f->c->model_type->model_type;
    bool by_default = !strcmp(by, "default");
    char because[300] = "", file[64];
    if (override)
        snprintf(because, sizeof because, "model type '%.64s' needs another class than '%.64s': ", type,
                 vlm_processor_config_class(config));
    else if (by_default)
        snprintf(because, sizeof because, "no file names one, and that of model type '%.64s': ", type);
    if (by_default) by = vlm_processor_config_file(config);
    snprintf(file, sizeof file, "%.*s", (int)strcspn(by, ":"), by); /* without ": auto_map" */
    char *path = vio_join(f->c->dir, file);
    if (!path) return vcore_no_memory(err, file);
    vlm_status status = vmodel_unknown_processor(err, f->processors, path, wanted, because);
    vcore_free(path);
    return status;
}

static vlm_status choose_processor(factory *f, vlm_error *err) {
    if (!f->c->processor_config) return VLM_OK;
    const char *override = vmodel_processor_override(f->c->model_type);
    const char *wanted = override ? override : vlm_processor_config_class(f->c->processor_config);
    f->c->processor_type = vlm_processor_registry_find(f->processors, wanted);
    return f->c->processor_type ? VLM_OK : refuse_processor(f, wanted, override, err);
}

/* ---- weights ------------------------------------------------------------------------------------------------ */
static vlm_status check_backend(const vlm_load_options *options, vlm_error *err) {
    const char *name = options->backend ? options->backend : "auto";
    if (strcmp(name, "auto") && strcmp(name, "cpu") && strcmp(name, "cuda"))
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "backend: '%s' is none (auto, cpu, cuda)", name);
    if (options->precision < VLM_PRECISION_AUTO || options->precision > VLM_PRECISION_F16)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "precision: %d is none", (int)options->precision);
    if (options->precision == VLM_PRECISION_F16)
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "precision: f16 products are not in this build");
    return VLM_OK;
}

static vlm_status make_backend(factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    c->mode = f->options->precision == VLM_PRECISION_F32 ? VTENSOR_EXACT : VTENSOR_FAST;
    const char *name = f->options->backend;
    bool load = f->depth == VENGINE_LOAD;
    bool cuda = name && strcmp(name, "cuda") == 0;
    if (cuda && load) return vtensor_backend_cuda(&c->backend, f->options->device, f->options->threads, err);
    if (cuda && f->depth == VENGINE_INSPECT) return vtensor_backend_cuda_dry(&c->backend, f->options->device, err);
    vtensor_cpu_options cpu = { .threads = f->options->threads, .dry = !load };
    cpu.no_int8_activations = f->options->no_int8_activations;
    return vtensor_backend_cpu(&c->backend, &cpu, err);
}

/* Whether the weights fit where the backend computes. */
static vlm_status expect_weights(const vlm_context *c, vlm_error *err) {
    size_t bytes = 0;
    for (size_t i = 0; i < vio_tensors_count(c->tensors); i++) bytes += vio_tensors_at(c->tensors, i)->bytes;
    return vtensor_expect(c->backend, bytes, err);
}

static vlm_status open_weights(factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    VTRY(make_backend(f, err));
    vlm_status status = vio_tensors_open_dir(&c->tensors, c->dir, &c->source, err);
    if (f->depth == VENGINE_INSPECT) return forgive(f, status, err);
    return status < 0 ? status : expect_weights(c, err);
}

/* ---- tokenizer ---------------------------------------------------------------------------------------------- */
/* What a user types is never a media token, even where the tokenizer's files do not call it special. */
static void guard_media_tokens(vlm_context *c) {
    static const char *const keys[] = { "image_token_id", "image_token_index", "video_token_id" };
    int64_t id;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (vcore_json_int(vcore_json_get(vlm_base_config_json(c->config), keys[i]), &id) && id >= 0
            && id < UINT32_MAX)
            vtext_control_token(c->tokenizer, (uint32_t)id);
}

/* How messages show media: as the processor class says, else as the table does of the type that config.json names. */
static void choose_message_format(vlm_context *c) {
    const vlm_processor_type *processor = c->processor_type;
    c->message_format = processor ? processor->message_format : NULL;
    if (c->message_format) return;
    const char *names[] = { vlm_base_config_model_type(c->config), c->model_type->model_type };
    for (int i = 0; i < 2 && !c->message_format; i++)
        c->message_format = vmodel_message_format(names[i], &c->single_image);
    if (!c->message_format) c->message_format = &vmodel_message_parts;
}

static vlm_status load_templates(factory *f, vlm_error *err) {
    static const char bare[] = "{{ messages[-1].content }}";
    vlm_context *c = f->c;
    choose_message_format(c);
    VTRY(vtext_template_load(&c->chat_template, &f->folder, err));
    const vlm_processor_type *type = c->processor_type;
    if (!type) return VLM_OK;
    if (!c->chat_template && type->chat_template)
        VTRY(vtext_template_parse(&c->chat_template, type->chat_template,
                                  strlen(type->chat_template), type->processor_class, err));
    if (!c->chat_template && c->message_format->bare)
        VTRY(vtext_template_parse(&c->chat_template, bare, sizeof bare - 1, "message format", err));
    if (type->video_chat_template)
        VTRY(vtext_template_parse(&c->video_template, type->video_chat_template,
                                  strlen(type->video_chat_template), type->processor_class, err));
    return VLM_OK;
}

/* End tokens: the files' rule, then the checkpoint registry's, the processor's and the caller's. */
static vlm_status resolve_eos(const factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    const vlm_model_configuration *known = f->configuration;
    const vlm_processor_type *type = c->processor_type;
    VTRY(vengine_eos_start(&c->eos, vlm_base_config_eos(c->config), c->tokenizer,
                           c->source.limits.end_tokens, err));
    if (known)
        VTRY(vengine_eos_add(&c->eos, c->tokenizer, known->extra_eos, known->n_extra_eos,
                             "checkpoint registry", err));
    if (type)
        VTRY(vengine_eos_add(&c->eos, c->tokenizer, type->extra_eos, type->n_extra_eos, "processor", err));
    return vengine_eos_add(&c->eos, c->tokenizer, f->options->extra_eos, f->options->n_extra_eos,
                           "caller", err);
}

static vlm_status load_tokenizer(factory *f, vlm_error *err) {
    const vlm_processor_type *type = f->c->processor_type;
    if (type) {
        f->folder.extra = type->extra_tokens;
        f->folder.n_extra = type->n_extra_tokens;
    }
    VTRY(forgive(f, vtext_tokenizer_load(&f->c->tokenizer, &f->folder, err), err));
    if (f->c->tokenizer) guard_media_tokens(f->c);
    VTRY(load_templates(f, err));
    return resolve_eos(f, err);
}

/* ---- constructors -------------------------------------------------------------------------------------------- */
static vlm_status build_model(factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    vmodel_build_args args = {
        .config = vlm_base_config_json(c->config),
        .config_text = vlm_base_config_text(c->config, NULL),
        .base = c->config,
        .tensors = c->tensors,
        .log = &c->source.log,
        .arena = c->arena,
        .backend = c->backend,
        .inspect = f->depth != VENGINE_LOAD,
        .convert = f->depth == VENGINE_CONVERT,
        .quantization = vlm_base_config_quantization(c->config),
    };
    VTRY(vmodel_build_new(&c->build, &args, err));
    VTRY(vlm_model_registry_create(&c->model, f->models, c->build, err));
    if (!c->model_type->text(c->model))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "model type '%s': its text() gives no decoder",
                          c->model_type->model_type);
    VTRY(vmodel_build_check(c->build, f->options->lenient, err));
    return vtensor_placed(c->backend, err);
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
    return vcore_fail_field(err, VLM_ERR_CONFIG, file, key, "must be an object, is %s", vcore_json_kind_name(v));
}

static vlm_status build_processor(factory *f, vlm_error *err) {
    static const char preprocessor[] = "preprocessor_config.json", processor[] = "processor_config.json";
    vlm_context *c = f->c;
    const vlm_processor_config *p = c->processor_config;
    if (!p || !c->tokenizer) return VLM_OK; /* an inspection */
    const vlm_json *image = vlm_processor_config_image(p), *video = vlm_processor_config_video(p);
    VTRY(check_nested(p, "image_processor", err));
    VTRY(check_nested(p, "video_processor", err));
    const vlm_processor_build build = {
        .processor_class = c->processor_type->processor_class,
        .processor_file = vlm_processor_config_named_by(p),
        .preprocessor_config = vlm_processor_config_json(p, preprocessor),
        .processor_config = vlm_processor_config_json(p, processor),
        .preprocessor_text = vlm_processor_config_text(p, preprocessor, NULL),
        .processor_text = vlm_processor_config_text(p, processor, NULL),
        .image_config = image,
        .image_where = where_is(p, image, "processor_config.json: image_processor"),
        .video_config = video,
        .video_where = where_is(p, video, "processor_config.json: video_processor"),
        .config = vlm_base_config_json(c->config),
        .config_text = vlm_base_config_text(c->config, NULL),
        .base = c->config,
        .tokenizer = c->tokenizer,
        .arena = c->arena,
    };
    VTRY(vlm_processor_registry_create(&c->processor, f->processors, &build, err));
    if (c->processor_type->image_processor_config)
        c->processor_type->image_processor_config(c->processor, &c->image_processor);
    return VLM_OK;
}

/* ---- the order ------------------------------------------------------------------------------------------------ */
typedef struct stage {
    const char *name;
    vlm_status (*run)(factory *f, vlm_error *err);
} stage;

static const stage stages[] = {
    [VLM_LOAD_RESOLVE] = { "resolve", resolve },
    [VLM_LOAD_CONFIG] = { "config", read_base_config },
    [VLM_LOAD_MODEL_TYPE] = { "model type", choose_model },
    [VLM_LOAD_PROCESSOR_CONFIG] = { "processor config", read_processor_config },
    [VLM_LOAD_PROCESSOR_CLASS] = { "processor class", choose_processor },
    [VLM_LOAD_TOKENIZER_SOURCE] = { "tokenizer source", find_tokenizer },
    [VLM_LOAD_WEIGHTS] = { "weights", open_weights },
    [VLM_LOAD_TOKENIZER] = { "tokenizer", load_tokenizer },
    [VLM_LOAD_MODEL] = { "model", build_model },
    [VLM_LOAD_PROCESSOR] = { "processor", build_processor },
};

/* What a stage is about, as far as it is known before the stage has run. */
static const char *subject(const factory *f, vlm_load_stage at) {
    const vlm_context *c = f->c;
    switch (at) {
    case VLM_LOAD_RESOLVE: return f->dir_or_id;
    case VLM_LOAD_MODEL_TYPE: return vlm_base_config_model_type(c->config);
    case VLM_LOAD_PROCESSOR_CLASS: return vlm_processor_config_class(c->processor_config);
    case VLM_LOAD_TOKENIZER: return c->tokenizer_dir;
    case VLM_LOAD_MODEL: return c->model_type->model_type;
    case VLM_LOAD_PROCESSOR: return c->processor_type ? c->processor_type->processor_class : NULL;
    default: return c->dir;
    }
}

static vlm_status report(const factory *f, vlm_load_stage at, const char *what, uint64_t done,
                         uint64_t total, vlm_error *err) {
    const vlm_load_progress progress = { at, what ? what : f->c->dir, done, total };
    const vlm_load_options *o = f->options;
    if (!o->progress || o->progress(o->progress_user, &progress) == 0) return VLM_OK;
    return vcore_fail(err, VLM_ERR_CANCELLED, "%s: the load was cancelled (%s)", f->dir_or_id,
                      stages[at].name);
}

static vlm_status run_stages(factory *f, vlm_error *err) {
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        vlm_load_stage at = (vlm_load_stage)i;
        VTRY(report(f, at, subject(f, at), 0, 1, err));
        VTRY(stages[i].run(f, err));
        VTRY(report(f, at, subject(f, at), 1, 1, err));
    }
    return VLM_OK;
}

static void describe(vlm_context *c) {
    const vmodel_usage *usage = vmodel_build_usage(c->build);
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    c->info.model_type = c->model_type->model_type;
    c->info.processor_class = c->processor_type ? c->processor_type->processor_class : NULL;
    c->info.processor_file = vlm_processor_config_named_by(c->processor_config);
    c->info.config_json = vlm_base_config_text(c->config, NULL);
    c->info.backend = vtensor_backend_name(c->backend);
    c->info.eos_ids = c->eos.id;
    c->info.eos_sources = c->eos.source;
    c->info.n_eos = c->eos.n;
    c->info.parameters = usage->parameters;
    c->info.weight_bytes = usage->weight_bytes;
    c->info.computed_bytes = usage->computed_bytes;
    c->info.vocab_size = (uint32_t)text->vocab_size;
    c->info.layers = (uint32_t)text->layers;
    c->info.directory = c->dir;
    c->info.tokenizer_directory = c->tokenizer_dir;
}

static vlm_status load(factory *f, vlm_error *err) {
    vlm_context *c = f->c;
    const vlm_load_options *o = f->options;
    c->source = vengine_source_of(o);
    c->source.in_memory &= f->depth == VENGINE_LOAD;
    c->source.lenient |= f->depth == VENGINE_INSPECT;
    VTRY(check_backend(o, err));
    if (!(c->arena = vcore_arena_new())) return vcore_no_memory(err, "context");
    VTRY(run_stages(f, err));
    describe(c);
    const char *prompt = f->configuration ? f->configuration->default_prompt : NULL;
    if (prompt && !(c->info.default_prompt = c->default_prompt = vcore_strdup(prompt)))
        return vcore_no_memory(err, "default prompt");
    return VLM_OK;
}

vlm_status vengine_load(vlm_context **out, const char *dir_or_id, const vlm_load_options *options,
                        vengine_depth depth, vlm_error *err) {
    vlm_load_options given = VLM_LOAD_OPTIONS_INIT;
    *out = NULL;
    if (options) VTRY(vengine_take_options(&given, sizeof given, options, "load options", err));
    vlm_context *c = vcore_alloc(sizeof *c);
    if (!c) return vcore_no_memory(err, "context");
    factory f = {
        .c = c,
        .dir_or_id = dir_or_id,
        .options = &given,
        .depth = depth,
        .models = given.models ? given.models : vlm_model_registry_default(),
        .processors = given.processors ? given.processors : vlm_processor_registry_default(),
    };
    vlm_status status = load(&f, err);
    vtext_folder_close(&f.folder);
    if (status < 0) {
        vlm_context_free(c);
        return status;
    }
    *out = c;
    return VLM_OK;
}

vlm_status vlm_context_load(vlm_context **out, const char *dir_or_id,
                            const vlm_load_options *options, vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !dir_or_id)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_context_load: a null argument");
    return vengine_load(out, dir_or_id, options, VENGINE_LOAD, err);
}
