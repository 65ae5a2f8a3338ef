/* SPDX-License-Identifier: MIT */
/* Patterns to trees, with the meanings of Oniguruma's own syntax: '$' and '^' are those of lines,
 * (?m) is what others call (?s), {n,m}+ repeats a repetition, {n}? may be left out. Groups do not
 * capture. What a linear match cannot do is refused by name. */
#include "text/regex/regex.h"

#include <stdarg.h>
#include <stdio.h>

#include "text/unicode/unicode.h"

enum { MAX_COUNT = 100000, MAX_STACKED = 16 };

bool vtext_parse_fail(vtext_parse *x, vlm_status status, size_t at, const char *fmt, ...) {
    char text[160];
    va_list args;
    if (x->status < 0) return false;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    x->status = status;
    if (status == VLM_ERR_MEMORY)
        vcore_no_memory(x->err, x->where);
    else
        vcore_fail_field(x->err, status, x->where, "pattern", "regular expression, at byte %zu: %s",
                         at, text);
    return false;
}

vtext_node *vtext_new_node(vtext_parse *x, vtext_node_kind kind) {
    vtext_node *node = vcore_arena_alloc(x->arena, sizeof *node);
    if (!node)
        vtext_parse_fail(x, VLM_ERR_MEMORY, x->at, "no memory");
    else
        node->kind = kind;
    return node;
}

static void append(vtext_node *parent, vtext_node *child) {
    child->prev = parent->last;
    parent->last = child;
}

static char peek(const vtext_parse *x, size_t ahead) {
    return x->at + ahead < x->text.n ? x->text.p[x->at + ahead] : 0;
}

/* ---- leaves --------------------------------------------------------------------------------- */
/* (?i) for a set: a character of it that folds to several would make it match these, too, unless
 * the set is to be negated. */
static bool fold(vtext_parse *x, size_t at, vtext_set *s, bool negate) {
    if (!x->ignore_case) return true;
    for (size_t i = 0; !negate && i < vtext_long_folds_count; i++)
        if (vtext_set_has(s, vtext_long_folds[i].cp))
            return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at,
                                    "(?i) of U+%04X, which is several characters in another case",
                                    (unsigned)vtext_long_folds[i].cp);
    return vtext_set_fold(x, s);
}

static vtext_node *set_node(vtext_parse *x, vtext_set *s) {
    vtext_set_normalize(s);
    vtext_node *node = vtext_new_node(x, VTEXT_NODE_SET);
    if (!node || (node->set = vtext_set_intern(x, s)) < 0) return NULL;
    return node;
}

static vtext_node *range_node(vtext_parse *x, uint32_t first, uint32_t last) {
    vtext_set s = { 0 };
    return vtext_set_add(x, &s, first, last) ? set_node(x, &s) : NULL;
}

/* Under (?i) "ss" is one character as well, as are ff, fi, st ..: such neighbours are refused. */
static bool no_long_fold(vtext_parse *x, size_t at, uint32_t cp) {
    uint32_t from, to, *tail = x->tail;
    if (!x->ignore_case) return true;
    for (vtext_fold_at i = { 0 }; vtext_fold_next(&i, &from, &to);)
        if (from == cp) {
            cp = to;
            break;
        }
    tail[0] = tail[1];
    tail[1] = tail[2];
    tail[2] = cp;
    for (size_t i = 0; i < vtext_long_folds_count; i++) {
        const uint32_t *seen = vtext_long_folds[i].to[2] ? tail : tail + 1;
        if (memcmp(seen, vtext_long_folds[i].to, (size_t)(tail + 3 - seen) * sizeof *seen) == 0)
            return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at,
                                    "(?i) of characters that are one, U+%04X, in another case",
                                    (unsigned)vtext_long_folds[i].cp);
    }
    return true;
}

