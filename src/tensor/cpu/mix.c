/* SPDX-License-Identifier: MIT */
/* Rows made of several others: weighted sums, short convolutions along a sequence, depthwise
 * convolutions of a map. The first two are a thousandth of the products around them, so that plain
 * loops over channels do. */
#include "tensor/cpu/cpu.h"

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
    blend_job job = { y, x, index, weights, vcpu_rows_per_item(dim * (size_t)index.shape[1]) };
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
        conv_job job = { y, x, weight, bias, s, vcpu_rows_per_item(work) };
        size_t rows = (size_t)s->length;
        vcpu_run(vcpu_of(f), vcpu_ceil(rows, job.per_item), rows * work, conv_item, &job);
        if (s->kv) remember(s, x);
    }
}

/* ---- depthwise convolutions ---- */
enum { MOST_TAPS = VTENSOR_MAX_KERNEL * VTENSOR_MAX_KERNEL };

typedef struct depthwise_job {
    vcpu_backend *b;
    vlm_tensor y, x, weight, bias;
    int64_t height, width, columns, side, stride; /* columns of y */
    size_t per_item;
} depthwise_job;

/* The taps of an output that lie on the map: rows of x, and of the weight for the first channels. */
static size_t taps_of(const depthwise_job *j, int64_t row, const float **x, const float **w) {
    const int64_t top = row / j->columns * j->stride - j->side / 2;
    const int64_t left = row % j->columns * j->stride - j->side / 2;
    size_t n = 0;
    for (int64_t k = 0; k < j->weight.shape[0]; k++) {
        const int64_t at_y = top + k / j->side, at_x = left + k % j->side;
        if (at_y < 0 || at_y >= j->height || at_x < 0 || at_x >= j->width) continue;
        x[n] = (const float *)(const void *)vcpu_row(j->x, (size_t)(at_y * j->width + at_x));
        w[n++] = (const float *)j->weight.data + k * j->weight.stride[0];
    }
    return n;
}

/* Channels [m * in]: those of each m are sums side by side, and stand apart in y. */
static void depthwise_item(void *arg, size_t item, int worker) {
    const depthwise_job *j = arg;
    const size_t in = (size_t)j->x.shape[1], each = (size_t)j->weight.shape[1];
    const float *x[MOST_TAPS], *w[MOST_TAPS], *bias = j->bias.data;
    float *sums = vcpu_scratch(j->b, worker); /* [in] */
    size_t end = vcpu_min((size_t)j->y.shape[0], (item + 1) * j->per_item);
    for (size_t i = item * j->per_item; i < end; i++) {
        float *y = (float *)(void *)vcpu_row(j->y, i);
        const size_t taps = taps_of(j, (int64_t)i, x, w);
        if (each == 1) {
            j->b->k.sum_products(y, bias, x, w, taps, in);
            continue;
        }
        for (size_t m = 0; m < each; m++) {
            j->b->k.sum_products(sums, NULL, x, w, taps, in);
            for (size_t c = 0; c < in; c++) y[c * each + m] = bias[c * each + m] + sums[c];
            for (size_t k = 0; k < taps; k++) w[k] += in;
        }
    }
}

void vcpu_depthwise_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, int64_t width, const vlm_depthwise *conv,
                         int64_t stride) {
    vcpu_backend *b = vcpu_of(f);
    const size_t work = (size_t)(y.shape[1] * conv->weight.shape[0]), rows = (size_t)y.shape[0];
    depthwise_job job = { .b = b, .y = y, .x = x, .weight = conv->weight, .bias = conv->bias,
                          .height = x.shape[0] / width, .width = width, .columns = (width + stride - 1) / stride,
                          .stride = stride, .per_item = vcpu_rows_per_item(work) };
    while (job.side * job.side < conv->weight.shape[0]) job.side++;
    if (!vcpu_begin(f, 0, vcpu_floats((size_t)x.shape[1]))) return;
    vcpu_run(b, vcpu_ceil(rows, job.per_item), rows * work, depthwise_item, &job);
    vcpu_end(f);
}
