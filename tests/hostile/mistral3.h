/* SPDX-License-Identifier: MIT */
/* Mistral 3 and Pixtral: what their configs, processors and tensors may not be. */
#include "hostile/hostile.h"

#define ROPE(key) "text_config/rope_parameters/" key

static const hostile bad_mistral3[] = {
    { "mistral3: a merge of 0", { SET(CONFIG, "spatial_merge_size", "0") }, { "config.json: spatial_merge_size", "0" }, MISTRAL3 },
    { "mistral3: another merge than the weights'", { SET(CONFIG, "spatial_merge_size", "3") }, { WEIGHTS, "patch_merger.merging_layer.weight", "[36, 324]" }, MISTRAL3 },
    { "mistral3: another merge in the prompt", { SET(PROC, "spatial_merge_size", "1") }, { "image_sizes", "10 x 10", "no place" }, MISTRAL3 },
    { "mistral3: two hidden states", { SET(CONFIG, "vision_feature_layer", "[-1, -2]") }, { "config.json: vision_feature_layer", "2" }, MISTRAL3 },
    { "mistral3: a hidden state that there is not", { SET(CONFIG, "vision_feature_layer", "-4") }, { "config.json: vision_feature_layer", "-4" }, MISTRAL3 },
    { "mistral3: a tower of squares", { SET(CONFIG, "vision_config/model_type", "\"siglip_vision_model\"") }, { "config.json: vision_config.model_type", "Pixtral's tower" }, MISTRAL3 },
    { "mistral3: heads of 18", { SET(CONFIG, "vision_config/num_attention_heads", "2") }, { "config.json: vision_config.hidden_size", "multiple of 4" }, MISTRAL3 },
    { "mistral3: a patch of 0", { SET(CONFIG, "vision_config/patch_size", "0") }, { "config.json: vision_config.patch_size" }, MISTRAL3 },
    { "mistral3: no growth", { UNSET(CONFIG, ROPE("llama_4_scaling_beta")) }, { "llama_4_scaling_beta", "missing" }, MISTRAL3 },
    { "mistral3: YaRN without a length", { UNSET(CONFIG, ROPE("original_max_position_embeddings")) }, { "original_max_position_embeddings", "missing" }, MISTRAL3 },
    { "mistral3: YaRN without a factor", { UNSET(CONFIG, ROPE("factor")) }, { "rope_parameters.factor", "missing" }, MISTRAL3 },
    { "mistral3: YaRN with a base of 1", { SET(CONFIG, ROPE("rope_theta"), "1") }, { "rope_theta", "exceed 1" }, MISTRAL3 },
    { "mistral3: YaRN turning backwards", { SET(CONFIG, ROPE("beta_fast"), "-1") }, { "beta_fast" }, MISTRAL3 },
    { "mistral3: no size", { SET(PROC, "image_processor/size", "{}") }, { PROC, "image_processor.size" }, MISTRAL3 },
    { "mistral3: half a size", { SET(PROC, "image_processor/size", "{\"height\": 100}") }, { PROC, "image_processor.size" }, MISTRAL3 },
    { "mistral3: a picture without a patch", { SET(PROC, "image_processor/do_resize", "false") }, { "7 x 5", "no patch" }, MISTRAL3 },
    { "mistral3: no merging layer", { DROP(WEIGHTS, "multi_modal_projector.patch_merger.merging_layer.weight") }, { "merging_layer.weight", "missing" }, MISTRAL3 },
    { "mistral3: no ln_pre", { DROP(WEIGHTS, "vision_tower.ln_pre.weight") }, { "ln_pre.weight", "missing" }, MISTRAL3 },
    { "mistral3: biases that the config denies", { TENSOR(WEIGHTS, "multi_modal_projector.linear_1.bias", "F32 64") }, { "linear_1.bias" }, MISTRAL3 },
    { "pixtral: a class token to drop", { SET(CONFIG, "vision_feature_select_strategy", "\"default\"") }, { "config.json: vision_feature_select_strategy", "full" }, PIXTRAL },
    { "pixtral: no patches", { DROP(WEIGHTS, "vision_tower.patch_conv.weight") }, { "patch_conv.weight", "missing" }, PIXTRAL },
    { "pixtral: patches of another size", { TENSOR(WEIGHTS, "vision_tower.patch_conv.weight", "F32 48 3 14 14") }, { WEIGHTS, "[48, 3, 14, 14]", "[48, 3, 12, 12]" }, PIXTRAL },
};
