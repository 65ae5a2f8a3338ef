/* SPDX-License-Identifier: MIT */
/* Allocation: the only callers of malloc in the library, and the arena. Owns no policy on sizes:
 * limits are checked by whoever reads a size from a file. */
#include "core/core.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { ARENA_ALIGN = 16, ARENA_FIRST = 4096, ARENA_LARGEST = 1 << 20 };

/* From so many bytes on, memory is asked for in large pages. */
#define LARGE ((size_t)4 << 20)
#define LARGE_PAGE ((size_t)2 << 20)

/* No object is larger than this; asking the C library would be undefined or abort a sanitizer's. */
static bool is_possible(size_t bytes) {
    return bytes <= PTRDIFF_MAX;
}

/* Large memory in large pages where the system has them: to fill pictures and pixels is else, for
 * the most part, to wait for pages of 4 KiB. Only advice: what comes of it does not matter. */
static void advise_large_pages(void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
    enum { PAGE = 4096 };
    if (!p || bytes < LARGE) return;
    uintptr_t begin = ((uintptr_t)p + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    uintptr_t end = ((uintptr_t)p + bytes) & ~(uintptr_t)(PAGE - 1);
    madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)p;
    (void)bytes;
#endif
}

void *vcore_alloc(size_t bytes) {
    void *p = bytes && is_possible(bytes) ? calloc(1, bytes) : NULL;
    advise_large_pages(p, bytes);
    return p;
}

void *vcore_alloc_array(size_t n, size_t size) {
    size_t bytes;
    return vcore_mul(n, size, &bytes) ? vcore_alloc(bytes) : NULL;
}

void *vcore_realloc_array(void *p, size_t n, size_t size) {
    size_t bytes;
    if (!vcore_mul(n, size, &bytes) || !is_possible(bytes)) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

/* Large blocks are what matrix products walk, whose rows are pages apart: more pages than the CPU
 * remembers the places of, if they are small. */
void *vcore_alloc_aligned(size_t bytes) {
    if (!bytes || !is_possible(bytes) || !is_possible(bytes + LARGE_PAGE)) return NULL;
    size_t padded = (bytes + 63) & ~(size_t)63, alignment = padded < LARGE ? 64 : LARGE_PAGE;
    /* C11 wants whole multiples; what is too much is never touched. */
    void *p = aligned_alloc(alignment, (padded + alignment - 1) / alignment * alignment);
    advise_large_pages(p, padded);
    if (p) memset(p, 0, padded);
    return p;
}

void vcore_free(void *p) {
    free(p);
}

char *vcore_strndup(const char *s, size_t n) {
    char *copy = n < PTRDIFF_MAX ? malloc(n + 1) : NULL;
    if (!copy) return NULL;
    if (n) memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

char *vcore_strdup(const char *s) {
    return vcore_strndup(s, strlen(s));
}

/* ---- arena: a list of chunks, each twice the last; the newest is filled ---------------------- */
typedef struct chunk {
    struct chunk *older;
    size_t used, size;
} chunk;

struct vcore_arena {
    chunk *newest;
};

/* The header's size keeps the bytes behind it aligned. */
_Static_assert(sizeof(chunk) <= 2 * ARENA_ALIGN, "chunk header");
enum { CHUNK_HEADER = 2 * ARENA_ALIGN };

vcore_arena *vcore_arena_new(void) {
    return vcore_alloc(sizeof(vcore_arena));
}

static chunk *add_chunk(vcore_arena *a, size_t bytes) {
    size_t size = a->newest ? a->newest->size * 2 : ARENA_FIRST, total;
    if (size > ARENA_LARGEST) size = ARENA_LARGEST;
    bool own = bytes > size / 4; /* a large request must not waste the rest of the newest chunk */
    if (own) size = bytes;
    if (!vcore_add(size, CHUNK_HEADER, &total)) return NULL;
    chunk *c = vcore_alloc(total);
    if (!c) return NULL;
    c->size = size;
    if (own && a->newest) {
        c->older = a->newest->older;
        a->newest->older = c;
    } else {
        c->older = a->newest;
        a->newest = c;
    }
    return c;
}

void *vcore_arena_alloc(vcore_arena *a, size_t bytes) {
    size_t padded;
    if (!vcore_add(bytes, ARENA_ALIGN - 1, &padded)) return NULL;
    padded &= ~(size_t)(ARENA_ALIGN - 1);
    chunk *c = a->newest;
    if (!c || c->size - c->used < padded) c = add_chunk(a, padded);
    if (!c) return NULL;
    void *p = (char *)c + CHUNK_HEADER + c->used;
    c->used += padded;
    return p;
}

void *vcore_arena_array(vcore_arena *a, size_t n, size_t size) {
    size_t bytes;
    return vcore_mul(n, size, &bytes) ? vcore_arena_alloc(a, bytes) : NULL;
}

char *vcore_arena_strndup(vcore_arena *a, const char *s, size_t n) {
    size_t bytes;
    char *copy = vcore_add(n, 1, &bytes) ? vcore_arena_alloc(a, bytes) : NULL;
    if (copy && n) memcpy(copy, s, n);
    return copy;
}

size_t vcore_arena_bytes(const vcore_arena *a) {
    size_t bytes = a ? sizeof *a : 0;
    for (const chunk *c = a ? a->newest : NULL; c; c = c->older) bytes += CHUNK_HEADER + c->size;
    return bytes;
}

void vcore_arena_free(vcore_arena *a) {
    if (!a) return;
    for (chunk *c = a->newest; c;) {
        chunk *older = c->older;
        vcore_free(c);
        c = older;
    }
    vcore_free(a);
}
