/* SPDX-License-Identifier: MIT */
/* Processor class Qwen2_5_VLProcessor: a picture keeps its aspect ratio and about its size, within
 * a budget of pixels; it becomes rows of patches in the order in which the tower merges them. Sizes
 * are those of vlm_smart_resize(); docs/REFERENCE.md tells the steps. */
#include <math.h>
#include <string.h>

#include "vlm/extend.h"

#define IMAGE_TOKEN "<|image_pad|>"
#define VIDEO_TOKEN "<|video_pad|>"
enum { MOST_PATCHES = 1 << 22, LONGEST_ASPECT = 200 };

/* How pictures of one kind are made: of the image processor's config or of the video processor's.
 */
typedef struct recipe {
    bool do_resize;
    int64_t patch_size, merge_size, temporal_patch_size;
    int64_t min_pixels, max_pixels;
    vlm_pixel_rules rules;
    float fps; /* of a video file: frames a second to take, */
    int64_t num_frames, min_frames, max_frames; /* or so many of them; 0: not */
} recipe;

typedef struct processor {
    recipe image, video;
    uint32_t image_token_id, video_token_id;
} processor;

typedef struct geometry {
    const recipe *how;
    vlm_pixel_rules rules; /* its, of the backend that the user wishes */
    vlm_size size;         /* after resizing */
    int64_t grid[3];       /* time, height, width in patches */
} geometry;

/* ---- config ---------------------------------------------------------------------------------- */
#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define MOST_PIXELS 1099511627776.0
static const vlm_config_field recipe_fields[] = {
    VLM_BOOL(recipe, do_resize, "do_resize", true),
    VLM_INT(recipe, patch_size, "patch_size", 1, 1024, 14),
    VLM_INT(recipe, merge_size, "merge_size", 1, 16, 2),
    VLM_INT(recipe, temporal_patch_size, "temporal_patch_size", 1, 16, 2),
    VLM_INT(recipe, min_pixels, "min_pixels|size.shortest_edge|size.min_pixels", 1, MOST_PIXELS,
            VLM_KEEP),
    VLM_INT(recipe, max_pixels, "max_pixels|size.longest_edge|size.max_pixels", 1, MOST_PIXELS,
            VLM_KEEP),
    VLM_REAL(recipe, fps, "fps", 0, 1e6, 2),
    VLM_INT(recipe, num_frames, "num_frames", 0, MOST_PATCHES, 0),
    VLM_INT(recipe, min_frames, "min_frames", 1, MOST_PATCHES, 4),
    VLM_INT(recipe, max_frames, "max_frames", 1, MOST_PATCHES, 768),
};
static const vlm_pixel_rules default_rules = {
    /* CLIP's */
    .resample = VLM_FILTER_BICUBIC,
    .do_rescale = true,
    .do_normalize = true,
    .rescale_factor = 1.0 / 255,
    .mean = { 0.48145466, 0.4578275, 0.40821073 },
    .std = { 0.26862954, 0.26130258, 0.27577711 },
};

static vlm_status read_recipe(recipe *out, const vlm_json *config, const char *where,
                              vlm_error *err) {
    vlm_status status =
        vlm_config_read(out, config, where, recipe_fields, COUNT(recipe_fields), err);
    if (status < 0) return status;
    return vlm_pixel_rules_read(&out->rules, config, where, &default_rules, err);
}

static vlm_status find_token(uint32_t *id, const vlm_processor_build *build, const char *text,
                             vlm_error *err) {
    vlm_tokens tokens = { 0 };
    vlm_status status = vlm_tokenizer_encode(&tokens, build->tokenizer, text, strlen(text), 0, err);
    if (status < 0) return status;
    bool one = tokens.count == 1;
    if (one) *id = tokens.ids[0];
    vlm_tokens_free(&tokens);
    if (one) return VLM_OK;
    return vlm_fail(err, VLM_ERR_CONFIG, "%s: the tokenizer has no token %s",
                    build->processor_class, text);
}

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    p->image = (recipe) { .min_pixels = 56 * 56, .max_pixels = 28 * 28 * 1280 };
    p->video = (recipe) { .min_pixels = 128 * 28 * 28, .max_pixels = 768 * 28 * 28 };
    vlm_status status = read_recipe(&p->image, build->image_config, build->image_where, err);
    if (status == VLM_OK)
        status = read_recipe(&p->video, build->video_config, build->video_where, err);
    if (status == VLM_OK) status = find_token(&p->image_token_id, build, IMAGE_TOKEN, err);
    if (status == VLM_OK) status = find_token(&p->video_token_id, build, VIDEO_TOKEN, err);
    if (status == VLM_OK) *out = p;
    return status;
}

