/* SPDX-License-Identifier: MIT */
/* Qwen2.5-VL beyond parity: sizes as smart_resize of transformers 5.17 gives and refuses them,
 * positions of every golden case and behind a beginning, prepared inputs that lie about their
 * grids, configs that do. */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session.h"
#include "support/cm.h"
#include "support/parity.h"

static tparity tiny; /* of qwen2_5_vl-tied: squares of 28 pixels */

/* ---- sizes ----------------------------------------------------------------------------------- */
/* The processor of a config, with the tiny checkpoint's tokenizer; freed with the arena. */
typedef struct {
    vcore_arena *arena;
    vcore_json_doc *config;
    void *processor;
} setup;

static vlm_status setup_try(setup *s, const char *json, vlm_error *err) {
    *s = (setup) { .arena = vcore_arena_new() };
    assert_int_equal(vcore_json_parse(&s->config, json, strlen(json), "test", NULL), VLM_OK);
    const vlm_json *root = vcore_json_root(s->config);
    vlm_processor_build build = { .processor_class = "Qwen2_5_VLProcessor",
                                  .image_config = root,
                                  .video_config = root,
                                  .image_where = "image",
                                  .video_where = "video",
                                  .tokenizer = tiny.context->tokenizer,
                                  .arena = s->arena };
    return tiny.context->processor_type->create(&s->processor, &build, err);
}

static void teardown(setup *s) {
    vcore_arena_free(s->arena);
    vcore_json_free(s->config);
}

