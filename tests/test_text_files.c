/* SPDX-License-Identifier: MIT */
/* Tokenizers from what lies in a folder: every file that can have the vocabulary, and the classes whose
 * pipeline transformers builds anew. Expectations are AutoTokenizer's (tools/golden/tokenizer_files.py). */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/cm.h"
#include "text/tokenizer/files/files.h"

#define DATA "tests/data/tokenizers/"

static vlm_error err;

static vcore_json_doc *read_json(const char *path) {
    vcore_json_doc *doc;
    const vio_source from = vio_source_of(NULL);
    if (vio_read_json(&doc, NULL, path, 1u << 24, &from, &err) != VLM_OK) fail_msg("%s", err.message);
    return doc;
}

/* ---- against the reference ------------------------------------------------------------------- */
static size_t differing(const vlm_tokenizer *t, const vcore_json *text, const vcore_json *want,
                        const char *name) {
    static const unsigned flags[2] = { VLM_ENCODE_ADD_SPECIAL, 0 };
    size_t bad = 0;
    vcore_str s;
    assert_true(vcore_json_string(text, &s));
    for (size_t k = 0; k < 2; k++) {
        const vcore_json *ids = vcore_json_at(want, k);
        vlm_tokens got;
        if (vlm_tokenizer_encode(&got, t, s.p, s.n, flags[k], &err) != VLM_OK)
            fail_msg("%s: %s", name, err.message);
        bool same = got.count == vcore_json_count(ids);
        for (size_t i = 0; same && i < got.count; i++) {
            int64_t id = -1;
            same = vcore_json_int(vcore_json_at(ids, i), &id) && id == got.ids[i];
        }
        if (!same) print_error("%s: '%.60s' with flags %u\n", name, s.p, flags[k]);
        bad += !same;
        vlm_tokens_free(&got);
    }
    return bad;
}

static void ids_are_those_of_auto_tokenizer(void **state) {
    (void)state;
    static const char *const cases[] = {
        "gpt2",     "gpt2-added", "qwen2",       "roberta",  "neox",     "cohere",         "clip",
        "llama",    "llama-bos",  "llama-plain", "internlm", "gemma",    "unigram",        "tiktoken",
        "tiktoken-model", "tekken", "rebuilt", "rebuilt-legacy", "not-rebuilt",
    };
    vcore_json_doc *lines = read_json(DATA "lines.json");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[128];
        vlm_tokenizer *t;
        size_t bad = 0;
        snprintf(path, sizeof path, DATA "files/%s", cases[i]);
        if (vlm_tokenizer_load(&t, path, NULL, &err) != VLM_OK) fail_msg("%s", err.message);
        snprintf(path, sizeof path, DATA "files/%s/expected.json", cases[i]);
        vcore_json_doc *expected = read_json(path);
        size_t n = vcore_json_count(vcore_json_root(lines));
        assert_int_equal(vcore_json_count(vcore_json_root(expected)), n);
        for (size_t k = 0; k < n; k++)
            bad += differing(t, vcore_json_at(vcore_json_root(lines), k),
                             vcore_json_at(vcore_json_root(expected), k), cases[i]);
        assert_int_equal(bad, 0);
        vcore_json_free(expected);
        vlm_tokenizer_free(t);
    }
    vcore_json_free(lines);
}

/* ---- scores ---------------------------------------------------------------------------------- */
/* A tokenizer.json beside a tokenizer_config.json, both in memory. */
static vlm_tokenizer *load_beside(const char *json, const char *config) {
    vtext_folder folder;
    vcore_json_doc *doc;
    vlm_tokenizer *t;
    assert_int_equal(vcore_json_parse(&doc, config, strlen(config), "c", &err), VLM_OK);
    assert_int_equal(vtext_folder_open(&folder, "nowhere", NULL, &err), VLM_OK);
    vtext_folder_give(&folder, VTEXT_TOKENIZER_CONFIG, vcore_json_root(doc));
    if (vtext_tokenizer_load_file(&t, &folder, "tokenizer.json", vcore_str_of(json), (vcore_str) { 0 }, &err)
        != VLM_OK)
        fail_msg("%s", err.message);
    vtext_folder_close(&folder);
    vcore_json_free(doc);
    return t;
}

