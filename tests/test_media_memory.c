/* SPDX-License-Identifier: MIT */
/* What decoding a picture takes: the peak of the process while it decodes, in a process of its own,
 * against the picture's pixels; and that the limit of it is checked before the memory is taken. */
#include "media/media.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>
#include <tiffio.h>
#include <webp/encode.h>

#include "support/cm.h"

#define WIDTH 2400
#define HEIGHT 1600
#define PIXELS ((uint64_t)WIDTH * HEIGHT)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURED false /* the sanitizers' own memory is counted with it */
#elif defined(__has_feature)
#define MEASURED (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define MEASURED true
#endif

/* Waves of a few colours: nothing of it is hard to compress. */
static void draw_row(uint8_t *row, uint32_t y, int channels, int bytes) {
    for (uint32_t x = 0; x < WIDTH; x++)
        for (int c = 0; c < channels; c++)
            for (int b = 0; b < bytes; b++)
                *row++ = (uint8_t)(c == 3 ? 255 : ((x / 16 + (uint32_t)c * 5) ^ y / 16) & 31) * 7;
}

static void add_bytes(png_structp png, png_bytep p, size_t n) {
    vcore_buf_add(png_get_io_ptr(png), p, n);
}

static void no_flush(png_structp png) {
    (void)png;
}

/* With an orientation of 6 before the pixels. */
static void make_png(vcore_buf *to, int colour, int depth, int interlace) {
    static const png_byte exif[] =
        "II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0";
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, to, add_bytes, no_flush);
    png_set_compression_level(png, 1);
    png_set_IHDR(png, info, WIDTH, HEIGHT, depth, colour, interlace, 0, 0);
    png_set_eXIf_1(png, info, sizeof exif - 1, (png_bytep)(uintptr_t)exif);
    png_write_info(png, info);
    int channels = png_get_channels(png, info), passes = png_set_interlace_handling(png);
    uint8_t *row = malloc((size_t)WIDTH * 8);
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < HEIGHT; y++) {
            draw_row(row, y, channels, depth / 8);
            png_write_row(png, row);
        }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(row);
}

/* One pixel, behind texts of so many equal letters. */
static void make_text_png(vcore_buf *to, int texts, size_t length) {
    char *letters = calloc(length + 1, 1);
    memset(letters, 'a', length);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, to, add_bytes, no_flush);
    png_set_IHDR(png, info, 1, 1, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, 0, 0);
    png_text text = { .compression = PNG_TEXT_COMPRESSION_zTXt, .key = (char[]) { "key" }, .text = letters };
    text.text_length = length;
    for (int i = 0; i < texts; i++) png_set_text(png, info, &text, 1);
    png_write_info(png, info);
    png_write_row(png, (const uint8_t[]) { 0 });
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(letters);
}

static void make_plain_png(vcore_buf *to) {
    make_png(to, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE);
}

static void make_interlaced_png(vcore_buf *to) {
    make_png(to, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_ADAM7);
}

static void make_deep_png(vcore_buf *to) {
    make_png(to, PNG_COLOR_TYPE_RGB_ALPHA, 16, PNG_INTERLACE_NONE);
}

/* 4:2:0, with an orientation of 8. */
static void make_jpeg(vcore_buf *to, bool progressive) {
    static const JOCTET exif[] =
        "Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0";
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *out = NULL;
    unsigned long n = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &out, &n);
    jpeg.image_width = WIDTH, jpeg.image_height = HEIGHT;
    jpeg.input_components = 3, jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 60, TRUE);
    if (progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif - 1);
    uint8_t *row = malloc((size_t)WIDTH * 3);
    for (uint32_t y = 0; y < HEIGHT; y++) {
        draw_row(row, y, 3, 1);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    vcore_buf_add(to, out, n);
    free(out);
    free(row);
}

static void make_baseline_jpeg(vcore_buf *to) {
    make_jpeg(to, false);
}

static void make_progressive_jpeg(vcore_buf *to) {
    make_jpeg(to, true);
}