static const struct {
    const char *json;
    int64_t factor;
    vlm_processing wish;
} budgets[3] = {
    { "{\"min_pixels\": 3136, \"size\": {\"longest_edge\": 1003520}}", 28, VLM_PROCESSING_INIT },
    { "{\"patch_size\": 8, \"size\": {\"shortest_edge\": 1536, \"longest_edge\": 12800}}", 16,
      VLM_PROCESSING_INIT },
    { "{}",
      28,
      { .struct_size = sizeof(vlm_processing), .min_pixels = 100352, .max_pixels = 602112 } },
};
static const struct {
    uint32_t width, height;
    int64_t squares[3][2]; /* rows, columns; 0: refused */
} sizes[] = {
    { 1, 1, { { 2, 2 }, { 3, 3 }, { 12, 12 } } },
    { 1, 2, { { 3, 2 }, { 4, 2 }, { 16, 8 } } },
    { 1, 200, { { 29, 1 }, { 35, 1 }, { 160, 1 } } },
    { 1, 201, { { 0, 0 }, { 0, 0 }, { 0, 0 } } },
    { 200, 1, { { 1, 29 }, { 1, 35 }, { 1, 160 } } },
    { 201, 1, { { 0, 0 }, { 0, 0 }, { 0, 0 } } },
    { 1, 20000, { { 0, 0 }, { 0, 0 }, { 0, 0 } } },
    { 20000, 1, { { 0, 0 }, { 0, 0 }, { 0, 0 } } },
    { 13, 14, { { 3, 2 }, { 3, 3 }, { 12, 11 } } },
    { 14, 14, { { 2, 2 }, { 3, 3 }, { 12, 12 } } },
    { 14, 15, { { 3, 2 }, { 3, 3 }, { 12, 11 } } },
    { 41, 42, { { 3, 2 }, { 3, 3 }, { 12, 12 } } },
    { 42, 42, { { 2, 2 }, { 3, 3 }, { 12, 12 } } },
    { 42, 70, { { 2, 2 }, { 4, 3 }, { 15, 9 } } },
    { 70, 42, { { 2, 2 }, { 3, 4 }, { 9, 15 } } },
    { 28, 28, { { 2, 2 }, { 3, 3 }, { 12, 12 } } },
    { 27, 29, { { 3, 2 }, { 3, 3 }, { 12, 11 } } },
    { 56, 56, { { 2, 2 }, { 4, 4 }, { 12, 12 } } },
    { 55, 57, { { 2, 2 }, { 4, 3 }, { 12, 12 } } },
    { 100, 20000, { { 505, 2 }, { 100, 1 }, { 391, 1 } } },
    { 99, 20000, { { 0, 0 }, { 0, 0 }, { 0, 0 } } },
    { 20000, 100, { { 2, 505 }, { 1, 100 }, { 1, 391 } } },
    { 640, 480, { { 17, 23 }, { 6, 8 }, { 17, 23 } } },
    { 480, 640, { { 23, 17 }, { 8, 6 }, { 23, 17 } } },
    { 1920, 1080, { { 26, 47 }, { 5, 9 }, { 20, 36 } } },
    { 4000, 3000, { { 30, 41 }, { 6, 8 }, { 24, 32 } } },
    { 3024, 4032, { { 41, 30 }, { 8, 6 }, { 32, 24 } } },
    { 1001, 1003, { { 35, 35 }, { 7, 7 }, { 27, 27 } } },
    { 1002, 1001, { { 35, 35 }, { 7, 7 }, { 27, 27 } } },
    { 1008, 996, { { 35, 35 }, { 7, 7 }, { 27, 27 } } },
    { 20000, 20000, { { 35, 35 }, { 7, 7 }, { 27, 27 } } },
    { 65, 64, { { 2, 2 }, { 4, 4 }, { 12, 12 } } },
    { 64, 65, { { 2, 2 }, { 4, 4 }, { 12, 12 } } },
    { 8, 1600, { { 29, 1 }, { 35, 1 }, { 160, 1 } } },
    { 8, 1601, { { 0, 0 }, { 0, 0 }, { 0, 0 } } },
    { 3, 600, { { 29, 1 }, { 35, 1 }, { 160, 1 } } },
    { 7, 1393, { { 29, 1 }, { 35, 1 }, { 160, 1 } } },
    { 2653, 1236, { { 24, 52 }, { 4, 10 }, { 18, 40 } } },
    { 3235, 5333, { { 45, 27 }, { 9, 5 }, { 35, 21 } } },
    { 396, 594, { { 21, 14 }, { 8, 5 }, { 21, 14 } } },
    { 4390, 772, { { 15, 85 }, { 2, 16 }, { 11, 66 } } },
    { 2996, 4775, { { 45, 28 }, { 8, 5 }, { 34, 21 } } },
    { 476, 4157, { { 105, 12 }, { 20, 2 }, { 81, 9 } } },
    { 1759, 308, { { 11, 63 }, { 2, 16 }, { 11, 63 } } },
    { 705, 3553, { { 80, 15 }, { 15, 3 }, { 62, 12 } } },
    { 3426, 573, { { 14, 87 }, { 2, 17 }, { 11, 67 } } },
    { 1972, 744, { { 21, 58 }, { 4, 11 }, { 17, 45 } } },
    { 4515, 3478, { { 31, 40 }, { 6, 8 }, { 24, 31 } } },
    { 485, 4633, { { 110, 11 }, { 21, 2 }, { 85, 8 } } },
    { 1015, 1829, { { 48, 26 }, { 9, 5 }, { 37, 20 } } },
    { 5167, 5140, { { 35, 35 }, { 7, 7 }, { 27, 27 } } },
    { 4776, 507, { { 11, 109 }, { 2, 21 }, { 9, 85 } } },
    { 4728, 4797, { { 36, 35 }, { 7, 7 }, { 27, 27 } } },
    { 3250, 407, { { 12, 101 }, { 2, 19 }, { 9, 78 } } },
    { 1812, 382, { { 14, 65 }, { 3, 15 }, { 12, 60 } } },
    { 4561, 1091, { { 17, 73 }, { 3, 14 }, { 13, 56 } } },
};

static bool is_grid(const vlm_prepared *prepared, const int64_t *squares) {
    const int64_t *grid = vlm_prepared_find(prepared, "image_grid_thw")->data;
    return grid[0] == 1 && grid[1] == 2 * squares[0] && grid[2] == 2 * squares[1];
}

