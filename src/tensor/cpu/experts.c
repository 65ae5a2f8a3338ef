/* SPDX-License-Identifier: MIT */
/* What mixtures of experts take beyond products: the choice of experts, and the product with a matrix
 * that lies input by input, as some files have the experts' matrices. */
#include <math.h>

#include "tensor/cpu/cpu.h"

/* ---- routes ---- */
/* Softmax in place, in the reference's order. */
static void softmax(float *p, size_t n) {
    float most = p[0], sum = 0;
    for (size_t i = 1; i < n; i++) most = p[i] > most ? p[i] : most;
    for (size_t i = 0; i < n; i++) sum += p[i] = expf(p[i] - most);
    for (size_t i = 0; i < n; i++) p[i] /= sum;
}

/* The k largest of p, k different ones, the first of equals; they are struck out. Among NaN, of which a softmax
 * has only nothing or nothing else, the first ones: their weights tell of it. */
static void choose(int32_t *experts, float *weights, float *p, size_t n, size_t k) {
    const float chosen = -1;
    float sum = 0;
    for (size_t j = 0; j < k; j++) {
        size_t best = n;
        for (size_t i = 0; i < n; i++)
            if (p[i] != chosen && (best == n || p[i] > p[best])) best = i;
        experts[j] = (int32_t)best;
        sum += weights[j] = p[best];
        p[best] = chosen;
    }
    for (size_t j = 0; j < k; j++) weights[j] /= sum;
}

void vcpu_route(vlm_frame *f, const vlm_routes *y, vlm_tensor logits) {
    const size_t rows = (size_t)logits.shape[0], n = (size_t)logits.shape[1],
                 k = (size_t)y->experts.shape[1];
    if (!vcpu_begin(f, vcpu_floats(n), 0)) return;
    float *p = (float *)(void *)vcpu_of(f)->shared;
    for (size_t i = 0; i < rows; i++) {
        memcpy(p, vcpu_row(logits, i), n * sizeof *p);
        softmax(p, n);
        choose((int32_t *)y->experts.data + i * k, (float *)y->weights.data + i * k, p, n, k);
        for (size_t j = 0; j < k; j++) ((int32_t *)y->places.data)[i * k + j] = (int32_t)(i * k + j);
    }
    vcpu_end(f);
}

/* ---- matrices that lie input by input ---- */
enum { COLUMNS = 128, ROWS = 64 }; /* of y that an item makes at a time */

typedef struct across {
    vlm_tensor y, x;
    const vlm_matrix *w;
    vcpu_backend *b;
} across;

/* Rows [first, first + n) of a block of columns: every input adds its row of W to them. */
static void add_inputs(const across *a, float *sums, float *buffer, size_t first, size_t n,
                       size_t column, size_t width) {
    const vlm_tensor w = a->w->data;
    const size_t size = vtensor_dtype_size(w.dtype);
    memset(sums, 0, n * COLUMNS * sizeof *sums);
    for (size_t i = 0; i < (size_t)a->w->in; i++) {
        const float *row = vcpu_as_floats(&a->b->k, buffer, vcpu_row(w, i) + column * size, w.dtype, width);
        for (size_t r = 0; r < n; r++) {
            const float x = ((const float *)(const void *)vcpu_row(a->x, first + r))[i];
            float *sum = sums + r * COLUMNS;
            for (size_t c = 0; c < width; c++) sum[c] += x * row[c];
        }
    }
}

static void across_item(void *arg, size_t item, int worker) {
    const across *a = arg;
    const size_t rows = (size_t)a->y.shape[0], out = (size_t)a->w->out, column = item * COLUMNS;
    const size_t width = vcpu_min(COLUMNS, out - column);
    float *sums = vcpu_scratch(a->b, worker), *buffer = sums + ROWS * COLUMNS;
    for (size_t first = 0; first < rows; first += ROWS) {
        const size_t n = vcpu_min(ROWS, rows - first);
        add_inputs(a, sums, buffer, first, n, column, width);
        for (size_t r = 0; r < n; r++)
            memcpy((float *)(void *)vcpu_row(a->y, first + r) + column, sums + r * COLUMNS,
                   width * sizeof *sums);
    }
}

void vcpu_linear_across(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *w) {
    const size_t bytes = vcpu_floats((ROWS + 1) * COLUMNS);
    if (!vcpu_begin(f, 0, bytes)) return;
    across a = { y, x, w, vcpu_of(f) };
    const size_t work = (size_t)w->out * (size_t)w->in * (size_t)y.shape[0] / 8 + 1;
    vcpu_run(a.b, vcpu_ceil((size_t)w->out, COLUMNS), work, across_item, &a);
    vcpu_end(f);
}
