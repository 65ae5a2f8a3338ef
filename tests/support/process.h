/* SPDX-License-Identifier: MIT */
/* Runs programs of the build as a user does and keeps what they say. */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <stddef.h>

typedef struct tprocess {
    int status;     /* exit status; 128 + signal when it was killed */
    char *out, *err; /* NUL-terminated, owned: tprocess_free */
} tprocess;

/* Runs argv (ended by NULL); argv[0] without a slash is a program of the build directory (VLM_BUILD_DIR, or
 * build). input may be NULL. Killed after a minute, which fails the test. */
tprocess tprocess_run(const char *const *argv, const char *input);
void tprocess_free(tprocess *p);

/* Lines of text. */
size_t tprocess_lines(const char *text);

#endif
