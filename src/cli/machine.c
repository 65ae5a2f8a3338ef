/* SPDX-License-Identifier: MIT */
/* The machine's limits, measured with its widest instructions. */
#include "cli/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

#define HUGE ((size_t)2 << 20)
enum { ROUNDS = 9, STEPS = 1 << 18, CHAINS = 14, ITEMS = 4 /* of work for each thread */ };

/* One item of each: reads its share of memory, or does STEPS rounds of independent vector products.
 *
 * One stream per thread reaches two thirds to four fifths of what eight do, with every line asked for 512 bytes
 * ahead; further ones gain nothing. */
enum { STREAMS = 8, AHEAD = 512 };

typedef struct share {
    const char *p;
    size_t stream; /* bytes of each stream */
} share;

static share share_of(const machine *m, size_t i) {
    size_t items = (size_t)vcore_pool_size(m->pool) * ITEMS, stream = m->bytes / items / STREAMS / 64 * 64;
    return (share) { m->reads + i * stream * STREAMS, stream };
}

static void read_plain(void *arg, size_t i, int worker) {
    machine *m = arg;
    share of = share_of(m, i);
    uint64_t s = 0;
    for (size_t at = 0; at < of.stream; at += 64)
        for (size_t k = 0; k < STREAMS; k++) {
            const char *p = of.p + k * of.stream + at;
            uint64_t v[8];
            __builtin_prefetch(p + AHEAD);
            memcpy(v, p, 64);
            for (int j = 0; j < 8; j++) s += v[j];
        }
    m->sink[worker * 16] += (float)(s & 1);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void read_avx2(void *arg, size_t i, int worker) {
    machine *m = arg;
    share of = share_of(m, i);
    __m256i s[4] = { _mm256_setzero_si256() };
    for (size_t at = 0; at < of.stream; at += 64)
        for (size_t k = 0; k < STREAMS; k++) {
            const char *p = of.p + k * of.stream + at;
            _mm_prefetch(p + AHEAD, _MM_HINT_T0);
            for (int j = 0; j < 2; j++) {
                const void *from = p + 32 * j;
                s[k % 2 * 2 + j] = _mm256_xor_si256(s[k % 2 * 2 + j], _mm256_loadu_si256(from));
            }
        }
    __m256i all = _mm256_xor_si256(_mm256_xor_si256(s[0], s[1]), _mm256_xor_si256(s[2], s[3]));
    m->sink[worker * 16] += (float)_mm256_movemask_epi8(all);
}

/* The compiler may not know a value, or it would compute equal sums, or equal products, once. */
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
            _Pragma("GCC unroll 14") for (int j = 0; j < CHAINS; j++) {                            \
                HIDE(a);                                                                           \
                s[j] = product(s[j], a);                                                           \
            }                                                                                      \
        }                                                                                          \
        for (int j = 1; j < CHAINS; j++) s[0] = s[0] + s[j];                                       \
        store((void *)&m->sink[worker * 16], s[0]);                                                \
    }
#define FMA256(s, a) _mm256_fmadd_ps(a, a, s)
#define FMA512(s, a) _mm512_fmadd_ps(a, a, s)
#define DOT512(s, a) _mm512_dpbf16_ps(s, (__m512bh)a, (__m512bh)a)
#define BYTES256(s, a)                                                                             \
    _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(a, a), a))
#define BYTES512(s, a)                                                                             \
    _mm512_add_epi32(s, _mm512_madd_epi16(_mm512_maddubs_epi16(a, a), a))
#define VNNI512(s, a) _mm512_dpbusd_epi32(s, a, a)
PRODUCTS(fma_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), FMA256, _mm256_storeu_ps)
PRODUCTS(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), FMA512, _mm512_storeu_ps)
PRODUCTS(dot_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), DOT512, _mm512_storeu_ps)
PRODUCTS(bytes_avx2, "avx2", __m256i, _mm256_setzero_si256(), BYTES256, _mm256_storeu_si256)
PRODUCTS(bytes_avx512, "avx512f,avx512bw", __m512i, _mm512_setzero_si512(), BYTES512, _mm512_storeu_si512)
PRODUCTS(bytes_vnni, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), VNNI512, _mm512_storeu_si512)
#endif

