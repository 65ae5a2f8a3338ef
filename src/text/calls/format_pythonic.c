/* SPDX-License-Identifier: MIT */
/* Calls written as Python: [name(key=literal, ...), ...]. A list of one call whose strings hold quotes of their
 * own is read once more, by where its arguments must end. */
#include "text/calls/calls.h"

static bool take(vtext_c_reader *r, char c) {
    vtext_c_skip(r);
    if (r->p == r->end || *r->p != c) return false;
    r->p++;
    return true;
}

/* Writes the key if it is new. */
static bool put_key(vtext_c_out *out, vcore_map *seen, vcore_str key) {
    uint32_t before;
    if (vcore_map_get(seen, key, &before)) return false;
    if (!vcore_map_put(seen, key, 0)) out->b.failed = true;
    vtext_c_key(out, key);
    return true;
}

/* name(key=literal, ...) */
static bool read_call(vtext_c_reader *r, vtext_c_job *job) {
    vtext_c_out out = { 0 };
    vcore_map *seen = vcore_map_new(8);
    vtext_c_skip(r);
    vcore_str name = vtext_c_identifier(r);
    bool good = name.n > 0 && seen && take(r, '('), first = true;
    if (!seen) job->failed = true;
    r->out = &out;
    vtext_c_begin(&out);
    while (good && !take(r, ')')) {
        if (!first && !take(r, ',')) good = false;
        if (good && !first && take(r, ')')) break;
        first = false;
        vtext_c_skip(r);
        vcore_str key = vtext_c_identifier(r);
        good = good && key.n > 0 && take(r, '=') && put_key(&out, seen, key);
        vtext_c_skip(r);
        good = good && vtext_c_expression(r);
    }
    vtext_c_end(&out);
    if (good) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
    vtext_c_drop(job, &out);
    vcore_map_free(seen);
    return good;
}

static bool read_list(vtext_c_job *job, vcore_str text) {
    vtext_c_reader r = { text.p, text.p + text.n, NULL, 1 };
    bool good = text.n && !memchr(text.p, 0, text.n) && take(&r, '[') && read_call(&r, job);
    while (good && !take(&r, ']')) {
        good = take(&r, ',');
        if (good && take(&r, ']')) break;
        good = good && read_call(&r, job);
    }
    vtext_c_skip(&r);
    return good && r.p == r.end;
}

/* ---- the second reading --------------------------------------------------------------------------------- */

/* Behind "key =" at `at`; VTEXT_C_NONE: there is no such thing. */
static size_t keyword(vcore_str s, size_t at, vcore_str *key) {
    at += vtext_c_space(vtext_c_slice(s, at, s.n));
    size_t begin = at, used = 0;
    if (at < s.n && ((s.p[at] | 0x20) >= 'a' || s.p[at] == '_') && (s.p[at] | 0x20) <= 'z' && !(s.p[at] & 0x80))
        while (vtext_c_word(s, at, &used)) at += used;
    *key = vtext_c_slice(s, begin, at);
    at += vtext_c_space(vtext_c_slice(s, at, s.n));
    return key->n && at < s.n && s.p[at] == '=' ? at + 1 : VTEXT_C_NONE;
}

/* Where the value that begins at `at` ends: before a comma with a keyword behind it, or with the text. */
static size_t value_end(vcore_str s, size_t at) {
    vcore_str key;
    char quote = 0;
    long nesting = 0;
    for (; at < s.n; at++) {
        char c = s.p[at];
        if (quote) {
            if (c == '\\') at++;
            else if (c == quote) quote = 0;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '(' || c == '[' || c == '{') {
            nesting++;
        } else if (c == ')' || c == ']' || c == '}') {
            if (--nesting < 0) return VTEXT_C_NONE;
        } else if (c == ',' && nesting == 0 && keyword(s, at + 1, &key) != VTEXT_C_NONE) {
            return at;
        }
    }
    return quote || nesting ? VTEXT_C_NONE : s.n;
}

static bool put_arguments(vtext_c_out *out, vcore_map *seen, vcore_str s) {
    for (size_t at = 0; at < s.n;) {
        vcore_str key;
        size_t begin = keyword(s, at, &key);
        if (begin == VTEXT_C_NONE || !put_key(out, seen, key)) return false;
        size_t end = value_end(s, begin);
        if (end == VTEXT_C_NONE) return false;
        vcore_str value = vtext_c_strip(vtext_c_slice(s, begin, end));
        if (!vtext_c_put_literal(out, value)) {
            bool quoted = value.n >= 2 && (value.p[0] == '"' || value.p[0] == '\'')
                          && value.p[value.n - 1] == value.p[0];
            if (!quoted) return false;
            vtext_c_put_string(out, vtext_c_slice(value, 1, value.n - 1));
        }
        at = end < s.n ? end + 1 : end;
    }
    return true;
}

static bool read_one(vtext_c_job *job, vcore_str text) {
    vcore_str key;
    if (text.n < 2 || text.p[0] != '[' || text.p[text.n - 1] != ']') return false;
    text = vtext_c_strip(vtext_c_slice(text, 1, text.n - 1));
    size_t open = vtext_c_find(text, 0, "(");
    if (open == VTEXT_C_NONE || text.p[text.n - 1] != ')') return false;
    vcore_buf head = { 0 }; /* "name =" has the shape of a keyword */
    vcore_buf_add(&head, text.p, open);
    vcore_buf_puts(&head, "=");
    bool good = !head.failed && keyword((vcore_str) { head.p, head.n }, 0, &key) == head.n;
    if (head.failed) job->failed = true;
    vcore_str name = vtext_c_strip(vtext_c_slice(text, 0, open));
    vtext_c_out out = { 0 };
    vcore_map *seen = vcore_map_new(8);
    if (!seen) job->failed = true;
    vtext_c_begin(&out);
    good = good && seen && put_arguments(&out, seen, vtext_c_slice(text, open + 1, text.n - 1));
    vtext_c_end(&out);
    if (good) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
    vcore_buf_free(&head);
    vtext_c_drop(job, &out);
    vcore_map_free(seen);
    return good;
}

bool vtext_c_parse_pythonic(vtext_c_job *job, vcore_str text) {
    text = vtext_c_strip(text);
    if (read_list(job, text)) return true;
    vtext_c_job_clear(job, 0);
    return read_one(job, text);
}
