/* SPDX-License-Identifier: MIT */
/* What a checkpoint directory is and would need, as JSON, without reading its weights: what its
 * files and its model say of themselves. What a run would hold in memory is predicted in predict.c.
 */
#include "engine/session/session.h"

/* Null when nobody knows. */
static void put_names(vcore_buf *b, const char *key, bool known, const char *const *names,
                      size_t n) {
    if (!known) {
        vcore_json_put_text(b, key, NULL);
        return;
    }
    vcore_json_open(b, key, '[');
    for (size_t i = 0; i < n; i++) vcore_json_put_text(b, NULL, names[i]);
    vcore_json_close(b, ']');
}

static void put_eos(vcore_buf *b, const vlm_context *c) {
    vcore_json_open(b, "eos", '[');
    for (size_t i = 0; i < c->eos.n; i++) {
        vcore_str token;
        vcore_json_open(b, NULL, '{');
        vcore_json_put_uint(b, "id", c->eos.id[i]);
        if (c->tokenizer && vtext_id_to_token(c->tokenizer, c->eos.id[i], &token))
            vcore_json_put_str(b, "token", token);
        else
            vcore_json_put_text(b, "token", NULL);
        vcore_json_put_text(b, "source", c->eos.source[i]);
        vcore_json_close(b, '}');
    }
    vcore_json_close(b, ']');
}

/* ---- dtypes ---------------------------------------------------------------------------------- */

enum { DTYPES = VIO_F8_E8M0 + 1 };

/* {"F32": bytes, ...}, of the dtypes that are there. */
static void put_dtypes(vcore_buf *b, const char *key, const uint64_t bytes[DTYPES]) {
    vcore_json_open(b, key, '{');
    for (int t = 0; t < DTYPES; t++)
        if (bytes[t]) vcore_json_put_uint(b, vio_dtype_name((vio_dtype)t), bytes[t]);
    vcore_json_close(b, '}');
}

