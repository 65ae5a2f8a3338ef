/* SPDX-License-Identifier: MIT */
/* Sessions: the state of one timeline, fed with prompts and pulled for tokens. Owns when a forward pass
 * runs; what it computes is in forward.c, which token follows in sampler.c. */
#include "engine/engine.h"
#include "vlm/measure.h"

#include <time.h>

/* What a pass brought: all logits of its last token, or where only the largest is wanted and the backend finds it, its
 * token (the logits stay where they were computed). */
typedef enum fresh { NOTHING, LOGITS, BEST } fresh;

struct vlm_session {
    const vlm_context *context;
    vlm_session_options options;
    vlm_frame *frame;
    vengine_sampler *sampler;
    vtext_stream *stream;
    vengine_stops stops;
    vengine_thinking thinking;
    vlm_kv *kv;           /* [layers] */
    void *kv_memory;
    size_t capacity;      /* tokens the state holds */
    uint32_t *tokens;     /* [capacity + 1]: all tokens of the timeline, the pending one included */
    int32_t *positions;   /* [capacity]: of the stored tokens, on the first axis */
    size_t length;        /* tokens whose state is stored */
    int64_t next;         /* position of the token that follows them */
    fresh fresh;          /* what is known of the token behind the last stored one, until it is chosen */
    float *logits;        /* [vocab] */
    uint32_t best;
    bool pending;         /* tokens[length] was generated but its state is not stored yet */
    size_t generated;     /* in this turn */
    uint64_t media_hash;  /* of the media that the timeline was made from */
    size_t media_end;     /* tokens up to and with the last media token */
    bool turn_over;
    bool marked;          /* met already in this call for several */
    vlm_session_stats stats;
};

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* ---- making and freeing ---------------------------------------------------------------------------- */

static vlm_status init(vlm_session *s, vlm_error *err) {
    const vlm_context *c = s->context;
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    VTRY(vtensor_frame_new(&s->frame, c->backend, c->mode, err));
    VTRY(vengine_sampler_new(&s->sampler, &s->options.sampling, (uint32_t)text->vocab_size, err));
    VTRY(vengine_stops_init(&s->stops, s->options.stops, s->options.n_stops, err));
    s->options.stops = NULL; /* the copies count */
    VTRY(vengine_thinking_init(&s->thinking, &s->options, c->tokenizer, err));
    s->options.thinking_start = s->options.thinking_end = NULL;
    s->stream = vtext_stream_new(c->tokenizer, !s->options.special_text);
    s->logits = vcore_alloc_array((size_t)text->vocab_size, sizeof *s->logits);
    s->kv = vcore_alloc_array((size_t)text->layers, sizeof *s->kv);
    if (!s->stream || !s->logits || !s->kv) return vcore_no_memory(err, "session");
    s->turn_over = true;
    return VLM_OK;
}

vlm_status vengine_session_options(vlm_session_options *out, const vlm_session_options *given,
                                   vlm_error *err) {
    *out = (vlm_session_options) VLM_SESSION_OPTIONS_INIT;
    if (given) VTRY(vengine_take_options(out, sizeof *out, given, "session options", err));
    if (out->max_tokens == 0) out->max_tokens = 256;
    if (out->prefill_step == 0) out->prefill_step = 2048;
    if (out->kv_bits != 0 && out->kv_bits != 16 && out->kv_bits != 8 && out->kv_bits != 4)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "session options: kv_bits is %u, not 16, 8 or 4", out->kv_bits);
    return VLM_OK;
}

size_t vengine_session_capacity(const vlm_session_options *options, size_t n) {
    return options->context ? options->context : n + options->max_tokens;
}

static vlm_status check_state_bits(const vlm_session *s, vlm_error *err) {
    uint32_t bits = s->options.kv_bits;
    const vtensor_backend *b = s->context->backend;
    if (bits == 0 || bits == 16 || vtensor_backend_quantized_state(b)) return VLM_OK;
    return vcore_fail(err, VLM_ERR_UNSUPPORTED,
                      "session options: kv_bits is %u, but backend '%s' keeps keys and values in 16 bits", bits,
                      vtensor_backend_name(b));
}

vlm_status vlm_session_new(vlm_session **out, const vlm_context *context,
                           const vlm_session_options *options, vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !context) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_new: a null argument");
    vlm_session *s = vcore_alloc(sizeof *s);
    if (!s) return vcore_no_memory(err, "session");
    s->context = context;
    vlm_status status = vengine_session_options(&s->options, options, err);
    if (status >= 0) status = check_state_bits(s, err);
    if (status >= 0) status = init(s, err);
    if (status < 0) {
        vlm_session_free(s);
        return status;
    }
    *out = s;
    return VLM_OK;
}

