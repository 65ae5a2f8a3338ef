/* SPDX-License-Identifier: MIT */
/* Chat templates of checkpoint directories: which file wins, named templates, special tokens,
 * limits. */
#include "support/dir.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "text/text.h"

static vlm_error err;

static const char *const files[] = { "processor_config.json", "chat_template.json",
                                     "chat_template.jinja", "tokenizer_config.json",
                                     "special_tokens_map.json" };
enum { PROCESSOR, LEGACY, JINJA, TOKENIZER, SPECIAL };

static void write_file(int file, const char *text) {
    tdir_put(files[file], text);
}

static void check(const char *messages, const char *variables, const char *expected) {
    char *text;
    if (vlm_template_render(&text, tdir, messages, variables, NULL, &err) != VLM_OK)
        fail_msg("%s", err.message);
    assert_string_equal(text, expected);
    vlm_string_free(text);
}

static void check_failure(const char *messages, const char *variables, vlm_status status,
                          const char *message) {
    char *text = tdir;
    assert_int_equal(vlm_template_render(&text, tdir, messages, variables, NULL, &err), status);
    assert_null(text);
    if (!strstr(err.message, message)) fail_msg("%s", err.message);
}

/* Each file outranks those written before it, as in transformers. */
static void files_rank(void **state) {
    (void)state;
    check_failure("[]", NULL, VLM_ERR_TEMPLATE, "it has no chat template");
    write_file(TOKENIZER, "{\"chat_template\":\"tokenizer\"}");
    check("[]", NULL, "tokenizer");
    write_file(JINJA, "jinja");
    check("[]", NULL, "jinja");
    write_file(LEGACY, "{\"chat_template\":\"legacy\"}");
    check("[]", NULL, "legacy");
    write_file(PROCESSOR, "{\"processor_class\":\"X\"}");
    check("[]", NULL, "legacy");
    write_file(PROCESSOR, "{\"chat_template\":\"processor\"}");
    check("[]", NULL, "processor");
}

static void named_templates(void **state) {
    (void)state;
    write_file(TOKENIZER, "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T\"},"
                          "{\"name\":\"default\",\"template\":\"D\"}]}");
    check("[]", NULL, "D");
    check("[]", "{\"chat_template\":\"tool_use\"}", "T");
    check("[]", "{\"chat_template\":\"default\",\"tools\":[]}", "D");
    check("[]", "{\"tools\":[]}", "T"); /* tools choose it */
    check("[]", "{\"tools\":null}", "D");
    check("[]", "{\"chat_template\":\"own {{ 1 + 1 }} {{ chat_template is defined }}\"}",
          "own 2 False");
    check_failure("[]", "{\"chat_template\":\"nope\"}", VLM_ERR_TEMPLATE,
                  "no chat template named 'nope'; there are: tool_use, default");
    check_failure("[]", "{\"chat_template\":\"{{\"}", VLM_ERR_TEMPLATE, "chat_template:1: ");
    write_file(TOKENIZER, "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"T\"}]}");
    check_failure("[]", NULL, VLM_ERR_TEMPLATE,
                  "no chat template is called default; choose one by chat_template: rag");
    check("[]", "{\"chat_template\":\"rag\"}", "T");
    write_file(TOKENIZER, "{\"chat_template\":{\"default\":\"D\",\"rag\":\"R\"}}");
    check("[]", NULL, "D");
    check("[]", "{\"chat_template\":\"rag\"}", "R");
    write_file(TOKENIZER, "{\"chat_template\":[{\"name\":\"rag\"}]}");
    check_failure("[]", NULL, VLM_ERR_FORMAT, "chat_template: entry 0 has no name or template");
    write_file(TOKENIZER, "{\"chat_template\":5}");
    check_failure("[]", NULL, VLM_ERR_FORMAT, "chat_template: must be a string or a list, is ");
    write_file(TOKENIZER, "{\"chat_template\":null}");
    check_failure("[]", NULL, VLM_ERR_TEMPLATE, "it has no chat template");
}

