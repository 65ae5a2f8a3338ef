/* SPDX-License-Identifier: MIT */
/* vlm inspect: what a checkpoint directory is and would need; reads headers only. */
#include "cli/cli.h"

#include <stdio.h>

/* 12345678 as "12,345,678". */
static void print_whole(int64_t n) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n);
    for (int i = 0; i < length; i++) {
        putchar(digits[i]);
        if ((length - i) % 3 == 1 && i + 1 < length) putchar(',');
    }
}

static void print_bytes(double bytes) {
    static const char *const units[] = { "bytes", "KB", "MB", "GB", "TB" };
    int unit = 0;
    for (; bytes >= 1000 && unit < 4; unit++) bytes /= 1000;
    printf(unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static void print_value(const vcore_json *v, bool bytes) {
    vcore_str s = { "", 0 };
    int64_t n = 0;
    bool b = false;
    switch (vcore_json_kind_of(v)) {
    case VCORE_JSON_STRING:
        vcore_json_string(v, &s);
        printf("%.*s", (int)s.n, s.p);
        break;
    case VCORE_JSON_BOOL:
        vcore_json_bool(v, &b);
        printf("%s", b ? "yes" : "no");
        break;
    case VCORE_JSON_INT:
        vcore_json_int(v, &n);
        if (bytes)
            print_bytes((double)n);
        else
            print_whole(n);
        break;
    default: printf("none"); break;
    }
}

/* {"F32": bytes, "BF16": bytes} as "F32 1.2 MB, BF16 3.4 MB". */
static void print_object(const vcore_json *v, bool bytes) {
    vcore_json_iter it = { 0 };
    for (bool first = true; vcore_json_next(v, &it); first = false) {
        printf("%s%.*s ", first ? "" : ", ", (int)it.key.n, it.key.p);
        print_value(it.value, bytes);
    }
}

static bool is(vcore_str key, const char *name) {
    return vcore_str_eq(key, vcore_str_of(name));
}

static bool is_bytes(vcore_str key) {
    return key.n > 6 && !memcmp(key.p + key.n - 6, "_bytes", 6);
}

/* "weight_bytes" as "weight". */
static void print_key(vcore_str key) {
    char text[32];
    size_t n = is_bytes(key) ? key.n - 6 : key.n;
    if (n >= sizeof text) n = sizeof text - 1;
    for (size_t i = 0; i < n; i++) text[i] = (char)(key.p[i] == '_' ? ' ' : key.p[i]);
    text[n] = 0;
    printf("%-17s ", text);
}

/* One line per member: a module and its dtypes, or what memory is for. */
static void print_lines(const vcore_json *v) {
    vcore_json_iter it = { 0 };
    while (vcore_json_next(v, &it)) {
        int n = (int)(is_bytes(it.key) ? it.key.n - 6 : it.key.n);
        printf("\n  %-30.*s ", n, it.key.p);
        if (vcore_json_kind_of(it.value) == VCORE_JSON_OBJECT)
            print_object(it.value, true);
        else
            print_value(it.value, true);
    }
}

/* An end token: its id, its text, where it comes from. */
static void print_eos(const vcore_json *item) {
    int64_t id = 0;
    vcore_json_int(vcore_json_get(item, "id"), &id);
    printf("%lld  ", (long long)id);
    print_value(vcore_json_get(item, "token"), false);
    printf("  from ");
    print_value(vcore_json_get(item, "source"), false);
}

/* Modules that are stored alike: how, and how many. */
static void print_quantized(const vcore_json *item) {
    int64_t bits = 0, group = 0;
    bool dense = false;
    vcore_json_int(vcore_json_get(item, "bits"), &bits);
    vcore_json_int(vcore_json_get(item, "group_size"), &group);
    vcore_json_bool(vcore_json_get(item, "dense"), &dense);
    print_value(vcore_json_get(item, "mode"), false);
    printf(", %lld bits", (long long)bits);
    if (group) printf(" in groups of %lld", (long long)group);
    printf("%s: %zu modules", dense ? ", made floats by the load" : "",
           vcore_json_count(vcore_json_get(item, "names")));
}

/* The first few; --json has them all. */
static void print_list(const vcore_json *v) {
    enum { SHOWN = 10 };
    size_t n = vcore_json_count(v);
    if (n == 0) printf("none");
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        const vcore_json *item = vcore_json_at(v, i);
        printf("\n  ");
        if (vcore_json_get(item, "names"))
            print_quantized(item);
        else if (vcore_json_get(item, "id"))
            print_eos(item);
        else
            print_value(item, false);
    }
    if (n > SHOWN) printf("\n  and %zu more", n - SHOWN);
}

/* What needs weights and is not known without. */
static bool is_unknown(vcore_str key, const vcore_json *v) {
    bool lists = is(key, "missing") || is(key, "unused") || is(key, "missing_file");
    bool absent = vcore_json_kind_of(v) == VCORE_JSON_NULL;
    return (lists && absent)
           || (vcore_json_kind_of(v) == VCORE_JSON_OBJECT && vcore_json_count(v) == 0);
}

static void print_readable(const vcore_json *root) {
    vcore_json_iter it = { 0 };
    while (vcore_json_next(root, &it)) {
        if (is_unknown(it.key, it.value)) continue;
        print_key(it.key);
        if (is(it.key, "modules") || is(it.key, "memory") || is(it.key, "device_memory"))
            print_lines(it.value);
        else if (vcore_json_kind_of(it.value) == VCORE_JSON_ARRAY)
            print_list(it.value);
        else if (vcore_json_kind_of(it.value) == VCORE_JSON_OBJECT)
            print_object(it.value, is(it.key, "dtypes"));
        else
            print_value(it.value, is_bytes(it.key));
        putchar('\n');
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The library's prediction, and what a process holds beside it. An inspection does for real what
 * comes before the first forward pass, with the same code: the program and its libraries, and the
 * peak of loading the tokenizer and preparing pictures, are what this process was seen to hold. */
static void put_memory(vcore_buf *b, const vcore_json *root, cli_memory start, cli_memory end) {
    uint64_t program = start.own + end.files;
    int64_t peak = 0;
    vcore_json_iter it = { 0 };
    vcore_json_open(b, NULL, '{');
    while (vcore_json_next(root, &it)) {
        vcore_json_key(b, it.key);
        if (is(it.key, "memory")) {
            vcore_json_open(b, NULL, '{');
            for (vcore_json_iter part = { 0 }; vcore_json_next(it.value, &part);) {
                vcore_json_key(b, part.key);
                vcore_json_put(b, NULL, part.value);
            }
            vcore_json_put_uint(b, "program_bytes", program);
            vcore_json_close(b, '}');
            vcore_json_put_uint(b, "preparing_bytes", end.peak);
        } else if (is(it.key, "peak_bytes") && vcore_json_int(it.value, &peak)) {
            uint64_t run = (uint64_t)peak + program;
            vcore_json_put_uint(b, NULL, run > end.peak ? run : end.peak);
        } else {
            vcore_json_put(b, NULL, it.value);
        }
    }
    vcore_json_close(b, '}');
}

static vlm_status print(const char *text, bool json, cli_memory start, vlm_error *err) {
    cli_memory end = cli_memory_now(); /* the checkpoint's files are unmapped again */
    vcore_json_doc *doc, *whole = NULL;
    vcore_buf b = { 0 };
    VTRY(vcore_json_parse(&doc, text, strlen(text), "inspect", err));
    put_memory(&b, vcore_json_root(doc), start, end);
    vlm_status status = b.failed ? vcore_no_memory(err, "inspect") : VLM_OK;
    if (status >= 0 && json) puts(b.p);
    if (status >= 0 && !json) status = vcore_json_parse(&whole, b.p, b.n, "inspect", err);
    if (whole) print_readable(vcore_json_root(whole));
    vcore_json_free(whole);
    vcore_json_free(doc);
    vcore_buf_free(&b);
    return status;
}

static vlm_status run(const cli_input *in, uint32_t max_tokens, bool json, vlm_error *err) {
    cli_memory start = cli_memory_now();
    vlm_session_options session = VLM_SESSION_OPTIONS_INIT;
    session.max_tokens = max_tokens;
    session.context = in->context;
    session.prefill_step = in->prefill_step;
    session.kv_bits = in->kv_bits;
    vlm_input *input = NULL;
    VTRY(cli_check_build(in, err));
    if (in->images.n || in->videos.n || in->containers.n || in->prompt || in->messages || in->raw)
        VTRY(cli_build_input(&input, in, "", err));
    vlm_load_options options = cli_load_options(in);
    cli_hub hub;
    char *text;
    vlm_status status = cli_hub_for(&hub, in->model, in->tokenizer, in->revision, err);
    options.hub = &hub.options;
    if (status >= 0) status = vlm_inspect(&text, in->model, &options, input, &session, err);
    cli_hub_close(&hub);
    cli_loaded(status);
    vlm_input_free(input);
    VTRY(status);
    status = print(text, json, start, err);
    vlm_string_free(text);
    return status;
}

int cmd_inspect(int argc, char **argv) {
    cli_input in = { 0 };
    bool json = false;
    uint32_t max_tokens = 256;
    const cli_option own[] = {
        { "--max-tokens", NULL, CLI_COUNT, &max_tokens, 0, 0,
          "N   tokens to leave room for in what is predicted (256)" },
        { "--json", NULL, CLI_FLAG, &json, 0, 0, "one JSON object" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, cli_input_options(&in), NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "inspect -m DIR [--json] [-i FILE ...]", tables, &rest, 0);
    if (done < 0) done = cli_input_check(&in);
    if (done < 0 && in.input_file) {
        fprintf(stderr, "vlm: inspect: it predicts for -i and -p, not for --input\n");
        done = CLI_USAGE;
    }
    if (done >= 0) return done;
    vlm_error err = VLM_ERROR_INIT;
    return run(&in, max_tokens, json, &err) < 0 ? cli_fail("inspect", &err) : CLI_DONE;
}
