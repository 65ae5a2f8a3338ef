/* SPDX-License-Identifier: MIT */
/* Attention: storing keys and values, who sees whom, and which of the kernels computes a segment: few queries over
 * long states (attention_few.cu), tiles of queries on the tensor cores (attention_tiles.cu, attention_wide.cu), and one query
 * at a time in float32 for the exact mode and for head sizes that the others do not have. Rotating, rounding and
 * storing are one kernel where the tiles do not do it themselves. */
#include "tensor/cuda/attention.h"

enum { THREADS = 128 };

/* ---- arranging: rotated rows, where the kernels want them ---- */
/* Where bfloat16 rows of a call go that have no state; NULL: they stay as they are (q), or go into the state (k, v). */
struct arrange_args {
    vcuda_attention_args a;
    __nv_bfloat16 *q, *k, *v;
};

__device__ static void put4(void *to, int type, int64_t at, const float (&v)[4]) {
    if (type == VLM_DTYPE_BF16) {
        const uint2 pairs = make_uint2(vcuda_pair(v[0], v[1]), vcuda_pair(v[2], v[3]));
        *(uint2 *)((__nv_bfloat16 *)to + at) = pairs;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) vcuda_store(to, type, at + i, v[i]);
}

/* A thread has four values of a head of q, k or v. Heads are whole fours where rows are arranged in bfloat16. */
__global__ static void arrange(const __grid_constant__ arrange_args g) {
    const vcuda_attention_args &a = g.a;
    const int64_t row = blockIdx.x;
    const int quads = (int)a.dim / 4, heads = (int)((g.q ? a.heads : 0) + 2 * a.kv_heads);
    const vcuda_segment *s = &a.segments[a.segment_of[row]];
    const int64_t position = s->past + row - s->start;
    for (int i = threadIdx.x; i < heads * quads; i += THREADS) {
        int at = i / quads, d = (i - at * quads) * 4;
        bool is_q = g.q && at < a.heads;
        int64_t head = g.q && !is_q ? at - a.heads : at;
        bool is_v = !is_q && head >= a.kv_heads;
        if (is_v) head -= a.kv_heads;
        const float *x = is_q ? (const float *)a.q + row * a.q_row + head * a.q_head : is_v ? a.v + row * a.v_row + head * a.v_head : a.k + row * a.k_row + head * a.k_head;
        float v[4];
        if (is_v)
            vcuda_take4<false>(v, a, x, row, d);
        else
            vcuda_take4<true>(v, a, x, row, d);
        if (is_q)
            put4(g.q, VLM_DTYPE_BF16, (row * a.heads + head) * a.dim + d, v);
        else if (s->stored && is_v)
            put4((void *)s->v, s->type, position * s->v_row + head * s->v_head + d, v);
        else if (s->stored)
            put4((void *)s->k, s->type, position * s->k_row + head * s->k_head + d, v);
        else if (g.k)
            put4(is_v ? g.v : g.k, VLM_DTYPE_BF16, (row * a.kv_heads + head) * a.dim + d, v);
    }
}

