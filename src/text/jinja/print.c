/* SPDX-License-Identifier: MIT */
/* Values as text: Python's str() and repr(), and json.dumps as transformers' tojson filter calls
 * it. */
#include "text/jinja/ast.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool puts_template(j_run *r, j_text *t, const char *s) {
    return vtext_j_add_bytes(r, t, s, strlen(s), false);
}

/* Shortest digits that read back as f; the decimal point stands behind the first of them, times
 * 10^*exp. snprintf and strtod may both use a comma here; digits are all that is kept. */
static int shortest_digits(double f, char digits[20], int *exp) {
    char text[40];
    int n = 0;
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, f);
        if (strtod(text, NULL) == f) break;
    }
    char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    *exp = atoi(p + 1);
    while (n > 1 && digits[n - 1] == '0') n--;
    return n;
}

size_t vtext_j_float_repr(double f, char out[40]) {
    char digits[20] = { '0' };
    int exp, n;
    size_t at = 0;
    if (isnan(f)) return (size_t)snprintf(out, 40, "nan");
    if (signbit(f)) out[at++] = '-';
    if (isinf(f)) return at + (size_t)snprintf(out + at, 40 - at, "inf");
    n = shortest_digits(fabs(f), digits, &exp);
    if (exp < -4 || exp >= 16) {
        out[at++] = digits[0];
        if (n > 1) out[at++] = '.';
        for (int i = 1; i < n; i++) out[at++] = digits[i];
        return at + (size_t)snprintf(out + at, 40 - at, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
    }
    if (exp < 0) {
        out[at++] = '0';
        out[at++] = '.';
        for (int i = -1; i > exp; i--) out[at++] = '0';
        for (int i = 0; i < n; i++) out[at++] = digits[i];
    } else {
        for (int i = 0; i <= exp || i < n; i++) {
            if (i == exp + 1) out[at++] = '.';
            out[at++] = i < n ? digits[i] : '0';
        }
        if (n <= exp + 1) {
            out[at++] = '.';
            out[at++] = '0';
        }
    }
    out[at] = 0;
    return at;
}

static bool put_float(j_run *r, j_text *t, double f) {
    char text[40];
    return vtext_j_add_bytes(r, t, text, vtext_j_float_repr(f, text), false);
}

static bool put_int(j_run *r, j_text *t, int64_t i) {
    char text[24];
    return vtext_j_add_bytes(r, t, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)i),
                             false);
}

static bool repr_string(j_run *r, j_string s, j_text *out) {
    bool has_single = s.n && memchr(s.p, '\'', s.n), has_double = s.n && memchr(s.p, '"', s.n);
    char quote = has_single && !has_double ? '"' : '\'';
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n) || !vtext_j_add_bytes(r, out, &quote, 1, false))
        return false;
    size_t plain = 0; /* from here on nothing needed an escape */
    for (size_t pos = 0; pos < s.n;) {
        uint32_t cp;
        size_t begin = pos;
        char escaped[24];
        j_string c = vtext_j_next_char(s, &pos, &cp);
        int n = 0;
        if (cp == (uint32_t)quote || cp == '\\')
            n = snprintf(escaped, sizeof escaped, "\\%c", (int)cp);
        else if (cp == '\n')
            n = snprintf(escaped, sizeof escaped, "\\n");
        else if (cp == '\r')
            n = snprintf(escaped, sizeof escaped, "\\r");
        else if (cp == '\t')
            n = snprintf(escaped, sizeof escaped, "\\t");
        else if (!vtext_j_is_printable(cp))
            n = snprintf(escaped, sizeof escaped,
                         cp < 0x100     ? "\\x%02x"
                         : cp < 0x10000 ? "\\u%04x"
                                        : "\\U%08x",
                         (unsigned)cp);
        if (n == 0) continue;
        if (!vtext_j_add(r, out, vtext_j_sub(s, plain, begin))
            || !vtext_j_add_bytes(r, out, escaped, (size_t)n, c.user && c.user[0]))
            return false;
        plain = pos;
    }
    return vtext_j_add(r, out, vtext_j_sub(s, plain, s.n))
           && vtext_j_add_bytes(r, out, &quote, 1, false);
}

static bool repr_list(j_run *r, const j_list *list, const char *open, const char *close,
                      j_text *out) {
    if (!puts_template(r, out, open)) return false;
    for (size_t i = 0; i < list->n; i++) {
        if (i && !puts_template(r, out, ", ")) return false;
        if (!vtext_j_repr(r, list->item[i], out)) return false;
    }
    if (list->n == 1 && *close == ')' && close[1] == 0 && !puts_template(r, out, ",")) return false;
    return puts_template(r, out, close);
}

