/* SPDX-License-Identifier: MIT */
/* Vocabulary: text of a token to its id and back. Owns copies of the texts; knows nothing of how
 * tokens are made. */
#include "text/tokenizer/tok.h"

vlm_status vtext_vocab_init(vtext_vocab *v, size_t n, uint32_t ids, vlm_error *err) {
    size_t slots = 16;
    while (slots < 2 * n) slots *= 2;
    *v = (vtext_vocab) { .cap = n, .mask = slots - 1, .seed = vcore_hash_seed(), .ids = ids };
    v->arena = vcore_arena_new();
    v->text = vcore_alloc_array(n + 1, sizeof *v->text);
    v->id = vcore_alloc_array(n + 1, sizeof *v->id);
    v->slot = vcore_alloc_array(slots, sizeof *v->slot);
    v->by_id = vcore_alloc_array((size_t)ids + 1, sizeof *v->by_id);
    if (v->arena && v->text && v->id && v->slot && v->by_id) return VLM_OK;
    vtext_vocab_free(v);
    return vcore_no_memory(err, "vocabulary");
}

enum { ENTRY_BITS = 22, ENTRY_MASK = VTEXT_MAX_ID };
_Static_assert(ENTRY_MASK == (1 << ENTRY_BITS) - 1, "an entry and its tag share a slot");

/* The slot of a text, its own or the free one where it would go. *tag: what else the slot holds of
 * it, bits of its hash, which spare looks at other texts. */
static uint32_t *vocab_slot(const vtext_vocab *v, vcore_str text, uint32_t *tag) {
    uint64_t hash = vcore_hash(v->seed, text);
    size_t i = hash & v->mask;
    *tag = (uint32_t)(hash >> 32) & ~(uint32_t)ENTRY_MASK;
    for (; v->slot[i]; i = (i + 1) & v->mask)
        if ((v->slot[i] & ~(uint32_t)ENTRY_MASK) == *tag
            && vcore_str_eq(v->text[(v->slot[i] & ENTRY_MASK) - 1], text))
            break;
    return &v->slot[i];
}

bool vtext_vocab_add(vtext_vocab *v, vcore_str text, uint32_t id) {
    char *copy = vcore_arena_strndup(v->arena, text.p, text.n);
    if (!copy || v->count == v->cap || id >= v->ids) return false;
    uint32_t tag, *slot = vocab_slot(v, text, &tag);
    v->text[v->count] = (vcore_str) { copy, text.n };
    v->id[v->count] = id;
    v->by_id[id] = (uint32_t)++v->count;
    *slot = v->by_id[id] | tag;
    return true;
}

bool vtext_vocab_find(const vtext_vocab *v, vcore_str text, uint32_t *id) {
    uint32_t tag, at = v->slot ? *vocab_slot(v, text, &tag) & ENTRY_MASK : 0;
    if (at && id) *id = v->id[at - 1];
    return at != 0;
}

vcore_str vtext_vocab_text(const vtext_vocab *v, uint32_t id) {
    uint32_t at = id < v->ids ? v->by_id[id] : 0;
    return at ? v->text[at - 1] : (vcore_str) { NULL, 0 };
}

size_t vtext_vocab_bytes(const vtext_vocab *v) {
    if (!v->slot) return 0;
    return vcore_arena_bytes(v->arena) + (v->cap + 1) * (sizeof *v->text + sizeof *v->id)
           + (v->mask + 1) * sizeof *v->slot + ((size_t)v->ids + 1) * sizeof *v->by_id;
}

void vtext_vocab_free(vtext_vocab *v) {
    vcore_arena_free(v->arena);
    vcore_free(v->text);
    vcore_free(v->id);
    vcore_free(v->slot);
    vcore_free(v->by_id);
    *v = (vtext_vocab) { 0 };
}
