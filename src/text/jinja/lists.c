/* SPDX-License-Identifier: MIT */
/* Filters over sequences and mappings. What is a generator in jinja2 is an iterator here: always
 * true, without length, read once; only its items are computed at once. */
#include "text/jinja/call.h"

/* ---- attributes of items --------------------------------------------------------------------- */

/* item.a.0.b as jinja2's filters look it up: by item, numbers as indices. */
static bool look_up(j_run *r, j_value item, j_value path, j_value otherwise, j_value *out) {
    *out = item;
    if (path.kind == J_MISSING || path.kind == J_NONE) return true;
    if (path.kind != J_STRING) return vtext_j_item(r, item, path, out);
    for (size_t begin = 0; begin <= path.u.s.n;) {
        size_t end = begin;
        int64_t number = 0;
        bool numeric = true;
        for (; end < path.u.s.n && path.u.s.p[end] != '.'; end++) {
            char c = path.u.s.p[end];
            numeric &= c >= '0' && c <= '9' && number < 100000000;
            if (numeric) number = number * 10 + (c - '0');
        }
        j_string name = vtext_j_sub(path.u.s, begin, end);
        j_value key = numeric && name.n ? vtext_j_int(number) : vtext_j_string(name);
        if (!vtext_j_item(r, *out, key, out)) return false;
        if (out->kind == J_UNDEFINED && otherwise.kind != J_MISSING && otherwise.kind != J_NONE)
            *out = otherwise;
        begin = end + 1;
    }
    return true;
}

/* The same as a key to compare: strings in lower case unless case counts. */
static bool key_of(j_run *r, j_value item, j_value path, j_value otherwise, bool cased,
                   j_value *out) {
    if (!look_up(r, item, path, otherwise, out)) return false;
    if (cased || out->kind != J_STRING) return true;
    return vtext_j_recase(r, out->u.s, J_LOWER, &out->u.s);
}

/* The list of keys to sort by, one per attribute of "a,b": equal ones are then never asked for
 * order. */
static bool keys_of(j_run *r, j_value item, j_value paths, bool cased, j_value *out) {
    const j_value none = { J_MISSING, { 0 } };
    j_value key;
    if (!vtext_j_new_list(r, J_LIST, out)) return false;
    if (paths.kind != J_STRING)
        return key_of(r, item, paths, none, cased, &key) && vtext_j_push(r, out->u.list, key);
    for (size_t begin = 0; begin <= paths.u.s.n;) {
        size_t end = begin;
        while (end < paths.u.s.n && paths.u.s.p[end] != ',') end++;
        j_value path = vtext_j_string(vtext_j_sub(paths.u.s, begin, end));
        if (!key_of(r, item, path, none, cased, &key) || !vtext_j_push(r, out->u.list, key))
            return false;
        begin = end + 1;
    }
    return true;
}

/* ---- making lists ---------------------------------------------------------------------------- */

static bool new_iterator(j_run *r, const j_list *items, j_value *out) {
    if (!vtext_j_new_list(r, J_ITERATOR, out)) return false;
    out->u.cursor->items = *items;
    return true;
}

static bool copy_items(j_run *r, j_value v, j_list *out) {
    j_list items;
    *out = (j_list) { 0 };
    if (!vtext_j_items(r, v, &items)) return false;
    for (size_t i = 0; i < items.n; i++)
        if (!vtext_j_push(r, out, items.item[i])) return false;
    return true;
}

static bool filter_list(j_run *r, const j_call *c, j_value *out) {
    return vtext_j_new_list(r, J_LIST, out) && copy_items(r, c->self, out->u.list);
}

static bool filter_length(j_run *r, const j_call *c, j_value *out) {
    int64_t n;
    if (!vtext_j_length(r, c->self, &n)) return false;
    *out = vtext_j_int(n);
    return true;
}

static bool filter_first(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    if (c->self.kind == J_ITERATOR) { /* takes one item only */
        struct j_cursor *it = c->self.u.cursor;
        if (it->pos < it->items.n) {
            *out = it->items.item[it->pos++];
            return true;
        }
    }
    if (!vtext_j_items(r, c->self, &items)) return false;
    if (items.n == 0)
        return vtext_j_undefined(r, "No first item, sequence was empty.", (j_string) { 0 }, NULL,
                                 out);
    *out = items.item[0];
    return true;
}

static bool filter_last(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    if (c->self.kind == J_ITERATOR) return vtext_j_fail(r, "'generator' object is not reversible");
    if (!vtext_j_items(r, c->self, &items)) return false;
    if (items.n == 0)
        return vtext_j_undefined(r, "No last item, sequence was empty.", (j_string) { 0 }, NULL,
                                 out);
    *out = items.item[items.n - 1];
    return true;
}

