/* SPDX-License-Identifier: MIT */
/* One row of x against affine weights of 4 or 8 bits in one launch, with the norm before them and what follows them: a
 * decode step's products. As in step.cu, blocks stay and take outputs in turns. Every block rounds x to 16 bits itself
 * (dots.h): with the group's scale s and bias b, and the run's scale of x, Σ (q s + b) x = s xs (256 Σ q hi + Σ q lo) + b Σ x.
 * The norm's factor is one of the whole row. */
#include "tensor/cuda/dots.h"
#include "tensor/cuda/step.h"

/* DEPTHS: runs of a lane on their way, of all its outputs */
enum { RUN = 32, DEPTHS = 4, MOST_STEP = 32 * DEPTHS };

struct part {
    float *y;
    vcuda_matrix w;
    const void *bias;
    int32_t bias_type, first; /* first: its first group of outputs */

    __host__ __device__ int64_t rows(void) const {
        return w.out;
    }
};
struct step_int_args {
    const float *x;
    const void *norm;
    part parts[VCUDA_STEP_PARTS];
    int32_t n_parts, what, act, groups;
    int32_t norm_type, runs;
    float eps, offset; /* eps below 0: no norm */
};

/* ---- x ---- */
/* Pieces of x lie so far apart that four lanes with a run's meet no bank twice; behind its end are zeros. */
__host__ __device__ static int padded(int runs) {
    return (runs + MOST_STEP - 1) / MOST_STEP * MOST_STEP;
}
__host__ __device__ static int piece_stride(int runs) {
    return padded(runs) + 2;
}
__host__ __device__ static size_t x_bytes(int runs) {
    return (size_t)piece_stride(runs) * (4 * sizeof(uint4) + sizeof(float2));
}

struct row_of_x {
    uint4 *piece;  /* [4][stride] */
    float2 *sums;  /* [runs]: scale, Σ x */
    int stride;
};

/* Eight values of x, and of the norm's weights. */
struct eight {
    float v[8], w[8];

    __device__ void load(const step_int_args &a, int i) {
        const float4 low = *(const float4 *)(a.x + i * 8), high = *(const float4 *)(a.x + i * 8 + 4);
        v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w, v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
        if (a.norm && a.norm_type == VLM_DTYPE_BF16) {
            widen(w, *(const uint4 *)((const __nv_bfloat16 *)a.norm + i * 8), __nv_bfloat16());
        } else if (a.norm) {
#pragma unroll
            for (int k = 0; k < 8; k++) w[k] = vcuda_load(a.norm, a.norm_type, i * 8 + k);
        }
    }
};

/* Four lanes have a run, of eight values each; i: the lane's. Returns the sum of the squares before the norm's weights. */
template <int BITS> __device__ static float put(const step_int_args &a, const row_of_x &to, eight &x, int i) {
    float squares = 0, most = 0, sum = 0;
#pragma unroll
    for (int k = 0; k < 8; k++) {
        squares = fmaf(x.v[k], x.v[k], squares);
        if (a.norm) x.v[k] *= a.offset + x.w[k];
        most = larger(most, x.v[k]), sum += x.v[k];
    }
    const unsigned mask = 15u << (threadIdx.x % 32 / 4 * 4);
    for (int d = 1; d <= 2; d *= 2) {
        most = larger(most, __shfl_xor_sync(mask, most, d));
        sum += __shfl_xor_sync(mask, sum, d);
    }
    const float scale = most / 32512, inverse = 1 / scale;
    to.piece[i % 4 * to.stride + i / 4] = piece_of<BITS>(x.v, scale > 0 && scale <= 3.4e38f && inverse <= 3.4e38f ? inverse : 0);
    if (i % 4 == 0) to.sums[i / 4] = make_float2(scale, sum);
    return squares;
}

