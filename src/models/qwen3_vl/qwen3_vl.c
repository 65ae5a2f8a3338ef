/* SPDX-License-Identifier: MIT */
/* Qwen3-VL: a tower over grids of patches whose middle blocks feed the decoder's first layers, too
 * (DeepStack), and a Qwen 3 decoder whose positions have three axes, with or without experts. A video is
 * shown time by time, each with its second in front. */
#include "vlm/extend.h"

#define MODEL_SPEC(text_type)                                                                      \
    {                                                                                              \
        .vision = { .fallback_type = "qwen3_vl_vision",                                            \
                    .prefix = "model.visual.|visual.|vision_tower." },                             \
        .text = { .fallback_type = text_type,                                                      \
                  .prefix = "model.language_model.|language_model.model.",                         \
                  .head_prefix = "|language_model." },                                             \
        .image_token_id = 151655, .video_token_id = 151656, .frames_apart = true,                  \
    }
static const vlm_grid_spec dense_spec = MODEL_SPEC("qwen3_vl_text");
static const vlm_grid_spec moe_spec = MODEL_SPEC("qwen3_vl_moe_text");

static vlm_status create_model(void **model, vlm_build *build, vlm_error *err) {
    return vlm_grid_model_new(model, build, &dense_spec, err);
}

static vlm_status create_moe_model(void **model, vlm_build *build, vlm_error *err) {
    return vlm_grid_model_new(model, build, &moe_spec, err);
}

const vlm_model_type vmodel_qwen3_vl = {
    .model_type = "qwen3_vl",
    .default_processor_class = "Qwen3VLProcessor",
    .create = create_model,
    .text = vlm_grid_text,
    .features = vlm_grid_features,
    .positions = vlm_grid_positions,
};

const vlm_model_type vmodel_qwen3_vl_moe = {
    .model_type = "qwen3_vl_moe",
    .default_processor_class = "Qwen3VLProcessor",
    .create = create_moe_model,
    .text = vlm_grid_text,
    .features = vlm_grid_features,
    .positions = vlm_grid_positions,
};

/* ---- the processor --------------------------------------------------------------------------- */
static char *time_text(vlm_plan *plan, const vlm_grid_time *time) {
    return vlm_plan_printf(plan, "<%s seconds><|vision_start|>%s<|vision_end|>", time->middle,
                           time->tokens);
}

static const vlm_grid_processor_spec processor_spec = {
    .image_token = "<|image_pad|>",
    .video_token = "<|video_pad|>",
    .image = VLM_GRID_QWEN2_IMAGE,
    .video = { .do_resize = true,
               .patch_size = 16,
               .merge_size = 2,
               .temporal_patch_size = 2,
               .min_pixels = 128 * 32 * 32,
               .max_pixels = 768 * 32 * 32,
               .frames_count = true,
               .rules = VLM_HALF_PIXEL_RULES(VLM_FILTER_BICUBIC),
               .fps = 2,
               .min_frames = 4,
               .max_frames = 768 },
    .time_text = time_text,
};

static vlm_status create_processor(void **processor, const vlm_processor_build *build,
                                   vlm_error *err) {
    return vlm_grid_processor_new(processor, build, &processor_spec, err);
}

static int64_t at_most(int64_t n, int64_t most) {
    return n < most ? n : most;
}

/* How many frames Qwen3VLVideoProcessor takes: a number that is asked for, or by a rate. */
static int64_t frames_wanted(const vlm_grid_recipe *how, const vlm_clip *clip) {
    const bool rate = clip->wish_fps > 0 || clip->wish_frames || clip->wish_min_frames;
    if (clip->wish_nframes) return clip->wish_nframes;
    if (how->num_frames && !rate) return how->num_frames;
    const int64_t least = clip->wish_min_frames ? clip->wish_min_frames : how->min_frames;
    const int64_t most = clip->wish_frames ? clip->wish_frames : how->max_frames;
    const double own = clip->fps > 0 ? clip->fps : 24;
    const double fps = clip->wish_fps > 0 ? clip->wish_fps : (double)how->fps;
    const double count = (double)clip->frames / own * fps;
    int64_t n = count < (double)clip->frames ? (int64_t)count : clip->frames;
    return at_most(at_most(n < least ? least : n, most), clip->frames);
}

static vlm_status sample(const void *processor, const vlm_clip *clip, int64_t *numbers, size_t *n,
                         vlm_error *err) {
    int64_t count = frames_wanted(vlm_grid_video_recipe(processor), clip);
    if (count < 1 || count > clip->frames)
        return vlm_fail(err, VLM_ERR_VIDEO_PROCESSING, "%lld frames of a video of %lld",
                        (long long)count, (long long)clip->frames);
    vlm_sample_linspace(numbers, (size_t)count, 0, clip->frames - 1, false);
    *n = (size_t)count;
    return VLM_OK;
}

const vlm_processor_type vmodel_qwen3_vl_processor = {
    .processor_class = "Qwen3VLProcessor",
    .create = create_processor,
    .placeholder = vlm_grid_placeholder,
    .plan = vlm_grid_plan,
    .fill = vlm_grid_fill,
    .sample = sample,
    .frame_size = vlm_grid_frame_size,
    .image_processor_config = vlm_grid_image_processor_config,
};
