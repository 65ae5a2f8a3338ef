/* SPDX-License-Identifier: MIT */
/* What Qwen3-VL and GLM-OCR have beyond parity: positions of every golden case and behind a beginning,
 * which frames of a video file are taken, budgets over all frames, prepared inputs and configs that do
 * not fit. */
#include <stdlib.h>

#include "engine/engine.h"
#include "support/cm.h"
#include "support/edit.h"
#include "support/parity.h"

static tparity qwen, glm;

/* ---- positions ------------------------------------------------------------------------------- */
static void check_positions(const tparity *p, const tgolden_case *of, int64_t first) {
    vlm_prepared *prepared = tparity_prepare(p, of);
    vlm_error err = VLM_ERROR_INIT;
    size_t n, tokens = vlm_prepared_tokens(prepared, NULL);
    const int64_t *want = tgolden_i64(p->golden, of, "position_ids", &n);
    assert_true(want && n == 3 * tokens);
    int32_t *got;
    int64_t next = first;
    if (vengine_positions(&got, &next, p->context, prepared, (size_t)first, &err) < 0)
        fail_msg("%s: %s", of->name, err.message);
    for (size_t i = 0; i < n; i++) assert_int_equal(got[i], want[i] + first);
    const int64_t *delta = tgolden_i64(p->golden, of, "rope_delta", &n);
    assert_int_equal(next, first + (int64_t)tokens + delta[0]);
    vcore_free(got);
    vlm_prepared_free(prepared);
}

static void positions_are_the_references(void **state) {
    (void)state;
    const tparity *const both[] = { &qwen, &glm };
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < tgolden_case_count(both[k]->golden); i++)
            for (int64_t first = 0; first < 200; first += 100)
                check_positions(both[k], tgolden_case_at(both[k]->golden, i), first);
}

static void positions_refuse(tparity *p, vlm_prepared *prepared, const char *says) {
    vlm_error err = VLM_ERROR_INIT;
    int32_t *got;
    int64_t next = 0;
    assert_true(vengine_positions(&got, &next, p->context, prepared, 0, &err) < 0);
    if (!strstr(err.message, says)) fail_msg("'%s' is not said: %s", says, err.message);
}

static void grids_that_do_not_fit_are_refused(void **state) {
    (void)state;
    vlm_prepared *prepared = tparity_prepare(&qwen, tgolden_case_named(qwen.golden, "video"));
    int64_t *grid = vlm_prepared_find(prepared, "video_grid_thw")->data;
    assert_true(grid[0] > 1);
    const int64_t times = grid[0];
    grid[0] = 1; /* the rows of one time stand for all */
    positions_refuse(&qwen, prepared, "no grid of 'video_grid_thw' covers");
    grid[1] *= times; /* one time as high as all */
    positions_refuse(&qwen, prepared, "media tokens where row 0 of 'video_grid_thw'");
    vlm_prepared_free(prepared);
}

/* A prepared input of GLM-OCR that has both kinds: their tokens are the same. */
static void pictures_and_videos_that_share_a_token_are_refused(void **state) {
    (void)state;
    vlm_prepared *prepared = tparity_prepare(&glm, tgolden_case_named(glm.golden, "video"));
    const vlm_array *pixels = vlm_prepared_find(prepared, "pixel_values_videos");
    const int64_t shape[] = { 4, pixels->shape[1] }, grid_shape[] = { 1, 3 };
    void *data, *grid;
    assert_int_equal(vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 2, shape, &data, NULL), VLM_OK);
    assert_int_equal(vlm_prepared_add(prepared, "image_grid_thw", VLM_DTYPE_I64, 2, grid_shape, &grid, NULL), VLM_OK);
    memcpy(grid, (int64_t[]) { 1, 2, 2 }, 3 * sizeof(int64_t));
    positions_refuse(&glm, prepared, "pictures and videos");
    vlm_prepared_free(prepared);
}

