/* SPDX-License-Identifier: MIT */
/* Template source to tokens: what is text and what is code, and the white space around tags as
 * jinja2 trims it with trim_blocks and lstrip_blocks. Owns no grammar. */
#include "text/jinja/ast.h"

#include <stdio.h>
#include <utf8proc.h>

typedef struct lexer {
    j_parser *p;
    const char *s; /* source with \n line ends only */
    size_t n, pos;
    uint32_t line;
    size_t cap;
    bool at_line_start;          /* the last tag ended with a line end */
    char closing[J_MAX_NESTING]; /* brackets that are open */
    int open;
} lexer;

static bool push(lexer *x, j_token_kind kind, uint32_t line, j_value value) {
    j_parser *p = x->p;
    if (p->n_tokens == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        j_token *grown = vcore_realloc_array(p->token, cap, sizeof(j_token));
        if (!grown) {
            p->status = vcore_no_memory(p->err, "a chat template");
            return false;
        }
        p->token = grown;
        x->cap = cap;
    }
    p->token[p->n_tokens++] = (j_token) { kind, line, value };
    return true;
}

static void count_lines(lexer *x, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) x->line += x->s[i] == '\n';
}

static size_t skip_space(const lexer *x, size_t pos) {
    while (pos < x->n) {
        uint32_t cp;
        size_t used = vcore_utf8_decode(x->s + pos, x->n - pos, &cp);
        if (!vtext_j_is_space(cp)) break;
        pos += used;
    }
    return pos;
}

static bool at(const lexer *x, size_t pos, const char *word) {
    size_t n = strlen(word);
    return x->n - pos >= n && memcmp(x->s + pos, word, n) == 0;
}

/* The end of a tag at pos: "-%}" with the space behind it, "%}" with one line end when trim is set,
 * and
 * "+%}" with nothing more where the tag knows it. 0: not there. */
static size_t tag_end(const lexer *x, size_t pos, const char *end, bool plus, bool trim) {
    if (x->s[pos] == '-' && at(x, pos + 1, end)) return skip_space(x, pos + 3);
    if (plus && x->s[pos] == '+' && at(x, pos + 1, end)) return pos + 3;
    if (!at(x, pos, end)) return 0;
    pos += 2;
    return pos + (trim && pos < x->n && x->s[pos] == '\n');
}

/* Emits the text [from, to) that stands before a tag with the given sign. */
static bool text(lexer *x, size_t from, size_t to, char sign, bool is_print) {
    j_string s = { x->s + from, to - from, NULL };
    if (sign == '-') {
        s = vtext_j_strip(s, NULL, 2);
    } else if (sign != '+' && !is_print) {
        size_t begin = s.n;
        while (begin > 0 && s.p[begin - 1] != '\n') begin--;
        if ((begin > 0 || x->at_line_start) && skip_space(x, from + begin) >= to) s.n = begin;
    }
    if (s.n && !push(x, T_DATA, x->line, vtext_j_string(s))) return false;
    count_lines(x, from, to);
    return true;
}

static char sign_at(const lexer *x, size_t pos) {
    return pos < x->n && (x->s[pos] == '-' || x->s[pos] == '+') ? x->s[pos] : 0;
}

/* "{% raw %}" at pos: the position behind it, else 0. */
static size_t raw_tag(const lexer *x, size_t pos) {
    pos += 2 + (sign_at(x, pos + 2) != 0);
    pos = skip_space(x, pos);
    if (!at(x, pos, "raw")) return 0;
    pos = skip_space(x, pos + 3);
    return pos < x->n ? tag_end(x, pos, "%}", false, false) : 0;
}

static bool raw(lexer *x, size_t begin) {
    x->at_line_start = x->s[begin - 1] == '\n';
    for (size_t i = begin; i + 1 < x->n; i++) {
        if (!at(x, i, "{%")) continue;
        char sign = sign_at(x, i + 2);
        size_t pos = skip_space(x, i + 2 + (sign != 0));
        if (!at(x, pos, "endraw")) continue;
        pos = skip_space(x, pos + 6);
        size_t end = pos < x->n ? tag_end(x, pos, "%}", true, true) : 0;
        if (!end) continue;
        if (!text(x, begin, i, sign, false)) return false;
        count_lines(x, i, end);
        x->at_line_start = x->s[end - 1] == '\n';
        x->pos = end;
        return true;
    }
    x->pos = x->n;
    return begin == x->n || vtext_j_parse_error(x->p, x->line, "'raw' is not closed");
}

