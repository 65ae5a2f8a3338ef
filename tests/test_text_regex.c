/* SPDX-License-Identifier: MIT */
/* Regular expressions: the patterns of real tokenizers find what the reference finds, the matchers
 * written for some of them find what the automaton finds, work is linear, the rest is refused. */
#include "support/cm.h"

#include <stdio.h>
#include <stdlib.h>

#include "text/regex/regex.h"

static const vtext_regex *parse(vcore_arena *arena, const char *text) {
    const vtext_regex *regex;
    vlm_error err = VLM_ERROR_INIT;
    if (vtext_regex_parse(&regex, vcore_str_of(text), "f", arena, &err) != VLM_OK)
        fail_msg("%s: %s", text, err.message);
    return regex;
}

/* ---- the reference's matches ------------------------------------------------------------------
 */
static int64_t chars(const char *p, size_t n) {
    int64_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((uint8_t)p[i] & 0xC0) != 0x80;
    return count;
}

static size_t expect(const vcore_json *row, size_t at, vcore_str text, size_t end, bool match,
                     const char *what) {
    int64_t wanted = 0, ours = chars(text.p, end) * (match ? -1 : 1);
    vcore_json_int(vcore_json_at(row, at), &wanted);
    if (wanted != ours)
        fail_msg("%s on %.*s: piece %zu ends at %d, not %d", what, (int)text.n, text.p, at,
                 (int)ours, (int)wanted);
    return at + 1;
}

static void check_row(const vtext_pattern *pattern, const char *what, vcore_str text,
                      const vcore_json *row) {
    vtext_scan s;
    size_t begin, end, last = 0, at = 0;
    vtext_pattern_start(&s, pattern, text.p, text.n);
    while (vtext_pattern_next(&s, &begin, &end)) {
        if (begin > last) at = expect(row, at, text, begin, false, what);
        if (end > begin) at = expect(row, at, text, end, true, what);
        last = end;
    }
    if (last < text.n) at = expect(row, at, text, text.n, false, what);
    assert_false(s.failed);
    assert_true(s.steps <= 3 * text.n + 2);
    assert_int_equal(at, vcore_json_count(row));
    vtext_pattern_done(&s);
}

static void real_patterns_match_as_the_reference(void **state) {
    (void)state;
    static char json[1 << 18];
    FILE *f = fopen("tests/data/regex/matches.json", "rb");
    assert_non_null(f);
    size_t n = fread(json, 1, sizeof json, f);
    fclose(f);
    vcore_json_doc *doc;
    assert_int_equal(vcore_json_parse(&doc, json, n, "matches.json", NULL), VLM_OK);
    const vcore_json *texts = vcore_json_get(vcore_json_root(doc), "texts");
    const vcore_json *rows = vcore_json_get(vcore_json_root(doc), "rows");
    assert_true(vcore_json_count(rows) >= 45);
    for (size_t i = 0; i < vcore_json_count(rows); i++) {
        vcore_str regex, text;
        vcore_arena *arena = vcore_arena_new();
        assert_true(vcore_json_string(vcore_json_at(vcore_json_at(rows, i), 0), &regex));
        vtext_pattern pattern[2] = { { .regex = parse(arena, regex.p) },
                                     { .match = vtext_known_match(regex) } };
        for (size_t k = 0; k < vcore_json_count(texts); k++) {
            const vcore_json *row = vcore_json_at(vcore_json_at(vcore_json_at(rows, i), 1), k);
            assert_true(vcore_json_string(vcore_json_at(texts, k), &text));
            check_row(&pattern[0], regex.p, text, row);
            if (pattern[1].match) check_row(&pattern[1], regex.p, text, row);
        }
        vcore_arena_free(arena);
    }
    vcore_json_free(doc);
}

/* ---- matchers written by hand -----------------------------------------------------------------
 */
static uint32_t random_state = 1;

