/* SPDX-License-Identifier: MIT */
/* The quantization table: what config.json says of quantized weights, for the model and module by
 * module. Owns MLX's key and the parameters that a mode can have; Hugging Face's key is read in
 * quantization_hf.c, the tensors are bound in quantized.c. */
#include <stdio.h>

#include "models/weights/weights.h"

/* What a mode can be: its own bits and group size; sets of what it takes beside them. */
static const struct mode {
    const char *name;
    int bits, group_size;
} modes[] = {
    [VLM_QUANTIZATION_AFFINE] = { "affine", 4, 64 },
    [VLM_QUANTIZATION_MXFP4] = { "mxfp4", 4, 32 },
    [VLM_QUANTIZATION_MXFP8] = { "mxfp8", 8, 32 },
    [VLM_QUANTIZATION_NVFP4] = { "nvfp4", 4, 16 },
};
enum { N_MODES = sizeof modes / sizeof modes[0] };

const char *vlm_quantization_mode_name(vlm_quantization_mode mode) {
    return (unsigned)mode < N_MODES ? modes[mode].name : NULL;
}

vlm_quantization_params vmodel_quantization_params_of(vlm_quantization_mode mode) {
    return (vlm_quantization_params) { mode, modes[mode].bits, modes[mode].group_size };
}

vlm_quantization_mode vmodel_mode_of(vlm_storage storage) {
    return (vlm_quantization_mode)(storage - VLM_STORAGE_AFFINE); /* in the same order */
}

bool vmodel_quantization_has(const vlm_quantization_params *p) {
    if (p->mode != VLM_QUANTIZATION_AFFINE)
        return p->bits == modes[p->mode].bits && p->group_size == modes[p->mode].group_size;
    static const unsigned bits = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8;
    return p->bits >= 2 && p->bits <= 8 && (bits >> p->bits & 1)
           && (p->group_size == 32 || p->group_size == 64 || p->group_size == 128);
}

/* ---- reading parameters ---------------------------------------------------------------------- */
/* "<file>: <key>: <what>", with file and key as data, too. */
static vlm_status wrong(const vlm_quantization *q, vlm_status code, const char *key,
                        const char *what, vlm_error *err) {
    return vcore_fail_at(err, code, (vcore_where) { .file = q->file, .field = key }, "%s: %s: %s",
                         q->file, key, what);
}

typedef struct key_name {
    char s[256];
} key_name;

static key_name below(const char *where, vcore_str key) {
    key_name name;
    snprintf(name.s, sizeof name.s, "%s.%.*s", where, (int)(key.n < 200 ? key.n : 200), key.p);
    return name;
}

static bool is_absent(const vlm_json *v) {
    return vcore_json_kind_of(v) == VCORE_JSON_NULL;
}

static vlm_status read_mode(const vlm_quantization *q, vlm_quantization_mode *mode,
                            const vlm_json *object, const char *where, vlm_error *err) {
    const vlm_json *v = vcore_json_get(object, "mode");
    key_name key = below(where, vcore_str_of("mode"));
    vcore_str name;
    *mode = VLM_QUANTIZATION_AFFINE;
    if (is_absent(v)) return VLM_OK;
    char what[160];
    snprintf(what, sizeof what, "must be a string, is %s", vcore_json_kind_name(v));
    if (!vcore_json_string(v, &name)) return wrong(q, VLM_ERR_CONFIG, key.s, what, err);
    for (int i = 0; i < N_MODES; i++) {
        if (!vcore_str_eq(name, vcore_str_of(modes[i].name))) continue;
        *mode = (vlm_quantization_mode)i;
        return VLM_OK;
    }
    snprintf(what, sizeof what, "'%.*s' is no mode that is known (affine, mxfp4, mxfp8, nvfp4)",
             (int)(name.n < 60 ? name.n : 60), name.p);
    return wrong(q, VLM_ERR_UNSUPPORTED, key.s, what, err);
}

/* An integer that fits the parameter; fallback when it is absent, 0: then it is required. */
static vlm_status read_count(const vlm_quantization *q, int *out, const vlm_json *object,
                             const char *name, int fallback, const char *where, vlm_error *err) {
    const vlm_json *v = vcore_json_get(object, name);
    key_name key = below(where, vcore_str_of(name));
    int64_t n;
    *out = fallback;
    if (is_absent(v))
        return fallback ? VLM_OK : wrong(q, VLM_ERR_MISSING_FIELD, key.s, "is missing", err);
    if (!vcore_json_int(v, &n) || n < 1 || n > 1 << 20)
        return wrong(q, VLM_ERR_CONFIG, key.s, "must be a small positive integer", err);
    *out = (int)n;
    return VLM_OK;
}

