/* SPDX-License-Identifier: MIT */
/* Python's two ways to fill in a format: "..." % values and "...".format(values). What is printed
 * of a value keeps the value's origin, the text around it the format's; padding belongs to the
 * template. */
#include "text/jinja/call.h"

#include <math.h>
#include <stdio.h>

/* How one value is to be printed. */
typedef struct spec {
    j_string fill;
    char align; /* < > ^ = or 0 */
    char sign;  /* + or blank, else 0 */
    bool alternate, zero, comma;
    int64_t width, precision; /* precision -1: none */
    char type;
} spec;

static bool align_text(j_run *r, j_text *t, j_string s, const spec *f, char align) {
    int64_t n = (int64_t)vtext_j_chars(s), pad = f->width > n ? f->width - n : 0, left = 0;
    size_t sign = 0;
    if (align == '>') left = pad;
    if (align == '^') left = pad / 2;
    if (align == '=') { /* between the sign and the digits */
        sign = s.n && (s.p[0] == '-' || s.p[0] == '+' || s.p[0] == ' ');
        if (s.n > sign + 1 && s.p[sign] == '0' && strchr("xXob", s.p[sign + 1])) sign += 2;
        left = pad;
    }
    return vtext_j_add(r, t, vtext_j_sub(s, 0, sign)) && vtext_j_pad(r, t, f->fill, left)
           && vtext_j_add(r, t, vtext_j_sub(s, sign, s.n))
           && vtext_j_pad(r, t, f->fill, pad - left);
}

/* Digits of an integer in a base, grouped by commas when asked, into out; the length. */
static size_t digits(uint64_t value, unsigned base, bool upper, bool comma, char out[96]) {
    char reversed[96];
    size_t n = 0, count = 0;
    do {
        if (comma && count && count % 3 == 0) reversed[n++] = ',';
        reversed[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
        value /= base;
        count++;
    } while (value);
    for (size_t i = 0; i < n; i++) out[i] = reversed[n - 1 - i];
    return n;
}

static bool put_integer(j_run *r, j_text *t, int64_t i, const spec *f) {
    char text[128];
    size_t n = 0;
    unsigned base = f->type == 'x' || f->type == 'X' ? 16
                    : f->type == 'o'                 ? 8
                    : f->type == 'b'                 ? 2
                                                     : 10;
    if (i < 0)
        text[n++] = '-';
    else if (f->sign)
        text[n++] = f->sign;
    if (f->alternate && base != 10) {
        text[n++] = '0';
        text[n++] = f->type;
    }
    n += digits(i < 0 ? 0 - (uint64_t)i : (uint64_t)i, base, f->type == 'X', f->comma, text + n);
    return align_text(r, t, (j_string) { text, n, NULL }, f,
                      f->align  ? f->align
                      : f->zero ? '='
                                : '>');
}

/* snprintf's point may be a comma in the caller's locale: whatever stands between digits is a
 * point. */
static void fix_point(char *s) {
    for (; *s; s++)
        if (!(*s >= '0' && *s <= '9') && !strchr("+-eEinfaINFA ", *s)) *s = '.';
}

static void group_thousands(char *s, size_t cap) {
    size_t n = strlen(s), begin = s[0] == '-' || s[0] == '+' || s[0] == ' ';
    size_t end = begin + strspn(s + begin, "0123456789");
    for (size_t i = end; i > begin + 3 && n + 1 < cap; n++) {
        i -= 3;
        memmove(s + i + 1, s + i, n - i + 1);
        s[i] = ',';
    }
}

static bool put_float(j_run *r, j_text *t, double x, const spec *f) {
    char text[700], format[8] = "%", *p = format + 1;
    char type = f->type ? f->type : 'g';
    int precision = f->precision < 0 ? 6 : f->precision > 100 ? 100 : (int)f->precision;
    if (f->sign) *p++ = f->sign;
    if (f->alternate) *p++ = '#';
    *p++ = '.';
    *p++ = '*';
    *p++ = type == '%' ? 'f' : type;
    *p = 0;
    if (f->type == 0 && f->precision < 0) {
        text[0] = f->sign ? f->sign : '+';
        vtext_j_float_repr(x, text + (f->sign && !signbit(x)));
    } else {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text - 40, format, precision, type == '%' ? x * 100 : x);
#pragma GCC diagnostic pop
        fix_point(text);
        if (type == '%') memcpy(text + strlen(text), "%", 2);
    }
    if (f->comma) group_thousands(text, sizeof text);
    return align_text(r, t, (j_string) { text, strlen(text), NULL }, f,
                      f->align  ? f->align
                      : f->zero ? '='
                                : '>');
}

