/* SPDX-License-Identifier: MIT */
/* Prepared inputs: token ids and the named arrays that a processor makes and a model reads, and
 * their safetensors file. Names, types and shapes are those of Hugging Face's processors. */
#include "models/models.h"

#include <stdio.h>

struct vlm_prepared {
    uint32_t *ids;
    size_t n_ids, media_tokens;
    vlm_array *arrays;
    size_t count, capacity;
};

vlm_status vmodel_prepared_new(vlm_prepared **out, vlm_error *err) {
    *out = vcore_alloc(sizeof **out);
    return *out ? VLM_OK : vcore_no_memory(err, "prepared input");
}

void vlm_prepared_free(vlm_prepared *prepared) {
    if (!prepared) return;
    for (size_t i = 0; i < prepared->count; i++) {
        vcore_free((void *)prepared->arrays[i].name);
        vcore_free(prepared->arrays[i].data);
    }
    vcore_free(prepared->arrays);
    vcore_free(prepared->ids);
    vcore_free(prepared);
}

vlm_status vmodel_prepared_set_ids(vlm_prepared *p, const uint32_t *ids, size_t n, vlm_error *err) {
    uint32_t *copy = vcore_realloc_array(p->ids, n, sizeof *copy);
    if (!copy) return vcore_no_memory(err, "token ids");
    if (n) memcpy(copy, ids, n * sizeof *copy);
    p->ids = copy;
    p->n_ids = n;
    return VLM_OK;
}

const uint32_t *vlm_prepared_ids(const vlm_prepared *prepared, size_t *count) {
    *count = prepared->n_ids;
    return prepared->ids;
}

void vlm_prepared_replace_token(vlm_prepared *prepared, uint32_t from, uint32_t to) {
    for (size_t i = 0; i < prepared->n_ids; i++)
        if (prepared->ids[i] == from) prepared->ids[i] = to;
}

void vmodel_prepared_set_media_tokens(vlm_prepared *p, size_t n) {
    p->media_tokens = n;
}

size_t vlm_prepared_tokens(const vlm_prepared *prepared, size_t *media_tokens) {
    if (media_tokens) *media_tokens = prepared ? prepared->media_tokens : 0;
    return prepared ? prepared->n_ids : 0;
}

size_t vmodel_prepared_count(const vlm_prepared *p) {
    return p->count;
}

const vlm_array *vmodel_prepared_at(const vlm_prepared *p, size_t i) {
    return i < p->count ? &p->arrays[i] : NULL;
}

/* ---- arrays ---------------------------------------------------------------------------------- */
static vlm_status reserve(vlm_prepared *p, vlm_error *err) {
    if (p->count < p->capacity) return VLM_OK;
    size_t capacity = p->capacity ? 2 * p->capacity : 8;
    vlm_array *arrays = vcore_realloc_array(p->arrays, capacity, sizeof *arrays);
    if (!arrays) return vcore_no_memory(err, "prepared input");
    p->arrays = arrays;
    p->capacity = capacity;
    return VLM_OK;
}

vlm_status vlm_prepared_add(vlm_prepared *prepared, const char *name, vlm_dtype dtype, int rank,
                            const int64_t *shape, void **data, vlm_error *err) {
    size_t bytes = vtensor_dtype_size(dtype);
    if (rank < 0 || rank > VLM_PREPARED_RANK || vlm_prepared_find(prepared, name))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "prepared input: '%s' of rank %d cannot be added",
                          name, rank);
    vlm_array array = { .dtype = dtype, .rank = rank };
    for (int i = 0; i < rank; i++) {
        array.shape[i] = shape[i];
        if (shape[i] < 0 || !vcore_mul(bytes, (size_t)shape[i], &bytes))
            return vcore_fail(err, VLM_ERR_LIMIT, "prepared input: '%s' is too large", name);
    }
    VTRY(reserve(prepared, err));
    array.name = vcore_strdup(name);
    array.data = vcore_alloc(bytes ? bytes : 1);
    if (!array.name || !array.data) {
        vcore_free((void *)array.name);
        vcore_free(array.data);
        return vcore_no_memory(err, name);
    }
    prepared->arrays[prepared->count++] = array;
    *data = array.data;
    return VLM_OK;
}

const vlm_array *vlm_prepared_find(const vlm_prepared *prepared, const char *name) {
    for (size_t i = 0; i < prepared->count; i++)
        if (strcmp(prepared->arrays[i].name, name) == 0) return &prepared->arrays[i];
    return NULL;
}

