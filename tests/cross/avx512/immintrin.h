/* SPDX-License-Identifier: MIT */
/* AVX-512 in plain C, as much of it as src/tensor/cpu uses, so that those kernels can be tested on
 * a CPU with AVX2: found before the compiler's page, which it includes for what is not emulated.
 * What Intel's manuals say of each instruction holds to the bit: NaNs, masked memory that is not
 * touched, the order in which the compilers' reductions add, the roundings of the bfloat16
 * instructions and that they take denormal numbers for zero. Slow; for tests/CMakeLists.txt
 * (test_kernels_emulated) only. A missing one shows as a call that cannot be inlined: add it here.
 */
#ifndef TEST_EMULATED_AVX512_H
#define TEST_EMULATED_AVX512_H

#include_next <immintrin.h>

#include <string.h>

#define EMULATED static inline __attribute__((always_inline, unused))

/* Vectors as arrays of lanes. */
typedef union e_lanes {
    __m512 ps;
    __m512d pd;
    __m512i si;
    __m512bh bh;
    __m256bh half_bh[2];
    __m256 half_ps[2];
    __m256d half_pd[2];
    __m256i half[2];
    __m128i quarter[4];
    __m128 quarter_ps[4];
    float f[16];
    double d[8];
    int32_t i[16];
    uint32_t u[16];
    int64_t i64[8];
    uint64_t u64[8];
    uint16_t h[32];
    int16_t s[32];
    uint8_t b[64];
    int8_t c[64];
} e_lanes;

#define LANES_OF(n) for (int n_ = (n), i = 0; i < n_; i++)

/* ---- memory: only lanes of the mask ---- */
#define DEFINE_MEMORY(type, member, load, store, maskz_load, mask_load, mask_store, element, n,    \
                      mask)                                                                        \
    EMULATED type load(const void *p) {                                                            \
        e_lanes r;                                                                                 \
        memcpy(&r, p, 64);                                                                         \
        return r.member;                                                                           \
    }                                                                                              \
    EMULATED void store(void *p, type v) {                                                         \
        memcpy(p, &v, 64);                                                                         \
    }                                                                                              \
    EMULATED type mask_load(type from, mask k, const void *p) {                                    \
        e_lanes r = { .member = from };                                                            \
        LANES_OF(n) if (k >> i & 1) memcpy(&r.element[i], (const char *)p + i * (64 / n), 64 / n); \
        return r.member;                                                                           \
    }                                                                                              \
    EMULATED type maskz_load(mask k, const void *p) {                                              \
        e_lanes zero = { .u = { 0 } };                                                             \
        return mask_load(zero.member, k, p);                                                       \
    }                                                                                              \
    EMULATED void mask_store(void *p, mask k, type v) {                                            \
        e_lanes r = { .member = v };                                                               \
        LANES_OF(n) if (k >> i & 1) memcpy((char *)p + i * (64 / n), &r.element[i], 64 / n);       \
    }
#define DEFINE(type, member, name, element, n, mask)                                               \
    DEFINE_MEMORY(type, member, e_loadu_##name, e_storeu_##name, e_maskz_loadu_##name,             \
                  e_mask_loadu_##name, e_mask_storeu_##name, element, n, mask)
DEFINE(__m512, ps, ps, u, 16, __mmask16)
DEFINE(__m512i, si, epi32, u, 16, __mmask16)
DEFINE(__m512i, si, epi16, h, 32, __mmask32)
DEFINE(__m512i, si, epi8, b, 64, __mmask64)
#undef DEFINE

EMULATED void e256_mask_storeu_epi16(void *p, __mmask16 k, __m256i v) {
    e_lanes r = { .half = { v } };
    LANES_OF(16)
    if (k >> i & 1) memcpy((char *)p + 2 * i, &r.h[i], 2);
}

EMULATED void e256_mask_storeu_epi8(void *p, __mmask32 k, __m256i v) {
    e_lanes r = { .half = { v } };
    LANES_OF(32)
    if (k >> i & 1) memcpy((char *)p + i, &r.b[i], 1);
}
EMULATED __m256i e256_maskz_loadu_epi16(__mmask16 k, const void *p) {
    e_lanes r = { .si = e_maskz_loadu_epi16(k, p) };
    return r.half[0];
}
EMULATED __m128i e128_maskz_loadu_epi8(__mmask16 k, const void *p) {
    e_lanes r = { .si = e_maskz_loadu_epi8(k, p) };
    return r.quarter[0];
}

/* ---- one lane at a time ---- */
#define DEFINE(name, type, member, lane, n, expression)                                            \
    EMULATED type e_##name(type left, type right) {                                                \
        e_lanes a = { .member = left }, b = { .member = right }, r;                                \
        LANES_OF(n) r.lane[i] = (expression);                                                      \
        return r.member;                                                                           \
    }