static vtext_node *character(vtext_parse *x, size_t at, uint32_t cp) {
    vtext_set s = { 0 };
    x->in_text = true;
    if (!no_long_fold(x, at, cp)) return NULL;
    if (!vtext_set_add(x, &s, cp, cp) || !fold(x, at, &s, false)) return NULL;
    return set_node(x, &s);
}

static vtext_node *dot(vtext_parse *x, bool newline) {
    vtext_set s = { 0 };
    if (!vtext_set_add(x, &s, '\n', '\n') || !vtext_set_negate(x, &s)) return NULL;
    if (newline && !vtext_set_add(x, &s, '\n', '\n')) return NULL;
    return set_node(x, &s);
}

/* ---- anchors: what is before, what is ahead ---------------------------------------------------
 */
static vtext_node *ahead(vtext_parse *x, vtext_node *of, bool negate) {
    vtext_node *node = of ? vtext_new_node(x, VTEXT_NODE_AHEAD) : NULL;
    if (!node) return NULL;
    append(node, of);
    node->negate = negate;
    return node;
}

static vtext_node *behind(vtext_parse *x, const vtext_node *set, bool begin, bool negate) {
    vtext_node *node = vtext_new_node(x, VTEXT_NODE_BEHIND);
    if (!node) return NULL;
    node->set = set ? set->set : -1;
    node->begin = begin;
    node->negate = negate;
    return node;
}

static vtext_node *join(vtext_parse *x, vtext_node_kind kind, vtext_node *a, vtext_node *b) {
    vtext_node *node = a && b ? vtext_new_node(x, kind) : NULL;
    if (!node) return NULL;
    append(node, a);
    append(node, b);
    return node;
}

static vtext_node *end(vtext_parse *x) {
    return vtext_new_node(x, VTEXT_NODE_END);
}

static vtext_node *newline(vtext_parse *x) {
    return range_node(x, '\n', '\n');
}

/* '^': where a line begins, not behind the last line end. */
static vtext_node *line_begin(vtext_parse *x) {
    vtext_node *lf = newline(x);
    if (!lf) return NULL;
    vtext_node *later =
        join(x, VTEXT_NODE_SEQUENCE, behind(x, lf, false, false), ahead(x, end(x), true));
    return join(x, VTEXT_NODE_CHOICE, behind(x, NULL, true, false), later);
}

static vtext_node *word_boundary(vtext_parse *x, bool negate) {
    vtext_node *side[2][2];
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            vtext_set s = { 0 };
            vtext_node *word = vtext_set_word(x, &s) ? set_node(x, &s) : NULL;
            if (!word) return NULL;
            side[i][k] = k ? ahead(x, word, i != negate) : behind(x, word, false, i == 0);
        }
    /* i 0: no word before; the other side is a word for a boundary, none for \B */
    return join(x, VTEXT_NODE_CHOICE, join(x, VTEXT_NODE_SEQUENCE, side[0][0], side[0][1]),
                join(x, VTEXT_NODE_SEQUENCE, side[1][0], side[1][1]));
}

/* The anchor \c; *is_one: there is one. */
static vtext_node *anchor(vtext_parse *x, char c, bool *is_one) {
    *is_one = true;
    switch (c) {
    case 'A': return behind(x, NULL, true, false);
    case 'z': return end(x);
    case 'Z':
        return join(x, VTEXT_NODE_CHOICE, end(x),
                    ahead(x, join(x, VTEXT_NODE_SEQUENCE, newline(x), end(x)), false));
    case 'b':
    case 'B': return word_boundary(x, c == 'B');
    default: *is_one = false; return NULL;
    }
}

/* \R: a line end, \r\n as one. */
static vtext_node *line_end(vtext_parse *x) {
    vtext_set s = { 0 };
    if (!vtext_set_add(x, &s, '\n', '\r') || !vtext_set_add(x, &s, 0x85, 0x85)
        || !vtext_set_add(x, &s, 0x2028, 0x2029))
        return NULL;
    vtext_node *both = join(x, VTEXT_NODE_SEQUENCE, range_node(x, '\r', '\r'), newline(x));
    vtext_node *choice = join(x, VTEXT_NODE_CHOICE, both, set_node(x, &s));
    vtext_node *node = choice ? vtext_new_node(x, VTEXT_NODE_ATOMIC) : NULL;
    if (node) append(node, choice);
    return node;
}

