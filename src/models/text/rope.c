/* SPDX-License-Identifier: MIT */
/* How positions turn the heads of a decoder: the frequencies that the config asks for, its scalings,
 * and the axes of M-RoPE. */
#include <math.h>

#include "models/text/decoder.h"

#define WHERE "config.json: text_config"

/* ---- scalings -------------------------------------------------------------------------------- */
#define READ(c, rows) \
    vlm_config_read(&(c), json, WHERE ".rope_parameters", rows, sizeof(rows) / sizeof(rows)[0], err)

typedef struct rope_linear {
    float factor;
} rope_linear;

/* All waves are slowed by the factor. */
static vlm_status scale_linear(text_rope *rope, const vlm_json *json, double theta, vlm_error *err) {
    static const vlm_config_field rows[] = {
        VLM_REAL(rope_linear, factor, "factor", 1, 1e6, VLM_REQUIRED),
    };
    rope_linear c;
    (void)theta;
    VTRY(READ(c, rows));
    for (int i = 0; i < rope->pairs; i++) rope->inv_freq[i] /= c.factor;
    return VLM_OK;
}

typedef struct rope_llama3 {
    float factor, low_freq_factor, high_freq_factor, original_max_position_embeddings;
} rope_llama3;

/* Llama 3.1: long waves are slowed by the factor, short ones stay, those between are blended. */
static vlm_status scale_llama3(text_rope *rope, const vlm_json *json, double theta, vlm_error *err) {
    static const vlm_config_field rows[] = {
        VLM_REAL(rope_llama3, factor, "factor", 1, 1e6, VLM_REQUIRED),
        VLM_REAL(rope_llama3, low_freq_factor, "low_freq_factor", 1e-3, 1e6, VLM_REQUIRED),
        VLM_REAL(rope_llama3, high_freq_factor, "high_freq_factor", 1e-3, 1e6, VLM_REQUIRED),
        VLM_REAL(rope_llama3, original_max_position_embeddings, "original_max_position_embeddings",
                 1, 1e9, VLM_REQUIRED),
    };
    rope_llama3 c;
    (void)theta;
    VTRY(READ(c, rows));
    if (c.high_freq_factor <= c.low_freq_factor)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "rope_parameters.high_freq_factor",
                                "must exceed low_freq_factor");
    double length = c.original_max_position_embeddings;
    float *inv_freq = rope->inv_freq;
    for (int i = 0; i < rope->pairs; i++) {
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

typedef struct rope_yarn {
    float factor, original_max_position_embeddings, beta_fast, beta_slow;
    float mscale, mscale_all_dim, attention_factor; /* 0: absent */
    bool truncate;
} rope_yarn;

static double yarn_mscale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* The pair, as a real number, that turns so often over the length that was trained. */
static double yarn_pair(const rope_yarn *c, double turns, double dim, double theta) {
    return dim * log(c->original_max_position_embeddings / (turns * 2 * M_PI)) / (2 * log(theta));
}

/* YaRN: pairs up to one stay, those behind another are slowed by the factor, a ramp lies between
 * them; all scores may grow. */
static vlm_status scale_yarn(text_rope *rope, const vlm_json *json, double theta, vlm_error *err) {
    static const vlm_config_field rows[] = {
        VLM_REAL(rope_yarn, factor, "factor", 1, 1e6, VLM_REQUIRED),
        VLM_REAL(rope_yarn, original_max_position_embeddings, "original_max_position_embeddings", 1,
                 1e9, VLM_REQUIRED),
        VLM_REAL(rope_yarn, beta_fast, "beta_fast", 0, 1e6, 32),
        VLM_REAL(rope_yarn, beta_slow, "beta_slow", 0, 1e6, 1),
        VLM_REAL(rope_yarn, mscale, "mscale", 0, 1e3, 0),
        VLM_REAL(rope_yarn, mscale_all_dim, "mscale_all_dim", 0, 1e3, 0),
        VLM_REAL(rope_yarn, attention_factor, "attention_factor", 0, 1e3, 0),
        VLM_BOOL(rope_yarn, truncate, "truncate", true),
    };
    rope_yarn c;
    VTRY(READ(c, rows));
    if (theta <= 1)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "rope_parameters.rope_theta",
                                "must exceed 1");
    const double dim = 2.0 * rope->pairs;
    double low = yarn_pair(&c, c.beta_fast > 0 ? c.beta_fast : 32, dim, theta);
    double high = yarn_pair(&c, c.beta_slow > 0 ? c.beta_slow : 1, dim, theta);
    if (c.truncate) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, dim - 1);
    if (low == high) high += 0.001;
    for (int i = 0; i < rope->pairs; i++) {
        float ramp = fminf(fmaxf(((float)i - (float)low) / (float)(high - low), 0), 1);
        float kept = 1 - ramp, slow = rope->inv_freq[i] / c.factor;
        rope->inv_freq[i] = slow * (1 - kept) + rope->inv_freq[i] * kept;
    }
    const bool both = c.mscale > 0 && c.mscale_all_dim > 0;
    double scale = both ? yarn_mscale(c.factor, c.mscale) / yarn_mscale(c.factor, c.mscale_all_dim)
                        : yarn_mscale(c.factor, 1);
    rope->attention_factor = c.attention_factor > 0 ? c.attention_factor : (float)scale;
    return VLM_OK;
}

