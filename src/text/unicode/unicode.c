/* SPDX-License-Identifier: MIT */
/* What the tokenizer asks of Unicode: classes for patterns, combining classes and decompositions
 * for normal forms (utf8proc's tables), and GPT-2's printable stand-ins for bytes. */
#include "text/unicode/unicode.h"

#include <utf8proc.h>

/* Letters, marks and numbers of Unicode 15.1 and 16, which the reference's expressions know and the
 * utf8proc of Debian 12 does not. */
static const struct {
    uint32_t first, last;
    utf8proc_category_t category;
} later[] = {
    { 0x897, 0x897, UTF8PROC_CATEGORY_MN },     { 0x1C89, 0x1C89, UTF8PROC_CATEGORY_LU },
    { 0x1C8A, 0x1C8A, UTF8PROC_CATEGORY_LL },   { 0xA7CB, 0xA7CC, UTF8PROC_CATEGORY_LU },
    { 0xA7CD, 0xA7CD, UTF8PROC_CATEGORY_LL },   { 0xA7DA, 0xA7DA, UTF8PROC_CATEGORY_LU },
    { 0xA7DB, 0xA7DB, UTF8PROC_CATEGORY_LL },   { 0xA7DC, 0xA7DC, UTF8PROC_CATEGORY_LU },
    { 0x105C0, 0x105F3, UTF8PROC_CATEGORY_LO }, { 0x10D40, 0x10D49, UTF8PROC_CATEGORY_ND },
    { 0x10D4A, 0x10D4F, UTF8PROC_CATEGORY_LO }, { 0x10D50, 0x10D65, UTF8PROC_CATEGORY_LU },
    { 0x10D69, 0x10D6D, UTF8PROC_CATEGORY_MN }, { 0x10D6F, 0x10D6F, UTF8PROC_CATEGORY_LM },
    { 0x10D70, 0x10D85, UTF8PROC_CATEGORY_LL }, { 0x10EC2, 0x10EC4, UTF8PROC_CATEGORY_LO },
    { 0x10EFC, 0x10EFC, UTF8PROC_CATEGORY_MN }, { 0x11380, 0x11389, UTF8PROC_CATEGORY_LO },
    { 0x1138B, 0x1138B, UTF8PROC_CATEGORY_LO }, { 0x1138E, 0x1138E, UTF8PROC_CATEGORY_LO },
    { 0x11390, 0x113B5, UTF8PROC_CATEGORY_LO }, { 0x113B7, 0x113B7, UTF8PROC_CATEGORY_LO },
    { 0x113B8, 0x113C0, UTF8PROC_CATEGORY_MC }, { 0x113C2, 0x113C2, UTF8PROC_CATEGORY_MC },
    { 0x113C5, 0x113C5, UTF8PROC_CATEGORY_MC }, { 0x113C7, 0x113CA, UTF8PROC_CATEGORY_MC },
    { 0x113CC, 0x113D0, UTF8PROC_CATEGORY_MC }, { 0x113D1, 0x113D1, UTF8PROC_CATEGORY_LO },
    { 0x113D2, 0x113D2, UTF8PROC_CATEGORY_MN }, { 0x113D3, 0x113D3, UTF8PROC_CATEGORY_LO },
    { 0x113E1, 0x113E2, UTF8PROC_CATEGORY_MN }, { 0x116D0, 0x116E3, UTF8PROC_CATEGORY_ND },
    { 0x11BC0, 0x11BE0, UTF8PROC_CATEGORY_LO }, { 0x11BF0, 0x11BF9, UTF8PROC_CATEGORY_ND },
    { 0x11F5A, 0x11F5A, UTF8PROC_CATEGORY_MN }, { 0x13460, 0x143FA, UTF8PROC_CATEGORY_LO },
    { 0x16100, 0x1611D, UTF8PROC_CATEGORY_LO }, { 0x1611E, 0x1612F, UTF8PROC_CATEGORY_MN },
    { 0x16130, 0x16139, UTF8PROC_CATEGORY_ND }, { 0x16D40, 0x16D6C, UTF8PROC_CATEGORY_LO },
    { 0x16D70, 0x16D79, UTF8PROC_CATEGORY_ND }, { 0x18CFF, 0x18CFF, UTF8PROC_CATEGORY_LO },
    { 0x1CCF0, 0x1CCF9, UTF8PROC_CATEGORY_ND }, { 0x1E5D0, 0x1E5ED, UTF8PROC_CATEGORY_LO },
    { 0x1E5EE, 0x1E5EF, UTF8PROC_CATEGORY_MN }, { 0x1E5F0, 0x1E5F0, UTF8PROC_CATEGORY_LO },
    { 0x1E5F1, 0x1E5FA, UTF8PROC_CATEGORY_ND }, { 0x2EBF0, 0x2EE5D, UTF8PROC_CATEGORY_LO },
};

