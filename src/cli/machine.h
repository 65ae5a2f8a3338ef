/* SPDX-License-Identifier: MIT */
/* Measuring, shared by `vlm bench` and the programs of bench/: clocks, medians, and the limits of the machine that figures
 * are shares of, with as many threads as the work. */
#ifndef VLM_CLI_MACHINE_H
#define VLM_CLI_MACHINE_H

#include <time.h>

#include "core/core.h"

/* Seconds of a clock. */
double seconds_of(clockid_t clock);
double median(double *v, int n); /* sorts v */
/* Finite bfloat16, float16 and float32 values whatever it is read as; ends the program when there
 * is no memory. */
void *filled(size_t bytes);

typedef struct machine {
    vcore_pool *pool;
    clockid_t clock;
    char *memory;       /* anonymous, in huge pages where the system gives them */
    const char *mapped; /* a piece of a file, its pages in place; or NULL */
    size_t bytes;       /* of each of them: more than the caches hold */
    const char *reads;  /* which of them the next measurement reads */
    float *sink;        /* [threads][16] */
} machine;
/* Rates per second: bytes read, operations of floats and of 8-bit integers (a multiply-add is two). 0: the machine
 * cannot, or it was not asked for. */
typedef struct limits {
    double read;              /* the larger of the next two */
    double anonymous, mapped; /* by kind of memory */
    double f32;               /* float32 multiply-adds */
    double bf16;              /* dot products of bfloat16, or float32 where that is faster */
    double int8;              /* dot products of 8-bit integers */
} limits;

/* A pool of so many threads (<= 0: all). With one thread it is CPU time that counts, so that a busy
 * machine shows less. Ends the program when there is no memory. */
void machine_init(machine *m, int threads);
void machine_free(machine *m);
/* Measures reading of this file's beginning, too, as a checkpoint lies in memory; false: it is too small, or cannot be
 * read. */
bool machine_map(machine *m, const char *path);
/* One round, with these features of the CPU; several of them are to be put into a median. */
limits measure(machine *m, unsigned flags);
void report_limits(machine *m, unsigned flags); /* prints medians */

#endif
