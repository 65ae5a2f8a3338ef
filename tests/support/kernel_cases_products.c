/* SPDX-License-Identifier: MIT */
/* Cases of the products: dot, tile and what packs for it. */
#include "support/kernel_cases.h"

#include <math.h>
#include <string.h>

static const size_t type_bytes[] = { [KC_BF16] = 2, [KC_F16] = 2, [KC_F32] = 4 };

/* ---- dot ---- */
typedef struct products {
    int rows;
    size_t k, outs, x_row, w_row_bytes, y_row;
    const void *x, *w;
    float *y;
} products;

/* What `n` products summed in float32 in any order may be off by, where every chain of additions is
 * at most an eighth of them; `tiny` for each where denormal numbers count as zero. */
static void allow_sums(kernel_case *c, const products *p, kc_type x_type, kc_type w_type,
                       double tiny) {
    double *allowed = kc_allow(c, p->y);
    if (!allowed) return;
    for (int r = 0; r < p->rows; r++)
        for (size_t o = 0; o < p->outs; o++) {
            double sum = 0, sizes = 0;
            const char *w = (const char *)p->w + o * p->w_row_bytes;
            for (size_t i = 0; i < p->k; i++) {
                double a = kc_value(x_type, p->x, (size_t)r * p->x_row + i);
                double b = kc_value(w_type, w, i);
                sum += fabs(a * b);
                sizes += fabs(a) + fabs(b) + 1;
            }
            allowed[(size_t)r * p->outs + o] =
                ((double)p->k / 4 + 16) * 0x1p-24 * sum + (double)p->k * 1e-44 + tiny * sizes;
        }
}

static products draw_products(kernel_case *c, kc_type x_type, kc_type w_type, kc_values values) {
    products p = { .rows = (int)kc_int(c, 1, VCPU_DOT_ROWS) };
    p.k = kc_length(c, 700);
    p.outs = kc_int(c, 1, p.k > 300 ? 6 : 14);
    p.x_row = p.k + kc_int(c, 0, 9);
    p.y_row = p.outs + kc_int(c, 0, 5);
    p.w_row_bytes = type_bytes[w_type] * p.k + (kc_int(c, 0, 1) ? kc_int(c, 0, 70) : 0);
    size_t rows = (size_t)p.rows;
    p.x = kc_array(c, KC_READ, x_type, values, rows, p.k, type_bytes[x_type] * p.x_row);
    p.w = kc_array(c, KC_READ | KC_ANYWHERE, w_type, values, p.outs, p.k, p.w_row_bytes);
    p.y = kc_array(c, KC_WRITTEN, KC_F32, values, rows, p.outs, 4 * p.y_row);
    return p;
}

static void dot(kernel_case *c, vcpu_dot *run, kc_type w_type) {
    products p = draw_products(c, KC_F32, w_type, KC_SUMS);
    allow_sums(c, &p, KC_F32, w_type, 0);
    run(p.y, p.y_row, p.x, p.x_row, p.rows, p.w, p.w_row_bytes, p.outs, p.k);
}

static void dot_f32(kernel_case *c) {
    dot(c, c->k->dot_f32, KC_F32);
}
static void dot_bf16(kernel_case *c) {
    dot(c, c->k->dot_bf16, KC_BF16);
}
static void dot_f16(kernel_case *c) {
    dot(c, c->k->dot_f16, KC_F16);
}

static void dot_bf16_pairs(kernel_case *c) {
    if (!c->tested->dot_bf16_pairs) {
        kc_absent(c);
        return;
    }
    products p = draw_products(c, KC_BF16, KC_BF16, KC_ZEROS);
    allow_sums(c, &p, KC_BF16, KC_BF16, 1.2e-38);
    if (!c->reference) {
        c->k->dot_bf16_pairs(p.y, p.y_row, p.x, p.x_row, p.rows, p.w, p.w_row_bytes, p.outs, p.k);
        return;
    }
    float x[VCPU_DOT_ROWS * 800];
    c->k->widen_bf16(x, p.x, (size_t)(p.rows - 1) * p.x_row + p.k);
    c->k->dot_bf16(p.y, p.y_row, x, p.x_row, p.rows, p.w, p.w_row_bytes, p.outs, p.k);
}

/* ---- tiles ---- */
/* init: an array of its own, one row for all, or c itself. */
typedef struct tile {
    size_t k, a_row, a_k, b_k, c_row, init_row;
    const void *a, *b;
    const float *init;
    float *c;
} tile;

static void draw_result(kernel_case *c, tile *t, const vcpu_gemm *g) {
    size_t mr = (size_t)g->mr, nr = (size_t)g->nr;
    t->c_row = nr + kc_int(c, 0, 9);
    switch (kc_int(c, 0, 2)) {
    case 0:
        t->c = kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_SUMS, mr, nr, 4 * t->c_row);
        t->init = t->c;
        t->init_row = t->c_row;
        return;
    case 1:
        t->init = kc_array(c, KC_READ, KC_F32, KC_SUMS, 1, nr, 0);
        t->init_row = 0;
        break;
    default:
        t->init_row = nr + kc_int(c, 0, 9);
        t->init = kc_array(c, KC_READ, KC_F32, KC_SUMS, mr, nr, 4 * t->init_row);
    }
    t->c = kc_array(c, KC_WRITTEN, KC_F32, KC_SUMS, mr, nr, 4 * t->c_row);
}

