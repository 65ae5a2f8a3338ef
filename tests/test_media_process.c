/* SPDX-License-Identifier: MIT */
/* What is done to pictures between decoding and a model: the generic pipeline against transformers'
 * image processors of both backends, bit for bit (tests/data/media/preprocess.txt and
 * preprocess-torchvision.txt, made by tools/golden/preprocess.py); sizes, rectangles, crops, float
 * pictures and chains by value. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/cm.h"
#include "support/golden.h"
#include "vlm/vlm.h"

#define CLIP_MEAN                                                                                  \
    { 0.48145466, 0.4578275, 0.40821073 }
#define CLIP_STD                                                                                   \
    { 0.26862954, 0.26130258, 0.27577711 }
#define HALVES                                                                                     \
    { 0.5, 0.5, 0.5 }
#define CLIP(edge, longest, w, h)                                                                  \
    {                                                                                              \
        .shortest_edge = edge, .longest_edge = longest, .crop = { w, h }, .do_resize = true,       \
        .resample = VLM_FILTER_BICUBIC, .do_rescale = true, .do_normalize = true,                  \
        .rescale_factor = 1.0 / 255, .mean = CLIP_MEAN, .std = CLIP_STD                            \
    }
#define SIGLIP(w, h, filter, ...)                                                                  \
    {                                                                                              \
        .size = { w, h }, .do_resize = true, .resample = filter, .do_rescale = true,               \
        .do_normalize = true, .rescale_factor = 1.0 / 255, .mean = HALVES, .std = __VA_ARGS__      \
    }

/* The settings of tools/golden/preprocess.py. */
static const struct {
    const char *name;
    vlm_image_processor_config config;
} settings[] = {
    { "clip", CLIP(224, 0, 224, 224) },
    { "clip-336", CLIP(336, 0, 336, 336) },
    { "clip-padded", CLIP(101, 0, 163, 160) },
    { "clip-edges", CLIP(200, 231, 0, 0) },
    { "clip-crop",
      { .crop = { 50, 97 },
        .do_rescale = true,
        .do_normalize = true,
        .rescale_factor = 1.0 / 255,
        .mean = CLIP_MEAN,
        .std = CLIP_STD } },
    { "clip-bytes",
      { .shortest_edge = 224,
        .crop = { 224, 224 },
        .do_resize = true,
        .resample = VLM_FILTER_BICUBIC } },
    { "siglip", SIGLIP(224, 224, VLM_FILTER_BICUBIC, HALVES) },
    { "siglip-384", SIGLIP(384, 384, VLM_FILTER_LANCZOS, HALVES) },
    { "siglip-oblong", SIGLIP(140, 30, VLM_FILTER_BILINEAR, { 0.2, 0.3, 0.4 }) },
    { "siglip-unscaled",
      { .size = { 224, 224 },
        .do_resize = true,
        .resample = VLM_FILTER_BICUBIC,
        .do_normalize = true,
        .mean = HALVES,
        .std = HALVES } },
    { "siglip-unnormalised",
      { .size = { 224, 224 },
        .do_resize = true,
        .resample = VLM_FILTER_BICUBIC,
        .do_rescale = true,
        .rescale_factor = 1 / 127.5 } },
};

static vlm_image_processor_config setting(const char *name) {
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (strcmp(settings[i].name, name) == 0) return settings[i].config;
    fail_msg("no setting %s", name);
    return settings[0].config;
}

static vlm_image *picture(const char *name) {
    char path[128];
    vlm_image *image;
    snprintf(path, sizeof path, "tests/data/pictures/%s", name);
    assert_int_equal(vlm_image_open(&image, path, NULL, NULL), VLM_OK);
    return image;
}

/* ---- the generic pipeline -------------------------------------------------------------------- */
static size_t count(const vlm_pixel_array *a) {
    size_t n = 1;
    for (int i = 0; i < a->rank; i++) n *= (size_t)a->shape[i];
    return n;
}

