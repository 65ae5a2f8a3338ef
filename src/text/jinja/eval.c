/* SPDX-License-Identifier: MIT */
/* Expressions: operators with Python's meaning, names, attributes and items as jinja2's sandbox
 * gives them, calls, filters and tests. */
#include "text/jinja/ast.h"
#include "text/jinja/call.h"

#include <math.h>

/* ---- arithmetic ------------------------------------------------------------------------------ */

static bool bad_operands(j_run *r, const char *op, j_value a, j_value b) {
    return vtext_j_fail(r, "unsupported operand types for %s: '%s' and '%s'", op, vtext_j_type(a),
                        vtext_j_type(b));
}

static bool too_large(j_run *r) {
    return vtext_j_fail_status(r, VLM_ERR_LIMIT, "an integer does not fit 64 bits");
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static bool int_power(int64_t base, int64_t exponent, int64_t *out) {
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return false;
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return false;
    }
    *out = result;
    return true;
}

static bool integers(j_run *r, j_operator op, int64_t a, int64_t b, j_value *out) {
    int64_t result = 0;
    bool overflow = false;
    if (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) {
        if (b == 0) return vtext_j_fail(r, "division by zero");
        if (op == OP_DIV) {
            *out = vtext_j_float((double)((long double)a / (long double)b));
            return true;
        }
        if (b == -1)
            overflow = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &result);
        else
            result = op == OP_FLOORDIV ? floor_div(a, b) : a - floor_div(a, b) * b;
    } else if (op == OP_POW) {
        if (b < 0) {
            if (a == 0) return vtext_j_fail(r, "0.0 cannot be raised to a negative power");
            *out = vtext_j_float(pow((double)a, (double)b));
            return true;
        }
        overflow = !int_power(a, b, &result);
    } else {
        overflow = op == OP_ADD   ? __builtin_add_overflow(a, b, &result)
                   : op == OP_SUB ? __builtin_sub_overflow(a, b, &result)
                                  : __builtin_mul_overflow(a, b, &result);
    }
    if (overflow) return too_large(r);
    *out = vtext_j_int(result);
    return true;
}

static bool floats(j_run *r, j_operator op, double a, double b, j_value *out) {
    double f = 0;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return vtext_j_fail(r, "division by zero");
    switch (op) {
    case OP_ADD: f = a + b; break;
    case OP_SUB: f = a - b; break;
    case OP_MUL: f = a * b; break;
    case OP_DIV: f = a / b; break;
    case OP_POW:
        if ((a < 0 && isfinite(a) && isfinite(b) && b != floor(b)) || (a == 0 && b < 0))
            return vtext_j_fail(r, "a power that is not a real number");
        f = pow(a, b);
        break;
    default: { /* Python: the remainder has the sign of the divisor */
        double rest = fmod(a, b);
        f = (a - rest) / b;
        if (rest != 0 && (b < 0) != (rest < 0))
            rest += b, f -= 1;
        else if (rest == 0)
            rest = copysign(0.0, b);
        f = op == OP_MOD ? rest : f == 0 ? copysign(0.0, a / b) : floor(f + 0.5);
        break;
    }
    }
    *out = vtext_j_float(f);
    return true;
}

static bool join_lists(j_run *r, j_value a, j_value b, j_value *out) {
    if (!vtext_j_new_list(r, a.kind, out)) return false;
    for (size_t i = 0; i < a.u.list->n; i++)
        if (!vtext_j_push(r, out->u.list, a.u.list->item[i])) return false;
    for (size_t i = 0; i < b.u.list->n; i++)
        if (!vtext_j_push(r, out->u.list, b.u.list->item[i])) return false;
    return true;
}

static bool repeat(j_run *r, j_value v, int64_t times, j_value *out) {
    if (v.kind == J_STRING) {
        j_text t = { 0 };
        if (v.u.s.n && !vtext_j_pad(r, &t, v.u.s, times)) return false;
        *out = vtext_j_string(vtext_j_done(&t));
        return true;
    }
    if (!vtext_j_new_list(r, v.kind, out)) return false;
    for (int64_t k = 0; v.u.list->n && k < times; k++)
        for (size_t i = 0; i < v.u.list->n; i++)
            if (!vtext_j_push(r, out->u.list, v.u.list->item[i])) return false;
    return true;
}

