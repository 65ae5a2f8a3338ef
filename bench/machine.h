/* SPDX-License-Identifier: MIT */
/* What benchmarks share: clocks, medians, and the limits of the machine that figures are shares of:
 * read bandwidth, float32 multiply-adds, bfloat16 dot products, with as many threads as the work.
 */
#ifndef VLM_BENCH_MACHINE_H
#define VLM_BENCH_MACHINE_H

#include <time.h>

#include "core/core.h"

enum { MAX_THREADS = 256 };

/* Seconds of a clock. */
double seconds_of(clockid_t clock);
double median(double *v, int n); /* sorts v */
/* Finite bfloat16, float16 and float32 values whatever it is read as; ends the program when there
 * is no memory. */
void *filled(size_t bytes);

typedef struct machine {
    vcore_pool *pool;
    clockid_t clock;
    char *memory;
    float sink[MAX_THREADS * 16];
} machine;
/* Rates per second: bytes read, float32 and bfloat16 operations (a multiply-add is two). */
typedef struct limits {
    double read, f32, bf16;
} limits;

/* A pool of so many threads (<= 0: all). With one thread it is CPU time that counts, so that a busy
 * machine shows less. */
void machine_init(machine *m, int threads);
void machine_free(machine *m);
/* One round, with these features of the CPU; several of them are to be put into a median. */
limits measure(machine *m, unsigned flags);
void report_limits(machine *m, unsigned flags); /* prints medians */

#endif
