/* SPDX-License-Identifier: MIT */
/* Attention: who sees whom, and blocks of many queries.
 *
 * A block of up to QUERIES rows (positions, and the query heads that share keys and values) goes
 * over the keys block by block with an online softmax. Scores are held transposed, keys down and
 * queries across: the softmax then works on whole vectors of queries, and the weights already lie
 * as the second product wants them. Scratch is one block per thread, whatever the length. */
#include "tensor/cpu/attention/attention.h"

enum { QUERIES = 96, KEYS = 128 };

void vcpu_visible(const vcpu_attention_job *j, const vlm_segment *s, size_t i, size_t *lo,
                  size_t *hi) {
    vtensor_range seen = vtensor_visible(s, j->desc, (int64_t)i);
    *lo = (size_t)seen.begin;
    *hi = (size_t)seen.end;
}

/* ---- blocks of queries ---- */
/* How a job is cut: an item is (segment, run of positions, key head, part of its group). */
typedef struct blocks {
    vcpu_attention_job *j;
    const vcpu_gemm *g;
    size_t heads_per_item, head_parts, positions_per_item;
    size_t keys_per_block, dim_padded, rows_padded; /* rounded up to whole tiles */
    size_t q_floats, s_floats, k_floats, v_floats, o_floats;
} blocks;

/* One item at work. */
typedef struct block {
    const blocks *all;
    const vlm_segment *s;
    vcpu_keys keys;
    size_t first, positions;     /* of the segment */
    size_t head, heads, kv_head; /* query heads [head, head + heads) */
    size_t rows;                 /* positions * heads */
    float *q, *scores, *k, *v, *o;
    float m[QUERIES], l[QUERIES], correction[QUERIES];
    size_t see_lo[QUERIES], see_hi[QUERIES];
    size_t all_lo, all_hi; /* what every row sees */
    int32_t lo[QUERIES], hi[QUERIES]; /* the same within a block of keys */
} block;

/* Queries, transposed: [head_dim][QUERIES]. Row r of a block is head r % heads of position r /
 * heads. */
static void load_queries(block *b) {
    const vcpu_attention_job *j = b->all->j;
    size_t d = j->head_dim, position = (size_t)b->s->start + b->first;
    b->all_lo = 0;
    b->all_hi = b->keys.n;
    for (size_t r = 0; r < b->rows; r++) {
        vcpu_visible(j, b->s, b->first + r / b->heads, &b->see_lo[r], &b->see_hi[r]);
        b->m[r] = -__builtin_inff();
        b->l[r] = 0;
        if (b->see_lo[r] > b->all_lo) b->all_lo = b->see_lo[r];
        b->all_hi = vcpu_min(b->all_hi, b->see_hi[r]);
    }
    for (size_t r = b->rows; r < QUERIES; r++) { /* lanes that nobody reads */
        b->see_lo[r] = b->see_hi[r] = 0;
        b->m[r] = b->l[r] = 0;
    }
    const float *from = vcpu_head(j->q, position, b->head);
    size_t row = (size_t)j->q.stride[0];
    if (b->heads > 1) { /* rows that do not lie evenly */
        for (size_t r = 0; r < b->rows; r++)
            memcpy(b->o + r * d, vcpu_head(j->q, position + r / b->heads, b->head + r % b->heads),
                   d * sizeof(float));
        from = b->o;
        row = d;
    }
    j->b->k.pack(b->q, QUERIES, from, row * sizeof(float), b->rows, d);
}

/* The rows of the next block, which lie too far apart for the CPU to foresee. */
static void prefetch_row(const char *row, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at);
}

