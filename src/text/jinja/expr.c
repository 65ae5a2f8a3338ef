/* SPDX-License-Identifier: MIT */
/* Tokens to expression nodes, with jinja2's precedences: condition, or, and, not, comparison, sum,
 * concatenation, product, power, sign, then postfix operators, filters and tests. Chains of one
 * precedence become one node with many operands, so that their length costs no depth. */
#include "text/jinja/ast.h"
#include "text/jinja/call.h"

static j_token *now(j_parser *p) {
    return &p->token[p->pos];
}

static j_token *look(j_parser *p) {
    return &p->token[p->pos + (now(p)->kind != T_EOF)];
}

static void advance(j_parser *p) {
    if (now(p)->kind != T_EOF) p->pos++;
}

static bool unexpected(j_parser *p) {
    char buf[64];
    return vtext_j_parse_error(p, now(p)->line, "unexpected '%s'",
                               vtext_j_token_name(now(p), buf, sizeof buf));
}

static bool parse_unary(j_parser *p, bool filters, j_node **out);

/* Call arguments behind "(", up to and including ")". */
static bool parse_arguments(j_parser *p, j_node **out) {
    j_node **tail = out;
    int stage = 0; /* 0 positional, 1 keywords, 2 after *args, 3 after **kwargs */
    *out = NULL;
    if (!vtext_j_expect(p, T_LPAREN, "(")) return false;
    while (now(p)->kind != T_RPAREN) {
        if (*out) {
            if (!vtext_j_expect(p, T_COMMA, ",")) return false;
            if (now(p)->kind == T_RPAREN) break;
        }
        j_operator op = OP_NONE;
        j_string name = { 0 };
        int least = stage;
        if (vtext_j_skip(p, T_MUL)) {
            op = OP_MUL;
            least = stage < 2 ? 2 : -1;
            stage = stage < 2 ? 2 : stage;
        } else if (vtext_j_skip(p, T_POW)) {
            op = OP_POW;
            least = stage < 3 ? 3 : -1;
            stage = 3;
        } else if (now(p)->kind == T_NAME && look(p)->kind == T_ASSIGN) {
            name = now(p)->value.u.s;
            advance(p);
            advance(p);
            if (stage < 1) stage = 1;
            least = stage == 3 ? -1 : stage;
        } else if (stage != 0) {
            least = -1;
        }
        if (least < 0) return vtext_j_parse_error(p, now(p)->line, "invalid arguments of a call");
        if (!vtext_j_parse_expression(p, true, tail)) return false;
        if (op || name.p) { /* a wrapper, since the expression may be any node */
            j_node *wrapper = vtext_j_node(p, N_CALL_ARGUMENT, (*tail)->line);
            if (!wrapper) return false;
            wrapper->a = *tail;
            wrapper->op = op;
            wrapper->name = name;
            *tail = wrapper;
        }
        tail = &(*tail)->next;
    }
    return vtext_j_expect(p, T_RPAREN, ")");
}

static bool parse_call(j_parser *p, j_node **node) {
    j_node *n = vtext_j_node(p, N_CALL, now(p)->line);
    if (!n) return false;
    n->a = *node;
    *node = n;
    return parse_arguments(p, &n->items);
}

/* The name of a filter or test; dots are part of it. */
static bool parse_dotted(j_parser *p, j_string *out) {
    *out = now(p)->value.u.s;
    if (!vtext_j_expect(p, T_NAME, "a name")) return false;
    while (vtext_j_skip(p, T_DOT)) {
        *out = now(p)->value.u.s;
        if (!vtext_j_expect(p, T_NAME, "a name")) return false;
    }
    return true;
}

static void note_unknown(j_parser *p, const j_node *n) {
    if (!p->soft && !p->unknown) p->unknown = n;
}

bool vtext_j_parse_filters(j_parser *p, j_node *input, bool bare, j_node **out) {
    int nesting = p->nesting;
    *out = input;
    while (bare || vtext_j_skip(p, T_PIPE)) {
        if (!vtext_j_enter(p)) return false;
        j_node *n = vtext_j_node(p, N_FILTER, now(p)->line);
        if (!n || !parse_dotted(p, &n->name)) return false;
        if (!vtext_j_find_filter(n->name)) note_unknown(p, n);
        n->a = *out;
        if (now(p)->kind == T_LPAREN && !parse_arguments(p, &n->items)) return false;
        *out = n;
        bare = false;
    }
    p->nesting = nesting;
    return true;
}

