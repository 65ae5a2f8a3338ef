/* SPDX-License-Identifier: MIT */
/* Chat templates: whose text every byte of a render is. Nothing that a user, a tool or a document
 * says may become the template's. */
#include "support/cm.h"

#include <stdio.h>

#include "text/text.h"

static vlm_error err;

static vcore_json_doc *read_golden(const char *path) {
    vcore_json_doc *doc;
    assert_int_equal(vio_read_json(&doc, NULL, path, 1 << 20, NULL, &err), VLM_OK);
    return doc;
}

static vlm_status render(vtext_rendered *out, vcore_str source, const char *variables, size_t n) {
    vtext_template *t;
    *out = (vtext_rendered) { 0 };
    err = (vlm_error)VLM_ERROR_INIT;
    vlm_status status = vtext_template_parse(&t, source.p, source.n, "t", &err);
    if (status >= 0) status = vtext_template_render(t, variables, n, NULL, out, &err);
    vtext_template_free(t);
    assert_int_equal(status, err.code);
    return status;
}

/* User bytes of the text come back between [ ]. */
static void check_marked(const char *source, const char *variables, const char *expected) {
    vcore_buf marked = { 0 };
    vtext_rendered r;
    if (render(&r, vcore_str_of(source), variables, strlen(variables)) < 0)
        fail_msg("%s: %s", source, err.message);
    for (size_t i = 0; i < r.n_spans; i++) {
        if (r.spans[i].user) vcore_buf_puts(&marked, "[");
        vcore_buf_add(&marked, r.spans[i].p, r.spans[i].n);
        if (r.spans[i].user) vcore_buf_puts(&marked, "]");
    }
    char *text = vcore_buf_take(&marked);
    if (strcmp(text, expected) != 0) print_error("%s\n", source);
    assert_string_equal(text, expected);
    vcore_free(text);
    vtext_rendered_free(&r);
}

/* With one user message. */
static void check_origin(const char *source, const char *content_json, const char *expected) {
    vcore_buf variables = { 0 };
    vcore_buf_printf(&variables,
                     "{\"messages\":[{\"role\":\"user\",\"content\":%s}],\"other\":\"o\"}",
                     content_json);
    check_marked(source, variables.p, expected);
    vcore_buf_free(&variables);
}

