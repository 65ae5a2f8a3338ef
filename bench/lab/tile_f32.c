/* SPDX-License-Identifier: MIT */
/* Versions of the float32 tile of AVX2, in turns with the multiply-add rate of one core, as shares of it in
 * CPU time: what tile_body of simd_kernels.h is beside what it was and what else was tried. Operands are
 * packed; C has rows of 2,096 floats. lab/dense.md says what came out.
 *
 *     cc -O3 -std=c11 -D_GNU_SOURCE -o tile_f32 bench/lab/tile_f32.c && ./tile_f32 */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define EACH(i, n) _Pragma("GCC unroll 16") for (size_t i = 0; i < (n); i++)
enum { ROUNDS = 31, STEPS = 1 << 19, CHAINS = 14, C_ROW = 2096 };

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static volatile float sink;

AVX2 static double peak(void) {
    __m256 s[CHAINS], a = _mm256_setzero_ps();
    EACH (j, CHAINS) {
        s[j] = a;
        __asm__ volatile("" : "+x"(s[j]));
    }
    double start = cpu_seconds();
    for (int step = 0; step < STEPS; step++) {
        EACH (j, CHAINS) s[j] = _mm256_fmadd_ps(a, a, s[j]);
        __asm__ volatile("" : "+x"(a));
    }
    double took = cpu_seconds() - start;
    EACH (j, CHAINS) sink = s[j][0];
    return (double)STEPS * CHAINS * 16 / took;
}

typedef void tile(float *c, const float *a, const float *b, size_t k);

/* MR rows of NV vectors. AHEAD: a is prefetched so many steps ahead, EVERY so many steps a line for each
 * 64 bytes; RESULT: c is prefetched. UNROLL: a pragma. */
#define TILE(name, MR, NV, AHEAD, EVERY, RESULT, UNROLL)                                           \
    AVX2 static void name(float *c, const float *a, const float *b, size_t k) {                    \
        __m256 s[MR][NV];                                                                          \
        if (RESULT) EACH (r, MR) {                                                                 \
                __builtin_prefetch(c + r * C_ROW);                                                 \
                __builtin_prefetch(c + r * C_ROW + 8 * NV - 1);                                    \
            }                                                                                      \
        EACH (r, MR) EACH (j, NV) s[r][j] = _mm256_setzero_ps();                                   \
        for (size_t i = 0; i < k; i += EVERY) {                                                    \
            if (AHEAD)                                                                             \
                for (size_t at = 0; at < EVERY * MR; at += 16)                                     \
                    __builtin_prefetch(a + AHEAD * MR + at);                                       \
            _Pragma(UNROLL) for (size_t e = 0; e < EVERY; e++, a += MR, b += 8 * NV) {             \
                __m256 bv[NV];                                                                     \
                EACH (j, NV) bv[j] = _mm256_loadu_ps(b + 8 * j);                                   \
                EACH (r, MR) {                                                                     \
                    __m256 av = _mm256_broadcast_ss(a + r);                                        \
                    EACH (j, NV) s[r][j] = _mm256_fmadd_ps(av, bv[j], s[r][j]);                    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        EACH (r, MR)                                                                               \
            EACH (j, NV) {                                                                         \
                float *to = c + r * C_ROW + 8 * j;                                                 \
                _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), s[r][j]));                 \
            }                                                                                      \
    }
TILE(was, 6, 2, 64, 1, 0, "GCC unroll 1")
TILE(by_lines, 6, 2, 64, 8, 0, "GCC unroll 8")
TILE(plain, 6, 2, 0, 4, 0, "GCC unroll 4")
TILE(is, 6, 2, 0, 4, 1, "GCC unroll 4")
TILE(wide, 4, 3, 0, 4, 0, "GCC unroll 4")
TILE(wide_result, 4, 3, 0, 4, 1, "GCC unroll 4")
static const struct {
    const char *name;
    tile *run;
    size_t mr, nr;
} versions[] = { { "was", was, 6, 16 },     { "by lines", by_lines, 6, 16 }, { "plain", plain, 6, 16 },
                 { "is", is, 6, 16 },       { "4 x 24", wide, 4, 24 },       { "4 x 24, c", wide_result, 4, 24 } };
enum { VERSIONS = sizeof versions / sizeof versions[0] };

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double share(size_t v, float *c, const float *a, const float *b, size_t k, size_t rows, size_t outs) {
    size_t mr = versions[v].mr, nr = versions[v].nr, tiles = rows / mr, panels = outs / nr;
    size_t times = (size_t)3e8 / (rows * outs * k) + 1;
    double before = peak(), start = cpu_seconds();
    for (size_t i = 0; i < times; i++)
        for (size_t o = 0; o < panels; o++)
            for (size_t t = 0; t < tiles; t++)
                versions[v].run(c + t * mr * C_ROW + o * nr, a + t * mr * k, b + o * nr * k, k);
    double took = cpu_seconds() - start, work = 2.0 * (double)(tiles * mr * panels * nr * k * times);
    return work / took / ((before + peak()) / 2);
}

static void compare(size_t k, size_t rows, size_t outs) {
    float *a = calloc((rows + 80) * k, sizeof *a), *b = calloc((outs + 32) * k, sizeof *b);
    float *c = calloc((rows + 16) * C_ROW, sizeof *c);
    static double shares[VERSIONS][ROUNDS];
    if (!a || !b || !c) exit(1);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t v = 0; v < VERSIONS; v++) shares[v][round] = share(v, c, a, b, k, rows, outs);
    printf("k %zu, %zu rows, %zu outs:", k, rows, outs);
    for (size_t v = 0; v < VERSIONS; v++) {
        qsort(shares[v], ROUNDS, sizeof shares[v][0], ascending);
        printf("  %s %.1f %%", versions[v].name, 100 * shares[v][ROUNDS / 2]);
    }
    putchar('\n');
    free(a);
    free(b);
    free(c);
}

int main(void) {
    compare(256, 48, 48); /* all in the first two caches */
    compare(256, 504, 192);
    compare(192, 504, 192);
    compare(256, 240, 2064); /* a result that comes from memory */
    return 0;
}
