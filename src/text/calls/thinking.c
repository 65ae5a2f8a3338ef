/* SPDX-License-Identifier: MIT */
/* The block of a model's thinking, split off a stream of text: what is between the first start and the end behind
 * it. Line ends next to the markers belong to them. */
#include "text/calls/calls.h"

static const struct {
    const char *start, *end;
} pairs[] = {
    { "<|channel>thought", "<channel|>" },
    { "<think>", "</think>" },
    { "<|START_THINKING|>", "<|END_THINKING|>" },
    { "[THINK]", "[/THINK]" },
    { "<mm:think>", "</mm:think>" },
    { "\xE2\x97\x81think\xE2\x96\xB7", "\xE2\x97\x81/think\xE2\x96\xB7" },
};

bool vtext_thinking_pair(size_t i, const char **start, const char **end) {
    if (i >= sizeof pairs / sizeof pairs[0]) return false;
    *start = pairs[i].start;
    *end = pairs[i].end;
    return true;
}

bool vlm_thinking_is_open(const char *prompt, const char *start) {
    const char *known, *end;
    if (!prompt) return false;
    vcore_str s = vtext_c_strip(vcore_str_of(prompt));
    for (size_t i = 0; start || vtext_thinking_pair(i, &known, &end); i++) {
        const char *marker = start ? start : known;
        size_t n = strlen(marker);
        if (n && n <= s.n && vtext_c_starts(s, s.n - n, marker)) return true;
        if (start) return vlm_thinking_is_open(prompt, NULL);
    }
    return false;
}

/* All starts, then all ends. */
static size_t markers(const vtext_c_thinking *t, const char *start[VTEXT_C_MARKERS], const char *end[VTEXT_C_MARKERS]) {
    size_t n = 0;
    while (vtext_thinking_pair(n, &start[n], &end[n])) n++;
    if (!t->start || !t->end) return n;
    start[n] = t->start;
    end[n] = t->end;
    return n + 1;
}

/* Up to the next marker; true: *at is behind it. */
static bool step(vtext_c_thinking *t, size_t *at, bool last, vtext_c_give give, void *user) {
    const char *all[2 * VTEXT_C_MARKERS], *end[VTEXT_C_MARKERS];
    vcore_str held = { t->held.p ? t->held.p : "", t->held.n };
    size_t n = markers(t, all, end), count = n, which;
    bool within = t->place == VTEXT_C_WITHIN;
    if (within) { /* a start that comes again says nothing */
        memcpy(all + n, end, n * sizeof *end);
        count = 2 * n;
    }
    size_t found = t->place == VTEXT_C_AFTER ? held.n : vtext_c_marker(held, *at, all, count, last, &which);
    if (t->place == VTEXT_C_AFTER) which = count;
    if (found > *at) give(user, within, vtext_c_slice(held, *at, found));
    *at = found;
    if (which == count) return false;
    *at += strlen(all[which]);
    t->place = which < n ? VTEXT_C_OPENING : VTEXT_C_CLOSING;
    return true;
}

bool vtext_c_think(vtext_c_thinking *t, vcore_str text, bool last, vtext_c_give give, void *user) {
    if (!t->on) {
        if (text.n) give(user, false, text);
        return true;
    }
    size_t at = 0;
    vcore_buf_add(&t->held, text.p, text.n);
    if (t->held.failed) return false;
    do {
        bool between = t->place == VTEXT_C_OPENING || t->place == VTEXT_C_CLOSING;
        while (between && at < t->held.n && t->held.p[at] == '\n') at++;
        if (between && at == t->held.n) break;
        if (between) t->place = t->place == VTEXT_C_OPENING ? VTEXT_C_WITHIN : VTEXT_C_AFTER;
    } while (step(t, &at, last, give, user));
    if (at) memmove(t->held.p, t->held.p + at, t->held.n - at);
    t->held.n -= at;
    return true;
}

void vtext_c_thinking_free(vtext_c_thinking *t) {
    vcore_free(t->start);
    vcore_free(t->end);
    vcore_buf_free(&t->held);
    *t = (vtext_c_thinking) { 0 };
}
