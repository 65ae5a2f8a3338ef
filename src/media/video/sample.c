/* SPDX-License-Identifier: MIT */
/* Which frames of a video are taken: the rules of mlx-swift, mlx-vlm and transformers, as functions
 * of counts and times alone. Owns no pixel and no file. */
#include "media/media.h"

#include <math.h>

size_t vlm_sample_times(int64_t *ticks, size_t capacity, int64_t duration, int64_t timescale,
                        double fps, size_t max_frames, size_t available) {
    if (duration < 0) duration = 0;
    if (timescale < 1) timescale = 1;
    double requested = round((double)duration / (double)timescale * (fps > 0 ? fps : 1));
    size_t count = requested < 1 ? 1 : requested > 9e15 ? (size_t)9e15 : (size_t)requested;
    if (max_frames && count > max_frames) count = max_frames;
    if (available && count > available) count = available;
    for (size_t i = 0; ticks && i < count && i < capacity; i++)
        ticks[i] = count > 1 ? llround((double)i * (double)duration / (double)(count - 1)) : 0;
    return count;
}

void vlm_sample_linspace(int64_t *numbers, size_t n, int64_t first, int64_t last, bool floored) {
    double step = n > 1 ? (double)(last - first) / (double)(n - 1) : 0;
    for (size_t i = 0; numbers && i < n; i++) {
        double at = (double)i * step + (double)first;
        if (i > 0 && i + 1 == n) at = (double)last;
        numbers[i] = (int64_t)(floored ? floor(at) : nearbyint(at));
    }
}

/* torch computes the product in double and keeps it in float32. */
size_t vlm_sample_arange(int64_t *numbers, size_t n, int64_t total) {
    if (n == 0 || total < 1 || n > (uint64_t)total) return 0;
    double step = (double)total / (double)n;
    for (size_t i = 0; numbers && i < n; i++) {
        int64_t at = (int64_t)(float)((double)i * step);
        numbers[i] = at < total ? at : total - 1;
    }
    return n;
}

vlm_status vlm_smart_nframes(int64_t *out, int64_t total, double video_fps,
                             const vlm_nframes_rule *rule, vlm_error *err) {
    vlm_nframes_rule r = rule ? *rule : (vlm_nframes_rule) { 0 };
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_smart_nframes: out is NULL");
    *out = 0;
    double fps = r.fps > 0 ? r.fps : 2, factor = r.factor > 0 ? (double)r.factor : 2;
    double least = ceil((double)(r.min_frames > 0 ? r.min_frames : 4) / factor) * factor;
    double most = (double)(r.max_frames > 0 ? r.max_frames : 768);
    double n;
    if (r.nframes > 0) {
        n = nearbyint((double)r.nframes / factor) * factor;
    } else {
        most = floor(fmin(most, (double)total) / factor) * factor;
        n = (double)total / (video_fps > 0 ? video_fps : 1) * fps;
        n = fmin(fmin(fmax(n, least), most), (double)total);
        n = floor(n / factor) * factor;
    }
    if (!(n >= factor && n <= (double)total))
        return vcore_fail(err, VLM_ERR_VIDEO_PROCESSING,
                          "a video of %lld frames: %.0f of them, in steps of %.0f, are out of range",
                          (long long)total, n, factor);
    *out = (int64_t)n;
    return VLM_OK;
}
