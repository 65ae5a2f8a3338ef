/* SPDX-License-Identifier: MIT */
/* The converter's arithmetic against MLX's own quantizer and dequantizer on the CPU, bit for bit
 * (tests/data/quantizer.safetensors, made by tools/golden/quantizer.py). */
#include "support/cm.h"

#include <math.h>
#include <stdio.h>

#include "engine/convert/convert.h"

static vio_tensors *golden;
static unsigned cpu_flags;

static int open_golden(void **state) {
    (void)state;
    cpu_flags = vcore_cpu_flags();
    return vio_tensors_open_file(&golden, "tests/data/quantizer.safetensors", NULL, NULL);
}

static int close_golden(void **state) {
    (void)state;
    vio_tensors_close(golden);
    return 0;
}

static const vio_tensor *find(const char *name) {
    const vio_tensor *t = vio_tensors_find(golden, name);
    if (!t) fail_msg("no tensor '%s'", name);
    return t;
}

static vlm_tensor tensor_of(const vio_tensor *t, vlm_dtype type) {
    const int64_t shape[] = { (int64_t)t->shape[0], (int64_t)t->shape[1] };
    return vtensor_of((void *)t->data, type, 2, shape);
}

static const struct {
    const char *name;
    vlm_dtype dtype;
} types[] = { { "bf16", VLM_DTYPE_BF16 }, { "f16", VLM_DTYPE_F16 }, { "f32", VLM_DTYPE_F32 } };

typedef struct {
    const char *type;
    vlm_dtype dtype;
    vlm_quantization_params p;
    char where[64];
} way;

static const vio_tensor *part(const way *w, const char *name) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", w->where, name);
    return find(full);
}

static void assert_row(const way *w, const char *name, const void *got, int64_t row, size_t bytes) {
    const uint8_t *want = part(w, name)->data + (size_t)row * bytes;
    if (memcmp(got, want, bytes)) fail_msg("%s%s: row %d differs", w->where, name, (int)row);
}

static void check_quantize(const way *w) {
    const vio_tensor *rows = find(w->type);
    int64_t n = (int64_t)rows->shape[0], in = (int64_t)rows->shape[1], groups = in / w->p.group_size;
    const vlm_matrix m = { .data = tensor_of(rows, w->dtype), .out = n, .in = in };
    size_t size = w->p.mode == VLM_QUANTIZATION_AFFINE ? vtensor_dtype_size(w->dtype) : 1;
    for (int64_t i = 0; i < n; i++) {
        float x[256];
        uint8_t packed[256], scales[256], biases[256];
        assert_true(vengine_decode_row(x, &m, i, w->dtype, cpu_flags));
        assert_true(vengine_quantize_row(&w->p, w->dtype, x, in, packed, scales, biases));
        assert_row(w, "weight", packed, i, (size_t)(in * w->p.bits / 8));
        assert_row(w, "scales", scales, i, (size_t)groups * size);
        if (w->p.mode == VLM_QUANTIZATION_AFFINE) assert_row(w, "biases", biases, i, (size_t)groups * size);
    }
}

static void check_dequantize(const way *w) {
    bool affine = w->p.mode == VLM_QUANTIZATION_AFFINE;
    const vio_tensor *scales = part(w, "scales");
    int64_t n = (int64_t)scales->shape[0], in = (int64_t)scales->shape[1] * w->p.group_size;
    vlm_matrix m = { .storage = (vlm_storage)(VLM_STORAGE_AFFINE + w->p.mode), .out = n, .in = in,
                     .bits = w->p.bits, .group = w->p.group_size };
    m.data = tensor_of(part(w, "weight"), VLM_DTYPE_U32);
    m.scales = tensor_of(scales, affine ? w->dtype : VLM_DTYPE_U8);
    if (affine) m.biases = tensor_of(part(w, "biases"), w->dtype);
    for (int64_t i = 0; i < n; i++) {
        float x[256], stored[256];
        assert_true(vengine_decode_row(x, &m, i, w->dtype, cpu_flags));
        vengine_store_row(stored, w->dtype, x, in);
        const uint8_t *want = part(w, "dense")->data + (size_t)(i * in) * vtensor_dtype_size(w->dtype);
        for (int64_t k = 0; k < in; k++)
            if (vmodel_float_at(want, w->dtype, (size_t)k) != x[k])
                fail_msg("%sdense: row %d, value %d: %g, MLX %g", w->where, (int)i, (int)k, x[k],
                         vmodel_float_at(want, w->dtype, (size_t)k));
    }
}

static void each_way(void (*check)(const way *w), bool dense) {
    static const int bits[] = { 2, 3, 4, 5, 6, 8 }, groups[] = { 32, 64, 128 };
    for (size_t t = 0; t < 3; t++) {
        way w = { types[t].name, types[t].dtype, { 0 }, "" };
        for (int i = 0; i < 21; i++) {
            w.p = i < 18 ? (vlm_quantization_params) { VLM_QUANTIZATION_AFFINE, bits[i / 3], groups[i % 3] }
                         : vmodel_quantization_params_of((vlm_quantization_mode)(VLM_QUANTIZATION_MXFP4 + i - 18));
            if (dense && w.p.group_size > 32) continue;
            snprintf(w.where, sizeof w.where, "%s/%s-%d-%d/", w.type, vlm_quantization_mode_name(w.p.mode),
                     w.p.bits, w.p.group_size);
            check(&w);
        }
    }
}

