/* SPDX-License-Identifier: MIT */
/* y = x Wᵀ + b, for one or several W over one x.
 *
 * Few rows: every row of W is read once from where it lies and dotted with each row of x (`dot`
 * kernels, bound by memory). Many rows: x is packed once per call into panels of mr rows, W on the
 * fly into panels of nr rows that stay in the first-level cache, and `tile` kernels multiply them
 * (bound by arithmetic). An output is computed by one thread and in the same order whatever the
 * number of threads.
 *
 * In exact mode everything is multiplied in float32. In fast mode weights that are bfloat16 meet x
 * rounded to bfloat16 where the CPU multiplies bfloat16 pairs; elsewhere fast is exact. */
#include "tensor/cpu/cpu.h"

enum {
    FEW_ROWS = 16,          /* until here packing costs more than it gains */
    DOT_ITEM_BYTES = 32768, /* weight bytes of an item when x has few rows */
    ROW_BLOCK = 512,        /* rows packed at a time: bounds the scratch, repays packing W anew */
    MIN_ITEMS = 24          /* cut rows too when there are fewer panels of W */
};

typedef struct matmul {
    vcpu_backend *b;
    const vcpu_kernels *k;
    vlm_tensor x;
    const vlm_tensor *y;
    const vlm_linear *const *linears;
    int n_linears;
    bool pairs;        /* x is multiplied as pairs of bfloat16 */
    const char *xp;    /* x as the kernels want it */
    size_t xp_row;     /* few rows: elements between rows of xp */
    size_t row0, rows; /* the block of rows at work */
    const vcpu_gemm *g;
    size_t row_tiles, tiles_per_item, row_items;
} matmul;

static size_t linear_in(const matmul *m) {
    return (size_t)m->x.shape[1];
}

/* Finds which linear the i-th item belongs to, each having count(l) of them; *i becomes its own
 * number. */
static const vlm_linear *find(const matmul *m, size_t *i,
                              size_t (*count)(const matmul *, const vlm_linear *),
                              const vlm_tensor **y) {
    int l = 0;
    for (; l < m->n_linears - 1; l++) {
        size_t n = count(m, m->linears[l]);
        if (*i < n) break;
        *i -= n;
    }
    *y = &m->y[l];
    return m->linears[l];
}

static size_t total(const matmul *m, size_t (*count)(const matmul *, const vlm_linear *)) {
    size_t n = 0;
    for (int l = 0; l < m->n_linears; l++) n += count(m, m->linears[l]);
    return n;
}

/* ---- few rows ---- */
static size_t row_bytes(const vlm_matrix *w) {
    return (size_t)w->data.stride[0] * vtensor_dtype_size(w->data.dtype);
}

static size_t outs_per_item(const vlm_linear *l) {
    size_t outs = DOT_ITEM_BYTES / (row_bytes(&l->weight) + 1) / 8 * 8;
    return outs ? outs : 8;
}

static size_t dot_items(const matmul *m, const vlm_linear *l) {
    (void)m;
    return vcpu_ceil((size_t)l->weight.out, outs_per_item(l));
}

static vcpu_dot *dot_for(const matmul *m, const vlm_matrix *w) {
    if (m->pairs) return m->k->dot_bf16_pairs;
    if (w->data.dtype == VLM_DTYPE_BF16) return m->k->dot_bf16;
    return w->data.dtype == VLM_DTYPE_F16 ? m->k->dot_f16 : m->k->dot_f32;
}

static void add_bias(const vcpu_kernels *k, float *y, vlm_tensor bias, size_t o, size_t n) {
    float buffer[64];
    size_t size = vtensor_dtype_size(bias.dtype);
    for (size_t at = 0; at < n; at += 64) {
        size_t count = vcpu_min(64, n - at);
        const char *from = (const char *)bias.data + (o + at) * size;
        k->add(y + at, vcpu_as_floats(k, buffer, from, bias.dtype, count), count);
    }
}

/* All rows of x with n rows of W from w on, which stay in the cache between one group of rows and the
 * next. */
