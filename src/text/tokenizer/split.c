/* SPDX-License-Identifier: MIT */
/* Pre-tokenizers: a piece of normalised text is cut into words, through a sequence of steps that
 * each cut (and sometimes rewrite) what the one before gave. Words flow through one at a time; no
 * list is kept. */
#include "text/tokenizer/tok.h"

typedef struct run {
    const vtext_splitter *s;
    vtext_text *buffer;
    vtext_word_fn fn;
    void *user;
} run;

static bool split_from(const run *r, int at, vtext_piece piece);

/* Passes [begin, end) of a piece on to the step behind `at`; nothing if it is empty. */
static bool emit(const run *r, int at, vtext_piece piece, size_t begin, size_t end) {
    return begin >= end || split_from(r, at + 1, vtext_part(piece, begin, end));
}

/* ---- cutting by matches: the five behaviours ---------------------------------------------------
 * Matches and the gaps between them arrive in order. One range may be pending, to grow with the
 * next. */
typedef struct cutter {
    const run *r;
    int at;
    vtext_piece piece;
    vtext_behavior behavior;
    bool pending, last_match;
    size_t begin, end; /* of the pending range */
} cutter;

static bool flush(cutter *c) {
    bool had = c->pending;
    c->pending = false;
    return !had || emit(c->r, c->at, c->piece, c->begin, c->end);
}

static bool cut(cutter *c, size_t begin, size_t end, bool match) {
    bool grows = false, was_match = c->last_match;
    switch (c->behavior) {
    case VTEXT_REMOVED: return match || emit(c->r, c->at, c->piece, begin, end);
    case VTEXT_ISOLATED: return emit(c->r, c->at, c->piece, begin, end);
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

/* What lies between matches, if anything does; matches that are empty still end a range. */
static bool cut_gap(cutter *c, size_t begin, size_t end, bool match) {
    return begin == end || cut(c, begin, end, match);
}

static bool split_by(const run *r, int at, vtext_piece piece, const vtext_pattern *pattern,
                     vtext_behavior behavior, bool invert) {
    cutter c = { r, at, piece, behavior, false, false, 0, 0 };
    size_t from = 0, begin, end;
    bool ok = true;
    vtext_scan scan;
    vtext_pattern_start(&scan, pattern, piece.p, piece.n);
    for (; ok && vtext_pattern_next(&scan, &begin, &end); from = end)
        ok = cut_gap(&c, from, begin, invert) && cut(&c, begin, end, !invert);
    ok = ok && !scan.failed && cut_gap(&c, from, piece.n, invert) && flush(&c);
    vtext_pattern_done(&scan);
    return ok;
}

/* ---- the steps ------------------------------------------------------------------------------ */
/* Runs of digits, or each digit by itself; the rest between them. */
static bool split_digits(const run *r, int at, vtext_piece piece, bool individual) {
    cutter c = { r, at, piece, individual ? VTEXT_ISOLATED : VTEXT_CONTIGUOUS, false, false, 0, 0 };
    size_t from = 0;
    for (size_t i = 0, next; i < piece.n; i = next) {
        uint32_t cp;
        next = i + vcore_utf8_decode(piece.p + i, piece.n - i, &cp);
        if (vtext_class_of(cp) != VTEXT_NUMBER) continue;
        if (!cut_gap(&c, from, i, false) || !cut(&c, i, next, true)) return false;
        from = next;
    }
    return cut_gap(&c, from, piece.n, false) && flush(&c);
}

static bool starts_with(vtext_piece piece, vcore_str s) {
    return piece.n >= s.n && memcmp(piece.p, s.p, s.n) == 0;
}

/* A space of our own in front shares the place of what it precedes. */
static void put_prefix(vtext_text *t, vtext_piece piece, vcore_str prefix) {
    vtext_text_put(t, prefix.p, prefix.n, vtext_piece_begin(piece, 0), vtext_piece_end(piece, 0));
}

static bool split_metaspace(const run *r, int at, vtext_piece piece) {
    const struct vtext_split_step *step = &r->s->step[at];
    vtext_text *t = &r->buffer[at];
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
    vtext_pattern mark = { .literal = step->replacement };
    if (step->splits)
        return split_by(r, at, vtext_text_piece(t), &mark, VTEXT_MERGED_WITH_NEXT, false);
    return emit(r, at, vtext_text_piece(t), 0, t->n);
}

/* Words stay bytes: the model knows that they stand for characters of the byte-level alphabet. */
static bool split_byte_level(const run *r, int at, vtext_piece piece) {
    const struct vtext_split_step *step = &r->s->step[at];
    if (step->prefix_space && piece.p[0] != ' ') {
        vtext_text *t = &r->buffer[at];
        t->n = 0;
        put_prefix(t, piece, (vcore_str) { " ", 1 });
        vtext_text_copy(t, piece);
        if (t->failed) return false;
        piece = vtext_text_piece(t);
    }
    if (!step->splits) return emit(r, at, piece, 0, piece.n);
    return split_by(r, at, piece, &vtext_pattern_gpt2, VTEXT_ISOLATED, false);
}

static bool split_from(const run *r, int at, vtext_piece piece) {
    if (at == r->s->count) return r->fn(r->user, piece);
    const struct vtext_split_step *step = &r->s->step[at];
    switch (step->kind) {
    case VTEXT_SPLIT: return split_by(r, at, piece, &step->pattern, step->behavior, step->invert);
    case VTEXT_DIGITS: return split_digits(r, at, piece, step->splits);
    case VTEXT_METASPACE: return split_metaspace(r, at, piece);
    default: return split_byte_level(r, at, piece);
    }
}

bool vtext_split(const vtext_splitter *s, vtext_piece piece, vtext_text *buffer, vtext_word_fn fn,
                 void *user) {
    run r = { s, buffer, fn, user };
    return !piece.n || split_from(&r, 0, piece);
}

/* ---- loading -------------------------------------------------------------------------------- */
typedef struct loading {
    vtext_splitter *s;
    vcore_arena *arena;
} loading;

/* Index of a member's text among names; VTEXT_NONE with an error when it is none of them. */
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

static vlm_status load_split(struct vtext_split_step *step, const vcore_json *v, const char *where,
                             vcore_arena *arena, vlm_error *err) {
    static const char *const behaviors[] = { "Removed", "Isolated", "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous" };
    unsigned behavior;
    VTRY(vtext_pattern_parse(&step->pattern, vcore_json_get(v, "pattern"), where, arena, err));
    VTRY(get_name(&behavior, v, "behavior", behaviors, 5, where, err));
    step->behavior = (vtext_behavior)behavior;
    return vtext_get_bool(&step->invert, v, "invert", false, where, err);
}

static vlm_status load_metaspace(struct vtext_split_step *step, const vcore_json *v,
                                 const char *where, vcore_arena *arena, vlm_error *err) {
    static const char *const schemes[] = { "never", "always", "first" };
    enum { NEVER, ALWAYS, FIRST };
    unsigned scheme = ALWAYS;
    bool prefix;
    uint32_t cp;
    VTRY(vtext_get_string(&step->replacement, v, "replacement", where, arena, err));
    if (!step->replacement.n
        || vcore_utf8_decode(step->replacement.p, step->replacement.n, &cp) != step->replacement.n)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "replacement", "must be one character");
    if (vcore_json_get(v, "prepend_scheme"))
        VTRY(get_name(&scheme, v, "prepend_scheme", schemes, 3, where, err));
    VTRY(vtext_get_bool(&prefix, v, "add_prefix_space", true, where, err));
    if (!prefix && vcore_json_get(v, "prepend_scheme") && scheme != NEVER)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "add_prefix_space",
                                "contradicts prepend_scheme");
    step->prepends = prefix && scheme != NEVER;
    step->only_first = scheme == FIRST;
    return vtext_get_bool(&step->splits, v, "split", true, where, err);
}

