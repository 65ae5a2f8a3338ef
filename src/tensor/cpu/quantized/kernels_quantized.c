/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with integers in plain C: what runs where no faster kernel exists,
 * and what the others are tested against. */
#include "tensor/cpu/kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "core/core.h"

/* ---- numbers ---- */
static float number(const char *p, size_t i, vcpu_number type, float factor) {
    uint32_t u = 0;
    uint16_t h;
    float f;
    switch (type) {
    case VCPU_BF16: memcpy(&h, p + 2 * i, 2); return vcore_bf16_to_f32(h);
    case VCPU_F16: memcpy(&h, p + 2 * i, 2); return vcore_f16_to_f32(h);
    case VCPU_E8M0:
        u = (uint32_t)(uint8_t)p[i] << 23;
        memcpy(&f, &u, 4);
        return f * factor;
    case VCPU_E4M3: /* the exponents' zeros are 120 apart */
        u = ((uint32_t)(uint8_t)p[i] & 0x80) << 24 | ((uint32_t)(uint8_t)p[i] & 0x7F) << 20;
        memcpy(&f, &u, 4);
        return f * 0x1p120f * factor;
    default: memcpy(&f, p + 4 * i, 4); return f;
    }
}

/* The i-th integer of a row. */
static int32_t quant(const vcpu_quants *w, const char *row, size_t i) {
    static const int8_t e2m1[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };
    size_t bit = i * (size_t)w->bits, shift = bit % 8;
    unsigned u = (uint8_t)row[bit / 8];
    if (shift + (size_t)w->bits > 8) u |= (unsigned)(uint8_t)row[bit / 8 + 1] << 8;
    u = u >> shift & ((1u << w->bits) - 1);
    return w->e2m1 ? e2m1[u] : (int32_t)u;
}

/* ---- x as integers ---- */
/* The largest |x| of a group; NaN is larger than all. */
static float greatest(const float *x, size_t n) {
    uint32_t most = 0, u;
    float f;
    for (size_t i = 0; i < n; i++) {
        memcpy(&u, &x[i], 4);
        u &= 0x7FFFFFFF;
        if (u > most) most = u;
    }
    memcpy(&f, &most, 4);
    return f;
}

/* The scale of a group of x, its largest integer being `limit`, and what x is multiplied with. */
static float scale_of(const float *x, size_t group, float limit, float *by) {
    float most = greatest(x, group);
    *by = 0;
    if (!isfinite(most)) return NAN;
    if (most < VCPU_LEAST_ACTIVATION) return 0;
    *by = limit / most;
    return most / limit;
}

#define DEFINE_QUANTIZE(name, type, limit)                                                         \
    static void name(type *q, float *scales, float *sums, const float *x, size_t n,                \
                     size_t group) {                                                               \
        size_t groups = n / group, width = (groups + 15) / 16 * 16;                                \
        memset(q, 0, (n + 63) / 64 * 64 * sizeof *q);                                              \
        memset(scales, 0, width * sizeof *scales);                                                 \
        memset(sums, 0, width * sizeof *sums);                                                     \
        for (size_t g = 0; g < groups; g++, q += group, x += group) {                              \
            float by;                                                                              \
            int32_t sum = 0;                                                                       \
            scales[g] = scale_of(x, group, limit, &by);                                            \
            for (size_t i = 0; by != 0 && i < group; i++) sum += q[i] = (type)rintf(x[i] * by);    \
            sums[g] = scales[g] * (float)sum;                                                      \
        }                                                                                          \
    }
DEFINE_QUANTIZE(quantize_ints, int16_t, 32767)
DEFINE_QUANTIZE(quantize8, int8_t, 127)

static void quantize16(int16_t *q, float *scales, float *sums, const float *x, size_t n,
                       size_t group, int bits) {
    (void)bits;
    quantize_ints(q, scales, sums, x, n, group);
}

/* ---- few rows ---- */
static void dot_quants(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                       size_t outs, size_t k) {
    for (size_t o = 0; o < outs; o++) {
        const char *row = w->data + o * w->row_bytes, *scales = w->scales + o * w->scale_row_bytes;
        const char *biases = w->biases ? w->biases + o * w->bias_row_bytes : NULL;
        for (int r = 0; r < rows; r++) {
            const int16_t *q = (const int16_t *)x->q + (size_t)r * x->row;
            const float *xs = x->scales + (size_t)r * x->group_row;
            const float *sums = x->sums + (size_t)r * x->group_row;
            float total = 0;
            for (size_t g = 0; g < k / w->group; g++) {
                int32_t sum = 0;
                for (size_t i = g * w->group; i < (g + 1) * w->group; i++)
                    sum += quant(w, row, i) * q[i];
                total += number(scales, g, w->scale_type, w->factor) * xs[g] * (float)sum;
                if (biases) total += number(biases, g, w->bias_type, 1) * sums[g];
            }
            y[(size_t)r * y_row + o] = total;
        }
    }
}

/* ---- many rows ---- */
static void numbers(float *to, const char *p, size_t n, vcpu_number type, float factor) {
    for (size_t i = 0; i < n; i++) to[i] = number(p, i, type, factor);
    memset(to + n, 0, 8 * sizeof *to);
}

static void unpack16(int16_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n) {
    const char *p = w->data + row * w->row_bytes;
    for (size_t i = 0; i < n; i++) to[i] = (int16_t)quant(w, p, start + i);
}

enum { MR = 4, NR = 8 };

static void unpack8(uint8_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n) {
    const char *p = w->data + row * w->row_bytes;
    for (size_t i = 0; i < n; i++) to[i] = (uint8_t)(quant(w, p, start + i) + (w->e2m1 ? 12 : 0));
}

#define DEFINE_TILE(name, a_type, b_type, per)                                                     \
    static void name(const vcpu_int_tile *t) {                                                     \
        const a_type *a = t->a;                                                                    \
        const b_type *b = t->b;                                                                    \
        for (size_t g = 0; g < t->groups; g++, a += per * MR * t->depth, b += per * NR * t->depth) \
            for (size_t r = 0; r < MR; r++)                                                        \
                for (size_t o = 0; o < NR; o++) {                                                  \
                    float *c = &t->c[r * t->c_row + o];                                            \
                    int32_t sum = 0;                                                               \
                    for (size_t i = 0; i < t->depth; i++)                                          \
                        for (size_t j = 0; j < per; j++)                                           \
                            sum += a[per * (i * MR + r) + j] * b[per * (i * NR + o) + j];          \
                    *c += t->w_scales[g * NR + o] * (float)sum * t->x_scales[g * MR + r];          \
                    *c += t->w_biases[g * NR + o] * t->x_sums[g * MR + r];                         \
                }                                                                                  \
    }
DEFINE_TILE(tile_int16, int16_t, int16_t, 2)
DEFINE_TILE(tile_int8, int8_t, uint8_t, 4)

void vcpu_kernels_quantized(vcpu_kernels *k) {
    k->numbers = numbers;
    k->unpack16 = unpack16;
    k->quantize8 = quantize8;
    k->unpack8 = unpack8;
    k->gemm_int8 = (vcpu_int_gemm) { MR, NR, 256, tile_int8 };
    k->gemm_int16 = (vcpu_int_gemm) { MR, NR, 256, tile_int16 };
    k->quantize16 = quantize16;
    k->dot_quants = dot_quants;
}
