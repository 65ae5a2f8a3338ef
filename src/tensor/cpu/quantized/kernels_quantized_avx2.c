/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with 16-bit integers, for AVX2. Weights become 16 bits wide in
 * registers and meet x in vpmaddwd, whose sums cannot overflow: 255 * 32767 * 128 values of a group
 * fit 31 bits. */
#include "tensor/cpu/quantized/quantized_few_avx2.h"

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

DEFINE_NUMBERS

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
INLINE void bytes32(__m256i w[2], const char *p) {
    w[0] = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)p));
    w[1] = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(p + 16)));
}

INLINE void spread32(__m256i w[2], const char *p, const char *end, const spread *s) {
    char buffer[48] = { 0 };
    if ((size_t)(end - p) < (size_t)(2 * s->bits + 16)) {
        __builtin_memcpy(buffer, p, 4 * (size_t)s->bits);
        p = buffer;
    }
    w[0] = spread16(p, s);
    w[1] = spread16(p + 2 * s->bits, s);
}

/* ---- few rows ---- */
INLINE const __m256i *row_of(const few *p, const char *q, size_t r) {
    return (const void *)(q + r * p->x->row * sizeof(int16_t));
}

INLINE void add_nibbles(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                        const char *q, const char *weights, bool wide, bool e2m1) {
    __m256i v[4];
    nibbles64(v, weights, e2m1);
    EACH (r, rows) {
        const __m256i *from = row_of(p, q, r);
        __m256i a = _mm256_madd_epi16(v[0], _mm256_loadu_si256(from));
        __m256i b = _mm256_madd_epi16(v[1], _mm256_loadu_si256(from + 1));
        a = _mm256_add_epi32(a, _mm256_madd_epi16(v[2], _mm256_loadu_si256(from + 2)));
        b = _mm256_add_epi32(b, _mm256_madd_epi16(v[3], _mm256_loadu_si256(from + 3)));
        __m256 sum = _mm256_cvtepi32_ps(_mm256_add_epi32(a, b));
        s[r] = _mm256_fmadd_ps(sum, scales64(by, p, r, i, wide), s[r]);
    }
}

/* 32 values, which are of one group. */
INLINE void add_values(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                       const char *q, const __m256i v[2]) {
    EACH (r, rows) {
        const __m256i *from = row_of(p, q, r);
        __m256i a = _mm256_madd_epi16(v[0], _mm256_loadu_si256(from));
        a = _mm256_add_epi32(a, _mm256_madd_epi16(v[1], _mm256_loadu_si256(from + 1)));
        __m256 scale = _mm256_broadcast_ss(by->of[r] + (i >> p->shift));
        s[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), scale, s[r]);
    }
}

INLINE void add_bytes(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                      const char *q, const char *weights) {
    __m256i v[2];
    bytes32(v, weights);
    add_values(s, by, p, rows, i, q, v);
}

INLINE void add_bits(row_sums s, const row_scales *by, const few *p, int rows, size_t i,
                     const char *q, const char *weights) {
    __m256i v[2];
    spread32(v, weights, p->w->end, p->how);
    add_values(s, by, p, rows, i, q, v);
}

static void dot_quants(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w,
                       size_t outs, size_t k) {
    const spread how = spread_of(w->bits);
    if (w->bits == 8)
        dot_few(y, y_row, x, 2, rows, w, 0, NULL, outs, k, 4, 32, 8, add_bytes);
    else if (w->bits != 4)
        dot_few(y, y_row, x, 2, rows, w, 0, &how, outs, k, 2, 32, (size_t)w->bits, add_bits);
    else
        dot_four_bits(y, y_row, x, 2, rows, w, 0, outs, k, 2);
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
        else if (w->bits == 8)
            bytes32(v, p);
        else
            spread32(v, p, w->end, &by);
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

static void tile_int16(const vcpu_int_tile *t) {
    const int32_t *a = t->a;
    const __m256i *b = t->b;
    for (size_t g = 0; g < t->groups; g++) {
        __m256i s[MR][2];
        begin_group(t, s);
        for (size_t i = 0; i < t->depth; i += 8, a += 8 * MR, b += 8 * 2)
            EACH (e, 8) {
                __m256i b0 = _mm256_loadu_si256(b + 2 * e), b1 = _mm256_loadu_si256(b + 2 * e + 1);
                EACH (r, MR) {
                    __m256i of_x = _mm256_set1_epi32(a[MR * e + r]);
                    s[r][0] = at_once(_mm256_add_epi32(s[r][0], _mm256_madd_epi16(of_x, b0)));
                    s[r][1] = at_once(_mm256_add_epi32(s[r][1], _mm256_madd_epi16(of_x, b1)));
                }
            }
        end_group(t, g, s);
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
