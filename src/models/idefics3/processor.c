/* SPDX-License-Identifier: MIT */
/* Processor classes Idefics3Processor and SmolVLMProcessor: a picture becomes tiles and a view of
 * the whole, a video becomes frames, each with its row of <image> tokens. Sizes are those of
 * vlm_plan_splits(); docs/REFERENCE.md tells the steps. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vlm/extend.h"

enum { LARGEST_VIEW = 4096, MOST_TOKENS = 1 << 20, MOST_WORDS = 999999 };

/* How pictures are made: read from the image processor's config, or from the video processor's. */
typedef struct recipe {
    bool do_resize, do_image_splitting, do_pad;
    int64_t longest_edge; /* 0: height and width say the size */
    int64_t height, width;
    int64_t max_image_size; /* side of a view */
    vlm_pixel_rules rules;
    float fps; /* of a video file: frames a second to take, at most so many */
    int64_t max_frames;
} recipe;

typedef struct processor {
    bool takes_video;
    int64_t image_seq_len;
    recipe image, video;
} processor;

/* The sizes that a picture goes through. */
typedef struct geometry {
    const recipe *how;
    vlm_pixel_rules rules; /* its, of the backend that the user wishes */
    vlm_size first;        /* after the first resize */
    vlm_size second;       /* of which tiles are cut; the size of a view when there are none */
    int64_t rows, cols;    /* of tiles; 0: the picture is one view */
    int64_t views;
} geometry;

/* ---- config ---------------------------------------------------------------------------------- */
#define COUNT(a) (sizeof(a) / sizeof(a)[0])
static const vlm_config_field recipe_fields[] = {
    VLM_BOOL(recipe, do_resize, "do_resize", true),
    VLM_BOOL(recipe, do_image_splitting, "do_image_splitting", true),
    VLM_BOOL(recipe, do_pad, "do_pad", true),
    VLM_INT(recipe, longest_edge, "size.longest_edge", 1, 1 << 15, 0),
    VLM_INT(recipe, height, "size.height", 1, 1 << 13, 0),
    VLM_INT(recipe, width, "size.width", 1, 1 << 13, 0),
    VLM_INT(recipe, max_image_size, "max_image_size.longest_edge", 1, LARGEST_VIEW, 364),
};
static const vlm_config_field processor_fields[] = {
    VLM_INT(processor, image_seq_len, "image_seq_len", 1, 1 << 14, 169),
};
static const vlm_pixel_rules default_rules = VLM_HALF_PIXEL_RULES(VLM_FILTER_LANCZOS);

static vlm_status read_recipe(recipe *out, const vlm_json *config, const char *where,
                              vlm_error *err) {
    vlm_status status =
        vlm_config_read(out, config, where, recipe_fields, COUNT(recipe_fields), err);
    if (status < 0) return status;
    if (out->longest_edge == 0 && !vlm_json_find(config, "size")) out->longest_edge = 4 * 364;
    if (out->longest_edge == 0 && (out->height == 0 || out->width == 0))
        return vlm_fail_field(err, VLM_ERR_CONFIG, where, "size",
                              "must have longest_edge, or height and width");
    return vlm_pixel_rules_read(&out->rules, config, where, &default_rules, err);
}

/* A video processor without "size" takes the one for sampled videos. */
static vlm_status read_video_recipe(recipe *out, const vlm_json *config, const char *where,
                                    vlm_error *err) {
    static const vlm_config_field sampled[] = {
        VLM_INT(recipe, longest_edge, "video_sampling.video_size.longest_edge", 1, 1 << 15,
                VLM_KEEP),
    };
    static const vlm_config_field sampling[] = {
        VLM_REAL(recipe, fps, "video_sampling.fps|fps", 0, 1e6, 1),
        VLM_INT(recipe, max_frames, "video_sampling.max_frames|num_frames", 1, MOST_TOKENS, 64),
    };
    vlm_status status = read_recipe(out, config, where, err);
    if (status == VLM_OK) status = vlm_config_read(out, config, where, sampling, COUNT(sampling), err);
    if (status == VLM_OK && !vlm_json_find(config, "size"))
        status = vlm_config_read(out, config, where, sampled, COUNT(sampled), err);
    out->do_image_splitting = false;
    if (out->longest_edge > LARGEST_VIEW) out->longest_edge = LARGEST_VIEW; /* before its other side is rounded */
    return status;
}

