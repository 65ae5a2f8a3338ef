/* SPDX-License-Identifier: MIT */
/* What benchmarks of the CPU backend's operations begin with: the machine, a backend with as many
 * threads, a frame in fast mode, and the command line [threads [isa [name]]]. Owns no measurement. */
#ifndef VLM_BENCH_BENCH_H
#define VLM_BENCH_BENCH_H

#include "cli/machine.h"
#include "tensor/tensor.h"

typedef struct bench {
    machine *m;
    vtensor_backend *backend;
    vlm_frame *f;
    unsigned flags;   /* features of the CPU that the limits are measured with */
    const char *only; /* rows whose names contain it; NULL: all */
} bench;

/* isa: a name of vcore_cpu_levels, or all. False when it is not here, which is told, or when there
 * is no memory. */
bool bench_open(bench *b, int argc, char **argv);
void bench_close(bench *b);

#endif
