/* SPDX-License-Identifier: MIT */
/* Unigram, WordPiece, WordLevel and all decoders against Hugging Face's
 * (tests/data/tokenizers/models.json, made by tools/golden/tokenizer_models.py): ids, places,
 * decoded text, streams. Files that are refused, long words, transformers' clean-up, added
 * tokens that a normalizer changes, places of bad bytes. */
#include "support/cm.h"

#include "text/text.h"

#include <stdlib.h>

static vlm_error err;

static vlm_tokenizer *parse(const char *json, size_t n, const char *config) {
    vlm_tokenizer *t;
    vlm_status status =
        vtext_tokenizer_parse(&t, json, n, config, config ? strlen(config) : 0, "t.json", &err);
    assert_int_equal(status == VLM_OK, t != NULL);
    return t;
}

static vlm_tokenizer *parse_part(const vcore_json *file) {
    vcore_buf b = { 0 };
    vcore_json_put(&b, NULL, file);
    vlm_tokenizer *t = parse(b.p, b.n, NULL);
    if (!t) fail_msg("%s", err.message);
    vcore_buf_free(&b);
    return t;
}

static uint32_t number(const vcore_json *list, size_t i) {
    int64_t v = -1;
    assert_true(vcore_json_int(vcore_json_at(list, i), &v));
    return (uint32_t)v;
}

static vcore_json_doc *read_expected(void) {
    vcore_json_doc *doc;
    if (vio_read_json(&doc, NULL, "tests/data/tokenizers/models.json", 1 << 24, NULL, &err)
        != VLM_OK)
        fail_msg("%s", err.message);
    return doc;
}

/* ---- models --------------------------------------------------------------------------------- */
static void check_line(const vlm_tokenizer *t, const char *name, vcore_str line,
                       const vcore_json *want) {
    const vcore_json *ids = vcore_json_get(want, "ids"), *offsets = vcore_json_get(want, "offsets");
    vtext_span span = { line.p, line.n, false };
    vtext_ids got = { 0 };
    if (vtext_encode(t, &span, 1, true, true, &got, &err) != VLM_OK) fail_msg("%s", err.message);
    bool same = got.n == vcore_json_count(ids);
    for (size_t i = 0; same && i < got.n; i++)
        same = got.id[i] == number(ids, i) && got.begin[i] == number(offsets, 2 * i)
               && got.end[i] == number(offsets, 2 * i + 1);
    if (!same) fail_msg("%s: '%.*s' differs", name, (int)line.n, line.p);
    vtext_ids_free(&got);
}

static void models_as_hugging_face(void **state) {
    (void)state;
    vcore_json_doc *doc = read_expected();
    const vcore_json *root = vcore_json_root(doc), *lines = vcore_json_get(root, "lines"),
                     *models = vcore_json_get(root, "models");
    assert_int_equal(vcore_json_count(models), 12);
    for (size_t i = 0; i < vcore_json_count(models); i++) {
        const vcore_json *model = vcore_json_at(models, i), *want = vcore_json_get(model, "want");
        vcore_str name, line;
        assert_true(vcore_json_string(vcore_json_get(model, "name"), &name));
        vlm_tokenizer *t = parse_part(vcore_json_get(model, "file"));
        assert_true(vtext_tokenizer_bytes(t) > 0);
        assert_int_equal(vcore_json_count(want), vcore_json_count(lines));
        for (size_t k = 0; k < vcore_json_count(lines); k++) {
            assert_true(vcore_json_string(vcore_json_at(lines, k), &line));
            check_line(t, name.p, line, vcore_json_at(want, k));
        }
        vtext_tokenizer_free(t);
    }
    vcore_json_free(doc);
}

