/* SPDX-License-Identifier: MIT */
/* A session is fed: a prompt behind what it holds, or a whole one of which it keeps the beginning that it shares. Owns when a
 * prompt's passes run; what they compute is in forward.c. */
#include "engine/session/session.h"

/* What is to be read: rows [first, run->n) of a prompt that begins behind `past` tokens. */
typedef struct reading {
    vengine_run run;
    size_t first, past;
} reading;

/* Arrays of one number per token (types of tokens) say nothing about media that the ids do not. */
static bool is_per_token(const vlm_array *a, size_t tokens) {
    return a->dtype == VLM_DTYPE_I64 && a->rank == 2 && a->shape[0] == 1 && (size_t)a->shape[1] == tokens;
}

/* FNV-1a over words of eight bytes, every eighth one in a sum of its own, since a product waits for the one before it:
 * tells two sets of pixels apart, not an adversary's. */
static uint64_t hash_bytes(uint64_t h, const char *p, size_t bytes) {
    enum { LANES = 8, BLOCK = 8 * LANES };
    uint64_t lanes[LANES], words[LANES];
    for (int l = 0; l < LANES; l++) lanes[l] = h + (uint64_t)l;
    for (size_t k = 0; k < bytes; k += BLOCK) {
        size_t n = bytes - k < BLOCK ? bytes - k : BLOCK;
        if (n < BLOCK) memset(words, 0, sizeof words);
        memcpy(words, p + k, n);
        for (int l = 0; l < LANES; l++) {
            lanes[l] = (lanes[l] ^ words[l]) * 0x100000001B3u;
            lanes[l] ^= lanes[l] >> 29;
        }
    }
    for (int l = 0; l < LANES; l++) h = ((h ^ lanes[l]) * 0x100000001B3u) ^ (h >> 29);
    return h;
}

static uint64_t hash_media(const vlm_prepared *prepared) {
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < vmodel_prepared_count(prepared); i++) {
        const vlm_array *a = vmodel_prepared_at(prepared, i);
        if (is_per_token(a, vlm_prepared_tokens(prepared, NULL))) continue;
        size_t bytes = vtensor_dtype_size(a->dtype);
        for (int d = 0; d < a->rank; d++) {
            bytes *= (size_t)a->shape[d];
            h = (h ^ (uint64_t)a->shape[d]) * 0x100000001B3u;
        }
        h = hash_bytes(h, a->data, bytes);
    }
    return h;
}

static size_t last_media_token(const vengine_run *run) {
    size_t end = 0;
    for (int i = 0; i < run->n_features; i++)
        for (size_t k = end; k < run->n; k++)
            if (run->ids[k] == run->features[i].token_id) end = k + 1;
    return end;
}

static void hold_media(vlm_session *s, const vengine_run *run, size_t past) {
    s->media_end = past + last_media_token(run);
    s->n_media_ids = run->n_features;
    for (int i = 0; i < run->n_features; i++) s->media_ids[i] = run->features[i].token_id;
}

static bool has_media(const vengine_run *run, size_t end) {
    for (int i = 0; i < run->n_features; i++)
        for (size_t k = 0; k < end; k++)
            if (run->ids[k] == run->features[i].token_id) return true;
    return false;
}

/* Media are held all (see common_beginning), or run all; tokens of theirs that are held as mere text are read anew,
 * with all that stands before and behind them. */
static vlm_status run_media(vlm_session *s, reading *r, const vlm_prepared *prepared, vlm_error *err) {
    if (r->first > 0 && s->media_end > 0) return vengine_run_check_ids(&r->run, r->first, err);
    VTRY(vengine_run_features(&r->run, prepared, err));
    if (has_media(&r->run, r->first)) {
        s->media_end = r->first; /* nothing of it is left if this fails */
        r->first = 0;
    }
    return VLM_OK;
}

static vlm_status run_prompt(vlm_session *s, reading *r, const vlm_prepared *prepared, vlm_error *err) {
    double start = vengine_now_ms();
    vtensor_frame_begin(s->frame);
    vlm_status status = run_media(s, r, prepared, err);
    double middle = vengine_now_ms();
    const vengine_prefill how = { .first = r->first,
                                  .past = r->past,
                                  .kv = s->kv,
                                  .options = &s->options,
                                  .logits = s->logits };
    if (status >= 0) status = vengine_run_prefill(&r->run, &how, err);
    vlm_status ended = vtensor_frame_end(s->frame, status >= 0 ? err : NULL);
    s->stats.vision_ms = middle - start;
    s->stats.prefill_ms = vengine_now_ms() - middle;
    return status < 0 ? status : ended;
}

