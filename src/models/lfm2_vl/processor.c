/* SPDX-License-Identifier: MIT */
/* Processor class Lfm2VlProcessor: a picture is one view that keeps its shape, or, when it is large,
 * tiles and a view of the whole; views are rows of patches. Sizes are those of vlm_plan_lfm2(). */
#include <stdio.h>
#include <string.h>

#include "vlm/extend.h"

#define IMAGE "<image>"
#define COUNT(a) (sizeof(a) / sizeof(a)[0])
enum { MOST_TOKENS = 1 << 24, MARKER = 64 };

typedef struct processor {
    int64_t encoder_patch_size, downsample_factor, tile_size;
    int64_t min_image_tokens, max_image_tokens, min_tiles, max_tiles;
    bool do_image_splitting, use_thumbnail, do_pad;
    float max_pixels_tolerance;
    vlm_pixel_rules rules;
} processor;

typedef struct geometry {
    vlm_pixel_rules rules; /* of the backend that the user wishes */
    vlm_lfm2_plan sizes;
    int64_t views;
} geometry;

/* ---- config ---------------------------------------------------------------------------------- */
static const vlm_config_field fields[] = {
    VLM_INT(processor, encoder_patch_size, "encoder_patch_size", 1, 1 << 10, 16),
    VLM_INT(processor, downsample_factor, "downsample_factor", 1, 64, 2),
    VLM_INT(processor, tile_size, "tile_size", 1, 1 << 13, 512),
    VLM_INT(processor, min_image_tokens, "min_image_tokens", 0, 1 << 16, 64),
    VLM_INT(processor, max_image_tokens, "max_image_tokens", 1, 1 << 16, 256),
    VLM_INT(processor, min_tiles, "min_tiles", 1, VLM_MOST_TILES, 2),
    VLM_INT(processor, max_tiles, "max_tiles", 1, VLM_MOST_TILES, 10),
    VLM_BOOL(processor, do_image_splitting, "do_image_splitting", true),
    VLM_BOOL(processor, use_thumbnail, "use_thumbnail", true),
    VLM_BOOL(processor, do_pad, "do_pad", true),
    VLM_REAL(processor, max_pixels_tolerance, "max_pixels_tolerance", 0, 1e6, 2),
};
static const vlm_pixel_rules default_rules = VLM_HALF_PIXEL_RULES(VLM_FILTER_BILINEAR);

static vlm_status create(void **out, const vlm_processor_build *build, vlm_error *err) {
    const vlm_json *config = build->image_config;
    processor *p = vlm_processor_alloc(build, 1, sizeof *p);
    if (!p) return vlm_fail(err, VLM_ERR_MEMORY, "%s: out of memory", build->processor_class);
    vlm_status status = vlm_config_read(p, config, build->image_where, fields, COUNT(fields), err);
    if (status == VLM_OK) status = vlm_pixel_rules_read(&p->rules, config, build->image_where, &default_rules, err);
    if (status < 0) return status;
    if (!p->do_pad)
        return vlm_fail_field(err, VLM_ERR_UNSUPPORTED, build->image_where, "do_pad",
                              "the model needs the shapes of views, which come with padding alone");
    if (p->tile_size % (p->encoder_patch_size * p->downsample_factor))
        return vlm_fail_field(err, VLM_ERR_CONFIG, build->image_where, "tile_size",
                              "%lld is no multiple of encoder_patch_size %lld times downsample_factor %lld",
                              (long long)p->tile_size, (long long)p->encoder_patch_size,
                              (long long)p->downsample_factor);
    *out = p;
    return VLM_OK;
}

static const char *placeholder(const void *self, bool video) {
    (void)self;
    return video ? NULL : IMAGE;
}

/* Rows of a view, padding included. */
static int64_t most_patches(const processor *p) {
    const int64_t whole = p->max_image_tokens * p->downsample_factor * p->downsample_factor;
    const int64_t side = p->tile_size / p->encoder_patch_size;
    return p->do_image_splitting && side * side > whole ? side * side : whole;
}

