/* SPDX-License-Identifier: MIT */
/* Cases of attention: scores, weighted sums and rows of keys and values of every type; softmax. */
#include "support/kernel_cases.h"

#include <math.h>

/* ---- keys and values ---- */
static const size_t bits[VCPU_N_KV_TYPES] = { 32, 16, 16, 8, 4 };
static const kc_type types[VCPU_N_KV_TYPES] = { KC_F32, KC_BF16, KC_F16, KC_U8, KC_U8 };

static vcpu_kv_rows draw_rows(kernel_case *c, vcpu_kv_type type, size_t n, size_t dim) {
    bool coded = type >= VCPU_KV_U8;
    vcpu_kv_rows x = { .group = kc_int(c, 0, 1) ? 32 : 64 };
    size_t padded = (dim + VCPU_KV_PAD - 1) / VCPU_KV_PAD * VCPU_KV_PAD;
    size_t columns = coded ? padded * bits[type] / 8 : dim;
    size_t used = coded ? columns : columns * bits[type] / 8;
    x.row_bytes = used + (kc_int(c, 0, 1) ? kc_int(c, 0, 70) : 0);
    x.data = kc_array(c, KC_READ | KC_ANYWHERE, types[type], KC_ZEROS, n, columns, x.row_bytes);
    if (!coded) return x;
    size_t groups = (dim + x.group - 1) / x.group;
    x.scales_row_bytes = 4 * groups + (kc_int(c, 0, 1) ? 2 * kc_int(c, 0, 9) : 0);
    x.scales =
        kc_array(c, KC_READ | KC_ANYWHERE, KC_BF16, KC_ZEROS, n, 2 * groups, x.scales_row_bytes);
    return x;
}

/* Value i of row j; *size: of the numbers that it is made of. */
static double value(const vcpu_kv_rows *x, vcpu_kv_type type, size_t j, size_t i, double *size) {
    const char *row = x->data + j * x->row_bytes;
    if (type < VCPU_KV_U8) return *size = kc_value(types[type], row, i);
    const char *scales = x->scales + j * x->scales_row_bytes;
    double scale = kc_value(KC_BF16, scales, 2 * (i / x->group));
    double bias = kc_value(KC_BF16, scales, 2 * (i / x->group) + 1);
    unsigned byte = (unsigned char)row[type == VCPU_KV_U8 ? i : i / 2];
    double code = type == VCPU_KV_U8 ? byte : byte >> 4 * (i % 2) & 15;
    *size = fabs(code * scale) + fabs(bias);
    return code * scale + bias;
}

/* ---- scores ---- */
static void scores(kernel_case *c, vcpu_kv_type type, bool paired) {
    size_t rows = kc_int(c, 1, 9), keys = kc_int(c, 1, 40), dim = kc_int(c, 1, 160);
    if (kc_int(c, 0, 31) == 0) dim += 400 * kc_int(c, 1, 3); /* more than is arranged at once */
    size_t q_row = dim + kc_int(c, 0, 9), s_row = keys + kc_int(c, 0, 9);
    const float *q = kc_array(c, KC_READ, KC_F32, KC_ZEROS, rows, dim, 4 * q_row);
    vcpu_kv_rows k = draw_rows(c, type, keys, dim);
    float *s = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, rows, keys, 4 * s_row);
    double *allowed = kc_allow(c, s), rounding = paired ? 0x1p-8 : 0;
    for (size_t r = 0; r < rows && allowed; r++)
        for (size_t j = 0; j < keys; j++) {
            double sum = 0, size, tiny = 0;
            for (size_t i = 0; i < dim; i++) {
                value(&k, type, j, i, &size);
                sum += fabs((double)q[r * q_row + i] * size);
                tiny += paired ? fabs((double)q[r * q_row + i]) + fabs(size) + 1 : 0;
            }
            allowed[r * keys + j] = (((double)dim / 4 + 16) * 0x1p-24 + rounding) * sum
                                    + (double)dim * 1e-44 + 1.2e-38 * tiny;
        }
    const vcpu_attention_kernels *a = &c->k->attention;
    vcpu_scores *run = paired && !c->reference ? a->scores_pairs : a->scores[type];
    run(s, s_row, q, q_row, rows, &k, keys, dim);
}

/* ---- weighted sums ---- */
static void mix(kernel_case *c, vcpu_kv_type type, bool paired) {
    size_t rows = kc_int(c, 1, 9), keys = kc_int(c, 1, 70), dim = kc_int(c, 1, 160);
    size_t p_row = keys + kc_int(c, 0, 9), y_row = dim + kc_int(c, 0, 9);
    const float *p = kc_array(c, KC_READ, KC_F32, KC_ZEROS, rows, keys, 4 * p_row);
    vcpu_kv_rows v = draw_rows(c, type, keys, dim);
    float *y = kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_ZEROS, rows, dim, 4 * y_row);
    double *allowed = kc_allow(c, y), rounding = paired ? 0x1p-8 : 0;
    for (size_t r = 0; r < rows && allowed; r++)
        for (size_t i = 0; i < dim; i++) {
            double sum = 0, size, tiny = 0;
            for (size_t j = 0; j < keys; j++) {
                value(&v, type, j, i, &size);
                sum += fabs((double)p[r * p_row + j] * size);
                tiny += paired ? fabs((double)p[r * p_row + j]) + fabs(size) + 1 : 0;
            }
            double before = fabs((double)y[r * y_row + i]);
            allowed[r * dim + i] = (double)(keys + 4) * (0x1p-24 * (sum + before) + 1e-44)
                                   + rounding * sum + 1.2e-38 * (tiny + before);
        }
    const vcpu_attention_kernels *a = &c->k->attention;
    vcpu_mix *run = paired && !c->reference ? a->mix_pairs : a->mix[type];
    run(y, y_row, p, p_row, rows, &v, keys, dim);
}

