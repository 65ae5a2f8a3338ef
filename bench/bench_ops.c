/* SPDX-License-Identifier: MIT */
/* What the CPU backend's large operations reach of what the machine can do. The limits (read
 * bandwidth, float32 multiply-add, bfloat16 dot product) are measured between the operations, with
 * as many threads; every figure is a median. With one thread it is CPU time that counts, so that a
 * busy machine shows less.
 *
 *     bench_ops [threads [isa [name]]]
 *
 * isa: scalar, avx2, avx512, all (the default); name: only the operations that contain it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tensor/tensor.h"

enum { ROUNDS = 9, MAX_THREADS = 256 };

static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void) {
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

/* ---- the machine ---- */
enum { READ_BYTES = 256 << 20, STEPS = 1 << 20, CHAINS = 14 };

typedef struct machine {
    vcore_pool *pool;
    char *memory;
    float sink[MAX_THREADS * 16];
} machine;

/* One item of each: reads its share of memory, or does STEPS rounds of independent vector products.
 */
static void read_plain(void *arg, size_t i, int worker) {
    machine *m = arg;
    size_t share = READ_BYTES / (size_t)vcore_pool_size(m->pool) / 64 * 64, s = 0;
    const char *p = m->memory + i * share;
    for (size_t at = 0; at < share; at += 64) {
        size_t v[8];
        memcpy(v, p + at, 64);
        for (int j = 0; j < 8; j++) s += v[j];
    }
    m->sink[worker * 16] += (float)(s & 1);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void read_avx2(void *arg, size_t i, int worker) {
    machine *m = arg;
    size_t share = READ_BYTES / (size_t)vcore_pool_size(m->pool) / 128 * 128;
    const char *p = m->memory + i * share;
    __m256i s[4] = { _mm256_setzero_si256() };
    for (size_t at = 0; at < share; at += 128)
        for (int j = 0; j < 4; j++) {
            const void *from = p + at + 32 * j;
            s[j] = _mm256_xor_si256(s[j], _mm256_loadu_si256(from));
        }
    __m256i all = _mm256_xor_si256(_mm256_xor_si256(s[0], s[1]), _mm256_xor_si256(s[2], s[3]));
    m->sink[worker * 16] += (float)_mm256_movemask_epi8(all);
}

/* The compiler may not know a value, or it would compute equal sums once. */
#define HIDE(v) __asm__ volatile("" : "+v"(v))
#define PRODUCTS(name, isa, vector, zero, product, store)                                          \
    __attribute__((target(isa))) static void name(void *arg, size_t i, int worker) {               \
        machine *m = arg;                                                                          \
        (void)i;                                                                                   \
        vector s[CHAINS], a = zero;                                                                \
        for (int j = 0; j < CHAINS; j++) {                                                         \
            s[j] = zero;                                                                           \
            HIDE(s[j]);                                                                            \
        }                                                                                          \
        for (int step = 0; step < STEPS; step++) {                                                 \
            _Pragma("GCC unroll 14") for (int j = 0; j < CHAINS; j++) s[j] = product(s[j], a);     \
            HIDE(a);                                                                               \
        }                                                                                          \
        for (int j = 1; j < CHAINS; j++) s[0] = s[0] + s[j];                                       \
        store(&m->sink[worker * 16], s[0]);                                                        \
    }
#define FMA256(s, a) _mm256_fmadd_ps(a, a, s)
#define FMA512(s, a) _mm512_fmadd_ps(a, a, s)
#define DOT512(s, a) _mm512_dpbf16_ps(s, (__m512bh)a, (__m512bh)a)
PRODUCTS(fma_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), FMA256, _mm256_storeu_ps)
PRODUCTS(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), FMA512, _mm512_storeu_ps)
PRODUCTS(dot_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), DOT512, _mm512_storeu_ps)
#endif

/* Rates per second: bytes read, float32 and bfloat16 operations (a multiply-add is two). */
typedef struct limits {
    double read, f32, bf16;
} limits;

static double rate(machine *m, double work, void (*fn)(void *, size_t, int)) {
    double start = now();
    vcore_pool_run(m->pool, (size_t)vcore_pool_size(m->pool), fn, m);
    return work / (now() - start);
}

static limits measure(machine *m, unsigned flags) {
    limits l = { 0, 0, 0 };
    double threads = vcore_pool_size(m->pool);
#if defined(__x86_64__)
    if (flags & VCORE_CPU_AVX2) {
        l.read = rate(m, READ_BYTES, read_avx2);
        l.f32 = rate(m, threads * STEPS * CHAINS * 8 * 2, fma_avx2);
    }
    if (flags & VCORE_CPU_AVX512) l.f32 = rate(m, threads * STEPS * CHAINS * 16 * 2, fma_avx512);
    if (flags & VCORE_CPU_AVX512_BF16)
        l.bf16 = rate(m, threads * STEPS * CHAINS * 32 * 2, dot_avx512);
    if (l.bf16 < l.f32) l.bf16 = l.f32; /* there are CPUs where widening is faster */
#else
    (void)flags;
#endif
    if (l.read == 0) l.read = rate(m, READ_BYTES, read_plain);
    return l;
}

