/* SPDX-License-Identifier: MIT */
/* Tokens to statement nodes. Tags that would read other templates (include, import, extends, block)
 * are refused by name: a chat template is one text. */
#include "text/jinja/ast.h"

#include <stdio.h>

/* ---- what expressions and statements share --------------------------------------------------- */

bool vtext_j_parse_error(j_parser *p, uint32_t line, const char *fmt, ...) {
    char what[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    vcore_where where = { .file = p->name, .line = line };
    p->status =
        vcore_fail_at(p->err, VLM_ERR_TEMPLATE, where, "%s:%u: %s", p->name, (unsigned)line, what);
    return false;
}

j_node *vtext_j_node(j_parser *p, j_node_kind kind, uint32_t line) {
    j_node *n = vcore_arena_alloc(p->arena, sizeof *n);
    if (!n) {
        p->status = vcore_no_memory(p->err, "a chat template");
        return NULL;
    }
    n->kind = kind;
    n->line = line;
    return n;
}

bool vtext_j_enter(j_parser *p) {
    if (++p->nesting <= J_MAX_NESTING) return true;
    return vtext_j_parse_error(p, p->token[p->pos].line, "nested deeper than %d", J_MAX_NESTING);
}

bool vtext_j_is_word(const j_token *t, const char *word) {
    return t->kind == T_NAME && vtext_j_is(t->value.u.s, word);
}

bool vtext_j_skip(j_parser *p, j_token_kind kind) {
    if (p->token[p->pos].kind != kind) return false;
    if (kind != T_EOF) p->pos++;
    return true;
}

bool vtext_j_skip_word(j_parser *p, const char *word) {
    if (!vtext_j_is_word(&p->token[p->pos], word)) return false;
    p->pos++;
    return true;
}

bool vtext_j_expect(j_parser *p, j_token_kind kind, const char *what) {
    char buf[64];
    const j_token *t = &p->token[p->pos];
    if (vtext_j_skip(p, kind)) return true;
    return vtext_j_parse_error(p, t->line, "expected '%s', found '%s'", what,
                               vtext_j_token_name(t, buf, sizeof buf));
}

/* ---- statements ------------------------------------------------------------------------------ */

static bool parse_body(j_parser *p, const char *const *ends, const char *opened, j_node **out);

/* Behind a tag's words: its end, then everything up to one of the ends (whose word is then
 * current). */
static bool parse_block(j_parser *p, const char *const *ends, const char *opened, j_node **out) {
    vtext_j_skip(p, T_COLON);
    return vtext_j_expect(p, T_BLOCK_END, "%}") && parse_body(p, ends, opened, out);
}

/* The same where only one end is possible; reads its word too. */
static bool parse_block_to(j_parser *p, const char *end, j_node **out) {
    const char *const ends[] = { end, NULL };
    bool soft = p->soft;
    p->soft = false;
    if (!parse_block(p, ends, end + 3, out)) return false;
    p->soft = soft;
    p->pos++;
    return true;
}

static bool parse_if(j_parser *p, j_node *n) {
    static const char *const all[] = { "elif", "else", "endif", NULL };
    j_node **tail = &n->items;
    bool last = false, soft = p->soft;
    p->soft = true;
    for (;;) {
        j_node *branch = *tail = vtext_j_node(p, N_BRANCH, p->token[p->pos].line);
        if (!branch) return false;
        if (!last && !vtext_j_parse_tuple(p, false, NULL, &branch->a)) return false;
        if (!parse_block(p, last ? all + 2 : all, "if", &branch->body)) return false;
        tail = &branch->next;
        if (vtext_j_skip_word(p, "endif")) break;
        last = vtext_j_is_word(&p->token[p->pos], "else");
        p->pos++;
    }
    p->soft = soft;
    return true;
}

static bool parse_for(j_parser *p, j_node *n) {
    static const char *const ends[] = { "else", "endfor", NULL };
    if (!vtext_j_parse_target(p, "in", false, &n->a)) return false;
    if (!vtext_j_skip_word(p, "in"))
        return vtext_j_parse_error(p, p->token[p->pos].line, "expected 'in'");
    if (!vtext_j_parse_tuple(p, false, "recursive", &n->b)) return false;
    bool soft = p->soft;
    p->soft = false;
    if (vtext_j_skip_word(p, "if") && !vtext_j_parse_expression(p, true, &n->c)) return false;
    n->flag = vtext_j_skip_word(p, "recursive");
    p->loops++;
    if (!parse_block(p, ends, "for", &n->body)) return false;
    p->loops--;
    p->soft = soft;
    if (vtext_j_skip_word(p, "endfor")) return true;
    p->pos++;
    return parse_block_to(p, "endfor", &n->other);
}

/* The filters of a set or filter block belong to its scope. */
static bool parse_block_filters(j_parser *p, bool bare, j_node **out) {
    bool soft = p->soft;
    p->soft = false;
    if (!vtext_j_parse_filters(p, NULL, bare, out)) return false;
    p->soft = soft;
    return true;
}

static bool parse_set(j_parser *p, j_node *n) {
    if (!vtext_j_parse_target(p, NULL, true, &n->a)) return false;
    if (vtext_j_skip(p, T_ASSIGN)) return vtext_j_parse_tuple(p, true, NULL, &n->b);
    n->kind = N_SET_BLOCK;
    return parse_block_filters(p, false, &n->b) && parse_block_to(p, "endset", &n->body);
}

static bool parse_parameters(j_parser *p, j_node *n) {
    bool defaults = false;
    if (!vtext_j_expect(p, T_LPAREN, "(")) return false;
    for (j_node **tail = &n->items; !vtext_j_skip(p, T_RPAREN); tail = &(*tail)->next) {
        if (n->items && !vtext_j_expect(p, T_COMMA, ",")) return false;
        j_node *param = *tail = vtext_j_node(p, N_NAME, p->token[p->pos].line);
        if (!param) return false;
        param->name = p->token[p->pos].value.u.s;
        if (!vtext_j_expect(p, T_NAME, "a name")) return false;
        if (vtext_j_skip(p, T_ASSIGN)) {
            if (!vtext_j_parse_expression(p, true, &param->a)) return false;
            defaults = true;
        } else if (defaults) {
            return vtext_j_parse_error(p, param->line,
                                       "a parameter without default follows one with");
        }
    }
    return true;
}

/* The body of a macro or call block: a function of its own, to which outer loops mean nothing. */
static bool parse_function_body(j_parser *p, j_node *n, const char *end) {
    j_node *outer = p->macro;
    int loops = p->loops;
    p->macro = n;
    p->loops = 0;
    if (!parse_block_to(p, end, &n->body)) return false;
    p->macro = outer;
    p->loops = loops;
    if (outer) {
        outer->uses_caller |= n->uses_caller;
        outer->uses_varargs |= n->uses_varargs;
        outer->uses_kwargs |= n->uses_kwargs;
    }
    return true;
}

static bool parse_macro(j_parser *p, j_node *n) {
    n->name = p->token[p->pos].value.u.s;
    return vtext_j_expect(p, T_NAME, "a name") && parse_parameters(p, n)
           && parse_function_body(p, n, "endmacro");
}

static bool parse_call_block(j_parser *p, j_node *n) {
    if (p->token[p->pos].kind == T_LPAREN && !parse_parameters(p, n)) return false;
    if (!vtext_j_parse_expression(p, true, &n->a)) return false;
    if (n->a->kind != N_CALL) return vtext_j_parse_error(p, n->line, "'call' needs a call");
    return parse_function_body(p, n, "endcall");
}

static bool parse_filter_block(j_parser *p, j_node *n) {
    return parse_block_filters(p, true, &n->b) && parse_block_to(p, "endfilter", &n->body);
}

static bool parse_with(j_parser *p, j_node *n) {
    for (j_node **tail = &n->items; p->token[p->pos].kind != T_BLOCK_END; tail = &(*tail)->next) {
        if (n->items && !vtext_j_expect(p, T_COMMA, ",")) return false;
        j_node *pair = *tail = vtext_j_node(p, N_SET, p->token[p->pos].line);
        if (!pair || !vtext_j_parse_target(p, NULL, false, &pair->a)
            || !vtext_j_expect(p, T_ASSIGN, "=") || !vtext_j_parse_expression(p, true, &pair->b))
            return false;
    }
    return parse_block_to(p, "endwith", &n->body);
}

static bool parse_print(j_parser *p, j_node *n) {
    for (j_node **tail = &n->items; p->token[p->pos].kind != T_BLOCK_END; tail = &(*tail)->next) {
        if (n->items && !vtext_j_expect(p, T_COMMA, ",")) return false;
        if (!vtext_j_parse_expression(p, true, tail)) return false;
    }
    return true;
}

static bool parse_generation(j_parser *p, j_node *n) {
    return parse_function_body(p, n, "endgeneration");
}

static bool parse_jump(j_parser *p, j_node *n) {
    if (p->loops > 0) return true;
    return vtext_j_parse_error(p, n->line, "'%s' outside of a loop",
                               n->kind == N_BREAK ? "break" : "continue");
}

static const struct {
    const char *word;
    j_node_kind kind;
    bool (*parse)(j_parser *p, j_node *n);
} statements[] = {
    { "if", N_IF, parse_if },
    { "for", N_FOR, parse_for },
    { "set", N_SET, parse_set },
    { "macro", N_MACRO, parse_macro },
    { "call", N_CALL_BLOCK, parse_call_block },
    { "filter", N_FILTER_BLOCK, parse_filter_block },
    { "with", N_WITH, parse_with },
    { "print", N_PRINT, parse_print },
    { "generation", N_GENERATION, parse_generation },
    { "break", N_BREAK, parse_jump },
    { "continue", N_CONTINUE, parse_jump },
};

static bool parse_statement(j_parser *p, const char *opened, j_node **out) {
    j_token *t = &p->token[p->pos];
    if (t->kind != T_NAME) return vtext_j_parse_error(p, t->line, "expected the name of a tag");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!vtext_j_is(t->value.u.s, statements[i].word)) continue;
        j_node *n = *out = vtext_j_node(p, statements[i].kind, t->line);
        if (!n || !vtext_j_enter(p)) return false;
        p->pos++;
        bool done = statements[i].parse(p, n);
        p->nesting--;
        return done && vtext_j_expect(p, T_BLOCK_END, "%}");
    }
    static const char *const refused[] = { "include", "import", "from",
                                           "extends", "block",  "autoescape" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (vtext_j_is(t->value.u.s, refused[i]))
            return vtext_j_parse_error(p, t->line, "tag '%s' is not supported in a chat template",
                                       refused[i]);
    char buf[64];
    vtext_j_token_name(t, buf, sizeof buf);
    if (opened)
        return vtext_j_parse_error(p, t->line, "unknown tag '%s' ('%s' is open)", buf, opened);
    return vtext_j_parse_error(p, t->line, "unknown tag '%s'", buf);
}