/* Where a tensor belongs: the first two parts of its name, without the last part of all. */
static vcore_str module_of(const char *name) {
    const char *first = strchr(name, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    return (vcore_str) { name, second  ? (size_t)(second - name)
                               : first ? (size_t)(first - name)
                                       : strlen(name) };
}

typedef struct module {
    vcore_str name;
    uint64_t bytes[DTYPES];
} module;

/* Bytes per dtype, over all tensors of the checkpoint and over its modules, in the order of their
 * names; modules behind the last one there is room for come together. */
static void put_tensors(vcore_buf *b, const vlm_context *c) {
    module modules[64];
    uint64_t all[DTYPES] = { 0 };
    size_t n = 0, most = sizeof modules / sizeof modules[0];
    for (size_t i = 0; c->tensors && i < vio_tensors_count(c->tensors); i++) {
        const vio_tensor *t = vio_tensors_at(c->tensors, i);
        vcore_str name = module_of(t->name);
        size_t k = 0;
        while (k < n && !vcore_str_eq(modules[k].name, name)) k++;
        if (k == most) modules[--k].name = vcore_str_of("others");
        if (k == n) modules[n++] = (module) { .name = name };
        modules[k].bytes[t->dtype] += t->bytes;
        all[t->dtype] += t->bytes;
    }
    put_dtypes(b, "dtypes", all);
    vcore_json_open(b, "modules", '{');
    for (size_t k = 0; k < n; k++) {
        vcore_json_key(b, modules[k].name);
        put_dtypes(b, NULL, modules[k].bytes);
    }
    vcore_json_close(b, '}');
}

/* ---- quantization ---------------------------------------------------------------------------- */

static void put_params(vcore_buf *b, const char *mode, int bits, int group_size) {
    vcore_json_put_text(b, "mode", mode);
    vcore_json_put_int(b, "bits", bits);
    vcore_json_put_int(b, "group_size", group_size);
}

static bool same_params(const vmodel_module *a, const vmodel_module *b) {
    return !strcmp(a->mode, b->mode) && a->bits == b->bits && a->group_size == b->group_size
           && a->dense == b->dense;
}

/* What config.json says of the whole, and how each module that is stored as no float was bound. */
static void put_quantization(vcore_buf *b, const vlm_context *c) {
    const vlm_quantization *q = vlm_base_config_quantization(c->config);
    vlm_quantization_params whole;
    size_t n;
    const vmodel_module *m = vmodel_build_modules(c->build, &n);
    if (!q && !n) {
        vcore_json_put_text(b, "quantization", NULL);
        vcore_json_open(b, "quantized_modules", '[');
        vcore_json_close(b, ']');
        return;
    }
    vcore_json_open(b, "quantization", '{');
    vcore_json_put_text(b, "method", q ? vlm_quantization_method(q) : NULL);
    if (vlm_quantization_default(q, &whole))
        put_params(b, vlm_quantization_mode_name(whole.mode), whole.bits, whole.group_size);
    vcore_json_close(b, '}');
    vcore_json_open(b, "quantized_modules", '[');
    for (size_t i = 0; i < n; i++) {
        size_t first = 0; /* of those stored alike */
        while (!same_params(&m[first], &m[i])) first++;
        if (first < i) continue;
        vcore_json_open(b, NULL, '{');
        put_params(b, m[i].mode, m[i].bits, m[i].group_size);
        vcore_json_put_bool(b, "dense", m[i].dense);
        vcore_json_open(b, "names", '[');
        for (size_t k = i; k < n; k++)
            if (same_params(&m[i], &m[k])) vcore_json_put_text(b, NULL, m[k].name);
        vcore_json_close(b, ']');
        vcore_json_close(b, '}');
    }
    vcore_json_close(b, ']');
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void put_device(vcore_buf *b, const vengine_memory *m) {
    vcore_json_open(b, "device_memory", '{');
    vcore_json_put_uint(b, "weights_bytes", m->device_weights);
    vcore_json_put_uint(b, "kv_bytes", m->device_state);
    vcore_json_put_uint(b, "temporaries_bytes", m->device_temporaries);
    vcore_json_put_uint(b, "session_bytes", m->device_own);
    vcore_json_put_uint(b, "peak_bytes", m->device_peak);
    vcore_json_put_uint(b, "free_bytes", m->device_free);
    vcore_json_put_uint(b, "total_bytes", m->device_total);
    vcore_json_put_bool(b, "fits", m->device_peak <= m->device_free);
    vcore_json_close(b, '}');
}

static void put_memory(vcore_buf *b, const vengine_memory *m) {
    vcore_json_put_uint(b, "prompt_tokens", m->prompt_tokens);
    vcore_json_put_uint(b, "image_tokens", m->media_tokens);
    vcore_json_open(b, "memory", '{');
    vcore_json_put_uint(b, "weights_bytes", m->weights);
    vcore_json_put_uint(b, "computed_bytes", m->computed);
    vcore_json_put_uint(b, "tokenizer_bytes", m->tokenizer);
    vcore_json_put_uint(b, "input_bytes", m->input);
    vcore_json_put_uint(b, "kv_bytes", m->state);
    vcore_json_put_uint(b, "temporaries_bytes", m->temporaries);
    vcore_json_put_uint(b, "scratch_bytes", m->scratch);
    vcore_json_put_uint(b, "logits_bytes", m->logits);
    vcore_json_close(b, '}');
    if (m->on_device) put_device(b, m);
    vcore_json_put_uint(b, "pictures_bytes", m->pictures);
    vcore_json_put_uint(b, "peak_bytes", m->peak);
}

static void put_context(vcore_buf *b, const vlm_context *c) {
    const vmodel_usage *usage = vmodel_build_usage(c->build);
    vcore_json_put_text(b, "model_type", vlm_base_config_model_type(c->config));
    vcore_json_put_text(b, "maps_to", c->info.model_type);
    vcore_json_put_text(b, "processor_class", c->info.processor_class);
    vcore_json_put_text(b, "processor_file", c->info.processor_file);
    vcore_json_put_bool(b, "has_weights", c->tensors != NULL);
    vcore_json_put_bool(b, "has_tokenizer", c->tokenizer != NULL);
    vcore_json_put_bool(b, "has_chat_template", c->chat_template != NULL);
    vcore_json_put_text(b, "message_format", c->message_format->name);
    put_tensors(b, c);
    put_quantization(b, c);
    bool counted = c->tensors != NULL;
    vcore_json_put_uint(b, "parameters", counted ? c->info.parameters : usage->missing_parameters);
    vcore_json_put_text(b, "parameters_from", counted ? "weights" : "config.json");
    vcore_json_put_uint(b, "weight_bytes", c->info.weight_bytes);
    vcore_json_put_uint(b, "computed_bytes", c->info.computed_bytes);
    vcore_json_put_uint(b, "layers", c->info.layers);
    vcore_json_put_uint(b, "vocab_size", c->info.vocab_size);
    vcore_json_put_text(b, "missing_file",
                        c->tensors ? vio_tensors_missing_file(c->tensors) : NULL);
    put_names(b, "missing", counted, usage->missing, usage->n_missing);
    put_names(b, "unused", counted, usage->unused, usage->n_unused);
    put_eos(b, c);
}

static vlm_status inspect(vcore_buf *b, const vlm_context *c, const vlm_input *input,
                          const vlm_session_options *session, vlm_error *err) {
    vengine_memory memory;
    vcore_json_open(b, NULL, '{');
    put_context(b, c);
    if (input) {
        VTRY(vengine_predict(&memory, c, input, session, err));
        put_memory(b, &memory);
    }
    vcore_json_close(b, '}');
    return VLM_OK;
}

vlm_status vlm_inspect(char **json, const char *dir, const vlm_load_options *options,
                       const vlm_input *input, const vlm_session_options *session, vlm_error *err) {
    if (json) *json = NULL;
    if (!json || !dir) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_inspect: a null argument");
    vlm_session_options how;
    VTRY(vengine_session_options(&how, session, err));
    how.progress = NULL;
    vlm_context *c;
    VTRY(vengine_load(&c, dir, options, VENGINE_INSPECT, err));
    vcore_buf b = { 0 };
    vlm_status status = inspect(&b, c, input, &how, err);
    vlm_context_free(c);
    if (status >= 0 && !(*json = vcore_buf_take(&b))) status = vcore_no_memory(err, "inspect");
    vcore_buf_free(&b);
    return status;
}
