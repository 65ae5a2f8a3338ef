/* SPDX-License-Identifier: MIT */
/* Prompts from messages to ids, through a real tokenizer: one BOS, what the caller says beside the messages, and special
 * tokens that somebody typed. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/dir.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_error err;

/* ---- prompts ------------------------------------------------------------------------------------------------ */

typedef struct variable {
    const char *name, *json;
} variable;

static vlm_context *load(void) {
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    vlm_context *c;
    options.threads = 1;
    if (vlm_context_load(&c, tdir, &options, &err) < 0) fail_msg("%s", err.message);
    return c;
}

static vlm_status prepare(vlm_prepared **out, const vlm_context *c, const char *chat, const variable *variables,
                          size_t n) {
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    if (vlm_input_set_messages(in, chat, &err) < 0) fail_msg("%s", err.message);
    for (size_t i = 0; i < n && variables[i].name; i++)
        if (vlm_input_set_variable(in, variables[i].name, variables[i].json, &err) < 0) fail_msg("%s", err.message);
    err = (vlm_error) VLM_ERROR_INIT;
    vlm_status status = vlm_prepare(out, c, in, &err);
    vlm_input_free(in);
    return status;
}

/* The ids of a chat as text, owned (vlm_string_free): special ones stand between ( ). */
static char *ids_of(const vlm_context *c, const char *chat, const variable *variables, size_t n) {
    vlm_prepared *p;
    vcore_buf b = { 0 };
    size_t n_ids;
    if (prepare(&p, c, chat, variables, n) < 0) fail_msg("%s", err.message);
    const uint32_t *ids = vlm_prepared_ids(p, &n_ids);
    for (size_t i = 0; i < n_ids; i++) {
        char *plain, *whole;
        assert_int_equal(vlm_tokenizer_decode(&plain, vlm_context_tokenizer(c), ids + i, 1, 1, &err), VLM_OK);
        assert_int_equal(vlm_tokenizer_decode(&whole, vlm_context_tokenizer(c), ids + i, 1, 0, &err), VLM_OK);
        vcore_buf_printf(&b, *plain ? "%s" : "(%s)", whole);
        vlm_string_free(plain);
        vlm_string_free(whole);
    }
    vlm_prepared_free(p);
    char *text = vcore_strdup(b.p ? b.p : "");
    vcore_buf_free(&b);
    return text;
}

static void check(const vlm_context *c, const char *chat, const variable *variables, size_t n, const char *expected) {
    char *text = ids_of(c, chat, variables, n);
    assert_string_equal(text, expected);
    vlm_string_free(text);
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (; (text = strstr(text, what)); text += strlen(what)) n++;
    return n;
}

/* ---- BOS ---------------------------------------------------------------------------------------------------- */

/* The tokenizer's post-processor adds BOS and EOS, and the processor asks for them. */
static void one_bos(void **state) {
    static const char adds[] =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\",\"type_id\":0}},"
        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"E\",\"type_id\":0}}],\"pair\":[],"
        "\"special_tokens\":{\"B\":{\"id\":\"B\",\"ids\":[477],\"tokens\":[\"<|im_start|>\"]},"
        "\"E\":{\"id\":\"E\",\"ids\":[481],\"tokens\":[\"<end_of_utterance>\"]}}}";
    static const struct {
        const char *template, *expected;
    } cases[] = {
        { "{{ bos_token }}a", "(<|im_start|>)a" },
        { "<|im_start|>a{{ bos_token }}b", "(<|im_start|>)a(<|im_start|>)b" },
        { "{{ bos_token }}{{ bos_token }}a", "(<|im_start|>)(<|im_start|>)a" }, /* the template's own doing */
        { "{{ 'a' }}", "(<|im_start|>)a(<end_of_utterance>)" },
        { "a{{ bos_token }}", "(<|im_start|>)a(<|im_start|>)(<end_of_utterance>)" },
        { " {{ bos_token }}", "(<|im_start|>) (<|im_start|>)(<end_of_utterance>)" },
        { "{{ messages[0].content[0].text }}", "(<|im_start|>)<|im_start|>(<end_of_utterance>)" }, /* typed: no BOS */
        { "{{ bos_token ~ messages[0].content[0].text }}", "(<|im_start|>)<|im_start|>" },
    };
    (void)state;
    EDIT(SET("tokenizer.json", "post_processor", adds));
    vlm_context *c = load();
    assert_true(c->processor_type->add_special_tokens);
    for (size_t i = 0; i < COUNT(cases); i++) {
        vcore_buf quoted = { 0 };
        vcore_json_quote(&quoted, cases[i].template, strlen(cases[i].template));
        const variable template = { "chat_template", quoted.p };
        check(c, "[{\"role\":\"user\",\"content\":\"<|im_start|>\"}]", &template, 1, cases[i].expected);
        vcore_buf_free(&quoted);
    }
    vlm_context_free(c);
}

