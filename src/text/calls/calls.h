/* SPDX-License-Identifier: MIT */
/* Tool calls in a model's output. Formats differ in their markers and in how a call is written between
 * them; what a call is made of (JSON, Python literals, tagged text, a parameter's type) is shared. */
#ifndef VLM_TEXT_CALLS_H
#define VLM_TEXT_CALLS_H

#include "text/text.h"
#include "vlm/reply.h"

enum { VTEXT_C_DEPTH = 128, VTEXT_C_MAX_CALLS = 4096, VTEXT_C_MAX_SPAN = 8 << 20 };
#define VTEXT_C_NONE SIZE_MAX

/* ---- text (text.c); white space and word characters are Python's ------------------------------------- */
vcore_str vtext_c_strip(vcore_str s);
size_t vtext_c_space(vcore_str s); /* bytes of white space at the beginning */
size_t vtext_c_find(vcore_str s, size_t from, const char *what); /* VTEXT_C_NONE: not there */
bool vtext_c_starts(vcore_str s, size_t at, const char *with);
vcore_str vtext_c_slice(vcore_str s, size_t begin, size_t end);
/* What lies between the next `open` at or behind *at and the first `close` behind it; *at moves behind
 * that. False: there is none, nor anywhere further on. */
bool vtext_c_between(vcore_str *inner, vcore_str s, size_t *at, const char *open, const char *close);
bool vtext_c_word(vcore_str s, size_t at, size_t *used); /* is the character there a word character? */
size_t vtext_c_word_before(vcore_str s, size_t at); /* begin of the run of word characters that ends there */
bool vtext_c_same(vcore_str s, const char *lower); /* but for the case of ASCII letters */
/* The first place at or behind `at` where one of the markers is, *which of them, or, unless this is the last of
 * the text, where one may begin that is not whole: *which is n then. s.n: nowhere. */
size_t vtext_c_marker(vcore_str s, size_t at, const char *const *markers, size_t n, bool last, size_t *which);

/* ---- values (value.c, literal.c) ---------------------------------------------------------------------------
 * A value is written as JSON text; vtext_c_add() makes it what json.dumps(ensure_ascii=False) gives. */
typedef struct vtext_c_out {
    vcore_buf b;
    bool unwritable; /* holds what JSON cannot say: a set, bytes, a complex number */
} vtext_c_out;
bool vtext_c_put_json(vtext_c_out *out, vcore_str text);    /* json.loads; false: nothing was written */
bool vtext_c_put_literal(vtext_c_out *out, vcore_str text); /* ast.literal_eval; likewise */
void vtext_c_put_guess(vtext_c_out *out, vcore_str text);   /* JSON, else a literal, else a string */
bool vtext_c_put_int(vtext_c_out *out, vcore_str text);     /* int(text) */
bool vtext_c_put_float(vtext_c_out *out, vcore_str text);   /* float(text) */
/* float(text), as an integer where that is the same; *over: infinite, which no integer is. */
bool vtext_c_put_number(vtext_c_out *out, vcore_str text, bool *over);
void vtext_c_put_string(vtext_c_out *out, vcore_str text);
void vtext_c_put_value(vcore_buf *b, const vcore_json *v);  /* json.dumps */
void vtext_c_put_printed(vtext_c_out *out, const vcore_json *v); /* str(v), as a string */
void vtext_c_key(vtext_c_out *out, vcore_str key);
void vtext_c_begin(vtext_c_out *out); /* an object of arguments */
void vtext_c_end(vtext_c_out *out);

/* Reads a Python expression that is a literal. */
typedef struct vtext_c_reader {
    const char *p, *end;
    vtext_c_out *out;
    int depth; /* of brackets; inside, line ends are white space */
} vtext_c_reader;
void vtext_c_skip(vtext_c_reader *r); /* white space and comments */
bool vtext_c_expression(vtext_c_reader *r);
vcore_str vtext_c_identifier(vtext_c_reader *r); /* empty: there is none */

/* ---- tools (schema.c): entries {"function": {"name", "parameters": schema}} -------------------------------- */
const vcore_json *vtext_c_member(const vcore_json *object, vcore_str key);
const vcore_json *vtext_c_schema(const vcore_json *tools, vcore_str name); /* NULL: no such tool */
const vcore_json *vtext_c_property(const vcore_json *tools, vcore_str name, vcore_str parameter);
bool vtext_c_is_string(const vcore_json *schema); /* "type": "string" */
/* Types by name, most specific first. */
typedef enum vtext_c_type {
    VTEXT_C_INT = 1, VTEXT_C_NUMBER = 2, VTEXT_C_BOOL = 4, VTEXT_C_OBJECT = 8, VTEXT_C_ARRAY = 16,
    VTEXT_C_STRING = 32, VTEXT_C_NULL = 64
} vtext_c_type;
unsigned vtext_c_types(const vcore_json *schema); /* all that it allows; none said: a string */

