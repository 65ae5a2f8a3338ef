/* SPDX-License-Identifier: MIT */
/* Real pictures, opened and resized to twelve sizes each with every filter, against Pillow and
 * torchvision (tests/data/media/corpus.txt, made by tools/golden/media_corpus.py). */
#include "media/media.h"

#include <stdio.h>

#include "support/cm.h"
#include "support/golden.h"

#define DATA "tests/data/"
#define SIZES 12

/* The same twelve as in tools/golden/media_corpus.py. */
static void twelve_sizes(vlm_size to[SIZES], vlm_size of) {
    const vlm_size sizes[SIZES] = {
        { 1, 1 },
        { 7, 5 },
        { 224, 224 },
        { 384, 384 },
        { 64, 200 },
        { 200, 64 },
        { 336, 17 },
        { 11, 301 },
        { of.width - 1, of.height - 1 },
        { of.width + 1, of.height + 1 },
        { of.width / 2, of.height },
        { of.width, of.height / 3 + 1 },
    };
    memcpy(to, sizes, sizeof sizes);
}

static void check_filter(const vlm_image *image, vlm_filter filter, vlm_resampler resampler,
                         const char *digest, const char *name) {
    vlm_size sizes[SIZES];
    twelve_sizes(sizes, vlm_image_size(image));
    vcore_buf all = { 0 };
    for (int i = 0; i < SIZES; i++) {
        vlm_image *resized;
        assert_int_equal(vlm_image_resample(&resized, image, sizes[i], filter, resampler, NULL),
                         VLM_OK);
        vcore_buf_add(&all, vlm_image_pixels(resized),
                      (size_t)sizes[i].width * sizes[i].height * 3);
        vlm_image_free(resized);
    }
    char actual[65];
    tgolden_sha256(actual, all.p, all.n);
    actual[16] = '\0';
    if (strcmp(actual, digest) != 0)
        fail_msg("%s, filter %d of resampler %d: %s, not %s", name, filter, resampler, actual,
                 digest);
    vcore_buf_free(&all);
}

static void resizes_of_real_pictures(void **state) {
    (void)state;
    FILE *f = fopen(DATA "media/corpus.txt", "r");
    assert_non_null(f);
    char name[128], digest[10][32];
    int pictures = 0;
    while (fscanf(f, "%127s", name) == 1) {
        for (int i = 0; i < 10; i++) assert_int_equal(fscanf(f, "%31s", digest[i]), 1);
        char path[256];
        snprintf(path, sizeof path, DATA "%s", name);
        vlm_image *image;
        vlm_error err = VLM_ERROR_INIT;
        vlm_status status = vlm_image_open(&image, path, NULL, &err);
#ifndef VLM_HAVE_AVIF
        if (strstr(name, ".avif")) {
            assert_int_equal(status, VLM_ERR_UNSUPPORTED);
            continue;
        }
#endif
        if (status != VLM_OK) fail_msg("%s", err.message);
        for (int i = 0; i < 6; i++)
            check_filter(image, (vlm_filter)i, VLM_RESAMPLER_PILLOW, digest[i], name);
        for (int i = 0; i < 4; i++)
            check_filter(image, (vlm_filter)i, VLM_RESAMPLER_TORCHVISION, digest[6 + i], name);
        vlm_image_free(image);
        pictures++;
    }
    fclose(f);
    assert_true(pictures >= 46);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(resizes_of_real_pictures) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
