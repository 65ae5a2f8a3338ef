/* SPDX-License-Identifier: MIT */
/* Loading a tokenizer: tokenizer.json's parts (or those that files/ makes of other files) to the
 * files that own them, then what tokenizer_config.json and special_tokens_map.json say of added and
 * named tokens, in the order in which transformers applies them (add_bos_token and add_eos_token do
 * not count beside a tokenizer.json, as there). */
#include "text/tokenizer/tok.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- reading components --------------------------------------------------------------------- */
vlm_status vtext_get_string(vcore_str *out, const vcore_json *v, const char *key, const char *where,
                            vcore_arena *arena, vlm_error *err) {
    vcore_str s;
    const vcore_json *member = vcore_json_get(v, key);
    if (!vcore_json_string(member, &s))
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "must be a string, is %s",
                                member ? vcore_json_kind_name(member) : "missing");
    *out = (vcore_str) { vcore_arena_strndup(arena, s.p, s.n), s.n };
    return out->p ? VLM_OK : vcore_no_memory(err, where);
}

vlm_status vtext_get_bool(bool *out, const vcore_json *v, const char *key, bool fallback,
                          const char *where, vlm_error *err) {
    const vcore_json *member = vcore_json_get(v, key);
    *out = fallback;
    if (vcore_json_kind_of(member) == VCORE_JSON_NULL || vcore_json_bool(member, out))
        return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "must be true or false, is %s",
                            vcore_json_kind_name(member));
}

vlm_status vtext_unknown_type(vcore_str type, const char *where, vlm_error *err) {
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, "type", "'%.*s' is not supported",
                            (int)(type.n < 60 ? type.n : 60), type.p);
}

vlm_status vtext_too_many(const char *where, vlm_error *err) {
    return vcore_fail_limit(err, where, NULL, VTEXT_MAX_STEPS, "steps");
}

static vlm_status each_step(const vcore_json *v, const char *list_key, const char *where,
                            vtext_step_fn fn, void *user, int depth, vlm_error *err) {
    vcore_str type;
    if (!vcore_json_string(vcore_json_get(v, "type"), &type))
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, NULL,
                                "must be null or an object with a \"type\"");
    if (!vcore_str_eq(type, vcore_str_of("Sequence"))) return fn(user, v, type, where, err);
    const vcore_json *list = vcore_json_get(v, list_key);
    if (depth == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    if (vcore_json_kind_of(list) != VCORE_JSON_ARRAY)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, list_key, "must be an array");
    for (size_t i = 0; i < vcore_json_count(list); i++) {
        char inner[400];
        if (snprintf(inner, sizeof inner, "%s.%s[%zu]", where, list_key, i) < 0) inner[0] = 0;
        VTRY(each_step(vcore_json_at(list, i), list_key, inner, fn, user, depth + 1, err));
    }
    return VLM_OK;
}

vlm_status vtext_each_step(const vcore_json *v, const char *list_key, const char *key,
                           const char *name, vtext_step_fn fn, void *user, vlm_error *err) {
    char where[300];
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    snprintf(where, sizeof where, "%s: %s", name, key);
    return each_step(v, list_key, where, fn, user, 0, err);
}

/* ---- added tokens --------------------------------------------------------------------------- */
/* {"content": .., flags}; special: what the flag is where the file does not say. */
static vlm_status read_added(vtext_added *out, const vcore_json *v, bool special, const char *where,
                             vlm_error *err) {
    *out = (vtext_added) { 0 };
    if (!vcore_json_string(vcore_json_get(v, "content"), &out->content))
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, NULL,
                                "must be an object with a string \"content\"");
    VTRY(vtext_get_bool(&out->special, v, "special", special, where, err));
    VTRY(vtext_get_bool(&out->lstrip, v, "lstrip", false, where, err));
    VTRY(vtext_get_bool(&out->rstrip, v, "rstrip", false, where, err));
    VTRY(vtext_get_bool(&out->single_word, v, "single_word", false, where, err));
    VTRY(vtext_get_bool(&out->normalized, v, "normalized", !out->special, where, err));
    out->control = out->special;
    return VLM_OK;
}

