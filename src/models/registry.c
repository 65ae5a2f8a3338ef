/* SPDX-License-Identifier: MIT */
/* Registries of model types and processor classes: what is built in, and what users add. */
#include "models/models.h"

struct vlm_registry {
    const vlm_model_type **models;
    size_t n_models;
    const vlm_processor_type **processors;
    size_t n_processors;
};

vlm_status vlm_registry_new(vlm_registry **out, vlm_error *err) {
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_registry_new: a null argument");
    *out = NULL;
    vlm_registry *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, "registry");
    vlm_status status = VLM_OK;
    for (size_t i = 0; status == VLM_OK && vmodel_builtin[i]; i++)
        status = vlm_registry_add_model(r, vmodel_builtin[i], err);
    for (size_t i = 0; status == VLM_OK && vmodel_builtin_processors[i]; i++)
        status = vlm_registry_add_processor(r, vmodel_builtin_processors[i], err);
    if (status < 0) {
        vlm_registry_free(r);
        return status;
    }
    *out = r;
    return VLM_OK;
}

void vlm_registry_free(vlm_registry *registry) {
    if (!registry) return;
    vcore_free(registry->models);
    vcore_free(registry->processors);
    vcore_free(registry);
}

const char *vlm_registry_model(const vlm_registry *registry, size_t i, const char **aliases) {
    if (!registry || i >= registry->n_models) return NULL;
    if (aliases) *aliases = registry->models[i]->aliases;
    return registry->models[i]->model_type;
}

const char *vlm_registry_processor(const vlm_registry *registry, size_t i, const char **aliases) {
    if (!registry || i >= registry->n_processors) return NULL;
    if (aliases) *aliases = registry->processors[i]->aliases;
    return registry->processors[i]->processor_class;
}

vlm_status vlm_registry_add_model(vlm_registry *registry, const vlm_model_type *type,
                                  vlm_error *err) {
    if (!registry || !type || !type->model_type || !type->create || !type->text)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "model type: model_type, create and text are needed");
    for (size_t i = 0; i < registry->n_models; i++) {
        if (strcmp(registry->models[i]->model_type, type->model_type) != 0) continue;
        registry->models[i] = type;
        return VLM_OK;
    }
    size_t n = registry->n_models + 1;
    const vlm_model_type **models = vcore_realloc_array(registry->models, n, sizeof *models);
    if (!models) return vcore_no_memory(err, "registry");
    models[n - 1] = type;
    registry->models = models;
    registry->n_models = n;
    return VLM_OK;
}

vlm_status vlm_registry_add_processor(vlm_registry *registry, const vlm_processor_type *type,
                                      vlm_error *err) {
    if (!registry || !type || !type->processor_class || !type->create)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "processor class: processor_class and create are needed");
    for (size_t i = 0; i < registry->n_processors; i++) {
        if (strcmp(registry->processors[i]->processor_class, type->processor_class) != 0) continue;
        registry->processors[i] = type;
        return VLM_OK;
    }
    size_t n = registry->n_processors + 1;
    const vlm_processor_type **processors =
        vcore_realloc_array(registry->processors, n, sizeof *processors);
    if (!processors) return vcore_no_memory(err, "registry");
    processors[n - 1] = type;
    registry->processors = processors;
    registry->n_processors = n;
    return VLM_OK;
}

const vlm_model_type *vmodel_find(const vlm_registry *r, const char *model_type) {
    for (size_t i = 0; i < r->n_models; i++)
        if (strcmp(r->models[i]->model_type, model_type) == 0) return r->models[i];
    for (size_t i = 0; i < r->n_models; i++)
        if (vmodel_is_one_of(r->models[i]->aliases, vcore_str_of(model_type))) return r->models[i];
    return NULL;
}

const vlm_processor_type *vmodel_find_processor(const vlm_registry *r,
                                                const char *processor_class) {
    for (size_t i = 0; i < r->n_processors; i++)
        if (strcmp(r->processors[i]->processor_class, processor_class) == 0)
            return r->processors[i];
    for (size_t i = 0; i < r->n_processors; i++)
        if (vmodel_is_one_of(r->processors[i]->aliases, vcore_str_of(processor_class)))
            return r->processors[i];
    return NULL;
}

vlm_status vlm_extend_check(int api_version, vlm_error *err) {
    if (api_version == VLM_API_VERSION) return VLM_OK;
    return vcore_fail(err, VLM_ERR_UNSUPPORTED, "extension of interface %d, the library has %d",
                      api_version, VLM_API_VERSION);
}
