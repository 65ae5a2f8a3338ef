/* SPDX-License-Identifier: MIT */
/* Values of the interpreter: the run they live in, containers, truth, equality, order and iteration
 * as Python has them. */
#include "text/jinja/jinja.h"

#include <math.h>
#include <stdio.h>

/* ---- the run --------------------------------------------------------------------------------- */

static bool fail(j_run *r, vlm_status status, const char *fmt, va_list args) {
    char what[400];
    vsnprintf(what, sizeof what, fmt, args);
    vcore_where where = { .file = r->name, .line = r->line };
    r->status = vcore_fail_at(r->err, status, where, "%s:%u: %s", r->name, (unsigned)r->line, what);
    return false;
}

bool vtext_j_fail(j_run *r, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fail(r, VLM_ERR_TEMPLATE, fmt, args);
    va_end(args);
    return false;
}

bool vtext_j_fail_status(j_run *r, vlm_status status, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fail(r, status, fmt, args);
    va_end(args);
    return false;
}

bool vtext_j_fail_limit(j_run *r, uint64_t limit, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fail(r, VLM_ERR_LIMIT, fmt, args);
    va_end(args);
    if (r->err) r->err->limit = limit;
    return false;
}

void *vtext_j_alloc(j_run *r, size_t n, size_t size) {
    size_t bytes;
    if (!vcore_mul(n, size, &bytes) || !vcore_add(bytes, 32, &bytes) || bytes > r->memory) {
        vtext_j_fail_limit(r, J_MEMORY, "the template takes more than %u MiB of memory",
                           J_MEMORY >> 20);
        return NULL;
    }
    r->memory -= bytes; /* 32 for what the arena adds */
    void *p = vcore_arena_alloc(r->arena, bytes - 31);
    if (!p) r->status = vcore_no_memory(r->err, "rendering a chat template");
    return p;
}

bool vtext_j_work(j_run *r, size_t bytes) {
    r->steps += 1 + bytes / 64;
    if (r->steps <= r->max_steps) return true;
    return vtext_j_fail_limit(r, r->max_steps, "the template takes more than %llu steps",
                              (unsigned long long)r->max_steps);
}

/* ---- making values --------------------------------------------------------------------------- */

const char *vtext_j_type(j_value v) {
    switch (v.kind) {
    case J_MISSING:
    case J_UNDEFINED: return "Undefined";
    case J_NONE: return "NoneType";
    case J_BOOL: return "bool";
    case J_INT: return "int";
    case J_FLOAT: return "float";
    case J_STRING: return "str";
    case J_LIST: return "list";
    case J_TUPLE: return "tuple";
    case J_DICT: return "dict";
    case J_VIEW:
        return v.u.view->what == J_VIEW_KEYS     ? "dict_keys"
               : v.u.view->what == J_VIEW_VALUES ? "dict_values"
                                                 : "dict_items";
    case J_RANGE: return "range";
    case J_ITERATOR: return "generator";
    case J_NAMESPACE: return "Namespace";
    case J_CYCLER: return "Cycler";
    case J_JOINER: return "Joiner";
    case J_LOOP: return "LoopContext";
    case J_MACRO: return "Macro";
    case J_FUNCTION: return "function";
    case J_METHOD: return "method";
    }
    return "?";
}

bool vtext_j_undefined(j_run *r, const char *hint, j_string name, const char *owner, j_value *out) {
    j_undefined *u = vtext_j_alloc(r, 1, sizeof *u);
    if (!u) return false;
    *u = (j_undefined) { hint, name, owner };
    *out = (j_value) { J_UNDEFINED, { .undefined = u } };
    return true;
}

bool vtext_j_use_undefined(j_run *r, j_value v) {
    const j_undefined *u = v.u.undefined;
    int n = (int)(u->name.n < 100 ? u->name.n : 100);
    if (u->hint) return vtext_j_fail(r, "%s", u->hint);
    if (u->owner)
        return vtext_j_fail(r, "'%s' has no attribute or item '%.*s'", u->owner, n, u->name.p);
    return vtext_j_fail(r, "'%.*s' is undefined", n, u->name.p);
}

