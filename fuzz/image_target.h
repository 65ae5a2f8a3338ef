/* SPDX-License-Identifier: MIT */
/* A fuzz target of one decoder, whatever the first bytes say: define DECODER and include this.
 * Strictly, and for what can be salvaged. */
#ifndef FUZZ_IMAGE_TARGET_H
#define FUZZ_IMAGE_TARGET_H

#include "media/media.h"

static void check(const vlm_image *image, vlm_status status, const vlm_error *err, bool salvage) {
    bool shown = status == VLM_OK || (salvage && status == VLM_DAMAGED);
    if (shown != (image != NULL) || err->code != status) __builtin_trap();
    if (status != VLM_OK && !err->message[0]) __builtin_trap();
    unsigned sum = 0; /* touches every byte, for the sanitizers */
    size_t bytes = image ? (size_t)image->size.width * image->size.height * 3 : 0;
    for (size_t i = 0; i < bytes; i++) sum += image->rgb[i];
    if (sum > 255u << 20) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_pixels = 1 << 18;
    limits.image_side = 4096;
    limits.image_scans = 20;
    vlm_limits bound = vcore_limits(&limits);
    for (int salvage = 0; salvage < 2; salvage++) {
        vmedia_file file = { data, size, "fuzz", &bound, salvage };
        vlm_image *image = NULL;
        vlm_error err = VLM_ERROR_INIT;
        vlm_status status = DECODER.decode(&image, &file, &err);
        check(image, status, &err, salvage);
        vlm_image_free(image);
    }
    return 0;
}

#endif
