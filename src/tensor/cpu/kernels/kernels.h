/* SPDX-License-Identifier: MIT */
/* The kernel table of the CPU backend: what one thread does with plain arrays. kernels_scalar.c
 * fills every entry, the files of the instruction sets override those they do better. Kernels check
 * nothing and know no tensors. `const void *` marks data of any alignment (mapped files); `float *`
 * is aligned to 4 bytes. Lengths are in elements, strides in elements too unless their name says
 * bytes. The files of the instruction sets include this page and intrinsics only, so that no
 * function compiled for a newer CPU can be linked into baseline code. */
#ifndef VLM_CPU_KERNELS_H
#define VLM_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/cpu/attention/kernels_attention.h"

enum {
    VCPU_DOT_ROWS = 4, /* rows that a dot kernel takes at once */
    VCPU_MAX_MR = 16,  /* largest tile of any instruction set */
    VCPU_MAX_NR = 64,
    VCPU_N_ACTIVATIONS = 5 /* of vlm_activation, in its order */
};

/* y[r][o] = Σ_k x[r][k] w[o][k] for rows <= VCPU_DOT_ROWS. A result depends on its own row of x and
 * of w only, not on how many there are. @param x float32, or bfloat16 where the entry says so */
typedef void vcpu_dot(float *y, size_t y_row, const void *x, size_t x_row, int rows, const void *w,
                      size_t w_row_bytes, size_t outs, size_t k);

/* c[r][o] = init[r][o] + Σ_k a(r, k) b[k][o] for a tile of mr × nr. The products are summed before
 * init is added. Elements of a and b are 32 bits wide: float32, or pairs of bfloat16 along k. */
typedef void vcpu_tile(float *c, size_t c_row, const float *init, size_t init_row, const void *a,
                       size_t a_row, size_t a_k, const void *b, size_t b_k, size_t k);

/* A tile kernel and the sizes it wants. */
typedef struct vcpu_gemm {
    int mr, nr;
    size_t kc; /* elements of k (a pair counts 1) whose panel of b stays in the first-level cache */
    vcpu_tile *tile;
} vcpu_gemm;

/* ---- quantized weights times integers ---- */
/* Numbers that scales are stored as. */
typedef enum vcpu_number { VCPU_F32, VCPU_BF16, VCPU_F16, VCPU_E8M0, VCPU_E4M3 } vcpu_number;
static inline __attribute__((always_inline)) size_t vcpu_number_size(vcpu_number type) {
    return type == VCPU_F32 ? 4 : type >= VCPU_E8M0 ? 1 : 2;
}

/* Rows of a quantized matrix as they lie in a file: value = scale * q + bias, with a scale and a
 * bias for every `group` values and q as stored: `bits` wide and unsigned, or, for e2m1, twice the
 * number that four bits stand for, an integer again. */
typedef struct vcpu_quants {
    const char *data, *scales, *biases; /* biases NULL: zero */
    size_t row_bytes, scale_row_bytes, bias_row_bytes;
    vcpu_number scale_type, bias_type;
    float factor; /* of every scale that is e8m0 or e4m3 */
    int bits;
    bool e2m1;
    size_t group;
    const char *end; /* of data: nothing behind it is read */
} vcpu_quants;

/* Rows of x as integers of 16 bits or bytes: x = q * scale, with a scale for every group of the
 * weights, and the sum of each group's q * scale. Rows of q are `row` integers apart, a multiple of
 * 64; rows of scales and sums `group_row`, a multiple of 16; what is too much is zero. */
typedef struct vcpu_ints {
    const void *q;
    const float *scales, *sums;
    size_t row, group_row;
} vcpu_ints;

/* Values of x below this may count as zero: their scale would not be a normal number. */
#define VCPU_LEAST_ACTIVATION 0x1p-100f

/* One row of x as integers, in the order in which the dot kernel of so many bits takes them. Groups
 * that hold what is not finite get NaN for their scale and sum.
 * @param q [n rounded up to 64] @param scales,sums [n / group rounded up to 16] */
typedef void vcpu_quantize(int16_t *q, float *scales, float *sums, const float *x, size_t n,
                           size_t group, int bits);

/* The same as bytes in [-127, 127], in order, or as dot_nibbles takes them. @param q [n rounded up
 * to 64] */
typedef void vcpu_quantize8(int8_t *q, float *scales, float *sums, const float *x, size_t n,
                            size_t group);

/* y[r][o] = Σ_k x[r][k] w[o][k] for rows <= VCPU_DOT_ROWS; as vcpu_dot. */
typedef void vcpu_dot_quants(float *y, size_t y_row, const vcpu_ints *x, int rows,
                             const vcpu_quants *w, size_t outs, size_t k);

/* n numbers as floats, and eight zeros behind them. */
typedef void vcpu_numbers(float *to, const char *p, size_t n, vcpu_number type, float factor);

/* Integers [start, start + n) of a row of W, in order: 16 bits wide. start and n are multiples of
 * 16; start of 32 when there are fewer than eight bits, but not four. */
typedef void vcpu_unpack16(int16_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n);

/* The same as unsigned bytes; for e2m1, 12 more than the integers. */
typedef void vcpu_unpack8(uint8_t *to, const vcpu_quants *w, size_t row, size_t start, size_t n);

/* A tile of mr × nr over some groups: c += Σ_g scales of both * (Σ_k a(k, r) b(k, o)) + bias * sum.
 * Elements of a and b are 32 bits wide: pairs of 16-bit integers, or quads of bytes, along k. */
typedef struct vcpu_int_tile {
    float *c;
    size_t c_row;
    const void *a, *b;                /* [groups * depth][mr], [groups * depth][nr] */
    const float *x_scales, *x_sums;   /* [groups][mr] */
    const float *w_scales, *w_biases; /* [groups][nr] */
    size_t groups, depth;             /* elements of a group */
} vcpu_int_tile;