/* Dashes in two ways of equal scores but for the last bit, which Python and serde_json read differently:
 * ids of tokenizers for the file, of AutoTokenizer for the class that takes Python's numbers. */
static void scores_are_read_as_their_reader_does(void **state) {
    (void)state;
    static const char json[] =
        "{\"added_tokens\": [], \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", "
        "\"prepend_scheme\": \"always\", \"split\": true}, \"model\": {\"type\": \"Unigram\", \"unk_id\": 2, "
        "\"vocab\": [[\"<pad>\", 0.0], [\"</s>\", 0.0], [\"<unk>\", 0.0], [\"\xE2\x96\x81\", -2.5], "
        "[\"-\", -3.8061854646744075], [\"--\", -7.612370929348815], [\"---\", -11.418556394023224]]}}";
    static const struct {
        const char *config;
        size_t n;
        uint32_t ids[4];
    } want[] = { { "{}", 4, { 3, 4, 4, 5 } },
                 { "{\"tokenizer_class\": \"T5Tokenizer\", \"extra_ids\": 0}", 3, { 3, 4, 6 } } };
    for (size_t i = 0; i < 2; i++) {
        vlm_tokenizer *t = load_beside(json, want[i].config);
        vlm_tokens got;
        assert_int_equal(vlm_tokenizer_encode(&got, t, "----", 4, 0, &err), VLM_OK);
        assert_int_equal(got.count, want[i].n);
        assert_memory_equal(got.ids, want[i].ids, got.count * sizeof *got.ids);
        vlm_tokens_free(&got);
        vlm_tokenizer_free(t);
    }
}

/* ---- CLIP's decode ---------------------------------------------------------------------------- */
static void decodes_to(const vlm_tokenizer *t, const uint32_t *ids, size_t n, bool skip, const char *want) {
    char *text;
    assert_int_equal(vlm_tokenizer_decode(&text, t, ids, n, skip, &err), VLM_OK);
    assert_string_equal(text, want);
    vlm_string_free(text);
}

static void words_of_clip_end_in_blanks(void **state) {
    (void)state;
    static const uint32_t hello[] = { 301, 167, 29, 29, 110, 40, 32, 35, 29, 93, 302 },
                          middle[] = { 301, 301, 25, 100, 302, 116, 302 };
    vlm_tokenizer *t;
    assert_int_equal(vlm_tokenizer_load(&t, DATA "files/clip", NULL, &err), VLM_OK);
    decodes_to(t, hello, 11, false, "<s>hello world </s>");
    decodes_to(t, hello, 11, true, "hello world");
    decodes_to(t, middle, 7, false, "<s><s>hi </s>x </s>");
    decodes_to(t, middle, 7, true, "hi x");
    vlm_tokenizer_free(t);
}

/* ---- which class ----------------------------------------------------------------------------- */
static vtext_tokenizer_class class_of(const char *tokenizer, const char *config) {
    vcore_json_doc *a, *b;
    assert_int_equal(vcore_json_parse(&a, tokenizer, strlen(tokenizer), "a", &err), VLM_OK);
    assert_int_equal(vcore_json_parse(&b, config, strlen(config), "b", &err), VLM_OK);
    vtext_tokenizer_class c = vtext_auto_class(vcore_json_root(a), vcore_json_root(b));
    vcore_json_free(a);
    vcore_json_free(b);
    return c;
}

