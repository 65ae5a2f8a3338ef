/* SPDX-License-Identifier: MIT */
/* Where a checkpoint keeps its chat templates, and which one a render takes of several:
 * transformers' rules, written down in docs/TEXT.md. */
#include "text/jinja/ast.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define EXTRA "additional_chat_templates"
#define MAX_EXTRA 64 /* templates of that folder */

/* A template that cannot be read, but may never be asked for. */
static vlm_status parse_broken(vtext_template **out, const char *path, const vlm_error *fault,
                               vlm_error *err) {
    VTRY(vtext_template_parse(out, "", 0, path, err));
    (*out)->fault = vcore_alloc(sizeof *fault);
    if (!(*out)->fault) return vcore_no_memory(err, path);
    *(*out)->fault = *fault;
    return VLM_OK;
}

/* A template joins the others of its folder; the label NULL stands for "default" among several. */
static vlm_status add(vtext_template **all, vcore_str source, const char *path, vcore_str label,
                      const vlm_limits *limits, vlm_error *err) {
    bool spare = label.p && !vcore_str_eq(label, vcore_str_of("default"));
    vlm_error fault = VLM_ERROR_INIT;
    if (source.n > limits->template_bytes)
        return vcore_fail_limit(err, path, "chat_template", limits->template_bytes, "bytes");
    vtext_template **end = all;
    while (*end) end = &(*end)->next;
    vlm_status status = vtext_template_parse(end, source.p, source.n, path, spare ? &fault : err);
    if (status < 0 && spare) status = parse_broken(end, path, &fault, err);
    if (status < 0 || !label.p) return status;
    (*end)->label = vcore_strndup(label.p, label.n);
    return (*end)->label ? VLM_OK : vcore_no_memory(err, path);
}

static vlm_status fail_kind(vlm_error *err, const char *path, const vcore_json *v) {
    return vcore_fail_field(err, VLM_ERR_FORMAT, path, "chat_template",
                            "must be a string or a list, is %s", vcore_json_kind_name(v));
}

/* What a JSON file holds: a string, a list of {"name", "template"}, or an object of named ones. */
static vlm_status add_member(vtext_template **all, const vcore_json *v, const char *path,
                             const vlm_limits *limits, vlm_error *err) {
    vcore_str source, name;
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (vcore_json_string(v, &source))
        return add(all, source, path, (vcore_str) { 0 }, limits, err);
    for (vcore_json_iter it = { 0 };
         vcore_json_kind_of(v) == VCORE_JSON_OBJECT && vcore_json_next(v, &it);) {
        if (!vcore_json_string(it.value, &source)) return fail_kind(err, path, it.value);
        VTRY(add(all, source, path, it.key, limits, err));
    }
    if (vcore_json_kind_of(v) == VCORE_JSON_OBJECT) return VLM_OK;
    if (vcore_json_kind_of(v) != VCORE_JSON_ARRAY) return fail_kind(err, path, v);
    for (size_t i = 0; i < vcore_json_count(v); i++) {
        const vcore_json *entry = vcore_json_at(v, i);
        if (!vcore_json_string(vcore_json_get(entry, "name"), &name)
            || !vcore_json_string(vcore_json_get(entry, "template"), &source))
            return vcore_fail_field(err, VLM_ERR_FORMAT, path, "chat_template",
                                    "entry %zu has no name or template", i);
        VTRY(add(all, source, path, name, limits, err));
    }
    return VLM_OK;
}

/* Of a JSON file that is read for its template alone. */
static vlm_status add_json(vtext_template **all, const char *path, const vio_source *from,
                           vlm_error *err) {
    vio_bytes text;
    vcore_json_doc *doc = NULL;
    VTRY(vio_read_text_optional(&text, path, 2 * from->limits.template_bytes, from, err));
    if (!text.p) return VLM_OK;
    vlm_status status = vcore_json_parse(&doc, text.p, text.n, path, err);
    if (status >= 0)
        status = add_member(all, vcore_json_get(vcore_json_root(doc), "chat_template"), path,
                            &from->limits, err);
    vcore_json_free(doc);
    vcore_free(text.p);
    return status;
}

static vlm_status add_jinja(vtext_template **all, const char *path, vcore_str label,
                            const vio_source *from, vlm_error *err) {
    vio_bytes text;
    VTRY(vio_read_text_optional(&text, path, from->limits.template_bytes, from, err));
    if (!text.p) return VLM_OK;
    vlm_status status = add(all, (vcore_str) { text.p, text.n }, path, label, &from->limits, err);
    vcore_free(text.p);
    return status;
}

