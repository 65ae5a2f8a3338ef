/* SPDX-License-Identifier: MIT */
/* The test support itself: generated weights against values that the Python twin gave, SHA-256
 * against its published vectors, checkpoints of every golden directory in every convention, and the
 * golden reader. */
#include "support/checkpoint.h"
#include "support/golden.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define GOLDENS "tests/golden"

static void values_are_pythons(void **state) {
    (void)state;
    static const float linear[] = { -0.05859375f, 0.05859375f, 0.15234375f,
                                    0.07421875f,  0.0078125f,  0.109375f };
    static const float norm[] = { 1.0625f, 0.875f, 1.078125f, 1.0234375f, 0.9765625f };
    float out[1000];
    double sum = 0;
    tcheckpoint_values(out, 1000, "model.text_model.layers.0.mlp.up_proj.weight", 7, 0, -9, 100);
    assert_memory_equal(out, linear, sizeof linear);
    for (int i = 0; i < 1000; i++) sum += out[i];
    assert_true(sum == 3.017578125);
    assert_true(out[999] == 0.185546875f);
    tcheckpoint_values(out, 5, "model.norm.weight", 0x8000000000000003u, 1, -7, 31);
    assert_memory_equal(out, norm, sizeof norm);
}

static void sha256_is_right(void **state) {
    (void)state;
    char out[65], text[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    tgolden_sha256(out, "", 0);
    assert_string_equal(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    tgolden_sha256(out, "abc", 3);
    assert_string_equal(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    tgolden_sha256(out, text, strlen(text));
    assert_string_equal(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static long file_size(const char *dir, const char *name) {
    struct stat info;
    char *path = tcheckpoint_path(dir, name);
    long size = stat(path, &info) == 0 ? (long)info.st_size : -1;
    free(path);
    return size;
}

static void check_checkpoint(const char *golden, tcheckpoint_options options) {
    char *dir = tcheckpoint_temp_dir();
    assert_non_null(dir);
    assert_true(tcheckpoint_write(golden, dir, &options));
    assert_true(file_size(dir, "config.json") > 0);
    assert_true(file_size(dir, "tokenizer.json") == file_size(golden, "tokenizer.json"));
    assert_true(file_size(dir, "weights.json") < 0);
    if (options.shards > 1) {
        assert_true(file_size(dir, "model.safetensors.index.json") > 0);
        assert_true(file_size(dir, "model-00001-of-00003.safetensors") > 0);
        assert_true(file_size(dir, "model-00003-of-00003.safetensors") > 0);
    } else {
        assert_true(file_size(dir, "model.safetensors") > 10000);
    }
    tcheckpoint_remove(dir);
    assert_true(file_size(dir, "") < 0);
    free(dir);
}

static void check_golden(const char *dir) {
    tgolden *golden = tgolden_open(dir);
    assert_non_null(golden);
    assert_true(tgolden_case_count(golden) > 3);
    for (size_t i = 0; i < tgolden_case_count(golden); i++) {
        const tgolden_case *c = tgolden_case_at(golden, i);
        size_t count = 0;
        assert_ptr_equal(tgolden_case_named(golden, c->name), c);
        assert_non_null(tgolden_i64(golden, c, "greedy.tokens", &count));
        assert_int_equal(count, 32);
        assert_non_null(tgolden_f32(golden, c, "logits", NULL));
        assert_null(tgolden_f32(golden, c, "greedy.tokens", NULL));
        assert_null(tgolden_find(golden, c, "nothing"));
        for (size_t k = 0; k < c->output_count; k++) {
            const tgolden_tensor *t = tgolden_find(golden, c, c->outputs[k].name);
            char hash[65];
            assert_true((t != NULL) == c->outputs[k].stored);
            if (!t) continue;
            tgolden_sha256(hash, t->data, t->count * (t->dtype == TGOLDEN_I64 ? 8 : 4));
            assert_string_equal(hash, c->outputs[k].sha256);
        }
    }
    tgolden_close(golden);
}

static void every_golden_directory(void **state) {
    (void)state;
    DIR *dir = opendir(GOLDENS);
    int seen = 0;
    assert_non_null(dir);
    for (struct dirent *item; (item = readdir(dir));) {
        if (strchr(item->d_name, '.')) continue; /* . and .. and files */
        char *golden = tcheckpoint_path(GOLDENS, item->d_name);
        check_golden(golden);
        for (int names = TCHECKPOINT_HF; names <= TCHECKPOINT_MLX; names++)
            check_checkpoint(golden, (tcheckpoint_options){ (tcheckpoint_names)names,
                                                            (tcheckpoint_dtype)(names % 3),
                                                            names % 2 ? 3 : 1 });
        free(golden);
        seen++;
    }
    closedir(dir);
    assert_true(seen >= 3);
}

static void missing_directories_are_refused(void **state) {
    (void)state;
    assert_null(tgolden_open("tests/golden/no-such"));
    assert_false(tcheckpoint_write("tests/golden/no-such", "/tmp", NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_pythons),
        cmocka_unit_test(sha256_is_right),
        cmocka_unit_test(every_golden_directory),
        cmocka_unit_test(missing_directories_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
