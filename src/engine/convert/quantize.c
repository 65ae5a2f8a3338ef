/* SPDX-License-Identifier: MIT */
/* Quantizing rows with the arithmetic of MLX's quantizer on the CPU, bit for bit. The affine mode
 * works in float32 whatever the weights' type; the other modes round every step to that type, as
 * MLX's composed operations do. Owns the codes of the 4- and 8-bit floats and the packing. */
#include "engine/convert/convert.h"

#include <float.h>
#include <math.h>

enum { MOST_GROUP = 128, LANES = 8 };

float vengine_round_to(vlm_dtype type, float x) {
    if (type == VLM_DTYPE_BF16) return vcore_bf16_to_f32(vcore_f32_to_bf16(x));
    return type == VLM_DTYPE_F16 ? vcore_f16_to_f32(vcore_f32_to_f16(x)) : x;
}

void vengine_store_row(void *out, vlm_dtype type, const float *x, int64_t n) {
    uint16_t *halves = out;
    if (type == VLM_DTYPE_F32) {
        memcpy(out, x, (size_t)n * sizeof *x);
        return;
    }
    for (int64_t i = 0; type == VLM_DTYPE_F16 && i < n; i++) halves[i] = vcore_f32_to_f16(x[i]);
    for (int64_t i = 0; type == VLM_DTYPE_BF16 && i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        halves[i] = (uint16_t)(u >> 16);
    }
}

/* ---- packing ---------------------------------------------------------------------------------- */
/* Codes one behind the other, low bits first: a group is whole words of 32 bits. */
static void pack(uint8_t *out, const uint8_t *codes, int n, int bits) {
    uint64_t word = 0;
    int have = 0;
    for (int i = 0; i < n; i++) {
        word |= (uint64_t)codes[i] << have;
        have += bits;
        if (have < 32) continue;
        uint32_t low = (uint32_t)word;
        memcpy(out, &low, sizeof low);
        out += sizeof low;
        word >>= 32;
        have -= 32;
    }
}

/* ---- affine ----------------------------------------------------------------------------------- */
static void range(const float *x, int n, float *low, float *high) {
    float min[LANES], max[LANES];
    for (int k = 0; k < LANES; k++) min[k] = max[k] = x[k];
    for (int i = LANES; i < n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            max[k] = max[k] < x[i + k] ? x[i + k] : max[k];
            min[k] = x[i + k] < min[k] ? x[i + k] : min[k];
        }
    *low = min[0];
    *high = max[0];
    for (int k = 1; k < LANES; k++) {
        *high = *high < max[k] ? max[k] : *high;
        *low = min[k] < *low ? min[k] : *low;
    }
}

/* round((x - bias) / scale) within [0, most]. Cut to the range before it is rounded, which changes
 * nothing, and rounded by a sum in which no digit behind the point has room. */
static void affine_codes(uint8_t *codes, const float *x, int n, float scale, float bias, float most) {
    const float rounder = 12582912.0f; /* 1.5 * 2^23 */
    for (int i = 0; i < n; i++) {
        float q = (x[i] - bias) / scale;
        q = q < 0 ? 0 : q;
        q = q > most ? most : q;
        codes[i] = (uint8_t)(int)((q + rounder) - rounder);
    }
}

/* The edge of larger magnitude is exact: it becomes the bias, and zero a whole number of steps. */
static bool affine_group(const vlm_quantization_params *p, vlm_dtype type, const float *x,
                         uint8_t *packed, float *scale_out, float *bias_out) {
    uint8_t codes[MOST_GROUP];
    float low, high, most = (float)((1 << p->bits) - 1), bias = 0;
    range(x, p->group_size, &low, &high);
    bool below = fabsf(low) > fabsf(high);
    float scale = (high - low) / most, edge = below ? low : high;
    if (scale < 1e-7f) scale = 1e-7f;
    if (!below) scale = -scale;
    float steps = rintf(edge / scale);
    if (steps != 0) {
        scale = edge / steps;
        bias = edge;
    }
    affine_codes(codes, x, p->group_size, scale, bias, most);
    pack(packed, codes, p->group_size, p->bits);
    *scale_out = vengine_round_to(type, scale);
    *bias_out = vengine_round_to(type, bias);
    return isfinite(*scale_out) && isfinite(*bias_out);
}

