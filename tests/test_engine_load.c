/* SPDX-License-Identifier: MIT */
/* The rules of the load factory: which file names the processor class, what overrides it, both layouts of the
 * processor's files, which end tokens count and who said so, surplus tensors, a tokenizer from elsewhere. Every
 * test starts from a good checkpoint and changes one thing. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/dir.h"

#define GOLDEN "tests/golden/idefics3-whole"
#define CLASS "\"processor_class\": \"Idefics3Processor\""

static vlm_error err;

static vlm_context *load_with(const vlm_load_options *options) {
    vlm_context *c;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    if (options) o = *options;
    o.threads = 1;
    if (vlm_context_load(&c, tdir, &o, &err) < 0) fail_msg("%s", err.message);
    return c;
}

static void refused(vlm_status status, const char *says, const vlm_load_options *options) {
    vlm_context *c = (void *)1;
    err = (vlm_error) VLM_ERROR_INIT;
    vlm_status got = vlm_context_load(&c, tdir, options, &err);
    if (got != status || !strstr(err.message, says))
        fail_msg("wanted %s naming '%s', got %s: %s", vlm_status_name(status), says, vlm_status_name(got), err.message);
    assert_null(c);
}

/* ---- the processor class -------------------------------------------------------------------------------- */

static void names_class(const char *name, const char *file) {
    vlm_context *c = load_with(NULL);
    assert_string_equal(vlm_context_get_info(c)->processor_class, name);
    assert_string_equal(vlm_context_get_info(c)->processor_file, file);
    vlm_context_free(c);
}

static void the_preprocessors_file_is_asked_first(void **state) {
    (void)state;
    EDIT(REPLACE("processor_config.json", "Idefics3Processor", "NoSuchProcessor"));
    names_class("Idefics3Processor", "preprocessor_config.json");
}

static void the_other_file_names_what_the_first_leaves_open(void **state) {
    (void)state;
    EDIT(REPLACE("preprocessor_config.json", CLASS, "\"processor_class\": null"));
    names_class("Idefics3Processor", "processor_config.json");
    EDIT(REPLACE("processor_config.json", CLASS, "\"x\": 0"));
    names_class("Idefics3Processor", "default");
}

static void a_class_must_be_a_string_that_is_known(void **state) {
    (void)state;
    EDIT(REPLACE("preprocessor_config.json", CLASS, "\"processor_class\": 3"));
    refused(VLM_ERR_CONFIG, "preprocessor_config.json: processor_class", NULL);
    EDIT(REPLACE("preprocessor_config.json", "\"processor_class\": 3", "\"processor_class\": \"Idefics2Processor\""));
    refused(VLM_ERR_UNKNOWN_PROCESSOR, "Idefics3Processor", NULL);
}

/* transformers 5 writes one file, the image processor nested in it. */
static void one_nested_file_is_enough(void **state) {
    (void)state;
    size_t n;
    char *old = tedit_read(tdir, "preprocessor_config.json", &n), *nested = malloc(n + 200);
    sprintf(nested, "{ \"image_processor\": %s, \"image_seq_len\": 1, " CLASS " }", old);
    tdir_put("preprocessor_config.json", NULL);
    tdir_put("processor_config.json", nested);
    names_class("Idefics3Processor", "processor_config.json");
    EDIT(REPLACE("processor_config.json", "\"resample\": 1", "\"resample\": 99")); /* it is read from there */
    refused(VLM_ERR_CONFIG, "resample", NULL);
    free(nested);
    free(old);
}

static void without_processor_files_nothing_is_loaded(void **state) {
    (void)state;
    tdir_put("preprocessor_config.json", NULL);
    tdir_put("processor_config.json", NULL);
    refused(VLM_ERR_NOT_FOUND, "preprocessor_config.json", NULL);
}

/* A model type may know better than its files; an alias gets there, too. */
static void a_model_type_overrides_the_class(void **state) {
    (void)state;
    vlm_model_type other = *vlm_model_registry_find(vlm_model_registry_default(), "idefics3");
    other.model_type = "idefics_of_others";
    other.aliases = "idefics-of-others|idefics3_of_others";
    other.processor_class = "SmolVLMProcessor";
    vlm_model_registry *registry;
    assert_int_equal(vlm_model_registry_with(&registry, vlm_model_registry_default(),
                                             (const vlm_model_type *const[]) { &other }, 1, &err), VLM_OK);
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.models = registry;
    EDIT(REPLACE("config.json", "\"idefics3\"", "\"idefics3_of_others\""));
    vlm_context *c = load_with(&o);
    assert_string_equal(vlm_context_get_info(c)->model_type, "idefics_of_others");
    assert_string_equal(vlm_context_get_info(c)->processor_class, "SmolVLMProcessor");
    assert_string_equal(vlm_context_get_info(c)->processor_file, "preprocessor_config.json");
    vlm_context_free(c);
    refused(VLM_ERR_UNKNOWN_MODEL_TYPE, "idefics3_of_others", NULL); /* the built-in registry is as it was */
    vlm_model_registry_free(registry);
}

