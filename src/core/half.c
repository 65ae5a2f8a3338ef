/* SPDX-License-Identifier: MIT */
/* bfloat16, IEEE half and OCP's bytes, one value at a time and rounded to nearest even. The kernels of
 * tensor/ have vector forms of their own; these are what they are tested against. */
#include "core/core.h"

uint16_t vcore_f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(u >> 16 | 0x40); /* quiet: rounding could give Inf */
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

float vcore_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3FF, u;
    if (exponent == 31) {
        u = sign | 0x7F800000 | mantissa << 13 | (mantissa ? 0x400000 : 0);
    } else if (exponent) {
        u = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        float f = (float)mantissa * 0x1p-24f; /* zero or subnormal: exact in float */
        memcpy(&u, &f, 4);
        u |= sign;
    }
    float f;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t vcore_f32_to_f16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint32_t sign = u >> 16 & 0x8000, magnitude = u & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* rounds to 65536 or more */
    if (magnitude < 0x38800000) {
        /* Subnormal: adding 0.5 leaves the result, rounded by the FPU, in the low bits. */
        float shifted;
        memcpy(&shifted, &magnitude, 4);
        shifted += 0.5f;
        memcpy(&u, &shifted, 4);
        return (uint16_t)(sign | (u - 0x3F000000));
    }
    magnitude += 0xC8000FFF + (magnitude >> 13 & 1); /* exponent bias 127 to 15, round to even */
    return (uint16_t)(sign | magnitude >> 13);
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float vcore_e4m3_to_f32(uint8_t b) {
    uint32_t sign = (uint32_t)(b & 128) << 24, magnitude = b & 127;
    if (magnitude == 127) return float_of(sign | 0x7FC00000);
    if (magnitude >= 8) return float_of(sign | ((magnitude << 20) + (120u << 23)));
    float f = (float)magnitude * 0x1p-9f;
    return sign ? -f : f;
}

float vcore_e8m0_to_f32(uint8_t b) {
    if (b == 255) return float_of(0x7FC00000);
    return float_of(b ? (uint32_t)b << 23 : 0x400000);
}
