/* SPDX-License-Identifier: MIT */
/* What the CUDA backend's large operations reach of what the GPU can do. The limits are what the device does best in the
 * same run: bytes read by the widest products of one row, multiply-adds of a large bfloat16 product.
 *
 *     bench_cuda [name] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensor/tensor.h"

enum { ROUNDS = 7, MAX_LAYERS = 64 };
static vtensor_backend *backend;
static vlm_frame *frame;
static const char *only;

static void die(const char *what, const vlm_error *err) {
    fprintf(stderr, "%s: %s\n", what, err->message);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct task {
    int64_t rows, out, in, heads, kv_heads, dim, past, segment;
    int layers, bits;
    vlm_linear linear[MAX_LAYERS];
    void *state;
    double work;
    const char *unit;
} task;

static uint32_t next_word(void) {
    static uint64_t s = 1;
    s = s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(s >> 32);
}

/* Bytes that read as bfloat16 numbers around 1, or as any integers. */
static void *bytes_of(size_t n, bool floats) {
    uint16_t *p = malloc(n + 2);
    for (size_t i = 0; i < n / 2; i++) p[i] = floats ? (uint16_t)(0x3C00 + (next_word() & 0x83FF)) : (uint16_t)next_word();
    return p;
}

static void place(vlm_tensor *t) {
    vlm_error err = VLM_ERROR_INIT;
    void *host = t->data;
    if (vtensor_place(backend, t, &err) < 0) die("place", &err);
    if (vtensor_placed(backend, &err) < 0) die("place", &err);
    free(host);
}

static void make_linear(vlm_linear *l, int64_t out, int64_t in, int bits) {
    *l = (vlm_linear) { .weight = { .out = out, .in = in } };
    vlm_matrix *m = &l->weight;
    if (!bits) {
        m->data = vtensor_of(bytes_of((size_t)(out * in) * 2, true), VLM_DTYPE_BF16, 2, (int64_t[]) { out, in });
        place(&m->data);
        return;
    }
    m->storage = VLM_STORAGE_AFFINE;
    m->bits = bits;
    m->group = 64;
    m->data = vtensor_of(bytes_of((size_t)(out * in * bits / 8), false), VLM_DTYPE_U32, 2, (int64_t[]) { out, in * bits / 32 });
    m->scales = vtensor_of(bytes_of((size_t)(out * in / 64) * 2, true), VLM_DTYPE_BF16, 2, (int64_t[]) { out, in / 64 });
    m->biases = vtensor_of(bytes_of((size_t)(out * in / 64) * 2, true), VLM_DTYPE_BF16, 2, (int64_t[]) { out, in / 64 });
    place(&m->data);
    place(&m->scales);
    place(&m->biases);
}

static void run(task *t, int layers) {
    vlm_error err = VLM_ERROR_INIT;
    vtensor_frame_begin(frame);
    if (t->out) {
        vlm_tensor x = vlm_tensor_new(frame, VLM_DTYPE_F32, 2, (int64_t[]) { t->rows, t->in });
        for (int i = 0; i < layers; i++) {
            vlm_scope s = vlm_scope_begin(frame);
            vlm_apply_linear(frame, x, &t->linear[i]);
            vlm_scope_end(frame, s);
        }
    } else {
        int64_t keys = t->past + t->rows, shape[] = { keys, t->kv_heads, t->dim };
        vlm_tensor q = vlm_tensor_new(frame, VLM_DTYPE_F32, 3, (int64_t[]) { t->rows, t->heads, t->dim });
        vlm_tensor k = vlm_tensor_new(frame, VLM_DTYPE_F32, 3, (int64_t[]) { t->rows, t->kv_heads, t->dim });
        vlm_kv kv = { 0 };
        if (t->state) {
            kv.k = vtensor_of(t->state, VLM_DTYPE_BF16, 3, shape);
            kv.v = vtensor_of((char *)t->state + vtensor_count(kv.k) * 2, VLM_DTYPE_BF16, 3, shape);
        }
        vlm_segment segments[512];
        int n = 0;
        for (int64_t at = 0; at < t->rows; at += t->segment, n++)
            segments[n] = (vlm_segment) { .start = at, .length = t->rows - at < t->segment ? t->rows - at : t->segment, .kv = t->state ? &kv : NULL, .past = t->past };
        vlm_attention_desc desc = { .scale = 0.1f, .causal = t->state != NULL };
        for (int i = 0; i < layers; i++) {
            vlm_scope s = vlm_scope_begin(frame);
            vlm_attention(frame, q, k, k, segments, n, &desc);
            vlm_scope_end(frame, s);
        }
    }
    if (vtensor_frame_end(frame, &err) < 0) die("pass", &err);
}

