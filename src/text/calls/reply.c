/* SPDX-License-Identifier: MIT */
/* vlm_reply: a model's text as it comes, taken apart into thinking, content and tool calls. */
#include "text/calls/calls.h"

typedef struct event {
    vlm_reply_event given; /* its texts are owned here */
    struct event *next;
} event;

struct vlm_reply {
    vtext_c_thinking thinking;
    vtext_c_scan scan;
    vcore_json_doc *tools;
    event *first, *last, *shown; /* waiting; and the one the caller looks at */
    size_t calls;
    bool opened, finished;
    vlm_status status; /* of the first failure: nothing more comes */
};

static void free_event(event *e) {
    if (!e) return;
    vcore_free((char *)e->given.text);
    vcore_free((char *)e->given.name);
    vcore_free((char *)e->given.id);
    vcore_free(e);
}

static void free_events(vlm_reply *r) {
    for (event *e = r->first, *next; e; e = next) {
        next = e->next;
        free_event(e);
    }
    free_event(r->shown);
    r->first = r->last = r->shown = NULL;
}

static void append(vlm_reply *r, event *e) {
    if (r->last) r->last->next = e;
    else r->first = e;
    r->last = e;
}

static vlm_status add_text(vlm_reply *r, vlm_reply_kind kind, vcore_str text, vlm_error *err) {
    event *e = vcore_alloc(sizeof *e);
    char *copy = vcore_strndup(text.p, text.n);
    if (!e || !copy) {
        vcore_free(e);
        vcore_free(copy);
        return vcore_no_memory(err, "reply");
    }
    e->given = (vlm_reply_event) { .kind = kind, .text = copy, .bytes = text.n };
    append(r, e);
    return VLM_OK;
}

/* Hands a call's texts over. */
static vlm_status add_call(vlm_reply *r, vtext_c_call *c, vlm_error *err) {
    if (r->calls == VTEXT_C_MAX_CALLS) return vcore_fail_limit(err, "reply", NULL, VTEXT_C_MAX_CALLS, "tool calls");
    event *e = vcore_alloc(sizeof *e);
    if (!e) return vcore_no_memory(err, "reply");
    e->given = (vlm_reply_event) { .kind = VLM_REPLY_CALL,
                                   .text = c->arguments,
                                   .bytes = c->arguments_bytes,
                                   .name = c->name,
                                   .id = c->id,
                                   .index = r->calls++ };
    *c = (vtext_c_call) { 0 };
    append(r, e);
    return VLM_OK;
}

static vlm_status add_span(vlm_reply *r, vcore_str span, vlm_error *err) {
    vtext_c_job job = { .tools = vcore_json_root(r->tools) };
    VTRY(add_text(r, VLM_REPLY_CONTENT, vcore_str_of(" "), err));
    bool good = r->scan.format->parse(&job, vtext_c_span_text(r->scan.format, span));
    bool whole = good && !job.cut && job.n > 0;
    vlm_status status = job.failed ? vcore_no_memory(err, "a tool call") : VLM_OK;
    for (size_t i = 0; good && i < job.n && status >= 0; i++) status = add_call(r, &job.call[i], err);
    vtext_c_job_clear(&job, 0);
    if (status >= 0 && !whole) status = add_text(r, VLM_REPLY_BROKEN, span, err);
    return status;
}

static vlm_status take(void *user, vcore_str text, bool span, vlm_error *err) {
    return span ? add_span(user, text, err) : add_text(user, VLM_REPLY_CONTENT, text, err);
}

typedef struct feeding {
    vlm_reply *reply;
    vlm_status status;
    vlm_error *err;
} feeding;

static void give(void *user, bool reasoning, vcore_str text) {
    feeding *f = user;
    if (f->status < 0) return;
    f->status = reasoning ? add_text(f->reply, VLM_REPLY_REASONING, text, f->err)
                          : vtext_c_scan_push(&f->reply->scan, text, false, take, f->reply, f->err);
}