DEFINE(add_ps, __m512, ps, f, 16, a.f[i] + b.f[i])
DEFINE(sub_ps, __m512, ps, f, 16, a.f[i] - b.f[i])
DEFINE(mul_ps, __m512, ps, f, 16, a.f[i] * b.f[i])
DEFINE(max_ps, __m512, ps, f, 16, a.f[i] > b.f[i] ? a.f[i] : b.f[i]) /* NaN or equal: b */
DEFINE(min_ps, __m512, ps, f, 16, a.f[i] < b.f[i] ? a.f[i] : b.f[i])
DEFINE(and_ps, __m512, ps, u, 16, a.u[i] & b.u[i])
DEFINE(andnot_ps, __m512, ps, u, 16, ~a.u[i] & b.u[i])
DEFINE(or_ps, __m512, ps, u, 16, a.u[i] | b.u[i])
DEFINE(xor_ps, __m512, ps, u, 16, a.u[i] ^ b.u[i])
DEFINE(add_pd, __m512d, pd, d, 8, a.d[i] + b.d[i])
DEFINE(sub_pd, __m512d, pd, d, 8, a.d[i] - b.d[i])
DEFINE(add_epi32, __m512i, si, u, 16, a.u[i] + b.u[i])
DEFINE(sub_epi32, __m512i, si, u, 16, a.u[i] - b.u[i])
DEFINE(max_epi32, __m512i, si, i, 16, a.i[i] > b.i[i] ? a.i[i] : b.i[i])
DEFINE(min_epi32, __m512i, si, i, 16, a.i[i] < b.i[i] ? a.i[i] : b.i[i])
DEFINE(mullo_epi32, __m512i, si, u, 16, a.u[i] * b.u[i])
DEFINE(add_epi16, __m512i, si, h, 32, (uint16_t)(a.h[i] + b.h[i]))
DEFINE(sub_epi16, __m512i, si, h, 32, (uint16_t)(a.h[i] - b.h[i]))
DEFINE(add_epi8, __m512i, si, b, 64, (uint8_t)(a.b[i] + b.b[i]))
DEFINE(sub_epi8, __m512i, si, b, 64, (uint8_t)(a.b[i] - b.b[i]))
DEFINE(and_si512, __m512i, si, u, 16, a.u[i] & b.u[i])
DEFINE(andnot_si512, __m512i, si, u, 16, ~a.u[i] & b.u[i])
DEFINE(or_si512, __m512i, si, u, 16, a.u[i] | b.u[i])
DEFINE(xor_si512, __m512i, si, u, 16, a.u[i] ^ b.u[i])
DEFINE(srlv_epi32, __m512i, si, u, 16, b.u[i] < 32 ? a.u[i] >> b.u[i] : 0)
DEFINE(sllv_epi32, __m512i, si, u, 16, b.u[i] < 32 ? a.u[i] << b.u[i] : 0)
DEFINE(srlv_epi64, __m512i, si, u64, 8, b.u64[i] < 64 ? a.u64[i] >> b.u64[i] : 0)
DEFINE(sllv_epi64, __m512i, si, u64, 8, b.u64[i] < 64 ? a.u64[i] << b.u64[i] : 0)
DEFINE(srlv_epi16, __m512i, si, h, 32, b.h[i] < 16 ? (uint16_t)(a.h[i] >> b.h[i]) : 0)
DEFINE(madd_epi16, __m512i, si, u, 16,
       (uint32_t)(a.s[2 * i] * b.s[2 * i]) + (uint32_t)(a.s[2 * i + 1] * b.s[2 * i + 1]))
