/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with x as integers, in fast mode. Each row of x is rounded to
 * integers once per operation, with a scale for every group of the weights, so that a group's
 * products are sums of integers, to which the scales and biases of W are applied afterwards:
 *
 *     y[r][o] = Σ_g scale[o][g] * x_scale[r][g] * (Σ q * xq) + bias[o][g] * (Σ xq * x_scale[r][g])
 *
 * which is exactly W times the rounded x. Few rows: 16-bit integers, or bytes for weights of four
 * bits where that is faster and allowed; W is read as it lies. Many rows: see quantized_many.c. */
#include "tensor/cpu/matmul/matmul.h"

bool vcpu_is_integers(const vlm_matrix *w) {
    return w->storage == VLM_STORAGE_AFFINE || w->storage == VLM_STORAGE_MXFP4
           || w->storage == VLM_STORAGE_NVFP4;
}

/* ---- weights as kernels see them ---- */
static vcpu_number number_of(vlm_dtype dtype) {
    return dtype == VLM_DTYPE_BF16 ? VCPU_BF16 : dtype == VLM_DTYPE_F16 ? VCPU_F16 : VCPU_F32;
}

static size_t bytes_between(vlm_tensor x) {
    return (size_t)x.stride[0] * vtensor_dtype_size(x.dtype);
}

vcpu_quants vcpu_quants_of(const vlm_matrix *w, size_t o) {
    vcpu_quants q = { .data = vcpu_row(w->data, o),
                      .scales = vcpu_row(w->scales, o),
                      .row_bytes = vcpu_row_bytes(w),
                      .scale_row_bytes = bytes_between(w->scales),
                      .bits = w->bits,
                      .group = (size_t)w->group };
    q.end = vcpu_row(w->data, (size_t)w->out - 1) + w->data.shape[1] * 4;
    if (w->storage == VLM_STORAGE_AFFINE) {
        q.biases = vcpu_row(w->biases, o);
        q.bias_row_bytes = bytes_between(w->biases);
        q.scale_type = number_of(w->scales.dtype);
        q.bias_type = number_of(w->biases.dtype);
        return q;
    }
    q.e2m1 = true;
    q.scale_type = w->storage == VLM_STORAGE_MXFP4 ? VCPU_E8M0 : VCPU_E4M3;
    q.factor = 0.5f; /* integers are twice the numbers */
    if (w->factor.rank) {
        float factor;
        memcpy(&factor, w->factor.data, sizeof factor);
        q.factor *= w->divided ? 1 / factor : factor;
    }
    return q;
}

/* ---- few rows ---- */
static bool takes_bytes(const vcpu_matmul *m) {
    return m->bytes && m->k->dot_nibbles && m->linears[0]->weight.bits == 4;
}

/* Row r of x and what follows. */
static vcpu_ints ints_from(const vcpu_matmul *m, size_t r) {
    vcpu_ints x = m->ints;
    x.q = (const char *)x.q + r * x.row * (takes_bytes(m) ? 1 : sizeof(int16_t));
    x.scales += r * x.group_row;
    x.sums += r * x.group_row;
    return x;
}

static void quantize_item(void *arg, size_t r, int worker) {
    const vcpu_matmul *m = arg;
    const vlm_matrix *w = &m->linears[0]->weight;
    vcpu_ints to = ints_from(m, r);
    void *q = (void *)(uintptr_t)to.q;
    float *scales = (float *)(uintptr_t)to.scales, *sums = (float *)(uintptr_t)to.sums;
    const float *x = (const void *)vcpu_row(m->x, r);
    (void)worker;
    if (takes_bytes(m))
        m->k->quantize_nibbles(q, scales, sums, x, vcpu_in(m), (size_t)w->group);
    else
        m->k->quantize16(q, scales, sums, x, vcpu_in(m), (size_t)w->group, w->bits);
}

static void dot_quants(const vcpu_matmul *m, const vlm_matrix *w, float *y, size_t y_row, size_t o,
                       size_t n) {
    vcpu_quants quants = vcpu_quants_of(w, o);
    vcpu_dot_quants *dot = takes_bytes(m) ? m->k->dot_nibbles : m->k->dot_quants;
    for (size_t r = 0; r < m->rows; r += VCPU_DOT_ROWS) {
        vcpu_ints x = ints_from(m, r);
        int rows = (int)vcpu_min(VCPU_DOT_ROWS, m->rows - r);
        dot(y + r * y_row, y_row, &x, rows, &quants, n, vcpu_in(m));
    }
}

/* Several groups of rows of x want W to stay in the cache between them. */
static void quants_outs(const vcpu_matmul *m, const vlm_linear *l, const vlm_tensor *y, size_t o,
                        size_t n, int worker) {
    size_t y_row = (size_t)y->stride[0];
    size_t step = m->rows > VCPU_DOT_ROWS ? vcpu_outs_per_item(l) : n;
    float *to = (float *)y->data + o;
    (void)worker;
    for (size_t i = 0; i < n; i += step)
        dot_quants(m, &l->weight, to + i, y_row, o + i, vcpu_min(step, n - i));
    vcpu_add_bias(m, to, y_row, l->bias, o, n);
}

static void few_rows(vlm_frame *f, vcpu_matmul *m) {
    size_t in = vcpu_in(m), group = (size_t)m->linears[0]->weight.group;
    m->ints.row = vcpu_round_up(in, 64);
    m->ints.group_row = vcpu_round_up(in / group, 16);
    size_t q_bytes = m->rows * m->ints.row * sizeof(int16_t);
    size_t scale_bytes = m->rows * m->ints.group_row * sizeof(float);
    if (!vcpu_begin(f, q_bytes + 2 * scale_bytes, 0)) return;
    m->ints.q = (const void *)m->b->shared;
    m->ints.scales = (const void *)(m->b->shared + q_bytes);
    m->ints.sums = (const void *)(m->b->shared + q_bytes + scale_bytes);
    vcpu_run(m->b, m->rows, m->rows * in, quantize_item, m);
    vcpu_run_outs(m, quants_outs);
    vcpu_end(f);
}

void vcpu_quantized(vlm_frame *f, vcpu_matmul *m) {
    if (m->rows <= VCPU_FEW_ROWS)
        few_rows(f, m);
    else
        vcpu_quantized_many(f, m);
}
