/* SPDX-License-Identifier: MIT */
/* Products of weights of four bits with x as bytes, for AVX2: vpmaddubsw multiplies twice as many of
 * them as vpmaddwd does of 16 bits, and pairs of products of so small weights (15, or 24 of e2m1
 * with 12 added, times 127) can be added up in 16 bits for a while: eight of them, or five. */
#include "tensor/cpu/quantized_avx2.h"

enum {
    PREFETCH_BYTES = 1024,
    STREAMS = 4, /* rows of weights far apart that are read in turns: memory gives more so */
    CHUNK = 256, /* scales converted at a time */
    WIDTH = 264  /* of an array of them: what is written and read goes beyond the last */
};

/* ---- x as bytes ---- */
/* 64 values as four bits lie in bytes: those of even place, then the others. */
INLINE void order_nibbles(char *q) {
    const __m256i parts = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    __m256i a = _mm256_loadu_si256((const void *)q), b = _mm256_loadu_si256((const void *)(q + 32));
    a = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a, parts), 0xD8);
    b = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(b, parts), 0xD8);
    _mm256_storeu_si256((void *)q, _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_storeu_si256((void *)(q + 32), _mm256_permute2x128_si256(a, b, 0x31));
}

static void quantize_nibbles(int8_t *q, float *scales, float *sums, const float *x, size_t n,
                             size_t group) {
    quantize_groups((char *)q, scales, sums, x, n, group, 127, sizeof *q);
    for (size_t i = 0; i < n; i += 64) order_nibbles((char *)q + i);
}

/* ---- few rows ---- */
/* How scales meet eight sums of 32 bits, each of eight neighbours: one for all, or several. */
typedef enum kind { WIDE, NARROW, E2M1 } kind;

/* What is at work: some rows of weights, some of x, and a chunk of their groups. */
typedef struct product {
    const vcpu_ints *x;
    const vcpu_quants *w;
    size_t outs, apart;   /* apart: between the rows of weights that are read in turns */
    size_t shortest_rows; /* so many have eight scales */
    __m256i lanes;
    int shift; /* 1 << shift is a group */
} product;

/* Of one row of weights, for each row of x: the products of the scales, and sums in eight lanes (a
 * type of their own, so that they stay in registers). */
typedef struct row_scales {
    float of[VCPU_DOT_ROWS][WIDTH];
} row_scales;
typedef __m256 row_sums[VCPU_DOT_ROWS];

static __attribute__((noinline)) __m256 last_numbers(const char *p, size_t n, vcpu_number type,
                                                     float factor) {
    char eight[32] = { 0 };
    for (size_t i = 0; i < n * vcpu_number_size(type); i++) eight[i] = p[i];
    return numbers8(eight, type, factor);
}

/* The scales of groups [g, g + count) of row o of the weights; what the biases, or the 12 too much
 * of e2m1, add to the sums. Behind a row's last scale others are read, where there are any: they
 * meet zeros of x. */
INLINE void begin_chunk_of(row_scales *to, row_sums s, const product *p, int rows, size_t o,
                           size_t g, size_t count, kind as, vcpu_number type, vcpu_number bias_type) {
    const vcpu_ints *x = p->x;
    const vcpu_quants *w = p->w;
    bool more = o + p->shortest_rows < p->outs;
    size_t size = vcpu_number_size(type), bias_size = vcpu_number_size(bias_type);
    const char *scales = w->scales + o * w->scale_row_bytes + g * size, *biases = NULL;
    __builtin_prefetch(scales + 16 * w->scale_row_bytes);
    if (as != E2M1) {
        biases = w->biases + o * w->bias_row_bytes + g * bias_size;
        __builtin_prefetch(biases + 16 * w->bias_row_bytes);
    }
    for (size_t at = 0; at < count; at += 8) {
        bool all = more || at + 8 <= count;
        __m256 scale = all ? numbers8(scales + at * size, type, w->factor)
                           : last_numbers(scales + at * size, count - at, type, w->factor);
        __m256 bias = scale * _mm256_set1_ps(-12);
        if (as != E2M1)
            bias = all ? numbers8(biases + at * bias_size, bias_type, 1)
                       : last_numbers(biases + at * bias_size, count - at, bias_type, 1);
        EACH (r, rows) {
            const size_t i = r * x->group_row + g + at;
            s[r] = _mm256_fmadd_ps(bias, _mm256_loadu_ps(x->sums + i), s[r]);
            _mm256_storeu_ps(to->of[r] + at, scale * _mm256_loadu_ps(x->scales + i));
        }
    }
}