/* ---- frames of files ------------------------------------------------------------------------- */
/* What transformers 5.17's sample_frames gives: how many, each once, and a sum over all of them. Where GLM-OCR's gives
 * none, the first is taken here. */
static const struct {
    int64_t frames;
    double fps;
    struct {
        size_t n;
        uint32_t sum;
    } want[2]; /* Qwen3-VL, GLM-OCR */
} clips[] = {
    { 1, 30, { { 1, 0u }, { 0, 0u } } },
    { 2, 30, { { 2, 1u }, { 0, 0u } } },
    { 3, 25, { { 3, 33u }, { 0, 0u } } },
    { 5, 2, { { 5, 31810u }, { 5, 31810u } } },
    { 30, 30, { { 4, 10228u }, { 6, 4930575u } } },
    { 61, 30, { { 4, 20520u }, { 12, 2694655007u } } },
    { 100, 29.97, { { 6, 19721307u }, { 20, 898682577u } } },
    { 250, 25, { { 20, 1676343140u }, { 60, 1802743838u } } },
    { 725, 23.976, { { 60, 3710756174u }, { 60, 3993080168u } } },
    { 900, 30, { { 60, 383954732u }, { 180, 4123868804u } } },
    { 901, 30, { { 60, 2352798178u }, { 60, 2843866562u } } },
    { 1500, 12.5, { { 240, 2822816880u }, { 240, 3908456716u } } },
    { 9000, 30, { { 600, 190637212u }, { 600, 3666594196u } } },
    { 9001, 29.97, { { 600, 259857108u }, { 300, 2316603505u } } },
    { 40000, 25, { { 768, 918012684u }, { 640, 417827996u } } },
    { 75000, 30, { { 768, 1067992360u }, { 640, 941201943u } } },
    { 123, 7.5, { { 32, 224771648u }, { 98, 3346471646u } } },
    { 640, 21.3, { { 60, 3182912352u }, { 60, 3715468961u } } },
    { 1000, 100, { { 20, 175564656u }, { 60, 3904659892u } } },
};

static void check_sample(const tparity *p, size_t clip, int k) {
    vlm_clip of = { .frames = clips[clip].frames, .fps = clips[clip].fps };
    of.duration = (double)of.frames / of.fps;
    int64_t *numbers = calloc((size_t)of.frames, sizeof *numbers);
    size_t n = 0, want = clips[clip].want[k].n ? clips[clip].want[k].n : 1;
    assert_int_equal(p->context->processor_type->sample(p->context->processor, &of, numbers, &n, NULL), VLM_OK);
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(numbers[i] >= 0 && numbers[i] < of.frames && (i == 0 || numbers[i] > numbers[i - 1]));
        sum = sum * 31 + (uint32_t)numbers[i];
    }
    if (n != want || sum != clips[clip].want[k].sum)
        fail_msg("%lld frames at %g: %zu instead of %zu, sum %u", (long long)of.frames, of.fps, n, want, sum);
    free(numbers);
}

static void frames_are_the_references(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof clips / sizeof clips[0]; i++) {
        check_sample(&qwen, i, 0);
        check_sample(&glm, i, 1);
    }
}

static void frames_that_are_asked_for_are_taken(void **state) {
    (void)state;
    const vlm_clip ways[] = {
        { .frames = 300, .fps = 30, .duration = 10, .wish_nframes = 7 },
        { .frames = 300, .fps = 30, .duration = 10, .wish_fps = 0.7 },
        { .frames = 300, .fps = 30, .duration = 10, .wish_frames = 7 },
    };
    const tparity *const both[] = { &qwen, &glm };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        for (size_t k = 0; k < 2; k++) {
            int64_t numbers[300];
            size_t n = 0;
            const vlm_processor_type *type = both[k]->context->processor_type;
            assert_int_equal(type->sample(both[k]->context->processor, &ways[i], numbers, &n, NULL), VLM_OK);
            assert_int_equal(n, 7);
        }
}

