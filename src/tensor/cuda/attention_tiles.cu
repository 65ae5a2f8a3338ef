/* SPDX-License-Identifier: MIT */
/* Attention of many queries: tiles of 64 queries against tiles of 64 keys on the tensor cores (bfloat16 operands,
 * float32 sums), softmax online, in registers; no n × n matrix. A warp has 16 queries. */
#include "tensor/cuda/attention.h"

enum { WARPS = 4, THREADS = 32 * WARPS, QUERIES = VCUDA_TILE, KEYS = 64, PAD = 8 };

__device__ static uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
__device__ static void load_matrices(uint32_t (&r)[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}
__device__ static void load_matrices_transposed(uint32_t (&r)[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}
/* c [16, 8] += a [16, 16] b [16, 8] */
__device__ static void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ static uint32_t pair(float lo, float hi) {
    __nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);
    return *(const uint32_t *)&v;
}

/* Rows [0, n) of `dim` values to shared memory [64][DIM + PAD]; what is not there is zero. */
template <int DIM, class T>
__device__ static void load_tile(__nv_bfloat16 *to, const T *from, int64_t row_stride, int n, int dim) {
    const int vectors = DIM / 8;
    for (int i = threadIdx.x; i < 64 * vectors; i += THREADS) {
        int row = i / vectors, d = i % vectors * 8;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (row < n && d < dim) {
            const T *p = from + row * row_stride + d;
            if constexpr (sizeof(T) == 2) {
                v = *(const uint4 *)p;
            } else {
                float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
                v = make_uint4(pair(a.x, a.y), pair(a.z, a.w), pair(b.x, b.y), pair(b.z, b.w));
            }
        }
        *(uint4 *)(to + row * (DIM + PAD) + d) = v;
    }
}

template <int DIM, class T> __global__ __launch_bounds__(THREADS) static void tiles(const __grid_constant__ vcuda_attention_args a) {
    extern __shared__ __align__(16) __nv_bfloat16 shared_tiles[];
    __shared__ int bounds[2][QUERIES];
    __nv_bfloat16 *sq = shared_tiles, *sk = sq + QUERIES * (DIM + PAD), *sv = sk + KEYS * (DIM + PAD);
    const int dim = (int)a.dim, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const vcuda_tile tile = a.tiles[a.n_tiles - 1 - blockIdx.x]; /* the longest of a causal segment first */
    const vcuda_segment *s = &a.segments[tile.segment];
    int64_t head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads), row0 = s->start + tile.first;
    int n = (int)(s->length - tile.first < QUERIES ? s->length - tile.first : QUERIES);
    load_tile<DIM>(sq, a.q + row0 * a.q_row + head * a.q_head, a.q_row, n, dim);
    for (int i = threadIdx.x; i < QUERIES; i += THREADS) {
        int64_t lo = 0, hi = 0;
        if (i < n) vcuda_visible(a, s, tile.first + i, &lo, &hi);
        bounds[0][i] = (int)lo;
        bounds[1][i] = (int)hi;
    }
    __syncthreads();
    int begin = INT32_MAX, end = 0, all_from = 0, all_to = INT32_MAX; /* keys that some and that all rows see */
    for (int i = 0; i < n; i++) {
        int lo = bounds[0][i], hi = bounds[1][i];
        if (lo < hi) begin = min(begin, lo), end = max(end, hi);
        all_from = max(all_from, lo), all_to = min(all_to, hi);
    }
    const int r0 = warp * 16 + lane / 4, r1 = r0 + 8;
    const int lo0 = bounds[0][r0], hi0 = bounds[1][r0], lo1 = bounds[0][r1], hi1 = bounds[1][r1];
    float out[DIM / 8][4] = {}, m0 = -INFINITY, m1 = -INFINITY, l0 = 0, l1 = 0;
    for (int key0 = begin / KEYS * KEYS; key0 < end; key0 += KEYS) {
        int keys = end - key0 < KEYS ? end - key0 : KEYS;
        __syncthreads();
        load_tile<DIM>(sk, (const T *)s->k + key0 * s->k_row + kv_head * s->k_head, s->k_row, keys, dim);
        load_tile<DIM>(sv, (const T *)s->v + key0 * s->v_row + kv_head * s->v_head, s->v_row, keys, dim);
        __syncthreads();
        float score[KEYS / 8][4] = {};
#pragma unroll
        for (int d = 0; d < DIM; d += 16) {
            uint32_t q[4], k[4];
            load_matrices(q, sq + (warp * 16 + lane % 16) * (DIM + PAD) + d + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < KEYS / 16; j++) {
                load_matrices(k, sk + (j * 16 + lane % 8 + lane / 16 * 8) * (DIM + PAD) + d + lane / 8 % 2 * 8);
                multiply(score[2 * j], q, k[0], k[1]);
                multiply(score[2 * j + 1], q, k[2], k[3]);
            }
        }
        bool masked = key0 < all_from || key0 + KEYS > all_to;
        float t0 = -INFINITY, t1 = -INFINITY;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float v = vcuda_scored(a, score[j][i]);
                int key = key0 + j * 8 + lane % 4 * 2 + i % 2;
                if (masked && (i < 2 ? key < lo0 || key >= hi0 : key < lo1 || key >= hi1)) v = -INFINITY;
                score[j][i] = v;
                if (i < 2)
                    t0 = fmaxf(t0, v);
                else
                    t1 = fmaxf(t1, v);
            }
        for (int d = 1; d <= 2; d *= 2) {
            t0 = fmaxf(t0, __shfl_xor_sync(~0u, t0, d));
            t1 = fmaxf(t1, __shfl_xor_sync(~0u, t1, d));
        }
        float n0 = fmaxf(m0, t0), n1 = fmaxf(m1, t1); /* a row that saw nothing yet: no NaN from inf - inf */
        float c0 = n0 == -INFINITY ? 1 : __expf(m0 - n0), c1 = n1 == -INFINITY ? 1 : __expf(m1 - n1);
        float base0 = n0 == -INFINITY ? 0 : n0, base1 = n1 == -INFINITY ? 0 : n1, add0 = 0, add1 = 0;
        m0 = n0, m1 = n1;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
            score[j][0] = __expf(score[j][0] - base0), score[j][1] = __expf(score[j][1] - base0);
            score[j][2] = __expf(score[j][2] - base1), score[j][3] = __expf(score[j][3] - base1);
            add0 += score[j][0] + score[j][1];
            add1 += score[j][2] + score[j][3];
        }
        l0 = l0 * c0 + add0, l1 = l1 * c1 + add1;
