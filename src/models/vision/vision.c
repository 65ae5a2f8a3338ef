/* SPDX-License-Identifier: MIT */
/* Vision towers by vision_config.model_type. A new tower is one file or folder here and one
 * name in VMODEL_TOWERS. */
#include "models/vision/vision.h"

#define LIST(name) &vmodel_vision_##name,
static const vmodel_vision_type *const types[] = { VMODEL_TOWERS(LIST) NULL };

vlm_status vlm_vision_new(vlm_vision **out, vlm_build *build, const vlm_vision_options *options,
                          vlm_error *err) {
    *out = NULL;
    vcore_str name;
    const vmodel_vision_type *const *type = types;
    VTRY(vmodel_part_type(&name, options->config, options->fallback_type,
                          "config.json: vision_config", err));
    while (*type && !vmodel_is_one_of((*type)->model_type, name)) type++;
    if (!*type)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_config.model_type",
                                "'%.*s' is no vision tower that is known",
                                (int)(name.n < 60 ? name.n : 60), name.p);
    if (options->layers && !(*type)->chooses_layers)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_feature_layer",
                                "the tower '%.*s' gives no hidden states of its layers", (int)name.n,
                                name.p);
    return (*type)->create(out, build, options, err);
}

vlm_status vmodel_vision_pick_layers(vlm_ints *picks, int64_t *depth, const vlm_ints *layers, int64_t n,
                                     vlm_error *err) {
    *depth = layers && layers->n ? 0 : n;
    for (int64_t i = 0; layers && i < layers->n; i++) {
        int64_t state = layers->at[i] < 0 ? n + 1 + layers->at[i] : layers->at[i];
        if (state < 0 || state > n)
            return vcore_fail_field(err, VLM_ERR_CONFIG, "config.json", "vision_feature_layer",
                                    "there is no hidden state %lld of %lld layers",
                                    (long long)layers->at[i], (long long)n);
        picks->at[picks->n++] = state;
        if (state > *depth) *depth = state;
    }
    return VLM_OK;
}

void vmodel_vision_keep(vlm_frame *f, vlm_tensor out, const vlm_ints *picks, vlm_tensor x, int64_t state) {
    for (int64_t i = 0; i < picks->n; i++)
        if (picks->at[i] == state) vlm_copy_to(f, vlm_columns(f, out, i * x.shape[1], x.shape[1]), x);
}

const vlm_vision_info *vlm_vision_get_info(const vlm_vision *vision) {
    return &vision->info;
}

vlm_tensor vlm_vision_forward(vlm_frame *f, const vlm_vision *vision,
                              const vlm_vision_input *input) {
    return vision->forward(f, vision, input);
}
