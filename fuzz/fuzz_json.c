/* SPDX-License-Identifier: MIT */
/* JSON access: parse, walk everything, and read back what was quoted and what was written. */
#include "core/core.h"

static size_t walk(const vcore_json *v) {
    size_t sum = vcore_json_count(v);
    int64_t integer;
    double real;
    bool boolean;
    vcore_str s;
    if (vcore_json_int(v, &integer)) sum += (size_t)integer;
    if (vcore_json_real(v, &real)) sum += real > 0;
    if (vcore_json_bool(v, &boolean)) sum += boolean;
    if (vcore_json_string(v, &s)) {
        if (s.p[s.n] != 0 || !vcore_utf8_valid(s.p, s.n)) __builtin_trap();
        vcore_buf b = { 0 };
        vcore_json_doc *again;
        vcore_str back;
        vcore_json_quote(&b, s.p, s.n);
        if (vcore_json_parse(&again, b.p, b.n, "quoted", NULL) != VLM_OK) __builtin_trap();
        if (!vcore_json_string(vcore_json_root(again), &back) || !vcore_str_eq(s, back))
            __builtin_trap();
        vcore_json_free(again);
        vcore_buf_free(&b);
    }
    for (size_t i = 0; vcore_json_kind_of(v) == VCORE_JSON_ARRAY && i < vcore_json_count(v); i++)
        sum += walk(vcore_json_at(v, i));
    vcore_json_iter it = { 0 };
    while (vcore_json_next(v, &it)) {
        if (strlen(it.key.p) == it.key.n && vcore_json_get(v, it.key.p) != it.value)
            __builtin_trap();
        sum += walk(it.value);
    }
    return sum;
}

/* What was read is written, read and written again, to the same text. */
static void write_twice(const vcore_json *v) {
    vcore_buf once = { 0 }, twice = { 0 };
    vcore_json_doc *again;
    vcore_json_put(&once, NULL, v);
    if (vcore_json_parse(&again, once.p, once.n, "written", NULL) != VLM_OK) __builtin_trap();
    vcore_json_put(&twice, NULL, vcore_json_root(again));
    if (once.n != twice.n || memcmp(once.p, twice.p, once.n)) __builtin_trap();
    vcore_json_free(again);
    vcore_buf_free(&once);
    vcore_buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vcore_json_doc *doc;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vcore_json_parse(&doc, (const char *)data, size, "fuzz.json", &err);
    if ((status < 0) != (doc == NULL) || status != err.code) __builtin_trap();
    volatile size_t used = walk(vcore_json_root(doc));
    (void)used;
    if (doc) write_twice(vcore_json_root(doc));
    vcore_json_free(doc);
    return 0;
}