static bool put_string(j_run *r, j_text *t, j_string s, const spec *f, char align) {
    if (f->precision >= 0) s = vtext_j_sub(s, 0, vtext_j_offset(s, (size_t)f->precision));
    return align_text(r, t, s, f, f->align && f->align != '=' ? f->align : align);
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
    if (f->type == 's' || f->type == 'r' || f->type == 'a') {
        if (f->type == 's' ? !vtext_j_str(r, v, &s) : !vtext_j_repr(r, v, &printed)) return false;
        return put_string(r, t, f->type == 's' ? s : vtext_j_done(&printed), f, '>');
    }
    if (f->type == 'c') {
        if (v.kind == J_STRING && vtext_j_chars(v.u.s) == 1) return put_string(r, t, v.u.s, f, '>');
        if (v.kind != J_INT || v.u.i < 0 || v.u.i > 0x10FFFF || (v.u.i >= 0xD800 && v.u.i < 0xE000))
            return vtext_j_fail(r, "%%c requires int or char");
        return vtext_j_add_char(r, &printed, (uint32_t)v.u.i, false)
               && put_string(r, t, vtext_j_done(&printed), f, '>');
    }
    if (!vtext_j_is_number(v))
        return vtext_j_fail(r, "%%%c format: a real number is required, not %s", f->type,
                            vtext_j_type(v));
    if (strchr("diu", f->type)) {
        double x = vtext_j_number(v);
        if (v.kind == J_FLOAT && !(fabs(x) < 9e18))
            return vtext_j_fail(r, "cannot convert float to integer");
        return put_integer(r, t, v.kind == J_FLOAT ? (int64_t)x : vtext_j_integer(v), f);
    }
    if (strchr("xXo", f->type)) {
        if (v.kind == J_FLOAT)
            return vtext_j_fail(r, "%%%c format: an integer is required", f->type);
        return put_integer(r, t, vtext_j_integer(v), f);
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
    }
    if (p->pos == p->s.n) return vtext_j_fail(r, "incomplete format");
    f.type = p->s.p[p->pos++];
    if (f.type == '%') return vtext_j_add_bytes(r, t, "%", 1, false);
    if (!strchr("sracdiuxXoeEfFgG", f.type) || !f.type)
        return vtext_j_fail(r, "unsupported format character '%c'", f.type);
    if (!next_value(r, p, key.p ? &key : NULL, &v)) return false;
    if (f.zero && !f.align && !strchr("sra", f.type))
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
    bool mapping = args.kind == J_DICT || args.kind == J_UNDEFINED;
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
    if (!vtext_j_new_dict(r, &d)) return false;
    for (size_t i = 0; i < args->n_named; i++)
        if (!vtext_j_dict_put(r, d.u.dict, vtext_j_string(args->name[i]), args->named[i]))
            return false;
    if (args->n_named) p.named = d.u.dict;
    return run_percent(r, &p, true, out);
}

/* ---- str.format ------------------------------------------------------------------------------ */

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static bool parse_spec(j_run *r, j_string s, spec *f) {
    size_t pos = 0, next = 0;
    uint32_t cp;
    *f = (spec) { .fill = J_LITERAL(" "), .precision = -1 };
    if (s.n) {
        j_string fill = vtext_j_next_char(s, &next, &cp);
        if (next < s.n && strchr("<>^=", s.p[next])) {
            f->fill = fill;
            f->align = s.p[next];
            pos = next + 1;
        } else if (strchr("<>^=", s.p[0])) {
            f->align = s.p[0];
            pos = 1;
        }
    }
    if (pos < s.n && (s.p[pos] == '+' || s.p[pos] == ' ' || s.p[pos] == '-')) {
        f->sign = s.p[pos] == '-' ? 0 : s.p[pos];
        pos++;
    }
    if (pos < s.n && s.p[pos] == '#') f->alternate = true, pos++;
    if (pos < s.n && s.p[pos] == '0') {
        pos++;
        if (!f->align) f->zero = true, f->fill = J_LITERAL("0");
    }
    for (; pos < s.n && s.p[pos] >= '0' && s.p[pos] <= '9'; pos++)
        if (f->width < 1000000000) f->width = f->width * 10 + (s.p[pos] - '0');
    if (pos < s.n && s.p[pos] == ',') f->comma = true, pos++;
    if (pos < s.n && s.p[pos] == '.') {
        f->precision = 0;
        for (pos++; pos < s.n && s.p[pos] >= '0' && s.p[pos] <= '9'; pos++)
            if (f->precision < 1000000000) f->precision = f->precision * 10 + (s.p[pos] - '0');
    }
    if (pos < s.n) f->type = s.p[pos++];
    if (pos < s.n) return vtext_j_fail(r, "invalid format specifier");
    return true;
}