DEFINE(permutexvar_epi32, __m512i, si, u, 16, b.u[a.u[i] & 15])
DEFINE(permutexvar_epi16, __m512i, si, h, 32, b.h[a.h[i] & 31])
DEFINE(shuffle_epi8, __m512i, si, b, 64,
       b.b[i] & 0x80 ? 0 : a.b[(i & 0x30) + (b.b[i] & 15)]) /* within 16 bytes */
DEFINE(unpacklo_ps, __m512, ps, u, 16, (i & 1 ? b : a).u[(i & 12) + (i & 3) / 2])
DEFINE(unpackhi_ps, __m512, ps, u, 16, (i & 1 ? b : a).u[(i & 12) + 2 + (i & 3) / 2])
DEFINE(unpacklo_epi8, __m512i, si, b, 64, (i & 1 ? b : a).b[(i & 0x30) + (i & 15) / 2])
DEFINE(unpackhi_epi8, __m512i, si, b, 64, (i & 1 ? b : a).b[(i & 0x30) + 8 + (i & 15) / 2])
DEFINE(unpacklo_epi16, __m512i, si, h, 32, (i & 1 ? b : a).h[(i & 0x18) + (i & 7) / 2])
DEFINE(unpackhi_epi16, __m512i, si, h, 32, (i & 1 ? b : a).h[(i & 0x18) + 4 + (i & 7) / 2])
#undef DEFINE

EMULATED __m512 e_permutex2var_ps(__m512 left, __m512i which, __m512 right) {
    e_lanes a = { left }, b = { right }, k = { .si = which }, r;
    LANES_OF(16)
    r.u[i] = (k.u[i] & 16 ? b : a).u[k.u[i] & 15];
    return r.ps;
}
/* Within 16 bytes: two of a, two of b. */
EMULATED __m512 e_shuffle_ps(__m512 left, __m512 right, unsigned which) {
    e_lanes a = { left }, b = { right }, r;
    LANES_OF(16)
    r.u[i] = (i & 2 ? b : a).u[(i & 12) + (int)(which >> 2 * (i & 3) & 3)];
    return r.ps;
}
/* Sixteen bytes at a time: two of a, two of b. */
EMULATED __m512 e_shuffle_f32x4(__m512 left, __m512 right, unsigned which) {
    e_lanes a = { left }, b = { right }, r;
    LANES_OF(4)
    r.quarter[i] = (i & 2 ? b : a).quarter[which >> 2 * i & 3];
    return r.ps;
}

/* c + the products of a and b, rounded once, as with AVX2. */
EMULATED __m512 e_fmadd_ps(__m512 left, __m512 right, __m512 more) {
    e_lanes a = { .ps = left }, b = { .ps = right }, c = { .ps = more };
    LANES_OF(2) c.half_ps[i] = _mm256_fmadd_ps(a.half_ps[i], b.half_ps[i], c.half_ps[i]);
    return c.ps;
}
EMULATED __m512 e_fnmadd_ps(__m512 left, __m512 right, __m512 more) {
    e_lanes a = { .ps = left }, b = { .ps = right }, c = { .ps = more };
    LANES_OF(2) c.half_ps[i] = _mm256_fnmadd_ps(a.half_ps[i], b.half_ps[i], c.half_ps[i]);
    return c.ps;
}
EMULATED __m512d e_fmadd_pd(__m512d left, __m512d right, __m512d more) {
    e_lanes a = { .pd = left }, b = { .pd = right }, c = { .pd = more };
    LANES_OF(2) c.half_pd[i] = _mm256_fmadd_pd(a.half_pd[i], b.half_pd[i], c.half_pd[i]);
    return c.pd;
}

/* ---- conversions: the two halves by what AVX2 has ---- */
#define DEFINE(name, to, to_member, from, expression)                                              \
    EMULATED to e_##name(from v) {                                                                 \
        e_lanes r;                                                                                 \
        LANES_OF(2) expression;                                                                    \
        return r.to_member;                                                                        \
    }
DEFINE(cvtps_epi32, __m512i, si, __m512,
       r.half[i] = _mm256_cvtps_epi32(((e_lanes) { v }).half_ps[i]))
DEFINE(cvtepi32_ps, __m512, ps, __m512i,
       r.half_ps[i] = _mm256_cvtepi32_ps(((e_lanes) { .si = v }).half[i]))
