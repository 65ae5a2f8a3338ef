/* SPDX-License-Identifier: MIT */
/* Rows made of several others: weighted sums, and short convolutions along a sequence. Both are a
 * thousandth of the products around them, so that plain loops over channels do. */
#include "tensor/cpu/cpu.h"

enum { ITEM_ELEMENTS = 16384 };

static size_t rows_per_item(size_t dim) {
    size_t rows = ITEM_ELEMENTS / (dim ? dim : 1);
    return rows ? rows : 1;
}

/* ---- weighted sums ---- */
typedef struct blend_job {
    vlm_tensor y, x, index, weights;
    size_t per_item;
} blend_job;

static void blend_item(void *arg, size_t item, int worker) {
    const blend_job *j = arg;
    (void)worker;
    size_t dim = (size_t)j->y.shape[1], taps = (size_t)j->index.shape[1];
    size_t end = vcpu_min((size_t)j->y.shape[0], (item + 1) * j->per_item);
    for (size_t i = item * j->per_item; i < end; i++) {
        float *y = (float *)(void *)vcpu_row(j->y, i);
        memset(y, 0, dim * sizeof *y);
        for (size_t k = 0; k < taps; k++) {
            const float w = ((const float *)j->weights.data)[i * taps + k];
            const float *x = (const float *)(const void *)vcpu_row(
                j->x, (size_t)((const int32_t *)j->index.data)[i * taps + k]);
            for (size_t c = 0; c < dim; c++) y[c] += w * x[c];
        }
    }
}

void vcpu_blend(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index, vlm_tensor weights) {
    for (int64_t i = 0; i < vtensor_count(index); i++) {
        int32_t at = ((const int32_t *)index.data)[i];
        if (at >= 0 && at < x.shape[0]) continue;
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "blend: index %d at %lld is outside [0, %lld)", (int)at,
                       (long long)i, (long long)x.shape[0]);
        return;
    }
    size_t rows = (size_t)y.shape[0], dim = (size_t)y.shape[1];
    blend_job job = { y, x, index, weights, rows_per_item(dim * (size_t)index.shape[1]) };
    vcpu_run(vcpu_of(f), vcpu_ceil(rows, job.per_item), rows * dim * (size_t)index.shape[1], blend_item, &job);
}

/* ---- short convolutions ---- */
typedef struct conv_job {
    vlm_tensor y, x, weight, bias;
    const vlm_segment *segment; /* of the sequence at hand */
    size_t per_item;
} conv_job;

/* What position `at` of the sequence brought; NULL in front of the first. */
static const float *input_at(const conv_job *j, int64_t at) {
    const vlm_segment *s = j->segment;
    if (at < 0) return NULL;
    if (at >= s->past) return (const float *)(const void *)vcpu_row(j->x, (size_t)(s->start + at - s->past));
    const vlm_tensor *k = &s->kv->k;
    return (const float *)k->data + at % k->shape[0] * k->stride[0];
}

static void conv_item(void *arg, size_t item, int worker) {
    const conv_job *j = arg;
    (void)worker;
    const int64_t taps = j->weight.shape[1], dim = j->x.shape[1];
    const float *weight = j->weight.data, *bias = j->bias.rank ? j->bias.data : NULL;
    size_t end = vcpu_min((size_t)j->segment->length, (item + 1) * j->per_item);
    for (size_t i = item * j->per_item; i < end; i++) {
        float *y = (float *)(void *)vcpu_row(j->y, (size_t)j->segment->start + i);
        for (int64_t c = 0; c < dim; c++) y[c] = bias ? bias[c] : 0;
        for (int64_t k = 0; k < taps; k++) {
            const float *x = input_at(j, j->segment->past + (int64_t)i - taps + 1 + k);
            for (int64_t c = 0; x && c < dim; c++) y[c] += weight[c * taps + k] * x[c];
        }
    }
}

/* The last inputs of the sequence, each in its position's row. */
static void remember(const vlm_segment *s, vlm_tensor x) {
    const vlm_tensor *k = &s->kv->k;
    const int64_t first = s->length > k->shape[0] ? s->length - k->shape[0] : 0;
    for (int64_t i = first; i < s->length; i++)
        memcpy((float *)k->data + (s->past + i) % k->shape[0] * k->stride[0],
               vcpu_row(x, (size_t)(s->start + i)), (size_t)x.shape[1] * sizeof(float));
}

void vcpu_short_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor weight, vlm_tensor bias,
                     const vlm_segment *segments, int n_segments) {
    size_t dim = (size_t)x.shape[1], work = dim * (size_t)weight.shape[1];
    for (int i = 0; i < n_segments; i++) {
        const vlm_segment *s = &segments[i];
        conv_job job = { y, x, weight, bias, s, rows_per_item(work) };
        size_t rows = (size_t)s->length;
        vcpu_run(vcpu_of(f), vcpu_ceil(rows, job.per_item), rows * work, conv_item, &job);
        if (s->kv) remember(s, x);
    }
}
