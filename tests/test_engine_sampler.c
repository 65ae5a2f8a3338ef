/* SPDX-License-Identifier: MIT */
/* Sampling and stop strings: filters, penalties, seeds, text held back. Expected values are worked out by
 * hand or with numpy from the definition in vlm.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "engine/session/session.h"

/* Probabilities 0.4, 0.3, 0.2, 0.1 at ids 2, 0, 3, 1. */
static void four(float *logits) {
    logits[0] = logf(0.3f);
    logits[1] = logf(0.1f);
    logits[2] = logf(0.4f);
    logits[3] = logf(0.2f);
}

/* Which ids 2,000 draws give, as a bit set; counts per id in n[4]. */
static unsigned draws(const vlm_sampling *how, int n[4]) {
    vengine_sampler *s;
    assert_int_equal(vengine_sampler_new(&s, how, 4, NULL), VLM_OK);
    unsigned seen = 0;
    for (int i = 0; i < 4; i++) n[i] = 0;
    for (int i = 0; i < 2000; i++) {
        float logits[4];
        four(logits);
        uint32_t id = vengine_sampler_next(s, logits, NULL, 0);
        assert_true(id < 4);
        seen |= 1u << id;
        n[id]++;
    }
    vengine_sampler_free(s);
    return seen;
}

static void greedy_takes_the_largest(void **state) {
    (void)state;
    int n[4];
    assert_int_equal(draws(&(vlm_sampling) { 0 }, n), 1u << 2);
}

static void temperature_one_draws_the_distribution(void **state) {
    (void)state;
    int n[4];
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 1, .seed = 7 }, n), 15);
    assert_in_range(n[2], 720, 880);
    assert_in_range(n[0], 520, 680);
    assert_in_range(n[3], 330, 470);
    assert_in_range(n[1], 140, 260);
}

static void top_p_keeps_the_nucleus_of_untempered_probabilities(void **state) {
    (void)state;
    int n[4];
    /* 0.4 alone is short of 0.5: the next one still belongs to it, whatever the temperature. */
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 5, .top_p = 0.5f }, n), 1u << 2 | 1u << 0);
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 5, .top_p = 0.39f }, n), 1u << 2);
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 5, .top_p = 0.95f }, n), 15);
}

static void min_p_is_relative_to_the_largest(void **state) {
    (void)state;
    int n[4];
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 3, .min_p = 0.6f }, n), 1u << 2 | 1u << 0);
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 3, .min_p = 0.3f }, n), 15 & ~(1u << 1));
}

static void top_k_counts(void **state) {
    (void)state;
    int n[4];
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 1, .top_k = 1 }, n), 1u << 2);
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 1, .top_k = 3 }, n), 15 & ~(1u << 1));
    assert_int_equal(draws(&(vlm_sampling) { .temperature = 1, .top_k = 100 }, n), 15);
}

static void a_seed_repeats_and_another_differs(void **state) {
    (void)state;
    int a[4], b[4], c[4];
    draws(&(vlm_sampling) { .temperature = 1, .seed = 1 }, a);
    draws(&(vlm_sampling) { .temperature = 1, .seed = 1 }, b);
    draws(&(vlm_sampling) { .temperature = 1, .seed = 2 }, c);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
}

static uint32_t penalised(const vlm_sampling *how, const uint32_t *history, size_t n, float *logits) {
    vengine_sampler *s;
    assert_int_equal(vengine_sampler_new(&s, how, 4, NULL), VLM_OK);
    uint32_t id = vengine_sampler_next(s, logits, history, n);
    vengine_sampler_free(s);
    return id;
}

static void penalties_change_logits_of_recent_tokens(void **state) {
    (void)state;
    const uint32_t history[] = { 1, 2, 2, 9 }; /* 9 is beyond the vocabulary */
    float x[4] = { 1, -1, 2, 0.5f };
    assert_int_equal(penalised(&(vlm_sampling) { .repetition_penalty = 2 }, history, 4, x), 0);
    assert_float_equal(x[1], -2, 0); /* negative: multiplied */
    assert_float_equal(x[2], 1, 0);  /* positive: divided, once */
    float y[4] = { 1, -1, 2, 0.5f };
    penalised(&(vlm_sampling) { .presence_penalty = 0.25f, .frequency_penalty = 0.5f }, history, 4, y);
    assert_float_equal(y[1], -1.75f, 0);
    assert_float_equal(y[2], 0.75f, 0); /* twice frequency, once presence */
    float z[4] = { 1, -1, 2, 0.5f };
    penalised(&(vlm_sampling) { .presence_penalty = 1, .penalty_window = 2 }, history, 4, z);
    assert_float_equal(z[1], -1, 0); /* out of the window */
    assert_float_equal(z[2], 1, 0);
}

