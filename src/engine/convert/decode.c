/* SPDX-License-Identifier: MIT */
/* Rows of matrices as floats, as MLX's dequantizer gives them: the affine mode multiplies and adds
 * in the type that is asked for, rounding each time, scales and biases first. What is stored in two
 * types (a translated checkpoint) is computed in float32 and rounded once. */
#include "engine/convert/convert.h"

#include <float.h>
#include <math.h>

static float float_at(const vlm_tensor *t, int64_t i) {
    return vmodel_float_at(t->data, t->dtype, (size_t)i);
}

/* Code i of packed ones; 16 bytes behind the last are not touched. */
static unsigned code_at(const uint8_t *packed, int64_t i, int bits) {
    int64_t bit = i * bits;
    unsigned byte = packed[bit / 8], shift = (unsigned)(bit % 8);
    if (shift + (unsigned)bits > 8) byte |= (unsigned)packed[bit / 8 + 1] << 8;
    return byte >> shift & ((1u << bits) - 1);
}

static const uint8_t *packed_row(const vlm_matrix *m, int64_t row) {
    return (const uint8_t *)m->data.data + (size_t)(row * (m->in * m->bits / 8));
}

static void decode_affine(float *out, const vlm_matrix *m, int64_t row, vlm_dtype type) {
    const uint8_t *packed = packed_row(m, row);
    vlm_dtype work = m->scales.dtype == m->biases.dtype ? type : VLM_DTYPE_F32;
    int64_t groups = m->in / m->group;
    for (int64_t g = 0; g < groups; g++) {
        float value[256], scale = vengine_round_to(work, float_at(&m->scales, row * groups + g)),
                          bias = vengine_round_to(work, float_at(&m->biases, row * groups + g));
        int levels = 1 << m->bits;
        bool table = levels <= m->group; /* fewer values than weights */
        for (int q = 0; table && q < levels; q++)
            value[q] = vengine_round_to(work, vengine_round_to(work, (float)q * scale) + bias);
        for (int64_t i = g * m->group; i < (g + 1) * m->group; i++) {
            unsigned q = code_at(packed, i, m->bits);
            out[i] = table ? value[q]
                           : vengine_round_to(work, vengine_round_to(work, (float)q * scale) + bias);
        }
    }
    if (work == type) return;
    for (int64_t i = 0; i < m->in; i++) out[i] = vengine_round_to(type, out[i]);
}

static float from_fp4(unsigned code) {
    static const float values[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    return code & 8 ? -values[code & 7] : values[code & 7];
}

static float factor_of(const vlm_matrix *m) {
    float factor = m->factor.rank ? float_at(&m->factor, 0) : 1;
    return m->divided ? 1 / factor : factor;
}

static void decode_floats(float *out, const vlm_matrix *m, int64_t row, vlm_dtype type) {
    const uint8_t *packed = packed_row(m, row), *scales = m->scales.data;
    int64_t groups = m->in / m->group;
    float factor = factor_of(m);
    for (int64_t g = 0; g < groups; g++) {
        uint8_t code = scales[row * groups + g];
        float scale = m->storage == VLM_STORAGE_NVFP4 ? vcore_e4m3_to_f32(code) * factor
                                                      : vcore_e8m0_to_f32(code) * factor;
        for (int64_t i = g * m->group; i < (g + 1) * m->group; i++) {
            unsigned q = code_at(packed, i, m->bits);
            float value = m->bits == 8 ? vcore_e4m3_to_f32((uint8_t)q) : from_fp4(q);
            out[i] = vengine_round_to(type, value * scale);
        }
    }
}

/* bfloat16 to itself is the common case. */
static void decode_dense(float *out, const vlm_matrix *m, int64_t row, vlm_dtype type) {
    const size_t first = (size_t)(row * m->in);
    const uint8_t *from = m->data.data;
    if (m->data.dtype == VLM_DTYPE_BF16 && type != VLM_DTYPE_F16) {
        for (int64_t i = 0; i < m->in; i++) {
            uint16_t h;
            memcpy(&h, from + 2 * (first + (size_t)i), sizeof h);
            out[i] = vcore_bf16_to_f32(h);
        }
        return;
    }
    for (int64_t i = 0; i < m->in; i++)
        out[i] = vmodel_float_at(from, m->data.dtype, first + (size_t)i);
    if (type == m->data.dtype || type == VLM_DTYPE_F32) return;
    for (int64_t i = 0; i < m->in; i++) out[i] = vengine_round_to(type, out[i]);
}

bool vengine_decode_row(float *out, const vlm_matrix *m, int64_t row, vlm_dtype type) {
    if (m->storage == VLM_STORAGE_DENSE)
        decode_dense(out, m, row, type);
    else if (m->storage == VLM_STORAGE_AFFINE)
        decode_affine(out, m, row, type);
    else
        decode_floats(out, m, row, type);
    int bad = 0;
    for (int64_t i = 0; i < m->in; i++) bad |= !(fabsf(out[i]) <= FLT_MAX);
    return !bad;
}
