/* SPDX-License-Identifier: MIT */
/* What attention reaches of what the machine can do: decode over states of every type, prefill,
 * vision towers. The limits are measured between the rounds, with as many threads; every figure is a
 * median. With one thread it is CPU time that counts, so that a busy machine shows less.
 *
 *     bench_attention [threads [isa [name]]]
 *
 * isa: a name of vcore_cpu_levels, or all (the default); name: only the rows that contain it.
 * Decode: bytes of keys and values read, and the share of the read bandwidth; beside it the share
 * of the float32 rate, which is what limits heads that share keys. Else: multiply-adds of pairs
 * that see each other, and the share of the float32 rate. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { ROUNDS = 7, STATE_BYTES = 192 << 20, MAX_SEGMENTS = 128 };

static char *states; /* more than the caches hold */

typedef struct task {
    int64_t n, past, heads, kv_heads, dim;
    vlm_dtype dtype; /* of the state */
    int bits;
    bool causal;
    int64_t segment; /* rows of each; 0: all */
    int repeat;      /* passes, over another state each */
} task;

static vlm_tensor input(bench *b, const task *t, int64_t heads) {
    int64_t shape[] = { t->n, heads, t->dim };
    vlm_tensor x = vlm_tensor_new(b->f, VLM_DTYPE_F32, 3, shape);
    for (int64_t i = 0; x.rank && i < vtensor_count(x); i++)
        ((float *)x.data)[i] = (float)(i * 40503 % 509) / 255 - 1;
    return x;
}

static vtensor_kv_form form_of(const task *t) {
    return (vtensor_kv_form) { .dtype = t->dtype, .bits = t->bits, .capacity = t->past + t->n, .heads = t->kv_heads, .head_dim = t->dim };
}

static double seconds(bench *b, const task *t) {
    vtensor_frame_begin(b->f);
    vlm_tensor q = input(b, t, t->heads), k = input(b, t, t->kv_heads);
    vlm_attention_desc desc = { .scale = 0.1f, .causal = t->causal };
    vtensor_kv_form form = form_of(t);
    size_t bytes;
    if (!vtensor_kv_bytes(&bytes, &form)) exit(1);
    vlm_segment segments[MAX_SEGMENTS] = { { 0 } };
    int count = t->segment ? (int)(t->n / t->segment) : 1;
    for (int i = 0; i < count; i++) {
        segments[i].length = t->n / count;
        segments[i].start = i * segments[i].length;
    }
    double start = seconds_of(b->m->clock);
    for (int i = 0; i < t->repeat; i++) {
        vlm_kv kv;
        vtensor_kv_place(&kv, &form, states + (size_t)i * bytes);
        if (t->past) segments[0].kv = &kv;
        segments[0].past = t->past;
        vlm_attention(b->f, q, k, k, segments, count, &desc);
    }
    double took = seconds_of(b->m->clock) - start;
    if (vtensor_frame_end(b->f, NULL) != VLM_OK) exit(1);
    return took;
}

/* Multiply-adds: pairs that see each other. */
static double pairs(const task *t) {
    double rows = (double)(t->segment ? t->segment : t->n), keys = (double)t->past + rows;
    double each = t->causal ? keys - (rows - 1) / 2 : keys;
    return each * (double)(t->n * t->heads * t->dim) * 2 * t->repeat;
}

static void report(bench *b, task t) {
    char name[80], type[8] = "";
    bool decode = t.past && t.n < 16;
    vtensor_kv_form form = form_of(&t);
    size_t bytes;
    if (!vtensor_kv_bytes(&bytes, &form)) exit(1);
    t.repeat = decode ? (int)(STATE_BYTES / bytes) : 1;
    if (t.past && t.bits) snprintf(type, sizeof type, "%d-bit", t.bits);
    snprintf(name, sizeof name, "n=%d past=%d %d/%d x %d %s%s%s", (int)t.n, (int)t.past,
             (int)t.heads, (int)t.kv_heads, (int)t.dim,
             !t.past  ? ""
             : t.bits ? type
                      : vtensor_dtype_name(t.dtype),
             t.causal && !decode ? " causal" : "", t.segment ? " windows" : "");
    if (b->only && !strstr(name, b->only)) return;
    double rate[ROUNDS], read[ROUNDS], products[ROUNDS];
    seconds(b, &t);
    for (int i = 0; i < ROUNDS; i++) {
        limits before = measure(b->m, b->flags);
        double took = seconds(b, &t);
        limits after = measure(b->m, b->flags);
        double moved = (double)bytes * t.repeat / took, done = 2 * pairs(&t) / took;
        rate[i] = decode ? moved : done;
        read[i] = moved / (before.read + after.read) * 200;
        products[i] = done / (before.f32 + after.f32) * 200;
    }
    printf("%-40s %6.1f %s", name, median(rate, ROUNDS) / 1e9, decode ? "GB/s    " : "GFLOP/s ");
    if (decode) printf("%5.1f %% of reading, ", median(read, ROUNDS));
    printf("%5.1f %% of float32\n", median(products, ROUNDS));
    fflush(stdout);
}

static void decode_rows(bench *b) {
    static const int64_t shapes[][3] = { { 16, 2, 128 }, { 8, 1, 256 }, { 9, 3, 64 },
                                         { 32, 32, 64 }, { 32, 8, 128 } };
    static const struct {
        vlm_dtype dtype;
        int bits;
    } types[] = { { VLM_DTYPE_BF16, 0 }, { VLM_DTYPE_U8, 8 }, { VLM_DTYPE_U8, 4 },
                  { VLM_DTYPE_F32, 0 } };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
            report(b, (task) { .n = 1, .past = 8191, .heads = shapes[i][0],
                               .kv_heads = shapes[i][1], .dim = shapes[i][2],
                               .dtype = types[k].dtype, .bits = types[k].bits, .causal = true });
}

static void block_rows(bench *b) {
    static const task tasks[] = {
        { .n = 1024, .heads = 12, .kv_heads = 12, .dim = 64 },
        { .n = 729, .heads = 16, .kv_heads = 16, .dim = 72 },
        { .n = 1024, .heads = 16, .kv_heads = 16, .dim = 80 },
        { .n = 1024, .heads = 16, .kv_heads = 16, .dim = 80, .segment = 64 },
        { .n = 1024, .heads = 16, .kv_heads = 16, .dim = 128 },
        { .n = 512, .heads = 9, .kv_heads = 3, .dim = 64, .causal = true },
        { .n = 512, .heads = 32, .kv_heads = 32, .dim = 64, .causal = true },
        { .n = 512, .heads = 16, .kv_heads = 2, .dim = 128, .causal = true },
        { .n = 512, .heads = 8, .kv_heads = 1, .dim = 256, .causal = true },
        { .n = 512, .past = 1536, .heads = 16, .kv_heads = 2, .dim = 128, .causal = true,
          .dtype = VLM_DTYPE_BF16 },
        { .n = 512, .past = 1536, .heads = 16, .kv_heads = 2, .dim = 128, .causal = true,
          .dtype = VLM_DTYPE_U8, .bits = 4 },
    };
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) report(b, tasks[i]);
}

int main(int argc, char **argv) {
    bench b;
    if (!bench_open(&b, argc, argv)) return 1;
    states = filled(STATE_BYTES);
    report_limits(b.m, b.flags);
    decode_rows(&b);
    block_rows(&b);
    report_limits(b.m, b.flags);
    bench_close(&b);
    free(states);
    return 0;
}
