/* SPDX-License-Identifier: MIT */
/* Python literals as JSON text: what ast.literal_eval takes and json.dumps then writes. A blank may stand
 * before a value: it keeps the place of a bracket or a sign that only later turns out to be due. */
#include "text/calls/calls.h"

enum { MAX_NESTED = 200, MAX_DIGITS = 4300 }; /* CPython's own limits */

/* What an expression is; 0: no literal. */
enum { LITERAL = 1, HASHABLE = 2, REAL = 4, IMAGINARY = 8, SIGNED = 16, STRING = 32, BYTES = 64, TUPLE = 128 };

static unsigned expression(vtext_c_reader *r);

static char peek(const vtext_c_reader *r) {
    return r->p < r->end ? *r->p : '\0';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name(char c) {
    return c == '_' || is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c & 0x80);
}

static bool is_line_end(char c) {
    return c == '\n' || c == '\r';
}

void vtext_c_skip(vtext_c_reader *r) {
    while (r->p < r->end) {
        char c = *r->p;
        if (c == '#') {
            while (r->p < r->end && !is_line_end(*r->p)) r->p++;
        } else if (c == '\\' && r->p + 1 < r->end && is_line_end(r->p[1])) {
            r->p += r->p[1] == '\r' && r->p + 2 < r->end && r->p[2] == '\n' ? 3 : 2;
        } else if (c == ' ' || c == '\t' || c == '\f' || (r->depth && is_line_end(c))) {
            r->p++;
        } else {
            return;
        }
    }
}

vcore_str vtext_c_identifier(vtext_c_reader *r) {
    vcore_str s = { r->p, 0 };
    if (is_name(peek(r)) && !is_digit(*r->p))
        while (is_name(peek(r))) r->p++;
    s.n = (size_t)(r->p - s.p);
    return s;
}

static void puts_out(vtext_c_reader *r, const char *text) {
    vcore_buf_puts(&r->out->b, text);
}

/* ---- numbers --------------------------------------------------------------------------------------------- */

/* Digits of a base with single underscores between them; into `to` without those. */
static bool take_digits(vtext_c_reader *r, vcore_buf *to, int base, bool after_prefix) {
    size_t before = to->n;
    bool underscore = false;
    if (after_prefix && peek(r) == '_') r->p++;
    for (;; r->p++) {
        char c = peek(r), lower = (char)(c | 0x20);
        int digit = is_digit(c) ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
        if (c == '_' && to->n > before && !underscore) {
            underscore = true;
            continue;
        }
        if (digit >= base) break;
        underscore = false;
        vcore_buf_add(to, &c, 1);
    }
    return to->n > before && !underscore;
}

/* Digits of base 2, 8 or 16 as decimal ones. More than MAX_DIGITS of those cannot be printed. */
static void put_decimal(vtext_c_reader *r, const vcore_buf *digits, unsigned base) {
    uint32_t limb[MAX_DIGITS / 9 + 2] = { 0 };
    size_t n = 1;
    for (size_t i = 0; i < digits->n; i++) {
        char c = digits->p[i];
        uint64_t carry = is_digit(c) ? (uint64_t)(c - '0') : (uint64_t)((c | 0x20) - 'a' + 10);
        for (size_t k = 0; k < n; k++) {
            carry += (uint64_t)limb[k] * base;
            limb[k] = (uint32_t)(carry % 1000000000u);
            carry /= 1000000000u;
        }
        if (carry && n == sizeof limb / sizeof limb[0]) {
            r->out->unwritable = true;
            puts_out(r, "0");
            return;
        }
        if (carry) limb[n++] = (uint32_t)carry;
    }
    vcore_buf_printf(&r->out->b, "%u", limb[--n]);
    while (n) vcore_buf_printf(&r->out->b, "%09u", limb[--n]);
}

