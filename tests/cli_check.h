/* SPDX-License-Identifier: MIT */
/* What the tests of the command share: calls that must succeed, and the JSON that they print. */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include <json-c/json.h>
#include <stdlib.h>

#include "support/cm.h"
#include "support/process.h"

/* Runs a call that must succeed; standard output, owned. */
static inline char *run(const char *const *argv) {
    tprocess p = tprocess_run(argv, NULL);
    if (p.status != 0) fail_msg("%s: status %d: %s", argv[1], p.status, p.err);
    free(p.err);
    return p.out;
}

static inline json_object *run_json(const char *const *argv) {
    char *out = run(argv);
    json_object *o = json_tokener_parse(out);
    if (!o) fail_msg("%s: not JSON: %s", argv[1], out);
    free(out);
    return o;
}

/* NULL where it is null. */
static inline json_object *at(json_object *o, const char *key) {
    json_object *v = NULL;
    if (!json_object_object_get_ex(o, key, &v)) fail_msg("key '%s' is missing", key);
    return v;
}

#endif
