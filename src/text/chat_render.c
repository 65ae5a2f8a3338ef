/* SPDX-License-Identifier: MIT */
/* One render of a chat template: the variables it gets and whose text they are, what the caller
 * asks for beside them, the final message that is gone on with, and the spans of what comes out. */
#include "text/jinja/ast.h"

#include <time.h>

/* ---- variables ------------------------------------------------------------------------------- */

/* Whose text the strings of a JSON value are. Messages, tools and documents come from people and
 * models: in them only words of letters, digits, - and _ are the template's to build its tokens
 * with (roles, types, names), and of what a message or content part says not even those. All other
 * variables are the caller's own, as trusted as the template. */
typedef enum origin { FROM_TEMPLATE, IN_DATA, IN_CONTENT } origin;

static origin origin_of_member(origin object, vcore_str key) {
    bool content =
        vcore_str_eq(key, vcore_str_of("content")) || vcore_str_eq(key, vcore_str_of("text"));
    return object == FROM_TEMPLATE ? FROM_TEMPLATE : content ? IN_CONTENT : IN_DATA;
}

static bool is_word(vcore_str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z') && c != '_'
            && c != '-')
            return false;
    }
    return true;
}

static bool copy_string(j_run *r, vcore_str s, origin from, j_value *out) {
    j_text t = { 0 };
    bool user = from == IN_CONTENT || (from == IN_DATA && !is_word(s));
    if (!vtext_j_work(r, s.n) || !vtext_j_add_bytes(r, &t, s.p, s.n, user)) return false;
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}

static bool to_value(j_run *r, const vcore_json *v, origin from, j_value *out);

static bool to_dict(j_run *r, const vcore_json *v, origin from, j_value *out) {
    if (!vtext_j_new_dict(r, out)) return false;
    for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it);) {
        j_value key, value;
        if (!copy_string(r, it.key, from == IN_CONTENT ? IN_DATA : from, &key)
            || !to_value(r, it.value, origin_of_member(from, it.key), &value)
            || !vtext_j_dict_put(r, out->u.dict, key, value))
            return false;
    }
    return true;
}

static bool to_value(j_run *r, const vcore_json *v, origin from, j_value *out) {
    vcore_str s;
    *out = vtext_j_none();
    switch (vcore_json_kind_of(v)) {
    case VCORE_JSON_NULL: return true;
    case VCORE_JSON_BOOL: out->kind = J_BOOL; return vcore_json_bool(v, &out->u.b);
    case VCORE_JSON_INT: out->kind = J_INT; return vcore_json_int(v, &out->u.i);
    case VCORE_JSON_REAL: out->kind = J_FLOAT; return vcore_json_real(v, &out->u.f);
    case VCORE_JSON_STRING: return vcore_json_string(v, &s) && copy_string(r, s, from, out);
    case VCORE_JSON_OBJECT: return to_dict(r, v, from, out);
    case VCORE_JSON_ARRAY: break;
    }
    if (!vtext_j_new_list(r, J_LIST, out)) return false;
    for (size_t i = 0; i < vcore_json_count(v); i++) {
        j_value item;
        if (!to_value(r, vcore_json_at(v, i), from, &item) || !vtext_j_push(r, out->u.list, item))
            return false;
    }
    return true;
}

/* ---- what a render is asked for -------------------------------------------------------------- */

/* Members of the variables that steer the render and that no template sees: apply_chat_template's
 * arguments, and with an underscore the library's own. */
typedef struct request {
    vcore_str chat_template;   /* a name, or a template's text; p NULL: none */
    const char *continued;     /* the member of the last message to go on with; NULL: none */
    const vcore_json *trusted; /* roles whose messages are the template's */
    const vcore_json *control; /* [message, begin, end]: bytes of its content that are, in order */
    bool tools, prompt;        /* given, asked for */
} request;

static vlm_status wrong_kind(vlm_error *err, const char *name, const char *must,
                             const vcore_json *v) {
    return vcore_fail_field(err, VLM_ERR_ARGUMENT, "template variables", name, "must be %s, is %s",
                            must, vcore_json_kind_name(v));
}

