/* SPDX-License-Identifier: MIT */
/* Buffers, the string map, near names, UTF-8. */
#include "support/cm.h"

#include "core/core.h"

#include <stdio.h>

static void buffer_grows_and_is_taken(void **state) {
    (void)state;
    vcore_buf b = { 0 };
    vcore_buf_puts(&b, "one");
    vcore_buf_add(&b, "\0two", 4);
    for (int i = 0; i < 1000; i++) vcore_buf_printf(&b, " %04d", i);
    assert_false(b.failed);
    assert_int_equal(b.n, 7 + 5000);
    assert_memory_equal(b.p, "one\0two 0000 0001", 17);
    assert_int_equal(b.p[b.n], 0);
    char *taken = vcore_buf_take(&b);
    assert_string_equal(taken + 7 + 4995, " 0999");
    assert_null(b.p);
    vlm_string_free(taken);
    taken = vcore_buf_take(&b);
    assert_string_equal(taken, "");
    vcore_free(taken);
}

static void buffer_remembers_failure(void **state) {
    (void)state;
    vcore_buf b = { 0 };
    vcore_buf_puts(&b, "x");
    vcore_buf_add(&b, "", SIZE_MAX - 1);
    assert_true(b.failed);
    vcore_buf_puts(&b, "y");
    assert_int_equal(b.n, 1);
    assert_null(vcore_buf_take(&b));
    assert_false(b.failed);
}

static void map_finds_what_was_put(void **state) {
    (void)state;
    vcore_map *m = vcore_map_new(0);
    char key[16];
    uint32_t value = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        int n = snprintf(key, sizeof key, "key%u", i);
        assert_true(vcore_map_put(m, (vcore_str) { key, (size_t)n }, i));
    }
    assert_true(vcore_map_put(m, vcore_str_of("key7"), 70));
    assert_true(vcore_map_put(m, vcore_str_of(""), 5));
    assert_true(vcore_map_put(m, (vcore_str) { "a\0b", 3 }, 6));
    assert_int_equal(vcore_map_count(m), 20002);
    for (uint32_t i = 0; i < 20000; i++) {
        int n = snprintf(key, sizeof key, "key%u", i);
        assert_true(vcore_map_get(m, (vcore_str) { key, (size_t)n }, &value));
        assert_int_equal(value, i == 7 ? 70 : i);
    }
    assert_true(vcore_map_get(m, vcore_str_of(""), &value) && value == 5);
    assert_true(vcore_map_get(m, (vcore_str) { "a\0b", 3 }, NULL));
    assert_false(vcore_map_get(m, vcore_str_of("a"), &value));
    assert_false(vcore_map_get(m, vcore_str_of("key20000"), &value));
    vcore_map_free(m);
    vcore_map_free(NULL);
}

static void hash_depends_on_seed_and_every_byte(void **state) {
    (void)state;
    char text[40];
    memset(text, 'a', sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        uint64_t h = vcore_hash(1, (vcore_str) { text, n });
        assert_true(h == vcore_hash(1, (vcore_str) { text, n }));
        assert_true(h != vcore_hash(2, (vcore_str) { text, n }));
        for (size_t i = 0; i < n; i++) {
            text[i] = 'b';
            assert_true(h != vcore_hash(1, (vcore_str) { text, n }));
            text[i] = 'a';
        }
    }
}

