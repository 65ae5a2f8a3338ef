/* SPDX-License-Identifier: MIT */
/* vlm inspect and vlm list: what they print, over the checkpoints of the goldens. */
#include <stdio.h>

#include "cli_check.h"
#include "support/checkpoint.h"

#define GOLDEN "tests/golden/idefics3-split"
#define PICTURE "tests/data/pictures/landscape.jpg"

static char *dir; /* a good checkpoint, shared by the tests */

static int make_checkpoint(void **state) {
    (void)state;
    dir = tcheckpoint_temp_dir();
    return dir && tcheckpoint_write(GOLDEN, dir, NULL) ? 0 : -1;
}

static int remove_checkpoint(void **state) {
    (void)state;
    tcheckpoint_remove(dir);
    free(dir);
    return 0;
}

static void inspect_describes_and_predicts(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "inspect", "-m", dir, "-i", PICTURE, "-p", "Describe the picture.", "--max-tokens", "32", "--json", NULL };
    json_object *o = run_json(argv);
    assert_string_equal(json_object_get_string(at(o, "model_type")), "idefics3");
    assert_string_equal(json_object_get_string(at(o, "processor_class")), "Idefics3Processor");
    assert_true(json_object_get_boolean(at(o, "has_weights")));
    assert_int_equal(json_object_array_length(at(o, "missing")), 0);
    assert_int_equal(json_object_array_length(at(o, "unused")), 0);
    assert_true(json_object_get_int64(at(o, "parameters")) > 10000);
    assert_int_equal(json_object_get_int64(at(o, "prompt_tokens")), 99);
    assert_true(json_object_get_int64(at(o, "peak_bytes")) > json_object_get_int64(at(o, "weight_bytes")));
    assert_true(json_object_array_length(at(o, "eos")) > 0);
    json_object *first = json_object_array_get_idx(at(o, "eos"), 0);
    assert_true(strlen(json_object_get_string(at(first, "source"))) > 0);
    json_object_put(o);
}

static void inspect_needs_no_weights(void **state) {
    (void)state;
    char *bare = tcheckpoint_temp_dir(), *weights;
    assert_true(tcheckpoint_write(GOLDEN, bare, NULL));
    weights = tcheckpoint_path(bare, "model.safetensors");
    assert_int_equal(remove(weights), 0);
    const char *argv[] = { "vlm", "inspect", "-m", bare, "--json", NULL };
    json_object *o = run_json(argv);
    assert_false(json_object_get_boolean(at(o, "has_weights")));
    json_object_put(o);
    free(weights);
    tcheckpoint_remove(bare);
    free(bare);
}

/* The command adds what its process holds beside the library's prediction. How close that is, tools/check_memory.py
 * says (within 15 %); here it must be of the right size, whatever the machine does with pages. */
static void inspect_predicts_what_generate_takes(void **state) {
    (void)state;
    const char *predict[] = { "vlm", "inspect", "-m", "models/smolscene", "-i", PICTURE, "-p", "What is this?", "--max-tokens", "8",
                              "--threads", "2", "--json", NULL };
    const char *take[] = { "vlm", "generate", "-m", "models/smolscene", "-i", PICTURE, "-p", "What is this?", "--max-tokens", "8",
                           "--threads", "2", "--json", NULL };
    json_object *said = run_json(predict), *seen = run_json(take);
    int64_t peak = json_object_get_int64(at(said, "peak_bytes")), sum = 0;
    json_object_object_foreach(at(said, "memory"), key, value) {
        (void)key;
        sum += json_object_get_int64(value);
    }
    int64_t before = json_object_get_int64(at(said, "preparing_bytes"));
    assert_int_equal(peak, sum > before ? sum : before);
    assert_true(json_object_get_int64(at(at(said, "memory"), "program_bytes")) > 1000000);
    int64_t measured = json_object_get_int64(at(at(seen, "memory"), "peak_rss_bytes"));
    if (tprocess_can_limit()) { /* a sanitizer's shadow is not in the prediction */
        assert_in_range(peak, (uint64_t)measured * 2 / 3, (uint64_t)measured * 3 / 2);
    }
    json_object_put(said);
    json_object_put(seen);
}

/* A directory with nothing but a config: what there is is said, and an unknown type is refused by name. */
static void inspect_of_a_config_alone(void **state) {
    (void)state;
    char *bare = tcheckpoint_temp_dir(), *config = tcheckpoint_path(bare, "config.json");
    FILE *f = fopen(config, "w");
    assert_non_null(f);
    fputs("{\"model_type\": \"paligemma\", \"eos_token_id\": 151645}", f);
    fclose(f);
    const char *argv[] = { "vlm", "inspect", "-m", bare, NULL };
    char *out = run(argv);
    static const char *const says[] = { "maps to           paligemma\n", "processor class   none\n", "has weights       no\n",
                                        "has tokenizer     no\n", "parameters from   config.json\n",
                                        "\n  151645  none  from config.json\n" };
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++)
        if (!strstr(out, says[i])) fail_msg("'%s' is not in: %s", says[i], out);
    assert_null(strstr(out, "missing"));
    free(out);
    f = fopen(config, "w");
    assert_non_null(f);
    fputs("{\"model_type\": \"idefics33\"}", f);
    fclose(f);
    tprocess p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 1);
    assert_int_equal(tprocess_lines(p.err), 1);
    assert_non_null(strstr(p.err, "'idefics33'"));
    assert_non_null(strstr(p.err, "idefics3"));
    tprocess_free(&p);
    free(config);
    tcheckpoint_remove(bare);
    free(bare);
}