static bool filter_reverse(j_run *r, const j_call *c, j_value *out) {
    j_list items, reversed = { 0 };
    if (!vtext_j_items(r, c->self, &items)) return false;
    for (size_t i = items.n; i-- > 0;)
        if (!vtext_j_push(r, &reversed, items.item[i])) return false;
    if (c->self.kind != J_STRING) return new_iterator(r, &reversed, out);
    return vtext_j_join(r, J_LITERAL(""), &reversed, true, out);
}

static bool filter_join(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    j_string separator = J_LITERAL("");
    const j_value none = { J_MISSING, { 0 } };
    if (c->arg[0].kind != J_MISSING && !vtext_j_str(r, c->arg[0], &separator)) return false;
    if (!copy_items(r, c->self, &items)) return false;
    for (size_t i = 0; i < items.n; i++)
        if (!look_up(r, items.item[i], c->arg[1], none, &items.item[i])) return false;
    return vtext_j_join(r, separator, &items, false, out);
}

static bool filter_default(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    bool use = c->self.kind == J_UNDEFINED || (vtext_j_arg_bool(c, 1) && !vtext_j_truth(c->self));
    *out = !use ? c->self : c->arg[0].kind == J_MISSING ? vtext_j_string(J_LITERAL("")) : c->arg[0];
    return true;
}

