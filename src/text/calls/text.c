/* SPDX-License-Identifier: MIT */
/* Looking at text between markers: search, white space, words. Every search goes forward only. */
#include "text/calls/calls.h"
#include "text/jinja/jinja.h"
#include "text/unicode/unicode.h"

vcore_str vtext_c_slice(vcore_str s, size_t begin, size_t end) {
    return (vcore_str) { s.p + begin, end - begin };
}

/* Begin of the character that ends at `at` > 0. */
static size_t step_back(vcore_str s, size_t at) {
    size_t begin = at - 1;
    while (begin > 0 && at - begin < 4 && ((unsigned char)s.p[begin] & 0xC0) == 0x80) begin--;
    return begin;
}

static bool is_space_at(vcore_str s, size_t at, size_t *used) {
    uint32_t cp;
    *used = vcore_utf8_decode(s.p + at, s.n - at, &cp);
    return vtext_j_is_space(cp);
}

size_t vtext_c_space(vcore_str s) {
    size_t n = 0, used;
    while (n < s.n && is_space_at(s, n, &used)) n += used;
    return n;
}

vcore_str vtext_c_strip(vcore_str s) {
    size_t begin = vtext_c_space(s), end = s.n, used;
    while (end > begin) {
        size_t at = step_back(s, end);
        if (!is_space_at(vtext_c_slice(s, 0, end), at, &used) || at + used != end) break;
        end = at;
    }
    return vtext_c_slice(s, begin, end);
}

bool vtext_c_starts(vcore_str s, size_t at, const char *with) {
    size_t n = strlen(with);
    return s.n - at >= n && memcmp(s.p + at, with, n) == 0;
}

size_t vtext_c_find(vcore_str s, size_t from, const char *what) {
    if (from >= s.n) return VTEXT_C_NONE;
    const char *hit = memmem(s.p + from, s.n - from, what, strlen(what));
    return hit ? (size_t)(hit - s.p) : VTEXT_C_NONE;
}

bool vtext_c_between(vcore_str *inner, vcore_str s, size_t *at, const char *open, const char *close) {
    size_t begin = vtext_c_find(s, *at, open);
    if (begin == VTEXT_C_NONE) return false;
    begin += strlen(open);
    size_t end = vtext_c_find(s, begin, close);
    if (end == VTEXT_C_NONE) return false;
    *inner = vtext_c_slice(s, begin, end);
    *at = end + strlen(close);
    return true;
}

bool vtext_c_word(vcore_str s, size_t at, size_t *used) {
    uint32_t cp;
    if (at >= s.n) return false;
    *used = vcore_utf8_decode(s.p + at, s.n - at, &cp);
    return vtext_is_word(cp);
}

size_t vtext_c_word_before(vcore_str s, size_t at) {
    size_t used;
    for (size_t begin; at > 0; at = begin) {
        begin = step_back(s, at);
        if (!vtext_c_word(s, begin, &used) || begin + used != at) break;
    }
    return at;
}

bool vtext_c_same(vcore_str s, const char *lower) {
    if (s.n != strlen(lower)) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c | 0x20);
        if (c != lower[i]) return false;
    }
    return true;
}

size_t vtext_c_marker(vcore_str s, size_t at, const char *const *markers, size_t n, bool last, size_t *which) {
    *which = n;
    for (; at < s.n; at++) {
        size_t shortest = SIZE_MAX, have = s.n - at;
        bool maybe = false;
        for (size_t i = 0; i < n; i++) {
            size_t want = strlen(markers[i]);
            if (s.p[at] != markers[i][0] || memcmp(s.p + at, markers[i], want < have ? want : have)) continue;
            if (want > have) {
                maybe = !last;
            } else if (want < shortest) {
                shortest = want;
                *which = i;
            }
        }
        if (maybe || *which < n) return at;
    }
    return s.n;
}
