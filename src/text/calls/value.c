/* SPDX-License-Identifier: MIT */
/* Values of arguments as JSON text: read as Python's json reads them and written as json.dumps does with
 * ensure_ascii=False, plus what int(), float() and str() make of text. */
#include "text/calls/calls.h"
#include "text/jinja/jinja.h"

#include <math.h>
#include <stdio.h>

static void put_real(vcore_buf *b, const vcore_json *v) {
    vcore_str digits;
    double d = 0;
    char text[40];
    vcore_json_real(v, &d);
    if (vcore_json_digits(v, &digits) && !memchr(digits.p, '.', digits.n) && !memchr(digits.p, 'e', digits.n)
        && !memchr(digits.p, 'E', digits.n))
        vcore_buf_add(b, digits.p, digits.n); /* an integer beyond 64 bits */
    else if (isnan(d))
        vcore_buf_puts(b, "NaN");
    else if (isinf(d))
        vcore_buf_puts(b, d < 0 ? "-Infinity" : "Infinity");
    else
        vcore_buf_add(b, text, vtext_j_float_repr(d, text));
}

/* The depth of what was parsed is limited. */
void vtext_c_put_value(vcore_buf *b, const vcore_json *v) {
    vcore_str s;
    switch (vcore_json_kind_of(v)) {
    case VCORE_JSON_REAL: put_real(b, v); break;
    case VCORE_JSON_STRING:
        vcore_json_string(v, &s);
        vcore_json_quote(b, s.p, s.n);
        break;
    case VCORE_JSON_ARRAY:
        vcore_buf_puts(b, "[");
        for (size_t i = 0; i < vcore_json_count(v); i++) {
            if (i) vcore_buf_puts(b, ", ");
            vtext_c_put_value(b, vcore_json_at(v, i));
        }
        vcore_buf_puts(b, "]");
        break;
    case VCORE_JSON_OBJECT:
        vcore_buf_puts(b, "{");
        for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it);) {
            vcore_json_key(b, it.key);
            vtext_c_put_value(b, it.value);
        }
        vcore_buf_puts(b, "}");
        break;
    default: { /* null, a boolean, an integer */
        vcore_buf one = { 0 };
        vcore_json_put(&one, NULL, v);
        if (one.failed) b->failed = true;
        vcore_buf_add(b, one.p, one.n);
        vcore_buf_free(&one);
    }
    }
}

bool vtext_c_put_json(vtext_c_out *out, vcore_str text) {
    vcore_json_doc *doc;
    vlm_status status = vcore_json_parse(&doc, text.p, text.n, "a tool call", NULL);
    if (status == VLM_ERR_MEMORY) out->b.failed = true;
    if (status < 0) return false;
    vtext_c_put_value(&out->b, vcore_json_root(doc));
    vcore_json_free(doc);
    return true;
}

void vtext_c_put_string(vtext_c_out *out, vcore_str text) {
    vcore_json_quote(&out->b, text.p, text.n);
}

void vtext_c_put_guess(vtext_c_out *out, vcore_str text) {
    if (!vtext_c_put_json(out, text) && !vtext_c_put_literal(out, text)) vtext_c_put_string(out, text);
}

void vtext_c_key(vtext_c_out *out, vcore_str key) {
    vcore_json_key(&out->b, key);
}

void vtext_c_begin(vtext_c_out *out) {
    vcore_buf_puts(&out->b, "{");
}

void vtext_c_end(vtext_c_out *out) {
    vcore_buf_puts(&out->b, "}");
}

/* ---- int() and float() ----------------------------------------------------------------------------------- */

/* Copies a run of digits, single underscores between them left out. False: no such run. */
static bool take_digits(vcore_buf *to, vcore_str s, size_t *at) {
    size_t before = to->n;
    for (bool digit = false; *at < s.n; (*at)++) {
        char c = s.p[*at];
        if (c == '_' && digit) {
            digit = false;
            continue;
        }
        if (c < '0' || c > '9') {
            if (!digit && to->n > before) return false; /* ends with an underscore */
            break;
        }
        vcore_buf_add(to, &c, 1);
        digit = true;
    }
    return to->n > before && s.p[*at - 1] != '_';
}

static void take_sign(vcore_buf *to, vcore_str s, size_t *at) {
    if (*at < s.n && (s.p[*at] == '-' || s.p[*at] == '+')) {
        if (s.p[*at] == '-') vcore_buf_puts(to, "-");
        (*at)++;
    }
}

/* Writes the JSON number that is in b, zeros in front left out. */
static void put_digits(vtext_c_out *out, const vcore_buf *b) {
    size_t at = b->p[0] == '-', zeros = at;
    while (zeros + 1 < b->n && b->p[zeros] == '0' && b->p[zeros + 1] >= '0' && b->p[zeros + 1] <= '9') zeros++;
    vcore_buf_add(&out->b, b->p, at);
    vcore_buf_add(&out->b, b->p + zeros, b->n - zeros);
}

bool vtext_c_put_int(vtext_c_out *out, vcore_str text) {
    vcore_str s = vtext_c_strip(text);
    vcore_buf b = { 0 };
    size_t at = 0;
    take_sign(&b, s, &at);
    bool good = take_digits(&b, s, &at) && at == s.n;
    if (good && !b.failed) put_digits(out, &b);
    if (b.failed) out->b.failed = true;
    vcore_buf_free(&b);
    return good;
}

