/* SPDX-License-Identifier: MIT */
/* Prompt assembly: messages -> chat template -> spans -> media expansions in place. The only part that
 * knows both the processor's placeholders and the text; where a piece came from is carried through, so
 * that what a user types can never become a media slot. */
#include "engine/engine.h"

void vengine_prompt_free(vengine_prompt *p) {
    vcore_buf_free(&p->text);
    vcore_free(p->spans);
    vtext_rendered_free(&p->rendered);
    *p = (vengine_prompt) { 0 };
}

/* ---- the template's variables ---------------------------------------------------------------------------- */

/* Whether the last message is to go on: then no generation prompt is asked for. */
static bool continues(const vlm_input *in) {
    bool yes = false;
    for (size_t i = 0; i < in->n_variables; i++) {
        const char *json = in->variable_values[i] + strspn(in->variable_values[i], " \t\r\n");
        if (!strcmp(in->variable_names[i], "continue_final_message")) yes = *json != 'f' && *json != 'n'; /* false, null */
    }
    return yes;
}

/* {"messages": [...], "add_generation_prompt": true, "bos_token": ..., further variables}. */
static vlm_status template_variables(vcore_buf *b, const vlm_context *c, const vlm_input *in,
                                     vlm_error *err) {
    static const char *const named[] = { "bos_token", "eos_token", "unk_token", "pad_token",
                                         "sep_token", "cls_token", "mask_token" };
    vcore_json_open(b, NULL, '{');
    VTRY(vengine_messages_write(b, in, c->message_format, err));
    if (!continues(in)) vcore_json_put_bool(b, "add_generation_prompt", true);
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        vcore_str token;
        if (vtext_named_token(c->tokenizer, named[i], &token)) vcore_json_put_str(b, named[i], token);
    }
    for (size_t i = 0; i < in->n_variables; i++)
        vcore_json_put_raw(b, in->variable_names[i], in->variable_values[i]);
    vcore_json_close(b, '}');
    return b->failed ? vcore_no_memory(err, "messages") : VLM_OK;
}

static vlm_status render(vtext_rendered *out, const vlm_context *c, const vlm_input *in,
                         vlm_error *err) {
    const vtext_template *t = in->n_videos && c->video_template ? c->video_template : c->chat_template;
    if (!t)
        return vcore_fail(err, VLM_ERR_TEMPLATE,
                          "%s: it has no chat template; give the prompt as raw text", c->dir);
    vcore_buf variables = { 0 };
    vlm_status status = template_variables(&variables, c, in, err);
    if (status >= 0)
        status = vtext_template_render(t, variables.p, variables.n, &c->source.limits, out, err);
    vcore_buf_free(&variables);
    return status;
}

/* ---- expansions ------------------------------------------------------------------------------------------- */

/* Appends text as part of a span; spans hold offsets until the text has stopped moving. */
static vlm_status append(vengine_prompt *p, const char *text, size_t n, bool user, vlm_error *err) {
    if (n == 0) return VLM_OK;
    vtext_span *last = p->n_spans ? &p->spans[p->n_spans - 1] : NULL;
    if (!last || last->user != user) {
        if (p->n_spans == p->cap) {
            size_t cap = p->cap ? 2 * p->cap : 16;
            void *bigger = vcore_realloc_array(p->spans, cap, sizeof *p->spans);
            if (!bigger) return vcore_no_memory(err, "prompt");
            p->spans = bigger;
            p->cap = cap;
        }
        last = &p->spans[p->n_spans++];
        *last = (vtext_span) { .user = user };
    }
    vcore_buf_add(&p->text, text, n);
    last->n += n;
    return p->text.failed ? vcore_no_memory(err, "prompt") : VLM_OK;
}

static void settle_spans(vengine_prompt *p) {
    size_t at = 0;
    for (size_t i = 0; i < p->n_spans; i++) {
        p->spans[i].p = p->text.p + at;
        at += p->spans[i].n;
    }
}

typedef struct expander {
    const vlm_plan *plan;
    const char *placeholder[2]; /* image, video; NULL: none */
    size_t next[2], end[2];     /* items of the plan: images, then videos */
} expander;

const char *vengine_placeholder(const vlm_context *c, bool video) {
    const vlm_processor_type *type = c->processor_type;
    return type->placeholder ? type->placeholder(c->processor, video) : NULL;
}

/* plan: NULL while places are only counted. */
static expander expander_for(const vlm_context *c, const vlm_input *in, const vlm_plan *plan) {
    expander e = { .plan = plan, .next = { 0, in->n_images } };
    e.end[0] = in->n_images;
    e.end[1] = in->n_images + in->n_videos;
    for (int k = 0; k < 2; k++) e.placeholder[k] = vengine_placeholder(c, k == 1);
    return e;
}

