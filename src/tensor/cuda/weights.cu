/* SPDX-License-Identifier: MIT */
/* Weights on their way from mapped files to the device: laid one behind the other into slabs, gathered in pinned
 * memory by the host's threads and copied in large pieces while the next piece is gathered. */
#include "tensor/cuda/cuda.h"

enum { ALIGN = 256 };
static const size_t SLAB_BYTES = (size_t)256 << 20, STAGING_BYTES = (size_t)32 << 20, PIECE = (size_t)1 << 20;

static vlm_status fail(vcuda_backend *b, vlm_error *err, cudaError_t e, size_t wanted) {
    cudaGetLastError();
    size_t available = 0, total = 0;
    if (e != cudaErrorMemoryAllocation) return b->host->fail(err, VLM_ERR_BACKEND, "cuda: weights: %s", cudaGetErrorString(e));
    cudaMemGetInfo(&available, &total);
    return b->host->fail(err, VLM_ERR_MEMORY, "cuda: no memory on device %d for weights: %zu bytes wanted, %zu free of %zu",
                         b->device, wanted, available, total);
}

/* ---- slabs ---- */
static cudaError_t take(vcuda_backend *b, size_t bytes, char **out) {
    vcuda_slab *s = b->slabs;
    const size_t need = bytes + VCUDA_BEHIND;
    if (!s || s->size - s->used < need) {
        s = (vcuda_slab *)b->host->alloc(sizeof *s);
        if (!s) return cudaErrorMemoryAllocation;
        s->size = need > SLAB_BYTES ? need : SLAB_BYTES;
        cudaError_t e = cudaMalloc((void **)&s->data, s->size);
        if (e == cudaErrorMemoryAllocation && s->size > need) { /* less than a slab is left */
            s->size = need;
            e = cudaMalloc((void **)&s->data, s->size);
        }
        if (e == cudaSuccess) e = cudaMemsetAsync(s->data, 0, s->size, b->staging.stream);
        if (e != cudaSuccess) {
            cudaFree(s->data);
            b->host->free(s);
            return e;
        }
        s->next = b->slabs;
        b->slabs = s;
    }
    *out = s->data + s->used;
    s->used += bytes;
    return cudaSuccess;
}

/* ---- staging ---- */
static cudaError_t open_staging(vcuda_staging *g) {
    cudaError_t e = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    for (int i = 0; i < 2 && e == cudaSuccess; i++) {
        e = cudaMallocHost((void **)&g->pinned[i], STAGING_BYTES);
        if (e == cudaSuccess) e = cudaEventCreateWithFlags(&g->done[i], cudaEventDisableTiming);
    }
    return e;
}

static void close_staging(vcuda_staging *g) {
    for (int i = 0; i < 2; i++) {
        if (g->done[i]) cudaEventDestroy(g->done[i]);
        if (g->pinned[i]) cudaFreeHost(g->pinned[i]);
    }
    if (g->stream) cudaStreamDestroy(g->stream);
    memset(g, 0, sizeof *g);
}

static cudaError_t flush(vcuda_staging *g) {
    if (g->filled == 0) return cudaSuccess;
    cudaError_t e = cudaMemcpyAsync(g->to, g->pinned[g->turn], g->filled, cudaMemcpyHostToDevice, g->stream);
    if (e == cudaSuccess) e = cudaEventRecord(g->done[g->turn], g->stream);
    g->turn ^= 1;
    g->filled = 0;
    if (e == cudaSuccess) e = cudaEventSynchronize(g->done[g->turn]); /* the buffer that is filled next */
    return e;
}

struct gather_job {
    char *to;
    const char *from;
    size_t bytes;
};

static void gather_item(void *arg, size_t i, int worker) {
    const gather_job *j = (const gather_job *)arg;
    size_t at = i * PIECE, n = j->bytes - at < PIECE ? j->bytes - at : PIECE;
    (void)worker;
    memcpy(j->to + at, j->from + at, n);
}

static cudaError_t stage(vcuda_backend *b, char *to, const char *from, size_t bytes) {
    vcuda_staging *g = &b->staging;
    cudaError_t e = cudaSuccess;
    for (size_t n; bytes > 0 && e == cudaSuccess; to += n, from += n, bytes -= n) {
        if (g->filled && (g->to + g->filled != to || g->filled == STAGING_BYTES)) e = flush(g);
        if (e != cudaSuccess) break;
        if (g->filled == 0) g->to = to;
        n = bytes < STAGING_BYTES - g->filled ? bytes : STAGING_BYTES - g->filled;
        gather_job job = { g->pinned[g->turn] + g->filled, from, n };
        b->host->run(b->base.pool, (n + PIECE - 1) / PIECE, gather_item, &job);
        g->filled += n;
    }
    return e;
}