static bool parse_slice_part(j_parser *p, j_node **out) {
    j_token_kind k = now(p)->kind;
    *out = NULL;
    return k == T_COLON || k == T_RBRACKET || k == T_COMMA
           || vtext_j_parse_expression(p, true, out);
}

static bool parse_subscribed(j_parser *p, j_node **out) {
    uint32_t line = now(p)->line;
    j_node *first = NULL;
    if (now(p)->kind != T_COLON) {
        if (!vtext_j_parse_expression(p, true, &first)) return false;
        if (now(p)->kind != T_COLON) {
            *out = first;
            return true;
        }
    }
    j_node *n = vtext_j_node(p, N_SLICE, line);
    if (!n) return false;
    n->a = first;
    *out = n;
    advance(p);
    if (!parse_slice_part(p, &n->b)) return false;
    return !vtext_j_skip(p, T_COLON) || parse_slice_part(p, &n->c);
}

static bool parse_subscript(j_parser *p, j_node **node) {
    j_node *n = vtext_j_node(p, N_ITEM, now(p)->line);
    if (!n) return false;
    n->a = *node;
    *node = n;
    if (vtext_j_skip(p, T_DOT)) {
        if (now(p)->kind == T_NAME) {
            n->kind = N_ATTRIBUTE;
            n->name = now(p)->value.u.s;
        } else if (now(p)->kind == T_INT) {
            n->b = vtext_j_node(p, N_CONST, now(p)->line);
            if (!n->b) return false;
            n->b->value = now(p)->value;
        } else {
            return vtext_j_parse_error(p, now(p)->line, "expected a name or number behind '.'");
        }
        advance(p);
        return true;
    }
    advance(p); /* [ */
    j_node *parts = NULL, **tail = &parts;
    size_t count = 0;
    for (; now(p)->kind != T_RBRACKET; count++, tail = &(*tail)->next) {
        if (count && !vtext_j_expect(p, T_COMMA, ",")) return false;
        if (!parse_subscribed(p, tail)) return false;
    }
    n->b = parts;
    if (count != 1) {
        n->b = vtext_j_node(p, N_TUPLE, n->line);
        if (!n->b) return false;
        n->b->items = parts;
    }
    return vtext_j_expect(p, T_RBRACKET, "]");
}

static bool parse_postfix(j_parser *p, j_node **node) {
    int nesting = p->nesting;
    for (;;) {
        j_token_kind k = now(p)->kind;
        if (k != T_DOT && k != T_LBRACKET && k != T_LPAREN) break;
        if (!vtext_j_enter(p)) return false; /* the tree grows deeper to the left */
        if (!(k == T_LPAREN ? parse_call(p, node) : parse_subscript(p, node))) return false;
    }
    p->nesting = nesting;
    return true;
}

static bool parse_list(j_parser *p, j_node **out) {
    j_node *n = vtext_j_node(p, N_LIST, now(p)->line);
    if (!n) return false;
    *out = n;
    advance(p);
    for (j_node **tail = &n->items; now(p)->kind != T_RBRACKET; tail = &(*tail)->next) {
        if (n->items && !vtext_j_expect(p, T_COMMA, ",")) return false;
        if (now(p)->kind == T_RBRACKET) break;
        if (!vtext_j_parse_expression(p, true, tail)) return false;
    }
    return vtext_j_expect(p, T_RBRACKET, "]");
}

static bool parse_dict(j_parser *p, j_node **out) {
    j_node *n = vtext_j_node(p, N_DICT, now(p)->line);
    if (!n) return false;
    *out = n;
    advance(p);
    for (j_node **tail = &n->items; now(p)->kind != T_RBRACE; tail = &(*tail)->next->next) {
        if (n->items && !vtext_j_expect(p, T_COMMA, ",")) return false;
        if (now(p)->kind == T_RBRACE) break;
        if (!vtext_j_parse_expression(p, true, tail) || !vtext_j_expect(p, T_COLON, ":")
            || !vtext_j_parse_expression(p, true, &(*tail)->next))
            return false;
    }
    return vtext_j_expect(p, T_RBRACE, "}");
}

