/* SPDX-License-Identifier: MIT */
/* Configs of published checkpoints through `vlm inspect`: what they describe is what was published (parameters
 * as the model cards count them), and what this build has no model for is refused by name. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/edit.h"
#include "support/process.h"

typedef struct {
    const char *dir;     /* of config.json */
    const char *others;  /* of processor files to take with it; NULL: dir's */
    const char *refused; /* what the line says; NULL: it is described */
    const char *model_type, *processor_class;
    int64_t parameters, layers, vocab_size;
    int64_t eos[3]; /* ended by 0 */
} published;

static const published table[] = {
    { "tools/configs/smolvlm-256m", NULL, NULL, "idefics3", "Idefics3Processor", 256484928, 30, 49280, { 49279 } },
    { "tools/configs/smolvlm-2.2b", NULL, NULL, "idefics3", "Idefics3Processor", 2246272880, 24, 49155, { 49154 } },
    { "tools/configs/paligemma-3b-224", NULL, NULL, "paligemma", "PaliGemmaProcessor", 2923466480, 18, 257216, { 1 } },
    { "tools/configs/qwen2.5-vl-3b", NULL, NULL, "qwen2_5_vl", "Qwen2_5_VLProcessor", 3754622976, 36, 151936,
      { 151645, 151643 } },
    { "tools/configs/llava-1.5-7b", NULL, NULL, "llava", "LlavaProcessor", 7063427072, 32, 32064, { 2 } },
    { "tools/configs/llava-v1.6-mistral-7b", NULL, NULL, "llava_next", "LlavaNextProcessor", 7566747648, 32, 32064, { 2 } },
    { "tools/configs/nanollava", NULL, NULL, "llava-qwen2", "BunnyProcessor", 879205232, 24, 151936, { 151645 } },
    { "tools/configs/fastvlm-0.5b", NULL, NULL, "llava_qwen2", "FastVLMProcessor", 756474464, 24, 151936, { 151645 } },
    { "tests/data/configs/minicpm3-4b", NULL, "/config.json: model_type: 'minicpm3'", NULL, NULL, 0, 0, 0, { 0 } },
    { "tests/data/configs/ollama-phi3", NULL, "/config.json: model_type: 'phi3'", NULL, NULL, 0, 0, 0, { 0 } },
    { "tests/data/configs/ollama-llama3.1", NULL, "/config.json: model_type: is missing", NULL, NULL, 0, 0, 0, { 0 } },
    { "tools/configs/smolvlm-256m", "tests/data/configs/phi-3.5-vision",
      "/preprocessor_config.json: processor_class: 'Phi3VProcessor'", NULL, NULL, 0, 0, 0, { 0 } },
};

static void copy(const char *from, const char *to, const char *name) {
    char *path = tcheckpoint_path(from, name);
    size_t n;
    if (access(path, F_OK) == 0) {
        char *bytes = tedit_read(from, name, &n);
        assert_true(tedit_write(to, name, bytes, n));
        free(bytes);
    }
    free(path);
}

static int64_t integer(json_object *of, const char *key) {
    return json_object_get_int64(json_object_object_get(of, key));
}

static const char *string(json_object *of, const char *key) {
    return json_object_get_string(json_object_object_get(of, key));
}

static void check_described(const published *p, const char *text) {
    json_object *said = json_tokener_parse(text), *eos = json_object_object_get(said, "eos");
    assert_non_null(said);
    assert_string_equal(string(said, "model_type"), p->model_type);
    assert_string_equal(string(said, "processor_class"), p->processor_class);
    assert_string_equal(string(said, "parameters_from"), "config.json");
    assert_int_equal(integer(said, "parameters"), p->parameters);
    assert_int_equal(integer(said, "layers"), p->layers);
    assert_int_equal(integer(said, "vocab_size"), p->vocab_size);
    size_t n = 0;
    for (; p->eos[n]; n++) assert_int_equal(integer(json_object_array_get_idx(eos, n), "id"), p->eos[n]);
    assert_int_equal(json_object_array_length(eos), n);
    json_object_put(said);
}

static void is_inspected(void **state) {
    static const char *const processor_files[] = { "preprocessor_config.json", "processor_config.json" };
    const published *p = *state;
    char *dir = tcheckpoint_temp_dir();
    assert_non_null(dir);
    copy(p->dir, dir, "config.json");
    copy(p->dir, dir, "generation_config.json");
    for (size_t i = 0; i < 2; i++) copy(p->others ? p->others : p->dir, dir, processor_files[i]);
    const char *argv[] = { "vlm", "inspect", "-m", dir, "--json", NULL };
    tprocess run = tprocess_run(argv, NULL);
    if (run.status != (p->refused != NULL)) fail_msg("%s: status %d: %s", p->dir, run.status, run.err);
    if (!p->refused)
        check_described(p, run.out);
    else if (tprocess_lines(run.err) != 1 || !strstr(run.err, p->refused))
        fail_msg("%s: says: %s", p->dir, run.err);
    tprocess_free(&run);
    tcheckpoint_remove(dir);
    free(dir);
}

int main(void) {
    enum { N = sizeof table / sizeof *table };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest) { table[i].dir, is_inspected, NULL, NULL, (void *)&table[i] };
    return _cmocka_run_group_tests("published configs", tests, N, NULL, NULL);
}