/* ---- what the caller says beside the messages ----------------------------------------------------------------- */

static const char two[] =
    "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"It <|im_end|>is\"}]";
#define TURNS "(<|im_start|>)system\nYou are a helpful assistant.(<|im_end|>)\n(<|im_start|>)user\nq(<|im_end|>)\n(<|im_start|>)assistant\n"

static void variables_of_an_input(void **state) {
    static const struct {
        variable variables[3];
        const char *expected;
    } cases[] = {
        { { { NULL, NULL } }, TURNS "It <|im_end|>is(<|im_end|>)\n(<|im_start|>)assistant\n" },
        { { { "continue_final_message", "true" } }, TURNS "It <|im_end|>is" },
        { { { "continue_final_message", "\"content\"" } }, TURNS "It <|im_end|>is" },
        { { { "continue_final_message", " false" } }, TURNS "It <|im_end|>is(<|im_end|>)\n(<|im_start|>)assistant\n" },
        { { { "continue_final_message", "null" } }, TURNS "It <|im_end|>is(<|im_end|>)\n(<|im_start|>)assistant\n" },
        { { { "add_generation_prompt", "false" } }, TURNS "It <|im_end|>is(<|im_end|>)\n" },
        { { { "_trusted_roles", "[\"assistant\"]" }, { "continue_final_message", "true" } }, TURNS "It (<|im_end|>)is" },
        { { { "_trusted_roles", "[\"user\", \"tool\"]" }, { "continue_final_message", "true" } },
          TURNS "It <|im_end|>is" },
        { { { "chat_template", "\"<|im_start|>{{ x }}{{ add_generation_prompt }}\"" }, { "x", "[1, \"<|im_end|>\"]" } },
          "(<|im_start|>)[1, '(<|im_end|>)']True" },
        { { { "chat_template", "\"{{ tools | tojson }}{{ documents | length }}\"" },
            { "tools", "[{\"name\": \"f<|im_end|>\"}]" }, { "documents", "[{}]" } },
          "[{\"name\": \"f<|im_end|>\"}]1" },
        { { { "chat_template", "\"{{ tools is none }}{{ strftime_now('%Y') }}\"" }, { "_now", "0" } }, "True1970" },
    };
    (void)state;
    vlm_context *c = load();
    for (size_t i = 0; i < COUNT(cases); i++) check(c, two, cases[i].variables, 3, cases[i].expected);
    vlm_context_free(c);
}

static void wrong_variables_are_refused(void **state) {
    static const struct {
        variable variables[2];
        vlm_status status;
        const char *message;
    } cases[] = {
        { { { "continue_final_message", "3" } }, VLM_ERR_ARGUMENT, "continue_final_message: must be a boolean or a string" },
        { { { "continue_final_message", "true" }, { "add_generation_prompt", "true" } }, VLM_ERR_ARGUMENT,
          "exclude each other" },
        { { { "continue_final_message", "\"thinking\"" } }, VLM_ERR_TEMPLATE, "no 'thinking' to continue" },
        { { { "chat_template", "\"nope\"" } }, VLM_ERR_TEMPLATE, "no chat template" },
        { { { "chat_template", "\"{{ 1\"" } }, VLM_ERR_TEMPLATE, "chat_template:1: " },
        { { { "_trusted_roles", "\"user\"" } }, VLM_ERR_ARGUMENT, "_trusted_roles: must be an array" },
        { { { "_now", "\"x\"" } }, VLM_ERR_ARGUMENT, "_now: must be an integer" },
    };
    (void)state;
    vlm_context *c = load();
    for (size_t i = 0; i < COUNT(cases); i++) {
        vlm_prepared *p;
        assert_int_equal(prepare(&p, c, two, cases[i].variables, 2), cases[i].status);
        assert_null(p);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s", err.message);
    }
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_set_variable(in, "x", "1, \"messages\": []", &err), VLM_ERR_PARSE);
    vlm_input_free(in);
    vlm_context_free(c);
}

/* ---- special tokens that somebody typed ----------------------------------------------------------------------- */

#define TYPED "<|im_end|>"

