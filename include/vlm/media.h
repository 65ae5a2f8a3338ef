/* SPDX-License-Identifier: MIT */
/**
 * @file media.h
 * @brief Pictures: decoding, and the geometry and resampling that processors of VLMs use.
 *
 * Pixels are 8-bit RGB, rows top to bottom, without padding. Decoding and resampling give Pillow's
 * bytes: open, apply the EXIF orientation, convert to RGB, resize.
 */
#ifndef VLM_MEDIA_H
#define VLM_MEDIA_H

#include <stdbool.h>

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A decoded picture, 8-bit RGB. Immutable after its creation, thread-safe. */
typedef struct vlm_image vlm_image;

/** Size in pixels. */
typedef struct vlm_size {
    uint32_t width, height;
} vlm_size;

/** Resampling filters, with Pillow's definitions and numbers. */
typedef enum vlm_filter {
    VLM_FILTER_NEAREST = 0,
    VLM_FILTER_LANCZOS = 1,
    VLM_FILTER_BILINEAR = 2,
    VLM_FILTER_BICUBIC = 3,
    VLM_FILTER_BOX = 4,
    VLM_FILTER_HAMMING = 5
} vlm_filter;

/** Whose arithmetic a resize follows, in whose roundings bytes become floats in a processor: the bytes
 * differ by a level or two, the floats of a byte in the last bit. */
typedef enum vlm_resampler {
    /** Pillow: what the checkpoints were trained with, and transformers' processors of that backend. */
    VLM_RESAMPLER_PILLOW = 0,
    /**
     * torchvision 0.29's resize of a uint8 tensor on a CPU, antialiased: the default processors of
     * transformers 5. Nearest is its nearest-exact; it has no box and no Hamming filter.
     */
    VLM_RESAMPLER_TORCHVISION = 1,
    /** The same with bicubic for Lanczos, as transformers does with torchvision before 0.27. */
    VLM_RESAMPLER_TORCHVISION_BICUBIC = 2
} vlm_resampler;

/**
 * Opens a picture file: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC, as built (of an animation or a
 * file of several pages the first). EXIF orientation is applied, alpha and palette go to RGB as
 * Pillow's convert("RGB") does. @param out owned. @param limits NULL: defaults. Errors:
 * VLM_ERR_NOT_FOUND, VLM_ERR_IO, VLM_ERR_IMAGE_PROCESSING (not a picture, broken), VLM_ERR_UNSUPPORTED
 * (a format that this build leaves out), VLM_ERR_LIMIT.
 */
VLM_API vlm_status vlm_image_open(vlm_image **out, const char *path, const vlm_limits *limits,
                                  vlm_error *err);
/** The same from memory. @param name what to call it in errors. */
VLM_API vlm_status vlm_image_decode(vlm_image **out, const void *data, size_t bytes,
                                    const char *name, const vlm_limits *limits, vlm_error *err);
/**
 * The same from what a message gives as image_url: a data URL in base64, a file URL, or a path.
 * Errors besides: VLM_ERR_FORMAT (not base64), VLM_ERR_UNSUPPORTED (http: nothing is downloaded).
 */
VLM_API vlm_status vlm_image_open_url(vlm_image **out, const char *url, const vlm_limits *limits,
                                      vlm_error *err);
/**
 * vlm_image_decode for a file that may be broken: what can be decoded of it, the rest black or as the
 * format's library fills it. Returns VLM_DAMAGED then, and `err` says what is wrong; an error where
 * nothing can be decoded. Every other function refuses a broken file.
 */
VLM_API vlm_status vlm_image_salvage(vlm_image **out, const void *data, size_t bytes,
                                     const char *name, const vlm_limits *limits, vlm_error *err);
/** Copies raw rows of 8-bit RGB (channels 3) or RGBA (4, alpha dropped). @param stride bytes a row. */
VLM_API vlm_status vlm_image_from_pixels(vlm_image **out, const void *pixels, vlm_size size,
                                         int channels, size_t stride, vlm_error *err);
/** Frees a picture; NULL is fine. */
VLM_API void vlm_image_free(vlm_image *image);
/** Size of a picture. */
VLM_API vlm_size vlm_image_size(const vlm_image *image);
/** Its bytes, [height, width, 3]; borrowed. */
VLM_API const uint8_t *vlm_image_pixels(const vlm_image *image);

/** Resizes to exactly `size`, byte for byte as Pillow's Image.resize. @param out owned. */
VLM_API vlm_status vlm_image_resize(vlm_image **out, const vlm_image *image, vlm_size size,
                                    vlm_filter filter, vlm_error *err);
/**
 * Resizes to exactly `size` with the arithmetic of `resampler`. @param out owned. Errors:
 * VLM_ERR_UNSUPPORTED (a filter that the resampler does not have), VLM_ERR_LIMIT, VLM_ERR_ARGUMENT.
 */
VLM_API vlm_status vlm_image_resample(vlm_image **out, const vlm_image *image, vlm_size size,
                                      vlm_filter filter, vlm_resampler resampler, vlm_error *err);
/** vlm_image_resample() on the threads of a pool; the bytes are the same. @param threads NULL: the
 * caller's thread */
VLM_API vlm_status vlm_image_resample_threads(vlm_image **out, const vlm_image *image,
                                              vlm_size size, vlm_filter filter,
                                              vlm_resampler resampler, vlm_threads *threads,
                                              vlm_error *err);
/** Cuts a rectangle, which may reach outside (filled black), as Pillow's Image.crop. @param out owned. */
VLM_API vlm_status vlm_image_crop(vlm_image **out, const vlm_image *image, int32_t x, int32_t y,
                                  vlm_size size, vlm_error *err);
/** Largest size with the aspect ratio of `size` that fits inside `box` (halves round away from 0). */
VLM_API vlm_size vlm_size_best_fit(vlm_size size, vlm_size box);

/** Order of the channels in what a model sees. */
typedef enum vlm_channel_order { VLM_CHANNELS_RGB, VLM_CHANNELS_BGR } vlm_channel_order;

/** What an image processor does to a picture: resize, crop, rescale, normalise, in this order. */
typedef struct vlm_image_processor_config {
    vlm_size size;     /**< of what the vision tower sees at once; zeros: it follows the picture */
    vlm_size crop;     /**< cut out of the middle behind the resize; zeros: nothing is */
    vlm_filter resample;
    bool do_resize, do_rescale, do_normalize;
    double rescale_factor;
    double mean[3], std[3];
    vlm_channel_order channels;
    uint32_t shortest_edge; /**< what the resize makes of the shorter side, in place of size; 0: size says */
    uint32_t longest_edge;  /**< what the longer side may not pass then; 0: no bound */
    vlm_resampler resampler; /**< whose bytes and whose roundings; zero: Pillow's backend */
} vlm_image_processor_config;

#ifdef __cplusplus
}
#endif

#include "vlm/media/process.h"

#endif
