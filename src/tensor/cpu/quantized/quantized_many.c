/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with many rows of x as integers (quantized.c says what is
 * computed). x is packed once per block of rows into panels of mr rows, W on the fly into panels of
 * nr rows that stay in the first-level cache, both as integers, beside them the scales and sums of
 * their groups; `tile` kernels multiply them. */
#include "tensor/cpu/matmul/matmul.h"

enum {
    ROW_BLOCK = 512, /* rows packed at a time: bounds the scratch, repays unpacking W anew */
    MIN_ITEMS = 24   /* cut rows too when there are fewer panels of W */
};

typedef struct product {
    vcpu_matmul *m;
    const vcpu_int_gemm *g;
    size_t mr, nr, depth, groups; /* depth: 32-bit elements along k; groups of a row */
    size_t per;                   /* values in an element */
    char *x;                      /* for each block along k, for each tile: [elements][mr] */
    float *scales, *sums;         /* for each tile: [groups][mr] */
} product;

/* Bytes of x where they are faster and allowed, else 16-bit integers. */
static const vcpu_int_gemm *gemm_of(const vcpu_matmul *m) {
    const vcpu_kernels *k = m->k;
    if (!m->bytes) return &k->gemm_int16;
    if (k->gemm_nibbles.tile && m->linears[0]->weight.bits == 4) return &k->gemm_nibbles;
    return k->prefers_int8 ? &k->gemm_int8 : &k->gemm_int16;
}

static size_t group_of(const product *p) {
    return (size_t)p->m->linears[0]->weight.group;
}

static size_t block_depth(const product *p, size_t k0) {
    return vcpu_min(p->g->kc, p->depth - k0);
}

static char *packed_x(const product *p, size_t k0, size_t tile) {
    return p->x + 4 * p->mr * (k0 * p->m->row_tiles + tile * block_depth(p, k0));
}

/* ---- x ---- */
/* What a worker needs to pack a tile of x: its rows as integers, their scales and sums. */
typedef struct x_rows {
    char *q;
    float *scales, *sums;
    size_t row, group_row, bytes;
} x_rows;

static x_rows x_rows_at(const product *p, char *scratch) {
    x_rows x = { .row = vcpu_round_up(p->depth * p->per, 64),
                 .group_row = vcpu_round_up(p->groups, 16) };
    size_t q_bytes = p->mr * x.row * 4 / p->per, scale_bytes = p->mr * vcpu_floats(x.group_row);
    x.q = scratch;
    x.bytes = q_bytes + 2 * scale_bytes;
    if (!scratch) return x;
    x.scales = (void *)(scratch + q_bytes);
    x.sums = (void *)(scratch + q_bytes + scale_bytes);
    return x;
}

static void quantize_row(const product *p, const x_rows *x, size_t r, const float *from) {
    const vcpu_kernels *k = p->m->k;
    char *q = x->q + r * x->row * 4 / p->per;
    float *scales = x->scales + r * x->group_row, *sums = x->sums + r * x->group_row;
    if (p->per == 4)
        k->quantize8((int8_t *)q, scales, sums, from, vcpu_in(p->m), group_of(p));
    else
        k->quantize16((int16_t *)(void *)q, scales, sums, from, vcpu_in(p->m), group_of(p), 0);
}

static void pack_x_item(void *arg, size_t tile, int worker) {
    const product *p = arg;
    const vcpu_matmul *m = p->m;
    x_rows x = x_rows_at(p, vcpu_scratch(m->b, worker));
    size_t rows = vcpu_min(p->mr, m->rows - tile * p->mr), at = tile * p->groups * p->mr;
    size_t row_bytes = x.row * 4 / p->per;
    for (size_t r = 0; r < rows; r++)
        quantize_row(p, &x, r, (const void *)vcpu_row(m->x, m->row0 + tile * p->mr + r));
    for (size_t k0 = 0; k0 < p->depth; k0 += p->g->kc)
        m->k->pack(packed_x(p, k0, tile), p->mr, x.q + 4 * k0, row_bytes, rows, block_depth(p, k0));
    m->k->pack(p->scales + at, p->mr, x.scales, 4 * x.group_row, rows, p->groups);
    m->k->pack(p->sums + at, p->mr, x.sums, 4 * x.group_row, rows, p->groups);
}

