/* SPDX-License-Identifier: MIT */
/* How positions turn the heads of a decoder: the frequencies that the config asks for, its scalings,
 * and the axes of M-RoPE. */
#include <math.h>

#include "models/text/decoder.h"

#define WHERE "config.json: text_config"

typedef struct rope_llama3 {
    float factor, low_freq_factor, high_freq_factor, original_max_position_embeddings;
} rope_llama3;

/* Llama 3.1: long waves are slowed by the factor, short ones stay, those between are blended. */
static vlm_status scale_llama3(float *inv_freq, int64_t pairs, const vlm_json *rope,
                               vlm_error *err) {
    static const vlm_config_field rows[] = {
        VLM_REAL(rope_llama3, factor, "factor", 1, 1e6, VLM_REQUIRED),
        VLM_REAL(rope_llama3, low_freq_factor, "low_freq_factor", 1e-3, 1e6, VLM_REQUIRED),
        VLM_REAL(rope_llama3, high_freq_factor, "high_freq_factor", 1e-3, 1e6, VLM_REQUIRED),
        VLM_REAL(rope_llama3, original_max_position_embeddings, "original_max_position_embeddings",
                 1, 1e9, VLM_REQUIRED),
    };
    rope_llama3 c;
    VTRY(vlm_config_read(&c, rope, WHERE ".rope_parameters", rows, sizeof rows / sizeof rows[0],
                         err));
    if (c.high_freq_factor <= c.low_freq_factor)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "rope_parameters.high_freq_factor",
                                "must exceed low_freq_factor");
    double length = c.original_max_position_embeddings;
    for (int64_t i = 0; i < pairs; i++) {
        float wave = 2 * (float)M_PI / inv_freq[i];
        float smooth =
            ((float)length / wave - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
        float slow = inv_freq[i] / c.factor;
        if (wave > length / c.low_freq_factor)
            inv_freq[i] = slow;
        else if (wave >= length / c.high_freq_factor)
            inv_freq[i] = (1 - smooth) * slow + smooth * inv_freq[i];
    }
    return VLM_OK;
}

/* The object that says how positions are scaled: as the reference has it, the old name first, if there
 * is anything in it. NULL: neither. */
static vlm_status find_rope(const vlm_json **rope, const vlm_json *json, vlm_error *err) {
    static const char *const keys[] = { "rope_scaling", "rope_parameters" };
    *rope = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const vlm_json *v = vcore_json_get(json, keys[i]);
        vcore_json_kind kind = vcore_json_kind_of(v);
        if (kind != VCORE_JSON_OBJECT && kind != VCORE_JSON_NULL)
            return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, keys[i], "must be an object, is %s",
                                    vcore_json_kind_name(v));
        if (!*rope && vcore_json_count(v)) *rope = v;
    }
    return VLM_OK;
}

/* "rope_type", in older files "type". */
static vlm_status rope_type(vcore_str *name, const vlm_json *rope, vlm_error *err) {
    const vlm_json *type = vcore_json_get(rope, "rope_type");
    if (vcore_json_kind_of(type) == VCORE_JSON_NULL) type = vcore_json_get(rope, "type");
    *name = vcore_str_of("default");
    if (vcore_json_string(type, name) || vcore_json_kind_of(type) == VCORE_JSON_NULL) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "rope_parameters.rope_type",
                            "must be a string, is %s", vcore_json_kind_name(type));
}

static vlm_status check_partial(const vlm_json *json, vlm_error *err) {
    typedef struct partial {
        float factor;
    } partial;
    static const vlm_config_field row[] = {
        VLM_REAL(partial, factor,
                 "rope_scaling.partial_rotary_factor|rope_parameters.partial_rotary_factor|"
                 "partial_rotary_factor",
                 0, 1, 1),
    };
    partial p;
    VTRY(vlm_config_read(&p, json, WHERE, row, 1, err));
    if (p.factor == 1) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, WHERE, "partial_rotary_factor",
                            "only 1 is supported");
}

vlm_status vmodel_text_config_rope(float *inv_freq, const text_config *config, const vlm_json *json,
                                   vlm_error *err) {
    const vlm_json *rope;
    vcore_str name;
    VTRY(find_rope(&rope, json, err));
    VTRY(rope_type(&name, rope, err));
    VTRY(check_partial(json, err));
    vlm_rope_frequencies(inv_freq, (int)config->head_dim, config->rope_theta);
    if (vcore_str_eq(name, vcore_str_of("llama3")))
        return scale_llama3(inv_freq, config->head_dim / 2, rope, err);
    if (!vcore_str_eq(name, vcore_str_of("default")) && !vcore_str_eq(name, vcore_str_of("mrope")))
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, WHERE, "rope_parameters.rope_type",
                                "'%.*s' is not supported", (int)(name.n < 60 ? name.n : 60),
                                name.p);
    return VLM_OK;
}

/* Sections of pairs, one per axis: in turns as long as an axis has pairs left, the first axis in the
 * places of those that have none; or one behind the other. */
static void assign_axes(uint8_t *axis_of, int pairs, const vlm_ints *sections, bool interleaved) {
    int pair = 0;
    if (interleaved) {
        for (int i = 0; i < pairs; i++)
            axis_of[i] = (uint8_t)(i < sections->n * sections->at[i % sections->n] ? i % sections->n : 0);
        return;
    }
    for (int64_t axis = 0; axis < sections->n; axis++)
        for (int64_t i = 0; i < sections->at[axis]; i++) axis_of[pair++] = (uint8_t)axis;
}

vlm_status vmodel_text_rope_new(text_rope *out, vlm_build *build, const text_config *config,
                                const text_type *type, const vlm_json *json, vlm_error *err) {
    const int pairs = (int)config->head_dim / 2;
    *out = (text_rope) { .pairs = pairs };
    out->inv_freq = vlm_build_alloc(build, (size_t)pairs, sizeof *out->inv_freq);
    if (!out->inv_freq) return vcore_no_memory(err, "text decoder");
    VTRY(vmodel_text_config_rope(out->inv_freq, config, json, err));
    if (type->position_axes <= 1) return VLM_OK;
    out->axis_of = vlm_build_alloc(build, (size_t)pairs, sizeof *out->axis_of);
    if (!out->axis_of) return vcore_no_memory(err, "text decoder");
    assign_axes(out->axis_of, pairs, &config->mrope_section, type->interleaved_axes);
    return VLM_OK;
}
