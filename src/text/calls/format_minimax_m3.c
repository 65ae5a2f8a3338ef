/* SPDX-License-Identifier: MIT */
/* MiniMax M3's calls: elements with a marker before every tag, <invoke name="f"><key>value</key></invoke>. Nested
 * elements are objects and lists, as the schema or their own names say. */
#include "text/calls/calls.h"

#define MARK "]<]minimax[>["

typedef struct node {
    vcore_str tag;
    vcore_buf text;            /* of its own, children left out */
    struct node *child, *next; /* in order */
    struct node *same;         /* the next of its siblings with this tag */
    bool repeated;             /* there is one before it */
} node;

typedef struct m3_reader {
    vcore_arena *arena;
    node *all[VTEXT_C_DEPTH]; /* those open */
    int depth;
    bool failed; /* no memory */
} m3_reader;

/* ---- schemas ----------------------------------------------------------------------------------------------- */

enum { MAX_KINDS = 16 };
typedef struct kinds {
    unsigned at[MAX_KINDS]; /* vtext_c_type, in order */
    size_t n, named;        /* named: those that are no type, too */
} kinds;

static unsigned kind_named(vcore_str s) {
    static const struct {
        const char *name;
        unsigned kind;
        bool prefix;
    } known[] = {
        { "int", VTEXT_C_INT, true },       { "uint", VTEXT_C_INT, true },      { "long", VTEXT_C_INT, true },
        { "short", VTEXT_C_INT, true },     { "unsigned", VTEXT_C_INT, true },  { "num", VTEXT_C_NUMBER, true },
        { "float", VTEXT_C_NUMBER, true },  { "double", VTEXT_C_NUMBER, false }, { "dict", VTEXT_C_OBJECT, true },
        { "list", VTEXT_C_ARRAY, true },    { "string", VTEXT_C_STRING, false }, { "str", VTEXT_C_STRING, false },
        { "text", VTEXT_C_STRING, false },  { "varchar", VTEXT_C_STRING, false }, { "char", VTEXT_C_STRING, false },
        { "enum", VTEXT_C_STRING, false },  { "bool", VTEXT_C_BOOL, false },    { "boolean", VTEXT_C_BOOL, false },
        { "binary", VTEXT_C_BOOL, false },  { "map", VTEXT_C_OBJECT, false },   { "object", VTEXT_C_OBJECT, false },
        { "arr", VTEXT_C_ARRAY, false },    { "array", VTEXT_C_ARRAY, false },  { "sequence", VTEXT_C_ARRAY, false },
        { "null", VTEXT_C_NULL, false },
    };
    s = vtext_c_strip(s);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i].name);
        if (known[i].prefix && s.n > n) {
            if (vtext_c_same(vtext_c_slice(s, 0, n), known[i].name)) return known[i].kind;
        } else if (vtext_c_same(s, known[i].name)) {
            return known[i].kind;
        }
    }
    return 0;
}

static void add_kind(kinds *k, const vcore_json *name) {
    vcore_str s;
    if (!vcore_json_string(name, &s)) return;
    unsigned kind = kind_named(s);
    k->named++;
    if (kind && k->n < MAX_KINDS) k->at[k->n++] = kind;
}

static void add_kinds(kinds *k, const vcore_json *schema) {
    static const char *const choices[] = { "anyOf", "oneOf" };
    const vcore_json *type = vcore_json_get(schema, "type");
    size_t before = k->named;
    bool composite = false;
    add_kind(k, type);
    if (vcore_json_kind_of(type) == VCORE_JSON_ARRAY)
        for (size_t i = 0; i < vcore_json_count(type); i++) add_kind(k, vcore_json_at(type, i));
    for (int c = 0; c < 2 && k->named == before; c++) {
        const vcore_json *list = vcore_json_get(schema, choices[c]);
        if (vcore_json_kind_of(list) != VCORE_JSON_ARRAY) continue;
        composite = true;
        for (size_t i = 0; i < vcore_json_count(list); i++) add_kinds(k, vcore_json_at(list, i));
    }
    if (k->named > before || vcore_json_kind_of(schema) != VCORE_JSON_OBJECT || k->n == MAX_KINDS) return;
    unsigned kind = composite                                ? VTEXT_C_OBJECT
                    : vcore_json_get(schema, "enum")         ? VTEXT_C_STRING
                    : vcore_json_get(schema, "items")        ? VTEXT_C_ARRAY
                    : vcore_json_get(schema, "properties")
                            || vcore_json_get(schema, "additionalProperties") ? VTEXT_C_OBJECT
                                                                              : 0;
    if (kind) k->at[k->n++] = kind;
    if (kind) k->named++;
}

