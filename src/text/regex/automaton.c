/* SPDX-License-Identifier: MIT */
/* Programs to automata. A state says of a place in a text which instructions that read a character
 * would succeed there, so it follows from the state behind the next character: the automaton reads
 * texts backwards. Looking ahead is then looking up, and the first way to match is found forwards
 * without a try. */
#include "text/regex/regex.h"

#include <stdlib.h>

enum { WORDS = VTEXT_REGEX_PROGRAM / 64, MAX_WORK = 1 << 26 };

typedef struct builder {
    vtext_parse *x;
    const vtext_program *program;
    vcore_arena *arena; /* of the result */
    vtext_regex *out;
    int classes, words;                                          /* words: of a set of leaves */
    uint32_t member[VTEXT_REGEX_CLASSES][VTEXT_REGEX_SETS / 32]; /* sets that a class lies in */
    uint8_t kind_of[VTEXT_REGEX_CLASSES]; /* of a class, for what looks behind */
    uint32_t kind[VTEXT_REGEX_CLASSES][VTEXT_REGEX_SETS / 32];
    bool begin[VTEXT_REGEX_CLASSES]; /* of kinds: there is no character */
    int leaves;
    uint16_t *leaf, *leaf_of; /* leaf -> instruction and back */
    uint16_t *node, *node_of; /* node -> instruction and back */
    uint16_t *order;          /* instructions, each behind those it asks */
    uint64_t *mask;           /* [class][word]: leaves that take it */
    uint64_t *state;          /* [state][word] */
    uint32_t *slot;           /* hash table: state + 1 */
    size_t cap, slots, work;
    uint8_t *value;          /* of instructions */
    uint16_t *before, *walk; /* growing tables of the result */
    uint8_t *state_kind;
} builder;

static bool no_memory(builder *b) {
    return vtext_parse_fail(b->x, VLM_ERR_MEMORY, b->x->text.n, "no memory");
}

static bool limit(builder *b, const char *what) {
    return vtext_parse_fail(b->x, VLM_ERR_LIMIT, b->x->text.n, "its automaton needs too many %s",
                            what);
}

/* ---- classes: characters that no set tells apart ----------------------------------------------
 */
