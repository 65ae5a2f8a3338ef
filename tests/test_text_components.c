/* SPDX-License-Identifier: MIT */
/* Every normalizer, pre-tokenizer and post-processor with its options, against Hugging Face's
 * (tests/data/tokenizers/components.json, made by tools/golden/component_vectors.py), malformed
 * ones, and what a hostile character map may not do. */
#include "support/cm.h"

#include "text/text.h"
#include "text/unicode/unicode.h"

#include <stdio.h>
#include <stdlib.h>

#define DATA "tests/data/tokenizers/"

static vlm_error err;

static vcore_json_doc *read_json(const char *path) {
    vcore_json_doc *doc;
    if (vio_read_json(&doc, NULL, path, 1 << 24, NULL, &err) != VLM_OK) fail_msg("%s", err.message);
    return doc;
}

static vlm_tokenizer *parse(const char *json) {
    vlm_tokenizer *t;
    vtext_tokenizer_parse(&t, json, strlen(json), NULL, 0, "t.json", &err);
    return t;
}

static void add_word(uint64_t *hash, uint32_t word) {
    for (int i = 0; i < 32; i += 8) *hash = (*hash ^ (word >> i & 0xFF)) * 0x100000001B3u;
}

static void add_line(uint64_t *hash, const vlm_tokenizer *t, vcore_str line, bool special) {
    vtext_span span = { line.p, line.n, false };
    vtext_ids ids = { 0 };
    if (vtext_encode(t, &span, 1, special, true, &ids, &err) != VLM_OK)
        fail_msg("%.*s: %s", (int)line.n, line.p, err.message);
    add_word(hash, (uint32_t)ids.n);
    for (size_t i = 0; i < ids.n; i++) {
        add_word(hash, ids.id[i]);
        add_word(hash, ids.begin[i]);
        add_word(hash, ids.end[i]);
    }
    vtext_ids_free(&ids);
}

static vcore_str string_of(const vcore_json *v, const char *key) {
    vcore_str s = { NULL, 0 };
    assert_true(vcore_json_string(key ? vcore_json_get(v, key) : v, &s));
    return s;
}

static vlm_tokenizer *load_case(const vcore_json *root, const vcore_json *item) {
    vcore_str file = string_of(item, "file"), model = string_of(item, "model");
    vcore_json_iter it = { 0 };
    vcore_str text = { NULL, 0 };
    while (vcore_json_next(vcore_json_get(root, "models"), &it))
        if (vcore_str_eq(it.key, model)) text = string_of(it.value, NULL);
    assert_true(file.n > 0 && text.n > 0);
    vcore_buf json = { 0 };
    vcore_buf_puts(&json, "{");
    vcore_buf_add(&json, file.p, file.n);
    vcore_buf_puts(&json, ",");
    vcore_buf_add(&json, text.p, text.n);
    vcore_buf_puts(&json, "}");
    vlm_tokenizer *t = parse(json.p);
    vcore_buf_free(&json);
    return t;
}

static void as_hugging_face(void **state) {
    (void)state;
    vcore_json_doc *lines = read_json(DATA "lines.json"), *doc = read_json(DATA "components.json");
    const vcore_json *root = vcore_json_root(doc), *cases = vcore_json_get(root, "cases");
    size_t n = vcore_json_count(vcore_json_root(lines)), bad = 0;
    assert_true(vcore_json_count(cases) > 500);
    for (vcore_json_iter it = { 0 }; vcore_json_next(cases, &it);) {
        vcore_str name = string_of(it.value, "name"), want = string_of(it.value, "hash");
        vlm_tokenizer *t = load_case(root, it.value);
        if (!t) fail_msg("%.*s: %s", (int)name.n, name.p, err.message);
        uint64_t hash = 0xCBF29CE484222325u;
        for (size_t i = 0; i < n; i++) {
            vcore_str line = string_of(vcore_json_at(vcore_json_root(lines), i), NULL);
            add_line(&hash, t, line, false);
            add_line(&hash, t, line, true);
        }
        char got[17];
        snprintf(got, sizeof got, "%016llx", (unsigned long long)hash);
        if (!vcore_str_eq(want, vcore_str_of(got))) {
            print_error("%.*s differs\n", (int)name.n, name.p);
            bad++;
        }
        vtext_tokenizer_free(t);
    }
    assert_int_equal(bad, 0);
    vcore_json_free(doc);
    vcore_json_free(lines);
}

/* ---- malformed components ------------------------------------------------------------------- */
#define FILE_OF(part)                                                                              \
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, " part "}"
#define NORMALIZER(rest) FILE_OF("\"normalizer\": {\"type\": " rest "}")
#define PRE(rest) FILE_OF("\"pre_tokenizer\": {\"type\": " rest "}")
#define POST(rest) FILE_OF("\"post_processor\": {\"type\": " rest "}")

