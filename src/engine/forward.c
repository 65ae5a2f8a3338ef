/* SPDX-License-Identifier: MIT */
/* One prompt through the model: tower, merge, decoder. Owns where features meet text; knows no family. */
#include "engine/engine.h"

vlm_status vengine_positions(int32_t **out, int64_t *next, const vlm_context *c,
                             const vlm_prepared *prepared, size_t past, vlm_error *err) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    size_t n, count;
    vlm_prepared_ids(prepared, &n);
    *out = NULL;
    if (!vcore_mul(n, (size_t)text->position_axes, &count))
        return vcore_fail(err, VLM_ERR_LIMIT, "the prompt is too long");
    int32_t *at = vcore_alloc_array(count, sizeof *at);
    if (!at) return vcore_no_memory(err, "positions");
    vlm_status status = VLM_OK;
    if (c->model_type->positions) {
        vlm_positions p = { .at = at, .n = (int64_t)n, .past = (int64_t)past, .next = *next };
        status = c->model_type->positions(c->model, prepared, &p, err);
        *next = p.next;
    } else {
        for (size_t i = 0; i < n; i++) at[i] = (int32_t)(*next + (int64_t)i);
        *next += (int64_t)n;
    }
    if (status < 0) {
        vcore_free(at);
        return status;
    }
    *out = at;
    return VLM_OK;
}

static size_t count_id(const uint32_t *ids, size_t n, uint32_t id) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ids[i] == id;
    return count;
}

/* Every id must be a row of the table or a media token, whose embedding nobody looks up. Tokenizers may have
 * more tokens than that: their files', and those that a processor adds. */
static vlm_status check_ids(const vengine_run *run, vlm_error *err) {
    const vlm_context *c = run->context;
    uint32_t rows = (uint32_t)vlm_text_get_info(c->model_type->text(c->model))->vocab_size;
    for (size_t i = 0; i < run->n; i++) {
        bool known = run->ids[i] < rows;
        for (int k = 0; k < run->n_features; k++) known |= run->ids[i] == run->features[k].token_id;
        if (!known)
            return vcore_fail(err, VLM_ERR_PROCESSING,
                              "the prompt's token %zu has id %u, but the model has embeddings for %u", i,
                              run->ids[i], rows);
    }
    return VLM_OK;
}

vlm_status vengine_run_features(vengine_run *run, const vlm_prepared *prepared, vlm_error *err) {
    const vlm_context *c = run->context;
    run->n_features = 0;
    if (c->model_type->features)
        run->n_features = c->model_type->features(run->frame, c->model, prepared, run->features);
    if (!vlm_frame_ok(run->frame)) return vtensor_frame_end(run->frame, err);
    for (int i = 0; i < run->n_features; i++) {
        const vlm_features *x = &run->features[i];
        size_t slots = count_id(run->ids, run->n, x->token_id);
        size_t rows = x->rows.rank ? (size_t)x->rows.shape[0] : 0;
        if (slots != rows)
            return vcore_fail(err, VLM_ERR_MEDIA_COUNT,
                              "the prompt has %zu media tokens (id %u) for %zu features", slots,
                              x->token_id, rows);
        vlm_dump(run->frame, x->name, x->rows);
    }
    return check_ids(run, err);
}

/* Puts the features of media tokens in [begin, end) in the place of their embeddings. */
static void merge(const vengine_run *run, vlm_tensor embeddings, size_t begin, size_t end) {
    vlm_frame *f = run->frame;
    for (int i = 0; i < run->n_features; i++) {
        const vlm_features *x = &run->features[i];
        int64_t first = (int64_t)count_id(run->ids, begin, x->token_id);
        int64_t n = (int64_t)count_id(run->ids + begin, end - begin, x->token_id);
        if (n == 0) continue;
        vlm_scope scope = vlm_scope_begin(f);
        int32_t *at = vcore_alloc_array((size_t)n, sizeof *at);
        if (!at) {
            vlm_frame_fail(f, VLM_ERR_MEMORY, "merge: out of memory");
            return;
        }
        for (size_t k = begin, j = 0; k < end; k++)
            if (run->ids[k] == x->token_id) at[j++] = (int32_t)(k - begin);
        vlm_tensor index = vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, at);
        vcore_free(at);
        vlm_scatter_to(f, embeddings, index, vlm_rows(f, x->rows, first, n));
        vlm_scope_end(f, scope);
    }
}