/* Greedy: the first of the largest, wherever they stand; NaN is never chosen beside a number. */
static void greedy_of_many(void **state) {
    (void)state;
    vengine_sampler *s;
    float x[41];
    assert_int_equal(vengine_sampler_new(&s, &(vlm_sampling) { 0 }, 41, NULL), VLM_OK);
    for (uint32_t at = 0; at < 41; at++) {
        for (uint32_t i = 0; i < 41; i++) x[i] = i % 3 ? -INFINITY : -(float)i - 1;
        x[at] = x[40] = 2;
        assert_int_equal(vengine_sampler_next(s, x, NULL, 0), at);
        x[at] = NAN;
        assert_int_equal(vengine_sampler_next(s, x, NULL, 0), at == 40 ? 0 : 40);
    }
    vengine_sampler_free(s);
}

/* Of 1,000 tokens, 20 near the best one and all others far below, draws that are nearly even give far ones
 * as often as their number says; filters count in order of the logits. */
static void draws_of_many(void **state) {
    (void)state;
    enum { N = 1000 };
    static float x[N];
    for (uint32_t i = 0; i < N; i++) x[i] = i % 50 == 3 ? 30 + (float)i * 1e-3f : (float)(i % 7);
    vengine_sampler *s;
    const vlm_sampling even = { .temperature = 1e6f, .seed = 3 };
    assert_int_equal(vengine_sampler_new(&s, &even, N, NULL), VLM_OK);
    int near = 0, lower_half = 0;
    for (int i = 0; i < 4000; i++) {
        uint32_t id = vengine_sampler_next(s, x, NULL, 0);
        assert_true(id < N);
        near += id % 50 == 3;
        lower_half += id < N / 2;
    }
    assert_in_range(near, 50, 115); /* 80 are expected, with a deviation of 9 */
    assert_in_range(lower_half, 1870, 2130);
    vengine_sampler_free(s);
    const vlm_sampling few = { .temperature = 1e6f, .top_k = 25 };
    assert_int_equal(vengine_sampler_new(&s, &few, N, NULL), VLM_OK);
    for (int i = 0; i < 1000; i++) { /* 20 near ones, and of those with 6 the first five */
        uint32_t id = vengine_sampler_next(s, x, NULL, 0);
        assert_true(id % 50 == 3 || (id % 7 == 6 && id < 7 * 6));
    }
    vengine_sampler_free(s);
}

/* They are never drawn, nor converted to integers. */
static void logits_that_are_no_numbers(void **state) {
    (void)state;
    static const vlm_sampling ways[] = { { .temperature = 1 }, { .temperature = 1, .top_p = 0.9f } };
    for (int i = 0; i < 2; i++) {
        vengine_sampler *s;
        assert_int_equal(vengine_sampler_new(&s, &ways[i], 4, NULL), VLM_OK);
        for (int n = 0; n < 100; n++) {
            float some[] = { NAN, 0, 1, NAN }, none[] = { NAN, NAN, NAN, NAN };
            uint32_t id = vengine_sampler_next(s, some, NULL, 0);
            assert_true(id == 1 || id == 2);
            assert_true(vengine_sampler_next(s, none, NULL, 0) < 4);
        }
        vengine_sampler_free(s);
    }
}

/* An infinite logit has all the mass, whatever filters; the first of several is taken. */
static void infinite_logits(void **state) {
    (void)state;
    static const vlm_sampling ways[] = { { .temperature = 1 },
                                         { .temperature = 1, .top_p = 0.9f },
                                         { .temperature = 1, .min_p = 0.1f },
                                         { .temperature = 2, .top_k = 3 },
                                         { .temperature = 1, .top_p = 0.5f, .repetition_penalty = 2 } };
    const uint32_t history[] = { 2 };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        vengine_sampler *s;
        assert_int_equal(vengine_sampler_new(&s, &ways[i], 4, NULL), VLM_OK);
        for (int n = 0; n < 20; n++) {
            float one[] = { 3, 0, INFINITY, 2 }, two[] = { -INFINITY, INFINITY, NAN, INFINITY };
            float none[] = { -INFINITY, -INFINITY, -INFINITY, -INFINITY };
            assert_int_equal(vengine_sampler_next(s, one, history, 1), 2);
            assert_int_equal(vengine_sampler_next(s, two, history, 1), 1);
            assert_int_equal(vengine_sampler_next(s, none, history, 1), 0);
        }
        vengine_sampler_free(s);
    }
}