static utf8proc_category_t category_of(uint32_t cp) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)cp);
    if (category != UTF8PROC_CATEGORY_CN) return category;
    size_t low = 0, high = sizeof later / sizeof *later;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (later[middle].last < cp)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < sizeof later / sizeof *later && later[low].first <= cp;
    return found ? later[low].category : category;
}

/* ---- classes -------------------------------------------------------------------------------- */
bool vtext_is_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A)
           || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

vtext_class vtext_class_of(uint32_t cp) {
    if (cp < 0x80) {
        if ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z') return VTEXT_LETTER;
        if (cp >= '0' && cp <= '9') return VTEXT_NUMBER;
        return vtext_is_space(cp) ? VTEXT_SPACE : VTEXT_OTHER;
    }
    switch (category_of(cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return VTEXT_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return VTEXT_NUMBER;
    default: return vtext_is_space(cp) ? VTEXT_SPACE : VTEXT_OTHER;
    }
}

bool vtext_is_mark(uint32_t cp) {
    if (cp < 0x300) return false;
    utf8proc_category_t c = category_of(cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

bool vtext_is_word(uint32_t cp) {
    switch (category_of(cp)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    case UTF8PROC_CATEGORY_SO: /* circled and squared letters are alphabetic */
        return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149)
               || (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
    default:
        return vtext_class_of(cp) == VTEXT_LETTER || vtext_is_mark(cp) || cp == 0x200C
               || cp == 0x200D;
    }
}

int vtext_letter_case(uint32_t cp) {
    if (cp < 0x80)
        return cp >= 'a' && cp <= 'z' ? VTEXT_LOWER : cp >= 'A' && cp <= 'Z' ? VTEXT_UPPER : 0;
    switch (category_of(cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return VTEXT_UPPER;
    case UTF8PROC_CATEGORY_LL: return VTEXT_LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return VTEXT_UPPER | VTEXT_LOWER;
    default: return 0;
    }
}

/* ---- normal forms --------------------------------------------------------------------------- */
/* The reference's normaliser has the tables of Unicode 9: what came later is a plain character, and
 * its ids are the ones models know. */
static bool is_newer(uint32_t cp) {
    return vtext_since(cp) > 9;
}

uint8_t vtext_combining_class(uint32_t cp) {
    uint8_t class =
        cp < 0x300 ? 0 : (uint8_t)utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
    return class && is_newer(cp) ? 0 : class;
}

/* No normalisation reaches across the place before a boundary. Marks never are, nor vowels and
 * finals of Hangul, nor the halfwidth sound marks, whose compatibility form is a mark. */
bool vtext_is_boundary(uint32_t cp) {
    if (cp < 0x300) return true;
    if (cp >= 0x1100 && cp <= 0x11FF) return cp < 0x1160;
    return !vtext_is_mark(cp) && cp != 0xFF9E && cp != 0xFF9F;
}

bool vtext_is_inert(uint32_t cp, bool compat, bool composed) {
    if (cp < 0x80 || (cp < 0x300 && composed && !compat)) return true;
    if (cp >= 0xAC00 && cp <= 0xD7A3) return composed;
    const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)cp);
    return property->decomp_seqindex == UINT16_MAX || (property->decomp_type && !compat);
}

int vtext_decompose(uint32_t cp, bool compat, uint32_t out[VTEXT_MAX_DECOMPOSED]) {
    utf8proc_int32_t part[VTEXT_MAX_DECOMPOSED];
    int last = 0;
    out[0] = cp;
    if (cp < 0xA0 || is_newer(cp)) return 1;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, part, VTEXT_MAX_DECOMPOSED,
                                UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0), &last);
    if (n <= 0 || n > VTEXT_MAX_DECOMPOSED) return 1;
    for (utf8proc_ssize_t i = 0; i < n; i++) out[i] = (uint32_t)part[i];
    return (int)n;
}

bool vtext_compose(uint32_t a, uint32_t b, uint32_t *out) {
    if (b < 0x300 || is_newer(b)) return false;
    utf8proc_int32_t pair[2] = { (utf8proc_int32_t)a, (utf8proc_int32_t)b };
    if (utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1) return false;
    *out = (uint32_t)pair[0];
    return !is_newer(*out);
}

