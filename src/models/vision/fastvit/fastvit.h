/* SPDX-License-Identifier: MIT */
/* FastViTHD, the tower of FastVLM, with its blocks reparametrised as checkpoints have them: a stem of convolutions, then
 * stages that halve the map, the first of convolutions alone (RepMixer), the last two of attention. A map is
 * [height * width, channels], so that convolutions of 1 x 1 are linear layers. */
#ifndef VLM_MODELS_VISION_FASTVIT_H
#define VLM_MODELS_VISION_FASTVIT_H

#include "models/vision/vision.h"

enum {
    FASTVIT_STAGES = 5,
    FASTVIT_ATTENTION = 3, /* the first stage with attention */
    FASTVIT_HEAD_DIM = 32,
    FASTVIT_MOST_SIDE = 1 << 13,
    FASTVIT_PATCH = 64 /* pixels of a side that become one row: the stem halves twice, four stages once */
};

typedef struct fastvit_config {
    bool timm;          /* names and config are those of timm's model "fastvit_mci3" */
    int architecture;
    int64_t image_size; /* 0: any; timm's says none */
    vlm_ints layers, embed_dims, mlp_ratios; /* [FASTVIT_STAGES] each */
} fastvit_config;

typedef struct fastvit_block {
    vlm_depthwise mixer; /* of stages without attention */
    vlm_norm norm;       /* of stages with attention, as the next three */
    vlm_linear qkv, proj;
    vlm_tensor layer_scale_1; /* [1, 1, dim], as layer_scale */
    vlm_depthwise conv; /* of the MLP, its batch normalisation folded */
    vlm_mlp mlp;
    vlm_tensor layer_scale;
} fastvit_block;

typedef struct fastvit_stage {
    int64_t dim, depth, inner; /* channels of the map and inside of the MLPs */
    vlm_depthwise down; /* halves the map; but for the first stage, as the next one */
    vlm_linear mix;
    vlm_depthwise positions; /* of stages with attention */
    fastvit_block *blocks;
} fastvit_stage;

typedef struct fastvit {
    vlm_vision base;
    fastvit_config config;
    vlm_linear stem;      /* 3 x 3, stride 2 */
    vlm_depthwise stem_down;
    vlm_linear stem_mix;
    fastvit_stage stages[FASTVIT_STAGES];
    vlm_depthwise expand; /* to twice the channels */
    vlm_linear squeeze, excite;
} fastvit;

/* Reads vision_config; binds the weights (weights.c). */
vlm_status vmodel_fastvit_config(fastvit *t, const vlm_json *json, vlm_error *err);
vlm_status vmodel_fastvit_bind(fastvit *t, vlm_build *build, const char *prefix, vlm_error *err);

#endif
