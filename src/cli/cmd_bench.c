/* SPDX-License-Identifier: MIT */
/* vlm bench: how fast a checkpoint runs here, beside what the machine can do. */
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>

static int usage(const char *message) {
    fprintf(stderr, "vlm: %s\n", message);
    return CLI_USAGE;
}

/* "512,2048": numbers in [1, most]. */
static bool take_list(bench_list *out, const char *text, unsigned long most) {
    out->n = 0;
    for (const char *p = text;; p++) {
        char *end;
        unsigned long n = *p >= '0' && *p <= '9' ? strtoul(p, &end, 10) : 0;
        if (n < 1 || n > most || out->n == BENCH_LIST) return false;
        out->at[out->n++] = (uint32_t)n;
        p = end;
        if (!*p) return true;
        if (*p != ',') return false;
    }
}

typedef struct texts {
    const char *prompts, *held, *batches, *picture;
} texts;

static int check(bench_options *o, const texts *t) {
    char rest;
    if (!take_list(&o->prompts, t->prompts, 1 << 24))
        return usage("--prompt-tokens: up to 8 numbers, separated by commas");
    if (!take_list(&o->held, t->held, 1 << 24)) return usage("--kv: up to 8 numbers, separated by commas");
    if (!take_list(&o->batches, t->batches, 32)) return usage("--batch: up to 8 numbers of 1 to 32, separated by commas");
    if (t->picture
        && (sscanf(t->picture, "%ux%u%c", &o->picture.width, &o->picture.height, &rest) != 2 || !o->picture.width
            || !o->picture.height))
        return usage("--picture: WxH, two numbers");
    return -1;
}

int cmd_bench(int argc, char **argv) {
    cli_input in = { 0 };
    bench_options o = { .generate = 16, .rounds = 5, .seconds = 20 };
    texts t = { "512,2048", "512", "1", NULL };
    const cli_option own[] = {
        { "--prompt-tokens", NULL, CLI_TEXT, &t.prompts, 0, 0, "N,..   prefill of so many random tokens (512,2048)" },
        { "--kv", NULL, CLI_TEXT, &t.held, 0, 0, "N,..   decode behind so many tokens (512)" },
        { "--generate", NULL, CLI_COUNT, &o.generate, 0, 65536, "N   steps of decoding in a round (16); 0: none" },
        { "--batch", NULL, CLI_TEXT, &t.batches, 0, 0, "N,..   sessions that decode together (1)" },
        { "--picture", NULL, CLI_TEXT, &t.picture, 0, 0, "WxH   the tower over a made-up picture; or give one with -i" },
        { "--rounds", NULL, CLI_COUNT, &o.rounds, 1, BENCH_ROUNDS, "N   rounds of each row (5)" },
        { "--seconds", NULL, CLI_COUNT, &o.seconds, 1, 0, "N   a row begins no round after so many (20)" },
        { "--json", NULL, CLI_FLAG, &o.json, 0, 0, "one JSON object; docs/SPEED.md tells its keys" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, cli_input_options(&in), NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "bench -m DIR [--picture WxH | -i FILE ...] [OPTIONS]", tables, &rest, 0);
    if (done < 0) done = cli_input_check(&in);
    if (done < 0) done = check(&o, &t);
    if (done >= 0) return done;
    static bench_result r; /* large */
    vlm_error err = VLM_ERROR_INIT;
    vlm_context *context;
    vlm_status status = bench_run(&r, &context, &in, &o, &err);
    r.model = in.model;
    if (status >= 0 && o.json) bench_print_json(&r);
    if (status >= 0 && !o.json) bench_print_table(&r);
    vlm_context_free(context);
    return status < 0 ? cli_fail("bench", &err) : CLI_DONE;
}
