/* SPDX-License-Identifier: MIT */
/* Few rows of x with quantized weights, for AVX2, whatever the weights are made of: how rows of them
 * are read, and how their scales are converted. What a block of values is worth is a function of
 * the file that includes this: kernels_quantized_avx2.c for x of 16 bits, kernels_nibbles_avx2.c for
 * bytes. */
#ifndef VLM_CPU_QUANTIZED_FEW_AVX2_H
#define VLM_CPU_QUANTIZED_FEW_AVX2_H

#include "tensor/cpu/quantized/quantized_avx2.h"

enum {
    PREFETCH_BYTES = 1024,
    ASKED = 256, /* bytes of weights, scales and biases that are asked for before the first of a run */
    STREAMS = 4, /* rows of weights far apart that are read in turns, at most: memory gives more so */
    CHUNK = 256, /* scales converted at a time */
    WIDTH = 264  /* of an array of them: what is written and read goes beyond the last */
};

/* What is at work. */
typedef struct few {
    const vcpu_ints *x;
    const vcpu_quants *w;
    size_t size;          /* of an integer of x */
    float more;           /* so much more than they stand for are the weights' integers */
    const void *how;      /* whatever add_block wants to know of their bits */
    __m256i lanes;        /* which of four scales each of eight sums takes, if several groups meet */
    int shift;            /* 1 << shift is a group */
    size_t outs, apart;   /* apart: between the rows of weights that are read in turns */
    size_t shortest_rows; /* so many have eight scales */
} few;

/* Of one row of weights, for each row of x: the products of the scales, and sums in eight lanes (a
 * type of their own, so that they stay in registers). */
typedef struct row_scales {
    float of[VCPU_DOT_ROWS][WIDTH];
} row_scales;
typedef __m256 row_sums[VCPU_DOT_ROWS];

/* Adds the products of a block of values, the i-th of a chunk being the first: q as many of x, whose
 * rows are p->x->row * p->size bytes apart. */
typedef void add_block(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                       const char *q, const char *weights);

static __attribute__((noinline)) __m256 last_numbers(const char *p, size_t n, vcpu_number type,
                                                     float factor) {
    char eight[32] = { 0 };
    for (size_t i = 0; i < n * vcpu_number_size(type); i++) eight[i] = p[i];
    return numbers8(eight, type, factor);
}

INLINE __m256 first_lanes(size_t n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lanes));
}

/* The scales of groups [g, g + count) of row o of the weights, and what biases add to the sums.
 * Behind a row's last scale others are read, where there are any, and masked. */
INLINE void begin_chunk_of(row_scales *to, row_sums s, const few *p, int rows, size_t o, size_t g,
                           size_t count, vcpu_number type, vcpu_number bias_type) {
    const vcpu_ints *x = p->x;
    const vcpu_quants *w = p->w;
    bool more = o + p->shortest_rows < p->outs, biased = w->biases;
    size_t size = vcpu_number_size(type), bias_size = vcpu_number_size(bias_type);
    const char *scales = w->scales + o * w->scale_row_bytes + g * size, *biases = NULL;
    __builtin_prefetch(scales + 16 * w->scale_row_bytes);
    if (biased) {
        biases = w->biases + o * w->bias_row_bytes + g * bias_size;
        __builtin_prefetch(biases + 16 * w->bias_row_bytes);
    }
    for (size_t at = 0; at < count; at += 8) {
        bool whole = at + 8 <= count, all = whole || more;
        __m256 scale = all ? numbers8(scales + at * size, type, w->factor)
                           : last_numbers(scales + at * size, count - at, type, w->factor);
        __m256 bias = _mm256_setzero_ps();
        if (biased)
            bias = all ? numbers8(biases + at * bias_size, bias_type, 1)
                       : last_numbers(biases + at * bias_size, count - at, bias_type, 1);
        if (!whole) {
            const __m256 own = first_lanes(count - at);
            scale = _mm256_and_ps(scale, own);
            bias = _mm256_and_ps(bias, own);
        }
        if (!biased) bias = scale * _mm256_set1_ps(-p->more);
        EACH (r, rows) {
            const size_t i = r * x->group_row + g + at;
            s[r] = _mm256_fmadd_ps(bias, _mm256_loadu_ps(x->sums + i), s[r]);
            _mm256_storeu_ps(to->of[r] + at, scale * _mm256_loadu_ps(x->scales + i));
        }
    }
}

INLINE void begin_chunk(row_scales *to, row_sums s, const few *p, int rows, size_t o, size_t g,
                        size_t count) {
    vcpu_number type = p->w->scale_type, bias_type = p->w->bias_type;
    if (type == VCPU_BF16 && bias_type == VCPU_BF16) /* what most checkpoints have */
        begin_chunk_of(to, s, p, rows, o, g, count, VCPU_BF16, VCPU_BF16);
    else
        begin_chunk_of(to, s, p, rows, o, g, count, type, bias_type);
}

/* n values of the chunk that begins `start` values into the rows o, o + apart, ... */
INLINE void add_chunk(row_sums *s, const row_scales *by, const few *p, int streams, int rows,
                      size_t o, size_t start, size_t n, size_t block, size_t bits, add_block *add) {
    const char *q = (const char *)p->x->q + start * p->size;
    const char *at = p->w->data + o * p->w->row_bytes + start * bits / 8;
    size_t apart = p->apart * p->w->row_bytes, i = 0;
    for (; i + block <= n; i += block)
        EACH (j, streams) {
            const char *from = at + j * apart + i * bits / 8;
            __builtin_prefetch(from + PREFETCH_BYTES);
            add(s[j], &by[j], p, rows, i, q + i * p->size, from);
        }
    if (i == n) return;
    EACH (j, streams) { /* 8, 16 or 24 bytes of four bits */
        int64_t part[4] = { 0 };
        for (size_t b = 0; b < 3 && b < (n - i) / 16; b++)
            __builtin_memcpy(part + b, at + j * apart + i / 2 + 8 * b, 8);
        add(s[j], &by[j], p, rows, i, q + i * p->size, (const char *)part);
    }
}

