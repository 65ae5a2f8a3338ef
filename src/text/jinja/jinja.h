/* SPDX-License-Identifier: MIT */
/* The inside of the chat template interpreter: a Jinja as transformers sets it up. Shared by
 * src/text/jinja and chat.c only; the rest of the library sees vtext_template_* of text.h.
 *
 * source -> tokens (lex.c) -> nodes (parse.c, expr.c) -> text (exec.c for
 * statements, eval.c for expressions; values in value.c, strings in str.c).
 *
 * A string carries, byte by byte, whether a user typed it; whatever builds a string from others
 * copies that along with the bytes. All memory of a render comes from one arena with a budget, so
 * nothing here frees, and a failure (false, the error set) simply travels up.
 * What it supports and where it differs from jinja2 is in docs/TEXT.md. */
#ifndef VTEXT_JINJA_H
#define VTEXT_JINJA_H

#include "text/text.h"

#define J_MAX_NESTING 128   /* of constructs in a template */
#define J_MAX_MACROS 128    /* macro calls inside each other */
#define J_MAX_FRAMES 1000   /* nodes under evaluation at one time: bounds the C stack */
#define J_MAX_RANGE 100000  /* items of a range(), as in jinja2's sandbox */
#define J_MEMORY (256u << 20) /* bytes a render may allocate */
#define J_PER_CHARACTER 8     /* work of looking at a character, in that of copying a byte */
#define J_MAX_PARAMS 8      /* parameters of a built-in */

/* ---- values ---------------------------------------------------------------------------------- */
/* Immutable text; user[i] is nonzero where byte i was typed by a user, NULL: nowhere. */
typedef struct j_string {
    const char *p;
    size_t n;
    const uint8_t *user;
} j_string;

typedef enum j_kind {
    J_MISSING, /* an argument that was not given; never seen by a template */
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STRING,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_VIEW,      /* what dict.items(), keys() and values() give */
    J_RANGE,
    J_ITERATOR,  /* a generator: read once */
    J_NAMESPACE,
    J_CYCLER,
    J_JOINER,
    J_LOOP,
    J_MACRO,
    J_FUNCTION,  /* a global function */
    J_METHOD     /* a method bound to its object */
} j_kind;

typedef struct j_list j_list;
typedef struct j_dict j_dict;
typedef struct j_loop j_loop;
typedef struct j_macro j_macro;
typedef struct j_builtin j_builtin; /* call.h */

/* What a value is undefined for; the message is made when somebody uses it. */
typedef struct j_undefined {
    const char *hint; /* the whole message, or NULL */
    j_string name;
    const char *owner; /* type that lacks the attribute; NULL: a variable */
} j_undefined;

typedef struct j_value {
    j_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        j_string s;
        const j_undefined *undefined;
        j_list *list; /* J_LIST, J_TUPLE */
        j_dict *dict; /* J_DICT, J_NAMESPACE */
        struct j_view *view;
        struct j_range *range;
        struct j_cursor *cursor; /* J_ITERATOR, J_CYCLER, J_JOINER */
        j_loop *loop;
        j_macro *macro;
        const j_builtin *function;
        struct j_method *method;
    } u;
} j_value;

struct j_list {
    j_value *item;
    size_t n, cap;
    bool group; /* a tuple of groupby: .grouper and .list */
};
typedef struct j_entry {
    j_value key, value;
    uint64_t hash;
} j_entry;
struct j_dict { /* in order of insertion */
    j_entry *entry;
    size_t n, cap;
    uint32_t *slot; /* hash table of entry numbers + 1; NULL while small */
    size_t n_slots;
};
struct j_view {
    const j_dict *dict;
    enum { J_VIEW_KEYS, J_VIEW_VALUES, J_VIEW_ITEMS } what;
};
struct j_range {
    int64_t start, stop, step;
    size_t n;
};
struct j_cursor { /* of an iterator or a cycler; a joiner's only item is its separator */
    j_list items;
    size_t pos;
};
struct j_method {
    j_value self;
    const j_builtin *function;
};

/* Arguments of a call as written. */
typedef struct j_args {
    j_value *item;
    size_t n;
    j_string *name; /* of keyword arguments */
    j_value *named;
    size_t n_named;
} j_args;

typedef struct j_node j_node; /* ast.h */
typedef enum j_operator {
    OP_NONE, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW,
    OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN
} j_operator;

/* ---- a render -------------------------------------------------------------------------------- */
typedef struct j_scope {
    struct j_scope *parent;
    j_dict vars;
} j_scope;

