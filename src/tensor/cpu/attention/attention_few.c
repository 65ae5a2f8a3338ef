/* SPDX-License-Identifier: MIT */
/* Attention of few queries over many keys: the decode step. Keys and values are read once, in
 * chunks that threads share out; what the chunks found is put together in their order, and their size
 * depends on shapes alone, so that the number of threads does not show. */
#include "tensor/cpu/attention/attention.h"

#include <math.h>

enum { CHUNK = 512, LEAST_CHUNK = 64, LEAST_ITEMS = 24, ASKED = 16384, MAX_POSITIONS = 4, MAX_ROWS = VCPU_PAIRS_ROWS };

/* What one chunk found for one row: maximum, sum, weighted values. */
typedef struct few {
    vcpu_attention_job *j;
    bool pairs; /* products of bfloat16, of states that are */
    size_t part_floats; /* 2 + head_dim */
    float *parts;
} few;

bool vcpu_few_queries(const vcpu_attention_job *j, const vlm_segment *s) {
    return s->length <= MAX_POSITIONS && (size_t)s->length * j->group <= MAX_ROWS;
}

static size_t rows_of(const vcpu_attention_job *j, const vlm_segment *s) {
    return (size_t)s->length * j->group;
}

/* Keys of a chunk: where there are few heads and keys, fewer, for threads to end together. */
static size_t chunk_of(const vcpu_attention_job *j, const vlm_segment *s) {
    size_t keys = (size_t)(s->past + s->length), chunk = CHUNK;
    while (chunk > LEAST_CHUNK && vcpu_ceil(keys, chunk) * j->kv_heads < LEAST_ITEMS) chunk /= 2;
    return chunk;
}

static size_t chunks_of(const vcpu_attention_job *j, const vlm_segment *s) {
    return vcpu_ceil((size_t)(s->past + s->length), chunk_of(j, s));
}

/* Items (chunks of every head) and parts (rows of every item) of a segment. */
static size_t items_of(const vcpu_attention_job *j, const vlm_segment *s) {
    return s->length && vcpu_few_queries(j, s) ? chunks_of(j, s) * j->kv_heads : 0;
}

static size_t parts_of(const vcpu_attention_job *j, const vlm_segment *s) {
    return items_of(j, s) * rows_of(j, s);
}

/* What row r of a segment sees of the keys [key0, key0 + n). */
static void visible(const few *a, const vlm_segment *s, size_t r, size_t key0, size_t n, size_t *lo,
                    size_t *hi) {
    vcpu_visible(a->j, s, r / a->j->group, lo, hi);
    *lo = *lo > key0 ? vcpu_min(*lo - key0, n) : 0;
    *hi = *hi > key0 ? vcpu_min(*hi - key0, n) : 0;
}

/* Part r of `parts` of the values that are wanted first: they come while the softmax computes. */
static void ask(const vcpu_kv_rows *v, size_t used_bytes, size_t n, size_t r, size_t parts) {
    size_t bytes = vcpu_min(n * used_bytes, ASKED), end = (r + 1) * bytes / parts;
    for (size_t at = r * bytes / parts; at < end; at += 64) __builtin_prefetch(v->data + at);
}

/* Scores, softmax and weighted values of one chunk for all rows. Row r is head r % group of
 * position r / group; rows are taken so that their queries lie together. Keys that no row sees
 * (a window has passed them) are not read. */
static void chunk(const few *a, const vlm_segment *s, size_t kv_head, size_t key0, float *parts,
                  float *scratch) {
    const vcpu_attention_job *j = a->j;
    const vcpu_attention_kernels *kernels = &j->b->k.attention;
    vcpu_keys keys = vcpu_keys_of(j, s);
    size_t rows = rows_of(j, s), n = vcpu_min(chunk_of(j, s), keys.n - key0), d = j->head_dim;
    size_t begin = n, end = 0, lo, hi;
    float *q = scratch, *scores = scratch + MAX_ROWS * d;
    for (size_t r = 0; r < rows; r++) {
        float *part = parts + r * a->part_floats;
        memset(part, 0, a->part_floats * sizeof *part);
        visible(a, s, r, key0, n, &lo, &hi);
        if (lo == hi) continue;
        begin = vcpu_min(begin, lo);
        end = hi > end ? hi : end;
    }
    if (begin >= end) return;
    for (size_t r = 0; r < rows; r++)
        memcpy(q + r * d,
               vcpu_head(j->q, (size_t)s->start + r / j->group, kv_head * j->group + r % j->group),
               d * sizeof *q);
    vcpu_kv_rows k = vcpu_kv_from(&keys.k, kv_head, key0 + begin);
    vcpu_kv_rows v = vcpu_kv_from(&keys.v, kv_head, key0 + begin);
    bool pairs = a->pairs && keys.type == VCPU_KV_BF16;
    vcpu_scores *score = pairs ? kernels->scores_pairs : kernels->scores[keys.type];
    vcpu_mix *mix = pairs ? kernels->mix_pairs : kernels->mix[keys.type];
    score(scores, CHUNK, q, d, rows, &k, end - begin, d);
    for (size_t r = 0; r < rows; r++) {
        visible(a, s, r, key0 + begin, end - begin, &lo, &hi);
        float *part = parts + r * a->part_floats;
        ask(&v, keys.used_bytes, end - begin, r, rows);
        kernels->softmax_row(scores + r * CHUNK, end - begin, lo, hi, j->desc->scale,
                             j->desc->softcap, &part[0], &part[1]);
    }
    mix(parts + 2, a->part_floats, scores, CHUNK, rows, &v, end - begin, d);
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
    chunk(a, s, item % heads, item / heads * chunk_of(a->j, s), parts, vcpu_scratch(a->j->b, worker));
}

/* y of one row from the parts of its chunks, `stride` floats apart. */
static void combine(const few *a, float *y, const float *parts, size_t n, size_t stride) {
    size_t d = a->j->head_dim;
    float max = -INFINITY, total = 0;
    for (size_t c = 0; c < n; c++)
        if (parts[c * stride + 1] != 0) max = fmaxf(max, parts[c * stride]);
    memset(y, 0, d * sizeof *y);
    for (size_t c = 0; c < n; c++) {
        const float *part = parts + c * stride;
        if (part[1] == 0) continue; /* it saw nothing */
        float factor = exp2f(part[0] - max);
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
        size_t rows = rows_of(j, s), chunks = chunks_of(j, s);
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
    a.pairs = f->mode == VTENSOR_FAST && j->b->k.attention.mix_pairs
              && j->head_dim <= VCPU_PAIRS_DIM;
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
