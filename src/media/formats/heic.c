/* SPDX-License-Identifier: MIT */
/* HEIC through libheif, where the build has it: the primary picture, 8 bits, turned, cropped and
 * converted to RGB by the library itself, since Pillow does not read the format. Owns nothing of
 * it. */
#include "media/media.h"

#ifdef VLM_HAVE_HEIF

#include <libheif/heif.h>

static vlm_status broken(vlm_image **out, const vmedia_file *file, struct heif_error why,
                         vlm_error *err) {
    vlm_image_free(*out);
    *out = NULL;
    if (why.code == heif_error_Memory_allocation_error
        && why.subcode != heif_suberror_Security_limit_exceeded)
        return vcore_no_memory(err, file->name);
    return vmedia_broken(out, file, "HEIC", why.message ? why.message : "it cannot be decoded",
                         err);
}

static vlm_status copy_rows(vlm_image **out, const struct heif_image *image, vlm_size size,
                            const vmedia_file *file, vlm_error *err) {
    int stride;
    const uint8_t *rows = heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
    int width = heif_image_get_width(image, heif_channel_interleaved);
    int height = heif_image_get_height(image, heif_channel_interleaved);
    if (!rows || width <= 0 || height <= 0 || stride / 3 < width)
        return vmedia_broken(out, file, "HEIC", "it has no pixels", err);
    if ((uint32_t)width != size.width || (uint32_t)height != size.height)
        return vmedia_broken(out, file, "HEIC", "it is of another size than its header says", err);
    VTRY(vmedia_begin(out, file, size, 0, err));
    size_t bytes = (size_t)width * 3;
    for (size_t y = 0; y < size.height; y++)
        memcpy((*out)->rgb + y * bytes, rows + y * (size_t)stride, bytes);
    return VLM_OK;
}

static vlm_status decode_primary(vlm_image **out, const struct heif_image_handle *handle,
                                 const vmedia_file *file, vlm_error *err) {
    int width = heif_image_handle_get_width(handle), height = heif_image_handle_get_height(handle);
    vlm_size size = { (uint32_t)(width > 0 ? width : 0), (uint32_t)(height > 0 ? height : 0) };
    uint64_t pixels = (uint64_t)size.width * size.height;
    int wide = heif_image_handle_get_luma_bits_per_pixel(handle) > 8 ? 2 : 1;
    /* The planes, and the library's RGB beside ours. */
    vlm_status status =
        vmedia_check_size(size, pixels * 3 * (uint64_t)(wide + 1), file->limits, err);
    if (status != VLM_OK) {
        if (status == VLM_ERR_ARGUMENT) status = VLM_ERR_IMAGE_PROCESSING;
        if (err) err->code = status;
        return vcore_context_file(err, status, file->name);
    }
    struct heif_decoding_options *options = heif_decoding_options_alloc();
    if (!options) return vcore_no_memory(err, file->name);
    options->convert_hdr_to_8bit = 1;
    options->strict_decoding = !file->salvage;
    struct heif_image *image = NULL;
    struct heif_error why = heif_decode_image(handle, &image, heif_colorspace_RGB,
                                              heif_chroma_interleaved_RGB, options);
    heif_decoding_options_free(options);
    status = why.code == heif_error_Ok ? copy_rows(out, image, size, file, err)
                                       : broken(out, file, why, err);
    if (image) heif_image_release(image);
    return status;
}

static vlm_status heic_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    *out = NULL;
    struct heif_context *context = heif_context_alloc();
    if (!context) return vcore_no_memory(err, file->name);
    uint64_t side = file->limits->image_side;
    heif_context_set_maximum_image_size_limit(context, side < INT32_MAX ? (int)side : INT32_MAX);
    heif_context_set_max_decoding_threads(context, 1);
    struct heif_image_handle *handle = NULL;
    struct heif_error why =
        heif_context_read_from_memory_without_copy(context, file->p, file->n, NULL);
    if (why.code == heif_error_Ok) why = heif_context_get_primary_image_handle(context, &handle);
    vlm_status status = why.code == heif_error_Ok ? decode_primary(out, handle, file, err)
                                                  : broken(out, file, why, err);
    if (handle) heif_image_handle_release(handle);
    heif_context_free(context);
    return status;
}

#else

static vlm_status heic_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    *out = NULL;
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, file->name, NULL,
                            "HEIC, which this build leaves out (no libheif)");
}

#endif

static bool is_heic(const uint8_t *p, size_t n) {
    static const char *const brands[] = { "heic", "heix", "heim", "heis", "hevc", "hevx" };
    for (size_t i = 0; i < sizeof brands / sizeof brands[0]; i++)
        if (vmedia_has_brand(p, n, brands[i])) return true;
    return false;
}

const vmedia_decoder vmedia_heic = { "HEIC", is_heic, heic_decode };
