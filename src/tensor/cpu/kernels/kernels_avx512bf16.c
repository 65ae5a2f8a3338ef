/* SPDX-License-Identifier: MIT */
/* Products of bfloat16 pairs with float32 sums, for AVX-512 with BF16. The instruction takes
 * denormal bfloat16 values for zero; so does the one that rounds to bfloat16, for which reason
 * AVX-512's narrow_bf16, which is exact, stays. */
#include "tensor/cpu/kernels/kernels.h"

#include <immintrin.h>

/* A panel of KC pairs and a tile of x beside it fit the 32 KB of Zen 4's first-level cache. */
enum { MR = 14, NR = 32, KC = 160, PREFETCH_BYTES = 1024 };
/* A loop that is taken apart, so that what it indexes can live in registers. */
#define EACH(i, n) _Pragma("GCC unroll 16") for (size_t i = 0; i < (size_t)(n); i++)

static inline __m512bh pairs(__m512i v) {
    return (__m512bh)v;
}

/* ---- few rows ---- */
/* As many sums in flight as the latency asks for; their order is the same for any number of rows.
 */
static inline __attribute__((always_inline)) void dot_out(float *y, size_t y_row, const char *x,
                                                          size_t x_row_bytes, int rows,
                                                          const char *w, size_t k) {
    __m512 s[4][4];
    size_t i = 0;
    EACH (r, rows)
        EACH (j, 4) s[r][j] = _mm512_setzero_ps();
    for (; i + 128 <= k; i += 128)
        EACH (j, 4) {
            const char *at = w + 2 * (i + 32 * j);
            __builtin_prefetch(at + PREFETCH_BYTES);
            __m512bh wv = pairs(_mm512_loadu_si512(at));
            EACH (r, rows) {
                const char *xr = x + r * x_row_bytes + 2 * (i + 32 * j);
                s[r][j] = _mm512_dpbf16_ps(s[r][j], wv, pairs(_mm512_loadu_si512(xr)));
            }
        }
    for (; i < k; i += 32) {
        __mmask32 here = k - i >= 32 ? ~0u : (1u << (k - i)) - 1;
        __m512bh wv = pairs(_mm512_maskz_loadu_epi16(here, w + 2 * i));
        EACH (r, rows) {
            const char *xr = x + r * x_row_bytes + 2 * i;
            s[r][0] = _mm512_dpbf16_ps(s[r][0], wv, pairs(_mm512_maskz_loadu_epi16(here, xr)));
        }
    }
    EACH (r, rows) y[r * y_row] = _mm512_reduce_add_ps((s[r][0] + s[r][1]) + (s[r][2] + s[r][3]));
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
    const int32_t *ai = a;
    const char *bi = b;
    __m512 s[MR][2];
    EACH (r, MR) /* wanted at the end */
        EACH (j, 2) __builtin_prefetch(c + r * c_row + 16 * j);
    EACH (r, MR) s[r][0] = s[r][1] = _mm512_setzero_ps();
    for (size_t i = 0; i < k; i++, ai += MR, bi += 4 * NR) {
        __m512bh b0 = pairs(_mm512_loadu_si512(bi)), b1 = pairs(_mm512_loadu_si512(bi + 64));
        __builtin_prefetch(ai + 64 * MR); /* the next tile of x */
        EACH (r, MR) {
            __m512bh av = pairs(_mm512_set1_epi32(ai[r]));
            s[r][0] = _mm512_dpbf16_ps(s[r][0], av, b0);
            s[r][1] = _mm512_dpbf16_ps(s[r][1], av, b1);
        }
    }
    EACH (r, MR)
        EACH (j, 2)
            _mm512_storeu_ps(c + r * c_row + 16 * j,
                             _mm512_loadu_ps(init + r * init_row + 16 * j) + s[r][j]);
}

void vcpu_kernels_avx512bf16(vcpu_kernels *k) {
    k->name = "avx512bf16";
    k->dot_bf16_pairs = dot_bf16_pairs;
    k->gemm_bf16 = (vcpu_gemm) { MR, NR, KC, tile_bf16 };
    vcpu_attention_kernels_avx512bf16(&k->attention);
}