static const char *placeholder(const void *self, bool video) {
    (void)self;
    return video ? VIDEO_TOKEN : IMAGE_TOKEN;
}

/* ---- sizes ----------------------------------------------------------------------------------- */
static vlm_status refuse_size(vlm_size size, const char *why, vlm_error *err) {
    return vlm_fail(err, VLM_ERR_IMAGE_PROCESSING, "a picture of %u x %u %s", size.width,
                    size.height, why);
}

/* The budget of pixels is the user's, or the config's. */
static vlm_status resized(vlm_size *out, vlm_size size, const recipe *how,
                          const vlm_processing *wish, vlm_error *err) {
    const vlm_smart_resize_rule rule = {
        .factor = (uint32_t)(how->patch_size * how->merge_size),
        .min_pixels = wish->min_pixels ? wish->min_pixels : (uint64_t)how->min_pixels,
        .max_pixels = wish->max_pixels ? wish->max_pixels : (uint64_t)how->max_pixels,
        .longest_aspect = LONGEST_ASPECT,
    };
    vlm_status status = vlm_smart_resize(out, size, &rule, err);
    if (status < 0) return status;
    const double patch = (double)how->patch_size;
    if (out->height / patch * (out->width / patch) <= MOST_PATCHES) return VLM_OK;
    return refuse_size(size, "has too many patches in its budget of pixels", err);
}

static vlm_status measure(geometry *g, const recipe *how, const vlm_media_item *item,
                          const vlm_processing *wish, vlm_error *err) {
    *g = (geometry) { .how = how, .size = item->size };
    const int64_t square = how->patch_size * how->merge_size, time = how->temporal_patch_size;
    vlm_status status =
        how->do_resize ? resized(&g->size, item->size, how, wish, err) : VLM_OK;
    if (status < 0) return status;
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

static int64_t patches_of(const geometry *g) {
    return g->grid[0] * g->grid[1] * g->grid[2];
}

/* ---- plan ------------------------------------------------------------------------------------ */
static vlm_status plan_item(const processor *p, vlm_plan *plan, size_t i, vlm_error *err) {
    const vlm_media_item *item = &plan->media[i];
    const recipe *how = item->video ? &p->video : &p->image;
    geometry *g = vlm_plan_alloc(plan, 1, sizeof *g);
    if (!g) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    vlm_status status = measure(g, how, item, plan->processing, err);
    if (status == VLM_OK) status = vlm_pixel_rules_for(&g->rules, &how->rules, plan->processing, err);
    if (status < 0) return status;
    const char *token = placeholder(p, item->video);
    size_t bytes = strlen(token), n = (size_t)(patches_of(g) / (how->merge_size * how->merge_size));
    char *words = vlm_plan_alloc(plan, n * bytes + 1, 1);
    if (!words) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    for (size_t k = 0; k < n; k++) memcpy(words + k * bytes, token, bytes);
    plan->items[i] = (vlm_plan_item) { words, (int64_t)n, g };
    return VLM_OK;
}

static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    for (size_t i = 0; i < out->n; i++) {
        vlm_status status = plan_item(self, out, i, err);
        if (status < 0) return status;
    }
    return VLM_OK;
}

/* ---- pixels ---------------------------------------------------------------------------------- */
/* Values of a row: [3, time, patch, patch]. */
static size_t row_values(const recipe *how) {
    return 3 * (size_t)(how->temporal_patch_size * how->patch_size * how->patch_size);
}

/* A frame on its way into the rows of its time: an item of work is a row of squares. */
typedef struct frame {
    const geometry *g;
    const vlm_image *image;
    vlm_pixel_table table;
    float *rows;    /* those of its time */
    int64_t moment; /* of a patch's time: number of the frame in it; */
    int64_t last;   /* it is repeated up to this one */
} frame;

