/* SPDX-License-Identifier: MIT */
/* Processor class Qwen2_5_VLProcessor: pictures and the frames of videos each within a budget of
 * pixels. */
#include "vlm/extend.h"

static const vlm_grid_processor_spec spec = {
    .image_token = "<|image_pad|>",
    .video_token = "<|video_pad|>",
    .image = VLM_GRID_QWEN2_IMAGE,
    .video = VLM_GRID_QWEN2_VIDEO,
    .paced = true,
};

static vlm_status create(void **processor, const vlm_processor_build *build, vlm_error *err) {
    return vlm_grid_processor_new(processor, build, &spec, err);
}

const vlm_processor_type vmodel_qwen2_5_vl_processor = {
    .processor_class = "Qwen2_5_VLProcessor",
    .create = create,
    .placeholder = vlm_grid_placeholder,
    .plan = vlm_grid_plan,
    .fill = vlm_grid_fill,
    .sample = vlm_grid_sample,
    .frame_size = vlm_grid_frame_size,
    .image_processor_config = vlm_grid_image_processor_config,
};
