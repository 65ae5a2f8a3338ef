/* SPDX-License-Identifier: MIT */
/* Plans of Idefics3 and SmolVLM from sizes alone: grids as Idefics3ImageProcessorPil's functions of
 * transformers 5.17 give them, prompt text of pictures and videos, and what is refused. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/cm.h"

typedef struct {
    vcore_arena *arena;
    vcore_json_doc *config;
    const vlm_processor_type *type;
    void *processor;
} setup;

static vlm_status setup_try(setup *s, const char *processor_class, const char *json,
                            vlm_error *err) {
    *s = (setup) { .arena = vcore_arena_new() };
    assert_int_equal(vcore_json_parse(&s->config, json, strlen(json), "test", NULL), VLM_OK);
    s->type = vlm_processor_registry_find(vlm_processor_registry_default(), processor_class);
    assert_non_null(s->type);
    const vlm_json *root = vcore_json_root(s->config);
    vlm_processor_build build = { .processor_class = processor_class,
                                  .preprocessor_config = root,
                                  .processor_config = root,
                                  .image_config = root,
                                  .video_config = root,
                                  .image_where = "image",
                                  .video_where = "video",
                                  .arena = s->arena };
    return s->type->create(&s->processor, &build, err);
}

static void teardown(setup *s) {
    vcore_arena_free(s->arena);
    vcore_json_free(s->config);
}

static void setup_ok(setup *s, const char *processor_class, const char *json) {
    vlm_error err = VLM_ERROR_INIT;
    if (setup_try(s, processor_class, json, &err) < 0) fail_msg("%s", err.message);
}

/* The plan of one item; free it. */
static vlm_plan *plan_one(setup *s, vlm_media_item item) {
    vlm_plan *plan;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vmodel_plan_new(&plan, &item, 1, NULL, NULL), VLM_OK);
    if (s->type->plan(s->processor, plan, &err) < 0) fail_msg("%s", err.message);
    return plan;
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    while ((text = strstr(text, what))) n++, text += strlen(what);
    return n;
}

/* ---- grids ----------------------------------------------------------------------------------- */
static const char *const edges[3] = {
    "{\"size\": {\"longest_edge\": 2048}, \"max_image_size\": {\"longest_edge\": 512}, "
    "\"image_seq_len\": 4}",
    "{\"size\": {\"longest_edge\": 500}, \"max_image_size\": {\"longest_edge\": 70}, "
    "\"image_seq_len\": 4}",
    "{\"size\": {\"longest_edge\": 5000}, \"max_image_size\": {\"longest_edge\": 384}, "
    "\"image_seq_len\": 4}",
};
static const struct {
    uint32_t width, height;
    int64_t grid[3][2]; /* rows, columns */
} sizes[] = {
    { 1, 1, { { 4, 4 }, { 8, 8 }, { 11, 11 } } },
    { 1, 20000, { { 4, 1 }, { 8, 1 }, { 11, 1 } } },
    { 20000, 1, { { 1, 4 }, { 1, 8 }, { 1, 11 } } },
    { 3, 2, { { 3, 4 }, { 6, 8 }, { 8, 11 } } },
    { 2, 3, { { 4, 3 }, { 8, 6 }, { 11, 8 } } },
    { 17, 4001, { { 4, 1 }, { 8, 1 }, { 11, 1 } } },
    { 4001, 17, { { 1, 4 }, { 1, 8 }, { 1, 11 } } },
    { 640, 480, { { 3, 4 }, { 7, 8 }, { 9, 11 } } },
    { 480, 640, { { 4, 3 }, { 8, 7 }, { 11, 9 } } },
    { 1920, 1080, { { 3, 4 }, { 5, 8 }, { 7, 11 } } },
    { 1080, 1920, { { 4, 3 }, { 8, 5 }, { 11, 7 } } },
    { 4000, 3000, { { 3, 4 }, { 7, 8 }, { 9, 11 } } },
    { 3024, 4032, { { 4, 3 }, { 8, 7 }, { 11, 9 } } },
    { 5000, 5001, { { 4, 4 }, { 8, 8 }, { 11, 11 } } },
    { 999, 1001, { { 4, 4 }, { 8, 8 }, { 11, 11 } } },
    { 513, 512, { { 4, 4 }, { 8, 8 }, { 11, 11 } } },
    { 512, 513, { { 4, 4 }, { 8, 8 }, { 11, 11 } } },
    { 100, 1000, { { 4, 1 }, { 8, 1 }, { 11, 2 } } },
    { 5103, 2093, { { 2, 4 }, { 4, 8 }, { 5, 11 } } },
    { 2939, 5657, { { 4, 3 }, { 8, 5 }, { 11, 6 } } },
    { 5343, 4343, { { 4, 4 }, { 7, 8 }, { 9, 11 } } },
    { 239, 3815, { { 4, 1 }, { 8, 1 }, { 11, 1 } } },
    { 2041, 5317, { { 4, 2 }, { 8, 4 }, { 11, 5 } } },
    { 425, 1285, { { 4, 2 }, { 8, 3 }, { 11, 4 } } },
    { 929, 3047, { { 4, 2 }, { 8, 3 }, { 11, 4 } } },
    { 3843, 2021, { { 3, 4 }, { 5, 8 }, { 6, 11 } } },
    { 3121, 4455, { { 4, 3 }, { 8, 6 }, { 11, 8 } } },
    { 837, 4703, { { 4, 1 }, { 8, 2 }, { 11, 2 } } },
    { 2043, 109, { { 1, 4 }, { 1, 8 }, { 1, 11 } } },
    { 5991, 1777, { { 2, 4 }, { 3, 8 }, { 4, 11 } } },
};