static bool is_sequence(j_value v) {
    return v.kind == J_STRING || v.kind == J_LIST || v.kind == J_TUPLE;
}

bool vtext_j_binary(j_run *r, j_operator op, j_value a, j_value b, j_value *out) {
    static const char *const names[] = { "", "+", "-", "*", "/", "//", "%", "**" };
    if (a.kind == J_STRING && op == OP_MOD) return vtext_j_percent(r, a.u.s, b, out);
    if (a.kind == J_UNDEFINED) return vtext_j_use_undefined(r, a);
    if (b.kind == J_UNDEFINED) return vtext_j_use_undefined(r, b);
    if (vtext_j_is_integer(a) && vtext_j_is_integer(b))
        return integers(r, op, vtext_j_integer(a), vtext_j_integer(b), out);
    if (vtext_j_is_number(a) && vtext_j_is_number(b))
        return floats(r, op, vtext_j_number(a), vtext_j_number(b), out);
    if (op == OP_ADD && a.kind == J_STRING && b.kind == J_STRING) {
        *out = vtext_j_string((j_string) { 0 });
        return vtext_j_concat(r, a.u.s, b.u.s, &out->u.s);
    }
    if (op == OP_ADD && a.kind == b.kind && is_sequence(a)) return join_lists(r, a, b, out);
    if (op == OP_MUL && is_sequence(a) && vtext_j_is_integer(b))
        return repeat(r, a, vtext_j_integer(b), out);
    if (op == OP_MUL && is_sequence(b) && vtext_j_is_integer(a))
        return repeat(r, b, vtext_j_integer(a), out);
    if (op == OP_ADD && a.kind == J_STRING)
        return vtext_j_fail(r, "can only concatenate str (not \"%s\") to str", vtext_j_type(b));
    return bad_operands(r, names[op], a, b);
}

static bool eval_sign(j_run *r, j_node_kind kind, j_value v, j_value *out) {
    if (v.kind == J_UNDEFINED) return vtext_j_use_undefined(r, v);
    if (!vtext_j_is_number(v))
        return vtext_j_fail(r, "bad operand type for unary sign: '%s'", vtext_j_type(v));
    if (kind == N_NEGATE) {
        if (v.kind == J_FLOAT)
            *out = vtext_j_float(-v.u.f);
        else
            return integers(r, OP_SUB, 0, vtext_j_integer(v), out);
    } else {
        *out = v.kind == J_BOOL ? vtext_j_int(v.u.b) : v;
    }
    return true;
}

/* ---- comparison ------------------------------------------------------------------------------ */

bool vtext_j_contains(j_run *r, j_value container, j_value item, bool *out) {
    j_list items;
    *out = false;
    if (container.kind == J_STRING) {
        size_t at;
        if (item.kind != J_STRING)
            return vtext_j_fail(r, "'in <string>' requires string as left operand, not %s",
                                vtext_j_type(item));
        *out = vtext_j_find(container.u.s, item.u.s, 0, &at);
        return vtext_j_work(r, container.u.s.n);
    }
    if (container.kind == J_DICT) {
        j_value v;
        if (!vtext_j_hashable(item))
            return vtext_j_fail(r, "unhashable type: '%s'", vtext_j_type(item));
        *out = vtext_j_dict_get(container.u.dict, item, &v);
        return vtext_j_work(r, item.kind == J_STRING ? item.u.s.n : 0);
    }
    if (!vtext_j_iterable(container))
        return vtext_j_fail(r, "argument of type '%s' is not iterable", vtext_j_type(container));
    if (!vtext_j_items(r, container, &items)) return false;
    for (size_t i = 0; i < items.n && !*out; i++)
        if (!vtext_j_equal(r, items.item[i], item, out)) return false;
    return true;
}

