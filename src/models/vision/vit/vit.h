/* SPDX-License-Identifier: MIT */
/* The plain ViT that SigLIP, CLIP, Idefics3 and SigLIP 2 have: patches, learned positions, a pre-norm
 * encoder with full attention. What they differ in is a trait of their type. One picture a call, so
 * that memory stays that of one picture. */
#ifndef VLM_MODELS_VISION_VIT_H
#define VLM_MODELS_VISION_VIT_H

#include "models/vision/vision.h"

typedef struct vit_config {
    int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
    int64_t num_channels, image_size, patch_size;
    int64_t num_patches; /* of a whole picture: NaFlex, in place of image_size */
    int hidden_act;
    float layer_norm_eps;
} vit_config;

/* A type: what the reference takes for absent keys, and how it departs from SigLIP. */
typedef struct vit_type {
    vit_config defaults;
    bool navit;  /* a picture of any size, with padding, takes the learned positions by its place */
    bool naflex; /* the learned positions are resized to a picture of any size, which comes as rows of patches */
    bool clip; /* a class token in front, a norm before the layers and none behind, no bias of patches */
} vit_type;

typedef struct vit_layer {
    vlm_norm layer_norm1, layer_norm2;
    vlm_linear q_proj, k_proj, v_proj, out_proj;
    vlm_mlp mlp;
} vit_layer;

typedef struct vit {
    vlm_vision base;
    const vit_type *type;
    vit_config config;
    vlm_ints picks;  /* hidden states that are given, from 0; none: the end */
    int64_t depth;   /* layers that are run */
    bool drop_first; /* the first row is not given */
    int64_t side; /* patches of a side at image_size */
    float attention_scale;
    vlm_linear patch_embedding;
    vlm_matrix position_embedding;
    vlm_tensor class_embedding; /* CLIP */
    vlm_norm pre_layrnorm;      /* CLIP; spelt so there */
    vit_layer *layers;
    vlm_norm post_layernorm;
} vit;

/* Reads and checks vision_config; weights (config.c). */
vlm_status vmodel_vit_config(vit *s, const vlm_json *json, vlm_error *err);
vlm_status vmodel_vit_bind(vit *s, vlm_build *build, const char *prefix, vlm_error *err);
/* Builds a tower of a type (tower.c). */
vlm_status vmodel_vit_new(vlm_vision **out, const vit_type *type, vlm_build *build,
                          const vlm_vision_options *options, vlm_error *err);

/* ---- where patches stand (layout.c) ---- */
/* The patches of a picture. Those that hold picture come first while the encoder works, so that
 * padding is what lies behind the last of them. */
typedef struct vit_layout {
    int64_t rows, columns;
    int64_t visible;   /* patches that hold picture */
    int32_t *position; /* of each patch, in picture order, behind that of a class token; NULL: NaFlex */
    int32_t *order;    /* [rows * columns] patch at each place of the encoder */
    int32_t *place;    /* [rows * columns] the inverse of order */
} vit_layout;
/* Fills in a layout; free its position, which holds all lists. False: the frame failed. */
bool vmodel_vit_layout(vit_layout *l, vlm_frame *f, const vit *s, const vlm_vision_input *input);
/* The learned positions resized to a picture of rows x columns (resize.c). @return [rows * columns, dim] */
vlm_tensor vmodel_vit_positions(vlm_frame *f, const vit *s, int64_t rows, int64_t columns);

#endif
