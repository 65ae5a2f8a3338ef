/* SPDX-License-Identifier: MIT */
/* Written once for the kernels of quantized weights on vectors of any kind: how a row of x becomes integers.
 * Not a header to include elsewhere.
 *
 * Wanted from the including file, behind the include: greatest() and round_to(); numbers_as() where it uses
 * DEFINE_NUMBERS. */
#ifndef VLM_CPU_SIMD_QUANTIZED_H
#define VLM_CPU_SIMD_QUANTIZED_H

#include "tensor/cpu/kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))
/* A loop that is taken apart, so that what it indexes can live in registers. */
#define EACH(i, n) _Pragma("GCC unroll 16") for (size_t i = 0; i < (size_t)(n); i++)

/* The largest |x| of n values, a multiple of 16; NaN is larger than all. */
INLINE float greatest(const float *x, size_t n);
/* n values, a multiple of 16, times `by`, to nearest, as integers of `size` bytes; returns their sum. */
INLINE int32_t round_to(char *q, const float *x, size_t n, float by, size_t size);

/* One row, in order; `limit` is the largest integer. */
INLINE void quantize_groups(char *q, float *scales, float *sums, const float *x, size_t n, size_t group, float limit,
                            size_t size) {
    size_t groups = n / group;
    for (size_t i = groups; i < (groups + 15) / 16 * 16; i++) scales[i] = sums[i] = 0;
    __builtin_memset(q + n * size, 0, ((n + 63) / 64 * 64 - n) * size);
    for (size_t g = 0; g < groups; g++, x += group, q += group * size) {
        float most = greatest(x, group);
        bool finite = most < __builtin_inff(), small = !finite || most < VCPU_LEAST_ACTIVATION;
        int32_t sum = 0;
        if (small)
            __builtin_memset(q, 0, group * size);
        else
            sum = round_to(q, x, group, limit / most, size);
        scales[g] = finite ? (small ? 0 : most / limit) : __builtin_nanf("");
        sums[g] = scales[g] * (float)sum;
    }
}

static inline void quantize8(int8_t *q, float *scales, float *sums, const float *x, size_t n, size_t group) {
    quantize_groups((char *)q, scales, sums, x, n, group, 127, sizeof *q);
}

#define DEFINE_NUMBERS                                                                             \
    static void numbers(float *to, const char *p, size_t n, vcpu_number type, float factor) {      \
        switch (type) {                                                                            \
        case VCPU_F32: numbers_as(to, p, n, VCPU_F32, factor); break;                              \
        case VCPU_BF16: numbers_as(to, p, n, VCPU_BF16, factor); break;                            \
        case VCPU_F16: numbers_as(to, p, n, VCPU_F16, factor); break;                              \
        case VCPU_E8M0: numbers_as(to, p, n, VCPU_E8M0, factor); break;                            \
        case VCPU_E4M3: numbers_as(to, p, n, VCPU_E4M3, factor); break;                            \
        }                                                                                          \
    }

#endif
