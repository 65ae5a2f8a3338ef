/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with 16-bit integers, for AVX2. Weights become 16 bits wide in
 * registers and meet x in vpmaddwd, whose sums cannot overflow: 255 * 32767 * 128 values of a group
 * fit 31 bits. */
#include "tensor/cpu/quantized_avx2.h"

enum {
    PREFETCH_BYTES = 2048,
    BATCH = 8,   /* rows whose scales are converted at a time, */
    CHUNK = 256, /* and how many scales of them */
    WIDTH = 264  /* of an array of scales: what is written and read goes beyond the last */
};

/* ---- x as integers ---- */
/* 64 values as four bits lie in 16-bit words: every fourth, from the first, the second, ... */
INLINE void order_nibbles(int16_t *q) {
    int16_t from[64];
    __builtin_memcpy(from, q, sizeof from);
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 16; i++) q[16 * j + i] = from[4 * i + j];
}

static void quantize16(int16_t *q, float *scales, float *sums, const float *x, size_t n,
                       size_t group, int bits) {
    quantize_groups((char *)q, scales, sums, x, n, group, 32767, sizeof *q);
    for (size_t i = 0; bits == 4 && i < n; i += 64) order_nibbles(q + i);
}

static void quantize8(int8_t *q, float *scales, float *sums, const float *x, size_t n,
                      size_t group) {
    quantize_groups((char *)q, scales, sums, x, n, group, 127, sizeof *q);
}

/* ---- scales ---- */
/* n numbers as floats, and zeros up to eight behind them. The last eight overlap those before. */
INLINE void numbers_as(float *to, const char *p, size_t n, vcpu_number type, float factor) {
    size_t size = vcpu_number_size(type), i = 0;
    _mm256_storeu_ps(to + n, _mm256_setzero_ps());
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, numbers8(p + size * i, type, factor));
    if (i == n) return;
    if (n >= 8) {
        _mm256_storeu_ps(to + n - 8, numbers8(p + size * (n - 8), type, factor));
        return;
    }
    for (; i < n; i++) {
        char one[32] = { 0 };
        __builtin_memcpy(one, p + size * i, size);
        to[i] = _mm256_cvtss_f32(numbers8(one, type, factor));
    }
}

static void numbers(float *to, const char *p, size_t n, vcpu_number type, float factor) {
    switch (type) {
    case VCPU_F32: numbers_as(to, p, n, VCPU_F32, factor); break;
    case VCPU_BF16: numbers_as(to, p, n, VCPU_BF16, factor); break;
    case VCPU_F16: numbers_as(to, p, n, VCPU_F16, factor); break;
    case VCPU_E8M0: numbers_as(to, p, n, VCPU_E8M0, factor); break;
    case VCPU_E4M3: numbers_as(to, p, n, VCPU_E4M3, factor); break;
    }
}

/* ---- weights as 16-bit integers ---- */
/* In words whose upper byte is zero: that is looked up, too, and 12 is taken off both. */
INLINE __m256i e2m1_of(__m256i nibbles) {
    return _mm256_sub_epi16(e2m1_and_12(nibbles), _mm256_set1_epi16(0x0C0C));
}

/* 64 values of four bits, in the order of order_nibbles. */
INLINE void nibbles64(__m256i w[4], const char *p, bool e2m1) {
    __m256i v = _mm256_loadu_si256((const void *)p), low = _mm256_set1_epi16(15);
    w[0] = _mm256_and_si256(v, low);
    w[1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
    w[2] = _mm256_and_si256(_mm256_srli_epi16(v, 8), low);
    w[3] = _mm256_srli_epi16(v, 12);
    if (e2m1)
        EACH (j, 4) w[j] = e2m1_of(w[j]);
}

/* How 16 values of fewer than eight bits come out of 2 * bits bytes: into each word the two bytes
 * that hold its value, that value to the word's top, and down again. */
typedef struct spread {
    __m256i bytes, up;
    int bits;
} spread;

INLINE spread spread_of(int bits) {
    uint8_t bytes[32];
    uint16_t up[16];
    for (int i = 0; i < 16; i++) {
        bytes[2 * i] = (uint8_t)(i * bits / 8);
        bytes[2 * i + 1] = (uint8_t)(i * bits / 8 + 1);
        up[i] = (uint16_t)(1u << (16 - bits - i * bits % 8));
    }
    return (spread) { _mm256_loadu_si256((const void *)bytes), _mm256_loadu_si256((const void *)up),
                      bits };
}

INLINE __m256i spread16(const char *p, const spread *s) {
    __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)p));
    v = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, s->bytes), s->up);
    return _mm256_srl_epi16(v, _mm_cvtsi32_si128(16 - s->bits));
}

