/* SPDX-License-Identifier: MIT */
/* The merges of a vocabulary that comes without any: every pair of pieces that joins into a piece,
 * in the order of the joined piece's id. Owns the table in which parts of pieces are looked up: its
 * hashes are sums over characters, so that those of all splits of a piece come from one pass. */
#include "text/tokenizer/files/files.h"

#include <stdlib.h>

/* ---- pieces --------------------------------------------------------------------------------- */
vlm_status vtext_pieces_set(vtext_pieces *p, uint32_t id, vcore_str text, vlm_error *err) {
    if (id >= p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 1024;
        while (cap <= id) cap *= 2; /* ids are below VTEXT_MAX_ID */
        vcore_str *more = vcore_realloc_array(p->text, cap, sizeof *more);
        if (!more) return vcore_no_memory(err, "vocabulary");
        memset(more + p->cap, 0, (cap - p->cap) * sizeof *more);
        p->text = more;
        p->cap = cap;
    }
    p->text[id] = text;
    if (id >= p->count) p->count = id + 1;
    return VLM_OK;
}

void vtext_pieces_free(vtext_pieces *p) {
    vcore_free(p->text);
    vcore_free(p->score);
    vcore_free(p->type);
    vcore_arena_free(p->arena);
    *p = (vtext_pieces) { 0 };
}

void vtext_byte_text(vcore_buf *out, vcore_str bytes) {
    for (size_t i = 0; i < bytes.n; i++) {
        char c[4];
        vcore_buf_add(out, c, vcore_utf8_encode(vtext_byte_char((uint8_t)bytes.p[i]), c));
    }
}

/* ---- hashes modulo 2^61 - 1 ----------------------------------------------------------------- */
#define PRIME (((uint64_t)1 << 61) - 1)

static uint64_t times(uint64_t a, uint64_t b) {
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    uint64_t sum = (uint64_t)(product & PRIME) + (uint64_t)(product >> 61);
    return sum >= PRIME ? sum - PRIME : sum;
}

static uint64_t plus(uint64_t a, uint64_t b) {
    uint64_t sum = a + b;
    return sum >= PRIME ? sum - PRIME : sum;
}

typedef struct table {
    const vtext_pieces *pieces;
    uint32_t *slot; /* id + 1 */
    size_t mask;
    uint64_t base, power[VTEXT_MAX_PIECE_BYTES + 1];
} table;

/* out[i]: hash of the first i bytes. */
static void hash_prefixes(const table *t, vcore_str s, uint64_t *out) {
    out[0] = 0;
    for (size_t i = 0; i < s.n; i++)
        out[i + 1] = plus(times(out[i], t->base), (uint64_t)(uint8_t)s.p[i] + 1);
}

static uint32_t *slot_of(const table *t, vcore_str s, uint64_t hash) {
    for (size_t i = (hash * UINT64_C(0x9E3779B97F4A7C15)) >> 20 & t->mask;; i = (i + 1) & t->mask)
        if (!t->slot[i] || vcore_str_eq(t->pieces->text[t->slot[i] - 1], s)) return &t->slot[i];
}

static vlm_status fill(table *t, const vtext_pieces *p, const char *name, vlm_error *err) {
    uint64_t hash[VTEXT_MAX_PIECE_BYTES + 1];
    size_t slots = 1024;
    while (slots < 2 * (size_t)p->count) slots *= 2;
    t->pieces = p;
    t->mask = slots - 1;
    t->base = vcore_hash_seed() % (PRIME - 1024) + 512;
    t->slot = vcore_alloc_array(slots, sizeof *t->slot);
    if (!t->slot) return vcore_no_memory(err, "merges");
    t->power[0] = 1;
    for (size_t i = 0; i < VTEXT_MAX_PIECE_BYTES; i++)
        t->power[i + 1] = times(t->power[i], t->base);
    for (uint32_t id = 0; id < p->count; id++) {
        vcore_str s = p->text[id];
        if (!s.p) continue;
        if (s.n > VTEXT_MAX_PIECE_BYTES)
            return vcore_fail_limit(err, name, "vocabulary", VTEXT_MAX_PIECE_BYTES,
                                    "bytes in a token");
        hash_prefixes(t, s, hash);
        *slot_of(t, s, hash[s.n]) = id + 1;
    }
    return VLM_OK;
}