static void classes(void **state) {
    (void)state;
#define NAMED(c) "{\"tokenizer_class\": \"" c "\"}"
#define TYPE(t) "{\"model_type\": \"" t "\"}"
    assert_int_equal(class_of("{}", "{}"), VTEXT_CLASS_BACKEND);
    assert_int_equal(class_of(NAMED("LlamaTokenizer"), "{}"), VTEXT_CLASS_LLAMA);
    assert_int_equal(class_of(NAMED("LlamaTokenizerFast"), TYPE("paligemma")), VTEXT_CLASS_LLAMA);
    assert_int_equal(class_of(NAMED("LlamaTokenizerFast"), TYPE("llava")), VTEXT_CLASS_BACKEND);
    assert_int_equal(class_of(NAMED("GPT2Tokenizer"), TYPE("smolvlm")), VTEXT_CLASS_BACKEND);
    assert_int_equal(class_of(NAMED("GPT2Tokenizer"), TYPE("idefics3")), VTEXT_CLASS_GPT2);
    assert_int_equal(class_of(NAMED("GPT2Tokenizer"), TYPE("qwen2")), VTEXT_CLASS_QWEN2);
    assert_int_equal(class_of(NAMED("GPT2Tokenizer"), TYPE("qwen2_vl")), VTEXT_CLASS_GPT2);
    assert_int_equal(class_of("{}", TYPE("qwen2_vl")), VTEXT_CLASS_QWEN2);
    assert_int_equal(class_of("{}", TYPE("bert")), VTEXT_CLASS_BERT);
    assert_int_equal(class_of("{}", TYPE("ber")), VTEXT_CLASS_BACKEND);
    assert_int_equal(class_of(NAMED("PreTrainedTokenizerFast"), TYPE("gemma3")), VTEXT_CLASS_BACKEND);
    assert_int_equal(class_of("{}", NAMED("T5Tokenizer")), VTEXT_CLASS_T5);
    assert_int_equal(class_of("{\"tokenizer_class\": \"LlamaTokenizer\", \"auto_map\": {\"AutoTokenizer\": [\"x\", null]}}",
                              TYPE("internlm2")), VTEXT_CLASS_LLAMA);
}

/* ---- protobuf -------------------------------------------------------------------------------- */
static vlm_status parse_spm(const char *bytes, size_t n) {
    vtext_spm spm;
    err = (vlm_error) VLM_ERROR_INIT;
    vlm_status status = vtext_spm_parse(&spm, bytes, n, "m.model", &err);
    vtext_spm_free(&spm);
    return status;
}
#define SPM(s) parse_spm(s, sizeof(s) - 1)

static void broken_models_are_refused(void **state) {
    (void)state;
    assert_int_equal(SPM("\x0A\x03\x0A\x01" "a"), VLM_OK);
    assert_int_equal(SPM(""), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "m.model: has no pieces"));
    assert_int_equal(SPM("\x0A\x03\x0A\x02" "a"), VLM_ERR_FORMAT); /* longer than its message */
    assert_non_null(strstr(err.message, "m.model: pieces: a length goes beyond the end"));
    assert_int_equal(SPM("\x0A\x7F\x0A\x01" "a"), VLM_ERR_FORMAT);
    assert_int_equal(SPM("\x0A\x03\x08\x01\x00"), VLM_ERR_FORMAT); /* a number where text must be */
    assert_non_null(strstr(err.message, "field 1 has wire type 0, must have 2"));
    assert_int_equal(SPM("\x0A\x03\x0A\x01\xFF"), VLM_ERR_ENCODING);
    assert_int_equal(SPM("\x0A\x02\x18\x07"), VLM_ERR_FORMAT); /* a type of piece beyond the last */
    assert_int_equal(SPM("\x0B"), VLM_ERR_FORMAT);             /* a group */
    assert_int_equal(SPM("\x00"), VLM_ERR_FORMAT);             /* field 0 */
    assert_int_equal(SPM("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"), VLM_ERR_FORMAT);
    assert_int_equal(SPM("\x0A\x03\x0A\x01" "a\x12\x02\x18\x03"), VLM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "trainer_spec.model_type: WORD is not supported"));
    assert_int_equal(SPM("\x0A\x03\x0A\x01" "a\x12\x03\xC0\x02\x05"), VLM_ERR_FORMAT); /* unk_id 5 */
}

/* ---- ranks ----------------------------------------------------------------------------------- */
static vlm_status parse_tiktoken(const char *text) {
    vtext_pieces pieces;
    err = (vlm_error) VLM_ERROR_INIT;
    vlm_status status = vtext_tiktoken_parse(&pieces, text, strlen(text), "t", &err);
    vtext_pieces_free(&pieces);
    return status;
}

static vlm_status parse_tekken(const char *text) {
    vcore_json_doc *doc;
    vtext_tekken tekken;
    assert_int_equal(vcore_json_parse(&doc, text, strlen(text), "k", &err), VLM_OK);
    err = (vlm_error) VLM_ERROR_INIT;
    vlm_status status = vtext_tekken_parse(&tekken, vcore_json_root(doc), "k", &err);
    vtext_tekken_free(&tekken);
    vcore_json_free(doc);
    return status;
}