/* Where the source is small, the sides are seen in the grid that is filled in, too. */
static void check_fill(const setup *s, const vlm_plan *plan, vlm_size size,
                       const int64_t *squares) {
    enum { SMALL = 1 << 18 };
    if ((uint64_t)size.width * size.height > SMALL) return;
    uint8_t *rgb = calloc((size_t)size.width * size.height, 3);
    vlm_image *image;
    vlm_prepared *prepared;
    assert_int_equal(vlm_image_from_pixels(&image, rgb, size, 3, size.width * (size_t)3, NULL),
                     VLM_OK);
    assert_int_equal(vmodel_prepared_new(&prepared, NULL), VLM_OK);
    const vlm_image *const frames[] = { image };
    const vlm_media media = { .frames = frames };
    assert_int_equal(tiny.context->processor_type->fill(s->processor, plan, &media, prepared, NULL),
                     VLM_OK);
    if (!is_grid(prepared, squares)) fail_msg("%u x %u: another grid", size.width, size.height);
    const vlm_array *pixels = vlm_prepared_find(prepared, "pixel_values");
    assert_int_equal(pixels->shape[0], 4 * squares[0] * squares[1]);
    vlm_prepared_free(prepared);
    vlm_image_free(image);
    free(rgb);
}

static void sizes_are_smart_resizes(void **state) {
    (void)state;
    for (int b = 0; b < 3; b++) {
        setup s;
        assert_int_equal(setup_try(&s, budgets[b].json, NULL), VLM_OK);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            const int64_t *squares = sizes[i].squares[b];
            const vlm_media_item item = { .size = { sizes[i].width, sizes[i].height },
                                          .frames = 1 };
            vlm_plan *plan;
            vlm_error err = VLM_ERROR_INIT;
            char name[64];
            assert_int_equal(vmodel_plan_new(&plan, &item, 1, &budgets[b].wish, NULL), VLM_OK);
            vlm_status status = tiny.context->processor_type->plan(s.processor, plan, &err);
            snprintf(name, sizeof name, "%u x %u", sizes[i].width, sizes[i].height);
            if (squares[0] == 0) {
                if (status != VLM_ERR_IMAGE_PROCESSING || !strstr(err.message, name))
                    fail_msg("%s: %s: %s", name, vlm_status_name(status), err.message);
            } else {
                if (status < 0) fail_msg("%s: %s", name, err.message);
                if (plan->items[0].tokens != squares[0] * squares[1])
                    fail_msg("%s: %lld tokens instead of %lld x %lld", name,
                             (long long)plan->items[0].tokens, (long long)squares[0],
                             (long long)squares[1]);
                assert_int_equal(strlen(plan->items[0].expansion),
                                 (size_t)plan->items[0].tokens * strlen("<|image_pad|>"));
                check_fill(&s, plan, item.size, squares);
            }
            vmodel_plan_free(plan);
        }
        teardown(&s);
    }
}

static void plan_refuses(const char *json, vlm_media_item item, vlm_processing wish,
                         vlm_status want, const char *says) {
    setup s;
    vlm_plan *plan;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(setup_try(&s, json, NULL), VLM_OK);
    assert_int_equal(vmodel_plan_new(&plan, &item, 1, &wish, NULL), VLM_OK);
    vlm_status status = tiny.context->processor_type->plan(s.processor, plan, &err);
    if (status != want || !strstr(err.message, says))
        fail_msg("%s: %s", vlm_status_name(status), err.message);
    vmodel_plan_free(plan);
    teardown(&s);
}

