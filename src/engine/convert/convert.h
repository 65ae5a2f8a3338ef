/* SPDX-License-Identifier: MIT */
/* Conversion: a plan of what is written, from the rows that a load bound; then the tensors, block of
 * rows by block of rows; then the small files. */
#ifndef VLM_ENGINE_CONVERT_H
#define VLM_ENGINE_CONVERT_H

#include "engine/engine.h"
#include "vlm/load/convert.h"

/* ---- arithmetic ------------------------------------------------------------------------------- */
/* Floats of one row as MLX's quantizer stores them (quantize.c). x: `in` values of `type`, a multiple
 * of the group size; scales of the affine mode and biases are of `type`, other scales bytes. False:
 * a scale is no finite number. */
bool vengine_quantize_row(const vlm_quantization_params *p, vlm_dtype type, const float *x, int64_t in,
                          uint8_t *packed, void *scales, void *biases);
/* Row `row` of a matrix as MLX's dequantizer gives it in `type`, which may be wider (decode.c). False:
 * a value is no finite number. cpu_flags: vcore_cpu_flags(). */
bool vengine_decode_row(float *out, const vlm_matrix *m, int64_t row, vlm_dtype type, unsigned cpu_flags);
/* x rounded to a type; values that are of a type as they are stored. */
float vengine_round_to(vlm_dtype type, float x);
void vengine_store_row(void *out, vlm_dtype type, const float *x, int64_t n);
/* E4M3 as MLX rounds to it: whatever is beyond 448 becomes 448, nothing NaN. */
uint8_t vengine_to_fp8(float x);

/* ---- the plan (plan.c) ------------------------------------------------------------------------ */
typedef enum vengine_treat { VENGINE_KEEP, VENGINE_FLOATS, VENGINE_QUANTIZE } vengine_treat;
enum { VENGINE_WEIGHT, VENGINE_SCALES, VENGINE_BIASES, VENGINE_BIAS, VENGINE_PARTS };
/* A row of a weight table, and the tensors it becomes. */
typedef struct vengine_item {
    const vmodel_bound *bound;
    const char *name; /* of the module */
    vengine_treat treat;
    bool quantized; /* params says how it will be stored */
    vlm_quantization_params params;
    int64_t kernel; /* convolution: positions of the kernel, which MLX has before the channels */
    size_t first, n; /* of the plan's tensors */
    size_t part[VENGINE_PARTS]; /* index of a tensor; SIZE_MAX: none */
    size_t shard;
} vengine_item;
typedef struct vengine_shard {
    size_t first, n; /* of the plan's tensors */
    uint64_t bytes;
    char name[64];
} vengine_shard;
typedef struct vengine_plan {
    const vlm_context *c;
    const vlm_convert_options *options;
    vlm_dtype dtype; /* of floats, where given */
    bool has_dtype;
    vlm_quantization_params params; /* of VLM_CONVERT_QUANTIZE */
    int low_bits, high_bits;        /* of a recipe; 0: none */
    vcore_arena *arena;
    vlm_build *scratch; /* binds rows again; its arena is the caller's to change */
    vengine_item *items;
    size_t n_items;
    vio_out_tensor *tensors;
    size_t n_tensors, tensor_capacity;
    vengine_shard *shards;
    size_t n_shards;
    uint64_t bytes;
} vengine_plan;
/* @param out zeroed; freed by the caller, after an error, too */
vlm_status vengine_plan_make(vengine_plan *out, const vlm_context *c, const vlm_convert_options *options,
                             vlm_error *err);
void vengine_plan_free(vengine_plan *p);
/* The type of a matrix's floats, and of the scales that come of them. */
vlm_dtype vengine_floats_of(const vengine_plan *p, const vlm_matrix *m);
/* What a row binds to. */
typedef struct vengine_member {
    union {
        vlm_linear linear; /* its matrix is first; a matrix alone, too */
        vlm_norm norm;
        vlm_tensor tensor;
    } u;
} vengine_member;
/* The floats of a row that are no matrix of a module as a matrix of rows; part: WEIGHT or BIAS. */
vlm_matrix vengine_member_floats(const vengine_item *item, const vengine_member *m, int part);

/* ---- output (write.c, files.c) ---------------------------------------------------------------- */
vlm_status vengine_write_shards(const vengine_plan *p, const char *dir, vlm_error *err);
/* config.json, the index, and the files of tokenizer and processor. */
vlm_status vengine_write_files(const vengine_plan *p, const char *dir, vlm_error *err);

#endif
