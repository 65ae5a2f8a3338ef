/* SPDX-License-Identifier: MIT */
/* Pictures for the layers above: decoded 8-bit RGB and Pillow-exact resampling. Owns formats and
 * geometry; what a model wants done with a picture is said in models/. */
#ifndef VLM_MEDIA_INTERNAL_H
#define VLM_MEDIA_INTERNAL_H

#include "core/core.h"
#include "io/io.h"
#include "vlm/media.h"

struct vlm_image {
    vlm_size size;
    uint8_t *rgb; /* [height, width, 3], owned */
};

/* Allocates an image after checking size against limits (NULL: defaults); pixels zeroed. */
vlm_status vmedia_image_new(vlm_image **out, vlm_size size, const vlm_limits *limits, vlm_error *err);

/* Decoders (jpeg.c, png.c, webp.c ...): each checks the header against limits before it allocates, and
 * turns alpha, palette, grey, CMYK and 16 bit into RGB as Pillow's convert("RGB") does. */
typedef struct vmedia_decoder {
    const char *name;                                     /* "JPEG" */
    bool (*matches)(const uint8_t *p, size_t n);          /* by magic bytes */
    vlm_status (*decode)(vlm_image **out, const uint8_t *p, size_t n, const char *name,
                         const vlm_limits *limits, vlm_error *err);
} vmedia_decoder;

/* EXIF orientation 1..8 of an Exif blob ("Exif\0\0" optional); 1 when there is none. */
int vmedia_exif_orientation(const uint8_t *p, size_t n);
/* Replaces image by its transposed version as Pillow's ImageOps.exif_transpose does. */
vlm_status vmedia_orient(vlm_image **image, int orientation, vlm_error *err);

/* Normalised planar floats, as Hugging Face's rescale and normalise do in float32:
 * out[c][y][x] = ((float)(rgb * scale) - mean[c]) / std[c]; see the file for the exact order of
 * roundings of the Pillow and numpy path. out is [3, height, width] with the given strides in floats. */
typedef struct vmedia_normalize {
    bool do_rescale, do_normalize;
    double rescale_factor;
    double mean[3], std[3];
} vmedia_normalize;
void vmedia_to_planar(float *out, size_t row_stride, size_t plane_stride, const uint8_t *rgb,
                      size_t rgb_stride, vlm_size size, const vmedia_normalize *how);

#endif
