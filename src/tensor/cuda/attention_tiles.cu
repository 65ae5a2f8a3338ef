/* SPDX-License-Identifier: MIT */
/* Attention of many queries: tiles of queries against tiles of 64 keys on the tensor cores (bfloat16 operands, float32
 * sums), softmax online, in registers; no n × n matrix. A warp has 16 or 32 queries: with 32, what it reads of keys and
 * values from shared memory serves twice. The next tile of keys is copied while this one is computed. A window of up to 64
 * rows, whose keys only itself sees, is rotated and rounded on its way into shared memory. */
#include "tensor/cuda/tiles.h"

enum { WARPS = 4, THREADS = 32 * WARPS, PAD = 8 };

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
/* Rows [0, n) of `dim` values on their way to shared memory [ROWS][DIM + PAD]; what is not there is zero. */
template <int DIM, int ROWS> __device__ static void copy_tile(__nv_bfloat16 *to, const __nv_bfloat16 *from, int64_t stride, int n, int dim) {
    const int vectors = DIM / 8;
#pragma unroll 4
    for (int i = threadIdx.x; i < ROWS * vectors; i += THREADS) {
        int row = i / vectors, d = i % vectors * 8;
        bool there = row < n && d < dim;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to + row * (DIM + PAD) + d)),
                     "l"(from + (there ? row * stride + d : 0)), "r"(there ? 16 : 0));
    }
}

template <int DIM, int M> __device__ static void begin_rows(rows16<DIM> (&r)[M], const int (*bounds)[16 * WARPS * M]) {
#pragma unroll
    for (int t = 0; t < M; t++) {
        r[t] = {};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = (threadIdx.x / 32 * M + t) * 16 + threadIdx.x % 32 / 4 + 8 * i;
            r[t].m[i] = -INFINITY;
            r[t].lo[i] = bounds[0][row], r[t].hi[i] = bounds[1][row];
        }
    }
}

/* A warp's queries, in sq, against a tile of keys and values. */
template <int DIM, int M>
__device__ static void attend_tile(rows16<DIM> (&r)[M], const vcuda_attention_args &a, const __nv_bfloat16 *sq, const __nv_bfloat16 *tk,
                                   const __nv_bfloat16 *tv, int key0, const reach &all) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float unit = 1.44269504f * (a.softcap > 0 ? 1 : a.scale);
#pragma unroll
    for (int t = 0; t < M; t++)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) r[t].score[j][i] = 0;
#pragma unroll
    for (int d = 0; d < DIM; d += 16) {
        uint32_t q[M][4], w[4];
#pragma unroll
        for (int t = 0; t < M; t++) load_matrices(q[t], sq + ((warp * M + t) * 16 + lane % 16) * (DIM + PAD) + d + lane / 16 * 8);
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            load_matrices(w, tk + (j * 16 + lane % 8 + lane / 16 * 8) * (DIM + PAD) + d + lane / 8 % 2 * 8);
#pragma unroll
            for (int t = 0; t < M; t++) {
                vcuda_multiply(r[t].score[2 * j], q[t], w[0], w[1]);
                vcuda_multiply(r[t].score[2 * j + 1], q[t], w[2], w[3]);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < M; t++) soften<DIM>(r[t], a, unit, key0, key0 < all.all_from || key0 + KEYS > all.all_to);
#pragma unroll
    for (int j = 0; j < KEYS / 8; j += 2) {
        uint32_t p[M][4], w[4];
#pragma unroll
        for (int t = 0; t < M; t++) {
            const float(&s0)[4] = r[t].score[j], (&s1)[4] = r[t].score[j + 1];
            p[t][0] = vcuda_pair(s0[0], s0[1]), p[t][1] = vcuda_pair(s0[2], s0[3]);
            p[t][2] = vcuda_pair(s1[0], s1[1]), p[t][3] = vcuda_pair(s1[2], s1[3]);
        }
#pragma unroll
        for (int d = 0; d < DIM; d += 16) {
            load_matrices_transposed(w, tv + (j * 8 + lane % 16) * (DIM + PAD) + d + lane / 16 * 8);
#pragma unroll
            for (int t = 0; t < M; t++) {
                vcuda_multiply(r[t].out[d / 8], p[t], w[0], w[1]);
                vcuda_multiply(r[t].out[d / 8 + 1], p[t], w[2], w[3]);
            }
        }
    }
}

