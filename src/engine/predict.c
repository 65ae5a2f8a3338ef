/* SPDX-License-Identifier: MIT */
/* What a run of one prompt would hold in memory, before any weight is read: its own forward pass
 * over shapes alone, by the session's own rules. Owns the account of which pages of the
 * checkpoint's files would be read. */
#include "engine/session/session.h"

#include <stdlib.h>

/* A page that is read brings those around it: Linux maps sixteen of 4 KiB at a time when they are
 * in the page cache (fault_around_bytes). */
#define WINDOW ((uintptr_t)65536)
enum { MAX_TABLES = 16, MAX_STACKS = 4096 };

typedef struct range {
    uintptr_t begin, end;
} range;

/* Experts, of which nobody knows beforehand which are met: the more tokens, the more of them. */
typedef struct stack {
    uintptr_t begin;
    size_t expert_bytes;
    uint64_t n, met, each; /* each: that another token meets */
} stack;

/* The weights that a pass reads. */
typedef struct reads {
    range *at; /* whole windows */
    size_t n, cap;
    range tables[MAX_TABLES]; /* of which only some rows are read */
    size_t row_bytes[MAX_TABLES], n_tables;
    stack *stacks; /* [MAX_STACKS], made when the first comes */
    size_t n_stacks;
    const uint32_t *ids; /* the rows, each once */
    size_t n_ids;
    bool failed;
} reads;

static void add_range(reads *r, const void *p, size_t bytes) {
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 1024;
        range *more = vcore_realloc_array(r->at, cap, sizeof *more);
        r->failed |= !more;
        if (!more) return;
        r->at = more;
        r->cap = cap;
    }
    uintptr_t begin = (uintptr_t)p / WINDOW * WINDOW, end = (uintptr_t)p + bytes;
    r->at[r->n++] = (range) { begin, (end + WINDOW - 1) / WINDOW * WINDOW };
}

/* Rows of a table of embeddings: the prompt's tokens. */
static void add_rows(reads *r, vlm_tensor table, size_t row_bytes) {
    uintptr_t begin = (uintptr_t)table.data;
    for (size_t i = 0; i < r->n_tables; i++)
        if (r->tables[i].begin == begin) return;
    if (r->n_tables == MAX_TABLES) return;
    r->tables[r->n_tables] = (range) { begin, begin + row_bytes * (size_t)table.shape[0] };
    r->row_bytes[r->n_tables++] = row_bytes;
    for (size_t i = 0; i < r->n_ids; i++)
        if ((int64_t)r->ids[i] < table.shape[0])
            add_range(r, (const char *)table.data + r->ids[i] * row_bytes, row_bytes);
}

/* Another pass over a stack meets others. What there is no room for counts as read. */
static void add_experts(reads *r, vlm_tensor weight, size_t expert_bytes, vtensor_part part) {
    const uintptr_t begin = (uintptr_t)weight.data;
    size_t i = 0;
    if (!r->stacks) r->stacks = vcore_alloc_array(MAX_STACKS, sizeof *r->stacks);
    r->failed |= !r->stacks;
    while (r->stacks && i < r->n_stacks && r->stacks[i].begin != begin) i++;
    if (!r->stacks || i == MAX_STACKS) {
        add_range(r, weight.data, expert_bytes * (size_t)weight.shape[0]);
        return;
    }
    if (i == r->n_stacks)
        r->stacks[r->n_stacks++] = (stack) { begin, expert_bytes, (uint64_t)weight.shape[0], 0, (uint64_t)part.each };
    r->stacks[i].met += (uint64_t)(part.rows * part.each);
}

static void note_read(void *user, vlm_tensor weight, vtensor_part part) {
    size_t row_bytes = vtensor_dtype_size(weight.dtype);
    for (int i = 1; i < weight.rank; i++) row_bytes *= (size_t)weight.shape[i];
    if (part.kind == VTENSOR_SOME_ROWS)
        add_rows(user, weight, row_bytes);
    else if (part.kind == VTENSOR_EXPERTS)
        add_experts(user, weight, row_bytes, part);
    else
        add_range(user, weight.data, row_bytes * (size_t)weight.shape[0]);
}

