/* SPDX-License-Identifier: MIT */
/* Post-processors: the special tokens around a text, and trimmed offsets. A template gives a list
 * of segments (a special token, the text); what follows it in a sequence sees them apart, as in the
 * reference. */
#include "text/tokenizer/tok.h"

enum { MAX_SEGMENTS = 64 };

typedef enum kind { TRIM, AROUND, TEMPLATE } kind;
typedef struct post_piece {
    int sequence; /* 0, 1: this segment of what came in; -1: special tokens */
    uint32_t *id;
    size_t n;
} post_piece;
typedef struct pieces {
    post_piece *piece;
    size_t n;
} pieces;
struct vtext_post_step {
    kind kind;
    bool prefix_space;    /* TRIM */
    uint32_t first, last; /* AROUND: cls and sep around the first segment, sep behind the others */
    bool roberta;         /* AROUND: and in front of them */
    pieces template[2];   /* TEMPLATE: for one segment, for two */
};

/* ---- loading -------------------------------------------------------------------------------- */
typedef struct loading {
    vlm_tokenizer *t;
    size_t segments[2]; /* without and with special tokens */
} loading;

static vlm_status add_step(loading *l, struct vtext_post_step step, const char *where,
                           vlm_error *err) {
    vtext_post *post = &l->t->post;
    if (post->count == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    struct vtext_post_step *copy = vcore_arena_alloc(l->t->arena, sizeof *copy);
    if (!copy) return vcore_no_memory(err, where);
    *copy = step;
    post->step[post->count++] = copy;
    return VLM_OK;
}

static vlm_status get_id(uint32_t *out, const vcore_json *v, const char *key, const char *where,
                         vlm_error *err) {
    int64_t id = -1;
    if (!vcore_json_int(v, &id) || id < 0 || id > VTEXT_MAX_ID)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "an id must be in [0, %d]",
                                VTEXT_MAX_ID);
    *out = (uint32_t)id;
    return VLM_OK;
}

/* The ids of a special token of a template; where there are none, that of the token. */
static vlm_status load_special(loading *l, post_piece *out, const vcore_json *template,
                               vcore_str name, const char *where, vlm_error *err) {
    vcore_json_iter it = { 0 };
    const vcore_json *specials = vcore_json_get(template, "special_tokens"), *found = NULL;
    while (vcore_json_next(specials, &it))
        if (vcore_str_eq(it.key, name)) found = vcore_json_get(it.value, "ids");
    if (!found) {
        *out = (post_piece) { .sequence = -1, .n = 1 };
        out->id = vcore_arena_array(l->t->arena, 1, sizeof *out->id);
        if (!out->id) return vcore_no_memory(err, where);
        if (vtext_token_to_id(l->t, name, out->id)) return VLM_OK;
    }
    if (vcore_json_kind_of(found) != VCORE_JSON_ARRAY)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "special_tokens", "no ids for '%.*s'",
                                (int)(name.n < 60 ? name.n : 60), name.p);
    *out = (post_piece) { .sequence = -1, .n = vcore_json_count(found) };
    out->id = vcore_arena_array(l->t->arena, out->n + 1, sizeof *out->id);
    if (!out->id) return vcore_no_memory(err, where);
    for (size_t i = 0; i < out->n; i++)
        VTRY(get_id(&out->id[i], vcore_json_at(found, i), "special_tokens", where, err));
    return VLM_OK;
}

/* key: "single" for one segment, "pair" for two. */
static vlm_status load_pieces(loading *l, pieces *out, const vcore_json *template, const char *key,
                              const char *where, vlm_error *err) {
    const vcore_json *list = vcore_json_get(template, key);
    const char *shape = "must be an array of Sequence and SpecialToken";
    if (vcore_json_kind_of(list) != VCORE_JSON_ARRAY)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "%s", shape);
    out->n = vcore_json_count(list);
    if (out->n > MAX_SEGMENTS) return vcore_fail_limit(err, where, key, MAX_SEGMENTS, "pieces");
    out->piece = vcore_arena_array(l->t->arena, out->n + 1, sizeof *out->piece);
    if (!out->piece) return vcore_no_memory(err, where);
    for (size_t i = 0; i < out->n; i++) {
        const vcore_json *v = vcore_json_at(list, i);
        vcore_str name;
        if (vcore_json_string(vcore_json_path(v, "SpecialToken.id"), &name)) {
            VTRY(load_special(l, &out->piece[i], template, name, where, err));
            continue;
        }
        if (!vcore_json_string(vcore_json_path(v, "Sequence.id"), &name) || name.n != 1
            || (name.p[0] != 'A' && name.p[0] != 'B'))
            return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "%s", shape);
        out->piece[i] = (post_piece) { .sequence = name.p[0] == 'B' };
        if (name.p[0] == 'B' && strcmp(key, "pair") != 0)
            return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, key, "there is no sequence B");
    }
    return VLM_OK;
}

