/* SPDX-License-Identifier: MIT */
/* See parity.h. */
#include "support/parity.h"

#include <stdio.h>
#include <stdlib.h>

#include "support/cm.h"

enum { STEPS = 32 };

/* ---- the processor -------------------------------------------------------------------------------------- */
static void check_ids(const tgolden *g, const tgolden_case *c, const vlm_prepared *p) {
    size_t n, count;
    const uint32_t *ids = vlm_prepared_ids(p, &n);
    const int64_t *want = tgolden_i64(g, c, "input_ids", &count);
    assert_non_null(want);
    if (n != count) fail_msg("%s: %zu ids, the reference has %zu", c->name, n, count);
    for (size_t i = 0; i < n; i++)
        if (ids[i] != want[i])
            fail_msg("%s: id %zu is %u, the reference's is %lld", c->name, i, ids[i],
                     (long long)want[i]);
    size_t media;
    vlm_prepared_tokens(p, &media);
    if (c->text) assert_int_equal(media, c->image_tokens);
}

static void check_array(const tgolden_case *c, const tgolden_output *want, const vlm_prepared *p) {
    const vlm_array *a = vlm_prepared_find(p, want->name);
    if (!a) fail_msg("%s: there is no %s", c->name, want->name);
    size_t bytes = vtensor_dtype_size(a->dtype);
    assert_int_equal(a->rank, want->rank);
    for (int i = 0; i < a->rank; i++) {
        if (a->shape[i] != want->shape[i])
            fail_msg("%s: %s has %lld in dimension %d, the reference %lld", c->name, a->name,
                     (long long)a->shape[i], i, (long long)want->shape[i]);
        bytes *= (size_t)a->shape[i];
    }
    const float *v = a->data;
    for (int i = 0; want->has_edges && i < TGOLDEN_EDGE; i++) {
        const float *end = v + bytes / sizeof *v - TGOLDEN_EDGE;
        if (v[i] != want->first[i] || end[i] != want->last[i])
            fail_msg("%s: %s differs: value %d is %.9g (%.9g), from the end %.9g (%.9g)", c->name,
                     a->name, i, v[i], want->first[i], end[i], want->last[i]);
    }
    char digest[65];
    tgolden_sha256(digest, a->data, bytes);
    if (strcmp(digest, want->sha256) != 0) fail_msg("%s: %s differs", c->name, a->name);
}

static void check_processor(const tgolden *g, const tgolden_case *c, const vlm_prepared *p) {
    static const char *const not_arrays[] = { "input_ids", "attention_mask", "token_type_ids",
                                              "mm_token_type_ids" };
    check_ids(g, c, p);
    for (size_t i = 0; i < c->output_count; i++) {
        bool skip = false;
        for (size_t k = 0; k < sizeof not_arrays / sizeof not_arrays[0]; k++)
            skip = skip || strcmp(c->outputs[i].name, not_arrays[k]) == 0;
        if (!skip) check_array(c, &c->outputs[i], p);
    }
}

/* ---- seams ------------------------------------------------------------------------------------------------ */
/* Relative error of a seam; the golden may hold the last row only. Negative: it holds nothing of it. */
static double seam_error(const tgolden *g, const tgolden_case *c, const tmodel_seams *seams,
                         const char *name) {
    const tgolden_tensor *want = tgolden_find(g, c, name);
    if (!want) return -1;
    const tmodel_seam *have = tmodel_seam_named(seams, name);
    if (!have) fail_msg("%s: the pass gave no %s", c->name, name);
    if (have->width != want->shape[want->rank - 1] || have->rows < want->shape[0])
        fail_msg("%s: %s is [%lld, %lld], the reference's [%lld, %lld]", c->name, name,
                 (long long)have->rows, (long long)have->width, (long long)want->shape[0],
                 (long long)want->shape[want->rank - 1]);
    const float *rows = have->data + (have->rows - want->shape[0]) * have->width;
    return tgolden_relative(rows, want->data, want->count);
}

static void check_seam(const tgolden *g, const tgolden_case *c, const tmodel_seams *seams,
                       const char *name, double tolerance, double *worst) {
    double error = seam_error(g, c, seams, name);
    if (!(error <= tolerance)) fail_msg("%s: %s: relative error %.3g", c->name, name, error);
    if (error > *worst) *worst = error;
}

