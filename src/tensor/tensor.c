/* SPDX-License-Identifier: MIT */
/* Tensors as values: types, shapes, strides. Owns no memory and runs nothing. */
#include "tensor/backend.h"

#include <stdio.h>

size_t vtensor_dtype_size(vlm_dtype dtype) {
    switch (dtype) {
    case VLM_DTYPE_F32:
    case VLM_DTYPE_I32:
    case VLM_DTYPE_U32: return 4;
    case VLM_DTYPE_BF16:
    case VLM_DTYPE_F16: return 2;
    case VLM_DTYPE_I64: return 8;
    case VLM_DTYPE_U8: return 1;
    }
    return 0;
}

const char *vtensor_dtype_name(vlm_dtype dtype) {
    static const char *const names[] = { "F32", "BF16", "F16", "I32", "I64", "U8", "U32" };
    return (unsigned)dtype < sizeof names / sizeof names[0] ? names[dtype] : "?";
}

bool vtensor_is_float(vlm_dtype dtype) {
    return dtype == VLM_DTYPE_F32 || dtype == VLM_DTYPE_BF16 || dtype == VLM_DTYPE_F16;
}

vlm_tensor vtensor_of(void *data, vlm_dtype dtype, int rank, const int64_t *shape) {
    vlm_tensor t = { .data = data, .dtype = dtype, .rank = rank };
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
        stride *= shape[i] > 0 ? shape[i] : 1;
    }
    return t;
}

int64_t vtensor_count(vlm_tensor x) {
    if (x.rank == 0) return 0;
    int64_t n = 1;
    for (int i = 0; i < x.rank; i++) n *= x.shape[i];
    return n;
}

bool vtensor_contiguous(vlm_tensor x) {
    int64_t stride = 1;
    for (int i = x.rank - 1; i >= 0; i--) {
        if (x.shape[i] != 1 && x.stride[i] != stride) return false;
        stride *= x.shape[i];
    }
    return true;
}

bool vtensor_same_shape(vlm_tensor a, vlm_tensor b) {
    return a.rank == b.rank && memcmp(a.shape, b.shape, (size_t)a.rank * sizeof a.shape[0]) == 0;
}

vtensor_text vtensor_describe(vlm_tensor x) {
    vtensor_text t;
    if (x.rank == 0) {
        snprintf(t.s, sizeof t.s, "no tensor");
        return t;
    }
    int n = snprintf(t.s, sizeof t.s, "%s [", vtensor_dtype_name(x.dtype));
    for (int i = 0; i < x.rank; i++)
        n += snprintf(t.s + n, sizeof t.s - (size_t)n, "%s%lld", i ? ", " : "",
                      (long long)x.shape[i]);
    snprintf(t.s + n, sizeof t.s - (size_t)n, "]");
    return t;
}

bool vtensor_as_rows(vlm_tensor x, vlm_tensor *rows) {
    if (x.rank == 0) return false;
    int last = x.rank - 1;
    vlm_tensor y = { .data = x.data, .dtype = x.dtype, .rank = 2 };
    y.shape[1] = x.shape[last];
    y.stride[1] = 1;
    y.shape[0] = 1;
    y.stride[0] = x.shape[last];
    bool started = false; /* until the first dimension with more than one entry */
    for (int i = last - 1; i >= 0; i--) {
        if (x.shape[i] == 1) continue;
        if (!started) {
            y.stride[0] = x.stride[i];
            started = true;
        } else if (x.stride[i] != y.stride[0] * y.shape[0]) {
            return false;
        }
        y.shape[0] *= x.shape[i];
    }
    *rows = y;
    return true;
}
