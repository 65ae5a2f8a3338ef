/* SPDX-License-Identifier: MIT */
/* Decodes any bytes under small limits: a picture within them, or an error with a message. */
#include <stdlib.h>
#include <string.h>

#include "vlm/media.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_pixels = 1 << 18;
    limits.image_side = 4096;
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vlm_image_decode(&image, data, size, "fuzz", &limits, &err);
    if (status != VLM_OK) {
        if (image || err.code != status || !err.message[0]) abort();
        return 0;
    }
    vlm_size all = vlm_image_size(image);
    if ((uint64_t)all.width * all.height > limits.image_pixels) abort();
    unsigned sum = 0; /* touches every byte, for the sanitizers */
    for (size_t i = 0; i < (size_t)all.width * all.height * 3; i++)
        sum += vlm_image_pixels(image)[i];
    vlm_image *small;
    if (vlm_image_resample(&small, image, (vlm_size) { 7, sum % 9 + 1 }, (vlm_filter)(sum % 6),
                           (vlm_resampler)(sum % 3), &err)
        == VLM_OK)
        vlm_image_free(small);
    vlm_image_free(image);
    return 0;
}
