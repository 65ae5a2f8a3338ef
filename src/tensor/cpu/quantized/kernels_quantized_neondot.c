/* SPDX-License-Identifier: MIT */
/* Products of many rows of x as bytes with quantized weights, for AArch64 with SDOT. */
#include "tensor/cpu/quantized/quantized_neon.h"

/* One quad of row r of x with those of eight outs. */
#define QUAD(r, at, i)                                                                             \
    s[r][0] = vdotq_laneq_s32(s[r][0], w[0], x[at], i);                                            \
    s[r][1] = vdotq_laneq_s32(s[r][1], w[1], x[at], i);

/* SDOT takes signed bytes: 128 is taken off the weights', and 128 times the sum of x added at the end. */
static void tile_int8(const vcpu_int_tile *t) {
    const int8_t *a = t->a;
    const uint8_t *b = t->b;
    const uint8x16_t top = vdupq_n_u8(0x80);
    for (size_t g = 0; g < t->groups; g++) {
        int32x4_t s[MR][2], less[] = { vdupq_n_s32(0), vdupq_n_s32(0) };
        EACH (r, MR) s[r][0] = s[r][1] = vdupq_n_s32(0);
        for (size_t i = 0; i < t->depth; i++, a += 4 * MR, b += 4 * NR) {
            int8x16_t x[] = { vld1q_s8(a), vld1q_s8(a + 16) };
            int8x16_t w[] = { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(b), top)),
                              vreinterpretq_s8_u8(veorq_u8(vld1q_u8(b + 16), top)) };
            EACH_ROW(QUAD)
            EACH (j, 2) less[j] = vdotq_s32(less[j], x[j], vdupq_n_s8(-128));
        }
        int32_t of_rows[MR];
        EACH (j, 2) vst1q_s32(of_rows + 4 * j, less[j]);
        EACH (r, MR)
            EACH (j, 2) s[r][j] = vsubq_s32(s[r][j], vdupq_n_s32(of_rows[r]));
        end_group(t, g, s);
    }
}

void vcpu_kernels_quantized_neondot(vcpu_kernels *k) {
    k->gemm_int8 = (vcpu_int_gemm) { MR, NR, KC, tile_int8 };
    k->prefers_int8 = true;
}