/* Capitals of Unicode 16 and 17, which the reference's lower case knows. */
static const struct {
    uint32_t first, last;
    int32_t to_small;
} later_capitals[] = {
    { 0x1C89, 0x1C89, 1 },         { 0xA7CB, 0xA7CB, 0x264 - 0xA7CB }, { 0xA7CC, 0xA7CC, 1 },
    { 0xA7CE, 0xA7CE, 1 },         { 0xA7D2, 0xA7D2, 1 },              { 0xA7D4, 0xA7D4, 1 },
    { 0xA7DA, 0xA7DA, 1 },         { 0xA7DC, 0xA7DC, 0x19B - 0xA7DC }, { 0x10D50, 0x10D65, 0x20 },
    { 0x16EA0, 0x16EB8, 0x1B },
};

uint32_t vtext_lower(uint32_t cp) {
    if (cp < 0x80) return cp >= 'A' && cp <= 'Z' ? cp + 0x20 : cp;
    if (utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_CN)
        for (size_t i = 0; i < sizeof later_capitals / sizeof *later_capitals; i++)
            if (cp >= later_capitals[i].first && cp <= later_capitals[i].last)
                return cp + (uint32_t)later_capitals[i].to_small;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

bool vtext_is_numeric(uint32_t cp) {
    return vtext_class_of(cp) == VTEXT_NUMBER || (cp >= 0x11DE0 && cp <= 0x11DE9)
           || (cp >= 0x16FF4 && cp <= 0x16FF6);
}

/* ---- graphemes ------------------------------------------------------------------------------ */
/* Marks that came after the Unicode of utf8proc; those of 17 the reference knows here only. */
static bool is_later_mark(uint32_t cp) {
    static const uint32_t of_17[][2] = {
        { 0x1ACF, 0x1ADD },   { 0x1AE0, 0x1AEB },   { 0x10EFA, 0x10EFB },
        { 0x11B60, 0x11B67 }, { 0x1E6E3, 0x1E6E3 }, { 0x1E6E6, 0x1E6E6 },
        { 0x1E6EE, 0x1E6EF }, { 0x1E6F5, 0x1E6F5 },
    };
    if (utf8proc_category((utf8proc_int32_t)cp) != UTF8PROC_CATEGORY_CN) return false;
    for (size_t i = 0; i < sizeof of_17 / sizeof *of_17; i++)
        if (cp >= of_17[i][0] && cp <= of_17[i][1]) return true;
    return vtext_is_mark(cp);
}

/* For a character that joins what follows, or does so no more, since the Unicode of utf8proc: one
 * that it knows as the reference knows this one. */
static utf8proc_int32_t as_later(uint32_t cp) {
    return cp == 0x113D1 ? 0x0D4E : cp == 0x11A3A ? 0x11A0B : (utf8proc_int32_t)cp;
}

size_t vtext_grapheme(const char *p, size_t n) {
    uint32_t cp, next;
    utf8proc_int32_t state = 0;
    size_t end = n ? vcore_utf8_decode(p, n, &cp) : 0;
    for (; end < n; cp = next) {
        size_t len = vcore_utf8_decode(p + end, n - end, &next);
        if (cp < 0x80 && next < 0x80 && (cp != '\r' || next != '\n')) break;
        bool breaks = utf8proc_grapheme_break_stateful(as_later(cp), as_later(next), &state);
        if (breaks && (cp < ' ' || !is_later_mark(next))) break;
        end += len;
    }
    return end;
}

/* ---- byte level alphabet -----------------------------------------------------------------------
 * Printable bytes of Latin-1 stand for themselves; the rest, in order, are U+0100 and on: 00..20
 * from U+0100, 7F..A0 from U+0121, AD is U+0143. */
uint32_t vtext_byte_char(uint8_t byte) {
    if (byte <= 0x20) return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0) return 0x121u + (byte - 0x7Fu);
    return byte == 0xAD ? 0x143u : byte;
}

int vtext_char_byte(uint32_t cp) {
    if (cp >= 0x100 && cp <= 0x120) return (int)(cp - 0x100);
    if (cp >= 0x121 && cp <= 0x142) return (int)(cp - 0x121 + 0x7F);
    if (cp == 0x143) return 0xAD;
    return cp > 0xFF || vtext_byte_char((uint8_t)cp) != cp ? -1 : (int)cp;
}