static void dot_rows(const matmul *m, vcpu_dot *dot, float *y, size_t y_row, const void *w,
                     size_t w_row_bytes, size_t n) {
    size_t x_row_bytes = m->xp_row * (m->pairs ? 2 : sizeof(float));
    for (size_t r = 0; r < m->rows; r += VCPU_DOT_ROWS)
        dot(y + r * y_row, y_row, m->xp + r * x_row_bytes, m->xp_row,
            (int)vcpu_min(VCPU_DOT_ROWS, m->rows - r), w, w_row_bytes, n, linear_in(m));
}

static void dot_item(void *arg, size_t item, int worker) {
    const matmul *m = arg;
    const vlm_tensor *y;
    const vlm_linear *l = find(m, &item, dot_items, &y);
    const vlm_matrix *w = &l->weight;
    size_t o = item * outs_per_item(l), n = vcpu_min(outs_per_item(l), (size_t)w->out - o);
    size_t y_row = (size_t)y->stride[0];
    float *to = (float *)y->data + o;
    if (w->storage == VLM_STORAGE_AFFINE) {
        float *row = vcpu_scratch(m->b, worker);
        for (size_t i = 0; i < n; i++) {
            vcpu_matrix_row(m->k, row, w, o + i, 0, linear_in(m));
            dot_rows(m, m->k->dot_f32, to + i, y_row, row, 0, 1);
        }
    } else {
        dot_rows(m, dot_for(m, w), to, y_row, vcpu_row(w->data, o), row_bytes(w), n);
    }
    if (l->bias.rank == 0) return;
    for (size_t r = 0; r < m->rows; r++) add_bias(m->k, to + r * y_row, l->bias, o, n);
}

static void few_rows(vlm_frame *f, matmul *m) {
    size_t in = linear_in(m), x_row = vcpu_round_up(in, 32), outs = 0;
    if (!vcpu_begin(f, m->rows * x_row * 2, vcpu_floats(in))) return;
    m->xp = m->x.data;
    m->xp_row = (size_t)m->x.stride[0];
    if (m->pairs) {
        for (size_t r = 0; r < m->rows; r++)
            m->k->narrow_bf16(m->b->shared + r * x_row * 2,
                              (const float *)(const void *)vcpu_row(m->x, r), in);
        m->xp = m->b->shared;
        m->xp_row = x_row;
    }
    for (int l = 0; l < m->n_linears; l++) outs += (size_t)m->linears[l]->weight.out;
    vcpu_run(m->b, total(m, dot_items), outs * in / 4, dot_item, m);
    vcpu_end(f);
}

/* ---- many rows ---- */
/* 32-bit elements along k: of the whole, and of a block that starts at k0. */
static size_t depth(const matmul *m) {
    return m->pairs ? vcpu_ceil(linear_in(m), 2) : linear_in(m);
}

static size_t block_depth(const matmul *m, size_t k0) {
    return vcpu_min(m->g->kc, depth(m) - k0);
}

/* Packed x: for each block along k, for each tile of rows, [depth of the block][mr]. */
static const char *packed_x(const matmul *m, size_t k0, size_t tile) {
    size_t mr = (size_t)m->g->mr;
    return m->xp + 4 * (k0 * m->row_tiles * mr + tile * block_depth(m, k0) * mr);
}

/* Copies rows as bfloat16, the last odd element being paired with zero. */
static void narrow_rows(const matmul *m, uint16_t *to, const char *from, size_t from_row_bytes,
                        size_t rows, size_t k0, size_t d) {
    size_t n = vcpu_min(2 * d, linear_in(m) - 2 * k0);
    for (size_t r = 0; r < rows; r++, to += 2 * d) {
        const char *row = from + r * from_row_bytes;
        m->k->narrow_bf16(to, (const float *)(const void *)row + 2 * k0, n);
        if (n < 2 * d) to[n] = 0;
    }
}

static void pack_x_item(void *arg, size_t tile, int worker) {
    const matmul *m = arg;
    size_t mr = (size_t)m->g->mr, rows = vcpu_min(mr, m->rows - tile * mr);
    const char *x = vcpu_row(m->x, m->row0 + tile * mr);
    size_t x_row_bytes = (size_t)m->x.stride[0] * sizeof(float);
    for (size_t k0 = 0; k0 < depth(m); k0 += m->g->kc) {
        size_t d = block_depth(m, k0);
        void *to = (void *)(uintptr_t)packed_x(m, k0, tile);
        if (m->pairs) {
            uint16_t *narrow = vcpu_scratch(m->b, worker);
            narrow_rows(m, narrow, x, x_row_bytes, rows, k0, d);
            m->k->pack(to, mr, narrow, 4 * d, rows, d);
        } else {
            m->k->pack(to, mr, x + k0 * sizeof(float), x_row_bytes, rows, d);
        }
    }
}