DEFINE(cvtps_pd, __m512d, pd, __m256,
       r.half_pd[i] = _mm256_cvtps_pd(((e_lanes) { .half_ps = { v } }).quarter_ps[i]))
DEFINE(cvtph_ps, __m512, ps, __m256i,
       r.half_ps[i] = _mm256_cvtph_ps(((e_lanes) { .half = { v } }).quarter[i]))
DEFINE(cvtepu16_epi32, __m512i, si, __m256i,
       r.half[i] = _mm256_cvtepu16_epi32(((e_lanes) { .half = { v } }).quarter[i]))
DEFINE(cvtepu8_epi16, __m512i, si, __m256i,
       r.half[i] = _mm256_cvtepu8_epi16(((e_lanes) { .half = { v } }).quarter[i]))
DEFINE(cvtepi8_epi16, __m512i, si, __m256i,
       r.half[i] = _mm256_cvtepi8_epi16(((e_lanes) { .half = { v } }).quarter[i]))
DEFINE(abs_epi8, __m512i, si, __m512i, r.half[i] = _mm256_abs_epi8(((e_lanes) { .si = v }).half[i]))
#undef DEFINE
EMULATED __m512i e_cvtepu8_epi32(__m128i v) {
    e_lanes a = { .quarter = { v } }, r;
    LANES_OF(16) r.u[i] = a.b[i];
    return r.si;
}
EMULATED __m512i e_cvtepi8_epi32(__m128i v) {
    e_lanes a = { .quarter = { v } }, r;
    LANES_OF(16) r.i[i] = a.c[i];
    return r.si;
}
EMULATED __m256i e_cvtepi32_epi16(__m512i v) {
    e_lanes a = { .si = v }, r;
    LANES_OF(16) r.h[i] = (uint16_t)a.u[i];
    return r.half[0];
}
EMULATED __m128i e_cvtepi32_epi8(__m512i v) {
    e_lanes a = { .si = v }, r;
    LANES_OF(16)
    r.b[i] = (uint8_t)a.u[i];
    return r.quarter[0];
}
EMULATED __m256i e_cvtepi16_epi8(__m512i v) {
    e_lanes a = { .si = v }, r;
    LANES_OF(32)
    r.b[i] = (uint8_t)a.h[i];
    return r.half[0];
}
#define e_cvtps_ph(v, rounding)                                                                    \
    ((e_lanes) { .quarter = { _mm256_cvtps_ph(((e_lanes) { v }).half_ps[0], rounding),             \
                              _mm256_cvtps_ph(((e_lanes) { v }).half_ps[1], rounding) } }          \
         .half[0])
#define e_roundscale_ps(v, rounding) /* to integers: rounding is below 16 */                       \
    ((e_lanes) { .half_ps = { _mm256_round_ps(((e_lanes) { v }).half_ps[0], rounding),             \
                              _mm256_round_ps(((e_lanes) { v }).half_ps[1], rounding) } }          \
         .ps)

/* ---- one value to all, parts, casts ---- */
#define DEFINE(name, type, member, lane, n, element)                                               \
    EMULATED type e_##name(element x) {                                                            \
        e_lanes r;                                                                                 \
        LANES_OF(n) r.lane[i] = x;                                                                 \
        return r.member;                                                                           \
    }
DEFINE(set1_ps, __m512, ps, f, 16, float)
DEFINE(set1_pd, __m512d, pd, d, 8, double)
DEFINE(set1_epi8, __m512i, si, c, 64, char)
DEFINE(set1_epi16, __m512i, si, s, 32, short)
DEFINE(set1_epi32, __m512i, si, i, 16, int)
DEFINE(set1_epi64, __m512i, si, i64, 8, long long)
DEFINE(broadcast_i32x4, __m512i, si, quarter, 4, __m128i)
DEFINE(broadcast_i64x4, __m512i, si, half, 2, __m256i)
#undef DEFINE
EMULATED __m512i e_broadcastd_epi32(__m128i v) {
    return e_set1_epi32(_mm_cvtsi128_si32(v));
}
#define e_setzero_ps() ((__m512) { 0 })
#define e_setzero_pd() ((__m512d) { 0 })
#define e_setzero_si512() ((__m512i) { 0 })
#define e_setr_epi32(...) (((e_lanes) { .i = { __VA_ARGS__ } }).si)
#define e_castps512_ps256(v) (((e_lanes) { v }).half_ps[0])
#define e_castsi512_si256(v) (((e_lanes) { .si = v }).half[0])
#define e_castps_si512(v) ((__m512i)(v))
#define e_castsi512_ps(v) ((__m512)(v))
#define e_castsi128_si512(v) (((e_lanes) { .quarter = { v } }).si)
#define e_castsi256_si512(v) (((e_lanes) { .half = { v } }).si)
#define e_extractf32x8_ps(v, i) (((e_lanes) { v }).half_ps[i])
#define e_extracti64x4_epi64(v, i) (((e_lanes) { .si = v }).half[i])
EMULATED __m512i e_inserti64x4(__m512i v, __m256i part, int i) {
    e_lanes r = { .si = v };
    r.half[i] = part;
    return r.si;
}

