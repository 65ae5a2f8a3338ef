/* SPDX-License-Identifier: MIT */
/* One row of x against dense matrices in one launch, with the norm before them and what follows them: a decode step's
 * products, bound by reading the weights. A warp computes OUTS outputs. The norm is a factor of the whole row, so each
 * warp sums x² beside its products and multiplies at the end: no block waits for another. Weights are asked for before
 * the launch before has ended. */
#include "tensor/cuda/cuda.h"

enum { WARPS = 4, THREADS = 32 * WARPS, LOADS = 8 /* of a lane on their way, and as many behind them */ };

struct part {
    const void *w, *bias;
    float *y;
    int64_t out, stride, first; /* first: its first block */
    int64_t bias_type;
};
struct step_args {
    const float *x;
    const void *norm;
    int64_t in;
    part parts[VCUDA_STEP_PARTS];
    int32_t n_parts, what, act, norm_type;
    float eps, offset;
};

__device__ static void widen(float (&v)[8], uint4 u, __nv_bfloat16) {
    const uint32_t word[4] = { u.x, u.y, u.z, u.w };
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000u);
    }
}
__device__ static void widen(float (&v)[8], uint4 u, __half) {
    const uint32_t word[4] = { u.x, u.y, u.z, u.w };
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 pair = __half22float2(*(const __half2 *)&word[i]);
        v[2 * i] = pair.x;
        v[2 * i + 1] = pair.y;
    }
}
__device__ static void widen(float (&v)[4], uint4 u, float) {
    v[0] = __uint_as_float(u.x), v[1] = __uint_as_float(u.y), v[2] = __uint_as_float(u.z), v[3] = __uint_as_float(u.w);
}

/* x, times the norm's weights; adds its squares. Behind the end it is zero. */
template <int N> __device__ static void load_x(float (&x)[N], float &squares, const step_args &a, int k, bool norm) {
    const bool there = k < (int)a.in;
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        float4 v = there ? *(const float4 *)(a.x + k + i) : float4();
        x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
    }
    if (!norm) return;
#pragma unroll
    for (int i = 0; i < N; i++) squares = fmaf(x[i], x[i], squares);
    if (a.norm_type == VLM_DTYPE_BF16 && N == 8) {
        float g[8];
        widen(g, there ? *(const uint4 *)((const __nv_bfloat16 *)a.norm + k) : uint4(), __nv_bfloat16());
#pragma unroll
        for (int i = 0; i < N; i++) x[i] *= a.offset + g[i];
    } else if (there) {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] *= a.offset + (a.norm ? vcuda_load(a.norm, a.norm_type, k + i) : 1);
    }
}

__device__ static float warp_sum(float v) {
    for (int d = 16; d; d /= 2) v += __shfl_xor_sync(~0u, v, d);
    return v;
}

__device__ static void finish(const step_args &a, const part &m, int64_t row, float v, float up) {
    if (m.bias) v += vcuda_load(m.bias, (int)m.bias_type, row);
    if (a.what == VCUDA_STEP_GATE) {
        const part &u = a.parts[1];
        if (u.bias) up += vcuda_load(u.bias, (int)u.bias_type, row);
        v = vcuda_activate(v, a.act) * up;
    }
    m.y[row] = a.what == VCUDA_STEP_ADD ? m.y[row] + v : v;
}

/* GATE: half of a warp's outputs are of parts[0], the others the same ones of parts[1]. */
template <class T, int OUTS, bool NORM> __global__ __launch_bounds__(THREADS) static void step(const __grid_constant__ step_args a) {
    const int N = 16 / sizeof(T), LANES = 32 * N, DEPTH = LOADS / OUTS, ROUND = DEPTH * LANES;
    vcuda_begin_next();
    const bool gate = OUTS > 1 && a.what == VCUDA_STEP_GATE;
    const int lane = threadIdx.x % 32, outs = gate ? OUTS / 2 : OUTS;
    int p = 0;
    while (!gate && p + 1 < a.n_parts && blockIdx.x >= a.parts[p + 1].first) p++;
    const part &m = a.parts[p];
    const int64_t row0 = ((blockIdx.x - m.first) * WARPS + threadIdx.x / 32) * outs;
    if (row0 >= m.out) return;
    const T *w[OUTS];
#pragma unroll
    for (int o = 0; o < OUTS; o++) {
        int64_t row = row0 + (gate ? o % (OUTS / 2 ? OUTS / 2 : 1) : o);
        const part &from = gate && o >= OUTS / 2 ? a.parts[1] : m;
        w[o] = (const T *)from.w + (row < m.out ? row : row0) * from.stride;
    }
    const int in = (int)a.in, k0 = lane * N;
    uint4 raw[DEPTH][OUTS], next[DEPTH][OUTS];
    auto load = [&](uint4(&to)[DEPTH][OUTS], int k) {
#pragma unroll
        for (int d = 0; d < DEPTH; d++)
#pragma unroll
            for (int o = 0; o < OUTS; o++) to[d][o] = k + d * LANES < in ? __ldcs((const uint4 *)(w[o] + k + d * LANES)) : uint4();
    };
    load(raw, k0);
    vcuda_wait_before();
    float sum[OUTS] = {}, squares = 0;
    for (int k = k0; k < in; k += ROUND) {
        if (k - k0 + ROUND < in) load(next, k + ROUND);
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            float x[N];
            load_x(x, squares, a, k + d * LANES, NORM);
#pragma unroll
            for (int o = 0; o < OUTS; o++) {
                float v[N];
                widen(v, raw[d][o], T());
#pragma unroll
                for (int i = 0; i < N; i++) sum[o] = fmaf(v[i], x[i], sum[o]);
            }
        }
#pragma unroll
        for (int d = 0; d < DEPTH; d++)
#pragma unroll
            for (int o = 0; o < OUTS; o++) raw[d][o] = next[d][o];
    }
    float factor = NORM ? rsqrtf(warp_sum(squares) / (float)a.in + a.eps) : 1, mine = 0, other = 0;
