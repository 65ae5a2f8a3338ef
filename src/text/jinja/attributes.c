/* SPDX-License-Identifier: MIT */
/* obj.name and obj[key]: which attributes, items and methods values have for a template, as
 * jinja2's immutable sandbox decides it. Methods that would change their object are undefined and
 * say why. */
#include "text/jinja/ast.h"
#include "text/jinja/call.h"

#include <stdio.h>
#include <utf8proc.h>

/* ---- str.is... ------------------------------------------------------------------------------- */

static bool is_letter(utf8proc_category_t k) {
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool has_property(const char *name, uint32_t cp) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    bool number =
        k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
    if (strcmp(name, "isspace") == 0) return vtext_j_is_space(cp);
    if (strcmp(name, "isalpha") == 0) return is_letter(k);
    if (strcmp(name, "isalnum") == 0) return is_letter(k) || number;
    if (strcmp(name, "isnumeric") == 0) return number;
    if (strcmp(name, "isascii") == 0) return cp < 128;
    if (strcmp(name, "isprintable") == 0) return vtext_j_is_printable(cp);
    if (k == UTF8PROC_CATEGORY_ND) return true; /* isdecimal; isdigit takes superscripts too */
    return strcmp(name, "isdigit") == 0
           && (cp == 0xB2 || cp == 0xB3 || cp == 0xB9 || cp == 0x2070
               || (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089));
}

static bool str_is(j_run *r, const j_call *c, j_value *out) {
    j_string s = c->self.u.s;
    bool of_empty = strcmp(c->name, "isascii") == 0 || strcmp(c->name, "isprintable") == 0;
    bool yes = s.n > 0 || of_empty;
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    for (size_t pos = 0; pos < s.n && yes;) {
        uint32_t cp;
        vtext_j_next_char(s, &pos, &cp);
        yes = has_property(c->name, cp);
    }
    *out = vtext_j_bool(yes);
    return true;
}

static bool str_is_case(j_run *r, const j_call *c, j_value *out) {
    j_args none = { 0 };
    bool yes;
    j_string name = { c->name + 2, strlen(c->name + 2), NULL };
    if (!vtext_j_call_test(r, name, c->self, &none, &yes)) return false;
    *out = vtext_j_bool(yes);
    return true;
}

static bool str_is_identifier(j_run *r, const j_call *c, j_value *out) {
    j_string s = c->self.u.s;
    bool yes = s.n > 0;
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    for (size_t pos = 0; pos < s.n && yes;) {
        uint32_t cp;
        bool first = pos == 0;
        vtext_j_next_char(s, &pos, &cp);
        yes = vtext_j_name_char(cp, first);
    }
    *out = vtext_j_bool(yes);
    return true;
}

/* Capitals begin words and nothing else does. */
static bool str_is_title(j_run *r, const j_call *c, j_value *out) {
    j_string s = c->self.u.s;
    bool yes = true, any = false, inside = false;
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    for (size_t pos = 0; pos < s.n && yes;) {
        uint32_t cp;
        vtext_j_next_char(s, &pos, &cp);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
        bool capital = k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LT;
        bool cased = capital || k == UTF8PROC_CATEGORY_LL;
        yes = !cased || capital != inside;
        any |= cased;
        inside = cased;
    }
    *out = vtext_j_bool(yes && any);
    return true;
}

static bool str_format_map(j_run *r, const j_call *c, j_value *out) {
    j_args args = { 0 };
    if (c->arg[0].kind != J_DICT) return vtext_j_fail(r, "format_map() needs a dict");
    const j_dict *d = c->arg[0].u.dict;
    args.name = vtext_j_alloc(r, d->n, sizeof *args.name);
    args.named = vtext_j_alloc(r, d->n, sizeof *args.named);
    if (!args.name || !args.named) return false;
    for (size_t i = 0; i < d->n; i++) {
        if (d->entry[i].key.kind != J_STRING) continue;
        args.name[args.n_named] = d->entry[i].key.u.s;
        args.named[args.n_named++] = d->entry[i].value;
    }
    return vtext_j_format(r, c->self.u.s, &args, out);
}