static vlm_status feed(vlm_reply *r, vcore_str text, bool last, vlm_error *err) {
    feeding f = { r, VLM_OK, err };
    if (!vtext_c_think(&r->thinking, text, last, give, &f) && f.status >= 0) f.status = vcore_no_memory(err, "reply");
    if (f.status >= 0 && last)
        f.status = vtext_c_scan_push(&r->scan, (vcore_str) { "", 0 }, true, take, r, err);
    r->status = f.status;
    return f.status;
}

/* ---- the public functions ----------------------------------------------------------------------------------- */

vlm_status vlm_reply_new(vlm_reply **out, const char *format, const char *tools_json, vlm_error *err) {
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_reply_new: a null argument");
    *out = NULL;
    const vtext_c_format *f = format ? vtext_c_format_named(format) : NULL;
    if (format && !f) return vcore_fail(err, VLM_ERR_NOT_FOUND, "tool calls: no format is called '%s'", format);
    vlm_reply *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, "reply");
    r->scan.format = f;
    vlm_status status =
        tools_json ? vcore_json_parse(&r->tools, tools_json, strlen(tools_json), "tools", err) : VLM_OK;
    const vcore_json *root = vcore_json_root(r->tools);
    if (status >= 0 && root && vcore_json_kind_of(root) != VCORE_JSON_ARRAY)
        status = vcore_fail(err, VLM_ERR_FORMAT, "tools: must be an array, is %s", vcore_json_kind_name(root));
    if (status < 0) vlm_reply_free(r);
    else *out = r;
    return status;
}

vlm_status vlm_reply_split_thinking(vlm_reply *r, const char *start, const char *end, bool open, vlm_error *err) {
    if (!r || !start != !end || (start && (!*start || !*end)))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_reply_split_thinking: a start and an end are needed, or neither");
    char *own_start = start ? vcore_strdup(start) : NULL, *own_end = end ? vcore_strdup(end) : NULL;
    if (start && (!own_start || !own_end)) {
        vcore_free(own_start);
        vcore_free(own_end);
        return vcore_no_memory(err, "reply");
    }
    vtext_c_thinking_free(&r->thinking);
    r->thinking = (vtext_c_thinking) { .on = true, .start = own_start, .end = own_end };
    r->opened = open;
    vlm_reply_reset(r);
    return VLM_OK;
}

vlm_status vlm_reply_push(vlm_reply *r, const char *text, size_t bytes, vlm_error *err) {
    if (!r || (!text && bytes)) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_reply_push: a null argument");
    if (r->status < 0 || r->finished)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "reply: it is over; reset it for the next one");
    return feed(r, (vcore_str) { bytes ? text : "", bytes }, false, err);
}

vlm_status vlm_reply_finish(vlm_reply *r, vlm_error *err) {
    if (!r) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_reply_finish: a null argument");
    if (r->status < 0 || r->finished)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "reply: it is over; reset it for the next one");
    r->finished = true;
    return feed(r, (vcore_str) { "", 0 }, true, err);
}

vlm_status vlm_reply_next(vlm_reply *r, vlm_reply_event *out, vlm_error *err) {
    if (!r || !out) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_reply_next: a null argument");
    free_event(r->shown);
    event *e = r->shown = r->first;
    *out = (vlm_reply_event) { .text = "" };
    if (!e) return VLM_DONE;
    r->first = e->next;
    if (!r->first) r->last = NULL;
    *out = e->given;
    return VLM_OK;
}

static void clear(vcore_buf *b) {
    b->n = 0;
    b->failed = false;
}

void vlm_reply_reset(vlm_reply *r) {
    if (!r) return;
    free_events(r);
    clear(&r->thinking.held);
    clear(&r->scan.held);
    r->thinking.place = r->opened ? VTEXT_C_OPENING : VTEXT_C_BEFORE;
    r->scan.inside = r->finished = false;
    r->scan.searched = r->calls = 0;
    r->status = VLM_OK;
}

void vlm_reply_free(vlm_reply *r) {
    if (!r) return;
    free_events(r);
    vtext_c_thinking_free(&r->thinking);
    vcore_buf_free(&r->scan.held);
    vcore_json_free(r->tools);
    vcore_free(r);
}