static int by_value(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Class of the members given, new if need be; -1: too many. */
static int class_of(builder *b, const uint32_t *member) {
    size_t bytes = sizeof b->member[0];
    for (int c = 0; c < b->classes; c++)
        if (memcmp(b->member[c], member, bytes) == 0) return c;
    if (b->classes == VTEXT_REGEX_CLASSES) {
        limit(b, "classes of characters");
        return -1;
    }
    memcpy(b->member[b->classes], member, bytes);
    return b->classes++;
}

/* Writes the classes of [first, last] into the blocks, which are made as they are needed. */
typedef struct painter {
    uint16_t *block;
    uint8_t *class;
    int used, uniform[VTEXT_REGEX_CLASSES]; /* block of one class only; -1: none yet */
} painter;

static void paint(painter *p, uint32_t first, uint32_t last, int class) {
    while (first <= last) {
        uint32_t at = first / VTEXT_BLOCK, end = (at + 1) * VTEXT_BLOCK - 1;
        uint32_t to = last < end ? last : end;
        if (first % VTEXT_BLOCK == 0 && to == end && p->uniform[class] >= 0) {
            p->block[at] = (uint16_t)p->uniform[class];
        } else {
            if (first % VTEXT_BLOCK == 0) p->block[at] = (uint16_t)p->used++;
            memset(p->class + (size_t)p->block[at] * VTEXT_BLOCK + first % VTEXT_BLOCK, class,
                   to - first + 1);
            if (first % VTEXT_BLOCK == 0 && to == end) p->uniform[class] = p->block[at];
        }
        first = to + 1;
    }
}

/* All edges of ranges, sorted, each once. */
static uint32_t *edges_of(builder *b, size_t *n) {
    size_t total = 1, kept = 1;
    for (int i = 0; i < b->x->sets; i++) total += 2 * b->x->set[i]->n;
    uint32_t *edge = vcore_arena_array(b->x->arena, total + 1, sizeof *edge);
    if (!edge) {
        no_memory(b);
        return NULL;
    }
    *n = 1;
    for (int i = 0; i < b->x->sets; i++)
        for (size_t k = 0; k < b->x->set[i]->n; k++) {
            edge[(*n)++] = b->x->set[i]->range[k][0];
            edge[(*n)++] = b->x->set[i]->range[k][1] + 1;
        }
    qsort(edge, *n, sizeof *edge, by_value);
    for (size_t i = 1; i < *n; i++)
        if (edge[i] != edge[kept - 1] && edge[i] <= 0x10FFFF) edge[kept++] = edge[i];
    edge[kept] = 0x110000;
    *n = kept;
    return edge;
}

static bool find_classes(builder *b) {
    size_t n, *next = vcore_arena_array(b->x->arena, VTEXT_REGEX_SETS, sizeof *next);
    uint32_t *edge = edges_of(b, &n), member[VTEXT_REGEX_SETS / 32] = { 0 };
    if (!edge || !next) return no_memory(b);
    painter p = { .used = 0 };
    memset(p.uniform, -1, sizeof p.uniform);
    size_t blocks = n + VTEXT_REGEX_CLASSES; /* of several classes, and of one */
    p.block = vcore_arena_array(b->x->arena, 0x110000 / VTEXT_BLOCK, sizeof *p.block);
    p.class = vcore_arena_array(b->x->arena, blocks, VTEXT_BLOCK);
    if (!p.block || !p.class) return no_memory(b);
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < b->x->sets; k++) {
            const vtext_set *s = b->x->set[k];
            while (next[k] < s->n && s->range[next[k]][1] < edge[i]) next[k]++;
            bool in = next[k] < s->n && s->range[next[k]][0] <= edge[i];
            member[k / 32] = (member[k / 32] & ~(1u << k % 32)) | (uint32_t)in << k % 32;
        }
        int class = class_of(b, member);
        if (class < 0) return false;
        paint(&p, edge[i], edge[i + 1] - 1, class);
    }
    size_t bytes = (size_t)p.used * VTEXT_BLOCK;
    uint16_t *block = vcore_arena_array(b->arena, 0x110000 / VTEXT_BLOCK, sizeof *block);
    uint8_t *class = vcore_arena_alloc(b->arena, bytes);
    if (!block || !class) return no_memory(b);
    memcpy(block, p.block, 0x110000 / VTEXT_BLOCK * sizeof *block);
    memcpy(class, p.class, bytes);
    b->out->block = block;
    b->out->class = class;
    memcpy(b->out->ascii, class + (size_t)block[0] * VTEXT_BLOCK, 128);
    return true;
}

/* Kinds: classes, and the beginning, that nothing tells apart which looks behind. */
static int kind_of(builder *b, const uint32_t *seen, bool begin) {
    for (int k = 0; k < b->out->kinds; k++)
        if (b->begin[k] == begin && memcmp(b->kind[k], seen, sizeof b->kind[k]) == 0) return k;
    if (b->out->kinds == VTEXT_REGEX_CLASSES) return -1;
    memcpy(b->kind[b->out->kinds], seen, sizeof b->kind[0]);
    b->begin[b->out->kinds] = begin;
    return b->out->kinds++;
}

static bool find_kinds(builder *b) {
    uint32_t asked[VTEXT_REGEX_SETS / 32] = { 0 }, seen[VTEXT_REGEX_SETS / 32] = { 0 };
    bool asks_begin = false;
    for (int i = 0; i < b->program->n; i++) {
        const vtext_inst *inst = &b->program->inst[i];
        if (inst->op != VTEXT_OP_BEHIND) continue;
        asks_begin |= inst->begin;
        if (inst->set >= 0) asked[inst->set / 32] |= 1u << inst->set % 32;
    }
    int begin = kind_of(b, seen, asks_begin);
    b->out->begin_kind = (uint8_t)begin;
    for (int c = 0; c < b->classes; c++) {
        for (int w = 0; w < VTEXT_REGEX_SETS / 32; w++) seen[w] = b->member[c][w] & asked[w];
        int kind = kind_of(b, seen, false);
        if (kind < 0) return limit(b, "classes of characters");
        b->kind_of[c] = (uint8_t)kind;
    }
    return true;
}