void vlm_session_free(vlm_session *s) {
    if (!s) return;
    if (s->kv_memory) vtensor_memory_free(s->context->backend, s->kv_memory);
    vcore_free(s->kv);
    vcore_free(s->tokens);
    vcore_free(s->positions);
    vcore_free(s->logits);
    vtext_stream_free(s->stream);
    vengine_stops_free(&s->stops);
    vengine_sampler_free(s->sampler);
    vtensor_frame_free(s->frame);
    vcore_free(s);
}

void vlm_session_reset(vlm_session *s) {
    if (!s) return;
    s->length = s->generated = s->media_end = 0;
    s->media_hash = 0;
    s->next = 0;
    s->fresh = NOTHING;
    s->pending = false;
    s->turn_over = true;
    vtext_stream_reset(s->stream);
    vengine_stops_reset(&s->stops);
}

void vlm_session_get_stats(const vlm_session *s, vlm_session_stats *stats) {
    if (!stats) return;
    *stats = s ? s->stats : (vlm_session_stats) { 0 };
    if (!s) return;
    stats->length = s->length;
    stats->capacity = s->capacity;
    stats->generated_tokens = s->generated;
    stats->scratch_bytes = vtensor_frame_peak(s->frame);
}

size_t vengine_session_temporaries(const vlm_session *s) {
    return vtensor_frame_held(s->frame);
}

const float *vengine_session_logits(const vlm_session *s) {
    return s->logits;
}

/* State memory of every layer in one piece. */
static vlm_status make_state(vlm_session *s, size_t capacity, vlm_error *err) {
    size_t total;
    VTRY(vengine_state_bytes(&total, s->context, s->options.kv_bits, capacity, err));
    s->kv_memory = vtensor_memory_new(s->context->backend, total);
    s->tokens = vcore_alloc_array(capacity + 1, sizeof *s->tokens);
    s->positions = vcore_alloc_array(capacity, sizeof *s->positions);
    if (!s->kv_memory || !s->tokens || !s->positions)
        return vcore_fail(err, VLM_ERR_MEMORY, "context: %zu bytes for the state of %zu tokens", total,
                          capacity);
    vengine_state_place(s->kv, s->context, s->options.kv_bits, capacity, s->kv_memory);
    s->capacity = capacity;
    s->stats.kv_bytes = total;
    return VLM_OK;
}

/* ---- feeding ---------------------------------------------------------------------------------------------- */

static vlm_status make_room(vlm_session *s, size_t n, vlm_error *err) {
    if (!s->kv_memory) {
        vlm_status status = make_state(s, vengine_session_capacity(&s->options, n), err);
        if (status < 0) {
            if (s->kv_memory) vtensor_memory_free(s->context->backend, s->kv_memory);
            vcore_free(s->tokens);
            vcore_free(s->positions);
            s->kv_memory = NULL;
            s->tokens = NULL;
            s->positions = NULL;
            return status;
        }
    }
    if (s->length + s->pending + n > s->capacity)
        return vcore_fail(err, VLM_ERR_CONTEXT_FULL,
                          "the prompt has %zu tokens, the context of %zu holds %zu already", n,
                          s->capacity, s->length + s->pending);
    return VLM_OK;
}

/* What is to be read: rows [first, run->n) of a prompt that begins behind `past` tokens. */
typedef struct reading {
    vengine_run run;
    size_t first, past;
} reading;

static vlm_status run_prompt(vlm_session *s, reading *r, const vlm_prepared *prepared, vlm_error *err) {
    double start = now_ms();
    vtensor_frame_begin(s->frame);
    vlm_status status = VLM_OK;
    if (r->first == 0 || r->first < s->media_end || s->media_end == 0)
        status = vengine_run_features(&r->run, prepared, err);
    double middle = now_ms();
    const vengine_prefill how = { .first = r->first,
                                  .past = r->past,
                                  .kv = s->kv,
                                  .options = &s->options,
                                  .logits = s->logits };
    if (status >= 0) status = vengine_run_prefill(&r->run, &how, err);
    vlm_status ended = vtensor_frame_end(s->frame, status >= 0 ? err : NULL);
    s->stats.vision_ms = middle - start;
    s->stats.prefill_ms = now_ms() - middle;
    return status < 0 ? status : ended;
}

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

