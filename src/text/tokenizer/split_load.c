/* SPDX-License-Identifier: MIT */
/* The pre-tokenizers that a tokenizer.json may name, and their parameters. */
#include "text/tokenizer/split.h"

typedef struct loading {
    vtext_splitter *s;
    vcore_arena *arena;
} loading;

static vlm_status add_step(loading *l, vtext_split_step step, const char *where, vlm_error *err) {
    if (l->s->count == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    vtext_split_step *copy = vcore_arena_alloc(l->arena, sizeof *copy);
    if (!copy) return vcore_no_memory(err, where);
    *copy = step;
    l->s->asks_place |= step.only_first;
    l->s->step[l->s->count++] = copy;
    return VLM_OK;
}

/* Index of a member's text among names. */
static vlm_status get_name(unsigned *out, const vcore_json *v, const char *key,
                           const char *const *names, unsigned count, const char *where,
                           vlm_error *err) {
    vcore_str s;
    if (vcore_json_string(vcore_json_get(v, key), &s))
        for (*out = 0; *out < count; ++*out)
            if (vcore_str_eq(s, vcore_str_of(names[*out]))) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "must be \"%s\", \"%s\" .. or \"%s\"",
                            names[0], names[1], names[count - 1]);
}

static vlm_status get_behavior(vtext_behavior *out, const vcore_json *v, const char *where,
                               vlm_error *err) {
    static const char *const behaviors[] = { "Removed", "Isolated", "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous" };
    unsigned behavior;
    VTRY(get_name(&behavior, v, "behavior", behaviors, 5, where, err));
    *out = (vtext_behavior)behavior;
    return VLM_OK;
}

static vlm_status get_character(vcore_str *out, const vcore_json *v, const char *key,
                                const char *where, vcore_arena *arena, vlm_error *err) {
    uint32_t cp;
    VTRY(vtext_get_string(out, v, key, where, arena, err));
    if (out->n && vcore_utf8_decode(out->p, out->n, &cp) == out->n) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "must be one character");
}

/* ---- types with parameters ------------------------------------------------------------------ */
static vlm_status load_split(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vtext_split_step step = { .split = vtext_split_pattern };
    VTRY(vtext_pattern_parse(&step.pattern, vcore_json_get(v, "pattern"), where, l->arena, err));
    VTRY(get_behavior(&step.behavior, v, where, err));
    VTRY(vtext_get_bool(&step.invert, v, "invert", false, where, err));
    return add_step(l, step, where, err);
}

static vlm_status load_punctuation(loading *l, const vcore_json *v, const char *where,
                                   vlm_error *err) {
    vtext_split_step step = { .split = vtext_split_characters,
                              .is_match = vtext_punctuation_of_8,
                              .behavior = VTEXT_ISOLATED };
    if (vcore_json_get(v, "behavior")) VTRY(get_behavior(&step.behavior, v, where, err));
    return add_step(l, step, where, err);
}

static vlm_status load_digits(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vtext_split_step step = { .split = vtext_split_characters, .is_match = vtext_is_numeric };
    bool individual;
    VTRY(vtext_get_bool(&individual, v, "individual_digits", false, where, err));
    step.behavior = individual ? VTEXT_ISOLATED : VTEXT_CONTIGUOUS;
    return add_step(l, step, where, err);
}

static vlm_status load_delimiter(loading *l, const vcore_json *v, const char *where,
                                 vlm_error *err) {
    vtext_split_step step = { .split = vtext_split_literal, .behavior = VTEXT_REMOVED };
    VTRY(get_character(&step.replacement, v, "delimiter", where, l->arena, err));
    return add_step(l, step, where, err);
}

static vlm_status load_length(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vtext_split_step step = { .split = vtext_split_length };
    int64_t length = 5;
    const vcore_json *member = vcore_json_get(v, "length");
    if ((member && !vcore_json_int(member, &length)) || length < 1)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "length", "must be a positive integer");
    step.length = (size_t)length;
    return add_step(l, step, where, err);
}

