/* SPDX-License-Identifier: MIT */
/* One prompt, or one step of several sequences, through the decoder. What a run's rows are made of is merge.c's; knows
 * no family. */
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

vlm_tensor vengine_run_rows(const vengine_run *run, size_t begin, size_t end, size_t past,
                            const vlm_kv *kv, vlm_tensor wanted) {
    vlm_frame *f = run->frame;
    const vlm_text *text = run->context->model_type->text(run->context->model);
    int64_t n = (int64_t)(end - begin), axes = vlm_text_get_info(text)->position_axes;
    vengine_rows rows;
    vengine_rows_of(&rows, run, begin, end, past);
    vlm_tensor all = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { axes, (int64_t)run->n },
                                     run->positions);
    const vlm_sequence sequence = { .length = n,
                                    .past = (int64_t)(past + begin),
                                    .kv = kv,
                                    .spans = rows.spans,
                                    .n_spans = rows.n_spans };
    vlm_text_input input = {
        .embeddings = rows.embeddings,
        .positions = vlm_columns(f, all, (int64_t)begin, n),
        .host_positions = run->positions + begin,
        .sequences = &sequence,
        .n_sequences = 1,
        .wanted = wanted,
        .injections = rows.injections,
        .n_injections = rows.n_injections,
    };
    vlm_tensor hidden = vlm_text_forward(f, text, &input);
    vengine_rows_free(&rows);
    return hidden;
}

vlm_status vengine_run_prefill(const vengine_run *run, const vengine_prefill *how, vlm_error *err) {
    const vlm_session_options *o = how->options;
    vlm_frame *f = run->frame;
    size_t n = run->n;
    for (size_t begin = how->first, end; begin < n; begin = end) {
        end = vengine_run_cut(run, begin, o->prefill_step);
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
        .host_positions = positions,
        .sequences = sequences,
        .n_sequences = (int)n,
    };
    return vlm_text_logits(f, text, vlm_text_forward(f, text, &input));
}