/* 32 values in order. */
INLINE void values32(__m256i w[2], const char *p, const char *end, const spread *s, int bits) {
    char buffer[48] = { 0 };
    if (bits == 8) {
        w[0] = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)p));
        w[1] = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(p + 16)));
        return;
    }
    if ((size_t)(end - p) < (size_t)(2 * bits + 16)) {
        __builtin_memcpy(buffer, p, 4 * (size_t)bits);
        p = buffer;
    }
    w[0] = spread16(p, s);
    w[1] = spread16(p + 2 * bits, s);
}

/* ---- few rows ---- */
/* Sums of `rows` rows with one row of weights, in eight lanes: of the products, and of the biases'
 * part. */
typedef struct sums {
    __m256 products[4], biases[4];
} sums;

/* The scales of some rows of weights times those of x, for each row of x. Short rows come several
 * at a time, so that the conversion of one's scales does not wait for the products of another. */
typedef struct row_scales {
    float of[4][WIDTH];
    size_t width; /* from one row of weights to the next */
} row_scales;

/* The scales of groups [g, g + count) of row o, the i-th of those at a time; and the part of the
 * biases. */
INLINE void convert_scales(row_scales *s, sums *part, const vcpu_ints *x, int rows,
                           const vcpu_quants *w, size_t o, size_t i, size_t g, size_t count) {
    float v[WIDTH];
    if (w->biases) {
        const char *from = w->biases + o * w->bias_row_bytes;
        __builtin_prefetch(from + 16 * w->bias_row_bytes);
        numbers(v, from + g * vcpu_number_size(w->bias_type), count, w->bias_type, 1);
        for (size_t at = 0; at < count; at += 8) /* zeros behind them, here and in x */
            EACH (r, rows) {
                __m256 of_x = _mm256_loadu_ps(x->sums + r * x->group_row + g + at);
                part->biases[r] = _mm256_fmadd_ps(_mm256_loadu_ps(v + at), of_x, part->biases[r]);
            }
    }
    const char *from = w->scales + o * w->scale_row_bytes;
    __builtin_prefetch(from + 16 * w->scale_row_bytes);
    numbers(v, from + g * vcpu_number_size(w->scale_type), count, w->scale_type, w->factor);
    for (size_t at = 0; at < count; at += 8)
        EACH (r, rows) {
            __m256 of_x = _mm256_loadu_ps(x->scales + r * x->group_row + g + at);
            _mm256_storeu_ps(s->of[r] + i * s->width + at, _mm256_loadu_ps(v + at) * of_x);
        }
}

/* A block of 64 values of four bits. Groups of 64 and more have one scale for all lanes (wide),
 * smaller ones one for two or four: `lanes`. */
INLINE void nibble_block(__m256 *s, const int16_t *q, size_t q_row, int rows, const char *p,
                         const float *scales, bool wide, __m256i lanes, bool e2m1) {
    __m256i v[4];
    nibbles64(v, p, e2m1);
    EACH (r, rows) {
        const __m256i *from = (const void *)(q + r * q_row);
        __m256i a = _mm256_madd_epi16(v[0], _mm256_loadu_si256(from));
        __m256i b = _mm256_madd_epi16(v[1], _mm256_loadu_si256(from + 1));
        a = _mm256_add_epi32(a, _mm256_madd_epi16(v[2], _mm256_loadu_si256(from + 2)));
        b = _mm256_add_epi32(b, _mm256_madd_epi16(v[3], _mm256_loadu_si256(from + 3)));
        __m256 scale;
        if (wide)
            scale = _mm256_broadcast_ss(scales + r * WIDTH);
        else
            scale = _mm256_permutevar8x32_ps(
                _mm256_broadcast_ps((const void *)(scales + r * WIDTH)), lanes);
        s[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(a, b)), scale, s[r]);
    }
}