/* Bytes of a dense row that d elements along k take. */
static size_t row_bytes_of(const matmul *m, const vlm_matrix *w, size_t d) {
    return m->pairs ? 4 * d : vtensor_dtype_size(w->data.dtype) * d;
}

/* W's next block along k lies a row apart from this one: too far for the CPU to foresee. */
static void prefetch_rows(const char *w, size_t stride, size_t rows, size_t bytes) {
    for (size_t r = 0; r < rows; r++)
        for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(w + r * stride + at);
}

/* Panel of W: rows [o, o + rows) as [d][nr]. `staging` takes nr rows of d elements. */
static void pack_w(const matmul *m, void *panel, char *staging, const vlm_matrix *w, size_t o,
                   size_t rows, size_t k0, size_t d) {
    size_t nr = (size_t)m->g->nr;
    bool as_is = m->pairs ? 2 * (k0 + d) <= linear_in(m)
                          : w->storage == VLM_STORAGE_DENSE && w->data.dtype == VLM_DTYPE_F32;
    if (k0 + d < depth(m) && w->storage == VLM_STORAGE_DENSE) {
        size_t bytes = row_bytes_of(m, w, d);
        prefetch_rows(vcpu_row(w->data, o) + row_bytes_of(m, w, k0) + bytes, row_bytes(w), rows,
                      bytes);
    }
    if (as_is) {
        m->k->pack(panel, nr, vcpu_row(w->data, o) + 4 * k0, row_bytes(w), rows, d);
        return;
    }
    for (size_t r = 0; r < rows; r++) {
        char *to = staging + r * 4 * d;
        if (m->pairs) { /* the last element is half a pair */
            memcpy(to, vcpu_row(w->data, o + r) + 4 * k0, 4 * d - 2);
            memset(to + 4 * d - 2, 0, 2);
        } else {
            vcpu_matrix_row(m->k, (float *)(void *)to, w, o + r, k0, d);
        }
    }
    m->k->pack(panel, nr, staging, 4 * d, rows, d);
}

/* One tile of the result; at the edges through a buffer, so that the kernel knows no tails. */
static void multiply_tile(const matmul *m, const vlm_tensor *y, const float *bias, size_t tile,
                          size_t o, size_t k0, size_t d, const void *panel) {
    size_t mr = (size_t)m->g->mr, nr = (size_t)m->g->nr, y_row = (size_t)y->stride[0];
    size_t rows = vcpu_min(mr, m->rows - tile * mr), outs = vcpu_min(nr, (size_t)y->shape[1] - o);
    float *c = (float *)(void *)vcpu_row(*y, m->row0 + tile * mr) + o;
    const char *a = packed_x(m, k0, tile);
    if (rows == mr && outs == nr) {
        m->g->tile(c, y_row, k0 ? c : bias, k0 ? y_row : 0, a, 1, mr, panel, nr, d);
        return;
    }
    float edge[VCPU_MAX_MR * VCPU_MAX_NR];
    if (k0) {
        memset(edge, 0, mr * nr * sizeof *edge);
        for (size_t r = 0; r < rows; r++) memcpy(edge + r * nr, c + r * y_row, outs * sizeof *c);
    }
    m->g->tile(edge, nr, k0 ? edge : bias, k0 ? nr : 0, a, 1, mr, panel, nr, d);
    for (size_t r = 0; r < rows; r++) memcpy(c + r * y_row, edge + r * nr, outs * sizeof *c);
}

static size_t panel_items(const matmul *m, const vlm_linear *l) {
    return vcpu_ceil((size_t)l->weight.out, (size_t)m->g->nr) * m->row_items;
}

