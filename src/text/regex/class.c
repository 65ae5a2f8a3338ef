/* SPDX-License-Identifier: MIT */
/* Reading escapes and bracketed classes: what stands for one character or a set of them. */
#include "text/regex/regex.h"

static bool named_set(vtext_parse *x, size_t at, vcore_str name, vtext_set *out) {
    bool known;
    if (!vtext_set_property(x, out, name, &known)) return false;
    if (!known)
        return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at, "no property is called '%.*s'",
                                (int)(name.n < 40 ? name.n : 40), name.p);
    vtext_set_normalize(out);
    return true;
}

/* {name} or {^name} behind \p or \P. */
static bool property(vtext_parse *x, bool negate, vtext_set *out) {
    size_t at = x->at;
    const char *open = x->text.p + x->at;
    const char *close =
        x->at < x->text.n && *open == '{' ? memchr(open, '}', x->text.n - x->at) : NULL;
    if (!close)
        return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at, "\\p must be followed by {name}");
    vcore_str name = { open + 1, (size_t)(close - open) - 1 };
    x->at += name.n + 2;
    if (name.n && *name.p == '^') {
        negate = !negate;
        name.p++;
        name.n--;
    }
    return named_set(x, at, name, out) && (!negate || vtext_set_negate(x, out));
}

/* Up to most digits of a base; how many there were. */
static size_t digits(vtext_parse *x, unsigned base, size_t most, uint32_t *out) {
    size_t n = 0;
    for (*out = 0; n < most && x->at < x->text.n; n++, x->at++) {
        char c = x->text.p[x->at];
        unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                            : 99;
        if (d >= base) break;
        *out = *out * base + d;
    }
    return n;
}

static bool is_character(uint32_t cp) {
    return cp <= 0x10FFFF && (cp < 0xD800 || cp > 0xDFFF);
}

/* Behind \x, \u or \0: code points in digits. */
static bool numeric(vtext_parse *x, char kind, uint32_t *cp) {
    size_t at = x->at, n;
    bool ok;
    if (kind == 'x' && x->at < x->text.n && x->text.p[x->at] == '{') {
        x->at++;
        n = digits(x, 16, 8, cp);
        ok = n && x->at < x->text.n && x->text.p[x->at++] == '}' && is_character(*cp);
    } else if (kind == 'u') {
        ok = digits(x, 16, 4, cp) == 4 && is_character(*cp);
    } else { /* bytes: more than ASCII would be part of a character */
        n = digits(x, kind == 'x' ? 16 : 8, 2, cp);
        ok = *cp < 0x80 && (n || kind == '0');
    }
    return ok || vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at, "no character has this number");
}

static bool word(vtext_parse *x, bool in_class, vtext_set *out) {
    return in_class ? named_set(x, x->at, vcore_str_of("word"), out) : vtext_set_word(x, out);
}

bool vtext_parse_escape(vtext_parse *x, bool in_class, bool *is_set, uint32_t *cp, vtext_set *out) {
    static const char plain[] = "nrtfvae", meaning[] = "\n\r\t\f\v\a\033";
    size_t at = x->at;
    *is_set = false;
    if (x->at == x->text.n) return vtext_parse_fail(x, VLM_ERR_FORMAT, at, "ends in a backslash");
    char c = x->text.p[x->at];
    if ((uint8_t)c >= 0x80) {
        x->at += vcore_utf8_decode(x->text.p + x->at, x->text.n - x->at, cp);
        return true;
    }
    x->at++;
    const char *found = c ? strchr(plain, c) : NULL;
    *cp = found ? (uint32_t)meaning[found - plain] : (uint8_t)c;
    if (found || !((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))) return true;
    *is_set = true;
    switch (c) {
    case 'd': return named_set(x, at, vcore_str_of("digit"), out);
    case 'D': return named_set(x, at, vcore_str_of("digit"), out) && vtext_set_negate(x, out);
    case 's': return named_set(x, at, vcore_str_of("space"), out);
    case 'S': return named_set(x, at, vcore_str_of("space"), out) && vtext_set_negate(x, out);
    case 'w': return word(x, in_class, out);
    case 'W': return word(x, in_class, out) && vtext_set_negate(x, out);
    case 'h': return named_set(x, at, vcore_str_of("xdigit"), out);
    case 'H': return named_set(x, at, vcore_str_of("xdigit"), out) && vtext_set_negate(x, out);
    case 'p':
    case 'P': return property(x, c == 'P', out);
    default: *is_set = false;
    }
    if (c == 'x' || c == 'u' || c == '0') return numeric(x, c, cp);
    if (c == 'b' && in_class) {
        *cp = '\b';
        return true;
    }
    return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at, "\\%c is not supported%s", c,
                            c >= '1' && c <= '9' && !in_class ? " (a back-reference)" : "");
}

/* [:name:] or [:^name:]; *is_one says whether there is one at all. */
static bool posix(vtext_parse *x, bool *is_one, vtext_set *out) {
    const char *p = x->text.p + x->at;
    size_t left = x->text.n - x->at, n = 2;
    *is_one = false;
    if (left < 4 || p[1] != ':') return true;
    bool negate = p[2] == '^';
    n += negate;
    size_t first = n;
    while (n < left && p[n] >= 'a' && p[n] <= 'z') n++;
    if (n + 1 >= left || p[n] != ':' || p[n + 1] != ']') return true;
    *is_one = true;
    vcore_str name = { p + first, n - first };
    if (vcore_str_eq(name, vcore_str_of("punct"))) name = vcore_str_of("posixpunct");
    bool ok = named_set(x, x->at, name, out);
    x->at += n + 2;
    return ok && (!negate || vtext_set_negate(x, out));
}

