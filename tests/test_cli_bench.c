/* SPDX-License-Identifier: MIT */
/* vlm bench: the form of what it prints, and the figures in it that are no times: what a pass computes and reads, as
 * the checkpoint's shapes say it. */
#include <json-c/json.h>
#include <stdlib.h>

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/process.h"

#define GOLDEN "tests/golden/idefics3-split"

/* Its config.json. */
enum { HIDDEN = 64, INNER = 112, LAYERS = 3, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 16, VOCAB = 544 };
enum {
    QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM * HIDDEN,
    REST = HEADS * HEAD_DIM * HIDDEN + 3 * INNER * HIDDEN, /* of a layer */
    MATRICES = LAYERS * (QKV + REST) + VOCAB * HIDDEN,     /* a step's, the head with them */
    NORMS = (2 * LAYERS + 1) * HIDDEN,
};

static char *dir; /* bfloat16, shared by the tests */

static int make_checkpoint(void **state) {
    (void)state;
    const tcheckpoint_options options = { .dtype = TCHECKPOINT_BF16 };
    dir = tcheckpoint_temp_dir();
    return dir && tcheckpoint_write(GOLDEN, dir, &options) ? 0 : -1;
}

static int remove_checkpoint(void **state) {
    (void)state;
    tcheckpoint_remove(dir);
    free(dir);
    return 0;
}

static json_object *at(json_object *o, const char *key) {
    json_object *v = NULL;
    if (!json_object_object_get_ex(o, key, &v)) fail_msg("key '%s' is missing", key);
    return v;
}

static int64_t whole(json_object *o, const char *key) {
    json_object *v = at(o, key);
    if (!json_object_is_type(v, json_type_int)) fail_msg("'%s' is no integer", key);
    return json_object_get_int64(v);
}

static json_object *row(json_object *o, const char *key, size_t i) {
    json_object *v = json_object_array_get_idx(at(o, key), i);
    if (!v) fail_msg("'%s' has no row %zu", key, i);
    return v;
}

/* Limits take a tenth of a second each time, and more on a busy machine. */
static tprocess run_patiently(const char *const *argv) {
    return tprocess_run_within(argv, NULL, 280, 0);
}

static json_object *run(const char *const *argv) {
    tprocess p = run_patiently(argv);
    if (p.status != 0) fail_msg("status %d: %s", p.status, p.err);
    json_object *o = json_tokener_parse(p.out);
    if (!o) fail_msg("not JSON: %s", p.out);
    tprocess_free(&p);
    return o;
}

/* A positive number, or null where the machine has no such limit. */
static void is_rate(json_object *o, const char *key) {
    json_object *v = at(o, key);
    if (v && !(json_object_get_double(v) > 0)) fail_msg("'%s' is %s", key, json_object_to_json_string(v));
}

static void rows_have_their_keys(json_object *o, const char *key) {
    static const char *const counts[] = { "linear_ops", "attention_ops", "weight_bytes", "kv_bytes" };
    static const char *const rates[] = { "ms",           "tokens_s",     "gflop_s",       "gb_s",
                                         "share_of_f32", "share_of_read", "share_of_bf16", "share_of_int8" };
    for (size_t i = 0; i < json_object_array_length(at(o, key)); i++) {
        json_object *r = row(o, key, i);
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) assert_true(whole(r, counts[k]) >= 0);
        for (size_t k = 0; k < sizeof rates / sizeof rates[0]; k++) is_rate(r, rates[k]);
        assert_in_range(whole(r, "rounds"), 1, 2); /* a slow machine stops after the seconds of a row */
    }
}

/* A step reads every matrix once, whatever the batch, the rows of its tokens, and the keys and values of each. */
static void steps_are_counted(json_object *o) {
    for (size_t i = 0; i < 2; i++) {
        json_object *r = row(o, "decode", i);
        int64_t batch = 3, held = i ? 40 : 16; /* while 4 tokens are generated */
        assert_int_equal(whole(r, "batch"), batch);
        assert_int_equal(whole(r, "kv_tokens"), held);
        assert_int_equal(whole(r, "linear_ops"), batch * 2 * MATRICES);
        assert_int_equal(whole(r, "weight_bytes"), 2 * (MATRICES + NORMS + batch * HIDDEN));
        int64_t twice = (held + 1) + (held + 4); /* the mean number of keys, times two */
        assert_int_equal(whole(r, "kv_bytes"), batch * twice * LAYERS * KV_HEADS * HEAD_DIM * 2);
        assert_int_equal(whole(r, "attention_ops"), batch * twice * 2 * LAYERS * HEADS * HEAD_DIM);
    }
}

