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
#elif defined(__aarch64__)
#include <arm_neon.h>
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
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

#define HUGE ((size_t)2 << 20)
enum { ROUNDS = 9, STEPS = 1 << 18, ITEMS = 32 /* of work for each thread */ };

/* One item of each: reads its share of memory, or does STEPS rounds of independent vector products.
 *
 * One stream per thread reaches two thirds to four fifths of what eight do, with every line asked for 512 bytes
 * ahead; further ones gain nothing. */
enum { STREAMS = 8, AHEAD = 512 };

/* Bytes of each stream. Streams whole powers of two apart would all want the same places in the caches. */
static size_t stream_bytes(const machine *m) {
    size_t items = (size_t)vcore_pool_size(m->pool) * ITEMS;
    return (m->bytes / items / STREAMS - 1088) / 64 * 64;
}

static const char *streams_of(const machine *m, size_t i) {
    return m->reads + i * STREAMS * stream_bytes(m);
}

static void read_plain(void *arg, size_t i, int worker) {
    machine *m = arg;
    const char *streams = streams_of(m, i);
    size_t n = stream_bytes(m);
    uint64_t s = 0;
    for (size_t at = 0; at < n; at += 64)
        for (size_t k = 0; k < STREAMS; k++) {
            const char *p = streams + k * n + at;
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
    const char *streams = streams_of(m, i);
    size_t n = stream_bytes(m);
    __m256i s[4] = { _mm256_setzero_si256() };
    for (size_t at = 0; at < n; at += 64)
        for (size_t k = 0; k < STREAMS; k++) {
            const char *p = streams + k * n + at;
            _mm_prefetch(p + AHEAD, _MM_HINT_T0);
            for (int j = 0; j < 2; j++) {
                const void *from = p + 32 * j;
                s[k % 2 * 2 + j] = _mm256_xor_si256(s[k % 2 * 2 + j], _mm256_loadu_si256(from));
            }
        }
    __m256i all = _mm256_xor_si256(_mm256_xor_si256(s[0], s[1]), _mm256_xor_si256(s[2], s[3]));
    m->sink[worker * 16] += (float)_mm256_movemask_epi8(all);
}

#endif

#if defined(__x86_64__)
enum { CHAINS = 14 }; /* sums that do not wait for each other, as many as there are registers for */
#define HIDE(v) __asm__ volatile("" : "+v"(v))
#elif defined(__aarch64__)
enum { CHAINS = 28 };
#define HIDE(v) __asm__ volatile("" : "+w"(v))
#endif
/* The compiler may not know a value, or it would compute equal sums, or equal products, once. */
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
            _Pragma("GCC unroll 28") for (int j = 0; j < CHAINS; j++) {                            \
                HIDE(a);                                                                           \
                s[j] = product(s[j], a);                                                           \
            }                                                                                      \
        }                                                                                          \
        for (int j = 1; j < CHAINS; j++) s[0] = s[0] + s[j];                                       \
        store((void *)&m->sink[worker * 16], s[0]);                                                \
    }
#if defined(__x86_64__)
#define FMA256(s, a) _mm256_fmadd_ps(a, a, s)
#define FMA512(s, a) _mm512_fmadd_ps(a, a, s)
#define DOT512(s, a) _mm512_dpbf16_ps(s, (__m512bh)a, (__m512bh)a)
#define BYTES256(s, a)                                                                             \
    _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(a, a), a))
#define BYTES512(s, a)                                                                             \
    _mm512_add_epi32(s, _mm512_madd_epi16(_mm512_maddubs_epi16(a, a), a))
