/* SPDX-License-Identifier: MIT */
/* What a checkpoint directory is and would need, as JSON, without reading its weights. What it predicts
 * comes from a dry run: the model's own forward pass over shapes alone. */
#include "engine/engine.h"

static void key(vcore_buf *b, const char *name) {
    vcore_buf_puts(b, ",");
    vcore_json_quote(b, name, strlen(name));
    vcore_buf_puts(b, ":");
}

static void text_field(vcore_buf *b, const char *name, const char *value) {
    key(b, name);
    if (value)
        vcore_json_quote(b, value, strlen(value));
    else
        vcore_buf_puts(b, "null");
}

static void number_field(vcore_buf *b, const char *name, uint64_t value) {
    key(b, name);
    vcore_buf_printf(b, "%llu", (unsigned long long)value);
}

static void names_field(vcore_buf *b, const char *name, const char *const *names, size_t n) {
    key(b, name);
    vcore_buf_puts(b, "[");
    for (size_t i = 0; i < n; i++) {
        if (i) vcore_buf_puts(b, ",");
        vcore_json_quote(b, names[i], strlen(names[i]));
    }
    vcore_buf_puts(b, "]");
}

static void eos_field(vcore_buf *b, const vlm_context *c) {
    key(b, "eos");
    vcore_buf_puts(b, "[");
    for (size_t i = 0; i < c->eos.n; i++) {
        vcore_str token = { "", 0 };
        vtext_id_to_token(c->tokenizer, c->eos.id[i], &token);
        vcore_buf_printf(b, "%s{\"id\":%u,\"token\":", i ? "," : "", c->eos.id[i]);
        vcore_json_quote(b, token.p, token.n);
        vcore_buf_printf(b, ",\"source\":\"%s\"}", c->eos.source[i]);
    }
    vcore_buf_puts(b, "]");
}

/* {"F32": bytes, ...}, of the dtypes that are there. */
static void dtypes_object(vcore_buf *b, const uint64_t *bytes) {
    vcore_buf_puts(b, "{");
    bool first = true;
    for (int t = 0; t <= VIO_F8_E8M0; t++) {
        if (!bytes[t]) continue;
        vcore_buf_printf(b, "%s\"%s\":%llu", first ? "" : ",", vio_dtype_name((vio_dtype)t),
                         (unsigned long long)bytes[t]);
        first = false;
    }
    vcore_buf_puts(b, "}");
}

/* Bytes per dtype over the tensors of the checkpoint. */
static void dtypes_field(vcore_buf *b, const vlm_context *c) {
    uint64_t bytes[VIO_F8_E8M0 + 1] = { 0 };
    for (size_t i = 0; c->tensors && i < vio_tensors_count(c->tensors); i++) {
        const vio_tensor *t = vio_tensors_at(c->tensors, i);
        bytes[t->dtype] += t->bytes;
    }
    key(b, "dtypes");
    dtypes_object(b, bytes);
}

/* Where a tensor belongs: the first two parts of its name, without the last part of all. */
static vcore_str module_of(const char *name) {
    const char *first = strchr(name, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    return (vcore_str) { name, second ? (size_t)(second - name) : first ? (size_t)(first - name) : strlen(name) };
}

typedef struct module {
    vcore_str name;
    uint64_t bytes[VIO_F8_E8M0 + 1];
} module;

/* Bytes per dtype over the modules of the checkpoint, in the order of the files; those behind the last one
 * there is room for come together. */
static void modules_field(vcore_buf *b, const vlm_context *c) {
    module modules[64];
    size_t n = 0, most = sizeof modules / sizeof modules[0];
    for (size_t i = 0; c->tensors && i < vio_tensors_count(c->tensors); i++) {
        const vio_tensor *t = vio_tensors_at(c->tensors, i);
        vcore_str name = module_of(t->name);
        size_t k = 0;
        while (k < n && !vcore_str_eq(modules[k].name, name)) k++;
        if (k == most) modules[--k].name = vcore_str_of("others");
        if (k == n) modules[n++] = (module) { .name = name };
        modules[k].bytes[t->dtype] += t->bytes;
    }
    key(b, "modules");
    vcore_buf_puts(b, "{");
    for (size_t k = 0; k < n; k++) {
        if (k) vcore_buf_puts(b, ",");
        vcore_json_quote(b, modules[k].name.p, modules[k].name.n);
        vcore_buf_puts(b, ":");
        dtypes_object(b, modules[k].bytes);
    }
    vcore_buf_puts(b, "}");
}

/* What config.json says about quantized weights: MLX's key or Hugging Face's. */
static void quantization_field(vcore_buf *b, const vlm_context *c) {
    const vlm_json *config = vlm_base_config_json(c->config), *q = vcore_json_get(config, "quantization");
    int64_t bits, group;
    if (!q) q = vcore_json_get(config, "quantization_config");
    key(b, "quantization");
    if (!vcore_json_int(vcore_json_get(q, "bits"), &bits)) {
        vcore_buf_puts(b, "null");
        return;
    }
    vcore_buf_printf(b, "{\"bits\":%lld", (long long)bits);
    if (vcore_json_int(vcore_json_get(q, "group_size"), &group))
        vcore_buf_printf(b, ",\"group_size\":%lld", (long long)group);
    vcore_buf_puts(b, "}");
}

static uint64_t state_bytes(const vlm_context *c, uint64_t tokens) {
    const vlm_text_info *text = vlm_text_get_info(c->model_type->text(c->model));
    uint64_t bytes = 0, element = c->mode == VTENSOR_EXACT ? 4 : 2;
    for (int64_t l = 0; l < text->layers; l++)
        bytes += 2 * element * tokens * (uint64_t)(text->state[l].kv_heads * text->state[l].head_dim);
    return bytes;
}

/* Peak of temporaries of one prompt, by running it over shapes alone. */
static vlm_status dry_run(uint64_t *scratch, const vlm_context *c, const vlm_prepared *prepared,
                          vlm_error *err) {
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    vlm_frame *f = NULL;
    int32_t *positions = NULL;
    int64_t next = 0;
    vlm_status status = vtensor_frame_new(&f, c->backend, c->mode, err);
    if (status >= 0) status = vengine_positions(&positions, &next, c, prepared, 0, err);
    if (status >= 0) {
        vengine_run run = { .context = c, .frame = f, .ids = ids, .n = n, .positions = positions,
                            .span = { 0, (int64_t)n } };
        vtensor_frame_begin(f);
        status = vengine_run_features(&run, prepared, err);
        size_t step = c->model_type->bidirectional_prompt || n < 2048 ? n : 2048;
        if (status >= 0) vengine_run_rows(&run, 0, step, 0, NULL);
        vlm_status ended = vtensor_frame_end(f, status >= 0 ? err : NULL);
        if (status >= 0) status = ended;
        *scratch = vtensor_frame_peak(f);
    }
    vcore_free(positions);
    vtensor_frame_free(f);
    return status;
}

static uint64_t array_bytes(const vlm_prepared *prepared) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < vmodel_prepared_count(prepared); i++) {
        const vlm_array *a = vmodel_prepared_at(prepared, i);
        uint64_t n = vtensor_dtype_size(a->dtype);
        for (int d = 0; d < a->rank; d++) n *= (uint64_t)a->shape[d];
        bytes += n;
    }
    return bytes;
}