/* ---- 8-bit and 4-bit floats --------------------------------------------------------------------- */
uint8_t vengine_to_fp8(float x) {
    uint32_t u;
    float magnitude = fabsf(x);
    memcpy(&u, &magnitude, sizeof u);
    unsigned code = magnitude >= 448 ? 0x7E
                    : magnitude < 0x1p-6f
                        ? (unsigned)rintf(magnitude * 512)
                        : ((u + 0x7FFFF + (u >> 20 & 1)) >> 20) - (120u << 3);
    return (uint8_t)(code | (signbit(x) ? 0x80 : 0));
}

static const float fp4_values[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };

/* The nearest, of two the one that comes first; so far out that none is nearer the first of all, in
 * float32. A negative number that becomes zero loses its sign. */
static uint8_t to_fp4(float x) {
    float magnitude = fabsf(x), best = magnitude;
    unsigned code = 0;
    for (unsigned i = 1; i < 8; i++) {
        float distance = fabsf(magnitude - fp4_values[i]);
        if (distance < best) best = distance, code = i;
    }
    return (uint8_t)(code && signbit(x) ? code | 8 : code);
}

/* The exponent of a group of mxfp4 or mxfp8, as a byte: the least that brings the largest value into
 * the range. Below 2^-126 MLX's byte wraps around; this one stays at the smallest there is. */
static uint8_t shared_exponent(vlm_dtype type, float largest, float most, float *power) {
    int exponent;
    float scale = vengine_round_to(type, largest / most), fraction = frexpf(scale, &exponent);
    if (fraction == 0.5f) exponent--;
    if (scale == 0) exponent = 0;
    if (exponent < -127) exponent = -127;
    *power = ldexpf(1, exponent);
    return (uint8_t)(exponent + 127);
}

static void float_group(const vlm_quantization_params *p, vlm_dtype type, const float *x,
                        uint8_t *packed, uint8_t *scale_out) {
    uint8_t codes[MOST_GROUP];
    float largest = 0, divisor, most = p->bits == 4 ? 6.0f : 448.0f;
    for (int i = 0; i < p->group_size; i++) largest = largest < fabsf(x[i]) ? fabsf(x[i]) : largest;
    if (p->mode == VLM_QUANTIZATION_NVFP4) {
        *scale_out = vengine_to_fp8(vengine_round_to(type, largest / most));
        divisor = vcore_e4m3_to_f32(*scale_out);
    } else {
        *scale_out = shared_exponent(type, largest, most, &divisor);
    }
    for (int i = 0; i < p->group_size; i++) {
        float q = divisor == 0 ? 0 : vengine_round_to(type, x[i] / divisor);
        codes[i] = p->bits == 4 ? to_fp4(q) : vengine_to_fp8(q);
    }
    pack(packed, codes, p->group_size, p->bits);
}

/* ---- rows --------------------------------------------------------------------------------------- */
bool vengine_quantize_row(const vlm_quantization_params *p, vlm_dtype type, const float *x, int64_t in,
                          uint8_t *packed, void *scales, void *biases) {
    bool finite = true;
    size_t size = type == VLM_DTYPE_F32 ? 4 : 2, bytes = (size_t)(p->group_size * p->bits / 8);
    for (int64_t g = 0; g < in / p->group_size; g++, x += p->group_size, packed += bytes) {
        float scale, bias;
        if (p->mode != VLM_QUANTIZATION_AFFINE) {
            float_group(p, type, x, packed, (uint8_t *)scales + g);
            continue;
        }
        finite &= affine_group(p, type, x, packed, &scale, &bias);
        vengine_store_row((uint8_t *)scales + (size_t)g * size, type, &scale, 1);
        vengine_store_row((uint8_t *)biases + (size_t)g * size, type, &bias, 1);
    }
    return finite;
}
