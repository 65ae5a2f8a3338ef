/* SPDX-License-Identifier: MIT */
/* The next token of one session or of several at once: the pass that stores the one before, the choice, the text it
 * brings. Which token follows is the sampler's. */
#include "engine/session/session.h"

/* What the sessions need of a pass: where all take the largest logit and the backend finds it, its token alone. */
static vlm_status read_logits(vengine_fresh *got, vlm_session *const *sessions, size_t n, vlm_frame *f, vlm_tensor logits,
                              vlm_error *err) {
    bool greedy = true;
    for (size_t i = 0; i < n; i++) greedy &= vengine_sampler_is_greedy(sessions[i]->sampler);
    vlm_tensor best = greedy ? vtensor_argmax(f, logits) : (vlm_tensor) { 0 };
    int32_t ids[VENGINE_BATCH];
    *got = best.rank ? VENGINE_BEST : VENGINE_LOGITS;
    if (best.rank) VTRY(vtensor_read(f, best, ids, err));
    for (size_t i = 0; i < n && vlm_frame_ok(f); i++) {
        if (best.rank)
            sessions[i]->best = (uint32_t)ids[i];
        else
            VTRY(vtensor_read(f, vlm_rows(f, logits, (int64_t)i, 1), sessions[i]->logits, err));
    }
    return VLM_OK;
}

vlm_status vengine_decode_pending(vlm_session *const *sessions, size_t n, vlm_error *err) {
    const vlm_context *c = sessions[0]->context;
    int64_t axes = vlm_text_get_info(c->model_type->text(c->model))->position_axes, rows = (int64_t)n;
    int32_t ids[VENGINE_BATCH], positions[VENGINE_BATCH * 4];
    vlm_sequence sequences[VENGINE_BATCH];
    vengine_fresh got = VENGINE_NOTHING;
    for (size_t i = 0; i < n; i++) {
        vlm_session *s = sessions[i];
        if (s->seen < s->length + 1) s->seen = s->length + 1;
        ids[i] = (int32_t)s->tokens[s->length];
        for (int64_t a = 0; a < axes; a++) positions[a * rows + (int64_t)i] = (int32_t)s->next;
        sequences[i] = (vlm_sequence) { .start = (int64_t)i, .length = 1, .past = (int64_t)s->length, .kv = s->kv };
    }
    vlm_frame *f = sessions[0]->frame;
    vtensor_frame_begin(f);
    vlm_tensor logits = vengine_run_step(f, c, ids, positions, sequences, n);
    vlm_status status = vlm_frame_ok(f) ? read_logits(&got, sessions, n, f, logits, err) : VLM_OK;
    vlm_status ended = vtensor_frame_end(f, status >= 0 ? err : NULL);
    if (status < 0 || ended < 0) return status < 0 ? status : ended;
    for (size_t i = 0; i < n; i++) {
        vlm_session *s = sessions[i];
        s->positions[s->length++] = (int32_t)s->next++;
        s->pending = false;
        s->fresh = got;
    }
    return VLM_OK;
}

/* Ends a turn whose text could not be kept: going on would leave a hole in it. */
static vlm_status lose_text(vlm_session *s, vlm_piece *piece, vlm_error *err) {
    *piece = (vlm_piece) { .text = "" };
    s->turn_over = true;
    return vcore_no_memory(err, "session: text of a token");
}

static vlm_status give_text(vlm_session *s, vlm_piece *piece, vlm_error *err) {
    if (s->stops.ready.failed || s->stops.held.failed) return lose_text(s, piece, err);
    piece->text = s->stops.ready.p ? s->stops.ready.p : "";
    piece->bytes = s->stops.ready.n;
    return VLM_OK;
}

static vlm_status finish(vlm_session *s, vlm_piece *piece, vlm_finish why, vlm_error *err) {
    vcore_str rest;
    if (vtext_stream_finish(s->stream, &rest) < 0) return lose_text(s, piece, err);
    if (vengine_stops_finish(&s->stops, rest)) why = VLM_FINISH_STOP;
    VTRY(give_text(s, piece, err));
    piece->finish = why;
    s->turn_over = true;
    return VLM_DONE;
}

