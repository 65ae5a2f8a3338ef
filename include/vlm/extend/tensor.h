/* SPDX-License-Identifier: MIT */
/**
 * @file tensor.h
 * @brief Tensors and the operations that model code is written in.
 *
 * Part of the extension interface (vlm/extend.h): version-locked, without an ABI promise.
 *
 * A forward pass runs on a vlm_frame: an in-order stream of one backend with an arena for temporaries
 * and a sticky error. Every operation checks its shapes once; on an error the frame remembers the first
 * one and every later operation does nothing and returns an empty tensor, so model code reads like the
 * paper and whoever started the frame checks it once at the end. In a dry run the same code runs on
 * shapes alone. Activations are float32 on the CPU; names ending in `_to` change their first argument.
 *
 * A frame belongs to one thread at a time. Tensors are plain views, passed by value; what an operation
 * returns lives in the frame's arena until the scope that was open at its creation ends.
 */
#ifndef VLM_EXTEND_TENSOR_H
#define VLM_EXTEND_TENSOR_H

#include <stdbool.h>

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Element types. */
typedef enum vlm_dtype {
    VLM_DTYPE_F32,
    VLM_DTYPE_BF16,
    VLM_DTYPE_F16,
    VLM_DTYPE_I32,
    VLM_DTYPE_I64,
    VLM_DTYPE_U8,
    VLM_DTYPE_U32
} vlm_dtype;

#define VLM_MAX_RANK 5

/** View of an array; shapes outermost first. The innermost stride is 1. */
typedef struct vlm_tensor {
    void *data;                    /**< borrowed; NULL in a dry run, and when empty */
    vlm_dtype dtype;
    int rank;                      /**< 0: empty, there is no tensor */
    int64_t shape[VLM_MAX_RANK];
    int64_t stride[VLM_MAX_RANK];  /**< in elements */
} vlm_tensor;

/** One forward pass in flight. */
typedef struct vlm_frame vlm_frame;

/** False once an operation failed. */
VLM_API bool vlm_frame_ok(const vlm_frame *f);
/** Records an error (the first one stays); returns an empty tensor, so that a model can return it. */
VLM_API vlm_tensor vlm_frame_fail(vlm_frame *f, vlm_status code, const char *fmt, ...)
    VLM_PRINTF(3, 4);
/** Names a value at a seam ("image_features", "hidden.3"); kept only when somebody asked for it. */
VLM_API void vlm_dump(vlm_frame *f, const char *name, vlm_tensor x);
/** The same for "<name>.<index>". */
VLM_API void vlm_dump_at(vlm_frame *f, const char *name, int index, vlm_tensor x);

/** Temporaries made between begin and end are given back at end; scopes nest. */
typedef size_t vlm_scope;
VLM_API vlm_scope vlm_scope_begin(vlm_frame *f);
VLM_API void vlm_scope_end(vlm_frame *f, vlm_scope scope);

/* ---- making and viewing tensors ---------------------------------------------------------------- */
/** Uninitialised temporary. @param shape [rank] */
VLM_API vlm_tensor vlm_tensor_new(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape);
/** Temporary filled from host memory, which may go away afterwards. @param shape [rank] */
VLM_API vlm_tensor vlm_tensor_from(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape,
                                   const void *host);
/** View of host memory on the CPU, a copy elsewhere: for large inputs that outlive the frame. */
VLM_API vlm_tensor vlm_tensor_view(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape,
                                   const void *host);
/** Views with another shape of the same elements, for as long as strides can show it: a contiguous x always,
 *  rows of a wider tensor cut into heads too. One dimension may be -1. */
VLM_API vlm_tensor vlm_reshape(vlm_frame *f, vlm_tensor x, int rank, const int64_t *shape);
VLM_API vlm_tensor vlm_reshape1(vlm_frame *f, vlm_tensor x, int64_t a);
VLM_API vlm_tensor vlm_reshape2(vlm_frame *f, vlm_tensor x, int64_t a, int64_t b);
VLM_API vlm_tensor vlm_reshape3(vlm_frame *f, vlm_tensor x, int64_t a, int64_t b, int64_t c);
VLM_API vlm_tensor vlm_reshape4(vlm_frame *f, vlm_tensor x, int64_t a, int64_t b, int64_t c,
                                int64_t d);
/** View of rows [start, start + count) of the outermost dimension. */
VLM_API vlm_tensor vlm_rows(vlm_frame *f, vlm_tensor x, int64_t start, int64_t count);
/** View of [start, start + count) of the innermost dimension. */
VLM_API vlm_tensor vlm_columns(vlm_frame *f, vlm_tensor x, int64_t start, int64_t count);
/** Contiguous copy with its dimensions reordered, of the same type: y.shape[i] = x.shape[axes[i]].
 *  @param axes [rank] */
