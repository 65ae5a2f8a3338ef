/* SPDX-License-Identifier: MIT */
/* Where features meet text: what the rows of a prompt are made of, who of them sees whom, where features enter again
 * behind a layer, and where a prompt may be cut. Knows no family. */
#include "engine/engine.h"

static size_t count_id(const uint32_t *ids, size_t n, uint32_t id) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ids[i] == id;
    return count;
}

static bool is_media(const vengine_run *run, uint32_t id) {
    for (int k = 0; k < run->n_features; k++)
        if (id == run->features[k].token_id) return true;
    return false;
}

/* ---- features ---- */
/* Tokenizers may have more tokens than the table has rows: their files', and those that a processor adds. */
vlm_status vengine_run_check_ids(const vengine_run *run, size_t first, vlm_error *err) {
    const vlm_context *c = run->context;
    uint32_t rows = (uint32_t)vlm_text_get_info(c->model_type->text(c->model))->vocab_size;
    for (size_t i = first; i < run->n; i++)
        if (run->ids[i] >= rows && !is_media(run, run->ids[i]))
            return vcore_fail(err, VLM_ERR_PROCESSING,
                              "the prompt's token %zu has id %u, but the model has embeddings for %u", i,
                              run->ids[i], rows);
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
    return vengine_run_check_ids(run, 0, err);
}

/* ---- rows of a pass ---- */
/* Where the media tokens of features i stand in [begin, end): I32, counted from begin. */
static vlm_tensor places_of(const vengine_run *run, int i, size_t begin, size_t end) {
    const uint32_t id = run->features[i].token_id;
    int64_t n = (int64_t)count_id(run->ids + begin, end - begin, id);
    int32_t *at = vcore_alloc_array((size_t)n + 1, sizeof *at);
    if (!at) return vlm_frame_fail(run->frame, VLM_ERR_MEMORY, "merge: out of memory");
    for (size_t k = begin, j = 0; k < end; k++)
        if (run->ids[k] == id) at[j++] = (int32_t)(k - begin);
    vlm_tensor index = vlm_tensor_from(run->frame, VLM_DTYPE_I32, 1, &n, at);
    vcore_free(at);
    return index;
}

/* Puts features in the place of their tokens' embeddings, and notes those that enter behind layers. */
static void merge(vengine_rows *rows, const vengine_run *run, size_t begin, size_t end) {
    vlm_frame *f = run->frame;
    for (int i = 0; i < run->n_features; i++) {
        const vlm_features *x = &run->features[i];
        int64_t first = (int64_t)count_id(run->ids, begin, x->token_id);
        int64_t n = (int64_t)count_id(run->ids + begin, end - begin, x->token_id);
        if (n == 0) continue;
        vlm_scope scope = vlm_scope_begin(f);
        vlm_tensor index = places_of(run, i, begin, end);
        vlm_scatter_to(f, rows->embeddings, index, vlm_rows(f, x->rows, first, n));
        if (x->n_deep == 0) vlm_scope_end(f, scope); /* else the index is needed by the layers */
        for (int k = 0; k < x->n_deep; k++)
            rows->injections[rows->n_injections++] =
                (vlm_injection) { k, index, vlm_rows(f, x->deep[k], first, n) };
    }
}

/* Embeddings of the tokens. Media tokens may lie beyond the vocabulary: they are embedded as token 0 and then
 * replaced. */
static vlm_tensor embed(const vengine_run *run, size_t begin, size_t end) {
    vlm_frame *f = run->frame;
    const vlm_context *c = run->context;
    int64_t n = (int64_t)(end - begin);
    uint32_t *ids = vcore_alloc_array((size_t)n, sizeof *ids);
    if (!ids) return vlm_frame_fail(f, VLM_ERR_MEMORY, "prompt: out of memory");
    for (size_t i = begin; i < end; i++) ids[i - begin] = is_media(run, run->ids[i]) ? 0 : run->ids[i];
    vlm_tensor x = vlm_text_embed(f, c->model_type->text(c->model), vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, ids));
    vcore_free(ids);
    return x;
}

/* ---- who sees whom, and cuts ---- */
/* Behind the last of the media tokens of one kind that begin at i; i when there is none. */
static size_t end_of_media(const vengine_run *run, size_t i) {
    size_t end = i;
    if (is_media(run, run->ids[i]))
        while (end < run->n && run->ids[end] == run->ids[i]) end++;
    return end;
}

/* Runs of media tokens in [begin, end), in positions. */
static void find_media(vengine_rows *rows, const vengine_run *run, size_t begin, size_t end, size_t past) {
    size_t n = 0, stop;
    for (size_t i = begin; i < end; i = stop > i ? stop : i + 1) n += (stop = end_of_media(run, i)) > i;
    if (n == 0) return;
    rows->spans = rows->own = vcore_alloc_array(n, sizeof *rows->own);
    if (!rows->own) {
        vlm_frame_fail(run->frame, VLM_ERR_MEMORY, "merge: out of memory");
        return;
    }
    for (size_t i = begin; i < end; i = stop > i ? stop : i + 1)
        if ((stop = end_of_media(run, i)) > i)
            rows->own[rows->n_spans++] = (vlm_span) { (int64_t)(past + i), (int64_t)(past + stop) };
}

void vengine_rows_of(vengine_rows *rows, const vengine_run *run, size_t begin, size_t end, size_t past) {
    const vlm_model_type *type = run->context->model_type;
    *rows = (vengine_rows) { .embeddings = embed(run, begin, end) };
    merge(rows, run, begin, end);
    if (type->bidirectional_prompt) {
        rows->whole = (vlm_span) { (int64_t)past, (int64_t)(past + run->n) };
        rows->spans = &rows->whole;
        rows->n_spans = 1;
    } else if (type->bidirectional_media) {
        find_media(rows, run, begin, end, past);
    }
}

void vengine_rows_free(vengine_rows *rows) {
    vcore_free(rows->own);
    rows->own = NULL;
}

size_t vengine_run_cut(const vengine_run *run, size_t begin, size_t step) {
    const vlm_model_type *type = run->context->model_type;
    size_t end = run->n - begin < step || type->bidirectional_prompt ? run->n : begin + step;
    if (type->bidirectional_media && end < run->n && is_media(run, run->ids[end - 1]))
        while (end < run->n && run->ids[end] == run->ids[end - 1]) end++;
    return end;
}
