/* SPDX-License-Identifier: MIT */
/* What the products y = x Wᵀ + b share: matmul.c sorts linears by how they are multiplied, and
 * matmul_few.c, matmul_many.c and quantized*.c multiply those that go together. */
#ifndef VLM_CPU_MATMUL_H
#define VLM_CPU_MATMUL_H

#include "tensor/cpu/cpu.h"

enum {
    VCPU_FEW_ROWS = 16,         /* until here packing costs more than it gains */
    VCPU_DOT_ITEM_BYTES = 32768 /* weight bytes of an item when x has few rows */
};

/* One or several linears over one x that are multiplied alike. */
typedef struct vcpu_matmul {
    vcpu_backend *b;
    const vcpu_kernels *k;
    vlm_tensor x;
    const vlm_tensor *y;
    const vlm_linear *const *linears;
    int n_linears;
    bool pairs;        /* x is multiplied as pairs of bfloat16 */
    bool bytes;        /* as integers it may be rounded to 8 bits */
    const char *xp;    /* x as the kernels want it */
    size_t xp_row;     /* few rows: elements between rows of xp */
    size_t row0, rows; /* the block of rows at work */
    const vcpu_gemm *g;
    vcpu_ints ints;                              /* x as integers */
    size_t row_tiles, tiles_per_item, row_items; /* many rows: how they are cut into items */
} vcpu_matmul;

static inline size_t vcpu_in(const vcpu_matmul *m) {
    return (size_t)m->x.shape[1];
}

/* Bytes between two rows of W. */
static inline size_t vcpu_row_bytes(const vlm_matrix *w) {
    return (size_t)w->data.stride[0] * vtensor_dtype_size(w->data.dtype);
}

/* Items that a linear is cut into. */
typedef size_t vcpu_count(const vcpu_matmul *m, const vlm_linear *l);
/* Finds which linear the i-th item belongs to, and where its result goes; *i becomes the item's
 * number in it. */
const vlm_linear *vcpu_find_item(const vcpu_matmul *m, size_t *i, vcpu_count *count,
                                 const vlm_tensor **y);
size_t vcpu_count_items(const vcpu_matmul *m, vcpu_count *count);

/* Rows of W of an item, when x has few rows. */
size_t vcpu_outs_per_item(const vlm_linear *l);
vcpu_count vcpu_dot_items;
/* Computes outs [o, o + n) of a linear, for all rows at work. */
typedef void vcpu_outs(const vcpu_matmul *m, const vlm_linear *l, const vlm_tensor *y, size_t o,
                       size_t n, int worker);
/* Has all outs of the linears computed by all threads, in runs: long ones first, which memory reads
 * fastest, then ever shorter ones, so that threads end together. */
void vcpu_run_outs(const vcpu_matmul *m, vcpu_outs *fn);
/* y[r][0..n) += bias[o..o + n) for every row r. */
void vcpu_add_bias(const vcpu_matmul *m, float *y, size_t y_row, vlm_tensor bias, size_t o,
                   size_t n);

/* Products with weights as they are, or widened to float32. */
void vcpu_few_rows(vlm_frame *f, vcpu_matmul *m);
void vcpu_many_rows(vlm_frame *f, vcpu_matmul *m);

/* Products of quantized weights with x as integers; all weights have one group size, and four bits
 * or all others. */
bool vcpu_is_integers(const vlm_matrix *w);
void vcpu_quantized(vlm_frame *f, vcpu_matmul *m);
void vcpu_quantized_many(vlm_frame *f, vcpu_matmul *m);
/* Rows of W from o on, as kernels see them. */
vcpu_quants vcpu_quants_of(const vlm_matrix *w, size_t o);

#endif