vlm_status vmodel_quantization_read(const vlm_quantization *q, vlm_quantization_params *out,
                                    const vlm_json *object, bool whole, const char *where,
                                    vlm_error *err) {
    VTRY(read_mode(q, &out->mode, object, where, err));
    const struct mode *own = &modes[out->mode];
    VTRY(read_count(q, &out->group_size, object, "group_size", whole ? 0 : own->group_size, where,
                    err));
    VTRY(read_count(q, &out->bits, object, "bits", whole ? 0 : own->bits, where, err));
    if (vmodel_quantization_has(out)) return VLM_OK;
    char what[160];
    bool one = out->mode == VLM_QUANTIZATION_AFFINE && out->bits == 1;
    snprintf(what, sizeof what, "%s of %d bits in groups of %d is %s", own->name, out->bits,
             out->group_size, one ? "not something this build can do" : "no quantization");
    return wrong(q, one ? VLM_ERR_UNSUPPORTED : VLM_ERR_CONFIG, where, what, err);
}

/* ---- the table ------------------------------------------------------------------------------- */
static vlm_status add(vlm_quantization *q, vcore_str module, vmodel_quantization_entry entry,
                      vlm_error *err) {
    if (q->n_entries == q->capacity) {
        size_t capacity = q->capacity ? 2 * q->capacity : 16;
        vmodel_quantization_entry *list = vcore_realloc_array(q->entries, capacity, sizeof *list);
        if (!list) return vcore_no_memory(err, "quantization");
        q->entries = list;
        q->capacity = capacity;
    }
    entry.module = vcore_arena_strndup(q->memory, module.p, module.n);
    if (!entry.module || !vcore_map_put(q->modules, module, (uint32_t)q->n_entries))
        return vcore_no_memory(err, "quantization");
    q->entries[q->n_entries++] = entry;
    return VLM_OK;
}

/* What stands under the path of one module. */
static vlm_status read_module(vlm_quantization *q, vcore_str module, const vlm_json *v,
                              const char *where, vlm_error *err) {
    vmodel_quantization_entry entry = { .answer = VLM_QUANTIZATION_SKIPPED };
    key_name key = below(where, module);
    bool yes = false;
    switch (vcore_json_kind_of(v)) {
    case VCORE_JSON_OBJECT:
        if (vcore_json_count(v) == 0) return add(q, module, entry, err);
        entry.answer = VLM_QUANTIZATION_GIVEN;
        VTRY(vmodel_quantization_read(q, &entry.params, v, false, key.s, err));
        return add(q, module, entry, err);
    case VCORE_JSON_BOOL:
        vcore_json_bool(v, &yes);
        return yes ? VLM_OK : add(q, module, entry, err);
    case VCORE_JSON_NULL: return VLM_OK;
    default: break;
    }
    char what[120];
    snprintf(what, sizeof what, "must be an object, true or false, is %s", vcore_json_kind_name(v));
    return wrong(q, VLM_ERR_CONFIG, key.s, what, err);
}

vlm_status vmodel_quantization_read_mlx(vlm_quantization *q, const vlm_json *object,
                                        const char *where, vlm_error *err) {
    static const char own[] = "mode|group_size|bits|quant_method|linear_class|quantization_mode";
    char what[80];
    snprintf(what, sizeof what, "must be an object, is %s", vcore_json_kind_name(object));
    if (vcore_json_kind_of(object) != VCORE_JSON_OBJECT)
        return wrong(q, VLM_ERR_CONFIG, where, what, err);
    q->method = "mlx";
    VTRY(vmodel_quantization_read(q, &q->whole, object, true, where, err));
    q->has_whole = true;
    for (vcore_json_iter it = { 0 }; vcore_json_next(object, &it);)
        if (!vmodel_is_one_of(own, it.key)) VTRY(read_module(q, it.key, it.value, where, err));
    return VLM_OK;
}