static vtext_node *escape(vtext_parse *x) {
    size_t at = x->at++;
    char c = peek(x, 0);
    bool is_one;
    vtext_node *node = anchor(x, c, &is_one);
    if (is_one || c == 'R' || c == 'N' || c == 'O') x->at++;
    if (is_one) return node;
    if (c == 'R') return line_end(x);
    if (c == 'N' || c == 'O') return dot(x, c == 'O');
    uint32_t cp;
    vtext_set s = { 0 };
    if (!vtext_parse_escape(x, false, &is_one, &cp, &s)) return NULL;
    return is_one ? set_node(x, &s) : character(x, at, cp);
}

static vtext_node *class(vtext_parse *x) {
    size_t at = x->at++;
    vtext_set s = { 0 };
    bool negate;
    if (!vtext_parse_class(x, &s, &negate)) return NULL;
    if (!negate && s.n == 1 && s.range[0][0] == s.range[0][1])
        return character(x, at, s.range[0][0]);
    if (!fold(x, at, &s, negate) || (negate && !vtext_set_negate(x, &s))) return NULL;
    return set_node(x, &s);
}

/* ---- groups --------------------------------------------------------------------------------- */
static vtext_node *choices(vtext_parse *x);

/* Choices up to the ')', which is read. */
static vtext_node *body(vtext_parse *x, size_t begin) {
    if (++x->depth > VTEXT_REGEX_DEPTH) {
        vtext_parse_fail(x, VLM_ERR_LIMIT, begin, "more than %d nested groups", VTEXT_REGEX_DEPTH);
        return NULL;
    }
    bool ignore_case = x->ignore_case, any_newline = x->any_newline;
    vtext_node *node = choices(x);
    x->ignore_case = ignore_case;
    x->any_newline = any_newline;
    x->depth--;
    if (!node) return NULL;
    if (peek(x, 0) != ')') {
        vtext_parse_fail(x, VLM_ERR_FORMAT, begin, "a group does not end");
        return NULL;
    }
    x->at++;
    return node;
}

static bool is_empty(const vtext_node *node) {
    if (node->kind == VTEXT_NODE_CHOICE || node->kind == VTEXT_NODE_SEQUENCE) {
        for (const vtext_node *k = node->last; k; k = k->prev)
            if (!is_empty(k)) return false;
        return true;
    }
    return node->kind == VTEXT_NODE_AHEAD || node->kind == VTEXT_NODE_BEHIND
           || node->kind == VTEXT_NODE_END;
}

/* One choice of a look-behind: a character, then anchors; it is asked for where the look is. */
static bool turn_behind(vtext_node *node) {
    for (vtext_node *k = node->last; k; k = k->prev) {
        if (!k->prev && k->kind == VTEXT_NODE_SET) k->kind = VTEXT_NODE_BEHIND;
        if (!is_empty(k)) return false;
    }
    return true;
}

static vtext_node *look_behind(vtext_parse *x, size_t begin, bool negate) {
    vtext_node *node = body(x, begin);
    bool ok = true;
    if (!node) return NULL;
    if (node->kind == VTEXT_NODE_CHOICE)
        for (vtext_node *k = node->last; k; k = k->prev) ok = ok && turn_behind(k);
    else
        ok = turn_behind(node);
    if (ok) return ahead(x, node, negate);
    vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, begin, "a look-behind at more than one character");
    return NULL;
}

/* (?i) (?m-i:..): flags up to ':' or ')'. Without ':' they hold to the end of the group around, for
 * its further choices as well. */
