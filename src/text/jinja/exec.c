/* SPDX-License-Identifier: MIT */
/* Statements: output, branches, loops, assignments, macros and blocks that collect their text.
 * Scopes are jinja2's: a loop's iteration, a macro and a block have their own, an `if` has none. */
#include "text/jinja/ast.h"
#include "text/jinja/call.h"

typedef enum flow { FLOW_FAILED, FLOW_NORMAL, FLOW_BREAK, FLOW_CONTINUE } flow;

static flow exec_body(j_run *r, j_scope *scope, const j_node *body, j_text *out);

/* Scopes lie in the arena: a macro defined in one may outlive it. */
static j_scope *new_scope(j_run *r, j_scope *parent) {
    j_scope *scope = vtext_j_alloc(r, 1, sizeof *scope);
    if (scope) scope->parent = parent;
    return scope;
}

/* A scope for another round of a loop: the last one's, unless something still looks into it. Many rounds then
 * cost steps, not memory. */
static j_scope *next_scope(j_run *r, j_scope *last, uint64_t kept, j_scope *parent) {
    if (!last || last->vars.slot || r->kept != kept) return new_scope(r, parent);
    last->vars.n = 0;
    return last;
}

static flow ok(bool done) {
    return done ? FLOW_NORMAL : FLOW_FAILED;
}

static bool put(j_run *r, j_text *out, j_string s) {
    if (s.n > r->max_output - out->n)
        return vtext_j_fail_limit(r, r->max_output, "the template gives more than %llu bytes",
                                  (unsigned long long)r->max_output);
    return vtext_j_add(r, out, s);
}

static flow exec_print(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    for (const j_node *item = n->items; item; item = item->next) {
        j_value v;
        j_string s;
        if (!vtext_j_eval(r, scope, item, &v) || !vtext_j_str(r, v, &s) || !put(r, out, s))
            return FLOW_FAILED;
    }
    return FLOW_NORMAL;
}

static flow exec_if(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    for (const j_node *branch = n->items; branch; branch = branch->next) {
        j_value test;
        if (branch->a && !vtext_j_eval(r, scope, branch->a, &test)) return FLOW_FAILED;
        if (!branch->a || vtext_j_truth(test)) return exec_body(r, scope, branch->body, out);
    }
    return FLOW_NORMAL;
}

/* ---- assignment ------------------------------------------------------------------------------ */

static bool set_name(j_run *r, j_scope *scope, j_string name, j_value v) {
    return vtext_j_dict_put(r, &scope->vars, vtext_j_string(name), v);
}

static bool find_name(const j_scope *scope, j_string name, j_value *out) {
    for (; scope; scope = scope->parent)
        if (vtext_j_get(&scope->vars, name, out)) return true;
    return false;
}

static bool assign(j_run *r, j_scope *scope, const j_node *target, j_value v) {
    if (target->kind == N_NAME) return set_name(r, scope, target->name, v);
    if (target->kind == N_ATTRIBUTE_TARGET) {
        j_value ns;
        if (!find_name(scope, target->name, &ns) || ns.kind != J_NAMESPACE)
            return vtext_j_fail(r, "cannot assign attribute on non-namespace object");
        return vtext_j_dict_put(r, ns.u.dict, vtext_j_string(target->attribute), v);
    }
    j_list items;
    if (!vtext_j_items(r, v, &items)) return false;
    size_t i = 0;
    for (const j_node *t = target->items; t; t = t->next, i++) {
        if (i == items.n) return vtext_j_fail(r, "not enough values to unpack (got %zu)", items.n);
        if (!assign(r, scope, t, items.item[i])) return false;
    }
    return i == items.n || vtext_j_fail(r, "too many values to unpack (expected %zu)", i);
}

static flow exec_set(j_run *r, j_scope *scope, const j_node *n) {
    j_value v;
    return ok(vtext_j_eval(r, scope, n->b, &v) && assign(r, scope, n->a, v));
}

/* Text of a body that is not printed where it stands. */
static flow collect(j_run *r, j_scope *scope, const j_node *body, j_value *out) {
    j_text t = { 0 };
    j_scope *inner = new_scope(r, scope);
    if (!inner) return FLOW_FAILED;
    flow f = exec_body(r, inner, body, &t);
    *out = vtext_j_string(vtext_j_done(&t));
    return f;
}

