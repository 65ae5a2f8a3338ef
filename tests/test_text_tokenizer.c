/* SPDX-License-Identifier: MIT */
/* Tokenizers against Hugging Face's (tests/data/tokenizers, made by
 * tools/golden/tokenizer_vectors.py): ids, places, decoded text, streams. User and template spans,
 * companions of tokenizer.json. */
#include "tokenizer_check.h"

static vcore_json_doc *read_json(const char *name) {
    char path[200];
    vcore_json_doc *doc;
    snprintf(path, sizeof path, DATA "%s.json", name);
    if (vio_read_json(&doc, NULL, path, 1 << 24, NULL, &err) != VLM_OK) fail_msg("%s", err.message);
    return doc;
}

static void expect_text(const char *name, size_t line, const char *what, vcore_str got,
                        vcore_str want) {
    if (!vcore_str_eq(got, want))
        fail_msg("%s, line %zu, %s: got '%.*s', want '%.*s'", name, line, what, (int)got.n, got.p,
                 (int)want.n, want.p);
}

static void expect_ids(const char *name, size_t line, const char *what, const uint32_t *got,
                       size_t n, size_t step, const vcore_json *want, size_t from) {
    for (size_t i = 0; i < n; i++) {
        int64_t v = -1;
        vcore_json_int(vcore_json_at(want, i * step + from), &v);
        if ((int64_t)got[i] != v)
            fail_msg("%s, line %zu, %s[%zu]: got %u, want %lld", name, line, what, i, got[i],
                     (long long)v);
    }
    if (n * step != vcore_json_count(want))
        fail_msg("%s, line %zu: %zu %s, want %zu", name, line, n * step, what,
                 vcore_json_count(want));
}

static void check_decode(const char *name, size_t line, const vlm_tokenizer *t, vtext_stream *s,
                         const vtext_ids *ids, bool skip, vcore_str want) {
    vcore_buf whole = { 0 }, joined = { 0 };
    vcore_str piece;
    assert_int_equal(vtext_decode(t, ids->id, ids->n, skip, &whole, &err), VLM_OK);
    expect_text(name, line, skip ? "text" : "all", (vcore_str) { whole.p, whole.n }, want);
    for (size_t i = 0; i <= ids->n; i++) {
        if (i < ids->n)
            assert_int_equal(vtext_stream_push(s, ids->id[i], &piece), VLM_OK);
        else
            vtext_stream_finish(s, &piece);
        assert_true(vcore_utf8_valid(piece.p, piece.n));
        vcore_buf_add(&joined, piece.p, piece.n);
    }
    vtext_stream_reset(s);
    expect_text(name, line, "stream", (vcore_str) { joined.p, joined.n }, want);
    vcore_buf_free(&whole);
    vcore_buf_free(&joined);
}

/* The line in pieces of a few characters, user's and template's in turn: the same ids, unless it
 * has a special token. */
static void check_spans(const char *name, size_t line, const vlm_tokenizer *t, vcore_str text,
                        const vcore_json *want) {
    vtext_span spans[600];
    size_t n = 0;
    if (text.n && memchr(text.p, '<', text.n)) return;
    for (size_t i = 0, size; i < text.n; i += size) {
        uint32_t cp;
        assert_true(n < 600);
        size = vcore_utf8_decode(text.p + i, text.n - i, &cp);
        if (n % 3 && i + size < text.n)
            size += vcore_utf8_decode(text.p + i + size, text.n - i - size, &cp);
        spans[n] = (vtext_span) { text.p + i, size, n % 2 == 0 };
        n++;
    }
    vtext_ids ids = encode(t, spans, n, true);
    expect_ids(name, line, "ids of spans", ids.id, ids.n, 1, want, 0);
    vtext_ids_free(&ids);
}

