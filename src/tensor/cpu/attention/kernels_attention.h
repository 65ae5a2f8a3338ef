/* SPDX-License-Identifier: MIT */
/* The kernels of attention, a part of the kernel table (kernels.h, whose rules hold here too):
 * scores of few queries, softmax, weighted sums of values, over keys and values of every type that
 * the state can have. */
#ifndef VLM_CPU_KERNELS_ATTENTION_H
#define VLM_CPU_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What keys and values are stored as. */
typedef enum vcpu_kv_type {
    VCPU_KV_F32,
    VCPU_KV_BF16,
    VCPU_KV_F16,
    VCPU_KV_U8, /* codes of 8 or 4 bits with a scale and a bias for each group */
    VCPU_KV_U4,
    VCPU_N_KV_TYPES
} vcpu_kv_type;

/* Keys or values of one head, one row below the other. A code stands for code * scale + bias; a
 * row of codes is as long as the next multiple of VCPU_KV_PAD values. */
enum { VCPU_KV_PAD = 16, VCPU_KV_GROUP = 64 /* the largest */ };
typedef struct vcpu_kv_rows {
    const char *data;
    size_t row_bytes;
    const char *scales; /* of each group two bfloat16: scale, bias */
    size_t scales_row_bytes;
    size_t group;       /* 32 or 64 */
} vcpu_kv_rows;

/* s[r][j] = Σ_d q[r][d] k[j][d]. A result does not depend on what other rows there are. */
typedef void vcpu_scores(float *s, size_t s_row, const float *q, size_t q_row, size_t rows,
                         const vcpu_kv_rows *k, size_t keys, size_t dim);

/* y[r][d] += Σ_j p[r][j] v[j][d], under the same rule. */
typedef void vcpu_mix(float *y, size_t y_row, const float *p, size_t p_row, size_t rows,
                      const vcpu_kv_rows *v, size_t keys, size_t dim);

/* y [dim] = row `row` of x as floats. */
typedef void vcpu_kv_widen(float *y, const vcpu_kv_rows *x, size_t row, size_t dim);

/* One block of scores, keys down and queries across: turns them into weights, online.
 * s [keys][s_row], m (running maximum), l (running sum), correction (by which what was summed
 * before must be multiplied): [queries]. lo, hi: the keys of this block that a query sees, [lo,
 * hi). */
typedef struct vcpu_softmax {
    float *s;
    size_t s_row, keys, queries; /* queries: a multiple of 16 */
    float scale, softcap;
    float *m, *l, *correction;
    const int32_t *lo, *hi;
    bool masked; /* false: every query sees every key */
} vcpu_softmax;

/* What the entries for pairs of bfloat16 take at most. */
enum { VCPU_PAIRS_ROWS = 32, VCPU_PAIRS_DIM = 512 };

typedef struct vcpu_attention_kernels {
    vcpu_scores *scores[VCPU_N_KV_TYPES];
    vcpu_mix *mix[VCPU_N_KV_TYPES];
    /* Of bfloat16, with queries and weights rounded to it; NULL without hardware for it. */
    vcpu_scores *scores_pairs;
    vcpu_mix *mix_pairs;
    vcpu_kv_widen *widen[VCPU_N_KV_TYPES];
    void (*softmax_block)(const vcpu_softmax *block);
    /* One query: s = 2^(s' - max) over [lo, hi), 0 elsewhere in [0, n), s' = capped scaled score
     * times log2 e. */
    void (*softmax_row)(float *s, size_t n, size_t lo, size_t hi, float scale, float softcap,
                        float *max, float *sum);
} vcpu_attention_kernels;

/* The entries of one type, from the functions of an instruction set that take the type first:
 * scores, mix, kv_widen. VCPU_DEFINE_KVS defines them for every type,
 * VCPU_KV_ENTRIES puts them into a table. */
#define VCPU_DEFINE_KV(name, type)                                                                 \
    static void scores_##name(float *s, size_t s_row, const float *q, size_t q_row, size_t rows,   \
                              const vcpu_kv_rows *k, size_t keys, size_t dim) {                    \
        scores(type, s, s_row, q, q_row, rows, k, keys, dim);                                      \
    }                                                                                              \
    static void mix_##name(float *y, size_t y_row, const float *p, size_t p_row, size_t rows,      \
                           const vcpu_kv_rows *v, size_t keys, size_t dim) {                       \
        mix(type, y, y_row, p, p_row, rows, v, keys, dim);                                         \
    }                                                                                              \
    static void kv_widen_##name(float *y, const vcpu_kv_rows *x, size_t row, size_t dim) {         \
        kv_widen(type, y, x, row, dim);                                                            \
    }
#define VCPU_DEFINE_KVS                                                                            \
    VCPU_DEFINE_KV(f32, VCPU_KV_F32)                                                               \
    VCPU_DEFINE_KV(bf16, VCPU_KV_BF16)                                                             \
    VCPU_DEFINE_KV(f16, VCPU_KV_F16)                                                               \
    VCPU_DEFINE_KV(u8, VCPU_KV_U8)                                                                 \
    VCPU_DEFINE_KV(u4, VCPU_KV_U4)
#define VCPU_KV_ENTRIES                                                                            \
    .scores = { scores_f32, scores_bf16, scores_f16, scores_u8, scores_u4 },                       \
    .mix = { mix_f32, mix_bf16, mix_f16, mix_u8, mix_u4 },                                         \
    .widen = { kv_widen_f32, kv_widen_bf16, kv_widen_f16, kv_widen_u8, kv_widen_u4 }

void vcpu_attention_kernels_scalar(vcpu_attention_kernels *k);
void vcpu_attention_kernels_avx512bf16(vcpu_attention_kernels *k);

#endif
