/* SPDX-License-Identifier: MIT */
/**
 * @file nn.h
 * @brief Blocks that models share: MLPs, walks over rows, patches, rotary frequencies.
 *
 * Part of the extension interface (vlm/extend.h): version-locked, without an ABI promise.
 * All functions follow the rules of vlm/extend/tensor.h (sticky errors, temporaries in the frame).
 */
#ifndef VLM_EXTEND_NN_H
#define VLM_EXTEND_NN_H

#include "vlm/extend/config.h"
#include "vlm/extend/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Names of activation functions as Hugging Face configs write them; values are vlm_activation. */
VLM_API extern const vlm_name vlm_activation_names[];

/** fc2(act(fc1(x))). */
typedef struct vlm_mlp {
    vlm_linear fc1, fc2;
    vlm_activation act;
} vlm_mlp;
/** down(act(gate(x)) * up(x)). */
typedef struct vlm_gated_mlp {
    vlm_linear gate_proj, up_proj, down_proj;
    vlm_activation act;
} vlm_gated_mlp;

/** @param x [n, dim] @return [n, out] */
VLM_API vlm_tensor vlm_apply_mlp(vlm_frame *f, vlm_tensor x, const vlm_mlp *mlp);
/** @param x [n, dim] @return [n, out] */
VLM_API vlm_tensor vlm_apply_gated_mlp(vlm_frame *f, vlm_tensor x, const vlm_gated_mlp *mlp);

/** x += gated_mlp(rms_norm(x)). @param x [n, dim] */
VLM_API void vlm_add_gated_mlp(vlm_frame *f, vlm_tensor x, const vlm_norm *norm, const vlm_gated_mlp *mlp);
/** x += rms_norm(gated_mlp(rms_norm(x))), the outer norm being `after`. @param x [n, dim] */
VLM_API void vlm_add_normed_gated_mlp(vlm_frame *f, vlm_tensor x, const vlm_norm *norm,
                                      const vlm_gated_mlp *mlp, const vlm_norm *after);

/**
 * A walk over the rows of x in pieces, for blocks that are wide in the middle: what a piece makes
 * is given back before the next one begins, so that the middle is never held for all rows.
 * @code
 * for (vlm_pieces p = vlm_pieces_of(f, x, intermediate_size); vlm_pieces_next(&p);)
 *     vlm_add_to(f, p.rows, vlm_apply_mlp(f, vlm_layer_norm(f, p.rows, &norm), &mlp));
 * @endcode
 */
typedef struct vlm_pieces {
    vlm_tensor rows; /**< the piece at hand, a view of x */
    vlm_frame *frame;
    vlm_tensor x;
    int64_t next, step;
    vlm_scope scope;
    bool open;
} vlm_pieces;
/** @param x [n, ...] @param width values a row that the widest temporary of the body has */
VLM_API vlm_pieces vlm_pieces_of(vlm_frame *f, vlm_tensor x, int64_t width);
/** Steps to the next piece; false behind the last and when the frame has failed: run to the end. */
VLM_API bool vlm_pieces_next(vlm_pieces *p);

/**
 * A picture cut into squares. @param pixels [channels, height, width], sides multiples of patch
 * @return [(height / patch) * (width / patch), channels * patch * patch], row by row, each in the
 * order of a convolution kernel [channels, patch, patch].
 */
VLM_API vlm_tensor vlm_patches(vlm_frame *f, vlm_tensor pixels, int64_t patch);

/**
 * Neighbouring tokens moved into channels (Idefics3's pixel shuffle): scale x scale squares of a
 * height x width map become one row. @param x [height * width, dim]
 * @return [(height / scale) * (width / scale), dim * scale * scale], channel order (dy, dx, dim)
 */
VLM_API vlm_tensor vlm_pixel_shuffle(vlm_frame *f, vlm_tensor x, int64_t height, int64_t width,
                                     int64_t scale);

/** out[j] = 1 / theta^(2 j / dim) in float32 as torch computes it. @param out [dim / 2] */
VLM_API void vlm_rope_frequencies(float *out, int dim, double theta);

#ifdef __cplusplus
}
#endif
#endif
