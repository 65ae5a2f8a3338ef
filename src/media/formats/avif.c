/* SPDX-License-Identifier: MIT */
/* AVIF through libavif, where the build has it: the first frame, 8 bits of whatever depth there is,
 * alpha dropped, turned as its own boxes say. Owns nothing of the format, and no colour conversion.
 */
#include "media/media.h"

#ifdef VLM_HAVE_AVIF

#include <avif/avif.h>

#define ALPHA 3 /* a channel, behind Y, U and V */

/* The boxes turn to the left, then mirror; Pillow asks Exif and XMP only where they are silent. */
static int orientation(const avifImage *image) {
    static const int turned[2][4] = { { 1, 8, 3, 6 }, { 4, 5, 2, 7 } }; /* mirrored top to bottom */
    static const int mirrored[4] = { 2, 7, 4, 5 };                      /* left to right */
    int angle = image->transformFlags & AVIF_TRANSFORM_IROT ? image->irot.angle & 3 : 0;
    bool mirror = image->transformFlags & AVIF_TRANSFORM_IMIR;
    int found = mirror && image->imir.mode ? mirrored[angle] : turned[mirror][angle];
    if (found != 1 || vmedia_exif_orientation(image->exif.data, image->exif.size)) return found;
    return vmedia_xmp_orientation(image->xmp.data, image->xmp.size);
}

/* The planes that the library decodes to. */
static uint64_t plane_bytes(const avifDecoder *decoder) {
    const avifImage *image = decoder->image;
    uint64_t pixels = (uint64_t)image->width * image->height, quarters = 4;
    if (image->yuvFormat == AVIF_PIXEL_FORMAT_YUV444) quarters = 12;
    if (image->yuvFormat == AVIF_PIXEL_FORMAT_YUV422) quarters = 8;
    if (image->yuvFormat == AVIF_PIXEL_FORMAT_YUV420) quarters = 6;
    if (decoder->alphaPresent) quarters += 4;
    if (image->depth > 8) quarters *= 3;       /* of 16 bits, and of 8 */
    if (decoder->alphaPresent) quarters += 16; /* RGBA */
    return pixels * quarters / 4;
}

/* Whether later versions of the library, whose colours Pillow has, begin with the high 8 bits of
 * each sample: where they have no conversion of deep pictures. */
static bool is_shifted(const avifImage *image) {
    if (image->yuvFormat == AVIF_PIXEL_FORMAT_YUV400) return false;
    return !image->alphaPlane
           || (image->depth == 12 && image->yuvFormat != AVIF_PIXEL_FORMAT_YUV420);
}

/* The high 8 bits of every sample of a channel. */
static void shift_rows(avifImage *to, const avifImage *from, int channel, size_t columns,
                       size_t rows) {
    bool alpha = channel == ALPHA;
    const uint8_t *deep = alpha ? from->alphaPlane : from->yuvPlanes[channel];
    uint8_t *byte = alpha ? to->alphaPlane : to->yuvPlanes[channel];
    size_t deep_stride = alpha ? from->alphaRowBytes : from->yuvRowBytes[channel];
    size_t stride = alpha ? to->alphaRowBytes : to->yuvRowBytes[channel];
    for (size_t y = 0; deep && byte && y < rows; y++)
        for (size_t x = 0; x < columns; x++) {
            uint16_t sample;
            memcpy(&sample, deep + y * deep_stride + 2 * x, sizeof sample);
            byte[y * stride + x] = (uint8_t)(sample >> (from->depth - 8));
        }
}

static avifResult convert_to_rgb(const avifImage *from, avifRGBImage *rgb) {
    if (from->depth <= 8 || !is_shifted(from)) return avifImageYUVToRGB(from, rgb);
    avifImage *shallow = avifImageCreate((int)from->width, (int)from->height, 8, from->yuvFormat);
    if (!shallow) return AVIF_RESULT_OUT_OF_MEMORY;
    shallow->yuvRange = from->yuvRange;
    shallow->matrixCoefficients = from->matrixCoefficients;
    shallow->colorPrimaries = from->colorPrimaries;
    shallow->transferCharacteristics = from->transferCharacteristics;
    shallow->alphaPremultiplied = from->alphaPremultiplied;
    avifImageAllocatePlanes(shallow, AVIF_PLANES_YUV | (from->alphaPlane ? AVIF_PLANES_A : 0));
    bool memory = shallow->yuvPlanes[0] && (!from->alphaPlane || shallow->alphaPlane)
                  && (!from->yuvPlanes[1] || (shallow->yuvPlanes[1] && shallow->yuvPlanes[2]));
    avifPixelFormatInfo format;
    avifGetPixelFormatInfo(from->yuvFormat, &format);
    size_t width = from->width, height = from->height;
    size_t columns = (width + (size_t)format.chromaShiftX) >> format.chromaShiftX;
    size_t rows = (height + (size_t)format.chromaShiftY) >> format.chromaShiftY;
    shift_rows(shallow, from, AVIF_CHAN_Y, width, height);
    shift_rows(shallow, from, AVIF_CHAN_U, columns, rows);
    shift_rows(shallow, from, AVIF_CHAN_V, columns, rows);
    shift_rows(shallow, from, ALPHA, width, height);
    avifResult result = memory ? avifImageYUVToRGB(shallow, rgb) : AVIF_RESULT_OUT_OF_MEMORY;
    avifImageDestroy(shallow);
    return result;
}