/* The time of one layer: between passes of all layers and of one, so that what a pass costs is not in it. */
static void report(const char *name, task *t) {
    if (only && !strstr(name, only)) return;
    double took[ROUNDS];
    for (int r = -3; r < ROUNDS; r++) {
        run(t, t->layers), run(t, t->layers);
        double start = now();
        run(t, t->layers);
        double all = now() - start;
        run(t, 1), run(t, 1);
        start = now();
        run(t, 1);
        if (r >= 0) took[r] = (all - (now() - start)) / (t->layers - 1);
    }
    qsort(took, ROUNDS, sizeof *took, ascending);
    printf("%-44s %9.1f us  %8.1f %s\n", name, took[ROUNDS / 2] * 1e6, t->work / took[ROUNDS / 2] / 1e9, t->unit);
    fflush(stdout);
}

static void linear(int64_t rows, int64_t out, int64_t in, int bits) {
    double bytes = (double)(out * in) * (bits ? bits / 8.0 + 4.0 / 64 : 2);
    task *t = calloc(1, sizeof *t);
    *t = (task) { .rows = rows, .out = out, .in = in, .bits = bits, .unit = rows <= 32 ? "GB/s" : "GFLOP/s" };
    t->layers = (int)(600e6 / bytes) + 2 < MAX_LAYERS ? (int)(600e6 / bytes) + 2 : MAX_LAYERS;
    t->work = rows <= 32 ? bytes : 2.0 * (double)(rows * out * in);
    char name[80];
    snprintf(name, sizeof name, "linear %s n=%d %d x %d", bits == 4 ? "4-bit" : bits == 8 ? "8-bit" : "bf16", (int)rows, (int)out, (int)in);
    if (!only || strstr(name, only))
        for (int i = 0; i < t->layers; i++) make_linear(&t->linear[i], out, in, bits);
    report(name, t);
    free(t);
}

static void attention(int64_t rows, int64_t past, int64_t heads, int64_t kv_heads, int64_t dim, int64_t segment) {
    task t = { .rows = rows, .past = past, .heads = heads, .kv_heads = kv_heads, .dim = dim, .segment = segment, .layers = 12 };
    bool decode = past && rows <= 4;
    int64_t keys = past + rows;
    if (past) t.state = vtensor_memory_new(backend, (size_t)(keys * kv_heads * dim) * 4);
    t.unit = decode ? "GB/s" : "GFLOP/s";
    t.work = decode ? (double)(keys * kv_heads * dim) * 4 : 4.0 * (double)(rows * (past ? keys : segment) * heads * dim);
    char name[80];
    snprintf(name, sizeof name, "attention n=%d past=%d %d/%d x %d of %d", (int)rows, (int)past, (int)heads, (int)kv_heads, (int)dim, (int)segment);
    report(name, &t);
    if (t.state) vtensor_memory_free(backend, t.state);
}

int main(int argc, char **argv) {
    vlm_error err = VLM_ERROR_INIT;
    if (argc > 1) only = argv[1];
    if (vtensor_backend_cuda(&backend, 0, 0, &err) < 0) die("cuda", &err);
    if (vtensor_frame_new(&frame, backend, VTENSOR_FAST, &err) < 0) die("frame", &err);
    static const int64_t shapes[][2] = { { 18944, 3584 }, { 3584, 18944 }, { 3584, 3584 }, { 512, 3584 }, { 152064, 3584 } };
    static const int bits[] = { 0, 8, 4 }, rows[] = { 1, 8, 32, 1358 };
    for (int r = 0; r < 4; r++)
        for (int b = 0; b < 3; b++)
            for (int i = 0; i < (r ? 2 : 5); i++) linear(rows[r], shapes[i][0], shapes[i][1], bits[b]);
    attention(5184, 0, 16, 16, 80, 5184);
    attention(5184, 0, 16, 16, 80, 64);
    attention(1358, 1, 28, 4, 128, 1358);
    attention(1, 1400, 28, 4, 128, 1);
    attention(1, 8191, 28, 4, 128, 1);
    vtensor_frame_free(frame);
    vtensor_backend_free(backend);
    return 0;
}