static void closest_names(void **state) {
    (void)state;
    const char *const names[] = { "qwen2_vl", "paligemma", "qwen2_5_vl", "smolvlm", "idefics3" };
    char out[64];
    vcore_closest(out, sizeof out, "qwen2_5_v1", names, 5, 2);
    assert_string_equal(out, "qwen2_5_vl, qwen2_vl");
    vcore_closest(out, sizeof out, "smolvml", names, 5, 3);
    assert_string_equal(out, "smolvlm");
    vcore_closest(out, sizeof out, "paligemma2", names, 5, 1);
    assert_string_equal(out, "paligemma");
    vcore_closest(out, sizeof out, "zzzzzzzzzzz", names, 5, 3);
    assert_string_equal(out, "");
    vcore_closest(out, 12, "qwen2_5_v1", names, 5, 2); /* no half names */
    assert_string_equal(out, "qwen2_5_vl");
    vcore_closest(out, sizeof out, "x", names, 0, 2);
    assert_string_equal(out, "");
    char lengthy[200];
    memset(lengthy, 'q', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    vcore_closest(out, sizeof out, lengthy, names, 5, 2);
    assert_string_equal(out, "");
}

/* What Python's bytes.decode("utf-8", "replace") makes of it, one digit per code point: the bytes
 * used. */
static void utf8_replaces_as_python_does(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *used;
        bool valid;
    } cases[] = {
        { "az", "11", true },
        { "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "234", true },
        { "\xEF\xBF\xBD", "3", true },
        { "\xF4\x8F\xBF\xBF", "4", true },
        { "\xED\x9F\xBF\xEE\x80\x80", "33", true },
        { "\x80", "1", false },
        { "\xC0\x80", "11", false },           /* overlong */
        { "\xE0\x80\x80", "111", false },      /* overlong */
        { "\xED\xA0\x80", "111", false },      /* surrogate */
        { "\xF4\x90\x80\x80", "1111", false }, /* above U+10FFFF */
        { "\xF8\x88\x80\x80\x80", "11111", false },
        { "\xE2\x82", "2", false },
        { "\xE2\x82\x41", "21", false },
        { "\xF0\x9F\x98", "3", false },
        { "\xF0\x9F\x41", "21", false },
        { "\xFF\xFE", "11", false },
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        size_t n = strlen(cases[c].bytes), at = 0, count = 0;
        for (uint32_t cp; at < n; count++) {
            size_t used = vcore_utf8_decode(cases[c].bytes + at, n - at, &cp);
            assert_int_equal(used, cases[c].used[count] - '0');
            at += used;
        }
        assert_int_equal(count, strlen(cases[c].used));
        assert_int_equal(vcore_utf8_valid(cases[c].bytes, n), cases[c].valid);
    }
    static const char good[] = "sixteen bytes ..\xC3\xA9 and more of it",
                      bad[] = "sixteen bytes ..\xC3 and more";
    assert_true(vcore_utf8_valid(good, sizeof good - 1));
    assert_false(vcore_utf8_valid(bad, sizeof bad - 1));
}

static void utf8_round_trip(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        if (cp >= 0xD800 && cp < 0xE000) continue;
        char bytes[4];
        uint32_t back;
        size_t n = vcore_utf8_encode(cp, bytes);
        if (vcore_utf8_decode(bytes, n, &back) != n || back != cp || !vcore_utf8_valid(bytes, n))
            fail_msg("U+%04X", cp);
        for (size_t have = 1; have < n; have++)
            if (vcore_utf8_incomplete(bytes, have) != have) fail_msg("U+%04X", cp);
        if (vcore_utf8_incomplete(bytes, n) != 0) fail_msg("U+%04X", cp);
    }
    char bytes[4];
    assert_int_equal(vcore_utf8_encode(0xD800, bytes), 3);
    assert_memory_equal(bytes, "\xEF\xBF\xBD", 3);
    assert_int_equal(vcore_utf8_encode(0x110000, bytes), 3);
}

static void utf8_incomplete_ends(void **state) {
    (void)state;
    assert_int_equal(vcore_utf8_incomplete("", 0), 0);
    assert_int_equal(vcore_utf8_incomplete("ab\xE2\x82", 4), 2);
    assert_int_equal(vcore_utf8_incomplete("\x80\x80\x80\x80", 4), 0); /* starts nowhere */
    assert_int_equal(vcore_utf8_incomplete("a\xE0\x80", 3), 0);        /* can never be completed */
    assert_int_equal(vcore_utf8_incomplete("\xC3\xA9\xF0", 3), 1);
    assert_int_equal(vcore_utf8_incomplete("\xFF", 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_grows_and_is_taken),
        cmocka_unit_test(buffer_remembers_failure),
        cmocka_unit_test(map_finds_what_was_put),
        cmocka_unit_test(hash_depends_on_seed_and_every_byte),
        cmocka_unit_test(closest_names),
        cmocka_unit_test(utf8_replaces_as_python_does),
        cmocka_unit_test(utf8_round_trip),
        cmocka_unit_test(utf8_incomplete_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