/* ---- shifts by one count ---- */
#define DEFINE(name, lane, n, expression)                                                          \
    EMULATED __m512i e_##name(__m512i v, unsigned by) {                                            \
        e_lanes a = { .si = v }, r;                                                                \
        LANES_OF(n) r.lane[i] = (expression);                                                      \
        return r.si;                                                                               \
    }
DEFINE(slli_epi32, u, 16, by < 32 ? a.u[i] << by : 0)
DEFINE(srli_epi32, u, 16, by < 32 ? a.u[i] >> by : 0)
DEFINE(slli_epi16, h, 32, by < 16 ? (uint16_t)(a.h[i] << by) : 0)
DEFINE(srli_epi16, h, 32, by < 16 ? (uint16_t)(a.h[i] >> by) : 0)
#undef DEFINE

/* ---- masks ---- */
EMULATED __mmask16 e_cmp_ps_mask(__m512 left, __m512 right, int how) {
    e_lanes a = { left }, b = { right };
    unsigned k = 0;
    LANES_OF(16) {
        bool is = how == _CMP_GT_OQ     ? a.f[i] > b.f[i]
                  : how == _CMP_LT_OQ   ? a.f[i] < b.f[i]
                  : how == _CMP_EQ_OQ   ? a.f[i] == b.f[i]
                  : how == _CMP_UNORD_Q ? a.f[i] != a.f[i] || b.f[i] != b.f[i]
                                        : (__builtin_trap(), false);
        k |= (unsigned)is << i;
    }
    return (__mmask16)k;
}
EMULATED __mmask16 e_mask_cmplt_epi32_mask(__mmask16 of, __m512i left, __m512i right) {
    e_lanes a = { .si = left }, b = { .si = right };
    unsigned k = 0;
    LANES_OF(16) k |= (unsigned)(a.i[i] < b.i[i]) << i;
    return (__mmask16)(k & of);
}
EMULATED __mmask16 e_cmple_epi32_mask(__m512i a, __m512i b) {
    return (__mmask16)~e_mask_cmplt_epi32_mask(0xFFFF, b, a);
}
EMULATED __m512 e_mask_blend_ps(__mmask16 k, __m512 without, __m512 with) {
    e_lanes a = { without }, b = { with };
    LANES_OF(16) if (k >> i & 1) a.u[i] = b.u[i];
    return a.ps;
}
EMULATED __m512 e_mask_mov_ps(__m512 from, __mmask16 k, __m512 v) {
    return e_mask_blend_ps(k, from, v);
}
EMULATED __m512i e_mask_or_epi32(__m512i from, __mmask16 k, __m512i left, __m512i right) {
    e_lanes r = { .si = from }, a = { .si = left }, b = { .si = right };
    LANES_OF(16) if (k >> i & 1) r.u[i] = a.u[i] | b.u[i];
    return r.si;
}

/* ---- reductions: the upper half onto the lower one, again and again ---- */
#define DEFINE(name, type, member, element, lane, lanes_of, left_right)                            \
    EMULATED element e_##name(type v) {                                                            \
        e_lanes a = { .member = v };                                                               \
        for (int n = lanes_of / 2; n; n /= 2)                                                      \
            for (int i = 0; i < n; i++) {                                                          \
                element left = a.lane[i], right = a.lane[i + n];                                   \
                a.lane[i] = left_right;                                                            \
            }                                                                                      \
        return a.lane[0];                                                                          \
    }
