/* SPDX-License-Identifier: MIT */
/* What a measurement needs to know and to make (vlm/measure.h): prompts without words, and the work of a pass, counted
 * by running it over shapes alone. Owns no clock. */
#include "vlm/measure.h"

#include "engine/session/session.h"

/* ---- prompts --------------------------------------------------------------------------------- */

/* An id that is a row of the embeddings and no special token. */
static uint32_t draw_id(const vlm_context *c, uint64_t *state) {
    uint32_t id = 0;
    for (int tries = 0; tries < 1000; tries++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        id = (uint32_t)((*state >> 32) % c->info.vocab_size);
        if (!vtext_is_special(c->tokenizer, id)) break;
    }
    return id;
}

vlm_status vlm_prepared_draw(vlm_prepared **out, const vlm_context *context, size_t n,
                             vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !context || !n)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_prepared_draw: a null argument, or no tokens");
    uint64_t limit = context->source.limits.context_tokens, state = n;
    if (n > limit) return vcore_fail_limit(err, "prompt", NULL, limit, "tokens");
    uint32_t *ids = vcore_alloc_array(n, sizeof *ids);
    if (!ids) return vcore_no_memory(err, "prompt");
    for (size_t i = 0; i < n; i++) ids[i] = draw_id(context, &state);
    vlm_prepared *prepared;
    vlm_status status = vmodel_prepared_new(&prepared, err);
    if (status >= 0) status = vmodel_prepared_set_ids(prepared, ids, n, err);
    vcore_free(ids);
    if (status < 0) {
        vlm_prepared_free(prepared);
        return status;
    }
    *out = prepared;
    return VLM_OK;
}

/* ---- counting -------------------------------------------------------------------------------- */

/* A run over shapes alone, and what was counted since begin(). */
typedef struct counter {
    const vlm_context *context;
    vtensor_backend *backend;
    vlm_frame *frame;
    vlm_kv *kv; /* [layers] of the state's shapes */
    vtensor_work work;
    uint64_t weight_bytes;
    uint64_t rows; /* that an embedding is asked for */
} counter;

static void note_read(void *user, vlm_tensor weight, vtensor_part part) {
    counter *k = user;
    uint64_t bytes = vtensor_dtype_size(weight.dtype);
    for (int i = 1; i < weight.rank; i++) bytes *= (uint64_t)weight.shape[i];
    uint64_t n = (uint64_t)weight.shape[0], met = (uint64_t)(part.rows * part.each);
    if (part.kind == VTENSOR_SOME_ROWS) n = k->rows;
    if (part.kind == VTENSOR_EXPERTS && met < n) n = met;
    k->weight_bytes += bytes * n;
}

static void counter_close(counter *k) {
    vtensor_frame_free(k->frame);
    vtensor_backend_free(k->backend);
    vcore_free(k->kv);
}

static vlm_status counter_open(counter *k, const vlm_context *c, uint32_t kv_bits, size_t capacity,
                               vlm_error *err) {
    const vtensor_cpu_options dry = { .dry = true };
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    size_t state;
    *k = (counter) { .context = c };
    k->kv = vcore_alloc_array((size_t)text->layers, sizeof *k->kv);
    vlm_status status = k->kv ? VLM_OK : vcore_no_memory(err, "dry run");
    if (status >= 0) /* it refuses too many */
        status = vengine_state_bytes(&state, c, kv_bits, capacity, err);
    if (status >= 0) status = vtensor_backend_cpu(&k->backend, &dry, err);
    if (status >= 0) status = vtensor_frame_new(&k->frame, k->backend, c->mode, err);
    if (status < 0) {
        counter_close(k);
        return status;
    }
    vengine_state_place(k->kv, c, kv_bits, capacity, NULL);
    vtensor_frame_reads(k->frame, note_read, k);
    vtensor_frame_count(k->frame, &k->work);
    vtensor_frame_begin(k->frame);
    return VLM_OK;
}

/* What was counted since the last call. */
static vlm_work counter_take(counter *k) {
    vlm_work work = { k->work.linear, k->work.attention, k->weight_bytes, k->work.state_bytes };
    k->work = (vtensor_work) { 0 };
    k->weight_bytes = 0;
    return work;
}

static vlm_status count_prompt(counter *k, vlm_work *vision, vlm_work *prefill,
                               const vlm_prepared *prepared, const vlm_session_options *options,
                               vlm_error *err) {
    int32_t *positions;
    int64_t next = 0;
    VTRY(vengine_positions(&positions, &next, k->context, prepared, 0, err));
    vengine_run run = { .context = k->context, .frame = k->frame, .positions = positions };
    run.ids = vlm_prepared_ids(prepared, &run.n);
    const vengine_prefill how = { .kv = k->kv, .options = options };
    vlm_status status = vengine_run_features(&run, prepared, err);
    *vision = counter_take(k);
    if (status >= 0) status = vengine_run_prefill(&run, &how, err);
    *prefill = counter_take(k);
    vlm_status ended = vtensor_frame_end(k->frame, status >= 0 ? err : NULL);
    vcore_free(positions);
    return status < 0 ? status : ended;
}

vlm_status vlm_prepared_work(vlm_work *vision, vlm_work *prefill, const vlm_context *context,
                             const vlm_prepared *prepared, const vlm_session_options *session,
                             vlm_error *err) {
    if (!vision || !prefill || !context || !prepared)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_prepared_work: a null argument");
    *vision = *prefill = (vlm_work) { 0 };
    vlm_session_options options;
    VTRY(vengine_session_options(&options, session, err));
    options.progress = NULL;
    counter k;
    size_t n = vlm_prepared_tokens(prepared, NULL);
    VTRY(counter_open(&k, context, options.kv_bits, n, err));
    vlm_status status = count_prompt(&k, vision, prefill, prepared, &options, err);
    counter_close(&k);
    return status;
}

static vlm_status count_step(counter *k, size_t past, size_t batch, vlm_error *err) {
    int32_t ids[VENGINE_BATCH] = { 0 }, positions[VENGINE_BATCH * 4];
    vlm_sequence sequences[VENGINE_BATCH];
    for (size_t i = 0; i < VENGINE_BATCH * 4; i++) positions[i] = (int32_t)past;
    for (size_t i = 0; i < batch; i++)
        sequences[i] = (vlm_sequence) {
            .start = (int64_t)i, .length = 1, .past = (int64_t)past, .kv = k->kv
        };
    k->rows = batch;
    vengine_run_step(k->frame, k->context, ids, positions, sequences, batch);
    return vtensor_frame_end(k->frame, err);
}

vlm_status vlm_context_work(vlm_work *step, const vlm_context *context, size_t past, size_t batch,
                            const vlm_session_options *session, vlm_error *err) {
    if (!step || !context)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_context_work: a null argument");
    *step = (vlm_work) { 0 };
    if (batch < 1 || batch > VENGINE_BATCH)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_context_work: %zu sessions in a step", batch);
    vlm_session_options options;
    VTRY(vengine_session_options(&options, session, err));
    counter k;
    VTRY(counter_open(&k, context, options.kv_bits, past + (past < SIZE_MAX), err));
    vlm_status status = count_step(&k, past, batch, err);
    *step = counter_take(&k);
    counter_close(&k);
    return status;
}