static bool comment(lexer *x, size_t begin) {
    for (size_t i = begin; i + 1 < x->n; i++) {
        size_t end = tag_end(x, i, "#}", true, true);
        if (!end) continue;
        count_lines(x, begin, end);
        x->at_line_start = x->s[end - 1] == '\n';
        x->pos = end;
        return true;
    }
    x->pos = x->n;
    return begin == x->n || vtext_j_parse_error(x->p, x->line, "a comment is not closed");
}

static const struct {
    char text[3];
    j_token_kind kind;
} operators[] = {
    { "**", T_POW },     { "//", T_FLOORDIV }, { "==", T_EQ },    { "!=", T_NE },
    { ">=", T_GE },      { "<=", T_LE },       { "+", T_ADD },    { "-", T_SUB },
    { "/", T_DIV },      { "*", T_MUL },       { "%", T_MOD },    { "~", T_TILDE },
    { "[", T_LBRACKET }, { "]", T_RBRACKET },  { "(", T_LPAREN }, { ")", T_RPAREN },
    { "{", T_LBRACE },   { "}", T_RBRACE },    { ">", T_GT },     { "<", T_LT },
    { "=", T_ASSIGN },   { ".", T_DOT },       { ":", T_COLON },  { "|", T_PIPE },
    { ",", T_COMMA },    { ";", T_SEMICOLON },
};

const char *vtext_j_token_name(const j_token *t, char *buf, size_t n) {
    switch (t->kind) {
    case T_EOF: return "end of template";
    case T_DATA: return "text";
    case T_PRINT_BEGIN: return "{{";
    case T_PRINT_END: return "}}";
    case T_BLOCK_BEGIN: return "{%";
    case T_BLOCK_END: return "%}";
    case T_STRING: return "a string";
    case T_INT:
    case T_FLOAT: return "a number";
    case T_NAME:
        snprintf(buf, n, "%.*s", (int)(t->value.u.s.n < 60 ? t->value.u.s.n : 60), t->value.u.s.p);
        return buf;
    default: break;
    }
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (operators[i].kind == t->kind) return operators[i].text;
    return "?";
}

