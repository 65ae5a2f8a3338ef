/* SPDX-License-Identifier: MIT */
/**
 * @file registries.h
 * @brief What a load knows: model types, processor classes and checkpoints, each in a registry.
 *
 * Every registry has a constant default that holds what is built in, and may be made anew, from that, from
 * another registry, or from nothing. Registries are filled first and shared then: a registry that nobody changes
 * may be used by any number of threads. Model types and processor classes are added through vlm/extend.h, the
 * only page that knows how one is written; checkpoints are plain values and are added here.
 */
#ifndef VLM_LOAD_REGISTRIES_H
#define VLM_LOAD_REGISTRIES_H

#include <stdbool.h>

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- model types ----------------------------------------------------------------------------- */
/**
 * The model type that serves checkpoints whose config.json says `model_type`: "lfm2-vl" is served by "lfm2_vl".
 * Spellings count exactly as they are, small and capital letters too. Applied by a model registry to every name
 * it is given, at registration and at lookup. Thread-safe.
 * @return a static string, or `model_type` itself where it is no alias
 */
VLM_API const char *vlm_remap_model_type(const char *model_type);
/** The i-th alias, NULL behind the last; *model_type (may be NULL) what serves it. Static. */
VLM_API const char *vlm_remap_at(size_t i, const char **model_type);

/** Model types by name: which constructor serves which model_type. */
typedef struct vlm_model_registry vlm_model_registry;
/** The model types that are built in; static and constant. */
VLM_API const vlm_model_registry *vlm_model_registry_default(void);
/** @param out owned @param from what the new registry holds at first; NULL: nothing */
VLM_API vlm_status vlm_model_registry_new(vlm_model_registry **out, const vlm_model_registry *from,
                                          vlm_error *err);
/** NULL is fine. A context does not need the registry that it was loaded with. */
VLM_API void vlm_model_registry_free(vlm_model_registry *registry);
/** True when a checkpoint that says `model_type` would be served. */
VLM_API bool vlm_model_registry_contains(const vlm_model_registry *registry, const char *model_type);
/** The i-th model type in order of registration, NULL behind the last; *aliases (may be NULL) the other
 * spellings of its row, '|'-separated, or NULL. (Those of vlm_remap_at() come on top.) */
VLM_API const char *vlm_model_registry_at(const vlm_model_registry *registry, size_t i,
                                          const char **aliases);

/* ---- processor classes ----------------------------------------------------------------------- */
/** Processor classes by name, as the processor's files write it. */
typedef struct vlm_processor_registry vlm_processor_registry;
/** The processor classes that are built in; static and constant. */
VLM_API const vlm_processor_registry *vlm_processor_registry_default(void);
/** @param out owned @param from what the new registry holds at first; NULL: nothing */
VLM_API vlm_status vlm_processor_registry_new(vlm_processor_registry **out,
                                              const vlm_processor_registry *from, vlm_error *err);
/** NULL is fine. */
VLM_API void vlm_processor_registry_free(vlm_processor_registry *registry);
/** True when the class is registered, under this very name. What a model type overrides plays no part here. */
VLM_API bool vlm_processor_registry_contains(const vlm_processor_registry *registry,
                                             const char *processor_class);
/** The i-th class, NULL behind the last; *aliases as for model types. */
VLM_API const char *vlm_processor_registry_at(const vlm_processor_registry *registry, size_t i,
                                              const char **aliases);

/* ---- checkpoints ----------------------------------------------------------------------------- */
/** A model configuration: where a checkpoint is, and what is good to know beside its files. */
typedef struct vlm_model_configuration {
    size_t struct_size;
    const char *id;               /**< a hub id ("org/name") or a directory; the key of the registry */
    const char *revision;         /**< of the hub id: branch, tag or commit; NULL: "main" */
    const char *tokenizer_source; /**< directory or hub id of the tokenizer's files; NULL: with the model's */
    const char *default_prompt;   /**< what to ask when the user asks nothing; may be NULL */
    const char *const *extra_eos; /**< texts of tokens that end a turn, too */
    size_t n_extra_eos;
    const char *model_type;       /**< for lists; a load goes by config.json. May be NULL */
} vlm_model_configuration;
#define VLM_MODEL_CONFIGURATION_INIT { sizeof(vlm_model_configuration), NULL, NULL, NULL, NULL, NULL, 0, NULL }

/** Known checkpoints by id. A checkpoint that is not in it loads as well, as its files say. */
typedef struct vlm_checkpoint_registry vlm_checkpoint_registry;
/** The known checkpoints; static and constant. */
VLM_API const vlm_checkpoint_registry *vlm_checkpoint_registry_default(void);
/** @param out owned @param from what the new registry holds at first; NULL: nothing */
VLM_API vlm_status vlm_checkpoint_registry_new(vlm_checkpoint_registry **out,
                                               const vlm_checkpoint_registry *from, vlm_error *err);
/** NULL is fine. */
VLM_API void vlm_checkpoint_registry_free(vlm_checkpoint_registry *registry);
/** Adds a configuration; one of the same id is replaced.
 * @param configuration copied @param displaced the one replaced, or NULL; lives as long as the registry. May be NULL */
VLM_API vlm_status vlm_checkpoint_registry_add(vlm_checkpoint_registry *registry,
                                               const vlm_model_configuration *configuration,
                                               const vlm_model_configuration **displaced, vlm_error *err);
/** The configuration of an id; NULL where the registry has none. Borrowed until something is added. */
VLM_API const vlm_model_configuration *vlm_checkpoint_registry_find(
    const vlm_checkpoint_registry *registry, const char *id);
/** The i-th configuration, NULL behind the last. Borrowed until something is added. */
VLM_API const vlm_model_configuration *vlm_checkpoint_registry_at(
    const vlm_checkpoint_registry *registry, size_t i);

#ifdef __cplusplus
}
#endif
#endif
