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

/* Memory that does not exist, but must not look like a lack of memory. */
static void *dry_memory_new(vtensor_backend *base, size_t) {
    return base;
}
static void dry_memory_free(vtensor_backend *, void *) {}

static bool room(const vtensor_backend *base, vtensor_room *room) {
    const vcuda_backend *b = (const vcuda_backend *)base;
    room->frame = vcuda_frame_bytes();
    bool known = cudaSetDevice(b->device) == cudaSuccess && cudaMemGetInfo(&room->available, &room->total) == cudaSuccess;
    cudaGetLastError(); /* not the next call's */
    return known;
}

static const vtensor_table *table(bool dry) {
    static const vtensor_table real = [] {
        vtensor_table t;
        memset(&t, 0, sizeof t);
        t.name = "cuda";
        t.piece_values = PIECE_VALUES;
        t.free = backend_free;
        t.memory_new = memory_new;
        t.memory_free = memory_free;
        t.room = room;
        t.frame_open = vcuda_frame_open;
        t.frame_close = vcuda_frame_close;
        t.frame_begin = vcuda_frame_begin;
        t.expect = vcuda_expect;
        t.place = vcuda_place;
        t.place_rows = vcuda_place_rows;
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
        t.blend = vcuda_blend;
        t.short_conv = vcuda_short_conv;
        t.depthwise_conv = vcuda_depthwise_conv;
        t.route = vcuda_route;
        t.experts = vcuda_experts;
        t.argmax = vcuda_argmax;
        t.embed = vcuda_embed;
        t.norm = vcuda_norm;
        t.rope_angles = vcuda_rope_angles;
        t.rope = vcuda_rope;
        t.attention = vcuda_attention;
        t.attention_rotates = true;
        t.attention_add = vcuda_attention_add;
        return t;
    }();
    static const vtensor_table shapes = [] {
        vtensor_table t = real;
        t.shapes_only = true;
        t.memory_new = dry_memory_new;
        t.memory_free = dry_memory_free;
        t.expect = NULL;
        t.place = NULL;
        t.place_rows = NULL;
        t.placed = NULL;
        return t;
    }();
    return dry ? &shapes : &real;
}

/* Stands for all kernels: how they were compiled for the device. */
__global__ static void probe(void) {}

/* What the device can, and what the code that it runs was compiled for. */
static cudaError_t survey(vcuda_backend *b, int *major, int *minor) {
    int shared = 0;
    cudaFuncAttributes code;
    cudaError_t e = cudaSetDevice(b->device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&b->multiprocessors, cudaDevAttrMultiProcessorCount, b->device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(major, cudaDevAttrComputeCapabilityMajor, b->device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(minor, cudaDevAttrComputeCapabilityMinor, b->device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, b->device);
    if (e == cudaSuccess) e = cudaFuncGetAttributes(&code, probe);
    if (e != cudaSuccess) return e;
    b->shared = (size_t)shared;
    b->overlaps = code.ptxVersion >= 90;
#ifdef VCUDA_WGMMA
    b->wgmma = *major == 9 && *minor == 0;
#endif
    return e;
}

static vlm_status fail(const vtensor_cuda_host *host, vlm_error *err, int device, cudaError_t e) {
    return host->fail(err, VLM_ERR_BACKEND, "cuda: device %d: %s", device, cudaGetErrorString(e));
}

extern "C" __attribute__((visibility("default"))) vlm_status
vlm_cuda_backend_new(vtensor_backend **out, const vtensor_cuda_host *host, vcore_pool *pool, int device, bool dry, vlm_error *err) {
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
    b->base.table = table(dry);
    b->dry = dry;
    b->host = host;
    b->device = device;
    int major = 0, minor = 0;
    e = survey(b, &major, &minor);
    if (e == cudaErrorNoKernelImageForDevice || e == cudaErrorInvalidDeviceFunction) {
        cudaGetLastError();
        backend_free(&b->base);
        return host->fail(err, VLM_ERR_UNSUPPORTED, "cuda: device %d has compute capability %d.%d, which libvlm-cuda.so has no code for", device,
                          major, minor);
    }
    if (e == cudaSuccess && !dry && cublasLtCreate(&b->blas) != CUBLAS_STATUS_SUCCESS) e = cudaErrorInitializationError;
    if (e != cudaSuccess) {
        backend_free(&b->base);
        return fail(host, err, device, e);
    }
    b->base.pool = pool; /* from here on the backend's */
    *out = &b->base;
    return VLM_OK;
}
