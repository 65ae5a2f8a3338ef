/* SPDX-License-Identifier: MIT */
/* Reads the decoders of a tokenizer.json. What is a chain of simple steps (clean-up, CTC) becomes
 * one. What the steps do lies in decode.c. */
#include "text/tokenizer/tok.h"

#include <stdio.h>

typedef struct loading {
    vtext_decoder *d;
    vcore_arena *arena;
} loading;

/* The next step, of a kind. NULL: there are too many. */
static struct vtext_decode_step *add_step(loading *l, vtext_decode_kind kind) {
    if (l->d->count == VTEXT_MAX_DECODE_STEPS) return NULL;
    struct vtext_decode_step *step = &l->d->step[l->d->count++];
    step->kind = kind;
    return step;
}

/* A step that replaces a literal. Texts are borrowed. */
static vlm_status add_replace(loading *l, vcore_str pattern, vcore_str content, const char *where,
                              vlm_error *err) {
    struct vtext_decode_step *step = add_step(l, VTEXT_DECODE_REPLACE);
    if (!step) return vtext_too_many(where, err);
    step->pattern = pattern;
    step->content = content;
    step->fail = vcore_arena_array(l->arena, pattern.n + 1, sizeof *step->fail);
    if (!step->fail) return vcore_no_memory(err, where);
    for (uint32_t i = 1, k = 0; i < pattern.n; i++) { /* fail[n]: longest border of the first n */
        while (k && pattern.p[k] != pattern.p[i]) k = step->fail[k];
        k += pattern.p[k] == pattern.p[i];
        step->fail[i + 1] = k;
    }
    return VLM_OK;
}

/* The rules of WordPiece and CTC; transformers' are these but for one. */
static vlm_status add_clean_up(loading *l, bool do_not, const char *where, vlm_error *err) {
    static const char *const rule[][2] = {
        { " .", "." },   { " ?", "?" },     { " !", "!" },    { " ,", "," },
        { " ' ", "'" },  { " n't", "n't" }, { " 'm", "'m" },  { " do not", " don't" },
        { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" }
    };
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++)
        if (i != 7 || do_not)
            VTRY(add_replace(l, vcore_str_of(rule[i][0]), vcore_str_of(rule[i][1]), where, err));
    return VLM_OK;
}

static vlm_status load_replace(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vtext_pattern pattern = { 0 };
    vcore_str content, literal;
    VTRY(vtext_get_string(&content, v, "content", where, l->arena, err));
    bool empty = vcore_json_string(vcore_json_path(v, "pattern.String"), &literal) && !literal.n;
    if (empty)
        pattern.literal = vcore_str_of("");
    else
        VTRY(vtext_pattern_parse(&pattern, vcore_json_get(v, "pattern"), where, l->arena, err));
    if (!pattern.match && !pattern.regex) {
        VTRY(add_replace(l, pattern.literal, content, where, err));
        l->d->step[l->d->count - 1].only_text = true;
        return VLM_OK;
    }
    struct vtext_decode_step *step = add_step(l, VTEXT_DECODE_REGEX);
    if (!step) return vtext_too_many(where, err);
    step->regex = pattern;
    step->content = content;
    return VLM_OK;
}

static vlm_status load_wordpiece(loading *l, const vcore_json *v, const char *where,
                                 vlm_error *err) {
    struct vtext_decode_step *step = add_step(l, VTEXT_DECODE_WORDPIECE);
    bool cleanup;
    if (!step) return vtext_too_many(where, err);
    VTRY(vtext_get_string(&step->content, v, "prefix", where, l->arena, err));
    VTRY(vtext_get_bool(&cleanup, v, "cleanup", true, where, err));
    return cleanup ? add_clean_up(l, true, where, err) : VLM_OK;
}

static vlm_status load_ctc(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vcore_str pad, delimiter;
    bool cleanup;
    VTRY(vtext_get_string(&pad, v, "pad_token", where, l->arena, err));
    VTRY(vtext_get_string(&delimiter, v, "word_delimiter_token", where, l->arena, err));
    VTRY(vtext_get_bool(&cleanup, v, "cleanup", true, where, err));
    if (!add_step(l, VTEXT_DECODE_DISTINCT)) return vtext_too_many(where, err);
    if (pad.n) VTRY(add_replace(l, pad, vcore_str_of(""), where, err));
    if (cleanup) {
        VTRY(add_clean_up(l, true, where, err));
        VTRY(add_replace(l, delimiter, vcore_str_of(" "), where, err));
    }
    return add_step(l, VTEXT_DECODE_NOT_EMPTY) ? VLM_OK : vtext_too_many(where, err);
}

