/* SPDX-License-Identifier: MIT */
/* Kernels for AArch64: vectors of four floats. Loads go through bytes where memory may be mapped.
 */
#include "tensor/cpu/kernels/kernels.h"

#include <arm_neon.h>

enum { LANES = 4, TILE_MR = 6, TILE_NV = 4, TILE_KC = 256, DOT_OUTS = 4, PREFETCH_BYTES = 1024,
       SCORE_KEYS_8 = 2, SCORE_KEYS_4 = 4, MIX_VECTORS_8 = 2, MIX_VECTORS = 4 };
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_K _Pragma("GCC unroll 4")

typedef float32x4_t vf;
typedef uint32x4_t vm;

static inline vf vf_zero(void) {
    return vdupq_n_f32(0);
}
static inline vf vf_set1(float f) {
    return vdupq_n_f32(f);
}
static inline vf vf_load(const void *p) {
    return vreinterpretq_f32_u8(vld1q_u8(p));
}
static inline void vf_store(float *p, vf v) {
    vst1q_f32(p, v);
}
static inline vf vf_load_n(const void *p, size_t n) {
    float f[4] = { 0 };
    __builtin_memcpy(f, p, 4);
    if (n > 1) __builtin_memcpy(f + 1, (const char *)p + 4, 4);
    if (n > 2) __builtin_memcpy(f + 2, (const char *)p + 8, 4);
    return vld1q_f32(f);
}
static inline void vf_store_n(float *p, vf v, size_t n) {
    vst1q_lane_f32(p, v, 0);
    if (n > 1) vst1q_lane_f32(p + 1, v, 1);
    if (n > 2) vst1q_lane_f32(p + 2, v, 2);
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return vfmaq_f32(c, a, b);
}
static inline vf vf_fnma(vf a, vf b, vf c) {
    return vfmsq_f32(c, a, b);
}
static inline vf vf_max(vf a, vf b) {
    return vmaxq_f32(a, b);
}
static inline vf vf_min(vf a, vf b) {
    return vminq_f32(a, b);
}
static inline vf vf_abs(vf v) {
    return vabsq_f32(v);
}
static inline vf vf_copysign(vf v, vf sign) {
    return vbslq_f32(vdupq_n_u32(0x80000000), sign, v);
}
static inline vm vf_gt(vf a, vf b) {
    return vcgtq_f32(a, b);
}
static inline vf vf_select(vm mask, vf a, vf b) {
    return vbslq_f32(mask, a, b);
}
static inline vm vf_in(int32_t j, const int32_t *lo, const int32_t *hi) {
    int32x4_t at = vdupq_n_s32(j);
    return vandq_u32(vcgeq_s32(at, vld1q_s32(lo)), vcltq_s32(at, vld1q_s32(hi)));
}
static inline vf vf_round(vf v) {
    return vrndnq_f32(v);
}
static inline vf vf_exp2i(vf n) {
    int32x4_t e = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(e, 23));
}
static inline float vf_sum(vf v) {
    return vaddvq_f32(v);
}
static inline float vf_greatest(vf v) {
    return vmaxvq_f32(v);
}

static inline vf vf_bf16(const void *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}
static inline vf vf_f16(const void *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}
static inline void vf_to_f16(void *p, vf v) {
    vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(v)));
}
/* To nearest even; NaN keeps its upper bits and is made quiet. */
static inline void vf_to_bf16(void *p, vf v) {
    uint32x4_t u = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    uint32x4_t up = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
    uint32x4_t nan = vorrq_u32(u, vdupq_n_u32(0x400000));
    uint32x4_t r = vbslq_u32(vceqq_f32(v, v), up, nan);
    vst1_u8(p, vreinterpret_u8_u16(vshrn_n_u32(r, 16)));
}

/* ---- for attention ---- */
static inline vf vf_exponent(vf v) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(v), 23));
}
static inline void vf_sums4(float *y, vf a, vf b, vf c, vf d) {
    vst1q_f32(y, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}
static inline void vf_turn4(float *y, size_t y_row, const float *x, size_t x_row) {
    float32x4x2_t ab = vtrnq_f32(vld1q_f32(x), vld1q_f32(x + x_row));
    float32x4x2_t cd = vtrnq_f32(vld1q_f32(x + 2 * x_row), vld1q_f32(x + 3 * x_row));
    vst1q_f32(y, vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])));
    vst1q_f32(y + y_row, vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])));
    vst1q_f32(y + 2 * y_row, vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])));
    vst1q_f32(y + 3 * y_row, vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1])));
}
static inline vf vf_bf16_even(const void *p) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u8(vld1q_u8(p)), 16));
}
static inline vf vf_bf16_odd(const void *p) {
    uint32x4_t upper = vdupq_n_u32(0xFFFF0000u);
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u8(vld1q_u8(p)), upper));
}
static inline void vf_split(vf lo, vf hi, vf *even, vf *odd) {
    *even = vuzp1q_f32(lo, hi);
    *odd = vuzp2q_f32(lo, hi);
}
static inline void vf_zip(vf even, vf odd, vf *lo, vf *hi) {
    *lo = vzip1q_f32(even, odd);
    *hi = vzip2q_f32(even, odd);
}
static inline vf vf_u8(const void *p) {
    uint32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    uint16x8_t wide = vmovl_u8(vcreate_u8(four));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
}
static inline vf vf_u4(const void *p) {
    static const int32_t down[] = { 0, -4, -8, -12 };
    uint16_t four;
    __builtin_memcpy(&four, p, sizeof four);
    uint32x4_t codes = vshlq_u32(vdupq_n_u32(four), vld1q_s32(down));
    return vcvtq_f32_u32(vandq_u32(codes, vdupq_n_u32(15)));
}
static inline void vf_scale_bias(const void *p, vf *scale, vf *bias) {
    uint32_t both;
    __builtin_memcpy(&both, p, sizeof both);
    *scale = vreinterpretq_f32_u32(vdupq_n_u32(both << 16));
    *bias = vreinterpretq_f32_u32(vdupq_n_u32(both & 0xFFFF0000u));
}

