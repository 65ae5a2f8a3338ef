/* SPDX-License-Identifier: MIT */
/* Products of bfloat16 pairs with float32 sums, for AArch64 with BF16. The instruction takes
 * denormal values for zero. */
#include "tensor/cpu/kernels/kernels.h"

#include <arm_neon.h>

enum { MR = 8, NR = 12, KC = 256, PREFETCH_BYTES = 1024 };
/* A loop that is taken apart, so that what it indexes can live in registers. */
#define EACH(i, n) _Pragma("GCC unroll 16") for (size_t i = 0; i < (size_t)(n); i++)
#define INLINE static inline __attribute__((always_inline))

INLINE bfloat16x8_t load(const void *p) {
    return vreinterpretq_bf16_u8(vld1q_u8(p));
}

/* The first n of eight; zeros elsewhere. */
INLINE bfloat16x8_t load_n(const void *p, size_t n) {
    uint8_t bytes[16] = { 0 };
    __builtin_memcpy(bytes, p, 2 * n);
    return load(bytes);
}

/* ---- few rows ---- */
/* As many sums in flight as the latency asks for; their order is the same for any number of rows.
 */
INLINE void dot_out(float *y, size_t y_row, const char *x, size_t x_row_bytes, int rows,
                    const char *w, size_t k) {
    float32x4_t s[4][4];
    size_t i = 0;
    EACH (r, rows)
        EACH (j, 4) s[r][j] = vdupq_n_f32(0);
    for (; i + 32 <= k; i += 32) {
        __builtin_prefetch(w + 2 * i + PREFETCH_BYTES);
        EACH (j, 4) {
            bfloat16x8_t wv = load(w + 2 * (i + 8 * j));
            EACH (r, rows)
                s[r][j] = vbfdotq_f32(s[r][j], wv, load(x + r * x_row_bytes + 2 * (i + 8 * j)));
        }
    }
    for (; i < k; i += 8) {
        size_t here = k - i < 8 ? k - i : 8;
        bfloat16x8_t wv = load_n(w + 2 * i, here);
        EACH (r, rows)
            s[r][0] = vbfdotq_f32(s[r][0], wv, load_n(x + r * x_row_bytes + 2 * i, here));
    }
    EACH (r, rows) y[r * y_row] = vaddvq_f32((s[r][0] + s[r][1]) + (s[r][2] + s[r][3]));
}

static void dot_bf16_pairs(float *y, size_t y_row, const void *x, size_t x_row, int rows,
                           const void *w, size_t w_row_bytes, size_t outs, size_t k) {
    for (size_t o = 0; o < outs; o++) {
        const char *wo = (const char *)w + o * w_row_bytes;
        switch (rows) {
        case 1: dot_out(y + o, y_row, x, 2 * x_row, 1, wo, k); break;
        case 2: dot_out(y + o, y_row, x, 2 * x_row, 2, wo, k); break;
        case 3: dot_out(y + o, y_row, x, 2 * x_row, 3, wo, k); break;
        default: dot_out(y + o, y_row, x, 2 * x_row, 4, wo, k);
        }
    }
}

/* ---- many rows ---- */
/* Operands are packed: a_row is 1, a_k is MR, b_k is NR. */
static void tile_bf16(float *c, size_t c_row, const float *init, size_t init_row, const void *a,
                      size_t a_row, size_t a_k, const void *b, size_t b_k, size_t k) {
    (void)a_row, (void)a_k, (void)b_k;
    const char *ai = a, *bi = b;
    float32x4_t s[MR][NR / 4];
    EACH (r, MR)
        EACH (j, NR / 4) s[r][j] = vdupq_n_f32(0);
    for (size_t i = 0; i < k; i++, ai += 4 * MR, bi += 4 * NR) {
        bfloat16x8_t low = load(ai), high = load(ai + 16);
        EACH (j, NR / 4) {
            bfloat16x8_t bv = load(bi + 16 * j);
            s[0][j] = vbfdotq_laneq_f32(s[0][j], bv, low, 0);
            s[1][j] = vbfdotq_laneq_f32(s[1][j], bv, low, 1);
            s[2][j] = vbfdotq_laneq_f32(s[2][j], bv, low, 2);
            s[3][j] = vbfdotq_laneq_f32(s[3][j], bv, low, 3);
            s[4][j] = vbfdotq_laneq_f32(s[4][j], bv, high, 0);
            s[5][j] = vbfdotq_laneq_f32(s[5][j], bv, high, 1);
            s[6][j] = vbfdotq_laneq_f32(s[6][j], bv, high, 2);
            s[7][j] = vbfdotq_laneq_f32(s[7][j], bv, high, 3);
        }
    }
    EACH (r, MR)
        EACH (j, NR / 4)
            vst1q_f32(c + r * c_row + 4 * j, vld1q_f32(init + r * init_row + 4 * j) + s[r][j]);
}

void vcpu_kernels_neonbf16(vcpu_kernels *k) {
    k->name = "neonbf16";
    k->dot_bf16_pairs = dot_bf16_pairs;
    k->gemm_bf16 = (vcpu_gemm) { MR, NR, KC, tile_bf16 };
}
