/* SPDX-License-Identifier: MIT */
/* Bad input through the command: exit status 1 and one line that names the culprit. Every case starts from a
 * good checkpoint and breaks one thing. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/edit.h"
#include "support/process.h"

#define GOLDEN "tests/golden/idefics3-split"
#define PICTURE "tests/data/pictures/square.png"

/* ---- breaking a checkpoint ------------------------------------------------------------------------------ */

static void write_file(const char *dir, const char *name, const void *bytes, size_t n) {
    assert_true(tedit_write(dir, name, bytes, n));
}

static void remove_file(const char *dir, const char *name) {
    assert_true(tedit_apply(dir, &(tedit)REMOVE(name), 1));
}

/* Replaces the first `from` of a file by `to`. */
static void edit(const char *dir, const char *name, const char *from, const char *to) {
    assert_true(tedit_apply(dir, &(tedit)REPLACE(name, from, to), 1));
}

/* Replaces the same number of bytes in the header of the weights. */
static void edit_header(const char *dir, const char *from, const char *to) {
    assert_int_equal(strlen(from), strlen(to));
    edit(dir, "model.safetensors", from, to);
}

static void no_config(const char *d) { remove_file(d, "config.json"); }
static void config_is_no_json(const char *d) { write_file(d, "config.json", "{\"model_type\": ", 15); }
static void config_is_an_array(const char *d) { write_file(d, "config.json", "[1]", 3); }
static void config_is_not_utf8(const char *d) { write_file(d, "config.json", "{\"a\": \"\xff\"}", 10); }
static void config_is_a_directory(const char *d) {
    remove_file(d, "config.json");
    char *path = tcheckpoint_path(d, "config.json");
    assert_int_equal(mkdir(path, 0700), 0);
    free(path);
}
static void config_is_a_fifo(const char *d) {
    remove_file(d, "config.json");
    char *path = tcheckpoint_path(d, "config.json");
    assert_int_equal(mkfifo(path, 0600), 0);
    free(path);
}
static void config_is_huge(const char *d) {
    size_t n = (1u << 20) + 1;
    char *spaces = malloc(n);
    memset(spaces, ' ', n);
    write_file(d, "config.json", spaces, n);
    free(spaces);
}
static void no_model_type(const char *d) { write_file(d, "config.json", "{}", 2); }
static void model_type_is_a_number(const char *d) { write_file(d, "config.json", "{\"model_type\": 3}", 17); }
static void unknown_model_type(const char *d) { edit(d, "config.json", "\"idefics3\"", "\"idefics9\""); }
static void unknown_processor(const char *d) {
    edit(d, "processor_config.json", "Idefics3Processor", "Idefics7Processor");
    edit(d, "preprocessor_config.json", "Idefics3Processor", "Idefics7Processor");
}
static void no_processor_files(const char *d) {
    remove_file(d, "processor_config.json");
    remove_file(d, "preprocessor_config.json");
}
static void nan_dimension(const char *d) { edit(d, "config.json", "\"num_hidden_layers\": ", "\"num_hidden_layers\": NaN, \"x\": "); }
static void zero_dimension(const char *d) { edit(d, "config.json", "\"hidden_size\": ", "\"hidden_size\": 0, \"x\": "); }
static void negative_dimension(const char *d) { edit(d, "config.json", "\"hidden_size\": ", "\"hidden_size\": -8, \"x\": "); }
static void huge_dimension(const char *d) {
    edit(d, "config.json", "\"num_hidden_layers\": ", "\"num_hidden_layers\": 9223372036854775807, \"x\": ");
}
static void text_dimension(const char *d) { edit(d, "config.json", "\"num_attention_heads\": ", "\"num_attention_heads\": \"8\", \"x\": "); }
static void other_dimension(const char *d) { edit(d, "config.json", "\"intermediate_size\": ", "\"intermediate_size\": 24, \"x\": "); }
static void eos_of_a_wrong_type(const char *d) { edit(d, "config.json", "{", "{\"eos_token_id\": \"</s>\", "); }
static void no_weights(const char *d) { remove_file(d, "model.safetensors"); }
static void truncated_weights(const char *d) {
    size_t n;
    char *bytes = tedit_read(d, "model.safetensors", &n);
    write_file(d, "model.safetensors", bytes, n - 100);
    free(bytes);
}
static void empty_weights(const char *d) { write_file(d, "model.safetensors", "", 0); }
static void lying_header_length(const char *d) { write_file(d, "model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10); }
static void header_is_no_json(const char *d) { write_file(d, "model.safetensors", "\x04\0\0\0\0\0\0\0{\"a\"", 12); }
static void oversized_tensor(const char *d) {
    write_file(d, "model.safetensors",
               "\x5a\0\0\0\0\0\0\0{\"big\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,8]}}             12345678",
               8 + 90 + 8);
}
static void overlapping_tensors(const char *d) {
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                 "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}";
    char file[8 + sizeof header - 1 + 12] = { (char)(sizeof header - 1) };
    memcpy(file + 8, header, sizeof header - 1);
    write_file(d, "model.safetensors", file, sizeof file);
}
static void missing_tensor(const char *d) { edit_header(d, "text_model.norm.weight", "text_model.nork.weight"); }
static void unknown_dtype(const char *d) { edit_header(d, "\"F32\"", "\"F31\""); }
static void missing_shard(const char *d) { remove_file(d, "model-00002-of-00003.safetensors"); }
static void no_tokenizer(const char *d) { remove_file(d, "tokenizer.json"); }
static void tokenizer_is_no_json(const char *d) { write_file(d, "tokenizer.json", "{", 1); }
static void broken_template(const char *d) { write_file(d, "chat_template.json", "{\"chat_template\": \"{% if %}\"}", 29); }
static void nothing(const char *d) { (void)d; }

/* ---- the table ---------------------------------------------------------------------------------------------- */

typedef struct bad {
    const char *name;
    void (*break_it)(const char *dir);
    const char *says[2];    /* what the line must hold */
    const char *more[6];    /* arguments behind the usual ones */
    const char *picture;    /* instead of the usual one; "" for none */
    int shards;
} bad;

static const bad table[] = {
    { "no config.json", no_config, { "config.json" }, { 0 }, 0, 0 },
    { "config is no JSON", config_is_no_json, { "config.json" }, { 0 }, 0, 0 },
    { "config is an array", config_is_an_array, { "config.json", "object" }, { 0 }, 0, 0 },
    { "config is not UTF-8", config_is_not_utf8, { "config.json", "UTF-8" }, { 0 }, 0, 0 },
    { "config is a directory", config_is_a_directory, { "config.json" }, { 0 }, 0, 0 },
    { "config is a FIFO", config_is_a_fifo, { "config.json" }, { 0 }, 0, 0 },
    { "config is too large", config_is_huge, { "config.json" }, { 0 }, 0, 0 },
    { "no model_type", no_model_type, { "model_type" }, { 0 }, 0, 0 },
    { "model_type is a number", model_type_is_a_number, { "model_type" }, { 0 }, 0, 0 },
    { "unknown model type", unknown_model_type, { "'idefics9'", "idefics3" }, { 0 }, 0, 0 },
    { "unknown processor class", unknown_processor, { "'Idefics7Processor'", "Idefics3Processor" }, { 0 }, 0, 0 },
    { "no processor files", no_processor_files, { "preprocessor_config.json", "processor_config.json" }, { 0 }, 0, 0 },
    { "NaN for a dimension", nan_dimension, { "num_hidden_layers" }, { 0 }, 0, 0 },
    { "zero for a dimension", zero_dimension, { "hidden_size" }, { 0 }, 0, 0 },
    { "a negative dimension", negative_dimension, { "hidden_size", "-8" }, { 0 }, 0, 0 },
    { "a huge dimension", huge_dimension, { "num_hidden_layers" }, { 0 }, 0, 0 },
    { "text for a dimension", text_dimension, { "num_attention_heads" }, { 0 }, 0, 0 },
    { "another dimension than the weights", other_dimension, { "shape" }, { 0 }, 0, 0 },
    { "eos_token_id of a wrong type", eos_of_a_wrong_type, { "eos_token_id" }, { 0 }, 0, 0 },
    { "no weights", no_weights, { "safetensors" }, { 0 }, 0, 0 },
    { "truncated weights", truncated_weights, { "model.safetensors" }, { 0 }, 0, 0 },
    { "empty weights", empty_weights, { "model.safetensors" }, { 0 }, 0, 0 },
    { "header length lies", lying_header_length, { "model.safetensors" }, { 0 }, 0, 0 },
    { "header is no JSON", header_is_no_json, { "model.safetensors" }, { 0 }, 0, 0 },
    { "oversized tensor", oversized_tensor, { "model.safetensors", "big" }, { 0 }, 0, 0 },
    { "overlapping tensors", overlapping_tensors, { "model.safetensors" }, { 0 }, 0, 0 },
    { "missing tensor", missing_tensor, { "norm" }, { 0 }, 0, 0 },
    { "unknown dtype", unknown_dtype, { "model.safetensors", "F31" }, { 0 }, 0, 0 },
    { "missing shard", missing_shard, { "model-00002-of-00003.safetensors: is not there; 14 tensors are missing: '" }, { 0 }, 0, 3 },
    { "no tokenizer", no_tokenizer, { "tokenizer.json" }, { 0 }, 0, 0 },
    { "tokenizer is no JSON", tokenizer_is_no_json, { "tokenizer.json" }, { 0 }, 0, 0 },
    { "broken chat template", broken_template, { "chat_template" }, { 0 }, 0, 0 },
    { "no such picture", nothing, { "no/such.png" }, { 0 }, "no/such.png", 0 },
    { "not a picture", nothing, { "LICENSE" }, { 0 }, "LICENSE", 0 },
    { "an empty picture", nothing, { "/dev/null" }, { 0 }, "/dev/null", 0 },
    { "a directory for a picture", nothing, { "tests/data" }, { 0 }, "tests/data", 0 },
    { "more places than images", nothing, { "image" }, { "--raw-prompt", "<image> and <image>" }, 0, 0 },
    { "more images than places", nothing, { "image" }, { "--raw-prompt", "none" }, 0, 0 },
    { "prompt longer than the context", nothing, { "context" }, { "-p", "Hello", "--context", "5" }, 0, 0 },
    { "no frames", nothing, { "no/frames" }, { "-p", "x", "--video-frames", "no/frames" }, "", 0 },
    { "no video file", nothing, { "clip.mp4" }, { "-p", "x", "--video", "clip.mp4" }, "", 0 },
    { "messages are no JSON", nothing, { "messages" }, { "--messages", "LICENSE" }, "", 0 },
    { "an input that is no tensor file", nothing, { "LICENSE" }, { "--input", "LICENSE" }, "", 0 },
    { "an unknown backend", nothing, { "cuda" }, { "-p", "x", "--backend", "cuda" }, "", 0 },
};

static void says_one_line_and_exits_1(void **state) {
    const bad *b = *state;
    char *dir = tcheckpoint_temp_dir();
    assert_non_null(dir);
    const tcheckpoint_options how = { .shards = b->shards };
    assert_true(tcheckpoint_write(GOLDEN, dir, &how));
    b->break_it(dir);
    const char *argv[24] = { "vlm", "generate", "-m", dir, "--max-tokens", "2" };
    size_t n = 6;
    const char *picture = b->picture ? b->picture : PICTURE;
    if (*picture) {
        argv[n++] = "-i";
        argv[n++] = picture;
    }
    for (size_t i = 0; i < 6 && b->more[i]; i++) argv[n++] = b->more[i];
    if (!b->more[0]) {
        argv[n++] = "-p";
        argv[n++] = "What is it?";
    }
    tprocess p = tprocess_run(argv, NULL);
    if (p.status != 1 || tprocess_lines(p.err) != 1 || strncmp(p.err, "vlm: generate: ", 15))
        fail_msg("%s: status %d, says: %s", b->name, p.status, p.err);
    assert_string_equal(p.out, "");
    for (size_t i = 0; i < 2 && b->says[i]; i++)
        if (!strstr(p.err, b->says[i])) fail_msg("%s: '%s' is not named: %s", b->name, b->says[i], p.err);
    tprocess_free(&p);
    tcheckpoint_remove(dir);
    free(dir);
}

static void a_missing_directory(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "generate", "-m", "no/such/dir", "-p", "x", NULL };
    tprocess p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 1);
    assert_string_equal(p.err, "vlm: generate: no/such/dir: no such checkpoint directory\n");
    tprocess_free(&p);
    argv[3] = "README.md";
    p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 1);
    assert_string_equal(p.err, "vlm: generate: README.md: is a file, not a checkpoint directory\n");
    tprocess_free(&p);
}

