/* SPDX-License-Identifier: MIT */
/* Running an automaton over a text: backwards once, then forwards from match to match. */
#include "text/regex/regex.h"

enum { CONTINUES = UINT16_MAX }; /* in place of a state: no character begins here */

/* The class of each character, at its first byte. */
static void classify(const vtext_regex *r, const char *p, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n;) {
        uint8_t c = (uint8_t)p[i];
        if (c < 0x80) {
            out[i++] = r->ascii[c];
            continue;
        }
        uint32_t cp;
        size_t next = i + vcore_utf8_decode(p + i, n - i, &cp);
        out[i++] = r->class[(size_t)r->block[cp / VTEXT_BLOCK] * VTEXT_BLOCK + cp % VTEXT_BLOCK];
        while (i < next) out[i++] = CONTINUES;
    }
}

void vtext_regex_start(vtext_scan *s) {
    const vtext_regex *r = s->pattern->regex;
    s->state = s->local;
    if (s->n >= VTEXT_SCAN_LOCAL) s->state = vcore_realloc_array(NULL, s->n + 1, sizeof *s->state);
    s->failed = !s->state;
    if (s->failed) return;
    classify(r, s->p, s->n, s->state);
    uint16_t state = 0;
    s->state[s->n] = 0;
    for (size_t i = s->n; i--;) {
        if (s->state[i] == CONTINUES) continue;
        state = r->before[((size_t)state << r->shift) + s->state[i]];
        s->state[i] = state;
    }
    s->steps = s->n;
}

static inline size_t following(const vtext_scan *s, size_t at) {
    do at++;
    while (at < s->n && s->state[at] == CONTINUES);
    return at;
}

bool vtext_regex_next(vtext_scan *s, size_t *begin, size_t *end) {
    const vtext_regex *r = s->pattern->regex;
    size_t nodes = (size_t)r->nodes, kinds = (size_t)r->kinds, at = s->from;
    uint8_t kind = at ? r->kind[s->state[s->before]] : r->begin_kind;
    bool after = s->after;
    while (at <= s->n && !s->failed) {
        uint16_t node = r->walk[(s->state[at] * kinds + kind) * nodes];
        s->steps++;
        if (node == VTEXT_WALK_NONE || (node == VTEXT_WALK_MATCH && after)) {
            after = false;
            s->before = at;
            kind = r->kind[s->state[at]];
            at = following(s, at);
            continue;
        }
        *begin = at;
        while (node != VTEXT_WALK_MATCH) {
            s->before = at;
            kind = r->kind[s->state[at]];
            at = following(s, at);
            node = r->walk[(s->state[at] * kinds + kind) * nodes + node];
            s->steps++;
        }
        s->from = *end = at;
        s->after = true;
        return true;
    }
    s->from = s->n + 1;
    return false;
}