static void make_webp(vcore_buf *to, bool lossless) {
    uint8_t *all = malloc(PIXELS * 3), *out = NULL;
    for (uint32_t y = 0; y < HEIGHT; y++) draw_row(all + (size_t)y * WIDTH * 3, y, 3, 1);
    size_t n = lossless ? WebPEncodeLosslessRGB(all, WIDTH, HEIGHT, WIDTH * 3, &out)
                        : WebPEncodeRGB(all, WIDTH, HEIGHT, WIDTH * 3, 20, &out);
    vcore_buf_add(to, out, n);
    WebPFree(out);
    free(all);
}

static void make_lossy_webp(vcore_buf *to) {
    make_webp(to, false);
}

static void make_lossless_webp(vcore_buf *to) {
    make_webp(to, true);
}

/* Codes of eight bits, one a pixel, and a clear code before they would become longer. */
static void make_gif(vcore_buf *to) {
    uint8_t head[13] = "GIF89a", frame[] = ",\0\0\0\0\0\0\0\0\0\7", block[128];
    head[6] = frame[5] = WIDTH & 255, head[7] = frame[6] = WIDTH >> 8;
    head[8] = frame[7] = HEIGHT & 255, head[9] = frame[8] = HEIGHT >> 8;
    vcore_buf_add(to, head, sizeof head);
    vcore_buf_add(to, frame, sizeof frame - 1);
    for (uint64_t at = 0; at < PIXELS; at += 100) {
        block[0] = 101, block[1] = 0x80;
        for (uint64_t i = 0; i < 100; i++) block[2 + i] = (uint8_t)((at + i) / 50 & 127);
        vcore_buf_add(to, block, 102);
    }
    vcore_buf_add(to, "\1\x81\0;", 4);
}

static void make_bmp(vcore_buf *to) {
    uint8_t head[54] = "BM";
    head[10] = 54, head[14] = 40, head[26] = 1, head[28] = 24;
    head[18] = WIDTH & 255, head[19] = WIDTH >> 8, head[22] = HEIGHT & 255, head[23] = HEIGHT >> 8;
    vcore_buf_add(to, head, sizeof head);
    uint8_t *row = malloc((size_t)WIDTH * 3);
    for (uint32_t y = 0; y < HEIGHT; y++) {
        draw_row(row, y, 3, 1);
        vcore_buf_add(to, row, (size_t)WIDTH * 3);
    }
    free(row);
}

/* 16 bits with alpha, all in one strip, with an orientation of 5. */
static void make_tiff(vcore_buf *to) {
    char path[] = "/tmp/vlm-memory-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    TIFF *tiff = TIFFFdOpen(fd, path, "w");
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, WIDTH);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, HEIGHT);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 16);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 4);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
    TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, (uint16_t[]) { EXTRASAMPLE_UNASSALPHA });
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_LZW);
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, HEIGHT);
    TIFFSetField(tiff, TIFFTAG_ORIENTATION, 5);
    uint8_t *row = malloc((size_t)WIDTH * 8);
    for (uint32_t y = 0; y < HEIGHT; y++) {
        draw_row(row, y, 4, 2);
        assert_int_equal(TIFFWriteScanline(tiff, row, y, 0), 1);
    }
    TIFFClose(tiff);
    free(row);
    vio_bytes file;
    assert_int_equal(vio_read(&file, path, 1 << 28, NULL, NULL), VLM_OK);
    vcore_buf_add(to, file.p, file.n);
    vcore_free(file.p);
    unlink(path);
}

/* Bytes a pixel at the peak, of a child that decodes; its status where that is not VLM_OK. */
static double peak(const vcore_buf *file, const vlm_limits *limits, vlm_status *status) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    malloc_trim(0); /* what the child has already it would not take anew */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rusage before, after;
        vlm_image *image;
        getrusage(RUSAGE_SELF, &before);
        vlm_status result = vlm_image_decode(&image, file->p, file->n, "big", limits, NULL);
        getrusage(RUSAGE_SELF, &after);
        double answer[2] = { (double)(after.ru_maxrss - before.ru_maxrss) * 1024 / PIXELS, result };
        _exit(write(ends[1], answer, sizeof answer) != sizeof answer);
    }
    double answer[2];
    assert_int_equal(read(ends[0], answer, sizeof answer), sizeof answer);
    close(ends[0]);
    close(ends[1]);
    waitpid(child, NULL, 0);
    *status = (vlm_status)answer[1];
    return answer[0];
}

