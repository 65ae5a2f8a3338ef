/* SPDX-License-Identifier: MIT */
/* Inside the CPU backend: its object, its scratch, and what its files share. */
#ifndef VLM_CPU_H
#define VLM_CPU_H

#include <pthread.h>

#include "tensor/backend.h"
#include "tensor/cpu/kernels/kernels.h"

/* Scratch belongs to the backend and to one operation at a time (`turn`): operations use all
 * threads anyway. It grows to what the largest operation needed; a repeated pass allocates nothing.
 */
typedef struct vcpu_backend {
    vtensor_backend base;
    vcpu_kernels k;
    bool no_int8; /* activations are rounded to 16 bits at least */
    size_t n_workers;
    pthread_mutex_t turn;
    char *shared; /* read by all threads during an operation */
    size_t shared_bytes;
    char *workers; /* one piece for each worker */
    size_t worker_bytes;
} vcpu_backend;

static inline vcpu_backend *vcpu_of(vlm_frame *f) {
    return (vcpu_backend *)f->backend;
}

/* Takes the turn and the scratch; false when the frame failed, or in a dry run, which only notes
 * how much it would be; the turn is then not held. */
bool vcpu_begin(vlm_frame *f, size_t shared_bytes, size_t worker_bytes);
void vcpu_end(vlm_frame *f);
static inline void *vcpu_scratch(vcpu_backend *b, int worker) {
    return b->workers + (size_t)worker * b->worker_bytes;
}

/* Runs items [0, n) on all threads, or here when there is little to do. `work` is their total in
 * elements touched, each worth about a nanosecond. Items that use vcpu_scratch need the turn. */
void vcpu_run(vcpu_backend *b, size_t n, size_t work, void (*fn)(void *arg, size_t i, int worker),
              void *arg);

static inline size_t vcpu_min(size_t a, size_t b) {
    return a < b ? a : b;
}
static inline size_t vcpu_ceil(size_t a, size_t b) {
    return (a + b - 1) / b;
}
static inline size_t vcpu_round_up(size_t a, size_t b) {
    return vcpu_ceil(a, b) * b;
}
/* Rows of `dim` elements for one item of vcpu_run(), so that it is worth handing out. */
static inline size_t vcpu_rows_per_item(size_t dim) {
    enum { ITEM_ELEMENTS = 16384 };
    const size_t rows = ITEM_ELEMENTS / (dim ? dim : 1);
    return rows ? rows : 1;
}
/* Bytes of n floats, rounded up to a cache line. */
static inline size_t vcpu_floats(size_t n) {
    return vcpu_round_up(n * sizeof(float), 64);
}

/* Address of row i of a tensor. */
static inline char *vcpu_row(vlm_tensor x, size_t i) {
    return (char *)x.data + i * (size_t)x.stride[0] * vtensor_dtype_size(x.dtype);
}

/* n floats of any type at any alignment, widened. */
void vcpu_widen(const vcpu_kernels *k, float *to, const void *from, vlm_dtype dtype, size_t n);
/* The same without a copy where the floats can be used as they lie; `buffer` takes n floats. */
const float *vcpu_as_floats(const vcpu_kernels *k, float *buffer, const void *from, vlm_dtype dtype,
                            size_t n);
/* n floats stored as any float type. */
void vcpu_narrow(const vcpu_kernels *k, void *to, vlm_dtype dtype, const float *from, size_t n);
/* Values [start, start + n) of row `row` of a matrix in any storage (unpack.c); start is a multiple
 * of 128, n of the group or up to the row's end. */
void vcpu_matrix_row(const vcpu_kernels *k, float *to, const vlm_matrix *m, size_t row,
                     size_t start, size_t n);

/* Operations, by file. */
void vcpu_copy(vlm_frame *f, vlm_tensor y, vlm_tensor x);
void vcpu_gather(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index);
void vcpu_scatter(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows);
void vcpu_embed(vlm_frame *f, vlm_tensor y, const vlm_matrix *table, vlm_tensor ids);

void vcpu_add(vlm_frame *f, vlm_tensor x, vlm_tensor y);
void vcpu_mul(vlm_frame *f, vlm_tensor x, vlm_tensor y);
void vcpu_scale(vlm_frame *f, vlm_tensor x, float factor);
void vcpu_softcap(vlm_frame *f, vlm_tensor x, float cap);
void vcpu_activation(vlm_frame *f, vlm_tensor x, vlm_activation act);
void vcpu_gate(vlm_frame *f, vlm_tensor gate, vlm_tensor up, vlm_activation act);

void vcpu_norm(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_norm *norm, bool subtract_mean);
void vcpu_rope_angles(vlm_frame *f, const vlm_rope_table *y, vlm_tensor positions,
                      const float *inv_freq, const uint8_t *axis_of);
void vcpu_rope(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table, vlm_rope_pairs pairs);

void vcpu_blend(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index, vlm_tensor weights);
void vcpu_route(vlm_frame *f, const vlm_routes *y, vlm_tensor logits);
void vcpu_linear_across(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *w);
void vcpu_depthwise_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, int64_t width, const vlm_depthwise *conv,
                         int64_t stride);
void vcpu_short_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor weight, vlm_tensor bias,
                     const vlm_segment *segments, int n_segments);

void vcpu_linear(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear);
void vcpu_linear_for_sum(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear);
void vcpu_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *linears,
                  int n_linears);

void vcpu_attention(vlm_frame *f, vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                    const vlm_segment *segments, int n_segments, const vlm_attention_desc *desc);

#endif
