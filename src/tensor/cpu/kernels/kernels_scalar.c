/* SPDX-License-Identifier: MIT */
/* Every kernel in plain C: what runs where no faster one exists, and what the others are tested
 * against. */
#include "tensor/cpu/kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "core/core.h"

static uint16_t load16(const void *p, size_t i) {
    uint16_t u;
    memcpy(&u, (const char *)p + 2 * i, 2);
    return u;
}

static float load_f32(const void *p, size_t i) {
    float f;
    memcpy(&f, (const char *)p + 4 * i, 4);
    return f;
}

static float load_bf16(const void *p, size_t i) {
    return vcore_bf16_to_f32(load16(p, i));
}

static float load_f16(const void *p, size_t i) {
    return vcore_f16_to_f32(load16(p, i));
}

/* ---- conversions ---- */
static void widen_bf16(float *y, const void *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = load_bf16(x, i);
}

static void widen_f16(float *y, const void *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = load_f16(x, i);
}

static void narrow_bf16(void *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h = vcore_f32_to_bf16(x[i]);
        memcpy((char *)y + 2 * i, &h, 2);
    }
}

static void narrow_f16(void *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h = vcore_f32_to_f16(x[i]);
        memcpy((char *)y + 2 * i, &h, 2);
    }
}

/* ---- elementwise ---- */
static void add(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

static void mul(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= y[i];
}

static void sum_products(float *y, const float *init, const float *const *x, const float *const *w,
                         size_t rows, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = init ? init[i] : 0;
    for (size_t k = 0; k < rows; k++)
        for (size_t i = 0; i < n; i++) y[i] += w[k][i] * x[k][i];
}

static void scale(float *x, float factor, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

static void softcap(float *x, float cap, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = cap * tanhf(x[i] / cap);
}

static void gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(0.5 * x[i] * erfc(-x[i] * M_SQRT1_2));
}

static void gelu_tanh(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double v = x[i], u = 0.7978845608028654 * (v + 0.044715 * v * v * v);
        x[i] = (float)(v / (1 + exp(-2 * u)));
    }
}

static void quick_gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(x[i] / (1 + exp(-1.702 * x[i])));
}

static void silu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(x[i] / (1 + exp(-(double)x[i])));
}

static void relu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = x[i] < 0 ? 0 : x[i];
}

/* ---- norms and rotary positions ---- */
static double sum(const float *x, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += x[i];
    return s;
}

static double sum_squares(const float *x, double mean, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += (x[i] - mean) * (x[i] - mean);
    return s;
}

static void normalise(float *y, const float *x, const float *w, const float *b, float mean,
                      float rstd, float offset, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float v = (x[i] - mean) * rstd;
        if (w) v *= offset + w[i];
        y[i] = b ? v + b[i] : v;
    }
}

static void rotate(float *a, float *b, const float *c, const float *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float x = a[i], y = b[i];
        a[i] = x * c[i] - y * s[i];
        b[i] = y * c[i] + x * s[i];
    }
}

/* ---- products with few rows ---- */
/* Sixteen partial sums shorten the chain of additions and with it the rounding error. */
enum { PARTS = 16 };

static float add_parts(float *s) {
    for (int n = PARTS / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) s[i] += s[i + n];
    return s[0];
}

#define DEFINE_DOT(type, load)                                                                     \
    static void dot_##type(float *y, size_t y_row, const void *x, size_t x_row, int rows,          \
                           const void *w, size_t w_row_bytes, size_t outs, size_t k) {             \
        for (size_t o = 0; o < outs; o++) {                                                        \
            const char *wo = (const char *)w + o * w_row_bytes;                                    \
            for (int r = 0; r < rows; r++) {                                                       \
                const float *xr = (const float *)x + (size_t)r * x_row;                            \
                float s[PARTS] = { 0 };                                                            \
                for (size_t i = 0; i < k; i++) s[i % PARTS] += xr[i] * load(wo, i);                \
                y[(size_t)r * y_row + o] = add_parts(s);                                           \
            }                                                                                      \
        }                                                                                          \
    }
DEFINE_DOT(f32, load_f32)
DEFINE_DOT(bf16, load_bf16)
DEFINE_DOT(f16, load_f16)

/* ---- products with many rows ---- */
enum { MR = 4, NR = 8 };

static void tile_f32(float *c, size_t c_row, const float *init, size_t init_row, const void *a,
                     size_t a_row, size_t a_k, const void *b, size_t b_k, size_t k) {
    const float *af = a, *bf = b;
    float s[MR][NR] = { { 0 } };
    for (size_t i = 0; i < k; i++)
        for (size_t r = 0; r < MR; r++)
            for (size_t o = 0; o < NR; o++) s[r][o] += af[r * a_row + i * a_k] * bf[i * b_k + o];
    for (size_t r = 0; r < MR; r++)
        for (size_t o = 0; o < NR; o++) c[r * c_row + o] = init[r * init_row + o] + s[r][o];
}

static void pack(void *y, size_t width, const void *x, size_t x_row_bytes, size_t rows, size_t n) {
    uint32_t *to = y;
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < rows; r++)
            memcpy(&to[i * width + r], (const char *)x + r * x_row_bytes + 4 * i, 4);
        for (size_t r = rows; r < width; r++) to[i * width + r] = 0;
    }
}

#define DEFINE_PACK(type)                                                                          \
    static void pack_##type(void *y, size_t width, const void *x, size_t x_row_bytes, size_t rows, \
                            size_t n) {                                                            \
        float *to = y;                                                                             \
        for (size_t i = 0; i < n; i++) {                                                           \
            for (size_t r = 0; r < rows; r++)                                                      \
                widen_##type(&to[i * width + r], (const char *)x + r * x_row_bytes + 2 * i, 1);    \
            for (size_t r = rows; r < width; r++) to[i * width + r] = 0;                           \
        }                                                                                          \
    }
DEFINE_PACK(bf16)
DEFINE_PACK(f16)

void vcpu_kernels_scalar(vcpu_kernels *k) {
    *k = (vcpu_kernels) {
        .name = "scalar",
        .widen_bf16 = widen_bf16,
        .widen_f16 = widen_f16,
        .narrow_bf16 = narrow_bf16,
        .narrow_f16 = narrow_f16,
        .unpack = vcpu_unpack_scalar,
        .add = add,
        .mul = mul,
        .sum_products = sum_products,
        .scale = scale,
        .softcap = softcap,
        .activation = { gelu, gelu_tanh, quick_gelu, silu, relu },
        .sum = sum,
        .sum_squares = sum_squares,
        .normalise = normalise,
        .rotate = rotate,
        .dot_f32 = dot_f32,
        .dot_bf16 = dot_bf16,
        .dot_f16 = dot_f16,
        .gemm_f32 = { .mr = MR, .nr = NR, .kc = 256, .tile = tile_f32 },
        .pack = pack,
        .pack_bf16 = pack_bf16,
        .pack_f16 = pack_f16,
    };
    vcpu_attention_kernels_scalar(&k->attention);
}
