/* SPDX-License-Identifier: MIT */
/* Attention of few queries over many keys: the decode step. The keys are split into pieces of SPLIT; a block takes one
 * piece for up to GROUP query heads that share its keys, and a second kernel puts the pieces together in their order.
 * The grid is made for a power of two of keys, so that a captured step serves until the state has doubled. */
#include "tensor/cuda/attention.h"

enum { THREADS = 128, COMBINE_THREADS = 128, MAX_SPLITS = 8192, SPLIT = 64, GROUP = 8, LANES = 8 /* that share a key */ };

template <class T> __device__ static void load8(float (&v)[8], const T *p);
template <> __device__ void load8(float (&v)[8], const __nv_bfloat16 *p) {
    uint4 u = *(const uint4 *)p;
    const uint32_t word[4] = { u.x, u.y, u.z, u.w };
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000u);
    }
}
template <> __device__ void load8(float (&v)[8], const float *p) {
    float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

/* Where a part lies: maximum, sum, then dim weighted values. */
__device__ static float *part_of(const vcuda_attention_args &a, int64_t row, int64_t head, int64_t split) {
    return a.parts + ((row * a.heads + head) * a.splits + split) * (a.dim + 2);
}

/* scores[g][key] of the piece */
template <class T>
__device__ static void scores_of(const vcuda_attention_args &a, const vcuda_segment *s, const float *q, float *scores, int64_t kv_head,
                                 int64_t key0, int n, int heads) {
    int lane = threadIdx.x % LANES;
#pragma unroll 4
    for (int key = threadIdx.x / LANES; key < (n + THREADS / LANES - 1) / (THREADS / LANES) * (THREADS / LANES); key += THREADS / LANES) {
        float sum[GROUP] = {};
        const T *k = (const T *)s->k + (key0 + (key < n ? key : 0)) * s->k_row + kv_head * s->k_head;
        for (int64_t d = lane * 8; d < a.dim; d += LANES * 8) {
            float v[8];
            load8(v, k + d);
#pragma unroll
            for (int g = 0; g < GROUP; g++)
                if (g < heads)
#pragma unroll
                    for (int i = 0; i < 8; i++) sum[g] = fmaf(v[i], q[g * a.dim + d + i], sum[g]);
        }
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            float v = sum[g];
            for (int d = LANES / 2; d; d /= 2) v += __shfl_xor_sync(~0u, v, d);
            if (lane == 0 && key < n && g < heads) scores[g * SPLIT + key] = vcuda_scored(a, v);
        }
    }
}

/* A warp turns the scores of a head into weights; thread 0 of it stores maximum and sum. */
__device__ static void softmax(float *scores, float *part, int lo, int hi, int n) {
    int lane = threadIdx.x % 32;
    float m = -INFINITY, l = 0;
    for (int i = lane; i < n; i += 32)
        if (i >= lo && i < hi) m = fmaxf(m, scores[i]);
    for (int d = 16; d; d /= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, d));
    for (int i = lane; i < n; i += 32) {
        float p = i >= lo && i < hi ? expf(scores[i] - m) : 0;
        scores[i] = p;
        l += p;
    }
    for (int d = 16; d; d /= 2) l += __shfl_xor_sync(~0u, l, d);
    if (lane == 0) part[0] = m, part[1] = l;
}