static void plans_have_limits(void **state) {
    (void)state;
    const vlm_processing none = VLM_PROCESSING_INIT;
    vlm_processing huge = VLM_PROCESSING_INIT;
    huge.min_pixels = UINT64_MAX;
    plan_refuses("{}", (vlm_media_item) { .size = { 100, 100 }, .frames = 1 }, huge,
                 VLM_ERR_IMAGE_PROCESSING, "100 x 100 would become 4294967320 x 4294967320");
    huge.min_pixels = (uint64_t)1 << 40;
    plan_refuses("{}", (vlm_media_item) { .size = { 100, 100 }, .frames = 1 }, huge,
                 VLM_ERR_IMAGE_PROCESSING, "100 x 100 has too many patches");
    plan_refuses("{}",
                 (vlm_media_item) { .video = true, .size = { 640, 480 }, .frames = INT64_MAX / 4 },
                 none, VLM_ERR_LIMIT, "frames");
    plan_refuses("{\"do_resize\": false}", (vlm_media_item) { .size = { 56, 57 }, .frames = 1 },
                 none, VLM_ERR_IMAGE_PROCESSING, "56 x 57");
    plan_refuses("{\"do_resize\": false}", (vlm_media_item) { .size = { 14, 28 }, .frames = 1 },
                 none, VLM_ERR_IMAGE_PROCESSING, "14 x 28");
}

static void processor_configs_are_checked(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        { "{\"patch_size\": 0}", "patch_size" },
        { "{\"merge_size\": -2}", "merge_size" },
        { "{\"temporal_patch_size\": 1e9}", "temporal_patch_size" },
        { "{\"min_pixels\": 0}", "min_pixels" },
        { "{\"max_pixels\": \"many\"}", "max_pixels" },
        { "{\"size\": {\"shortest_edge\": -1}}", "shortest_edge" },
        { "{\"size\": {\"longest_edge\": 1e300}}", "longest_edge" },
        { "{\"image_std\": 0}", "image_std" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setup s;
        vlm_error err = VLM_ERROR_INIT;
        assert_int_equal(setup_try(&s, wrong[i][0], &err), VLM_ERR_CONFIG);
        if (!strstr(err.message, wrong[i][1])) fail_msg("%s: %s", wrong[i][0], err.message);
        teardown(&s);
    }
}

/* ---- positions ------------------------------------------------------------------------------- */
/* @param first position of the first token */
static void check_positions(const tparity *p, const tgolden_case *of, int64_t first) {
    vlm_prepared *prepared = tparity_prepare(p, of);
    vlm_error err = VLM_ERROR_INIT;
    size_t n, tokens = vlm_prepared_tokens(prepared, NULL);
    const int64_t *want = tgolden_i64(p->golden, of, "position_ids", &n);
    assert_non_null(want);
    assert_int_equal(n, 3 * tokens);
    int32_t *got;
    int64_t next = first;
    if (vengine_positions(&got, &next, p->context, prepared, (size_t)first, &err) < 0)
        fail_msg("%s: %s", of->name, err.message);
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i] + first)
            fail_msg("%s: axis %zu of token %zu is %d, reference %lld", of->name, i / tokens,
                     i % tokens, got[i], (long long)(want[i] + first));
    const int64_t *delta = tgolden_i64(p->golden, of, "rope_delta", &n);
    assert_int_equal(next, first + (int64_t)tokens + delta[0]);
    vcore_free(got);
    vlm_prepared_free(prepared);
}

static void positions_are_the_references(void **state) {
    (void)state;
    tparity untied;
    tparity_open(&untied, "tests/golden/qwen2_5_vl-untied", NULL, VLM_PRECISION_F32, 1);
    const tparity *const both[] = { &tiny, &untied };
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < tgolden_case_count(both[k]->golden); i++) {
            check_positions(both[k], tgolden_case_at(both[k]->golden, i), 0);
            check_positions(both[k], tgolden_case_at(both[k]->golden, i), 1000);
        }
    tparity_close(&untied);
}

/* ---- prepared inputs ------------------------------------------------------------------------- */
enum { IMAGE_ID = 548, VIDEO_ID = 549, TEXT_ID = 5, VALUES = 1176 };

