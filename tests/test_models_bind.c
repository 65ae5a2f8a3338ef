/* SPDX-License-Identifier: MIT */
/* Weight tables: names and prefixes, shapes and types, biases, MLX layouts, quantized triples,
 * misaligned data, what is missing and what is left over. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/checkpoint.h"
#include "support/cm.h"

typedef struct {
    vlm_linear linear, conv;
    vlm_matrix table;
    vlm_norm norm;
    vlm_tensor array;
} object;

enum { OUT, IN, K, DIMS };
enum { BIASED = 1, EXTRA = 2 };
static const int64_t dims[DIMS] = { 4, 64, 2 };

/* A file of the given tensors, and a build over it. */
typedef struct {
    char *dir, *path;
    vio_tensors *tensors;
    vcore_arena *arena;
    vlm_build *build;
    object at;
} fixture;

static float values[4096];
static uint32_t words[4096];

static vio_out_tensor tensor(const char *name, vio_dtype dtype, int rank, uint64_t a, uint64_t b,
                             uint64_t c, uint64_t d) {
    return (vio_out_tensor) { name,
                              dtype,
                              rank,
                              { a, b, c, d },
                              dtype == VIO_U32 ? (const void *)words : (const void *)values };
}
#define F32_1(name, a) tensor(name, VIO_F32, 1, a, 0, 0, 0)
#define F32_2(name, a, b) tensor(name, VIO_F32, 2, a, b, 0, 0)

static void open_with(fixture *x, const vio_out_tensor *list, size_t n, const char *format,
                      bool inspect) {
    vlm_error err = VLM_ERROR_INIT;
    for (int i = 0; i < 4096; i++) values[i] = (float)i, words[i] = (uint32_t)i * 2654435761u;
    *x = (fixture) { .dir = tcheckpoint_temp_dir(), .arena = vcore_arena_new() };
    x->path = tcheckpoint_path(x->dir, "model.safetensors");
    if (vio_safetensors_write(x->path, list, n, format, &err) < 0) fail_msg("%s", err.message);
    if (vio_tensors_open_file(&x->tensors, x->path, NULL, &err) < 0) fail_msg("%s", err.message);
    const vmodel_build_args args = { .tensors = x->tensors, .arena = x->arena, .inspect = inspect };
    assert_int_equal(vmodel_build_new(&x->build, &args, NULL), VLM_OK);
}
#define OPEN(x, format, ...)                                                                       \
    const vio_out_tensor list[] = { __VA_ARGS__ };                                                 \
    open_with(x, list, sizeof list / sizeof list[0], format, false)

static void close_fixture(fixture *x) {
    vmodel_build_free(x->build);
    vio_tensors_close(x->tensors);
    vcore_arena_free(x->arena);
    tcheckpoint_remove(x->dir);
    free(x->path);
    free(x->dir);
}

static vlm_status bind(fixture *x, vlm_weight_row row, const char *prefix, unsigned conditions,
                       vlm_error *err) {
    const vlm_binding at = { .prefix = prefix, .layer = 7, .dims = dims, .conditions = conditions };
    return vlm_bind(x->build, &x->at, &row, 1, &at, err);
}

static void bind_ok(fixture *x, vlm_weight_row row, const char *prefix, unsigned conditions) {
    vlm_error err = VLM_ERROR_INIT;
    if (bind(x, row, prefix, conditions, &err) < 0) fail_msg("%s", err.message);
}

static void bind_fails(fixture *x, vlm_weight_row row, const char *prefix, unsigned conditions,
                       const char *says) {
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(bind(x, row, prefix, conditions, &err), VLM_ERR_WEIGHTS);
    if (!strstr(err.message, says)) fail_msg("'%s' is not in '%s'", says, err.message);
}

static const vlm_weight_row linear_row =
    VLM_BIND_LINEAR(object, linear, "layers.%d.new|layers.%d.proj", BIASED, OUT, IN);
static const vlm_weight_row table_row = VLM_BIND_MATRIX(object, table, "table", OUT, IN);
static const vlm_weight_row norm_row = VLM_BIND_NORM(object, norm, "norm", VLM_ALWAYS, IN);
static const vlm_weight_row conv_row = VLM_BIND_CONV(object, conv, "conv", VLM_NEVER, OUT, K, K, K);

