/* SPDX-License-Identifier: MIT */
/* Prompt assembly: messages -> chat template -> spans -> media expansions in place. The only part that
 * knows both the processor's placeholders and the text; where a piece came from is carried through, so
 * that what a user types can never become a media slot. */
#include "engine/engine.h"

void vengine_prompt_free(vengine_prompt *p) {
    vcore_buf_free(&p->text);
    vcore_free(p->spans);
    *p = (vengine_prompt) { 0 };
}

/* ---- messages as the template's JSON variables --------------------------------------------------------- */

static void add_media_parts(vcore_buf *b, size_t n, const char *type) {
    for (size_t i = 0; i < n; i++) {
        vcore_json_open(b, NULL, '{');
        vcore_json_put_text(b, "type", type);
        vcore_json_close(b, '}');
    }
}

static void add_text_part(vcore_buf *b, vcore_str text) {
    vcore_json_open(b, NULL, '{');
    vcore_json_put_text(b, "type", "text");
    vcore_json_put_str(b, "text", text);
    vcore_json_close(b, '}');
}

/* Media come before the text of their message. */
static void add_messages(vcore_buf *b, const vlm_input *in) {
    size_t loose_images = in->n_images - in->claimed_images;
    size_t loose_videos = in->n_videos - in->claimed_videos;
    for (size_t i = 0; i < in->n_messages; i++) {
        const vengine_message *m = &in->messages[i];
        bool last = i + 1 == in->n_messages;
        vcore_json_open(b, NULL, '{');
        vcore_json_put_text(b, "role", m->role);
        vcore_json_open(b, "content", '[');
        add_media_parts(b, m->images + (last ? loose_images : 0), "image");
        add_media_parts(b, m->videos + (last ? loose_videos : 0), "video");
        add_text_part(b, vcore_str_of(m->text));
        vcore_json_close(b, ']');
        vcore_json_close(b, '}');
    }
}

/* A content part of an OpenAI message as templates know it: image_url -> image, video_url -> video. */
static vlm_status add_part(vcore_buf *b, const vlm_json *part, vlm_error *err) {
    vcore_str type, text;
    if (!vcore_json_string(vcore_json_get(part, "type"), &type))
        return vcore_fail(err, VLM_ERR_FORMAT, "messages: a content part has no type");
    if (type.n >= 5 && !memcmp(type.p, "image", 5))
        add_media_parts(b, 1, "image");
    else if (type.n >= 5 && !memcmp(type.p, "video", 5))
        add_media_parts(b, 1, "video");
    else if (vcore_json_string(vcore_json_get(part, "text"), &text))
        add_text_part(b, text);
    else
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "messages: content part of type '%.*s'",
                          (int)(type.n < 40 ? type.n : 40), type.p);
    return VLM_OK;
}

static vlm_status add_content(vcore_buf *b, const vlm_json *content, vlm_error *err) {
    vcore_str text;
    vcore_json_open(b, "content", '[');
    if (vcore_json_string(content, &text)) add_text_part(b, text);
    for (size_t i = 0; i < vcore_json_count(content); i++)
        VTRY(add_part(b, vcore_json_at(content, i), err));
    vcore_json_close(b, ']');
    return VLM_OK;
}

/* The caller's chat with every content turned into a list of parts; other keys pass through. */
static vlm_status add_chat(vcore_buf *b, const char *json, vlm_error *err) {
    vcore_json_doc *doc;
    VTRY(vcore_json_parse(&doc, json, strlen(json), "messages", err));
    const vlm_json *messages = vcore_json_root(doc);
    vlm_status status = VLM_OK;
    for (size_t i = 0; i < vcore_json_count(messages) && status >= 0; i++) {
        vcore_json_iter it = { 0 };
        vcore_json_open(b, NULL, '{');
        while (status >= 0 && vcore_json_next(vcore_json_at(messages, i), &it)) {
            if (vcore_str_eq(it.key, vcore_str_of("content"))) {
                status = add_content(b, it.value, err);
                continue;
            }
            vcore_json_key(b, it.key);
            vcore_json_put(b, NULL, it.value);
        }
        vcore_json_close(b, '}');
    }
    vcore_json_free(doc);
    return status;
}

static bool continues(const vlm_input *in) {
    for (size_t i = 0; i < in->n_variables; i++)
        if (!strcmp(in->variable_names[i], "continue_final_message")) return true;
    return false;
}