bool vtext_j_new_list(j_run *r, j_kind kind, j_value *out) {
    if (kind == J_ITERATOR) {
        *out = (j_value) { kind, { .cursor = vtext_j_alloc(r, 1, sizeof(struct j_cursor)) } };
        return out->u.cursor != NULL;
    }
    *out = (j_value) { kind, { .list = vtext_j_alloc(r, 1, sizeof(j_list)) } };
    return out->u.list != NULL;
}

bool vtext_j_push(j_run *r, j_list *list, j_value v) {
    if (!vtext_j_work(r, 0)) return false;
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        j_value *grown = vtext_j_alloc(r, cap, sizeof *grown);
        if (!grown) return false;
        if (list->n) memcpy(grown, list->item, list->n * sizeof *grown);
        list->item = grown;
        list->cap = cap;
    }
    list->item[list->n++] = v;
    return true;
}

bool vtext_j_pair(j_run *r, j_value a, j_value b, j_value *out) {
    return vtext_j_new_list(r, J_TUPLE, out) && vtext_j_push(r, out->u.list, a)
           && vtext_j_push(r, out->u.list, b);
}

bool vtext_j_new_dict(j_run *r, j_value *out) {
    *out = (j_value) { J_DICT, { .dict = vtext_j_alloc(r, 1, sizeof(j_dict)) } };
    return out->u.dict != NULL;
}

/* ---- dicts ----------------------------------------------------------------------------------- */

bool vtext_j_hashable(j_value v) {
    if (v.kind == J_TUPLE) {
        for (size_t i = 0; i < v.u.list->n; i++) {
            j_value item = v.u.list->item[i];
            if (item.kind == J_TUPLE || !vtext_j_hashable(item)) return false; /* flat is enough */
        }
        return true;
    }
    return v.kind != J_LIST && v.kind != J_DICT && v.kind != J_VIEW;
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001B3u;
    return h;
}

static uint64_t hash(j_value v) {
    uint64_t h = 0xCBF29CE484222325u;
    if (v.kind == J_STRING) return hash_bytes(h, v.u.s.p, v.u.s.n);
    if (vtext_j_is_number(v)) { /* 1, 1.0 and True are one key */
        double f = vtext_j_number(v) + 0.0;
        return hash_bytes(h, &f, sizeof f);
    }
    for (size_t i = 0; v.kind == J_TUPLE && i < v.u.list->n; i++)
        h = (h ^ hash(v.u.list->item[i])) * 0x100000001B3u;
    return h;
}

/* Equality of hashable values, which needs neither recursion nor a run. */
static bool same_key(j_value a, j_value b) {
    if (a.kind == J_STRING && b.kind == J_STRING) return vtext_j_same(a.u.s, b.u.s);
    if (vtext_j_is_integer(a) && vtext_j_is_integer(b))
        return vtext_j_integer(a) == vtext_j_integer(b);
    if (vtext_j_is_number(a) && vtext_j_is_number(b)) return vtext_j_number(a) == vtext_j_number(b);
    if (a.kind != b.kind) return false;
    if (a.kind == J_NONE || a.kind == J_UNDEFINED) return true;
    if (a.kind != J_TUPLE)
        return a.u.list == b.u.list; /* identity; every one of them is a pointer */
    if (a.u.list->n != b.u.list->n) return false;
    for (size_t i = 0; i < a.u.list->n; i++)
        if (!same_key(a.u.list->item[i], b.u.list->item[i])) return false;
    return true;
}

static j_entry *find(const j_dict *d, j_value key, uint64_t h) {
    if (!d->slot) {
        for (size_t i = 0; i < d->n; i++)
            if (d->entry[i].hash == h && same_key(d->entry[i].key, key)) return &d->entry[i];
        return NULL;
    }
    for (size_t s = h & (d->n_slots - 1); d->slot[s]; s = (s + 1) & (d->n_slots - 1)) {
        j_entry *e = &d->entry[d->slot[s] - 1];
        if (e->hash == h && same_key(e->key, key)) return e;
    }
    return NULL;
}

