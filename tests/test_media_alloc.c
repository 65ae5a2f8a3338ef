/* SPDX-License-Identifier: MIT */
/* Every allocation of ours that decoding and resizing make, failing in turn: VLM_ERR_MEMORY, no
 * picture, and, as the sanitizers say, no leak. */
#include "media/media.h"

#include <stdio.h>

#include "support/alloc.h"
#include "support/cm.h"

static const char *const pictures[] = {
    "cmyk.jpg",           "orientation-6.jpg",  "raw-profile.png",    "rgba.png",
    "orientation-6.webp", "animated.webp",      "gif/plain.gif",      "bmp/rle4.bmp",
    "tiff/strips.tif",    "tiff/tiles.tif",     "tiff/lzw-ycbcr.tif", "tiff/turned-6.tif",
    "avif/alpha.avif",    "avif/turned-5.avif", "heic/scene.heic",
};

static void decoding(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "tests/data/media/%s", pictures[i]);
        vio_bytes file;
        assert_int_equal(vio_read(&file, path, 1 << 20, NULL, NULL), VLM_OK);
        vlm_status status = VLM_ERR_MEMORY;
        for (long k = 1; status == VLM_ERR_MEMORY; k++) {
            vlm_image *image;
            vlm_error err = VLM_ERROR_INIT;
            assert_true(k < 100);
            talloc_start(k);
            status = vlm_image_salvage(&image, file.p, file.n, "picture", NULL, &err);
            talloc_stop();
            assert_int_equal(err.code, status);
            if (status != VLM_ERR_UNSUPPORTED) assert_true((status == VLM_OK) == (image != NULL));
            vlm_image_free(image);
        }
        assert_true(status == VLM_OK || status == VLM_ERR_UNSUPPORTED);
        vcore_free(file.p);
    }
}

static void resizing(void **state) {
    (void)state;
    vlm_image *image, *out;
    assert_int_equal(vlm_image_open(&image, "tests/data/media/rgba.png", NULL, NULL), VLM_OK);
    for (int filter = 0; filter < 4; filter++)
        for (int resampler = 0; resampler < 2; resampler++) {
            vlm_status status = VLM_ERR_MEMORY;
            for (long k = 1; status == VLM_ERR_MEMORY; k++) {
                vlm_error err = VLM_ERROR_INIT;
                assert_true(k < 100);
                talloc_start(k);
                status = vlm_image_resample(&out, image, (vlm_size) { 20, 70 }, (vlm_filter)filter,
                                            (vlm_resampler)resampler, &err);
                talloc_stop();
                assert_int_equal(err.code, status);
                assert_true((status == VLM_OK) == (out != NULL));
                vlm_image_free(out);
            }
            assert_int_equal(status, VLM_OK);
        }
    vlm_image_free(image);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(decoding), cmocka_unit_test(resizing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
