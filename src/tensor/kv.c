/* SPDX-License-Identifier: MIT */
/* How the state of one layer lies in memory: head by head, so that the keys of a head are one run
 * that is read from its beginning to its end. */
#include "tensor/tensor.h"

enum { ALIGN = 64, PAD = 16, GROUP = 64, SMALL_GROUP = 32 };

/* Rows of keys or values, and of their scales, as the innermost dimension. */
typedef struct row {
    vlm_dtype dtype;
    int64_t length;
    int64_t groups; /* 0: not quantized */
    int group;
} row;

static row row_of(const vtensor_kv_form *form) {
    int64_t dim = form->head_dim;
    if (!form->bits) return (row) { form->dtype, dim, 0, 0 };
    int group = dim % GROUP ? SMALL_GROUP : GROUP;
    int64_t padded = (dim + PAD - 1) / PAD * PAD;
    return (row) { VLM_DTYPE_U8, padded * form->bits / 8, (dim + group - 1) / group, group };
}

/* Bytes of one part: keys or values, or their scales. */
static bool part_bytes(size_t *out, const vtensor_kv_form *form, int64_t length, vlm_dtype dtype) {
    return vcore_mul((size_t)(form->heads * length), vtensor_dtype_size(dtype), out)
           && vcore_mul(*out, (size_t)form->capacity, out) && vcore_add(*out, ALIGN - 1, out)
           && (*out = *out / ALIGN * ALIGN, true);
}

bool vtensor_kv_bytes(size_t *out, const vtensor_kv_form *form) {
    row r = row_of(form);
    size_t values, scales;
    return part_bytes(&values, form, r.length, r.dtype)
           && part_bytes(&scales, form, 2 * r.groups, VLM_DTYPE_BF16)
           && vcore_add(values, scales, out) && vcore_mul(*out, form->keys_only ? 1 : 2, out);
}

/* The next part of the memory as [capacity, heads, ...]. */
static vlm_tensor take(char **at, const vtensor_kv_form *form, vlm_dtype dtype, int rank,
                       int64_t inner, int64_t last) {
    const int64_t shape[] = { form->capacity, form->heads, inner, last };
    int64_t length = rank == 4 ? inner * last : inner;
    vlm_tensor x = vtensor_of(*at, dtype, rank, shape);
    x.stride[0] = length;
    x.stride[1] = length * form->capacity;
    size_t bytes = 0;
    part_bytes(&bytes, form, length, dtype);
    if (*at) *at += bytes;
    return x;
}

void vtensor_kv_place(vlm_kv *kv, const vtensor_kv_form *form, void *memory) {
    row r = row_of(form);
    char *at = memory;
    *kv = (vlm_kv) { .bits = form->bits, .group = r.group };
    kv->k = take(&at, form, r.dtype, 3, r.length, 0);
    if (r.groups) kv->k_scales = take(&at, form, VLM_DTYPE_BF16, 4, r.groups, 2);
    if (form->keys_only) return;
    kv->v = take(&at, form, r.dtype, 3, r.length, 0);
    if (r.groups) kv->v_scales = take(&at, form, VLM_DTYPE_BF16, 4, r.groups, 2);
}
