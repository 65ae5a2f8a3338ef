/* SPDX-License-Identifier: MIT */
/* A pattern, a NUL byte, a text. What is compiled finds what a plain backtracking matcher over the
 * same tree finds (as far as that one's patience reaches), in at most three steps per byte. */
#include "text/regex/regex.h"

enum { PATIENCE = 20000, DEPTH = 2000, MAX_TEXT = 200 };

typedef struct slow {
    const vtext_parse *x;
    uint32_t cp[MAX_TEXT];
    size_t n;
    int steps, depth;
} slow;

/* What remains to be matched behind a node: a node, or another round of a loop. */
typedef struct rest {
    const vtext_node *node, *loop; /* loop: of this repetition, which began at `begin` */
    int count;
    size_t begin;
    const struct rest *next;
} rest;

static long match_rest(slow *m, const rest *r, size_t at);

static bool tired(const slow *m) {
    return m->steps > PATIENCE || m->depth > DEPTH;
}

/* Before node's children up to k, from the first one on: a chain of what remains, the last child
 * last. */
static long match_children(slow *m, const vtext_node *k, const rest *r, size_t at) {
    if (!k) return match_rest(m, r, at);
    rest own = { k, NULL, 0, 0, r };
    if (!k->prev) return match_rest(m, &own, at);
    return match_children(m, k->prev, &own, at);
}

static long match_choice(slow *m, const vtext_node *k, const rest *r, size_t at) {
    if (!k) return -1;
    long end = match_choice(m, k->prev, r, at);
    rest own = { k, NULL, 0, 0, r };
    return end >= 0 || tired(m) ? end : match_rest(m, &own, at);
}

/* `count` rounds are done. A round that was empty ends a loop without end. */
static long match_loop(slow *m, const vtext_node *node, int count, const rest *r, size_t at) {
    rest again = { NULL, node, count + 1, at, r }, body = { node->last, NULL, 0, 0, &again };
    if (count < node->min) return match_rest(m, &body, at);
    bool more = node->max < 0 || count < node->max;
    long end = -1;
    if (more && !node->lazy) end = match_rest(m, &body, at);
    if (end < 0 && !tired(m)) end = match_rest(m, r, at);
    if (end < 0 && more && node->lazy && !tired(m)) end = match_rest(m, &body, at);
    return end;
}

static long match_node(slow *m, const vtext_node *node, const rest *r, size_t at) {
    const rest alone = { node->last, NULL, 0, 0, NULL };
    const vtext_set *set = node->set >= 0 ? m->x->set[node->set] : NULL;
    long end;
    switch (node->kind) {
    case VTEXT_NODE_SEQUENCE: return match_children(m, node->last, r, at);
    case VTEXT_NODE_CHOICE: return match_choice(m, node->last, r, at);
    case VTEXT_NODE_SET:
        return at < m->n && vtext_set_has(set, m->cp[at]) ? match_rest(m, r, at + 1) : -1;
    case VTEXT_NODE_REPEAT: return match_loop(m, node, 0, r, at);
    case VTEXT_NODE_ATOMIC:
        end = match_rest(m, &alone, at);
        return end < 0 || tired(m) ? -1 : match_rest(m, r, (size_t)end);
    case VTEXT_NODE_AHEAD:
        end = match_rest(m, &alone, at);
        return (end >= 0) != node->negate && !tired(m) ? match_rest(m, r, at) : -1;
    case VTEXT_NODE_BEHIND: {
        bool is = at ? set && vtext_set_has(set, m->cp[at - 1]) : node->begin;
        return is != node->negate ? match_rest(m, r, at) : -1;
    }
    case VTEXT_NODE_END: return at == m->n ? match_rest(m, r, at) : -1;
    }
    return -1;
}

/* The end of the first match, -1: none (or tired). */
static long match_rest(slow *m, const rest *r, size_t at) {
    long end;
    if (!r) return (long)at;
    m->steps++;
    if (tired(m)) return -1;
    m->depth++;
    if (!r->loop)
        end = match_node(m, r->node, r->next, at);
    else if (r->loop->max < 0 && r->begin == at)
        end = match_rest(m, r->next, at);
    else
        end = match_loop(m, r->loop, r->count, r->next, at);
    m->depth--;
    return end;
}

/* The slow matcher's next match at or behind *from, as the reference steps from match to match. */
static bool slow_next(slow *m, const vtext_node *tree, size_t *from, bool *after, size_t *begin,
                      size_t *end) {
    for (; *from <= m->n && !tired(m); ++*from, *after = false) {
        const rest all = { tree, NULL, 0, 0, NULL };
        long e = match_rest(m, &all, *from);
        if (tired(m) || e < 0 || ((size_t)e == *from && *after)) continue;
        *begin = *from;
        *from = *end = (size_t)e;
        return *after = true;
    }
    return false;
}

static void compare(const vtext_regex *regex, vcore_str pattern, const char *p, size_t n) {
    static slow m;
    size_t place[MAX_TEXT + 1], from = 0, begin, end, b, e;
    bool after = false;
    vcore_arena *arena = vcore_arena_new();
    vtext_parse x = { .arena = arena, .text = pattern, .where = "" };
    const vtext_node *tree = vtext_parse_tree(&x);
    if (!tree) __builtin_trap();
    m.x = &x;
    m.n = 0;
    m.steps = m.depth = 0;
    for (size_t i = 0; i < n; m.n++) {
        place[m.n] = i;
        i += vcore_utf8_decode(p + i, n - i, &m.cp[m.n]);
    }
    place[m.n] = n;
    vtext_pattern by = { .regex = regex };
    vtext_scan s;
    vtext_pattern_start(&s, &by, p, n);
    for (bool more = true; more;) {
        more = vtext_pattern_next(&s, &begin, &end);
        bool found = slow_next(&m, tree, &from, &after, &b, &e);
        if (tired(&m)) break;
        if (more != found || (more && (begin != place[b] || end != place[e]))) __builtin_trap();
    }
    if (s.failed || s.steps > 3 * n + 2) __builtin_trap();
    vtext_pattern_done(&s);
    vcore_arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *p = (const char *)data, *nul = size ? memchr(p, 0, size) : NULL;
    vcore_str pattern = { p, nul ? (size_t)(nul - p) : size };
    const char *text = nul ? nul + 1 : p;
    size_t n = nul ? size - pattern.n - 1 : 0;
    vcore_arena *arena = vcore_arena_new();
    const vtext_regex *regex;
    vlm_error err = VLM_ERROR_INIT;
    if (!vcore_utf8_valid(pattern.p, pattern.n)) pattern.n = 0;
    vlm_status status = vtext_regex_parse(&regex, pattern, "f", arena, &err);
    if ((status != VLM_OK) != !regex || status != err.code) __builtin_trap();
    if (regex) compare(regex, pattern, text, n < MAX_TEXT ? n : MAX_TEXT);
    vcore_arena_free(arena);
    return 0;
}
