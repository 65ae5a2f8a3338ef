/* SPDX-License-Identifier: MIT */
/* A frame's stream: records of launches and the graph made of them, transfers, errors. Knows no operation. */
#include "tensor/cuda/cuda.h"

static const size_t TURN_BYTES = (size_t)4 << 20, FILL_BYTES = (size_t)256 << 10;
enum { LANDING_BYTES = 1 << 20, PINNED_BYTES = 8 << 20, WORKSPACE_BYTES = 32 << 20, LEAST_RECORDS = 8 };

/* Where memory of a dry run lies: as aligned as any. */
static void *const NOWHERE = (void *)(uintptr_t)(1 << 20);

void vcuda_check(vcuda_stream *s, cudaError_t e) {
    if (e != cudaSuccess && s->error == cudaSuccess) s->error = e;
}

static void report(vlm_frame *f) {
    vcuda_stream *s = vcuda_stream_of(f);
    if (s->error != cudaSuccess)
        s->b->host->frame_fail(f, s->error == cudaErrorMemoryAllocation ? VLM_ERR_MEMORY : VLM_ERR_BACKEND, "cuda: %s",
                               cudaGetErrorString(s->error));
}

struct upload_args {
    void *to;
    const void *from;
    size_t bytes;
};
static void run_upload(vcuda_stream *s, const upload_args *a);

/* ---- records ---- */
static bool grow(const vtensor_cuda_host *host, void **p, size_t *capacity, size_t used, size_t need, size_t size) {
    if (need <= *capacity) return true;
    size_t more = *capacity ? 2 * *capacity : 4096 / size;
    if (more < need) more = need;
    void *q = host->alloc(more * size);
    if (!q) return false;
    if (*p) memcpy(q, *p, used * size);
    host->free(*p);
    *p = q;
    *capacity = more;
    return true;
}

static void drop_graph(vcuda_stream *s) {
    if (s->graph) cudaGraphExecDestroy(s->graph);
    s->graph = NULL;
}

static void run_records(vcuda_stream *s, size_t n) {
    for (size_t i = 0; i < n; i++) s->records[i].run(s, s->args + s->records[i].at);
}

/* What follows differs from the pass before: the records from here on are another pass's. */
static void diverge(vcuda_stream *s) {
    if (s->replaying) {
        s->busy = true;
        run_records(s, s->cursor);
    }
    s->comparing = s->replaying = s->uncapturable = false;
    s->n_records = s->cursor;
    s->args_used = s->cursor ? s->records[s->cursor - 1].at + s->records[s->cursor - 1].bytes : 0;
    drop_graph(s);
}

static bool is_next(const vcuda_stream *s, vcuda_run *run, const void *args, size_t bytes) {
    if (s->cursor == s->n_records) return false;
    const vcuda_record *r = &s->records[s->cursor];
    return r->run == run && r->bytes == bytes && memcmp(s->args + r->at, args, bytes) == 0;
}

void vcuda_submit_bytes(vlm_frame *f, vcuda_run *run, const void *args, size_t bytes) {
    vcuda_stream *s = vcuda_stream_of(f);
    if (f->error.code != VLM_OK || s->b->dry) return;
    if (s->comparing && !is_next(s, run, args, bytes)) diverge(s);
    if (!s->comparing) {
        const vtensor_cuda_host *host = s->b->host;
        size_t at = (s->args_used + 15) & ~(size_t)15;
        if (!grow(host, (void **)&s->records, &s->record_capacity, s->n_records, s->n_records + 1, sizeof *s->records)
            || !grow(host, (void **)&s->args, &s->args_capacity, s->args_used, at + bytes, 1)) {
            host->frame_fail(f, VLM_ERR_MEMORY, "cuda: no memory for the record of a step");
            return;
        }
        memcpy(s->args + at, args, bytes);
        s->records[s->n_records++] = { run, at, bytes };
        s->args_used = at + bytes;
    }
    s->cursor++;
    if (!s->replaying) {
        s->busy = true;
        run(s, args);
    }
    if (s->error != cudaSuccess) report(f);
}