/* ---- end tokens --------------------------------------------------------------------------------------------- */

typedef struct eos_rule {
    const char *name;
    const char *top;         /* of config.json; NULL: no key */
    const char *text, *llm;  /* of text_config and llm_config; NULL: no key */
    const char *generation;  /* of generation_config.json; NULL: no key */
    size_t n;
    uint32_t want[3];
    const char *source;
} eos_rule;

static const eos_rule rules[] = {
    { "an id", "7", "8", NULL, NULL, 1, { 7 }, "config.json" },
    { "a list", "[7, 9, 7]", NULL, NULL, NULL, 2, { 7, 9 }, "config.json" },
    { "zero stands", "0", "8", NULL, NULL, 1, { 0 }, "config.json" },
    { "an empty list stands", "[]", "8", NULL, NULL, 0, { 0 }, NULL },
    { "null is absent", "null", "8", NULL, NULL, 1, { 8 }, "config.json: text_config" },
    { "nested", NULL, "[8, 0]", "9", NULL, 2, { 8, 0 }, "config.json: text_config" },
    { "nested, the other spelling", NULL, NULL, "9", NULL, 1, { 9 }, "config.json: llm_config" },
    { "the first that has the key", NULL, "0", "9", NULL, 1, { 3 }, "tokenizer" },
    { "nested values of no use", NULL, "\"x\"", NULL, NULL, 1, { 3 }, "tokenizer" },
    { "nobody says", NULL, NULL, NULL, NULL, 1, { 3 }, "tokenizer" },
    { "generation overrides", "7", "8", NULL, "[5, 6]", 2, { 5, 6 }, "generation_config.json" },
    { "generation overrides what is absent", NULL, NULL, NULL, "5", 1, { 5 }, "generation_config.json" },
    { "generation of zero does not", "7", NULL, NULL, "0", 1, { 7 }, "config.json" },
    { "generation of [] does not", "7", NULL, NULL, "[]", 1, { 7 }, "config.json" },
    { "generation of null does not", NULL, "8", NULL, "null", 1, { 8 }, "config.json: text_config" },
    { "generation of a string does not", "7", NULL, NULL, "\"5\"", 1, { 7 }, "config.json" },
    { "items that are no ids are dropped", "7", NULL, NULL, "[5, \"x\", -1, 6]", 2, { 5, 6 }, "generation_config.json" },
};

static void end_tokens_by_rule(void **state) {
    (void)state;
    static const char tokenizer_json[] =
        "{\"added_tokens\": [{\"id\": 3, \"content\": \"</s>\", \"special\": true}],"
        " \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"</s>\": 3}, \"merges\": []}}";
    tdir_put("tokenizer_config.json", NULL);
    tdir_put("tokenizer.json", tokenizer_json);
    tdir_put("tokenizer_config.json", "{\"eos_token\": \"</s>\"}");
    vlm_tokenizer *tokenizer;
    if (vlm_tokenizer_load(&tokenizer, tdir, NULL, &err) < 0) fail_msg("%s", err.message);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const eos_rule *r = &rules[i];
        char text[400], more[100] = "{}";
        snprintf(text, sizeof text, "{\"model_type\": \"x\", %s%s%s \"text_config\": {%s%s}, \"llm_config\": {%s%s}}",
                 r->top ? "\"eos_token_id\": " : "", r->top ? r->top : "", r->top ? "," : "",
                 r->text ? "\"eos_token_id\": " : "", r->text ? r->text : "", r->llm ? "\"eos_token_id\": " : "",
                 r->llm ? r->llm : "");
        if (r->generation) snprintf(more, sizeof more, "{\"eos_token_id\": %s}", r->generation);
        const vlm_config_text texts[] = { { "config.json", text, strlen(text) },
                                          { "generation_config.json", more, strlen(more) } };
        vlm_base_config *base;
        if (vlm_base_config_parse(&base, texts, 2, NULL, &err) < 0)
            fail_msg("%s: %s", r->name, err.message);
        vengine_eos eos;
        assert_int_equal(vengine_eos_start(&eos, vlm_base_config_eos(base), tokenizer, 10, &err), VLM_OK);
        if (eos.n != r->n) fail_msg("%s: %zu end tokens", r->name, eos.n);
        for (size_t k = 0; k < r->n; k++) {
            if (eos.id[k] != r->want[k]) fail_msg("%s: id %u", r->name, eos.id[k]);
            assert_string_equal(eos.source[k], r->source);
        }
        vengine_eos_free(&eos);
        vlm_base_config_free(base);
    }
    vlm_tokenizer_free(tokenizer);
}