static bool compare(j_run *r, j_operator op, j_value a, j_value b, bool *out) {
    bool less, same;
    switch (op) {
    case OP_EQ: return vtext_j_equal(r, a, b, out);
    case OP_NE:
        if (!vtext_j_equal(r, a, b, &same)) return false;
        *out = !same;
        return true;
    case OP_LT: return vtext_j_less(r, a, b, "<", out);
    case OP_GT: return vtext_j_less(r, b, a, ">", out);
    case OP_IN: return vtext_j_contains(r, b, a, out);
    case OP_NOT_IN:
        if (!vtext_j_contains(r, b, a, &same)) return false;
        *out = !same;
        return true;
    default: /* <= and >= are not "not >": NaN */
        if (!(op == OP_LE ? vtext_j_less(r, a, b, "<=", &less) : vtext_j_less(r, b, a, ">=", &less))
            || !vtext_j_equal(r, a, b, &same))
            return false;
        *out = less || same;
        return true;
    }
}

static bool eval_compare(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_value left, right;
    bool holds = true;
    if (!vtext_j_eval(r, scope, n->items->a, &left)) return false;
    for (const j_node *o = n->items->next; o && holds; o = o->next) {
        if (!vtext_j_eval(r, scope, o->a, &right)) return false;
        r->line = n->line;
        if (!compare(r, o->op, left, right, &holds)) return false;
        left = right;
    }
    *out = vtext_j_bool(holds);
    return true;
}

/* ---- names, attributes, items ---------------------------------------------------------------- */

static bool eval_name(j_run *r, const j_scope *scope, j_string name, j_value *out) {
    for (; scope; scope = scope->parent) {
        if (!vtext_j_work(r, name.n)) return false;
        if (vtext_j_get(&scope->vars, name, out)) return true;
    }
    const j_builtin *f = vtext_j_find_builtin(vtext_j_functions, name);
    if (!f) return vtext_j_undefined(r, NULL, name, NULL, out);
    *out = (j_value) { J_FUNCTION, { .function = f } };
    return true;
}

static bool slice_bound(j_run *r, j_scope *scope, const j_node *n, bool *given, int64_t *out) {
    j_value v = vtext_j_none();
    if (n && !vtext_j_eval(r, scope, n, &v)) return false;
    *given = v.kind != J_NONE;
    if (*given && !vtext_j_is_integer(v))
        return vtext_j_fail(r, "slice indices must be integers or None");
    if (*given) *out = vtext_j_integer(v);
    return true;
}

/* Python's slice(start, stop, step).indices(n). */
static bool slice_indices(j_run *r, j_scope *scope, const j_node *n, int64_t length, int64_t *start,
                          int64_t *stop, int64_t *step) {
    bool has_start, has_stop, has_step;
    *step = 1;
    if (!slice_bound(r, scope, n->a, &has_start, start)
        || !slice_bound(r, scope, n->b, &has_stop, stop)
        || !slice_bound(r, scope, n->c, &has_step, step))
        return false;
    if (*step == 0) return vtext_j_fail(r, "slice step cannot be zero");
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? length - 1 : length;
    int64_t *bound[2] = { start, stop };
    for (int i = 0; i < 2; i++) {
        if (!(i ? has_stop : has_start)) {
            *bound[i] = (i == 0) == (*step > 0) ? low : high;
            continue;
        }
        if (*bound[i] < 0) *bound[i] = *bound[i] < -length ? low : *bound[i] + length;
        if (*bound[i] < low) *bound[i] = low;
        if (*bound[i] > high) *bound[i] = high;
    }
    return true;
}

static bool slice_string(j_run *r, j_string s, int64_t start, int64_t stop, int64_t step,
                         j_value *out) {
    if (step == 1) {
        size_t from = vtext_j_offset(s, (size_t)start);
        size_t chars = stop > start ? (size_t)(stop - start) : 0;
        size_t to = from + vtext_j_offset(vtext_j_sub(s, from, s.n), chars);
        *out = vtext_j_string(vtext_j_sub(s, from, to));
        return true;
    }
    j_list items;
    j_text t = { 0 };
    if (!vtext_j_items(r, vtext_j_string(s), &items)) return false;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
        if (!vtext_j_add(r, &t, items.item[i].u.s)) return false;
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}