static double rate(machine *m, double work, void (*fn)(void *, size_t, int)) {
    double start = seconds_of(m->clock);
    vcore_pool_run(m->pool, (size_t)vcore_pool_size(m->pool) * ITEMS, fn, m);
    return work / (seconds_of(m->clock) - start);
}

static double reading(machine *m, const char *from, unsigned flags) {
    m->reads = from;
#if defined(__x86_64__)
    if (flags & VCORE_CPU_AVX2) return rate(m, (double)m->bytes, read_avx2);
#else
    (void)flags;
#endif
    return rate(m, (double)m->bytes, read_plain);
}

limits measure(machine *m, unsigned flags) {
    limits l = { .anonymous = reading(m, m->memory, flags) };
    if (m->mapped) l.mapped = reading(m, m->mapped, flags);
    l.read = l.mapped > l.anonymous ? l.mapped : l.anonymous;
#if defined(__x86_64__)
    double products = (double)vcore_pool_size(m->pool) * ITEMS * STEPS * CHAINS * 2;
    if (flags & VCORE_CPU_AVX512) {
        l.f32 = rate(m, products * 16, fma_avx512);
        l.int8 = rate(m, products * 64, flags & VCORE_CPU_AVX512_VNNI ? bytes_vnni : bytes_avx512);
    } else if (flags & VCORE_CPU_AVX2) {
        l.f32 = rate(m, products * 8, fma_avx2);
        l.int8 = rate(m, products * 32, bytes_avx2);
    }
    if (flags & VCORE_CPU_AVX512_BF16) l.bf16 = rate(m, products * 32, dot_avx512);
    if (l.bf16 < l.f32) l.bf16 = l.f32; /* there are CPUs where widening is faster */
#endif
    return l;
}

void *filled(size_t bytes) {
    uint16_t *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) exit(1);
    for (size_t i = 0; i < bytes / 2; i++) p[i] = (uint16_t)(0x3C00 + i * 40503u % 509);
    return p;
}

void machine_init(machine *m, int threads) {
    *m = (machine) { .pool = vcore_pool_new(threads) };
    if (!m->pool || vcore_pool_size(m->pool) > MAX_THREADS) exit(1);
    size_t n = (size_t)vcore_pool_size(m->pool), least = (size_t)256 << 20, each = (size_t)32 << 20;
    m->clock = n == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    m->bytes = n * each < least ? least : n * each;
    m->memory = aligned_alloc(HUGE, m->bytes + HUGE);
    if (!m->memory) exit(1);
    madvise(m->memory, m->bytes, MADV_HUGEPAGE);
    memset(m->memory, 1, m->bytes + HUGE); /* untouched pages may all be one page of zeros */
}

bool machine_map(machine *m, const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    void *p = MAP_FAILED;
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size >= m->bytes)
        p = mmap(NULL, m->bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (p != MAP_FAILED) m->mapped = p;
    return p != MAP_FAILED;
}

void machine_free(machine *m) {
    vcore_pool_free(m->pool);
    free(m->memory);
    if (m->mapped) munmap((void *)m->mapped, m->bytes);
}

void report_limits(machine *m, unsigned flags) {
    double read[ROUNDS], f32[ROUNDS], bf16[ROUNDS], int8[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        limits l = measure(m, flags);
        read[i] = l.read, f32[i] = l.f32, bf16[i] = l.bf16, int8[i] = l.int8;
    }
    printf("limits, %d threads: read %.1f GB/s, float32 %.1f GFLOP/s, bfloat16 %.1f GFLOP/s, 8-bit integers %.1f GOP/s\n",
           vcore_pool_size(m->pool), median(read, ROUNDS) / 1e9, median(f32, ROUNDS) / 1e9,
           median(bf16, ROUNDS) / 1e9, median(int8, ROUNDS) / 1e9);
}