static bool filter_attr(j_run *r, const j_call *c, j_value *out) {
    j_string name = { 0 };
    if (!vtext_j_arg_string(r, c, 0, &name)) return false;
    if (c->self.kind != J_DICT) return vtext_j_attribute(r, c->self, name, out);
    j_value empty; /* of a dict only its methods, not its keys */
    return vtext_j_new_dict(r, &empty) && vtext_j_attribute(r, empty, name, out)
           && (out->kind != J_METHOD || vtext_j_attribute(r, c->self, name, out));
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* select, reject, selectattr, rejectattr */
static bool filter_select(j_run *r, const j_call *c, j_value *out) {
    bool by_attribute = strlen(c->name) > 6, want = c->name[0] == 's';
    j_args rest = *c->args;
    j_list items, chosen = { 0 };
    j_value path = { J_MISSING, { 0 } };
    const j_value none = path;
    if (by_attribute) {
        if (rest.n == 0)
            return vtext_j_fail(r, "filter '%s' needs the name of an attribute", c->name);
        path = rest.item[0];
        rest.item++, rest.n--;
    }
    const j_value *test = rest.n ? rest.item : NULL;
    if (test && test->kind != J_STRING)
        return vtext_j_fail(r, "filter '%s' needs the name of a test", c->name);
    if (test) rest.item++, rest.n--;
    if (!vtext_j_truth(c->self)) return new_iterator(r, &chosen, out);
    if (!vtext_j_items(r, c->self, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        j_value v;
        bool holds;
        if (!look_up(r, items.item[i], path, none, &v)) return false;
        holds = vtext_j_truth(v);
        if (test && !vtext_j_call_test(r, test->u.s, v, &rest, &holds)) return false;
        if (holds == want && !vtext_j_push(r, &chosen, items.item[i])) return false;
    }
    return new_iterator(r, &chosen, out);
}

static bool named(const j_args *args, const char *name, j_value *out) {
    for (size_t i = 0; i < args->n_named; i++)
        if (vtext_j_is(args->name[i], name)) {
            *out = args->named[i];
            return true;
        }
    return false;
}

static bool filter_map(j_run *r, const j_call *c, j_value *out) {
    j_args rest = *c->args;
    j_list items, mapped = { 0 };
    j_value path = { J_MISSING, { 0 } }, otherwise = path, v;
    bool by_attribute = rest.n == 0 && named(&rest, "attribute", &path);
    if (by_attribute && rest.n_named > 1u + named(&rest, "default", &otherwise))
        return vtext_j_fail(r, "filter 'map': unexpected keyword argument");
    if (!by_attribute && (rest.n == 0 || rest.item[0].kind != J_STRING))
        return vtext_j_fail(r, "filter 'map' needs the name of a filter");
    if (!vtext_j_truth(c->self)) return new_iterator(r, &mapped, out);
    if (!by_attribute) rest.item++, rest.n--;
    if (!vtext_j_items(r, c->self, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        bool done = by_attribute
                        ? look_up(r, items.item[i], path, otherwise, &v)
                        : vtext_j_call_filter(r, c->args->item[0].u.s, items.item[i], &rest, &v);
        if (!done || !vtext_j_push(r, &mapped, v)) return false;
    }
    return new_iterator(r, &mapped, out);
}

static bool filter_unique(j_run *r, const j_call *c, j_value *out) {
    j_list items, kept = { 0 };
    j_value seen, key, ignored;
    const j_value none = { J_MISSING, { 0 } };
    if (!vtext_j_items(r, c->self, &items) || !vtext_j_new_dict(r, &seen)) return false;
    for (size_t i = 0; i < items.n; i++) {
        if (!key_of(r, items.item[i], c->arg[1], none, vtext_j_arg_bool(c, 0), &key)) return false;
        if (vtext_j_dict_get(seen.u.dict, key, &ignored)) continue;
        if (!vtext_j_dict_put(r, seen.u.dict, key, key) || !vtext_j_push(r, &kept, items.item[i]))
            return false;
    }
    return new_iterator(r, &kept, out);
}

/* ---- order and sums -------------------------------------------------------------------------- */

static bool filter_sort(j_run *r, const j_call *c, j_value *out) {
    if (!filter_list(r, c, out)) return false;
    j_list *items = out->u.list;
    j_value *keys = vtext_j_alloc(r, items->n, sizeof *keys);
    if (!keys) return false;
    for (size_t i = 0; i < items->n; i++)
        if (!keys_of(r, items->item[i], c->arg[2], vtext_j_arg_bool(c, 1), &keys[i])) return false;
    return vtext_j_sort(r, items->item, keys, items->n, vtext_j_arg_bool(c, 0));
}

static bool filter_dictsort(j_run *r, const j_call *c, j_value *out) {
    j_string by = J_LITERAL("key");
    if (!vtext_j_arg_string(r, c, 1, &by)) return false;
    if (!vtext_j_is(by, "key") && !vtext_j_is(by, "value"))
        return vtext_j_fail(r, "filter 'dictsort' sorts by either \"key\" or \"value\"");
    if (c->self.kind != J_DICT)
        return vtext_j_fail(r, "filter 'dictsort' needs a mapping, not %s", vtext_j_type(c->self));
    struct j_view view = { c->self.u.dict, J_VIEW_ITEMS };
    j_list items;
    if (!vtext_j_items(r, (j_value) { J_VIEW, { .view = &view } }, &items)
        || !vtext_j_new_list(r, J_LIST, out))
        return false;
    *out->u.list = items;
    j_value *keys = vtext_j_alloc(r, items.n, sizeof *keys);
    const j_value none = { J_MISSING, { 0 } };
    if (!keys) return false;
    for (size_t i = 0; i < items.n; i++)
        if (!key_of(r, items.item[i], vtext_j_int(by.p[0] == 'v'), none, vtext_j_arg_bool(c, 0),
                    &keys[i]))
            return false;
    return vtext_j_sort(r, items.item, keys, items.n, vtext_j_arg_bool(c, 2));
}

/* min and max */
static bool filter_extreme(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    j_value best, key;
    const j_value none = { J_MISSING, { 0 } };
    bool cased = vtext_j_arg_bool(c, 0), better, max = c->name[1] == 'a';
    if (!vtext_j_items(r, c->self, &items)) return false;
    if (items.n == 0)
        return vtext_j_undefined(r, "No aggregated item, sequence was empty.", (j_string) { 0 },
                                 NULL, out);
    for (size_t i = 0; i < items.n; i++) {
        if (!key_of(r, items.item[i], c->arg[1], none, cased, &key)) return false;
        if (i
            && !(max ? vtext_j_less(r, best, key, ">", &better)
                     : vtext_j_less(r, key, best, "<", &better)))
            return false;
        if (i && !better) continue;
        best = key;
        *out = items.item[i];
    }
    return true;
}

static bool filter_sum(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    const j_value none = { J_MISSING, { 0 } };
    j_value sum = c->arg[1].kind == J_MISSING ? vtext_j_int(0) : c->arg[1], v;
    if (sum.kind == J_STRING)
        return vtext_j_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
    if (!vtext_j_items(r, c->self, &items)) return false;
    for (size_t i = 0; i < items.n; i++)
        if (!look_up(r, items.item[i], c->arg[0], none, &v)
            || !vtext_j_binary(r, OP_ADD, sum, v, &sum))
            return false;
    *out = sum;
    return true;
}

/* ---- grouping -------------------------------------------------------------------------------- */

static bool filter_items(j_run *r, const j_call *c, j_value *out) {
    j_list none = { 0 }, items;
    struct j_view view = { NULL, J_VIEW_ITEMS };
    if (c->self.kind == J_UNDEFINED) return new_iterator(r, &none, out);
    if (c->self.kind != J_DICT) return vtext_j_fail(r, "Can only get item pairs from a mapping.");
    view.dict = c->self.u.dict;
    return vtext_j_items(r, (j_value) { J_VIEW, { .view = &view } }, &items)
           && new_iterator(r, &items, out);
}

static bool filter_batch(j_run *r, const j_call *c, j_value *out) {
    j_list items, batches = { 0 };
    int64_t size = 0;
    j_value batch = { J_MISSING, { 0 } }, fill = c->arg[1];
    if (!vtext_j_arg_int(r, c, 0, &size) || !vtext_j_items(r, c->self, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        if (batch.kind == J_MISSING || (int64_t)batch.u.list->n == size) {
            if (!vtext_j_new_list(r, J_LIST, &batch) || !vtext_j_push(r, &batches, batch))
                return false;
        }
        if (!vtext_j_push(r, batch.u.list, items.item[i])) return false;
    }
    if (batch.kind != J_MISSING && fill.kind != J_MISSING && fill.kind != J_NONE)
        while ((int64_t)batch.u.list->n < size)
            if (!vtext_j_push(r, batch.u.list, fill)) return false;
    return new_iterator(r, &batches, out);
}

static bool filter_slice(j_run *r, const j_call *c, j_value *out) {
    j_list items, slices = { 0 };
    int64_t count = 0;
    j_value fill = c->arg[1];
    if (!vtext_j_arg_int(r, c, 0, &count) || !vtext_j_items(r, c->self, &items)) return false;
    if (count <= 0) return vtext_j_fail(r, "filter 'slice' needs a positive number");
    size_t each = items.n / (size_t)count, extra = items.n % (size_t)count, from = 0;
    for (size_t k = 0; k < (size_t)count; k++) {
        j_value slice;
        size_t to = from + each + (k < extra);
        if (!vtext_j_new_list(r, J_LIST, &slice) || !vtext_j_push(r, &slices, slice)) return false;
        for (; from < to; from++)
            if (!vtext_j_push(r, slice.u.list, items.item[from])) return false;
        if (k >= extra && fill.kind != J_MISSING && fill.kind != J_NONE
            && !vtext_j_push(r, slice.u.list, fill))
            return false;
    }
    return new_iterator(r, &slices, out);
}

static bool filter_groupby(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    bool cased = vtext_j_arg_bool(c, 2), same;
    j_value last = { J_MISSING, { 0 } }, group = last, members = last;
    if (!copy_items(r, c->self, &items) || !vtext_j_new_list(r, J_LIST, out)) return false;
    j_value *keys = vtext_j_alloc(r, items.n, sizeof *keys);
    if (!keys) return false;
    for (size_t i = 0; i < items.n; i++)
        if (!key_of(r, items.item[i], c->arg[0], c->arg[1], cased, &keys[i])) return false;
    if (!vtext_j_sort(r, items.item, keys, items.n, false)) return false;
    for (size_t i = 0; i < items.n; i++) {
        if (i && !vtext_j_equal(r, last, keys[i], &same)) return false;
        if (i == 0 || !same) {
            j_value shown; /* as the first of the group has it */
            if (!look_up(r, items.item[i], c->arg[0], c->arg[1], &shown)
                || !vtext_j_new_list(r, J_LIST, &members)
                || !vtext_j_pair(r, shown, members, &group) || !vtext_j_push(r, out->u.list, group))
                return false;
            group.u.list->group = true;
        }
        last = keys[i];
        if (!vtext_j_push(r, members.u.list, items.item[i])) return false;
    }
    return true;
}

const j_builtin vtext_j_list_filters[] = {
    { "length", filter_length, "", 0 },
    { "count", filter_length, "", 0 },
    { "list", filter_list, "", 0 },
    { "first", filter_first, "", 0 },
    { "last", filter_last, "", 0 },
    { "reverse", filter_reverse, "", 0 },
    { "join", filter_join, "d attribute", 0 },
    { "default", filter_default, "default_value boolean", 0 },
    { "d", filter_default, "default_value boolean", 0 },
    { "attr", filter_attr, "name", 1 },
    { "select", filter_select, "*", 0 },
    { "reject", filter_select, "*", 0 },
    { "selectattr", filter_select, "*", 0 },
    { "rejectattr", filter_select, "*", 0 },
    { "map", filter_map, "*", 0 },
    { "unique", filter_unique, "case_sensitive attribute", 0 },
    { "sort", filter_sort, "reverse case_sensitive attribute", 0 },
    { "dictsort", filter_dictsort, "case_sensitive by reverse", 0 },
    { "min", filter_extreme, "case_sensitive attribute", 0 },
    { "max", filter_extreme, "case_sensitive attribute", 0 },
    { "sum", filter_sum, "attribute start", 0 },
    { "items", filter_items, "", 0 },
    { "batch", filter_batch, "linecount fill_with", 1 },
    { "slice", filter_slice, "slices fill_with", 1 },
    { "groupby", filter_groupby, "attribute default case_sensitive", 1 },
    { NULL, NULL, NULL, 0 },
};
