/* SPDX-License-Identifier: MIT */
/* JSON: what Python's json takes and refuses, values, access, limits, errors. */
#include "support/cm.h"

#include "core/core.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

static vlm_error err;

static vcore_json_doc *parse(const char *text, size_t n) {
    vcore_json_doc *doc;
    err = (vlm_error)VLM_ERROR_INIT;
    vlm_status status = vcore_json_parse(&doc, text, n, "file.json", &err);
    assert_int_equal(status, err.code);
    assert_int_equal(status >= 0, doc != NULL);
    return doc;
}

static vcore_json_doc *parse_ok(const char *text) {
    vcore_json_doc *doc = parse(text, strlen(text));
    if (!doc) fail_msg("%s: %s", text, err.message);
    return doc;
}

#define REFUSED(text, why)                                                                         \
    do {                                                                                           \
        assert_null(parse(text, sizeof text - 1));                                                 \
        assert_string_equal(err.message, "file.json: line " why);                                  \
    } while (0)

static void refuses_what_python_refuses(void **state) {
    (void)state;
    REFUSED("", "1, column 1: the text ends too early");
    REFUSED(" ", "1, column 2: the text ends too early");
    REFUSED("[1", "1, column 3: the text ends too early");
    REFUSED("\"a", "1, column 3: the text ends too early");
    REFUSED("{\"a\":1,\n \"b\" 2}", "2, column 6: expected ':'");
    REFUSED("{\"a\":1,}", "1, column 8: expected a string as key");
    REFUSED("{a:1}", "1, column 2: expected a string as key");
    REFUSED("[1,]", "1, column 4: invalid value");
    REFUSED("[\"\\n\\u00e9\",\n \"\\t\" 2]", "2, column 7: expected ',' or ']'");
    REFUSED("[1,\n\xFF]", "2, column 1: invalid UTF-8");
    REFUSED("[1 2]", "1, column 4: expected ',' or ']'");
    REFUSED("{\"a\":1 2}", "1, column 8: expected ',' or '}'");
    REFUSED("[1] x", "1, column 5: text behind the value");
    REFUSED("[1]\0", "1, column 4: text behind the value");
    REFUSED("[1]//c", "1, column 4: text behind the value");
    REFUSED("/**/[1]", "1, column 1: invalid value");
    REFUSED("['a']", "1, column 2: invalid value");
    REFUSED("[TRUE]", "1, column 2: invalid value");
    REFUSED("[nan]", "1, column 2: invalid value");
    REFUSED("[-NaN]", "1, column 3: invalid value");
    REFUSED("[01]", "1, column 2: a number begins with 0");
    REFUSED("[-01]", "1, column 3: a number begins with 0");
    REFUSED("[1.]", "1, column 4: expected a digit");
    REFUSED("[1.e5]", "1, column 4: expected a digit");
    REFUSED("[.5]", "1, column 2: invalid value");
    REFUSED("[+1]", "1, column 2: invalid value");
    REFUSED("[-]", "1, column 3: invalid value");
    REFUSED("[1e+]", "1, column 5: expected a digit");
    REFUSED("[0x10]", "1, column 3: expected ',' or ']'");
    REFUSED("[\"a\nb\"]", "1, column 4: control character in a string");
    REFUSED("[\"a\0b\"]", "1, column 4: control character in a string");
    REFUSED("[\"\\x41\"]", "1, column 3: invalid escape");
    REFUSED("[\"\\u12g4\"]", "1, column 3: invalid \\u escape");
    REFUSED("[\"\\u12", "1, column 3: invalid \\u escape");
    REFUSED("\n\n[\"\xFF\"]", "3, column 3: invalid UTF-8");
    REFUSED("[\"\xED\xA0\x80\"]", "1, column 3: invalid UTF-8");
    REFUSED("\xEF\xBB\xBF[1]", "1, column 1: invalid value");
    REFUSED("[\v1]", "1, column 2: invalid value");
}

static void assert_text(const vcore_json *v, const char *want, size_t n) {
    vcore_str s;
    assert_true(vcore_json_string(v, &s));
    assert_int_equal(s.n, n);
    assert_memory_equal(s.p, want, n + 1); /* a NUL follows */
}