/* ---- the operations ---- */
typedef struct bench {
    machine *m;
    vlm_frame *f;
    unsigned flags;
    const char *only;
} bench;

typedef struct task {
    const char *name;
    void (*run)(bench *b, const struct task *t);
    vlm_dtype dtype;
    int64_t n, out, in; /* linear; attention: rows, heads, head_dim */
    int64_t kv_heads, past;
    vlm_linear *layers;
    int n_layers;
    double work;  /* operations, or bytes */
    char limited; /* 'r' by reading, 'f' by float32, 'b' by bfloat16 products */
} task;

static void *
filled(size_t bytes) { /* finite bfloat16, float16 and float32 values whatever it is read as */
    uint16_t *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) exit(1);
    for (size_t i = 0; i < bytes / 2; i++) p[i] = (uint16_t)(0x3C00 + i * 40503u % 509);
    return p;
}

static void run_linear(bench *b, const task *t) {
    vlm_tensor x = vlm_tensor_new(b->f, VLM_DTYPE_F32, 2, (int64_t[]) { t->n, t->in });
    for (int64_t i = 0; x.rank && i < t->n * t->in; i++)
        ((float *)x.data)[i] = (float)(i % 7) * 0.1f;
    for (int i = 0; i < t->n_layers; i++) vlm_apply_linear(b->f, x, &t->layers[i]);
}

static void run_attention(bench *b, const task *t) {
    int64_t q_shape[] = { t->n, t->out, t->in }, k_shape[] = { t->n, t->kv_heads, t->in };
    vlm_tensor q = vlm_tensor_new(b->f, VLM_DTYPE_F32, 3, q_shape);
    vlm_tensor k = vlm_tensor_new(b->f, VLM_DTYPE_F32, 3, k_shape);
    for (int64_t i = 0; q.rank && i < vtensor_count(q); i++) ((float *)q.data)[i] = (float)(i % 7);
    for (int64_t i = 0; k.rank && i < vtensor_count(k); i++) ((float *)k.data)[i] = (float)(i % 5);
    int64_t state[] = { t->past + t->n, t->kv_heads, t->in };
    vlm_kv kv = { 0 };
    if (t->past) {
        kv.k = vtensor_of(t->layers[0].weight.data.data, t->dtype, 3, state);
        kv.v = vtensor_of((char *)kv.k.data + vtensor_count(kv.k) * 2, t->dtype, 3, state);
    }
    vlm_segment s = { .length = t->n, .kv = t->past ? &kv : NULL, .past = t->past };
    vlm_attention_desc desc = { .scale = 0.1f, .causal = t->past != 0 };
    if (t->n_layers) vlm_attention(b->f, q, k, k, &s, 1, &desc);
}

/* The filling of inputs is timed with an empty run and taken off. */
static double seconds(bench *b, const task *t) {
    vtensor_frame_begin(b->f);
    double start = now();
    t->run(b, t);
    double took = now() - start;
    task empty = *t;
    empty.n_layers = 0;
    start = now();
    empty.run(b, &empty);
    took -= now() - start;
    if (vtensor_frame_end(b->f, NULL) != VLM_OK) exit(1);
    return took;
}

static void report(bench *b, const task *t) {
    if (b->only && !strstr(t->name, b->only)) return;
    double reached[ROUNDS], share[ROUNDS];
    seconds(b, t);
    for (int i = 0; i < ROUNDS; i++) {
        limits before = measure(b->m, b->flags);
        reached[i] = t->work / seconds(b, t);
        limits after = measure(b->m, b->flags);
        double limit = before.read + after.read;
        if (t->limited == 'f') limit = before.f32 + after.f32;
        if (t->limited == 'b') limit = before.bf16 + after.bf16;
        share[i] = reached[i] / (limit / 2);
    }
    printf("%-34s %8.1f %s  %5.1f %%\n", t->name, median(reached, ROUNDS) / 1e9,
           t->limited == 'r' ? "GB/s  " : "GFLOP/s", 100 * median(share, ROUNDS));
    fflush(stdout);
}

static void report_limits(bench *b) {
    double read[ROUNDS], f32[ROUNDS], bf16[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        limits l = measure(b->m, b->flags);
        read[i] = l.read, f32[i] = l.f32, bf16[i] = l.bf16;
    }
    printf("limits, %d threads: read %.1f GB/s, float32 %.1f GFLOP/s, bfloat16 %.1f GFLOP/s\n",
           vcore_pool_size(b->m->pool), median(read, ROUNDS) / 1e9, median(f32, ROUNDS) / 1e9,
           median(bf16, ROUNDS) / 1e9);
}