template <class T> __global__ __launch_bounds__(THREADS) static void pieces(const __grid_constant__ vcuda_attention_args a) {
    extern __shared__ float shared[];
    int64_t row = blockIdx.z, split = blockIdx.x, group = a.heads / a.kv_heads, chunks = (group + GROUP - 1) / GROUP;
    int64_t kv_head = blockIdx.y / chunks, head0 = kv_head * group + blockIdx.y % chunks * GROUP;
    int heads = (int)(group - blockIdx.y % chunks * GROUP < GROUP ? group - blockIdx.y % chunks * GROUP : GROUP);
    const vcuda_segment *s = &a.segments[a.segment_of[row]];
    int64_t lo, hi, key0 = split * SPLIT;
    vcuda_visible(a, s, row - s->start, &lo, &hi);
    if (key0 >= hi || key0 + SPLIT <= lo) {
        for (int g = threadIdx.x; g < heads; g += THREADS) part_of(a, row, head0 + g, split)[1] = 0;
        return;
    }
    int n = (int)(hi - key0 < SPLIT ? hi - key0 : SPLIT), first = lo > key0 ? (int)(lo - key0) : 0;
    float *q = shared, *scores = q + GROUP * a.dim, *sums = scores + GROUP * SPLIT;
    for (int64_t i = threadIdx.x; i < heads * a.dim; i += THREADS) q[i] = a.q[row * a.q_row + (head0 + i / a.dim) * a.q_head + i % a.dim];
    __syncthreads();
    scores_of<T>(a, s, q, scores, kv_head, key0, n, heads);
    __syncthreads();
    for (int g = threadIdx.x / 32; g < heads; g += THREADS / 32) softmax(scores + g * SPLIT, part_of(a, row, head0 + g, split), first, n, n);
    __syncthreads();
    /* weighted values: a thread has 8 elements of every key_lanes-th key */
    int vectors = (int)(a.dim / 8), key_lanes = THREADS / vectors, lane = threadIdx.x / vectors, d = threadIdx.x % vectors * 8;
    float sum[GROUP][8] = {};
    if (lane < key_lanes)
        for (int key = first + lane; key < n; key += key_lanes) {
            float v[8];
            load8(v, (const T *)s->v + (key0 + key) * s->v_row + kv_head * s->v_head + d);
#pragma unroll
            for (int g = 0; g < GROUP; g++)
                if (g < heads)
#pragma unroll
                    for (int i = 0; i < 8; i++) sum[g][i] = fmaf(scores[g * SPLIT + key], v[i], sum[g][i]);
        }
    for (int turn = 0; turn < key_lanes; turn++) {
        if (lane == turn)
#pragma unroll
            for (int g = 0; g < GROUP; g++)
                if (g < heads)
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        float *to = &sums[g * a.dim + d + i];
                        *to = (turn ? *to : 0) + sum[g][i];
                    }
        __syncthreads();
    }
    for (int64_t i = threadIdx.x; i < heads * a.dim; i += THREADS) part_of(a, row, head0 + i / a.dim, split)[2 + i % a.dim] = sums[i];
}

/* What every piece weighs, then the sum of the pieces in their order. */
__global__ __launch_bounds__(COMBINE_THREADS) static void combine(const __grid_constant__ vcuda_attention_args a) {
    extern __shared__ float factor[]; /* [splits], and room for reads by fours */
    __shared__ float shared[COMBINE_THREADS / 32];
    int64_t row = blockIdx.x, head = blockIdx.y;
    float m = -INFINITY;
    for (int64_t i = threadIdx.x; i < a.splits; i += COMBINE_THREADS) {
        const float *part = part_of(a, row, head, i);
        if (part[1] > 0) m = fmaxf(m, part[0]);
    }
    for (int d = 16; d; d /= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, d));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = m;
    __syncthreads();
    for (float v : shared) m = fmaxf(m, v);
    for (int64_t i = threadIdx.x; i < a.splits; i += COMBINE_THREADS) {
        const float *part = part_of(a, row, head, i);
        factor[i] = part[1] > 0 ? expf(part[0] - m) : 0;
    }
    __syncthreads();
    float l = 0;
    for (int64_t i = 0; i < a.splits; i++)
        if (factor[i] > 0) l += part_of(a, row, head, i)[1] * factor[i];
    for (int64_t d = threadIdx.x; d < a.dim; d += COMBINE_THREADS) {
        float sum = 0;
#pragma unroll 4
        for (int64_t i = 0; i < a.splits; i++)
            if (factor[i] > 0) sum += part_of(a, row, head, i)[2 + d] * factor[i];
        a.y[row * a.y_row + head * a.y_head + d] = l > 0 ? sum / l : 0;
    }
}

static size_t shared_bytes(const vcuda_attention_args *a) {
    return (size_t)(2 * GROUP * a->dim + GROUP * SPLIT) * sizeof(float);
}

template <class T> static void run_few(vcuda_stream *s, const vcuda_attention_args *a) {
    int64_t group = a->heads / a->kv_heads;
    dim3 grid((unsigned)a->splits, (unsigned)(a->kv_heads * ((group + GROUP - 1) / GROUP)), (unsigned)a->rows);
    pieces<T><<<grid, THREADS, shared_bytes(a), s->stream>>>(*a);
    combine<<<dim3((unsigned)a->rows, (unsigned)a->heads), COMBINE_THREADS, (size_t)(a->splits + 4) * sizeof(float), s->stream>>>(*a);
    vcuda_launched(s);
}

bool vcuda_attention_few(vlm_frame *f, vcuda_attention_args a, int64_t most_keys) {
    if (a.dim % 8 != 0 || a.dim > 256 || a.rows > 65535 || a.state_type == VLM_DTYPE_F16) return false;
    int64_t keys = SPLIT;
    while (keys < most_keys) keys *= 2;
    a.splits = keys / SPLIT;
    if (a.splits > MAX_SPLITS) return false;
    a.parts = (float *)vcuda_temporary(f, (size_t)(a.rows * a.heads * a.splits * (a.dim + 2)) * sizeof(float));
    if (!a.parts) return true; /* the frame failed */
    if (a.state_type == VLM_DTYPE_BF16)
        vcuda_submit(f, run_few<__nv_bfloat16>, a);
    else
        vcuda_submit(f, run_few<float>, a);
    return true;
}
