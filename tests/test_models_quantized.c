/* SPDX-License-Identifier: MIT */
/* Quantized modules as they are bound: every layout against what mlx-vlm makes of it, bit for bit
 * (tests/data/quantization, made by tools/golden/quantization.py). */
#include <math.h>

#include "support/binding.h"

static const vio_tensor *tensor(const tbinding *x, const char *format, const char *module) {
    char name[120];
    snprintf(name, sizeof name, format, module);
    const vio_tensor *t = vio_tensors_find(x->tensors, name);
    if (!t) fail_msg("no tensor '%s'", name);
    return t;
}

static const vmodel_module *last_module(const tbinding *x) {
    size_t n;
    const vmodel_module *modules = vmodel_build_modules(x->build, &n);
    assert_true(n > 0);
    return &modules[n - 1];
}

/* ---- the reference's translations ------------------------------------------------------------ */
#define FOLDER "tests/data/quantization/"

static void begin_case(tbinding *x, const char *name, bool inspect) {
    char path[120];
    vio_bytes config;
    snprintf(path, sizeof path, FOLDER "%s.json", name);
    assert_int_equal(vio_read(&config, path, 1 << 16, NULL, NULL), VLM_OK);
    snprintf(path, sizeof path, FOLDER "%s.safetensors", name);
    tbinding_open(x, path, config.p, inspect);
    vcore_free(config.p);
}

/* Nothing of the checkpoint is left over but what the reference made of it. */
static void assert_all_used(tbinding *x) {
    assert_int_equal(vmodel_build_check(x->build, true, NULL), VLM_OK);
    const vmodel_usage *u = vmodel_build_usage(x->build);
    assert_int_equal(u->n_missing, 0);
    for (size_t i = 0; i < u->n_unused; i++) assert_memory_equal(u->unused[i], "out/", 4);
}

static void assert_same(const tbinding *x, vlm_tensor got, const char *format, const char *module) {
    const vio_tensor *want = tensor(x, format, module);
    assert_int_equal(vtensor_dtype_size(got.dtype), vio_dtype_size(want->dtype));
    assert_int_equal(vtensor_count(got) * (int64_t)vtensor_dtype_size(got.dtype), want->bytes);
    assert_memory_equal(got.data, want->data, want->bytes);
}

typedef struct {
    const char *name, *module;
    int64_t out, in;
    vlm_storage storage;
    int bits, group;
    const char *mode;
    vlm_dtype dtype;   /* of the scales, or of the floats */
    uint64_t computed; /* bytes held beside the file */
} translation;

static const translation translations[] = {
    { "int4", "quantized", 24, 256, VLM_STORAGE_AFFINE, 4, 32, "affine", VLM_DTYPE_BF16,
      24 * 8 * 2 },
    { "int4-half", "quantized", 24, 256, VLM_STORAGE_AFFINE, 4, 128, "affine", VLM_DTYPE_F16,
      24 * 2 * 2 },
    { "int8", "quantized", 24, 256, VLM_STORAGE_AFFINE, 8, 64, "affine", VLM_DTYPE_F32,
      24 * 4 * 4 },
    { "fp8", "quantized", 20, 100, VLM_STORAGE_DENSE, 8, 0, "fp8", VLM_DTYPE_BF16, 20 * 100 * 2 },
    { "fp8-wide", "quantized", 20, 100, VLM_STORAGE_DENSE, 8, 0, "fp8", VLM_DTYPE_BF16,
      20 * 100 * 2 },
    { "fp8-half", "quantized", 20, 100, VLM_STORAGE_DENSE, 8, 0, "fp8", VLM_DTYPE_F16,
      20 * 100 * 2 },
    { "fp8-blocks", "quantized", 20, 100, VLM_STORAGE_DENSE, 8, 0, "fp8", VLM_DTYPE_BF16,
      20 * 100 * 2 },
    { "nvfp4", "quantized", 16, 128, VLM_STORAGE_NVFP4, 4, 16, "nvfp4", VLM_DTYPE_U8, 0 },
    { "mxfp4", "quantized", 16, 128, VLM_STORAGE_MXFP4, 4, 32, "mxfp4", VLM_DTYPE_U8, 0 },
    { "mixed", "four", 16, 64, VLM_STORAGE_NVFP4, 4, 16, "nvfp4", VLM_DTYPE_U8, 0 },
    { "mixed", "eight", 16, 64, VLM_STORAGE_DENSE, 8, 0, "fp8", VLM_DTYPE_BF16, 16 * 64 * 2 },
    { "modelopt", "four", 16, 128, VLM_STORAGE_NVFP4, 4, 16, "nvfp4", VLM_DTYPE_U8, 0 },
    { "modelopt", "eight", 4, 64, VLM_STORAGE_DENSE, 8, 0, "fp8", VLM_DTYPE_BF16, 4 * 64 * 2 },
};