typedef struct vcpu_int_gemm {
    int mr, nr;
    size_t kc; /* elements along k of a panel of b */
    void (*tile)(const vcpu_int_tile *t);
} vcpu_int_gemm;

/* A piece of a row of a quantized matrix, from the beginning of a group: codes, the lowest bits
 * first, and a scale for each group. value = code * scale + bias for integers, rounded after each of
 * the two; element * scale for floats. */
typedef enum vcpu_codes { VCPU_CODES_INTEGER, VCPU_CODES_E2M1, VCPU_CODES_E4M3 } vcpu_codes;
typedef struct vcpu_packed {
    vcpu_codes codes;
    int bits; /* integers: 2, 3, 4, 5, 6, 8 */
    size_t group;
    const void *data;
    const float *scales, *biases; /* [groups]; biases: integers only */
} vcpu_packed;

typedef struct vcpu_kernels {
    const char *name;

    void (*widen_bf16)(float *y, const void *x, size_t n);
    void (*widen_f16)(float *y, const void *x, size_t n);
    void (*narrow_bf16)(void *y, const float *x, size_t n); /* to nearest even */
    void (*narrow_f16)(void *y, const float *x, size_t n);

    /* The first n values, n a multiple of 8; the same bits on every CPU, but for those of NaNs */
    void (*unpack)(float *y, const vcpu_packed *from, size_t n);

    void (*add)(float *x, const float *y, size_t n);
    void (*mul)(float *x, const float *y, size_t n);
    /* y = init + Σ_k w[k] * x[k], rows of n; init NULL: zeros */
    void (*sum_products)(float *y, const float *init, const float *const *x, const float *const *w,
                         size_t rows, size_t n);
    void (*scale)(float *x, float factor, size_t n);
    void (*softcap)(float *x, float cap, size_t n);
    void (*activation[VCPU_N_ACTIVATIONS])(float *x, size_t n);

    double (*sum)(const float *x, size_t n);
    double (*sum_squares)(const float *x, double mean, size_t n); /* Σ (x - mean)² */
    /* y = (x - mean) * rstd * (offset + w) + b; w, b may be NULL */
    void (*normalise)(float *y, const float *x, const float *w, const float *b, float mean,
                      float rstd, float offset, size_t n);
    /* (a, b) = (a cos - b sin, b cos + a sin) */
    void (*rotate)(float *a, float *b, const float *cos, const float *sin, size_t n);

    vcpu_dot *dot_f32, *dot_bf16, *dot_f16; /* w of that type, x float32 */
    vcpu_dot *dot_bf16_pairs;               /* w and x bfloat16; NULL without hardware for it */

    vcpu_gemm gemm_f32;
    vcpu_gemm gemm_bf16; /* pairs, packed operands only; tile NULL without hardware for it */
    /* y[i][r] = x[r][i] for 32-bit elements; rows beyond `rows` up to width are zero */
    void (*pack)(void *y, size_t width, const void *x, size_t x_row_bytes, size_t rows, size_t n);
    /* the same, x being widened to float32 */
    void (*pack_bf16)(void *y, size_t width, const void *x, size_t x_row_bytes, size_t rows,
                      size_t n);
    void (*pack_f16)(void *y, size_t width, const void *x, size_t x_row_bytes, size_t rows,
                     size_t n);

    vcpu_quantize *quantize16;
    vcpu_dot_quants *dot_quants;
    vcpu_numbers *numbers;
    vcpu_unpack16 *unpack16;
    vcpu_int_gemm gemm_int16; /* pairs */
    vcpu_quantize8 *quantize8;
    vcpu_unpack8 *unpack8;
    vcpu_int_gemm gemm_int8; /* quads: x signed, w unsigned */
    bool prefers_int8;       /* quads are faster here than pairs */

    /* Weights of four bits and bytes of x, where that is faster than the above; else NULL */
    vcpu_quantize8 *quantize_nibbles;
    vcpu_dot_quants *dot_nibbles;
    vcpu_int_gemm gemm_nibbles; /* quads: x signed, w below 25, in groups of 64 or more below 16 */

    vcpu_attention_kernels attention;
} vcpu_kernels;

/* The table for a CPU of these flags (vcore_cpu_flag); without those whose kernels are slower than
 * what they would replace: vcpu_worthwhile(flags). */
void vcpu_kernels_fill(vcpu_kernels *k, unsigned flags);
unsigned vcpu_worthwhile(unsigned flags);

void vcpu_kernels_scalar(vcpu_kernels *k);
void vcpu_unpack_scalar(float *y, const vcpu_packed *from, size_t n); /* unpack.c */
void vcpu_kernels_quantized(vcpu_kernels *k);
#if defined(__x86_64__)
void vcpu_kernels_avx2(vcpu_kernels *k);
void vcpu_unpack_avx2(float *y, const vcpu_packed *from, size_t n); /* unpack_avx2.c */
void vcpu_kernels_quantized_avx2(vcpu_kernels *k);
void vcpu_kernels_nibbles_avx2(vcpu_kernels *k);
void vcpu_kernels_quantized_avx512vnni(vcpu_kernels *k);
void vcpu_kernels_avx512(vcpu_kernels *k);
void vcpu_kernels_avx512bf16(vcpu_kernels *k);
#elif defined(__aarch64__)
void vcpu_kernels_neon(vcpu_kernels *k);
void vcpu_kernels_neonbf16(vcpu_kernels *k);
void vcpu_kernels_quantized_neon(vcpu_kernels *k);
void vcpu_kernels_quantized_neondot(vcpu_kernels *k); /* its extensions */
#endif

#endif
