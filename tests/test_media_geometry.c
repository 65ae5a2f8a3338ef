/* SPDX-License-Identifier: MIT */
/* Plans from sizes: each rule over the pictures of tests/data/plans/sizes.txt against what
 * transformers' own methods say (tools/golden/plans.py), what they refuse included; and rules that
 * make no sense. */
#include <stdio.h>
#include <stdlib.h>

#include "support/cm.h"
#include "vlm/extend/geometry.h"

enum { MOST = 10 };
/* The numbers of a plan, in the order of the golden's columns; how many, or -1 when it is refused.
 */
typedef struct numbers {
    int n;
    int64_t at[MOST];
} numbers;

static numbers of(vlm_status status, int n, ...) {
    numbers out = { status < 0 ? -1 : n, { 0 } };
    va_list values;
    va_start(values, n);
    for (int i = 0; i < n; i++) out.at[i] = va_arg(values, long long);
    va_end(values);
    return out;
}
#define LL(x) ((long long)(x))
#define SIZE(s) LL((s).width), LL((s).height)
#define GRID(g) LL((g).columns), LL((g).rows)

/* One function per kind of golden; the rule is the parameter. */
static numbers clip(vlm_size size, const void *rule, vlm_error *err) {
    vlm_size s;
    vlm_status status = vlm_resize_shortest_edge(&s, size, *(const uint32_t *)rule, err);
    return of(status, 2, SIZE(s));
}

static numbers edges(vlm_size size, const void *rule, vlm_error *err) {
    const vlm_size *edge = rule;
    vlm_size s;
    vlm_status status = vlm_resize_edges(&s, size, edge->width, edge->height, err);
    return of(status, 2, SIZE(s));
}

static numbers into(vlm_size size, const void *rule, vlm_error *err) {
    vlm_size s;
    vlm_status status = vlm_resize_into(&s, size, *(const vlm_size *)rule, err);
    return of(status, 2, SIZE(s));
}

static numbers pixtral(vlm_size size, const void *rule, vlm_error *err) {
    const uint32_t *r = rule;
    vlm_size s;
    vlm_grid g;
    vlm_status status =
        vlm_resize_pixtral(&s, &g, size, (vlm_size) { r[0], r[0] }, (vlm_size) { r[1], r[1] }, err);
    return of(status, 4, SIZE(s), GRID(g));
}

static numbers naflex(vlm_size size, const void *rule, vlm_error *err) {
    const uint32_t *r = rule;
    vlm_size s;
    vlm_status status = vlm_resize_naflex(&s, size, r[0], r[1], err);
    return of(status, 2, SIZE(s));
}

static numbers gemma4(vlm_size size, const void *rule, vlm_error *err) {
    vlm_size s;
    vlm_status status = vlm_resize_gemma4(&s, size, 16, *(const uint32_t *)rule * 9, 3, err);
    return of(status, 2, SIZE(s));
}

static numbers muse_glimmer(vlm_size size, const void *rule, vlm_error *err) {
    vlm_size s;
    vlm_status status = vlm_resize_muse_glimmer(&s, size, 28, *(const uint32_t *)rule, err);
    return of(status, 2, SIZE(s));
}

static numbers smart(vlm_size size, const void *rule, vlm_error *err) {
    vlm_size s;
    vlm_status status = vlm_smart_resize(&s, size, rule, err);
    return of(status, 2, SIZE(s));
}

typedef struct clip_rule {
    int64_t frames;
    vlm_smart_resize_rule rule;
} clip_rule;

static numbers smart_frames(vlm_size size, const void *rule, vlm_error *err) {
    const clip_rule *r = rule;
    vlm_size s;
    vlm_status status = vlm_smart_resize_frames(&s, size, r->frames, 2, &r->rule, err);
    return of(status, 2, SIZE(s));
}

static numbers splits(vlm_size size, const void *rule, vlm_error *err) {
    vlm_split_plan p;
    vlm_status status = vlm_plan_splits(&p, size, rule, err);
    return of(status, 7, SIZE(p.first), SIZE(p.second), GRID(p.tiles), LL(p.views));
}

static numbers anyres(vlm_size size, const void *rule, vlm_error *err) {
    vlm_anyres_plan p;
    vlm_status status = vlm_plan_anyres(&p, size, rule, err);
    return of(status, 10, SIZE(p.canvas), SIZE(p.resized), LL(p.x), LL(p.y),
              LL(p.tiles.columns * p.tiles.rows), GRID(p.patches), LL(p.tokens));
}

