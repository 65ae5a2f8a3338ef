/* SPDX-License-Identifier: MIT */
/* The one text decoder: its config, the traits that a type adds, and the loaded model. Everything
 * that Llama, Qwen, Mistral and Gemma differ in is a value here. types.c has the types, config.c and rope.c read
 * the config, weights.c binds, attention.c or conv.c and mlp.c are the two halves of a layer, decoder.c is the pass. */
#ifndef VLM_MODELS_TEXT_DECODER_H
#define VLM_MODELS_TEXT_DECODER_H

#include "models/models.h"

/* Fields of text_config. Zero stands for "absent" where a comment says so. */
typedef struct text_config {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
    int64_t num_attention_heads;
    int64_t num_key_value_heads; /* absent: num_attention_heads */
    int64_t head_dim;            /* absent: hidden_size / num_attention_heads */
    int hidden_act;              /* vlm_activation */
    float rms_norm_eps;
    float rope_theta;
    float rope_local_theta;       /* of layers with a window (Gemma 3) */
    float llama_4_scaling_beta;   /* TEXT_GROWTH: queries grow by beta * log(1 + position / length, floored) */
    int64_t original_max_position_embeddings; /* the length */
    float query_pre_attn_scalar;  /* absent: head_dim */
    float attn_logit_softcapping; /* 0: none */
    int64_t sliding_window;       /* 0: none */
    int64_t max_window_layers;    /* layers below it have no window (Qwen 2) */
    int64_t sliding_window_pattern; /* without layer_types, every so manieth layer has no window (Gemma 2, 3) */
    bool use_sliding_window;
    bool attention_bias, mlp_bias;
    vlm_ints mrope_section;
    int64_t num_experts;   /* 0: none */
    int64_t num_experts_per_tok, moe_intermediate_size, decoder_sparse_step;
    vlm_ints mlp_only_layers; /* layers without experts */
    int64_t conv_l_cache; /* taps of short convolutions (LFM2) */
    bool conv_bias;
    vlm_ints full_attn_idxs; /* without layer_types, the layers that attend; absent: all */
    bool block_auto_adjust_ff_dim; /* intermediate_size is two thirds of what is said, times the multiplier */
    double block_ffn_dim_multiplier;
    int64_t block_multiple_of;
} text_config;

/* Keys that only some types read: in the config of another they mean nothing, as in the reference. */
enum {
    TEXT_HIDDEN_ACT = 1,
    TEXT_HIDDEN_ACTIVATION = 2, /* instead of hidden_act */
    TEXT_ATTENTION_BIAS = 4,
    TEXT_MLP_BIAS = 8,
    TEXT_SOFTCAP = 16, /* attn_logit_softcapping */
    TEXT_WINDOW = 32,
    TEXT_USE_WINDOW = 64, /* use_sliding_window, max_window_layers */
    TEXT_LAYER_TYPES = 128,
    TEXT_MROPE = 256,
    TEXT_QUERY_SCALAR = 1 << 9, /* query_pre_attn_scalar */
    TEXT_WINDOW_PATTERN = 1 << 10,
    TEXT_LOCAL_ROPE = 1 << 11, /* layers with a window turn by frequencies of their own */
    TEXT_SHORT_CONV = 1 << 12, /* the keys of LFM2, norm_eps among them */
    TEXT_GROWTH = 1 << 13,
    TEXT_EXPERTS = 1 << 14,
};

typedef struct text_names text_names; /* weights.c */
extern const text_names vmodel_text_names_glm, vmodel_text_names_lfm2;

/* What a type is, beyond its config. */
typedef struct text_type {
    const char *model_type; /* alternatives by '|' */
    const text_names *names; /* of tensors; NULL: Llama's */
    unsigned keys;          /* of those above */
    text_config defaults;   /* what the reference takes for absent keys */
    bool qkv_bias;          /* q, k and v have biases whatever attention_bias says */
    float norm_offset;      /* norms multiply by offset + w */
    bool scaled_embeddings; /* times sqrt(hidden_size) */
    bool sandwich_norms;    /* norms behind attention and MLP, too */
    bool window_in_spans;   /* the window holds among tokens that all see each other, too */
    bool qk_norm;           /* every head of q and k has an RMS norm in front of the rotation */
    int position_axes;      /* 3: M-RoPE */
    bool interleaved_axes;  /* M-RoPE's pairs take turns (t h w t h w ...), not section by section */
    vlm_rope_pairs pairs;
} text_type;
extern const text_type vmodel_text_types[]; /* ended by a NULL model_type */

/* The window of a layer with a short convolution. */
enum { TEXT_NO_ATTENTION = -1 };

/* A mixture of experts (experts.c). */
typedef struct text_experts {
    vlm_linear router;
    bool fused;              /* gate_up_proj holds what else gate_proj and up_proj do */
    vlm_matrix gate_up_proj; /* [experts * 2 * inner, dim] */
    vlm_matrix gate_proj, up_proj; /* [experts * inner, dim] */
    vlm_matrix down_proj;    /* [experts * dim, inner] */
} text_experts;

