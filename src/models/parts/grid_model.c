/* SPDX-License-Identifier: MIT */
/* A model over grids of patches: its tower and decoder, and the pictures and videos of a prepared
 * input. Where their tokens stand is in grid_positions.c. */
#include "models/parts/grids.h"

static const vlm_config_field fields[] = {
    VLM_INT(vlm_grid_model, image_token_id, "image_token_id", 0, UINT32_MAX, VLM_KEEP),
    VLM_INT(vlm_grid_model, video_token_id, "video_token_id", 0, UINT32_MAX, VLM_KEEP),
    VLM_INT(vlm_grid_model, spatial_merge_size, "vision_config.spatial_merge_size", 1, 16, 2),
    VLM_INT(vlm_grid_model, tokens_per_second, "vision_config.tokens_per_second", 0, 1 << 16, 4),
    VLM_BOOL(vlm_grid_model, tie_word_embeddings, "tie_word_embeddings", false),
    VLM_BOOL(vlm_grid_model, text_tie_word_embeddings, "text_config.tie_word_embeddings", false),
};

static vlm_status check(const vlm_grid_model *m, vlm_error *err) {
    const vlm_text_info *text = vlm_text_get_info(m->text);
    int64_t dim = vlm_vision_get_info(m->vision)->dim;
    if (m->image_token_id == m->video_token_id)
        return vlm_fail_field(err, VLM_ERR_CONFIG, "config.json", "video_token_id",
                              "%lld is image_token_id, too", (long long)m->video_token_id);
    if (text->position_axes != 3)
        return vlm_fail_field(err, VLM_ERR_CONFIG, "config.json", "text_config.model_type",
                              "'%s' has no positions of three axes", text->model_type);
    if (dim != text->hidden_size)
        return vlm_fail_field(err, VLM_ERR_CONFIG, "config.json", "vision_config.out_hidden_size",
                              "%lld is not the decoder's hidden_size %lld", (long long)dim,
                              (long long)text->hidden_size);
    return VLM_OK;
}

vlm_status vlm_grid_model_new(void **model, vlm_build *build, const vlm_grid_spec *spec,
                              vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    const vlm_json *nested = vlm_json_find(config, "text_config");
    vlm_grid_model *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vcore_no_memory(err, "model");
    *m = (vlm_grid_model) { .spec = spec,
                            .image_token_id = spec->image_token_id,
                            .video_token_id = spec->video_token_id };
    VTRY(vlm_config_read(m, config, "config.json", fields, sizeof fields / sizeof fields[0], err));
    vlm_vision_options vision = spec->vision;
    vision.config = vlm_json_find(config, "vision_config");
    VTRY(vlm_vision_new(&m->vision, build, &vision, err));
    vlm_text_options text = spec->text;
    text.config = nested ? nested : config; /* Qwen 2's published files have its keys at the top */
    text.tied = m->tie_word_embeddings || (spec->nested_tie && m->text_tie_word_embeddings);
    VTRY(vlm_text_new(&m->text, build, &text, err));
    VTRY(check(m, err));
    *model = m;
    return VLM_OK;
}

const vlm_text *vlm_grid_text(const void *model) {
    return ((const vlm_grid_model *)model)->text;
}

int64_t vmodel_grid_video_token(const vlm_grid_model *m) {
    return m->spec->shared_token ? m->image_token_id : m->video_token_id;
}

/* ---- media of a prepared input --------------------------------------------------------------- */
static const char *const pixels_name[] = { "pixel_values", "pixel_values_videos" };
const char *const vmodel_grid_name[] = { "image_grid_thw", "video_grid_thw" };