static void check_seams(const tgolden *g, const tgolden_case *c, const tmodel_seams *seams,
                        tparity *worst) {
    check_seam(g, c, seams, "image_features", 1e-5, &worst->features);
    check_seam(g, c, seams, "video_features", 1e-5, &worst->features);
    char name[32];
    for (int layer = 0;; layer++) {
        snprintf(name, sizeof name, "hidden.%d", layer);
        if (!tgolden_find(g, c, name)) break;
        check_seam(g, c, seams, name, 1e-5, &worst->hidden);
    }
    check_seam(g, c, seams, "hidden.norm", 1e-5, &worst->hidden);
    check_seam(g, c, seams, "logits", 1e-4, &worst->logits);
}

static uint32_t best(const float *logits, int64_t n) {
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[at]) at = i;
    return (uint32_t)at;
}

static void check_greedy(const tgolden *g, const tgolden_case *c, tmodel *m, const vlm_prepared *p,
                         tparity *worst) {
    size_t n, rows;
    const int64_t *tokens = tgolden_i64(g, c, "greedy.tokens", &n);
    const float *want = tgolden_f32(g, c, "greedy.logits", &rows);
    int64_t vocab = vlm_text_get_info(m->type->text(m->model))->vocab_size;
    assert_non_null(tokens);
    tmodel_session *s = tmodel_session_new(m, (int64_t)vlm_prepared_tokens(p, NULL) + STEPS);
    float *logits = malloc((size_t)vocab * sizeof *logits);
    tmodel_session_feed(s, p, 0, logits);
    for (size_t i = 0; i < n; i++) {
        uint32_t token = best(logits, vocab);
        double error = want ? tgolden_relative(logits, want + i * (size_t)vocab, (size_t)vocab) : 0;
        if (token != tokens[i])
            fail_msg("%s: token %zu is %u, the reference's %lld", c->name, i, token,
                     (long long)tokens[i]);
        if (!(error <= 1e-4)) fail_msg("%s: logits of step %zu: relative error %.3g", c->name, i, error);
        if (error > worst->greedy_logits) worst->greedy_logits = error;
        if (i + 1 < n) tmodel_session_token(s, token, logits);
    }
    free(logits);
    tmodel_session_free(s);
}

/* ---- whole checkpoints --------------------------------------------------------------------------------------- */
static tmodel *load(const char *golden_dir, const tcheckpoint_options *options, int threads) {
    char *dir = tcheckpoint_temp_dir();
    assert_non_null(dir);
    assert_true(tcheckpoint_write(golden_dir, dir, options));
    tmodel *m = tmodel_open(dir, VTENSOR_EXACT, threads);
    tcheckpoint_remove(dir); /* the maps stay */
    free(dir);
    return m;
}

void tparity_check(const char *golden_dir, const tcheckpoint_options *options, tparity *worst) {
    *worst = (tparity) { 0 };
    tgolden *g = tgolden_open(golden_dir);
    assert_non_null(g);
    tmodel *m = load(golden_dir, options, 2);
    for (size_t i = 0; i < tgolden_case_count(g); i++) {
        const tgolden_case *c = tgolden_case_at(g, i);
        vlm_prepared *p = tmodel_prepare(m, g, c);
        tmodel_seams seams;
        check_processor(g, c, p);
        tmodel_forward(m, p, &seams);
        check_seams(g, c, &seams, worst);
        check_greedy(g, c, m, p, worst);
        tmodel_seams_free(&seams);
        vlm_prepared_free(p);
    }
    print_message("%s: relative errors: features %.2g, hidden %.2g, logits %.2g, while decoding %.2g\n",
                  golden_dir, worst->features, worst->hidden, worst->logits, worst->greedy_logits);
    tmodel_close(m);
    tgolden_close(g);
}

