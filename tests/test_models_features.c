/* SPDX-License-Identifier: MIT */
/* Prepared inputs that do not fit an Idefics3 model: each is refused in words, by the model that
 * reads them. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/checkpoint.h"
#include "support/cm.h"

static vlm_context *context; /* views of 64 x 64, patches of 16, scale 2: 4 tokens a view */
enum { IMAGE_TOKEN = 520, SIDE = 64 };

/* Feeds ids with n image tokens and the given arrays. */
typedef struct {
    int image_tokens;
    int rank;
    int64_t shape[6];
    float value;   /* of every pixel */
    int mask_rank; /* 0: no mask */
    int64_t mask_shape[6];
    int64_t mask_value;
    vlm_dtype dtype;
} given;

static vlm_prepared *make(const given *g) {
    vlm_prepared *p;
    uint32_t ids[64] = { 1 };
    void *data;
    for (int i = 0; i < g->image_tokens; i++) ids[1 + i] = IMAGE_TOKEN;
    assert_int_equal(vmodel_prepared_new(&p, NULL), VLM_OK);
    assert_int_equal(vmodel_prepared_set_ids(p, ids, 1 + (size_t)g->image_tokens, NULL), VLM_OK);
    if (g->rank) {
        size_t n = 1;
        for (int i = 0; i < g->rank; i++) n *= (size_t)g->shape[i];
        assert_int_equal(
            vlm_prepared_add(p, "pixel_values", g->dtype, g->rank, g->shape, &data, NULL), VLM_OK);
        for (size_t i = 0; i < n && g->dtype == VLM_DTYPE_F32; i++) ((float *)data)[i] = g->value;
    }
    if (g->mask_rank) {
        size_t n = 1;
        for (int i = 0; i < g->mask_rank; i++) n *= (size_t)g->mask_shape[i];
        assert_int_equal(vlm_prepared_add(p, "pixel_attention_mask", VLM_DTYPE_I64, g->mask_rank,
                                          g->mask_shape, &data, NULL),
                         VLM_OK);
        for (size_t i = 0; i < n; i++) ((int64_t *)data)[i] = g->mask_value;
    }
    return p;
}

static vlm_status feed(const given *g, vlm_error *err) {
    vlm_session *session;
    vlm_prepared *p = make(g);
    assert_int_equal(vlm_session_new(&session, context, NULL, err), VLM_OK);
    vlm_status status = vlm_session_feed(session, p, err);
    vlm_session_free(session);
    vlm_prepared_free(p);
    return status;
}

static void misfits(void **state) {
    (void)state;
    static const struct {
        given g;
        vlm_status status;
        const char *says;
    } cases[] = {
        { { 4, 4, { 1, 3, SIDE, SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "rank 4" },
        { { 4, 5, { 1, 1, 3, SIDE, SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_I64 },
          VLM_ERR_PROCESSING,
          "I64" },
        { { 4, 5, { 1, 1, 4, SIDE, SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "4 in dimension 2" },
        { { 4, 5, { 1, 1, 3, SIDE, 32 }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "32 x 64" },
        { { 4, 5, { 1, 1, 3, 48, 48 }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "48 x 48" },
        { { 4, 5, { 1, 1, 3, 8, 8 }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 }, VLM_ERR_PROCESSING, "8 x 8" },
        { { 4, 5, { 1, 2, 3, SIDE, SIDE }, 0, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "nothing but zeros" },
        { { 4, 5, { 1, 0, 3, SIDE, SIDE }, 0, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "nothing but zeros" },
        { { 4, 5, { 1, 1, 3, SIDE, SIDE }, 1, 4, { 1, 1, SIDE, SIDE }, 0, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "padding altogether" },
        { { 4, 5, { 1, 1, 3, SIDE, SIDE }, 1, 4, { 1, 2, SIDE, SIDE }, 1, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "'pixel_attention_mask'" },
        { { 4, 5, { 1, 1, 3, SIDE, SIDE }, 1, 3, { 1, SIDE, SIDE }, 1, VLM_DTYPE_F32 },
          VLM_ERR_PROCESSING,
          "'pixel_attention_mask'" },
        { { 5, 5, { 1, 1, 3, SIDE, SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_MEDIA_COUNT,
          "5" },
        { { 0, 5, { 1, 1, 3, SIDE, SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
          VLM_ERR_MEDIA_COUNT,
          "0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vlm_error err = VLM_ERROR_INIT;
        vlm_status status = feed(&cases[i].g, &err);
        if (status != cases[i].status || !strstr(err.message, cases[i].says))
            fail_msg("case %zu: %s: %s", i, vlm_status_name(status), err.message);
    }
}

static void fits(void **state) {
    (void)state;
    static const given good[] = {
        { 4, 5, { 1, 1, 3, SIDE, SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
        { 4, 5, { 1, 1, 3, SIDE, SIDE }, 1, 4, { 1, 1, SIDE, SIDE }, 1, VLM_DTYPE_F32 },
        { 4, 5, { 1, 1, 3, 70, 70 }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 }, /* 6 pixels are left over */
        { 16, 5, { 1, 1, 3, 2 * SIDE, 2 * SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
        { 8, 5, { 2, 1, 3, SIDE, SIDE }, 1, 0, { 0 }, 0, VLM_DTYPE_F32 },
        { 0, 0, { 0 }, 0, 0, { 0 }, 0, VLM_DTYPE_F32 },
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        vlm_error err = VLM_ERROR_INIT;
        if (feed(&good[i], &err) < 0) fail_msg("case %zu: %s", i, err.message);
    }
}

static int load(void **state) {
    (void)state;
    char *dir = tcheckpoint_temp_dir();
    vlm_error err = VLM_ERROR_INIT;
    if (!dir || !tcheckpoint_write("tests/golden/idefics3-split", dir, NULL)) return -1;
    vlm_status status = vlm_context_load(&context, dir, NULL, &err);
    if (status < 0) fprintf(stderr, "%s\n", err.message);
    tcheckpoint_remove(dir);
    free(dir);
    return status;
}

static int unload(void **state) {
    (void)state;
    vlm_context_free(context);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(misfits), cmocka_unit_test(fits) };
    return cmocka_run_group_tests(tests, load, unload);
}