VLM_API vlm_tensor vlm_permute(vlm_frame *f, vlm_tensor x, const int *axes);
/** Contiguous copy of x; float32 if x is of a float type. */
VLM_API vlm_tensor vlm_copy(vlm_frame *f, vlm_tensor x);
/** x = y: the same shape; x may be a view, e.g. rows of a larger result. */
VLM_API void vlm_copy_to(vlm_frame *f, vlm_tensor x, vlm_tensor y);
/** Rows of `parts` one below the other: [sum of rows, ...]. Of the parts' type; float32 if they differ. */
VLM_API vlm_tensor vlm_concat(vlm_frame *f, const vlm_tensor *parts, int n_parts);
/** y[i] = x[index[i]]; float32 if x is of a float type. @param x [rows, dim] @param index I32 [n], checked
 *  @return [n, dim] */
VLM_API vlm_tensor vlm_gather(vlm_frame *f, vlm_tensor x, vlm_tensor index);
/** x[index[i]] = rows[i], in order: the last of two rows for one place stays.
 *  @param x [n, dim] @param index I32 [m], checked @param rows [m, dim] */
VLM_API void vlm_scatter_to(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows);
/** y[i] = sum over k of weights[i][k] * x[index[i][k]]: interpolation in a table, pooling. In float32, in the
 *  order of k. @param x [rows, dim], floats @param index I32 [n, taps], checked @param weights float32 [n, taps]
 *  @return float32 [n, dim] */
VLM_API vlm_tensor vlm_blend(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor weights);

/* ---- elementwise, in place ----------------------------------------------------------------------- */
/** x += y. y (of any float type) has x's shape, or is one row that is added to every row. */
VLM_API void vlm_add_to(vlm_frame *f, vlm_tensor x, vlm_tensor y);
/** x *= y, same rule. */
VLM_API void vlm_mul_to(vlm_frame *f, vlm_tensor x, vlm_tensor y);
/** x *= factor. */
VLM_API void vlm_scale_to(vlm_frame *f, vlm_tensor x, float factor);
/** x = cap * tanh(x / cap). */
VLM_API void vlm_softcap_to(vlm_frame *f, vlm_tensor x, float cap);

/** Activation functions; names as in Hugging Face's hidden_act. */
typedef enum vlm_activation {
    VLM_ACT_GELU,       /**< "gelu": erf */
    VLM_ACT_GELU_TANH,  /**< "gelu_pytorch_tanh", "gelu_new" */
    VLM_ACT_QUICK_GELU, /**< "quick_gelu": x * sigmoid(1.702 x) */
    VLM_ACT_SILU,       /**< "silu", "swish" */
    VLM_ACT_RELU        /**< "relu" */
} vlm_activation;
/** x = act(x). */
VLM_API void vlm_activation_to(vlm_frame *f, vlm_tensor x, vlm_activation act);
/** gate = act(gate) * up. Same shapes. */
VLM_API void vlm_gate_to(vlm_frame *f, vlm_tensor gate, vlm_tensor up, vlm_activation act);

/* ---- weights -------------------------------------------------------------------------------------- */
/** How a matrix is stored: as floats, or in one of MLX's quantization modes. */
typedef enum vlm_storage {
    VLM_STORAGE_DENSE,
    VLM_STORAGE_AFFINE,
    VLM_STORAGE_MXFP4,
    VLM_STORAGE_MXFP8,
    VLM_STORAGE_NVFP4
} vlm_storage;

/** A matrix as the checkpoint stores it, [out, in]. */
typedef struct vlm_matrix {
    vlm_storage storage;
    int64_t out, in;
    vlm_tensor data;           /**< dense: [out, in]; quantized: U32 [out, in * bits / 32] */
    vlm_tensor scales, biases; /**< affine: floats [out, in / group]; else scales are U8, no biases */
    int bits, group;
    bool across;               /**< dense, of experts: each one's data is stored [in, out] */
    vlm_tensor factor;         /**< nvfp4: float32 [1], of all values; empty: 1 */
    bool divided;              /**< values are divided by the factor, not multiplied with it */
} vlm_matrix;

/** y = x Wᵀ + b. */
typedef struct vlm_linear {
    vlm_matrix weight; /**< [out, in] */
    vlm_tensor bias;   /**< [out], or empty */
} vlm_linear;

/** Normalisation: RMS (bias empty) or layer norm. */
typedef struct vlm_norm {
    vlm_tensor weight; /**< [dim]; empty: ones */
    vlm_tensor bias;   /**< [dim], layer norm only */
    float eps;
    float offset;      /**< added to every weight: 1 for Gemma's (1 + w) */
} vlm_norm;

