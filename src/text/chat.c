/* SPDX-License-Identifier: MIT */
/* Chat templates as the rest of the library uses them: reading one, and the public function over a
 * checkpoint directory. Where templates lie is chat_files.c's, a render chat_render.c's, the
 * language jinja/'s. */
#include "text/jinja/ast.h"

/* ---- template -------------------------------------------------------------------------------- */

static vlm_status parse(vtext_template *t, const char *source, size_t n, vlm_error *err) {
    j_parser p = { .arena = t->arena, .name = t->name, .err = err };
    const char *copy = vcore_arena_strndup(t->arena, source, n);
    if (!copy) return vcore_no_memory(err, "a chat template");
    t->source = (j_string) { copy, n, NULL };
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
    while (t) {
        vtext_template *next = t->next;
        vcore_arena_free(t->arena);
        vcore_free(t->name);
        vcore_free(t->label);
        vcore_free(t->fault);
        vcore_free(t);
        t = next;
    }
}

vcore_str vtext_template_source(const vtext_template *t) {
    return (vcore_str) { t->source.p, t->source.n };
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
        status = vtext_template_render_objects(t, objects, 3, &folder->source.limits, out, err);
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
    if (status >= 0) rendered.text = NULL;
    vtext_rendered_free(&rendered);
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