/* A word of bytes is spelt with their stand-ins, for any model. */
static void words_of_bytes(void **state) {
    (void)state;
    static const char *const json[] = {
        "{\"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"u\", 0], [\"\u0120a\", "
        "-1], "
        "[\"\u00c3\u00a9\", -1]]}, \"pre_tokenizer\": {\"type\": \"ByteLevel\"}}",
        "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"u\": 0, \"\u0120a\": 1, "
        "\"#\u00c3\u00a9\": 2}, "
        "\"unk_token\": \"u\", \"continuing_subword_prefix\": \"#\", \"max_input_chars_per_word\": "
        "9}, "
        "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}}"
    };
    for (int i = 0; i < 2; i++) {
        vlm_tokenizer *t = parse(json[i], strlen(json[i]), NULL);
        const vtext_span span = { "a\xC3\xA9 q", 5, false };
        vtext_ids ids = { 0 };
        assert_non_null(t);
        assert_int_equal(vtext_encode(t, &span, 1, true, true, &ids, &err), VLM_OK);
        const uint32_t id[] = { 1, 2, 0 }, begin[] = { 0, 1, 3 }, end[] = { 1, 3, 5 };
        assert_int_equal(ids.n, 3);
        assert_memory_equal(ids.id, id, sizeof id);
        assert_memory_equal(ids.begin, begin, sizeof begin);
        assert_memory_equal(ids.end, end, sizeof end);
        vtext_ids_free(&ids);
        vtext_tokenizer_free(t);
    }
}

static size_t tokens_of(const vlm_tokenizer *t, const char *text, size_t n) {
    const vtext_span span = { text, n, false };
    vtext_ids ids = { 0 };
    assert_int_equal(vtext_encode(t, &span, 1, true, false, &ids, &err), VLM_OK);
    size_t count = ids.n;
    vtext_ids_free(&ids);
    return count;
}

/* A megabyte without a space: the work is the longest token's per character at most. */
static void long_words(void **state) {
    (void)state;
    static const char unigram
        [] = "{\"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"u\", 0], "
             "[\"a\", -1], [\"aaaa\", -2], [\"aaaaaaaaaaaaaaaaaaaaab\", -3]]}}",
 piece[] =
        "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"u\": 0, \"aaaa\": 1, \"#aaaa\": 2, "
        "\"#aaaaaaaaaaaaaaaaaab\": 3}, \"unk_token\": \"u\", \"continuing_subword_prefix\": \"#\", "
        "\"max_input_chars_per_word\": 10000000}}";
    const size_t n = 1 << 20;
    char *text = vcore_alloc(n);
    assert_non_null(text);
    memset(text, 'a', n);
    vlm_tokenizer *t = parse(unigram, sizeof unigram - 1, NULL);
    assert_int_equal(tokens_of(t, text, n), n / 4);
    vtext_tokenizer_free(t);
    t = parse(piece, sizeof piece - 1, NULL);
    assert_int_equal(tokens_of(t, text, n), n / 4);
    assert_int_equal(tokens_of(t, text, n - 1), 1);
    memset(text, 'z', n);
    assert_int_equal(tokens_of(t, text, n), 1);
    vtext_tokenizer_free(t);
    vcore_free(text);
}

/* ---- decoders ------------------------------------------------------------------------------- */
static void check_run(const vlm_tokenizer *t, vtext_stream *s, size_t decoder,
                      const vcore_json *run, vcore_str want) {
    uint32_t ids[16];
    size_t n = vcore_json_count(run);
    vcore_buf whole = { 0 }, joined = { 0 };
    vcore_str piece;
    for (size_t i = 0; i < n; i++) ids[i] = number(run, i);
    assert_int_equal(vtext_decode(t, ids, n, false, &whole, &err), VLM_OK);
    for (size_t i = 0; i <= n; i++) {
        if (i < n)
            assert_int_equal(vtext_stream_push(s, ids[i], &piece), VLM_OK);
        else
            assert_int_equal(vtext_stream_finish(s, &piece), VLM_OK);
        assert_true(vcore_utf8_valid(piece.p, piece.n));
        vcore_buf_add(&joined, piece.p, piece.n);
    }
    vtext_stream_reset(s);
    if (!vcore_str_eq((vcore_str) { whole.p, whole.n }, want))
        fail_msg("decoder %zu: got '%.*s', want '%.*s'", decoder, (int)whole.n, whole.p,
                 (int)want.n, want.p);
    assert_true(vcore_str_eq((vcore_str) { joined.p, joined.n }, want));
    vcore_buf_free(&whole);
    vcore_buf_free(&joined);
}

