/* SPDX-License-Identifier: MIT */
/* See alloc.h. The linker (--wrap) sends every allocation of the program through here. */
#include "alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

static atomic_long count, fail_at;

void talloc_start(long k) {
    atomic_store(&count, 0);
    atomic_store(&fail_at, k);
}

long talloc_stop(void) {
    atomic_store(&fail_at, 0);
    return atomic_load(&count);
}

static bool fails(void) {
    return atomic_fetch_add(&count, 1) + 1 == atomic_load(&fail_at);
}

void *__wrap_malloc(size_t bytes) {
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t bytes) {
    return fails() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}
