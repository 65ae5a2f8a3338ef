/* SPDX-License-Identifier: MIT */
/* A processor over grids of patches: a picture keeps its aspect ratio and about its size, within a
 * budget of pixels. Sizes and expansions here, pixels in grid_pixels.c, frames of video files in
 * grid_sampling.c; docs/REFERENCE.md tells the steps. */
#include <string.h>

#include "models/parts/grids.h"

enum { MOST_PATCHES = 1 << 22, LONGEST_ASPECT = 200 };

/* ---- config ---------------------------------------------------------------------------------- */
#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define MOST_PIXELS 1099511627776.0
#define INT(m, k, lo, hi) VLM_INT(vlm_grid_recipe, m, k, lo, hi, VLM_KEEP)
static const vlm_config_field recipe_fields[] = {
    VLM_BOOL(vlm_grid_recipe, do_resize, "do_resize", VLM_KEEP),
    INT(patch_size, "patch_size", 1, 1024),
    INT(merge_size, "merge_size", 1, 16),
    INT(temporal_patch_size, "temporal_patch_size", 1, 16),
    INT(min_pixels, "min_pixels|size.shortest_edge|size.min_pixels", 1, MOST_PIXELS),
    INT(max_pixels, "max_pixels|size.longest_edge|size.max_pixels", 1, MOST_PIXELS),
    VLM_REAL(vlm_grid_recipe, fps, "fps", 0, 1e6, VLM_KEEP),
    INT(num_frames, "num_frames", 0, MOST_PATCHES),
    INT(min_frames, "min_frames", 1, MOST_PATCHES),
    INT(max_frames, "max_frames", 1, MOST_PATCHES),
};

/* A budget of a frame that depends on their number: off unless it is asked for. */
static vlm_status check_cap(const vlm_json *config, const char *where, vlm_error *err) {
    typedef struct cap {
        bool per_frame;
    } cap;
    static const vlm_config_field field[] = { VLM_BOOL(cap, per_frame, "cap_pixels_per_frame", false) };
    cap c;
    VTRY(vlm_config_read(&c, config, where, field, 1, err));
    if (!c.per_frame) return VLM_OK;
    return vlm_fail_field(err, VLM_ERR_UNSUPPORTED, where, "cap_pixels_per_frame", "is not supported");
}

static vlm_status read_recipe(vlm_grid_recipe *out, const vlm_grid_recipe *defaults,
                              const vlm_json *config, const char *where, vlm_error *err) {
    *out = *defaults;
    VTRY(vlm_config_read(out, config, where, recipe_fields, COUNT(recipe_fields), err));
    VTRY(check_cap(config, where, err));
    return vlm_pixel_rules_read(&out->rules, config, where, &defaults->rules, err);
}

static vlm_status find_token(uint32_t *id, const vlm_processor_build *build, const char *text,
                             vlm_error *err) {
    vlm_tokens tokens = { 0 };
    VTRY(vlm_tokenizer_encode(&tokens, build->tokenizer, text, strlen(text), 0, err));
    bool one = tokens.count == 1;
    if (one) *id = tokens.ids[0];
    vlm_tokens_free(&tokens);
    if (one) return VLM_OK;
    return vlm_fail(err, VLM_ERR_CONFIG, "%s: the tokenizer has no token %s",
                    build->processor_class, text);
}

vlm_status vlm_grid_processor_new(void **processor, const vlm_processor_build *build,
                                  const vlm_grid_processor_spec *spec, vlm_error *err) {
    grid_processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    p->spec = spec;
    VTRY(read_recipe(&p->image, &spec->image, build->image_config, build->image_where, err));
    VTRY(read_recipe(&p->video, &spec->video, build->video_config, build->video_where, err));
    VTRY(find_token(&p->image_token_id, build, spec->image_token, err));
    VTRY(find_token(&p->video_token_id, build, spec->video_token, err));
    *processor = p;
    return VLM_OK;
}

