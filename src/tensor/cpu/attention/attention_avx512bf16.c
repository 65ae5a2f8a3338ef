/* SPDX-License-Identifier: MIT */
/* Attention of few queries over bfloat16 keys and values, for AVX-512 with BF16: queries and
 * weights are rounded to bfloat16, products of pairs are summed in float32. */
#include "tensor/cpu/attention/kernels_attention.h"

#include <immintrin.h>

enum { SUMS = 16, STRIP = 32 };
#define EACH(i, n) _Pragma("GCC unroll 16") for (size_t i = 0; i < (size_t)(n); i++)
#define INLINE static inline __attribute__((always_inline))

INLINE __m512bh pairs(__m512i v) {
    return (__m512bh)v;
}

INLINE __mmask32 first_halves(size_t n) {
    return n >= 32 ? ~0u : (1u << n) - 1;
}

INLINE __mmask16 first_floats(size_t n) {
    return (__mmask16)(n >= 16 ? 0xFFFF : (1u << n) - 1);
}

/* to [rows][to_row] = x rounded; what is behind n is zero. to_row is a multiple of 16. */
static void narrow(uint16_t *to, size_t to_row, const float *x, size_t x_row, size_t rows, size_t n) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < to_row; i += 16) {
            __mmask16 here = i < n ? first_floats(n - i) : 0;
            __m256i half = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(here, x + r * x_row + i));
            _mm256_storeu_si256((__m256i *)(void *)(to + r * to_row + i), half);
        }
}

/* Lane i: the sum of v[i]. */
INLINE __m512 sums16(const __m512 v[SUMS]) {
    __m512 a[8], b[4], c[2];
    EACH (i, 8)
        a[i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]) + _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    EACH (i, 4)
        b[i] = _mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0x44)
               + _mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0xEE);
    EACH (i, 2)
        c[i] = _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x88)
               + _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xDD);
    return _mm512_shuffle_f32x4(c[0], c[1], 0x88) + _mm512_shuffle_f32x4(c[0], c[1], 0xDD);
}

/* ---- scores ---- */
/* Sixteen sums at once: of `rows` queries and 16 / rows keys, behind the last of which it is taken
 * again. */
INLINE void score_rows(float *s, size_t s_row, const uint16_t *q, size_t q_row, int rows,
                       const vcpu_kv_rows *k, size_t first, size_t n, size_t dim) {
    size_t step = SUMS / (size_t)rows;
    for (size_t key = 0; key < n; key += step) {
        const char *at[SUMS];
        __m512 sum[SUMS];
        EACH (j, step) at[j] = k->data + (first + (key + j < n ? key + j : n - 1)) * k->row_bytes;
        EACH (i, SUMS) sum[i] = _mm512_setzero_ps();
        for (size_t i = 0; i < dim; i += 32) {
            __mmask32 here = first_halves(dim - i);
            __m512bh x[8];
            EACH (r, rows) x[r] = pairs(_mm512_loadu_si512(q + r * q_row + i));
            EACH (j, step) {
                __m512bh kv = pairs(_mm512_maskz_loadu_epi16(here, at[j] + 2 * i));
                EACH (r, rows)
                    sum[r * step + j] = _mm512_dpbf16_ps(sum[r * step + j], x[r], kv);
            }
        }
        float y[SUMS];
        _mm512_storeu_ps(y, sums16(sum));
        if (n - key >= step)
            EACH (r, rows)
                __builtin_memcpy(s + r * s_row + key, y + r * step, step * sizeof *s);
        else
            EACH (r, rows)
                __builtin_memcpy(s + r * s_row + key, y + r * step, (n - key) * sizeof *s);
    }
}