static vlm_status load_suffix(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    struct vtext_decode_step *step = add_step(l, VTEXT_DECODE_SUFFIX);
    if (!step) return vtext_too_many(where, err);
    return vtext_get_string(&step->content, v, "suffix", where, l->arena, err);
}

static vlm_status load_char(vcore_str *out, const vcore_json *v, const char *key, const char *where,
                            vcore_arena *arena, vlm_error *err) {
    uint32_t cp;
    VTRY(vtext_get_string(out, v, key, where, arena, err));
    if (out->n && vcore_utf8_decode(out->p, out->n, &cp) == out->n) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "must be one character");
}

static vlm_status load_strip(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    struct vtext_decode_step *step = add_step(l, VTEXT_DECODE_STRIP);
    int64_t start, stop;
    if (!step) return vtext_too_many(where, err);
    VTRY(load_char(&step->content, v, "content", where, l->arena, err));
    if (!vcore_json_int(vcore_json_get(v, "start"), &start) || start < 0
        || !vcore_json_int(vcore_json_get(v, "stop"), &stop) || stop < 0)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, NULL,
                                "start and stop must be integers, 0 or more");
    step->start = (uint64_t)start;
    step->stop = (uint64_t)stop;
    return VLM_OK;
}

static vlm_status load_metaspace(loading *l, const vcore_json *v, const char *where,
                                 vlm_error *err) {
    static const char *const schemes[] = { "never", "first", "always" };
    struct vtext_decode_step *step = add_step(l, VTEXT_DECODE_METASPACE);
    const vcore_json *given = vcore_json_get(v, "prepend_scheme");
    vcore_str scheme;
    int i = 0;
    if (!step) return vtext_too_many(where, err);
    VTRY(load_char(&step->content, v, "replacement", where, l->arena, err));
    VTRY(vtext_get_bool(&step->prepended, v, "add_prefix_space", true, where, err));
    if (!given) return VLM_OK;
    if (!vcore_json_string(given, &scheme)) scheme = vcore_str_of("");
    while (i < 3 && !vcore_str_eq(scheme, vcore_str_of(schemes[i]))) i++;
    if (i == 3)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "prepend_scheme",
                                "must be \"first\", \"never\" or \"always\"");
    if (i && !step->prepended)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "add_prefix_space",
                                "does not agree with prepend_scheme");
    step->prepended = i > 0;
    return VLM_OK;
}

static vlm_status load_step(void *user, const vcore_json *v, vcore_str type, const char *where,
                            vlm_error *err) {
    static const struct {
        const char *name;
        vtext_decode_kind kind;
        vlm_status (*load)(loading *l, const vcore_json *v, const char *where, vlm_error *err);
    } decoders[] = { { "ByteLevel", VTEXT_DECODE_BYTE_LEVEL, NULL },
                     { "ByteFallback", VTEXT_DECODE_BYTE_FALLBACK, NULL },
                     { "Fuse", VTEXT_DECODE_FUSE, NULL },
                     { "Strip", VTEXT_DECODE_STRIP, load_strip },
                     { "Replace", VTEXT_DECODE_REPLACE, load_replace },
                     { "Metaspace", VTEXT_DECODE_METASPACE, load_metaspace },
                     { "WordPiece", VTEXT_DECODE_WORDPIECE, load_wordpiece },
                     { "CTC", VTEXT_DECODE_DISTINCT, load_ctc },
                     { "BPEDecoder", VTEXT_DECODE_SUFFIX, load_suffix } };
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
        if (!vcore_str_eq(type, vcore_str_of(decoders[i].name))) continue;
        if (decoders[i].load) return decoders[i].load(user, v, where, err);
        return add_step(user, decoders[i].kind) ? VLM_OK : vtext_too_many(where, err);
    }
    return vtext_unknown_type(type, where, err);
}

vlm_status vtext_decoder_load(vtext_decoder *d, const vcore_json *v, const char *name,
                              vcore_arena *arena, vlm_error *err) {
    loading l = { d, arena };
    VTRY(vtext_each_step(v, "decoders", "decoder", name, load_step, &l, err));
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) add_step(&l, VTEXT_DECODE_JOIN);
    return VLM_OK;
}

vlm_status vtext_decoder_clean_up(vtext_decoder *d, const char *name, vcore_arena *arena,
                                  vlm_error *err) {
    loading l = { d, arena };
    char where[300];
    snprintf(where, sizeof where, "%s: clean_up_tokenization_spaces", name);
    if (!add_step(&l, VTEXT_DECODE_FUSE)) return vtext_too_many(where, err);
    return add_clean_up(&l, false, where, err);
}
