/* SPDX-License-Identifier: MIT */
/* Decoding: bytes against Pillow's (tests/data/media/decode.txt, made by tools/golden/media.py),
 * every beginning of a file, damaged files, limits, files that are not there. */
#include "media/media.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/golden.h"

#define MEDIA "tests/data/media/"

static FILE *expectations(const char *name) {
    char path[256];
    snprintf(path, sizeof path, MEDIA "%s", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    return f;
}

static vio_bytes slurp(const char *name) {
    char path[256];
    snprintf(path, sizeof path, MEDIA "%s", name);
    vio_bytes file;
    assert_int_equal(vio_read(&file, path, 1 << 20, NULL, NULL), VLM_OK);
    return file;
}

static void assert_digest(const vlm_image *image, const char *digest, const char *name) {
    char actual[65];
    vlm_size size = vlm_image_size(image);
    tgolden_sha256(actual, vlm_image_pixels(image), (size_t)size.width * size.height * 3);
    actual[16] = '\0';
    if (strcmp(actual, digest) != 0)
        fail_msg("%s: pixels hash to %s, Pillow's to %s", name, actual, digest);
}

static bool is_left_out(const char *name) {
#ifdef VLM_HAVE_AVIF
    (void)name;
    return false;
#else
    return strstr(name, ".avif") != NULL;
#endif
}

static vlm_status salvage(vlm_image **image, const char *name, vlm_error *err) {
    vio_bytes file = slurp(name);
    vlm_status status = vlm_image_salvage(image, file.p, file.n, name, NULL, err);
    vcore_free(file.p);
    return status;
}

static void pictures_are_pillows(void **state) {
    (void)state;
    FILE *f = expectations("decode.txt");
    char line[256], name[128], width[16], digest[32], mark[16];
    unsigned height;
    int shown = 0, refused = 0, damaged = 0, left_out = 0;
    while (fgets(line, sizeof line, f)) {
        int fields = sscanf(line, "%127s %15s %u %31s %15s", name, width, &height, digest, mark);
        char path[256];
        snprintf(path, sizeof path, MEDIA "%s", name);
        vlm_image *image;
        vlm_error err = VLM_ERROR_INIT;
        vlm_status status = vlm_image_open(&image, path, NULL, &err);
        if (is_left_out(name)) {
            assert_int_equal(status, VLM_ERR_UNSUPPORTED);
            assert_non_null(strstr(err.message, "AVIF, which this build leaves out"));
            left_out++;
            continue;
        }
        if (fields == 2) {
            assert_string_equal(width, "refused");
            assert_true(status == VLM_ERR_IMAGE_PROCESSING || status == VLM_ERR_LIMIT);
            assert_null(image);
            assert_int_equal(err.code, status);
            assert_int_equal(strncmp(err.message, path, strlen(path)), 0);
            refused++;
            continue;
        }
        if (fields == 5) {
            assert_string_equal(mark, "damaged");
            assert_int_equal(status, VLM_ERR_IMAGE_PROCESSING);
            assert_null(image);
            status = salvage(&image, name, &err);
            assert_int_equal(status, VLM_DAMAGED);
            assert_int_equal(err.code, VLM_DAMAGED);
            damaged++;
        } else if (status != VLM_OK) {
            fail_msg("%s", err.message);
        }
        assert_int_equal(vlm_image_size(image).width, (unsigned)atoi(width));
        assert_int_equal(vlm_image_size(image).height, height);
        assert_digest(image, digest, name);
        vlm_image_free(image);
        shown++;
    }
    fclose(f);
    assert_int_equal(shown + left_out, 415);
    assert_int_equal(refused, 33);
    assert_int_equal(damaged, 1);
}

/* Whether Pillow shows the first n bytes, from lines of truncated.txt: FIRST-LAST ... */
static bool shown_by_pillow(const char *ranges, size_t n, size_t slack) {
    size_t first, last;
    int used;
    while (sscanf(ranges, " %zu-%zu%n", &first, &last, &used) == 2) {
        if (n >= first + slack && n <= last) return true;
        ranges += used;
    }
    return false;
}

/* Of a PNG Pillow does without the end of the deflate stream and its checksum, 4 to 6 bytes that
 * say nothing of the pixels but that libpng wants; of a TIFF without the end of the directory. */
static void beginnings_of_files(void **state) {
    (void)state;
    FILE *f = expectations("truncated.txt");
    char line[256], name[128];
    int used, files = 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "%127s%n", name, &used) == 1) {
        vio_bytes file = slurp(name);
        size_t slack = strstr(name, ".png") ? 6 : strstr(name, ".tif") ? 16 : 0;
        if (is_left_out(name)) slack = file.n + 1;
        for (size_t n = 0; n <= file.n; n++) {
            uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees a read behind the end */
            memcpy(exact, file.p, n);
            vlm_image *image;
            vlm_status status = vlm_image_decode(&image, exact, n, name, NULL, NULL);
            if (status == VLM_OK ? !shown_by_pillow(line + used, n, 0)
                                 : shown_by_pillow(line + used, n, slack))
                fail_msg("the first %zu bytes of %s: %s", n, name, vlm_status_name(status));
            assert_true((status == VLM_OK) == (image != NULL));
            vlm_image_free(image);
            free(exact);
        }
        vcore_free(file.p);
        files++;
    }
    fclose(f);
    assert_int_equal(files, 25);
}