INLINE void nibbles(__m256 *s, const int16_t *q, size_t q_row, int rows, const char *p, size_t n,
                    const float *scales, size_t group, bool wide, bool e2m1) {
    const __m256i lanes = group == 32 ? _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)
                                      : _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    int shift = __builtin_ctz((unsigned)group);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __builtin_prefetch(p + i / 2 + PREFETCH_BYTES);
        nibble_block(s, q + i, q_row, rows, p + i / 2, scales + (i >> shift), wide, lanes, e2m1);
    }
    if (i < n) { /* 8, 16 or 24 bytes */
        int64_t part[4] = { 0 };
        for (size_t j = 0; j < 3 && j < (n - i) / 16; j++)
            __builtin_memcpy(part + j, p + i / 2 + 8 * j, 8);
        nibble_block(s, q + i, q_row, rows, (const char *)part, scales + (i >> shift), wide, lanes,
                     e2m1);
    }
}

/* Blocks of 32 values of any number of bits. */
INLINE void values(__m256 *s, const int16_t *q, size_t q_row, int rows, const char *p,
                   const char *end, size_t n, const float *scales, size_t group, const spread *by,
                   int bits) {
    int shift = __builtin_ctz((unsigned)group);
    for (size_t i = 0; i < n; i += 32, p += 4 * bits) {
        __m256i v[2];
        __builtin_prefetch(p + PREFETCH_BYTES);
        values32(v, p, end, by, bits);
        EACH (r, rows) {
            const __m256i *at = (const void *)(q + r * q_row + i);
            __m256i a = _mm256_madd_epi16(v[0], _mm256_loadu_si256(at));
            a = _mm256_add_epi32(a, _mm256_madd_epi16(v[1], _mm256_loadu_si256(at + 1)));
            __m256 scale = _mm256_broadcast_ss(scales + r * WIDTH + (i >> shift));
            s[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), scale, s[r]);
        }
    }
}

/* How the values of a row are taken apart. */
typedef enum kind { WIDE, NARROW, E2M1, BYTES, SPREAD } kind;

INLINE void dot_kind(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                     size_t outs, size_t k, kind as) {
    const spread by = spread_of(w->bits);
    size_t groups = k / w->group, count = groups < CHUNK ? groups : CHUNK, batch;
    row_scales scales;
    scales.width = (count + 7) / 8 * 8;
    batch = CHUNK / scales.width < BATCH ? CHUNK / scales.width : BATCH;
    for (size_t o = 0; o < outs; o += batch) {
        sums s[BATCH];
        if (batch > outs - o) batch = outs - o;
        for (size_t i = 0; i < batch; i++)
            EACH (r, rows) s[i].products[r] = s[i].biases[r] = _mm256_setzero_ps();
        for (size_t g = 0; g < groups; g += CHUNK) {
            size_t here = groups - g < CHUNK ? groups - g : CHUNK, n = here * w->group;
            const int16_t *q = (const int16_t *)x->q + g * w->group;
            for (size_t i = 0; i < batch; i++)
                convert_scales(&scales, &s[i], x, rows, w, o + i, i, g, here);
            for (size_t i = 0; i < batch; i++) {
                const char *p =
                    w->data + (o + i) * w->row_bytes + g * w->group * (size_t)w->bits / 8;
                const float *of = scales.of[0] + i * scales.width;
                __m256 at[4];
                EACH (r, rows) at[r] = s[i].products[r];
                if (as == BYTES)
                    values(at, q, x->row, rows, p, w->end, n, of, w->group, &by, 8);
                else if (as == SPREAD)
                    values(at, q, x->row, rows, p, w->end, n, of, w->group, &by, w->bits);
                else
                    nibbles(at, q, x->row, rows, p, n, of, w->group, as == WIDE, as == E2M1);
                EACH (r, rows) s[i].products[r] = at[r];
            }
        }
        for (size_t i = 0; i < batch; i++)
            EACH (r, rows) y[r * y_row + o + i] = total(s[i].products[r] + s[i].biases[r]);
    }
}

INLINE void dot_rows(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                     size_t outs, size_t k) {
    if (w->bits == 8)
        dot_kind(y, y_row, x, rows, w, outs, k, BYTES);
    else if (w->bits != 4)
        dot_kind(y, y_row, x, rows, w, outs, k, SPREAD);
    else if (w->e2m1)
        dot_kind(y, y_row, x, rows, w, outs, k, E2M1);
    else if (w->group == 32)
        dot_kind(y, y_row, x, rows, w, outs, k, NARROW);
    else
        dot_kind(y, y_row, x, rows, w, outs, k, WIDE);
}

