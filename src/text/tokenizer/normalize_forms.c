/* SPDX-License-Identifier: MIT */
/* NFC, NFD, NFKC, NFKD, with the places of characters as the reference counts them. */
#include "text/tokenizer/normalize.h"

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

static bool put_segment(vtext_edit *x, segment *s, bool composed) {
    if (!reorder(s)) return false;
    if (composed) compose(s);
    for (size_t i = 0; i < s->n; i++) vtext_edit_put(x, s->item[i].cp, s->item[i].change);
    s->n = 0;
    return true;
}

static bool is_ascii(vtext_piece s) {
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] >= 0x80) return false;
    return true;
}

static bool normal_form(vtext_piece *s, vtext_text *out, bool compat, bool composed) {
    vtext_piece in = *s;
    if (is_ascii(in)) return true;
    vtext_edit x = { in, 0, out };
    segment g = { .item = g.local, .cap = SEGMENT };
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
            ok = decompose(&g, cp, compat);
            i = next;
            if (i < in.n) next = i + vcore_utf8_decode(in.p + i, in.n - i, &cp);
        } while (ok && i < in.n && !vtext_is_boundary(cp));
        ok = ok && put_segment(&x, &g, composed);
    }
    if (g.item != g.local) vcore_free(g.item);
    *s = vtext_text_piece(out);
    return ok && !out->failed;
}

bool vtext_step_form(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                     size_t limit) {
    (void)limit;
    return normal_form(s, out, step->option & VTEXT_FORM_COMPAT,
                       step->option & VTEXT_FORM_COMPOSED);
}
