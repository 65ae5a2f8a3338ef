/* SPDX-License-Identifier: MIT */
/* Operations on whole rows: RMS and layer norm, rotary positions. */
#include "tensor/cpu/cpu.h"

#include <math.h>

enum { ITEM_ELEMENTS = 8192 };

/* ---- norms ---- */
typedef struct norm_job {
    const vcpu_kernels *k;
    vlm_tensor y, x;
    const float *weight, *bias; /* NULL: none */
    float eps, offset;
    bool subtract_mean;
    size_t per_item;
} norm_job;

/* Sums in double: their error must not show next to the reference's float32. */
static void norm_item(void *arg, size_t item, int worker) {
    const norm_job *j = arg;
    (void)worker;
    size_t rows = (size_t)j->x.shape[0], dim = (size_t)j->x.shape[1];
    size_t end = vcpu_min(rows, (item + 1) * j->per_item);
    for (size_t row = item * j->per_item; row < end; row++) {
        const float *x = (const float *)(const void *)vcpu_row(j->x, row);
        float *y = (float *)(void *)vcpu_row(j->y, row);
        double mean = j->subtract_mean ? j->k->sum(x, dim) / (double)dim : 0;
        double variance = j->k->sum_squares(x, mean, dim) / (double)dim;
        float rstd = (float)(1 / sqrt(variance + (double)j->eps));
        j->k->normalise(y, x, j->weight, j->bias, (float)mean, rstd, j->offset, dim);
    }
}

/* The norm's vectors as floats: as they lie, or widened into scratch. */
static const float *vector(const vcpu_kernels *k, float *buffer, vlm_tensor v) {
    return v.rank ? vcpu_as_floats(k, buffer, v.data, v.dtype, (size_t)v.shape[0]) : NULL;
}

void vcpu_norm(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_norm *norm, bool subtract_mean) {
    vcpu_backend *b = vcpu_of(f);
    size_t rows = (size_t)x.shape[0], dim = (size_t)x.shape[1];
    if (!vcpu_begin(f, 2 * vcpu_floats(dim), 0)) return;
    float *buffer = (float *)(void *)b->shared;
    norm_job job = { .k = &b->k, .y = y, .x = x, .eps = norm->eps, .offset = norm->offset };
    job.subtract_mean = subtract_mean;
    job.weight = vector(&b->k, buffer, norm->weight);
    job.bias = vector(&b->k, buffer + vcpu_floats(dim) / sizeof(float), norm->bias);
    job.per_item = dim < ITEM_ELEMENTS ? ITEM_ELEMENTS / dim : 1;
    vcpu_run(b, vcpu_ceil(rows, job.per_item), rows * dim, norm_item, &job);
    vcpu_end(f);
}

/* ---- rotary positions ---- */
typedef struct angles_job {
    vlm_rope_table y;
    vlm_tensor positions;
    const float *inv_freq;
    const uint8_t *axis_of;
} angles_job;

/* The angle is rounded to float32 first, as the references compute it; its cosine is then exact. */
static void angles_item(void *arg, size_t row, int worker) {
    const angles_job *j = arg;
    (void)worker;
    float *cos_row = (float *)(void *)vcpu_row(j->y.cos, row);
    float *sin_row = (float *)(void *)vcpu_row(j->y.sin, row);
    for (size_t i = 0; i < (size_t)j->y.cos.shape[1]; i++) {
        size_t axis = j->axis_of ? j->axis_of[i] : 0;
        int32_t at;
        memcpy(&at, vcpu_row(j->positions, axis) + row * sizeof at, sizeof at);
        float angle = (float)at * j->inv_freq[i];
        cos_row[i] = (float)cos((double)angle);
        sin_row[i] = (float)sin((double)angle);
    }
}

void vcpu_rope_angles(vlm_frame *f, const vlm_rope_table *y, vlm_tensor positions,
                      const float *inv_freq, const uint8_t *axis_of) {
    angles_job job = { *y, positions, inv_freq, axis_of };
    size_t rows = (size_t)y->cos.shape[0], half = (size_t)y->cos.shape[1];
    vcpu_run(vcpu_of(f), rows, rows * half * 32, angles_item, &job);
}

typedef struct rope_job {
    const vcpu_kernels *k;
    vlm_tensor x;
    vlm_rope_table table;
    vlm_rope_pairs pairs;
    size_t per_item;
} rope_job;

static void rotate_adjacent(float *x, const float *c, const float *s, size_t half) {
    for (size_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c[i] - b * s[i];
        x[2 * i + 1] = b * c[i] + a * s[i];
    }
}

static void rope_item(void *arg, size_t item, int worker) {
    const rope_job *j = arg;
    (void)worker;
    size_t half = (size_t)j->table.cos.shape[1];
    size_t end = vcpu_min((size_t)j->x.shape[0], (item + 1) * j->per_item);
    for (size_t row = item * j->per_item; row < end; row++) {
        const float *c = (const float *)(const void *)vcpu_row(j->table.cos, row);
        const float *s = (const float *)(const void *)vcpu_row(j->table.sin, row);
        float *x = (float *)(void *)vcpu_row(j->x, row);
        for (int64_t h = 0; h < j->x.shape[1]; h++, x += j->x.stride[1]) {
            if (j->pairs == VLM_ROPE_HALVES)
                j->k->rotate(x, x + half, c, s, half);
            else
                rotate_adjacent(x, c, s, half);
        }
    }
}

void vcpu_rope(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table, vlm_rope_pairs pairs) {
    vcpu_backend *b = vcpu_of(f);
    size_t rows = (size_t)x.shape[0], dim = (size_t)(x.shape[1] * x.shape[2]);
    rope_job job = { &b->k, x, *table, pairs, dim < ITEM_ELEMENTS ? ITEM_ELEMENTS / dim : 1 };
    vcpu_run(b, vcpu_ceil(rows, job.per_item), rows * dim, rope_item, &job);
}