/* A Python float's text as a JSON number. */
static bool take_float(vcore_buf *b, vcore_str s) {
    size_t at = 0;
    take_sign(b, s, &at);
    bool whole = at < s.n && s.p[at] != '.', fraction = false;
    if (whole && !take_digits(b, s, &at)) return false;
    if (!whole) vcore_buf_puts(b, "0");
    if (at < s.n && s.p[at] == '.') {
        at++;
        vcore_buf_puts(b, ".");
        fraction = at < s.n && s.p[at] >= '0' && s.p[at] <= '9';
        if (fraction && !take_digits(b, s, &at)) return false;
        if (!fraction) vcore_buf_puts(b, "0");
    }
    if (!whole && !fraction) return false;
    if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
        at++;
        vcore_buf_puts(b, "e");
        take_sign(b, s, &at);
        if (!take_digits(b, s, &at)) return false;
    }
    return at == s.n;
}

static bool read_float(double *d, vcore_str s, bool *failed) {
    vtext_c_out number = { 0 };
    vcore_buf b = { 0 };
    vcore_json_doc *doc = NULL;
    bool good = take_float(&b, s) && !b.failed;
    if (good) {
        put_digits(&number, &b);
        vlm_status status = number.b.failed ? VLM_ERR_MEMORY
                                            : vcore_json_parse(&doc, number.b.p, number.b.n, "a number", NULL);
        good = status == VLM_OK && vcore_json_real(vcore_json_root(doc), d);
        if (status == VLM_ERR_MEMORY) *failed = true;
    }
    if (b.failed) *failed = true;
    vcore_json_free(doc);
    vcore_buf_free(&number.b);
    vcore_buf_free(&b);
    return good;
}

bool vtext_c_put_number(vtext_c_out *out, vcore_str text, bool *over) {
    vcore_str s = vtext_c_strip(text), name = s;
    double d = 0;
    char printed[400];
    *over = false;
    if (name.n && (*name.p == '-' || *name.p == '+')) name = vtext_c_slice(name, 1, name.n);
    *over = vtext_c_same(name, "inf") || vtext_c_same(name, "infinity");
    if (*over || !read_float(&d, s, &out->b.failed)) return false;
    *over = isinf(d);
    if (*over) return false;
    size_t n = d == floor(d) ? (size_t)snprintf(printed, sizeof printed, "%.0f", d == 0 ? 0.0 : d)
                             : vtext_j_float_repr(d, printed);
    vcore_buf_add(&out->b, printed, n);
    return true;
}

bool vtext_c_put_float(vtext_c_out *out, vcore_str text) {
    vcore_str s = vtext_c_strip(text), name = s;
    double d = 0;
    char printed[40];
    bool negative = s.n && *s.p == '-';
    if (s.n && (*s.p == '-' || *s.p == '+')) name = vtext_c_slice(s, 1, s.n);
    if (vtext_c_same(name, "nan")) {
        vcore_buf_puts(&out->b, "NaN");
    } else if (vtext_c_same(name, "inf") || vtext_c_same(name, "infinity") || (read_float(&d, s, &out->b.failed) && isinf(d))) {
        vcore_buf_puts(&out->b, negative ? "-Infinity" : "Infinity");
    } else {
        if (!read_float(&d, s, &out->b.failed)) return false;
        vcore_buf_add(&out->b, printed, vtext_j_float_repr(d, printed));
    }
    return true;
}

/* ---- str() -------------------------------------------------------------------------------------------------- */

static void repr_string(vcore_buf *b, vcore_str s) {
    const char *quote = memchr(s.p, '\'', s.n) && !memchr(s.p, '"', s.n) ? "\"" : "'";
    vcore_buf_puts(b, quote);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\' || c == *quote)
            vcore_buf_printf(b, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            vcore_buf_puts(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if ((unsigned char)c < 0x20 || c == 0x7F)
            vcore_buf_printf(b, "\\x%02x", (unsigned)c);
        else
            vcore_buf_add(b, &c, 1);
    }
    vcore_buf_puts(b, quote);
}

static void repr(vcore_buf *b, const vcore_json *v) {
    vcore_str s;
    bool t = false;
    size_t i = 0;
    switch (vcore_json_kind_of(v)) {
    case VCORE_JSON_NULL: vcore_buf_puts(b, "None"); break;
    case VCORE_JSON_BOOL:
        vcore_json_bool(v, &t);
        vcore_buf_puts(b, t ? "True" : "False");
        break;
    case VCORE_JSON_STRING:
        vcore_json_string(v, &s);
        repr_string(b, s);
        break;
    case VCORE_JSON_ARRAY:
        vcore_buf_puts(b, "[");
        for (; i < vcore_json_count(v); i++) {
            if (i) vcore_buf_puts(b, ", ");
            repr(b, vcore_json_at(v, i));
        }
        vcore_buf_puts(b, "]");
        break;
    case VCORE_JSON_OBJECT:
        vcore_buf_puts(b, "{");
        for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it); i++) {
            if (i) vcore_buf_puts(b, ", ");
            repr_string(b, it.key);
            vcore_buf_puts(b, ": ");
            repr(b, it.value);
        }
        vcore_buf_puts(b, "}");
        break;
    default: vtext_c_put_value(b, v);
    }
}

void vtext_c_put_printed(vtext_c_out *out, const vcore_json *v) {
    vcore_buf b = { 0 };
    repr(&b, v);
    if (b.failed) out->b.failed = true;
    vcore_json_quote(&out->b, b.p, b.n);
    vcore_buf_free(&b);
}