static vlm_tokenizer *with_decoder(const vcore_json *root, const vcore_json *decoder) {
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '{');
    vcore_json_put(&b, "decoder", decoder);
    vcore_json_open(&b, "model", '{');
    vcore_json_put_text(&b, "type", "WordLevel");
    vcore_json_put_text(&b, "unk_token", "a");
    vcore_json_put(&b, "vocab", vcore_json_get(root, "vocab"));
    vcore_json_close(&b, '}');
    vcore_json_close(&b, '}');
    vlm_tokenizer *t = parse(b.p, b.n, NULL);
    if (!t) fail_msg("%s", err.message);
    vcore_buf_free(&b);
    return t;
}

static void decoders_as_hugging_face(void **state) {
    (void)state;
    vcore_json_doc *doc = read_expected();
    const vcore_json *root = vcore_json_root(doc), *runs = vcore_json_get(root, "runs"),
                     *decoders = vcore_json_get(root, "decoders");
    size_t checked = 0;
    assert_int_equal(vcore_json_count(decoders), 30);
    for (size_t i = 0; i < vcore_json_count(decoders); i++) {
        const vcore_json *d = vcore_json_at(decoders, i), *texts = vcore_json_get(d, "texts");
        vlm_tokenizer *t = with_decoder(root, vcore_json_get(d, "decoder"));
        vtext_stream *s = vtext_stream_new(t, false);
        assert_int_equal(vcore_json_count(texts), vcore_json_count(runs));
        for (size_t k = 0; k < vcore_json_count(runs); k++) {
            vcore_str want;
            if (!vcore_json_string(vcore_json_at(texts, k), &want)) continue; /* it panics there */
            check_run(t, s, i, vcore_json_at(runs, k), want);
            checked++;
        }
        vtext_stream_free(s);
        vtext_tokenizer_free(t);
    }
    assert_true(checked > 2900);
    vcore_json_free(doc);
}

/* What transformers' decode does behind the decoders. */
static void clean_up(void **state) {
    (void)state;
#define VOCAB "\"vocab\": {\"it\": 0, \"'s\": 1, \"do\": 2, \"n't\": 3, \".\": 4, \"not\": 5}"
    static const char words[] =
        "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"it\", " VOCAB "}}",
                      bpe[] = "{\"model\": {\"type\": \"BPE\", \"merges\": [], " VOCAB "}}";
    static const struct {
        const char *json, *config, *text;
    } cases[] = {
        { words, NULL, "it 's do n't . do not" },
        { words, "{\"clean_up_tokenization_spaces\": false}", "it 's do n't . do not" },
        { words, "{\"clean_up_tokenization_spaces\": true}", "it's don't. do not" },
        { bpe, "{\"clean_up_tokenization_spaces\": true}", "it 's do n't . do not" },
        { bpe,
          "{\"clean_up_tokenization_spaces\": true, "
          "\"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output\": true}",
          "it's don't. do not" },
    };
    static const uint32_t ids[] = { 0, 1, 2, 3, 4, 2, 5 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vlm_tokenizer *t = parse(cases[i].json, strlen(cases[i].json), cases[i].config);
        vcore_buf text = { 0 };
        assert_non_null(t);
        assert_int_equal(vtext_decode(t, ids, 7, true, &text, &err), VLM_OK);
        assert_string_equal(text.p, cases[i].text);
        vcore_buf_free(&text);
        vtext_tokenizer_free(t);
    }
}

/* ---- files that are refused ----------------------------------------------------------------- */
#define UNIGRAM(vocab, rest) "{\"model\": {\"type\": \"Unigram\", \"vocab\": " vocab rest "}}"
#define PIECE(rest) "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}" rest "}}"
#define LEVEL(rest) "{\"model\": {\"type\": \"WordLevel\", \"vocab\": " rest "}}"
#define DECODER(spec)                                                                              \
    "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {}, \"unk_token\": \"u\"}, "                 \
    "\"decoder\": " spec "}"