static void run_arrange(vcuda_stream *s, const arrange_args *a) {
    arrange<<<(unsigned)a->a.rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

/* Of heads that are no whole fours, rotated before: keys and values into the state. */
__global__ static void store(const __grid_constant__ vcuda_attention_args a) {
    int64_t row = blockIdx.x;
    const vcuda_segment *s = &a.segments[a.segment_of[row]];
    if (!s->stored) return;
    int64_t position = s->past + row - s->start;
    for (int64_t i = threadIdx.x; i < a.kv_heads * a.dim; i += THREADS) {
        int64_t head = i / a.dim, d = i - head * a.dim;
        vcuda_store((void *)s->k, s->type, position * s->k_row + head * s->k_head + d, a.k[row * a.k_row + head * a.k_head + d]);
        vcuda_store((void *)s->v, s->type, position * s->v_row + head * s->v_head + d, a.v[row * a.v_row + head * a.v_head + d]);
    }
}

static void run_store(vcuda_stream *s, const vcuda_attention_args *a) {
    store<<<(unsigned)a->rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

/* ---- one query at a time ---- */
__global__ static void one_query(const __grid_constant__ vcuda_attention_args a) {
    extern __shared__ float shared[];
    float *q = shared, *p = shared + a.dim, *reduced = p + THREADS;
    int64_t row = blockIdx.x, head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads);
    const vcuda_segment *s = &a.segments[a.segment_of[row]];
    int64_t lo, hi;
    vcuda_visible(a, s, row - s->start, &lo, &hi);
    for (int64_t d = threadIdx.x; d < a.dim; d += THREADS) q[d] = ((const float *)a.q)[row * a.q_row + head * a.q_head + d];
    const int per_thread = 1024 / THREADS;
    float sum[per_thread] = {}, m = -INFINITY, l = 0;
    for (int64_t key0 = lo; key0 < hi; key0 += THREADS) {
        __syncthreads();
        int64_t key = key0 + threadIdx.x;
        float score = -INFINITY;
        if (key < hi) {
            score = 0;
            for (int64_t d = 0; d < a.dim; d++)
                score = fmaf(q[d], vcuda_load(s->k, s->type, key * s->k_row + kv_head * s->k_head + d), score);
            score = vcuda_scored(a, score);
        }
        reduced[threadIdx.x] = score;
        __syncthreads();
        float highest = m;
        for (int i = 0; i < THREADS; i++) highest = fmaxf(highest, reduced[i]);
        p[threadIdx.x] = key < hi ? expf(score - highest) : 0;
        __syncthreads();
        float correction = expf(m - highest), total = 0;
        for (int i = 0; i < THREADS; i++) total += p[i];
        l = l * correction + total;
        m = highest;
        int n = hi - key0 < THREADS ? (int)(hi - key0) : THREADS;
#pragma unroll
        for (int j = 0; j < per_thread; j++) {
            int64_t d = threadIdx.x + j * THREADS;
            if (d >= a.dim) break;
            sum[j] *= correction;
            for (int i = 0; i < n; i++)
                sum[j] = fmaf(p[i], vcuda_load(s->v, s->type, (key0 + i) * s->v_row + kv_head * s->v_head + d), sum[j]);
        }
    }
#pragma unroll
    for (int j = 0; j < per_thread; j++) {
        int64_t d = threadIdx.x + j * THREADS;
        if (d < a.dim) ((float *)a.y)[row * a.y_row + head * a.y_head + d] = l == 0 ? 0 : sum[j] / l; /* 0: it saw nothing */
    }
}

static void run_one_query(vcuda_stream *s, const vcuda_attention_args *a) {
    dim3 grid((unsigned)a->rows, (unsigned)a->heads);
    one_query<<<grid, THREADS, (size_t)(a->dim + 2 * THREADS) * sizeof(float), s->stream>>>(*a);
    vcuda_launched(s);
}

/* ---- the operation ---- */
static void describe(vcuda_segment *to, const vlm_segment *from, const vlm_tensor *rows) {
    vlm_tensor k = from->kv ? from->kv->k : rows[0], v = from->kv ? from->kv->v : rows[1];
    int64_t first = from->kv ? 0 : from->start, size = k.dtype == VLM_DTYPE_F32 ? 4 : 2;
    memset(to, 0, sizeof *to);
    to->start = from->start;
    to->length = from->length;
    to->past = from->past;
    to->visible = from->visible;
    to->k = (char *)k.data + first * k.stride[0] * size;
    to->v = (char *)v.data + first * v.stride[0] * size;
    to->k_row = k.stride[0], to->k_head = k.stride[1];
    to->v_row = v.stride[0], to->v_head = v.stride[1];
    to->type = k.dtype;
    to->stored = from->kv != NULL;
}

/* Segments, their spans, which segment a row belongs to, tiles: one table, one upload. */
struct tables {
    vcuda_segment *segments;
    vcuda_span *spans;
    vcuda_tile *tiles, *key_tiles;
    int32_t *segment_of;
    size_t bytes;
};

static tables lay_out(char *at, int n_segments, int64_t n_spans, const vcuda_attention_args &a) {
    tables t;
    char *p = at;
    t.segments = (vcuda_segment *)p;
    p += (size_t)n_segments * sizeof *t.segments;
    t.spans = (vcuda_span *)p;
    p += (size_t)n_spans * sizeof *t.spans;
    t.tiles = (vcuda_tile *)p;
    p += (size_t)a.n_tiles * sizeof *t.tiles;
    t.key_tiles = (vcuda_tile *)p;
    p += (size_t)a.n_key_tiles * sizeof *t.key_tiles;
    t.segment_of = (int32_t *)p;
    p += (size_t)a.rows * sizeof *t.segment_of;
    t.bytes = (size_t)(p - at);
    return t;
}

/* Tiles of keys that a segment needs. */
static int64_t key_tiles_of(const vlm_segment *s) {
    return s->length ? (s->past + s->length + VCUDA_KEYS - 1) / VCUDA_KEYS : 0;
}

static void fill(tables *t, const vlm_segment *segments, int n, const vcuda_attention_args &a, const vlm_tensor *rows) {
    int64_t spans = 0, tiles = 0, laid = 0;
    for (int i = 0; i < n; i++) {
        const vlm_segment *s = &segments[i];
        describe(&t->segments[i], s, rows);
        t->segments[i].first_span = (int32_t)spans;
        t->segments[i].n_spans = s->n_spans;
        for (int j = 0; j < s->n_spans; j++) t->spans[spans++] = { s->spans[j].begin, s->spans[j].end };
        for (int64_t at = 0; at < s->length; at += a.tile_rows) t->tiles[tiles++] = { i, (int32_t)at };
        t->segments[i].first_laid = laid;
        for (int64_t k = 0; a.n_key_tiles && k < key_tiles_of(s); k++) t->key_tiles[laid++] = { i, (int32_t)(k * VCUDA_KEYS) };
        for (int64_t r = 0; r < s->length; r++) t->segment_of[s->start + r] = i;
    }
}

/* What is known of the segments before they are laid out. */
struct survey {
    int64_t longest, most_keys, spans;
    bool any_stored, stored, uniform; /* some have a state; all have; all or none have, and of one type */
    int type;
};

static survey survey_of(const vlm_segment *segments, int n) {
    survey v = { 0, 0, 0, false, true, true, -1 };
    for (int i = 0; i < n; i++) {
        const vlm_segment *s = &segments[i];
        int type = s->kv ? s->kv->k.dtype : VLM_DTYPE_F32;
        v.spans += s->n_spans;
        v.longest = s->length > v.longest ? s->length : v.longest;
        v.most_keys = s->past + s->length > v.most_keys ? s->past + s->length : v.most_keys;
        v.any_stored |= s->kv != NULL;
        v.stored &= s->kv != NULL;
        v.uniform &= v.type < 0 || v.type == type;
        v.type = type;
    }
    v.uniform &= v.stored == v.any_stored;
    return v;
}

/* Everything but segments. */
static vcuda_attention_args describe_all(vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_attention_desc *desc) {
    vcuda_attention_args a = vcuda_args<vcuda_attention_args>();
    a.rows = q.shape[0], a.heads = q.shape[1], a.kv_heads = k.shape[1], a.dim = q.shape[2];
    a.q = q.data, a.k = (const float *)k.data, a.v = (const float *)v.data, a.y = y.data;
    a.q_row = q.stride[0], a.q_head = q.stride[1];
    a.k_row = k.stride[0], a.k_head = k.stride[1], a.v_row = v.stride[0], a.v_head = v.stride[1];
    a.y_row = y.stride[0], a.y_head = y.stride[1], a.narrow = y.dtype == VLM_DTYPE_BF16;
    a.scale = desc->scale, a.softcap = desc->softcap;
    a.window = desc->window, a.causal = desc->causal, a.window_in_spans = desc->window_in_spans;
    return a;
}

static void set_rope(vcuda_attention_args *a, const vlm_attention_desc *desc) {
    a->aligned = (a->q_row | a->q_head | a->k_row | a->k_head | a->v_row | a->v_head) % 4 == 0
                 && ((uintptr_t)a->q | (uintptr_t)a->k | (uintptr_t)a->v) % 16 == 0;
    if (!desc->rope) return;
    a->cos = (const float *)desc->rope->cos.data, a->sin = (const float *)desc->rope->sin.data;
    a->half = desc->rope->cos.shape[1];
    a->adjacent = desc->pairs == VLM_ROPE_ADJACENT;
    a->fours = a->aligned && !a->adjacent && a->half % 4 == 0 && ((uintptr_t)a->cos | (uintptr_t)a->sin) % 16 == 0;
}

/* The tables on the device; false when the frame failed. */
static bool upload_tables(vlm_frame *f, vcuda_attention_args *a, const vlm_segment *segments, int n, int64_t n_spans, const vlm_tensor *rows) {
    size_t bytes = lay_out(NULL, n, n_spans, *a).bytes;
    char *table = (char *)vcuda_table(f, bytes);
    if (!table) return false;
    tables t = lay_out(table, n, n_spans, *a);
    fill(&t, segments, n, *a, rows);
    t = lay_out((char *)vcuda_mirror(f, table, bytes), n, n_spans, *a);
    a->segments = t.segments, a->spans = t.spans, a->tiles = t.tiles, a->key_tiles = t.key_tiles, a->segment_of = t.segment_of;
    return f->error.code == VLM_OK;
}

/* Rows of bfloat16, for the tiles. */
static vlm_tensor make_rows(vlm_frame *f, vlm_tensor like) {
    return vcuda_of(f)->host->temporary(f, VLM_DTYPE_BF16, 3, like.shape);
}

static void attend_in_tiles(vlm_frame *f, vcuda_attention_args a, vlm_tensor q, const vlm_tensor *rows, bool all_stored) {
    arrange_args g = vcuda_args<arrange_args>();
    g.a = a;
    g.q = (__nv_bfloat16 *)make_rows(f, q).data;
    if (!all_stored) g.k = (__nv_bfloat16 *)rows[0].data, g.v = (__nv_bfloat16 *)rows[1].data;
    if (f->error.code != VLM_OK) return;
    vcuda_submit(f, run_arrange, g);
    a.q = g.q;
    vcuda_attention_tiles(f, a);
}

/* Which kernels compute it. */
struct way {
    bool tiles, wide, windows, few; /* one of wide, windows and few may be, of those that take bfloat16 operands */
    int64_t rows;                   /* of a tile */
};

static way way_of(const vlm_frame *f, const vcuda_attention_args &a, const survey &all) {
    way w = {};
    const bool fast = f->mode == VTENSOR_FAST && a.dim % 8 == 0 && a.dim <= 256 && a.scale > 0 && a.heads <= 65535;
    w.tiles = fast && all.uniform && (!all.stored || all.type == VLM_DTYPE_BF16);
    if (!w.tiles) return w;
    w.few = all.stored && all.longest == 1;
    w.rows = vcuda_wide_rows(a, all.longest, vcuda_of(f));
    w.wide = w.rows != 0;
    w.windows = !w.wide && !all.stored && all.longest <= VCUDA_KEYS && a.dim <= 128;
    if (!w.wide) w.rows = w.windows ? (int64_t)VCUDA_KEYS : vcuda_tile_rows(a, all.longest, vcuda_of(f));
    w.tiles = w.rows != 0;
    return w;
}

void vcuda_attention(vlm_frame *f, vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_segment *segments,
                     int n_segments, const vlm_attention_desc *desc) {
    const vtensor_cuda_host *host = vcuda_of(f)->host;
    vcuda_attention_args a = describe_all(y, q, k, v, desc);
    const survey all = survey_of(segments, n_segments);
    const way w = way_of(f, a, all);
    vlm_scope scope = host->scope_begin(f);
    vlm_tensor rows[] = { k, v };
    a.state_type = all.type;
    a.tile_rows = w.tiles ? w.rows : a.rows; /* of no tiles: not used, but counted by */
    for (int i = 0; i < n_segments; i++) {
        a.n_tiles += (segments[i].length + a.tile_rows - 1) / a.tile_rows;
        if (w.wide) a.n_key_tiles += key_tiles_of(&segments[i]);
    }
    if (w.tiles && !w.wide && !w.windows && !all.stored) rows[0] = make_rows(f, k), rows[1] = make_rows(f, v);
    if (w.tiles) {
        set_rope(&a, desc);
    } else if (desc->rope) {
        vcuda_rope(f, q, desc->rope, desc->pairs);
        vcuda_rope(f, k, desc->rope, desc->pairs);
    }
    if (upload_tables(f, &a, segments, n_segments, all.spans, rows)) {
        if (w.few && w.tiles && vcuda_attention_few(f, a, all.most_keys)) {
        } else if (w.wide) {
            vcuda_attention_wide(f, a);
        } else if (w.windows) {
            vcuda_attention_windows(f, a);
        } else if (w.tiles) {
            attend_in_tiles(f, a, q, rows, all.stored);
        } else {
            if (all.any_stored) vcuda_submit(f, run_store, a);
            vcuda_submit(f, run_one_query, a);
        }
    }
    host->scope_end(f, scope);
}

/* Where a product of bfloat16 operands follows on tiles, what is between them is bfloat16 from the start. */
void vcuda_attention_add(vlm_frame *f, vlm_tensor sum, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_segment *segments,
                         int n_segments, const vlm_attention_desc *desc, const vlm_linear *linear) {
    const vtensor_cuda_host *host = vcuda_of(f)->host;
    const way w = way_of(f, describe_all(q, q, k, v, desc), survey_of(segments, n_segments));
    const bool narrow = w.tiles && !w.few && vcuda_takes_bf16(f, q.shape[0], linear);
    vlm_scope scope = host->scope_begin(f);
    vlm_tensor y = host->temporary(f, narrow ? VLM_DTYPE_BF16 : VLM_DTYPE_F32, 3, q.shape);
    if (y.rank) {
        vcuda_attention(f, y, q, k, v, segments, n_segments, desc);
        y.rank = 2;
        y.shape[1] *= y.shape[2];
        y.stride[1] = 1;
        vcuda_linear_add(f, sum, y, linear);
    }
    host->scope_end(f, scope);
}