static uint32_t below(uint32_t n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static size_t random_text(char *out, size_t chars) {
    static const uint32_t some[] = { ' ',   ' ',  '\n',  '\r',   '\t',   '\'',   's',     'S',
                                     0x17F, 't',  'l',   'L',    'a',    'B',    '1',     0xB2,
                                     '/',   '.',  '!',   0x301,  0xE9,   0xC9,   0x1C5,   0x6C49,
                                     0xA0,  0x85, 0x663, 0x2028, 0x3000, 0x2160, 0x1F600, 0x2B0 };
    size_t n = 0;
    for (size_t i = 0; i < chars; i++) {
        uint32_t cp = below(8) ? some[below(sizeof some / sizeof *some)] : below(0x110000);
        if (cp >= 0xD800 && cp < 0xE000) cp = 'x';
        n += vcore_utf8_encode(cp, out + n);
    }
    return n;
}

static void same_matches(const vtext_pattern *a, const vtext_pattern *b, const char *p, size_t n) {
    vtext_scan x, y;
    size_t x0 = 0, x1 = 0, y0 = 0, y1 = 0;
    vtext_pattern_start(&x, a, p, n);
    vtext_pattern_start(&y, b, p, n);
    for (bool more = true; more;) {
        more = vtext_pattern_next(&x, &x0, &x1);
        if (more != vtext_pattern_next(&y, &y0, &y1) || (more && (x0 != y0 || x1 != y1)))
            fail_msg("%zu-%zu is %zu-%zu in %.*s", x0, x1, y0, y1, (int)n, p);
    }
    vtext_pattern_done(&x);
    vtext_pattern_done(&y);
}

static void known_matchers_match_as_the_automaton(void **state) {
    (void)state;
    char text[256];
    for (size_t i = 0; vtext_known_regex(i); i++) {
        vcore_arena *arena = vcore_arena_new();
        const char *regex = vtext_known_regex(i);
        vtext_pattern known = { .match = vtext_known_match(vcore_str_of(regex)) };
        vtext_pattern automaton = { .regex = parse(arena, regex) };
        for (int k = 0; k < 20000; k++)
            same_matches(&known, &automaton, text, random_text(text, 1 + below(40)));
        vcore_arena_free(arena);
    }
}

/* ---- work ---------------------------------------------------------------------------------------
 */
static uint64_t steps_of(const vtext_regex *regex, const char *unit, size_t n) {
    vtext_pattern pattern = { .regex = regex };
    vtext_scan s;
    size_t begin, end, len = strlen(unit);
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) text[i] = unit[i % len];
    vtext_pattern_start(&s, &pattern, text, n);
    while (vtext_pattern_next(&s, &begin, &end)) {
    }
    assert_false(s.failed);
    vtext_pattern_done(&s);
    free(text);
    return s.steps;
}

static void work_is_linear(void **state) {
    (void)state;
    static const char *const regex[] = { "(a+)+b",
                                         "(a+)+$",
                                         "(a|a)*b",
                                         "(a|aa)+$",
                                         "(a*)*b",
                                         "(a*)*$",
                                         "(.*)*x",
                                         ".*b",
                                         ".*.*=.*",
                                         "(a?){30}a{30}",
                                         "((a{0,5}){0,5}){0,5}b",
                                         "a.*b|a",
                                         "(?:a.*x)?",
                                         "([a-c]+)*d",
                                         "(\\w+\\s?)*!",
                                         "\\s+$",
                                         "\\s*\\n\\s*x",
                                         "(?=.*b)a",
                                         "(?!.*b)a",
                                         "(?>a+)b",
                                         "a++b",
                                         "(a+?)+?b",
                                         "(a|b|ab)*c",
                                         "(?:a(?=.*c))+",
                                         "^(a+)+$",
                                         "(?:(?:a?)+)+b",
                                         "\\b(\\w+\\W?)+x",
                                         "(?<=a).*b",
                                         ".*?b.*?c",
                                         "(?:.|a)*?c" };
    static const char *const text[] = { "a", "ab ", " \na" };
    enum { N = 1 << 19 };
    int pairs = 0;
    for (size_t i = 0; i < sizeof regex / sizeof *regex; i++) {
        vcore_arena *arena = vcore_arena_new();
        const vtext_regex *r = parse(arena, regex[i]);
        for (size_t k = 0; k < sizeof text / sizeof *text; k++, pairs++) {
            uint64_t once = steps_of(r, text[k], N), twice = steps_of(r, text[k], 2 * N);
            assert_true(once <= 3 * (uint64_t)N + 2);
            assert_true((double)twice <= 2.2 * (double)once);
        }
        vcore_arena_free(arena);
    }
    assert_true(pairs >= 50);
}

