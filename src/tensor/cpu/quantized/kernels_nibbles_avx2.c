/* SPDX-License-Identifier: MIT */
/* Products of weights of four bits with x as bytes, for AVX2: vpmaddubsw multiplies twice as many of
 * them as vpmaddwd does of 16 bits, and pairs of products of so small weights (15, or 24 of e2m1
 * with 12 added, times 127) can be added up in 16 bits for a while: eight of them, or five. */
#include "tensor/cpu/quantized/quantized_few_avx2.h"

/* ---- x as bytes ---- */
/* 64 values as four bits lie in bytes: those of even place, then the others. */
INLINE void order_nibbles(char *q) {
    const __m256i parts = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    __m256i a = _mm256_loadu_si256((const void *)q), b = _mm256_loadu_si256((const void *)(q + 32));
    a = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a, parts), 0xD8);
    b = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(b, parts), 0xD8);
    _mm256_storeu_si256((void *)q, _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_storeu_si256((void *)(q + 32), _mm256_permute2x128_si256(a, b, 0x31));
}

static void quantize_nibbles(int8_t *q, float *scales, float *sums, const float *x, size_t n,
                             size_t group) {
    quantize_groups((char *)q, scales, sums, x, n, group, 127, sizeof *q);
    for (size_t i = 0; i < n; i += 64) order_nibbles((char *)q + i);
}

/* ---- few rows ---- */
INLINE void add_nibbles(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                        const char *q, const char *weights, bool wide, bool e2m1) {
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i v = _mm256_loadu_si256((const void *)weights);
    __m256i even = _mm256_and_si256(v, low);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
    if (e2m1) {
        even = e2m1_and_12(even);
        odd = e2m1_and_12(odd);
    }
    EACH (r, rows) {
        const __m256i *from = (const void *)(q + r * p->x->row);
        __m256i a = _mm256_maddubs_epi16(even, _mm256_loadu_si256(from));
        a = _mm256_add_epi16(a, _mm256_maddubs_epi16(odd, _mm256_loadu_si256(from + 1)));
        __m256 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(a, ones));
        s[r] = _mm256_fmadd_ps(sum, scales64(by, p, r, i, wide), s[r]);
    }
}

static void dot_nibbles(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                        size_t outs, size_t k) {
    dot_four_bits(y, y_row, x, 1, rows, w, 12, outs, k, 4);
}

/* ---- many rows ---- */
/* Sums of `step` elements of a and b, from the i-th on, join those in sums. */
INLINE void add_step(__m256i sums[MR][2], const int32_t *a, const __m256i *b, int step) {
    __m256i s[MR][2];
    EACH (r, MR) s[r][0] = s[r][1] = _mm256_setzero_si256();
    EACH (i, step) {
        __m256i b0 = _mm256_loadu_si256(b + 2 * i), b1 = _mm256_loadu_si256(b + 2 * i + 1);
        EACH (r, MR) {
            __m256i of_x = _mm256_set1_epi32(a[MR * i + r]);
            s[r][0] = at_once(_mm256_add_epi16(s[r][0], _mm256_maddubs_epi16(b0, of_x)));
            s[r][1] = at_once(_mm256_add_epi16(s[r][1], _mm256_maddubs_epi16(b1, of_x)));
        }
    }
    EACH (r, MR)
        EACH (j, 2)
            sums[r][j] = _mm256_add_epi32(sums[r][j],
                                          _mm256_madd_epi16(s[r][j], _mm256_set1_epi16(1)));
}

INLINE void tile_of(const vcpu_int_tile *t, int step) {
    const int32_t *a = t->a;
    const __m256i *b = t->b;
    for (size_t g = 0; g < t->groups; g++) {
        __m256i s[MR][2];
        begin_group(t, s);
        for (size_t i = 0; i < t->depth; i += step, a += MR * step, b += 2 * step)
            add_step(s, a, b, step);
        end_group(t, g, s);
    }
}

/* Groups of up to 32 values may be of e2m1. */
static void tile_nibbles(const vcpu_int_tile *t) {
    if (t->depth > 8)
        tile_of(t, 8);
    else
        tile_of(t, 4);
}

void vcpu_kernels_nibbles_avx2(vcpu_kernels *k) {
    k->quantize_nibbles = quantize_nibbles;
    k->dot_nibbles = dot_nibbles;
    k->gemm_nibbles = (vcpu_int_gemm) { MR, NR, KC, tile_nibbles };
}