/* Reads prepared behind `past` tokens, of which `first` of its own are already held. */
static vlm_status read_prompt(vlm_session *s, const vlm_prepared *prepared, size_t past, size_t first,
                              vlm_error *err) {
    reading r = { .run = { .context = s->context, .frame = s->frame }, .first = first, .past = past };
    r.run.ids = vlm_prepared_ids(prepared, &r.run.n);
    int64_t next = past ? s->next : 0;
    int32_t *positions;
    VTRY(vengine_positions(&positions, &next, s->context, prepared, past, err));
    r.run.positions = positions;
    vlm_status status = run_prompt(s, &r, prepared, err);
    if (status >= 0) memcpy(s->positions + past, positions, r.run.n * sizeof *s->positions);
    vcore_free(positions);
    VTRY(status);
    memcpy(s->tokens + past, r.run.ids, r.run.n * sizeof *s->tokens);
    s->length = past + r.run.n;
    s->next = next;
    s->pending = false;
    s->fresh = LOGITS;
    s->turn_over = false;
    s->generated = 0;
    if (r.run.n_features) s->media_end = past + last_media_token(&r.run);
    s->stats.media_tokens = 0;
    for (int i = 0; i < r.run.n_features; i++) s->stats.media_tokens += (size_t)r.run.features[i].rows.shape[0];
    s->stats.prompt_tokens = r.run.n;
    s->stats.decode_ms = 0;
    vtext_stream_reset(s->stream);
    vengine_stops_reset(&s->stops);
    vengine_thinking_begin(&s->thinking, s->tokens, s->length);
    return VLM_OK;
}

static vlm_status decode_pending(vlm_session *const *sessions, size_t n, vlm_error *err);

/* After n tokens that could not be read: the session as before the call, empty where its state cannot go back. */
static void undo_feed(vlm_session *s, size_t n, bool pending) {
    if (!vengine_state_reaches(s->context, s->length + n, s->length - pending)) {
        vlm_session_reset(s);
    } else if (pending) { /* its state and logits are made again when they are needed */
        s->length--;
        s->next--;
        s->pending = true;
        s->fresh = NOTHING;
    }
}

vlm_status vlm_session_feed(vlm_session *s, const vlm_prepared *prepared, vlm_error *err) {
    if (!s || !prepared) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_feed: a null argument");
    size_t n;
    vlm_prepared_ids(prepared, &n);
    if (n == 0) return vcore_fail(err, VLM_ERR_PROCESSING, "the prompt is empty");
    VTRY(make_room(s, n, err));
    bool first = s->length == 0, pending = s->pending;
    if (pending) VTRY(decode_pending(&s, 1, err)); /* the last token of the turn before */
    vlm_status status = read_prompt(s, prepared, s->length, 0, err);
    if (status < 0) {
        undo_feed(s, n, pending);
        return status;
    }
    s->media_hash = first ? hash_media(prepared) : s->media_hash ^ (hash_media(prepared) | 1);
    return VLM_OK;
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
    bool same_media = s->media_end == 0 || (hash == s->media_hash && p >= s->media_end);
    if (same_media && vengine_state_reaches(s->context, s->length, p)) *out = p;
    return VLM_OK;
}

/* After a failure that may have overwritten the rows [keep, read). Behind text a position follows from the
 * one before it; behind media it does not, and nothing is kept. */
static void keep_beginning(vlm_session *s, size_t keep, size_t read) {
    if (keep <= s->media_end || !vengine_state_reaches(s->context, read, keep)) {
        vlm_session_reset(s);
        return;
    }
    s->length = keep;
    s->next = (int64_t)s->positions[keep - 1] + 1;
    s->fresh = NOTHING;
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
    if (!s->kv_memory) VTRY(make_room(s, n, err));
    if (keep == 0) s->media_end = 0;
    vlm_status status = read_prompt(s, prepared, 0, keep, err);
    if (status < 0) {
        keep_beginning(s, keep, n);
        return status;
    }
    s->media_hash = hash;
    return VLM_OK;
}

/* ---- measuring (vlm/measure.h) ------------------------------------------------------------------------------ */

vlm_status vlm_session_see(vlm_session *s, const vlm_prepared *prepared, vlm_error *err) {
    if (!s || !prepared) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_see: a null argument");
    vengine_run run = { .context = s->context, .frame = s->frame };
    run.ids = vlm_prepared_ids(prepared, &run.n);
    vtensor_frame_begin(s->frame);
    vlm_status status = vengine_run_features(&run, prepared, err);
    vlm_status ended = vtensor_frame_end(s->frame, status >= 0 ? err : NULL);
    return status < 0 ? status : ended;
}

