/* SPDX-License-Identifier: MIT */
/* How built-ins are found and get their arguments; the global functions. */
#include "text/jinja/call.h"

#include <locale.h>
#include <time.h>

/* ---- calling --------------------------------------------------------------------------------- */

const j_builtin *vtext_j_find_builtin(const j_builtin *table, j_string name) {
    for (; table->name; table++)
        if (vtext_j_is(name, table->name)) return table;
    return NULL;
}

/* Place of a name among blank-separated parameters, or -1. */
static int find_param(const char *params, j_string name) {
    for (int i = 0; *params; i++) {
        size_t n = strcspn(params, " ");
        if (n == name.n && memcmp(params, name.p, n) == 0) return i;
        params += n + (params[n] == ' ');
    }
    return -1;
}

static int count_params(const char *params) {
    int n = *params != 0;
    for (; *params; params++) n += *params == ' ';
    return n;
}

static bool bind(j_run *r, const j_builtin *f, const char *what, const j_args *args, j_call *c) {
    int n = count_params(f->params);
    if (args->n > (size_t)n)
        return vtext_j_fail(r, "%s '%s' takes at most %d argument(s), %zu given", what, f->name, n,
                            args->n);
    for (size_t i = 0; i < args->n; i++) c->arg[i] = args->item[i];
    for (size_t i = 0; i < args->n_named; i++) {
        j_string name = args->name[i];
        int at = find_param(f->params, name);
        if (at < 0 || c->arg[at].kind != J_MISSING)
            return vtext_j_fail(r, "%s '%s': unexpected keyword argument '%.*s'", what, f->name,
                                (int)(name.n < 60 ? name.n : 60), name.p);
        c->arg[at] = args->named[i];
    }
    for (int i = 0; i < f->required; i++)
        if (c->arg[i].kind == J_MISSING)
            return vtext_j_fail(r, "%s '%s' needs %d argument(s)", what, f->name, f->required);
    return true;
}

bool vtext_j_call_builtin(j_run *r, const j_builtin *f, const char *what, j_value self,
                          const j_args *args, j_value *out) {
    j_call c = { .self = self, .args = args, .name = f->name };
    if (f->params[0] != '*' && !bind(r, f, what, args, &c)) return false;
    if (++r->frames > J_MAX_FRAMES)
        return vtext_j_fail_status(r, VLM_ERR_LIMIT, "the template nests too deep");
    bool done = f->fn(r, &c, out);
    r->frames--;
    return done;
}

const j_builtin *vtext_j_find_filter(j_string name) {
    const j_builtin *f = vtext_j_find_builtin(vtext_j_string_filters, name);
    return f ? f : vtext_j_find_builtin(vtext_j_list_filters, name);
}

bool vtext_j_call_filter(j_run *r, j_string name, j_value self, const j_args *args, j_value *out) {
    const j_builtin *f = vtext_j_find_filter(name);
    if (!f)
        return vtext_j_fail(r, "no filter named '%.*s'", (int)(name.n < 60 ? name.n : 60), name.p);
    return vtext_j_call_builtin(r, f, "filter", self, args, out);
}

bool vtext_j_call_test(j_run *r, j_string name, j_value self, const j_args *args, bool *out) {
    const j_builtin *f = vtext_j_find_builtin(vtext_j_tests, name);
    j_value v;
    if (!f)
        return vtext_j_fail(r, "no test named '%.*s'", (int)(name.n < 60 ? name.n : 60), name.p);
    if (!vtext_j_call_builtin(r, f, "test", self, args, &v)) return false;
    *out = vtext_j_truth(v);
    return true;
}

bool vtext_j_arg_string(j_run *r, const j_call *c, int i, j_string *out) {
    if (c->arg[i].kind == J_MISSING || c->arg[i].kind == J_NONE) return true;
    if (c->arg[i].kind != J_STRING)
        return vtext_j_fail(r, "'%s': argument %d must be str, not %s", c->name, i + 1,
                            vtext_j_type(c->arg[i]));
    *out = c->arg[i].u.s;
    return true;
}

bool vtext_j_arg_int(j_run *r, const j_call *c, int i, int64_t *out) {
    if (c->arg[i].kind == J_MISSING || c->arg[i].kind == J_NONE) return true;
    if (!vtext_j_is_integer(c->arg[i]))
        return vtext_j_fail(r, "'%s': argument %d must be int, not %s", c->name, i + 1,
                            vtext_j_type(c->arg[i]));
    *out = vtext_j_integer(c->arg[i]);
    return true;
}

bool vtext_j_arg_bool(const j_call *c, int i) {
    return vtext_j_truth(c->arg[i]);
}

/* ---- global functions ------------------------------------------------------------------------ */

