/* SPDX-License-Identifier: MIT */
/* A small forward pass through most operations, for tests of what surrounds them. */
#ifndef TENSOR_PASS_H
#define TENSOR_PASS_H

#include "tensor_check.h"

enum { PASS_DIM = 96, PASS_HEADS = 3, PASS_INNER = 200, PASS_CAPACITY = 2000 };

/* Weights and state of one layer. */
typedef struct layer {
    array up, down, state;
    vlm_linear up_linear, down_linear;
    vlm_kv kv;
} layer;

static inline layer make_layer(void) {
    layer l = { 0 };
    l.up = make_array(VLM_DTYPE_BF16, 0.1f, 0, 2, (int64_t[]) { PASS_INNER, PASS_DIM });
    l.down = make_array(VLM_DTYPE_F32, 0.1f, 0, 2, (int64_t[]) { PASS_DIM, PASS_INNER });
    l.state = make_array(VLM_DTYPE_BF16, 1, 0, 4,
                         (int64_t[]) { 2, PASS_CAPACITY, PASS_HEADS, PASS_DIM / PASS_HEADS });
    l.up_linear.weight = (vlm_matrix) { .out = PASS_INNER, .in = PASS_DIM, .data = l.up.t };
    l.down_linear.weight = (vlm_matrix) { .out = PASS_DIM, .in = PASS_INNER, .data = l.down.t };
    int64_t shape[] = { PASS_CAPACITY, PASS_HEADS, PASS_DIM / PASS_HEADS };
    l.kv.k = vtensor_of(l.state.t.data, VLM_DTYPE_BF16, 3, shape);
    l.kv.v =
        vtensor_of((char *)l.state.t.data + vtensor_count(l.kv.k) * 2, VLM_DTYPE_BF16, 3, shape);
    return l;
}

static inline void free_layer(layer *l) {
    free_array(&l->up);
    free_array(&l->down);
    free_array(&l->state);
}

/* Positions [past, past + n) through `layers` layers of the same weights; returns the hidden rows.
 */
static inline vlm_tensor run_pass(vlm_frame *f, const layer *l, int layers, int64_t n,
                                  int64_t past) {
    static float host[PASS_CAPACITY * PASS_DIM];
    static const float inv_freq[] = { 1, 0.5f, 0.25f, 0.125f };
    int32_t positions[PASS_CAPACITY];
    for (int64_t i = 0; i < n; i++) positions[i] = (int32_t)(past + i);
    vlm_tensor x = vlm_tensor_from(f, VLM_DTYPE_F32, 2, (int64_t[]) { n, PASS_DIM }, host);
    vlm_tensor p = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { 1, n }, positions);
    vlm_rope_table rope = vlm_rope_angles(f, p, inv_freq, NULL, 4);
    for (int i = 0; i < layers; i++) {
        vlm_scope scope = vlm_scope_begin(f);
        vlm_tensor h = vlm_rms_norm(f, x, &(vlm_norm) { .eps = 1e-6f });
        vlm_tensor q = vlm_reshape3(f, h, n, PASS_HEADS, -1);
        vlm_rope_to(f, q, &rope, VLM_ROPE_HALVES);
        vlm_segment s = { .length = n, .kv = &l->kv, .past = past };
        vlm_attention_desc desc = { .scale = 0.2f, .causal = true };
        vlm_tensor o = vlm_attention(f, q, q, q, &s, 1, &desc);
        vlm_add_to(f, x, vlm_reshape2(f, o, n, PASS_DIM));
        h = vlm_apply_linear(f, x, &l->up_linear);
        vlm_activation_to(f, h, VLM_ACT_SILU);
        vlm_add_to(f, x, vlm_apply_linear(f, h, &l->down_linear));
        vlm_dump_at(f, "hidden", i, x);
        vlm_scope_end(f, scope);
    }
    return vlm_rms_norm(f, x, &(vlm_norm) { .eps = 1e-6f });
}

#endif
