/* SPDX-License-Identifier: MIT */
/* Gemma's calls: call:name{key:value, ...} with strings between escapes of their own. */
#include "text/calls/calls.h"

typedef struct gemma_reader {
    const char *escape;
    vtext_c_out *out;
    int depth;
    bool deep; /* nested too much */
} gemma_reader;

/* Behind the escape that closes the string that opens at `at`; the end of the text if none does. */
static size_t behind_string(const gemma_reader *g, vcore_str s, size_t at) {
    size_t n = strlen(g->escape), end = vtext_c_find(s, at + n, g->escape);
    return end == VTEXT_C_NONE ? s.n : end + n;
}

/* The bracket that closes the one at `at`; the end of the text if none does. */
static size_t matching(const gemma_reader *g, vcore_str s, size_t at) {
    for (long depth = 0; at < s.n;) {
        if (vtext_c_starts(s, at, g->escape)) {
            at = behind_string(g, s, at);
            continue;
        }
        char c = s.p[at];
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && --depth == 0) return at;
        at++;
    }
    return s.n;
}

/* Up to the next comma outside of brackets and strings. */
static vcore_str next_entry(const gemma_reader *g, vcore_str s, size_t *at) {
    size_t begin = *at, i = begin;
    for (long depth = 0; i < s.n;) {
        if (vtext_c_starts(s, i, g->escape)) {
            i = behind_string(g, s, i);
            continue;
        }
        char c = s.p[i];
        if (c == ',' && depth == 0) break;
        depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
        i++;
    }
    *at = i < s.n ? i + 1 : i;
    return vtext_c_strip(vtext_c_slice(s, begin, i));
}

static size_t find_colon(const gemma_reader *g, vcore_str s) {
    for (size_t i = 0; i < s.n;) {
        if (vtext_c_starts(s, i, g->escape)) {
            i = behind_string(g, s, i);
        } else if (s.p[i] == ':') {
            return i;
        } else {
            i++;
        }
    }
    return VTEXT_C_NONE;
}

static void put_value(gemma_reader *g, vcore_str s);

static void put_object(gemma_reader *g, vcore_str s) {
    vtext_c_begin(g->out);
    for (size_t at = 0; at < s.n;) {
        vcore_str entry = next_entry(g, s, &at);
        size_t colon = find_colon(g, entry);
        if (colon == VTEXT_C_NONE) continue;
        vtext_c_key(g->out, vtext_c_strip(vtext_c_slice(entry, 0, colon)));
        put_value(g, vtext_c_slice(entry, colon + 1, entry.n));
    }
    vtext_c_end(g->out);
}

static void put_array(gemma_reader *g, vcore_str s) {
    vcore_buf_puts(&g->out->b, "[");
    for (size_t at = 0, n = 0; at < s.n;) {
        vcore_str entry = next_entry(g, s, &at);
        if (entry.n == 0) continue;
        if (n++) vcore_buf_puts(&g->out->b, ", ");
        put_value(g, entry);
    }
    vcore_buf_puts(&g->out->b, "]");
}

static void put_value(gemma_reader *g, vcore_str s) {
    s = vtext_c_strip(s);
    bool array = s.n && s.p[0] == '[';
    if (vtext_c_starts(s, 0, g->escape)) {
        size_t begin = strlen(g->escape), end = vtext_c_find(s, begin, g->escape);
        vtext_c_put_string(g->out, vtext_c_slice(s, begin, end == VTEXT_C_NONE ? s.n : end));
    } else if (array || (s.n && s.p[0] == '{')) {
        g->deep = g->deep || g->depth == VTEXT_C_DEPTH;
        if (g->deep) { /* each level looks for its end: the depth bounds how often text is read */
            vcore_buf_puts(&g->out->b, "null");
            return;
        }
        g->depth++;
        vcore_str inner = vtext_c_slice(s, 1, matching(g, s, 0));
        if (array) put_array(g, inner);
        else put_object(g, inner);
        g->depth--;
    } else if (!vtext_c_put_json(g->out, s)) {
        vtext_c_put_string(g->out, s);
    }
}

/* Bytes of a name at `at`: word characters and . : - */
static size_t name_bytes(vcore_str s, size_t at) {
    size_t n = 0, used = 1;
    for (; at + n < s.n; n += used) {
        used = 1;
        char c = s.p[at + n];
        if (c != '.' && c != ':' && c != '-' && !vtext_c_word(s, at + n, &used)) break;
    }
    return n;
}

/* A name at `at` with a brace behind it. */
static bool is_head(vcore_str s, size_t at, size_t *brace) {
    size_t n = name_bytes(s, at);
    *brace = at + n;
    return n > 0 && *brace < s.n && s.p[*brace] == '{';
}

static bool find_head(vcore_str s, size_t *name, size_t *brace) {
    static const char call[] = "call:";
    *name = vtext_c_starts(s, 0, ":") ? 1 : 0;
    if (!vtext_c_starts(s, 0, call) && is_head(s, *name, brace)) return true;
    for (size_t at = 0; (at = vtext_c_find(s, at, call)) != VTEXT_C_NONE;) {
        *name = at + strlen(call);
        if (is_head(s, *name, brace)) return true;
        at = *brace > at ? *brace : at + 1; /* a head within this name would have ended as it does */
    }
    return false;
}

static bool parse(vtext_c_job *job, vcore_str text, const char *escape) {
    size_t name, brace;
    text = vtext_c_strip(text);
    if (!find_head(text, &name, &brace)) return false;
    vtext_c_out out = { 0 };
    gemma_reader g = { .escape = escape, .out = &out };
    put_object(&g, vtext_c_slice(text, brace + 1, matching(&g, text, brace)));
    if (!g.deep) vtext_c_add(job, vtext_c_slice(text, name, brace), (vcore_str) { 0 }, &out);
    vcore_buf_free(&out.b);
    return !g.deep;
}

bool vtext_c_parse_gemma(vtext_c_job *job, vcore_str text) {
    return parse(job, text, "<|\"|>");
}

bool vtext_c_parse_function_gemma(vtext_c_job *job, vcore_str text) {
    return parse(job, text, "<escape>");
}
