/* SPDX-License-Identifier: MIT */
/* Normalizers: text to text, each byte keeping the place of the character it came from. Also the
 * growing text that they and the pre-tokenizers write into. */
#include "text/tokenizer/tok.h"

/* ---- pieces and texts ----------------------------------------------------------------------- */
uint32_t vtext_piece_begin(vtext_piece s, size_t i) {
    if (s.b) return s.b[i];
    while (i && ((uint8_t)s.p[i] & 0xC0) == 0x80) i--;
    return (uint32_t)(s.base + i);
}

uint32_t vtext_piece_end(vtext_piece s, size_t i) {
    if (s.e) return s.e[i];
    do i++;
    while (i < s.n && ((uint8_t)s.p[i] & 0xC0) == 0x80);
    return (uint32_t)(s.base + i);
}

static bool reserve(vtext_text *t, size_t more) {
    if (t->failed) return false;
    if (more <= t->cap - t->n) return true;
    size_t cap = t->cap ? t->cap * 2 : 256;
    while (cap < t->n + more) cap *= 2;
    char *p = vcore_realloc_array(t->p, cap, 1);
    if (p) t->p = p;
    uint32_t *b = p && t->align ? vcore_realloc_array(t->b, cap, sizeof *b) : NULL;
    if (b) t->b = b;
    uint32_t *e = b ? vcore_realloc_array(t->e, cap, sizeof *e) : NULL;
    if (e) t->e = e;
    t->failed = !p || (t->align && !e);
    if (!t->failed) t->cap = cap;
    return !t->failed;
}

void vtext_text_put(vtext_text *t, const char *p, size_t n, uint32_t begin, uint32_t end) {
    if (!reserve(t, n)) return;
    memcpy(t->p + t->n, p, n);
    for (size_t i = 0; t->align && i < n; i++) {
        t->b[t->n + i] = begin;
        t->e[t->n + i] = end;
    }
    t->n += n;
}

void vtext_text_copy(vtext_text *t, vtext_piece s) {
    if (!s.n || !reserve(t, s.n)) return;
    memcpy(t->p + t->n, s.p, s.n);
    for (size_t i = 0; t->align && i < s.n; i++) {
        t->b[t->n + i] = vtext_piece_begin(s, i);
        t->e[t->n + i] = vtext_piece_end(s, i);
    }
    t->n += s.n;
}

vtext_piece vtext_text_piece(const vtext_text *t) {
    return (vtext_piece) { t->p, t->n, t->align ? t->b : NULL, t->align ? t->e : NULL, 0 };
}

void vtext_text_free(vtext_text *t) {
    vcore_free(t->p);
    vcore_free(t->b);
    vcore_free(t->e);
    *t = (vtext_text) { 0 };
}

/* ---- edits: characters that replace, join or follow characters of the source ---------------- */
typedef struct edit {
    vtext_piece in;
    size_t at; /* what the next replaced character is */
    vtext_text *out;
} edit;

/* Writes cp. change 0: instead of the next character of the source; -k: of the next 1 + k, and it
 * keeps the first one's place; 1: it follows what came before and shares its place. */