/* {"messages": [...], "add_generation_prompt": true, "bos_token": ..., further variables}. */
static vlm_status template_variables(vcore_buf *b, const vlm_context *c, const vlm_input *in,
                                     vlm_error *err) {
    static const char *const named[] = { "bos_token", "eos_token", "unk_token", "pad_token",
                                         "sep_token", "cls_token", "mask_token" };
    vcore_json_open(b, NULL, '{');
    vcore_json_open(b, "messages", '[');
    if (in->messages_json)
        VTRY(add_chat(b, in->messages_json, err));
    else
        add_messages(b, in);
    vcore_json_close(b, ']');
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

/* First placeholder in text[0..n); kind 0 or 1, or -1. */
static int find_placeholder(const expander *e, const char *text, size_t n, size_t *at) {
    int kind = -1;
    *at = n;
    for (int k = 0; k < 2; k++) {
        if (!e->placeholder[k]) continue;
        const char *hit = memmem(text, *at, e->placeholder[k], strlen(e->placeholder[k]));
        if (!hit) continue;
        *at = (size_t)(hit - text);
        kind = k;
    }
    return kind;
}

static vlm_status expand_span(vengine_prompt *p, expander *e, const char *text, size_t n,
                              vlm_error *err) {
    for (;;) {
        size_t at;
        int kind = find_placeholder(e, text, n, &at);
        VTRY(append(p, text, at, false, err));
        if (kind < 0) return VLM_OK;
        if (e->next[kind] == e->end[kind])
            return vcore_fail(err, VLM_ERR_MEDIA_COUNT,
                              "the prompt has more places for %s (%s) than there are",
                              kind ? "videos" : "images", e->placeholder[kind]);
        const char *expansion = e->plan->items[e->next[kind]++].expansion;
        VTRY(append(p, expansion, strlen(expansion), false, err));
        size_t used = at + strlen(e->placeholder[kind]);
        text += used;
        n -= used;
    }
}

static vlm_status check_all_used(const expander *e, vlm_error *err) {
    for (int k = 0; k < 2; k++)
        if (e->next[k] != e->end[k])
            return vcore_fail(err, VLM_ERR_MEDIA_COUNT,
                              "%zu %s given, but the prompt has no place (%s) for %zu of them",
                              k ? e->end[1] - e->end[0] : e->end[0], k ? "videos" : "images",
                              e->placeholder[k] ? e->placeholder[k] : "none", e->end[k] - e->next[k]);
    return VLM_OK;
}

const char *vengine_placeholder(const vlm_context *c, bool video) {
    const vlm_processor_type *type = c->processor_type;
    return type->placeholder ? type->placeholder(c->processor, video) : NULL;
}

static expander expander_for(const vlm_context *c, const vlm_plan *plan) {
    expander e = { .plan = plan };
    for (int k = 0; k < 2; k++) e.placeholder[k] = vengine_placeholder(c, k == 1);
    size_t images = 0;
    while (images < plan->n && !plan->media[images].video) images++;
    e.end[0] = e.next[1] = images;
    e.end[1] = plan->n;
    return e;
}

/* A template that prints the BOS itself: no second one comes before it. */
static bool begins_with_bos(const vtext_rendered *r, const vlm_tokenizer *t) {
    vcore_str bos;
    return r->n_spans && !r->spans[0].user && vtext_named_token(t, "bos_token", &bos) && bos.n
           && r->spans[0].n >= bos.n && !memcmp(r->text, bos.p, bos.n);
}

vlm_status vengine_prompt_build(vengine_prompt *out, const vlm_context *c, const vlm_input *in,
                                vlm_plan *plan, vlm_error *err) {
    *out = (vengine_prompt) { .add_special = c->processor_type->add_special_tokens };
    expander e = expander_for(c, plan);
    vlm_status status = VLM_OK;
    if (in->raw) {
        const char *text = in->raw;
        if (c->processor_type->raw_prompt)
            text = c->processor_type->raw_prompt(c->processor, plan, text);
        if (!text) return vcore_no_memory(err, "prompt");
        status = expand_span(out, &e, text, strlen(text), err);
    } else {
        vtext_rendered rendered = { 0 };
        VTRY(render(&rendered, c, in, err));
        if (begins_with_bos(&rendered, c->tokenizer)) out->add_special = false;
        for (size_t i = 0; i < rendered.n_spans && status >= 0; i++) {
            const vtext_span *span = &rendered.spans[i];
            status = span->user ? append(out, span->p, span->n, true, err)
                                : expand_span(out, &e, span->p, span->n, err);
        }
        vtext_rendered_free(&rendered);
    }
    if (status >= 0) status = check_all_used(&e, err);
    if (status < 0) {
        vengine_prompt_free(out);
        return status;
    }
    settle_spans(out);
    return VLM_OK;
}
