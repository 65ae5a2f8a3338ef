/* SPDX-License-Identifier: MIT */
/* The command as other programs rely on it: what generate, dump and the commands of text print, over the checkpoints of
 * the goldens. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli_check.h"
#include "support/golden.h"
#include "support/checkpoint.h"

#define GOLDEN "tests/golden/idefics3-split"
#define PICTURE "tests/data/pictures/landscape.jpg"

static char *dir; /* a good checkpoint, shared by the tests */
static tgolden *golden;

static int make_checkpoint(void **state) {
    (void)state;
    dir = tcheckpoint_temp_dir();
    golden = tgolden_open(GOLDEN);
    return dir && golden && tcheckpoint_write(GOLDEN, dir, NULL) ? 0 : -1;
}

static int remove_checkpoint(void **state) {
    (void)state;
    tcheckpoint_remove(dir);
    free(dir);
    tgolden_close(golden);
    return 0;
}

static void generate_json_has_the_documented_form(void **state) {
    (void)state;
    const tgolden_case *of = tgolden_case_named(golden, "landscape");
    size_t n;
    const int64_t *want = tgolden_i64(golden, of, "greedy.tokens", &n);
    const char *argv[] = { "vlm", "generate", "-m", dir, "-i", PICTURE, "-p", "Describe the picture.", "--dtype", "f32",
                           "--max-tokens", "32", "--ignore-eos", "--json", NULL };
    json_object *o = run_json(argv);
    json_object *tokens = at(o, "tokens");
    assert_int_equal(json_object_array_length(tokens), n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(json_object_get_int64(json_object_array_get_idx(tokens, i)), want[i]);
    assert_int_equal(json_object_get_int64(at(o, "prompt_tokens")), of->prompt_tokens);
    assert_int_equal(json_object_get_int64(at(o, "image_tokens")), of->image_tokens);
    assert_string_equal(json_object_get_string(at(o, "finish_reason")), "length");
    assert_true(json_object_is_type(at(o, "text"), json_type_string));
    static const char *const timing[] = { "load_ms", "process_ms", "vision_ms", "prefill_ms", "ttft_ms", "decode_tok_s" };
    for (size_t i = 0; i < 6; i++) assert_true(json_object_get_double(at(at(o, "timing"), timing[i])) > 0);
    static const char *const memory[] = { "weights_bytes", "kv_bytes", "peak_rss_bytes" };
    for (size_t i = 0; i < 3; i++) assert_true(json_object_get_int64(at(at(o, "memory"), memory[i])) > 0);
    json_object_put(o);
}

/* The budget forces the end of a block that the prompt opens, so that both parts are there. */
static void generate_tells_thinking_apart(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "generate", "-m", dir, "--raw-prompt", "Hello <|im_start|>", "--dtype", "f32", "--max-tokens", "12", "--ignore-eos",
                           "--thinking-budget", "3", "--thinking-start-token", "<|im_start|>", "--thinking-end-token", "<|im_end|>", "--json", NULL };
    json_object *o = run_json(argv);
    const char *text = json_object_get_string(at(o, "text")), *reasoning = json_object_get_string(at(o, "reasoning_content"));
    const char *end = strstr(text, "\n<|im_end|>");
    assert_non_null(end);
    assert_null(strstr(reasoning, "<|im_end|>"));
    assert_true(strlen(reasoning) <= (size_t)(end - text));
    assert_non_null(at(o, "content"));
    assert_false(json_object_object_get_ex(o, "tool_calls", NULL));
    json_object_put(o);
}

static void generate_has_a_list_of_tool_calls(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "generate", "-m", dir, "--raw-prompt", "Hello", "--dtype", "f32", "--max-tokens", "4", "--tool-parser", "pythonic", "--json", NULL };
    json_object *o = run_json(argv);
    assert_int_equal(json_object_array_length(at(o, "tool_calls")), 0);
    assert_true(json_object_is_type(at(o, "content"), json_type_string));
    json_object_put(o);
    argv[11] = "no_such";
    tprocess p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 2);
    assert_non_null(strstr(p.err, "--tool-parser"));
    tprocess_free(&p);
}

