/* SPDX-License-Identifier: MIT */
/* Primitives of simd_kernels.h and simd_attention.h that AVX2 and AVX-512 have in common. Included by kernels_avx2.c
 * and kernels_avx512.c alone. */
#ifndef VLM_CPU_SIMD_X86_H
#define VLM_CPU_SIMD_X86_H

#include <immintrin.h>
#include <stddef.h>

static inline void sums4_of_eight(float *y, __m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
    _mm_storeu_ps(y, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
static inline void vf_turn4(float *y, size_t y_row, const float *x, size_t x_row) {
    __m128 a = _mm_loadu_ps(x), b = _mm_loadu_ps(x + x_row);
    __m128 c = _mm_loadu_ps(x + 2 * x_row), d = _mm_loadu_ps(x + 3 * x_row);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(y, a);
    _mm_storeu_ps(y + y_row, b);
    _mm_storeu_ps(y + 2 * y_row, c);
    _mm_storeu_ps(y + 3 * y_row, d);
}

#endif