static vlm_status create_any(void **out, const vlm_processor_build *build, bool takes_video,
                             vlm_error *err) {
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    p->takes_video = takes_video;
    bool own = vlm_json_find(build->processor_config, "image_seq_len") != NULL;
    vlm_status status =
        vlm_config_read(p, own ? build->processor_config : build->preprocessor_config,
                        own ? "processor_config.json" : "preprocessor_config.json",
                        processor_fields, COUNT(processor_fields), err);
    if (status == VLM_OK)
        status = read_recipe(&p->image, build->image_config, build->image_where, err);
    if (status == VLM_OK && takes_video)
        status = read_video_recipe(&p->video, build->video_config, build->video_where, err);
    if (status == VLM_OK) *out = p;
    return status;
}

static vlm_status create_idefics3(void **out, const vlm_processor_build *build, vlm_error *err) {
    return create_any(out, build, false, err);
}

static vlm_status create_smolvlm(void **out, const vlm_processor_build *build, vlm_error *err) {
    return create_any(out, build, true, err);
}

static const char *placeholder(const void *self, bool video) {
    if (!video) return "<image>";
    return ((const processor *)self)->takes_video ? "<video>" : NULL;
}

/* ---- sizes ----------------------------------------------------------------------------------- */
static vlm_status measure(geometry *g, const recipe *how, vlm_size size, vlm_error *err) {
    const vlm_split_rule rule = { .do_resize = how->do_resize,
                                  .do_image_splitting = how->do_image_splitting,
                                  .longest_edge = (uint32_t)how->longest_edge,
                                  .size = { (uint32_t)how->width, (uint32_t)how->height },
                                  .max_image_size = (uint32_t)how->max_image_size };
    vlm_split_plan sizes;
    vlm_status status = vlm_plan_splits(&sizes, size, &rule, err);
    if (status < 0) return status;
    *g = (geometry) { .how = how,
                      .first = sizes.first,
                      .second = sizes.second,
                      .rows = sizes.tiles.rows,
                      .cols = sizes.tiles.columns,
                      .views = sizes.views };
    return VLM_OK;
}

/* ---- prompt text ----------------------------------------------------------------------------- */
#define AROUND "<fake_token_around_image>"
#define GLOBAL "<global-img>"
#define IMAGE "<image>"

/* Text that grows in a buffer made large enough beforehand. */
typedef struct text {
    char *p;
    size_t n, capacity;
} text;

static void add(text *t, const char *s) {
    size_t n = strlen(s);
    if (n < t->capacity - t->n) memcpy(t->p + t->n, s, n + 1), t->n += n;
}

/* One view: what introduces it, then its image tokens. */
static void add_view(text *t, const char *name, int64_t image_seq_len) {
    add(t, AROUND);
    add(t, name);
    for (int64_t i = 0; i < image_seq_len; i++) add(t, IMAGE);
}

enum { VIEW_TEXT = sizeof AROUND * 2 + 64 }; /* more than a view's text beside its image tokens */

/* Room for `views` views and `more` bytes. */
static bool text_new(text *t, vlm_plan *plan, int64_t views, int64_t image_seq_len, size_t more) {
    size_t view = VIEW_TEXT + (sizeof IMAGE - 1) * (size_t)image_seq_len;
    *t = (text) { .capacity = (size_t)views * view + more + 1 };
    t->p = vlm_plan_alloc(plan, t->capacity, 1);
    return t->p != NULL;
}

