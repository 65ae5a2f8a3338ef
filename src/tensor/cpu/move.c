/* SPDX-License-Identifier: MIT */
/* Moving elements: copies with strides and conversion, gather, scatter, embedding rows. */
#include "tensor/cpu/cpu.h"

/* n elements `stride` apart, to contiguous ones: same type, or widened. */
static void copy_row(const vcpu_kernels *k, char *to, vlm_dtype to_type, const char *from,
                     vlm_dtype from_type, size_t stride, size_t n) {
    size_t size = vtensor_dtype_size(from_type), to_size = vtensor_dtype_size(to_type);
    if (stride == 1 && to_type == from_type) {
        memcpy(to, from, n * size);
    } else if (stride == 1) {
        vcpu_widen(k, (float *)(void *)to, from, from_type, n);
    } else if (to_type != from_type) {
        for (size_t i = 0; i < n; i++)
            vcpu_widen(k, (float *)(void *)(to + i * to_size), from + i * stride * size, from_type,
                       1);
    } else if (size == 4) {
        for (size_t i = 0; i < n; i++) memcpy(to + i * 4, from + i * stride * 4, 4);
    } else {
        for (size_t i = 0; i < n; i++) memcpy(to + i * size, from + i * stride * size, size);
    }
}

/* ---- copy ---- */
typedef struct copy_job {
    const vcpu_kernels *k;
    vlm_tensor y, x;
    size_t rows, per_item;
} copy_job;

static size_t offset_of_row(vlm_tensor t, size_t row) {
    size_t offset = 0;
    for (int i = t.rank - 2; i >= 0; i--) {
        size_t n = (size_t)t.shape[i];
        offset += row % n * (size_t)t.stride[i];
        row /= n;
    }
    return offset * vtensor_dtype_size(t.dtype);
}

static void copy_item(void *arg, size_t item, int worker) {
    const copy_job *j = arg;
    (void)worker;
    int last = j->x.rank - 1;
    size_t end = vcpu_min(j->rows, (item + 1) * j->per_item);
    for (size_t row = item * j->per_item; row < end; row++)
        copy_row(j->k, (char *)j->y.data + offset_of_row(j->y, row), j->y.dtype,
                 (const char *)j->x.data + offset_of_row(j->x, row), j->x.dtype,
                 (size_t)j->x.stride[last], (size_t)j->x.shape[last]);
}

/* One long contiguous run becomes rows that can be handed out. */
static void flatten(vlm_tensor *y, vlm_tensor *x) {
    int64_t n = vtensor_count(*x);
    if (!vtensor_contiguous(*x) || !vtensor_contiguous(*y) || n % 4096 != 0) return;
    int64_t shape[] = { n / 4096, 4096 };
    *x = vtensor_of(x->data, x->dtype, 2, shape);
    *y = vtensor_of(y->data, y->dtype, 2, shape);
}

void vcpu_copy(vlm_frame *f, vlm_tensor y, vlm_tensor x) {
    vcpu_backend *b = vcpu_of(f);
    flatten(&y, &x);
    size_t n = (size_t)vtensor_count(x), dim = (size_t)x.shape[x.rank - 1];
    copy_job job = { &b->k, y, x, n / dim, vcpu_rows_per_item(dim) };
    vcpu_run(b, vcpu_ceil(job.rows, job.per_item), n, copy_item, &job);
}

/* ---- gather and scatter ---- */
typedef struct index_job {
    const vcpu_kernels *k;
    vlm_tensor y, x, index;
    bool scatter;
    const vlm_matrix *table; /* embedding: x is this matrix */
    size_t rows, per_item;
} index_job;

static bool check_index(vlm_frame *f, const char *op, vlm_tensor index, int64_t limit) {
    for (int64_t i = 0; i < index.shape[0]; i++) {
        int32_t at = ((const int32_t *)index.data)[i];
        if (at >= 0 && at < limit) continue;
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: index %d at %lld is outside [0, %lld)", op,
                       (int)at, (long long)i, (long long)limit);
        return false;
    }
    return true;
}

static void index_item(void *arg, size_t item, int worker) {
    const index_job *j = arg;
    (void)worker;
    size_t dim = (size_t)j->y.shape[1], end = vcpu_min(j->rows, (item + 1) * j->per_item);
    for (size_t i = item * j->per_item; i < end; i++) {
        size_t at = (size_t)((const int32_t *)j->index.data)[i];
        size_t to = j->scatter ? at : i, from = j->scatter ? i : at;
        if (j->table)
            vcpu_matrix_row(j->k, (float *)(void *)vcpu_row(j->y, to), j->table, from, 0, dim);
        else
            copy_row(j->k, vcpu_row(j->y, to), j->y.dtype, vcpu_row(j->x, from), j->x.dtype, 1,
                     dim);
    }
}

static void run_index(vlm_frame *f, index_job *job) {
    size_t dim = (size_t)job->y.shape[1];
    job->k = &vcpu_of(f)->k;
    job->rows = (size_t)job->index.shape[0];
    job->per_item = vcpu_rows_per_item(dim);
    vcpu_run(vcpu_of(f), vcpu_ceil(job->rows, job->per_item), job->rows * dim, index_item, job);
}

void vcpu_gather(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index) {
    if (!check_index(f, "gather", index, x.shape[0])) return;
    run_index(f, &(index_job) { .y = y, .x = x, .index = index });
}

/* Two rows for one place: the last must win, so this runs in order. */
void vcpu_scatter(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows) {
    if (!check_index(f, "scatter", index, x.shape[0])) return;
    index_job job = { .k = &vcpu_of(f)->k, .y = x, .x = rows, .index = index, .scatter = true };
    job.rows = job.per_item = (size_t)index.shape[0];
    index_item(&job, 0, 0);
}

void vcpu_embed(vlm_frame *f, vlm_tensor y, const vlm_matrix *table, vlm_tensor ids) {
    if (!check_index(f, "embed: token id", ids, table->out)) return;
    run_index(f, &(index_job) { .y = y, .index = ids, .table = table });
}
