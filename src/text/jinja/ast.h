/* SPDX-License-Identifier: MIT */
/* What a template is once read: tokens and nodes, and the parser's own functions. */
#ifndef VTEXT_JINJA_AST_H
#define VTEXT_JINJA_AST_H

#include "text/jinja/jinja.h"

/* ---- nodes ----------------------------------------------------------------------------------- */
typedef enum j_node_kind {
    /* expressions */
    N_CONST, N_NAME, N_LIST, N_TUPLE, N_DICT, N_CHAIN, N_AND, N_OR, N_NOT, N_COMPARE, N_CONCAT,
    N_NEGATE, N_PLUS, N_CONDITION, N_ATTRIBUTE, N_ITEM, N_SLICE, N_CALL, N_FILTER, N_TEST,
    N_OPERAND, N_CALL_ARGUMENT, N_ATTRIBUTE_TARGET,
    /* statements */
    N_TEXT, N_PRINT, N_IF, N_BRANCH, N_FOR, N_SET, N_SET_BLOCK, N_MACRO, N_CALL_BLOCK,
    N_FILTER_BLOCK, N_WITH, N_GENERATION, N_BREAK, N_CONTINUE
} j_node_kind;

/* One node of a template. Siblings (items, arguments, statements of a body) hang together by `next`.
 * Which member a kind uses:
 *   CONST value · NAME name · LIST TUPLE items · DICT items: key, value, key, value, ...
 *   CHAIN COMPARE CONCAT items: OPERAND a, all but the first with their op · AND OR items
 *   NOT NEGATE PLUS a · CONDITION a if b else c (c may be NULL) · ATTRIBUTE a.name · ITEM a[b]
 *   SLICE a:b:c (each may be NULL) · CALL a(items) · FILTER a|name(items), a NULL: the block's text
 *   TEST a is name(items) · CALL_ARGUMENT a: op OP_MUL for *a, OP_POW for **a, else name=a
 *   ATTRIBUTE_TARGET name.attribute
 *   TEXT value · PRINT items · IF items: per branch a BRANCH (a: test, NULL for else; body)
 *   FOR a: target, b: iterable, c: test or NULL, body, other: else, flag: recursive
 *   SET a: target, b: value · SET_BLOCK a: target, b: filter chain or NULL, body
 *   MACRO name, items: parameters (NAME; a: default or NULL), body
 *   CALL_BLOCK a: call, items: parameters, body · FILTER_BLOCK b: filter chain, body
 *   WITH items: targets (b: value), body · GENERATION body */
struct j_node {
    j_node_kind kind;
    j_operator op;
    uint32_t line;
    bool flag;
    bool uses_caller, uses_varargs, uses_kwargs; /* MACRO */
    j_string name, attribute;
    j_value value;
    j_node *a, *b, *c, *items, *body, *other, *next;
};

struct vtext_template {
    char *name;         /* of its file, for errors */
    char *label;        /* "default", "tool_use", ...; NULL: the only one, without a name */
    vcore_arena *arena; /* of nodes and their strings */
    j_string source;
    j_node *body;
    vlm_error *fault;   /* why it cannot be read: told when it is chosen */
    struct vtext_template *next; /* further ones of the folder */
};

/* ---- lexer and parser ------------------------------------------------------------------------ */
typedef enum j_token_kind {
    T_EOF, T_DATA, T_PRINT_BEGIN, T_PRINT_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_STRING, T_INT,
    T_FLOAT, T_ADD, T_SUB, T_MUL, T_DIV, T_FLOORDIV, T_MOD, T_POW, T_TILDE, T_EQ, T_NE, T_LT, T_LE,
    T_GT, T_GE, T_ASSIGN, T_DOT, T_COLON, T_PIPE, T_COMMA, T_SEMICOLON, T_LPAREN, T_RPAREN,
    T_LBRACKET, T_RBRACKET, T_LBRACE, T_RBRACE
} j_token_kind;
typedef struct j_token {
    j_token_kind kind;
    uint32_t line;
    j_value value; /* DATA, NAME, STRING: text; INT; FLOAT */
} j_token;

typedef struct j_parser {
    vcore_arena *arena;
    const char *name;
    vlm_error *err;
    vlm_status status; /* of the failure */
    j_token *token;    /* the last one is T_EOF */
    size_t n_tokens, pos;
    int nesting, loops;
    bool soft; /* in an `if` or a condition: unknown filters and tests fail when reached */
    const j_node *unknown; /* the first one elsewhere; NULL: none */
    j_node *macro; /* the macro whose body is being read */
} j_parser;

bool vtext_j_lex(j_parser *p, const char *source, size_t n);
bool vtext_j_parse(j_parser *p, j_node **body);
/* expr.c */
bool vtext_j_parse_expression(j_parser *p, bool condition, j_node **out);
/* end: a word that ends the tuple too, or NULL. condition: "a if b" may stand in it. */
bool vtext_j_parse_tuple(j_parser *p, bool condition, const char *end, j_node **out);
/* What is assigned to; attributes: of a namespace too. */
bool vtext_j_parse_target(j_parser *p, const char *end, bool attributes, j_node **out);
/* "a|b(c)|d" behind input; bare: the first name stands without its bar. */
bool vtext_j_parse_filters(j_parser *p, j_node *input, bool bare, j_node **out);
/* parse.c, for expr.c */
bool vtext_j_parse_error(j_parser *p, uint32_t line, const char *fmt, ...) VLM_PRINTF(3, 4);
const char *vtext_j_token_name(const j_token *t, char *buf, size_t n);
j_node *vtext_j_node(j_parser *p, j_node_kind kind, uint32_t line); /* NULL: failed */
bool vtext_j_is_word(const j_token *t, const char *word);
bool vtext_j_skip(j_parser *p, j_token_kind kind); /* true: it was there, and is read */
bool vtext_j_skip_word(j_parser *p, const char *word);
bool vtext_j_expect(j_parser *p, j_token_kind kind, const char *what);
bool vtext_j_enter(j_parser *p); /* one level deeper; leave with p->nesting-- */

#endif
