/* SPDX-License-Identifier: MIT */
/* What count_calls.cu counts and steps.c reads: calls of the CUDA runtime by the backend. */
#ifndef TESTS_CUDA_CALLS_H
#define TESTS_CUDA_CALLS_H

typedef struct cuda_calls {
    long allocations; /* and what frees them, of both memories */
    long copies, bytes_back; /* cudaMemcpyAsync outside of graphs; the bytes of those that go to the host */
    long waits;
    long graphs, kernels; /* launches; of kernels: outside of graphs */
} cuda_calls;
#define CUDA_CALLS "vlm_cuda_calls" /* the exported symbol, a cuda_calls */

#endif