/* The pass ended as it began: what it launched becomes a graph. Failing to is no error. */
static void capture(vcuda_stream *s) {
    cudaGraph_t graph = NULL;
    if (cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return;
    cudaError_t before = s->error; /* of the pass, which has been computed already */
    s->error = cudaSuccess;
    s->capturing = true;
    if (s->pinned_used) vcuda_check(s, cudaMemcpyAsync(s->mirror, s->pinned, s->pinned_used, cudaMemcpyHostToDevice, s->stream));
    run_records(s, s->n_records);
    s->capturing = false;
    cudaError_t e = cudaStreamEndCapture(s->stream, &graph);
    if (e == cudaSuccess && s->error == cudaSuccess && cudaGraphInstantiate(&s->graph, graph, 0) != cudaSuccess)
        s->graph = NULL;
    if (graph) cudaGraphDestroy(graph);
    s->error = before;
    cudaGetLastError();
    s->captures += s->graph != NULL;
    s->uncapturable = s->graph == NULL;
}

void vcuda_flush(vlm_frame *f) {
    vcuda_stream *s = vcuda_stream_of(f);
    if (!s->replaying) return;
    if (s->cursor == s->n_records) {
        vcuda_check(s, cudaGraphLaunch(s->graph, s->stream));
        s->busy = true;
        s->replays++;
        s->replaying = false; /* what comes behind it runs at once */
    } else {
        diverge(s);
    }
}

/* ---- life ---- */
size_t vcuda_frame_bytes(void) {
    return (size_t)PINNED_BYTES + WORKSPACE_BYTES + VCUDA_COUNTERS * sizeof(int32_t);
}

vlm_status vcuda_frame_open(vlm_frame *f, vlm_error *err) {
    vcuda_backend *b = vcuda_of(f);
    vcuda_stream *s = (vcuda_stream *)b->host->alloc(sizeof *s);
    if (!s) return b->host->fail(err, VLM_ERR_MEMORY, "cuda: no memory for a stream");
    s->b = b;
    s->pinned_size = PINNED_BYTES;
    f->own = s;
    if (b->dry) return VLM_OK;
    cudaError_t e = cudaSetDevice(b->device);
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking);
    if (e == cudaSuccess) e = cudaMallocHost((void **)&s->pinned, PINNED_BYTES);
    if (e == cudaSuccess) e = cudaMalloc((void **)&s->mirror, PINNED_BYTES);
    if (e == cudaSuccess) e = cudaMallocHost((void **)&s->landing, LANDING_BYTES);
    if (e == cudaSuccess) e = cudaHostAlloc((void **)&s->bad_index, sizeof(int), cudaHostAllocMapped);
    if (e == cudaSuccess) e = cudaHostGetDevicePointer((void **)&s->bad_index_device, s->bad_index, 0);
    if (e == cudaSuccess) e = cudaMalloc(&s->workspace, WORKSPACE_BYTES);
    if (e == cudaSuccess) e = cudaMalloc((void **)&s->counters, VCUDA_COUNTERS * sizeof *s->counters);
    if (e == cudaSuccess) e = cudaMemsetAsync(s->counters, 0, VCUDA_COUNTERS * sizeof *s->counters, s->stream);
    if (e != cudaSuccess) {
        cudaGetLastError(); /* not the next call's */
        vcuda_frame_close(f);
        return b->host->fail(err, e == cudaErrorMemoryAllocation ? VLM_ERR_MEMORY : VLM_ERR_BACKEND, "cuda: a stream: %s",
                             cudaGetErrorString(e));
    }
    *s->bad_index = 0;
    s->busy = true; /* the counters */
    return VLM_OK;
}

