/* SPDX-License-Identifier: MIT */
/* vlm inspect: what a checkpoint directory is and would need; reads headers only. */
#include "cli/cli.h"

#include <stdio.h>

static void print_value(const vcore_json *v) {
    vcore_str s = { "", 0 };
    double d = 0;
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
    case VCORE_JSON_REAL:
        vcore_json_real(v, &d);
        printf("%.0f", d);
        break;
    default: printf("-"); break;
    }
}

/* Nested values on one line: "key value, key value". */
static void print_object(const vcore_json *v) {
    vcore_json_iter it = { 0 };
    for (bool first = true; vcore_json_next(v, &it); first = false) {
        printf("%s%.*s ", first ? "" : ", ", (int)it.key.n, it.key.p);
        print_value(it.value);
    }
}

static void print_list(const vcore_json *v) {
    size_t n = vcore_json_count(v);
    if (n == 0) printf("none");
    for (size_t i = 0; i < n; i++) {
        printf("\n    ");
        if (vcore_json_kind_of(vcore_json_at(v, i)) == VCORE_JSON_OBJECT)
            print_object(vcore_json_at(v, i));
        else
            print_value(vcore_json_at(v, i));
    }
}

static void print_readable(const vcore_json *root) {
    vcore_json_iter it = { 0 };
    while (vcore_json_next(root, &it)) {
        printf("%-18.*s", (int)it.key.n, it.key.p);
        switch (vcore_json_kind_of(it.value)) {
        case VCORE_JSON_ARRAY: print_list(it.value); break;
        case VCORE_JSON_OBJECT: print_object(it.value); break;
        default: print_value(it.value); break;
        }
        putchar('\n');
    }
}

static vlm_status run(const cli_input *in, uint32_t max_tokens, bool json, vlm_error *err) {
    vlm_input *input = NULL;
    if (in->images.n || in->videos.n || in->prompt || in->messages || in->raw)
        VTRY(cli_build_input(&input, in, "", err));
    vlm_load_options options = cli_load_options(in);
    char *text;
    vlm_status status = vlm_inspect(&text, in->model, &options, input, max_tokens, err);
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
        { "--max-tokens", NULL, CLI_COUNT, &max_tokens, 0, 0, "N   tokens to leave room for" },
        { "--json", NULL, CLI_FLAG, &json, 0, 0, "one JSON object" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { cli_input_options(&in), own, NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "inspect -m DIR [--json] [-i FILE ...]", tables, &rest, 0);
    if (done < 0) done = cli_input_check(&in);
    if (done >= 0) return done;
    vlm_error err = VLM_ERROR_INIT;
    return run(&in, max_tokens, json, &err) < 0 ? cli_fail("inspect", &err) : CLI_DONE;
}
