/* SPDX-License-Identifier: MIT */
/* The processor config: which file names the processor's class, and the bodies it is configured by.
 * Owns the order in which files are asked; which class there is, and what overrides it, is the
 * registries'. */
#include "engine/engine.h"

#include <errno.h>

enum { PREPROCESSOR, PROCESSOR, VIDEO, FILES };
static const char *const file_names[FILES] = { "preprocessor_config.json", "processor_config.json",
                                               "video_preprocessor_config.json" };
static const char tokenizer_file[] = "tokenizer_config.json";

struct vlm_processor_config {
    vengine_document file[FILES];
    char *class_name;
    const char *named_by; /* static */
};

/* ---- the class ------------------------------------------------------------------------------- */
static vlm_status set_class(vlm_processor_config *c, vcore_str name, const char *named_by,
                            vlm_error *err) {
    c->class_name = vcore_strndup(name.p, name.n);
    c->named_by = named_by;
    return c->class_name ? VLM_OK : vcore_no_memory(err, "processor_class");
}

/* processor_class of an object; null counts as absent. path: what messages call the file. */
static vlm_status take_class(vlm_processor_config *c, const vlm_json *object, const char *path,
                             const char *named_by, vlm_error *err) {
    const vlm_json *v = vcore_json_get(object, "processor_class");
    vcore_str name;
    if (c->class_name || vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (!vcore_json_string(v, &name))
        return vcore_fail_field(err, VLM_ERR_CONFIG, path, "processor_class",
                                "must be a string, is %s", vcore_json_kind_name(v));
    if (memchr(name.p, 0, name.n))
        return vcore_fail_field(err, VLM_ERR_CONFIG, path, "processor_class",
                                "must be a name, holds a NUL");
    return set_class(c, name, named_by, err);
}

/* The class of "module.Class" or "repository--module.Class". */
static vlm_status take_auto_map(vlm_processor_config *c, const vlm_json *object, const char *named_by,
                                vlm_error *err) {
    vcore_str name;
    const vlm_json *map = vcore_json_get(object, "auto_map");
    if (c->class_name || !vcore_json_string(vcore_json_get(map, "AutoProcessor"), &name)) return VLM_OK;
    const char *point = name.n ? memrchr(name.p, '.', name.n) : NULL;
    if (point) name = (vcore_str) { point + 1, (size_t)(name.p + name.n - point - 1) };
    return name.n && !memchr(name.p, 0, name.n) ? set_class(c, name, named_by, err) : VLM_OK;
}

/* Case by case as the seed has it: the first file must be JSON and decides if it names a class; then
 * the second is carried whatever it is. */
static vlm_status read_pair(vlm_processor_config *c, const vengine_reader *from, vlm_error *err) {
    vengine_document *first = &c->file[PREPROCESSOR], *second = &c->file[PROCESSOR];
    VTRY(vengine_document_read(first, from, file_names[PREPROCESSOR], err));
    VTRY(vengine_document_parse(first, err));
    VTRY(take_class(c, vengine_document_json(first), first->name, file_names[PREPROCESSOR], err));
    VTRY(vengine_document_read(second, from, file_names[PROCESSOR], err));
    if (!first->text && !second->text) {
        vcore_where where = { .file = second->name, .operation = "open", .os_error = ENOENT };
        return vcore_fail_at(err, VLM_ERR_NOT_FOUND, where, "%s: no such file, nor is there a %s",
                             second->name, file_names[PREPROCESSOR]);
    }
    if (!c->class_name) {
        VTRY(vengine_document_parse(second, err));
        return take_class(c, vengine_document_json(second), second->name, file_names[PROCESSOR], err);
    }
    vlm_error why = VLM_ERROR_INIT;
    if (vengine_document_parse(second, &why) == VLM_ERR_MEMORY) return vcore_no_memory(err, second->name);
    if (why.code < 0) vcore_log_line(&from->source.log, VLM_LOG_WARNING, "%s (ignored)", why.message);
    return VLM_OK;
}

/* What the two files leave open. */
static vlm_status look_further(vlm_processor_config *c, const vlm_json *tokenizer, const char *path,
                               const char *default_class, vlm_error *err) {
    VTRY(take_class(c, tokenizer, path, tokenizer_file, err));
    if (!c->class_name && default_class)
        VTRY(set_class(c, vcore_str_of(default_class), "default", err));
    VTRY(take_auto_map(c, vengine_document_json(&c->file[PREPROCESSOR]),
                       "preprocessor_config.json: auto_map", err));
    VTRY(take_auto_map(c, vengine_document_json(&c->file[PROCESSOR]), "processor_config.json: auto_map",
                       err));
    VTRY(take_auto_map(c, tokenizer, "tokenizer_config.json: auto_map", err));
    if (c->class_name) return VLM_OK;
    const char *file = c->file[c->file[PREPROCESSOR].text ? PREPROCESSOR : PROCESSOR].name;
    return vcore_fail_field(err, VLM_ERR_MISSING_FIELD, file, "processor_class",
                            "is missing, and neither %s nor %s names one",
                            file_names[c->file[PREPROCESSOR].text ? PROCESSOR : PREPROCESSOR],
                            tokenizer_file);
}

static vlm_status look_in_folder(vlm_processor_config *c, vtext_folder *folder,
                                 const char *default_class, vlm_error *err) {
    const vlm_json *tokenizer;
    VTRY(vtext_folder_read(&tokenizer, folder, VTEXT_TOKENIZER_CONFIG, err));
    return look_further(c, tokenizer, folder->file[VTEXT_TOKENIZER_CONFIG].path, default_class, err);
}

static vlm_status look_in_memory(vlm_processor_config *c, const vengine_reader *from,
                                 const char *default_class, vlm_error *err) {
    vengine_document d;
    VTRY(vengine_document_read(&d, from, tokenizer_file, err));
    vlm_status status = vengine_document_parse(&d, err);
    if (status >= 0) status = look_further(c, vengine_document_json(&d), d.name, default_class, err);
    vengine_document_free(&d);
    return status;
}

static vlm_status fill(vlm_processor_config *c, const vengine_reader *from, const char *default_class,
                       vlm_error *err) {
    VTRY(read_pair(c, from, err));
    if (!c->class_name && from->folder)
        VTRY(look_in_folder(c, from->folder, default_class, err));
    else if (!c->class_name && from->dir) {
        vtext_folder folder;
        VTRY(vtext_folder_open(&folder, from->dir, &from->source, err));
        vlm_status status = look_in_folder(c, &folder, default_class, err);
        vtext_folder_close(&folder);
        VTRY(status);
    } else if (!c->class_name) {
        VTRY(look_in_memory(c, from, default_class, err));
    }
    VTRY(vengine_document_read(&c->file[VIDEO], from, file_names[VIDEO], err));
    return vengine_document_parse(&c->file[VIDEO], err);
}

/* ---- making it ------------------------------------------------------------------------------- */
vlm_status vengine_processor_config_new(vlm_processor_config **out, const vengine_reader *from,
                                        const char *default_class, vlm_error *err) {
    vlm_processor_config *c = vcore_alloc(sizeof *c);
    *out = NULL;
    if (!c) return vcore_no_memory(err, "processor_config.json");
    vlm_status status = fill(c, from, default_class, err);
    if (status < 0)
        vlm_processor_config_free(c);
    else
        *out = c;
    return status;
}

vlm_status vlm_processor_config_load(vlm_processor_config **out, const char *dir,
                                     const char *default_class, const vlm_load_options *options,
                                     vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !dir)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_processor_config_load: a null argument");
    vengine_reader from = { .dir = dir };
    VTRY(vengine_take_source(&from.source, options, err));
    return vengine_processor_config_new(out, &from, default_class, err);
}