static void grids(void **state) {
    (void)state;
    for (int e = 0; e < 3; e++) {
        setup s;
        setup_ok(&s, "Idefics3Processor", edges[e]);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            vlm_plan *plan = plan_one(
                &s, (vlm_media_item) { .size = { sizes[i].width, sizes[i].height }, .frames = 1 });
            const char *text = plan->items[0].expansion;
            int64_t rows = sizes[i].grid[e][0], cols = sizes[i].grid[e][1];
            char last[64];
            snprintf(last, sizeof last, "<row_%lld_col_%lld><image>", (long long)rows,
                     (long long)cols);
            if (count(text, "<row_") != (size_t)(rows * cols) || !strstr(text, last))
                fail_msg("%u x %u: not %lld x %lld tiles", sizes[i].width, sizes[i].height,
                         (long long)rows, (long long)cols);
            assert_int_equal(plan->items[0].tokens, (rows * cols + 1) * 4);
            assert_int_equal(count(text, "<image>"), plan->items[0].tokens);
            vmodel_plan_free(plan);
        }
        teardown(&s);
    }
}

/* ---- prompt text ----------------------------------------------------------------------------- */
#define AROUND "<fake_token_around_image>"
#define TOKENS "<image><image>"

static void picture_text(void **state) {
    (void)state;
    setup s;
    setup_ok(&s, "Idefics3Processor",
             "{\"size\": {\"longest_edge\": 100}, \"max_image_size\": {\"longest_edge\": 50},"
             " \"image_seq_len\": 2}");
    vlm_plan *plan = plan_one(&s, (vlm_media_item) { .size = { 40, 40 }, .frames = 1 });
    assert_string_equal(plan->items[0].expansion,
                        AROUND "<row_1_col_1>" TOKENS AROUND "<row_1_col_2>" TOKENS "\n" AROUND
                               "<row_2_col_1>" TOKENS AROUND "<row_2_col_2>" TOKENS "\n\n" AROUND
                               "<global-img>" TOKENS AROUND);
    vmodel_plan_free(plan);
    teardown(&s);
    setup_ok(
        &s, "Idefics3Processor",
        "{\"size\": {\"height\": 30, \"width\": 40}, \"max_image_size\": {\"longest_edge\": 50},"
        " \"image_seq_len\": 2}");
    plan = plan_one(&s, (vlm_media_item) { .size = { 400, 40 }, .frames = 1 });
    assert_string_equal(plan->items[0].expansion, AROUND "<global-img>" TOKENS AROUND);
    vmodel_plan_free(plan);
    teardown(&s);
}