/* An input as a file could hold it. */
typedef struct {
    const char *pixels, *grid;
    int64_t rows, values;
    int64_t grids[6];
    int64_t n_grids;
    uint32_t ids[24];
    size_t n_ids;
    float seconds;
    int64_t n_seconds; /* 0: there are none */
} lie;

static vlm_prepared *prepared_of(const lie *x) {
    vlm_prepared *p;
    void *data;
    assert_int_equal(vmodel_prepared_new(&p, NULL), VLM_OK);
    assert_int_equal(vmodel_prepared_set_ids(p, x->ids, x->n_ids, NULL), VLM_OK);
    const int64_t pixels[] = { x->rows, x->values }, grid[] = { x->n_grids, 3 };
    if (x->pixels)
        assert_int_equal(vlm_prepared_add(p, x->pixels, VLM_DTYPE_F32, 2, pixels, &data, NULL),
                         VLM_OK);
    if (x->grid) {
        assert_int_equal(vlm_prepared_add(p, x->grid, VLM_DTYPE_I64, 2, grid, &data, NULL), VLM_OK);
        memcpy(data, x->grids, (size_t)(3 * x->n_grids) * sizeof *x->grids);
    }
    if (x->n_seconds) {
        assert_int_equal(
            vlm_prepared_add(p, "second_per_grid_ts", VLM_DTYPE_F32, 1, &x->n_seconds, &data, NULL),
            VLM_OK);
        for (int64_t i = 0; i < x->n_seconds; i++) ((float *)data)[i] = x->seconds;
    }
    return p;
}

/* Positions alone, then features alone: each stands by itself. */
static vlm_status positions_of(const lie *x, vlm_error *err) {
    vlm_prepared *p = prepared_of(x);
    int32_t *at;
    int64_t next = 0;
    vlm_status status = vengine_positions(&at, &next, tiny.context, p, 0, err);
    if (status == VLM_OK) vcore_free(at);
    vlm_prepared_free(p);
    return status;
}

static vlm_status features_of(const lie *x, vlm_error *err) {
    vlm_prepared *p = prepared_of(x);
    vlm_frame *f;
    vlm_features out[VLM_MAX_FEATURES];
    assert_int_equal(vtensor_frame_new(&f, tiny.context->backend, tiny.context->mode, NULL),
                     VLM_OK);
    vtensor_frame_begin(f);
    tiny.context->model_type->features(f, tiny.context->model, p, out);
    vlm_status status = vtensor_frame_end(f, err);
    vtensor_frame_free(f);
    vlm_prepared_free(p);
    return status;
}

