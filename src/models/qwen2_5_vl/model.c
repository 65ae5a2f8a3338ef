/* SPDX-License-Identifier: MIT */
/* Qwen2.5-VL: a tower that takes pictures and videos of any size, a Qwen 2 decoder whose positions
 * have three axes (M-RoPE): a token of a picture stands at its time, row and column. */
#include "vlm/extend.h"

typedef struct qwen2_5_vl {
    int64_t image_token_id, video_token_id;
    int64_t spatial_merge_size, tokens_per_second;
    bool tie_word_embeddings, text_tie_word_embeddings; /* either ties the head */
    vlm_vision *vision;
    vlm_text *text;
} qwen2_5_vl;

static const vlm_config_field fields[] = {
    VLM_INT(qwen2_5_vl, image_token_id, "image_token_id", 0, UINT32_MAX, 151655),
    VLM_INT(qwen2_5_vl, video_token_id, "video_token_id", 0, UINT32_MAX, 151656),
    VLM_INT(qwen2_5_vl, spatial_merge_size, "vision_config.spatial_merge_size", 1, 16, 2),
    VLM_INT(qwen2_5_vl, tokens_per_second, "vision_config.tokens_per_second", 0, 1 << 16, 4),
    VLM_BOOL(qwen2_5_vl, tie_word_embeddings, "tie_word_embeddings", false),
    VLM_BOOL(qwen2_5_vl, text_tie_word_embeddings, "text_config.tie_word_embeddings", false),
};

static vlm_status check(const qwen2_5_vl *m, vlm_error *err) {
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

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    qwen2_5_vl *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "qwen2_5_vl: out of memory");
    vlm_status status =
        vlm_config_read(m, config, "config.json", fields, sizeof fields / sizeof fields[0], err);
    if (status < 0) return status;
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = "qwen2_5_vl_vision",
        .prefix = "model.visual.|visual.|vision_tower.",
    };
    status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status < 0) return status;
    const vlm_json *nested = vlm_json_find(config, "text_config");
    const vlm_text_options text = {
        .config = nested ? nested : config, /* published files have the decoder's keys at the top */
        .fallback_type = "qwen2_5_vl_text",
        .prefix = "model.language_model.|model.|language_model.model.",
        .head_prefix = "|language_model.",
        .tied = m->tie_word_embeddings || m->text_tie_word_embeddings,
    };
    if ((status = vlm_text_new(&m->text, build, &text, err)) < 0) return status;
    if ((status = check(m, err)) < 0) return status;
    *model = m;
    return VLM_OK;
}

static const vlm_text *text_of(const void *model) {
    return ((const qwen2_5_vl *)model)->text;
}

/* ---- media of a prepared input --------------------------------------------------------------- */
typedef enum kind { IMAGE, VIDEO, TEXT } kind;
static const char *const pixels_name[] = { "pixel_values", "pixel_values_videos" };
static const char *const grid_name[] = { "image_grid_thw", "video_grid_thw" };

/* The pictures or the videos of a prompt, checked against each other; n is 0 when there are none.
 */
typedef struct media {
    const vlm_array *pixels; /* [rows, values] */
    const int64_t *grids;    /* [n][3]: time, height, width in patches */
    int64_t n;
} media;

static vlm_status check_grids(const media *x, const qwen2_5_vl *m, kind of, vlm_error *err) {
    int64_t rows = x->pixels->shape[0], left = rows, merge = m->spatial_merge_size;
    for (int64_t i = 0; i < x->n; i++) {
        const int64_t *g = x->grids + 3 * i;
        bool whole = g[0] >= 1 && g[1] >= 1 && g[2] >= 1 && g[1] % merge == 0 && g[2] % merge == 0;
        if (!whole || g[0] > left || g[1] > left / g[0] || g[2] > left / g[0] / g[1])
            return vlm_fail(
                err, VLM_ERR_PROCESSING,
                "prepared input: '%s': %lld x %lld x %lld is no grid of merged squares of %lld "
                "within the %lld rows of '%s'",
                grid_name[of], (long long)g[0], (long long)g[1], (long long)g[2], (long long)merge,
                (long long)rows, pixels_name[of]);
        left -= g[0] * g[1] * g[2];
    }
    if (left == 0) return VLM_OK;
    return vlm_fail(err, VLM_ERR_PROCESSING,
                    "prepared input: '%s' has %lld rows that no grid of '%s' covers",
                    pixels_name[of], (long long)left, grid_name[of]);
}

