/* SPDX-License-Identifier: MIT */
/* Arrays of pixels in the layouts that models want, and the generic pipeline that ends in one. */
#include "media/media.h"

void vlm_pixel_array_free(vlm_pixel_array *array) {
    if (!array) return;
    vcore_free(array->values);
    *array = (vlm_pixel_array) { 0 };
}

static vlm_status array_new(vlm_pixel_array *out, vlm_size size, vlm_layout layout,
                            vlm_error *err) {
    const int64_t height = size.height, width = size.width;
    *out = (vlm_pixel_array) { 0 };
    switch (layout) {
    case VLM_LAYOUT_HWC: *out = (vlm_pixel_array) { 3, { height, width, 3 }, NULL }; break;
    case VLM_LAYOUT_CHW: *out = (vlm_pixel_array) { 3, { 3, height, width }, NULL }; break;
    case VLM_LAYOUT_BCHW: *out = (vlm_pixel_array) { 4, { 1, 3, height, width }, NULL }; break;
    default: return vcore_fail(err, VLM_ERR_ARGUMENT, "no layout has the number %d", (int)layout);
    }
    size_t values;
    if (vcore_mul((size_t)size.width * 3, size.height, &values))
        out->values = vcore_alloc_array(values, sizeof *out->values);
    if (out->values) return VLM_OK;
    *out = (vlm_pixel_array) { 0 };
    return vcore_no_memory(err, "an array of pixels");
}

vlm_status vlm_image_f32_to_array(vlm_pixel_array *out, const vlm_image_f32 *image,
                                  vlm_layout layout, vlm_error *err) {
    if (!out || !image || !image->pixels)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_f32_to_array: a NULL argument");
    VTRY(array_new(out, image->size, layout, err));
    const size_t plane = (size_t)image->size.width * image->size.height;
    if (layout == VLM_LAYOUT_HWC)
        memcpy(out->values, image->pixels, 3 * plane * sizeof *out->values);
    for (size_t i = 0; layout != VLM_LAYOUT_HWC && i < 3 * plane; i++)
        out->values[i % 3 * plane + i / 3] = image->pixels[i];
    return VLM_OK;
}

/* Bytes through a table into a layout; channel c of the result is channel from[c] of the picture.
 */
static void put(vlm_pixel_array *out, const vlm_image *image, vlm_layout layout,
                const vmedia_float_table *table, const int from[3]) {
    const size_t plane = (size_t)image->size.width * image->size.height;
    const bool planes = layout != VLM_LAYOUT_HWC;
    for (int c = 0; c < 3; c++) {
        const float *value = table->of[c];
        const uint8_t *byte = image->rgb + from[c];
        float *to = out->values + (planes ? (size_t)c * plane : (size_t)c);
        for (size_t i = 0; i < plane; i++) to[planes ? i : 3 * i] = value[byte[3 * i]];
    }
}

static const int rgb[3] = { 0, 1, 2 }, bgr[3] = { 2, 1, 0 };

vlm_status vlm_image_to_array(vlm_pixel_array *out, const vlm_image *image, vlm_layout layout,
                              vlm_error *err) {
    if (!out || !image)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_to_array: a NULL argument");
    const vmedia_normalize how = { .do_rescale = true, .rescale_factor = 1.0 / 255 };
    vmedia_float_table table;
    vmedia_float_table_init(&table, &how);
    VTRY(array_new(out, image->size, layout, err));
    put(out, image, layout, &table, rgb);
    return VLM_OK;
}

/* ---- the generic pipeline -------------------------------------------------------------------- */
static vlm_status target(vlm_size *out, vlm_size size, const vlm_image_processor_config *config,
                         vlm_error *err) {
    *out = config->size;
    if (config->shortest_edge && config->longest_edge)
        return vlm_resize_edges(out, size, config->shortest_edge, config->longest_edge, err);
    if (config->shortest_edge)
        return vlm_resize_shortest_edge(out, size, config->shortest_edge, err);
    if (out->width && out->height) return VLM_OK;
    return vcore_fail(err, VLM_ERR_CONFIG, "an image processor that resizes needs a size");
}

/* Replaces *now by what a step made; *owned is what is ours to free. */
static void step(const vlm_image **now, vlm_image **owned, vlm_image *made) {
    vlm_image_free(*owned);
    *now = *owned = made;
}

/* Where a picture is padded by an odd number of pixels, Pillow's backend puts the one more before
 * it, torchvision's behind. */
static vlm_status crop_middle(vlm_image **out, const vlm_image *image,
                              const vlm_image_processor_config *config, vlm_error *err) {
    if (config->resampler == VLM_RESAMPLER_PILLOW)
        return vlm_image_center_crop_padded(out, image, config->crop, err);
    const int64_t wider = (int64_t)image->size.width - config->crop.width,
                  higher = (int64_t)image->size.height - config->crop.height;
    return vlm_image_crop(out, image, (int32_t)(wider / 2), (int32_t)(higher / 2), config->crop,
                          err);
}

static vlm_status resize_and_crop(const vlm_image **now, vlm_image **owned,
                                  const vlm_image_processor_config *config, vlm_error *err) {
    vlm_image *made;
    vlm_size size;
    if (config->do_resize) {
        VTRY(target(&size, (*now)->size, config, err));
        VTRY(vlm_image_resample(&made, *now, size, config->resample, config->resampler, err));
        step(now, owned, made);
    }
    if (config->crop.width == 0 || config->crop.height == 0) return VLM_OK;
    VTRY(crop_middle(&made, *now, config, err));
    step(now, owned, made);
    return VLM_OK;
}

/* mean and std count the channels as the picture has them: they are swapped behind them. */
static void channel_table(vmedia_float_table *table, const vlm_image_processor_config *config,
                          const int from[3]) {
    vmedia_normalize how = { .torchvision = config->resampler != VLM_RESAMPLER_PILLOW,
                             .do_rescale = config->do_rescale,
                             .do_normalize = config->do_normalize,
                             .rescale_factor = config->rescale_factor };
    for (int c = 0; c < 3; c++) {
        how.mean[c] = config->mean[from[c]];
        how.std[c] = config->std[from[c]];
    }
    vmedia_float_table_init(table, &how);
}

vlm_status vlm_image_preprocess(vlm_pixel_array *out, const vlm_image *image,
                                const vlm_image_processor_config *config, vlm_layout layout,
                                vlm_error *err) {
    if (!out || !image || !config)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_preprocess: a NULL argument");
    *out = (vlm_pixel_array) { 0 };
    const int *from = config->channels == VLM_CHANNELS_BGR ? bgr : rgb;
    const vlm_image *now = image;
    vlm_image *owned = NULL;
    vlm_status status = resize_and_crop(&now, &owned, config, err);
    if (status == VLM_OK) status = array_new(out, now->size, layout, err);
    if (status == VLM_OK) {
        vmedia_float_table table;
        channel_table(&table, config, from);
        put(out, now, layout, &table, from);
    }
    vlm_image_free(owned);
    return status;
}