/* Of the last layer a prefill needs no more than keys and values of all rows. */
static void prompts_are_counted(json_object *o) {
    for (size_t i = 0; i < 2; i++) {
        json_object *r = row(o, "prefill", i);
        int64_t n = i ? 33 : 8, rows = 2 * n * (QKV + REST), pairs = 4 * n * (n + 1) / 2 * HEADS * HEAD_DIM;
        int64_t linear = whole(r, "linear_ops"), attention = whole(r, "attention_ops");
        assert_int_equal(whole(r, "prompt_tokens"), n);
        assert_in_range(linear, (LAYERS - 1) * rows + 2 * VOCAB * HIDDEN, LAYERS * rows + 2 * VOCAB * HIDDEN);
        assert_in_range(attention, (LAYERS - 1) * pairs, LAYERS * pairs);
        assert_int_equal(whole(r, "weight_bytes"), 2 * (MATRICES + NORMS));
        assert_int_equal(whole(r, "kv_bytes"), n * LAYERS * KV_HEADS * HEAD_DIM * 2 * 2);
    }
}

static void json_has_the_documented_form(void **state) {
    (void)state;
    const char *argv[] = { "vlm",     "bench",       "-m",      dir,    "--picture",  "64x64", "--prompt-tokens", "8,33",
                           "--kv",    "16,40",       "--batch", "3",  "--generate", "4",     "--rounds",        "2",
                           "--threads", "2", "--json", NULL };
    json_object *o = run(argv), *limits = at(o, "limits"), *machine = at(o, "machine");
    static const char *const names[] = { "read_gb_s",   "read_anonymous_gb_s", "read_mapped_gb_s",
                                         "f32_gflop_s", "bf16_gflop_s",        "int8_gop_s" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) is_rate(limits, names[i]);
    assert_true(json_object_get_double(at(limits, "read_gb_s")) > 0);
    assert_null(at(limits, "read_mapped_gb_s")); /* the file would lie in the caches */
    assert_int_equal(whole(machine, "threads"), 2);
    assert_string_equal(json_object_get_string(at(machine, "clock")), "wall");
    assert_true(json_object_is_type(at(machine, "features"), json_type_array));
    assert_true(json_object_is_type(at(machine, "cpu"), json_type_string));
    assert_string_equal(json_object_get_string(at(o, "model")), dir);
    assert_string_equal(json_object_get_string(at(o, "model_type")), "idefics3");
    assert_string_equal(json_object_get_string(at(o, "backend")), "cpu");
    assert_true(json_object_is_type(at(o, "version"), json_type_string));
    is_rate(o, "load_ms");
    assert_true(whole(o, "parameters") > 0);
    assert_int_equal(json_object_array_length(at(o, "vision")), 1);
    assert_true(whole(row(o, "vision", 0), "media_tokens") > 0);
    assert_true(whole(row(o, "vision", 0), "linear_ops") > 0);
    assert_int_equal(whole(row(o, "vision", 0), "kv_bytes"), 0);
    assert_int_equal(json_object_array_length(at(o, "prefill")), 2);
    assert_int_equal(json_object_array_length(at(o, "decode")), 2);
    rows_have_their_keys(o, "vision");
    assert_int_equal(json_object_array_length(at(o, "first_token")), 1);
    int64_t alone = whole(row(o, "vision", 0), "linear_ops");
    assert_true(whole(row(o, "first_token", 0), "linear_ops") > alone);
    assert_true(whole(row(o, "first_token", 0), "prompt_tokens") > whole(row(o, "vision", 0), "media_tokens"));
    rows_have_their_keys(o, "first_token");
    rows_have_their_keys(o, "prefill");
    rows_have_their_keys(o, "decode");
    steps_are_counted(o);
    prompts_are_counted(o);
    json_object *memory = at(o, "memory");
    assert_true(whole(memory, "weights_bytes") > 2 * MATRICES);
    assert_int_equal(whole(memory, "kv_bytes"), 3 * (40 + 5) * LAYERS * KV_HEADS * HEAD_DIM * 2 * 2);
    assert_true(whole(memory, "peak_rss_bytes") > 0);
    json_object_put(o);
}