static vlm_status load_metaspace(loading *l, const vcore_json *v, const char *where,
                                 vlm_error *err) {
    static const char *const schemes[] = { "never", "always", "first" };
    enum { NEVER, ALWAYS, FIRST };
    vtext_split_step step = { .split = vtext_split_metaspace, .behavior = VTEXT_MERGED_WITH_NEXT };
    unsigned scheme = ALWAYS;
    bool prefix;
    VTRY(get_character(&step.replacement, v, "replacement", where, l->arena, err));
    if (vcore_json_get(v, "prepend_scheme"))
        VTRY(get_name(&scheme, v, "prepend_scheme", schemes, 3, where, err));
    VTRY(vtext_get_bool(&prefix, v, "add_prefix_space", true, where, err));
    if (!prefix && vcore_json_get(v, "prepend_scheme") && scheme != NEVER)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "add_prefix_space",
                                "contradicts prepend_scheme");
    step.prepends = prefix && scheme != NEVER;
    step.only_first = scheme == FIRST;
    VTRY(vtext_get_bool(&step.splits, v, "split", true, where, err));
    return add_step(l, step, where, err);
}

/* Cutting, then stand-ins for bytes. */
static vlm_status load_byte_level(loading *l, const vcore_json *v, const char *where,
                                  vlm_error *err) {
    vtext_split_step step = { .split = vtext_split_byte_level, .behavior = VTEXT_ISOLATED };
    VTRY(vtext_get_bool(&step.prefix_space, v, "add_prefix_space", true, where, err));
    VTRY(vtext_get_bool(&step.splits, v, "use_regex", true, where, err));
    VTRY(add_step(l, step, where, err));
    return add_step(l, (vtext_split_step) { .split = vtext_split_stand_ins }, where, err);
}

static vlm_status load_bert(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    (void)v;
    VTRY(add_step(
        l, (vtext_split_step) { .split = vtext_split_characters, .is_match = vtext_is_space },
        where, err));
    return add_step(l,
                    (vtext_split_step) { .split = vtext_split_characters,
                                         .is_match = vtext_punctuation_of_8,
                                         .behavior = VTEXT_ISOLATED },
                    where, err);
}

/* ---- the table ------------------------------------------------------------------------------ */
static const struct {
    const char *type;
    vlm_status (*load)(loading *l, const vcore_json *v, const char *where, vlm_error *err);
    vtext_split_step step; /* without load: a type that has no parameters */
} types[] = {
    { "ByteLevel", load_byte_level, { 0 } },
    { "Split", load_split, { 0 } },
    { "Digits", load_digits, { 0 } },
    { "Metaspace", load_metaspace, { 0 } },
    { "BertPreTokenizer", load_bert, { 0 } },
    { "Whitespace", NULL, { .split = vtext_split_words } },
    { "WhitespaceSplit", NULL, { .split = vtext_split_characters, .is_match = vtext_is_space } },
    { "Punctuation", load_punctuation, { 0 } },
    { "CharDelimiterSplit", load_delimiter, { 0 } },
    { "UnicodeScripts", NULL, { .split = vtext_split_scripts } },
    { "FixedLength", load_length, { 0 } },
};

static vlm_status load_step(void *user, const vcore_json *v, vcore_str type, const char *where,
                            vlm_error *err) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!vcore_str_eq(type, vcore_str_of(types[i].type))) continue;
        return types[i].load ? types[i].load(user, v, where, err)
                             : add_step(user, types[i].step, where, err);
    }
    return vtext_unknown_type(type, where, err);
}

vlm_status vtext_splitter_load(vtext_splitter *s, const vcore_json *v, const char *name,
                               vcore_arena *arena, vlm_error *err) {
    loading l = { s, arena };
    VTRY(vtext_each_step(v, "pretokenizers", "pre_tokenizer", name, load_step, &l, err));
    /* Stand-ins at the end are left to the model, which knows what stands for each byte. */
    s->byte_level = s->count && s->step[s->count - 1]->split == vtext_split_stand_ins;
    if (s->byte_level) s->count--;
    return VLM_OK;
}