/* Text under construction. */
typedef struct j_text {
    char *p;
    uint8_t *user; /* NULL while nothing is a user's */
    size_t n, cap;
} j_text;

typedef struct j_run {
    vcore_arena *arena;
    const char *name; /* of the template */
    vlm_error *err;
    vlm_status status; /* of the failure */
    uint32_t line;     /* being evaluated */
    uint64_t steps, max_steps;
    size_t max_output;
    size_t memory;     /* bytes left */
    int frames, macros;
    uint64_t kept;     /* scopes that something may look into after their body */
    j_text tail;       /* where the last concatenation grows (str.c) */
    int64_t now;       /* for strftime_now */
    const j_text *root; /* what the template itself has printed so far */
    j_list generation;  /* begin, end, begin, ... of generation blocks in it */
} j_run;

struct j_loop {
    const j_node *node;
    j_scope *scope; /* around the loop */
    j_scope *tested; /* where the loop's test sees an item */
    j_list items;
    size_t pos;     /* of the next item to look at */
    j_value previous, current, after;
    bool has_after;
    int64_t index0;
    int depth0;
    j_value changed; /* what loop.changed() saw last */
};
struct j_macro {
    const j_node *node; /* MACRO or CALL_BLOCK */
    j_scope *scope;     /* where it was defined */
};

/* Both return false: "<template>:<line>: <what>". */
bool vtext_j_fail(j_run *r, const char *fmt, ...) VLM_PRINTF(2, 3);
bool vtext_j_fail_status(j_run *r, vlm_status status, const char *fmt, ...) VLM_PRINTF(3, 4);
bool vtext_j_fail_limit(j_run *r, uint64_t limit, const char *fmt, ...) VLM_PRINTF(3, 4);
void *vtext_j_alloc(j_run *r, size_t n, size_t size); /* NULL: failed; n = 0 gives a pointer too */
bool vtext_j_work(j_run *r, size_t bytes);            /* counts a step, and more for much data */

/* exec.c, eval.c */
bool vtext_j_exec(j_run *r, j_scope *scope, const j_node *body, j_text *out);
bool vtext_j_eval(j_run *r, j_scope *scope, const j_node *n, j_value *out);
bool vtext_j_eval_args(j_run *r, j_scope *scope, const j_node *first, j_args *out);
bool vtext_j_filter_chain(j_run *r, j_scope *scope, const j_node *n, j_value input, j_value *out);
bool vtext_j_call(j_run *r, j_value callee, const j_args *args, j_value *out);
bool vtext_j_call_macro(j_run *r, j_macro *m, const j_args *args, j_value *out);
bool vtext_j_call_loop(j_run *r, j_loop *loop, j_value items, j_value *out);
bool vtext_j_loop_peek(j_run *r, j_loop *loop); /* makes `after` known when there is a next item */
bool vtext_j_loop_length(j_run *r, j_loop *loop, size_t *n);
bool vtext_j_binary(j_run *r, j_operator op, j_value a, j_value b, j_value *out);
bool vtext_j_contains(j_run *r, j_value container, j_value item, bool *out);