/* A slice of a range is one again. */
static bool slice_range(j_run *r, const struct j_range *of, int64_t start, int64_t stop,
                        int64_t step, j_value *out) {
    struct j_range *g = vtext_j_alloc(r, 1, sizeof *g);
    int64_t wide;
    if (!g) return false;
    if (__builtin_mul_overflow(of->step, step, &wide)) wide = step > 0 ? INT64_MAX : INT64_MIN;
    *g = (struct j_range) { of->start + start * of->step, of->start + stop * of->step, wide, 0 };
    if (step > 0 ? start < stop : start > stop) {
        uint64_t width = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
        g->n = (size_t)(((uint64_t)(step > 0 ? stop - start : start - stop) - 1) / width + 1);
    }
    *out = (j_value) { J_RANGE, { .range = g } };
    return true;
}

static bool eval_slice(j_run *r, j_scope *scope, j_value v, const j_node *n, j_value *out) {
    int64_t length, start = 0, stop = 0, step = 1;
    if (v.kind == J_UNDEFINED) return vtext_j_use_undefined(r, v);
    if (!is_sequence(v) && v.kind != J_RANGE)
        return vtext_j_fail(r, "'%s' object cannot be sliced", vtext_j_type(v));
    if (!vtext_j_length(r, v, &length) || !slice_indices(r, scope, n, length, &start, &stop, &step))
        return false;
    if (v.kind == J_STRING) return slice_string(r, v.u.s, start, stop, step, out);
    if (v.kind == J_RANGE) return slice_range(r, v.u.range, start, stop, step, out);
    j_list items;
    if (!vtext_j_items(r, v, &items)
        || !vtext_j_new_list(r, v.kind == J_TUPLE ? J_TUPLE : J_LIST, out))
        return false;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
        if (!vtext_j_push(r, out->u.list, items.item[i])) return false;
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return true;
}

static bool eval_item(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_value obj, key;
    if (!vtext_j_eval(r, scope, n->a, &obj)) return false;
    if (n->b->kind == N_SLICE) return eval_slice(r, scope, obj, n->b, out);
    if (!vtext_j_eval(r, scope, n->b, &key)) return false;
    r->line = n->line;
    return vtext_j_item(r, obj, key, out);
}

/* ---- calls, filters, tests ------------------------------------------------------------------- */

static bool push_named(j_run *r, j_args *args, size_t cap, j_string name, j_value v) {
    if (args->n_named == cap) return vtext_j_fail(r, "too many keyword arguments");
    if (!vtext_j_work(r, args->n_named * 16)) return false;
    for (size_t i = 0; i < args->n_named; i++)
        if (vtext_j_same(args->name[i], name))
            return vtext_j_fail(r, "keyword argument '%.*s' is given twice", (int)name.n, name.p);
    args->name[args->n_named] = name;
    args->named[args->n_named++] = v;
    return true;
}

static bool spread_named(j_run *r, j_args *args, size_t *cap, j_value v) {
    if (v.kind != J_DICT) return vtext_j_fail(r, "argument after ** must be a mapping");
    size_t n = v.u.dict->n + *cap;
    j_string *name = vtext_j_alloc(r, n, sizeof *name);
    j_value *named = vtext_j_alloc(r, n, sizeof *named);
    if (!name || !named) return false;
    if (args->n_named) {
        memcpy(name, args->name, args->n_named * sizeof *name);
        memcpy(named, args->named, args->n_named * sizeof *named);
    }
    args->name = name;
    args->named = named;
    *cap = n;
    for (size_t i = 0; i < v.u.dict->n; i++) {
        const j_entry *e = &v.u.dict->entry[i];
        if (e->key.kind != J_STRING) return vtext_j_fail(r, "keywords must be strings");
        if (!push_named(r, args, n, e->key.u.s, e->value)) return false;
    }
    return true;
}

