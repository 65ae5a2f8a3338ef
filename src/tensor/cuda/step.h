/* SPDX-License-Identifier: MIT */
/* What a decode step's products share, dense ones (step.cu) and affine ones (step_int.cu): how outputs are dealt to warps that
 * stay, the norm's factor, and what becomes of a sum. Args has parts, n_parts, groups, what, act and eps; a part has y, bias,
 * bias_type, first (its first group of outputs) and rows(). */
#ifndef VLM_CUDA_STEP_H
#define VLM_CUDA_STEP_H

#include "tensor/cuda/gemv.h"

enum { WARPS = 8, THREADS = 32 * WARPS, BLOCKS = 2 /* of a multiprocessor */ };

/* A warp's group of outputs: rows of one part; GATE: half of them are of parts[0], the others the same ones of parts[1]. */
template <int OUTS> struct step_group {
    int part, row;

    template <class Args> __device__ void deal(const Args &a, int group, bool gate) {
        part = 0;
        while (!gate && part + 1 < a.n_parts && group >= a.parts[part + 1].first) part++;
        row = (group - a.parts[part].first) * (gate ? OUTS / 2 : OUTS);
    }
    __device__ int part_of(int o, bool gate) const {
        return gate && o >= OUTS / 2 ? 1 : part;
    }
    /* Output o's row; one that is there where it is not. */
    __device__ int row_of(int o, bool gate, int64_t rows) const {
        const int at = row + (gate ? o % (OUTS / 2 ? OUTS / 2 : 1) : o);
        return at < rows ? at : row;
    }
};

/* Of x's squares, a thread's share each; 1 without a norm. It ends with a barrier of the block. */
__device__ static inline float step_factor(float squares, int in, float eps) {
    __shared__ float shared[WARPS];
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = squares;
    __syncthreads();
    squares = 0;
    for (int i = 0; i < WARPS; i++) squares += shared[i];
    return eps >= 0 ? rsqrtf(squares / (float)in + eps) : 1;
}

template <class Args> __device__ static inline void step_store(const Args &a, int part, int row, float v, float up) {
    const auto &m = a.parts[part], &u = a.parts[1];
    if (m.bias) v += vcuda_load(m.bias, m.bias_type, row);
    if (a.what == VCUDA_STEP_GATE) {
        if (u.bias) up += vcuda_load(u.bias, u.bias_type, row);
        v = vcuda_activate(v, a.act) * up;
    }
    if (a.what == VCUDA_STEP_ADD)
        atomicAdd(&m.y[row], v); /* one thread's: nothing waits for what was there */
    else
        m.y[row] = v;
}

/* A warp's sums of a group. */
template <int OUTS, class Args>
__device__ static inline void step_finish(const Args &a, const step_group<OUTS> &g, const float (&sum)[OUTS], float factor, bool gate) {
    const int lane = threadIdx.x % 32;
    float mine = 0, other = 0;
#pragma unroll
    for (int o = 0; o < OUTS; o++) {
        const float v = warp_sum(sum[o]) * factor;
        if (lane == o) mine = v;
        if (gate && lane + OUTS / 2 == o) other = v;
    }
    if (lane < (gate ? OUTS / 2 : OUTS) && g.row + lane < a.parts[g.part].rows()) step_store(a, g.part, g.row + lane, mine, other);
}

/* Deals groups of outs outputs; as many blocks as make all warps take equally many turns. */
template <class Args> static dim3 step_blocks(const vcuda_stream *s, Args *a, int outs) {
    const bool gate = a->what == VCUDA_STEP_GATE;
    const int per = gate ? outs / 2 : outs;
    for (int i = 0; i < (gate ? 1 : a->n_parts); i++) {
        a->parts[i].first = a->groups;
        a->groups += (int32_t)((a->parts[i].rows() + per - 1) / per);
    }
    const int64_t most = (int64_t)s->b->multiprocessors * BLOCKS * WARPS, turns = (a->groups + most - 1) / most;
    return dim3(vcuda_blocks(a->groups, turns * WARPS));
}

/* Whether there are enough outputs for two a warp. */
template <class Args> static bool step_pairs(const vcuda_stream *s, const Args *a) {
    int64_t outs = 0;
    for (int i = 0; i < a->n_parts; i++) outs += a->parts[i].rows();
    return outs > (int64_t)s->b->multiprocessors * BLOCKS * WARPS * 2 || a->what == VCUDA_STEP_GATE;
}

#endif
