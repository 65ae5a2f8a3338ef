/* SPDX-License-Identifier: MIT */
/* The edge between the library and libvlm-cuda.so: one exported function, and what the library lends it, so
 * that the shared object links against nothing of ours. Both sides are built from one source tree: `version`
 * and the sizes of what both see are compared, nothing else is promised. */
#ifndef VLM_CUDA_ENTRY_H
#define VLM_CUDA_ENTRY_H

#include "tensor/backend.h"

enum { VTENSOR_CUDA_VERSION = 3 };
#define VTENSOR_CUDA_SIZES                                                                                            \
    { sizeof(vlm_frame),  sizeof(vtensor_table), sizeof(vlm_matrix), sizeof(vlm_linear),                              \
      sizeof(vlm_norm),   sizeof(vlm_segment),   sizeof(vlm_kv),     sizeof(vlm_attention_desc) }
#define VTENSOR_CUDA_ENTRY "vlm_cuda_backend_new"

typedef struct vtensor_cuda_host {
    size_t version; /* VTENSOR_CUDA_VERSION */
    size_t unused;  /* so that `fail` stands where version 1 had it */
    vlm_status (*fail)(vlm_error *err, vlm_status code, const char *fmt, ...);
    vlm_tensor (*frame_fail)(vlm_frame *f, vlm_status code, const char *fmt, ...);
    vlm_tensor (*temporary)(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape);
    vlm_scope (*scope_begin)(vlm_frame *f);
    void (*scope_end)(vlm_frame *f, vlm_scope scope);
    void *(*alloc)(size_t bytes); /* zeroed */
    void (*free)(void *p);
    void (*run)(vcore_pool *pool, size_t n, void (*fn)(void *arg, size_t i, int worker), void *arg);
    void (*pool_free)(vcore_pool *pool);
    size_t sizes[8]; /* VTENSOR_CUDA_SIZES */
} vtensor_cuda_host;

/* dry: shapes only; the device is asked what it has, and nothing is made on it. pool: NULL then. */
typedef vlm_status vtensor_cuda_entry(vtensor_backend **out, const vtensor_cuda_host *host, vcore_pool *pool,
                                      int device, bool dry, vlm_error *err);

#endif
