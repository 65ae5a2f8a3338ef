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
bool vtext_is_numeric(uint32_t cp); /* \p{N} of Unicode 17 */
size_t vtext_grapheme(const char *p, size_t n); /* bytes of the first one (extended, UAX 29) */
/* Some script's number; Hiragana and Katakana count as Han, spaces and what Unicode 9 does not know
 * as 0 (scripts.c). */
int vtext_script(uint32_t cp);

/* ---- as older versions of Unicode have it (versions.c) ---------------------------------------- */
int vtext_since(uint32_t cp); /* 8, 9 or 10: of marks, punctuation, controls, decompositions */
bool vtext_mark_of_9(uint32_t cp);
bool vtext_nonspacing_of_8(uint32_t cp); /* Mn */
bool vtext_control_of_8(uint32_t cp);    /* Cc, Cf, Co */
bool vtext_punctuation_of_8(uint32_t cp); /* P, and ASCII's symbols */

/* ---- properties by name (properties.c) ---------------------------------------------------------
 */
typedef struct vtext_range {
    uint32_t first, last;
} vtext_range;
typedef struct vtext_property {
    uint32_t categories; /* bits */
    uint8_t script;      /* UINT8_MAX: categories and extra instead */
    const vtext_range *extra;
    size_t extras;
} vtext_property;
enum { VTEXT_PROPERTY_NAME = 32 }; /* bytes of the longest name */
/* \p{name} or [:name:] as Oniguruma knows it; name: lower case, without blanks, '-' and '_'. */
bool vtext_find_property(const char *name, vtext_property *out);
/* Its ranges; *at is 0 at first. Those of extra come last, out of order. */
bool vtext_property_next(const vtext_property *p, size_t *at, vtext_range *out);
/* Every character that folds to another single one, and that one. */
typedef struct vtext_fold_at {
    size_t run;
    uint32_t i;
} vtext_fold_at;
bool vtext_fold_next(vtext_fold_at *at, uint32_t *from, uint32_t *to);
/* The two or three characters that one folds to, a 0 behind two; NULL: it does not. */
const uint32_t *vtext_fold_long(uint32_t cp);

/* ---- facts (categories_data.c, scripts_data.c) ------------------------------------------------------------------
 */
typedef struct vtext_fold_run {
    uint32_t first, last, step;
    int32_t distance;
} vtext_fold_run;
typedef struct vtext_long_fold {
    uint32_t cp, to[3];
} vtext_long_fold;
extern const uint32_t vtext_category_runs[], vtext_script_runs[]; /* first << 8 | which */
extern const char *const vtext_script_names[];                    /* "latin latn" */
extern const vtext_range vtext_other_alphabetic[], vtext_other_lower[], vtext_other_upper[];
extern const vtext_fold_run vtext_folds[];
extern const vtext_long_fold vtext_long_folds[];
extern const size_t vtext_category_runs_count, vtext_script_runs_count, vtext_script_names_count,
    vtext_other_alphabetic_count, vtext_other_lower_count, vtext_other_upper_count,
    vtext_folds_count, vtext_long_folds_count;

/* ---- byte level alphabet (unicode.c): GPT-2's printable stand-ins for the 256 bytes */
uint32_t vtext_byte_char(uint8_t byte);                 /* code point that stands for it */
static inline uint32_t vtext_byte_width(uint8_t byte) { /* bytes of its stand-in */
    return byte > 0x20 && byte < 0x7F ? 1 : 2;
}
int vtext_char_byte(uint32_t cp); /* -1: stands for none */

#endif
