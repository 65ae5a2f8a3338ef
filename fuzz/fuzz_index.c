/* SPDX-License-Identifier: MIT */
/* Which files hold the weights: lines of names, an empty line, an index. What is chosen is there,
 * each file once; what is said to be missing is not there; an index that is followed is followed
 * whole. */
#include <stdlib.h>

#include "io/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 64 };

static int compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_there(const char *name, const char *const *names, size_t n) {
    return n && bsearch(&name, names, n, sizeof *names, compare);
}

/* The lines up to an empty one, sorted, each once; *text is moved behind it. */
static size_t take_names(char **text, const char **names) {
    size_t n = 0, kept = 0;
    while (**text && **text != '\n' && n < MOST) {
        char *end = strchr(*text, '\n');
        names[n++] = *text;
        if (end) *end = 0;
        *text = end ? end + 1 : *text + strlen(*text);
    }
    if (**text == '\n') ++*text;
    if (n) qsort(names, n, sizeof *names, compare);
    for (size_t i = 0; i < n; i++)
        if (!i || strcmp(names[i], names[kept - 1])) names[kept++] = names[i];
    return kept;
}

static void check(const vio_selection *s, const vcore_json *index, const char *const *names,
                  size_t n) {
    if (s->n == 0 || (s->indexed && s->missing)) __builtin_trap();
    if (s->missing && is_there(s->missing, names, n)) __builtin_trap();
    for (size_t i = 0; i < s->n; i++) {
        if (!is_there(s->names[i], names, n)) __builtin_trap();
        if (i && strcmp(s->names[i - 1], s->names[i]) >= 0) __builtin_trap();
    }
    vcore_json_iter it = { 0 };
    while (s->indexed && vcore_json_next(vcore_json_get(index, "weight_map"), &it)) {
        vcore_str file;
        if (!vcore_json_string(it.value, &file) || !is_there(file.p, s->names, s->n))
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *names[MOST];
    char *text = malloc(size + 1), *at = text;
    memcpy(text, data, size);
    text[size] = 0;
    size_t n = take_names(&at, names);
    vcore_json_doc *doc = NULL;
    vlm_error err = VLM_ERROR_INIT;
    size_t left = size - (size_t)(at - text);
    if (left) vcore_json_parse(&doc, at, left, "fuzz.index.json", NULL);
    vcore_arena *arena = vcore_arena_new();
    vio_selection s;
    const vcore_json *index = doc ? vcore_json_root(doc) : NULL;
    vlm_status status = vio_select_weights(&s, arena, "fuzz", index, names, n, NULL, &err);
    if (status < 0 ? status != err.code : status != VLM_OK) __builtin_trap();
    if (status >= 0) check(&s, index, names, n);
    vcore_arena_free(arena);
    vcore_json_free(doc);
    free(text);
    return 0;
}