#pragma unroll
        for (int j = 0; j < DIM / 8; j++) out[j][0] *= c0, out[j][1] *= c0, out[j][2] *= c1, out[j][3] *= c1;
#pragma unroll
        for (int key = 0; key < KEYS; key += 16) {
            const int j = key / 8;
            uint32_t p[4] = { pair(score[j][0], score[j][1]), pair(score[j][2], score[j][3]), pair(score[j + 1][0], score[j + 1][1]),
                              pair(score[j + 1][2], score[j + 1][3]) };
#pragma unroll
            for (int d = 0; d < DIM; d += 16) {
                uint32_t v[4];
                load_matrices_transposed(v, sv + (key + lane % 16) * (DIM + PAD) + d + lane / 16 * 8);
                multiply(out[d / 8], p, v[0], v[1]);
                multiply(out[d / 8 + 1], p, v[2], v[3]);
            }
        }
    }
    for (int d = 1; d <= 2; d *= 2) {
        l0 += __shfl_xor_sync(~0u, l0, d);
        l1 += __shfl_xor_sync(~0u, l1, d);
    }
    float f0 = l0 > 0 ? 1 / l0 : 0, f1 = l1 > 0 ? 1 / l1 : 0; /* 0: it saw nothing */
    float *y0 = a.y + (row0 + r0) * a.y_row + head * a.y_head, *y1 = a.y + (row0 + r1) * a.y_row + head * a.y_head;
#pragma unroll
    for (int j = 0; j < DIM / 8; j++) {
        int d = j * 8 + lane % 4 * 2;
        if (d >= dim) continue;
        if (r0 < n) *(float2 *)(y0 + d) = make_float2(out[j][0] * f0, out[j][1] * f0);
        if (r1 < n) *(float2 *)(y1 + d) = make_float2(out[j][2] * f1, out[j][3] * f1);
    }
}

template <int DIM, class T> static void run_tiles(vcuda_stream *s, const vcuda_attention_args *a) {
    const size_t bytes = (size_t)(QUERIES + 2 * KEYS) * (DIM + PAD) * sizeof(__nv_bfloat16);
    vcuda_check(s, cudaFuncSetAttribute(tiles<DIM, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    tiles<DIM, T><<<dim3((unsigned)a->n_tiles, (unsigned)a->heads), THREADS, bytes, s->stream>>>(*a);
    vcuda_launched(s);
}

template <int DIM> static void submit(vlm_frame *f, const vcuda_attention_args &a, bool floats) {
    if (floats)
        vcuda_submit(f, run_tiles<DIM, float>, a);
    else
        vcuda_submit(f, run_tiles<DIM, __nv_bfloat16>, a);
}

bool vcuda_attention_tiles(vlm_frame *f, const vcuda_attention_args &a) {
    bool floats = a.state_type == VLM_DTYPE_F32;
    if (a.dim % 8 != 0 || a.dim > 256 || a.state_type == VLM_DTYPE_F16 || a.q_row % 4 || a.q_head % 4 || a.heads > 65535) return false;
    if (a.dim <= 64)
        submit<64>(f, a, floats);
    else if (a.dim <= 80)
        submit<80>(f, a, floats);
    else if (a.dim <= 96)
        submit<96>(f, a, floats);
    else if (a.dim <= 128)
        submit<128>(f, a, floats);
    else
        submit<256>(f, a, floats);
    return true;
}