static bool operator_token(lexer *x) {
    const size_t count = sizeof operators / sizeof *operators;
    size_t i = 0;
    while (i < count && !at(x, x->pos, operators[i].text)) i++;
    if (i == count) {
        uint32_t cp;
        size_t used = vcore_utf8_decode(x->s + x->pos, x->n - x->pos, &cp);
        return vtext_j_parse_error(x->p, x->line, "unexpected character '%.*s'", (int)used,
                                   x->s + x->pos);
    }
    char c = operators[i].text[0];
    if (c == '(' || c == '[' || c == '{') {
        if (x->open == J_MAX_NESTING)
            return vtext_j_parse_error(x->p, x->line, "brackets nest deeper than %d",
                                       J_MAX_NESTING);
        x->closing[x->open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (x->open == 0) return vtext_j_parse_error(x->p, x->line, "unexpected '%c'", c);
        if (x->closing[--x->open] != c)
            return vtext_j_parse_error(x->p, x->line, "unexpected '%c', expected '%c'", c,
                                       x->closing[x->open]);
    }
    x->pos += strlen(operators[i].text);
    return push(x, operators[i].kind, x->line, vtext_j_none());
}

static bool is_digit(int c, int base) {
    int d = c >= '0' && c <= '9'                 ? c - '0'
            : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                 : 99;
    return d < base;
}

/* Digits with single underscores between them; the position behind. */
static size_t digits(const lexer *x, size_t pos, int base) {
    while (pos < x->n) {
        if (is_digit(x->s[pos], base))
            pos++;
        else if (x->s[pos] == '_' && pos + 1 < x->n && is_digit(x->s[pos + 1], base))
            pos++;
        else
            break;
    }
    return pos;
}

/* Where a float that starts at pos ends; pos itself when none does. */
static size_t float_end(const lexer *x, size_t pos) {
    size_t end = digits(x, pos, 10), whole = end;
    if (end == pos || (pos > 0 && x->s[pos - 1] == '.')) return pos;
    if (end + 1 < x->n && x->s[end] == '.' && is_digit(x->s[end + 1], 10))
        end = digits(x, end + 1, 10);
    if (end < x->n && (x->s[end] | 32) == 'e') {
        size_t e = end + 1 + (end + 1 < x->n && (x->s[end + 1] == '-' || x->s[end + 1] == '+'));
        if (e < x->n && is_digit(x->s[e], 10)) return digits(x, e, 10);
    }
    return end > whole ? end : pos;
}

static size_t int_end(const lexer *x, int *base) {
    size_t pos = x->pos;
    *base = 10;
    if (x->s[pos] != '0') return digits(x, pos, 10);
    if (pos + 1 < x->n) {
        int c = x->s[pos + 1] | 32, b = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        size_t first = pos + 2 + (pos + 2 < x->n && x->s[pos + 2] == '_');
        if (b && first < x->n && is_digit(x->s[first], b)) {
            *base = b;
            return digits(x, first, b);
        }
    }
    do pos++; /* a decimal zero: zeros only, 01 is 0 and then 1 */
    while (pos < x->n
           && (x->s[pos] == '0' || (x->s[pos] == '_' && pos + 1 < x->n && x->s[pos + 1] == '0')));
    return pos;
}

static bool number_token(lexer *x) {
    size_t begin = x->pos, end = float_end(x, begin);
    if (end > begin) {
        char copy[400];
        size_t n = 0;
        for (size_t i = begin; i < end && n + 1 < sizeof copy; i++)
            if (x->s[i] != '_') copy[n++] = x->s[i];
        copy[n] = 0;
        double f;
        if (n + 1 == sizeof copy || !vtext_j_parse_float(copy, &f))
            return vtext_j_parse_error(x->p, x->line, "bad number");
        x->pos = end;
        return push(x, T_FLOAT, x->line, vtext_j_float(f));
    }
    int base;
    int64_t value = 0;
    end = int_end(x, &base);
    for (size_t i = begin + (base == 10 ? 0 : 2); i < end; i++) {
        int c = x->s[i];
        if (c == '_') continue;
        int d = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
        if (__builtin_mul_overflow(value, (int64_t)base, &value)
            || __builtin_add_overflow(value, (int64_t)d, &value))
            return vtext_j_parse_error(x->p, x->line, "an integer does not fit 64 bits");
    }
    x->pos = end;
    return push(x, T_INT, x->line, vtext_j_int(value));
}

/* One escape behind a backslash at *i, as Python reads it; the code point, or -1 for none, -2
 * error. */
static int64_t escape(const char *s, size_t n, size_t *i) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = s[*i];
    const char *simple = memchr(from, c, sizeof from - 1);
    if (simple) {
        ++*i;
        return (unsigned char)to[simple - from];
    }
    int width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, base = 16;
    size_t pos = *i + 1;
    if (c >= '0' && c <= '7') {
        width = 1, base = 8, pos = *i;
        while (width < 3 && pos + (size_t)width < n && is_digit(s[pos + (size_t)width], 8)) width++;
    }
    if (width == 0) return c == 'N' ? -2 : -1;
    int64_t cp = 0;
    for (int k = 0; k < width; k++, pos++) {
        if (pos >= n || !is_digit(s[pos], base)) return -2;
        cp = cp * base + (s[pos] <= '9' ? s[pos] - '0' : (s[pos] | 32) - 'a' + 10);
    }
    *i = pos;
    return cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000) ? -2 : cp;
}

static bool string_token(lexer *x) {
    char quote = x->s[x->pos];
    size_t begin = x->pos + 1, end = begin;
    while (end < x->n && x->s[end] != quote) end += 1 + (x->s[end] == '\\');
    if (end >= x->n) return vtext_j_parse_error(x->p, x->line, "a string is not closed");
    char *copy = vcore_arena_alloc(x->p->arena, end - begin + 1);
    if (!copy) {
        x->p->status = vcore_no_memory(x->p->err, "a chat template");
        return false;
    }
    size_t n = 0;
    for (size_t i = begin; i < end;) {
        if (x->s[i] != '\\') {
            copy[n++] = x->s[i++];
            continue;
        }
        i++;
        if (x->s[i] == '\n') {
            i++;
            continue;
        }
        int64_t cp = escape(x->s, end, &i);
        if (cp == -2) return vtext_j_parse_error(x->p, x->line, "bad escape in a string");
        if (cp == -1)
            copy[n++] = '\\';
        else
            n += vcore_utf8_encode((uint32_t)cp, copy + n);
    }
    if (!push(x, T_STRING, x->line, vtext_j_string((j_string) { copy, n, NULL }))) return false;
    count_lines(x, begin, end);
    x->pos = end + 1;
    return true;
}

