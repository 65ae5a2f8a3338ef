/* SPDX-License-Identifier: MIT */
/* What an error says as data beside its line: the code, the file, the field, the operation and its
 * errno, the line of what is no JSON, the limit that was crossed. One row per situation; and every
 * cap of vlm_limits that a load can meet, lowered by the caller. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/dir.h"
#include "vlm/vlm.h"

#include "core/core.h"

#define GOLDEN "tests/golden/idefics3-whole"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static vlm_error err;

static vlm_status load(const vlm_load_options *options) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    vlm_context *c = (void *)1;
    if (options) o = *options;
    o.threads = 1;
    err = (vlm_error)VLM_ERROR_INIT;
    vlm_status status = vlm_context_load(&c, tdir, &o, &err);
    assert_int_equal(status < 0, c == NULL);
    assert_int_equal(err.code, status);
    vlm_context_free(c);
    return status;
}

/* Files by the end of their path: dir is another one each time. */
static bool ends_in(const char *path, const char *name) {
    size_t n = strlen(path), m = strlen(name);
    return n >= m && !strcmp(path + n - m, name) && (m || !n);
}

typedef struct situation {
    const char *name;
    tedit edits[3];
    vlm_status code;
    const char *file, *field, *operation;
    int os_error;
    uint32_t line, column;
    const char *message; /* its end, or a part of it */
} situation;

#define CONFIG "config.json"
#define PRE "preprocessor_config.json"
#define PROC "processor_config.json"
#define TOK "tokenizer.json"
#define TOKC "tokenizer_config.json"
#define WEIGHTS "model.safetensors"