static void check_preprocess(const char *path, vlm_resampler resampler) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char name[64], how[64], layout[8], digest[32], actual[65];
    int rank, lines = 0;
    while (fscanf(f, "%63s %63s %7s %d", name, how, layout, &rank) == 4) {
        vlm_image_processor_config config = setting(how);
        vlm_pixel_array array;
        vlm_image *image = picture(name);
        config.resampler = resampler;
        if (strcmp(layout, "BGR") == 0) config.channels = VLM_CHANNELS_BGR;
        assert_int_equal(vlm_image_preprocess(&array, image, &config,
                                              layout[0] == 'H'   ? VLM_LAYOUT_HWC
                                              : layout[0] == 'C' ? VLM_LAYOUT_CHW
                                                                 : VLM_LAYOUT_BCHW,
                                              NULL),
                         VLM_OK);
        assert_int_equal(array.rank, rank);
        for (int i = 0; i < rank; i++) {
            long long side;
            assert_int_equal(fscanf(f, "%lld", &side), 1);
            assert_int_equal(array.shape[i], side);
        }
        assert_int_equal(fscanf(f, "%31s", digest), 1);
        tgolden_sha256(actual, array.values, count(&array) * sizeof *array.values);
        actual[16] = '\0';
        if (strcmp(actual, digest) != 0) fail_msg("%s %s %s: other floats", name, how, layout);
        vlm_pixel_array_free(&array);
        vlm_image_free(image);
        lines++;
    }
    fclose(f);
    assert_int_equal(lines, 8 * (11 + 3));
}

static void preprocess_is_transformers(void **state) {
    (void)state;
    check_preprocess("tests/data/media/preprocess.txt", VLM_RESAMPLER_PILLOW);
    check_preprocess("tests/data/media/preprocess-torchvision.txt", VLM_RESAMPLER_TORCHVISION);
}

static void preprocess_refuses(void **state) {
    (void)state;
    vlm_image *image = picture("tiny.png");
    vlm_image_processor_config config = { .do_resize = true };
    vlm_pixel_array array = { .rank = 9 };
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_preprocess(&array, image, &config, VLM_LAYOUT_HWC, &err),
                     VLM_ERR_CONFIG);
    assert_null(array.values);
    assert_int_equal(array.rank, 0);
    config.size = (vlm_size) { 1 << 30, 1 };
    assert_int_equal(vlm_image_preprocess(&array, image, &config, VLM_LAYOUT_HWC, &err),
                     VLM_ERR_LIMIT);
    config.size = (vlm_size) { 2, 2 };
    assert_int_equal(vlm_image_preprocess(&array, image, &config, (vlm_layout)7, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_preprocess(&array, NULL, &config, VLM_LAYOUT_HWC, &err),
                     VLM_ERR_ARGUMENT);
    vlm_image_free(image);
}

/* ---- sizes and rectangles -------------------------------------------------------------------- */
#define IS_SIZE(s, w, h)                                                                           \
    do {                                                                                           \
        vlm_size is_ = (s);                                                                        \
        assert_int_equal(is_.width, w);                                                            \
        assert_int_equal(is_.height, h);                                                           \
    } while (0)
#define IS_RECT(r, l, t, w, h)                                                                     \
    do {                                                                                           \
        vlm_rect is_ = (r);                                                                        \
        assert_int_equal(is_.x, l);                                                                \
        assert_int_equal(is_.y, t);                                                                \
        assert_int_equal(is_.width, w);                                                            \
        assert_int_equal(is_.height, h);                                                           \
    } while (0)
#define S(w, h) ((vlm_size) { w, h })
#define R(x, y, w, h) ((vlm_rect) { x, y, w, h })

static void sizes(void **state) {
    (void)state;
    assert_true(vlm_size_best_fit_scale(S(400, 200), S(100, 100)) == 0.25);
    assert_true(vlm_size_best_fit_scale(S(100, 200), S(300, 500)) == 2.5);
    assert_true(vlm_size_best_fit_scale(S(0, 200), S(300, 500)) == 0);
    IS_SIZE(vlm_size_best_fit(S(400, 200), S(100, 100)), 100, 50);
    IS_SIZE(vlm_size_best_fit(S(400, 202), S(100, 100)), 100, 51); /* 50.5: away from zero */
    IS_SIZE(vlm_size_best_fit(S(0, 202), S(100, 100)), 0, 0);
    assert_true(vlm_size_aspect_ratio_for_resample(S(200, 100), S(100, 100)) == 0.5);
    assert_true(vlm_size_aspect_ratio_for_resample(S(640, 480), S(320, 240)) == 1);
    assert_true(vlm_size_aspect_ratio_for_resample(S(640, 0), S(320, 240)) == 0);
    IS_SIZE(vlm_size_fit_shortest_edge(S(640, 480), 224), 298, 224); /* 298.67 */
    IS_SIZE(vlm_size_fit_shortest_edge(S(480, 640), 224), 224, 298);
    IS_SIZE(vlm_size_fit_shortest_edge(S(10, 10), 224), 224, 224);
    IS_SIZE(vlm_size_fit_longest_edge(S(640, 480), 320), 320, 240);
    IS_SIZE(vlm_size_fit_longest_edge(S(480, 640), 320), 240, 320); /* the shorter side follows */
    IS_SIZE(vlm_size_fit_longest_edge(S(640, 480), 640), 640, 480);
    IS_SIZE(vlm_size_fit_longest_edge(S(20000, 1), 100), 100, 1);
    IS_SIZE(vlm_size_fit_longest_edge(S(20000, 1), 0), 0, 0);
    IS_SIZE(vlm_size_fit_shortest_edge(S(0, 1), 5), 0, 0);
}