/* The norms go by what they stand around: files have several names for them (weights.c). */
typedef struct text_layer {
    vlm_norm attention_norm, mlp_norm;           /* in front */
    vlm_norm attention_post_norm, mlp_post_norm; /* behind; sandwich norms only */
    vlm_linear q_proj, k_proj, v_proj, o_proj;
    vlm_norm q_norm, k_norm; /* [head_dim]; qk_norm only */
    struct {
        vlm_linear in_proj; /* to the gate in front, the gate behind and the rows that are convolved */
        vlm_linear taps;    /* [hidden_size, conv_l_cache] and bias: a convolution, not a product */
        vlm_linear out_proj;
    } conv; /* in place of attention */
    vlm_gated_mlp mlp;
    vlm_linear gate_up_proj; /* of files that have them one below the other: mlp's are views of it */
    text_experts *experts; /* in place of the MLP; NULL: none */
    int64_t window; /* 0: none; or TEXT_NO_ATTENTION */
} text_layer;

/* What turns the heads. */
typedef struct text_rope {
    int pairs;
    float *inv_freq;  /* [pairs] */
    uint8_t *axis_of; /* [pairs] M-RoPE: the axis that turns the pair; NULL: axis 0 */
    float attention_factor; /* of cosines and sines (YaRN) */
} text_rope;

struct vlm_text {
    const text_type *type;
    text_config config;
    vlm_text_info info;
    text_layer *layers;
    vlm_matrix embed_tokens;
    vlm_norm norm;
    vlm_linear lm_head; /* the embedding table when tied */
    float embed_scale, attention_scale;
    text_rope rope;
    text_rope local_rope; /* TEXT_LOCAL_ROPE only: of layers with a window */
};

/* Reads text_config, checks it as a whole and fills in what follows from it (config.c). */
vlm_status vmodel_text_config_read(text_config *out, const text_type *type, const vlm_json *json,
                                   vlm_error *err);
/* The window of every layer, 0 for none, or TEXT_NO_ATTENTION. @param windows [num_hidden_layers] */
vlm_status vmodel_text_config_windows(int64_t *windows, const text_config *config,
                                      const text_type *type, const vlm_json *json, vlm_error *err);
/* Frequencies of theta after the scaling that an object like rope_parameters asks for (rope.c). @param rope has
 * pairs and room @param object NULL: none */
vlm_status vmodel_text_rope_fill(text_rope *rope, double theta, const vlm_json *object, vlm_error *err);
/* t->rope and t->local_rope as the config has them, and the axes that the pairs belong to. */
vlm_status vmodel_text_rope_new(vlm_text *t, vlm_build *build, const vlm_json *json, vlm_error *err);
/* Cosines and sines of a pass. */
vlm_rope_table vmodel_text_rope_table(vlm_frame *f, const text_rope *rope, vlm_tensor positions);
/* What queries of a pass grow by. @param positions host [n], or NULL */
vlm_rope_table vmodel_text_growth(vlm_frame *f, const vlm_text *t, const int32_t *positions, int64_t n);
/* Binds embeddings, layers and head (weights.c). */
vlm_status vmodel_text_bind(vlm_text *t, vlm_build *build, const vlm_text_options *options,
                            vlm_error *err);

/* What the layers of a pass share. n is the number of rows of a pass over all its sequences. */
typedef struct text_pass {
    vlm_rope_table rope, local_rope;
    vlm_rope_table growth; /* [n, 1] of queries, as angles of 0 whose cosine is the factor; empty: none */
    const vlm_segment *segments; /* of the layer at hand */
    int n_segments;
    vlm_tensor wanted; /* I32 [m]: rows that the layer computes; empty: all */
} text_pass;
/* x + o_proj(attention(norm(x))), x [n, dim]: in place, or the rows wanted alone (attention.c). */
vlm_tensor vmodel_text_attention(vlm_frame *f, const vlm_text *t, const text_layer *layer,
                                 vlm_tensor x, const text_pass *pass);
/* The same with a gated short convolution (conv.c). */
vlm_tensor vmodel_text_conv(vlm_frame *f, const vlm_text *t, const text_layer *layer, vlm_tensor x,
                            const text_pass *pass);
/* Experts of a layer (experts.c): whether it has them, their tensors below the prefix of `where`, and
 * x += experts(norm(x)), x [n, dim]. */
bool vmodel_text_has_experts(const text_config *c, int64_t layer);
vlm_status vmodel_text_experts_bind(text_layer *layer, const text_config *c, vlm_build *build,
                                    const vlm_binding *where, vlm_error *err);
void vmodel_text_experts(vlm_frame *f, const vlm_text *t, const text_layer *layer, vlm_tensor x);
/* x += mlp(norm(x)), x [n, dim] (mlp.c) */
void vmodel_text_mlp(vlm_frame *f, const vlm_text *t, const text_layer *layer, vlm_tensor x);

#endif