/* Enters an entry into the table. Collisions count as work, so that keys made to collide do not
 * hang. */
static bool place(j_run *r, j_dict *d, size_t i) {
    size_t s = d->entry[i].hash & (d->n_slots - 1), probes = 0;
    for (; d->slot[s]; s = (s + 1) & (d->n_slots - 1)) probes++;
    d->slot[s] = (uint32_t)i + 1;
    return vtext_j_work(r, probes * 64);
}

static bool grow(j_run *r, j_dict *d) {
    size_t cap = d->cap ? d->cap * 2 : 4;
    j_entry *entry = vtext_j_alloc(r, cap, sizeof *entry);
    if (!entry) return false;
    if (d->n) memcpy(entry, d->entry, d->n * sizeof *entry);
    d->entry = entry;
    d->cap = cap;
    if (cap <= 8) return true;
    d->n_slots = cap * 2;
    d->slot = vtext_j_alloc(r, d->n_slots, sizeof *d->slot);
    if (!d->slot) return false;
    for (size_t i = 0; i < d->n; i++)
        if (!place(r, d, i)) return false;
    return true;
}

bool vtext_j_dict_put(j_run *r, j_dict *d, j_value key, j_value value) {
    if (!vtext_j_hashable(key)) return vtext_j_fail(r, "unhashable type: '%s'", vtext_j_type(key));
    if (!vtext_j_work(r, key.kind == J_STRING ? key.u.s.n : 0)) return false;
    uint64_t h = hash(key);
    j_entry *e = find(d, key, h);
    if (e) {
        e->value = value;
        return true;
    }
    if (d->n == d->cap && !grow(r, d)) return false;
    d->entry[d->n] = (j_entry) { key, value, h };
    d->n++;
    return !d->slot || place(r, d, d->n - 1);
}

bool vtext_j_dict_get(const j_dict *d, j_value key, j_value *out) {
    j_entry *e = vtext_j_hashable(key) ? find(d, key, hash(key)) : NULL;
    if (e) *out = e->value;
    return e != NULL;
}

bool vtext_j_get(const j_dict *d, j_string key, j_value *out) {
    return vtext_j_dict_get(d, vtext_j_string(key), out);
}

/* ---- truth, length, items -------------------------------------------------------------------- */

bool vtext_j_truth(j_value v) {
    switch (v.kind) {
    case J_MISSING:
    case J_UNDEFINED:
    case J_NONE: return false;
    case J_BOOL: return v.u.b;
    case J_INT: return v.u.i != 0;
    case J_FLOAT: return v.u.f != 0;
    case J_STRING: return v.u.s.n != 0;
    case J_LIST:
    case J_TUPLE: return v.u.list->n != 0;
    case J_DICT: return v.u.dict->n != 0;
    case J_VIEW: return v.u.view->dict->n != 0;
    case J_RANGE: return v.u.range->n != 0;
    default: return true;
    }
}

bool vtext_j_has_length(j_value v) {
    return v.kind == J_STRING || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_DICT
           || v.kind == J_VIEW || v.kind == J_RANGE || v.kind == J_UNDEFINED || v.kind == J_LOOP;
}

bool vtext_j_length(j_run *r, j_value v, int64_t *out) {
    size_t n = 0;
    switch (v.kind) {
    case J_STRING:
        if (!vtext_j_work(r, v.u.s.n)) return false;
        n = vtext_j_chars(v.u.s);
        break;
    case J_LIST:
    case J_TUPLE: n = v.u.list->n; break;
    case J_DICT: n = v.u.dict->n; break;
    case J_VIEW: n = v.u.view->dict->n; break;
    case J_RANGE: n = v.u.range->n; break;
    case J_UNDEFINED: break;
    case J_LOOP:
        if (!vtext_j_loop_length(r, v.u.loop, &n)) return false;
        break;
    default: return vtext_j_fail(r, "object of type '%s' has no len()", vtext_j_type(v));
    }
    *out = (int64_t)n;
    return true;
}