static void bench_linear(bench *b, vlm_dtype dtype, int64_t n, int64_t out, int64_t in) {
    enum { TOTAL = 256 << 20 };
    size_t bytes = (size_t)(out * in) * vtensor_dtype_size(dtype);
    task t = { .run = run_linear, .dtype = dtype, .n = n, .out = out, .in = in };
    t.n_layers = n < 16 ? (int)(TOTAL / bytes) + 1 : 2;
    t.layers = calloc((size_t)t.n_layers, sizeof *t.layers);
    if (!t.layers) exit(1);
    char *memory = filled((size_t)t.n_layers * bytes), name[64];
    for (int i = 0; i < t.n_layers; i++)
        t.layers[i].weight = (vlm_matrix) { .out = out,
                                            .in = in,
                                            .data = vtensor_of(memory + (size_t)i * bytes, dtype, 2,
                                                               (int64_t[]) { out, in }) };
    snprintf(name, sizeof name, "linear %s n=%d %d x %d", vtensor_dtype_name(dtype), (int)n,
             (int)out, (int)in);
    t.name = name;
    t.limited = n < 16 ? 'r' : dtype == VLM_DTYPE_BF16 ? 'b' : 'f';
    t.work =
        t.limited == 'r' ? (double)bytes * t.n_layers : 2.0 * (double)(n * out * in) * t.n_layers;
    report(b, &t);
    free(memory);
    free(t.layers);
}

static void bench_attention(bench *b, int64_t n, int64_t past, int64_t heads, int64_t kv_heads,
                            int64_t dim) {
    int64_t keys = past + n;
    vlm_linear state = { .weight.data.data = filled((size_t)(keys * kv_heads * dim) * 4) };
    char name[64];
    task t = { .name = name,
               .run = run_attention,
               .dtype = VLM_DTYPE_BF16,
               .n = n,
               .out = heads,
               .in = dim,
               .kv_heads = kv_heads,
               .past = past,
               .layers = &state,
               .n_layers = 1 };
    snprintf(name, sizeof name, "attention n=%d past=%d %d/%d x %d", (int)n, (int)past, (int)heads,
             (int)kv_heads, (int)dim);
    t.limited = past && n < 16 ? 'r' : 'f';
    t.work = t.limited == 'r' ? (double)(keys * kv_heads * dim) * 4
                              : 4.0 * (double)(n * keys * heads * dim);
    report(b, &t);
    free(state.weight.data.data);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        unsigned mask;
    } isas[] = { { "scalar", ~0u },
                 { "avx2", VCORE_CPU_AVX512 | VCORE_CPU_AVX512_BF16 | VCORE_CPU_AVX512_VNNI },
                 { "avx512", VCORE_CPU_AVX512_BF16 | VCORE_CPU_AVX512_VNNI },
                 { "all", 0 } };
    vtensor_cpu_options options = { .threads = argc > 1 ? atoi(argv[1]) : 0 };
    for (size_t i = 0; argc > 2 && i < sizeof isas / sizeof isas[0]; i++)
        if (strcmp(argv[2], isas[i].name) == 0) options.cpu_mask = isas[i].mask;
    if (options.threads == 1) clock_used = CLOCK_PROCESS_CPUTIME_ID;
    static machine m;
    m.pool = vcore_pool_new(options.threads);
    m.memory = filled(READ_BYTES);
    vtensor_backend *backend;
    bench b = { .m = &m, .flags = vcore_cpu_flags() & ~options.cpu_mask };
    if (!b.flags) b.flags = vcore_cpu_flags(); /* scalar code beside what the machine can do */
    if (argc > 3) b.only = argv[3];
    if (!m.pool || vcore_pool_size(m.pool) > MAX_THREADS
        || vtensor_backend_cpu(&backend, &options, NULL) != VLM_OK
        || vtensor_frame_new(&b.f, backend, VTENSOR_FAST, NULL) != VLM_OK)
        return 1;
    report_limits(&b);
    bench_linear(&b, VLM_DTYPE_BF16, 1, 2048, 2048);
    bench_linear(&b, VLM_DTYPE_F16, 1, 2048, 2048);
    bench_linear(&b, VLM_DTYPE_F32, 1, 2048, 2048);
    bench_linear(&b, VLM_DTYPE_BF16, 1, 1536, 576);
    bench_linear(&b, VLM_DTYPE_BF16, 4, 2048, 2048);
    bench_linear(&b, VLM_DTYPE_BF16, 16, 2048, 2048);
    bench_linear(&b, VLM_DTYPE_BF16, 512, 2048, 2048);
    bench_linear(&b, VLM_DTYPE_F32, 512, 2048, 2048);
    bench_linear(&b, VLM_DTYPE_BF16, 1024, 3072, 768);
    bench_linear(&b, VLM_DTYPE_F32, 1024, 768, 3072);
    bench_attention(&b, 1024, 0, 12, 12, 64);
    bench_attention(&b, 1024, 0, 16, 16, 80);
    bench_attention(&b, 512, 0, 16, 2, 128);
    bench_attention(&b, 1, 8191, 16, 2, 128);
    bench_attention(&b, 1, 2047, 9, 3, 64);
    report_limits(&b);
    vtensor_frame_free(b.f);
    vtensor_backend_free(backend);
    vcore_pool_free(m.pool);
    free(m.memory);
    return 0;
}