/* The tokenizer's, the processor's and the caller's end tokens in a context; a broken generation_config.json is
 * passed over. */
static void count_warnings(void *user, vlm_log_level level, const char *line) {
    (void)line;
    *(int *)user += level == VLM_LOG_WARNING;
}

static void end_tokens_of_a_context(void **state) {
    (void)state;
    int warnings = 0;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.extra_eos = (const char *const[]) { "<|im_start|>", "no such token", "<|im_end|>" };
    o.n_extra_eos = 3;
    o.log = count_warnings;
    o.log_user = &warnings;
    tdir_put("generation_config.json", "{");
    vlm_context *c = load_with(&o);
    assert_int_equal(warnings, 1);
    assert_int_equal(c->eos.n, 3);
    assert_int_equal(c->eos.id[0], 481);
    assert_int_equal(vlm_context_get_info(c)->n_eos, c->eos.n);
    assert_string_equal(vlm_context_get_info(c)->eos_sources[0], "config.json: text_config");
    for (size_t i = 1; i < 3; i++) assert_string_equal(c->eos.source[i], "caller");
    vlm_context_free(c);
    EDIT(REPLACE("config.json", "{", "{\"eos_token_id\": true,"));
    refused(VLM_ERR_CONFIG, "eos_token_id", NULL);
    EDIT(REPLACE("config.json", "true", "[1, 2.5]"));
    refused(VLM_ERR_CONFIG, "eos_token_id[1]", NULL);
}

/* Added though the files name another one. */
static void the_processor_s_own_end_token(void **state) {
    (void)state;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    tdir_put("generation_config.json", "{}");
    EDIT(REPLACE("config.json", "\"eos_token_id\": 481", "\"eos_token_id\": 476"));
    vlm_context *c = load_with(&o);
    assert_int_equal(c->eos.n, 2);
    assert_int_equal(c->eos.id[0], 476);
    assert_int_equal(c->eos.id[1], 481);
    assert_string_equal(c->eos.source[1], "processor");
    vlm_context_free(c);
}

/* ---- processors of a caller -------------------------------------------------------------------------------------- */
static vlm_status make_plain(void **processor, const vlm_processor_build *build, vlm_error *error) {
    (void)error;
    *processor = vlm_processor_alloc(build, 1, 1);
    return *processor ? VLM_OK : VLM_ERR_MEMORY;
}

/* A row that has no more than it must: text goes through, media are refused. */
static void a_processor_that_takes_no_media(void **state) {
    (void)state;
    const vlm_processor_type row = { .processor_class = "Idefics3Processor", .create = make_plain }, *rows[] = { &row };
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    vlm_processor_registry *processors;
    vlm_input *input;
    vlm_prepared *prepared;
    assert_int_equal(vlm_processor_registry_with(&processors, NULL, rows, 1, &err), VLM_OK);
    o.processors = processors;
    vlm_context *c = load_with(&o);
    assert_int_equal(vlm_input_new(&input, &err), VLM_OK);
    assert_int_equal(vlm_input_add_message(input, "user", "x", &err), VLM_OK);
    if (vlm_prepare(&prepared, c, input, &err) < 0) fail_msg("%s", err.message);
    vlm_prepared_free(prepared);
    assert_int_equal(vlm_input_add_image_file(input, "examples/night.png", &err), VLM_OK);
    assert_int_equal(vlm_prepare(&prepared, c, input, &err), VLM_ERR_PROCESSING);
    assert_non_null(strstr(err.message, "takes no images"));
    vlm_input_free(input);
    vlm_context_free(c);
    vlm_processor_registry_free(processors);
}

/* ---- weights and tokenizer --------------------------------------------------------------------------------------- */

