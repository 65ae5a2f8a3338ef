/* SPDX-License-Identifier: MIT */
/* Allocation, the arena, checked sizes, limits, errors. */
#include "support/cm.h"

#include "core/core.h"

#include <stdio.h>

static void zeroed_and_checked(void **state) {
    (void)state;
    unsigned char *p = vcore_alloc(1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(p[i], 0);
    vcore_free(p);
    assert_null(vcore_alloc(0));
    assert_null(vcore_alloc_array(SIZE_MAX / 2, 3));
    assert_null(vcore_realloc_array(NULL, SIZE_MAX / 2, 3));
    assert_null(vcore_alloc_aligned(SIZE_MAX - 3));
    uint8_t *a = vcore_alloc_aligned(100);
    assert_int_equal((uintptr_t)a % 64, 0);
    for (int i = 0; i < 100; i++) assert_int_equal(a[i], 0);
    vcore_free(a);
    char *s = vcore_strndup("hello", 4);
    assert_string_equal(s, "hell");
    s = vcore_realloc_array(s, 10, 1);
    assert_string_equal(s, "hell");
    vcore_free(s);
    vcore_free(NULL);
}

static void arena_gives_aligned_zeroed_pieces(void **state) {
    (void)state;
    vcore_arena *a = vcore_arena_new();
    assert_null(vcore_arena_alloc(a, SIZE_MAX));
    assert_null(vcore_arena_array(a, SIZE_MAX / 2, 3));
    uint8_t *pieces[2000];
    for (size_t i = 0; i < 2000; i++) {
        size_t n = i % 100 == 99 ? 5000 : i % 37;
        pieces[i] = vcore_arena_alloc(a, n);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < n; k++) assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)(i % 251 + 1), n);
    }
    for (size_t i = 0; i < 2000; i++) /* nobody's bytes were another's */
        for (size_t k = 0; k < (i % 100 == 99 ? 5000 : i % 37); k++)
            assert_int_equal(pieces[i][k], i % 251 + 1);
    assert_string_equal(vcore_arena_strndup(a, "picture", 3), "pic");
    vcore_arena_free(a);
    vcore_arena_free(NULL);
}

static void sizes_are_checked(void **state) {
    (void)state;
    size_t out = 7;
    assert_true(vcore_mul(3, 5, &out));
    assert_int_equal(out, 15);
    assert_false(vcore_mul(SIZE_MAX, 2, &(size_t) { 0 }));
    assert_false(vcore_add(SIZE_MAX, 1, &(size_t) { 0 }));
    assert_true(vcore_add(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
}

static void errors_are_one_printable_line(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vcore_fail(&err, VLM_ERR_FORMAT, "%s: bad", "a\nb\xff\x1b[c\xc2\x9b"),
                     VLM_ERR_FORMAT);
    assert_int_equal(err.code, VLM_ERR_FORMAT);
    assert_string_equal(err.message, "a?b??[c??: bad");
    assert_int_equal(vcore_context(&err, VLM_ERR_FORMAT, "image %d", 3), VLM_ERR_FORMAT);
    assert_string_equal(err.message, "image 3: a?b??[c??: bad");
    assert_int_equal(vcore_context(&err, VLM_OK, "not here"), VLM_OK);
    assert_string_equal(err.message, "image 3: a?b??[c??: bad");
    char longer[2000];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    vcore_fail(&err, VLM_ERR_IO, "%s", longer);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    vcore_context(&err, VLM_ERR_IO, "%s", longer);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(vcore_fail(NULL, VLM_ERR_IO, "nobody listens"), VLM_ERR_IO);
    assert_string_equal(vlm_status_name(VLM_ERR_MASK_REQUIRED), "VLM_ERR_MASK_REQUIRED");
    assert_string_equal(vlm_status_text(VLM_OK), "success");
    assert_string_equal(vlm_status_name((vlm_status)-999), "VLM_?");
    assert_string_equal(vlm_version(), "0.1.0");
}

static void limits_replace_zeros(void **state) {
    (void)state;
    vlm_limits given = VLM_LIMITS_INIT;
    given.config_bytes = 5;
    vlm_limits l = vcore_limits(&given);
    assert_int_equal(l.config_bytes, 5);
    assert_int_equal(l.index_bytes, 16 << 20);
    assert_int_equal(vcore_limits(NULL).config_bytes, 1 << 20);
    /* A caller built against a header with fewer fields. */
    given.index_bytes = 6;
    given.struct_size = offsetof(vlm_limits, index_bytes);
    l = vcore_limits(&given);
    assert_int_equal(l.config_bytes, 5);
    assert_int_equal(l.index_bytes, 16 << 20);
}

static void log_reaches_the_callback(void *user, vlm_log_level level, const char *line) {
    assert_int_equal(level, VLM_LOG_WARNING);
    strcpy(user, line);
}

static void log_lines(void **state) {
    (void)state;
    char got[100] = "";
    vcore_log log = { log_reaches_the_callback, got };
    vcore_log_line(&log, VLM_LOG_WARNING, "%d of\n%d", 1, 2);
    assert_string_equal(got, "1 of?2");
    vcore_log_line(NULL, VLM_LOG_INFO, "nobody listens");
    vcore_log_line(&(vcore_log) { 0 }, VLM_LOG_INFO, "nobody listens");
}

/* What an arena and a map say they hold is what was asked for and not much more. */
static void memory_that_is_held(void **state) {
    (void)state;
    assert_int_equal(vcore_arena_bytes(NULL), 0);
    assert_int_equal(vcore_map_bytes(NULL), 0);
    vcore_arena *a = vcore_arena_new();
    size_t asked = 0;
    for (size_t n = 1; n < 100000; n = n * 3 + 1, asked += n) assert_non_null(vcore_arena_alloc(a, n));
    assert_in_range(vcore_arena_bytes(a), asked / 3, 4 * asked);
    vcore_arena_free(a);
    vcore_map *m = vcore_map_new(10);
    size_t before = vcore_map_bytes(m);
    char key[16];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key %u", i);
        assert_true(vcore_map_put(m, vcore_str_of(key), i));
    }
    assert_in_range(vcore_map_bytes(m), before + 1000 * 16, before + 1000 * 200);
    vcore_map_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_and_checked),   cmocka_unit_test(arena_gives_aligned_zeroed_pieces),
        cmocka_unit_test(sizes_are_checked),    cmocka_unit_test(errors_are_one_printable_line),
        cmocka_unit_test(limits_replace_zeros), cmocka_unit_test(log_lines),
        cmocka_unit_test(memory_that_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
