/* SPDX-License-Identifier: MIT */
/* The base config: what every config.json says of itself, and its verbatim body for everybody who
 * needs more. Owns which fields are typed; the rule of the end tokens is eos.c's. */
#include "engine/engine.h"

#include <errno.h>

struct vlm_base_config {
    vengine_document config, generation;
    char *model_type;
    vlm_quantization *quantization; /* NULL: none */
    uint32_t *eos_ids;
    vlm_config_eos eos; /* into eos_ids */
};

static vlm_status take_model_type(vlm_base_config *c, vlm_error *err) {
    const vlm_json *v = vcore_json_get(vengine_document_json(&c->config), "model_type");
    const char *file = c->config.name;
    vcore_str name;
    if (!v) return vcore_fail_field(err, VLM_ERR_MISSING_FIELD, file, "model_type", "is missing");
    if (!vcore_json_string(v, &name))
        return vcore_fail_field(err, VLM_ERR_CONFIG, file, "model_type", "must be a string, is %s",
                                vcore_json_kind_name(v));
    if (name.n == 0 || memchr(name.p, 0, name.n))
        return vcore_fail_field(err, VLM_ERR_CONFIG, file, "model_type", "must be a name, %s",
                                name.n ? "holds a NUL" : "is empty");
    c->model_type = vcore_strndup(name.p, name.n);
    return c->model_type ? VLM_OK : vcore_no_memory(err, file);
}

static vlm_status no_config(const vlm_base_config *c, const char *dir, vlm_error *err) {
    vcore_where where = { .file = c->config.name };
    if (!dir)
        return vcore_fail_at(err, VLM_ERR_NOT_FOUND, where, "%s: is not among the texts", c->config.name);
    return vio_is_dir(dir) ? vio_fail_errno(err, c->config.name, "open", ENOENT)
                           : vengine_fail_no_dir(err, dir);
}

/* What is wrong with generation_config.json is said, and the file passed over. */
static vlm_status read_generation(vlm_base_config *c, const vengine_reader *from, vlm_error *err) {
    vlm_error why = VLM_ERROR_INIT;
    vlm_status status = vengine_document_read(&c->generation, from, "generation_config.json", &why);
    if (status >= 0) status = vengine_document_parse(&c->generation, &why);
    if (status >= 0) return VLM_OK;
    vengine_document_free(&c->generation);
    if (status == VLM_ERR_MEMORY) {
        if (err) *err = why;
        return status;
    }
    vcore_log_line(&from->source.log, VLM_LOG_WARNING, "%s (ignored)", why.message);
    return VLM_OK;
}

/* ModelOpt's file is asked only where config.json says nothing. */
static vlm_status read_quantization(vlm_base_config *c, const vengine_reader *from, vlm_error *err) {
    const vlm_json *config = vengine_document_json(&c->config);
    vengine_document other;
    VTRY(vmodel_quantization_new(&c->quantization, config, NULL, c->config.name, err));
    if (c->quantization) return VLM_OK;
    VTRY(vengine_document_read(&other, from, "hf_quant_config.json", err));
    vlm_status status = vengine_document_parse(&other, err);
    if (status >= 0 && other.doc)
        status = vmodel_quantization_new(&c->quantization, config, vengine_document_json(&other),
                                         c->config.name, err);
    vengine_document_free(&other);
    return status;
}

static vlm_status fill(vlm_base_config *c, const vengine_reader *from, vlm_error *err) {
    VTRY(vengine_document_read(&c->config, from, "config.json", err));
    if (!c->config.text) return no_config(c, from->dir, err);
    VTRY(vengine_document_parse(&c->config, err));
    VTRY(take_model_type(c, err));
    VTRY(read_quantization(c, from, err));
    VTRY(read_generation(c, from, err));
    return vengine_eos_resolve(&c->eos, &c->eos_ids, vengine_document_json(&c->config),
                               c->config.name, vengine_document_json(&c->generation),
                               c->generation.name, from->source.limits.end_tokens, err);
}

vlm_status vengine_base_config_new(vlm_base_config **out, const vengine_reader *from, vlm_error *err) {
    vlm_base_config *c = vcore_alloc(sizeof *c);
    *out = NULL;
    if (!c) return vcore_no_memory(err, "config.json");
    vlm_status status = fill(c, from, err);
    if (status < 0)
        vlm_base_config_free(c);
    else
        *out = c;
    return status;
}

vlm_status vlm_base_config_load(vlm_base_config **out, const char *dir,
                                const vlm_load_options *options, vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !dir)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_base_config_load: a null argument");
    vengine_reader from = { .dir = dir };
    VTRY(vengine_take_source(&from.source, options, err));
    return vengine_base_config_new(out, &from, err);
}

vlm_status vlm_base_config_parse(vlm_base_config **out, const vlm_config_text *texts, size_t n,
                                 const vlm_load_options *options, vlm_error *err) {
    vengine_reader from;
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_base_config_parse: a null argument");
    *out = NULL;
    VTRY(vengine_take_texts(&from, texts, n, options, "vlm_base_config_parse", err));
    return vengine_base_config_new(out, &from, err);
}

void vlm_base_config_free(vlm_base_config *c) {
    if (!c) return;
    vengine_document_free(&c->config);
    vengine_document_free(&c->generation);
    vlm_quantization_free(c->quantization);
    vcore_free(c->model_type);
    vcore_free(c->eos_ids);
    vcore_free(c);
}

const char *vlm_base_config_model_type(const vlm_base_config *c) {
    return c ? c->model_type : NULL;
}

const char *vlm_base_config_text(const vlm_base_config *c, size_t *bytes) {
    if (bytes) *bytes = c ? c->config.bytes : 0;
    return c ? c->config.text : NULL;
}

const vlm_json *vlm_base_config_json(const vlm_base_config *c) {
    return c ? vengine_document_json(&c->config) : NULL;
}

const vlm_json *vlm_base_config_generation(const vlm_base_config *c) {
    return c ? vengine_document_json(&c->generation) : NULL;
}

const vlm_config_eos *vlm_base_config_eos(const vlm_base_config *c) {
    return c ? &c->eos : NULL;
}

const vlm_quantization *vlm_base_config_quantization(const vlm_base_config *c) {
    return c ? c->quantization : NULL;
}