bool vtext_j_iterable(j_value v) {
    return vtext_j_has_length(v) || v.kind == J_ITERATOR;
}

static bool dict_items(j_run *r, const j_dict *d, int what, j_list *out) {
    for (size_t i = 0; i < d->n; i++) {
        j_value v = what == J_VIEW_KEYS ? d->entry[i].key : d->entry[i].value;
        if (what == J_VIEW_ITEMS && !vtext_j_pair(r, d->entry[i].key, v, &v)) return false;
        if (!vtext_j_push(r, out, v)) return false;
    }
    return true;
}

bool vtext_j_items(j_run *r, j_value v, j_list *out) {
    *out = (j_list) { 0 };
    switch (v.kind) {
    case J_UNDEFINED: return true;
    case J_LIST:
    case J_TUPLE: /* not for growing: cap equals n */
        *out = (j_list) { .item = v.u.list->item, .n = v.u.list->n, .cap = v.u.list->n };
        return true;
    case J_STRING:
        for (size_t pos = 0; pos < v.u.s.n;) {
            uint32_t cp;
            if (!vtext_j_push(r, out, vtext_j_string(vtext_j_next_char(v.u.s, &pos, &cp))))
                return false;
        }
        return true;
    case J_DICT: return dict_items(r, v.u.dict, J_VIEW_KEYS, out);
    case J_VIEW: return dict_items(r, v.u.view->dict, v.u.view->what, out);
    case J_RANGE:
        for (size_t i = 0; i < v.u.range->n; i++)
            if (!vtext_j_push(r, out, vtext_j_int(v.u.range->start + (int64_t)i * v.u.range->step)))
                return false;
        return true;
    case J_ITERATOR: {
        struct j_cursor *it = v.u.cursor;
        out->n = out->cap = it->items.n - it->pos;
        out->item = it->items.n ? it->items.item + it->pos : NULL;
        it->pos = it->items.n;
        return true;
    }
    default: return vtext_j_fail(r, "'%s' object is not iterable", vtext_j_type(v));
    }
}

/* ---- equality and order ---------------------------------------------------------------------- */

static bool equal_lists(j_run *r, const j_list *a, const j_list *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++)
        if (!vtext_j_equal(r, a->item[i], b->item[i], out)) return false;
    return true;
}

static bool equal_dicts(j_run *r, const j_dict *a, const j_dict *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++) {
        j_value other;
        *out = vtext_j_dict_get(b, a->entry[i].key, &other);
        if (*out && !vtext_j_equal(r, a->entry[i].value, other, out)) return false;
    }
    return true;
}

static bool equal_containers(j_run *r, j_value a, j_value b, bool *out) {
    if (++r->frames > J_MAX_FRAMES) return vtext_j_fail_status(r, VLM_ERR_LIMIT, "nested too deep");
    bool done = a.kind == J_DICT ? equal_dicts(r, a.u.dict, b.u.dict, out)
                                 : equal_lists(r, a.u.list, b.u.list, out);
    r->frames--;
    return done;
}

bool vtext_j_equal(j_run *r, j_value a, j_value b, bool *out) {
    if (!vtext_j_work(r, a.kind == J_STRING ? a.u.s.n : 0)) return false;
    if (vtext_j_is_number(a) && vtext_j_is_number(b)) {
        *out = same_key(a, b);
        return true;
    }
    *out = false;
    if (a.kind != b.kind) return true;
    switch (a.kind) {
    case J_LIST:
    case J_TUPLE:
    case J_DICT: return equal_containers(r, a, b, out);
    case J_STRING: *out = vtext_j_same(a.u.s, b.u.s); break;
    case J_NONE:
    case J_UNDEFINED: *out = true; break;
    case J_RANGE:
        *out = a.u.range->n == b.u.range->n
               && (a.u.range->n == 0 || a.u.range->start == b.u.range->start)
               && (a.u.range->n < 2 || a.u.range->step == b.u.range->step);
        break;
    case J_FUNCTION: *out = a.u.function == b.u.function; break;
    default: *out = a.u.list == b.u.list; break; /* identity; every one of them is a pointer */
    }
    return true;
}

