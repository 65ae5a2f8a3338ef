/* SPDX-License-Identifier: MIT */
/* Wrong use of the public functions, callers built against other headers, and what an error leaves behind. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session.h"
#include "support/cm.h"
#include "support/parity.h"
#include "vlm/measure.h"

#define PICTURES "tests/data/pictures/"

static tparity idefics, qwen;
static vlm_error err;

static int make(void **state) {
    (void)state;
    tparity_open(&idefics, "tests/golden/idefics3-whole", NULL, VLM_PRECISION_F32, 1);
    tparity_open(&qwen, "tests/golden/qwen2_5_vl-tied", NULL, VLM_PRECISION_F32, 1);
    return 0;
}

static int unmake(void **state) {
    (void)state;
    tparity_close(&idefics);
    tparity_close(&qwen);
    return 0;
}

/* ---- null arguments -------------------------------------------------------------------------------------- */

#define REFUSED(call)                                                                              \
    do {                                                                                           \
        err = (vlm_error) VLM_ERROR_INIT;                                                          \
        assert_int_equal((call), VLM_ERR_ARGUMENT);                                                \
        assert_int_equal(err.code, VLM_ERR_ARGUMENT);                                              \
        assert_true(err.message[0] != 0);                                                          \
    } while (0)

static void nulls_are_refused(void **state) {
    (void)state;
    vlm_context *context = (void *)1;
    vlm_input *in;
    vlm_prepared *prepared = (void *)1;
    vlm_session *session = (void *)1;
    char *text = (void *)1;
    assert_int_equal(vlm_input_new(&in, NULL), VLM_OK);
    REFUSED(vlm_context_load(NULL, "x", NULL, &err));
    REFUSED(vlm_context_load(&context, NULL, NULL, &err));
    assert_null(context);
    REFUSED(vlm_model_registry_new(NULL, NULL, &err));
    REFUSED(vlm_processor_registry_new(NULL, NULL, &err));
    REFUSED(vlm_checkpoint_registry_new(NULL, NULL, &err));
    REFUSED(vlm_inspect(NULL, "x", NULL, NULL, NULL, &err));
    REFUSED(vlm_inspect(&text, NULL, NULL, NULL, NULL, &err));
    assert_null(text);
    REFUSED(vlm_input_new(NULL, &err));
    REFUSED(vlm_input_add_message(NULL, "user", "x", &err));
    REFUSED(vlm_input_add_message(in, NULL, "x", &err));
    REFUSED(vlm_input_add_message(in, "user", NULL, &err));
    REFUSED(vlm_input_set_messages(in, NULL, &err));
    REFUSED(vlm_input_set_raw(in, NULL, &err));
    REFUSED(vlm_input_add_image(in, NULL, &err));
    REFUSED(vlm_input_add_image_file(in, NULL, &err));
    REFUSED(vlm_input_add_video(in, NULL, 1, 0, &err));
    REFUSED(vlm_input_add_video(in, (vlm_image *const[]) { NULL }, 1, 0, &err));
    REFUSED(vlm_input_add_video_dir(in, NULL, 0, &err));
    REFUSED(vlm_input_set_processing(in, NULL, &err));
    REFUSED(vlm_input_set_variable(in, "x", NULL, &err));
    REFUSED(vlm_prepare(&prepared, idefics.context, NULL, &err));
    assert_null(prepared);
    REFUSED(vlm_prepare(NULL, idefics.context, in, &err));
    REFUSED(vlm_prepared_load(&prepared, idefics.context, NULL, &err));
    REFUSED(vlm_prepared_save(NULL, "x", &err));
    REFUSED(vlm_session_new(&session, NULL, NULL, &err));
    assert_null(session);
    REFUSED(vlm_session_feed(NULL, NULL, &err));
    REFUSED(vlm_session_sync(NULL, NULL, &err));
    REFUSED(vlm_session_next(NULL, NULL, &err));
    REFUSED(vlm_sessions_next(NULL, NULL, NULL, 1, &err));
    REFUSED(vlm_generate(NULL, idefics.context, in, NULL, &err));
    REFUSED(vlm_generate(&text, NULL, in, NULL, &err));
    REFUSED(vlm_dump_stage(idefics.context, NULL, VLM_STAGE_LOGITS, "x", &err));
    REFUSED(vlm_template_render(NULL, "x", "[]", NULL, NULL, &err));
    REFUSED(vlm_tokenizer_load(NULL, "x", NULL, &err));
    REFUSED(vlm_image_open(NULL, "x", NULL, &err));
    vlm_input_free(in);
}

