/* SPDX-License-Identifier: MIT */
/* Inside of the tokenizer: what its files share. Nothing outside src/text/tokenizer/ includes
 * it.
 *
 * Encoding is a pipeline of pieces of text, each with its place in the caller's text:
 *   spans -> joined text -> added tokens | text (added.c) -> normalised (normalize.c)
 *         -> words (split.c, regex/pattern.c) -> ids (model.c) -> post-processor (encode.c)
 * Decoding is a pipeline of small machines that bytes flow through (decode.c). */
#ifndef VLM_TEXT_TOK_H
#define VLM_TEXT_TOK_H

#include "text/regex/regex.h"
#include "text/text.h"
#include "text/tokenizer/model.h"
#include "text/unicode/unicode.h"

enum {
    VTEXT_MAX_STEPS = 32,        /* normalizers, pre-tokenizers or decoders in sequence */
    VTEXT_MAX_ADDED_BYTES = 1024 /* bytes of an added token: bounds the matching per byte of text */
};
#define VTEXT_MAX_BYTES ((size_t)1 << 30) /* of a text, as given and as normalised */

/* ---- pieces (piece.c) -------------------------------------------------------------------------
 * Text on its way through the pipeline. Bytes of one character share one place, the whole of the
 * character(s) they came from. b, e NULL: the text is the caller's own, byte i lies at base + i. */
typedef struct vtext_piece {
    const char *p;
    size_t n;
    const uint32_t *b, *e; /* per byte: where it came from */
    size_t base;
} vtext_piece;
static inline vtext_piece vtext_part(vtext_piece s, size_t begin, size_t end) {
    return (vtext_piece) { s.p + begin, end - begin, s.b ? s.b + begin : NULL,
                           s.e ? s.e + begin : NULL, s.base + begin };
}
uint32_t vtext_piece_begin(vtext_piece s, size_t i); /* i < n */
uint32_t vtext_piece_end(vtext_piece s, size_t i);   /* of byte i */

/* Growing text with places (kept only if `align`). */
typedef struct vtext_text {
    char *p;
    uint32_t *b, *e;
    size_t n, cap;
    bool align, failed;
} vtext_text;
void vtext_text_put(vtext_text *t, const char *p, size_t n, uint32_t begin, uint32_t end);
void vtext_text_copy(vtext_text *t, vtext_piece s); /* with the piece's own places */
vtext_piece vtext_text_piece(const vtext_text *t);
void vtext_text_free(vtext_text *t);

/* ---- reading components (load.c) -----------------------------------------------------------
 * where: "<file>: <component>", for errors. Strings are copied to the arena. */
vlm_status vtext_get_string(vcore_str *out, const vcore_json *v, const char *key, const char *where,
                            vcore_arena *arena, vlm_error *err);
vlm_status vtext_get_bool(bool *out, const vcore_json *v, const char *key, bool fallback,
                          const char *where, vlm_error *err);
vlm_status vtext_unknown_type(vcore_str type, const char *where, vlm_error *err);
vlm_status vtext_too_many(const char *where, vlm_error *err);
typedef vlm_status (*vtext_step_fn)(void *user, const vcore_json *v, vcore_str type,
                                    const char *where, vlm_error *err);
/* Calls fn for a component {"type": ..}, or for each of a Sequence's (nested ones flattened) in its
 * member list_key. Null: none. */
vlm_status vtext_each_step(const vcore_json *v, const char *list_key, const char *key,
                           const char *name, vtext_step_fn fn, void *user, vlm_error *err);

/* ---- normalizers (normalize.h) ---------------------------------------------------------- */
typedef struct vtext_normalizer {
    const struct vtext_normalize_step *step[VTEXT_MAX_STEPS];
    int count;
} vtext_normalizer;
vlm_status vtext_normalizer_load(vtext_normalizer *z, const vcore_json *v, const char *name,
                                 vcore_arena *arena, vlm_error *err);