static void strings(void **state) {
    (void)state;
    vcore_json_doc *doc =
        parse_ok("[\"\", \"a\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"\\u0000x\", \"\\u00e9\\u20AC\","
                 " \"\\ud83d\\ude00\", \"\\ud83dx\", \"\\ude00\", \"\xC3\xA9\x7F\"]");
    const vcore_json *root = vcore_json_root(doc);
    assert_int_equal(vcore_json_count(root), 8);
    assert_text(vcore_json_at(root, 0), "", 0);
    assert_text(vcore_json_at(root, 1), "a\"\\/\b\f\n\r\t", 9);
    assert_text(vcore_json_at(root, 2), "\0x", 2);
    assert_text(vcore_json_at(root, 3), "\xC3\xA9\xE2\x82\xAC", 5);
    assert_text(vcore_json_at(root, 4), "\xF0\x9F\x98\x80", 4);
    assert_text(vcore_json_at(root, 5), "\xEF\xBF\xBDx", 4); /* a lone surrogate */
    assert_text(vcore_json_at(root, 6), "\xEF\xBF\xBD", 3);
    assert_text(vcore_json_at(root, 7), "\xC3\xA9\x7F", 3);
    assert_null(vcore_json_at(root, 8));
    vcore_json_free(doc);
}

static void numbers(void **state) {
    (void)state;
    vcore_json_doc *doc =
        parse_ok("[0, -0, 9223372036854775807, -9223372036854775808, 9223372036854775808,"
                 " 99999999999999999999999, 1.5, 1e3, 1E400, NaN, Infinity, -Infinity,"
                 " 2.5e-1, true, -9223372036854775809, 0.1]");
    const vcore_json *root = vcore_json_root(doc);
    static const int64_t integers[] = { 0, 0, INT64_MAX, INT64_MIN };
    int64_t i;
    double r;
    bool b;
    for (size_t k = 0; k < 4; k++) {
        assert_int_equal(vcore_json_kind_of(vcore_json_at(root, k)), VCORE_JSON_INT);
        assert_true(vcore_json_int(vcore_json_at(root, k), &i));
        assert_true(i == integers[k]);
    }
    assert_int_equal(vcore_json_kind_of(vcore_json_at(root, 4)), VCORE_JSON_REAL);
    assert_false(vcore_json_int(vcore_json_at(root, 4), &i));
    assert_true(vcore_json_real(vcore_json_at(root, 4), &r) && r == 0x1p63);
    assert_true(vcore_json_real(vcore_json_at(root, 5), &r) && r == 1e23);
    assert_false(vcore_json_int(vcore_json_at(root, 6), &i));
    assert_true(vcore_json_int(vcore_json_at(root, 7), &i)
                && i == 1000); /* a real with integral value */
    assert_true(vcore_json_real(vcore_json_at(root, 8), &r) && isinf(r));
    assert_true(vcore_json_real(vcore_json_at(root, 9), &r) && isnan(r));
    assert_false(vcore_json_int(vcore_json_at(root, 9), &i));
    assert_true(vcore_json_real(vcore_json_at(root, 10), &r) && isinf(r) && r > 0);
    assert_false(vcore_json_int(vcore_json_at(root, 10), &i));
    assert_true(vcore_json_real(vcore_json_at(root, 11), &r) && isinf(r) && r < 0);
    assert_true(vcore_json_real(vcore_json_at(root, 12), &r) && r == 0.25);
    assert_true(vcore_json_bool(vcore_json_at(root, 13), &b) && b);
    assert_false(vcore_json_int(vcore_json_at(root, 13), &i));
    assert_true(vcore_json_real(vcore_json_at(root, 14), &r) && r == -0x1p63);
    assert_true(vcore_json_real(vcore_json_at(root, 15), &r) && r == 0.1);
    vcore_json_free(doc);
}

static void objects(void **state) {
    (void)state;
    vcore_json_doc *doc =
        parse_ok("{\"a\":1,\"b\":{\"c\":{\"d\":5}},\"a\":2,\"a\\u0000b\":3,\"\":4}");
    const vcore_json *root = vcore_json_root(doc);
    int64_t i;
    assert_int_equal(vcore_json_count(root), 4);
    assert_true(vcore_json_int(vcore_json_get(root, "a"), &i) && i == 2); /* the last wins */
    assert_string_equal(vcore_json_repeated(root), "a");
    assert_null(vcore_json_repeated(vcore_json_get(root, "b")));
    assert_true(vcore_json_int(vcore_json_path(root, "b.c.d"), &i) && i == 5);
    assert_true(vcore_json_int(vcore_json_path(root, "a"), &i) && i == 2);
    assert_null(vcore_json_path(root, "b.x.d"));
    assert_null(vcore_json_path(root, "a.b"));
    assert_true(vcore_json_int(vcore_json_get(root, ""), &i) && i == 4);
    static const vcore_str keys[] = { { "a", 1 }, { "b", 1 }, { "a\0b", 3 }, { "", 0 } };
    vcore_json_iter it = { 0 };
    for (size_t k = 0; k < 4; k++) {
        assert_true(vcore_json_next(root, &it));
        assert_true(vcore_str_eq(it.key, keys[k]));
        assert_ptr_equal(it.object, root);
    }
    assert_false(vcore_json_next(root, &it));
    vcore_json_free(doc);
}