static const struct {
    const char *name;
    vlm_status (*scale)(text_rope *rope, const vlm_json *json, double theta, vlm_error *err);
} scalings[] = {
    { "default", NULL },        { "mrope", NULL },      { "linear", scale_linear },
    { "llama3", scale_llama3 }, { "yarn", scale_yarn },
};

/* ---- where the config says it ---------------------------------------------------------------- */
/* The first object of the paths that has anything in it; NULL: none. */
static vlm_status find_object(const vlm_json **out, const vlm_json *json, const char *first,
                              const char *second, vlm_error *err) {
    const char *const paths[] = { first, second };
    *out = NULL;
    for (size_t i = 0; i < 2; i++) {
        const vlm_json *v = paths[i] ? vlm_json_find(json, paths[i]) : NULL;
        vcore_json_kind kind = vcore_json_kind_of(v);
        if (kind != VCORE_JSON_OBJECT && kind != VCORE_JSON_NULL)
            return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, paths[i],
                                    "must be an object, is %s", vcore_json_kind_name(v));
        if (!*out && vcore_json_count(v)) *out = v;
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

vlm_status vmodel_text_rope_fill(text_rope *rope, double theta, const vlm_json *object, vlm_error *err) {
    vcore_str name;
    VTRY(rope_type(&name, object, err));
    vlm_rope_frequencies(rope->inv_freq, 2 * rope->pairs, theta);
    rope->attention_factor = 1;
    for (size_t i = 0; i < sizeof scalings / sizeof scalings[0]; i++)
        if (vcore_str_eq(name, vcore_str_of(scalings[i].name)))
            return scalings[i].scale ? scalings[i].scale(rope, object, theta, err) : VLM_OK;
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, WHERE, "rope_parameters.rope_type",
                            "'%.*s' is not supported", (int)(name.n < 60 ? name.n : 60), name.p);
}

static vlm_status make(text_rope *out, vlm_build *build, int64_t head_dim, double theta,
                       const vlm_json *object, vlm_error *err) {
    *out = (text_rope) { .pairs = (int)head_dim / 2 };
    out->inv_freq = vlm_build_alloc(build, (size_t)out->pairs, sizeof *out->inv_freq);
    if (!out->inv_freq) return vcore_no_memory(err, "text decoder");
    return vmodel_text_rope_fill(out, theta, object, err);
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

vlm_status vmodel_text_rope_new(vlm_text *t, vlm_build *build, const vlm_json *json, vlm_error *err) {
    const text_config *c = &t->config;
    const bool local = t->type->keys & TEXT_LOCAL_ROPE;
    const vlm_json *object;
    VTRY(check_partial(json, err));
    VTRY(find_object(&object, json, "rope_scaling", "rope_parameters", err));
    if (local) VTRY(find_object(&object, json, "rope_scaling", "rope_parameters.full_attention", err));
    VTRY(make(&t->rope, build, c->head_dim, c->rope_theta, object, err));
    if (local) {
        VTRY(find_object(&object, json, "rope_parameters.sliding_attention", NULL, err));
        VTRY(make(&t->local_rope, build, c->head_dim, c->rope_local_theta, object, err));
    }
    if (t->type->position_axes <= 1) return VLM_OK;
    t->rope.axis_of = vlm_build_alloc(build, (size_t)t->rope.pairs, sizeof *t->rope.axis_of);
    if (!t->rope.axis_of) return vcore_no_memory(err, "text decoder");
    assign_axes(t->rope.axis_of, t->rope.pairs, &c->mrope_section, t->type->interleaved_axes);
    return VLM_OK;
}

vlm_rope_table vmodel_text_growth(vlm_frame *f, const vlm_text *t, const int32_t *positions, int64_t n) {
    enum { FEW = 256 }; /* rows of a step: it takes no memory */
    const text_config *c = &t->config;
    const vlm_rope_table none = { .cos = { 0 } };
    const int64_t shape[] = { n, 1 };
    float few[FEW], *factors = few;
    bool grows = false;
    if (!(t->type->keys & TEXT_GROWTH) || !positions) return none;
    for (int64_t i = 0; i < n; i++) grows |= positions[i] >= c->original_max_position_embeddings;
    if (!grows) return none;
    if (n > FEW && !(factors = vcore_alloc_array((size_t)n, sizeof *factors))) {
        vlm_frame_fail(f, VLM_ERR_MEMORY, "text decoder: out of memory");
        return none;
    }
    for (int64_t i = 0; i < n; i++) {
        const float lengths = (float)(positions[i] / c->original_max_position_embeddings);
        factors[i] = 1 + c->llama_4_scaling_beta * logf(1 + lengths);
    }
    vlm_rope_table table = { .cos = vlm_tensor_from(f, VLM_DTYPE_F32, 2, shape, factors) };
    memset(factors, 0, (size_t)n * sizeof *factors);
    table.sin = vlm_tensor_from(f, VLM_DTYPE_F32, 2, shape, factors);
    if (factors != few) vcore_free(factors);
    return table;
}

vlm_rope_table vmodel_text_rope_table(vlm_frame *f, const text_rope *rope, vlm_tensor positions) {
    vlm_rope_table table = vlm_rope_angles(f, positions, rope->inv_freq, rope->axis_of, rope->pairs);
    if (rope->attention_factor != 1) {
        vlm_scale_to(f, table.cos, rope->attention_factor);
        vlm_scale_to(f, table.sin, rope->attention_factor);
    }
    return table;
}
