/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of compiling a regular expression and of a pass over a text. */
#include "support/alloc.h"
#include "support/cm.h"

#include "text/regex/regex.h"

static const char *const regex[] = {
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]++|\\s+$",
    "[\\p{L}&&[^\\p{Han}]]{2,3}?(?=(?:\\d{3})+\\b)|(?<=a)(?>b*)^|\\R(?i)k[x-z]",
};

static void compiling(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof regex / sizeof *regex; i++) {
        vlm_status status = VLM_ERR_MEMORY;
        for (long k = 1; status != VLM_OK; k++) {
            vcore_arena *arena = vcore_arena_new();
            const vtext_regex *out;
            vlm_error err = VLM_ERROR_INIT;
            talloc_start(k);
            status = vtext_regex_parse(&out, vcore_str_of(regex[i]), "f", arena, &err);
            talloc_stop();
            assert_int_equal(status == VLM_OK, out != NULL);
            if (status != VLM_OK) assert_int_equal(status, VLM_ERR_MEMORY);
            assert_int_equal(status, err.code);
            vcore_arena_free(arena);
        }
    }
}

static void matching(void **state) {
    (void)state;
    char text[1000];
    memset(text, 'a', sizeof text);
    vcore_arena *arena = vcore_arena_new();
    vtext_pattern pattern = { 0 };
    assert_int_equal(vtext_regex_parse(&pattern.regex, vcore_str_of(regex[0]), "f", arena, NULL),
                     VLM_OK);
    for (long k = 1; k <= 2; k++) {
        vtext_scan s;
        size_t begin, end;
        talloc_start(k);
        vtext_pattern_start(&s, &pattern, text, sizeof text);
        bool found = vtext_pattern_next(&s, &begin, &end);
        assert_int_equal(s.failed, k == 1);
        assert_int_equal(found, k == 2);
        vtext_pattern_done(&s);
        vtext_pattern_start(&s, &pattern, text, 100); /* short: none is needed */
        assert_true(vtext_pattern_next(&s, &begin, &end) && !s.failed);
        vtext_pattern_done(&s);
        assert_true(talloc_stop() <= 1);
    }
    vcore_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compiling),
        cmocka_unit_test(matching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