/* ---- one span between markers -------------------------------------------------------------------------------- */
typedef struct vtext_c_call {
    char *name, *arguments, *id; /* owned; id may be NULL */
    size_t name_bytes, arguments_bytes;
} vtext_c_call;
typedef struct vtext_c_job {
    const vcore_json *tools; /* may be NULL */
    vtext_c_call *call;
    size_t n, cap;
    bool cut;    /* a call could not be written: it and those behind it are dropped */
    bool failed; /* no memory */
} vtext_c_job;
/* Adds a call and takes the arguments, which are emptied. A string is given as it is, all else as JSON. */
void vtext_c_add(vtext_c_job *job, vcore_str name, vcore_str id, vtext_c_out *arguments);
void vtext_c_drop(vtext_c_job *job, vtext_c_out *out); /* arguments that are not wanted */
void vtext_c_cut(vtext_c_job *job); /* a call that is none */
void vtext_c_job_clear(vtext_c_job *job, size_t from); /* frees calls [from, n) */

/* ---- formats (formats.c) ---------------------------------------------------------------------------------------- */
typedef struct vtext_c_format {
    const char *name;
    const char *markers[2][2]; /* in a chat template: both of a pair; of either pair. NULL: no more */
    int priority;
    const char *start, *end; /* end "": the line's */
    bool (*parse)(vtext_c_job *job, vcore_str text); /* false: no call at all */
} vtext_c_format;
const vtext_c_format *vtext_c_format_named(const char *name);
const vtext_c_format *vtext_c_format_of(vcore_str chat_template);
const vtext_c_format *vtext_c_format_at(size_t i); /* NULL: no more */

bool vtext_c_parse_json(vtext_c_job *job, vcore_str text);    /* format_json.c */
bool vtext_c_parse_cohere(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_mistral(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_harmony(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_kimi(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_qwen(vtext_c_job *job, vcore_str text);    /* format_tags.c */
bool vtext_c_parse_minimax_m2(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_atem(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_glm(vtext_c_job *job, vcore_str text);     /* format_glm.c */
bool vtext_c_parse_longcat(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_gemma(vtext_c_job *job, vcore_str text);   /* format_gemma.c */
bool vtext_c_parse_function_gemma(vtext_c_job *job, vcore_str text);
bool vtext_c_parse_minicpm(vtext_c_job *job, vcore_str text); /* format_minicpm.c */
bool vtext_c_parse_minimax_m3(vtext_c_job *job, vcore_str text); /* format_minimax_m3.c */
bool vtext_c_parse_pythonic(vtext_c_job *job, vcore_str text); /* format_pythonic.c */

/* ---- a stream of text (scan.c, thinking.c) ----------------------------------------------------------------------
 * Both take text in pieces, hold back what may become a marker, and give what is certain. */
typedef enum vtext_c_place { VTEXT_C_BEFORE, VTEXT_C_OPENING, VTEXT_C_WITHIN, VTEXT_C_CLOSING, VTEXT_C_AFTER } vtext_c_place;
enum { VTEXT_C_MARKERS = 8 };
typedef struct vtext_c_thinking {
    bool on;
    vtext_c_place place;
    char *start, *end; /* the caller's, beside those that are known; may be NULL */
    vcore_buf held;
} vtext_c_thinking;
typedef void (*vtext_c_give)(void *user, bool reasoning, vcore_str text);
/* False: no memory. */
bool vtext_c_think(vtext_c_thinking *t, vcore_str text, bool last, vtext_c_give give, void *user);
void vtext_c_thinking_free(vtext_c_thinking *t);

typedef struct vtext_c_scan {
    const vtext_c_format *format; /* NULL: all is content */
    vcore_buf held;
    bool inside;
    size_t searched; /* bytes of held in which the span does not end */
} vtext_c_scan;
/* Text that is no call, or with a span: its calls. */
typedef vlm_status (*vtext_c_take)(void *user, vcore_str text, bool span, vlm_error *err);
vlm_status vtext_c_scan_push(vtext_c_scan *s, vcore_str text, bool last, vtext_c_take take, void *user,
                             vlm_error *err);
/* What lies between the markers of a span. */
vcore_str vtext_c_span_text(const vtext_c_format *format, vcore_str span);

#endif
