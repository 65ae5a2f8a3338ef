/* SPDX-License-Identifier: MIT */
/* The BPE model: a word becomes symbols (bytes or characters), and neighbours are merged, lowest
 * rank first and leftmost first among equals, until no pair of neighbours is in the merge table.
 * Owns the table; what a word is was decided before. */
#include "text/tokenizer/tok.h"

enum { SHORT_WORD = 24 }; /* symbols up to which searching the minimum beats a heap */

/* ---- merge table ---------------------------------------------------------------------------- */
static size_t pair_hash(uint64_t pair) {
    uint64_t h = pair * 0x9E3779B97F4A7C15u; /* 2^64 over the golden ratio */
    return (size_t)(h ^ (h >> 29) ^ (h >> 47));
}

vtext_merge *vtext_bpe_merge_slot(const vtext_bpe *bpe, uint64_t pair) {
    size_t i = pair_hash(pair) & bpe->mask;
    while (bpe->merge[i].pair != pair && bpe->merge[i].pair != UINT64_MAX) i = (i + 1) & bpe->mask;
    return &bpe->merge[i];
}

static const vtext_merge *find_merge(const vtext_bpe *bpe, uint32_t left, uint32_t right) {
    const vtext_merge *m = vtext_bpe_merge_slot(bpe, (uint64_t)left << 32 | right);
    return m->pair == UINT64_MAX ? NULL : m;
}

/* ---- a word's symbols ----------------------------------------------------------------------- */
typedef struct unk_run {
    bool any;
    uint32_t len;
} unk_run;

static void flush_unk(const vtext_bpe *bpe, vtext_scratch *s, unk_run *unk) {
    if (unk->any) vtext_scratch_push(s, bpe->unk, unk->len);
    unk->any = false;
}

/* Id of one character, with the prefix and suffix that its place in the word calls for. */
static bool unit_id(const vtext_bpe *bpe, vcore_str unit, bool first, bool last, uint32_t *id) {
    char text[2 * VTEXT_MAX_AFFIX + 4];
    size_t n = 0;
    if ((first || !bpe->prefix.n) && (!last || !bpe->suffix.n))
        return vtext_vocab_find(bpe->vocab, unit, id);
    if (!first && bpe->prefix.n) {
        memcpy(text, bpe->prefix.p, bpe->prefix.n);
        n = bpe->prefix.n;
    }
    memcpy(text + n, unit.p, unit.n);
    n += unit.n;
    if (last && bpe->suffix.n) {
        memcpy(text + n, bpe->suffix.p, bpe->suffix.n);
        n += bpe->suffix.n;
    }
    return vtext_vocab_find(bpe->vocab, (vcore_str) { text, n }, id);
}

/* "<0x..>" for each byte of a character that is not in the vocabulary (with its prefix and suffix,
 * as the reference has it); false unless all are there. */
static bool push_fallback(const vtext_bpe *bpe, vtext_scratch *s, vcore_str unit, bool first,
                          bool last) {
    vcore_str part[3] = { first ? (vcore_str) { NULL, 0 } : bpe->prefix, unit,
                          last ? bpe->suffix : (vcore_str) { NULL, 0 } };
    for (int i = 0; i < 3; i++)
        for (size_t j = 0; j < part[i].n; j++)
            if (bpe->fallback_id[(uint8_t)part[i].p[j]] == VTEXT_NONE) return false;
    for (int i = 0; i < 3; i++)
        for (size_t j = 0; j < part[i].n; j++)
            vtext_scratch_push(s, bpe->fallback_id[(uint8_t)part[i].p[j]], 1);
    return true;
}

static void push_unit(const vtext_bpe *bpe, vtext_scratch *s, vcore_str unit, bool first,
                      bool last, unk_run *unk) {
    uint32_t id;
    if (unit_id(bpe, unit, first, last, &id)) {
        flush_unk(bpe, s, unk);
        vtext_scratch_push(s, id, (uint32_t)unit.n);
        return;
    }
    if (bpe->byte_fallback && push_fallback(bpe, s, unit, first, last)) return;
    s->unknown |= bpe->unk_missing;
    if (bpe->unk == VTEXT_NONE) return; /* the reference drops it, too */
    if (!bpe->fuse_unk) flush_unk(bpe, s, unk);
    *unk = (unk_run) { true, (unk->any ? unk->len : 0) + (uint32_t)unit.n };
}