static void video_text(void **state) {
    (void)state;
    static const struct {
        int64_t frames;
        double fps;
        const char *intro, *last;
    } cases[] = {
        { 1, 0, "of one frames from a 0:00:00 [", "\nFrame from 00:00:" },
        { 2, 1, "of two frames from a 0:00:02 [", "\nFrame from 00:01:" },
        { 13, 24, "of thirteen frames from a 0:00:00 [", "\nFrame from 00:00:" },
        { 21, 0.01, "of twenty-one frames from a 0:35:00 [", "\nFrame from 33:20:" },
        { 40, 0.0001, "of forty frames from a 4 days, 15:06:40 [", "\nFrame from 6500:00:" },
        { 9, 0.0001, "of nine frames from a 1 day, 1:00:00 [", "\nFrame from 1333:20:" },
        { 105, 0, "of one hundred and five frames from a 0:00:04 [", "\nFrame from 00:04:" },
        { 999, 30, "of nine hundred and ninety-nine frames from", "\nFrame from 00:33:" },
        { 1001, 30, "of one thousand and one frames from", "\nFrame from 00:33:" },
        { 1234, 30, "of one thousand, two hundred and thirty-four frames from",
          "\nFrame from 00:41:" },
        { 20017, 30, "of twenty thousand and seventeen frames from", "\nFrame from 11:07:" },
    };
    setup s;
    setup_ok(&s, "SmolVLMProcessor", "{\"image_seq_len\": 2}");
    assert_string_equal(s.type->placeholder(s.processor, true), "<video>");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vlm_plan *plan = plan_one(&s, (vlm_media_item) { .video = true,
                                                         .size = { 64, 64 },
                                                         .frames = cases[i].frames,
                                                         .fps = cases[i].fps });
        const char *text = plan->items[0].expansion, *end = text + strlen(text);
        char last[200];
        snprintf(last, sizeof last, "%s" AROUND "<global-img>" TOKENS AROUND "\n\n", cases[i].last);
        if (!strstr(text, cases[i].intro)) fail_msg("%s: %.120s", cases[i].intro, text);
        assert_string_equal(end - strlen(last), last);
        assert_int_equal(count(text, "<image>"), 2 * cases[i].frames);
        assert_int_equal(plan->items[0].tokens, 2 * cases[i].frames);
        vmodel_plan_free(plan);
    }
    teardown(&s);
    setup_ok(&s, "Idefics3Processor", "{}");
    assert_null(s.type->placeholder(s.processor, true));
    teardown(&s);
}

/* ---- refusals -------------------------------------------------------------------------------- */
static void too_much(void **state) {
    (void)state;
    setup s;
    setup_ok(&s, "SmolVLMProcessor",
             "{\"size\": {\"longest_edge\": 4096}, \"max_image_size\": {\"longest_edge\": 1}}");
    vlm_media_item items[] = { { .size = { 100, 100 }, .frames = 1 },
                               { .video = true, .size = { 1, 1 }, .frames = 1 << 21, .fps = 1 },
                               { .video = true, .size = { 1, 1 }, .frames = 4, .fps = 1e-300 } };
    static const vlm_status wanted[] = { VLM_ERR_LIMIT, VLM_ERR_LIMIT, VLM_ERR_VIDEO_PROCESSING };
    for (size_t i = 0; i < 3; i++) {
        vlm_plan *plan;
        vlm_error err = VLM_ERROR_INIT;
        assert_int_equal(vmodel_plan_new(&plan, &items[i], 1, NULL, NULL), VLM_OK);
        assert_int_equal(s.type->plan(s.processor, plan, &err), wanted[i]);
        assert_int_not_equal(err.message[0], 0);
        vmodel_plan_free(plan);
    }
    teardown(&s);
}

static void bad_config(void **state) {
    (void)state;
    static const struct {
        const char *json, *names;
    } cases[] = {
        { "{\"image_seq_len\": 0}", "image_seq_len" },
        { "{\"image_seq_len\": \"64\"}", "image_seq_len" },
        { "{\"size\": {\"longest_edge\": 0}}", "size.longest_edge" },
        { "{\"size\": {\"longest_edge\": 1e9}}", "size.longest_edge" },
        { "{\"size\": {\"shortest_edge\": 5}}", "size" },
        { "{\"size\": {\"height\": 5}}", "size" },
        { "{\"size\": {\"height\": -5, \"width\": 3}}", "size.height" },
        { "{\"max_image_size\": {\"longest_edge\": -1}}", "max_image_size.longest_edge" },
        { "{\"max_image_size\": {\"longest_edge\": 100000}}", "max_image_size.longest_edge" },
        { "{\"do_resize\": 3}", "do_resize" },
        { "{\"do_image_splitting\": \"yes\"}", "do_image_splitting" },
        { "{\"resample\": 9}", "resample" },
        { "{\"resample\": [1]}", "resample" },
        { "{\"image_mean\": [0.5, 0.5]}", "image_mean" },
        { "{\"image_mean\": [0.5, 0.5, NaN]}", "image_mean" },
        { "{\"image_std\": 0}", "image_std" },
        { "{\"image_std\": [0.5, 0.5, \"x\"]}", "image_std" },
        { "{\"rescale_factor\": Infinity}", "rescale_factor" },
        { "{\"rescale_factor\": \"x\"}", "rescale_factor" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setup s;
        vlm_error err = VLM_ERROR_INIT;
        assert_int_equal(setup_try(&s, "SmolVLMProcessor", cases[i].json, &err), VLM_ERR_CONFIG);
        if (!strstr(err.message, cases[i].names)) fail_msg("%s: %s", cases[i].json, err.message);
        teardown(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids),    cmocka_unit_test(picture_text), cmocka_unit_test(video_text),
        cmocka_unit_test(too_much), cmocka_unit_test(bad_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