static void nulls_do_nothing_where_there_is_no_status(void **state) {
    (void)state;
    vlm_session_stats stats = { .length = 3 };
    size_t media = 3;
    vlm_context_free(NULL);
    vlm_input_free(NULL);
    vlm_prepared_free(NULL);
    vlm_session_free(NULL);
    vlm_model_registry_free(NULL);
    vlm_processor_registry_free(NULL);
    vlm_checkpoint_registry_free(NULL);
    vlm_tokenizer_free(NULL);
    vlm_image_free(NULL);
    vlm_string_free(NULL);
    vlm_session_reset(NULL);
    vlm_session_get_stats(NULL, &stats);
    assert_int_equal(stats.length, 0);
    assert_null(vlm_context_get_info(NULL));
    assert_null(vlm_context_tokenizer(NULL));
    assert_null(vlm_context_image_processor_config(NULL));
    assert_null(vlm_context_base_config(NULL));
    assert_null(vlm_context_processor_config(NULL));
    assert_null(vlm_remap_model_type(NULL));
    assert_null(vlm_model_registry_at(NULL, 0, NULL));
    assert_null(vlm_processor_registry_at(NULL, 0, NULL));
    assert_null(vlm_checkpoint_registry_at(NULL, 0));
    assert_null(vlm_checkpoint_registry_find(NULL, "x"));
    assert_false(vlm_model_registry_contains(NULL, "x"));
    assert_false(vlm_processor_registry_contains(NULL, "x"));
    assert_null(vlm_image_pixels(NULL));
    assert_int_equal(vlm_image_size(NULL).width, 0);
    assert_int_equal(vlm_prepared_tokens(NULL, &media), 0);
    assert_int_equal(media, 0);
}

static void states_beyond_any_memory(void **state) {
    (void)state;
    static const size_t past[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, (size_t)1 << 40 };
    vlm_work work;
    vlm_session *s;
    assert_int_equal(vlm_context_work(&work, idefics.context, 7, 1, NULL, &err), VLM_OK);
    assert_true(work.kv_bytes > 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(vlm_context_work(&work, idefics.context, past[i], 1, NULL, &err), VLM_ERR_LIMIT);
        assert_int_equal(work.kv_bytes, 0);
        assert_int_equal(vlm_session_new(&s, idefics.context, NULL, &err), VLM_OK);
        assert_true(vlm_session_assume(s, past[i], &err) < 0);
        vlm_session_free(s);
    }
}

/* ---- option structs ------------------------------------------------------------------------------------------ */

static void option_structs_of_other_headers(void **state) {
    (void)state;
    vlm_session *s;
    struct {
        vlm_session_options known;
        uint64_t newer;
    } longer = { VLM_SESSION_OPTIONS_INIT, 0 };
    longer.known.struct_size = sizeof longer;
    assert_int_equal(vlm_session_new(&s, idefics.context, &longer.known, &err), VLM_OK);
    vlm_session_free(s);
    longer.newer = 1;
    assert_int_equal(vlm_session_new(&s, idefics.context, &longer.known, &err), VLM_ERR_UNSUPPORTED);
    assert_null(s);
    vlm_session_options older = VLM_SESSION_OPTIONS_INIT;
    older.struct_size = offsetof(vlm_session_options, sampling);
    older.sampling.temperature = -1; /* beyond what such a caller has */
    assert_int_equal(vlm_session_new(&s, idefics.context, &older, &err), VLM_OK);
    vlm_session_free(s);
    vlm_session_options unset = { 0 };
    REFUSED(vlm_session_new(&s, idefics.context, &unset, &err));
    vlm_processing processing = { 0 };
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    REFUSED(vlm_input_set_processing(in, &processing, &err));
    vlm_input_free(in);
    vlm_load_options load = { 0 };
    vlm_context *c;
    REFUSED(vlm_context_load(&c, idefics.dir, &load, &err));
    assert_null(c);
}

