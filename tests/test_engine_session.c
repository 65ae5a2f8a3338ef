/* SPDX-License-Identifier: MIT */
/* Sessions over a tiny checkpoint of each family: cached against full, chunked against whole, turn by turn
 * against one prompt, together against alone; what ends a turn; what an error leaves; no allocation per token. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session.h"
#include "tensor/backend.h"
#include "support/families.h"
#include "support/allocations.h"
#include "support/cm.h"
#include "support/parity.h"

static vlm_session *session_of(const tparity *p, vlm_session_options options) {
    vlm_session *s;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_session_new(&s, p->context, &options, &err) < 0) fail_msg("%s", err.message);
    return s;
}

static vlm_session_options options_of(uint32_t max_tokens) {
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.max_tokens = max_tokens;
    o.ignore_eos = true;
    return o;
}

static void feed(vlm_session *s, const vlm_prepared *prepared) {
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_session_feed(s, prepared, &err) < 0) fail_msg("feed: %s", err.message);
}

/* The case's prompt with further ids behind it. */
static vlm_prepared *extended(const tparity *p, const tgolden_case *of, const uint32_t *more, size_t n_more) {
    vlm_prepared *prepared = tparity_prepare(p, of);
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    uint32_t *all = malloc((n + n_more) * sizeof *all);
    memcpy(all, ids, n * sizeof *all);
    memcpy(all + n, more, n_more * sizeof *all);
    assert_int_equal(vmodel_prepared_set_ids(prepared, all, n + n_more, NULL), VLM_OK);
    free(all);
    return prepared;
}

static void same_logits(const tparity *p, const vlm_session *a, const vlm_session *b, const char *what) {
    size_t vocab = vlm_context_get_info(p->context)->vocab_size;
    double error = tgolden_relative(vengine_session_logits(a), vengine_session_logits(b), vocab);
    if (!(error <= 1e-5)) fail_msg("%s: relative error %.3g", what, error);
}

/* Decoding with the cache gives what a full pass over prompt and answer gives. (A bidirectional prompt
 * would make the answer part of the prompt, so PaliGemma is compared with the reference only.) */
static void cached_equals_full(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    const tgolden_case *of = tgolden_case_named(p.golden, "landscape");
    if (!p.context->model_type->bidirectional_prompt) {
        vlm_prepared *prepared = tparity_prepare(&p, of);
        vlm_session *cached = session_of(&p, options_of(9));
        feed(cached, prepared);
        uint32_t ids[9];
        assert_int_equal(tparity_generate(cached, ids, 9), 9);
        vlm_prepared *whole = extended(&p, of, ids, 8);
        vlm_session *full = session_of(&p, options_of(1));
        feed(full, whole);
        same_logits(&p, cached, full, "cached against full");
        vlm_session_free(cached);
        vlm_session_free(full);
        vlm_prepared_free(prepared);
        vlm_prepared_free(whole);
    }
    tparity_close(&p);
}

static void chunks_equal_whole(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape"));
    vlm_session *whole = session_of(&p, options_of(12));
    feed(whole, prepared);
    static const uint32_t steps[] = { 1, 7, 16 };
    uint32_t want[12], got[12];
    vlm_session *first = session_of(&p, options_of(12));
    feed(first, prepared);
    assert_int_equal(tparity_generate(first, want, 12), 12);
    for (size_t i = 0; i < 3; i++) {
        vlm_session_options o = options_of(12);
        o.prefill_step = steps[i];
        vlm_session *chunked = session_of(&p, o);
        feed(chunked, prepared);
        same_logits(&p, chunked, whole, "chunked against whole");
        assert_int_equal(tparity_generate(chunked, got, 12), 12);
        assert_memory_equal(got, want, sizeof got);
        vlm_session_free(chunked);
    }
    vlm_session_free(first);
    vlm_session_free(whole);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

/* Arrays of n numbers, one for each token, lose the first one's. */
static void drop_first_types(vlm_prepared *prepared, int64_t n) {
    for (size_t i = 0; i < vmodel_prepared_count(prepared); i++) {
        vlm_array *a = (vlm_array *)vmodel_prepared_at(prepared, i);
        if (a->dtype != VLM_DTYPE_I64 || a->rank != 2 || a->shape[0] != 1 || a->shape[1] != n) continue;
        a->shape[1]--;
        memmove(a->data, (int64_t *)a->data + 1, (size_t)a->shape[1] * sizeof(int64_t));
    }
}

/* A piece of a rendered chat, which has the beginning of the text that a tokenizer adds, or stands behind it. */
static vlm_prepared *prepare_raw(const tparity *p, const char *text, const char *picture) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_input *in;
    vlm_prepared *prepared;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    if (picture && vlm_input_add_image_file(in, picture, &err) < 0) fail_msg("%s", err.message);
    assert_int_equal(vlm_input_set_raw(in, text, &err), VLM_OK);
    if (vlm_prepare(&prepared, p->context, in, &err) < 0) fail_msg("%s", err.message);
    vlm_input_free(in);
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    vlm_tokens bare;
    assert_int_equal(vlm_tokenizer_encode(&bare, p->context->tokenizer, "", 0, VLM_ENCODE_ADD_SPECIAL, &err), VLM_OK);
    if (bare.count == 1 && ids[0] == bare.ids[0]) {
        uint32_t *rest = malloc(n * sizeof *rest);
        memcpy(rest, ids + 1, (n - 1) * sizeof *rest);
        assert_int_equal(vmodel_prepared_set_ids(prepared, rest, n - 1, NULL), VLM_OK);
        free(rest);
        drop_first_types(prepared, (int64_t)n);
    }
    vlm_tokens_free(&bare);
    return prepared;
}

