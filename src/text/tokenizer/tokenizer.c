/* SPDX-License-Identifier: MIT */
/* The tokenizer's public functions, and the look-ups that other layers use. */
#include "text/tokenizer/tok.h"

vlm_status vlm_tokenizer_load(vlm_tokenizer **out, const char *dir, const vlm_limits *limits,
                              vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !dir)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_tokenizer_load: out and dir are required");
    vio_source from = vio_source_of(limits);
    vtext_folder folder;
    VTRY(vtext_folder_open(&folder, dir, &from, err));
    vlm_status status = vtext_tokenizer_load(out, &folder, err);
    vtext_folder_close(&folder);
    return status;
}

void vlm_tokenizer_free(vlm_tokenizer *tokenizer) {
    vtext_tokenizer_free(tokenizer);
}

vlm_status vlm_tokenizer_encode(vlm_tokens *out, const vlm_tokenizer *tokenizer, const char *text,
                                size_t bytes, unsigned flags, vlm_error *err) {
    if (out) *out = (vlm_tokens) { 0 };
    if (!out || !tokenizer || (!text && bytes))
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_tokenizer_encode: out, tokenizer and text are required");
    if (flags & ~(unsigned)(VLM_ENCODE_ADD_SPECIAL | VLM_ENCODE_PLAIN))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_tokenizer_encode: unknown flags 0x%x", flags);
    vtext_ids ids = { 0 };
    vtext_span span = { text, bytes, (flags & VLM_ENCODE_PLAIN) != 0 };
    vlm_status status =
        vtext_encode(tokenizer, &span, 1, flags & VLM_ENCODE_ADD_SPECIAL, true, &ids, err);
    if (status < 0)
        vtext_ids_free(&ids);
    else
        *out = (vlm_tokens) { ids.id, ids.begin, ids.end, ids.n };
    return status;
}

void vlm_tokens_free(vlm_tokens *tokens) {
    if (!tokens) return;
    vcore_free(tokens->ids);
    vcore_free(tokens->begins);
    vcore_free(tokens->ends);
    *tokens = (vlm_tokens) { 0 };
}

vlm_status vlm_tokenizer_decode(char **out, const vlm_tokenizer *tokenizer, const uint32_t *ids,
                                size_t count, int skip_special, vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !tokenizer || (!ids && count))
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_tokenizer_decode: out, tokenizer and ids are required");
    vcore_buf text = { 0 };
    vlm_status status = vtext_decode(tokenizer, ids, count, skip_special != 0, &text, err);
    if (status < 0) {
        vcore_buf_free(&text);
        return status;
    }
    *out = vcore_buf_take(&text);
    return *out ? VLM_OK : vcore_no_memory(err, "text");
}

const char *vlm_tokenizer_token(const vlm_tokenizer *tokenizer, uint32_t id) {
    vcore_str text;
    return tokenizer && vtext_id_to_token(tokenizer, id, &text) ? text.p : NULL;
}

/* ---- look-ups ------------------------------------------------------------------------------- */
static const vtext_added *added(const vlm_tokenizer *t, uint32_t id) {
    uint32_t i = id < t->vocab_size ? t->added_by_id[id] : 0;
    return i ? &t->added.token[i - 1] : NULL;
}

uint32_t vtext_vocab_size(const vlm_tokenizer *t) {
    return t->vocab_size;
}

bool vtext_token_to_id(const vlm_tokenizer *t, vcore_str token, uint32_t *id) {
    const vtext_added *a = vtext_added_find(&t->added, token);
    if (a) *id = a->id;
    return a || vtext_vocab_find(&t->model.vocab, token, id);
}

bool vtext_id_to_token(const vlm_tokenizer *t, uint32_t id, vcore_str *token) {
    const vtext_added *a = added(t, id);
    *token = a ? a->content : vtext_vocab_text(&t->model.vocab, id);
    return token->p != NULL;
}

bool vtext_is_special(const vlm_tokenizer *t, uint32_t id) {
    const vtext_added *a = added(t, id);
    return a && a->special;
}

void vtext_control_token(vlm_tokenizer *t, uint32_t id) {
    uint32_t i = id < t->vocab_size ? t->added_by_id[id] : 0;
    if (!i) return;
    t->added.token[i - 1].control = true;
    t->added.normal_control |= t->added.token[i - 1].normalized;
}

bool vtext_named_token(const vlm_tokenizer *t, const char *name, vcore_str *token) {
    for (size_t i = 0; i < t->n_named; i++)
        if (vcore_str_eq(t->named[i].name, vcore_str_of(name))) {
            *token = t->named[i].token;
            return true;
        }
    return false;
}