static char *picture_text(vlm_plan *plan, const geometry *g, int64_t image_seq_len) {
    text t;
    char name[64];
    if (!text_new(&t, plan, g->views, image_seq_len, 0)) return NULL;
    for (int64_t row = 1; row <= g->rows; row++) {
        for (int64_t col = 1; col <= g->cols; col++) {
            snprintf(name, sizeof name, "<row_%lld_col_%lld>", (long long)row, (long long)col);
            add_view(&t, name, image_seq_len);
        }
        add(&t, "\n");
    }
    if (g->rows > 0) add(&t, "\n");
    add_view(&t, GLOBAL, image_seq_len);
    add(&t, AROUND);
    return t.p;
}

/* n in English, as num2words says it. 0 < n <= MOST_WORDS; out has room for 120 bytes. */
static void number_words(char *out, int64_t n) {
    static const char *const small[] = {
        "",         "one",     "two",     "three",     "four",     "five",     "six",
        "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",   "thirteen",
        "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    };
    static const char *const tens[] = { "",      "",      "twenty",  "thirty", "forty",
                                        "fifty", "sixty", "seventy", "eighty", "ninety" };
    if (n >= 1000) {
        number_words(out, n / 1000);
        out += strlen(out);
        n %= 1000;
        out += sprintf(out, " thousand%s", n == 0 ? "" : n < 100 ? " and " : ", ");
    }
    if (n >= 100) {
        out += sprintf(out, "%s hundred%s", small[n / 100], n % 100 ? " and " : "");
        n %= 100;
    }
    if (n >= 20)
        sprintf(out, "%s%s%s", tens[n / 10], n % 10 ? "-" : "", small[n % 10]);
    else
        strcpy(out, small[n]);
}

/* Seconds as Python's timedelta writes them: "0:00:02", "1 day, 3:04:05". */
static void duration_words(char *out, size_t bytes, int64_t seconds) {
    int64_t days = seconds / 86400, rest = seconds % 86400;
    int n = days ? snprintf(out, bytes, "%lld day%s, ", (long long)days, days == 1 ? "" : "s") : 0;
    snprintf(out + n, bytes - (size_t)n, "%lld:%02lld:%02lld", (long long)(rest / 3600),
             (long long)(rest / 60 % 60), (long long)(rest % 60));
}

/* Of several videos, the reference says of each how many frames the longest has. */
static int64_t frames_said(const vlm_plan *plan) {
    int64_t most = 0;
    for (size_t i = 0; i < plan->n; i++)
        if (plan->media[i].video && plan->media[i].frames > most) most = plan->media[i].frames;
    return most < MOST_WORDS ? most : MOST_WORDS; /* more are refused when it is their turn */
}

static char *video_text(vlm_plan *plan, const vlm_media_item *item, int64_t image_seq_len) {
    /* Without a rate the reference takes 24 frames a second and the last frame's time as duration.
     */
    double fps = item->fps > 0 ? item->fps : 24;
    int64_t seconds = (int64_t)((double)(item->fps > 0 ? item->frames : item->frames - 1) / fps);
    if (item->times) seconds = (int64_t)item->duration;
    char count[120], duration[64], line[300];
    text t;
    if (!text_new(&t, plan, item->frames, image_seq_len, sizeof line)) return NULL;
    number_words(count, frames_said(plan));
    duration_words(duration, sizeof duration, seconds);
    snprintf(line, sizeof line,
             "You are provided the following series of %s frames from a %s [H:MM:SS] video.\n",
             count, duration);
    add(&t, line);
    for (int64_t i = 0; i < item->frames; i++) {
        double second = item->times ? item->times[i] : (double)i / fps;
        snprintf(line, sizeof line, "\nFrame from %02lld:%02lld:", (long long)floor(second / 60),
                 (long long)fmod(second, 60));
        add(&t, line);
        add_view(&t, GLOBAL, image_seq_len);
        add(&t, AROUND);
    }
    add(&t, "\n\n");
    return t.p;
}

/* ---- plan ------------------------------------------------------------------------------------ */
/* What cannot be shown, or would not be what the reference shows. */
static vlm_status check_item(const processor *p, const vlm_media_item *item, const geometry *g,
                             vlm_error *err) {
    const vlm_size frame = item->size;
    const int64_t side = g->how->max_image_size;
    if (item->video && !g->how->do_resize && (frame.width != side || frame.height != side))
        return vlm_fail(err, VLM_ERR_VIDEO_PROCESSING,
                        "frames of %u x %u are not of max_image_size, and do_resize is off",
                        frame.width, frame.height);
    if (g->views < 1 || g->views > MOST_TOKENS / p->image_seq_len)
        return vlm_fail(err, VLM_ERR_LIMIT, "%lld views of %lld tokens are too many",
                        (long long)g->views, (long long)p->image_seq_len);
    if (item->video && item->fps > 0 && fmax((double)item->frames / item->fps, item->duration) > 1e13)
        return vlm_fail(err, VLM_ERR_VIDEO_PROCESSING, "a video of %g frames a second is too long",
                        item->fps);
    return VLM_OK;
}

static vlm_status plan_item(const processor *p, vlm_plan *plan, size_t i, vlm_error *err) {
    const vlm_media_item *item = &plan->media[i];
    geometry *g = vlm_plan_alloc(plan, 1, sizeof *g);
    if (!g) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    const recipe *how = item->video ? &p->video : &p->image;
    vlm_status status = measure(g, how, item->size, err);
    if (status == VLM_OK) status = vlm_pixel_rules_for(&g->rules, &how->rules, plan->processing, err);
    if (status < 0) return status;
    if (item->video) g->views = item->frames;
    if ((status = check_item(p, item, g, err)) < 0) return status;
    char *words = item->video ? video_text(plan, item, p->image_seq_len)
                              : picture_text(plan, g, p->image_seq_len);
    if (!words) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    plan->items[i] = (vlm_plan_item) { words, g->views * p->image_seq_len, g };
    return VLM_OK;
}

static vlm_status plan(const void *self, vlm_plan *out, vlm_error *err) {
    for (size_t i = 0; i < out->n; i++) {
        vlm_status status = plan_item(self, out, i, err);
        if (status < 0) return status;
    }
    return VLM_OK;
}

/* ---- which frames of a video file ------------------------------------------------------------ */
/* As SmolVLMVideoProcessor.sample_frames: a long video without its first and last second. */
static vlm_status sample(const void *self, const vlm_clip *clip, int64_t *numbers, size_t *n,
                         vlm_error *err) {
    if (clip->wish_nframes || clip->wish_min_frames)
        return vlm_fail(err, VLM_ERR_UNSUPPORTED, "SmolVLM's rule for frames has no %s",
                        clip->wish_nframes ? "nframes" : "min_frames");
    const recipe *how = &((const processor *)self)->video;
    const double most = (double)(clip->wish_frames ? clip->wish_frames : how->max_frames);
    const double fps = clip->wish_fps > 0 ? clip->wish_fps : (double)how->fps;
    const double wanted = fmax(1, fmin(nearbyint(fps * clip->duration), most));
    int64_t first = 0, last = clip->frames - 1;
    if (clip->duration - 2 > most * fps) {
        first = (int64_t)fmin(clip->fps, (double)last);
        last = (int64_t)fmin((double)clip->frames - clip->fps, (double)last);
        if (first >= last) first = 0, last = clip->frames - 1;
    }
    size_t count = (size_t)fmin(wanted, (double)clip->frames);
    *n = 0;
    vlm_sample_linspace(numbers, count, first, last, true);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || numbers[i] != numbers[*n - 1]) numbers[(*n)++] = numbers[i];
    return VLM_OK;
}

