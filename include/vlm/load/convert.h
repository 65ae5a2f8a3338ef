/* SPDX-License-Identifier: MIT */
/**
 * @file convert.h
 * @brief Writing a checkpoint in MLX's form: quantized, dequantized, of another type of floats.
 *
 * What comes out is what mlx-vlm's converter writes: its names and layouts, `quantization` and
 * `quantization_config` in config.json, safetensors files with an index, and the files of the
 * tokenizer and processor as they were. docs/QUANTIZATION.md tells the modes and their quality.
 */
#ifndef VLM_LOAD_CONVERT_H
#define VLM_LOAD_CONVERT_H

#include "vlm/load/quantization.h"
#include "vlm/vlm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What becomes of matrices. */
typedef enum vlm_convert_weights {
    VLM_CONVERT_KEEP,      /**< as they are stored, in MLX's layout */
    VLM_CONVERT_QUANTIZE,  /**< quantized: those that mlx-vlm quantizes; the others become floats */
    VLM_CONVERT_DEQUANTIZE /**< floats, all of them */
} vlm_convert_weights;

/** How far a conversion is. */
typedef struct vlm_convert_progress {
    const char *tensor;   /**< being written; borrowed for the call */
    uint64_t done, total; /**< bytes of tensors written, and in all */
} vlm_convert_progress;
/** Called on the converting thread, many times a second. @return not 0: stop, with
 * VLM_ERR_CANCELLED */
typedef int (*vlm_convert_progress_fn)(void *user, const vlm_convert_progress *progress);

/** Options of a conversion; zeros are the defaults. Set `struct_size` through
 * VLM_CONVERT_OPTIONS_INIT. */
typedef struct vlm_convert_options {
    size_t struct_size;
    vlm_convert_weights weights;
    vlm_quantization_mode mode; /**< of VLM_CONVERT_QUANTIZE */
    int bits, group_size;       /**< 0: the mode's own (affine 4 and 64) */
    const char *recipe; /**< "mixed_2_6", "mixed_3_4", "mixed_3_5", "mixed_3_6", "mixed_3_8",
                             "mixed_4_6" or "mixed_4_8": affine in groups of 64, the second number
                             of bits for the head, the embeddings and the value and down
                             projections of some layers; bits stays 0. NULL: all alike */
    const char *dtype;  /**< "bf16", "f16" or "f32": of floats, and of the scales that come of them.
                             NULL: what config.json says under torch_dtype or text_config.dtype, else
                             as they are stored */
    uint64_t shard_bytes; /**< most bytes of tensors in a file; 0: 5 GiB */
    const vlm_load_options *load; /**< how the source is read: hub, limits, threads, log; may be NULL */
    vlm_convert_progress_fn progress; /**< may be NULL */
    void *progress_user;
} vlm_convert_options;
#define VLM_CONVERT_OPTIONS_INIT                                                                   \
    { sizeof(vlm_convert_options), VLM_CONVERT_KEEP, VLM_QUANTIZATION_AFFINE, 0, 0, NULL, NULL, 0, NULL, NULL, NULL }

/**
 * Converts a checkpoint into a new directory.
 *
 * The source is checked as vlm_context_load() checks it, with the same errors. Everything is
 * written into a folder beside the target that takes the target's name at the very end; on an
 * error nothing is left behind. Quantized bits, scales and biases are those of MLX's own quantizer
 * on the CPU. Memory does not grow with the number of tensors: rows of one are worked on at a time;
 * one that a load has to translate (AWQ, GPTQ, 8-bit floats), or that is not aligned in its file, is
 * held whole.
 * Thread-safe.
 * @param dir_or_id a directory, or a hub id where options->load has a hub
 * @param target must not exist; its parent must; it may not lie in the source
 * @return VLM_ERR_ARGUMENT: the options contradict each other, or the target is refused;
 * VLM_ERR_IO: what cannot be written (a full disk is told before the first byte where the system
 * says how much room there is); VLM_ERR_WEIGHTS: a weight is no finite number, or becomes none
 * (NaN, or too large for f16); VLM_ERR_UNSUPPORTED: a matrix that MLX's layout has no place for;
 * VLM_ERR_CANCELLED
 */
VLM_API vlm_status vlm_convert(const char *dir_or_id, const char *target,
                               const vlm_convert_options *options, vlm_error *err);

#ifdef __cplusplus
}
#endif
#endif
