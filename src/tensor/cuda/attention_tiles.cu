/* SPDX-License-Identifier: MIT */
/* Attention of many queries: tiles of 64 or 128 queries against tiles of 64 keys on the tensor cores (bfloat16 operands,
 * float32 sums), softmax online, in registers; no n × n matrix. The next keys are copied while these are worked on. */
#include "tensor/cuda/attention.h"

enum { WARPS = 4, THREADS = 32 * WARPS, KEYS = 64, PAD = 8 };

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

/* Rows [0, n) of `dim` float32 values to shared memory [rows][DIM + PAD], rounded; what is not there is zero. */
template <int DIM> __device__ static void load_queries(__nv_bfloat16 *to, const float *from, int64_t row_stride, int rows, int n, int dim) {
    const int vectors = DIM / 8;
    for (int i = threadIdx.x; i < rows * vectors; i += THREADS) {
        int row = i / vectors, d = i % vectors * 8;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (row < n && d < dim) {
            const float4 *p = (const float4 *)(from + row * row_stride + d);
            float4 a = p[0], b = p[1];
            v = make_uint4(pair(a.x, a.y), pair(a.z, a.w), pair(b.x, b.y), pair(b.z, b.w));
        }
        *(uint4 *)(to + row * (DIM + PAD) + d) = v;
    }
}

/* The same of bfloat16, under way until wait_copies(). */
template <int DIM> __device__ static void copy_tile(__nv_bfloat16 *to, const __nv_bfloat16 *from, int64_t row_stride, int n, int dim) {
    const int vectors = DIM / 8;
    for (int i = threadIdx.x; i < KEYS * vectors; i += THREADS) {
        int row = i / vectors, d = i % vectors * 8, bytes = row < n && d < dim ? 16 : 0;
        const __nv_bfloat16 *p = bytes ? from + row * row_stride + d : from;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to + row * (DIM + PAD) + d)), "l"(p), "r"(bytes));
    }
}
__device__ static void commit_copies() {
    asm volatile("cp.async.commit_group;");
}
template <int PENDING> __device__ static void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING));
}

/* Softmax state of the two rows of a 16-row tile that a thread holds pieces of. */
struct row_state {
    float m[2], l[2];
};

/* Scores of 64 keys become weights; what was summed before must be multiplied by `correction`. */
__device__ static void softmax(const vcuda_attention_args &a, float (&score)[KEYS / 8][4], row_state &s, float (&correction)[2], int key0,
                               bool masked, const int (&lo)[2], const int (&hi)[2]) {
    float top[2] = { -INFINITY, -INFINITY }, base[2], sum[2] = {};
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float v = vcuda_scored(a, score[j][i]);
            int key = key0 + j * 8 + threadIdx.x % 4 * 2 + i % 2;
            if (masked && (key < lo[i / 2] || key >= hi[i / 2])) v = -INFINITY;
            score[j][i] = v;
            top[i / 2] = fmaxf(top[i / 2], v);
        }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        for (int d = 1; d <= 2; d *= 2) top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], d));
        float m = fmaxf(s.m[h], top[h]);
        bool nothing = m == -INFINITY; /* the row saw nothing yet: no NaN from inf - inf */
        correction[h] = nothing ? 1 : __expf(s.m[h] - m);
        base[h] = nothing ? 0 : m;
        s.m[h] = m;
    }
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            score[j][i] = __expf(score[j][i] - base[i / 2]);
            sum[i / 2] += score[j][i];
        }
    for (int h = 0; h < 2; h++) s.l[h] = s.l[h] * correction[h] + sum[h];
}