/* ---- W ---- */
/* A panel of W: nr rows of one block along k, and the memory to make it in. */
typedef struct panel {
    char *q, *staging;            /* [kc][nr], [nr][kc] elements */
    float *scales, *biases, *row; /* [groups][nr], twice; [nr][room] */
    size_t room, bytes;           /* for the numbers of a row and eight zeros */
} panel;

static panel panel_at(const product *p, char *scratch) {
    size_t q_bytes = 4 * p->nr * p->g->kc, groups = p->g->kc * p->per / group_of(p) + 1;
    panel w = { .room = vcpu_round_up(groups, 8) + 8 };
    size_t scale_bytes = vcpu_floats(groups * p->nr);
    w.bytes = 2 * q_bytes + 2 * scale_bytes + p->nr * vcpu_floats(w.room);
    w.q = scratch;
    if (!scratch) return w;
    w.staging = scratch + q_bytes;
    w.scales = (void *)(scratch + 2 * q_bytes);
    w.biases = (void *)(scratch + 2 * q_bytes + scale_bytes);
    w.row = (void *)(scratch + 2 * q_bytes + 2 * scale_bytes);
    return w;
}

static void pack_w(const product *p, const panel *to, const vcpu_quants *w, size_t rows, size_t k0,
                   size_t d) {
    const vcpu_kernels *k = p->m->k;
    size_t groups = d * p->per / w->group, g = k0 * p->per / w->group;
    for (size_t r = 0; r < rows; r++) {
        char *q = to->staging + 4 * d * r;
        if (p->per == 4)
            k->unpack8((uint8_t *)q, w, r, k0 * p->per, d * p->per);
        else
            k->unpack16((int16_t *)(void *)q, w, r, k0 * p->per, d * p->per);
    }
    k->pack(to->q, p->nr, to->staging, 4 * d, rows, d);
    for (size_t r = 0; r < rows; r++)
        k->numbers(to->row + r * to->room,
                   w->scales + r * w->scale_row_bytes + g * vcpu_number_size(w->scale_type), groups,
                   w->scale_type, w->factor);
    k->pack(to->scales, p->nr, to->row, 4 * to->room, rows, groups);
    for (size_t i = 0; i < groups * p->nr; i++) /* e2m1 as unsigned bytes is 12 too much */
        to->biases[i] = p->per == 4 ? -12 * to->scales[i] : 0;
    if (!w->biases) return;
    for (size_t r = 0; r < rows; r++)
        k->numbers(to->row + r * to->room,
                   w->biases + r * w->bias_row_bytes + g * vcpu_number_size(w->bias_type), groups,
                   w->bias_type, 1);
    k->pack(to->biases, p->nr, to->row, 4 * to->room, rows, groups);
}

/* ---- products ---- */
/* One tile of the result; at the edges through a buffer, so that the kernel knows no tails. */
static void multiply_tile(const product *p, vcpu_int_tile *t, const vlm_tensor *y,
                          const float *bias, size_t tile, size_t o, bool first) {
    const vcpu_matmul *m = p->m;
    size_t y_row = (size_t)y->stride[0];
    size_t rows = vcpu_min(p->mr, m->rows - tile * p->mr);
    size_t outs = vcpu_min(p->nr, (size_t)y->shape[1] - o);
    float *c = (float *)(void *)vcpu_row(*y, m->row0 + tile * p->mr) + o;
    for (size_t r = 0; first && r < rows; r++) memcpy(c + r * y_row, bias, outs * sizeof *c);
    t->c = c;
    t->c_row = y_row;
    if (rows == p->mr && outs == p->nr) {
        p->g->tile(t);
        return;
    }
    float edge[VCPU_MAX_MR * VCPU_MAX_NR] = { 0 };
    for (size_t r = 0; r < rows; r++) memcpy(edge + r * p->nr, c + r * y_row, outs * sizeof *c);
    t->c = edge;
    t->c_row = p->nr;
    p->g->tile(t);
    for (size_t r = 0; r < rows; r++) memcpy(c + r * y_row, edge + r * p->nr, outs * sizeof *c);
}

