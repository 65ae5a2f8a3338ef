/* SPDX-License-Identifier: MIT */
/* The tensors of a conversion: each row of a weight table is bound again, its data read where the
 * file is mapped, and written block of rows by block of rows from all threads. Owns no arithmetic;
 * holds a block for each thread and no more. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/convert/convert.h"

enum { BLOCK_FLOATS = 1 << 18, BLOCKS_AT_ONCE = 32 };

typedef struct writer {
    const vengine_plan *plan;
    vcore_pool *pool;
    unsigned cpu_flags;
    int fd;
    char *path;
    uint64_t *offsets; /* of the plan's tensors, in their files */
    uint64_t done;     /* bytes */
    pthread_mutex_t lock; /* of the first failure */
    vlm_status status;
    vlm_error *err;
} writer;

/* One tensor of a matrix's, or the triple that it is quantized to. */
typedef struct job {
    writer *w;
    const vengine_item *item;
    const vlm_matrix *m; /* which may be more than the item's rows */
    int64_t out;         /* rows */
    vlm_dtype type; /* of the floats */
    int64_t kernel; /* above 1: the columns are turned from channels first to channels last */
    bool quantize;
    uint64_t at[3];     /* where weight (or floats), scales and biases begin */
    size_t row_bytes[3]; /* of each; 0: there is none */
    int64_t rows;       /* of a block */
    int64_t first;      /* block of this run */
    float **floats;     /* [threads] a row, and one to turn it into */
    uint8_t **bytes;    /* [threads] a block */
} job;

static void note_failure(writer *w, vlm_status status, const vlm_error *err) {
    pthread_mutex_lock(&w->lock);
    if (w->status >= 0) {
        w->status = status;
        if (w->err) *w->err = *err;
    }
    pthread_mutex_unlock(&w->lock);
}

/* ---- a block of rows ---------------------------------------------------------------------------- */
static void turn_channels(float *to, const float *from, int64_t in, int64_t kernel) {
    int64_t channels = in / kernel;
    for (int64_t k = 0; k < kernel; k++)
        for (int64_t c = 0; c < channels; c++) *to++ = from[c * kernel + k];
}

/* The row's tensors behind each other's blocks in `out`. False: no finite number. */
static bool make_row(const job *j, uint8_t *const out[3], int64_t row, int64_t i, int worker) {
    float *x = j->floats[worker];
    bool finite = vengine_decode_row(x, j->m, vmodel_bound_row(j->item->bound, row), j->type, j->w->cpu_flags);
    if (j->quantize)
        return finite
               && vengine_quantize_row(&j->item->params, j->type, x, j->m->in,
                                       out[0] + (size_t)i * j->row_bytes[0],
                                       out[1] + (size_t)i * j->row_bytes[1],
                                       out[2] + (size_t)i * j->row_bytes[2]);
    if (j->kernel > 1) {
        turn_channels(x + j->m->in, x, j->m->in, j->kernel);
        x += j->m->in;
    }
    vengine_store_row(out[0] + (size_t)i * j->row_bytes[0], j->type, x, j->m->in);
    return finite;
}

/* The file of the source that data lies in; its folder, when a load made the data of several tensors. */
static const char *origin_of(const vlm_context *c, const uint8_t *data) {
    for (size_t i = 0; i < vio_tensors_count(c->tensors); i++) {
        const vio_tensor *t = vio_tensors_at(c->tensors, i);
        if (data >= t->data && data < t->data + t->bytes) return t->file;
    }
    return c->dir;
}

static vlm_status not_finite(const job *j, vlm_error *err) {
    const char *file = origin_of(j->w->plan->c, j->m->data.data), *name = j->item->name;
    return vcore_fail_at(err, VLM_ERR_WEIGHTS, (vcore_where) { .file = file, .field = name },
                         "%s: module '%s': holds what is no finite number, or becomes one", file, name);
}

static void write_block(void *arg, size_t index, int worker) {
    const job *j = arg;
    writer *w = j->w;
    vlm_error err = VLM_ERROR_INIT;
    int64_t begin = (j->first + (int64_t)index) * j->rows;
    int64_t n = begin + j->rows < j->out ? j->rows : j->out - begin;
    uint8_t *out[3] = { j->bytes[worker] };
    for (int k = 1; k < 3; k++) out[k] = out[k - 1] + (size_t)j->rows * j->row_bytes[k - 1];
    bool finite = true;
    for (int64_t i = 0; i < n && finite; i++) finite = make_row(j, out, begin + i, i, worker);
    vlm_status status = finite ? VLM_OK : not_finite(j, &err);
    for (int k = 0; k < 3 && status >= 0; k++)
        if (j->row_bytes[k])
            status = vio_write_at(w->fd, out[k], (size_t)n * j->row_bytes[k],
                                  j->at[k] + (uint64_t)begin * j->row_bytes[k], w->path, &err);
    if (status < 0) note_failure(w, status, &err);
}

