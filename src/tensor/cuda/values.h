/* SPDX-License-Identifier: MIT */
/* One value of a matrix in any storage, as MLX dequantizes it: right for all of them, and slow. move.cu and experts.cu include
 * it. */
#ifndef VLM_CUDA_VALUES_H
#define VLM_CUDA_VALUES_H

#include "tensor/cuda/cuda.h"

/* The b bits of value i in a stream of them, lowest first. */
__device__ static inline unsigned bits_at(const uint8_t *row, int64_t i, int bits) {
    int64_t at = i * bits;
    int shift = (int)(at & 7);
    unsigned v = row[at >> 3];
    if (shift + bits > 8) v |= (unsigned)row[(at >> 3) + 1] << 8;
    return (v >> shift) & ((1u << bits) - 1);
}

__device__ static inline float e2m1(unsigned q) {
    const float magnitude[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    return q & 8 ? -magnitude[q & 7] : magnitude[q & 7];
}

__device__ static inline float e4m3(unsigned q) {
    unsigned exponent = q >> 3 & 15, mantissa = q & 7;
    float v = exponent ? ldexpf((float)(8 + mantissa), (int)exponent - 10) : ldexpf((float)mantissa, -9);
    if ((q & 127) == 127) v = __int_as_float(0x7fc00000);
    return q & 128 ? -v : v;
}

__device__ static inline float e8m0(unsigned q) {
    return q == 255 ? __int_as_float(0x7fc00000) : q == 0 ? __int_as_float(0x00400000) : __int_as_float((int)(q << 23));
}

__device__ static inline float value_of(const vcuda_matrix &m, int64_t row, int64_t i) {
    if (m.storage == VLM_STORAGE_DENSE) return vcuda_load(m.data, m.type, row * m.row + i);
    const uint8_t *packed = (const uint8_t *)m.data + row * m.row * 4;
    unsigned q = bits_at(packed, i, m.bits);
    int64_t group = i / m.group;
    if (m.storage == VLM_STORAGE_AFFINE)
        return __fadd_rn(__fmul_rn((float)q, vcuda_load(m.scales, m.scale_type, row * m.scale_row + group)),
                         vcuda_load(m.biases, m.bias_type, row * m.bias_row + group));
    unsigned scale = ((const uint8_t *)m.scales)[row * m.scale_row + group];
    if (m.storage == VLM_STORAGE_MXFP4) return e2m1(q) * e8m0(scale);
    if (m.storage == VLM_STORAGE_MXFP8) return e4m3(q) * e8m0(scale);
    float v = e2m1(q) * e4m3(scale);
    if (!m.factor) return v;
    float factor = *(const float *)m.factor;
    return m.divided ? v / factor : v * factor;
}

#endif
