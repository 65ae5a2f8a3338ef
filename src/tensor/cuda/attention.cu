/* SPDX-License-Identifier: MIT */
/* Attention: storing keys and values, who sees whom, and which of the kernels computes a segment: few queries over
 * long states (attention_few.cu), tiles of queries on the tensor cores (attention_tiles.cu), and one query at a time
 * in float32 for the exact mode and for head sizes that the others do not have. */
#include "tensor/cuda/attention.h"

enum { THREADS = 128 };

/* ---- storing ---- */
struct store_args {
    const vcuda_segment *segments;
    const int32_t *segment_of; /* [rows] */
    const float *k, *v;
    int64_t k_row, k_head, v_row, v_head, kv_heads, dim, rows;
};

__global__ static void store(const __grid_constant__ store_args a) {
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

static void run_store(vcuda_stream *s, const store_args *a) {
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
    for (int64_t d = threadIdx.x; d < a.dim; d += THREADS) q[d] = a.q[row * a.q_row + head * a.q_head + d];
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
        if (d < a.dim) a.y[row * a.y_row + head * a.y_head + d] = l > 0 ? sum[j] / l : 0; /* 0: it saw nothing */
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
    vcuda_tile *tiles;
    int32_t *segment_of;
    size_t bytes;
};

static tables lay_out(char *at, int n_segments, int64_t n_spans, int64_t n_tiles, int64_t rows) {
    tables t;
    char *p = at;
    t.segments = (vcuda_segment *)p;
    p += (size_t)n_segments * sizeof *t.segments;
    t.spans = (vcuda_span *)p;
    p += (size_t)n_spans * sizeof *t.spans;
    t.tiles = (vcuda_tile *)p;
    p += (size_t)n_tiles * sizeof *t.tiles;
    t.segment_of = (int32_t *)p;
    p += (size_t)rows * sizeof *t.segment_of;
    t.bytes = (size_t)(p - at);
    return t;
}

static void fill(tables *t, const vlm_segment *segments, int n, int64_t tile_rows, const vlm_tensor *rows) {
    int64_t spans = 0, tiles = 0;
    for (int i = 0; i < n; i++) {
        const vlm_segment *s = &segments[i];
        describe(&t->segments[i], s, rows);
        t->segments[i].first_span = (int32_t)spans;
        t->segments[i].n_spans = s->n_spans;
        for (int j = 0; j < s->n_spans; j++) t->spans[spans++] = { s->spans[j].begin, s->spans[j].end };
        for (int64_t at = 0; at < s->length; at += tile_rows) t->tiles[tiles++] = { i, (int32_t)at };
        for (int64_t r = 0; r < s->length; r++) t->segment_of[s->start + r] = i;
    }
}

/* x in bfloat16, which the tensor cores multiply. */
struct round_args {
    const float *x;
    __nv_bfloat16 *to;
    int64_t count, heads, dim, row, head;
};

__global__ static void round_rows(const __grid_constant__ round_args a) {
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < a.count; i += (int64_t)gridDim.x * THREADS) {
        int64_t at = i / a.dim, row = at / a.heads;
        a.to[i] = __float2bfloat16_rn(a.x[row * a.row + (at - row * a.heads) * a.head + (i - at * a.dim)]);
    }
}

