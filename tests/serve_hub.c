/* SPDX-License-Identifier: MIT */
/* A hub (support/hub_server.h) as a program: serve_hub DIR. Prints its endpoint and commit, serves until its standard
 * input ends, then prints how many GETs and HEADs came and how many bytes went. */
#include "support/hub_server.h"

#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: serve_hub DIR\n");
        return 2;
    }
    thub *hub = thub_start(0);
    thub_set_dir(hub, argv[1]);
    printf("%s %s\n", thub_endpoint(hub), thub_commit(hub));
    fflush(stdout);
    while (getchar() != EOF) {}
    thub_count c = thub_counts(hub, "");
    printf("%d %d %llu\n", c.gets, c.heads, (unsigned long long)c.bytes);
    thub_stop(hub);
    return 0;
}
