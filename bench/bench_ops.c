/* SPDX-License-Identifier: MIT */
/* What the CPU backend's large operations reach of what the machine can do. The limits (read
 * bandwidth, float32 multiply-add, bfloat16 dot product) are measured between the operations, with
 * as many threads; every figure is a median. With one thread it is CPU time that counts, so that a
 * busy machine shows less.
 *
 *     bench_ops [threads [isa [name]]]
 *
 * isa: a name of vcore_cpu_levels, or all (the default); name: only the operations that contain it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { ROUNDS = 9 };

/* ---- the operations ---- */
typedef struct task {
    const char *name;
    void (*run)(bench *b, const struct task *t);
    vlm_dtype dtype;
    int64_t n, out, in;
    vlm_linear *layers;
    int n_layers;
    double work;  /* operations, or bytes */
    char limited; /* 'r' by reading, 'f' by float32, 'b' by bfloat16 products */
} task;

static void run_linear(bench *b, const task *t) {
    vlm_tensor x = vlm_tensor_new(b->f, VLM_DTYPE_F32, 2, (int64_t[]) { t->n, t->in });
    for (int64_t i = 0; x.rank && i < t->n * t->in; i++)
        ((float *)x.data)[i] = (float)(i % 7) * 0.1f;
    for (int i = 0; i < t->n_layers; i++) vlm_apply_linear(b->f, x, &t->layers[i]);
}

/* The filling of inputs is timed with an empty run and taken off. */
static double seconds(bench *b, const task *t) {
    vtensor_frame_begin(b->f);
    double start = seconds_of(b->m->clock);
    t->run(b, t);
    double took = seconds_of(b->m->clock) - start;
    task empty = *t;
    empty.n_layers = 0;
    start = seconds_of(b->m->clock);
    empty.run(b, &empty);
    took -= seconds_of(b->m->clock) - start;
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

int main(int argc, char **argv) {
    bench b;
    if (!bench_open(&b, argc, argv)) return 1;
    report_limits(b.m, b.flags);
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
    report_limits(b.m, b.flags);
    bench_close(&b);
    return 0;
}