/* Flips bits all over small files: a picture or an error, never more memory than the limits allow.
 */
static void damaged_files(void **state) {
    (void)state;
    static const char *const names[] = {
        "orientation-6.jpg",   "progressive.jpg",       "ycck.jpg",        "restarts.jpg",
        "late-exif.png",       "pngsuite/basi3p02.png", "raw-profile.png", "lossy.webp",
        "alpha-lossless.webp", "animated.webp"
    };
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_pixels = 1 << 20;
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        vio_bytes file = slurp(names[i]);
        for (int round = 0; round < 400; round++) {
            uint8_t *copy = malloc(file.n);
            memcpy(copy, file.p, file.n);
            for (int flips = 0; flips <= round % 4; flips++) {
                random = random * 1664525u + 1013904223u;
                copy[(random >> 8) % file.n] ^= (uint8_t)(1u << (random & 7));
            }
            vlm_image *image;
            vlm_error err = VLM_ERROR_INIT;
            vlm_status status = vlm_image_decode(&image, copy, file.n, "damaged", &limits, &err);
            assert_int_equal(status, err.code);
            assert_true((status == VLM_OK) == (image != NULL));
            vlm_image_free(image);
            free(copy);
        }
        vcore_free(file.p);
    }
}

static void sizes_are_limited(void **state) {
    (void)state;
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_open(&image, MEDIA "huge.png", NULL, &err), VLM_ERR_LIMIT);
    assert_non_null(strstr(err.message, "60000x60000"));
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_side = 44;
    static const char *const names[] = { "baseline-420.jpg", "rgba.png", "lossy.webp" };
    for (int i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, MEDIA "%s", names[i]);
        limits.image_side = 44;
        limits.image_pixels = 0;
        assert_int_equal(vlm_image_open(&image, path, &limits, &err), VLM_ERR_LIMIT);
        assert_non_null(strstr(err.message, "45x37"));
        assert_int_equal(err.limit, 44);
        assert_string_equal(err.file, path);
        limits.image_side = 0;
        limits.image_pixels = 45 * 37 - 1;
        assert_int_equal(vlm_image_open(&image, path, &limits, &err), VLM_ERR_LIMIT);
        assert_int_equal(err.limit, 45 * 37 - 1);
        limits.image_pixels = 45 * 37;
        assert_int_equal(vlm_image_open(&image, path, &limits, &err), VLM_OK);
        vlm_image_free(image);
    }
    limits = (vlm_limits)VLM_LIMITS_INIT;
    limits.image_file_bytes = 100;
    assert_int_equal(vlm_image_open(&image, MEDIA "rgba.png", &limits, &err), VLM_ERR_LIMIT);
    assert_int_equal(err.limit, 100);
    assert_null(image);
}

