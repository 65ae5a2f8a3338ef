/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with integers, for AVX-512 with VNNI. Few rows: weights become 16
 * bits wide in registers and meet 16-bit x in vpdpwssd. Many rows: unsigned bytes of weights and
 * signed bytes of x in vpdpbusd, or 16-bit pairs of both. */
#include "tensor/cpu/simd_quantized.h"

#include <immintrin.h>

enum {
    PREFETCH_BYTES = 1024,
    BATCH = 8,   /* rows whose scales are converted at a time, */
    CHUNK = 256, /* and how many scales of them */
    WIDTH = 272  /* of an array of scales: what is written and read goes beyond the last */
};

INLINE __mmask16 first16(size_t n) {
    return (__mmask16)(n < 16 ? (1u << n) - 1 : 0xFFFF);
}

/* ---- x as integers ---- */
INLINE float greatest(const float *x, size_t n) {
    __m512i most = _mm512_setzero_si512(), magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    for (size_t i = 0; i < n; i += 16)
        most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_loadu_si512(x + i), magnitude));
    int32_t bits = _mm512_reduce_max_epi32(most);
    float f;
    __builtin_memcpy(&f, &bits, sizeof f);
    return f;
}

INLINE int32_t round_to(char *q, const float *x, size_t n, float by, size_t size) {
    __m512 f = _mm512_set1_ps(by);
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 16) {
        __m512i u = _mm512_cvtps_epi32(_mm512_loadu_ps(x + i) * f);
        sum = _mm512_add_epi32(sum, u);
        if (size == 1)
            _mm_storeu_si128((void *)(q + i), _mm512_cvtepi32_epi8(u));
        else
            _mm256_storeu_si256((void *)(q + 2 * i), _mm512_cvtepi32_epi16(u));
    }
    return _mm512_reduce_add_epi32(sum);
}

/* ---- scales ---- */
/* The first n <= 16 numbers, zeros behind them. */
INLINE __m512 numbers16(const char *p, size_t n, vcpu_number type, float factor) {
    __mmask16 first = first16(n);
    __m512i u;
    switch (type) {
    case VCPU_BF16:
        u = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first, p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(u, 16));
    case VCPU_F16: return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first, p));
    case VCPU_E8M0:
        u = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first, p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(u, 23)) * _mm512_set1_ps(factor);
    case VCPU_E4M3: /* the exponents' zeros are 120 apart */
        u = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first, p));
        u = _mm512_and_si512(_mm512_slli_epi32(u, 20), _mm512_set1_epi32((int32_t)0x87F00000));
        return _mm512_castsi512_ps(u) * _mm512_set1_ps(0x1p120f) * _mm512_set1_ps(factor);
    default: return _mm512_maskz_loadu_ps(first, p);
    }
}

/* Sums of a few rows of x with one row of weights, in sixteen lanes: of the products, and of the
 * biases' part. */
typedef struct sums {
    __m512 products[4], biases[4];
} sums;

/* The scales of some rows of weights times those of x, for each row of x. */
typedef struct row_scales {
    float of[4][WIDTH];
    size_t width; /* from one row of weights to the next */
} row_scales;

/* The scales of groups [g, g + count) of row o, the i-th of those at a time; and the part of the
 * biases. */
INLINE void convert_scales(row_scales *s, sums *part, const vcpu_ints *x, int rows,
                           const vcpu_quants *w, size_t o, size_t i, size_t g, size_t count) {
    const char *scales = w->scales + o * w->scale_row_bytes + g * vcpu_number_size(w->scale_type);
    const char *biases = w->biases + o * w->bias_row_bytes + g * vcpu_number_size(w->bias_type);
    __builtin_prefetch(scales + 16 * w->scale_row_bytes);
    if (w->biases) __builtin_prefetch(biases + 16 * w->bias_row_bytes);
    for (size_t at = 0; at < count; at += 16) {
        size_t n = count - at, from = g + at;
        __m512 v = numbers16(scales + at * vcpu_number_size(w->scale_type), n, w->scale_type, w->factor);
        EACH (r, rows) {
            __m512 of_x = _mm512_loadu_ps(x->scales + r * x->group_row + from);
            _mm512_storeu_ps(s->of[r] + i * s->width + at, v * of_x);
        }
        if (!w->biases) continue;
        v = numbers16(biases + at * vcpu_number_size(w->bias_type), n, w->bias_type, 1);
        EACH (r, rows) {
            __m512 of_x = _mm512_loadu_ps(x->sums + r * x->group_row + from);
            part->biases[r] = _mm512_fmadd_ps(v, of_x, part->biases[r]);
        }
    }
}

/* ---- weights as 16-bit integers ---- */
/* How 32 values of fewer than eight bits come out of 4 * bits bytes: into each word the two bytes
 * that hold its value, down to the word's bottom, and nothing else stays. 16 bytes hold all values
 * of up to four bits, or half of those of more. */
typedef struct spread {
    __m512i bytes, down, mask;
} spread;