/* Chooses the next token from fresh logits and says what text it brings. */
static vlm_status choose(vlm_session *s, vlm_piece *piece, vlm_error *err) {
    if (s->generated == s->options.max_tokens || s->length == s->capacity)
        return finish(s, piece, VLM_FINISH_LENGTH, err);
    uint32_t id;
    if (!vengine_thinking_forces(&s->thinking, &id))
        id = s->fresh == VENGINE_BEST ? s->best : vengine_sampler_next(s->sampler, s->logits, s->tokens, s->length);
    s->tokens[s->length] = id;
    vengine_thinking_saw(&s->thinking, s->tokens, s->length + 1);
    s->pending = true;
    s->fresh = VENGINE_NOTHING;
    s->generated++;
    piece->token = id;
    piece->has_token = true;
    if (!s->options.ignore_eos && vengine_eos_has(&s->context->eos, id))
        return finish(s, piece, VLM_FINISH_STOP, err);
    vcore_str text;
    if (vtext_stream_push(s->stream, id, &text) < 0) return lose_text(s, piece, err);
    bool met = vengine_stops_push(&s->stops, text);
    VTRY(give_text(s, piece, err));
    if (!met) return VLM_OK;
    piece->finish = VLM_FINISH_STOP;
    s->turn_over = true;
    return VLM_DONE;
}

/* Different sessions of one context, each once. */
static vlm_status check_sessions(vlm_session *const *sessions, size_t n, vlm_error *err) {
    const char *wrong = NULL;
    size_t seen = 0;
    for (; seen < n; seen++) {
        vlm_session *s = sessions[seen];
        if (!s)
            wrong = "is null";
        else if (s->marked)
            wrong = "is given twice";
        else if (s->context != sessions[0]->context)
            wrong = "is of another context";
        if (wrong) break;
        s->marked = true;
    }
    for (size_t i = 0; i < seen; i++) sessions[i]->marked = false;
    if (!wrong) return VLM_OK;
    return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_sessions_next: session %zu %s", seen, wrong);
}

/* One pass for every VENGINE_BATCH sessions that have a token to store. */
static vlm_status decode_due(vlm_session *const *sessions, size_t n, vlm_error *err) {
    vlm_session *due[VENGINE_BATCH];
    size_t n_due = 0;
    for (size_t i = 0; i < n; i++) {
        vlm_session *s = sessions[i];
        bool spent = s->generated == s->options.max_tokens || s->length == s->capacity;
        if (!s->turn_over && s->pending && !spent) due[n_due++] = s;
        if (n_due == VENGINE_BATCH || (i + 1 == n && n_due)) {
            VTRY(vengine_decode_pending(due, n_due, err));
            n_due = 0;
        }
    }
    return VLM_OK;
}

vlm_status vlm_sessions_next(vlm_session *const *sessions, vlm_piece *pieces, vlm_status *statuses,
                             size_t n, vlm_error *err) {
    if (n && (!sessions || !pieces || !statuses))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_sessions_next: a null argument");
    double start = vengine_now_ms();
    vlm_status status = check_sessions(sessions, n, err);
    if (status >= 0) status = decode_due(sessions, n, err);
    for (size_t i = 0; i < n; i++) {
        vlm_session *s = sessions[i];
        pieces[i] = (vlm_piece) { .text = "" };
        if (status < 0)
            statuses[i] = status;
        else if (s->turn_over)
            statuses[i] = vcore_fail(err, VLM_ERR_ARGUMENT, "session: the turn is over; feed it again");
        else if (s->fresh != VENGINE_NOTHING)
            statuses[i] = choose(s, &pieces[i], err);
        else
            statuses[i] = finish(s, &pieces[i], VLM_FINISH_LENGTH, err);
        if (status >= 0) s->stats.decode_ms += vengine_now_ms() - start;
    }
    return status;
}

vlm_status vlm_session_next(vlm_session *s, vlm_piece *piece, vlm_error *err) {
    if (!s || !piece) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_next: a null argument");
    vlm_status own = VLM_OK;
    vlm_status status = vlm_sessions_next(&s, piece, &own, 1, err);
    return status < 0 ? status : own;
}