static void push_word(const vtext_bpe *bpe, vtext_scratch *s, const char *p, size_t n,
                      bool byte_level) {
    unk_run unk = { false, 0 };
    bool plain = !bpe->prefix.n && !bpe->suffix.n;
    for (size_t i = 0, len; i < n; i += len) {
        uint8_t c = (uint8_t)p[i];
        uint32_t known = byte_level ? bpe->byte_id[c]
                         : c < 0x80 ? bpe->ascii_id[c]
                                    : VTEXT_NONE,
                 cp;
        len = byte_level || c < 0x80 ? 1 : vcore_utf8_decode(p + i, n - i, &cp);
        if (plain && known != VTEXT_NONE) {
            flush_unk(bpe, s, &unk);
            vtext_scratch_push(s, known, byte_level ? vtext_byte_width(c) : 1);
            continue;
        }
        char stand_in[4];
        vcore_str unit = { p + i, len };
        if (byte_level)
            unit = (vcore_str) { stand_in, vcore_utf8_encode(vtext_byte_char(c), stand_in) };
        push_unit(bpe, s, unit, i == 0, i + len == n, &unk);
    }
    flush_unk(bpe, s, &unk);
}

/* ---- merging -------------------------------------------------------------------------------- */
/* Few symbols: the best pair is searched anew after each merge, over an array of each pair's merge.
 * Returns how many are left, like merge_long. */
static size_t merge_short(const vtext_bpe *bpe, vtext_symbol *y, size_t n) {
    const vtext_merge *pair[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++) pair[i] = find_merge(bpe, y[i].id, y[i + 1].id);
    while (n > 1) {
        size_t best = n;
        for (size_t i = 0; i + 1 < n; i++)
            if (pair[i] && (best == n || pair[i]->rank < pair[best]->rank)) best = i;
        if (best == n) break;
        y[best].id = pair[best]->id;
        y[best].len += y[best + 1].len;
        memmove(&y[best + 1], &y[best + 2], (n - best - 2) * sizeof *y);
        if (best + 2 < n) memmove(&pair[best + 1], &pair[best + 2], (n - best - 3) * sizeof *pair);
        n--;
        if (best) pair[best - 1] = find_merge(bpe, y[best - 1].id, y[best].id);
        if (best + 1 < n) pair[best] = find_merge(bpe, y[best].id, y[best + 1].id);
    }
    return n;
}

static void heap_push(vtext_scratch *s, vtext_candidate c) {
    size_t i = s->heap_n++;
    for (; i && c.order < s->heap[(i - 1) / 4].order; i = (i - 1) / 4)
        s->heap[i] = s->heap[(i - 1) / 4];
    s->heap[i] = c;
}

static vtext_candidate heap_pop(vtext_scratch *s) {
    vtext_candidate top = s->heap[0], last = s->heap[--s->heap_n];
    size_t i = 0, n = s->heap_n;
    for (;;) {
        size_t child = 4 * i + 1, best = child;
        if (child >= n) break;
        for (size_t c = child + 1; c < child + 4 && c < n; c++)
            if (s->heap[c].order < s->heap[best].order) best = c;
        if (s->heap[best].order >= last.order) break;
        s->heap[i] = s->heap[best];
        i = best;
    }
    if (n) s->heap[i] = last;
    return top;
}

static void push_pair(const vtext_bpe *bpe, vtext_scratch *s, const vtext_symbol *y,
                      uint32_t left) {
    const vtext_merge *m = find_merge(bpe, y[left].id, y[y[left].next].id);
    if (m) heap_push(s, (vtext_candidate) { (uint64_t)m->rank << 32 | left, m->id });
}

/* Many symbols: a linked list and a heap of pairs. A merge makes entries of the heap stale; one is
 * known by its pair no longer giving its id. */
