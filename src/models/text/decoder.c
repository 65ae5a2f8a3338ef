/* SPDX-License-Identifier: MIT */
/* The pre-norm text decoder that Llama, Qwen 2, Mistral, Gemma and Gemma 2 are: grouped-query
 * attention with rotary positions, gated MLP, RMS norms. n is the number of rows of a pass over all
 * its sequences. */
#include <math.h>

#include "models/text/decoder.h"

/* Sequences of one pass. */
enum { MAX_SEQUENCES = 256 };

/* ---- weights --------------------------------------------------------------------------------- */
enum { D, INNER, Q, KV, VOCAB, DIMS };
enum { ATTENTION_BIAS = 1, QKV_BIAS = 2, MLP_BIAS = 4, SANDWICH = 8, UNTIED = 16, TIED = 32 };

static const vlm_weight_row layer_rows[] = {
    VLM_BIND_NORM(text_layer, input_layernorm, "layers.%d.input_layernorm", VLM_NEVER, D),
    VLM_BIND_LINEAR(text_layer, q_proj, "layers.%d.self_attn.q_proj", QKV_BIAS, Q, D),
    VLM_BIND_LINEAR(text_layer, k_proj, "layers.%d.self_attn.k_proj", QKV_BIAS, KV, D),
    VLM_BIND_LINEAR(text_layer, v_proj, "layers.%d.self_attn.v_proj", QKV_BIAS, KV, D),
    VLM_BIND_LINEAR(text_layer, o_proj, "layers.%d.self_attn.o_proj", ATTENTION_BIAS, D, Q),
    VLM_BIND_NORM(text_layer, post_attention_layernorm, "layers.%d.post_attention_layernorm",
                  VLM_NEVER, D),
    VLM_BIND_NORM_IF(SANDWICH, text_layer, pre_feedforward_layernorm,
                     "layers.%d.pre_feedforward_layernorm", VLM_NEVER, D),
    VLM_BIND_NORM_IF(SANDWICH, text_layer, post_feedforward_layernorm,
                     "layers.%d.post_feedforward_layernorm", VLM_NEVER, D),
    VLM_BIND_LINEAR(text_layer, mlp.gate_proj, "layers.%d.mlp.gate_proj", MLP_BIAS, INNER, D),
    VLM_BIND_LINEAR(text_layer, mlp.up_proj, "layers.%d.mlp.up_proj", MLP_BIAS, INNER, D),
    VLM_BIND_LINEAR(text_layer, mlp.down_proj, "layers.%d.mlp.down_proj", MLP_BIAS, D, INNER),
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

static vlm_status bind(vlm_text *t, vlm_build *build, const vlm_text_options *options,
                       vlm_error *err) {
    const text_config *c = &t->config;
    const int64_t dims[DIMS] = { c->hidden_size, c->intermediate_size,
                                 c->num_attention_heads * c->head_dim,
                                 c->num_key_value_heads * c->head_dim, c->vocab_size };
    vlm_binding at = { .prefix = options->prefix, .dims = dims };
    if (c->attention_bias) at.conditions |= ATTENTION_BIAS | QKV_BIAS;
    if (t->type->qkv_bias) at.conditions |= QKV_BIAS;
    if (c->mlp_bias) at.conditions |= MLP_BIAS;
    if (t->type->sandwich_norms) at.conditions |= SANDWICH;
    at.conditions |= options->tied ? TIED : UNTIED;
    VTRY(vlm_bind(build, t, model_rows, COUNT(model_rows), &at, err));
    if (options->tied && options->mlx_untied)
        VTRY(vmodel_build_keep_copy(build, &model_rows[0], &at, options->head_prefix, "lm_head", err));
    for (; at.layer < c->num_hidden_layers; at.layer++)
        VTRY(vlm_bind(build, &t->layers[at.layer], layer_rows, COUNT(layer_rows), &at, err));
    at.prefix = options->head_prefix;
    VTRY(vlm_bind(build, t, head_rows, COUNT(head_rows), &at, err));
    if (options->tied) t->lm_head = (vlm_linear) { .weight = t->embed_tokens };
    return VLM_OK;
}

/* ---- building -------------------------------------------------------------------------------- */
static vlm_status find_type(const text_type **out, const vlm_text_options *options,
                            vlm_error *err) {
    vcore_str name;
    VTRY(vmodel_part_type(&name, options->config, options->fallback_type,
                          "config.json: text_config", err));
    for (const text_type *type = vmodel_text_types; type->model_type; type++) {
        *out = type;
        if (vmodel_is_one_of(type->model_type, name)) return VLM_OK;
    }
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "text_config.model_type",
                            "'%.*s' is no text decoder that is known",
                            (int)(name.n < 60 ? name.n : 60), name.p);
}

