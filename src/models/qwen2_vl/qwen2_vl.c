/* SPDX-License-Identifier: MIT */
/* Qwen2-VL: a tower of layer norms and plain MLPs over grids of patches, a Qwen 2 decoder whose
 * positions have three axes. */
#include "vlm/extend.h"

static const vlm_grid_spec model_spec = {
    .vision = { .fallback_type = "qwen2_vl_vision",
                .prefix = "model.visual.|visual.|vision_tower." },
    .text = { .fallback_type = "qwen2_vl_text",
              .prefix = "model.language_model.|model.|language_model.model.",
              .head_prefix = "|language_model." },
    .image_token_id = 151655,
    .video_token_id = 151656,
    .nested_tie = true,
};

static vlm_status create_model(void **model, vlm_build *build, vlm_error *err) {
    return vlm_grid_model_new(model, build, &model_spec, err);
}

const vlm_model_type vmodel_qwen2_vl = {
    .model_type = "qwen2_vl",
    .default_processor_class = "Qwen2VLProcessor",
    .create = create_model,
    .text = vlm_grid_text,
    .features = vlm_grid_features,
    .positions = vlm_grid_positions,
};

/* Pictures and the frames of videos each within a budget of pixels. */
static const vlm_grid_processor_spec processor_spec = {
    .image_token = "<|image_pad|>",
    .video_token = "<|video_pad|>",
    .image = VLM_GRID_QWEN2_IMAGE,
    .video = VLM_GRID_QWEN2_VIDEO,
};

static vlm_status create_processor(void **processor, const vlm_processor_build *build,
                                   vlm_error *err) {
    return vlm_grid_processor_new(processor, build, &processor_spec, err);
}

const vlm_processor_type vmodel_qwen2_vl_processor = {
    .processor_class = "Qwen2VLProcessor",
    .create = create_processor,
    .placeholder = vlm_grid_placeholder,
    .plan = vlm_grid_plan,
    .fill = vlm_grid_fill,
    .sample = vlm_grid_sample,
    .frame_size = vlm_grid_frame_size,
    .image_processor_config = vlm_grid_image_processor_config,
};