/* Beyond eight members an object has an index. */
static void large_objects(void **state) {
    (void)state;
    for (int n = 1; n <= 3000; n = n < 20 ? n + 1 : n * 3) {
        vcore_buf b = { 0 };
        vcore_buf_puts(&b, "{");
        for (int i = 0; i < n; i++) vcore_buf_printf(&b, "\"k%d\":%d,", i, i);
        vcore_buf_puts(&b, "\"k0\":-1}");
        vcore_json_doc *doc = parse_ok(b.p);
        const vcore_json *root = vcore_json_root(doc);
        assert_int_equal(vcore_json_count(root), n);
        assert_string_equal(vcore_json_repeated(root), "k0");
        for (int i = 0; i < n; i++) {
            char key[16];
            int64_t value;
            snprintf(key, sizeof key, "k%d", i);
            assert_true(vcore_json_int(vcore_json_get(root, key), &value));
            assert_int_equal(value, i ? i : -1);
        }
        assert_null(vcore_json_get(root, "k"));
        vcore_json_free(doc);
        vcore_buf_free(&b);
    }
}

static void taken_text(void **state) {
    (void)state;
    vcore_json_doc *doc;
    vcore_str s;
    char *text = vcore_strdup("{\"a\": \"x\\ty\"}");
    assert_int_equal(vcore_json_take(&doc, text, strlen(text), "file.json", &err), VLM_OK);
    assert_true(vcore_json_string(vcore_json_get(vcore_json_root(doc), "a"), &s));
    assert_string_equal(s.p, "x\ty");
    assert_true(s.p > text && s.p < text + 12); /* not a copy */
    vcore_json_free(doc);
    assert_int_equal(vcore_json_take(&doc, vcore_strdup("["), 1, "file.json", &err), VLM_ERR_PARSE);
    assert_null(doc);
}

static void access_to_nothing(void **state) {
    (void)state;
    int64_t i;
    double r;
    bool b;
    vcore_str s;
    assert_int_equal(vcore_json_kind_of(NULL), VCORE_JSON_NULL);
    assert_string_equal(vcore_json_kind_name(NULL), "null");
    assert_null(vcore_json_get(NULL, "a"));
    assert_null(vcore_json_path(NULL, "a.b"));
    assert_null(vcore_json_at(NULL, 0));
    assert_int_equal(vcore_json_count(NULL), 0);
    assert_false(vcore_json_bool(NULL, &b) || vcore_json_int(NULL, &i) || vcore_json_real(NULL, &r)
                 || vcore_json_string(NULL, &s));
    assert_false(vcore_json_next(NULL, &(vcore_json_iter) { 0 }));
    assert_null(vcore_json_root(NULL));
    vcore_json_free(NULL);
    vcore_json_doc *doc = parse_ok("[{},[],\"\",1,1.5,true,null]");
    static const char *const names[] = { "an object", "an array",  "a string", "an integer",
                                         "a number",  "a boolean", "null" };
    for (size_t k = 0; k < 7; k++)
        assert_string_equal(vcore_json_kind_name(vcore_json_at(vcore_json_root(doc), k)), names[k]);
    assert_null(vcore_json_get(vcore_json_root(doc), "a"));
    vcore_json_free(doc);
}

static void depth_is_limited(void **state) {
    (void)state;
    enum { DEEP = 1000000 };
    char *text = vcore_alloc(2 * DEEP + 1);
    memset(text, '[', 256);
    memset(text + 256, ']', 256);
    vcore_json_doc *doc = parse(text, 512);
    assert_non_null(doc);
    vcore_json_free(doc);
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    assert_null(parse(text, 2 * DEEP));
    assert_string_equal(err.message, "file.json: line 1, column 257: nested more than 256 deep");
    for (int i = 0; i + 5 <= 2 * DEEP; i += 5) memcpy(text + i, "{\"\":[", 5);
    assert_null(parse(text, 2 * DEEP));
    assert_non_null(strstr(err.message, "nested more than 256 deep"));
    vcore_free(text);
}

static void number_of_values_is_limited(void **state) {
    (void)state;
    enum { MANY = 9000000 };
    char *text = vcore_alloc(2 * MANY + 1);
    for (int i = 0; i < MANY; i++) memcpy(text + 2 * i, i ? ",1" : "[1", 2);
    assert_null(parse(text, 2 * MANY));
    assert_int_equal(err.code, VLM_ERR_LIMIT);
    vcore_free(text);
}

