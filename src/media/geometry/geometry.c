/* SPDX-License-Identifier: MIT */
/* What all plans share: sizes that make no sense are refused in one place. */
#include "media/media.h"

#define LONGEST_SIDE 2147483647.0

vlm_status vmedia_refuse_size(vlm_size size, const char *why, vlm_error *err) {
    return vcore_fail(err, VLM_ERR_IMAGE_PROCESSING, "a picture of %u x %u %s", size.width,
                      size.height, why);
}

vlm_status vmedia_need_pixels(vlm_size size, vlm_error *err) {
    if (size.width > 0 && size.height > 0) return VLM_OK;
    return vmedia_refuse_size(size, "has no pixels", err);
}

vlm_status vmedia_bad_rule(const char *name, vlm_error *err) {
    return vcore_fail(err, VLM_ERR_CONFIG, "%s must be positive", name);
}

vlm_status vmedia_sides(vlm_size *out, double width, double height, vlm_size of, vlm_error *err) {
    if (!(width >= 1 && height >= 1))
        return vmedia_refuse_size(of, "has a side of which nothing would be left", err);
    if (!(width <= LONGEST_SIDE && height <= LONGEST_SIDE))
        return vcore_fail(err, VLM_ERR_IMAGE_PROCESSING,
                          "a picture of %u x %u would become %.0f x %.0f", of.width, of.height,
                          width, height);
    *out = (vlm_size) { (uint32_t)width, (uint32_t)height };
    return VLM_OK;
}
