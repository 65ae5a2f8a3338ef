/* SPDX-License-Identifier: MIT */
/* What the tests of tokenizers share. */
#ifndef TOKENIZER_CHECK_H
#define TOKENIZER_CHECK_H

#include "support/cm.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>

#define DATA "tests/data/tokenizers/"
#define SPAN(text, user)                                                                           \
    { text, sizeof text - 1, user }

static vlm_error err;

static inline vlm_tokenizer *load_file(const char *name, const char *config) {
    char path[200];
    vio_bytes text;
    vlm_tokenizer *t;
    snprintf(path, sizeof path, DATA "%s.json", name);
    if (vio_read_text(&text, path, 1 << 24, NULL, &err) != VLM_OK) fail_msg("%s", err.message);
    if (vtext_tokenizer_parse(&t, text.p, text.n, config, config ? strlen(config) : 0, name, &err)
        != VLM_OK)
        fail_msg("%s", err.message);
    vcore_free(text.p);
    return t;
}

static inline vtext_ids encode(const vlm_tokenizer *t, const vtext_span *spans, size_t n, bool special) {
    vtext_ids ids = { 0 };
    if (vtext_encode(t, spans, n, special, true, &ids, &err) != VLM_OK) fail_msg("%s", err.message);
    return ids;
}

#endif