INLINE void begin_chunk(row_scales *to, row_sums s, const product *p, int rows, size_t o, size_t g,
                        size_t count, kind as) {
    vcpu_number type = p->w->scale_type, bias_type = p->w->bias_type;
    if (type == VCPU_BF16 && bias_type == VCPU_BF16) /* what most checkpoints have */
        begin_chunk_of(to, s, p, rows, o, g, count, as, VCPU_BF16, VCPU_BF16);
    else
        begin_chunk_of(to, s, p, rows, o, g, count, as, type, bias_type);
}

/* 64 values of weights, with the scales from the g-th on. */
INLINE void block(row_sums s, const row_scales *by, const product *p, int rows, const int8_t *q, __m256i v,
                  size_t g, kind as) {
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i even = _mm256_and_si256(v, low);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
    if (as == E2M1) {
        even = e2m1_and_12(even);
        odd = e2m1_and_12(odd);
    }
    EACH (r, rows) {
        const __m256i *from = (const void *)(q + r * p->x->row);
        const float *scales = by->of[r] + g;
        __m256i a = _mm256_maddubs_epi16(even, _mm256_loadu_si256(from));
        a = _mm256_add_epi16(a, _mm256_maddubs_epi16(odd, _mm256_loadu_si256(from + 1)));
        __m256 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(a, ones)), scale;
        if (as == WIDE)
            scale = _mm256_broadcast_ss(scales);
        else
            scale = _mm256_permutevar8x32_ps(_mm256_broadcast_ps((const void *)scales), p->lanes);
        s[r] = _mm256_fmadd_ps(sum, scale, s[r]);
    }
}

/* n values of the chunk that begins `start` values into the rows o, o + apart, ... */
INLINE void blocks(row_sums *s, const row_scales *by, const product *p, int streams, int rows, size_t o,
                   size_t start, size_t n, kind as) {
    const int8_t *q = (const int8_t *)p->x->q + start;
    const char *at = p->w->data + o * p->w->row_bytes + start / 2;
    size_t apart = p->apart * p->w->row_bytes, i = 0;
    for (; i + 64 <= n; i += 64)
        EACH (j, streams) {
            const char *from = at + j * apart + i / 2;
            __builtin_prefetch(from + PREFETCH_BYTES);
            block(s[j], &by[j], p, rows, q + i, _mm256_loadu_si256((const void *)from),
                  i >> p->shift, as);
        }
    if (i == n) return;
    EACH (j, streams) { /* 8, 16 or 24 bytes */
        int64_t part[4] = { 0 };
        for (size_t b = 0; b < 3 && b < (n - i) / 16; b++)
            __builtin_memcpy(part + b, at + j * apart + i / 2 + 8 * b, 8);
        block(s[j], &by[j], p, rows, q + i, _mm256_loadu_si256((const void *)part), i >> p->shift,
              as);
    }
}

/* y of rows o, o + apart, ... of the weights. */
INLINE void dot_streams(float *y, size_t y_row, const product *p, int streams, int rows, size_t o,
                        size_t k, kind as) {
    row_scales by[STREAMS];
    row_sums s[STREAMS];
    size_t groups = k / p->w->group;
    EACH (j, streams)
        EACH (r, rows) s[j][r] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g += CHUNK) {
        size_t count = groups - g < CHUNK ? groups - g : CHUNK;
        EACH (j, streams) begin_chunk(&by[j], s[j], p, rows, o + j * p->apart, g, count, as);
        blocks(s, by, p, streams, rows, o, g * p->w->group, count * p->w->group, as);
    }
    EACH (j, streams)
        EACH (r, rows) y[r * y_row + o + j * p->apart] = total(s[j][r]);
}

INLINE void dot_as(float *y, size_t y_row, const product *all, int streams, int rows, size_t outs,
                   size_t k, kind as) {
    product p = *all;
    p.apart = outs / streams;
    for (size_t o = 0; o < p.apart; o++) dot_streams(y, y_row, &p, streams, rows, o, k, as);
    for (size_t o = p.apart * streams; o < outs; o++) dot_streams(y, y_row, &p, 1, rows, o, k, as);
}