static vlm_status load_template(loading *l, const vcore_json *v, const char *where,
                                vlm_error *err) {
    static const char *const keys[2] = { "single", "pair" };
    struct vtext_post_step step = { .kind = TEMPLATE };
    bool loaded[2] = { false, false };
    for (int special = 0; special < 2; special++) {
        size_t n = l->segments[special];
        if (n != 1 && n != 2)
            return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, NULL,
                                    "a template of one or two sequences behind one that gives %zu",
                                    n);
        pieces *p = &step.template[n - 1];
        if (!loaded[n - 1]) VTRY(load_pieces(l, p, v, keys[n - 1], where, err));
        loaded[n - 1] = true;
        l->segments[special] = 0;
        for (size_t i = 0; i < p->n; i++)
            l->segments[special] += special || p->piece[i].sequence >= 0;
    }
    return add_step(l, step, where, err);
}

static vlm_status load_trim(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    struct vtext_post_step step = { .kind = TRIM };
    bool trim;
    VTRY(vtext_get_bool(&trim, v, "trim_offsets", true, where, err));
    VTRY(vtext_get_bool(&step.prefix_space, v, "add_prefix_space", true, where, err));
    return trim ? add_step(l, step, where, err) : VLM_OK;
}

/* [token, id], or [token] alone. */
static vlm_status load_end(loading *l, uint32_t *out, const vcore_json *v, const char *key,
                           const char *where, vlm_error *err) {
    const vcore_json *end = vcore_json_get(v, key);
    vcore_str token;
    if (vcore_json_count(end) == 1 && vcore_json_string(vcore_json_at(end, 0), &token)
        && vtext_token_to_id(l->t, token, out))
        return VLM_OK;
    return get_id(out, vcore_json_at(end, 1), key, where, err);
}

static vlm_status load_around(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    struct vtext_post_step step = { .kind = AROUND };
    VTRY(load_end(l, &step.first, v, "cls", where, err));
    VTRY(load_end(l, &step.last, v, "sep", where, err));
    return add_step(l, step, where, err);
}

static vlm_status load_roberta(loading *l, const vcore_json *v, const char *where, vlm_error *err) {
    VTRY(load_trim(l, v, where, err));
    VTRY(load_around(l, v, where, err));
    l->t->post.step[l->t->post.count - 1]->roberta = true;
    return VLM_OK;
}

static const struct {
    const char *type;
    vlm_status (*load)(loading *l, const vcore_json *v, const char *where, vlm_error *err);
} types[] = {
    { "TemplateProcessing", load_template },
    { "ByteLevel", load_trim },
    { "BertProcessing", load_around },
    { "RobertaProcessing", load_roberta },
};

static vlm_status load_step(void *user, const vcore_json *v, vcore_str type, const char *where,
                            vlm_error *err) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (vcore_str_eq(type, vcore_str_of(types[i].type)))
            return types[i].load(user, v, where, err);
    return vtext_unknown_type(type, where, err);
}

vlm_status vtext_post_load(vlm_tokenizer *t, const vcore_json *v, vlm_error *err) {
    loading l = { t, { 1, 1 } };
    return vtext_each_step(v, "processors", "post_processor", t->name, load_step, &l, err);
}

/* ---- trimmed offsets ------------------------------------------------------------------------ */
/* Number of white space characters at the front (or back) of a token, of the byte-level alphabet or
 * plain. */
static size_t count_spaces(vcore_str s, bool back) {
    for (size_t found = 0;; found++) {
        uint32_t cp = 0;
        size_t n = 1;
        while (back && n < s.n && ((uint8_t)s.p[s.n - n] & 0xC0) == 0x80) n++;
        if (s.n) n = vcore_utf8_decode(back ? s.p + s.n - n : s.p, back ? n : s.n, &cp);
        if (!s.n || (cp != vtext_byte_char(' ') && !vtext_is_space(cp))) return found;
        if (!back) s.p += n;
        s.n -= n;
    }
}

/* What became the token: for an added token that was matched, the text with the white space that it
 * took along; else the token as the vocabulary has it. */
static vcore_str token_text(const vlm_tokenizer *t, uint32_t id, vcore_str taken) {
    uint32_t i = id < t->vocab_size ? t->added_by_id[id] : 0;
    const vtext_added *a = i ? &t->added.token[i - 1] : NULL;
    if (a && (a->normalized || memmem(taken.p, taken.n, a->content.p, a->content.n))) return taken;
    return vtext_vocab_text(&t->model.vocab, id);
}

/* The place behind the first `count` characters of text[at, end). Bytes that are no UTF-8 are the
 * characters that replace them. */