/* Names that mean a constant, and names that make a macro take more than its parameters. */
static void settle_name(j_parser *p, j_node *n) {
    if (vtext_j_is(n->name, "true") || vtext_j_is(n->name, "True")) {
        n->kind = N_CONST;
        n->value = vtext_j_bool(true);
    } else if (vtext_j_is(n->name, "false") || vtext_j_is(n->name, "False")) {
        n->kind = N_CONST;
        n->value = vtext_j_bool(false);
    } else if (vtext_j_is(n->name, "none") || vtext_j_is(n->name, "None")) {
        n->kind = N_CONST;
        n->value = vtext_j_none();
    } else if (p->macro) {
        p->macro->uses_caller |= vtext_j_is(n->name, "caller");
        p->macro->uses_varargs |= vtext_j_is(n->name, "varargs");
        p->macro->uses_kwargs |= vtext_j_is(n->name, "kwargs");
    }
}

static bool parse_primary(j_parser *p, j_node **out) {
    j_token *t = now(p);
    if (t->kind == T_LBRACKET) return parse_list(p, out);
    if (t->kind == T_LBRACE) return parse_dict(p, out);
    if (t->kind == T_LPAREN) {
        advance(p);
        if (now(p)->kind == T_RPAREN)
            *out = vtext_j_node(p, N_TUPLE, t->line);
        else if (!vtext_j_parse_tuple(p, true, NULL, out))
            return false;
        return *out && vtext_j_expect(p, T_RPAREN, ")");
    }
    if (t->kind != T_NAME && t->kind != T_STRING && t->kind != T_INT && t->kind != T_FLOAT)
        return unexpected(p);
    j_node *n = *out = vtext_j_node(p, t->kind == T_NAME ? N_NAME : N_CONST, t->line);
    if (!n) return false;
    advance(p);
    if (t->kind == T_NAME) {
        n->name = t->value.u.s;
        settle_name(p, n);
        return true;
    }
    n->value = t->value;
    if (t->kind != T_STRING || now(p)->kind != T_STRING) return true;
    vcore_buf joined = { 0 }; /* neighbouring strings are one */
    vcore_buf_add(&joined, t->value.u.s.p, t->value.u.s.n);
    for (; now(p)->kind == T_STRING; advance(p))
        vcore_buf_add(&joined, now(p)->value.u.s.p, now(p)->value.u.s.n);
    n->value.u.s.p = joined.failed ? NULL : vcore_arena_strndup(p->arena, joined.p, joined.n);
    n->value.u.s.n = joined.n;
    vcore_buf_free(&joined);
    if (n->value.u.s.p) return true;
    p->status = vcore_no_memory(p->err, "a chat template");
    return false;
}

static bool starts_test_argument(j_parser *p) {
    switch (now(p)->kind) {
    case T_STRING:
    case T_INT:
    case T_FLOAT:
    case T_LBRACKET:
    case T_LBRACE: return true;
    case T_NAME:
        return !vtext_j_is_word(now(p), "else") && !vtext_j_is_word(now(p), "or")
               && !vtext_j_is_word(now(p), "and");
    default: return false;
    }
}

static bool parse_test(j_parser *p, j_node **node) {
    uint32_t line = now(p)->line;
    advance(p); /* is */
    bool negated = vtext_j_skip_word(p, "not");
    j_node *n = vtext_j_node(p, N_TEST, line);
    if (!n || !parse_dotted(p, &n->name)) return false;
    if (!vtext_j_find_builtin(vtext_j_tests, n->name)) note_unknown(p, n);
    n->a = *node;
    *node = n;
    if (now(p)->kind == T_LPAREN) {
        if (!parse_arguments(p, &n->items)) return false;
    } else if (starts_test_argument(p)) {
        if (vtext_j_is_word(now(p), "is"))
            return vtext_j_parse_error(p, line, "tests cannot be chained with 'is'");
        if (!parse_primary(p, &n->items) || !parse_postfix(p, &n->items)) return false;
    }
    if (!negated) return true;
    *node = vtext_j_node(p, N_NOT, line);
    if (!*node) return false;
    (*node)->a = n;
    return true;
}

static bool parse_filters_and_tests(j_parser *p, j_node **node) {
    int nesting = p->nesting;
    for (;;) {
        j_token *t = now(p);
        bool more = t->kind == T_PIPE || t->kind == T_LPAREN || vtext_j_is_word(t, "is");
        if (!more) break;
        if (!vtext_j_enter(p)) return false;
        bool done = t->kind == T_PIPE     ? vtext_j_parse_filters(p, *node, false, node)
                    : t->kind == T_LPAREN ? parse_call(p, node)
                                          : parse_test(p, node);
        if (!done) return false;
    }
    p->nesting = nesting;
    return true;
}

