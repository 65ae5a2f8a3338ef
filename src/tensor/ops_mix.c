/* SPDX-License-Identifier: MIT */
/* Operations that make a row of several others: weighted sums of rows, short convolutions along a
 * sequence, depthwise convolutions of a map. Checks shapes and dispatches. */
#include <math.h>

#include "tensor/backend.h"

bool vtensor_has(vlm_frame *f, const char *op, bool there) {
    if (there || f->table->shapes_only) return true;
    vlm_frame_fail(f, VLM_ERR_UNSUPPORTED, "the backend '%s' has no operation '%s'", f->table->name, op);
    return false;
}

/* x itself, or a copy of it, in aligned float32. */
static vlm_tensor as_float32(vlm_frame *f, vlm_tensor x) {
    vtensor_note_read(f, x, false);
    bool usable = x.dtype == VLM_DTYPE_F32 && (uintptr_t)x.data % sizeof(float) == 0;
    return usable ? x : vlm_copy(f, x);
}

vlm_tensor vlm_blend(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor weights) {
    const vlm_tensor none = { 0 };
    if (!vtensor_enter(f)) return none;
    bool fits = x.rank == 2 && vtensor_is_float(x.dtype) && index.rank == 2
                && index.dtype == VLM_DTYPE_I32 && weights.dtype == VLM_DTYPE_F32
                && vtensor_same_shape(index, weights) && vtensor_contiguous(index)
                && vtensor_contiguous(weights);
    if (!fits)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "blend: %s by %s and %s", vtensor_describe(x).s,
                              vtensor_describe(index).s, vtensor_describe(weights).s);
    if (!VTENSOR_HAS(f, blend)) return none;
    const int64_t shape[] = { index.shape[0], x.shape[1] };
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_F32, 2, shape);
    vlm_scope scope = vlm_scope_begin(f);
    x = as_float32(f, x);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, blend, y, x, index, weights);
    vlm_scope_end(f, scope);
    return y;
}

/* Whether the segments lie one behind the other over all rows, with a state of that width or none. */
static bool check_segments(vlm_frame *f, vlm_tensor x, const vlm_segment *segments, int n, int64_t taps) {
    int64_t start = 0;
    for (int i = 0; i < n; start += segments[i++].length) {
        const vlm_segment *s = &segments[i];
        const vlm_tensor *k = s->kv ? &s->kv->k : NULL;
        bool fits = s->start == start && s->length >= 0 && s->past >= 0 && (k || s->past == 0);
        if (k) fits = fits && k->dtype == VLM_DTYPE_F32 && k->rank == 3 && k->shape[1] == 1;
        if (k) fits = fits && k->shape[2] == x.shape[1] && k->shape[0] >= taps;
        if (fits) continue;
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "short_conv: segment %d: rows %lld to %lld, state %s", i,
                       (long long)s->start, (long long)(s->start + s->length),
                       k ? vtensor_describe(*k).s : "none");
        return false;
    }
    if (start == x.shape[0]) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "short_conv: segments cover %lld of %lld rows", (long long)start,
                   (long long)x.shape[0]);
    return false;
}

vlm_tensor vlm_short_conv(vlm_frame *f, vlm_tensor x, vlm_tensor weight, vlm_tensor bias,
                          const vlm_segment *segments, int n_segments) {
    const vlm_tensor none = { 0 };
    if (!vtensor_enter(f)) return none;
    bool fits = x.rank == 2 && x.dtype == VLM_DTYPE_F32 && weight.rank == 2
                && vtensor_is_float(weight.dtype) && weight.shape[0] == x.shape[1] && weight.shape[1] > 0
                && (bias.rank == 0
                    || (bias.rank == 1 && bias.shape[0] == x.shape[1] && vtensor_is_float(bias.dtype)));
    if (!fits)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "short_conv: %s by %s", vtensor_describe(x).s,
                              vtensor_describe(weight).s);
    if (!check_segments(f, x, segments, n_segments, weight.shape[1]) || !VTENSOR_HAS(f, short_conv))
        return none;
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_F32, 2, x.shape);
    vlm_scope scope = vlm_scope_begin(f);
    weight = vtensor_contiguous(weight) ? as_float32(f, weight) : vlm_copy(f, weight);
    if (bias.rank) bias = as_float32(f, bias);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, short_conv, y, x, weight, bias, segments, n_segments);
    vlm_scope_end(f, scope);
    return y;
}

/* Side of the kernel; 0: the shapes do not fit. */
static int64_t kernel_side(vlm_tensor x, int64_t width, const vlm_depthwise *c, int64_t stride) {
    const vlm_tensor w = c->weight, b = c->bias;
    bool fits = x.rank == 2 && x.dtype == VLM_DTYPE_F32 && w.rank == 3 && w.dtype == VLM_DTYPE_F32
                && vtensor_contiguous(w) && w.shape[2] == x.shape[1] && w.shape[1] > 0 && b.rank == 1
                && b.dtype == VLM_DTYPE_F32 && b.shape[0] == w.shape[1] * w.shape[2];
    if (!fits || width < 1 || stride < 1 || x.shape[0] % width != 0) return 0;
    const int64_t side = (int64_t)sqrt((double)w.shape[0]);
    return side * side == w.shape[0] && side % 2 == 1 && side <= VTENSOR_MAX_KERNEL ? side : 0;
}

vlm_tensor vlm_depthwise_conv(vlm_frame *f, vlm_tensor x, int64_t width, const vlm_depthwise *conv,
                              int64_t stride) {
    const vlm_tensor none = { 0 };
    if (!vtensor_enter(f)) return none;
    if (kernel_side(x, width, conv, stride) == 0)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "depthwise_conv: %s of width %lld by %s", vtensor_describe(x).s,
                              (long long)width, vtensor_describe(conv->weight).s);
    if (!VTENSOR_HAS(f, depthwise_conv)) return none;
    const int64_t rows = (x.shape[0] / width + stride - 1) / stride, columns = (width + stride - 1) / stride;
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { rows * columns, conv->bias.shape[0] });
    vtensor_note_read(f, x, false);
    vtensor_note_read(f, conv->weight, false);
    vtensor_note_read(f, conv->bias, false);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, depthwise_conv, y, x, width, conv, stride);
    return y;
}
