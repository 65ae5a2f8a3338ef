/* SPDX-License-Identifier: MIT */
/* What the files of the CUDA backend share: the backend, a frame's stream with its record of launches, and how an
 * operation is submitted. Only the .cu files include it.
 *
 * An operation packs what it needs into a plain struct and submits it with the function that launches its
 * kernels. The stream keeps these records. A pass whose records are those of the pass before it is a step that
 * repeats: it is captured as a CUDA graph, and from then on the records are only compared, and the graph is
 * launched in their place. What differs from step to step (ids, positions, lengths) goes through upload(), whose
 * bytes lie in pinned memory that the graph reads; it is no part of a record. */
#ifndef VLM_CUDA_H
#define VLM_CUDA_H

extern "C" {
#include "tensor/cuda/entry.h"
}

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>

/* Device memory of weights: slabs that tensors are laid into, filled through two pinned buffers. What is not used of one is
 * zero, and its last VCUDA_BEHIND bytes never are. */
struct vcuda_slab {
    char *data;
    size_t size, used;
    vcuda_slab *next;
};
struct vcuda_staging {
    char *pinned[2];
    cudaEvent_t done[2];
    int turn;
    size_t filled;  /* bytes of pinned[turn] that wait for their copy */
    char *to;       /* where they go on the device */
    cudaStream_t stream;
};

enum { VCUDA_COUNTERS = 1 << 16, VCUDA_BEHIND = 2 << 20, VCUDA_PITCH = 128 /* of rows that are no whole vectors, in bytes */ };

struct vcuda_plan; /* of a matrix product: see linear.cu */

struct vcuda_backend {
    vtensor_backend base;
    const vtensor_cuda_host *host;
    int device, multiprocessors;
    size_t shared; /* bytes of shared memory that a block may have */
    bool dry;      /* shapes only: records are not kept, nothing is launched, memory has no address */
    bool overlaps; /* a launch may begin while the one before it ends */
    bool wgmma;    /* the device has it, and so has the code that it runs */
    cublasLtHandle_t blas;
    vcuda_slab *slabs;
    vcuda_staging staging;
};

enum { VCUDA_OWN_SHARED = 4 << 10 }; /* bytes of a block's shared memory that kernels have beside what they ask for */

struct vcuda_stream;
typedef void vcuda_run(vcuda_stream *s, const void *args);
struct vcuda_record {
    vcuda_run *run;
    size_t at, bytes; /* of its arguments in `args` */
};
struct vcuda_stream {
    vcuda_backend *b;
    cudaStream_t stream;
    cudaError_t error; /* the first of the pass */
    char *pinned;      /* what uploads of this pass copy from */
    size_t pinned_size, pinned_used;
    char *turns[2];    /* pinned: what large uploads go through, made when the first one comes */
    cudaEvent_t turned[2];
    char *landing;     /* pinned: what small downloads arrive in */
    char *mirror;      /* its copy on the device, for tables of ours (vcuda_mirror) */
    int *bad_index, *bad_index_device; /* 1 + what was wrong, set by kernels; host memory */
    void *workspace;                   /* of cuBLASLt */
    int32_t *counters;                 /* [VCUDA_COUNTERS] zeros, between kernels */
    vcuda_plan *plans;

    char *table; /* of the host: see vcuda_table() */
    size_t table_capacity;

    vcuda_record *records;
    char *args;
    size_t n_records, record_capacity, args_used, args_capacity;
    size_t cursor;     /* records of this pass that equal those kept */
    bool comparing;    /* so far this pass is the one before it */
    bool replaying;    /* and its launches wait for the graph */
    bool capturing;
    bool busy;         /* something was launched that nobody has waited for */
    bool uncapturable; /* a graph of the records kept was tried and failed */
    size_t read_at;    /* the cursor when something was downloaded first */
    cudaGraphExec_t graph;
    size_t replays, captures; /* counted for tests */
};

static inline vcuda_backend *vcuda_of(const vlm_frame *f) {
    return (vcuda_backend *)f->backend;
}
static inline vcuda_stream *vcuda_stream_of(const vlm_frame *f) {
    return (vcuda_stream *)f->own;
}

/* Submits an operation; Args must be zeroed before it is filled, padding included. */
void vcuda_submit_bytes(vlm_frame *f, vcuda_run *run, const void *args, size_t bytes);
template <class Args> void vcuda_submit(vlm_frame *f, void (*run)(vcuda_stream *, const Args *), const Args &args) {
    vcuda_submit_bytes(f, (vcuda_run *)run, &args, sizeof args);
}
template <class Args> Args vcuda_args() {
    Args args;
    memset(&args, 0, sizeof args);
    return args;
}
/* Launches what waits for the graph; called before anything else touches the stream. */
void vcuda_flush(vlm_frame *f);
/* Keeps the first error of the stream. */
void vcuda_check(vcuda_stream *s, cudaError_t e);
static inline void vcuda_launched(vcuda_stream *s) {
    vcuda_check(s, cudaGetLastError());
}
/* Device memory that a frame takes beside temporaries. */
size_t vcuda_frame_bytes(void);
/* Temporary memory of an operation, given back when its scope ends; NULL when the frame failed. */
void *vcuda_temporary(vlm_frame *f, size_t bytes);

