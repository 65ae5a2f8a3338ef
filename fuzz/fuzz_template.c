/* SPDX-License-Identifier: MIT */
/* Chat templates: a template, a zero byte, and its variables as JSON. What comes out is UTF-8, lies
 * in its spans, and repeats; what fails says why in one line. */
#include "text/text.h"

static void check(const vtext_rendered *r) {
    size_t at = 0;
    if (!vcore_utf8_valid(r->text, r->n) || r->text[r->n] != 0) __builtin_trap();
    for (size_t i = 0; i < r->n_spans; at += r->spans[i++].n)
        if (r->spans[i].p != r->text + at || r->spans[i].n == 0) __builtin_trap();
    if (at != r->n) __builtin_trap();
    for (size_t i = 0; i < r->n_generation; i++)
        if (r->generation[i].begin > r->generation[i].end) __builtin_trap();
}

static void check_failure(vlm_status status, const vlm_error *err) {
    if (status != err->code || err->message[0] == 0 || strchr(err->message, '\n')) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    size_t n = size ? strnlen(text, size) : 0;
    const char *variables = n < size ? text + n + 1 : "{}";
    size_t n_variables = n < size ? size - n - 1 : 2;
    vlm_limits limits = VLM_LIMITS_INIT;
    vlm_error err = VLM_ERROR_INIT;
    vtext_template *t;
    vtext_rendered r, again;
    limits.template_steps = 20000;
    limits.template_output = 65536;
    vlm_status status = vtext_template_parse(&t, text, n, "fuzz", &err);
    if (status < 0) {
        if (t) __builtin_trap();
        check_failure(status, &err);
        return 0;
    }
    status = vtext_template_render(t, variables, n_variables, &limits, &r, &err);
    if (status < 0) {
        if (r.text || r.spans) __builtin_trap();
        check_failure(status, &err);
    } else {
        check(&r);
        if (vtext_template_render(t, variables, n_variables, &limits, &again, NULL) != VLM_OK
            || again.n_spans != r.n_spans)
            __builtin_trap();
        vtext_rendered_free(&again);
    }
    vtext_rendered_free(&r);
    vtext_template_free(t);
    return 0;
}
