/* SPDX-License-Identifier: MIT */
/* vlm pull: a repository of the hub into the cache; prints where its snapshot lies. */
#include "cli/cli.h"

#include <stdio.h>

typedef struct pull_options {
    const char *revision;
    uint32_t parallel;
    bool offline, without_weights, no_retries;
} pull_options;

static vlm_status run(const char *id, const pull_options *p, vlm_error *err) {
    cli_hub hub;
    char *dir = NULL;
    vlm_status status = cli_hub_open(&hub, p->revision, err);
    hub.options.parallel = (int)p->parallel;
    hub.options.offline |= p->offline;
    hub.options.without_weights = p->without_weights;
    if (p->no_retries) hub.options.retries = -1;
    if (status >= 0) status = vlm_hub_pull(&dir, id, &hub.options, err);
    cli_hub_close(&hub);
    cli_loaded(status);
    if (status >= 0) puts(dir);
    vlm_string_free(dir);
    return status;
}

int cmd_pull(int argc, char **argv) {
    pull_options p = { 0 };
    const cli_option own[] = {
        { "--revision", NULL, CLI_TEXT, &p.revision, 0, 0, "R   branch, tag or commit (main)" },
        { "--parallel", NULL, CLI_COUNT, &p.parallel, 1, 64, "N   files at a time (8)" },
        { "--offline", NULL, CLI_FLAG, &p.offline, 0, 0, "look into the cache only" },
        { "--without-weights", NULL, CLI_FLAG, &p.without_weights, 0, 0, "configs and tokenizer only" },
        { "--no-retries", NULL, CLI_FLAG, &p.no_retries, 0, 0, "fail at once when the server does" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "pull ORG/NAME [--revision R]", tables, &rest, 1);
    if (done >= 0) return done;
    if (rest.n != 1 || !vlm_hub_is_id(rest.at[0])) {
        if (rest.n)
            fprintf(stderr, "vlm: pull: '%s' is no hub id: ORG/NAME\n", rest.at[0]);
        else
            fprintf(stderr, "vlm: pull: a hub id is needed: ORG/NAME\n");
        return CLI_USAGE;
    }
    vlm_error err = VLM_ERROR_INIT;
    return run(rest.at[0], &p, &err) < 0 ? cli_fail("pull", &err) : CLI_DONE;
}