static void panel_item(void *arg, size_t item, int worker) {
    const matmul *m = arg;
    const vlm_tensor *y;
    const vlm_linear *l = find(m, &item, panel_items, &y);
    size_t nr = (size_t)m->g->nr, o = item / m->row_items * nr;
    size_t outs = vcpu_min(nr, (size_t)l->weight.out - o);
    size_t tile0 = item % m->row_items * m->tiles_per_item;
    size_t tile1 = vcpu_min(m->row_tiles, tile0 + m->tiles_per_item);
    char *panel = vcpu_scratch(m->b, worker), *staging = panel + 4 * nr * m->g->kc;
    float bias[VCPU_MAX_NR] = { 0 };
    if (l->bias.rank)
        vcpu_widen(m->k, bias, (const char *)l->bias.data + o * vtensor_dtype_size(l->bias.dtype),
                   l->bias.dtype, outs);
    for (size_t k0 = 0; k0 < depth(m); k0 += m->g->kc) {
        size_t d = block_depth(m, k0);
        pack_w(m, panel, staging, &l->weight, o, outs, k0, d);
        for (size_t tile = tile0; tile < tile1; tile++)
            multiply_tile(m, y, bias, tile, o, k0, d, panel);
    }
}

static void many_rows(vlm_frame *f, matmul *m) {
    size_t n = (size_t)m->x.shape[0], mr, kc, outs = 0;
    m->g = m->pairs ? &m->k->gemm_bf16 : &m->k->gemm_f32;
    mr = (size_t)m->g->mr;
    kc = m->g->kc;
    size_t block = vcpu_round_up(vcpu_ceil(n, vcpu_ceil(n, ROW_BLOCK)), mr);
    size_t worker = 2 * 4 * (size_t)(m->g->nr > m->g->mr ? m->g->nr : m->g->mr) * kc;
    if (!vcpu_begin(f, 4 * block * depth(m), worker)) return;
    m->xp = m->b->shared;
    for (int l = 0; l < m->n_linears; l++) outs += (size_t)m->linears[l]->weight.out;
    for (m->row0 = 0; m->row0 < n; m->row0 += block) {
        m->rows = vcpu_min(block, n - m->row0);
        m->row_tiles = vcpu_ceil(m->rows, mr);
        m->row_items = 1;
        size_t panels = total(m, panel_items);
        if (panels < MIN_ITEMS) m->row_items = vcpu_min(m->row_tiles, vcpu_ceil(MIN_ITEMS, panels));
        m->tiles_per_item = vcpu_ceil(m->row_tiles, m->row_items);
        m->row_items = vcpu_ceil(m->row_tiles, m->tiles_per_item);
        vcpu_run(m->b, m->row_tiles, m->rows * linear_in(m), pack_x_item, m);
        vcpu_run(m->b, total(m, panel_items), m->rows * linear_in(m) * outs / 16, panel_item, m);
    }
    vcpu_end(f);
}

/* ---- the operations ---- */
static void multiply(vlm_frame *f, const vlm_tensor *y, vlm_tensor x,
                     const vlm_linear *const *linears, int n_linears, bool pairs) {
    vcpu_backend *b = vcpu_of(f);
    matmul m = { .b = b, .k = &b->k, .x = x, .y = y, .linears = linears, .n_linears = n_linears };
    m.pairs = pairs;
    m.rows = (size_t)x.shape[0];
    if (m.rows <= FEW_ROWS)
        few_rows(f, &m);
    else
        many_rows(f, &m);
}

static bool multiplies_pairs(vlm_frame *f, const vlm_linear *l) {
    return f->mode == VTENSOR_FAST && vcpu_of(f)->k.gemm_bf16.tile
           && l->weight.storage == VLM_STORAGE_DENSE && l->weight.data.dtype == VLM_DTYPE_BF16;
}

/* Linears that want x alike go together. */
void vcpu_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *linears,
                  int n_linears) {
    if (x.shape[0] == 0) return;
    for (int first = 0, end; first < n_linears; first = end) {
        bool pairs = multiplies_pairs(f, linears[first]);
        for (end = first + 1; end < n_linears; end++)
            if (multiplies_pairs(f, linears[end]) != pairs) break;
        multiply(f, y + first, x, linears + first, end - first, pairs);
    }
}

void vcpu_linear(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear) {
    vcpu_linears(f, &y, x, &linear, 1);
}
