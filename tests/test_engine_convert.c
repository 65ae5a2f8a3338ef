/* SPDX-License-Identifier: MIT */
/* Conversions from end to end: what is written loads and answers as its source, is the same whoever writes it, and
 * what cannot be done is one line and leaves nothing behind. The arithmetic is test_engine_convert_bits.c's. */
#include <dirent.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/dir.h"
#include "support/process.h"
#include "vlm/load/convert.h"

#define IDEFICS "tests/golden/idefics3-split"
#define EXPERTS "tests/golden/qwen3_vl_moe"
#define BUNDLED "models/smolscene"

static vlm_error err;

static char *target(const char *name) {
    return tcheckpoint_path(tdir, name);
}

/* Into a new folder below the directory of the test; its path, owned. */
static char *convert(const char *from, const char *name, vlm_convert_options o) {
    char *to = target(name);
    if (vlm_convert(from, to, &o, &err) < 0) fail_msg("%s: %s", name, err.message);
    return to;
}

#define OPTIONS(...) ((vlm_convert_options) { .struct_size = sizeof(vlm_convert_options), __VA_ARGS__ })
#define QUANTIZE(...) OPTIONS(.weights = VLM_CONVERT_QUANTIZE, __VA_ARGS__)

static char *read_all(const char *dir, const char *name, size_t *n) {
    char *path = tcheckpoint_path(dir, name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot be opened", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = calloc(*n + 1, 1);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    free(path);
    return bytes;
}

static void assert_same_file(const char *a, const char *b, const char *name) {
    size_t na, nb;
    char *x = read_all(a, name, &na), *y = read_all(b, name, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

static int entries(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* The "tokens" of a reply, as JSON. */
static char *answer(const char *model, const char *picture, const char *count) {
    const char *argv[] = { "vlm", "generate", "-m", model, "-i", picture, "-p", "What is in the picture?", "--dtype",
                           "f32", "--max-tokens", count, "--ignore-eos", "--json", NULL };
    tprocess p = tprocess_run(argv, NULL);
    if (p.status != 0) fail_msg("%s: %s", model, p.err);
    json_object *o = json_tokener_parse(p.out), *tokens = NULL;
    assert_true(json_object_object_get_ex(o, "tokens", &tokens));
    char *text = strdup(json_object_to_json_string(tokens));
    json_object_put(o);
    tprocess_free(&p);
    return text;
}

/* ---- what is written ------------------------------------------------------------------------------------- */

/* From each family and convention of names: the same tokens; and what MLX's names say is written again as it is. */
static void a_conversion_answers_as_its_source(void **state) {
    (void)state;
    static const struct {
        const char *golden;
        tcheckpoint_names names;
    } sources[] = { { IDEFICS, TCHECKPOINT_HF },
                    { IDEFICS, TCHECKPOINT_MLX },
                    { "tests/golden/paligemma2-gemma2", TCHECKPOINT_HF },
                    { "tests/golden/qwen2_5_vl-tied", TCHECKPOINT_HF_OLD },
                    { "tests/golden/qwen2_5_vl-untied", TCHECKPOINT_HF },
                    { EXPERTS, TCHECKPOINT_HF },
                    { EXPERTS, TCHECKPOINT_HF_OLD } };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        tdir_renew(NULL);
        char *from = target("source");
        assert_int_equal(mkdir(from, 0777), 0);
        const tcheckpoint_options how = { sources[i].names, TCHECKPOINT_F32, 1 };
        assert_true(tcheckpoint_write(sources[i].golden, from, &how));
        char *once = convert(from, "once", OPTIONS(.shard_bytes = 0)), *twice = convert(once, "twice", OPTIONS(.shard_bytes = 0));
        assert_same_file(once, twice, "model.safetensors");
        assert_same_file(once, twice, "config.json");
        char *want = answer(from, "tests/data/pictures/square.png", "8"), *got = answer(once, "tests/data/pictures/square.png", "8");
        assert_string_equal(got, want);
        free(want), free(got), free(from), free(once), free(twice);
    }
}

/* Stacked with gate above up, either way round, or apart: the same file comes of it, of the names that MLX has. */
static void experts_are_written_the_same_from_every_layout(void **state) {
    (void)state;
    static const tcheckpoint_names names[] = { TCHECKPOINT_HF, TCHECKPOINT_HF_OLD, TCHECKPOINT_MLX };
    static const char *const folders[] = { "stacked", "turned", "apart" };
    char *to[3], *text;
    for (int i = 0; i < 3; i++) {
        char source[16];
        snprintf(source, sizeof source, "source%d", i);
        char *from = target(source);
        assert_int_equal(mkdir(from, 0777), 0);
        const tcheckpoint_options how = { names[i], TCHECKPOINT_BF16, 1 };
        assert_true(tcheckpoint_write(EXPERTS, from, &how));
        to[i] = convert(from, folders[i], QUANTIZE(.group_size = 32)); /* too narrow: they stay floats */
        free(from);
    }
    size_t n;
    for (int i = 0; i < 2; i++) assert_same_file(to[i], to[2], "model.safetensors");
    text = read_all(to[0], "model.safetensors", &n);
    assert_non_null(memmem(text, n, "language_model.model.layers.3.mlp.switch_mlp.up_proj.weight", 59));
    assert_null(memmem(text, n, "mlp.experts.", 12));
    free(text);
    for (int i = 0; i < 3; i++) free(to[i]);
}

/* What stands beside a stack under its name is nothing of it; a stack of another shape is refused. */
static void experts_are_the_stack_and_nothing_else(void **state) {
    (void)state;
#define STACK "model.language_model.layers.0.mlp.experts.gate_up_proj"
    static const tedit beside[] = { TENSOR("model.safetensors", STACK ".weight", "U32 6 48 8"),
                                    TENSOR("model.safetensors", STACK ".scales", "F32 6 48 2") };
    static const tedit misshapen = TENSOR("model.safetensors", STACK, "F32 6 44 60");
    char *from = target("source"), *to = target("refused");
    assert_int_equal(mkdir(from, 0777), 0);
    assert_true(tcheckpoint_write(EXPERTS, from, NULL));
    char *plain = convert(from, "plain", OPTIONS(.shard_bytes = 0));
    assert_true(tedit_apply(from, beside, 2));
    vlm_load_options lenient = VLM_LOAD_OPTIONS_INIT;
    lenient.lenient = true;
    char *with = convert(from, "with", OPTIONS(.load = &lenient));
    assert_same_file(plain, with, "model.safetensors");
    assert_true(tedit_apply(from, &misshapen, 1));
    assert_int_equal(vlm_convert(from, to, &OPTIONS(.shard_bytes = 0), &err), VLM_ERR_WEIGHTS);
    if (!strstr(err.message, STACK "': shape [6, 44, 60], the config asks for [6, 48, 60]")) fail_msg("%s", err.message);
    assert_int_not_equal(access(to, F_OK), 0);
    free(plain), free(with), free(to), free(from);
}

static vlm_quantization *quantization_of(const char *dir) {
    size_t n;
    vlm_quantization *q;
    char *text = read_all(dir, "config.json", &n);
    assert_int_equal(vlm_quantization_parse(&q, text, n, &err), VLM_OK);
    free(text);
    return q;
}

static void the_bundled_model_still_answers(void **state) {
    (void)state;
    vlm_quantization_params p;
    char *q8 = convert(BUNDLED, "q8", QUANTIZE(.bits = 8, .group_size = 32));
    vlm_quantization *q = quantization_of(q8);
    assert_true(vlm_quantization_default(q, &p));
    assert_true(p.mode == VLM_QUANTIZATION_AFFINE && p.bits == 8 && p.group_size == 32);
    vlm_quantization_free(q);
    char *want = answer(BUNDLED, "tests/data/pictures/square.png", "4");
    char *got = answer(q8, "tests/data/pictures/square.png", "4");
    assert_string_equal(got, want);
    /* from quantized: floats again, and other bits; nothing says that it was quantized */
    char *floats = convert(q8, "floats", OPTIONS(.weights = VLM_CONVERT_DEQUANTIZE, .dtype = "f32"));
    assert_null(quantization_of(floats));
    char *back = answer(floats, "tests/data/pictures/square.png", "4");
    assert_string_equal(back, got);
    char *q4 = convert(q8, "q4", QUANTIZE(.bits = 4)), *four = answer(q4, "tests/data/pictures/square.png", "4");
    struct stat large, small;
    char *a = tcheckpoint_path(q8, "model.safetensors"), *b = tcheckpoint_path(q4, "model.safetensors");
    assert_true(stat(a, &large) == 0 && stat(b, &small) == 0 && small.st_size < large.st_size);
    free(want), free(got), free(back), free(four), free(a), free(b), free(q8), free(q4), free(floats);
}

static void a_recipe_names_its_modules(void **state) {
    (void)state;
    static const struct {
        const char *module;
        int bits;
    } wanted[] = { { "language_model.embed_tokens", 6 },
                   { "language_model.lm_head", 6 },
                   { "language_model.layers.0.mlp.down_proj", 3 },
                   { "language_model.layers.2.mlp.down_proj", 6 },
                   { "language_model.layers.4.self_attn.v_proj", 6 },
                   { "language_model.layers.4.self_attn.q_proj", 3 } };
    char *to = convert(BUNDLED, "mixed", QUANTIZE(.recipe = "mixed_3_6"));
    vlm_quantization *q = quantization_of(to);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        vlm_quantization_params p;
        if (vlm_quantization_find(q, wanted[i].module, &p) != VLM_QUANTIZATION_GIVEN || p.bits != wanted[i].bits)
            fail_msg("%s: not of %d bits", wanted[i].module, wanted[i].bits);
    }
    vlm_quantization_free(q);
    free(to);
}

static void shards_and_threads_change_no_bit(void **state) {
    (void)state;
    vlm_load_options one = VLM_LOAD_OPTIONS_INIT, four = VLM_LOAD_OPTIONS_INIT;
    one.threads = 1;
    four.threads = 4;
    char *a = convert(BUNDLED, "one", QUANTIZE(.bits = 3, .load = &one)), *b = convert(BUNDLED, "four", QUANTIZE(.bits = 3, .load = &four));
    assert_same_file(a, b, "model.safetensors");
    char *shards = convert(a, "shards", OPTIONS(.shard_bytes = 1 << 20));
    char *last = tcheckpoint_path(shards, "model-00002-of-00005.safetensors");
    assert_int_equal(access(last, R_OK), 0);
    char *whole = convert(shards, "whole", OPTIONS(.shard_bytes = 0));
    assert_same_file(a, whole, "model.safetensors");
    free(a), free(b), free(shards), free(last), free(whole);
}

/* ---- what is refused ---------------------------------------------------------------------------------------- */

static void refuse(const char *from, const char *name, vlm_convert_options o, vlm_status code, const char *what) {
    char *to = target(name);
    int before = entries(tdir);
    err = (vlm_error)VLM_ERROR_INIT;
    vlm_status status = vlm_convert(from, to, &o, &err);
    if (status != code || err.code != code || !strstr(err.message, what))
        fail_msg("%s: status %d: %s", name, status, err.message);
    assert_int_equal(entries(tdir), before);
    free(to);
}

static void options_that_contradict_are_refused(void **state) {
    (void)state;
    refuse(BUNDLED, "a", OPTIONS(.bits = 4), VLM_ERR_ARGUMENT, "quantizing only");
    refuse(BUNDLED, "a", OPTIONS(.dtype = "f64"), VLM_ERR_ARGUMENT, "'f64'");
    refuse(BUNDLED, "a", QUANTIZE(.bits = 7), VLM_ERR_ARGUMENT, "7 bits in groups of 64");
    refuse(BUNDLED, "a", QUANTIZE(.group_size = 48), VLM_ERR_ARGUMENT, "groups of 48");
    refuse(BUNDLED, "a", QUANTIZE(.mode = VLM_QUANTIZATION_NVFP4, .bits = 8), VLM_ERR_ARGUMENT, "nvfp4 of 8 bits");
    refuse(BUNDLED, "a", QUANTIZE(.recipe = "mixed_9_9"), VLM_ERR_ARGUMENT, "'mixed_9_9'");
    refuse(BUNDLED, "a", QUANTIZE(.recipe = "mixed_3_4", .bits = 4), VLM_ERR_ARGUMENT, "bits of its own");
    refuse(BUNDLED, "a", OPTIONS(.weights = (vlm_convert_weights)9), VLM_ERR_ARGUMENT, "weights: 9");
    refuse("no/such/model", "a", OPTIONS(.bits = 0), VLM_ERR_NOT_FOUND, "no/such/model");
    refuse(BUNDLED, "no/such/parent", OPTIONS(.bits = 0), VLM_ERR_NOT_FOUND, "no/such/parent");
    vlm_convert_options unset = { 0 };
    assert_int_equal(vlm_convert(BUNDLED, "x", &unset, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_convert(NULL, "x", NULL, &err), VLM_ERR_ARGUMENT);
}

static void a_target_that_is_there_or_in_the_source_is_refused(void **state) {
    (void)state;
    tdir_put("file", "text");
    refuse(BUNDLED, "file", OPTIONS(.bits = 0), VLM_ERR_ARGUMENT, "exists already");
    tdir_renew(IDEFICS);
    refuse(tdir, "inside", OPTIONS(.bits = 0), VLM_ERR_ARGUMENT, "lies in the checkpoint");
    refuse(tdir, "", OPTIONS(.bits = 0), VLM_ERR_ARGUMENT, "exists already");
}

static void a_weight_that_is_no_number_is_told(void **state) {
    (void)state;
    char *from = target("source");
    size_t n;
    assert_int_equal(mkdir(from, 0777), 0);
    assert_true(tcheckpoint_write(IDEFICS, from, NULL));
    char *bytes = read_all(from, "model.safetensors", &n);
    memcpy(bytes + n - 4, "\0\0\xC0\x7F", 4);
    assert_true(tedit_write(from, "model.safetensors", bytes, n));
    refuse(from, "a", OPTIONS(.bits = 0), VLM_ERR_WEIGHTS, "source/model.safetensors: module '");
    refuse(from, "a", OPTIONS(.bits = 0), VLM_ERR_WEIGHTS, "no finite number");
    assert_true(tedit_write(from, "model.safetensors", bytes, n - 8));
    refuse(from, "a", OPTIONS(.bits = 0), VLM_ERR_FORMAT, "model.safetensors");
    free(bytes);
    free(from);
}

static int stop_later(void *user, const vlm_convert_progress *p) {
    int *left = user;
    assert_true(p->done <= p->total && p->tensor);
    return --*left <= 0;
}

static void a_cancelled_one_leaves_nothing(void **state) {
    (void)state;
    for (int calls = 1; calls < 60; calls += 19) {
        int left = calls;
        refuse(BUNDLED, "a", OPTIONS(.progress = stop_later, .progress_user = &left), VLM_ERR_CANCELLED, "cancelled");
    }
}

/* As a disk that is full: nothing grows beyond a limit. */
static void what_cannot_be_written_is_told(void **state) {
    (void)state;
    struct rlimit before, now;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    static const rlim_t limits[] = { 100, 50000, 1000000 };
    for (size_t i = 0; i < 3; i++) {
        now = (struct rlimit) { limits[i], before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
        refuse(BUNDLED, "a", OPTIONS(.bits = 0), VLM_ERR_IO, "cannot write");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    }
}

static void wrong_usage_ends_with_2(void **state) {
    (void)state;
    static const char *const words[][6] = {
        { "-m", BUNDLED },
        { "-o", "x" },
        { "-m", BUNDLED, "-o", "x", "--mode", "int4" },
        { "-m", BUNDLED, "-o", "x", "--dtype", "f64" },
        { "-m", BUNDLED, "-o", "x", "--dtype", "16 f" },
        { "-m", BUNDLED, "-o", "x", "--group-size", "32" },
        { "-m", BUNDLED, "-o", "x", "--quantize", "four" },
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *argv[10] = { "vlm", "convert" };
        memcpy(argv + 2, words[i], sizeof words[i]);
        tprocess p = tprocess_run(argv, NULL);
        if (p.status != 2) fail_msg("case %zu: status %d: %s", i, p.status, p.err);
        tprocess_free(&p);
    }
}

static void the_command_says_one_line(void **state) {
    (void)state;
    char *to = target("a");
    const char *argv[] = { "vlm", "convert", "-m", BUNDLED, "-o", to, "--quantize", "7", NULL };
    tprocess p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 1);
    assert_int_equal(tprocess_lines(p.err), 1);
    tprocess_free(&p);
    argv[7] = "4";
    p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 0);
    assert_string_equal(p.err, "");
    assert_true(p.peak_rss < 200u << 20 || !tprocess_can_limit());
    tprocess_free(&p);
    free(to);
}

#define TEST(f) TDIR_TEST(f, NULL)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_conversion_answers_as_its_source),
        TEST(the_bundled_model_still_answers),
        TEST(a_recipe_names_its_modules),
        TEST(shards_and_threads_change_no_bit),
        TEST(experts_are_written_the_same_from_every_layout),
        TEST(experts_are_the_stack_and_nothing_else),
        TEST(options_that_contradict_are_refused),
        TEST(a_target_that_is_there_or_in_the_source_is_refused),
        TEST(a_weight_that_is_no_number_is_told),
        TEST(a_cancelled_one_leaves_nothing),
        TEST(what_cannot_be_written_is_told),
        TEST(wrong_usage_ends_with_2),
        TEST(the_command_says_one_line),
    };
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
