/* SPDX-License-Identifier: MIT */
/* Products of quantized weights with integers for AArch64. Weights become 16 bits wide in registers and meet 16-bit
 * x in SMLAL, whose sums cannot overflow: 255 * 32767 * 128 values of a group fit 31 bits. */
#include "tensor/cpu/quantized/simd_quantized.h"
#include "tensor/cpu/quantized/quantized_neon.h"

enum {
    PREFETCH_BYTES = 1024,
    CHUNK = 256 /* scales of a row that are converted at a time */
};

/* ---- x as integers ---- */
INLINE float greatest(const float *x, size_t n) {
    uint32x4_t most = vdupq_n_u32(0);
    for (size_t i = 0; i < n; i += 4)
        most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
    uint32_t bits = vmaxvq_u32(most);
    float f;
    __builtin_memcpy(&f, &bits, sizeof f);
    return f;
}

INLINE int32_t round_to(char *q, const float *x, size_t n, float by, size_t size) {
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < n; i += 16) {
        int32x4_t v[4];
        EACH (j, 4) {
            v[j] = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4 * j), by));
            sum = vaddq_s32(sum, v[j]);
        }
        int16x8_t a = vcombine_s16(vmovn_s32(v[0]), vmovn_s32(v[1]));
        int16x8_t b = vcombine_s16(vmovn_s32(v[2]), vmovn_s32(v[3]));
        if (size == 1) {
            vst1q_s8((int8_t *)q + i, vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
        } else {
            vst1q_u8((uint8_t *)q + 2 * i, vreinterpretq_u8_s16(a));
            vst1q_u8((uint8_t *)q + 2 * i + 16, vreinterpretq_u8_s16(b));
        }
    }
    return vaddvq_s32(sum);
}

/* All bits in order. */
static void quantize16(int16_t *q, float *scales, float *sums, const float *x, size_t n, size_t group, int bits) {
    (void)bits;
    quantize_groups((char *)q, scales, sums, x, n, group, 32767, sizeof *q);
}

/* ---- scales ---- */
INLINE int8x8_t four_bytes(const char *p) {
    uint32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return vcreate_s8(four);
}

INLINE float32x4_t numbers4(const char *p, vcpu_number type, float factor) {
    const uint8_t *from = (const uint8_t *)p;
    int32x4_t u;
    switch (type) {
    case VCPU_BF16: return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(from)), 16));
    case VCPU_F16: return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from)));
    case VCPU_E8M0:
        u = vshlq_n_s32(vmovl_s16(vget_low_s16(vmovl_s8(four_bytes(p)))), 23);
        u = vandq_s32(u, vdupq_n_s32(0x7F800000));
        return vmulq_n_f32(vreinterpretq_f32_s32(u), factor);
    case VCPU_E4M3: /* the exponents' zeros are 120 apart */
        u = vshlq_n_s32(vmovl_s16(vget_low_s16(vmovl_s8(four_bytes(p)))), 20);
        u = vandq_s32(u, vdupq_n_s32((int32_t)0x87F00000));
        return vmulq_n_f32(vmulq_n_f32(vreinterpretq_f32_s32(u), 0x1p120f), factor);
    default: return vreinterpretq_f32_u8(vld1q_u8(from));
    }
}

INLINE void numbers_as(float *to, const char *p, size_t n, vcpu_number type, float factor) {
    size_t size = vcpu_number_size(type), i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(to + i, numbers4(p + size * i, type, factor));
    if (i < n) {
        char rest[16] = { 0 };
        __builtin_memcpy(rest, p + size * i, size * (n - i));
        vst1q_f32(to + i, numbers4(rest, type, factor));
    }
    EACH (j, 2) vst1q_f32(to + n + 4 * j, vdupq_n_f32(0));
}

DEFINE_NUMBERS

/* ---- weights as 16-bit integers ---- */
/* How 16 values of fewer than eight bits come out of 2 * bits bytes: into each word the two bytes that hold its
 * value, down to the word's bottom, and nothing else stays. */
typedef struct spread {
    uint8x16_t bytes[2];
    int16x8_t down[2];
    uint16x8_t mask;
} spread;

INLINE spread spread_of(int bits) {
    uint8_t bytes[32];
    int16_t down[16];
    for (int i = 0; i < 16; i++) {
        bytes[2 * i] = (uint8_t)(i * bits / 8);
        bytes[2 * i + 1] = (uint8_t)(i * bits / 8 + 1);
        down[i] = (int16_t)-(i * bits % 8);
    }
    return (spread) { { vld1q_u8(bytes), vld1q_u8(bytes + 16) },
                      { vld1q_s16(down), vld1q_s16(down + 8) },
                      vdupq_n_u16((uint16_t)((1 << bits) - 1)) };
}