static void check_factor(const tbinding *x, const translation *t) {
    const vlm_matrix *m = &x->m;
    bool modelopt = strcmp(t->name, "modelopt") == 0;
    if (t->storage != VLM_STORAGE_NVFP4) {
        assert_int_equal(m->factor.rank, 0);
        return;
    }
    assert_int_equal(m->divided, !modelopt);
    assert_same(x, m->factor, modelopt ? "out/%s.weight_scale_2" : "out/%s.weight_global_scale",
                t->module);
}

static void check_translation(tbinding *x, const translation *t) {
    const vlm_matrix *m = &x->m;
    assert_int_equal(m->storage, t->storage);
    assert_int_equal(vmodel_build_usage(x->build)->computed_bytes, t->computed);
    const vmodel_module *module = last_module(x);
    assert_string_equal(module->mode, t->mode);
    assert_int_equal(module->bits, t->bits);
    assert_int_equal(module->group_size, t->group);
    assert_int_equal(module->dense, t->storage == VLM_STORAGE_DENSE);
    assert_false(module->guessed);
    check_factor(x, t);
    if (t->storage == VLM_STORAGE_DENSE) {
        assert_int_equal(m->data.dtype, t->dtype);
        if (m->data.data) assert_same(x, m->data, "out/%s.weight", t->module);
        return;
    }
    assert_int_equal(m->bits, t->bits);
    assert_int_equal(m->group, t->group);
    assert_int_equal(m->data.dtype, VLM_DTYPE_U32);
    assert_int_equal(m->scales.dtype, t->dtype);
    assert_same(x, m->data, "out/%s.weight", t->module);
    assert_same(x, m->scales, "out/%s.scales", t->module);
    if (t->storage == VLM_STORAGE_AFFINE)
        assert_same(x, m->biases, "out/%s.biases", t->module);
    else
        assert_int_equal(m->biases.rank, 0);
}

static void translated_bit_for_bit(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof translations / sizeof translations[0]; i++) {
        const translation *t = &translations[i];
        tbinding x;
        begin_case(&x, t->name, false);
        tbinding_bind(&x, "in/", t->module, t->out, t->in);
        check_translation(&x, t);
        tbinding_close(&x);
    }
}

/* What is dropped (shapes, activation and cache scales) is no tensor left over. */
static void nothing_is_left_over(void **state) {
    (void)state;
    tbinding x;
    begin_case(&x, "mixed", true);
    tbinding_bind(&x, "in/", "four", 16, 64);
    tbinding_bind(&x, "in/", "eight", 16, 64);
    tbinding_bind(&x, "in/", "dense", 3, 64);
    assert_all_used(&x);
    tbinding_close(&x);
    begin_case(&x, "modelopt", true);
    tbinding_bind(&x, "in/", "four", 16, 128);
    tbinding_bind(&x, "in/", "eight", 4, 64);
    tbinding_bind(&x, "in/", "dense", 3, 64);
    assert_all_used(&x);
    tbinding_close(&x);
    begin_case(&x, "int4", false);
    tbinding_bind(&x, "in/", "quantized", 24, 256);
    tbinding_bind(&x, "in/", "dense", 3, 64);
    assert_int_equal(x.m.storage, VLM_STORAGE_DENSE);
    assert_all_used(&x);
    tbinding_close(&x);
}

