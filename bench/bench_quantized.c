/* SPDX-License-Identifier: MIT */
/* What products with quantized weights reach of what the machine can do: few rows beside the read
 * bandwidth (weights, scales and biases), many rows beside the integer dot product. The limits are
 * measured between the products, with as many threads; every figure is a median.
 *
 *     bench_quantized [threads [isa [name]]]
 *
 * isa: a name of vcore_cpu_levels, or all (the default); name: only the products that contain it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { ROUNDS = 9 };

typedef struct format {
    const char *name;
    vlm_storage storage;
    int bits, group;
} format;

static const format formats[] = {
    { "4 bits g64", VLM_STORAGE_AFFINE, 4, 64 }, { "8 bits g64", VLM_STORAGE_AFFINE, 8, 64 },
    { "4 bits g32", VLM_STORAGE_AFFINE, 4, 32 }, { "4 bits g128", VLM_STORAGE_AFFINE, 4, 128 },
    { "2 bits g64", VLM_STORAGE_AFFINE, 2, 64 }, { "3 bits g64", VLM_STORAGE_AFFINE, 3, 64 },
    { "5 bits g64", VLM_STORAGE_AFFINE, 5, 64 }, { "6 bits g64", VLM_STORAGE_AFFINE, 6, 64 },
    { "8 bits g32", VLM_STORAGE_AFFINE, 8, 32 }, { "mxfp4", VLM_STORAGE_MXFP4, 4, 32 },
    { "nvfp4", VLM_STORAGE_NVFP4, 4, 16 },
};

/* ---- layers ---- */
static vlm_tensor piece(char **memory, vlm_dtype dtype, int64_t rows, int64_t columns) {
    vlm_tensor t = vtensor_of(*memory, dtype, 2, (int64_t[]) { rows, columns });
    *memory += vtensor_count(t) * (int64_t)vtensor_dtype_size(dtype);
    return t;
}

static size_t matrix_bytes(const format *q, int64_t out, int64_t in) {
    size_t n = (size_t)(out * in), groups = n / (size_t)q->group;
    return n * (size_t)q->bits / 8 + groups * (q->storage == VLM_STORAGE_AFFINE ? 4 : 1);
}

static vlm_matrix matrix(const format *q, char *memory, int64_t out, int64_t in) {
    vlm_matrix m = {
        .storage = q->storage, .out = out, .in = in, .bits = q->bits, .group = q->group
    };
    m.data = piece(&memory, VLM_DTYPE_U32, out, in * q->bits / 32);
    bool affine = q->storage == VLM_STORAGE_AFFINE;
    m.scales = piece(&memory, affine ? VLM_DTYPE_BF16 : VLM_DTYPE_U8, out, in / q->group);
    if (affine) m.biases = piece(&memory, VLM_DTYPE_BF16, out, in / q->group);
    return m;
}

/* ---- runs ---- */
static double seconds(bench *b, const vlm_linear *layers, int n_layers, int64_t n) {
    vtensor_frame_begin(b->f);
    int64_t shape[] = { n, layers->weight.in };
    vlm_tensor x = vlm_tensor_new(b->f, VLM_DTYPE_F32, 2, shape);
    for (int64_t i = 0; x.rank && i < vtensor_count(x); i++)
        ((float *)x.data)[i] = (float)(i % 7) * 0.1f;
    double start = seconds_of(b->m->clock);
    for (int i = 0; i < n_layers; i++) vlm_apply_linear(b->f, x, &layers[i]);
    double took = seconds_of(b->m->clock) - start;
    if (vtensor_frame_end(b->f, NULL) != VLM_OK) exit(1);
    return took;
}

static void bench_product(bench *b, const format *q, int64_t n, int64_t out, int64_t in) {
    enum { TOTAL = 256 << 20 };
    char name[80];
    snprintf(name, sizeof name, "%s n=%d %d x %d", q->name, (int)n, (int)out, (int)in);
    if (b->only && !strstr(name, b->only)) return;
    bool few = n <= 16;
    size_t bytes = matrix_bytes(q, out, in);
    int n_layers = few ? (int)(TOTAL / bytes) + 1 : 2;
    vlm_linear *layers = calloc((size_t)n_layers, sizeof *layers);
    char *memory = filled((size_t)n_layers * bytes);
    if (!layers) exit(1);
    for (int i = 0; i < n_layers; i++)
        layers[i].weight = matrix(q, memory + (size_t)i * bytes, out, in);
    double reached[ROUNDS], share[ROUNDS];
    double work = few ? (double)bytes * n_layers : 2.0 * (double)(n * out * in) * n_layers;
    seconds(b, layers, n_layers, n);
    for (int i = 0; i < ROUNDS; i++) {
        limits before = measure(b->m, b->flags);
        reached[i] = work / seconds(b, layers, n_layers, n);
        limits after = measure(b->m, b->flags);
        share[i] = 2 * reached[i] / (few ? before.read + after.read : before.int8 + after.int8);
    }
    printf("%-34s %8.1f %s  %5.1f %%\n", name, median(reached, ROUNDS) / 1e9,
           few ? "GB/s  " : "GOP/s ", 100 * median(share, ROUNDS));
    fflush(stdout);
    free(memory);
    free(layers);
}

int main(int argc, char **argv) {
    static const int64_t rows[] = { 1, 4, 16, 512 };
    bench b;
    if (!bench_open(&b, argc, argv)) return 1;
    report_limits(b.m, b.flags);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
            bench_product(&b, &formats[i], rows[r], 2048, 2048);
    bench_product(&b, &formats[0], 1, 2048, 11008);
    static const int64_t small[][2] = { { 1536, 576 }, { 576, 1536 }, { 576, 576 } }; /* SmolVLM-256M's */
    for (size_t i = 0; i < 6; i++) bench_product(&b, &formats[i / 3], 1, small[i % 3][0], small[i % 3][1]);
    report_limits(b.m, b.flags);
    bench_close(&b);
    return 0;
}
