/* SPDX-License-Identifier: MIT */
/* Quantized modules whose tensors do not fit what the config says: each is one line that names the
 * tensor. */
#include <math.h>
#include <stdlib.h>

#include "support/binding.h"
#include "support/checkpoint.h"

/* ---- what does not fit ----------------------------------------------------------------------- */
static uint8_t zeros[65536];

/* The tensors of one bad checkpoint and the config that goes with them. */
typedef struct {
    const char *config;
    struct {
        const char *name;
        vio_dtype dtype;
        uint64_t rows, columns; /* rows 0: of rank 1; both 0: a scalar */
        const void *data;       /* NULL: zeros */
    } tensors[4];
    vlm_status status;
    const char *says;
} misfit;

#define GLOBAL(g, b) "{\"quantization\":{\"group_size\":" #g ",\"bits\":" #b "}}"
#define MODE(g, b, m)                                                                              \
    "{\"quantization\":{\"group_size\":" #g ",\"bits\":" #b ",\"mode\":\"" m "\"}}"
#define COMPRESSED(f, more)                                                                        \
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"" f "\"" more  \
    "}}"
#define MODELOPT                                                                                   \
    "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\"}}"
#define AWQ "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32}}"
#define GPTQ(b)                                                                                    \
    "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":" #b ",\"group_size\":32}}"
#define AWQ_WEIGHT(c)                                                                              \
    { "m.qweight", VIO_I32, 64, c, NULL }
#define GPTQ_WEIGHT                                                                                \
    { "m.qweight", VIO_I32, 16, 4, NULL }
#define AWQ_ZEROS(c)                                                                               \
    { "m.qzeros", VIO_I32, 2, c, NULL }
#define AWQ_SCALES(c)                                                                              \
    { "m.scales", VIO_F16, 2, c, NULL }
#define W(d, c)                                                                                    \
    { "m.weight", d, 4, c, NULL }
#define S(d, c) SCALES(d, c, NULL)
#define B(d, c) BIASES(d, c, NULL)
#define SCALES(d, c, data)                                                                         \
    { "m.scales", d, 4, c, data }
#define BIASES(d, c, data)                                                                         \
    { "m.biases", d, 4, c, data }

