/* SPDX-License-Identifier: MIT */
/* smart_resize: sides in whole squares of patches, as near to the picture's as a budget of pixels
 * allows. nearbyint rounds halves to even, as Python does. */
#include "media/media.h"

#include <math.h>

/* A picture on its way through the rule: frames count in the budget. */
typedef struct frame {
    double width, height, frames;
} frame;

static vlm_status check_rule(const vlm_smart_resize_rule *rule, vlm_error *err) {
    if (rule->factor == 0) return vmedia_bad_rule("the factor of smart_resize", err);
    return rule->max_pixels ? VLM_OK : vmedia_bad_rule("max_pixels", err);
}

/* @param counted the frames that the rounded sides are multiplied by */
static frame into_budget(frame f, double counted, const vlm_smart_resize_rule *rule) {
    const double factor = rule->factor, most = (double)rule->max_pixels;
    const double least = (double)rule->min_pixels, given = f.frames * f.height * f.width;
    double height = nearbyint(f.height / factor) * factor;
    double width = nearbyint(f.width / factor) * factor;
    if (rule->at_least_a_factor) height = fmax(factor, height), width = fmax(factor, width);
    if (counted * height * width > most) {
        double beta = sqrt(given / most);
        height = fmax(factor, floor(f.height / beta / factor) * factor);
        width = fmax(factor, floor(f.width / beta / factor) * factor);
    } else if (counted * height * width < least) {
        double beta = sqrt(least / given);
        height = ceil(f.height * beta / factor) * factor;
        width = ceil(f.width * beta / factor) * factor;
    }
    return (frame) { width, height, f.frames };
}

static vlm_status check_aspect(frame f, vlm_size size, const vlm_smart_resize_rule *rule,
                               vlm_error *err) {
    double shorter = fmin(f.width, f.height), longer = fmax(f.width, f.height);
    if (rule->longest_aspect <= 0 || longer / shorter <= rule->longest_aspect) return VLM_OK;
    return vcore_fail(err, VLM_ERR_IMAGE_PROCESSING,
                      "a picture of %u x %u has an aspect ratio above %g", size.width, size.height,
                      rule->longest_aspect);
}

vlm_status vlm_smart_resize(vlm_size *out, vlm_size size, const vlm_smart_resize_rule *rule,
                            vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    VTRY(check_rule(rule, err));
    frame f = { size.width, size.height, 1 };
    VTRY(check_aspect(f, size, rule, err));
    f = into_budget(f, 1, rule);
    return vmedia_sides(out, f.width, f.height, size, err);
}

vlm_status vlm_smart_resize_frames(vlm_size *out, vlm_size size, int64_t frames,
                                   uint32_t temporal_factor, const vlm_smart_resize_rule *rule,
                                   vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    VTRY(check_rule(rule, err));
    if (temporal_factor == 0) return vmedia_bad_rule("temporal_factor", err);
    if (frames < temporal_factor)
        return vcore_fail(err, VLM_ERR_VIDEO_PROCESSING, "%lld frames, but %u are taken at a time",
                          (long long)frames, temporal_factor);
    frame f = { size.width, size.height, (double)frames };
    const double factor = rule->factor;
    if (f.height < factor || f.width < factor) {
        double scale = fmax(factor / f.height, factor / f.width);
        f.height = trunc(f.height * scale);
        f.width = trunc(f.width * scale);
    }
    VTRY(check_aspect(f, size, rule, err));
    f = into_budget(f, nearbyint(f.frames / temporal_factor) * temporal_factor, rule);
    return vmedia_sides(out, f.width, f.height, size, err);
}