static void values_out_of_range_are_refused(void **state) {
    (void)state;
    const vlm_sampling bad[] = {
        { .temperature = -1 },  { .temperature = NAN }, { .top_p = 1.5f },          { .top_p = -0.1f },
        { .min_p = 2 },         { .min_p = INFINITY },  { .repetition_penalty = -1 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        vengine_sampler *s = (void *)1;
        vlm_error err = VLM_ERROR_INIT;
        assert_int_equal(vengine_sampler_new(&s, &bad[i], 4, &err), VLM_ERR_ARGUMENT);
        assert_null(s);
        assert_true(err.message[0] != 0);
    }
}

/* Feeds pieces; what came out is appended to out, '|' between calls. */
static bool feed(vengine_stops *s, const char *text, vcore_buf *out) {
    bool met = vengine_stops_push(s, vcore_str_of(text));
    vcore_buf_add(out, s->ready.p ? s->ready.p : "", s->ready.n);
    vcore_buf_puts(out, "|");
    return met;
}

static void stops_hold_back_what_may_be_one(void **state) {
    (void)state;
    const char *const list[] = { "END", "stop", "" };
    vengine_stops s;
    vcore_buf out = { 0 };
    assert_int_equal(vengine_stops_init(&s, list, 3, NULL), VLM_OK);
    assert_false(feed(&s, "abE", &out));
    assert_false(feed(&s, "Nx s", &out));
    assert_false(feed(&s, "to", &out));
    assert_true(feed(&s, "p and more", &out));
    assert_string_equal(out.p, "ab|ENx ||" "|");
    out.n = 0;
    vengine_stops_reset(&s);
    assert_false(feed(&s, "wait EN", &out));
    vengine_stops_finish(&s, vcore_str_of(""));
    assert_string_equal(s.ready.p, "EN");
    vengine_stops_free(&s);
    vcore_buf_free(&out);
}

static void stops_met_in_the_last_text(void **state) {
    (void)state;
    const char *const list[] = { "END" };
    vengine_stops s;
    assert_int_equal(vengine_stops_init(&s, list, 1, NULL), VLM_OK);
    vengine_stops_push(&s, vcore_str_of("xE"));
    vengine_stops_finish(&s, vcore_str_of("NDy"));
    assert_int_equal(s.ready.n, 0);
    vengine_stops_free(&s);
}

/* A whole stop string ends the text even where a longer one may begin before it. */
static void a_stop_inside_held_text_counts(void **state) {
    (void)state;
    const char *const list[] = { "abc", "b", "\u00e9\u00e8" };
    vengine_stops s;
    vcore_buf out = { 0 };
    assert_int_equal(vengine_stops_init(&s, list, 3, NULL), VLM_OK);
    assert_false(feed(&s, "xa", &out));
    assert_true(feed(&s, "b", &out));
    assert_string_equal(out.p, "x|a|");
    out.n = 0;
    vengine_stops_reset(&s);
    assert_false(feed(&s, "1\u00e9", &out));
    assert_false(feed(&s, "\u00e9", &out));
    assert_true(vengine_stops_finish(&s, vcore_str_of("\u00e8!")));
    assert_string_equal(out.p, "1|\u00e9|");
    assert_int_equal(s.ready.n, 0);
    vengine_stops_free(&s);
    vcore_buf_free(&out);
}

static void stops_must_be_utf8(void **state) {
    (void)state;
    const char *const list[] = { "fine", "\xa9" };
    vengine_stops s;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vengine_stops_init(&s, list, 2, &err), VLM_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "stop strings[1]"));
    vengine_stops_free(&s);
    assert_int_equal(vengine_stops_init(&s, NULL, 1, &err), VLM_ERR_ARGUMENT);
    vengine_stops_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest),
        cmocka_unit_test(temperature_one_draws_the_distribution),
        cmocka_unit_test(top_p_keeps_the_nucleus_of_untempered_probabilities),
        cmocka_unit_test(min_p_is_relative_to_the_largest),
        cmocka_unit_test(top_k_counts),
        cmocka_unit_test(a_seed_repeats_and_another_differs),
        cmocka_unit_test(penalties_change_logits_of_recent_tokens),
        cmocka_unit_test(greedy_of_many),
        cmocka_unit_test(draws_of_many),
        cmocka_unit_test(logits_that_are_no_numbers),
        cmocka_unit_test(infinite_logits),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(stops_hold_back_what_may_be_one),
        cmocka_unit_test(stops_met_in_the_last_text),
        cmocka_unit_test(a_stop_inside_held_text_counts),
        cmocka_unit_test(stops_must_be_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