/* Numbers have a point whatever the program's locale says. */
static void locale_does_not_matter(void **state) {
    (void)state;
    const char *before = setlocale(LC_NUMERIC, NULL);
    char kept[64];
    snprintf(kept, sizeof kept, "%s", before);
    setlocale(LC_NUMERIC, "de_DE.UTF-8"); /* where it is installed */
    vcore_json_doc *doc = parse_ok("1.25");
    double r;
    assert_true(vcore_json_real(vcore_json_root(doc), &r) && r == 1.25);
    vcore_json_free(doc);
    setlocale(LC_NUMERIC, kept);
}

static void *read_document(void *arg) {
    int64_t sum = 0, value;
    for (int round = 0; round < 200; round++) {
        vcore_json_iter it = { 0 };
        while (vcore_json_next(arg, &it))
            if (vcore_json_int(vcore_json_get(arg, it.key.p), &value)) sum += value;
    }
    return (void *)(intptr_t)sum;
}

static void threads_share_a_document(void **state) {
    (void)state;
    vcore_json_doc *doc =
        parse_ok("{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9}");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, read_document, (void *)vcore_json_root(doc)), 0);
    for (int i = 0; i < 4; i++) {
        void *sum;
        pthread_join(threads[i], &sum);
        assert_int_equal((intptr_t)sum, 200 * 45);
    }
    vcore_json_free(doc);
}

static void quoting(void **state) {
    (void)state;
    vcore_buf b = { 0 };
    vcore_json_quote(&b, "a\"\\\n\t\r\b\f\x01\0/\xC3\xA9\xFF\x7F", 15);
    assert_string_equal(b.p, "\"a\\\"\\\\\\n\\t\\r\\b\\f\\u0001\\u0000/\xC3\xA9\xEF\xBF\xBD\x7F\"");
    vcore_json_doc *doc = parse_ok(b.p);
    assert_text(vcore_json_root(doc), "a\"\\\n\t\r\b\f\x01\0/\xC3\xA9\xEF\xBF\xBD\x7F", 17);
    vcore_json_free(doc);
    vcore_buf_free(&b);
}

/* Commas come where they belong, keys may hold NULs, reals stay reals and numbers come back. */
static void writing(void **state) {
    (void)state;
    static const char text[] = "{\"a\": [1, -2, 18446744073709551615, 1.0, 0.1, true, null, {}, []], \"b \": "
                               "{\"c\": \"{[\", \"d\\u0000\": false}, \"raw\": [3 , 4], \"n\": NaN, \"i\": [-Infinity]}";
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '{');
    vcore_json_open(&b, "a", '[');
    vcore_json_put_int(&b, NULL, 1);
    vcore_json_put_int(&b, NULL, -2);
    vcore_json_put_uint(&b, NULL, UINT64_MAX);
    vcore_json_put_real(&b, NULL, 1);
    vcore_json_put_real(&b, NULL, 0.1);
    vcore_json_put_bool(&b, NULL, true);
    vcore_json_put_text(&b, NULL, NULL);
    vcore_json_open(&b, NULL, '{');
    vcore_json_close(&b, '}');
    vcore_json_open(&b, NULL, '[');
    vcore_json_close(&b, ']');
    vcore_json_close(&b, ']');
    vcore_json_open(&b, "b ", '{');
    vcore_json_put_text(&b, "c", "{[");
    vcore_json_key(&b, (vcore_str) { "d\0", 2 });
    vcore_json_put_bool(&b, NULL, false);
    vcore_json_close(&b, '}');
    vcore_json_put_raw(&b, "raw", "[3 , 4] \n");
    vcore_json_put_real(&b, "n", (double)NAN);
    vcore_json_open(&b, "i", '[');
    vcore_json_put_real(&b, NULL, -(double)INFINITY);
    vcore_json_close(&b, ']');
    vcore_json_close(&b, '}');
    assert_string_equal(b.p, text);
    vcore_buf_free(&b);
}

/* What was read is written so that it is read again as the same. */
static void writing_what_was_read(void **state) {
    (void)state;
    static const char text[] = "{\"a\": [1, 2.5, 1e+300, 1e-07, 0.30000000000000004, 9007199254740993], \"b\": {\"c\": null}, \"d\": \"\"}";
    vcore_json_doc *doc = parse_ok(text);
    vcore_buf b = { 0 };
    vcore_json_put(&b, NULL, vcore_json_root(doc));
    assert_string_equal(b.p, text);
    vcore_json_free(doc);
    vcore_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_python_refuses),
        cmocka_unit_test(strings),
        cmocka_unit_test(numbers),
        cmocka_unit_test(objects),
        cmocka_unit_test(large_objects),
        cmocka_unit_test(taken_text),
        cmocka_unit_test(access_to_nothing),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(number_of_values_is_limited),
        cmocka_unit_test(locale_does_not_matter),
        cmocka_unit_test(threads_share_a_document),
        cmocka_unit_test(quoting),
        cmocka_unit_test(writing),
        cmocka_unit_test(writing_what_was_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
