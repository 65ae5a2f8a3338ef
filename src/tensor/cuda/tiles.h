/* SPDX-License-Identifier: MIT */
/* What the kernels of tiles share: which keys a tile of queries sees, and the softmax of a warp's sixteen rows, online, in the
 * registers that the tensor cores' products leave them in: lane 4g + c has rows g and g + 8, columns 2c and 2c + 1 of
 * every eight. attention_tiles.cu and attention_wide.cu include it. */
#ifndef VLM_CUDA_TILES_H
#define VLM_CUDA_TILES_H

#include "tensor/cuda/attention.h"

enum { KEYS = VCUDA_KEYS };

__device__ static inline uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
__device__ static inline float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ static inline void end_copies(void) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
__device__ static inline void wait_copies(void) {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}

/* Which keys a tile's rows see: some of them [begin, end), all of them [all_from, all_to). */
struct reach {
    int begin, end, all_from, all_to;
};

template <int ROWS> __device__ static inline reach reach_of(const vcuda_attention_args &a, const vcuda_segment *s, int first, int n, int (*bounds)[ROWS]) {
    __shared__ reach all;
    if (threadIdx.x == 0) all = { INT32_MAX, 0, 0, INT32_MAX };
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS; i += blockDim.x) {
        int64_t lo = 0, hi = 0;
        if (i < n) vcuda_visible(a, s, first + i, &lo, &hi);
        bounds[0][i] = (int)lo;
        bounds[1][i] = (int)hi;
        if (lo < hi) atomicMin(&all.begin, (int)lo), atomicMax(&all.end, (int)hi);
        if (i < n) atomicMax(&all.all_from, (int)lo), atomicMin(&all.all_to, (int)hi);
    }
    __syncthreads();
    return all;
}

/* One m16 tile of a warp: scores of KEYS keys, then weights; sums of rows g and g + 8. */
template <int DIM> struct rows16 {
    float score[KEYS / 8][4], out[DIM / 8][4], m[2], l[2];
    int lo[2], hi[2];
};

/* tanh by the exponential: what is left of it is rounded to bfloat16. */
template <int DIM> __device__ static inline void cap(rows16<DIM> &r, const vcuda_attention_args &a) {
    const float unit = 2 * 1.44269504f * a.scale / a.softcap;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) r.score[j][i] = a.softcap * (1 - __fdividef(2, 1 + power_of_2(r.score[j][i] * unit)));
}

template <int DIM> __device__ static inline void mask(rows16<DIM> &r, int key0) {
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int key = key0 + j * 8 + i % 2;
            if (key < r.lo[i / 2] || key >= r.hi[i / 2]) r.score[j][i] = -INFINITY;
        }
}

template <int DIM> __device__ static inline void soften(rows16<DIM> &r, const vcuda_attention_args &a, float unit, int key0, bool masked) {
    const int c = threadIdx.x % 4;
    float top[2] = { r.m[0], r.m[1] }, factor[2], base[2], add[2] = { 0, 0 };
    if (a.softcap > 0) cap<DIM>(r, a);
    if (masked) mask<DIM>(r, key0 + c * 2);
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) top[i / 2] = fmaxf(top[i / 2], r.score[j][i]);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        for (int d = 1; d <= 2; d *= 2) top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], d));
        bool none = top[i] == -INFINITY; /* it saw nothing yet: no NaN from inf - inf */
        factor[i] = none ? 1 : power_of_2((r.m[i] - top[i]) * unit);
        base[i] = none ? 0 : top[i] * unit;
        r.m[i] = top[i];
    }
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            r.score[j][i] = power_of_2(fmaf(r.score[j][i], unit, -base[i / 2]));
            add[i / 2] += r.score[j][i];
        }
#pragma unroll
    for (int i = 0; i < 2; i++) r.l[i] = r.l[i] * factor[i] + add[i];
    if (!__any_sync(~0u, factor[0] != 1 || factor[1] != 1)) return; /* no new maximum: most tiles of a long row */
#pragma unroll
    for (int j = 0; j < DIM / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) r.out[j][i] *= factor[i / 2];
}

template <int DIM> __device__ static inline void finish(rows16<DIM> &r, const vcuda_attention_args &a, int64_t row0, int64_t head, int first, int n) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        for (int d = 1; d <= 2; d *= 2) r.l[i] += __shfl_xor_sync(~0u, r.l[i], d);
        float factor = r.l[i] > 0 ? 1 / r.l[i] : 0; /* 0: it saw nothing */
        int row = first + g + 8 * i;
        const int64_t at = (row0 + row) * a.y_row + head * a.y_head + c * 2;
        if (row >= n) continue;
#pragma unroll
        for (int j = 0; j < DIM / 8; j++) {
            const float2 v = make_float2(r.out[j][2 * i] * factor, r.out[j][2 * i + 1] * factor);
            if (j * 8 >= a.dim) break;
            if (a.narrow)
                *(uint32_t *)((__nv_bfloat16 *)a.y + at + j * 8) = vcuda_pair(v.x, v.y);
            else
                *(float2 *)((float *)a.y + at + j * 8) = v;
        }
    }
}

#endif
