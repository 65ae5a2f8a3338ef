/* SPDX-License-Identifier: MIT */
/* Tensors below the model author's page (vlm/extend/tensor.h): frames, backends, state memory.
 * Knows nothing of models or files. ops.c checks shapes once and dispatches; backends trust what
 * they get. */
#ifndef VLM_TENSOR_INTERNAL_H
#define VLM_TENSOR_INTERNAL_H

#include "core/core.h"
#include "vlm/extend/tensor.h"

size_t vtensor_dtype_size(vlm_dtype dtype);
const char *vtensor_dtype_name(vlm_dtype dtype);
/* Contiguous view of memory; the caller vouches for it. */
vlm_tensor vtensor_of(void *data, vlm_dtype dtype, int rank, const int64_t *shape);
int64_t vtensor_count(vlm_tensor x); /* elements; 0 when empty */
bool vtensor_contiguous(vlm_tensor x);

/* Numeric modes: exact is float32 activations and products whatever the weights' type; fast lets
 * products round their inputs to bfloat16, with float32 accumulation. */
typedef enum vtensor_mode { VTENSOR_EXACT, VTENSOR_FAST } vtensor_mode;

/* A backend: made once per context, immutable and shareable; runs one frame per stream at a time.
 * The table of operations is declared in backend.h, which only src/tensor/ includes. */
typedef struct vtensor_backend vtensor_backend;

typedef struct vtensor_cpu_options {
    int threads;       /* <= 0: all */
    unsigned cpu_mask; /* features not to use, for tests (vcore_cpu_flag) */
    bool dry;          /* shapes only: no memory, no threads, no arithmetic */
    bool
        no_int8_activations; /* fast mode: x is rounded to 16 bits at least for quantized weights */
} vtensor_cpu_options;
vlm_status vtensor_backend_cpu(vtensor_backend **out, const vtensor_cpu_options *options,
                               vlm_error *err);
/* On an NVIDIA GPU, through libvlm-cuda.so. threads: of the host, for work beside its operations.
 * ERR_UNSUPPORTED: there is no such library. */
vlm_status vtensor_backend_cuda(vtensor_backend **out, int device, int threads, vlm_error *err);
/* The same for shapes alone: what its operations would take of that device. */
vlm_status vtensor_backend_cuda_dry(vtensor_backend **out, int device, vlm_error *err);
void vtensor_backend_free(vtensor_backend *b);
const char *vtensor_backend_name(const vtensor_backend *b);
/* Its threads, for work beside its operations; NULL in a dry run. */
vcore_pool *vtensor_backend_pool(const vtensor_backend *b);
/* Memory of its own that its operations took so far, or in a dry run would have taken. */
size_t vtensor_backend_scratch(const vtensor_backend *b);
/* Memory of a device of its own that it computes in: bytes that a frame takes beside temporaries, bytes that are free, and all.
 * False: it computes in the host's. */
typedef struct vtensor_room {
    size_t frame, available, total;
} vtensor_room;
bool vtensor_backend_room(const vtensor_backend *b, vtensor_room *room);
/* ERR_MEMORY when so many bytes of weights will not fit where the backend computes. */
vlm_status vtensor_expect(vtensor_backend *b, size_t bytes, vlm_error *err);
/* Puts a weight where the backend computes: its data may then be read by operations only. Contiguous, and in
 * host memory until vtensor_placed() says that all are there. */
vlm_status vtensor_place(vtensor_backend *b, vlm_tensor *weight, vlm_error *err);
vlm_status vtensor_placed(vtensor_backend *b, vlm_error *err);
/* The same of a linear's weights and bias (may be NULL), as products want them there: rows that begin at whole vectors, a bias
 * in float32. */
vlm_status vtensor_place_linear(vtensor_backend *b, vlm_matrix *weight, vlm_tensor *bias, vlm_error *err);
/* Long-lived memory of the backend (KV state): zeroed; freed with vtensor_memory_free. */
void *vtensor_memory_new(vtensor_backend *b, size_t bytes);
void vtensor_memory_free(vtensor_backend *b, void *p);
/* I32 [rows]: where the first of a row's largest values stands, of x [rows, n]. Empty where the backend has no such
 * operation. */
