/* SPDX-License-Identifier: MIT */
/* Pieces of text that know where they came from, and the growing text that normalizers and
 * pre-tokenizers write into. */
#include "text/tokenizer/tok.h"

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