/* ---- sizes ----------------------------------------------------------------------------------- */
static vlm_plan *plan_of(const tparity *p, vlm_media_item item, const vlm_processing *wish) {
    vlm_plan *plan;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vmodel_plan_new(&plan, &item, 1, wish, NULL), VLM_OK);
    if (p->context->processor_type->plan(p->context->processor, plan, &err) < 0) fail_msg("%s", err.message);
    return plan;
}

/* More frames of a video share its budget: each becomes smaller; a wish is of one frame. */
static void frames_share_a_budget(void **state) {
    (void)state;
    const tparity *const both[] = { &qwen, &glm };
    vlm_processing wish = VLM_PROCESSING_INIT;
    wish.max_pixels = 16 * 16 * 9;
    for (size_t k = 0; k < 2; k++) {
        vlm_media_item item = { .video = true, .size = { 640, 480 }, .frames = 2, .fps = 1 };
        vlm_plan *two = plan_of(both[k], item, NULL);
        item.frames = 8;
        vlm_plan *eight = plan_of(both[k], item, NULL), *wished = plan_of(both[k], item, &wish);
        assert_true(eight->items[0].tokens < 4 * two->items[0].tokens);
        assert_true(wished->items[0].tokens <= 4 * 9 && wished->items[0].tokens > 4 * 4);
        assert_non_null(strstr(eight->items[0].expansion, k ? "6.0 seconds" : "<6.5 seconds>"));
        vmodel_plan_free(two);
        vmodel_plan_free(eight);
        vmodel_plan_free(wished);
    }
}

/* ---- configs --------------------------------------------------------------------------------- */
/* Loads qwen3_vl with one edit. */
static vlm_status load_edited(const char *file, const char *path, const char *value, vlm_error *err) {
    char *dir = tcheckpoint_temp_dir();
    tcheckpoint_options how = { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 };
    assert_true(tcheckpoint_write("tests/golden/qwen3_vl", dir, &how));
    const tedit edits[] = { SET(file, path, value), { 0 } };
    assert_true(tedit_apply(dir, edits, 2));
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    vlm_context *context = NULL;
    vlm_status status = vlm_context_load(&context, dir, &options, err);
    vlm_context_free(context);
    tcheckpoint_remove(dir);
    free(dir);
    return status;
}

static void what_is_not_done_is_refused(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(load_edited("video_preprocessor_config.json", "cap_pixels_per_frame", "false", &err), VLM_OK);
    assert_int_equal(load_edited("video_preprocessor_config.json", "cap_pixels_per_frame", "true", &err), VLM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "video_preprocessor_config.json: cap_pixels_per_frame"));
}

/* The decoder's own key does not tie the head: the reference reads the one at the top. */
static void the_head_is_tied_at_the_top_alone(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(load_edited("config.json", "text_config/tie_word_embeddings", "false", &err), VLM_OK);
    assert_int_equal(load_edited("config.json", "tie_word_embeddings", "false", &err), VLM_ERR_WEIGHTS);
    assert_non_null(strstr(err.message, "lm_head.weight"));
}

static int open_both(void **state) {
    (void)state;
    tparity_open(&qwen, "tests/golden/qwen3_vl", NULL, VLM_PRECISION_F32, 1);
    tparity_open(&glm, "tests/golden/glm_ocr", NULL, VLM_PRECISION_F32, 1);
    return 0;
}

static int close_both(void **state) {
    (void)state;
    tparity_close(&qwen);
    tparity_close(&glm);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_the_references),
        cmocka_unit_test(grids_that_do_not_fit_are_refused),
        cmocka_unit_test(pictures_and_videos_that_share_a_token_are_refused),
        cmocka_unit_test(frames_are_the_references),
        cmocka_unit_test(frames_that_are_asked_for_are_taken),
        cmocka_unit_test(frames_share_a_budget),
        cmocka_unit_test(what_is_not_done_is_refused),
        cmocka_unit_test(the_head_is_tied_at_the_top_alone),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
