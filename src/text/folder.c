/* SPDX-License-Identifier: MIT */
/* The small JSON files of a checkpoint directory that more than one reader asks for. Owns that each
 * is opened at most once; what is in them is the readers'. */
#include "text/text.h"

static const struct {
    const char *name;
    bool config; /* bounded as a config, else as a part of the tokenizer */
} files[VTEXT_FILES] = {
    [VTEXT_TOKENIZER_CONFIG] = { "tokenizer_config.json", false },
    [VTEXT_SPECIAL_TOKENS] = { "special_tokens_map.json", false },
    [VTEXT_ADDED_TOKENS] = { "added_tokens.json", false },
    [VTEXT_CONFIG] = { "config.json", true },
    [VTEXT_PROCESSOR_CONFIG] = { "processor_config.json", true },
};

vlm_status vtext_folder_open(vtext_folder *f, const char *dir, const vio_source *from, vlm_error *err) {
    *f = (vtext_folder) { .dir = dir, .source = from ? *from : vio_source_of(NULL) };
    for (int i = 0; i < VTEXT_FILES; i++) {
        f->file[i].path = vio_join(dir, files[i].name);
        if (f->file[i].path) continue;
        vtext_folder_close(f);
        return vcore_no_memory(err, files[i].name);
    }
    return VLM_OK;
}

void vtext_folder_give(vtext_folder *f, vtext_file which, const vcore_json *root) {
    f->file[which].known = true;
    f->file[which].root = root;
}

vlm_status vtext_folder_read(const vcore_json **root, vtext_folder *f, vtext_file which,
                             vlm_error *err) {
    const vlm_limits *limits = &f->source.limits;
    uint64_t cap = files[which].config ? limits->config_bytes : limits->tokenizer_bytes;
    const char *path = f->file[which].path;
    *root = f->file[which].root;
    if (f->file[which].known) return VLM_OK;
    vio_bytes text;
    VTRY(vio_read_text_optional(&text, path, cap, &f->source, err));
    vcore_json_doc *doc = NULL;
    vlm_status status = text.p ? vcore_json_parse(&doc, text.p, text.n, path, err) : VLM_OK;
    vcore_free(text.p);
    VTRY(status);
    f->file[which].doc = doc;
    *root = vcore_json_root(doc);
    vtext_folder_give(f, which, *root);
    return VLM_OK;
}

void vtext_folder_close(vtext_folder *f) {
    for (int i = 0; i < VTEXT_FILES; i++) {
        vcore_json_free(f->file[i].doc);
        vcore_free(f->file[i].path);
    }
    *f = (vtext_folder) { 0 };
}