static numbers tiles(vlm_size size, const void *rule, vlm_error *err) {
    vlm_tile_plan p;
    vlm_status status = vlm_plan_tiles(&p, size, rule, err);
    return of(status, 3, SIZE(p.resized), LL(p.views));
}

static numbers ocr(vlm_size size, const void *rule, vlm_error *err) {
    vlm_ocr_plan p;
    vlm_status status = vlm_plan_ocr(&p, size, rule, err);
    return of(status, 5, SIZE(p.resized), LL(p.tiles.columns * p.tiles.rows), SIZE(p.whole));
}

static numbers lfm2(vlm_size size, const void *rule, vlm_error *err) {
    vlm_lfm2_plan p;
    vlm_status status = vlm_plan_lfm2(&p, size, rule, err);
    return of(status, 5, SIZE(p.whole), GRID(p.tiles), LL(p.tokens));
}

static numbers pan_and_scan(vlm_size size, const void *rule, vlm_error *err) {
    vlm_pan_and_scan_plan p;
    vlm_status status = vlm_plan_pan_and_scan(&p, size, rule, err);
    uint32_t n = p.crops.columns * p.crops.rows;
    vlm_rect first = vlm_pan_and_scan_crop(&p, size, 0),
             last = vlm_pan_and_scan_crop(&p, size, n - 1);
    return of(status, n ? 5 : 1, LL(n), SIZE(first), SIZE(last));
}

static numbers in_square(vlm_size size, const void *rule, vlm_error *err) {
    (void)rule, (void)err;
    vlm_rect at = vlm_rect_in_square(size);
    long long side = size.width > size.height ? size.width : size.height;
    return of(VLM_OK, 4, side, side, LL(at.x), LL(at.y));
}

/* ---- the rules ------------------------------------------------------------------------------- */
#define MEGA (1024 * 1024)
#define SMART(f, least, most)                                                                      \
    &(const vlm_smart_resize_rule) {                                                               \
        f, least, most, 200, false                                                                 \
    }
#define CLIP(n, f, least, most)                                                                    \
    &(const clip_rule) {                                                                           \
        n, {                                                                                       \
            f, least, most, 200, false                                                             \
        }                                                                                          \
    }
#define SPLITS(edge, view)                                                                         \
    &(const vlm_split_rule) {                                                                      \
        true, true, edge, { 0, 0 }, view                                                           \
    }
#define TILES(least, most)                                                                         \
    &(const vlm_tile_rule) {                                                                       \
        { 448, 448 }, least, most, true                                                            \
    }
#define U32(...)                                                                                   \
    (const uint32_t[]) {                                                                           \
        __VA_ARGS__                                                                                \
    }
static const vlm_size pinpoints[] = {
    { 672, 336 }, { 336, 672 }, { 672, 672 }, { 336, 1008 }, { 1008, 336 }
};
static const vlm_anyres_rule llava_next = { pinpoints, 5, 336, 14 };
static const vlm_lfm2_rule lfm2_vl = { 16, 2, 512, 64, 256, 2, 10, true, true, 2 };
static const vlm_lfm2_rule lfm2_vl_whole = { 16, 2, 512, 64, 256, 1, 1, false, true, 2 };
static const vlm_lfm2_rule lfm2_vl_4 = { 16, 2, 512, 64, 256, 1, 4, true, false, 2 };