static unsigned based(vtext_c_reader *r) {
    char letter = (char)(r->p[1] | 0x20);
    int base = letter == 'x' ? 16 : letter == 'o' ? 8 : 2;
    vcore_buf digits = { 0 };
    r->p += 2;
    bool good = take_digits(r, &digits, base, true) && !is_name(peek(r));
    if (digits.failed) r->out->b.failed = true;
    else if (good) put_decimal(r, &digits, (unsigned)base);
    vcore_buf_free(&digits);
    return good ? LITERAL | HASHABLE | REAL : 0;
}

/* The decimal number whose whole digits are in b: goes on behind them. */
static unsigned decimal(vtext_c_reader *r, vcore_buf *b) {
    bool whole = is_digit(peek(r)), real = false;
    if (whole && !take_digits(r, b, 10, false)) return 0;
    size_t zeros = 0, n = b->n;
    while (zeros + 1 < n && b->p[zeros] == '0') zeros++;
    bool padded = zeros > 0 && b->p[zeros] != '0'; /* 007 is no integer, 07.5 is a real */
    if (!whole) vcore_buf_puts(b, "0");
    if (peek(r) == '.') {
        real = true;
        r->p++;
        vcore_buf_puts(b, ".");
        if (!is_digit(peek(r))) vcore_buf_puts(b, "0");
        else if (!take_digits(r, b, 10, false)) return 0;
    }
    if ((peek(r) | 0x20) == 'e') {
        real = true;
        r->p++;
        vcore_buf_puts(b, "e");
        if (peek(r) == '-' || peek(r) == '+') vcore_buf_add(b, r->p++, 1);
        if (!take_digits(r, b, 10, false)) return 0;
    }
    bool imaginary = (peek(r) | 0x20) == 'j';
    if (imaginary) r->p++;
    if (is_name(peek(r)) || (!real && !imaginary && (padded || n > MAX_DIGITS))) return 0;
    if (imaginary) r->out->unwritable = true;
    vcore_buf_add(&r->out->b, b->p + zeros, b->n - zeros);
    return LITERAL | HASHABLE | (imaginary ? IMAGINARY : REAL);
}

static unsigned number(vtext_c_reader *r) {
    if (*r->p == '0' && r->p + 1 < r->end && r->p[1] && strchr("xXoObB", r->p[1])) return based(r);
    vcore_buf b = { 0 };
    unsigned kind = decimal(r, &b);
    if (b.failed) r->out->b.failed = true;
    vcore_buf_free(&b);
    return kind;
}

/* ---- strings ----------------------------------------------------------------------------------------------- */

/* n hex digits; -1: there are not so many. */
static int64_t hex(vtext_c_reader *r, int n) {
    int64_t value = 0;
    for (; n; n--, r->p++) {
        char c = peek(r), lower = (char)(c | 0x20);
        int digit = is_digit(c) ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static void put_char(vcore_buf *b, uint32_t cp) {
    char utf8[4];
    vcore_buf_add(b, utf8, vcore_utf8_encode(cp, utf8));
}

/* Behind a backslash. False: not an escape that Python takes. */
static bool escape(vtext_c_reader *r, vcore_buf *to, bool bytes) {
    static const char from[] = "\\'\"abfnrtv", means[] = "\\'\"\a\b\f\n\r\t\v";
    if (r->p == r->end) return false;
    char c = *r->p++;
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        vcore_buf_add(to, &means[known - from], 1);
    } else if (is_line_end(c)) {
        if (c == '\r' && peek(r) == '\n') r->p++;
    } else if (c >= '0' && c <= '7') {
        uint32_t value = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && peek(r) >= '0' && peek(r) <= '7'; i++) value = value * 8 + (uint32_t)(*r->p++ - '0');
        put_char(to, value);
    } else if (c == 'x' || (!bytes && (c == 'u' || c == 'U'))) {
        int64_t value = hex(r, c == 'x' ? 2 : c == 'u' ? 4 : 8);
        if (value < 0 || value > 0x10FFFF) return false;
        put_char(to, (uint32_t)value);
    } else if (c == 'N' && !bytes) {
        return false; /* names of characters are not known here */
    } else {
        vcore_buf_puts(to, "\\");
        vcore_buf_add(to, &c, 1);
    }
    return true;
}

