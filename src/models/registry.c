/* SPDX-License-Identifier: MIT */
/* Registries: rows by name, in order of registration. Owns what a row must have, which row a name finds, and the
 * call of its constructor; what is built in is listed in builtin.c. */
#include <stdio.h>

#include "models/models.h"

/* ---- rows of any kind ------------------------------------------------------------------------ */
vlm_status vmodel_rows_new(vmodel_rows *out, const vmodel_rows *from, vlm_error *err) {
    *out = (vmodel_rows) { 0 };
    if (!from || from->n == 0) return VLM_OK;
    const void **own = vcore_alloc_array(from->n, sizeof *own);
    if (!own) return vcore_no_memory(err, "registry");
    memcpy(own, from->at, from->n * sizeof *own);
    *out = (vmodel_rows) { .at = own, .own = own, .n = from->n };
    return VLM_OK;
}

void vmodel_rows_free(vmodel_rows *rows) {
    vcore_free(rows->own);
}

static const void **find_key(const vmodel_rows *rows, vmodel_key_fn key, vcore_str name) {
    for (size_t i = 0; i < rows->n; i++)
        if (vcore_str_eq(key(rows->at[i]), name)) return (const void **)&rows->at[i];
    return NULL;
}

vlm_status vmodel_rows_put(vmodel_rows *rows, vmodel_key_fn key, const void *row,
                           const void **displaced, vlm_error *err) {
    const void **same = find_key(rows, key, key(row));
    *displaced = same ? *same : NULL;
    if (same) {
        *same = row;
        return VLM_OK;
    }
    const void **own = vcore_realloc_array(rows->own, rows->n + 1, sizeof *own);
    if (!own) return vcore_no_memory(err, "registry");
    own[rows->n] = row;
    *rows = (vmodel_rows) { .at = own, .own = own, .n = rows->n + 1 };
    return VLM_OK;
}

const void *vmodel_rows_find(const vmodel_rows *rows, vmodel_key_fn key, vcore_str name) {
    const void **found = find_key(rows, key, name);
    return found ? *found : NULL;
}

/* "'name' is not registered (close: a, b, c)" */
static void not_registered(char *out, size_t bytes, const vmodel_rows *rows, vmodel_key_fn key,
                           const char *name) {
    const char *names[256] = { 0 }, *says = rows->n ? "" : "nothing is";
    size_t n = rows->n < 256 ? rows->n : 256;
    for (size_t i = 0; i < n; i++) names[i] = key(rows->at[i]).p;
    char near[160];
    vcore_closest(near, sizeof near, name, names, n, 3);
    if (near[0]) says = "close: ";
    snprintf(out, bytes, "'%.128s' is not registered%s%s%s%s", name, says[0] ? " (" : "", says, near,
             says[0] ? ")" : "");
}

/* ---- model types ------------------------------------------------------------------------------- */
static vcore_str model_key(const void *row) {
    return vmodel_remap(vcore_str_of(((const vlm_model_type *)row)->model_type));
}

vlm_status vlm_model_registry_new(vlm_model_registry **out, const vlm_model_registry *from,
                                  vlm_error *err) {
    return vlm_model_registry_with(out, from, NULL, 0, err);
}

vlm_status vlm_model_registry_with(vlm_model_registry **out, const vlm_model_registry *from,
                                   const vlm_model_type *const *types, size_t n, vlm_error *err) {
    if (out) *out = NULL;
    if (!out || (n && !types))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "model registry: a null argument");
    vlm_model_registry *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, "registry");
    vlm_status status = vmodel_rows_new(&r->rows, from ? &from->rows : NULL, err);
    for (size_t i = 0; i < n && status >= 0; i++)
        status = vlm_model_registry_add(r, types[i], NULL, err);
    if (status < 0) {
        vlm_model_registry_free(r);
        return status;
    }
    *out = r;
    return VLM_OK;
}

void vlm_model_registry_free(vlm_model_registry *registry) {
    if (!registry) return;
    vmodel_rows_free(&registry->rows);
    vcore_free(registry);
}

vlm_status vlm_model_registry_add(vlm_model_registry *registry, const vlm_model_type *type,
                                  const vlm_model_type **displaced, vlm_error *err) {
    const void *before = NULL;
    if (displaced) *displaced = NULL;
    if (!registry || !type || !type->model_type || !type->create || !type->text)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "model type: model_type, create and text are needed");
    VTRY(vmodel_rows_put(&registry->rows, model_key, type, &before, err));
    if (displaced) *displaced = before;
    return VLM_OK;
}

const vlm_model_type *vlm_model_registry_find(const vlm_model_registry *registry,
                                              const char *model_type) {
    if (!registry || !model_type) return NULL;
    const vmodel_rows *rows = &registry->rows;
    const vcore_str name = vmodel_remap(vcore_str_of(model_type));
    const vlm_model_type *row = vmodel_rows_find(rows, model_key, name);
    for (size_t i = 0; i < rows->n && !row; i++) {
        const char *aliases = ((const vlm_model_type *)rows->at[i])->aliases;
        for (vcore_str alias; !row && vmodel_alternative(&aliases, &alias);)
            if (vcore_str_eq(vmodel_remap(alias), name)) row = rows->at[i];
    }
    return row;
}

bool vlm_model_registry_contains(const vlm_model_registry *registry, const char *model_type) {
    return vlm_model_registry_find(registry, model_type) != NULL;
}

const char *vlm_model_registry_at(const vlm_model_registry *registry, size_t i,
                                  const char **aliases) {
    if (!registry || i >= registry->rows.n) return NULL;
    const vlm_model_type *row = registry->rows.at[i];
    if (aliases) *aliases = row->aliases;
    return model_key(row).p;
}