template <int DIM, int M> __global__ __launch_bounds__(THREADS) static void tiles(const __grid_constant__ vcuda_attention_args a) {
    const int QUERIES = 16 * WARPS * M, TILE = KEYS * (DIM + PAD);
    extern __shared__ __align__(16) __nv_bfloat16 shared_tiles[];
    __shared__ int bounds[2][QUERIES];
    __nv_bfloat16 *sq = shared_tiles, *sk = sq + QUERIES * (DIM + PAD), *sv = sk + 2 * TILE; /* keys and values: two tiles each */
    const int dim = (int)a.dim, warp = threadIdx.x / 32;
    const vcuda_tile tile = a.tiles[a.n_tiles - 1 - blockIdx.x]; /* the longest of a causal segment first */
    const vcuda_segment *s = &a.segments[tile.segment];
    const int64_t head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads), row0 = s->start + tile.first;
    const int n = (int)(s->length - tile.first < QUERIES ? s->length - tile.first : QUERIES);
    const __nv_bfloat16 *k = (const __nv_bfloat16 *)s->k + kv_head * s->k_head, *v = (const __nv_bfloat16 *)s->v + kv_head * s->v_head;
    copy_tile<DIM, QUERIES>(sq, (const __nv_bfloat16 *)a.q + (row0 * a.heads + head) * dim, a.heads * dim, n, dim);
    const reach all = reach_of<QUERIES>(a, s, tile.first, n, bounds);
    auto copy_keys = [&](int key0, int to) {
        int keys = all.end - key0 < KEYS ? all.end - key0 : KEYS;
        copy_tile<DIM, KEYS>(sk + to * TILE, k + key0 * s->k_row, s->k_row, keys, dim);
        copy_tile<DIM, KEYS>(sv + to * TILE, v + key0 * s->v_row, s->v_row, keys, dim);
        end_copies();
    };
    rows16<DIM> r[M];
    begin_rows<DIM, M>(r, bounds);
    int turn = 0;
    if (all.begin < all.end) copy_keys(all.begin / KEYS * KEYS, 0);
    for (int key0 = all.begin / KEYS * KEYS; key0 < all.end; key0 += KEYS, turn ^= 1) {
        wait_copies();
        __syncthreads(); /* the tile is there, and nobody reads the one before it any more */
        if (key0 + KEYS < all.end) copy_keys(key0 + KEYS, turn ^ 1);
        const __nv_bfloat16 *tk = sk + turn * TILE, *tv = sv + turn * TILE;
        attend_tile<DIM, M>(r, a, sq, tk, tv, key0, all);
    }
#pragma unroll
    for (int t = 0; t < M; t++) finish<DIM>(r[t], a, row0, head, (warp * M + t) * 16, n);
}

/* Shared memory of a block whose warps have m tiles of queries each. */
static size_t tile_bytes(int64_t dim, int m) {
    return (size_t)(16 * WARPS * m + 4 * KEYS) * (size_t)(dim + PAD) * sizeof(__nv_bfloat16);
}