/* Squares of patches lie row by row, the patches of a square row by row. */
static void put_squares(void *arg, size_t i, int worker) {
    (void)worker;
    const frame *f = arg;
    const recipe *how = f->g->how;
    const int64_t patch = how->patch_size, merge = how->merge_size, top = (int64_t)i * merge;
    const size_t area = (size_t)(patch * patch), plane = area * (size_t)how->temporal_patch_size;
    const vlm_size size = { (uint32_t)patch, (uint32_t)patch };
    float *at = f->rows + (size_t)(top * f->g->grid[2]) * row_values(how)
                + area * (size_t)f->moment;
    for (int64_t left = 0; left < f->g->grid[2]; left += merge)
        for (int64_t k = 0; k < merge * merge; k++, at += row_values(how)) {
            vlm_pixels_planar_by(at, (size_t)patch, plane, f->image,
                                 (uint32_t)((left + k % merge) * patch),
                                 (uint32_t)((top + k / merge) * patch), size, &f->table);
            for (int64_t later = 1; later <= f->last - f->moment; later++)
                for (size_t c = 0; c < 3; c++)
                    memcpy(at + c * plane + area * (size_t)later, at + c * plane,
                           area * sizeof *at);
        }
}

/* The last frame fills what is left of its patches' time. @param rows those of the item, in the
 * prepared array */
static vlm_status fill_item(float *rows, const geometry *g, const vlm_image *const *frames,
                            int64_t n, vlm_threads *threads, vlm_error *err) {
    const int64_t times = g->how->temporal_patch_size, patches = g->grid[1] * g->grid[2];
    frame f = { .g = g };
    vlm_pixel_table_init(&f.table, &g->rules);
    for (int64_t i = 0; i < n; i++) {
        vlm_image *image;
        vlm_status status = vlm_pixels_resize(&image, frames[i], g->size, &g->rules, threads, err);
        if (status < 0) return status;
        f.image = image;
        f.rows = rows + (size_t)(i / times * patches) * row_values(g->how);
        f.moment = i % times;
        f.last = i == n - 1 ? times - 1 : f.moment;
        vlm_threads_run(threads, (size_t)(g->grid[1] / g->how->merge_size), put_squares, &f);
        vlm_image_free(image);
    }
    return VLM_OK;
}

/* The arrays of one kind of media, which are items [begin, end) of the plan. */
static vlm_status fill_kind(const vlm_plan *plan, size_t begin, size_t end,
                            const vlm_image *const *frames, vlm_threads *threads,
                            vlm_prepared *prepared, vlm_error *err) {
    if (begin == end) return VLM_OK;
    bool video = plan->media[begin].video;
    const recipe *how = ((const geometry *)plan->items[begin].geometry)->how;
    int64_t rows = 0, n = (int64_t)(end - begin);
    for (size_t i = begin; i < end; i++) rows += patches_of(plan->items[i].geometry);
    const int64_t pixels_shape[] = { rows, (int64_t)row_values(how) }, grid_shape[] = { n, 3 };
    void *pixels, *grids, *seconds = NULL;
    vlm_status status = vlm_prepared_add(prepared, video ? "pixel_values_videos" : "pixel_values",
                                         VLM_DTYPE_F32, 2, pixels_shape, &pixels, err);
    if (status == VLM_OK)
        status = vlm_prepared_add(prepared, video ? "video_grid_thw" : "image_grid_thw",
                                  VLM_DTYPE_I64, 2, grid_shape, &grids, err);
    if (status == VLM_OK && video)
        status =
            vlm_prepared_add(prepared, "second_per_grid_ts", VLM_DTYPE_F32, 1, &n, &seconds, err);
    float *at = pixels;
    for (size_t i = begin; i < end && status == VLM_OK; i++) {
        const vlm_media_item *item = &plan->media[i];
        const geometry *g = plan->items[i].geometry;
        memcpy((int64_t *)grids + 3 * (i - begin), g->grid, sizeof g->grid);
        double fps =
            item->fps > 0 ? item->fps : 24; /* the reference's for a video that tells none */
        if (video) ((float *)seconds)[i - begin] = (float)((double)how->temporal_patch_size / fps);
        status = fill_item(at, g, frames, item->frames, threads, err);
        at += (size_t)patches_of(g) * row_values(how);
        frames += item->frames;
    }
    return status;
}