static vlm_status load_added(vlm_tokenizer *t, const vcore_json *list, vlm_error *err) {
    uint32_t next_id = vtext_added_next_id(t);
    if (vcore_json_kind_of(list) != VCORE_JSON_ARRAY && vcore_json_kind_of(list) != VCORE_JSON_NULL)
        return vcore_fail_field(err, VLM_ERR_FORMAT, t->name, "added_tokens", "must be an array");
    for (size_t i = 0; i < vcore_json_count(list); i++) {
        char where[300];
        vtext_added token;
        snprintf(where, sizeof where, "%s: added_tokens[%zu]", t->name, i);
        VTRY(read_added(&token, vcore_json_at(list, i), false, where, err));
        VTRY(vtext_added_add(t, &token, &next_id, err));
    }
    return VLM_OK;
}

typedef struct numbered {
    int64_t id;
    const vcore_json *value;
} numbered;

static int by_number(const void *x, const void *y) {
    const numbered *a = x, *b = y;
    return (a->id > b->id) - (a->id < b->id);
}

/* added_tokens_decoder: {"151643": {"content": .., flags}, ..}, in order of the numbers. */
static vlm_status load_added_decoder(vlm_tokenizer *t, const vcore_json *map,
                                     const char *config_name, uint32_t *next_id, vlm_error *err) {
    size_t n = vcore_json_count(map), at = 0;
    if (vcore_json_kind_of(map) == VCORE_JSON_NULL || !n) return VLM_OK;
    if (vcore_json_kind_of(map) != VCORE_JSON_OBJECT)
        return vcore_fail_field(err, VLM_ERR_FORMAT, config_name, "added_tokens_decoder",
                                "must be an object");
    numbered *list = vcore_alloc_array(n, sizeof *list);
    if (!list) return vcore_no_memory(err, "added tokens");
    vlm_status status = VLM_OK;
    for (vcore_json_iter it = { 0 }; at < n && vcore_json_next(map, &it);)
        list[at++] = (numbered) { strtoll(it.key.p, NULL, 10), it.value };
    qsort(list, at, sizeof *list, by_number);
    for (size_t i = 0; i < at && status == VLM_OK; i++) {
        char where[300];
        vtext_added token;
        snprintf(where, sizeof where, "%s: added_tokens_decoder.%lld", config_name,
                 (long long)list[i].id);
        status = read_added(&token, list[i].value, false, where, err);
        if (status == VLM_OK) status = vtext_added_add(t, &token, next_id, err);
    }
    vcore_free(list);
    return status;
}

/* A special token as configs write one: a string, or an object with flags. False: neither. */
static bool read_special(vtext_added *out, const vcore_json *v) {
    vcore_str content;
    if (vcore_json_string(v, &content)) {
        *out = (vtext_added) { .content = content, .special = true, .control = true };
        return content.n > 0;
    }
    if (read_added(out, v, false, "", NULL) != VLM_OK || !out->content.n) return false;
    out->special = out->control = true;
    return true;
}

/* Adds a special token unless it is an added token already; then it only becomes a control token.
 */
static vlm_status add_special(vlm_tokenizer *t, const vtext_added *token, uint32_t *next_id,
                              vlm_error *err) {
    vtext_added *old = vtext_added_find(&t->added, token->content);
    if (!old) return vtext_added_add(t, token, next_id, err);
    old->control = true;
    return VLM_OK;
}

