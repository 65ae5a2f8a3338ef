/* SPDX-License-Identifier: MIT */
/* Products with many rows: x is packed once per call into panels of mr rows, W on the fly into
 * panels of nr rows that stay in the first-level cache, and `tile` kernels multiply them (bound by
 * arithmetic). */
#include "tensor/cpu/matmul/matmul.h"

enum {
    ROW_BLOCK = 512,      /* rows packed at a time: bounds the scratch, repays packing W anew */
    ITEMS_OF_A_THREAD = 8 /* cut rows too when there are fewer panels of W */
};

/* 32-bit elements along k: of the whole, and of a block that starts at k0. */
static size_t depth(const vcpu_matmul *m) {
    return m->pairs ? vcpu_ceil(vcpu_in(m), 2) : vcpu_in(m);
}

static size_t block_depth(const vcpu_matmul *m, size_t k0) {
    return vcpu_min(m->g->kc, depth(m) - k0);
}

/* Packed x: for each block along k, for each tile of rows, [depth of the block][mr]. */
static const char *packed_x(const vcpu_matmul *m, size_t k0, size_t tile) {
    size_t mr = (size_t)m->g->mr;
    return m->xp + 4 * (k0 * m->row_tiles * mr + tile * block_depth(m, k0) * mr);
}

/* Copies rows as bfloat16, the last odd element being paired with zero. */
static void narrow_rows(const vcpu_matmul *m, uint16_t *to, const char *from, size_t from_row_bytes,
                        size_t rows, size_t k0, size_t d) {
    size_t n = vcpu_min(2 * d, vcpu_in(m) - 2 * k0);
    for (size_t r = 0; r < rows; r++, to += 2 * d) {
        const char *row = from + r * from_row_bytes;
        m->k->narrow_bf16(to, (const float *)(const void *)row + 2 * k0, n);
        if (n < 2 * d) to[n] = 0;
    }
}

static void pack_x_item(void *arg, size_t tile, int worker) {
    const vcpu_matmul *m = arg;
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
static size_t row_bytes_of(const vcpu_matmul *m, const vlm_matrix *w, size_t d) {
    return m->pairs ? 4 * d : vtensor_dtype_size(w->data.dtype) * d;
}

/* Panel of W: rows [o, o + rows) as [d][nr]. `staging` takes nr rows of d elements. */
static void pack_w(const vcpu_matmul *m, void *panel, char *staging, const vlm_matrix *w, size_t o,
                   size_t rows, size_t k0, size_t d) {
    size_t nr = (size_t)m->g->nr;
    if (w->storage == VLM_STORAGE_DENSE && (!m->pairs || 2 * (k0 + d) <= vcpu_in(m))) {
        vlm_dtype dtype = m->pairs ? VLM_DTYPE_F32 : w->data.dtype;
        (dtype == VLM_DTYPE_BF16  ? m->k->pack_bf16
         : dtype == VLM_DTYPE_F16 ? m->k->pack_f16
                                  : m->k->pack)(panel, nr,
                                                vcpu_row(w->data, o) + row_bytes_of(m, w, k0),
                                                vcpu_row_bytes(w), rows, d);
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
static void multiply_tile(const vcpu_matmul *m, const vlm_tensor *y, const float *bias, size_t tile,
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

/* The next block along k of rows of W lies a row apart from this one: too far for the CPU to
 * foresee. Its lines are asked for a few at a time, beside the products. */
typedef struct ahead {
    const char *row;
    size_t stride, bytes, at; /* of a row: how far it is asked for */
    size_t rows, lines;       /* rows left; lines at a time */
} ahead;

static ahead ahead_of(const vcpu_matmul *m, const vlm_matrix *w, size_t o, size_t rows, size_t k0,
                      size_t turns) {
    ahead a = { .rows = 0 };
    if (k0 >= depth(m) || w->storage != VLM_STORAGE_DENSE) return a;
    a.row = vcpu_row(w->data, o) + row_bytes_of(m, w, k0);
    a.stride = vcpu_row_bytes(w);
    a.bytes = row_bytes_of(m, w, block_depth(m, k0));
    a.rows = rows;
    a.lines = rows * vcpu_ceil(a.bytes, 64) / turns + 1;
    return a;
}

static void ask_ahead(ahead *a) {
    for (size_t i = 0; i < a->lines && a->rows; i++) {
        __builtin_prefetch(a->row + a->at);
        a->at += 64;
        if (a->at < a->bytes) continue;
        a->at = 0;
        a->row += a->stride;
        a->rows--;
    }
}

static size_t panel_items(const vcpu_matmul *m, const vlm_linear *l) {
    return vcpu_ceil((size_t)l->weight.out, (size_t)m->g->nr) * m->row_items;
}

static void panel_item(void *arg, size_t item, int worker) {
    const vcpu_matmul *m = arg;
    const vlm_tensor *y;
    const vlm_linear *l = vcpu_find_item(m, &item, panel_items, &y);
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
        ahead next = ahead_of(m, &l->weight, o, outs, k0 + d, tile1 - tile0);
        for (size_t tile = tile0; tile < tile1; tile++) {
            ask_ahead(&next);
            multiply_tile(m, y, bias, tile, o, k0, d, panel);
        }
    }
}

void vcpu_many_rows(vlm_frame *f, vcpu_matmul *m) {
    size_t n = (size_t)m->x.shape[0], mr, kc, outs = 0, want = ITEMS_OF_A_THREAD * m->b->n_workers;
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
        size_t panels = vcpu_count_items(m, panel_items);
        m->row_items = vcpu_min(m->row_tiles, vcpu_ceil(want, panels));
        m->tiles_per_item = vcpu_ceil(m->row_tiles, m->row_items);
        m->row_items = vcpu_ceil(m->row_tiles, m->tiles_per_item);
        vcpu_run(m->b, m->row_tiles, m->rows * vcpu_in(m), pack_x_item, m);
        vcpu_run(m->b, vcpu_count_items(m, panel_items), m->rows * vcpu_in(m) * outs / 16,
                 panel_item, m);
    }
    vcpu_end(f);
}