static void rectangles(void **state) {
    (void)state;
    assert_true(vlm_rect_smaller_or_equal(R(7, 7, 100, 50), S(100, 50)));
    assert_false(vlm_rect_smaller_or_equal(R(0, 0, 101, 50), S(100, 50)));
    assert_false(vlm_rect_smaller_or_equal(R(0, 0, 100, 51), S(100, 50)));
    IS_RECT(vlm_rect_center_crop(R(0, 0, 100, 50), S(20, 20)), 40, 15, 20, 20);
    IS_RECT(vlm_rect_center_crop(R(-5, 8, 101, 51), S(20, 20)), 35, 23, 20, 20);
    IS_RECT(vlm_rect_center_crop(R(3, 4, 10, 10), S(20, 20)), 3, 4, 10, 10);
    IS_RECT(vlm_rect_center_crop(R(0, 0, 10, 40), S(20, 20)), 0, 10, 10, 20);
    IS_RECT(vlm_rect_in_square(S(7, 4)), 0, 1, 7, 4);
    IS_RECT(vlm_rect_in_square(S(4, 8)), 2, 0, 4, 8);
}

/* ---- crops and padding ----------------------------------------------------------------------- */
/* Red counts columns, green rows; blue is 200. */
static vlm_image *ramp(uint32_t width, uint32_t height) {
    uint8_t *rgb = malloc((size_t)width * height * 3);
    for (uint32_t i = 0; i < width * height; i++)
        rgb[3 * i] = (uint8_t)(i % width), rgb[3 * i + 1] = (uint8_t)(i / width),
                rgb[3 * i + 2] = 200;
    vlm_image *image;
    assert_int_equal(
        vlm_image_from_pixels(&image, rgb, S(width, height), 3, (size_t)width * 3, NULL), VLM_OK);
    free(rgb);
    return image;
}

static void is_pixel(const vlm_image *image, uint32_t x, uint32_t y, int r, int g, int b) {
    const uint8_t *p = vlm_image_pixels(image) + 3 * ((size_t)y * vlm_image_size(image).width + x);
    assert_int_equal(p[0], r);
    assert_int_equal(p[1], g);
    assert_int_equal(p[2], b);
}

static void crops(void **state) {
    (void)state;
    vlm_image *image = ramp(10, 6), *crop;
    assert_int_equal(vlm_image_center_crop(&crop, image, S(4, 3), NULL), VLM_OK);
    IS_SIZE(vlm_image_size(crop), 4, 3);
    is_pixel(crop, 0, 0, 3, 1, 200);
    is_pixel(crop, 3, 2, 6, 3, 200);
    vlm_image_free(crop);
    assert_int_equal(vlm_image_center_crop(&crop, image, S(40, 3), NULL), VLM_OK); /* never grows */
    IS_SIZE(vlm_image_size(crop), 10, 3);
    vlm_image_free(crop);
    assert_int_equal(vlm_image_center_crop_padded(&crop, image, S(13, 4), NULL), VLM_OK);
    IS_SIZE(vlm_image_size(crop), 13, 4);
    is_pixel(crop, 1, 0, 0, 0, 0); /* transformers pads ceil(3 / 2) in front */
    is_pixel(crop, 2, 0, 0, 1, 200);
    is_pixel(crop, 11, 3, 9, 4, 200);
    is_pixel(crop, 12, 3, 0, 0, 0);
    vlm_image_free(crop);
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_center_crop(&crop, image, S(0, 3), &err), VLM_ERR_ARGUMENT);
    assert_null(crop);
    assert_int_equal(vlm_image_center_crop_padded(&crop, NULL, S(1, 3), &err), VLM_ERR_ARGUMENT);
    vlm_image_free(image);
}