/* ---- named tokens --------------------------------------------------------------------------- */
static vlm_status add_named(vlm_tokenizer *t, vcore_str name, const vcore_json *v,
                            uint32_t *next_id, vlm_error *err) {
    vtext_added token;
    if (!read_special(&token, v)) return VLM_OK;
    for (size_t i = 0; i < t->n_named; i++)
        if (vcore_str_eq(t->named[i].name, name)) return VLM_OK;
    vtext_named *more = vcore_realloc_array(t->named, t->n_named + 1, sizeof *more);
    if (!more) return vcore_no_memory(err, "named tokens");
    t->named = more;
    vtext_named *n = &t->named[t->n_named];
    n->name = (vcore_str) { vcore_arena_strndup(t->arena, name.p, name.n), name.n };
    n->token = (vcore_str) { vcore_arena_strndup(t->arena, token.content.p, token.content.n),
                             token.content.n };
    if (!n->name.p || !n->token.p) return vcore_no_memory(err, "named tokens");
    t->n_named++;
    return add_special(t, &token, next_id, err);
}

/* Members whose key ends in "_token" (all, when any is set): the first file to name a token wins.
 */
static vlm_status load_named(vlm_tokenizer *t, const vcore_json *v, bool any, uint32_t *next_id,
                             vlm_error *err) {
    if (vcore_json_kind_of(v) != VCORE_JSON_OBJECT) return VLM_OK;
    for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it);) {
        bool token = it.key.n > 6 && memcmp(it.key.p + it.key.n - 6, "_token", 6) == 0;
        if (any || token) VTRY(add_named(t, it.key, it.value, next_id, err));
    }
    return VLM_OK;
}

static vlm_status load_extra(vlm_tokenizer *t, const vcore_json *config, uint32_t *next_id,
                             vlm_error *err) {
    const vcore_json *extra = vcore_json_get(config, "extra_special_tokens");
    VTRY(load_named(t, extra, true, next_id, err));
    VTRY(
        load_named(t, vcore_json_get(config, "model_specific_special_tokens"), true, next_id, err));
    if (vcore_json_kind_of(extra) == VCORE_JSON_NULL)
        extra = vcore_json_get(config, "additional_special_tokens");
    for (size_t i = 0; vcore_json_kind_of(extra) == VCORE_JSON_ARRAY && i < vcore_json_count(extra);
         i++) {
        vtext_added token;
        if (read_special(&token, vcore_json_at(extra, i)))
            VTRY(add_special(t, &token, next_id, err));
    }
    return VLM_OK;
}

/* ---- a processor's tokens ------------------------------------------------------------------- */
static bool is_named(const vlm_tokenizer *t, const char *name) {
    for (size_t i = 0; name && i < t->n_named; i++)
        if (vcore_str_eq(t->named[i].name, vcore_str_of(name))) return true;
    return false;
}

