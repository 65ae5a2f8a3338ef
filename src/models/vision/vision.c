/* SPDX-License-Identifier: MIT */
/* Vision towers by vision_config.model_type. A new tower is one file here and one line in the
 * table. */
#include "models/vision/vision.h"

static const vmodel_vision_type *const types[] = {
    &vmodel_vision_siglip,
    &vmodel_vision_idefics3,
    &vmodel_vision_qwen2_5_vl,
    NULL,
};

vlm_status vlm_vision_new(vlm_vision **out, vlm_build *build, const vlm_json *vision_config,
                          const char *fallback_type, const char *prefix, vlm_error *err) {
    *out = NULL;
    vcore_str name;
    VTRY(vmodel_part_type(&name, vision_config, fallback_type, "config.json: vision_config", err));
    for (size_t i = 0; types[i]; i++)
        if (vmodel_is_one_of(types[i]->model_type, name))
            return types[i]->create(out, build, vision_config, prefix, err);
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_config.model_type",
                            "'%.*s' is no vision tower that is known",
                            (int)(name.n < 60 ? name.n : 60), name.p);
}

const vlm_vision_info *vlm_vision_get_info(const vlm_vision *vision) {
    return &vision->info;
}

vlm_tensor vlm_vision_forward(vlm_frame *f, const vlm_vision *vision,
                              const vlm_vision_input *input) {
    return vision->forward(f, vision, input);
}
