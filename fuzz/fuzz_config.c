/* SPDX-License-Identifier: MIT */
/* Config tables: what is read lies within its range, what is refused is named. */
#include "vlm/extend/config.h"

#include "io/io.h"

typedef struct config {
    int64_t size, nested;
    float eps;
    bool tied;
    int act;
    vlm_ints stops;
} config;

static const vlm_name acts[] = { { "silu", 1 }, { "gelu", 2 }, { NULL, 0 } };
static const vlm_config_field fields[] = {
    VLM_INT(config, size, "size|n_size", 1, 65536, 64),
    VLM_INT(config, nested, "a.b|a.c", -5, 5, 0),
    VLM_REAL(config, eps, "eps", 0, 1, 1e-6),
    VLM_BOOL(config, tied, "tied", true),
    VLM_NAME(config, act, "act", acts, 1),
    VLM_INTS(config, stops, "stops", 0, 1000),
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vcore_json_doc *doc;
    vlm_error err = VLM_ERROR_INIT;
    if (vcore_json_parse(&doc, (const char *)data, size, "config.json", NULL) < 0) return 0;
    config c;
    vlm_status status = vlm_config_read(&c, vcore_json_root(doc), "config.json", fields,
                                        sizeof fields / sizeof fields[0], &err);
    if (status < 0) {
        if (err.code != status || strncmp(err.message, "config.json: ", 13) != 0) __builtin_trap();
    } else {
        if (c.size < 1 || c.size > 65536 || c.nested < -5 || c.nested > 5) __builtin_trap();
        if (!(c.eps >= 0 && c.eps <= 1) || c.act < 1 || c.act > 2) __builtin_trap();
        if (c.stops.n < 0 || c.stops.n > VLM_MAX_INTS) __builtin_trap();
        for (int64_t i = 0; i < c.stops.n; i++)
            if (c.stops.at[i] < 0 || c.stops.at[i] > 1000) __builtin_trap();
    }
    vcore_json_free(doc);
    return 0;
}
