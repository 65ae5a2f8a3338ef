/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of what is done to pictures: an error, nothing handed out,
 * nothing leaked (the address sanitizer watches). */
#include "support/alloc.h"
#include "support/cm.h"
#include "vlm/media.h"

static vlm_image *image;

static vlm_status preprocess(void) {
    const vlm_image_processor_config config = { .shortest_edge = 9,
                                                .crop = { 5, 5 },
                                                .do_resize = true };
    vlm_pixel_array array;
    vlm_status status = vlm_image_preprocess(&array, image, &config, VLM_LAYOUT_CHW, NULL);
    if (status < 0) assert_null(array.values);
    vlm_pixel_array_free(&array);
    return status;
}

static vlm_status floats(void) {
    vlm_image_f32 f32;
    vlm_status status = vlm_image_f32_from_image(&f32, image, 1, NULL);
    vlm_image *back = NULL;
    if (status == VLM_OK) status = vlm_image_f32_to_image(&back, &f32, NULL);
    if (status < 0) assert_null(back);
    vlm_image_free(back);
    vlm_image_f32_free(&f32);
    return status;
}

static vlm_status chain(void) {
    vlm_image_chain c = vlm_image_chain_begin(image, NULL);
    vlm_pixel_array array;
    vlm_image_chain_pad_to_square(&c, NULL);
    vlm_image_chain_center_crop(&c, (vlm_size) { 4, 4 });
    vlm_image_chain_resize(&c, (vlm_size) { 3, 3 }, VLM_FILTER_BOX);
    vlm_image_chain_to_srgb(&c);
    vlm_status status = vlm_image_chain_to_array(&c, &array, VLM_LAYOUT_HWC);
    if (status < 0) assert_null(array.values);
    vlm_pixel_array_free(&array);
    return status;
}

/* Runs act with its first, second, ... allocation failing, until it has no more of them. */
static void sweep(void **state) {
    vlm_status (*act)(void) = *(vlm_status(**)(void))state;
    const uint8_t rgb[6 * 4 * 3] = { 7 };
    assert_int_equal(vlm_image_from_pixels(&image, rgb, (vlm_size) { 6, 4 }, 3, 18, NULL), VLM_OK);
    long k = 1;
    for (;; k++) {
        talloc_start(k);
        vlm_status status = act();
        if (talloc_stop() < k) {
            assert_int_equal(status, VLM_OK);
            break;
        }
        assert_int_equal(status, VLM_ERR_MEMORY);
    }
    assert_true(k > 2);
    vlm_image_free(image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(sweep, (void *)preprocess),
        cmocka_unit_test_prestate(sweep, (void *)floats),
        cmocka_unit_test_prestate(sweep, (void *)chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
