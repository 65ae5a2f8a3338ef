/* SPDX-License-Identifier: MIT */
/* The other side of a benchmark: a program that is asked for one piece of work at a time, a line each,
 * through pipes, so that both sides work in turns. What is asked and answered is the benchmark's. */
#ifndef VLM_BENCH_PEER_H
#define VLM_BENCH_PEER_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct peer {
    pid_t pid;
    FILE *to, *from;
} peer;

/* Runs a shell command; false: it cannot be run, or there is none (NULL, ""). */
bool peer_start(peer *p, const char *command);
/* Ends its input; its last words, so many numbers, are in `held`. Zeros: it left none. */
void peer_end(peer *p, long *held, int n);

#endif
