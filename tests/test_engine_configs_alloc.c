/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of reading configs, from memory and from a directory: an error
 * that says so, nothing handed out, nothing leaked (the address sanitizer watches), and never a file
 * that may be of no use passed over for lack of memory. */
#include "support/alloc.h"
#include "support/dir.h"
#include "vlm/vlm.h"

static vlm_error err;
static int lines;

static void count_line(void *user, vlm_log_level level, const char *line) {
    (void)user;
    (void)level;
    (void)line;
    lines++;
}

/* Runs act with its first, second, ... allocation failing, until it has no more of them. */
static void sweep(vlm_status (*act)(const vlm_load_options *o)) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.log = count_line;
    for (long k = 1; k < 10000; k++) {
        err = (vlm_error)VLM_ERROR_INIT;
        lines = 0;
        talloc_start(k);
        vlm_status status = act(&o);
        if (talloc_stop() < k) {
            if (status < 0) fail_msg("%s", err.message);
            assert_true(k > 5);
            return;
        }
        if (status != VLM_ERR_MEMORY || err.code != status) fail_msg("%ld: %d: %s", k, status, err.message);
        assert_int_equal(lines, 0);
    }
    fail_msg("too many allocations");
}

#define BASE                                                                                       \
    "{\"model_type\": \"x\", \"eos_token_id\": [1, 2, 3], \"text_config\": {\"eos_token_id\": 4}," \
    " \"quantization\": {\"group_size\": 64, \"bits\": 4, \"a\": false}}"
#define PLAIN "{\"model_type\": \"x\", \"text_config\": {\"eos_token_id\": [4, 5]}}"
#define GENERATION "{\"eos_token_id\": [5, 6]}"

static vlm_status take(vlm_status status, vlm_base_config *c) {
    assert_int_equal(status < 0, c == NULL);
    vlm_base_config_free(c);
    return status;
}

static vlm_status parse_base(const vlm_load_options *o) {
    const vlm_config_text texts[] = { { "config.json", BASE, sizeof BASE - 1 },
                                      { "generation_config.json", GENERATION, sizeof GENERATION - 1 } };
    vlm_base_config *c;
    vlm_status status = vlm_base_config_parse(&c, texts, 2, o, &err);
    return take(status, c);
}

static vlm_status load_base(const vlm_load_options *o) {
    vlm_base_config *c;
    vlm_status status = vlm_base_config_load(&c, tdir, o, &err);
    return take(status, c);
}

static vlm_status take_processor(vlm_status status, vlm_processor_config *c) {
    assert_int_equal(status < 0, c == NULL);
    vlm_processor_config_free(c);
    return status;
}

static vlm_status parse_processor(const vlm_load_options *o) {
    static const char empty[] = "{\"image_processor\": {\"a\": 1}}", named[] = "{\"processor_class\": \"T\"}";
    const vlm_config_text texts[] = { { "preprocessor_config.json", empty, sizeof empty - 1 },
                                      { "processor_config.json", empty, sizeof empty - 1 },
                                      { "video_preprocessor_config.json", empty, sizeof empty - 1 },
                                      { "tokenizer_config.json", named, sizeof named - 1 } };
    vlm_processor_config *c;
    vlm_status status = vlm_processor_config_parse(&c, texts, 4, NULL, o, &err);
    return take_processor(status, c);
}

static vlm_status load_processor(const vlm_load_options *o) {
    vlm_processor_config *c;
    vlm_status status = vlm_processor_config_load(&c, tdir, "D", o, &err);
    return take_processor(status, c);
}

static void base_configs(void **state) {
    (void)state;
    sweep(parse_base);
    tdir_put("config.json", BASE);
    tdir_put("generation_config.json", GENERATION);
    sweep(load_base);
    tdir_put("config.json", PLAIN);
    static const char modelopt[] = "{\"quantization\": {\"quant_algo\": \"NVFP4\", \"group_size\": 16}}";
    tdir_put("hf_quant_config.json", modelopt);
    sweep(load_base);
}

static void processor_configs(void **state) {
    (void)state;
    sweep(parse_processor);
    static const char named[] = "{\"processor_class\": \"P\"}", body[] = "{\"x\": [1, 2, 3]}";
    tdir_put("preprocessor_config.json", named);
    tdir_put("processor_config.json", body);
    tdir_put("video_preprocessor_config.json", body);
    sweep(load_processor);
    tdir_put("preprocessor_config.json", body);
    sweep(load_processor); /* the default */
    tdir_put("tokenizer_config.json", named);
    sweep(load_processor);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TDIR_TEST(base_configs, NULL),
        TDIR_TEST(processor_configs, NULL),
    };
    return cmocka_run_group_tests_name("configs without memory", tests, NULL, NULL);
}