/* ---- one row as floats ---- */
static void widen(kernel_case *c, vcpu_kv_type type) {
    size_t n = kc_int(c, 1, 5), row = kc_int(c, 0, n - 1), dim = kc_int(c, 1, 300);
    vcpu_kv_rows x = draw_rows(c, type, n, dim);
    float *y = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, dim, 0);
    double *allowed = kc_allow(c, y), size; /* code * scale + bias may be rounded once or twice */
    for (size_t i = 0; i < dim && allowed; i++) {
        value(&x, type, row, i, &size);
        allowed[i] = type >= VCPU_KV_U8 ? 0x1p-23 * size + 1e-44 : 0;
    }
    c->k->attention.widen[type](y, &x, row, dim);
}

#define DEFINE(name, type)                                                                         \
    static void scores_##name(kernel_case *c) {                                                    \
        scores(c, type, false);                                                                    \
    }                                                                                              \
    static void mix_##name(kernel_case *c) {                                                       \
        mix(c, type, false);                                                                       \
    }                                                                                              \
    static void widen_##name(kernel_case *c) {                                                     \
        widen(c, type);                                                                            \
    }
DEFINE(f32, VCPU_KV_F32)
DEFINE(bf16, VCPU_KV_BF16)
DEFINE(f16, VCPU_KV_F16)
DEFINE(u8, VCPU_KV_U8)
DEFINE(u4, VCPU_KV_U4)

static void scores_pairs(kernel_case *c) {
    if (c->tested->attention.scores_pairs)
        scores(c, VCPU_KV_BF16, true);
    else
        kc_absent(c);
}

static void mix_pairs(kernel_case *c) {
    if (c->tested->attention.mix_pairs)
        mix(c, VCPU_KV_BF16, true);
    else
        kc_absent(c);
}

/* ---- softmax ---- */
/* What a weight may be off by: the error of a score, which is an exponent, and of 2^x itself. */
static double softmax_error(float cap) {
    return 1e-5 + 1.5e-6 * (double)cap;
}

static float draw_cap(kernel_case *c) {
    return kc_int(c, 0, 2) ? 0 : kc_float(c, 5, 60);
}

static void softmax_block(kernel_case *c) {
    size_t queries = 16 * kc_int(c, 1, 4), keys = kc_int(c, 1, 70);
    size_t s_row = queries + kc_int(c, 0, 20);
    vcpu_softmax b = { .s_row = s_row, .keys = keys, .queries = queries };
    b.scale = kc_float(c, 0.01f, 0.5f);
    b.softcap = draw_cap(c);
    b.masked = kc_int(c, 0, 1);
    b.s = kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_ZEROS, keys, queries, 4 * s_row);
    b.m = kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_ZEROS, 1, queries, 0);
    b.l = kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_TAME, 1, queries, 0);
    b.correction = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, queries, 0);
    int32_t *lo = kc_array(c, KC_READ, KC_I32, KC_ANY, 1, queries, 0);
    int32_t *hi = kc_array(c, KC_READ, KC_I32, KC_ANY, 1, queries, 0);
    b.lo = lo;
    b.hi = hi;
    bool first = kc_int(c, 0, 1);
    for (size_t q = 0; q < queries; q++) {
        lo[q] = (int32_t)kc_int(c, 0, keys + 2) - 2; /* a block may lie beyond what is seen */
        hi[q] = (int32_t)kc_int(c, 0, keys + 4) - 2;
        b.l[q] = first ? 0 : fabsf(b.l[q]);
        if (first) b.m[q] = -INFINITY;
    }
    double error = softmax_error(b.softcap);
    kc_near(c, b.s, error, 1.3e-38);
    kc_near(c, b.m, 2e-6, 1e-37); /* zeros of either sign */
    kc_near(c, b.l, error, 1e-36);
    kc_near(c, b.correction, error, 1.3e-38);
    c->k->attention.softmax_block(&b);
}

static void softmax_row(kernel_case *c) {
    size_t n = kc_length(c, 300), lo = kc_int(c, 0, n), hi = kc_int(c, 0, n);
    float factor = kc_float(c, 0.01f, 0.5f), cap = draw_cap(c);
    if (kc_int(c, 0, 1)) lo = 0, hi = n;
    float *s = kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_ZEROS, 1, n, 0);
    float *max = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, 1, 0);
    float *total = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, 1, 0);
    kc_near(c, s, softmax_error(cap), 1.3e-38);
    kc_near(c, max, 2e-6, 1e-37);
    kc_near(c, total, softmax_error(cap) + 1e-6, 0);
    c->k->attention.softmax_row(s, n, lo, hi, factor, cap, max, total);
}

const kernel_entry kernel_cases_attention[] = {
    { "scores_f32", scores_f32 },   { "scores_bf16", scores_bf16 },
    { "scores_f16", scores_f16 },   { "scores_u8", scores_u8 },
    { "scores_u4", scores_u4 },     { "mix_f32", mix_f32 },
    { "mix_bf16", mix_bf16 },       { "mix_f16", mix_f16 },
    { "mix_u8", mix_u8 },           { "mix_u4", mix_u4 },
    { "widen_f32", widen_f32 },     { "widen_bf16", widen_bf16 },
    { "widen_f16", widen_f16 },     { "widen_u8", widen_u8 },
    { "widen_u4", widen_u4 },       { "scores_pairs", scores_pairs },
    { "mix_pairs", mix_pairs },     { "softmax_block", softmax_block },
    { "softmax_row", softmax_row }, { NULL, NULL },
};