static bool string_body(vtext_c_reader *r, vcore_buf *to, bool raw, bool bytes) {
    char quote = *r->p;
    bool triple = r->end - r->p >= 3 && r->p[1] == quote && r->p[2] == quote;
    r->p += triple ? 3 : 1;
    while (r->p < r->end) {
        char c = *r->p++;
        if (c == quote && (!triple || (r->end - r->p >= 2 && r->p[0] == quote && r->p[1] == quote))) {
            r->p += triple ? 2 : 0;
            return true;
        }
        if (is_line_end(c)) {
            if (!triple) return false;
            if (c == '\r' && peek(r) == '\n') r->p++;
            c = '\n';
        }
        if (bytes && (c & 0x80)) return false;
        if (c != '\\') {
            vcore_buf_add(to, &c, 1);
        } else if (!raw) {
            if (!escape(r, to, bytes)) return false;
        } else {
            vcore_buf_add(to, &c, 1);
            if (r->p == r->end || (is_line_end(*r->p) && !triple)) return false;
            vcore_buf_add(to, r->p++, 1);
        }
    }
    return false;
}

/* The letters before a quote; false: this is no string. */
static bool prefix(const vtext_c_reader *r, size_t *n, bool *raw, bool *bytes) {
    bool unicode = false;
    *raw = *bytes = false;
    for (*n = 0; r->p + *n < r->end; (*n)++) {
        char c = r->p[*n], lower = (char)(c | 0x20);
        if (c == '\'' || c == '"') return !unicode || *n == 1;
        bool *flag = lower == 'r' ? raw : lower == 'b' ? bytes : lower == 'u' ? &unicode : NULL;
        if (!flag || *flag) return false;
        *flag = true;
    }
    return false;
}

/* Strings that follow each other are one. */
static unsigned strings(vtext_c_reader *r) {
    vcore_buf text = { 0 };
    unsigned kind = 0;
    size_t n;
    bool raw, bytes, good = true;
    const char *behind = r->p;
    while (good && prefix(r, &n, &raw, &bytes)) {
        unsigned this = bytes ? BYTES : STRING;
        good = kind == 0 || kind == this;
        kind = this;
        r->p += n;
        good = good && string_body(r, &text, raw, bytes);
        behind = r->p;
        vtext_c_skip(r);
    }
    r->p = behind;
    if (text.failed) r->out->b.failed = true;
    if (good && kind == BYTES) r->out->unwritable = true;
    if (good) vcore_json_quote(&r->out->b, text.p, text.n);
    vcore_buf_free(&text);
    return good ? LITERAL | HASHABLE | kind : 0;
}

/* ---- what has brackets ---------------------------------------------------------------------------------------- */

/* The key that begins at `mark` of the output, as json.dumps writes keys. */
static void quote_key(vtext_c_reader *r, size_t mark, unsigned kind) {
    vcore_buf *b = &r->out->b;
    vtext_c_out key = { 0 };
    if (b->failed || (kind & STRING)) return;
    if ((kind & (TUPLE | BYTES)) || !vtext_c_put_json(&key, (vcore_str) { b->p + mark, b->n - mark })) {
        r->out->unwritable = true;
        vcore_buf_puts(&key.b, "0");
    }
    b->n = mark;
    vcore_json_quote(b, key.b.p, key.b.n);
    b->failed = b->failed || key.b.failed;
    vcore_buf_free(&key.b);
}

