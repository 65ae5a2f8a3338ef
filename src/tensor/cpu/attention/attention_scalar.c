/* SPDX-License-Identifier: MIT */
/* The kernels of attention in plain C: see kernels_scalar.c. */
#include <math.h>
#include <string.h>

#include "core/core.h"
#include "tensor/cpu/attention/kernels_attention.h"

/* ---- keys and values as floats ---- */
static float load_bf16(const char *p, size_t i) {
    uint16_t u;
    memcpy(&u, p + 2 * i, 2);
    return vcore_bf16_to_f32(u);
}

static float load_code(const vcpu_kv_rows *x, size_t row, size_t i, unsigned code) {
    const char *pair = x->scales + row * x->scales_row_bytes + 4 * (i / x->group);
    return (float)code * load_bf16(pair, 0) + load_bf16(pair, 1);
}

static float load(vcpu_kv_type type, const vcpu_kv_rows *x, size_t row, size_t i) {
    const char *from = x->data + row * x->row_bytes;
    uint16_t half;
    float f;
    switch (type) {
    case VCPU_KV_F32: memcpy(&f, from + 4 * i, 4); return f;
    case VCPU_KV_BF16: return load_bf16(from, i);
    case VCPU_KV_F16: memcpy(&half, from + 2 * i, 2); return vcore_f16_to_f32(half);
    case VCPU_KV_U8: return load_code(x, row, i, (unsigned char)from[i]);
    default: return load_code(x, row, i, (unsigned char)from[i / 2] >> 4 * (i % 2) & 15);
    }
}

static void kv_widen(vcpu_kv_type type, float *y, const vcpu_kv_rows *x, size_t row, size_t dim) {
    for (size_t i = 0; i < dim; i++) y[i] = load(type, x, row, i);
}

/* ---- few queries ---- */
/* Sixteen partial sums, as in the products of kernels_scalar.c. */
enum { PARTS = 16 };

static void scores(vcpu_kv_type type, float *s, size_t s_row, const float *q, size_t q_row,
                   size_t rows, const vcpu_kv_rows *k, size_t keys, size_t dim) {
    for (size_t j = 0; j < keys; j++)
        for (size_t r = 0; r < rows; r++) {
            float part[PARTS] = { 0 };
            for (size_t i = 0; i < dim; i++) part[i % PARTS] += q[r * q_row + i] * load(type, k, j, i);
            for (int n = PARTS / 2; n > 0; n /= 2)
                for (int i = 0; i < n; i++) part[i] += part[i + n];
            s[r * s_row + j] = part[0];
        }
}

static void mix(vcpu_kv_type type, float *y, size_t y_row, const float *p, size_t p_row,
                size_t rows, const vcpu_kv_rows *v, size_t keys, size_t dim) {
    for (size_t j = 0; j < keys; j++)
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < dim; i++)
                y[r * y_row + i] += p[r * p_row + j] * load(type, v, j, i);
}

VCPU_DEFINE_KVS

/* ---- softmax, in powers of two ---- */
static float scored(float s, float factor, float cap) {
    const float log2e = 1.44269504f;
    return cap > 0 ? log2e * cap * tanhf(s * factor / cap) : s * (factor * log2e);
}

static void softmax_block(const vcpu_softmax *b) {
    for (size_t q = 0; q < b->queries; q++) {
        float *s = b->s + q, max = b->m[q], added = 0;
        for (size_t j = 0; j < b->keys; j++) {
            bool seen = !b->masked || ((int32_t)j >= b->lo[q] && (int32_t)j < b->hi[q]);
            float v = seen ? scored(s[j * b->s_row], b->scale, b->softcap) : -INFINITY;
            s[j * b->s_row] = v;
            if (v > max) max = v;
        }
        float base = max == -INFINITY ? 0 : max; /* nothing seen so far */
        for (size_t j = 0; j < b->keys; j++) {
            float p = exp2f(s[j * b->s_row] - base);
            s[j * b->s_row] = p;
            added += p;
        }
        b->correction[q] = exp2f(b->m[q] - base);
        b->l[q] = b->l[q] * b->correction[q] + added;
        b->m[q] = max;
    }
}

static void softmax_row(float *s, size_t n, size_t lo, size_t hi, float factor, float cap,
                        float *max, float *total) {
    float m = -INFINITY, added = 0;
    for (size_t j = 0; j < n; j++) {
        s[j] = j >= lo && j < hi ? scored(s[j], factor, cap) : -INFINITY;
        if (s[j] > m) m = s[j];
    }
    float base = m == -INFINITY ? 0 : m;
    for (size_t j = 0; j < n; j++) {
        s[j] = exp2f(s[j] - base);
        added += s[j];
    }
    *max = m;
    *total = added;
}

void vcpu_attention_kernels_scalar(vcpu_attention_kernels *k) {
    *k = (vcpu_attention_kernels) {
        VCPU_KV_ENTRIES,
        .softmax_block = softmax_block,
        .softmax_row = softmax_row,
    };
}