static const struct golden {
    const char *name;
    numbers (*plan)(vlm_size, const void *, vlm_error *);
    const void *rule;
} goldens[] = {
    { "clip", clip, U32(224) },
    { "edges", edges, &(const vlm_size) { 800, 1333 } },
    { "into", into, &(const vlm_size) { 1000, 600 } },
    { "pixtral", pixtral, U32(1024, 16) },
    { "mistral3", pixtral, U32(1540, 28) },
    { "siglip2", naflex, U32(16, 256) },
    { "siglip2-14", naflex, U32(14, 729) },
    { "gemma4", gemma4, U32(280) },
    { "gemma4-70", gemma4, U32(70) },
    { "muse_glimmer", muse_glimmer, U32(4096) },
    { "muse_glimmer-64", muse_glimmer, U32(64) },
    { "qwen2_vl", smart, SMART(28, 56 * 56, 28 * 28 * 1280) },
    { "qwen3_vl", smart, SMART(32, 65536, 16 * MEGA) },
    { "glm_ocr", smart_frames, CLIP(2, 28, 112 * 112, 28 * 28 * 15000) },
    { "qwen2_5_vl-video", smart, SMART(28, 128 * 28 * 28, 768 * 28 * 28) },
    { "qwen3_vl-video-3", smart_frames, CLIP(3, 32, 128 * 32 * 32, 768 * 32 * 32) },
    { "qwen3_vl-video-16", smart_frames, CLIP(16, 32, 4096, 25165824) },
    { "idefics3", splits, SPLITS(1456, 364) },
    { "smolvlm", splits, SPLITS(2048, 512) },
    { "llava_next", anyres, &llava_next },
    { "internvl", tiles, TILES(1, 12) },
    { "internvl-6", tiles, TILES(3, 6) },
    { "deepseek_ocr2", ocr, &(const vlm_ocr_rule) { 1024, 768, 2, 6, true } },
    { "lfm2_vl", lfm2, &lfm2_vl },
    { "lfm2_vl-whole", lfm2, &lfm2_vl_whole },
    { "lfm2_vl-4", lfm2, &lfm2_vl_4 },
    { "gemma3", pan_and_scan, &(const vlm_pan_and_scan_rule) { 256, 4, 1.2 } },
    { "gemma3-small", pan_and_scan, &(const vlm_pan_and_scan_rule) { 2, 7, 1.0 } },
    { "fastvlm", in_square, NULL },
};
enum { GOLDENS = sizeof goldens / sizeof goldens[0] };

static FILE *opened(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "tests/data/plans/%s.txt", name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s is missing", path);
    return f;
}

static void check(const struct golden *g, vlm_size size, char *line) {
    vlm_error err = VLM_ERROR_INIT;
    numbers got = g->plan(size, g->rule, &err);
    if (line[0] == 'x') {
        if (got.n >= 0) fail_msg("%s: %u x %u is not refused", g->name, size.width, size.height);
        assert_int_equal(err.code, VLM_ERR_IMAGE_PROCESSING);
        assert_true(err.message[0] != 0);
        return;
    }
    if (got.n < 0) fail_msg("%s: %u x %u: %s", g->name, size.width, size.height, err.message);
    int n = 0;
    for (char *end; *line && *line != '\n'; line = end, n++) {
        int64_t want = strtoll(line, &end, 10);
        if (n >= got.n || got.at[n] != want)
            fail_msg("%s: %u x %u: number %d is %lld, the reference's %lld", g->name, size.width,
                     size.height, n, n < got.n ? LL(got.at[n]) : -1, LL(want));
    }
    assert_int_equal(n, got.n);
}

static void plans_are_the_reference_s(void **state) {
    const struct golden *g = *state;
    FILE *sizes = opened("sizes"), *rows = opened(g->name);
    vlm_size size;
    char line[256];
    int checked = 0;
    while (fscanf(sizes, "%u %u", &size.width, &size.height) == 2) {
        assert_non_null(fgets(line, sizeof line, rows));
        if (line[0] == '-') continue;
        check(g, size, line);
        checked++;
    }
    fclose(rows);
    fclose(sizes);
    assert_true(checked >= 400);
}

/* ---- errors ---------------------------------------------------------------------------------- */
static void no_picture_has_no_plan(void **state) {
    (void)state;
    for (size_t i = 0; i + 1 < GOLDENS; i++) { /* all but the padding, which cannot fail */
        for (int k = 0; k < 3; k++) {
            vlm_size size = { k == 1 ? 5 : 0, k == 2 ? 5 : 0 };
            vlm_error err = VLM_ERROR_INIT;
            assert_int_equal(goldens[i].plan(size, goldens[i].rule, &err).n, -1);
            assert_int_equal(err.code, VLM_ERR_IMAGE_PROCESSING);
        }
    }
}