/* The size in a frame header is believed by nobody before it is checked. */
static void jpeg_that_says_it_is_huge(void **state) {
    (void)state;
    vio_bytes file = slurp("baseline-420.jpg");
    uint8_t *frame = memmem(file.p, file.n, "\xFF\xC0", 2);
    assert_non_null(frame);
    memcpy(frame + 5, "\xFF\xDC\xFF\xDC", 4); /* 65500 x 65500 */
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_decode(&image, file.p, file.n, "liar.jpg", NULL, &err),
                     VLM_ERR_LIMIT);
    assert_non_null(strstr(err.message, "liar.jpg: a picture of 65500x65500"));
    memcpy(frame + 5, "\x03\xE8\x03\xE8", 4); /* 1000 x 1000: plausible, but the file ends early */
    assert_int_equal(vlm_image_decode(&image, file.p, file.n - 2, "liar.jpg", NULL, &err),
                     VLM_ERR_IMAGE_PROCESSING);
    assert_string_equal(err.message, "liar.jpg: broken JPEG: the file is truncated");
    frame[4] = 12;
    assert_int_equal(vlm_image_decode(&image, file.p, file.n, "liar.jpg", NULL, &err),
                     VLM_ERR_IMAGE_PROCESSING);
    vcore_free(file.p);
}

/* A progressive file whose first scan comes 600 times. */
static void scans_are_limited(void **state) {
    (void)state;
    vio_bytes file = slurp("progressive.jpg");
    const uint8_t *start = memmem(file.p, file.n, "\xFF\xDA", 2), *end = start + 2;
    while (!(end[0] == 0xFF && end[1] != 0 && (end[1] & 0xF8) != 0xD0)) end++;
    vcore_buf bomb = { 0 };
    vcore_buf_add(&bomb, file.p, (size_t)((const char *)start - file.p));
    for (int i = 0; i < 600; i++) vcore_buf_add(&bomb, start, (size_t)(end - start));
    vcore_buf_add(&bomb, "\xFF\xD9", 2);
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_decode(&image, bomb.p, bomb.n, "bomb.jpg", NULL, &err),
                     VLM_ERR_LIMIT);
    assert_string_equal(err.message, "bomb.jpg: more than 500 scans");
    vcore_buf_free(&bomb);
    vcore_free(file.p);
}

