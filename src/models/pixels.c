/* SPDX-License-Identifier: MIT */
/* What image processor configs of all families share: resampling, rescaling, normalisation. */
#include "models/models.h"

static const vlm_name filter_names[] = {
    { "nearest", VLM_FILTER_NEAREST },
    { "lanczos", VLM_FILTER_LANCZOS },
    { "bilinear", VLM_FILTER_BILINEAR },
    { "bicubic", VLM_FILTER_BICUBIC },
    { "box", VLM_FILTER_BOX },
    { "hamming", VLM_FILTER_HAMMING },
    { NULL, 0 },
};

/* Pillow's number, or its name. */
static vlm_status read_filter(vlm_filter *out, const vlm_json *config, const char *where,
                              vlm_error *err) {
    const vlm_json *v = vcore_json_get(config, "resample");
    int64_t number;
    vcore_str name;
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (vcore_json_int(v, &number) && number >= VLM_FILTER_NEAREST
        && number <= VLM_FILTER_HAMMING) {
        *out = (vlm_filter)number;
        return VLM_OK;
    }
    for (int i = 0; vcore_json_string(v, &name) && filter_names[i].name; i++) {
        if (!vcore_str_eq(name, vcore_str_of(filter_names[i].name))) continue;
        *out = (vlm_filter)filter_names[i].value;
        return VLM_OK;
    }
    return vcore_fail_field(err, VLM_ERR_CONFIG, where, "resample",
                            "must be a filter of Pillow, 0 to 5");
}

/* One number for all channels, or three. */
static vlm_status read_channels(double out[3], const vlm_json *config, const char *key,
                                double least, const char *where, vlm_error *err) {
    const vlm_json *v = vcore_json_get(config, key);
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    bool list = vcore_json_kind_of(v) == VCORE_JSON_ARRAY;
    bool good = !list || vcore_json_count(v) == 3;
    for (size_t i = 0; i < 3 && good; i++) {
        good = vcore_json_real(list ? vcore_json_at(v, i) : v, &out[i]) && out[i] >= least
               && out[i] <= 1e6;
    }
    if (good) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_CONFIG, where, key,
                            "must be a number or three in [%.15g, 1e6]", least);
}

vlm_status vlm_pixel_rules_read(vlm_pixel_rules *out, const vlm_json *image_config,
                                const char *where, const vlm_pixel_rules *fallback,
                                vlm_error *err) {
    static const vlm_config_field fields[] = {
        VLM_BOOL(vlm_pixel_rules, do_rescale, "do_rescale", VLM_KEEP),
        VLM_BOOL(vlm_pixel_rules, do_normalize, "do_normalize", VLM_KEEP),
    };
    *out = *fallback;
    out->where = where;
    VTRY(vlm_config_read(out, image_config, where, fields, sizeof fields / sizeof fields[0], err));
    VTRY(read_filter(&out->resample, image_config, where, err));
    VTRY(read_channels(out->mean, image_config, "image_mean", -1e6, where, err));
    VTRY(read_channels(out->std, image_config, "image_std", 1e-6, where, err));
    const vlm_json *factor = vcore_json_get(image_config, "rescale_factor");
    if (vcore_json_kind_of(factor) == VCORE_JSON_NULL) return VLM_OK;
    if (!vcore_json_real(factor, &out->rescale_factor)
        || !(out->rescale_factor >= 1e-9 && out->rescale_factor <= 1e6))
        return vcore_fail_field(err, VLM_ERR_CONFIG, where, "rescale_factor",
                                "must be a number in [1e-9, 1e6]");
    return VLM_OK;
}

vlm_status vlm_pixel_rules_for(vlm_pixel_rules *out, const vlm_pixel_rules *rules,
                               const vlm_processing *processing, vlm_error *err) {
    vlm_error why = VLM_ERROR_INIT;
    vlm_filter filter = rules->resample;
    *out = *rules;
    out->backend = processing->image_backend;
    vlm_status status = vmedia_choose_filter(&filter, out->backend, &why);
    if (status == VLM_OK) return VLM_OK;
    return vcore_fail_field(err, status, rules->where ? rules->where : "pixel rules", "resample",
                            "%s", why.message);
}

void vlm_pixel_rules_describe(vlm_image_processor_config *out, const vlm_pixel_rules *rules) {
    out->resample = rules->resample;
    out->do_rescale = rules->do_rescale;
    out->do_normalize = rules->do_normalize;
    out->rescale_factor = rules->rescale_factor;
    memcpy(out->mean, rules->mean, sizeof out->mean);
    memcpy(out->std, rules->std, sizeof out->std);
}

vlm_status vlm_pixels_resize(vlm_image **out, const vlm_image *image, vlm_size size,
                             const vlm_pixel_rules *rules, vlm_threads *threads, vlm_error *err) {
    return vlm_image_resample_threads(out, image, size, rules->resample, rules->backend, threads,
                                      err);
}

void vlm_pixel_table_init(vlm_pixel_table *out, const vlm_pixel_rules *rules) {
    vmedia_normalize how = { .torchvision = rules->backend != VLM_RESAMPLER_PILLOW,
                             .do_rescale = rules->do_rescale,
                             .do_normalize = rules->do_normalize,
                             .rescale_factor = rules->rescale_factor };
    memcpy(how.mean, rules->mean, sizeof how.mean);
    memcpy(how.std, rules->std, sizeof how.std);
    vmedia_float_table_init(out, &how);
}

void vlm_pixels_planar_by(float *out, size_t row_stride, size_t plane_stride,
                          const vlm_image *image, uint32_t x, uint32_t y, vlm_size size,
                          const vlm_pixel_table *table) {
    size_t stride = (size_t)image->size.width * 3;
    vmedia_to_planar(out, row_stride, plane_stride, image->rgb + y * stride + (size_t)x * 3, stride,
                     size, table);
}

void vlm_pixels_planar(float *out, size_t row_stride, size_t plane_stride, const vlm_image *image,
                       uint32_t x, uint32_t y, vlm_size size, const vlm_pixel_rules *rules) {
    vlm_pixel_table table;
    vlm_pixel_table_init(&table, rules);
    vlm_pixels_planar_by(out, row_stride, plane_stride, image, x, y, size, &table);
}