static void bad_components_are_named(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        { NORMALIZER("\"Strip\", \"strip_left\": 1"),
          "normalizer.strip_left: must be true or false, is an integer" },
        { NORMALIZER("\"Strip\", \"strip_right\": \"\""),
          "normalizer.strip_right: must be true or false, is a string" },
        { NORMALIZER("\"Prepend\""), "normalizer.prepend: must be a string, is missing" },
        { NORMALIZER("\"Replace\", \"pattern\": {\"String\": \"a\"}"),
          "normalizer.content: must be a string, is missing" },
        { NORMALIZER("\"BertNormalizer\", \"clean_text\": 1"),
          "normalizer.clean_text: must be true or false, is an integer" },
        { NORMALIZER("\"BertNormalizer\", \"handle_chinese_chars\": 1"),
          "normalizer.handle_chinese_chars: must be true or false, is an integer" },
        { NORMALIZER("\"BertNormalizer\", \"strip_accents\": \"no\""),
          "normalizer.strip_accents: must be true or false, is a string" },
        { NORMALIZER("\"BertNormalizer\", \"lowercase\": []"),
          "normalizer.lowercase: must be true or false, is an array" },
        { NORMALIZER("\"Precompiled\""), "normalizer.precompiled_charsmap: must be a string" },
        { NORMALIZER("\"Precompiled\", \"precompiled_charsmap\": \"AAA\""),
          "normalizer.precompiled_charsmap: is not base64" },
        { NORMALIZER("\"Precompiled\", \"precompiled_charsmap\": \"AA=A\""),
          "normalizer.precompiled_charsmap: is not base64" },
        { NORMALIZER("\"Precompiled\", \"precompiled_charsmap\": \"A A=\""),
          "normalizer.precompiled_charsmap: is not base64" },
        { NORMALIZER("\"Precompiled\", \"precompiled_charsmap\": \"\""),
          "normalizer.precompiled_charsmap: is cut off: 0 bytes, a trie of 0 units" },
        { NORMALIZER("\"Precompiled\", \"precompiled_charsmap\": \"/////wAAAAA=\""),
          "normalizer.precompiled_charsmap: is cut off: 8 bytes, a trie of 1073741823 units" },
        { NORMALIZER("\"Precompiled\", \"precompiled_charsmap\": \"BAAAAAAAAAD/\""),
          "normalizer.precompiled_charsmap: has a text that is not UTF-8" },
        { PRE("\"Punctuation\", \"behavior\": \"isolated\""),
          "pre_tokenizer.behavior: must be \"Removed\", \"Isolated\" .. or \"Contiguous\"" },
        { PRE("\"Split\", \"pattern\": {\"String\": \"a\"}"),
          "pre_tokenizer.behavior: must be \"Removed\", \"Isolated\" .. or \"Contiguous\"" },
        { PRE("\"Split\", \"pattern\": {\"String\": \"a\"}, \"behavior\": \"Isolated\", "
              "\"invert\": 0"),
          "pre_tokenizer.invert: must be true or false, is an integer" },
        { PRE("\"Digits\", \"individual_digits\": 1"),
          "pre_tokenizer.individual_digits: must be true or false, is an integer" },
        { PRE("\"CharDelimiterSplit\""), "pre_tokenizer.delimiter: must be a string, is missing" },
        { PRE("\"CharDelimiterSplit\", \"delimiter\": \"\""),
          "pre_tokenizer.delimiter: must be one character" },
        { PRE("\"FixedLength\", \"length\": 0"),
          "pre_tokenizer.length: must be a positive integer" },
        { PRE("\"FixedLength\", \"length\": \"5\""),
          "pre_tokenizer.length: must be a positive integer" },
        { PRE("\"ByteLevel\", \"use_regex\": 1"),
          "pre_tokenizer.use_regex: must be true or false, is an integer" },
        { PRE("\"ByteLevel\", \"add_prefix_space\": 1"),
          "pre_tokenizer.add_prefix_space: must be true or false, is an integer" },
        { PRE("\"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"often\""),
          "pre_tokenizer.prepend_scheme: must be \"never\", \"always\" .. or \"first\"" },
        { POST("\"BertProcessing\", \"cls\": [\"a\", 0]"),
          "post_processor.sep: an id must be in [0, 4194303]" },
        { POST("\"BertProcessing\", \"cls\": [\"a\", -1], \"sep\": [\"a\", 0]"),
          "post_processor.cls: an id must be in [0, 4194303]" },
        { POST("\"RobertaProcessing\", \"cls\": [\"a\", 0], \"sep\": [\"a\", 0], "
               "\"trim_offsets\": 1"),
          "post_processor.trim_offsets: must be true or false, is an integer" },
        { POST("\"TemplateProcessing\""),
          "post_processor.single: must be an array of Sequence and SpecialToken" },
        { POST("\"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"C\"}}]"),
          "post_processor.single: must be an array of Sequence and SpecialToken" },
        { POST("\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"a\"}}], "
               "\"special_tokens\": {\"a\": {\"ids\": [\"0\"]}}"),
          "post_processor.special_tokens: an id must be in [0, 4194303]" },
        { POST("\"Sequence\", \"processors\": [{\"type\": \"TemplateProcessing\", \"single\": []}, "
               "{\"type\": \"TemplateProcessing\", \"single\": []}]"),
          "post_processor.processors[1]: a template of one or two sequences behind one that gives "
          "0" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i][0])) fail_msg("%s", bad[i][0]);
        assert_string_equal(err.message + strlen("t.json: "), bad[i][1]);
    }
}

