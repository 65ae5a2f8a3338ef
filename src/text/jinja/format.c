/* SPDX-License-Identifier: MIT */
/* How one value is printed by a format specification, and "..." % values. What is printed of a
 * value keeps the value's origin, the text around it the format's; padding belongs to the template.
 * The fields of str.format are fields.c's. */
#include "text/jinja/call.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* How one value is to be printed. */
typedef struct spec {
    j_string fill;
    char align; /* < > ^ = or 0 */
    char sign;  /* + or blank, else 0 */
    bool alternate, zero;
    char group;               /* , or _ between digits, else 0 */
    int64_t width, precision; /* precision -1: none */
    char type;
} spec;

#define MAX_PRECISION 300 /* digits behind the point of a float */

/* lead: bytes of s that "=" leaves in front of the padding. */
static bool align_text(j_run *r, j_text *t, j_string s, size_t lead, const spec *f, char align) {
    int64_t n = (int64_t)vtext_j_chars(s), pad = f->width > n ? f->width - n : 0, left = 0;
    if (align == '>' || align == '=') left = pad;
    if (align == '^') left = pad / 2;
    if (align != '=') lead = 0;
    return vtext_j_add(r, t, vtext_j_sub(s, 0, lead)) && vtext_j_pad(r, t, f->fill, left)
           && vtext_j_add(r, t, vtext_j_sub(s, lead, s.n))
           && vtext_j_pad(r, t, f->fill, pad - left);
}

/* A number's digits with its separators; where zeros fill the width, they are grouped, too. */
static bool add_grouped(j_run *r, j_text *t, j_string digits, const spec *f, int64_t width) {
    int64_t left = (int64_t)digits.n,
            size = f->group == '_' && strchr("boxX", f->type) && f->type ? 4 : 3;
    size_t begin = t->n;
    if (!f->group || digits.n == 0) return vtext_j_add(r, t, digits);
    if (!vtext_j_work(r, width > 0 ? J_PER_CHARACTER * (size_t)width : 0)) return false;
    for (;;) { /* from the last digit to the first */
        int64_t n = left > width ? left : width;
        n = n < 1 ? 1 : n > size ? size : n;
        for (int64_t i = 0; i < n; i++, left--)
            if (!vtext_j_add_bytes(r, t, left > 0 ? digits.p + left - 1 : "0", 1, false))
                return false;
        width -= n + 1;
        if (left <= 0 && width < 0) break;
        if (!vtext_j_add_bytes(r, t, &f->group, 1, false)) return false;
    }
    for (size_t i = begin, k = t->n - 1; i < k; i++, k--) {
        char c = t->p[i];
        t->p[i] = t->p[k];
        t->p[k] = c;
    }
    return true;
}

/* Sign, prefix, digits and what stands behind them (point, exponent, percent sign). */
static bool put_number(j_run *r, j_text *t, bool negative, const char *prefix, j_string digits,
                       j_string rest, const spec *f) {
    j_text number = { 0 };
    char sign = negative ? '-' : f->sign, align = f->align ? f->align : f->zero ? '=' : '>';
    size_t lead = (sign != 0) + strlen(prefix);
    bool zeros = align == '=' && f->fill.n == 1 && f->fill.p[0] == '0';
    return (!sign || vtext_j_add_bytes(r, &number, &sign, 1, false))
           && vtext_j_add_bytes(r, &number, prefix, strlen(prefix), false)
           && add_grouped(r, &number, digits, f, zeros ? f->width - (int64_t)(lead + rest.n) : 0)
           && vtext_j_add(r, &number, rest)
           && align_text(r, t, vtext_j_done(&number), lead, f, align);
}

