/* SPDX-License-Identifier: MIT */
/* The plain ViT: the pass over a picture, and how a tower is built. */
#include "models/vision/vit/vit.h"

/* x += out_proj(attention(norm(x))), x [n, dim] */
static void attention_block(vlm_frame *f, const vit *s, const vit_layer *layer, vlm_tensor x,
                            int64_t visible) {
    const vlm_linear *const qkv[] = { &layer->q_proj, &layer->k_proj, &layer->v_proj };
    int64_t heads = s->config.num_attention_heads, dim = s->config.hidden_size;
    const vlm_attention_desc desc = { .scale = s->attention_scale };
    const vlm_segment picture = { .length = x.shape[0], .visible = visible };
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor y[3]; /* q, k, v: [n, dim] */
    vlm_apply_linears(f, y, vlm_layer_norm(f, x, &layer->layer_norm1), qkv, 3);
    for (int i = 0; i < 3; i++) y[i] = vlm_reshape3(f, y[i], -1, heads, dim / heads);
    vlm_tensor a = vlm_attention(f, y[0], y[1], y[2], &picture, 1, &desc);
    vlm_add_to(f, x, vlm_apply_linear(f, vlm_reshape2(f, a, -1, dim), &layer->out_proj));
    vlm_scope_end(f, scope);
}

/* x += mlp(norm(x)), x [n, dim] */
static void mlp_block(vlm_frame *f, const vit *s, const vit_layer *layer, vlm_tensor x) {
    for (vlm_pieces p = vlm_pieces_of(f, x, s->config.intermediate_size); vlm_pieces_next(&p);)
        vlm_add_to(f, p.rows,
                   vlm_apply_mlp(f, vlm_layer_norm(f, p.rows, &layer->layer_norm2), &layer->mlp));
}

/* The patches of a picture and their positions, [n, dim]. */
static vlm_tensor embed_flexible(vlm_frame *f, const vit *s, vlm_tensor patches, const vit_layout *l) {
    vlm_tensor x = vlm_apply_linear(f, patches, &s->patch_embedding);
    vlm_scope scope = vlm_scope_begin(f);
    vlm_add_to(f, x, vmodel_vit_positions(f, s, l->rows, l->columns));
    vlm_scope_end(f, scope);
    return x;
}

/* Rows as they enter the first layer: [class token and patches, dim], in picture order. */
static vlm_tensor embed(vlm_frame *f, const vit *s, vlm_tensor pixels, const vit_layout *l) {
    const int64_t patch = s->config.patch_size;
    if (s->type->naflex) return embed_flexible(f, s, pixels, l);
    pixels.shape[1] = l->rows * patch; /* what is left at the edges is no patch: of 384, 6 by 14 */
    pixels.shape[2] = l->columns * patch;
    vlm_tensor x = vlm_apply_linear(f, vlm_patches(f, pixels, patch), &s->patch_embedding);
    if (s->type->clip) {
        const vlm_tensor parts[] = { vlm_reshape2(f, s->class_embedding, 1, -1), x };
        x = vlm_concat(f, parts, 2);
    }
    vlm_tensor position = vlm_tensor_from(f, VLM_DTYPE_I32, 1, &x.shape[0], l->position);
    vlm_add_to(f, x, vlm_embed(f, &s->position_embedding, position));
    return s->type->clip ? vlm_layer_norm(f, x, &s->pre_layrnorm) : x;
}

/* A picture to features, [rows, dim] in picture order. */
static vlm_tensor encode(vlm_frame *f, const vit *s, vlm_tensor pixels, const vit_layout *l) {
    const int64_t n = l->rows * l->columns, wide = s->base.info.dim;
    vlm_tensor x = embed(f, s, pixels, l), out = { 0 };
    const bool padded = l->visible < n, several = s->picks.n > 1;
    if (padded) x = vlm_gather(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, l->order));
    if (several)
        out = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { x.shape[0], wide });
    for (int64_t i = 0; i < s->depth && vlm_frame_ok(f); i++) {
        if (several) vmodel_vision_keep(f, out, &s->picks, x, i);
        attention_block(f, s, &s->layers[i], x, l->visible + s->type->clip);
        mlp_block(f, s, &s->layers[i], x);
    }
    if (several) vmodel_vision_keep(f, out, &s->picks, x, s->depth), x = out;
    if (padded) x = vlm_gather(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, l->place));
    if (s->picks.n == 0 && !s->type->clip) x = vlm_layer_norm(f, x, &s->post_layernorm);
    return s->drop_first ? vlm_rows(f, x, 1, x.shape[0] - 1) : x;
}

static vlm_tensor forward(vlm_frame *f, const vlm_vision *vision, const vlm_vision_input *input) {
    const vit *s = (const vit *)vision;
    vit_layout l = { 0 };
    vlm_tensor y = { 0 };
    if (vlm_frame_ok(f) && vmodel_vit_layout(&l, f, s, input)) y = encode(f, s, input->pixels, &l);
    vcore_free(l.position);
    return y;
}

/* ---- building -------------------------------------------------------------------------------- */
vlm_status vmodel_vit_new(vlm_vision **out, const vit_type *type, vlm_build *build,
                          const vlm_vision_options *options, vlm_error *err) {
    vit *s = vlm_build_alloc(build, 1, sizeof *s);
    if (!s) return vcore_no_memory(err, "vision tower");
    vit_config *c = &s->config;
    s->type = type;
    VTRY(vmodel_vit_config(s, options->config, err));
    VTRY(vmodel_vision_pick_layers(&s->picks, &s->depth, options->layers, c->num_hidden_layers, err));
    s->drop_first = options->drop_class;
    s->layers = vlm_build_alloc(build, (size_t)c->num_hidden_layers, sizeof *s->layers);
    if (!s->layers) return vcore_no_memory(err, "vision tower");
    s->base.forward = forward;
    s->base.info = (vlm_vision_info) { .dim = c->hidden_size * (s->picks.n ? s->picks.n : 1),
                                       .channels = c->num_channels,
                                       .image_size = type->naflex ? 0 : c->image_size,
                                       .patch_size = c->patch_size,
                                       .extra_rows = type->clip - options->drop_class };
    VTRY(vmodel_vit_bind(s, build, options->prefix, err));
    *out = &s->base;
    return VLM_OK;
}
