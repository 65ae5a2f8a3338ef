/* SPDX-License-Identifier: MIT */
/* Kernels for AVX2 with FMA and F16C: vectors of eight floats. */
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/simd_x86.h"

enum { LANES = 8, TILE_MR = 6, TILE_NV = 2, TILE_KC = 256, DOT_OUTS = 2, PREFETCH_BYTES = 1024,
       SCORE_KEYS_8 = 1, SCORE_KEYS_4 = 2, MIX_VECTORS_8 = 1, MIX_VECTORS = 3 };
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define UNROLL_K _Pragma("GCC unroll 4")

typedef __m256 vf;
typedef __m256 vm;

static inline vf vf_zero(void) {
    return _mm256_setzero_ps();
}
static inline vf vf_set1(float f) {
    return _mm256_set1_ps(f);
}
static inline vf vf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline void vf_store(float *p, vf v) {
    _mm256_storeu_ps(p, v);
}
static inline __m256i first_lanes(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf vf_load_n(const float *p, size_t n) {
    return _mm256_maskload_ps(p, first_lanes(n));
}
static inline void vf_store_n(float *p, vf v, size_t n) {
    _mm256_maskstore_ps(p, first_lanes(n), v);
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c) {
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
static inline vf vf_abs(vf v) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
}
static inline vf vf_copysign(vf v, vf sign) {
    vf bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, v), _mm256_and_ps(bit, sign));
}
static inline vm vf_gt(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
static inline vf vf_select(vm mask, vf a, vf b) {
    return _mm256_blendv_ps(b, a, mask);
}
static inline vm vf_in(int32_t j, const int32_t *lo, const int32_t *hi) {
    __m256i at = _mm256_set1_epi32(j);
    __m256i below = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(const void *)lo), at);
    __m256i inside = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(const void *)hi), at);
    return _mm256_castsi256_ps(_mm256_andnot_si256(below, inside));
}
static inline vf vf_round(vf v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_exp2i(vf n) {
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
static inline float vf_sum(vf v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_greatest(vf v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static inline vf vf_bf16(const void *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline vf vf_f16(const void *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}
static inline void vf_to_f16(void *p, vf v) {
    _mm_storeu_si128(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* To nearest even; NaN keeps its upper bits and is made quiet. */
static inline void vf_to_bf16(void *p, vf v) {
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i r = _mm256_srli_epi32(_mm256_blendv_epi8(up, nan, is_nan), 16);
    r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0xD8);
    _mm_storeu_si128(p, _mm256_castsi256_si128(r));
}

/* ---- for attention ---- */
static inline vf vf_exponent(vf v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23));
}
static inline void vf_sums4(float *y, vf a, vf b, vf c, vf d) {
    sums4_of_eight(y, a, b, c, d);
}
static inline vf vf_bf16_even(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(p), 16));
}
static inline vf vf_bf16_odd(const void *p) {
    __m256i upper = _mm256_set1_epi32(-65536);
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(p), upper));
}
static inline __m256 quarters(__m256 v) { /* 64-bit quarters 0, 2, 1, 3 */
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xD8));
}
static inline void vf_split(vf lo, vf hi, vf *even, vf *odd) {
    *even = quarters(_mm256_shuffle_ps(lo, hi, 0x88));
    *odd = quarters(_mm256_shuffle_ps(lo, hi, 0xDD));
}
static inline void vf_zip(vf even, vf odd, vf *lo, vf *hi) {
    vf a = _mm256_unpacklo_ps(even, odd), b = _mm256_unpackhi_ps(even, odd);
    *lo = _mm256_permute2f128_ps(a, b, 0x20);
    *hi = _mm256_permute2f128_ps(a, b, 0x31);
}
static inline vf vf_u8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p)));
}
static inline vf vf_u4(const void *p) {
    __m256i eight = _mm256_broadcastd_epi32(_mm_loadu_si32(p));
    eight = _mm256_srlv_epi32(eight, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    return _mm256_cvtepi32_ps(_mm256_and_si256(eight, _mm256_set1_epi32(15)));
}
static inline void vf_scale_bias(const void *p, vf *scale, vf *bias) {
    __m256i both = _mm256_broadcastd_epi32(_mm_loadu_si32(p));
    *scale = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
    *bias = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(-65536)));
}