INLINE spread spread_of(int bits) {
    uint8_t bytes[64];
    uint16_t down[32];
    for (int i = 0; i < 32; i++) {
        int bit = (bits <= 4 ? i : i % 16) * bits;
        bytes[2 * i] = (uint8_t)(bit / 8);
        bytes[2 * i + 1] = (uint8_t)(bit / 8 + 1);
        down[i] = (uint16_t)(bit % 8);
    }
    return (spread) { _mm512_loadu_si512(bytes), _mm512_loadu_si512(down),
                      _mm512_set1_epi16((int16_t)((1 << bits) - 1)) };
}

/* 32 values in order, of which `bytes` <= 4 * bits are there. */
INLINE __m512i values32(const char *p, const char *end, const spread *s, int bits, bool e2m1) {
    if (bits == 8) return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p));
    size_t left = (size_t)(end - p), second = 2 * (size_t)bits;
    __m512i v;
    if (bits <= 4) {
        __mmask16 there = first16(left);
        v = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(there, p));
    } else {
        __m256i a = _mm256_broadcastsi128_si256(_mm_maskz_loadu_epi8(first16(left), p));
        __m256i b =
            _mm256_broadcastsi128_si256(_mm_maskz_loadu_epi8(first16(left - second), p + second));
        v = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    }
    v = _mm512_srlv_epi16(_mm512_shuffle_epi8(v, s->bytes), s->down);
    v = _mm512_and_si512(v, s->mask);
    if (!e2m1) return v;
    const __m512i table = _mm512_broadcast_i32x4(
        _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return _mm512_sub_epi16(_mm512_shuffle_epi8(table, v), _mm512_set1_epi16(0x0C0C));
}

/* ---- few rows ---- */
/* n values of a row, in blocks of 32 that have one scale, or two for groups of 16. */
INLINE void products(__m512 *s, const int16_t *q, size_t q_row, int rows, const char *p,
                     const char *end, size_t n, const float *scales, int shift, const spread *by,
                     int bits, bool e2m1) {
    for (size_t i = 0; i < n; i += 32, p += 4 * bits) {
        __builtin_prefetch(p + PREFETCH_BYTES);
        __m512i v = values32(p, end, by, bits, e2m1);
        EACH (r, rows) {
            __m512i xv = _mm512_loadu_si512(q + r * q_row + i);
            __m512 sum = _mm512_cvtepi32_ps(_mm512_dpwssd_epi32(_mm512_setzero_si512(), v, xv));
            const float *of = scales + r * WIDTH + (i >> shift);
            __m512 scale = _mm512_set1_ps(*of);
            if (e2m1 && shift == 4)
                scale = _mm512_mask_mov_ps(scale, 0xFF00, _mm512_set1_ps(of[1]));
            s[r] = _mm512_fmadd_ps(sum, scale, s[r]);
        }
    }
}

/* The same where a group has a multiple of 64 values. */
INLINE void wide_products(__m512 *s, const int16_t *q, size_t q_row, int rows, const char *p,
                          const char *end, size_t n, const float *scales, int shift,
                          const spread *by, int bits) {
    for (size_t i = 0; i < n; i += 64, p += 8 * bits) {
        __builtin_prefetch(p + PREFETCH_BYTES);
        if (bits > 4) __builtin_prefetch(p + PREFETCH_BYTES + 4 * bits);
        __m512i a = values32(p, end, by, bits, false);
        __m512i b = values32(p + 4 * bits, end, by, bits, false);
        EACH (r, rows) {
            const int16_t *at = q + r * q_row + i;
            __m512i sum = _mm512_dpwssd_epi32(_mm512_setzero_si512(), a, _mm512_loadu_si512(at));
            sum = _mm512_dpwssd_epi32(sum, b, _mm512_loadu_si512(at + 32));
            __m512 scale = _mm512_set1_ps(scales[r * WIDTH + (i >> shift)]);
            s[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, s[r]);
        }
    }
}

/* bits: a constant, or w's. */
INLINE void dot_bits(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                     size_t outs, size_t k, int bits, bool e2m1) {
    const spread by = spread_of(bits < 8 ? bits : 4);
    size_t groups = k / w->group, count = groups < CHUNK ? groups : CHUNK;
    int shift = __builtin_ctz((unsigned)w->group);
    row_scales scales = { .width = (count + 15) / 16 * 16 };
    size_t batch = CHUNK / scales.width < BATCH ? CHUNK / scales.width : BATCH;
    for (size_t o = 0; o < outs; o += batch) {
        sums s[BATCH];
        if (batch > outs - o) batch = outs - o;
        for (size_t i = 0; i < batch; i++)
            EACH (r, rows) s[i].products[r] = s[i].biases[r] = _mm512_setzero_ps();
        for (size_t g = 0; g < groups; g += CHUNK) {
            size_t here = groups - g < CHUNK ? groups - g : CHUNK, n = here << shift;
            const int16_t *q = (const int16_t *)x->q + (g << shift);
            for (size_t i = 0; i < batch; i++)
                convert_scales(&scales, &s[i], x, rows, w, o + i, i, g, here);
            for (size_t i = 0; i < batch; i++) {
                const char *p = w->data + (o + i) * w->row_bytes + (g << shift) / 8 * (size_t)bits;
                const float *of = scales.of[0] + i * scales.width;
                __m512 at[4];
                EACH (r, rows) at[r] = s[i].products[r];
                if (!e2m1 && shift > 5)
                    wide_products(at, q, x->row, rows, p, w->end, n, of, shift, &by, bits);
                else
                    products(at, q, x->row, rows, p, w->end, n, of, shift, &by, bits, e2m1);
                EACH (r, rows) s[i].products[r] = at[r];
            }
        }
        for (size_t i = 0; i < batch; i++)
            EACH (r, rows)
                y[r * y_row + o + i] = _mm512_reduce_add_ps(s[i].products[r] + s[i].biases[r]);
    }
}

