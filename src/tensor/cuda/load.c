/* SPDX-License-Identifier: MIT */
/* Finds libvlm-cuda.so: beside the library or the program that holds this code, else where the system looks. Part of
 * the library, which knows nothing more of CUDA. */
#include "tensor/cuda/entry.h"

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#define NAME "libvlm-cuda.so"

static const vtensor_cuda_host host = {
    .version = VTENSOR_CUDA_VERSION,
    .fail = vcore_fail,
    .frame_fail = vlm_frame_fail,
    .temporary = vtensor_new,
    .scope_begin = vlm_scope_begin,
    .scope_end = vlm_scope_end,
    .alloc = vcore_alloc,
    .free = vcore_free,
    .run = vcore_pool_run,
    .pool_free = vcore_pool_free,
    .sizes = VTENSOR_CUDA_SIZES,
};

/* The file beside what holds this code: a shared library says where it lies, a program may say only how it was called. */
static bool path_beside(char *path, size_t size) {
    Dl_info info;
    char program[4096];
    const char *self = dladdr(&host, &info) && info.dli_fname ? info.dli_fname : "";
    if (*self != '/') {
        ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
        if (n <= 0) return false;
        program[n] = 0;
        self = program;
    }
    const char *slash = strrchr(self, '/');
    int n = slash ? snprintf(path, size, "%.*s" NAME, (int)(slash - self + 1), self) : -1;
    return n > 0 && (size_t)n < size;
}

/* One that lies beside is the one meant: another is not looked for when it fails to load. */
static void *open_library(void) {
    char path[4096 + sizeof NAME];
    bool beside = path_beside(path, sizeof path) && access(path, F_OK) == 0;
    return dlopen(beside ? path : NAME, RTLD_NOW | RTLD_LOCAL);
}

static vlm_status open_backend(vtensor_backend **out, int device, int threads, bool dry, vlm_error *err) {
    *out = NULL;
    void *library = open_library();
    if (!library) {
        const char *why = dlerror();
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "backend: 'cuda': %s", why ? why : NAME " cannot be loaded");
    }
    vtensor_cuda_entry *entry; /* a function's address, as POSIX has it returned */
    *(void **)&entry = dlsym(library, VTENSOR_CUDA_ENTRY);
    if (!entry) return vcore_fail(err, VLM_ERR_BACKEND, "backend: 'cuda': " NAME " has no " VTENSOR_CUDA_ENTRY);
    vcore_pool *pool = dry ? NULL : vcore_pool_new(threads);
    if (!pool && !dry) return vcore_no_memory(err, "cuda backend");
    vlm_status status = entry(out, &host, pool, device, dry, err);
    if (status < 0 && pool) vcore_pool_free(pool);
    return status;
}

vlm_status vtensor_backend_cuda(vtensor_backend **out, int device, int threads, vlm_error *err) {
    return open_backend(out, device, threads, false, err);
}

vlm_status vtensor_backend_cuda_dry(vtensor_backend **out, int device, vlm_error *err) {
    return open_backend(out, device, 1, true, err);
}