#define PICTURE .pixels = "pixel_values", .grid = "image_grid_thw", .rows = 8, .values = VALUES
#define TWO_TOKENS .ids = { TEXT_ID, IMAGE_ID, IMAGE_ID, TEXT_ID }, .n_ids = 4
static void lying_grids_are_errors(void **state) {
    (void)state;
    static const int64_t big = (int64_t)1 << 62, root = (int64_t)1 << 32;
    const lie lies[] = {
        { PICTURE, .grids = { -1, 2, 4 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, -2, -4 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 0, 2, 4 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, 0, 4 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, 1, 8 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, 2, 3 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, 2, 2 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, 2, 6 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, 2, 4, 1, 2, 2 }, .n_grids = 2, TWO_TOKENS },
        { PICTURE, .grids = { 1, root, root }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { big, 2, 2 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { 1, big, 4 }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .grids = { INT64_MIN, INT64_MIN, INT64_MIN }, .n_grids = 1, TWO_TOKENS },
        { PICTURE, .n_grids = 0, TWO_TOKENS },
        { .pixels = "pixel_values", .rows = 8, .values = VALUES, TWO_TOKENS },
        { .grid = "image_grid_thw", .grids = { 1, 2, 4 }, .n_grids = 1, TWO_TOKENS },
        { .pixels = "pixel_values_videos",
          .grid = "video_grid_thw",
          .rows = 8,
          .values = VALUES,
          .grids = { 3, 2, 2 },
          .n_grids = 1,
          TWO_TOKENS },
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        vlm_error first = VLM_ERROR_INIT, second = VLM_ERROR_INIT;
        if (positions_of(&lies[i], &first) != VLM_ERR_PROCESSING
            || features_of(&lies[i], &second) != VLM_ERR_PROCESSING
            || !(strstr(first.message, "_grid_thw") || strstr(first.message, "pixel_values")))
            fail_msg("lie %zu: %s / %s", i, first.message, second.message);
        assert_string_equal(first.message, second.message);
    }
    const lie narrow = { .pixels = "pixel_values",
                         .grid = "image_grid_thw",
                         .rows = 8,
                         .values = 10,
                         .grids = { 1, 2, 4 },
                         .n_grids = 1,
                         TWO_TOKENS };
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(features_of(&narrow, &err), VLM_ERR_PROCESSING);
    assert_non_null(strstr(err.message, "of 10 values"));
}

static void tokens_must_be_those_of_the_grids(void **state) {
    (void)state;
    const lie wrong[] = {
        { PICTURE, .grids = { 1, 2, 4 }, .n_grids = 1, .ids = { IMAGE_ID, TEXT_ID }, .n_ids = 2 },
        { PICTURE, .grids = { 1, 2, 4 }, .n_grids = 1, .ids = { IMAGE_ID, IMAGE_ID, IMAGE_ID },
          .n_ids = 3 },
        { PICTURE, .grids = { 1, 2, 4 }, .n_grids = 1,
          .ids = { IMAGE_ID, IMAGE_ID, TEXT_ID, IMAGE_ID, IMAGE_ID }, .n_ids = 5 },
        { PICTURE, .grids = { 1, 2, 2, 1, 2, 2 }, .n_grids = 2, .ids = { IMAGE_ID, IMAGE_ID },
          .n_ids = 2 },
        { PICTURE, .grids = { 1, 2, 4 }, .n_grids = 1, .ids = { VIDEO_ID, VIDEO_ID }, .n_ids = 2 },
        { .ids = { TEXT_ID, IMAGE_ID }, .n_ids = 2 },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        vlm_error err = VLM_ERROR_INIT;
        if (positions_of(&wrong[i], &err) != VLM_ERR_MEDIA_COUNT)
            fail_msg("%zu: %s", i, err.message);
    }
}

#define VIDEO                                                                                      \
    .pixels = "pixel_values_videos", .grid = "video_grid_thw", .rows = 12, .values = VALUES,       \
    .grids = { 3, 2, 2 }, .n_grids = 1, .ids = { TEXT_ID, VIDEO_ID, VIDEO_ID, VIDEO_ID, TEXT_ID }, \
    .n_ids = 5
static void seconds_are_checked(void **state) {
    (void)state;
    const lie wrong[] = {
        { VIDEO, .seconds = NAN, .n_seconds = 1 },      { VIDEO, .seconds = -1, .n_seconds = 1 },
        { VIDEO, .seconds = INFINITY, .n_seconds = 1 }, { VIDEO, .seconds = 1e30f, .n_seconds = 1 },
        { VIDEO, .seconds = 1, .n_seconds = 2 },
    };
    vlm_error err = VLM_ERROR_INIT;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(positions_of(&wrong[i], &err), VLM_ERR_PROCESSING);
        assert_non_null(strstr(err.message, "second_per_grid_ts"));
    }
    /* Two positions a second, 100.9 s cut to 100: text goes on behind the picture, what is
     * generated behind the last time. */
    const lie slow = { VIDEO, .seconds = 100.9f, .n_seconds = 1 };
    static const int32_t want[] = { 0, 1, 201, 401, 2, 0, 1, 1, 1, 2, 0, 1, 1, 1, 2 };
    vlm_prepared *p = prepared_of(&slow);
    int32_t *at;
    int64_t next = 0;
    assert_int_equal(vengine_positions(&at, &next, tiny.context, p, 0, &err), VLM_OK);
    assert_memory_equal(at, want, sizeof want);
    assert_int_equal(next, 402);
    vcore_free(at);
    vlm_prepared_free(p);
}