static vtext_node *flags(vtext_parse *x, size_t begin) {
    bool on = true, ignore_case = x->ignore_case, any_newline = x->any_newline;
    for (;; x->at++) {
        char c = peek(x, 0);
        if (c == '-')
            on = false;
        else if (c == 'i')
            x->ignore_case = on;
        else if (c == 'm')
            x->any_newline = on;
        else if (c == ':' || c == ')')
            break;
        else {
            vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, begin, "this kind of group is not supported");
            return NULL;
        }
    }
    vtext_node *node;
    if (x->text.p[x->at++] == ':') {
        node = body(x, begin);
    } else if (++x->depth > VTEXT_REGEX_DEPTH) {
        vtext_parse_fail(x, VLM_ERR_LIMIT, begin, "more than %d nested groups", VTEXT_REGEX_DEPTH);
        return NULL;
    } else {
        node = choices(x);
        x->depth--;
    }
    x->ignore_case = ignore_case;
    x->any_newline = any_newline;
    return node;
}

static bool skip_to(vtext_parse *x, size_t begin, char c) {
    const char *p = memchr(x->text.p + x->at, c, x->text.n - x->at);
    if (!p) return vtext_parse_fail(x, VLM_ERR_FORMAT, begin, "a group does not end");
    x->at = (size_t)(p - x->text.p) + 1;
    return true;
}

static vtext_node *group(vtext_parse *x) {
    size_t begin = x->at++;
    if (peek(x, 0) != '?') return body(x, begin);
    char c = peek(x, 1), d = peek(x, 2);
    x->at += 2;
    if (c == ':') return body(x, begin);
    if (c == '=' || c == '!') return ahead(x, body(x, begin), c == '!');
    if (c == '>') {
        vtext_node *inner = body(x, begin),
                   *node = inner ? vtext_new_node(x, VTEXT_NODE_ATOMIC) : NULL;
        if (node) append(node, inner);
        return node;
    }
    if (c == '#') return skip_to(x, begin, ')') ? vtext_new_node(x, VTEXT_NODE_SEQUENCE) : NULL;
    if (c == '<' && (d == '=' || d == '!')) {
        x->at++;
        return look_behind(x, begin, d == '!');
    }
    if (c == '<' || c == '\'')
        return skip_to(x, begin, c == '<' ? '>' : '\'') ? body(x, begin) : NULL;
    x->at--;
    return flags(x, begin);
}

/* ---- repetition ----------------------------------------------------------------------------- */
static bool number(vtext_parse *x, size_t *i, int *out) {
    size_t first = *i;
    for (*out = 0; *i < x->text.n && x->text.p[*i] >= '0' && x->text.p[*i] <= '9'; ++*i)
        if (*out <= MAX_COUNT) *out = *out * 10 + (x->text.p[*i] - '0');
    return *i > first;
}

/* {n} {n,} {,m} {n,m} at x->at; anything else that begins with a brace is text. */
static bool interval(vtext_parse *x, int *min, int *max) {
    size_t i = x->at + 1;
    bool low = number(x, &i, min), high = false;
    *max = *min;
    if (i < x->text.n && x->text.p[i] == ',') {
        i++;
        high = number(x, &i, max);
        if (!high) *max = -1;
    } else if (!low) {
        return false;
    }
    if ((!low && !high) || i >= x->text.n || x->text.p[i] != '}') return false;
    if (!low) *min = 0;
    x->at = i + 1;
    return true;
}

static bool repeatable(const vtext_node *node) {
    return node->kind != VTEXT_NODE_AHEAD && node->kind != VTEXT_NODE_BEHIND
           && node->kind != VTEXT_NODE_END;
}