/* Expressions up to the closing bracket, behind the opening one. What they are together, or 0. */
static unsigned items(vtext_c_reader *r, char close, bool *comma) {
    unsigned all = LITERAL | HASHABLE;
    size_t n = 0;
    for (*comma = false;; n++) {
        vtext_c_skip(r);
        if (peek(r) == close && r->p < r->end) {
            if (n == 0) *comma = true; /* () is a tuple */
            break;
        }
        if (n) puts_out(r, ", ");
        unsigned one = expression(r);
        if (!one) return 0;
        all = n ? all & one : (all & one) | (one & (REAL | IMAGINARY | SIGNED | STRING | BYTES | TUPLE));
        vtext_c_skip(r);
        bool more = peek(r) == ',' && r->p < r->end;
        if (more) *comma = true;
        if (more) r->p++;
        else if (peek(r) == close && r->p < r->end) break;
        else return 0;
    }
    r->p++;
    return all;
}

static unsigned list(vtext_c_reader *r, char open) {
    bool comma;
    size_t mark = r->out->b.n;
    puts_out(r, open == '[' ? "[" : " ");
    unsigned kind = items(r, open == '[' ? ']' : ')', &comma);
    if (!kind) return 0;
    if (open == '(' && !comma) return kind; /* a value in parentheses */
    if (open == '(' && !r->out->b.failed) r->out->b.p[mark] = '[';
    puts_out(r, "]");
    return open == '[' ? LITERAL : LITERAL | TUPLE | (kind & HASHABLE);
}

static unsigned braces(vtext_c_reader *r) {
    size_t begin = r->out->b.n;
    puts_out(r, "{");
    for (size_t n = 0;; n++) {
        vtext_c_skip(r);
        if (peek(r) == '}') break;
        if (n) puts_out(r, ", ");
        size_t mark = r->out->b.n;
        unsigned key = expression(r);
        vtext_c_skip(r);
        if (!(key & HASHABLE)) return 0;
        if (n == 0 && peek(r) != ':') { /* a set */
            bool comma = true;
            if (peek(r) == ',') r->p++;
            else if (peek(r) != '}') return 0;
            r->out->unwritable = true;
            if (!r->out->b.failed) r->out->b.p[begin] = '[';
            vtext_c_skip(r);
            if (peek(r) != '}') return items(r, '}', &comma) & HASHABLE ? LITERAL : 0;
            r->p++;
            return LITERAL;
        }
        if (peek(r) != ':') return 0;
        r->p++;
        quote_key(r, mark, key);
        puts_out(r, ": ");
        vtext_c_skip(r);
        if (!expression(r)) return 0;
        vtext_c_skip(r);
        if (peek(r) == '}') break;
        if (peek(r) != ',') return 0;
        r->p++;
    }
    r->p++;
    puts_out(r, "}");
    return LITERAL;
}

static unsigned bracketed(vtext_c_reader *r) {
    char open = *r->p++;
    if (++r->depth > MAX_NESTED) return 0;
    unsigned kind = open == '{' ? braces(r) : list(r, open);
    r->depth--;
    return kind;
}

/* ---- expressions -------------------------------------------------------------------------------------------------- */

static unsigned name(vtext_c_reader *r) {
    vcore_str s = vtext_c_identifier(r);
    static const struct {
        const char *python, *json;
    } known[] = { { "True", "true" }, { "False", "false" }, { "None", "null" } };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!vcore_str_eq(s, vcore_str_of(known[i].python))) continue;
        puts_out(r, known[i].json);
        return LITERAL | HASHABLE;
    }
    if (!vcore_str_eq(s, vcore_str_of("set"))) return 0;
    vtext_c_skip(r);
    if (peek(r) != '(') return 0;
    r->p++;
    r->depth++;
    vtext_c_skip(r);
    r->depth--;
    if (peek(r) != ')') return 0;
    r->p++;
    r->out->unwritable = true;
    puts_out(r, "null");
    return LITERAL;
}