/* x to shared memory; returns the norm's factor. */
template <int BITS> __device__ static float stage_x(const step_int_args &a, const row_of_x &to) {
    float squares = 0;
    for (int i = threadIdx.x; i < 4 * a.runs; i += THREADS) {
        eight x;
        x.load(a, i);
        squares += put<BITS>(a, to, x, i);
    }
    for (int i = a.runs + threadIdx.x; i < padded(a.runs); i += THREADS) {
        to.sums[i] = float2();
        for (int k = 0; k < 4; k++) to.piece[k * to.stride + i] = uint4();
    }
    return step_factor(squares, a.runs * RUN, a.eps);
}

/* ---- the product ---- */
/* What a lane holds of OUTS rows of weights: a run of each. */
template <int BITS, int OUTS, class T> struct runs_of {
    uint4 q[OUTS][BITS / 4];
    T scale[OUTS], bias[OUTS];
};

template <int OUTS, class T> struct group_of : step_group<OUTS> {
    const uint32_t *data[OUTS];
    const T *scales[OUTS], *biases[OUTS];

    __device__ void find(const step_int_args &a, int group, bool gate) {
        this->deal(a, group, gate);
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            const vcuda_matrix &w = a.parts[this->part_of(o, gate)].w;
            const int64_t at = this->row_of(o, gate, w.out);
            data[o] = (const uint32_t *)w.data + at * w.row;
            scales[o] = (const T *)w.scales + at * w.scale_row;
            biases[o] = (const T *)w.biases + at * w.bias_row;
        }
    }
};

template <int BITS, int OUTS, class T>
__global__ __launch_bounds__(THREADS, BLOCKS) static void step(const __grid_constant__ step_int_args a) {
    const int DEPTH = DEPTHS / OUTS, STEP = 32 * DEPTH;
    extern __shared__ __align__(16) uint4 shared_x[];
    vcuda_begin_next();
    const bool gate = OUTS > 1 && a.what == VCUDA_STEP_GATE;
    const int lane = threadIdx.x % 32, runs = (int)a.runs, end = (runs + STEP - 1) / STEP * STEP;
    const int shift = a.parts[0].w.group == 32 ? 0 : a.parts[0].w.group == 64 ? 1 : 2, warps = gridDim.x * WARPS;
    const row_of_x x = { shared_x, (float2 *)(shared_x + 4 * piece_stride(runs)), piece_stride(runs) };
    int group = (threadIdx.x / 32) * gridDim.x + blockIdx.x;
    group_of<OUTS, T> now, then;
    runs_of<BITS, OUTS, T> raw[DEPTH], next[DEPTH];
    auto load = [&](runs_of<BITS, OUTS, T>(&to)[DEPTH], const group_of<OUTS, T> &g, int run) {
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            const int at = run + d * 32;
            const bool there = at < runs;
#pragma unroll
            for (int o = 0; o < OUTS; o++) {
#pragma unroll
                for (int i = 0; i < BITS / 4; i++) to[d].q[o][i] = there ? __ldcs((const uint4 *)(g.data[o] + at * BITS) + i) : uint4();
                to[d].scale[o] = there ? g.scales[o][at >> shift] : T(0.0f);
                to[d].bias[o] = there ? g.biases[o][at >> shift] : T(0.0f);
            }
        }
    };
    if (group < a.groups) {
        now.find(a, group, gate);
        load(raw, now, lane);
    }
    vcuda_wait_before();
    const float factor = stage_x<BITS>(a, x);
    while (group < a.groups) {
        float sum[OUTS] = {};
        if (group + warps < a.groups) then.find(a, group + warps, gate);
        for (int first = lane; first < end; first += STEP) {
            if (first + STEP < end)
                load(next, now, first + STEP);
            else if (group + warps < a.groups)
                load(next, then, lane);
#pragma unroll
            for (int d = 0; d < DEPTH; d++) {
                const int run = first + d * 32;
                if (run - lane >= runs) break;
                const float2 xs = x.sums[run];
                int hi[OUTS] = {}, lo[OUTS] = {};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const uint4 xv = x.piece[i * x.stride + run];
#pragma unroll
                    for (int o = 0; o < OUTS; o++) add_piece<BITS>(hi[o], lo[o], raw[d].q[o], i, xv);
                }
#pragma unroll
                for (int o = 0; o < OUTS; o++)
                    sum[o] = fmaf((float)raw[d].scale[o] * xs.x, (float)(hi[o] * 256 + lo[o]), fmaf((float)raw[d].bias[o], xs.y, sum[o]));
            }
#pragma unroll
            for (int d = 0; d < DEPTH; d++) raw[d] = next[d];
        }
        step_finish<OUTS>(a, now, sum, factor, gate);
        now = then;
        group += warps;
    }
}

