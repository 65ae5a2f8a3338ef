/* SPDX-License-Identifier: MIT */
/* Where the tokens of a prompt over grids stand: three axes, of which text takes the same position on
 * each and media tokens their time, row and column. */
#include <string.h>

#include "models/parts/grids.h"

/* Far from where an int32 or a long conversation behind it would end. */
enum { LAST_POSITION = 1 << 30 };

/* A walk over a prompt. */
typedef struct walk {
    const vlm_grid_model *model;
    const uint32_t *ids;
    vlm_positions *out;
    grid_media media[2];
    const float *seconds; /* [videos] of a step in time; NULL: 1 */
    int64_t used[2];      /* grids that were met, */
    int64_t times;        /* and times of the video at hand, where they stand apart */
    int64_t current;      /* position of the next token */
    int64_t highest;      /* of all positions so far */
} walk;

static grid_kind kind_of(const walk *w, uint32_t id) {
    if (w->media[GRID_VIDEO].n > 0 && id == vmodel_grid_video_token(w->model)) return GRID_VIDEO;
    return id == w->model->image_token_id   ? GRID_IMAGE
           : id == w->model->video_token_id ? GRID_VIDEO
                                            : GRID_TEXT;
}

static void place_text(walk *w, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++, w->current++)
        for (int axis = 0; axis < 3; axis++) w->out->at[axis * w->out->n + i] = (int32_t)w->current;
    if (w->current - 1 > w->highest) w->highest = w->current - 1;
}

/* Steps of positions from one time of a grid to the next. */
static vlm_status interval(int64_t *out, const walk *w, grid_kind of, int64_t grid, vlm_error *err) {
    *out = 1;
    if (of == GRID_IMAGE || !w->model->spec->paced) return VLM_OK;
    float seconds = w->seconds ? w->seconds[grid] : 1;
    if (!(seconds >= 0 && seconds <= 1 << 20))
        return vlm_fail(err, VLM_ERR_PROCESSING,
                        "prepared input: 'second_per_grid_ts': %g is out of range", seconds);
    *out = w->model->tokens_per_second * (int64_t)seconds;
    return VLM_OK;
}

/* The grid of the next run: that of a picture or video, or one time of a video's. */
static vlm_status next_grid(int64_t *number, int64_t *g, walk *w, grid_kind of, vlm_error *err) {
    *number = w->used[of];
    if (*number >= w->media[of].n)
        return vlm_fail(err, VLM_ERR_MEDIA_COUNT,
                        "the prompt has more places for media than '%s' has rows", vmodel_grid_name[of]);
    memcpy(g, w->media[of].grids + 3 * *number, 3 * sizeof *g);
    bool apart = of == GRID_VIDEO && w->model->spec->frames_apart;
    if (!apart || ++w->times == g[0]) {
        w->used[of]++;
        w->times = 0;
    }
    if (apart) g[0] = 1;
    return VLM_OK;
}

/* A run of media tokens is one grid: its time, row and column, counted from the current position. What
 * follows it counts on from its longer side; time is not counted. */
static vlm_status place_media(walk *w, grid_kind of, int64_t begin, int64_t end, vlm_error *err) {
    const int64_t merge = w->model->spatial_merge_size, n = w->out->n;
    int64_t grid, step, g[3];
    VTRY(next_grid(&grid, g, w, of, err));
    const int64_t rows = g[1] / merge, columns = g[2] / merge,
                  longer = rows > columns ? rows : columns;
    if (end - begin != g[0] * rows * columns)
        return vlm_fail(err, VLM_ERR_MEDIA_COUNT,
                        "the prompt has %lld media tokens where row %lld of '%s' asks for %lld",
                        (long long)(end - begin), (long long)grid, vmodel_grid_name[of],
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

static vlm_status begin_walk(walk *w, const vlm_grid_model *m, const vlm_prepared *prepared,
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
    VTRY(vmodel_grid_check_kinds(m, prepared, err));
    for (grid_kind of = GRID_IMAGE; of <= GRID_VIDEO; of++) {
        vlm_status status = vmodel_grid_media(&w->media[of], m, prepared, of, err);
        if (status < 0) return status;
    }
    const vlm_array *seconds;
    if (!vlm_prepared_find(prepared, "second_per_grid_ts")) return VLM_OK;
    vlm_status status = vlm_prepared_get(&seconds, prepared, "second_per_grid_ts", VLM_DTYPE_F32, 1,
                                         &w->media[GRID_VIDEO].n, err);
    if (status == VLM_OK) w->seconds = seconds->data;
    return status;
}

vlm_status vlm_grid_positions(const void *model, const vlm_prepared *prepared,
                              vlm_positions *out, vlm_error *err) {
    walk w;
    vlm_status status = begin_walk(&w, model, prepared, out, err);
    for (int64_t begin = 0, end; begin < out->n && status == VLM_OK; begin = end) {
        grid_kind of = kind_of(&w, w.ids[begin]);
        for (end = begin; end < out->n && kind_of(&w, w.ids[end]) == of; end++) continue;
        if (of == GRID_TEXT)
            place_text(&w, begin, end);
        else
            status = place_media(&w, of, begin, end, err);
    }
    out->next = w.highest + 1;
    return status;
}