/* An inspection counts what it would compute and computes nothing. */
static void inspections_compute_nothing(void **state) {
    (void)state;
    tbinding x;
    begin_case(&x, "fp8", true);
    tbinding_bind(&x, "in/", "quantized", 20, 100);
    assert_null(x.m.data.data);
    check_translation(&x, &translations[3]);
    tbinding_close(&x);
    begin_case(&x, "int4", true);
    tbinding_bind(&x, "in/", "quantized", 24, 256);
    assert_null(x.m.biases.data);
    assert_int_equal(x.m.biases.shape[1], 8);
    assert_int_equal(vmodel_build_usage(x.build)->computed_bytes, 24 * 8 * 2);
    tbinding_close(&x);
}

/* ---- MLX's own ------------------------------------------------------------------------------- */
static const struct mlx_module {
    const char *mode;
    int bits, group;
    vlm_dtype dtype;
} mlx_modules[] = {
    { "affine", 2, 32, VLM_DTYPE_BF16 },  { "affine", 2, 64, VLM_DTYPE_BF16 },
    { "affine", 2, 128, VLM_DTYPE_BF16 }, { "affine", 3, 32, VLM_DTYPE_BF16 },
    { "affine", 3, 64, VLM_DTYPE_BF16 },  { "affine", 3, 128, VLM_DTYPE_BF16 },
    { "affine", 4, 32, VLM_DTYPE_BF16 },  { "affine", 4, 64, VLM_DTYPE_BF16 },
    { "affine", 4, 128, VLM_DTYPE_BF16 }, { "affine", 5, 32, VLM_DTYPE_BF16 },
    { "affine", 5, 64, VLM_DTYPE_BF16 },  { "affine", 5, 128, VLM_DTYPE_BF16 },
    { "affine", 6, 32, VLM_DTYPE_BF16 },  { "affine", 6, 64, VLM_DTYPE_BF16 },
    { "affine", 6, 128, VLM_DTYPE_BF16 }, { "affine", 8, 32, VLM_DTYPE_BF16 },
    { "affine", 8, 64, VLM_DTYPE_BF16 },  { "affine", 8, 128, VLM_DTYPE_BF16 },
    { "affine", 4, 64, VLM_DTYPE_F16 },   { "affine", 4, 64, VLM_DTYPE_F32 },
    { "mxfp4", 4, 32, VLM_DTYPE_U8 },     { "mxfp8", 8, 32, VLM_DTYPE_U8 },
    { "nvfp4", 4, 16, VLM_DTYPE_U8 },
};
enum { MLX_MODULES = sizeof mlx_modules / sizeof mlx_modules[0] };

static void bind_mlx(tbinding *x, int i, bool guessed) {
    const struct mlx_module *want = &mlx_modules[i];
    char module[40];
    snprintf(module, sizeof module, "layers.%d.%s", i, want->mode);
    tbinding_bind(x, "in/|", module, 4, 128);
    assert_int_equal(x->m.bits, want->bits);
    assert_int_equal(x->m.group, want->group);
    assert_int_equal(x->m.scales.dtype, want->dtype);
    assert_string_equal(last_module(x)->mode, want->mode);
    assert_int_equal(last_module(x)->guessed, guessed);
    assert_ptr_equal(x->m.data.data, tensor(x, "in/%s.weight", module)->data); /* a view */
    assert_ptr_equal(x->m.scales.data, tensor(x, "in/%s.scales", module)->data);
    assert_int_equal(x->m.biases.rank, strcmp(want->mode, "affine") == 0 ? 2 : 0);
}

/* Each module has what the config says of it; the config of a copy without it says nothing, and
 * shapes say the same. */
static void mlx_modules_have_their_parameters(void **state) {
    (void)state;
    tbinding x;
    begin_case(&x, "mlx", true);
    for (int i = 0; i < MLX_MODULES; i++) bind_mlx(&x, i, false);
    assert_int_equal(vmodel_build_usage(x.build)->computed_bytes, 0);
    assert_int_equal(vmodel_build_usage(x.build)->parameters, MLX_MODULES * 4 * 128);
    assert_all_used(&x);
    tbinding_close(&x);
    tbinding_open(&x, FOLDER "mlx.safetensors", "{}", true);
    for (int i = 0; i < MLX_MODULES; i++) bind_mlx(&x, i, true);
    tbinding_close(&x);
}

/* Decodes tables row by row. */
typedef struct {
    vtensor_backend *cpu;
    vlm_frame *frame;
} decoder;