/* Reads prepared behind `past` tokens, of which `first` of its own are already held. */
static vlm_status read_prompt(vlm_session *s, const vlm_prepared *prepared, size_t past, size_t first,
                              vlm_error *err) {
    reading r = { .run = { .context = s->context, .frame = s->frame }, .first = first, .past = past };
    r.run.ids = vlm_prepared_ids(prepared, &r.run.n);
    int64_t next = past ? s->next : 0;
    int32_t *positions;
    VTRY(vengine_positions(&positions, &next, s->context, prepared, past, err));
    r.run.positions = positions;
    if (first == 0 && past == 0) s->seen = 0;
    if (s->seen < past + r.run.n) s->seen = past + r.run.n;
    vlm_status status = run_prompt(s, &r, prepared, err);
    if (status >= 0) memcpy(s->positions + past, positions, r.run.n * sizeof *s->positions);
    vcore_free(positions);
    VTRY(status);
    memcpy(s->tokens + past, r.run.ids, r.run.n * sizeof *s->tokens);
    s->length = past + r.run.n;
    s->next = next;
    s->pending = false;
    s->fresh = VENGINE_LOGITS;
    s->turn_over = false;
    s->generated = 0;
    if (r.run.n_features) hold_media(s, &r.run, past);
    s->stats.media_tokens = 0;
    for (int i = 0; i < r.run.n_features; i++) s->stats.media_tokens += (size_t)r.run.features[i].rows.shape[0];
    s->stats.prompt_tokens = r.run.n;
    s->stats.decode_ms = 0;
    vtext_stream_reset(s->stream);
    vengine_stops_reset(&s->stops);
    vengine_thinking_begin(&s->thinking, s->tokens, s->length);
    return VLM_OK;
}

/* After tokens that could not be read: the session as before the call, empty where its state cannot go back. */
static void undo_feed(vlm_session *s, bool pending) {
    if (!vengine_state_reaches(s->context, s->seen, s->length - pending)) {
        vlm_session_reset(s);
    } else if (pending) { /* its state and logits are made again when they are needed */
        s->length--;
        s->next--;
        s->pending = true;
        s->fresh = VENGINE_NOTHING;
    }
}

vlm_status vlm_session_feed(vlm_session *s, const vlm_prepared *prepared, vlm_error *err) {
    if (!s || !prepared) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_feed: a null argument");
    size_t n;
    vlm_prepared_ids(prepared, &n);
    if (n == 0) return vcore_fail(err, VLM_ERR_PROCESSING, "the prompt is empty");
    VTRY(vengine_session_room(s, n, err));
    const size_t media_end = s->media_end;
    bool pending = s->pending;
    if (pending) VTRY(vengine_decode_pending(&s, 1, err)); /* the last token of the turn before */
    vlm_status status = read_prompt(s, prepared, s->length, 0, err);
    if (status < 0) {
        undo_feed(s, pending);
        return status;
    }
    if (s->media_end > media_end) /* further media are never those of one prompt, whose arrays are joined */
        s->media_hash = media_end ? s->media_hash ^ (hash_media(prepared) | 1) : hash_media(prepared);
    return VLM_OK;
}

/* The media that the session holds, no more and no less, if `held` tokens of the prompt are kept. */
static bool same_media(const vlm_session *s, const uint32_t *ids, size_t n, size_t held, uint64_t hash) {
    if (hash != s->media_hash || held < s->media_end) return false;
    for (int i = 0; i < s->n_media_ids; i++)
        for (size_t k = held; k < n; k++)
            if (ids[k] == s->media_ids[i]) return false;
    return true;
}

/* Tokens of a whole prompt that the session holds already, at the same positions, pictures included; the last
 * one is read anew. (What was generated behind a long video stands elsewhere than in a prompt that quotes it.) */
static vlm_status common_beginning(size_t *out, const vlm_session *s, const vlm_prepared *prepared,
                                   uint64_t hash, vlm_error *err) {
    size_t n, p = 0;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    int32_t *positions;
    int64_t next = 0;
    *out = 0;
    if (s->context->model_type->bidirectional_prompt) return VLM_OK;
    VTRY(vengine_positions(&positions, &next, s->context, prepared, 0, err));
    while (p < n && p < s->length && ids[p] == s->tokens[p] && positions[p] == s->positions[p]) p++;
    vcore_free(positions);
    if (p == n) p--;
    bool keeps = s->media_end == 0 || same_media(s, ids, n, p, hash);
    if (keeps && vengine_state_reaches(s->context, s->seen, p)) *out = p;
    return VLM_OK;
}

/* After a failure that may have overwritten the rows behind `keep`. Behind text a position follows from the
 * one before it; behind media it does not, and nothing is kept. */
static void keep_beginning(vlm_session *s, size_t keep) {
    if (keep <= s->media_end || !vengine_state_reaches(s->context, s->seen, keep)) {
        vlm_session_reset(s);
        return;
    }
    s->length = keep;
    s->next = (int64_t)s->positions[keep - 1] + 1;
    s->fresh = VENGINE_NOTHING;
    s->pending = false;
    s->turn_over = true;
}

vlm_status vlm_session_sync(vlm_session *s, const vlm_prepared *prepared, vlm_error *err) {
    if (!s || !prepared) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_sync: a null argument");
    size_t n;
    vlm_prepared_ids(prepared, &n);
    if (n == 0) return vcore_fail(err, VLM_ERR_PROCESSING, "the prompt is empty");
    uint64_t hash = hash_media(prepared);
    size_t keep;
    VTRY(common_beginning(&keep, s, prepared, hash, err));
    if (s->kv_memory && n > s->capacity)
        return vcore_fail(err, VLM_ERR_CONTEXT_FULL, "the prompt has %zu tokens, the context holds %zu", n,
                          s->capacity);
    if (!s->kv_memory) VTRY(vengine_session_room(s, n, err));
    if (keep == 0) s->media_end = 0;
    vlm_status status = read_prompt(s, prepared, 0, keep, err);
    if (status < 0) {
        keep_beginning(s, keep);
        return status;
    }
    s->media_hash = hash;
    return VLM_OK;
}
