/* SPDX-License-Identifier: MIT */
/* WebP through libwebp and its demuxer: lossy, lossless, alpha (dropped), the first frame of an
 * animation on a black canvas. Owns nothing of the format but where the library keeps things. */
#include "media/media.h"

#include <webp/decode.h>
#include <webp/demux.h>

static int chunk_orientation(const WebPDemuxer *demux, const char *type,
                             int (*orientation_of)(const uint8_t *, size_t)) {
    WebPChunkIterator chunk;
    if (!WebPDemuxGetChunk(demux, type, 1, &chunk)) return 0;
    int found = orientation_of(chunk.chunk.bytes, chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
    return found;
}

/* The rows that there are of a frame that is cut off; the status that this is for an answer. */
static VP8StatusCode decode_beginning(const WebPData *data, WebPDecoderConfig *config) {
    int rows = 0;
    WebPIDecoder *decoder = WebPIDecode(NULL, 0, config);
    if (!decoder) return VP8_STATUS_OUT_OF_MEMORY;
    WebPIUpdate(decoder, data->bytes, data->size);
    WebPIDecGetRGB(decoder, &rows, NULL, NULL, NULL);
    WebPIDelete(decoder);
    return rows > 0 ? VP8_STATUS_SUSPENDED : VP8_STATUS_BITSTREAM_ERROR;
}

/* Decodes a frame to its place on the canvas, without a buffer in between. VP8_STATUS_SUSPENDED: a
 * part of it. */
static VP8StatusCode decode_frame(vlm_image *image, const WebPIterator *frame, bool salvage) {
    size_t width = image->size.width, height = image->size.height;
    size_t x = (size_t)frame->x_offset, y = (size_t)frame->y_offset;
    size_t columns = (size_t)frame->width, rows = (size_t)frame->height;
    WebPDecoderConfig config;
    if ((!frame->complete && !salvage) || x > width || columns > width - x || y > height
        || rows > height - y || !WebPInitDecoderConfig(&config))
        return VP8_STATUS_BITSTREAM_ERROR;
    size_t stride = width * 3, start = y * stride + x * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->rgb + start;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = height * stride - start;
    VP8StatusCode status = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
    if (status == VP8_STATUS_OK || status == VP8_STATUS_OUT_OF_MEMORY || !salvage) return status;
    return decode_beginning(&frame->fragment, &config);
}

/* Memory that the library takes besides: a lossless picture is made of 32 bits a pixel, of alpha
 * there are 8. A lossy picture by itself needs a few rows. */
static uint64_t library_bytes(const WebPIterator *frame) {
    uint64_t pixels = (uint64_t)frame->width * (uint64_t)frame->height;
    WebPBitstreamFeatures features;
    const WebPData *data = &frame->fragment;
    if (WebPGetFeatures(data->bytes, data->size, &features) != VP8_STATUS_OK) return 0;
    return features.format == 2 ? 4 * pixels : features.has_alpha ? pixels : 0;
}

static vlm_status decode_with(vlm_image **out, WebPDemuxer *demux, WebPIterator *frame,
                              const vmedia_file *file, vlm_error *err) {
    vlm_size size = { WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH),
                      WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT) };
    VTRY(vmedia_begin(out, file, size, library_bytes(frame), err));
    VP8StatusCode decoded = decode_frame(*out, frame, file->salvage);
    if (decoded == VP8_STATUS_OUT_OF_MEMORY) return vcore_no_memory(err, file->name);
    vlm_status status = VLM_OK;
    if (decoded == VP8_STATUS_BITSTREAM_ERROR && file->salvage) {
        vlm_image_free(*out);
        *out = NULL;
    }
    if (decoded != VP8_STATUS_OK)
        status = vmedia_broken(out, file, "WebP", "its pixels cannot be decoded", err);
    int orientation = chunk_orientation(demux, "EXIF", vmedia_exif_orientation);
    if (!orientation) orientation = chunk_orientation(demux, "XMP ", vmedia_xmp_orientation);
    if (*out && !vmedia_orient(*out, orientation)) return vcore_no_memory(err, file->name);
    return status;
}

static vlm_status webp_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    static const char cut[] = "the file is truncated or its chunks do not fit together";
    *out = NULL;
    WebPData data = { file->p, file->n };
    WebPIterator frame = { 0 };
    WebPDemuxState state = WEBP_DEMUX_DONE;
    WebPDemuxer *demux = WebPDemux(&data);
    if (!demux && file->salvage) demux = WebPDemuxPartial(&data, &state);
    if (!demux) return vmedia_broken(out, file, "WebP", cut, err);
    vlm_status status;
    if (!WebPDemuxGetFrame(demux, 1, &frame))
        status = vmedia_broken(out, file, "WebP", cut, err);
    else
        status = decode_with(out, demux, &frame, file, err);
    if (status == VLM_OK && state != WEBP_DEMUX_DONE)
        status = vmedia_broken(out, file, "WebP", cut, err);
    WebPDemuxReleaseIterator(&frame);
    WebPDemuxDelete(demux);
    if (status < 0) {
        vlm_image_free(*out);
        *out = NULL;
    }
    return status;
}

static bool is_webp(const uint8_t *p, size_t n) {
    return n >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0;
}

const vmedia_decoder vmedia_webp = { "WebP", is_webp, webp_decode };
