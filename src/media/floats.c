/* SPDX-License-Identifier: MIT */
/* Float pictures: from bytes and back, tone curves, normalisation. */
#include "media/media.h"

#include <math.h>

static vlm_status image_f32_new(vlm_image_f32 *out, vlm_size size, vlm_error *err) {
    *out = (vlm_image_f32) { .size = size };
    size_t values;
    if (vcore_mul((size_t)size.width * 3, size.height, &values))
        out->pixels = vcore_alloc_array(values, sizeof *out->pixels);
    if (out->pixels) return VLM_OK;
    *out = (vlm_image_f32) { 0 };
    return vcore_no_memory(err, "a float picture");
}

static size_t values_of(const vlm_image_f32 *image) {
    return image && image->pixels ? (size_t)image->size.width * image->size.height * 3 : 0;
}

vlm_status vlm_image_f32_from_image(vlm_image_f32 *out, const vlm_image *image, double scale,
                                    vlm_error *err) {
    if (!out || !image)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_f32_from_image: a NULL argument");
    float value[256];
    for (int byte = 0; byte < 256; byte++) value[byte] = (float)(byte * scale);
    VTRY(image_f32_new(out, image->size, err));
    for (size_t i = 0; i < values_of(out); i++) out->pixels[i] = value[image->rgb[i]];
    return VLM_OK;
}

static uint8_t byte_of(float value) {
    double scaled = value * 255.0;
    if (!(scaled > 0)) return 0;
    return scaled >= 255 ? 255 : (uint8_t)(scaled + 0.5);
}

vlm_status vlm_image_f32_to_image(vlm_image **out, const vlm_image_f32 *image, vlm_error *err) {
    if (!out || !image || !image->pixels)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_f32_to_image: a NULL argument");
    VTRY(vmedia_image_new(out, image->size, NULL, err));
    for (size_t i = 0; i < values_of(image); i++) (*out)->rgb[i] = byte_of(image->pixels[i]);
    return VLM_OK;
}

void vlm_image_f32_free(vlm_image_f32 *image) {
    if (!image) return;
    vcore_free(image->pixels);
    *image = (vlm_image_f32) { 0 };
}

static double srgb_of(double light) {
    return light <= 0.0031308 ? 12.92 * light : 1.055 * pow(light, 1 / 2.4) - 0.055;
}

static double light_of(double srgb) {
    return srgb <= 0.04045 ? srgb / 12.92 : pow((srgb + 0.055) / 1.055, 2.4);
}

static void map(vlm_image_f32 *image, double (*curve)(double)) {
    for (size_t i = 0; i < values_of(image); i++) {
        double x = image->pixels[i];
        image->pixels[i] = (float)copysign(curve(fabs(x)), x);
    }
}

void vlm_image_f32_to_srgb(vlm_image_f32 *image) {
    map(image, srgb_of);
}

void vlm_image_f32_to_linear(vlm_image_f32 *image) {
    map(image, light_of);
}

void vlm_image_f32_normalize(vlm_image_f32 *image, const double mean[3], const double std[3]) {
    for (size_t i = 0; i < values_of(image); i++) {
        float centred = image->pixels[i] - (float)mean[i % 3];
        image->pixels[i] = centred / (float)std[i % 3];
    }
}
