/* SPDX-License-Identifier: MIT */
/* Reading text_config: fields with their ranges, what must hold between them, which layers have a
 * window. Old and new spellings of the rope keys are alternatives of one row; rope.c has what they
 * mean. */
#include "models/text/decoder.h"

#define WHERE "config.json: text_config"
#define INT(m, k, lo, hi) VLM_INT(text_config, m, k, lo, hi, VLM_KEEP)
#define REAL(m, k, lo, hi) VLM_REAL(text_config, m, k, lo, hi, VLM_KEEP)
#define BOOL(m, k) VLM_BOOL(text_config, m, k, VLM_KEEP)
#define ROPE(k) "rope_scaling." k "|rope_parameters." k

static const struct {
    unsigned keys; /* of the types that read it; 0: all */
    vlm_config_field field;
} fields[] = {
    { 0, INT(vocab_size, "vocab_size", 1, 1 << 22) },
    { 0, INT(hidden_size, "hidden_size", 1, 1 << 16) },
    { 0, INT(intermediate_size, "intermediate_size", 1, 1 << 18) },
    { 0, INT(num_hidden_layers, "num_hidden_layers", 1, 1024) },
    { 0, INT(num_attention_heads, "num_attention_heads", 1, 1024) },
    { 0, INT(num_key_value_heads, "num_key_value_heads", 1, 1024) },
    { 0, INT(head_dim, "head_dim", 2, 1024) },
    { TEXT_HIDDEN_ACT,
      VLM_NAME(text_config, hidden_act, "hidden_act", vlm_activation_names, VLM_KEEP) },
    { TEXT_HIDDEN_ACTIVATION,
      VLM_NAME(text_config, hidden_act, "hidden_activation", vlm_activation_names, VLM_KEEP) },
    { 0, REAL(rms_norm_eps, "rms_norm_eps", 0, 1) },
    { 0, REAL(rope_theta, "rope_scaling.rope_theta|rope_parameters.rope_theta|rope_theta", 1, 1e12) },
    { TEXT_LOCAL_ROPE,
      REAL(rope_theta, "rope_scaling.rope_theta|rope_parameters.full_attention.rope_theta|rope_theta", 1, 1e12) },
    { TEXT_LOCAL_ROPE, REAL(rope_local_theta,
                            "rope_parameters.sliding_attention.rope_theta|rope_local_base_freq", 1, 1e12) },
    { TEXT_GROWTH, VLM_REAL(text_config, llama_4_scaling_beta, ROPE("llama_4_scaling_beta"), 0, 1e3, VLM_REQUIRED) },
    { TEXT_GROWTH, VLM_INT(text_config, original_max_position_embeddings, ROPE("original_max_position_embeddings"), 1,
                           1 << 30, VLM_REQUIRED) },
    { TEXT_QUERY_SCALAR, REAL(query_pre_attn_scalar, "query_pre_attn_scalar", 1e-3, 1e6) },
    { TEXT_SOFTCAP, REAL(attn_logit_softcapping, "attn_logit_softcapping", 1e-3, 1e6) },
    { TEXT_WINDOW, INT(sliding_window, "sliding_window", 1, 1 << 30) },
    { TEXT_WINDOW_PATTERN, INT(sliding_window_pattern, "sliding_window_pattern", 1, 1 << 16) },
    { TEXT_USE_WINDOW, INT(max_window_layers, "max_window_layers", 0, 1 << 16) },
    { TEXT_USE_WINDOW, BOOL(use_sliding_window, "use_sliding_window") },
    { TEXT_ATTENTION_BIAS, BOOL(attention_bias, "attention_bias") },
    { TEXT_MLP_BIAS, BOOL(mlp_bias, "mlp_bias") },
    { TEXT_MROPE, VLM_INTS(text_config, mrope_section,
                           "rope_scaling.mrope_section|rope_parameters.mrope_section", 1, 1024) },
    { TEXT_EXPERTS, INT(num_experts, "num_experts", 0, 4096) },
    { TEXT_EXPERTS, INT(num_experts_per_tok, "num_experts_per_tok", 1, 4096) },
    { TEXT_EXPERTS, INT(moe_intermediate_size, "moe_intermediate_size", 1, 1 << 18) },
    { TEXT_EXPERTS, INT(decoder_sparse_step, "decoder_sparse_step", 1, 1024) },
    { TEXT_EXPERTS, VLM_INTS(text_config, mlp_only_layers, "mlp_only_layers", 0, 1023) },
    { TEXT_SHORT_CONV, REAL(rms_norm_eps, "norm_eps", 0, 1) },
    { TEXT_SHORT_CONV, INT(intermediate_size, "block_ff_dim", 1, 1 << 18) },
    { TEXT_SHORT_CONV, INT(conv_l_cache, "conv_L_cache", 1, 64) },
    { TEXT_SHORT_CONV, BOOL(conv_bias, "conv_bias") },
    { TEXT_SHORT_CONV, VLM_INTS(text_config, full_attn_idxs, "full_attn_idxs", 0, 1023) },
    { TEXT_SHORT_CONV, BOOL(block_auto_adjust_ff_dim, "block_auto_adjust_ff_dim") },
    { TEXT_SHORT_CONV, VLM_DOUBLE(text_config, block_ffn_dim_multiplier, "block_ffn_dim_multiplier", 1e-3, 1e3, VLM_KEEP) },
    { TEXT_SHORT_CONV, INT(block_multiple_of, "block_multiple_of", 1, 1 << 18) },
};

