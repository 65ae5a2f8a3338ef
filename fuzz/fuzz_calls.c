/* SPDX-License-Identifier: MIT */
/* Replies: the first byte picks the format of tool calls (and thinking), the second how the text is cut; up to a zero
 * byte tools as JSON, then the text. What comes out is the same whole and in pieces, and arguments are whole values. */
#include <stdlib.h>

#include "text/text.h"
#include "vlm/reply.h"

/* Everything that was given, its kinds apart, neighbours of a kind joined. */
typedef struct result {
    vcore_buf b;
    vlm_reply_kind last;
} result;

static void drain(vlm_reply *reply, result *r) {
    for (vlm_reply_event e; vlm_reply_next(reply, &e, NULL) == VLM_OK;) {
        if (e.text[e.bytes] || (e.kind == VLM_REPLY_CALL) != (e.name != NULL)) __builtin_trap();
        if (r->b.n == 0 || e.kind != r->last || e.kind >= VLM_REPLY_CALL) vcore_buf_printf(&r->b, "\n<%d>", e.kind);
        r->last = e.kind;
        if (e.name) vcore_buf_printf(&r->b, "%s|%s|", e.name, e.id ? e.id : "");
        vcore_buf_add(&r->b, e.text, e.bytes);
        vcore_json_doc *doc = NULL;
        if (e.kind == VLM_REPLY_CALL && e.text[0] == '{') vcore_json_parse(&doc, e.text, e.bytes, "arguments", NULL);
        vcore_json_free(doc);
    }
}

/* In steps of `step` bytes; 0: whole. */
static vlm_status parse(vlm_reply *reply, const char *text, size_t n, size_t step, result *r) {
    vlm_reply_reset(reply);
    vlm_status status = VLM_OK;
    for (size_t at = 0; at < n && status >= 0;) {
        size_t take = step && step < n - at ? step : n - at;
        char *piece = malloc(take); /* so that reads beyond it are seen */
        if (!piece) abort();
        memcpy(piece, text + at, take);
        status = vlm_reply_push(reply, piece, take, NULL);
        free(piece);
        drain(reply, r);
        at += take;
    }
    if (status >= 0) status = vlm_reply_finish(reply, NULL);
    drain(reply, r);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    size_t formats = 0, step = data[1] % 16 + 1;
    while (vlm_tool_format_name(formats)) formats++;
    const char *tools = (const char *)data + 2, *text;
    size_t n_tools = strnlen(tools, size - 2);
    text = n_tools < size - 2 ? tools + n_tools + 1 : tools;
    size_t n = size - (size_t)(text - (const char *)data);
    char *copy = n_tools < size - 2 && n_tools ? strndup(tools, n_tools) : NULL;
    vlm_reply *reply;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_reply_new(&reply, vlm_tool_format_name(data[0] % formats), copy, &err) < 0) {
        if (reply || !err.message[0] || strchr(err.message, '\n')) __builtin_trap();
    } else {
        result whole = { .b = { 0 } }, pieces = { .b = { 0 } };
        if (data[0] & 128) vlm_reply_split_thinking(reply, NULL, NULL, data[0] & 64, NULL);
        vlm_status a = parse(reply, text, n, 0, &whole), b = parse(reply, text, n, step, &pieces);
        if (a != b || whole.b.n != pieces.b.n || (whole.b.n && memcmp(whole.b.p, pieces.b.p, whole.b.n))) __builtin_trap();
        vcore_buf_free(&whole.b);
        vcore_buf_free(&pieces.b);
    }
    vlm_reply_free(reply);
    free(copy);
    return 0;
}
