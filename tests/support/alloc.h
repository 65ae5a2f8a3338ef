/* SPDX-License-Identifier: MIT */
/*
 * Hooks the allocator of a test program: counts allocations and makes one of them fail. Works in
 * programs named test_..._alloc.c, whose link wraps malloc, calloc, realloc and aligned_alloc; what
 * shared libraries allocate inside is not seen.
 */
#ifndef TESTS_SUPPORT_ALLOC_H
#define TESTS_SUPPORT_ALLOC_H

/* Starts counting anew; the k-th allocation from here fails (0: none does). */
void talloc_start(long k);
/* Allocations since talloc_start(), in all threads; none fails from here on. */
long talloc_stop(void);

#endif
