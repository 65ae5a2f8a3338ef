/* SPDX-License-Identifier: MIT */
/* Resizing and cropping: bytes against Pillow's and torchvision's (tests/data/media/resize.txt,
 * torchvision.txt and crop.txt, made by tools/golden/media.py), the same with every kernel and any
 * number of threads; raw pixels; best fit; wrong arguments. */
#include "media/media.h"

#include <stdio.h>

#include "support/cm.h"
#include "support/golden.h"

#define MEDIA "tests/data/media/"

/* The bytes that tools/golden/media.py draws: noise, noise of 0 and 255 only, a ramp. */
static uint8_t source_byte(int kind, uint64_t i) {
    if (kind == 2) return (uint8_t)(i / 3 * 7 + i % 3 * 85);
    uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    uint8_t byte = (uint8_t)((z ^ z >> 31) >> 56);
    return kind == 1 ? (uint8_t)(byte >> 7) * 255 : byte;
}

static vlm_image *source(int kind, vlm_size size) {
    vlm_image *image;
    assert_int_equal(vmedia_image_new(&image, size, NULL, NULL), VLM_OK);
    for (size_t i = 0, n = (size_t)size.width * size.height * 3; i < n; i++)
        image->rgb[i] = source_byte(kind, i);
    return image;
}

static void assert_digest(const vlm_image *image, const char *digest, const char *line) {
    char actual[65];
    vlm_size size = vlm_image_size(image);
    tgolden_sha256(actual, vlm_image_pixels(image), (size_t)size.width * size.height * 3);
    actual[16] = '\0';
    if (strcmp(actual, digest) != 0) fail_msg("pixels hash to %s, Pillow's: %s", actual, line);
}

/* Runs every line of a file of resizes through one set of kernels and threads. */
static void check_resizes(const char *file, vlm_resampler resampler, unsigned cpu, vcore_pool *pool,
                          int expected) {
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    char line[256], digest[32];
    int kind, filter, lines = 0;
    vlm_size from, to;
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(sscanf(line, "%d %u %u %u %u %d %31s", &kind, &from.width, &from.height,
                                &to.width, &to.height, &filter, digest),
                         7);
        vlm_image *image = source(kind, from), *resized;
        assert_int_equal(
            vmedia_resize(&resized, image, to, (vlm_filter)filter, resampler, pool, cpu, NULL),
            VLM_OK);
        assert_int_equal(vlm_image_size(resized).width, to.width);
        assert_int_equal(vlm_image_size(resized).height, to.height);
        assert_digest(resized, digest, line);
        vlm_image_free(resized);
        vlm_image_free(image);
        lines++;
    }
    fclose(f);
    assert_int_equal(lines, expected);
}

static void check_both(unsigned cpu, vcore_pool *pool) {
    check_resizes(MEDIA "resize.txt", VLM_RESAMPLER_PILLOW, cpu, pool, 26 * 6);
    check_resizes(MEDIA "torchvision.txt", VLM_RESAMPLER_TORCHVISION, cpu, pool, 26 * 4);
}

static void resizes_are_pillows_and_torchvisions(void **state) {
    (void)state;
    check_both(vcore_cpu_flags(), NULL);
}

static void resizes_in_plain_c(void **state) {
    (void)state;
    check_both(0, NULL);
}

static void resizes_with_threads(void **state) {
    (void)state;
    vcore_pool *pool = vcore_pool_new(3);
    assert_non_null(pool);
    check_both(vcore_cpu_flags(), pool);
    vcore_pool_free(pool);
}