static void positions_end_somewhere(void **state) {
    (void)state;
    const lie plain = { .ids = { TEXT_ID, TEXT_ID }, .n_ids = 2 };
    vlm_prepared *p = prepared_of(&plain);
    vlm_error err = VLM_ERROR_INIT;
    int32_t *at;
    int64_t next = INT32_MAX - 1;
    assert_int_equal(vengine_positions(&at, &next, tiny.context, p, 10, &err), VLM_ERR_LIMIT);
    vlm_prepared_free(p);
    const lie far = { VIDEO, .seconds = 1 << 20, .n_seconds = 1 };
    p = prepared_of(&far);
    next = (1 << 30) - 100;
    assert_int_equal(vengine_positions(&at, &next, tiny.context, p, 10, &err), VLM_ERR_LIMIT);
    vlm_prepared_free(p);
}

/* ---- turns ----------------------------------------------------------------------------------- */
static vlm_prepared *turn(vlm_input *in, const char *role, const char *text) {
    vlm_prepared *prepared;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_input_add_message(in, role, text, &err), VLM_OK);
    if (vlm_prepare(&prepared, tiny.context, in, &err) < 0) fail_msg("%s", err.message);
    return prepared;
}

static vlm_session *session_of(void) {
    vlm_session *s;
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    options.max_tokens = 4;
    options.context = 512;
    options.ignore_eos = true;
    assert_int_equal(vlm_session_new(&s, tiny.context, &options, NULL), VLM_OK);
    return s;
}

/* The answer after a video whose times outrun the text stands behind the last time; quoted in the
 * next prompt it stands behind the text. A session that is synced to that prompt notices. */
static void synced_behind_a_long_video(void **state) {
    (void)state;
    vlm_input *in;
    vlm_error err = VLM_ERROR_INIT;
    uint32_t ids[4];
    char *answer;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_add_video_dir(in, "tests/data/pictures/frames-five", 0.02, &err),
                     VLM_OK);
    vlm_prepared *first = turn(in, "user", "What happens?");
    vlm_session *kept = session_of(), *fresh = session_of();
    assert_int_equal(vlm_session_feed(kept, first, &err), VLM_OK);
    assert_int_equal(tparity_generate(kept, ids, 4), 4);
    assert_int_equal(vlm_tokenizer_decode(&answer, tiny.context->tokenizer, ids, 4, 0, &err),
                     VLM_OK);
    vlm_prepared_free(turn(in, "assistant", answer));
    vlm_prepared *second = turn(in, "user", "And then?");
    assert_int_equal(vlm_session_sync(kept, second, &err), VLM_OK);
    assert_int_equal(vlm_session_feed(fresh, second, &err), VLM_OK);
    double error = tgolden_relative(vengine_session_logits(kept), vengine_session_logits(fresh),
                                    vlm_context_get_info(tiny.context)->vocab_size);
    if (!(error <= 1e-5)) fail_msg("relative error %.3g", error);
    vlm_string_free(answer);
    vlm_session_free(kept);
    vlm_session_free(fresh);
    vlm_prepared_free(first);
    vlm_prepared_free(second);
    vlm_input_free(in);
}

/* ---- configs --------------------------------------------------------------------------------- */
/* The tiny checkpoint with one key of config.json (or of its vision_config) changed. */
static vlm_status load_with(const char *part, const char *key, const char *value, vlm_error *err) {
    json_object *config = json_object_from_file("tests/golden/qwen2_5_vl-tied/config.json"),
                *object = config;
    if (part) assert_true(json_object_object_get_ex(config, part, &object));
    json_object_object_add(object, key, json_tokener_parse(value));
    char *path = tcheckpoint_path(tiny.dir, "config.json");
    assert_int_equal(json_object_to_file(path, config), 0);
    json_object_put(config);
    free(path);
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.threads = 1;
    vlm_context *context;
    vlm_status status = vlm_context_load(&context, tiny.dir, &options, err);
    vlm_context_free(context);
    return status;
}