/* A second file, listed in an index, that holds a tensor no part of the model names. */
static void a_surplus_tensor(void **state) {
    (void)state;
    const float zeros[4] = { 0 };
    char *path = tdir_path("surplus.safetensors"), *weights = tdir_path("model.safetensors");
    const vio_out_tensor tensor = { .name = "model.adapter.weight", .dtype = VIO_F32, .rank = 1, .shape = { 4 },
                                    .data = zeros };
    assert_int_equal(vio_safetensors_write(path, &tensor, 1, NULL, &err), VLM_OK);
    vio_tensors *file;
    assert_int_equal(vio_tensors_open_file(&file, weights, NULL, &err), VLM_OK);
    vcore_buf index = { 0 };
    vcore_buf_puts(&index, "{\"weight_map\": {\"model.adapter.weight\": \"surplus.safetensors\"");
    for (size_t i = 0; i < vio_tensors_count(file); i++)
        vcore_buf_printf(&index, ", \"%s\": \"model-1.safetensors\"", vio_tensors_at(file, i)->name);
    vcore_buf_puts(&index, "}}");
    vio_tensors_close(file);
    char *renamed = tdir_path("model-1.safetensors");
    assert_int_equal(rename(weights, renamed), 0);
    tdir_put("model.safetensors.index.json", index.p);
    refused(VLM_ERR_WEIGHTS, "surplus.safetensors: 1 tensor is not named by any part of the model: 'model.adapter.weight'", NULL);
    int warnings = 0;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.lenient = true;
    o.log = count_warnings;
    o.log_user = &warnings;
    vlm_context_free(load_with(&o));
    assert_int_equal(warnings, 1);
    char *json;
    assert_int_equal(vlm_inspect(&json, tdir, NULL, NULL, NULL, &err), VLM_OK);
    assert_non_null(strstr(json, "\"unused\": [\"model.adapter.weight\"]"));
    assert_non_null(strstr(json, "\"missing\": []"));
    vlm_string_free(json);
    vcore_buf_free(&index);
    free(path);
    free(weights);
    free(renamed);
}

/* What fails for ordinary reasons fails before weights are looked at. */
static void cheap_checks_come_first(void **state) {
    (void)state;
    tdir_put("model.safetensors", NULL);
    EDIT(REPLACE("preprocessor_config.json", "Idefics3Processor", "Idefics9Processor"));
    refused(VLM_ERR_UNKNOWN_PROCESSOR, "Idefics9Processor", NULL);
    EDIT(REPLACE("config.json", "\"idefics3\"", "\"idefics9\""));
    refused(VLM_ERR_UNKNOWN_MODEL_TYPE, "idefics3", NULL);
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.precision = (vlm_precision)9;
    EDIT(REPLACE("config.json", "\"idefics9\"", "\"idefics3\""));
    EDIT(REPLACE("preprocessor_config.json", "Idefics9Processor", "Idefics3Processor"));
    refused(VLM_ERR_ARGUMENT, "precision", &o);
    refused(VLM_ERR_NOT_FOUND, tdir, NULL);
}

static void a_tokenizer_from_elsewhere(void **state) {
    (void)state;
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json", "chat_template.json" };
    char *elsewhere = tcheckpoint_temp_dir();
    for (size_t i = 0; i < 3; i++) {
        char *from = tdir_path(names[i]), *to = tcheckpoint_path(elsewhere, names[i]);
        assert_int_equal(rename(from, to), 0);
        free(from);
        free(to);
    }
    refused(VLM_ERR_NOT_FOUND, "tokenizer.json", NULL);
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.tokenizer_source = elsewhere;
    vlm_context *c = load_with(&o);
    vlm_input *in;
    vlm_prepared *prepared;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_add_message(in, "user", "Hello", &err), VLM_OK);
    if (vlm_prepare(&prepared, c, in, &err) < 0) fail_msg("%s", err.message);
    assert_true(vlm_prepared_tokens(prepared, NULL) > 3);
    vlm_prepared_free(prepared);
    vlm_input_free(in);
    vlm_context_free(c);
    tcheckpoint_remove(elsewhere);
    free(elsewhere);
}

int main(void) {
#define TEST(name) TDIR_TEST(name, GOLDEN)
    const struct CMUnitTest tests[] = {
        TEST(the_preprocessors_file_is_asked_first),
        TEST(the_other_file_names_what_the_first_leaves_open),
        TEST(a_class_must_be_a_string_that_is_known),
        TEST(one_nested_file_is_enough),
        TEST(without_processor_files_nothing_is_loaded),
        TEST(a_model_type_overrides_the_class),
        TEST(end_tokens_by_rule),
        TEST(end_tokens_of_a_context),
        TEST(the_processor_s_own_end_token),
        TEST(a_processor_that_takes_no_media),
        TEST(a_surplus_tensor),
        TEST(cheap_checks_come_first),
        TEST(a_tokenizer_from_elsewhere),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