/* Which of the places says something; false: none. */
static vlm_status read(vlm_quantization *q, const vlm_json *config, const vlm_json *hf_quant,
                       bool *found, vlm_error *err) {
    static const char *const places[] = { "quantization_config", "text_config.quantization_config",
                                          "llm_config.quantization_config" };
    const vlm_json *mlx = vcore_json_get(config, "quantization");
    *found = true;
    if (!is_absent(mlx)) return vmodel_quantization_read_mlx(q, mlx, "quantization", err);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const vlm_json *v = vcore_json_path(config, places[i]);
        if (!is_absent(v)) return vmodel_quantization_read_hf(q, v, places[i], err);
    }
    const vlm_json *algorithm = vcore_json_path(hf_quant, "quantization.quant_algo");
    *found = !is_absent(algorithm);
    q->file = "hf_quant_config.json";
    return *found ? vmodel_quantization_read_modelopt(q, vcore_json_get(hf_quant, "quantization"),
                                                      "quantization", err)
                  : VLM_OK;
}

vlm_status vmodel_quantization_new(vlm_quantization **out, const vlm_json *config,
                                   const vlm_json *hf_quant, const char *file, vlm_error *err) {
    *out = NULL;
    bool found = false;
    vlm_status status = VLM_OK;
    vlm_quantization *q = vcore_alloc(sizeof *q);
    if (q) q->memory = vcore_arena_new();
    if (q) q->modules = vcore_map_new(0);
    if (q && q->memory) q->file = vcore_arena_strndup(q->memory, file, strlen(file));
    if (!q || !q->file || !q->modules)
        status = vcore_no_memory(err, "quantization");
    else
        status = read(q, config, hf_quant, &found, err);
    if (status < 0 || !found) {
        vlm_quantization_free(q);
        return status;
    }
    *out = q;
    return VLM_OK;
}

vlm_status vlm_quantization_parse(vlm_quantization **out, const char *config_json, size_t n,
                                  vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !config_json)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_quantization_parse: a null argument");
    vcore_json_doc *doc;
    VTRY(vcore_json_parse(&doc, config_json, n, "config.json", err));
    const vlm_json *root = vcore_json_root(doc);
    vlm_status status =
        vcore_json_kind_of(root) == VCORE_JSON_OBJECT
            ? vmodel_quantization_new(out, root, NULL, "config.json", err)
            : vcore_fail_field(err, VLM_ERR_FORMAT, "config.json", NULL,
                               "must hold an object, holds %s", vcore_json_kind_name(root));
    vcore_json_free(doc);
    return status;
}

void vlm_quantization_free(vlm_quantization *q) {
    if (!q) return;
    vcore_free(q->entries);
    vcore_map_free(q->modules);
    vcore_arena_free(q->memory);
    vcore_free(q);
}

/* ---- asking ---------------------------------------------------------------------------------- */
const char *vlm_quantization_method(const vlm_quantization *q) {
    return q ? q->method : NULL;
}

vlm_status vlm_quantization_usable(const vlm_quantization *q, vlm_error *err) {
    if (!q || !q->refusal) return VLM_OK;
    return wrong(q, VLM_ERR_UNSUPPORTED, q->refused_field, q->refusal, err);
}

bool vlm_quantization_default(const vlm_quantization *q, vlm_quantization_params *params) {
    if (!q || !q->has_whole || !params) return false;
    *params = q->whole;
    return true;
}

static const vmodel_quantization_entry *lookup(const vlm_quantization *q, vcore_str module) {
    uint32_t at;
    return vcore_map_get(q->modules, module, &at) ? &q->entries[at] : NULL;
}

vlm_quantization_answer vlm_quantization_find(const vlm_quantization *q, const char *module,
                                              vlm_quantization_params *params) {
    static const char prefix[] = "language_model.";
    const size_t n = sizeof prefix - 1;
    if (!q || !module || q->n_entries == 0) return VLM_QUANTIZATION_UNMENTIONED;
    const vmodel_quantization_entry *e = lookup(q, vcore_str_of(module));
    if (!e && strncmp(module, prefix, n) == 0) e = lookup(q, vcore_str_of(module + n));
    if (!e) {
        char longer[512];
        int wrote = snprintf(longer, sizeof longer, "%s%s", prefix, module);
        if (wrote < (int)sizeof longer) e = lookup(q, vcore_str_of(longer));
    }
    if (!e) return VLM_QUANTIZATION_UNMENTIONED;
    if (params && e->answer == VLM_QUANTIZATION_GIVEN) *params = e->params;
    return e->answer;
}

const char *vlm_quantization_at(const vlm_quantization *q, size_t i,
                                vlm_quantization_answer *answer, vlm_quantization_params *params) {
    if (!q || i >= q->n_entries) return NULL;
    const vmodel_quantization_entry *e = &q->entries[i];
    if (answer) *answer = e->answer;
    if (params && e->answer == VLM_QUANTIZATION_GIVEN) *params = e->params;
    return e->module;
}