#pragma unroll
    for (int o = 0; o < OUTS; o++) {
        float v = warp_sum(sum[o]) * factor;
        if (lane == o) mine = v;
        if (gate && lane + OUTS / 2 == o) other = v;
    }
    if (lane < outs && row0 + lane < m.out) finish(a, m, row0 + lane, mine, other);
}

template <class T, int OUTS> static void launch(vcuda_stream *s, const step_args *given) {
    step_args a = *given;
    unsigned blocks = 0;
    bool gate = a.what == VCUDA_STEP_GATE;
    for (int i = 0; i < (gate ? 1 : a.n_parts); i++) {
        a.parts[i].first = blocks;
        blocks += vcuda_blocks(a.parts[i].out, WARPS * (gate ? OUTS / 2 : OUTS));
    }
    if (a.eps >= 0)
        vcuda_launch_after(s, step<T, OUTS, true>, dim3(blocks), THREADS, 0, a);
    else
        vcuda_launch_after(s, step<T, OUTS, false>, dim3(blocks), THREADS, 0, a);
}

template <class T> static void run_step(vcuda_stream *s, const step_args *a) {
    int64_t outs = 0, warps = (int64_t)s->b->multiprocessors * 32;
    for (int i = 0; i < a->n_parts; i++) outs += a->parts[i].out;
    if (outs > 16 * warps)
        launch<T, 4>(s, a);
    else if (outs > 2 * warps || a->what == VCUDA_STEP_GATE)
        launch<T, 2>(s, a);
    else
        launch<T, 1>(s, a);
}

static bool aligned(const void *p, int64_t row_bytes) {
    return (uintptr_t)p % 16 == 0 && row_bytes % 16 == 0;
}

bool vcuda_step(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *linears, int n, int what,
                int act) {
    const vlm_matrix *first = &linears[0]->weight;
    if (f->mode != VTENSOR_FAST || x.rows != 1 || n > VCUDA_STEP_PARTS || !aligned(x.data, 16)) return false;
    int size = first->data.dtype == VLM_DTYPE_F32 ? 4 : 2;
    if (x.dim % (16 / size) != 0) return false;
    step_args a = vcuda_args<step_args>();
    for (int i = 0; i < n; i++) {
        const vlm_matrix *m = &linears[i]->weight;
        if (m->storage != VLM_STORAGE_DENSE || m->data.dtype != first->data.dtype) return false;
        if (!aligned(m->data.data, m->data.stride[0] * size)) return false;
        part *to = &a.parts[i];
        to->w = m->data.data;
        to->stride = m->data.stride[0];
        to->out = m->out;
        to->bias = linears[i]->bias.rank ? linears[i]->bias.data : NULL;
        to->bias_type = linears[i]->bias.dtype;
        to->y = (float *)y[what == VCUDA_STEP_GATE ? 0 : i].data;
    }
    a.x = (const float *)x.data;
    a.in = x.dim;
    a.n_parts = n;
    a.what = what;
    a.act = act;
    a.eps = -1; /* no norm */
    if (norm) {
        if (norm->weight.rank && norm->weight.dtype == VLM_DTYPE_BF16 && !aligned(norm->weight.data, 16)) return false;
        a.norm = norm->weight.rank ? norm->weight.data : NULL;
        a.norm_type = norm->weight.rank ? norm->weight.dtype : VLM_DTYPE_F32;
        a.eps = norm->eps;
        a.offset = a.norm ? norm->offset : 0;
    }
    switch (first->data.dtype) {
    case VLM_DTYPE_BF16: vcuda_submit(f, run_step<__nv_bfloat16>, a); break;
    case VLM_DTYPE_F16: vcuda_submit(f, run_step<__half>, a); break;
    default: vcuda_submit(f, run_step<float>, a);
    }
    return true;
}