void vcuda_frame_close(vlm_frame *f) {
    vcuda_stream *s = vcuda_stream_of(f);
    if (!s) return;
    const vtensor_cuda_host *host = s->b->host;
    if (!s->b->dry) cudaSetDevice(s->b->device);
    if (s->stream) cudaStreamSynchronize(s->stream);
    drop_graph(s);
    vcuda_plans_free(s);
    cudaFree(s->workspace);
    cudaFree(s->counters);
    cudaFree(s->mirror);
    if (s->bad_index) cudaFreeHost(s->bad_index);
    if (s->pinned) cudaFreeHost(s->pinned);
    if (s->landing) cudaFreeHost(s->landing);
    for (int i = 0; i < 2; i++) {
        if (s->turns[i]) cudaFreeHost(s->turns[i]);
        if (s->turned[i]) cudaEventDestroy(s->turned[i]);
    }
    if (s->stream) cudaStreamDestroy(s->stream);
    host->free(s->records);
    host->free(s->args);
    host->free(s->table);
    host->free(s);
    f->own = NULL;
}

/* Called with the arena empty: what the pass before left in the stream has ended (wait). An arena of several chunks may free
 * one within a pass, of which a launch that waits for the graph must know nothing. */
void vcuda_frame_begin(vlm_frame *f) {
    vcuda_stream *s = vcuda_stream_of(f);
    s->pinned_used = 0;
    if (s->b->dry) return;
    cudaSetDevice(s->b->device);
    cudaGetLastError(); /* what another frame's call left on this thread */
    s->error = cudaSuccess;
    s->cursor = s->read_at = 0;
    s->comparing = s->n_records > 0 && f->n_chunks == 1;
    if (!s->comparing) {
        s->n_records = s->args_used = 0;
        s->uncapturable = false;
        drop_graph(s);
    }
    s->replaying = s->comparing && s->graph;
}

/* ---- transfers ---- */
/* Waits for what was launched since the last time. */
static void settle(vcuda_stream *s) {
    if (!s->busy) return;
    vcuda_check(s, cudaStreamSynchronize(s->stream));
    s->busy = false;
}

/* In a capture the whole of it was copied at the beginning. */
static void run_mirrored(vcuda_stream *s, const upload_args *a) {
    if (!s->capturing) run_upload(s, a);
}

void *vcuda_table(vlm_frame *f, size_t bytes) {
    vcuda_stream *s = vcuda_stream_of(f);
    if (grow(s->b->host, (void **)&s->table, &s->table_capacity, 0, bytes, 1)) return s->table;
    s->b->host->frame_fail(f, VLM_ERR_MEMORY, "cuda: no memory for a table of %zu bytes", bytes);
    return NULL;
}

const void *vcuda_mirror(vlm_frame *f, const void *host, size_t bytes) {
    vcuda_stream *s = vcuda_stream_of(f);
    size_t room = (bytes + 63) & ~(size_t)63;
    if (f->error.code != VLM_OK) return NULL;
    if (s->pinned_used + room > s->pinned_size) { /* a long pass: through a temporary */
        void *to = vcuda_temporary(f, bytes);
        if (to) vcuda_upload(f, to, host, bytes);
        return to;
    }
    upload_args a = vcuda_args<upload_args>();
    a.to = s->mirror + s->pinned_used;
    a.from = s->pinned + s->pinned_used;
    a.bytes = bytes;
    if (!s->b->dry) memcpy(s->pinned + s->pinned_used, host, bytes);
    s->pinned_used += room;
    vcuda_submit(f, run_mirrored, a);
    return s->b->dry ? NOWHERE : a.to;
}

static void run_upload(vcuda_stream *s, const upload_args *a) {
    vcuda_check(s, cudaMemcpyAsync(a->to, a->from, a->bytes, cudaMemcpyHostToDevice, s->stream));
}

/* Through two halves of pinned memory, filled by the host's threads: one on its way, the other being filled. */
struct fill_job {
    char *to;
    const char *from;
    size_t bytes;
};

static void fill_item(void *arg, size_t i, int worker) {
    const fill_job *j = (const fill_job *)arg;
    size_t at = i * FILL_BYTES, n = j->bytes - at < FILL_BYTES ? j->bytes - at : FILL_BYTES;
    (void)worker;
    memcpy(j->to + at, j->from + at, n);
}

