/* SPDX-License-Identifier: MIT */
/* Models for the engine: building (config tables, weight binding), registries, prepared inputs,
 * plans. The page that model authors read is vlm/extend/model.h; one VLM is one unit here that
 * includes nothing but vlm/extend.h. */
#ifndef VLM_MODELS_INTERNAL_H
#define VLM_MODELS_INTERNAL_H

#include "core/core.h"
#include "io/io.h"
#include "media/media.h"
#include "nn/nn.h"
#include "tensor/tensor.h"
#include "text/text.h"
#include "vlm/extend.h"
#include "vlm/load/quantization.h"

/* ---- building (build.c, weights/) -------------------------------------------------------------- */
typedef struct vmodel_build_args {
    const vlm_json *config;
    const char *config_text;
    const vlm_base_config *base; /* handed on, not looked at */
    const vio_tensors *tensors; /* NULL: none, every tensor counts as missing */
    bool inspect; /* missing tensors and unused ones are listed, not an error */
    const vcore_log *log;
    vcore_arena *arena; /* lives as long as the model */
    vtensor_backend *backend;
    const vlm_quantization *quantization; /* NULL: the config says nothing of it */
    bool convert; /* with inspect: rows are kept for a conversion, what a load refuses is refused */
} vmodel_build_args;
vlm_status vmodel_build_new(vlm_build **out, const vmodel_build_args *args, vlm_error *err);
void vmodel_build_free(vlm_build *b);
/* Notes that "<stem><suffix>" is in no file. ERR_WEIGHTS when there are too many to go on. */
vlm_status vmodel_build_missing(vlm_build *b, const char *stem, const char *suffix, vlm_error *err);
/* After construction: tensors that are missing, and those that nothing named. The first is an error
 * always, the second a strict one; the log has every name. */
vlm_status vmodel_build_check(vlm_build *b, bool lenient, vlm_error *err);
typedef struct vmodel_usage {
    uint64_t parameters, weight_bytes, computed_bytes;
    uint64_t missing_parameters; /* as the config has them */
    const char *const *missing; /* borrowed from the build, as unused is */
    size_t n_missing;
    const char *const *unused; /* known after vmodel_build_check */
    size_t n_unused;
} vmodel_usage;
const vmodel_usage *vmodel_build_usage(const vlm_build *b);

/* A module that is stored as no float, as it was bound. */
typedef struct vmodel_module {
    const char *name; /* its path in the checkpoint; borrowed from the arena */
    const char *mode; /* "affine", ..., "fp8"; static */
    int bits, group_size; /* group_size 0: a scale for a row, a block or all */
    bool dense;   /* decoded into floats while loading */
    bool guessed; /* the config says nothing; its shapes say this */
} vmodel_module;
/* Whether the load itself reads the i-th tensor, to make something else of it. */
bool vmodel_build_copied(const vlm_build *b, size_t i);
/* Whether the checkpoint has a tensor of that name, as a row of a table has it, its suffix included. */
bool vmodel_build_has(const vlm_build *b, const vlm_binding *at, const char *name);
/* Whether the checkpoint has two tensors of these names that are not the same numbers. No for files of MLX's, for a
 * conversion, which makes such, and for an inspection, which looks at no weights. */
bool vmodel_build_differ(const vlm_build *b, const vlm_binding *at, const char *name, const vlm_binding *other_at,
                         const char *other_name);
/* In the order of binding; borrowed. */
const vmodel_module *vmodel_build_modules(const vlm_build *b, size_t *n);

/* ---- rows kept for a conversion (weights/bind.c) ---- */
/* A row that was bound, with all that it takes to bind it again. */
typedef struct vmodel_bound {
    vlm_weight_row row;
    const char *prefix;
    int layer;
    unsigned conditions;
    int rank;
    int64_t dims[VLM_MAX_RANK];
    const char *as; /* the module is written under this name, in place of its own or as a copy; or NULL */
    int part, parts; /* experts: of each one's outputs so many shares are a module each, dims are a share's; 0: all are one */
} vmodel_bound;
/* In the order of binding; borrowed. */
const vmodel_bound *vmodel_build_bound(const vlm_build *b, size_t *n);
/* Path of its module as MLX has it: the last spelling of prefix and row. False: none so long. */
bool vmodel_bound_name(const vmodel_bound *bound, char *name, size_t bytes);
/* Binds it to a member of the row's kind. */
vlm_status vmodel_bound_again(const vmodel_bound *bound, vlm_build *b, void *member, vlm_error *err);
/* Keeps a matrix of the table a second time, as the module that MLX's model has in its place. */
vlm_status vmodel_build_keep_copy(vlm_build *b, const vlm_weight_row *row, const vlm_binding *at,
                                  const char *as_prefix, const char *as_name, vlm_error *err);

/* The experts that were kept last are written under these names (the second may be NULL), each a share of the outputs. */
vlm_status vmodel_build_keep_as(vlm_build *b, const vlm_binding *at, const char *const as[2], vlm_error *err);
/* Row of the bound matrix that the i-th of the module is. */
int64_t vmodel_bound_row(const vmodel_bound *bound, int64_t i);

/* Outputs [start, start + count) of a linear layer, seen where they lie (weights/views.c). */
vlm_linear vmodel_linear_outputs(const vlm_linear *fused, int64_t start, int64_t count);

/* Value i of an array of floats, aligned or not (weights/quantized.c). */
float vmodel_float_at(const void *data, vlm_dtype type, size_t i);

