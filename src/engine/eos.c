/* SPDX-License-Identifier: MIT */
/* Which tokens end a turn, and who said so. Owns the rule of precedence; the files are read elsewhere. */
#include "engine/engine.h"

/* Lists longer than any sane one are cut. */
static void add(vengine_eos *eos, uint32_t id, const char *source) {
    if (eos->n == VENGINE_MAX_EOS || vengine_eos_has(eos, id)) return;
    eos->id[eos->n] = id;
    eos->source[eos->n++] = source;
}

bool vengine_eos_has(const vengine_eos *eos, uint32_t id) {
    for (size_t i = 0; i < eos->n; i++)
        if (eos->id[i] == id) return true;
    return false;
}

static bool is_id(const vlm_json *v, uint32_t *id) {
    int64_t n;
    if (vcore_json_kind_of(v) != VCORE_JSON_INT || !vcore_json_int(v, &n) || n < 0 || n > UINT32_MAX)
        return false;
    *id = (uint32_t)n;
    return true;
}

/* A nonzero id or a non-empty list counts; items of a list that are no id are dropped. */
static bool take_truthy(vengine_eos *eos, const vlm_json *v, const char *source) {
    uint32_t id;
    if (is_id(v, &id) && id != 0) {
        add(eos, id, source);
        return true;
    }
    if (vcore_json_kind_of(v) != VCORE_JSON_ARRAY || vcore_json_count(v) == 0) return false;
    for (size_t i = 0; i < vcore_json_count(v); i++)
        if (is_id(vcore_json_at(v, i), &id)) add(eos, id, source);
    return true;
}

/* The top-level value stands as it is, even 0 or []; another type is an error. */
static vlm_status take_top(vengine_eos *eos, const vlm_json *v, vlm_error *err) {
    uint32_t id;
    if (is_id(v, &id)) {
        add(eos, id, "config.json");
        return VLM_OK;
    }
    if (vcore_json_kind_of(v) != VCORE_JSON_ARRAY)
        return vcore_fail(err, VLM_ERR_CONFIG,
                          "config.json: eos_token_id: must be an id or a list of ids, is %s",
                          vcore_json_kind_name(v));
    for (size_t i = 0; i < vcore_json_count(v); i++) {
        if (!is_id(vcore_json_at(v, i), &id))
            return vcore_fail(err, VLM_ERR_CONFIG, "config.json: eos_token_id[%zu]: must be an id", i);
        add(eos, id, "config.json");
    }
    return VLM_OK;
}

vlm_status vengine_eos_resolve(vengine_eos *out, const vlm_json *config, const vlm_json *generation,
                               const vlm_tokenizer *tokenizer, vlm_error *err) {
    *out = (vengine_eos) { .n = 0 };
    const vlm_json *top = vcore_json_get(config, "eos_token_id");
    bool found = top && vcore_json_kind_of(top) != VCORE_JSON_NULL;
    if (found) {
        VTRY(take_top(out, top, err));
    } else {
        static const char *const nests[] = { "text_config", "llm_config" };
        for (size_t i = 0; i < 2; i++) {
            const vlm_json *nested = vcore_json_get(vcore_json_get(config, nests[i]), "eos_token_id");
            if (!nested) continue;
            found = take_truthy(out, nested, i ? "config.json: llm_config" : "config.json: text_config");
            break;
        }
    }
    const vlm_json *override = vcore_json_get(generation, "eos_token_id");
    vengine_eos replaced = { .n = 0 };
    if (take_truthy(&replaced, override, "generation_config.json")) {
        *out = replaced;
        found = true;
    }
    vcore_str token;
    uint32_t id;
    if (!found && vtext_named_token(tokenizer, "eos_token", &token) &&
        vtext_token_to_id(tokenizer, token, &id))
        add(out, id, "tokenizer");
    return VLM_OK;
}

void vengine_eos_add(vengine_eos *eos, const vlm_tokenizer *tokenizer, const char *tokens,
                     const char *source) {
    while (tokens && *tokens) {
        size_t n = strcspn(tokens, "|");
        /* Tokens such as <|im_end|> hold the separator themselves. */
        if (tokens[0] == '<' && tokens[1] == '|') {
            const char *end = strstr(tokens + 2, "|>");
            if (end) n = (size_t)(end + 2 - tokens);
        }
        uint32_t id;
        if (n && vtext_token_to_id(tokenizer, (vcore_str) { tokens, n }, &id)) add(eos, id, source);
        tokens += n + (tokens[n] == '|');
    }
}
