/* SPDX-License-Identifier: MIT */
/* Normalizers: text to text, each byte keeping the place of the character it came from. Owns the
 * table of their types, the sequence, and the steps that look at the whole text; the others lie in
 * normalize_forms.c, normalize_map.c and normalize_precompiled.c. */
#include "text/tokenizer/normalize.h"

void vtext_edit_put(vtext_edit *x, uint32_t cp, int change) {
    char utf8[4];
    uint32_t begin = 0, end = 0, skipped;
    size_t from = change > 0 ? x->at - (x->at > 0) : x->at;
    if (from < x->in.n && (change <= 0 || x->at)) {
        begin = vtext_piece_begin(x->in, from);
        end = vtext_piece_end(x->in, from);
    }
    vtext_text_put(x->out, utf8, vcore_utf8_encode(cp, utf8), begin, end);
    for (int k = change > 0 ? 0 : 1 - change; k && x->at < x->in.n; k--)
        x->at += vcore_utf8_decode(x->in.p + x->at, x->in.n - x->at, &skipped);
}

/* ---- steps that look at the whole text ------------------------------------------------------ */
/* What is put in has the place of the last character that it replaces; of the one before it, where
 * it replaces none. */
static bool replace(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                    size_t limit) {
    size_t at = 0, begin, end;
    bool found = false;
    vtext_scan scan;
    vtext_pattern_start(&scan, &step->pattern, s->p, s->n);
    while (out->n <= limit && vtext_pattern_next(&scan, &begin, &end)) {
        uint32_t first = vtext_piece_begin(*s, end ? end - 1 : 0);
        found = true;
        vtext_text_copy(out, vtext_part(*s, at, begin));
        vtext_text_put(out, step->content.p, step->content.n, first,
                       end ? vtext_piece_end(*s, end - 1) : first);
        at = end;
    }
    bool ok = !scan.failed;
    vtext_pattern_done(&scan);
    if (!found || !ok) return ok;
    vtext_text_copy(out, vtext_part(*s, at, s->n));
    *s = vtext_text_piece(out);
    return !out->failed;
}

static bool prepend(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                    size_t limit) {
    uint32_t cp, begin = vtext_piece_begin(*s, 0), end = vtext_piece_end(*s, 0);
    size_t n = vcore_utf8_decode(s->p, s->n, &cp);
    (void)limit;
    if (!step->content.n) end = begin; /* the first character loses its place */
    vtext_text_put(out, step->content.p, step->content.n, begin, end);
    vtext_text_put(out, s->p, n, begin, end);
    vtext_text_copy(out, vtext_part(*s, n, s->n));
    *s = vtext_text_piece(out);
    return !out->failed;
}

static bool strip(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out, size_t limit) {
    size_t begin = 0, end = s->n, last;
    uint32_t cp;
    (void)out, (void)limit;
    for (size_t len; step->left && begin < end; begin += len) {
        len = vcore_utf8_decode(s->p + begin, end - begin, &cp);
        if (!vtext_is_space(cp)) break;
    }
    for (; step->right && end > begin; end = last) {
        for (last = end - 1; last > begin && ((uint8_t)s->p[last] & 0xC0) == 0x80; last--) {
        }
        vcore_utf8_decode(s->p + last, end - last, &cp);
        if (!vtext_is_space(cp)) break;
    }
    *s = vtext_part(*s, begin, end);
    return true;
}

vlm_status vtext_normalize(const vtext_normalizer *z, vtext_piece in, vtext_text buffer[2],
                           vtext_piece *out, vlm_error *err) {
    size_t limit = in.n * 64 + (1 << 20); /* a file may ask for a megabyte in place of each space */
    if (limit > VTEXT_MAX_BYTES) limit = VTEXT_MAX_BYTES;
    vtext_text *to = &buffer[0];
    for (int i = 0; i < z->count && in.n; i++) {
        to->n = 0;
        if (!z->step[i]->apply(z->step[i], &in, to, limit))
            return vcore_no_memory(err, "normalizer");
        if (!to->n) continue; /* in its old place */
        if (to->n > limit)
            return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = limit },
                                 "normalizer: the text grows beyond %zu bytes", limit);
        to = &buffer[to == &buffer[0]];
    }
    *out = in;
    return VLM_OK;
}

/* ---- loading -------------------------------------------------------------------------------- */
typedef struct loading {
    vtext_normalizer *z;
    vcore_arena *arena;
} loading;

