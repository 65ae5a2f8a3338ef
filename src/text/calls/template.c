/* SPDX-License-Identifier: MIT */
/* Which format of tool calls a checkpoint directory's chat template means: the template for tools if there is one,
 * else the one that is rendered. */
#include "text/calls/calls.h"

/* A template, or of a list of named ones that for tools, else the default, else any. */
static vcore_str template_text(const vcore_json *v) {
    static const char *const names[] = { "tool_use", "default", NULL };
    vcore_str text = { NULL, 0 }, name;
    if (vcore_json_string(v, &text)) return text;
    for (size_t k = 0; k < 3 && vcore_json_kind_of(v) == VCORE_JSON_ARRAY; k++)
        for (size_t i = 0; i < vcore_json_count(v); i++) {
            const vcore_json *entry = vcore_json_at(v, i);
            bool named = vcore_json_string(vcore_json_get(entry, "name"), &name);
            if (names[k] && !(named && vcore_str_eq(name, vcore_str_of(names[k])))) continue;
            if (vcore_json_string(vcore_json_get(entry, "template"), &text)) return text;
        }
    return (vcore_str) { NULL, 0 };
}

/* Of a file that is a template, or JSON with one. Absent: *found is false. */
static vlm_status from_file(const vtext_c_format **out, bool *found, const vtext_folder *f, const char *name,
                            vlm_error *err) {
    char *path = vio_join(f->dir, name);
    if (!path) return vcore_no_memory(err, name);
    vio_bytes bytes = { 0 };
    vcore_json_doc *doc = NULL;
    vlm_status status = vio_read_text_optional(&bytes, path, 2 * f->source.limits.template_bytes, &f->source, err);
    vcore_str text = { bytes.p, bytes.n };
    if (status >= 0 && text.p && strstr(name, ".json")) {
        status = vcore_json_parse(&doc, bytes.p, bytes.n, path, err);
        text = template_text(vcore_json_get(vcore_json_root(doc), "chat_template"));
    }
    *found = status >= 0 && text.p;
    if (*found) *out = vtext_c_format_of(text);
    vcore_json_free(doc);
    vcore_free(bytes.p);
    vcore_free(path);
    return status;
}

static vlm_status from_shared(const vtext_c_format **out, bool *found, vtext_folder *f, vtext_file which,
                              vlm_error *err) {
    const vcore_json *root;
    VTRY(vtext_folder_read(&root, f, which, err));
    vcore_str text = template_text(vcore_json_get(root, "chat_template"));
    *found = text.p != NULL;
    if (*found) *out = vtext_c_format_of(text);
    return VLM_OK;
}

static vlm_status find_template(const vtext_c_format **out, vtext_folder *f, vlm_error *err) {
    static const char *const files[] = { "chat_template.json", "chat_template.jinja" };
    bool found = false;
    VTRY(from_file(out, &found, f, "additional_chat_templates/tool_use.jinja", err));
    if (!found) VTRY(from_shared(out, &found, f, VTEXT_PROCESSOR_CONFIG, err));
    for (int i = 0; i < 2 && !found; i++) VTRY(from_file(out, &found, f, files[i], err));
    return found ? VLM_OK : from_shared(out, &found, f, VTEXT_TOKENIZER_CONFIG, err);
}

vlm_status vlm_tool_format_of_dir(const char **name, const char *dir, const vlm_limits *limits, vlm_error *err) {
    if (name) *name = NULL;
    if (!name || !dir) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_tool_format_of_dir: a null argument");
    const vtext_c_format *format = NULL;
    vio_source source = vio_source_of(limits);
    vtext_folder folder;
    VTRY(vtext_folder_open(&folder, dir, &source, err));
    vlm_status status = find_template(&format, &folder, err);
    vtext_folder_close(&folder);
    if (status >= 0 && format) *name = format->name;
    return status;
}

const char *vlm_tool_format_of_template(const char *chat_template) {
    const vtext_c_format *format = chat_template ? vtext_c_format_of(vcore_str_of(chat_template)) : NULL;
    return format ? format->name : NULL;
}

const char *vlm_tool_format_name(size_t i) {
    const vtext_c_format *format = vtext_c_format_at(i);
    return format ? format->name : NULL;
}