static flow exec_set_block(j_run *r, j_scope *scope, const j_node *n) {
    j_value v;
    flow f = collect(r, scope, n->body, &v);
    if (f != FLOW_NORMAL) return f;
    return ok((!n->b || vtext_j_filter_chain(r, scope, n->b, v, &v)) && assign(r, scope, n->a, v));
}

/* What filter and call blocks give must be text; it is not made to be. */
static bool put_text(j_run *r, j_text *out, j_value v) {
    if (v.kind == J_STRING) return put(r, out, v.u.s);
    return vtext_j_fail(r, "sequence item: expected str instance, %s found", vtext_j_type(v));
}

static flow exec_filter_block(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    j_value v;
    flow f = collect(r, scope, n->body, &v);
    if (f != FLOW_NORMAL) return f;
    return ok(vtext_j_filter_chain(r, scope, n->b, v, &v) && put_text(r, out, v));
}

static flow exec_with(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    j_scope *inner = new_scope(r, scope);
    if (!inner) return FLOW_FAILED;
    for (const j_node *pair = n->items; pair; pair = pair->next) {
        j_value v; /* values see the outer names only */
        if (!vtext_j_eval(r, scope, pair->b, &v) || !assign(r, inner, pair->a, v))
            return FLOW_FAILED;
    }
    return exec_body(r, inner, n->body, out);
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* The next item that passes the loop's test; found false at the end. Tests run as late as jinja2's.
 */
static bool next_item(j_run *r, j_loop *loop, j_value *out, bool *found) {
    const j_node *n = loop->node;
    *found = false;
    while (loop->pos < loop->items.n) {
        j_value test;
        *out = loop->items.item[loop->pos++];
        if (!vtext_j_work(r, 0)) return false;
        if (n->c) {
            loop->tested = next_scope(r, loop->tested, r->kept, loop->scope);
            if (!loop->tested || !assign(r, loop->tested, n->a, *out)
                || !vtext_j_eval(r, loop->tested, n->c, &test))
                return false;
            if (!vtext_j_truth(test)) continue;
        }
        *found = true;
        return true;
    }
    return true;
}

bool vtext_j_loop_peek(j_run *r, j_loop *loop) {
    return loop->has_after || next_item(r, loop, &loop->after, &loop->has_after);
}

bool vtext_j_loop_length(j_run *r, j_loop *loop, size_t *n) {
    if (loop->node->c) { /* settle the test of all the rest now */
        j_list rest = { 0 };
        j_value v;
        bool found;
        for (;;) {
            if (!next_item(r, loop, &v, &found)) return false;
            if (!found) break;
            if (!vtext_j_push(r, &rest, v)) return false;
        }
        j_list all = { 0 }; /* items seen so far need only be counted */
        size_t seen = (size_t)(loop->index0 + 1) + loop->has_after;
        all.item = vtext_j_alloc(r, seen + rest.n, sizeof *all.item);
        if (!all.item) return false;
        if (rest.n) memcpy(all.item + seen, rest.item, rest.n * sizeof *rest.item);
        all.n = all.cap = seen + rest.n;
        loop->items = all;
        loop->pos = seen;
        j_node *plain = vtext_j_alloc(r, 1, sizeof *plain);
        if (!plain) return false;
        *plain = *loop->node;
        plain->c = NULL;
        loop->node = plain;
    }
    *n = loop->items.n;
    return true;
}

/* The else part runs unless some iteration came to its end: one that breaks or continues does not
 * count, as in jinja2. */
static flow run_loop(j_run *r, j_loop *loop, j_text *out) {
    const j_node *n = loop->node;
    bool completed = false;
    j_scope *scope = NULL;
    uint64_t kept = 0;
    for (;;) {
        j_value item = loop->after;
        bool found = loop->has_after;
        loop->has_after = false;
        if (!found && !next_item(r, loop, &item, &found)) return FLOW_FAILED;
        if (!found) break;
        loop->index0++;
        loop->previous = loop->current;
        loop->current = item;
        scope = next_scope(r, scope, kept, loop->scope);
        if (!scope) return FLOW_FAILED;
        kept = r->kept;
        j_value self = { J_LOOP, { .loop = loop } };
        if (!set_name(r, scope, J_LITERAL("loop"), self) || !assign(r, scope, n->a, item))
            return FLOW_FAILED;
        flow f = exec_body(r, scope, n->body, out);
        if (f == FLOW_FAILED) return f;
        if (f == FLOW_BREAK) break;
        completed |= f == FLOW_NORMAL;
    }
    if (completed || !n->other) return FLOW_NORMAL;
    if (!(scope = new_scope(r, loop->scope))) return FLOW_FAILED;
    return exec_body(r, scope, n->other, out);
}

static j_loop *new_loop(j_run *r, const j_node *n, j_scope *scope, j_value items, int depth0) {
    j_loop *loop = vtext_j_alloc(r, 1, sizeof *loop);
    if (!loop || !vtext_j_items(r, items, &loop->items)) return NULL;
    loop->node = n;
    loop->scope = scope;
    r->kept += n->c || n->flag; /* tested, or called, by whoever keeps the loop */
    loop->index0 = -1;
    loop->depth0 = depth0;
    return loop;
}

static flow exec_for(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    j_value items;
    if (!vtext_j_eval(r, scope, n->b, &items)) return FLOW_FAILED;
    j_loop *loop = new_loop(r, n, scope, items, 0);
    return loop ? run_loop(r, loop, out) : FLOW_FAILED;
}

bool vtext_j_call_loop(j_run *r, j_loop *loop, j_value items, j_value *out) {
    if (!loop->node->flag)
        return vtext_j_fail(r, "the loop must be marked 'recursive' to be called");
    j_loop *inner = new_loop(r, loop->node, loop->scope, items, loop->depth0 + 1);
    j_text t = { 0 };
    if (!inner || run_loop(r, inner, &t) == FLOW_FAILED) return false;
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}

/* ---- macros ---------------------------------------------------------------------------------- */

static j_macro *new_macro(j_run *r, const j_node *n, j_scope *scope) {
    j_macro *m = vtext_j_alloc(r, 1, sizeof *m);
    if (m) *m = (j_macro) { n, scope };
    r->kept++;
    return m;
}

static flow exec_macro(j_run *r, j_scope *scope, const j_node *n) {
    j_macro *m = new_macro(r, n, scope);
    return ok(m && set_name(r, scope, n->name, (j_value) { J_MACRO, { .macro = m } }));
}

/* Takes a keyword argument out of args, as far as it is there. */
static bool take_named(j_args *args, j_string name, j_value *out) {
    for (size_t i = 0; i < args->n_named; i++)
        if (args->named[i].kind != J_MISSING && vtext_j_same(args->name[i], name)) {
            *out = args->named[i];
            args->named[i].kind = J_MISSING;
            return true;
        }
    return false;
}

/* Names what the arguments say in the macro's scope: parameters, then caller, kwargs, varargs. */
static bool bind(j_run *r, j_scope *scope, const j_macro *m, j_args *args) {
    const j_node *n = m->node;
    size_t i = 0;
    bool has_caller = false;
    for (const j_node *param = n->items; param; param = param->next, i++) {
        j_value v;
        has_caller |= vtext_j_is(param->name, "caller");
        if (!vtext_j_work(r, args->n_named * 16)) return false;
        if (i < args->n) {
            v = args->item[i];
        } else if (!take_named(args, param->name, &v)) {
            if (param->a ? !vtext_j_eval(r, scope, param->a, &v)
                         : !vtext_j_undefined(r, NULL, param->name, NULL, &v))
                return false;
        }
        if (!set_name(r, scope, param->name, v)) return false;
    }
    if (n->uses_caller && !has_caller) {
        j_value v;
        if (!take_named(args, J_LITERAL("caller"), &v)
            && !vtext_j_undefined(r, "No caller defined", J_LITERAL("caller"), NULL, &v))
            return false;
        if (!set_name(r, scope, J_LITERAL("caller"), v)) return false;
    }
    j_value kwargs, varargs;
    if (!vtext_j_new_dict(r, &kwargs) || !vtext_j_new_list(r, J_TUPLE, &varargs)) return false;
    for (size_t k = 0; k < args->n_named; k++) {
        if (args->named[k].kind == J_MISSING) continue;
        if (!n->uses_kwargs)
            return vtext_j_fail(r, "macro '%.*s' takes no keyword argument '%.*s'", (int)n->name.n,
                                n->name.p, (int)args->name[k].n, args->name[k].p);
        if (!vtext_j_dict_put(r, kwargs.u.dict, vtext_j_string(args->name[k]), args->named[k]))
            return false;
    }
    if (args->n > i && !n->uses_varargs)
        return vtext_j_fail(r, "macro '%.*s' takes not more than %zu argument(s)", (int)n->name.n,
                            n->name.p, i);
    for (; i < args->n; i++)
        if (!vtext_j_push(r, varargs.u.list, args->item[i])) return false;
    return (!n->uses_kwargs || set_name(r, scope, J_LITERAL("kwargs"), kwargs))
           && (!n->uses_varargs || set_name(r, scope, J_LITERAL("varargs"), varargs));
}

bool vtext_j_call_macro(j_run *r, j_macro *m, const j_args *args, j_value *out) {
    j_scope *scope = vtext_j_alloc(r, 1, sizeof *scope);
    j_args copy = *args;
    j_text t = { 0 };
    if (!scope) return false;
    scope->parent = m->scope;
    if (args->n_named) {
        copy.named = vtext_j_alloc(r, args->n_named, sizeof *copy.named);
        if (!copy.named) return false;
        memcpy(copy.named, args->named, args->n_named * sizeof *copy.named);
    }
    if (++r->macros > J_MAX_MACROS)
        return vtext_j_fail_status(r, VLM_ERR_LIMIT, "macro calls nest deeper than %d",
                                   J_MAX_MACROS);
    if (!bind(r, scope, m, &copy)) return false;
    if (exec_body(r, scope, m->node->body, &t) == FLOW_FAILED) return false;
    r->macros--;
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}

static flow exec_call_block(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    j_value callee, v;
    j_args args;
    j_macro *caller = new_macro(r, n, scope);
    if (!caller || !vtext_j_eval(r, scope, n->a->a, &callee)
        || !vtext_j_eval_args(r, scope, n->a->items, &args))
        return FLOW_FAILED;
    size_t named = args.n_named;
    j_string *name = vtext_j_alloc(r, named + 1, sizeof *name);
    j_value *value = vtext_j_alloc(r, named + 1, sizeof *value);
    if (!name || !value) return FLOW_FAILED;
    if (named) {
        memcpy(name, args.name, named * sizeof *name);
        memcpy(value, args.named, named * sizeof *value);
    }
    name[named] = J_LITERAL("caller");
    value[named] = (j_value) { J_MACRO, { .macro = caller } };
    args.name = name;
    args.named = value;
    args.n_named++;
    return ok(vtext_j_call(r, callee, &args, &v) && put_text(r, out, v));
}

/* ---- dispatch -------------------------------------------------------------------------------- */

static flow exec_generation(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    j_scope *inner = new_scope(r, scope);
    size_t begin = r->root->n,
           before = out->n; /* inside a macro or block, too: as transformers counts */
    if (!inner) return FLOW_FAILED;
    flow f = exec_body(r, inner, n->body, out);
    size_t end = begin + out->n - before;
    bool noted = vtext_j_push(r, &r->generation, vtext_j_int((int64_t)begin))
                 && vtext_j_push(r, &r->generation, vtext_j_int((int64_t)end));
    return noted ? f : FLOW_FAILED;
}

static flow exec_statement(j_run *r, j_scope *scope, const j_node *n, j_text *out) {
    switch (n->kind) {
    case N_TEXT: return ok(put(r, out, n->value.u.s));
    case N_PRINT: return exec_print(r, scope, n, out);
    case N_IF: return exec_if(r, scope, n, out);
    case N_FOR: return exec_for(r, scope, n, out);
    case N_SET: return exec_set(r, scope, n);
    case N_SET_BLOCK: return exec_set_block(r, scope, n);
    case N_MACRO: return exec_macro(r, scope, n);
    case N_CALL_BLOCK: return exec_call_block(r, scope, n, out);
    case N_FILTER_BLOCK: return exec_filter_block(r, scope, n, out);
    case N_WITH: return exec_with(r, scope, n, out);
    case N_GENERATION: return exec_generation(r, scope, n, out);
    case N_BREAK: return FLOW_BREAK;
    default: return FLOW_CONTINUE;
    }
}

static flow exec_body(j_run *r, j_scope *scope, const j_node *body, j_text *out) {
    flow f = FLOW_NORMAL;
    if (++r->frames > J_MAX_FRAMES) {
        vtext_j_fail_status(r, VLM_ERR_LIMIT, "the template nests too deep");
        return FLOW_FAILED;
    }
    for (const j_node *n = body; n && f == FLOW_NORMAL; n = n->next) {
        r->line = n->line;
        f = vtext_j_work(r, 0) ? exec_statement(r, scope, n, out) : FLOW_FAILED;
    }
    r->frames--;
    return f;
}

bool vtext_j_exec(j_run *r, j_scope *scope, const j_node *body, j_text *out) {
    return exec_body(r, scope, body, out) != FLOW_FAILED;
}