static bool parse_signed(j_parser *p, bool filters, j_node **out) {
    j_token_kind k = now(p)->kind;
    if (k == T_SUB || k == T_ADD) {
        j_node *n = vtext_j_node(p, k == T_SUB ? N_NEGATE : N_PLUS, now(p)->line);
        advance(p);
        if (!n || !parse_unary(p, false, &n->a)) return false;
        *out = n;
    } else if (!parse_primary(p, out)) {
        return false;
    }
    return parse_postfix(p, out) && (!filters || parse_filters_and_tests(p, out));
}

static bool parse_unary(j_parser *p, bool filters, j_node **out) {
    if (!vtext_j_enter(p)) return false;
    bool done = parse_signed(p, filters, out);
    p->nesting--;
    return done;
}

/* One precedence level of left-associative operators. */
typedef struct level {
    j_node_kind kind;
    bool (*operand)(j_parser *p, j_node **out);
    struct {
        j_token_kind token;
        j_operator op;
    } ops[6];
} level;

static j_operator operator_of(const level *l, const j_token *t) {
    for (int i = 0; i < 6 && l->ops[i].op; i++)
        if (l->ops[i].token == t->kind) return l->ops[i].op;
    return OP_NONE;
}

static bool parse_level(j_parser *p, const level *l, j_node **out) {
    j_node *n = NULL, **tail = NULL;
    if (!l->operand(p, out)) return false;
    for (;;) {
        j_operator op = operator_of(l, now(p));
        if (op) {
            advance(p);
        } else if (l->kind == N_COMPARE && vtext_j_skip_word(p, "in")) {
            op = OP_IN;
        } else if (l->kind == N_COMPARE && vtext_j_is_word(now(p), "not")
                   && vtext_j_is_word(look(p), "in")) {
            op = OP_NOT_IN;
            advance(p);
            advance(p);
        } else {
            return true;
        }
        if (!n) {
            n = vtext_j_node(p, l->kind, (*out)->line);
            if (!n || !(n->items = vtext_j_node(p, N_OPERAND, (*out)->line))) return false;
            n->items->a = *out;
            tail = &n->items->next;
            *out = n;
        }
        j_node *operand = *tail = vtext_j_node(p, N_OPERAND, now(p)->line);
        if (!operand || !l->operand(p, &operand->a)) return false;
        operand->op = op;
        tail = &operand->next;
    }
}

static bool parse_filtered(j_parser *p, j_node **out) {
    return parse_unary(p, true, out);
}

static bool parse_power(j_parser *p, j_node **out) {
    static const level l = { N_CHAIN, parse_filtered, { { T_POW, OP_POW } } };
    return parse_level(p, &l, out);
}

static bool parse_product(j_parser *p, j_node **out) {
    static const level l = {
        N_CHAIN,
        parse_power,
        { { T_MUL, OP_MUL }, { T_DIV, OP_DIV }, { T_FLOORDIV, OP_FLOORDIV }, { T_MOD, OP_MOD } }
    };
    return parse_level(p, &l, out);
}

static bool parse_concat(j_parser *p, j_node **out) {
    static const level l = { N_CONCAT, parse_product, { { T_TILDE, OP_ADD } } };
    return parse_level(p, &l, out);
}

static bool parse_sum(j_parser *p, j_node **out) {
    static const level l = { N_CHAIN, parse_concat, { { T_ADD, OP_ADD }, { T_SUB, OP_SUB } } };
    return parse_level(p, &l, out);
}

static bool parse_comparison(j_parser *p, j_node **out) {
    static const level l = { N_COMPARE,
                             parse_sum,
                             { { T_EQ, OP_EQ },
                               { T_NE, OP_NE },
                               { T_LT, OP_LT },
                               { T_LE, OP_LE },
                               { T_GT, OP_GT },
                               { T_GE, OP_GE } } };
    return parse_level(p, &l, out);
}

static bool parse_not(j_parser *p, j_node **out) {
    if (!vtext_j_is_word(now(p), "not")) return parse_comparison(p, out);
    if (!vtext_j_enter(p)) return false;
    j_node *n = *out = vtext_j_node(p, N_NOT, now(p)->line);
    advance(p);
    bool done = n && parse_not(p, &n->a);
    p->nesting--;
    return done;
}

