/* SPDX-License-Identifier: MIT */
/* Which tokens end a turn, and who said so. Owns the rule of precedence and a context's set; the
 * files are read elsewhere. */
#include "engine/engine.h"

#include <stdio.h>

/* ---- what the configs say -------------------------------------------------------------------- */
static bool is_id(const vlm_json *v, uint32_t *id) {
    int64_t n;
    if (vcore_json_kind_of(v) != VCORE_JSON_INT || !vcore_json_int(v, &n) || n < 0 || n > UINT32_MAX)
        return false;
    *id = (uint32_t)n;
    return true;
}

/* The ids of a list; items that are none are dropped. */
static vlm_status take_list(vlm_config_eos *out, uint32_t **ids, const vlm_json *list,
                            const char *file, const char *field, uint64_t limit, vlm_error *err) {
    size_t n = vcore_json_count(list);
    if (n > limit) return vcore_fail_limit(err, file, field, limit, "ids");
    uint32_t *p = vcore_realloc_array(*ids, n, sizeof *p);
    if (!p) return vcore_no_memory(err, file);
    *ids = p;
    *out = (vlm_config_eos) { .form = VLM_EOS_MANY, .ids = p };
    for (size_t i = 0; i < n; i++)
        if (is_id(vcore_json_at(list, i), &p[out->n])) out->n++;
    return VLM_OK;
}

static vlm_status take_one(vlm_config_eos *out, uint32_t **ids, uint32_t id, vlm_error *err) {
    uint32_t *p = vcore_realloc_array(*ids, 1, sizeof *p);
    if (!p) return vcore_no_memory(err, "eos_token_id");
    *p = id;
    *ids = p;
    *out = (vlm_config_eos) { .form = VLM_EOS_ONE, .ids = p, .n = 1 };
    return VLM_OK;
}

/* The top-level value stands as it is, even 0 or []; of another type it is an error. */
static vlm_status take_top(vlm_config_eos *out, uint32_t **ids, const vlm_json *v, const char *file,
                           uint64_t limit, vlm_error *err) {
    static const char field[] = "eos_token_id";
    uint32_t id;
    if (is_id(v, &id)) return take_one(out, ids, id, err);
    if (vcore_json_kind_of(v) != VCORE_JSON_ARRAY)
        return vcore_fail_field(err, VLM_ERR_CONFIG, file, field,
                                "must be an id or a list of ids, is %s", vcore_json_kind_name(v));
    VTRY(take_list(out, ids, v, file, field, limit, err));
    for (size_t i = 0; i < vcore_json_count(v); i++) {
        if (is_id(vcore_json_at(v, i), &id)) continue;
        char item[64];
        snprintf(item, sizeof item, "%s[%zu]", field, i);
        return vcore_fail_field(err, VLM_ERR_CONFIG, file, item, "must be an id, is %s",
                                vcore_json_kind_name(vcore_json_at(v, i)));
    }
    return VLM_OK;
}

/* A nonzero id or a list that is not empty counts; anything else leaves *out as it was. */
static vlm_status take_truthy(vlm_config_eos *out, uint32_t **ids, const vlm_json *v,
                              const char *source, const char *file, const char *field, uint64_t limit,
                              vlm_error *err) {
    uint32_t id;
    if (is_id(v, &id) && id)
        VTRY(take_one(out, ids, id, err));
    else if (vcore_json_kind_of(v) == VCORE_JSON_ARRAY && vcore_json_count(v))
        VTRY(take_list(out, ids, v, file, field, limit, err));
    else
        return VLM_OK;
    out->source = source;
    return VLM_OK;
}