/* 0 for text, 1 for pictures, 2 for videos. */
static vlm_status fill_token_types(const processor *p, vlm_prepared *prepared, vlm_error *err) {
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    const int64_t shape[] = { 1, (int64_t)n };
    void *types;
    vlm_status status =
        vlm_prepared_add(prepared, "mm_token_type_ids", VLM_DTYPE_I64, 2, shape, &types, err);
    for (size_t i = 0; i < n && status == VLM_OK; i++)
        ((int64_t *)types)[i] = ids[i] == p->image_token_id   ? 1
                                : ids[i] == p->video_token_id ? 2
                                                              : 0;
    return status;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media,
                       vlm_prepared *prepared, vlm_error *err) {
    size_t images = 0;
    while (images < plan->n && !plan->media[images].video) images++;
    vlm_status status = fill_token_types(self, prepared, err);
    if (status == VLM_OK)
        status = fill_kind(plan, 0, images, media->frames, media->threads, prepared, err);
    if (status == VLM_OK)
        status = fill_kind(plan, images, plan->n, media->frames + images, media->threads, prepared,
                           err);
    return status;
}

/* ---- which frames of a video file ------------------------------------------------------------ */
/* How many Qwen2VLVideoProcessor.sample_frames takes: a number that is asked for, or by a rate. */
static double frames_wanted(const recipe *how, const vlm_clip *clip) {
    const double step = (double)how->temporal_patch_size, all = (double)clip->frames;
    const bool rate = clip->wish_fps > 0 || clip->wish_frames || clip->wish_min_frames;
    if (clip->wish_nframes) return nearbyint((double)clip->wish_nframes / step) * step;
    if (how->num_frames && !rate) return nearbyint((double)how->num_frames / step) * step;
    double least = (double)(clip->wish_min_frames ? clip->wish_min_frames : how->min_frames);
    double most = (double)(clip->wish_frames ? clip->wish_frames : how->max_frames);
    double fps = clip->wish_fps > 0 ? clip->wish_fps : (double)how->fps;
    most = floor(fmin(most, all) / step) * step;
    double count = clip->fps > 0 ? all / clip->fps * fps : all;
    count = fmin(fmin(fmax(count, least), most), all);
    return floor(count / step) * step;
}

/* The reference fails for a video shorter than a step in time, of which all frames are taken here, but
 * not where so many were asked for. */
static vlm_status sample(const void *self, const vlm_clip *clip, int64_t *numbers, size_t *n,
                         vlm_error *err) {
    double count = frames_wanted(&((const processor *)self)->video, clip);
    if (clip->wish_nframes && !(count >= 1 && count <= (double)clip->frames))
        return vlm_fail(err, VLM_ERR_VIDEO_PROCESSING, "nframes %lld of a video of %lld frames makes %.0f",
                        (long long)clip->wish_nframes, (long long)clip->frames, count);
    if (!(count >= 1)) count = 1;
    *n = vlm_sample_arange(numbers, (size_t)fmin(count, (double)clip->frames), clip->frames);
    return VLM_OK;
}

static vlm_status frame_size(const void *self, const vlm_media_item *item,
                             const vlm_processing *processing, vlm_size *size,
                             const vlm_pixel_rules **rules, vlm_error *err) {
    const recipe *how = &((const processor *)self)->video;
    geometry g;
    vlm_status status = measure(&g, how, item, processing, err);
    *size = g.size;
    *rules = &how->rules;
    return status;
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    const recipe *how = &((const processor *)self)->image;
    out->do_resize = how->do_resize;
    vlm_pixel_rules_describe(out, &how->rules);
}

const vlm_processor_type vmodel_qwen2_5_vl_processor = {
    .processor_class = "Qwen2_5_VLProcessor",
    .create = create,
    .placeholder = placeholder,
    .plan = plan,
    .fill = fill,
    .sample = sample,
    .frame_size = frame_size,
    .image_processor_config = image_processor_config,
};
