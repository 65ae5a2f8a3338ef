/* SPDX-License-Identifier: MIT */
/* Messages as a chat template gets them: which message media belong to and where its format puts them. Owns the
 * JSON of "messages" and which bytes of its strings are the library's; rendering and counting are prompt.c's. */
#include "engine/engine.h"

#include <stdio.h>

/* One message, from either kind of input. */
typedef struct message {
    vcore_str role;
    const vlm_json *members; /* as the caller wrote it; NULL: role and text alone */
    const vlm_json *parts;   /* its content, an array; NULL: text */
    vcore_str text;
    size_t loose[2];         /* images, videos that no part shows: the format says where they go */
    size_t shown[2];         /* by its parts */
} message;

typedef struct writer {
    vcore_buf *b;
    vcore_buf text;    /* of the content under way */
    vcore_buf control; /* "[message,begin,end],...": pieces of content strings that are template text */
    const vlm_message_format *format;
    size_t index;      /* of the message */
    size_t images;     /* that have a place so far */
} writer;

/* ---- parts ----------------------------------------------------------------------------------------------------- */

bool vengine_part_is(vcore_str type, const char *kind) {
    static const char input[] = "input_";
    if (type.n > sizeof input - 1 && !memcmp(type.p, input, sizeof input - 1))
        type = (vcore_str) { type.p + sizeof input - 1, type.n - (sizeof input - 1) };
    return type.n >= strlen(kind) && !memcmp(type.p, kind, strlen(kind));
}

/* 0: an image, 1: a video, -1: text, which is in *text. */
static vlm_status part_kind(int *kind, vcore_str *text, const vlm_json *part, vlm_error *err) {
    vcore_str type;
    if (!vcore_json_string(vcore_json_get(part, "type"), &type))
        return vcore_fail(err, VLM_ERR_FORMAT, "messages: a content part has no type");
    *kind = vengine_part_is(type, "image") ? 0 : vengine_part_is(type, "video") ? 1 : -1;
    if (*kind >= 0 || vcore_json_string(vcore_json_get(part, "text"), text)
        || vcore_json_string(vcore_json_get(part, "content"), text))
        return VLM_OK;
    return vcore_fail(err, VLM_ERR_UNSUPPORTED, "messages: content part of type '%.*s'",
                      (int)(type.n < 40 ? type.n : 40), type.p);
}

static vlm_status count_parts(message *m, vlm_error *err) {
    for (size_t i = 0; i < vcore_json_count(m->parts); i++) {
        int kind;
        vcore_str text;
        VTRY(part_kind(&kind, &text, vcore_json_at(m->parts, i), err));
        if (kind >= 0) m->shown[kind]++;
    }
    return VLM_OK;
}

/* ---- content as a list of parts ----------------------------------------------------------------------------------- */

static void put_media(writer *w, size_t n, const char *type) {
    for (size_t i = 0; type && i < n; i++) {
        vcore_json_open(w->b, NULL, '{');
        vcore_json_put_text(w->b, "type", type);
        vcore_json_close(w->b, '}');
    }
}

static void put_text(writer *w, vcore_str text) {
    vcore_json_open(w->b, NULL, '{');
    vcore_json_put_text(w->b, "type", "text");
    vcore_json_put_str(w->b, "text", text);
    vcore_json_close(w->b, '}');
}

static vlm_status put_parts(writer *w, const message *m, vlm_error *err) {
    const char *types[2] = { w->format->content == VLM_CONTENT_PARTS ? w->format->image : "image", "video" };
    if (!m->parts) put_text(w, m->text);
    for (size_t i = 0; i < vcore_json_count(m->parts); i++) {
        int kind;
        vcore_str text;
        VTRY(part_kind(&kind, &text, vcore_json_at(m->parts, i), err));
        if (kind < 0)
            put_text(w, text);
        else
            put_media(w, 1, types[kind]);
    }
    return VLM_OK;
}

/* Loose media stand behind those of the same kind that the message shows itself: that is their order. */
static vlm_status content_parts(writer *w, const message *m, vlm_error *err) {
    const char *type = w->format->content == VLM_CONTENT_PARTS ? w->format->image : "image";
    bool video = m->loose[1] || m->shown[1];
    bool images_first = !m->shown[0] && (!w->format->behind || video), videos_first = !m->shown[1];
    vcore_json_open(w->b, "content", '[');
    if (images_first) put_media(w, m->loose[0], type);
    if (videos_first) put_media(w, m->loose[1], "video");
    VTRY(put_parts(w, m, err));
    if (!images_first) put_media(w, m->loose[0], type);
    if (!videos_first) put_media(w, m->loose[1], "video");
    vcore_json_close(w->b, ']');
    w->images += m->loose[0] + m->shown[0];
    return VLM_OK;
}

/* ---- content as a string ------------------------------------------------------------------------------------------ */