static vlm_status frame_size(const void *self, const vlm_media_item *item,
                             const vlm_processing *processing, vlm_size *size,
                             const vlm_pixel_rules **rules, vlm_error *err) {
    (void)processing;
    const recipe *how = &((const processor *)self)->video;
    geometry g = { .how = how };
    vlm_status status = measure(&g, how, item->size, err);
    *size = g.first;
    *rules = &how->rules;
    return status;
}

/* ---- pixels ---------------------------------------------------------------------------------- */
/* The arrays being filled, [lists, longest, 3, side, side]: the views of all pictures, or a list of
 * frames per video, the shorter ones padded with zeros. */
typedef struct canvas {
    float *pixels;
    int64_t side, lists, longest;
    vlm_threads *threads; /* may be NULL */
} canvas;

/* Every pixel holds picture, also where a list of frames is padded: so says the reference, whose
 * model passes by views of nothing but zeros. Its torchvision class makes floats of the mask. */
static vlm_status add_mask(const canvas *c, const vlm_plan *plan, vlm_prepared *prepared,
                           vlm_error *err) {
    const geometry *first = plan->items[0].geometry;
    const bool floats = first->rules.backend != VLM_RESAMPLER_PILLOW && !plan->media[0].video;
    const int64_t shape[] = { c->lists, c->longest, c->side, c->side };
    const size_t n = (size_t)(c->lists * c->longest * c->side * c->side);
    void *mask;
    vlm_status status =
        vlm_prepared_add(prepared, "pixel_attention_mask", floats ? VLM_DTYPE_F32 : VLM_DTYPE_I64,
                         4, shape, &mask, err);
    for (size_t i = 0; status == VLM_OK && i < n; i++) {
        if (floats)
            ((float *)mask)[i] = 1;
        else
            ((int64_t *)mask)[i] = 1;
    }
    return status;
}

