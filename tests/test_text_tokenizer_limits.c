/* SPDX-License-Identifier: MIT */
/* What a tokenizer refuses, tokenizer.json files first of all, and long text that wants to blow up. */
#include "tokenizer_check.h"

/* ---- what is refused ------------------------------------------------------------------------ */
static vlm_tokenizer *parse(const char *json) {
    vlm_tokenizer *t;
    err = (vlm_error)VLM_ERROR_INIT;
    vlm_status status = vtext_tokenizer_parse(&t, json, strlen(json), NULL, 0, "t.json", &err);
    assert_int_equal(status, err.code);
    assert_int_equal(status == VLM_OK, t != NULL);
    return t;
}

#define MODEL(rest)                                                                                \
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": "     \
    "[]}" rest "}"
#define BPE(vocab, merges, rest)                                                                   \
    "{\"model\": {\"type\": \"BPE\", \"vocab\": " vocab ", \"merges\": " merges rest "}}"

static void bad_files_are_named(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } bad[] = {
        { "[]", "t.json: must be an object" },
        { "{}", "t.json: model: must be an object" },
        { "{\"model\": {\"type\": \"Markov\", \"vocab\": []}}",
          "t.json: model.type: 'Markov' is not supported" },
        { "{\"model\": {\"type\": 3}}", "t.json: model.type: must be a string" },
        { BPE("[]", "[]", ""), "t.json: model.vocab: must be an object" },
        { BPE("{\"a\": -1}", "[]", ""),
          "t.json: model.vocab: token 'a': must be an integer in [0, 4194303]" },
        { BPE("{\"a\": 1e18}", "[]", ""),
          "t.json: model.vocab: token 'a': must be an integer in [0, 4194303]" },
        { BPE("{\"a\": \"0\"}", "[]", ""),
          "t.json: model.vocab: token 'a': must be an integer in [0, 4194303]" },
        { BPE("{\"a\": 0}", "{}", ""), "t.json: model.merges: must be an array" },
        { BPE("{\"a\": 0}", "[\"a\"]", ""),
          "t.json: model.merges[0]: must be \"a b\" or [\"a\", \"b\"]" },
        { BPE("{\"a\": 0}", "[\"a a a\"]", ""),
          "t.json: model.merges[0]: must be \"a b\" or [\"a\", \"b\"]" },
        { BPE("{\"a\": 0}", "[[\"a\"]]", ""),
          "t.json: model.merges[0]: must be \"a b\" or [\"a\", \"b\"]" },
        { BPE("{\"a\": 0}", "[\"a b\"]", ""),
          "t.json: model.merges[0]: a token that is not in the vocabulary" },
        { BPE("{\"a\": 0}", "[\"a a\"]", ""),
          "t.json: model.merges[0]: gives a token that is not in the vocabulary" },
        { BPE("{\"a\": 0}", "[]", ", \"dropout\": 0.1"),
          "t.json: model.dropout: merges at random are not supported" },
        { BPE("{\"a\": 0}", "[]", ", \"fuse_unk\": 1"),
          "t.json: model.fuse_unk: must be true, false or null" },
        { BPE("{\"a\": 0}", "[]", ", \"unk_token\": 1"),
          "t.json: model.unk_token: must be a string or null" },
        { MODEL(", \"normalizer\": 3"),
          "t.json: normalizer: must be null or an object with a \"type\"" },
        { MODEL(", \"normalizer\": {\"type\": \"NFX\"}"),
          "t.json: normalizer.type: 'NFX' is not supported" },
        { MODEL(", \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, "
                "{\"type\": \"Append\"}]}"),
          "t.json: normalizer.normalizers[1].type: 'Append' is not supported" },
        { MODEL(", \"normalizer\": {\"type\": \"Prepend\"}"),
          "t.json: normalizer.prepend: must be a string, is missing" },
        { MODEL(", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a+)\\\\1\"}, "
                "\"behavior\": \"Isolated\"}"),
          "t.json: pre_tokenizer.pattern: regular expression, at byte 5: \\1 is not supported (a "
          "back-reference)" },
        { MODEL(", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"x\"}, "
                "\"behavior\": \"Odd\"}"),
          "t.json: pre_tokenizer.behavior: must be \"Removed\", \"Isolated\" .. or "
          "\"Contiguous\"" },
        { MODEL(", \"pre_tokenizer\": {\"type\": \"Words\"}"),
          "t.json: pre_tokenizer.type: 'Words' is not supported" },
        { MODEL(", \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"ab\"}"),
          "t.json: pre_tokenizer.replacement: must be one character" },
        { MODEL(", \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
                "\"ByteLevel\"}, {\"type\": \"Jieba\"}]}"),
          "t.json: pre_tokenizer.pretokenizers[1].type: 'Jieba' is not supported" },
        { MODEL(", \"decoder\": {\"type\": \"WordPiece\"}"),
          "t.json: decoder.prefix: must be a string, is missing" },
        { MODEL(", \"decoder\": {\"type\": \"Strip\", \"content\": \" \", \"start\": -1, \"stop\": "
                "0}"),
          "t.json: decoder: start and stop must be integers, 0 or more" },
        { MODEL(", \"post_processor\": {\"type\": \"BertProcessing\"}"),
          "t.json: post_processor.cls: an id must be in [0, 4194303]" },
        { MODEL(", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
                "[{\"SpecialToken\": {\"id\": \"x\"}}]}"),
          "t.json: post_processor.special_tokens: no ids for 'x'" },
        { MODEL(", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
                "[{\"Sequence\": {\"id\": \"B\"}}]}"),
          "t.json: post_processor.single: there is no sequence B" },
        { MODEL(", \"added_tokens\": {}"), "t.json: added_tokens: must be an array" },
        { MODEL(", \"added_tokens\": [{\"id\": 7}]"),
          "t.json: added_tokens[0]: must be an object with a string \"content\"" },
        { MODEL(", \"added_tokens\": [{\"content\": \"x\", \"special\": 1}]"),
          "t.json: added_tokens[0].special: must be true or false, is an integer" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i].json)) fail_msg("%s", bad[i].json);
        assert_string_equal(err.message, bad[i].message);
    }
}

