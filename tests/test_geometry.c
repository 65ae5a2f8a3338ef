/* SPDX-License-Identifier: MIT */
/* Odd sizes of picture: taken or refused as the reference does (tests/golden/geometry.json), with its number of
 * tokens; and prepared for real where they are extreme. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/cm.h"
#include "support/parity.h"

/* Tokens that a plan gives a picture of that size; -1 when it is refused. */
static int64_t planned(const vlm_context *c, uint32_t width, uint32_t height) {
    const vlm_media_item item = { .size = { width, height }, .frames = 1 };
    const vlm_processing processing = VLM_PROCESSING_INIT;
    vlm_error err = VLM_ERROR_INIT;
    vlm_plan *plan;
    assert_int_equal(vmodel_plan_new(&plan, &item, 1, &processing, &err), VLM_OK);
    vlm_status status = c->processor_type->plan(c->processor, plan, &err);
    int64_t tokens = status < 0 ? -1 : plan->items[0].tokens;
    if (status < 0) assert_true(err.message[0] != 0);
    vmodel_plan_free(plan);
    return tokens;
}

static vlm_image *blank(uint32_t width, uint32_t height) {
    uint8_t *rgb = calloc((size_t)width * height, 3);
    vlm_image *image;
    assert_int_equal(vlm_image_from_pixels(&image, rgb, (vlm_size) { width, height }, 3, (size_t)width * 3, NULL), VLM_OK);
    free(rgb);
    return image;
}

/* The whole way to a prepared input; media tokens, or -1; -2 where a picture on the way is above a limit: a side
 * that follows the shorter one, a square of the longer one. */
static int64_t prepared_tokens(const vlm_context *c, uint32_t width, uint32_t height) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_input *in;
    vlm_prepared *prepared = NULL;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_add_image(in, blank(width, height), &err), VLM_OK);
    assert_int_equal(vlm_input_add_message(in, "user", "What?", &err), VLM_OK);
    vlm_status status = vlm_prepare(&prepared, c, in, &err);
    size_t media = 0;
    if (status >= 0) vlm_prepared_tokens(prepared, &media);
    vlm_prepared_free(prepared);
    vlm_input_free(in);
    return status == VLM_ERR_LIMIT ? -2 : status < 0 ? -1 : (int64_t)media;
}

static void check(const tparity *p, const char *variant, json_object *entry) {
    uint32_t width = (uint32_t)json_object_get_int(json_object_array_get_idx(entry, 0));
    uint32_t height = (uint32_t)json_object_get_int(json_object_array_get_idx(entry, 1));
    json_object *value = json_object_array_get_idx(entry, 2);
    int64_t want = value ? json_object_get_int64(value) : -1;
    int64_t got = planned(p->context, width, height);
    if (got != want)
        fail_msg("%s: %u x %u: %lld tokens, the reference %lld", variant, width, height, (long long)got, (long long)want);
    bool extreme = width >= 200 * height || height >= 200 * width || (width < 4 && height < 4);
    if (!extreme) return;
    got = prepared_tokens(p->context, width, height);
    if (got != -2 || strncmp(variant, "llava-", 6) != 0) assert_int_equal(got, want);
}

static void sizes_are_taken_as_the_reference_takes_them(void **state) {
    const char *variant = *state;
    json_object *all = json_object_from_file("tests/golden/geometry.json"), *entries;
    assert_non_null(all);
    assert_true(json_object_object_get_ex(all, variant, &entries));
    char *dir = tcheckpoint_path("tests/golden", variant);
    tparity p;
    tparity_open(&p, dir, NULL, VLM_PRECISION_F32, 1);
    size_t n = json_object_array_length(entries);
    assert_true(n >= 400);
    for (size_t i = 0; i < n; i++) check(&p, variant, json_object_array_get_idx(entries, i));
    tparity_close(&p);
    free(dir);
    json_object_put(all);
}

int main(void) {
    static const char *const variants[] = { "idefics3-split", "idefics3-whole", "smolvlm-video", "paligemma-gemma",
                                            "paligemma2-gemma2", "qwen2_5_vl-tied", "qwen2_5_vl-untied", "llava-clip",
                                            "llava-siglip", "llava_next-mistral", "llava_next-llama", "gemma3-new",
                                            "pixtral-llava", "mistral3-mistral" };
    enum { N = sizeof variants / sizeof variants[0] };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest) { variants[i], sizes_are_taken_as_the_reference_takes_them, NULL, NULL, (void *)variants[i] };
    return cmocka_run_group_tests_name("geometry", tests, NULL, NULL);
}