/* What became of a tensor of the checkpoint. */
typedef enum vmodel_fate { VMODEL_UNUSED, VMODEL_USED, VMODEL_IGNORED } vmodel_fate;
struct vlm_build {
    vmodel_build_args args;
    uint8_t *fates;  /* [tensors] vmodel_fate */
    uint8_t *copied; /* [tensors] 1: read by the load, which made something else of it */
    vmodel_usage usage;
    const char **missing, **unused;
    size_t missing_capacity;
    vmodel_module *modules;
    size_t n_modules, module_capacity;
    vmodel_bound *bound;
    size_t n_bound, bound_capacity;
    const void *user; /* of the row whose constructor runs */
};
/* Copies the alternative that *list begins with ("a|b|c") and moves *list behind it; false at the
 * end. Start with a copy of the list's address; an empty alternative is one, too. */
bool vmodel_alternative(const char **list, vcore_str *out);
/* True when name is one of the alternatives of list (NULL: none). */
bool vmodel_is_one_of(const char *list, vcore_str name);

/* ---- quantization (weights/; the page: vlm/load/quantization.h) -------------------------------- */
/* From parsed files. hf_quant: hf_quant_config.json, read when the config says nothing; may be
 * NULL. file: what to call the config in errors. *out stays NULL when there is no quantization. */
vlm_status vmodel_quantization_new(vlm_quantization **out, const vlm_json *config,
                                   const vlm_json *hf_quant, const char *file, vlm_error *err);
/* Whether the mode has these bits and this group size; the mode's own. */
bool vmodel_quantization_has(const vlm_quantization_params *p);
vlm_quantization_params vmodel_quantization_params_of(vlm_quantization_mode mode);
vlm_quantization_mode vmodel_mode_of(vlm_storage storage); /* of one that is not dense */
/* Tensors of a layout that belong to a quantized module and are not read. */
bool vmodel_quantization_ignores(const vlm_quantization *q, const char *name);

/* ---- text decoders and vision towers (text/, vision/): registries by their own model_type ---- */
/* The model_type of a part's config, or fallback; ERR_CONFIG when it is no string. */
vlm_status vmodel_part_type(vcore_str *out, const vlm_json *config, const char *fallback,
                            const char *where, vlm_error *err);

/* ---- registries (registry.c, builtin.c) and names (names.c) ----------------------------------- */
/* Rows of a registry. at == own unless the rows are constant. */
typedef struct vmodel_rows {
    const void *const *at;
    const void **own;
    size_t n;
} vmodel_rows;
typedef vcore_str (*vmodel_key_fn)(const void *row); /* its end is NUL-terminated */
vlm_status vmodel_rows_new(vmodel_rows *out, const vmodel_rows *from, vlm_error *err);
void vmodel_rows_free(vmodel_rows *rows);
/* Replaces the row of the same key, or adds at the end. *displaced: the row replaced, or NULL. */
vlm_status vmodel_rows_put(vmodel_rows *rows, vmodel_key_fn key, const void *row,
                           const void **displaced, vlm_error *err);
const void *vmodel_rows_find(const vmodel_rows *rows, vmodel_key_fn key, vcore_str name);
struct vlm_model_registry {
    vmodel_rows rows;
};
struct vlm_processor_registry {
    vmodel_rows rows;
};
/* The refusals, with the nearest names. because: "" or how the class came about, ending in ": ". */
vlm_status vmodel_unknown_model(vlm_error *err, const vlm_model_registry *registry,
                                const char *file, const char *model_type);
vlm_status vmodel_unknown_processor(vlm_error *err, const vlm_processor_registry *registry,
                                    const char *file, const char *processor_class,
                                    const char *because);
vcore_str vmodel_remap(vcore_str model_type); /* vlm_remap_model_type of a piece of text */
/* The class that a model type needs whatever its files say; NULL: what they say. */
const char *vmodel_processor_override(const vlm_model_type *type);

/* ---- message formats (message_formats.c) ------------------------------------------------------- */
/* mlx-vlm's format of a model type as config.json spells it, small and capital letters alike; NULL: its table has
 * no such type. *single_image (may be NULL): the type takes one image. */
const vlm_message_format *vmodel_message_format(const char *model_type, bool *single_image);
/* Of types that the table lacks: parts, media in front of the text. */
extern const vlm_message_format vmodel_message_parts;

/* ---- prepared inputs and plans (prepared.c, plan.c) ------------------------------------------ */
vlm_status vmodel_prepared_new(vlm_prepared **out, vlm_error *err);
vlm_status vmodel_prepared_set_ids(vlm_prepared *p, const uint32_t *ids, size_t n, vlm_error *err);
size_t vmodel_prepared_count(const vlm_prepared *p);
const vlm_array *vmodel_prepared_at(const vlm_prepared *p, size_t i);
void vmodel_prepared_set_media_tokens(vlm_prepared *p, size_t n);
/* vlm_prepared_load without the context: floats become F32, integers I64; ids are not checked. */
vlm_status vmodel_prepared_load(vlm_prepared **out, const char *path, const vlm_limits *limits,
                                vlm_error *err);
vlm_status vmodel_plan_new(vlm_plan **out, const vlm_media_item *media, size_t n,
                           const vlm_processing *processing, vlm_error *err);
void vmodel_plan_free(vlm_plan *plan);

#endif