static void streamed_text_is_the_json_text(void **state) {
    (void)state;
    const char *json[] = { "vlm", "generate", "-m", dir, "-p", "Hello", "--dtype", "f32", "--max-tokens", "24", "--ignore-eos", "--json", NULL };
    const char *text[] = { "vlm", "generate", "-m", dir, "-p", "Hello", "--dtype", "f32", "--max-tokens", "24", "--ignore-eos", NULL };
    json_object *o = run_json(json);
    char *out = run(text);
    size_t n = strlen(out);
    assert_int_equal(out[n - 1], '\n');
    out[n - 1] = 0;
    assert_string_equal(out, json_object_get_string(at(o, "text")));
    free(out);
    json_object_put(o);
}

static void a_stop_string_cuts_the_text(void **state) {
    (void)state;
    const char *all[] = { "vlm", "generate", "-m", dir, "-p", "Hello", "--dtype", "f32", "--max-tokens", "24", "--ignore-eos", NULL };
    char *whole = run(all);
    size_t n = strlen(whole);
    assert_true(n > 12);
    char stop[8] = { 0 };
    size_t begin = n / 2, end; /* whole characters, three bytes or more */
    while ((whole[begin] & 0xC0) == 0x80) begin++;
    for (end = begin + 3; (whole[end] & 0xC0) == 0x80;) end++;
    memcpy(stop, whole + begin, end - begin);
    const char *argv[] = { "vlm", "generate", "-m", dir, "-p", "Hello", "--dtype", "f32", "--max-tokens", "24", "--ignore-eos",
                           "--stop", stop, "--json", NULL };
    json_object *o = run_json(argv);
    const char *cut = json_object_get_string(at(o, "text"));
    assert_null(strstr(cut, stop));
    assert_memory_equal(cut, whole, strlen(cut));
    assert_memory_equal(whole + strlen(cut), stop, strlen(stop));
    assert_string_equal(json_object_get_string(at(o, "finish_reason")), "stop");
    json_object_put(o);
    free(whole);
}

/* What is typed is text: it costs tokens, but makes no place for a picture. */
static void media_tokens_typed_by_a_user_are_text(void **state) {
    (void)state;
    static const char *const typed[] = { "<image>", "a <image><image> b", "<fake_token_around_image><global-img><image>",
                                         "<end_of_utterance>", "<|im_start|>" };
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
        const char *argv[] = { "vlm", "generate", "-m", dir, "-i", PICTURE, "-p", typed[i], "--max-tokens", "2", "--json", NULL };
        json_object *o = run_json(argv);
        assert_int_equal(json_object_get_int64(at(o, "image_tokens")), 52);
        json_object_put(o);
    }
}

/* A prepared input made by the reference's processor gives the reference's tokens. */
static void a_prepared_input_gives_the_references_tokens(void **state) {
    (void)state;
    size_t checked = 0;
    tgolden *whole = tgolden_open("tests/golden/idefics3-whole");
    char *other = tcheckpoint_temp_dir();
    assert_true(tcheckpoint_write("tests/golden/idefics3-whole", other, NULL));
    for (size_t i = 0; i < tgolden_case_count(whole); i++) {
        const tgolden_case *of = tgolden_case_at(whole, i);
        bool stored = true;
        for (size_t k = 0; k < of->output_count; k++) stored &= of->outputs[k].stored;
        if (!stored) continue;
        size_t n;
        const int64_t *want = tgolden_i64(whole, of, "greedy.tokens", &n);
        char *path = tcheckpoint_path(other, "made_by_reference.bin");
        assert_true(tgolden_write_input(whole, of, path));
        const char *argv[] = { "vlm", "generate", "-m", other, "--input", path, "--dtype", "f32", "--max-tokens", "32",
                               "--ignore-eos", "--json", NULL };
        json_object *o = run_json(argv);
        for (size_t t = 0; t < n; t++)
            assert_int_equal(json_object_get_int64(json_object_array_get_idx(at(o, "tokens"), t)), want[t]);
        json_object_put(o);
        free(path);
        checked++;
    }
    assert_true(checked >= 2);
    tcheckpoint_remove(other);
    free(other);
    tgolden_close(whole);
}

