/* SPDX-License-Identifier: MIT */
/* Every golden directory against the reference, as a user would load it. For each: processor outputs
 * identical, seams within their bounds, greedy tokens equal, in exact mode; then the same checkpoint in every naming convention, dtype
 * and in shards; then the fast mode. */
#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "support/cm.h"
#include "support/parity.h"

static char *dirs[64];
static size_t n_dirs;

static void each_case(const tparity *p, void (*check)(const tparity *, const tgolden_case *)) {
    for (size_t i = 0; i < tgolden_case_count(p->golden); i++) check(p, tgolden_case_at(p->golden, i));
}

static void processor_outputs_are_identical(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    each_case(&p, tparity_check_processor);
    tparity_close(&p);
}

static void seams_and_greedy_match_in_exact_mode(void **state) {
    tparity p;
    tparity_errors errors = { 0 };
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    for (size_t i = 0; i < tgolden_case_count(p.golden); i++) {
        tparity_check_seams(&p, tgolden_case_at(p.golden, i), &errors);
        tparity_check_greedy(&p, tgolden_case_at(p.golden, i), &errors);
    }
    print_message("%s: %d cases, features %.2g, layers %.2g, logits %.2g, %d greedy tokens\n",
                  (const char *)*state, errors.cases, errors.features, errors.layers, errors.logits,
                  errors.greedy_tokens);
    tparity_close(&p);
}

/* Logits of a case that has a picture, as bytes. */
static float *logits_of(const char *golden, const tcheckpoint_options *names, int threads, size_t *count) {
    tparity p;
    tparity_open(&p, golden, names, VLM_PRECISION_F32, threads);
    const tgolden_case *of = tgolden_case_named(p.golden, "landscape");
    assert_non_null(of);
    vlm_prepared *prepared = tparity_prepare(&p, of);
    char *path = tparity_dump(&p, prepared, VLM_STAGE_LOGITS);
    float *logits = tparity_read(path, "logits", count, NULL);
    free(path);
    vlm_prepared_free(prepared);
    tparity_close(&p);
    return logits;
}

/* Whether published files have some matrices [in, out]: their sums are of another order, which rounds otherwise. */
static bool has_turned_matrices(const char *golden) {
    char *path = tcheckpoint_path(golden, "weights.json");
    struct json_object *weights = json_object_from_file(path);
    assert_non_null(weights);
    bool found = strstr(json_object_to_json_string(weights), "hf_old_axes") != NULL;
    json_object_put(weights);
    free(path);
    return found;
}

static void names_layouts_dtypes_shards_and_threads_give_the_same_bits(void **state) {
    size_t count, other_count;
    float *first = logits_of(*state, NULL, 2, &count);
    const bool turned = has_turned_matrices(*state);
    static const struct {
        tcheckpoint_options how;
        int threads;
    } variants[] = {
        { { TCHECKPOINT_HF_OLD, TCHECKPOINT_F32, 1 }, 2 },
        { { TCHECKPOINT_CANONICAL, TCHECKPOINT_F32, 2 }, 2 },
        { { TCHECKPOINT_MLX, TCHECKPOINT_F32, 1 }, 2 },
        { { TCHECKPOINT_HF, TCHECKPOINT_F32, 3 }, 1 },
        { { TCHECKPOINT_HF, TCHECKPOINT_F32, 1 }, 3 },
        { { TCHECKPOINT_HF, TCHECKPOINT_BF16, 1 }, 2 },
        { { TCHECKPOINT_HF_OLD, TCHECKPOINT_F16, 2 }, 2 },
        { { TCHECKPOINT_MLX, TCHECKPOINT_BF16, 2 }, 2 },
    };
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        float *other = logits_of(*state, &variants[i].how, variants[i].threads, &other_count);
        assert_int_equal(other_count, count);
        bool rounds = turned && variants[i].how.names == TCHECKPOINT_HF_OLD && tgolden_relative(other, first, count) < 2e-6;
        if (memcmp(first, other, count * sizeof *first) && !rounds)
            fail_msg("%s: variant %zu differs: relative error %.3g", (const char *)*state, i,
                     tgolden_relative(other, first, count));
        free(other);
    }
    free(first);
}

