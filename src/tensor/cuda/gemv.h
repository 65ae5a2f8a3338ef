/* SPDX-License-Identifier: MIT */
/* What the products of a few rows share on the device: sixteen bytes of dense weights as floats, sums over a warp.
 * gemv.cu, gemv_int.cu and step.cu include it. */
#ifndef VLM_CUDA_GEMV_H
#define VLM_CUDA_GEMV_H

#include "tensor/cuda/cuda.h"

__device__ static inline void widen(float (&v)[8], uint4 u, __nv_bfloat16) {
    const uint32_t word[4] = { u.x, u.y, u.z, u.w };
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000u);
    }
}
__device__ static inline void widen(float (&v)[8], uint4 u, __half) {
    const uint32_t word[4] = { u.x, u.y, u.z, u.w };
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 pair = __half22float2(*(const __half2 *)&word[i]);
        v[2 * i] = pair.x;
        v[2 * i + 1] = pair.y;
    }
}
__device__ static inline void widen(float (&v)[4], uint4 u, float) {
    v[0] = __uint_as_float(u.x), v[1] = __uint_as_float(u.y), v[2] = __uint_as_float(u.z), v[3] = __uint_as_float(u.w);
}

__device__ static inline float warp_sum(float v) {
    for (int d = 16; d; d /= 2) v += __shfl_xor_sync(~0u, v, d);
    return v;
}

#endif
