/* SPDX-License-Identifier: MIT */
/* Pictures cut to their middle or padded to a square. */
#include "media/media.h"

vlm_status vlm_image_center_crop(vlm_image **out, const vlm_image *image, vlm_size size,
                                 vlm_error *err) {
    if (!out || !image)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_center_crop: a NULL argument");
    const vlm_rect all = { 0, 0, image->size.width, image->size.height };
    const vlm_rect part = vlm_rect_center_crop(all, size);
    return vlm_image_crop(out, image, part.x, part.y, (vlm_size) { part.width, part.height }, err);
}

/* Half of what is left on both sides, rounded down: below 0 where the picture is smaller. */
static int32_t middle(uint32_t length, uint32_t cut) {
    int64_t left = (int64_t)length - cut;
    return (int32_t)((left - (left < 0 && left % 2)) / 2);
}

vlm_status vlm_image_center_crop_padded(vlm_image **out, const vlm_image *image, vlm_size size,
                                        vlm_error *err) {
    if (!out || !image)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_center_crop_padded: a NULL argument");
    return vlm_image_crop(out, image, middle(image->size.width, size.width),
                          middle(image->size.height, size.height), size, err);
}

vlm_status vlm_image_pad_to_square(vlm_image **out, const vlm_image *image, const uint8_t colour[3],
                                   vlm_error *err) {
    if (!out || !image)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_pad_to_square: a NULL argument");
    *out = NULL;
    const vlm_rect at = vlm_rect_in_square(image->size);
    const uint32_t side = at.width > at.height ? at.width : at.height;
    vlm_image *square;
    VTRY(vmedia_image_new(&square, (vlm_size) { side, side }, NULL, err));
    for (size_t i = 0; colour && i < (size_t)side * side; i++)
        memcpy(square->rgb + 3 * i, colour, 3);
    for (uint32_t y = 0; y < at.height; y++) {
        size_t to = ((size_t)(uint32_t)at.y + y) * side + (uint32_t)at.x;
        memcpy(square->rgb + 3 * to, image->rgb + 3 * (size_t)y * at.width, 3 * (size_t)at.width);
    }
    *out = square;
    return VLM_OK;
}