static bool put_integer(j_run *r, j_text *t, int64_t i, int64_t least, const spec *f) {
    char reversed[64], prefix[3] = { '0', f->type, 0 };
    unsigned base = f->type == 'x' || f->type == 'X' ? 16
                    : f->type == 'o'                 ? 8
                    : f->type == 'b'                 ? 2
                                                     : 10;
    uint64_t value = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    size_t n = sizeof reversed;
    j_text digits = { 0 };
    do {
        reversed[--n] = (f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
        value /= base;
    } while (value);
    if (!f->alternate || base == 10) prefix[0] = 0;
    return vtext_j_pad(r, &digits, J_LITERAL("0"), least - (int64_t)(sizeof reversed - n))
           && vtext_j_add_bytes(r, &digits, reversed + n, sizeof reversed - n, false)
           && put_number(r, t, i < 0, prefix, vtext_j_done(&digits), J_LITERAL(""), f);
}

/* snprintf's point may be a comma in the caller's locale: whatever stands between digits is a
 * point. */
static void fix_point(char *s) {
    for (; *s; s++)
        if (!(*s >= '0' && *s <= '9') && !strchr("+-eEinfaINFA ", *s)) *s = '.';
}

static void print_float(char *out, size_t n, char type, bool alternate, int precision, double x) {
    char format[8] = "%#.*", *p = format + (alternate ? 4 : 3);
    if (!alternate) memcpy(format, "%.*", 4);
    *p++ = type;
    *p = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(out, n, format, precision, x);
#pragma GCC diagnostic pop
    fix_point(out);
}

/* Takes zeros behind the point off, and the point; keep: one digit behind it stays. */
static void drop_zeros(char *number, bool keep) {
    char *end = strchr(number, 'e'), *rest = end = end ? end : number + strlen(number);
    if (!memchr(number, '.', (size_t)(end - number))) return;
    while (end[-1] == '0' && !(keep && end[-2] == '.')) end--;
    if (end[-1] == '.') end--;
    memmove(end, rest, strlen(rest) + 1);
}

/* No type: the shortest text; with a precision as 'g', but never without a digit behind the point
 * and one digit earlier with an exponent. */
static void print_plain(char *out, size_t n, const spec *f, int precision, double x) {
    if (f->precision < 0 || !isfinite(x)) {
        vtext_j_float_repr(x, out);
    } else {
        int digits = precision > 0 ? precision : 1;
        print_float(out, n, 'e', false, digits - 1, x);
        int point = atoi(strchr(out, 'e') + 1) + 1; /* digits in front of it */
        bool fixed = point > -4 && point < digits;
        if (fixed) print_float(out, n, 'f', false, digits - point, x);
        if (!f->alternate) drop_zeros(out, fixed);
    }
    char *e = strchr(out, 'e');
    if (f->alternate && e && !memchr(out, '.', (size_t)(e - out))) {
        memmove(e + 1, e, strlen(e) + 1);
        *e = '.';
    }
}

static bool put_float(j_run *r, j_text *t, double x, const spec *f) {
    char text[700];
    char type = f->type == 'n' ? 'g' : f->type;
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    if (f->precision > MAX_PRECISION)
        return vtext_j_fail_limit(r, MAX_PRECISION, "a format of more than %d digits",
                                  MAX_PRECISION);
    bool negative = signbit(x) && !isnan(x);
    if (isnan(x) || signbit(x)) x = isnan(x) ? (double)NAN : -x;
    if (type == 0)
        print_plain(text, sizeof text, f, precision, x);
    else
        print_float(text, sizeof text - 2, type == '%' ? 'f' : type, f->alternate, precision,
                    type == '%' ? x * 100 : x);
    const char *number = text[0] == '-' ? text + 1 : text; /* a sign of NaN */
    size_t digits = strspn(number, "0123456789");
    j_text rest = { 0 };
    return vtext_j_add_bytes(r, &rest, number + digits, strlen(number + digits), false)
           && (type != '%' || vtext_j_add_bytes(r, &rest, "%", 1, false))
           && put_number(r, t, negative, "", (j_string) { number, digits, NULL },
                         vtext_j_done(&rest), f);
}

static bool put_string(j_run *r, j_text *t, j_string s, const spec *f, char align) {
    if (f->precision >= 0) s = vtext_j_sub(s, 0, vtext_j_offset(s, (size_t)f->precision));
    return align_text(r, t, s, 0, f, f->align ? f->align : align);
}

/* Text as repr() has it, in ASCII. */
static bool ascii(j_run *r, j_value v, j_string *out) {
    j_text printed = { 0 }, t = { 0 };
    if (!vtext_j_repr(r, v, &printed)) return false;
    j_string s = vtext_j_done(&printed);
    for (size_t pos = 0; pos < s.n;) {
        uint32_t cp;
        char text[12];
        j_string c = vtext_j_next_char(s, &pos, &cp);
        snprintf(text, sizeof text,
                 cp < 0x100     ? "\\x%02x"
                 : cp < 0x10000 ? "\\u%04x"
                                : "\\U%08x",
                 (unsigned)cp);
        if (!(cp < 128 ? vtext_j_add(r, &t, c)
                       : vtext_j_add_bytes(r, &t, text, strlen(text), c.user && c.user[0])))
            return false;
    }
    *out = vtext_j_done(&t);
    return true;
}

/* A value as the conversions s, r and a print it. */
bool vtext_j_converted(j_run *r, j_value v, char how, j_string *out) {
    j_text printed = { 0 };
    if (how == 's') return vtext_j_str(r, v, out);
    if (how == 'a') return ascii(r, v, out);
    if (!vtext_j_repr(r, v, &printed)) return false;
    *out = vtext_j_done(&printed);
    return true;
}

/* ---- % --------------------------------------------------------------------------------------- */

typedef struct percent {
    j_string s;
    size_t pos;
    const j_value *item; /* positional values */
    size_t n, used;
    const j_dict *named;
} percent;

static bool next_value(j_run *r, percent *p, const j_string *key, j_value *out) {
    if (key) {
        if (!p->named) return vtext_j_fail(r, "format requires a mapping");
        if (vtext_j_get(p->named, *key, out)) return true;
        return vtext_j_fail(r, "no key '%.*s' for a format", (int)(key->n < 60 ? key->n : 60),
                            key->p);
    }
    if (p->used == p->n) return vtext_j_fail(r, "not enough arguments for format string");
    *out = p->item[p->used++];
    return true;
}

static bool star_or_number(j_run *r, percent *p, int64_t *out) {
    j_value v;
    if (p->pos < p->s.n && p->s.p[p->pos] == '*') {
        p->pos++;
        if (!next_value(r, p, NULL, &v)) return false;
        if (!vtext_j_is_integer(v)) return vtext_j_fail(r, "* wants int");
        *out = vtext_j_integer(v);
        return true;
    }
    for (*out = 0; p->pos < p->s.n && p->s.p[p->pos] >= '0' && p->s.p[p->pos] <= '9'; p->pos++)
        if (*out < 1000000000) *out = *out * 10 + (p->s.p[p->pos] - '0');
    return true;
}

static bool put_percent_value(j_run *r, j_text *t, j_value v, spec *f) {
    j_text printed = { 0 };
    j_string s;
    if (f->type == 's' || f->type == 'r' || f->type == 'a')
        return vtext_j_converted(r, v, f->type, &s) && put_string(r, t, s, f, '>');
    if (f->type == 'c') {
        f->precision = -1;
        if (v.kind == J_STRING && vtext_j_chars(v.u.s) == 1) return put_string(r, t, v.u.s, f, '>');
        int64_t cp = vtext_j_is_integer(v) ? vtext_j_integer(v) : -1;
        if (cp < 0 || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
            return vtext_j_fail(r, "%%c requires int or char");
        return vtext_j_add_char(r, &printed, (uint32_t)cp, false)
               && put_string(r, t, vtext_j_done(&printed), f, '>');
    }
    if (!vtext_j_is_number(v))
        return vtext_j_fail(r, "%%%c format: a real number is required, not %s", f->type,
                            vtext_j_type(v));
    if (strchr("diu", f->type)) {
        double x = vtext_j_number(v);
        if (v.kind == J_FLOAT && !isfinite(x))
            return vtext_j_fail(r, "cannot convert float to integer");
        if (v.kind == J_FLOAT && !(fabs(x) < 9e18))
            return vtext_j_fail_status(r, VLM_ERR_LIMIT, "an integer does not fit 64 bits");
        return put_integer(r, t, v.kind == J_FLOAT ? (int64_t)x : vtext_j_integer(v), f->precision,
                           f);
    }
    if (strchr("xXo", f->type)) {
        if (v.kind == J_FLOAT)
            return vtext_j_fail(r, "%%%c format: an integer is required", f->type);
        return put_integer(r, t, vtext_j_integer(v), f->precision, f);
    }
    return put_float(r, t, vtext_j_number(v), f);
}

/* One conversion behind its percent sign. */
static bool put_percent(j_run *r, percent *p, j_text *t) {
    spec f = { .fill = J_LITERAL(" "), .precision = -1 };
    j_string key = { 0 };
    j_value v;
    if (p->pos < p->s.n && p->s.p[p->pos] == '(') {
        size_t end;
        if (!vtext_j_find(p->s, J_LITERAL(")"), p->pos, &end))
            return vtext_j_fail(r, "incomplete format key");
        key = vtext_j_sub(p->s, p->pos + 1, end);
        p->pos = end + 1;
    }
    for (; p->pos < p->s.n && p->s.p[p->pos] && strchr("-+ #0", p->s.p[p->pos]); p->pos++) {
        char c = p->s.p[p->pos];
        if (c == '-')
            f.align = '<';
        else if (c == '#')
            f.alternate = true;
        else if (c == '0')
            f.zero = true;
        else if (f.sign != '+')
            f.sign = c;
    }
    if (!star_or_number(r, p, &f.width)) return false;
    if (f.width < 0) f.align = '<', f.width = -f.width;
    if (p->pos < p->s.n && p->s.p[p->pos] == '.') {
        p->pos++;
        if (!star_or_number(r, p, &f.precision)) return false;
        if (f.precision < 0) f.precision = 0;
    }
    if (p->pos < p->s.n && p->s.p[p->pos] && strchr("hlL", p->s.p[p->pos]))
        p->pos++; /* means nothing */
    if (p->pos == p->s.n) return vtext_j_fail(r, "incomplete format");
    f.type = p->s.p[p->pos++];
    if (f.type == '%') return vtext_j_add_bytes(r, t, "%", 1, false);
    if (!strchr("sracdiuxXoeEfFgG", f.type) || !f.type)
        return vtext_j_fail(r, "unsupported format character '%c'", f.type);
    if (!next_value(r, p, key.p ? &key : NULL, &v)) return false;
    if (f.zero && !f.align && !strchr("srac", f.type))
        f.fill = J_LITERAL("0");
    else
        f.zero = false;
    return put_percent_value(r, t, v, &f);
}

static bool run_percent(j_run *r, percent *p, bool all, j_value *out) {
    j_text t = { 0 };
    size_t from = 0, at;
    while (vtext_j_find(p->s, J_LITERAL("%"), from, &at)) {
        if (!vtext_j_add(r, &t, vtext_j_sub(p->s, from, at))) return false;
        p->pos = at + 1;
        if (!put_percent(r, p, &t)) return false;
        from = p->pos;
    }
    if (all && p->used < p->n)
        return vtext_j_fail(r, "not all arguments converted during string formatting");
    if (!vtext_j_add(r, &t, vtext_j_sub(p->s, from, p->s.n))) return false;
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}

bool vtext_j_percent(j_run *r, j_string format, j_value args, j_value *out) {
    percent p = { .s = format, .item = &args, .n = 1 };
    bool mapping = args.kind == J_DICT || args.kind == J_UNDEFINED || args.kind == J_RANGE;
    if (args.kind == J_TUPLE) {
        p.item = args.u.list->item;
        p.n = args.u.list->n;
    } else if (args.kind == J_DICT) {
        p.named = args.u.dict;
    }
    return run_percent(r, &p, !mapping && args.kind != J_LIST, out);
}

bool vtext_j_percent_args(j_run *r, j_string format, const j_args *args, j_value *out) {
    percent p = { .s = format, .item = args->item, .n = args->n };
    j_value d;
    if (args->n && args->n_named)
        return vtext_j_fail(r, "format: positional and keyword arguments at the same time");
    if (!args->n_named) return run_percent(r, &p, true, out);
    if (!vtext_j_new_dict(r, &d)) return false;
    for (size_t i = 0; i < args->n_named; i++)
        if (!vtext_j_dict_put(r, d.u.dict, vtext_j_string(args->name[i]), args->named[i]))
            return false;
    return vtext_j_percent(r, format, d, out);
}

/* ---- format(value, spec) ----------------------------------------------------------------------
 */

/* [[fill]align][sign][#][0][width][, or _][.precision][type] */
static bool parse_spec(j_run *r, j_string s, bool number, spec *f) {
    size_t pos = 0, next = 0;
    uint32_t cp;
    bool filled = false;
    *f = (spec) { .fill = J_LITERAL(" "), .precision = -1 };
    if (s.n) {
        j_string fill = vtext_j_next_char(s, &next, &cp);
        if (next < s.n && s.p[next] && strchr("<>^=", s.p[next])) {
            filled = true;
            f->fill = fill;
            f->align = s.p[next];
            pos = next + 1;
        } else if (s.p[0] && strchr("<>^=", s.p[0])) {
            f->align = s.p[0];
            pos = 1;
        }
    }
    if (pos < s.n && s.p[pos] && strchr("+- ", s.p[pos])) f->sign = s.p[pos++];
    if (pos < s.n && s.p[pos] == '#') f->alternate = true, pos++;
    if (pos < s.n && s.p[pos] == '0' && !filled) {
        pos++;
        f->fill = J_LITERAL("0");
        f->zero = number;
    }
    for (; pos < s.n && s.p[pos] >= '0' && s.p[pos] <= '9'; pos++)
        if (f->width < 1000000000) f->width = f->width * 10 + (s.p[pos] - '0');
    if (pos < s.n && (s.p[pos] == ',' || s.p[pos] == '_')) f->group = s.p[pos++];
    if (pos < s.n && s.p[pos] == '.') {
        size_t digits = ++pos;
        f->precision = 0;
        for (; pos < s.n && s.p[pos] >= '0' && s.p[pos] <= '9'; pos++)
            if (f->precision < 1000000000) f->precision = f->precision * 10 + (s.p[pos] - '0');
        if (pos == digits) return vtext_j_fail(r, "Format specifier missing precision");
    }
    if (pos < s.n) f->type = s.p[pos++];
    if (pos < s.n) return vtext_j_fail(r, "Invalid format specifier");
    return true;
}

static bool put_formatted_string(j_run *r, j_text *t, j_string s, const spec *f) {
    if (f->type && f->type != 's')
        return vtext_j_fail(r, "Unknown format code '%c' for object of type 'str'", f->type);
    if (f->sign || f->alternate || f->group || f->align == '=')
        return vtext_j_fail(
            r, "a sign, '#', '=' or a separator is not allowed in the format of a string");
    return put_string(r, t, s, f, '<');
}

static bool put_formatted_integer(j_run *r, j_text *t, int64_t i, spec *f) {
    if (f->precision >= 0)
        return vtext_j_fail(r, "Precision not allowed in integer format specifier");
    if (f->group && f->type && (f->type == 'n' || (f->group == ',' && f->type != 'd')))
        return vtext_j_fail(r, "Cannot specify '%c' with '%c'.", f->group, f->type);
    if (f->type != 'c') {
        if (f->sign == '-') f->sign = 0;
        return put_integer(r, t, i, 0, f);
    }
    j_text character = { 0 };
    if (f->sign || f->alternate) return vtext_j_fail(r, "a sign or '#' is not allowed with 'c'");
    if (f->group) return vtext_j_fail(r, "Cannot specify '%c' with 'c'.", f->group);
    if (i < 0 || i > 0x10FFFF || (i >= 0xD800 && i < 0xE000))
        return vtext_j_fail(r, "%%c arg not in range(0x110000)");
    return vtext_j_add_char(r, &character, (uint32_t)i, false)
           && align_text(r, t, vtext_j_done(&character), 0, f,
                         f->align  ? f->align
                         : f->zero ? '='
                                   : '>');
}

bool vtext_j_put_formatted(j_run *r, j_text *t, j_value v, j_string text) {
    spec f;
    j_string s;
    if (text.n == 0) return vtext_j_str(r, v, &s) && vtext_j_add(r, t, s);
    if (v.kind != J_STRING && !vtext_j_is_number(v))
        return vtext_j_fail(r, "unsupported format string for %s", vtext_j_type(v));
    if (!parse_spec(r, text, v.kind != J_STRING, &f)) return false;
    if (v.kind == J_STRING) return put_formatted_string(r, t, v.u.s, &f);
    if (vtext_j_is_integer(v) && (f.type == 0 || strchr("dnxXobc", f.type)))
        return put_formatted_integer(r, t, vtext_j_integer(v), &f);
    if (f.type && !strchr("eEfFgGn%", f.type))
        return vtext_j_fail(r, "Unknown format code '%c' for object of type '%s'", f.type,
                            vtext_j_type(v));
    if (f.group && f.type == 'n') return vtext_j_fail(r, "Cannot specify '%c' with 'n'.", f.group);
    if (f.sign == '-') f.sign = 0;
    return put_float(r, t, vtext_j_number(v), &f);
}
