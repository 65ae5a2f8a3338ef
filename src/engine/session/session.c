/* SPDX-License-Identifier: MIT */
/* Sessions: the timeline is made, reset, measured and freed. Prompts are read in feed.c, tokens pulled in next.c. */
#include "engine/session/session.h"
#include "vlm/measure.h"

#include <time.h>

double vengine_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

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
    s->length = s->seen = s->generated = s->media_end = 0;
    s->media_hash = 0;
    s->next = 0;
    s->fresh = VENGINE_NOTHING;
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

vlm_status vengine_session_room(vlm_session *s, size_t n, vlm_error *err) {
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
    VTRY(vengine_session_room(s, n, err));
    /* Pages that were never written may all be one page of zeros, which no cache misses; the halves, and the
     * floats, of these bytes are small finite numbers. */
    if (unused) vtensor_memory_touch(s->context->backend, s->kv_memory, 0x3C, s->stats.kv_bytes);
    size_t vocab = vlm_context_get_info(s->context)->vocab_size;
    memset(s->logits, 0, vocab * sizeof *s->logits);
    memset(s->tokens, 0, n * sizeof *s->tokens);
    for (size_t i = 0; i < n; i++) s->positions[i] = (int32_t)i;
    s->length = s->seen = n;
    s->next = (int64_t)n;
    s->fresh = VENGINE_LOGITS;
    s->turn_over = false;
    s->stats.prompt_tokens = n;
    s->stats.media_tokens = 0;
    s->stats.decode_ms = 0;
    vengine_thinking_begin(&s->thinking, s->tokens, s->length);
    return VLM_OK;
}