static vlm_status tell(const writer *w, const char *tensor, uint64_t done) {
    const vlm_convert_options *o = w->plan->options;
    const vlm_convert_progress progress = { tensor, w->done + done, w->plan->bytes };
    if (!o->progress || o->progress(o->progress_user, &progress) == 0) return VLM_OK;
    return vcore_fail(w->err, VLM_ERR_CANCELLED, "%s: the conversion was cancelled", w->path);
}

/* ---- a tensor -------------------------------------------------------------------------------------- */
static vlm_status take_scratch(job *j, vcore_arena *arena) {
    int threads = vcore_pool_size(j->w->pool);
    size_t bytes = (size_t)j->rows * (j->row_bytes[0] + j->row_bytes[1] + j->row_bytes[2]);
    j->floats = vcore_arena_array(arena, (size_t)threads, sizeof *j->floats);
    j->bytes = vcore_arena_array(arena, (size_t)threads, sizeof *j->bytes);
    for (int i = 0; j->floats && j->bytes && i < threads; i++) {
        j->floats[i] = vcore_arena_array(arena, (size_t)j->m->in * 2, sizeof(float));
        j->bytes[i] = vcore_arena_alloc(arena, bytes);
        if (!j->floats[i] || !j->bytes[i]) return vcore_no_memory(j->w->err, j->item->name);
    }
    return j->floats && j->bytes ? VLM_OK : vcore_no_memory(j->w->err, j->item->name);
}

static vlm_status run_job(job *j, vcore_arena *arena) {
    writer *w = j->w;
    j->rows = BLOCK_FLOATS / j->m->in > 1 ? BLOCK_FLOATS / j->m->in : 1;
    if (j->rows > j->out) j->rows = j->out;
    VTRY(take_scratch(j, arena));
    int64_t blocks = (j->out + j->rows - 1) / j->rows;
    size_t row = j->row_bytes[0] + j->row_bytes[1] + j->row_bytes[2];
    for (; j->first < blocks; j->first += BLOCKS_AT_ONCE) {
        VTRY(tell(w, j->item->name, (uint64_t)(j->first * j->rows) * row));
        int64_t n = blocks - j->first < BLOCKS_AT_ONCE ? blocks - j->first : BLOCKS_AT_ONCE;
        vcore_pool_run(w->pool, (size_t)n, write_block, j);
        if (w->status < 0) return w->status;
    }
    w->done += (uint64_t)j->out * row;
    return VLM_OK;
}

static vlm_dtype dtype_of(const vio_out_tensor *t) {
    return t->dtype == VIO_BF16 ? VLM_DTYPE_BF16 : t->dtype == VIO_F16 ? VLM_DTYPE_F16 : VLM_DTYPE_F32;
}

/* Where a part of the item goes, and the bytes of one of its rows. */
static void place(job *j, int to, int part) {
    const vengine_plan *p = j->w->plan;
    size_t t = j->item->part[part];
    uint64_t bytes = 0;
    if (t == SIZE_MAX) return;
    vio_out_tensor_bytes(&bytes, &p->tensors[t], "", NULL);
    j->at[to] = j->w->offsets[t];
    j->row_bytes[to] = (size_t)(bytes / (uint64_t)j->out);
}

static int64_t rows_of(const vengine_item *item, const vlm_matrix *m) {
    return item->bound->parts ? m->out / item->bound->parts : m->out;
}

static vlm_status write_floats(writer *w, const vengine_item *item, const vlm_matrix *m, int part,
                               vcore_arena *arena) {
    job j = { .w = w, .item = item, .m = m, .out = rows_of(item, m), .kernel = part == VENGINE_WEIGHT ? item->kernel : 0 };
    j.type = dtype_of(&w->plan->tensors[item->part[part]]);
    place(&j, 0, part);
    return run_job(&j, arena);
}

static vlm_status write_quantized(writer *w, const vengine_item *item, const vlm_matrix *m,
                                  vcore_arena *arena) {
    job j = { .w = w, .item = item, .m = m, .out = rows_of(item, m), .quantize = true };
    j.type = vengine_floats_of(w->plan, m);
    for (int part = VENGINE_WEIGHT; part <= VENGINE_BIASES; part++) place(&j, part, part);
    return run_job(&j, arena);
}

/* Packed words and bytes as they are; scales and biases that are floats maybe of another type. */
static vlm_status write_kept(writer *w, const vengine_item *item, const vlm_matrix *m, int part,
                             const vlm_tensor *from, vcore_arena *arena) {
    size_t at = item->part[part];
    if (at == SIZE_MAX) return VLM_OK;
    if (from->dtype != VLM_DTYPE_U32 && from->dtype != VLM_DTYPE_U8) {
        const vlm_matrix rows = { .storage = VLM_STORAGE_DENSE, .out = m->out, .in = m->in / m->group, .data = *from };
        return write_floats(w, item, &rows, part, arena);
    }
    uint64_t bytes;
    VTRY(vio_out_tensor_bytes(&bytes, &w->plan->tensors[at], w->path, w->err));
    VTRY(vio_write_at(w->fd, from->data, (size_t)bytes, w->offsets[at], w->path, w->err));
    w->done += bytes;
    return tell(w, item->name, 0);
}