static decoder new_decoder(bool plain) {
    decoder d;
    vtensor_cpu_options options = { .threads = 1, .cpu_mask = plain ? ~0u : 0 };
    assert_int_equal(vtensor_backend_cpu(&d.cpu, &options, NULL), VLM_OK);
    assert_int_equal(vtensor_frame_new(&d.frame, d.cpu, VTENSOR_EXACT, NULL), VLM_OK);
    return d;
}

static void free_decoder(decoder *d) {
    vtensor_frame_free(d->frame);
    vtensor_backend_free(d->cpu);
}

/* All values of rows [start, start + n) of a matrix, until the next call. */
static vlm_tensor decode_rows(decoder *d, const vlm_matrix *m, int64_t start, int64_t n) {
    int32_t ids[256];
    assert_true(n <= 256);
    for (int i = 0; i < 256; i++) ids[i] = i;
    vtensor_frame_begin(d->frame);
    vlm_matrix rows = vlm_matrix_rows(d->frame, m, start, n);
    vlm_tensor id = vlm_tensor_from(d->frame, VLM_DTYPE_I32, 1, &n, ids);
    vlm_tensor values = vlm_embed(d->frame, &rows, id);
    assert_true(vlm_frame_ok(d->frame));
    assert_int_equal(vtensor_frame_end(d->frame, NULL), VLM_OK);
    return values;
}

static vlm_tensor decode(decoder *d, const tbinding *x) {
    return decode_rows(d, &x->m, 0, x->m.out);
}

/* Bit for bit, but that a NaN is a NaN. */
static void assert_values(vlm_tensor rows, const vio_tensor *want, const uint8_t *values) {
    const float *got = rows.data;
    for (int64_t i = 0; i < vtensor_count(rows); i++) {
        float w;
        memcpy(&w, values + 4 * i, sizeof w);
        if (memcmp(&got[i], &w, sizeof w) != 0 && !(isnan(got[i]) && isnan(w)))
            fail_msg("%s: value %lld is %a, MLX's is %a", want->name, (long long)i, (double)got[i],
                     (double)w);
    }
}

static void assert_same_values(decoder *d, const tbinding *x, const vio_tensor *want) {
    vlm_tensor rows = decode(d, x);
    assert_int_equal(vtensor_count(rows) * 4, want->bytes);
    assert_values(rows, want, want->data);
}

/* The rows of a table are the values that MLX decodes, in float32: of what it quantized itself, and
 * of random codes in every mode, bits, groups and types of scales. */
static void values_are_mlx_s(decoder *d) {
    tbinding x;
    size_t n_values = 0;
    begin_case(&x, "mlx", false);
    for (int i = 0; i < MLX_MODULES; i++) {
        char module[40];
        snprintf(module, sizeof module, "layers.%d.%s", i, mlx_modules[i].mode);
        tbinding_bind(&x, "in/|", module, 4, 128);
        assert_same_values(d, &x, tensor(&x, "out/%s", module));
    }
    tbinding_close(&x);
    begin_case(&x, "values", false);
    for (size_t i = 0; i < vio_tensors_count(x.tensors); i++) {
        const vio_tensor *t = vio_tensors_at(x.tensors, i);
        if (strncmp(t->name, "out/", 4) != 0) continue;
        tbinding_bind(&x, "in/|", t->name + 4, (int64_t)t->shape[0], (int64_t)t->shape[1]);
        assert_same_values(d, &x, t);
        n_values++;
    }
    assert_int_equal(n_values, 6 * 3 * 3 + 3 * 2);
    tbinding_close(&x);
}

/* A factor of the whole matrix, multiplied with or divided by, is rounded once. */
static void factors_are_applied(decoder *d) {
    tbinding values, x;
    begin_case(&values, "values", false);
    for (size_t i = 0; i < sizeof translations / sizeof translations[0]; i++) {
        const translation *t = &translations[i];
        char name[80];
        if (t->storage != VLM_STORAGE_NVFP4) continue;
        snprintf(name, sizeof name, "factor/%s/%s", t->name, t->module);
        begin_case(&x, t->name, false);
        tbinding_bind(&x, "in/", t->module, t->out, t->in);
        assert_same_values(d, &x, tensor(&values, "%s", name));
        tbinding_close(&x);
    }
    tbinding_close(&values);
}

