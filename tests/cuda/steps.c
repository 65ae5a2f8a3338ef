/* SPDX-License-Identifier: MIT */
/* What a step of greedy decoding asks of the host and of CUDA once it repeats: no allocation, one launch of a graph, one copy
 * of four bytes, one wait. Allocators are hooked: the program's own by the linker, the runtime's in the library of
 * count_calls.cu that lies beside this program; what drivers allocate inside is not seen. For a machine with a GPU; not one
 * of the ctests.
 *
 *     cuda_steps CHECKPOINT */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "vlm/vlm.h"

enum { WARM = 6, STEPS = 40 };

/* ---- the host's allocator ---- */
static atomic_long allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);

void *__wrap_malloc(size_t n) {
    allocations++;
    return __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size) {
    allocations++;
    return __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n) {
    allocations++;
    return __real_realloc(p, n);
}
void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    allocations++;
    return __real_aligned_alloc(alignment, n);
}

/* ---- the session ---- */
static vlm_error err = VLM_ERROR_INIT;

static void must(vlm_status status, const char *what) {
    if (status >= 0) return;
    fprintf(stderr, "cuda_steps: %s: %s\n", what, err.message);
    exit(1);
}

static void next(vlm_session *session) {
    vlm_piece piece;
    must(vlm_session_next(session, &piece, &err), "next");
}

static int expect(const char *what, long found, long wanted) {
    printf("%-40s %ld, expected %ld\n", what, found, wanted);
    return found != wanted;
}

/* Of the library beside this program, which the backend has loaded. */
static cuda_calls *counters(void) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof "/libvlm-cuda.so");
    if (n <= 0) return NULL;
    path[n] = 0;
    strcpy(strrchr(path, '/'), "/libvlm-cuda.so");
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    return library ? dlsym(library, CUDA_CALLS) : NULL;
}

int main(int argc, char **argv) {
    vlm_context *context;
    vlm_input *input;
    vlm_prepared *prepared;
    vlm_session *session;
    vlm_load_options load = VLM_LOAD_OPTIONS_INIT;
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    if (argc != 2) return 2;
    load.backend = "cuda";
    options.max_tokens = WARM + STEPS + 1;
    options.ignore_eos = true;
    options.sampling.temperature = 0;
    must(vlm_context_load(&context, argv[1], &load, &err), "load");
    must(vlm_input_new(&input, &err), "input");
    must(vlm_input_add_message(input, "user", "What do you see?", &err), "message");
    must(vlm_prepare(&prepared, context, input, &err), "prepare");
    must(vlm_session_new(&session, context, &options, &err), "session");
    must(vlm_session_feed(session, prepared, &err), "feed");
    cuda_calls *calls = counters();
    if (!calls) {
        fprintf(stderr, "cuda_steps: the library beside this program counts nothing\n");
        return 1;
    }
    for (int i = 0; i < WARM; i++) next(session);
    const cuda_calls before = *calls;
    const long host = allocations;
    for (int i = 0; i < STEPS; i++) next(session);
    const long made = allocations - host;
    int wrong = expect("allocations of the host", made, 0);
    wrong += expect("allocations of CUDA", calls->allocations - before.allocations, 0);
    wrong += expect("launches of graphs", calls->graphs - before.graphs, STEPS);
    wrong += expect("launches beside them", calls->kernels - before.kernels, 0);
    wrong += expect("copies beside them", calls->copies - before.copies, STEPS);
    wrong += expect("bytes back", calls->bytes_back - before.bytes_back, 4L * STEPS);
    wrong += expect("waits", calls->waits - before.waits, STEPS);
    vlm_session_free(session);
    vlm_prepared_free(prepared);
    vlm_input_free(input);
    vlm_context_free(context);
    printf("cuda_steps: %d of 7 wrong, %d steps\n", wrong, STEPS);
    return wrong != 0;
}