static void load_keys(block *b, size_t key0, size_t n) {
    const vcpu_attention_job *j = b->all->j;
    vcpu_kv_widen *widen = j->b->k.attention.widen[b->keys.type];
    vcpu_kv_rows k = vcpu_kv_from(&b->keys.k, b->kv_head, key0);
    vcpu_kv_rows v = vcpu_kv_from(&b->keys.v, b->kv_head, key0);
    size_t d = j->head_dim, padded = b->all->dim_padded, next = b->all->keys_per_block;
    for (size_t i = 0; i < n; i++) {
        widen(b->k + i * d, &k, i, d);
        widen(b->v + i * padded, &v, i, d);
        if (d < padded) memset(b->v + i * padded + d, 0, (padded - d) * sizeof(float));
        if (key0 + i + next >= b->keys.n) continue;
        prefetch_row(k.data + (i + next) * k.row_bytes, b->keys.used_bytes);
        prefetch_row(v.data + (i + next) * v.row_bytes, b->keys.used_bytes);
    }
}

/* Rows see [lo, hi) of the block; false when all see all of it. */
static bool mask(block *b, size_t key0, size_t n) {
    if (b->all_lo <= key0 && b->all_hi >= key0 + n) return false;
    for (size_t r = 0; r < QUERIES; r++) {
        size_t lo = b->see_lo[r] > key0 ? vcpu_min(b->see_lo[r] - key0, n) : 0;
        size_t hi = b->see_hi[r] > key0 ? vcpu_min(b->see_hi[r] - key0, n) : 0;
        b->lo[r] = (int32_t)lo;
        b->hi[r] = (int32_t)hi;
    }
    return true;
}

/* Keys of the block behind which rows [r, r + n) see none. */
static size_t last_key(const block *b, bool masked, size_t r, size_t n, size_t keys) {
    int32_t last = 0;
    if (!masked) return keys;
    for (size_t end = vcpu_min(r + n, b->rows); r < end; r++)
        last = b->hi[r] > last ? b->hi[r] : last;
    return (size_t)last;
}

static void key_block(block *b, size_t key0, size_t n, bool first) {
    static const float zeros[VCPU_MAX_NR];
    const blocks *all = b->all;
    const vcpu_attention_job *j = all->j;
    const vcpu_gemm *g = all->g;
    size_t mr = (size_t)g->mr, nr = (size_t)g->nr, d = j->head_dim, padded = all->dim_padded;
    bool masked = mask(b, key0, n);
    load_keys(b, key0, n);
    for (size_t r = 0; r < b->rows; r += nr)
        for (size_t i = 0, last = last_key(b, masked, r, nr, n); i < last; i += mr)
            g->tile(b->scores + i * QUERIES + r, QUERIES, zeros, 0, b->k + i * d, d, 1, b->q + r,
                    QUERIES, d);
    vcpu_softmax softmax = { b->scores,
                             QUERIES,
                             n,
                             vcpu_round_up(b->rows, 16),
                             j->desc->scale,
                             j->desc->softcap,
                             b->m,
                             b->l,
                             b->correction,
                             b->lo,
                             b->hi,
                             masked };
    j->b->k.attention.softmax_block(&softmax);
    for (size_t r = 0; r < b->rows && !first; r++)
        if (b->correction[r] != 1) j->b->k.scale(b->o + r * padded, b->correction[r], padded);
    for (size_t r = 0; r < b->rows; r += mr)
        for (size_t at = 0, last = last_key(b, masked, r, mr, n); at < padded; at += nr) {
            float *o = b->o + r * padded + at;
            g->tile(o, padded, first ? zeros : o, first ? 0 : padded, b->scores + r, 1, QUERIES,
                    b->v + at, padded, last);
        }
}

static void finish(const block *b) {
    const vcpu_attention_job *j = b->all->j;
    for (size_t r = 0; r < b->rows; r++) {
        float *y =
            vcpu_head(j->y, (size_t)b->s->start + b->first + r / b->heads, b->head + r % b->heads);
        memcpy(y, b->o + r * b->all->dim_padded, j->head_dim * sizeof *y);
        j->b->k.scale(y, b->l[r] > 0 ? 1 / b->l[r] : 0, j->head_dim); /* 0: it saw nothing */
    }
}

static size_t segment_items(const blocks *a, const vlm_segment *s) {
    if (vcpu_few_queries(a->j, s)) return 0;
    return vcpu_ceil((size_t)s->length, a->positions_per_item) * a->head_parts * a->j->kv_heads;
}

