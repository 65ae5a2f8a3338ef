/* SPDX-License-Identifier: MIT */
/* Encoding: the spans of a prompt, joined, through the pipeline that tok.h draws. Owns the order of
 * the stages and the memory of one call; what each stage does lies in its own file. */
#include "text/tokenizer/tok.h"

bool vtext_ids_push(vtext_ids *ids, uint32_t id, uint32_t begin, uint32_t end, bool offsets) {
    if (ids->n == ids->cap || (offsets && !ids->begin)) {
        size_t cap = ids->n == ids->cap ? (ids->cap ? ids->cap * 2 : 64) : ids->cap;
        uint32_t *id_more = vcore_realloc_array(ids->id, cap, sizeof *id_more);
        if (id_more) ids->id = id_more;
        uint32_t *b = id_more && offsets ? vcore_realloc_array(ids->begin, cap, sizeof *b) : NULL;
        if (b) ids->begin = b;
        uint32_t *e = b ? vcore_realloc_array(ids->end, cap, sizeof *e) : NULL;
        if (e) ids->end = e;
        if (!id_more || (offsets && !e)) return false;
        ids->cap = cap;
    }
    ids->id[ids->n] = id;
    if (offsets) {
        ids->begin[ids->n] = begin;
        ids->end[ids->n] = end;
    }
    ids->n++;
    return true;
}

void vtext_ids_free(vtext_ids *ids) {
    vcore_free(ids->id);
    vcore_free(ids->begin);
    vcore_free(ids->end);
    *ids = (vtext_ids) { 0 };
}

typedef struct encoder {
    const vlm_tokenizer *t;
    vtext_ids *out;
    bool offsets;
    vtext_user user;
    uint32_t (*ranges)[2];             /* what user points to */
    char *joined;                      /* when there are several spans */
    vtext_text given, normal[2];       /* given: the text with invalid UTF-8 replaced */
    vtext_text split[VTEXT_MAX_STEPS]; /* of the pre-tokenizers */
    vtext_scratch word;
    vlm_error *err;
} encoder;

/* ---- from text to ids ----------------------------------------------------------------------- */
/* A place in a word: a byte of it, and in bytes of the stand-ins (for a word of bytes; else the
 * same). */
typedef struct cursor {
    size_t byte, unit;
} cursor;

static size_t byte_at(vtext_piece word, bool byte_level, cursor *c, size_t unit) {
    if (!byte_level) return unit < word.n ? unit : word.n - 1;
    for (size_t width; c->byte + 1 < word.n; c->byte++, c->unit += width) {
        width = vtext_byte_width((uint8_t)word.p[c->byte]);
        if (c->unit + width > unit) break;
    }
    return c->byte;
}

/* Places of tokens add up their lengths. Where a character that the vocabulary lacks gave no token,
 * those behind it come too early: so the reference has it, too. */
static bool push_word(void *user, vtext_piece word) {
    encoder *x = user;
    bool byte_level = x->t->splitter.byte_level;
    if (!vtext_model_word(&x->t->model, &x->word, word.p, word.n, byte_level)) return false;
    cursor c = { 0, 0 };
    uint32_t begin = 0, end = 0;
    for (size_t i = 0, at = 0, next; i < x->word.n; i++, at = next) {
        next = at + x->word.symbol[i].len;
        if (x->offsets && next > at) {
            begin = vtext_piece_begin(word, byte_at(word, byte_level, &c, at));
            end = vtext_piece_end(word, byte_at(word, byte_level, &c, next - 1));
        }
        if (!vtext_ids_push(x->out, x->word.symbol[i].id, begin, end, x->offsets)) return false;
    }
    return true;
}

/* Cuts s at the added tokens of a set: pushes their ids, gives the text between them to fn. */
static vlm_status cut_added(encoder *x, const vtext_finder *set, vtext_piece s,
                            vlm_status (*fn)(encoder *x, vtext_piece part)) {
    const vtext_added *token;
    size_t from = 0, floor = 0, begin = 0, end = 0;
    while ((token = vtext_added_next(&x->t->added, set, s, x->user, &from, floor, &begin, &end))) {
        if (floor < begin) VTRY(fn(x, vtext_part(s, floor, begin)));
        floor = end;
        if (begin == end) continue; /* all of it was white space that belongs to the one before */
        if (!vtext_ids_push(x->out, token->id, vtext_piece_begin(s, begin),
                            vtext_piece_end(s, end - 1), x->offsets))
            return vcore_no_memory(x->err, "ids");
    }
    return floor < s.n ? fn(x, vtext_part(s, floor, s.n)) : VLM_OK;
}

