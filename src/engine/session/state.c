/* SPDX-License-Identifier: MIT */
/* The state of a timeline, layer by layer: how large it is and where each layer's part lies. Owns
 * no memory: a session allocates it, a dry run has none. */
#include "engine/session/session.h"

/* Positions that a short convolution's state holds beyond those that it sees: so far may a timeline be cut back. */
enum { SPARE = 16 };

static vtensor_kv_form form_of(const vlm_context *c, uint32_t kv_bits, const vlm_state_layer *layer,
                               size_t capacity) {
    bool whole = c->mode == VTENSOR_EXACT && kv_bits == 0;
    if (layer->kind == VLM_STATE_CONV)
        return (vtensor_kv_form) { .dtype = VLM_DTYPE_F32,
                                   .capacity = layer->window + SPARE,
                                   .heads = layer->kv_heads,
                                   .head_dim = layer->head_dim,
                                   .keys_only = true };
    return (vtensor_kv_form) {
        .dtype = whole ? VLM_DTYPE_F32 : VLM_DTYPE_BF16,
        .bits = kv_bits == 8 || kv_bits == 4 ? (int)kv_bits : 0,
        .capacity = (int64_t)capacity,
        .heads = layer->kv_heads,
        .head_dim = layer->head_dim,
    };
}

vlm_status vengine_state_bytes(size_t *out, const vlm_context *c, uint32_t kv_bits, size_t capacity,
                               vlm_error *err) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    size_t total = 0, bytes;
    if (capacity > c->source.limits.context_tokens)
        return vcore_fail_at(err, VLM_ERR_LIMIT,
                             (vcore_where) { .limit = c->source.limits.context_tokens },
                             "context: %zu tokens, the limit is %llu", capacity,
                             (unsigned long long)c->source.limits.context_tokens);
    for (int64_t l = 0; l < text->layers; l++) {
        vtensor_kv_form form = form_of(c, kv_bits, &text->state[l], capacity);
        if (!vtensor_kv_bytes(&bytes, &form) || !vcore_add(total, bytes, &total))
            return vcore_fail(err, VLM_ERR_LIMIT,
                              "context: %zu tokens need more memory than there is", capacity);
    }
    *out = total;
    return VLM_OK;
}

void vengine_state_place(vlm_kv *kv, const vlm_context *c, uint32_t kv_bits, size_t capacity,
                         void *memory) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    char *at = memory;
    for (int64_t l = 0; l < text->layers; l++) {
        vtensor_kv_form form = form_of(c, kv_bits, &text->state[l], capacity);
        size_t bytes = 0;
        vtensor_kv_place(&kv[l], &form, at);
        if (at && vtensor_kv_bytes(&bytes, &form)) at += bytes;
    }
}

bool vengine_state_reaches(const vlm_context *c, size_t length, size_t keep) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    if (keep == 0 || keep >= length || length - keep <= SPARE) return true;
    for (int64_t l = 0; l < text->layers; l++)
        if (text->state[l].kind == VLM_STATE_CONV) return false;
    return true;
}
