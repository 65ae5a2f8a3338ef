/* SPDX-License-Identifier: MIT */
/* The machine's limits, measured by a process of its own: what it reads is not in the memory that a run is said to
 * hold, and it is there between one piece of work and the next. */
#ifndef VLM_CLI_CEILINGS_H
#define VLM_CLI_CEILINGS_H

#include <stdio.h>
#include <sys/types.h>

#include "cli/machine.h"

typedef struct ceilings {
    pid_t pid;
    FILE *ask, *answer;
} ceilings;

/* To be called while the process has one thread. */
vlm_status ceilings_start(ceilings *c, int threads, vlm_error *err);
/* From now on reading this file, as checkpoints lie in memory, is measured too, if it is large enough for that. */
void ceilings_read_file(ceilings *c, const char *path);
/* One round; all zeros where nothing was started. */
vlm_status ceilings_measure(ceilings *c, limits *out, vlm_error *err);
void ceilings_stop(ceilings *c); /* after a failed start, too */

#endif