#define VNNI256(s, a) _mm256_dpbusd_avx_epi32(s, a, a)
#define VNNI512(s, a) _mm512_dpbusd_epi32(s, a, a)
PRODUCTS(fma_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), FMA256, _mm256_storeu_ps)
PRODUCTS(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), FMA512, _mm512_storeu_ps)
PRODUCTS(dot_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), DOT512, _mm512_storeu_ps)
PRODUCTS(bytes_avx2, "avx2", __m256i, _mm256_setzero_si256(), BYTES256, _mm256_storeu_si256)
PRODUCTS(bytes_avx_vnni, "avx2,avxvnni", __m256i, _mm256_setzero_si256(), VNNI256, _mm256_storeu_si256)
PRODUCTS(bytes_avx512, "avx512f,avx512bw", __m512i, _mm512_setzero_si512(), BYTES512, _mm512_storeu_si512)
PRODUCTS(bytes_vnni, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), VNNI512, _mm512_storeu_si512)
#elif defined(__aarch64__)
#define FMA128(s, a) vfmaq_f32(s, a, a)
#ifdef __clang__ /* which has other names for the same */
#define BASE "neon"
#define WITH_DOT "dotprod"
#else
#define BASE "arch=armv8-a"
#define WITH_DOT "arch=armv8.2-a+dotprod"
#endif
PRODUCTS(fma_neon, BASE, float32x4_t, vdupq_n_f32(0), FMA128, vst1q_f32)
/* vdotq_s32(s, a, a), which clang's header has only where all of the file may use it. */
static inline __attribute__((target(WITH_DOT))) int32x4_t dot128(int32x4_t s, int32x4_t a) {
    __asm__("sdot %0.4s, %1.16b, %1.16b" : "+w"(s) : "w"(a));
    return s;
}
PRODUCTS(bytes_neon, WITH_DOT, int32x4_t, vdupq_n_s32(0), dot128, vst1q_s32)
#endif

static double rate(machine *m, double work, void (*fn)(void *, size_t, int)) {
    double start = seconds_of(m->clock);
    vcore_pool_run(m->pool, (size_t)vcore_pool_size(m->pool) * ITEMS, fn, m);
    return work / (seconds_of(m->clock) - start);
}

static double reading(machine *m, const char *from, unsigned flags) {
    double bytes = (double)(stream_bytes(m) * STREAMS * (size_t)vcore_pool_size(m->pool) * ITEMS);
    m->reads = from;
#if defined(__x86_64__)
    if (flags & VCORE_CPU_AVX2) return rate(m, bytes, read_avx2);
#else
    (void)flags;
#endif
    return rate(m, bytes, read_plain);
}

limits measure(machine *m, unsigned flags) {
    limits l = { .anonymous = reading(m, m->memory, flags) };
    if (m->mapped) l.mapped = reading(m, m->mapped, flags);
    l.read = l.mapped > l.anonymous ? l.mapped : l.anonymous;
#if defined(__x86_64__) || defined(__aarch64__)
    double products = (double)vcore_pool_size(m->pool) * ITEMS * STEPS * CHAINS * 2;
#endif
#if defined(__x86_64__)
    if (flags & VCORE_CPU_AVX512) {
        l.f32 = rate(m, products * 16, fma_avx512);
        l.int8 = rate(m, products * 64, flags & VCORE_CPU_AVX512_VNNI ? bytes_vnni : bytes_avx512);
    } else if (flags & VCORE_CPU_AVX2) {
        l.f32 = rate(m, products * 8, fma_avx2);
        l.int8 = rate(m, products * 32, flags & VCORE_CPU_AVX_VNNI ? bytes_avx_vnni : bytes_avx2);
    }
    if (flags & VCORE_CPU_AVX512_BF16) l.bf16 = rate(m, products * 32, dot_avx512);
#elif defined(__aarch64__)
    l.f32 = rate(m, products * 4, fma_neon);
    if (flags & VCORE_CPU_NEON_DOT) l.int8 = rate(m, products * 16, bytes_neon);
#endif
    if (l.bf16 < l.f32) l.bf16 = l.f32; /* there are CPUs where widening is faster */
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
    if (!m->pool) exit(1);
    size_t n = (size_t)vcore_pool_size(m->pool), least = (size_t)256 << 20, each = (size_t)32 << 20;
    m->clock = n == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    m->bytes = n * each < least ? least : n * each;
    m->memory = aligned_alloc(HUGE, m->bytes + HUGE);
    m->sink = calloc(n * 16, sizeof *m->sink);
    if (!m->memory || !m->sink) exit(1);
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
    free(m->sink);
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
