/* SPDX-License-Identifier: MIT */
/* str.format: replacement fields, their names and what stands in them. A value's text keeps the
 * value's origin. How a value is printed is format.c's. */
#include "text/jinja/call.h"

typedef struct fields {
    const j_args *args;
    int64_t automatic; /* number of the next field without a name */
    bool counted, named;
} fields;

/* Fields either all have their numbers or none has. */
static bool count_field(j_run *r, fields *of, bool automatic, int64_t *index) {
    if (automatic ? of->named : of->counted)
        return vtext_j_fail(r, "a format cannot both number fields and leave them unnumbered");
    if (automatic) {
        of->counted = true;
        *index = of->automatic++;
    } else {
        of->named = true;
    }
    return true;
}

/* "0.name[key]" or "name.a": the argument, then attributes and items of it. */
static bool find_field(j_run *r, j_string field, fields *of, j_value *out) {
    const j_args *args = of->args;
    size_t n = 0;
    int64_t index = 0;
    bool number = true, found = false;
    while (n < field.n && field.p[n] != '.' && field.p[n] != '[') n++;
    for (size_t i = 0; i < n; i++) {
        number &= field.p[i] >= '0' && field.p[i] <= '9';
        if (number && index < 1000000) index = index * 10 + (field.p[i] - '0');
    }
    if (!vtext_j_work(r, args->n_named * 16)) return false;
    if (number && !count_field(r, of, n == 0, &index)) return false;
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

static bool format_text(j_run *r, j_string format, fields *of, int depth, j_text *t);

/* Where the name of a field ends; a key in brackets may hold any sign. */
static size_t name_end(j_string field) {
    size_t n = 0;
    for (bool key = false; n < field.n; n++) {
        if (!key && (field.p[n] == ':' || field.p[n] == '!')) break;
        key = field.p[n] == '[' || (key && field.p[n] != ']');
    }
    return n;
}

/* name, then !conversion, then :spec, in which fields may stand again. */
static bool put_field(j_run *r, j_string field, fields *of, int depth, j_text *t) {
    size_t name = name_end(field), convert = name;
    j_text spec = { 0 };
    j_value v;
    if (name < field.n && field.p[name] == '!') convert += 2;
    if (convert > field.n || (convert < field.n && field.p[convert] != ':'))
        return vtext_j_fail(r, "expected ':' after conversion specifier");
    if (!find_field(r, vtext_j_sub(field, 0, name), of, &v)) return false;
    if (convert != name) {
        char how = field.p[name + 1];
        j_string s;
        if (!how || !strchr("sra", how))
            return vtext_j_fail(r, "Unknown conversion specifier %c", how);
        if (!vtext_j_converted(r, v, how, &s)) return false;
        v = vtext_j_string(s);
    }
    if (convert < field.n
        && !format_text(r, vtext_j_sub(field, convert + 1, field.n), of, depth + 1, &spec))
        return false;
    return vtext_j_put_formatted(r, t, v, vtext_j_done(&spec));
}

/* The brace that closes the field that begins at `from`. */
static bool field_end(j_string format, size_t from, size_t *end) {
    size_t open = 1;
    for (size_t i = from; i < format.n; i++) {
        open += format.p[i] == '{';
        open -= format.p[i] == '}';
        *end = i;
        if (open == 0) return true;
    }
    return false;
}

static bool format_text(j_run *r, j_string format, fields *of, int depth, j_text *t) {
    if (depth > 1) return vtext_j_fail(r, "Max string recursion exceeded");
    for (size_t pos = 0; pos < format.n;) {
        char c = format.p[pos];
        bool twice = pos + 1 < format.n && format.p[pos + 1] == c;
        if ((c == '{' || c == '}') && !twice) {
            size_t end;
            if (c == '}') return vtext_j_fail(r, "Single '}' encountered in format string");
            if (!vtext_j_work(r, format.n) || !field_end(format, pos + 1, &end))
                return vtext_j_fail(r, "expected '}' before end of string");
            if (!put_field(r, vtext_j_sub(format, pos + 1, end), of, depth, t)) return false;
            pos = end + 1;
            continue;
        }
        size_t next = pos + 1;
        while (next < format.n && c != '{' && c != '}' && format.p[next] != '{'
               && format.p[next] != '}')
            next++;
        if (!vtext_j_add(r, t, vtext_j_sub(format, pos, next))) return false;
        pos = next + (c == '{' || c == '}');
    }
    return true;
}

bool vtext_j_format(j_run *r, j_string format, const j_args *args, j_value *out) {
    j_text t = { 0 };
    fields of = { .args = args };
    if (!format_text(r, format, &of, 0, &t)) return false;
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}