/* ---- names ----------------------------------------------------------------------------------- */
static void names_and_prefixes(void **state) {
    (void)state;
    fixture x;
    OPEN(&x, "pt", F32_2("b.layers.7.proj.weight", 4, 64), F32_1("b.layers.7.proj.bias", 4),
         F32_1("norm.weight", 64), F32_1("norm.bias", 64));
    bind_ok(&x, linear_row, "a.|b.|", BIASED);
    assert_int_equal(x.at.linear.weight.storage, VLM_STORAGE_DENSE);
    assert_int_equal(x.at.linear.weight.out, 4);
    assert_int_equal(x.at.linear.weight.in, 64);
    assert_float_equal(((float *)x.at.linear.weight.data.data)[65], 65, 0);
    assert_int_equal(x.at.linear.bias.shape[0], 4);
    x.at.norm.eps = 3;
    bind_ok(&x, norm_row, "a.|b.|", 0);
    assert_int_equal(x.at.norm.weight.shape[0], 64);
    assert_int_equal(x.at.norm.bias.rank, 1);
    assert_float_equal(x.at.norm.eps, 3, 0);
    const vmodel_usage *usage = vmodel_build_usage(x.build);
    assert_int_equal(usage->parameters, 4 * 64 + 4 + 64 + 64);
    assert_int_equal(usage->weight_bytes, 4 * usage->parameters);
    assert_int_equal(usage->computed_bytes, 0);
    bind_ok(&x, linear_row, "b.", BIASED); /* a shared tensor counts once */
    assert_int_equal(usage->parameters, 4 * 64 + 4 + 64 + 64);
    assert_int_equal(vmodel_build_check(x.build, false, NULL), VLM_OK);
    close_fixture(&x);
}

static void count_line(void *user, vlm_log_level level, const char *line) {
    (void)level;
    assert_non_null(strstr(line, "not used"));
    ++*(int *)user;
}

static void left_over(void **state) {
    (void)state;
    fixture x;
    OPEN(&x, "pt", F32_2("layers.7.proj.weight", 4, 64), F32_1("layers.7.proj.bias", 4),
         F32_1("layers.3.rope.inv_freq", 4));
    bind_ok(&x, linear_row, "", 0); /* without its condition the bias is nobody's */
    assert_int_equal(x.at.linear.bias.rank, 0);
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vmodel_build_check(x.build, false, &err), VLM_ERR_WEIGHTS);
    assert_non_null(strstr(err.message, "layers.3.rope.inv_freq"));
    assert_non_null(strstr(err.message, x.path));
    vlm_weight_row ignored = VLM_BIND_IGNORED("*.rope.inv_freq");
    bind_ok(&x, ignored, "other.|", 0);
    assert_int_equal(vmodel_build_check(x.build, false, &err), VLM_ERR_WEIGHTS);
    assert_non_null(strstr(err.message, "layers.7.proj.bias"));
    int lines = 0;
    const vcore_log log = { count_line, &lines };
    x.build->args.log = &log;
    assert_int_equal(vmodel_build_check(x.build, true, &err), VLM_OK);
    assert_int_equal(lines, 1);
    assert_int_equal(vmodel_build_usage(x.build)->n_unused, 1);
    assert_string_equal(vmodel_build_usage(x.build)->unused[0], "layers.7.proj.bias");
    close_fixture(&x);
}

static void collect_line(void *user, vlm_log_level level, const char *line) {
    assert_int_equal(level, VLM_LOG_INFO);
    vcore_buf_printf(user, "%s\n", line);
}