/* `word` between operands. */
static bool parse_logic(j_parser *p, j_node_kind kind, const char *word,
                        bool (*operand)(j_parser *, j_node **), j_node **out) {
    if (!operand(p, out)) return false;
    if (!vtext_j_is_word(now(p), word)) return true;
    j_node *n = vtext_j_node(p, kind, (*out)->line);
    if (!n) return false;
    n->items = *out;
    *out = n;
    for (j_node **tail = &n->items->next; vtext_j_skip_word(p, word); tail = &(*tail)->next)
        if (!operand(p, tail)) return false;
    return true;
}

static bool parse_and(j_parser *p, j_node **out) {
    return parse_logic(p, N_AND, "and", parse_not, out);
}

static bool parse_or(j_parser *p, j_node **out) {
    return parse_logic(p, N_OR, "or", parse_and, out);
}

static bool parse_condition(j_parser *p, j_node **out) {
    int nesting = p->nesting;
    bool soft = p->soft;
    const j_node *unknown = p->unknown;
    if (!parse_or(p, out)) return false;
    while (vtext_j_skip_word(p, "if")) {
        p->soft = true;
        p->unknown = unknown;
        j_node *n = vtext_j_node(p, N_CONDITION, (*out)->line);
        if (!n || !vtext_j_enter(p)) return false;
        n->a = *out;
        *out = n;
        if (!parse_or(p, &n->b)) return false;
        if (vtext_j_skip_word(p, "else") && !vtext_j_parse_expression(p, true, &n->c)) return false;
    }
    p->nesting = nesting;
    p->soft = soft;
    return true;
}

bool vtext_j_parse_expression(j_parser *p, bool condition, j_node **out) {
    *out = NULL;
    if (!vtext_j_enter(p)) return false;
    bool done = condition ? parse_condition(p, out) : parse_or(p, out);
    p->nesting--;
    return done;
}

static bool at_tuple_end(j_parser *p, const char *end) {
    j_token_kind k = now(p)->kind;
    return k == T_PRINT_END || k == T_BLOCK_END || k == T_RPAREN
           || (end && vtext_j_is_word(now(p), end));
}

/* What was read between commas: one item is itself, unless a comma makes it a tuple. */
static bool put_items(j_parser *p, j_node *first, bool is_tuple, uint32_t line, j_node **out) {
    if (!first) return unexpected(p);
    *out = first;
    if (!is_tuple) return true;
    *out = vtext_j_node(p, N_TUPLE, line);
    if (!*out) return false;
    (*out)->items = first;
    return true;
}

bool vtext_j_parse_tuple(j_parser *p, bool condition, const char *end, j_node **out) {
    uint32_t line = now(p)->line;
    j_node *first = NULL, **tail = &first;
    bool is_tuple = false;
    while (!at_tuple_end(p, end)) {
        if (!vtext_j_parse_expression(p, condition, tail)) return false;
        tail = &(*tail)->next;
        if (!vtext_j_skip(p, T_COMMA)) break;
        is_tuple = true;
    }
    return put_items(p, first, is_tuple, line, out);
}

static bool parse_target_name(j_parser *p, bool attributes, const char *end, j_node **out) {
    j_token *t = now(p);
    if (vtext_j_skip(p, T_LPAREN)) {
        if (!vtext_j_enter(p) || !vtext_j_parse_target(p, end, attributes, out)) return false;
        p->nesting--;
        return vtext_j_expect(p, T_RPAREN, ")");
    }
    if (t->kind != T_NAME) return unexpected(p);
    j_node *n = *out = vtext_j_node(p, N_NAME, t->line);
    if (!n) return false;
    n->name = t->value.u.s;
    advance(p);
    static const char *const constants[] = { "true", "True", "false", "False", "none", "None" };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (vtext_j_is(n->name, constants[i]))
            return vtext_j_parse_error(p, t->line, "cannot assign to '%s'", constants[i]);
    if (attributes && vtext_j_skip(p, T_DOT)) {
        n->kind = N_ATTRIBUTE_TARGET;
        n->attribute = now(p)->value.u.s;
        return vtext_j_expect(p, T_NAME, "a name");
    }
    return true;
}

bool vtext_j_parse_target(j_parser *p, const char *end, bool attributes, j_node **out) {
    uint32_t line = now(p)->line;
    j_node *first = NULL, **tail = &first;
    bool is_tuple = false;
    while (!at_tuple_end(p, end) && now(p)->kind != T_ASSIGN) {
        if (!parse_target_name(p, attributes, end, tail)) return false;
        tail = &(*tail)->next;
        if (!vtext_j_skip(p, T_COMMA)) break;
        is_tuple = true;
    }
    return put_items(p, first, is_tuple, line, out);
}