bool vtext_j_eval_args(j_run *r, j_scope *scope, const j_node *first, j_args *out) {
    j_list items = { 0 };
    size_t cap = 0;
    *out = (j_args) { 0 };
    for (const j_node *n = first; n; n = n->next) cap += n->kind == N_CALL_ARGUMENT;
    if (cap) {
        out->name = vtext_j_alloc(r, cap, sizeof *out->name);
        out->named = vtext_j_alloc(r, cap, sizeof *out->named);
        if (!out->name || !out->named) return false;
    }
    for (const j_node *n = first; n; n = n->next) {
        j_value v;
        j_list more;
        if (!vtext_j_eval(r, scope, n->kind == N_CALL_ARGUMENT ? n->a : n, &v)) return false;
        if (n->kind != N_CALL_ARGUMENT) {
            if (!vtext_j_push(r, &items, v)) return false;
        } else if (n->op == OP_MUL) {
            if (!vtext_j_items(r, v, &more)) return false;
            for (size_t i = 0; i < more.n; i++)
                if (!vtext_j_push(r, &items, more.item[i])) return false;
        } else if (n->op == OP_POW) {
            if (!spread_named(r, out, &cap, v)) return false;
        } else if (!push_named(r, out, cap, n->name, v)) {
            return false;
        }
    }
    out->item = items.item;
    out->n = items.n;
    return true;
}

bool vtext_j_call(j_run *r, j_value callee, const j_args *args, j_value *out) {
    uint32_t line = r->line;
    bool done;
    switch (callee.kind) {
    case J_UNDEFINED: return vtext_j_use_undefined(r, callee);
    case J_MACRO: done = vtext_j_call_macro(r, callee.u.macro, args, out); break;
    case J_FUNCTION:
        done = vtext_j_call_builtin(r, callee.u.function, "function", vtext_j_none(), args, out);
        break;
    case J_METHOD:
        done = vtext_j_call_builtin(r, callee.u.method->function, "method", callee.u.method->self,
                                    args, out);
        break;
    case J_LOOP:
        if (args->n != 1) return vtext_j_fail(r, "loop() takes one argument");
        done = vtext_j_call_loop(r, callee.u.loop, args->item[0], out);
        break;
    case J_JOINER: /* nothing at first, then the separator */
        *out =
            callee.u.cursor->pos++ ? callee.u.cursor->items.item[0] : vtext_j_string(J_LITERAL(""));
        return true;
    default: return vtext_j_fail(r, "'%s' object is not callable", vtext_j_type(callee));
    }
    if (done) r->line = line;
    return done;
}

static bool eval_call(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_value callee;
    j_args args;
    if (!vtext_j_eval(r, scope, n->a, &callee) || !vtext_j_eval_args(r, scope, n->items, &args))
        return false;
    r->line = n->line;
    return vtext_j_call(r, callee, &args, out);
}

/* A chain a|b|c whose innermost input is NULL: the text of a filter or set block. */
bool vtext_j_filter_chain(j_run *r, j_scope *scope, const j_node *n, j_value input, j_value *out) {
    j_args args;
    if (n->a && !vtext_j_filter_chain(r, scope, n->a, input, &input)) return false;
    if (!vtext_j_eval_args(r, scope, n->items, &args)) return false;
    r->line = n->line;
    return vtext_j_call_filter(r, n->name, input, &args, out);
}

static bool eval_filter(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_value input;
    j_args args;
    if (!vtext_j_eval(r, scope, n->a, &input) || !vtext_j_eval_args(r, scope, n->items, &args))
        return false;
    r->line = n->line;
    return vtext_j_call_filter(r, n->name, input, &args, out);
}

