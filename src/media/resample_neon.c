/* SPDX-License-Identifier: MIT */
/* The two passes of a resize with NEON: 32-bit sums of pixels by whole weights, as the plain C has
 * them. Part of the build on AArch64 only, where every processor has it. */
#include "media/media.h"

#include <arm_neon.h>

/* The first four bytes (a pixel and what follows) as 32-bit numbers. */
static inline int32x4_t load_pixel(const uint8_t *p) {
    uint32_t word;
    memcpy(&word, p, 4);
    uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(word));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
}

/* Sums, which began with 1/2, cut to integers of 0 to 65535. */
static inline uint16x4_t finish(int32x4_t sum, const vmedia_axis *a) {
    return vqmovun_s32(vshlq_s32(sum, vdupq_n_s32(-a->bits)));
}

void vmedia_along_x_neon(uint8_t *const *out, const uint8_t *const *in, int rows,
                         const vmedia_axis *x) {
    for (uint32_t i = 0; i < x->outputs; i++) {
        const int32_t *w = x->weight + (size_t)i * x->taps;
        size_t at = (size_t)x->first[i] * 3;
        int32x4_t sum[4];
        for (int r = 0; r < 4; r++) sum[r] = vdupq_n_s32(1 << (x->bits - 1));
        for (uint32_t k = 0; k < x->count[i]; k++, at += 3)
            for (int r = 0; r < rows; r++)
                sum[r] = vmlaq_n_s32(sum[r], load_pixel(in[r] + at), w[k]);
        for (int r = 0; r < rows; r++) {
            uint16x4_t levels = finish(sum[r], x);
            uint8_t pixel[8];
            vst1_u8(pixel, vqmovn_u16(vcombine_u16(levels, levels)));
            memcpy(out[r] + (size_t)i * 3, pixel, 3);
        }
    }
}

/* 16 columns of one output row. */
static inline uint8x16_t columns_along_y(const uint8_t *const *in, size_t at, const vmedia_axis *y,
                                         uint32_t i) {
    const int32_t *w = y->weight + (size_t)i * y->taps;
    int32x4_t sum[4];
    for (int q = 0; q < 4; q++) sum[q] = vdupq_n_s32(1 << (y->bits - 1));
    for (uint32_t k = 0; k < y->count[i]; k++) {
        uint8x16_t bytes = vld1q_u8(in[k] + at);
        uint16x8_t half[2] = { vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)) };
        for (int q = 0; q < 4; q++) {
            uint16x4_t four = q % 2 ? vget_high_u16(half[q / 2]) : vget_low_u16(half[q / 2]);
            sum[q] = vmlaq_n_s32(sum[q], vreinterpretq_s32_u32(vmovl_u16(four)), w[k]);
        }
    }
    return vcombine_u8(vqmovn_u16(vcombine_u16(finish(sum[0], y), finish(sum[1], y))),
                       vqmovn_u16(vcombine_u16(finish(sum[2], y), finish(sum[3], y))));
}

void vmedia_along_y_neon(uint8_t *out, const uint8_t *const *in, const vmedia_axis *y, uint32_t i,
                         size_t bytes) {
    size_t at = 0;
    for (; bytes - at >= 16; at += 16) vst1q_u8(out + at, columns_along_y(in, at, y, i));
    if (at == bytes) return;
    uint8_t rest[16];
    vst1q_u8(rest, columns_along_y(in, at, y, i));
    memcpy(out + at, rest, bytes - at);
}
