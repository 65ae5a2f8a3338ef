/* SPDX-License-Identifier: MIT */
/* Filters that make text or a number. */
#include "text/jinja/call.h"

#include <math.h>
#include <stdio.h>
#include <utf8proc.h>

static bool give_string(j_string s, j_value *out) {
    *out = vtext_j_string(s);
    return true;
}

static bool filter_string(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    return vtext_j_str(r, c->self, &s) && give_string(s, out);
}

static bool filter_case(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    j_case how = c->name[0] == 'u'   ? J_UPPER
                 : c->name[0] == 'l' ? J_LOWER
                 : c->name[0] == 't' ? J_JINJA_TITLE
                                     : J_CAPITALIZE;
    return vtext_j_str(r, c->self, &s) && vtext_j_recase(r, s, how, &s) && give_string(s, out);
}

static bool filter_trim(j_run *r, const j_call *c, j_value *out) {
    j_string s, chars = { 0 };
    bool given = c->arg[0].kind == J_STRING;
    if (!vtext_j_str(r, c->self, &s) || !vtext_j_arg_string(r, c, 0, &chars)) return false;
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    if (chars.n > 64 && !vtext_j_work(r, s.n * (chars.n / 64))) return false;
    return give_string(vtext_j_strip(s, given ? &chars : NULL, 3), out);
}

static bool filter_replace(j_run *r, const j_call *c, j_value *out) {
    j_string s, old, with;
    int64_t count = -1;
    return vtext_j_str(r, c->self, &s) && vtext_j_str(r, c->arg[0], &old)
           && vtext_j_str(r, c->arg[1], &with) && vtext_j_arg_int(r, c, 2, &count)
           && vtext_j_replace(r, s, old, with, count, out);
}

static bool filter_indent(j_run *r, const j_call *c, j_value *out) {
    j_string s, with = { 0 }, newline = J_LITERAL("\n");
    int64_t width = 4;
    bool first = vtext_j_arg_bool(c, 1), blank = vtext_j_arg_bool(c, 2);
    j_list lines = { 0 };
    j_text t = { 0 }, spaces = { 0 };
    if (c->self.kind == J_UNDEFINED) return vtext_j_use_undefined(r, c->self);
    if (c->self.kind != J_STRING)
        return vtext_j_fail(r, "filter 'indent' needs a string, not %s", vtext_j_type(c->self));
    if (c->arg[0].kind == J_STRING) {
        with = c->arg[0].u.s;
    } else {
        if (!vtext_j_arg_int(r, c, 0, &width) || !vtext_j_pad(r, &spaces, J_LITERAL(" "), width))
            return false;
        with = vtext_j_done(&spaces);
    }
    if (!vtext_j_concat(r, c->self.u.s, newline, &s) || !vtext_j_split_lines(r, s, false, &lines))
        return false;
    for (size_t i = 0; i < lines.n; i++) {
        j_string line = lines.item[i].u.s;
        bool shift = i == 0 ? first : blank || line.n > 0;
        if ((i && !vtext_j_add(r, &t, newline)) || (shift && !vtext_j_add(r, &t, with))
            || !vtext_j_add(r, &t, line))
            return false;
    }
    return give_string(vtext_j_done(&t), out);
}

static bool filter_center(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    int64_t width = 80;
    j_text t = { 0 };
    if (!vtext_j_str(r, c->self, &s) || !vtext_j_arg_int(r, c, 0, &width)) return false;
    int64_t n = (int64_t)vtext_j_chars(s), pad = width > n ? width - n : 0;
    int64_t left = pad / 2 + (pad & width & 1);
    return vtext_j_pad(r, &t, J_LITERAL(" "), left) && vtext_j_add(r, &t, s)
           && vtext_j_pad(r, &t, J_LITERAL(" "), pad - left) && give_string(vtext_j_done(&t), out);
}

static bool filter_format(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    return vtext_j_str(r, c->self, &s) && vtext_j_percent_args(r, s, c->args, out);
}

