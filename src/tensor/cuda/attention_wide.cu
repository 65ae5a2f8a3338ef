/* SPDX-License-Identifier: MIT */
/* Attention of many queries on compute capability 9.0: groups of four warps have 64 queries each, and multiply with
 * wgmma: queries and weights from registers, a tile of 64 keys or values from shared memory, where it lies in blocks of
 * 8 rows by 16 bytes, so that keys are read along their rows and values across them. Keys and values are laid out like that
 * in memory first, rotated and rounded, so that the copy engine brings a tile of both as one piece; barriers in shared
 * memory tell of tiles that are there and of tiles that nobody reads any more, so that groups drift apart: while one softens
 * its scores the others multiply. */
#include "tensor/cuda/tiles.h"

/* STAGES: tiles in shared memory at a time; AHEAD: tiles asked for before they are wanted, one less than that lets groups
 * drift; COLUMN: bytes between neighbouring 16 bytes of a row */
enum { STAGES = 5, AHEAD = STAGES - 2, COLUMN = KEYS * 16 };
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

/* ---- barriers and copies ---- */
__device__ static void make_barrier(uint64_t *b, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
__device__ static void arrive(uint64_t *b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
/* Until the phase of that parity has ended. */
__device__ static void wait_for(uint64_t *b, int parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra again;\n}" ::"r"(shared_address(b)),
        "r"(parity)
        : "memory");
}
/* The barrier's phase ends when they are there. */
__device__ static void copy_to(char *to, const char *from, int bytes, uint64_t *b) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)), "l"(from),
                 "r"(bytes), "r"(shared_address(b))
                 : "memory");
}

/* A place among STAGES, and how often it was come to. */
struct place {
    int at, turn;

    __device__ void next(void) {
        if (++at == STAGES) at = 0, turn ^= 1;
    }
};

/* Values e and e + 1 of a head x, rotated and rounded. */
__device__ static uint32_t rotated_pair(const vcuda_attention_args &a, const float *x, int64_t row, int e) {
    const int half = (int)a.half;
    if (!a.fours || e >= 2 * half) return a.fours ? vcuda_pair(x[e], x[e + 1]) : vcuda_pair(vcuda_rotated(a, x, row, e), vcuda_rotated(a, x, row, e + 1));
    const int i = e < half ? e : e - half;
    const float sign = e < half ? -1 : 1;
    const float2 u = __ldg((const float2 *)(x + e)), w = __ldg((const float2 *)(x + (e < half ? e + half : e - half)));
    const float2 c = __ldg((const float2 *)(a.cos + row * half + i)), s = __ldg((const float2 *)(a.sin + row * half + i));
    return vcuda_pair(u.x * c.x + sign * w.x * s.x, u.y * c.y + sign * w.y * s.y);
}

/* A warp's sixteen queries as the products take them, of which there are n. */
template <int DIM> __device__ static void load_queries(uint32_t (&q)[DIM / 16][4], const vcuda_attention_args &a, int64_t row0, int64_t head, int n) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = g + i % 2 * 8, d = k * 16 + i / 2 * 8 + c * 2;
            const float *x = (const float *)a.q + (row0 + row) * a.q_row + head * a.q_head;
            q[k][i] = row < n && d < a.dim ? rotated_pair(a, x, row0 + row, d) : 0;
        }
}
#endif

template <int DIM> __global__ __launch_bounds__(threads_of(DIM), DIM <= 80 ? 2 : 1) static void wide(const __grid_constant__ vcuda_attention_args a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(128) char shared[]; /* STAGES tiles of keys and values */
    const int QUERIES = queries_of(DIM), BYTES = 2 * tile_bytes<DIM>();
    __shared__ int bounds[2][QUERIES];
    __shared__ __align__(8) uint64_t full[STAGES], empty[STAGES];
    const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * 16;
    const int64_t heads = a.heads, head = blockIdx.x % heads, kv_head = head / (heads / a.kv_heads);
    const vcuda_tile tile = a.tiles[a.n_tiles - 1 - blockIdx.x / heads]; /* the longest of a causal segment first */
    const vcuda_segment *s = &a.segments[tile.segment];
    const int64_t row0 = s->start + tile.first;
    const int n = (int)(s->length - tile.first < QUERIES ? s->length - tile.first : QUERIES);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) make_barrier(&full[i], 1), make_barrier(&empty[i], threads_of(DIM) / 32);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    const reach all = reach_of<QUERIES>(a, s, tile.first, n, bounds);
    const int begin = all.begin < all.end ? all.begin / KEYS : 0, tiles = all.begin < all.end ? (all.end + KEYS - 1) / KEYS - begin : 0;
    const char *laid = (const char *)a.laid + ((s->first_laid + begin) * a.kv_heads + kv_head) * BYTES;
    const int64_t step = a.kv_heads * BYTES;
    place asked = { 0, 1 };
    auto ask = [&](int i) { /* one thread's */
        if (i >= STAGES) wait_for(&empty[asked.at], asked.turn);
        copy_to(shared + asked.at * BYTES, laid + i * step, BYTES, &full[asked.at]);
        asked.next();
    };
    if (threadIdx.x == 0)
        for (int i = 0; i < AHEAD && i < tiles; i++) ask(i);
    uint32_t q[DIM / 16][4];
    load_queries<DIM>(q, a, row0 + first, head, n - first);
    rows16<DIM> r = {};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        r.m[i] = -INFINITY;
        r.lo[i] = bounds[0][first + lane / 4 + 8 * i], r.hi[i] = bounds[1][first + lane / 4 + 8 * i];
    }
    const float unit = 1.44269504f * (a.softcap > 0 ? 1 : a.scale);
    place now = { 0, 0 };
    for (int i = 0; i < tiles; i++, now.next()) {
        const int key0 = (begin + i) * KEYS;
        if (threadIdx.x == 0 && i + AHEAD < tiles) ask(i + AHEAD);
        __syncwarp();
        wait_for(&full[now.at], now.turn);
        const uint32_t tk = shared_address(shared + now.at * BYTES), tv = tk + tile_bytes<DIM>();
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
        if (lane == 0) arrive(&empty[now.at]);
    }
    finish<DIM>(r, a, row0, head, first, n);