/* Stacks [3, 4, 128], expert by expert. */
static void experts_are_decoded(decoder *d) {
    static const char *const modes[] = { "dense", "affine", "mxfp4", "mxfp8", "nvfp4" };
    static const vlm_weight_row row = VLM_BIND_EXPERTS(tbinding, m, "", 0, 1, 2);
    const int64_t dims[] = { 3, 4, 128 };
    tbinding x;
    begin_case(&x, "values", false);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char name[40];
        snprintf(name, sizeof name, "in/stack.%s", modes[i]);
        vlm_weight_row named = row;
        named.name = name;
        const vlm_binding at = { .prefix = "", .dims = dims };
        if (vlm_bind(x.build, &x, &named, 1, &at, &x.err) < 0) fail_msg("%s", x.err.message);
        assert_int_equal(x.m.out, 12);
        assert_int_equal(x.m.in, 128);
        const vio_tensor *want = tensor(&x, "stack/stack.%s", modes[i]);
        for (int64_t e = 2; e >= 0; e--)
            assert_values(decode_rows(d, &x.m, 4 * e, 4), want, want->data + e * 4 * 128 * 4);
    }
    tbinding_close(&x);
}

static void decoded_values(void **state) {
    (void)state;
    for (int plain = 0; plain < 2; plain++) {
        decoder d = new_decoder(plain);
        values_are_mlx_s(&d);
        factors_are_applied(&d);
        experts_are_decoded(&d);
        free_decoder(&d);
    }
}

/* ---- AWQ and GPTQ ---------------------------------------------------------------------------- */
/* Floats rounded to float16 are these. */
static void assert_rounds_to(const tbinding *x, vlm_tensor got, const char *format) {
    const vio_tensor *want = tensor(x, format, "quantized");
    assert_int_equal(got.dtype, VLM_DTYPE_F32);
    assert_int_equal(want->dtype, VIO_F16);
    assert_int_equal(vtensor_count(got) * 2, want->bytes);
    for (int64_t i = 0; i < vtensor_count(got); i++) {
        uint16_t h = vcore_f32_to_f16(((const float *)got.data)[i]), w;
        memcpy(&w, want->data + 2 * i, 2);
        if (h != w && (h | w) != 0x8000) /* zeros of either sign */
            fail_msg("value %lld: %#x, %#x is wanted", (long long)i, h, w);
    }
}

/* What is bound decodes to what the tool decodes, rounded to its float16; AWQ's parts are those
 * that mlx-lm makes, but for biases that are not rounded. */
static void transposed_packings(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t out;
        int bits, group;
    } cases[] = { { "awq", 40, 4, 64 },
                  { "gptq", 64, 4, 32 },
                  { "gptq8", 64, 8, 128 },
                  { "gptq-v2", 64, 2, 64 } };
    decoder d = new_decoder(false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tbinding x;
        begin_case(&x, cases[i].name, false);
        int64_t out = cases[i].out, groups = out * 256 / cases[i].group;
        tbinding_bind(&x, "in/", "quantized", out, 256);
        assert_int_equal(x.m.storage, VLM_STORAGE_AFFINE);
        assert_int_equal(x.m.bits, cases[i].bits);
        assert_int_equal(x.m.group, cases[i].group);
        assert_string_equal(last_module(&x)->mode, "affine");
        assert_int_equal(vmodel_build_usage(x.build)->computed_bytes,
                         out * 256 * cases[i].bits / 8 + groups * (2 + 4));
        assert_rounds_to(&x, decode(&d, &x), "out/%s.values");
        if (i == 0) {
            assert_same(&x, x.m.data, "out/%s.weight", "quantized");
            assert_same(&x, x.m.scales, "out/%s.scales", "quantized");
            assert_rounds_to(&x, x.m.biases, "out/%s.biases");
        }
        tbinding_bind(&x, "in/", "dense", 3, 64);
        assert_all_used(&x);
        tbinding_close(&x);
    }
    free_decoder(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(translated_bit_for_bit),
        cmocka_unit_test(nothing_is_left_over),
        cmocka_unit_test(inspections_compute_nothing),
        cmocka_unit_test(mlx_modules_have_their_parameters),
        cmocka_unit_test(decoded_values),
        cmocka_unit_test(transposed_packings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
