/* SPDX-License-Identifier: MIT */
/* Runs programs of the build as a user does and keeps what they say. */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tprocess {
    int status;     /* exit status; 128 + signal when it was killed */
    char *out, *err; /* NUL-terminated, owned: tprocess_free */
    size_t peak_rss; /* bytes */
} tprocess;

/* Runs argv (ended by NULL); argv[0] without a slash is a program of the build directory (VLM_BUILD_DIR, or
 * build). input may be NULL. Killed after a minute, which fails the test. */
tprocess tprocess_run(const char *const *argv, const char *input);
/* The same, killed after so many seconds and, but under a sanitizer, refused more address space than this. */
tprocess tprocess_run_within(const char *const *argv, const char *input, unsigned seconds, size_t address_space);
void tprocess_free(tprocess *p);

/* Whether address space is free to be limited: sanitizers reserve terabytes of it. */
bool tprocess_can_limit(void);

/* Lines of text. */
size_t tprocess_lines(const char *text);

#endif