static bool fn_range(j_run *r, const j_call *c, j_value *out) {
    int64_t a = 0, b = 0, step = 1;
    if (!vtext_j_arg_int(r, c, 0, &a) || !vtext_j_arg_int(r, c, 1, &b)
        || !vtext_j_arg_int(r, c, 2, &step))
        return false;
    if (c->arg[1].kind == J_MISSING) b = a, a = 0;
    if (step == 0) return vtext_j_fail(r, "range() arg 3 must not be zero");
    uint64_t n = 0, width = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    if (step > 0 ? a < b : a > b)
        n = ((step > 0 ? (uint64_t)b - (uint64_t)a : (uint64_t)a - (uint64_t)b) - 1) / width + 1;
    if (n > J_MAX_RANGE)
        return vtext_j_fail_limit(r, J_MAX_RANGE, "range() of more than %d items", J_MAX_RANGE);
    struct j_range *g = vtext_j_alloc(r, 1, sizeof *g);
    if (!g) return false;
    *g = (struct j_range) { a, b, step, (size_t)n };
    *out = (j_value) { J_RANGE, { .range = g } };
    return true;
}

/* dict(mapping or pairs, name=value, ...) */
static bool fn_dict(j_run *r, const j_call *c, j_value *out) {
    const j_args *args = c->args;
    if (!vtext_j_new_dict(r, out)) return false;
    if (args->n > 1) return vtext_j_fail(r, "%s() takes at most one positional argument", c->name);
    if (args->n == 1 && (args->item[0].kind == J_DICT || args->item[0].kind == J_NAMESPACE)) {
        const j_dict *from = args->item[0].u.dict;
        for (size_t i = 0; i < from->n; i++)
            if (!vtext_j_dict_put(r, out->u.dict, from->entry[i].key, from->entry[i].value))
                return false;
    } else if (args->n == 1) {
        j_list items, pair;
        if (!vtext_j_items(r, args->item[0], &items)) return false;
        for (size_t i = 0; i < items.n; i++) {
            if (!vtext_j_items(r, items.item[i], &pair)) return false;
            if (pair.n != 2) return vtext_j_fail(r, "%s() needs pairs", c->name);
            if (!vtext_j_dict_put(r, out->u.dict, pair.item[0], pair.item[1])) return false;
        }
    }
    for (size_t i = 0; i < args->n_named; i++)
        if (!vtext_j_dict_put(r, out->u.dict, vtext_j_string(args->name[i]), args->named[i]))
            return false;
    return true;
}

static bool fn_namespace(j_run *r, const j_call *c, j_value *out) {
    if (!fn_dict(r, c, out)) return false;
    out->kind = J_NAMESPACE;
    return true;
}

static bool new_cycler(j_run *r, j_kind kind, j_value *out) {
    *out = (j_value) { kind, { .cursor = vtext_j_alloc(r, 1, sizeof(struct j_cursor)) } };
    return out->u.cursor != NULL;
}

static bool fn_cycler(j_run *r, const j_call *c, j_value *out) {
    if (c->args->n == 0) return vtext_j_fail(r, "cycler() needs at least one item");
    if (!new_cycler(r, J_CYCLER, out)) return false;
    for (size_t i = 0; i < c->args->n; i++)
        if (!vtext_j_push(r, &out->u.cursor->items, c->args->item[i])) return false;
    return true;
}

static bool fn_joiner(j_run *r, const j_call *c, j_value *out) {
    j_value sep = c->arg[0].kind == J_MISSING ? vtext_j_string(J_LITERAL(", ")) : c->arg[0];
    return new_cycler(r, J_JOINER, out) && vtext_j_push(r, &out->u.cursor->items, sep);
}

static bool fn_raise(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    (void)out;
    if (!vtext_j_str(r, c->arg[0], &s)) return false;
    return vtext_j_fail(r, "%.*s", (int)(s.n < 400 ? s.n : 400), s.p);
}

/* The time is the caller's, so no clock, time zone or environment is read here. */
static bool fn_strftime(j_run *r, const j_call *c, j_value *out) {
    j_string format = { 0 };
    char pattern[256], text[1024];
    struct tm tm;
    time_t when = (time_t)r->now;
    if (!vtext_j_arg_string(r, c, 0, &format)) return false;
    if (format.n >= sizeof pattern || (format.n && memchr(format.p, 0, format.n)))
        return vtext_j_fail(r, "strftime_now(): the format is too long");
    if (!gmtime_r(&when, &tm)) return vtext_j_fail(r, "strftime_now(): time out of range");
    if (format.n) memcpy(pattern, format.p, format.n);
    pattern[format.n] = 0;
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!locale) return vtext_j_fail(r, "strftime_now(): no memory");
    size_t n = strftime_l(text, sizeof text, pattern, &tm, locale);
    freelocale(locale);
    j_text t = { 0 };
    bool user = false; /* any byte of the format from a user makes all of it the user's */
    for (size_t i = 0; format.user && i < format.n; i++) user |= format.user[i] != 0;
    if (!vtext_j_add_bytes(r, &t, text, n, user)) return false;
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}

const j_builtin vtext_j_functions[] = {
    { "range", fn_range, "start stop step", 1 },
    { "dict", fn_dict, "*", 0 },
    { "namespace", fn_namespace, "*", 0 },
    { "cycler", fn_cycler, "*", 0 },
    { "joiner", fn_joiner, "sep", 0 },
    { "raise_exception", fn_raise, "message", 1 },
    { "strftime_now", fn_strftime, "format", 1 },
    { NULL, NULL, NULL, 0 },
};
