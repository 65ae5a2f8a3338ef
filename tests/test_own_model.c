/* SPDX-License-Identifier: MIT */
/* A working VLM outside the library: examples/own_model, written with vlm/extend.h alone and linked with the shared
 * library, answers what transformers answers for the same checkpoint and pictures. */
#include <stdio.h>
#include <stdlib.h>

#include "deepseek_vl.h"
#include "support/cm.h"
#include "support/parity.h"
#include "support/process.h"

#define GOLDEN "examples/own_model/golden"
#define PICTURES "tests/data/pictures/"

static tparity p;

static int make(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    vlm_model_registry *models;
    vlm_processor_registry *processors;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    p.golden = tgolden_open(GOLDEN);
    p.dir = tcheckpoint_temp_dir();
    if (!p.golden || !tcheckpoint_write(GOLDEN, p.dir, NULL)
        || vlm_model_registry_with(&models, NULL, (const vlm_model_type *const[]) { &deepseek_vl_model }, 1, &err) < 0
        || vlm_processor_registry_with(&processors, NULL,
                                       (const vlm_processor_type *const[]) { &deepseek_vl_processor }, 1, &err) < 0)
        return -1;
    o.models = models, o.processors = processors, o.threads = 1, o.precision = VLM_PRECISION_F32;
    vlm_status status = vlm_context_load(&p.context, p.dir, &o, &err);
    if (status < 0) fprintf(stderr, "%s\n", err.message);
    vlm_model_registry_free(models);
    vlm_processor_registry_free(processors);
    return status < 0 ? -1 : 0;
}

static int unmake(void **state) {
    (void)state;
    tparity_close(&p);
    return 0;
}

static void its_processor_gives_what_the_reference_gives(void **state) {
    (void)state;
    for (size_t i = 0; i < tgolden_case_count(p.golden); i++)
        tparity_check_processor(&p, tgolden_case_at(p.golden, i));
}

static void its_seams_and_tokens_are_the_references(void **state) {
    (void)state;
    tparity_errors errors = { 0 };
    for (size_t i = 0; i < tgolden_case_count(p.golden); i++) {
        tparity_check_seams(&p, tgolden_case_at(p.golden, i), &errors);
        tparity_check_greedy(&p, tgolden_case_at(p.golden, i), &errors);
    }
    assert_true(errors.greedy_tokens >= 150);
}

/* The program, as a user builds it: it prints the ids of its answer. */
static void the_program_answers_the_golden(void **state) {
    (void)state;
    static const struct {
        const char *name, *question, *pictures[3];
    } cases[] = {
        { "text", "Who are you?", { NULL } },
        { "square", "What is shown in this image?", { PICTURES "square.png" } },
        { "landscape", "Describe the picture.", { PICTURES "landscape.jpg" } },
        { "several", "Compare the two images, then explain.", { PICTURES "photo.jpg", PICTURES "palette.png" } },
    };
    char program[512];
    const char *build = getenv("VLM_BUILD_DIR");
    snprintf(program, sizeof program, "%s/examples/example_own_model", build ? build : "build");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *argv[8] = { program, p.dir, cases[i].question, cases[i].pictures[0], cases[i].pictures[1] };
        const tgolden_case *of = tgolden_case_named(p.golden, cases[i].name);
        assert_non_null(of);
        assert_int_equal(of->picture_count, (argv[3] != NULL) + (argv[4] != NULL));
        const tgolden_tensor *tokens = tgolden_find(p.golden, of, "greedy.tokens");
        assert_int_equal(tokens->count, 32);
        tprocess run = tprocess_run(argv, NULL);
        if (run.status != 0) fail_msg("%s: %s", cases[i].name, run.err);
        char *at = run.out;
        for (size_t k = 0; k < 32; k++) {
            long id = strtol(at, &at, 10);
            if (id != ((const int64_t *)tokens->data)[k]) fail_msg("%s: token %zu: %ld", cases[i].name, k, id);
        }
        assert_int_equal(strncmp(at, " \n", 2), 0);
        assert_non_null(strstr(run.err, "a picture is 25 tokens"));
        tprocess_free(&run);
    }
}

static void its_rows_are_the_tags(void **state) {
    (void)state;
    const void *model = vlm_context_model(p.context, &deepseek_vl_model);
    assert_non_null(model);
    assert_int_equal(deepseek_vl_picture_tokens(model), 25);
    assert_non_null(vlm_context_processor(p.context, &deepseek_vl_processor));
    const vlm_image_processor_config *image = vlm_context_image_processor_config(p.context);
    assert_int_equal(image->size.width, 70);
    assert_float_equal(image->std[1], 0.25, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_processor_gives_what_the_reference_gives),
        cmocka_unit_test(its_seams_and_tokens_are_the_references),
        cmocka_unit_test(the_program_answers_the_golden),
        cmocka_unit_test(its_rows_are_the_tags),
    };
    return cmocka_run_group_tests_name("own model", tests, make, unmake);
}
