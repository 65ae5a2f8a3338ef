/* SPDX-License-Identifier: MIT */
/* Products with few rows: every row of W is read once from where it lies and dotted with each row
 * of x (`dot` kernels, bound by memory). */
#include "tensor/cpu/matmul/matmul.h"

static vcpu_dot *dot_for(const vcpu_matmul *m, const vlm_matrix *w) {
    if (m->pairs) return m->k->dot_bf16_pairs;
    if (w->data.dtype == VLM_DTYPE_BF16) return m->k->dot_bf16;
    return w->data.dtype == VLM_DTYPE_F16 ? m->k->dot_f16 : m->k->dot_f32;
}

/* All rows of x with n rows of W from w on, which stay in the cache between one group of rows and
 * the next. */
static void dot_rows(const vcpu_matmul *m, vcpu_dot *dot, float *y, size_t y_row, const void *w,
                     size_t w_row_bytes, size_t n) {
    size_t x_row_bytes = m->xp_row * (m->pairs ? 2 : sizeof(float));
    for (size_t r = 0; r < m->rows; r += VCPU_DOT_ROWS)
        dot(y + r * y_row, y_row, m->xp + r * x_row_bytes, m->xp_row,
            (int)vcpu_min(VCPU_DOT_ROWS, m->rows - r), w, w_row_bytes, n, vcpu_in(m));
}

static void dot_outs(const vcpu_matmul *m, const vlm_linear *l, const vlm_tensor *y, size_t o,
                     size_t n, int worker) {
    const vlm_matrix *w = &l->weight;
    size_t y_row = (size_t)y->stride[0], row_bytes = vcpu_row_bytes(w);
    float *to = (float *)y->data + o;
    if (w->storage != VLM_STORAGE_DENSE) {
        float *row = vcpu_scratch(m->b, worker);
        for (size_t i = 0; i < n; i++) {
            vcpu_matrix_row(m->k, row, w, o + i, 0, vcpu_in(m));
            dot_rows(m, m->k->dot_f32, to + i, y_row, row, 0, 1);
        }
    } else {
        size_t step = m->rows > VCPU_DOT_ROWS ? vcpu_outs_per_item(l) : n;
        for (size_t i = 0; i < n; i += step)
            dot_rows(m, dot_for(m, w), to + i, y_row, vcpu_row(w->data, o + i), row_bytes,
                     vcpu_min(step, n - i));
    }
    vcpu_add_bias(m, to, y_row, l->bias, o, n);
}

void vcpu_few_rows(vlm_frame *f, vcpu_matmul *m) {
    size_t in = vcpu_in(m), x_row = vcpu_round_up(in, 32);
    if (!vcpu_begin(f, m->rows * x_row * 2, vcpu_floats(in))) return;
    m->xp = m->x.data;
    m->xp_row = (size_t)m->x.stride[0];
    if (m->pairs) {
        for (size_t r = 0; r < m->rows; r++)
            m->k->narrow_bf16(m->b->shared + r * x_row * 2,
                              (const float *)(const void *)vcpu_row(m->x, r), in);
        m->xp = m->b->shared;
        m->xp_row = x_row;
    }
    vcpu_run_outs(m, dot_outs);
    vcpu_end(f);
}