INLINE void dot_rows(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                     size_t outs, size_t k) {
    if (w->e2m1)
        dot_bits(y, y_row, x, rows, w, outs, k, 4, true);
    else if (w->bits == 4)
        dot_bits(y, y_row, x, rows, w, outs, k, 4, false);
    else if (w->bits == 8)
        dot_bits(y, y_row, x, rows, w, outs, k, 8, false);
    else
        dot_bits(y, y_row, x, rows, w, outs, k, w->bits, false);
}

DEFINE_DOT_QUANTS

/* ---- many rows ---- */
/* Integers as unsigned bytes; 12 more than stored for e2m1. */
static void unpack8(uint8_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n) {
    const spread by = spread_of(w->bits < 8 ? w->bits : 4);
    const char *p = w->data + row * w->row_bytes + start / 8 * (size_t)w->bits;
    if (w->bits == 8) {
        __builtin_memcpy(to, p, n);
        return;
    }
    for (size_t i = 0; i < n; i += 32, p += 4 * w->bits) {
        __m512i v = values32(p, w->end, &by, w->bits, w->e2m1);
        if (w->e2m1) v = _mm512_add_epi16(v, _mm512_set1_epi16(12));
        __mmask32 there = n - i < 32 ? (1u << (n - i)) - 1 : ~0u;
        _mm256_mask_storeu_epi8(to + i, there, _mm512_cvtepi16_epi8(v));
    }
}

enum { MR = 14, NR = 32, KC = 128 };

/* Applies what belongs to a group to its sums of integers. */
INLINE void end_group(const vcpu_int_tile *t, size_t g, __m512i s[MR][2]) {
    EACH (j, 2) {
        __m512 scale = _mm512_loadu_ps(t->w_scales + g * NR + 16 * j);
        __m512 bias = _mm512_loadu_ps(t->w_biases + g * NR + 16 * j);
        EACH (r, MR) {
            float *c = t->c + r * t->c_row + 16 * j;
            __m512 xs = _mm512_set1_ps(t->x_scales[g * MR + r]);
            __m512 sum = _mm512_set1_ps(t->x_sums[g * MR + r]);
            __m512 v = _mm512_fmadd_ps(bias, sum, _mm512_loadu_ps(c));
            _mm512_storeu_ps(c, _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[r][j]) * scale, xs, v));
        }
    }
}

#define DEFINE_TILE(name, product)                                                                 \
    static void name(const vcpu_int_tile *t) {                                                     \
        const int32_t *a = t->a;                                                                   \
        const char *b = t->b;                                                                      \
        for (size_t g = 0; g < t->groups; g++) {                                                   \
            __m512i s[MR][2];                                                                      \
            EACH (r, MR) s[r][0] = s[r][1] = _mm512_setzero_si512();                               \
            for (size_t i = 0; i < t->depth; i++, a += MR, b += 4 * NR) {                          \
                __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);               \
                __builtin_prefetch(a + 64 * MR); /* the next tile of x */                          \
                EACH (r, MR) {                                                                     \
                    __m512i av = _mm512_set1_epi32(a[r]);                                          \
                    s[r][0] = product(s[r][0], b0, av);                                            \
                    s[r][1] = product(s[r][1], b1, av);                                            \
                }                                                                                  \
            }                                                                                      \
            end_group(t, g, s);                                                                    \
        }                                                                                          \
    }
DEFINE_TILE(tile_int16, _mm512_dpwssd_epi32)
DEFINE_TILE(tile_int8, _mm512_dpbusd_epi32)

void vcpu_kernels_quantized_avx512vnni(vcpu_kernels *k) {
    k->quantize16 = quantize16_in_order;
    k->quantize8 = quantize8;
    k->dot_quants = dot_quants;
    k->unpack8 = unpack8;
    k->gemm_int16 = (vcpu_int_gemm) { MR, NR, KC, tile_int16 };
    k->gemm_int8 = (vcpu_int_gemm) { MR, NR, KC, tile_int8 };
    k->prefers_int8 = true;
    k->dot_nibbles = NULL; /* AVX2's: the above are as fast for four bits as for eight */
    k->gemm_nibbles.tile = NULL;
}
