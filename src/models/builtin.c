/* SPDX-License-Identifier: MIT */
/* The built-in families: one line each, MODEL for a model type, PROCESSOR for a processor class. The default
 * registries are these lists, constant from the start. */
#include "models/models.h"

/* clang-format off */
#define FAMILIES(MODEL, PROCESSOR)                                                                 \
    MODEL(vmodel_idefics3) PROCESSOR(vmodel_idefics3_processor) PROCESSOR(vmodel_smolvlm_processor) \
    MODEL(vmodel_paligemma) PROCESSOR(vmodel_paligemma_processor)                                  \
    MODEL(vmodel_gemma3) PROCESSOR(vmodel_gemma3_processor)                                        \
    MODEL(vmodel_pixtral) MODEL(vmodel_mistral3) PROCESSOR(vmodel_pixtral_processor)               \
    MODEL(vmodel_qwen2_vl) PROCESSOR(vmodel_qwen2_vl_processor)                                    \
    MODEL(vmodel_qwen2_5_vl) PROCESSOR(vmodel_qwen2_5_vl_processor)                                \
    MODEL(vmodel_qwen3_vl) MODEL(vmodel_qwen3_vl_moe) PROCESSOR(vmodel_qwen3_vl_processor)         \
    MODEL(vmodel_glm_ocr) PROCESSOR(vmodel_glm46v_processor)                                       \
    MODEL(vmodel_llava) MODEL(vmodel_fast_vlm) PROCESSOR(vmodel_llava_processor)                   \
    MODEL(vmodel_llava_next) PROCESSOR(vmodel_llava_next_processor)                                \
    MODEL(vmodel_llava_bunny) PROCESSOR(vmodel_bunny_processor)                                    \
    MODEL(vmodel_fastvlm) PROCESSOR(vmodel_fastvlm_processor)                                      \
    MODEL(vmodel_lfm2_vl) PROCESSOR(vmodel_lfm2_vl_processor)
/* clang-format on */

#define DECLARE_MODEL(name) extern const vlm_model_type name;
#define DECLARE_PROCESSOR(name) extern const vlm_processor_type name;
FAMILIES(DECLARE_MODEL, DECLARE_PROCESSOR)

#define LIST(name) &name,
#define SKIP(name)
static const void *const models[] = { FAMILIES(LIST, SKIP) };
static const void *const processors[] = { FAMILIES(SKIP, LIST) };

const vlm_model_registry *vlm_model_registry_default(void) {
    static const vlm_model_registry registry = { { models, NULL, sizeof models / sizeof *models } };
    return &registry;
}

const vlm_processor_registry *vlm_processor_registry_default(void) {
    static const vlm_processor_registry registry = {
        { processors, NULL, sizeof processors / sizeof *processors }
    };
    return &registry;
}
