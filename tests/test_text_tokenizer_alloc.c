/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of loading, encoding and decoding: an error, nothing handed
 * out, nothing leaked (the address sanitizer watches). And a stream that has run a while allocates
 * nothing. */
#include "support/alloc.h"
#include "support/cm.h"

#include "text/text.h"

#include <stdio.h>

static const char *const names[] = { "qwen2", "llama2", "metaspace-first", "roberta",
                                     "continuing" };
static char text[] = "  <s>Caf\xC3\xA9 e\xCC\xA3\xCC\x81\xCC\xA7 \xF0\x9F\x98\x80 12 don't "
                     "<image>\n\n\n word\xFF a\xCC\x81\xCC\xA3 "
                     "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz <pad> x";
static const char config[] =
    "{\"bos_token\": \"<bos>\", \"add_bos_token\": true, \"extra_special_tokens\": [\"<x>\"],"
    " \"added_tokens_decoder\": {\"900\": {\"content\": \"<late>\", \"special\": true}}}";

static vio_bytes read_tokenizer(const char *name) {
    char path[100];
    vio_bytes json;
    vlm_error err;
    snprintf(path, sizeof path, "tests/data/tokenizers/%s.json", name);
    if (vio_read_text(&json, path, 1 << 20, NULL, &err) != VLM_OK) fail_msg("%s", err.message);
    return json;
}

static vlm_tokenizer *parse(vio_bytes json, vlm_status *status) {
    vlm_tokenizer *t;
    vlm_error err = VLM_ERROR_INIT;
    *status = vtext_tokenizer_parse(&t, json.p, json.n, config, sizeof config - 1, "t.json", &err);
    assert_int_equal(*status == VLM_OK, t != NULL);
    assert_int_equal(*status, err.code);
    return t;
}

static void loading(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        vio_bytes json = read_tokenizer(names[i]);
        vlm_status status = VLM_ERR_MEMORY;
        for (long k = 1; status != VLM_OK; k++) {
            talloc_start(k);
            vlm_tokenizer *t = parse(json, &status);
            long made = talloc_stop();
            if (status != VLM_OK)
                assert_int_equal(status, VLM_ERR_MEMORY);
            else
                assert_true(made < k);
            vtext_tokenizer_free(t);
        }
        vcore_free(json.p);
    }
}

static void encoding_and_decoding(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        vio_bytes json = read_tokenizer(names[i]);
        vlm_status status;
        vlm_tokenizer *t = parse(json, &status);
        const vtext_span spans[2] = { { text, 20, false }, { text + 20, sizeof text - 21, true } };
        uint32_t known[200];
        size_t known_n = 0;
        status = VLM_ERR_MEMORY;
        for (long k = 1; status != VLM_OK; k++) {
            vtext_ids ids = { 0 };
            vcore_buf decoded = { 0 };
            talloc_start(k);
            status = vtext_encode(t, spans, 2, true, true, &ids, NULL);
            if (status == VLM_OK) status = vtext_decode(t, ids.id, ids.n, false, &decoded, NULL);
            long made = talloc_stop();
            if (status != VLM_OK)
                assert_int_equal(status, VLM_ERR_MEMORY);
            else
                assert_true(made < k);
            if (status == VLM_OK) {
                assert_true(ids.n > 20 && ids.n <= 200);
                known_n = ids.n;
                memcpy(known, ids.id, known_n * sizeof *known);
            }
            vtext_ids_free(&ids);
            vcore_buf_free(&decoded);
        }
        vtext_stream *s = vtext_stream_new(t, true);
        vcore_str piece;
        for (int round = 0; round < 3; round++) {
            talloc_start(0);
            for (size_t j = 0; j < known_n; j++)
                assert_int_equal(vtext_stream_push(s, known[j], &piece), VLM_OK);
            vtext_stream_finish(s, &piece);
            vtext_stream_reset(s);
            long made = talloc_stop();
            if (round) assert_int_equal(made, 0);
        }
        vtext_stream_free(s);
        vtext_tokenizer_free(t);
        vcore_free(json.p);
    }
}

/* The other models and the decoders with memory of their own. */
static void models_and_decoders(void **state) {
    (void)state;
    static const char *const json[] = {
        "{\"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"byte_fallback\": true, \"vocab\": "
        "[[\"<unk>\", 0], [\"a\", -1.5], [\"ab\", -2.25], [\"<0xFF>\", 0]]}, "
        "\"decoder\": {\"type\": \"CTC\", \"pad_token\": \"b\", \"word_delimiter_token\": \"|\", "
        "\"cleanup\": true}}",
        "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"x\", \"vocab\": {\"x\": 0, \"a\": 1, "
        "\"##b\": 2}, \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 100}, "
        "\"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}, \"decoder\": {\"type\": \"Sequence\", "
        "\"decoders\": [{\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}, "
        "{\"type\": \"BPEDecoder\", \"suffix\": \"x\"}]}}",
        "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"x\", \"vocab\": {\"x\": 0, \"\u0120a\": "
        "1}}, \"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"decoder\": {\"type\": \"Replace\", "
        "\"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \"--\"}}"
    };
    const vtext_span span = { "ab abba a \xC3\xA9 x", 14, false };
    for (size_t i = 0; i < sizeof json / sizeof *json; i++) {
        vlm_status status = VLM_ERR_MEMORY;
        for (long k = 1; status != VLM_OK; k++) {
            vtext_ids ids = { 0 };
            vcore_buf decoded = { 0 };
            talloc_start(k);
            vlm_tokenizer *t =
                parse((vio_bytes) { .p = (char *)json[i], .n = strlen(json[i]) }, &status);
            if (t) status = vtext_encode(t, &span, 1, true, true, &ids, NULL);
            if (status == VLM_OK) status = vtext_decode(t, ids.id, ids.n, false, &decoded, NULL);
            assert_int_equal(status == VLM_OK, talloc_stop() < k);
            if (status != VLM_OK) assert_int_equal(status, VLM_ERR_MEMORY);
            vtext_ids_free(&ids);
            vcore_buf_free(&decoded);
            vtext_tokenizer_free(t);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(loading),
                                        cmocka_unit_test(encoding_and_decoding),
                                        cmocka_unit_test(models_and_decoders) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
