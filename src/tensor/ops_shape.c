/* SPDX-License-Identifier: MIT */
/* Making tensors, views of them, and moving elements: the checks, once, for every backend. Owns no
 * arithmetic. */
#include "tensor/backend.h"

/* Enters an operation on x; false when there is nothing to do. */
static bool enter_with(vlm_frame *f, const char *op, vlm_tensor x) {
    if (!vtensor_enter(f)) return false;
    if (x.rank > 0) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: an input is missing", op);
    return false;
}

/* The same memory `elements` further on. */
static void *advance(vlm_tensor x, int64_t elements) {
    return x.data ? (char *)x.data + (size_t)elements * vtensor_dtype_size(x.dtype) : NULL;
}

/* Copies keep the type of integers and widen floats. */
static vlm_dtype copied_type(vlm_dtype dtype) {
    return vtensor_is_float(dtype) ? VLM_DTYPE_F32 : dtype;
}

/* ---- making ---- */
vlm_tensor vlm_tensor_new(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape) {
    return vtensor_enter(f) ? vtensor_new(f, dtype, rank, shape) : (vlm_tensor) { 0 };
}

vlm_tensor vlm_tensor_from(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape,
                           const void *host) {
    if (!vtensor_enter(f)) return (vlm_tensor) { 0 };
    vlm_tensor t = vtensor_new(f, dtype, rank, shape);
    if (vtensor_count(t) > 0)
        VTENSOR_RUN(f, upload, t.data, host, (size_t)vtensor_count(t) * vtensor_dtype_size(dtype));
    return t;
}

vlm_tensor vlm_tensor_view(vlm_frame *f, vlm_dtype dtype, int rank, const int64_t *shape,
                           const void *host) {
    if (!f->table->host_memory) return vlm_tensor_from(f, dtype, rank, shape, host);
    if (!vtensor_enter(f)) return (vlm_tensor) { 0 };
    size_t bytes = vtensor_dtype_size(dtype);
    bool fits = rank >= 1 && rank <= VLM_MAX_RANK;
    for (int i = 0; fits && i < rank; i++)
        fits = shape[i] >= 0 && (!shape[i] || vcore_mul(bytes, (size_t)shape[i], &bytes));
    if (!fits || bytes > INT64_MAX)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "a view of an impossible shape");
    void *data = f->table->shapes_only ? NULL : (void *)(uintptr_t)host; /* views are not written */
    return vtensor_of(data, dtype, rank, shape);
}

/* ---- views ---- */
/* Strides that show x, which need not be contiguous, as `y->shape`; false when none can. Runs of
 * x's dimensions that lie at one stride are cut anew. */
static bool view_strides(vlm_tensor x, vlm_tensor *y) {
    int to = y->rank - 1;
    int64_t base = x.stride[x.rank - 1], run = 1, cut = 1;
    for (int i = x.rank - 1; i >= 0; i--) {
        run *= x.shape[i];
        if (i > 0 && (x.shape[i - 1] == 1 || x.stride[i - 1] == run * base)) continue;
        for (; to >= 0 && (cut < run || y->shape[to] == 1); to--) {
            y->stride[to] = cut * base;
            cut *= y->shape[to];
        }
        if (cut != run) return false;
        if (i > 0) base = x.stride[i - 1];
        run = cut = 1;
    }
    return to < 0;
}