/* Two turns, a picture in the second, fed one behind the other and as one prompt. */
static void turns_equal_one_prompt(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    const tgolden_case *of = tgolden_case_named(p.golden, "two-turns");
    if (!of) { /* PaliGemma has single turns only */
        assert_true(p.context->model_type->bidirectional_prompt);
        tparity_close(&p);
        return;
    }
    vlm_session_options o = options_of(12);
    o.context = 512;
    vlm_prepared *whole = tparity_prepare(&p, of);
    vlm_session *one = session_of(&p, o), *two = session_of(&p, o), *synced = session_of(&p, o);
    feed(one, whole);
    char *text = strdup(of->text);
    char *cut = strstr(text, "assistant."); /* the end of the first answer */
    assert_non_null(cut);
    cut = strchr(cut, '>') + 1; /* behind the end token */
    vlm_prepared *second = prepare_raw(&p, cut, of->pictures[0]);
    *cut = 0;
    vlm_prepared *first = prepare_raw(&p, text, NULL);
    feed(two, first);
    feed(two, second);
    same_logits(&p, two, one, "two turns against one prompt");
    feed(synced, first);
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_session_sync(synced, whole, &err) < 0) fail_msg("%s", err.message);
    same_logits(&p, synced, one, "synced against one prompt");
    uint32_t a[12], b[12], c[12];
    assert_int_equal(tparity_generate(one, a, 12), 12);
    assert_int_equal(tparity_generate(two, b, 12), 12);
    assert_int_equal(tparity_generate(synced, c, 12), 12);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(a, c, sizeof a);
    free(text);
    vlm_prepared_free(first);
    vlm_prepared_free(second);
    vlm_prepared_free(whole);
    vlm_session_free(one);
    vlm_session_free(two);
    vlm_session_free(synced);
    tparity_close(&p);
}

/* A conversation kept in step: each sync gives what a fresh session gives for the whole prompt; another
 * picture in the same place is noticed. */
static void sync_follows_a_conversation(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    static const char *const pictures[] = { "tests/data/pictures/photo.jpg", "tests/data/pictures/turned.jpg" };
    vlm_session_options o = options_of(4);
    o.context = 1024;
    vlm_session *kept = session_of(&p, o);
    vlm_error err = VLM_ERROR_INIT;
    for (int i = 0; i < 2; i++) {
        vlm_input *in;
        assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
        assert_int_equal(vlm_input_add_image_file(in, pictures[i], &err), VLM_OK);
        for (int turn = 0; turn < 2; turn++) {
            assert_int_equal(vlm_input_add_message(in, "user", turn ? "And now?" : "What is it?", &err), VLM_OK);
            vlm_prepared *prepared;
            if (vlm_prepare(&prepared, p.context, in, &err) < 0) fail_msg("%s", err.message);
            vlm_session *fresh = session_of(&p, o);
            feed(fresh, prepared);
            if (vlm_session_sync(kept, prepared, &err) < 0) fail_msg("%s", err.message);
            same_logits(&p, kept, fresh, "sync against a fresh session");
            uint32_t ids[4];
            tparity_generate(kept, ids, 4);
            vlm_session_free(fresh);
            vlm_prepared_free(prepared);
            assert_int_equal(vlm_input_add_message(in, "assistant", "A circle.", &err), VLM_OK);
        }
        vlm_input_free(in);
    }
    vlm_session_free(kept);
    tparity_close(&p);
}

