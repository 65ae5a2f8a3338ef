/* SPDX-License-Identifier: MIT */
/* Which frames of a video file Qwen2VLVideoProcessor takes. */
#include <math.h>

#include "models/parts/grids.h"

/* How many: a number that is asked for, or by a rate. */
static double frames_wanted(const vlm_grid_recipe *how, const vlm_clip *clip) {
    const double step = (double)how->temporal_patch_size, all = (double)clip->frames;
    const bool rate = clip->wish_fps > 0 || clip->wish_frames || clip->wish_min_frames;
    if (clip->wish_nframes) return nearbyint((double)clip->wish_nframes / step) * step;
    if (how->num_frames && !rate) return nearbyint((double)how->num_frames / step) * step;
    double least = (double)(clip->wish_min_frames ? clip->wish_min_frames : how->min_frames);
    double most = (double)(clip->wish_frames ? clip->wish_frames : how->max_frames);
    double fps = clip->wish_fps > 0 ? clip->wish_fps : (double)how->fps;
    most = floor(fmin(most, all) / step) * step;
    double count = clip->fps > 0 ? all / clip->fps * fps : all;
    count = fmin(fmin(fmax(count, least), most), all);
    return floor(count / step) * step;
}

/* The reference fails for a video shorter than a step in time, of which all frames are taken here, but
 * not where so many were asked for. */
vlm_status vlm_grid_sample(const void *processor, const vlm_clip *clip, int64_t *numbers, size_t *n,
                           vlm_error *err) {
    double count = frames_wanted(vlm_grid_video_recipe(processor), clip);
    if (clip->wish_nframes && !(count >= 1 && count <= (double)clip->frames))
        return vlm_fail(err, VLM_ERR_VIDEO_PROCESSING, "nframes %lld of a video of %lld frames makes %.0f",
                        (long long)clip->wish_nframes, (long long)clip->frames, count);
    if (!(count >= 1)) count = 1;
    *n = vlm_sample_arange(numbers, (size_t)fmin(count, (double)clip->frames), clip->frames);
    return VLM_OK;
}
