/* SPDX-License-Identifier: MIT */
/* JSON as Python's json module reads it. Owns the parser and the document; what a key means is said
 * above. One pass over the document's own text: strings are unescaped in place, values and the hash
 * tables of large objects lie in an arena, so a finished document is immutable and any thread may
 * read it. */
#include "core/core.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_DEPTH = 256, MAX_VALUES = 1 << 23, SMALL_OBJECT = 8 };

typedef struct dict dict;

struct vcore_json {
    vcore_json_kind kind;
    union {
        bool boolean;
        int64_t integer;
        struct {
            double value;
            const char *text; /* in the document's; NULL: NaN or infinite by name */
        } real;
        vcore_str string;
        struct {
            vcore_json *items;
            size_t count;
        } array;
        dict *object;
    };
};

typedef struct member {
    vcore_str key; /* unused while the value is an array's */
    vcore_json value;
} member;

struct dict {
    member *members; /* in file order; of equal keys, the first's place and the last's value */
    size_t count;
    uint32_t *index; /* member + 1, 0: free; open addressing. NULL in a small object */
    size_t mask;
    uint64_t seed;
    const char *repeated;
};

struct vcore_json_doc {
    vcore_arena *arena;
    char *text;
    uint64_t seed;
    vcore_json root;
};

/* ---- lookup ---------------------------------------------------------------------------------- */
/* Slot of key in the index: its own or the free one where it would go. */
static uint32_t *index_slot(const dict *o, vcore_str key) {
    size_t i = vcore_hash(o->seed, key) & o->mask;
    while (o->index[i] && !vcore_str_eq(o->members[o->index[i] - 1].key, key))
        i = (i + 1) & o->mask;
    return &o->index[i];
}

static member *find(const dict *o, vcore_str key) {
    if (o->index) {
        uint32_t at = *index_slot(o, key);
        return at ? &o->members[at - 1] : NULL;
    }
    for (size_t i = 0; i < o->count; i++)
        if (vcore_str_eq(o->members[i].key, key)) return &o->members[i];
    return NULL;
}

/* ---- parser ---------------------------------------------------------------------------------- */
typedef struct parser {
    vcore_json_doc *doc;
    char *p, *end; /* in the document's text, which is NUL-terminated */
    char *line;    /* where the line begins: line ends lie between values only */
    size_t lines;  /* before it */
    const char *name;
    locale_t c_locale; /* numbers have a point whatever the program's locale says */
    int depth;
    member *stack; /* finished members of the arrays and objects still open */
    size_t count, capacity, values;
    vlm_error *err;
} parser;

static vlm_status fail_at(parser *ps, const char *at, const char *what) {
    size_t line = ps->lines + 1, column = (size_t)(at - ps->line) + 1;
    vcore_where where = { .file = ps->name, .line = (uint32_t)line, .column = (uint32_t)column };
    return vcore_fail_at(ps->err, VLM_ERR_PARSE, where, "%s: line %zu, column %zu: %s", ps->name,
                         line, column, at == ps->end ? "the text ends too early" : what);
}

static vlm_status parse_value(parser *ps, vcore_json *out);

static void skip_space(parser *ps) {
    for (; *ps->p == ' ' || *ps->p == '\n' || *ps->p == '\r' || *ps->p == '\t'; ps->p++) {
        if (*ps->p != '\n') continue;
        ps->line = ps->p + 1;
        ps->lines++;
    }
}

/* Four hex digits at p, or -1. The NUL behind the text stops it. */
static int32_t hex4(const char *p) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i], lower = (char)(c | 0x20);
        int digit = c >= '0' && c <= '9'           ? c - '0'
                    : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                                   : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* At the backslash: writes what it stands for to *w. */
