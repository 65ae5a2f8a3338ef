/* SPDX-License-Identifier: MIT */
/* Spans between a format's markers in a stream of text. Every byte is searched once for each marker. */
#include "text/calls/calls.h"

vcore_str vtext_c_span_text(const vtext_c_format *format, vcore_str span) {
    span = vtext_c_strip(span);
    return vtext_c_slice(span, strlen(format->start), span.n - strlen(format->end));
}

/* The end of the span that begins at `at`, or SIZE_MAX. */
static size_t span_end(vtext_c_scan *s, size_t at) {
    const vtext_c_format *f = s->format;
    const char *end = *f->end ? f->end : "\n";
    vcore_str held = { s->held.p, s->held.n };
    size_t from = s->searched > at + strlen(f->start) ? s->searched : at + strlen(f->start);
    size_t found = vtext_c_find(held, from, end), back = strlen(end) - 1;
    if (found != VTEXT_C_NONE) return found + strlen(end);
    s->searched = held.n > from + back ? held.n - back : from;
    return SIZE_MAX;
}

static vlm_status scan(vtext_c_scan *s, size_t *at, bool last, vtext_c_take take, void *user, vlm_error *err) {
    vcore_str held = { s->held.p ? s->held.p : "", s->held.n };
    size_t which, end;
    for (;;) {
        if (!s->inside) {
            size_t found = vtext_c_marker(held, *at, &s->format->start, 1, last, &which);
            if (found > *at) VTRY(take(user, vtext_c_slice(held, *at, found), false, err));
            *at = found;
            if (which == 1) return VLM_OK;
            s->inside = true;
            s->searched = 0;
        }
        end = span_end(s, *at);
        if (end == SIZE_MAX && last && !*s->format->end) end = held.n; /* a line that ends with the text */
        if (end == SIZE_MAX) break;
        VTRY(take(user, vtext_c_slice(held, *at, end), true, err));
        s->inside = false;
        *at = end;
    }
    if (held.n - *at > VTEXT_C_MAX_SPAN)
        return vcore_fail_limit(err, "a tool call", NULL, VTEXT_C_MAX_SPAN, "bytes");
    if (!last) return VLM_OK;
    s->inside = false; /* never closed: it is text, and so is any other beginning in it */
    VTRY(take(user, vtext_c_slice(held, *at, held.n), false, err));
    *at = held.n;
    return VLM_OK;
}

vlm_status vtext_c_scan_push(vtext_c_scan *s, vcore_str text, bool last, vtext_c_take take, void *user,
                             vlm_error *err) {
    if (!s->format) return text.n ? take(user, text, false, err) : VLM_OK;
    vcore_buf_add(&s->held, text.p, text.n);
    if (s->held.failed) return vcore_no_memory(err, "a tool call");
    size_t at = 0;
    VTRY(scan(s, &at, last, take, user, err));
    if (at) memmove(s->held.p, s->held.p + at, s->held.n - at);
    s->held.n -= at;
    s->searched = s->searched > at ? s->searched - at : 0;
    return VLM_OK;
}
