/* SPDX-License-Identifier: MIT */
/* Chat templates as the rest of the library uses them: where a checkpoint keeps its template, the
 * variables a render gets and whose text they are, and the spans of what comes out. The language is
 * jinja/'s. */
#include "text/jinja/ast.h"

#include <time.h>

/* ---- template -------------------------------------------------------------------------------- */

static vlm_status parse(vtext_template *t, const char *source, size_t n, vlm_error *err) {
    j_parser p = { .arena = t->arena, .name = t->name, .err = err };
    bool done = vtext_j_lex(&p, source, n) && vtext_j_parse(&p, &t->body);
    vcore_free(p.token);
    return done ? VLM_OK : p.status;
}

vlm_status vtext_template_parse(vtext_template **out, const char *source, size_t n,
                                const char *name, vlm_error *err) {
    *out = NULL;
    if (!vcore_utf8_valid(source, n))
        return vcore_fail_field(err, VLM_ERR_TEMPLATE, name, NULL, "the template is not UTF-8");
    vtext_template *t = vcore_alloc(sizeof *t);
    if (!t) return vcore_no_memory(err, "a chat template");
    t->name = vcore_strdup(name);
    t->arena = vcore_arena_new();
    vlm_status status =
        t->name && t->arena ? parse(t, source, n, err) : vcore_no_memory(err, "a chat template");
    if (status < 0)
        vtext_template_free(t);
    else
        *out = t;
    return status;
}

void vtext_template_free(vtext_template *t) {
    if (!t) return;
    vcore_arena_free(t->arena);
    vcore_free(t->name);
    vcore_free(t);
}

/* ---- where it lies --------------------------------------------------------------------------- */

/* Parses a template that a JSON file holds: a string, or a list of named ones of which "default"
 * counts. No template there is fine. */
static vlm_status parse_member(vtext_template **out, const vcore_json *v, const char *path,
                               const vlm_limits *limits, vlm_error *err) {
    vcore_str source;
    if (vcore_json_kind_of(v) == VCORE_JSON_ARRAY) {
        const vcore_json *list = v;
        v = NULL;
        for (size_t i = 0; i < vcore_json_count(list) && !v; i++) {
            const vcore_json *entry = vcore_json_at(list, i);
            vcore_str name;
            if (vcore_json_string(vcore_json_get(entry, "name"), &name)
                && vcore_str_eq(name, vcore_str_of("default")))
                v = vcore_json_get(entry, "template");
        }
    }
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (!vcore_json_string(v, &source))
        return vcore_fail_field(err, VLM_ERR_FORMAT, path, "chat_template",
                                "must be a string or a list, is %s", vcore_json_kind_name(v));
    if (source.n > limits->template_bytes)
        return vcore_fail_limit(err, path, "chat_template", limits->template_bytes, "bytes");
    return vtext_template_parse(out, source.p, source.n, path, err);
}

/* Of a JSON file that is read for its template alone. */
static vlm_status load_json(vtext_template **out, const char *path, const vio_source *from,
                            vlm_error *err) {
    vio_bytes text;
    vcore_json_doc *doc = NULL;
    VTRY(vio_read_text_optional(&text, path, 2 * from->limits.template_bytes, from, err));
    if (!text.p) return VLM_OK;
    vlm_status status = vcore_json_parse(&doc, text.p, text.n, path, err);
    if (status >= 0)
        status = parse_member(out, vcore_json_get(vcore_json_root(doc), "chat_template"), path,
                              &from->limits, err);
    vcore_json_free(doc);
    vcore_free(text.p);
    return status;
}

static vlm_status load_jinja(vtext_template **out, const char *path, const vio_source *from,
                             vlm_error *err) {
    vio_bytes text;
    VTRY(vio_read_text_optional(&text, path, from->limits.template_bytes, from, err));
    if (!text.p) return VLM_OK;
    vlm_status status = vtext_template_parse(out, text.p, text.n, path, err);
    vcore_free(text.p);
    return status;
}