/* The case's prompt with further ids behind it is no prompt. */
static void refuses(const tparity *p, vlm_session *s, const tgolden_case *of, const uint32_t *more, size_t n_more,
                    vlm_status code, const char *text) {
    vlm_prepared *bad = extended(p, of, more, n_more);
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_session_sync(s, bad, &err), code);
    if (!strstr(err.message, text)) fail_msg("'%s' is not said: %s", text, err.message);
    vlm_prepared_free(bad);
}

/* What follows kept media is looked at as a whole prompt is: ids, and how many media there are. */
static void sync_looks_at_what_follows_media(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    const tgolden_case *of = tgolden_case_named(p.golden, "landscape");
    vlm_prepared *good = tparity_prepare(&p, of);
    vlm_session_options o = options_of(4);
    o.context = 1024;
    vlm_session *s = session_of(&p, o), *fresh = session_of(&p, o);
    feed(fresh, good);
    const uint32_t unknown[] = { 5, 1000000 }, medium[] = { 5, fresh->media_ids[0], 6 };
    vlm_error err = VLM_ERROR_INIT;
    for (int i = 0; i < 2; i++) {
        if (vlm_session_sync(s, good, &err) < 0) fail_msg("%s", err.message);
        same_logits(&p, s, fresh, "synced again");
        if (i == 0)
            refuses(&p, s, of, unknown, 2, VLM_ERR_PROCESSING, "has id 1000000, but the model has embeddings for");
        else
            refuses(&p, s, of, medium, 3, VLM_ERR_MEDIA_COUNT, "media");
    }
    if (vlm_session_sync(s, good, &err) < 0) fail_msg("%s", err.message);
    same_logits(&p, s, fresh, "after refusals");
    vlm_session_free(s);
    vlm_session_free(fresh);
    vlm_prepared_free(good);
    tparity_close(&p);
}

/* Text in front of a picture and behind it, fed turn by turn, changes nothing of what the session knows of its
 * media: a sync runs no tower. */
static void text_turns_leave_media_held(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    const tgolden_case *of = tgolden_case_named(p.golden, "two-turns");
    if (!of) { /* PaliGemma has single turns only, of which nothing is ever kept */
        assert_true(p.context->model_type->bidirectional_prompt);
        tparity_close(&p);
        return;
    }
    vlm_prepared *whole = prepare_raw(&p, of->text, of->pictures[0]);
    char *text = strdup(of->text), *end = strrchr(text, '['), *cut = strchr(strstr(text, "assistant."), '>') + 1;
    if (!end) end = strrchr(text, '<'); /* the last marker: [/INST], or that of the answer's turn */
    vlm_prepared *last = prepare_raw(&p, end, NULL);
    *end = 0;
    vlm_prepared *second = prepare_raw(&p, cut, of->pictures[0]);
    *cut = 0;
    vlm_prepared *first = prepare_raw(&p, text, NULL), *turns[] = { first, second, last };
    vlm_session_options o = options_of(4);
    o.context = 1024;
    vlm_session *s = session_of(&p, o), *fresh = session_of(&p, o);
    for (int i = 0; i < 3; i++) {
        feed(s, turns[i]);
        assert_int_equal(s->stats.media_tokens > 0, i == 1);
        vlm_prepared_free(turns[i]);
    }
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_session_sync(s, whole, &err) < 0) fail_msg("%s", err.message);
    assert_int_equal(s->stats.media_tokens, 0);
    feed(fresh, whole);
    same_logits(&p, s, fresh, "synced behind turns of text");
    free(text);
    vlm_session_free(s);
    vlm_session_free(fresh);
    vlm_prepared_free(whole);
    tparity_close(&p);
}

/* A prompt whose media tokens came without media is text; with them the same tokens are pictures. */
static void media_tokens_held_as_text_are_read_anew(void **state) {
    (void)state;
    tparity p;
    tparity_open(&p, "tests/golden/idefics3-split", NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *whole = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape")), *bare;
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(whole, &n);
    assert_int_equal(vmodel_prepared_new(&bare, NULL), VLM_OK);
    assert_int_equal(vmodel_prepared_set_ids(bare, ids, n, NULL), VLM_OK);
    vlm_session_options o = options_of(4);
    o.context = 1024;
    vlm_session *s = session_of(&p, o), *fresh = session_of(&p, o);
    feed(s, bare);
    feed(fresh, whole);
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_session_sync(s, whole, &err) < 0) fail_msg("%s", err.message);
    same_logits(&p, s, fresh, "pictures where there was text");
    vlm_session_free(s);
    vlm_session_free(fresh);
    vlm_prepared_free(bare);
    vlm_prepared_free(whole);
    tparity_close(&p);
}

