/* SPDX-License-Identifier: MIT */
/* The backend table and what a frame is made of: the page that a new backend is written against.
 * Only src/tensor/ includes it. The operations of ops_*.c have checked every shape, type and index
 * bound that can be known without reading device memory, and made the outputs; a backend trusts
 * what it gets. */
#ifndef VLM_TENSOR_BACKEND_H
#define VLM_TENSOR_BACKEND_H

#include "tensor/tensor.h"

/* Operations report what only they can see (an id out of range, no memory for scratch) with
 * vlm_frame_fail. `x` is float32 unless said; weights are of any float type and of any alignment.
 * Every tensor may have strides, the innermost being 1; "rows" means all dimensions but the
 * innermost. */
typedef struct vtensor_table {
    const char *name;
    bool shapes_only; /* a dry run: temporaries have no memory, what needs no scratch no entry */

    void (*free)(vtensor_backend *b);
    void *(*memory_new)(vtensor_backend *b, size_t bytes); /* zeroed, 64-byte aligned */
    void (*memory_free)(vtensor_backend *b, void *p);
    void (*upload)(vlm_frame *f, void *to, const void *host, size_t bytes);
    void (*download)(vlm_frame *f, void *host, const void *from, size_t bytes); /* waits */
    void (*wait)(vlm_frame *f);
    size_t (*scratch)(const vtensor_backend *b); /* bytes that operations took, or would have */
    bool host_memory; /* tensors live in host memory: a view of it needs no copy */
    bool quantized_state; /* attention takes states of 8 and 4 bits */
    /* Values that the widest temporary of a walk over rows may hold (vlm_pieces); 0: a usual number. */
    int64_t piece_values;
    /* What a backend keeps for a frame, in `own`; begin is called with the arena empty. May be NULL. */
    vlm_status (*frame_open)(vlm_frame *f, vlm_error *err);
    void (*frame_close)(vlm_frame *f);
    void (*frame_begin)(vlm_frame *f);
    /* See vtensor_backend_room(); NULL: the host's memory. */
    bool (*room)(const vtensor_backend *b, vtensor_room *room);
    /* Whether so many bytes of weights fit, before the first is placed. NULL: they need no room. */
    vlm_status (*expect)(vtensor_backend *b, size_t bytes, vlm_error *err);
    /* The backend's copy of a weight, there when placed() returns. NULL: weights are used where they lie. */
    vlm_status (*place)(vtensor_backend *b, void **out, const void *host, size_t bytes, vlm_error *err);
    /* The same of a matrix of which rows may lie further apart: *pitch bytes, zeros between them. NULL: place() serves. */
    vlm_status (*place_rows)(vtensor_backend *b, void **out, size_t *pitch, const void *host, size_t rows, size_t row_bytes, vlm_error *err);
    vlm_status (*placed)(vtensor_backend *b, vlm_error *err);

    /* ---- required ------------------------------------------------------------------------------
     */
    /* y = x element by element: same shape; same type, or floats of any type to float32. Here alone
     * x's innermost stride may be any, and y may be a view. */
    void (*copy)(vlm_frame *f, vlm_tensor y, vlm_tensor x);
    /* y[i] = x[index[i]], x [rows, dim]; types as in copy. */
    void (*gather)(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index);
    /* x[index[i]] = rows[i]; types as in copy. */
    void (*scatter)(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows);
    /* x += y or x *= y, y of x's shape or [1, dim]; y of any float type. */
    void (*add)(vlm_frame *f, vlm_tensor x, vlm_tensor y);
    void (*mul)(vlm_frame *f, vlm_tensor x, vlm_tensor y);
    void (*scale)(vlm_frame *f, vlm_tensor x, float factor);
    void (*softcap)(vlm_frame *f, vlm_tensor x, float cap);
    void (*activation)(vlm_frame *f, vlm_tensor x, vlm_activation act);
    /* y [n, out] = x [n, in] Wᵀ + b */
    void (*linear)(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear);
    void (*embed)(vlm_frame *f, vlm_tensor y, const vlm_matrix *table, vlm_tensor ids);
    void (*norm)(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_norm *norm,
                 bool subtract_mean);
    void (*rope_angles)(vlm_frame *f, const vlm_rope_table *y, vlm_tensor positions,
                        const float *inv_freq, const uint8_t *axis_of);
    void (*rope)(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table, vlm_rope_pairs pairs);
    void (*attention)(vlm_frame *f, vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                      const vlm_segment *segments, int n_segments, const vlm_attention_desc *desc);

    /* ---- optional: NULL means that ops_*.c composes it ------------------------------------------
     */
    void (*gate)(vlm_frame *f, vlm_tensor gate, vlm_tensor up, vlm_activation act);
    void (*linears)(vlm_frame *f, const vlm_tensor *y, vlm_tensor x,
                    const vlm_linear *const *linears, int n_linears);
    /* linear, of which y goes into a layer's state: as precise as linear_add is. */
    void (*linear_for_sum)(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear);
    /* Blocks: y = linears(rms_norm(x)); sum += linear(x); sum += down(act(gate(n)) * up(n)), n = rms_norm(x). */
    void (*norm_linears)(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_norm *norm,
                         const vlm_linear *const *linears, int n_linears);
    void (*linear_add)(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *linear);
    void (*gated_add)(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_norm *norm,
                      const vlm_linear *const *gate_up_down, vlm_activation act);
    /* sum += linear(attention), the heads of a row side by side. */
    void (*attention_add)(vlm_frame *f, vlm_tensor sum, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_segment *segments,
                          int n_segments, const vlm_attention_desc *desc, const vlm_linear *linear);
    /* ---- of some families: NULL is an error where a model needs it ------------------------------
     */
    /* y[i] = sum of weights[i][k] * x[index[i][k]], in the order of k; x [rows, dim] float32 */
    void (*blend)(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index, vlm_tensor weights);
    /* See vlm_short_conv; weight [dim, taps] and bias (may be empty) float32. */
    void (*short_conv)(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor weight, vlm_tensor bias,
                       const vlm_segment *segments, int n_segments);
    /* See vlm_depthwise_conv. */
    void (*depthwise_conv)(vlm_frame *f, vlm_tensor y, vlm_tensor x, int64_t width, const vlm_depthwise *conv,
                           int64_t stride);

    /* See vlm_route; logits contiguous. */
    void (*route)(vlm_frame *f, const vlm_routes *y, vlm_tensor logits);
    /* y [n * k, out] = rows of x, [n, in] or [n * k, in], times the out rows of each one's expert, experts I32
     * [n, k]. Not needed where memory is the host's. The stack may lie across. */
    void (*experts)(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *stack, int64_t out,
                    vlm_tensor experts);
    /* y [n, out] = x [n, in] W, of which the data is [in, out]. Not needed with `experts`. */
    void (*linear_across)(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *w);

    /* I32 [rows]: the first of a row's largest values. */
    void (*argmax)(vlm_frame *f, vlm_tensor y, vlm_tensor x);
    bool attention_rotates; /* attention takes desc->rope itself */
} vtensor_table;

