/* SPDX-License-Identifier: MIT */
/* Finds libvlm-cuda.so: beside the library or the program that holds this code, else where the system looks. Part of
 * the library, which knows nothing more of CUDA. */
#include "tensor/cuda/entry.h"

#include <dlfcn.h>
#include <stdio.h>

#define NAME "libvlm-cuda.so"

static const vtensor_cuda_host host = {
    .version = VTENSOR_CUDA_VERSION,
    .frame_bytes = sizeof(vlm_frame),
    .fail = vcore_fail,
    .frame_fail = vlm_frame_fail,
    .temporary = vtensor_new,
    .scope_begin = vlm_scope_begin,
    .scope_end = vlm_scope_end,
    .alloc = vcore_alloc,
    .free = vcore_free,
    .run = vcore_pool_run,
};

static void *open_beside(void) {
    Dl_info info;
    char path[4096];
    if (!dladdr(&host, &info) || !info.dli_fname) return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    int folder = slash ? (int)(slash - info.dli_fname + 1) : 0;
    int n = snprintf(path, sizeof path, "%.*s" NAME, folder, info.dli_fname);
    if (n < 0 || (size_t)n >= sizeof path) return NULL;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

vlm_status vtensor_backend_cuda(vtensor_backend **out, int device, int threads, vlm_error *err) {
    *out = NULL;
    void *library = open_beside();
    if (!library) library = dlopen(NAME, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "backend: 'cuda': %s", why ? why : NAME " cannot be loaded");
    }
    vtensor_cuda_entry *entry; /* a function's address, as POSIX has it returned */
    *(void **)&entry = dlsym(library, VTENSOR_CUDA_ENTRY);
    if (!entry) return vcore_fail(err, VLM_ERR_BACKEND, "backend: 'cuda': " NAME " has no " VTENSOR_CUDA_ENTRY);
    vcore_pool *pool = vcore_pool_new(threads);
    if (!pool) return vcore_no_memory(err, "cuda backend");
    vlm_status status = entry(out, &host, pool, device, err);
    if (status < 0) vcore_pool_free(pool);
    return status;
}
