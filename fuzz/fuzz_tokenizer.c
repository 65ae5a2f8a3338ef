/* SPDX-License-Identifier: MIT */
/* A tokenizer.json, a NUL byte, a tokenizer_config.json (may be empty), a NUL byte, a text. What is
 * loaded encodes the text, places within it, the same ids with and without places; what it decodes
 * at once it decodes as a stream. */
#include "text/text.h"

static void check_decode(const vlm_tokenizer *t, const vtext_ids *ids, bool skip) {
    vcore_buf whole = { 0 }, joined = { 0 };
    vcore_str piece;
    vtext_stream *s = vtext_stream_new(t, skip);
    if (!s || vtext_decode(t, ids->id, ids->n, skip, &whole, NULL) != VLM_OK) __builtin_trap();
    for (size_t i = 0; i <= ids->n; i++) {
        if (i == ids->n)
            vtext_stream_finish(s, &piece);
        else if (vtext_stream_push(s, ids->id[i], &piece) != VLM_OK)
            __builtin_trap();
        if (!vcore_utf8_valid(piece.p, piece.n)) __builtin_trap();
        vcore_buf_add(&joined, piece.p, piece.n);
    }
    if (joined.n != whole.n || (whole.n && memcmp(joined.p, whole.p, whole.n))) __builtin_trap();
    vtext_stream_free(s);
    vcore_buf_free(&whole);
    vcore_buf_free(&joined);
}

static void check_encode(const vlm_tokenizer *t, const char *text, size_t n) {
    const vtext_span spans[3] = { { text, n / 3, false },
                                  { text + n / 3, n / 2 - n / 3, true },
                                  { text + n / 2, n - n / 2, false } };
    vtext_ids plain = { 0 }, placed = { 0 };
    vlm_status status = vtext_encode(t, spans, 3, true, false, &plain, NULL);
    if (vtext_encode(t, spans, 3, true, true, &placed, NULL) != status || plain.n != placed.n)
        __builtin_trap();
    for (size_t i = 0; i < plain.n; i++) {
        if (plain.id[i] != placed.id[i] || placed.begin[i] > placed.end[i] || placed.end[i] > n)
            __builtin_trap();
    }
    check_decode(t, &plain, false);
    check_decode(t, &plain, true);
    vtext_ids_free(&plain);
    vtext_ids_free(&placed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *part[3] = { (const char *)data, NULL, NULL };
    size_t n[3] = { size, 0, 0 };
    for (int i = 0; i < 2 && part[i]; i++) {
        const char *nul = n[i] ? memchr(part[i], 0, n[i]) : NULL;
        if (!nul) break;
        part[i + 1] = nul + 1;
        n[i + 1] = n[i] - (size_t)(nul + 1 - part[i]);
        n[i] = (size_t)(nul - part[i]);
    }
    vlm_tokenizer *t;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vtext_tokenizer_parse(&t, part[0], n[0], n[1] ? part[1] : NULL, n[1],
                                              "tokenizer.json", &err);
    if ((status != VLM_OK) != (t == NULL) || status != err.code || (!t && !err.message[0]))
        __builtin_trap();
    if (t && part[2]) check_encode(t, part[2], n[2]);
    vtext_tokenizer_free(t);
    return 0;
}