/* ---- instructions --------------------------------------------------------------------------- */
static int asks(const vtext_inst *inst, uint16_t out[3]) {
    switch (inst->op) {
    case VTEXT_OP_SPLIT:
        out[0] = inst->a;
        out[1] = inst->b;
        return 2;
    case VTEXT_OP_IF:
        out[0] = inst->a;
        out[1] = inst->b;
        out[2] = inst->guard;
        return 3;
    case VTEXT_OP_AHEAD:
        out[0] = inst->a;
        out[1] = inst->guard;
        return 2;
    case VTEXT_OP_BEHIND:
    case VTEXT_OP_END: out[0] = inst->a; return 1;
    default: return 0;
    }
}

static bool find_order(builder *b) {
    int n = b->program->n, ordered = 0;
    uint16_t *stack = vcore_arena_array(b->x->arena, (size_t)n * 4, sizeof *stack), next[3];
    uint8_t *seen = vcore_arena_alloc(b->x->arena, (size_t)n);
    b->order = vcore_arena_array(b->x->arena, (size_t)n, sizeof *b->order);
    if (!stack || !seen || !b->order) return no_memory(b);
    for (int root = 0; root < n; root++) {
        size_t depth = 0;
        if (!seen[root]) stack[depth++] = (uint16_t)root;
        while (depth) {
            uint16_t i = stack[depth - 1];
            if (seen[i]) { /* all it asks is ordered, or it was met on another way */
                depth--;
                if (seen[i] == 1) b->order[ordered++] = i;
                seen[i] = 2;
                continue;
            }
            seen[i] = 1;
            for (int k = asks(&b->program->inst[i], next); k--;)
                if (!seen[next[k]]) stack[depth++] = next[k];
        }
    }
    return true;
}

static bool find_leaves(builder *b) {
    int n = b->program->n;
    b->leaf = vcore_arena_array(b->x->arena, (size_t)n, sizeof *b->leaf);
    b->leaf_of = vcore_arena_array(b->x->arena, (size_t)n, sizeof *b->leaf_of);
    b->node = vcore_arena_array(b->x->arena, (size_t)n + 1, sizeof *b->node);
    b->node_of = vcore_arena_array(b->x->arena, (size_t)n, sizeof *b->node_of);
    b->value = vcore_arena_alloc(b->x->arena, (size_t)n);
    if (!b->leaf || !b->leaf_of || !b->node || !b->node_of || !b->value) return no_memory(b);
    memset(b->node_of, 0xFF, (size_t)n * sizeof *b->node_of);
    b->node[b->out->nodes++] = (uint16_t)b->program->root;
    for (int i = 0; i < n; i++) {
        const vtext_inst *inst = &b->program->inst[i];
        if (inst->op != VTEXT_OP_SET) continue;
        b->leaf_of[i] = (uint16_t)b->leaves;
        b->leaf[b->leaves++] = (uint16_t)i;
        if (b->node_of[inst->a] != UINT16_MAX) continue;
        b->node_of[inst->a] = (uint16_t)b->out->nodes;
        b->node[b->out->nodes++] = inst->a;
    }
    b->words = b->leaves / 64 + 1; /* one bit more: the end of the text */
    b->mask = vcore_arena_array(b->x->arena, (size_t)b->classes * (size_t)b->words, 8);
    if (!b->mask) return no_memory(b);
    for (int c = 0; c < b->classes; c++)
        for (int l = 0; l < b->leaves; l++) {
            int set = b->program->inst[b->leaf[l]].set;
            if (b->member[c][set / 32] >> set % 32 & 1)
                b->mask[(size_t)c * (size_t)b->words + (size_t)l / 64] |= UINT64_C(1) << l % 64;
        }
    return true;
}

/* ---- states --------------------------------------------------------------------------------- */
static bool has(const uint64_t *bits, int i) {
    return bits[i / 64] >> i % 64 & 1;
}

