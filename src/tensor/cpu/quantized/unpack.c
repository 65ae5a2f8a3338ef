/* SPDX-License-Identifier: MIT */
/* Rows of matrices as floats, whatever the storage: dense rows are widened, quantized ones decoded
 * to the very values that MLX decodes in float32. Owns the modes' scales and the scalar kernel that
 * the others are tested against. */
#include "tensor/cpu/cpu.h"

/* ---- the scalar kernel ---- */
/* Eight codes of b bits fill b bytes, whatever b is. */
static void codes8(uint8_t q[8], const uint8_t *packed, int bits) {
    uint64_t u = 0;
    for (int i = 0; i < bits; i++) u |= (uint64_t)packed[i] << (8 * i);
    for (int i = 0; i < 8; i++) q[i] = (uint8_t)(u >> (i * bits) & ((1u << bits) - 1));
}

static float element(vcpu_codes codes, uint8_t q) {
    static const float e2m1[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6 };
    return codes == VCPU_CODES_E2M1 ? e2m1[q] : vcore_e4m3_to_f32(q);
}

void vcpu_unpack_scalar(float *y, const vcpu_packed *from, size_t n) {
    const uint8_t *packed = from->data;
    for (size_t i = 0; i < n; i += 8, packed += from->bits) {
        size_t g = i / from->group;
        float scale = from->scales[g];
        uint8_t q[8];
        codes8(q, packed, from->bits);
        for (size_t j = 0; j < 8; j++)
            y[i + j] = from->codes == VCPU_CODES_INTEGER ? (float)q[j] * scale + from->biases[g]
                                                    : element(from->codes, q[j]) * scale;
    }
}

/* ---- 8-bit floats of other layouts ---- */
void vtensor_e4m3(void *to, vlm_dtype type, const uint8_t *codes, float scale, size_t n,
                  unsigned cpu_flags) {
    enum { PIECE = 1024 };
    vcpu_kernels k;
    float values[PIECE];
    uint8_t tail[8] = { 0 };
    const vcpu_packed all = { VCPU_CODES_E4M3, 8, PIECE, codes, &scale, NULL };
    vcpu_kernels_fill(&k, cpu_flags);
    for (size_t at = 0, m; at < n; at += m) {
        vcpu_packed from = all;
        m = vcpu_min(PIECE, n - at);
        if (m >= 8) m = m / 8 * 8;
        from.data = m < 8 ? memcpy(tail, codes + at, m) : codes + at;
        k.unpack(values, &from, m < 8 ? 8 : m);
        vcpu_narrow(&k, (char *)to + 2 * at, type, values, m);
    }
}

/* ---- scales ---- */
enum { GROUPS = 64 }; /* decoded at a time */

static const void *scale_at(vlm_tensor scales, size_t row, size_t g) {
    return vcpu_row(scales, row) + g * vtensor_dtype_size(scales.dtype);
}

/* nvfp4's scales are E4M3, those of the mx modes powers of two. */
static void byte_scales(float *to, const uint8_t *from, size_t n, bool e4m3) {
    for (size_t i = 0; i < n; i++)
        to[i] = e4m3 ? vcore_e4m3_to_f32(from[i]) : vcore_e8m0_to_f32(from[i]);
}

/* Products so far are exact, so that a value is rounded once. */
static void apply_factor(const vcpu_kernels *k, float *y, const vlm_matrix *m, size_t n) {
    float factor = *(const float *)m->factor.data;
    if (!m->divided) {
        k->scale(y, factor, n);
        return;
    }
    for (size_t i = 0; i < n; i++) y[i] /= factor;
}

/* Values of at most GROUPS groups from group g on. */
static void unpack_groups(const vcpu_kernels *k, float *to, const vlm_matrix *m, size_t row,
                          size_t g, size_t n) {
    float scales[GROUPS], biases[GROUPS];
    size_t group = (size_t)m->group, groups = vcpu_ceil(n, group);
    vcpu_packed from = { .bits = m->bits, .group = group, .scales = scales, .biases = biases };
    from.data = vcpu_row(m->data, row) + g * group * (size_t)m->bits / 8;
    if (m->storage == VLM_STORAGE_AFFINE) {
        vcpu_widen(k, scales, scale_at(m->scales, row, g), m->scales.dtype, groups);
        vcpu_widen(k, biases, scale_at(m->biases, row, g), m->biases.dtype, groups);
    } else {
        from.codes = m->storage == VLM_STORAGE_MXFP8 ? VCPU_CODES_E4M3 : VCPU_CODES_E2M1;
        byte_scales(scales, scale_at(m->scales, row, g), groups,
                    m->storage == VLM_STORAGE_NVFP4);
    }
    k->unpack(to, &from, n);
    if (m->factor.rank) apply_factor(k, to, m, n);
}

void vcpu_matrix_row(const vcpu_kernels *k, float *to, const vlm_matrix *m, size_t row,
                     size_t start, size_t n) {
    if (m->storage == VLM_STORAGE_DENSE) {
        vcpu_widen(k, to, vcpu_row(m->data, row) + start * vtensor_dtype_size(m->data.dtype),
                   m->data.dtype, n);
        return;
    }
    size_t group = (size_t)m->group, step = GROUPS * group;
    for (size_t at = 0; at < n; at += step)
        unpack_groups(k, to + at, m, row, (start + at) / group, vcpu_min(step, n - at));
}

void vtensor_matrix_row(float *to, const vlm_matrix *m, size_t row, bool codes, unsigned cpu_flags) {
    const float one = 1, zero = 0;
    vcpu_kernels k;
    vcpu_kernels_fill(&k, cpu_flags);
    if (codes) {
        const vcpu_packed all = { VCPU_CODES_INTEGER, m->bits, (size_t)m->in, vcpu_row(m->data, row), &one, &zero };
        k.unpack(to, &all, (size_t)m->in);
    } else {
        vcpu_matrix_row(&k, to, m, row, 0, (size_t)m->in);
    }
}