static void dot_quants(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                       size_t outs, size_t k) {
    switch (rows) {
    case 1: dot_rows(y, y_row, x, 1, w, outs, k); break;
    case 2: dot_rows(y, y_row, x, 2, w, outs, k); break;
    case 3: dot_rows(y, y_row, x, 3, w, outs, k); break;
    default: dot_rows(y, y_row, x, 4, w, outs, k);
    }
}

/* ---- many rows ---- */
/* Four bits in order: even and odd values of 32 lie side by side in bytes. */
INLINE void nibbles32(__m256i w[2], const char *p, bool e2m1) {
    __m128i v = _mm_loadu_si128((const void *)p), low = _mm_set1_epi8(15);
    __m128i even = _mm_and_si128(v, low), odd = _mm_and_si128(_mm_srli_epi16(v, 4), low);
    w[0] = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(even, odd));
    w[1] = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(even, odd));
    if (e2m1)
        EACH (j, 2) w[j] = e2m1_of(w[j]);
}

static void unpack16(int16_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n) {
    const spread by = spread_of(w->bits);
    const char *p = w->data + row * w->row_bytes + start * (size_t)w->bits / 8;
    size_t i = 0;
    for (; i + 32 <= n; i += 32, p += 4 * w->bits) {
        __m256i v[2];
        if (w->bits == 4)
            nibbles32(v, p, w->e2m1);
        else
            values32(v, p, w->end, &by, w->bits);
        _mm256_storeu_si256((void *)(to + i), v[0]);
        _mm256_storeu_si256((void *)(to + i + 16), v[1]);
    }
    if (i < n) { /* 16 values of four bits */
        char part[16] = { 0 };
        __m256i v[2];
        __builtin_memcpy(part, p, 8);
        nibbles32(v, part, w->e2m1);
        _mm256_storeu_si256((void *)(to + i), v[0]);
    }
}

/* By way of 16 bits; 12 more than those that stand for e2m1. */
static void unpack8(uint8_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n) {
    const __m256i more = _mm256_set1_epi16(w->e2m1 ? 12 : 0);
    int16_t wide[256];
    for (size_t at = 0; at < n; at += 256) {
        size_t here = n - at < 256 ? n - at : 256;
        unpack16(wide, w, row, start + at, here);
        for (size_t i = 0; i < here; i += 16) {
            __m256i v = _mm256_loadu_si256((const void *)(wide + i));
            v = _mm256_add_epi16(v, more);
            __m128i high = _mm256_extracti128_si256(v, 1);
            _mm_storeu_si128((void *)(to + at + i),
                             _mm_packus_epi16(_mm256_castsi256_si128(v), high));
        }
    }
}

enum { MR = 6, NR = 16, KC = 256 };

static void tile_int16(const vcpu_int_tile *t) {
    const int32_t *a = t->a;
    const __m256i *b = t->b;
    for (size_t g = 0; g < t->groups; g++) {
        __m256i s[MR][2];
        EACH (r, MR) { /* wanted at the end; a and b are streams, which the CPU follows unasked */
            __builtin_prefetch(t->c + r * t->c_row);
            s[r][0] = s[r][1] = _mm256_setzero_si256();
        }
        for (size_t i = 0; i < t->depth; i += 8, a += 8 * MR, b += 8 * 2)
            EACH (e, 8) {
                __m256i b0 = _mm256_loadu_si256(b + 2 * e), b1 = _mm256_loadu_si256(b + 2 * e + 1);
                EACH (r, MR) {
                    __m256i of_x = _mm256_set1_epi32(a[MR * e + r]);
                    s[r][0] = at_once(_mm256_add_epi32(s[r][0], _mm256_madd_epi16(of_x, b0)));
                    s[r][1] = at_once(_mm256_add_epi32(s[r][1], _mm256_madd_epi16(of_x, b1)));
                }
            }
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

void vcpu_kernels_quantized_avx2(vcpu_kernels *k) {
    k->numbers = numbers;
    k->unpack16 = unpack16;
    k->unpack8 = unpack8;
    k->gemm_int16 = (vcpu_int_gemm) { MR, NR, KC, tile_int16 };
    k->quantize16 = quantize16;
    k->quantize8 = quantize8;
    k->dot_quants = dot_quants;
}
