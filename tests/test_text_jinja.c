/* SPDX-License-Identifier: MIT */
/* Chat templates: equality with jinja2 as transformers sets it up (tests/data/templates, made by
 * tools/golden/templates.py), errors with their line, limits. Where every byte came from is
 * test_text_origin.c's. */
#include "support/cm.h"

#include <stdio.h>

#include "text/text.h"

static vlm_error err;

/* ---- goldens --------------------------------------------------------------------------------- */

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

/* The text equals what jinja2 gave; NULL: jinja2 refused, and so must we. Spans make up the text.
 */
static size_t check_render(vcore_str source, const vcore_buf *variables,
                           const vcore_json *expected) {
    vtext_rendered r;
    vcore_str text;
    vlm_status status = render(&r, source, variables->p, variables->n);
    size_t wrong = 0;
    if (!vcore_json_string(expected, &text)) {
        wrong = status == VLM_OK;
        if (wrong) print_error("not refused: %.*s\n", (int)source.n, source.p);
        assert_true(wrong || strncmp(err.message, "t:", 2) == 0);
    } else {
        wrong = status < 0 || r.n != text.n || memcmp(r.text, text.p, text.n) != 0;
        if (wrong)
            print_error("%.*s\n  expected %s\n  got %s\n", (int)source.n, source.p, text.p,
                        status < 0 ? err.message : r.text);
        size_t at = 0;
        for (size_t i = 0; i < r.n_spans; at += r.spans[i++].n) {
            assert_ptr_equal(r.spans[i].p, r.text + at);
            assert_true(i == 0 || r.spans[i].user != r.spans[i - 1].user);
        }
        assert_int_equal(at, r.n);
    }
    vtext_rendered_free(&r);
    return wrong;
}

static void expressions_equal_jinja2(void **state) {
    vcore_json_doc *doc = read_golden("tests/data/templates/expressions.json");
    const vcore_json *root = vcore_json_root(doc), *cases = vcore_json_get(root, "cases");
    vcore_buf variables = { 0 };
    size_t wrong = 0;
    int64_t now;
    (void)state;
    assert_true(vcore_json_int(vcore_json_get(root, "now"), &now));
    vcore_buf_printf(&variables, "{\"_now\":%lld,", (long long)now);
    vcore_buf rest = { 0 };
    vcore_json_put(&rest, NULL, vcore_json_get(root, "variables"));
    vcore_buf_add(&variables, rest.p + 1, rest.n - 1);
    assert_true(vcore_json_count(cases) > 1000);
    for (size_t i = 0; i < vcore_json_count(cases); i++) {
        vcore_str source;
        assert_true(vcore_json_string(vcore_json_at(vcore_json_at(cases, i), 0), &source));
        wrong += check_render(source, &variables, vcore_json_at(vcore_json_at(cases, i), 1));
    }
    assert_int_equal(wrong, 0);
    vcore_buf_free(&rest);
    vcore_buf_free(&variables);
    vcore_json_free(doc);
}

/* Members of a conversation and what every render gets, as one object's text. */
static vcore_buf chat_variables(const vcore_json *conversation, bool prompt, int64_t now) {
    vcore_buf all = { 0 }, b = { 0 };
    vcore_json_put(&b, NULL, conversation);
    vcore_buf_printf(&all,
                     "{\"_now\":%lld,\"add_generation_prompt\":%s,\"bos_token\":\"<s>\","
                     "\"eos_token\":\"</s>\",",
                     (long long)now, prompt ? "true" : "false");
    vcore_buf_add(&all, b.p + 1, b.n - 1);
    vcore_buf_free(&b);
    return all;
}

