/* SPDX-License-Identifier: MIT */
/* Attention of one query over many keys, the decode step, in one launch: the heads that share keys are the rows of a
 * tensor-core tile. A block takes SPLIT keys, a warp KEYS of them, straight from memory into registers: the order in
 * which a product adds dimensions, and in which its columns stand, is free, so every lane reads 16 bytes at a time. The
 * block that has the newest key rotates and stores it first. The block that ends last puts the pieces together.
 * The grid is made for a power of two of keys, so that a captured step serves until the state has doubled. */
#include "tensor/cuda/attention.h"

enum { WARPS = 4, THREADS = 32 * WARPS, KEYS = 32, SPLIT = KEYS * WARPS, GROUP = 16, PAD = 8 };

/* A part's weighted values, dim of them, and its maximum and sum, which lie behind all values. */
__device__ static float *values_of(const vcuda_attention_args &a, int64_t row, int64_t head, int64_t split) {
    return a.parts + ((row * a.heads + head) * a.splits + split) * a.dim;
}
__device__ static float2 *top_of(const vcuda_attention_args &a, int64_t row, int64_t head, int64_t split) {
    return (float2 *)(a.parts + a.rows * a.heads * a.splits * a.dim) + (row * a.heads + head) * a.splits + split;
}

/* The key and value of this call go where they stay. */
__device__ static void store(const vcuda_attention_args &a, const vcuda_segment *s, int64_t row, int64_t kv_head) {
    int64_t at = s->past + row - s->start;
    const float *k = a.k + row * a.k_row + kv_head * a.k_head, *v = a.v + row * a.v_row + kv_head * a.v_head;
    for (int64_t d = threadIdx.x; d < a.dim; d += THREADS) {
        ((__nv_bfloat16 *)s->k)[at * s->k_row + kv_head * s->k_head + d] = __float2bfloat16_rn(vcuda_rotated(a, k, row, d));
        ((__nv_bfloat16 *)s->v)[at * s->v_row + kv_head * s->v_head + d] = __float2bfloat16_rn(v[d]);
    }
}

/* What a warp makes of its keys: row g of lane 4g + c, and row g + 8. */
template <int DIM> struct piece {
    float m[2], l[2], out[DIM / 8][4];
};

template <int DIM>
__device__ static void scores_of(float (&score)[KEYS / 8][4], const vcuda_attention_args &a, const __nv_bfloat16 *k, int64_t k_row,
                                 const __nv_bfloat16 *q, int key0, int last) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int d = 0; d < DIM; d += 32) {
        uint4 low = *(const uint4 *)(q + g * (DIM + PAD) + d + c * 8), high = *(const uint4 *)(q + (g + 8) * (DIM + PAD) + d + c * 8);
        const uint32_t first[4] = { low.x, high.x, low.y, high.y }, second[4] = { low.z, high.z, low.w, high.w };
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
            int key = min(key0 + j * 8 + g, last);
            uint4 w = *(const uint4 *)(k + key * k_row + d + c * 8);
            vcuda_multiply(score[j], first, w.x, w.y);
            vcuda_multiply(score[j], second, w.z, w.w);
        }
    }
}

__device__ static uint32_t halves(uint4 a, uint4 b, int n) { /* value n of each */
    const uint32_t x[4] = { a.x, a.y, a.z, a.w }, y[4] = { b.x, b.y, b.z, b.w };
    return __byte_perm(x[n / 2], y[n / 2], n % 2 ? 0x7632 : 0x5410);
}

template <int DIM>
__device__ static void weigh(piece<DIM> &p, const float (&score)[KEYS / 8][4], const __nv_bfloat16 *v, int64_t v_row, int key0, int last) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int t = 0; t < KEYS / 16; t++) {
        const float(&s0)[4] = score[2 * t], (&s1)[4] = score[2 * t + 1];
        const uint32_t weights[4] = { vcuda_pair(s0[0], s0[1]), vcuda_pair(s0[2], s0[3]), vcuda_pair(s1[0], s1[1]), vcuda_pair(s1[2], s1[3]) };
        const int key = key0 + t * 16 + 2 * c;
#pragma unroll
        for (int d = 0; d < DIM; d += 64) {
            const __nv_bfloat16 *at = v + d + g * 8;
            uint4 w[4];
#pragma unroll
            for (int i = 0; i < 4; i++) w[i] = *(const uint4 *)(at + min(key + i % 2 + i / 2 * 8, last) * v_row);
#pragma unroll
            for (int n = 0; n < 8; n++) vcuda_multiply(p.out[d / 8 + n], weights, halves(w[0], w[1], n), halves(w[2], w[3], n));
        }
    }
}