/* Each is bound without data, and all are named at the end: in the error, and one by one in the log. */
static void missing_tensors(void **state) {
    (void)state;
    fixture x;
    OPEN(&x, "pt", F32_2("layers.7.proj.weight", 4, 64), F32_1("norm.weight", 64));
    bind_ok(&x, linear_row, "x.|y.", 0);
    bind_ok(&x, linear_row, "x.|", BIASED);
    bind_ok(&x, norm_row, "", 0);
    bind_ok(&x, conv_row, "a.", 0);
    assert_null(x.at.conv.weight.data.data);
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vmodel_build_check(x.build, true, &err), VLM_ERR_WEIGHTS);
    assert_string_equal(err.message, "4 tensors are missing: 'x.layers.7.new.weight', "
                                     "'layers.7.proj.bias', 'norm.bias', 'a.conv.weight'");
    assert_string_equal(err.field, "x.layers.7.new.weight");
    close_fixture(&x);
    const vmodel_build_args none = { .arena = vcore_arena_new(), .inspect = true };
    assert_int_equal(vmodel_build_new(&x.build, &none, NULL), VLM_OK);
    bind_ok(&x, linear_row, "x.", BIASED);
    bind_ok(&x, conv_row, "x.", 0);
    const vmodel_usage *usage = vmodel_build_usage(x.build);
    assert_int_equal(usage->n_missing, 3);
    assert_string_equal(usage->missing[0], "x.layers.7.new.weight");
    assert_string_equal(usage->missing[1], "x.layers.7.new.bias");
    assert_string_equal(usage->missing[2], "x.conv.weight");
    assert_int_equal(x.at.linear.weight.data.shape[1], 64);
    assert_null(x.at.linear.weight.data.data);
    assert_int_equal(vmodel_build_check(x.build, false, NULL), VLM_OK);
    vmodel_build_free(x.build);
    vcore_arena_free(none.arena);
}

/* Names on one line as far as it goes, and how many there are; the log has them all. */
static void many_missing_and_left_over(void **state) {
    (void)state;
    enum { N = 40 };
    fixture x;
    vio_out_tensor list[N];
    char names[N][64];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "model.other.%02d.weight", i);
        list[i] = F32_1(names[i], 4);
    }
    open_with(&x, list, N, "pt", false);
    for (int i = 0; i < N; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "model.wanted.%02d.", i);
        bind_ok(&x, norm_row, prefix, 0);
    }
    vcore_buf lines = { 0 };
    const vcore_log log = { collect_line, &lines };
    x.build->args.log = &log;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vmodel_build_check(x.build, false, &err), VLM_ERR_WEIGHTS);
    assert_string_equal(
        err.message,
        "80 tensors are missing: 'model.wanted.00.norm.weight', 'model.wanted.00.norm.bias', "
        "'model.wanted.01.norm.weight', 'model.wanted.01.norm.bias', "
        "'model.wanted.02.norm.weight' and 75 more; 40 tensors are not named by any part of the "
        "model: 'model.other.00.weight', 'model.other.01.weight', 'model.other.02.weight', "
        "'model.other.03.weight' and 36 more");
    assert_non_null(strstr(lines.p, "tensor 'model.wanted.39.norm.bias' is missing\n"));
    assert_non_null(strstr(lines.p, "tensor 'model.other.39.weight' is not used\n"));
    size_t n = 0;
    for (size_t i = 0; i < lines.n; i++) n += lines.p[i] == '\n';
    assert_int_equal(n, 120);
    vcore_buf_free(&lines);
    close_fixture(&x);
}

/* A config that asks for a million tensors ends before it fills the memory with their names. */
static void endless_missing_tensors(void **state) {
    (void)state;
    fixture x;
    OPEN(&x, "pt", F32_1("norm.weight", 64));
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = VLM_OK;
    for (int i = 0; i < 1000000 && status >= 0; i++) status = bind(&x, table_row, "", 0, &err);
    assert_int_equal(status, VLM_ERR_WEIGHTS);
    assert_non_null(strstr(err.message, "65536 tensors are missing: 'table.weight'"));
    close_fixture(&x);
}