static void bad_files_are_named(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } bad[] = {
        { UNIGRAM("{}", ""), "t.json: model.vocab: must be an array" },
        { UNIGRAM("[[\"a\"]]", ""), "t.json: model.vocab[0]: must be a token and its score" },
        { UNIGRAM("[[\"a\", -1], [1, 2]]", ""),
          "t.json: model.vocab[1]: must be a token and its score" },
        { UNIGRAM("[[\"a\", \"1\"]]", ""),
          "t.json: model.vocab[0]: must be a token and its score" },
        { UNIGRAM("[[\"a\", -1e999]]", ""),
          "t.json: model.vocab[0]: has a score that is not finite" },
        { UNIGRAM("[[\"a\", NaN]]", ""), "t.json: model.vocab[0]: has a score that is not finite" },
        { UNIGRAM("[[\"a\", -1]]", ", \"unk_id\": 1"),
          "t.json: model.unk_id: must be null or the index of a token" },
        { UNIGRAM("[[\"a\", -1]]", ", \"unk_id\": -1"),
          "t.json: model.unk_id: must be null or the index of a token" },
        { UNIGRAM("[]", ", \"unk_id\": 0"),
          "t.json: model.unk_id: must be null or the index of a token" },
        { UNIGRAM("[]", ", \"byte_fallback\": 1"),
          "t.json: model.byte_fallback: must be true or false" },
        { PIECE(""), "t.json: model.unk_token: must be a string" },
        { PIECE(", \"unk_token\": \"a\""),
          "t.json: model.continuing_subword_prefix: must be a string" },
        { PIECE(", \"unk_token\": \"a\", \"continuing_subword_prefix\": \"#\""),
          "t.json: model.max_input_chars_per_word: must be an integer, 0 or more" },
        { PIECE(", \"unk_token\": \"a\", \"continuing_subword_prefix\": \"#\", "
                "\"max_input_chars_per_word\": -1"),
          "t.json: model.max_input_chars_per_word: must be an integer, 0 or more" },
        { LEVEL("[]"), "t.json: model.vocab: must be an object" },
        { LEVEL("{\"a\": 4194304}, \"unk_token\": \"a\""),
          "t.json: model.vocab: token 'a': must be an integer in [0, 4194303]" },
        { LEVEL("{\"a\": 0}"), "t.json: model.unk_token: must be a string" },
        { DECODER("{\"type\": \"WordPiece\"}"),
          "t.json: decoder.prefix: must be a string, is missing" },
        { DECODER("{\"type\": \"WordPiece\", \"prefix\": \"#\", \"cleanup\": 1}"),
          "t.json: decoder.cleanup: must be true or false, is an integer" },
        { DECODER("{\"type\": \"CTC\"}"),
          "t.json: decoder.pad_token: must be a string, is missing" },
        { DECODER("{\"type\": \"BPEDecoder\", \"suffix\": 1}"),
          "t.json: decoder.suffix: must be a string, is an integer" },
        { DECODER("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"odd\"}"),
          "t.json: decoder.prepend_scheme: must be \"first\", \"never\" or \"always\"" },
        { DECODER("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": "
                  "\"first\", \"add_prefix_space\": false}"),
          "t.json: decoder.add_prefix_space: does not agree with prepend_scheme" },
        { DECODER("{\"type\": \"Unheard\"}"), "t.json: decoder.type: 'Unheard' is not supported" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(parse(bad[i].json, strlen(bad[i].json), NULL));
        assert_string_equal(err.message, bad[i].message);
    }
}

