/* SPDX-License-Identifier: MIT */
/* Data URLs, with any text behind "data:". */
#include <stdlib.h>
#include <string.h>

#include "vlm/media.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char scheme[] = "data:";
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_pixels = 1 << 16;
    char *url = malloc(sizeof scheme + size);
    memcpy(url, scheme, sizeof scheme - 1);
    memcpy(url + sizeof scheme - 1, data, size);
    url[sizeof scheme - 1 + size] = '\0';
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vlm_image_open_url(&image, url, &limits, &err);
    if (err.code != status || (status == VLM_OK) != (image != NULL)) __builtin_trap();
    vlm_image_free(image);
    free(url);
    return 0;
}