template <int DIM>
__device__ static void attend(piece<DIM> &p, const vcuda_attention_args &a, const vcuda_segment *s, const __nv_bfloat16 *q, int64_t kv_head,
                              int key0, int lo, int hi) {
    const int c = threadIdx.x % 4;
    float score[KEYS / 8][4] = {};
    scores_of<DIM>(score, a, (const __nv_bfloat16 *)s->k + kv_head * s->k_head, s->k_row, q, key0, hi - 1);
#pragma unroll
    for (int i = 0; i < 2; i++) p.m[i] = -INFINITY, p.l[i] = 0;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int key = key0 + j * 8 + c * 2 + i % 2;
            score[j][i] = key >= lo && key < hi ? vcuda_scored(a, score[j][i]) : -INFINITY;
            p.m[i / 2] = fmaxf(p.m[i / 2], score[j][i]);
        }
#pragma unroll
    for (int i = 0; i < 2; i++)
        for (int d = 1; d <= 2; d *= 2) p.m[i] = fmaxf(p.m[i], __shfl_xor_sync(~0u, p.m[i], d));
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            score[j][i] = score[j][i] == -INFINITY ? 0 : __expf(score[j][i] - p.m[i / 2]); /* NaN stays NaN */
            p.l[i / 2] += score[j][i];
        }
#pragma unroll
    for (int i = 0; i < 2; i++)
        for (int d = 1; d <= 2; d *= 2) p.l[i] += __shfl_xor_sync(~0u, p.l[i], d);
    weigh<DIM>(p, score, (const __nv_bfloat16 *)s->v + kv_head * s->v_head, s->v_row, key0, hi - 1);
}

/* The warps' pieces become the block's: a part, or where it is the only one the rows of y. `out` [WARPS][DIM / 8][4][32] as the
 * lanes have it, `top` [2][GROUP] the maxima and sums. */
template <int DIM>
__device__ static void gather(const vcuda_attention_args &a, const piece<DIM> &p, float *out, float *warp_top, float *top, int64_t row,
                              int64_t head0, int heads, int64_t split, bool only) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, c = lane % 4, each = DIM / 8 * 4 * 32;
    if (c == 0)
        for (int i = 0; i < 2; i++) {
            warp_top[warp * 2 * GROUP + g + 8 * i] = p.m[i];
            warp_top[warp * 2 * GROUP + GROUP + g + 8 * i] = p.l[i];
        }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        float m = -INFINITY, l = 0;
        for (int w = 0; w < WARPS; w++) m = fmaxf(m, warp_top[w * 2 * GROUP + threadIdx.x]);
        for (int w = 0; w < WARPS; w++) {
            float mine = warp_top[w * 2 * GROUP + threadIdx.x];
            l += warp_top[w * 2 * GROUP + GROUP + threadIdx.x] * (mine > -INFINITY ? __expf(mine - m) : 1);
        }
        top[threadIdx.x] = m;
        top[GROUP + threadIdx.x] = l;
    }
    __syncthreads();
    float factor[2];
    for (int i = 0; i < 2; i++) factor[i] = p.m[i] > -INFINITY ? __expf(p.m[i] - top[g + 8 * i]) : 0;
#pragma unroll
    for (int t = 0; t < DIM / 8; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) out[warp * each + (t * 4 + i) * 32 + lane] = p.out[t][i] * factor[i / 2];
    __syncthreads();
#pragma unroll 4
    for (int at = threadIdx.x; at < each; at += THREADS) {
        const int i = at / 32 % 4, t = at / 128, head = at % 32 / 4 + i / 2 * 8, d = t / 8 * 64 + (2 * (at % 4) + i % 2) * 8 + t % 8;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += out[w * each + at];
        if (head >= heads) continue;
        if (only)
            ((float *)a.y)[row * a.y_row + (head0 + head) * a.y_head + d] = top[GROUP + head] == 0 ? 0 : sum / top[GROUP + head];
        else
            values_of(a, row, head0 + head, split)[d] = sum;
    }
    if (only || threadIdx.x >= heads) return;
    *top_of(a, row, head0 + threadIdx.x, split) = make_float2(top[threadIdx.x], top[GROUP + threadIdx.x]);
}