/* Embeddings of rows [begin, end), features in their places. Media tokens may lie beyond the vocabulary: they
 * are embedded as token 0 and then replaced. */
static vlm_tensor embed(const vengine_run *run, const vlm_text *text, size_t begin, size_t end) {
    vlm_frame *f = run->frame;
    int64_t n = (int64_t)(end - begin);
    uint32_t *ids = vcore_alloc_array((size_t)n, sizeof *ids);
    if (!ids) return vlm_frame_fail(f, VLM_ERR_MEMORY, "prompt: out of memory");
    for (size_t i = begin; i < end; i++) {
        bool media = false;
        for (int k = 0; k < run->n_features; k++) media |= run->ids[i] == run->features[k].token_id;
        ids[i - begin] = media ? 0 : run->ids[i];
    }
    vlm_tensor x = vlm_text_embed(f, text, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, ids));
    vcore_free(ids);
    merge(run, x, begin, end);
    return x;
}

vlm_tensor vengine_run_rows(const vengine_run *run, size_t begin, size_t end, size_t past,
                            const vlm_kv *kv, vlm_tensor wanted) {
    vlm_frame *f = run->frame;
    const vlm_context *c = run->context;
    const vlm_text *text = c->model_type->text(c->model);
    int64_t n = (int64_t)(end - begin), axes = vlm_text_get_info(text)->position_axes;
    vlm_tensor x = embed(run, text, begin, end);
    vlm_tensor all = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { axes, (int64_t)run->n },
                                     run->positions);
    vlm_sequence sequence = { .length = n, .past = (int64_t)(past + begin), .kv = kv };
    if (c->model_type->bidirectional_prompt) {
        sequence.spans = &run->span;
        sequence.n_spans = 1;
    }
    vlm_text_input input = {
        .embeddings = x,
        .positions = vlm_columns(f, all, (int64_t)begin, n),
        .sequences = &sequence,
        .n_sequences = 1,
        .wanted = wanted,
    };
    return vlm_text_forward(f, text, &input);
}

vlm_status vengine_run_prefill(const vengine_run *run, const vengine_prefill *how, vlm_error *err) {
    const vlm_session_options *o = how->options;
    vlm_frame *f = run->frame;
    size_t n = run->n, step = run->context->model_type->bidirectional_prompt ? n : o->prefill_step;
    for (size_t begin = how->first; begin < n; begin += step) {
        size_t end = n - begin < step ? n : begin + step;
        vlm_scope scope = vlm_scope_begin(f);
        const int64_t n_wanted = end == n; /* no logits follow from the steps before */
        const int32_t last = (int32_t)(end - begin - 1);
        vlm_tensor wanted = vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n_wanted, &last);
        vlm_tensor hidden = vengine_run_rows(run, begin, end, how->past, how->kv, wanted);
        if (o->progress && o->progress(o->progress_user, end, n))
            return vcore_fail(err, VLM_ERR_CANCELLED, "prefill: cancelled");
        if (end == n) { /* the last thing that can fail: until then the old logits stay */
            const vlm_text *text = run->context->model_type->text(run->context->model);
            vlm_tensor logits = vlm_text_logits(f, text, hidden);
            if (vlm_frame_ok(f)) VTRY(vtensor_read(f, logits, how->logits, err));
        }
        vlm_scope_end(f, scope);
    }
    return VLM_OK;
}

vlm_tensor vengine_run_step(vlm_frame *f, const vlm_context *c, const int32_t *ids,
                            const int32_t *positions, const vlm_sequence *sequences, size_t n) {
    const vlm_text *text = c->model_type->text(c->model);
    int64_t axes = vlm_text_get_info(text)->position_axes, rows = (int64_t)n;
    vlm_text_input input = {
        .embeddings = vlm_text_embed(f, text, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &rows, ids)),
        .positions = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { axes, rows }, positions),
        .sequences = sequences,
        .n_sequences = (int)n,
    };
    return vlm_text_logits(f, text, vlm_text_forward(f, text, &input));
}