/* ---- an item ---------------------------------------------------------------------------------------- */
static vlm_status write_matrix(writer *w, const vengine_item *item, const vlm_matrix *m, vcore_arena *arena) {
    if (item->treat == VENGINE_QUANTIZE) return write_quantized(w, item, m, arena);
    if (item->treat == VENGINE_FLOATS) return write_floats(w, item, m, VENGINE_WEIGHT, arena);
    VTRY(write_kept(w, item, m, VENGINE_WEIGHT, &m->data, arena));
    VTRY(write_kept(w, item, m, VENGINE_SCALES, &m->scales, arena));
    return write_kept(w, item, m, VENGINE_BIASES, &m->biases, arena);
}

static vlm_status write_bound(writer *w, const vengine_item *item, vcore_arena *arena) {
    vengine_member member = { 0 };
    vlm_weight_kind kind = item->bound->row.kind;
    VTRY(vmodel_bound_again(item->bound, w->plan->scratch, &member, w->err));
    if (kind != VLM_WEIGHT_NORM && kind != VLM_WEIGHT_TENSOR) {
        VTRY(write_matrix(w, item, &member.u.linear.weight, arena));
    } else {
        vlm_matrix rows = vengine_member_floats(item, &member, VENGINE_WEIGHT);
        VTRY(write_floats(w, item, &rows, VENGINE_WEIGHT, arena));
    }
    if (item->part[VENGINE_BIAS] == SIZE_MAX) return VLM_OK;
    vlm_matrix bias = vengine_member_floats(item, &member, VENGINE_BIAS);
    return write_floats(w, item, &bias, VENGINE_BIAS, arena);
}

/* What binding makes of the file's data, and the blocks, live as long as the item. */
static vlm_status write_item(writer *w, const vengine_item *item) {
    vlm_build *scratch = w->plan->scratch;
    vcore_arena *arena = vcore_arena_new();
    if (!arena) return vcore_no_memory(w->err, item->name);
    scratch->args.arena = arena;
    scratch->args.inspect = false;
    scratch->n_modules = 0;
    vlm_status status = write_bound(w, item, arena);
    scratch->args.arena = w->plan->arena;
    vcore_arena_free(arena);
    return status;
}

/* ---- a file ------------------------------------------------------------------------------------------ */
static vlm_status write_items(writer *w, size_t shard) {
    for (size_t i = 0; i < w->plan->n_items; i++)
        if (w->plan->items[i].shard == shard) VTRY(write_item(w, &w->plan->items[i]));
    return VLM_OK;
}

static vlm_status write_shard(writer *w, size_t shard) {
    const vengine_shard *s = &w->plan->shards[shard];
    vcore_buf head = { 0 };
    vlm_status status = vio_safetensors_header(&head, w->offsets + s->first, w->plan->tensors + s->first,
                                               s->n, "mlx", w->path, w->err);
    w->fd = status < 0 ? -1 : open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (status >= 0 && w->fd < 0) status = vio_fail_errno(w->err, w->path, "create", errno);
    if (status >= 0) status = vio_write_at(w->fd, head.p, head.n, 0, w->path, w->err);
    vcore_buf_free(&head);
    if (status >= 0) status = write_items(w, shard);
    if (status >= 0 && fsync(w->fd) != 0) status = vio_fail_errno(w->err, w->path, "write", errno);
    if (w->fd >= 0 && close(w->fd) != 0 && status >= 0)
        status = vio_fail_errno(w->err, w->path, "write", errno);
    return status;
}

vlm_status vengine_write_shards(const vengine_plan *p, const char *dir, vlm_error *err) {
    writer w = { .plan = p, .err = err, .lock = PTHREAD_MUTEX_INITIALIZER };
    w.cpu_flags = vcore_cpu_flags();
    const vlm_load_options *load = p->options->load;
    vlm_status status = VLM_OK;
    w.pool = vcore_pool_new(load ? load->threads : 0);
    w.offsets = vcore_alloc_array(p->n_tensors ? p->n_tensors : 1, sizeof *w.offsets);
    if (!w.pool || !w.offsets) status = vcore_no_memory(err, dir);
    for (size_t i = 0; i < p->n_shards && status >= 0; i++) {
        w.path = vio_join(dir, p->shards[i].name);
        status = w.path ? write_shard(&w, i) : vcore_no_memory(err, dir);
        vcore_free(w.path);
    }
    vcore_free(w.offsets);
    vcore_pool_free(w.pool);
    return status;
}