static vlm_status predict(vcore_buf *b, const vlm_context *c, const vlm_input *input,
                          uint32_t max_tokens, vlm_error *err) {
    vlm_prepared *prepared;
    VTRY(vlm_prepare(&prepared, c, input, err));
    uint64_t scratch = 0;
    vlm_status status = dry_run(&scratch, c, prepared, err);
    size_t media = 0, tokens = vlm_prepared_tokens(prepared, &media);
    uint64_t pixels = array_bytes(prepared), kv = state_bytes(c, tokens + max_tokens);
    vlm_prepared_free(prepared);
    VTRY(status);
    number_field(b, "prompt_tokens", tokens);
    number_field(b, "image_tokens", media);
    number_field(b, "input_bytes", pixels);
    number_field(b, "kv_bytes", kv);
    number_field(b, "scratch_bytes", scratch);
    number_field(b, "peak_bytes", c->info.weight_bytes + c->info.computed_bytes + pixels + kv + scratch);
    return VLM_OK;
}

vlm_status vlm_inspect(char **json, const char *dir, const vlm_load_options *options,
                       const vlm_input *input, uint32_t max_tokens, vlm_error *err) {
    if (json) *json = NULL;
    if (!json || !dir) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_inspect: a null argument");
    vlm_context *c;
    VTRY(vengine_load(&c, dir, options, VENGINE_INSPECT, err));
    const vmodel_usage *usage = vmodel_build_usage(c->build);
    vcore_buf b = { 0 };
    vcore_buf_puts(&b, "{\"model_type\":");
    vcore_json_quote(&b, vlm_base_config_model_type(c->config), strlen(vlm_base_config_model_type(c->config)));
    text_field(&b, "maps_to", c->info.model_type);
    text_field(&b, "processor_class", c->info.processor_class);
    text_field(&b, "processor_file", c->info.processor_file);
    key(&b, "has_weights");
    vcore_buf_puts(&b, c->tensors ? "true" : "false");
    dtypes_field(&b, c);
    modules_field(&b, c);
    quantization_field(&b, c);
    number_field(&b, "parameters", c->info.parameters);
    number_field(&b, "weight_bytes", c->info.weight_bytes);
    number_field(&b, "computed_bytes", c->info.computed_bytes);
    number_field(&b, "layers", c->info.layers);
    number_field(&b, "vocab_size", c->info.vocab_size);
    names_field(&b, "missing", usage->missing, c->tensors ? usage->n_missing : 0);
    names_field(&b, "unused", usage->unused, usage->n_unused);
    eos_field(&b, c);
    vlm_status status = input ? predict(&b, c, input, max_tokens, err) : VLM_OK;
    vcore_buf_puts(&b, "}");
    vlm_context_free(c);
    if (status >= 0) {
        *json = vcore_buf_take(&b);
        if (!*json) status = vcore_no_memory(err, "inspect");
    }
    vcore_buf_free(&b);
    return status;
}
