/* SPDX-License-Identifier: MIT */
/* Post-processors: the special tokens around a text, and ByteLevel's trimmed offsets. */
#include "text/tokenizer/tok.h"

/* ---- loading -------------------------------------------------------------------------------- */
typedef struct ids {
    uint32_t id[64];
    size_t n;
} ids;

static vlm_status add_id(ids *list, int64_t id, const char *where, vlm_error *err) {
    if (id < 0 || id > VTEXT_MAX_ID)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "special_tokens",
                                "an id must be in [0, %d]", VTEXT_MAX_ID);
    if (list->n == sizeof list->id / sizeof *list->id)
        return vcore_fail_limit(err, where, "single", sizeof list->id / sizeof *list->id,
                                "special tokens");
    list->id[list->n++] = (uint32_t)id;
    return VLM_OK;
}

static vlm_status add_special(ids *list, const vcore_json *template, vcore_str name,
                              const char *where, vlm_error *err) {
    vcore_json_iter it = { 0 };
    const vcore_json *specials = vcore_json_get(template, "special_tokens"), *found = NULL;
    while (vcore_json_next(specials, &it))
        if (vcore_str_eq(it.key, name)) found = vcore_json_get(it.value, "ids");
    if (vcore_json_kind_of(found) != VCORE_JSON_ARRAY)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "special_tokens", "no ids for '%.*s'",
                                (int)(name.n < 60 ? name.n : 60), name.p);
    for (size_t i = 0; i < vcore_json_count(found); i++) {
        int64_t id = -1;
        vcore_json_int(vcore_json_at(found, i), &id);
        VTRY(add_id(list, id, where, err));
    }
    return VLM_OK;
}

static uint32_t *copy_ids(vcore_arena *arena, const ids *list) {
    uint32_t *copy = vcore_arena_array(arena, list->n + 1, sizeof *copy);
    if (copy) memcpy(copy, list->id, list->n * sizeof *copy);
    return copy;
}

static vlm_status set_template(struct vtext_post_step *step, vcore_arena *arena, const ids list[2],
                               vlm_error *err) {
    *step = (struct vtext_post_step) { .before = copy_ids(arena, &list[0]),
                                       .n_before = list[0].n,
                                       .after = copy_ids(arena, &list[1]),
                                       .n_after = list[1].n };
    return step->before && step->after ? VLM_OK : vcore_no_memory(err, "post_processor");
}

static vlm_status load_template(struct vtext_post_step *step, const vcore_json *v,
                                const char *where, vcore_arena *arena, vlm_error *err) {
    const vcore_json *single = vcore_json_get(v, "single");
    ids list[2] = { { { 0 }, 0 }, { { 0 }, 0 } };
    int texts = 0;
    for (size_t i = 0; i < vcore_json_count(single); i++) {
        const vcore_json *piece = vcore_json_at(single, i);
        vcore_str name;
        if (vcore_json_string(vcore_json_path(piece, "Sequence.id"), &name)) {
            if (!vcore_str_eq(name, vcore_str_of("A"))) texts = 2;
            texts++;
        } else if (vcore_json_string(vcore_json_path(piece, "SpecialToken.id"), &name)) {
            VTRY(add_special(&list[texts > 0], v, name, where, err));
        } else {
            return vcore_fail_field(err, VLM_ERR_FORMAT, where, "single",
                                    "must be an array of Sequence and SpecialToken");
        }
    }
    if (texts != 1)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, "single",
                                "must have the sequence A once");
    return set_template(step, arena, list, err);
}

static vlm_status load_step(void *user, const vcore_json *v, vcore_str type, const char *where,
                            vlm_error *err) {
    vlm_tokenizer *t = user;
    struct vtext_post_step *step = &t->post.step[t->post.count];
    if (t->post.count == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    if (vcore_str_eq(type, vcore_str_of("TemplateProcessing"))) {
        VTRY(load_template(step, v, where, t->arena, err));
    } else if (vcore_str_eq(type, vcore_str_of("ByteLevel"))) {
        VTRY(vtext_get_bool(&step->trim, v, "trim_offsets", true, where, err));
        VTRY(vtext_get_bool(&step->prefix_space, v, "add_prefix_space", true, where, err));
        if (!step->trim) return VLM_OK;
    } else {
        return vtext_unknown_type(type, where, err);
    }
    t->post.count++;
    return VLM_OK;
}

vlm_status vtext_post_load(vlm_tokenizer *t, const vcore_json *v, vlm_error *err) {
    return vtext_each_step(v, "processors", "post_processor", t->name, load_step, t, err);
}

/* ---- applying ------------------------------------------------------------------------------- */
static bool insert(vtext_ids *out, size_t at, const uint32_t *id, size_t n, bool offsets) {
    size_t tail = out->n - at;
    for (size_t i = 0; i < n; i++)
        if (!vtext_ids_push(out, 0, 0, 0, offsets)) return false;
    if (!n) return true;
    memmove(out->id + at + n, out->id + at, tail * sizeof *id);
    memcpy(out->id + at, id, n * sizeof *id);
    if (!offsets) return true;
    memmove(out->begin + at + n, out->begin + at, tail * sizeof *id);
    memmove(out->end + at + n, out->end + at, tail * sizeof *id);
    memset(out->begin + at, 0, n * sizeof *id);
    memset(out->end + at, 0, n * sizeof *id);
    return true;
}

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

/* Takes a token's white space out of its place, a character of the text for each: a space of our
 * own in front counts as the character it stands before. */
static void trim_offsets(const vlm_tokenizer *t, bool prefix_space, const char *text,
                         vtext_ids *out) {
    for (size_t i = 0; i < out->n; i++) {
        uint32_t begin = out->begin[i], end = out->end[i], id = out->id[i], cp;
        vcore_str token = token_text(t, id, (vcore_str) { text + begin, end - begin });
        size_t front = count_spaces(token, false), back = count_spaces(token, true);
        if (front == 1 && prefix_space && (i == 0 || begin == 0)) front = 0; /* our own */
        for (; front && begin < end; front--)
            begin += (uint32_t)vcore_utf8_decode(text + begin, end - begin, &cp);
        for (; back && end > begin; back--) {
            end--;
            while (end > begin && ((uint8_t)text[end] & 0xC0) == 0x80) end--;
        }
        out->begin[i] = begin;
        out->end[i] = end;
    }
}

bool vtext_post_apply(const vlm_tokenizer *t, bool add_special, bool offsets, const char *text,
                      vtext_ids *out) {
    for (int i = 0; i < t->post.count; i++) {
        const struct vtext_post_step *step = &t->post.step[i];
        if (step->trim) {
            if (offsets) trim_offsets(t, step->prefix_space, text, out);
        } else if (add_special) {
            if (!insert(out, 0, step->before, step->n_before, offsets)
                || !insert(out, out->n, step->after, step->n_after, offsets))
                return false;
        }
    }
    return true;
}
