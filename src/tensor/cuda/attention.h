/* SPDX-License-Identifier: MIT */
/* What the kernels of attention share: the job as it lies on the device, and which keys a position sees. */
#ifndef VLM_CUDA_ATTENTION_H
#define VLM_CUDA_ATTENTION_H

#include "tensor/cuda/cuda.h"

struct vcuda_span {
    int64_t begin, end;
};
/* Keys and values of a segment: its rows of k and v, or the state; strides in elements. */
struct vcuda_segment {
    int64_t start, length, past, visible;
    const void *k, *v;
    int64_t k_row, k_head, v_row, v_head;
    int32_t type, stored, first_span, n_spans;
    int64_t first_laid; /* its first tile of keys, of those laid out for attention_wide.cu */
};
/* Rows, or keys, [first, first + those of a tile) of a segment, as far as it goes. */
struct vcuda_tile {
    int32_t segment, first;
};

struct vcuda_attention_args {
    const vcuda_segment *segments;
    const vcuda_span *spans;
    const vcuda_tile *tiles, *key_tiles;
    const int32_t *segment_of; /* [rows] */
    const void *q;             /* float32; of attention_tiles.cu's tiles bfloat16 [rows, heads, dim] */
    const float *k, *v;        /* of this call */
    void *laid;                /* of attention_wide.cu: [key tiles, key heads, keys and values] */
    void *y;                   /* float32, or bfloat16 */
    float *parts;              /* parts, counters: of attention_few.cu */
    int32_t *counters;
    const float *cos, *sin;    /* NULL: nothing is rotated */
    int64_t q_row, q_head, k_row, k_head, v_row, v_head, y_row, y_head;
    int64_t rows, heads, kv_heads, dim, n_tiles, n_key_tiles, window, splits, half, tile_rows;
    float scale, softcap;
    int32_t causal, state_type; /* state_type: of the keys and values of all segments */
    int32_t adjacent, window_in_spans;
    int32_t narrow, pad;       /* narrow: y is bfloat16 */
    int32_t aligned, fours;    /* aligned: rows and heads are whole fours; fours: so are halves, and pairs are (i, i + half) */
};
enum { VCUDA_KEYS = 64 }; /* of a tile */

/* The keys [lo, hi) that row i of a segment sees; always one run. */
__device__ static inline void vcuda_visible(const vcuda_attention_args &a, const vcuda_segment *s, int64_t i, int64_t *lo, int64_t *hi) {
    int64_t at = s->past + i, begin = 0, end = a.causal ? at + 1 : s->past + s->length;
    if (a.window > 0 && at >= a.window) begin = at - a.window + 1;
    for (int n = 0; n < s->n_spans; n++) {
        vcuda_span span = a.spans[s->first_span + n];
        if (at < span.begin || at >= span.end) continue;
        begin = span.begin < begin && !a.window_in_spans ? span.begin : begin;
        end = span.end > end ? span.end : end;
    }
    if (s->visible > 0 && end > s->visible) end = s->visible;
    *lo = begin < end ? begin : end;
    *hi = end;
}

__device__ static inline float vcuda_scored(const vcuda_attention_args &a, float s) {
    s *= a.scale;
    return a.softcap > 0 ? a.softcap * tanhf(s / a.softcap) : s;
}

/* Value e of a head x, rotated by its row's angles. */
__device__ static inline float vcuda_rotated(const vcuda_attention_args &a, const float *x, int64_t row, int e) {
    const int half = (int)a.half;
    if (!a.cos || e >= 2 * half) return x[e];
    int i = a.adjacent ? e / 2 : e < half ? e : e - half, other = a.adjacent ? e ^ 1 : e < half ? e + half : e - half;
    float c = a.cos[row * half + i], s = a.sin[row * half + i];
    return other > e ? x[e] * c - x[other] * s : x[e] * c + x[other] * s;
}

/* The same of values [e, e + 4) of the rotated ones, by fours. */
__device__ static inline void vcuda_rotated4(float (&v)[4], const vcuda_attention_args &a, const float *x, int64_t row, int e) {
    const int half = (int)a.half, i = e < half ? e : e - half;
    const float sign = e < half ? -1 : 1;
    const float4 u = *(const float4 *)(x + e), w = *(const float4 *)(x + (e < half ? e + half : e - half));
    const float4 c = *(const float4 *)(a.cos + row * half + i), s = *(const float4 *)(a.sin + row * half + i);
    v[0] = u.x * c.x + sign * w.x * s.x, v[1] = u.y * c.y + sign * w.y * s.y;
    v[2] = u.z * c.z + sign * w.z * s.z, v[3] = u.w * c.w + sign * w.w * s.w;
}

/* Values [e, e + 4) of a head x. */
template <bool ROTATED> __device__ static inline void vcuda_take4(float (&v)[4], const vcuda_attention_args &a, const float *x, int64_t row, int e) {
    const bool turned = ROTATED && a.cos && e < 2 * a.half;
    if (turned && a.fours) {
        vcuda_rotated4(v, a, x, row, e);
    } else if (!turned && a.aligned) {
        const float4 u = __ldg((const float4 *)(x + e));
        v[0] = u.x, v[1] = u.y, v[2] = u.z, v[3] = u.w;
    } else {
#pragma unroll
        for (int n = 0; n < 4; n++) v[n] = turned ? vcuda_rotated(a, x, row, e + n) : x[e + n];
    }
}

/* c [16, 8] += a [16, 16] b [16, 8] */
__device__ static inline void vcuda_multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ static inline uint32_t vcuda_pair(float lo, float hi) {
    __nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);
    return *(const uint32_t *)&v;
}

/* attention_few.cu: one query of every segment, behind its state, which it stores itself */
bool vcuda_attention_few(vlm_frame *f, vcuda_attention_args a, int64_t most_keys);
/* attention_tiles.cu: bfloat16 keys and values, heads of up to 256 in whole 16 bytes; how many rows its tiles have */
int64_t vcuda_tile_rows(const vcuda_attention_args &a, int64_t longest, const vcuda_backend *b);
void vcuda_attention_tiles(vlm_frame *f, const vcuda_attention_args &a);
/* the same for segments of up to 64 rows without states, heads of up to 128, from float32 rows */
void vcuda_attention_windows(vlm_frame *f, const vcuda_attention_args &a);
/* attention_wide.cu: heads of up to 128 and long segments where there is wgmma, from float32 rows, which it stores; 0 rows: it
 * is not for them */
int64_t vcuda_wide_rows(const vcuda_attention_args &a, int64_t longest, const vcuda_backend *b);
void vcuda_attention_wide(vlm_frame *f, const vcuda_attention_args &a);

#endif