DEFINE(reduce_add_ps, __m512, ps, float, f, 16, left + right)
DEFINE(reduce_max_ps, __m512, ps, float, f, 16, left > right ? left : right)
DEFINE(reduce_add_pd, __m512d, pd, double, d, 8, left + right)
DEFINE(reduce_add_epi32, __m512i, si, int32_t, i, 16, (int32_t)((uint32_t)left + (uint32_t)right))
DEFINE(reduce_max_epi32, __m512i, si, int32_t, i, 16, left > right ? left : right)
#undef DEFINE

/* ---- bfloat16: denormal numbers are zero going in and coming out ---- */
EMULATED float e_flushed(uint32_t u) {
    float f;
    if (!(u & 0x7F800000)) u &= 0x80000000;
    memcpy(&f, &u, 4);
    return f;
}
EMULATED float e_bf16_fma(uint16_t a, uint16_t b, float c) {
    e_lanes r = { { 0 } };
    r.f[0] = __builtin_fmaf(e_flushed((uint32_t)a << 16), e_flushed((uint32_t)b << 16), c);
    return e_flushed(r.u[0]);
}
EMULATED __m512 e_dpbf16_ps(__m512 sum, __m512bh left, __m512bh right) {
    e_lanes s = { sum }, a = { .bh = left }, b = { .bh = right };
    LANES_OF(16) {
        s.f[i] = e_bf16_fma(a.h[2 * i + 1], b.h[2 * i + 1], e_flushed(s.u[i]));
        s.f[i] = e_bf16_fma(a.h[2 * i], b.h[2 * i], s.f[i]);
    }
    return s.ps;
}
EMULATED __m256bh e_cvtneps_pbh(__m512 v) {
    e_lanes a = { v }, r;
    LANES_OF(16) {
        uint32_t u = a.u[i];
        if ((u & 0x7FFFFFFF) > 0x7F800000)
            u |= 0x400000;
        else if (!(u & 0x7F800000))
            u &= 0x80000000;
        else
            u += 0x7FFF + (u >> 16 & 1);
        r.h[i] = (uint16_t)(u >> 16);
    }
    return r.half_bh[0];
}

/* ---- int8 and int16 products of four and two, added to 32 bits ---- */
EMULATED int32_t e_four(int32_t sum, const uint8_t *a, const int8_t *b) {
    for (int j = 0; j < 4; j++) sum = (int32_t)((uint32_t)sum + (uint32_t)(a[j] * b[j]));
    return sum;
}
EMULATED __m512i e_dpbusd_epi32(__m512i sum, __m512i left, __m512i right) {
    e_lanes s = { .si = sum }, a = { .si = left }, b = { .si = right };
    LANES_OF(16) s.i[i] = e_four(s.i[i], a.b + 4 * i, b.c + 4 * i);
    return s.si;
}
EMULATED __m256i e256_dpbusd_epi32(__m256i sum, __m256i left, __m256i right) {
    e_lanes s = { .half = { sum } }, a = { .half = { left } }, b = { .half = { right } };
    LANES_OF(8) s.i[i] = e_four(s.i[i], a.b + 4 * i, b.c + 4 * i);
    return s.half[0];
}
EMULATED __m512i e_dpwssd_epi32(__m512i sum, __m512i left, __m512i right) {
    return e_add_epi32(sum, e_madd_epi16(left, right));
}
EMULATED __m512i e_maddubs_epi16(__m512i left, __m512i right) {
    e_lanes a = { .si = left }, b = { .si = right };
    LANES_OF(2) a.half[i] = _mm256_maddubs_epi16(a.half[i], b.half[i]);
    return a.si;
}