bool vtext_j_name_char(uint32_t cp, bool first) {
    if (cp < 128) {
        bool letter = (cp | 32) >= 'a' && (cp | 32) <= 'z';
        return letter || cp == '_' || (!first && cp >= '0' && cp <= '9');
    }
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    bool letter = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
    return letter || c == UTF8PROC_CATEGORY_NL
           || (!first
               && (c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC
                   || c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_PC));
}

static bool name_token(lexer *x, bool *is_name) {
    size_t begin = x->pos, pos = begin;
    while (pos < x->n) {
        uint32_t cp;
        size_t used = vcore_utf8_decode(x->s + pos, x->n - pos, &cp);
        if (!vtext_j_name_char(cp, pos == begin)) break;
        pos += used;
    }
    *is_name = pos > begin;
    if (!*is_name) return true;
    x->pos = pos;
    return push(x, T_NAME, x->line, vtext_j_string((j_string) { x->s + begin, pos - begin, NULL }));
}

/* The code of a tag up to and including its end. */
static bool code(lexer *x, bool is_print) {
    const char *closing = is_print ? "}}" : "%}";
    x->open = 0;
    for (;;) {
        size_t begin = x->pos;
        x->pos = skip_space(x, begin);
        count_lines(x, begin, x->pos);
        if (x->pos >= x->n) return true; /* the parser says what is missing */
        size_t end = x->open ? 0 : tag_end(x, x->pos, closing, !is_print, !is_print);
        if (end) {
            if (!push(x, is_print ? T_PRINT_END : T_BLOCK_END, x->line, vtext_j_none()))
                return false;
            count_lines(x, x->pos, end);
            x->at_line_start = x->s[end - 1] == '\n';
            x->pos = end;
            return true;
        }
        char c = x->s[x->pos];
        bool done = true, is_name = false;
        if (c >= '0' && c <= '9')
            done = number_token(x);
        else if (c == '\'' || c == '"')
            done = string_token(x);
        else if (!name_token(x, &is_name))
            done = false;
        else if (!is_name)
            done = operator_token(x);
        if (!done) return false;
    }
}

static bool tags(lexer *x) {
    while (x->pos < x->n) {
        size_t begin = x->pos, tag = begin;
        while (tag < x->n
               && !(x->s[tag] == '{' && tag + 1 < x->n && strchr("{%#", x->s[tag + 1])
                    && x->s[tag + 1]))
            tag++;
        if (tag >= x->n)
            return push(x, T_DATA, x->line,
                        vtext_j_string((j_string) { x->s + begin, x->n - begin, NULL }));
        char what = x->s[tag + 1], sign = sign_at(x, tag + 2);
        if (!text(x, begin, tag, sign, what == '{')) return false;
        size_t inside = tag + 2 + (sign != 0), raw_end = what == '%' ? raw_tag(x, tag) : 0;
        if (raw_end) {
            count_lines(x, tag, raw_end);
            if (!raw(x, raw_end)) return false;
        } else if (what == '#') {
            if (!comment(x, inside)) return false;
        } else {
            if (!push(x, what == '{' ? T_PRINT_BEGIN : T_BLOCK_BEGIN, x->line, vtext_j_none()))
                return false;
            x->pos = inside;
            if (!code(x, what == '{')) return false;
        }
    }
    return true;
}

bool vtext_j_lex(j_parser *p, const char *source, size_t n) {
    char *copy = vcore_arena_alloc(p->arena, n + 1);
    if (!copy) {
        p->status = vcore_no_memory(p->err, "a chat template");
        return false;
    }
    lexer x = { .p = p, .s = copy, .line = 1, .at_line_start = true };
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n') continue;
        copy[x.n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (x.n && copy[x.n - 1] == '\n') x.n--;
    return tags(&x) && push(&x, T_EOF, x.line, vtext_j_none());
}