/* 16 values in order. */
INLINE void values16(int16x8_t v[2], const char *p, const char *end, const spread *s, int bits, bool e2m1) {
    const uint8_t *from = (const uint8_t *)p;
    if (bits == 8) {
        uint8x16_t u = vld1q_u8(from);
        v[0] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(u)));
        v[1] = vreinterpretq_s16_u16(vmovl_high_u8(u));
    } else if (bits == 4) {
        static const int8_t twice[] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };
        uint8x8_t u = vld1_u8(from), even = vand_u8(u, vdup_n_u8(15)), odd = vshr_n_u8(u, 4);
        uint8x16_t codes = vcombine_u8(vzip1_u8(even, odd), vzip2_u8(even, odd));
        int8x16_t q = e2m1 ? vqtbl1q_s8(vld1q_s8(twice), codes) : vreinterpretq_s8_u8(codes);
        v[0] = vmovl_s8(vget_low_s8(q));
        v[1] = vmovl_high_s8(q);
    } else {
        uint8_t buffer[16] = { 0 };
        if (end - p < 16) {
            __builtin_memcpy(buffer, p, 2 * (size_t)bits);
            from = buffer;
        }
        uint8x16_t u = vld1q_u8(from);
        EACH (j, 2) {
            uint16x8_t word = vreinterpretq_u16_u8(vqtbl1q_u8(u, s->bytes[j]));
            v[j] = vreinterpretq_s16_u16(vandq_u16(vshlq_u16(word, s->down[j]), s->mask));
        }
    }
}

/* ---- few rows ---- */
/* One row of weights with some of x, in four lanes: the products, and the biases' part. */
typedef struct sums {
    float32x4_t products[4], biases[4];
} sums;

INLINE void add_biases(sums *s, const float *biases, const vcpu_ints *x, int rows, size_t g, size_t count) {
    for (size_t at = 0; at < count; at += 4) /* zeros behind them, here and in x */
        EACH (r, rows) {
            float32x4_t of_x = vld1q_f32(x->sums + r * x->group_row + g + at);
            s->biases[r] = vfmaq_f32(s->biases[r], vld1q_f32(biases + at), of_x);
        }
}

/* `count` groups from group g on, whose scales are there as floats. */
INLINE void add_products(sums *s, const float *scales, const vcpu_ints *x, int rows, const vcpu_quants *w,
                         const char *p, size_t g, size_t count, const spread *by, int bits, bool e2m1) {
    const int16_t *q = (const int16_t *)x->q + g * w->group;
    for (size_t i = 0; i < count; i++) {
        int32x4_t sum[4];
        EACH (r, rows) sum[r] = vdupq_n_s32(0);
        __builtin_prefetch(p + PREFETCH_BYTES);
        for (size_t j = 0; j < w->group; j += 16, p += 2 * bits, q += 16) {
            int16x8_t v[2];
            values16(v, p, w->end, by, bits, e2m1);
            EACH (r, rows)
                EACH (h, 2) {
                    int16x8_t xv = vld1q_s16(q + r * x->row + 8 * h);
                    sum[r] = vmlal_s16(sum[r], vget_low_s16(v[h]), vget_low_s16(xv));
                    sum[r] = vmlal_high_s16(sum[r], v[h], xv);
                }
        }
        EACH (r, rows) {
            float scale = scales[i] * x->scales[r * x->group_row + g + i];
            s->products[r] = vfmaq_n_f32(s->products[r], vcvtq_f32_s32(sum[r]), scale);
        }
    }
}

/* bits: a constant, or w's. */
INLINE void dot_bits(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w, size_t outs, size_t k,
                     int bits, bool e2m1) {
    const spread by = spread_of(bits < 8 ? bits : 4);
    size_t groups = k / w->group;
    float v[CHUNK + 8];
    for (size_t o = 0; o < outs; o++) {
        sums s;
        EACH (r, rows) s.products[r] = s.biases[r] = vdupq_n_f32(0);
        for (size_t g = 0; g < groups; g += CHUNK) {
            size_t count = groups - g < CHUNK ? groups - g : CHUNK;
            const char *from = w->scales + o * w->scale_row_bytes + g * vcpu_number_size(w->scale_type);
            const char *p = w->data + o * w->row_bytes + g * w->group / 8 * (size_t)bits;
            numbers(v, from, count, w->scale_type, w->factor);
            add_products(&s, v, x, rows, w, p, g, count, &by, bits, e2m1);
            if (!w->biases) continue;
            from = w->biases + o * w->bias_row_bytes + g * vcpu_number_size(w->bias_type);
            numbers(v, from, count, w->bias_type, 1);
            add_biases(&s, v, x, rows, g, count);
        }
        EACH (r, rows) y[r * y_row + o] = vaddvq_f32(vaddq_f32(s.products[r], s.biases[r]));
    }
}

