/* SPDX-License-Identifier: MIT */
/* Quantized modules as they are bound: every layout against what mlx-vlm makes of it, bit for bit
 * (tests/data/quantization, made by tools/golden/quantization.py), and tensors that do not fit what
 * the config says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/checkpoint.h"
#include "support/cm.h"

enum { OUT, IN, DIMS };

/* A checkpoint opened for binding. */
typedef struct {
    vlm_quantization *quantization;
    vio_tensors *tensors;
    vcore_arena *arena;
    vlm_build *build;
    vlm_matrix m;
    vlm_error err;
} fixture;

static void begin(fixture *x, const char *tensors, const char *config, bool inspect) {
    vcore_json_doc *doc;
    *x = (fixture) { .arena = vcore_arena_new(), .err = VLM_ERROR_INIT };
    assert_int_equal(vcore_json_parse(&doc, config, strlen(config), "config.json", NULL), VLM_OK);
    if (vmodel_quantization_new(&x->quantization, vcore_json_root(doc), NULL, "config.json",
                                &x->err)
        < 0)
        fail_msg("%s", x->err.message);
    vcore_json_free(doc);
    if (vio_tensors_open_file(&x->tensors, tensors, NULL, &x->err) < 0)
        fail_msg("%s", x->err.message);
    const vmodel_build_args args = { .tensors = x->tensors,
                                     .arena = x->arena,
                                     .inspect = inspect,
                                     .quantization = x->quantization };
    assert_int_equal(vmodel_build_new(&x->build, &args, NULL), VLM_OK);
}

static void end(fixture *x) {
    vmodel_build_free(x->build);
    vio_tensors_close(x->tensors);
    vcore_arena_free(x->arena);
    vlm_quantization_free(x->quantization);
}

static vlm_status bind_as(fixture *x, const char *prefix, const char *name, int64_t out,
                          int64_t in) {
    const int64_t dims[] = { out, in };
    const vlm_weight_row row = { VLM_WEIGHT_MATRIX, name,       offsetof(fixture, m),
                                 { OUT, IN, -1 },   VLM_ALWAYS, VLM_NEVER };
    const vlm_binding at = { .prefix = prefix, .dims = dims };
    return vlm_bind(x->build, x, &row, 1, &at, &x->err);
}

static void bind_ok(fixture *x, const char *prefix, const char *name, int64_t out, int64_t in) {
    if (bind_as(x, prefix, name, out, in) < 0) fail_msg("%s", x->err.message);
}

static const vio_tensor *tensor(const fixture *x, const char *format, const char *module) {
    char name[120];
    snprintf(name, sizeof name, format, module);
    const vio_tensor *t = vio_tensors_find(x->tensors, name);
    if (!t) fail_msg("no tensor '%s'", name);
    return t;
}

static const vmodel_module *last_module(const fixture *x) {
    size_t n;
    const vmodel_module *modules = vmodel_build_modules(x->build, &n);
    assert_true(n > 0);
    return &modules[n - 1];
}

/* ---- the reference's translations ------------------------------------------------------------ */
#define FOLDER "tests/data/quantization/"

static void begin_case(fixture *x, const char *name, bool inspect) {
    char path[120];
    vio_bytes config;
    snprintf(path, sizeof path, FOLDER "%s.json", name);
    assert_int_equal(vio_read(&config, path, 1 << 16, NULL, NULL), VLM_OK);
    snprintf(path, sizeof path, FOLDER "%s.safetensors", name);
    begin(x, path, config.p, inspect);
    vcore_free(config.p);
}

/* Nothing of the checkpoint is left over but what the reference made of it. */
static void assert_all_used(fixture *x) {
    assert_int_equal(vmodel_build_check(x->build, true, NULL), VLM_OK);
    const vmodel_usage *u = vmodel_build_usage(x->build);
    assert_int_equal(u->n_missing, 0);
    for (size_t i = 0; i < u->n_unused; i++) assert_memory_equal(u->unused[i], "out/", 4);
}

