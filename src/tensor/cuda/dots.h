/* SPDX-License-Identifier: MIT */
/* Weights of 4 and 8 bits against x of 16, as dp4a multiplies them: x ≈ scale (256 hi + lo), two signed bytes. A run of 32
 * values of x is four pieces of 16 bytes, of 8 values each, in the order in which the weights come out of their words: for
 * 4 bits hi of the even ones, hi of the odd ones, lo, lo; for 8 bits hi and lo of the first four, hi and lo of the others.
 * gemv_int.cu and step_int.cu include it. */
#ifndef VLM_CUDA_DOTS_H
#define VLM_CUDA_DOTS_H

#include "tensor/cuda/gemv.h"

__device__ static inline int dot4(uint32_t q, uint32_t x, int sum) { /* unsigned q, signed x */
    int r;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(q), "r"(x), "r"(sum));
    return r;
}

/* What a word of 4-bit weights, or two of 8-bit ones, adds. */
__device__ static inline void add_word4(int &hi, int &lo, uint32_t q, uint4 x) {
    uint32_t even = q & 0x0F0F0F0F, odd = q >> 4 & 0x0F0F0F0F;
    hi = dot4(odd, x.y, dot4(even, x.x, hi));
    lo = dot4(odd, x.w, dot4(even, x.z, lo));
}
__device__ static inline void add_words8(int &hi, int &lo, uint32_t q0, uint32_t q1, uint4 x) {
    hi = dot4(q1, x.z, dot4(q0, x.x, hi));
    lo = dot4(q1, x.w, dot4(q0, x.y, lo));
}

/* What piece i of a run of x adds. */
template <int BITS> __device__ static inline void add_piece(int &hi, int &lo, const uint4 (&q)[BITS / 4], int i, uint4 x) {
    if (BITS == 4) {
        const uint32_t word[4] = { q[0].x, q[0].y, q[0].z, q[0].w };
        add_word4(hi, lo, word[i], x);
    } else {
        const uint4 four = q[i / 2 % (BITS / 4)];
        add_words8(hi, lo, i % 2 ? four.z : four.x, i % 2 ? four.w : four.y, x);
    }
}

/* The largest magnitude so far; NaN stays. */
__device__ static inline float larger(float most, float v) {
    v = fabsf(v);
    return v > most || v != v ? v : most;
}

/* A piece of 8 values, each rounded to a multiple of the run's scale: 1 / scale, or 0 where that is nothing to divide by. */
template <int BITS> __device__ static inline uint4 piece_of(const float (&v)[8], float inverse) {
    uint32_t hi[8], lo[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int q = __float2int_rn(v[i] * inverse), h = (q + 128) >> 8;
        hi[i] = (uint32_t)h & 255, lo[i] = (uint32_t)(q - h * 256) & 255;
    }
    auto word = [](const uint32_t(&b)[8], int first, int step) {
        return b[first] | b[first + step] << 8 | b[first + 2 * step] << 16 | b[first + 3 * step] << 24;
    };
    return BITS == 4 ? make_uint4(word(hi, 0, 2), word(hi, 1, 2), word(lo, 0, 2), word(lo, 1, 2))
                     : make_uint4(word(hi, 0, 1), word(lo, 0, 1), word(hi, 4, 1), word(lo, 4, 1));
}

#endif