static uint32_t skip_characters(const char *text, uint32_t at, uint32_t end, size_t count) {
    uint32_t cp;
    for (; count && at < end; count--) at += (uint32_t)vcore_utf8_decode(text + at, end - at, &cp);
    return at;
}

/* Characters of text[at, end), up to `most` of them. */
static size_t count_characters(const char *text, uint32_t at, uint32_t end, size_t most) {
    size_t n = 0;
    for (; n < most && at < end; n++) at = skip_characters(text, at, end, 1);
    return n;
}

/* Takes a token's white space out of its place, a character of the text for each: a space of our
 * own in front counts as the character it stands before. */
static void trim_offsets(const vlm_tokenizer *t, bool prefix_space, const char *text,
                         vtext_ids *out, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        uint32_t begin = out->begin[i], end = out->end[i], id = out->id[i];
        vcore_str token = token_text(t, id, (vcore_str) { text + begin, end - begin });
        size_t front = count_spaces(token, false), back = count_spaces(token, true);
        if (front == 1 && prefix_space && (i == from || begin == 0)) front = 0; /* our own */
        if (count_characters(text, 0, end, back) < back) back = 0;
        begin = skip_characters(text, begin, end, front);
        if (back) {
            size_t n = count_characters(text, begin, end, SIZE_MAX);
            end = skip_characters(text, begin, end, n > back ? n - back : 0);
        }
        out->begin[i] = begin;
        out->end[i] = end;
    }
}

/* ---- applying ------------------------------------------------------------------------------- */
typedef struct post_run {
    const vlm_tokenizer *t;
    bool special, offsets;
    vtext_ids *ids, next; /* next: what the step gives */
    size_t end[MAX_SEGMENTS], next_end[MAX_SEGMENTS], segments, next_segments;
} post_run;

static bool put_special(post_run *r, const uint32_t *id, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!vtext_ids_push(&r->next, id[i], 0, 0, r->offsets)) return false;
    return true;
}

static bool put_segment(post_run *r, size_t segment) {
    size_t begin = segment ? r->end[segment - 1] : 0;
    for (size_t i = begin; i < r->end[segment]; i++) {
        uint32_t from = r->offsets ? r->ids->begin[i] : 0, to = r->offsets ? r->ids->end[i] : 0;
        if (!vtext_ids_push(&r->next, r->ids->id[i], from, to, r->offsets)) return false;
    }
    return true;
}

static bool put_around(post_run *r, const struct vtext_post_step *step) {
    for (size_t i = 0; i < r->segments; i++) {
        const uint32_t *front = i ? &step->last : &step->first;
        if (!put_special(r, front, !i || step->roberta) || !put_segment(r, i)
            || !put_special(r, &step->last, 1))
            return false;
        r->next_end[r->next_segments++] = r->next.n;
    }
    return true;
}

static bool put_template(post_run *r, const struct vtext_post_step *step) {
    const pieces *p = &step->template[r->segments - 1];
    for (size_t i = 0; i < p->n; i++) {
        const post_piece *piece = &p->piece[i];
        if (piece->sequence < 0 && !r->special) continue;
        if (!(piece->sequence < 0 ? put_special(r, piece->id, piece->n)
                                  : put_segment(r, (size_t)piece->sequence)))
            return false;
        r->next_end[r->next_segments++] = r->next.n;
    }
    return true;
}

static void trim_segments(post_run *r, bool prefix_space, const char *text) {
    for (size_t i = 0; r->offsets && i < r->segments; i++)
        trim_offsets(r->t, prefix_space, text, r->ids, i ? r->end[i - 1] : 0, r->end[i]);
}

/* What the step gave becomes what the next one gets. */
static void take_next(post_run *r) {
    vtext_ids old = *r->ids;
    *r->ids = r->next;
    r->next = old;
    r->next.n = 0;
    memcpy(r->end, r->next_end, sizeof r->end);
    r->segments = r->next_segments;
    r->next_segments = 0;
}

bool vtext_post_apply(const vlm_tokenizer *t, bool add_special, bool offsets, const char *text,
                      vtext_ids *out) {
    post_run r = { .t = t,
                   .special = add_special,
                   .offsets = offsets,
                   .ids = out,
                   .end = { out->n },
                   .segments = 1 };
    bool ok = true;
    for (int i = 0; ok && i < t->post.count; i++) {
        const struct vtext_post_step *step = t->post.step[i];
        if (step->kind == TRIM)
            trim_segments(&r, step->prefix_space, text);
        else if (step->kind == TEMPLATE || add_special) {
            ok = step->kind == TEMPLATE ? put_template(&r, step) : put_around(&r, step);
            if (ok) take_next(&r);
        }
    }
    vtext_ids_free(&r.next);
    return ok;
}