static vlm_status resolve(vlm_config_eos *out, uint32_t **ids, const vlm_json *config,
                          const char *config_file, const vlm_json *generation,
                          const char *generation_file, uint64_t limit, vlm_error *err) {
    static const struct {
        const char *key, *field, *source;
    } nests[] = { { "text_config", "text_config.eos_token_id", "config.json: text_config" },
                  { "llm_config", "llm_config.eos_token_id", "config.json: llm_config" } };
    const vlm_json *top = vcore_json_get(config, "eos_token_id"), *nested = NULL;
    if (vcore_json_kind_of(top) != VCORE_JSON_NULL) {
        VTRY(take_top(out, ids, top, config_file, limit, err));
        out->source = "config.json";
    } else {
        size_t i = 0;
        while (i < 2 && !(nested = vcore_json_get(vcore_json_get(config, nests[i].key), "eos_token_id")))
            i++;
        if (nested)
            VTRY(take_truthy(out, ids, nested, nests[i].source, config_file, nests[i].field, limit,
                             err));
    }
    return take_truthy(out, ids, vcore_json_get(generation, "eos_token_id"), "generation_config.json",
                       generation_file, "eos_token_id", limit, err);
}

vlm_status vengine_eos_resolve(vlm_config_eos *out, uint32_t **ids, const vlm_json *config,
                               const char *config_file, const vlm_json *generation,
                               const char *generation_file, uint64_t limit, vlm_error *err) {
    *out = (vlm_config_eos) { .form = VLM_EOS_ABSENT };
    *ids = NULL;
    vlm_status status =
        resolve(out, ids, config, config_file, generation, generation_file, limit, err);
    if (status < 0) {
        vcore_free(*ids);
        *ids = NULL;
        *out = (vlm_config_eos) { .form = VLM_EOS_ABSENT };
    }
    return status;
}

/* ---- a context's set ------------------------------------------------------------------------- */
bool vengine_eos_has(const vengine_eos *eos, uint32_t id) {
    for (size_t i = 0; i < eos->n; i++)
        if (eos->id[i] == id) return true;
    return false;
}

static vlm_status add(vengine_eos *eos, uint32_t id, const char *source, vlm_error *err) {
    if (vengine_eos_has(eos, id)) return VLM_OK;
    if (eos->n >= eos->limit) return vcore_fail_limit(err, source, NULL, eos->limit, "end tokens");
    if (eos->n == eos->cap) {
        size_t cap = eos->cap ? 2 * eos->cap : 8;
        uint32_t *ids = vcore_realloc_array(eos->id, cap, sizeof *ids);
        if (ids) eos->id = ids;
        const char **sources = ids ? vcore_realloc_array(eos->source, cap, sizeof *sources) : NULL;
        if (!sources) return vcore_no_memory(err, "end tokens");
        eos->source = sources;
        eos->cap = cap;
    }
    eos->id[eos->n] = id;
    eos->source[eos->n++] = source;
    return VLM_OK;
}

vlm_status vengine_eos_start(vengine_eos *eos, const vlm_config_eos *config,
                             const vlm_tokenizer *tokenizer, uint64_t limit, vlm_error *err) {
    *eos = (vengine_eos) { .limit = limit };
    for (size_t i = 0; i < config->n; i++) VTRY(add(eos, config->ids[i], config->source, err));
    vcore_str token;
    uint32_t id;
    if (tokenizer && config->form == VLM_EOS_ABSENT && vtext_named_token(tokenizer, "eos_token", &token)
        && vtext_token_to_id(tokenizer, token, &id))
        return add(eos, id, "tokenizer", err);
    return VLM_OK;
}

vlm_status vengine_eos_add(vengine_eos *eos, const vlm_tokenizer *tokenizer,
                           const char *const *tokens, size_t n, const char *source, vlm_error *err) {
    uint32_t id;
    for (size_t i = 0; tokenizer && i < n; i++)
        if (vtext_token_to_id(tokenizer, vcore_str_of(tokens[i]), &id))
            VTRY(add(eos, id, source, err));
    return VLM_OK;
}

void vengine_eos_free(vengine_eos *eos) {
    vcore_free(eos->id);
    vcore_free(eos->source);
    *eos = (vengine_eos) { 0 };
}