static bool filter_truncate(j_run *r, const j_call *c, j_value *out) {
    j_string s, end = J_LITERAL("...");
    int64_t length = 255, leeway = 5;
    int64_t n = 0;
    if (!vtext_j_length(r, c->self, &n) || !vtext_j_arg_int(r, c, 0, &length)
        || !vtext_j_arg_string(r, c, 2, &end) || !vtext_j_arg_int(r, c, 3, &leeway))
        return false;
    int64_t kept = length - (int64_t)vtext_j_chars(end);
    if (kept < 0 || leeway < 0) return vtext_j_fail(r, "filter 'truncate': length is too small");
    *out = c->self;
    if (n - leeway <= length) return true;
    if (c->self.kind != J_STRING)
        return vtext_j_fail(r, "filter 'truncate' needs a string, not %s", vtext_j_type(c->self));
    s = c->self.u.s;
    s = vtext_j_sub(s, 0, vtext_j_offset(s, (size_t)kept));
    if (!vtext_j_arg_bool(c, 1)) {
        size_t at;
        bool found;
        if (!vtext_j_rfind(r, s, J_LITERAL(" "), &at, &found)) return false;
        if (found) s = vtext_j_sub(s, 0, at);
    }
    out->kind = J_STRING;
    return vtext_j_concat(r, s, end, &out->u.s);
}

/* Escapes of HTML, which transformers leaves to templates that ask for it. */
static bool filter_escape(j_run *r, const j_call *c, j_value *out) {
    static const char from[] = "&<>\"'";
    static const char *const to[] = { "&amp;", "&lt;", "&gt;", "&#34;", "&#39;" };
    j_string s;
    j_text t = { 0 };
    if (!vtext_j_str(r, c->self, &s)) return false;
    size_t plain = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *hit = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (!hit) continue;
        const char *escaped = to[hit - from];
        if (!vtext_j_add(r, &t, vtext_j_sub(s, plain, i))
            || !vtext_j_add_bytes(r, &t, escaped, strlen(escaped), s.user && s.user[i]))
            return false;
        plain = i + 1;
    }
    return vtext_j_add(r, &t, vtext_j_sub(s, plain, s.n)) && give_string(vtext_j_done(&t), out);
}

static bool quote_url(j_run *r, j_string s, bool slash, j_text *t) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char b = (unsigned char)s.p[i];
        bool user = s.user && s.user[i],
             safe = (b >= '0' && b <= '9') || ((b | 32) >= 'a' && (b | 32) <= 'z');
        char text[4];
        safe |= b && (strchr("_.-~", b) || (slash && b == '/'));
        int n =
            safe ? snprintf(text, sizeof text, "%c", b) : snprintf(text, sizeof text, "%%%02X", b);
        if (!slash && b == ' ') n = snprintf(text, sizeof text, "+");
        if (!vtext_j_add_bytes(r, t, text, (size_t)n, user)) return false;
    }
    return vtext_j_work(r, s.n);
}

