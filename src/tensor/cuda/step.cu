/* SPDX-License-Identifier: MIT */
/* One row of x against dense matrices in one launch, with the norm before them and what follows them: a decode step's
 * products, bound by reading the weights. Blocks stay and take outputs in turns: a warp computes OUTS outputs at a time
 * and asks for the next ones' weights before it has added these up, and for its first before the launch before has
 * ended. x, with the norm's weights in it, lies in shared memory; the norm's factor is one of the whole row. */
#include "tensor/cuda/step.h"

/* LOADS: of 16 bytes that a lane has on their way, and as many behind them. */
enum { LOADS = 8, ROUND = LOADS * 32 * 8 /* values of a row read at a time, at most */ };

struct part {
    const void *w, *bias;
    float *y;
    int64_t out, stride;
    int32_t bias_type, first; /* first: its first group of outputs */

    __host__ __device__ int64_t rows(void) const {
        return out;
    }
};
struct step_args {
    const float *x;
    const void *norm;
    int64_t in;
    part parts[VCUDA_STEP_PARTS];
    int32_t n_parts, what, act, norm_type, groups, pad;
    float eps, offset; /* eps below 0: no norm */
};

/* Where four values of x lie: of eight that a lane reads, the second four in a half of their own, so that the lanes'
 * reads meet no bank twice. */
template <int N> __device__ static int place(int i, int padded) {
    return N == 8 ? i / 8 * 4 + (i & 4 ? padded / 2 : 0) : i;
}

__device__ static float4 norm_at(const step_args &a, int i) {
    if (a.norm_type == VLM_DTYPE_BF16) {
        const uint2 g = *(const uint2 *)((const __nv_bfloat16 *)a.norm + i);
        return make_float4(__uint_as_float(g.x << 16), __uint_as_float(g.x & 0xFFFF0000u), __uint_as_float(g.y << 16),
                           __uint_as_float(g.y & 0xFFFF0000u));
    }
    return make_float4(vcuda_load(a.norm, a.norm_type, i), vcuda_load(a.norm, a.norm_type, i + 1), vcuda_load(a.norm, a.norm_type, i + 2),
                       vcuda_load(a.norm, a.norm_type, i + 3));
}

/* x to shared memory, times the norm's weights, zeros behind its end; returns the norm's factor. What a thread reads is on its
 * way BATCH times at once. */
template <int N> __device__ static float stage_x(const step_args &a, float *x, int padded) {
    const int BATCH = 4, in = (int)a.in;
    float squares = 0;
    for (int first = threadIdx.x * 4; first < padded; first += BATCH * THREADS * 4) {
        float4 v[BATCH], w[BATCH];
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            const int i = first + n * THREADS * 4;
            v[n] = i < in ? *(const float4 *)(a.x + i) : float4();
            w[n] = a.norm && i < in ? norm_at(a, i) : float4();
        }
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            const int i = first + n * THREADS * 4;
            squares += v[n].x * v[n].x + v[n].y * v[n].y + v[n].z * v[n].z + v[n].w * v[n].w;
            if (a.norm)
                v[n] = make_float4(v[n].x * (a.offset + w[n].x), v[n].y * (a.offset + w[n].y), v[n].z * (a.offset + w[n].z),
                                   v[n].w * (a.offset + w[n].w));
            if (i < padded) *(float4 *)(x + place<N>(i, padded)) = v[n];
        }
    }
    return step_factor(squares, in, a.eps);
}

template <class T, int OUTS> struct group_of : step_group<OUTS> {
    const T *w[OUTS];

    __device__ void find(const step_args &a, int group, bool gate) {
        this->deal(a, group, gate);
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            const struct part &from = a.parts[this->part_of(o, gate)];
            w[o] = (const T *)from.w + this->row_of(o, gate, from.out) * from.stride;
        }
    }
};

template <class T, int OUTS> __global__ __launch_bounds__(THREADS, BLOCKS) static void step(const __grid_constant__ step_args a) {
    const int N = 16 / sizeof(T), LANES = 32 * N, DEPTH = LOADS / OUTS, STEP = DEPTH * LANES;
    extern __shared__ __align__(16) float x[];
    vcuda_begin_next();
    const bool gate = OUTS > 1 && a.what == VCUDA_STEP_GATE;
    const int lane = threadIdx.x % 32, in = (int)a.in, k0 = lane * N, padded = (in + STEP - 1) / STEP * STEP;
    const int warps = gridDim.x * WARPS;
    int group = threadIdx.x / 32 * gridDim.x + blockIdx.x;
    group_of<T, OUTS> now, then;
    uint4 raw[DEPTH][OUTS], next[DEPTH][OUTS];
    auto load = [&](uint4(&to)[DEPTH][OUTS], const group_of<T, OUTS> &g, int k) {
#pragma unroll
        for (int d = 0; d < DEPTH; d++)
#pragma unroll
            for (int o = 0; o < OUTS; o++) to[d][o] = k + d * LANES < in ? __ldcs((const uint4 *)(g.w[o] + k + d * LANES)) : uint4();
    };
    if (group < a.groups) {
        now.find(a, group, gate);
        load(raw, now, k0);
    }
    vcuda_wait_before();
    const float factor = stage_x<N>(a, x, padded);
    while (group < a.groups) {
        float sum[OUTS] = {};
        if (group + warps < a.groups) then.find(a, group + warps, gate);
        for (int k = k0; k < padded; k += STEP) {
            if (k + STEP < padded)
                load(next, now, k + STEP);
            else if (group + warps < a.groups)
                load(next, then, k0);
#pragma unroll
            for (int d = 0; d < DEPTH; d++) {
                float v[N], xs[N];
#pragma unroll
                for (int i = 0; i < N; i += 4) *(float4 *)(xs + i) = *(const float4 *)(x + place<N>(k + d * LANES + i, padded));
#pragma unroll
                for (int o = 0; o < OUTS; o++) {
                    widen(v, raw[d][o], T());
#pragma unroll
                    for (int i = 0; i < N; i++) sum[o] = fmaf(v[i], xs[i], sum[o]);
                }
            }
#pragma unroll
            for (int d = 0; d < DEPTH; d++)
#pragma unroll
                for (int o = 0; o < OUTS; o++) raw[d][o] = next[d][o];
        }
        step_finish<OUTS>(a, now, sum, factor, gate);
        now = then;
        group += warps;
    }
}

template <class T, int OUTS> static void launch(vcuda_stream *s, const step_args *given) {
    step_args a = *given;
    const int round = LOADS / OUTS * 32 * 16 / (int)sizeof(T);
    const dim3 blocks = step_blocks(s, &a, OUTS);
    const size_t bytes = (size_t)((a.in + round - 1) / round * round) * sizeof(float);
    vcuda_check(s, cudaFuncSetAttribute(step<T, OUTS>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    vcuda_launch_after(s, step<T, OUTS>, blocks, THREADS, bytes, a);
}

template <class T> static void run_step(vcuda_stream *s, const step_args *a) {
    if (step_pairs(s, a))
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
    if (x.dim % (16 / size) != 0 || (size_t)(x.dim + ROUND) * sizeof(float) > vcuda_of(f)->shared - VCUDA_OWN_SHARED) return false;
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
        if (norm->weight.rank && norm->weight.dtype == VLM_DTYPE_BF16 && (uintptr_t)norm->weight.data % 8 != 0) return false;
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
