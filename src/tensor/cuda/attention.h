/* SPDX-License-Identifier: MIT */
/* What the kernels of attention share: the job as it lies on the device, and which keys a position sees. */
#ifndef VLM_CUDA_ATTENTION_H
#define VLM_CUDA_ATTENTION_H

#include "tensor/cuda/cuda.h"

enum { VCUDA_FEW_QUERIES = 4 };

struct vcuda_span {
    int64_t begin, end;
};
/* Keys and values of a segment: its rows of k and v, or the state; strides in elements. */
struct vcuda_segment {
    int64_t start, length, past, visible;
    const void *k, *v;
    int64_t k_row, k_head, v_row, v_head;
    int32_t type, stored, first_span, n_spans;
};
/* Rows [first, first + tile_rows) of a segment, as far as it goes. */
struct vcuda_tile {
    int32_t segment, first;
};

struct vcuda_attention_args {
    const vcuda_segment *segments;
    const vcuda_span *spans;
    const vcuda_tile *tiles;
    const int32_t *segment_of; /* [rows] */
    const float *q;
    float *y, *parts; /* parts: of attention_few.cu */
    int64_t q_row, q_head, y_row, y_head;
    int64_t rows, heads, kv_heads, dim, n_tiles, tile_rows, window, splits;
    float scale, softcap;
    int32_t causal, state_type; /* of the keys and values of all segments */
};

/* The keys [lo, hi) that row i of a segment sees; always one run. */
__device__ static inline void vcuda_visible(const vcuda_attention_args &a, const vcuda_segment *s, int64_t i, int64_t *lo, int64_t *hi) {
    int64_t at = s->past + i, begin = 0, end = a.causal ? at + 1 : s->past + s->length;
    if (a.window > 0 && at >= a.window) begin = at - a.window + 1;
    for (int n = 0; n < s->n_spans; n++) {
        vcuda_span span = a.spans[s->first_span + n];
        if (at < span.begin || at >= span.end) continue;
        begin = span.begin < begin ? span.begin : begin;
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

/* False when the shapes are not for them. */
bool vcuda_attention_few(vlm_frame *f, vcuda_attention_args a, int64_t most_keys);
bool vcuda_attention_tiles(vlm_frame *f, const vcuda_attention_args &a);
int vcuda_tile_rows(int64_t longest, int64_t dim);

#endif
