/* SPDX-License-Identifier: MIT */
/* The types of the plain ViT: what each takes for absent keys (as the reference's config classes do)
 * and how it departs from SigLIP. */
#include "models/vision/vit/vit.h"

static const vit_type siglip = {
    .defaults = { .hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 12,
                  .num_channels = 3,
                  .image_size = 224,
                  .patch_size = 16,
                  .hidden_act = VLM_ACT_GELU_TANH,
                  .layer_norm_eps = 1e-6f },
};
/* Of configs that only name google/siglip-so400m-patch14-384. */
static const vit_type so400m = {
    .defaults = { .hidden_size = 1152,
                  .intermediate_size = 4304,
                  .num_hidden_layers = 27,
                  .num_attention_heads = 16,
                  .num_channels = 3,
                  .image_size = 384,
                  .patch_size = 14,
                  .hidden_act = VLM_ACT_GELU_TANH,
                  .layer_norm_eps = 1e-6f },
};
static const vit_type clip = {
    .defaults = { .hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 12,
                  .num_channels = 3,
                  .image_size = 224,
                  .patch_size = 32,
                  .hidden_act = VLM_ACT_QUICK_GELU,
                  .layer_norm_eps = 1e-5f },
    .clip = true,
};
static const vit_type idefics3 = {
    .defaults = { .hidden_size = 1152,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 16,
                  .num_channels = 3,
                  .image_size = 224,
                  .patch_size = 32,
                  .hidden_act = VLM_ACT_GELU_TANH,
                  .layer_norm_eps = 1e-6f },
    .navit = true,
};
static const vit_type siglip2 = {
    .defaults = { .hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 12,
                  .num_channels = 3,
                  .patch_size = 16,
                  .num_patches = 256,
                  .hidden_act = VLM_ACT_GELU_TANH,
                  .layer_norm_eps = 1e-6f },
    .naflex = true,
};

#define TYPE(type, chooses, names)                                                                 \
    static vlm_status create_##type(vlm_vision **out, vlm_build *build,                            \
                                    const vlm_vision_options *options, vlm_error *err) {           \
        return vmodel_vit_new(out, &type, build, options, err);                                    \
    }                                                                                              \
    const vmodel_vision_type vmodel_vision_##type = { .model_type = names,                         \
                                                      .chooses_layers = chooses,                   \
                                                      .create = create_##type }
TYPE(siglip, true, "siglip_vision_model");
TYPE(so400m, true, "siglip_so400m");
TYPE(clip, true, "clip_vision_model");
TYPE(idefics3, false, "idefics3_vision|idefics3|smolvlm_vision|smolvlm");
TYPE(siglip2, true, "siglip2_vision_model");
