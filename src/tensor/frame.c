/* SPDX-License-Identifier: MIT */
/* One forward pass: the stack of temporaries, scopes, the sticky error, dump points, cancelling.
 * Owns the memory of temporaries; knows no operation. */
#include "tensor/backend.h"

#include <stdarg.h>
#include <stdio.h>

enum { FIRST_CHUNK = 1 << 20 };

const char *vtensor_backend_name(const vtensor_backend *b) {
    return b->table->name;
}

vcore_pool *vtensor_backend_pool(const vtensor_backend *b) {
    return b->pool;
}

void vtensor_backend_free(vtensor_backend *b) {
    if (b) b->table->free(b);
}

size_t vtensor_backend_scratch(const vtensor_backend *b) {
    return b->table->scratch ? b->table->scratch(b) : 0;
}

bool vtensor_backend_room(const vtensor_backend *b, vtensor_room *room) {
    *room = (vtensor_room) { 0 };
    return b->table->room && b->table->room(b, room);
}

vlm_status vtensor_expect(vtensor_backend *b, size_t bytes, vlm_error *err) {
    return b->table->expect ? b->table->expect(b, bytes, err) : VLM_OK;
}

vlm_status vtensor_place(vtensor_backend *b, vlm_tensor *weight, vlm_error *err) {
    if (!b->table->place || !weight->data) return VLM_OK;
    size_t bytes = (size_t)vtensor_count(*weight) * vtensor_dtype_size(weight->dtype);
    return b->table->place(b, &weight->data, weight->data, bytes, err);
}

static vlm_status place_rows(vtensor_backend *b, vlm_tensor *weight, vlm_error *err) {
    const size_t size = vtensor_dtype_size(weight->dtype);
    size_t pitch = (size_t)weight->shape[1] * size;
    VTRY(b->table->place_rows(b, &weight->data, &pitch, weight->data, (size_t)weight->shape[0], pitch, err));
    weight->stride[0] = (int64_t)(pitch / size);
    return VLM_OK;
}

static vlm_status place_widened(vtensor_backend *b, vlm_tensor *bias, vlm_error *err) {
    const int64_t n = vtensor_count(*bias);
    float *wide = vcore_alloc_array((size_t)n, sizeof *wide);
    if (!wide) return vcore_no_memory(err, "bias");
    const uint16_t *from = bias->data;
    for (int64_t i = 0; i < n; i++) wide[i] = bias->dtype == VLM_DTYPE_BF16 ? vcore_bf16_to_f32(from[i]) : vcore_f16_to_f32(from[i]);
    vlm_status status = b->table->place(b, &bias->data, wide, (size_t)n * sizeof *wide, err);
    vcore_free(wide);
    bias->dtype = VLM_DTYPE_F32;
    return status;
}

vlm_status vtensor_place_linear(vtensor_backend *b, vlm_matrix *weight, vlm_tensor *bias, vlm_error *err) {
    vlm_tensor *w = &weight->data, *rest[] = { &weight->scales, &weight->biases, &weight->factor };
    const bool half = bias && (bias->dtype == VLM_DTYPE_BF16 || bias->dtype == VLM_DTYPE_F16);
    if (b->table->place_rows && w->rank == 2 && w->data && weight->storage == VLM_STORAGE_DENSE && w->dtype == VLM_DTYPE_BF16)
        VTRY(place_rows(b, w, err));
    else if (w->rank)
        VTRY(vtensor_place(b, w, err));
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (rest[i]->rank) VTRY(vtensor_place(b, rest[i], err));
    if (!bias || !bias->rank) return VLM_OK;
    return b->table->place && bias->data && half ? place_widened(b, bias, err) : vtensor_place(b, bias, err);
}

vlm_status vtensor_placed(vtensor_backend *b, vlm_error *err) {
    return b->table->placed ? b->table->placed(b, err) : VLM_OK;
}

void *vtensor_memory_new(vtensor_backend *b, size_t bytes) {
    return b->table->memory_new(b, bytes);
}

void vtensor_memory_free(vtensor_backend *b, void *p) {
    if (p) b->table->memory_free(b, p);
}

/* ---- life of a frame ---- */
void vtensor_memory_touch(vtensor_backend *b, void *p, int byte, size_t bytes) {
    if (b->table->host_memory) memset(p, byte, bytes);
}

bool vtensor_backend_quantized_state(const vtensor_backend *b) {
    return b->table->quantized_state;
}

int64_t vtensor_frame_piece_values(const vlm_frame *f) {
    return f->table->piece_values;
}

