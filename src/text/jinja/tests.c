/* SPDX-License-Identifier: MIT */
/* Tests, what stands behind `is`. */
#include "text/jinja/call.h"

#include <math.h>
#include <utf8proc.h>

static bool is_kind(const j_call *c, j_value *out, bool yes) {
    (void)c;
    *out = vtext_j_bool(yes);
    return true;
}

static bool test_defined(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind != J_UNDEFINED);
}

static bool test_undefined(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_UNDEFINED);
}

static bool test_none(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_NONE);
}

static bool test_boolean(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_BOOL);
}

static bool test_true(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_BOOL && c->self.u.b);
}

static bool test_false(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_BOOL && !c->self.u.b);
}

static bool test_integer(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_INT);
}

static bool test_float(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_FLOAT);
}

static bool test_number(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, vtext_j_is_number(c->self));
}

static bool test_string(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_STRING);
}

static bool test_mapping(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, c->self.kind == J_DICT);
}

/* What has a length and items: an undefined value counts in jinja2, a view does not. */
static bool test_sequence(j_run *r, const j_call *c, j_value *out) {
    j_kind k = c->self.kind;
    (void)r;
    return is_kind(c, out,
                   k == J_STRING || k == J_LIST || k == J_TUPLE || k == J_DICT || k == J_RANGE
                       || k == J_UNDEFINED);
}

static bool test_iterable(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, vtext_j_iterable(c->self));
}

static bool test_callable(j_run *r, const j_call *c, j_value *out) {
    j_kind k = c->self.kind;
    (void)r;
    return is_kind(c, out,
                   k == J_MACRO || k == J_FUNCTION || k == J_METHOD || k == J_JOINER || k == J_LOOP
                       || k == J_UNDEFINED);
}

static bool test_escaped(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    return is_kind(c, out, false);
}

static bool test_modulo(j_run *r, const j_call *c, j_value *out) {
    j_value rest, divisor = c->arg[0].kind == J_MISSING ? vtext_j_int(2) : c->arg[0];
    bool same;
    if (!vtext_j_binary(r, OP_MOD, c->self, divisor, &rest)
        || !vtext_j_equal(r, rest, vtext_j_int(c->name[0] == 'o'), &same))
        return false;
    *out = vtext_j_bool(same);
    return true;
}

/* lower and upper: some character has case, and every one that has is of this one. */
static bool test_case(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    bool cased = false, yes = true, upper = c->name[0] == 'u';
    if (!vtext_j_str(r, c->self, &s) || !vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    for (size_t pos = 0; pos < s.n && yes;) {
        uint32_t cp;
        vtext_j_next_char(s, &pos, &cp);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
        if (k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LT || k == UTF8PROC_CATEGORY_LL) {
            cased = true;
            yes = k == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
        }
    }
    *out = vtext_j_bool(cased && yes);
    return true;
}

static bool test_sameas(j_run *r, const j_call *c, j_value *out) {
    j_value a = c->self, b = c->arg[0];
    bool same = false;
    if (a.kind != b.kind) return is_kind(c, out, false);
    if (a.kind == J_LIST || a.kind == J_TUPLE || a.kind == J_DICT)
        return is_kind(c, out, a.u.list == b.u.list);
    return vtext_j_equal(r, a, b, &same) && is_kind(c, out, same);
}

static bool test_in(j_run *r, const j_call *c, j_value *out) {
    bool yes;
    if (!vtext_j_contains(r, c->arg[0], c->self, &yes)) return false;
    *out = vtext_j_bool(yes);
    return true;
}

static bool test_equal(j_run *r, const j_call *c, j_value *out) {
    bool same;
    if (!vtext_j_equal(r, c->self, c->arg[0], &same)) return false;
    *out = vtext_j_bool(same == (c->name[0] == '=' || c->name[0] == 'e'));
    return true;
}

static bool test_less(j_run *r, const j_call *c, j_value *out) {
    bool less, same = false, or_equal = c->name[1] == '=' || c->name[1] == 'e';
    if (!vtext_j_less(r, c->self, c->arg[0], "<", &less)) return false;
    if (or_equal && c->name[2] == 0 && !vtext_j_equal(r, c->self, c->arg[0], &same)) return false;
    *out = vtext_j_bool(less || same);
    return true;
}

static bool test_greater(j_run *r, const j_call *c, j_value *out) {
    bool less, same = false, or_equal = c->name[1] == '=' || c->name[1] == 'e';
    if (!vtext_j_less(r, c->arg[0], c->self, ">", &less)) return false;
    if (or_equal && !vtext_j_equal(r, c->self, c->arg[0], &same)) return false;
    *out = vtext_j_bool(less || same);
    return true;
}

static bool test_known(j_run *r, const j_call *c, j_value *out) {
    if (!vtext_j_hashable(c->self))
        return vtext_j_fail(r, "unhashable type: '%s'", vtext_j_type(c->self));
    bool yes = c->self.kind == J_STRING
               && (c->name[0] == 'f' ? vtext_j_find_filter(c->self.u.s)
                                     : vtext_j_find_builtin(vtext_j_tests, c->self.u.s));
    return is_kind(c, out, yes);
}

const j_builtin vtext_j_tests[] = {
    { "defined", test_defined, "", 0 },
    { "undefined", test_undefined, "", 0 },
    { "none", test_none, "", 0 },
    { "boolean", test_boolean, "", 0 },
    { "true", test_true, "", 0 },
    { "false", test_false, "", 0 },
    { "integer", test_integer, "", 0 },
    { "float", test_float, "", 0 },
    { "number", test_number, "", 0 },
    { "string", test_string, "", 0 },
    { "mapping", test_mapping, "", 0 },
    { "sequence", test_sequence, "", 0 },
    { "iterable", test_iterable, "", 0 },
    { "callable", test_callable, "", 0 },
    { "escaped", test_escaped, "", 0 },
    { "odd", test_modulo, "", 0 },
    { "even", test_modulo, "", 0 },
    { "divisibleby", test_modulo, "num", 1 },
    { "lower", test_case, "", 0 },
    { "upper", test_case, "", 0 },
    { "sameas", test_sameas, "other", 1 },
    { "in", test_in, "seq", 1 },
    { "==", test_equal, "other", 1 },
    { "eq", test_equal, "other", 1 },
    { "equalto", test_equal, "other", 1 },
    { "!=", test_equal, "other", 1 },
    { "ne", test_equal, "other", 1 },
    { "<", test_less, "other", 1 },
    { "lt", test_less, "other", 1 },
    { "lessthan", test_less, "other", 1 },
    { "<=", test_less, "other", 1 },
    { "le", test_less, "other", 1 },
    { ">", test_greater, "other", 1 },
    { "gt", test_greater, "other", 1 },
    { "greaterthan", test_greater, "other", 1 },
    { ">=", test_greater, "other", 1 },
    { "ge", test_greater, "other", 1 },
    { "filter", test_known, "", 0 },
    { "test", test_known, "", 0 },
    { NULL, NULL, NULL, 0 },
};
