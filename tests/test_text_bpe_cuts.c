/* SPDX-License-Identifier: MIT */
/* BPE cuts a long word before U+2581 where no merge can cross, and only there. The ids are Hugging
 * Face's (tokenizers 0.23.3); m stands for U+2581. */
#include "support/cm.h"

#include "text/text.h"

static vlm_error err;

/* JSON or text with each m replaced. */
static void put_marked(vcore_buf *b, const char *s) {
    for (; *s; s++) {
        if (*s == 'm')
            vcore_buf_puts(b, "\xE2\x96\x81");
        else
            vcore_buf_add(b, s, 1);
    }
}

/* bytes: "<0x00>" .. follow the vocabulary, from id 20 on. */
static vlm_tokenizer *make(const char *vocab, const char *merges, const char *unk, bool bytes) {
    vcore_buf b = { 0 };
    vlm_tokenizer *t;
    vcore_buf_printf(&b, "{\"model\": {\"type\": \"BPE\", \"unk_token\": %s, \"byte_fallback\": %s, ",
                     unk, bytes ? "true" : "false");
    vcore_buf_puts(&b, "\"vocab\": {");
    put_marked(&b, vocab);
    for (int i = 0; bytes && i < 256; i++)
        vcore_buf_printf(&b, ", \"<0x%02X>\": %d", (unsigned)i, 20 + i);
    vcore_buf_puts(&b, "}, \"merges\": [");
    put_marked(&b, merges);
    vcore_buf_puts(&b, "]}}");
    if (vtext_tokenizer_parse(&t, b.p, b.n, NULL, 0, "t.json", &err) != VLM_OK)
        fail_msg("%s: %s", err.message, b.p);
    vcore_buf_free(&b);
    return t;
}

static void check(vlm_tokenizer *t, const char *text, const char *want) {
    vcore_buf b = { 0 }, got = { 0 };
    vtext_ids ids = { 0 };
    put_marked(&b, text);
    vtext_span span = { b.p, b.n, false };
    assert_int_equal(vtext_encode(t, &span, 1, false, false, &ids, &err), VLM_OK);
    for (size_t i = 0; i < ids.n; i++) vcore_buf_printf(&got, i ? " %u" : "%u", ids.id[i]);
    assert_string_equal(got.p, want);
    vtext_ids_free(&ids);
    vcore_buf_free(&b);
    vcore_buf_free(&got);
    vtext_tokenizer_free(t);
}

#define VOCAB "\"m\":0, \"mm\":1, \"a\":2, \"b\":3, \"ab\":4, \"ma\":5, \"mab\":6, \"?\":7"
#define MERGES "[\"m\",\"m\"], [\"a\",\"b\"], [\"m\",\"a\"], [\"m\",\"ab\"]"
#define TEXT "abmabmmabmxmab"

static void cuts(void **state) {
    (void)state;
    check(make(VOCAB, MERGES, "\"?\"", false), TEXT, "4 6 1 4 0 7 6");
}

static void merges_cross_what_vanishes(void **state) {
    (void)state;
    check(make(VOCAB, MERGES, "null", false), TEXT, "4 6 1 4 1 4");
}

static void merges_across_the_mark(void **state) {
    (void)state;
    const char *vocab = VOCAB ", \"bm\":8, \"bmab\":10";
    check(make(vocab, "[\"a\",\"b\"], [\"b\",\"m\"], [\"bm\",\"ab\"]", "\"?\"", false),
          "bmabmbmmab", "10 0 8 0 4");
}

static void merges_of_the_unknown_token(void **state) {
    (void)state;
    check(make(VOCAB ", \"?m\":9", "[\"?\",\"m\"], " MERGES, "\"?\"", false), TEXT,
          "4 6 1 4 0 9 4");
}

static void merges_of_bytes(void **state) {
    (void)state;
    check(make(VOCAB, MERGES, "\"?\"", true), TEXT, "4 6 1 4 0 140 6");
    check(make(VOCAB ", \"<0x78>m\":9", "[\"<0x78>\",\"m\"], " MERGES, "\"?\"", true), TEXT,
          "4 6 1 4 0 9 4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts),
        cmocka_unit_test(merges_cross_what_vanishes),
        cmocka_unit_test(merges_across_the_mark),
        cmocka_unit_test(merges_of_the_unknown_token),
        cmocka_unit_test(merges_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
