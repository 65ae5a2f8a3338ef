/* SPDX-License-Identifier: MIT */
/* Matrices that are not stored as floats: MLX's triples with the parameters that the table
 * resolves, and the layouts of compressed-tensors and ModelOpt, told apart by the tensors that are
 * there. What MLX has a mode for is viewed where it lies; 8-bit floats become floats. Owns no
 * arithmetic beyond that, and no name of any model. */
#include <math.h>
#include <stdio.h>

#include "models/weights/weights.h"

/* What a matrix is made of, and who says with which parameters. */
typedef struct stored {
    const vio_tensor *weight, *scales, *biases; /* biases: affine only */
    const vio_tensor *factor;                   /* of the whole matrix; may be NULL */
    bool divided;
    vlm_quantization_params params;
    bool guessed;
    char who[400]; /* "affine of 4 bits in groups of 64 (config.json: quantization)" */
} stored;

vlm_status vmodel_row_fail(const vmodel_row *r, vlm_status code, const vio_tensor *t,
                           const char *what) {
    return vcore_fail_at(r->err, code, (vcore_where) { .file = t->file, .field = t->name },
                         "%s: tensor '%s': %s", t->file, t->name, what);
}

vlm_status vmodel_row_note(vmodel_row *r, vmodel_module module) {
    vlm_build *b = r->b;
    if (module.guessed && (b->n_modules == 0 || !b->modules[b->n_modules - 1].guessed))
        vcore_log_line(b->args.log, VLM_LOG_WARNING,
                       "config.json says nothing of quantization; '%s' has the shapes of %s of %d "
                       "bits in groups of %d",
                       r->stem, module.mode, module.bits, module.group_size);
    if (b->n_modules == b->module_capacity) {
        size_t capacity = b->module_capacity ? 2 * b->module_capacity : 32;
        vmodel_module *list = vcore_realloc_array(b->modules, capacity, sizeof *list);
        if (!list) return vcore_no_memory(r->err, "list of modules");
        b->modules = list;
        b->module_capacity = capacity;
    }
    module.name = vcore_arena_strndup(b->args.arena, r->stem, strlen(r->stem));
    if (!module.name) return vcore_no_memory(r->err, "list of modules");
    b->modules[b->n_modules++] = module;
    return VLM_OK;
}

const vmodel_module *vmodel_build_modules(const vlm_build *b, size_t *n) {
    *n = b->n_modules;
    return b->modules;
}

/* ---- parameters ------------------------------------------------------------------------------ */
static void say_who(const vmodel_row *r, stored *s, const char *module) {
    const vlm_quantization *q = r->b->args.quantization;
    snprintf(s->who, sizeof s->who, "%s of %d bits in groups of %d (%s%s%.150s)",
             vlm_quantization_mode_name(s->params.mode), s->params.bits, s->params.group_size,
             q ? q->file : "its shapes", module ? ": " : "", module ? module : "");
}

/* Without a word in the config, as far as shapes leave no doubt: mlx-vlm loads no such checkpoint.
 */
static vlm_status guess(const vmodel_row *r, stored *s) {
    const vio_tensor *w = s->weight, *scales = s->scales;
    int last = r->rank - 1;
    uint64_t in = (uint64_t)r->dims[last], words, groups = scales->shape[last];
    if (w->rank != r->rank || scales->rank != r->rank || !in)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, w, "quantized, but not a matrix");
    if (__builtin_mul_overflow(w->shape[last], 32u, &words) || words % in != 0 || groups == 0
        || in % groups != 0)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, w,
                               "quantized, but its shapes give no whole number of bits "
                               "and groups");
    uint64_t bits = words / in, group = in / groups;
    s->guessed = true;
    s->params =
        (vlm_quantization_params) { s->biases     ? VLM_QUANTIZATION_AFFINE
                                    : bits == 8   ? VLM_QUANTIZATION_MXFP8
                                    : group == 16 ? VLM_QUANTIZATION_NVFP4
                                                  : VLM_QUANTIZATION_MXFP4,
                                    bits <= 8 ? (int)bits : 0, group <= 128 ? (int)group : 0 };
    if (!s->biases && vio_dtype_size(scales->dtype) != 1)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, w, "quantized, but there are no '.biases'");
    if (!vmodel_quantization_has(&s->params))
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, w,
                               "quantized, but bits or group size are none that are known");
    return VLM_OK;
}

