/* SPDX-License-Identifier: MIT */
/* The user's wishes for a picture, applied to it. A processor takes the budget of pixels into its own
 * plan; here it is applied by itself, for those who have none. */
#include "engine/engine.h"

#include <math.h>

vlm_size vengine_wished_size(vlm_size size, vlm_size box) {
    if (box.width == 0 || box.height == 0) return size;
    vlm_size fit = vlm_size_best_fit(size, box);
    return (vlm_size) { fit.width ? fit.width : 1, fit.height ? fit.height : 1 };
}

/* Into the budget of pixels: the sides rounded so that it holds. */
static vlm_size into_budget(vlm_size size, double least, double most) {
    const double w = size.width, h = size.height;
    if (most > 0 && w * h > most) {
        double scale = sqrt(most / (w * h));
        return (vlm_size) { (uint32_t)fmax(1, floor(w * scale)), (uint32_t)fmax(1, floor(h * scale)) };
    }
    if (w * h >= least) return size;
    double scale = sqrt(least / (w * h));
    return (vlm_size) { (uint32_t)fmin(UINT32_MAX, ceil(w * scale)),
                        (uint32_t)fmin(UINT32_MAX, ceil(h * scale)) };
}

vlm_status vlm_size_apply(vlm_size *out, vlm_size size, const vlm_processing *processing, vlm_error *err) {
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_size_apply: a null argument");
    *out = (vlm_size) { 0, 0 };
    vlm_processing taken = VLM_PROCESSING_INIT;
    if (processing) VTRY(vengine_take_options(&taken, sizeof taken, processing, "processing", err));
    if (size.width == 0 || size.height == 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_size_apply: a picture of %u x %u", size.width, size.height);
    *out = into_budget(vengine_wished_size(size, taken.resize), (double)taken.min_pixels, (double)taken.max_pixels);
    return VLM_OK;
}

vlm_status vlm_image_apply(vlm_image **out, const vlm_image *image, const vlm_processing *processing,
                           vlm_error *err) {
    if (!out || !image) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_apply: a null argument");
    *out = NULL;
    vlm_size size;
    vlm_processing taken = VLM_PROCESSING_INIT;
    VTRY(vlm_size_apply(&size, vlm_image_size(image), processing, err));
    if (processing) VTRY(vengine_take_options(&taken, sizeof taken, processing, "processing", err));
    return vlm_image_resample(out, image, size, VLM_FILTER_BICUBIC, taken.image_backend, err);
}