/* One thread: CPU time. The exact mode has a state of float32. Nothing but prefill where nothing is generated. */
static void one_thread(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "bench", "-m", dir, "--prompt-tokens", "8", "--generate", "0", "--rounds",
                           "1",   "--threads", "1", "--dtype", "f32", "--json", NULL };
    json_object *o = run(argv);
    assert_string_equal(json_object_get_string(at(at(o, "machine"), "clock")), "cpu");
    assert_int_equal(json_object_array_length(at(o, "vision")), 0);
    assert_int_equal(json_object_array_length(at(o, "decode")), 0);
    assert_int_equal(whole(row(o, "prefill", 0), "kv_bytes"), 8 * LAYERS * KV_HEADS * HEAD_DIM * 2 * 4);
    json_object_put(o);
}

/* 8 bits: a byte a value, and for each head of 16 a scale and a bias of two bytes. */
static void state_of_8_bits(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "bench", "-m", dir, "--prompt-tokens", "8", "--kv", "16", "--generate", "1",
                           "--kv-bits", "8", "--rounds", "1", "--threads", "2", "--json", NULL };
    json_object *o = run(argv);
    assert_int_equal(whole(row(o, "prefill", 0), "kv_bytes"), 8 * LAYERS * KV_HEADS * 2 * (HEAD_DIM + 4));
    assert_int_equal(whole(row(o, "decode", 0), "kv_bytes"), 17 * LAYERS * KV_HEADS * 2 * (HEAD_DIM + 4));
    json_object_put(o);
}

/* More threads than there are CPUs. */
static void many_threads(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "bench", "-m", dir, "--prompt-tokens", "8", "--generate", "0",
                           "--rounds", "1", "--threads", "300", "--json", NULL };
    json_object *o = run(argv);
    assert_int_equal(whole(at(o, "machine"), "threads"), 300);
    assert_true(json_object_get_double(at(at(o, "limits"), "read_gb_s")) > 0);
    json_object_put(o);
}

static void table_has_its_rows(void **state) {
    (void)state;
    const char *argv[] = { "vlm",  "bench", "-m",  dir,       "-i",  "tests/data/pictures/square.png",
                           "--prompt-tokens", "8",   "--kv",    "16",  "--batch",
                           "2",    "--generate", "1", "--rounds", "1", NULL };
    tprocess p = run_patiently(argv);
    if (p.status != 0) fail_msg("status %d: %s", p.status, p.err);
    static const char *const lines[] = { "\nlimits: read ", "\nload ",          "\nvision, tokens ",
                                         "\nprefill of 8 ", "\ndecode behind 16, 2 together ", "\nmemory: weights " };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!strstr(p.out, lines[i])) fail_msg("no line '%s' in:\n%s", lines[i] + 1, p.out);
    tprocess_free(&p);
}

static void expect(const char *option, const char *value, int status, const char *word) {
    const char *argv[] = { "vlm", "bench", "-m", dir, option, value, "--rounds", "1", NULL };
    tprocess p = run_patiently(argv);
    if (p.status != status || !strstr(p.err, word) || tprocess_lines(p.err) != 1)
        fail_msg("%s %s: status %d: %s", option, value, p.status, p.err);
    assert_string_equal(p.out, "");
    tprocess_free(&p);
}

static void bad_usage_and_bad_input(void **state) {
    (void)state;
    static const char *const lists[] = { "", "0", "12,", ",12", "-3", "1,2,3,4,5,6,7,8,9", "512 2048", "99999999999" };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        expect("--prompt-tokens", lists[i], 2, "--prompt-tokens");
        expect("--kv", lists[i], 2, "--kv");
        expect("--batch", lists[i], 2, "--batch");
    }
    expect("--batch", "33", 2, "--batch");
    expect("--picture", "12", 2, "--picture");
    expect("--picture", "0x12", 2, "--picture");
    expect("--rounds", "0", 2, "--rounds");
    expect("--rounds", "65", 2, "--rounds");
    expect("--kv-bits", "3", 2, "--kv-bits");
    expect("-i", "tests/no-such-picture", 1, "tests/no-such-picture");
    expect("-m", "tests/no-such-directory", 1, "tests/no-such-directory");
    expect("--prompt-tokens", "16777216", 1, "tokens");
    expect("--kv", "16777216", 1, "tokens");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_the_documented_form),
        cmocka_unit_test(one_thread),
        cmocka_unit_test(state_of_8_bits),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(table_has_its_rows),
        cmocka_unit_test(bad_usage_and_bad_input),
    };
    return cmocka_run_group_tests(tests, make_checkpoint, remove_checkpoint);
}