/* One quantifier around node; *any: there was one. */
static vtext_node *quantifier(vtext_parse *x, vtext_node *node, bool *any) {
    size_t at = x->at;
    char c = peek(x, 0);
    int min = c == '+', max = c == '?' ? 1 : -1;
    bool counts = false;
    *any = c == '*' || c == '+' || c == '?' || (c == '{' && (counts = interval(x, &min, &max)));
    if (!*any) return node;
    if (!counts) x->at++;
    if (min > MAX_COUNT || max > MAX_COUNT || (max >= 0 && min > max)) {
        vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at, "cannot repeat {%d,%d}", min, max);
        return NULL;
    }
    vtext_node *repeat = vtext_new_node(x, VTEXT_NODE_REPEAT);
    if (!repeat) return NULL;
    repeat->min = min;
    repeat->max = max;
    append(repeat, node);
    c = peek(x, 0);
    if (c == '?' && (!counts || min != max)) {
        repeat->lazy = true;
        x->at++;
    } else if (c == '+' && !counts) {
        vtext_node *atomic = vtext_new_node(x, VTEXT_NODE_ATOMIC);
        if (atomic) append(atomic, repeat);
        x->at++;
        return atomic;
    }
    return repeat;
}

static vtext_node *atom(vtext_parse *x, bool *is_anchor) {
    char c = peek(x, 0);
    size_t at = x->at;
    *is_anchor = c == '^' || c == '$' || (c == '\\' && peek(x, 1) && strchr("AzZbB", peek(x, 1)));
    switch (c) {
    case '(': return group(x);
    case '[': return class(x);
    case '\\': return escape(x);
    case '.': x->at++; return dot(x, x->any_newline);
    case '^': x->at++; return line_begin(x);
    case '$': x->at++; return join(x, VTEXT_NODE_CHOICE, end(x), ahead(x, newline(x), false));
    case '*':
    case '+':
    case '?': vtext_parse_fail(x, VLM_ERR_FORMAT, at, "nothing to repeat"); return NULL;
    default: break;
    }
    uint32_t cp;
    x->at += vcore_utf8_decode(x->text.p + x->at, x->text.n - x->at, &cp);
    return character(x, at, cp);
}

static vtext_node *repeated(vtext_parse *x) {
    bool is_anchor, any = true;
    size_t at = x->at;
    x->in_text = false;
    vtext_node *node = atom(x, &is_anchor), *plain = node;
    if (!x->in_text || (peek(x, 0) && strchr("?*+{", peek(x, 0))))
        memset(x->tail, 0, sizeof x->tail);
    for (int i = 0; node && any; i++) {
        node = quantifier(x, node, &any);
        if (!node || !any) break;
        if (is_anchor || !repeatable(plain)) {
            vtext_parse_fail(x, VLM_ERR_FORMAT, at, "an anchor cannot be repeated");
            return NULL;
        }
        if (i == MAX_STACKED) {
            vtext_parse_fail(x, VLM_ERR_LIMIT, at, "more than %d quantifiers in a row",
                             MAX_STACKED);
            return NULL;
        }
    }
    return node;
}

static vtext_node *choices(vtext_parse *x) {
    vtext_node *all = vtext_new_node(x, VTEXT_NODE_CHOICE), *one = NULL;
    for (;;) {
        if (!one) {
            if (!all || !(one = vtext_new_node(x, VTEXT_NODE_SEQUENCE))) return NULL;
            append(all, one);
        }
        if (x->at >= x->text.n || peek(x, 0) == ')') break;
        if (peek(x, 0) == '|') {
            x->at++;
            memset(x->tail, 0, sizeof x->tail);
            one = NULL;
            continue;
        }
        vtext_node *next = repeated(x);
        if (!next) return NULL;
        append(one, next);
    }
    return all->last->prev ? all : all->last;
}

vtext_node *vtext_parse_tree(vtext_parse *x) {
    vtext_node *tree = choices(x);
    if (tree && x->at < x->text.n) {
        vtext_parse_fail(x, VLM_ERR_FORMAT, x->at, "a ')' closes nothing");
        return NULL;
    }
    return tree;
}
