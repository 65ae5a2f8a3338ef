/* SPDX-License-Identifier: MIT */
/* What the tests of attention share: one sequence, and a plain double softmax over it. */
#ifndef ATTENTION_CHECK_H
#define ATTENTION_CHECK_H

#include "tensor_check.h"

typedef struct setup {
    int64_t n, heads, kv_heads, dim, past;
    vlm_attention_desc desc;
    vlm_span spans[2];
    int n_spans;
    int64_t visible;
} setup;

static inline bool sees(const setup *c, int64_t at, int64_t key) {
    bool seen = true;
    if (c->desc.causal) seen = key <= at;
    const bool passed = c->desc.window > 0 && key <= at - c->desc.window;
    seen = seen && !passed;
    for (int i = 0; i < c->n_spans; i++)
        if (at >= c->spans[i].begin && at < c->spans[i].end && key >= c->spans[i].begin
            && key < c->spans[i].end && !(passed && c->desc.window_in_spans))
            seen = true;
    return seen && (c->visible == 0 || key < c->visible);
}

/* One sequence: queries of positions [past, total), keys and values of [0, total). */
static inline void reference(const setup *c, double *y, const double *q, const double *k,
                      const double *v) {
    int64_t total = c->past + c->n, group = c->heads / c->kv_heads, d = c->dim;
    double *s = malloc((size_t)total * sizeof *s);
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t h = 0; h < c->heads; h++) {
            const double *qh = q + (i * c->heads + h) * d;
            double max = -INFINITY, sum = 0, *yh = y + (i * c->heads + h) * d;
            for (int64_t j = 0; j < total; j++) {
                const double *kh = k + (j * c->kv_heads + h / group) * d;
                s[j] = 0;
                for (int64_t e = 0; e < d; e++) s[j] += qh[e] * kh[e];
                s[j] *= (double)c->desc.scale;
                double cap = (double)c->desc.softcap;
                if (cap > 0) s[j] = cap * tanh(s[j] / cap);
                if (!sees(c, c->past + i, j)) s[j] = -INFINITY;
                if (s[j] > max) max = s[j];
            }
            for (int64_t e = 0; e < d; e++) yh[e] = 0;
            for (int64_t j = 0; j < total; j++) sum += s[j] = exp(s[j] - max);
            for (int64_t j = 0; j < total; j++)
                for (int64_t e = 0; e < d; e++)
                    yh[e] += s[j] / sum * v[(j * c->kv_heads + h / group) * d + e];
        }
    free(s);
}

#endif