static void sizes_are_limited(void **state) {
    (void)state;
    vcore_buf b = { 0 };
    vcore_buf_puts(&b, "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"");
    for (int i = 0; i < 1025; i++) vcore_buf_puts(&b, "a");
    vcore_buf_puts(&b, "\", 0]]}}");
    assert_null(parse(b.p, b.n, NULL));
    assert_non_null(strstr(err.message, "t.json: model.vocab"));
    vcore_buf_free(&b);
    vcore_buf_puts(
        &b,
        "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {}, \"unk_token\": \"u\"}, \"decoder\": "
        "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}");
    for (int i = 0; i < 64; i++)
        vcore_buf_puts(&b, ", {\"type\": \"BPEDecoder\", \"suffix\": \"x\"}");
    vcore_buf_puts(&b, "]}}");
    assert_null(parse(b.p, b.n, NULL));
    assert_int_equal(err.code, VLM_ERR_LIMIT);
    vcore_buf_free(&b);
}

/* An unknown token may be missing until it is needed. */
static void missing_unknown_tokens(void **state) {
    (void)state;
    static const char *const json[] = {
        UNIGRAM("[[\"a\", -1]]", ""),
        PIECE(", \"unk_token\": \"u\", \"continuing_subword_prefix\": \"\", "
              "\"max_input_chars_per_word\": 9"),
        LEVEL("{\"a\": 0}, \"unk_token\": \"u\""),
    };
    for (int i = 0; i < 3; i++) {
        vlm_tokenizer *t = parse(json[i], strlen(json[i]), NULL);
        const vtext_span good = { "a", 1, false }, bad = { "b", 1, false };
        vtext_ids ids = { 0 };
        assert_non_null(t);
        assert_int_equal(vtext_encode(t, &good, 1, true, false, &ids, &err), VLM_OK);
        assert_int_equal(ids.n, 1);
        assert_int_equal(vtext_encode(t, &bad, 1, true, false, &ids, &err), VLM_ERR_FORMAT);
        assert_non_null(
            strstr(err.message, i ? "t.json: model.unk_token" : "t.json: model.unk_id"));
        vtext_ids_free(&ids);
        vtext_tokenizer_free(t);
    }
}

/* ---- added tokens that a normalizer changes -------------------------------------------------- */
static void expect_decoded(const vlm_tokenizer *t, bool skip, const char *want) {
    const uint32_t ids[] = { 2, 0, 3, 1, 4 };
    vcore_buf text = { 0 };
    assert_int_equal(vtext_decode(t, ids, 5, skip, &text, &err), VLM_OK);
    if (!vcore_str_eq((vcore_str) { text.p, text.n }, vcore_str_of(want)))
        fail_msg("got '%.*s', want '%s'", (int)text.n, text.p, want);
    vcore_buf_free(&text);
}

/* Printed is the normalised text, and skipped what then reads as a special token. */
static void normalised_text_is_skipped(void **state) {
    (void)state;
    static const char json[] =
        "{\"normalizer\": {\"type\": \"Lowercase\"}, \"decoder\": {\"type\": \"Fuse\"}, "
        "\"added_tokens\": [{\"content\": \"<END>\", \"special\": true, \"normalized\": true}, "
        "{\"content\": \"<x>\", \"special\": true}, {\"content\": \"<X>\", \"normalized\": true}], "
        "\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {\"a\": 0, \"b\": 1}}}";
    vlm_tokenizer *t = parse(json, strlen(json), NULL);
    assert_non_null(t);
    expect_decoded(t, false, "<end>a<x>b<x>");
    expect_decoded(t, true, "<end>ab");
    const vtext_span user = { "a<END>b", 7, true };
    vtext_ids ids = { 0 };
    assert_int_equal(vtext_encode(t, &user, 1, false, false, &ids, &err), VLM_OK);
    assert_int_equal(ids.n, 2); /* printed, and still no user's to write */
    vtext_ids_free(&ids);
    vtext_tokenizer_free(t);
}

/* The space that ByteLevel puts in front takes its place from the first character, whatever bytes
 * that was made of. */
static void places_of_bad_bytes_are_trimmed(void **state) {
    (void)state;
    static const char json[] =
        "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}, "
        "\"post_processor\": {\"type\": \"ByteLevel\", \"trim_offsets\": true, "
        "\"add_prefix_space\": true}, \"model\": {\"type\": \"BPE\", \"merges\": [], "
        "\"vocab\": {\"\xC4\xA0\": 0, \"a\": 1}}}";
    static const struct {
        const char *text;
        uint32_t n, end;
    } cases[] = { { "\xEF\xBF\xBD", 1, 0 },
                  { "\xBF", 1, 0 },
                  { "\xFF", 1, 0 },
                  { "\xE4\xB8", 1, 0 },
                  { "\x81"
                    "a",
                    2, 2 } };
    vlm_tokenizer *t = parse(json, strlen(json), NULL);
    assert_non_null(t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vtext_span span = { cases[i].text, strlen(cases[i].text), false };
        vtext_ids ids = { 0 };
        assert_int_equal(vtext_encode(t, &span, 1, false, true, &ids, &err), VLM_OK);
        assert_int_equal(ids.n, cases[i].n);
        assert_int_equal(ids.end[0], 0);
        assert_int_equal(ids.end[ids.n - 1], cases[i].end);
        vtext_ids_free(&ids);
    }
    vtext_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_as_hugging_face),
        cmocka_unit_test(words_of_bytes),
        cmocka_unit_test(long_words),
        cmocka_unit_test(decoders_as_hugging_face),
        cmocka_unit_test(clean_up),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(missing_unknown_tokens),
        cmocka_unit_test(normalised_text_is_skipped),
        cmocka_unit_test(places_of_bad_bytes_are_trimmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