static void squares(void **state) {
    (void)state;
    static const uint8_t grey[3] = { 127, 126, 125 };
    vlm_image *image = ramp(7, 4), *square;
    assert_int_equal(vlm_image_pad_to_square(&square, image, grey, NULL), VLM_OK);
    IS_SIZE(vlm_image_size(square), 7, 7);
    is_pixel(square, 0, 0, 127, 126, 125);
    is_pixel(square, 0, 1, 0, 0, 200);
    is_pixel(square, 6, 4, 6, 3, 200);
    is_pixel(square, 6, 5, 127, 126, 125);
    vlm_image_free(square);
    vlm_image_free(image);
    image = ramp(2, 5);
    assert_int_equal(vlm_image_pad_to_square(&square, image, NULL, NULL), VLM_OK);
    is_pixel(square, 0, 4, 0, 0, 0);
    is_pixel(square, 1, 4, 0, 4, 200);
    is_pixel(square, 2, 4, 1, 4, 200);
    is_pixel(square, 3, 4, 0, 0, 0);
    vlm_image_free(square);
    vlm_image_free(image);
    assert_int_equal(vlm_image_pad_to_square(&square, NULL, NULL, NULL), VLM_ERR_ARGUMENT);
}

static void wishes(void **state) {
    (void)state;
    vlm_processing p = VLM_PROCESSING_INIT;
    vlm_size s;
    assert_int_equal(vlm_size_apply(&s, S(400, 200), NULL, NULL), VLM_OK);
    IS_SIZE(s, 400, 200);
    assert_int_equal(vlm_size_apply(&s, S(400, 200), &p, NULL), VLM_OK);
    IS_SIZE(s, 400, 200);
    p.resize = S(100, 100);
    assert_int_equal(vlm_size_apply(&s, S(400, 200), &p, NULL), VLM_OK);
    IS_SIZE(s, 100, 50);
    assert_int_equal(vlm_size_apply(&s, S(20000, 1), &p, NULL), VLM_OK);
    IS_SIZE(s, 100, 1);
    p.max_pixels = 1000;
    assert_int_equal(vlm_size_apply(&s, S(400, 200), &p, NULL), VLM_OK);
    IS_SIZE(s, 44, 22); /* 100 x 50 by sqrt(1 / 5) */
    p = (vlm_processing)VLM_PROCESSING_INIT;
    p.min_pixels = 1000;
    assert_int_equal(vlm_size_apply(&s, S(20, 10), &p, NULL), VLM_OK);
    IS_SIZE(s, 45, 23);
    vlm_error err = VLM_ERROR_INIT;
    p.struct_size = 0;
    assert_int_equal(vlm_size_apply(&s, S(20, 10), &p, &err), VLM_ERR_ARGUMENT);
    p.struct_size = sizeof p;
    assert_int_equal(vlm_size_apply(&s, S(0, 10), &p, &err), VLM_ERR_ARGUMENT);
    vlm_image *image = ramp(20, 10), *out, *want;
    assert_int_equal(vlm_image_apply(&out, image, &p, NULL), VLM_OK);
    assert_int_equal(vlm_image_resize(&want, image, S(45, 23), VLM_FILTER_BICUBIC, NULL), VLM_OK);
    IS_SIZE(vlm_image_size(out), 45, 23);
    assert_memory_equal(vlm_image_pixels(out), vlm_image_pixels(want), 45 * 23 * 3);
    vlm_image_free(out);
    vlm_image_free(want);
    vlm_image_free(image);
    assert_int_equal(vlm_image_apply(&out, NULL, &p, NULL), VLM_ERR_ARGUMENT);
}

/* ---- float pictures -------------------------------------------------------------------------- */
static void tone_curves(void **state) {
    (void)state;
    FILE *f = fopen("tests/data/media/tones.txt", "r");
    assert_non_null(f);
    double light, srgb;
    int lines = 0;
    for (; fscanf(f, "%lf %lf", &light, &srgb) == 2; lines++) {
        float pixel[3] = { (float)light, (float)-light, 0 };
        vlm_image_f32 image = { S(1, 1), pixel };
        vlm_image_f32_to_srgb(&image);
        assert_true(fabs(pixel[0] - srgb) < 2e-7);
        assert_true(pixel[1] == -pixel[0] && pixel[2] == 0);
        vlm_image_f32_to_linear(&image);
        assert_true(fabs(pixel[0] - light) < 1e-6);
    }
    fclose(f);
    assert_int_equal(lines, 68);
    vlm_image_f32_to_srgb(NULL);
    vlm_image_f32_to_linear(&(vlm_image_f32) { S(1, 1), NULL });
}