/* y of rows o, o + apart, ... of the weights. */
INLINE void dot_streams(float *y, size_t y_row, const few *p, int streams, int rows, size_t o,
                        size_t k, size_t block, size_t bits, add_block *add) {
    row_scales by[STREAMS];
    row_sums s[STREAMS];
    size_t groups = k / p->w->group;
    EACH (j, streams)
        EACH (r, rows) s[j][r] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g += CHUNK) {
        size_t count = groups - g < CHUNK ? groups - g : CHUNK;
        EACH (j, streams) begin_chunk(&by[j], s[j], p, rows, o + j * p->apart, g, count);
        add_chunk(s, by, p, streams, rows, o, g * p->w->group, count * p->w->group, block, bits,
                  add);
    }
    EACH (j, streams)
        EACH (r, rows) y[r * y_row + o + j * p->apart] = total(s[j][r]);
}

/* What is wanted first from row o on: no row before it asked for that. */
INLINE void ask(const few *p, size_t o) {
    const vcpu_quants *w = p->w;
    for (size_t at = 0; at < ASKED; at += 64) {
        __builtin_prefetch(w->scales + o * w->scale_row_bytes + at);
        if (w->biases) __builtin_prefetch(w->biases + o * w->bias_row_bytes + at);
        __builtin_prefetch(w->data + o * w->row_bytes + at);
    }
}

INLINE void dot_rows(float *y, size_t y_row, const few *all, int streams, int rows, size_t outs,
                     size_t k, size_t block, size_t bits, add_block *add) {
    few p = *all;
    p.apart = outs / streams;
    EACH (j, streams) ask(&p, j * p.apart);
    for (size_t o = 0; o < p.apart; o++)
        dot_streams(y, y_row, &p, streams, rows, o, k, block, bits, add);
    for (size_t o = p.apart * streams; o < outs; o++)
        dot_streams(y, y_row, &p, 1, rows, o, k, block, bits, add);
}

/* vcpu_dot_quants, a block of so many values and bits each being worth what `add` says. One row of x
 * leaves registers for `streams` rows of weights. */
INLINE void dot_few(float *y, size_t y_row, const vcpu_ints *x, size_t size, int rows,
                    const vcpu_quants *w, float more, const void *how, size_t outs, size_t k,
                    int streams, size_t block, size_t bits, add_block *add) {
    few p = { .x = x, .w = w, .size = size, .more = more, .how = how, .outs = outs };
    p.shift = __builtin_ctz((unsigned)w->group);
    p.shortest_rows = 8 / (k / w->group) + 1;
    p.lanes = w->group == 16 ? _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)
                             : _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    switch (rows) {
    case 1: dot_rows(y, y_row, &p, streams, 1, outs, k, block, bits, add); break;
    case 2: dot_rows(y, y_row, &p, streams / 2, 2, outs, k, block, bits, add); break;
    case 3: dot_rows(y, y_row, &p, 1, 3, outs, k, block, bits, add); break;
    default: dot_rows(y, y_row, &p, 1, 4, outs, k, block, bits, add);
    }
}

/* The scale of each of the sums of eight neighbours among 64 values, the i-th being the first: one
 * for all (wide), or several. */
INLINE __m256 scales64(const row_scales *by, const few *p, size_t r, size_t i, bool wide) {
    const float *scales = by->of[r] + (i >> p->shift);
    if (wide) return _mm256_broadcast_ss(scales);
    return _mm256_permutevar8x32_ps(_mm256_broadcast_ps((const void *)scales), p->lanes);
}

/* ---- four bits ---- */
/* Wanted from the including file: an add_block for 64 values of four bits. */
INLINE void add_nibbles(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                        const char *q, const char *weights, bool wide, bool e2m1);

INLINE void add_wide(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                     const char *q, const char *weights) {
    add_nibbles(s, by, p, rows, i, q, weights, true, false);
}

INLINE void add_narrow(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                       const char *q, const char *weights) {
    add_nibbles(s, by, p, rows, i, q, weights, false, false);
}

INLINE void add_e2m1(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                     const char *q, const char *weights) {
    add_nibbles(s, by, p, rows, i, q, weights, false, true);
}

/* vcpu_dot_quants of four bits; integers that stand for e2m1 are `more` too large. `streams`: of
 * groups that fill a block. */
INLINE void dot_four_bits(float *y, size_t y_row, const vcpu_ints *x, size_t size, int rows,
                          const vcpu_quants *w, float more, size_t outs, size_t k, int streams) {
    if (w->e2m1)
        dot_few(y, y_row, x, size, rows, w, more, NULL, outs, k, 2, 64, 4, add_e2m1);
    else if (w->group == 32)
        dot_few(y, y_row, x, size, rows, w, 0, NULL, outs, k, 2, 64, 4, add_narrow);
    else
        dot_few(y, y_row, x, size, rows, w, 0, NULL, outs, k, streams, 64, 4, add_wide);
}

#endif
