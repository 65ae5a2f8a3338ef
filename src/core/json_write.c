/* SPDX-License-Identifier: MIT */
/* Writing JSON into a buffer, spaced as json.dumps does. Owns quoting, numbers and commas: whether
 * a comma is due shows in the last byte that was written, so that there is no state beside the
 * buffer. */
#include "core/core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Bytes at the start of s that stand for themselves. */
static size_t plain_bytes(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && s[i] >= 0x20 && s[i] <= 0x7E && s[i] != '"' && s[i] != '\\') i++;
    return i;
}

void vcore_json_quote(vcore_buf *b, const char *s, size_t n) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    vcore_buf_add(b, "\"", 1);
    for (size_t i = 0, used; i < n; i += used) {
        uint32_t cp;
        if ((used = plain_bytes(s + i, n - i))) {
            vcore_buf_add(b, s + i, used);
            continue;
        }
        used = vcore_utf8_decode(s + i, n - i, &cp);
        const char *known = s[i] ? strchr(from, s[i]) : NULL;
        if (known)
            vcore_buf_printf(b, "\\%c", to[known - from]);
        else if (cp < 0x20)
            vcore_buf_printf(b, "\\u%04x", (unsigned)cp);
        else if (cp == VCORE_REPLACEMENT)
            vcore_buf_add(b, "\xEF\xBF\xBD", 3);
        else
            vcore_buf_add(b, s + i, used);
    }
    vcore_buf_add(b, "\"", 1);
}

/* ---- keys and commas ------------------------------------------------------------------------- */
/* No value ends with one of these: a bracket, the blank behind a key, the NUL of bytes in front. */
static bool value_before(const vcore_buf *b) {
    char last = b->n ? b->p[b->n - 1] : '\0';
    return last != '{' && last != '[' && last != ' ' && last != '\0';
}

void vcore_json_key(vcore_buf *b, vcore_str key) {
    if (value_before(b)) vcore_buf_puts(b, ", ");
    vcore_json_quote(b, key.p, key.n);
    vcore_buf_puts(b, ": ");
}

static void begin(vcore_buf *b, const char *key) {
    if (key)
        vcore_json_key(b, vcore_str_of(key));
    else if (value_before(b))
        vcore_buf_puts(b, ", ");
}

void vcore_json_open(vcore_buf *b, const char *key, char bracket) {
    begin(b, key);
    vcore_buf_add(b, &bracket, 1);
}

void vcore_json_close(vcore_buf *b, char bracket) {
    vcore_buf_add(b, &bracket, 1);
}

/* ---- values ---------------------------------------------------------------------------------- */
void vcore_json_put_str(vcore_buf *b, const char *key, vcore_str s) {
    begin(b, key);
    vcore_json_quote(b, s.p, s.n);
}

void vcore_json_put_text(vcore_buf *b, const char *key, const char *text) {
    if (text)
        vcore_json_put_str(b, key, vcore_str_of(text));
    else
        vcore_json_put_raw(b, key, "null");
}

void vcore_json_put_bool(vcore_buf *b, const char *key, bool value) {
    vcore_json_put_raw(b, key, value ? "true" : "false");
}

void vcore_json_put_int(vcore_buf *b, const char *key, int64_t n) {
    begin(b, key);
    vcore_buf_printf(b, "%lld", (long long)n);
}

void vcore_json_put_uint(vcore_buf *b, const char *key, uint64_t n) {
    begin(b, key);
    vcore_buf_printf(b, "%llu", (unsigned long long)n);
}

/* As few digits as give the number back. */
static void put_finite(vcore_buf *b, double d) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d) break;
    }
    for (char *p = text; *p; p++)
        if (*p == ',') *p = '.'; /* the host program's locale */
    vcore_buf_printf(b, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

void vcore_json_put_real(vcore_buf *b, const char *key, double d) {
    begin(b, key);
    if (isnan(d))
        vcore_buf_puts(b, "NaN");
    else if (isinf(d))
        vcore_buf_puts(b, d < 0 ? "-Infinity" : "Infinity");
    else
        put_finite(b, d);
}

void vcore_json_put_raw(vcore_buf *b, const char *key, const char *json) {
    size_t n = strlen(json);
    while (n && strchr(" \t\r\n", json[n - 1])) n--;
    begin(b, key);
    vcore_buf_add(b, json, n);
}

/* The depth of what was parsed is limited. */
void vcore_json_put(vcore_buf *b, const char *key, const vcore_json *v) {
    int64_t i = 0;
    double d = 0;
    bool t = false;
    vcore_str s = { "", 0 };
    switch (vcore_json_kind_of(v)) {
    case VCORE_JSON_NULL: vcore_json_put_text(b, key, NULL); break;
    case VCORE_JSON_BOOL:
        vcore_json_bool(v, &t);
        vcore_json_put_bool(b, key, t);
        break;
    case VCORE_JSON_INT:
        vcore_json_int(v, &i);
        vcore_json_put_int(b, key, i);
        break;
    case VCORE_JSON_REAL:
        vcore_json_real(v, &d);
        vcore_json_put_real(b, key, d);
        break;
    case VCORE_JSON_STRING:
        vcore_json_string(v, &s);
        vcore_json_put_str(b, key, s);
        break;
    case VCORE_JSON_ARRAY:
        vcore_json_open(b, key, '[');
        for (size_t k = 0; k < vcore_json_count(v); k++)
            vcore_json_put(b, NULL, vcore_json_at(v, k));
        vcore_json_close(b, ']');
        break;
    case VCORE_JSON_OBJECT:
        vcore_json_open(b, key, '{');
        for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it);) {
            vcore_json_key(b, it.key);
            vcore_json_put(b, NULL, it.value);
        }
        vcore_json_close(b, '}');
        break;
    }
}