/* ---- in the place of the compiler's ---- */
#undef _mm512_cmp_ps_mask
#undef _mm512_cmple_epi32_mask
#undef _mm512_cvtps_ph
#undef _mm512_extractf32x8_ps
#undef _mm512_extracti64x4_epi64
#undef _mm512_inserti64x4
#undef _mm512_mask_cmplt_epi32_mask
#undef _mm512_roundscale_ps
#undef _mm512_setr_epi32
#undef _mm512_shuffle_f32x4
#undef _mm512_shuffle_ps
#undef _mm512_slli_epi16
#undef _mm512_slli_epi32
#undef _mm512_srli_epi16
#undef _mm512_srli_epi32
#define _mm512_abs_epi8 e_abs_epi8
#define _mm512_add_epi16 e_add_epi16
#define _mm512_add_epi32 e_add_epi32
#define _mm512_add_epi8 e_add_epi8
#define _mm512_add_pd e_add_pd
#define _mm512_add_ps e_add_ps
#define _mm512_and_ps e_and_ps
#define _mm512_and_si512 e_and_si512
#define _mm512_andnot_ps e_andnot_ps
#define _mm512_andnot_si512 e_andnot_si512
#define _mm512_broadcast_i32x4 e_broadcast_i32x4
#define _mm512_broadcast_i64x4 e_broadcast_i64x4
#define _mm512_broadcastd_epi32 e_broadcastd_epi32
#define _mm512_castps512_ps256 e_castps512_ps256
#define _mm512_castps_si512 e_castps_si512
#define _mm512_castsi128_si512 e_castsi128_si512
#define _mm512_castsi256_si512 e_castsi256_si512
#define _mm512_castsi512_ps e_castsi512_ps
#define _mm512_castsi512_si256 e_castsi512_si256
#define _mm512_cmp_ps_mask e_cmp_ps_mask
#define _mm512_cmple_epi32_mask e_cmple_epi32_mask
#define _mm512_cvtepi16_epi8 e_cvtepi16_epi8
#define _mm512_cvtepi32_epi16 e_cvtepi32_epi16
#define _mm512_cvtepi32_epi8 e_cvtepi32_epi8
#define _mm512_cvtepi32_ps e_cvtepi32_ps
#define _mm512_cvtepi8_epi16 e_cvtepi8_epi16
#define _mm512_cvtepi8_epi32 e_cvtepi8_epi32
#define _mm512_cvtepu16_epi32 e_cvtepu16_epi32
#define _mm512_cvtepu8_epi16 e_cvtepu8_epi16
#define _mm512_cvtepu8_epi32 e_cvtepu8_epi32
#define _mm512_cvtneps_pbh e_cvtneps_pbh
#define _mm512_cvtph_ps e_cvtph_ps
#define _mm512_cvtps_epi32 e_cvtps_epi32
#define _mm512_cvtps_pd e_cvtps_pd
#define _mm512_cvtps_ph e_cvtps_ph
#define _mm512_dpbf16_ps e_dpbf16_ps
#define _mm512_dpbusd_epi32 e_dpbusd_epi32
#define _mm512_dpwssd_epi32 e_dpwssd_epi32
#define _mm512_extractf32x8_ps e_extractf32x8_ps
#define _mm512_extracti64x4_epi64 e_extracti64x4_epi64
#define _mm512_fmadd_pd e_fmadd_pd
#define _mm512_fmadd_ps e_fmadd_ps
#define _mm512_fnmadd_ps e_fnmadd_ps
#define _mm512_inserti64x4 e_inserti64x4
#define _mm512_loadu_epi16 e_loadu_epi16
#define _mm512_loadu_epi32 e_loadu_epi32
#define _mm512_loadu_epi8 e_loadu_epi8
#define _mm512_loadu_ps e_loadu_ps
#define _mm512_madd_epi16 e_madd_epi16
#define _mm512_maddubs_epi16 e_maddubs_epi16
#define _mm512_mask_blend_ps e_mask_blend_ps
#define _mm512_mask_cmplt_epi32_mask e_mask_cmplt_epi32_mask
#define _mm512_mask_loadu_epi16 e_mask_loadu_epi16
#define _mm512_mask_loadu_epi32 e_mask_loadu_epi32
#define _mm512_mask_loadu_epi8 e_mask_loadu_epi8
#define _mm512_mask_loadu_ps e_mask_loadu_ps
#define _mm512_mask_mov_ps e_mask_mov_ps
#define _mm512_mask_or_epi32 e_mask_or_epi32
#define _mm512_mask_storeu_epi16 e_mask_storeu_epi16
#define _mm512_mask_storeu_epi32 e_mask_storeu_epi32
#define _mm512_mask_storeu_epi8 e_mask_storeu_epi8
#define _mm512_mask_storeu_ps e_mask_storeu_ps
#define _mm512_maskz_loadu_epi16 e_maskz_loadu_epi16
#define _mm512_maskz_loadu_epi32 e_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi8 e_maskz_loadu_epi8
#define _mm512_maskz_loadu_ps e_maskz_loadu_ps
#define _mm512_max_epi32 e_max_epi32
#define _mm512_max_ps e_max_ps
#define _mm512_min_epi32 e_min_epi32
#define _mm512_min_ps e_min_ps
#define _mm512_mul_ps e_mul_ps
#define _mm512_mullo_epi32 e_mullo_epi32
#define _mm512_or_ps e_or_ps
#define _mm512_or_si512 e_or_si512
#define _mm512_permutex2var_ps e_permutex2var_ps
#define _mm512_permutexvar_epi16 e_permutexvar_epi16
#define _mm512_permutexvar_epi32 e_permutexvar_epi32
#define _mm512_reduce_add_epi32 e_reduce_add_epi32
#define _mm512_reduce_add_pd e_reduce_add_pd
#define _mm512_reduce_add_ps e_reduce_add_ps
#define _mm512_reduce_max_epi32 e_reduce_max_epi32
#define _mm512_reduce_max_ps e_reduce_max_ps
#define _mm512_roundscale_ps e_roundscale_ps
#define _mm512_set1_epi16 e_set1_epi16
#define _mm512_set1_epi32 e_set1_epi32
#define _mm512_set1_epi64 e_set1_epi64
#define _mm512_set1_epi8 e_set1_epi8
#define _mm512_set1_pd e_set1_pd
#define _mm512_set1_ps e_set1_ps
#define _mm512_setr_epi32 e_setr_epi32
#define _mm512_setzero_pd e_setzero_pd
#define _mm512_setzero_ps e_setzero_ps
#define _mm512_setzero_si512 e_setzero_si512
#define _mm512_shuffle_epi8 e_shuffle_epi8
#define _mm512_shuffle_f32x4 e_shuffle_f32x4
#define _mm512_shuffle_ps e_shuffle_ps
#define _mm512_slli_epi16 e_slli_epi16
#define _mm512_slli_epi32 e_slli_epi32
#define _mm512_sllv_epi32 e_sllv_epi32
#define _mm512_sllv_epi64 e_sllv_epi64
#define _mm512_srli_epi16 e_srli_epi16
#define _mm512_srli_epi32 e_srli_epi32
#define _mm512_srlv_epi16 e_srlv_epi16
#define _mm512_srlv_epi32 e_srlv_epi32
#define _mm512_srlv_epi64 e_srlv_epi64
#define _mm512_storeu_epi16 e_storeu_epi16
#define _mm512_storeu_epi32 e_storeu_epi32
#define _mm512_storeu_epi8 e_storeu_epi8
#define _mm512_storeu_ps e_storeu_ps
#define _mm512_sub_epi16 e_sub_epi16
#define _mm512_sub_epi32 e_sub_epi32
#define _mm512_sub_epi8 e_sub_epi8
#define _mm512_sub_pd e_sub_pd
#define _mm512_sub_ps e_sub_ps
#define _mm512_unpackhi_epi16 e_unpackhi_epi16
#define _mm512_unpackhi_epi8 e_unpackhi_epi8
#define _mm512_unpackhi_ps e_unpackhi_ps
#define _mm512_unpacklo_epi16 e_unpacklo_epi16
#define _mm512_unpacklo_epi8 e_unpacklo_epi8
#define _mm512_unpacklo_ps e_unpacklo_ps
#define _mm512_xor_ps e_xor_ps
#define _mm512_xor_si512 e_xor_si512
#define _mm512_loadu_si512 e_loadu_epi32
#define _mm512_storeu_si512 e_storeu_epi32
#define _mm256_mask_storeu_epi8 e256_mask_storeu_epi8
#define _mm256_mask_storeu_epi16 e256_mask_storeu_epi16
#define _mm256_maskz_loadu_epi16 e256_maskz_loadu_epi16
#define _mm_maskz_loadu_epi8 e128_maskz_loadu_epi8
#undef _mm256_dpbusd_epi32
#define _mm256_dpbusd_epi32 e256_dpbusd_epi32
#define _mm256_dpbusd_avx_epi32 e256_dpbusd_epi32

#endif