static void dump_writes_every_stage(void **state) {
    (void)state;
    static const struct {
        const char *stage, *tensor;
    } stages[] = { { "processor", "\"pixel_values\"" }, { "vision", "\"image_features\"" }, { "layers", "\"hidden.norm\"" }, { "logits", "\"logits\"" } };
    for (size_t i = 0; i < 4; i++) {
        char *path = tcheckpoint_path(dir, "stage.bin");
        const char *argv[] = { "vlm", "dump", "-m", dir, "-i", PICTURE, "-p", "x", "--stage", stages[i].stage, "--out", path, NULL };
        free(run(argv));
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        char header[4096] = { 0 };
        size_t n = fread(header, 1, sizeof header - 1, f);
        fclose(f);
        assert_non_null(memmem(header, n, stages[i].tensor, strlen(stages[i].tensor)));
        assert_int_equal(remove(path), 0);
        free(path);
    }
}

/* The dumped processor stage is itself an input. */
static void a_dumped_input_generates_the_same(void **state) {
    (void)state;
    char *path = tcheckpoint_path(dir, "prepared.bin");
    const char *dump[] = { "vlm", "dump", "-m", dir, "-i", PICTURE, "-p", "What?", "--stage", "processor", "--out", path, NULL };
    free(run(dump));
    const char *from_file[] = { "vlm", "generate", "-m", dir, "--input", path, "--max-tokens", "12", "--ignore-eos", NULL };
    const char *from_picture[] = { "vlm", "generate", "-m", dir, "-i", PICTURE, "-p", "What?", "--max-tokens", "12", "--ignore-eos", NULL };
    char *a = run(from_file), *b = run(from_picture);
    assert_string_equal(a, b);
    free(a);
    free(b);
    assert_int_equal(remove(path), 0);
    free(path);
}

static void tokenize_and_detokenize_are_inverse(void **state) {
    (void)state;
    static const char *const texts[] = { "Hello, world", "naïve 北京 ☂", "  two  spaces\n", "3.14 <image> end" };
    for (size_t i = 0; i < 4; i++) {
        const char *to[] = { "vlm", "tokenize", "-m", dir, texts[i], NULL };
        char *ids = run(to);
        assert_int_equal(ids[0], '[');
        const char *from[] = { "vlm", "detokenize", "-m", dir, ids, NULL };
        char *text = run(from);
        assert_int_equal(strlen(text), strlen(texts[i]) + 1);
        assert_memory_equal(text, texts[i], strlen(texts[i]));
        free(ids);
        free(text);
    }
    const char *pieces[] = { "vlm", "tokenize", "-m", dir, "a b", "--json", NULL };
    json_object *o = run_json(pieces);
    json_object *first = json_object_array_get_idx(o, 0);
    assert_int_equal(json_object_get_int(at(first, "begin")), 0);
    assert_int_equal(json_object_get_int(at(first, "end")), 1);
    assert_string_equal(json_object_get_string(at(first, "piece")), "a");
    json_object_put(o);
}

static void template_renders_the_references_text(void **state) {
    (void)state;
    const tgolden_case *of = tgolden_case_named(golden, "two-turns");
    char *path = tcheckpoint_path(dir, "chat.json");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(of->messages, f);
    fclose(f);
    const char *argv[] = { "vlm", "template", "-m", dir, "--messages", path, NULL };
    char *text = run(argv);
    assert_string_equal(text, of->text);
    free(text);
    assert_int_equal(remove(path), 0);
    free(path);
}

/* Variables come beside the generation prompt, not instead of it. */
static void template_takes_variables(void **state) {
    (void)state;
    char *path = tcheckpoint_path(dir, "chat.json");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi\"}]}]", f);
    fclose(f);
    const char *plain[] = { "vlm", "template", "-m", dir, "--messages", path, NULL };
    const char *with[] = { "vlm", "template", "-m", dir, "--messages", path, "--template-var", "x=[1, 2]", NULL };
    const char *without[] = { "vlm", "template", "-m", dir, "--messages", path, "--no-generation-prompt", NULL };
    char *a = run(plain), *b = run(with), *c = run(without);
    assert_string_equal(a, b);
    assert_true(strlen(c) < strlen(a));
    assert_memory_equal(a, c, strlen(c));
    free(a);
    free(b);
    free(c);
    const char *bad[] = { "vlm", "template", "-m", dir, "--messages", path, "--template-var", "x=1, \"messages\": []", NULL };
    tprocess p = tprocess_run(bad, NULL);
    assert_int_equal(p.status, 1);
    tprocess_free(&p);
    assert_int_equal(remove(path), 0);
    free(path);
}