/* additional_chat_templates/NAME.jinja beside chat_template.jinja; never beside the older file. */
static void additional_templates(void **state) {
    (void)state;
    write_file(TOKENIZER, "{\"chat_template\":\"old\"}");
    char *folder = tdir_path("additional_chat_templates");
    assert_int_equal(mkdir(folder, 0700), 0);
    free(folder);
    check("[]", NULL, "old");
    tdir_put("additional_chat_templates/rag.jinja", "R");
    tdir_put("additional_chat_templates/tool_use.jinja", "T");
    tdir_put("additional_chat_templates/notes.txt", "{%");
    check_failure("[]", NULL, VLM_ERR_TEMPLATE, "choose one by chat_template: rag, tool_use");
    check("[]", "{\"tools\":[]}", "T");
    write_file(JINJA, "J");
    check("[]", NULL, "J");
    check("[]", "{\"chat_template\":\"rag\"}", "R");
    check("[]", "{\"tools\":[]}", "T");
    write_file(LEGACY, "{\"chat_template\":\"legacy\"}");
    check_failure("[]", NULL, VLM_ERR_FORMAT, "chat_template.json: it may not stand beside");
    write_file(LEGACY, NULL);
    tdir_put("additional_chat_templates/rag.jinja", "{% if %}");
    check("[]", NULL, "J"); /* what is broken is told when it is asked for */
    check_failure("[]", "{\"chat_template\":\"rag\"}", VLM_ERR_TEMPLATE,
                  "additional_chat_templates/rag.jinja:1: ");
    write_file(PROCESSOR, "{\"chat_template\":\"processor\"}");
    check("[]", NULL, "processor");
}

/* Expectations are transformers' own (5.17, render_jinja_template). */
static void final_message_goes_on(void **state) {
    static const char two[] =
        "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"It is \"}]";
    static const char parts[] =
        "[{\"role\":\"user\",\"content\":\"CONTINUE_FINAL_MESSAGE_TAG\"},{\"role\":\"assistant\","
        "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\"}],\"thinking\":\"hm\"}"
        "]";
    static const char go[] = "{\"continue_final_message\":true}";
    (void)state;
    write_file(JINJA, "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}"
                      "{{ continue_final_message is defined }}");
    check(two, go, "<user>q</s>\n<assistant>It is ");
    check(two, "{\"continue_final_message\":false}", "<user>q</s>\n<assistant>It is </s>\nFalse");
    check(two, "{\"continue_final_message\":\"content\"}", "<user>q</s>\n<assistant>It is ");
    check_failure(two, "{\"continue_final_message\":true,\"add_generation_prompt\":true}",
                  VLM_ERR_ARGUMENT, "exclude each other");
    check_failure(two, "{\"continue_final_message\":\"thinking\"}", VLM_ERR_TEMPLATE,
                  "the final message has no 'thinking' to continue");
    check_failure(parts, "{\"continue_final_message\":\"thinking\"}", VLM_ERR_TEMPLATE,
                  "the template knows no 'thinking'");
    check_failure("[]", go, VLM_ERR_TEMPLATE, "the final message has no 'content' to continue");
    write_file(JINJA,
               "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>\n{% endfor %}");
    check(two, go,
          "<user>q</s>\n<assistant>It is"); /* the template trims, so its blank goes, too */
    write_file(JINJA, "{% for m in messages %}{{ m.content if m.content is string else "
                      "m.content[0].text }}{{ m.thinking }}\n"
                      "{% endfor %}{{ messages[0].content }}");
    check(parts, go, "CONTINUE_FINAL_MESSAGE_TAG\na"); /* one that a user typed is none */
    check(parts, "{\"continue_final_message\":\"thinking\"}", "CONTINUE_FINAL_MESSAGE_TAG\nahm");
    write_file(JINJA, "{% for m in messages %}{{ m.content[:2] }}{% endfor %}");
    check_failure(two, go, VLM_ERR_TEMPLATE, "the final message does not appear");
}