static vcore_buf repeated(const char *head, const char *unit, size_t n, const char *tail) {
    vcore_buf b = { 0 };
    vcore_buf_puts(&b, head);
    for (size_t i = 0; i < n; i++) vcore_buf_puts(&b, unit);
    vcore_buf_puts(&b, tail);
    return b;
}

static void nesting_and_lengths_are_limited(void **state) {
    (void)state;
    vcore_buf b = repeated("{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}, "
                           "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [",
                           "{\"type\": \"NFC\"},", 40, "{\"type\": \"NFC\"}]}}");
    assert_null(parse(b.p));
    assert_non_null(strstr(err.message, "more than 32 steps"));
    vcore_buf_free(&b);
    b = repeated("{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}, \"decoder\": ",
                 "{\"type\": \"Sequence\", \"decoders\": [", 60, "");
    for (int i = 0; i < 60; i++) vcore_buf_puts(&b, "]}");
    vcore_buf_puts(&b, "}");
    assert_null(parse(b.p));
    assert_non_null(strstr(err.message, "more than 32 steps"));
    vcore_buf_free(&b);
    b = repeated("{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}, "
                 "\"added_tokens\": [{\"content\": \"",
                 "x", 2000, "\"}]}");
    assert_null(parse(b.p));
    assert_string_equal(err.message,
                        "t.json: added_tokens: more than 1024 bytes in a token");
    vcore_buf_free(&b);
    b = repeated("{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}, \"normalizer\": "
                 "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"",
                 "y", 1 << 20, "\"}}");
    vlm_tokenizer *t = parse(b.p);
    assert_non_null(t);
    vcore_buf spaces = repeated("", " ", 1 << 16, "");
    vtext_span span = { spaces.p, spaces.n, false };
    vtext_ids ids = { 0 };
    assert_int_equal(vtext_encode(t, &span, 1, false, false, &ids, &err), VLM_ERR_LIMIT);
    vtext_ids_free(&ids);
    vcore_buf_free(&spaces);
    vcore_buf_free(&b);
    vtext_tokenizer_free(t);
}

static void a_needed_unknown_token_must_exist(void **state) {
    (void)state;
    vlm_tokenizer *t = parse(BPE("{\"a\": 0}", "[]", ", \"unk_token\": \"<unk>\""));
    assert_non_null(t);
    vtext_span known = SPAN("aa", false), unknown = SPAN("ab", false);
    vtext_ids ids = encode(t, &known, 1, false);
    assert_int_equal(ids.n, 2);
    assert_int_equal(vtext_encode(t, &unknown, 1, false, false, &ids, &err), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "t.json: model.unk_token"));
    vtext_ids_free(&ids);
    vtext_tokenizer_free(t);
}

/* The stand-in of a byte, absent from the vocabulary, falls back to two tokens: more tokens than
 * bytes. */
