/* SPDX-License-Identifier: MIT */
/* Weight tables: from the names and layouts of a checkpoint to the members of a model. Owns where a
 * tensor is looked for, what its shape must be and how its file lays it out; owns no name of any
 * model. Data stays where the file was mapped unless its layout cannot be used as it is. */
#include <stdio.h>

#include "models/models.h"

enum { NAME_BYTES = 256, MAX_DIMS = 5 };

/* One row while it is bound. */
typedef struct row_binding {
    vlm_build *b;
    const vlm_binding *at;
    const vlm_weight_row *row;
    int rank;
    int64_t dims[MAX_DIMS];
    char stem[NAME_BYTES]; /* full name of what was found, less ".weight" */
    vlm_error *err;
} row_binding;

/* Whether one of the row's conditions holds; the last bit is the one that always does. */
static bool holds(const vlm_binding *at, unsigned when) {
    return (when & (at->conditions | 1u << 31)) != 0;
}

/* ---- finding tensors by name ----------------------------------------------------------------- */
/* Appends s to the n bytes in name, with "%d" replaced by the layer; 0 when it does not fit. */
static size_t append(char *name, size_t n, vcore_str s, int layer) {
    for (size_t i = 0; i < s.n && n > 0; i++) {
        bool number = s.p[i] == '%' && i + 1 < s.n && s.p[i + 1] == 'd';
        int wrote = number ? snprintf(name + n - 1, NAME_BYTES - n + 1, "%d", layer)
                           : snprintf(name + n - 1, NAME_BYTES - n + 1, "%c", s.p[i]);
        n = n + (size_t)wrote < NAME_BYTES ? n + (size_t)wrote : 0;
        i += number;
    }
    return n;
}

/* "<prefix><name><suffix>"; false when it is longer than any name can be. */
static bool compose(char *name, vcore_str prefix, vcore_str row_name, int layer,
                    const char *suffix) {
    name[0] = '\0';
    size_t n = append(name, 1, prefix, layer); /* n counts the NUL */
    n = n ? append(name, n, row_name, layer) : 0;
    return n && append(name, n, vcore_str_of(suffix), layer);
}

static const vio_tensor *find(const vlm_build *b, const char *name) {
    return b->args.tensors ? vio_tensors_find(b->args.tensors, name) : NULL;
}

/* Tries every prefix with every name of the row. c->stem is what was found, or the first name
 * tried. */
static const vio_tensor *locate(row_binding *c, const char *suffix) {
    char name[NAME_BYTES];
    const char *names = c->row->name;
    c->stem[0] = '\0';
    for (vcore_str row_name; vmodel_alternative(&names, &row_name);) {
        const char *prefixes = c->at->prefix;
        for (vcore_str prefix; vmodel_alternative(&prefixes, &prefix);) {
            if (!compose(name, prefix, row_name, c->at->layer, suffix)) continue;
            const vio_tensor *t = find(c->b, name);
            if (t || !c->stem[0]) compose(c->stem, prefix, row_name, c->at->layer, "");
            if (t) return t;
        }
    }
    return NULL;
}

static const vio_tensor *companion(const row_binding *c, const char *suffix) {
    char name[NAME_BYTES];
    bool fits = compose(name, vcore_str_of(c->stem), vcore_str_of(suffix), c->at->layer, "");
    return fits ? find(c->b, name) : NULL;
}

/* A tensor that is not there is bound without data; that it lacks is said once, of all together. */
static vlm_status missing(row_binding *c, const char *suffix) {
    return vmodel_build_missing(c->b, c->stem, suffix, c->err);
}

/* Marks a tensor as used and counts its bytes, and as many parameters, once. */
static void take(vlm_build *b, const vio_tensor *t, uint64_t parameters) {
    uint8_t *fate = &b->fates[t - vio_tensors_at(b->args.tensors, 0)];
    if (*fate != VMODEL_USED) {
        b->usage.parameters += parameters;
        b->usage.weight_bytes += t->bytes;
    }
    *fate = VMODEL_USED;
}