static vlm_status read_media(media *out, const qwen2_5_vl *m, const vlm_prepared *prepared, kind of,
                             vlm_error *err) {
    const int64_t any[] = { -1, -1 }, triples[] = { -1, 3 };
    const vlm_array *grid;
    *out = (media) { 0 };
    if (!vlm_prepared_find(prepared, pixels_name[of])
        && !vlm_prepared_find(prepared, grid_name[of]))
        return VLM_OK;
    vlm_status status =
        vlm_prepared_get(&out->pixels, prepared, pixels_name[of], VLM_DTYPE_F32, 2, any, err);
    if (status == VLM_OK)
        status = vlm_prepared_get(&grid, prepared, grid_name[of], VLM_DTYPE_I64, 2, triples, err);
    if (status < 0) return status;
    out->grids = grid->data;
    out->n = grid->shape[0];
    return check_grids(out, m, of, err);
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared,
                    vlm_features *out) {
    const qwen2_5_vl *m = model;
    static const char *const names[] = { "image_features", "video_features" };
    const uint32_t ids[] = { (uint32_t)m->image_token_id, (uint32_t)m->video_token_id };
    vlm_error err = VLM_ERROR_INIT;
    int n = 0;
    for (kind of = IMAGE; of <= VIDEO; of++) {
        media x;
        if (read_media(&x, m, prepared, of, &err) < 0) {
            vlm_frame_fail(f, err.code, "%s", err.message);
            return 0;
        }
        if (x.n == 0) continue;
        const vlm_vision_input input = {
            .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 2, x.pixels->shape, x.pixels->data),
            .grids = x.grids,
            .n_grids = (int)x.n,
        };
        out[n++] = (vlm_features) { .token_id = ids[of], .rows = vlm_vision_forward(f, m->vision, &input), .name = names[of] };
    }
    return n;
}

/* ---- positions ------------------------------------------------------------------------------- */
/* Far from where an int32 or a long conversation behind it would end. */
enum { LAST_POSITION = 1 << 30 };

/* A walk over a prompt. */
typedef struct walk {
    const qwen2_5_vl *model;
    const uint32_t *ids;
    vlm_positions *out;
    media media[2];
    const float *seconds; /* [videos] of a step in time; NULL: 1 */
    int64_t used[2];      /* grids that were met */
    int64_t current;      /* position of the next token */
    int64_t highest;      /* of all positions so far */
} walk;

static kind kind_of(const qwen2_5_vl *m, uint32_t id) {
    return id == m->image_token_id ? IMAGE : id == m->video_token_id ? VIDEO : TEXT;
}

static void place_text(walk *w, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++, w->current++)
        for (int axis = 0; axis < 3; axis++) w->out->at[axis * w->out->n + i] = (int32_t)w->current;
    if (w->current - 1 > w->highest) w->highest = w->current - 1;
}

/* Steps of positions from one time of a grid to the next. */
static vlm_status interval(int64_t *out, const walk *w, kind of, int64_t grid, vlm_error *err) {
    *out = 1;
    if (of == IMAGE) return VLM_OK;
    float seconds = w->seconds ? w->seconds[grid] : 1;
    if (!(seconds >= 0 && seconds <= 1 << 20))
        return vlm_fail(err, VLM_ERR_PROCESSING,
                        "prepared input: 'second_per_grid_ts': %g is out of range", seconds);
    *out = w->model->tokens_per_second * (int64_t)seconds;
    return VLM_OK;
}

