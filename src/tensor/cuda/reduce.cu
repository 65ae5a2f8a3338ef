/* SPDX-License-Identifier: MIT */
/* The first of the largest values of every row, in one launch: the block that ends last reduces what the others found. */
#include "tensor/cuda/cuda.h"

enum { THREADS = 256, BLOCKS = 64, MOST_ROWS = 65535 }; /* of a grid; VCUDA_COUNTERS are more */

struct argmax_args {
    const float *x;
    int32_t *y, *counters;
    uint64_t *parts; /* [rows, BLOCKS] */
    int64_t rows, dim, stride;
};

/* Orders by value, then by place, the first highest; NaN is lowest. */
__device__ static uint64_t key_of(float v, uint32_t at) {
    uint32_t bits = v == 0 ? 0 : __float_as_uint(v); /* -0 is 0 */
    bits = v != v ? 0 : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | ~at;
}

__device__ static uint64_t block_largest(uint64_t k) {
    __shared__ uint64_t shared[THREADS / 32];
    for (int d = 16; d; d /= 2) {
        uint64_t other = __shfl_xor_sync(~0u, k, d);
        k = other > k ? other : k;
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = k;
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++) k = shared[i] > k ? shared[i] : k;
    __syncthreads();
    return k;
}

__global__ __launch_bounds__(THREADS) static void argmax(const __grid_constant__ argmax_args a) {
    __shared__ int last;
    vcuda_begin_next();
    vcuda_wait_before();
    const float *x = a.x + blockIdx.y * a.stride;
    uint64_t best = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < a.dim; i += BLOCKS * THREADS) {
        uint64_t k = key_of(x[i], (uint32_t)i);
        best = k > best ? k : best;
    }
    best = block_largest(best);
    if (threadIdx.x == 0) {
        a.parts[blockIdx.y * BLOCKS + blockIdx.x] = best;
        __threadfence();
        last = atomicAdd(&a.counters[blockIdx.y], 1) == BLOCKS - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    best = block_largest(threadIdx.x < BLOCKS ? __ldcg(&a.parts[blockIdx.y * BLOCKS + threadIdx.x]) : 0);
    if (threadIdx.x == 0) {
        a.y[blockIdx.y] = (int32_t)~(uint32_t)best;
        a.counters[blockIdx.y] = 0;
    }
}

static void run_argmax(vcuda_stream *s, const argmax_args *a) {
    vcuda_launch_after(s, argmax, dim3(BLOCKS, (unsigned)a->rows), THREADS, 0, *a);
}

void vcuda_argmax(vlm_frame *f, vlm_tensor y, vlm_tensor x) {
    vcuda_rows rows = vcuda_rows_of(x);
    argmax_args a = vcuda_args<argmax_args>();
    vlm_scope scope = vcuda_of(f)->host->scope_begin(f);
    a.x = (const float *)x.data;
    a.y = (int32_t *)y.data;
    a.counters = vcuda_stream_of(f)->counters;
    a.parts = (uint64_t *)vcuda_temporary(f, (size_t)rows.rows * BLOCKS * sizeof(uint64_t));
    a.dim = rows.dim;
    a.stride = rows.stride;
    a.rows = rows.rows;
    if (rows.rows > MOST_ROWS)
        vcuda_of(f)->host->frame_fail(f, VLM_ERR_LIMIT, "argmax: %lld rows", (long long)rows.rows);
    else if (a.parts)
        vcuda_submit(f, run_argmax, a);
    vcuda_of(f)->host->scope_end(f, scope);
}