static vlm_status encode_normal(encoder *x, vtext_piece s) {
    if (vtext_split(&x->t->splitter, s, x->split, push_word, x)) return VLM_OK;
    return vcore_no_memory(x->err, "tokens");
}

static vlm_status encode_raw(encoder *x, vtext_piece s) {
    VTRY(vtext_normalize(&x->t->normalizer, s, x->normal, &s, x->err));
    return cut_added(x, &x->t->added.normal, s, encode_normal);
}

/* ---- from spans to text --------------------------------------------------------------------- */
/* Joins the spans and notes where user text lies. */
static vlm_status join(encoder *x, const vtext_span *spans, size_t n_spans, vtext_piece *out) {
    size_t total = 0, users = 0;
    for (size_t i = 0; i < n_spans; i++) {
        if (!vcore_add(total, spans[i].n, &total) || total > VTEXT_MAX_BYTES)
            return vcore_fail_limit(x->err, "text", NULL, VTEXT_MAX_BYTES, "bytes");
        users += spans[i].user && spans[i].n;
    }
    *out = (vtext_piece) { n_spans == 1 ? spans[0].p : NULL, total, NULL, NULL, 0 };
    if (n_spans > 1 && total && !(x->joined = vcore_alloc(total)))
        return vcore_no_memory(x->err, "text");
    if (users && !(x->ranges = vcore_alloc_array(users, sizeof *x->ranges)))
        return vcore_no_memory(x->err, "text");
    if (n_spans > 1) out->p = x->joined;
    size_t at = 0, range = 0;
    for (size_t i = 0; i < n_spans; at += spans[i++].n) {
        if (!spans[i].n) continue;
        if (n_spans > 1) memcpy(x->joined + at, spans[i].p, spans[i].n);
        if (!spans[i].user) continue;
        x->ranges[range][0] = (uint32_t)at;
        x->ranges[range++][1] = (uint32_t)(at + spans[i].n);
    }
    x->user = (vtext_user) { (const uint32_t(*)[2])x->ranges, users };
    return VLM_OK;
}

/* Bytes that are no UTF-8 become U+FFFD, as Python's "replace" has it, with the place of the bytes.
 */
static vlm_status repair(encoder *x, vtext_piece *s) {
    if (vcore_utf8_valid(s->p, s->n)) return VLM_OK;
    for (size_t i = 0, n; i < s->n; i += n) {
        char utf8[4];
        uint32_t cp;
        n = vcore_utf8_decode(s->p + i, s->n - i, &cp);
        vtext_text_put(&x->given, utf8, vcore_utf8_encode(cp, utf8), (uint32_t)i,
                       (uint32_t)(i + n));
    }
    if (x->given.failed) return vcore_no_memory(x->err, "text");
    *s = vtext_text_piece(&x->given);
    return VLM_OK;
}

static vlm_status encode(encoder *x, const vtext_span *spans, size_t n_spans, bool add_special) {
    vtext_piece s = { 0 };
    VTRY(join(x, spans, n_spans, &s));
    bool places = x->offsets || x->t->needs_places || (x->user.count && x->t->added.normal_control);
    x->normal[0].align = x->normal[1].align = places;
    for (int i = 0; i < x->t->splitter.count; i++) x->split[i].align = places;
    x->given.align = places || x->user.count;
    const char *text = s.p ? s.p : "";
    if (s.n) {
        VTRY(repair(x, &s));
        VTRY(cut_added(x, &x->t->added.raw, s, encode_raw));
    }
    if (x->word.unknown) return vtext_model_unknown(&x->t->model, x->t->name, x->err);
    return vtext_post_apply(x->t, add_special, x->offsets, text, x->out)
               ? VLM_OK
               : vcore_no_memory(x->err, "ids");
}

vlm_status vtext_encode(const vlm_tokenizer *t, const vtext_span *spans, size_t n_spans,
                        bool add_special, bool offsets, vtext_ids *out, vlm_error *err) {
    encoder x = { .t = t, .out = out, .offsets = offsets, .err = err };
    out->n = 0;
    if (!offsets) {
        vcore_free(out->begin);
        vcore_free(out->end);
        out->begin = out->end = NULL;
    }
    vlm_status status = encode(&x, spans, n_spans, add_special);
    if (status < 0) out->n = 0;
    vcore_free(x.ranges);
    vcore_free(x.joined);
    vtext_text_free(&x.given);
    vtext_text_free(&x.normal[0]);
    vtext_text_free(&x.normal[1]);
    for (int i = 0; i < VTEXT_MAX_STEPS; i++) vtext_text_free(&x.split[i]);
    vtext_scratch_free(&x.word);
    return status;
}