static char *write_file(const char *name, const char *text) {
    char *path = tcheckpoint_path(dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

#define TOOLS_TEMPLATE "chat_template=\"{% for t in tools %}{{ t.name }}{% endfor %} {{ x }} {{ messages[0].content[0].text }}:{{ add_generation_prompt }}\""

/* vlm template and vlm generate take the same: the prompt of the second is the text of the first. */
static void template_and_generate_take_tools_and_variables(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        { "x=\"<a>\"", "f<end_of_utterance>g <a> Hi:True" },
        { "continue_final_message=false", "f<end_of_utterance>g  Hi:True" },
        { "continue_final_message=true", "f<end_of_utterance>g  Hi" },
    };
    char *chat = write_file("chat.json", "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi\"}]}]");
    char *tools = write_file("tools.json", "[{\"name\": \"f<end_of_utterance>\"}, {\"name\": \"g\"}]");
    char *none = write_file("none.json", "{");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *show[] = { "vlm", "template", "-m", dir, "--messages", chat, "--tools", tools, "--template-var", TOOLS_TEMPLATE,
                               "--template-var", cases[i][0], NULL };
        char *text = run(show);
        assert_string_equal(text, cases[i][1]);
        const char *plain[] = { "vlm", "tokenize", "-m", dir, "--plain", "--json", text, NULL };
        json_object *pieces = run_json(plain);
        const char *reply[] = { "vlm", "generate", "-m", dir, "--messages", chat, "--tools", tools, "--template-var", TOOLS_TEMPLATE,
                                "--template-var", cases[i][0], "--max-tokens", "1", "--json", NULL };
        json_object *o = run_json(reply);
        assert_int_equal(json_object_get_int64(at(o, "prompt_tokens")), json_object_array_length(pieces));
        assert_true(json_object_is_type(at(o, "tool_calls"), json_type_array));
        json_object_put(o);
        json_object_put(pieces);
        free(text);
    }
    const char *bad[] = { "vlm", "generate", "-m", dir, "--messages", chat, "--tools", none, NULL };
    tprocess p = tprocess_run(bad, NULL);
    assert_int_equal(p.status, 1);
    assert_non_null(strstr(p.err, "tools"));
    tprocess_free(&p);
    bad[6] = "--template-var", bad[7] = "no value";
    p = tprocess_run(bad, NULL);
    assert_int_equal(p.status, 2);
    tprocess_free(&p);
    char *const paths[] = { chat, tools, none };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(remove(paths[i]), 0);
        free(paths[i]);
    }
}

static void text_may_begin_with_a_dash(void **state) {
    (void)state;
    const char *argv[] = { "vlm", "tokenize", "-m", dir, "--no-special", "--", "--json", NULL };
    char *out = run(argv);
    assert_int_equal(out[0], '[');
    const char *back[] = { "vlm", "detokenize", "-m", dir, out, NULL };
    char *text = run(back);
    assert_string_equal(text, "--json\n");
    free(text);
    free(out);
}

/* What cannot be meant is wrong use, and said before anything is loaded. */
static void options_that_exclude_each_other(void **state) {
    (void)state;
    const char *const wrong[][12] = {
        { "vlm", "generate", "-m", dir, "-p", "x", "--json=yes", NULL },
        { "vlm", "generate", "-m", dir, "--messages", "x.json", "--system", "x", NULL },
        { "vlm", "generate", "-m", dir, "--input", "x.bin", "-i", PICTURE, NULL },
        { "vlm", "generate", "-m", dir, "-p", "x", "--input", "x.bin", NULL },
        { "vlm", "generate", "-m", dir, "-p", "x", "--threads", "5000", NULL },
        { "vlm", "generate", "-m", dir, "-p", "x", "--top-k", " -1", NULL },
        { "vlm", "inspect", "-m", dir, "--input", "x.bin", NULL },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tprocess p = tprocess_run(wrong[i], NULL);
        if (p.status != 2 || p.out[0] || tprocess_lines(p.err) != 1) fail_msg("%zu: status %d: %s", i, p.status, p.err);
        tprocess_free(&p);
    }
}

