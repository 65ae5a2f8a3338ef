/* SPDX-License-Identifier: MIT */
/* Depthwise convolutions as vlm_depthwise_conv takes them: float32, tap by tap. Files have them channel by channel,
 * [out, 1, kernel, kernel] or in MLX [out, kernel, kernel, 1], which is the same in memory. A batch normalisation
 * behind one is a factor and a summand for each channel, and becomes part of it. */
#include <math.h>
#include <stdio.h>

#include "models/weights/weights.h"

enum { SCALE, SHIFT, MEAN, VARIANCE, NORM_PARTS };
#define EPS 1e-5

typedef struct channels {
    const vio_tensor *tensor;
    vlm_dtype type;
} channels;

/* "<stem><suffix>" [out]. tensor NULL: it is missing, which is noted. */
static vlm_status find_channels(vmodel_row *r, const char *suffix, channels *out) {
    *out = (channels) { vmodel_row_companion(r, suffix), VLM_DTYPE_F32 };
    if (!out->tensor) {
        r->b->usage.missing_parameters += (uint64_t)r->dims[0];
        return vmodel_build_missing(r->b, r->stem, suffix, r->err);
    }
    VTRY(vmodel_row_float_type(r, out->tensor, &out->type));
    VTRY(vmodel_row_check_shape(r, out->tensor, r->dims, 1, "the config"));
    vmodel_row_take(r, out->tensor, (uint64_t)r->dims[0]);
    return VLM_OK;
}

static float value(const channels *c, int64_t i) {
    return vmodel_float_at(c->tensor->data, c->type, (size_t)i);
}

/* The batch normalisation: the module beside this one that is called "bn". */
static vlm_status find_norm(const vmodel_row *r, channels *parts, bool *found) {
    static const char *const suffixes[NORM_PARTS] = { ".weight", ".bias", ".running_mean", ".running_var" };
    vmodel_row norm = *r;
    char *last = strrchr(norm.stem, '.');
    snprintf(last ? last + 1 : norm.stem, sizeof norm.stem - (size_t)(last ? last + 1 - norm.stem : 0), "bn");
    *found = true;
    for (int i = 0; i < NORM_PARTS; i++) {
        VTRY(find_channels(&norm, suffixes[i], &parts[i]));
        *found = *found && parts[i].tensor;
    }
    return VLM_OK;
}

/* What channel o is multiplied with, and what is then added to it: bias - mean * factor, in doubles, rounded once. */
static bool of_norm(const channels *parts, int64_t o, float *factor, float *summand) {
    const double f = (double)value(&parts[SCALE], o) / sqrt((double)value(&parts[VARIANCE], o) + EPS);
    *factor = (float)f;
    *summand = (float)((double)value(&parts[SHIFT], o) - (double)value(&parts[MEAN], o) * f);
    return isfinite(*factor) && isfinite(*summand);
}

/* The array for whose sake channel o is no number: one that holds none, a variance without a root, else the factors. */
static const vio_tensor *culprit(const channels *parts, int64_t o) {
    for (int i = 0; i < NORM_PARTS; i++)
        if (!isfinite(value(&parts[i], o))) return parts[i].tensor;
    return parts[(double)value(&parts[VARIANCE], o) + EPS > 0 ? SCALE : VARIANCE].tensor;
}

vlm_status vmodel_bind_depthwise(vmodel_row *r, vlm_depthwise *out) {
    const int64_t n = r->dims[0], in = r->dims[1], side = r->dims[2], taps = side * side, each = n / in;
    const int64_t plain[] = { n, 1, side, side }, mlx[] = { n, side, side, 1 }, by_tap[] = { taps, each, in };
    const vio_tensor *t = vmodel_row_locate(r, ".weight");
    const bool normed = r->row->bias == VLM_NEVER;
    channels weight = { t, VLM_DTYPE_F32 }, parts[NORM_PARTS] = { { NULL, VLM_DTYPE_F32 } };
    bool found;
    *out = (vlm_depthwise) { vtensor_of(NULL, VLM_DTYPE_F32, 3, by_tap), vtensor_of(NULL, VLM_DTYPE_F32, 1, &n) };
    if (!t) {
        r->b->usage.missing_parameters += (uint64_t)(n * taps);
        VTRY(vmodel_build_missing(r->b, r->stem, ".weight", r->err));
    } else {
        VTRY(vmodel_row_float_type(r, t, &weight.type));
        VTRY(vmodel_row_check_shape(r, t, t->mlx ? mlx : plain, 4, "the config"));
        vmodel_row_take(r, t, (uint64_t)(n * taps));
    }
    if (normed) {
        VTRY(find_norm(r, parts, &found));
    } else {
        VTRY(find_channels(r, ".bias", &parts[SHIFT]));
        found = parts[SHIFT].tensor != NULL;
    }
    if (!t || !found) return VLM_OK;
    void *weights, *biases;
    VTRY(vmodel_row_materialise(r, &weights, t, (size_t)(n * taps) * sizeof(float)));
    VTRY(vmodel_row_materialise(r, &biases, parts[SHIFT].tensor, (size_t)n * sizeof(float)));
    for (int64_t o = 0; weights && o < n; o++) {
        float factor = 1, summand = normed ? 0 : value(&parts[SHIFT], o);
        if (normed && !of_norm(parts, o, &factor, &summand))
            return vmodel_row_fail(r, VLM_ERR_WEIGHTS, culprit(parts, o), VMODEL_NOT_FINITE);
        for (int64_t k = 0; k < taps; k++)
            ((float *)weights)[(k * each + o % each) * in + o / each] = value(&weight, o * taps + k) * factor;
        ((float *)biases)[o] = summand;
    }
    out->weight.data = weights;
    out->bias.data = biases;
    return VLM_OK;
}