/* Text shows the first few of a long list and how many there are. */
static void inspect_shortens_lists(void **state) {
    (void)state;
    char *other = tcheckpoint_temp_dir();
    const tcheckpoint_options options = { .shards = 3 };
    assert_true(tcheckpoint_write(GOLDEN, other, &options));
    char *shard = tcheckpoint_path(other, "model-00002-of-00003.safetensors");
    assert_int_equal(remove(shard), 0);
    const char *readable[] = { "vlm", "inspect", "-m", other, NULL }, *json[] = { "vlm", "inspect", "-m", other, "--json", NULL };
    char *out = run(readable);
    json_object *o = run_json(json);
    char more[64];
    snprintf(more, sizeof more, "\n  and %zu more\n", json_object_array_length(at(o, "missing")) - 10);
    if (!strstr(out, more) || !strstr(out, shard)) fail_msg("'%s' or '%s' is not in: %s", more, shard, out);
    json_object_put(o);
    free(out);
    free(shard);
    tcheckpoint_remove(other);
    free(other);
}

static void inspect_reads_well(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "inspect", "-m", dir, NULL };
    char *out = run(argv);
    static const char *const says[] = { "model type        idefics3\n", "parameters        273,744\n", "weight            1.1 MB\n",
                                        "\n  model.vision_model             F32 360.0 KB\n",
                                        "\n  521  <end_of_utterance>  from generation_config.json\n" };
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++)
        if (!strstr(out, says[i])) fail_msg("'%s' is not in: %s", says[i], out);
    free(out);
}

static void list_names_the_registries(void **state) {
    (void)state;
    static const char *const want[][4] = {
        { "models", "idefics3", "paligemma", "qwen2_5_vl" },
        { "processors", "SmolVLMProcessor", "PaliGemmaProcessor", "Qwen2_5_VLProcessor" },
        { "checkpoints", "SmolVLM-256M-Instruct", "paligemma-3b-mix-448", "Qwen2.5-VL-3B-Instruct" },
    };
    for (size_t i = 0; i < 3; i++) {
        const char *plain[] = { "vlm", "list", want[i][0], NULL };
        const char *json[] = { "vlm", "list", want[i][0], "--json", NULL };
        char *out = run(plain);
        for (size_t k = 1; k < 4; k++)
            if (!strstr(out, want[i][k])) fail_msg("%s: %s is not listed", want[i][0], want[i][k]);
        free(out);
        json_object *o = run_json(json);
        assert_true(json_object_array_length(o) >= 1);
        json_object_put(o);
    }
}

/* The object of a list whose key has this value. */
static json_object *entry(json_object *list, const char *key, const char *value) {
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *o = json_object_array_get_idx(list, i);
        if (!strcmp(json_object_get_string(at(o, key)), value)) return o;
    }
    fail_msg("%s '%s' is not listed", key, value);
    return NULL;
}

static const char *text_at(json_object *list, size_t i) {
    return json_object_get_string(json_object_array_get_idx(list, i));
}

static void list_tells_all_of_an_entry(void **state) {
    (void)state;
    json_object *o = run_json((const char *[]) { "vlm", "list", "models", "--json", NULL });
    json_object *aliases = at(entry(o, "model_type", "idefics3"), "aliases");
    assert_int_equal(json_object_array_length(aliases), 1);
    assert_string_equal(text_at(aliases, 0), "smolvlm");
    assert_int_equal(json_object_array_length(at(entry(o, "model_type", "paligemma"), "aliases")), 0);
    json_object_put(o);
    o = run_json((const char *[]) { "vlm", "list", "checkpoints", "--json", NULL });
    json_object *muse = entry(o, "id", "mlx-community/Muse-Glimmer-30B-4bit");
    assert_string_equal(json_object_get_string(at(muse, "model_type")), "muse_glimmer");
    assert_string_equal(json_object_get_string(at(muse, "default_prompt")), "Describe the image in English");
    assert_int_equal(json_object_array_length(at(muse, "extra_eos")), 2);
    assert_string_equal(text_at(at(muse, "extra_eos"), 0), "<|eot|>");
    assert_null(at(muse, "revision"));
    assert_null(at(muse, "tokenizer_source"));
    assert_null(at(entry(o, "id", "mlx-community/LFM2-VL-1.6B-4bit"), "default_prompt"));
    json_object_put(o);
    char *plain = run((const char *[]) { "vlm", "list", "models", NULL });
    assert_non_null(strstr(plain, "idefics3 (smolvlm)\npaligemma\n"));
    free(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inspect_describes_and_predicts),
        cmocka_unit_test(inspect_needs_no_weights),
        cmocka_unit_test(inspect_predicts_what_generate_takes),
        cmocka_unit_test(inspect_of_a_config_alone),
        cmocka_unit_test(inspect_shortens_lists),
        cmocka_unit_test(inspect_reads_well),
        cmocka_unit_test(list_names_the_registries),
        cmocka_unit_test(list_tells_all_of_an_entry),
    };
    return cmocka_run_group_tests_name("inspect", tests, make_checkpoint, remove_checkpoint);
}