/* The table's word for the module, else that for the whole model, else what its shapes say. */
static vlm_status resolve(const vmodel_row *r, stored *s) {
    const vlm_quantization *q = r->b->args.quantization;
    switch (vmodel_row_quantization(r, &s->params)) {
    case VLM_QUANTIZATION_GIVEN: say_who(r, s, r->stem); return VLM_OK;
    case VLM_QUANTIZATION_SKIPPED:
        return vmodel_row_fail(
            r, VLM_ERR_WEIGHTS, s->weight,
            "stored with '.scales', but the config says that it is not quantized");
    case VLM_QUANTIZATION_UNMENTIONED: break;
    }
    if (!vlm_quantization_default(q, &s->params)) VTRY(guess(r, s));
    say_who(r, s, NULL);
    return VLM_OK;
}

/* ---- binding as it is stored ----------------------------------------------------------------- */
static vlm_storage storage_of(vlm_quantization_mode mode) {
    static const vlm_storage storages[] = {
        [VLM_QUANTIZATION_AFFINE] = VLM_STORAGE_AFFINE,
        [VLM_QUANTIZATION_MXFP4] = VLM_STORAGE_MXFP4,
        [VLM_QUANTIZATION_MXFP8] = VLM_STORAGE_MXFP8,
        [VLM_QUANTIZATION_NVFP4] = VLM_STORAGE_NVFP4,
    };
    return storages[mode];
}

/* Rows of columns of this type whose bytes are `words` 32-bit words. */
static vlm_status check_words(const vmodel_row *r, const stored *s, int64_t words) {
    return vmodel_row_check_rows(r, s->weight, s->weight->dtype == VIO_U8 ? 4 * words : words,
                                 s->who);
}

/* Whether columns, bits and groups fit together; then *words is the length of a row. */
static bool divides(const vmodel_row *r, const stored *s, int64_t *words) {
    int64_t in = r->dims[r->rank - 1], bits;
    if (in % s->params.group_size != 0) return false;
    if (__builtin_mul_overflow(in, (int64_t)s->params.bits, &bits)) return false;
    *words = bits / 32; /* groups are 16 at least, in 4 bits: whole words for all modes */
    return bits % 32 == 0;
}

static vlm_status bind_scales(vmodel_row *r, const stored *s, const int64_t *dims, vlm_matrix *m) {
    vlm_dtype type = VLM_DTYPE_U8;
    if (s->params.mode == VLM_QUANTIZATION_AFFINE)
        VTRY(vmodel_row_float_type(r, s->scales, &type));
    else if (vio_dtype_size(s->scales->dtype) != 1)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s->scales,
                               "scales of this mode are single bytes");
    VTRY(vmodel_row_check_rows(r, s->scales, dims[1], s->who));
    VTRY(vmodel_row_check_finite(r, s->scales,
                                 s->params.mode == VLM_QUANTIZATION_AFFINE  ? (vmodel_number)type
                                 : s->params.mode == VLM_QUANTIZATION_NVFP4 ? VMODEL_E4M3
                                                                            : VMODEL_E8M0));
    return vmodel_row_view(r, s->scales, type, dims, 2, &m->scales);
}

/* The one value that all of nvfp4's are multiplied with or divided by. */
static vlm_status bind_factor(vmodel_row *r, const stored *s, vlm_matrix *m) {
    const vio_tensor *t = s->factor;
    const int64_t one[] = { 1 };
    if (!t) return VLM_OK;
    if (t->dtype != VIO_F32 || t->bytes != sizeof(float))
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t, "must be a single F32");
    VTRY(vmodel_row_check_finite(r, t, VMODEL_F32));
    if (s->divided && !r->b->args.inspect && vmodel_float_at(t->data, VLM_DTYPE_F32, 0) == 0)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t, "is 0, and all values are divided by it");
    m->divided = s->divided;
    vmodel_row_take(r, t, 0);
    return vmodel_row_view(r, t, VLM_DTYPE_F32, one, 1, &m->factor);
}