static const struct golden bad[] = {
    { "clip", clip, U32(0) },
    { "edges", edges, &(const vlm_size) { 800, 0 } },
    { "into", into, &(const vlm_size) { 0, 600 } },
    { "pixtral", pixtral, U32(0, 16) },
    { "pixtral", pixtral, U32(1024, 0) },
    { "siglip2", naflex, U32(0, 256) },
    { "siglip2", naflex, U32(16, 0) },
    { "muse_glimmer", muse_glimmer, U32(0) },
    { "smart", smart, SMART(0, 1, 1) },
    { "smart", smart, SMART(28, 1, 0) },
    { "splits", splits, SPLITS(1456, 0) },
    { "anyres", anyres, &(const vlm_anyres_rule) { pinpoints, 0, 336, 14 } },
    { "anyres", anyres, &(const vlm_anyres_rule) { pinpoints, 5, 335, 14 } },
    { "anyres", anyres, &(const vlm_anyres_rule) { pinpoints, 5, 336, 0 } },
    { "tiles", tiles, &(const vlm_tile_rule) { { 0, 448 }, 1, 12, true } },
    { "lfm2", lfm2, &(const vlm_lfm2_rule) { 0, 2, 512, 64, 256, 2, 10, true, true, 2 } },
    { "lfm2", lfm2, &(const vlm_lfm2_rule) { 16, 0, 512, 64, 256, 2, 10, true, true, 2 } },
    { "lfm2", lfm2, &(const vlm_lfm2_rule) { 16, 2, 512, 64, 256, 5, 4, true, true, 2 } },
    { "lfm2", lfm2, &(const vlm_lfm2_rule) { 1, 1, UINT32_MAX, 64, 256, 2, 10, true, true, 2 } },
    { "lfm2", lfm2, &(const vlm_lfm2_rule) { 16, 2, 512, 64, UINT32_MAX, 2, 10, true, true, 2 } },
    { "pan", pan_and_scan, &(const vlm_pan_and_scan_rule) { 0, 4, 1.2 } },
    { "pan", pan_and_scan, &(const vlm_pan_and_scan_rule) { 256, 0, 1.2 } },
};

static void rules_without_sense(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        vlm_error err = VLM_ERROR_INIT;
        if (bad[i].plan((vlm_size) { 640, 480 }, bad[i].rule, &err).n != -1)
            fail_msg("%s, bad rule %zu is taken", bad[i].name, i);
        assert_int_equal(err.code, VLM_ERR_CONFIG);
    }
}

static void what_is_too_much(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    vlm_size s;
    vlm_grid g;
    const vlm_size thin = { 1, UINT32_MAX };
    assert_int_equal(vlm_resize_shortest_edge(&s, thin, 1 << 20, &err), VLM_ERR_IMAGE_PROCESSING);
    assert_int_equal(s.width, 0);
    assert_int_equal(vlm_closest_grid(&g, thin, (vlm_size) { 1, 1 }, 1, 1025, &err), VLM_ERR_LIMIT);
    assert_int_equal(vlm_closest_grid(&g, thin, (vlm_size) { 1, 1 }, 1, 1024, &err), VLM_OK);
    assert_int_equal(g.rows, 1024);
    vlm_split_plan split;
    const vlm_split_rule wide = { .max_image_size = UINT32_MAX };
    assert_int_equal(vlm_plan_splits(&split, (vlm_size) { 9, 9 }, &wide, &err),
                     VLM_ERR_IMAGE_PROCESSING);
    assert_int_equal(split.views, 0);
    const vlm_smart_resize_rule rule = { 28, 1, UINT64_MAX, 0, false };
    assert_int_equal(vlm_smart_resize_frames(&s, (vlm_size) { 9, 9 }, 1, 2, &rule, &err),
                     VLM_ERR_VIDEO_PROCESSING);
    assert_int_equal(vlm_smart_resize(&s, (vlm_size) { UINT32_MAX, 60 }, &rule, NULL),
                     VLM_ERR_IMAGE_PROCESSING);
}

int main(void) {
    struct CMUnitTest tests[GOLDENS + 3] = {
        cmocka_unit_test(no_picture_has_no_plan),
        cmocka_unit_test(rules_without_sense),
        cmocka_unit_test(what_is_too_much),
    };
    for (size_t i = 0; i < GOLDENS; i++)
        tests[3 + i] = (struct CMUnitTest) { goldens[i].name, plans_are_the_reference_s, NULL, NULL,
                                             (void *)&goldens[i] };
    return cmocka_run_group_tests_name("plans", tests, NULL, NULL);
}