/* Everything but weights: sizes, norms, windows, frequencies. */
static vlm_status configure(vlm_text *t, vlm_build *build, const vlm_json *json, vlm_error *err) {
    const text_config *c = &t->config;
    size_t layers = (size_t)c->num_hidden_layers, pairs = (size_t)c->head_dim / 2;
    int64_t *windows = vlm_build_alloc(build, layers, sizeof *windows);
    vlm_state_layer *state = vlm_build_alloc(build, layers, sizeof *state);
    t->layers = vlm_build_alloc(build, layers, sizeof *t->layers);
    t->inv_freq = vlm_build_alloc(build, pairs, sizeof *t->inv_freq);
    t->axis_of = vlm_build_alloc(build, pairs, sizeof *t->axis_of);
    if (!windows || !state || !t->layers || !t->inv_freq || !t->axis_of)
        return vcore_no_memory(err, "text decoder");
    VTRY(vmodel_text_config_windows(windows, c, t->type, json, err));
    VTRY(vmodel_text_config_rope(t->inv_freq, c, json, err));
    const vlm_norm norm = { .eps = c->rms_norm_eps, .offset = t->type->norm_offset };
    t->norm = norm;
    for (size_t i = 0; i < layers; i++) {
        text_layer *l = &t->layers[i];
        l->input_layernorm = l->post_attention_layernorm = norm;
        l->pre_feedforward_layernorm = l->post_feedforward_layernorm = norm;
        l->mlp.act = (vlm_activation)c->hidden_act;
        l->window = windows[i];
        state[i] =
            (vlm_state_layer) { VLM_STATE_KV, c->num_key_value_heads, c->head_dim, windows[i] };
    }
    size_t pair = 0; /* sections of pairs, one per axis */
    for (int64_t axis = 0; t->type->position_axes > 1 && axis < c->mrope_section.n; axis++)
        for (int64_t i = 0; i < c->mrope_section.at[axis]; i++) t->axis_of[pair++] = (uint8_t)axis;
    float scalar = c->query_pre_attn_scalar > 0 ? c->query_pre_attn_scalar : (float)c->head_dim;
    t->attention_scale = (float)(1 / sqrt(scalar));
    t->embed_scale = (float)sqrt((double)c->hidden_size);
    t->info =
        (vlm_text_info) { .model_type = t->type->model_type,
                          .hidden_size = c->hidden_size,
                          .vocab_size = c->vocab_size,
                          .layers = c->num_hidden_layers,
                          .position_axes = t->type->position_axes ? t->type->position_axes : 1,
                          .state = state };
    return VLM_OK;
}

vlm_status vlm_text_new(vlm_text **out, vlm_build *build, const vlm_text_options *options,
                        vlm_error *err) {
    *out = NULL;
    vlm_text *t = vlm_build_alloc(build, 1, sizeof *t);
    if (!t) return vcore_no_memory(err, "text decoder");
    VTRY(find_type(&t->type, options, err));
    VTRY(vmodel_text_config_read(&t->config, t->type, options->config, err));
    VTRY(configure(t, build, options->config, err));
    VTRY(bind(t, build, options, err));
    *out = t;
    return VLM_OK;
}

const vlm_text_info *vlm_text_get_info(const vlm_text *text) {
    return &text->info;
}