static void variables_and_tokens(void **state) {
    (void)state;
    write_file(JINJA,
               "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}|{{ tools is none }}|"
               "{{ documents is none }}|{{ add_generation_prompt }}|{{ x }}|"
               "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}\n");
    write_file(TOKENIZER,
               "{\"bos_token\":{\"content\":\"<s>\",\"special\":true},\"pad_token\":null}");
    write_file(SPECIAL, "{\"eos_token\":\"</s>\",\"bos_token\":\"<old>\"}");
    check("[{\"role\":\"user\",\"content\":\"hi\"}]", NULL,
          "<s>|</s>|False|True|True|False||user:hi;");
    check("[]", "{\"x\":[1],\"eos_token\":\"E\",\"add_generation_prompt\":true,\"tools\":[]}",
          "<s>|E|False|False|True|True|[1]|");
    check("[]", "{\"_now\":86400}", "<s>|</s>|False|True|True|False||");
}

static void time_is_given(void **state) {
    (void)state;
    write_file(JINJA, "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}{{ _now is defined }}");
    check("[]", "{\"_now\":1772636767}", "2026-03-04 15:06:07False");
    check("[]", "{\"_now\":-1}", "1969-12-31 23:59:59False");
    check_failure("[]", "{\"_now\":9223372036854775807}", VLM_ERR_TEMPLATE, "time out of range");
}

static void bad_input(void **state) {
    char *text;
    (void)state;
    write_file(JINJA, "line\n{{ messages.x.y }}");
    check_failure("[]", NULL, VLM_ERR_TEMPLATE,
                  "/chat_template.jinja:2: 'list' has no attribute or item 'x'");
    check_failure("{}", NULL, VLM_ERR_ARGUMENT, "messages: must be a JSON array");
    check_failure("[", NULL, VLM_ERR_PARSE, "messages");
    check_failure("[],\"x\":[]", NULL, VLM_ERR_PARSE, "messages");
    check_failure("[]", "[]", VLM_ERR_ARGUMENT, "template variables: must be an object");
    write_file(JINJA, "{% if %}");
    check_failure("[]", NULL, VLM_ERR_TEMPLATE, "/chat_template.jinja:1: unexpected '%}'");
    write_file(JINJA, "\xff");
    check_failure("[]", NULL, VLM_ERR_ENCODING, "chat_template.jinja");
    write_file(LEGACY, "{");
    check_failure("[]", NULL, VLM_ERR_PARSE, "chat_template.json");
    assert_int_equal(vlm_template_render(&text, NULL, "[]", NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_template_render(&text, tdir, NULL, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_template_render(&text, "/nonexistent", "[]", NULL, NULL, &err),
                     VLM_ERR_NOT_FOUND);
    assert_null(text);
}

static void size_is_limited(void **state) {
    vlm_limits limits = VLM_LIMITS_INIT;
    char *text;
    (void)state;
    limits.template_bytes = 4;
    write_file(JINJA, "12345");
    assert_int_equal(vlm_template_render(&text, tdir, "[]", NULL, &limits, &err), VLM_ERR_LIMIT);
    assert_non_null(strstr(err.message, "chat_template.jinja"));
    write_file(JINJA, "1234");
    assert_int_equal(vlm_template_render(&text, tdir, "[]", NULL, &limits, &err), VLM_OK);
    vlm_string_free(text);
    write_file(TOKENIZER, "{\"chat_template\":\"12345\"}");
    write_file(JINJA, "");
    EDIT(REMOVE("chat_template.jinja"));
    assert_int_equal(vlm_template_render(&text, tdir, "[]", NULL, &limits, &err), VLM_ERR_LIMIT);
    assert_non_null(
        strstr(err.message, "tokenizer_config.json: chat_template: more than 4 bytes"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TDIR_TEST(files_rank, NULL),
        TDIR_TEST(named_templates, NULL),
        TDIR_TEST(additional_templates, NULL),
        TDIR_TEST(final_message_goes_on, NULL),
        TDIR_TEST(variables_and_tokens, NULL),
        TDIR_TEST(time_is_given, NULL),
        TDIR_TEST(bad_input, NULL),
        TDIR_TEST(size_is_limited, NULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