/* Text, or the key=value pairs of a query. */
static bool filter_urlencode(j_run *r, const j_call *c, j_value *out) {
    j_text t = { 0 };
    j_string s;
    j_list items, pair;
    if (c->self.kind == J_STRING || !vtext_j_iterable(c->self)) {
        return vtext_j_str(r, c->self, &s) && quote_url(r, s, true, &t)
               && give_string(vtext_j_done(&t), out);
    }
    struct j_view view = { c->self.u.dict, J_VIEW_ITEMS };
    j_value pairs = c->self.kind == J_DICT ? (j_value) { J_VIEW, { .view = &view } } : c->self;
    if (!vtext_j_items(r, pairs, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        j_string key, value;
        if (!vtext_j_items(r, items.item[i], &pair)) return false;
        if (pair.n != 2) return vtext_j_fail(r, "filter 'urlencode' needs pairs");
        if (!vtext_j_str(r, pair.item[0], &key) || !vtext_j_str(r, pair.item[1], &value)
            || (i && !vtext_j_add_bytes(r, &t, "&", 1, false)) || !quote_url(r, key, false, &t)
            || !vtext_j_add_bytes(r, &t, "=", 1, false) || !quote_url(r, value, false, &t))
            return false;
    }
    return give_string(vtext_j_done(&t), out);
}

static bool filter_wordcount(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    int64_t n = 0;
    bool inside = false;
    if (!vtext_j_str(r, c->self, &s) || !vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    for (size_t pos = 0; pos < s.n;) {
        uint32_t cp;
        vtext_j_next_char(s, &pos, &cp);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
        bool word = cp == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO)
                    || (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
        n += word && !inside;
        inside = word;
    }
    *out = vtext_j_int(n);
    return true;
}

static bool filter_tojson(j_run *r, const j_call *c, j_value *out) {
    j_json_style style = { .item_separator = J_LITERAL(", "), .key_separator = J_LITERAL(": ") };
    j_value indent = c->arg[1], separators = c->arg[2];
    j_text t = { 0 }, spaces = { 0 };
    style.ascii = vtext_j_arg_bool(c, 0);
    style.sort = vtext_j_arg_bool(c, 3);
    if (indent.kind == J_STRING) {
        style.indented = true;
        style.indent = indent.u.s;
    } else if (indent.kind != J_MISSING && indent.kind != J_NONE) {
        int64_t width = 0;
        if (!vtext_j_arg_int(r, c, 1, &width) || !vtext_j_pad(r, &spaces, J_LITERAL(" "), width))
            return false;
        style.indented = true;
        style.indent = vtext_j_done(&spaces);
    }
    if (style.indented) style.item_separator = J_LITERAL(",");
    if (separators.kind != J_MISSING && separators.kind != J_NONE) {
        j_list pair;
        if (!vtext_j_items(r, separators, &pair)) return false;
        if (pair.n != 2 || pair.item[0].kind != J_STRING || pair.item[1].kind != J_STRING)
            return vtext_j_fail(r, "filter 'tojson': separators must be two strings");
        style.item_separator = pair.item[0].u.s;
        style.key_separator = pair.item[1].u.s;
    }
    return vtext_j_json(r, c->self, &style, &t) && give_string(vtext_j_done(&t), out);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Text of a number as Python reads one: blanks around, underscores between digits. */
static bool clean_number(j_string s, char *out, size_t cap) {
    size_t n = 0;
    s = vtext_j_strip(s, NULL, 3);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_' && i > 0 && i + 1 < s.n && s.p[i - 1] != '_') continue;
        if (s.p[i] == '_' || s.p[i] == 0 || n + 1 == cap) return false;
        out[n++] = s.p[i];
    }
    out[n] = 0;
    return n > 0;
}

static bool parse_int(const char *s, int64_t base, int64_t *out, bool *overflow) {
    bool negative = *s == '-', any = false;
    int64_t value = 0;
    s += *s == '-' || *s == '+';
    char prefix = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : 0;
    if (prefix && s[0] == '0' && (s[1] | 32) == prefix) s += 2;
    for (; *s; s++, any = true) {
        int d = *s >= '0' && *s <= '9'                 ? *s - '0'
                : (*s | 32) >= 'a' && (*s | 32) <= 'z' ? (*s | 32) - 'a' + 10
                                                       : 99;
        if (d >= base) return false;
        *overflow |= __builtin_mul_overflow(value, base, &value)
                     || __builtin_sub_overflow(value, (int64_t)d, &value);
    }
    *overflow |= !negative && __builtin_sub_overflow((int64_t)0, value, &value);
    *out = value;
    return any;
}

static bool text_to_float(const char *s, double *out) {
    for (const char *p = s; *p; p++)
        if (*p == 'x' || *p == 'X' || *p == '(' || (*p >= 9 && *p <= 13) || *p == ' ') return false;
    return vtext_j_parse_float(s, out);
}

static bool float_to_int(j_run *r, double f, j_value otherwise, j_value *out) {
    if (isnan(f) || isinf(f))
        *out = otherwise;
    else if (!(fabs(f) < 9.2e18))
        return vtext_j_fail_status(r, VLM_ERR_LIMIT, "an integer does not fit 64 bits");
    else
        *out = vtext_j_int((int64_t)f);
    return true;
}

static bool filter_int(j_run *r, const j_call *c, j_value *out) {
    j_value otherwise = c->arg[0].kind == J_MISSING ? vtext_j_int(0) : c->arg[0];
    int64_t base = 10, value;
    char text[400];
    double f;
    bool overflow = false;
    if (!vtext_j_arg_int(r, c, 1, &base)) return false;
    if (c->self.kind == J_UNDEFINED) return vtext_j_use_undefined(r, c->self);
    if (vtext_j_is_integer(c->self))
        *out = vtext_j_int(vtext_j_integer(c->self));
    else if (c->self.kind == J_FLOAT)
        return float_to_int(r, c->self.u.f, otherwise, out);
    else if (c->self.kind != J_STRING || !clean_number(c->self.u.s, text, sizeof text))
        *out = otherwise;
    else if (parse_int(text, base, &value, &overflow)) {
        if (overflow)
            return vtext_j_fail_status(r, VLM_ERR_LIMIT, "an integer does not fit 64 bits");
        *out = vtext_j_int(value);
    } else if (text_to_float(text, &f))
        return float_to_int(r, f, otherwise, out);
    else
        *out = otherwise;
    return true;
}

static bool filter_float(j_run *r, const j_call *c, j_value *out) {
    char text[400];
    double f;
    if (c->self.kind == J_UNDEFINED) return vtext_j_use_undefined(r, c->self);
    if (vtext_j_is_number(c->self))
        *out = vtext_j_float(vtext_j_number(c->self));
    else if (c->self.kind == J_STRING && clean_number(c->self.u.s, text, sizeof text)
             && text_to_float(text, &f))
        *out = vtext_j_float(f);
    else
        *out = c->arg[0].kind == J_MISSING ? vtext_j_float(0) : c->arg[0];
    return true;
}

static bool filter_abs(j_run *r, const j_call *c, j_value *out) {
    if (c->self.kind == J_UNDEFINED) return vtext_j_use_undefined(r, c->self);
    if (!vtext_j_is_number(c->self))
        return vtext_j_fail(r, "bad operand type for abs(): '%s'", vtext_j_type(c->self));
    if (c->self.kind == J_FLOAT)
        *out = vtext_j_float(fabs(c->self.u.f));
    else if (vtext_j_integer(c->self) < 0)
        return vtext_j_binary(r, OP_SUB, vtext_j_int(0), c->self, out);
    else
        *out = vtext_j_int(vtext_j_integer(c->self));
    return true;
}

/* Rounds decimally, ties as the exact binary value and then to even, as Python does: by printing.
 */
static double round_common(double x, int64_t precision) {
    char text[700];
    double out;
    if (isnan(x) || isinf(x) || precision > 300) return x;
    if (precision < 0) {
        double scale = pow(10, (double)(-precision));
        return precision < -308 ? 0 * x : rint(x / scale) * scale;
    }
    snprintf(text, sizeof text, "%.*f", (int)precision, x);
    for (char *p = text; *p; p++)
        if (*p != '-' && (*p < '0' || *p > '9')) *p = '.';
    return vtext_j_parse_float(text, &out) ? out : x;
}

static bool filter_round(j_run *r, const j_call *c, j_value *out) {
    int64_t precision = 0;
    j_string method = J_LITERAL("common");
    if (!vtext_j_arg_int(r, c, 0, &precision) || !vtext_j_arg_string(r, c, 1, &method))
        return false;
    if (c->self.kind == J_UNDEFINED) return vtext_j_use_undefined(r, c->self);
    if (!vtext_j_is_number(c->self))
        return vtext_j_fail(r, "filter 'round' needs a number, not %s", vtext_j_type(c->self));
    double x = vtext_j_number(c->self), scale = pow(10, (double)precision);
    if (vtext_j_is(method, "common")) {
        if (vtext_j_is_integer(c->self) && precision >= 0)
            *out = vtext_j_int(vtext_j_integer(c->self));
        else if (vtext_j_is_integer(c->self))
            return float_to_int(r, round_common(x, precision), vtext_j_int(0), out);
        else
            *out = vtext_j_float(round_common(x, precision));
    } else if (vtext_j_is(method, "ceil")) {
        *out = vtext_j_float((ceil(x * scale) + 0.0) / scale);
    } else if (vtext_j_is(method, "floor")) {
        *out = vtext_j_float((floor(x * scale) + 0.0) / scale);
    } else {
        return vtext_j_fail(r, "filter 'round': method must be common, ceil or floor");
    }
    return true;
}

static bool filter_filesizeformat(j_run *r, const j_call *c, j_value *out) {
    static const char units[] = "kMGTPEZY";
    bool binary = vtext_j_arg_bool(c, 0);
    double base = binary ? 1024 : 1000, bytes, unit = base;
    char text[400]; /* 1e308 in the largest unit */
    j_value v = vtext_j_float(0);
    j_text t = { 0 };
    size_t i = 0;
    if (!filter_float(r, &(j_call) { .self = c->self, .arg = { vtext_j_none() } }, &v))
        return false;
    if (v.kind != J_FLOAT) return vtext_j_fail(r, "filter 'filesizeformat' needs a number");
    bytes = v.u.f;
    if (isinf(bytes) && bytes < 0)
        return vtext_j_fail(r, "cannot convert float infinity to integer");
    if (bytes == 1)
        snprintf(text, sizeof text, "1 Byte");
    else if (bytes < base)
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes) + 0.0);
    else {
        while (i < 7 && !(bytes < unit * base)) unit *= base, i++;
        double size = base * bytes / (unit * base);
        int n = snprintf(text, sizeof text - 8, "%.1f", size);
        if (isfinite(size)) text[n - 2] = '.';
        snprintf(text + n, 8, " %c%sB", binary && i == 0 ? 'K' : units[i], binary ? "i" : "");
    }
    return vtext_j_add_bytes(r, &t, text, strlen(text), false)
           && give_string(vtext_j_done(&t), out);
}

