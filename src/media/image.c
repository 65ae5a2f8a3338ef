/* SPDX-License-Identifier: MIT */
/* The life of a picture: allocation under limits, raw pixels, crops. Owns no format. */
#include "media/media.h"

vlm_status vmedia_check_size(vlm_size size, uint64_t scratch, const vlm_limits *limits,
                             vlm_error *err) {
    vlm_limits bound = vcore_limits(limits);
    if (size.width == 0 || size.height == 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "a picture of %ux%u pixels has no pixels",
                          size.width, size.height);
    if (size.width > bound.image_side || size.height > bound.image_side)
        return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = bound.image_side },
                             "a picture of %ux%u pixels: a side is above the limit of %llu",
                             size.width, size.height, (unsigned long long)bound.image_side);
    uint64_t pixels = (uint64_t)size.width * size.height;
    if (pixels > bound.image_pixels)
        return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = bound.image_pixels },
                             "a picture of %ux%u pixels is above the limit of %llu pixels",
                             size.width, size.height, (unsigned long long)bound.image_pixels);
    uint64_t bytes = pixels * 3;
    if (bytes > bound.image_decode_bytes || scratch > bound.image_decode_bytes - bytes)
        return vcore_fail_at(
            err, VLM_ERR_LIMIT, (vcore_where) { .limit = bound.image_decode_bytes },
            "a picture of %ux%u pixels takes %llu bytes to decode, above the limit of %llu",
            size.width, size.height, (unsigned long long)(bytes + scratch),
            (unsigned long long)bound.image_decode_bytes);
    return VLM_OK;
}

vlm_status vmedia_image_new(vlm_image **out, vlm_size size, const vlm_limits *limits,
                            vlm_error *err) {
    *out = NULL;
    VTRY(vmedia_check_size(size, 0, limits, err));
    size_t bytes;
    if (!vcore_mul((uint64_t)size.width * size.height, 3, &bytes)
        || !vcore_add(bytes, VMEDIA_SLACK, &bytes))
        return vcore_no_memory(err, "a picture");
    vlm_image *image = vcore_alloc(sizeof *image);
    if (!image) return vcore_no_memory(err, "a picture");
    image->size = size;
    image->rgb = vcore_alloc(bytes);
    if (!image->rgb) {
        vcore_free(image);
        return vcore_no_memory(err, "a picture");
    }
    *out = image;
    return VLM_OK;
}

void vlm_image_free(vlm_image *image) {
    if (!image) return;
    vcore_free(image->rgb);
    vcore_free(image);
}

vlm_size vlm_image_size(const vlm_image *image) {
    return image ? image->size : (vlm_size) { 0, 0 };
}

const uint8_t *vlm_image_pixels(const vlm_image *image) {
    return image ? image->rgb : NULL;
}

vlm_status vlm_image_from_pixels(vlm_image **out, const void *pixels, vlm_size size, int channels,
                                 size_t stride, vlm_error *err) {
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_from_pixels: out is NULL");
    *out = NULL;
    if (!pixels || (channels != 3 && channels != 4))
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_image_from_pixels: needs pixels of 3 or 4 channels, not %d",
                          channels);
    if (stride / (size_t)channels < size.width)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_image_from_pixels: %zu bytes are too few for a row of %u pixels",
                          stride, size.width);
    vlm_image *image;
    VTRY(vmedia_image_new(&image, size, NULL, err));
    for (uint32_t y = 0; y < size.height; y++) {
        const uint8_t *from = (const uint8_t *)pixels + y * stride;
        uint8_t *to = image->rgb + (size_t)y * size.width * 3;
        if (channels == 3) {
            memcpy(to, from, (size_t)size.width * 3);
            continue;
        }
        for (uint32_t x = 0; x < size.width; x++)
            memcpy(to + 3 * (size_t)x, from + 4 * (size_t)x, 3);
    }
    *out = image;
    return VLM_OK;
}

/* The part of [at, at + length) that lies in [0, limit): where it starts in the result, and its
 * size. */
static uint32_t overlap(int64_t at, uint32_t length, uint32_t limit, uint32_t *skip) {
    int64_t begin = at < 0 ? 0 : at, end = at + length < limit ? at + length : limit;
    *skip = 0;
    if (end <= begin) return 0;
    *skip = (uint32_t)(begin - at);
    return (uint32_t)(end - begin);
}

vlm_status vlm_image_crop(vlm_image **out, const vlm_image *image, int32_t x, int32_t y,
                          vlm_size size, vlm_error *err) {
    if (!out || !image) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_crop: a NULL argument");
    *out = NULL;
    vlm_image *crop;
    VTRY(vmedia_image_new(&crop, size, NULL, err));
    uint32_t left, top;
    uint32_t columns = overlap(x, size.width, image->size.width, &left);
    uint32_t rows = overlap(y, size.height, image->size.height, &top);
    for (uint32_t i = 0; columns && i < rows; i++) {
        size_t from =
            (size_t)((int64_t)y + top + i) * image->size.width + (size_t)((int64_t)x + left);
        size_t to = ((size_t)top + i) * size.width + left;
        memcpy(crop->rgb + 3 * to, image->rgb + 3 * from, 3 * (size_t)columns);
    }
    *out = crop;
    return VLM_OK;
}