static vlm_status read_request(request *q, j_run *r, const vcore_json *object, vlm_error *err) {
    const vcore_json *v = vcore_json_get(object, "chat_template");
    vcore_str s;
    bool yes = false;
    if (vcore_json_kind_of(v) != VCORE_JSON_NULL && !vcore_json_string(v, &q->chat_template))
        return wrong_kind(err, "chat_template", "a string", v);
    v = vcore_json_get(object, "continue_final_message");
    if (vcore_json_string(v, &s))
        q->continued = s.n ? s.p : NULL;
    else if (vcore_json_bool(v, &yes))
        q->continued = yes ? "content" : NULL;
    else if (vcore_json_kind_of(v) != VCORE_JSON_NULL)
        return wrong_kind(err, "continue_final_message", "a boolean or a string", v);
    v = vcore_json_get(object, "_trusted_roles");
    if (v && vcore_json_kind_of(v) != VCORE_JSON_ARRAY)
        return wrong_kind(err, "_trusted_roles", "an array of strings", v);
    if (v) q->trusted = v;
    v = vcore_json_get(object, "_control");
    if (v && vcore_json_kind_of(v) != VCORE_JSON_ARRAY)
        return wrong_kind(err, "_control", "an array", v);
    if (v) q->control = v;
    v = vcore_json_get(object, "_now");
    if (v && (vcore_json_kind_of(v) != VCORE_JSON_INT || !vcore_json_int(v, &r->now)))
        return wrong_kind(err, "_now", "an integer", v);
    if ((v = vcore_json_get(object, "tools"))) q->tools = vcore_json_kind_of(v) != VCORE_JSON_NULL;
    if (vcore_json_bool(vcore_json_get(object, "add_generation_prompt"), &yes)) q->prompt = yes;
    return VLM_OK;
}

