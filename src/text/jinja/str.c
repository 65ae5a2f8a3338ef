/* SPDX-License-Identifier: MIT */
/* Strings of the interpreter: building them with the origin of every byte, and what Python's str
 * does with characters. Bytes are UTF-8; positions in the interface are bytes unless they say
 * characters. */
#include "text/jinja/jinja.h"

#include <locale.h>
#include <stdlib.h>
#include <utf8proc.h>

/* ---- building -------------------------------------------------------------------------------- */

static bool reserve(j_run *r, j_text *t, size_t more, bool user) {
    size_t need;
    if (!vcore_add(t->n, more, &need))
        return vtext_j_fail_status(r, VLM_ERR_LIMIT, "a string is too long");
    if (need > t->cap) {
        size_t cap = t->cap * 2 > need ? t->cap * 2 : need + 16;
        char *p = vtext_j_alloc(r, cap, 1);
        uint8_t *origin = t->user || user ? vtext_j_alloc(r, cap, 1) : NULL;
        if (!p || ((t->user || user) && !origin)) return false;
        if (t->n) memcpy(p, t->p, t->n);
        if (t->user) memcpy(origin, t->user, t->n);
        *t = (j_text) { p, origin, t->n, cap };
    } else if (user && !t->user) {
        t->user = vtext_j_alloc(r, t->cap, 1);
        if (!t->user) return false;
    }
    return true;
}

bool vtext_j_add(j_run *r, j_text *t, j_string s) {
    if (s.n == 0) return true;
    if (!vtext_j_work(r, s.n) || !reserve(r, t, s.n, s.user != NULL)) return false;
    memcpy(t->p + t->n, s.p, s.n);
    if (s.user) memcpy(t->user + t->n, s.user, s.n);
    t->n += s.n;
    return true;
}

bool vtext_j_add_bytes(j_run *r, j_text *t, const char *p, size_t n, bool user) {
    if (!reserve(r, t, n, user)) return false;
    if (n) memcpy(t->p + t->n, p, n);
    if (user && n) memset(t->user + t->n, 1, n);
    t->n += n;
    return true;
}

bool vtext_j_add_char(j_run *r, j_text *t, uint32_t cp, bool user) {
    char c[4];
    return vtext_j_add_bytes(r, t, c, vcore_utf8_encode(cp, c), user);
}

bool vtext_j_pad(j_run *r, j_text *t, j_string fill, int64_t times) {
    for (; times > 0; times--)
        if (!vtext_j_add(r, t, fill)) return false;
    return true;
}

/* A string that was just made by concatenation can grow in place: nobody else sees the bytes behind
 * it. So "set all = all + piece" in a loop takes linear time and memory. */
bool vtext_j_concat(j_run *r, j_string a, j_string b, j_string *out) {
    if (a.n == 0 || b.n == 0) {
        *out = a.n ? a : b;
        return true;
    }
    j_text t = r->tail;
    if (!(t.p && t.p == a.p && t.n == a.n && (t.user != NULL) == (a.user != NULL))) {
        t = (j_text) { 0 };
        if (!vtext_j_add(r, &t, a)) return false;
    }
    if (!vtext_j_add(r, &t, b)) return false;
    r->tail = t;
    *out = vtext_j_done(&t);
    return true;
}

/* ---- characters ------------------------------------------------------------------------------ */

size_t vtext_j_chars(j_string s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

size_t vtext_j_offset(j_string s, size_t chars) {
    size_t i = 0;
    for (; i < s.n; i++)
        if (((unsigned char)s.p[i] & 0xC0) != 0x80 && chars-- == 0) break;
    return i;
}

j_string vtext_j_next_char(j_string s, size_t *pos, uint32_t *cp) {
    size_t begin = *pos;
    *pos += vcore_utf8_decode(s.p + begin, s.n - begin, cp);
    return vtext_j_sub(s, begin, *pos);
}

bool vtext_j_find(j_string s, j_string what, size_t from, size_t *at) {
    if (from > s.n || what.n > s.n - from) return false;
    if (what.n == 0) {
        *at = from;
        return true;
    }
    const char *hit = memmem(s.p + from, s.n - from, what.p, what.n);
    if (hit) *at = (size_t)(hit - s.p);
    return hit != NULL;
}

bool vtext_j_rfind(j_run *r, j_string s, j_string what, size_t *at, bool *found) {
    *found = false;
    if (what.n > s.n) return true;
    for (size_t i = s.n - what.n + 1; i-- > 0;) {
        if (what.n && (s.p[i] != what.p[0] || s.p[i + what.n - 1] != what.p[what.n - 1])) continue;
        if (!vtext_j_work(r, what.n)) return false;
        if (memcmp(s.p + i, what.p, what.n) != 0) continue;
        *at = i;
        *found = true;
        return true;
    }
    return true;
}

bool vtext_j_is_space(uint32_t cp) {
    if (cp < 128) return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A)
           || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool vtext_j_is_line_end(uint32_t cp) {
    return (cp >= 10 && cp <= 13) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028
           || cp == 0x2029;
}

bool vtext_j_is_printable(uint32_t cp) {
    if (cp < 127) return cp >= 32;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
    }
}