/* ---- the forward pass ------------------------------------------------------------------------ */
/* x + o_proj(attention(norm(x))), x [n, dim]: in place, or the rows of an index (I32 [m]) alone. */
static vlm_tensor attention_block(vlm_frame *f, const vlm_text *t, const text_layer *layer,
                                  vlm_tensor x, const vlm_rope_table *rope,
                                  const vlm_segment *segments, int n_segments, vlm_tensor wanted) {
    const text_config *c = &t->config;
    const vlm_linear *const qkv[] = { &layer->q_proj, &layer->k_proj, &layer->v_proj };
    const vlm_attention_desc desc = { .scale = t->attention_scale,
                                      .softcap = c->attn_logit_softcapping,
                                      .causal = true,
                                      .window = layer->window,
                                      .rope = rope,
                                      .pairs = VLM_ROPE_HALVES };
    vlm_tensor sum = wanted.rank ? vlm_gather(f, x, wanted) : x;
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor y[3]; /* [n, heads * head_dim] */
    vlm_apply_norm_linears(f, y, x, &layer->input_layernorm, qkv, 3);
    vlm_tensor q = vlm_reshape3(f, y[0], -1, c->num_attention_heads, c->head_dim);
    vlm_tensor k = vlm_reshape3(f, y[1], -1, c->num_key_value_heads, c->head_dim);
    vlm_tensor v = vlm_reshape3(f, y[2], -1, c->num_key_value_heads, c->head_dim);
    vlm_tensor a = vlm_attention(f, q, k, v, segments, n_segments, &desc);
    a = vlm_reshape2(f, a, -1, c->num_attention_heads * c->head_dim);
    if (wanted.rank) a = vlm_gather(f, a, wanted);
    if (t->type->sandwich_norms)
        vlm_add_to(f, sum, vlm_rms_norm(f, vlm_apply_linear(f, a, &layer->o_proj), &layer->post_attention_layernorm));
    else
        vlm_add_linear(f, sum, a, &layer->o_proj);
    vlm_scope_end(f, scope);
    return sum;
}

/* x += mlp(norm(x)), x [n, dim] */
static void mlp_block(vlm_frame *f, const vlm_text *t, const text_layer *layer, vlm_tensor x) {
    for (vlm_pieces p = vlm_pieces_of(f, x, t->config.intermediate_size); vlm_pieces_next(&p);) {
        if (!t->type->sandwich_norms) {
            vlm_add_gated_mlp(f, p.rows, &layer->post_attention_layernorm, &layer->mlp);
            continue;
        }
        vlm_tensor y = vlm_apply_gated_mlp(f, vlm_rms_norm(f, p.rows, &layer->pre_feedforward_layernorm), &layer->mlp);
        vlm_add_to(f, p.rows, vlm_rms_norm(f, y, &layer->post_feedforward_layernorm));
    }
}

vlm_tensor vlm_text_embed(vlm_frame *f, const vlm_text *text, vlm_tensor ids) {
    vlm_tensor x = vlm_embed(f, &text->embed_tokens, ids);
    if (!text->type->scaled_embeddings) return x;
    /* The reference keeps the factor in the weights' type: rounded in a run of bfloat16. */
    bool rounded =
        vtensor_frame_mode(f) == VTENSOR_FAST && text->embed_tokens.data.dtype == VLM_DTYPE_BF16;
    float scale = text->embed_scale;
    vlm_scale_to(f, x, rounded ? vcore_bf16_to_f32(vcore_f32_to_bf16(scale)) : scale);
    return x;
}

vlm_tensor vlm_text_forward(vlm_frame *f, const vlm_text *text, const vlm_text_input *input) {
    vlm_segment segments[MAX_SEQUENCES];
    int n = input->n_sequences;
    if (n < 1 || n > MAX_SEQUENCES)
        return vlm_frame_fail(f, VLM_ERR_LIMIT, "%d sequences in one pass, at most %d", n,
                              MAX_SEQUENCES);
    vlm_tensor x = input->embeddings; /* [n, dim] */
    const vlm_tensor all = { 0 };
    vlm_rope_table rope = vlm_rope_angles(f, input->positions, text->inv_freq,
                                          text->info.position_axes > 1 ? text->axis_of : NULL,
                                          (int)text->config.head_dim / 2);
    vlm_dump_at(f, "hidden", 0, x);
    for (int layer = 0; layer < text->info.layers; layer++) {
        for (int i = 0; i < n; i++) {
            const vlm_sequence *s = &input->sequences[i];
            segments[i] = (vlm_segment) { .start = s->start,
                                          .length = s->length,
                                          .past = s->past,
                                          .kv = s->kv ? &s->kv[layer] : NULL,
                                          .spans = s->spans,
                                          .n_spans = s->n_spans };
        }
        bool last = layer + 1 == text->info.layers;
        x = attention_block(f, text, &text->layers[layer], x, &rope, segments, n,
                            last ? input->wanted : all);
        mlp_block(f, text, &text->layers[layer], x);
        vlm_dump_at(f, "hidden", layer + 1, x);
    }
    x = vlm_rms_norm(f, x, &text->norm);
    vlm_dump(f, "hidden.norm", x);
    return x;
}

vlm_tensor vlm_text_logits(vlm_frame *f, const vlm_text *text, vlm_tensor hidden) {
    return vlm_apply_linear(f, hidden, &text->lm_head);
}
