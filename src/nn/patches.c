/* SPDX-License-Identifier: MIT */
/* Pictures and feature maps cut into squares: both are one reordering of dimensions. */
#include "nn/nn.h"

/* Checks that sides are whole numbers of squares before dimensions are split by them. */
static bool divides(vlm_frame *f, const char *what, int64_t side, int64_t height, int64_t width) {
    if (side > 0 && height > 0 && width > 0 && height % side == 0 && width % side == 0) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: %lld x %lld does not divide into squares of %lld",
                   what, (long long)height, (long long)width, (long long)side);
    return false;
}

vlm_tensor vlm_patches(vlm_frame *f, vlm_tensor pixels, int64_t patch) {
    if (!vlm_frame_ok(f)) return (vlm_tensor) { 0 };
    if (pixels.rank != 3)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "patches: rank %d instead of 3", pixels.rank);
    int64_t channels = pixels.shape[0], height = pixels.shape[1], width = pixels.shape[2];
    if (!divides(f, "patches", patch, height, width)) return (vlm_tensor) { 0 };
    int64_t rows = height / patch, columns = width / patch;
    const int64_t split[] = { channels, rows, patch, columns, patch };
    static const int order[] = { 1, 3, 0, 2, 4 }; /* [rows, columns, channels, patch, patch] */
    vlm_tensor x = vlm_permute(f, vlm_reshape(f, pixels, 5, split), order);
    return vlm_reshape2(f, x, rows * columns, channels * patch * patch);
}

vlm_tensor vlm_pixel_shuffle(vlm_frame *f, vlm_tensor x, int64_t height, int64_t width,
                             int64_t scale) {
    if (!vlm_frame_ok(f)) return (vlm_tensor) { 0 };
    if (x.rank != 2 || x.shape[0] != height * width)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "pixel shuffle: not %lld x %lld rows",
                              (long long)height, (long long)width);
    if (!divides(f, "pixel shuffle", scale, height, width)) return (vlm_tensor) { 0 };
    int64_t dim = x.shape[1], rows = height / scale, columns = width / scale;
    const int64_t split[] = { rows, scale, columns, scale, dim };
    static const int order[] = { 0, 2, 1, 3, 4 }; /* [rows, columns, scale, scale, dim] */
    vlm_tensor y = vlm_permute(f, vlm_reshape(f, x, 5, split), order);
    return vlm_reshape2(f, y, rows * columns, scale * scale * dim);
}