/* Everything but the biases. */
static vlm_status bind_stored(vmodel_row *r, const stored *s, vlm_matrix *m) {
    const char *mode = vlm_quantization_mode_name(s->params.mode);
    int64_t words = 0;
    if (!divides(r, s, &words)) {
        char what[500];
        snprintf(what, sizeof what, "%lld columns are no whole number of groups: %s",
                 (long long)m->in, s->who);
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s->weight, what);
    }
    VTRY(check_words(r, s, words));
    const int64_t data[] = { m->out, words }, scales[] = { m->out, m->in / s->params.group_size };
    VTRY(bind_scales(r, s, scales, m));
    VTRY(vmodel_row_view(r, s->weight, VLM_DTYPE_U32, data, 2, &m->data));
    VTRY(bind_factor(r, s, m));
    m->storage = storage_of(s->params.mode);
    m->bits = s->params.bits;
    m->group = s->params.group_size;
    vmodel_row_take(r, s->weight, (uint64_t)m->out * (uint64_t)m->in);
    vmodel_row_take(r, s->scales, 0);
    return vmodel_row_note(
        r, (vmodel_module) {
               .mode = mode, .bits = m->bits, .group_size = m->group, .guessed = s->guessed });
}

/* "<stem>.weight" packed in U32, "<stem>.scales", and for the affine mode "<stem>.biases". */
static vlm_status bind_mlx(vmodel_row *r, stored *s, vlm_matrix *m) {
    s->biases = vmodel_row_companion(r, ".biases");
    VTRY(resolve(r, s));
    if (s->weight->dtype != VIO_U32)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s->weight, "quantized, but not of type U32");
    bool affine = s->params.mode == VLM_QUANTIZATION_AFFINE;
    if (affine && !s->biases)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s->weight,
                               "quantized, but there are no '.biases': not the affine mode");
    VTRY(bind_stored(r, s, m));
    if (!affine) return VLM_OK;
    vlm_dtype type;
    VTRY(vmodel_row_float_type(r, s->biases, &type));
    VTRY(vmodel_row_check_rows(r, s->biases, m->scales.shape[1], s->who));
    VTRY(vmodel_row_check_finite(r, s->biases, (vmodel_number)type));
    VTRY(vmodel_row_view(r, s->biases, type, m->scales.shape, 2, &m->biases));
    vmodel_row_take(r, s->biases, 0);
    return VLM_OK;
}

/* ---- floats in memory of the model's own ----------------------------------------------------- */
static float from_half(vlm_dtype type, uint16_t h) {
    return type == VLM_DTYPE_BF16 ? vcore_bf16_to_f32(h) : vcore_f16_to_f32(h);
}

static uint16_t to_half(vlm_dtype type, float f) {
    return type == VLM_DTYPE_BF16 ? vcore_f32_to_bf16(f) : vcore_f32_to_f16(f);
}

float vmodel_float_at(const void *data, vlm_dtype type, size_t i) {
    const uint8_t *from = data;
    float f;
    uint16_t h;
    if (type == VLM_DTYPE_F32) {
        memcpy(&f, from + 4 * i, sizeof f);
        return f;
    }
    memcpy(&h, from + 2 * i, sizeof h);
    return from_half(type, h);
}

/* Rounds to nearest even; false when what is stored is no finite number. */
static bool store_float(uint8_t *data, vlm_dtype type, size_t i, float f) {
    if (type == VLM_DTYPE_F32) {
        memcpy(data + 4 * i, &f, sizeof f);
        return isfinite(f);
    }
    uint16_t h = to_half(type, f);
    memcpy(data + 2 * i, &h, sizeof h);
    return isfinite(from_half(type, h));
}

/* Packed integers lie around the middle of their range: value = (q - middle) * scale. */
static vlm_status middle_biases(vmodel_row *r, const stored *s, vlm_matrix *m) {
    vlm_dtype type = m->scales.dtype;
    size_t n = (size_t)(m->scales.shape[0] * m->scales.shape[1]);
    float middle = (float)(1 << (s->params.bits - 1));
    void *data = NULL;
    VTRY(vmodel_row_materialise(r, &data, s->scales, s->scales->bytes));
    for (size_t i = 0; data && i < n; i++)
        if (!store_float(data, type, i, -middle * vmodel_float_at(m->scales.data, type, i)))
            return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s->scales, VMODEL_NOT_FINITE);
    m->biases = vtensor_of(data, type, 2, m->scales.shape);
    return VLM_OK;
}

/* ---- compressed-tensors, ModelOpt ------------------------------------------------------------ */
static void set_params(vmodel_row *r, stored *s, vlm_quantization_params params) {
    s->params = params;
    say_who(r, s, NULL);
}