vlm_tensor vlm_reshape(vlm_frame *f, vlm_tensor x, int rank, const int64_t *given) {
    if (!enter_with(f, "reshape", x)) return (vlm_tensor) { 0 };
    if (rank < 1 || rank > VLM_MAX_RANK)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "reshape: rank %d", rank);
    int64_t shape[VLM_MAX_RANK];
    memcpy(shape, given, (size_t)rank * sizeof *shape);
    int64_t known = 1, count = vtensor_count(x);
    int open = -1;
    bool fits = true;
    for (int i = 0; i < rank; i++) {
        if (shape[i] == -1 && open < 0)
            open = i;
        else
            fits = fits && shape[i] >= 0 && !__builtin_mul_overflow(known, shape[i], &known);
    }
    if (fits && open >= 0) {
        fits = known > 0 && count % known == 0;
        shape[open] = fits ? count / known : 0;
        known = count;
    }
    vlm_tensor y = fits ? vtensor_of(x.data, x.dtype, rank, shape) : x;
    if (fits) fits = known == count && (vtensor_contiguous(x) || view_strides(x, &y));
    if (!fits)
        return vlm_frame_fail(
            f, VLM_ERR_ARGUMENT, "reshape: %s does not view as rank %d, %lld x %lld",
            vtensor_describe(x).s, rank, (long long)shape[0], (long long)shape[rank - 1]);
    return y;
}

vlm_tensor vlm_reshape1(vlm_frame *f, vlm_tensor x, int64_t a) {
    return vlm_reshape(f, x, 1, (int64_t[]) { a });
}

vlm_tensor vlm_reshape2(vlm_frame *f, vlm_tensor x, int64_t a, int64_t b) {
    return vlm_reshape(f, x, 2, (int64_t[]) { a, b });
}

vlm_tensor vlm_reshape3(vlm_frame *f, vlm_tensor x, int64_t a, int64_t b, int64_t c) {
    return vlm_reshape(f, x, 3, (int64_t[]) { a, b, c });
}

vlm_tensor vlm_reshape4(vlm_frame *f, vlm_tensor x, int64_t a, int64_t b, int64_t c, int64_t d) {
    return vlm_reshape(f, x, 4, (int64_t[]) { a, b, c, d });
}

static vlm_tensor slice(vlm_frame *f, const char *op, vlm_tensor x, int axis, int64_t start,
                        int64_t count) {
    if (start < 0 || count < 0 || start > x.shape[axis] || count > x.shape[axis] - start)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: [%lld, +%lld) of %s", op, (long long)start,
                              (long long)count, vtensor_describe(x).s);
    x.data = advance(x, start * x.stride[axis]);
    x.shape[axis] = count;
    return x;
}

vlm_tensor vlm_rows(vlm_frame *f, vlm_tensor x, int64_t start, int64_t count) {
    if (!enter_with(f, "rows", x)) return (vlm_tensor) { 0 };
    return slice(f, "rows", x, 0, start, count);
}

vlm_tensor vlm_columns(vlm_frame *f, vlm_tensor x, int64_t start, int64_t count) {
    if (!enter_with(f, "columns", x)) return (vlm_tensor) { 0 };
    return slice(f, "columns", x, x.rank - 1, start, count);
}

/* ---- moving elements ---- */
vlm_tensor vlm_permute(vlm_frame *f, vlm_tensor x, const int *axes) {
    if (!enter_with(f, "permute", x)) return (vlm_tensor) { 0 };
    vlm_tensor seen = x;
    unsigned used = 0;
    for (int i = 0; i < x.rank; i++) {
        if (axes[i] < 0 || axes[i] >= x.rank || (used >> axes[i] & 1))
            return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "permute: axes of %s are no permutation",
                                  vtensor_describe(x).s);
        used |= 1u << axes[i];
        seen.shape[i] = x.shape[axes[i]];
        seen.stride[i] = x.stride[axes[i]];
    }
    vtensor_note_read(f, x, false);
    vlm_tensor y = vtensor_new(f, x.dtype, x.rank, seen.shape);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, copy, y, seen);
    return y;
}

vlm_tensor vlm_copy(vlm_frame *f, vlm_tensor x) {
    if (!enter_with(f, "copy", x)) return (vlm_tensor) { 0 };
    vtensor_note_read(f, x, false);
    vlm_tensor y = vtensor_new(f, copied_type(x.dtype), x.rank, x.shape);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, copy, y, x);
    return y;
}