/* ---- shapes, types, layouts ------------------------------------------------------------------ */
static vlm_status wrong_shape(const row_binding *c, const vio_tensor *t, const int64_t *dims,
                              int rank) {
    char have[160] = "", want[160] = "";
    size_t n = 0;
    for (int i = 0; i < t->rank && n < sizeof have; i++)
        n += (size_t)snprintf(have + n, sizeof have - n, "%s%llu", i ? ", " : "",
                              (unsigned long long)t->shape[i]);
    n = 0;
    for (int i = 0; i < rank && n < sizeof want; i++)
        n += (size_t)snprintf(want + n, sizeof want - n, "%s%lld", i ? ", " : "",
                              (long long)dims[i]);
    return vcore_fail(c->err, VLM_ERR_WEIGHTS,
                      "%s: tensor '%s': shape [%s], the config asks for [%s]", t->file, t->name,
                      have, want);
}

static vlm_status check_shape(const row_binding *c, const vio_tensor *t, const int64_t *dims,
                              int rank) {
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == (uint64_t)dims[i];
    return same ? VLM_OK : wrong_shape(c, t, dims, rank);
}

static vlm_tensor empty_tensor(vlm_dtype dtype, const int64_t *dims, int rank) {
    return vtensor_of(NULL, dtype, rank, dims);
}

/* Memory of the model's own for what a file cannot give as it is. */
static void *materialise(row_binding *c, const vio_tensor *t) {
    void *data = vcore_arena_alloc(c->b->args.arena, t->bytes);
    if (data) c->b->usage.computed_bytes += t->bytes;
    return data;
}

/* The tensor's data where it lies; copied only when it is misaligned for its type. */
static vlm_status view(row_binding *c, const vio_tensor *t, vlm_dtype dtype, const int64_t *dims,
                       int rank, vlm_tensor *out) {
    void *data = (void *)t->data;
    if ((uintptr_t)data % vio_dtype_size(t->dtype) != 0) {
        if (!(data = materialise(c, t))) return vcore_no_memory(c->err, t->name);
        memcpy(data, t->data, t->bytes);
    }
    *out = vtensor_of(data, dtype, rank, dims);
    return VLM_OK;
}

static vlm_status float_type(const row_binding *c, const vio_tensor *t, vlm_dtype *out) {
    switch (t->dtype) {
    case VIO_F32: *out = VLM_DTYPE_F32; return VLM_OK;
    case VIO_BF16: *out = VLM_DTYPE_BF16; return VLM_OK;
    case VIO_F16: *out = VLM_DTYPE_F16; return VLM_OK;
    default:
        return vcore_fail(c->err, VLM_ERR_WEIGHTS,
                          "%s: tensor '%s': is %s, weights must be F32, BF16 or F16", t->file,
                          t->name, vio_dtype_name(t->dtype));
    }
}

static uint64_t product(const int64_t *dims, int rank) {
    uint64_t n = 1;
    for (int i = 0; i < rank; i++) n *= (uint64_t)dims[i];
    return n;
}

/* A dense tensor of exactly this shape. t NULL: it is missing. */
static vlm_status bind_dense(row_binding *c, const vio_tensor *t, const char *suffix,
                             const int64_t *dims, int rank, vlm_tensor *out) {
    *out = empty_tensor(VLM_DTYPE_F32, dims, rank);
    if (!t) return missing(c, suffix);
    vlm_dtype dtype = VLM_DTYPE_F32;
    VTRY(float_type(c, t, &dtype));
    VTRY(check_shape(c, t, dims, rank));
    VTRY(view(c, t, dtype, dims, rank, out));
    take(c->b, t, product(dims, rank));
    return VLM_OK;
}

/* ---- kinds of rows --------------------------------------------------------------------------- */
static vlm_status bad_triple(const row_binding *c, const vio_tensor *t, const char *what) {
    return vcore_fail(c->err, VLM_ERR_WEIGHTS, "%s: tensor '%s': quantized, but %s", t->file,
                      t->name, what);
}

/* MLX's affine quantization: "<stem>.weight" packed in U32, "<stem>.scales", "<stem>.biases". Bits
 * and group size follow from the shapes. */
