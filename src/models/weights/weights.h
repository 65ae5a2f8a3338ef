/* SPDX-License-Identifier: MIT */
/* From the tensors of a checkpoint to the members of a model: the quantization table, and a row of a
 * weight table while it is bound. */
#ifndef VLM_MODELS_WEIGHTS_H
#define VLM_MODELS_WEIGHTS_H

#include "models/models.h"

/* ---- the quantization table (quantization.c, quantization_hf.c) -------------------------------
 * How a checkpoint lays its quantized matrices out. */
typedef enum vmodel_layout {
    VMODEL_LAYOUT_MLX,        /* weight, scales, biases */
    VMODEL_LAYOUT_COMPRESSED, /* compressed-tensors: weight_packed, weight_scale, ... */
    VMODEL_LAYOUT_MODELOPT,   /* weight, weight_scale, weight_scale_2 */
    VMODEL_LAYOUT_AWQ,        /* qweight, qzeros, scales: [in, out], packed along the outputs */
    VMODEL_LAYOUT_GPTQ        /* the same, packed along the inputs; g_idx */
} vmodel_layout;
typedef struct vmodel_quantization_entry {
    const char *module;
    vlm_quantization_answer answer;
    vlm_quantization_params params; /* when GIVEN */
} vmodel_quantization_entry;
struct vlm_quantization {
    vcore_arena *memory;
    const char *file; /* that said it */
    const char *method;
    const char *refused_field, *refusal; /* why its weights cannot be had; NULL: they can */
    vmodel_layout layout;
    bool has_whole;
    vlm_quantization_params whole;    /* of the whole model */
    vlm_quantization_params integers; /* COMPRESSED, AWQ, GPTQ: of packed integers */
    unsigned zero_offset; /* GPTQ: what is added to a stored zero point */
    int64_t block[2]; /* COMPRESSED: rows and columns of 8-bit floats that share a scale; 0: a row */
    vcore_map *modules; /* path -> index of its entry */
    vmodel_quantization_entry *entries;
    size_t n_entries, capacity;
};
/* Parameters of an object; whole: bits and group_size must be there. */
vlm_status vmodel_quantization_read(const vlm_quantization *q, vlm_quantization_params *out,
                                    const vlm_json *object, bool whole, const char *where,
                                    vlm_error *err);
/* The kinds of sections: MLX's, Hugging Face's (a refusal is no error), ModelOpt's. */
vlm_status vmodel_quantization_read_mlx(vlm_quantization *q, const vlm_json *object,
                                        const char *where, vlm_error *err);
vlm_status vmodel_quantization_read_hf(vlm_quantization *q, const vlm_json *c, const char *where,
                                       vlm_error *err);
vlm_status vmodel_quantization_read_modelopt(vlm_quantization *q, const vlm_json *c,
                                             const char *where, vlm_error *err);

/* ---- a row of a weight table while it is bound (bind.c; quantized.c) ----------------------- */
enum { VMODEL_NAME_BYTES = 256 };
typedef struct vmodel_row {
    vlm_build *b;
    const vlm_binding *at;
    const vlm_weight_row *row;
    int rank;
    int64_t dims[VLM_MAX_RANK];
    char stem[VMODEL_NAME_BYTES]; /* path of what was found: its name less the suffix */
    vlm_error *err;
} vmodel_row;
/* Tries every prefix with every name of the row; stem is what was found, or the first tried. */
const vio_tensor *vmodel_row_locate(vmodel_row *r, const char *suffix);
/* "<stem><suffix>", or NULL. */
const vio_tensor *vmodel_row_companion(const vmodel_row *r, const char *suffix);
/* What the table says of the module, under the name found or another one of the row. */
vlm_quantization_answer vmodel_row_quantization(const vmodel_row *r, vlm_quantization_params *p);
/* Marks a tensor as used and counts its bytes, and as many parameters, once. */
void vmodel_row_take(const vmodel_row *r, const vio_tensor *t, uint64_t parameters);
/* ERR_WEIGHTS "...: shape [4, 9], <who> asks for [4, 8]". */
vlm_status vmodel_row_check_shape(const vmodel_row *r, const vio_tensor *t, const int64_t *dims,
                                  int rank, const char *who);
/* The same for the rows that the row of the table has, a matrix or a stack of them. */
vlm_status vmodel_row_check_rows(const vmodel_row *r, const vio_tensor *t, int64_t columns,
                                 const char *who);
vlm_status vmodel_row_float_type(const vmodel_row *r, const vio_tensor *t, vlm_dtype *out);
/* The tensor's bytes where they lie, as elements of dtype; copied only when misaligned for it. */
vlm_status vmodel_row_view(vmodel_row *r, const vio_tensor *t, vlm_dtype dtype,
                           const int64_t *dims, int rank, vlm_tensor *out);
/* Memory of the model's own for what a file cannot give as it is; counted. An inspection counts it
 * and gets NULL. */
vlm_status vmodel_row_materialise(vmodel_row *r, void **data, const vio_tensor *t, size_t bytes);
/* "<file>: tensor '<name>': <what>". */
vlm_status vmodel_row_fail(const vmodel_row *r, vlm_status code, const vio_tensor *t,
                           const char *what);
#define VMODEL_NOT_FINITE "holds what is no finite number, or becomes one"
/* Notes the module for vmodel_build_modules, its name filled in; the log hears of the first guess. */
vlm_status vmodel_row_note(vmodel_row *r, vmodel_module module);
/* Runs fn for i in [0, n) on the backend's threads, or here where it has none. */
void vmodel_row_run(const vmodel_row *r, size_t n, void (*fn)(void *arg, size_t i, int worker),
                    void *arg);
/* How a number is stored; the first three in the order of vlm_dtype. */
typedef enum vmodel_number { VMODEL_F32, VMODEL_BF16, VMODEL_F16, VMODEL_E4M3, VMODEL_E8M0 } vmodel_number;
/* False when one of the numbers is a NaN or infinite (finite.c). */
bool vmodel_all_finite(vmodel_number kind, const void *data, size_t bytes);
/* The same of a tensor that is viewed where it lies: ERR_WEIGHTS names it. An inspection looks at
 * nothing. */
vlm_status vmodel_row_check_finite(const vmodel_row *r, const vio_tensor *t, vmodel_number kind);
/* "<stem>.weight" in E4M3, scales beside it, becomes floats (float8.c). */
vlm_status vmodel_bind_float8(vmodel_row *r, const vio_tensor *weight, const vio_tensor *scales,
                              vlm_matrix *m);
/* A depthwise convolution, made for vlm_depthwise_conv (depthwise.c). */
vlm_status vmodel_bind_depthwise(vmodel_row *r, vlm_depthwise *out);
/* Binds a matrix that is stored as no float; otherwise *bound is false. */
vlm_status vmodel_bind_quantized(vmodel_row *r, vlm_matrix *m, bool *bound);
/* The same in AWQ's and GPTQ's layouts (transposed.c). */
vlm_status vmodel_bind_transposed(vmodel_row *r, vlm_matrix *m, bool *bound);

#endif