static vlm_status add_step(loading *l, vtext_normalize_step step, const char *where,
                           vlm_error *err) {
    if (l->z->count == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    vtext_normalize_step *copy = vcore_arena_alloc(l->arena, sizeof *copy);
    if (!copy) return vcore_no_memory(err, where);
    *copy = step;
    l->z->step[l->z->count++] = copy;
    return VLM_OK;
}

static vlm_status load_replace(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vtext_normalize_step step = { .apply = replace };
    VTRY(vtext_pattern_parse(&step.pattern, vcore_json_get(v, "pattern"), where, l->arena, err));
    VTRY(vtext_get_string(&step.content, v, "content", where, l->arena, err));
    return add_step(l, step, where, err);
}

static vlm_status load_prepend(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vtext_normalize_step step = { .apply = prepend };
    VTRY(vtext_get_string(&step.content, v, "prepend", where, l->arena, err));
    return add_step(l, step, where, err);
}

static vlm_status load_strip(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    vtext_normalize_step step = { .apply = strip };
    VTRY(vtext_get_bool(&step.left, v, "strip_left", true, where, err));
    VTRY(vtext_get_bool(&step.right, v, "strip_right", true, where, err));
    return add_step(l, step, where, err);
}

static vlm_status load_precompiled(loading *l, const vcore_json *v, const char *where,
                                   vlm_error *err) {
    vtext_normalize_step step = { .apply = vtext_step_precompiled };
    vcore_str map;
    if (!vcore_json_string(vcore_json_get(v, "precompiled_charsmap"), &map))
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "precompiled_charsmap",
                                "must be a string");
    VTRY(vtext_charsmap_parse(&step.charsmap, map, where, l->arena, err));
    return add_step(l, step, where, err);
}

/* Its options are steps of their own; accents go where letters become small unless the file says.
 */
static vlm_status load_bert(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    bool clean, chinese, accents, lower;
    VTRY(vtext_get_bool(&clean, v, "clean_text", true, where, err));
    VTRY(vtext_get_bool(&chinese, v, "handle_chinese_chars", true, where, err));
    VTRY(vtext_get_bool(&lower, v, "lowercase", true, where, err));
    VTRY(vtext_get_bool(&accents, v, "strip_accents", lower, where, err));
    const vtext_normalize_step steps[] = {
        { .apply = clean ? vtext_step_map : NULL, .map = vtext_map_bert_clean },
        { .apply = chinese ? vtext_step_map : NULL, .map = vtext_map_bert_chinese },
        { .apply = accents ? vtext_step_form : NULL },
        { .apply = accents ? vtext_step_map : NULL, .map = vtext_map_bert_accents },
        { .apply = lower ? vtext_step_map : NULL, .map = vtext_map_lower },
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i].apply) VTRY(add_step(l, steps[i], where, err));
    return VLM_OK;
}

static const struct {
    const char *type;
    vlm_status (*load)(loading *l, const vcore_json *v, const char *where, vlm_error *err);
    vtext_normalize_step step; /* without load: a type that has no parameters */
} types[] = {
    { "NFC", NULL, { .apply = vtext_step_form, .option = VTEXT_FORM_COMPOSED } },
    { "NFD", NULL, { .apply = vtext_step_form } },
    { "NFKC",
      NULL,
      { .apply = vtext_step_form, .option = VTEXT_FORM_COMPAT | VTEXT_FORM_COMPOSED } },
    { "NFKD", NULL, { .apply = vtext_step_form, .option = VTEXT_FORM_COMPAT } },
    { "Lowercase", NULL, { .apply = vtext_step_map, .map = vtext_map_lower } },
    { "StripAccents", NULL, { .apply = vtext_step_map, .map = vtext_map_unaccented } },
    { "Nmt", NULL, { .apply = vtext_step_map, .map = vtext_map_nmt } },
    { "ByteLevel", NULL, { .apply = vtext_step_map, .map = vtext_map_bytes } },
    { "Strip", load_strip, { 0 } },
    { "Prepend", load_prepend, { 0 } },
    { "Replace", load_replace, { 0 } },
    { "BertNormalizer", load_bert, { 0 } },
    { "Precompiled", load_precompiled, { 0 } },
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

vlm_status vtext_normalizer_load(vtext_normalizer *z, const vcore_json *v, const char *name,
                                 vcore_arena *arena, vlm_error *err) {
    loading l = { z, arena };
    return vtext_each_step(v, "normalizers", "normalizer", name, load_step, &l, err);
}