static bool rehash(builder *b) {
    size_t slots = b->slots ? b->slots * 2 : 64;
    uint32_t *slot = vcore_arena_array(b->x->arena, slots, sizeof *slot);
    if (!slot) return no_memory(b);
    b->slot = slot;
    b->slots = slots;
    size_t words = (size_t)b->words;
    for (int s = 0; s < b->out->states; s++) {
        vcore_str key = { (const char *)(b->state + (size_t)s * words), words * 8 };
        size_t at = vcore_hash(b->state_kind[s], key) & (slots - 1);
        while (slot[at]) at = (at + 1) & (slots - 1);
        slot[at] = (uint32_t)s + 1;
    }
    return true;
}

static bool grow(builder *b) {
    size_t cap = b->cap ? b->cap * 2 : 32, row = (size_t)1 << b->out->shift;
    size_t walk = (size_t)b->out->nodes * (size_t)b->out->kinds, words = (size_t)b->words;
    size_t used = b->cap;
    if ((row + walk) * b->cap * 2 > VTEXT_REGEX_TABLE || cap > VTEXT_REGEX_STATES)
        return limit(b, "states");
    uint64_t *state = vcore_arena_array(b->x->arena, cap, words * 8);
    uint16_t *before = vcore_arena_array(b->x->arena, cap, row * 2);
    uint16_t *walks = vcore_arena_array(b->x->arena, cap, walk * 2);
    uint8_t *kind = vcore_arena_alloc(b->x->arena, cap);
    if (!state || !before || !walks || !kind) return no_memory(b);
    if (used) {
        memcpy(state, b->state, used * words * 8);
        memcpy(before, b->before, used * row * 2);
        memcpy(walks, b->walk, used * walk * 2);
        memcpy(kind, b->state_kind, used);
    }
    b->state = state;
    b->before = before;
    b->walk = walks;
    b->state_kind = kind;
    b->cap = cap;
    return true;
}

/* The state with these leaves behind a character of this kind; -1: failed. */
static int intern(builder *b, const uint64_t *bits, uint8_t kind) {
    size_t words = (size_t)b->words;
    vcore_str key = { (const char *)bits, words * 8 };
    if ((size_t)b->out->states * 2 >= b->slots && !rehash(b)) return -1;
    size_t at = vcore_hash(kind, key) & (b->slots - 1);
    for (; b->slot[at]; at = (at + 1) & (b->slots - 1)) {
        uint32_t s = b->slot[at] - 1;
        if (b->state_kind[s] == kind && memcmp(b->state + s * words, bits, words * 8) == 0)
            return (int)s;
    }
    if ((size_t)b->out->states == b->cap && !grow(b)) return -1;
    int s = b->out->states++;
    memcpy(b->state + (size_t)s * words, bits, words * 8);
    b->state_kind[s] = kind;
    b->slot[at] = (uint32_t)s + 1;
    return s;
}

/* Which instructions would succeed at a place, for a kind of the character before it. */
static void evaluate(builder *b, const uint64_t *bits, int kind) {
    for (int k = 0; k < b->program->n; k++) {
        uint16_t i = b->order[k];
        const vtext_inst *inst = &b->program->inst[i];
        uint8_t *v = &b->value[i];
        switch (inst->op) {
        case VTEXT_OP_ACCEPT: *v = 1; break;
        case VTEXT_OP_FAIL: *v = 0; break;
        case VTEXT_OP_SET: *v = has(bits, b->leaf_of[i]); break;
        case VTEXT_OP_END: *v = has(bits, b->leaves) && b->value[inst->a]; break;
        case VTEXT_OP_SPLIT: *v = b->value[inst->a] | b->value[inst->b]; break;
        case VTEXT_OP_IF: *v = b->value[b->value[inst->guard] ? inst->a : inst->b]; break;
        case VTEXT_OP_AHEAD:
            *v = (b->value[inst->guard] != inst->negate) && b->value[inst->a];
            break;
        default: {
            bool is = inst->begin && b->begin[kind];
            if (inst->set >= 0) is |= b->kind[kind][inst->set / 32] >> inst->set % 32 & 1;
            *v = is != inst->negate && b->value[inst->a];
        }
        }
    }
}

