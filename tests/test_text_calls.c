/* SPDX-License-Identifier: MIT */
/* Tool calls against mlx-vlm (tests/data/calls, tools/golden/tool_calls.py), whatever the pieces that the text comes in;
 * thinking; what the library does differently; limits. */
#include <stdio.h>
#include <stdlib.h>

#include "core/core.h"
#include "support/cm.h"
#include "support/dir.h"
#include "vlm/reply.h"

static const char *const formats[] = { "atem",     "gemma4",     "cohere2_moe", "minimax_m3", "minimax_m2",
                                       "minicpm5", "longcat",    "glm47",       "pythonic",   "qwen3_coder",
                                       "kimi_k2",  "mistral",    "harmony",     "json_tools" };

static vcore_json_doc *read_data(const char *name) {
    char path[256];
    vcore_json_doc *doc;
    vcore_buf b = { 0 };
    char piece[65536];
    vlm_error err = VLM_ERROR_INIT;
    snprintf(path, sizeof path, "tests/data/calls/%s.json", name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s", path);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;) vcore_buf_add(&b, piece, n);
    fclose(f);
    if (vcore_json_parse(&doc, b.p, b.n, path, &err) < 0) fail_msg("%s", err.message);
    vcore_buf_free(&b);
    return doc;
}

/* What a reply gave: content and thinking joined, calls as one text. */
typedef struct result {
    vcore_buf content, reasoning, calls;
    size_t broken, n;
} result;

static void result_free(result *r) {
    vcore_buf_free(&r->content);
    vcore_buf_free(&r->reasoning);
    vcore_buf_free(&r->calls);
}

static void drain(vlm_reply *reply, result *r) {
    for (vlm_reply_event e; vlm_reply_next(reply, &e, NULL) == VLM_OK;) {
        assert_int_equal(e.text[e.bytes], 0);
        if (e.kind == VLM_REPLY_CONTENT) vcore_buf_add(&r->content, e.text, e.bytes);
        if (e.kind == VLM_REPLY_REASONING) vcore_buf_add(&r->reasoning, e.text, e.bytes);
        if (e.kind == VLM_REPLY_BROKEN) r->broken++;
        if (e.kind != VLM_REPLY_CALL) continue;
        assert_int_equal(e.index, r->n++);
        vcore_buf_printf(&r->calls, "%s\n%s\n", e.name, e.id ? e.id : "");
        vcore_buf_add(&r->calls, e.text, e.bytes);
        vcore_buf_puts(&r->calls, "\n");
    }
}

/* In two pieces cut at `cut`; in single bytes when step is 1. */
static result parse(vlm_reply *reply, vcore_str text, size_t cut, size_t step) {
    result r = { .n = 0 };
    vlm_reply_reset(reply);
    for (size_t at = 0; at < text.n;) {
        size_t end = step ? at + step : at < cut ? cut : text.n;
        if (end > text.n) end = text.n;
        assert_int_equal(vlm_reply_push(reply, text.p + at, end - at, NULL), VLM_OK);
        drain(reply, &r);
        at = end;
    }
    assert_int_equal(vlm_reply_finish(reply, NULL), VLM_OK);
    drain(reply, &r);
    return r;
}

static bool same(const vcore_buf *a, const vcore_buf *b) {
    return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

static void same_result(const result *a, result b, vcore_str text, size_t cut) {
    if (!same(&a->content, &b.content) || !same(&a->reasoning, &b.reasoning) || !same(&a->calls, &b.calls)
        || a->broken != b.broken)
        fail_msg("cut at %zu: %.*s", cut, (int)text.n, text.p);
    result_free(&b);
}

static vlm_reply *reply_of(const char *format, const char *tools) {
    vlm_reply *reply;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_reply_new(&reply, format, tools, &err) < 0) fail_msg("%s", err.message);
    return reply;
}

static vcore_str stripped(const vcore_buf *b, bool strip) {
    vcore_str s = { b->p ? b->p : "", b->n };
    while (strip && s.n && strchr(" \n\t\r", s.p[0])) s.p++, s.n--;
    while (strip && s.n && strchr(" \n\t\r", s.p[s.n - 1])) s.n--;
    return s;
}

static int wrong;

/* The whole text against the reference; then every cut against the whole. */
static void check_sample(vlm_reply *reply, const vcore_json *sample, const char *format) {
    vcore_str text, content, name, arguments;
    const vcore_json *calls = vcore_json_get(sample, "calls");
    vcore_buf want = { 0 }, got_names = { 0 };
    assert_true(vcore_json_string(vcore_json_get(sample, "text"), &text));
    assert_true(vcore_json_string(vcore_json_get(sample, "content"), &content));
    for (size_t i = 0; i < vcore_json_count(calls); i++) {
        const vcore_json *call = vcore_json_at(calls, i);
        assert_true(vcore_json_string(vcore_json_get(call, "name"), &name));
        assert_true(vcore_json_string(vcore_json_get(call, "arguments"), &arguments));
        vcore_buf_printf(&want, "%.*s\n", (int)name.n, name.p);
        vcore_buf_add(&want, arguments.p, arguments.n);
        vcore_buf_puts(&want, "\n");
    }
    result r = parse(reply, text, text.n, 0);
    vlm_reply_reset(reply);
    assert_int_equal(vlm_reply_push(reply, text.p, text.n, NULL), VLM_OK);
    assert_int_equal(vlm_reply_finish(reply, NULL), VLM_OK);
    bool span = false;
    for (vlm_reply_event e; vlm_reply_next(reply, &e, NULL) == VLM_OK;) {
        span = span || e.kind != VLM_REPLY_CONTENT;
        if (e.kind != VLM_REPLY_CALL) continue;
        vcore_buf_printf(&got_names, "%s\n", e.name);
        vcore_buf_add(&got_names, e.text, e.bytes);
        vcore_buf_puts(&got_names, "\n");
    }
    vcore_str got = stripped(&r.content, span);
    if (!same(&want, &got_names) || !vcore_str_eq(got, content)) {
        wrong++;
        fprintf(stderr, "%s: %.*s\n  want %s| '%.*s'\n  got  %s| '%.*s'\n", format, (int)text.n, text.p,
                want.p ? want.p : "", (int)content.n, content.p, got_names.p ? got_names.p : "", (int)got.n, got.p);
    }
    for (size_t cut = 1; cut < text.n; cut++) same_result(&r, parse(reply, text, cut, 0), text, cut);
    same_result(&r, parse(reply, text, 0, 1), text, 1);
    vcore_buf_free(&want);
    vcore_buf_free(&got_names);
    result_free(&r);
}

static void as_mlx_vlm(void **state) {
    vcore_json_doc *doc = read_data(*state);
    const vcore_json *root = vcore_json_root(doc), *samples = vcore_json_get(root, "samples");
    vcore_buf tools = { 0 };
    vcore_json_put(&tools, NULL, vcore_json_get(root, "tools"));
    vlm_reply *reply = reply_of(*state, tools.p);
    wrong = 0;
    assert_true(vcore_json_count(samples) > 20);
    for (size_t i = 0; i < vcore_json_count(samples); i++) check_sample(reply, vcore_json_at(samples, i), *state);
    vlm_reply_free(reply);
    vcore_buf_free(&tools);
    vcore_json_free(doc);
    assert_int_equal(wrong, 0);
}

static void format_of_template(void **state) {
    (void)state;
    vcore_json_doc *doc = read_data("templates");
    const vcore_json *list = vcore_json_root(doc);
    for (size_t i = 0; i < vcore_json_count(list); i++) {
        vcore_str source, want = { NULL, 0 };
        assert_true(vcore_json_string(vcore_json_get(vcore_json_at(list, i), "template"), &source));
        vcore_json_string(vcore_json_get(vcore_json_at(list, i), "format"), &want);
        const char *got = vlm_tool_format_of_template(source.p);
        if (want.p) assert_string_equal(got ? got : "none", want.p);
        else assert_null(got);
    }
    vcore_json_free(doc);
    assert_string_equal(vlm_tool_format_of_template("x <start_function_call> y"), "function_gemma");
    assert_null(vlm_tool_format_of_template(NULL));
}

static void expect_format_of_dir(const char *want) {
    const char *got = "unset";
    assert_int_equal(vlm_tool_format_of_dir(&got, tdir, NULL, NULL), VLM_OK);
    if (want)
        assert_string_equal(got ? got : "none", want);
    else
        assert_null(got);
}

/* The template for tools comes first; a file that is broken is told. */
static void format_of_dir(void **state) {
    (void)state;
    const char *got = "unset";
    vlm_error err = VLM_ERROR_INIT;
    expect_format_of_dir(NULL);
    tdir_put("tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"default\", \"template\": \"<arg_key>\"},"
             " {\"name\": \"tool_use\", \"template\": \"<longcat_tool_call>\"}]}");
    expect_format_of_dir("longcat");
    tdir_put("chat_template.jinja", "x <start_function_call> y");
    expect_format_of_dir("function_gemma");
    tdir_put("chat_template.jinja", "\xff\xfe");
    assert_true(vlm_tool_format_of_dir(&got, tdir, NULL, &err) < 0);
    assert_null(got);
}

/* One span's calls as "name arguments\n"; the text may be NUL-free only. */
static void expect(const char *format, const char *tools, const char *text, const char *calls, const char *content) {
    vlm_reply *reply = reply_of(format, tools);
    vcore_buf got = { 0 }, rest = { 0 };
    assert_int_equal(vlm_reply_push(reply, text, strlen(text), NULL), VLM_OK);
    assert_int_equal(vlm_reply_finish(reply, NULL), VLM_OK);
    for (vlm_reply_event e; vlm_reply_next(reply, &e, NULL) == VLM_OK;) {
        if (e.kind == VLM_REPLY_CALL) vcore_buf_printf(&got, "%s %s\n", e.name, e.text);
        if (e.kind == VLM_REPLY_CONTENT) vcore_buf_puts(&rest, e.text);
    }
    assert_string_equal(got.p ? got.p : "", calls);
    assert_string_equal(rest.p ? rest.p : "", content);
    vcore_buf_free(&got);
    vcore_buf_free(&rest);
    vlm_reply_free(reply);
}

/* docs/TEXT.md says these; the reference loses the calls or parts of them. */
static void better_than_mlx_vlm(void **state) {
    (void)state;
    expect("gemma4", NULL, "<|tool_call>call:f{a:<|\"|>} ] <|\"|>,b:2}<tool_call|>", "f {\"a\": \"} ] \", \"b\": 2}\n", " ");
    expect("mistral", NULL, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[ARGS]{}", "f {\"a\": 1}\ng {}\n", " ");
    const char *nullable =
        "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"properties\": "
        "{\"a\": {\"type\": [\"string\", \"null\"]}}}}}]";
    expect("minimax_m2", nullable,
           "<minimax:tool_call><invoke name=\"f\"><parameter name=\"a\">Oslo</parameter></invoke></minimax:tool_call>",
           "f {\"a\": \"Oslo\"}\n", " ");
    expect("qwen3_coder", nullable, "<tool_call><function=f><parameter=a>Oslo</parameter></function></tool_call>",
           "f {\"a\": \"Oslo\"}\n", " ");
    expect("function_gemma", NULL,
           "<start_function_call>call:f{a:<escape>x{,}y<escape>,b:2}<end_function_call>ok",
           "f {\"a\": \"x{,}y\", \"b\": 2}\n", " ok");
}

static void ids_and_broken(void **state) {
    (void)state;
    vlm_reply *reply = reply_of("kimi_k2", NULL);
    const char *text = "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:3<|tool_call_argument_begin|>{}<|tool_call_end|>"
                       "<|tool_calls_section_end|><|tool_calls_section_begin|>?<|tool_calls_section_end|>";
    vlm_reply_event e;
    assert_int_equal(vlm_reply_push(reply, text, strlen(text), NULL), VLM_OK);
    assert_int_equal(vlm_reply_next(reply, &e, NULL), VLM_OK);
    assert_int_equal(e.kind, VLM_REPLY_CONTENT);
    assert_int_equal(vlm_reply_next(reply, &e, NULL), VLM_OK);
    assert_string_equal(e.id, "functions.f:3");
    assert_string_equal(e.name, "f");
    assert_int_equal(vlm_reply_next(reply, &e, NULL), VLM_OK);
    assert_int_equal(vlm_reply_next(reply, &e, NULL), VLM_OK);
    assert_int_equal(e.kind, VLM_REPLY_BROKEN);
    assert_string_equal(e.text, "<|tool_calls_section_begin|>?<|tool_calls_section_end|>");
    assert_int_equal(vlm_reply_next(reply, &e, NULL), VLM_DONE);
    vlm_reply_free(reply);
}

/* ---- thinking -------------------------------------------------------------------------------------------- */

static void think(const char *text, bool open, const char *start, const char *end, const char *reasoning, const char *content) {
    vlm_reply *reply = reply_of("json_tools", NULL);
    assert_int_equal(vlm_reply_split_thinking(reply, start, end, open, NULL), VLM_OK);
    vcore_str all = vcore_str_of(text);
    result r = parse(reply, all, all.n, 0);
    assert_string_equal(r.reasoning.p ? r.reasoning.p : "", reasoning);
    assert_string_equal(r.content.p ? r.content.p : "", content);
    for (size_t cut = 1; cut < all.n; cut++) same_result(&r, parse(reply, all, cut, 0), all, cut);
    same_result(&r, parse(reply, all, 0, 1), all, 1);
    result_free(&r);
    vlm_reply_free(reply);
}

static void thinking(void **state) {
    (void)state;
    think("<think>\na < b\n</think>\n\nanswer <think>x</think>", false, NULL, NULL, "a < b\n", "answer <think>x</think>");
    think("why\n</think>\nanswer", true, NULL, NULL, "why\n", "answer");
    think("<think>\nwhy</think>answer", true, NULL, NULL, "why", "answer");
    think("intro <|channel>thought\nmm<channel|>x", false, NULL, NULL, "mm", "intro x");
    think("[THINK]a[/THINK]b", false, NULL, NULL, "a", "b");
    think("<mm:think>a</mm:think>b", false, NULL, NULL, "a", "b");
    think("<|START_THINKING|>a<|END_THINKING|>b", false, NULL, NULL, "a", "b");
    think("\xE2\x97\x81think\xE2\x96\xB7" "a\xE2\x97\x81/think\xE2\x96\xB7" "b", false, NULL, NULL, "a", "b");
    think("{{a}}b", false, "{{", "}}", "a", "b");
    think("no thought at all <thin", false, NULL, NULL, "", "no thought at all <thin");
    think("<think>never closed </thin", false, NULL, NULL, "never closed </thin", "");
    think("<think>a<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call></think>b<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>c",
          false, NULL, NULL, "a<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", "b c");
}

/* ---- limits and mistakes ------------------------------------------------------------------------------------ */

static void limits(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    vlm_reply *reply = reply_of("json_tools", NULL);
    vlm_status status = vlm_reply_push(reply, "<tool_call>", 11, &err);
    char *piece = calloc(1 << 20, 1);
    memset(piece, 'x', 1 << 20);
    for (int i = 0; i < 9 && status >= 0; i++) status = vlm_reply_push(reply, piece, 1 << 20, &err);
    assert_int_equal(status, VLM_ERR_LIMIT);
    assert_int_equal(vlm_reply_push(reply, "x", 1, &err), VLM_ERR_ARGUMENT);
    vlm_reply_reset(reply);
    const char *call = "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>";
    int n = 0;
    for (status = VLM_OK; n < 5000 && status >= 0; n++) status = vlm_reply_push(reply, call, strlen(call), &err);
    assert_int_equal(status, VLM_ERR_LIMIT);
    assert_int_equal(n, 4097);
    vlm_reply_free(reply);
    free(piece);
    assert_int_equal(vlm_reply_new(&reply, "no_such", NULL, &err), VLM_ERR_NOT_FOUND);
    assert_null(reply);
    assert_int_equal(vlm_reply_new(&reply, NULL, "{}", &err), VLM_ERR_FORMAT);
    assert_int_equal(vlm_reply_new(&reply, NULL, "[", &err), VLM_ERR_PARSE);
    assert_int_equal(vlm_reply_new(NULL, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    reply = reply_of(NULL, NULL);
    assert_int_equal(vlm_reply_split_thinking(reply, "a", NULL, false, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_reply_finish(reply, &err), VLM_OK);
    assert_int_equal(vlm_reply_finish(reply, &err), VLM_ERR_ARGUMENT);
    vlm_reply_free(reply);
    vlm_reply_free(NULL);
}

/* Nested as deep as text goes: an answer, not a crash. */
static void deep(void **state) {
    (void)state;
    static const char *const open[] = { "[", "{\"a\":", "(", "{a:", "<a>", "]<]minimax[>[<a>", "<arg_key>", "-" };
    for (size_t i = 0; vlm_tool_format_name(i); i++) {
        for (size_t k = 0; k < sizeof open / sizeof open[0]; k++) {
            static const char *const around[][2] = {
                { "<|tool_call>call:f{a:", "<tool_call|>" },
                { "]<]minimax[>[<tool_call>]<]minimax[>[<invoke name=f>", "]<]minimax[>[</invoke>]<]minimax[>[</tool_call>" },
                { "<tool_call>f x=", "</tool_call>" },
                { "<|tool_call_start|>[f(a=", ")]<|tool_call_end|>" },
            };
            for (size_t a = 0; a < sizeof around / sizeof around[0]; a++) {
                vcore_buf b = { 0 };
                vcore_buf_puts(&b, around[a][0]);
                for (int n = 0; n < 20000; n++) vcore_buf_puts(&b, open[k]);
                vcore_buf_puts(&b, around[a][1]);
                vlm_reply *reply = reply_of(vlm_tool_format_name(i), NULL);
                assert_int_equal(vlm_reply_push(reply, b.p, b.n, NULL), VLM_OK);
                assert_int_equal(vlm_reply_finish(reply, NULL), VLM_OK);
                vlm_reply_free(reply);
                vcore_buf_free(&b);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define AS(i) { formats[i], as_mlx_vlm, NULL, NULL, (void *)(uintptr_t)formats[i] }
        AS(0), AS(1), AS(2), AS(3), AS(4), AS(5), AS(6), AS(7), AS(8), AS(9), AS(10), AS(11), AS(12), AS(13),
        cmocka_unit_test(format_of_template), TDIR_TEST(format_of_dir, NULL),
        cmocka_unit_test(better_than_mlx_vlm),
        cmocka_unit_test(ids_and_broken),     cmocka_unit_test(thinking),
        cmocka_unit_test(limits),             cmocka_unit_test(deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