static bool eval_test(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_value input;
    j_args args;
    bool holds;
    if (!vtext_j_eval(r, scope, n->a, &input) || !vtext_j_eval_args(r, scope, n->items, &args))
        return false;
    r->line = n->line;
    if (!vtext_j_call_test(r, n->name, input, &args, &holds)) return false;
    *out = vtext_j_bool(holds);
    return true;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static bool eval_list(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    if (!vtext_j_new_list(r, n->kind == N_LIST ? J_LIST : J_TUPLE, out)) return false;
    for (const j_node *item = n->items; item; item = item->next) {
        j_value v;
        if (!vtext_j_eval(r, scope, item, &v) || !vtext_j_push(r, out->u.list, v)) return false;
    }
    return true;
}

static bool eval_dict(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    if (!vtext_j_new_dict(r, out)) return false;
    for (const j_node *key = n->items; key; key = key->next->next) {
        j_value k, v;
        if (!vtext_j_eval(r, scope, key, &k) || !vtext_j_eval(r, scope, key->next, &v)
            || !vtext_j_dict_put(r, out->u.dict, k, v))
            return false;
    }
    return true;
}

static bool eval_chain(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    if (!vtext_j_eval(r, scope, n->items->a, out)) return false;
    for (const j_node *o = n->items->next; o; o = o->next) {
        j_value right, left = *out;
        if (!vtext_j_eval(r, scope, o->a, &right)) return false;
        r->line = o->line;
        if (!vtext_j_binary(r, o->op, left, right, out)) return false;
    }
    return true;
}

static bool eval_concat(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_string all = { "", 0, NULL };
    for (const j_node *o = n->items; o; o = o->next) {
        j_value v;
        j_string s;
        if (!vtext_j_eval(r, scope, o->a, &v) || !vtext_j_str(r, v, &s)
            || !vtext_j_concat(r, all, s, &all))
            return false;
    }
    *out = vtext_j_string(all);
    return true;
}

static bool eval_logic(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    for (const j_node *item = n->items; item; item = item->next) {
        if (!vtext_j_eval(r, scope, item, out)) return false;
        if (vtext_j_truth(*out) == (n->kind == N_OR)) return true;
    }
    return true;
}

static bool eval_condition(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_value test;
    if (!vtext_j_eval(r, scope, n->b, &test)) return false;
    if (vtext_j_truth(test)) return vtext_j_eval(r, scope, n->a, out);
    if (n->c) return vtext_j_eval(r, scope, n->c, out);
    return vtext_j_undefined(r,
                             "the inline if-expression evaluated to false and no else section was "
                             "defined",
                             (j_string) { 0 }, NULL, out);
}

static bool eval_node(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    j_value v;
    switch (n->kind) {
    case N_CONST: *out = n->value; return true;
    case N_NAME: return eval_name(r, scope, n->name, out);
    case N_LIST:
    case N_TUPLE: return eval_list(r, scope, n, out);
    case N_DICT: return eval_dict(r, scope, n, out);
    case N_CHAIN: return eval_chain(r, scope, n, out);
    case N_CONCAT: return eval_concat(r, scope, n, out);
    case N_COMPARE: return eval_compare(r, scope, n, out);
    case N_AND:
    case N_OR: return eval_logic(r, scope, n, out);
    case N_NOT:
        if (!vtext_j_eval(r, scope, n->a, &v)) return false;
        *out = vtext_j_bool(!vtext_j_truth(v));
        return true;
    case N_NEGATE:
    case N_PLUS: return vtext_j_eval(r, scope, n->a, &v) && eval_sign(r, n->kind, v, out);
    case N_CONDITION: return eval_condition(r, scope, n, out);
    case N_ATTRIBUTE:
        if (!vtext_j_eval(r, scope, n->a, &v)) return false;
        r->line = n->line;
        return vtext_j_attribute(r, v, n->name, out);
    case N_ITEM: return eval_item(r, scope, n, out);
    case N_CALL: return eval_call(r, scope, n, out);
    case N_FILTER: return eval_filter(r, scope, n, out);
    case N_TEST: return eval_test(r, scope, n, out);
    default: return vtext_j_fail(r, "a slice may only stand alone in [ ]");
    }
}

bool vtext_j_eval(j_run *r, j_scope *scope, const j_node *n, j_value *out) {
    r->line = n->line;
    if (!vtext_j_work(r, 0)) return false;
    if (++r->frames > J_MAX_FRAMES)
        return vtext_j_fail_status(r, VLM_ERR_LIMIT, "the template nests too deep");
    bool done = eval_node(r, scope, n, out);
    r->frames--;
    return done;
}
