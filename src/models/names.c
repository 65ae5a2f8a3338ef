/* SPDX-License-Identifier: MIT */
/* What checkpoints call things: aliases of model types, and the model types whose checkpoints name a processor
 * class that is wrong for them. Names only: who serves them is said by the registries. */
#include "models/models.h"

typedef struct pair {
    const char *from, *to;
} pair;

/* mlx-vlm's table of aliases, as far as what they stand for sees pictures: "mistral" is "llama" to a text model
 * only. "llava_qwen2" is Apple's FastVLM, "llava-qwen2" is Bunny. */
static const pair aliases[] = {
    { "bunny-llama", "llava_bunny" },
    { "cohere2_vision", "aya_vision" },
    { "falcon-perception", "falcon_perception" },
    { "granite-vision", "granite_vision" },
    { "granite4-vision", "granite4_vision" },
    { "granite4_vision", "granite4_vision" },
    { "inkling_mm_model", "inkling" },
    { "jvlm", "jina_vlm" },
    { "lfm2-vl", "lfm2_vl" },
    { "llava-qwen2", "llava_bunny" },
    { "llava_qwen2", "fastvlm" },
    { "moondream1", "moondream2" },
    { "muse_spark_open", "muse_spark" },
    { "nemotron_h_omni", "nemotron_h_nano_omni" },
    { "nemotronh_nano_omni_reasoning_v3", "nemotron_h_nano_omni" },
    { "phi4-siglip", "phi4_siglip" },
    { "rf-detr", "rfdetr" },
    { "sam3.1_video", "sam3_1" },
    { "sam3_video", "sam3" },
    { "unlimited-ocr", "unlimited_ocr" },
};

/* Mistral 3's checkpoints name Pixtral's processor, which knows nothing of their spatial merging. */
static const pair overrides[] = {
    { "gemma4_unified", "Gemma4UnifiedProcessor" },
    { "mistral3", "Mistral3Processor" },
};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const char *look_up(const pair *pairs, size_t n, vcore_str from) {
    for (size_t i = 0; i < n; i++)
        if (vcore_str_eq(vcore_str_of(pairs[i].from), from)) return pairs[i].to;
    return NULL;
}

vcore_str vmodel_remap(vcore_str model_type) {
    const char *to = look_up(aliases, COUNT(aliases), model_type);
    return to ? vcore_str_of(to) : model_type;
}

const char *vlm_remap_model_type(const char *model_type) {
    return model_type ? vmodel_remap(vcore_str_of(model_type)).p : NULL;
}

const char *vlm_remap_at(size_t i, const char **model_type) {
    if (i >= COUNT(aliases)) return NULL;
    if (model_type) *model_type = aliases[i].to;
    return aliases[i].from;
}

const char *vmodel_processor_override(const vlm_model_type *type) {
    if (type->processor_class) return type->processor_class;
    return look_up(overrides, COUNT(overrides), vmodel_remap(vcore_str_of(type->model_type)));
}
