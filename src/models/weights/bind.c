/* SPDX-License-Identifier: MIT */
/* Weight tables: from the names and layouts of a checkpoint to the members of a model. Owns where a
 * tensor is looked for, what its shape must be and how its file lays it out; owns no name of any
 * model. Data stays where the file was mapped unless its layout cannot be used as it is. Matrices
 * that are not stored as floats are bound in quantized.c. */
#include <stdio.h>

#include "models/weights/weights.h"

enum { NAME_BYTES = VMODEL_NAME_BYTES };
static const char CONFIG[] = "the config"; /* who asks for a shape */

/* Whether one of the row's conditions holds; the last bit is the one that always does. */
static bool holds(const vlm_binding *at, unsigned when) {
    return (when & (at->conditions | 1u << 31)) != 0;
}

/* ---- finding tensors by name ----------------------------------------------------------------- */
/* Appends s to the n bytes in name, with "%d" replaced by the layer; 0 when it does not fit. */
static size_t append(char *name, size_t n, vcore_str s, int layer) {
    char digits[16] = "";
    size_t n_digits = (size_t)snprintf(digits, sizeof digits, "%d", layer);
    for (size_t i = 0; i < s.n && n > 0; i++) {
        bool number = s.p[i] == '%' && i + 1 < s.n && s.p[i + 1] == 'd';
        const char *what = number ? digits : s.p + i;
        size_t bytes = number ? n_digits : 1;
        if (n + bytes >= NAME_BYTES) return 0;
        memcpy(name + n - 1, what, bytes);
        n += bytes;
        name[n - 1] = '\0';
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

const vio_tensor *vmodel_row_locate(vmodel_row *c, const char *suffix) {
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

const vio_tensor *vmodel_row_companion(const vmodel_row *c, const char *suffix) {
    char name[NAME_BYTES];
    bool fits = compose(name, vcore_str_of(c->stem), vcore_str_of(suffix), c->at->layer, "");
    return fits ? find(c->b, name) : NULL;
}

static const vio_tensor *find_named(const vlm_build *b, const vlm_binding *at, const char *name) {
    const vlm_weight_row row = { .name = name };
    vmodel_row c = { .b = (vlm_build *)b, .at = at, .row = &row };
    return vmodel_row_locate(&c, "");
}

bool vmodel_build_has(const vlm_build *b, const vlm_binding *at, const char *name) {
    return find_named(b, at, name) != NULL;
}

bool vmodel_build_differ(const vlm_build *b, const vlm_binding *at, const char *name, const vlm_binding *other_at,
                         const char *other_name) {
    const vio_tensor *t = find_named(b, at, name), *u = find_named(b, other_at, other_name);
    if (!t || !u || t->mlx || u->mlx || b->args.inspect || b->args.convert) return false;
    return t->dtype != u->dtype || t->bytes != u->bytes || memcmp(t->data, u->data, (size_t)t->bytes) != 0;
}

/* A spelling under which the checkpoint has a module of its own does not mean this one. */
static bool is_other(const vmodel_row *c, const char *name) {
    char weight[NAME_BYTES];
    return compose(weight, vcore_str_of(name), vcore_str_of(".weight"), c->at->layer, "")
           && find(c->b, weight);
}

vlm_quantization_answer vmodel_row_quantization(const vmodel_row *c, vlm_quantization_params *p) {
    const vlm_quantization *q = c->b->args.quantization;
    vlm_quantization_answer answer = vlm_quantization_find(q, c->stem, p);
    const char *names = c->row->name;
    for (vcore_str row_name; !answer && q && vmodel_alternative(&names, &row_name);) {
        const char *prefixes = c->at->prefix;
        for (vcore_str prefix; !answer && vmodel_alternative(&prefixes, &prefix);) {
            char name[NAME_BYTES];
            if (compose(name, prefix, row_name, c->at->layer, "") && !is_other(c, name))
                answer = vlm_quantization_find(q, name, p);
        }
    }
    return answer;
}

/* A tensor that is not there is bound without data; that it lacks is said once, of all together. */
static vlm_status missing(vmodel_row *c, const char *suffix) {
    return vmodel_build_missing(c->b, c->stem, suffix, c->err);
}

void vmodel_row_take(const vmodel_row *c, const vio_tensor *t, uint64_t parameters) {
    vlm_build *b = c->b;
    uint8_t *fate = &b->fates[t - vio_tensors_at(b->args.tensors, 0)];
    if (*fate != VMODEL_USED) {
        b->usage.parameters += parameters;
        b->usage.weight_bytes += t->bytes;
    }
    *fate = VMODEL_USED;
}

/* ---- shapes, types, layouts ------------------------------------------------------------------ */
static vlm_status wrong_shape(const vmodel_row *c, const vio_tensor *t, const int64_t *dims,
                              int rank, const char *who) {
    char have[160] = "", want[160] = "";
    size_t n = 0;
    for (int i = 0; i < t->rank && n < sizeof have; i++)
        n += (size_t)snprintf(have + n, sizeof have - n, "%s%llu", i ? ", " : "",
                              (unsigned long long)t->shape[i]);
    n = 0;
    for (int i = 0; i < rank && n < sizeof want; i++)
        n += (size_t)snprintf(want + n, sizeof want - n, "%s%lld", i ? ", " : "",
                              (long long)dims[i]);
    vcore_where where = { .file = t->file, .field = t->name };
    return vcore_fail_at(c->err, VLM_ERR_WEIGHTS, where,
                         "%s: tensor '%s': shape [%s], %s asks for [%s]", t->file, t->name, have,
                         who, want);
}

vlm_status vmodel_row_check_shape(const vmodel_row *c, const vio_tensor *t, const int64_t *dims,
                                  int rank, const char *who) {
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == (uint64_t)dims[i];
    return same ? VLM_OK : wrong_shape(c, t, dims, rank, who);
}

static vlm_tensor empty_tensor(vlm_dtype dtype, const int64_t *dims, int rank) {
    return vtensor_of(NULL, dtype, rank, dims);
}

vlm_status vmodel_row_materialise(vmodel_row *c, void **data, const vio_tensor *t, size_t bytes) {
    *data = c->b->args.inspect ? NULL : vcore_arena_alloc(c->b->args.arena, bytes);
    if (!*data && !c->b->args.inspect) return vcore_no_memory(c->err, t->name);
    c->b->copied[t - vio_tensors_at(c->b->args.tensors, 0)] = 1;
    c->b->usage.computed_bytes += bytes;
    return VLM_OK;
}

vlm_status vmodel_row_view(vmodel_row *c, const vio_tensor *t, vlm_dtype dtype,
                           const int64_t *dims, int rank, vlm_tensor *out) {
    void *data = (void *)t->data;
    if ((uintptr_t)data % vtensor_dtype_size(dtype) != 0) {
        VTRY(vmodel_row_materialise(c, &data, t, t->bytes));
        if (data) memcpy(data, t->data, t->bytes);
    }
    *out = vtensor_of(data, dtype, rank, dims);
    return VLM_OK;
}

vlm_status vmodel_row_float_type(const vmodel_row *c, const vio_tensor *t, vlm_dtype *out) {
    switch (t->dtype) {
    case VIO_F32: *out = VLM_DTYPE_F32; return VLM_OK;
    case VIO_BF16: *out = VLM_DTYPE_BF16; return VLM_OK;
    case VIO_F16: *out = VLM_DTYPE_F16; return VLM_OK;
    default:
        return vcore_fail_at(c->err, VLM_ERR_WEIGHTS,
                             (vcore_where) { .file = t->file, .field = t->name },
                             "%s: tensor '%s': is %s, weights must be F32, BF16 or F16", t->file,
                             t->name, vio_dtype_name(t->dtype));
    }
}

static uint64_t product(const int64_t *dims, int rank) {
    uint64_t n = 1;
    for (int i = 0; i < rank; i++) n *= (uint64_t)dims[i];
    return n;
}

/* Whether a map of 1 x 1, channels last as the row has it, is stored with its channels first. */
static bool is_column(const vio_tensor *t, const int64_t *dims, int rank) {
    return rank == 3 && t->rank == 3 && dims[0] == 1 && dims[1] == 1 && t->shape[0] == (uint64_t)dims[2]
           && t->shape[1] == 1 && t->shape[2] == 1;
}

/* A dense tensor of exactly this shape. t NULL: it is missing. */
static vlm_status bind_dense(vmodel_row *c, const vio_tensor *t, const char *suffix,
                             const int64_t *dims, int rank, vlm_tensor *out) {
    *out = empty_tensor(VLM_DTYPE_F32, dims, rank);
    if (!t) {
        c->b->usage.missing_parameters += product(dims, rank);
        return missing(c, suffix);
    }
    vlm_dtype dtype = VLM_DTYPE_F32;
    VTRY(vmodel_row_float_type(c, t, &dtype));
    if (!is_column(t, dims, rank)) VTRY(vmodel_row_check_shape(c, t, dims, rank, CONFIG));
    VTRY(vmodel_row_view(c, t, dtype, dims, rank, out));
    vmodel_row_take(c, t, product(dims, rank));
    return VLM_OK;
}

vlm_status vmodel_row_check_rows(const vmodel_row *c, const vio_tensor *t, int64_t columns,
                                 const char *who) {
    int64_t dims[VLM_MAX_RANK];
    memcpy(dims, c->dims, sizeof dims);
    dims[c->rank - 1] = columns;
    return vmodel_row_check_shape(c, t, dims, c->rank, who);
}

/* ---- kinds of rows --------------------------------------------------------------------------- */
/* Experts as floats: "<name>.weight" or, where they are no module of their own, "<name>"; each
 * [out, in], or, when the shape says so, [in, out]. */
static vlm_status bind_stack(vmodel_row *c, vlm_matrix *m) {
    const int64_t n = c->dims[0], out = c->dims[1], in = c->dims[2];
    const int64_t turned[] = { n, in, out };
    const char *suffix = "";
    const vio_tensor *t = vmodel_row_locate(c, suffix);
    if (!t) t = vmodel_row_locate(c, suffix = ".weight");
    m->across = t && t->rank == 3 && out != in && t->shape[1] == (uint64_t)in;
    VTRY(bind_dense(c, t, suffix, m->across ? turned : c->dims, 3, &m->data));
    const int64_t flat[] = { n * (m->across ? in : out), m->across ? out : in };
    m->data = vtensor_of(m->data.data, m->data.dtype, 2, flat);
    return VLM_OK;
}

static vlm_status bind_matrix(vmodel_row *c, vlm_matrix *m) {
    bool bound = false;
    const int64_t flat[] = { (int64_t)product(c->dims, c->rank - 1), c->dims[c->rank - 1] };
    *m = (vlm_matrix) { .storage = VLM_STORAGE_DENSE, .out = flat[0], .in = flat[1] };
    m->data = empty_tensor(VLM_DTYPE_F32, flat, 2); /* until something is found */
    const bool experts = c->row->kind == VLM_WEIGHT_EXPERTS;
    if (experts && vmodel_row_locate(c, "")) return bind_stack(c, m); /* whatever else has that name in front */
    VTRY(vmodel_bind_quantized(c, m, &bound));
    if (bound) return VLM_OK;
    if (experts) return bind_stack(c, m);
    VTRY(bind_dense(c, vmodel_row_locate(c, ".weight"), ".weight", c->dims, c->rank, &m->data));
    m->data = vtensor_of(m->data.data, m->data.dtype, 2, flat);
    return VLM_OK;
}

/* "<stem>.bias" beside what was bound last, when the row's condition for it holds. */
static vlm_status bind_bias(vmodel_row *c, vlm_tensor *bias) {
    *bias = (vlm_tensor) { 0 };
    if (!holds(c->at, c->row->bias)) return VLM_OK;
    return bind_dense(c, vmodel_row_companion(c, ".bias"), ".bias", c->dims, 1, bias);
}

/* [out, kernel..., in] to [out, in, kernel...], elements of `size` bytes. */
static void channels_first(uint8_t *to, const uint8_t *from, int64_t out, int64_t in,
                           int64_t kernel, size_t size) {
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t k = 0; k < kernel; k++, to += size)
                memcpy(to, from + (size_t)((o * kernel + k) * in + i) * size, size);
}

static vlm_status bind_mlx_conv(vmodel_row *c, const vio_tensor *t, int64_t kernel,
                                vlm_tensor *out) {
    int64_t dims[VLM_MAX_RANK], flat[] = { c->dims[0], c->dims[1] * kernel };
    dims[0] = c->dims[0];
    for (int i = 2; i < c->rank; i++) dims[i - 1] = c->dims[i];
    dims[c->rank - 1] = c->dims[1];
    vlm_dtype dtype = VLM_DTYPE_F32;
    VTRY(vmodel_row_float_type(c, t, &dtype));
    VTRY(vmodel_row_check_shape(c, t, dims, c->rank, CONFIG));
    void *data = NULL;
    VTRY(vmodel_row_materialise(c, &data, t, t->bytes));
    if (data) channels_first(data, t->data, c->dims[0], c->dims[1], kernel, vio_dtype_size(t->dtype));
    *out = vtensor_of(data, dtype, 2, flat);
    vmodel_row_take(c, t, product(c->dims, c->rank));
    return VLM_OK;
}

/* A convolution whose stride is its kernel is a product with flattened patches. */
static vlm_status bind_conv(vmodel_row *c, vlm_matrix *m) {
    const vio_tensor *t = vmodel_row_locate(c, ".weight");
    int64_t kernel = (int64_t)product(c->dims + 2, c->rank - 2);
    *m = (vlm_matrix) { .out = c->dims[0], .in = c->dims[1] * kernel };
    if (t && t->mlx && kernel > 1) return bind_mlx_conv(c, t, kernel, &m->data);
    int64_t dims[VLM_MAX_RANK]; /* as the file has them: of one tap MLX's order differs in name only */
    for (int i = 0; i < c->rank; i++) dims[i] = c->dims[i];
    if (t && t->mlx) {
        for (int i = 1; i < c->rank - 1; i++) dims[i] = 1;
        dims[c->rank - 1] = c->dims[1];
    }
    VTRY(bind_dense(c, t, ".weight", dims, c->rank, &m->data));
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

static void ignore(vmodel_row *c) {
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

static vlm_status place(const vmodel_row *c, vlm_tensor *t) {
    return t->rank ? vtensor_place(c->b->args.backend, t, c->err) : VLM_OK;
}

static vlm_status place_matrix(const vmodel_row *c, vlm_matrix *m) {
    vlm_tensor *parts[] = { &m->data, &m->scales, &m->biases, &m->factor };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) VTRY(place(c, parts[i]));
    return VLM_OK;
}

/* What was bound goes where the backend computes. */
static vlm_status place_row(const vmodel_row *c, void *member) {
    vlm_linear *linear = member;
    vlm_norm *norm = member;
    switch (c->row->kind) {
    case VLM_WEIGHT_LINEAR:
    case VLM_WEIGHT_CONV: return vtensor_place_linear(c->b->args.backend, &linear->weight, &linear->bias, c->err);
    case VLM_WEIGHT_MATRIX:
    case VLM_WEIGHT_EXPERTS: return place_matrix(c, member);
    case VLM_WEIGHT_NORM: VTRY(place(c, &norm->weight)); return place(c, &norm->bias);
    case VLM_WEIGHT_TENSOR: return place(c, member);
    case VLM_WEIGHT_DEPTHWISE:
        VTRY(place(c, &((vlm_depthwise *)member)->weight));
        return place(c, &((vlm_depthwise *)member)->bias);
    default: return VLM_OK;
    }
}

static vlm_status bind_row(vmodel_row *c, void *member) {
    vlm_linear *linear = member;
    vlm_norm *norm = member;
    switch (c->row->kind) {
    case VLM_WEIGHT_LINEAR:
        VTRY(bind_matrix(c, &linear->weight));
        return bind_bias(c, &linear->bias);
    case VLM_WEIGHT_MATRIX:
    case VLM_WEIGHT_EXPERTS: return bind_matrix(c, member);
    case VLM_WEIGHT_NORM:
        VTRY(bind_dense(c, vmodel_row_locate(c, ".weight"), ".weight", c->dims, 1, &norm->weight));
        return bind_bias(c, &norm->bias);
    case VLM_WEIGHT_TENSOR: return bind_dense(c, vmodel_row_locate(c, ""), "", c->dims, c->rank, member);
    case VLM_WEIGHT_CONV: VTRY(bind_conv(c, &linear->weight)); return bind_bias(c, &linear->bias);
    case VLM_WEIGHT_DEPTHWISE: return vmodel_bind_depthwise(c, member);
    case VLM_WEIGHT_IGNORED: ignore(c); return VLM_OK;
    }
    return vcore_fail(c->err, VLM_ERR_ARGUMENT, "weight table: row '%s' is of no kind",
                      c->row->name);
}

static const char *copy(const vmodel_row *c, const char *s) {
    return s ? vcore_arena_strndup(c->b->args.arena, s, strlen(s)) : NULL;
}

static vlm_status add_bound(vlm_build *b, const vmodel_bound *bound, vlm_error *err) {
    if (b->n_bound == b->bound_capacity) {
        size_t capacity = b->bound_capacity ? 2 * b->bound_capacity : 64;
        vmodel_bound *list = vcore_realloc_array(b->bound, capacity, sizeof *list);
        if (!list) return vcore_no_memory(err, "list of rows");
        b->bound = list;
        b->bound_capacity = capacity;
    }
    b->bound[b->n_bound++] = *bound;
    return VLM_OK;
}

/* Notes the row for vmodel_build_bound. */
static vlm_status keep(const vmodel_row *c, const char *as) {
    vmodel_bound bound = { .row = *c->row,
                           .prefix = copy(c, c->at->prefix),
                           .layer = c->at->layer,
                           .conditions = c->at->conditions,
                           .rank = c->rank,
                           .as = copy(c, as) };
    memcpy(bound.dims, c->dims, sizeof bound.dims);
    bound.row.name = copy(c, c->row->name);
    if (!bound.prefix || !bound.row.name || (as && !bound.as))
        return vcore_no_memory(c->err, "list of rows");
    return add_bound(c->b, &bound, c->err);
}

/* The names of a row with other words behind the last dot of each, and something behind them. */
static const char *renamed(const vmodel_row *c, const char *last, const char *behind) {
    vcore_buf out = { 0 };
    const char *names = c->row->name;
    for (vcore_str name; vmodel_alternative(&names, &name);) {
        size_t n = name.n;
        while (n > 0 && name.p[n - 1] != '.') n--;
        vcore_buf_printf(&out, "%s%.*s%s%s", out.n ? "|" : "", (int)n, name.p, last, behind);
    }
    const char *copied = out.failed ? NULL : copy(c, out.p);
    vcore_buf_free(&out);
    return copied;
}

/* A depthwise convolution is kept as what files have of it: a convolution, and the parts of its batch normalisation. */
static vlm_status keep_depthwise(const vmodel_row *c) {
    static const char *const rest[] = { ".running_mean", ".running_var" };
    vlm_weight_row row = *c->row;
    vmodel_row r = *c;
    r.row = &row;
    row.kind = VLM_WEIGHT_CONV;
    r.rank = 4;
    r.dims[1] = 1;
    r.dims[2] = r.dims[3] = c->dims[2];
    VTRY(keep(&r, NULL));
    if (row.bias != VLM_NEVER) return VLM_OK;
    r.rank = 1;
    row.kind = VLM_WEIGHT_NORM;
    row.bias = VLM_ALWAYS;
    if (!(row.name = renamed(c, "bn", ""))) return vcore_no_memory(c->err, "list of rows");
    VTRY(keep(&r, NULL));
    row.kind = VLM_WEIGHT_TENSOR;
    row.bias = VLM_NEVER;
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        if (!(row.name = renamed(c, "bn", rest[i]))) return vcore_no_memory(c->err, "list of rows");
        VTRY(keep(&r, NULL));
    }
    return VLM_OK;
}

/* Notes a row for vmodel_build_bound. */
static vlm_status keep_row(const vmodel_row *c) {
    if (c->row->kind == VLM_WEIGHT_IGNORED) return VLM_OK;
    return c->row->kind == VLM_WEIGHT_DEPTHWISE ? keep_depthwise(c) : keep(c, NULL);
}

vlm_status vlm_bind(vlm_build *build, void *object, const vlm_weight_row *rows, size_t n_rows,
                    const vlm_binding *binding, vlm_error *err) {
    static const int ranks[] = {
        [VLM_WEIGHT_LINEAR] = 2, [VLM_WEIGHT_MATRIX] = 2, [VLM_WEIGHT_NORM] = 1,
        [VLM_WEIGHT_TENSOR] = 1, [VLM_WEIGHT_CONV] = 3, [VLM_WEIGHT_DEPTHWISE] = 3,  [VLM_WEIGHT_IGNORED] = 0,
        [VLM_WEIGHT_EXPERTS] = 3,
    };
    for (size_t i = 0; i < n_rows; i++) {
        if (!holds(binding, rows[i].when)) continue;
        vmodel_row c = { .b = build, .at = binding, .row = &rows[i], .err = err };
        for (; c.rank < VLM_MAX_RANK && rows[i].dims[c.rank] >= 0; c.rank++)
            c.dims[c.rank] = binding->dims[rows[i].dims[c.rank]];
        if (c.rank < ranks[rows[i].kind])
            return vcore_fail(err, VLM_ERR_ARGUMENT, "weight table: row '%s': %d dims are too few",
                              rows[i].name, c.rank);
        VTRY(bind_row(&c, (char *)object + rows[i].offset));
        if (build->args.convert) VTRY(keep_row(&c));
        if (build->args.backend) VTRY(place_row(&c, (char *)object + rows[i].offset));
    }
    return VLM_OK;
}

/* ---- rows kept for a conversion -------------------------------------------------------------- */
const vmodel_bound *vmodel_build_bound(const vlm_build *b, size_t *n) {
    *n = b->n_bound;
    return b->bound;
}

static vcore_str last_alternative(const char *list) {
    vcore_str last = { "", 0 };
    for (vcore_str at; vmodel_alternative(&list, &at);) last = at;
    return last;
}

bool vmodel_bound_name(const vmodel_bound *bound, char *name, size_t bytes) {
    char own[NAME_BYTES];
    if (!bound->as
        && !compose(own, last_alternative(bound->prefix), last_alternative(bound->row.name),
                    bound->layer, ""))
        return false;
    return snprintf(name, bytes, "%s", bound->as ? bound->as : own) < (int)bytes;
}

vlm_status vmodel_bound_again(const vmodel_bound *bound, vlm_build *b, void *member,
                              vlm_error *err) {
    const vlm_binding at = { .prefix = bound->prefix,
                             .layer = bound->layer,
                             .conditions = bound->conditions };
    vmodel_row c = { .b = b, .at = &at, .row = &bound->row, .rank = bound->rank, .err = err };
    memcpy(c.dims, bound->dims, sizeof c.dims);
    if (bound->parts) c.dims[1] *= bound->parts;
    return bind_row(&c, member);
}

int64_t vmodel_bound_row(const vmodel_bound *bound, int64_t i) {
    const int64_t out = bound->dims[1]; /* of an expert */
    return bound->parts ? (i / out * bound->parts + bound->part) * out + i % out : i;
}

vlm_status vmodel_build_keep_as(vlm_build *b, const vlm_binding *at, const char *const as[2], vlm_error *err) {
    if (!b->args.convert) return VLM_OK;
    vmodel_bound bound = b->bound[--b->n_bound];
    bound.parts = as[1] ? 2 : 1;
    bound.dims[1] /= bound.parts;
    for (bound.part = 0; bound.part < bound.parts; bound.part++) {
        char name[NAME_BYTES];
        if (!compose(name, last_alternative(at->prefix), vcore_str_of(as[bound.part]), at->layer, ""))
            return vcore_fail(err, VLM_ERR_ARGUMENT, "weight table: name '%s' is too long", as[bound.part]);
        if (!(bound.as = vcore_arena_strndup(b->args.arena, name, strlen(name)))) return vcore_no_memory(err, "list of rows");
        VTRY(add_bound(b, &bound, err));
    }
    return VLM_OK;
}

vlm_status vmodel_build_keep_copy(vlm_build *b, const vlm_weight_row *row, const vlm_binding *at,
                                  const char *as_prefix, const char *as_name, vlm_error *err) {
    char as[NAME_BYTES];
    if (!b->args.convert) return VLM_OK;
    vmodel_row c = { .b = b, .at = at, .row = row, .rank = 2, .err = err };
    for (int i = 0; i < 2; i++) c.dims[i] = at->dims[row->dims[i]];
    if (!compose(as, last_alternative(as_prefix), vcore_str_of(as_name), at->layer, ""))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "weight table: name '%s' is too long", as_name);
    return keep(&c, as);
}