const char *vlm_grid_placeholder(const void *processor, bool video) {
    const grid_processor *p = processor;
    return video ? p->spec->video_token : p->spec->image_token;
}

void vlm_grid_image_processor_config(const void *processor, vlm_image_processor_config *out) {
    const vlm_grid_recipe *how = &((const grid_processor *)processor)->image;
    out->do_resize = how->do_resize;
    vlm_pixel_rules_describe(out, &how->rules);
}

const vlm_grid_recipe *vlm_grid_video_recipe(const void *processor) {
    return &((const grid_processor *)processor)->video;
}

/* ---- sizes ----------------------------------------------------------------------------------- */
static vlm_status refuse_size(vlm_size size, const char *why, vlm_error *err) {
    return vlm_fail(err, VLM_ERR_IMAGE_PROCESSING, "a picture of %u x %u %s", size.width,
                    size.height, why);
}

/* The user's budget is of a picture, the config's of all frames where they count. */
static uint64_t budget(uint64_t wish, int64_t own, int64_t frames) {
    if (!wish) return (uint64_t)own;
    return wish > UINT64_MAX / (uint64_t)frames ? UINT64_MAX : wish * (uint64_t)frames;
}

static vlm_status resized(vlm_size *out, const vlm_media_item *item, const vlm_grid_recipe *how,
                          const vlm_processing *wish, vlm_error *err) {
    const int64_t time = how->temporal_patch_size;
    int64_t frames = item->video ? item->frames : time;
    const bool file = item->times || item->duration > 0;
    if (how->even_files && file) frames = (frames + time - 1) / time * time;
    const int64_t counted = how->frames_count ? frames : 1;
    const vlm_smart_resize_rule rule = {
        .factor = (uint32_t)(how->patch_size * how->merge_size),
        .min_pixels = budget(wish->min_pixels, how->min_pixels, counted),
        .max_pixels = budget(wish->max_pixels, how->max_pixels, counted),
        .longest_aspect = LONGEST_ASPECT,
    };
    if (how->frames_count)
        VTRY(vlm_smart_resize_frames(out, item->size, frames, (uint32_t)time, &rule, err));
    else
        VTRY(vlm_smart_resize(out, item->size, &rule, err));
    const double patch = (double)how->patch_size;
    if (out->height / patch * (out->width / patch) <= MOST_PATCHES) return VLM_OK;
    return refuse_size(item->size, "has too many patches in its budget of pixels", err);
}

static vlm_status measure(grid_geometry *g, const vlm_grid_recipe *how, const vlm_media_item *item,
                          const vlm_processing *wish, vlm_error *err) {
    *g = (grid_geometry) { .how = how, .size = item->size };
    const int64_t square = how->patch_size * how->merge_size, time = how->temporal_patch_size;
    if (how->do_resize) VTRY(resized(&g->size, item, how, wish, err));
    if (g->size.height % square != 0 || g->size.width % square != 0)
        return refuse_size(g->size, "is not made of whole squares of patches, and do_resize is off",
                           err);
    g->grid[0] = (item->frames + time - 1) / time;
    g->grid[1] = g->size.height / how->patch_size;
    g->grid[2] = g->size.width / how->patch_size;
    if (g->grid[1] > MOST_PATCHES / g->grid[2]
        || g->grid[0] > MOST_PATCHES / (g->grid[1] * g->grid[2]))
        return vlm_fail(err, VLM_ERR_LIMIT, "%lld frames of %lld x %lld patches are too many",
                        (long long)item->frames, (long long)g->grid[2], (long long)g->grid[1]);
    return VLM_OK;
}

int64_t vmodel_grid_patches(const grid_geometry *g) {
    return g->grid[0] * g->grid[1] * g->grid[2];
}