static bool repr_dict(j_run *r, const j_dict *d, j_text *out) {
    if (!puts_template(r, out, "{")) return false;
    for (size_t i = 0; i < d->n; i++) {
        if ((i && !puts_template(r, out, ", ")) || !vtext_j_repr(r, d->entry[i].key, out)
            || !puts_template(r, out, ": ") || !vtext_j_repr(r, d->entry[i].value, out))
            return false;
    }
    return puts_template(r, out, "}");
}

static bool repr_range(j_run *r, const struct j_range *g, j_text *out) {
    return puts_template(r, out, "range(") && put_int(r, out, g->start)
           && puts_template(r, out, ", ") && put_int(r, out, g->stop)
           && (g->step == 1 || (puts_template(r, out, ", ") && put_int(r, out, g->step)))
           && puts_template(r, out, ")");
}

static bool repr_view(j_run *r, j_value v, j_text *out) {
    j_list items;
    return vtext_j_items(r, v, &items) && puts_template(r, out, vtext_j_type(v))
           && repr_list(r, &items, "([", "])", out);
}

static bool repr_macro(j_run *r, const j_macro *m, j_text *out) {
    if (m->node->kind == N_CALL_BLOCK) return puts_template(r, out, "<Macro anonymous>");
    return puts_template(r, out, "<Macro ") && repr_string(r, m->node->name, out)
           && puts_template(r, out, ">");
}

static bool repr_loop(j_run *r, j_loop *loop, j_text *out) {
    size_t n;
    return vtext_j_loop_length(r, loop, &n) && puts_template(r, out, "<LoopContext ")
           && put_int(r, out, loop->index0 + 1) && puts_template(r, out, "/")
           && put_int(r, out, (int64_t)n) && puts_template(r, out, ">");
}

static bool repr_value(j_run *r, j_value v, j_text *out) {
    switch (v.kind) {
    case J_MISSING:
    case J_UNDEFINED: return puts_template(r, out, "Undefined");
    case J_NONE: return puts_template(r, out, "None");
    case J_BOOL: return puts_template(r, out, v.u.b ? "True" : "False");
    case J_INT: return put_int(r, out, v.u.i);
    case J_FLOAT: return put_float(r, out, v.u.f);
    case J_STRING: return repr_string(r, v.u.s, out);
    case J_LIST: return repr_list(r, v.u.list, "[", "]", out);
    case J_TUPLE: return repr_list(r, v.u.list, "(", ")", out);
    case J_DICT: return repr_dict(r, v.u.dict, out);
    case J_VIEW: return repr_view(r, v, out);
    case J_RANGE: return repr_range(r, v.u.range, out);
    case J_NAMESPACE:
        return puts_template(r, out, "<Namespace ") && repr_dict(r, v.u.dict, out)
               && puts_template(r, out, ">");
    case J_MACRO: return repr_macro(r, v.u.macro, out);
    case J_LOOP: return repr_loop(r, v.u.loop, out);
    default: /* Python prints an address here */
        return puts_template(r, out, "<") && puts_template(r, out, vtext_j_type(v))
               && puts_template(r, out, ">");
    }
}

bool vtext_j_repr(j_run *r, j_value v, j_text *out) {
    if (!vtext_j_work(r, 0)) return false;
    if (++r->frames > J_MAX_FRAMES)
        return vtext_j_fail_status(r, VLM_ERR_LIMIT, "values nest too deep to print");
    bool done = repr_value(r, v, out);
    r->frames--;
    return done;
}

bool vtext_j_str(j_run *r, j_value v, j_string *out) {
    j_text t = { 0 };
    if (v.kind == J_STRING) {
        *out = v.u.s;
        return true;
    }
    if (v.kind != J_UNDEFINED && !vtext_j_repr(r, v, &t)) return false;
    *out = vtext_j_done(&t);
    return true;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static bool json_string(j_run *r, j_string s, const j_json_style *style, j_text *out) {
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n) || !puts_template(r, out, "\"")) return false;
    size_t plain = 0; /* from here on nothing needed an escape */
    for (size_t pos = 0; pos < s.n;) {
        uint32_t cp;
        size_t begin = pos;
        char escaped[24];
        j_string c = vtext_j_next_char(s, &pos, &cp);
        const char *simple = cp && cp < 128 ? strchr(from, (int)cp) : NULL;
        int n = 0;
        if (simple) {
            n = snprintf(escaped, sizeof escaped, "\\%c", to[simple - from]);
        } else if (cp < 32 || (style->ascii && cp >= 127 && cp < 0x10000)) {
            n = snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)cp);
        } else if (style->ascii && cp >= 0x10000) {
            unsigned rest = (unsigned)cp - 0x10000;
            n = snprintf(escaped, sizeof escaped, "\\u%04x\\u%04x", 0xD800 + (rest >> 10),
                         0xDC00 + (rest & 0x3FF));
        }
        if (n == 0) continue;
        if (!vtext_j_add(r, out, vtext_j_sub(s, plain, begin))
            || !vtext_j_add_bytes(r, out, escaped, (size_t)n, c.user && c.user[0]))
            return false;
        plain = pos;
    }
    return vtext_j_add(r, out, vtext_j_sub(s, plain, s.n)) && puts_template(r, out, "\"");
}