/* Host memory to make a table in, until the next call; NULL when the frame failed. */
void *vcuda_table(vlm_frame *f, size_t bytes);
/* A small table on the device, until the pass ends; NULL when the frame failed. A graph copies all of them at once. */
const void *vcuda_mirror(vlm_frame *f, const void *host, size_t bytes);

/* ---- views that records hold ---- */
struct vcuda_rows {
    void *data;
    int32_t type; /* vlm_dtype */
    int32_t pad;
    int64_t rows, dim, stride; /* stride in elements */
};
static inline vcuda_rows vcuda_rows_of(vlm_tensor x) {
    vcuda_rows r;
    memset(&r, 0, sizeof r);
    r.data = x.data;
    r.type = x.dtype;
    r.rows = x.shape[0];
    r.dim = x.rank > 1 ? x.shape[1] : 1;
    r.stride = x.rank > 1 ? x.stride[0] : 1;
    if (x.rank == 1) {
        r.rows = 1;
        r.dim = x.shape[0];
        r.stride = x.shape[0];
    }
    return r;
}

/* ---- on the device ---- */
/* A launch of vcuda_launch_after() begins while the one before it ends. What came before is there, and done with, only
 * behind vcuda_wait_before(), which every such kernel calls before it reads or writes anything but weights. */
__device__ static inline void vcuda_begin_next(void) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ static inline void vcuda_wait_before(void) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ static inline float vcuda_activate(float x, int act) {
    switch (act) {
    case VLM_ACT_GELU: return 0.5f * x * erfcf(-x * 0.70710678118654752f);
    case VLM_ACT_GELU_TANH: return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case VLM_ACT_QUICK_GELU: return x / (1 + expf(-1.702f * x));
    case VLM_ACT_SILU: return x / (1 + expf(-x));
    default: return fmaxf(x, 0);
    }
}
__device__ static inline float vcuda_load(const void *p, int type, int64_t i) {
    if (type == VLM_DTYPE_BF16) return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    if (type == VLM_DTYPE_F16) return __half2float(((const __half *)p)[i]);
    return ((const float *)p)[i];
}
__device__ static inline void vcuda_store(void *p, int type, int64_t i, float v) {
    if (type == VLM_DTYPE_BF16)
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(v);
    else if (type == VLM_DTYPE_F16)
        ((__half *)p)[i] = __float2half_rn(v);
    else
        ((float *)p)[i] = v;
}
template <class Args>
void vcuda_launch_after(vcuda_stream *s, void (*kernel)(Args), dim3 grid, unsigned threads, size_t shared, const Args &args) {
    cudaLaunchAttribute overlap;
    cudaLaunchConfig_t c = {};
    memset(&overlap, 0, sizeof overlap);
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = grid;
    c.blockDim = dim3(threads);
    c.dynamicSmemBytes = shared;
    c.stream = s->stream;
    c.attrs = &overlap;
    c.numAttrs = s->b->overlaps ? 1 : 0;
    vcuda_check(s, cudaLaunchKernelEx(&c, kernel, args));
}
static inline unsigned vcuda_blocks(int64_t n, int64_t per_block) {
    return (unsigned)((n + per_block - 1) / per_block);
}

/* Value i of a row of a quantized matrix, as MLX dequantizes it. */
struct vcuda_matrix {
    const void *data, *scales, *biases, *factor;
    int32_t storage, bits, group, type; /* type: dense: of data */
    int32_t scale_type, bias_type, divided, pad;
    int64_t out, in, row;               /* row: elements (dense) or 32-bit words between rows */
    int64_t scale_row, bias_row;
};
vcuda_matrix vcuda_matrix_of(const vlm_matrix *m);