/* Parts of [first, end) become the heads' rows of y. Eight threads find a head's maximum and sum, then every thread adds
 * up four dimensions of a head at a time: what it reads does not wait for what it read before. `top` as in gather(). */
template <int DIM> __device__ static void combine(const vcuda_attention_args &a, int64_t row, int64_t head0, int heads, int first, int end, float *top) {
    const int mine = threadIdx.x / 8;
    const float2 *tops = top_of(a, row, head0 + min(mine, heads - 1), 0);
    float m = -INFINITY, l = 0;
#pragma unroll 4
    for (int n = first + threadIdx.x % 8; n < end; n += 8) {
        const float2 part = __ldcg(tops + n);
        const float high = fmaxf(m, part.x);
        if (high > -INFINITY) l = l * __expf(m - high) + part.y * __expf(part.x - high);
        m = high;
    }
    for (int d = 1; d <= 4; d *= 2) {
        float other = __shfl_xor_sync(~0u, m, d), sum = __shfl_xor_sync(~0u, l, d), high = fmaxf(m, other);
        if (high > -INFINITY) l = l * __expf(m - high) + sum * __expf(other - high);
        m = high;
    }
    if (threadIdx.x % 8 == 0) top[mine] = m, top[GROUP + mine] = l > 0 ? 1 / l : 0;
    __syncthreads();
    for (int i = threadIdx.x; i < heads * (DIM / 4); i += THREADS) {
        const int head = i / (DIM / 4), d = i % (DIM / 4) * 4;
        const float *values = values_of(a, row, head0 + head, 0) + d;
        const float2 *from = top_of(a, row, head0 + head, 0);
        float4 sum = float4();
#pragma unroll 8
        for (int n = first; n < end; n++) {
            const float4 v = __ldcg((const float4 *)(values + n * DIM));
            const float factor = __expf(__ldcg(from + n).x - top[head]); /* its maximum may be -inf, the head's is not */
            sum.x += v.x * factor, sum.y += v.y * factor, sum.z += v.z * factor, sum.w += v.w * factor;
        }
        float *y = (float *)a.y + row * a.y_row + (head0 + head) * a.y_head + d;
        y[0] = sum.x * top[GROUP + head], y[1] = sum.y * top[GROUP + head], y[2] = sum.z * top[GROUP + head], y[3] = sum.w * top[GROUP + head];
    }
}

/* The heads' queries, rotated, to shared memory: all is read before any is written. */
template <int DIM>
__device__ static void load_queries(const vcuda_attention_args &a, __nv_bfloat16 *q, int64_t row, int64_t head0, int heads) {
    const int EACH = GROUP * DIM / THREADS / 4;
    float v[EACH][4];
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const int i = threadIdx.x + n * THREADS, head = i / (DIM / 4), d = i % (DIM / 4) * 4;
        const float *from = (const float *)a.q + row * a.q_row + (head0 + head) * a.q_head;
#pragma unroll
        for (int k = 0; k < 4; k++) v[n][k] = 0;
        if (head >= heads) continue;
        if (a.fours && d < 2 * a.half) {
            vcuda_rotated4(v[n], a, from, row, d);
        } else {
#pragma unroll
            for (int k = 0; k < 4; k++) v[n][k] = vcuda_rotated(a, from, row, d + k);
        }
    }
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const int i = threadIdx.x + n * THREADS;
        *(uint2 *)(q + i / (DIM / 4) * (DIM + PAD) + i % (DIM / 4) * 4) = make_uint2(vcuda_pair(v[n][0], v[n][1]), vcuda_pair(v[n][2], v[n][3]));
    }
}

/* The block's keys and values on their way to the second-level cache: a hint, of what may yet be written, too. */
template <int DIM> __device__ static void expect_keys(const vcuda_segment *s, int64_t kv_head, int64_t key0, int64_t end) {
    const int LINE = 64, LINES = DIM / LINE; /* of 128 bytes */
    for (int i = threadIdx.x; i < SPLIT * LINES; i += THREADS) {
        const int64_t key = key0 + i / LINES, d = i % LINES * LINE;
        if (key >= end) break;
        asm volatile("prefetch.global.L2 [%0];" ::"l"((const __nv_bfloat16 *)s->k + key * s->k_row + kv_head * s->k_head + d));
        asm volatile("prefetch.global.L2 [%0];" ::"l"((const __nv_bfloat16 *)s->v + key * s->v_row + kv_head * s->v_head + d));
    }
}

