/* SPDX-License-Identifier: MIT */
/* The thinking budget: what is counted and forced, alone and in a session over a tiny checkpoint. */
#include <stdlib.h>

#include "engine/session/session.h"
#include "support/cm.h"
#include "support/parity.h"

static tparity p;

static int make(void **state) {
    (void)state;
    tparity_open(&p, "tests/golden/qwen2_5_vl-tied", NULL, VLM_PRECISION_F32, 1);
    return 0;
}

static int unmake(void **state) {
    (void)state;
    tparity_close(&p);
    return 0;
}

static uint32_t id_of(const char *token) {
    uint32_t id = 0;
    assert_true(vtext_token_to_id(p.context->tokenizer, vcore_str_of(token), &id));
    return id;
}

/* ---- the counter alone; markers are one token, or two ------------------------------------------------------- */

enum { START = 1, END = 2, LINE = 3, WORD = 9 };

static vengine_thinking budget_of(uint32_t budget) {
    return (vengine_thinking) { .budget = budget, .start = { START }, .n_start = 1, .end = { END },
                                .n_end = 1, .forced = { LINE, END }, .n_forced = 2 };
}

/* Runs a model that says `says` over and over behind the prompt; what comes out. */
static void run(vengine_thinking *t, uint32_t *tokens, size_t n_prompt, size_t n, uint32_t says) {
    vengine_thinking_begin(t, tokens, n_prompt);
    for (size_t i = n_prompt; i < n; i++) {
        uint32_t id;
        tokens[i] = vengine_thinking_forces(t, &id) ? id : says;
        vengine_thinking_saw(t, tokens, i + 1);
    }
}

static void counts_from_the_start(void **state) {
    (void)state;
    vengine_thinking t = budget_of(2);
    uint32_t open[12] = { WORD, START };
    run(&t, open, 2, 12, WORD);
    static const uint32_t want[12] = { WORD, START, WORD, WORD, WORD, LINE, END, WORD, WORD, WORD, WORD, WORD };
    assert_memory_equal(open, want, sizeof want);

    uint32_t closed[8] = { START, WORD, END };
    run(&t, closed, 3, 8, WORD);
    for (size_t i = 3; i < 8; i++) assert_int_equal(closed[i], WORD);

    uint32_t again[8] = { WORD };
    vengine_thinking_begin(&t, again, 1);
    static const uint32_t says[] = { START, WORD, WORD, END, WORD, START, WORD };
    uint32_t id;
    for (size_t i = 0; i < 7; i++) {
        assert_false(vengine_thinking_forces(&t, &id));
        again[i + 1] = says[i];
        vengine_thinking_saw(&t, again, i + 2);
    }
    assert_true(vengine_thinking_forces(&t, &id)); /* both blocks count: three tokens */
    assert_int_equal(id, LINE);
}

static void markers_of_two_tokens(void **state) {
    (void)state;
    vengine_thinking t = { .budget = 1, .start = { START, 7 }, .n_start = 2, .end = { END, 8 },
                           .n_end = 2, .forced = { LINE, END, 8 }, .n_forced = 3 };
    uint32_t tokens[9] = { START, 7 };
    run(&t, tokens, 2, 9, WORD);
    static const uint32_t want[9] = { START, 7, WORD, WORD, LINE, END, 8, WORD, WORD };
    assert_memory_equal(tokens, want, sizeof want);
    t.budget = 0;
    run(&t, tokens, 2, 9, WORD);
    for (size_t i = 2; i < 9; i++) assert_int_equal(tokens[i], WORD);
}

/* ---- in a session ------------------------------------------------------------------------------------------------ */

static vlm_prepared *prepare(const char *text) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_input *in;
    vlm_prepared *prepared;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_set_raw(in, text, &err), VLM_OK);
    if (vlm_prepare(&prepared, p.context, in, &err) < 0) fail_msg("%s", err.message);
    vlm_input_free(in);
    return prepared;
}

static void generate(const vlm_session_options *o, const char *prompt, uint32_t *out, size_t n, vcore_buf *text) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_session *s;
    vlm_piece piece;
    vlm_prepared *prepared = prepare(prompt);
    if (vlm_session_new(&s, p.context, o, &err) < 0) fail_msg("%s", err.message);
    if (vlm_session_feed(s, prepared, &err) < 0) fail_msg("%s", err.message);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(vlm_session_next(s, &piece, &err), VLM_OK);
        out[i] = piece.token;
        if (text) vcore_buf_add(text, piece.text, piece.bytes);
    }
    vlm_session_free(s);
    vlm_prepared_free(prepared);
}

static void forced_in_a_session(void **state) {
    (void)state;
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.max_tokens = 16;
    o.ignore_eos = true;
    const char *prompt = "hello <|box_start|>";
    uint32_t free_ids[12], ids[12], line_ids[12];
    generate(&o, prompt, free_ids, 12, NULL);
    o.thinking_budget = 3;
    o.thinking_start = "<|box_start|>";
    o.thinking_end = "<|box_end|>";
    vcore_buf plain = { 0 }, special = { 0 };
    generate(&o, prompt, ids, 12, &plain);
    assert_memory_equal(ids, free_ids, 4 * sizeof *ids);
    vtext_ids line = { 0 };
    vtext_span span = { "\n", 1, false };
    assert_int_equal(vtext_encode(p.context->tokenizer, &span, 1, false, false, &line, NULL), VLM_OK);
    assert_int_equal(ids[4], line.id[line.n - 1]);
    vtext_ids_free(&line);
    assert_int_equal(ids[5], id_of("<|box_end|>"));
    assert_true(!plain.p || !strstr(plain.p, "<|box_end|>"));
    o.special_text = true;
    generate(&o, prompt, line_ids, 12, &special);
    assert_memory_equal(ids, line_ids, sizeof ids);
    assert_non_null(strstr(special.p, "\n<|box_end|>"));
    vcore_buf_free(&plain);
    vcore_buf_free(&special);
    generate(&o, "hello", ids, 12, NULL); /* no block is open: nothing is forced */
    o.thinking_budget = 0;
    generate(&o, "hello", free_ids, 12, NULL);
    assert_memory_equal(ids, free_ids, sizeof ids);
}

static void mistakes(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    vlm_session *s;
    o.thinking_budget = 1;
    assert_int_equal(vlm_session_new(&s, p.context, &o, &err), VLM_ERR_UNSUPPORTED); /* no known marker in this vocabulary */
    assert_null(s);
    o.thinking_start = "<|box_start|>";
    assert_int_equal(vlm_session_new(&s, p.context, &o, &err), VLM_ERR_ARGUMENT);
    o.thinking_end = "";
    assert_int_equal(vlm_session_new(&s, p.context, &o, &err), VLM_ERR_ARGUMENT);
    o.thinking_end = "a marker of far more tokens than a marker can have 1234567890";
    assert_int_equal(vlm_session_new(&s, p.context, &o, &err), VLM_ERR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_from_the_start),
        cmocka_unit_test(markers_of_two_tokens),
        cmocka_unit_test(forced_in_a_session),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