static vlm_status bind_affine(row_binding *c, const vio_tensor *t, const vio_tensor *scales,
                              vlm_matrix *m) {
    const vio_tensor *biases = companion(c, ".biases");
    uint64_t out = (uint64_t)m->out, in = (uint64_t)m->in;
    if (!biases) return bad_triple(c, t, "there are no '.biases': not the affine mode");
    if (t->dtype != VIO_U32) return bad_triple(c, t, "not of type U32");
    if (t->rank != 2 || t->shape[0] != out || scales->rank != 2 || scales->shape[0] != out)
        return wrong_shape(c, t, c->dims, 2);
    uint64_t packed = t->shape[1] * 32, groups = scales->shape[1];
    if (packed % in != 0 || groups == 0 || in % groups != 0)
        return bad_triple(c, t, "its shapes give no whole number of bits and groups");
    uint64_t bits = packed / in, group = in / groups;
    if (bits < 2 || bits > 8 || bits == 7 || (group != 32 && group != 64 && group != 128))
        return bad_triple(c, t, "bits or group size are none that are known");
    vlm_dtype type = VLM_DTYPE_F32;
    const int64_t data_dims[] = { m->out, (int64_t)t->shape[1] };
    const int64_t scale_dims[] = { m->out, (int64_t)groups };
    VTRY(float_type(c, scales, &type));
    VTRY(view(c, scales, type, scale_dims, 2, &m->scales));
    VTRY(float_type(c, biases, &type));
    VTRY(check_shape(c, biases, scale_dims, 2));
    VTRY(view(c, biases, type, scale_dims, 2, &m->biases));
    VTRY(view(c, t, VLM_DTYPE_U32, data_dims, 2, &m->data));
    m->storage = VLM_STORAGE_AFFINE;
    m->bits = (int)bits;
    m->group = (int)group;
    take(c->b, t, out * in);
    take(c->b, scales, 0);
    take(c->b, biases, 0);
    return VLM_OK;
}

static vlm_status bind_matrix(row_binding *c, vlm_matrix *m) {
    const vio_tensor *t = locate(c, ".weight");
    const vio_tensor *scales = t ? companion(c, ".scales") : NULL;
    *m = (vlm_matrix) { .storage = VLM_STORAGE_DENSE, .out = c->dims[0], .in = c->dims[1] };
    if (scales) return bind_affine(c, t, scales, m);
    return bind_dense(c, t, ".weight", c->dims, 2, &m->data);
}

/* "<stem>.bias" beside what was bound last, when the row's condition for it holds. */
static vlm_status bind_bias(row_binding *c, vlm_tensor *bias) {
    *bias = (vlm_tensor) { 0 };
    if (!holds(c->at, c->row->bias)) return VLM_OK;
    return bind_dense(c, companion(c, ".bias"), ".bias", c->dims, 1, bias);
}

/* [out, kernel..., in] to [out, in, kernel...], elements of `size` bytes. */
static void channels_first(uint8_t *to, const uint8_t *from, int64_t out, int64_t in,
                           int64_t kernel, size_t size) {
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t k = 0; k < kernel; k++, to += size)
                memcpy(to, from + (size_t)((o * kernel + k) * in + i) * size, size);
}

static vlm_status bind_mlx_conv(row_binding *c, const vio_tensor *t, int64_t kernel,
                                vlm_tensor *out) {
    int64_t dims[MAX_DIMS], flat[] = { c->dims[0], c->dims[1] * kernel };
    dims[0] = c->dims[0];
    for (int i = 2; i < c->rank; i++) dims[i - 1] = c->dims[i];
    dims[c->rank - 1] = c->dims[1];
    vlm_dtype dtype = VLM_DTYPE_F32;
    VTRY(float_type(c, t, &dtype));
    VTRY(check_shape(c, t, dims, c->rank));
    void *data = materialise(c, t);
    if (!data) return vcore_no_memory(c->err, t->name);
    channels_first(data, t->data, c->dims[0], c->dims[1], kernel, vio_dtype_size(t->dtype));
    *out = vtensor_of(data, dtype, 2, flat);
    take(c->b, t, product(c->dims, c->rank));
    return VLM_OK;
}