/* Longest side of the kernel of a depthwise convolution. */
enum { VTENSOR_MAX_KERNEL = 15 };

/* What every backend begins with. */
struct vtensor_backend {
    const vtensor_table *table;
    vcore_pool *pool; /* threads of the host; NULL in a dry run */
};

/* Temporaries are pieces of a stack: `used` counts the bytes in use, a scope is a mark on it. The
 * stack is spread over chunks while a pass outgrows what the passes before it needed. */
typedef struct vtensor_chunk {
    char *data;
    size_t size;
    size_t base; /* bytes of the stack below this chunk */
} vtensor_chunk;

enum { VTENSOR_MAX_CHUNKS = 64, VTENSOR_ALIGN = 64 };

struct vlm_frame {
    vtensor_backend *backend;
    const vtensor_table *table;
    vtensor_mode mode;
    void *own;       /* the backend's */
    vlm_error error; /* code VLM_OK: no error yet */

    vtensor_chunk chunks[VTENSOR_MAX_CHUNKS];
    int n_chunks, chunk; /* chunk: the one in use */
    size_t used, pass_peak, peak, limit;
    size_t held, held_peak; /* bytes of all chunks */

    vtensor_dump_fn dump;
    void *dump_user;
    vtensor_reads_fn reads;
    void *reads_user;
    vtensor_work *work;
    int (*poll)(void *user);
    void *poll_user;
};

/* True when an operation should go on: no error so far and nobody asked to stop. */
bool vtensor_enter(vlm_frame *f);
/* Contiguous temporary; empty (and the frame failed) when it cannot be had. */
vlm_tensor vtensor_new(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape);

/* A linear of which the rows go into a sum (ops.c). */
vlm_tensor vtensor_linear_for_sum(vlm_frame *f, vlm_tensor x, const vlm_linear *linear);

bool vtensor_is_float(vlm_dtype dtype);
bool vtensor_same_shape(vlm_tensor a, vlm_tensor b);
/* "F32 [2, 3]" for messages. */
typedef struct vtensor_text {
    char s[160];
} vtensor_text;
vtensor_text vtensor_describe(vlm_tensor x);

/* x as rows of its innermost dimension; false when the rows do not lie at one stride. */
bool vtensor_as_rows(vlm_tensor x, vlm_tensor *rows);

/* Keys [begin, end) that a row of a segment sees; of a segment without state, rows of the segment.
 */
typedef struct vtensor_range {
    int64_t begin, end;
} vtensor_range;
vtensor_range vtensor_visible(const vlm_segment *s, const vlm_attention_desc *desc, int64_t row);

/* Tells who asked of a tensor that is read and is no temporary (which has no memory in a dry run). */
static inline void vtensor_note_read(vlm_frame *f, vlm_tensor x, bool sparse) {
    const vtensor_part part = { sparse ? VTENSOR_SOME_ROWS : VTENSOR_ALL, 0, 0 };
    if (f->reads && x.rank && x.data) f->reads(f->reads_user, x, part);
}

/* Whether the backend has an operation that not every one has; the frame fails when it has not. */
#define VTENSOR_HAS(f, op) vtensor_has(f, #op, (f)->table->op != NULL)
bool vtensor_has(vlm_frame *f, const char *op, bool there);

/* Calls an operation of the table, which a dry run's need not have. */
#define VTENSOR_RUN(f, op, ...)                                                                    \
    do {                                                                                           \
        if ((f)->table->op && (f)->error.code == VLM_OK) (f)->table->op(f, __VA_ARGS__);           \
    } while (0)

#endif