static void broken_ranks_are_refused(void **state) {
    (void)state;
    assert_int_equal(parse_tiktoken("YQ== 0\nYmM= 1\r\n"), VLM_OK);
    assert_int_equal(parse_tiktoken(""), VLM_ERR_FORMAT);
    assert_int_equal(parse_tiktoken("YQ== 0\nYQ=\n"), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "t: line 2: must be a token in base64, a blank and a rank"));
    assert_int_equal(parse_tiktoken("YQ=a 0\n"), VLM_ERR_FORMAT);
    assert_int_equal(parse_tiktoken("Y!== 0\n"), VLM_ERR_FORMAT);
    assert_int_equal(parse_tiktoken("YQ== -1\n"), VLM_ERR_FORMAT);
    assert_int_equal(parse_tiktoken("YQ== 9999999999\n"), VLM_ERR_LIMIT);
    assert_int_equal(parse_tekken("{\"config\": {\"pattern\": \"x\"}, \"vocab\": [{\"token_bytes\": \"YQ==\"}]}"), VLM_OK);
    assert_int_equal(parse_tekken("{\"vocab\": []}"), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "k: config.pattern: must be a string"));
    assert_int_equal(parse_tekken("{\"config\": {\"pattern\": \"x\"}, \"vocab\": [{}]}"), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "k: vocab[0].token_bytes: must be a string"));
    assert_int_equal(parse_tekken("{\"config\": {\"pattern\": \"x\"}, \"vocab\": [], \"special_tokens\": [{\"rank\": 1, \"token_str\": \"a\"}]}"),
                     VLM_ERR_FORMAT);
    assert_int_equal(parse_tekken("{\"config\": {\"pattern\": \"x\", \"default_vocab_size\": 3}, \"vocab\": []}"), VLM_ERR_FORMAT);
}

/* ---- merges ---------------------------------------------------------------------------------- */
static void merges_are_in_order(void **state) {
    (void)state;
    static const char *const text[] = { "a", "b", "ab", "bab", "ba", "abab", "a b", " b", "\xC3\xA9", "\xC3\xA9" "a" };
    vtext_pieces p = { 0 };
    vcore_buf out = { 0 };
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(vtext_pieces_set(&p, i, vcore_str_of(text[i]), &err), VLM_OK);
    assert_int_equal(vtext_write_merges(&out, NULL, &p, VTEXT_SPLIT_CHARACTERS, "m", &err), VLM_OK);
    assert_string_equal(out.p, "[\"a b\", \"b ab\", \"ba b\", \"b a\", \"a bab\", \"ab ab\", [\"a\", \" b\"], \"\xC3\xA9 a\"]");
    out.n = 0;
    assert_int_equal(vtext_write_merges(&out, NULL, &p, VTEXT_SPLIT_BYTES, "m", &err), VLM_OK);
    assert_non_null(strstr(out.p, "\"b ab\", \"ba b\"")); /* by the ranks of the parts */
    vcore_buf_free(&out);
    vtext_pieces_free(&p);
}

/* ---- folders --------------------------------------------------------------------------------- */
static void what_is_missing_is_said(void **state) {
    (void)state;
    vlm_tokenizer *t;
    char dir[] = "/tmp/vlm-files-XXXXXX", command[300];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(vlm_tokenizer_load(&t, dir, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "tekken.json, tokenizer.model, tiktoken.model"));
    snprintf(command, sizeof command, "echo '{\"a\": 0}' > %s/vocab.json", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(vlm_tokenizer_load(&t, dir, NULL, &err), VLM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "vocab.json: is only read where"));
    snprintf(command, sizeof command, "echo '{\"tokenizer_class\": \"GPT2Tokenizer\"}' > %s/tokenizer_config.json", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(vlm_tokenizer_load(&t, dir, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "merges.txt"));
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_auto_tokenizer), cmocka_unit_test(classes),
        cmocka_unit_test(broken_models_are_refused),       cmocka_unit_test(broken_ranks_are_refused),
        cmocka_unit_test(merges_are_in_order),             cmocka_unit_test(scores_are_read_as_their_reader_does),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(words_of_clip_end_in_blanks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