/* ---- several sessions in one call ------------------------------------------------------------------------------ */

static vlm_session *session_of(const tparity *p, uint32_t max_tokens, uint32_t step) {
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    vlm_session *s;
    o.max_tokens = max_tokens;
    o.prefill_step = step;
    o.context = 512;
    o.ignore_eos = true;
    if (vlm_session_new(&s, p->context, &o, &err) < 0) fail_msg("%s", err.message);
    return s;
}

static void wrong_sets_of_sessions_are_refused(void **state) {
    (void)state;
    vlm_prepared *prepared = tparity_prepare(&idefics, tgolden_case_named(idefics.golden, "text"));
    vlm_session *a = session_of(&idefics, 4, 0), *b = session_of(&idefics, 4, 0), *other = session_of(&qwen, 4, 0);
    vlm_session *const sets[][3] = { { a, b, a }, { a, NULL, b }, { a, b, other } };
    vlm_piece pieces[3];
    vlm_status statuses[3];
    assert_int_equal(vlm_session_feed(a, prepared, &err), VLM_OK);
    assert_int_equal(vlm_session_feed(b, prepared, &err), VLM_OK);
    for (size_t i = 0; i < 3; i++) {
        REFUSED(vlm_sessions_next(sets[i], pieces, statuses, 3, &err));
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(statuses[k], VLM_ERR_ARGUMENT);
            assert_false(pieces[k].has_token);
        }
    }
    vlm_session *const good[] = { a, b };
    assert_int_equal(vlm_sessions_next(good, pieces, statuses, 2, &err), VLM_OK);
    assert_int_equal(pieces[0].token, pieces[1].token);
    assert_int_equal(vlm_sessions_next(NULL, NULL, NULL, 0, &err), VLM_OK);
    vlm_session_free(a);
    vlm_session_free(b);
    vlm_session_free(other);
    vlm_prepared_free(prepared);
}

/* More sessions than one pass takes, of several lengths; those that are through say so and hinder nobody. */
static void many_sessions_of_different_lengths(void **state) {
    (void)state;
    enum { N = 70, LONGEST = 9 };
    static const char *const cases[] = { "text", "small" };
    vlm_session *sessions[N];
    vlm_piece pieces[N];
    vlm_status statuses[N];
    uint32_t want[2][LONGEST];
    for (size_t k = 0; k < 2; k++) {
        vlm_prepared *prepared = tparity_prepare(&idefics, tgolden_case_named(idefics.golden, cases[k]));
        vlm_session *alone = session_of(&idefics, LONGEST, 0);
        assert_int_equal(vlm_session_feed(alone, prepared, &err), VLM_OK);
        assert_int_equal(tparity_generate(alone, want[k], LONGEST), LONGEST);
        vlm_session_free(alone);
        for (size_t i = k; i < N; i += 2) {
            sessions[i] = session_of(&idefics, (uint32_t)(i % LONGEST + 1), 0);
            assert_int_equal(vlm_session_feed(sessions[i], prepared, &err), VLM_OK);
        }
        vlm_prepared_free(prepared);
    }
    for (size_t t = 0; t < LONGEST + 2; t++) {
        assert_int_equal(vlm_sessions_next(sessions, pieces, statuses, N, &err), VLM_OK);
        for (size_t i = 0; i < N; i++) {
            size_t most = i % LONGEST + 1;
            assert_int_equal(statuses[i], t < most ? VLM_OK : t == most ? VLM_DONE : VLM_ERR_ARGUMENT);
            if (t < most) assert_int_equal(pieces[i].token, want[i % 2][t]);
            if (t == most) assert_int_equal(pieces[i].finish, VLM_FINISH_LENGTH);
        }
    }
    for (size_t i = 0; i < N; i++) vlm_session_free(sessions[i]);
}

/* ---- what an error leaves ------------------------------------------------------------------------------------------ */

/* Cancels when *user calls have been made. */
static int cancel_after(void *user, size_t done, size_t total) {
    (void)done;
    (void)total;
    int *left = user;
    return (*left)-- == 0;
}

/* A feed cancelled at any step, the last one included, in the middle of a turn: the turn goes on as if nothing
 * had been. */