static void bytes_to_floats_and_back(void **state) {
    (void)state;
    vlm_image *image = ramp(256, 1), *back;
    vlm_image_f32 floats;
    assert_int_equal(vlm_image_f32_from_image(&floats, image, 1.0 / 255, NULL), VLM_OK);
    for (int i = 0; i < 256; i++) assert_true(floats.pixels[3 * i] == (float)(i * (1.0 / 255)));
    assert_int_equal(vlm_image_f32_to_image(&back, &floats, NULL), VLM_OK);
    assert_memory_equal(vlm_image_pixels(back), vlm_image_pixels(image), 256 * 3);
    vlm_image_free(back);
    /* Level 23 as mlx-swift's own test of its tone curve has it: nothing but the mean and the
     * deviation. */
    const double halves[3] = HALVES;
    vlm_image_f32_normalize(&floats, halves, halves);
    assert_true(floats.pixels[3 * 23] == ((float)(23 * (1.0 / 255)) - 0.5f) / 0.5f);
    assert_true(fabs(floats.pixels[3 * 23] + 0.820) < 5e-4
                && fabs(floats.pixels[3 * 6] + 0.953) < 5e-4);
    const float odd[] = { -1, 2, NAN, 0.5f, 0.4999f, INFINITY };
    memcpy(floats.pixels, odd, sizeof odd);
    assert_int_equal(vlm_image_f32_to_image(&back, &floats, NULL), VLM_OK);
    is_pixel(back, 0, 0, 0, 255, 0);
    is_pixel(back, 1, 0, 128, 127, 255);
    vlm_image_free(back);
    vlm_image_f32_free(&floats);
    assert_null(floats.pixels);
    vlm_image_f32_free(NULL);
    assert_int_equal(vlm_image_f32_to_image(&back, &floats, NULL), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_f32_from_image(&floats, NULL, 1, NULL), VLM_ERR_ARGUMENT);
    vlm_image_free(image);
}

static void arrays(void **state) {
    (void)state;
    static const uint8_t rgba[] = { 0, 51, 255, 9, 102, 153, 204, 0 }; /* alpha goes */
    static const float want[] = { 0, 0.2f, 1, 0.4f, 0.6f, 0.8f };
    vlm_image *image;
    vlm_pixel_array a;
    assert_int_equal(vlm_image_from_pixels(&image, rgba, S(2, 1), 4, 8, NULL), VLM_OK);
    assert_int_equal(vlm_image_to_array(&a, image, VLM_LAYOUT_HWC, NULL), VLM_OK);
    assert_int_equal(a.rank, 3);
    assert_true(a.shape[0] == 1 && a.shape[1] == 2 && a.shape[2] == 3);
    for (int i = 0; i < 6; i++) assert_true(fabsf(a.values[i] - want[i]) < 1e-7f);
    vlm_pixel_array_free(&a);
    assert_int_equal(vlm_image_to_array(&a, image, VLM_LAYOUT_BCHW, NULL), VLM_OK);
    assert_int_equal(a.rank, 4);
    assert_true(a.shape[0] == 1 && a.shape[1] == 3 && a.shape[2] == 1 && a.shape[3] == 2);
    for (int i = 0; i < 6; i++) assert_true(fabsf(a.values[i] - want[i % 2 * 3 + i / 2]) < 1e-7f);
    vlm_pixel_array_free(&a);
    vlm_pixel_array_free(NULL);
    assert_int_equal(vlm_image_to_array(&a, NULL, VLM_LAYOUT_HWC, NULL), VLM_ERR_ARGUMENT);
    vlm_image_free(image);
}

