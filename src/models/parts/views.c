/* SPDX-License-Identifier: MIT */
/* Pictures of any shape as views of one size: CLIP's, SigLIP's and LLaVA's image processors. */
#include "models/models.h"

enum { MOST_SIDE = 1 << 13 };

/* ---- the config ------------------------------------------------------------------------------ */
static const struct view_class {
    const char *name; /* alternatives by '|' */
    bool pads;        /* do_pad means a square of the mean colour */
    vlm_view_rules defaults;
} classes[] = {
    { "CLIPImageProcessor|CLIPImageProcessorFast|CLIPFeatureExtractor|LlavaNextImageProcessor|LlavaNextImageProcessorFast",
      false,
      { .do_resize = true, .do_center_crop = true, .shortest_edge = 224, .crop_size = { 224, 224 },
        .pixels = VLM_CLIP_PIXEL_RULES } },
    { "LlavaImageProcessor|LlavaImageProcessorFast",
      true,
      { .do_resize = true, .do_center_crop = true, .shortest_edge = 224, .crop_size = { 224, 224 },
        .pixels = VLM_CLIP_PIXEL_RULES } },
    { "FastVLMImageProcessor",
      false,
      { .do_resize = true, .do_center_crop = true, .shortest_edge = 1024, .crop_size = { 1024, 1024 },
        .pixels = { .resample = VLM_FILTER_BICUBIC, .do_rescale = true, .do_normalize = true,
                    .rescale_factor = 1.0 / 255, .std = { 1, 1, 1 } } } },
    { "SiglipImageProcessor|SiglipImageProcessorFast",
      false,
      { .do_resize = true, .size = { 224, 224 },
        .pixels = VLM_HALF_PIXEL_RULES(VLM_FILTER_BICUBIC) } },
};

static vlm_status find_class(const struct view_class **out, const vlm_json *config, const char *where,
                             const char *fallback_type, vlm_error *err) {
    const vlm_json *type = vcore_json_get(config, "image_processor_type");
    vcore_str name = vcore_str_of(fallback_type);
    if (vcore_json_kind_of(type) != VCORE_JSON_NULL && !vcore_json_string(type, &name))
        return vcore_fail_field(err, VLM_ERR_CONFIG, where, "image_processor_type", "must be a string, is %s",
                                vcore_json_kind_name(type));
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        *out = &classes[i];
        if (vmodel_is_one_of(classes[i].name, name)) return VLM_OK;
    }
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, "image_processor_type",
                            "'%.*s' makes no views of one size", (int)(name.n < 60 ? name.n : 60), name.p);
}

typedef struct sides {
    int64_t shortest_edge, height, width;
} sides;

/* {"shortest_edge": n}, {"height": h, "width": w}, or n alone: the shorter edge where `edge`, else both. Absent: zeros.
 * @param fields [3] of sides, the first for a size only */
static vlm_status read_sides(sides *out, const vlm_json *config, const char *key, const vlm_config_field *fields,
                             bool edge, const char *where, vlm_error *err) {
    const vlm_json *v = vcore_json_get(config, key);
    const bool is_size = fields[0].key != NULL;
    int64_t n = 0;
    *out = (sides) { 0 };
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (vcore_json_int(v, &n) && n >= 1 && n <= MOST_SIDE) {
        *out = edge ? (sides) { .shortest_edge = n } : (sides) { .height = n, .width = n };
        return VLM_OK;
    }
    if (vcore_json_kind_of(v) != VCORE_JSON_OBJECT)
        return vcore_fail_field(err, VLM_ERR_CONFIG, where, key, "must be a number in [1, %d] or an object", MOST_SIDE);
    VTRY(vlm_config_read(out, config, where, fields + !is_size, is_size ? 3 : 2, err));
    if (out->shortest_edge || (out->height && out->width)) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, key, "must have %sheight and width",
                            is_size ? "shortest_edge, or " : "");
}