static void check_same_logits(const char *golden_dir, const tcheckpoint_options *options, int threads,
                              tmodel_seams *first) {
    tgolden *g = tgolden_open(golden_dir);
    tmodel *m = load(golden_dir, options, threads);
    vlm_prepared *p = tmodel_prepare(m, g, tgolden_case_at(g, 1));
    tmodel_seams seams;
    tmodel_forward(m, p, &seams);
    const tmodel_seam *a = tmodel_seam_named(&seams, "logits");
    if (first->n == 0) {
        *first = seams;
    } else {
        const tmodel_seam *b = tmodel_seam_named(first, "logits");
        size_t bytes = (size_t)(a->rows * a->width) * sizeof(float);
        if (memcmp(a->data, b->data, bytes) != 0)
            fail_msg("%s: names %d, dtype %d, shards %d, %d threads give other logits", golden_dir,
                     options->names, options->dtype, options->shards, threads);
        tmodel_seams_free(&seams);
    }
    vlm_prepared_free(p);
    tmodel_close(m);
    tgolden_close(g);
}

void tparity_check_layouts(const char *golden_dir) {
    static const tcheckpoint_options variants[] = {
        { TCHECKPOINT_HF, TCHECKPOINT_F32, 1 },        { TCHECKPOINT_HF_OLD, TCHECKPOINT_F32, 1 },
        { TCHECKPOINT_CANONICAL, TCHECKPOINT_F32, 3 }, { TCHECKPOINT_MLX, TCHECKPOINT_F32, 1 },
        { TCHECKPOINT_MLX, TCHECKPOINT_BF16, 2 },      { TCHECKPOINT_HF, TCHECKPOINT_BF16, 1 },
        { TCHECKPOINT_HF, TCHECKPOINT_F16, 4 },
    };
    tmodel_seams first = { 0 };
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        check_same_logits(golden_dir, &variants[i], i % 2 ? 1 : 2, &first);
    tmodel_seams_free(&first);
}

/* Prefill in pieces, and every row fed as if it had been generated, against the last row of `whole`. */
static void check_pieces(tmodel *m, const vlm_prepared *p, const float *whole, int64_t vocab) {
    static const int64_t steps[] = { 0, 1, 7, 16 };
    float *logits = malloc((size_t)vocab * sizeof *logits);
    for (size_t i = 0; i < (m->type->bidirectional_prompt ? 1 : sizeof steps / sizeof steps[0]); i++) {
        tmodel_session *s = tmodel_session_new(m, (int64_t)vlm_prepared_tokens(p, NULL));
        tmodel_session_feed(s, p, steps[i], logits);
        double error = tgolden_relative(logits, whole, (size_t)vocab);
        if (!(error <= 1e-5)) fail_msg("prefill by %lld: relative error %.3g", (long long)steps[i], error);
        tmodel_session_free(s);
    }
    free(logits);
}

static void check_pair(tmodel *m, const vlm_prepared *a, const vlm_prepared *b,
                       const tmodel_seam *alone_a, const tmodel_seam *alone_b) {
    tmodel_seams seams;
    tmodel_forward_pair(m, a, b, &seams);
    const tmodel_seam *both = tmodel_seam_named(&seams, "logits");
    size_t first = (size_t)(alone_a->rows * alone_a->width);
    size_t second = (size_t)(alone_b->rows * alone_b->width);
    assert_true(tgolden_relative(both->data, alone_a->data, first) <= 1e-5);
    assert_true(tgolden_relative(both->data + first, alone_b->data, second) <= 1e-5);
    tmodel_seams_free(&seams);
}

void tparity_check_state(const char *golden_dir) {
    tgolden *g = tgolden_open(golden_dir);
    tmodel *m = load(golden_dir, NULL, 2);
    vlm_prepared *p[2];
    tmodel_seams seams[2];
    const tmodel_seam *logits[2];
    for (size_t i = 0; i < 2; i++) {
        p[i] = tmodel_prepare(m, g, tgolden_case_at(g, i));
        tmodel_forward(m, p[i], &seams[i]);
        logits[i] = tmodel_seam_named(&seams[i], "logits");
        int64_t width = logits[i]->width;
        check_pieces(m, p[i], logits[i]->data + (logits[i]->rows - 1) * width, width);
    }
    check_pair(m, p[0], p[1], logits[0], logits[1]);
    for (size_t i = 0; i < 2; i++) {
        tmodel_seams_free(&seams[i]);
        vlm_prepared_free(p[i]);
    }
    tmodel_close(m);
    tgolden_close(g);
}