static void configs_are_checked(void **state) {
    (void)state;
    static const char *const numbers[] = {
        "depth",       "hidden_size", "intermediate_size",   "out_hidden_size",    "num_heads",
        "in_channels", "patch_size",  "temporal_patch_size", "spatial_merge_size", "window_size",
    };
    static const char *const values[] = { "0",     "-1", "1e300", "9223372036854775807",
                                          "\"2\"", "[]", "true" };
    static const char *const others[][4] = {
        { "vision_config", "tokens_per_second", "-1", "tokens_per_second" },
        { "vision_config", "window_size", "27", "window_size: 27 is less than patch_size 14" },
        { "vision_config", "num_heads", "5", "num_heads" },
        { "vision_config", "num_heads", "8", "num_heads" }, /* heads of 6 have no four quarters */
        { "vision_config", "out_hidden_size", "65", "merger.mlp.2" },
        { "vision_config", "fullatt_block_indexes", "[-1]", "fullatt_block_indexes" },
        { "vision_config", "fullatt_block_indexes", "\"all\"", "fullatt_block_indexes" },
        { "vision_config", "hidden_act", "\"tanh\"", "hidden_act" },
        { "vision_config", "model_type", "5", "vision_config.model_type" },
        { NULL, "image_token_id", "-1", "image_token_id" },
        { NULL, "video_token_id", "548", "video_token_id: 548 is image_token_id" },
        { NULL, "rope_scaling", "{\"type\": \"mrope\", \"mrope_section\": [2, 3]}",
          "mrope_section" },
        { NULL, "rope_scaling", "{\"type\": \"mrope\", \"mrope_section\": [2, 3, 4]}",
          "mrope_section" },
        { NULL, "rope_scaling", "null", "mrope_section" },
        { NULL, "num_key_value_heads", "3", "num_attention_heads" },
        { NULL, "tie_word_embeddings", "3", "tie_word_embeddings" },
        { NULL, "text_config",
          "{\"model_type\": \"qwen2\", \"vocab_size\": 560, \"hidden_size\": 64, "
          "\"intermediate_size\": 96,"
          " \"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2}",
          "text_config.model_type" },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            vlm_error err = VLM_ERROR_INIT;
            vlm_status status = load_with("vision_config", numbers[i], values[k], &err);
            if (status != VLM_ERR_CONFIG || !strstr(err.message, numbers[i]))
                fail_msg("%s = %s: %s: %s", numbers[i], values[k], vlm_status_name(status),
                         err.message);
        }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        vlm_error err = VLM_ERROR_INIT;
        vlm_status status = load_with(others[i][0], others[i][1], others[i][2], &err);
        if (status >= 0 || !strstr(err.message, others[i][3]))
            fail_msg("%s = %s: %s: %s", others[i][1], others[i][2], vlm_status_name(status),
                     err.message);
    }
}

static int make(void **state) {
    (void)state;
    tparity_open(&tiny, "tests/golden/qwen2_5_vl-tied", NULL, VLM_PRECISION_F32, 1);
    return 0;
}

static int unmake(void **state) {
    (void)state;
    tparity_close(&tiny);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_smart_resizes),
        cmocka_unit_test(plans_have_limits),
        cmocka_unit_test(processor_configs_are_checked),
        cmocka_unit_test(positions_are_the_references),
        cmocka_unit_test(lying_grids_are_errors),
        cmocka_unit_test(tokens_must_be_those_of_the_grids),
        cmocka_unit_test(seconds_are_checked),
        cmocka_unit_test(positions_end_somewhere),
        cmocka_unit_test(synced_behind_a_long_video),
        cmocka_unit_test(configs_are_checked),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