vlm_status vlm_grid_frame_size(const void *processor, const vlm_media_item *item,
                               const vlm_processing *processing, vlm_size *size,
                               const vlm_pixel_rules **rules, vlm_error *err) {
    const vlm_grid_recipe *how = &((const grid_processor *)processor)->video;
    grid_geometry g;
    vlm_status status = measure(&g, how, item, processing, err);
    *size = g.size;
    *rules = &how->rules;
    return status;
}

/* ---- plan ------------------------------------------------------------------------------------ */
static char *repeated(vlm_plan *plan, const char *token, size_t n) {
    const size_t bytes = strlen(token);
    char *words = vlm_plan_alloc(plan, n * bytes + 1, 1);
    for (size_t k = 0; words && k < n; k++) memcpy(words + k * bytes, token, bytes);
    return words;
}

/* Seconds with one decimal, whatever the locale calls its point. */
static char *seconds_text(vlm_plan *plan, double seconds) {
    char *text = vlm_plan_printf(plan, "%.1f", seconds);
    size_t n = text ? strlen(text) : 0, whole = text ? strspn(text, "0123456789") : 0;
    if (n < 3 || whole + 1 >= n) return text;
    text[whole + 1] = text[n - 1];
    text[whole] = '.';
    text[whole + 2] = 0;
    return text;
}

/* The reference's for a video that tells none is 24. */
static double fps_of(const vlm_media_item *item) {
    return item->fps > 0 ? item->fps : 24;
}

static double time_of(const vlm_media_item *item, int64_t frame) {
    if (frame >= item->frames) frame = item->frames - 1;
    if (item->times) return item->times[frame];
    return (double)frame / fps_of(item);
}

/* The text of all times of a video, one behind the other. */
static char *times_text(const grid_processor *p, vlm_plan *plan, const vlm_media_item *item,
                        const char *tokens, int64_t n) {
    const int64_t at_once = p->video.temporal_patch_size;
    vcore_buf all = { 0 };
    for (int64_t i = 0; i < n; i++) {
        const double first = time_of(item, i * at_once), last = time_of(item, (i + 1) * at_once - 1);
        const vlm_grid_time time = { seconds_text(plan, first),
                                     seconds_text(plan, (first + last) / 2), tokens };
        char *one = time.first && time.middle ? p->spec->time_text(plan, &time) : NULL;
        if (!one) {
            vcore_buf_free(&all);
            return NULL;
        }
        vcore_buf_puts(&all, one);
    }
    char *text = vcore_buf_take(&all);
    char *kept = text ? vlm_plan_printf(plan, "%s", text) : NULL;
    vcore_free(text);
    return kept;
}

static vlm_status plan_item(const grid_processor *p, vlm_plan *plan, size_t i, vlm_error *err) {
    const vlm_media_item *item = &plan->media[i];
    const vlm_grid_recipe *how = item->video ? &p->video : &p->image;
    grid_geometry *g = vlm_plan_alloc(plan, 1, sizeof *g);
    if (!g) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    VTRY(measure(g, how, item, plan->processing, err));
    VTRY(vlm_pixel_rules_for(&g->rules, &how->rules, plan->processing, err));
    const int64_t n = vmodel_grid_patches(g) / (how->merge_size * how->merge_size);
    const bool apart = item->video && p->spec->time_text;
    const bool own = item->video && !p->spec->shared_token;
    char *words = repeated(plan, own ? p->spec->video_token : p->spec->image_token,
                           (size_t)(apart ? n / g->grid[0] : n));
    if (words && apart) words = times_text(p, plan, item, words, g->grid[0]);
    if (!words) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    plan->items[i] = (vlm_plan_item) { words, n, g };
    return VLM_OK;
}

vlm_status vlm_grid_plan(const void *processor, vlm_plan *plan, vlm_error *err) {
    for (size_t i = 0; i < plan->n; i++) VTRY(plan_item(processor, plan, i, err));
    return VLM_OK;
}