template <int BITS, int OUTS> static void launch(vcuda_stream *s, const step_int_args *given) {
    step_int_args a = *given;
    const dim3 blocks = step_blocks(s, &a, OUTS);
    const size_t bytes = x_bytes(a.runs);
    auto go = [&](void (*kernel)(step_int_args)) {
        vcuda_check(s, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
        vcuda_launch_after(s, kernel, blocks, THREADS, bytes, a);
    };
    switch (a.parts[0].w.scale_type) {
    case VLM_DTYPE_BF16: go(step<BITS, OUTS, __nv_bfloat16>); break;
    case VLM_DTYPE_F16: go(step<BITS, OUTS, __half>); break;
    default: go(step<BITS, OUTS, float>);
    }
}

template <int BITS> static void run_step(vcuda_stream *s, const step_int_args *a) {
    if (step_pairs(s, a))
        launch<BITS, 2>(s, a);
    else
        launch<BITS, 1>(s, a);
}

bool vcuda_step_int(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *linears, int n, int what,
                    int act) {
    const vlm_matrix *first = &linears[0]->weight;
    if (f->mode != VTENSOR_FAST || x.rows != 1 || n > VCUDA_STEP_PARTS || x.dim % RUN != 0 || (uintptr_t)x.data % 16 != 0) return false;
    if (x.dim > INT32_MAX / 8 || x_bytes((int)(x.dim / RUN)) + VCUDA_OWN_SHARED > vcuda_of(f)->shared) return false;
    step_int_args a = vcuda_args<step_int_args>();
    for (int i = 0; i < n; i++) {
        const vlm_matrix *m = &linears[i]->weight;
        if (m->storage != VLM_STORAGE_AFFINE || m->bits != first->bits || (m->bits != 4 && m->bits != 8) || m->group != first->group) return false;
        if (m->scales.dtype != first->scales.dtype || m->biases.dtype != first->scales.dtype) return false;
        if ((uintptr_t)m->data.data % 16 != 0 || m->data.stride[0] % 4 != 0) return false;
        part *to = &a.parts[i];
        to->w = vcuda_matrix_of(m);
        to->bias = linears[i]->bias.rank ? linears[i]->bias.data : NULL;
        to->bias_type = linears[i]->bias.dtype;
        to->y = (float *)y[what == VCUDA_STEP_GATE ? 0 : i].data;
    }
    a.x = (const float *)x.data;
    a.runs = (int32_t)(x.dim / RUN);
    a.n_parts = n;
    a.what = what;
    a.act = act;
    a.eps = -1;
    if (norm) {
        if (norm->weight.rank && norm->weight.dtype == VLM_DTYPE_BF16 && (uintptr_t)norm->weight.data % 16 != 0) return false;
        a.norm = norm->weight.rank ? norm->weight.data : NULL;
        a.norm_type = norm->weight.dtype;
        a.offset = norm->offset;
        a.eps = norm->eps;
    }
    if (first->bits == 4)
        vcuda_submit(f, run_step<4>, a);
    else
        vcuda_submit(f, run_step<8>, a);
    return true;
}