vlm_status vmodel_unknown_model(vlm_error *err, const vlm_model_registry *registry,
                                const char *file, const char *model_type) {
    char text[400];
    not_registered(text, sizeof text, &registry->rows, model_key, model_type);
    return vcore_fail_at(err, VLM_ERR_UNKNOWN_MODEL_TYPE,
                         (vcore_where) { .file = file, .field = "model_type" }, "%s: model_type: %s",
                         file, text);
}

vlm_status vlm_model_registry_create(void **model, const vlm_model_registry *registry,
                                     vlm_build *build, vlm_error *err) {
    if (model) *model = NULL;
    if (!model || !registry || !build)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "model registry: a null argument");
    vcore_str name = { "", 0 };
    vcore_json_string(vcore_json_get(build->args.config, "model_type"), &name);
    const vlm_model_type *row = vlm_model_registry_find(registry, name.p);
    if (!row) return vmodel_unknown_model(err, registry, "config.json", name.p);
    const void *outer = build->user; /* of a constructor that calls another one */
    build->user = row->user;
    vlm_status status = row->create(model, build, err);
    build->user = outer;
    if (status < 0) *model = NULL;
    return status;
}

/* ---- processor classes --------------------------------------------------------------------------- */
static vcore_str processor_key(const void *row) {
    return vcore_str_of(((const vlm_processor_type *)row)->processor_class);
}

vlm_status vlm_processor_registry_new(vlm_processor_registry **out,
                                      const vlm_processor_registry *from, vlm_error *err) {
    return vlm_processor_registry_with(out, from, NULL, 0, err);
}

vlm_status vlm_processor_registry_with(vlm_processor_registry **out,
                                       const vlm_processor_registry *from,
                                       const vlm_processor_type *const *types, size_t n,
                                       vlm_error *err) {
    if (out) *out = NULL;
    if (!out || (n && !types))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "processor registry: a null argument");
    vlm_processor_registry *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, "registry");
    vlm_status status = vmodel_rows_new(&r->rows, from ? &from->rows : NULL, err);
    for (size_t i = 0; i < n && status >= 0; i++)
        status = vlm_processor_registry_add(r, types[i], NULL, err);
    if (status < 0) {
        vlm_processor_registry_free(r);
        return status;
    }
    *out = r;
    return VLM_OK;
}

void vlm_processor_registry_free(vlm_processor_registry *registry) {
    if (!registry) return;
    vmodel_rows_free(&registry->rows);
    vcore_free(registry);
}

vlm_status vlm_processor_registry_add(vlm_processor_registry *registry,
                                      const vlm_processor_type *type,
                                      const vlm_processor_type **displaced, vlm_error *err) {
    const void *before = NULL;
    if (displaced) *displaced = NULL;
    if (!registry || !type || !type->processor_class || !type->create)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "processor class: processor_class and create are needed");
    if (type->placeholder && (!type->plan || !type->fill))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "processor class '%s': takes media, so plan and fill are needed",
                          type->processor_class);
    VTRY(vmodel_rows_put(&registry->rows, processor_key, type, &before, err));
    if (displaced) *displaced = before;
    return VLM_OK;
}

const vlm_processor_type *vlm_processor_registry_find(const vlm_processor_registry *registry,
                                                      const char *processor_class) {
    if (!registry || !processor_class) return NULL;
    const vmodel_rows *rows = &registry->rows;
    const vcore_str name = vcore_str_of(processor_class);
    const vlm_processor_type *row = vmodel_rows_find(rows, processor_key, name);
    for (size_t i = 0; i < rows->n && !row; i++)
        if (vmodel_is_one_of(((const vlm_processor_type *)rows->at[i])->aliases, name))
            row = rows->at[i];
    return row;
}

bool vlm_processor_registry_contains(const vlm_processor_registry *registry,
                                     const char *processor_class) {
    return vlm_processor_registry_find(registry, processor_class) != NULL;
}

const char *vlm_processor_registry_at(const vlm_processor_registry *registry, size_t i,
                                      const char **aliases) {
    if (!registry || i >= registry->rows.n) return NULL;
    const vlm_processor_type *row = registry->rows.at[i];
    if (aliases) *aliases = row->aliases;
    return row->processor_class;
}

vlm_status vmodel_unknown_processor(vlm_error *err, const vlm_processor_registry *registry,
                                    const char *file, const char *processor_class,
                                    const char *because) {
    char text[400];
    not_registered(text, sizeof text, &registry->rows, processor_key, processor_class);
    return vcore_fail_at(err, VLM_ERR_UNKNOWN_PROCESSOR,
                         (vcore_where) { .file = file, .field = "processor_class" },
                         "%s: processor_class: %s%s", file, because, text);
}

vlm_status vlm_processor_registry_create(void **processor, const vlm_processor_registry *registry,
                                         const vlm_processor_build *build, vlm_error *err) {
    if (processor) *processor = NULL;
    if (!processor || !registry || !build || !build->processor_class)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "processor registry: a null argument");
    const vlm_processor_type *row = vlm_processor_registry_find(registry, build->processor_class);
    if (!row)
        return vmodel_unknown_processor(err, registry, build->processor_file,
                                        build->processor_class, "");
    vlm_processor_build with_user = *build;
    with_user.user = row->user;
    vlm_status status = row->create(processor, &with_user, err);
    if (status < 0) *processor = NULL;
    return status;
}

vlm_status vlm_extend_check(int api_version, vlm_error *err) {
    if (api_version == VLM_API_VERSION) return VLM_OK;
    return vcore_fail(err, VLM_ERR_UNSUPPORTED, "extension of interface %d, the library has %d",
                      api_version, VLM_API_VERSION);
}