vlm_status vlm_prepared_get(const vlm_array **out, const vlm_prepared *prepared, const char *name,
                            vlm_dtype dtype, int rank, const int64_t *shape, vlm_error *err) {
    *out = NULL;
    const vlm_array *a = vlm_prepared_find(prepared, name);
    if (!a) return vcore_fail(err, VLM_ERR_PROCESSING, "prepared input: '%s' is missing", name);
    if (a->dtype != dtype || a->rank != rank)
        return vcore_fail(err, VLM_ERR_PROCESSING,
                          "prepared input: '%s' is %s of rank %d instead of %s of rank %d", name,
                          vtensor_dtype_name(a->dtype), a->rank, vtensor_dtype_name(dtype), rank);
    for (int i = 0; i < rank; i++)
        if (shape[i] >= 0 && a->shape[i] != shape[i])
            return vcore_fail(err, VLM_ERR_PROCESSING,
                              "prepared input: '%s' has %lld in dimension %d instead of %lld", name,
                              (long long)a->shape[i], i, (long long)shape[i]);
    *out = a;
    return VLM_OK;
}

/* ---- the file: reading ----------------------------------------------------------------------- */
static bool is_float(vio_dtype t) {
    return t == VIO_F32 || t == VIO_F64 || t == VIO_BF16 || t == VIO_F16;
}

/* The i-th value of a float tensor, whatever its type and alignment. */
static float float_at(const vio_tensor *t, size_t i) {
    union {
        float f;
        double d;
        uint16_t h;
    } u;
    memcpy(&u, t->data + i * vio_dtype_size(t->dtype), vio_dtype_size(t->dtype));
    switch (t->dtype) {
    case VIO_F64: return (float)u.d;
    case VIO_BF16: return vcore_bf16_to_f32(u.h);
    case VIO_F16: return vcore_f16_to_f32(u.h);
    default: return u.f;
    }
}

static bool is_integer(vio_dtype t) {
    return t == VIO_BOOL || t == VIO_U8 || t == VIO_I8 || t == VIO_I16 || t == VIO_U16
           || t == VIO_I32 || t == VIO_U32 || t == VIO_I64;
}

/* The i-th value of an integer tensor; little-endian, sign-extended where the type has a sign. */
static int64_t integer_at(const vio_tensor *t, size_t i) {
    size_t size = vio_dtype_size(t->dtype);
    uint64_t u = 0;
    memcpy(&u, t->data + i * size, size);
    bool is_signed = t->dtype == VIO_I8 || t->dtype == VIO_I16 || t->dtype == VIO_I32;
    unsigned unused = 64 - 8 * (unsigned)size;
    return is_signed ? (int64_t)(u << unused) >> unused : (int64_t)u;
}

/* Floats of any width become F32, integers I64; what is neither is passed over. */
static vlm_status load_array(vlm_prepared *p, const vio_tensor *t, vlm_error *err) {
    bool floats = is_float(t->dtype);
    if ((!floats && !is_integer(t->dtype)) || t->rank > VLM_PREPARED_RANK) return VLM_OK;
    int64_t shape[VLM_PREPARED_RANK];
    for (int i = 0; i < t->rank; i++) shape[i] = (int64_t)t->shape[i];
    void *data;
    VTRY(vlm_prepared_add(p, t->name, floats ? VLM_DTYPE_F32 : VLM_DTYPE_I64, t->rank, shape, &data,
                          err));
    size_t n = (size_t)t->bytes / vio_dtype_size(t->dtype);
    if (t->dtype == VIO_F32 || t->dtype == VIO_I64)
        memcpy(data, t->data, (size_t)t->bytes);
    else if (floats)
        for (size_t i = 0; i < n; i++) ((float *)data)[i] = float_at(t, i);
    else
        for (size_t i = 0; i < n; i++) ((int64_t *)data)[i] = integer_at(t, i);
    return VLM_OK;
}

static VLM_PRINTF(5, 6) vlm_status fail_tensor(vlm_error *err, vlm_status code, const char *path,
                                               const char *name, const char *fmt, ...) {
    char what[100];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    vcore_where where = { .file = path, .field = name };
    return vcore_fail_at(err, code, where, "%s: tensor '%s': %s", path, name, what);
}

/* One sequence: [n] or [1, n]. */
static vlm_status sequence(const vio_tensor **out, const vio_tensors *file, const char *path,
                           const char *name, size_t *n, vlm_error *err) {
    const vio_tensor *t = vio_tensors_find(file, name);
    *out = t;
    if (!t) return VLM_OK;
    bool one = t->rank == 1 || (t->rank == 2 && t->shape[0] == 1);
    if (!one || !is_integer(t->dtype))
        return fail_tensor(err, VLM_ERR_FORMAT, path, name,
                           "must hold integers of one sequence, [1, n]");
    *n = (size_t)t->bytes / vio_dtype_size(t->dtype);
    return VLM_OK;
}