static void upload_in_turns(vcuda_stream *s, char *to, const char *host, size_t bytes) {
    cudaError_t e = cudaSuccess;
    for (int i = 0; i < 2 && e == cudaSuccess; i++) {
        if (!s->turns[i]) e = cudaMallocHost((void **)&s->turns[i], TURN_BYTES);
        if (e == cudaSuccess && !s->turned[i]) e = cudaEventCreateWithFlags(&s->turned[i], cudaEventDisableTiming);
    }
    int turn = 0;
    for (size_t n; bytes > 0 && e == cudaSuccess; to += n, host += n, bytes -= n, turn ^= 1) {
        n = bytes < TURN_BYTES ? bytes : TURN_BYTES;
        e = cudaEventSynchronize(s->turned[turn]); /* of an event that never was: at once */
        fill_job job = { s->turns[turn], host, n };
        s->b->host->run(s->b->base.pool, (n + FILL_BYTES - 1) / FILL_BYTES, fill_item, &job);
        if (e == cudaSuccess) e = cudaMemcpyAsync(to, s->turns[turn], n, cudaMemcpyHostToDevice, s->stream);
        if (e == cudaSuccess) e = cudaEventRecord(s->turned[turn], s->stream);
    }
    vcuda_check(s, e);
}

/* Small ones go through pinned memory at a place that repeats from pass to pass; large ones are copied at once, and
 * a pass with them is never a graph. */
void vcuda_upload(vlm_frame *f, void *to, const void *host, size_t bytes) {
    vcuda_stream *s = vcuda_stream_of(f);
    size_t room = (bytes + 63) & ~(size_t)63;
    if (f->error.code != VLM_OK || s->b->dry) return;
    if (room <= s->pinned_size / 4 && s->pinned_used + room <= s->pinned_size) {
        upload_args a = vcuda_args<upload_args>();
        a.to = to;
        a.from = s->pinned + s->pinned_used;
        a.bytes = bytes;
        memcpy(s->pinned + s->pinned_used, host, bytes);
        s->pinned_used += room;
        vcuda_submit(f, run_upload, a);
        return;
    }
    if (s->comparing) diverge(s);
    s->n_records = s->args_used = s->cursor = 0; /* nothing of this pass is kept */
    s->busy = true;
    upload_in_turns(s, (char *)to, (const char *)host, bytes);
    report(f);
}

void vcuda_download(vlm_frame *f, void *host, const void *from, size_t bytes) {
    vcuda_stream *s = vcuda_stream_of(f);
    if (f->error.code != VLM_OK || s->b->dry) return;
    vcuda_flush(f);
    if (!s->read_at) s->read_at = s->cursor;
    bool small = bytes <= LANDING_BYTES;
    vcuda_check(s, cudaMemcpyAsync(small ? s->landing : host, from, bytes, cudaMemcpyDeviceToHost, s->stream));
    s->busy = true;
    settle(s);
    if (small && s->error == cudaSuccess) memcpy(host, s->landing, bytes);
    report(f);
}

void vcuda_wait(vlm_frame *f) {
    vcuda_stream *s = vcuda_stream_of(f);
    if (s->b->dry) return;
    if (f->error.code == VLM_OK) vcuda_flush(f);
    settle(s);
    bool whole = f->error.code == VLM_OK && s->error == cudaSuccess;
    bool same = whole && s->comparing && s->cursor == s->n_records;
    if (whole && s->comparing && !same) diverge(s); /* it ended early */
    if (!whole) s->n_records = s->args_used = 0;
    if (!whole || !same) drop_graph(s);
    bool read_within = s->read_at != 0 && s->read_at != s->n_records; /* a graph cannot stop halfway */
    if (same && !s->graph && !read_within && !s->uncapturable && s->n_records >= LEAST_RECORDS) capture(s);
    if (*s->bad_index) {
        s->b->host->frame_fail(f, VLM_ERR_ARGUMENT, "an index is outside its table");
        *s->bad_index = 0;
    }
    report(f);
    s->comparing = s->replaying = false;
}

void *vcuda_temporary(vlm_frame *f, size_t bytes) {
    const int64_t shape[] = { (int64_t)bytes };
    const vlm_tensor t = vcuda_of(f)->host->temporary(f, VLM_DTYPE_U8, 1, shape);
    return vcuda_of(f)->dry && t.rank ? NOWHERE : t.data;
}
