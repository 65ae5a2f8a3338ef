/* SPDX-License-Identifier: MIT */
/* Patterns: what the components of a tokenizer look for in text. Knows nothing of tokenizers. */
#ifndef VLM_TEXT_REGEX_H
#define VLM_TEXT_REGEX_H

#include "core/core.h"

/* A literal, or one of the regular expressions of known tokenizers, matched by hand-written code
 * that looks at each character a bounded number of times. */
typedef struct vtext_pattern {
    vcore_str literal;                                   /* when match is NULL */
    size_t (*match)(const char *p, size_t n, size_t at); /* end of the match at `at`, 0: none */
} vtext_pattern;
/* {"String": ..} or {"Regex": ..}. where: file and key, for errors. Text is borrowed from the
 * arena. */
vlm_status vtext_pattern_parse(vtext_pattern *out, const vcore_json *v, const char *where,
                               vcore_arena *arena, vlm_error *err);
/* GPT-2's, which the ByteLevel pre-tokenizer applies by itself. */
extern const vtext_pattern vtext_pattern_gpt2;
extern const vtext_pattern vtext_pattern_spaces; /* \s+ */
/* Next match at or behind `from`; false when there is none. */
bool vtext_pattern_next(const vtext_pattern *pattern, const char *p, size_t n, size_t from,
                        size_t *begin, size_t *end);

#endif
