/* SPDX-License-Identifier: MIT */
/**
 * @file quantization.h
 * @brief What config.json says about quantized weights: for the whole model and module by module.
 *
 * A checkpoint of MLX's says it under `quantization`: parameters for the whole model and, under the
 * path of a module, parameters of its own or `false`. One of Hugging Face's says it under
 * `quantization_config` (at the top, else in `text_config`), in the words of the tool that made it;
 * what can be translated is read as if MLX had written it. Whether a module is quantized is decided
 * by its tensors (`<module>.scales`); how, by this table.
 */
#ifndef VLM_LOAD_QUANTIZATION_H
#define VLM_LOAD_QUANTIZATION_H

#include <stdbool.h>

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How a group of weights is stored. */
typedef enum vlm_quantization_mode {
    VLM_QUANTIZATION_AFFINE, /**< integers of 2, 3, 4, 5, 6 or 8 bits, a scale and a bias for a
                                  group of 32, 64 or 128 */
    VLM_QUANTIZATION_MXFP4,  /**< E2M1 values, E8M0 scales for groups of 32 */
    VLM_QUANTIZATION_MXFP8,  /**< E4M3 values, E8M0 scales for groups of 32 */
    VLM_QUANTIZATION_NVFP4   /**< E2M1 values, E4M3 scales for groups of 16 */
} vlm_quantization_mode;
/** "affine", "mxfp4", "mxfp8", "nvfp4"; NULL: there is no such mode. Static. Thread-safe. */
VLM_API const char *vlm_quantization_mode_name(vlm_quantization_mode mode);

/** Parameters of a quantized module. */
typedef struct vlm_quantization_params {
    vlm_quantization_mode mode;
    int bits;       /**< of a value */
    int group_size; /**< values that share a scale */
} vlm_quantization_params;

/** What the table says of a module. */
typedef enum vlm_quantization_answer {
    VLM_QUANTIZATION_UNMENTIONED, /**< nothing: quantized as the whole model is if its `.scales`
                                       are there */
    VLM_QUANTIZATION_GIVEN,       /**< it has parameters of its own */
    VLM_QUANTIZATION_SKIPPED      /**< `false`: it is not quantized */
} vlm_quantization_answer;

/** Quantization of a checkpoint. Immutable, thread-safe. */
typedef struct vlm_quantization vlm_quantization;

/**
 * Reads the quantization out of a config.json.
 *
 * `group_size` and `bits` are required for the whole model (VLM_ERR_MISSING_FIELD), `mode` is
 * affine where nothing is said. A module's object does not inherit from them: without `mode` it is
 * affine, without `group_size` or `bits` it has the mode's own (affine 64 and 4, mxfp4 32 and 4,
 * mxfp8 32 and 8, nvfp4 16 and 4). A module's `true` and `{}` say nothing and `false` respectively,
 * as in mlx-vlm. `quant_method`, `linear_class` and `quantization_mode` are passed over; any other
 * value is VLM_ERR_CONFIG, as are bits or a group size that the mode does not have; an unknown mode
 * is VLM_ERR_UNSUPPORTED. A quantization of Hugging Face's that cannot be translated is no error
 * here (the text may be all that the caller wants): see vlm_quantization_usable().
 * @param out owned; NULL without an error: the config says nothing of quantization
 * @param config_json verbatim text of `n` bytes
 */
VLM_API vlm_status vlm_quantization_parse(vlm_quantization **out, const char *config_json, size_t n,
                                          vlm_error *err);
/** NULL is fine. */
VLM_API void vlm_quantization_free(vlm_quantization *quantization);

/** Who wrote the checkpoint so: "mlx", or the `quant_method` of Hugging Face's
 * ("compressed-tensors", "awq", ...); NULL for NULL. Borrowed. */
VLM_API const char *vlm_quantization_method(const vlm_quantization *quantization);
/** VLM_OK, or VLM_ERR_UNSUPPORTED naming the method that this library cannot translate. NULL is
 * fine. */
VLM_API vlm_status vlm_quantization_usable(const vlm_quantization *quantization, vlm_error *err);
/** Parameters of the whole model. @return false: there are none, *params is untouched */
VLM_API bool vlm_quantization_default(const vlm_quantization *quantization,
                                      vlm_quantization_params *params);
/**
 * What the table says of a module ("language_model.model.layers.0.mlp.down_proj"), which may be
 * spelled with or without "language_model." in front, there or here.
 * @param params filled when the module has parameters of its own; may be NULL
 */
VLM_API vlm_quantization_answer vlm_quantization_find(const vlm_quantization *quantization,
                                                      const char *module,
                                                      vlm_quantization_params *params);
/** The i-th module that the table mentions, in the order of the file. @param answer,params may be
 * NULL
 * @return its path, borrowed; NULL behind the last */
VLM_API const char *vlm_quantization_at(const vlm_quantization *quantization, size_t i,
                                        vlm_quantization_answer *answer,
                                        vlm_quantization_params *params);

#ifdef __cplusplus
}
#endif
#endif