static void assert_same(const fixture *x, vlm_tensor got, const char *format, const char *module) {
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

static void check_factor(const fixture *x, const translation *t) {
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

static void check_translation(fixture *x, const translation *t) {
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
        fixture x;
        begin_case(&x, t->name, t->storage > VLM_STORAGE_AFFINE);
        bind_ok(&x, "in/", t->module, t->out, t->in);
        check_translation(&x, t);
        end(&x);
    }
}

/* What is dropped (shapes, activation and cache scales) is no tensor left over. */
static void nothing_is_left_over(void **state) {
    (void)state;
    fixture x;
    begin_case(&x, "mixed", true);
    bind_ok(&x, "in/", "four", 16, 64);
    bind_ok(&x, "in/", "eight", 16, 64);
    bind_ok(&x, "in/", "dense", 3, 64);
    assert_all_used(&x);
    end(&x);
    begin_case(&x, "modelopt", true);
    bind_ok(&x, "in/", "four", 16, 128);
    bind_ok(&x, "in/", "eight", 4, 64);
    bind_ok(&x, "in/", "dense", 3, 64);
    assert_all_used(&x);
    end(&x);
    begin_case(&x, "int4", false);
    bind_ok(&x, "in/", "quantized", 24, 256);
    bind_ok(&x, "in/", "dense", 3, 64);
    assert_int_equal(x.m.storage, VLM_STORAGE_DENSE);
    assert_all_used(&x);
    end(&x);
}

/* An inspection counts what it would compute and computes nothing. */
static void inspections_compute_nothing(void **state) {
    (void)state;
    fixture x;
    begin_case(&x, "fp8", true);
    bind_ok(&x, "in/", "quantized", 20, 100);
    assert_null(x.m.data.data);
    check_translation(&x, &translations[3]);
    end(&x);
    begin_case(&x, "int4", true);
    bind_ok(&x, "in/", "quantized", 24, 256);
    assert_null(x.m.biases.data);
    assert_int_equal(x.m.biases.shape[1], 8);
    assert_int_equal(vmodel_build_usage(x.build)->computed_bytes, 24 * 8 * 2);
    end(&x);
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

static void bind_mlx(fixture *x, int i, bool guessed) {
    const struct mlx_module *want = &mlx_modules[i];
    char module[40];
    snprintf(module, sizeof module, "layers.%d.%s", i, want->mode);
    bind_ok(x, "in/|", module, 4, 128);
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
    fixture x;
    begin_case(&x, "mlx", true);
    for (int i = 0; i < MLX_MODULES; i++) bind_mlx(&x, i, false);
    assert_int_equal(vmodel_build_usage(x.build)->computed_bytes, 0);
    assert_int_equal(vmodel_build_usage(x.build)->parameters, MLX_MODULES * 4 * 128);
    assert_all_used(&x);
    end(&x);
    begin(&x, FOLDER "mlx.safetensors", "{}", true);
    for (int i = 0; i < MLX_MODULES; i++) bind_mlx(&x, i, true);
    end(&x);
}

/* Decodes tables row by row. */
typedef struct {
    vtensor_backend *cpu;
    vlm_frame *frame;
} decoder;

static decoder new_decoder(void) {
    decoder d;
    vtensor_cpu_options options = { .threads = 1 };
    assert_int_equal(vtensor_backend_cpu(&d.cpu, &options, NULL), VLM_OK);
    assert_int_equal(vtensor_frame_new(&d.frame, d.cpu, VTENSOR_EXACT, NULL), VLM_OK);
    return d;
}

static void free_decoder(decoder *d) {
    vtensor_frame_free(d->frame);
    vtensor_backend_free(d->cpu);
}

/* All values of the matrix at hand, until the next call. */
static vlm_tensor decode(decoder *d, const fixture *x) {
    int32_t ids[64];
    const int64_t n[] = { x->m.out };
    for (int i = 0; i < 64; i++) ids[i] = i;
    vtensor_frame_begin(d->frame);
    vlm_tensor id = vlm_tensor_from(d->frame, VLM_DTYPE_I32, 1, n, ids);
    vlm_tensor rows = vlm_embed(d->frame, &x->m, id);
    assert_true(vlm_frame_ok(d->frame));
    assert_int_equal(vtensor_frame_end(d->frame, NULL), VLM_OK);
    return rows;
}

/* The rows of a table are the values that MLX decodes, in float32. */
static void affine_values_are_mlx_s(void **state) {
    (void)state;
    fixture x;
    decoder d = new_decoder();
    begin_case(&x, "mlx", false);
    for (int i = 0; i < MLX_MODULES; i++) {
        char module[40];
        snprintf(module, sizeof module, "layers.%d.%s", i, mlx_modules[i].mode);
        if (strcmp(mlx_modules[i].mode, "affine")) continue;
        bind_ok(&x, "in/|", module, 4, 128);
        assert_same(&x, decode(&d, &x), "out/%s", module);
    }
    end(&x);
    free_decoder(&d);
}

/* ---- AWQ and GPTQ ---------------------------------------------------------------------------- */
/* Floats rounded to float16 are these. */
static void assert_rounds_to(const fixture *x, vlm_tensor got, const char *format) {
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
    decoder d = new_decoder();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture x;
        begin_case(&x, cases[i].name, false);
        int64_t out = cases[i].out, groups = out * 256 / cases[i].group;
        bind_ok(&x, "in/", "quantized", out, 256);
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
        bind_ok(&x, "in/", "dense", 3, 64);
        assert_all_used(&x);
        end(&x);
    }
    free_decoder(&d);
}

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
#define S(d, c)                                                                                    \
    { "m.scales", d, 4, c, NULL }
#define B(d, c)                                                                                    \
    { "m.biases", d, 4, c, NULL }

static const float not_a_number[8] = { 1, 1, 1, NAN, 1, 1, 1, 1 };
static const float infinite[8] = { 1, 1, 1, INFINITY, 1, 1, 1, 1 };
static const float huge[8] = { 1, 1, 1, 3e38f, 1, 1, 1, 1 };
static const float ones[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
static const uint16_t half_huge[8] = { 0, 0, 0, 0x7bff, 0, 0, 0, 0 }; /* 65504 */
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
    /* modes without arithmetic */
    { MODE(32, 4, "mxfp4"),
      { W(VIO_U32, 8), S(VIO_U8, 2) },
      VLM_ERR_UNSUPPORTED,
      "module 'm' is quantized as mxfp4" },
    { MODE(32, 8, "mxfp8"),
      { W(VIO_U32, 16), S(VIO_U8, 2) },
      VLM_ERR_UNSUPPORTED,
      "module 'm' is quantized as mxfp8" },
    { MODE(16, 4, "nvfp4"),
      { W(VIO_U32, 8), S(VIO_U8, 4) },
      VLM_ERR_UNSUPPORTED,
      "module 'm' is quantized as nvfp4" },
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
        { "m.weight_global_scale", VIO_F32, 0, 1, NULL } },
      VLM_ERR_UNSUPPORTED,
      "nvfp4" },
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
        { "m.weight_scale", VIO_F8_E4M3, 4, 4, NULL },
        { "m.weight_scale_2", VIO_F32, 0, 0, NULL } },
      VLM_ERR_UNSUPPORTED,
      "nvfp4" },
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