static bool put_formatted(j_run *r, j_text *t, j_value v, j_string text) {
    spec f;
    j_string s;
    if (!parse_spec(r, text, &f)) return false;
    if (text.n == 0 || v.kind == J_STRING) {
        if (f.type && f.type != 's')
            return vtext_j_fail(r, "unknown format code '%c' for object of type 'str'", f.type);
        return vtext_j_str(r, v, &s) && put_string(r, t, s, &f, '<');
    }
    if (!vtext_j_is_number(v))
        return vtext_j_fail(r, "unsupported format string for %s", vtext_j_type(v));
    if (vtext_j_is_integer(v) && (f.type == 0 || strchr("dnxXob", f.type)))
        return put_integer(r, t, vtext_j_integer(v), &f);
    if (f.type && !strchr("eEfFgG%", f.type))
        return vtext_j_fail(r, "unknown format code '%c' for object of type '%s'", f.type,
                            vtext_j_type(v));
    return put_float(r, t, vtext_j_number(v), &f);
}

/* "0.name[key]" or "name.a": the argument, then attributes and items of it. */
static bool find_field(j_run *r, j_string field, const j_args *args, int64_t *automatic,
                       j_value *out) {
    size_t n = 0;
    int64_t index = 0;
    bool number = true, found = false;
    while (n < field.n && field.p[n] != '.' && field.p[n] != '[') n++;
    for (size_t i = 0; i < n; i++) {
        number &= field.p[i] >= '0' && field.p[i] <= '9';
        if (number && index < 1000000) index = index * 10 + (field.p[i] - '0');
    }
    if (!vtext_j_work(r, args->n_named * 16)) return false;
    if (n == 0) index = (*automatic)++;
    if (number) {
        if ((size_t)index >= args->n)
            return vtext_j_fail(r, "Replacement index %lld out of range", (long long)index);
        *out = args->item[index];
    }
    for (size_t i = 0; !number && i < args->n_named && !found; i++) {
        found = vtext_j_same(args->name[i], vtext_j_sub(field, 0, n));
        if (found) *out = args->named[i];
    }
    if (!number && !found)
        return vtext_j_fail(r, "format: no argument '%.*s'", (int)(n < 60 ? n : 60), field.p);
    while (n < field.n) {
        bool item = field.p[n++] == '[';
        size_t begin = n;
        while (n < field.n && (item ? field.p[n] != ']' : field.p[n] != '.' && field.p[n] != '['))
            n++;
        j_string name = vtext_j_sub(field, begin, n);
        int64_t key = 0;
        bool numeric = name.n > 0;
        for (size_t i = 0; i < name.n; i++) {
            numeric &= name.p[i] >= '0' && name.p[i] <= '9' && key < 100000000;
            if (numeric) key = key * 10 + (name.p[i] - '0');
        }
        if (item && n++ == field.n) return vtext_j_fail(r, "expected ']' in a format");
        if (!(item ? vtext_j_item(r, *out, numeric ? vtext_j_int(key) : vtext_j_string(name), out)
                   : vtext_j_attribute(r, *out, name, out)))
            return false;
    }
    return true;
}

static bool put_field(j_run *r, j_string field, const j_args *args, int64_t *automatic, j_text *t) {
    size_t name = 0, convert;
    j_string text = { "", 0, NULL };
    j_value v;
    while (name < field.n && field.p[name] != ':' && field.p[name] != '!') name++;
    convert = name < field.n && field.p[name] == '!' ? name + 2 : name;
    if (convert > field.n || (convert < field.n && field.p[convert] != ':'))
        return vtext_j_fail(r, "expected ':' in a format");
    if (convert < field.n) text = vtext_j_sub(field, convert + 1, field.n);
    if (!find_field(r, vtext_j_sub(field, 0, name), args, automatic, &v)) return false;
    if (convert == name) return put_formatted(r, t, v, text);
    j_text printed = { 0 };
    j_string s;
    if (field.p[name + 1] == 's' ? !vtext_j_str(r, v, &s) : !vtext_j_repr(r, v, &printed))
        return false;
    return put_formatted(
        r, t, vtext_j_string(field.p[name + 1] == 's' ? s : vtext_j_done(&printed)), text);
}

bool vtext_j_format(j_run *r, j_string format, const j_args *args, j_value *out) {
    j_text t = { 0 };
    int64_t automatic = 0;
    for (size_t pos = 0; pos < format.n;) {
        char c = format.p[pos];
        bool twice = pos + 1 < format.n && format.p[pos + 1] == c;
        if ((c == '{' || c == '}') && !twice) {
            size_t end;
            if (c == '}') return vtext_j_fail(r, "Single '}' encountered in format string");
            if (!vtext_j_find(format, J_LITERAL("}"), pos, &end))
                return vtext_j_fail(r, "expected '}' before end of string");
            j_string field = vtext_j_sub(format, pos + 1, end);
            if (field.n && memchr(field.p, '{', field.n))
                return vtext_j_fail(r, "nested fields in a format are not supported");
            if (!put_field(r, field, args, &automatic, &t)) return false;
            pos = end + 1;
            continue;
        }
        size_t next = pos + 1;
        while (next < format.n && c != '{' && c != '}' && format.p[next] != '{'
               && format.p[next] != '}')
            next++;
        if (!vtext_j_add(r, &t, vtext_j_sub(format, pos, next))) return false;
        pos = next + (c == '{' || c == '}');
    }
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}