static bool has_kind(const vcore_json *schema, unsigned kind) {
    kinds k = { .n = 0 };
    add_kinds(&k, schema);
    for (size_t i = 0; i < k.n; i++)
        if (k.at[i] == kind) return true;
    return false;
}

static const vcore_json *object_or_null(const vcore_json *v) {
    return vcore_json_kind_of(v) == VCORE_JSON_OBJECT ? v : NULL;
}

static const vcore_json *property(const vcore_json *schema, vcore_str name) {
    if (!has_kind(schema, VTEXT_C_OBJECT)) return NULL;
    const vcore_json *own = vtext_c_member(vcore_json_get(schema, "properties"), name);
    return own ? own : object_or_null(vcore_json_get(schema, "additionalProperties"));
}

static const vcore_json *items(const vcore_json *schema) {
    return has_kind(schema, VTEXT_C_ARRAY) ? object_or_null(vcore_json_get(schema, "items")) : NULL;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* JSON of one bracket, or of none. */
static bool put_json_of(vtext_c_out *out, vcore_str text, char bracket) {
    size_t mark = out->b.n;
    if (!vtext_c_put_json(out, text)) return false;
    if (!bracket || out->b.failed || out->b.p[mark] == bracket) return true;
    out->b.n = mark;
    return false;
}

static bool put_of_kind(vtext_c_out *out, vcore_str text, unsigned kind) {
    char bracket = kind == VTEXT_C_OBJECT ? '{' : '[';
    bool t = vtext_c_same(text, "true") || vtext_c_same(text, "1");
    switch (kind) {
    case VTEXT_C_STRING: vtext_c_put_string(out, text); return true;
    case VTEXT_C_INT: return vtext_c_put_int(out, text);
    case VTEXT_C_NUMBER: return vtext_c_put_json(out, text) || vtext_c_put_float(out, text);
    case VTEXT_C_BOOL:
        if (!t && !vtext_c_same(text, "false") && !vtext_c_same(text, "0")) return false;
        vcore_buf_puts(&out->b, t ? "true" : "false");
        return true;
    case VTEXT_C_OBJECT:
    case VTEXT_C_ARRAY:
        if (text.n) return put_json_of(out, text, bracket);
        vcore_buf_puts(&out->b, bracket == '{' ? "{}" : "[]");
        return true;
    default: return false; /* a null was met before */
    }
}

static void put_scalar(vtext_c_out *out, vcore_str text, const vcore_json *schema, bool known) {
    text = vtext_c_strip(text);
    bool null = vtext_c_same(text, "null");
    kinds k = { .n = 0 };
    schema = object_or_null(schema);
    if (schema) add_kinds(&k, schema);
    for (size_t i = 0; i < k.n && !null; i++)
        if (put_of_kind(out, text, k.at[i])) return;
    if (null && (schema || known)) vcore_buf_puts(&out->b, "null");
    else if (text.n == 0 || known || !vtext_c_put_json(out, text)) vtext_c_put_string(out, text);
}

static void put_node(vtext_c_out *out, const node *n, const vcore_json *schema, bool known);

/* Ties the children of one tag together; *tags gets every tag. */
static bool group(const node *n, vcore_map *tags) {
    size_t count = 0, groups = 0;
    for (node *c = n->child; c; c = c->next) count++;
    node **last = count ? vcore_alloc_array(count, sizeof *last) : NULL;
    bool good = tags && (last || count == 0);
    for (node *c = n->child; c && good; c = c->next) {
        uint32_t at = (uint32_t)groups;
        c->same = NULL;
        c->repeated = vcore_map_get(tags, c->tag, &at);
        if (c->repeated) last[at]->same = c;
        else good = vcore_map_put(tags, c->tag, (uint32_t)groups++);
        last[at] = c;
    }
    vcore_free(last);
    return good;
}

/* The name for text between children: "$text", with more dollars where a child has it. */
static void text_tag(vcore_buf *tag, const vcore_map *tags) {
    uint32_t at;
    vcore_buf_puts(tag, "$text");
    while (!tag->failed && vcore_map_get(tags, (vcore_str) { tag->p, tag->n }, &at)) {
        vcore_buf_puts(tag, "$");
        if (tag->failed) return;
        memmove(tag->p + 1, tag->p, tag->n - 1);
        tag->p[0] = '$';
    }
}

/* Children of one tag are a list. */
static void put_children(vtext_c_out *out, const node *n, const vcore_json *schema, bool known) {
    vcore_map *tags = vcore_map_new(8);
    vcore_buf tag = { 0 };
    vcore_str text = vtext_c_strip((vcore_str) { n->text.p ? n->text.p : "", n->text.n });
    bool good = group(n, tags), below = known || object_or_null(schema);
    vtext_c_begin(out);
    for (const node *c = n->child; c && good; c = c->next) {
        if (c->repeated) continue;
        vtext_c_key(out, c->tag);
        if (c->same) vcore_buf_puts(&out->b, "[");
        for (const node *d = c; d; d = d->same) {
            if (d != c) vcore_buf_puts(&out->b, ", ");
            put_node(out, d, property(schema, d->tag), below);
        }
        if (c->same) vcore_buf_puts(&out->b, "]");
    }
    if (text.n && good) {
        text_tag(&tag, tags);
        vcore_str name = { tag.p, tag.n };
        vtext_c_key(out, name);
        put_scalar(out, text, property(schema, name), below);
    }
    vtext_c_end(out);
    out->b.failed = out->b.failed || tag.failed || !good;
    vcore_buf_free(&tag);
    vcore_map_free(tags);
}

static void put_list(vtext_c_out *out, const node *n, const vcore_json *schema, bool known) {
    vcore_str text = vtext_c_strip((vcore_str) { n->text.p ? n->text.p : "", n->text.n });
    vcore_buf_puts(&out->b, "[");
    for (const node *c = n->child; c; c = c->next) {
        if (c != n->child) vcore_buf_puts(&out->b, ", ");
        put_node(out, c, schema, known);
    }
    if (text.n) {
        vcore_buf_puts(&out->b, ", ");
        put_scalar(out, text, schema, known);
    }
    vcore_buf_puts(&out->b, "]");
}

static bool all_items(const node *n) {
    for (const node *c = n->child; c; c = c->next)
        if (!vcore_str_eq(c->tag, vcore_str_of("item"))) return false;
    return vtext_c_strip((vcore_str) { n->text.p ? n->text.p : "", n->text.n }).n == 0;
}

static void put_node(vtext_c_out *out, const node *n, const vcore_json *schema, bool known) {
    if (!n->child)
        put_scalar(out, (vcore_str) { n->text.p ? n->text.p : "", n->text.n }, schema, known);
    else if (has_kind(schema, VTEXT_C_ARRAY))
        put_list(out, n, items(schema), known || object_or_null(schema));
    else if (has_kind(schema, VTEXT_C_OBJECT))
        put_children(out, n, schema, true);
    else if (all_items(n))
        put_list(out, n, NULL, false);
    else
        put_children(out, n, schema, known);
}

/* ---- elements --------------------------------------------------------------------------------------------------- */

static bool is_tag(vcore_str s) {
    size_t used;
    if (s.n == 0 || !(((s.p[0] | 0x20) >= 'a' && (s.p[0] | 0x20) <= 'z') || s.p[0] == '_' || s.p[0] == '$')) return false;
    for (size_t i = 1; i < s.n; i += used) {
        used = 1;
        if (!strchr(":.$-", s.p[i]) && !vtext_c_word(s, i, &used)) return false;
        if (s.p[i] == 0) return false;
    }
    return true;
}

/* Behind "<" at *at: opens a node under the one that is open. */
static node *open_node(m3_reader *r, vcore_str s, size_t *at) {
    size_t end = vtext_c_find(s, *at, ">");
    if (end == VTEXT_C_NONE || !is_tag(vtext_c_slice(s, *at, end)) || r->depth == VTEXT_C_DEPTH) return NULL;
    node *n = vcore_arena_alloc(r->arena, sizeof *n);
    if (!n) {
        r->failed = true;
        return NULL;
    }
    n->tag = vtext_c_slice(s, *at, end);
    r->all[r->depth++] = n;
    *at = end + 1;
    return n;
}

static void free_texts(node *n) {
    for (; n; n = n->next) {
        vcore_buf_free(&n->text);
        free_texts(n->child); /* no deeper than what was read */
    }
}

/* The element at `at`, whose mark and "<" were read; NULL: it is not whole. *top is what is to be freed. */
static bool read_element(m3_reader *r, node *top, vcore_str s, size_t *at) {
    node *last[VTEXT_C_DEPTH + 1] = { NULL };
    r->depth = 0;
    node *n = open_node(r, s, at);
    if (!n) return false;
    top->child = n;
    for (;;) {
        size_t mark = vtext_c_find(s, *at, MARK);
        n = r->all[r->depth - 1];
        if (mark == VTEXT_C_NONE) return false;
        vcore_buf_add(&n->text, s.p + *at, mark - *at);
        if (n->text.failed) r->failed = true;
        *at = mark + strlen(MARK);
        if (vtext_c_starts(s, *at, "</")) {
            if (s.n - *at < n->tag.n + 3 || memcmp(s.p + *at + 2, n->tag.p, n->tag.n) || s.p[*at + 2 + n->tag.n] != '>')
                return false;
            *at += n->tag.n + 3;
            if (--r->depth == 0) return !r->failed;
            continue;
        }
        if (!vtext_c_starts(s, *at, "<")) return false;
        ++*at;
        int parent = r->depth - 1;
        node *child = open_node(r, s, at);
        if (!child) return false;
        if (n->child) last[parent]->next = child;
        else n->child = child;
        last[parent] = child;
    }
}

/* name="f", name='f' or name=f among attributes. */
static bool invoke_name(vcore_str s, vcore_str *name) {
    for (size_t at = 0; (at = vtext_c_find(s, at, "name")) != VTEXT_C_NONE;) {
        bool apart = vtext_c_word_before(s, at) == at;
        at += strlen("name");
        size_t i = at + vtext_c_space(vtext_c_slice(s, at, s.n));
        if (!apart || i >= s.n || s.p[i] != '=') continue;
        i++;
        i += vtext_c_space(vtext_c_slice(s, i, s.n));
        if (i >= s.n) continue;
        const char quote[2] = { s.p[i], 0 };
        size_t end = *quote == '"' || *quote == '\'' ? vtext_c_find(s, i + 1, quote) : VTEXT_C_NONE;
        if (end != VTEXT_C_NONE) {
            *name = vtext_c_slice(s, i + 1, end);
            return name->n > 0;
        }
        for (end = i; end < s.n && vtext_c_space(vtext_c_slice(s, end, end + 1)) == 0; end++) {}
        *name = vtext_c_slice(s, i, end);
        return true;
    }
    return false;
}

/* The elements of a body as arguments. */
static bool put_body(vtext_c_out *out, vcore_str body, const vcore_json *schema, bool known, bool *failed) {
    node root = { .child = NULL }, *last = NULL;
    m3_reader r = { .arena = vcore_arena_new() };
    bool good = r.arena != NULL;
    *failed = *failed || !good;
    for (size_t at = 0; good;) {
        node top = { .child = NULL };
        at += vtext_c_space(vtext_c_slice(body, at, body.n));
        if (!vtext_c_starts(body, at, MARK)) break; /* what is no element ends the arguments */
        at += strlen(MARK);
        good = vtext_c_starts(body, at, "<") && !vtext_c_starts(body, at, "</");
        at++;
        good = good && read_element(&r, &top, body, &at);
        if (last) last->next = top.child;
        else root.child = top.child;
        if (top.child) last = top.child;
    }
    if (good) put_children(out, &root, schema, known);
    *failed = *failed || r.failed;
    free_texts(root.child);
    vcore_arena_free(r.arena);
    return good;
}

bool vtext_c_parse_minimax_m3(vtext_c_job *job, vcore_str text) {
    static const char open[] = MARK "<invoke", close[] = MARK "</invoke>";
    size_t found = 0, used;
    for (size_t at = 0; (at = vtext_c_find(text, at, open)) != VTEXT_C_NONE;) {
        at += strlen(open);
        if (vtext_c_word(text, at, &used)) continue;
        size_t head = vtext_c_find(text, at, ">");
        size_t end = head == VTEXT_C_NONE ? head : vtext_c_find(text, head, close);
        if (end == VTEXT_C_NONE) break;
        found++;
        vcore_str name;
        vtext_c_out out = { 0 };
        if (!invoke_name(vtext_c_slice(text, at, head), &name)) return false;
        const vcore_json *schema = object_or_null(vtext_c_schema(job->tools, name));
        bool known = vcore_json_count(job->tools) > 0;
        bool good = put_body(&out, vtext_c_slice(text, head + 1, end), schema, known, &job->failed);
        if (good) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
        vtext_c_drop(job, &out);
        if (!good) return false;
        at = end + strlen(close);
    }
    return found > 0;
}