/* ---- what is refused
 * ------------------------------------------------------------------------------ */
static void what_is_not_supported_is_named(void **state) {
    (void)state;
    static const struct {
        const char *regex;
        vlm_status status;
        const char *message;
    } bad[] = {
        { "(a)\\1", VLM_ERR_UNSUPPORTED, "at byte 4: \\1 is not supported (a back-reference)" },
        { "a\\Gb", VLM_ERR_UNSUPPORTED, "at byte 2: \\G is not supported" },
        { "\\k<n>", VLM_ERR_UNSUPPORTED, "at byte 1: \\k is not supported" },
        { "(?x)a b", VLM_ERR_UNSUPPORTED, "at byte 0: this kind of group is not supported" },
        { "(?~ab)", VLM_ERR_UNSUPPORTED, "at byte 0: this kind of group is not supported" },
        { "x(?<=ab)", VLM_ERR_UNSUPPORTED, "at byte 1: a look-behind at more than one character" },
        { "\\p{Klingon}", VLM_ERR_UNSUPPORTED, "at byte 2: no property is called 'Klingon'" },
        { "(?i:Strasse)", VLM_ERR_UNSUPPORTED,
          "at byte 5: (?i) of characters that are one, U+FB05, in another case" },
        { "(?i)[\\p{L}]", VLM_ERR_UNSUPPORTED,
          "at byte 4: (?i) of U+00DF, which is several characters in another case" },
        { "a{3,1}", VLM_ERR_UNSUPPORTED, "at byte 1: cannot repeat {3,1}" },
        { "\\xE9", VLM_ERR_UNSUPPORTED, "at byte 2: no character has this number" },
        { "[a&&]", VLM_ERR_UNSUPPORTED, "at byte 5: nothing stands beside &&" },
        { "(a", VLM_ERR_FORMAT, "at byte 0: a group does not end" },
        { "a)", VLM_ERR_FORMAT, "at byte 1: a ')' closes nothing" },
        { "[a", VLM_ERR_FORMAT, "at byte 1: a class does not end" },
        { "[!-", VLM_ERR_FORMAT, "at byte 3: a class does not end" },
        { "[]", VLM_ERR_FORMAT, "at byte 1: a class is empty" },
        { "[z-a]", VLM_ERR_FORMAT, "at byte 3: a range of a class has no such end" },
        { "*a", VLM_ERR_FORMAT, "at byte 0: nothing to repeat" },
        { "^*", VLM_ERR_FORMAT, "at byte 0: an anchor cannot be repeated" },
        { "a\\", VLM_ERR_FORMAT, "at byte 2: ends in a backslash" },
        { "((a{100}){100}){100}", VLM_ERR_LIMIT, "at byte 20: more than 16384 instructions" },
        { "(a|b){30}a(a|b)*", VLM_ERR_LIMIT, "at byte 16: its automaton needs too many states" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vcore_arena *arena = vcore_arena_new();
        const vtext_regex *regex;
        char message[200];
        vlm_error err = VLM_ERROR_INIT;
        vcore_str text = vcore_str_of(bad[i].regex);
        snprintf(message, sizeof message, "f: pattern: regular expression, %s", bad[i].message);
        assert_int_equal(vtext_regex_parse(&regex, text, "f", arena, &err), bad[i].status);
        assert_string_equal(err.message, message);
        assert_null(regex);
        vcore_arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_patterns_match_as_the_reference),
        cmocka_unit_test(known_matchers_match_as_the_automaton),
        cmocka_unit_test(work_is_linear),
        cmocka_unit_test(what_is_not_supported_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
