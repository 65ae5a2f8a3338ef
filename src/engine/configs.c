/* SPDX-License-Identifier: MIT */
/* The JSON documents that configs are made of, from a directory or from memory, each read once. Owns
 * neither which files there are nor what they say. */
#include "engine/engine.h"

#include <errno.h>
#include <sys/stat.h>

vlm_status vengine_fail_no_dir(vlm_error *err, const char *dir) {
    struct stat st;
    bool there = stat(dir, &st) == 0;
    vcore_where where = { .file = dir, .operation = "open", .os_error = there ? ENOTDIR : ENOENT };
    return vcore_fail_at(err, VLM_ERR_NOT_FOUND, where, "%s: %s", dir,
                         there ? "is a file, not a checkpoint directory" : "no such checkpoint directory");
}

vio_source vengine_source_of(const vlm_load_options *options) {
    vio_source source = vio_source_of(options->limits);
    source.log = (vcore_log) { options->log, options->log_user };
    source.opened = options->opened;
    source.opened_user = options->opened_user;
    source.in_memory = options->in_memory;
    source.lenient = options->lenient;
    return source;
}

vlm_status vengine_take_source(vio_source *out, const vlm_load_options *options, vlm_error *err) {
    vlm_load_options taken = VLM_LOAD_OPTIONS_INIT;
    if (options) VTRY(vengine_take_options(&taken, sizeof taken, options, "load options", err));
    *out = vengine_source_of(&taken);
    return VLM_OK;
}

vlm_status vengine_take_texts(vengine_reader *out, const vlm_config_text *texts, size_t n,
                              const vlm_load_options *options, const char *who, vlm_error *err) {
    *out = (vengine_reader) { .texts = texts, .n_texts = n };
    if (n && !texts) return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: a null argument", who);
    for (size_t i = 0; i < n; i++)
        if (!texts[i].name) return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: a text has no name", who);
    return vengine_take_source(&out->source, options, err);
}

/* The last text of that name, whatever folders are in front of it; NULL: none. */
static const vlm_config_text *find_text(const vengine_reader *from, const char *name) {
    for (size_t i = from->n_texts; i-- > 0;) {
        const char *slash = strrchr(from->texts[i].name, '/');
        if (!strcmp(slash ? slash + 1 : from->texts[i].name, name) && from->texts[i].text)
            return &from->texts[i];
    }
    return NULL;
}

static vlm_status copy_text(vengine_document *d, const vlm_config_text *text, vlm_error *err) {
    const char *p = text->text;
    size_t n = text->bytes;
    if (!vcore_utf8_valid(p, n))
        return vcore_fail_field(err, VLM_ERR_ENCODING, d->name, NULL, "is not UTF-8 text");
    if (n >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) {
        p += 3;
        n -= 3;
    }
    d->text = vcore_strndup(p, n);
    d->bytes = n;
    return d->text ? VLM_OK : vcore_no_memory(err, d->name);
}

static vlm_status read(vengine_document *d, const vengine_reader *from, const char *name,
                       vlm_error *err) {
    if (from->dir) {
        vio_bytes bytes;
        d->name = vio_join(from->dir, name);
        if (!d->name) return vcore_no_memory(err, name);
        VTRY(vio_read_text_optional(&bytes, d->name, from->source.limits.config_bytes, &from->source,
                                    err));
        d->text = bytes.p;
        d->bytes = bytes.n;
        return VLM_OK;
    }
    const vlm_config_text *text = find_text(from, name);
    d->name = vcore_strdup(text ? text->name : name);
    if (!d->name) return vcore_no_memory(err, name);
    return text ? copy_text(d, text, err) : VLM_OK;
}

vlm_status vengine_document_read(vengine_document *out, const vengine_reader *from, const char *name,
                                 vlm_error *err) {
    *out = (vengine_document) { 0 };
    vlm_status status = read(out, from, name, err);
    if (status < 0) vengine_document_free(out);
    return status;
}

vlm_status vengine_document_parse(vengine_document *d, vlm_error *err) {
    if (!d->text) return VLM_OK;
    VTRY(vcore_json_parse(&d->doc, d->text, d->bytes, d->name, err));
    const vlm_json *root = vcore_json_root(d->doc);
    if (vcore_json_kind_of(root) == VCORE_JSON_OBJECT) return VLM_OK;
    vlm_status status =
        vcore_fail_field(err, VLM_ERR_FORMAT, d->name, NULL, "must hold an object, holds %s",
                         vcore_json_kind_name(root));
    vcore_json_free(d->doc);
    d->doc = NULL;
    return status;
}

const vlm_json *vengine_document_json(const vengine_document *d) {
    return vcore_json_root(d->doc);
}

void vengine_document_free(vengine_document *d) {
    vcore_json_free(d->doc);
    vcore_free(d->text);
    vcore_free(d->name);
    *d = (vengine_document) { 0 };
}
