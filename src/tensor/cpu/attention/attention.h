/* SPDX-License-Identifier: MIT */
/* What the two ways of computing attention share: the job, and which keys a position sees. */
#ifndef VLM_CPU_ATTENTION_H
#define VLM_CPU_ATTENTION_H

#include "tensor/cpu/cpu.h"

/* Keys or values of all heads: of head 0, and what lies between heads. */
typedef struct vcpu_kv_heads {
    vcpu_kv_rows rows;
    size_t head_bytes, scales_head_bytes;
} vcpu_kv_heads;

/* Keys and values of one segment: its rows of k and v, or the state. */
typedef struct vcpu_keys {
    vcpu_kv_type type;
    vcpu_kv_heads k, v;
    size_t used_bytes; /* of a row of one head */
    size_t n;          /* positions */
} vcpu_keys;

/* Of one head, from position `key` on. */
static inline vcpu_kv_rows vcpu_kv_from(const vcpu_kv_heads *x, size_t head, size_t key) {
    vcpu_kv_rows rows = x->rows;
    rows.data += head * x->head_bytes + key * rows.row_bytes;
    if (rows.scales) rows.scales += head * x->scales_head_bytes + key * rows.scales_row_bytes;
    return rows;
}

typedef struct vcpu_attention_job {
    vcpu_backend *b;
    vlm_tensor y, q, k, v;
    const vlm_segment *segments;
    int n_segments;
    const vlm_attention_desc *desc;
    size_t heads, kv_heads, group, head_dim; /* group: query heads that share keys and values */
} vcpu_attention_job;

vcpu_keys vcpu_keys_of(const vcpu_attention_job *j, const vlm_segment *s);
/* The keys [lo, hi) that row i of a segment sees. They are always one run: what causality and the
 * window leave contains the position itself, and so does every bidirectional span that adds to it;
 * padding cuts off an end. lo == hi: none. */
void vcpu_visible(const vcpu_attention_job *j, const vlm_segment *s, size_t i, size_t *lo,
                  size_t *hi);

static inline float *vcpu_head(vlm_tensor x, size_t row, size_t head) {
    return (float *)x.data + row * (size_t)x.stride[0] + head * (size_t)x.stride[1];
}

/* Stores the keys and values of all segments that have a state. */
void vcpu_attention_store(const vcpu_attention_job *j);
/* Few queries: the keys are cut into chunks, each read once for all queries that share them. */
bool vcpu_few_queries(const vcpu_attention_job *j, const vlm_segment *s);
void vcpu_attention_few(vlm_frame *f, vcpu_attention_job *j);
/* Many queries: blocks of queries against blocks of keys. */
void vcpu_attention_blocks(vlm_frame *f, vcpu_attention_job *j);

#endif