static void put(edit *x, uint32_t cp, int change) {
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

/* ---- Unicode normal forms ------------------------------------------------------------------- */
enum { SEGMENT = 64 }; /* characters of a segment at first; combining marks may make it longer */

typedef struct mark {
    uint32_t cp;
    int change;
    uint8_t class;
} mark;
typedef struct segment {
    mark local[SEGMENT], *item;
    size_t n, cap;
} segment;

static bool segment_push(segment *s, mark m) {
    if (s->n == s->cap) {
        mark *more = vcore_alloc_array(s->cap * 2, sizeof *more);
        if (!more) return false;
        memcpy(more, s->item, s->n * sizeof *more);
        if (s->item != s->local) vcore_free(s->item);
        s->item = more;
        s->cap *= 2;
    }
    s->item[s->n++] = m;
    return true;
}

static bool decompose(segment *s, uint32_t cp, bool compat) {
    uint32_t part[VTEXT_MAX_DECOMPOSED];
    int n = vtext_decompose(cp, compat, part);
    for (int i = 0; i < n; i++)
        if (!segment_push(s, (mark) { part[i], i > 0, vtext_combining_class(part[i]) }))
            return false;
    return true;
}

/* Canonical order: marks between starters by combining class, stably. Counting by class keeps a
 * long run of marks linear. */
static bool reorder(segment *s) {
    for (size_t i = 0, end; i < s->n; i = end) {
        for (end = i; end < s->n && s->item[end].class; end++) {
        }
        bool sorted = true;
        for (size_t k = i + 1; k < end; k++) sorted &= s->item[k - 1].class <= s->item[k].class;
        if (!sorted) {
            size_t n = end - i, start[256] = { 0 };
            mark *copy = vcore_alloc_array(n, sizeof *copy);
            if (!copy) return false;
            memcpy(copy, s->item + i, n * sizeof *copy);
            for (size_t k = 0; k < n; k++)
                if (copy[k].class < 255) start[copy[k].class + 1]++;
            for (int c = 1; c < 256; c++) start[c] += start[c - 1];
            for (size_t k = 0; k < n; k++) s->item[i + start[copy[k].class]++] = copy[k];
            vcore_free(copy);
        }
        if (end == i) end++;
    }
    return true;
}

/* Canonical composition in place. A mark is blocked by one of its own class or above since the
 * starter. */
static void compose(segment *s) {
    size_t starter = SIZE_MAX, kept = 0;
    int last = -1; /* class of the last character kept behind the starter; -1: none */
    for (size_t i = 0; i < s->n; i++) {
        mark m = s->item[i];
        uint32_t joined;
        if (starter != SIZE_MAX
            && last < (int)m.class && vtext_compose(s->item[starter].cp, m.cp, &joined)) {
            s->item[starter].cp = joined;
            s->item[starter].change += m.change - 1;
            continue;
        }
        if (!m.class) starter = kept;
        last = m.class ? m.class : -1;
        s->item[kept++] = m;
    }
    s->n = kept;
}

static bool put_segment(edit *x, segment *s, bool composed) {
    if (!reorder(s)) return false;
    if (composed) compose(s);
    for (size_t i = 0; i < s->n; i++) put(x, s->item[i].cp, s->item[i].change);
    s->n = 0;
    return true;
}

static bool normal_form(vtext_piece in, vtext_text *out, bool compat, bool composed) {
    edit x = { in, 0, out };
    segment s = { .item = s.local, .cap = SEGMENT };
    bool ok = true;
    for (size_t i = 0; ok && i < in.n;) {
        uint32_t cp, next_cp;
        size_t begin = i, next = i + vcore_utf8_decode(in.p + i, in.n - i, &cp);
        while (vtext_is_inert(cp, compat, composed) && vtext_is_boundary(cp)) {
            if (next < in.n) {
                size_t behind = next + vcore_utf8_decode(in.p + next, in.n - next, &next_cp);
                if (!vtext_is_boundary(next_cp)) break;
                i = next;
                next = behind;
                cp = next_cp;
                continue;
            }
            i = next;
            break;
        }
        vtext_text_copy(out, vtext_part(in, begin, i));
        x.at = i;
        if (i == in.n) break;
        do {
            ok = decompose(&s, cp, compat);
            i = next;
            if (i < in.n) next = i + vcore_utf8_decode(in.p + i, in.n - i, &cp);
        } while (ok && i < in.n && !vtext_is_boundary(cp));
        ok = ok && put_segment(&x, &s, composed);
    }
    if (s.item != s.local) vcore_free(s.item);
    return ok && !out->failed;
}

/* ---- the other steps ------------------------------------------------------------------------ */
static void lowercase(vtext_piece in, vtext_text *out) {
    edit x = { in, 0, out };
    for (size_t i = 0; i < in.n;) {
        uint32_t cp;
        i += vcore_utf8_decode(in.p + i, in.n - i, &cp);
        if (cp == 0x130) { /* the one capital whose small form has two characters */
            put(&x, 'i', 0);
            put(&x, 0x307, 1);
        } else {
            put(&x, vtext_lower(cp), 0);
        }
    }
}

/* What replaces nothing shares the place of the character before, or of the first. */
static void replace(const struct vtext_normalize_step *step, vtext_piece in, vtext_text *out,
                    size_t limit) {
    size_t at = 0, begin, end;
    vtext_scan scan;
    vtext_pattern_start(&scan, &step->pattern, in.p, in.n);
    while (out->n <= limit && vtext_pattern_next(&scan, &begin, &end)) {
        size_t last = end ? end - 1 : 0;
        vtext_text_copy(out, vtext_part(in, at, begin));
        vtext_text_put(out, step->content.p, step->content.n, vtext_piece_begin(in, last),
                       vtext_piece_end(in, last));
        at = end;
    }
    vtext_text_copy(out, vtext_part(in, at, in.n));
    out->failed |= scan.failed;
    vtext_pattern_done(&scan);
}

static vtext_piece strip(const struct vtext_normalize_step *step, vtext_piece in) {
    size_t begin = 0, end = in.n, last;
    uint32_t cp;
    for (size_t len; step->left && begin < end; begin += len) {
        len = vcore_utf8_decode(in.p + begin, end - begin, &cp);
        if (!vtext_is_space(cp)) break;
    }
    for (; step->right && end > begin; end = last) {
        for (last = end - 1; last > begin && ((uint8_t)in.p[last] & 0xC0) == 0x80; last--) {
        }
        vcore_utf8_decode(in.p + last, end - last, &cp);
        if (!vtext_is_space(cp)) break;
    }
    return vtext_part(in, begin, end);
}

static bool apply(const struct vtext_normalize_step *step, vtext_piece in, vtext_text *out,
                  size_t limit) {
    switch (step->kind) {
    case VTEXT_NFC:
    case VTEXT_NFKC: return normal_form(in, out, step->kind == VTEXT_NFKC, true);
    case VTEXT_NFD:
    case VTEXT_NFKD: return normal_form(in, out, step->kind == VTEXT_NFKD, false);
    case VTEXT_LOWERCASE: lowercase(in, out); break;
    case VTEXT_REPLACE: replace(step, in, out, limit); break;
    case VTEXT_PREPEND:
        vtext_text_put(out, step->content.p, step->content.n, vtext_piece_begin(in, 0),
                       vtext_piece_end(in, 0));
        vtext_text_copy(out, in);
        break;
    case VTEXT_STRIP: break;
    }
    return !out->failed;
}

/* Text that the step leaves as it is, found faster than by applying it. */
static bool unchanged(const struct vtext_normalize_step *step, vtext_piece in) {
    switch (step->kind) {
    case VTEXT_NFC:
    case VTEXT_NFD:
    case VTEXT_NFKC:
    case VTEXT_NFKD:
        for (size_t i = 0; i < in.n; i++)
            if ((uint8_t)in.p[i] >= 0x80) return false;
        return true;
    case VTEXT_REPLACE: return !vtext_pattern_found(&step->pattern, in.p, in.n);
    default: return false;
    }
}

vlm_status vtext_normalize(const vtext_normalizer *z, vtext_piece in, vtext_text buffer[2],
                           vtext_piece *out, vlm_error *err) {
    size_t limit = in.n * 64 + (1 << 20); /* a file may ask for a megabyte in place of each space */
    if (limit > VTEXT_MAX_BYTES) limit = VTEXT_MAX_BYTES;
    for (int i = 0, held = 1; i < z->count && in.n; i++) {
        const struct vtext_normalize_step *step = &z->step[i];
        if (step->kind == VTEXT_STRIP) {
            in = strip(step, in);
            continue;
        }
        if (unchanged(step, in)) continue;
        vtext_text *to = &buffer[held ^= 1];
        to->n = 0;
        if (!apply(step, in, to, limit)) return vcore_no_memory(err, "normalizer");
        if (to->n > limit)
            return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = limit },
                                 "normalizer: the text grows beyond %zu bytes", limit);
        in = vtext_text_piece(to);
    }
    *out = in;
    return VLM_OK;
}

