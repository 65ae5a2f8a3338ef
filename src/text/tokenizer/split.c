/* SPDX-License-Identifier: MIT */
/* Pre-tokenizers: a piece of normalised text is cut into words, through a sequence of steps that
 * each cut (and sometimes rewrite) what the one before gave. Words flow through one at a time; no
 * list is kept. What a file may say of the steps lies in split_load.c. */
#include "text/tokenizer/split.h"

static bool split_from(const vtext_split_run *r, int at, vtext_piece piece) {
    if (at == r->s->count) return r->fn(r->user, piece);
    vtext_split_run next = { r->s, at, r->s->step[at], r->buffer, r->fn, r->user };
    return next.step->split(&next, piece);
}

bool vtext_split(const vtext_splitter *s, vtext_piece piece, vtext_text *buffer, vtext_word_fn fn,
                 void *user) {
    vtext_split_run r = { s, 0, NULL, buffer, fn, user };
    return !piece.n || split_from(&r, 0, piece);
}

/* Passes [begin, end) of a piece on to the next step; nothing if it is empty. */
static bool emit(const vtext_split_run *r, vtext_piece piece, size_t begin, size_t end) {
    return begin >= end || split_from(r, r->at + 1, vtext_part(piece, begin, end));
}

/* ---- cutting by matches: the five behaviours ---------------------------------------------------
 * Matches and the gaps between them arrive in order. One range may be pending, to grow with the
 * next. */
typedef struct cutter {
    const vtext_split_run *r;
    vtext_piece piece;
    vtext_behavior behavior;
    bool invert, pending, last_match;
    size_t begin, end; /* of the pending range */
} cutter;

static bool flush(cutter *c) {
    bool had = c->pending;
    c->pending = false;
    return !had || emit(c->r, c->piece, c->begin, c->end);
}

static bool cut(cutter *c, size_t begin, size_t end, bool match) {
    bool grows = false, was_match = c->last_match;
    match ^= c->invert;
    switch (c->behavior) {
    case VTEXT_REMOVED: return match || emit(c->r, c->piece, begin, end);
    case VTEXT_ISOLATED: return emit(c->r, c->piece, begin, end);
    case VTEXT_CONTIGUOUS: grows = match == was_match; break;
    case VTEXT_MERGED_WITH_PREVIOUS: grows = match && !was_match; break;
    case VTEXT_MERGED_WITH_NEXT: grows = !match && was_match; break;
    }
    c->last_match = match;
    if (grows && c->pending) {
        c->end = end;
        return true;
    }
    if (!flush(c)) return false;
    c->pending = true;
    c->begin = begin;
    c->end = end;
    return true;
}

/* A match at [begin, end), behind a gap that begins at *from. */
static bool cut_match(cutter *c, size_t *from, size_t begin, size_t end) {
    size_t gap = *from;
    *from = end;
    return (gap == begin || cut(c, gap, begin, false)) && cut(c, begin, end, true);
}

static bool finish(cutter *c, size_t from) {
    return (from == c->piece.n || cut(c, from, c->piece.n, false)) && flush(c);
}

static cutter cutter_of(const vtext_split_run *r, vtext_piece piece) {
    return (cutter) {
        .r = r, .piece = piece, .behavior = r->step->behavior, .invert = r->step->invert
    };
}

static bool by_pattern(const vtext_split_run *r, vtext_piece piece, const vtext_pattern *pattern) {
    cutter c = cutter_of(r, piece);
    size_t from = 0, begin, end;
    bool ok = true;
    vtext_scan scan;
    vtext_pattern_start(&scan, pattern, piece.p, piece.n);
    while (ok && vtext_pattern_next(&scan, &begin, &end)) ok = cut_match(&c, &from, begin, end);
    ok = ok && !scan.failed;
    vtext_pattern_done(&scan);
    return ok && finish(&c, from);
}

bool vtext_split_pattern(const vtext_split_run *r, vtext_piece piece) {
    return by_pattern(r, piece, &r->step->pattern);
}

bool vtext_split_characters(const vtext_split_run *r, vtext_piece piece) {
    cutter c = cutter_of(r, piece);
    size_t from = 0;
    for (size_t i = 0, next; i < piece.n; i = next) {
        uint32_t cp;
        next = i + vcore_utf8_decode(piece.p + i, piece.n - i, &cp);
        if (r->step->is_match(cp) && !cut_match(&c, &from, i, next)) return false;
    }
    return finish(&c, from);
}

bool vtext_split_literal(const vtext_split_run *r, vtext_piece piece) {
    cutter c = cutter_of(r, piece);
    vcore_str s = r->step->replacement;
    const char *at;
    size_t from = 0;
    while (from < piece.n && (at = memmem(piece.p + from, piece.n - from, s.p, s.n))) {
        size_t begin = (size_t)(at - piece.p);
        if (!cut_match(&c, &from, begin, begin + s.n)) return false;
    }
    return finish(&c, from);
}

