/* SPDX-License-Identifier: MIT */
/* The plain ViT's config and tensors. */
#include <math.h>

#include "models/vision/vit/vit.h"

#define WHERE "config.json: vision_config"
#define INT(m, lo, hi) VLM_INT(vit_config, m, #m, lo, hi, VLM_KEEP)
static const vlm_config_field fields[] = {
    INT(hidden_size, 1, 1 << 16),
    INT(intermediate_size, 1, 1 << 18),
    INT(num_hidden_layers, 1, 1024),
    INT(num_attention_heads, 1, 1024),
    INT(num_channels, 1, 16),
    INT(patch_size, 1, 1024),
    VLM_NAME(vit_config, hidden_act, "hidden_act", vlm_activation_names, VLM_KEEP),
    VLM_REAL(vit_config, layer_norm_eps, "layer_norm_eps", 0, 1, VLM_KEEP),
};
static const vlm_config_field image_size[] = { INT(image_size, 1, 1 << 14) };
static const vlm_config_field num_patches[] = { INT(num_patches, 1, 1 << 16) };

enum { D, INNER, CHANNELS, PATCH, VALUES, POSITIONS, DIMS };
enum { CLIP = 1, NOT_CLIP = 2, CONV = 4, NAFLEX = 8 };
static const vlm_weight_row layer_rows[] = {
    VLM_BIND_NORM(vit_layer, layer_norm1, "encoder.layers.%d.layer_norm1", VLM_ALWAYS, D),
    VLM_BIND_LINEAR(vit_layer, q_proj, "encoder.layers.%d.self_attn.q_proj", VLM_ALWAYS, D, D),
    VLM_BIND_LINEAR(vit_layer, k_proj, "encoder.layers.%d.self_attn.k_proj", VLM_ALWAYS, D, D),
    VLM_BIND_LINEAR(vit_layer, v_proj, "encoder.layers.%d.self_attn.v_proj", VLM_ALWAYS, D, D),
    VLM_BIND_LINEAR(vit_layer, out_proj, "encoder.layers.%d.self_attn.out_proj", VLM_ALWAYS, D,
                    D),
    VLM_BIND_NORM(vit_layer, layer_norm2, "encoder.layers.%d.layer_norm2", VLM_ALWAYS, D),
    VLM_BIND_LINEAR(vit_layer, mlp.fc1, "encoder.layers.%d.mlp.fc1", VLM_ALWAYS, INNER, D),
    VLM_BIND_LINEAR(vit_layer, mlp.fc2, "encoder.layers.%d.mlp.fc2", VLM_ALWAYS, D, INNER),
};
static const vlm_weight_row tower_rows[] = {
    VLM_BIND_CONV_IF(CONV, vit, patch_embedding, "embeddings.patch_embedding", NOT_CLIP, D, CHANNELS,
                     PATCH, PATCH),
    VLM_BIND_LINEAR_IF(NAFLEX, vit, patch_embedding, "embeddings.patch_embedding", NOT_CLIP, D,
                       VALUES),
    VLM_BIND_TENSOR_IF(CLIP, vit, class_embedding, "embeddings.class_embedding", D),
    VLM_BIND_NORM_IF(CLIP, vit, pre_layrnorm, "pre_layrnorm", VLM_ALWAYS, D),
    VLM_BIND_MATRIX(vit, position_embedding, "embeddings.position_embedding", POSITIONS, D),
    VLM_BIND_NORM(vit, post_layernorm, "post_layernorm", VLM_ALWAYS, D),
    VLM_BIND_IGNORED("embeddings.position_ids"),
    VLM_BIND_IGNORED("head.*"), /* a pooling head that no VLM uses */
};
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static vlm_status check(const vit *s, vlm_error *err) {
    const vit_config *c = &s->config;
    if (c->hidden_size % c->num_attention_heads != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "hidden_size",
                                "%lld is no multiple of num_attention_heads %lld",
                                (long long)c->hidden_size, (long long)c->num_attention_heads);
    if (s->type->naflex && s->side * s->side != c->num_patches)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "num_patches", "%lld is no square",
                                (long long)c->num_patches);
    if (!s->type->naflex && c->image_size < c->patch_size)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "patch_size",
                                "%lld exceeds image_size %lld", (long long)c->patch_size,
                                (long long)c->image_size);
    return VLM_OK;
}

vlm_status vmodel_vit_config(vit *s, const vlm_json *json, vlm_error *err) {
    vit_config *c = &s->config;
    *c = s->type->defaults;
    VTRY(vlm_config_read(c, json, WHERE, fields, COUNT(fields), err));
    VTRY(vlm_config_read(c, json, WHERE, s->type->naflex ? num_patches : image_size, 1, err));
    s->side = s->type->naflex ? (int64_t)sqrt((double)c->num_patches) : c->image_size / c->patch_size;
    s->attention_scale = (float)(1 / sqrt((double)(c->hidden_size / c->num_attention_heads)));
    return check(s, err);
}

vlm_status vmodel_vit_bind(vit *s, vlm_build *build, const char *prefix, vlm_error *err) {
    const vit_config *c = &s->config;
    const vlm_norm norm = { .eps = c->layer_norm_eps };
    const int64_t dims[DIMS] = { c->hidden_size, c->intermediate_size, c->num_channels,
                                 c->patch_size, c->num_channels * c->patch_size * c->patch_size,
                                 s->side * s->side + s->type->clip };
    vlm_binding at = { .prefix = prefix, .dims = dims, .conditions = s->type->clip ? CLIP : NOT_CLIP };
    at.conditions |= s->type->naflex ? NAFLEX : CONV;
    s->pre_layrnorm = s->post_layernorm = norm;
    VTRY(vlm_bind(build, s, tower_rows, COUNT(tower_rows), &at, err));
    for (; at.layer < c->num_hidden_layers; at.layer++) {
        vit_layer *layer = &s->layers[at.layer];
        layer->layer_norm1 = layer->layer_norm2 = norm;
        layer->mlp.act = (vlm_activation)c->hidden_act;
        VTRY(vlm_bind(build, layer, layer_rows, COUNT(layer_rows), &at, err));
    }
    return VLM_OK;
}