INLINE void dot_rows(float *y, size_t y_row, const product *p, int streams, int rows, size_t outs,
                     size_t k) {
    if (p->w->e2m1)
        dot_as(y, y_row, p, streams, rows, outs, k, E2M1);
    else if (p->w->group == 32)
        dot_as(y, y_row, p, streams, rows, outs, k, NARROW);
    else
        dot_as(y, y_row, p, streams, rows, outs, k, WIDE);
}

static void dot_nibbles(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                        size_t outs, size_t k) {
    product p = { .x = x, .w = w, .outs = outs, .shift = __builtin_ctz((unsigned)w->group) };
    p.shortest_rows = 8 / (k / w->group) + 1;
    p.lanes = w->group == 16 ? _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)
                             : _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    switch (rows) {
    case 1: dot_rows(y, y_row, &p, STREAMS, 1, outs, k); break;
    case 2: dot_rows(y, y_row, &p, STREAMS / 2, 2, outs, k); break;
    case 3: dot_rows(y, y_row, &p, 1, 3, outs, k); break;
    default: dot_rows(y, y_row, &p, 1, 4, outs, k);
    }
}

/* ---- many rows ---- */
enum { MR = 6, NR = 16, KC = 256 };

/* Sums of `step` elements of a and b, from the i-th on, join those in sums. */
INLINE void add_step(__m256i sums[MR][2], const int32_t *a, const __m256i *b, int step) {
    __m256i s[MR][2];
    EACH (r, MR) s[r][0] = s[r][1] = _mm256_setzero_si256();
    EACH (i, step) {
        __m256i b0 = _mm256_loadu_si256(b + 2 * i), b1 = _mm256_loadu_si256(b + 2 * i + 1);
        EACH (r, MR) {
            __m256i of_x = _mm256_set1_epi32(a[MR * i + r]);
            s[r][0] = at_once(_mm256_add_epi16(s[r][0], _mm256_maddubs_epi16(b0, of_x)));
            s[r][1] = at_once(_mm256_add_epi16(s[r][1], _mm256_maddubs_epi16(b1, of_x)));
        }
    }
    EACH (r, MR)
        EACH (j, 2)
            sums[r][j] = _mm256_add_epi32(sums[r][j],
                                          _mm256_madd_epi16(s[r][j], _mm256_set1_epi16(1)));
}

INLINE void tile_of(const vcpu_int_tile *t, int step) {
    const int32_t *a = t->a;
    const __m256i *b = t->b;
    for (size_t g = 0; g < t->groups; g++) {
        __m256i s[MR][2];
        EACH (r, MR) {
            __builtin_prefetch(t->c + r * t->c_row);
            s[r][0] = s[r][1] = _mm256_setzero_si256();
        }
        for (size_t i = 0; i < t->depth; i += step, a += MR * step, b += 2 * step)
            add_step(s, a, b, step);
        EACH (j, 2) {
            __m256 scale = _mm256_loadu_ps(t->w_scales + g * NR + 8 * j);
            __m256 bias = _mm256_loadu_ps(t->w_biases + g * NR + 8 * j);
            EACH (r, MR) {
                float *c = t->c + r * t->c_row + 8 * j;
                __m256 xs = _mm256_broadcast_ss(t->x_scales + g * MR + r);
                __m256 sum = _mm256_broadcast_ss(t->x_sums + g * MR + r);
                __m256 v = _mm256_fmadd_ps(bias, sum, _mm256_loadu_ps(c));
                _mm256_storeu_ps(c, _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[r][j]) * scale, xs, v));
            }
        }
    }
}

/* Groups of up to 32 values may be of e2m1. */
static void tile_nibbles(const vcpu_int_tile *t) {
    if (t->depth > 8)
        tile_of(t, 8);
    else
        tile_of(t, 4);
}

void vcpu_kernels_nibbles_avx2(vcpu_kernels *k) {
    k->quantize_nibbles = quantize_nibbles;
    k->dot_nibbles = dot_nibbles;
    k->gemm_nibbles = (vcpu_int_gemm) { MR, NR, KC, tile_nibbles };
}