vlm_status vlm_processor_config_parse(vlm_processor_config **out, const vlm_config_text *texts, size_t n,
                                      const char *default_class, const vlm_load_options *options,
                                      vlm_error *err) {
    vengine_reader from;
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_processor_config_parse: a null argument");
    *out = NULL;
    VTRY(vengine_take_texts(&from, texts, n, options, "vlm_processor_config_parse", err));
    return vengine_processor_config_new(out, &from, default_class, err);
}

void vlm_processor_config_free(vlm_processor_config *c) {
    if (!c) return;
    for (int i = 0; i < FILES; i++) vengine_document_free(&c->file[i]);
    vcore_free(c->class_name);
    vcore_free(c);
}

/* ---- accessors ------------------------------------------------------------------------------- */
const char *vlm_processor_config_class(const vlm_processor_config *c) {
    return c ? c->class_name : NULL;
}

const char *vlm_processor_config_named_by(const vlm_processor_config *c) {
    return c ? c->named_by : NULL;
}

const char *vlm_processor_config_file(const vlm_processor_config *c) {
    return c ? file_names[c->file[PREPROCESSOR].text ? PREPROCESSOR : PROCESSOR] : NULL;
}

static const vengine_document *find_file(const vlm_processor_config *c, const char *name) {
    for (int i = 0; c && name && i < FILES; i++)
        if (!strcmp(file_names[i], name)) return &c->file[i];
    return NULL;
}

const char *vlm_processor_config_text(const vlm_processor_config *c, const char *name, size_t *bytes) {
    const vengine_document *d = find_file(c, name);
    if (bytes) *bytes = d ? d->bytes : 0;
    return d ? d->text : NULL;
}

const vlm_json *vlm_processor_config_json(const vlm_processor_config *c, const char *name) {
    const vengine_document *d = find_file(c, name);
    return d ? vengine_document_json(d) : NULL;
}

/* The nested object of transformers 5's single file, or NULL. */
static const vlm_json *nested(const vlm_processor_config *c, const char *key) {
    const vlm_json *v = vcore_json_get(vengine_document_json(&c->file[PROCESSOR]), key);
    return vcore_json_kind_of(v) == VCORE_JSON_OBJECT ? v : NULL;
}

const vlm_json *vlm_processor_config_image(const vlm_processor_config *c) {
    if (!c) return NULL;
    const vlm_json *inner = nested(c, "image_processor");
    return inner ? inner : vengine_document_json(&c->file[c->file[PREPROCESSOR].text ? PREPROCESSOR : PROCESSOR]);
}

const vlm_json *vlm_processor_config_video(const vlm_processor_config *c) {
    if (!c) return NULL;
    const vlm_json *own = vengine_document_json(&c->file[VIDEO]), *inner = nested(c, "video_processor");
    return own ? own : inner ? inner : vengine_document_json(&c->file[PREPROCESSOR]);
}
