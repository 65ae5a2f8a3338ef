/* SPDX-License-Identifier: MIT */
/* Stands between the CUDA backend and the runtime in the library that steps.c loads; see cmake/cuda.cmake. */
#include "calls.h"

#include <cuda_runtime.h>

extern "C" {
__attribute__((visibility("default"))) cuda_calls vlm_cuda_calls;

#define COUNTED(what, name, types, names)                                                          \
    cudaError_t __real_##name types;                                                               \
    cudaError_t __wrap_##name types {                                                              \
        vlm_cuda_calls.what++;                                                                     \
        return __real_##name names;                                                                \
    }

COUNTED(allocations, cudaMalloc, (void **p, size_t n), (p, n))
COUNTED(allocations, cudaMallocHost, (void **p, size_t n), (p, n))
COUNTED(allocations, cudaHostAlloc, (void **p, size_t n, unsigned flags), (p, n, flags))
COUNTED(allocations, cudaFree, (void *p), (p))
COUNTED(allocations, cudaFreeHost, (void *p), (p))
COUNTED(waits, cudaStreamSynchronize, (cudaStream_t s), (s))
COUNTED(waits, cudaEventSynchronize, (cudaEvent_t e), (e))
COUNTED(graphs, cudaGraphLaunch, (cudaGraphExec_t g, cudaStream_t s), (g, s))
COUNTED(kernels, cudaMemsetAsync, (void *p, int v, size_t n, cudaStream_t s), (p, v, n, s))
COUNTED(kernels, cudaLaunchKernel, (const void *f, dim3 g, dim3 b, void **args, size_t n, cudaStream_t s), (f, g, b, args, n, s))
COUNTED(kernels, cudaLaunchKernelExC, (const cudaLaunchConfig_t *c, const void *f, void **args), (c, f, args))

cudaError_t __real_cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s);
cudaError_t __wrap_cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s) {
    vlm_cuda_calls.copies++;
    if (kind == cudaMemcpyDeviceToHost) vlm_cuda_calls.bytes_back += (long)n;
    return __real_cudaMemcpyAsync(to, from, n, kind, s);
}
}