static void files_that_are_no_pictures(void **state) {
    (void)state;
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_open(&image, MEDIA "no-such.png", NULL, &err), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no-such.png"));
    assert_int_equal(vlm_image_open(&image, "tests/data", NULL, &err), VLM_ERR_IO);
    assert_non_null(strstr(err.message, "tests/data"));
    assert_int_equal(vlm_image_open(&image, MEDIA "text.txt", NULL, &err),
                     VLM_ERR_IMAGE_PROCESSING);
    assert_string_equal(err.message, MEDIA "text.txt: not a picture that can be read "
                                           "(JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC)");
    assert_int_equal(vlm_image_decode(&image, "", 0, "void.png", NULL, &err),
                     VLM_ERR_IMAGE_PROCESSING);
    assert_string_equal(err.message, "void.png: the file is empty");
    assert_int_equal(vlm_image_decode(&image, NULL, 3, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_decode(NULL, "x", 1, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_open(&image, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_null(image);
}

static vlm_status open_url(vlm_image **image, const char *url, vlm_error *err) {
    *err = (vlm_error)VLM_ERROR_INIT;
    return vlm_image_open_url(image, url, NULL, err);
}

/* A grey GIF of one pixel, as a message's image_url may give it. */
static void data_urls(void **state) {
    (void)state;
    static const char *const good[] = {
        "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAAHAoBAADs=",
        "DATA:;BASE64,R0lGODlhAQABAAAAACwAAAAAAQABAAAHAoBAADs",
        "data:image/png;charset=x;base64,R0lGODlhAQAB\nAAAAACwAAAAA\r\nAQABAAAHAoBAADs=\n",
    };
    static const struct {
        const char *url;
        vlm_status status;
        const char *says;
    } bad[] = {
        { "data:image/gif;base64,R0lG*ODlh", VLM_ERR_FORMAT, "not base64" },
        { "data:image/gif;base64,R0lGO", VLM_ERR_FORMAT, "not base64" },
        { "data:image/gif;base64,R0==lGOD", VLM_ERR_FORMAT, "not base64" },
        { "data:image/gif;base64,R0lGOD===", VLM_ERR_FORMAT, "not base64" },
        { "data:image/gif;base64,", VLM_ERR_IMAGE_PROCESSING, "data URL: the file is empty" },
        { "data:image/gif,GIF89a", VLM_ERR_UNSUPPORTED, "data URL: it is not in base64" },
        { "data:;base64", VLM_ERR_UNSUPPORTED, "it is not in base64" },
        { "https://example.com/a.png", VLM_ERR_UNSUPPORTED, "not downloaded" },
        { "file:///no/such.png", VLM_ERR_NOT_FOUND, "/no/such.png" },
    };
    vlm_image *image;
    vlm_error err;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (open_url(&image, good[i], &err) != VLM_OK) fail_msg("%s", err.message);
        assert_int_equal(vlm_image_size(image).width, 1);
        assert_memory_equal(vlm_image_pixels(image), "@@@", 3);
        vlm_image_free(image);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(open_url(&image, bad[i].url, &err), bad[i].status);
        assert_non_null(strstr(err.message, bad[i].says));
        assert_null(image);
    }
    assert_int_equal(open_url(&image, MEDIA "rgba.png", &err), VLM_OK);
    vlm_image_free(image);
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_file_bytes = 20;
    assert_int_equal(vlm_image_open_url(&image, good[0], &limits, &err), VLM_ERR_LIMIT);
    assert_int_equal(vlm_image_open_url(&image, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_image_decode(&image, "GIF89a and much more", 21, "m", &limits, &err),
                     VLM_ERR_LIMIT);
}

/* Half of a file, or a file with a bad byte in the middle of its pixels: refused, and what there is
 * of it when asked for. The top rows are the whole picture's. */
static void half_pictures(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t cut; /* of the file, in percent */
        uint32_t rows;
    } cases[] = {
        { "baseline-444.jpg", 60, 12 }, { "orientation-3.jpg", 70, 0 },
        { "short-palette.png", 60, 9 }, { "lossy.webp", 80, 8 },
        { "gif/plain.gif", 70, 8 },     { "bmp/top-down.bmp", 60, 9 },
        { "tiff/strips.tif", 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vio_bytes file = slurp(cases[i].name);
        vlm_image *whole, *half;
        vlm_error err = VLM_ERROR_INIT;
        assert_int_equal(vlm_image_decode(&whole, file.p, file.n, "whole", NULL, &err), VLM_OK);
        size_t n = file.n * cases[i].cut / 100;
        assert_int_equal(vlm_image_decode(&half, file.p, n, "half", NULL, &err),
                         VLM_ERR_IMAGE_PROCESSING);
        assert_null(half);
        vlm_status status = vlm_image_salvage(&half, file.p, n, "half", NULL, &err);
        assert_int_equal(status, cases[i].cut ? VLM_DAMAGED : VLM_ERR_IMAGE_PROCESSING);
        if (half) {
            assert_int_equal(strncmp(err.message, "half: broken ", 13), 0);
            assert_memory_equal(half->rgb, whole->rgb,
                                (size_t)cases[i].rows * whole->size.width * 3);
            assert_int_equal(half->size.height, whole->size.height);
        }
        vlm_image_free(half);
        vlm_image_free(whole);
        vcore_free(file.p);
    }
}

/* A marker in the middle of the pixels: for Pillow a picture with a grey end. */
static void damaged_jpeg(void **state) {
    (void)state;
    vio_bytes file = slurp("baseline-444.jpg");
    memcpy(file.p + file.n / 2, "\xFF\xD9", 2);
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_image_decode(&image, file.p, file.n, "bad.jpg", NULL, &err),
                     VLM_ERR_IMAGE_PROCESSING);
    assert_string_equal(err.message,
                        "bad.jpg: broken JPEG: Corrupt JPEG data: premature end of data segment");
    assert_int_equal(vlm_image_salvage(&image, file.p, file.n, "bad.jpg", NULL, &err), VLM_DAMAGED);
    assert_string_equal(err.message,
                        "bad.jpg: broken JPEG: Corrupt JPEG data: premature end of data segment");
    vlm_image_free(image);
    vcore_free(file.p);
}

/* HEIC has no reference in Pillow: it has to be near to what was encoded. */
static void heic(void **state) {
    (void)state;
    vlm_image *image, *scene;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vlm_image_open(&image, MEDIA "heic/scene.heic", NULL, &err);
#ifdef VLM_HAVE_HEIF
    assert_int_equal(status, VLM_OK);
    assert_int_equal(vlm_image_open(&scene, MEDIA "heic/scene.png", NULL, &err), VLM_OK);
    size_t bytes = (size_t)scene->size.width * scene->size.height * 3;
    assert_memory_equal(&image->size, &scene->size, sizeof image->size);
    double sum = 0;
    for (size_t i = 0; i < bytes; i++) sum += abs(image->rgb[i] - scene->rgb[i]);
    if (sum / (double)bytes > 6) fail_msg("HEIC is off by %.1f levels", sum / (double)bytes);
    vlm_image_free(scene);
    vlm_image_free(image);
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_pixels = 64 * 48 - 1;
    assert_int_equal(vlm_image_open(&image, MEDIA "heic/scene.heic", &limits, &err), VLM_ERR_LIMIT);
#else
    (void)scene;
    assert_int_equal(status, VLM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "HEIC, which this build leaves out"));
#endif
}

static void unreadable_file(void **state) {
    (void)state;
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "locked.png");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(path, 0), 0);
    vlm_image *image;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vlm_image_open(&image, path, NULL, &err);
    /* To root nothing is unreadable: what is left is an empty file. */
    assert_int_equal(status, geteuid() == 0 ? VLM_ERR_IMAGE_PROCESSING : VLM_ERR_IO);
    assert_non_null(strstr(err.message, "locked.png"));
    free(path);
    tcheckpoint_remove(dir);
    free(dir);
}

