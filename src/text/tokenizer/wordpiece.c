/* SPDX-License-Identifier: MIT */
/* WordPiece: the longest token that a word begins with, then the longest that continues it, and so
 * on; the unknown token for a word where that fails. And WordLevel, whose words are tokens. */
#include "text/tokenizer/tok.h"

/* ---- words ---------------------------------------------------------------------------------- */
static bool only(vtext_scratch *s, uint32_t id, size_t n) {
    s->n = 0;
    s->unknown |= id == VTEXT_NONE;
    if (id != VTEXT_NONE) vtext_scratch_push(s, id, (uint32_t)n);
    return true;
}

/* Length of the longest token behind a node that begins at p; 0: there is none. */
static size_t longest(const vtext_trie *t, uint32_t node, const char *p, size_t n, uint32_t *id) {
    size_t found = 0;
    for (size_t i = 0; i < n && node != VTEXT_NONE; i++) {
        node = vtext_trie_child(t, node, (uint8_t)p[i]);
        if (node == VTEXT_NONE || t->node[node].id == VTEXT_NONE) continue;
        *id = t->node[node].id;
        found = i + 1;
    }
    return found;
}

static bool too_long(const char *p, size_t n, uint64_t max_chars) {
    if (n <= max_chars) return false;
    uint64_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((uint8_t)p[i] & 0xC0) != 0x80;
    return chars > max_chars;
}

bool vtext_wordpiece_word(const vtext_wordpiece *w, vtext_scratch *s, const char *p, size_t n) {
    s->n = 0;
    if (!vtext_scratch_room(s, n)) return false;
    if (too_long(p, n, w->max_chars)) return only(s, w->unk, n);
    for (size_t at = 0, len; at < n; at += len) {
        uint32_t id = 0;
        len = longest(&w->trie, at ? w->prefix : 0, p + at, n - at, &id);
        if (!len) return only(s, w->unk, n);
        vtext_scratch_push(s, id, (uint32_t)len);
    }
    return true;
}

bool vtext_wordlevel_word(const vtext_wordpiece *w, vtext_scratch *s, const char *p, size_t n) {
    uint32_t id = w->unk;
    if (!vtext_scratch_room(s, 1)) return false;
    vtext_vocab_find(w->vocab, (vcore_str) { p, n }, &id);
    return only(s, id, n);
}

/* ---- loading -------------------------------------------------------------------------------- */
static vlm_status load_common(vtext_wordpiece *w, vtext_vocab *vocab, const vcore_json *model,
                              const char *name, vlm_error *err) {
    vcore_str unk;
    w->vocab = vocab;
    VTRY(vtext_model_load_vocab(vocab, vcore_json_get(model, "vocab"), name, err));
    if (!vcore_json_string(vcore_json_get(model, "unk_token"), &unk))
        return vtext_model_fail(err, name, "unk_token", "must be a string");
    if (!vtext_vocab_find(vocab, unk, &w->unk)) w->unk = VTEXT_NONE; /* an error once needed */
    return VLM_OK;
}

vlm_status vtext_wordpiece_load(vtext_wordpiece *w, vtext_vocab *vocab, const vcore_json *model,
                                const char *name, vlm_error *err) {
    vcore_str prefix;
    int64_t max_chars;
    VTRY(load_common(w, vocab, model, name, err));
    if (!vcore_json_string(vcore_json_get(model, "continuing_subword_prefix"), &prefix))
        return vtext_model_fail(err, name, "continuing_subword_prefix", "must be a string");
    if (!vcore_json_int(vcore_json_get(model, "max_input_chars_per_word"), &max_chars)
        || max_chars < 0)
        return vtext_model_fail(err, name, "max_input_chars_per_word",
                                "must be an integer, 0 or more");
    w->max_chars = (uint64_t)max_chars;
    VTRY(vtext_trie_build(&w->trie, vocab, name, err));
    w->prefix = 0;
    for (size_t i = 0; i < prefix.n && w->prefix != VTEXT_NONE; i++)
        w->prefix = vtext_trie_child(&w->trie, w->prefix, (uint8_t)prefix.p[i]);
    return VLM_OK;
}

vlm_status vtext_wordlevel_load(vtext_wordpiece *w, vtext_vocab *vocab, const vcore_json *model,
                                const char *name, vlm_error *err) {
    return load_common(w, vocab, model, name, err);
}

size_t vtext_wordpiece_bytes(const vtext_wordpiece *w) {
    return vtext_trie_bytes(&w->trie);
}

void vtext_wordpiece_free(vtext_wordpiece *w) {
    vtext_trie_free(&w->trie);
}
