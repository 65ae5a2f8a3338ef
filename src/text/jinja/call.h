/* SPDX-License-Identifier: MIT */
/* Filters, tests, functions and methods of the chat template interpreter: how they are declared,
 * found and called (builtin.c), and what they share. The tables are in filters.c,
 * lists.c, tests.c, methods.c and attributes.c. */
#ifndef VTEXT_JINJA_CALL_H
#define VTEXT_JINJA_CALL_H

#include "text/jinja/jinja.h"

/* What a built-in gets. Arguments are bound to its `params` (names in order, a blank between) before
 * fn sees them: arg[i] is J_MISSING where none was given. params "*": any; they are in args. */
typedef struct j_call {
    j_value self; /* the filtered or tested value, the object of a method */
    j_value arg[J_MAX_PARAMS];
    const j_args *args;
    const char *name;
} j_call;
struct j_builtin {
    const char *name; /* NULL ends a table */
    bool (*fn)(j_run *r, const j_call *c, j_value *out);
    const char *params;
    int required;
};
extern const j_builtin vtext_j_string_filters[], vtext_j_list_filters[], vtext_j_tests[],
    vtext_j_functions[], vtext_j_string_methods[], vtext_j_text_methods[];
const j_builtin *vtext_j_find_builtin(const j_builtin *table, j_string name);
bool vtext_j_call_builtin(j_run *r, const j_builtin *f, const char *what, j_value self,
                          const j_args *args, j_value *out);
const j_builtin *vtext_j_find_filter(j_string name);
bool vtext_j_call_filter(j_run *r, j_string name, j_value self, const j_args *args, j_value *out);
bool vtext_j_call_test(j_run *r, j_string name, j_value self, const j_args *args, bool *out);
/* Typed arguments. *out is kept where none was given; false: of another type, and said so. */
bool vtext_j_arg_string(j_run *r, const j_call *c, int i, j_string *out);
bool vtext_j_arg_int(j_run *r, const j_call *c, int i, int64_t *out); /* None counts as not given */
bool vtext_j_arg_bool(const j_call *c, int i); /* false when not given */
/* obj.name and obj[key] as jinja2's sandbox gives them (methods.c) */
bool vtext_j_attribute(j_run *r, j_value obj, j_string name, j_value *out);
bool vtext_j_item(j_run *r, j_value obj, j_value key, j_value *out);
/* format.c */
bool vtext_j_percent(j_run *r, j_string format, j_value args, j_value *out); /* "..." % args */
bool vtext_j_percent_args(j_run *r, j_string format, const j_args *args, j_value *out);
bool vtext_j_converted(j_run *r, j_value v, char how,
                       j_string *out); /* how: s(tr), r(epr), a(scii) */
bool vtext_j_put_formatted(j_run *r, j_text *t, j_value v, j_string spec); /* format(v, spec) */
/* fields.c */
bool vtext_j_format(j_run *r, j_string format, const j_args *args, j_value *out); /* str.format */
/* methods.c, for filters of the same meaning */
bool vtext_j_replace(j_run *r, j_string s, j_string old, j_string with, int64_t count, j_value *out);
bool vtext_j_join(j_run *r, j_string separator, const j_list *items, bool strict, j_value *out);
bool vtext_j_split_lines(j_run *r, j_string s, bool keep_ends, j_list *out);

#endif