static const vlm_quantization_params nvfp4 = { VLM_QUANTIZATION_NVFP4, 4, 16 };
static const vlm_quantization_params mxfp4 = { VLM_QUANTIZATION_MXFP4, 4, 32 };

/* "<stem>.weight_packed": words of integers, or bytes of two 4-bit floats. */
static vlm_status bind_packed(vmodel_row *r, stored *s, vlm_matrix *m) {
    const vlm_quantization *q = r->b->args.quantization;
    s->scales = vmodel_row_companion(r, ".weight_scale");
    if (!s->scales) return vmodel_build_missing(r->b, r->stem, ".weight_scale", r->err);
    if (vmodel_row_companion(r, ".weight_g_idx"))
        return vmodel_row_fail(r, VLM_ERR_UNSUPPORTED, s->weight,
                               "reordered columns are not translated");
    if (s->weight->dtype == VIO_I32) {
        if (!q->integers.bits)
            return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s->weight,
                                   "packed integers, of which the config says "
                                   "nothing");
        set_params(r, s, q->integers);
        VTRY(bind_stored(r, s, m));
        return middle_biases(r, s, m);
    }
    if (s->weight->dtype != VIO_U8)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s->weight,
                               "packed weights are of type I32 or U8");
    s->factor = vmodel_row_companion(r, ".weight_global_scale");
    s->divided = s->factor != NULL;
    set_params(r, s, s->factor ? nvfp4 : mxfp4);
    return bind_stored(r, s, m);
}

vlm_status vmodel_bind_quantized(vmodel_row *r, vlm_matrix *m, bool *bound) {
    const vlm_quantization *q = r->b->args.quantization;
    vmodel_layout layout = q ? q->layout : VMODEL_LAYOUT_MLX;
    stored s = { 0 };
    if (r->rank == 2 && (layout == VMODEL_LAYOUT_AWQ || layout == VMODEL_LAYOUT_GPTQ))
        return vmodel_bind_transposed(r, m, bound);
    *bound = true;
    if (layout == VMODEL_LAYOUT_COMPRESSED
        && (s.weight = vmodel_row_locate(r, ".weight_packed")) != NULL)
        return bind_packed(r, &s, m);
    s.weight = vmodel_row_locate(r, ".weight");
    if (s.weight && (s.scales = vmodel_row_companion(r, ".scales")) != NULL)
        return bind_mlx(r, &s, m);
    *bound = s.weight && layout != VMODEL_LAYOUT_MLX
             && (s.scales = vmodel_row_companion(r, ".weight_scale")) != NULL;
    if (!*bound) return VLM_OK;
    s.factor = layout == VMODEL_LAYOUT_MODELOPT ? vmodel_row_companion(r, ".weight_scale_2") : NULL;
    if (s.factor && s.weight->dtype == VIO_U8) {
        set_params(r, &s, nvfp4);
        return bind_stored(r, &s, m);
    }
    if (s.weight->dtype != VIO_F8_E4M3)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s.weight,
                               "has a scale, but is not of type F8_E4M3");
    if (r->rank != 2)
        return vmodel_row_fail(r, VLM_ERR_UNSUPPORTED, s.weight,
                               "experts in 8-bit floats are not translated");
    return vmodel_bind_float8(r, s.weight, s.scales, m);
}

/* ---- by the names of the tensors alone ------------------------------------------------------- */
/* Length of what stands before the suffix; 0: the name does not end so. */
static size_t stem_of(const char *name, const char *suffix) {
    size_t n = strlen(name), end = strlen(suffix);
    return n > end && strcmp(name + n - end, suffix) == 0 ? n - end : 0;
}

bool vmodel_quantization_ignores(const vlm_quantization *q, const char *name) {
    static const char *const compressed[] = { ".weight_shape",      ".weight_global_scale",
                                              ".weight_zero_point", ".input_global_scale",
                                              ".input_scale",       ".k_scale",
                                              ".v_scale",           NULL };
    static const char *const modelopt[] = { ".input_scale", ".k_scale", ".v_scale", NULL };
    const char *const *s = q && q->layout == VMODEL_LAYOUT_MODELOPT     ? modelopt
                           : q && q->layout == VMODEL_LAYOUT_COMPRESSED ? compressed
                                                                        : NULL;
    for (; s && *s; s++)
        if (stem_of(name, *s)) return true;
    return false;
}