/* Sums in double: one vector for each half of a vector of floats. */
typedef struct vd {
    float64x2_t lo, hi;
} vd;

static inline vd vd_zero(void) {
    return (vd) { vdupq_n_f64(0), vdupq_n_f64(0) };
}
static inline vd vd_add(vd s, vf x) {
    s.lo = vaddq_f64(s.lo, vcvt_f64_f32(vget_low_f32(x)));
    s.hi = vaddq_f64(s.hi, vcvt_high_f64_f32(x));
    return s;
}
static inline vd vd_square(vd s, vf x, double mean) {
    float64x2_t m = vdupq_n_f64(mean);
    float64x2_t lo = vsubq_f64(vcvt_f64_f32(vget_low_f32(x)), m);
    float64x2_t hi = vsubq_f64(vcvt_high_f64_f32(x), m);
    s.lo = vfmaq_f64(s.lo, lo, lo);
    s.hi = vfmaq_f64(s.hi, hi, hi);
    return s;
}
static inline double vd_total(vd s) {
    return vaddvq_f64(vaddq_f64(s.lo, s.hi));
}

#include "tensor/cpu/kernels/simd_kernels.h"

/* ---- packing: 4 × 4 transposes ---- */
/* Rows that are not there are zero. */
INLINE void pack_square(uint32_t *y, size_t width, const char *x, size_t x_row_bytes, size_t rows) {
    uint32x4_t r[4];
    EACH (i, 4)
        r[i] = i < rows ? vreinterpretq_u32_u8(vld1q_u8((const uint8_t *)x + i * x_row_bytes))
                        : vdupq_n_u32(0);
    uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(r[0], r[1]));
    uint64x2_t b = vreinterpretq_u64_u32(vtrn2q_u32(r[0], r[1]));
    uint64x2_t c = vreinterpretq_u64_u32(vtrn1q_u32(r[2], r[3]));
    uint64x2_t d = vreinterpretq_u64_u32(vtrn2q_u32(r[2], r[3]));
    vst1q_u32(y, vreinterpretq_u32_u64(vtrn1q_u64(a, c)));
    vst1q_u32(y + width, vreinterpretq_u32_u64(vtrn1q_u64(b, d)));
    vst1q_u32(y + 2 * width, vreinterpretq_u32_u64(vtrn2q_u64(a, c)));
    vst1q_u32(y + 3 * width, vreinterpretq_u32_u64(vtrn2q_u64(b, d)));
}

/* What fills no square, an element at a time. */
static void pack_edge(uint32_t *y, size_t width, size_t lanes, const char *x, size_t x_row_bytes,
                      size_t rows, size_t columns) {
    for (size_t i = 0; i < columns; i++)
        for (size_t r = 0; r < lanes; r++) {
            uint32_t *to = y + i * width + r;
            *to = 0;
            if (r < rows) __builtin_memcpy(to, x + r * x_row_bytes + 4 * i, 4);
        }
}

static void pack(void *y, size_t width, const void *x, size_t x_row_bytes, size_t rows, size_t n) {
    for (size_t r = 0; r < width; r += 4) {
        size_t lanes = width - r < 4 ? width - r : 4, i = 0;
        size_t here = rows <= r ? 0 : rows - r < 4 ? rows - r : 4;
        const char *from = (const char *)x + (here ? r * x_row_bytes : 0);
        uint32_t *to = (uint32_t *)y + r;
        for (; lanes == 4 && i + 4 <= n; i += 4)
            pack_square(to + i * width, width, from + 4 * i, x_row_bytes, here);
        pack_edge(to + i * width, width, lanes, from + 4 * i, x_row_bytes, here, n - i);
    }
}

void vcpu_kernels_neon(vcpu_kernels *k) {
    fill_simd(k);
    k->name = "neon";
    k->pack = pack;
}
