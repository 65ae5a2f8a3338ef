/* SPDX-License-Identifier: MIT */
/* Attention of few queries over many keys: the decode step. Keys and values are read once, in
 * chunks of a fixed size that threads share out; what the chunks found is put together in their
 * order, so that the number of threads does not show. */
#include "tensor/cpu/attention.h"

#include <math.h>

enum { CHUNK = 512, MAX_POSITIONS = 4, MAX_ROWS = 32 };

/* What one chunk found for one row: maximum, sum, weighted values. */
typedef struct few {
    vcpu_attention_job *j;
    size_t part_floats; /* 2 + head_dim */
    float *parts;
} few;

bool vcpu_few_queries(const vcpu_attention_job *j, const vlm_segment *s) {
    return s->length <= MAX_POSITIONS && (size_t)s->length * j->group <= MAX_ROWS;
}

static size_t rows_of(const vcpu_attention_job *j, const vlm_segment *s) {
    return (size_t)s->length * j->group;
}

static size_t chunks_of(const vlm_segment *s) {
    return vcpu_ceil((size_t)(s->past + s->length), CHUNK);
}

/* Items (chunks of every head) and parts (rows of every item) of a segment. */
static size_t items_of(const vcpu_attention_job *j, const vlm_segment *s) {
    return s->length && vcpu_few_queries(j, s) ? chunks_of(s) * j->kv_heads : 0;
}

static size_t parts_of(const vcpu_attention_job *j, const vlm_segment *s) {
    return items_of(j, s) * rows_of(j, s);
}

static vcpu_dot *dot_for(const vcpu_kernels *k, vlm_dtype dtype) {
    if (dtype == VLM_DTYPE_BF16) return k->dot_bf16;
    return dtype == VLM_DTYPE_F16 ? k->dot_f16 : k->dot_f32;
}

static vcpu_mix *mix_for(const vcpu_kernels *k, vlm_dtype dtype) {
    if (dtype == VLM_DTYPE_BF16) return k->mix_bf16;
    return dtype == VLM_DTYPE_F16 ? k->mix_f16 : k->mix_f32;
}

/* Scores, softmax and weighted values of one chunk for all rows. Row r is head r % group of
 * position r / group; rows are taken so that their queries lie together. */
static void chunk(const few *a, const vlm_segment *s, size_t kv_head, size_t key0, float *parts,
                  float *scratch) {
    const vcpu_attention_job *j = a->j;
    const vcpu_kernels *kernels = &j->b->k;
    vcpu_keys keys = vcpu_keys_of(j, s);
    size_t rows = rows_of(j, s), n = vcpu_min(CHUNK, keys.n - key0), d = j->head_dim;
    float *q = scratch, *scores = scratch + MAX_ROWS * d;
    const char *k = keys.k + key0 * keys.k_row + kv_head * keys.k_head;
    const char *v = keys.v + key0 * keys.v_row + kv_head * keys.v_head;
    for (size_t r = 0; r < rows; r++)
        memcpy(q + r * d,
               vcpu_head(j->q, (size_t)s->start + r / j->group, kv_head * j->group + r % j->group),
               d * sizeof *q);
    for (size_t r = 0; r < rows; r += VCPU_DOT_ROWS) {
        int count = (int)vcpu_min(VCPU_DOT_ROWS, rows - r);
        dot_for(kernels, keys.dtype)(scores + r * CHUNK, CHUNK, q + r * d, d, count, k, keys.k_row,
                                     n, d);
    }
    for (size_t r = 0; r < rows; r++) {
        size_t lo, hi;
        vcpu_visible(j, s, r / j->group, &lo, &hi);
        lo = lo > key0 ? lo - key0 : 0;
        hi = hi > key0 ? vcpu_min(hi - key0, n) : 0;
        float *part = parts + r * a->part_floats;
        kernels->softmax_row(scores + r * CHUNK, n, lo, hi, j->desc->scale, j->desc->softcap,
                             &part[0], &part[1]);
        memset(part + 2, 0, d * sizeof *part);
    }
    for (size_t r = 0; r < rows; r += VCPU_DOT_ROWS) {
        int count = (int)vcpu_min(VCPU_DOT_ROWS, rows - r);
        mix_for(kernels, keys.dtype)(parts + r * a->part_floats + 2, a->part_floats,
                                     scores + r * CHUNK, CHUNK, count, v, keys.v_row, n, d);
    }
}

static void chunk_item(void *arg, size_t item, int worker) {
    const few *a = arg;
    const vlm_segment *s = a->j->segments;
    float *parts = a->parts;
    for (size_t n; item >= (n = items_of(a->j, s)); s++) {
        item -= n;
        parts += parts_of(a->j, s) * a->part_floats;
    }
    parts += item * rows_of(a->j, s) * a->part_floats;
    size_t heads =
        a->j->kv_heads; /* heads of one chunk follow each other: they lie in the same pages */
    chunk(a, s, item % heads, item / heads * CHUNK, parts, vcpu_scratch(a->j->b, worker));
}

/* y of one row from the parts of its chunks, `stride` floats apart. */
static void combine(const few *a, float *y, const float *parts, size_t n, size_t stride) {
    size_t d = a->j->head_dim;
    float max = -INFINITY, total = 0;
    for (size_t c = 0; c < n; c++) max = fmaxf(max, parts[c * stride]);
    memset(y, 0, d * sizeof *y);
    for (size_t c = 0; c < n; c++) {
        const float *part = parts + c * stride;
        if (part[1] == 0) continue; /* it saw nothing */
        float factor = expf(part[0] - max);
        total += part[1] * factor;
        for (size_t i = 0; i < d; i++) y[i] += part[2 + i] * factor;
    }
    for (size_t i = 0; total > 0 && i < d; i++) y[i] /= total;
}

static void combine_all(const few *a) {
    const vcpu_attention_job *j = a->j;
    const float *parts = a->parts;
    for (int i = 0; i < j->n_segments; i++) {
        const vlm_segment *s = &j->segments[i];
        size_t rows = rows_of(j, s), chunks = chunks_of(s);
        for (size_t h = 0; items_of(j, s) && h < j->kv_heads; h++)
            for (size_t r = 0; r < rows; r++)
                combine(
                    a,
                    vcpu_head(j->y, (size_t)s->start + r / j->group, h * j->group + r % j->group),
                    parts + (h * rows + r) * a->part_floats, chunks,
                    j->kv_heads * rows * a->part_floats);
        parts += parts_of(j, s) * a->part_floats;
    }
}

void vcpu_attention_few(vlm_frame *f, vcpu_attention_job *j) {
    few a = { .j = j, .part_floats = j->head_dim + 2 };
    size_t items = 0, parts = 0, work = 0;
    for (int i = 0; i < j->n_segments; i++) {
        const vlm_segment *s = &j->segments[i];
        items += items_of(j, s);
        parts += parts_of(j, s);
        if (items_of(j, s)) work += (size_t)(s->past + s->length) * j->heads * j->head_dim / 2;
    }
    size_t scratch = MAX_ROWS * (j->head_dim + CHUNK) * sizeof(float);
    if (items == 0 || !vcpu_begin(f, parts * a.part_floats * sizeof(float), scratch)) return;
    a.parts = (float *)(void *)j->b->shared;
    vcpu_run(j->b, items, work, chunk_item, &a);
    combine_all(&a);
    vcpu_end(f);
}
