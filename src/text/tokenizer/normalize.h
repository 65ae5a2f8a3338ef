/* SPDX-License-Identifier: MIT */
/* Inside of the normalizers: what normalize*.c share. */
#ifndef VLM_TEXT_NORMALIZE_H
#define VLM_TEXT_NORMALIZE_H

#include "text/tokenizer/tok.h"

typedef struct vtext_normalize_step vtext_normalize_step;
/* Makes *s what the step makes of it: itself, a part of itself, or `out` (empty before) as a piece.
 * limit: bytes of `out` beyond which a step that may grow its text without bound can stop. False:
 * no memory. */
typedef bool (*vtext_normalize_fn)(const vtext_normalize_step *step, vtext_piece *s,
                                   vtext_text *out, size_t limit);
enum { VTEXT_FORM_COMPAT = 1, VTEXT_FORM_COMPOSED = 2 };
enum { VTEXT_MAX_MAPPED = 4 };
/* What becomes of one character: how many of out[] stand in its place. */
typedef int (*vtext_map_fn)(uint32_t cp, uint32_t out[VTEXT_MAX_MAPPED]);
typedef struct vtext_charsmap vtext_charsmap;
struct vtext_normalize_step {
    vtext_normalize_fn apply;
    unsigned option;                /* normal forms: which */
    vtext_map_fn map;               /* steps that look at each character by itself */
    vtext_pattern pattern;          /* Replace */
    vcore_str content;              /* Replace, Prepend */
    bool left, right;               /* Strip */
    const vtext_charsmap *charsmap; /* Precompiled */
};

/* ---- edits: characters that replace, join or follow characters of the source ------------------
 */
typedef struct vtext_edit {
    vtext_piece in;
    size_t at; /* what the next replaced character is */
    vtext_text *out;
} vtext_edit;
/* Writes cp. change 0: instead of the next character of the source; -k: of the next 1 + k, and it
 * keeps the first one's place; 1: it follows what came before and shares its place. */
void vtext_edit_put(vtext_edit *x, uint32_t cp, int change);

/* ---- steps ------------------------------------------------------------------------------------
 */
bool vtext_step_form(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                     size_t limit); /* NFC, NFD, NFKC, NFKD (normalize_forms.c) */
bool vtext_step_map(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                    size_t limit); /* character by character (normalize_map.c) */
bool vtext_step_precompiled(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                            size_t limit); /* normalize_precompiled.c */
/* What vtext_step_map maps by (normalize_map.c). */
int vtext_map_lower(uint32_t cp, uint32_t *out);
int vtext_map_nmt(uint32_t cp, uint32_t *out);
int vtext_map_bytes(uint32_t cp, uint32_t *out);        /* ByteLevel */
int vtext_map_unaccented(uint32_t cp, uint32_t *out);   /* StripAccents */
int vtext_map_bert_clean(uint32_t cp, uint32_t *out);   /* clean_text */
int vtext_map_bert_chinese(uint32_t cp, uint32_t *out); /* handle_chinese_chars */
int vtext_map_bert_accents(uint32_t cp, uint32_t *out); /* strip_accents, behind NFD */

/* SentencePiece's compiled map of characters, from base64. where: for errors. */
vlm_status vtext_charsmap_parse(const vtext_charsmap **out, vcore_str base64, const char *where,
                                vcore_arena *arena, vlm_error *err);

#endif
