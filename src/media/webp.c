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

/* Decodes a frame to its place on the canvas, without a buffer in between. */
static VP8StatusCode decode_frame(vlm_image *image, const WebPIterator *frame) {
    size_t width = image->size.width, height = image->size.height;
    size_t x = (size_t)frame->x_offset, y = (size_t)frame->y_offset;
    size_t columns = (size_t)frame->width, rows = (size_t)frame->height;
    WebPDecoderConfig config;
    if (!frame->complete || x > width || columns > width - x || y > height || rows > height - y
        || !WebPInitDecoderConfig(&config))
        return VP8_STATUS_BITSTREAM_ERROR;
    size_t stride = width * 3, start = y * stride + x * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->rgb + start;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = height * stride - start;
    return WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
}

static vlm_status decode_with(vlm_image **out, const WebPDemuxer *demux, const char *name,
                              const vlm_limits *limits, vlm_error *err) {
    vlm_size size = { WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH),
                      WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT) };
    vlm_status status = vmedia_image_new(out, size, limits, err);
    if (status != VLM_OK) return vcore_context_file(err, status, name);
    WebPIterator frame;
    VP8StatusCode decoded = VP8_STATUS_BITSTREAM_ERROR;
    if (WebPDemuxGetFrame(demux, 1, &frame)) {
        decoded = decode_frame(*out, &frame);
        WebPDemuxReleaseIterator(&frame);
    }
    if (decoded == VP8_STATUS_OUT_OF_MEMORY) return vcore_no_memory(err, name);
    if (decoded != VP8_STATUS_OK)
        return vcore_fail_field(err, VLM_ERR_IMAGE_PROCESSING, name, NULL,
                                "broken WebP: its pixels cannot be decoded");
    int orientation = chunk_orientation(demux, "EXIF", vmedia_exif_orientation);
    if (!orientation) orientation = chunk_orientation(demux, "XMP ", vmedia_xmp_orientation);
    return vmedia_orient(out, orientation, err);
}

static vlm_status webp_decode(vlm_image **out, const uint8_t *p, size_t n, const char *name,
                              const vlm_limits *limits, vlm_error *err) {
    *out = NULL;
    WebPData data = { p, n };
    WebPDemuxer *demux = WebPDemux(&data);
    if (!demux)
        return vcore_fail_field(
            err, VLM_ERR_IMAGE_PROCESSING, name, NULL,
            "broken WebP: the file is truncated or its chunks do not fit together");
    vlm_status status = decode_with(out, demux, name, limits, err);
    WebPDemuxDelete(demux);
    if (status != VLM_OK) {
        vlm_image_free(*out);
        *out = NULL;
    }
    return status;
}

static bool is_webp(const uint8_t *p, size_t n) {
    return n >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0;
}

const vmedia_decoder vmedia_webp = { "WebP", is_webp, webp_decode };