/* Wherever it stands in what people, tools and models said, and in names: eight places, each printed by the template. */
static void a_typed_token_is_text(void **state) {
    static const char chat[] =
        "[{\"role\":\"system\",\"content\":\"" TYPED "\"},"
        "{\"role\":\"user\",\"name\":\"" TYPED "\",\"content\":[{\"type\":\"text\",\"text\":\"" TYPED "\"}]},"
        "{\"role\":\"assistant\",\"content\":\"" TYPED "\",\"reasoning_content\":\"" TYPED "\",\"tool_calls\":"
        "[{\"function\":{\"name\":\"" TYPED "\",\"arguments\":\"{\\\"a\\\": \\\"" TYPED "\\\"}\"}}]},"
        "{\"role\":\"tool\",\"content\":\"" TYPED "\"}]";
    static const variable variables[] = {
        { "chat_template",
          "\"{% for m in messages %}<|im_start|>{{ m.role ~ m.name }}{{ m.reasoning_content }}\\n"
          "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content | map(attribute='text') | join }}{% endif %}"
          "{% for t in m.tool_calls %}{{ t.function | tojson }}{% endfor %}<|im_end|>{% endfor %}\"" },
        { "_trusted_roles", "[\"assistant\"]" },
    };
    (void)state;
    vlm_context *c = load();
    char *text = ids_of(c, chat, variables, 1);
    assert_int_equal(count(text, "(<|im_start|>)"), 4);
    assert_int_equal(count(text, "(" TYPED ")"), 4);
    assert_int_equal(count(text, TYPED), 4 + 8);
    vlm_string_free(text);
    text = ids_of(c, chat, variables, 2); /* the assistant's four are the template's now, nobody else's */
    assert_int_equal(count(text, "(<|im_start|>)"), 4);
    assert_int_equal(count(text, "(" TYPED ")"), 4 + 4);
    assert_int_equal(count(text, TYPED), 4 + 8);
    assert_non_null(strstr(text, "(<|im_start|>)assistant(" TYPED ")\n(" TYPED ")"));
    assert_non_null(strstr(text, "(<|im_start|>)tool\n" TYPED "(" TYPED ")"));
    vlm_string_free(text);
    vlm_context_free(c);
}

/* Keeps what stands between ( ), one after another. */
static void keep_special(char *text) {
    char *to = text;
    for (bool in = false; *text; text++) {
        if (*text == '(' && text[1] == '<') in = true;
        if (in) *to++ = *text;
        if (*text == ')') in = false;
    }
    *to = 0;
}

/* All special tokens of the tokenizer as a JSON string's inside. */
static void all_special(char *out, size_t size) {
    vcore_json_doc *doc;
    char *path = tdir_path("tokenizer.json");
    assert_int_equal(vio_read_json(&doc, NULL, path, 1 << 24, NULL, &err), VLM_OK);
    const vlm_json *added = vcore_json_get(vcore_json_root(doc), "added_tokens");
    size_t n = 0;
    assert_true(vcore_json_count(added) > 5);
    for (size_t i = 0; i < vcore_json_count(added); i++) {
        vcore_str s;
        assert_true(vcore_json_string(vcore_json_get(vcore_json_at(added, i), "content"), &s));
        assert_true(n + s.n < size);
        n += (size_t)snprintf(out + n, size - n, "%.*s", (int)s.n, s.p);
    }
    vcore_json_free(doc);
    free(path);
}

/* The checkpoints' own templates: all their special tokens, typed, change no special id of the prompt. */
static void no_family_takes_a_typed_token(void **state) {
    static const char *const goldens[] = { "tests/golden/idefics3-whole", "tests/golden/idefics3-split",
                                           "tests/golden/smolvlm-video", "tests/golden/qwen2_5_vl-tied",
                                           "tests/golden/qwen2_5_vl-untied" };
    (void)state;
    for (size_t i = 0; i < COUNT(goldens); i++) {
        char tokens[1000], chat[2][4000];
        static const char format[] = "[{\"role\":\"user\",\"content\":\"%s\"},{\"role\":\"assistant\",\"content\":\"%s\"},"
                                     "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}]";
        tdir_renew(goldens[i]);
        all_special(tokens, sizeof tokens);
        snprintf(chat[0], sizeof chat[0], format, tokens, tokens, tokens);
        snprintf(chat[1], sizeof chat[1], format, "x", "y", "z");
        vlm_context *c = load();
        char *typed = ids_of(c, chat[0], NULL, 0), *plain = ids_of(c, chat[1], NULL, 0);
        assert_int_equal(count(typed, tokens), 3);
        keep_special(typed);
        keep_special(plain);
        assert_true(strlen(plain) > 10);
        assert_string_equal(typed, plain);
        vlm_string_free(typed);
        vlm_string_free(plain);
        vlm_context_free(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TDIR_TEST(one_bos, "tests/golden/idefics3-whole"),
        TDIR_TEST(variables_of_an_input, "tests/golden/qwen2_5_vl-tied"),
        TDIR_TEST(wrong_variables_are_refused, "tests/golden/qwen2_5_vl-tied"),
        TDIR_TEST(a_typed_token_is_text, "tests/golden/qwen2_5_vl-tied"),
        TDIR_TEST(no_family_takes_a_typed_token, NULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
