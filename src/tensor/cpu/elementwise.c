/* SPDX-License-Identifier: MIT */
/* In-place arithmetic on rows, element by element. */
#include "tensor/cpu/cpu.h"

/* Elements handled at a time: they stay in the first-level cache between the steps of an operation.
 */
enum { PIECE = 2048, ITEM_ELEMENTS = 16384 };

typedef struct each_job each_job;
typedef void each_fn(const each_job *j, float *x, const float *y, size_t n);

struct each_job {
    const vcpu_kernels *k;
    each_fn *fn;
    vlm_tensor x, y; /* rows; y may be empty, or one row for all */
    float value;
    int activation;
    size_t per_item;
};

static void each_row(const each_job *j, float *x, const char *y, size_t n) {
    float buffer[PIECE];
    size_t y_size = vtensor_dtype_size(j->y.dtype);
    for (size_t at = 0; at < n; at += PIECE) {
        size_t count = vcpu_min(PIECE, n - at);
        const float *yf = NULL;
        if (y) yf = vcpu_as_floats(j->k, buffer, y + at * y_size, j->y.dtype, count);
        j->fn(j, x + at, yf, count);
    }
}

static void each_item(void *arg, size_t item, int worker) {
    const each_job *j = arg;
    (void)worker;
    size_t rows = (size_t)j->x.shape[0], dim = (size_t)j->x.shape[1];
    size_t end = vcpu_min(rows, (item + 1) * j->per_item);
    for (size_t row = item * j->per_item; row < end; row++) {
        const char *y = NULL;
        if (j->y.rank) y = vcpu_row(j->y, j->y.shape[0] == 1 ? 0 : row);
        each_row(j, (float *)(void *)vcpu_row(j->x, row), y, dim);
    }
}

/* Contiguous elements that need no row structure are cut into pieces of a size worth handing out.
 */
static void recut(each_job *j) {
    int64_t n = vtensor_count(j->x);
    bool alone = j->y.rank == 0;
    if (n % PIECE != 0 || !vtensor_contiguous(j->x)) return;
    if (!alone && (!vtensor_same_shape(j->x, j->y) || !vtensor_contiguous(j->y))) return;
    int64_t shape[] = { n / PIECE, PIECE };
    j->x = vtensor_of(j->x.data, j->x.dtype, 2, shape);
    if (!alone) j->y = vtensor_of(j->y.data, j->y.dtype, 2, shape);
}

static void each(vlm_frame *f, each_job job) {
    vcpu_backend *b = vcpu_of(f);
    job.k = &b->k;
    recut(&job);
    size_t rows = (size_t)job.x.shape[0], dim = (size_t)job.x.shape[1];
    job.per_item = dim < ITEM_ELEMENTS ? ITEM_ELEMENTS / dim : 1;
    vcpu_run(b, vcpu_ceil(rows, job.per_item), rows * dim, each_item, &job);
}

static void add_fn(const each_job *j, float *x, const float *y, size_t n) {
    j->k->add(x, y, n);
}

static void mul_fn(const each_job *j, float *x, const float *y, size_t n) {
    j->k->mul(x, y, n);
}

static void scale_fn(const each_job *j, float *x, const float *y, size_t n) {
    (void)y;
    j->k->scale(x, j->value, n);
}

static void softcap_fn(const each_job *j, float *x, const float *y, size_t n) {
    (void)y;
    j->k->softcap(x, j->value, n);
}

static void activation_fn(const each_job *j, float *x, const float *y, size_t n) {
    j->k->activation[j->activation](x, n);
    if (y) j->k->mul(x, y, n);
}

void vcpu_add(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    each(f, (each_job) { .fn = add_fn, .x = x, .y = y });
}

void vcpu_mul(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    each(f, (each_job) { .fn = mul_fn, .x = x, .y = y });
}

void vcpu_scale(vlm_frame *f, vlm_tensor x, float factor) {
    each(f, (each_job) { .fn = scale_fn, .x = x, .value = factor });
}

void vcpu_softcap(vlm_frame *f, vlm_tensor x, float cap) {
    each(f, (each_job) { .fn = softcap_fn, .x = x, .value = cap });
}

void vcpu_activation(vlm_frame *f, vlm_tensor x, vlm_activation act) {
    each(f, (each_job) { .fn = activation_fn, .x = x, .activation = (int)act });
}

void vcpu_gate(vlm_frame *f, vlm_tensor gate, vlm_tensor up, vlm_activation act) {
    each(f, (each_job) { .fn = activation_fn, .x = gate, .y = up, .activation = (int)act });
}