/* A convolution whose stride is its kernel is a product with flattened patches. */
static vlm_status bind_conv(row_binding *c, vlm_matrix *m) {
    const vio_tensor *t = locate(c, ".weight");
    int64_t kernel = (int64_t)product(c->dims + 2, c->rank - 2);
    *m = (vlm_matrix) { .out = c->dims[0], .in = c->dims[1] * kernel };
    if (t && t->mlx) return bind_mlx_conv(c, t, kernel, &m->data);
    VTRY(bind_dense(c, t, ".weight", c->dims, c->rank, &m->data));
    const int64_t flat[] = { m->out, m->in };
    m->data = vtensor_of(m->data.data, m->data.dtype, 2, flat);
    return VLM_OK;
}

/* '*' stands for any text. */
static bool matches(const char *pattern, const char *name) {
    const char *star = NULL, *retry = NULL;
    while (*name) {
        if (*pattern == '*')
            star = pattern++, retry = name;
        else if (*pattern == *name)
            pattern++, name++;
        else if (star)
            pattern = star + 1, name = ++retry;
        else
            return false;
    }
    while (*pattern == '*') pattern++;
    return *pattern == '\0';
}

static void ignore(row_binding *c) {
    char pattern[NAME_BYTES];
    const vio_tensors *tensors = c->b->args.tensors;
    size_t n = tensors ? vio_tensors_count(tensors) : 0;
    const char *names = c->row->name;
    for (vcore_str name; vmodel_alternative(&names, &name);) {
        const char *prefixes = c->at->prefix;
        for (vcore_str prefix; vmodel_alternative(&prefixes, &prefix);) {
            if (!compose(pattern, prefix, name, c->at->layer, "")) continue;
            for (size_t i = 0; i < n; i++)
                if (c->b->fates[i] == VMODEL_UNUSED
                    && matches(pattern, vio_tensors_at(tensors, i)->name))
                    c->b->fates[i] = VMODEL_IGNORED;
        }
    }
}

static vlm_status bind_row(row_binding *c, void *member) {
    vlm_linear *linear = member;
    vlm_norm *norm = member;
    switch (c->row->kind) {
    case VLM_WEIGHT_LINEAR:
        VTRY(bind_matrix(c, &linear->weight));
        return bind_bias(c, &linear->bias);
    case VLM_WEIGHT_MATRIX: return bind_matrix(c, member);
    case VLM_WEIGHT_NORM:
        VTRY(bind_dense(c, locate(c, ".weight"), ".weight", c->dims, 1, &norm->weight));
        return bind_bias(c, &norm->bias);
    case VLM_WEIGHT_TENSOR: return bind_dense(c, locate(c, ""), "", c->dims, c->rank, member);
    case VLM_WEIGHT_CONV: VTRY(bind_conv(c, &linear->weight)); return bind_bias(c, &linear->bias);
    case VLM_WEIGHT_IGNORED: ignore(c); return VLM_OK;
    }
    return vcore_fail(c->err, VLM_ERR_ARGUMENT, "weight table: row '%s' is of no kind",
                      c->row->name);
}

vlm_status vlm_bind(vlm_build *build, void *object, const vlm_weight_row *rows, size_t n_rows,
                    const vlm_binding *binding, vlm_error *err) {
    static const int ranks[] = {
        [VLM_WEIGHT_LINEAR] = 2, [VLM_WEIGHT_MATRIX] = 2, [VLM_WEIGHT_NORM] = 1,
        [VLM_WEIGHT_TENSOR] = 1, [VLM_WEIGHT_CONV] = 3,   [VLM_WEIGHT_IGNORED] = 0,
    };
    for (size_t i = 0; i < n_rows; i++) {
        if (!holds(binding, rows[i].when)) continue;
        row_binding c = { .b = build, .at = binding, .row = &rows[i], .err = err };
        for (; c.rank < MAX_DIMS && rows[i].dims[c.rank] >= 0; c.rank++)
            c.dims[c.rank] = binding->dims[rows[i].dims[c.rank]];
        if (c.rank < ranks[rows[i].kind])
            return vcore_fail(err, VLM_ERR_ARGUMENT, "weight table: row '%s': %d dims are too few",
                              rows[i].name, c.rank);
        VTRY(bind_row(&c, (char *)object + rows[i].offset));
    }
    return VLM_OK;
}