static void check_line(const char *name, size_t line, const vlm_tokenizer *t,
                       vtext_stream *streams[2], vcore_str text, const vcore_json *want) {
    const vcore_json *want_ids = vcore_json_get(want, "ids"), *bare = vcore_json_get(want, "bare");
    vtext_span span = { text.p, text.n, false };
    vtext_ids ids = encode(t, &span, 1, true), without = encode(t, &span, 1, false);
    expect_ids(name, line, "ids", ids.id, ids.n, 1, want_ids, 0);
    expect_ids(name, line, "ids without special", without.id, without.n, 1, bare ? bare : want_ids,
               0);
    for (size_t i = 0; i < ids.n; i++) {
        int64_t begin = -1, end = -1;
        vcore_json_int(vcore_json_at(vcore_json_get(want, "offsets"), 2 * i), &begin);
        vcore_json_int(vcore_json_at(vcore_json_get(want, "offsets"), 2 * i + 1), &end);
        if (ids.begin[i] != begin || ids.end[i] != end)
            fail_msg("%s, line %zu, token %zu: at %u..%u, want %lld..%lld", name, line, i,
                     ids.begin[i], ids.end[i], (long long)begin, (long long)end);
    }
    for (int skip = 0; skip < 2; skip++) {
        vcore_str decoded = text;
        vcore_json_string(vcore_json_get(want, skip ? "text" : "all"), &decoded);
        check_decode(name, line, t, streams[skip], &ids, skip, decoded);
    }
    check_spans(name, line, t, text, want_ids);
    vtext_ids_free(&ids);
    vtext_ids_free(&without);
}

static void as_hugging_face(void **state) {
    (void)state;
    static const char *const names[] = {
        "gpt2",   "roberta", "smollm2", "qwen2",           "qwen35",          "llama3", "o200k",
        "tekken", "llama2",  "gemma",   "metaspace-first", "metaspace-never", "clip",   "continuing"
    };
    vcore_json_doc *lines = read_json("lines");
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char expected[100];
        snprintf(expected, sizeof expected, "%s.expected", names[k]);
        vcore_json_doc *want = read_json(expected);
        vlm_tokenizer *t = load_file(names[k], NULL);
        vtext_stream *streams[2] = { vtext_stream_new(t, false), vtext_stream_new(t, true) };
        size_t n = vcore_json_count(vcore_json_root(lines));
        assert_true(n > 150);
        assert_int_equal(vcore_json_count(vcore_json_root(want)), n);
        for (size_t i = 0; i < n; i++) {
            vcore_str text;
            assert_true(vcore_json_string(vcore_json_at(vcore_json_root(lines), i), &text));
            check_line(names[k], i, t, streams, text, vcore_json_at(vcore_json_root(want), i));
        }
        vtext_stream_free(streams[0]);
        vtext_stream_free(streams[1]);
        vtext_tokenizer_free(t);
        vcore_json_free(want);
    }
    vcore_json_free(lines);
}

/* ---- whose text it is ----------------------------------------------------------------------- */
static uint32_t id_of(const vlm_tokenizer *t, const char *token) {
    uint32_t id;
    assert_true(vtext_token_to_id(t, vcore_str_of(token), &id));
    return id;
}

static size_t count_of(const vtext_ids *ids, uint32_t id) {
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) n += ids->id[i] == id;
    return n;
}

static void users_write_no_special_tokens(void **state) {
    (void)state;
    vlm_tokenizer *t = load_file("qwen2", NULL);
    uint32_t start = id_of(t, "<|im_start|>"), end = id_of(t, "<|im_end|>"),
             image = id_of(t, "<image>");
    const vtext_span spans[] = { SPAN("<|im_start|>user\n", false),
                                 SPAN("<|im_end|><image>\n\n\n<a> <|im_", true),
                                 SPAN("start|><image>", false),
                                 SPAN("<image>", true),
                                 SPAN("<|im_", false),
                                 SPAN("end|>", false),
                                 SPAN("<ima", false),
                                 SPAN("ge>", true) };
    vtext_ids ids = encode(t, spans, 8, true);
    assert_int_equal(count_of(&ids, start), 1);
    assert_int_equal(count_of(&ids, image), 1);
    assert_int_equal(count_of(&ids, end), 1);
    assert_int_equal(ids.id[0], start);
    assert_int_equal(count_of(&ids, id_of(t, "<a>")),
                     1); /* added, but not special: vocabulary like any other */
    vcore_buf text = { 0 };
    assert_int_equal(vtext_decode(t, ids.id, ids.n, false, &text, &err), VLM_OK);
    assert_string_equal(
        text.p,
        "<|im_start|>user\n<|im_end|><image>\n\n\n<a> <|im_start|><image><image><|im_end|><image>");
    vcore_buf_free(&text);
    vtext_ids_free(&ids);
    vtext_tokenizer_free(t);
}

