/* SPDX-License-Identifier: MIT */
/* Tiles of integers for AArch64, whatever multiplies: their size, and what is done with a group's sums. Included by
 * kernels_quantized_neon.c and kernels_quantized_neondot.c alone. */
#ifndef VLM_CPU_QUANTIZED_NEON_H
#define VLM_CPU_QUANTIZED_NEON_H

#include "tensor/cpu/kernels/kernels.h"

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) _Pragma("GCC unroll 16") for (size_t i = 0; i < (size_t)(n); i++)

enum { MR = 8, NR = 8, KC = 256 };

/* Applies what belongs to a group to its sums of integers. */
INLINE void end_group(const vcpu_int_tile *t, size_t g, int32x4_t s[MR][2]) {
    EACH (j, 2) {
        float32x4_t scale = vld1q_f32(t->w_scales + g * NR + 4 * j);
        float32x4_t bias = vld1q_f32(t->w_biases + g * NR + 4 * j);
        EACH (r, MR) {
            float *c = t->c + r * t->c_row + 4 * j;
            float32x4_t v = vfmaq_n_f32(vld1q_f32(c), bias, t->x_sums[g * MR + r]);
            v = vfmaq_n_f32(v, vmulq_f32(vcvtq_f32_s32(s[r][j]), scale), t->x_scales[g * MR + r]);
            vst1q_f32(c, v);
        }
    }
}

/* row(r, vector, element): where a row of x is among two vectors of four. */
#define EACH_ROW(row)                                                                              \
    row(0, 0, 0) row(1, 0, 1) row(2, 0, 2) row(3, 0, 3)                                            \
    row(4, 1, 0) row(5, 1, 1) row(6, 1, 2) row(7, 1, 3)

#endif
