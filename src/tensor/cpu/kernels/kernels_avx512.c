/* SPDX-License-Identifier: MIT */
/* Kernels for AVX-512 (F, BW, VL, DQ): vectors of sixteen floats. What is not overridden stays
 * AVX2's. */
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/simd_x86.h"

enum { LANES = 16, TILE_MR = 14, TILE_NV = 2, TILE_KC = 256, DOT_OUTS = 4, PREFETCH_BYTES = 1024,
       SCORE_KEYS_8 = 2, SCORE_KEYS_4 = 4, MIX_VECTORS_8 = 2, MIX_VECTORS = 4 };
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define UNROLL_K _Pragma("GCC unroll 2")

typedef __m512 vf;
typedef __mmask16 vm;

static inline vf vf_zero(void) {
    return _mm512_setzero_ps();
}
static inline vf vf_set1(float f) {
    return _mm512_set1_ps(f);
}
static inline vf vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf v) {
    _mm512_storeu_ps(p, v);
}
static inline __mmask16 first_lanes(size_t n) {
    return (__mmask16)((1u << n) - 1);
}
static inline vf vf_load_n(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
static inline void vf_store_n(float *p, vf v, size_t n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c) {
    return _mm512_fnmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
static inline vf vf_abs(vf v) {
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), v);
}
static inline vf vf_copysign(vf v, vf sign) {
    vf bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, v), _mm512_and_ps(bit, sign));
}
static inline vm vf_gt(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
static inline vf vf_select(vm mask, vf a, vf b) {
    return _mm512_mask_blend_ps(mask, b, a);
}
static inline vm vf_in(int32_t j, const int32_t *lo, const int32_t *hi) {
    __m512i at = _mm512_set1_epi32(j);
    vm from = _mm512_cmple_epi32_mask(_mm512_loadu_si512(lo), at);
    return _mm512_mask_cmplt_epi32_mask(from, at, _mm512_loadu_si512(hi));
}
static inline vf vf_round(vf v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_exp2i(vf n) {
    __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}
static inline float vf_sum(vf v) {
    return _mm512_reduce_add_ps(v);
}
static inline float vf_greatest(vf v) {
    return _mm512_reduce_max_ps(v);
}

static inline vf vf_bf16(const void *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline vf vf_f16(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
static inline void vf_to_f16(void *p, vf v) {
    _mm256_storeu_si256(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* To nearest even; NaN keeps its upper bits and is made quiet. */
static inline void vf_to_bf16(void *p, vf v) {
    __m512i u = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    vm is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, is_nan, u, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16)));
}

/* ---- for attention ---- */
static inline vf vf_exponent(vf v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23));
}
static inline __m256 halves(vf v) {
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}
static inline void vf_sums4(float *y, vf a, vf b, vf c, vf d) {
    sums4_of_eight(y, halves(a), halves(b), halves(c), halves(d));
}
static inline vf vf_bf16_even(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
static inline vf vf_bf16_odd(const void *p) {
    __m512i upper = _mm512_set1_epi32(-65536);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), upper));
}
static inline void vf_split(vf lo, vf hi, vf *even, vf *odd) {
    __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(lo, from, hi);
    *odd = _mm512_permutex2var_ps(lo, _mm512_add_epi32(from, _mm512_set1_epi32(1)), hi);
}
static inline void vf_zip(vf even, vf odd, vf *lo, vf *hi) {
    __m512i from = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *lo = _mm512_permutex2var_ps(even, from, odd);
    *hi = _mm512_permutex2var_ps(even, _mm512_add_epi32(from, _mm512_set1_epi32(8)), odd);
}
static inline vf vf_u8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p)));
}
static inline vf vf_u4(const void *p) {
    __m512i lanes = _mm512_castsi128_si512(_mm_loadl_epi64(p));
    __m512i word = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512i shift = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    lanes = _mm512_srlv_epi32(_mm512_permutexvar_epi32(word, lanes), shift);
    return _mm512_cvtepi32_ps(_mm512_and_si512(lanes, _mm512_set1_epi32(15)));
}
static inline void vf_scale_bias(const void *p, vf *scale, vf *bias) {
    __m512i both = _mm512_broadcastd_epi32(_mm_loadu_si32(p));
    *scale = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    *bias = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-65536)));
}

/* Sums in double: one vector for each half of a vector of floats. */
typedef struct vd {
    __m512d lo, hi;
} vd;

static inline vd vd_zero(void) {
    return (vd) { _mm512_setzero_pd(), _mm512_setzero_pd() };
}
static inline vd vd_add(vd s, vf x) {
    s.lo = _mm512_add_pd(s.lo, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    s.hi = _mm512_add_pd(s.hi, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
    return s;
}
static inline vd vd_square(vd s, vf x, double mean) {
    __m512d m = _mm512_set1_pd(mean);
    __m512d lo = _mm512_sub_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), m);
    __m512d hi = _mm512_sub_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)), m);
    s.lo = _mm512_fmadd_pd(lo, lo, s.lo);
    s.hi = _mm512_fmadd_pd(hi, hi, s.hi);
    return s;
}
static inline double vd_total(vd s) {
    return _mm512_reduce_add_pd(_mm512_add_pd(s.lo, s.hi));
}

#include "tensor/cpu/kernels/simd_kernels.h"

void vcpu_kernels_avx512(vcpu_kernels *k) {
    fill_simd(k);
    k->name = "avx512";
}