static unsigned atom(vtext_c_reader *r) {
    size_t n;
    bool raw, bytes;
    char c = peek(r);
    if (c == '(' || c == '[' || c == '{') return bracketed(r);
    if (prefix(r, &n, &raw, &bytes)) return strings(r);
    if (is_digit(c) || (c == '.' && r->p + 1 < r->end && is_digit(r->p[1]))) return number(r);
    if (r->end - r->p >= 3 && memcmp(r->p, "...", 3) == 0) {
        r->p += 3;
        r->out->unwritable = true;
        puts_out(r, "null");
        return LITERAL | HASHABLE;
    }
    return name(r);
}

static unsigned signed_atom(vtext_c_reader *r) {
    char sign = peek(r);
    if (sign != '-' && sign != '+') return atom(r);
    size_t at = r->out->b.n;
    r->p++;
    puts_out(r, " ");
    vtext_c_skip(r);
    unsigned kind = atom(r);
    if (!(kind & (REAL | IMAGINARY)) || (kind & SIGNED)) return 0;
    vcore_buf *b = &r->out->b;
    if (sign == '-' && !b->failed) {
        while (b->p[at + 1] == ' ') at++;
        b->p[at] = '-';
    }
    return kind | SIGNED;
}

static unsigned expression(vtext_c_reader *r) {
    unsigned kind = signed_atom(r);
    if (!kind) return 0;
    const char *behind = r->p;
    vtext_c_skip(r);
    char c = peek(r);
    if (c != '+' && c != '-') {
        r->p = behind;
        return kind;
    }
    if (!(kind & REAL)) return 0;
    r->p++;
    vtext_c_skip(r);
    size_t mark = r->out->b.n;
    unsigned right = atom(r);
    r->out->b.n = mark;
    return (right & IMAGINARY) && !(right & SIGNED) ? LITERAL | HASHABLE | BYTES : 0;
}

bool vtext_c_expression(vtext_c_reader *r) {
    return expression(r) != 0;
}

/* To the first line that is not empty. False: it is indented. */
static bool to_first_line(vtext_c_reader *r) {
    for (bool first = true;; first = false) {
        const char *line = r->p;
        while (peek(r) == ' ' || peek(r) == '\t') r->p++;
        bool indented = r->p > line && !first;
        if (peek(r) == '#') vtext_c_skip(r);
        if (!is_line_end(peek(r))) return !indented;
        while (is_line_end(peek(r))) r->p++;
    }
}

/* Behind the expression only empty lines may follow. */
static bool at_end(vtext_c_reader *r) {
    vtext_c_skip(r);
    if (r->p < r->end && !is_line_end(*r->p)) return false;
    r->depth++;
    vtext_c_skip(r);
    return r->p == r->end;
}

bool vtext_c_put_literal(vtext_c_out *out, vcore_str text) {
    vtext_c_out own = { 0 };
    vtext_c_reader r = { text.p, text.p + text.n, &own, 0 };
    if (text.n == 0 || memchr(text.p, 0, text.n)) return false;
    puts_out(&r, " ");
    unsigned kind = to_first_line(&r) ? expression(&r) : 0;
    bool tuple = false;
    for (vtext_c_skip(&r); kind && peek(&r) == ','; vtext_c_skip(&r)) { /* 1, 2 is a tuple */
        tuple = true;
        r.p++;
        vtext_c_skip(&r);
        if (r.p == r.end || is_line_end(*r.p)) break;
        puts_out(&r, ", ");
        kind = expression(&r);
    }
    bool good = kind && at_end(&r) && !own.b.failed;
    if (good && tuple) own.b.p[0] = '[';
    if (good && tuple) puts_out(&r, "]");
    if (good) vcore_buf_add(&out->b, own.b.p, own.b.n);
    if (good && own.unwritable) out->unwritable = true;
    if (own.b.failed) out->b.failed = true;
    vcore_buf_free(&own.b);
    return good;
}