static void control_tokens_by_id(void **state) {
    (void)state;
    vlm_tokenizer *t = load_file("metaspace-first", NULL);
    uint32_t plain = id_of(t, "<Lower>"), word = id_of(t, "word");
    const vtext_span spans[] = { SPAN("<Lower> word ", false), SPAN("<Lower> word ", true) };
    vtext_ids ids = encode(t, spans, 2, false);
    assert_int_equal(count_of(&ids, plain), 2);
    vtext_ids_free(&ids);
    vtext_control_token(t, plain);
    vtext_control_token(t, word);
    vtext_control_token(t, 1u << 30);
    ids = encode(t, spans, 2, false);
    assert_int_equal(count_of(&ids, plain), 1);
    assert_int_equal(count_of(&ids, word), 1);
    vtext_ids_free(&ids);
    vtext_tokenizer_free(t);
}

/* A special token that is matched in normalised text, of which only the places know whose it was.
 */
static void normalised_tokens_know_their_user(void **state) {
    (void)state;
    vlm_tokenizer *t = load_file("metaspace-first", NULL);
    uint32_t pad = id_of(t, "<pad>");
    const vtext_span spans[] = { SPAN("  <pad>\xEF\xAC\x81 ", false), SPAN("x <pad> ", true),
                                 SPAN("<pad>", false) };
    vtext_ids ids = { 0 };
    assert_int_equal(vtext_encode(t, spans, 3, false, false, &ids, &err), VLM_OK);
    assert_int_equal(count_of(&ids, pad), 2);
    assert_null(ids.begin);
    vtext_ids_free(&ids);
    vtext_tokenizer_free(t);
}

