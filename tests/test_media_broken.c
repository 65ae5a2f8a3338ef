/* SPDX-License-Identifier: MIT */
/* Thousands of broken pictures of every format: each beginning of small files, flipped bits, lies
 * in headers. Each is a picture or an error with a message; asked for what can be salvaged, never
 * less than without. Whether anything leaks or is read out of bounds is what the sanitizers say. */
#include "media/media.h"

#include <stdio.h>
#include <stdlib.h>

#include "support/cm.h"

#define MEDIA "tests/data/media/"

/* Small files, one for each path through a decoder. */
static const char *const seeds[] = {
    "grey.jpg",
    "progressive.jpg",
    "restarts.jpg",
    "ycck.jpg",
    "orientation-6.jpg",
    "one-bit.png",
    "short-palette.png",
    "grey-16.png",
    "pngsuite/basi2c08.png",
    "pngsuite/basi3p02.png",
    "lossy.webp",
    "alpha.webp",
    "orientation-6.webp",
    "animated.webp",
    "gif/plain.gif",
    "gif/interlaced.gif",
    "gif/animated.gif",
    "gif/partial-transparent.gif",
    "bmp/4-bits.bmp",
    "bmp/rle4.bmp",
    "bmp/rle8.bmp",
    "bmp/565-v4.bmp",
    "bmp/1-bits-os2.bmp",
    "tiff/black-1.tif",
    "tiff/palette-4.tif",
    "tiff/strips.tif",
    "tiff/lzw-rgb.tif",
    "tiff/group4-bits.tif",
    "tiff/jpeg-rgb.tif",
    "tiff/lzw-ycbcr.tif",
    "tiff/packbits-grey.tif",
    "tiff/adobe_deflate-palette.tif",
    "avif/420.avif",
    "avif/turned-5.avif",
    "heic/scene.heic",
};
#define SEEDS (sizeof seeds / sizeof seeds[0])

typedef struct tally {
    int tried, shown, damaged;
} tally;

/* In a block of its own, so that a sanitizer sees a read behind the end. */
static void try_bytes(tally *t, const char *name, const char *p, size_t n) {
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.image_pixels = 1 << 18;
    limits.image_side = 4096;
    limits.image_scans = 20;
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, p, n);
    vlm_image *strict, *any;
    vlm_error err = VLM_ERROR_INIT, why = VLM_ERROR_INIT;
    vlm_status status = vlm_image_decode(&strict, exact, n, "broken", &limits, &err);
    vlm_status salvaged = vlm_image_salvage(&any, exact, n, "broken", &limits, &why);
    assert_true(status <= VLM_OK);
    assert_int_equal(status, err.code);
    assert_int_equal(salvaged, why.code);
    assert_true((status == VLM_OK) == (strict != NULL));
    assert_true((salvaged >= VLM_OK) == (any != NULL));
    if (status < 0) assert_int_equal(strncmp(err.message, "broken: ", 8), 0);
    if (status == VLM_OK) {
        assert_int_equal(salvaged, VLM_OK);
        size_t bytes = (size_t)strict->size.width * strict->size.height * 3;
        assert_int_equal(strict->size.width, any->size.width);
        /* What libde265 could not decode of a damaged HEIC it leaves as it finds the memory. */
        if (!strstr(name, ".heic")) assert_memory_equal(strict->rgb, any->rgb, bytes);
    } else {
        if (salvaged != VLM_DAMAGED && salvaged != status)
            fail_msg("%s, but salvaged: %s (%s)", err.message, vlm_status_name(salvaged),
                     why.message);
    }
    t->tried++;
    t->shown += status == VLM_OK;
    t->damaged += salvaged == VLM_DAMAGED;
    vlm_image_free(strict);
    vlm_image_free(any);
    free(exact);
}

static vio_bytes slurp(size_t seed) {
    char path[256];
    snprintf(path, sizeof path, MEDIA "%s", seeds[seed]);
    vio_bytes file;
    assert_int_equal(vio_read(&file, path, 1 << 20, NULL, NULL), VLM_OK);
    return file;
}

/* Every length up to 512, then every seventh. */
static void beginnings(void **state) {
    (void)state;
    tally t = { 0 };
    for (size_t i = 0; i < SEEDS; i++) {
        vio_bytes file = slurp(i);
        for (size_t n = 0; n <= file.n; n += n < 512 || n + 7 > file.n ? 1 : 7)
            try_bytes(&t, seeds[i], file.p, n);
        vcore_free(file.p);
    }
    assert_true(t.tried >= 15000);
    assert_true(t.shown >= (int)SEEDS - 4);
    assert_true(t.damaged >= 2000);
}

static uint32_t draw(uint32_t *random) {
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

static void flipped_bits(void **state) {
    (void)state;
    tally t = { 0 };
    uint32_t random = 1;
    for (size_t i = 0; i < SEEDS; i++) {
        vio_bytes file = slurp(i);
        char *copy = malloc(file.n);
        for (int round = 0; round < 120; round++) {
            memcpy(copy, file.p, file.n);
            for (int flips = 0; flips <= round % 5; flips++) {
                size_t at = draw(&random) % file.n;
                copy[at] = (char)(copy[at] ^ 1 << draw(&random) % 8);
            }
            try_bytes(&t, seeds[i], copy, file.n);
        }
        free(copy);
        vcore_free(file.p);
    }
    assert_int_equal(t.tried, 120 * SEEDS);
    assert_true(t.shown > 100);
}

/* Numbers near the start of a file that say too much, in either order of bytes. */
static void lying_headers(void **state) {
    (void)state;
    static const uint32_t lies[] = { 0,      1,          0x7F,       0xFF,      0x7FFF,
                                     0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF };
    tally t = { 0 };
    for (size_t i = 0; i < SEEDS; i++) {
        vio_bytes file = slurp(i);
        char *copy = malloc(file.n);
        for (size_t at = 2; at + 4 <= file.n && at < 120; at += 2)
            for (size_t k = 0; k < sizeof lies / sizeof lies[0]; k += at < 64 ? 1 : 3) {
                memcpy(copy, file.p, file.n);
                for (int b = 0; b < 4; b++)
                    copy[at + (size_t)b] = (char)(lies[k] >> (k % 2 ? 8 * b : 24 - 8 * b));
                try_bytes(&t, seeds[i], copy, file.n);
            }
        free(copy);
        vcore_free(file.p);
    }
    assert_true(t.tried >= 10000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beginnings),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(lying_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