static vlm_status parse_escape(parser *ps, char **w) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = ps->p[1];
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        *(*w)++ = to[known - from];
        ps->p += 2;
        return VLM_OK;
    }
    if (c != 'u') return fail_at(ps, ps->p, "invalid escape");
    int32_t unit = hex4(ps->p + 2), low;
    if (unit < 0) return fail_at(ps, ps->p, "invalid \\u escape");
    ps->p += 6;
    uint32_t cp = (uint32_t)unit;
    if (unit >= 0xD800 && unit < 0xDC00 && ps->p[0] == '\\' && ps->p[1] == 'u'
        && (low = hex4(ps->p + 2)) >= 0xDC00 && low < 0xE000) {
        cp = 0x10000 + ((cp - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
        ps->p += 6;
    }
    /* Never longer than the escape. A lone surrogate gives U+FFFD. */
    *w += vcore_utf8_encode(cp, *w);
    return VLM_OK;
}

/* At the opening quote. The closing one's place takes a NUL. */
static vlm_status parse_string(parser *ps, vcore_str *out) {
    char *begin = ++ps->p, *w = begin;
    for (;;) {
        char *run = ps->p;
        while ((unsigned char)*ps->p >= 0x20 && *ps->p != '"' && *ps->p != '\\') ps->p++;
        if (w != run) memmove(w, run, (size_t)(ps->p - run));
        w += ps->p - run;
        if (*ps->p == '"') break;
        if (*ps->p != '\\') return fail_at(ps, ps->p, "control character in a string");
        VTRY(parse_escape(ps, &w));
    }
    ps->p++;
    *w = 0;
    *out = (vcore_str) { begin, (size_t)(w - begin) };
    return VLM_OK;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static vlm_status parse_number(parser *ps, vcore_json *out) {
    char *begin = ps->p, *p = begin + (*begin == '-');
    bool negative = *begin == '-', fits = true;
    int64_t value = 0; /* kept negative: there is one more of those */
    if (!is_digit(*p)) return fail_at(ps, p, "invalid value");
    const char *digits = p;
    for (; is_digit(*p); p++)
        fits = fits && !__builtin_mul_overflow(value, 10, &value)
               && !__builtin_sub_overflow(value, *p - '0', &value);
    if (*digits == '0' && p - digits > 1) return fail_at(ps, digits, "a number begins with 0");
    bool whole = *p != '.' && *p != 'e' && *p != 'E';
    if (*p == '.') {
        if (!is_digit(*++p)) return fail_at(ps, p, "expected a digit");
        while (is_digit(*p)) p++;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        if (!is_digit(*p)) return fail_at(ps, p, "expected a digit");
        while (is_digit(*p)) p++;
    }
    ps->p = p;
    if (whole && fits && (negative || value != INT64_MIN)) {
        *out = (vcore_json) { .kind = VCORE_JSON_INT, .integer = negative ? value : -value };
        return VLM_OK;
    }
    *out = (vcore_json) { .kind = VCORE_JSON_REAL,
                          .real = { strtod_l(begin, NULL, ps->c_locale), begin } };
    return VLM_OK;
}

static bool take_word(parser *ps, const char *word) {
    size_t n = strlen(word);
    if (strncmp(ps->p, word, n) != 0) return false;
    ps->p += n;
    return true;
}

static vlm_status parse_word(parser *ps, vcore_json *out) {
    if (is_digit(*ps->p)) return parse_number(ps, out); /* most often */
    if (take_word(ps, "null"))
        *out = (vcore_json) { .kind = VCORE_JSON_NULL };
    else if (take_word(ps, "true"))
        *out = (vcore_json) { .kind = VCORE_JSON_BOOL, .boolean = true };
    else if (take_word(ps, "false"))
        *out = (vcore_json) { .kind = VCORE_JSON_BOOL };
    else if (take_word(ps, "NaN"))
        *out = (vcore_json) { .kind = VCORE_JSON_REAL, .real = { NAN, NULL } };
    else if (take_word(ps, "Infinity"))
        *out = (vcore_json) { .kind = VCORE_JSON_REAL, .real = { INFINITY, NULL } };
    else if (take_word(ps, "-Infinity"))
        *out = (vcore_json) { .kind = VCORE_JSON_REAL, .real = { -INFINITY, NULL } };
    else
        return parse_number(ps, out);
    return VLM_OK;
}

static vlm_status push(parser *ps, vcore_str key, const vcore_json *value) {
    if (++ps->values > MAX_VALUES) /* a value takes up to 50 times the two bytes of "1," */
        return vcore_fail_limit(ps->err, ps->name, NULL, MAX_VALUES, "values");
    if (ps->count == ps->capacity) {
        size_t capacity = ps->capacity ? ps->capacity * 2 : 64;
        member *stack = vcore_realloc_array(ps->stack, capacity, sizeof *stack);
        if (!stack) return vcore_no_memory(ps->err, ps->name);
        ps->stack = stack;
        ps->capacity = capacity;
    }
    ps->stack[ps->count++] = (member) { key, *value };
    return VLM_OK;
}

/* Behind an element: a comma (then *more), or the closing bracket. */
static vlm_status parse_separator(parser *ps, char close, bool *more) {
    skip_space(ps);
    *more = *ps->p == ',';
    if (!*more && *ps->p != close)
        return fail_at(ps, ps->p, close == ']' ? "expected ',' or ']'" : "expected ',' or '}'");
    ps->p++;
    return VLM_OK;
}

static vlm_status parse_array(parser *ps, vcore_json *out) {
    size_t base = ps->count;
    ps->p++;
    skip_space(ps);
    bool more = *ps->p != ']';
    if (!more) ps->p++;
    while (more) {
        vcore_json value;
        VTRY(parse_value(ps, &value));
        VTRY(push(ps, (vcore_str) { 0 }, &value));
        VTRY(parse_separator(ps, ']', &more));
    }
    size_t n = ps->count - base;
    vcore_json *items = vcore_arena_array(ps->doc->arena, n, sizeof *items);
    if (!items) return vcore_no_memory(ps->err, ps->name);
    for (size_t i = 0; i < n; i++) items[i] = ps->stack[base + i].value;
    ps->count = base;
    *out = (vcore_json) { .kind = VCORE_JSON_ARRAY, .array = { items, n } };
    return VLM_OK;
}

/* Makes an object of members[0..n): the last of equal keys wins. */
static vlm_status build_object(parser *ps, const member *members, size_t n, vcore_json *out) {
    vcore_arena *arena = ps->doc->arena;
    dict *o = vcore_arena_alloc(arena, sizeof *o);
    member *own = vcore_arena_array(arena, n, sizeof *own);
    if (!o || !own) return vcore_no_memory(ps->err, ps->name);
    *o = (dict) { .members = own, .seed = ps->doc->seed };
    if (n > SMALL_OBJECT) {
        size_t size = 4 * SMALL_OBJECT;
        while (size / 2 < n) size *= 2;
        if (n < UINT32_MAX) o->index = vcore_arena_array(arena, size, sizeof *o->index);
        if (!o->index) return vcore_no_memory(ps->err, ps->name);
        o->mask = size - 1;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t *slot = o->index ? index_slot(o, members[i].key) : NULL;
        member *same = !slot ? find(o, members[i].key) : *slot ? &own[*slot - 1] : NULL;
        if (same) {
            same->value = members[i].value;
            o->repeated = same->key.p;
            continue;
        }
        own[o->count++] = members[i];
        if (slot) *slot = (uint32_t)o->count;
    }
    *out = (vcore_json) { .kind = VCORE_JSON_OBJECT, .object = o };
    return VLM_OK;
}

static vlm_status parse_object(parser *ps, vcore_json *out) {
    size_t base = ps->count;
    ps->p++;
    skip_space(ps);
    bool more = *ps->p != '}';
    if (!more) ps->p++;
    while (more) {
        vcore_str key;
        vcore_json value;
        skip_space(ps);
        if (*ps->p != '"') return fail_at(ps, ps->p, "expected a string as key");
        VTRY(parse_string(ps, &key));
        skip_space(ps);
        if (*ps->p != ':') return fail_at(ps, ps->p, "expected ':'");
        ps->p++;
        VTRY(parse_value(ps, &value));
        VTRY(push(ps, key, &value));
        VTRY(parse_separator(ps, '}', &more));
    }
    size_t n = ps->count - base;
    VTRY(build_object(ps, n ? ps->stack + base : NULL, n, out));
    ps->count = base;
    return VLM_OK;
}

static vlm_status parse_value(parser *ps, vcore_json *out) {
    skip_space(ps);
    if (*ps->p == '"') {
        out->kind = VCORE_JSON_STRING;
        return parse_string(ps, &out->string);
    }
    if (*ps->p != '[' && *ps->p != '{') return parse_word(ps, out);
    if (++ps->depth > MAX_DEPTH) return fail_at(ps, ps->p, "nested more than 256 deep");
    VTRY(*ps->p == '[' ? parse_array(ps, out) : parse_object(ps, out));
    ps->depth--;
    return VLM_OK;
}

static vlm_status parse_document(parser *ps, size_t n) {
    if (!vcore_utf8_valid(ps->p, n)) {
        size_t i = 0;
        for (uint32_t cp; i < n;) {
            size_t used = vcore_utf8_decode(ps->p + i, n - i, &cp);
            if (!vcore_utf8_valid(ps->p + i, used)) break;
            i += used;
            if (cp != '\n') continue;
            ps->line = ps->p + i;
            ps->lines++;
        }
        return fail_at(ps, ps->p + i, "invalid UTF-8");
    }
    VTRY(parse_value(ps, &ps->doc->root));
    skip_space(ps);
    return ps->p == ps->end ? VLM_OK : fail_at(ps, ps->p, "text behind the value");
}

vlm_status vcore_json_parse(vcore_json_doc **out, const char *text, size_t n, const char *name,
                            vlm_error *err) {
    char *copy = vcore_strndup(text, n);
    *out = NULL;
    return copy ? vcore_json_take(out, copy, n, name, err) : vcore_no_memory(err, name);
}

vlm_status vcore_json_take(vcore_json_doc **out, char *text, size_t n, const char *name,
                           vlm_error *err) {
    *out = NULL;
    vcore_json_doc *doc = vcore_alloc(sizeof *doc);
    if (!doc) {
        vcore_free(text);
        return vcore_no_memory(err, name);
    }
    doc->arena = vcore_arena_new();
    doc->text = text;
    doc->seed = vcore_hash_seed();
    locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    vlm_status status = VLM_ERR_MEMORY;
    if (doc->arena && c_locale) {
        parser ps = { .doc = doc, .name = name, .c_locale = c_locale, .err = err };
        ps.p = ps.line = text;
        ps.end = text + n;
        status = parse_document(&ps, n);
        vcore_free(ps.stack);
    } else {
        vcore_no_memory(err, name);
    }
    if (c_locale) freelocale(c_locale);
    if (status < 0)
        vcore_json_free(doc);
    else
        *out = doc;
    return status;
}

void vcore_json_free(vcore_json_doc *doc) {
    if (!doc) return;
    vcore_arena_free(doc->arena);
    vcore_free(doc->text);
    vcore_free(doc);
}

/* ---- access ---------------------------------------------------------------------------------- */
const vcore_json *vcore_json_root(const vcore_json_doc *doc) {
    return doc ? &doc->root : NULL;
}

vcore_json_kind vcore_json_kind_of(const vcore_json *v) {
    return v ? v->kind : VCORE_JSON_NULL;
}

const char *vcore_json_kind_name(const vcore_json *v) {
    static const char *const names[] = {
        [VCORE_JSON_NULL] = "null",        [VCORE_JSON_BOOL] = "a boolean",
        [VCORE_JSON_INT] = "an integer",   [VCORE_JSON_REAL] = "a number",
        [VCORE_JSON_STRING] = "a string",  [VCORE_JSON_ARRAY] = "an array",
        [VCORE_JSON_OBJECT] = "an object",
    };
    return names[vcore_json_kind_of(v)];
}

static const vcore_json *get(const vcore_json *v, vcore_str key) {
    if (vcore_json_kind_of(v) != VCORE_JSON_OBJECT) return NULL;
    const member *m = find(v->object, key);
    return m ? &m->value : NULL;
}

const vcore_json *vcore_json_get(const vcore_json *object, const char *key) {
    return get(object, vcore_str_of(key));
}

bool vcore_json_graft(vcore_json_doc *doc, const char *object, const char *key, const vcore_json *value) {
    const vcore_json *inside = vcore_json_get(&doc->root, object);
    member *m = inside && inside->kind == VCORE_JSON_OBJECT ? find(inside->object, vcore_str_of(key)) : NULL;
    if (m) m->value = value ? *value : (vcore_json) { .kind = VCORE_JSON_NULL };
    return m != NULL;
}

const vcore_json *vcore_json_path_n(const vcore_json *v, vcore_str dotted) {
    for (;;) {
        const char *point = dotted.n ? memchr(dotted.p, '.', dotted.n) : NULL;
        vcore_str key = { dotted.p, point ? (size_t)(point - dotted.p) : dotted.n };
        v = get(v, key);
        if (!v || !point) return v;
        dotted = (vcore_str) { point + 1, dotted.n - key.n - 1 };
    }
}

const vcore_json *vcore_json_path(const vcore_json *v, const char *dotted) {
    return vcore_json_path_n(v, vcore_str_of(dotted));
}

size_t vcore_json_count(const vcore_json *v) {
    vcore_json_kind kind = vcore_json_kind_of(v);
    if (kind == VCORE_JSON_ARRAY) return v->array.count;
    return kind == VCORE_JSON_OBJECT ? v->object->count : 0;
}

const vcore_json *vcore_json_at(const vcore_json *array, size_t i) {
    if (vcore_json_kind_of(array) != VCORE_JSON_ARRAY || i >= array->array.count) return NULL;
    return &array->array.items[i];
}

bool vcore_json_bool(const vcore_json *v, bool *out) {
    if (vcore_json_kind_of(v) != VCORE_JSON_BOOL) return false;
    *out = v->boolean;
    return true;
}

bool vcore_json_int(const vcore_json *v, int64_t *out) {
    vcore_json_kind kind = vcore_json_kind_of(v);
    if (kind == VCORE_JSON_INT) {
        *out = v->integer;
        return true;
    }
    if (kind != VCORE_JSON_REAL || !(v->real.value >= -0x1p63 && v->real.value < 0x1p63)) return false;
    if (v->real.value != floor(v->real.value)) return false;
    *out = (int64_t)v->real.value;
    return true;
}

bool vcore_json_real(const vcore_json *v, double *out) {
    vcore_json_kind kind = vcore_json_kind_of(v);
    if (kind != VCORE_JSON_INT && kind != VCORE_JSON_REAL) return false;
    *out = kind == VCORE_JSON_INT ? (double)v->integer : v->real.value;
    return true;
}

bool vcore_json_digits(const vcore_json *v, vcore_str *out) {
    if (vcore_json_kind_of(v) != VCORE_JSON_REAL || !v->real.text) return false;
    *out = (vcore_str) { v->real.text, strspn(v->real.text, "+-.eE0123456789") };
    return true;
}

bool vcore_json_string(const vcore_json *v, vcore_str *out) {
    if (vcore_json_kind_of(v) != VCORE_JSON_STRING) return false;
    *out = v->string;
    return true;
}

const char *vcore_json_repeated(const vcore_json *object) {
    return vcore_json_kind_of(object) == VCORE_JSON_OBJECT ? object->object->repeated : NULL;
}

bool vcore_json_next(const vcore_json *object, vcore_json_iter *it) {
    size_t i = (size_t)(uintptr_t)it->state;
    if (vcore_json_kind_of(object) != VCORE_JSON_OBJECT || i >= object->object->count) return false;
    const member *m = &object->object->members[i];
    *it = (vcore_json_iter) { (void *)(uintptr_t)(i + 1), object, m->key, &m->value };
    return true;
}