/* ---- strings (str.c) ------------------------------------------------------------------- */
#define J_LITERAL(text) ((j_string) { text, sizeof(text) - 1, NULL })
static inline j_string vtext_j_sub(j_string s, size_t from, size_t to) {
    return (j_string) { s.p + from, to - from, s.user ? s.user + from : NULL };
}
static inline bool vtext_j_is(j_string s, const char *word) {
    return s.n == strlen(word) && memcmp(s.p, word, s.n) == 0;
}
static inline bool vtext_j_same(j_string a, j_string b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
bool vtext_j_add(j_run *r, j_text *t, j_string s);
bool vtext_j_add_bytes(j_run *r, j_text *t, const char *p, size_t n, bool user);
bool vtext_j_add_char(j_run *r, j_text *t, uint32_t cp, bool user);
bool vtext_j_pad(j_run *r, j_text *t, j_string fill, int64_t times);
static inline j_string vtext_j_done(const j_text *t) {
    return (j_string) { t->p ? t->p : "", t->n, t->user };
}
bool vtext_j_concat(j_run *r, j_string a, j_string b, j_string *out);
size_t vtext_j_chars(j_string s);                 /* length in characters */
size_t vtext_j_offset(j_string s, size_t chars);  /* byte offset of a character, at most s.n */
j_string vtext_j_next_char(j_string s, size_t *pos, uint32_t *cp);
bool vtext_j_find(j_string s, j_string what, size_t from, size_t *at);
bool vtext_j_rfind(j_run *r, j_string s, j_string what, size_t *at, bool *found);
bool vtext_j_is_space(uint32_t cp);
bool vtext_j_is_printable(uint32_t cp);
bool vtext_j_is_line_end(uint32_t cp);
bool vtext_j_name_char(uint32_t cp, bool first); /* of a name, in a template or in Python (lex.c) */
/* chars NULL: white space; ends: 1 left, 2 right, 3 both */
j_string vtext_j_strip(j_string s, const j_string *chars, int ends);
typedef enum j_case {
    J_UPPER, J_LOWER, J_TITLE, J_CAPITALIZE, J_SWAPCASE, J_FOLD, J_JINJA_TITLE
} j_case;
bool vtext_j_recase(j_run *r, j_string s, j_case how, j_string *out);
bool vtext_j_parse_float(const char *text, double *out); /* the whole text; "C" locale always */

/* ---- values (value.c) ------------------------------------------------------------------ */
static inline j_value vtext_j_bool(bool b) {
    return (j_value) { J_BOOL, { .b = b } };
}
static inline j_value vtext_j_int(int64_t i) {
    return (j_value) { J_INT, { .i = i } };
}
static inline j_value vtext_j_float(double f) {
    return (j_value) { J_FLOAT, { .f = f } };
}
static inline j_value vtext_j_string(j_string s) {
    return (j_value) { J_STRING, { .s = s } };
}
static inline j_value vtext_j_none(void) {
    return (j_value) { J_NONE, { 0 } };
}
static inline bool vtext_j_is_number(j_value v) {
    return v.kind == J_BOOL || v.kind == J_INT || v.kind == J_FLOAT;
}
static inline bool vtext_j_is_integer(j_value v) {
    return v.kind == J_BOOL || v.kind == J_INT;
}
static inline int64_t vtext_j_integer(j_value v) {
    return v.kind == J_BOOL ? v.u.b : v.u.i;
}
static inline double vtext_j_number(j_value v) {
    return v.kind == J_FLOAT ? v.u.f : (double)vtext_j_integer(v);
}
const char *vtext_j_type(j_value v); /* Python's name of the type */
bool vtext_j_truth(j_value v);
bool vtext_j_undefined(j_run *r, const char *hint, j_string name, const char *owner, j_value *out);
bool vtext_j_use_undefined(j_run *r, j_value v); /* fails with the message of an undefined value */
bool vtext_j_new_list(j_run *r, j_kind kind, j_value *out);
bool vtext_j_push(j_run *r, j_list *list, j_value v);
bool vtext_j_pair(j_run *r, j_value a, j_value b, j_value *out); /* a tuple of two */
bool vtext_j_new_dict(j_run *r, j_value *out);
bool vtext_j_dict_put(j_run *r, j_dict *d, j_value key, j_value value);
bool vtext_j_dict_get(const j_dict *d, j_value key, j_value *out); /* false: no such key */
bool vtext_j_get(const j_dict *d, j_string key, j_value *out);
bool vtext_j_hashable(j_value v);
/* The items of anything iterable, once; fails on others. */
bool vtext_j_items(j_run *r, j_value v, j_list *out);
bool vtext_j_iterable(j_value v);
bool vtext_j_length(j_run *r, j_value v, int64_t *out);
bool vtext_j_has_length(j_value v);
bool vtext_j_equal(j_run *r, j_value a, j_value b, bool *out);
bool vtext_j_less(j_run *r, j_value a, j_value b, const char *op, bool *out); /* op: for errors */
/* Sorts stably by the keys, which are permuted along. */
bool vtext_j_sort(j_run *r, j_value *items, j_value *keys, size_t n, bool reverse);

/* ---- printing (print.c) ---------------------------------------------------------------- */
bool vtext_j_str(j_run *r, j_value v, j_string *out);            /* Python's str() */
bool vtext_j_repr(j_run *r, j_value v, j_text *out);             /* Python's repr() */
size_t vtext_j_float_repr(double f, char out[40]);
typedef struct j_json_style {
    bool ascii, sort;
    bool indented;
    j_string indent, item_separator, key_separator;
} j_json_style;
bool vtext_j_json(j_run *r, j_value v, const j_json_style *style, j_text *out); /* json.dumps */

#endif
