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
    uint64_t in = (uint64_t)r->dims[1], words, groups = scales->shape[1];
    if (w->rank != 2 || scales->rank != 2 || !in)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, w, "quantized, but not a matrix");
    if (__builtin_mul_overflow(w->shape[1], 32u, &words) || words % in != 0 || groups == 0
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

/* [rows, columns of this type] whose bytes are rows of `words` 32-bit words. */
static vlm_status check_words(const vmodel_row *r, const stored *s, int64_t words) {
    int64_t dims[] = { r->dims[0], words };
    size_t size = vio_dtype_size(s->weight->dtype);
    if (s->weight->dtype == VIO_U8) dims[1] *= 4 / (int64_t)size;
    return vmodel_row_check_shape(r, s->weight, dims, 2, s->who);
}

/* Whether columns, bits and groups fit together; then *words is the length of a row. */
static bool divides(const vmodel_row *r, const stored *s, int64_t *words) {
    int64_t in = r->dims[1], bits;
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
    VTRY(vmodel_row_check_shape(r, s->scales, dims, 2, s->who));
    return vmodel_row_view(r, s->scales, type, dims, 2, &m->scales);
}

/* The one value that all of nvfp4's are multiplied with or divided by. */
static vlm_status bind_factor(vmodel_row *r, const stored *s, vlm_matrix *m) {
    const vio_tensor *t = s->factor;
    const int64_t one[] = { 1 };
    if (!t) return VLM_OK;
    if (t->dtype != VIO_F32 || t->bytes != sizeof(float))
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t, "must be a single F32");
    m->divided = s->divided;
    vmodel_row_take(r, t, 0);
    return vmodel_row_view(r, t, VLM_DTYPE_F32, one, 1, &m->factor);
}

static vlm_status refuse_mode(vlm_error *err, const vio_tensor *t, const char *module,
                              vlm_quantization_mode mode) {
    return vcore_fail_at(err, VLM_ERR_UNSUPPORTED,
                         (vcore_where) { .file = t->file, .field = module },
                         "%s: module '%s' is quantized as %s, which this build cannot compute with",
                         t->file, module, vlm_quantization_mode_name(mode));
}