static void together_equals_alone(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    enum { N = 3, TOKENS = 16 };
    static const char *const cases[N] = { "landscape", "tiny", "portrait" };
    uint32_t alone[N][TOKENS], together[N][TOKENS];
    vlm_session *sessions[N];
    for (size_t i = 0; i < N; i++) {
        vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, cases[i]));
        vlm_session *s = session_of(&p, options_of(TOKENS));
        feed(s, prepared);
        assert_int_equal(tparity_generate(s, alone[i], TOKENS), TOKENS);
        vlm_session_free(s);
        sessions[i] = session_of(&p, options_of(TOKENS));
        feed(sessions[i], prepared);
        vlm_prepared_free(prepared);
    }
    vlm_error err = VLM_ERROR_INIT;
    for (size_t t = 0; t < TOKENS; t++) {
        vlm_piece pieces[N];
        vlm_status statuses[N];
        if (vlm_sessions_next(sessions, pieces, statuses, N, &err) < 0) fail_msg("%s", err.message);
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(statuses[i], VLM_OK);
            together[i][t] = pieces[i].token;
        }
    }
    assert_memory_equal(alone, together, sizeof alone);
    for (size_t i = 0; i < N; i++) vlm_session_free(sessions[i]);
    tparity_close(&p);
}

static void a_step_allocates_nothing(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_AUTO, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape"));
    vlm_session *s = session_of(&p, options_of(64));
    feed(s, prepared);
    uint32_t ids[48];
    assert_int_equal(tparity_generate(s, ids, 8), 8); /* warm-up */
    size_t before = tallocations_count();
    assert_int_equal(tparity_generate(s, ids, 48), 48);
    assert_int_equal(tallocations_count() - before, 0);
    vlm_session_free(s);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

/* A CPU backend that finds the largest logit itself, as a GPU's does. */
static size_t found_by_backend;

static void argmax(vlm_frame *f, vlm_tensor y, vlm_tensor x) {
    (void)f;
    for (int64_t r = 0; r < x.shape[0]; r++) {
        const float *row = (const float *)x.data + r * x.stride[0];
        int32_t best = 0;
        for (int32_t i = 1; i < x.shape[1]; i++)
            if (row[i] > row[best]) best = i;
        ((int32_t *)y.data)[r] = best;
    }
    found_by_backend++;
}

/* Tokens are the same whether their logits come to the session or only the largest's index, also where a turn begins
 * while the last token of the one before waits for its pass. */
static void the_backend_may_choose(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *turn = tparity_prepare(&p, tgolden_case_named(p.golden, "tiny"));
    const vtensor_table *plain = p.context->backend->table;
    vtensor_table chooses = *plain;
    chooses.argmax = argmax;
    uint32_t ids[2][3][7];
    found_by_backend = 0;
    for (int with = 0; with < 2; with++) {
        p.context->backend->table = with ? &chooses : plain;
        vlm_session_options o = options_of(7);
        o.context = 512;
        vlm_session *s = session_of(&p, o);
        for (int i = 0; i < 3; i++) {
            feed(s, turn);
            assert_int_equal(tparity_generate(s, ids[with][i], 7), 7);
        }
        vlm_session_free(s);
    }
    p.context->backend->table = plain;
    assert_true(found_by_backend >= 18);
    assert_memory_equal(ids[1], ids[0], sizeof ids[0]);
    vlm_prepared_free(turn);
    tparity_close(&p);
}

/* ---- what ends a turn ---------------------------------------------------------------------------------- */

static void length_ends_a_turn(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "tiny"));
    vlm_session *s = session_of(&p, options_of(3));
    feed(s, prepared);
    vlm_piece piece;
    vlm_error err = VLM_ERROR_INIT;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vlm_session_next(s, &piece, &err), VLM_OK);
        assert_true(piece.has_token);
        assert_int_equal(piece.finish, VLM_FINISH_NONE);
    }
    assert_int_equal(vlm_session_next(s, &piece, &err), VLM_DONE);
    assert_false(piece.has_token);
    assert_int_equal(piece.finish, VLM_FINISH_LENGTH);
    assert_int_equal(vlm_session_next(s, &piece, &err), VLM_ERR_ARGUMENT);
    vlm_session_free(s);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

