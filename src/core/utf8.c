/* SPDX-License-Identifier: MIT */
/* UTF-8: validity, decoding with replacement, encoding. Owns no character properties. */
#include "core/core.h"

/* Length of a sequence by its first byte (0: none starts so) and the range of its second byte,
 * which rules out overlong forms, surrogates and code points above U+10FFFF. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xBF;
    if (c < 0x80) return 1;
    if (c < 0xC2) return 0;
    if (c < 0xE0) return 2;
    if (c < 0xF0) {
        if (c == 0xE0) *low = 0xA0;
        if (c == 0xED) *high = 0x9F;
        return 3;
    }
    if (c < 0xF5) {
        if (c == 0xF0) *low = 0x90;
        if (c == 0xF4) *high = 0x8F;
        return 4;
    }
    return 0;
}

size_t vcore_utf8_decode(const char *s, size_t n, uint32_t *cp) {
    const unsigned char *u = (const unsigned char *)s;
    unsigned char low, high;
    size_t length = lead(u[0], &low, &high);
    *cp = VCORE_REPLACEMENT;
    if (length == 1) *cp = u[0];
    if (length <= 1) return 1;
    uint32_t value = u[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (i >= n || u[i] < low || u[i] > high) return i;
        value = value << 6 | (u[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *cp = value;
    return length;
}

bool vcore_utf8_valid(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint64_t word;
        if (n - i >= sizeof word) { /* most text is ASCII: eight bytes at a time */
            memcpy(&word, s + i, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                i += sizeof word;
                continue;
            }
        }
        uint32_t cp;
        size_t used = vcore_utf8_decode(s + i, n - i, &cp);
        /* U+FFFD itself is EF BF BD; any other way to get it is a replacement. */
        if (cp == VCORE_REPLACEMENT && (used != 3 || memcmp(s + i, "\xEF\xBF\xBD", 3) != 0))
            return false;
        i += used;
    }
    return true;
}

size_t vcore_utf8_encode(uint32_t cp, char out[4]) {
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) cp = VCORE_REPLACEMENT;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t length = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)((0xF00u >> length & 0xF0) | cp);
    return length;
}

size_t vcore_utf8_incomplete(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char low, high, c = (unsigned char)s[n - back];
        if ((c & 0xC0) == 0x80) continue;
        uint32_t cp;
        /* Incomplete: the sequence is longer than what is here, and nothing here contradicts it. */
        if (lead(c, &low, &high) > back && vcore_utf8_decode(s + n - back, back, &cp) == back)
            return back;
        return 0;
    }
    return 0;
}