static vlm_status load_own(vtext_template **out, const vtext_folder *folder, const char *name,
                           vlm_error *err) {
    char *path = vio_join(folder->dir, name);
    if (!path) return vcore_no_memory(err, name);
    vlm_status status = strcmp(name, "chat_template.json") ? load_jinja(out, path, &folder->source, err)
                                                           : load_json(out, path, &folder->source, err);
    vcore_free(path);
    return status;
}

/* Of a file that others read, too. */
static vlm_status load_shared(vtext_template **out, vtext_folder *folder, vtext_file which,
                              vlm_error *err) {
    const vcore_json *root;
    VTRY(vtext_folder_read(&root, folder, which, err));
    return parse_member(out, vcore_json_get(root, "chat_template"), folder->file[which].path,
                        &folder->source.limits, err);
}

vlm_status vtext_template_load(vtext_template **out, vtext_folder *folder, vlm_error *err) {
    *out = NULL;
    VTRY(load_shared(out, folder, VTEXT_PROCESSOR_CONFIG, err));
    if (!*out) VTRY(load_own(out, folder, "chat_template.json", err));
    if (!*out) VTRY(load_own(out, folder, "chat_template.jinja", err));
    if (!*out) VTRY(load_shared(out, folder, VTEXT_TOKENIZER_CONFIG, err));
    return VLM_OK;
}

/* ---- variables ------------------------------------------------------------------------------- */

/* Whose text the strings of a JSON value are: in `messages`, what a message or one of its content
 * parts says is the user's; names, roles and all else are the template's. */
typedef enum origin { FROM_TEMPLATE, IN_MESSAGES, IN_CONTENT } origin;

static origin origin_of_member(origin object, vcore_str key) {
    bool content = vcore_str_eq(key, vcore_str_of("content"));
    bool text = object == IN_CONTENT && vcore_str_eq(key, vcore_str_of("text"));
    return object != FROM_TEMPLATE && (content || text) ? IN_CONTENT : FROM_TEMPLATE;
}

static bool copy_string(j_run *r, vcore_str s, bool user, j_value *out) {
    j_text t = { 0 };
    if (!vtext_j_work(r, s.n) || !vtext_j_add_bytes(r, &t, s.p, s.n, user)) return false;
    *out = vtext_j_string(vtext_j_done(&t));
    return true;
}

static bool to_value(j_run *r, const vcore_json *v, origin from, j_value *out);