/* ---- loading -------------------------------------------------------------------------------- */
typedef struct loading {
    vtext_normalizer *z;
    vcore_arena *arena;
} loading;

static vlm_status load_step(void *user, const vcore_json *v, vcore_str type, const char *where,
                            vlm_error *err) {
    static const char *const name[] = { "NFC",       "NFD",     "NFKC",    "NFKD",
                                        "Lowercase", "Replace", "Prepend", "Strip" };
    loading *l = user;
    struct vtext_normalize_step *step = &l->z->step[l->z->count];
    size_t kind = 0;
    while (kind < sizeof name / sizeof *name && !vcore_str_eq(type, vcore_str_of(name[kind])))
        kind++;
    if (kind == sizeof name / sizeof *name) return vtext_unknown_type(type, where, err);
    if (l->z->count == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    step->kind = (vtext_normalize_kind)kind;
    if (step->kind == VTEXT_REPLACE) {
        VTRY(vtext_pattern_parse(&step->pattern, vcore_json_get(v, "pattern"), where, l->arena,
                                 err));
        VTRY(vtext_get_string(&step->content, v, "content", where, l->arena, err));
    } else if (step->kind == VTEXT_PREPEND) {
        VTRY(vtext_get_string(&step->content, v, "prepend", where, l->arena, err));
    } else if (step->kind == VTEXT_STRIP) {
        VTRY(vtext_get_bool(&step->left, v, "strip_left", true, where, err));
        VTRY(vtext_get_bool(&step->right, v, "strip_right", true, where, err));
    }
    l->z->count++;
    return VLM_OK;
}

vlm_status vtext_normalizer_load(vtext_normalizer *z, const vcore_json *v, const char *name,
                                 vcore_arena *arena, vlm_error *err) {
    loading l = { z, arena };
    return vtext_each_step(v, "normalizers", "normalizer", name, load_step, &l, err);
}
