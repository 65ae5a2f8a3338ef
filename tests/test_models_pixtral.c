/* SPDX-License-Identifier: MIT */
/* Pixtral is a LLaVA model to transformers and a type of its own to MLX: both give the same bits. Sizes that a prepared
 * input may not have are refused. */
#include <stdlib.h>
#include <string.h>

#include "support/cm.h"
#include "support/edit.h"
#include "support/parity.h"
#include "vlm/extend.h"

#define GOLDEN "tests/golden/pixtral-llava"
static const tcheckpoint_options mlx = { TCHECKPOINT_MLX, TCHECKPOINT_BF16, 1 };

static void set_type(tparity *p, const char *json) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    size_t n;
    char *text = tedit_read(p->dir, "config.json", &n), *edited = tedit_set(text, "model_type", json);
    assert_non_null(edited);
    assert_true(tedit_write(p->dir, "config.json", edited, strlen(edited)));
    free(text);
    free(edited);
    vlm_context_free(p->context);
    options.precision = VLM_PRECISION_F32;
    if (vlm_context_load(&p->context, p->dir, &options, &err) < 0) fail_msg("%s", err.message);
}

static float *logits_of(tparity *p, size_t *count) {
    vlm_prepared *prepared = tparity_prepare(p, tgolden_case_named(p->golden, "several"));
    char *path = tparity_dump(p, prepared, VLM_STAGE_LOGITS);
    float *logits = tparity_read(path, "logits", count, NULL);
    vlm_prepared_free(prepared);
    free(path);
    return logits;
}

static void mlx_type_gives_the_same_bits(void **state) {
    (void)state;
    tparity p;
    size_t n, other_n;
    tparity_open(&p, GOLDEN, &mlx, VLM_PRECISION_F32, 1);
    float *llava = logits_of(&p, &n);
    set_type(&p, "\"pixtral\"");
    assert_string_equal(vlm_context_get_info(p.context)->model_type, "pixtral");
    float *pixtral = logits_of(&p, &other_n);
    assert_int_equal(n, other_n);
    assert_memory_equal(llava, pixtral, n * sizeof *llava);
    free(llava);
    free(pixtral);
    tparity_close(&p);
}

static void sizes_without_a_place_are_refused(void **state) {
    (void)state;
    static const int64_t sizes[][2] = { { 0, 12 }, { 12, 11 }, { 1000, 12 }, { 12, -24 }, { INT64_MIN, INT64_MAX } };
    tparity p;
    tparity_open(&p, GOLDEN, &mlx, VLM_PRECISION_F32, 1);
    for (int type = 0; type < 2; type++) {
        if (type) set_type(&p, "\"pixtral\"");
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            vlm_error err = VLM_ERROR_INIT;
            vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "small"));
            const vlm_array *given = vlm_prepared_find(prepared, "image_sizes");
            memcpy(given->data, sizes[i], sizeof sizes[i]);
            char *path = tcheckpoint_path(p.dir, "dump.bin");
            assert_int_equal(vlm_dump_stage(p.context, prepared, VLM_STAGE_LOGITS, path, &err), VLM_ERR_PROCESSING);
            assert_non_null(strstr(err.message, "has no place"));
            free(path);
            vlm_prepared_free(prepared);
        }
    }
    tparity_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlx_type_gives_the_same_bits),
        cmocka_unit_test(sizes_without_a_place_are_refused),
    };
    return cmocka_run_group_tests_name("Pixtral", tests, NULL, NULL);
}
