/* SPDX-License-Identifier: MIT */
/* The decoder's tensors: names, shapes and when they are there. */
#include "models/text/decoder.h"

enum { D, INNER, Q, KV, HEAD, VOCAB, ONE, TAPS, D3, INNER2, DIMS };
enum {
    ATTENTION_BIAS = 1,
    QKV_BIAS = 2,
    MLP_BIAS = 4,
    PLAIN = 8,
    SANDWICH = 16,
    QK_NORM = 32,
    UNTIED = 64,
    TIED = 128,
    ATTENTION = 256, /* the layer attends; else */
    CONV = 512,
    CONV_BIAS = 1024,
    MLP = 2048 /* the layer has no experts */
};

#define LINEAR(m, n, bias, out, in) VLM_BIND_LINEAR(text_layer, m, "layers.%d." n, bias, out, in)
#define LINEAR_IF(when, m, n, bias, out, in) \
    VLM_BIND_LINEAR_IF(when, text_layer, m, "layers.%d." n, bias, out, in)
#define NORM_IF(when, m, n, dim) \
    VLM_BIND_NORM_IF(when, text_layer, m, "layers.%d." n, VLM_NEVER, dim)
static const vlm_weight_row layer_rows[] = {
    NORM_IF(VLM_ALWAYS, attention_norm, "input_layernorm", D),
    LINEAR(q_proj, "self_attn.q_proj", QKV_BIAS, Q, D),
    LINEAR(k_proj, "self_attn.k_proj", QKV_BIAS, KV, D),
    LINEAR(v_proj, "self_attn.v_proj", QKV_BIAS, KV, D),
    LINEAR(o_proj, "self_attn.o_proj", ATTENTION_BIAS, D, Q),
    NORM_IF(QK_NORM, q_norm, "self_attn.q_norm", HEAD),
    NORM_IF(QK_NORM, k_norm, "self_attn.k_norm", HEAD),
    NORM_IF(PLAIN, mlp_norm, "post_attention_layernorm", D),
    NORM_IF(SANDWICH, attention_post_norm, "post_attention_layernorm", D),
    NORM_IF(SANDWICH, mlp_norm, "pre_feedforward_layernorm", D),
    NORM_IF(SANDWICH, mlp_post_norm, "post_feedforward_layernorm", D),
    LINEAR_IF(MLP, mlp.gate_proj, "mlp.gate_proj", MLP_BIAS, INNER, D),
    LINEAR_IF(MLP, mlp.up_proj, "mlp.up_proj", MLP_BIAS, INNER, D),
    LINEAR_IF(MLP, mlp.down_proj, "mlp.down_proj", MLP_BIAS, D, INNER),
    VLM_BIND_IGNORED("layers.%d.self_attn.rotary_emb.inv_freq"),
};
static const vlm_weight_row model_rows[] = {
    VLM_BIND_MATRIX(vlm_text, embed_tokens, "embed_tokens", VOCAB, D),
    VLM_BIND_NORM(vlm_text, norm, "norm", VLM_NEVER, D),
    VLM_BIND_IGNORED("rotary_emb.inv_freq"),
};
static const vlm_weight_row head_rows[] = {
    VLM_BIND_LINEAR_IF(UNTIED, vlm_text, lm_head, "lm_head", VLM_NEVER, VOCAB, D),
    VLM_BIND_IGNORED_IF(TIED, "lm_head.*"),
};
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

struct text_names {
    const vlm_weight_row *layer, *model;
    size_t n_layer, n_model;
};
static const text_names llama_names = { layer_rows, model_rows, COUNT(layer_rows), COUNT(model_rows) };

/* ---- LFM2 ---- */
static const vlm_weight_row lfm2_layer_rows[] = {
    NORM_IF(VLM_ALWAYS, attention_norm, "operator_norm", D),
    LINEAR_IF(ATTENTION, q_proj, "self_attn.q_proj", VLM_NEVER, Q, D),
    LINEAR_IF(ATTENTION, k_proj, "self_attn.k_proj", VLM_NEVER, KV, D),
    LINEAR_IF(ATTENTION, v_proj, "self_attn.v_proj", VLM_NEVER, KV, D),
    LINEAR_IF(ATTENTION, o_proj, "self_attn.out_proj", VLM_NEVER, D, Q),
    NORM_IF(ATTENTION, q_norm, "self_attn.q_layernorm", HEAD),
    NORM_IF(ATTENTION, k_norm, "self_attn.k_layernorm", HEAD),
    LINEAR_IF(CONV, conv.in_proj, "conv.in_proj", CONV_BIAS, D3, D),
    VLM_BIND_CONV_IF(CONV, text_layer, conv.taps, "layers.%d.conv.conv", CONV_BIAS, D, ONE, TAPS),
    LINEAR_IF(CONV, conv.out_proj, "conv.out_proj", CONV_BIAS, D, D),
    NORM_IF(VLM_ALWAYS, mlp_norm, "ffn_norm", D),
    LINEAR(mlp.gate_proj, "feed_forward.w1", VLM_NEVER, INNER, D),
    LINEAR(mlp.up_proj, "feed_forward.w3", VLM_NEVER, INNER, D),
    LINEAR(mlp.down_proj, "feed_forward.w2", VLM_NEVER, D, INNER),
};
static const vlm_weight_row lfm2_model_rows[] = {
    VLM_BIND_MATRIX(vlm_text, embed_tokens, "embed_tokens", VOCAB, D),
    VLM_BIND_NORM(vlm_text, norm, "embedding_norm", VLM_NEVER, D),
};
const text_names vmodel_text_names_lfm2 = { lfm2_layer_rows, lfm2_model_rows, COUNT(lfm2_layer_rows),
                                            COUNT(lfm2_model_rows) };