/* As it would be inspected: modes without arithmetic must fit, too. */
static const misfit inspected_misfits[] = {
    { MODE(32, 4, "mxfp4"), { W(VIO_U32, 8), S(VIO_BF16, 2) }, VLM_ERR_WEIGHTS, "single bytes" },
    { MODE(32, 4, "mxfp4"),
      { W(VIO_U32, 8), S(VIO_U8, 4) },
      VLM_ERR_WEIGHTS,
      "mxfp4 of 4 bits in groups of 32 (config.json) asks for [4, 2]" },
    { MODE(32, 8, "mxfp8"), { W(VIO_U32, 8), S(VIO_U8, 2) }, VLM_ERR_WEIGHTS, "asks for [4, 16]" },
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
    { MODELOPT,
      { { "m.weight", VIO_U8, 4, 32, NULL },
        { "m.weight_scale", VIO_F8_E4M3, 4, 2, NULL },
        { "m.weight_scale_2", VIO_F32, 0, 0, NULL } },
      VLM_ERR_WEIGHTS,
      "nvfp4 of 4 bits in groups of 16 (config.json) asks for [4, 4]" },
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

/* Binds [4, 64]; the mode is refused before that, too, from names alone. */
static void check_misfit(const char *path, const misfit *c, bool inspect) {
    fixture x;
    write_misfit(path, c);
    begin(&x, path, c->config, inspect);
    if (!inspect) {
        vlm_status early = vmodel_quantization_check(x.quantization, x.tensors, &x.err);
        bool refused = c->status == VLM_ERR_UNSUPPORTED && strstr(c->says, "fp");
        if (refused != (early == VLM_ERR_UNSUPPORTED)) fail_msg("%s: %s", c->says, x.err.message);
        if (refused) assert_non_null(strstr(x.err.message, c->says));
    }
    vlm_status status = bind_as(&x, "", "m", 4, 64);
    if (status >= 0) status = vmodel_build_check(x.build, true, &x.err);
    if (status != c->status || !strstr(x.err.message, c->says))
        fail_msg("'%s' is not in %s: '%s'", c->says, vlm_status_name(status), x.err.message);
    assert_null(strchr(x.err.message, '\n'));
    if (status == VLM_ERR_WEIGHTS && c->says[0] != '\'')
        assert_non_null(strstr(x.err.message, path));
    end(&x);
}

static void misfits_are_named(void **state) {
    (void)state;
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "model.safetensors");
    memset(nan_codes, 0x38, sizeof nan_codes);
    nan_codes[130] = 0xff;
    for (size_t i = 0; i < sizeof misfits / sizeof misfits[0]; i++)
        check_misfit(path, &misfits[i], false);
    for (size_t i = 0; i < sizeof inspected_misfits / sizeof inspected_misfits[0]; i++)
        check_misfit(path, &inspected_misfits[i], true);
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
        fixture x;
        snprintf(config, sizeof config,
                 "{\"quantization\":{\"group_size\":64,\"bits\":4,\"%s\":{\"group_size\":32,"
                 "\"bits\":8}}}",
                 cases[i].entry);
        write_misfit(path, cases[i].bits == 8 ? &eight : &four);
        begin(&x, path, config, false);
        if (cases[i].bits == 4 && strcmp(cases[i].entry, "other") == 0)
            bind_ok(&x, "", "m|other", 4, 64); /* found first under its own name */
        else
            bind_ok(&x, cases[i].prefix, cases[i].name, 4, 64);
        assert_int_equal(x.m.bits, cases[i].bits);
        end(&x);
    }
    tcheckpoint_remove(dir);
    free(path);
    free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(translated_bit_for_bit),
        cmocka_unit_test(nothing_is_left_over),
        cmocka_unit_test(inspections_compute_nothing),
        cmocka_unit_test(mlx_modules_have_their_parameters),
        cmocka_unit_test(affine_values_are_mlx_s),
        cmocka_unit_test(transposed_packings),
        cmocka_unit_test(misfits_are_named),
        cmocka_unit_test(entries_under_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