static int is_template(const struct dirent *entry) {
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 6 && !strcmp(entry->d_name + n - 6, ".jinja");
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* additional_chat_templates/NAME.jinja, in name order. */
static vlm_status add_extra(vtext_template **all, const char *dir, const vio_source *from,
                            vlm_error *err) {
    struct dirent **names = NULL;
    vlm_status status = VLM_OK;
    char *folder = vio_join(dir, EXTRA);
    if (!folder) return vcore_no_memory(err, EXTRA);
    vio_source_tell(from, folder);
    int n = scandir(folder, &names, is_template, by_name);
    if (n < 0 && errno != ENOENT && errno != ENOTDIR)
        status = vio_fail_errno(err, folder, "open", errno);
    if (n > MAX_EXTRA) status = vcore_fail_limit(err, folder, NULL, MAX_EXTRA, "templates");
    for (int i = 0; i < n && status >= 0; i++) {
        vcore_str label = { names[i]->d_name, strlen(names[i]->d_name) - 6 };
        char *path = vio_join(folder, names[i]->d_name);
        status = path ? add_jinja(all, path, label, from, err) : vcore_no_memory(err, EXTRA);
        vcore_free(path);
    }
    for (int i = 0; i < n; i++) free(names[i]); /* scandir's own memory */
    free(names);
    vcore_free(folder);
    return status;
}

/* chat_template.json, which may not stand beside a folder of further ones; else chat_template.jinja
 * and that folder. */
static vlm_status add_own(vtext_template **all, const vtext_folder *folder, vlm_error *err) {
    const vio_source *from = &folder->source;
    char *json = vio_join(folder->dir, "chat_template.json");
    char *jinja = vio_join(folder->dir, "chat_template.jinja");
    vtext_template *extra = NULL;
    vlm_status status =
        json && jinja ? add_json(all, json, from, err) : vcore_no_memory(err, "chat_template.json");
    bool legacy = *all != NULL;
    if (status >= 0 && !legacy) status = add_jinja(all, jinja, (vcore_str) { 0 }, from, err);
    if (status >= 0) status = add_extra(legacy ? &extra : all, folder->dir, from, err);
    if (status >= 0 && extra)
        status =
            vcore_fail_field(err, VLM_ERR_FORMAT, json, NULL,
                             "it may not stand beside " EXTRA "; rename it chat_template.jinja");
    vtext_template_free(extra);
    vcore_free(json);
    vcore_free(jinja);
    return status;
}

/* Of a file that others read, too. */
static vlm_status add_shared(vtext_template **all, vtext_folder *folder, vtext_file which,
                             vlm_error *err) {
    const vcore_json *root;
    VTRY(vtext_folder_read(&root, folder, which, err));
    return add_member(all, vcore_json_get(root, "chat_template"), folder->file[which].path,
                      &folder->source.limits, err);
}

vlm_status vtext_template_load(vtext_template **out, vtext_folder *folder, vlm_error *err) {
    vtext_template *all = NULL;
    *out = NULL;
    vlm_status status = add_shared(&all, folder, VTEXT_PROCESSOR_CONFIG, err);
    if (status >= 0 && !all) status = add_own(&all, folder, err);
    if (status >= 0 && !all) status = add_shared(&all, folder, VTEXT_TOKENIZER_CONFIG, err);
    if (status < 0)
        vtext_template_free(all);
    else
        *out = all;
    return status;
}

/* ---- choice ---------------------------------------------------------------------------------- */

static const vtext_template *labelled(const vtext_template *all, vcore_str label) {
    for (; all; all = all->next)
        if (vcore_str_eq(vcore_str_of(all->label ? all->label : "default"), label)) return all;
    return NULL;
}

static vlm_status fail_choice(vlm_error *err, const vtext_template *all, vcore_str asked) {
    char names[300] = "";
    for (const vtext_template *t = all; t; t = t->next) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "",
                 t->label ? t->label : "default");
    }
    if (asked.p)
        return vcore_fail_field(err, VLM_ERR_TEMPLATE, all->name, NULL,
                                "no chat template named '%.*s'; there are: %s",
                                (int)(asked.n < 60 ? asked.n : 60), asked.p, names);
    return vcore_fail_field(err, VLM_ERR_TEMPLATE, all->name, NULL,
                            "no chat template is called default; choose one by "
                            "chat_template: %s",
                            names);
}

vlm_status vtext_template_choose(const vtext_template **out, const vtext_template *all,
                                 vcore_str asked, bool tools, vlm_error *err) {
    *out = asked.p ? labelled(all, asked) : all->next || all->label ? NULL : all;
    if (!*out && !asked.p && tools) *out = labelled(all, vcore_str_of("tool_use"));
    if (!*out && !asked.p) *out = labelled(all, vcore_str_of("default"));
    if (!*out) return fail_choice(err, all, asked);
    const vlm_error *fault = (*out)->fault;
    if (fault && err) *err = *fault;
    return fault ? fault->code : VLM_OK;
}
