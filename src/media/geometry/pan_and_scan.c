/* SPDX-License-Identifier: MIT */
/* Gemma 3: a long picture is shown whole and in crops along its longer side. */
#include "media/media.h"

#include <math.h>

/* Crops along the longer side, halves of the aspect ratio rounded up; 0: the picture is not long
 * enough. */
static double crops_along(double longer, double shorter, const vlm_pan_and_scan_rule *rule) {
    if (longer / shorter < rule->min_ratio_to_activate) return 0;
    double n = fmin(floor(longer / rule->min_crop_size), floor(longer / shorter + 0.5));
    return fmin(rule->max_num_crops, fmax(2, n));
}

vlm_status vlm_plan_pan_and_scan(vlm_pan_and_scan_plan *out, vlm_size size,
                                 const vlm_pan_and_scan_rule *rule, vlm_error *err) {
    *out = (vlm_pan_and_scan_plan) { 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (rule->min_crop_size == 0) return vmedia_bad_rule("pan_and_scan_min_crop_size", err);
    if (rule->max_num_crops == 0) return vmedia_bad_rule("pan_and_scan_max_num_crops", err);
    const bool wide = size.width >= size.height;
    const double longer = wide ? size.width : size.height,
                 shorter = wide ? size.height : size.width;
    const double n = crops_along(longer, shorter, rule);
    if (n == 0) return VLM_OK;
    const double side = ceil(longer / n);
    if (fmin(side, shorter) < rule->min_crop_size) return VLM_OK;
    if (side * (n - 1) >= longer)
        return vmedia_refuse_size(size, "has nothing left for its last crop", err);
    if (wide)
        *out = (vlm_pan_and_scan_plan) { { (uint32_t)n, 1 }, { (uint32_t)side, size.height } };
    else
        *out = (vlm_pan_and_scan_plan) { { 1, (uint32_t)n }, { size.width, (uint32_t)side } };
    return VLM_OK;
}

static uint32_t at_most(uint32_t length, uint32_t from, uint32_t end) {
    return length < end - from ? length : end - from;
}

vlm_rect vlm_pan_and_scan_crop(const vlm_pan_and_scan_plan *plan, vlm_size size, uint32_t i) {
    if (plan->crops.columns == 0 || i / plan->crops.columns >= plan->crops.rows)
        return (vlm_rect) { 0, 0, 0, 0 };
    const uint32_t x = i % plan->crops.columns * plan->crop.width;
    const uint32_t y = i / plan->crops.columns * plan->crop.height;
    if (x >= size.width || y >= size.height) return (vlm_rect) { 0, 0, 0, 0 };
    return (vlm_rect) { (int32_t)x, (int32_t)y, at_most(plan->crop.width, x, size.width),
                        at_most(plan->crop.height, y, size.height) };
}
