/* SPDX-License-Identifier: MIT */
/* Inside of the pre-tokenizers: a step, its way of cutting, and what it may use. */
#ifndef VLM_TEXT_SPLIT_H
#define VLM_TEXT_SPLIT_H

#include "text/tokenizer/tok.h"

typedef enum vtext_behavior {
    VTEXT_REMOVED,
    VTEXT_ISOLATED,
    VTEXT_MERGED_WITH_PREVIOUS,
    VTEXT_MERGED_WITH_NEXT,
    VTEXT_CONTIGUOUS
} vtext_behavior;

typedef struct vtext_split_step vtext_split_step;
typedef struct vtext_split_run vtext_split_run; /* one call of vtext_split, at one step */
/* Cuts a piece (never an empty one) and emits its words in order. False: no memory, or the receiver
 * stopped. */
typedef bool (*vtext_split_fn)(const vtext_split_run *r, vtext_piece piece);
struct vtext_split_step {
    vtext_split_fn split;
    vtext_pattern pattern;         /* Split */
    bool (*is_match)(uint32_t cp); /* steps that look for single characters */
    vtext_behavior behavior;
    bool invert;
    bool splits;               /* Metaspace, ByteLevel: false if it only rewrites */
    bool prefix_space;         /* ByteLevel */
    bool prepends, only_first; /* Metaspace */
    vcore_str replacement;     /* Metaspace; CharDelimiterSplit: the delimiter */
    size_t length;             /* FixedLength: in characters */
};
struct vtext_split_run {
    const vtext_splitter *s;
    int at; /* the step */
    const vtext_split_step *step;
    vtext_text *buffer; /* one per step */
    vtext_word_fn fn;
    void *user;
};

bool vtext_split_pattern(const vtext_split_run *r, vtext_piece piece);
bool vtext_split_characters(const vtext_split_run *r, vtext_piece piece);
bool vtext_split_literal(const vtext_split_run *r, vtext_piece piece);
bool vtext_split_words(const vtext_split_run *r, vtext_piece piece); /* \w+|[^\w\s]+ */
bool vtext_split_scripts(const vtext_split_run *r, vtext_piece piece);
bool vtext_split_length(const vtext_split_run *r, vtext_piece piece);
bool vtext_split_metaspace(const vtext_split_run *r, vtext_piece piece);
bool vtext_split_byte_level(const vtext_split_run *r, vtext_piece piece); /* leaves bytes */
bool vtext_split_stand_ins(const vtext_split_run *r, vtext_piece piece);  /* bytes to stand-ins */

#endif
