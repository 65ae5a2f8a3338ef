/* SPDX-License-Identifier: MIT */
/* Features of pictures that are views of one size. */
#include "models/models.h"

vlm_tensor vlm_view_features(vlm_frame *f, const vlm_prepared *prepared, const vlm_vision *vision, int64_t dim,
                             vlm_tensor (*project)(vlm_frame *f, const void *model, vlm_tensor rows),
                             const void *model) {
    const vlm_vision_info *info = vlm_vision_get_info(vision);
    const int64_t side = info->image_size, patches = side / info->patch_size;
    const int64_t like[] = { -1, info->channels, side, side };
    const vlm_array *pixels;
    vlm_error err = VLM_ERROR_INIT;
    if (!vlm_prepared_find(prepared, "pixel_values")) return (vlm_tensor) { 0 };
    if (vlm_prepared_get(&pixels, prepared, "pixel_values", VLM_DTYPE_F32, 4, like, &err) < 0)
        return vlm_frame_fail(f, err.code, "%s", err.message);
    const int64_t n = pixels->shape[0], rows = patches * patches + info->extra_rows;
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { n * rows, dim });
    for (int64_t i = 0; i < n && vlm_frame_ok(f); i++) {
        vlm_scope scope = vlm_scope_begin(f);
        const float *picture = (const float *)pixels->data + i * info->channels * side * side;
        const vlm_vision_input input = { .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 3, like + 1, picture) };
        vlm_copy_to(f, vlm_rows(f, all, i * rows, rows), project(f, model, vlm_vision_forward(f, vision, &input)));
        vlm_scope_end(f, scope);
    }
    return all;
}