static void orientation_blobs(void **state) {
    (void)state;
    static const uint8_t little[] =
        "Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
    static const uint8_t as_long[] = "MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x08";
    static const uint8_t as_text[] = "II\x2A\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06\0\0\0";
    static const uint8_t far[] = "II\x2A\0\xF8\xFF\xFF\xFF\x01\0";
    static const uint8_t many[] =
        "II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x03\0\0\0\x1A\0\0\0\x05\0\x07\0\x01\0";
    assert_int_equal(vmedia_exif_orientation(little, sizeof little - 1), 6);
    assert_int_equal(vmedia_exif_orientation(as_long, sizeof as_long - 1), 8);
    assert_int_equal(vmedia_exif_orientation(as_text, sizeof as_text - 1), 0);
    assert_int_equal(vmedia_exif_orientation(far, sizeof far - 1), 0);
    assert_int_equal(vmedia_exif_orientation(many, sizeof many - 1), 0); /* points outside */
    for (size_t n = 0; n < sizeof little - 1; n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, little, n);
        assert_int_equal(vmedia_exif_orientation(exact, n), 0);
        free(exact);
    }
    static const char element[] = "<tiff:Orientation>3</tiff:Orientation>",
                      none[] = "tiff:Orientation=\"";
    assert_int_equal(vmedia_xmp_orientation((const uint8_t *)element, strlen(element)), 3);
    assert_int_equal(vmedia_xmp_orientation((const uint8_t *)element, 18), 0);
    assert_int_equal(vmedia_xmp_orientation((const uint8_t *)none, strlen(none)), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_pillows),
        cmocka_unit_test(beginnings_of_files),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(jpeg_that_says_it_is_huge),
        cmocka_unit_test(scans_are_limited),
        cmocka_unit_test(files_that_are_no_pictures),
        cmocka_unit_test(data_urls),
        cmocka_unit_test(half_pictures),
        cmocka_unit_test(damaged_jpeg),
        cmocka_unit_test(heic),
        cmocka_unit_test(unreadable_file),
        cmocka_unit_test(orientation_blobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
