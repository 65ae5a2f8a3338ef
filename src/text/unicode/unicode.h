/* SPDX-License-Identifier: MIT */
/* Characters, as the tokenizer sees them: classes, normal forms, stand-ins for bytes. */
#ifndef VLM_TEXT_TOK_UNICODE_H
#define VLM_TEXT_TOK_UNICODE_H

#include "core/core.h"

/* ---- characters ----------------------------------------------------------------------------- */
typedef enum vtext_class { VTEXT_OTHER, VTEXT_LETTER, VTEXT_NUMBER, VTEXT_SPACE } vtext_class;
vtext_class vtext_class_of(uint32_t cp); /* \p{L}, \p{N}, \s (White_Space) */
bool vtext_is_space(uint32_t cp);
bool vtext_is_mark(uint32_t cp); /* \p{M} */
bool vtext_is_word(uint32_t cp); /* \w: letters, marks, decimal digits, connectors, joiners */
enum {
    VTEXT_UPPER = 1,
    VTEXT_LOWER = 2
};                                  /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
int vtext_letter_case(uint32_t cp); /* of these two, 0 to both */
uint8_t vtext_combining_class(uint32_t cp);
bool vtext_is_boundary(uint32_t cp); /* text may be cut before it and normalised apart */
/* A boundary that normalises to itself when another boundary follows. */
bool vtext_is_inert(uint32_t cp, bool compat, bool composed);
enum { VTEXT_MAX_DECOMPOSED = 32 };
int vtext_decompose(uint32_t cp, bool compat, uint32_t out[VTEXT_MAX_DECOMPOSED]);
bool vtext_compose(uint32_t a, uint32_t b, uint32_t *out); /* canonical composition of two */
uint32_t vtext_lower(uint32_t cp);

/* ---- byte level alphabet (unicode.c): GPT-2's printable stand-ins for the 256 bytes */
uint32_t vtext_byte_char(uint8_t byte);                 /* code point that stands for it */
static inline uint32_t vtext_byte_width(uint8_t byte) { /* bytes of its stand-in */
    return byte > 0x20 && byte < 0x7F ? 1 : 2;
}
int vtext_char_byte(uint32_t cp); /* -1: stands for none */

#endif
