/* SPDX-License-Identifier: MIT */
/* The base config: what is required, what passes through, the rule of the end tokens, what
 * generation_config.json may do, JSON as the ecosystem writes it. From memory and from a directory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support/dir.h"
#include "vlm/extend.h"

#include "core/core.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static vlm_error err;
static char logged[2000];
static int log_lines;

static void take_line(void *user, vlm_log_level level, const char *line) {
    (void)user;
    if (level != VLM_LOG_WARNING) return;
    log_lines++;
    snprintf(logged, sizeof logged, "%s", line);
}

static vlm_load_options quiet(void) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.log = take_line;
    log_lines = 0;
    return o;
}

static vlm_base_config *load_with(const vlm_load_options *options) {
    vlm_base_config *c;
    if (vlm_base_config_load(&c, tdir, options, &err) < 0) fail_msg("%s", err.message);
    return c;
}

/* generation: NULL: there is no such file. */
static vlm_status parse(vlm_base_config **out, const char *config, const char *generation) {
    const vlm_config_text texts[] = {
        { "some/where/config.json", config, strlen(config) },
        { "generation_config.json", generation, generation ? strlen(generation) : 0 },
    };
    const vlm_load_options o = quiet();
    *out = (void *)1;
    err = (vlm_error)VLM_ERROR_INIT;
    vlm_status status = vlm_base_config_parse(out, texts, 2, &o, &err);
    assert_int_equal(status < 0, *out == NULL);
    return status;
}

static vlm_base_config *parse_ok(const char *config) {
    vlm_base_config *c;
    if (parse(&c, config, NULL) < 0) fail_msg("%s: %s", config, err.message);
    return c;
}

static void refused(const char *config, vlm_status status, const char *message, const char *field) {
    vlm_base_config *c;
    vlm_status got = parse(&c, config, NULL);
    if (got != status || strcmp(err.message, message) || strcmp(err.field, field))
        fail_msg("%s: %s (%s): %s", config, vlm_status_name(got), err.field, err.message);
    assert_string_equal(err.file, "some/where/config.json");
}

/* ---- model_type and the body ----------------------------------------------------------------- */

static void model_type_is_required(void **state) {
    (void)state;
#define AT "some/where/config.json: "
    refused("{}", VLM_ERR_MISSING_FIELD, AT "model_type: is missing", "model_type");
    refused("{\"model_type\": null}", VLM_ERR_CONFIG, AT "model_type: must be a string, is null",
            "model_type");
    refused("{\"model_type\": 5}", VLM_ERR_CONFIG, AT "model_type: must be a string, is an integer",
            "model_type");
    refused("{\"model_type\": \"\"}", VLM_ERR_CONFIG, AT "model_type: must be a name, is empty",
            "model_type");
    refused("{\"model_type\": \"idefics3\\u0000x\"}", VLM_ERR_CONFIG,
            AT "model_type: must be a name, holds a NUL", "model_type");
    refused("[\"idefics3\"]", VLM_ERR_FORMAT, AT "must hold an object, holds an array", "");
    refused("{\"model_type\": \"x\"", VLM_ERR_PARSE, AT "line 1, column 19: the text ends too early",
            "");
    assert_int_equal(err.line, 1);
    assert_int_equal(err.column, 19);
    refused("", VLM_ERR_PARSE, AT "line 1, column 1: the text ends too early", "");
    refused("{\"model_type\": \"\xFF\"}", VLM_ERR_ENCODING, AT "is not UTF-8 text", "");
}

/* What is nested elsewhere (hidden_size and all else) is not demanded here, and unknown keys pass. */
static void everything_else_passes_through(void **state) {
    (void)state;
    static const char body[] = " {\"model_type\":  \"some_vl\",\n\t\"text_config\": {\"hidden_size\": 8},"
                               " \"never_heard_of\": [1.50, {\"a\": null}]}\n ";
    vlm_base_config *c = parse_ok(body);
    size_t bytes;
    assert_string_equal(vlm_base_config_model_type(c), "some_vl");
    assert_string_equal(vlm_base_config_text(c, &bytes), body); /* byte for byte */
    assert_int_equal(bytes, sizeof body - 1);
    assert_non_null(vlm_json_find(vlm_base_config_json(c), "text_config.hidden_size"));
    assert_non_null(vlm_json_find(vlm_base_config_json(c), "never_heard_of"));
    assert_null(vlm_base_config_generation(c));
    assert_null(vlm_base_config_quantization(c));
    assert_int_equal(vlm_base_config_eos(c)->form, VLM_EOS_ABSENT);
    vlm_base_config_free(c);
}

