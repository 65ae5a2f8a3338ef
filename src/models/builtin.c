/* SPDX-License-Identifier: MIT */
/* The built-in families: one line each, MODEL for a model type, PROCESSOR for a processor class. */
#include "models/models.h"

/* clang-format off */
#define FAMILIES(MODEL, PROCESSOR)                                                                 \
    MODEL(vmodel_idefics3) PROCESSOR(vmodel_idefics3_processor) PROCESSOR(vmodel_smolvlm_processor) \
    MODEL(vmodel_paligemma) PROCESSOR(vmodel_paligemma_processor)                                  \
    MODEL(vmodel_qwen2_5_vl) PROCESSOR(vmodel_qwen2_5_vl_processor)
/* clang-format on */

#define DECLARE_MODEL(name) extern const vlm_model_type name;
#define DECLARE_PROCESSOR(name) extern const vlm_processor_type name;
FAMILIES(DECLARE_MODEL, DECLARE_PROCESSOR)

#define LIST(name) &name,
#define SKIP(name)
const vlm_model_type *const vmodel_builtin[] = { FAMILIES(LIST, SKIP) NULL };
const vlm_processor_type *const vmodel_builtin_processors[] = { FAMILIES(SKIP, LIST) NULL };