static bool to_dict(j_run *r, const vcore_json *v, origin from, j_value *out) {
    if (!vtext_j_new_dict(r, out)) return false;
    for (vcore_json_iter it = { 0 }; vcore_json_next(v, &it);) {
        j_value key, value;
        if (!copy_string(r, it.key, false, &key)
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
    case VCORE_JSON_STRING:
        return vcore_json_string(v, &s) && copy_string(r, s, from == IN_CONTENT, out);
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

static bool define(j_run *r, j_scope *scope, vcore_str name, const vcore_json *v) {
    j_value key, value;
    origin from = vcore_str_eq(name, vcore_str_of("messages")) ? IN_MESSAGES : FROM_TEMPLATE;
    if (vcore_str_eq(name, vcore_str_of("_now"))) {
        if (vcore_json_kind_of(v) == VCORE_JSON_INT) return vcore_json_int(v, &r->now);
        return vtext_j_fail(r, "_now: must be an integer, is %s", vcore_json_kind_name(v));
    }
    return copy_string(r, name, false, &key) && to_value(r, v, from, &value)
           && vtext_j_dict_put(r, &scope->vars, key, value);
}

static bool define_all(j_run *r, j_scope *scope, const vcore_json *object) {
    for (vcore_json_iter it = { 0 }; vcore_json_next(object, &it);)
        if (!define(r, scope, it.key, it.value)) return false;
    return true;
}

/* What transformers always passes, said or not. */
static bool define_defaults(j_run *r, j_scope *scope) {
    return define(r, scope, vcore_str_of("tools"), NULL)
           && define(r, scope, vcore_str_of("documents"), NULL)
           && vtext_j_dict_put(r, &scope->vars, vtext_j_string(J_LITERAL("add_generation_prompt")),
                               vtext_j_bool(false));
}

/* ---- render ---------------------------------------------------------------------------------- */

static size_t count_spans(const j_text *t) {
    size_t n = t->n > 0;
    for (size_t i = 1; t->user && i < t->n; i++) n += t->user[i] != t->user[i - 1];
    return n;
}

static vlm_status give(const j_text *t, vtext_rendered *out, vlm_error *err) {
    size_t n = count_spans(t);
    out->text = vcore_strndup(t->p ? t->p : "", t->n);
    out->spans = n ? vcore_alloc_array(n, sizeof *out->spans) : NULL;
    if (!out->text || (n && !out->spans)) {
        vtext_rendered_free(out);
        return vcore_no_memory(err, "the text of a chat template");
    }
    out->n = t->n;
    for (size_t begin = 0; begin < t->n;) {
        size_t end = begin + 1;
        bool user = t->user && t->user[begin];
        while (end < t->n && (t->user && t->user[end]) == user) end++;
        out->spans[out->n_spans++] = (vtext_span) { out->text + begin, end - begin, user };
        begin = end;
    }
    return VLM_OK;
}

static vlm_status render(const vtext_template *t, const vcore_json *const *objects,
                         size_t n_objects, const vlm_limits *limits, vtext_rendered *out,
                         vlm_error *err) {
    vlm_limits l = vcore_limits(limits);
    j_run r = { .name = t->name, .err = err, .memory = J_MEMORY, .now = (int64_t)time(NULL) };
    j_scope scope = { 0 };
    j_text text = { 0 };
    r.max_steps = l.template_steps;
    r.max_output = l.template_output < SIZE_MAX ? (size_t)l.template_output : SIZE_MAX;
    r.arena = vcore_arena_new();
    if (!r.arena) return vcore_no_memory(err, "rendering a chat template");
    bool done = define_defaults(&r, &scope);
    for (size_t i = 0; done && i < n_objects; i++) done = define_all(&r, &scope, objects[i]);
    done = done && vtext_j_exec(&r, &scope, t->body, &text);
    vlm_status status = done ? give(&text, out, err) : r.status;
    vcore_arena_free(r.arena);
    return status;
}

vlm_status vtext_template_render(const vtext_template *t, const char *variables_json, size_t n,
                                 const vlm_limits *limits, vtext_rendered *out, vlm_error *err) {
    vcore_json_doc *doc;
    *out = (vtext_rendered) { 0 };
    VTRY(vcore_json_parse(&doc, variables_json, n, "template variables", err));
    const vcore_json *root = vcore_json_root(doc);
    vlm_status status = vcore_json_kind_of(root) == VCORE_JSON_OBJECT
                            ? render(t, &root, 1, limits, out, err)
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
    *r = (vtext_rendered) { 0 };
}

/* ---- the public function --------------------------------------------------------------------- */

static const char *const token_names[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token" };

/* Named special tokens of a checkpoint as members of a JSON object: text, or an object with its
 * content. */
static void add_tokens(vcore_buf *b, const vcore_json *config) {
    for (size_t i = 0; i < sizeof token_names / sizeof *token_names; i++) {
        const vcore_json *v = vcore_json_get(config, token_names[i]);
        vcore_str s;
        if (!vcore_json_string(v, &s) && !vcore_json_string(vcore_json_get(v, "content"), &s))
            continue;
        vcore_json_put_str(b, token_names[i], s);
    }
}

/* special_tokens_map.json first: of two equal keys the last one counts, tokenizer_config.json's. */
static vlm_status read_tokens(vcore_json_doc **out, vtext_folder *folder, vlm_error *err) {
    const vcore_json *map, *config;
    VTRY(vtext_folder_read(&map, folder, VTEXT_SPECIAL_TOKENS, err));
    VTRY(vtext_folder_read(&config, folder, VTEXT_TOKENIZER_CONFIG, err));
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '{');
    add_tokens(&b, map);
    add_tokens(&b, config);
    vcore_json_close(&b, '}');
    vlm_status status = b.failed ? vcore_no_memory(err, "special tokens")
                                 : vcore_json_parse(out, b.p, b.n, "special tokens", err);
    vcore_buf_free(&b);
    return status;
}

/* {"messages": text}, with text checked to be an array. */
static vlm_status wrap_messages(vcore_json_doc **out, const char *messages, vlm_error *err) {
    vcore_buf b = { 0 };
    VTRY(vcore_json_parse(out, messages, strlen(messages), "messages", err));
    vcore_json_kind kind = vcore_json_kind_of(vcore_json_root(*out));
    vcore_json_free(*out);
    *out = NULL;
    if (kind != VCORE_JSON_ARRAY)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "messages: must be a JSON array");
    vcore_json_open(&b, NULL, '{');
    vcore_json_put_raw(&b, "messages", messages);
    vcore_json_close(&b, '}');
    vlm_status status = b.failed ? vcore_no_memory(err, "messages")
                                 : vcore_json_parse(out, b.p, b.n, "messages", err);
    vcore_buf_free(&b);
    return status;
}

static vlm_status render_folder(vtext_rendered *out, const vtext_template *t, vtext_folder *folder,
                                const char *messages, const char *variables, vlm_error *err) {
    vcore_json_doc *docs[3] = { NULL, NULL, NULL };
    vlm_status status = read_tokens(&docs[0], folder, err);
    if (status >= 0) status = wrap_messages(&docs[1], messages, err);
    if (status >= 0)
        status = vcore_json_parse(&docs[2], variables ? variables : "{}",
                                  variables ? strlen(variables) : 2, "template variables", err);
    if (status >= 0 && vcore_json_kind_of(vcore_json_root(docs[2])) != VCORE_JSON_OBJECT)
        status = vcore_fail(err, VLM_ERR_ARGUMENT, "template variables: must be an object");
    if (status >= 0) {
        const vcore_json *objects[3];
        for (int i = 0; i < 3; i++) objects[i] = vcore_json_root(docs[i]);
        status = render(t, objects, 3, &folder->source.limits, out, err);
    }
    for (int i = 0; i < 3; i++) vcore_json_free(docs[i]);
    return status;
}

static vlm_status load_and_render(char **out, vtext_folder *folder, const char *messages,
                                  const char *variables, vlm_error *err) {
    vtext_template *t;
    vtext_rendered rendered = { 0 };
    VTRY(vtext_template_load(&t, folder, err));
    vcore_where where = { .file = folder->dir };
    if (!t && !vio_is_dir(folder->dir))
        return vcore_fail_at(err, VLM_ERR_NOT_FOUND, where, "%s: no such directory", folder->dir);
    if (!t)
        return vcore_fail_at(err, VLM_ERR_TEMPLATE, where, "%s: it has no chat template", folder->dir);
    vlm_status status = render_folder(&rendered, t, folder, messages, variables, err);
    if (status >= 0) *out = rendered.text;
    vcore_free(rendered.spans);
    vtext_template_free(t);
    return status;
}

vlm_status vlm_template_render(char **out, const char *dir, const char *messages_json,
                               const char *variables_json, const vlm_limits *limits,
                               vlm_error *err) {
    vtext_folder folder;
    vio_source from = vio_source_of(limits);
    if (out) *out = NULL;
    if (!out || !dir || !messages_json)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_template_render: a null argument");
    VTRY(vtext_folder_open(&folder, dir, &from, err));
    vlm_status status = load_and_render(out, &folder, messages_json, variables_json, err);
    vtext_folder_close(&folder);
    return status;
}