/* ---- chains ---------------------------------------------------------------------------------- */
static void a_chain_is_its_steps(void **state) {
    (void)state;
    const double mean[3] = CLIP_MEAN, std[3] = CLIP_STD;
    vlm_image *image = picture("landscape.jpg");
    vlm_image_processor_config config = setting("clip");
    vlm_pixel_array want, got;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_preprocess(&want, image, &config, VLM_LAYOUT_BCHW, NULL), VLM_OK);
    vlm_image_chain c = vlm_image_chain_begin(image, &err);
    vlm_image_chain_resize(&c, vlm_size_fit_shortest_edge(vlm_image_size(image), 224),
                           VLM_FILTER_BICUBIC);
    vlm_image_chain_center_crop(&c, S(224, 224));
    vlm_image_chain_normalize(&c, mean, std);
    assert_int_equal(vlm_image_chain_to_array(&c, &got, VLM_LAYOUT_BCHW), VLM_OK);
    assert_int_equal(count(&got), count(&want));
    assert_memory_equal(got.values, want.values, count(&got) * sizeof *got.values);
    vlm_pixel_array_free(&got);
    vlm_pixel_array_free(&want);
    /* Bytes to the end, and a chain of no step at all. */
    vlm_image *out;
    c = vlm_image_chain_begin(image, &err);
    vlm_image_chain_pad_to_square(&c, NULL);
    assert_int_equal(vlm_image_chain_to_image(&c, &out), VLM_OK);
    assert_int_equal(vlm_image_size(out).width, vlm_image_size(out).height);
    vlm_image_free(out);
    c = vlm_image_chain_begin(image, &err);
    assert_int_equal(vlm_image_chain_to_image(&c, &out), VLM_OK);
    assert_ptr_not_equal(out, image);
    IS_SIZE(vlm_image_size(out), vlm_image_size(image).width, vlm_image_size(image).height);
    vlm_image_free(out);
    /* There and back. */
    c = vlm_image_chain_begin(image, &err);
    vlm_image_chain_to_linear(&c);
    vlm_image_chain_to_srgb(&c);
    assert_int_equal(vlm_image_chain_to_array(&c, &got, VLM_LAYOUT_HWC), VLM_OK);
    for (size_t i = 0; i < count(&got); i++)
        assert_true(fabs(got.values[i] - vlm_image_pixels(image)[i] / 255.0) < 1e-6);
    vlm_pixel_array_free(&got);
    vlm_image_free(image);
}

static void a_chain_fails_once(void **state) {
    (void)state;
    vlm_image *image = picture("tiny.png"), *out = image;
    vlm_pixel_array array = { .rank = 5 };
    vlm_error err = VLM_ERROR_INIT;
    vlm_image_chain c = vlm_image_chain_begin(image, &err);
    vlm_image_chain_resize(&c, S(1 << 30, 1), VLM_FILTER_BOX);
    vlm_image_chain_resize(&c, S(0, 0), VLM_FILTER_BOX);
    vlm_image_chain_to_srgb(&c);
    assert_int_equal(vlm_image_chain_to_image(&c, &out), VLM_ERR_LIMIT); /* the first one's */
    assert_null(out);
    assert_int_equal(err.code, VLM_ERR_LIMIT);
    c = vlm_image_chain_begin(image, &err);
    vlm_image_chain_resize(&c, S(5, 5), VLM_FILTER_BOX);
    vlm_image_chain_to_srgb(&c);
    vlm_image_chain_center_crop(&c, S(2, 2)); /* floats are not cropped */
    assert_int_equal(vlm_image_chain_to_array(&c, &array, VLM_LAYOUT_HWC), VLM_ERR_ARGUMENT);
    assert_null(array.values);
    c = vlm_image_chain_begin(image, &err);
    vlm_image_chain_to_linear(&c);
    assert_int_equal(vlm_image_chain_to_image(&c, &out), VLM_ERR_ARGUMENT);
    c = vlm_image_chain_begin(NULL, &err);
    vlm_image_chain_to_srgb(&c);
    assert_int_equal(vlm_image_chain_to_image(&c, &out), VLM_ERR_ARGUMENT);
    vlm_image_free(image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preprocess_is_transformers),
        cmocka_unit_test(preprocess_refuses),
        cmocka_unit_test(sizes),
        cmocka_unit_test(rectangles),
        cmocka_unit_test(crops),
        cmocka_unit_test(squares),
        cmocka_unit_test(wishes),
        cmocka_unit_test(tone_curves),
        cmocka_unit_test(bytes_to_floats_and_back),
        cmocka_unit_test(arrays),
        cmocka_unit_test(a_chain_is_its_steps),
        cmocka_unit_test(a_chain_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