/* A warp has TILES tiles of 16 queries, a block WARPS * TILES of them. */
template <int DIM, int TILES> __global__ __launch_bounds__(THREADS) static void tiles(const __grid_constant__ vcuda_attention_args a) {
    const int QUERIES = 16 * TILES * WARPS, STRIDE = DIM + PAD, BUFFER = KEYS * STRIDE;
    extern __shared__ __align__(16) __nv_bfloat16 sq[];
    __shared__ int bounds[2][QUERIES];
    __nv_bfloat16 *sk = sq + QUERIES * STRIDE, *sv = sk + 2 * BUFFER;
    const int dim = (int)a.dim, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const vcuda_tile tile = a.tiles[a.n_tiles - 1 - blockIdx.x]; /* the longest of a causal segment first */
    const vcuda_segment *s = &a.segments[tile.segment];
    int64_t head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads), row0 = s->start + tile.first;
    int n = (int)(s->length - tile.first < QUERIES ? s->length - tile.first : QUERIES);
    load_queries<DIM>(sq, a.q + row0 * a.q_row + head * a.q_head, a.q_row, QUERIES, n, dim);
    for (int i = threadIdx.x; i < QUERIES; i += THREADS) {
        int64_t lo = 0, hi = 0;
        if (i < n) vcuda_visible(a, s, tile.first + i, &lo, &hi);
        bounds[0][i] = (int)lo;
        bounds[1][i] = (int)hi;
    }
    __syncthreads();
    int begin = INT32_MAX, end = 0, all_from = 0, all_to = INT32_MAX; /* keys that some and that all rows see */
    for (int i = lane; i < n; i += 32) {
        int lo = bounds[0][i], hi = bounds[1][i];
        if (lo < hi) begin = min(begin, lo), end = max(end, hi);
        all_from = max(all_from, lo), all_to = min(all_to, hi);
    }
    begin = __reduce_min_sync(~0u, begin), end = __reduce_max_sync(~0u, end);
    all_from = __reduce_max_sync(~0u, all_from), all_to = __reduce_min_sync(~0u, all_to);
    int lo[TILES][2], hi[TILES][2];
    row_state state[TILES];
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = (warp * TILES + t) * 16 + lane / 4 + 8 * h;
            lo[t][h] = bounds[0][row], hi[t][h] = bounds[1][row];
            state[t].m[h] = -INFINITY, state[t].l[h] = 0;
        }
    const __nv_bfloat16 *k0 = (const __nv_bfloat16 *)s->k + kv_head * s->k_head, *v0 = (const __nv_bfloat16 *)s->v + kv_head * s->v_head;
    auto fetch = [&](int key0, int buffer) {
        int keys = end - key0 < KEYS ? end - key0 : KEYS;
        copy_tile<DIM>(sk + buffer * BUFFER, k0 + key0 * s->k_row, s->k_row, keys, dim);
        copy_tile<DIM>(sv + buffer * BUFFER, v0 + key0 * s->v_row, s->v_row, keys, dim);
        commit_copies();
    };
    float out[TILES][DIM / 8][4] = {};
    int key0 = begin / KEYS * KEYS, buffer = 0;
    if (key0 < end) fetch(key0, 0);
    for (; key0 < end; key0 += KEYS, buffer ^= 1) {
        if (key0 + KEYS < end) {
            fetch(key0 + KEYS, buffer ^ 1);
            wait_copies<1>();
        } else {
            wait_copies<0>();
        }
        __syncthreads();
        const __nv_bfloat16 *bk = sk + buffer * BUFFER, *bv = sv + buffer * BUFFER;
        float score[TILES][KEYS / 8][4] = {};
#pragma unroll
        for (int d = 0; d < DIM; d += 16) {
            uint32_t q[TILES][4], k[4];
#pragma unroll
            for (int t = 0; t < TILES; t++) load_matrices(q[t], sq + ((warp * TILES + t) * 16 + lane % 16) * STRIDE + d + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < KEYS / 16; j++) {
                load_matrices(k, bk + (j * 16 + lane % 8 + lane / 16 * 8) * STRIDE + d + lane / 8 % 2 * 8);
#pragma unroll
                for (int t = 0; t < TILES; t++) {
                    multiply(score[t][2 * j], q[t], k[0], k[1]);
                    multiply(score[t][2 * j + 1], q[t], k[2], k[3]);
                }
            }
        }
        bool masked = key0 < all_from || key0 + KEYS > all_to;
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            float correction[2];
            softmax(a, score[t], state[t], correction, key0, masked, lo[t], hi[t]);
#pragma unroll
            for (int j = 0; j < DIM / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) out[t][j][i] *= correction[i / 2];
        }