/* ---- shapes and types ------------------------------------------------------------------------ */
static void wrong_shapes_and_types(void **state) {
    (void)state;
    fixture x;
    OPEN(&x, "pt", F32_2("layers.7.proj.weight", 64, 4),
         tensor("table.weight", VIO_I32, 2, 4, 64, 0, 0), F32_2("norm.weight", 1, 64),
         tensor("half.table.weight", VIO_BF16, 2, 4, 64, 0, 0),
         tensor("half.norm.weight", VIO_F16, 1, 64, 0, 0, 0),
         tensor("half.norm.bias", VIO_F16, 1, 64, 0, 0, 0));
    bind_fails(&x, linear_row, "", 0, "shape [64, 4], the config asks for [4, 64]");
    bind_fails(&x, linear_row, "", 0, "'layers.7.proj.weight'");
    bind_fails(&x, table_row, "", 0, "'table.weight': is I32");
    bind_fails(&x, norm_row, "", 0, "shape [1, 64]");
    bind_ok(&x, table_row, "half.", 0);
    assert_int_equal(x.at.table.data.dtype, VLM_DTYPE_BF16);
    bind_ok(&x, norm_row, "half.", 0);
    assert_int_equal(x.at.norm.weight.dtype, VLM_DTYPE_F16);
    close_fixture(&x);
}

static void convolutions(void **state) {
    (void)state;
    fixture x;
    {
        OPEN(&x, "pt", tensor("conv.weight", VIO_F32, 4, 4, 2, 2, 2));
        bind_ok(&x, conv_row, "", 0);
        assert_int_equal(x.at.conv.weight.in, 8);
        for (int i = 0; i < 32; i++)
            assert_float_equal(((float *)x.at.conv.weight.data.data)[i], i, 0);
        assert_int_equal(vmodel_build_usage(x.build)->computed_bytes, 0);
        close_fixture(&x);
    }
    OPEN(&x, "mlx", tensor("conv.weight", VIO_F32, 4, 4, 2, 2, 2),
         tensor("bad.conv.weight", VIO_F32, 4, 4, 2, 2, 3));
    bind_ok(&x, conv_row, "",
            0); /* the layout follows from the file's format, not from the shape */
    const float *v = x.at.conv.weight.data.data;
    for (int o = 0; o < 4; o++)
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 4; k++)
                assert_float_equal(v[(o * 2 + i) * 4 + k], (o * 4 + k) * 2 + i, 0);
    assert_int_equal(vmodel_build_usage(x.build)->computed_bytes, 32 * 4);
    bind_fails(&x, conv_row, "bad.", 0, "shape [4, 2, 2, 3]");
    close_fixture(&x);
}

/* A file whose second tensor begins at an odd address. */
static void write_misaligned(const char *path) {
    const char header[] = "{\"skip\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                          "\"table.weight\":{\"dtype\":\"F32\",\"shape\":[4,64],"
                          "\"data_offsets\":[3,1027]}}";
    uint64_t bytes = sizeof header - 1;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(&bytes, sizeof bytes, 1, f);
    fwrite(header, bytes, 1, f);
    fwrite("\1\2\3", 3, 1, f);
    fwrite(values, 1024, 1, f);
    fclose(f);
}

static void misaligned_data(void **state) {
    (void)state;
    fixture x;
    OPEN(&x, "pt", F32_1("norm.weight", 64));
    write_misaligned(x.path);
    vio_tensors_close(x.tensors);
    vmodel_build_free(x.build);
    assert_int_equal(vio_tensors_open_file(&x.tensors, x.path, NULL, NULL), VLM_OK);
    const vmodel_build_args args = { .tensors = x.tensors, .arena = x.arena };
    assert_int_equal(vmodel_build_new(&x.build, &args, NULL), VLM_OK);
    bind_ok(&x, table_row, "", 0);
    assert_int_equal((uintptr_t)x.at.table.data.data % 4, 0);
    for (int i = 0; i < 256; i++) assert_float_equal(((float *)x.at.table.data.data)[i], i, 0);
    assert_int_equal(vmodel_build_usage(x.build)->computed_bytes, 1024);
    close_fixture(&x);
}

/* ---- quantization ---------------------------------------------------------------------------- */
#define TRIPLE(name, columns, groups)                                                              \
    tensor(name "table.weight", VIO_U32, 2, 4, columns, 0, 0),                                     \
        tensor(name "table.scales", VIO_BF16, 2, 4, groups, 0, 0),                                 \
        tensor(name "table.biases", VIO_BF16, 2, 4, groups, 0, 0)

