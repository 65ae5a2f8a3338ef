/* SPDX-License-Identifier: MIT */
/* Tests that are run once for each of several golden directories. */
#ifndef TESTS_SUPPORT_FAMILIES_H
#define TESTS_SUPPORT_FAMILIES_H

#include "support/cm.h"

typedef struct tcheck {
    const char *name;
    CMUnitTestFunction run; /* *state: the directory */
} tcheck;

/* One golden for each kind of decoder and of place for a picture. */
enum { T_N_FAMILIES = 7 };
extern const char *const tfamilies[T_N_FAMILIES];

/* Every check for every one of tfamilies; returns how many failed. */
int tfamilies_run(const char *group, const tcheck *checks, size_t n_checks);

#endif