/* ---- cutting into runs ---------------------------------------------------------------------- */
bool vtext_split_words(const vtext_split_run *r, vtext_piece piece) {
    enum { SPACE, WORD, OTHER };
    int kind = SPACE, now;
    size_t begin = 0;
    for (size_t i = 0, next; i < piece.n; i = next) {
        uint32_t cp;
        next = i + vcore_utf8_decode(piece.p + i, piece.n - i, &cp);
        now = vtext_is_space(cp) ? SPACE : vtext_is_word(cp) ? WORD : OTHER;
        if (now == kind) continue;
        if (kind != SPACE && !emit(r, piece, begin, i)) return false;
        kind = now;
        begin = i;
    }
    return kind == SPACE || emit(r, piece, begin, piece.n);
}

/* Spaces and unassigned characters belong to what they follow; in front of all they are dropped, as
 * in the reference. */
bool vtext_split_scripts(const vtext_split_run *r, vtext_piece piece) {
    int script = 0;
    size_t begin = piece.n;
    for (size_t i = 0, next; i < piece.n; i = next) {
        uint32_t cp;
        next = i + vcore_utf8_decode(piece.p + i, piece.n - i, &cp);
        int now = vtext_script(cp);
        if (!now || now == script) continue;
        if (script && !emit(r, piece, begin, i)) return false;
        script = now;
        begin = i;
    }
    return emit(r, piece, begin, piece.n);
}

bool vtext_split_length(const vtext_split_run *r, vtext_piece piece) {
    size_t begin = 0, count = 0;
    for (size_t i = 0; i < piece.n;) {
        uint32_t cp;
        i += vcore_utf8_decode(piece.p + i, piece.n - i, &cp);
        if (++count < r->step->length) continue;
        if (!emit(r, piece, begin, i)) return false;
        begin = i;
        count = 0;
    }
    return emit(r, piece, begin, piece.n);
}

/* ---- rewriting ------------------------------------------------------------------------------ */
static bool starts_with(vtext_piece piece, vcore_str s) {
    return piece.n >= s.n && memcmp(piece.p, s.p, s.n) == 0;
}

/* A space of our own in front shares the place of what it precedes. */
static void put_prefix(vtext_text *t, vtext_piece piece, vcore_str prefix) {
    vtext_text_put(t, prefix.p, prefix.n, vtext_piece_begin(piece, 0), vtext_piece_end(piece, 0));
}

bool vtext_split_metaspace(const vtext_split_run *r, vtext_piece piece) {
    const vtext_split_step *step = r->step;
    vtext_text *t = &r->buffer[r->at];
    bool marked = piece.p[0] == ' ' || starts_with(piece, step->replacement);
    bool wanted = step->prepends && (!step->only_first || vtext_piece_begin(piece, 0) == 0);
    t->n = 0;
    if (wanted && !marked) put_prefix(t, piece, step->replacement);
    for (size_t i = 0; i < piece.n;) {
        size_t begin = i;
        while (i < piece.n && piece.p[i] != ' ') i++;
        vtext_text_copy(t, vtext_part(piece, begin, i));
        if (i == piece.n) break;
        vtext_text_put(t, step->replacement.p, step->replacement.n, vtext_piece_begin(piece, i),
                       vtext_piece_end(piece, i));
        i++;
    }
    if (t->failed) return false;
    piece = vtext_text_piece(t);
    return step->splits ? vtext_split_literal(r, piece) : emit(r, piece, 0, piece.n);
}

bool vtext_split_byte_level(const vtext_split_run *r, vtext_piece piece) {
    if (r->step->prefix_space && piece.p[0] != ' ') {
        vtext_text *t = &r->buffer[r->at];
        t->n = 0;
        put_prefix(t, piece, (vcore_str) { " ", 1 });
        vtext_text_copy(t, piece);
        if (t->failed) return false;
        piece = vtext_text_piece(t);
    }
    return r->step->splits ? by_pattern(r, piece, &vtext_pattern_gpt2) : emit(r, piece, 0, piece.n);
}

bool vtext_split_stand_ins(const vtext_split_run *r, vtext_piece piece) {
    vtext_text *t = &r->buffer[r->at];
    t->n = 0;
    for (size_t i = 0; i < piece.n; i++) {
        char utf8[4];
        size_t n = vcore_utf8_encode(vtext_byte_char((uint8_t)piece.p[i]), utf8);
        vtext_text_put(t, utf8, n, vtext_piece_begin(piece, i), vtext_piece_end(piece, i));
    }
    return !t->failed && emit(r, vtext_text_piece(t), 0, t->n);
}