#endif
}

/* ---- keys and values as the products read them ---- */
/* A thread has a position's 16 bytes, eight lanes neighbouring positions, four of these neighbouring bytes. What is new goes into
 * the state as well. */
enum { LAY_THREADS = 256 };
template <int DIM> static __host__ __device__ constexpr int slices_of(void) {
    return (DIM / 8 + 3) / 4;
}

template <int DIM> __global__ __launch_bounds__(LAY_THREADS) static void lay(const __grid_constant__ vcuda_attention_args a) {
    const bool values = blockIdx.z >= slices_of<DIM>();
    const int chunk = blockIdx.z % slices_of<DIM>() * 4 + threadIdx.x / 8 % 4, at = threadIdx.x / 32 * 8 + threadIdx.x % 8, d = chunk * 8;
    if (chunk >= DIM / 8) return;
    const vcuda_tile tile = a.key_tiles[blockIdx.x];
    const vcuda_segment *s = &a.segments[tile.segment];
    const int64_t head = blockIdx.y, key = tile.first + at, row = s->start + key - s->past;
    const void *rows = values ? s->v : s->k; /* the state's */
    __nv_bfloat16 *state = (__nv_bfloat16 *)rows + key * (values ? s->v_row : s->k_row) + head * (values ? s->v_head : s->k_head) + d;
    uint4 eight = uint4();
    if (key < s->past && d < a.dim) {
        eight = *(const uint4 *)state;
    } else if (key < s->past + s->length && d < a.dim) {
        float v[2][4];
        for (int i = 0; i < 2; i++)
            if (values)
                vcuda_take4<false>(v[i], a, a.v + row * a.v_row + head * a.v_head, row, d + 4 * i);
            else
                vcuda_take4<true>(v[i], a, a.k + row * a.k_row + head * a.k_head, row, d + 4 * i);
        eight = make_uint4(vcuda_pair(v[0][0], v[0][1]), vcuda_pair(v[0][2], v[0][3]), vcuda_pair(v[1][0], v[1][1]), vcuda_pair(v[1][2], v[1][3]));
        if (s->stored) *(uint4 *)state = eight;
    }
    ((uint4 *)a.laid)[((blockIdx.x * a.kv_heads + head) * 2 + values) * (KEYS * DIM / 8) + chunk * KEYS + at] = eight;
}

template <int DIM> static void run_lay(vcuda_stream *s, const vcuda_attention_args *a) {
    lay<DIM><<<dim3((unsigned)a->n_key_tiles, (unsigned)a->kv_heads, 2 * slices_of<DIM>()), LAY_THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

template <int DIM> static void run_wide(vcuda_stream *s, const vcuda_attention_args *a) {
    const size_t bytes = 2 * STAGES * tile_bytes<DIM>();
    vcuda_check(s, cudaFuncSetAttribute(wide<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    wide<DIM><<<(unsigned)(a->heads * a->n_tiles), threads_of(DIM), bytes, s->stream>>>(*a);
    vcuda_launched(s);
}

/* Whether this build and the device have it for such heads and segments. */
int64_t vcuda_wide_rows(const vcuda_attention_args &a, int64_t longest, const vcuda_backend *b) {
    const int rows = queries_of((int)a.dim);
    return b->wgmma && a.dim <= 128 && longest > KEYS && (a.rows + rows) / rows * a.heads < INT32_MAX / 2 ? rows : 0;
}

template <int DIM> static void submit(vlm_frame *f, vcuda_attention_args a) {
    a.laid = vcuda_temporary(f, (size_t)(a.n_key_tiles * a.kv_heads) * 2 * tile_bytes<DIM>());
    if (!a.laid) return; /* the frame failed */
    vcuda_submit(f, run_lay<DIM>, a);
    vcuda_submit(f, run_wide<DIM>, a);
}

void vcuda_attention_wide(vlm_frame *f, const vcuda_attention_args &a) {
    if (a.dim <= 64)
        submit<64>(f, a);
    else if (a.dim <= 80)
        submit<80>(f, a);
    else if (a.dim <= 96)
        submit<96>(f, a);
    else
        submit<128>(f, a);
}
