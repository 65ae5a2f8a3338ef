/* SPDX-License-Identifier: MIT */
/* The attention half of a decoder layer: grouped queries, rotary positions, the layer's window. */
#include "models/text/decoder.h"

/* q, k and v of x [n, dim], each [n, its heads, head_dim]. */
static void project(vlm_frame *f, vlm_tensor *qkv, const vlm_text *t, const text_layer *layer,
                    vlm_tensor x) {
    const text_config *c = &t->config;
    const vlm_linear *const linears[] = { &layer->q_proj, &layer->k_proj, &layer->v_proj };
    const int64_t heads[] = { c->num_attention_heads, c->num_key_value_heads, c->num_key_value_heads };
    vlm_apply_norm_linears(f, qkv, x, &layer->attention_norm, linears, 3);
    for (int i = 0; i < 3; i++) qkv[i] = vlm_reshape3(f, qkv[i], -1, heads[i], c->head_dim);
    if (!t->type->qk_norm) return;
    qkv[0] = vlm_rms_norm(f, qkv[0], &layer->q_norm);
    qkv[1] = vlm_rms_norm(f, qkv[1], &layer->k_norm);
}

vlm_tensor vmodel_text_attention(vlm_frame *f, const vlm_text *t, const text_layer *layer,
                                 vlm_tensor x, const text_pass *pass) {
    const text_config *c = &t->config;
    const bool local = layer->window > 0 && t->local_rope.pairs > 0;
    const vlm_attention_desc desc = { .scale = t->attention_scale,
                                      .softcap = c->attn_logit_softcapping,
                                      .causal = true,
                                      .window = layer->window,
                                      .window_in_spans = t->type->window_in_spans,
                                      .rope = local ? &pass->local_rope : &pass->rope,
                                      .pairs = t->type->pairs };
    const bool some = pass->wanted.rank > 0;
    vlm_tensor sum = some ? vlm_gather(f, x, pass->wanted) : x;
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor qkv[3];
    project(f, qkv, t, layer, x);
    if (pass->growth.cos.rank) /* every pair of values of a row by its angle of 0 */
        vlm_rope_to(f, vlm_reshape3(f, qkv[0], -1, c->num_attention_heads * c->head_dim / 2, 2), &pass->growth,
                    VLM_ROPE_ADJACENT);
    if (!some && !t->type->sandwich_norms) {
        vlm_add_attention(f, sum, qkv[0], qkv[1], qkv[2], pass->segments, pass->n_segments, &desc, &layer->o_proj);
        vlm_scope_end(f, scope);
        return sum;
    }
    vlm_tensor a = vlm_attention(f, qkv[0], qkv[1], qkv[2], pass->segments, pass->n_segments, &desc);
    a = vlm_reshape2(f, a, -1, c->num_attention_heads * c->head_dim);
    if (some) a = vlm_gather(f, a, pass->wanted);
    if (t->type->sandwich_norms)
        vlm_add_normed_linear(f, sum, a, &layer->o_proj, &layer->attention_post_norm);
    else
        vlm_add_linear(f, sum, a, &layer->o_proj);
    vlm_scope_end(f, scope);
    return sum;
}