INLINE void dot_rows(float *y, size_t y_row, const vcpu_ints *x, int rows, const vcpu_quants *w, size_t outs,
                     size_t k) {
    if (w->e2m1)
        dot_bits(y, y_row, x, rows, w, outs, k, 4, true);
    else if (w->bits == 4)
        dot_bits(y, y_row, x, rows, w, outs, k, 4, false);
    else if (w->bits == 8)
        dot_bits(y, y_row, x, rows, w, outs, k, 8, false);
    else
        dot_bits(y, y_row, x, rows, w, outs, k, w->bits, false);
}

static void dot_quants(float *y, size_t y_row, const vcpu_ints *x, int rows,
                       const vcpu_quants *w, size_t outs, size_t k) {
    switch (rows) {
    case 1: dot_rows(y, y_row, x, 1, w, outs, k); break;
    case 2: dot_rows(y, y_row, x, 2, w, outs, k); break;
    case 3: dot_rows(y, y_row, x, 3, w, outs, k); break;
    default: dot_rows(y, y_row, x, 4, w, outs, k);
    }
}

/* ---- many rows ---- */
static void unpack16(int16_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n) {
    const spread by = spread_of(w->bits < 8 ? w->bits : 4);
    const char *p = w->data + row * w->row_bytes + start / 8 * (size_t)w->bits;
    for (size_t i = 0; i < n; i += 16, p += 2 * w->bits) {
        int16x8_t v[2];
        values16(v, p, w->end, &by, w->bits, w->e2m1);
        EACH (j, 2) vst1q_s16(to + i + 8 * j, v[j]);
    }
}

/* Integers as unsigned bytes; 12 more than stored for e2m1. */
static void unpack8(uint8_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n) {
    const spread by = spread_of(w->bits < 8 ? w->bits : 4);
    const char *p = w->data + row * w->row_bytes + start / 8 * (size_t)w->bits;
    int16x8_t more = vdupq_n_s16(w->e2m1 ? 12 : 0);
    for (size_t i = 0; i < n; i += 16, p += 2 * w->bits) {
        int16x8_t v[2];
        values16(v, p, w->end, &by, w->bits, w->e2m1);
        EACH (j, 2) vst1_u8(to + i + 8 * j, vmovn_u16(vreinterpretq_u16_s16(vaddq_s16(v[j], more))));
    }
}

/* One pair of row r of x, in `at` of its vectors, with those of eight outs: first and second values apart. */
#define PAIR(r, at, i)                                                                             \
    s[r][0] = vmlal_laneq_s16(s[r][0], vget_low_s16(w.val[0]), x[at], 2 * (i));                    \
    s[r][1] = vmlal_high_laneq_s16(s[r][1], w.val[0], x[at], 2 * (i));                             \
    s[r][0] = vmlal_laneq_s16(s[r][0], vget_low_s16(w.val[1]), x[at], 2 * (i) + 1);                \
    s[r][1] = vmlal_high_laneq_s16(s[r][1], w.val[1], x[at], 2 * (i) + 1);

static void tile_int16(const vcpu_int_tile *t) {
    const int16_t *a = t->a, *b = t->b;
    for (size_t g = 0; g < t->groups; g++) {
        int32x4_t s[MR][2];
        EACH (r, MR) s[r][0] = s[r][1] = vdupq_n_s32(0);
        for (size_t i = 0; i < t->depth; i++, a += 2 * MR, b += 2 * NR) {
            int16x8_t x[] = { vld1q_s16(a), vld1q_s16(a + 8) };
            int16x8x2_t w = vld2q_s16(b);
            EACH_ROW(PAIR)
        }
        end_group(t, g, s);
    }
}

void vcpu_kernels_quantized_neon(vcpu_kernels *k) {
    k->numbers = numbers;
    k->quantize16 = quantize16;
    k->dot_quants = dot_quants;
    k->unpack16 = unpack16;
    k->gemm_int16 = (vcpu_int_gemm) { MR, NR, KC, tile_int16 };
    k->quantize8 = quantize8;
    k->unpack8 = unpack8;
}
