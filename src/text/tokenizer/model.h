/* SPDX-License-Identifier: MIT */
/* Models: how a word becomes tokens. Vocabulary, trie, BPE, Unigram, WordPiece and WordLevel, and
 * the one type that stands for them all. Knows nothing of the stages before and behind. Only files
 * of src/text/tokenizer/ include it. */
#ifndef VLM_TEXT_MODEL_H
#define VLM_TEXT_MODEL_H

#include "core/core.h"

enum {
    VTEXT_MAX_ID = (1 << 22) - 1, /* ids are array indices: a file cannot make the array huge */
    VTEXT_MAX_AFFIX = 64,         /* bytes of continuing_subword_prefix, end_of_word_suffix */
    VTEXT_MAX_PIECE = 1024        /* bytes of a token of Unigram and WordPiece */
};
#define VTEXT_NONE UINT32_MAX

/* ---- vocabulary (vocab.c): text of tokens to ids and back ------------------------------- */
typedef struct vtext_vocab {
    vcore_arena *arena;
    vcore_str *text; /* by entry; NUL-terminated */
    uint32_t *id;    /* by entry */
    size_t count, cap;
    uint32_t *slot; /* hash table: entry + 1, bits of the hash above it */
    size_t mask;
    uint64_t seed;
    uint32_t *by_id, ids; /* id -> entry + 1; ids: largest + 1 */
} vtext_vocab;
/* Room for n <= VTEXT_MAX_ID tokens with ids below `ids`. */
vlm_status vtext_vocab_init(vtext_vocab *v, size_t n, uint32_t ids, vlm_error *err);
bool vtext_vocab_add(vtext_vocab *v, vcore_str text, uint32_t id); /* text must be new to it */
bool vtext_vocab_find(const vtext_vocab *v, vcore_str text, uint32_t *id);
vcore_str vtext_vocab_text(const vtext_vocab *v, uint32_t id); /* p NULL: no such id */
size_t vtext_vocab_bytes(const vtext_vocab *v);                /* of memory it holds */
void vtext_vocab_free(vtext_vocab *v);

/* ---- trie (trie.c): the tokens that begin at a place in text ------------------------------
 * Nodes lie level by level, so the children of a node end where those of the next begin. */
typedef struct vtext_trie_node {
    uint32_t children; /* the first */
    uint32_t id;       /* of the token that ends here, or VTEXT_NONE */
} vtext_trie_node;
typedef struct vtext_trie {
    vtext_trie_node *node; /* [0]: the root; one more than there are */
    uint8_t *label;        /* by node: the byte that leads to it */
    uint32_t nodes;
    uint32_t first[256]; /* the root's child by byte, or VTEXT_NONE */
} vtext_trie;
/* Of equal texts, the last one's id counts. Tokens of more than VTEXT_MAX_PIECE bytes are refused:
 * they bound the work per character. */
vlm_status vtext_trie_build(vtext_trie *t, const vtext_vocab *vocab, const char *name,
                            vlm_error *err);
static inline uint32_t vtext_trie_child(const vtext_trie *t, uint32_t node, uint8_t byte) {
    if (!node) return t->first[byte];
    uint32_t at = t->node[node].children, end = t->node[node + 1].children;
    while (at < end && t->label[at] < byte) at++;
    return at < end && t->label[at] == byte ? at : VTEXT_NONE;
}
size_t vtext_trie_bytes(const vtext_trie *t); /* of memory it holds */
void vtext_trie_free(vtext_trie *t);

/* ---- what a word gives (model.c) -------------------------------------------------------- */
typedef struct vtext_symbol {
    uint32_t id, len; /* bytes; 0: at the place of the one before (BPE, at work: merged into it) */
    uint32_t prev, next; /* BPE's, of long words */
} vtext_symbol;
typedef struct vtext_candidate {
    uint64_t order; /* rank << 32 | position: smallest first */
    uint32_t id;
} vtext_candidate;
/* The best way to a place in a word: its score, and the token that it ends with. */
typedef struct vtext_best {
    double score;
    uint32_t from; /* where the token begins; VTEXT_NONE: no way yet */
    uint32_t id;
} vtext_best;
/* Memory that the words of one call share; symbol[0..n) is what the last word gave. */
typedef struct vtext_scratch {
    vtext_symbol *symbol;
    size_t n, cap;
    vtext_candidate *heap; /* BPE's */
    size_t heap_n, heap_cap;
    vtext_best *best; /* Unigram's */
    size_t best_cap;
    vcore_buf text; /* stand-ins of a word's bytes */
    bool unknown;   /* met what needs the unknown token, which the vocabulary lacks */
} vtext_scratch;
bool vtext_scratch_room(vtext_scratch *s, size_t symbols); /* false: no memory */
static inline void vtext_scratch_push(vtext_scratch *s, uint32_t id, uint32_t len) {
    s->symbol[s->n++] = (vtext_symbol) { .id = id, .len = len };
}
void vtext_scratch_free(vtext_scratch *s);