/* A class under way. */
typedef struct reading {
    vtext_set all, part; /* of the parts before the last &&; of the one that is read */
    bool intersects;
    enum { START, CHARACTER, SET, RANGE } last; /* what was read before */
    uint32_t cp;                                /* CHARACTER: not added yet */
} reading;

static bool flush(vtext_parse *x, reading *r) {
    bool had = r->last == CHARACTER;
    r->last = SET;
    return !had || vtext_set_add(x, &r->part, r->cp, r->cp);
}

/* Ends a part: what is in all of the parts. (?i) holds for each. */
static bool end_part(vtext_parse *x, reading *r) {
    if (r->last == START)
        return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, x->at, "nothing stands beside &&");
    if (!flush(x, r)) return false;
    vtext_set_normalize(&r->part);
    if (!r->intersects)
        r->all = r->part;
    else if (!vtext_set_intersect(x, &r->all, &r->part))
        return false;
    r->part = (vtext_set) { 0 };
    r->last = START;
    return true;
}

static char peek(const vtext_parse *x, size_t ahead) {
    return x->at + ahead < x->text.n ? x->text.p[x->at + ahead] : 0;
}

/* A character or an escape. */
static bool item(vtext_parse *x, bool *is_set, uint32_t *cp, vtext_set *out) {
    *is_set = false;
    if (peek(x, 0) == '\\') {
        x->at++;
        return vtext_parse_escape(x, true, is_set, cp, out);
    }
    if (x->at >= x->text.n)
        return vtext_parse_fail(x, VLM_ERR_FORMAT, x->at, "a class does not end");
    x->at += vcore_utf8_decode(x->text.p + x->at, x->text.n - x->at, cp);
    return true;
}

/* The '-' of a range whose first character was read; x->at is behind it. */
static bool range(vtext_parse *x, reading *r) {
    bool is_set;
    uint32_t last;
    vtext_set ignored = { 0 };
    size_t at = x->at;
    if (peek(x, 0) == '[')
        return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, at, "a range ends in a class");
    if (!item(x, &is_set, &last, &ignored)) return false;
    if (is_set || last < r->cp)
        return vtext_parse_fail(x, VLM_ERR_FORMAT, at, "a range of a class has no such end");
    r->last = RANGE;
    return vtext_set_add(x, &r->part, r->cp, last);
}

static bool nested(vtext_parse *x, vtext_set *out) {
    bool negate;
    x->at++;
    return vtext_parse_class(x, out, &negate) && (!negate || vtext_set_negate(x, out));
}

static bool read_item(vtext_parse *x, reading *r) {
    bool is_set;
    vtext_set more = { 0 };
    char c = peek(x, 0), next = peek(x, 1);
    if (c == '[') {
        if (!posix(x, &is_set, &more)) return false;
        if (!is_set && !nested(x, &more)) return false;
        if (!flush(x, r)) return false;
        return vtext_set_add_all(x, &r->part, &more);
    }
    if (c == '-' && next != ']' && r->last != START && r->last != RANGE) {
        if (r->last == SET || (next == '&' && peek(x, 2) == '&'))
            return vtext_parse_fail(x, VLM_ERR_UNSUPPORTED, x->at, "'-' stands between sets");
        x->at++;
        return range(x, r);
    }
    uint32_t cp;
    if (!item(x, &is_set, &cp, &more) || !flush(x, r)) return false;
    if (is_set) return vtext_set_add_all(x, &r->part, &more);
    r->last = CHARACTER;
    r->cp = cp;
    return true;
}

bool vtext_parse_class(vtext_parse *x, vtext_set *out, bool *negate) {
    reading r = { 0 };
    size_t begin = x->at;
    *negate = peek(x, 0) == '^';
    x->at += *negate;
    if (++x->depth > VTEXT_REGEX_DEPTH)
        return vtext_parse_fail(x, VLM_ERR_LIMIT, begin, "more than %d nested groups",
                                VTEXT_REGEX_DEPTH);
    if (peek(x, 0) == ']') { /* a character, if the class ends further on */
        if (!memchr(x->text.p + x->at + 1, ']', x->text.n - x->at - 1))
            return vtext_parse_fail(x, VLM_ERR_FORMAT, begin, "a class is empty");
        r.last = CHARACTER;
        r.cp = ']';
        x->at++;
    }
    while (peek(x, 0) != ']') {
        if (x->at >= x->text.n)
            return vtext_parse_fail(x, VLM_ERR_FORMAT, begin, "a class does not end");
        if (peek(x, 0) == '&' && peek(x, 1) == '&') {
            if (!end_part(x, &r)) return false;
            r.intersects = true;
            x->at += 2;
        } else if (!read_item(x, &r)) {
            return false;
        }
    }
    x->at++;
    x->depth--;
    if (!end_part(x, &r)) return false;
    *out = r.all;
    return true;
}