static void a_cancelled_feed_changes_nothing(void **state) {
    (void)state;
    vlm_prepared *prepared = tparity_prepare(&qwen, tgolden_case_named(qwen.golden, "text"));
    enum { TOKENS = 8 };
    uint32_t want[TOKENS], got[TOKENS];
    vlm_session *alone = session_of(&qwen, TOKENS, 4);
    assert_int_equal(vlm_session_feed(alone, prepared, &err), VLM_OK);
    assert_int_equal(tparity_generate(alone, want, TOKENS), TOKENS);
    vlm_session_free(alone);
    int steps = (int)(vlm_prepared_tokens(prepared, NULL) + 3) / 4;
    for (int k = 0; k < steps; k++) {
        for (size_t before = 0; before < 3; before++) { /* tokens generated before it */
            int left = -1;
            vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
            o.context = 512;
            o.max_tokens = TOKENS;
            o.prefill_step = 4;
            o.ignore_eos = true;
            o.progress = cancel_after;
            o.progress_user = &left;
            vlm_session *s;
            assert_int_equal(vlm_session_new(&s, qwen.context, &o, &err), VLM_OK);
            assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_OK);
            assert_int_equal(tparity_generate(s, got, before), before);
            left = k;
            assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_ERR_CANCELLED);
            left = -1;
            assert_int_equal(tparity_generate(s, got + before, TOKENS - before), TOKENS - before);
            assert_memory_equal(got, want, sizeof want);
            vlm_session_free(s);
        }
    }
    vlm_prepared_free(prepared);
}

static vlm_prepared *prepared_ids(const uint32_t *ids, size_t n) {
    vlm_prepared *p;
    assert_int_equal(vmodel_prepared_new(&p, &err), VLM_OK);
    assert_int_equal(vmodel_prepared_set_ids(p, ids, n, &err), VLM_OK);
    return p;
}

/* A sync cancelled on its way keeps the common beginning, from which a feed goes on at the right positions. */
static void a_cancelled_sync_can_be_continued(void **state) {
    (void)state;
    enum { N = 40, COMMON = 12 };
    uint32_t ids[N], other[N];
    for (uint32_t i = 0; i < N; i++) {
        ids[i] = 40 + 3 * i;
        other[i] = i < COMMON ? ids[i] : 41 + 2 * i;
    }
    vlm_prepared *whole = prepared_ids(ids, N), *first = prepared_ids(other, N), *rest;
    int left = -1;
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.context = 64;
    o.prefill_step = 8;
    o.progress = cancel_after;
    o.progress_user = &left;
    vlm_session *s, *fresh = session_of(&qwen, 4, 0);
    assert_int_equal(vlm_session_new(&s, qwen.context, &o, &err), VLM_OK);
    assert_int_equal(vlm_session_feed(s, first, &err), VLM_OK);
    left = 2;
    assert_int_equal(vlm_session_sync(s, whole, &err), VLM_ERR_CANCELLED);
    left = -1;
    vlm_session_stats stats;
    vlm_session_get_stats(s, &stats);
    assert_int_equal(stats.length, COMMON);
    vlm_piece piece;
    REFUSED(vlm_session_next(s, &piece, &err));
    rest = prepared_ids(ids + COMMON, N - COMMON);
    assert_int_equal(vlm_session_feed(s, rest, &err), VLM_OK);
    assert_int_equal(vlm_session_feed(fresh, whole, &err), VLM_OK);
    size_t vocab = vlm_context_get_info(qwen.context)->vocab_size;
    double error = tgolden_relative(vengine_session_logits(s), vengine_session_logits(fresh), vocab);
    if (!(error <= 1e-5)) fail_msg("relative error %.3g", error);
    vlm_session_free(s);
    vlm_session_free(fresh);
    vlm_prepared_free(whole);
    vlm_prepared_free(first);
    vlm_prepared_free(rest);
}