/* ---- BPE (bpe.c, bpe_load.c) ------------------------------------------------------------ */
typedef struct vtext_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: free slot */
    uint32_t rank, id;
} vtext_merge;
typedef struct vtext_bpe {
    const vtext_vocab *vocab; /* the model's */
    vtext_merge *merge;       /* hash table */
    size_t mask;
    uint32_t byte_id[256];     /* of each byte's stand-in */
    uint32_t fallback_id[256]; /* of "<0x00>" ... */
    uint32_t ascii_id[128];
    uint32_t unk;     /* VTEXT_NONE: there is none */
    bool unk_missing; /* one is named, but not in the vocabulary */
    vcore_str prefix, suffix;
    bool fuse_unk, byte_fallback, ignore_merges;
    /* No merge crosses a place before U+2581, the space of SentencePiece, but behind such a byte;
     * if `cuts`. */
    bool cuts, joins[256];
} vtext_bpe;
static const char vtext_space_mark[] = "\xE2\x96\x81"; /* U+2581 */
/* Slot of a pair: its own or the free one where it would go. */
vtext_merge *vtext_bpe_merge_slot(const vtext_bpe *bpe, uint64_t pair);
/* vocab: the model's, which gets the tokens. */
vlm_status vtext_bpe_load(vtext_bpe *bpe, vtext_vocab *vocab, const vcore_json *model,
                          const char *name, vlm_error *err);
size_t vtext_bpe_bytes(const vtext_bpe *bpe); /* of memory it holds */
void vtext_bpe_free(vtext_bpe *bpe);
/* byte_level: each byte stands for its character of the byte-level alphabet, and lengths are in
 * bytes of these. False: no memory. O(n log n). */
bool vtext_bpe_word(const vtext_bpe *bpe, vtext_scratch *s, const char *p, size_t n,
                    bool byte_level);

/* ---- Unigram (unigram.c) ---------------------------------------------------------------- */
typedef struct vtext_unigram {
    const vtext_vocab *vocab; /* the model's */
    vtext_trie trie;
    double *score;  /* by id */
    double unknown; /* score of a character that is no token */
    uint32_t unk;   /* VTEXT_NONE: there is none */
    bool byte_fallback;
    bool nearest; /* set before loading: scores are the nearest doubles, as Python reads them */
    uint32_t fallback_id[256]; /* of "<0x00>" ... */
} vtext_unigram;
vlm_status vtext_unigram_load(vtext_unigram *u, vtext_vocab *vocab, const vcore_json *model,
                              const char *name, vlm_error *err);
size_t vtext_unigram_bytes(const vtext_unigram *u);
void vtext_unigram_free(vtext_unigram *u);
/* False: no memory. */
bool vtext_unigram_word(const vtext_unigram *u, vtext_scratch *s, const char *p, size_t n);

/* ---- WordPiece and WordLevel (wordpiece.c) ---------------------------------------------- */
typedef struct vtext_wordpiece {
    const vtext_vocab *vocab; /* the model's */
    vtext_trie trie;          /* WordPiece's */
    uint32_t prefix; /* node behind continuing_subword_prefix; VTEXT_NONE: no token has it */
    uint64_t max_chars;
    uint32_t unk; /* VTEXT_NONE: it is not in the vocabulary */
} vtext_wordpiece;
vlm_status vtext_wordpiece_load(vtext_wordpiece *w, vtext_vocab *vocab, const vcore_json *model,
                                const char *name, vlm_error *err);
vlm_status vtext_wordlevel_load(vtext_wordpiece *w, vtext_vocab *vocab, const vcore_json *model,
                                const char *name, vlm_error *err);
size_t vtext_wordpiece_bytes(const vtext_wordpiece *w);
void vtext_wordpiece_free(vtext_wordpiece *w);
bool vtext_wordpiece_word(const vtext_wordpiece *w, vtext_scratch *s, const char *p, size_t n);
bool vtext_wordlevel_word(const vtext_wordpiece *w, vtext_scratch *s, const char *p, size_t n);

/* ---- the model (model.c): one vocabulary, and what its kind adds to it ------------------ */
typedef enum vtext_model_kind {
    VTEXT_BPE,
    VTEXT_UNIGRAM,
    VTEXT_WORDPIECE,
    VTEXT_WORDLEVEL
} vtext_model_kind;
typedef struct vtext_model { /* must not move */
    vtext_model_kind kind;
    vtext_vocab vocab;
    vtext_bpe bpe;
    vtext_unigram unigram;
    vtext_wordpiece wordpiece; /* WordLevel's, too */
} vtext_model;
vlm_status vtext_model_load(vtext_model *m, const vcore_json *v, const char *name, vlm_error *err);
/* {"token": id, ..} to an empty vocabulary. */
vlm_status vtext_model_load_vocab(vtext_vocab *vocab, const vcore_json *v, const char *name,
                                  vlm_error *err);
/* Ids of "<0x00>" .. "<0xFF>"; VTEXT_NONE where there is none. */
void vtext_model_find_bytes(const vtext_vocab *vocab, uint32_t id[256]);
/* One line: the model's field `key` is not as it should be. */
vlm_status vtext_model_fail(vlm_error *err, const char *name, const char *key, const char *what);
/* Why a word set s->unknown. */
vlm_status vtext_model_unknown(const vtext_model *m, const char *name, vlm_error *err);
/* Tokens of one word: s->symbol[0..n), in order, with their lengths in bytes. byte_level: the
 * word's bytes stand for characters, as vtext_bpe_word has it. False: no memory. */
bool vtext_model_word(const vtext_model *m, vtext_scratch *s, const char *p, size_t n,
                      bool byte_level);
size_t vtext_model_bytes(const vtext_model *m); /* of memory it holds */
void vtext_model_free(vtext_model *m);

#endif
