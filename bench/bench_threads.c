/* SPDX-License-Identifier: MIT */
/* What the thread pool costs: a parallel region of empty items, the same behind pauses in which the workers
 * fall asleep, regions of two pools at once, and the CPU time that an idle pool takes.
 *
 *     bench_threads [threads]
 *
 * Microseconds, median and least of the rounds: where other programs run, only the latter is the pool's. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/machine.h"

enum { ROUNDS = 31, REGIONS = 200 };

static void nothing(void *arg, size_t i, int worker) {
    (void)arg, (void)i, (void)worker;
}

/* An item that takes about `arg` microseconds. */
static void busy(void *arg, size_t i, int worker) {
    double until = seconds_of(CLOCK_MONOTONIC) + *(const double *)arg * 1e-6;
    (void)i, (void)worker;
    while (seconds_of(CLOCK_MONOTONIC) < until) continue;
}

static void pause_for(double microseconds) {
    struct timespec t = { .tv_nsec = (long)(microseconds * 1e3) };
    if (microseconds > 0) nanosleep(&t, NULL);
}

typedef struct cost {
    double median, least;
} cost;

static cost cost_of(double *took) {
    double middle = median(took, ROUNDS); /* sorts */
    return (cost) { middle, took[0] };
}

static void print(const char *what, cost c) {
    printf("%-44s %8.2f %8.2f\n", what, c.median, c.least);
}

/* A region, each behind a pause. */
static cost region(vcore_pool *p, size_t items, double pause) {
    double took[ROUNDS];
    int regions = pause > 0 ? 4 : REGIONS;
    for (int round = 0; round < ROUNDS; round++) {
        took[round] = 0;
        for (int i = 0; i < regions; i++) {
            pause_for(pause);
            double start = seconds_of(CLOCK_MONOTONIC);
            vcore_pool_run(p, items, nothing, NULL);
            took[round] += seconds_of(CLOCK_MONOTONIC) - start;
        }
        took[round] *= 1e6 / regions;
    }
    return cost_of(took);
}

/* Regions of one busy item a thread, with short serial work between them: a decode step. */
static cost step(vcore_pool *p, double item) {
    double took[ROUNDS], serial = 2;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds_of(CLOCK_MONOTONIC);
        for (int i = 0; i < REGIONS; i++) {
            vcore_pool_run(p, (size_t)vcore_pool_size(p), busy, &item);
            busy(&serial, 0, 0);
        }
        took[round] = (seconds_of(CLOCK_MONOTONIC) - start) * 1e6 / REGIONS - item - serial;
    }
    return cost_of(took);
}

typedef struct other {
    vcore_pool *pool;
    cost region;
} other;

static void *other_main(void *arg) {
    other *o = arg;
    o->region = region(o->pool, 8, 0);
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    vcore_pool *p = vcore_pool_new(threads), *q = vcore_pool_new(threads);
    if (!p || !q) return 1;
    size_t n = (size_t)vcore_pool_size(p);
    printf("%zu threads; microseconds: median, least\n", n);
    print("a region of one empty item a thread", region(p, n, 0));
    print("a region of 16 empty items a thread", region(p, 16 * n, 0));
    print("beyond the items: items of 10, serial 2", step(p, 10));
    print("beyond the items: items of 50, serial 2", step(p, 50));
    print("an empty region behind a pause of 20", region(p, n, 20));
    print("an empty region behind a pause of 2,000", region(p, n, 2000));
    other o = { .pool = q };
    pthread_t t;
    if (pthread_create(&t, NULL, other_main, &o) == 0) {
        print("one of two pools at once, 8 empty items", region(p, 8, 0));
        pthread_join(t, NULL);
        print("the other", o.region);
    }
    vcore_pool_run(p, n, nothing, NULL);
    double before = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    pause_for(500e3);
    printf("%-44s %8.2f\n", "CPU time of 500,000 without work",
           (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - before) * 1e6);
    vcore_pool_free(p);
    vcore_pool_free(q);
    return 0;
}
