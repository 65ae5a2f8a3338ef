/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with many rows of integers, for AVX-512 with VNNI: unsigned bytes of
 * weights and signed bytes of x in vpdpbusd, or 16-bit pairs of both in vpdpwssd. Few rows have
 * AVX2's kernels, which wait for memory, too. */
#include "tensor/cpu/quantized/simd_quantized.h"

#include <immintrin.h>

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

/* 32 values of fewer than eight bits in order; nothing is read from `end` on. */
INLINE __m512i values32(const char *p, const char *end, const spread *s, int bits, bool e2m1) {
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
    k->quantize8 = quantize8;
    k->unpack8 = unpack8;
    k->gemm_int16 = (vcpu_int_gemm) { MR, NR, KC, tile_int16 };
    k->gemm_int8 = (vcpu_int_gemm) { MR, NR, KC, tile_int8 };
    k->prefers_int8 = true;
    k->gemm_nibbles.tile = NULL; /* AVX2's: these bytes are as fast with four bits as with eight */
}