/** Rows [start, start + count) of a matrix in any storage, viewed: one expert of a stack. A factor of
 *  the whole matrix stays with them. */
VLM_API vlm_matrix vlm_matrix_rows(vlm_frame *f, const vlm_matrix *m, int64_t start, int64_t count);
/** y = x Wᵀ + b. @param x [n, in] @return [n, out] */
VLM_API vlm_tensor vlm_apply_linear(vlm_frame *f, vlm_tensor x, const vlm_linear *linear);
/** Several linear layers over one input in one step (QKV, gate and up). @param y [n_linears], written */
VLM_API void vlm_apply_linears(vlm_frame *f, vlm_tensor *y, vlm_tensor x,
                               const vlm_linear *const *linears, int n_linears);
/** y = linears(rms_norm(x)), as the two in turn. @param y [n_linears], written */
VLM_API void vlm_apply_norm_linears(vlm_frame *f, vlm_tensor *y, vlm_tensor x, const vlm_norm *norm,
                                    const vlm_linear *const *linears, int n_linears);
/** sum += x Wᵀ + b. @param sum [n, out] @param x [n, in] */
VLM_API void vlm_add_linear(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *linear);
/** sum += rms_norm(x Wᵀ + b): Gemma 2's sums. @param sum [n, out] @param x [n, in] */
VLM_API void vlm_add_normed_linear(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *linear,
                                   const vlm_norm *norm);
/** sum += down(act(gate(n)) * up(n)), n = rms_norm(x). @param gate_up_down three @param sum [n, out] may be x */
VLM_API void vlm_add_gated(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_norm *norm,
                           const vlm_linear *const *gate_up_down, vlm_activation act);
/** Rows of a (possibly quantized) table. @param ids I32 [n], checked @return float32 [n, in] */
VLM_API vlm_tensor vlm_embed(vlm_frame *f, const vlm_matrix *table, vlm_tensor ids);
/** y = x / rms(x) * (offset + w). @param x [..., dim] */
VLM_API vlm_tensor vlm_rms_norm(vlm_frame *f, vlm_tensor x, const vlm_norm *norm);
/** y = (x - mean) / sqrt(var + eps) * w + b. @param x [..., dim] */
VLM_API vlm_tensor vlm_layer_norm(vlm_frame *f, vlm_tensor x, const vlm_norm *norm);

/* ---- rotary positions ------------------------------------------------------------------------------ */
/** Cosines and sines of one forward pass, shared by its layers. */
typedef struct vlm_rope_table {
    vlm_tensor cos, sin; /**< float32 [n, dim / 2] */
} vlm_rope_table;

/**
 * Angles of every row: angle[i][j] = positions[axis_of[j]][i] * inv_freq[j], the product rounded to
 * float32 as the references do.
 * @param positions I32 [axes, n] @param inv_freq [half] host @param axis_of [half] host, NULL: axis 0
 */
VLM_API vlm_rope_table vlm_rope_angles(vlm_frame *f, vlm_tensor positions, const float *inv_freq,
                                       const uint8_t *axis_of, int half);
/** Which elements form a rotated pair. */
typedef enum vlm_rope_pairs {
    VLM_ROPE_HALVES,  /**< (i, i + dim/2): Llama, Qwen, Gemma */
    VLM_ROPE_ADJACENT /**< (2i, 2i + 1) */
} vlm_rope_pairs;
/** Rotates the first 2 * half elements of every head. @param x [n, heads, head_dim] */
VLM_API void vlm_rope_to(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table,
                         vlm_rope_pairs pairs);

/* ---- attention ------------------------------------------------------------------------------------- */
/** Keys and values of one layer of one sequence; dimensions may lie in any order in memory, but for the
 *  innermost. Quantized, a value is code * scale + bias. Of a short convolution, k alone: float32
 *  [rows, 1, dim], what position p brought in row p % rows. */
typedef struct vlm_kv {
    vlm_tensor k, v; /**< [capacity, kv_heads, head_dim]; quantized: U8 [capacity, kv_heads, bytes], bytes those of
                          head_dim rounded up to a multiple of 16; the first code is in the lowest bits */
    vlm_tensor k_scales, v_scales; /**< quantized: BF16 [capacity, kv_heads, groups, 2], scale and bias */
    int bits;  /**< 0: not quantized; else 8 or 4 */
    int group; /**< quantized: values along head_dim that share a scale, a multiple of 32; the last group may
                    be shorter */
} vlm_kv;

/** Positions [begin, end) of a sequence that see each other whatever their order. */
typedef struct vlm_span {
    int64_t begin, end;
} vlm_span;