/* ---- the prepared input ---------------------------------------------------------------------- */
/* Arrays of one kind of media. */
typedef struct arrays {
    float *pixels;
    int64_t *grids; /* [n][3] */
    float *seconds; /* [n] of a step in time; NULL: the class does not return them */
} arrays;

static vlm_status add_arrays(arrays *out, vlm_prepared *prepared, bool video, bool paced,
                             const int64_t *pixels_shape, int64_t n, vlm_error *err) {
    const int64_t grid_shape[] = { n, 3 };
    void *pixels, *grids, *seconds = NULL;
    VTRY(vlm_prepared_add(prepared, video ? "pixel_values_videos" : "pixel_values", VLM_DTYPE_F32,
                          2, pixels_shape, &pixels, err));
    VTRY(vlm_prepared_add(prepared, video ? "video_grid_thw" : "image_grid_thw", VLM_DTYPE_I64, 2,
                          grid_shape, &grids, err));
    if (video && paced)
        VTRY(vlm_prepared_add(prepared, "second_per_grid_ts", VLM_DTYPE_F32, 1, &n, &seconds, err));
    *out = (arrays) { pixels, grids, seconds };
    return VLM_OK;
}

/* The arrays of items [begin, end) of the plan, which are of one kind. */
static vlm_status fill_kind(const grid_processor *p, const vlm_plan *plan, size_t begin, size_t end,
                            const vlm_media *media, size_t frame, vlm_prepared *prepared,
                            vlm_error *err) {
    if (begin == end) return VLM_OK;
    const vlm_grid_recipe *how = ((const grid_geometry *)plan->items[begin].geometry)->how;
    const size_t values = vmodel_grid_row_values(how);
    int64_t shape[] = { 0, (int64_t)values };
    arrays to;
    for (size_t i = begin; i < end; i++) shape[0] += vmodel_grid_patches(plan->items[i].geometry);
    VTRY(add_arrays(&to, prepared, plan->media[begin].video, p->spec->paced, shape,
                    (int64_t)(end - begin), err));
    for (size_t i = begin; i < end; i++) {
        const vlm_media_item *item = &plan->media[i];
        const grid_geometry *g = plan->items[i].geometry;
        memcpy(to.grids + 3 * (i - begin), g->grid, sizeof g->grid);
        if (to.seconds)
            to.seconds[i - begin] = (float)((double)how->temporal_patch_size / fps_of(item));
        VTRY(vmodel_grid_fill_rows(to.pixels, g, media->frames + frame, item->frames,
                                   media->threads, err));
        to.pixels += (size_t)vmodel_grid_patches(g) * values;
        frame += (size_t)item->frames;
    }
    return VLM_OK;
}

/* 0 for text, 1 for pictures, 2 for videos. */
static vlm_status fill_token_types(const grid_processor *p, bool videos, vlm_prepared *prepared,
                                   vlm_error *err) {
    const int64_t image = videos && p->spec->shared_token ? 2 : 1;
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    const int64_t shape[] = { 1, (int64_t)n };
    void *types;
    VTRY(vlm_prepared_add(prepared, "mm_token_type_ids", VLM_DTYPE_I64, 2, shape, &types, err));
    for (size_t i = 0; i < n; i++)
        ((int64_t *)types)[i] = ids[i] == p->image_token_id   ? image
                                : ids[i] == p->video_token_id ? 2
                                                              : 0;
    return VLM_OK;
}

vlm_status vlm_grid_fill(const void *processor, const vlm_plan *plan, const vlm_media *media,
                         vlm_prepared *prepared, vlm_error *err) {
    size_t images = 0;
    while (images < plan->n && !plan->media[images].video) images++;
    VTRY(fill_token_types(processor, images < plan->n, prepared, err));
    VTRY(fill_kind(processor, plan, 0, images, media, 0, prepared, err));
    return fill_kind(processor, plan, images, plan->n, media, images, prepared, err);
}