/* Sums in double: one vector for each half of a vector of floats. */
typedef struct vd {
    __m256d lo, hi;
} vd;

static inline vd vd_zero(void) {
    return (vd) { _mm256_setzero_pd(), _mm256_setzero_pd() };
}
static inline vd vd_add(vd s, vf x) {
    s.lo = _mm256_add_pd(s.lo, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    s.hi = _mm256_add_pd(s.hi, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
    return s;
}
static inline vd vd_square(vd s, vf x, double mean) {
    __m256d m = _mm256_set1_pd(mean);
    __m256d lo = _mm256_sub_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x)), m);
    __m256d hi = _mm256_sub_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)), m);
    s.lo = _mm256_fmadd_pd(lo, lo, s.lo);
    s.hi = _mm256_fmadd_pd(hi, hi, s.hi);
    return s;
}
static inline double vd_total(vd s) {
    __m256d v = _mm256_add_pd(s.lo, s.hi);
    __m128d h = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(h, _mm_unpackhi_pd(h, h)));
}

#include "tensor/cpu/kernels/simd_kernels.h"

/* ---- packing: 8 × 8 transposes ---- */
INLINE void transpose8(__m256 r[8]) {
    __m256 t[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        __m256 a = t[4 * i], b = t[4 * i + 1], c = t[4 * i + 2], d = t[4 * i + 3];
        r[4 * i] = _mm256_shuffle_ps(a, c, 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(a, c, 0xEE);
        r[4 * i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(b, d, 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) r[i] = t[i];
}

/* The first n <= 8 lanes, in pieces that cross no end. */
static inline void store_lanes(float *y, __m256 v, size_t n) {
    if (n == 8) {
        _mm256_storeu_ps(y, v);
        return;
    }
    __m128 part = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(y, part);
        y += 4;
        part = _mm256_extractf128_ps(v, 1);
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)y, part);
        y += 2;
        part = _mm_movehl_ps(part, part);
    }
    if (n & 1) _mm_store_ss(y, part);
}

/* Up to 8 rows and 8 columns; rows that are not there are zero. */
#define DEFINE_PACK(name, size, load, load_n)                                                      \
    INLINE void square_##name(float *y, size_t width, size_t lanes, const char *x,                 \
                              size_t x_row_bytes, size_t rows, size_t columns) {                   \
        __m256 r[8];                                                                               \
        for (size_t i = 0; i < 8; i++) {                                                           \
            const void *row = x + i * x_row_bytes;                                                 \
            if (i >= rows)                                                                         \
                r[i] = _mm256_setzero_ps();                                                        \
            else                                                                                   \
                r[i] = columns == 8 ? load(row) : load_n(row, columns);                            \
        }                                                                                          \
        transpose8(r);                                                                             \
        for (size_t i = 0; i < columns; i++) store_lanes(y + i * width, r[i], lanes);              \
    }                                                                                              \
    static void name(void *y, size_t width, const void *x, size_t x_row_bytes, size_t rows,        \
                     size_t n) {                                                                   \
        for (size_t r = 0; r < width; r += 8) {                                                    \
            size_t lanes = width - r < 8 ? width - r : 8, i = 0;                                   \
            size_t here = rows <= r ? 0 : rows - r < 8 ? rows - r : 8;                             \
            const char *from = (const char *)x + (here ? r * x_row_bytes : 0);                     \
            float *to = (float *)y + r;                                                            \
            for (; i + 8 <= n && here == 8; i += 8)                                                \
                square_##name(to + i * width, width, 8, from + size * i, x_row_bytes, 8, 8);       \
            for (; i < n; i += 8)                                                                  \
                square_##name(to + i * width, width, lanes, from + size * i, x_row_bytes, here,    \
                              n - i < 8 ? n - i : 8);                                              \
        }                                                                                          \
    }
DEFINE_PACK(pack, 4, vf_f32, load_n_f32)
DEFINE_PACK(pack_bf16, 2, vf_bf16, load_n_bf16)
DEFINE_PACK(pack_f16, 2, vf_f16, load_n_f16)

void vcpu_kernels_avx2(vcpu_kernels *k) {
    fill_simd(k);
    k->name = "avx2";
    k->pack = pack;
    k->pack_bf16 = pack_bf16;
    k->pack_f16 = pack_f16;
    k->unpack = vcpu_unpack_avx2;
}
