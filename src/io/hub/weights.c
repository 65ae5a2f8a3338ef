/* SPDX-License-Identifier: MIT */
/* Which weights of a repository are the model's: the loader's own rule, asked of a list of names. */
#include "io/hub/hub.h"

#include <stdlib.h>

static int compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

vlm_status vio_hub_choose_weights(vio_selection *out, vcore_arena *arena, const char *where,
                                  const char *path, const char **names, size_t n,
                                  const vlm_limits *limits, const vcore_log *log, vlm_error *err) {
    uint64_t cap = vcore_limits(limits).index_bytes;
    vcore_json_doc *doc = NULL;
    *out = (vio_selection) { 0 };
    if (path) VTRY(vio_read_json(&doc, NULL, path, cap, NULL, err));
    if (n) qsort(names, n, sizeof *names, compare);
    vlm_status status = vio_select_weights(out, arena, where, doc ? vcore_json_root(doc) : NULL,
                                           names, n, log, err);
    vcore_json_free(doc);
    if (status >= 0 && out->partial)
        status = vcore_fail_at(err, VLM_ERR_NOT_FOUND,
                               (vcore_where) { .file = where, .field = out->missing },
                               "%s: %s is not there, and without it the weights are not whole", where,
                               out->missing);
    return status;
}
