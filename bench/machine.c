/* SPDX-License-Identifier: MIT */
/* The machine's limits, measured with its widest instructions. */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

enum { ROUNDS = 9, READ_BYTES = 256 << 20, STEPS = 1 << 20, CHAINS = 14 };

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

static double rate(machine *m, double work, void (*fn)(void *, size_t, int)) {
    double start = seconds_of(m->clock);
    vcore_pool_run(m->pool, (size_t)vcore_pool_size(m->pool), fn, m);
    return work / (seconds_of(m->clock) - start);
}

limits measure(machine *m, unsigned flags) {
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

void *filled(size_t bytes) {
    uint16_t *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) exit(1);
    for (size_t i = 0; i < bytes / 2; i++) p[i] = (uint16_t)(0x3C00 + i * 40503u % 509);
    return p;
}

void machine_init(machine *m, int threads) {
    m->pool = vcore_pool_new(threads);
    if (!m->pool || vcore_pool_size(m->pool) > MAX_THREADS) exit(1);
    m->clock = vcore_pool_size(m->pool) == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    m->memory = filled(READ_BYTES);
}

void machine_free(machine *m) {
    vcore_pool_free(m->pool);
    free(m->memory);
}

void report_limits(machine *m, unsigned flags) {
    double read[ROUNDS], f32[ROUNDS], bf16[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        limits l = measure(m, flags);
        read[i] = l.read, f32[i] = l.f32, bf16[i] = l.bf16;
    }
    printf("limits, %d threads: read %.1f GB/s, float32 %.1f GFLOP/s, bfloat16 %.1f GFLOP/s\n",
           vcore_pool_size(m->pool), median(read, ROUNDS) / 1e9, median(f32, ROUNDS) / 1e9,
           median(bf16, ROUNDS) / 1e9);
}