vlm_status vtensor_frame_new(vlm_frame **out, vtensor_backend *b, vtensor_mode mode,
                             vlm_error *err) {
    vlm_frame *f = *out = vcore_alloc(sizeof *f);
    if (!f) return vcore_no_memory(err, "frame");
    f->backend = b;
    f->table = b->table;
    f->mode = mode;
    f->limit = (size_t)1 << (sizeof(size_t) == 8 ? 46 : 31);
    vlm_status status = b->table->frame_open ? b->table->frame_open(f, err) : VLM_OK;
    if (status < 0) {
        vcore_free(f);
        *out = NULL;
    }
    return status;
}

static void free_chunks(vlm_frame *f, int keep) {
    while (f->n_chunks > keep) {
        vtensor_chunk *c = &f->chunks[--f->n_chunks];
        f->table->memory_free(f->backend, c->data);
        f->held -= c->size;
        *c = (vtensor_chunk) { 0 };
    }
}

void vtensor_frame_free(vlm_frame *f) {
    if (!f) return;
    if (f->table->frame_close) f->table->frame_close(f);
    free_chunks(f, 0);
    vcore_free(f);
}

static bool add_chunk(vlm_frame *f, size_t size) {
    vtensor_chunk *c = &f->chunks[f->n_chunks];
    c->data = f->table->memory_new(f->backend, size);
    if (!c->data) return false;
    c->size = size;
    f->n_chunks++;
    f->held += size;
    if (f->held > f->held_peak) f->held_peak = f->held;
    return true;
}

void vtensor_frame_begin(vlm_frame *f) {
    f->error.code = VLM_OK;
    f->error.message[0] = 0;
    if (f->n_chunks > 1) { /* what the last pass found piecemeal becomes one piece */
        free_chunks(f, 0);
        add_chunk(f, f->pass_peak); /* without memory for it the pass grows chunk by chunk again */
    }
    f->used = f->pass_peak = 0;
    f->chunk = 0;
    if (f->table->frame_begin) f->table->frame_begin(f);
}

vlm_status vtensor_frame_end(vlm_frame *f, vlm_error *err) {
    if (f->table->wait) f->table->wait(f);
    if (f->error.code != VLM_OK) return vcore_fail(err, f->error.code, "%s", f->error.message);
    return VLM_OK;
}

size_t vtensor_frame_peak(const vlm_frame *f) {
    return f->peak;
}

size_t vtensor_frame_held(const vlm_frame *f) {
    return f->held_peak;
}

vtensor_mode vtensor_frame_mode(const vlm_frame *f) {
    return f->mode;
}

void vtensor_frame_limit(vlm_frame *f, size_t bytes) {
    f->limit = bytes;
}

/* ---- errors ---- */
bool vlm_frame_ok(const vlm_frame *f) {
    return f->error.code == VLM_OK;
}

vlm_tensor vlm_frame_fail(vlm_frame *f, vlm_status code, const char *fmt, ...) {
    vlm_tensor none = { 0 };
    if (f->error.code != VLM_OK) return none;
    char line[sizeof f->error.message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    vcore_fail(&f->error, code < 0 ? code : VLM_ERR_BACKEND, "%s", line);
    return none;
}

bool vtensor_enter(vlm_frame *f) {
    if (f->error.code != VLM_OK) return false;
    if (f->poll && f->poll(f->poll_user)) {
        vlm_frame_fail(f, VLM_ERR_CANCELLED, "the caller asked to stop");
        return false;
    }
    return true;
}

void vtensor_frame_cancel(vlm_frame *f, int (*poll)(void *user), void *user) {
    f->poll = poll;
    f->poll_user = user;
}

/* ---- dump points ---- */
void vtensor_frame_dump(vlm_frame *f, vtensor_dump_fn fn, void *user) {
    f->dump = fn;
    f->dump_user = user;
}

void vtensor_frame_reads(vlm_frame *f, vtensor_reads_fn fn, void *user) {
    f->reads = fn;
    f->reads_user = user;
}

void vtensor_frame_count(vlm_frame *f, vtensor_work *work) {
    f->work = work;
}

void vlm_dump(vlm_frame *f, const char *name, vlm_tensor x) {
    if (!f->dump || f->error.code != VLM_OK || f->table->shapes_only || x.rank == 0) return;
    f->dump(f->dump_user, f, name, x);
}

void vlm_dump_at(vlm_frame *f, const char *name, int index, vlm_tensor x) {
    if (!f->dump) return;
    char full[128];
    snprintf(full, sizeof full, "%s.%d", name, index);
    vlm_dump(f, full, x);
}

/* ---- the stack of temporaries ---- */
vlm_scope vlm_scope_begin(vlm_frame *f) {
    return f->used;
}

void vlm_scope_end(vlm_frame *f, vlm_scope scope) {
    if (scope > f->used) {
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "a scope was ended after one that encloses it");
        return;
    }
    f->used = scope;
    while (f->chunk > 0 && f->chunks[f->chunk].base >= scope) f->chunk--;
}

