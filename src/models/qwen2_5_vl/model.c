/* SPDX-License-Identifier: MIT */
/* Qwen2.5-VL: a tower with windows over grids of patches, a Qwen 2 decoder whose positions have three
 * axes; a video's time goes by the second. */
#include "vlm/extend.h"

static const vlm_grid_spec spec = {
    .vision = { .fallback_type = "qwen2_5_vl_vision",
                .prefix = "model.visual.|visual.|vision_tower." },
    .text = { .fallback_type = "qwen2_5_vl_text",
              .prefix = "model.language_model.|model.|language_model.model.",
              .head_prefix = "|language_model." },
    .image_token_id = 151655,
    .video_token_id = 151656,
    .nested_tie = true,
    .paced = true,
};

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    return vlm_grid_model_new(model, build, &spec, err);
}

const vlm_model_type vmodel_qwen2_5_vl = {
    .model_type = "qwen2_5_vl",
    .default_processor_class = "Qwen2_5_VLProcessor",
    .create = create,
    .text = vlm_grid_text,
    .features = vlm_grid_features,
    .positions = vlm_grid_positions,
};
