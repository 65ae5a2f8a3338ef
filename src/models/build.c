/* SPDX-License-Identifier: MIT */
/* What a model constructor works with: the config, memory that lives as long as the model, and the
 * account of which tensors of the checkpoint were used. Weights are bound in weights/. */
#include <stdio.h>

#include "models/models.h"

vlm_status vmodel_build_new(vlm_build **out, const vmodel_build_args *args, vlm_error *err) {
    *out = NULL;
    vlm_build *b = vcore_alloc(sizeof *b);
    if (!b) return vcore_no_memory(err, "model");
    b->args = *args;
    size_t n = args->tensors ? vio_tensors_count(args->tensors) : 0;
    if (n) b->fates = vcore_alloc_array(2, n);
    b->copied = b->fates ? b->fates + n : NULL;
    if (n && !b->fates) {
        vmodel_build_free(b);
        return vcore_no_memory(err, "model");
    }
    for (size_t i = 0; i < n; i++)
        if (vmodel_quantization_ignores(args->quantization, vio_tensors_at(args->tensors, i)->name))
            b->fates[i] = VMODEL_IGNORED;
    *out = b;
    return VLM_OK;
}

void vmodel_build_free(vlm_build *b) {
    if (!b) return;
    for (size_t i = 0; i < b->usage.n_missing; i++) vcore_free((void *)b->missing[i]);
    vcore_free(b->missing);
    vcore_free(b->unused);
    vcore_free(b->modules);
    vcore_free(b->bound);
    vcore_free(b->fates);
    vcore_free(b);
}

bool vmodel_build_copied(const vlm_build *b, size_t i) {
    return b->copied[i];
}

const vlm_json *vlm_build_config(const vlm_build *build) {
    return build->args.config;
}

const char *vlm_build_config_text(const vlm_build *build) {
    return build->args.config_text;
}

const vlm_base_config *vlm_build_base_config(const vlm_build *build) {
    return build->args.base;
}

const void *vlm_build_user(const vlm_build *build) {
    return build->user;
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

vlm_status vlm_fail_field(vlm_error *err, vlm_status code, const char *where, const char *field,
                          const char *fmt, ...) {
    vlm_error e;
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.message, sizeof e.message, fmt, args);
    va_end(args);
    return vcore_fail_field(err, code, where, field, "%s", e.message);
}

const vmodel_usage *vmodel_build_usage(const vlm_build *b) {
    return &b->usage;
}

/* ---- what is missing, what is left over ------------------------------------------------------ */
/* An inspection goes on without what is missing. */
static bool lists_only(const vlm_build *b) {
    return b->args.inspect && !b->args.convert;
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

/* "'a', 'b' and 7 more", as many as fit `room` bytes and one at least. */
static void put_names(vcore_buf *to, const char *const *names, size_t n, size_t room) {
    size_t i = 0, begin = to->n;
    for (; i < n && (i == 0 || to->n - begin + strlen(names[i]) < room); i++)
        vcore_buf_printf(to, "%s'%.160s'", i ? ", " : "", names[i]);
    if (i < n) vcore_buf_printf(to, " and %zu more", n - i);
}

/* The one line about all of them. A file that should be there and is not is the likely cause, so it
 * comes first. */
static vlm_status fail_tensors(const vlm_build *b, vlm_error *err) {
    const vmodel_usage *u = &b->usage;
    const char *lost = b->args.tensors ? vio_tensors_missing_file(b->args.tensors) : NULL;
    const vio_tensor *surplus =
        u->n_unused ? vio_tensors_find(b->args.tensors, u->unused[0]) : NULL;
    const char *file = lost ? lost : surplus ? surplus->file : NULL;
    vcore_buf line = { 0 };
    if (lost && u->n_missing)
        vcore_buf_printf(&line, "%s: is not there; ", lost);
    else if (surplus && !u->n_missing)
        vcore_buf_printf(&line, "%s: ", surplus->file);
    if (u->n_missing) {
        vcore_buf_printf(&line, "%zu tensor%s missing: ", u->n_missing,
                         u->n_missing == 1 ? " is" : "s are");
        put_names(&line, u->missing, u->n_missing, 160);
    }
    if (u->n_unused) {
        vcore_buf_printf(&line, "%s%zu tensor%s not named by any part of the model: ",
                         u->n_missing ? "; " : "", u->n_unused, u->n_unused == 1 ? " is" : "s are");
        put_names(&line, u->unused, u->n_unused, 100);
        if (!u->n_missing) vcore_buf_puts(&line, " (a lenient load passes over them)");
    }
    if (line.failed) return vcore_no_memory(err, "list of tensors");
    vcore_where where = { .file = file, .field = u->n_missing ? u->missing[0] : u->unused[0] };
    vlm_status status = vcore_fail_at(err, VLM_ERR_WEIGHTS, where, "%s", line.p);
    vcore_buf_free(&line);
    return status;
}

vlm_status vmodel_build_missing(vlm_build *b, const char *stem, const char *suffix,
                                vlm_error *err) {
    enum { MOST = 65536 }; /* a config that asks for more has nothing to do with these files */
    if (b->usage.n_missing == MOST && !lists_only(b)) return fail_tensors(b, err);
    if (b->usage.n_missing == b->missing_capacity) {
        size_t capacity = b->missing_capacity ? 2 * b->missing_capacity : 16;
        const char **list = vcore_realloc_array(b->missing, capacity, sizeof *list);
        if (!list) return vcore_no_memory(err, "list of tensors");
        b->missing = list;
        b->usage.missing = list;
        b->missing_capacity = capacity;
    }
    vcore_buf name = { 0 };
    vcore_buf_printf(&name, "%s%s", stem, suffix);
    if (!(b->missing[b->usage.n_missing] = vcore_buf_take(&name)))
        return vcore_no_memory(err, "list of tensors");
    b->usage.n_missing++;
    return VLM_OK;
}

static void log_names(const vlm_build *b, size_t warned, const char *const *names, size_t n,
                      const char *what) {
    for (size_t i = 0; i < n; i++)
        vcore_log_line(b->args.log, i < warned ? VLM_LOG_WARNING : VLM_LOG_INFO,
                       "tensor '%s' is %s", names[i], what);
    if (warned && n > warned)
        vcore_log_line(b->args.log, VLM_LOG_WARNING, "%zu more tensors are %s", n - warned, what);
}

vlm_status vmodel_build_check(vlm_build *b, bool lenient, vlm_error *err) {
    enum { WARNED = 10 };
    VTRY(list_unused(b, err));
    const vmodel_usage *u = &b->usage;
    bool fails = !lists_only(b) && (u->n_missing || (u->n_unused && !lenient));
    if (b->args.tensors) log_names(b, 0, u->missing, u->n_missing, "missing");
    log_names(b, fails || lists_only(b) ? 0 : WARNED, u->unused, u->n_unused, "not used");
    return fails ? fail_tensors(b, err) : VLM_OK;
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
        return vcore_fail_field(err, VLM_ERR_CONFIG, where, "model_type", "must be a string, is %s",
                                vcore_json_kind_name(type));
    return VLM_OK;
}