static vlm_status canvas_new(canvas *c, const vlm_plan *plan, vlm_prepared *prepared,
                             vlm_error *err) {
    const geometry *first = plan->items[0].geometry;
    *c = (canvas) { .side = first->how->max_image_size, .lists = 1 };
    for (size_t i = 0; i < plan->n; i++) {
        int64_t views = ((const geometry *)plan->items[i].geometry)->views;
        if (!plan->media[0].video)
            c->longest += views;
        else if (views > c->longest)
            c->longest = views;
    }
    if (plan->media[0].video) c->lists = (int64_t)plan->n;
    const int64_t shape[] = { c->lists, c->longest, 3, c->side, c->side };
    void *pixels;
    vlm_status status =
        vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 5, shape, &pixels, err);
    if (status < 0) return status;
    c->pixels = pixels;
    return first->how->do_pad ? add_mask(c, plan, prepared, err) : VLM_OK;
}

/* A side x side square of an image becomes view number `view`. */
static void put_view(canvas *c, int64_t view, const vlm_image *image, int64_t x, int64_t y,
                     const vlm_pixel_rules *rules) {
    size_t side = (size_t)c->side, area = side * side;
    const vlm_size size = { (uint32_t)side, (uint32_t)side };
    vlm_pixels_planar(c->pixels + (size_t)view * 3 * area, side, area, image, (uint32_t)x,
                      (uint32_t)y, size, rules);
}

/* Tiles of a picture, each an item for one of the threads. */
typedef struct tiling {
    canvas *c;
    int64_t first; /* view */
    const vlm_image *image;
    const geometry *g;
} tiling;

static void put_tile(void *arg, size_t i, int worker) {
    (void)worker;
    const tiling *t = arg;
    const int64_t row = (int64_t)i / t->g->cols, col = (int64_t)i % t->g->cols;
    put_view(t->c, t->first + (int64_t)i, t->image, col * t->c->side, row * t->c->side,
             &t->g->rules);
}

/* Replaces *image, which is owned, by itself in another size. */
static vlm_status resize(const canvas *c, vlm_image **image, vlm_size size,
                         const vlm_pixel_rules *rules, vlm_error *err) {
    vlm_image *resized;
    const vlm_size now = vlm_image_size(*image);
    if (now.width == size.width && now.height == size.height) return VLM_OK;
    vlm_status status = vlm_pixels_resize(&resized, *image, size, rules, c->threads, err);
    if (status < 0) return status;
    vlm_image_free(*image);
    *image = resized;
    return VLM_OK;
}

