/* SPDX-License-Identifier: MIT */
/* What the tests of src/tensor share: numbers to compute with, frames at every instruction set and
 * thread count, and how far two arrays are apart. */
#ifndef TENSOR_CHECK_H
#define TENSOR_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

/* ---- random numbers ---- */
static uint64_t rng_state = 1;

static inline uint64_t rng(void) {
    rng_state += 0x9E3779B97F4A7C15u;
    uint64_t z = rng_state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* An integer in [lo, hi]. */
static inline int64_t rng_int(int64_t lo, int64_t hi) {
    return lo + (int64_t)(rng() % (uint64_t)(hi - lo + 1));
}

/* In [-1, 1). */
static inline float rng_float(void) {
    return (float)((double)(rng() >> 11) * 0x1p-52 - 1);
}

/* ---- backends at every level ---- */
typedef struct level {
    const char *name;
    unsigned mask;
} level;

static const level levels[] = {
    { "scalar", ~0u },
#if defined(__aarch64__)
    { "neon", ~(unsigned)VCORE_CPU_NEON },
    { "neondot", ~(unsigned)(VCORE_CPU_NEON | VCORE_CPU_NEON_DOT) },
#else
    { "avx2", ~(unsigned)VCORE_CPU_AVX2 },
    { "avx512", ~(unsigned)(VCORE_CPU_AVX2 | VCORE_CPU_AVX512) },
#endif
    { "all", 0 },
};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

static inline vtensor_backend *open_backend(int level_index, int threads) {
    vtensor_cpu_options options = { .threads = threads, .cpu_mask = levels[level_index].mask };
    vtensor_backend *b = NULL;
    assert_int_equal(vtensor_backend_cpu(&b, &options, NULL), VLM_OK);
    return b;
}

static inline vlm_frame *open_frame(vtensor_backend *b, vtensor_mode mode) {
    vlm_frame *f = NULL;
    assert_int_equal(vtensor_frame_new(&f, b, mode, NULL), VLM_OK);
    vtensor_frame_begin(f);
    return f;
}

static inline void end_ok(vlm_frame *f) {
    vlm_error err = VLM_ERROR_INIT;
    if (vtensor_frame_end(f, &err) != VLM_OK) fail_msg("frame: %s", err.message);
}

/* ---- tensors with known values ---- */
/* A tensor in host memory, its values as the double reference sees them, and the memory to free. */
typedef struct array {
    vlm_tensor t;
    double *v;
    char *memory;
} array;

static inline double stored(vlm_dtype dtype, float value, void *at) {
    uint16_t h;
    switch (dtype) {
    case VLM_DTYPE_BF16:
        h = vcore_f32_to_bf16(value);
        memcpy(at, &h, 2);
        return vcore_bf16_to_f32(h);
    case VLM_DTYPE_F16:
        h = vcore_f32_to_f16(value);
        memcpy(at, &h, 2);
        return vcore_f16_to_f32(h);
    default: memcpy(at, &value, 4); return value;
    }
}

/* Random values scaled by `scale`; `shift` bytes of misalignment, as in a mapped file. */
static inline array make_array(vlm_dtype dtype, float scale, size_t shift, int rank,
                               const int64_t *shape) {
    array a = { .t = vtensor_of(NULL, dtype, rank, shape) };
    size_t n = (size_t)vtensor_count(a.t), size = vtensor_dtype_size(dtype);
    a.memory = malloc(n * size + shift + 1);
    a.v = malloc((n + 1) * sizeof *a.v);
    a.t.data = a.memory + shift;
    for (size_t i = 0; i < n; i++)
        a.v[i] = stored(dtype, rng_float() * scale, a.memory + shift + i * size);
    return a;
}

static inline void free_array(array *a) {
    free(a->memory);
    free(a->v);
}

/* ‖a - b‖ / ‖b‖ */
static inline double distance(const float *a, const double *b, size_t n) {
    double d = 0, s = 1e-60;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i])) return INFINITY;
        d += (a[i] - b[i]) * (a[i] - b[i]);
        s += b[i] * b[i];
    }
    return sqrt(d / s);
}

#define assert_near(got, want, n, tolerance, ...)                                                  \
    do {                                                                                           \
        double d_ = distance(got, want, n);                                                        \
        if (!(d_ <= (tolerance))) {                                                                \
            print_error(__VA_ARGS__);                                                              \
            fail_msg(": relative error %.3g > %.3g", d_, (double)(tolerance));                     \
        }                                                                                          \
    } while (0)

/* A linear layer without bias, and its matrix, which is to be freed. */
static inline array random_matrix(vlm_linear *l, vlm_dtype dtype, int64_t out, int64_t in) {
    array w = make_array(dtype, 1, (size_t)rng_int(0, 5), 2, (int64_t[]) { out, in });
    *l = (vlm_linear) { .weight = { .out = out, .in = in, .data = w.t } };
    return w;
}

#endif