static bool strippable(uint32_t cp, j_string c, const j_string *chars) {
    size_t at;
    return chars ? vtext_j_find(*chars, c, 0, &at) : vtext_j_is_space(cp);
}

j_string vtext_j_strip(j_string s, const j_string *chars, int ends) {
    size_t begin = 0, end = s.n;
    uint32_t cp;
    while ((ends & 1) && begin < end) {
        size_t next = begin;
        j_string c = vtext_j_next_char(s, &next, &cp);
        if (!strippable(cp, c, chars)) break;
        begin = next;
    }
    while ((ends & 2) && end > begin) {
        size_t last = end - 1;
        while (last > begin && ((unsigned char)s.p[last] & 0xC0) == 0x80) last--;
        size_t next = last;
        j_string c = vtext_j_next_char(s, &next, &cp);
        if (!strippable(cp, c, chars)) break;
        end = last;
    }
    return vtext_j_sub(s, begin, end);
}

/* ---- case ------------------------------------------------------------------------------------ */

/* Characters whose upper case is several characters (the common ones of Unicode's SpecialCasing).
 */
static const struct {
    uint32_t cp;
    const char *upper, *title;
} special[] = {
    { 0xDF, "SS", "Ss" },     { 0x149, "\xCA\xBCN", "\xCA\xBCN" },
    { 0x587, "ԵՒ", "Եւ" },    { 0x1F0, "J\xCC\x8C", "J\xCC\x8C" },
    { 0xFB00, "FF", "Ff" },   { 0xFB01, "FI", "Fi" },
    { 0xFB02, "FL", "Fl" },   { 0xFB03, "FFI", "Ffi" },
    { 0xFB04, "FFL", "Ffl" }, { 0xFB05, "ST", "St" },
    { 0xFB06, "ST", "St" },
};

static bool is_cased(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

static bool add_folded(j_run *r, j_text *t, uint32_t cp, bool user) {
    utf8proc_int32_t folded[8];
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, folded, 8, UTF8PROC_CASEFOLD, NULL);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
        if (!vtext_j_add_char(r, t, (uint32_t)folded[i], user)) return false;
    return n > 0 || vtext_j_add_char(r, t, cp, user);
}

/* how: 'u'pper, 'l'ower, 't'itle, 'f'old; 0: as it is */
static bool add_cased(j_run *r, j_text *t, uint32_t cp, char how, bool user) {
    if (how == 'f') return add_folded(r, t, cp, user);
    if (!how) return vtext_j_add_char(r, t, cp, user);
    for (size_t i = 0; how != 'l' && i < sizeof special / sizeof *special; i++)
        if (special[i].cp == cp) {
            const char *s = how == 'u' ? special[i].upper : special[i].title;
            return vtext_j_add_bytes(r, t, s, strlen(s), user);
        }
    if (how == 'l' && cp == 0x130)
        return vtext_j_add_char(r, t, 'i', user) && vtext_j_add_char(r, t, 0x307, user);
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    c = how == 'u' ? utf8proc_toupper(c) : how == 'l' ? utf8proc_tolower(c) : utf8proc_totitle(c);
    return vtext_j_add_char(r, t, (uint32_t)c, user);
}

/* A capital sigma that ends a word becomes the final small one. */
static bool is_final_sigma(j_string s, size_t begin, size_t end) {
    uint32_t before = 0, behind = 0;
    size_t last = begin;
    while (last > 0 && ((unsigned char)s.p[--last] & 0xC0) == 0x80) {
    }
    if (last < begin) vtext_j_next_char(s, &last, &before);
    if (end < s.n) vtext_j_next_char(s, &end, &behind);
    return is_cased(before) && !is_cased(behind);
}

bool vtext_j_recase(j_run *r, j_string s, j_case how, j_string *out) {
    j_text t = { 0 };
    bool word_start = true, after_cased = false;
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    for (size_t pos = 0; pos < s.n;) {
        uint32_t cp;
        size_t begin = pos;
        j_string c = vtext_j_next_char(s, &pos, &cp);
        char to = 'l';
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)cp);
        switch (how) {
        case J_UPPER: to = 'u'; break;
        case J_LOWER: break;
        case J_FOLD: to = 'f'; break;
        case J_CAPITALIZE: to = begin == 0 ? 't' : 'l'; break;
        case J_TITLE: to = after_cased ? 'l' : 't'; break;
        case J_SWAPCASE:
            to = category == UTF8PROC_CATEGORY_LU   ? 'l'
                 : category == UTF8PROC_CATEGORY_LL ? 'u'
                                                    : 0;
            break;
        case J_JINJA_TITLE: to = word_start ? 'u' : 'l'; break;
        }
        after_cased = is_cased(cp);
        word_start = vtext_j_is_space(cp) || (cp < 128 && cp && strchr("-({[<", (int)cp));
        if (to == 'l' && cp == 0x3A3 && is_final_sigma(s, begin, pos)) cp = 0x3C2;
        if (!add_cased(r, &t, cp, to, c.user && c.user[0])) return false;
    }
    *out = vtext_j_done(&t);
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------- */

bool vtext_j_parse_float(const char *text, double *out) {
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return false;
    char *end;
    *out = strtod_l(text, &end, c);
    freelocale(c);
    return end != text && *end == 0;
}