/* Everything but the biases. */
static vlm_status bind_stored(vmodel_row *r, const stored *s, vlm_matrix *m) {
    const char *mode = vlm_quantization_mode_name(s->params.mode);
    int64_t words = 0;
    if (!r->b->args.inspect && s->params.mode != VLM_QUANTIZATION_AFFINE)
        return refuse_mode(r->err, s->weight, r->stem, s->params.mode);
    if (!divides(r, s, &words)) {
        char what[500];
        snprintf(what, sizeof what, "%lld columns are no whole number of groups: %s",
                 (long long)r->dims[1], s->who);
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
    VTRY(vmodel_row_check_shape(r, s->biases, m->scales.shape, 2, s->who));
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

static vlm_status not_finite(const vmodel_row *r, const vio_tensor *t) {
    return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t, "holds what is no finite number, or becomes one");
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
            return not_finite(r, s->scales);
    m->biases = vtensor_of(data, type, 2, m->scales.shape);
    return VLM_OK;
}

/* OCP's E4M3: no infinities, all ones are NaN. */
static float e4m3(unsigned code) {
    int exponent = code >> 3 & 15, mantissa = code & 7;
    float value = (code & 127) == 127 ? NAN
                  : exponent          ? ldexpf((float)(8 + mantissa), exponent - 10)
                                      : ldexpf((float)mantissa, -9);
    return code & 128 ? -value : value;
}

/* A block's 256 values with its scale: halves in the low bits, NOT_FINITE beside what is none. */
enum { NOT_FINITE = 1 << 16 };
typedef struct block_values {
    vlm_dtype type;
    float code[256]; /* with scale 1 */
    uint32_t value[256];
} block_values;

static void fill_block(block_values *v, float scale) {
    for (unsigned code = 0; code < 256; code++) {
        uint16_t half = to_half(v->type, v->code[code] * scale);
        v->value[code] = half | (isfinite(from_half(v->type, half)) ? 0 : NOT_FINITE);
    }
}

/* False when a value is no finite number. */
static bool decode_row(uint16_t *to, const uint8_t *codes, size_t n, const block_values *v) {
    uint32_t all = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t value = v->value[codes[i]];
        to[i] = (uint16_t)value;
        all |= value;
    }
    return !(all & NOT_FINITE);
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Blocks of [rows, columns] codes that share a scale, scales [blocks down, blocks across]. */
static bool decode(uint16_t *to, vlm_dtype type, const uint8_t *codes, size_t out, size_t in,
                   const uint8_t *scales, vlm_dtype scale_type, size_t rows, size_t columns) {
    block_values v = { .type = type };
    bool finite = true;
    size_t at = 0;
    for (unsigned code = 0; code < 256; code++) v.code[code] = e4m3(code);
    for (size_t o = 0; o < out; o += rows)
        for (size_t i = 0; i < in; i += columns) {
            fill_block(&v, vmodel_float_at(scales, scale_type, at++));
            size_t width = smaller(columns, in - i), end = o + smaller(rows, out - o);
            for (size_t row = o; row < end; row++)
                finite &= decode_row(to + row * in + i, codes + row * in + i, width, &v);
        }
    return finite;
}

/* Rows and columns that share a scale: as the config says, else all, else every row. */
static vlm_status scale_blocks(const vmodel_row *r, const vio_tensor *scales, int64_t *rows,
                               int64_t *columns) {
    const vlm_quantization *q = r->b->args.quantization;
    int64_t out = r->dims[0], in = r->dims[1], flat[] = { out }, dims[] = { out, 1 };
    bool one = scales->bytes == vio_dtype_size(scales->dtype);
    *rows = one ? out : 1;
    *columns = in;
    if (q->block[0]) {
        *rows = q->block[0];
        *columns = q->block[1];
        dims[0] = (out - 1) / q->block[0] + 1;
        dims[1] = (in - 1) / q->block[1] + 1;
    } else if (one) {
        return VLM_OK;
    } else if (scales->rank == 1) {
        return vmodel_row_check_shape(r, scales, flat, 1, "the weight");
    }
    return vmodel_row_check_shape(r, scales, dims, 2, "the weight");
}

/* "<stem>.weight" in E4M3 with "<stem>.weight_scale" becomes floats of the scales' type, bfloat16
 * for float32. */
static vlm_status bind_fp8(vmodel_row *r, const stored *s, vlm_matrix *m) {
    const vio_tensor *w = s->weight, *scales = s->scales;
    vlm_dtype scale_type, type;
    int64_t rows, columns;
    void *data = NULL;
    size_t bytes;
    VTRY(vmodel_row_check_shape(r, w, r->dims, 2, "the config"));
    VTRY(vmodel_row_float_type(r, scales, &scale_type));
    VTRY(scale_blocks(r, scales, &rows, &columns));
    type = scale_type == VLM_DTYPE_F32 ? VLM_DTYPE_BF16 : scale_type;
    if (!vcore_mul(w->bytes, 2, &bytes)) return vcore_no_memory(r->err, w->name);
    VTRY(vmodel_row_materialise(r, &data, w, bytes));
    if (data
        && !decode(data, type, w->data, (size_t)m->out, (size_t)m->in, scales->data, scale_type,
                   (size_t)rows, (size_t)columns))
        return not_finite(r, scales);
    m->data = vtensor_of(data, type, 2, r->dims);
    vmodel_row_take(r, w, (uint64_t)m->out * (uint64_t)m->in);
    vmodel_row_take(r, scales, 0);
    return vmodel_row_note(r, (vmodel_module) { .mode = "fp8", .bits = 8, .dense = true });
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
    if (layout == VMODEL_LAYOUT_AWQ || layout == VMODEL_LAYOUT_GPTQ)
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
    if (s.weight->dtype == VIO_F8_E4M3) return bind_fp8(r, &s, m);
    return vmodel_row_fail(r, VLM_ERR_WEIGHTS, s.weight, "has a scale, but is not of type F8_E4M3");
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

static const vio_tensor *beside(const vio_tensors *tensors, const char *stem, const char *suffix) {
    char name[VMODEL_NAME_BYTES];
    int n = snprintf(name, sizeof name, "%s%s", stem, suffix);
    return n < (int)sizeof name ? vio_tensors_find(tensors, name) : NULL;
}

/* Mode of the module of these scales as the table has it. */
static vlm_quantization_mode mode_of_scales(const vlm_quantization *q, const vio_tensors *tensors,
                                            const char *stem) {
    vlm_quantization_params p = { VLM_QUANTIZATION_AFFINE, 0, 0 };
    const vio_tensor *w = beside(tensors, stem, ".weight");
    if (w && w->dtype == VIO_U32 && !vlm_quantization_find(q, stem, &p))
        vlm_quantization_default(q, &p);
    return p.mode;
}

/* The mode of the module that a tensor tells of; affine also when it tells of none. */
static vlm_quantization_mode mode_of(const vlm_quantization *q, const vio_tensors *tensors,
                                     const vio_tensor *t, char *stem, size_t n) {
    static const char *const suffixes[] = { ".scales", ".weight_packed", ".weight_scale_2" };
    vmodel_layout layout = q ? q->layout : VMODEL_LAYOUT_MLX;
    for (int i = 0; i < 3; i++) {
        size_t length = stem_of(t->name, suffixes[i]);
        if (!length || length >= n) continue;
        snprintf(stem, n, "%.*s", (int)length, t->name);
        if (i == 0) return mode_of_scales(q, tensors, stem);
        if (i == 1 && layout == VMODEL_LAYOUT_COMPRESSED && t->dtype == VIO_U8)
            return beside(tensors, stem, ".weight_global_scale") ? VLM_QUANTIZATION_NVFP4
                                                                 : VLM_QUANTIZATION_MXFP4;
        if (i == 2 && layout == VMODEL_LAYOUT_MODELOPT) return VLM_QUANTIZATION_NVFP4;
    }
    return VLM_QUANTIZATION_AFFINE;
}

vlm_status vmodel_quantization_check(const vlm_quantization *q, const vio_tensors *tensors,
                                     vlm_error *err) {
    for (size_t i = 0; tensors && i < vio_tensors_count(tensors); i++) {
        char stem[VMODEL_NAME_BYTES];
        const vio_tensor *t = vio_tensors_at(tensors, i);
        vlm_quantization_mode mode = mode_of(q, tensors, t, stem, sizeof stem);
        if (mode != VLM_QUANTIZATION_AFFINE) return refuse_mode(err, t, stem, mode);
    }
    return VLM_OK;
}
