/* SPDX-License-Identifier: MIT */
/* The JSON files of a checkpoint directory, each read exactly once. Owns which file is asked for what;
 * what the values mean is said by the registries' units. */
#include "engine/engine.h"

static vlm_status read_optional(vcore_json_doc **doc, char **text_out, const char *dir,
                                const char *name, const vio_source *from, vlm_error *err) {
    *doc = NULL;
    char *path = vio_join(dir, name);
    if (!path) return vcore_no_memory(err, name);
    vio_bytes text = { 0 };
    vlm_status status = vio_read_text_optional(&text, path, from->limits.config_bytes, from, err);
    if (status >= 0 && text.p) status = vcore_json_parse(doc, text.p, text.n, path, err);
    if (status >= 0 && text.p &&
        vcore_json_kind_of(vcore_json_root(*doc)) != VCORE_JSON_OBJECT) {
        status = vcore_fail(err, VLM_ERR_FORMAT, "%s: must hold an object, holds %s", path,
                            vcore_json_kind_name(vcore_json_root(*doc)));
        vcore_json_free(*doc);
        *doc = NULL;
    }
    if (status >= 0 && text_out) {
        *text_out = text.p;
        text.p = NULL;
    }
    vcore_free(text.p);
    vcore_free(path);
    return status;
}

static vlm_status read_base(vengine_configs *c, const char *dir, const vio_source *from,
                            vlm_error *err) {
    if (!vio_is_dir(dir))
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: no such checkpoint directory", dir);
    VTRY(read_optional(&c->config, &c->config_text, dir, "config.json", from, err));
    if (!c->config)
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s/config.json: no such file", dir);
    const vlm_json *type = vcore_json_get(vcore_json_root(c->config), "model_type");
    vcore_str name;
    if (!vcore_json_string(type, &name) || name.n == 0 || memchr(name.p, 0, name.n))
        return vcore_fail(err, VLM_ERR_CONFIG, "%s/config.json: model_type: must be a string, is %s",
                          dir, type ? vcore_json_kind_name(type) : "absent");
    c->model_type = vcore_strndup(name.p, name.n);
    if (!c->model_type) return vcore_no_memory(err, "model_type");
    vlm_error ignored = VLM_ERROR_INIT;
    if (read_optional(&c->generation, NULL, dir, "generation_config.json", from, &ignored) < 0)
        vcore_log_line(&from->log, VLM_LOG_WARNING, "%s (ignored)", ignored.message);
    return VLM_OK;
}

vlm_status vengine_configs_base(vengine_configs *out, const char *dir, const vio_source *from,
                                vlm_error *err) {
    *out = (vengine_configs) { 0 };
    vlm_status status = read_base(out, dir, from, err);
    if (status < 0) vengine_configs_free(out);
    return status;
}

/* The class that a processor file names; false when it names none. */
static vlm_status take_class(vengine_configs *c, const vcore_json_doc *doc, const char *file,
                             vlm_error *err) {
    const vlm_json *v = doc ? vcore_json_get(vcore_json_root(doc), "processor_class") : NULL;
    if (c->processor_class || !v || vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    vcore_str name;
    if (!vcore_json_string(v, &name) || memchr(name.p, 0, name.n))
        return vcore_fail(err, VLM_ERR_CONFIG, "%s: processor_class: must be a string, is %s", file,
                          vcore_json_kind_name(v));
    c->processor_class = vcore_strndup(name.p, name.n);
    c->processor_file = file;
    return c->processor_class ? VLM_OK : vcore_no_memory(err, file);
}

vlm_status vengine_configs_processor(vengine_configs *c, const char *dir, const vio_source *from,
                                     vlm_error *err) {
    static const char *const preferred = "preprocessor_config.json", *const other = "processor_config.json";
    VTRY(read_optional(&c->preprocessor, NULL, dir, preferred, from, err));
    VTRY(read_optional(&c->processor, NULL, dir, other, from, err));
    VTRY(read_optional(&c->video, NULL, dir, "video_preprocessor_config.json", from, err));
    if (!c->preprocessor && !c->processor)
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: neither %s nor %s is there", dir, preferred,
                          other);
    VTRY(take_class(c, c->preprocessor, preferred, err));
    VTRY(take_class(c, c->processor, other, err));
    if (!c->processor_class)
        return vcore_fail(err, VLM_ERR_CONFIG, "%s: processor_class: named by neither %s nor %s", dir,
                          preferred, other);
    return VLM_OK;
}

void vengine_configs_free(vengine_configs *c) {
    vcore_json_free(c->config);
    vcore_json_free(c->generation);
    vcore_json_free(c->preprocessor);
    vcore_json_free(c->processor);
    vcore_json_free(c->video);
    vcore_free(c->config_text);
    vcore_free((char *)c->processor_class);
    vcore_free(c->model_type);
    *c = (vengine_configs) { 0 };
}
