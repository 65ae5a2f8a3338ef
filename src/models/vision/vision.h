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

/* The towers, a line each: vmodel_vision_<name>. */
#define VMODEL_TOWERS(TOWER)                                                                       \
    TOWER(siglip) TOWER(so400m) TOWER(clip) TOWER(idefics3) TOWER(siglip2) /* vit/ */              \
    TOWER(qwen2_vl) TOWER(qwen2_5_vl) TOWER(qwen3_vl)        /* grid/ */
#define VMODEL_DECLARE_TOWER(name) extern const vmodel_vision_type vmodel_vision_##name;
VMODEL_TOWERS(VMODEL_DECLARE_TOWER)

#endif
