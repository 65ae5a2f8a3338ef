/* SPDX-License-Identifier: MIT */
/* What a vision tower looks like to vision.c, and the towers there are. */
#ifndef VLM_MODELS_VISION_H
#define VLM_MODELS_VISION_H

#include "models/models.h"

/* The first member of every tower. */
struct vlm_vision {
    vlm_vision_info info;
    vlm_tensor (*forward)(vlm_frame *f, const vlm_vision *vision, const vlm_vision_input *input);
};

typedef struct vmodel_vision_type {
    const char *model_type; /* alternatives by '|' */
    bool chooses_layers;    /* takes options->layers and drop_class */
    vlm_status (*create)(vlm_vision **out, vlm_build *build, const vlm_vision_options *options,
                         vlm_error *err);
} vmodel_vision_type;

extern const vmodel_vision_type vmodel_vision_siglip, vmodel_vision_clip;  /* siglip.c */
extern const vmodel_vision_type vmodel_vision_idefics3;                          /* siglip.c */
extern const vmodel_vision_type vmodel_vision_qwen2_vl, vmodel_vision_qwen2_5_vl,
    vmodel_vision_qwen3_vl; /* grid/ */

#endif
