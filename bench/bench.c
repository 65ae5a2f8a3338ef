/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool bench_open(bench *b, int argc, char **argv) {
    static machine m;
    vtensor_cpu_options options = { .threads = argc > 1 ? atoi(argv[1]) : 0 };
    if (argc > 2 && strcmp(argv[2], "all") != 0) {
        const vcore_cpu_level *level = vcore_cpu_level_find(argv[2]);
        if (!level || !vcore_cpu_level_runs(level)) {
            fprintf(stderr, "%s: no instruction set '%s' here\n", argv[0], argv[2]);
            return false;
        }
        options.cpu_mask = ~level->flags;
    }
    machine_init(&m, options.threads);
    *b = (bench) { .m = &m, .flags = vcore_cpu_flags() & ~options.cpu_mask };
    if (!b->flags) b->flags = vcore_cpu_flags(); /* scalar code beside what the machine can do */
    if (argc > 3) b->only = argv[3];
    return vtensor_backend_cpu(&b->backend, &options, NULL) == VLM_OK
           && vtensor_frame_new(&b->f, b->backend, VTENSOR_FAST, NULL) == VLM_OK;
}

void bench_close(bench *b) {
    vtensor_frame_free(b->f);
    vtensor_backend_free(b->backend);
    machine_free(b->m);
}