/* Where the first way from an instruction that succeeds leads to. */
static uint16_t walk_from(const builder *b, uint16_t i) {
    if (!b->value[i]) return VTEXT_WALK_NONE;
    for (;;) {
        const vtext_inst *inst = &b->program->inst[i];
        switch (inst->op) {
        case VTEXT_OP_ACCEPT: return VTEXT_WALK_MATCH;
        case VTEXT_OP_SET: return b->node_of[inst->a];
        case VTEXT_OP_SPLIT: i = b->value[inst->a] ? inst->a : inst->b; break;
        case VTEXT_OP_IF: i = b->value[inst->guard] ? inst->a : inst->b; break;
        default: i = inst->a;
        }
    }
}

/* The rows of one state. */
static bool expand(builder *b, int s) {
    size_t words = (size_t)b->words, nodes = (size_t)b->out->nodes;
    uint64_t bits[WORDS + 1], next[WORDS + 1], ready[WORDS + 1];
    memcpy(bits, b->state + (size_t)s * words, words * 8);
    for (int kind = 0; kind < b->out->kinds; kind++) {
        evaluate(b, bits, kind);
        b->work += (size_t)b->program->n * 2 + nodes + (size_t)b->classes * words;
        if (b->work > MAX_WORK) return limit(b, "states");
        uint16_t *walk = b->walk + ((size_t)s * (size_t)b->out->kinds + (size_t)kind) * nodes;
        for (size_t k = 0; k < nodes; k++) walk[k] = walk_from(b, b->node[k]);
        memset(ready, 0, sizeof ready);
        for (int l = 0; l < b->leaves; l++)
            if (b->value[b->program->inst[b->leaf[l]].a]) ready[l / 64] |= UINT64_C(1) << l % 64;
        for (int c = 0; c < b->classes; c++) {
            if (b->kind_of[c] != kind) continue;
            for (size_t w = 0; w < words; w++) next[w] = ready[w] & b->mask[(size_t)c * words + w];
            int before = intern(b, next, b->kind_of[c]);
            if (before < 0) return false;
            b->before[((size_t)s << b->out->shift) + (size_t)c] = (uint16_t)before;
        }
    }
    return true;
}

static bool find_states(builder *b) {
    uint64_t bits[WORDS + 1] = { 0 };
    bits[b->leaves / 64] = UINT64_C(1) << b->leaves % 64;
    while (1 << b->out->shift < b->classes) b->out->shift++;
    if (intern(b, bits, 0) < 0) return false;
    for (int s = 0; s < b->out->states; s++)
        if (!expand(b, s)) return false;
    return true;
}

static const void *keep(builder *b, const void *p, size_t bytes) {
    void *out = vcore_arena_alloc(b->arena, bytes);
    if (out) memcpy(out, p, bytes);
    return out;
}

vlm_status vtext_automaton(vtext_parse *x, const vtext_program *program, vcore_arena *arena,
                           const vtext_regex **out) {
    builder *b = vcore_arena_alloc(x->arena, sizeof *b);
    vtext_regex *regex = vcore_arena_alloc(arena, sizeof *regex);
    if (!b || !regex) {
        vtext_parse_fail(x, VLM_ERR_MEMORY, x->text.n, "no memory");
        return x->status;
    }
    b->x = x;
    b->program = program;
    b->arena = arena;
    b->out = regex;
    if (!find_classes(b) || !find_kinds(b) || !find_order(b) || !find_leaves(b) || !find_states(b))
        return x->status;
    size_t states = (size_t)regex->states;
    regex->before = keep(b, b->before, (states << regex->shift) * 2);
    regex->walk = keep(b, b->walk, states * (size_t)regex->kinds * (size_t)regex->nodes * 2);
    regex->kind = keep(b, b->state_kind, states);
    if (!regex->before || !regex->walk || !regex->kind) {
        no_memory(b);
        return x->status;
    }
    *out = regex;
    return VLM_OK;
}