static bool is_end(const j_token *t, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (vtext_j_is_word(t, *ends)) return true;
    return false;
}

static bool parse_body(j_parser *p, const char *const *ends, const char *opened, j_node **out) {
    for (j_node **tail = out;; tail = &(*tail)->next) {
        j_token *t = &p->token[p->pos];
        if (t->kind == T_EOF) {
            if (!ends) return true;
            return vtext_j_parse_error(p, t->line, "the template ends where '%s' is open", opened);
        }
        p->pos++;
        if (t->kind == T_DATA) {
            if (!(*tail = vtext_j_node(p, N_TEXT, t->line))) return false;
            (*tail)->value = t->value;
        } else if (t->kind == T_PRINT_BEGIN) {
            if (!(*tail = vtext_j_node(p, N_PRINT, t->line))) return false;
            if (!vtext_j_parse_tuple(p, true, NULL, &(*tail)->items)) return false;
            if (!vtext_j_expect(p, T_PRINT_END, "}}")) return false;
        } else {
            if (is_end(&p->token[p->pos], ends)) return true;
            if (!parse_statement(p, opened, tail)) return false;
        }
    }
}

bool vtext_j_parse(j_parser *p, j_node **body) {
    if (!parse_body(p, NULL, NULL, body)) return false;
    if (!p->unknown) return true;
    j_string name = p->unknown->name;
    return vtext_j_parse_error(p, p->unknown->line, "no %s named '%.*s'",
                               p->unknown->kind == N_FILTER ? "filter" : "test",
                               (int)(name.n < 60 ? name.n : 60), name.p);
}