static void block_item(void *arg, size_t item, int worker) {
    const blocks *a = arg;
    const vcpu_attention_job *j = a->j;
    const vlm_segment *s = j->segments;
    for (size_t n; item >= (n = segment_items(a, s)); s++) item -= n;
    float *scratch = vcpu_scratch(j->b, worker);
    block b = { .all = a, .s = s, .keys = vcpu_keys_of(j, s) };
    b.q = scratch;
    b.scores = b.q + a->q_floats;
    b.k = b.scores + a->s_floats;
    b.v = b.k + a->k_floats;
    b.o = b.v + a->v_floats;
    size_t part = item % a->head_parts;
    b.kv_head = item / a->head_parts % j->kv_heads;
    b.first = item / a->head_parts / j->kv_heads * a->positions_per_item;
    b.positions = vcpu_min(a->positions_per_item, (size_t)s->length - b.first);
    b.head = b.kv_head * j->group + part * a->heads_per_item;
    b.heads = vcpu_min(a->heads_per_item, j->group - part * a->heads_per_item);
    b.rows = b.positions * b.heads;
    load_queries(&b);
    size_t lo = b.keys.n, hi = 0;
    for (size_t r = 0; r < b.rows; r++) {
        lo = vcpu_min(lo, b.see_lo[r]);
        hi = b.see_hi[r] > hi ? b.see_hi[r] : hi;
    }
    if (lo >= hi) memset(b.o, 0, a->o_floats * sizeof(float)); /* they see nothing */
    for (size_t key = lo; key < hi; key += a->keys_per_block)
        key_block(&b, key, vcpu_min(a->keys_per_block, hi - key), key == lo);
    finish(&b);
}

void vcpu_attention_blocks(vlm_frame *f, vcpu_attention_job *j) {
    const vcpu_gemm *g = &j->b->k.gemm_f32;
    size_t mr = (size_t)g->mr, nr = (size_t)g->nr, items = 0;
    blocks a = { .j = j, .g = g };
    a.heads_per_item = vcpu_min(j->group, QUERIES);
    a.head_parts = vcpu_ceil(j->group, a.heads_per_item);
    a.positions_per_item = QUERIES / a.heads_per_item;
    a.keys_per_block = vcpu_round_up(KEYS, mr);
    a.dim_padded = vcpu_round_up(j->head_dim, nr);
    a.rows_padded = vcpu_round_up(QUERIES, mr);
    a.q_floats = vcpu_round_up(j->head_dim * QUERIES, 16);
    a.s_floats = a.keys_per_block * QUERIES + 16; /* the last tile reads past its row of queries */
    a.k_floats = vcpu_round_up(a.keys_per_block * j->head_dim, 16);
    a.v_floats = vcpu_round_up(a.keys_per_block * a.dim_padded, 16);
    a.o_floats = a.rows_padded * a.dim_padded;
    for (int i = 0; i < j->n_segments; i++) items += segment_items(&a, &j->segments[i]);
    size_t floats = a.q_floats + a.s_floats + a.k_floats + a.v_floats + a.o_floats;
    if (items == 0 || !vcpu_begin(f, 0, floats * sizeof(float))) return;
    vcpu_run(j->b, items, items * QUERIES * KEYS * j->head_dim, block_item, &a);
    vcpu_end(f);
}

/* ---- the operation ---- */
void vcpu_attention(vlm_frame *f, vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                    const vlm_segment *segments, int n_segments, const vlm_attention_desc *desc) {
    vcpu_attention_job j = { .b = vcpu_of(f), .y = y, .q = q, .k = k, .v = v };
    j.segments = segments;
    j.n_segments = n_segments;
    j.desc = desc;
    j.heads = (size_t)q.shape[1];
    j.kv_heads = (size_t)k.shape[1];
    j.group = j.heads / j.kv_heads;
    j.head_dim = (size_t)q.shape[2];
    if (j.b->base.pool) vcpu_attention_store(&j);
    vcpu_attention_few(f, &j);
    vcpu_attention_blocks(f, &j);
}