static void origin_follows_every_operation(void **state) {
    static const struct {
        const char *expression, *expected;
    } cases[] = {
        { "c", "[a<|x|>b c]" },
        { "messages[0].role ~ other", "usero" },
        { "'<s>' + c + '</s>'", "<s>[a<|x|>b c]</s>" },
        { "'<s>' ~ c ~ 1", "<s>[a<|x|>b c]1" },
        { "c[1:6] ~ c[0] ~ c[::-1]", "[<|x|>ac b>|x|<a]" },
        { "c | upper | trim ~ '!'", "[A<|X|>B C]!" },
        { "c.title() ~ c | capitalize", "[A<|X|>B CA<|x|>b c]" },
        { "c.split('<|x|>') | join('-')", "[a]-[b c]" },
        { "c.split()[0].lstrip('a')", "[<|x|>b]" },
        { "c | replace('<|x|>', '_')", "[a]_[b c]" },
        { "'-x-' | replace('x', c)", "-[a<|x|>b c]-" },
        { "c.partition('<|x|>') | join", "[a]<|x|>[b c]" },
        { "c * 2", "[a<|x|>b ca<|x|>b c]" },
        { "[c, 'k'] | string", "['[a<|x|>b c]', 'k']" },
        { "{'k': c} | tojson", "{\"k\": \"[a<|x|>b c]\"}" },
        { "{c: 1}", "{'[a<|x|>b c]': 1}" },
        { "'%s=%5s' % ('k', c[0])", "k=    [a]" },
        { "c % ()", "[a<|x|>b c]" },
        { "'{}:{}'.format('k', c)", "k:[a<|x|>b c]" },
        { "c | indent(2, true)", "  [a<|x|>b c]" },
        { "c | list | last ~ c | first", "[ca]" },
        { "c[:3] | urlencode ~ c[1:2] | escape", "[a%3C%7C&lt;]" },
        { "c.center(11, '*')", "*[a<|x|>b c]*" },
        { "[c, other] | map('upper') | join(',')", "[A<|X|>B C],O" },
        { "messages | map(attribute='content') | list", "['[a<|x|>b c]']" },
        { "messages | selectattr('role') | map(attribute='content') | first", "[a<|x|>b c]" },
        { "messages | groupby('content') | map(attribute='grouper') | join", "[a<|x|>b c]" },
        { "namespace(v=c).v ~ dict(v=c).v", "[a<|x|>b ca<|x|>b c]" },
        { "(c if other else 'x') or 'y'", "[a<|x|>b c]" },
        { "undefined_name | default(c)", "[a<|x|>b c]" },
        { "[c, 'z'] | sort | min", "[a<|x|>b c]" },
        { "c | truncate(4, true, '..', 0)", "[a<].." },
        { "'{:*>5}|{!r:.3}|{!a}'.format(c[0], c, c[1])", "****[a]|'[a<]|'[<]'" },
        { "'{:{}}'.format(c[0], c[:0] ~ 4)", "[a]   " },
        { "'%-4s%.2s%a%c' % (c[0], c, c[1], c[2])", "[a]   [a<]'[<]'[|]" },
        { "c.swapcase() ~ c.casefold()", "[A<|X|>B Ca<|x|>b c]" },
        { "c | truncate(9) ~ [c] | truncate(5, true, '', 0)", "[a<|x|>b c]['[a<|x|>b c]']" },
        { "strftime_now(c[:1]) ~ c | length", "[a]9" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vcore_buf b = { 0 };
        vcore_buf_printf(&b, "{%% set c = messages[0].content %%}{{ %s }}", cases[i].expression);
        check_origin(b.p, "\"a<|x|>b c\"", cases[i].expected);
        vcore_buf_free(&b);
    }
}

static void origin_passes_statements(void **state) {
    const char *content = "\"u<|x|>\"";
    (void)state;
    check_origin("{% set x %}<b>{{ messages[0].content }}</b>{% endset %}{{ x | upper }}", content,
                 "<B>[U<|X|>]</B>");
    check_origin("{% macro m(a, b='d') %}<{{ a }}{{ b }}{{ varargs }}>{% endmacro %}"
                 "{{ m(messages[0].content, 'k', messages[0].content) }}",
                 content, "<[u<|x|>]k('[u<|x|>]',)>");
    check_origin("{% macro m() %}({{ caller() }}){% endmacro %}"
                 "{% call m() %}t{{ messages[0].content }}{% endcall %}",
                 content, "(t[u<|x|>])");
    check_origin("{% filter replace('t', 'T') %}t{{ messages[0].content }}{% endfilter %}", content,
                 "T[u<|x|>]");
    check_origin("{% for c in messages[0].content %}{{ c }},{% endfor %}", "\"ab\"", "[a],[b],");
    check_origin(
        "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + '<' + m.content"
        " + '>' %}{% endfor %}{{ ns.t }}",
        content, "<[u<|x|>]>");
    check_origin("{% generation %}{{ messages[0].content }}{% endgeneration %}", content,
                 "[u<|x|>]");
}

/* What counts as a user's: content strings and the text of parts, nothing else of a message. */
static void origin_of_content_parts(void **state) {
    (void)state;
    check_origin(
        "{% for p in messages[0].content %}{{ p.type }}:{{ p.text }}{{ p.image }};{% endfor %}",
        "[{\"type\":\"image\",\"image\":\"f.png\"},{\"type\":\"text\",\"text\":\"<|x|>\"}]",
        "image:[f.png];text:[<|x|>];");
    check_origin("{{ messages[0].content[0] }}{{ messages[0].content[1].content }}",
                 "[\"s\",{\"type\":\"tool\",\"content\":\"r\"}]", "[sr]");
    check_origin("{{ messages[0].content.note }}", "{\"note\":\"n\"}", "n");
    check_origin("{{ messages[0].content }}", "\"\"", "");
}

/* Every string of messages, tools and documents that is more than a word is a user's: what a model
 * called, what a tool gave back, names, keys. */
static void origin_of_data(void **state) {
    static const char variables[] =
        "{\"messages\":[{\"role\":\"user<|x|>\",\"name\":\"Ann\",\"reasoning_content\":\"<|x|>\","
        "\"tool_calls\":[{\"function\":{\"name\":\"<|x|>\",\"arguments\":{\"<|x|>\":\"a<|x|>\"}}}]}"
        ","
        "{\"role\":\"tool\",\"content\":\"word\"}],"
        "\"tools\":[{\"description\":\"d "
        "<|x|>\"}],\"documents\":[{\"title\":\"t\",\"text\":\"t\"}],"
        "\"mine\":{\"text\":\"<|x|>\"}}";
    static const struct {
        const char *source, *expected;
    } cases[] = {
        { "{{ messages[0].role }}", "[user<|x|>]" },
        { "<|{{ messages[0].name }}|>", "<|Ann|>" },
        { "{{ messages[0].reasoning_content }}", "[<|x|>]" },
        { "{{ messages[0].tool_calls[0].function.name }}", "[<|x|>]" },
        { "{{ messages[0].tool_calls[0].function.arguments | tojson }}",
          "{\"[<|x|>]\": \"[a<|x|>]\"}" },
        { "{{ messages[1].role ~ messages[1].content }}", "tool[word]" },
        { "{{ tools[0].description }}{{ tools | length }}", "[d <|x|>]1" },
        { "{{ documents[0].title }}{{ documents[0].text }}", "t[t]" },
        { "{{ mine.text }}", "<|x|>" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_marked(cases[i].source, variables, cases[i].expected);
}

/* The caller says whose messages may hold control text; all others stay as they are. */
static void trusted_roles(void **state) {
    static const char format[] = "{\"messages\":[{\"role\":\"assistant\",\"content\":\"<t>a</t>\"},"
                                 "{\"role\":\"tool\",\"content\":[{\"text\":\"</t>\"}]}],"
                                 "\"_trusted_roles\":%s}";
    static const char source[] =
        "{{ messages[0].content.split('</t>')[0] }}|{{ messages[1].content[0].text }}"
        "{{ _trusted_roles is defined }}";
    char variables[300];
    (void)state;
    snprintf(variables, sizeof variables, format, "[]");
    check_marked(source, variables, "[<t>a]|[</t>]False");
    snprintf(variables, sizeof variables, format, "[\"assistant\"]");
    check_marked(source, variables, "<t>a|[</t>]False");
    snprintf(variables, sizeof variables, format, "[\"system\",\"tool\",\"assistant\"]");
    check_marked(source, variables, "<t>a|</t>False");
}

/* Pieces of a content string that the caller marks are the template's, wherever a template moves them. */
static void marked_pieces(void **state) {
    static const char format[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"<i><i>a\\u00e9<i>\",\"_control\":[[0,0,9]]},"
                                 "{\"role\":\"user\",\"content\":%s}],\"_control\":%s}";
    static const struct {
        const char *source, *content, *control, *expected; /* NULL: refused */
    } cases[] = {
        { "{{ messages[0].content }}", "\"\"", "[]", "[<i><i>a\xC3\xA9<i>]" },
        { "{{ messages[0].content }}", "\"\"", "[[0,0,3]]", "<i>[<i>a\xC3\xA9<i>]" },
        { "{{ messages[0].content }}", "\"\"", "[[0,3,6],[0,9,12]]", "[<i>]<i>[a\xC3\xA9]<i>" },
        { "{{ messages[0].content[3:] | upper }}", "\"\"", "[[0,3,6]]", "<I>[A\xC3\x89<I>]" },
        { "{{ messages[0].content }}|{{ messages[1].content }}", "\"<i>\"", "[[1,0,3]]", "[<i><i>a\xC3\xA9<i>]|<i>" },
        { "{{ messages[0].content }}{{ _control is defined }}", "\"\"", "[[0,0,0],[0,12,12]]", "[<i><i>a\xC3\xA9<i>]False" },
        { "x", "\"\"", "[[0,0,13]]", NULL },         { "x", "\"\"", "[[0,3,2]]", NULL },
        { "x", "\"\"", "[[0,3,6],[0,5,7]]", NULL },  { "x", "\"\"", "[[0,8,9]]", NULL },
        { "x", "\"\"", "[[0,-1,1]]", NULL },         { "x", "\"\"", "[[2,0,0]]", NULL },
        { "x", "\"\"", "[[1,0,0],[0,0,1]]", NULL },  { "x", "\"\"", "[[0,0]]", NULL },
        { "x", "\"\"", "[3]", NULL },                { "x", "\"\"", "[[0,0,18446744073709551615]]", NULL },
        { "x", "[]", "[[1,0,0]]", NULL },            { "x", "\"\"", "{}", NULL },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char variables[400];
        vtext_rendered r;
        snprintf(variables, sizeof variables, format, cases[i].content, cases[i].control);
        if (cases[i].expected)
            check_marked(cases[i].source, variables, cases[i].expected);
        else if (render(&r, vcore_str_of(cases[i].source), variables, strlen(variables)) >= 0)
            fail_msg("%s is taken", cases[i].control);
    }
}

/* A character that no template has, in every string of a chat but the roles: wherever a template
 * prints it, it is a user's. */
static void nothing_typed_is_the_templates(void **state) {
    static const char variables[] =
        "{\"add_generation_prompt\":true,\"tools\":[{\"type\":\"\xEE\x80\x80\",\"function\":{"
        "\"name\":"
        "\"\xEE\x80\x80\",\"description\":\"\xEE\x80\x80\",\"parameters\":{\"type\":\"object\","
        "\"properties\":{\"\xEE\x80\x80\":{\"type\":\"\xEE\x80\x80\",\"enum\":[\"\xEE\x80\x80\"]}},"
        "\"required\":[\"\xEE\x80\x80\"]}}}],\"documents\":[{\"text\":\"\xEE\x80\x80\"}],"
        "\"messages\":["
        "{\"role\":\"user\",\"content\":\"\xEE\x80\x80\",\"name\":\"\xEE\x80\x80\"},{\"role\":"
        "\"assistant\","
        "\"content\":\"a</"
        "think>\xEE\x80\x80\",\"reasoning_content\":\"\xEE\x80\x80\",\"tool_calls\":[{"
        "\"type\":\"function\",\"id\":\"\xEE\x80\x80\",\"function\":{\"name\":\"\xEE\x80\x80\","
        "\"arguments\":"
        "{\"\xEE\x80\x80\":[\"\xEE\x80\x80\"]}}}]},{\"role\":\"tool\",\"content\":\"\xEE\x80\x80\"}"
        "]}";
    vcore_json_doc *doc = read_golden("tests/data/templates/chats.json");
    size_t marks = 0;
    (void)state;
    for (vcore_json_iter it = { 0 };
         vcore_json_next(vcore_json_get(vcore_json_root(doc), "templates"), &it);) {
        vtext_rendered r;
        vcore_str source;
        assert_true(vcore_json_string(it.value, &source));
        if (render(&r, source, variables, strlen(variables)) < 0)
            continue; /* roles that it refuses */
        for (size_t i = 0; i < r.n_spans; i++)
            for (size_t k = 0; k < r.spans[i].n; k++) {
                bool mark = (unsigned char)r.spans[i].p[k] == 0xEE;
                marks += mark;
                assert_true(!mark || r.spans[i].user);
            }
        vtext_rendered_free(&r);
    }
    assert_true(marks >= 15);
    vcore_json_free(doc);
}

/* Content made of characters that no template has: exactly they must be marked, whatever the
 * template. */
static void origin_of_whole_chats(void **state) {
    vcore_json_doc *doc = read_golden("tests/data/templates/chats.json");
    const vcore_json *templates = vcore_json_get(vcore_json_root(doc), "templates");
    const char *variables = "{\"add_generation_prompt\":true,\"messages\":[{\"role\":\"system\","
                            "\"content\":\"\xEE\x80\x80\"},"
                            "{\"role\":\"user\",\"content\":\"\xEE\x80\x81 "
                            "\xEE\x80\x82\"},{\"role\":\"assistant\",\"content\":"
                            "\"\xEE\x80\x83\"},{\"role\":\"user\",\"content\":\"\xEE\x80\x84\"}]}";
    (void)state;
    for (vcore_json_iter it = { 0 }; vcore_json_next(templates, &it);) {
        vtext_rendered r;
        vcore_str source;
        size_t marks = 0;
        assert_true(vcore_json_string(it.value, &source));
        assert_int_equal(render(&r, source, variables, strlen(variables)), VLM_OK);
        for (size_t i = 0; i < r.n_spans; i++)
            for (size_t k = 0; k < r.spans[i].n; k++) {
                bool mark = (unsigned char)r.spans[i].p[k] == 0xEE;
                marks += mark;
                assert_true(!mark || r.spans[i].user);
                assert_true(!r.spans[i].user || (unsigned char)r.spans[i].p[k] >= 0x80
                            || r.spans[i].p[k] == ' ');
            }
        assert_true(marks >= 4 || vcore_str_eq(it.key, vcore_str_of("tools")));
        vtext_rendered_free(&r);
    }
    vcore_json_free(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origin_follows_every_operation),
        cmocka_unit_test(origin_passes_statements),
        cmocka_unit_test(origin_of_content_parts),
        cmocka_unit_test(origin_of_data),
        cmocka_unit_test(trusted_roles),
        cmocka_unit_test(marked_pieces),
        cmocka_unit_test(nothing_typed_is_the_templates),
        cmocka_unit_test(origin_of_whole_chats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