const j_builtin vtext_j_text_methods[] = {
    { "isspace", str_is, "", 0 },
    { "isalpha", str_is, "", 0 },
    { "isalnum", str_is, "", 0 },
    { "isnumeric", str_is, "", 0 },
    { "isascii", str_is, "", 0 },
    { "isprintable", str_is, "", 0 },
    { "isdecimal", str_is, "", 0 },
    { "isdigit", str_is, "", 0 },
    { "isupper", str_is_case, "", 0 },
    { "islower", str_is_case, "", 0 },
    { "istitle", str_is_title, "", 0 },
    { "isidentifier", str_is_identifier, "", 0 },
    { "format_map", str_format_map, "mapping", 1 },
    { NULL, NULL, NULL, 0 },
};

/* ---- list, tuple, dict, loop, cycler --------------------------------------------------------- */

static bool list_index(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    int64_t n = 0;
    bool index = c->name[0] == 'i', same;
    if (!vtext_j_items(r, c->self, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        if (!vtext_j_equal(r, items.item[i], c->arg[0], &same)) return false;
        n += same;
        if (!same || !index) continue;
        *out = vtext_j_int((int64_t)i);
        return true;
    }
    if (index) return vtext_j_fail(r, "the value is not in the list");
    *out = vtext_j_int(n);
    return true;
}

static bool list_copy(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    *out = c->self; /* immutable, so a copy is the thing itself */
    return true;
}

static const j_builtin list_methods[] = {
    { "index", list_index, "value", 1 },
    { "count", list_index, "value", 1 },
    { "copy", list_copy, "", 0 },
    { NULL, NULL, NULL, 0 },
};

static bool dict_get(j_run *r, const j_call *c, j_value *out) {
    if (!vtext_j_hashable(c->arg[0]))
        return vtext_j_fail(r, "unhashable type: '%s'", vtext_j_type(c->arg[0]));
    if (c->arg[0].kind == J_STRING && !vtext_j_work(r, c->arg[0].u.s.n)) return false;
    if (vtext_j_dict_get(c->self.u.dict, c->arg[0], out)) return true;
    *out = c->arg[1].kind == J_MISSING ? vtext_j_none() : c->arg[1];
    return true;
}

static bool dict_view(j_run *r, const j_call *c, j_value *out) {
    struct j_view *v = vtext_j_alloc(r, 1, sizeof *v);
    if (!v) return false;
    v->dict = c->self.u.dict;
    v->what = c->name[0] == 'k' ? J_VIEW_KEYS : c->name[0] == 'v' ? J_VIEW_VALUES : J_VIEW_ITEMS;
    *out = (j_value) { J_VIEW, { .view = v } };
    return true;
}

static const j_builtin dict_methods[] = {
    { "get", dict_get, "key default", 1 }, { "items", dict_view, "", 0 },
    { "keys", dict_view, "", 0 },          { "values", dict_view, "", 0 },
    { "copy", list_copy, "", 0 },          { NULL, NULL, NULL, 0 },
};

static bool loop_cycle(j_run *r, const j_call *c, j_value *out) {
    const j_args *args = c->args;
    if (args->n == 0) return vtext_j_fail(r, "no items for cycling given");
    *out = args->item[(size_t)c->self.u.loop->index0 % args->n];
    return true;
}

static bool loop_changed(j_run *r, const j_call *c, j_value *out) {
    j_loop *loop = c->self.u.loop;
    j_value now;
    bool same = false;
    if (!vtext_j_new_list(r, J_TUPLE, &now)) return false;
    for (size_t i = 0; i < c->args->n; i++)
        if (!vtext_j_push(r, now.u.list, c->args->item[i])) return false;
    if (loop->changed.kind == J_TUPLE && !vtext_j_equal(r, loop->changed, now, &same)) return false;
    loop->changed = now;
    *out = vtext_j_bool(!same);
    return true;
}

static const j_builtin loop_methods[] = {
    { "cycle", loop_cycle, "*", 0 },
    { "changed", loop_changed, "*", 0 },
    { NULL, NULL, NULL, 0 },
};

static bool cycler_next(j_run *r, const j_call *c, j_value *out) {
    struct j_cursor *cycler = c->self.u.cursor;
    (void)r;
    *out = cycler->items.item[cycler->pos];
    cycler->pos = (cycler->pos + 1) % cycler->items.n;
    return true;
}

static bool cycler_reset(j_run *r, const j_call *c, j_value *out) {
    (void)r;
    c->self.u.cursor->pos = 0;
    *out = vtext_j_none();
    return true;
}

static const j_builtin cycler_methods[] = {
    { "next", cycler_next, "", 0 },
    { "reset", cycler_reset, "", 0 },
    { NULL, NULL, NULL, 0 },
};

static bool loop_attribute(j_run *r, j_loop *loop, j_string name, j_value *out, bool *found) {
    size_t n = 0;
    if (vtext_j_is(name, "index"))
        *out = vtext_j_int(loop->index0 + 1);
    else if (vtext_j_is(name, "index0"))
        *out = vtext_j_int(loop->index0);
    else if (vtext_j_is(name, "first"))
        *out = vtext_j_bool(loop->index0 == 0);
    else if (vtext_j_is(name, "depth"))
        *out = vtext_j_int(loop->depth0 + 1);
    else if (vtext_j_is(name, "depth0"))
        *out = vtext_j_int(loop->depth0);
    else if (vtext_j_is(name, "last") || vtext_j_is(name, "nextitem")) {
        if (!vtext_j_loop_peek(r, loop)) return false;
        if (name.p[0] == 'l')
            *out = vtext_j_bool(!loop->has_after);
        else if (loop->has_after)
            *out = loop->after;
        else if (!vtext_j_undefined(r, "there is no next item", name, NULL, out))
            return false;
    } else if (vtext_j_is(name, "previtem")) {
        *out = loop->previous;
        if (loop->index0 == 0
            && !vtext_j_undefined(r, "there is no previous item", name, NULL, out))
            return false;
    } else if (vtext_j_is(name, "length") || vtext_j_is(name, "revindex")
               || vtext_j_is(name, "revindex0")) {
        if (!vtext_j_loop_length(r, loop, &n)) return false;
        *out =
            vtext_j_int(name.p[0] == 'l' ? (int64_t)n : (int64_t)n - loop->index0 - (name.n > 8));
    } else {
        *found = false;
    }
    return true;
}

/* ---- lookup ---------------------------------------------------------------------------------- */

/* Names that Python has and the sandbox refuses: they change the object, or reach inside it. */
static bool is_unsafe(j_value obj, j_string name) {
    static const char *const list[] = { "append", "clear",  "pop",    "reverse", "insert",
                                        "sort",   "extend", "remove", NULL };
    static const char *const dict[] = { "clear", "pop", "popitem", "setdefault", "update", NULL };
    const char *const *names = obj.kind == J_LIST ? list : obj.kind == J_DICT ? dict : list + 8;
    if (name.n > 1 && name.p[0] == '_' && name.p[1] == '_') return true;
    for (; *names; names++)
        if (vtext_j_is(name, *names)) return true;
    return false;
}

/* What even an undefined value has in Python, so that only its use is refused. */
static bool is_of_everything(j_string name) {
    return vtext_j_is(name, "__class__") || vtext_j_is(name, "__len__")
           || vtext_j_is(name, "__iter__") || vtext_j_is(name, "__str__");
}

static const j_builtin *find_method(j_value obj, j_string name) {
    const j_builtin *f = NULL;
    switch (obj.kind) {
    case J_STRING:
        f = vtext_j_find_builtin(vtext_j_string_methods, name);
        return f ? f : vtext_j_find_builtin(vtext_j_text_methods, name);
    case J_LIST: return vtext_j_find_builtin(list_methods, name);
    case J_TUPLE:
    case J_RANGE: return vtext_j_is(name, "copy") ? NULL : vtext_j_find_builtin(list_methods, name);
    case J_DICT: return vtext_j_find_builtin(dict_methods, name);
    case J_LOOP: return vtext_j_find_builtin(loop_methods, name);
    case J_CYCLER: return vtext_j_find_builtin(cycler_methods, name);
    default: return NULL;
    }
}

/* Python's getattr; *found is false where it would raise AttributeError. */
static bool own_attribute(j_run *r, j_value obj, j_string name, j_value *out, bool *found) {
    *found = true;
    if (is_unsafe(obj, name)) {
        char *hint = vtext_j_alloc(r, 160, 1);
        if (!hint) return false;
        snprintf(hint, 160, "access to attribute '%.*s' of '%s' object is unsafe",
                 (int)(name.n < 60 ? name.n : 60), name.p, vtext_j_type(obj));
        return vtext_j_undefined(r, hint, name, NULL, out);
    }
    const j_builtin *f = find_method(obj, name);
    if (f) {
        struct j_method *m = vtext_j_alloc(r, 1, sizeof *m);
        if (!m) return false;
        *m = (struct j_method) { obj, f };
        *out = (j_value) { J_METHOD, { .method = m } };
        return true;
    }
    if (obj.kind == J_LOOP) return loop_attribute(r, obj.u.loop, name, out, found);
    if (obj.kind == J_NAMESPACE) {
        *found = vtext_j_get(obj.u.dict, name, out);
    } else if (obj.kind == J_MACRO && vtext_j_is(name, "name")) {
        *out = vtext_j_string(obj.u.macro->node->name);
    } else if (obj.kind == J_CYCLER && vtext_j_is(name, "current")) {
        *out = obj.u.cursor->items.item[obj.u.cursor->pos];
    } else if (obj.kind == J_TUPLE && obj.u.list->group && vtext_j_is(name, "grouper")) {
        *out = obj.u.list->item[0];
    } else if (obj.kind == J_TUPLE && obj.u.list->group && vtext_j_is(name, "list")) {
        *out = obj.u.list->item[1];
    } else {
        *found = false;
    }
    return true;
}

bool vtext_j_attribute(j_run *r, j_value obj, j_string name, j_value *out) {
    bool found;
    if (obj.kind == J_UNDEFINED && !is_of_everything(name)) return vtext_j_use_undefined(r, obj);
    if (!vtext_j_work(r, name.n) || !own_attribute(r, obj, name, out, &found)) return false;
    if (found || (obj.kind == J_DICT && vtext_j_get(obj.u.dict, name, out))) return true;
    return vtext_j_undefined(r, NULL, name, vtext_j_type(obj), out);
}

static bool string_item(j_run *r, j_string s, int64_t i, j_value *out, bool *found) {
    if (!vtext_j_work(r, s.n)) return false;
    if (i < 0) i += (int64_t)vtext_j_chars(s);
    size_t at = i < 0 ? s.n : vtext_j_offset(s, (size_t)i);
    uint32_t cp;
    *found = at < s.n;
    if (*found) *out = vtext_j_string(vtext_j_next_char(s, &at, &cp));
    return true;
}

static bool own_item(j_run *r, j_value obj, j_value key, j_value *out, bool *found) {
    *found = false;
    if (obj.kind == J_DICT) {
        *found = vtext_j_dict_get(obj.u.dict, key, out);
        return vtext_j_work(r, key.kind == J_STRING ? key.u.s.n : 0);
    }
    if (!vtext_j_is_integer(key)) return true;
    int64_t i = vtext_j_integer(key), n = 0;
    if (obj.kind == J_STRING) return string_item(r, obj.u.s, i, out, found);
    if (obj.kind != J_LIST && obj.kind != J_TUPLE && obj.kind != J_RANGE) return true;
    if (!vtext_j_length(r, obj, &n)) return false;
    if (i < 0) i += n;
    *found = i >= 0 && i < n;
    if (!*found) return true;
    *out = obj.kind == J_RANGE ? vtext_j_int(obj.u.range->start + i * obj.u.range->step)
                               : obj.u.list->item[i];
    return true;
}

bool vtext_j_item(j_run *r, j_value obj, j_value key, j_value *out) {
    bool found;
    j_string name;
    if (obj.kind == J_UNDEFINED) return vtext_j_use_undefined(r, obj);
    if (!own_item(r, obj, key, out, &found)) return false;
    if (found) return true;
    if (key.kind == J_STRING) {
        if (!own_attribute(r, obj, key.u.s, out, &found)) return false;
        if (found) return true;
        name = key.u.s;
    } else if (!vtext_j_str(r, key, &name)) {
        return false;
    }
    return vtext_j_undefined(r, NULL, name, vtext_j_type(obj), out);
}