/* ---- the operations ---- */
vlm_status vcuda_expect(vtensor_backend *base, size_t bytes, vlm_error *err) {
    vcuda_backend *b = (vcuda_backend *)base;
    size_t available = 0, total = 0;
    cudaSetDevice(b->device);
    cudaError_t e = cudaMemGetInfo(&available, &total);
    if (e != cudaSuccess) return fail(b, err, e, bytes);
    return bytes <= available ? VLM_OK : fail(b, err, cudaErrorMemoryAllocation, bytes);
}

vlm_status vcuda_place(vtensor_backend *base, void **out, const void *host, size_t bytes, vlm_error *err) {
    vcuda_backend *b = (vcuda_backend *)base;
    static const char zeros[ALIGN] = { 0 };
    char *to = NULL;
    size_t padded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    cudaSetDevice(b->device);
    cudaError_t e = b->staging.stream ? cudaSuccess : open_staging(&b->staging);
    if (e == cudaSuccess) e = take(b, padded, &to);
    if (e == cudaSuccess) e = stage(b, to, (const char *)host, bytes);
    if (e == cudaSuccess) e = stage(b, to + bytes, zeros, padded - bytes); /* so that the next one follows on */
    if (e != cudaSuccess) return fail(b, err, e, padded);
    *out = to;
    return VLM_OK;
}

/* Rows that are no whole vectors of bfloat16 get a pitch that is; cuBLASLt's fast kernels take no others. */
struct pitch_job {
    char *to;
    const char *from;
    size_t rows, row_bytes, pitch;
};
enum { PITCH_ROWS = 64 };

static void pitch_item(void *arg, size_t i, int worker) {
    const pitch_job *j = (const pitch_job *)arg;
    (void)worker;
    for (size_t r = i * PITCH_ROWS; r < j->rows && r < (i + 1) * PITCH_ROWS; r++) memcpy(j->to + r * j->pitch, j->from + r * j->row_bytes, j->row_bytes);
}

vlm_status vcuda_place_rows(vtensor_backend *base, void **out, size_t *pitch, const void *host, size_t rows, size_t row_bytes, vlm_error *err) {
    vcuda_backend *b = (vcuda_backend *)base;
    *pitch = row_bytes;
    if (row_bytes % 16 == 0) return vcuda_place(base, out, host, rows * row_bytes, err);
    *pitch = (row_bytes + VCUDA_PITCH - 1) / VCUDA_PITCH * VCUDA_PITCH;
    char *apart = (char *)b->host->alloc(rows * *pitch);
    if (!apart) return b->host->fail(err, VLM_ERR_MEMORY, "cuda: no memory for a matrix of %zu rows", rows);
    pitch_job job = { apart, (const char *)host, rows, row_bytes, *pitch };
    b->host->run(b->base.pool, (rows + PITCH_ROWS - 1) / PITCH_ROWS, pitch_item, &job);
    vlm_status status = vcuda_place(base, out, apart, rows * *pitch, err);
    b->host->free(apart);
    return status;
}

bool vcuda_holds(const vcuda_backend *b, const void *p, size_t bytes) {
    for (const vcuda_slab *s = b->slabs; s; s = s->next)
        if ((const char *)p >= s->data && (const char *)p < s->data + s->size) return bytes <= (size_t)(s->data + s->size - (const char *)p);
    return false;
}

vlm_status vcuda_placed(vtensor_backend *base, vlm_error *err) {
    vcuda_backend *b = (vcuda_backend *)base;
    cudaSetDevice(b->device);
    if (!b->staging.stream) return VLM_OK;
    cudaError_t e = flush(&b->staging);
    if (e == cudaSuccess) e = cudaStreamSynchronize(b->staging.stream);
    close_staging(&b->staging);
    return e == cudaSuccess ? VLM_OK : fail(b, err, e, 0);
}

void vcuda_weights_free(vcuda_backend *b) {
    if (b->staging.stream) cudaStreamSynchronize(b->staging.stream);
    close_staging(&b->staging);
    for (vcuda_slab *s = b->slabs, *next; s; s = next) {
        next = s->next;
        cudaFree(s->data);
        b->host->free(s);
    }
    b->slabs = NULL;
}
