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

/* One line per module: its name, its dtypes. */
static void print_modules(const vcore_json *v) {
    vcore_json_iter it = { 0 };
    while (vcore_json_next(v, &it)) {
        printf("\n  %-30.*s ", (int)it.key.n, it.key.p);
        print_object(it.value, true);
    }
}

static void print_list(const vcore_json *v) {
    size_t n = vcore_json_count(v);
    if (n == 0) printf("none");
    for (size_t i = 0; i < n; i++) {
        const vcore_json *item = vcore_json_at(v, i);
        printf("\n  ");
        if (vcore_json_kind_of(item) != VCORE_JSON_OBJECT) {
            print_value(item, false);
            continue;
        }
        vcore_json_iter it = { 0 }; /* an end token: id, text, where it comes from */
        for (int k = 0; vcore_json_next(item, &it); k++) {
            printf(k == 0 ? "" : k == 1 ? "  " : "  from ");
            print_value(it.value, false);
        }
    }
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
    printf("%-18s", text);
}

static void print_readable(const vcore_json *root) {
    vcore_json_iter it = { 0 };
    while (vcore_json_next(root, &it)) {
        print_key(it.key);
        if (vcore_str_eq(it.key, vcore_str_of("modules")))
            print_modules(it.value);
        else if (vcore_json_kind_of(it.value) == VCORE_JSON_ARRAY)
            print_list(it.value);
        else if (vcore_json_kind_of(it.value) == VCORE_JSON_OBJECT)
            print_object(it.value, vcore_str_eq(it.key, vcore_str_of("dtypes")));
        else
            print_value(it.value, is_bytes(it.key));
        putchar('\n');
    }
}

static vlm_status run(const cli_input *in, uint32_t max_tokens, bool json, vlm_error *err) {
    vlm_input *input = NULL;
    VTRY(cli_check_build(in, err));
    if (in->images.n || in->videos.n || in->prompt || in->messages || in->raw)
        VTRY(cli_build_input(&input, in, "", err));
    vlm_load_options options = cli_load_options(in);
    char *text;
    vlm_status status = vlm_inspect(&text, in->model, &options, input, max_tokens, err);
    cli_loaded(status);
    vlm_input_free(input);
    VTRY(status);
    vcore_json_doc *doc;
    if (json) {
        puts(text);
    } else {
        status = vcore_json_parse(&doc, text, strlen(text), "inspect", err);
        if (status >= 0) {
            print_readable(vcore_json_root(doc));
            vcore_json_free(doc);
        }
    }
    vlm_string_free(text);
    return status;
}

int cmd_inspect(int argc, char **argv) {
    cli_input in = { 0 };
    bool json = false;
    uint32_t max_tokens = 256;
    const cli_option own[] = {
        { "--max-tokens", NULL, CLI_COUNT, &max_tokens, 0, 0, "N   tokens to leave room for in what is predicted (256)" },
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