static void bert_makes_five_steps(void **state) {
    (void)state;
    vcore_buf json = { 0 };
    vcore_buf_puts(&json, "{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}, "
                          "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [");
    for (int i = 0; i < 7; i++)
        vcore_buf_puts(&json,
                       i ? ",{\"type\": \"BertNormalizer\"}" : "{\"type\": \"BertNormalizer\"}");
    vcore_buf_puts(&json, "]}}");
    assert_null(parse(json.p));
    assert_non_null(strstr(err.message, "more than 32 steps"));
    vcore_buf_free(&json);
}

/* ---- character maps that lie ------------------------------------------------------------------
 */
static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_base64(vcore_buf *out, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0)
                        | (i + 2 < n ? p[i + 2] : 0);
        char four[5] = { letters[bits >> 18], letters[bits >> 12 & 63],
                         i + 1 < n ? letters[bits >> 6 & 63] : '=',
                         i + 2 < n ? letters[bits & 63] : '=', 0 };
        vcore_buf_puts(out, four);
    }
}

/* Maps of random units: whatever they point to, encoding ends and places lie in the text. */
static void hostile_maps_are_harmless(void **state) {
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 200; round++) {
        uint8_t map[4 + 4 * 300 + 8] = { 0xB0, 0x04 }; /* 300 units */
        for (size_t i = 4; i < sizeof map - 8; i++) {
            seed = seed * 1664525 + 1013904223;
            map[i] = (uint8_t)(seed >> 24);
            if (i % 4 == 3 && round % 2) map[i] = 0; /* targets that lie in the array, often */
        }
        memcpy(map + sizeof map - 8, "ab\0\xC3\xA9\0cd", 8);
        vcore_buf json = { 0 };
        vcore_buf_puts(
            &json, "{\"model\": {\"type\": \"BPE\", \"unk_token\": \"u\", \"vocab\": {\"u\": 0}, "
                   "\"merges\": []}, \"normalizer\": {\"type\": \"Precompiled\", "
                   "\"precompiled_charsmap\": \"");
        put_base64(&json, map, sizeof map);
        vcore_buf_puts(&json, "\"}}");
        vlm_tokenizer *t = parse(json.p);
        if (!t) fail_msg("%s", err.message);
        char text[400];
        size_t n = 0;
        for (uint32_t cp = 1; n < 380; cp += 1 + n / 40) n += vcore_utf8_encode(cp, text + n);
        vtext_span span = { text, n, false };
        vtext_ids ids = { 0 };
        assert_int_equal(vtext_encode(t, &span, 1, false, true, &ids, &err), VLM_OK);
        for (size_t i = 0; i < ids.n; i++)
            assert_true(ids.begin[i] <= ids.end[i] && ids.end[i] <= n);
        vtext_ids_free(&ids);
        vtext_tokenizer_free(t);
        vcore_buf_free(&json);
    }
}

/* Which characters join what follows: of Unicode 17, whatever utf8proc knows. */
static void graphemes_of_17(void **state) {
    (void)state;
    static const struct {
        uint32_t cp;
        bool joins;
    } cases[] = { { 0x600, true },   { 0xD4E, true },   { 0x113D0, false }, { 0x113D1, true },
                  { 0x11A39, false }, { 0x11A3A, false }, { 0x11A84, true },  { 0x11F02, true } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[8];
        size_t n = vcore_utf8_encode(cases[i].cp, text);
        text[n] = 'a';
        assert_int_equal(vtext_grapheme(text, n + 1), cases[i].joins ? n + 1 : n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_hugging_face),
        cmocka_unit_test(bad_components_are_named),
        cmocka_unit_test(bert_makes_five_steps),
        cmocka_unit_test(hostile_maps_are_harmless),
        cmocka_unit_test(graphemes_of_17),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
