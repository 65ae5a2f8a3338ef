/* SPDX-License-Identifier: MIT */
/* The model of a tokenizer: which kind it is, its vocabulary, the way of a word to that kind's code,
 * and the memory which words share. How a kind makes tokens lies in its own file. */
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

vlm_status vtext_model_load(vtext_model *m, const vcore_json *v, const char *name, vlm_error *err) {
    vcore_str type = { NULL, 0 };
    if (vcore_json_kind_of(v) != VCORE_JSON_OBJECT)
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, "model", "must be an object");
    if (!vcore_json_string(vcore_json_get(v, "type"), &type)) /* old files do not say */
        type = vcore_str_of(vcore_json_get(v, "merges")                     ? "BPE"
                            : vcore_json_get(v, "max_input_chars_per_word") ? "WordPiece"
                            : vcore_json_get(v, "unk_id")                   ? "Unigram"
                                                                            : "WordLevel");
    m->kind = VTEXT_BPE;
    if (vcore_str_eq(type, vcore_str_of("BPE")))
        return vtext_bpe_load(&m->bpe, &m->vocab, v, name, err);
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, name, "model.type", "'%.*s' is not supported",
                            (int)(type.n < 60 ? type.n : 60), type.p);
}

size_t vtext_model_bytes(const vtext_model *m) {
    return vtext_vocab_bytes(&m->vocab) + vtext_bpe_bytes(&m->bpe);
}

void vtext_model_free(vtext_model *m) {
    vtext_bpe_free(&m->bpe);
    vtext_vocab_free(&m->vocab);
}

/* ---- words ---------------------------------------------------------------------------------- */
bool vtext_model_word(const vtext_model *m, vtext_scratch *s, const char *p, size_t n,
                      bool byte_level) {
    return vtext_bpe_word(&m->bpe, s, p, n, byte_level);
}