template <int DIM, int M> static void run_tiles(vcuda_stream *s, const vcuda_attention_args *a) {
    const size_t bytes = tile_bytes(DIM, M);
    vcuda_check(s, cudaFuncSetAttribute(tiles<DIM, M>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    tiles<DIM, M><<<dim3((unsigned)a->n_tiles, (unsigned)a->heads), THREADS, bytes, s->stream>>>(*a);
    vcuda_launched(s);
}

enum { FEW_ROWS = 64, MANY_ROWS = 128 };

template <int DIM> static void submit(vlm_frame *f, const vcuda_attention_args &a, int64_t rows) {
    if constexpr (DIM <= 128)
        if (rows == MANY_ROWS) {
            vcuda_submit(f, run_tiles<DIM, 2>, a);
            return;
        }
    vcuda_submit(f, run_tiles<DIM, 1>, a);
}

/* The head size that tiles are made for. */
static int64_t tile_dim(int64_t dim) {
    return dim <= 64 ? 64 : dim <= 80 ? 80 : dim <= 96 ? 96 : dim <= 128 ? 128 : 256;
}

/* Large tiles where there are enough of them for every multiprocessor; 0 where the device has too little shared
 * memory for any (head sizes above 128 before compute capability 9.0). */
int64_t vcuda_tile_rows(const vcuda_attention_args &a, int64_t longest, const vcuda_backend *b) {
    if (tile_bytes(tile_dim(a.dim), 1) > b->shared) return 0;
    bool large = a.dim <= 128 && longest > FEW_ROWS && (a.rows + MANY_ROWS - 1) / MANY_ROWS * a.heads >= 2 * b->multiprocessors;
    return large && tile_bytes(tile_dim(a.dim), 2) <= b->shared ? MANY_ROWS : FEW_ROWS;
}

void vcuda_attention_tiles(vlm_frame *f, const vcuda_attention_args &a) {
    int64_t rows = a.tile_rows;
    if (a.dim <= 64)
        submit<64>(f, a, rows);
    else if (a.dim <= 80)
        submit<80>(f, a, rows);
    else if (a.dim <= 96)
        submit<96>(f, a, rows);
    else if (a.dim <= 128)
        submit<128>(f, a, rows);
    else
        submit<256>(f, a, rows);
}

/* ---- windows ---- */
/* Rows [0, n) of a head to shared memory [KEYS][DIM + PAD]; what is not there is zero. A thread has two fours of a row at a
 * time: with HALVES, where whole heads are rotated by halves, two that are rotated together. */
template <int DIM, bool ROTATED, bool HALVES>
__device__ static void take_rows(__nv_bfloat16 *to, const float *from, int64_t stride, int n, const vcuda_attention_args &a, int64_t row0) {
    const int PAIRS = DIM / 8, half = (int)a.half, dim = (int)a.dim;
#pragma unroll
    for (int k = 0; k < KEYS * PAIRS / THREADS; k++) {
        const int i = threadIdx.x + k * THREADS, row = i / PAIRS, p = i % PAIRS * 4;
        const float *x = from + row * stride;
        int low = 2 * p, high = 2 * p + 4;
        float u[4] = {}, w[4] = {};
        if (HALVES) {
            const bool there = row < n && p < half;
            const float4 none = float4(), x0 = there ? __ldg((const float4 *)(x + p)) : none, x1 = there ? __ldg((const float4 *)(x + half + p)) : none;
            const float4 c = there ? __ldg((const float4 *)(a.cos + (row0 + row) * half + p)) : none;
            const float4 s = there ? __ldg((const float4 *)(a.sin + (row0 + row) * half + p)) : none;
            u[0] = x0.x * c.x - x1.x * s.x, u[1] = x0.y * c.y - x1.y * s.y, u[2] = x0.z * c.z - x1.z * s.z, u[3] = x0.w * c.w - x1.w * s.w;
            w[0] = x1.x * c.x + x0.x * s.x, w[1] = x1.y * c.y + x0.y * s.y, w[2] = x1.z * c.z + x0.z * s.z, w[3] = x1.w * c.w + x0.w * s.w;
            low = p < half ? p : dim + (p - half) * 2; /* behind the halves: the zeros up to DIM */
            high = p < half ? half + p : low + 4;
        } else if (row < n && low < dim) {
            vcuda_take4<ROTATED>(u, a, x, row0 + row, low);
            vcuda_take4<ROTATED>(w, a, x, row0 + row, high);
        }
        __nv_bfloat16 *at = to + row * (DIM + PAD);
        *(uint2 *)(at + low) = make_uint2(vcuda_pair(u[0], u[1]), vcuda_pair(u[2], u[3]));
        *(uint2 *)(at + high) = make_uint2(vcuda_pair(w[0], w[1]), vcuda_pair(w[2], w[3]));
    }
}

template <int DIM> __global__ __launch_bounds__(THREADS) static void windows(const __grid_constant__ vcuda_attention_args a) {
    extern __shared__ __align__(16) __nv_bfloat16 shared_tiles[];
    __shared__ int bounds[2][KEYS];
    const int TILE = KEYS * (DIM + PAD);
    __nv_bfloat16 *sq = shared_tiles, *sk = sq + TILE, *sv = sk + TILE;
    const vcuda_segment *s = &a.segments[a.tiles[blockIdx.x].segment];
    const int64_t head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads), row0 = s->start;
    const int n = (int)s->length;
    const float *q = (const float *)a.q + row0 * a.q_row + head * a.q_head, *k = a.k + row0 * a.k_row + kv_head * a.k_head;
    if (a.fours && 2 * a.half == a.dim) {
        take_rows<DIM, true, true>(sq, q, a.q_row, n, a, row0);
        take_rows<DIM, true, true>(sk, k, a.k_row, n, a, row0);
    } else {
        take_rows<DIM, true, false>(sq, q, a.q_row, n, a, row0);
        take_rows<DIM, true, false>(sk, k, a.k_row, n, a, row0);
    }
    take_rows<DIM, false, false>(sv, a.v + row0 * a.v_row + kv_head * a.v_head, a.v_row, n, a, row0);
    const reach all = reach_of<KEYS>(a, s, 0, n, bounds); /* it ends with a barrier */
    rows16<DIM> r[1];
    begin_rows<DIM, 1>(r, bounds);
    if (all.begin < all.end) attend_tile<DIM, 1>(r, a, sq, sk, sv, 0, all);
    finish<DIM>(r[0], a, row0, head, threadIdx.x / 32 * 16, n);
}

template <int DIM> static void run_windows(vcuda_stream *s, const vcuda_attention_args *a) {
    const size_t bytes = (size_t)3 * KEYS * (DIM + PAD) * sizeof(__nv_bfloat16);
    vcuda_check(s, cudaFuncSetAttribute(windows<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    windows<DIM><<<dim3((unsigned)a->n_tiles, (unsigned)a->heads), THREADS, bytes, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_attention_windows(vlm_frame *f, const vcuda_attention_args &a) {
    if (a.dim <= 64)
        vcuda_submit(f, run_windows<64>, a);
    else if (a.dim <= 80)
        vcuda_submit(f, run_windows<80>, a);
    else if (a.dim <= 96)
        vcuda_submit(f, run_windows<96>, a);
    else
        vcuda_submit(f, run_windows<128>, a);
}