static void chats_equal_jinja2(void **state) {
    vcore_json_doc *doc = read_golden("tests/data/templates/chats.json");
    const vcore_json *root = vcore_json_root(doc), *renders = vcore_json_get(root, "renders");
    size_t wrong = 0;
    int64_t now = 0;
    (void)state;
    assert_true(vcore_json_int(vcore_json_get(root, "now"), &now));
    assert_true(vcore_json_count(renders) >= 5 * 20 * 2);
    for (size_t i = 0; i < vcore_json_count(renders); i++) {
        const vcore_json *row = vcore_json_at(renders, i);
        vcore_str template, name, source, message;
        bool prompt = false;
        assert_true(vcore_json_string(vcore_json_at(row, 0), &template));
        assert_true(vcore_json_string(vcore_json_at(row, 1), &name));
        assert_true(vcore_json_bool(vcore_json_at(row, 2), &prompt));
        assert_true(vcore_json_string(vcore_json_get(vcore_json_get(root, "templates"), template.p),
                                      &source));
        vcore_buf variables = chat_variables(
            vcore_json_get(vcore_json_get(root, "conversations"), name.p), prompt, now);
        wrong += check_render(source, &variables, vcore_json_at(row, 3));
        if (vcore_json_string(vcore_json_at(row, 4), &message))
            assert_non_null(strstr(err.message, message.p)); /* raise_exception's own words */
        vcore_buf_free(&variables);
    }
    assert_int_equal(wrong, 0);
    vcore_json_free(doc);
}

/* ---- errors and limits ----------------------------------------------------------------------- */

static void check_failure(const char *source, const char *variables, const vlm_limits *limits,
                          vlm_status status, const char *message) {
    vtext_template *t;
    vtext_rendered r = { 0 };
    err = (vlm_error)VLM_ERROR_INIT;
    vlm_status got = vtext_template_parse(&t, source, strlen(source), "chat.jinja", &err);
    assert_true((got < 0) == (t == NULL));
    if (got >= 0) got = vtext_template_render(t, variables, strlen(variables), limits, &r, &err);
    vtext_template_free(t);
    if (got != status || !strstr(err.message, message))
        print_error("%.80s: %d %s\n", source, (int)got, err.message);
    assert_int_equal(got, status);
    assert_non_null(strstr(err.message, message));
    assert_null(r.text);
    assert_null(strchr(err.message, '\n'));
}

