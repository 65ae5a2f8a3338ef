/* SPDX-License-Identifier: MIT */
/* Vocabularies of lines: merges.txt and vocab.txt. */
#include "text/tokenizer/files/files.h"

/* A line without its end; moves *at behind it. */
static vcore_str next_line(vcore_str text, size_t *at) {
    const char *start = text.p + *at, *end = memchr(start, '\n', text.n - *at);
    size_t n = end ? (size_t)(end - start) : text.n - *at;
    *at += n + (end != NULL);
    if (end && n && start[n - 1] == '\r') n--;
    return (vcore_str) { start, n };
}

void vtext_put_merge_lines(vcore_buf *out, vcore_str text) {
    vcore_json_open(out, "merges", '[');
    for (size_t at = 0; at < text.n;) vcore_json_put_str(out, NULL, next_line(text, &at));
    vcore_json_close(out, ']');
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void vtext_put_vocab_lines(vcore_buf *out, const char *key, vcore_str text) {
    int64_t id = 0;
    vcore_json_open(out, key, '{');
    for (size_t at = 0; at < text.n; id++) {
        vcore_str line = next_line(text, &at);
        while (line.n && is_blank(line.p[line.n - 1])) line.n--;
        vcore_json_key(out, line);
        vcore_json_put_int(out, NULL, id);
    }
    vcore_json_close(out, '}');
}