/* ---- merges --------------------------------------------------------------------------------- */
typedef struct pair {
    uint32_t left, right;
} pair;

static int by_ranks(const void *x, const void *y) {
    const pair *a = x, *b = y;
    if (a->left != b->left) return a->left < b->left ? -1 : 1;
    return (a->right > b->right) - (a->right < b->right);
}

/* All splits of a piece into two pieces, by the length of the left one. */
static size_t splits(const table *t, vcore_str s, vtext_split_by by, pair *out) {
    uint64_t hash[VTEXT_MAX_PIECE_BYTES + 1];
    size_t n = 0;
    hash_prefixes(t, s, hash);
    for (size_t i = 1; i < s.n; i++) {
        if (by == VTEXT_SPLIT_CHARACTERS && ((uint8_t)s.p[i] & 0xC0) == 0x80) continue;
        vcore_str left = { s.p, i }, right = { s.p + i, s.n - i };
        uint32_t l = *slot_of(t, left, hash[i]);
        if (!l) continue;
        uint64_t tail = plus(hash[s.n], PRIME - times(hash[i], t->power[s.n - i]));
        uint32_t r = *slot_of(t, right, tail);
        if (r) out[n++] = (pair) { l - 1, r - 1 };
    }
    if (by == VTEXT_SPLIT_BYTES) qsort(out, n, sizeof *out, by_ranks);
    return n;
}

static void put_part(vcore_buf *text, vcore_str s, vtext_split_by by) {
    if (by == VTEXT_SPLIT_BYTES)
        vtext_byte_text(text, s);
    else
        vcore_buf_add(text, s.p, s.n);
}

/* "a b", or ["a", "b"] where a part has a blank of its own. */
static void put_merge(vcore_buf *out, vcore_buf *text, vcore_str a, vcore_str b,
                      vtext_split_by by) {
    text->n = 0;
    put_part(text, a, by);
    vcore_buf_add(text, " ", 1);
    put_part(text, b, by);
    if (text->failed) return;
    bool blank = by == VTEXT_SPLIT_CHARACTERS
                 && (memchr(a.p, ' ', a.n) != NULL || memchr(b.p, ' ', b.n) != NULL);
    if (!blank) {
        vcore_json_put_str(out, NULL, (vcore_str) { text->p, text->n });
        return;
    }
    vcore_json_open(out, NULL, '[');
    vcore_json_put_str(out, NULL, a);
    vcore_json_put_str(out, NULL, b);
    vcore_json_close(out, ']');
}

static vlm_status write_all(vcore_buf *out, const table *t, vtext_split_by by, const char *name,
                            vlm_error *err) {
    const vtext_pieces *p = t->pieces;
    vcore_buf text = { 0 };
    pair found[VTEXT_MAX_PIECE_BYTES];
    uint64_t hash[VTEXT_MAX_PIECE_BYTES + 1];
    size_t total = 0;
    vlm_status status = VLM_OK;
    for (uint32_t id = 0; id < p->count && status == VLM_OK; id++) {
        if (!p->text[id].p || p->text[id].n < 2) continue;
        hash_prefixes(t, p->text[id], hash);
        if (*slot_of(t, p->text[id], hash[p->text[id].n]) != id + 1) continue; /* one comes later */
        size_t n = splits(t, p->text[id], by, found);
        for (size_t i = 0; i < n; i++)
            put_merge(out, &text, p->text[found[i].left], p->text[found[i].right], by);
        if ((total += n) > VTEXT_MAX_MERGES)
            status = vcore_fail_limit(err, name, "vocabulary", VTEXT_MAX_MERGES, "merges");
    }
    if (text.failed && status == VLM_OK) status = vcore_no_memory(err, "merges");
    vcore_buf_free(&text);
    return status;
}

vlm_status vtext_write_merges(vcore_buf *out, const char *key, const vtext_pieces *p,
                              vtext_split_by by, const char *name, vlm_error *err) {
    table t = { 0 };
    vlm_status status = fill(&t, p, name, err);
    vcore_json_open(out, key, '[');
    if (status == VLM_OK) status = write_all(out, &t, by, name, err);
    vcore_json_close(out, ']');
    vcore_free(t.slot);
    return status;
}
