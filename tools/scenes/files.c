/* SPDX-License-Identifier: MIT */
/*
 * Pictures as files: PNG through libpng, JPEG through libjpeg, and the round trip through JPEG in
 * memory that gives training scenes the artefacts of the held-out ones.
 */
#include "scenes.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <png.h>

typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf caller;
} jpeg_errors;

static void leave(j_common_ptr info) {
    longjmp(((jpeg_errors *)info->err)->caller, 1);
}

static struct jpeg_error_mgr *leave_on_error(jpeg_errors *e) {
    struct jpeg_error_mgr *base = jpeg_std_error(&e->base);

    base->error_exit = leave;
    return base;
}

/* *bytes is malloc'ed by libjpeg; the caller frees it, also after a failure. */
static bool encode(const uint8_t *rgb, int width, int height, int quality, unsigned char **bytes,
                   unsigned long *size) {
    struct jpeg_compress_struct info;
    jpeg_errors errors;

    info.err = leave_on_error(&errors);
    if (setjmp(errors.caller)) {
        jpeg_destroy_compress(&info);
        return false;
    }
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, bytes, size);
    info.image_width = (JDIMENSION)width;
    info.image_height = (JDIMENSION)height;
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
        JSAMPROW row = (JSAMPROW)(rgb + 3 * (size_t)width * info.next_scanline);

        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    return true;
}

static bool decode(const unsigned char *bytes, unsigned long size, uint8_t *rgb, int width) {
    struct jpeg_decompress_struct info;
    jpeg_errors errors;

    info.err = leave_on_error(&errors);
    if (setjmp(errors.caller)) {
        jpeg_destroy_decompress(&info);
        return false;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes, size);
    jpeg_read_header(&info, TRUE);
    jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
        JSAMPROW row = rgb + 3 * (size_t)width * info.output_scanline;

        jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    jpeg_destroy_decompress(&info);
    return true;
}

bool scenes_jpeg_round_trip(uint8_t *rgb, int width, int height, int quality) {
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    bool ok = encode(rgb, width, height, quality, &bytes, &size) && decode(bytes, size, rgb, width);

    free(bytes);
    return ok;
}

bool scenes_write_jpeg(const char *path, const uint8_t *rgb, int width, int height, int quality) {
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    bool ok = encode(rgb, width, height, quality, &bytes, &size);
    FILE *file = ok ? fopen(path, "wb") : NULL;

    ok = file != NULL && fwrite(bytes, 1, size, file) == size;
    if (file != NULL) ok = fclose(file) == 0 && ok;
    free(bytes);
    return ok;
}

bool scenes_write_png(const char *path, const uint8_t *rgb, int width, int height) {
    png_image image = { .version = PNG_IMAGE_VERSION,
                        .width = (png_uint_32)width,
                        .height = (png_uint_32)height,
                        .format = PNG_FORMAT_RGB };

    return png_image_write_to_file(&image, path, 0, rgb, 0, NULL) != 0;
}
