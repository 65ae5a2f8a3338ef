/* SPDX-License-Identifier: MIT */
/* Counts every allocation of the process, whoever makes it. */
#ifndef TESTS_SUPPORT_ALLOCATIONS_H
#define TESTS_SUPPORT_ALLOCATIONS_H

#include <stddef.h>

/* Allocations since the first call. */
size_t tallocations_count(void);

#endif
