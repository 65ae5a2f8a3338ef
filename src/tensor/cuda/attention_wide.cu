/* SPDX-License-Identifier: MIT */
/* Attention of many queries on compute capability 9.0: groups of four warps have 64 queries each, and multiply with
 * wgmma: queries and weights from registers, a tile of 64 keys or values from shared memory, where it lies in blocks of
 * 8 rows by 16 bytes, so that keys are read along their rows and values across them. Two tiles are on their way
 * while one is computed; while one group softens its scores the others multiply. */
#include "tensor/cuda/tiles.h"

enum { TILES = 3, COLUMN = KEYS * 16 /* TILES: in shared memory at a time; COLUMN: bytes between neighbouring 16 bytes of a row */ };
/* Groups of four warps in a block; of the smaller heads two blocks are on a multiprocessor. */
static __host__ __device__ constexpr int groups_of(int dim) {
    return dim <= 80 ? 2 : 3;
}
static __host__ __device__ constexpr int threads_of(int dim) {
    return 128 * groups_of(dim);
}
static __host__ __device__ constexpr int queries_of(int dim) {
    return 64 * groups_of(dim);
}

template <int DIM> static __host__ __device__ constexpr int tile_bytes() {
    return DIM / 8 * COLUMN;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
/* d [64, N] = or += a [64, 16] b; TRANSPOSED: of b [16, N] the rows lie one behind the other, else those of bᵀ. */
template <int N, int TRANSPOSED> struct product;
template <int TRANSPOSED> struct product<64, TRANSPOSED> {
    __device__ static void add(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, int onto) {
        asm volatile(
            "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31"
            "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
              "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
              "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
              "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(onto), "n"(TRANSPOSED));
    }
};
template <int TRANSPOSED> struct product<80, TRANSPOSED> {
    __device__ static void add(float (&d)[10][4], const uint32_t (&a)[4], uint64_t b, int onto) {
        asm volatile(
            "{\n.reg .pred p;\nsetp.ne.b32 p, %45, 0;\nwgmma.mma_async.sync.aligned.m64n80k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39"
            "}, {%40, %41, %42, %43}, %44, p, 1, 1, %46;\n}"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
              "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
              "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
              "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]),
              "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(onto), "n"(TRANSPOSED));
    }
};
template <int TRANSPOSED> struct product<96, TRANSPOSED> {
    __device__ static void add(float (&d)[12][4], const uint32_t (&a)[4], uint64_t b, int onto) {
        asm volatile(
            "{\n.reg .pred p;\nsetp.ne.b32 p, %53, 0;\nwgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
            "%46, %47"
            "}, {%48, %49, %50, %51}, %52, p, 1, 1, %54;\n}"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
              "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
              "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
              "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]),
              "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]),
              "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]),
              "+f"(d[11][3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(onto), "n"(TRANSPOSED));
    }
};
template <int TRANSPOSED> struct product<128, TRANSPOSED> {
    __device__ static void add(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b, int onto) {
        asm volatile(
            "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
            "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
            "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
              "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
              "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
              "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]),
              "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]),
              "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]),
              "+f"(d[11][3]), "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]),
              "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]),
              "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(onto), "n"(TRANSPOSED));
    }
};

/* Blocks at p: `lead` bytes between those side by side along what is added up, `stride` along the other way; for values the
 * other way about. */
__device__ static uint64_t operand(uint32_t p, uint32_t lead, uint32_t stride) {
    return (uint64_t)((p & 0x3FFFF) >> 4) | (uint64_t)(lead >> 4) << 16 | (uint64_t)(stride >> 4) << 32;
}
__device__ static void begin_products(void) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ static void end_products(void) {
    asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
}

/* What a thread copies of a tile of 64 rows: where it reads, beside the tile's first row, and where it writes. Eight lanes have
 * eight rows. */
template <int DIM> struct copier {
    static const int COUNT = (KEYS * DIM / 8 + threads_of(DIM) - 1) / threads_of(DIM);
    const char *from;
    uint32_t at[COUNT], to[COUNT];
    int64_t step; /* bytes of a tile's rows */
    int dim;

    __device__ static int chunk_of(int i) {
        return i / 8 % (DIM / 8);
    }
    __device__ static int row_of(int i) {
        return i / DIM * 8 + i % 8;
    }
    __device__ copier(const void *first, int64_t stride, int dim) : from((const char *)first), step(stride * 2 * KEYS), dim(dim) {
#pragma unroll
        for (int n = 0; n < COUNT; n++) {
            const int i = threadIdx.x + n * threads_of(DIM);
            at[n] = (uint32_t)(row_of(i) * stride * 2 + chunk_of(i) * 16);
            to[n] = (uint32_t)(chunk_of(i) * COLUMN + row_of(i) * 16);
        }
    }
    /* Rows [0, n) of a tile; what is not there is zero. */
    __device__ void copy(uint32_t tile, int64_t number, int n) const {
        const char *rows = from + number * step;
#pragma unroll
        for (int k = 0; k < COUNT; k++) {
            const int i = threadIdx.x + k * threads_of(DIM);
            if (i >= KEYS * DIM / 8) break;
            const bool there = (n == KEYS || row_of(i) < n) && (dim == DIM || chunk_of(i) * 8 < dim);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(tile + to[k]), "l"(there ? rows + at[k] : from), "r"(there ? 16 : 0));
        }
    }
};
/* All but the newest copies are there. */
__device__ static void wait_older_copies(void) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
}

/* A warp's sixteen queries as the products take them. */
template <int DIM> __device__ static void load_queries(uint32_t (&q)[DIM / 16][4], const __nv_bfloat16 *from, int64_t stride, int n, int dim) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = g + i % 2 * 8, d = k * 16 + i / 2 * 8 + c * 2;
            q[k][i] = row < n && d < dim ? *(const uint32_t *)(from + row * stride + d) : 0;
        }
}
#endif

template <int DIM> __global__ __launch_bounds__(threads_of(DIM), DIM <= 80 ? 2 : 1) static void wide(const __grid_constant__ vcuda_attention_args a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(128) char shared[]; /* TILES tiles of keys, then of values */
    const int QUERIES = queries_of(DIM);
    __shared__ int bounds[2][QUERIES];
    const int dim = (int)a.dim, lane = threadIdx.x % 32, first = threadIdx.x / 32 * 16;
    const vcuda_tile tile = a.tiles[a.n_tiles - 1 - blockIdx.y]; /* the longest of a causal segment first */
    const vcuda_segment *s = &a.segments[tile.segment];
    const int64_t head = blockIdx.x, kv_head = head / (a.heads / a.kv_heads), row0 = s->start + tile.first;
    const int n = (int)(s->length - tile.first < QUERIES ? s->length - tile.first : QUERIES);
    const copier<DIM> k((const __nv_bfloat16 *)s->k + kv_head * s->k_head, s->k_row, dim), v((const __nv_bfloat16 *)s->v + kv_head * s->v_head, s->v_row, dim);
    const reach all = reach_of<QUERIES>(a, s, tile.first, n, bounds);
    const uint32_t keys = shared_address(shared), values = keys + TILES * tile_bytes<DIM>();
    auto copy_keys = [&](int key0, int to) {
        if (key0 < all.end) {
            const int there = min(all.end - key0, (int)KEYS);
            k.copy(keys + to * tile_bytes<DIM>(), key0 / KEYS, there);
            v.copy(values + to * tile_bytes<DIM>(), key0 / KEYS, there);
        }
        end_copies();
    };
    const int begin = all.begin < all.end ? all.begin / KEYS * KEYS : all.end;
    for (int i = 0; i < TILES - 1; i++) copy_keys(begin + i * KEYS, i);
    uint32_t q[DIM / 16][4];
    load_queries<DIM>(q, (const __nv_bfloat16 *)a.q + ((row0 + first) * a.heads + head) * dim, a.heads * dim, n - first, dim);
    rows16<DIM> r = {};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        r.m[i] = -INFINITY;
        r.lo[i] = bounds[0][first + lane / 4 + 8 * i], r.hi[i] = bounds[1][first + lane / 4 + 8 * i];
    }
    const float unit = 1.44269504f * (a.softcap > 0 ? 1 : a.scale);
    int turn = 0;
    for (int key0 = begin; key0 < all.end; key0 += KEYS, turn = turn == TILES - 1 ? 0 : turn + 1) {
        wait_older_copies();
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads(); /* the tile is there, and nobody reads the one before it any more */
        copy_keys(key0 + (TILES - 1) * KEYS, turn == 0 ? TILES - 1 : turn - 1);
        const uint32_t tk = keys + turn * tile_bytes<DIM>(), tv = values + turn * tile_bytes<DIM>();
        begin_products();
#pragma unroll
        for (int d = 0; d < DIM / 16; d++) product<KEYS, 0>::add(r.score, q[d], operand(tk + d * 2 * COLUMN, COLUMN, 128), d > 0);
        end_products();
        soften<DIM>(r, a, unit, key0, key0 < all.all_from || key0 + KEYS > all.all_to);
        uint32_t p[KEYS / 16][4];
#pragma unroll
        for (int t = 0; t < KEYS / 16; t++) {
            const float(&s0)[4] = r.score[2 * t], (&s1)[4] = r.score[2 * t + 1];
            p[t][0] = vcuda_pair(s0[0], s0[1]), p[t][1] = vcuda_pair(s0[2], s0[3]);
            p[t][2] = vcuda_pair(s1[0], s1[1]), p[t][3] = vcuda_pair(s1[2], s1[3]);
        }
        begin_products();
#pragma unroll
        for (int t = 0; t < KEYS / 16; t++) product<DIM, 1>::add(r.out, p[t], operand(tv + t * 2 * 128, 128, COLUMN), 1);
        end_products();
    }
    finish<DIM>(r, a, row0, head, first, n);
#endif
}

template <int DIM> static void run_wide(vcuda_stream *s, const vcuda_attention_args *a) {
    const size_t bytes = 2 * TILES * tile_bytes<DIM>();
    vcuda_check(s, cudaFuncSetAttribute(wide<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    wide<DIM><<<dim3((unsigned)a->heads, (unsigned)a->n_tiles), threads_of(DIM), bytes, s->stream>>>(*a);
    vcuda_launched(s);
}

/* Whether this build and the device have it for such heads and segments. */
int64_t vcuda_wide_rows(const vcuda_attention_args &a, int64_t longest, const vcuda_backend *b) {
    const int rows = queries_of((int)a.dim);
    return b->wgmma && a.dim <= 128 && longest > 64 && a.rows / rows < 65535 ? rows : 0;
}

void vcuda_attention_wide(vlm_frame *f, const vcuda_attention_args &a) {
    if (a.dim <= 64)
        vcuda_submit(f, run_wide<64>, a);
    else if (a.dim <= 80)
        vcuda_submit(f, run_wide<80>, a);
    else if (a.dim <= 96)
        vcuda_submit(f, run_wide<96>, a);
    else
        vcuda_submit(f, run_wide<128>, a);
}