static void errors_name_line_and_cause(void **state) {
    static const struct {
        const char *source, *message;
    } cases[] = {
        { "a\nb\n{{ x.y }}", "chat.jinja:3: 'x' is undefined" },
        { "{% if 1 %}\n\n{{ 's' | nope }}{% endif %}", "chat.jinja:3: no filter named 'nope'" },
        { "{{ 1 is nope }}", "chat.jinja:1: no test named 'nope'" },
        { "{% if 1 %}{{ 's' | upper }}{% for x in [] %}\n{{ 's' | nope }}{% endfor %}{% endif %}",
          "chat.jinja:2: no filter named 'nope'" }, /* where nothing runs, too */
        { "{% if 0 %}{% set x | nope %}{% endset %}{% endif %}", "no filter named 'nope'" },
        { "{% filter length %}x{% endfilter %}", "expected str instance, int found" },
        { "{{ '{:.5d}'.format(1) }}", "Precision not allowed in integer format specifier" },
        { "{{ ' ' % 1 }}", "not all arguments converted" },
        { "{{ '{:+}'.format('a') }}", "is not allowed in the format of a string" },
        { "{{ '{}{0}'.format('a') }}", "cannot both number fields and leave them unnumbered" },
        { "{{ '{:{:{}}}'.format(1, 2, 3) }}", "Max string recursion exceeded" },
        { "\n{{ nope() }}", "chat.jinja:2: 'nope' is undefined" },
        { "{{ raise_exception('first\nsecond') }}", "chat.jinja:1: first" },
        { "{#-\n\n-#}\n{% for %}", "chat.jinja:4: unexpected '%}'" },
        { "{% if 1 %}\n{% for x in y %}\n{% endif %}",
          "chat.jinja:3: unknown tag 'endif' ('for' is open)" },
        { "{% if 1 %}\n", "the template ends where 'if' is open" },
        { "{% include 'other' %}", "tag 'include' is not supported" },
        { "{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe" },
        { "{{ 's'.__class__.x }}", "access to attribute '__class__' of 'str' object is unsafe" },
        { "{{ 's'.encode() }}", "'str' has no attribute or item 'encode'" },
        { "{{ 's' | trim(1) }}", "'trim': argument 1 must be str" },
        { "{{ 's' | replace('a', 'b', nope=1) }}",
          "filter 'replace': unexpected keyword argument 'nope'" },
        { "{{ range() }}", "function 'range' needs 1 argument(s)" },
        { "{{ 'a' + 1 }}", "can only concatenate str (not \"int\") to str" },
        { "{{ '\xff' }}", "the template is not UTF-8" },
        { "{% macro f() %}\n{{ x() }}\n{% endmacro %}\n{{ f() }}",
          "chat.jinja:2: 'x' is undefined" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_failure(cases[i].source, "{\"messages\":[]}", NULL, VLM_ERR_TEMPLATE,
                      cases[i].message);
    check_failure("x", "[1]", NULL, VLM_ERR_ARGUMENT,
                  "template variables: must be an object, is an array");
    check_failure("x", "{", NULL, VLM_ERR_PARSE, "template variables");
    check_failure("x", "{\"_now\":\"today\"}", NULL, VLM_ERR_ARGUMENT, "_now: must be an integer");
    check_failure("x", "{\"chat_template\":1}", NULL, VLM_ERR_ARGUMENT,
                  "chat_template: must be a string");
    check_failure("x", "{\"continue_final_message\":1}", NULL, VLM_ERR_ARGUMENT,
                  "continue_final_message: must be a boolean or a string");
    check_failure("x", "{\"_trusted_roles\":\"user\"}", NULL, VLM_ERR_ARGUMENT,
                  "_trusted_roles: must be an array of strings");
}

static void bombs_are_refused(void **state) {
    static const char *const cases[] = {
        "{{ 'a' * 10 ** 9 }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ 'x'.ljust(10 ** 12) | length }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'a' | indent(10 ** 9) }}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ range(10 ** 9) }}",
        "{{ 10 ** 19 }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ -9223372036854775807 - 2 }}",
        "{{ 4611686018427387904 * 2 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ (-9223372036854775807 - 1) | abs }}",
        "{{ '99999999999999999999' | int }}",
        "{{ '%d' % 1e300 }}",
        "{{ '{:.301f}'.format(1.5) }}",
        "{{ '{:0>999999999,}'.format(1) }}",
        "{{ '{:0999999999,}'.format(1) }}",
        "{{ '%.999999999d' % 1 }}",
        "{{ '{:{}}'.format(1, 999999999) }}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% "
        "endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}{{ ns.l }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}{{ ns.l | tojson }}",
        "{% set ns = namespace(a=[], b=[]) %}{% for i in range(5000) %}{% set ns.a = [ns.a] %}{% "
        "set ns.b = [ns.b] %}"
        "{% endfor %}{{ ns.a == ns.b }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g(n) %}{% call f() %}{{ g(n) }}{% "
        "endcall %}{% endmacro %}{{ g(1) }}",
        "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{% for i in range(50000) %}{{ "
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaa' }}"
        "{% endfor %}",
        "{% set x = 'a' * 1000000 %}{% for i in range(99999) %}{% set y = x.count('b') %}{% endfor "
        "%}",
        "{% set x = 'a' * 1000000 %}{{ x.rfind(x[:500000] ~ 'ba') }}",
        "{{ dict(a=1) | batch(10 ** 10, 'x') | list }}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_failure(cases[i], "{}", NULL, VLM_ERR_LIMIT, "chat.jinja:1: ");
}

/* Unknown filters and tests are no error where only an `if` or a condition leads to them. */
static void unknown_filters_may_wait(void **state) {
    vtext_rendered r;
    (void)state;
    static const char source[] =
        "{% if x is defined and x | nope %}{{ 1 | nope }}{% elif 1 is nope %}{% endif %}"
        "{{ 1 | nope if x else 'y' }}{{ ('z' | nope) if x }}";
    assert_int_equal(
        render(&r, vcore_str_of("{% if x %}{{ 1 | nope }}{% endif %}{{ 1 | nope if x else 'y' }}"),
               "{}", 2),
        VLM_OK);
    assert_string_equal(r.text, "y");
    vtext_rendered_free(&r);
    check_failure(source, "{}", NULL, VLM_ERR_TEMPLATE, "chat.jinja:1: no test named 'nope'");
}

/* What generation blocks printed, as transformers counts it. */
static void generation_blocks_are_known(void **state) {
    static const char source[] =
        "a{% generation %}bc{% endgeneration %}d{% for x in [1, 2] %}{% generation %}{{ x }}"
        "{% endgeneration %};{% endfor %}";
    vtext_rendered r;
    (void)state;
    assert_int_equal(render(&r, vcore_str_of(source), "{}", 2), VLM_OK);
    assert_string_equal(r.text, "abcd1;2;");
    assert_int_equal(r.n_generation, 3);
    static const size_t expected[] = { 1, 3, 4, 5, 6, 7 };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(r.generation[i].begin, expected[2 * i]);
        assert_int_equal(r.generation[i].end, expected[2 * i + 1]);
    }
    vtext_rendered_free(&r);
}

/* Each limit says which it is. */
static void limits_have_names(void **state) {
    static const struct {
        const char *source, *message;
    } cases[] = {
        { "{% set x = 'a' * 1000000 %}\n{% for i in range(99999) %}{% set y = x.count('b') %}{% endfor %}",
          "chat.jinja:2: the template takes more than 10000000 steps" },
        { "{% set x = 'a' * 100000 %}{% for i in range(99) %}\n{{ x }}{% endfor %}",
          "chat.jinja:2: the template gives more than 4194304 bytes" },
        { "{% set ns = namespace(s='x') %}\n{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
          "chat.jinja:2: the template takes more than 256 MiB of memory" },
        { "{% for a in range(99999) %}\n{% for b in range(99999) %}{% endfor %}{% endfor %}",
          "chat.jinja:2: the template takes more than 10000000 steps" },
        { "{% for a in range(99999) %}\n{% for b in range(9) if b > 1 %}{% set c = b %}{% endfor %}{% endfor %}",
          "chat.jinja:2: the template takes more than 10000000 steps" },
        { "{% macro f(n) %}\n{{ f(n) }}{% endmacro %}{{ f(1) }}",
          "chat.jinja:2: macro calls nest deeper than 128" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_failure(cases[i].source, "{}", NULL, VLM_ERR_LIMIT, cases[i].message);
}

/* Rounds of a loop share a scope only where nothing looks into it later. (The first two are not jinja2's: TEXT.md.) */
static void rounds_keep_what_is_looked_at(void **state) {
    static const struct {
        const char *source, *expected;
    } cases[] = {
        { "{% set ns = namespace(f=none, n=0) %}{% for x in [1, 2, 3] %}{% if x == 2 %}{% macro g() %}{{ x ~ y }}{% endmacro %}"
          "{% set ns.f = g %}{% endif %}{{ y is defined }}{% set y = x %}{% endfor %}{{ ns.f() }}",
          "FalseFalseFalse22" },
        { "{% set ns = namespace(l=[]) %}{% for x in [1, 2, 3] %}{% set y = x * 2 %}{% macro g() %}{{ x ~ y }}{% endmacro %}"
          "{% set ns.l = ns.l + [g] %}{% endfor %}{% for g in ns.l %}{{ g() }},{% endfor %}",
          "12,24,36," },
        { "{% for x in [1, 2] %}{% for y in [3, 4] if y > x + 1 %}{{ x ~ y }}{% set x = 9 %}{% endfor %}{{ x }};{% endfor %}",
          "13141;242;" },
        { "{% macro f() %}{{ caller() }}{% endmacro %}{% for x in [1, 2] %}{{ z is defined }}{% call f() %}{{ x }}{% endcall %}"
          "{% set z = 1 %}{% else %}{{ z }}{% endfor %}",
          "False1False2" },
        { "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x ~ loop.depth }}{{ loop.index }}{% endfor %}",
          "11122133122" },
        { "{{ undef.__class__ }}{% for x in [1] %}{{ loop }}{{ [loop] }}{% endfor %}{{ 1.7976931348623157e308 | filesizeformat }}"
          "{% macro f() %}{{ caller }}{% endmacro %}{{ f }}{% call f() %}{% endcall %}",
          "<LoopContext 1/1>[<LoopContext 1/1>]inf YB<Macro 'f'><Macro anonymous>" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vtext_rendered r;
        if (render(&r, vcore_str_of(cases[i].source), "{}", 2) < 0) fail_msg("%s: %s", cases[i].source, err.message);
        assert_string_equal(r.text, cases[i].expected);
        vtext_rendered_free(&r);
    }
}

static void limits_are_the_callers(void **state) {
    vlm_limits limits = VLM_LIMITS_INIT;
    (void)state;
    limits.template_output = 10;
    check_failure("{% for i in range(4) %}abc{% endfor %}", "{}", &limits, VLM_ERR_LIMIT,
                  "gives more than 10 bytes");
    assert_int_equal(err.limit, 10);
    limits.template_output = 0;
    limits.template_steps = 100;
    check_failure("{% for i in range(100) %}{% endfor %}", "{}", &limits, VLM_ERR_LIMIT,
                  "takes more than 100 steps");
    assert_int_equal(err.limit, 100);
    assert_string_equal(err.file, "chat.jinja");
    assert_int_equal(err.line, 1);
}

/* Depth in the source: brackets, operators, blocks. None may reach the C stack's end. */
static void deep_nesting_is_refused(void **state) {
    static const struct {
        const char *open, *inside, *close;
    } cases[] = {
        { "(", "1", ")" },    { "[", "1", "]" },       { "{1:", "1", "}" },
        { "not ", "1", "" },  { "-", "1", "" },        { "a[", "1", "]" },
        { "a(", "1", ")" },   { "", "a", ".a" },       { "", "a", "()" },
        { "", "a", "|a" },    { "1 if ", "1", "" },    { "", "1", " if 1 else 1" },
        { "a|f(", "1", ")" }, { "a is f(", "1", ")" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vcore_buf b = { 0 };
        vcore_buf_puts(&b, "{{ ");
        for (int k = 0; k < 20000; k++) vcore_buf_puts(&b, cases[i].open);
        vcore_buf_puts(&b, cases[i].inside);
        for (int k = 0; k < 20000; k++) vcore_buf_puts(&b, cases[i].close);
        vcore_buf_puts(&b, " }}");
        check_failure(b.p, "{}", NULL, VLM_ERR_TEMPLATE, "deeper than 128");
        vcore_buf_free(&b);
    }
    static const char *const blocks[] = { "{% if 1 %}",  "{% for x in y %}", "{% macro m() %}",
                                          "{% set x %}", "{% filter f %}",   "{% call f() %}",
                                          "{% with %}" };
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        vcore_buf b = { 0 };
        for (int k = 0; k < 20000; k++) vcore_buf_puts(&b, blocks[i]);
        check_failure(b.p, "{}", NULL, VLM_ERR_TEMPLATE, "deeper than 128");
        vcore_buf_free(&b);
    }
}

/* Length alone is no depth: chains of operators, tags, branches may be long. */
static void long_templates_work(void **state) {
    vcore_buf b = { 0 };
    vtext_rendered r;
    (void)state;
    vcore_buf_puts(&b, "{{ 0");
    for (int k = 0; k < 5000; k++) vcore_buf_puts(&b, " + 1 - 0 * 2");
    vcore_buf_puts(&b, " }}{{ ''");
    for (int k = 0; k < 5000; k++) vcore_buf_puts(&b, " ~ 'x'");
    vcore_buf_puts(&b, " }}{% if 0 %}");
    for (int k = 0; k < 5000; k++) vcore_buf_puts(&b, "{% elif 0 or 0 and 1 == 1 == 2 %}");
    vcore_buf_puts(&b, "{% else %}end{% endif %}");
    assert_int_equal(render(&r, (vcore_str) { b.p, b.n }, "{}", 2), VLM_OK);
    assert_int_equal(r.n, 4 + 5000 + 3);
    assert_memory_equal(r.text, "5000xxx", 7);
    vtext_rendered_free(&r);
    vcore_buf_free(&b);
}

/* Text that grows in a loop takes linear work: a long conversation is no bomb. */
static void accumulation_is_linear(void **state) {
    const char *source =
        "{% set ns = namespace(t='') %}{% for i in range(40000) %}"
        "{% set ns.t = ns.t + 'fifty bytes of text that a message may well be of ' %}{% endfor %}"
        "{{ ns.t | length }}";
    vtext_rendered r;
    (void)state;
    assert_int_equal(render(&r, vcore_str_of(source), "{}", 2), VLM_OK);
    assert_string_equal(r.text, "2000000");
    vtext_rendered_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_equal_jinja2),
        cmocka_unit_test(chats_equal_jinja2),
        cmocka_unit_test(limits_have_names),
        cmocka_unit_test(rounds_keep_what_is_looked_at),
        cmocka_unit_test(unknown_filters_may_wait),
        cmocka_unit_test(generation_blocks_are_known),
        cmocka_unit_test(errors_name_line_and_cause),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(limits_are_the_callers),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(long_templates_work),
        cmocka_unit_test(accumulation_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
