/* SPDX-License-Identifier: MIT */
/* Gemma's calls: call:name{key:value, ...} with strings between escapes of their own. */
#include "text/calls/calls.h"

typedef struct gemma_reader {
    const char *escape;
    vtext_c_out *out;
    vcore_str s;
    size_t at;
    int depth;
    bool deep; /* nested too much */
} gemma_reader;

static bool at_string(const gemma_reader *g) {
    return vtext_c_starts(g->s, g->at, g->escape);
}

/* Over a string, to the end of the text if it is not closed; what is in it. */
static vcore_str take_string(gemma_reader *g) {
    size_t n = strlen(g->escape), begin = g->at + n, end = vtext_c_find(g->s, begin, g->escape);
    g->at = end == VTEXT_C_NONE ? g->s.n : end + n;
    return vtext_c_slice(g->s, begin, end == VTEXT_C_NONE ? g->s.n : end);
}

static bool is_open(char c) {
    return c == '{' || c == '[';
}

static bool is_close(char c) {
    return c == '}' || c == ']';
}

/* To the comma or bracket that ends an entry, from so many brackets inside it; or, if colon, to a colon before
 * that. The brackets there. */
static long to_end(gemma_reader *g, long depth, bool colon) {
    while (g->at < g->s.n) {
        char c = g->s.p[g->at];
        if (at_string(g)) {
            take_string(g);
            continue;
        }
        if ((c == ',' || is_close(c)) && depth == 0) break;
        if (c == ':' && colon) break;
        depth += is_open(c) - is_close(c);
        g->at++;
    }
    return depth;
}

static void put_entries(gemma_reader *g, bool array);

/* A value, and what stands behind it up to the end of its entry. */
static void put_value(gemma_reader *g, long depth) {
    g->at += vtext_c_space(vtext_c_slice(g->s, g->at, g->s.n));
    size_t begin = g->at;
    char c = begin < g->s.n ? g->s.p[begin] : 0;
    if (at_string(g)) {
        vtext_c_put_string(g->out, take_string(g));
    } else if (is_open(c)) {
        g->deep = g->deep || g->depth == VTEXT_C_DEPTH;
        if (g->deep) g->at = g->s.n;
        else put_entries(g, c == '[');
    }
    bool bare = g->at == begin;
    to_end(g, depth, false);
    vcore_str text = vtext_c_strip(vtext_c_slice(g->s, begin, g->at));
    if (bare && !vtext_c_put_json(g->out, text)) vtext_c_put_string(g->out, text);
}

static void put_item(gemma_reader *g, bool first) {
    if (!first) vcore_buf_puts(&g->out->b, ", ");
    put_value(g, 0);
}

/* key:value; nothing without a colon. */
static void put_member(gemma_reader *g) {
    size_t begin = g->at;
    long depth = to_end(g, 0, true);
    if (g->at == g->s.n || g->s.p[g->at] != ':') return;
    vtext_c_key(g->out, vtext_c_strip(vtext_c_slice(g->s, begin, g->at)));
    g->at++;
    put_value(g, depth);
}

/* From an opening bracket to behind the closing one. */
static void put_entries(gemma_reader *g, bool array) {
    size_t n = 0;
    g->depth++;
    g->at++;
    vcore_buf_puts(&g->out->b, array ? "[" : "{");
    while (g->at < g->s.n) {
        g->at += vtext_c_space(vtext_c_slice(g->s, g->at, g->s.n));
        if (g->at == g->s.n || is_close(g->s.p[g->at])) break;
        if (g->s.p[g->at] == ',') g->at++;
        else if (!array) put_member(g);
        else put_item(g, n++ == 0);
    }
    if (g->at < g->s.n) g->at++;
    vcore_buf_puts(&g->out->b, array ? "]" : "}");
    g->depth--;
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
    gemma_reader g = { .escape = escape, .out = &out, .s = text, .at = brace };
    put_entries(&g, false);
    if (!g.deep) vtext_c_add(job, vtext_c_slice(text, name, brace), (vcore_str) { 0 }, &out);
    vtext_c_drop(job, &out);
    return !g.deep;
}

bool vtext_c_parse_gemma(vtext_c_job *job, vcore_str text) {
    return parse(job, text, "<|\"|>");
}

bool vtext_c_parse_function_gemma(vtext_c_job *job, vcore_str text) {
    return parse(job, text, "<escape>");
}
