/* SPDX-License-Identifier: MIT */
/* What the AVX2 kernels for quantized weights share: the largest of a group of x, numbers that
 * scales are stored as, sums over lanes. Included by kernels_quantized_avx2.c and
 * kernels_nibbles_avx2.c alone, which are compiled for that instruction set. */
#ifndef VLM_CPU_QUANTIZED_AVX2_H
#define VLM_CPU_QUANTIZED_AVX2_H

#include "tensor/cpu/quantized/simd_quantized.h"

#include <immintrin.h>

/* ---- x as integers ---- */
INLINE float greatest(const float *x, size_t n) {
    __m256i most = _mm256_setzero_si256(), magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    for (size_t i = 0; i < n; i += 8) {
        __m256i v = _mm256_loadu_si256((const void *)(x + i));
        most = _mm256_max_epi32(most, _mm256_and_si256(v, magnitude));
    }
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

INLINE int32_t sum_of(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

INLINE int32_t round_to(char *q, const float *x, size_t n, float by, size_t size) {
    __m256 f = _mm256_set1_ps(by);
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 16) {
        __m256i a = _mm256_cvtps_epi32(_mm256_loadu_ps(x + i) * f);
        __m256i b = _mm256_cvtps_epi32(_mm256_loadu_ps(x + i + 8) * f);
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
        a = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
        if (size == 2)
            _mm256_storeu_si256((void *)(q + 2 * i), a);
        else
            _mm_storeu_si128((void *)(q + i), _mm_packs_epi16(_mm256_castsi256_si128(a),
                                                              _mm256_extracti128_si256(a, 1)));
    }
    return sum_of(sum);
}

/* ---- scales ---- */
/* Eight numbers. */
INLINE __m256 numbers8(const char *p, vcpu_number type, float factor) {
    __m256i u;
    switch (type) {
    case VCPU_BF16:
        u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
        return _mm256_castsi256_ps(_mm256_slli_epi32(u, 16));
    case VCPU_F16: return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
    case VCPU_E8M0:
        u = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
        return _mm256_castsi256_ps(_mm256_slli_epi32(u, 23)) * _mm256_set1_ps(factor);
    case VCPU_E4M3: /* the exponents' zeros are 120 apart */
        u = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p));
        u = _mm256_and_si256(_mm256_slli_epi32(u, 20), _mm256_set1_epi32((int32_t)0x87F00000));
        return _mm256_castsi256_ps(u) * _mm256_set1_ps(0x1p120f) * _mm256_set1_ps(factor);
    default: return _mm256_loadu_ps((const void *)p);
    }
}

INLINE float total(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* A sum that is formed where it stands: left alone, the compiler forms the products of a whole tile
 * before it adds them up, and runs out of registers. */
INLINE __m256i at_once(__m256i sum) {
    __asm__("" : "+x"(sum));
    return sum;
}

/* ---- weights ---- */
/* Bytes of four bits become 12 more than twice the numbers that those stand for. */
INLINE __m256i e2m1_and_12(__m256i nibbles) {
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return _mm256_shuffle_epi8(table, nibbles);
}

/* ---- tiles of integers ---- */
enum { MR = 6, NR = 16, KC = 256 };

/* The results are wanted at the end; a and b are streams, which the CPU follows unasked. */
INLINE void begin_group(const vcpu_int_tile *t, __m256i s[MR][2]) {
    EACH (r, MR) {
        __builtin_prefetch(t->c + r * t->c_row);
        s[r][0] = s[r][1] = _mm256_setzero_si256();
    }
}

/* Applies what belongs to a group to its sums of integers. */
INLINE void end_group(const vcpu_int_tile *t, size_t g, __m256i s[MR][2]) {
    EACH (j, 2) {
        __m256 scale = _mm256_loadu_ps(t->w_scales + g * NR + 8 * j);
        __m256 bias = _mm256_loadu_ps(t->w_biases + g * NR + 8 * j);
        EACH (r, MR) {
            float *c = t->c + r * t->c_row + 8 * j;
            __m256 xs = _mm256_broadcast_ss(t->x_scales + g * MR + r);
            __m256 sum = _mm256_broadcast_ss(t->x_sums + g * MR + r);
            __m256 v = _mm256_fmadd_ps(bias, sum, _mm256_loadu_ps(c));
            _mm256_storeu_ps(c, _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[r][j]) * scale, xs, v));
        }
    }
}

#endif