static void run_round(vcuda_stream *s, const round_args *a) {
    int64_t blocks = vcuda_blocks(a->count, THREADS), most = (int64_t)s->b->multiprocessors * 32;
    round_rows<<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

static vlm_tensor rounded(vlm_frame *f, vlm_tensor x) {
    vlm_tensor y = vcuda_of(f)->host->temporary(f, VLM_DTYPE_BF16, 3, x.shape);
    round_args a = vcuda_args<round_args>();
    a.x = (const float *)x.data;
    a.to = (__nv_bfloat16 *)y.data;
    a.heads = x.shape[1], a.dim = x.shape[2];
    a.count = x.shape[0] * a.heads * a.dim;
    a.row = x.stride[0], a.head = x.stride[1];
    if (y.rank) vcuda_submit(f, run_round, a);
    return y;
}

static void submit_store(vlm_frame *f, const vcuda_attention_args &a, vlm_tensor k, vlm_tensor v) {
    store_args s = vcuda_args<store_args>();
    s.segments = a.segments, s.segment_of = a.segment_of;
    s.k = (const float *)k.data, s.v = (const float *)v.data;
    s.k_row = k.stride[0], s.k_head = k.stride[1], s.v_row = v.stride[0], s.v_head = v.stride[1];
    s.kv_heads = a.kv_heads, s.dim = a.dim, s.rows = a.rows;
    vcuda_submit(f, run_store, s);
}

/* What is known of the segments before they are laid out. */
struct survey {
    int64_t longest, most_keys, spans, tiles;
    bool stored, uniform; /* some have a state; the keys of all are of one type */
    int type;
};

static survey survey_of(const vlm_segment *segments, int n) {
    survey v = { 0, 0, 0, 0, false, true, -1 };
    for (int i = 0; i < n; i++) {
        const vlm_segment *s = &segments[i];
        int type = s->kv ? s->kv->k.dtype : VLM_DTYPE_F32;
        v.spans += s->n_spans;
        v.longest = s->length > v.longest ? s->length : v.longest;
        v.most_keys = s->past + s->length > v.most_keys ? s->past + s->length : v.most_keys;
        v.stored |= s->kv != NULL;
        v.uniform &= v.type < 0 || v.type == type;
        v.type = type;
    }
    return v;
}

void vcuda_attention(vlm_frame *f, vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_segment *segments,
                     int n_segments, const vlm_attention_desc *desc) {
    const vtensor_cuda_host *host = vcuda_of(f)->host;
    vcuda_attention_args a = vcuda_args<vcuda_attention_args>();
    survey all = survey_of(segments, n_segments);
    a.rows = q.shape[0], a.heads = q.shape[1], a.kv_heads = k.shape[1], a.dim = q.shape[2];
    a.q = (const float *)q.data, a.y = (float *)y.data;
    a.q_row = q.stride[0], a.q_head = q.stride[1];
    a.y_row = y.stride[0], a.y_head = y.stride[1];
    a.scale = desc->scale, a.softcap = desc->softcap;
    a.window = desc->window, a.causal = desc->causal;
    a.tile_rows = vcuda_tile_rows(all.longest, a.dim);
    for (int i = 0; i < n_segments; i++) a.n_tiles += (segments[i].length + a.tile_rows - 1) / a.tile_rows;
    vlm_scope scope = host->scope_begin(f);
    vlm_tensor rows[] = { k, v };
    a.state_type = all.type;
    if (f->mode == VTENSOR_FAST && !all.stored && a.dim % 8 == 0) {
        rows[0] = rounded(f, k), rows[1] = rounded(f, v);
        a.state_type = VLM_DTYPE_BF16;
    }
    size_t bytes = lay_out(NULL, n_segments, all.spans, a.n_tiles, a.rows).bytes;
    char *table = (char *)host->alloc(bytes);
    if (!table) host->frame_fail(f, VLM_ERR_MEMORY, "attention: out of memory");
    if (f->error.code == VLM_OK) {
        tables t = lay_out(table, n_segments, all.spans, a.n_tiles, a.rows);
        fill(&t, segments, n_segments, a.tile_rows, rows);
        t = lay_out((char *)vcuda_mirror(f, table, bytes), n_segments, all.spans, a.n_tiles, a.rows);
        a.segments = t.segments, a.spans = t.spans, a.tiles = t.tiles, a.segment_of = t.segment_of;
        if (all.stored) submit_store(f, a, k, v);
        bool done = all.uniform && all.longest <= VCUDA_FEW_QUERIES && all.stored && vcuda_attention_few(f, a, all.most_keys);
        if (!done && all.uniform && f->mode == VTENSOR_FAST) done = vcuda_attention_tiles(f, a);
        if (!done) vcuda_submit(f, run_one_query, a);
    }
    host->free(table);
    host->scope_end(f, scope);
}