/* A null is "none" for keys whose default is something. */
static bool is_null(const vlm_json *json, const char *key) {
    const vlm_json *v = vcore_json_get(json, key);
    return v && vcore_json_kind_of(v) == VCORE_JSON_NULL;
}

static vlm_status check(text_config *c, const text_type *type, vlm_error *err) {
    int64_t heads = c->num_attention_heads;
    if (c->num_key_value_heads == 0) c->num_key_value_heads = heads;
    if (heads % c->num_key_value_heads != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "num_attention_heads",
                                "%lld is no multiple of num_key_value_heads %lld", (long long)heads,
                                (long long)c->num_key_value_heads);
    if (c->head_dim == 0 && c->hidden_size % heads != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "hidden_size",
                                "%lld is no multiple of num_attention_heads %lld",
                                (long long)c->hidden_size, (long long)heads);
    if (c->head_dim == 0) c->head_dim = c->hidden_size / heads;
    if (c->head_dim < 2 || c->head_dim % 2 != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "head_dim", "must be even, is %lld",
                                (long long)c->head_dim);
    if (c->num_experts && c->num_experts_per_tok > c->num_experts)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "num_experts_per_tok",
                                "%lld of num_experts %lld", (long long)c->num_experts_per_tok,
                                (long long)c->num_experts);
    int64_t pairs = 0;
    for (int64_t i = 0; i < c->mrope_section.n; i++) pairs += c->mrope_section.at[i];
    bool sections = c->mrope_section.n == type->position_axes && pairs == c->head_dim / 2;
    if (type->position_axes > 1 && !sections)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "rope_parameters.mrope_section",
                                "must be %d numbers with the sum %lld", type->position_axes,
                                (long long)c->head_dim / 2);
    return VLM_OK;
}

/* LFM2's files say four thirds of a width that is then rounded up. */
static vlm_status adjust_inner(text_config *c, vlm_error *err) {
    const int64_t said = c->intermediate_size, multiple = c->block_multiple_of;
    if (!c->block_auto_adjust_ff_dim) return VLM_OK;
    int64_t inner = 2 * said / 3;
    if (c->block_ffn_dim_multiplier > 0) {
        inner = (int64_t)(c->block_ffn_dim_multiplier * (double)inner);
        inner = (inner + multiple - 1) / multiple * multiple;
    }
    c->intermediate_size = inner;
    if (inner >= 1 && inner <= 1 << 18) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "intermediate_size",
                            "%lld becomes %lld by block_ffn_dim_multiplier", (long long)said,
                            (long long)inner);
}