vlm_status vlm_session_assume(vlm_session *s, size_t n, vlm_error *err) {
    if (!s || !n) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_assume: no session, or no tokens");
    bool unused = !s->kv_memory;
    vlm_session_reset(s);
    VTRY(make_room(s, n, err));
    /* Pages that were never written may all be one page of zeros, which no cache misses; the halves, and the
     * floats, of these bytes are small finite numbers. */
    if (unused) vtensor_memory_touch(s->context->backend, s->kv_memory, 0x3C, s->stats.kv_bytes);
    size_t vocab = vlm_context_get_info(s->context)->vocab_size;
    memset(s->logits, 0, vocab * sizeof *s->logits);
    memset(s->tokens, 0, n * sizeof *s->tokens);
    for (size_t i = 0; i < n; i++) s->positions[i] = (int32_t)i;
    s->length = n;
    s->next = (int64_t)n;
    s->fresh = LOGITS;
    s->turn_over = false;
    s->stats.prompt_tokens = n;
    s->stats.media_tokens = 0;
    s->stats.decode_ms = 0;
    vengine_thinking_begin(&s->thinking, s->tokens, s->length);
    return VLM_OK;
}

/* ---- generating ------------------------------------------------------------------------------------------------ */

/* What the sessions need of a pass: where all take the largest logit and the backend finds it, its token alone. */
static vlm_status read_logits(fresh *got, vlm_session *const *sessions, size_t n, vlm_frame *f, vlm_tensor logits,
                              vlm_error *err) {
    bool greedy = true;
    for (size_t i = 0; i < n; i++) greedy &= vengine_sampler_is_greedy(sessions[i]->sampler);
    vlm_tensor best = greedy ? vtensor_argmax(f, logits) : (vlm_tensor) { 0 };
    int32_t ids[VENGINE_BATCH];
    *got = best.rank ? BEST : LOGITS;
    if (best.rank) VTRY(vtensor_read(f, best, ids, err));
    for (size_t i = 0; i < n && vlm_frame_ok(f); i++) {
        if (best.rank)
            sessions[i]->best = (uint32_t)ids[i];
        else
            VTRY(vtensor_read(f, vlm_rows(f, logits, (int64_t)i, 1), sessions[i]->logits, err));
    }
    return VLM_OK;
}

/* Stores the state of every session's pending token and gets the logits behind it: one pass, on the first
 * session's frame. n <= VENGINE_BATCH. */
static vlm_status decode_pending(vlm_session *const *sessions, size_t n, vlm_error *err) {
    const vlm_context *c = sessions[0]->context;
    int64_t axes = vlm_text_get_info(c->model_type->text(c->model))->position_axes, rows = (int64_t)n;
    int32_t ids[VENGINE_BATCH], positions[VENGINE_BATCH * 4];
    vlm_sequence sequences[VENGINE_BATCH];
    fresh got = NOTHING;
    for (size_t i = 0; i < n; i++) {
        const vlm_session *s = sessions[i];
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
        id = s->fresh == BEST ? s->best : vengine_sampler_next(s->sampler, s->logits, s->tokens, s->length);
    s->tokens[s->length] = id;
    vengine_thinking_saw(&s->thinking, s->tokens, s->length + 1);
    s->pending = true;
    s->fresh = NOTHING;
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
            VTRY(decode_pending(due, n_due, err));
            n_due = 0;
        }
    }
    return VLM_OK;
}

vlm_status vlm_sessions_next(vlm_session *const *sessions, vlm_piece *pieces, vlm_status *statuses,
                             size_t n, vlm_error *err) {
    if (n && (!sessions || !pieces || !statuses))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_sessions_next: a null argument");
    double start = now_ms();
    vlm_status status = check_sessions(sessions, n, err);
    if (status >= 0) status = decode_due(sessions, n, err);
    for (size_t i = 0; i < n; i++) {
        vlm_session *s = sessions[i];
        pieces[i] = (vlm_piece) { .text = "" };
        if (status < 0)
            statuses[i] = status;
        else if (s->turn_over)
            statuses[i] = vcore_fail(err, VLM_ERR_ARGUMENT, "session: the turn is over; feed it again");
        else if (s->fresh != NOTHING)
            statuses[i] = choose(s, &pieces[i], err);
        else
            statuses[i] = finish(s, &pieces[i], VLM_FINISH_LENGTH, err);
        if (status >= 0) s->stats.decode_ms += now_ms() - start;
    }
    return status;
}

vlm_status vlm_session_next(vlm_session *s, vlm_piece *piece, vlm_error *err) {
    if (!s || !piece) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_session_next: a null argument");
    vlm_status own = VLM_OK;
    vlm_status status = vlm_sessions_next(&s, piece, &own, 1, err);
    return status < 0 ? status : own;
}