#pragma unroll
        for (int key = 0; key < KEYS; key += 16) {
            const int j = key / 8;
            uint32_t p[TILES][4];
#pragma unroll
            for (int t = 0; t < TILES; t++) {
                p[t][0] = pair(score[t][j][0], score[t][j][1]), p[t][1] = pair(score[t][j][2], score[t][j][3]);
                p[t][2] = pair(score[t][j + 1][0], score[t][j + 1][1]), p[t][3] = pair(score[t][j + 1][2], score[t][j + 1][3]);
            }
#pragma unroll
            for (int d = 0; d < DIM; d += 16) {
                uint32_t v[4];
                load_matrices_transposed(v, bv + (key + lane % 16) * STRIDE + d + lane / 16 * 8);
#pragma unroll
                for (int t = 0; t < TILES; t++) {
                    multiply(out[t][d / 8], p[t], v[0], v[1]);
                    multiply(out[t][d / 8 + 1], p[t], v[2], v[3]);
                }
            }
        }
        __syncthreads(); /* the buffer is filled anew */
    }
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float l = state[t].l[h];
            for (int d = 1; d <= 2; d *= 2) l += __shfl_xor_sync(~0u, l, d);
            float factor = l > 0 ? 1 / l : 0; /* 0: it saw nothing */
            int row = (warp * TILES + t) * 16 + lane / 4 + 8 * h;
            float *y = a.y + (row0 + row) * a.y_row + head * a.y_head;
#pragma unroll
            for (int j = 0; j < DIM / 8; j++) {
                int d = j * 8 + lane % 4 * 2;
                if (row < n && d < dim) *(float2 *)(y + d) = make_float2(out[t][j][2 * h] * factor, out[t][j][2 * h + 1] * factor);
            }
        }
}

template <int DIM, int TILES> static void run_tiles(vcuda_stream *s, const vcuda_attention_args *a) {
    const size_t bytes = (size_t)(16 * TILES * WARPS + 4 * KEYS) * (DIM + PAD) * sizeof(__nv_bfloat16);
    vcuda_check(s, cudaFuncSetAttribute(tiles<DIM, TILES>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    tiles<DIM, TILES><<<dim3((unsigned)a->n_tiles, (unsigned)a->heads), THREADS, bytes, s->stream>>>(*a);
    vcuda_launched(s);
}

template <int DIM> static void submit(vlm_frame *f, const vcuda_attention_args &a) {
    if (a.tile_rows == 64)
        vcuda_submit(f, run_tiles<DIM, 1>, a);
    else if constexpr (DIM <= 128)
        vcuda_submit(f, run_tiles<DIM, 2>, a);
}

/* Queries of a tile: more share what is read of keys, where segments are long and registers suffice. */
int vcuda_tile_rows(int64_t longest, int64_t dim) {
    return longest > 64 && dim <= 128 ? 128 : 64;
}

bool vcuda_attention_tiles(vlm_frame *f, const vcuda_attention_args &a) {
    if (a.dim % 8 != 0 || a.dim > 256 || a.state_type != VLM_DTYPE_BF16 || a.q_row % 4 || a.q_head % 4 || a.heads > 65535) return false;
    if (a.dim <= 64)
        submit<64>(f, a);
    else if (a.dim <= 80)
        submit<80>(f, a);
    else if (a.dim <= 96)
        submit<96>(f, a);
    else if (a.dim <= 128)
        submit<128>(f, a);
    else
        submit<256>(f, a);
    return true;
}