/* Tensors that the load itself reads. */
static void add_copied(reads *r, const vlm_context *c) {
    for (size_t i = 0; c->tensors && i < vio_tensors_count(c->tensors); i++) {
        const vio_tensor *t = vio_tensors_at(c->tensors, i);
        if (vmodel_build_copied(c->build, i)) add_range(r, t->data, t->bytes);
    }
}

static int by_begin(const void *a, const void *b) {
    uintptr_t x = ((const range *)a)->begin, y = ((const range *)b)->begin;
    return (x > y) - (x < y);
}

/* Sorts the ranges and joins what overlaps. */
static void join(reads *r) {
    size_t n = 0;
    if (r->n) qsort(r->at, r->n, sizeof *r->at, by_begin);
    for (size_t i = 0; i < r->n; i++) {
        if (n && r->at[i].begin <= r->at[n - 1].end) {
            if (r->at[i].end > r->at[n - 1].end) r->at[n - 1].end = r->at[i].end;
        } else {
            r->at[n++] = r->at[i];
        }
    }
    r->n = n;
}

/* Bytes of joined ranges within one. */
static uint64_t within(const reads *r, range limit) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->n; i++) {
        uintptr_t begin = r->at[i].begin > limit.begin ? r->at[i].begin : limit.begin;
        uintptr_t end = r->at[i].end < limit.end ? r->at[i].end : limit.end;
        if (begin < end) bytes += end - begin;
    }
    return bytes;
}

/* Experts that were met and those that tokens to come meet, each far from the others; all when that is no less. */
static void add_met(reads *r, const stack *s, uint64_t tokens_to_come) {
    uint64_t met = s->met + tokens_to_come * s->each, most = s->n * s->expert_bytes;
    uint64_t bytes = met < s->n ? met * (WINDOW + s->expert_bytes) : most;
    add_range(r, (const void *)s->begin, (size_t)(bytes < most ? bytes : most));
}

/* All that was read, and for every token to come a row of each table, far from the others. */
static uint64_t read_bytes(reads *r, size_t tokens_to_come) {
    for (size_t i = 0; i < r->n_stacks; i++) add_met(r, &r->stacks[i], tokens_to_come);
    join(r);
    uint64_t bytes = within(r, (range) { 0, UINTPTR_MAX });
    for (size_t i = 0; i < r->n_tables; i++) {
        range table = r->tables[i];
        uint64_t unread = table.end - table.begin - within(r, table);
        uint64_t rows = (uint64_t)tokens_to_come * (WINDOW + r->row_bytes[i]);
        bytes += rows < unread ? rows : unread;
    }
    return bytes;
}

/* ---- the run --------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The prompt's ids, each once. Owned. */
static uint32_t *distinct(const uint32_t *ids, size_t n, size_t *count) {
    uint32_t *list = vcore_alloc_array(n + 1, sizeof *list);
    *count = 0;
    if (!list) return NULL;
    memcpy(list, ids, n * sizeof *list);
    qsort(list, n, sizeof *list, by_id);
    for (size_t i = 0; i < n; i++)
        if (!*count || list[i] != list[*count - 1]) list[(*count)++] = list[i];
    return list;
}

static vlm_status run(vengine_memory *out, vengine_run *r, const vlm_prepared *prepared,
                      const vlm_session_options *options, const vlm_kv *kv, vlm_error *err) {
    const vlm_context *c = r->context;
    const vengine_prefill how = { .kv = kv, .options = options };
    vtensor_frame_begin(r->frame);
    vlm_status status = vengine_run_features(r, prepared, err);
    if (status >= 0) status = vengine_run_prefill(r, &how, err);
    vlm_status ended = vtensor_frame_end(r->frame, status >= 0 ? err : NULL);
    out->temporaries = vtensor_frame_held(r->frame);
    out->scratch = vtensor_backend_scratch(c->backend);
    return status < 0 ? status : ended;
}