static vlm_status read_sizes(vlm_view_rules *r, const vlm_json *config, const char *where, vlm_error *err) {
    static const vlm_config_field of_size[] = {
        VLM_INT(sides, shortest_edge, "size.shortest_edge", 1, MOST_SIDE, 0),
        VLM_INT(sides, height, "size.height", 1, MOST_SIDE, 0),
        VLM_INT(sides, width, "size.width", 1, MOST_SIDE, 0),
    };
    static const vlm_config_field of_crop[] = {
        { 0 },
        VLM_INT(sides, height, "crop_size.height", 1, MOST_SIDE, 0),
        VLM_INT(sides, width, "crop_size.width", 1, MOST_SIDE, 0),
    };
    sides size, crop;
    VTRY(read_sides(&size, config, "size", of_size, r->shortest_edge != 0, where, err));
    VTRY(read_sides(&crop, config, "crop_size", of_crop, false, where, err));
    if (size.shortest_edge || size.height) {
        r->shortest_edge = (uint32_t)size.shortest_edge;
        r->size = (vlm_size) { (uint32_t)size.width, (uint32_t)size.height };
    }
    if (crop.height) r->crop_size = (vlm_size) { (uint32_t)crop.width, (uint32_t)crop.height };
    if (r->do_resize && r->shortest_edge && !r->do_center_crop) {
        if (!r->do_pad)
            return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, "size.shortest_edge",
                                    "views follow the shape of the picture without do_center_crop or do_pad");
        r->size = (vlm_size) { r->shortest_edge, r->shortest_edge };
    }
    if (!r->do_center_crop && r->size.width == 0)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, "size", "must have height and width");
    return VLM_OK;
}

vlm_status vlm_view_rules_read(vlm_view_rules *out, const vlm_json *image_config, const char *where,
                               const char *fallback_type, vlm_error *err) {
    static const vlm_config_field fields[] = {
        VLM_BOOL(vlm_view_rules, do_resize, "do_resize", VLM_KEEP),
        VLM_BOOL(vlm_view_rules, do_center_crop, "do_center_crop", VLM_KEEP),
        VLM_BOOL(vlm_view_rules, do_pad, "do_pad", VLM_KEEP),
    };
    const struct view_class *class;
    VTRY(find_class(&class, image_config, where, fallback_type, err));
    *out = class->defaults;
    VTRY(vlm_config_read(out, image_config, where, fields, sizeof fields / sizeof *fields, err));
    if (!class->pads) out->do_pad = false; /* pads views of a batch, which have one size */
    VTRY(read_sizes(out, image_config, where, err));
    return vlm_pixel_rules_read(&out->pixels, image_config, where, &class->defaults.pixels, err);
}

vlm_size vlm_view_size(const vlm_view_rules *rules) {
    return rules->do_center_crop ? rules->crop_size : rules->size;
}

void vlm_view_rules_describe(vlm_image_processor_config *out, const vlm_view_rules *rules) {
    out->size = rules->do_center_crop ? rules->crop_size : rules->size;
    if (rules->do_center_crop) out->crop = rules->crop_size;
    out->shortest_edge = rules->shortest_edge;
    out->do_resize = rules->do_resize;
    vlm_pixel_rules_describe(out, &rules->pixels);
}

/* ---- pixels ---------------------------------------------------------------------------------- */
/* Where the middle begins; below 0 where the picture is smaller: then the backends differ by a pixel. */
static int32_t middle(uint32_t length, uint32_t cut, vlm_resampler backend) {
    int64_t left = (int64_t)length - cut;
    bool down = left < 0 && left % 2 && backend == VLM_RESAMPLER_PILLOW;
    return (int32_t)((left - down) / 2);
}

/* Takes *image's place when it is the maker's own. */
static void replace(vlm_image **owned, const vlm_image **image, vlm_image *next) {
    vlm_image_free(*owned);
    *owned = next;
    *image = next;
}