/* Cuts the tiles of a picture of the second size and adds the view of the whole. */
static vlm_status put_picture(canvas *c, int64_t view, vlm_image **image, const geometry *g,
                              vlm_error *err) {
    const int64_t tiles = g->rows * g->cols;
    const vlm_size whole = { (uint32_t)c->side, (uint32_t)c->side };
    tiling t = { c, view, *image, g };
    vlm_threads_run(c->threads, (size_t)tiles, put_tile, &t);
    vlm_status status = tiles ? resize(c, image, whole, &g->rules, err) : VLM_OK;
    if (status == VLM_OK) put_view(c, view + tiles, *image, 0, 0, &g->rules);
    return status;
}

static vlm_status fill_picture(canvas *c, int64_t view, const vlm_image *source, const geometry *g,
                               vlm_error *err) {
    vlm_image *image;
    vlm_status status = vlm_pixels_resize(&image, source, g->first, &g->rules, c->threads, err);
    if (status < 0) return status;
    status = resize(c, &image, g->second, &g->rules, err);
    if (status == VLM_OK) status = put_picture(c, view, &image, g, err);
    vlm_image_free(image);
    return status;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media,
                       vlm_prepared *prepared, vlm_error *err) {
    (void)self;
    canvas c;
    if (plan->n == 0) return VLM_OK;
    vlm_status status = canvas_new(&c, plan, prepared, err);
    c.threads = media->threads;
    int64_t view = 0;
    const vlm_image *const *frame = media->frames;
    for (size_t i = 0; i < plan->n && status == VLM_OK; i++) {
        const geometry *g = plan->items[i].geometry;
        bool video = plan->media[i].video;
        if (video) view = (int64_t)i * c.longest;
        for (int64_t k = 0; k < plan->media[i].frames && status == VLM_OK; k++) {
            status = fill_picture(&c, view, *frame++, g, err);
            view += video ? 1 : g->views;
        }
    }
    return status;
}

/* ---- the classes ----------------------------------------------------------------------------- */
/* What the reference renders chats that hold a video with, whatever the checkpoint's template. */
static const char video_template[] =
    "<|im_start|>{% for message in messages %}"
    "{{ message.role | capitalize }}{{ ':' if message.content[0].type == 'image' else ': ' }}"
    "{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}"
    "{% elif part.type == 'image' %}{{ '<image>' }}"
    "{% elif part.type == 'video' %}{{ '<video>' }}{% endif %}"
    "{% endfor %}{{ '<end_of_utterance>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/* SmolVLM's class adds none. */
static const vlm_extra_token idefics3_tokens[] = {
    { .text = "<fake_token_around_image>", .special = true },
    { .text = "<image>", .special = true },
    { .text = "<end_of_utterance>", .special = true },
};

static const char *const end_tokens[] = { "<end_of_utterance>" };

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    const recipe *how = &((const processor *)self)->image;
    const uint32_t side = (uint32_t)how->max_image_size;
    out->size = (vlm_size) { side, side };
    out->do_resize = how->do_resize;
    vlm_pixel_rules_describe(out, &how->rules);
}

const vlm_processor_type vmodel_idefics3_processor = {
    .processor_class = "Idefics3Processor",
    .create = create_idefics3,
    .placeholder = placeholder,
    .add_special_tokens = true,
    .extra_eos = end_tokens,
    .n_extra_eos = COUNT(end_tokens),
    .extra_tokens = idefics3_tokens,
    .n_extra_tokens = COUNT(idefics3_tokens),
    .image_processor_config = image_processor_config,
    .plan = plan,
    .fill = fill,
};

const vlm_processor_type vmodel_smolvlm_processor = {
    .processor_class = "SmolVLMProcessor",
    .create = create_smolvlm,
    .placeholder = placeholder,
    .video_chat_template = video_template,
    .add_special_tokens = true,
    .single_media_type = true,
    .extra_eos = end_tokens,
    .n_extra_eos = COUNT(end_tokens),
    .image_processor_config = image_processor_config,
    .plan = plan,
    .fill = fill,
    .sample = sample,
    .frame_size = frame_size,
};
