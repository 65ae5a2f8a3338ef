/* SPDX-License-Identifier: MIT */
/* Stop strings over a stream of text: what may be the beginning of one is held back until it is known. */
#include "engine/session/session.h"

vlm_status vengine_stops_init(vengine_stops *s, const char *const *stops, size_t n, vlm_error *err) {
    *s = (vengine_stops) { 0 };
    if (n == 0) return VLM_OK;
    if (!stops) return vcore_fail(err, VLM_ERR_ARGUMENT, "stop strings: a null list");
    s->stop = vcore_alloc_array(n, sizeof *s->stop);
    if (!s->stop) return vcore_no_memory(err, "stop strings");
    for (size_t i = 0; i < n; i++) {
        if (!stops[i] || !*stops[i]) continue; /* an empty one would stop at once */
        if (!vcore_utf8_valid(stops[i], strlen(stops[i]))) /* it could cut a character in two */
            return vcore_fail(err, VLM_ERR_ARGUMENT, "stop strings[%zu]: not UTF-8", i);
        s->stop[s->n] = vcore_strdup(stops[i]);
        if (!s->stop[s->n++]) return vcore_no_memory(err, "stop strings");
    }
    return VLM_OK;
}

void vengine_stops_free(vengine_stops *s) {
    for (size_t i = 0; i < s->n; i++) vcore_free(s->stop[i]);
    vcore_free(s->stop);
    vcore_buf_free(&s->held);
    vcore_buf_free(&s->ready);
    *s = (vengine_stops) { 0 };
}

static void clear(vcore_buf *b) {
    b->n = 0;
    b->failed = false;
    if (b->p) b->p[0] = 0;
}

void vengine_stops_reset(vengine_stops *s) {
    clear(&s->held);
    clear(&s->ready);
}

/* First byte of the earliest stop string that is whole in held; *maybe: of the earliest tail that may become
 * one. Each is held.n if there is none. A whole one counts even where a longer one may begin before it. */
static size_t find_stop(const vengine_stops *s, size_t *maybe) {
    const vcore_buf *h = &s->held;
    *maybe = h->n;
    for (size_t at = 0; at < h->n; at++) {
        for (size_t i = 0; i < s->n; i++) {
            size_t want = strlen(s->stop[i]), have = h->n - at;
            if (memcmp(h->p + at, s->stop[i], want < have ? want : have)) continue;
            if (want <= have) return at;
            if (*maybe == h->n) *maybe = at;
        }
    }
    return h->n;
}

bool vengine_stops_push(vengine_stops *s, vcore_str text) {
    clear(&s->ready);
    if (s->n == 0) {
        vcore_buf_add(&s->ready, text.p, text.n);
        return false;
    }
    vcore_buf_add(&s->held, text.p, text.n);
    if (s->held.n == 0) return false;
    size_t maybe, stop = find_stop(s, &maybe);
    bool met = stop < s->held.n;
    size_t safe = met ? stop : maybe;
    vcore_buf_add(&s->ready, s->held.p, safe);
    memmove(s->held.p, s->held.p + safe, s->held.n - safe);
    s->held.n = met ? 0 : s->held.n - safe;
    return met;
}

bool vengine_stops_finish(vengine_stops *s, vcore_str text) {
    bool met = vengine_stops_push(s, text);
    if (!met && s->held.n) vcore_buf_add(&s->ready, s->held.p, s->held.n);
    s->held.n = 0;
    return met;
}