static void a_full_session_says_what_it_holds(void **state) {
    (void)state;
    const uint32_t ids[8] = { 40, 41, 42, 43, 44, 45, 46, 47 };
    vlm_prepared *p = prepared_ids(ids, 8);
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.context = 8;
    o.ignore_eos = true;
    vlm_session *s;
    vlm_piece piece;
    assert_int_equal(vlm_session_new(&s, qwen.context, &o, &err), VLM_OK);
    assert_int_equal(vlm_session_feed(s, p, &err), VLM_OK);
    assert_int_equal(vlm_session_next(s, &piece, &err), VLM_DONE);
    assert_int_equal(piece.finish, VLM_FINISH_LENGTH);
    assert_int_equal(vlm_session_feed(s, p, &err), VLM_ERR_CONTEXT_FULL);
    assert_string_equal(err.message, "the prompt has 8 tokens, the context of 8 holds 8 already");
    vlm_session_free(s);
    vlm_prepared_free(p);
}

/* ---- a chat in OpenAI form ------------------------------------------------------------------------------------------- */

/* Parts that name a file and parts that do not, mixed: each place gets its own picture. */
static void pictures_follow_the_order_of_their_parts(void **state) {
    (void)state;
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_add_image_file(in, PICTURES "square.png", &err), VLM_OK);
    vlm_image *added = in->images[0];
    static const char *const bad[] = {
        "{}", "[3]", "[{\"content\": [{\"type\": \"image\", \"path\": \"" PICTURES "tiny.png\"},"
                     "{\"type\": \"image\", \"path\": \"no/such.png\"}]}]",
    };
    for (size_t i = 0; i < 3; i++) {
        assert_true(vlm_input_set_messages(in, bad[i], &err) < 0);
        assert_int_equal(in->n_images, 1);
        assert_ptr_equal(in->images[0], added);
    }
    const char *chat = "[{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"path\": \"" PICTURES "tiny.png\"},"
                       "{\"type\": \"image\"}, {\"type\": \"text\", \"text\": \"Which?\"}]}]";
    if (vlm_input_set_messages(in, chat, &err) < 0) fail_msg("%s", err.message);
    assert_int_equal(in->n_images, 2);
    assert_ptr_equal(in->images[1], added);
    vlm_prepared *prepared;
    if (vlm_prepare(&prepared, idefics.context, in, &err) < 0) fail_msg("%s", err.message);
    vlm_prepared_free(prepared);
    REFUSED(vlm_input_set_messages(in, chat, &err));
    vlm_input_free(in);
}

/* What OpenAI's clients send: the picture itself in the message. */
static void pictures_come_as_data_urls(void **state) {
    (void)state;
    static const char pixel[] =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mPgEpEDAABoAD1q9XBbAAAAAElFTkSuQm"
        "CC";
    static const uint8_t colour[3] = { 10, 20, 30 };
    char chat[1000];
    vlm_input *in;
    snprintf(chat, sizeof chat,
             "[{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {\"url\": "
             "\"data:image/png;base64,%s\"}}]}]",
             pixel);
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    if (vlm_input_set_messages(in, chat, &err) < 0) fail_msg("%s", err.message);
    assert_int_equal(in->n_images, 1);
    assert_memory_equal(vlm_image_pixels(in->images[0]), colour, 3);
    vlm_input_free(in);
    static const char *const bad[] = { "data:image/png;base64,%%%", "data:image/png;base64,AAAA", "http://a/b.png" };
    for (size_t i = 0; i < 3; i++) {
        snprintf(chat, sizeof chat, "[{\"content\": [{\"type\": \"image_url\", \"image_url\": \"%s\"}]}]", bad[i]);
        assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
        assert_true(vlm_input_set_messages(in, chat, &err) < 0);
        assert_int_equal(in->n_images, 0);
        vlm_input_free(in);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nulls_are_refused),
        cmocka_unit_test(nulls_do_nothing_where_there_is_no_status),
        cmocka_unit_test(states_beyond_any_memory),
        cmocka_unit_test(option_structs_of_other_headers),
        cmocka_unit_test(wrong_sets_of_sessions_are_refused),
        cmocka_unit_test(many_sessions_of_different_lengths),
        cmocka_unit_test(a_cancelled_feed_changes_nothing),
        cmocka_unit_test(a_cancelled_sync_can_be_continued),
        cmocka_unit_test(a_full_session_says_what_it_holds),
        cmocka_unit_test(pictures_follow_the_order_of_their_parts),
        cmocka_unit_test(pictures_come_as_data_urls),
    };
    return cmocka_run_group_tests_name("use", tests, make, unmake);
}