vlm_tensor vtensor_argmax(vlm_frame *f, vlm_tensor x);
/* Fills host memory with a byte; a device's stays as it is. */
void vtensor_memory_touch(vtensor_backend *b, void *p, int byte, size_t bytes);
/* Whether attention takes states of 8 and 4 bits. */
bool vtensor_backend_quantized_state(const vtensor_backend *b);
/* Values that a walk over rows may hold at a time; 0: a usual number. */
int64_t vtensor_frame_piece_values(const vlm_frame *f);

/* Host memory: 8-bit floats (OCP's E4M3) times a scale, rounded to BF16 or F16.
 * cpu_flags: vcore_cpu_flags(), which takes longer than a row. */
void vtensor_e4m3(void *to, vlm_dtype type, const uint8_t *codes, float scale, size_t n,
                  unsigned cpu_flags);
/* Host memory: a row of a matrix in any storage as float32; codes: what an affine one stores in place of its values. */
void vtensor_matrix_row(float *to, const vlm_matrix *m, size_t row, bool codes, unsigned cpu_flags);

/* ---- the state of one layer (kv.c) ---- */
typedef struct vtensor_kv_form {
    vlm_dtype dtype; /* when bits is 0 */
    int bits;        /* 8 or 4: quantized */
    int64_t capacity, heads, head_dim;
    bool keys_only; /* there are no values: the state of a short convolution */
} vtensor_kv_form;
/* Bytes that it takes, a multiple of 64; false: more than there can be. */
bool vtensor_kv_bytes(size_t *out, const vtensor_kv_form *form);
/* Lays it out in such memory, aligned to 64 bytes; NULL: shapes only. */
void vtensor_kv_place(vlm_kv *kv, const vtensor_kv_form *form, void *memory);

/* A frame holds one arena that grows to what the largest pass needed and is then reused, so that a
 * repeated pass of the same shapes allocates nothing and sees the same addresses. One thread at a
 * time; several frames of one backend may run on different threads (their parallel regions take
 * turns). */
vlm_status vtensor_frame_new(vlm_frame **out, vtensor_backend *b, vtensor_mode mode,
                             vlm_error *err);
void vtensor_frame_free(vlm_frame *f);
/* Starts a pass: clears the error and the arena. */
void vtensor_frame_begin(vlm_frame *f);
/* Ends a pass: waits for the stream; returns the first error of the pass. */
vlm_status vtensor_frame_end(vlm_frame *f, vlm_error *err);
size_t
vtensor_frame_peak(const vlm_frame *f); /* bytes of temporaries that the largest pass needed */
size_t vtensor_frame_held(const vlm_frame *f); /* most memory held for them at a time */
vtensor_mode vtensor_frame_mode(const vlm_frame *f);
/* Temporaries beyond this many bytes fail with ERR_LIMIT; 64 TiB at first. */
void vtensor_frame_limit(vlm_frame *f, size_t bytes);
/* Whole tensor to host memory, converted to float32 when it is a float type; waits. */
vlm_status vtensor_read(vlm_frame *f, vlm_tensor x, void *host, vlm_error *err);
/* Who gets the values named by vlm_dump; NULL: nobody. x is valid during the call. */
typedef void (*vtensor_dump_fn)(void *user, vlm_frame *f, const char *name, vlm_tensor x);
void vtensor_frame_dump(vlm_frame *f, vtensor_dump_fn fn, void *user);
/* What is read of a weight: all of it; rows of a table; of a stack of experts, [experts, out, in], `each` for every one of
 * so many rows. */
typedef enum vtensor_part_kind { VTENSOR_ALL, VTENSOR_SOME_ROWS, VTENSOR_EXPERTS } vtensor_part_kind;
typedef struct vtensor_part {
    vtensor_part_kind kind;
    int64_t rows, each;
} vtensor_part;
/* Who is told of the weights that a dry run would read; NULL: nobody. */
typedef void (*vtensor_reads_fn)(void *user, vlm_tensor weight, vtensor_part part);
void vtensor_frame_reads(vlm_frame *f, vtensor_reads_fn fn, void *user);
/* Arithmetic that a dry run would do, and what it would read of states; see vlm_work. NULL: nobody
 * counts. */
typedef struct vtensor_work {
    uint64_t linear, attention, state_bytes;
} vtensor_work;
void vtensor_frame_count(vlm_frame *f, vtensor_work *work);
/* Pass in flight can be stopped: polled between operations; nonzero return stops it
 * (ERR_CANCELLED). */
void vtensor_frame_cancel(vlm_frame *f, int (*poll)(void *user), void *user);

#endif
