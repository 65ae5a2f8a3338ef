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
    TOWER(qwen2_vl) TOWER(qwen2_5_vl) TOWER(qwen3_vl) TOWER(glm_ocr)                      /* grid/ */             \
    TOWER(pixtral) TOWER(fastvit) TOWER(timm)
#define VMODEL_DECLARE_TOWER(name) extern const vmodel_vision_type vmodel_vision_##name;
VMODEL_TOWERS(VMODEL_DECLARE_TOWER)

/* Which hidden states options->layers asks for, from 0, and so how many of n layers are run; none: all, and the end.
 * @param picks zeroed */
vlm_status vmodel_vision_pick_layers(vlm_ints *picks, int64_t *depth, const vlm_ints *layers, int64_t n,
                                     vlm_error *err);
/* Copies a hidden state to the columns of out [n, picks * dim] that ask for it. */
void vmodel_vision_keep(vlm_frame *f, vlm_tensor out, const vlm_ints *picks, vlm_tensor x, int64_t state);

#endif