static void scores_pairs(float *s, size_t s_row, const float *q, size_t q_row, size_t rows,
                         const vcpu_kv_rows *k, size_t keys, size_t dim) {
    uint16_t half[VCPU_PAIRS_ROWS * VCPU_PAIRS_DIM];
    size_t row = (dim + 31) / 32 * 32;
    narrow(half, row, q, q_row, rows, dim);
    for (size_t key = 0, n; key < keys; key += n) {
        n = keys - key < STRIP ? keys - key : STRIP;
        size_t r = 0;
        for (; r + 8 <= rows; r += 8)
            score_rows(s + r * s_row + key, s_row, half + r * row, row, 8, k, key, n, dim);
        if (rows - r >= 4) {
            score_rows(s + r * s_row + key, s_row, half + r * row, row, 4, k, key, n, dim);
            r += 4;
        }
        if (rows - r >= 2) {
            score_rows(s + r * s_row + key, s_row, half + r * row, row, 2, k, key, n, dim);
            r += 2;
        }
        if (rows > r) score_rows(s + r * s_row + key, s_row, half + r * row, row, 1, k, key, n, dim);
    }
}

/* ---- weighted sums of values ---- */
/* Values [at, at + 32) of the result: two keys make a pair. The halves of 128 bits that unpacking
 * leaves apart are put together at the end. */
INLINE void mix_rows(float *y, size_t y_row, const uint16_t *p, size_t p_row, int rows,
                     const vcpu_kv_rows *v, size_t first, size_t keys, size_t at, size_t dim) {
    const __m512i lower = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i upper =
        _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    __mmask32 here = first_halves(dim - at);
    __m512 lo[8], hi[8];
    EACH (r, rows) lo[r] = hi[r] = _mm512_setzero_ps();
    for (size_t key = 0; key < keys; key += 2) {
        const char *row = v->data + (first + key) * v->row_bytes + 2 * at;
        __m512i a = _mm512_maskz_loadu_epi16(here, row);
        __m512i b = _mm512_maskz_loadu_epi16(key + 1 < keys ? here : 0,
                                             key + 1 < keys ? row + v->row_bytes : row);
        __m512bh low = pairs(_mm512_unpacklo_epi16(a, b)), high = pairs(_mm512_unpackhi_epi16(a, b));
        EACH (r, rows) {
            int32_t two;
            __builtin_memcpy(&two, p + r * p_row + key, sizeof two);
            __m512bh weights = pairs(_mm512_set1_epi32(two));
            lo[r] = _mm512_dpbf16_ps(lo[r], low, weights);
            hi[r] = _mm512_dpbf16_ps(hi[r], high, weights);
        }
    }
    __mmask16 m0 = first_floats(dim - at), m1 = dim - at > 16 ? first_floats(dim - at - 16) : 0;
    EACH (r, rows) {
        float *to = y + r * y_row + at;
        __m512 first16 = _mm512_permutex2var_ps(lo[r], lower, hi[r]);
        __m512 last16 = _mm512_permutex2var_ps(lo[r], upper, hi[r]);
        _mm512_mask_storeu_ps(to, m0, _mm512_maskz_loadu_ps(m0, to) + first16);
        if (m1) _mm512_mask_storeu_ps(to + 16, m1, _mm512_maskz_loadu_ps(m1, to + 16) + last16);
    }
}

static void mix_pairs(float *y, size_t y_row, const float *p, size_t p_row, size_t rows,
                      const vcpu_kv_rows *v, size_t keys, size_t dim) {
    uint16_t half[VCPU_PAIRS_ROWS * STRIP];
    for (size_t key = 0, n; key < keys; key += n) {
        n = keys - key < STRIP ? keys - key : STRIP;
        narrow(half, STRIP, p + key, p_row, rows, n);
        for (size_t at = 0; at < dim; at += 32) {
            size_t r = 0;
            for (; r + 8 <= rows; r += 8)
                mix_rows(y + r * y_row, y_row, half + r * STRIP, STRIP, 8, v, key, n, at, dim);
            if (rows - r >= 4) {
                mix_rows(y + r * y_row, y_row, half + r * STRIP, STRIP, 4, v, key, n, at, dim);
                r += 4;
            }
            if (rows - r >= 2) {
                mix_rows(y + r * y_row, y_row, half + r * STRIP, STRIP, 2, v, key, n, at, dim);
                r += 2;
            }
            if (rows > r)
                mix_rows(y + r * y_row, y_row, half + r * STRIP, STRIP, 1, v, key, n, at, dim);
        }
    }
}

void vcpu_attention_kernels_avx512bf16(vcpu_attention_kernels *k) {
    k->scores_pairs = scores_pairs;
    k->mix_pairs = mix_pairs;
}