/* Makes the next chunk the one in use; it must hold `bytes`. */
static bool next_chunk(vlm_frame *f, size_t bytes) {
    int next = f->n_chunks ? f->chunk + 1 : 0;
    if (next < f->n_chunks && f->chunks[next].size < bytes) free_chunks(f, next);
    if (next >= f->n_chunks) {
        size_t size = f->n_chunks ? f->chunks[f->n_chunks - 1].size * 2 : FIRST_CHUNK;
        if (size < bytes) size = bytes;
        if (f->n_chunks == VTENSOR_MAX_CHUNKS) return false;
        if (!add_chunk(f, size) && (size == bytes || !add_chunk(f, bytes))) return false;
    }
    f->chunk = next;
    f->chunks[next].base = f->used;
    return true;
}

static void fail_for_room(vlm_frame *f, size_t bytes) {
    vtensor_room room;
    if (vtensor_backend_room(f->backend, &room))
        vlm_frame_fail(f, VLM_ERR_MEMORY, "no memory for temporaries: %zu bytes wanted beside %zu, %zu free of %zu on the device",
                       bytes, f->held, room.available, room.total);
    else
        vlm_frame_fail(f, VLM_ERR_MEMORY, "no memory for a temporary of %zu bytes", bytes);
}

/* False when the frame failed. The pointer is NULL in a dry run. */
static bool push(vlm_frame *f, size_t bytes, void **p) {
    size_t padded, used;
    *p = NULL;
    if (!vcore_add(bytes, VTENSOR_ALIGN - 1, &padded)) goto limit;
    padded &= ~(size_t)(VTENSOR_ALIGN - 1);
    if (!vcore_add(f->used, padded, &used) || used > f->limit) goto limit;
    const vtensor_chunk *c = &f->chunks[f->chunk];
    if (f->n_chunks == 0 || used - c->base > c->size) {
        if (!next_chunk(f, padded)) {
            fail_for_room(f, bytes);
            return false;
        }
        c = &f->chunks[f->chunk];
    }
    if (!f->table->shapes_only) *p = c->data + (f->used - c->base);
    f->used = used;
    if (used > f->pass_peak) f->pass_peak = used;
    if (used > f->peak) f->peak = used;
    return true;
limit:
    vlm_frame_fail(f, VLM_ERR_LIMIT, "temporaries of more than %zu bytes", f->limit);
    return false;
}

vlm_tensor vtensor_new(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape) {
    if (rank < 1 || rank > VLM_MAX_RANK)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "a tensor of rank %d", rank);
    size_t bytes = vtensor_dtype_size(dtype);
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "a tensor with dimension %lld",
                                  (long long)shape[i]);
        if (shape[i] && !vcore_mul(bytes, (size_t)shape[i], &bytes))
            return vlm_frame_fail(f, VLM_ERR_LIMIT, "a tensor's size overflows");
    }
    if (bytes > INT64_MAX) return vlm_frame_fail(f, VLM_ERR_LIMIT, "a tensor's size overflows");
    vlm_tensor t = vtensor_of(NULL, dtype, rank, shape);
    if (vtensor_count(t) == 0) bytes = 0;
    if (!push(f, bytes ? bytes : 1, &t.data)) t.rank = 0;
    return t;
}

/* ---- between host and backend ---- */
static vlm_status read_checked(vlm_frame *f, vlm_tensor x, void *host) {
    if (!vtensor_contiguous(x) || (vtensor_is_float(x.dtype) && x.dtype != VLM_DTYPE_F32))
        x = vlm_copy(f, x);
    if (f->error.code == VLM_OK && !f->table->shapes_only && vtensor_count(x) > 0)
        f->table->download(f, host, x.data, (size_t)vtensor_count(x) * vtensor_dtype_size(x.dtype));
    return f->error.code;
}

vlm_status vtensor_read(vlm_frame *f, vlm_tensor x, void *host, vlm_error *err) {
    if (f->error.code == VLM_OK && x.rank == 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "there is no tensor to read");
    vlm_scope scope = vlm_scope_begin(f);
    vlm_status status = f->error.code == VLM_OK ? read_checked(f, x, host) : f->error.code;
    vlm_scope_end(f, scope);
    return status == VLM_OK ? VLM_OK : vcore_fail(err, status, "%s", f->error.message);
}
