/* SPDX-License-Identifier: MIT */
/* Cases of conversions, elementwise operations and norms. */
#include "support/kernel_cases.h"

#include <math.h>

enum { MOST = 300 };

/* ---- conversions: bit for bit, NaNs included ---- */
static void widen_bf16(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    const void *x = kc_array(c, KC_READ | KC_ANYWHERE, KC_BF16, KC_ANY, 1, n, 0);
    c->k->widen_bf16(kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, n, 0), x, n);
}

static void widen_f16(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    const void *x = kc_array(c, KC_READ | KC_ANYWHERE, KC_F16, KC_ANY, 1, n, 0);
    c->k->widen_f16(kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, n, 0), x, n);
}

static void narrow_bf16(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    const float *x = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0);
    c->k->narrow_bf16(kc_array(c, KC_WRITTEN | KC_ANYWHERE, KC_BF16, KC_ANY, 1, n, 0), x, n);
}

static void narrow_f16(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    const float *x = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0);
    c->k->narrow_f16(kc_array(c, KC_WRITTEN | KC_ANYWHERE, KC_F16, KC_ANY, 1, n, 0), x, n);
}

/* ---- elementwise ---- */
static float *changed(kernel_case *c, size_t n) {
    return kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_ANY, 1, n, 0);
}

static void add(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    float *x = changed(c, n);
    c->k->add(x, kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0), n);
}

static void mul(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    float *x = changed(c, n);
    c->k->mul(x, kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0), n);
}

static void sum_products(kernel_case *c) {
    enum { ROWS = 5 };
    const float *x[ROWS], *w[ROWS];
    size_t n = kc_length(c, MOST), rows = kc_length(c, ROWS);
    float *y = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, n, 0);
    const float *init = rows % 2 ? kc_array(c, KC_READ, KC_F32, KC_ZEROS, 1, n, 0) : NULL;
    for (size_t k = 0; k < rows; k++) {
        x[k] = kc_array(c, KC_READ, KC_F32, KC_ZEROS, 1, n, 0);
        w[k] = kc_array(c, KC_READ, KC_F32, KC_ZEROS, 1, n, 0);
    }
    c->k->sum_products(y, init, x, w, rows, n);
    double *allowed = kc_allow(c, y);
    for (size_t i = 0; i < n && allowed; i++) {
        double size = init ? fabs((double)init[i]) : 0;
        for (size_t k = 0; k < rows; k++) size += fabs((double)w[k][i] * (double)x[k][i]);
        allowed[i] = 1e-6 * size + (double)rows * 0x1p-149; /* products of denormals are whole steps */
    }
}

static void scale(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    float factor = kc_float(c, -3, 3);
    c->k->scale(changed(c, n), factor, n);
}

static void softcap(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    float cap = kc_float(c, 0.5f, 60), *x = changed(c, n);
    kc_near(c, x, 1e-6, 1e-37);
    c->k->softcap(x, cap, n);
}

/* An error of e^y is one of y as well, which has been rounded up to three times. The exponential
 * ends at 1e-38. */
static void activation(kernel_case *c, int which) {
    size_t n = kc_length(c, MOST);
    float *x = changed(c, n), y[MOST];
    for (size_t i = 0; i < n; i++) {
        y[i] = which == 3 ? x[i] : 1.702f * x[i];
        if (which == 1) y[i] = 1.5957691f * x[i] * (1 + 0.044715f * x[i] * x[i]);
        if (which == 0) y[i] = 0; /* what the square loses is made up for */
    }
    c->k->activation[which](x, n);
    double *allowed = kc_allow(c, x);
    for (size_t i = 0; i < n && allowed; i++)
        allowed[i] =
            (1e-6 + 3 * 0x1p-24 * fmin(fabs((double)y[i]), 100)) * fabs((double)x[i]) + 2e-36;
}

static void gelu(kernel_case *c) {
    activation(c, 0);
}
static void gelu_tanh(kernel_case *c) {
    activation(c, 1);
}
static void quick_gelu(kernel_case *c) {
    activation(c, 2);
}
static void silu(kernel_case *c) {
    activation(c, 3);
}

static void relu(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    float *x = changed(c, n);
    kc_near(c, x, 0, 1e-300); /* zeros of either sign */
    c->k->activation[4](x, n);
}

/* ---- norms and rotary positions ---- */
static void sum(kernel_case *c) {
    size_t n = kc_length(c, 2 * MOST);
    const float *x = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0);
    double *y = kc_array(c, KC_WRITTEN, KC_F64, KC_ANY, 1, 1, 0), *allowed = kc_allow(c, y);
    for (size_t i = 0; i < n && allowed; i++) *allowed += (double)n * 0x1p-52 * fabs((double)x[i]);
    *y = c->k->sum(x, n);
}

static void sum_squares(kernel_case *c) {
    size_t n = kc_length(c, 2 * MOST);
    double mean = (double)kc_float(c, -2, 2);
    const float *x = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0);
    double *y = kc_array(c, KC_WRITTEN, KC_F64, KC_ANY, 1, 1, 0);
    *y = c->k->sum_squares(x, mean, n);
    kc_near(c, y, (double)(n + 4) * 0x1p-52, 0);
}

static void normalise(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    float mean = kc_float(c, -2, 2), rstd = kc_float(c, 0, 10);
    float offset = (float)kc_int(c, 0, 1);
    const float *x = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0), *w = NULL, *b = NULL;
    if (kc_int(c, 0, 1)) w = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0);
    if (kc_int(c, 0, 1)) b = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0);
    float *y = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, 1, n, 0);
    c->k->normalise(y, x, w, b, mean, rstd, offset, n);
}

static void rotate(kernel_case *c) {
    size_t n = kc_length(c, MOST);
    float *a = changed(c, n), *b = changed(c, n);
    const float *cosines = kc_array(c, KC_READ, KC_F32, KC_ZEROS, 1, n, 0);
    c->k->rotate(a, b, cosines, kc_array(c, KC_READ, KC_F32, KC_ZEROS, 1, n, 0), n);
}

const kernel_entry kernel_cases_values[] = {
    { "widen_bf16", widen_bf16 },
    { "widen_f16", widen_f16 },
    { "narrow_bf16", narrow_bf16 },
    { "narrow_f16", narrow_f16 },
    { "add", add },
    { "mul", mul },
    { "sum_products", sum_products },
    { "scale", scale },
    { "softcap", softcap },
    { "gelu", gelu },
    { "gelu_tanh", gelu_tanh },
    { "quick_gelu", quick_gelu },
    { "silu", silu },
    { "relu", relu },
    { "sum", sum },
    { "sum_squares", sum_squares },
    { "normalise", normalise },
    { "rotate", rotate },
    { NULL, NULL },
};