/* The third greedy token declared an end token: it is reported, has no text, and ends the turn. */
static void an_end_token_ends_a_turn(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    const tgolden_case *of = tgolden_case_named(p.golden, "tiny");
    vlm_prepared *prepared = tparity_prepare(&p, of);
    size_t n;
    const int64_t *want = tgolden_i64(p.golden, of, "greedy.tokens", &n);
    p.context->eos.id[0] = (uint32_t)want[2];
    p.context->eos.n = 1;
    size_t first = 0;
    while (want[first] != want[2]) first++;
    vlm_session_options o = options_of(32);
    o.ignore_eos = false;
    vlm_session *s = session_of(&p, o);
    feed(s, prepared);
    vlm_piece piece;
    vlm_error err = VLM_ERROR_INIT;
    for (size_t i = 0; i < first; i++) assert_int_equal(vlm_session_next(s, &piece, &err), VLM_OK);
    assert_int_equal(vlm_session_next(s, &piece, &err), VLM_DONE);
    assert_true(piece.has_token);
    assert_int_equal(piece.token, want[2]);
    assert_int_equal(piece.finish, VLM_FINISH_STOP);
    vlm_session_free(s);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

static void a_full_context_is_an_error_and_changes_nothing(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "tiny"));
    size_t n = vlm_prepared_tokens(prepared, NULL);
    vlm_session_options o = options_of(8);
    o.context = (uint32_t)n - 1;
    vlm_session *small = session_of(&p, o);
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_session_feed(small, prepared, &err), VLM_ERR_CONTEXT_FULL);
    assert_non_null(strstr(err.message, "context"));
    vlm_session_free(small);
    o.context = (uint32_t)n + 2; /* room for the prompt and two stored tokens */
    vlm_session *s = session_of(&p, o);
    feed(s, prepared);
    assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_ERR_CONTEXT_FULL);
    uint32_t ids[8];
    assert_int_equal(tparity_generate(s, ids, 8), 2);
    vlm_session_stats stats;
    vlm_session_get_stats(s, &stats);
    assert_int_equal(stats.capacity, n + 2);
    vlm_session_free(s);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

static int stop_at_once(void *user, size_t done, size_t total) {
    (void)user;
    return done < total;
}

static void a_prefill_can_be_cancelled(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape"));
    vlm_session_options o = options_of(4);
    o.prefill_step = 8;
    o.progress = stop_at_once;
    vlm_session *s = session_of(&p, o);
    vlm_error err = VLM_ERROR_INIT;
    if (p.context->model_type->bidirectional_prompt)
        assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_OK); /* one step, nothing to cancel */
    else
        assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_ERR_CANCELLED);
    vlm_session_free(s);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

/* ---- two threads, two sessions, one context ----------------------------------------------------------------- */

typedef struct talker {
    const tparity *p;
    const char *name;
    uint32_t ids[16];
} talker;

static void *talk(void *user) {
    talker *t = user;
    vlm_prepared *prepared = tparity_prepare(t->p, tgolden_case_named(t->p->golden, t->name));
    vlm_session *s = session_of(t->p, options_of(16));
    feed(s, prepared);
    tparity_generate(s, t->ids, 16);
    vlm_session_free(s);
    vlm_prepared_free(prepared);
    return NULL;
}

static void threads_share_a_context(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    talker a = { &p, "landscape", { 0 } }, b = { &p, "tiny", { 0 } }, alone = { &p, "landscape", { 0 } };
    talk(&alone);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, talk, &a), 0);
    talk(&b);
    pthread_join(thread, NULL);
    assert_memory_equal(a.ids, alone.ids, sizeof a.ids);
    tparity_close(&p);
}

int main(void) {
    static const tcheck checks[] = {
        { "cached equals full", cached_equals_full },
        { "chunks equal whole", chunks_equal_whole },
        { "turns equal one prompt", turns_equal_one_prompt },
        { "sync follows a conversation", sync_follows_a_conversation },
        { "sync looks at what follows media", sync_looks_at_what_follows_media },
        { "text turns leave media held", text_turns_leave_media_held },
        { "together equals alone", together_equals_alone },
        { "a step allocates nothing", a_step_allocates_nothing },
        { "the backend may choose", the_backend_may_choose },
        { "length ends a turn", length_ends_a_turn },
        { "an end token ends a turn", an_end_token_ends_a_turn },
        { "a full context is an error", a_full_context_is_an_error_and_changes_nothing },
        { "a prefill can be cancelled", a_prefill_can_be_cancelled },
        { "threads share a context", threads_share_a_context },
    };
    static const struct CMUnitTest one[] = { cmocka_unit_test(media_tokens_held_as_text_are_read_anew) };
    return cmocka_run_group_tests(one, NULL, NULL)
           + tfamilies_run("sessions", checks, sizeof checks / sizeof checks[0]);
}