/* Straight into the picture; with alpha by way of RGBA, where the library's colours differ from
 * those of its RGB by a level, and where it divides by alpha what was multiplied by it. */
static avifResult convert(vlm_image *to, const avifDecoder *decoder) {
    avifRGBImage rgb;
    avifRGBImageSetDefaults(&rgb, decoder->image);
    rgb.depth = 8;
    bool alpha = decoder->alphaPresent;
    rgb.format = alpha ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
    size_t pixels = (size_t)to->size.width * to->size.height;
    rgb.rowBytes = to->size.width * (alpha ? 4 : 3);
    rgb.pixels = alpha ? vcore_alloc_array(pixels, 4) : to->rgb;
    if (!rgb.pixels) return AVIF_RESULT_OUT_OF_MEMORY;
    avifResult result = convert_to_rgb(decoder->image, &rgb);
    if (!alpha) return result;
    for (size_t i = 0; i < pixels; i++) memcpy(to->rgb + 3 * i, rgb.pixels + 4 * i, 3);
    vcore_free(rgb.pixels);
    return result;
}

static vlm_status decode_with(vlm_image **out, avifDecoder *decoder, const vmedia_file *file,
                              vlm_error *err) {
    decoder->maxThreads = 1;
    /* The same bytes as dav1d's, which is faster but prints what it thinks of broken files. */
    if (avifCodecName(AVIF_CODEC_CHOICE_AOM, AVIF_CODEC_FLAG_CAN_DECODE))
        decoder->codecChoice = AVIF_CODEC_CHOICE_AOM;
    /* Pillow's tolerance. */
    decoder->strictFlags &= ~(avifStrictFlags)(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
    if (file->limits->image_pixels < decoder->imageSizeLimit)
        decoder->imageSizeLimit = (uint32_t)file->limits->image_pixels;
    avifResult result = avifDecoderSetIOMemory(decoder, file->p, file->n);
    if (result == AVIF_RESULT_OK) result = avifDecoderParse(decoder);
    if (result == AVIF_RESULT_OK) {
        const avifImage *image = decoder->image;
        vlm_size size = { image->width, image->height };
        VTRY(vmedia_begin(out, file, size, plane_bytes(decoder), err));
        result = avifDecoderNextImage(decoder);
        if (result == AVIF_RESULT_OK
            && (image->width != size.width || image->height != size.height))
            result = AVIF_RESULT_BMFF_PARSE_FAILED;
    }
    if (result == AVIF_RESULT_OK) result = convert(*out, decoder);
    if (result == AVIF_RESULT_OUT_OF_MEMORY) return vcore_no_memory(err, file->name);
    if (result != AVIF_RESULT_OK) {
        vlm_image_free(*out);
        *out = NULL;
        return vmedia_broken(out, file, "AVIF", avifResultToString(result), err);
    }
    return vmedia_orient(*out, orientation(decoder->image)) ? VLM_OK
                                                            : vcore_no_memory(err, file->name);
}

static vlm_status avif_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    *out = NULL;
    avifDecoder *decoder = avifDecoderCreate();
    if (!decoder) return vcore_no_memory(err, file->name);
    vlm_status status = decode_with(out, decoder, file, err);
    avifDecoderDestroy(decoder);
    if (status < 0) {
        vlm_image_free(*out);
        *out = NULL;
    }
    return status;
}

#else

static vlm_status avif_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    *out = NULL;
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, file->name, NULL,
                            "AVIF, which this build leaves out (no libavif)");
}

#endif

static bool is_avif(const uint8_t *p, size_t n) {
    return vmedia_has_brand(p, n, "avif") || vmedia_has_brand(p, n, "avis");
}

const vmedia_decoder vmedia_avif = { "AVIF", is_avif, avif_decode };