static void quantizes_as_mlx(void **state) {
    (void)state;
    each_way(check_quantize, false);
}

static void dequantizes_as_mlx(void **state) {
    (void)state;
    each_way(check_dequantize, true);
}

/* A factor of the whole matrix rounds each value once, as where the matrix is multiplied. */
static void factors_round_once(void **state) {
    (void)state;
    uint8_t packed[8], scale = 0x35; /* 1.625 * 0.5 */
    float factor = 3, x[16];
    const int64_t data[] = { 1, 2 }, one[] = { 1, 1 };
    static const float values[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    for (int i = 0; i < 8; i++) packed[i] = (uint8_t)(0x11 * i);
    vlm_matrix m = { .storage = VLM_STORAGE_NVFP4, .out = 1, .in = 16, .bits = 4, .group = 16, .divided = true };
    m.data = vtensor_of(packed, VLM_DTYPE_U32, 2, data);
    m.scales = vtensor_of(&scale, VLM_DTYPE_U8, 2, one);
    m.factor = vtensor_of(&factor, VLM_DTYPE_F32, 1, one);
    assert_true(vengine_decode_row(x, &m, 0, VLM_DTYPE_F32, cpu_flags));
    for (int i = 0; i < 16; i++) assert_float_equal(x[i], values[i / 2] * 0.8125f / 3, 0);
    m.divided = false;
    factor = 1.1f;
    assert_true(vengine_decode_row(x, &m, 0, VLM_DTYPE_BF16, cpu_flags));
    for (int i = 0; i < 16; i++)
        assert_float_equal(x[i], vengine_round_to(VLM_DTYPE_BF16, values[i / 2] * 0.8125f * 1.1f), 0);
}

static void every_code_of_8_bits_is_its_own_value(void **state) {
    (void)state;
    assert_true(isnan(vcore_e4m3_to_f32(0x7F)) && isnan(vcore_e4m3_to_f32(0xFF)));
    for (unsigned code = 0; code < 256; code++)
        if ((code & 127) != 127) assert_int_equal(vengine_to_fp8(vcore_e4m3_to_f32((uint8_t)code)), code);
}

/* What would round to all ones, and what is beyond them: 448, as mx.quantize gives it. */
static void no_scale_becomes_nan(void **state) {
    (void)state;
    const vlm_quantization_params p = vmodel_quantization_params_of(VLM_QUANTIZATION_NVFP4);
    static const float scales[] = { 447, 448, 460, 464, 465, 470, 479, 480, 500 };
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        float x[16] = { 6 * scales[i] };
        uint8_t packed[8], scale;
        assert_true(vengine_quantize_row(&p, VLM_DTYPE_F32, x, 16, packed, &scale, NULL));
        assert_int_equal(scale, 0x7E);
    }
}

/* Where MLX's exponent byte would wrap around, it stays at the smallest. */
static void tiny_groups_stay_tiny(void **state) {
    (void)state;
    const vlm_quantization_params p = vmodel_quantization_params_of(VLM_QUANTIZATION_MXFP4);
    float x[32] = { 1e-42f };
    uint8_t packed[16], scale;
    assert_true(vengine_quantize_row(&p, VLM_DTYPE_F32, x, 32, packed, &scale, NULL));
    assert_int_equal(scale, 0);
}

static void scales_beyond_their_type_are_told(void **state) {
    (void)state;
    const vlm_quantization_params p = { VLM_QUANTIZATION_AFFINE, 4, 32 };
    float x[32] = { 3e38f, -3e38f }, scale, bias;
    uint8_t packed[16];
    assert_false(vengine_quantize_row(&p, VLM_DTYPE_F32, x, 32, packed, &scale, &bias));
}

static void values_that_are_no_numbers_are_told(void **state) {
    (void)state;
    float x[3];
    const uint16_t f16[] = { 0x3C00, 0x7C00, 0x3C00 }, bf16[] = { 0x3F80, 0x3F80, 0x7FC0 };
    const float large[] = { 1, 70000, 2 };
    const int64_t shape[] = { 1, 3 };
    vlm_matrix m = { .out = 1, .in = 3, .data = vtensor_of((void *)f16, VLM_DTYPE_F16, 2, shape) };
    assert_false(vengine_decode_row(x, &m, 0, VLM_DTYPE_F16, cpu_flags));
    m.data = vtensor_of((void *)bf16, VLM_DTYPE_BF16, 2, shape);
    assert_false(vengine_decode_row(x, &m, 0, VLM_DTYPE_F32, cpu_flags));
    m.data = vtensor_of((void *)large, VLM_DTYPE_F32, 2, shape);
    assert_true(vengine_decode_row(x, &m, 0, VLM_DTYPE_BF16, cpu_flags));
    assert_false(vengine_decode_row(x, &m, 0, VLM_DTYPE_F16, cpu_flags));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantizes_as_mlx),
        cmocka_unit_test(dequantizes_as_mlx),
        cmocka_unit_test(factors_round_once),
        cmocka_unit_test(every_code_of_8_bits_is_its_own_value),
        cmocka_unit_test(no_scale_becomes_nan),
        cmocka_unit_test(tiny_groups_stay_tiny),
        cmocka_unit_test(scales_beyond_their_type_are_told),
        cmocka_unit_test(values_that_are_no_numbers_are_told),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