/* out lies in `in` or in one of the two buffers. */
vlm_status vtext_normalize(const vtext_normalizer *z, vtext_piece in, vtext_text buffer[2],
                           vtext_piece *out, vlm_error *err);

/* ---- pre-tokenizers (split.h) ----------------------------------------------------------- */
typedef struct vtext_splitter {
    const struct vtext_split_step *step[VTEXT_MAX_STEPS];
    int count;
    bool byte_level; /* words are bytes that stand for characters of the byte-level alphabet */
    bool asks_place; /* a step asks whether a piece is the text's first */
} vtext_splitter;
vlm_status vtext_splitter_load(vtext_splitter *s, const vcore_json *v, const char *name,
                               vcore_arena *arena, vlm_error *err);
typedef bool (*vtext_word_fn)(void *user, vtext_piece word); /* false stops: no memory */
/* Calls fn for each word of a piece, in order. buffer: one per step. False: fn or memory failed. */
bool vtext_split(const vtext_splitter *s, vtext_piece piece, vtext_text *buffer, vtext_word_fn fn,
                 void *user);

/* ---- added tokens (added.c) ------------------------------------------------------------- */
typedef struct vtext_added {
    vcore_str content, normal; /* normal: as it looks in normalised text, if `normalized` */
    uint32_t id;
    bool special; /* skipped by a decode without special tokens */
    bool control; /* special, or a named token: matched in template text only */
    bool lstrip, rstrip, single_word, normalized;
} vtext_added;
/* Finds the leftmost longest of a set of tokens, which lie sorted by text. */
typedef struct vtext_finder {
    vcore_str *text;
    uint32_t *index; /* of the token in the list */
    size_t count;
    uint32_t first[257]; /* tokens [first[c], first[c + 1]) begin with byte c */
} vtext_finder;
typedef struct vtext_added_list {
    vtext_added *token;
    size_t count, cap;
    vcore_map *by_content;    /* -> index */
    vtext_finder raw, normal; /* the tokens matched before and after normalising */
    bool normal_control;      /* `normal` has a control token */
} vtext_added_list;
/* Adds a token as Hugging Face's add_tokens does: one of the same text takes the new flags; the id
 * is that of the same text in the vocabulary, else the next free one. The arena gets the text. */
vlm_status vtext_added_add(vlm_tokenizer *t, const vtext_added *token, uint32_t *next_id,
                           vlm_error *err);
uint32_t vtext_added_next_id(const vlm_tokenizer *t);
vtext_added *vtext_added_find(const vtext_added_list *a, vcore_str content);
vlm_status vtext_added_finish(vlm_tokenizer *t, vlm_error *err); /* builds the finders */
void vtext_added_free(vtext_added_list *a);
/* Where user text lies in the caller's text, which no control token touches: sorted ranges. */
typedef struct vtext_user {
    const uint32_t (*range)[2];
    size_t count;
} vtext_user;
/* Next token of a set in s at or behind *from, which moves behind it; NULL when there is none.
 * floor: where the one before ended, with its white space; [*begin, *end) has this one's. */
const vtext_added *vtext_added_next(const vtext_added_list *a, const vtext_finder *set,
                                    vtext_piece s, vtext_user user, size_t *from, size_t floor,
                                    size_t *begin, size_t *end);