static const float not_a_number[8] = { 1, 1, 1, NAN, 1, 1, 1, 1 };
static const float infinite[8] = { 1, 1, 1, INFINITY, 1, 1, 1, 1 };
static const float huge[8] = { 1, 1, 1, 3e38f, 1, 1, 1, 1 };
static const float ones[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
static const uint16_t half_huge[8] = { 0, 0, 0, 0x7bff, 0, 0, 0, 0 }; /* 65504 */
static const uint16_t half_nan[4] = { 0x3c00, 0x7bff, 0xfe01, 0 };
static const uint16_t brain_infinite[4] = { 0x3f80, 0x7f7f, 0, 0xff80 };
static const uint8_t byte_nan[8] = { 0, 127, 254, 128, 0, 255, 0, 0 };
static const uint8_t byte_negative_nan[16] = { 0x7e, 0xfe, 0x80, [9] = 0xff };
static const float zero_factor[1] = { 0 }, nan_factor[1] = { NAN };
static uint8_t nan_codes[256];

/* Every module is [4, 64]. */
static const misfit misfits[] = {
    /* bits and group size against shapes */
    { GLOBAL(64, 4),
      { W(VIO_U32, 16), S(VIO_BF16, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "'m.weight': shape [4, 16], affine of 4 bits in groups of 64 (config.json) asks for [4, 8]" },
    { GLOBAL(32, 4),
      { W(VIO_U32, 8), S(VIO_BF16, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "'m.scales': shape [4, 1], affine of 4 bits in groups of 32 (config.json) asks for [4, 2]" },
    { GLOBAL(64, 4),
      { W(VIO_U32, 8), S(VIO_BF16, 1), B(VIO_BF16, 2) },
      VLM_ERR_WEIGHTS,
      "'m.biases': shape [4, 2]" },
    { GLOBAL(128, 4),
      { W(VIO_U32, 8), S(VIO_BF16, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "64 columns are no whole number of groups: affine of 4 bits in groups of 128" },
    { "{\"quantization\":{\"group_size\":64,\"bits\":4,\"m\":{\"bits\":8,\"group_size\":32}}}",
      { W(VIO_U32, 8), S(VIO_BF16, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "affine of 8 bits in groups of 32 (config.json: m) asks for [4, 16]" },
    { "{\"quantization\":{\"group_size\":64,\"bits\":4,\"m\":false}}",
      { W(VIO_U32, 8), S(VIO_BF16, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "'m.weight': stored with '.scales', but the config says that it is not quantized" },
    { GLOBAL(64, 4),
      { W(VIO_U32, 9), S(VIO_BF16, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "shape [4, 9]" },
    /* types */
    { GLOBAL(64, 4),
      { W(VIO_I32, 8), S(VIO_BF16, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "not of type U32" },
    { GLOBAL(64, 4),
      { W(VIO_U32, 8), S(VIO_U8, 1), B(VIO_BF16, 1) },
      VLM_ERR_WEIGHTS,
      "'m.scales': is U8, weights must be" },
    { GLOBAL(64, 4),
      { W(VIO_U32, 8), S(VIO_BF16, 1), B(VIO_I16, 1) },
      VLM_ERR_WEIGHTS,
      "'m.biases': is I16" },
    { GLOBAL(64, 4), { W(VIO_U32, 8), S(VIO_BF16, 1) }, VLM_ERR_WEIGHTS, "no '.biases'" },
    { GLOBAL(64, 4), { W(VIO_U32, 8) }, VLM_ERR_WEIGHTS, "'m.weight': is U32" },
    /* the other modes */
    { MODE(32, 4, "mxfp4"), { W(VIO_U32, 8), S(VIO_BF16, 2) }, VLM_ERR_WEIGHTS, "single bytes" },
    { MODE(32, 4, "mxfp4"),
      { W(VIO_U32, 8), S(VIO_U8, 4) },
      VLM_ERR_WEIGHTS,
      "mxfp4 of 4 bits in groups of 32 (config.json) asks for [4, 2]" },
    { MODE(32, 8, "mxfp8"), { W(VIO_U32, 8), S(VIO_U8, 2) }, VLM_ERR_WEIGHTS, "asks for [4, 16]" },
    { MODE(16, 4, "nvfp4"),
      { W(VIO_U32, 8), S(VIO_U8, 4), B(VIO_BF16, 4) },
      VLM_OK,
      "" },
    /* scales and biases that are viewed must be numbers */
    { GLOBAL(32, 4),
      { W(VIO_U32, 8), SCALES(VIO_F32, 2, not_a_number), B(VIO_F32, 2) },
      VLM_ERR_WEIGHTS,
      "'m.scales': holds what is no finite number" },
    { GLOBAL(32, 4),
      { W(VIO_U32, 8), S(VIO_F32, 2), BIASES(VIO_F32, 2, infinite) },
      VLM_ERR_WEIGHTS,
      "'m.biases': holds what is no finite number" },
    { GLOBAL(64, 4),
      { W(VIO_U32, 8), SCALES(VIO_F16, 1, half_nan), B(VIO_F16, 1) },
      VLM_ERR_WEIGHTS,
      "'m.scales': holds what is no finite number" },
    { GLOBAL(64, 4),
      { W(VIO_U32, 8), S(VIO_BF16, 1), BIASES(VIO_BF16, 1, brain_infinite) },
      VLM_ERR_WEIGHTS,
      "'m.biases': holds what is no finite number" },
    { MODE(32, 4, "mxfp4"),
      { W(VIO_U32, 8), SCALES(VIO_U8, 2, byte_nan) },
      VLM_ERR_WEIGHTS,
      "'m.scales': holds what is no finite number" },
    { MODE(16, 4, "nvfp4"),
      { W(VIO_U32, 8), SCALES(VIO_U8, 4, byte_negative_nan) },
      VLM_ERR_WEIGHTS,
      "'m.scales': holds what is no finite number" },
    /* compressed-tensors */
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.weight_scale'" },
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL }, { "m.weight_scale", VIO_BF16, 4, 4, NULL } },
      VLM_ERR_WEIGHTS,
      "affine of 4 bits in groups of 32 (config.json) asks for [4, 2]" },
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_F32, 4, 8, NULL }, { "m.weight_scale", VIO_BF16, 4, 2, NULL } },
      VLM_ERR_WEIGHTS,
      "I32 or U8" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL }, { "m.weight_scale", VIO_BF16, 4, 2, NULL } },
      VLM_ERR_WEIGHTS,
      "packed integers, of which the config says nothing" },
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL },
        { "m.weight_scale", VIO_BF16, 4, 2, NULL },
        { "m.weight_g_idx", VIO_I32, 0, 64, NULL } },
      VLM_ERR_UNSUPPORTED,
      "reordered" },
    { COMPRESSED("nvfp4-pack-quantized", ""),
      { { "m.weight_packed", VIO_U8, 4, 32, NULL },
        { "m.weight_scale", VIO_F8_E4M3, 4, 4, NULL },
        { "m.weight_global_scale", VIO_F32, 0, 2, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.weight_global_scale': must be a single F32" },
    { COMPRESSED("nvfp4-pack-quantized", ""),
      { { "m.weight_packed", VIO_U8, 4, 31, NULL },
        { "m.weight_scale", VIO_F8_E4M3, 4, 4, NULL },
        { "m.weight_global_scale", VIO_F32, 0, 1, NULL } },
      VLM_ERR_WEIGHTS,
      "shape [4, 31]" },
    { COMPRESSED("nvfp4-pack-quantized", ""),
      { { "m.weight_packed", VIO_U8, 4, 32, NULL },
        { "m.weight_scale", VIO_F8_E4M3, 4, 4, NULL },
        { "m.weight_global_scale", VIO_F32, 0, 1, zero_factor } },
      VLM_ERR_WEIGHTS,
      "'m.weight_global_scale': is 0" },
    { COMPRESSED("nvfp4-pack-quantized", ""),
      { { "m.weight_packed", VIO_U8, 4, 32, NULL },
        { "m.weight_scale", VIO_F8_E4M3, 4, 4, NULL },
        { "m.weight_global_scale", VIO_F32, 0, 1, nan_factor } },
      VLM_ERR_WEIGHTS,
      "'m.weight_global_scale': holds what is no finite number" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight", VIO_I8, 4, 64, NULL }, { "m.weight_scale", VIO_F32, 4, 1, NULL } },
      VLM_ERR_WEIGHTS,
      "not of type F8_E4M3" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight", VIO_F8_E4M3, 4, 32, NULL }, { "m.weight_scale", VIO_F32, 4, 1, NULL } },
      VLM_ERR_WEIGHTS,
      "shape [4, 32], the config asks for [4, 64]" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight", VIO_F8_E4M3, 4, 64, NULL }, { "m.weight_scale", VIO_F32, 4, 2, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.weight_scale': shape [4, 2], the weight asks for [4, 1]" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight", VIO_F8_E4M3, 4, 64, NULL }, { "m.weight_scale", VIO_F32, 0, 3, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.weight_scale': shape [3], the weight asks for [4]" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight", VIO_F8_E4M3, 4, 64, NULL }, { "m.weight_scale", VIO_I32, 4, 1, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.weight_scale': is I32" },
    { COMPRESSED("float-quantized",
                 ",\"config_groups\":{\"g\":{\"weights\":{\"block_structure\":[3,40]}}}"),
      { { "m.weight", VIO_F8_E4M3, 4, 64, NULL }, { "m.weight_scale", VIO_F32, 4, 1, NULL } },
      VLM_ERR_WEIGHTS,
      "the weight asks for [2, 2]" },
    { "{}", { { "m.weight", VIO_F8_E4M3, 4, 64, NULL } }, VLM_ERR_WEIGHTS, "is F8_E4M3" },
    /* values that are computed must be numbers */
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL },
        { "m.weight_scale", VIO_F32, 4, 2, not_a_number } },
      VLM_ERR_WEIGHTS,
      "'m.weight_scale': holds what is no finite number" },
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL }, { "m.weight_scale", VIO_F32, 4, 2, infinite } },
      VLM_ERR_WEIGHTS,
      "no finite number" },
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL }, { "m.weight_scale", VIO_F32, 4, 2, huge } },
      VLM_ERR_WEIGHTS,
      "or becomes one" },
    { COMPRESSED("pack-quantized", ""),
      { { "m.weight_packed", VIO_I32, 4, 8, NULL },
        { "m.weight_scale", VIO_F16, 4, 2, half_huge } },
      VLM_ERR_WEIGHTS,
      "or becomes one" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight", VIO_F8_E4M3, 4, 64, NULL },
        { "m.weight_scale", VIO_F32, 4, 1, not_a_number } },
      VLM_ERR_WEIGHTS,
      "no finite number" },
    { COMPRESSED("float-quantized", ""),
      { { "m.weight", VIO_F8_E4M3, 4, 64, nan_codes }, { "m.weight_scale", VIO_F32, 4, 1, ones } },
      VLM_ERR_WEIGHTS,
      "no finite number" },
    /* ModelOpt */
    { MODELOPT,
      { { "m.weight", VIO_U8, 4, 32, NULL },
        { "m.weight_scale", VIO_F8_E4M3, 4, 2, NULL },
        { "m.weight_scale_2", VIO_F32, 0, 0, NULL } },
      VLM_ERR_WEIGHTS,
      "nvfp4 of 4 bits in groups of 16 (config.json) asks for [4, 4]" },
    { MODELOPT,
      { { "m.weight", VIO_U8, 4, 32, NULL },
        { "m.weight_scale", VIO_F8_E4M3, 4, 4, byte_negative_nan },
        { "m.weight_scale_2", VIO_F32, 0, 0, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.weight_scale': holds what is no finite number" },
    { MODELOPT,
      { { "m.weight", VIO_U8, 4, 32, NULL }, { "m.weight_scale", VIO_F8_E4M3, 4, 4, NULL } },
      VLM_ERR_WEIGHTS,
      "not of type F8_E4M3" },
    /* AWQ and GPTQ */
    { AWQ, { AWQ_WEIGHT(8), AWQ_ZEROS(1) }, VLM_ERR_WEIGHTS, "'m.scales'" },
    { AWQ, { AWQ_WEIGHT(8), AWQ_SCALES(2) }, VLM_ERR_WEIGHTS, "'m.qzeros'" },
    { AWQ, { AWQ_WEIGHT(8), AWQ_ZEROS(1), AWQ_SCALES(2) }, VLM_ERR_WEIGHTS, "no whole number" },
    { GPTQ(2), { AWQ_WEIGHT(4), AWQ_ZEROS(1), AWQ_SCALES(4) }, VLM_ERR_WEIGHTS, "no whole number" },
    { GPTQ(8),
      { AWQ_WEIGHT(3), AWQ_ZEROS(1), AWQ_SCALES(4) },
      VLM_ERR_WEIGHTS,
      "'m.qweight': shape [64, 3], the config asks for [16, 4]" },
    { GPTQ(8),
      { GPTQ_WEIGHT, AWQ_ZEROS(2), AWQ_SCALES(4) },
      VLM_ERR_WEIGHTS,
      "'m.qzeros': shape [2, 2], the config asks for [2, 1]" },
    { GPTQ(8),
      { GPTQ_WEIGHT, AWQ_ZEROS(1), AWQ_SCALES(3) },
      VLM_ERR_WEIGHTS,
      "'m.scales': shape [2, 3], the config asks for [2, 4]" },
    { GPTQ(8),
      { GPTQ_WEIGHT, AWQ_ZEROS(1), { "m.scales", VIO_I32, 2, 4, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.scales': is I32" },
    { GPTQ(8),
      { { "m.qweight", VIO_F32, 16, 4, NULL }, AWQ_ZEROS(1), AWQ_SCALES(4) },
      VLM_ERR_WEIGHTS,
      "of type I32" },
    { GPTQ(8),
      { GPTQ_WEIGHT, AWQ_ZEROS(1), { "m.scales", VIO_F32, 2, 4, not_a_number } },
      VLM_ERR_WEIGHTS,
      "no finite number" },
    { GPTQ(8),
      { GPTQ_WEIGHT, AWQ_ZEROS(1), AWQ_SCALES(4), { "m.g_idx", VIO_I32, 0, 64, NULL } },
      VLM_ERR_UNSUPPORTED,
      "'m.g_idx': reordered columns" },
    { GPTQ(8),
      { GPTQ_WEIGHT, AWQ_ZEROS(1), AWQ_SCALES(4), { "m.g_idx", VIO_I32, 0, 63, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.g_idx': shape [63]" },
    { GPTQ(8),
      { GPTQ_WEIGHT, AWQ_ZEROS(1), AWQ_SCALES(4), { "m.g_idx", VIO_I64, 0, 64, NULL } },
      VLM_ERR_WEIGHTS,
      "'m.g_idx': must be" },
    /* without a word in the config */
    { "{}", { W(VIO_U32, 14), S(VIO_BF16, 1), B(VIO_BF16, 1) }, VLM_ERR_WEIGHTS, "none that are" },
    { "{}", { W(VIO_U32, 9), S(VIO_BF16, 1), B(VIO_BF16, 1) }, VLM_ERR_WEIGHTS, "whole number" },
    { "{}", { W(VIO_U32, 8), S(VIO_BF16, 3), B(VIO_BF16, 3) }, VLM_ERR_WEIGHTS, "whole number" },
    { "{}", { W(VIO_U32, 8), S(VIO_BF16, 1) }, VLM_ERR_WEIGHTS, "no '.biases'" },
    { "{}", { W(VIO_U32, 8), S(VIO_U8, 1) }, VLM_ERR_WEIGHTS, "none that are known" },
    { "{}",
      { W(VIO_U32, 8), { "m.scales", VIO_BF16, 0, 4, NULL } },
      VLM_ERR_WEIGHTS,
      "not a matrix" },
};

static void write_misfit(const char *path, const misfit *c) {
    vio_out_tensor list[4];
    size_t n = 0;
    vlm_error err = VLM_ERROR_INIT;
    for (; n < 4 && c->tensors[n].name; n++) {
        uint64_t rows = c->tensors[n].rows, columns = c->tensors[n].columns;
        list[n] = (vio_out_tensor) { c->tensors[n].name,
                                     c->tensors[n].dtype,
                                     rows      ? 2
                                     : columns ? 1
                                               : 0,
                                     { rows ? rows : columns, columns },
                                     c->tensors[n].data ? c->tensors[n].data : zeros };
    }
    if (vio_safetensors_write(path, list, n, "mlx", &err) < 0) fail_msg("%s", err.message);
}

static void check_misfit(const char *path, const misfit *c) {
    tbinding x;
    write_misfit(path, c);
    tbinding_open(&x, path, c->config, false);
    vlm_status status = tbinding_try(&x, "", "m", 4, 64);
    if (status >= 0) status = vmodel_build_check(x.build, true, &x.err);
    if (status != c->status || !strstr(x.err.message, c->says))
        fail_msg("'%s' is not in %s: '%s'", c->says, vlm_status_name(status), x.err.message);
    assert_null(strchr(x.err.message, '\n'));
    if (status == VLM_ERR_WEIGHTS && c->says[0] != '\'')
        assert_non_null(strstr(x.err.message, path));
    tbinding_close(&x);
}

static void misfits_are_named(void **state) {
    (void)state;
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "model.safetensors");
    memset(nan_codes, 0x38, sizeof nan_codes);
    nan_codes[130] = 0xff;
    for (size_t i = 0; i < sizeof misfits / sizeof misfits[0]; i++)
        check_misfit(path, &misfits[i]);
    tcheckpoint_remove(dir);
    free(path);
    free(dir);
}

/* A matrix without its scales is bound without data, for a dry run. */
static void missing_scales(void **state) {
    (void)state;
    static const misfit parts[] = {
        { COMPRESSED("pack-quantized", ""),
          { { "m.weight_packed", VIO_I32, 4, 8, NULL } },
          0,
          "m.weight_scale" },
        { AWQ, { AWQ_WEIGHT(8), AWQ_ZEROS(1) }, 0, "m.scales" },
        { AWQ, { AWQ_WEIGHT(8), AWQ_SCALES(8) }, 0, "m.qzeros" },
    };
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "model.safetensors");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        tbinding x;
        write_misfit(path, &parts[i]);
        tbinding_open(&x, path, parts[i].config, true);
        tbinding_bind(&x, "", "m", 4, 64);
        assert_int_equal(x.m.storage, VLM_STORAGE_DENSE);
        assert_int_equal(x.m.data.shape[1], 64);
        assert_null(x.m.data.data);
        assert_int_equal(vmodel_build_usage(x.build)->n_missing, 1);
        assert_string_equal(vmodel_build_usage(x.build)->missing[0], parts[i].says);
        tbinding_close(&x);
    }
    tcheckpoint_remove(dir);
    free(path);
    free(dir);
}

/* ---- names ----------------------------------------------------------------------------------- */
/* An entry counts under every name of the row, but not under that of another module. */
static void entries_under_other_names(void **state) {
    (void)state;
    static const struct {
        const char *entry, *prefix, *name;
        int bits;
    } cases[] = {
        { "m", "", "m", 8 },
        { "language_model.m", "", "m", 8 },
        { "a.m", "a.|", "m", 8 },    /* the model's other nesting */
        { "model.x", "", "x|m", 4 }, /* no name of this row */
        { "x", "", "x|m", 8 },       /* an older name of the layer */
        { "language_model.a.x", "a.|", "x|m", 8 },
        { "other", "", "other|m", 4 }, /* a module of its own */
    };
    static const misfit eight = {
        NULL,
        { W(VIO_U32, 16), S(VIO_BF16, 2), B(VIO_BF16, 2), { "other.bias", VIO_F32, 0, 4, NULL } },
        VLM_OK,
        ""
    };
    static const misfit four = {
        NULL,
        { W(VIO_U32, 8), S(VIO_BF16, 1), B(VIO_BF16, 1), { "other.weight", VIO_F32, 4, 64, NULL } },
        VLM_OK,
        ""
    };
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "model.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char config[200];
        tbinding x;
        snprintf(config, sizeof config,
                 "{\"quantization\":{\"group_size\":64,\"bits\":4,\"%s\":{\"group_size\":32,"
                 "\"bits\":8}}}",
                 cases[i].entry);
        write_misfit(path, cases[i].bits == 8 ? &eight : &four);
        tbinding_open(&x, path, config, false);
        if (cases[i].bits == 4 && strcmp(cases[i].entry, "other") == 0)
            tbinding_bind(&x, "", "m|other", 4, 64); /* found first under its own name */
        else
            tbinding_bind(&x, cases[i].prefix, cases[i].name, 4, 64);
        assert_int_equal(x.m.bits, cases[i].bits);
        tbinding_close(&x);
    }
    tcheckpoint_remove(dir);
    free(path);
    free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misfits_are_named),
        cmocka_unit_test(missing_scales),
        cmocka_unit_test(entries_under_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