/* ---- plan ------------------------------------------------------------------------------------ */
static vlm_status measure(geometry *g, const processor *p, vlm_size size, vlm_error *err) {
    const vlm_lfm2_rule rule = { .encoder_patch_size = (uint32_t)p->encoder_patch_size,
                                 .downsample_factor = (uint32_t)p->downsample_factor,
                                 .tile_size = (uint32_t)p->tile_size,
                                 .min_image_tokens = (uint32_t)p->min_image_tokens,
                                 .max_image_tokens = (uint32_t)p->max_image_tokens,
                                 .min_tiles = (uint32_t)p->min_tiles,
                                 .max_tiles = (uint32_t)p->max_tiles,
                                 .do_image_splitting = p->do_image_splitting,
                                 .use_thumbnail = p->use_thumbnail,
                                 .max_pixels_tolerance = (double)p->max_pixels_tolerance };
    vlm_status status = vlm_plan_lfm2(&g->sizes, size, &rule, err);
    if (status < 0) return status;
    const vlm_lfm2_plan *s = &g->sizes;
    const int64_t patch = p->encoder_patch_size, tiles = (int64_t)s->tiles.rows * s->tiles.columns;
    g->views = tiles + s->thumbnail;
    const bool shown = s->resized.width == 0 || s->thumbnail; /* the view of the whole */
    if (shown && s->whole.height / patch * (s->whole.width / patch) > most_patches(p))
        return vlm_fail(err, VLM_ERR_IMAGE_PROCESSING,
                        "a picture of %u x %u has more than the %lld patches of max_image_tokens", size.width,
                        size.height, (long long)most_patches(p));
    if (s->tokens > MOST_TOKENS)
        return vlm_fail(err, VLM_ERR_LIMIT, "a picture of %lld tokens is too large", (long long)s->tokens);
    return VLM_OK;
}

/* Adds a marker and the tokens of a view at `at`; returns where it ends. */
static char *add_view(char *at, const char *marker, int64_t tokens) {
    at += sprintf(at, "%s", marker);
    for (int64_t i = 0; i < tokens; i++) at += sprintf(at, IMAGE);
    return at;
}

static char *picture_text(vlm_plan *plan, const geometry *g) {
    const vlm_lfm2_plan *s = &g->sizes;
    const size_t bytes = (size_t)s->tokens * strlen(IMAGE) + (size_t)(g->views + 3) * MARKER;
    char *text = vlm_plan_alloc(plan, bytes, 1), *at = text, marker[MARKER];
    if (!text) return NULL;
    at += sprintf(at, "<|image_start|>");
    if (s->tiles.rows * s->tiles.columns > 1) {
        for (uint32_t row = 1; row <= s->tiles.rows; row++)
            for (uint32_t col = 1; col <= s->tiles.columns; col++) {
                snprintf(marker, sizeof marker, "<|img_row_%u_col_%u|>", row, col);
                at = add_view(at, marker, s->tile_tokens);
            }
        if (s->thumbnail) at = add_view(at, "<|img_thumbnail|>", s->whole_tokens);
    } else {
        at = add_view(at, "", s->whole_tokens);
    }
    sprintf(at, "<|image_end|>");
    return text;
}

static vlm_status plan_item(const processor *p, vlm_plan *plan, size_t i, vlm_error *err) {
    geometry *g = vlm_plan_alloc(plan, 1, sizeof *g);
    if (!g) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    vlm_status status = measure(g, p, plan->media[i].size, err);
    if (status == VLM_OK) status = vlm_pixel_rules_for(&g->rules, &p->rules, plan->processing, err);
    if (status < 0) return status;
    char *text = picture_text(plan, g);
    if (!text) return vlm_fail(err, VLM_ERR_MEMORY, "plan: out of memory");
    plan->items[i] = (vlm_plan_item) { text, g->sizes.tokens, g };
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
/* The arrays being filled. */
typedef struct canvas {
    const processor *p;
    vlm_threads *threads;
    int64_t patches, values; /* of a view, of a patch */
    float *pixels;           /* [views, patches, values]: of a patch [patch, patch, 3] */
    int32_t *mask;           /* [views, patches]: 1 where there is picture */
    int64_t *shapes;         /* [views, 2] */
    int64_t view;            /* the next one */
} canvas;

static vlm_status canvas_new(canvas *c, const processor *p, const vlm_plan *plan, vlm_prepared *prepared,
                             vlm_error *err) {
    int64_t views = 0;
    for (size_t i = 0; i < plan->n; i++) views += ((const geometry *)plan->items[i].geometry)->views;
    *c = (canvas) { .p = p, .patches = most_patches(p) };
    c->values = 3 * p->encoder_patch_size * p->encoder_patch_size;
    const int64_t pixels[] = { views, c->patches, c->values }, shapes[] = { views, 2 };
    void *at[3];
    vlm_status status = vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 3, pixels, &at[0], err);
    if (status == VLM_OK)
        status = vlm_prepared_add(prepared, "pixel_attention_mask", VLM_DTYPE_I32, 2, pixels, &at[1], err);
    if (status == VLM_OK) status = vlm_prepared_add(prepared, "spatial_shapes", VLM_DTYPE_I64, 2, shapes, &at[2], err);
    if (status < 0) return status;
    c->pixels = at[0], c->mask = at[1], c->shapes = at[2];
    return VLM_OK;
}

