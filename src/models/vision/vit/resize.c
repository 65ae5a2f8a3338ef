/* SPDX-License-Identifier: MIT */
/* A table of positions in another size, as torch resizes it for SigLIP 2: bilinear, with a filter as
 * wide as the step where the table shrinks; columns first, then rows. */
#include <math.h>

#include "models/vision/vit/vit.h"

/* What an axis of n places is made of in one of `to`: `taps` places and their weights each. */
typedef struct axis {
    int64_t taps;
    int32_t *at;   /* [to, taps] */
    float *weight; /* [to, taps] */
} axis;

static void axis_free(axis *a) {
    vcore_free(a->at);
    vcore_free(a->weight);
}

/* The triangle's weights around each place's centre; places beyond the ends do not count. */
static bool axis_new(axis *a, int64_t n, int64_t to) {
    const double step = (double)n / (double)to, support = step > 1 ? step : 1;
    *a = (axis) { .taps = 2 * (int64_t)ceil(support) + 1 };
    a->at = vcore_alloc_array((size_t)to, (size_t)a->taps * sizeof *a->at);
    a->weight = vcore_alloc_array((size_t)to, (size_t)a->taps * sizeof *a->weight);
    if (!a->at || !a->weight) return false;
    for (int64_t i = 0; i < to; i++) {
        const double centre = step * ((double)i + 0.5);
        int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
        if (centre - support + 0.5 < 0) first = 0;
        if (end > n) end = n;
        double sum = 0;
        for (int64_t k = first; k < end; k++)
            sum += fmax(0, 1 - fabs((double)k + 0.5 - centre) / support);
        for (int64_t k = 0; k < a->taps; k++) { /* those that are left over weigh nothing */
            bool in = first + k < end;
            double w = in ? fmax(0, 1 - fabs((double)(first + k) + 0.5 - centre) / support) : 0;
            a->at[i * a->taps + k] = (int32_t)(in ? first + k : first);
            a->weight[i * a->taps + k] = (float)(w / sum);
        }
    }
    return true;
}

/* x [height * width, dim] with its columns (or rows) made `to` places, by an axis. */
static vlm_tensor resize(vlm_frame *f, vlm_tensor x, int64_t height, int64_t width, const axis *a,
                         int64_t to, bool columns) {
    const int64_t n = columns ? height * to : to * width, shape[] = { n, a->taps };
    int32_t *at = vcore_alloc_array((size_t)n, (size_t)a->taps * sizeof *at);
    float *weight = vcore_alloc_array((size_t)n, (size_t)a->taps * sizeof *weight);
    vlm_tensor y = { 0 };
    for (int64_t i = 0; at && weight && i < n; i++) {
        const int64_t place = columns ? i % to : i / width, other = columns ? i / to : i % width;
        for (int64_t k = 0; k < a->taps; k++) {
            const int64_t from = a->at[place * a->taps + k];
            at[i * a->taps + k] = (int32_t)(columns ? other * width + from : from * width + other);
            weight[i * a->taps + k] = a->weight[place * a->taps + k];
        }
    }
    if (at && weight)
        y = vlm_blend(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 2, shape, at),
                      vlm_tensor_from(f, VLM_DTYPE_F32, 2, shape, weight));
    else
        vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
    vcore_free(at);
    vcore_free(weight);
    return y;
}

vlm_tensor vmodel_vit_positions(vlm_frame *f, const vit *s, int64_t rows, int64_t columns) {
    const int64_t side = s->side, n = side * side;
    axis across = { 0 }, down = { 0 };
    vlm_tensor x = { 0 };
    int32_t *all = vcore_alloc_array((size_t)n, sizeof *all);
    if (all && axis_new(&across, side, columns) && axis_new(&down, side, rows)) {
        for (int64_t i = 0; i < n; i++) all[i] = (int32_t)i;
        x = vlm_embed(f, &s->position_embedding, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, all));
        x = resize(f, x, side, side, &across, columns, true);
        x = resize(f, x, side, columns, &down, rows, false);
    } else {
        vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
    }
    axis_free(&across);
    axis_free(&down);
    vcore_free(all);
    return x;
}