/* With everything that the run needs made, and freed again. */
static vlm_status dry_run(vengine_memory *out, const vlm_context *c, const vlm_prepared *prepared,
                          const vlm_session_options *options, vlm_error *err) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    vengine_run r = { .context = c };
    r.ids = vlm_prepared_ids(prepared, &r.n);
    reads seen = { .n = 0 };
    uint32_t *ids = distinct(r.ids, r.n, &seen.n_ids);
    vlm_kv *kv = vcore_alloc_array((size_t)text->layers, sizeof *kv);
    int32_t *positions = NULL;
    int64_t next = 0;
    size_t capacity = vengine_session_capacity(options, r.n), state = 0;
    vlm_status status = ids && kv ? VLM_OK : vcore_no_memory(err, "dry run");
    if (status >= 0) status = vengine_state_bytes(&state, c, options->kv_bits, capacity, err);
    if (status >= 0) status = vengine_positions(&positions, &next, c, prepared, 0, err);
    if (status >= 0) status = vtensor_frame_new(&r.frame, c->backend, c->mode, err);
    if (status >= 0) {
        seen.ids = ids;
        r.positions = positions;
        vengine_state_place(kv, c, options->kv_bits, capacity, NULL);
        vtensor_frame_reads(r.frame, note_read, &seen);
        add_copied(&seen, c);
        status = run(out, &r, prepared, options, kv, err);
        out->weights = read_bytes(&seen, options->max_tokens);
        out->state = state;
        out->logits = (uint64_t)text->vocab_size * sizeof(float) + capacity * 2 * sizeof(uint32_t);
        if (status >= 0 && seen.failed) status = vcore_no_memory(err, "dry run");
    }
    vtensor_frame_free(r.frame);
    vcore_free(positions);
    vcore_free(kv);
    vcore_free(ids);
    vcore_free(seen.at);
    vcore_free(seen.stacks);
    return status;
}

static uint64_t prepared_bytes(const vlm_prepared *prepared) {
    uint64_t bytes = vlm_prepared_tokens(prepared, NULL) * sizeof(uint32_t);
    for (size_t i = 0; i < vmodel_prepared_count(prepared); i++) {
        const vlm_array *a = vmodel_prepared_at(prepared, i);
        uint64_t n = vtensor_dtype_size(a->dtype);
        for (int d = 0; d < a->rank; d++) n *= (uint64_t)a->shape[d];
        bytes += n;
    }
    return bytes;
}

/* What a device would hold in place of the host. */
static void move_to_device(vengine_memory *m, const vlm_context *c) {
    vtensor_room room;
    if (!vtensor_backend_room(c->backend, &room)) return;
    m->on_device = true;
    m->device_weights = c->info.weight_bytes + c->info.computed_bytes;
    m->device_state = m->state;
    m->device_temporaries = m->temporaries;
    m->device_own = room.frame;
    m->device_peak = m->device_weights + m->state + m->temporaries + room.frame;
    m->device_free = room.available;
    m->device_total = room.total;
    m->state = m->temporaries = m->scratch = 0;
}

vlm_status vengine_predict(vengine_memory *out, const vlm_context *c, const vlm_input *input,
                           const vlm_session_options *options, vlm_error *err) {
    *out = (vengine_memory) { 0 };
    if (!c->processor)
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: there is no %s, which a prediction needs",
                          c->dir, c->tokenizer ? "processor config" : "tokenizer.json");
    if (!c->tensors)
        return vcore_fail(err, VLM_ERR_NOT_FOUND,
                          "%s: there are no weights, which a prediction needs", c->dir);
    vlm_prepared *prepared;
    VTRY(vengine_prepare(&prepared, &out->pictures, c, input, err));
    vlm_status status = dry_run(out, c, prepared, options, err);
    out->prompt_tokens = vlm_prepared_tokens(prepared, &out->media_tokens);
    out->input = prepared_bytes(prepared);
    vlm_prepared_free(prepared);
    out->computed = c->info.computed_bytes;
    out->tokenizer = vtext_tokenizer_bytes(c->tokenizer);
    move_to_device(out, c);
    out->peak = out->weights + out->computed + out->tokenizer + out->input + out->state
                + out->temporaries + out->scratch + out->logits;
    return status;
}