static const situation situations[] = {
    /* files */
    { "no config", { REMOVE(CONFIG) }, VLM_ERR_NOT_FOUND, CONFIG, "", "open", ENOENT, 0, 0, "config.json: cannot open: No such file" },
    { "no tokenizer", { REMOVE(TOK) }, VLM_ERR_NOT_FOUND, TOK, "", "open", ENOENT, 0, 0, "tokenizer.json: cannot open it, nor is there any of tekken.json" },
    { "no processor files", { REMOVE(PRE), REMOVE(PROC) }, VLM_ERR_NOT_FOUND, PROC, "", "open", ENOENT, 0, 0, "no such file, nor is there a preprocessor_config.json" },
    { "a directory", { DIRECTORY(CONFIG) }, VLM_ERR_IO, CONFIG, "", "open", 0, 0, 0, "config.json: is a directory, not a file" },
    { "a FIFO", { FIFO(PRE) }, VLM_ERR_IO, PRE, "", "open", 0, 0, 0, "is not a regular file" },
    { "a FIFO that may be absent", { FIFO("video_preprocessor_config.json") }, VLM_ERR_IO, "video_preprocessor_config.json", "", "open", 0, 0, 0, "is not a regular file" },
    { "a link to itself", { LINK(CONFIG, CONFIG) }, VLM_ERR_IO, CONFIG, "", "open", ELOOP, 0, 0, "config.json: cannot open: Too many levels" },
    { "a device", { LINK(TOKC, "/dev/null") }, VLM_ERR_IO, TOKC, "", "open", 0, 0, 0, "is not a regular file" },
    /* text */
    { "bytes", { WRITE(CONFIG, "{\"model_type\": \"\xFF\"}") }, VLM_ERR_ENCODING, CONFIG, "", NULL, 0, 0, 0, "config.json: is not UTF-8 text" },
    { "bytes of a tokenizer", { WRITE(TOK, "\xC0\x80") }, VLM_ERR_ENCODING, TOK, "", NULL, 0, 0, 0, "is not UTF-8 text" },
    { "no JSON", { WRITE(CONFIG, "{\"model_type\":\n \"x\",}") }, VLM_ERR_PARSE, CONFIG, "", NULL, 0, 2, 6, "config.json: line 2, column 6: expected a string as key" },
    { "no JSON in a processor's file", { WRITE(PRE, "version https") }, VLM_ERR_PARSE, PRE, "", NULL, 0, 1, 1, "preprocessor_config.json: line 1, column 1" },
    { "no JSON in a tokenizer's", { WRITE(TOKC, "{\n\n") }, VLM_ERR_PARSE, TOKC, "", NULL, 0, 3, 1, "tokenizer_config.json: line 3, column 1: the text ends too early" },
    { "an empty file", { WRITE(TOK, "") }, VLM_ERR_PARSE, TOK, "", NULL, 0, 1, 1, "the text ends too early" },
    { "no object", { WRITE(CONFIG, "[]") }, VLM_ERR_FORMAT, CONFIG, "", NULL, 0, 0, 0, "must hold an object, holds an array" },
    { "no object in a tokenizer's", { WRITE(TOK, "3") }, VLM_ERR_FORMAT, TOK, "", NULL, 0, 0, 0, "must be an object" },
    /* the base config */
    { "no model type", { UNSET(CONFIG, "model_type") }, VLM_ERR_MISSING_FIELD, CONFIG, "model_type", NULL, 0, 0, 0, "config.json: model_type: is missing" },
    { "a model type that is none", { SET(CONFIG, "model_type", "[1]") }, VLM_ERR_CONFIG, CONFIG, "model_type", NULL, 0, 0, 0, "model_type: must be a string, is an array" },
    { "an unknown model type", { SET(CONFIG, "model_type", "\"idefics9\"") }, VLM_ERR_UNKNOWN_MODEL_TYPE, CONFIG, "model_type", NULL, 0, 0, 0, "idefics3" },
    { "an end token that is none", { SET(CONFIG, "eos_token_id", "\"x\"") }, VLM_ERR_CONFIG, CONFIG, "eos_token_id", NULL, 0, 0, 0, "eos_token_id: must be an id or a list of ids, is a string" },
    { "one of a list", { SET(CONFIG, "eos_token_id", "[1, -1]") }, VLM_ERR_CONFIG, CONFIG, "eos_token_id[1]", NULL, 0, 0, 0, "eos_token_id[1]: must be an id" },
    { "quantization without bits", { SET(CONFIG, "quantization", "{\"group_size\": 64}") }, VLM_ERR_MISSING_FIELD, CONFIG, "quantization.bits", NULL, 0, 0, 0, "quantization.bits" },
    /* the model's config */
    { "a required field", { SET(CONFIG, "text_config/rope_scaling", "{\"type\": \"llama3\", \"factor\": 8}") }, VLM_ERR_MISSING_FIELD, CONFIG, "text_config.rope_parameters.low_freq_factor", NULL, 0, 0, 0, "config.json: text_config.rope_parameters.low_freq_factor: is missing" },
    { "out of range", { SET(CONFIG, "scale_factor", "0") }, VLM_ERR_CONFIG, CONFIG, "scale_factor", NULL, 0, 0, 0, "config.json: scale_factor: must be an integer in" },
    { "out of range, nested", { SET(CONFIG, "text_config/hidden_size", "-1") }, VLM_ERR_CONFIG, CONFIG, "text_config.hidden_size", NULL, 0, 0, 0, "config.json: text_config.hidden_size: must be an integer in" },
    { "NaN", { SET(CONFIG, "text_config/rms_norm_eps", "NaN") }, VLM_ERR_CONFIG, CONFIG, "text_config.rms_norm_eps", NULL, 0, 0, 0, "must be a number in" },
    { "a wrong name", { SET(CONFIG, "vision_config/hidden_act", "\"x\"") }, VLM_ERR_CONFIG, CONFIG, "vision_config.hidden_act", NULL, 0, 0, 0, "must be one of" },
    { "a section that is no object", { SET(CONFIG, "vision_config", "7") }, VLM_ERR_CONFIG, CONFIG, "vision_config", NULL, 0, 0, 0, "vision_config: must be an object, is an integer" },
    { "an unknown decoder", { SET(CONFIG, "text_config/model_type", "\"x\"") }, VLM_ERR_UNSUPPORTED, CONFIG, "text_config.model_type", NULL, 0, 0, 0, "'x' is no text decoder that is known" },
    { "fields at odds", { SET(CONFIG, "text_config/num_key_value_heads", "2") }, VLM_ERR_CONFIG, CONFIG, "text_config.num_attention_heads", NULL, 0, 0, 0, "3 is no multiple of num_key_value_heads 2" },
    { "at odds across sections", { SET(CONFIG, "scale_factor", "3") }, VLM_ERR_CONFIG, CONFIG, "scale_factor", NULL, 0, 0, 0, "config.json: scale_factor: 3 does not divide" },
    /* the processor's */
    { "no class name", { SET(PRE, "processor_class", "7") }, VLM_ERR_CONFIG, PRE, "processor_class", NULL, 0, 0, 0, "processor_class: must be a string, is an integer" },
    { "an unknown class", { SET(PRE, "processor_class", "\"X\"") }, VLM_ERR_UNKNOWN_PROCESSOR, PRE, "processor_class", NULL, 0, 0, 0, "'X'" },
    { "a filter that is none", { SET(PRE, "resample", "9") }, VLM_ERR_CONFIG, PRE, "resample", NULL, 0, 0, 0, "resample: must be a filter" },
    { "a value of the second file", { SET(PROC, "image_seq_len", "-1") }, VLM_ERR_CONFIG, PROC, "image_seq_len", NULL, 0, 0, 0, "image_seq_len: must be an integer in" },
    { "a nested section", { SET(PROC, "image_processor", "[]") }, VLM_ERR_CONFIG, PROC, "image_processor", NULL, 0, 0, 0, "image_processor: must be an object, is an array" },
    /* the tokenizer's */
    { "a tokenizer without a model", { UNSET(TOK, "model") }, VLM_ERR_FORMAT, TOK, "model", NULL, 0, 0, 0, "tokenizer.json: model: must be an object" },
    { "an unknown kind of model", { SET(TOK, "model/type", "\"X\"") }, VLM_ERR_UNSUPPORTED, TOK, "model.type", NULL, 0, 0, 0, "tokenizer.json: model.type: 'X' is not supported" },
    { "an unknown decoder of tokens", { SET(TOK, "decoder", "{\"type\": \"X\"}") }, VLM_ERR_UNSUPPORTED, TOK, "decoder.type", NULL, 0, 0, 0, "tokenizer.json: decoder.type: 'X' is not supported" },
    { "a token without text", { SET(TOK, "added_tokens", "[{\"id\": 1}]") }, VLM_ERR_FORMAT, TOK, "added_tokens[0]", NULL, 0, 0, 0, "added_tokens[0]: must be an object with a string" },
    { "a template that is none", { REMOVE("chat_template.json"), SET(TOKC, "chat_template", "7") }, VLM_ERR_FORMAT, TOKC, "chat_template", NULL, 0, 0, 0, "chat_template: must be a string or a list, is an integer" },
    { "a template that does not parse", { WRITE("chat_template.json", "{\"chat_template\": \"a\\nb {% if %}\"}") }, VLM_ERR_TEMPLATE, "chat_template.json", "", NULL, 0, 2, 0, "chat_template.json:2: " },
    /* the weights */
    { "no weights", { REMOVE(WEIGHTS) }, VLM_ERR_NOT_FOUND, "", NULL, NULL, 0, 0, 0, "" },
    { "a tensor that is missing", { DROP(WEIGHTS, "model.text_model.norm.weight") }, VLM_ERR_WEIGHTS, "", "model.text_model.norm.weight", NULL, 0, 0, 0, "text_model.norm.weight" },
    { "a tensor of another shape", { TENSOR(WEIGHTS, "model.text_model.norm.weight", "F32 56") }, VLM_ERR_WEIGHTS, WEIGHTS, "model.text_model.norm.weight", NULL, 0, 0, 0, "tensor 'model.text_model.norm.weight': shape [56]" },
};

