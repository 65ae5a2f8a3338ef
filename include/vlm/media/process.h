/* SPDX-License-Identifier: MIT */
/**
 * @file process.h
 * @brief What is done to pictures between decoding and a model: sizes and rectangles, crops and
 * padding, float pictures, arrays, the generic pipeline, chains. Part of vlm/media.h.
 *
 * The functions are those of mlx-swift's MediaProcessing; where its results are artefacts of Core
 * Image or mistakes, Pillow and transformers are followed (docs/MEDIA.md).
 */
#ifndef VLM_MEDIA_PROCESS_H
#define VLM_MEDIA_PROCESS_H

#include "vlm/media.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- sizes and rectangles -------------------------------------------------------------------- */
/** The factor of vlm_size_best_fit(): the smaller one of box / size; 0 for a size without pixels.
 */
VLM_API double vlm_size_best_fit_scale(vlm_size size, vlm_size box);
/** How much wider, for its height, `to` is than `from`: what a resize does to the shape; 1:
 * nothing. */
VLM_API double vlm_size_aspect_ratio_for_resample(vlm_size from, vlm_size to);
/** The shorter side becomes `edge`, the other follows, truncated, as transformers does; at least 1.
 */
VLM_API vlm_size vlm_size_fit_shortest_edge(vlm_size size, uint32_t edge);
/** The same of the longer side. A size that is not longer than `edge` stays. */
VLM_API vlm_size vlm_size_fit_longest_edge(vlm_size size, uint32_t edge);

/** A rectangle of pixels. */
typedef struct vlm_rect {
    int32_t x, y; /**< of its upper left pixel */
    uint32_t width, height;
} vlm_rect;
/** Whether a rectangle is neither wider nor higher than a size. */
VLM_API bool vlm_rect_smaller_or_equal(vlm_rect rect, vlm_size size);
/** The middle of a rectangle, of this size or what there is of it; odd remainders go right and
 * below, as in transformers. A rectangle that is smaller or equal stays. */
VLM_API vlm_rect vlm_rect_center_crop(vlm_rect rect, vlm_size size);
/** Where a picture lies in the square of its longer side; odd remainders go right and below. */
VLM_API vlm_rect vlm_rect_in_square(vlm_size size);

struct vlm_processing; /* of vlm/vlm.h */

/* ---- 8-bit pictures -------------------------------------------------------------------------- */
/** The middle of a picture, as vlm_rect_center_crop() says. @param out owned, a copy in any case */
VLM_API vlm_status vlm_image_center_crop(vlm_image **out, const vlm_image *image, vlm_size size,
                                         vlm_error *err);
/** The middle of exactly this size: black where the picture is smaller, as transformers'
 * center_crop. @param out owned */
VLM_API vlm_status vlm_image_center_crop_padded(vlm_image **out, const vlm_image *image,
                                                vlm_size size, vlm_error *err);
/** The picture in the middle of a square of its longer side (LLaVA's and FastVLM's expand2square).
 * @param out owned @param colour red, green, blue; NULL: black */
VLM_API vlm_status vlm_image_pad_to_square(vlm_image **out, const vlm_image *image,
                                           const uint8_t colour[3], vlm_error *err);
/** What the user wishes for a picture before the family's own processing: vlm_processing.resize is
 * a box that it is fitted into (vlm_size_best_fit()), by bicubic resampling, then the budget of
 * pixels scales what has too many or too few. No wish: a copy. @param out owned
 * @param processing NULL: no wishes */
VLM_API vlm_status vlm_image_apply(vlm_image **out, const vlm_image *image,
                                   const struct vlm_processing *processing, vlm_error *err);
/** The size that vlm_image_apply() gives a picture. */
VLM_API vlm_status vlm_size_apply(vlm_size *out, vlm_size size,
                                  const struct vlm_processing *processing, vlm_error *err);

/* ---- float pictures -------------------------------------------------------------------------- */
/** A picture of floats: [height, width, 3], rows without padding. Starts as zeros; one thread. */
typedef struct vlm_image_f32 {
    vlm_size size;
    float *pixels; /**< owned; free with vlm_image_f32_free() */
} vlm_image_f32;
/** Bytes times `scale`, rounded once from float64 (1.0 / 255 as a rule). @param out owned */
VLM_API vlm_status vlm_image_f32_from_image(vlm_image_f32 *out, const vlm_image *image,
                                            double scale, vlm_error *err);
/** Values of 0 to 1 to bytes: times 255, rounded, halves up, cut off outside; NaN is 0. @param out
 * owned */
VLM_API vlm_status vlm_image_f32_to_image(vlm_image **out, const vlm_image_f32 *image,
                                          vlm_error *err);
/** Frees the pixels and makes it zeros; NULL is fine. */
VLM_API void vlm_image_f32_free(vlm_image_f32 *image);
/**
 * The sRGB tone curve of IEC 61966-2-1, in place: light to the values that files hold, and back.
 * Values outside of 0 to 1 are taken by their sign. A processor must apply NEITHER: checkpoints are
 * trained on the bytes of files as they are. mlx-swift calls the first in every processor because
 * Core Image works in linear light and has to be brought back to what the file held.
 */