/**
 * Rows [start, start + length) that attend to each other and to nothing else of the batch: a sequence,
 * a picture, a window. With kv, they are positions [past, past + length) of a sequence: their keys and
 * values are stored there first, and they see what is stored before them too.
 */
typedef struct vlm_segment {
    int64_t start, length;
    const vlm_kv *kv;      /**< NULL: nothing is remembered */
    int64_t past;
    const vlm_span *spans; /**< bidirectional spans, in positions; a span lies in one call */
    int n_spans;
    int64_t visible;       /**< without kv: only the first `visible` rows are seen (padding); 0: all */
} vlm_segment;

/** Who sees whom, and how strongly. */
typedef struct vlm_attention_desc {
    float scale;
    float softcap;  /**< 0: none */
    bool causal;
    int64_t window; /**< a position sees itself and window - 1 before it; 0: no limit */
    bool window_in_spans; /**< what lies before the window is not seen within a span either */
    const vlm_rope_table *rope; /**< q and k are rotated by it first, in place; NULL: they are not */
    vlm_rope_pairs pairs;
} vlm_attention_desc;

/**
 * softmax(scale * q kᵀ) v within every segment, without ever holding an n × n matrix.
 * @param q [n, heads, head_dim] @param k,v [n, kv_heads, head_dim], heads a multiple of kv_heads
 * @param segments [n_segments], in row order, covering all rows @return [n, heads, head_dim]
 */
VLM_API vlm_tensor vlm_attention(vlm_frame *f, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                                 const vlm_segment *segments, int n_segments,
                                 const vlm_attention_desc *desc);
/** sum += linear(attention), the heads of a row side by side. @param sum [n, out] */
VLM_API void vlm_add_attention(vlm_frame *f, vlm_tensor sum, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                               const vlm_segment *segments, int n_segments, const vlm_attention_desc *desc,
                               const vlm_linear *linear);

/* ---- mixtures of experts ------------------------------------------------------------------------------- */
/** Where the rows of a pass go. */
typedef struct vlm_routes {
    vlm_tensor experts; /**< I32 [n, k]: the experts of a row */
    vlm_tensor weights; /**< float32 [n, k]: what each counts */
    vlm_tensor places;  /**< I32 [n, k]: i * k + j, the row that vlm_apply_experts() makes for each */
} vlm_routes;
/** The k likeliest experts of every row, the likeliest first, by the softmax over all; their weights are then divided
 *  by their sum. @param logits float32 [n, experts] */
VLM_API vlm_routes vlm_route(vlm_frame *f, vlm_tensor logits, int64_t k);
/** Every row times the matrix of each of its experts. @param x [n, in], or [n * k, in]: a row for each expert
 *  @param stack as VLM_BIND_EXPERTS binds it: only rows of experts that are chosen are read @param out rows of one
 *  @return float32 [n * k, out] */
VLM_API vlm_tensor vlm_apply_experts(vlm_frame *f, vlm_tensor x, const vlm_matrix *stack, int64_t out,
                                     const vlm_routes *routes);
/** sum += the rows of vlm_apply_experts(), each row's weighted and summed. @param sum [n, out] @param x [n * k, in] */
VLM_API void vlm_add_experts(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_matrix *stack,
                             const vlm_routes *routes);

/* ---- short convolutions ------------------------------------------------------------------------------ */
/**
 * Every channel of every sequence convolved with taps of its own, causally: y[t] = bias + sum over k of
 * weight[k] * x[t - taps + 1 + k], zeros in front of a sequence's first position. With kv (one of at least `taps`
 * rows), x is stored there as keys are, and what is stored before is seen.
 * @param x [n, dim] @param weight floats [dim, taps] @param bias [dim], or empty
 * @param segments [n_segments], in row order, covering all rows; only start, length, past and kv count
 * @return [n, dim]
 */
VLM_API vlm_tensor vlm_short_conv(vlm_frame *f, vlm_tensor x, vlm_tensor weight, vlm_tensor bias,
                                  const vlm_segment *segments, int n_segments);

/** A depthwise convolution, its kernel square and odd: output channel o is made of input channel o / (out / in). */
typedef struct vlm_depthwise {
    vlm_tensor weight; /**< float32 [kernel * kernel, out / in, in]: channel o is [o % (out / in), o / (out / in)] */
    vlm_tensor bias;   /**< float32 [out] */
} vlm_depthwise;
/**
 * Convolves a map, channels innermost, padded by zeros so that stride 1 keeps its size.
 * @param x float32 [height * width, in] @return [ceil(height / stride) * ceil(width / stride), out]
 */
VLM_API vlm_tensor vlm_depthwise_conv(vlm_frame *f, vlm_tensor x, int64_t width,
                                      const vlm_depthwise *conv, int64_t stride);

#ifdef __cplusplus
}
#endif
#endif