/* Which segments there are is known before the launch before ends: vcuda_mirror()'s copy is older than both. */
template <int DIM> __global__ __launch_bounds__(THREADS) static void few(const __grid_constant__ vcuda_attention_args a) {
    extern __shared__ float out[]; /* of gather() */
    __shared__ __align__(16) __nv_bfloat16 q[GROUP * (DIM + PAD)];
    __shared__ float warp_top[WARPS * 2 * GROUP], top[2 * GROUP];
    __shared__ int last;
    vcuda_begin_next();
    const int64_t row = blockIdx.z, split = blockIdx.x, group = a.heads / a.kv_heads, chunks = (group + GROUP - 1) / GROUP;
    const int64_t kv_head = blockIdx.y / chunks, skipped = blockIdx.y % chunks * GROUP, head0 = kv_head * group + skipped;
    const int heads = (int)(group - skipped < GROUP ? group - skipped : GROUP);
    const vcuda_segment *s = &a.segments[a.segment_of[row]];
    int64_t lo, hi, key0 = split * SPLIT, at = s->past + row - s->start;
    vcuda_visible(a, s, row - s->start, &lo, &hi);
    const bool idle = key0 >= hi || key0 + SPLIT <= lo;
    if (!idle) expect_keys<DIM>(s, kv_head, key0, hi);
    vcuda_wait_before();
    if (idle) return;
    if (at >= key0 && at < key0 + SPLIT) store(a, s, row, kv_head);
    load_queries<DIM>(a, q, row, head0, heads);
    __syncthreads();
    piece<DIM> p = {};
    p.m[0] = p.m[1] = -INFINITY;
    const int first = (int)key0 + threadIdx.x / 32 * KEYS;
    if (first < hi && first + KEYS > lo) attend<DIM>(p, a, s, q, kv_head, first, (int)lo, (int)hi);
    const int64_t begin = lo / SPLIT, end = (hi - 1) / SPLIT + 1;
    gather<DIM>(a, p, out, warp_top, top, row, head0, heads, split, end - begin == 1);
    if (end - begin == 1) return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t *counter = &a.counters[row * gridDim.y + blockIdx.y];
        last = atomicAdd(counter, 1) == (int)(end - begin) - 1;
        if (last) *counter = 0;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    combine<DIM>(a, row, head0, heads, (int)begin, (int)end, top);
}

template <int DIM> static void run_few(vcuda_stream *s, const vcuda_attention_args *a) {
    int64_t group = a->heads / a->kv_heads;
    dim3 grid((unsigned)a->splits, (unsigned)(a->kv_heads * ((group + GROUP - 1) / GROUP)), (unsigned)a->rows);
    const size_t bytes = (size_t)WARPS * DIM * GROUP * sizeof(float);
    vcuda_check(s, cudaFuncSetAttribute(few<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    vcuda_launch_after(s, few<DIM>, grid, THREADS, bytes, *a);
}

static bool whole_vectors(const vcuda_attention_args &a) {
    return a.dim == 64 || a.dim == 128 || a.dim == 256;
}

bool vcuda_attention_few(vlm_frame *f, vcuda_attention_args a, int64_t most_keys) {
    int64_t keys = SPLIT;
    if (!whole_vectors(a) || a.state_type != VLM_DTYPE_BF16 || a.rows * a.heads > VCUDA_COUNTERS || a.rows > 65535) return false;
    while (keys < most_keys) keys *= 2;
    a.splits = keys / SPLIT;
    a.parts = (float *)vcuda_temporary(f, (size_t)(a.rows * a.heads * a.splits * (a.dim + 2)) * sizeof(float));
    a.counters = vcuda_stream_of(f)->counters;
    if (!a.parts) return true; /* the frame failed */
    if (a.dim == 64)
        vcuda_submit(f, run_few<64>, a);
    else if (a.dim == 128)
        vcuda_submit(f, run_few<128>, a);
    else
        vcuda_submit(f, run_few<256>, a);
    return true;
}
