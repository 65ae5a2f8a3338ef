/* SPDX-License-Identifier: MIT */
/* GLM-OCR: a tower over grids of patches with norms on its heads, whose squares a convolution joins, and
 * a GLM-4 decoder of four norms a layer, whose positions have three axes. A video is shown time by time
 * as pictures, each with its second behind it. */
#include <math.h>

#include "vlm/extend.h"

static const vlm_grid_spec model_spec = {
    .vision = { .fallback_type = "glm_ocr_vision", .prefix = "model.visual.|visual.|vision_tower." },
    .text = { .fallback_type = "glm_ocr_text",
              .prefix = "model.language_model.|language_model.model.",
              .head_prefix = "|language_model." },
    .image_token_id = 59280,
    .video_token_id = 59281,
    .nested_tie = true,
    .shared_token = true,
    .frames_apart = true,
};

static vlm_status create_model(void **model, vlm_build *build, vlm_error *err) {
    return vlm_grid_model_new(model, build, &model_spec, err);
}

const vlm_model_type vmodel_glm_ocr = {
    .model_type = "glm_ocr",
    .default_processor_class = "Glm46VProcessor",
    .create = create_model,
    .text = vlm_grid_text,
    .features = vlm_grid_features,
    .positions = vlm_grid_positions,
};

/* ---- the processor --------------------------------------------------------------------------- */
static char *time_text(vlm_plan *plan, const vlm_grid_time *time) {
    return vlm_plan_printf(plan, "<|begin_of_image|>%s<|end_of_image|>%s seconds", time->tokens,
                           time->first);
}

#define RECIPE(most)                                                                               \
    {                                                                                              \
        .do_resize = true, .patch_size = 14, .merge_size = 2, .temporal_patch_size = 2,            \
        .min_pixels = 112 * 112, .max_pixels = most, .frames_count = true, .even_files = true,     \
        .rules = VLM_CLIP_PIXEL_RULES, .fps = 2, .min_frames = 1, .max_frames = 640                \
    }
static const vlm_grid_processor_spec processor_spec = {
    .image_token = "<|image|>",
    .video_token = "<|video|>",
    .shared_token = true,
    .image = RECIPE(28 * 28 * 15000),
    .video = RECIPE(28 * 28 * 2 * 30000),
    .time_text = time_text,
};

static vlm_status create_processor(void **processor, const vlm_processor_build *build,
                                   vlm_error *err) {
    return vlm_grid_processor_new(processor, build, &processor_spec, err);
}

/* ---- which frames of a video file ------------------------------------------------------------ */
enum { LONGEST = 2400, MOST_FRAMES = 640 };

/* So many frames of a time are looked at for every second, by the length of the video. */
static double rate_of(double duration) {
    return duration <= 30 ? 3 : duration <= 300 ? 1 : 0.5;
}

/* The first frame of every interval of 1 / rate seconds, up to the last whole second; the first `most`
 * are written, all are counted. */
static int64_t by_time(int64_t *numbers, int64_t most, const vlm_clip *clip, double fps, double rate,
                       double duration) {
    int64_t n = 0;
    double next = 0;
    for (int64_t i = 0; i < clip->frames; i++) {
        if ((double)i * (1 / fps) < next) continue;
        next += 1 / rate;
        if (n < most) numbers[n] = i;
        n++;
        if (next >= floor(duration)) break;
    }
    return n;
}

/* Each number once: they are in ascending order. */
static int64_t distinct(int64_t *numbers, int64_t n) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (kept == 0 || numbers[kept - 1] != numbers[i]) numbers[kept++] = numbers[i];
    return kept;
}

/* How many frames are looked for: by the rate, or as many as are asked for. */
static int64_t frames_wanted(const vlm_clip *clip, double seconds, double rate) {
    double n = clip->wish_nframes ? (double)clip->wish_nframes : floor(seconds * rate);
    n = fmin(n, clip->wish_frames ? (double)clip->wish_frames : MOST_FRAMES);
    n = fmax(fmax(n, (double)clip->wish_min_frames), 1);
    return (int64_t)fmin(n, (double)clip->frames + 1); /* more than there are is all of them */
}

/* As Glm46VVideoProcessor does it, which hears of no wishes. */
static vlm_status sample(const void *processor, const vlm_clip *clip, int64_t *numbers, size_t *n,
                         vlm_error *err) {
    (void)err;
    const double step = (double)vlm_grid_video_recipe(processor)->temporal_patch_size;
    const double fps = clip->fps > 0 ? clip->fps : 24;
    const double duration =
        clip->duration > 0 ? clip->duration : nearbyint((double)(clip->frames - 1) / fps) + 1;
    const double shown = fmin(duration, LONGEST);
    const double rate = clip->wish_fps > 0 ? clip->wish_fps : rate_of(shown) * step;
    const int64_t wanted = frames_wanted(clip, shown, rate);
    if (wanted > clip->frames) {
        for (int64_t i = 0; i < clip->frames; i++) numbers[i] = i;
        *n = (size_t)clip->frames;
        return VLM_OK;
    }
    const int64_t found = by_time(numbers, wanted, clip, fps, rate, duration);
    if (found < wanted)
        vlm_sample_linspace(numbers, (size_t)wanted, numbers[0], numbers[found - 1], true);
    else if (found > wanted)
        vlm_sample_linspace(numbers, (size_t)wanted, 0, clip->frames - 1, true);
    *n = (size_t)distinct(numbers, wanted);
    return VLM_OK;
}

const vlm_processor_type vmodel_glm46v_processor = {
    .processor_class = "Glm46VProcessor",
    .create = create_processor,
    .placeholder = vlm_grid_placeholder,
    .single_media_type = true,
    .plan = vlm_grid_plan,
    .fill = vlm_grid_fill,
    .sample = sample,
    .frame_size = vlm_grid_frame_size,
    .image_processor_config = vlm_grid_image_processor_config,
};