/* What an embedder calls: any number of threads gives the bytes of one. */
static void pools_of_the_caller(void **state) {
    (void)state;
    static const vlm_size from = { 301, 217 };
    static const vlm_size to[] = { { 64, 48 }, { 301, 30 }, { 50, 217 }, { 640, 500 }, { 1, 1 } };
    vlm_image *image = source(0, from);
    for (int threads = 0; threads <= 5; threads++) {
        vlm_threads *pool = NULL;
        if (threads) assert_int_equal(vlm_threads_new(&pool, threads, NULL), VLM_OK);
        assert_int_equal(vlm_threads_count(pool), threads ? threads : 1);
        for (size_t i = 0; i < sizeof to / sizeof to[0]; i++)
            for (int k = 0; k < 6 * 2; k++) {
                vlm_image *one, *many;
                vlm_filter filter = (vlm_filter)(k % 6);
                vlm_resampler resampler = (vlm_resampler)(k / 6);
                if (k / 6 && filter > VLM_FILTER_BICUBIC) continue; /* torchvision has none */
                assert_int_equal(vlm_image_resample(&one, image, to[i], filter, resampler, NULL),
                                 VLM_OK);
                assert_int_equal(
                    vlm_image_resample_threads(&many, image, to[i], filter, resampler, pool, NULL),
                    VLM_OK);
                assert_memory_equal(vlm_image_pixels(many), vlm_image_pixels(one),
                                    (size_t)to[i].width * to[i].height * 3);
                vlm_image_free(one);
                vlm_image_free(many);
            }
        vlm_threads_free(pool);
    }
    vlm_image_free(image);
}

/* Filters that torchvision does not have, and Lanczos where transformers replaces it. */
static void resamplers(void **state) {
    (void)state;
    vlm_image *image = source(0, (vlm_size) { 64, 48 }), *cubic, *lanczos, *out;
    vlm_size to = { 31, 20 };
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(
        vlm_image_resample(&cubic, image, to, VLM_FILTER_BICUBIC, VLM_RESAMPLER_TORCHVISION, NULL),
        VLM_OK);
    assert_int_equal(vlm_image_resample(&lanczos, image, to, VLM_FILTER_LANCZOS,
                                        VLM_RESAMPLER_TORCHVISION_BICUBIC, NULL),
                     VLM_OK);
    assert_memory_equal(vlm_image_pixels(cubic), vlm_image_pixels(lanczos), 31 * 20 * 3);
    vlm_image_free(lanczos);
    assert_int_equal(vlm_image_resample(&lanczos, image, to, VLM_FILTER_LANCZOS,
                                        VLM_RESAMPLER_TORCHVISION, NULL),
                     VLM_OK);
    assert_true(memcmp(vlm_image_pixels(cubic), vlm_image_pixels(lanczos), 31 * 20 * 3) != 0);
    assert_int_equal(
        vlm_image_resample(&out, image, to, VLM_FILTER_BOX, VLM_RESAMPLER_TORCHVISION, &err),
        VLM_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "torchvision has no box filter");
    assert_int_equal(
        vlm_image_resample(&out, image, to, VLM_FILTER_HAMMING, VLM_RESAMPLER_TORCHVISION, &err),
        VLM_ERR_UNSUPPORTED);
    assert_int_equal(vlm_image_resample(&out, image, to, VLM_FILTER_BOX, (vlm_resampler)3, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_resample(&out, NULL, to, VLM_FILTER_BOX, VLM_RESAMPLER_PILLOW, &err),
                     VLM_ERR_ARGUMENT);
    vlm_image_free(lanczos);
    vlm_image_free(cubic);
    vlm_image_free(image);
}

static void crops_are_pillows(void **state) {
    (void)state;
    FILE *f = fopen(MEDIA "crop.txt", "r");
    assert_non_null(f);
    char line[256], digest[32];
    int kind, x, y, lines = 0;
    vlm_size from, to;
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(sscanf(line, "%d %u %u %d %d %u %u %31s", &kind, &from.width, &from.height,
                                &x, &y, &to.width, &to.height, digest),
                         8);
        vlm_image *image = source(kind, from), *crop;
        assert_int_equal(vlm_image_crop(&crop, image, x, y, to, NULL), VLM_OK);
        assert_digest(crop, digest, line);
        vlm_image_free(crop);
        vlm_image_free(image);
        lines++;
    }
    fclose(f);
    assert_int_equal(lines, 6);
}