/* Text that nobody gets is a failure. */
static void a_full_disk_is_noticed(void **state) {
    (void)state;
    char command[1024], *vlm = tcheckpoint_path(getenv("VLM_BUILD_DIR") ? getenv("VLM_BUILD_DIR") : "build", "vlm");
    snprintf(command, sizeof command, "'%s' generate -m '%s' -p x --max-tokens 2 --ignore-eos > /dev/full", vlm, dir);
    const char *argv[] = { "/bin/sh", "-c", command, NULL };
    tprocess p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 1);
    assert_non_null(strstr(p.err, "vlm: stdout: "));
    tprocess_free(&p);
    free(vlm);
}

/* A directory with the name of a known checkpoint: without -p, its default prompt. */
static void the_default_prompt_is_asked_when_nobody_asks(void **state) {
    (void)state;
    char *parent = tcheckpoint_temp_dir(), *known = tcheckpoint_path(parent, "SmolVLM-256M-Instruct");
    assert_int_equal(symlink(dir, known), 0);
    char *silent = run((const char *[]) { "vlm", "generate", "-m", known, "-i", PICTURE, "--max-tokens", "8", NULL });
    char *asked = run((const char *[]) { "vlm", "generate", "-m", known, "-i", PICTURE, "--max-tokens", "8", "-p",
                                         "Describe the image in English", NULL });
    char *other = run((const char *[]) { "vlm", "generate", "-m", known, "-i", PICTURE, "--max-tokens", "8", "-p", "x", NULL });
    assert_string_equal(silent, asked);
    assert_string_not_equal(silent, other);
    free(silent);
    free(asked);
    free(other);
    free(known);
    tcheckpoint_remove(parent);
    free(parent);
}

/* ---- the example programs ------------------------------------------------------------------------------------- */

static char *program(const char *name) {
    const char *build = getenv("VLM_BUILD_DIR");
    return tcheckpoint_path(build ? build : "build", name);
}

static void the_minimal_example_answers(void **state) {
    (void)state;
    char *path = program("examples/example_minimal");
    const char *argv[] = { path, dir, PICTURE, "Describe the picture.", NULL };
    char *out = run(argv);
    assert_true(strlen(out) > 1);
    free(out);
    const char *bad[] = { path, dir, "no/such.png", "x", NULL };
    tprocess p = tprocess_run(bad, NULL);
    assert_int_equal(p.status, 1);
    assert_non_null(strstr(p.err, "no/such.png"));
    tprocess_free(&p);
    free(path);
}

static void the_streaming_example_answers_every_turn(void **state) {
    (void)state;
    char *path = program("examples/example_stream");
    const char *argv[] = { path, dir, PICTURE, NULL };
    tprocess p = tprocess_run(argv, "What is it?\nAnd where?\n");
    if (p.status != 0) fail_msg("status %d: %s", p.status, p.err);
    assert_true(tprocess_lines(p.out) >= 2);
    tprocess_free(&p);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate_json_has_the_documented_form),
        cmocka_unit_test(generate_tells_thinking_apart),
        cmocka_unit_test(generate_has_a_list_of_tool_calls),
        cmocka_unit_test(streamed_text_is_the_json_text),
        cmocka_unit_test(a_stop_string_cuts_the_text),
        cmocka_unit_test(media_tokens_typed_by_a_user_are_text),
        cmocka_unit_test(a_prepared_input_gives_the_references_tokens),
        cmocka_unit_test(dump_writes_every_stage),
        cmocka_unit_test(a_dumped_input_generates_the_same),
        cmocka_unit_test(tokenize_and_detokenize_are_inverse),
        cmocka_unit_test(template_renders_the_references_text),
        cmocka_unit_test(template_takes_variables),
        cmocka_unit_test(template_and_generate_take_tools_and_variables),
        cmocka_unit_test(text_may_begin_with_a_dash),
        cmocka_unit_test(options_that_exclude_each_other),
        cmocka_unit_test(a_full_disk_is_noticed),
        cmocka_unit_test(the_default_prompt_is_asked_when_nobody_asks),
        cmocka_unit_test(the_minimal_example_answers),
        cmocka_unit_test(the_streaming_example_answers_every_turn),
    };
    return cmocka_run_group_tests_name("command", tests, make_checkpoint, remove_checkpoint);
}
