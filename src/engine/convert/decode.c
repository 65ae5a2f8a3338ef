/* SPDX-License-Identifier: MIT */
/* Rows of matrices as floats, as MLX's dequantizer gives them: the affine mode multiplies and adds
 * in the type that is asked for, rounding each time, scales and biases first. What is stored in two
 * types (a translated checkpoint) is computed in float32 and rounded once. Owns that arithmetic; how
 * codes are stored, and their values in float32, is known where weights are decoded for products. */
#include "engine/convert/convert.h"

#include <float.h>
#include <math.h>

static float float_at(const vlm_tensor *t, int64_t i) {
    return vmodel_float_at(t->data, t->dtype, (size_t)i);
}

static void round_all(float *x, int64_t n, vlm_dtype type) {
    for (int64_t i = 0; type != VLM_DTYPE_F32 && i < n; i++) x[i] = vengine_round_to(type, x[i]);
}

/* From codes, in the arithmetic of a 16-bit type. */
static void decode_affine(float *out, const vlm_matrix *m, int64_t row, vlm_dtype type) {
    int64_t groups = m->in / m->group;
    int levels = 1 << m->bits;
    bool table = levels <= m->group; /* fewer values than weights */
    for (int64_t g = 0; g < groups; g++) {
        float value[256], scale = vengine_round_to(type, float_at(&m->scales, row * groups + g)),
                          bias = vengine_round_to(type, float_at(&m->biases, row * groups + g));
        for (int q = 0; table && q < levels; q++)
            value[q] = vengine_round_to(type, vengine_round_to(type, (float)q * scale) + bias);
        for (int64_t i = g * m->group; i < (g + 1) * m->group; i++)
            out[i] = table ? value[(int)out[i]]
                           : vengine_round_to(type, vengine_round_to(type, out[i] * scale) + bias);
    }
}

/* A row of one that lies input by input, expert below expert: a column. */
static void decode_across(float *out, const vlm_matrix *m, int64_t row) {
    const int64_t columns = m->data.shape[1], first = row / columns * m->in * columns + row % columns;
    for (int64_t i = 0; i < m->in; i++) out[i] = float_at(&m->data, first + i * columns);
}

bool vengine_decode_row(float *out, const vlm_matrix *m, int64_t row, vlm_dtype type, unsigned cpu_flags) {
    bool by_code = m->storage == VLM_STORAGE_AFFINE && type != VLM_DTYPE_F32 && m->scales.dtype == m->biases.dtype;
    if (m->across)
        decode_across(out, m, row);
    else
        vtensor_matrix_row(out, m, (size_t)row, by_code, cpu_flags);
    if (by_code)
        decode_affine(out, m, row, type);
    else if (m->storage != VLM_STORAGE_DENSE || m->data.dtype != type)
        round_all(out, m->in, type);
    int bad = 0;
    for (int64_t i = 0; i < m->in; i++) bad |= !(fabsf(out[i]) <= FLT_MAX);
    return !bad;
}
