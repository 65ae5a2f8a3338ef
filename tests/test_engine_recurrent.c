/* SPDX-License-Identifier: MIT */
/* Sessions of a decoder whose short convolutions remember the last positions alone (LFM2): what a session does when
 * it is to go back further than they reach. */
#include <stdlib.h>

#include "engine/session/session.h"
#include "support/cm.h"
#include "support/parity.h"

#define GOLDEN "tests/golden/lfm2_vl-split"

static tparity p;

static int open_parity(void **state) {
    (void)state;
    tparity_open(&p, GOLDEN, NULL, VLM_PRECISION_F32, 2);
    return 0;
}

static int close_parity(void **state) {
    (void)state;
    tparity_close(&p);
    return 0;
}

static vlm_session *session_of(const vlm_session_options *o) {
    vlm_session *s;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_session_new(&s, p.context, o, &err) < 0) fail_msg("%s", err.message);
    return s;
}

/* The text case's prompt, its tokens from `from` on replaced by n others. */
static vlm_prepared *prompt(size_t from, uint32_t other, size_t n) {
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "text"));
    size_t count;
    const uint32_t *ids = vlm_prepared_ids(prepared, &count);
    uint32_t *all = malloc((from + n) * sizeof *all);
    assert_true(from <= count);
    memcpy(all, ids, from * sizeof *all);
    for (size_t i = 0; i < n; i++) all[from + i] = other + (uint32_t)i;
    assert_int_equal(vmodel_prepared_set_ids(prepared, all, from + n, NULL), VLM_OK);
    free(all);
    return prepared;
}

static void same(const vlm_session *got, const vlm_prepared *whole, const char *what) {
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    vlm_session *fresh = session_of(&o);
    assert_int_equal(vlm_session_feed(fresh, whole, NULL), VLM_OK);
    size_t vocab = vlm_context_get_info(p.context)->vocab_size;
    double error = tgolden_relative(vengine_session_logits(got), vengine_session_logits(fresh), vocab);
    if (!(error <= 1e-5)) fail_msg("%s: relative error %.3g", what, error);
    vlm_session_free(fresh);
}

/* Steps of a prefill, counted; the one that is to fail. */
typedef struct steps {
    size_t seen, stop;
} steps;

static int count(void *user, size_t done, size_t total) {
    steps *s = user;
    (void)done, (void)total;
    return ++s->seen == s->stop;
}

/* A session that reads a prompt token by token and counts them. */
static vlm_session *counted(steps *seen) {
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.context = 128, o.prefill_step = 1, o.progress = count, o.progress_user = seen;
    return session_of(&o);
}

static size_t steps_of_sync(vlm_session *s, steps *seen, const vlm_prepared *prepared) {
    vlm_error err = VLM_ERROR_INIT;
    seen->seen = 0;
    if (vlm_session_sync(s, prepared, &err) < 0) fail_msg("%s", err.message);
    return seen->seen;
}

/* A sync that reads so many tokens, behind which the session is what a new one would be. */
static void syncs(vlm_session *s, steps *seen, const vlm_prepared *prepared, size_t expected, const char *what) {
    assert_int_equal(steps_of_sync(s, seen, prepared), expected);
    same(s, prepared, what);
}

static void a_little_back_is_kept_and_far_back_is_read_anew(void **state) {
    (void)state;
    steps seen = { 0 };
    vlm_session *s = counted(&seen);
    vlm_prepared *first = prompt(30, 50, 3), *near = prompt(28, 80, 4), *far = prompt(5, 90, 9);
    assert_int_equal(steps_of_sync(s, &seen, first), 33);
    syncs(s, &seen, near, 4, "near"); /* the 28 tokens that both share stay */
    syncs(s, &seen, far, 14, "far");  /* all of them: the state has lost the fifth */
    syncs(s, &seen, far, 1, "again");
    vlm_prepared_free(first);
    vlm_prepared_free(near);
    vlm_prepared_free(far);
    vlm_session_free(s);
}

/* Going back a little, twice, is going back far: what the first has lost stays lost. */
static void steps_back_add_up(void **state) {
    (void)state;
    steps seen = { 0 };
    vlm_session *s = counted(&seen);
    vlm_prepared *first = prompt(30, 50, 3), *second = prompt(20, 80, 1), *third = prompt(10, 90, 2);
    assert_int_equal(steps_of_sync(s, &seen, first), 33);
    syncs(s, &seen, second, 1, "once");
    syncs(s, &seen, third, 12, "twice");
    vlm_prepared_free(first);
    vlm_prepared_free(second);
    vlm_prepared_free(third);
    vlm_session_free(s);
}

/* A feed that stops early leaves the session as it was, one that stops late leaves it empty; either can go on. */
static void a_feed_that_fails_leaves_nothing_wrong(void **state) {
    (void)state;
    static const struct {
        size_t n, stop, left; /* tokens of the second prompt, step that fails, tokens held afterwards */
    } cases[] = { { 8, 3, 12 }, { 20, 19, 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        steps seen = { 0 };
        vlm_session *s = counted(&seen);
        vlm_session_stats stats;
        vlm_prepared *first = prompt(10, 60, 2), *second = prompt(0, 100, cases[i].n);
        assert_int_equal(vlm_session_feed(s, first, NULL), VLM_OK);
        seen = (steps) { 0, cases[i].stop };
        assert_int_equal(vlm_session_feed(s, second, NULL), VLM_ERR_CANCELLED);
        vlm_session_get_stats(s, &stats);
        assert_int_equal(stats.length, cases[i].left);
        seen = (steps) { 0, 0 };
        if (!stats.length) assert_int_equal(vlm_session_feed(s, first, NULL), VLM_OK);
        assert_int_equal(vlm_session_feed(s, second, NULL), VLM_OK);
        size_t n;
        const uint32_t *ids = vlm_prepared_ids(first, &n);
        uint32_t all[12 + 20];
        memcpy(all, ids, n * sizeof *all);
        ids = vlm_prepared_ids(second, &n);
        memcpy(all + 12, ids, n * sizeof *all);
        assert_int_equal(vmodel_prepared_set_ids(first, all, 12 + n, NULL), VLM_OK);
        same(s, first, "after a failure");
        vlm_prepared_free(first);
        vlm_prepared_free(second);
        vlm_session_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_little_back_is_kept_and_far_back_is_read_anew),
        cmocka_unit_test(steps_back_add_up),
        cmocka_unit_test(a_feed_that_fails_leaves_nothing_wrong),
    };
    return cmocka_run_group_tests(tests, open_parity, close_parity);
}