vlm_status vmodel_text_config_read(text_config *out, const text_type *type, const vlm_json *json,
                                   vlm_error *err) {
    *out = type->defaults;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (!fields[i].keys || type->keys & fields[i].keys)
            VTRY(vlm_config_read(out, json, WHERE, &fields[i].field, 1, err));
    if (out->mrope_section.n == 0) out->mrope_section = type->defaults.mrope_section;
    if (is_null(json, "num_key_value_heads")) out->num_key_value_heads = 0;
    if (is_null(json, "head_dim")) out->head_dim = 0;
    if (is_null(json, "sliding_window")) out->sliding_window = 0;
    if (is_null(json, "attn_logit_softcapping")) out->attn_logit_softcapping = 0;
    if (is_null(json, "block_ffn_dim_multiplier")) out->block_ffn_dim_multiplier = 0;
    VTRY(adjust_inner(out, err));
    return check(out, type, err);
}

/* ---- windows --------------------------------------------------------------------------------- */
static vlm_status listed_windows(int64_t *windows, const text_config *c, const vlm_json *types,
                                 vlm_error *err) {
    if (vcore_json_count(types) != (size_t)c->num_hidden_layers)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "layer_types",
                                "%zu entries for %lld layers", vcore_json_count(types),
                                (long long)c->num_hidden_layers);
    for (int64_t i = 0; i < c->num_hidden_layers; i++) {
        vcore_str name = { 0 };
        bool text = vcore_json_string(vcore_json_at(types, (size_t)i), &name);
        if (text && vcore_str_eq(name, vcore_str_of("sliding_attention")))
            windows[i] = c->sliding_window;
        else if (text && vcore_str_eq(name, vcore_str_of("full_attention")))
            windows[i] = 0;
        else if (text && c->conv_l_cache && vcore_str_eq(name, vcore_str_of("conv")))
            windows[i] = TEXT_NO_ATTENTION;
        else
            return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, WHERE, "layer_types",
                                    "'%.*s' is not supported", (int)(name.n < 60 ? name.n : 60),
                                    name.p ? name.p : "");
    }
    return VLM_OK;
}

vlm_status vmodel_text_config_windows(int64_t *windows, const text_config *config,
                                      const text_type *type, const vlm_json *json, vlm_error *err) {
    const vlm_json *types = vcore_json_get(json, "layer_types");
    vcore_json_kind kind = vcore_json_kind_of(types);
    /* A list must make sense for every type, also for those that do not go by it. */
    if (kind == VCORE_JSON_ARRAY) VTRY(listed_windows(windows, config, types, err));
    if (kind == VCORE_JSON_ARRAY && type->keys & TEXT_LAYER_TYPES) return VLM_OK;
    if (kind != VCORE_JSON_ARRAY && kind != VCORE_JSON_NULL)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "layer_types", "must be a list, is %s",
                                vcore_json_kind_name(types));
    for (int64_t i = 0; i < config->num_hidden_layers; i++) {
        bool has = config->use_sliding_window && i >= config->max_window_layers;
        if (config->sliding_window_pattern && (i + 1) % config->sliding_window_pattern == 0) has = false;
        windows[i] = has ? config->sliding_window : 0;
    }
    if (vcore_json_kind_of(vcore_json_get(json, "full_attn_idxs")) == VCORE_JSON_NULL) return VLM_OK;
    for (int64_t i = 0; config->conv_l_cache && i < config->num_hidden_layers; i++)
        windows[i] = TEXT_NO_ATTENTION;
    for (int64_t i = 0; i < config->full_attn_idxs.n; i++)
        if (config->full_attn_idxs.at[i] < config->num_hidden_layers)
            windows[config->full_attn_idxs.at[i]] = 0;
    return VLM_OK;
}