static void check(const situation *s, vlm_status status) {
    bool fine = status == s->code && strstr(err.message, s->message) && !strchr(err.message, '\n')
                && (!s->file || !*s->file || ends_in(err.file, s->file))
                && (!s->field || !strcmp(err.field, s->field))
                && (s->operation ? err.operation && !strcmp(err.operation, s->operation)
                                 : !err.operation || !s->field)
                && (err.os_error == s->os_error || !s->field) && err.line == s->line
                && (!s->column || err.column == s->column);
    if (!fine)
        print_error("%s: %s, file '%s', field '%s', %s, errno %d, line %u, column %u: %s\n", s->name,
                    vlm_status_name(status), err.file, err.field, err.operation ? err.operation : "-",
                    err.os_error, err.line, err.column, err.message);
    assert_true(fine);
}

static void situations_have_their_data(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(situations); i++) {
        if (i) tdir_renew(GOLDEN);
        assert_true(tedit_apply(tdir, situations[i].edits, COUNT(situations[i].edits)));
        check(&situations[i], load(NULL));
    }
}

static void a_directory_that_is_none(void **state) {
    (void)state;
    vlm_context *c;
    char *path = tdir_path("nowhere");
    assert_int_equal(vlm_context_load(&c, path, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_string_equal(err.file, path);
    free(path);
    path = tdir_path(CONFIG); /* a file is no directory either */
    assert_int_equal(vlm_context_load(&c, path, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_string_equal(err.file, path);
    free(path);
}

/* Of a path longer than the field, the end is kept: that is where the file's name is. */
static void a_long_path_keeps_its_end(void **state) {
    (void)state;
    char *deep = malloc(3000);
    vlm_base_config *c;
    strcpy(deep, tdir);
    for (int i = 0; i < 100; i++) strcat(deep, "/./deeper-and-deeper");
    assert_int_equal(vlm_base_config_load(&c, deep, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_int_equal(strlen(err.file), sizeof err.file - 1);
    assert_true(ends_in(err.file, "/./deeper-and-deeper"));
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    free(deep);
}

static void no_descriptor_is_left(void **state) {
    (void)state;
    struct rlimit before, none;
    vlm_base_config *c;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    vlm_status status = vlm_base_config_load(&c, tdir, NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, VLM_ERR_IO);
    assert_int_equal(err.os_error, EMFILE);
    assert_string_equal(err.operation, "open");
    assert_true(ends_in(err.file, "/config.json"));
}

/* ---- every cap can be lowered by the caller -------------------------------------------------- */
typedef struct cap {
    size_t offset; /* in vlm_limits */
    uint64_t value;
    const char *file;
    tedit edit;
} cap;
#define OF(member) offsetof(vlm_limits, member)

static void caps_of_a_load(void **state) {
    (void)state;
    static const cap caps[] = {
        { OF(config_bytes), 500, "/config.json", { 0 } },
        { OF(config_bytes), 1200, "/preprocessor_config.json", REPEAT(PRE, "        ", 200) },
        { OF(config_bytes), 1200, "/processor_config.json", REPEAT(PROC, "        ", 200) },
        { OF(index_bytes), 100, "/model.safetensors.index.json", REPEAT("model.safetensors.index.json", "  ", 60) },
        { OF(tokenizer_bytes), 500, "/tokenizer.json", { 0 } },
        { OF(template_bytes), 20, "/processor_config.json", SET(PROC, "chat_template", "\"a template of 24 bytes..\"") },
        { OF(header_bytes), 50, "/model.safetensors", { 0 } },
        { OF(end_tokens), 1, "/config.json", SET(CONFIG, "eos_token_id", "[1, 2]") },
    };
    for (size_t i = 0; i < COUNT(caps); i++) {
        vlm_limits limits = VLM_LIMITS_INIT;
        vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
        o.limits = &limits;
        tdir_renew(GOLDEN);
        assert_true(tedit_apply(tdir, &caps[i].edit, 1));
        memcpy((char *)&limits + caps[i].offset, &caps[i].value, sizeof caps[i].value);
        vlm_status status = load(&o);
        if (status != VLM_ERR_LIMIT || err.limit != caps[i].value || !ends_in(err.file, caps[i].file))
            fail_msg("cap %zu: %s, limit %llu, file '%s': %s", i, vlm_status_name(status),
                     (unsigned long long)err.limit, err.file, err.message);
    }
}

static void the_cap_of_a_prompt_and_of_a_session(void **state) {
    (void)state;
    vlm_limits limits = VLM_LIMITS_INIT;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    vlm_session_options so = VLM_SESSION_OPTIONS_INIT;
    vlm_context *c;
    vlm_input *in;
    vlm_prepared *prepared;
    vlm_session *session;
    limits.context_tokens = so.context = 5;
    o.limits = &limits;
    o.threads = 1;
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_OK);
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_add_message(in, "user", "one two three four five six", &err), VLM_OK);
    assert_int_equal(vlm_prepare(&prepared, c, in, &err), VLM_ERR_CONTEXT_FULL);
    assert_int_equal(err.limit, 5);
    vlm_input_free(in);
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_set_raw(in, "a", &err), VLM_OK);
    assert_int_equal(vlm_prepare(&prepared, c, in, &err), VLM_OK);
    for (so.context = 5; so.context <= 6; so.context++) {
        assert_int_equal(vlm_session_new(&session, c, &so, &err), VLM_OK);
        assert_int_equal(vlm_session_feed(session, prepared, &err), so.context > 5 ? VLM_ERR_LIMIT : VLM_OK);
        vlm_session_free(session);
    }
    assert_int_equal(err.limit, 5);
    vlm_prepared_free(prepared);
    vlm_input_free(in);
    vlm_context_free(c);
}

/* A short struct of an older caller: what it does not hold has its default. */
static void an_older_struct_of_limits(void **state) {
    (void)state;
    vlm_limits limits = VLM_LIMITS_INIT;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.limits = &limits;
    limits.struct_size = offsetof(vlm_limits, end_tokens);
    limits.end_tokens = 1; /* behind its end */
    const tedit edit = SET(CONFIG, "eos_token_id", "[1, 2]");
    assert_true(tedit_apply(tdir, &edit, 1));
    assert_int_equal(load(&o), VLM_OK);
    limits.struct_size = sizeof limits;
    assert_int_equal(load(&o), VLM_ERR_LIMIT);
}

int main(void) {
#define TEST(name) TDIR_TEST(name, GOLDEN)
    const struct CMUnitTest tests[] = {
        TEST(situations_have_their_data),
        TEST(a_directory_that_is_none),
        TEST(a_long_path_keeps_its_end),
        TEST(no_descriptor_is_left),
        TEST(caps_of_a_load),
        TEST(the_cap_of_a_prompt_and_of_a_session),
        TEST(an_older_struct_of_limits),
    };
    return cmocka_run_group_tests_name("error data", tests, NULL, NULL);
}