static void plain_flag_of_the_public_call(void **state) {
    (void)state;
    vlm_tokenizer *t = load_file("llama2", NULL);
    vlm_tokens tokens;
    const char text[] = "<s>Hi";
    assert_int_equal(vlm_tokenizer_encode(&tokens, t, text, 5, VLM_ENCODE_ADD_SPECIAL, &err),
                     VLM_OK);
    assert_int_equal(tokens.ids[0], id_of(t, "<s>"));
    assert_int_equal(tokens.ids[1], id_of(t, "<s>"));
    assert_int_equal(tokens.ends[1], 3);
    vlm_tokens_free(&tokens);
    assert_int_equal(vlm_tokenizer_encode(&tokens, t, text, 5, VLM_ENCODE_PLAIN, &err), VLM_OK);
    for (size_t i = 0; i < tokens.count; i++) assert_int_not_equal(tokens.ids[i], id_of(t, "<s>"));
    char *decoded;
    assert_int_equal(vlm_tokenizer_decode(&decoded, t, tokens.ids, tokens.count, 1, &err), VLM_OK);
    assert_string_equal(decoded, "<s>Hi");
    vlm_string_free(decoded);
    vlm_tokens_free(&tokens);
    assert_int_equal(vlm_tokenizer_encode(&tokens, t, text, 5, 64, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_tokenizer_encode(&tokens, t, NULL, 5, 0, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_tokenizer_encode(&tokens, t, NULL, 0, 0, &err), VLM_OK);
    assert_int_equal(tokens.count, 0);
    assert_string_equal(vlm_tokenizer_token(t, 0), "<unk>");
    assert_null(vlm_tokenizer_token(t, 1u << 30));
    vlm_tokenizer_free(t);
}

static void invalid_utf8_is_replaced(void **state) {
    (void)state;
    vlm_tokenizer *t = load_file("gpt2", NULL);
    const vtext_span bad = SPAN("a\xFF"
                                "b\xE4\xB8"
                                "c\xF0\x9F",
                                false);
    const vtext_span good = SPAN("a\xEF\xBF\xBD"
                                 "b\xEF\xBF\xBD"
                                 "c\xEF\xBF\xBD",
                                 false);
    vtext_ids x = encode(t, &bad, 1, true), y = encode(t, &good, 1, true);
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.id, y.id, x.n * sizeof *x.id);
    assert_int_equal(x.begin[x.n - 1], 6); /* where the bytes were, not where U+FFFD would be */
    assert_int_equal(x.end[x.n - 1], 8);
    vtext_ids_free(&x);
    vtext_ids_free(&y);
    vtext_tokenizer_free(t);
}

/* ---- companions of tokenizer.json ----------------------------------------------------------- */
static void configs_add_and_name_tokens(void **state) {
    (void)state;
    vlm_tokenizer *t =
        load_file("gpt2", "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\", "
                          "\"lstrip\": false}, \"pad_token\": null,"
                          " \"add_bos_token\": true, \"add_eos_token\": true, \"image_token\": "
                          "\"<row>\", \"extra_special_tokens\": [\"<x>\"],"
                          " \"added_tokens_decoder\": {\"900\": {\"content\": \"<late>\", "
                          "\"special\": true}, \"12\": {\"content\": \"<early>\"}}}");
    uint32_t size = id_of(t, "\n\n\n") + 1;
    vcore_str token;
    assert_int_equal(id_of(t, "<early>"),
                     size); /* in order of their numbers; the id is the next free one */
    assert_int_equal(id_of(t, "<late>"), size + 1);
    assert_int_equal(id_of(t, "<row>"), size + 2);
    assert_int_equal(id_of(t, "<x>"), size + 3);
    assert_int_equal(vtext_vocab_size(t), size + 4);
    assert_true(vtext_is_special(t, id_of(t, "<late>")));
    assert_false(vtext_is_special(t, id_of(t, "<early>")));
    assert_true(vtext_is_special(t, id_of(t, "<x>")));
    assert_true(vtext_named_token(t, "eos_token", &token)
                && vcore_str_eq(token, vcore_str_of("</s>")));
    assert_true(vtext_named_token(t, "image_token", &token)
                && vcore_str_eq(token, vcore_str_of("<row>")));
    assert_false(vtext_named_token(t, "pad_token", &token));
    const vtext_span span = SPAN("<late>", false);
    vtext_ids ids = encode(t, &span, 1, true);
    assert_int_equal(ids.n, 1); /* add_bos_token does not count: the post-processor decides */
    assert_int_equal(ids.id[0], id_of(t, "<late>"));
    vtext_ids_free(&ids);
    vtext_tokenizer_free(t);
}

static void directories(void **state) {
    (void)state;
    vlm_tokenizer *t;
    assert_int_equal(vlm_tokenizer_load(&t, "tests/data/nothing-here", NULL, &err),
                     VLM_ERR_NOT_FOUND);
    assert_null(t);
    assert_non_null(strstr(err.message, "tests/data/nothing-here/tokenizer.json"));
    char dir[] = "/tmp/vlm-tokenizer-XXXXXX", command[300];
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command,
             "cp " DATA "gpt2.json %s/tokenizer.json && echo '{\"cls_token\": {\"content\": "
             "\"<cls>\"}}' > %s/special_tokens_map.json",
             dir, dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(vlm_tokenizer_load(&t, dir, NULL, &err), VLM_OK);
    vcore_str token;
    assert_true(vtext_named_token(t, "cls_token", &token)
                && vcore_str_eq(token, vcore_str_of("<cls>")));
    vlm_tokenizer_free(t);
    snprintf(command, sizeof command, "echo '{' > %s/tokenizer_config.json", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(vlm_tokenizer_load(&t, dir, NULL, &err), VLM_ERR_PARSE);
    assert_non_null(strstr(err.message, "tokenizer_config.json"));
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* ---- streams -------------------------------------------------------------------------------- */
static void streams_hold_back_characters(void **state) {
    (void)state;
    vlm_tokenizer *t = load_file("llama2", NULL);
    vtext_stream *s = vtext_stream_new(t, true);
    static const char *const tokens[] = { "\xE2\x96\x81", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>",
                                          "<0xE2>",       "<0x82>", "a",      "<0xFF>", "</s>" };
    static const char *const pieces[] = {
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        ("\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
         "a"), /* in two: \xBDa would be one escape */
        "",
        ""
    };
    vcore_str piece;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        assert_int_equal(vtext_stream_push(s, id_of(t, tokens[i]), &piece), VLM_OK);
        assert_int_equal(piece.n, strlen(pieces[i]));
        if (piece.n) assert_memory_equal(piece.p, pieces[i], piece.n);
    }
    assert_int_equal(vtext_stream_push(s, 1u << 30, &piece),
                     VLM_OK); /* an id that does not exist gives nothing */
    vtext_stream_finish(s, &piece);
    assert_int_equal(piece.n, 3);
    vtext_stream_free(s);
    vtext_tokenizer_free(t);
    vtext_stream_free(NULL);
    vtext_tokenizer_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_hugging_face),
        cmocka_unit_test(users_write_no_special_tokens),
        cmocka_unit_test(control_tokens_by_id),
        cmocka_unit_test(normalised_tokens_know_their_user),
        cmocka_unit_test(plain_flag_of_the_public_call),
        cmocka_unit_test(invalid_utf8_is_replaced),
        cmocka_unit_test(configs_add_and_name_tokens),
        cmocka_unit_test(directories),
        cmocka_unit_test(streams_hold_back_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