/* What stands for the next n images, marked as the template's: the same characters typed by a user are text. */
static void put_tokens(writer *w, size_t n) {
    const char *token = w->format->image, *number = token ? strstr(token, "%d") : NULL;
    size_t begin = w->text.n;
    if (!token || !n) return;
    for (size_t i = 0; i < n; i++) {
        w->images++;
        if (number)
            vcore_buf_printf(&w->text, "%.*s%zu%s", (int)(number - token), token, w->images, number + 2);
        else
            vcore_buf_puts(&w->text, token);
    }
    vcore_buf_printf(&w->control, "%s[%zu,%zu,%zu]", w->control.n ? "," : "", w->index, begin, w->text.n);
}

/* Texts of a message without images are kept apart by a blank; around images they stand as they are. */
static void add_words(writer *w, const message *m, vcore_str text) {
    bool around = m->shown[0] && w->format->image;
    if (text.n && w->text.n && !around) vcore_buf_puts(&w->text, " ");
    vcore_buf_add(&w->text, text.p, text.n);
}

static vlm_status add_shown(writer *w, const message *m, vlm_error *err) {
    bool together = w->format->together;
    size_t n = together ? m->shown[0] + m->loose[0] : 1;
    for (size_t i = 0; i < vcore_json_count(m->parts); i++) {
        int kind;
        vcore_str text;
        VTRY(part_kind(&kind, &text, vcore_json_at(m->parts, i), err));
        if (kind < 0) add_words(w, m, text);
        if (kind != 0) continue;
        put_tokens(w, n);
        if (together) n = 0;
    }
    return VLM_OK;
}

static vlm_status content_text(writer *w, const message *m, vlm_error *err) {
    size_t loose = w->format->together && m->shown[0] ? 0 : m->loose[0];
    bool first = !m->shown[0] && !w->format->behind;
    w->text.n = 0;
    if (first) put_tokens(w, loose);
    if (m->parts)
        VTRY(add_shown(w, m, err));
    else
        vcore_buf_add(&w->text, m->text.p, m->text.n);
    if (!first) put_tokens(w, loose);
    w->b->failed |= w->text.failed;
    if (!w->text.failed) vcore_json_put_str(w->b, "content", (vcore_str) { w->text.n ? w->text.p : "", w->text.n });
    return VLM_OK;
}

/* ---- messages ----------------------------------------------------------------------------------------------------- */

static bool is_role(const message *m, const char *role) {
    return vcore_str_eq(m->role, vcore_str_of(role));
}

static bool has_media(const message *m) {
    return m->loose[0] || m->loose[1] || m->shown[0] || m->shown[1];
}

/* What tools answered and what called them: their strings stay strings, whatever the format. */
static bool is_of_tools(const message *m) {
    return is_role(m, "tool") || vcore_json_get(m->members, "tool_calls") || vcore_json_get(m->members, "tool_call_id");
}

static vlm_status put_content(writer *w, const message *m, vlm_error *err) {
    const vlm_message_format *f = w->format;
    bool text = f->content == VLM_CONTENT_TEXT && !(f->video_parts && (m->loose[1] || m->shown[1]));
    if (is_of_tools(m) && !m->parts && !has_media(m)) text = true;
    if (f->assistant_text && is_role(m, "assistant") && !has_media(m)) text = true;
    return text ? content_text(w, m, err) : content_parts(w, m, err);
}

/* OpenAI's clients send arguments as text that holds JSON; templates print the object. What is no JSON is none, as in
 * mlx-vlm. */
static vlm_status put_arguments(writer *w, vcore_str text, vlm_error *err) {
    vcore_json_doc *doc = NULL;
    vlm_status status = vcore_json_parse(&doc, text.p, text.n, "arguments", NULL);
    if (status == VLM_ERR_MEMORY) return vcore_no_memory(err, "messages");
    if (status >= 0)
        vcore_json_put(w->b, NULL, vcore_json_root(doc));
    else
        vcore_json_put_raw(w->b, NULL, "{}");
    vcore_json_free(doc);
    return VLM_OK;
}

/* v as it is, but for what stands below a key in it. */
static vlm_status put_calls(writer *w, const vlm_json *v, const char *const *keys, vlm_error *err) {
    vcore_str text;
    if (!*keys && vcore_json_string(v, &text)) return put_arguments(w, text, err);
    bool array = vcore_json_kind_of(v) == VCORE_JSON_ARRAY;
    if (!*keys || (!array && vcore_json_kind_of(v) != VCORE_JSON_OBJECT)) {
        vcore_json_put(w->b, NULL, v);
        return VLM_OK;
    }
    vcore_json_open(w->b, NULL, array ? '[' : '{');
    for (size_t i = 0; array && i < vcore_json_count(v); i++)
        VTRY(put_calls(w, vcore_json_at(v, i), keys, err));
    for (vcore_json_iter it = { 0 }; !array && vcore_json_next(v, &it);) {
        vcore_json_key(w->b, it.key);
        if (vcore_str_eq(it.key, vcore_str_of(*keys)))
            VTRY(put_calls(w, it.value, keys + 1, err));
        else
            vcore_json_put(w->b, NULL, it.value);
    }
    vcore_json_close(w->b, array ? ']' : '}');
    return VLM_OK;
}

