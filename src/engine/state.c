/* SPDX-License-Identifier: MIT */
/* The state of a timeline, layer by layer: how large it is and where each layer's part lies. Owns
 * no memory: a session allocates it, a dry run has none. */
#include "engine/engine.h"

static vlm_dtype state_dtype(const vlm_context *c) {
    return c->mode == VTENSOR_EXACT ? VLM_DTYPE_F32 : VLM_DTYPE_BF16;
}

/* Bytes of a layer's keys, and of its values. */
static bool layer_bytes(size_t *out, const vlm_state_layer *layer, size_t capacity,
                        vlm_dtype dtype) {
    return vcore_mul((size_t)(layer->kv_heads * layer->head_dim), vtensor_dtype_size(dtype), out)
           && vcore_mul(*out, capacity, out);
}

vlm_status vengine_state_bytes(size_t *out, const vlm_context *c, size_t capacity, vlm_error *err) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    size_t total = 0, bytes;
    if (capacity > c->source.limits.context_tokens)
        return vcore_fail_at(err, VLM_ERR_LIMIT,
                             (vcore_where) { .limit = c->source.limits.context_tokens },
                             "context: %zu tokens, the limit is %llu", capacity,
                             (unsigned long long)c->source.limits.context_tokens);
    for (int64_t l = 0; l < text->layers; l++)
        if (!layer_bytes(&bytes, &text->state[l], capacity, state_dtype(c))
            || !vcore_mul(bytes, 2, &bytes) || !vcore_add(total, bytes, &total))
            return vcore_fail(err, VLM_ERR_LIMIT,
                              "context: %zu tokens need more memory than there is", capacity);
    *out = total;
    return VLM_OK;
}

void vengine_state_place(vlm_kv *kv, const vlm_context *c, size_t capacity, void *memory) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    vlm_dtype dtype = state_dtype(c);
    char *at = memory;
    for (int64_t l = 0; l < text->layers; l++) {
        const vlm_state_layer *layer = &text->state[l];
        const int64_t shape[] = { (int64_t)capacity, layer->kv_heads, layer->head_dim };
        size_t bytes = 0;
        layer_bytes(&bytes, layer, capacity, dtype);
        kv[l].k = vtensor_of(at, dtype, 3, shape);
        kv[l].v = vtensor_of(at ? at + bytes : NULL, dtype, 3, shape);
        if (at) at += 2 * bytes;
    }
}