static void raw_pixels(void **state) {
    (void)state;
    static const uint8_t rgba[] = { 1, 2, 3, 0, 4, 5, 6, 255, 9, 9, 7, 8, 9, 1, 10, 11, 12, 2 };
    static const uint8_t rgb[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
    vlm_image *image;
    assert_int_equal(vlm_image_from_pixels(&image, rgba, (vlm_size) { 2, 2 }, 4, 10, NULL), VLM_OK);
    assert_memory_equal(vlm_image_pixels(image), rgb, sizeof rgb);
    vlm_image_free(image);
    assert_int_equal(vlm_image_from_pixels(&image, rgb, (vlm_size) { 2, 2 }, 3, 6, NULL), VLM_OK);
    assert_memory_equal(vlm_image_pixels(image), rgb, sizeof rgb);
    vlm_image_free(image);
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_from_pixels(&image, rgb, (vlm_size) { 2, 2 }, 2, 6, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_from_pixels(&image, rgb, (vlm_size) { 2, 2 }, 3, 5, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_from_pixels(&image, rgb, (vlm_size) { 0, 2 }, 3, 6, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_from_pixels(&image, NULL, (vlm_size) { 2, 2 }, 3, 6, &err),
                     VLM_ERR_ARGUMENT);
    assert_null(image);
}

static void wrong_arguments(void **state) {
    (void)state;
    vlm_image *image = source(0, (vlm_size) { 4, 4 }), *out;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_resize(&out, image, (vlm_size) { 0, 4 }, VLM_FILTER_BOX, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_resize(&out, image, (vlm_size) { 3, 4 }, (vlm_filter)6, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_resize(&out, image, (vlm_size) { 65536, 4 }, VLM_FILTER_BOX, &err),
                     VLM_ERR_LIMIT);
    assert_int_equal(
        vlm_image_resize(&out, image, (vlm_size) { 65535, 65535 }, VLM_FILTER_BOX, &err),
        VLM_ERR_LIMIT);
    assert_int_equal(vlm_image_resize(&out, NULL, (vlm_size) { 3, 4 }, VLM_FILTER_BOX, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_crop(&out, image, 0, 0, (vlm_size) { 3, 0 }, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_crop(&out, image, 0, 0, (vlm_size) { 70000, 3 }, &err),
                     VLM_ERR_LIMIT);
    assert_null(out);
    vlm_image_free(image);
    vlm_image_free(NULL);
}

static void assert_best_fit(vlm_size size, vlm_size box, uint32_t width, uint32_t height) {
    vlm_size fit = vlm_size_best_fit(size, box);
    assert_int_equal(fit.width, width);
    assert_int_equal(fit.height, height);
}

static void best_fit(void **state) {
    (void)state;
    assert_best_fit((vlm_size) { 200, 100 }, (vlm_size) { 50, 50 }, 50, 25);
    assert_best_fit((vlm_size) { 100, 200 }, (vlm_size) { 50, 50 }, 25, 50);
    assert_best_fit((vlm_size) { 2, 1 }, (vlm_size) { 5, 5 }, 5, 3); /* 2.5 rounds away from zero */
    assert_best_fit((vlm_size) { 10, 10 }, (vlm_size) { 640, 480 }, 480, 480);
    assert_best_fit((vlm_size) { 0, 10 }, (vlm_size) { 640, 480 }, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizes_are_pillows_and_torchvisions),
        cmocka_unit_test(resizes_in_plain_c),
        cmocka_unit_test(resizes_with_threads),
        cmocka_unit_test(pools_of_the_caller),
        cmocka_unit_test(resamplers),
        cmocka_unit_test(crops_are_pillows),
        cmocka_unit_test(raw_pixels),
        cmocka_unit_test(wrong_arguments),
        cmocka_unit_test(best_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