/* What the processor of transformers adds to its tokenizer when it is made. */
static vlm_status add_extra(vlm_tokenizer *t, const vlm_extra_token *x, uint32_t *next_id,
                            vlm_error *err) {
    if (is_named(t, x->unless_named)) return VLM_OK;
    for (int i = 0; i < (x->count ? x->count : 1); i++) {
        char text[160];
        if (x->count)
            snprintf(text, sizeof text, "%.64s%0*d%.64s", x->text, x->digits, i, x->behind);
        else
            snprintf(text, sizeof text, "%.64s", x->text);
        const vtext_added token = { .content = vcore_str_of(text),
                                    .special = x->special,
                                    .control = x->special,
                                    .normalized = !x->special };
        if (x->special || !vtext_added_find(&t->added, token.content))
            VTRY(vtext_added_add(t, &token, next_id, err));
    }
    return VLM_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */
static vlm_status index_added(vlm_tokenizer *t, vlm_error *err) {
    t->vocab_size = t->model.vocab.ids;
    for (size_t i = 0; i < t->added.count; i++)
        if (t->added.token[i].id >= t->vocab_size) t->vocab_size = t->added.token[i].id + 1;
    t->added_by_id = vcore_alloc_array((size_t)t->vocab_size + 1, sizeof *t->added_by_id);
    if (!t->added_by_id) return vcore_no_memory(err, "added tokens");
    for (size_t i = 0; i < t->added.count; i++)
        t->added_by_id[t->added.token[i].id] = (uint32_t)i + 1;
    return VLM_OK;
}

typedef struct sources {
    const vcore_json *tokenizer, *config, *map, *more; /* all but tokenizer: NULL when there is none */
    const char *config_name, *map_name;
    const vtext_folder *folder; /* NULL: from memory */
} sources;

/* As transformers' decode does it: not for BPE, unless the config insists. */
static vlm_status load_clean_up(vlm_tokenizer *t, const sources *from, vlm_error *err) {
    bool clean, bpe;
    VTRY(vtext_get_bool(&clean, from->config, "clean_up_tokenization_spaces", false,
                        from->config_name, err));
    VTRY(vtext_get_bool(&bpe, from->config,
                        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
                        false, from->config_name, err));
    if (!clean || (t->model.kind == VTEXT_BPE && !bpe)) return VLM_OK;
    return vtext_decoder_clean_up(&t->decoder, from->config_name, t->arena, err);
}

/* Added and named tokens beside the file's own, the well-known names first and in their order. A config with an added_tokens_decoder makes the map
 * void; else the map goes before it. */
static vlm_status load_beside(vlm_tokenizer *t, const sources *from, vlm_error *err) {
    static const char *const keys[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token" };
    uint32_t next_id = vtext_added_next_id(t);
    const vcore_json *decoder = vcore_json_get(from->config, "added_tokens_decoder");
    const vcore_json *map = decoder ? NULL : from->map;
    if (!decoder) decoder = vcore_json_get(from->more, "added_tokens_decoder");
    VTRY(load_added_decoder(t, decoder, from->config_name, &next_id, err));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const vcore_json *v = vcore_json_get(map, keys[i]);
        if (!v) v = vcore_json_get(from->config, keys[i]);
        if (!v) v = vcore_json_get(vcore_json_get(from->more, "named"), keys[i]);
        VTRY(add_named(t, vcore_str_of(keys[i]), v, &next_id, err));
    }
    VTRY(load_named(t, map, false, &next_id, err));
    VTRY(load_named(t, from->config, false, &next_id, err));
    VTRY(load_extra(t, map, &next_id, err));
    VTRY(load_extra(t, from->config, &next_id, err));
    for (size_t i = 0; from->folder && i < from->folder->n_extra; i++)
        VTRY(add_extra(t, &from->folder->extra[i], &next_id, err));
    return VLM_OK;
}

static vlm_status load(vlm_tokenizer *t, const sources *from, vlm_error *err) {
    const vcore_json *root = from->tokenizer;
    if (vcore_json_kind_of(root) != VCORE_JSON_OBJECT)
        return vcore_fail_field(err, VLM_ERR_FORMAT, t->name, NULL, "must be an object");
    if (from->config && vcore_json_kind_of(from->config) != VCORE_JSON_OBJECT)
        return vcore_fail_field(err, VLM_ERR_FORMAT, from->config_name, NULL, "must be an object");
    if (from->map && vcore_json_kind_of(from->map) != VCORE_JSON_OBJECT)
        return vcore_fail_field(err, VLM_ERR_FORMAT, from->map_name, NULL, "must be an object");
    t->model.unigram.nearest = root == from->more; /* Python has read the vocabulary */
    VTRY(vtext_model_load(&t->model, vcore_json_get(root, "model"), t->name, err));
    VTRY(vtext_normalizer_load(&t->normalizer, vcore_json_get(root, "normalizer"), t->name,
                               t->arena, err));
    VTRY(vtext_splitter_load(&t->splitter, vcore_json_get(root, "pre_tokenizer"), t->name, t->arena,
                             err));
    VTRY(vtext_decoder_load(&t->decoder, vcore_json_get(root, "decoder"), t->name, t->arena, err));
    VTRY(load_clean_up(t, from, err));
    VTRY(load_added(t, vcore_json_get(root, "added_tokens"), err));
    VTRY(load_beside(t, from, err));
    VTRY(vtext_post_load(t, vcore_json_get(root, "post_processor"), err)); /* may name added ones */
    VTRY(vtext_added_finish(t, err));
    VTRY(index_added(t, err));
    t->needs_places =
        t->splitter.asks_place && (t->normalizer.count > 0 || t->splitter.count > 1);
    return VLM_OK;
}

static vlm_status make(vlm_tokenizer **out, const char *name, const sources *from, vlm_error *err) {
    vlm_tokenizer *t = vcore_alloc(sizeof *t);
    *out = NULL;
    if (!t) return vcore_no_memory(err, "tokenizer");
    t->arena = vcore_arena_new();
    t->name = vcore_strdup(name);
    vlm_status status =
        t->arena && t->name ? load(t, from, err) : vcore_no_memory(err, "tokenizer");
    if (status < 0)
        vtext_tokenizer_free(t);
    else
        *out = t;
    return status;
}

vlm_status vtext_tokenizer_parse(vlm_tokenizer **out, const char *json, size_t n,
                                 const char *config_json, size_t config_n, const char *name,
                                 vlm_error *err) {
    vcore_json_doc *doc = NULL, *config = NULL;
    *out = NULL;
    if (!vcore_utf8_valid(json, n) || (config_json && !vcore_utf8_valid(config_json, config_n)))
        return vcore_fail_field(err, VLM_ERR_ENCODING, name, NULL, "is not UTF-8 text");
    vlm_status status = vcore_json_parse(&doc, json, n, name, err);
    if (status == VLM_OK && config_json)
        status = vcore_json_parse(&config, config_json, config_n, "tokenizer_config.json", err);
    if (status == VLM_OK) {
        sources from = { vcore_json_root(doc), config ? vcore_json_root(config) : NULL, NULL,
                         NULL, "tokenizer_config.json", NULL, NULL };
        status = make(out, name, &from, err);
    }
    vcore_json_free(doc);
    vcore_json_free(config);
    return status;
}

/* ---- from a directory ----------------------------------------------------------------------- */
static vlm_status load_document(vlm_tokenizer **out, vtext_document *d, const vtext_folder *folder,
                                vlm_error *err) {
    const sources from = { d->root, d->config, d->map, d->more,
                           folder->file[VTEXT_TOKENIZER_CONFIG].path,
                           folder->file[VTEXT_SPECIAL_TOKENS].path,
                           folder };
    vlm_status status = make(out, d->path, &from, err);
    vtext_document_free(d);
    return status;
}

vlm_status vtext_tokenizer_load(vlm_tokenizer **out, vtext_folder *folder, vlm_error *err) {
    vtext_document d;
    *out = NULL;
    VTRY(vtext_document_read(&d, folder, err));
    return load_document(out, &d, folder, err);
}

vlm_status vtext_tokenizer_load_file(vlm_tokenizer **out, vtext_folder *folder, const char *file,
                                     vcore_str bytes, vcore_str merges, vlm_error *err) {
    vtext_document d;
    *out = NULL;
    VTRY(vtext_document_parse(&d, folder, file, bytes, merges, err));
    return load_document(out, &d, folder, err);
}

size_t vtext_tokenizer_bytes(const vlm_tokenizer *t) {
    if (!t) return 0;
    return sizeof *t + vtext_model_bytes(&t->model) + t->added.cap * sizeof *t->added.token
           + vcore_map_bytes(t->added.by_content)
           + ((size_t)t->vocab_size + 1) * sizeof *t->added_by_id + t->n_named * sizeof *t->named
           + vcore_arena_bytes(t->arena);
}

void vtext_tokenizer_free(vlm_tokenizer *t) {
    if (!t) return;
    vtext_model_free(&t->model);
    vtext_added_free(&t->added);
    vcore_free(t->added_by_id);
    vcore_free(t->named);
    vcore_free(t->name);
    vcore_arena_free(t->arena);
    vcore_free(t);
}