void vlm_copy_to(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    if (!enter_with(f, "copy_to", x) || !enter_with(f, "copy_to", y)) return;
    vtensor_note_read(f, y, false);
    bool types = x.dtype == y.dtype || (x.dtype == VLM_DTYPE_F32 && vtensor_is_float(y.dtype));
    if (!types || !vtensor_same_shape(x, y))
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "copy_to: %s into %s", vtensor_describe(y).s,
                       vtensor_describe(x).s);
    else if (vtensor_count(x) > 0)
        VTENSOR_RUN(f, copy, x, y);
}

/* Type of the parts below each other, or -1. Parts of one float type keep it. */
static int common_type(const vlm_tensor *parts, int n_parts) {
    bool same = true, floats = true;
    for (int i = 0; i < n_parts; i++) {
        same = same && parts[i].dtype == parts[0].dtype;
        floats = floats && vtensor_is_float(parts[i].dtype);
    }
    return same ? (int)parts[0].dtype : floats ? (int)VLM_DTYPE_F32 : -1;
}

vlm_tensor vlm_concat(vlm_frame *f, const vlm_tensor *parts, int n_parts) {
    if (!vtensor_enter(f)) return (vlm_tensor) { 0 };
    if (n_parts < 1) return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "concat: no parts");
    int64_t shape[VLM_MAX_RANK], rows = 0;
    for (int i = 0; i < n_parts; i++) {
        if (!enter_with(f, "concat", parts[i])) return (vlm_tensor) { 0 };
        vtensor_note_read(f, parts[i], false);
        vlm_tensor part = parts[i];
        part.shape[0] = parts[0].shape[0];
        if (!vtensor_same_shape(part, parts[0])
            || __builtin_add_overflow(rows, parts[i].shape[0], &rows))
            return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "concat: %s below %s",
                                  vtensor_describe(parts[i]).s, vtensor_describe(parts[0]).s);
    }
    int type = common_type(parts, n_parts);
    if (type < 0) return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "concat: parts of different types");
    memcpy(shape, parts[0].shape, sizeof shape);
    shape[0] = rows;
    vlm_tensor y = vtensor_new(f, (vlm_dtype)type, parts[0].rank, shape);
    int64_t at = 0;
    for (int i = 0; i < n_parts && y.rank; at += parts[i++].shape[0])
        if (vtensor_count(parts[i]) > 0)
            VTENSOR_RUN(f, copy, slice(f, "concat", y, 0, at, parts[i].shape[0]), parts[i]);
    return y;
}

static bool check_index(vlm_frame *f, const char *op, vlm_tensor x, vlm_tensor index) {
    if (x.rank == 2 && index.rank == 1 && index.dtype == VLM_DTYPE_I32) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: %s by %s", op, vtensor_describe(x).s,
                   vtensor_describe(index).s);
    return false;
}

vlm_tensor vlm_gather(vlm_frame *f, vlm_tensor x, vlm_tensor index) {
    if (!enter_with(f, "gather", x) || !check_index(f, "gather", x, index))
        return (vlm_tensor) { 0 };
    vtensor_note_read(f, x, false);
    int64_t shape[] = { index.shape[0], x.shape[1] };
    vlm_tensor y = vtensor_new(f, copied_type(x.dtype), 2, shape);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, gather, y, x, index);
    return y;
}

void vlm_scatter_to(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows) {
    if (!enter_with(f, "scatter", x) || !check_index(f, "scatter", x, index)) return;
    bool types =
        x.dtype == rows.dtype || (x.dtype == VLM_DTYPE_F32 && vtensor_is_float(rows.dtype));
    if (rows.rank != 2 || rows.shape[0] != index.shape[0] || rows.shape[1] != x.shape[1]
        || !types) {
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "scatter: %s into %s", vtensor_describe(rows).s,
                       vtensor_describe(x).s);
        return;
    }
    if (vtensor_count(rows) > 0) VTENSOR_RUN(f, scatter, x, index, rows);
}
