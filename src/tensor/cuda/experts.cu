/* SPDX-License-Identifier: MIT */
/* Mixtures of experts: the choice of experts, and the product of every row with the matrices of its own. A warp makes an
 * output; where matrices lie input by input, a thread does. Correct for every storage; only dense rows are read 16 bytes at
 * a time. */
#include "tensor/cuda/gemv.h"
#include "tensor/cuda/values.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

/* ---- routes ---- */
struct route_args {
    const float *logits; /* [rows, n] */
    int32_t *experts, *places;
    float *weights; /* [rows, k] */
    int64_t rows, n, k;
};

/* The largest value of a block and where it stands first, for all threads; NaN is lowest; at below 0: a thread has none. */
__device__ static int block_best(float v, int at, float *best) {
    __shared__ float values[WARPS];
    __shared__ int places[WARPS];
    auto better = [](float a, int i, float b, int k) { return i >= 0 && (k < 0 || a > b || (b != b && a == a) || ((a == b || (a != a && b != b)) && i < k)); };
    for (int d = 16; d; d /= 2) {
        const float other = __shfl_xor_sync(~0u, v, d);
        const int place = __shfl_xor_sync(~0u, at, d);
        if (better(other, place, v, at)) v = other, at = place;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) values[threadIdx.x / 32] = v, places[threadIdx.x / 32] = at;
    __syncthreads();
    v = values[0], at = places[0];
    for (int i = 1; i < WARPS; i++)
        if (better(values[i], places[i], v, at)) v = values[i], at = places[i];
    *best = v;
    return at;
}

__global__ static void route(const __grid_constant__ route_args a) {
    extern __shared__ float p[];
    __shared__ float sums[WARPS];
    const int n = (int)a.n;
    const float *logits = a.logits + blockIdx.x * a.n;
    float most = 0, sum = 0, mine = -INFINITY;
    int at = -1;
    for (int i = threadIdx.x; i < n; i += THREADS) {
        p[i] = logits[i];
        if (at < 0 || p[i] > mine) mine = p[i], at = i;
    }
    block_best(mine, at, &most);
    for (int i = threadIdx.x; i < n; i += THREADS) sum += p[i] = expf(p[i] - most);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < WARPS; i++) sum += sums[i];
    for (int i = threadIdx.x; i < n; i += THREADS) p[i] /= sum;
    const float chosen = -1;
    float all = 0, *weights = a.weights + blockIdx.x * a.k;
    for (int64_t j = 0; j < a.k; j++) {
        mine = chosen, at = -1;
        for (int i = threadIdx.x; i < n; i += THREADS) /* of NaN, of which there are none or nothing else, the first ones */
            if (p[i] != chosen && (at < 0 || p[i] > mine)) mine = p[i], at = i;
        float weight;
        const int best = block_best(mine, at, &weight);
        all += weight;
        if (best % THREADS == (int)threadIdx.x) p[best] = chosen;
        if (threadIdx.x != 0) continue;
        a.experts[blockIdx.x * a.k + j] = best;
        a.places[blockIdx.x * a.k + j] = (int32_t)(blockIdx.x * a.k + j);
        weights[j] = weight;
    }
    if (threadIdx.x == 0)
        for (int64_t j = 0; j < a.k; j++) weights[j] /= all;
}

static void run_route(vcuda_stream *s, const route_args *a) {
    route<<<(unsigned)a->rows, THREADS, (size_t)a->n * sizeof(float), s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_route(vlm_frame *f, const vlm_routes *y, vlm_tensor logits) {
    route_args a = vcuda_args<route_args>();
    a.logits = (const float *)logits.data;
    a.experts = (int32_t *)y->experts.data;
    a.weights = (float *)y->weights.data;
    a.places = (int32_t *)y->places.data;
    a.rows = logits.shape[0];
    a.n = logits.shape[1];
    a.k = y->experts.shape[1];
    vcuda_submit(f, run_route, a);
}

/* ---- products ---- */
struct experts_args {
    vcuda_rows y, x;
    vcuda_matrix w;
    const int32_t *experts;
    int64_t out, each; /* outputs of an expert; places that a row of x serves */
    int32_t across, vectors; /* vectors: dense rows begin at 16 bytes and are whole ones */
};

template <class T> __device__ static float dense_dot(const experts_args &a, const float *x, int64_t row) {
    const int N = 16 / sizeof(T), lane = threadIdx.x % 32;
    const T *w = (const T *)a.w.data + row * a.w.row;
    float sum = 0, v[N];
    for (int64_t k = lane * N; k < a.w.in; k += 32 * N) {
        widen(v, *(const uint4 *)(w + k), T());
#pragma unroll
        for (int i = 0; i < N; i++) sum = fmaf(v[i], x[k + i], sum);
    }
    return sum;
}

__global__ static void by_rows(const __grid_constant__ experts_args a) {
    const int64_t place = blockIdx.x, out = (int64_t)blockIdx.y * WARPS + threadIdx.x / 32;
    if (out >= a.out) return;
    const float *x = (const float *)a.x.data + place / a.each * a.x.stride;
    const int64_t row = a.experts[place] * a.out + out;
    float sum = 0;
    if (!a.vectors)
        for (int64_t k = threadIdx.x % 32; k < a.w.in; k += 32) sum = fmaf(value_of(a.w, row, k), x[k], sum);
    else if (a.w.type == VLM_DTYPE_BF16)
        sum = dense_dot<__nv_bfloat16>(a, x, row);
    else if (a.w.type == VLM_DTYPE_F16)
        sum = dense_dot<__half>(a, x, row);
    else
        sum = dense_dot<float>(a, x, row);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) ((float *)a.y.data)[place * a.y.stride + out] = sum;
}

__global__ static void by_columns(const __grid_constant__ experts_args a) {
    const int64_t place = blockIdx.x, out = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    if (out >= a.out) return;
    const float *x = (const float *)a.x.data + place / a.each * a.x.stride;
    const int64_t first = a.experts[place] * a.w.in;
    float sum = 0;
    for (int64_t k = 0; k < a.w.in; k++) sum = fmaf(vcuda_load(a.w.data, a.w.type, (first + k) * a.w.row + out), x[k], sum);
    ((float *)a.y.data)[place * a.y.stride + out] = sum;
}

static void run_experts(vcuda_stream *s, const experts_args *a) {
    const unsigned rows = (unsigned)a->y.rows;
    if (a->across)
        by_columns<<<dim3(rows, vcuda_blocks(a->out, THREADS)), THREADS, 0, s->stream>>>(*a);
    else
        by_rows<<<dim3(rows, vcuda_blocks(a->out, WARPS)), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_experts(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *stack, int64_t out, vlm_tensor experts) {
    experts_args a = vcuda_args<experts_args>();
    a.y = vcuda_rows_of(y);
    a.x = vcuda_rows_of(x);
    a.w = vcuda_matrix_of(stack);
    a.experts = (const int32_t *)experts.data;
    a.out = out;
    a.each = y.shape[0] / x.shape[0];
    a.across = stack->across;
    const int64_t size = a.w.type == VLM_DTYPE_F32 ? 4 : 2;
    a.vectors = a.w.storage == VLM_STORAGE_DENSE && (uintptr_t)a.w.data % 16 == 0 && a.w.row * size % 16 == 0 && a.w.in * size % 16 == 0;
    vcuda_submit(f, run_experts, a);
}
