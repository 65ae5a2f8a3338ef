/* SPDX-License-Identifier: MIT */
/* The pre-norm text decoder that Llama, Qwen, Mistral and Gemma are: how it is built from its config,
 * and the pass over its layers. */
#include <math.h>

#include "models/text/decoder.h"

/* Sequences of one pass. */
enum { MAX_SEQUENCES = 256 };

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
    size_t layers = (size_t)c->num_hidden_layers;
    int64_t *windows = vlm_build_alloc(build, layers, sizeof *windows);
    vlm_state_layer *state = vlm_build_alloc(build, layers, sizeof *state);
    t->layers = vlm_build_alloc(build, layers, sizeof *t->layers);
    if (!windows || !state || !t->layers) return vcore_no_memory(err, "text decoder");
    VTRY(vmodel_text_config_windows(windows, c, t->type, json, err));
    VTRY(vmodel_text_rope_new(t, build, json, err));
    const vlm_norm norm = { .eps = c->rms_norm_eps, .offset = t->type->norm_offset };
    t->norm = norm;
    for (size_t i = 0; i < layers; i++) {
        text_layer *l = &t->layers[i];
        l->attention_norm = l->mlp_norm = l->attention_post_norm = l->mlp_post_norm = norm;
        l->q_norm = l->k_norm = norm;
        l->mlp.act = (vlm_activation)c->hidden_act;
        l->window = windows[i];
        state[i] = windows[i] == TEXT_NO_ATTENTION
                       ? (vlm_state_layer) { VLM_STATE_CONV, 1, c->hidden_size, c->conv_l_cache }
                       : (vlm_state_layer) { VLM_STATE_KV, c->num_key_value_heads, c->head_dim, windows[i] };
    }
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
    VTRY(vmodel_text_bind(t, build, options, err));
    *out = t;
    return VLM_OK;
}

const vlm_text_info *vlm_text_get_info(const vlm_text *text) {
    return &text->info;
}

/* ---- the forward pass ------------------------------------------------------------------------ */
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

/* The rows of every sequence with what layer number `layer` remembers of it. */
static void place_sequences(vlm_segment *segments, const vlm_text_input *input, int layer) {
    for (int i = 0; i < input->n_sequences; i++) {
        const vlm_sequence *s = &input->sequences[i];
        segments[i] = (vlm_segment) { .start = s->start,
                                      .length = s->length,
                                      .past = s->past,
                                      .kv = s->kv ? &s->kv[layer] : NULL,
                                      .spans = s->spans,
                                      .n_spans = s->n_spans };
    }
}

/* Features that enter behind a layer: added to the rows that they belong to. */
static void inject(vlm_frame *f, vlm_tensor x, const vlm_text_input *input, int layer) {
    for (int i = 0; i < input->n_injections; i++) {
        const vlm_injection *in = &input->injections[i];
        if (in->layer != layer) continue;
        vlm_scope scope = vlm_scope_begin(f);
        vlm_tensor rows = vlm_gather(f, x, in->index);
        vlm_add_to(f, rows, in->rows);
        vlm_scatter_to(f, x, in->index, rows);
        vlm_scope_end(f, scope);
    }
}

/* Whether the last layer may leave out rows: not if features still enter behind it. */
static bool may_skip(const vlm_text *t, const vlm_text_input *input) {
    for (int i = 0; i < input->n_injections; i++)
        if (input->injections[i].layer + 1 == t->info.layers) return false;
    return true;
}

vlm_tensor vlm_text_forward(vlm_frame *f, const vlm_text *text, const vlm_text_input *input) {
    vlm_segment segments[MAX_SEQUENCES];
    int n = input->n_sequences;
    if (n < 1 || n > MAX_SEQUENCES)
        return vlm_frame_fail(f, VLM_ERR_LIMIT, "%d sequences in one pass, at most %d", n,
                              MAX_SEQUENCES);
    vlm_tensor x = input->embeddings; /* [n, dim] */
    const bool skip = may_skip(text, input);
    text_pass pass = { .segments = segments, .n_segments = n };
    pass.rope = vmodel_text_rope_table(f, &text->rope, input->positions);
    pass.growth = vmodel_text_growth(f, text, input->host_positions, x.shape[0]);
    if (text->local_rope.pairs) pass.local_rope = vmodel_text_rope_table(f, &text->local_rope, input->positions);
    vlm_dump_at(f, "hidden", 0, x);
    for (int layer = 0; layer < text->info.layers; layer++) {
        place_sequences(segments, input, layer);
        if (skip && layer + 1 == text->info.layers) pass.wanted = input->wanted;
        const text_layer *l = &text->layers[layer];
        x = l->window == TEXT_NO_ATTENTION ? vmodel_text_conv(f, text, l, x, &pass)
                                           : vmodel_text_attention(f, text, l, x, &pass);
        vmodel_text_mlp(f, text, l, x);
        inject(f, x, input, layer);
        vlm_dump_at(f, "hidden", layer + 1, x);
    }
    if (!skip && input->wanted.rank) x = vlm_gather(f, x, input->wanted);
    x = vlm_rms_norm(f, x, &text->norm);
    vlm_dump(f, "hidden.norm", x);
    return x;
}

vlm_tensor vlm_text_logits(vlm_frame *f, const vlm_text *text, vlm_tensor hidden) {
    return vlm_apply_linear(f, hidden, &text->lm_head);
}
