/* SPDX-License-Identifier: MIT */
/* Bytes to normalised floats in planes, bit for bit as the image processors of transformers do it.
 * The roundings of the Pillow backend, from image_transforms.py: rescale multiplies in float64 and
 * rounds once to float32; normalize works in float32 with mean and std rounded to float32 first,
 * and rounds after the subtraction and after the division. The torchvision backend, from
 * image_processing_backends.py, works in float32 only, and where it would rescale and normalise it
 * divides mean and std by the factor instead, once rounded. */
#include "media/media.h"

static float normalized(int byte, int channel, const vmedia_normalize *how) {
    float value = (float)byte, mean = (float)how->mean[channel], std = (float)how->std[channel];
    if (how->do_rescale && !how->torchvision) {
        value = (float)(byte * how->rescale_factor);
    } else if (how->do_rescale && how->do_normalize) {
        const float inverse = (float)(1.0 / how->rescale_factor);
        mean *= inverse;
        std *= inverse;
    } else if (how->do_rescale) {
        value *= (float)how->rescale_factor;
    }
    if (!how->do_normalize) return value;
    float centred = value - mean;
    return centred / std;
}

void vmedia_float_table_init(vmedia_float_table *t, const vmedia_normalize *how) {
    for (int channel = 0; channel < 3; channel++)
        for (int byte = 0; byte < 256; byte++)
            t->of[channel][byte] = normalized(byte, channel, how);
}

void vmedia_to_planar(float *out, size_t row_stride, size_t plane_stride, const uint8_t *rgb,
                      size_t rgb_stride, vlm_size size, const vmedia_float_table *table) {
    for (uint32_t y = 0; y < size.height; y++, out += row_stride, rgb += rgb_stride) {
        float *red = out, *green = out + plane_stride, *blue = out + 2 * plane_stride;
        for (uint32_t x = 0; x < size.width; x++) {
            const uint8_t *pixel = rgb + 3 * (size_t)x;
            red[x] = table->of[0][pixel[0]];
            green[x] = table->of[1][pixel[1]];
            blue[x] = table->of[2][pixel[2]];
        }
    }
}