static bool json_float(j_run *r, double f, j_text *out) {
    if (isnan(f)) return puts_template(r, out, "NaN");
    if (isinf(f)) return puts_template(r, out, f < 0 ? "-Infinity" : "Infinity");
    return put_float(r, out, f);
}

static bool json_line(j_run *r, const j_json_style *style, int depth, j_text *out) {
    return !style->indented
           || (puts_template(r, out, "\n") && vtext_j_pad(r, out, style->indent, depth));
}

static bool json_value(j_run *r, j_value v, const j_json_style *style, int depth, j_text *out);

static bool json_list(j_run *r, const j_list *list, const j_json_style *style, int depth,
                      j_text *out) {
    if (list->n == 0) return puts_template(r, out, "[]");
    if (!puts_template(r, out, "[")) return false;
    for (size_t i = 0; i < list->n; i++) {
        if ((i && !vtext_j_add(r, out, style->item_separator))
            || !json_line(r, style, depth + 1, out)
            || !json_value(r, list->item[i], style, depth + 1, out))
            return false;
    }
    return json_line(r, style, depth, out) && puts_template(r, out, "]");
}

static bool json_key(j_run *r, j_value key, const j_json_style *style, j_text *out) {
    j_text t = { 0 };
    if (key.kind == J_STRING) return json_string(r, key.u.s, style, out);
    if (key.kind == J_TUPLE)
        return vtext_j_fail(r, "keys must be str, int, float, bool or None, not tuple");
    return json_value(r, key, style, 0, &t) && json_string(r, vtext_j_done(&t), style, out);
}

static bool json_dict(j_run *r, const j_dict *d, const j_json_style *style, int depth,
                      j_text *out) {
    if (d->n == 0) return puts_template(r, out, "{}");
    j_value *keys = vtext_j_alloc(r, d->n, sizeof *keys),
            *index = vtext_j_alloc(r, d->n, sizeof *keys);
    if (!keys || !index || !puts_template(r, out, "{")) return false;
    for (size_t i = 0; i < d->n; i++) {
        keys[i] = d->entry[i].key;
        index[i] = vtext_j_int((int64_t)i);
    }
    if (style->sort && !vtext_j_sort(r, index, keys, d->n, false)) return false;
    for (size_t i = 0; i < d->n; i++) {
        const j_entry *e = &d->entry[index[i].u.i];
        if ((i && !vtext_j_add(r, out, style->item_separator))
            || !json_line(r, style, depth + 1, out) || !json_key(r, e->key, style, out)
            || !vtext_j_add(r, out, style->key_separator)
            || !json_value(r, e->value, style, depth + 1, out))
            return false;
    }
    return json_line(r, style, depth, out) && puts_template(r, out, "}");
}

static bool json_value(j_run *r, j_value v, const j_json_style *style, int depth, j_text *out) {
    if (!vtext_j_work(r, 0)) return false;
    switch (v.kind) {
    case J_NONE: return puts_template(r, out, "null");
    case J_BOOL: return puts_template(r, out, v.u.b ? "true" : "false");
    case J_INT: return put_int(r, out, v.u.i);
    case J_FLOAT: return json_float(r, v.u.f, out);
    case J_STRING: return json_string(r, v.u.s, style, out);
    case J_LIST:
    case J_TUPLE:
    case J_DICT: break;
    default: return vtext_j_fail(r, "Object of type %s is not JSON serializable", vtext_j_type(v));
    }
    if (++r->frames > J_MAX_FRAMES)
        return vtext_j_fail_status(r, VLM_ERR_LIMIT, "values nest too deep to print");
    bool done = v.kind == J_DICT ? json_dict(r, v.u.dict, style, depth, out)
                                 : json_list(r, v.u.list, style, depth, out);
    r->frames--;
    return done;
}

bool vtext_j_json(j_run *r, j_value v, const j_json_style *style, j_text *out) {
    return json_value(r, v, style, 0, out);
}
