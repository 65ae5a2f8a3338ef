/* SPDX-License-Identifier: MIT */
/* bfloat16 and half: every value, and rounding at every boundary between two neighbours. */
#include "support/cm.h"

#include "core/core.h"

#include <math.h>

static uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* The value of a finite half, by its definition. */
static float half_value(unsigned h) {
    int exponent = h >> 10 & 31;
    float m = (float)(h & 0x3FF);
    float f = exponent ? ldexpf(1024 + m, exponent - 25) : ldexpf(m, -24);
    return h & 0x8000 ? -f : f;
}

static void every_half(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        float f = vcore_f16_to_f32((uint16_t)h);
        if ((h & 0x7FFF) > 0x7C00) {
            if (!isnan(f) || !isnan(vcore_f16_to_f32(vcore_f32_to_f16(f)))) fail_msg("NaN %04x", h);
            continue;
        }
        if ((h & 0x7FFF) == 0x7C00)
            assert_true(isinf(f) && (signbit(f) != 0) == (h >> 15 != 0));
        else if (bits(f) != bits(half_value(h)))
            fail_msg("half %04x", h);
        if (vcore_f32_to_f16(f) != h) fail_msg("half %04x does not return", h);
    }
}

static void half_rounds_to_nearest_even(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x7BFF; h++) {
        float middle = (half_value(h) + half_value(h + 1)) / 2; /* exact in float */
        unsigned even = h + (h & 1);
        if (vcore_f32_to_f16(middle) != even) fail_msg("middle above %04x", h);
        if (vcore_f32_to_f16(nextafterf(middle, 0)) != h) fail_msg("below middle above %04x", h);
        if (vcore_f32_to_f16(nextafterf(middle, 1e9f)) != h + 1) fail_msg("above middle %04x", h);
        if (vcore_f32_to_f16(-middle) != (even | 0x8000)) fail_msg("-middle above %04x", h);
    }
    assert_int_equal(vcore_f32_to_f16(65519.996f), 0x7BFF);
    assert_int_equal(vcore_f32_to_f16(65520), 0x7C00);
    assert_int_equal(vcore_f32_to_f16(-1e30f), 0xFC00);
    assert_int_equal(vcore_f32_to_f16(INFINITY), 0x7C00);
    assert_int_equal(vcore_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(vcore_f32_to_f16(1e-30f), 0);
}

static void every_bfloat16(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        float f = vcore_bf16_to_f32((uint16_t)h);
        if (bits(f) != h << 16) fail_msg("bfloat16 %04x", h);
        bool nan = (h & 0x7FFF) > 0x7F80;
        if (nan ? !isnan(vcore_bf16_to_f32(vcore_f32_to_bf16(f))) : vcore_f32_to_bf16(f) != h)
            fail_msg("bfloat16 %04x does not return", h);
        if ((h & 0x7FFF) >= 0x7F80) continue;
        uint32_t middle = h << 16 | 0x8000;
        if (vcore_f32_to_bf16(from_bits(middle)) != h + (h & 1)) fail_msg("middle above %04x", h);
        if (vcore_f32_to_bf16(from_bits(middle - 1)) != h) fail_msg("below middle above %04x", h);
        if (vcore_f32_to_bf16(from_bits(middle + 1)) != h + 1) fail_msg("above middle %04x", h);
    }
    assert_true(isnan(vcore_bf16_to_f32(vcore_f32_to_bf16(from_bits(0x7F800001)))));
    assert_int_equal(vcore_f32_to_bf16(from_bits(0x7F7FFFFF)), 0x7F80);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half),
        cmocka_unit_test(half_rounds_to_nearest_even),
        cmocka_unit_test(every_bfloat16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