const j_builtin vtext_j_string_filters[] = {
    { "string", filter_string, "", 0 },
    { "safe", filter_string, "", 0 },
    { "trim", filter_trim, "chars", 0 },
    { "upper", filter_case, "", 0 },
    { "lower", filter_case, "", 0 },
    { "title", filter_case, "", 0 },
    { "capitalize", filter_case, "", 0 },
    { "replace", filter_replace, "old new count", 2 },
    { "indent", filter_indent, "width first blank", 0 },
    { "center", filter_center, "width", 0 },
    { "format", filter_format, "*", 0 },
    { "truncate", filter_truncate, "length killwords end leeway", 0 },
    { "e", filter_escape, "", 0 },
    { "escape", filter_escape, "", 0 },
    { "forceescape", filter_escape, "", 0 },
    { "urlencode", filter_urlencode, "", 0 },
    { "wordcount", filter_wordcount, "", 0 },
    { "tojson", filter_tojson, "ensure_ascii indent separators sort_keys", 0 },
    { "int", filter_int, "default base", 0 },
    { "float", filter_float, "default", 0 },
    { "abs", filter_abs, "", 0 },
    { "round", filter_round, "precision method", 0 },
    { "filesizeformat", filter_filesizeformat, "binary", 0 },
    { NULL, NULL, NULL, 0 },
};
