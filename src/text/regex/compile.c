/* SPDX-License-Identifier: MIT */
/* Trees to programs, each part made with what follows it in hand. Counts are written out. */
#include "text/regex/regex.h"

typedef struct compiler {
    vtext_parse *x;
    vtext_program *out;
} compiler;

/* Two ways on: k0 where nothing was consumed since the innermost loop around was entered, k1
 * where something was. A loop whose body may be empty is left as soon as the body was: that is
 * Oniguruma's rule, and with it no way through the program turns without consuming. */
typedef struct ways {
    int k0, k1;
} ways;

enum { ACCEPT, ACCEPT_TOO }; /* the first two instructions */

static int emit(compiler *c, vtext_inst inst) {
    vtext_program *p = c->out;
    if (c->x->status < 0) return 0;
    if (p->n == VTEXT_REGEX_PROGRAM) {
        vtext_parse_fail(c->x, VLM_ERR_LIMIT, c->x->text.n, "more than %d instructions",
                         VTEXT_REGEX_PROGRAM);
        return 0;
    }
    if (p->n == p->cap) {
        int cap = p->cap ? p->cap * 2 : 64;
        vtext_inst *more = vcore_arena_array(c->x->arena, (size_t)cap, sizeof *more);
        if (!more) {
            vtext_parse_fail(c->x, VLM_ERR_MEMORY, c->x->text.n, "no memory");
            return 0;
        }
        if (p->n) memcpy(more, p->inst, (size_t)p->n * sizeof *more);
        p->inst = more;
        p->cap = cap;
    }
    p->inst[p->n] = inst;
    return p->n++;
}

static int split(compiler *c, bool lazy, int body, int exit) {
    return emit(c, (vtext_inst) { .op = VTEXT_OP_SPLIT,
                                  .a = (uint16_t)(lazy ? exit : body),
                                  .b = (uint16_t)(lazy ? body : exit) });
}

static bool nullable(const vtext_node *node) {
    switch (node->kind) {
    case VTEXT_NODE_SET: return false;
    case VTEXT_NODE_SEQUENCE:
        for (const vtext_node *k = node->last; k; k = k->prev)
            if (!nullable(k)) return false;
        return true;
    case VTEXT_NODE_CHOICE:
        for (const vtext_node *k = node->last; k; k = k->prev)
            if (nullable(k)) return true;
        return false;
    case VTEXT_NODE_REPEAT: return node->min == 0 || nullable(node->last);
    case VTEXT_NODE_ATOMIC: return nullable(node->last);
    default: return true;
    }
}

static int part(compiler *c, const vtext_node *node, int k0, int k1);

/* node before w. */
static ways prepend(compiler *c, const vtext_node *node, ways w) {
    int k1 = part(c, node, w.k1, w.k1);
    return (ways) { w.k0 == w.k1 ? k1 : part(c, node, w.k0, w.k1), k1 };
}

/* body* before exit; entered: body+. */
static ways loop(compiler *c, const vtext_node *node, bool entered, ways exit) {
    const vtext_node *body = node->last;
    bool empty = nullable(body);
    int l1 = split(c, node->lazy, 0, exit.k1);
    int b1 = part(c, body, empty ? exit.k1 : l1, l1), b0 = b1, l0 = l1;
    if (c->x->status < 0) return exit;
    *(node->lazy ? &c->out->inst[l1].b : &c->out->inst[l1].a) = (uint16_t)b1;
    if (exit.k0 != exit.k1) {
        if (empty) b0 = part(c, body, exit.k0, l1);
        if (!entered) l0 = split(c, node->lazy, b0, exit.k0);
    }
    return entered ? (ways) { b0, b1 } : (ways) { l0, l1 };
}

static int repeat(compiler *c, const vtext_node *node, ways exit) {
    ways w = exit;
    int copies = node->min;
    if (node->max < 0) {
        w = loop(c, node, copies > 0, exit);
        if (copies) copies--;
    }
    for (int i = node->min; i < node->max && c->x->status >= 0; i++) {
        ways body = prepend(c, node->last, w);
        w.k1 = split(c, node->lazy, body.k1, exit.k1);
        w.k0 = exit.k0 == exit.k1 ? w.k1 : split(c, node->lazy, body.k0, exit.k0);
    }
    for (int i = 0, before = -1; i < copies && c->out->n != before; i++) {
        before = c->out->n; /* copies of nothing need not be counted */
        w = prepend(c, node->last, w);
    }
    return w.k0;
}

/* The first way through the body is the only one. So the body is made twice, alone and with what
 * follows, instruction by instruction alike; where a way divides in the latter, it goes as the
 * former says. */
static int atomic(compiler *c, const vtext_node *node, int k0, int k1) {
    int alone = c->out->n;
    part(c, node->last, ACCEPT, k0 == k1 ? ACCEPT : ACCEPT_TOO);
    int begin = c->out->n, root = part(c, node->last, k0, k1), end = c->out->n;
    if (c->x->status < 0) return 0;
    for (int i = begin; i < end; i++) {
        vtext_inst *inst = &c->out->inst[i];
        if (inst->op != VTEXT_OP_SPLIT) continue;
        inst->op = VTEXT_OP_IF;
        inst->guard =
            inst->a >= begin && inst->a < end ? (uint16_t)(inst->a - begin + alone) : ACCEPT;
    }
    return root;
}

static int part(compiler *c, const vtext_node *node, int k0, int k1) {
    ways w = { k0, k1 };
    if (c->x->status < 0) return 0;
    switch (node->kind) {
    case VTEXT_NODE_SEQUENCE:
        for (const vtext_node *k = node->last; k; k = k->prev) {
            if (!k->prev) return part(c, k, w.k0, w.k1);
            w = prepend(c, k, w);
        }
        return k0;
    case VTEXT_NODE_CHOICE: {
        const vtext_node *k = node->last;
        int rest = part(c, k, k0, k1);
        while ((k = k->prev)) rest = split(c, false, part(c, k, k0, k1), rest);
        return rest;
    }
    case VTEXT_NODE_SET:
        return emit(
            c, (vtext_inst) { .op = VTEXT_OP_SET, .set = (int16_t)node->set, .a = (uint16_t)k1 });
    case VTEXT_NODE_REPEAT: return repeat(c, node, w);
    case VTEXT_NODE_ATOMIC: return atomic(c, node, k0, k1);
    case VTEXT_NODE_AHEAD: {
        int guard = part(c, node->last, ACCEPT, ACCEPT);
        return emit(c, (vtext_inst) { .op = VTEXT_OP_AHEAD,
                                      .negate = node->negate,
                                      .guard = (uint16_t)guard,
                                      .a = (uint16_t)k0 });
    }
    case VTEXT_NODE_BEHIND:
        return emit(c, (vtext_inst) { .op = VTEXT_OP_BEHIND,
                                      .negate = node->negate,
                                      .begin = node->begin,
                                      .set = (int16_t)node->set,
                                      .a = (uint16_t)k0 });
    case VTEXT_NODE_END: return emit(c, (vtext_inst) { .op = VTEXT_OP_END, .a = (uint16_t)k0 });
    }
    return 0;
}

bool vtext_compile(vtext_parse *x, const vtext_node *tree, vtext_program *out) {
    compiler c = { x, out };
    *out = (vtext_program) { 0 };
    emit(&c, (vtext_inst) { .op = VTEXT_OP_ACCEPT });
    emit(&c, (vtext_inst) { .op = VTEXT_OP_ACCEPT });
    out->root = part(&c, tree, ACCEPT, ACCEPT);
    return x->status >= 0;
}
