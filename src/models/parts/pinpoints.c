/* SPDX-License-Identifier: MIT */
/* image_grid_pinpoints of LLaVA-NeXT and its kin: the canvases that a picture may take. */
#include "models/models.h"

#define KEY "image_grid_pinpoints"

vlm_status vlm_pinpoints_read(vlm_pinpoints *out, const vlm_json *config, const char *where, vlm_error *err) {
    static const vlm_pinpoints five = { 5, { { 672, 336 }, { 336, 672 }, { 672, 672 }, { 336, 1008 }, { 1008, 336 } } };
    const vlm_json *list = vcore_json_get(config, KEY);
    const size_t n = vcore_json_count(list);
    *out = five;
    if (vcore_json_kind_of(list) == VCORE_JSON_NULL) return VLM_OK;
    if (vcore_json_kind_of(list) != VCORE_JSON_ARRAY || n == 0 || n > VLM_MAX_PINPOINTS)
        return vcore_fail_field(err, VLM_ERR_CONFIG, where, KEY, "must be a list of 1 to %d pairs", VLM_MAX_PINPOINTS);
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        const vlm_json *pair = vcore_json_at(list, i);
        int64_t height = 0, width = 0;
        if (vcore_json_kind_of(pair) != VCORE_JSON_ARRAY || vcore_json_count(pair) != 2
            || !vcore_json_int(vcore_json_at(pair, 0), &height) || !vcore_json_int(vcore_json_at(pair, 1), &width)
            || height < 1 || width < 1 || height > 1 << 16 || width > 1 << 16)
            return vcore_fail_field(err, VLM_ERR_CONFIG, where, KEY, "entry %zu is no [height, width]", i);
        out->at[i] = (vlm_size) { (uint32_t)width, (uint32_t)height };
    }
    return VLM_OK;
}
