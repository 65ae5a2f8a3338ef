/* SPDX-License-Identifier: MIT */
/* A trie over the tokens of a vocabulary, for all tokens that begin at a place in a text. Owns its
 * nodes, not the texts; built level by level from the sorted tokens. */
#include "text/tokenizer/tok.h"

#include <stdlib.h>

typedef struct sorted {
    uint64_t head; /* the text's first bytes, the first on top: most comparisons need no more */
    vcore_str text;
    uint32_t entry;
} sorted;

static uint64_t head_of(vcore_str text) {
    uint64_t head = 0;
    for (size_t i = 0; i < 8; i++) head = head << 8 | (i < text.n ? (uint8_t)text.p[i] : 0);
    return head;
}

typedef struct range {
    uint32_t begin, end; /* of the sorted tokens */
} range;

typedef struct builder {
    vtext_trie *t;
    range *range; /* by node: the tokens behind it */
    size_t cap;
} builder;

static int by_text(const void *x, const void *y) {
    const sorted *a = x, *b = y;
    if (a->head != b->head) return a->head < b->head ? -1 : 1;
    size_t n = a->text.n < b->text.n ? a->text.n : b->text.n;
    int order = n ? memcmp(a->text.p, b->text.p, n) : 0;
    if (order) return order;
    if (a->text.n != b->text.n) return a->text.n < b->text.n ? -1 : 1;
    return (a->entry > b->entry) - (a->entry < b->entry);
}

static bool add_node(builder *b, uint8_t label, range tokens) {
    vtext_trie *t = b->t;
    if ((size_t)t->nodes + 1 >= b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 1024;
        vtext_trie_node *node = vcore_realloc_array(t->node, cap, sizeof *node);
        if (node) t->node = node;
        uint8_t *labels = node ? vcore_realloc_array(t->label, cap, 1) : NULL;
        if (labels) t->label = labels;
        range *ranges = labels ? vcore_realloc_array(b->range, cap, sizeof *ranges) : NULL;
        if (!ranges) return false;
        b->range = ranges;
        b->cap = cap;
    }
    t->label[t->nodes] = label;
    b->range[t->nodes++] = tokens;
    return true;
}

/* The children of one node, and its id. depth: bytes that lead to it. */
static bool expand(builder *b, uint32_t node, size_t depth, const sorted *token,
                   const vtext_vocab *vocab) {
    range r = b->range[node];
    vtext_trie_node made = { b->t->nodes, VTEXT_NONE };
    for (; r.begin < r.end && token[r.begin].text.n == depth; r.begin++)
        made.id = vocab->id[token[r.begin].entry];
    while (r.begin < r.end) {
        range child = { r.begin, r.begin + 1 };
        uint8_t c = (uint8_t)token[r.begin].text.p[depth];
        while (child.end < r.end && (uint8_t)token[child.end].text.p[depth] == c) child.end++;
        if (!add_node(b, c, child)) return false;
        r.begin = child.end;
    }
    b->t->node[node] = made;
    return true;
}

static bool build(builder *b, const sorted *token, const vtext_vocab *vocab) {
    vtext_trie *t = b->t;
    if (!add_node(b, 0, (range) { 0, (uint32_t)vocab->count })) return false;
    size_t depth = 0;
    for (uint32_t node = 0, level_end = 1; node < t->nodes; node++) {
        if (node == level_end) {
            depth++;
            level_end = t->nodes;
        }
        if (!expand(b, node, depth, token, vocab)) return false;
    }
    t->node[t->nodes] = (vtext_trie_node) { t->nodes, VTEXT_NONE };
    for (int c = 0; c < 256; c++) t->first[c] = VTEXT_NONE;
    for (uint32_t i = t->node[0].children; i < t->node[1].children; i++) t->first[t->label[i]] = i;
    return true;
}

static bool shrink(vtext_trie *t) {
    vtext_trie_node *node = vcore_realloc_array(t->node, (size_t)t->nodes + 1, sizeof *node);
    if (node) t->node = node;
    uint8_t *label = node ? vcore_realloc_array(t->label, t->nodes, 1) : NULL;
    if (label) t->label = label;
    return label != NULL;
}

vlm_status vtext_trie_build(vtext_trie *t, const vtext_vocab *vocab, const char *name,
                            vlm_error *err) {
    builder b = { .t = t };
    sorted *token = vcore_alloc_array(vocab->count + 1, sizeof *token);
    if (!token) return vcore_no_memory(err, "vocabulary");
    vlm_status status = VLM_OK;
    for (size_t i = 0; i < vocab->count && status == VLM_OK; i++) {
        token[i] = (sorted) { head_of(vocab->text[i]), vocab->text[i], (uint32_t)i };
        if (token[i].text.n > VTEXT_MAX_PIECE)
            status =
                vcore_fail_limit(err, name, "model.vocab", VTEXT_MAX_PIECE, "bytes of a token");
    }
    if (status == VLM_OK) {
        qsort(token, vocab->count, sizeof *token, by_text);
        if (!build(&b, token, vocab)) status = vcore_no_memory(err, "vocabulary");
    }
    if (status == VLM_OK && !shrink(t)) status = vcore_no_memory(err, "vocabulary");
    if (status < 0) vtext_trie_free(t);
    vcore_free(token);
    vcore_free(b.range);
    return status;
}

size_t vtext_trie_bytes(const vtext_trie *t) {
    return t->node ? ((size_t)t->nodes + 1) * sizeof *t->node + t->nodes : 0;
}

void vtext_trie_free(vtext_trie *t) {
    vcore_free(t->node);
    vcore_free(t->label);
    *t = (vtext_trie) { 0 };
}