/* ---- decoders (decode.c, decode_load.c) ------------------------------------------------- */
typedef enum vtext_decode_kind {
    VTEXT_DECODE_BYTE_LEVEL,
    VTEXT_DECODE_BYTE_FALLBACK,
    VTEXT_DECODE_FUSE,
    VTEXT_DECODE_STRIP,
    VTEXT_DECODE_REPLACE, /* of a literal, as bytes flow by */
    VTEXT_DECODE_METASPACE,
    VTEXT_DECODE_WORDPIECE, /* the prefix; its clean-up is steps of REPLACE */
    VTEXT_DECODE_SUFFIX,    /* BPEDecoder */
    VTEXT_DECODE_DISTINCT,  /* CTC: of equal tokens in a row, the first; REPLACEs, NOT_EMPTY */
    VTEXT_DECODE_NOT_EMPTY,
    VTEXT_DECODE_REGEX, /* Replace by a regular expression, of a whole token */
    VTEXT_DECODE_JOIN
} vtext_decode_kind;
enum { VTEXT_MAX_DECODE_STEPS = 64 };
typedef struct vtext_decoder {
    struct vtext_decode_step {
        vtext_decode_kind kind;
        vtext_pattern regex;        /* REGEX */
        vcore_str pattern, content; /* Replace; Strip and Metaspace: the character; prefix, suffix */
        uint32_t *fail;             /* Replace: borders of the pattern's prefixes */
        uint64_t start, stop;       /* Strip */
        bool prepended;             /* Metaspace: the first token's is dropped */
        bool only_text;             /* Replace: an empty pattern is not found in an empty token */
    } step[VTEXT_MAX_DECODE_STEPS];
    int count;
} vtext_decoder;
vlm_status vtext_decoder_load(vtext_decoder *d, const vcore_json *v, const char *name,
                              vcore_arena *arena, vlm_error *err);
/* transformers' clean_up_tokenization_spaces, over the whole text. */
vlm_status vtext_decoder_clean_up(vtext_decoder *d, const char *name, vcore_arena *arena,
                                  vlm_error *err);

/* ---- post-processor (post.c) ------------------------------------------------------------ */
typedef struct vtext_post {
    struct vtext_post_step *step[VTEXT_MAX_STEPS];
    int count;
} vtext_post;
vlm_status vtext_post_load(vlm_tokenizer *t, const vcore_json *v, vlm_error *err);
/* text: what the ids' places are in. */
bool vtext_post_apply(const vlm_tokenizer *t, bool add_special, bool offsets, const char *text,
                      vtext_ids *ids);

/* ---- what a tokenizer is loaded from (files/) ----------------------------------------------
 * The files of a folder as one tokenizer.json: the file itself, or what transformers makes of the
 * files that there are. */
typedef struct vtext_document {
    char *path;              /* of the file that has the vocabulary, for errors; owned */
    vcore_json_doc *doc[2];  /* owned */
    int docs;
    bool vision;             /* config.json has a "visual" */
    const vcore_json *root;  /* as tokenizer.json */
    const vcore_json *more;  /* may have "named" (tokens that a class names where no file does) and
                                "added_tokens_decoder" */
    const vcore_json *config, *map; /* tokenizer_config.json, special_tokens_map.json; NULL: absent */
} vtext_document;
vlm_status vtext_document_read(vtext_document *out, vtext_folder *folder, vlm_error *err);
/* Likewise from memory (fuzzing, tests), file being the name of what the bytes are. merges: of merges.txt;
 * p NULL: read from the folder. */
vlm_status vtext_document_parse(vtext_document *out, vtext_folder *folder, const char *file,
                                vcore_str bytes, vcore_str merges, vlm_error *err);
void vtext_document_free(vtext_document *d);

/* ---- the tokenizer (load.c) ------------------------------------------------------------- */
typedef struct vtext_named {
    vcore_str name, token;
} vtext_named;
struct vlm_tokenizer {
    vcore_arena *arena;
    char *name; /* of the file, for errors */
    vtext_model model;
    vtext_normalizer normalizer;
    vtext_splitter splitter;
    vtext_added_list added;
    vtext_post post;
    vtext_decoder decoder;
    uint32_t *added_by_id; /* id -> index + 1 in added, below vocab_size */
    uint32_t vocab_size;
    vtext_named *named;
    size_t n_named;
    bool needs_places; /* something looks at where normalised text came from */
};
bool vtext_ids_push(vtext_ids *ids, uint32_t id, uint32_t begin, uint32_t end, bool offsets);

#endif