static vlm_status pad_and_resize(vlm_image **owned, const vlm_image **image, const vlm_view_rules *r,
                                 vlm_threads *threads, vlm_error *err) {
    vlm_image *next;
    vlm_size size = vlm_image_size(*image);
    if (r->do_pad && size.width != size.height) {
        uint8_t colour[3];
        for (int c = 0; c < 3; c++) {
            const double value = r->pixels.mean[c] * 255;
            if (!(value > -1 && value < 256))
                return vcore_fail_field(err, VLM_ERR_CONFIG, r->pixels.where, "image_mean",
                                        "%g is no colour to pad with: must be in [0, 1]", r->pixels.mean[c]);
            colour[c] = (uint8_t)value;
        }
        VTRY(vlm_image_pad_to_square(&next, *image, colour, err));
        replace(owned, image, next);
    }
    if (!r->do_resize) return VLM_OK;
    size = r->size;
    if (r->shortest_edge) VTRY(vlm_resize_shortest_edge(&size, vlm_image_size(*image), r->shortest_edge, err));
    VTRY(vlm_pixels_resize(&next, *image, size, &r->pixels, threads, err));
    replace(owned, image, next);
    return VLM_OK;
}

/* One picture, which becomes *owned, into [3, height, width] floats at out. */
static vlm_status fill(float *out, vlm_image **owned, const vlm_image *image, const vlm_view_rules *r,
                       vlm_threads *threads, vlm_error *err) {
    const vlm_size view = vlm_view_size(r);
    VTRY(pad_and_resize(owned, &image, r, threads, err));
    const vlm_size size = vlm_image_size(image);
    int32_t x = 0, y = 0;
    if (r->do_center_crop) {
        x = middle(size.width, view.width, r->pixels.backend);
        y = middle(size.height, view.height, r->pixels.backend);
    } else if (size.width != view.width || size.height != view.height) {
        return vcore_fail(err, VLM_ERR_IMAGE_PROCESSING, "a picture of %u x %u, but do_resize is false", size.width,
                          size.height);
    }
    if (size.width < view.width || size.height < view.height) {
        vlm_image *next;
        VTRY(vlm_image_crop(&next, image, x, y, view, err));
        replace(owned, &image, next);
        x = y = 0;
    }
    vlm_pixels_planar(out, view.width, (size_t)view.width * view.height, image, (uint32_t)x, (uint32_t)y, view,
                      &r->pixels);
    return VLM_OK;
}

vlm_status vlm_views_fill(const vlm_view_rules *rules, const vlm_plan *plan, const vlm_media *media,
                          vlm_prepared *prepared, vlm_error *err) {
    vlm_view_rules by = *rules;
    const vlm_size view = vlm_view_size(rules);
    const int64_t shape[] = { (int64_t)plan->n, 3, view.height, view.width };
    const size_t values = 3 * (size_t)view.width * view.height;
    void *pixels;
    VTRY(vlm_pixel_rules_for(&by.pixels, &rules->pixels, plan->processing, err));
    VTRY(vlm_prepared_add(prepared, "pixel_values", VLM_DTYPE_F32, 4, shape, &pixels, err));
    for (size_t i = 0; i < plan->n; i++) {
        vlm_image *owned = NULL;
        vlm_status status = fill((float *)pixels + i * values, &owned, media->frames[i], &by, media->threads, err);
        vlm_image_free(owned);
        if (status < 0) return status;
    }
    return VLM_OK;
}

/* ---- text ------------------------------------------------------------------------------------ */
char *vlm_plan_repeat(vlm_plan *plan, const char *text, int64_t n) {
    size_t length = strlen(text), bytes;
    if (n < 0 || !vcore_mul(length, (size_t)n, &bytes) || !vcore_add(bytes, 1, &bytes)) return NULL;
    char *out = vlm_plan_alloc(plan, bytes, 1);
    for (int64_t i = 0; out && i < n; i++) memcpy(out + (size_t)i * length, text, length);
    return out;
}