static vlm_status put_member(writer *w, vcore_str key, const vlm_json *v, vlm_error *err) {
    static const char *const inside[] = { "function", "arguments", NULL };
    vcore_json_key(w->b, key);
    if (vcore_str_eq(key, vcore_str_of("tool_calls"))) return put_calls(w, v, inside, err);
    vcore_json_put(w->b, NULL, v);
    return VLM_OK;
}

static vlm_status put_message(writer *w, const message *m, vlm_error *err) {
    bool done = false;
    vcore_json_open(w->b, NULL, '{');
    if (!m->members) vcore_json_put_str(w->b, "role", m->role);
    for (vcore_json_iter it = { 0 }; m->members && vcore_json_next(m->members, &it);) {
        if (vcore_str_eq(it.key, vcore_str_of("content"))) {
            if (!done) VTRY(put_content(w, m, err));
            done = true;
            continue;
        }
        VTRY(put_member(w, it.key, it.value, err));
    }
    /* Templates that ask for the content of a message that only calls tools find it empty. */
    if (!done && (!m->members || has_media(m) || vcore_json_get(m->members, "tool_calls")))
        VTRY(put_content(w, m, err));
    vcore_json_close(w->b, '}');
    w->index++;
    return VLM_OK;
}

/* ---- which message loose media belong to ------------------------------------------------------------------------- */

/* The last one that a user said; a later one that has media of its own, because media stay in their order; the last
 * one where nobody said anything. n: none. */
static size_t owner_of_loose(const message *m, size_t n) {
    static const char *const others[] = { "system", "developer", "assistant", "tool" };
    size_t owner = n ? n - 1 : 0;
    for (size_t i = n; i-- > 0;) {
        bool user = true;
        for (size_t k = 0; k < sizeof others / sizeof *others; k++) user &= !is_role(&m[i], others[k]);
        if (user || has_media(&m[i])) return i;
    }
    return owner;
}

static vlm_status read_message(message *m, const vlm_json *v, size_t i, vlm_error *err) {
    const vlm_json *content = vcore_json_get(v, "content");
    vcore_json_kind kind = vcore_json_kind_of(content);
    *m = (message) { .members = v, .role = { "", 0 }, .text = { "", 0 } };
    vcore_json_string(vcore_json_get(v, "role"), &m->role);
    if (kind == VCORE_JSON_ARRAY)
        m->parts = content;
    else if (!vcore_json_string(content, &m->text) && kind != VCORE_JSON_NULL)
        return vcore_fail(err, VLM_ERR_FORMAT, "messages[%zu]: content: must be a string or an array, is %s", i,
                          vcore_json_kind_name(content));
    return count_parts(m, err);
}

static vlm_status put_all(writer *w, message *m, size_t n, const vlm_input *in, vlm_error *err) {
    size_t given[2] = { in->n_images, in->n_videos }, owner = owner_of_loose(m, n);
    for (int k = 0; k < 2 && n; k++) {
        size_t have = 0;
        for (size_t i = 0; i < n; i++) have += m[i].loose[k] + m[i].shown[k];
        if (given[k] > have) m[owner].loose[k] += given[k] - have;
    }
    vcore_json_open(w->b, "messages", '[');
    for (size_t i = 0; i < n; i++) VTRY(put_message(w, &m[i], err));
    vcore_json_close(w->b, ']');
    vcore_json_open(w->b, "_control", '[');
    if (w->control.n) vcore_buf_add(w->b, w->control.p, w->control.n);
    vcore_json_close(w->b, ']');
    w->b->failed |= w->control.failed;
    return w->b->failed ? vcore_no_memory(err, "messages") : VLM_OK;
}

static vlm_status read_all(message *m, size_t n, const vlm_input *in, const vlm_json *messages,
                           vlm_error *err) {
    for (size_t i = 0; i < n; i++) {
        const vengine_message *said = messages ? NULL : &in->messages[i];
        if (messages)
            VTRY(read_message(&m[i], vcore_json_at(messages, i), i, err));
        else
            m[i] = (message) { .role = vcore_str_of(said->role), .text = vcore_str_of(said->text),
                               .loose = { said->images, said->videos } };
    }
    return VLM_OK;
}

vlm_status vengine_messages_write(vcore_buf *b, const vlm_input *in, const vlm_message_format *format,
                                  vlm_error *err) {
    vcore_json_doc *doc = NULL;
    if (in->messages_json)
        VTRY(vcore_json_parse(&doc, in->messages_json, strlen(in->messages_json), "messages", err));
    const vlm_json *messages = doc ? vcore_json_root(doc) : NULL;
    size_t n = doc ? vcore_json_count(messages) : in->n_messages;
    writer w = { .b = b, .format = format };
    message *m = vcore_alloc_array(n + 1, sizeof *m);
    vlm_status status = m ? read_all(m, n, in, messages, err) : vcore_no_memory(err, "messages");
    if (status >= 0) status = put_all(&w, m, n, in, err);
    vcore_buf_free(&w.text);
    vcore_buf_free(&w.control);
    vcore_free(m);
    vcore_json_free(doc);
    return status;
}