/* A rectangle of an image that becomes a view: an item of work is a row of patches. */
typedef struct cutting {
    const canvas *c;
    const vlm_image *image;
    uint32_t x, y;
    int64_t columns;
    vlm_pixel_table table;
    float *out; /* [patches, values] */
} cutting;

static void put_row(void *arg, size_t row, int worker) {
    (void)worker;
    const cutting *t = arg;
    const int64_t patch = t->c->p->encoder_patch_size, area = patch * patch;
    const vlm_size line = { (uint32_t)patch, 1 };
    float planes[3 << 10]; /* a line of a patch, plane by plane */
    for (int64_t col = 0; col < t->columns; col++) {
        float *out = t->out + ((int64_t)row * t->columns + col) * 3 * area;
        for (int64_t y = 0; y < patch; y++, out += 3 * patch) {
            vlm_pixels_planar_by(planes, (size_t)patch, (size_t)patch, t->image, t->x + (uint32_t)(col * patch),
                                 t->y + (uint32_t)((int64_t)row * patch + y), line, &t->table);
            for (int64_t x = 0; x < patch; x++)
                for (int64_t channel = 0; channel < 3; channel++) out[3 * x + channel] = planes[channel * patch + x];
        }
    }
}

static void put_view(canvas *c, const vlm_image *image, uint32_t x, uint32_t y, vlm_size size,
                     const vlm_pixel_rules *rules) {
    const int64_t patch = c->p->encoder_patch_size, rows = size.height / patch, columns = size.width / patch;
    cutting t = { .c = c, .image = image, .x = x, .y = y, .columns = columns,
                  .out = c->pixels + c->view * c->patches * c->values };
    vlm_pixel_table_init(&t.table, rules);
    vlm_threads_run(c->threads, (size_t)rows, put_row, &t);
    for (int64_t i = 0; i < rows * columns; i++) c->mask[c->view * c->patches + i] = 1;
    c->shapes[2 * c->view] = rows;
    c->shapes[2 * c->view + 1] = columns;
    c->view++;
}

/* The picture in a size, as views of `tile` each, row by row. */
static vlm_status put_tiles(canvas *c, const vlm_image *source, vlm_size size, vlm_size tile,
                            const vlm_pixel_rules *rules, vlm_error *err) {
    vlm_image *image;
    vlm_status status = vlm_pixels_resize(&image, source, size, rules, c->threads, err);
    if (status < 0) return status;
    for (uint32_t y = 0; y + tile.height <= size.height; y += tile.height)
        for (uint32_t x = 0; x + tile.width <= size.width; x += tile.width) put_view(c, image, x, y, tile, rules);
    vlm_image_free(image);
    return VLM_OK;
}

static vlm_status fill(const void *self, const vlm_plan *plan, const vlm_media *media, vlm_prepared *prepared,
                       vlm_error *err) {
    const processor *p = self;
    const vlm_size tile = { (uint32_t)p->tile_size, (uint32_t)p->tile_size };
    canvas c;
    if (plan->n == 0) return VLM_OK;
    vlm_status status = canvas_new(&c, p, plan, prepared, err);
    c.threads = media->threads;
    for (size_t i = 0; i < plan->n && status == VLM_OK; i++) {
        const geometry *g = plan->items[i].geometry;
        const vlm_lfm2_plan *s = &g->sizes;
        const bool split = s->resized.width > 0;
        if (split) status = put_tiles(&c, media->frames[i], s->resized, tile, &g->rules, err);
        if (status == VLM_OK && (!split || s->thumbnail))
            status = put_tiles(&c, media->frames[i], s->whole, s->whole, &g->rules, err);
    }
    return status;
}

static void image_processor_config(const void *self, vlm_image_processor_config *out) {
    const processor *p = self;
    out->size = (vlm_size) { (uint32_t)p->tile_size, (uint32_t)p->tile_size };
    out->do_resize = true;
    vlm_pixel_rules_describe(out, &p->rules);
}

const vlm_processor_type vmodel_lfm2_vl_processor = {
    .processor_class = "Lfm2VlProcessor",
    .create = create,
    .placeholder = placeholder,
    .plan = plan,
    .fill = fill,
    .image_processor_config = image_processor_config,
};
