/* SPDX-License-Identifier: MIT */
/* vlm pull: a repository of the hub into the cache; prints where its snapshot lies. */
#include "cli/cli.h"

#include <stdio.h>

int cmd_pull(int argc, char **argv) {
    cli_hub_request r = { 0 };
    const cli_option own[] = {
        { "--revision", NULL, CLI_TEXT, &r.revision, 0, 0, "R   branch, tag or commit (main)" },
        { "--parallel", NULL, CLI_COUNT, &r.parallel, 1, 64, "N   files at a time (8)" },
        { "--offline", NULL, CLI_FLAG, &r.offline, 0, 0, "look into the cache only" },
        { "--without-weights", NULL, CLI_FLAG, &r.without_weights, 0, 0, "configs and tokenizer only" },
        { "--no-retries", NULL, CLI_FLAG, &r.no_retries, 0, 0, "fail at once when the server does" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "pull ORG/NAME [--revision R]", tables, &rest, 1);
    if (done >= 0) return done;
    if (rest.n != 1 || !vlm_hub_is_id(rest.at[0])) {
        fprintf(stderr, "vlm: pull: a hub id is needed: ORG/NAME\n");
        return CLI_USAGE;
    }
    vlm_error err = VLM_ERROR_INIT;
    char *dir = NULL;
    r.id = rest.at[0];
    if (cli_hub(&dir, &r, &err) < 0) return cli_fail("pull", &err);
    puts(dir);
    vlm_string_free(dir);
    return CLI_DONE;
}