VLM_API void vlm_image_f32_to_srgb(vlm_image_f32 *image);
VLM_API void vlm_image_f32_to_linear(vlm_image_f32 *image);
/** (x - mean) / std per channel, in place, in float32 as transformers rounds it. */
VLM_API void vlm_image_f32_normalize(vlm_image_f32 *image, const double mean[3],
                                     const double std[3]);

/* ---- arrays ---------------------------------------------------------------------------------- */
/** Order of the axes of an array of pixels. */
typedef enum vlm_layout {
    VLM_LAYOUT_HWC, /**< [height, width, 3] */
    VLM_LAYOUT_CHW, /**< [3, height, width] */
    VLM_LAYOUT_BCHW /**< [1, 3, height, width] */
} vlm_layout;
/** An array of floats; starts as zeros. */
typedef struct vlm_pixel_array {
    int rank;
    int64_t shape[4]; /**< [rank], outermost first */
    float *values;    /**< owned; free with vlm_pixel_array_free() */
} vlm_pixel_array;
/** The float that each byte of each channel becomes: of bytes, rescaling and normalising are a table.
 */
typedef struct vlm_pixel_table {
    float of[3][256];
} vlm_pixel_table;
/** Frees the values and makes it zeros; NULL is fine. */
VLM_API void vlm_pixel_array_free(vlm_pixel_array *array);
/** The floats of a picture, RGB, in a layout. (RGBA goes to RGB in vlm_image_from_pixels().)
 * @param out owned */
VLM_API vlm_status vlm_image_f32_to_array(vlm_pixel_array *out, const vlm_image_f32 *image,
                                          vlm_layout layout, vlm_error *err);
/** The same of bytes, as 0 to 1. @param out owned */
VLM_API vlm_status vlm_image_to_array(vlm_pixel_array *out, const vlm_image *image,
                                      vlm_layout layout, vlm_error *err);

/* ---- the generic pipeline -------------------------------------------------------------------- */
/**
 * What transformers' image processors do (CLIPImageProcessor, SiglipImageProcessor), bit for bit:
 * resize to config->shortest_edge or config->size, crop the middle (padded where the picture is
 * smaller), rescale, normalise, reorder channels, lay out. config->resampler says of which backend:
 * Pillow's, or torchvision's, which scales mean and standard deviation in place of the pixels.
 * @param out owned. Errors: VLM_ERR_CONFIG (a resize without a size), VLM_ERR_LIMIT,
 * VLM_ERR_MEMORY.
 */
VLM_API vlm_status vlm_image_preprocess(vlm_pixel_array *out, const vlm_image *image,
                                        const vlm_image_processor_config *config, vlm_layout layout,
                                        vlm_error *err);

/* ---- chains ---------------------------------------------------------------------------------- */
/**
 * Steps one after the other with one check at the end:
 *
 *     vlm_image_chain c = vlm_image_chain_begin(image, &err);
 *     vlm_image_chain_resize(&c, size, VLM_FILTER_BICUBIC);
 *     vlm_image_chain_center_crop(&c, crop);
 *     vlm_image_chain_normalize(&c, mean, std);
 *     status = vlm_image_chain_to_array(&c, &array, VLM_LAYOUT_BCHW);
 *
 * Once a step fails the rest do nothing. Steps on bytes (resize, crop, pad) come before those on
 * floats (tone curves, normalise). The end, whichever it is, frees what the chain holds; the
 * picture it began with stays its owner's.
 */
typedef struct vlm_image_chain {
    const vlm_image *image; /**< as it is now; NULL from the first step on floats on */
    vlm_image *owned;       /**< it, when a step made it */
    vlm_image_f32 floats;
    vlm_status status;
    vlm_error *err;
} vlm_image_chain;
/** @param image borrowed until the end @param err borrowed likewise; may be NULL */
VLM_API vlm_image_chain vlm_image_chain_begin(const vlm_image *image, vlm_error *err);
VLM_API void vlm_image_chain_resize(vlm_image_chain *chain, vlm_size size, vlm_filter filter);
VLM_API void vlm_image_chain_center_crop(vlm_image_chain *chain, vlm_size size);
VLM_API void vlm_image_chain_pad_to_square(vlm_image_chain *chain, const uint8_t colour[3]);
VLM_API void vlm_image_chain_to_srgb(vlm_image_chain *chain);
VLM_API void vlm_image_chain_to_linear(vlm_image_chain *chain);
VLM_API void vlm_image_chain_normalize(vlm_image_chain *chain, const double mean[3],
                                       const double std[3]);
/** Ends a chain: its picture (VLM_ERR_ARGUMENT behind a step on floats). @param out owned */
VLM_API vlm_status vlm_image_chain_to_image(vlm_image_chain *chain, vlm_image **out);
/** Ends a chain: its floats. @param out owned */
VLM_API vlm_status vlm_image_chain_to_array(vlm_image_chain *chain, vlm_pixel_array *out,
                                            vlm_layout layout);

#ifdef __cplusplus
}
#endif
#endif
