/* SPDX-License-Identifier: MIT */
/* The CUDA backend as an object: the device, its memory, the table of operations, the exported entry. */
#include "tensor/cuda/cuda.h"

/* Products of many rows at a time pay here: 1 GiB of float32. */
static const int64_t PIECE_VALUES = (int64_t)1 << 28;

static void backend_free(vtensor_backend *base) {
    vcuda_backend *b = (vcuda_backend *)base;
    const vtensor_cuda_host *host = b->host;
    cudaSetDevice(b->device);
    vcuda_weights_free(b);
    if (b->blas) cublasLtDestroy(b->blas);
    if (b->base.pool) host->pool_free(b->base.pool);
    host->free(b);
}

static void *memory_new(vtensor_backend *base, size_t bytes) {
    void *p = NULL;
    cudaSetDevice(((vcuda_backend *)base)->device);
    if (cudaMalloc(&p, bytes) != cudaSuccess || cudaMemset(p, 0, bytes) != cudaSuccess
        || cudaStreamSynchronize(0) != cudaSuccess) {
        cudaGetLastError(); /* a lack of memory is not the next call's error */
        cudaFree(p);
        return NULL;
    }
    return p;
}

static void memory_free(vtensor_backend *base, void *p) {
    cudaSetDevice(((vcuda_backend *)base)->device);
    cudaFree(p);
}

static const vtensor_table *table(void) {
    static const vtensor_table t = [] {
        vtensor_table t;
        memset(&t, 0, sizeof t);
        t.name = "cuda";
        t.piece_values = PIECE_VALUES;
        t.free = backend_free;
        t.memory_new = memory_new;
        t.memory_free = memory_free;
        t.frame_open = vcuda_frame_open;
        t.frame_close = vcuda_frame_close;
        t.frame_begin = vcuda_frame_begin;
        t.expect = vcuda_expect;
        t.place = vcuda_place;
        t.placed = vcuda_placed;
        t.upload = vcuda_upload;
        t.download = vcuda_download;
        t.wait = vcuda_wait;
        t.copy = vcuda_copy;
        t.gather = vcuda_gather;
        t.scatter = vcuda_scatter;
        t.add = vcuda_add;
        t.mul = vcuda_mul;
        t.scale = vcuda_scale;
        t.softcap = vcuda_softcap;
        t.activation = vcuda_activation;
        t.gate = vcuda_gate;
        t.linear = vcuda_linear;
        t.linears = vcuda_linears;
        t.norm_linears = vcuda_norm_linears;
        t.linear_add = vcuda_linear_add;
        t.gated_add = vcuda_gated_add;
        t.argmax = vcuda_argmax;
        t.embed = vcuda_embed;
        t.norm = vcuda_norm;
        t.rope_angles = vcuda_rope_angles;
        t.rope = vcuda_rope;
        t.attention = vcuda_attention;
        t.attention_rotates = true;
        return t;
    }();
    return &t;
}

static vlm_status fail(const vtensor_cuda_host *host, vlm_error *err, int device, cudaError_t e) {
    return host->fail(err, VLM_ERR_BACKEND, "cuda: device %d: %s", device, cudaGetErrorString(e));
}

extern "C" __attribute__((visibility("default"))) vlm_status
vlm_cuda_backend_new(vtensor_backend **out, const vtensor_cuda_host *host, vcore_pool *pool, int device, vlm_error *err) {
    *out = NULL;
    static const size_t sizes[] = VTENSOR_CUDA_SIZES;
    if (host->version != VTENSOR_CUDA_VERSION || memcmp(host->sizes, sizes, sizeof sizes) != 0)
        return host->fail(err, VLM_ERR_BACKEND, "cuda: libvlm-cuda.so is of another version than the library");
    int devices = 0;
    cudaError_t e = cudaGetDeviceCount(&devices);
    if (e != cudaSuccess) return fail(host, err, device, e);
    if (device < 0 || device >= devices)
        return host->fail(err, VLM_ERR_ARGUMENT, "cuda: device %d: there are %d", device, devices);
    vcuda_backend *b = (vcuda_backend *)host->alloc(sizeof *b);
    if (!b) return host->fail(err, VLM_ERR_MEMORY, "cuda: no memory for the backend");
    b->base.table = table();
    b->host = host;
    b->device = device;
    e = cudaSetDevice(device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&b->multiprocessors, cudaDevAttrMultiProcessorCount, device);
    int major = 0;
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    b->overlaps = major >= 9;
    int shared = 0;
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    b->shared = (size_t)shared;
    if (e == cudaSuccess && cublasLtCreate(&b->blas) != CUBLAS_STATUS_SUCCESS) e = cudaErrorInitializationError;
    if (e != cudaSuccess) {
        backend_free(&b->base);
        return fail(host, err, device, e);
    }
    b->base.pool = pool; /* from here on the backend's */
    *out = &b->base;
    return VLM_OK;
}