/* ---- operations, by file ---- */
extern "C" {
/* stream.cu */
vlm_status vcuda_frame_open(vlm_frame *f, vlm_error *err);
void vcuda_frame_close(vlm_frame *f);
void vcuda_frame_begin(vlm_frame *f);
void vcuda_upload(vlm_frame *f, void *to, const void *host, size_t bytes);
void vcuda_download(vlm_frame *f, void *host, const void *from, size_t bytes);
void vcuda_wait(vlm_frame *f);
/* weights.cu */
vlm_status vcuda_expect(vtensor_backend *b, size_t bytes, vlm_error *err);
vlm_status vcuda_place(vtensor_backend *b, void **out, const void *host, size_t bytes, vlm_error *err);
vlm_status vcuda_place_rows(vtensor_backend *b, void **out, size_t *pitch, const void *host, size_t rows, size_t row_bytes, vlm_error *err);
/* Whether so many bytes from p on lie in memory of weights, theirs or not: they may be read. */
bool vcuda_holds(const vcuda_backend *b, const void *p, size_t bytes);
vlm_status vcuda_placed(vtensor_backend *b, vlm_error *err);
void vcuda_weights_free(vcuda_backend *b);
/* move.cu */
void vcuda_copy(vlm_frame *f, vlm_tensor y, vlm_tensor x);
void vcuda_gather(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index);
void vcuda_scatter(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows);
void vcuda_embed(vlm_frame *f, vlm_tensor y, const vlm_matrix *table, vlm_tensor ids);
/* reduce.cu */
void vcuda_argmax(vlm_frame *f, vlm_tensor y, vlm_tensor x);
/* elementwise.cu */
void vcuda_add(vlm_frame *f, vlm_tensor x, vlm_tensor y);
void vcuda_mul(vlm_frame *f, vlm_tensor x, vlm_tensor y);
void vcuda_scale(vlm_frame *f, vlm_tensor x, float factor);
void vcuda_softcap(vlm_frame *f, vlm_tensor x, float cap);
void vcuda_activation(vlm_frame *f, vlm_tensor x, vlm_activation act);
void vcuda_gate(vlm_frame *f, vlm_tensor gate, vlm_tensor up, vlm_activation act);
/* norm.cu */
void vcuda_norm(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_norm *norm, bool subtract_mean);
void vcuda_rope_angles(vlm_frame *f, const vlm_rope_table *y, vlm_tensor positions, const float *inv_freq,
                       const uint8_t *axis_of);
void vcuda_rope(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table, vlm_rope_pairs pairs);
/* linear.cu, gemv.cu */
void vcuda_linear(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear);
void vcuda_norm_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_norm *norm, const vlm_linear *const *linears,
                        int n_linears);
void vcuda_linear_add(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *linear);
void vcuda_gated_add(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_norm *norm, const vlm_linear *const *gate_up_down,
                     vlm_activation act);
void vcuda_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *linears, int n_linears);
void vcuda_plans_free(vcuda_stream *s);
/* mix.cu */
void vcuda_blend(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index, vlm_tensor weights);
void vcuda_short_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor weight, vlm_tensor bias, const vlm_segment *segments, int n_segments);
void vcuda_depthwise_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, int64_t width, const vlm_depthwise *conv, int64_t stride);
/* experts.cu */
void vcuda_route(vlm_frame *f, const vlm_routes *y, vlm_tensor logits);
void vcuda_experts(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *stack, int64_t out, vlm_tensor experts);
/* attention.cu */
void vcuda_attention(vlm_frame *f, vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_segment *segments,
                     int n_segments, const vlm_attention_desc *desc);
void vcuda_attention_add(vlm_frame *f, vlm_tensor sum, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_segment *segments,
                         int n_segments, const vlm_attention_desc *desc, const vlm_linear *linear);
}
/* linear.cu: whether so many rows meet these weights in bfloat16; vcuda_linear_add() takes them in it then. */
bool vcuda_takes_bf16(const vlm_frame *f, int64_t rows, const vlm_linear *l);
/* gemv.cu: y = x Wᵀ for a few rows; false when the shapes are not for it. */
bool vcuda_gemv(vlm_frame *f, vcuda_rows y, vcuda_rows x, const vcuda_matrix &w, const void *bias, int bias_type);
/* Products of a few rows with what is around them: of rms_norm(x) where norm is given; STORE: y[i] = linears[i](x),
 * ADD: y[0] += it, GATE: y[0] = act(linears[0](x)) * linears[1](x). False when the shapes are not for them. */
enum { VCUDA_STEP_STORE, VCUDA_STEP_ADD, VCUDA_STEP_GATE, VCUDA_STEP_PARTS = 3 };
/* step.cu: one row, dense weights; step_int.cu: affine ones of 4 and 8 bits */
bool vcuda_step(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *linears, int n, int what,
                int act);
bool vcuda_step_int(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *linears, int n, int what,
                    int act);
/* gemv_int.cu: up to VCUDA_GEMV_ROWS rows, affine weights of 4 and 8 bits */
bool vcuda_gemv_int(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *linears, int n, int what,
                    int act);
enum { VCUDA_GEMV_ROWS = 8, VCUDA_DENSE_ROWS = 2 }; /* more rows of bfloat16 weights are for the tensor cores */
/* norm.cu: y of float32 or bfloat16 */
void vcuda_norm_rows(vlm_frame *f, vcuda_rows y, vcuda_rows x, const vlm_norm *norm, bool subtract_mean);
/* move.cu: rows [0, out) of a matrix written as bfloat16 or float32, contiguous. */
void vcuda_unpack(vlm_frame *f, void *to, int type, const vcuda_matrix &m);

#endif