static size_t merge_long(const vtext_bpe *bpe, vtext_scratch *s, vtext_symbol *y, size_t n) {
    s->heap_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        y[i].prev = i ? i - 1 : VTEXT_NONE;
        y[i].next = i + 1 < n ? i + 1 : VTEXT_NONE;
    }
    for (uint32_t i = 0; i + 1 < n; i++) push_pair(bpe, s, y, i);
    while (s->heap_n) {
        vtext_candidate c = heap_pop(s);
        uint32_t at = (uint32_t)c.order, right = y[at].next;
        if (!y[at].len || right == VTEXT_NONE) continue;
        const vtext_merge *m = find_merge(bpe, y[at].id, y[right].id);
        if (!m || m->id != c.id) continue;
        y[at].id = c.id;
        y[at].len += y[right].len;
        y[at].next = y[right].next;
        y[right].len = 0;
        if (y[at].next != VTEXT_NONE) y[y[at].next].prev = at;
        if (y[at].prev != VTEXT_NONE) push_pair(bpe, s, y, y[at].prev);
        if (y[at].next != VTEXT_NONE) push_pair(bpe, s, y, at);
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (y[i].len) y[kept++] = y[i];
    return kept;
}

static bool heap_room(vtext_scratch *s, size_t want) {
    if (want <= s->heap_cap) return true;
    vtext_candidate *more = vcore_realloc_array(s->heap, want + want / 2, sizeof *more);
    if (!more) return false;
    s->heap = more;
    s->heap_cap = want + want / 2;
    return true;
}

/* The whole word as one token, if it is in the vocabulary. *memory: false when there was none. */
static bool whole_word(const vtext_bpe *bpe, vtext_scratch *s, const char *p, size_t n,
                       bool byte_level, bool *memory) {
    char local[512], *text = !byte_level || n <= sizeof local / 2 ? local : vcore_alloc_array(n, 2);
    vcore_str word = { byte_level ? text : p, byte_level ? 0 : n };
    uint32_t id;
    *memory = text != NULL;
    if (!text) return false;
    for (size_t i = 0; byte_level && i < n; i++)
        word.n += vcore_utf8_encode(vtext_byte_char((uint8_t)p[i]), text + word.n);
    bool found = vtext_vocab_find(bpe->vocab, word, &id);
    if (found) vtext_scratch_push(s, id, (uint32_t)word.n);
    if (text != local) vcore_free(text);
    return found;
}

/* Adds the tokens of a word, or of a part that no merge leaves. False: no memory. */
static bool push_merged(const vtext_bpe *bpe, vtext_scratch *s, const char *p, size_t n,
                        bool byte_level) {
    size_t begin = s->n;
    push_word(bpe, s, p, n, byte_level);
    size_t symbols = s->n - begin;
    if (symbols <= SHORT_WORD) {
        s->n = begin + merge_short(bpe, s->symbol + begin, symbols);
        return true;
    }
    /* Each merge removes a symbol and adds at most two pairs. */
    if (!heap_room(s, 3 * symbols)) return false;
    s->n = begin + merge_long(bpe, s, s->symbol + begin, symbols);
    return true;
}

/* Where the word may be cut next behind `at`: a text without pre-tokenizer is one word, however
 * long. */
static size_t next_cut(const vtext_bpe *bpe, const char *p, size_t n, size_t at) {
    while (at + 1 < n) {
        const char *mark = memchr(p + at + 1, vtext_space_mark[0], n - at - 1);
        if (!mark) break;
        at = (size_t)(mark - p);
        if (n - at >= 3 && memcmp(mark, vtext_space_mark, 3) == 0 && !bpe->joins[(uint8_t)p[at - 1]])
            return at;
    }
    return n;
}

bool vtext_bpe_word(const vtext_bpe *bpe, vtext_scratch *s, const char *p, size_t n,
                    bool byte_level) {
    /* A character outside the vocabulary may become its bytes and those of prefix and suffix; a
     * byte's stand-in has up to two. */
    size_t symbols =
        (byte_level ? 2 * n : n) + (bpe->prefix.n + bpe->suffix.n) * (bpe->prefix.n ? n : 1);
    bool memory = true;
    s->n = 0;
    if (!vtext_scratch_room(s, symbols)) return false;
    if (bpe->ignore_merges && whole_word(bpe, s, p, n, byte_level, &memory)) return true;
    if (!memory) return false;
    if (byte_level || !bpe->cuts) return push_merged(bpe, s, p, n, byte_level);
    for (size_t at = 0, end; at < n; at = end) {
        end = next_cut(bpe, p, n, at);
        if (!push_merged(bpe, s, p + at, end - at, false)) return false;
    }
    return true;
}