static bool less_lists(j_run *r, const j_list *a, const j_list *b, const char *op, bool *out) {
    bool same = true;
    size_t i = 0;
    for (; i < a->n && i < b->n; i++) {
        if (!vtext_j_equal(r, a->item[i], b->item[i], &same)) return false;
        if (!same) break;
    }
    if (!same) {
        if (++r->frames > J_MAX_FRAMES)
            return vtext_j_fail_status(r, VLM_ERR_LIMIT, "nested too deep");
        bool done = vtext_j_less(r, a->item[i], b->item[i], op, out);
        r->frames--;
        return done;
    }
    *out = a->n < b->n;
    return true;
}

bool vtext_j_less(j_run *r, j_value a, j_value b, const char *op, bool *out) {
    if (!vtext_j_work(r, a.kind == J_STRING ? a.u.s.n : 0)) return false;
    if (a.kind == J_UNDEFINED) return vtext_j_use_undefined(r, a);
    if (b.kind == J_UNDEFINED) return vtext_j_use_undefined(r, b);
    if (vtext_j_is_integer(a) && vtext_j_is_integer(b)) {
        *out = vtext_j_integer(a) < vtext_j_integer(b);
    } else if (vtext_j_is_number(a) && vtext_j_is_number(b)) {
        *out = vtext_j_number(a) < vtext_j_number(b);
    } else if (a.kind == J_STRING && b.kind == J_STRING) { /* UTF-8 sorts as its code points do */
        size_t n = a.u.s.n < b.u.s.n ? a.u.s.n : b.u.s.n;
        int c = n ? memcmp(a.u.s.p, b.u.s.p, n) : 0;
        *out = c ? c < 0 : a.u.s.n < b.u.s.n;
    } else if (a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE)) {
        return less_lists(r, a.u.list, b.u.list, op, out);
    } else {
        return vtext_j_fail(r, "'%s' not supported between instances of '%s' and '%s'", op,
                            vtext_j_type(a), vtext_j_type(b));
    }
    return true;
}

/* Merges the sorted runs [begin, middle) and [middle, end) of from into to. */
static bool merge(j_run *r, const j_value *items, const j_value *keys, j_value *to,
                  j_value *to_keys, size_t begin, size_t middle, size_t end, bool reverse) {
    size_t a = begin, b = middle;
    for (size_t i = begin; i < end; i++) {
        bool take_b = a >= middle;
        if (!take_b && b < end) {
            bool less;
            if (!(reverse ? vtext_j_less(r, keys[a], keys[b], "<", &less)
                          : vtext_j_less(r, keys[b], keys[a], "<", &less)))
                return false;
            take_b = less;
        }
        size_t from = take_b ? b++ : a++;
        to[i] = items[from];
        to_keys[i] = keys[from];
    }
    return true;
}

bool vtext_j_sort(j_run *r, j_value *items, j_value *keys, size_t n, bool reverse) {
    j_value *spare = vtext_j_alloc(r, n, sizeof *spare),
            *spare_keys = vtext_j_alloc(r, n, sizeof *spare);
    if (!spare || !spare_keys) return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            size_t middle = begin + width < n ? begin + width : n;
            size_t end = middle + width < n ? middle + width : n;
            if (!merge(r, items, keys, spare, spare_keys, begin, middle, end, reverse))
                return false;
        }
        memcpy(items, spare, n * sizeof *items);
        memcpy(keys, spare_keys, n * sizeof *keys);
    }
    return true;
}
