/* SPDX-License-Identifier: MIT */
/* Which format of tool calls a chat template means; of a checkpoint directory's the one that is rendered with tools. */
#include "text/calls/calls.h"

vlm_status vlm_tool_format_of_dir(const char **name, const char *dir, const vlm_limits *limits, vlm_error *err) {
    if (name) *name = NULL;
    if (!name || !dir) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_tool_format_of_dir: a null argument");
    vio_source source = vio_source_of(limits);
    vtext_folder folder;
    vtext_template *all = NULL;
    VTRY(vtext_folder_open(&folder, dir, &source, err));
    vlm_status status = vtext_template_load(&all, &folder, err);
    vtext_folder_close(&folder);
    if (all) {
        const vtext_template *chosen; /* NULL: of several none is for tools or the default; any will do */
        vtext_template_choose(&chosen, all, (vcore_str) { NULL, 0 }, true, NULL);
        const vtext_c_format *format = vtext_c_format_of(vtext_template_source(chosen ? chosen : all));
        if (format) *name = format->name;
    }
    vtext_template_free(all);
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
