/* SPDX-License-Identifier: MIT */
/* Normalizers that look at one character at a time: it stays, goes, or others stand in its place,
 * all of them where it was. */
#include "text/tokenizer/normalize.h"

/* The end of the characters at `from` that stay what they are; *n, mapped: what the next becomes.
 */
static size_t same_run(vtext_map_fn map, vtext_piece s, size_t from, size_t *next, uint32_t *mapped,
                       int *n) {
    uint32_t cp;
    for (size_t i = from; i < s.n; i = *next) {
        *next = i + vcore_utf8_decode(s.p + i, s.n - i, &cp);
        *n = map(cp, mapped);
        if (*n != 1 || mapped[0] != cp) return i;
    }
    *next = s.n;
    return s.n;
}

bool vtext_step_map(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                    size_t limit) {
    uint32_t mapped[VTEXT_MAX_MAPPED];
    size_t at = 0, next, end;
    int n = 0;
    (void)limit;
    while ((end = same_run(step->map, *s, at, &next, mapped, &n)) < s->n) {
        char utf8[4];
        vtext_text_copy(out, vtext_part(*s, at, end));
        uint32_t begin = vtext_piece_begin(*s, end), last = vtext_piece_end(*s, end);
        for (int i = 0; i < n; i++)
            vtext_text_put(out, utf8, vcore_utf8_encode(mapped[i], utf8), begin, last);
        at = next;
    }
    if (!at) return true; /* all of it stays */
    vtext_text_copy(out, vtext_part(*s, at, s->n));
    *s = vtext_text_piece(out);
    return !out->failed;
}

static int keep(bool kept, uint32_t cp, uint32_t *out) {
    out[0] = cp;
    return kept;
}

int vtext_map_lower(uint32_t cp, uint32_t *out) {
    out[0] = vtext_lower(cp);
    if (cp != 0x130) return 1;
    out[0] = 'i'; /* the one capital whose small form has two characters */
    out[1] = 0x307;
    return 2;
}

int vtext_map_nmt(uint32_t cp, uint32_t *out) {
    out[0] = cp;
    if (cp == 9 || cp == 10 || cp == 12 || cp == 13 || cp == 0x1680
        || (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581
        || cp == 0xFEFF || cp == 0xFFFD)
        out[0] = ' ';
    bool control = (cp < 0x20 && cp && cp != 9 && cp != 10 && cp != 12 && cp != 13) || cp == 0x7F
                   || cp == 0x8F || cp == 0x9F;
    return !control;
}

int vtext_map_bytes(uint32_t cp, uint32_t *out) {
    char utf8[4];
    size_t n = vcore_utf8_encode(cp, utf8);
    for (size_t i = 0; i < n; i++) out[i] = vtext_byte_char((uint8_t)utf8[i]);
    return (int)n;
}

int vtext_map_unaccented(uint32_t cp, uint32_t *out) {
    return keep(!vtext_mark_of_9(cp), cp, out);
}

int vtext_map_bert_clean(uint32_t cp, uint32_t *out) {
    bool space = cp == '\t' || cp == '\n' || cp == '\r';
    if (!space && (!cp || cp == 0xFFFD || vtext_control_of_8(cp))) return 0;
    out[0] = space || vtext_is_space(cp) ? ' ' : cp;
    return 1;
}

int vtext_map_bert_chinese(uint32_t cp, uint32_t *out) {
    bool chinese = (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF)
                   || (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B81F)
                   || (cp >= 0x2B920 && cp <= 0x2CEAF) || (cp >= 0xF900 && cp <= 0xFAFF)
                   || (cp >= 0x2F800 && cp <= 0x2FA1F);
    if (!chinese) return keep(true, cp, out);
    out[0] = out[2] = ' ';
    out[1] = cp;
    return 3;
}

int vtext_map_bert_accents(uint32_t cp, uint32_t *out) {
    return keep(!vtext_nonspacing_of_8(cp), cp, out);
}
