/* SPDX-License-Identifier: MIT */
/* What a model constructor works with: the config, memory that lives as long as the model, and the
 * account of which tensors of the checkpoint were used. Weights are bound in bind.c. */
#include <stdio.h>

#include "models/models.h"

vlm_status vmodel_build_new(vlm_build **out, const vmodel_build_args *args, vlm_error *err) {
    *out = NULL;
    vlm_build *b = vcore_alloc(sizeof *b);
    if (!b) return vcore_no_memory(err, "model");
    b->args = *args;
    size_t n = args->tensors ? vio_tensors_count(args->tensors) : 0;
    if (n && !(b->fates = vcore_alloc_array(n, 1))) {
        vmodel_build_free(b);
        return vcore_no_memory(err, "model");
    }
    *out = b;
    return VLM_OK;
}

void vmodel_build_free(vlm_build *b) {
    if (!b) return;
    for (size_t i = 0; i < b->usage.n_missing; i++) vcore_free((void *)b->missing[i]);
    vcore_free(b->missing);
    vcore_free(b->unused);
    vcore_free(b->fates);
    vcore_free(b);
}

const vlm_json *vlm_build_config(const vlm_build *build) {
    return build->args.config;
}

const char *vlm_build_config_text(const vlm_build *build) {
    return build->args.config_text;
}

void *vlm_build_alloc(vlm_build *build, size_t count, size_t size) {
    return vcore_arena_array(build->args.arena, count, size);
}

void *vlm_processor_alloc(const vlm_processor_build *build, size_t count, size_t size) {
    return vcore_arena_array(build->arena, count, size);
}

vlm_status vlm_fail(vlm_error *err, vlm_status code, const char *fmt, ...) {
    vlm_error e;
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.message, sizeof e.message, fmt, args);
    va_end(args);
    return vcore_fail(err, code, "%s", e.message);
}

const vmodel_usage *vmodel_build_usage(const vlm_build *b) {
    return &b->usage;
}

static vlm_status list_unused(vlm_build *b, vlm_error *err) {
    const vio_tensors *tensors = b->args.tensors;
    size_t n = tensors ? vio_tensors_count(tensors) : 0, unused = 0;
    for (size_t i = 0; i < n; i++) unused += b->fates[i] == VMODEL_UNUSED;
    if (unused == 0) return VLM_OK;
    if (!b->unused && !(b->unused = vcore_alloc_array(unused, sizeof *b->unused)))
        return vcore_no_memory(err, "list of tensors");
    b->usage.unused = b->unused;
    b->usage.n_unused = 0;
    for (size_t i = 0; i < n; i++)
        if (b->fates[i] == VMODEL_UNUSED)
            b->unused[b->usage.n_unused++] = vio_tensors_at(tensors, i)->name;
    return VLM_OK;
}

vlm_status vmodel_build_check_unused(vlm_build *b, bool lenient, vlm_error *err) {
    enum { SHOWN = 10 };
    VTRY(list_unused(b, err));
    size_t n = b->usage.n_unused;
    if (n && !lenient) {
        const vio_tensor *t = vio_tensors_find(b->args.tensors, b->unused[0]);
        return vcore_fail(
            err, VLM_ERR_WEIGHTS,
            "%s: tensor '%s': no part of the model names it (%zu such; a lenient load "
            "passes over them)",
            t->file, t->name, n);
    }
    for (size_t i = 0; i < n && i < SHOWN; i++)
        vcore_log_line(b->args.log, VLM_LOG_WARNING, "tensor '%s' is not used", b->unused[i]);
    if (n > SHOWN)
        vcore_log_line(b->args.log, VLM_LOG_WARNING, "%zu more tensors are not used", n - SHOWN);
    return VLM_OK;
}

bool vmodel_alternative(const char **list, vcore_str *out) {
    if (!*list) return false;
    const char *bar = strchr(*list, '|');
    *out = (vcore_str) { *list, bar ? (size_t)(bar - *list) : strlen(*list) };
    *list = bar ? bar + 1 : NULL;
    return true;
}

bool vmodel_is_one_of(const char *list, vcore_str name) {
    for (vcore_str at; vmodel_alternative(&list, &at);)
        if (vcore_str_eq(at, name)) return true;
    return false;
}

vlm_status vmodel_part_type(vcore_str *out, const vlm_json *config, const char *fallback,
                            const char *where, vlm_error *err) {
    *out = vcore_str_of(fallback);
    const vlm_json *type = vcore_json_get(config, "model_type");
    if (vcore_json_kind_of(type) != VCORE_JSON_NULL && !vcore_json_string(type, out))
        return vcore_fail(err, VLM_ERR_CONFIG, "%s.model_type: must be a string, is %s", where,
                          vcore_json_kind_name(type));
    return VLM_OK;
}