static vlm_status load_step(void *user, const vcore_json *v, vcore_str type, const char *where,
                            vlm_error *err) {
    loading *l = user;
    vtext_splitter *s = l->s;
    struct vtext_split_step *step = &s->step[s->count];
    if (s->count == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    if (s->byte_level)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, NULL,
                                "nothing is supported behind ByteLevel");
    if (vcore_str_eq(type, vcore_str_of("Split"))) {
        step->kind = VTEXT_SPLIT;
        VTRY(load_split(step, v, where, l->arena, err));
    } else if (vcore_str_eq(type, vcore_str_of("Digits"))) {
        step->kind = VTEXT_DIGITS;
        VTRY(vtext_get_bool(&step->splits, v, "individual_digits", false, where, err));
    } else if (vcore_str_eq(type, vcore_str_of("Metaspace"))) {
        step->kind = VTEXT_METASPACE;
        VTRY(load_metaspace(step, v, where, l->arena, err));
    } else if (vcore_str_eq(type, vcore_str_of("ByteLevel"))) {
        step->kind = VTEXT_BYTE_LEVEL;
        VTRY(vtext_get_bool(&step->prefix_space, v, "add_prefix_space", true, where, err));
        VTRY(vtext_get_bool(&step->splits, v, "use_regex", true, where, err));
        s->byte_level = true;
    } else if (vcore_str_eq(type, vcore_str_of("WhitespaceSplit"))) {
        step->kind = VTEXT_SPLIT;
        step->behavior = VTEXT_REMOVED;
        step->pattern = vtext_pattern_spaces;
    } else {
        return vtext_unknown_type(type, where, err);
    }
    s->count++;
    return VLM_OK;
}

vlm_status vtext_splitter_load(vtext_splitter *s, const vcore_json *v, const char *name,
                               vcore_arena *arena, vlm_error *err) {
    loading l = { s, arena };
    return vtext_each_step(v, "pretokenizers", "pre_tokenizer", name, load_step, &l, err);
}
