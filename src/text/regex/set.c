/* SPDX-License-Identifier: MIT */
/* Sets of characters as sorted ranges: union, complement, intersection, and what (?i) adds. Owns no
 * facts about characters (unicode/). */
#include "text/regex/regex.h"

#include <stdlib.h>

#include "text/unicode/unicode.h"

enum { LAST = 0x10FFFF };

bool vtext_set_add(vtext_parse *x, vtext_set *s, uint32_t first, uint32_t last) {
    if (s->n && s->range[s->n - 1][1] + 1 == first) {
        s->range[s->n - 1][1] = last;
        return true;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        uint32_t(*more)[2] = vcore_arena_array(x->arena, cap, sizeof *more);
        if (!more) return vtext_parse_fail(x, VLM_ERR_MEMORY, x->at, "no memory");
        if (s->n) memcpy(more, s->range, s->n * sizeof *more);
        s->range = more;
        s->cap = cap;
    }
    s->range[s->n][0] = first;
    s->range[s->n++][1] = last;
    return true;
}

bool vtext_set_add_all(vtext_parse *x, vtext_set *s, const vtext_set *more) {
    for (size_t i = 0, n = more->n; i < n; i++)
        if (!vtext_set_add(x, s, more->range[i][0], more->range[i][1])) return false;
    return true;
}

static int by_first(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

void vtext_set_normalize(vtext_set *s) {
    bool sorted = true;
    for (size_t i = 1; i < s->n; i++) sorted &= s->range[i - 1][1] + 1 < s->range[i][0];
    if (sorted) return;
    qsort(s->range, s->n, sizeof *s->range, by_first);
    size_t kept = 1;
    for (size_t i = 1; i < s->n; i++) {
        uint32_t *last = &s->range[kept - 1][1];
        if (s->range[i][0] <= *last + 1) {
            if (s->range[i][1] > *last) *last = s->range[i][1];
        } else {
            memmove(s->range[kept++], s->range[i], sizeof *s->range);
        }
    }
    s->n = kept;
}

bool vtext_set_negate(vtext_parse *x, vtext_set *s) {
    vtext_set out = { 0 };
    uint32_t next = 0;
    vtext_set_normalize(s);
    for (size_t i = 0; i < s->n; i++) {
        if (s->range[i][0] > next && !vtext_set_add(x, &out, next, s->range[i][0] - 1))
            return false;
        next = s->range[i][1] + 1;
    }
    if (next <= LAST && !vtext_set_add(x, &out, next, LAST)) return false;
    *s = out;
    return true;
}

bool vtext_set_intersect(vtext_parse *x, vtext_set *s, const vtext_set *other) {
    vtext_set rest = { 0 };
    return vtext_set_add_all(x, &rest, other) && vtext_set_negate(x, &rest)
           && vtext_set_negate(x, s) && vtext_set_add_all(x, s, &rest) && vtext_set_negate(x, s);
}

bool vtext_set_has(const vtext_set *s, uint32_t cp) {
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->range[middle][1] < cp)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n && s->range[low][0] <= cp;
}

/* Characters fold alike in twos and threes: each gets its fold, each fold all that fold to it. */
bool vtext_set_fold(vtext_parse *x, vtext_set *s) {
    vtext_set more = { 0 }, folded = { 0 };
    uint32_t from, to;
    vtext_set_normalize(s);
    for (vtext_fold_at at = { 0 }; vtext_fold_next(&at, &from, &to);)
        if (vtext_set_has(s, from) && !vtext_set_add(x, &folded, to, to)) return false;
    if (!vtext_set_add_all(x, &folded, s)) return false;
    vtext_set_normalize(&folded);
    for (vtext_fold_at at = { 0 }; vtext_fold_next(&at, &from, &to);)
        if (vtext_set_has(&folded, to) && !vtext_set_add(x, &more, from, from)) return false;
    if (!vtext_set_add_all(x, &more, &folded)) return false;
    vtext_set_normalize(&more);
    *s = more;
    return true;
}

/* ---- properties ----------------------------------------------------------------------------- */
bool vtext_set_property(vtext_parse *x, vtext_set *s, vcore_str name, bool *known) {
    char plain[VTEXT_PROPERTY_NAME + 1];
    size_t n = 0;
    *known = false;
    for (size_t i = 0; i < name.n; i++) { /* case, blanks, '-' and '_' do not count */
        char c = name.p[i];
        if (c == ' ' || c == '-' || c == '_') continue;
        if (n == VTEXT_PROPERTY_NAME) return true;
        plain[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    plain[n] = 0;
    vtext_property property;
    if (!(*known = vtext_find_property(plain, &property))) return true;
    vtext_range range;
    for (size_t at = 0; vtext_property_next(&property, &at, &range);)
        if (!vtext_set_add(x, s, range.first, range.last)) return false;
    return true;
}

/* \w and \b outside of classes: six superscripts and fractions of Latin-1 are words there. */
bool vtext_set_word(vtext_parse *x, vtext_set *s) {
    bool known;
    bool ok = vtext_set_property(x, s, vcore_str_of("word"), &known)
              && vtext_set_add(x, s, 0xB2, 0xB3) && vtext_set_add(x, s, 0xB9, 0xB9)
              && vtext_set_add(x, s, 0xBC, 0xBE);
    if (ok) vtext_set_normalize(s);
    return ok;
}

int vtext_set_intern(vtext_parse *x, const vtext_set *s) {
    for (int i = 0; i < x->sets; i++)
        if (x->set[i]->n == s->n
            && (!s->n || memcmp(x->set[i]->range, s->range, s->n * sizeof *s->range) == 0))
            return i;
    if (x->sets == VTEXT_REGEX_SETS) {
        vtext_parse_fail(x, VLM_ERR_LIMIT, x->at, "more than %d sets of characters",
                         VTEXT_REGEX_SETS);
        return -1;
    }
    vtext_set *kept = vcore_arena_alloc(x->arena, sizeof *kept);
    if (!kept) {
        vtext_parse_fail(x, VLM_ERR_MEMORY, x->at, "no memory");
        return -1;
    }
    *kept = *s;
    x->set[x->sets] = kept;
    return x->sets++;
}
