/* SPDX-License-Identifier: MIT */
/* The model of a tokenizer: which kind it is, its vocabulary, the way of a word to that kind's
 * code, and the memory which words share. How a kind makes tokens lies in its own file. */
#include "text/tokenizer/tok.h"

#include <stdio.h>

/* ---- shared memory -------------------------------------------------------------------------- */
bool vtext_scratch_room(vtext_scratch *s, size_t symbols) {
    if (symbols <= s->cap) return true;
    size_t cap = symbols < 256 ? 256 : symbols + symbols / 2;
    vtext_symbol *more = vcore_realloc_array(s->symbol, cap, sizeof *more);
    if (!more) return false;
    s->symbol = more;
    s->cap = cap;
    return true;
}

void vtext_scratch_free(vtext_scratch *s) {
    vcore_free(s->symbol);
    vcore_free(s->heap);
    vcore_free(s->best);
    vcore_buf_free(&s->text);
    *s = (vtext_scratch) { 0 };
}

/* ---- loading -------------------------------------------------------------------------------- */
vlm_status vtext_model_fail(vlm_error *err, const char *name, const char *key, const char *what) {
    char field[64];
    snprintf(field, sizeof field, "model.%s", key);
    return vcore_fail_field(err, VLM_ERR_FORMAT, name, field, "%s", what);
}

vlm_status vtext_model_load_vocab(vtext_vocab *vocab, const vcore_json *v, const char *name,
                                  vlm_error *err) {
    if (vcore_json_kind_of(v) != VCORE_JSON_OBJECT)
        return vtext_model_fail(err, name, "vocab", "must be an object");
    int64_t id, largest = -1;
    if (vcore_json_count(v) > VTEXT_MAX_ID)
        return vcore_fail_limit(err, name, "model.vocab", VTEXT_MAX_ID, "tokens");
    for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it);) {
        if (!vcore_json_int(it.value, &id) || id < 0 || id > VTEXT_MAX_ID)
            return vcore_fail_field(err, VLM_ERR_FORMAT, name, "model.vocab",
                                    "token '%.*s': must be an integer in [0, %d]",
                                    (int)(it.key.n < 80 ? it.key.n : 80), it.key.p, VTEXT_MAX_ID);
        if (id > largest) largest = id;
    }
    VTRY(vtext_vocab_init(vocab, vcore_json_count(v), (uint32_t)(largest + 1), err));
    for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it);) {
        vcore_json_int(it.value, &id);
        if (!vtext_vocab_add(vocab, it.key, (uint32_t)id))
            return vcore_no_memory(err, "vocabulary");
    }
    return VLM_OK;
}

void vtext_model_find_bytes(const vtext_vocab *vocab, uint32_t id[256]) {
    for (int i = 0; i < 256; i++) {
        char text[8];
        size_t n = (size_t)snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        if (!vtext_vocab_find(vocab, (vcore_str) { text, n }, &id[i])) id[i] = VTEXT_NONE;
    }
}

static bool has(const vcore_json *v, const char *key) {
    return vcore_json_get(v, key) != NULL;
}

/* Old files do not say what they are: the first that the fields make. */
static vcore_str guess_type(const vcore_json *v) {
    bool map = vcore_json_kind_of(vcore_json_get(v, "vocab")) == VCORE_JSON_OBJECT;
    return vcore_str_of(has(v, "merges") ? "BPE"
                        : map && has(v, "continuing_subword_prefix")
                                && has(v, "max_input_chars_per_word")
                            ? "WordPiece"
                        : map ? "WordLevel"
                              : "Unigram");
}

vlm_status vtext_model_load(vtext_model *m, const vcore_json *v, const char *name, vlm_error *err) {
    static const char *const names[] = { "BPE", "Unigram", "WordPiece", "WordLevel" };
    vcore_str type;
    int kind = 0;
    if (vcore_json_kind_of(v) != VCORE_JSON_OBJECT)
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, "model", "must be an object");
    if (!has(v, "type"))
        type = guess_type(v);
    else if (!vcore_json_string(vcore_json_get(v, "type"), &type))
        return vtext_model_fail(err, name, "type", "must be a string");
    while (kind < 4 && !vcore_str_eq(type, vcore_str_of(names[kind]))) kind++;
    m->kind = (vtext_model_kind)kind;
    switch (kind) {
    case VTEXT_BPE: return vtext_bpe_load(&m->bpe, &m->vocab, v, name, err);
    case VTEXT_UNIGRAM: return vtext_unigram_load(&m->unigram, &m->vocab, v, name, err);
    case VTEXT_WORDPIECE: return vtext_wordpiece_load(&m->wordpiece, &m->vocab, v, name, err);
    case VTEXT_WORDLEVEL: return vtext_wordlevel_load(&m->wordpiece, &m->vocab, v, name, err);
    }
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, name, "model.type", "'%.*s' is not supported",
                            (int)(type.n < 60 ? type.n : 60), type.p);
}

size_t vtext_model_bytes(const vtext_model *m) {
    return vtext_vocab_bytes(&m->vocab) + vtext_bpe_bytes(&m->bpe)
           + vtext_unigram_bytes(&m->unigram) + vtext_wordpiece_bytes(&m->wordpiece);
}

void vtext_model_free(vtext_model *m) {
    vtext_bpe_free(&m->bpe);
    vtext_unigram_free(&m->unigram);
    vtext_wordpiece_free(&m->wordpiece);
    vtext_vocab_free(&m->vocab);
}

/* ---- words ---------------------------------------------------------------------------------- */
/* The word as its bytes' stand-ins spell it. */
static bool spell(vtext_scratch *s, const char *p, size_t n) {
    s->text.n = 0;
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        vcore_buf_add(&s->text, utf8, vcore_utf8_encode(vtext_byte_char((uint8_t)p[i]), utf8));
    }
    return !s->text.failed;
}

bool vtext_model_word(const vtext_model *m, vtext_scratch *s, const char *p, size_t n,
                      bool byte_level) {
    if (m->kind == VTEXT_BPE) return vtext_bpe_word(&m->bpe, s, p, n, byte_level);
    if (byte_level) {
        if (!spell(s, p, n)) return false;
        p = s->text.p;
        n = s->text.n;
    }
    switch (m->kind) {
    case VTEXT_UNIGRAM: return vtext_unigram_word(&m->unigram, s, p, n);
    case VTEXT_WORDPIECE: return vtext_wordpiece_word(&m->wordpiece, s, p, n);
    default: return vtext_wordlevel_word(&m->wordpiece, s, p, n);
    }
}

vlm_status vtext_model_unknown(const vtext_model *m, const char *name, vlm_error *err) {
    if (m->kind == VTEXT_UNIGRAM)
        return vtext_model_fail(err, name, "unk_id",
                                "is missing, and the text has a character that is in no token");
    return vtext_model_fail(err, name, "unk_token",
                            "is not in the vocabulary, and the text has what is not either");
}