/* Whether text begins with a placeholder, in which "%d" stands for a number. */
static bool matches(const char *text, size_t n, const char *placeholder, size_t *used, size_t *number) {
    size_t at = 0;
    *number = 0;
    for (const char *p = placeholder; *p; p++) {
        if (p[0] == '%' && p[1] == 'd') {
            size_t begin = at;
            for (; at < n && at < begin + 9 && text[at] >= '0' && text[at] <= '9'; at++)
                *number = 10 * *number + (size_t)(text[at] - '0');
            if (at == begin) return false;
            p++;
        } else if (at == n || text[at++] != *p) {
            return false;
        }
    }
    *used = at;
    return true;
}

typedef struct place {
    int kind;        /* 0: of an image, 1: of a video, -1: there is none */
    size_t at, n;    /* bytes of the text */
    size_t number;   /* that it names; 0: none */
} place;

/* First placeholder in text[0..n), in one pass: the text may hold any number of them. */
static place find_place(const expander *e, const char *text, size_t n) {
    place found = { .kind = -1, .at = n };
    for (size_t at = 0; at < n; at++)
        for (int k = 0; k < 2; k++) {
            const char *placeholder = e->placeholder[k];
            if (placeholder && matches(text + at, n - at, placeholder, &found.n, &found.number) && found.n) {
                found.kind = k;
                found.at = at;
                return found;
            }
        }
    return found;
}

/* Every medium has a place and every place a medium, numbered ones in their order. */
static vlm_status check_places(const expander *e, const vtext_span *spans, size_t n_spans, vlm_error *err) {
    size_t places[2] = { 0 };
    for (size_t i = 0; i < n_spans; i++) {
        const char *text = spans[i].p;
        size_t n = spans[i].user ? 0 : spans[i].n;
        for (place p; (p = find_place(e, text, n)).kind >= 0; text += p.at + p.n, n -= p.at + p.n)
            if (++places[p.kind] != p.number && p.number)
                return vcore_fail(err, VLM_ERR_MEDIA_COUNT, "the prompt names %s %zu in place %zu: places are numbered in order",
                                  p.kind ? "video" : "image", p.number, places[p.kind]);
    }
    for (int k = 0; k < 2; k++) {
        size_t given = e->end[k] - e->next[k];
        const char *placeholder = e->placeholder[k] ? e->placeholder[k] : "none";
        if (places[k] != given)
            return vcore_fail(err, VLM_ERR_MEDIA_COUNT, "the prompt has %zu %s for %s (%s), but %zu %s given",
                              places[k], places[k] == 1 ? "place" : "places", k ? "videos" : "images", placeholder,
                              given, given == 1 ? "is" : "are");
    }
    return VLM_OK;
}

static vlm_status expand_span(vengine_prompt *p, expander *e, const vtext_span *span, vlm_error *err) {
    const char *text = span->p;
    size_t n = span->n;
    for (place at; !span->user && (at = find_place(e, text, n)).kind >= 0;) {
        const char *expansion = e->plan->items[e->next[at.kind]++].expansion;
        VTRY(append(p, text, at.at, false, err));
        VTRY(append(p, expansion, strlen(expansion), false, err));
        text += at.at + at.n;
        n -= at.at + at.n;
    }
    return append(p, text, n, span->user, err);
}

/* A template that prints the BOS itself: no second one comes before it. */
static bool begins_with_bos(const vtext_rendered *r, const vlm_tokenizer *t) {
    vcore_str bos;
    return r->n_spans && !r->spans[0].user && vtext_named_token(t, "bos_token", &bos) && bos.n
           && r->spans[0].n >= bos.n && !memcmp(r->text, bos.p, bos.n);
}

vlm_status vengine_prompt_begin(vengine_prompt *out, const vlm_context *c, const vlm_input *in, vlm_error *err) {
    *out = (vengine_prompt) { .add_special = c->processor_type->add_special_tokens };
    if (in->raw) return VLM_OK; /* its processor may add places */
    VTRY(render(&out->rendered, c, in, err));
    if (begins_with_bos(&out->rendered, c->tokenizer)) out->add_special = false;
    expander e = expander_for(c, in, NULL);
    return check_places(&e, out->rendered.spans, out->rendered.n_spans, err);
}

vlm_status vengine_prompt_expand(vengine_prompt *p, const vlm_context *c, const vlm_input *in, vlm_plan *plan,
                                 vlm_error *err) {
    expander e = expander_for(c, in, plan);
    vtext_span raw = { .p = in->raw };
    const vtext_span *spans = in->raw ? &raw : p->rendered.spans;
    size_t n = in->raw ? 1 : p->rendered.n_spans;
    if (in->raw) {
        if (c->processor_type->raw_prompt) raw.p = c->processor_type->raw_prompt(c->processor, plan, raw.p);
        if (!raw.p) return vcore_no_memory(err, "prompt");
        raw.n = strlen(raw.p);
        VTRY(check_places(&e, spans, n, err));
    }
    for (size_t i = 0; i < n; i++) VTRY(expand_span(p, &e, &spans[i], err));
    settle_spans(p);
    return VLM_OK;
}