static size_t panel_items(const vcpu_matmul *m, const vlm_linear *l) {
    return vcpu_ceil((size_t)l->weight.out, (size_t)gemm_of(m)->nr) * m->row_items;
}

static void panel_item(void *arg, size_t item, int worker) {
    const product *p = arg;
    const vcpu_matmul *m = p->m;
    const vlm_tensor *y;
    const vlm_linear *l = vcpu_find_item(m, &item, panel_items, &y);
    size_t o = item / m->row_items * p->nr, outs = vcpu_min(p->nr, (size_t)l->weight.out - o);
    size_t tile0 = item % m->row_items * m->tiles_per_item;
    size_t tile1 = vcpu_min(m->row_tiles, tile0 + m->tiles_per_item);
    panel w = panel_at(p, vcpu_scratch(m->b, worker));
    vcpu_quants quants = vcpu_quants_of(&l->weight, o);
    float bias[VCPU_MAX_NR] = { 0 };
    if (l->bias.rank)
        vcpu_widen(m->k, bias, (const char *)l->bias.data + o * vtensor_dtype_size(l->bias.dtype),
                   l->bias.dtype, outs);
    for (size_t k0 = 0; k0 < p->depth; k0 += p->g->kc) {
        size_t d = block_depth(p, k0), g = k0 * p->per / group_of(p);
        pack_w(p, &w, &quants, outs, k0, d);
        for (size_t tile = tile0; tile < tile1; tile++) {
            size_t at = (tile * p->groups + g) * p->mr;
            vcpu_int_tile t = { .a = packed_x(p, k0, tile),
                                .b = w.q,
                                .x_scales = p->scales + at,
                                .x_sums = p->sums + at,
                                .w_scales = w.scales,
                                .w_biases = w.biases,
                                .groups = d * p->per / group_of(p),
                                .depth = group_of(p) / p->per };
            multiply_tile(p, &t, y, bias, tile, o, k0 == 0);
        }
    }
}

void vcpu_quantized_many(vlm_frame *f, vcpu_matmul *m) {
    const vcpu_int_gemm *g = gemm_of(m);
    product p = { .m = m, .g = g, .mr = (size_t)g->mr, .nr = (size_t)g->nr };
    p.per = g == &m->k->gemm_int16 ? 2 : 4;
    size_t n = m->rows, outs = 0;
    p.depth = vcpu_in(m) / p.per;
    p.groups = vcpu_in(m) / group_of(&p);
    size_t block = vcpu_round_up(vcpu_ceil(n, vcpu_ceil(n, ROW_BLOCK)), p.mr);
    size_t x_bytes = vcpu_round_up(4 * block * p.depth, 64),
           s_bytes = vcpu_floats(block * p.groups);
    size_t x_room = x_rows_at(&p, NULL).bytes, w_room = panel_at(&p, NULL).bytes;
    if (!vcpu_begin(f, x_bytes + 2 * s_bytes, x_room > w_room ? x_room : w_room)) return;
    p.x = m->b->shared;
    p.scales = (void *)(p.x + x_bytes);
    p.sums = (void *)(p.x + x_bytes + s_bytes);
    for (int l = 0; l < m->n_linears; l++) outs += (size_t)m->linears[l]->weight.out;
    for (m->row0 = 0; m->row0 < n; m->row0 += block) {
        m->rows = vcpu_min(block, n - m->row0);
        m->row_tiles = vcpu_ceil(m->rows, p.mr);
        m->row_items = 1;
        size_t panels = vcpu_count_items(m, panel_items);
        if (panels < MIN_ITEMS) m->row_items = vcpu_min(m->row_tiles, vcpu_ceil(MIN_ITEMS, panels));
        m->tiles_per_item = vcpu_ceil(m->row_tiles, m->row_items);
        m->row_items = vcpu_ceil(m->row_tiles, m->tiles_per_item);
        vcpu_run(m->b, m->row_tiles, m->rows * vcpu_in(m), pack_x_item, &p);
        vcpu_run(m->b, vcpu_count_items(m, panel_items), m->rows * vcpu_in(m) * outs / 16,
                 panel_item, &p);
    }
    vcpu_end(f);
}