/* A run of media tokens is one picture or video: its time, row and column, counted from the current
 * position. What follows it counts on from its longer side; time is not counted. */
static vlm_status place_media(walk *w, kind of, int64_t begin, int64_t end, vlm_error *err) {
    const int64_t merge = w->model->spatial_merge_size, n = w->out->n;
    int64_t grid = w->used[of]++, step;
    if (grid >= w->media[of].n)
        return vlm_fail(err, VLM_ERR_MEDIA_COUNT,
                        "the prompt has more places for media than '%s' has rows", grid_name[of]);
    const int64_t *g = w->media[of].grids + 3 * grid;
    const int64_t rows = g[1] / merge, columns = g[2] / merge,
                  longer = rows > columns ? rows : columns;
    if (end - begin != g[0] * rows * columns)
        return vlm_fail(err, VLM_ERR_MEDIA_COUNT,
                        "the prompt has %lld media tokens where row %lld of '%s' asks for %lld",
                        (long long)(end - begin), (long long)grid, grid_name[of],
                        (long long)(g[0] * rows * columns));
    vlm_status status = interval(&step, w, of, grid, err);
    if (status < 0) return status;
    if (step > 0 && g[0] - 1 > (LAST_POSITION - w->current) / step)
        return vlm_fail(err, VLM_ERR_LIMIT, "a video of %lld steps in time is too long",
                        (long long)g[0]);
    int32_t *at = w->out->at + begin;
    for (int64_t i = 0; i < end - begin; i++) {
        at[i] = (int32_t)(w->current + i / columns / rows * step);
        at[n + i] = (int32_t)(w->current + i / columns % rows);
        at[2 * n + i] = (int32_t)(w->current + i % columns);
    }
    int64_t last = (g[0] - 1) * step > longer - 1 ? (g[0] - 1) * step : longer - 1;
    if (w->current + last > w->highest) w->highest = w->current + last;
    w->current += longer;
    return VLM_OK;
}

static vlm_status begin_walk(walk *w, const qwen2_5_vl *m, const vlm_prepared *prepared,
                             vlm_positions *out, vlm_error *err) {
    size_t n;
    *w = (walk) { .model = m,
                  .ids = vlm_prepared_ids(prepared, &n),
                  .out = out,
                  .current = out->next,
                  .highest = out->next - 1 };
    if (out->n > LAST_POSITION - out->next)
        return vlm_fail(err, VLM_ERR_LIMIT, "a prompt of %lld tokens at position %lld is too long",
                        (long long)out->n, (long long)out->next);
    for (kind of = IMAGE; of <= VIDEO; of++) {
        vlm_status status = read_media(&w->media[of], m, prepared, of, err);
        if (status < 0) return status;
    }
    const vlm_array *seconds;
    if (!vlm_prepared_find(prepared, "second_per_grid_ts")) return VLM_OK;
    vlm_status status = vlm_prepared_get(&seconds, prepared, "second_per_grid_ts", VLM_DTYPE_F32, 1,
                                         &w->media[VIDEO].n, err);
    if (status == VLM_OK) w->seconds = seconds->data;
    return status;
}

static vlm_status positions(const void *model, const vlm_prepared *prepared, vlm_positions *out,
                            vlm_error *err) {
    walk w;
    vlm_status status = begin_walk(&w, model, prepared, out, err);
    for (int64_t begin = 0, end; begin < out->n && status == VLM_OK; begin = end) {
        kind of = kind_of(model, w.ids[begin]);
        for (end = begin; end < out->n && kind_of(model, w.ids[end]) == of; end++) continue;
        if (of == TEXT)
            place_text(&w, begin, end);
        else
            status = place_media(&w, of, begin, end, err);
    }
    out->next = w.highest + 1;
    return status;
}

const vlm_model_type vmodel_qwen2_5_vl = {
    .model_type = "qwen2_5_vl",
    .default_processor_class = "Qwen2_5_VLProcessor",
    .create = create,
    .text = text_of,
    .features = features,
    .positions = positions,
};