static void fast_mode_stays_as_close_as_the_references_own(void **state) {
    tparity p;
    const tcheckpoint_options bf16 = { .dtype = TCHECKPOINT_BF16 };
    tparity_open(&p, *state, &bf16, VLM_PRECISION_AUTO, 2);
    double worst = 0;
    for (size_t i = 0; i < tgolden_case_count(p.golden); i++) {
        const tgolden_case *of = tgolden_case_at(p.golden, i);
        vlm_prepared *prepared = tparity_prepare(&p, of);
        char *path = tparity_dump(&p, prepared, VLM_STAGE_LOGITS);
        size_t want_n, got_n;
        const float *want = tgolden_f32(p.golden, of, "logits", &want_n);
        float *got = tparity_read(path, "logits", &got_n, NULL);
        double error = tgolden_relative(got + (got_n - want_n), want, want_n);
        double allowed = of->bf16_logits_error * 1.5 > 1e-2 ? of->bf16_logits_error * 1.5 : 1e-2;
        if (!(error <= allowed)) fail_msg("%s: logits: relative error %.3g, allowed %.3g", of->name, error, allowed);
        if (error / of->bf16_logits_error > worst) worst = error / of->bf16_logits_error;
        free(got);
        free(path);
        vlm_prepared_free(prepared);
    }
    print_message("%s: fast mode: at most %.2f of the error of the reference's own bfloat16 run\n",
                  (const char *)*state, worst);
    tparity_close(&p);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether a directory is a golden of a model type that is built in. */
static bool is_golden(const char *dir) {
    char *path = tcheckpoint_path(dir, "config.json");
    struct json_object *config = access(path, R_OK) == 0 ? json_object_from_file(path) : NULL, *type;
    bool found = config && json_object_object_get_ex(config, "model_type", &type)
                 && vlm_model_registry_find(vlm_model_registry_default(), json_object_get_string(type));
    json_object_put(config);
    free(path);
    return found;
}

static void find_dirs(void) {
    DIR *golden = opendir("tests/golden");
    struct dirent *e;
    while (golden && (e = readdir(golden)) && n_dirs < 64) {
        char *dir = tcheckpoint_path("tests/golden", e->d_name);
        if (is_golden(dir))
            dirs[n_dirs++] = dir;
        else
            free(dir);
    }
    if (golden) closedir(golden);
    qsort(dirs, n_dirs, sizeof dirs[0], by_name);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } checks[] = {
        { "processor outputs are identical", processor_outputs_are_identical },
        { "seams and greedy match in exact mode", seams_and_greedy_match_in_exact_mode },
        { "names, layouts, dtypes, shards and threads give the same bits",
          names_layouts_dtypes_shards_and_threads_give_the_same_bits },
        { "fast mode stays as close as the reference's own", fast_mode_stays_as_close_as_the_references_own },
    };
    enum { N_CHECKS = sizeof checks / sizeof checks[0] };
    find_dirs();
    if (n_dirs == 0) return 1;
    struct CMUnitTest tests[64 * N_CHECKS];
    char names[64 * N_CHECKS][160];
    size_t n = 0;
    for (size_t d = 0; d < n_dirs; d++) {
        if (argc > 1 && !strstr(dirs[d], argv[1])) continue;
        for (size_t c = 0; c < N_CHECKS; c++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", dirs[d], checks[c].name);
            tests[n] = (struct CMUnitTest) { names[n], checks[c].run, NULL, NULL, dirs[d] };
        }
    }
    int failed = _cmocka_run_group_tests("parity", tests, n, NULL, NULL);
    for (size_t d = 0; d < n_dirs; d++) free(dirs[d]);
    return failed;
}