/* Element i of a pair or of a float. */
static double part(const void *array, kc_type type, size_t at, size_t i) {
    return type == KC_F32 ? kc_value(KC_F32, array, at) : kc_value(KC_BF16, array, 2 * at + i);
}

static void plain_tile(kernel_case *c, const tile *t, const vcpu_gemm *g, kc_type type) {
    size_t parts = type == KC_F32 ? 1 : 2, nr = (size_t)g->nr;
    double *allowed = kc_allow(c, t->c);
    for (size_t r = 0; r < (size_t)g->mr; r++)
        for (size_t o = 0; o < nr; o++) {
            double init = (double)t->init[r * t->init_row + o], sum = 0, size = 0, sizes = 0;
            for (size_t i = 0; i < t->k; i++)
                for (size_t j = 0; j < parts; j++) {
                    double a = part(t->a, type, r * t->a_row + i * t->a_k, j);
                    double b = part(t->b, type, i * t->b_k + o, j);
                    sum += a * b;
                    size += fabs(a * b);
                    sizes += fabs(a) + fabs(b) + 1;
                }
            t->c[r * t->c_row + o] = (float)(init + sum);
            allowed[r * nr + o] = (double)(parts * t->k + 2) * (0x1p-24 * size + 1e-44)
                                  + 0x1p-23 * (fabs(init) + size)
                                  + (parts > 1 ? 1.2e-38 * sizes : 0);
        }
}

static void gemm_f32(kernel_case *c) {
    const vcpu_gemm *g = &c->tested->gemm_f32;
    tile t = { .k = kc_length(c, 100), .a_row = 1, .a_k = (size_t)g->mr, .b_k = (size_t)g->nr };
    size_t mr = (size_t)g->mr, nr = (size_t)g->nr;
    switch (kc_int(c, 0, 2)) {
    case 0: break;
    case 1: t.a_k += kc_int(c, 0, 7), t.b_k += kc_int(c, 0, 7); break;
    default: t.a_row = t.k + kc_int(c, 0, 7), t.a_k = 1, t.b_k += kc_int(c, 0, 7);
    }
    if (t.a_row == 1)
        t.a = kc_array(c, KC_READ, KC_F32, KC_SUMS, t.k, mr, 4 * t.a_k);
    else
        t.a = kc_array(c, KC_READ, KC_F32, KC_SUMS, mr, t.k, 4 * t.a_row);
    t.b = kc_array(c, KC_READ, KC_F32, KC_SUMS, t.k, nr, 4 * t.b_k);
    draw_result(c, &t, g);
    if (c->reference)
        plain_tile(c, &t, g, KC_F32);
    else
        g->tile(t.c, t.c_row, t.init, t.init_row, t.a, t.a_row, t.a_k, t.b, t.b_k, t.k);
}

static void gemm_bf16(kernel_case *c) {
    const vcpu_gemm *g = &c->tested->gemm_bf16;
    if (!g->tile) {
        kc_absent(c);
        return;
    }
    tile t = { .k = kc_length(c, 100), .a_row = 1, .a_k = (size_t)g->mr, .b_k = (size_t)g->nr };
    t.a = kc_array(c, KC_READ, KC_BF16, KC_ZEROS, t.k, 2 * (size_t)g->mr, 0);
    t.b = kc_array(c, KC_READ, KC_BF16, KC_ZEROS, t.k, 2 * (size_t)g->nr, 0);
    draw_result(c, &t, g);
    if (c->reference)
        plain_tile(c, &t, g, KC_BF16);
    else
        g->tile(t.c, t.c_row, t.init, t.init_row, t.a, t.a_row, t.a_k, t.b, t.b_k, t.k);
}

/* Rows of 32-bit elements to columns. */
static void pack(kernel_case *c) {
    size_t width = kc_int(c, 1, VCPU_MAX_NR), n = kc_length(c, 70);
    size_t rows = kc_int(c, 0, 1) ? width : kc_int(c, 0, width);
    size_t x_row_bytes = 4 * n + (kc_int(c, 0, 1) ? kc_int(c, 0, 70) : 0);
    const void *x = kc_array(c, KC_READ | KC_ANYWHERE, KC_F32, KC_ANY, rows, n, x_row_bytes);
    void *y = kc_array(c, KC_WRITTEN, KC_F32, KC_ANY, n, width, 0);
    c->k->pack(y, width, x, x_row_bytes, rows, n);
}

const kernel_entry kernel_cases_products[] = {
    { "dot_f32", dot_f32 },
    { "dot_bf16", dot_bf16 },
    { "dot_f16", dot_f16 },
    { "dot_bf16_pairs", dot_bf16_pairs },
    { "gemm_f32", gemm_f32 },
    { "gemm_bf16", gemm_bf16 },
    { "pack", pack },
    { NULL, NULL },
};