static void an_unreadable_file(void **state) {
    (void)state;
    char *dir = tcheckpoint_temp_dir();
    assert_true(tcheckpoint_write(GOLDEN, dir, NULL));
    char *path = tcheckpoint_path(dir, "tokenizer.json");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("tokenizer.json", path), 0); /* root reads everything, but not a loop */
    const char *argv[] = { "vlm", "generate", "-m", dir, "-p", "x", NULL };
    tprocess p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 1);
    assert_non_null(strstr(p.err, "tokenizer.json"));
    tprocess_free(&p);
    free(path);
    tcheckpoint_remove(dir);
    free(dir);
}

static void wrong_usage_exits_2(void **state) {
    (void)state;
    static const char *const calls[][8] = {
        { "vlm", NULL },
        { "vlm", "no-such-command", NULL },
        { "vlm", "generate", NULL },
        { "vlm", "generate", "-m", NULL },
        { "vlm", "generate", "-m", "x", "--no-such-option", NULL },
        { "vlm", "generate", "-m", "x", "--temp", "hot", NULL },
        { "vlm", "generate", "-m", "x", "--top-p", "1.5", NULL },
        { "vlm", "generate", "-m", "x", "--max-tokens", "-3", NULL },
        { "vlm", "generate", "-m", "x", "--dtype", "f8", NULL },
        { "vlm", "generate", "-m", "x", "--resize", "12", NULL },
        { "vlm", "generate", "-m", "x", "-p", "a", "--raw-prompt", NULL },
        { "vlm", "dump", "-m", "x", "--stage", "nowhere", "--out", NULL },
        { "vlm", "dump", "-m", "x", NULL },
        { "vlm", "inspect", NULL },
        { "vlm", "tokenize", "-m", "x", NULL },
        { "vlm", "list", "everything", NULL },
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        tprocess p = tprocess_run(calls[i], NULL);
        if (p.status != 2 || !p.err[0]) fail_msg("call %zu: status %d, says: %s", i, p.status, p.err);
        assert_string_equal(p.out, "");
        tprocess_free(&p);
    }
}

int main(void) {
    enum { N = sizeof table / sizeof table[0] };
    struct CMUnitTest tests[N + 3];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest) { table[i].name, says_one_line_and_exits_1, NULL, NULL, (void *)&table[i] };
    tests[N] = (struct CMUnitTest) cmocka_unit_test(a_missing_directory);
    tests[N + 1] = (struct CMUnitTest) cmocka_unit_test(an_unreadable_file);
    tests[N + 2] = (struct CMUnitTest) cmocka_unit_test(wrong_usage_exits_2);
    return cmocka_run_group_tests_name("bad input", tests, NULL, NULL);
}