static bool is_request(vcore_str name) {
    static const char *const names[] = { "chat_template", "continue_final_message",
                                         "_trusted_roles", "_control", "_now" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (vcore_str_eq(name, vcore_str_of(names[i]))) return true;
    return false;
}

static bool is_trusted(const request *q, const vcore_json *message) {
    vcore_str role, s;
    if (!q->trusted || !vcore_json_string(vcore_json_get(message, "role"), &role)) return false;
    for (size_t i = 0; i < vcore_json_count(q->trusted); i++)
        if (vcore_json_string(vcore_json_at(q->trusted, i), &s) && vcore_str_eq(s, role))
            return true;
    return false;
}

/* ---- variables ------------------------------------------------------------------------------- */

/* The i-th piece of a content string that is the template's, if it is one of this message's. */
static bool control_piece(const request *q, size_t i, size_t message, size_t *begin, size_t *end) {
    const vcore_json *piece = vcore_json_at(q->control, i);
    int64_t at[3];
    for (size_t k = 0; k < 3; k++)
        if (!vcore_json_int(vcore_json_at(piece, k), &at[k]) || at[k] < 0) return false;
    *begin = (size_t)at[1];
    *end = (size_t)at[2];
    return (size_t)at[0] == message;
}

static bool is_cut(j_string s, size_t at) {
    return at < s.n && ((unsigned char)s.p[at] & 0xC0) == 0x80;
}

/* What somebody put into a message's content on the template's behalf (a placeholder) is the template's. */
static bool mark_control(j_run *r, const request *q, size_t message, size_t *next, j_value in) {
    const j_string name = J_LITERAL("content");
    j_value content;
    j_text t = { 0 };
    size_t done = 0, begin, end;
    if (!control_piece(q, *next, message, &begin, &end)) return true;
    if (in.kind != J_DICT || !vtext_j_get(in.u.dict, name, &content) || content.kind != J_STRING)
        return vtext_j_fail(r, "_control: message %zu has no content that is a string", message);
    const j_string s = content.u.s;
    for (; control_piece(q, *next, message, &begin, &end); ++*next, done = end) {
        if (begin < done || end < begin || end > s.n || is_cut(s, begin) || is_cut(s, end))
            return vtext_j_fail(r, "_control: bytes %zu to %zu are no piece of message %zu", begin, end, message);
        if (!vtext_j_add(r, &t, vtext_j_sub(s, done, begin))
            || !vtext_j_add_bytes(r, &t, s.p + begin, end - begin, false))
            return false;
    }
    return vtext_j_work(r, s.n) && vtext_j_add(r, &t, vtext_j_sub(s, done, s.n))
           && vtext_j_dict_put(r, in.u.dict, vtext_j_string(name), vtext_j_string(vtext_j_done(&t)));
}

static bool to_messages(j_run *r, const request *q, const vcore_json *v, j_value *out) {
    size_t next = 0;
    if (vcore_json_kind_of(v) != VCORE_JSON_ARRAY) return to_value(r, v, IN_DATA, out);
    if (!vtext_j_new_list(r, J_LIST, out)) return false;
    for (size_t i = 0; i < vcore_json_count(v); i++) {
        const vcore_json *message = vcore_json_at(v, i);
        j_value item;
        if (!to_value(r, message, is_trusted(q, message) ? FROM_TEMPLATE : IN_DATA, &item)
            || !mark_control(r, q, i, &next, item) || !vtext_j_push(r, out->u.list, item))
            return false;
    }
    if (next < vcore_json_count(q->control))
        return vtext_j_fail(r, "_control: entry %zu is not [message, begin, end], in order", next);
    return true;
}

static bool define(j_run *r, j_scope *scope, const request *q, vcore_str name,
                   const vcore_json *v) {
    j_value key, value;
    bool data =
        vcore_str_eq(name, vcore_str_of("tools")) || vcore_str_eq(name, vcore_str_of("documents"));
    if (is_request(name)) return true;
    if (!(vcore_str_eq(name, vcore_str_of("messages"))
              ? to_messages(r, q, v, &value)
              : to_value(r, v, data ? IN_DATA : FROM_TEMPLATE, &value)))
        return false;
    return copy_string(r, name, FROM_TEMPLATE, &key)
           && vtext_j_dict_put(r, &scope->vars, key, value);
}

static bool define_all(j_run *r, j_scope *scope, const request *q, const vcore_json *object) {
    for (vcore_json_iter it = { 0 }; vcore_json_next(object, &it);)
        if (!define(r, scope, q, it.key, it.value)) return false;
    return true;
}

/* What transformers always passes, said or not. */
static bool define_defaults(j_run *r, j_scope *scope, const request *q) {
    return define(r, scope, q, vcore_str_of("tools"), NULL)
           && define(r, scope, q, vcore_str_of("documents"), NULL)
           && vtext_j_dict_put(r, &scope->vars, vtext_j_string(J_LITERAL("add_generation_prompt")),
                               vtext_j_bool(false));
}

/* ---- continue_final_message ------------------------------------------------------------------ */

static const j_string tag = { "CONTINUE_FINAL_MESSAGE_TAG ", 27, NULL }; /* a blank at its end */

/* Puts the tag behind the last message's text, which comes back: of a list of parts, the last one's
 * with a text. */
static bool add_tag(j_run *r, j_scope *scope, const vtext_template *t, const char *field,
                    j_string *text) {
    j_value messages = { J_UNDEFINED, { 0 } }, v = messages;
    j_string name = { field, strlen(field), NULL }, key = name;
    size_t at;
    bool found = vtext_j_get(&scope->vars, J_LITERAL("messages"), &messages)
                 && messages.kind == J_LIST && messages.u.list->n > 0;
    if (found) v = messages.u.list->item[messages.u.list->n - 1];
    j_dict *in = found && v.kind == J_DICT ? v.u.dict : NULL;
    if (!in || !vtext_j_get(in, name, &v) || v.kind == J_NONE)
        return vtext_j_fail(r, "continue_final_message: the final message has no '%s' to continue",
                            field);
    if (!vtext_j_find(t->source, name, 0, &at))
        return vtext_j_fail(r, "continue_final_message: the template knows no '%s'", field);
    if (v.kind == J_LIST) {
        const j_list *parts = v.u.list;
        key = J_LITERAL("text");
        in = NULL;
        for (size_t i = parts->n; i-- > 0 && !in;)
            if (parts->item[i].kind == J_DICT && vtext_j_get(parts->item[i].u.dict, key, &v))
                in = parts->item[i].u.dict;
    }
    if (!in || v.kind != J_STRING)
        return vtext_j_fail(r, "continue_final_message: the final message has no text to continue");
    *text = v.u.s;
    return vtext_j_concat(r, v.u.s, tag, &v.u.s) && vtext_j_dict_put(r, in, vtext_j_string(key), v);
}

static bool is_users(const j_text *t, size_t begin, size_t n) {
    for (size_t i = begin; t->user && i < begin + n; i++)
        if (t->user[i]) return true;
    return false;
}

/* Ends the text where the last tag stands; where the template cut the blank behind it off, without
 * the white space before it. A tag that somebody typed is none. */
static bool cut_at_tag(j_run *r, j_text *t, j_string text) {
    j_string all = vtext_j_done(t), bare = vtext_j_sub(tag, 0, tag.n - 1);
    size_t at = 0, ignored;
    bool found = vtext_j_find(all, vtext_j_strip(text, NULL, 3), 0, &ignored);
    for (size_t end = all.n; found; end = at + bare.n - 1) {
        if (!vtext_j_rfind(r, vtext_j_sub(all, 0, end), bare, &at, &found)) return false;
        if (found && !is_users(t, at, bare.n)) break;
    }
    if (!found)
        return vtext_j_fail(r,
                            "continue_final_message: the final message does not appear in the text "
                            "as it is");
    bool whole = at + tag.n <= all.n && all.p[at + bare.n] == ' ';
    t->n = whole ? at : vtext_j_strip(vtext_j_sub(all, 0, at), NULL, 2).n;
    return true;
}

/* ---- render ---------------------------------------------------------------------------------- */

static size_t count_spans(const j_text *t) {
    size_t n = t->n > 0;
    for (size_t i = 1; t->user && i < t->n; i++) n += t->user[i] != t->user[i - 1];
    return n;
}

static void give_spans(const j_text *t, vtext_rendered *out) {
    for (size_t begin = 0; begin < t->n;) {
        size_t end = begin + 1;
        bool user = t->user && t->user[begin];
        while (end < t->n && (t->user && t->user[end]) == user) end++;
        out->spans[out->n_spans++] = (vtext_span) { out->text + begin, end - begin, user };
        begin = end;
    }
}

static vlm_status give(const j_run *r, const j_text *t, vtext_rendered *out, vlm_error *err) {
    size_t n = count_spans(t), blocks = r->generation.n / 2;
    out->text = vcore_strndup(t->p ? t->p : "", t->n);
    out->spans = n ? vcore_alloc_array(n, sizeof *out->spans) : NULL;
    out->generation = blocks ? vcore_alloc_array(blocks, sizeof *out->generation) : NULL;
    if (!out->text || (n && !out->spans) || (blocks && !out->generation)) {
        vtext_rendered_free(out);
        return vcore_no_memory(err, "the text of a chat template");
    }
    out->n = t->n;
    give_spans(t, out);
    for (; out->n_generation < blocks; out->n_generation++) {
        const j_value *pair = &r->generation.item[2 * out->n_generation];
        out->generation[out->n_generation] =
            (vtext_block) { (size_t)pair[0].u.i, (size_t)pair[1].u.i };
    }
    return VLM_OK;
}

static bool run(j_run *r, const vtext_template *t, const request *q,
                const vcore_json *const *objects, size_t n_objects, j_text *text) {
    j_scope scope = { 0 };
    j_string last = { 0 };
    if (!define_defaults(r, &scope, q)) return false;
    for (size_t i = 0; i < n_objects; i++)
        if (!define_all(r, &scope, q, objects[i])) return false;
    if (q->continued && q->prompt)
        return vtext_j_fail_status(
            r, VLM_ERR_ARGUMENT,
            "continue_final_message and add_generation_prompt exclude each other");
    if (q->continued && !add_tag(r, &scope, t, q->continued, &last)) return false;
    return vtext_j_exec(r, &scope, t->body, text) && (!q->continued || cut_at_tag(r, text, last));
}

static vlm_status render_one(const vtext_template *t, j_run *r, const request *q,
                             const vcore_json *const *objects, size_t n_objects,
                             vtext_rendered *out, vlm_error *err) {
    j_text text = { 0 };
    r->name = t->name;
    r->root = &text;
    r->arena = vcore_arena_new();
    if (!r->arena) return vcore_no_memory(err, "rendering a chat template");
    bool done = run(r, t, q, objects, n_objects, &text);
    vlm_status status = done ? give(r, &text, out, err) : r->status;
    vcore_arena_free(r->arena);
    return status;
}

vlm_status vtext_template_render_objects(const vtext_template *t, const vcore_json *const *objects,
                                         size_t n_objects, const vlm_limits *limits,
                                         vtext_rendered *out, vlm_error *err) {
    vlm_limits l = vcore_limits(limits);
    j_run r = { .err = err, .memory = J_MEMORY, .now = (int64_t)time(NULL) };
    request q = { .tools = false };
    vtext_template *own = NULL;
    r.max_steps = l.template_steps;
    r.max_output = l.template_output < SIZE_MAX ? (size_t)l.template_output : SIZE_MAX;
    for (size_t i = 0; i < n_objects; i++) VTRY(read_request(&q, &r, objects[i], err));
    if (q.chat_template.p && memchr(q.chat_template.p, '{', q.chat_template.n))
        VTRY(
            vtext_template_parse(&own, q.chat_template.p, q.chat_template.n, "chat_template", err));
    else
        VTRY(vtext_template_choose(&t, t, q.chat_template, q.tools, err));
    vlm_status status = render_one(own ? own : t, &r, &q, objects, n_objects, out, err);
    vtext_template_free(own);
    return status;
}

vlm_status vtext_template_render(const vtext_template *t, const char *variables_json, size_t n,
                                 const vlm_limits *limits, vtext_rendered *out, vlm_error *err) {
    vcore_json_doc *doc;
    *out = (vtext_rendered) { 0 };
    VTRY(vcore_json_parse(&doc, variables_json, n, "template variables", err));
    const vcore_json *root = vcore_json_root(doc);
    vlm_status status = vcore_json_kind_of(root) == VCORE_JSON_OBJECT
                            ? vtext_template_render_objects(t, &root, 1, limits, out, err)
                            : vcore_fail(err, VLM_ERR_ARGUMENT,
                                         "template variables: must be an object, "
                                         "is %s",
                                         vcore_json_kind_name(root));
    vcore_json_free(doc);
    return status;
}

void vtext_rendered_free(vtext_rendered *r) {
    if (!r) return;
    vcore_free(r->text);
    vcore_free(r->spans);
    vcore_free(r->generation);
    *r = (vtext_rendered) { 0 };
}