/* ---- GLM-4 ---- */
static const vlm_weight_row glm_layer_rows[] = {
    NORM_IF(VLM_ALWAYS, attention_norm, "input_layernorm", D),
    LINEAR(q_proj, "self_attn.q_proj", VLM_NEVER, Q, D),
    LINEAR(k_proj, "self_attn.k_proj", VLM_NEVER, KV, D),
    LINEAR(v_proj, "self_attn.v_proj", VLM_NEVER, KV, D),
    LINEAR(o_proj, "self_attn.o_proj", VLM_NEVER, D, Q),
    NORM_IF(VLM_ALWAYS, attention_post_norm, "post_self_attn_layernorm", D),
    NORM_IF(VLM_ALWAYS, mlp_norm, "post_attention_layernorm", D),
    LINEAR(gate_up_proj, "mlp.gate_up_proj", VLM_NEVER, INNER2, D),
    LINEAR(mlp.down_proj, "mlp.down_proj", VLM_NEVER, D, INNER),
    NORM_IF(VLM_ALWAYS, mlp_post_norm, "post_mlp_layernorm", D),
};
const text_names vmodel_text_names_glm = { glm_layer_rows, model_rows, COUNT(glm_layer_rows), COUNT(model_rows) };
/* Predicts several tokens at once; the reference does not read it either. */
static const vlm_weight_row behind_rows[] = { VLM_BIND_IGNORED("layers.%d.*") };

/* gate and up of an MLP that are one tensor. */
static void part_gate_and_up(text_layer *layer, int64_t inner) {
    layer->mlp.gate_proj = vmodel_linear_outputs(&layer->gate_up_proj, 0, inner);
    layer->mlp.up_proj = vmodel_linear_outputs(&layer->gate_up_proj, inner, inner);
}

static unsigned conditions_of(const vlm_text *t, bool tied) {
    const text_config *c = &t->config;
    unsigned found = tied ? TIED : UNTIED;
    if (c->attention_bias) found |= ATTENTION_BIAS | QKV_BIAS;
    if (t->type->qkv_bias) found |= QKV_BIAS;
    if (c->mlp_bias) found |= MLP_BIAS;
    if (t->type->qk_norm) found |= QK_NORM;
    if (c->conv_bias) found |= CONV_BIAS;
    return found | (t->type->sandwich_norms ? SANDWICH : PLAIN);
}

/* A head that the file has is kept, as transformers does, where it is not the embeddings; what the config says then
 * counts for nothing. */
static bool is_tied(vlm_build *build, const vlm_text_options *options) {
    const vlm_binding model = { .prefix = options->prefix }, head = { .prefix = options->head_prefix };
    return options->tied && !vmodel_build_differ(build, &model, "embed_tokens.weight", &head, "lm_head.weight");
}

vlm_status vmodel_text_bind(vlm_text *t, vlm_build *build, const vlm_text_options *options,
                            vlm_error *err) {
    const text_config *c = &t->config;
    const int64_t dims[DIMS] = { c->hidden_size,
                                 c->intermediate_size,
                                 c->num_attention_heads * c->head_dim,
                                 c->num_key_value_heads * c->head_dim,
                                 c->head_dim,
                                 c->vocab_size,
                                 1,
                                 c->conv_l_cache,
                                 3 * c->hidden_size,
                                 2 * c->intermediate_size };
    const text_names *names = t->type->names ? t->type->names : &llama_names;
    const bool tied = is_tied(build, options);
    vlm_binding at = { .prefix = options->prefix,
                       .dims = dims,
                       .conditions = conditions_of(t, tied) };
    VTRY(vlm_bind(build, t, names->model, names->n_model, &at, err));
    if (tied && options->mlx_untied)
        VTRY(vmodel_build_keep_copy(build, &names->model[0], &at, options->head_prefix, "lm_head", err));
    const unsigned all = at.conditions;
    for (; at.layer < c->num_hidden_layers; at.layer++) {
        text_layer *layer = &t->layers[at.layer];
        const bool experts = vmodel_text_has_experts(c, at.layer);
        at.conditions = all | (layer->window == TEXT_NO_ATTENTION ? CONV : ATTENTION);
        if (!experts) at.conditions |= MLP;
        VTRY(vlm_bind(build, layer, names->layer, names->n_layer, &at, err));
        if (layer->gate_up_proj.weight.out) part_gate_and_up(layer, c->intermediate_size);
        if (experts) VTRY(vmodel_text_experts_bind(layer, c, build, &at, err));
    }
    if (names == &vmodel_text_names_glm) VTRY(vlm_bind(build, t, behind_rows, 1, &at, err));
    at.prefix = options->head_prefix;
    VTRY(vlm_bind(build, t, head_rows, COUNT(head_rows), &at, err));
    if (tied) t->lm_head = (vlm_linear) { .weight = t->embed_tokens };
    return VLM_OK;
}