typedef struct subject {
    const char *name;
    void (*make)(vcore_buf *to);
    double most;  /* bytes a pixel */
    bool refused; /* when the limit is 4 bytes a pixel */
} subject;

static const subject subjects[] = {
    { "PNG, turned", make_plain_png, 3.5, false },
    { "PNG, interlaced and turned", make_interlaced_png, 3.5, false },
    { "PNG, 16 bits and alpha, turned", make_deep_png, 3.5, false },
    { "JPEG, turned", make_baseline_jpeg, 3.7, false },
    { "JPEG, progressive, turned", make_progressive_jpeg, 6.7, true },
    { "WebP, lossy", make_lossy_webp, 3.7, false },
    { "WebP, lossless", make_lossless_webp, 7.7, true },
    { "GIF", make_gif, 3.5, false },
    { "BMP", make_bmp, 3.5, false },
    { "TIFF, 16 bits and alpha, one strip, turned", make_tiff, 3.5, false },
};

static void peaks(void **state) {
    (void)state;
    vlm_limits four = VLM_LIMITS_INIT;
    four.image_decode_bytes = PIXELS * 4;
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        const subject *s = &subjects[i];
        vcore_buf file = { 0 };
        s->make(&file);
        assert_false(file.failed);
        vlm_status status;
        double bytes = peak(&file, NULL, &status);
        assert_int_equal(status, VLM_OK);
        if (MEASURED) {
            print_message("%s: %.2f bytes a pixel\n", s->name, bytes);
            if (bytes > s->most || bytes < 2.9) fail_msg("%s: %.2f bytes a pixel", s->name, bytes);
        }
        bytes = peak(&file, &four, &status);
        assert_int_equal(status, s->refused ? VLM_ERR_LIMIT : VLM_OK);
        if (MEASURED && s->refused) assert_true(bytes < 0.5);
        vcore_buf_free(&file);
    }
}

/* What fuzzing found: a file of some bytes whose text claims 1.9 GB; and texts that are small in the file. */
static void text_of_a_png(void **state) {
    (void)state;
    static const uint8_t claim[] = { 0x72, 0, 0, 0, 'z', 'T', 'X', 't', 'R', 'a', 'w', ' ' };
    vcore_buf file = { 0 };
    vlm_status status;
    make_text_png(&file, 200, 1000000);
    double bytes = peak(&file, NULL, &status) * PIXELS;
    assert_int_equal(status, VLM_OK);
    if (MEASURED) assert_true(bytes < 80 << 20);
    file.n = 8 + 25; /* the signature and the header */
    vcore_buf_add(&file, (const char *)claim, sizeof claim);
    bytes = peak(&file, NULL, &status) * PIXELS;
    assert_int_equal(status, VLM_ERR_IMAGE_PROCESSING);
    if (MEASURED) assert_true(bytes < 4 << 20);
    vcore_buf_free(&file);
}

static void decode_bytes_of_limits(void **state) {
    (void)state;
    vlm_limits limits = VLM_LIMITS_INIT;
    assert_int_equal(vcore_limits(NULL).image_decode_bytes, UINT64_C(4) * 178956970);
    assert_int_equal(vcore_limits(NULL).image_scans, 500);
    limits.image_pixels = 1000;
    assert_int_equal(vcore_limits(&limits).image_decode_bytes, 64 << 20);
    limits.image_pixels = 400000000;
    assert_int_equal(vcore_limits(&limits).image_decode_bytes, 1600000000);
    limits.image_pixels = UINT64_MAX;
    assert_true(vcore_limits(&limits).image_decode_bytes >= UINT64_MAX - 3);
    limits.image_decode_bytes = 5;
    assert_int_equal(vcore_limits(&limits).image_decode_bytes, 5);
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_open(&image, "tests/data/media/rgba.png", &limits, &err),
                     VLM_ERR_LIMIT);
    assert_non_null(strstr(err.message, "takes 4995 bytes to decode, above the limit of 5"));
    assert_int_equal(err.limit, 5);
    limits.image_decode_bytes = 45 * 37 * 3;
    assert_int_equal(vlm_image_open(&image, "tests/data/media/rgba.png", &limits, &err), VLM_OK);
    vlm_image_free(image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peaks),
        cmocka_unit_test(text_of_a_png),
        cmocka_unit_test(decode_bytes_of_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