static void quantized_triples(void **state) {
    (void)state;
    static const struct {
        const char *prefix;
        int bits, group;
    } good[] = { { "two.", 2, 64 },
                 { "three.", 3, 32 },
                 { "four.", 4, 32 },
                 { "six.", 6, 64 },
                 { "eight.", 8, 64 } };
    fixture x;
    OPEN(&x, "mlx", TRIPLE("two.", 4, 1), TRIPLE("three.", 6, 2), TRIPLE("four.", 8, 2),
         TRIPLE("six.", 12, 1), TRIPLE("eight.", 16, 1), TRIPLE("seven.", 14, 1),
         TRIPLE("odd.", 9, 1), TRIPLE("small.", 8, 4), TRIPLE("thirds.", 8, 3),
         tensor("alone.table.weight", VIO_U32, 2, 4, 8, 0, 0),
         tensor("alone.table.scales", VIO_BF16, 2, 4, 2, 0, 0),
         tensor("float.table.weight", VIO_F32, 2, 4, 8, 0, 0),
         tensor("float.table.scales", VIO_BF16, 2, 4, 2, 0, 0),
         tensor("float.table.biases", VIO_BF16, 2, 4, 2, 0, 0),
         tensor("plain.table.weight", VIO_U32, 2, 4, 8, 0, 0));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t before = vmodel_build_usage(x.build)->parameters;
        bind_ok(&x, table_row, good[i].prefix, 0);
        assert_int_equal(x.at.table.storage, VLM_STORAGE_AFFINE);
        assert_int_equal(x.at.table.bits, good[i].bits);
        assert_int_equal(x.at.table.group, good[i].group);
        assert_int_equal(x.at.table.out, 4);
        assert_int_equal(x.at.table.in, 64);
        assert_int_equal(x.at.table.scales.shape[1], 64 / good[i].group);
        assert_int_equal(x.at.table.data.dtype, VLM_DTYPE_U32);
        assert_int_equal(vmodel_build_usage(x.build)->parameters, before + 256);
    }
    bind_fails(&x, table_row, "seven.", 0, "bits or group size");
    bind_fails(&x, table_row, "odd.", 0, "whole number of bits");
    bind_fails(&x, table_row, "small.", 0, "bits or group size");
    bind_fails(&x, table_row, "thirds.", 0, "whole number of bits and groups");
    bind_fails(&x, table_row, "alone.", 0, "'.biases'");
    bind_fails(&x, table_row, "float.", 0, "not of type U32");
    bind_fails(&x, table_row, "plain.", 0, "is U32");
    close_fixture(&x);
}

static void bad_tables(void **state) {
    (void)state;
    fixture x;
    OPEN(&x, "pt", F32_1("norm.weight", 64));
    vlm_error err = VLM_ERROR_INIT;
    vlm_weight_row thin = VLM_BIND_LINEAR(object, linear, "proj", VLM_NEVER, OUT);
    assert_int_equal(bind(&x, thin, "", 0, &err), VLM_ERR_ARGUMENT);
    vlm_weight_row skipped = VLM_BIND_LINEAR_IF(EXTRA, object, linear, "proj", VLM_NEVER, OUT, IN);
    assert_int_equal(bind(&x, skipped, "", BIASED, &err), VLM_OK);
    assert_int_equal(bind(&x, skipped, "", EXTRA, &err), VLM_OK);
    assert_int_equal(vmodel_build_usage(x.build)->n_missing, 1);
    char longest[400];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    bind_ok(&x, norm_row, longest, 0); /* no name can be that long: missing */
    assert_int_equal(vmodel_build_usage(x.build)->n_missing, 3);
    close_fixture(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_prefixes), cmocka_unit_test(left_over),
        cmocka_unit_test(missing_tensors),    cmocka_unit_test(many_missing_and_left_over),
        cmocka_unit_test(endless_missing_tensors), cmocka_unit_test(wrong_shapes_and_types),
        cmocka_unit_test(convolutions),       cmocka_unit_test(misaligned_data),
        cmocka_unit_test(quantized_triples),  cmocka_unit_test(bad_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