static vlm_status check_grids(const grid_media *x, const vlm_grid_model *m, grid_kind of,
                              vlm_error *err) {
    int64_t rows = x->pixels->shape[0], left = rows, merge = m->spatial_merge_size;
    for (int64_t i = 0; i < x->n; i++) {
        const int64_t *g = x->grids + 3 * i;
        bool whole = g[0] >= 1 && g[1] >= 1 && g[2] >= 1 && g[1] % merge == 0 && g[2] % merge == 0;
        if (!whole || g[0] > left || g[1] > left / g[0] || g[2] > left / g[0] / g[1])
            return vlm_fail(
                err, VLM_ERR_PROCESSING,
                "prepared input: '%s': %lld x %lld x %lld is no grid of merged squares of %lld "
                "within the %lld rows of '%s'",
                vmodel_grid_name[of], (long long)g[0], (long long)g[1], (long long)g[2],
                (long long)merge, (long long)rows, pixels_name[of]);
        left -= g[0] * g[1] * g[2];
    }
    if (left == 0) return VLM_OK;
    return vlm_fail(err, VLM_ERR_PROCESSING,
                    "prepared input: '%s' has %lld rows that no grid of '%s' covers",
                    pixels_name[of], (long long)left, vmodel_grid_name[of]);
}

vlm_status vmodel_grid_check_kinds(const vlm_grid_model *m, const vlm_prepared *prepared,
                                   vlm_error *err) {
    if (!m->spec->shared_token || !vlm_prepared_find(prepared, pixels_name[GRID_IMAGE])
        || !vlm_prepared_find(prepared, pixels_name[GRID_VIDEO]))
        return VLM_OK;
    return vlm_fail(err, VLM_ERR_PROCESSING,
                    "prepared input: pictures and videos in one prompt, whose tokens are the same");
}

vlm_status vmodel_grid_media(grid_media *out, const vlm_grid_model *m, const vlm_prepared *prepared,
                             grid_kind of, vlm_error *err) {
    const int64_t any[] = { -1, -1 }, triples[] = { -1, 3 };
    const vlm_array *grid;
    *out = (grid_media) { 0 };
    if (!vlm_prepared_find(prepared, pixels_name[of])
        && !vlm_prepared_find(prepared, vmodel_grid_name[of]))
        return VLM_OK;
    vlm_status status =
        vlm_prepared_get(&out->pixels, prepared, pixels_name[of], VLM_DTYPE_F32, 2, any, err);
    if (status == VLM_OK)
        status = vlm_prepared_get(&grid, prepared, vmodel_grid_name[of], VLM_DTYPE_I64, 2, triples,
                                  err);
    if (status < 0) return status;
    out->grids = grid->data;
    out->n = grid->shape[0];
    return check_grids(out, m, of, err);
}

int vlm_grid_features(vlm_frame *f, const void *model, const vlm_prepared *prepared,
                      vlm_features *out) {
    const vlm_grid_model *m = model;
    static const char *const names[] = { "image_features", "video_features" };
    const uint32_t ids[] = { (uint32_t)m->image_token_id, (uint32_t)vmodel_grid_video_token(m) };
    vlm_error err = VLM_ERROR_INIT;
    int n = 0;
    if (vmodel_grid_check_kinds(m, prepared, &err) < 0)
        return vlm_frame_fail(f, err.code, "%s", err.message), 0;
    for (grid_kind of = GRID_IMAGE; of <= GRID_VIDEO; of++) {
        grid_media x;
        if (vmodel_grid_media(&x, m, prepared, of, &err) < 0) {
            vlm_frame_fail(f, err.code, "%s", err.message);
            return 0;
        }
        if (x.n == 0) continue;
        vlm_features *to = &out[n++];
        *to = (vlm_features) { .token_id = ids[of], .name = names[of] };
        to->n_deep = vlm_vision_get_info(m->vision)->n_deep;
        const vlm_vision_input input = {
            .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 2, x.pixels->shape, x.pixels->data),
            .grids = x.grids,
            .n_grids = (int)x.n,
            .deep = to->deep,
        };
        to->rows = vlm_vision_forward(f, m->vision, &input);
    }
    return n;
}