static vlm_status load_ids(vlm_prepared *p, const vio_tensors *file, const char *path,
                           vlm_error *err) {
    const vio_tensor *ids, *mask;
    size_t n = 0, n_mask = 0;
    VTRY(sequence(&ids, file, path, "input_ids", &n, err));
    if (!ids || n == 0)
        return fail_tensor(err, VLM_ERR_FORMAT, path, "input_ids", "is missing, or holds nothing");
    VTRY(sequence(&mask, file, path, "attention_mask", &n_mask, err));
    if (mask && n_mask != n)
        return fail_tensor(err, VLM_ERR_FORMAT, path, "attention_mask", "%zu values for %zu tokens",
                           n_mask, n);
    for (size_t i = 0; mask && i < n; i++)
        if (integer_at(mask, i) != 1)
            return fail_tensor(err, VLM_ERR_UNSUPPORTED, path, "attention_mask",
                               "padding is not supported");
    uint32_t *list = vcore_alloc_array(n, sizeof *list);
    if (!list) return vcore_no_memory(err, "token ids");
    vcore_free(p->ids);
    p->ids = list;
    p->n_ids = n;
    for (size_t i = 0; i < n; i++) {
        int64_t id = integer_at(ids, i);
        if (id < INT32_MIN || id > UINT32_MAX)
            return fail_tensor(err, VLM_ERR_FORMAT, path, "input_ids",
                               "%lld is no token id",
                               (long long)id);
        list[i] = (uint32_t)id;
    }
    return VLM_OK;
}

static vlm_status load(vlm_prepared *p, const vio_tensors *file, const char *path, vlm_error *err) {
    VTRY(load_ids(p, file, path, err));
    for (size_t i = 0; i < vio_tensors_count(file); i++) {
        const vio_tensor *t = vio_tensors_at(file, i);
        if (strcmp(t->name, "input_ids") == 0 || strcmp(t->name, "attention_mask") == 0) continue;
        VTRY(load_array(p, t, err));
    }
    return VLM_OK;
}

vlm_status vmodel_prepared_load(vlm_prepared **out, const char *path, const vlm_limits *limits,
                                vlm_error *err) {
    vio_source from = vio_source_of(limits);
    *out = NULL;
    vio_tensors *file;
    VTRY(vio_tensors_open_file(&file, path, &from, err));
    vlm_prepared *p = NULL;
    vlm_status status = vmodel_prepared_new(&p, err);
    if (status == VLM_OK) status = load(p, file, path, err);
    vio_tensors_close(file);
    if (status < 0) {
        vlm_prepared_free(p);
        return status;
    }
    *out = p;
    return VLM_OK;
}

/* ---- the file: writing ----------------------------------------------------------------------- */
static vio_dtype file_dtype(vlm_dtype dtype) {
    switch (dtype) {
    case VLM_DTYPE_F32: return VIO_F32;
    case VLM_DTYPE_BF16: return VIO_BF16;
    case VLM_DTYPE_F16: return VIO_F16;
    case VLM_DTYPE_I32: return VIO_I32;
    case VLM_DTYPE_I64: return VIO_I64;
    case VLM_DTYPE_U32: return VIO_U32;
    default: return VIO_U8;
    }
}

vlm_status vlm_prepared_save(const vlm_prepared *prepared, const char *path, vlm_error *err) {
    if (!prepared || !path)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_prepared_save: a null argument");
    size_t n = prepared->n_ids, count = prepared->count + 2;
    int64_t *ids = vcore_alloc_array(2 * n + 1, sizeof *ids); /* the ids, then the mask */
    vio_out_tensor *out = vcore_alloc_array(count, sizeof *out);
    if (!ids || !out) {
        vcore_free(ids);
        vcore_free(out);
        return vcore_no_memory(err, path);
    }
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)prepared->ids[i], ids[n + i] = 1; /* sentinels are negative */
    out[0] = (vio_out_tensor) { "input_ids", VIO_I64, 2, { 1, n }, ids };
    out[1] = (vio_out_tensor) { "attention_mask", VIO_I64, 2, { 1, n }, ids + n };
    for (size_t i = 0; i < prepared->count; i++) {
        const vlm_array *a = &prepared->arrays[i];
        out[2 + i] = (vio_out_tensor) { a->name, file_dtype(a->dtype), a->rank, { 0 }, a->data };
        for (int k = 0; k < a->rank; k++) out[2 + i].shape[k] = (uint64_t)a->shape[k];
    }
    vlm_status status = vio_safetensors_write(path, out, count, NULL, err);
    vcore_free(ids);
    vcore_free(out);
    return status;
}