static void bytes_fall_back_twice(void **state) {
    (void)state;
    vcore_buf json = { 0 };
    vcore_buf_puts(
        &json,
        "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"use_regex\": false, "
        "\"add_prefix_space\": false}, \"model\": {\"type\": \"BPE\", \"byte_fallback\": true, "
        "\"merges\": [], \"vocab\": {");
    for (int i = 0; i < 256; i++) vcore_buf_printf(&json, "%s\"<0x%02X>\": %d", i ? "," : "", i, i);
    vcore_buf_puts(&json, "}}}");
    vlm_tokenizer *t = parse(json.p);
    if (!t) fail_msg("%s", err.message);
    vcore_buf text = repeated("", "\xC3\xA9", 1000, "a");
    vtext_span span = { text.p, text.n, false };
    vtext_ids ids = encode(t, &span, 1, false);
    static const uint32_t twice[] = { 0xC3, 0x83, 0xC2, 0xA9 };
    assert_int_equal(ids.n, 4001);
    assert_memory_equal(ids.id + 3996, twice, sizeof twice);
    assert_int_equal(ids.id[4000], 'a');
    assert_int_equal(ids.begin[3999], 1998);
    assert_int_equal(ids.end[3999], 2000);
    assert_int_equal(ids.begin[4000], 2000);
    vtext_ids_free(&ids);
    vcore_buf_free(&text);
    vcore_buf_free(&json);
    vtext_tokenizer_free(t);
}

/* ---- long text: each of these would take minutes if some step were quadratic ---------------- */
static void long_runs(void **state) {
    (void)state;
    static const struct {
        const char *name, *unit;
    } runs[] = { { "gpt2", "a" },
                 { "gpt2", " " },
                 { "qwen2", "\xCC\x81" },
                 { "qwen2", " \n" },
                 { "qwen2", "\xCC\x81\xCC\xA3" },
                 { "llama2", "a" },
                 { "gemma", " " },
                 { "metaspace-first", "<pad>" },
                 { "qwen2", "<ab" },
                 { "llama2", "\xF0\x9F\x98\x80" },
                 { "o200k", "Aa" },
                 { "o200k", "\xE4\xB8\x80"
                            "A" },
                 { "gemma", "\n" },
                 { "clip", "word " } };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        vlm_tokenizer *t = load_file(runs[i].name, NULL);
        vcore_buf text = repeated("", runs[i].unit, (1 << 20) / strlen(runs[i].unit), "");
        vtext_span span = { text.p, text.n, false };
        vtext_ids ids = encode(t, &span, 1, false);
        assert_true(ids.n > 1000);
        assert_int_equal(ids.end[ids.n - 1] > text.n - 8, 1);
        vcore_buf decoded = { 0 };
        assert_int_equal(vtext_decode(t, ids.id, ids.n, false, &decoded, &err), VLM_OK);
        if (strcmp(runs[i].name, "gpt2") == 0) {
            assert_int_equal(decoded.n, text.n);
            assert_memory_equal(decoded.p, text.p, text.n);
        }
        vcore_buf_free(&decoded);
        vcore_buf_free(&text);
        vtext_ids_free(&ids);
        vtext_tokenizer_free(t);
    }
}

/* Merges of every length of one letter: the heap's worst case, and the answer is known. */
static void powers_of_two(void **state) {
    (void)state;
    vcore_buf json = { 0 };
    vcore_buf_puts(&json, "{\"model\": {\"type\": \"BPE\", \"merges\": [");
    for (int k = 0; k < 10; k++) {
        vcore_buf_puts(&json, k ? ",[" : "[");
        for (int side = 0; side < 2; side++) {
            vcore_buf_puts(&json, side ? ",\"" : "\"");
            for (int i = 0; i < 1 << k; i++) vcore_buf_puts(&json, "z");
            vcore_buf_puts(&json, "\"");
        }
        vcore_buf_puts(&json, "]");
    }
    vcore_buf_puts(&json, "], \"vocab\": {");
    for (int k = 0; k <= 10; k++) {
        vcore_buf_puts(&json, k ? ",\"" : "\"");
        for (int i = 0; i < 1 << k; i++) vcore_buf_puts(&json, "z");
        vcore_buf_printf(&json, "\": %d", k);
    }
    vcore_buf_puts(&json, "}}}");
    vlm_tokenizer *t = parse(json.p);
    if (!t) fail_msg("%s", err.message);
    vcore_buf text = repeated("", "z", (1 << 20) + 5, "");
    vtext_span span = { text.p, text.n, false };
    vtext_ids ids = encode(t, &span, 1, false);
    assert_int_equal(ids.n, 1024 + 2);
    assert_int_equal(ids.id[0], 10);
    assert_int_equal(ids.id[1024], 2);
    assert_int_equal(ids.id[1025], 0);
    vtext_ids_free(&ids);
    vcore_buf_free(&text);
    vcore_buf_free(&json);
    vtext_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(nesting_and_lengths_are_limited),
        cmocka_unit_test(a_needed_unknown_token_must_exist),
        cmocka_unit_test(bytes_fall_back_twice),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(powers_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