static void the_texts_are_copied(void **state) {
    (void)state;
    char text[] = "{\"model_type\": \"x\"} behind it";
    const vlm_config_text config = { "config.json", text, 19 };
    vlm_base_config *c;
    assert_int_equal(vlm_base_config_parse(&c, &config, 1, NULL, &err), VLM_OK);
    memset(text, 0, sizeof text);
    assert_string_equal(vlm_base_config_text(c, NULL), "{\"model_type\": \"x\"}");
    assert_string_equal(vlm_base_config_model_type(c), "x");
    vlm_base_config_free(c);
}

static void misuse_is_an_error(void **state) {
    (void)state;
    vlm_base_config *c = (void *)1;
    const vlm_config_text nameless = { NULL, "{}", 2 }, other = { "other.json", "{}", 2 };
    assert_int_equal(vlm_base_config_load(NULL, tdir, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_base_config_load(&c, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_null(c);
    assert_int_equal(vlm_base_config_parse(NULL, &other, 1, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_base_config_parse(&c, NULL, 1, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_base_config_parse(&c, &nameless, 1, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_base_config_parse(&c, &other, 1, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_int_equal(vlm_base_config_parse(&c, NULL, 0, NULL, NULL), VLM_ERR_NOT_FOUND);
    assert_null(c);
    vlm_base_config_free(NULL);
    assert_null(vlm_base_config_model_type(NULL));
    assert_null(vlm_base_config_text(NULL, NULL));
    assert_null(vlm_base_config_json(NULL));
    assert_null(vlm_base_config_generation(NULL));
    assert_null(vlm_base_config_quantization(NULL));
    assert_null(vlm_base_config_eos(NULL));
}

/* ---- JSON as the ecosystem writes it --------------------------------------------------------- */

static double real_at(const vlm_base_config *c, const char *path) {
    double value = 0;
    assert_true(vcore_json_real(vlm_json_find(vlm_base_config_json(c), path), &value));
    return value;
}

static void json_as_python_writes_it(void **state) {
    (void)state;
    vlm_base_config *c = parse_ok(
        "{\"model_type\": \"first\", \"a\": NaN, \"b\": Infinity, \"c\": -Infinity,"
        " \"big\": 9223372036854775807, \"bigger\": 18446744073709551616, \"eos_token_id\": 1,"
        " \"eos_token_id\": 4294967295, \"nul\": \"x\\u0000y\", \"model_type\": \"last\"}");
    int64_t big;
    vcore_str nul;
    assert_true(isnan(real_at(c, "a")) && isinf(real_at(c, "b")) && real_at(c, "c") < 0);
    assert_true(vcore_json_int(vlm_json_find(vlm_base_config_json(c), "big"), &big));
    assert_true(big == INT64_MAX && real_at(c, "bigger") == 0x1p64);
    assert_true(vcore_json_string(vlm_json_find(vlm_base_config_json(c), "nul"), &nul));
    assert_int_equal(nul.n, 3);
    assert_string_equal(vlm_base_config_model_type(c), "last"); /* of equal keys the last wins */
    assert_int_equal(vlm_base_config_eos(c)->ids[0], 4294967295u);
    vlm_base_config_free(c);
}

static void a_byte_order_mark_is_skipped(void **state) {
    (void)state;
    static const char text[] = "\xEF\xBB\xBF{\"model_type\": \"x\"}";
    vlm_base_config *c = parse_ok(text);
    size_t bytes;
    assert_string_equal(vlm_base_config_text(c, &bytes), text + 3);
    assert_int_equal(bytes, sizeof text - 4);
    vlm_base_config_free(c);
    tdir_put("config.json", text);
    c = load_with(NULL);
    assert_string_equal(vlm_base_config_text(c, &bytes), text + 3);
    assert_int_equal(bytes, sizeof text - 4);
    vlm_base_config_free(c);
}

static char *nested(int depth) {
    vcore_buf b = { 0 };
    vcore_buf_puts(&b, "{\"model_type\": \"x\", \"deep\": ");
    for (int i = 0; i < depth; i++) vcore_buf_puts(&b, "[");
    for (int i = 0; i < depth; i++) vcore_buf_puts(&b, "]");
    vcore_buf_puts(&b, "}");
    return vcore_buf_take(&b);
}

static void depth_is_bounded(void **state) {
    (void)state;
    vlm_base_config *c;
    char *text = nested(255);
    vlm_base_config_free(parse_ok(text)); /* the object around it is the 256th */
    vcore_free(text);
    text = nested(256);
    assert_int_equal(parse(&c, text, NULL), VLM_ERR_PARSE);
    assert_non_null(strstr(err.message, "nested more than 256 deep"));
    assert_true(err.line == 1 && err.column > 255);
    vcore_free(text);
}

/* ---- end tokens ------------------------------------------------------------------------------ */

typedef struct eos_case {
    const char *config;     /* members behind model_type */
    const char *generation; /* NULL: no file */
    vlm_eos_form form;
    size_t n;
    uint32_t ids[3];
    const char *source; /* NULL: nobody */
} eos_case;

#define TOP "config.json"
#define TEXT "config.json: text_config"
#define LLM "config.json: llm_config"
#define GEN "generation_config.json"
static const eos_case eos_cases[] = {
    /* the top-level value stands as it is */
    { "\"eos_token_id\": 7", NULL, VLM_EOS_ONE, 1, { 7 }, TOP },
    { "\"eos_token_id\": 0", NULL, VLM_EOS_ONE, 1, { 0 }, TOP },
    { "\"eos_token_id\": 4294967295", NULL, VLM_EOS_ONE, 1, { 4294967295u }, TOP },
    { "\"eos_token_id\": []", NULL, VLM_EOS_MANY, 0, { 0 }, TOP },
    { "\"eos_token_id\": [7]", NULL, VLM_EOS_MANY, 1, { 7 }, TOP },
    { "\"eos_token_id\": [9, 0, 9]", NULL, VLM_EOS_MANY, 3, { 9, 0, 9 }, TOP },
    { "\"eos_token_id\": 0, \"text_config\": {\"eos_token_id\": 5}", NULL, VLM_EOS_ONE, 1, { 0 }, TOP },
    { "\"eos_token_id\": [], \"text_config\": {\"eos_token_id\": 5}", NULL, VLM_EOS_MANY, 0, { 0 }, TOP },
    /* absent: the first nest that has the key decides, if truthy */
    { "\"x\": 1", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": 5}", NULL, VLM_EOS_ONE, 1, { 5 }, TEXT },
    { "\"eos_token_id\": null, \"text_config\": {\"eos_token_id\": 5}", NULL, VLM_EOS_ONE, 1, { 5 }, TEXT },
    { "\"llm_config\": {\"eos_token_id\": [6, 5]}", NULL, VLM_EOS_MANY, 2, { 6, 5 }, LLM },
    { "\"llm_config\": {\"eos_token_id\": 6}, \"text_config\": {\"eos_token_id\": 5}", NULL, VLM_EOS_ONE, 1, { 5 }, TEXT },
    { "\"text_config\": {\"y\": 5}, \"llm_config\": {\"eos_token_id\": 6}", NULL, VLM_EOS_ONE, 1, { 6 }, LLM },
    { "\"text_config\": null, \"llm_config\": {\"eos_token_id\": 6}", NULL, VLM_EOS_ONE, 1, { 6 }, LLM },
    { "\"text_config\": {\"eos_token_id\": 0}, \"llm_config\": {\"eos_token_id\": 6}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": []}, \"llm_config\": {\"eos_token_id\": 6}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": null}, \"llm_config\": {\"eos_token_id\": 6}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": \"</s>\"}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": true}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": 5.0}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": -5}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": 4294967296}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": {\"a\": 1}}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    { "\"text_config\": {\"eos_token_id\": [0, 5]}", NULL, VLM_EOS_MANY, 2, { 0, 5 }, TEXT },
    { "\"text_config\": {\"eos_token_id\": [5, \"x\", 6.5, -1, 4294967296, null, 6]}", NULL, VLM_EOS_MANY, 2, { 5, 6 }, TEXT },
    { "\"text_config\": {\"eos_token_id\": [\"x\"]}", NULL, VLM_EOS_MANY, 0, { 0 }, TEXT },
    { "\"vision_config\": {\"eos_token_id\": 5}", NULL, VLM_EOS_ABSENT, 0, { 0 }, NULL },
    /* a truthy value of generation_config.json replaces either */
    { "\"eos_token_id\": 7", "{\"eos_token_id\": 8}", VLM_EOS_ONE, 1, { 8 }, GEN },
    { "\"eos_token_id\": [7, 9]", "{\"eos_token_id\": 8}", VLM_EOS_ONE, 1, { 8 }, GEN },
    { "\"eos_token_id\": 7", "{\"eos_token_id\": [8, 0]}", VLM_EOS_MANY, 2, { 8, 0 }, GEN },
    { "\"eos_token_id\": 7", "{\"eos_token_id\": [\"x\"]}", VLM_EOS_MANY, 0, { 0 }, GEN },
    { "\"x\": 1", "{\"eos_token_id\": 8}", VLM_EOS_ONE, 1, { 8 }, GEN },
    { "\"text_config\": {\"eos_token_id\": 5}", "{\"eos_token_id\": 8}", VLM_EOS_ONE, 1, { 8 }, GEN },
    { "\"text_config\": {\"eos_token_id\": 5}", "{\"eos_token_id\": 0}", VLM_EOS_ONE, 1, { 5 }, TEXT },
    { "\"eos_token_id\": 7", "{\"eos_token_id\": 0}", VLM_EOS_ONE, 1, { 7 }, TOP },
    { "\"eos_token_id\": 7", "{\"eos_token_id\": []}", VLM_EOS_ONE, 1, { 7 }, TOP },
    { "\"eos_token_id\": 7", "{\"eos_token_id\": null}", VLM_EOS_ONE, 1, { 7 }, TOP },
    { "\"eos_token_id\": 7", "{\"eos_token_id\": \"8\"}", VLM_EOS_ONE, 1, { 7 }, TOP },
    { "\"eos_token_id\": 7", "{}", VLM_EOS_ONE, 1, { 7 }, TOP },
    { "\"eos_token_id\": 0", "{\"eos_token_id\": 0}", VLM_EOS_ONE, 1, { 0 }, TOP },
};

static void check_eos(const vlm_base_config *c, const eos_case *want) {
    const vlm_config_eos *eos = vlm_base_config_eos(c);
    if (eos->form != want->form || eos->n != want->n)
        fail_msg("%s | %s: form %d, %zu ids", want->config, want->generation, eos->form, eos->n);
    for (size_t i = 0; i < eos->n; i++)
        if (eos->ids[i] != want->ids[i]) fail_msg("%s: id %u", want->config, eos->ids[i]);
    if (want->source)
        assert_string_equal(eos->source, want->source);
    else
        assert_null(eos->source);
}

static void end_tokens_from_memory_and_from_files(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(eos_cases); i++) {
        const eos_case *e = &eos_cases[i];
        char text[400], *path = tdir_path("generation_config.json");
        snprintf(text, sizeof text, "{\"model_type\": \"x\", %s}", e->config);
        vlm_base_config *c;
        if (parse(&c, text, e->generation) < 0) fail_msg("%s: %s", text, err.message);
        check_eos(c, e);
        assert_int_equal(log_lines, 0);
        vlm_base_config_free(c);
        tdir_put("config.json", text);
        remove(path);
        if (e->generation) tdir_put("generation_config.json", e->generation);
        c = load_with(NULL);
        check_eos(c, e);
        assert_int_equal(e->generation != NULL, vlm_base_config_generation(c) != NULL);
        vlm_base_config_free(c);
        free(path);
    }
}

static void at_the_top_a_wrong_type_is_an_error(void **state) {
    (void)state;
    static const struct {
        const char *value, *is;
    } wrong[] = { { "\"</s>\"", "a string" }, { "true", "a boolean" },        { "5.0", "a number" },
                  { "-1", "an integer" },     { "4294967296", "an integer" }, { "{}", "an object" },
                  { "NaN", "a number" } };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[200], message[200];
        snprintf(text, sizeof text, "{\"model_type\": \"x\", \"eos_token_id\": %s}", wrong[i].value);
        snprintf(message, sizeof message, AT "eos_token_id: must be an id or a list of ids, is %s",
                 wrong[i].is);
        refused(text, VLM_ERR_CONFIG, message, "eos_token_id");
        snprintf(text, sizeof text, "{\"model_type\": \"x\", \"eos_token_id\": [1, %s]}",
                 wrong[i].value);
        snprintf(message, sizeof message, AT "eos_token_id[1]: must be an id, is %s", wrong[i].is);
        refused(text, VLM_ERR_CONFIG, message, "eos_token_id[1]");
    }
    refused("{\"model_type\": \"x\", \"eos_token_id\": [null]}", VLM_ERR_CONFIG,
            AT "eos_token_id[0]: must be an id, is null", "eos_token_id[0]");
}

/* {"model_type": "x", <before>[1, 1, ...]<after>} */
static char *long_list(const char *before, size_t n, const char *after) {
    vcore_buf b = { 0 };
    vcore_buf_printf(&b, "{\"model_type\": \"x\", %s[1", before);
    for (size_t i = 1; i < n; i++) vcore_buf_puts(&b, ",1");
    vcore_buf_printf(&b, "]%s}", after);
    return vcore_buf_take(&b);
}

static void too_many_end_tokens_are_an_error_not_a_cut(void **state) {
    (void)state;
    static const struct {
        const char *before, *after, *field;
    } places[] = { { "\"eos_token_id\": ", "", "eos_token_id" },
                   { "\"text_config\": {\"eos_token_id\": ", "}", "text_config.eos_token_id" },
                   { "\"llm_config\": {\"eos_token_id\": ", "}", "llm_config.eos_token_id" } };
    vlm_base_config *c;
    for (size_t i = 0; i < COUNT(places); i++) {
        char *text = long_list(places[i].before, 4096, places[i].after);
        c = parse_ok(text);
        assert_int_equal(vlm_base_config_eos(c)->n, 4096);
        vlm_base_config_free(c);
        vcore_free(text);
        text = long_list(places[i].before, 4097, places[i].after);
        assert_int_equal(parse(&c, text, NULL), VLM_ERR_LIMIT);
        assert_int_equal(err.limit, 4096);
        assert_string_equal(err.field, places[i].field);
        assert_non_null(strstr(err.message, "eos_token_id: more than 4096 ids"));
        vcore_free(text);
    }
    char *text = long_list("\"eos_token_id\": ", 4097, "");
    assert_int_equal(parse(&c, "{\"model_type\": \"x\"}", text), VLM_ERR_LIMIT);
    assert_string_equal(err.file, "generation_config.json");
    vlm_limits limits = VLM_LIMITS_INIT;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    limits.end_tokens = 5000;
    o.limits = &limits;
    const vlm_config_text config = { "config.json", text, strlen(text) };
    assert_int_equal(vlm_base_config_parse(&c, &config, 1, &o, &err), VLM_OK);
    assert_int_equal(vlm_base_config_eos(c)->n, 4097);
    vlm_base_config_free(c);
    vcore_free(text);
}

/* ---- generation_config.json ------------------------------------------------------------------ */

static void ignored_with_one_line(const char *says) {
    const vlm_load_options o = quiet();
    vlm_base_config *c = load_with(&o);
    if (log_lines != 1 || !strstr(logged, says) || !strstr(logged, "generation_config.json: "))
        fail_msg("%d lines, the last: %s", log_lines, logged);
    assert_null(vlm_base_config_generation(c));
    assert_int_equal(vlm_base_config_eos(c)->ids[0], 7);
    assert_string_equal(vlm_base_config_eos(c)->source, TOP);
    vlm_base_config_free(c);
}

static void a_generation_config_of_no_use_is_passed_over(void **state) {
    (void)state;
    char *path = tdir_path("generation_config.json");
    tdir_put("config.json", "{\"model_type\": \"x\", \"eos_token_id\": 7}");
    const vlm_load_options o = quiet();
    vlm_base_config_free(load_with(&o));
    assert_int_equal(log_lines, 0); /* absent: nothing to say */
    tdir_put("generation_config.json", "{\"eos_token_id\": 8");
    ignored_with_one_line("line 1, column 19: the text ends too early (ignored)");
    tdir_put("generation_config.json", "[8]");
    ignored_with_one_line("must hold an object, holds an array (ignored)");
    tdir_put("generation_config.json", "{\"eos_token_id\": \"\xFF\"}");
    ignored_with_one_line("is not UTF-8 text (ignored)");
    char *large = calloc(1, (1 << 20) + 2);
    memset(large, ' ', (1 << 20) + 1);
    tdir_put("generation_config.json", large);
    ignored_with_one_line("larger than the limit of 1048576 bytes (ignored)");
    free(large);
    remove(path);
    assert_int_equal(mkdir(path, 0700), 0);
    ignored_with_one_line("is a directory, not a file (ignored)");
    remove(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    ignored_with_one_line("is not a regular file (ignored)");
    free(path);
}

/* ---- quantization ---------------------------------------------------------------------------- */

static void quantization_is_typed(void **state) {
    (void)state;
    vlm_quantization_params p;
    vlm_base_config *c = parse_ok("{\"model_type\": \"x\", \"quantization\": {\"group_size\": 64, \"bits\": 4,"
                                  " \"lm_head\": false}}");
    const vlm_quantization *q = vlm_base_config_quantization(c);
    assert_true(vlm_quantization_default(q, &p));
    assert_int_equal(p.bits, 4);
    assert_int_equal(p.group_size, 64);
    assert_int_equal(vlm_quantization_find(q, "lm_head", NULL), VLM_QUANTIZATION_SKIPPED);
    vlm_base_config_free(c);
    refused("{\"model_type\": \"x\", \"quantization\": {\"bits\": 4}}", VLM_ERR_MISSING_FIELD,
            AT "quantization.group_size: is missing", "quantization.group_size");
}

/* ModelOpt writes a file of its own, which counts where config.json says nothing. */
static void modelopt_has_a_file_of_its_own(void **state) {
    (void)state;
    static const char modelopt[] = "{\"quantization\": {\"quant_algo\": \"NVFP4\", \"group_size\": 16}}";
    tdir_put("config.json", "{\"model_type\": \"x\"}");
    tdir_put("hf_quant_config.json", modelopt);
    vlm_base_config *c = load_with(NULL);
    assert_non_null(vlm_base_config_quantization(c));
    vlm_base_config_free(c);
    tdir_put("hf_quant_config.json", "{");
    assert_int_equal(vlm_base_config_load(&c, tdir, NULL, &err), VLM_ERR_PARSE);
    assert_null(c);
    tdir_put("config.json",
               "{\"model_type\": \"x\", \"quantization\": {\"group_size\": 64, \"bits\": 4}}");
    c = load_with(NULL); /* it is not even opened */
    assert_string_equal(vlm_quantization_method(vlm_base_config_quantization(c)), "mlx");
    vlm_base_config_free(c);
}

/* ---- files ----------------------------------------------------------------------------------- */

static char told[2000];

static void note(void *user, const char *path) {
    (void)user;
    size_t used = strlen(told);
    snprintf(told + used, sizeof told - used, "%s\n", strrchr(path, '/') + 1);
}

static void every_file_is_opened_once(void **state) {
    (void)state;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.opened = note;
    told[0] = 0;
    tdir_put("config.json", "{\"model_type\": \"x\"}");
    tdir_put("generation_config.json", "{}");
    vlm_base_config_free(load_with(&o));
    assert_string_equal(told, "config.json\nhf_quant_config.json\ngeneration_config.json\n");
}

static void a_failing_step_leaves_later_ones_alone(void **state) {
    (void)state;
    vlm_base_config *c;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.opened = note;
    told[0] = 0;
    tdir_put("config.json", "{}");
    assert_int_equal(vlm_base_config_load(&c, tdir, &o, &err), VLM_ERR_MISSING_FIELD);
    assert_string_equal(told, "config.json\n");
    char *path = tdir_path("config.json");
    remove(path);
    told[0] = 0;
    assert_int_equal(vlm_base_config_load(&c, tdir, &o, &err), VLM_ERR_NOT_FOUND);
    assert_string_equal(err.file, path);
    assert_string_equal(err.operation, "open");
    assert_string_equal(told, "config.json\n");
    free(path);
    path = tdir_path("nowhere");
    assert_int_equal(vlm_base_config_load(&c, path, &o, &err), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "nowhere: no such checkpoint directory"));
    assert_string_equal(err.file, path);
    free(path);
}

int main(void) {
#define TEST(name) TDIR_TEST(name, NULL)
    const struct CMUnitTest tests[] = {
        TEST(model_type_is_required),
        TEST(everything_else_passes_through),
        TEST(the_texts_are_copied),
        TEST(misuse_is_an_error),
        TEST(json_as_python_writes_it),
        TEST(a_byte_order_mark_is_skipped),
        TEST(depth_is_bounded),
        TEST(end_tokens_from_memory_and_from_files),
        TEST(at_the_top_a_wrong_type_is_an_error),
        TEST(too_many_end_tokens_are_an_error_not_a_cut),
        TEST(a_generation_config_of_no_use_is_passed_over),
        TEST(quantization_is_typed),
        TEST(modelopt_has_a_file_of_its_own),
        TEST(every_file_is_opened_once),
        TEST(a_failing_step_leaves_later_ones_alone),
    };
    return cmocka_run_group_tests_name("base config", tests, NULL, NULL);
}
