/* SPDX-License-Identifier: MIT */
/* The arithmetic operations: shapes and types are checked here, once; backends compute. What a
 * backend leaves out of its table's optional entries is composed here. */
#include "tensor/backend.h"

enum { MAX_HEAD_DIM = 1024, MAX_LINEARS = 16 };

static bool refuse(vlm_frame *f, const char *op, vlm_tensor a, vlm_tensor b) {
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: %s does not fit %s", op, vtensor_describe(a).s,
                   vtensor_describe(b).s);
    return false;
}

/* Enters an operation on float32 rows. */
static bool enter_rows(vlm_frame *f, const char *op, vlm_tensor x) {
    if (!vtensor_enter(f)) return false;
    vlm_tensor rows;
    if (x.rank > 0 && x.dtype == VLM_DTYPE_F32 && vtensor_as_rows(x, &rows)) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: needs rows of float32, not %s", op,
                   vtensor_describe(x).s);
    return false;
}

/* x's rows; x has been through enter_rows. */
static vlm_tensor rows_of(vlm_tensor x) {
    vlm_tensor rows = x;
    vtensor_as_rows(x, &rows);
    return rows;
}

/* ---- elementwise ---- */
/* y as rows that go with x's rows: as many, or one. */
static bool pair_rows(vlm_frame *f, const char *op, vlm_tensor x, vlm_tensor y, vlm_tensor *rows) {
    bool one = vtensor_count(y) == x.shape[x.rank - 1];
    if (y.rank == 0 || !vtensor_is_float(y.dtype) || (!one && !vtensor_same_shape(x, y))
        || y.shape[y.rank - 1] != x.shape[x.rank - 1] || !vtensor_as_rows(y, rows))
        return refuse(f, op, y, x);
    vtensor_note_read(f, y, false);
    return true;
}

void vlm_add_to(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    vlm_tensor rows;
    if (!enter_rows(f, "add", x) || !pair_rows(f, "add", x, y, &rows)) return;
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, add, rows_of(x), rows);
}

void vlm_mul_to(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    vlm_tensor rows;
    if (!enter_rows(f, "mul", x) || !pair_rows(f, "mul", x, y, &rows)) return;
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, mul, rows_of(x), rows);
}

void vlm_scale_to(vlm_frame *f, vlm_tensor x, float factor) {
    if (enter_rows(f, "scale", x) && vtensor_count(x) > 0)
        VTENSOR_RUN(f, scale, rows_of(x), factor);
}

void vlm_softcap_to(vlm_frame *f, vlm_tensor x, float cap) {
    if (!enter_rows(f, "softcap", x)) return;
    if (!(cap > 0)) {
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "softcap: a cap of %g", (double)cap);
        return;
    }
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, softcap, rows_of(x), cap);
}

static bool check_activation(vlm_frame *f, vlm_activation act) {
    if ((unsigned)act <= VLM_ACT_RELU) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "activation: no such function, %d", (int)act);
    return false;
}

void vlm_activation_to(vlm_frame *f, vlm_tensor x, vlm_activation act) {
    if (!enter_rows(f, "activation", x) || !check_activation(f, act)) return;
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, activation, rows_of(x), act);
}

void vlm_gate_to(vlm_frame *f, vlm_tensor gate, vlm_tensor up, vlm_activation act) {
    vlm_tensor rows;
    if (!enter_rows(f, "gate", gate) || !check_activation(f, act)) return;
    if (up.dtype != VLM_DTYPE_F32 || !vtensor_same_shape(gate, up) || !vtensor_as_rows(up, &rows)) {
        refuse(f, "gate", up, gate);
        return;
    }
    if (vtensor_count(gate) == 0) return;
    if (f->table->gate) {
        VTENSOR_RUN(f, gate, rows_of(gate), rows, act);
        return;
    }
    VTENSOR_RUN(f, activation, rows_of(gate), act);
    VTENSOR_RUN(f, mul, rows_of(gate), rows);
}

/* ---- weights ---- */
/* Whether the storage has these bits and this group size. */
static bool has_parameters(const vlm_matrix *m) {
    switch (m->storage) {
    case VLM_STORAGE_DENSE: return false;
    case VLM_STORAGE_AFFINE: {
        static const unsigned bits = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8;
        return m->bits >= 2 && m->bits <= 8 && (bits >> m->bits & 1)
               && (m->group == 32 || m->group == 64 || m->group == 128);
    }
    case VLM_STORAGE_MXFP4: return m->bits == 4 && m->group == 32;
    case VLM_STORAGE_MXFP8: return m->bits == 8 && m->group == 32;
    case VLM_STORAGE_NVFP4: return m->bits == 4 && m->group == 16;
    }
    return false;
}

static bool check_quantized(const vlm_matrix *m) {
    bool affine = m->storage == VLM_STORAGE_AFFINE;
    if (!has_parameters(m) || m->in % m->group != 0 || m->in > INT64_MAX / 8) return false;
    const vlm_tensor *parts[] = { &m->scales, &m->biases };
    for (int i = 0; i < (affine ? 2 : 1); i++)
        if (parts[i]->rank != 2 || parts[i]->shape[0] != m->out
            || parts[i]->shape[1] != m->in / m->group
            || (affine ? !vtensor_is_float(parts[i]->dtype) : parts[i]->dtype != VLM_DTYPE_U8))
            return false;
    if (m->factor.rank && (m->factor.dtype != VLM_DTYPE_F32 || vtensor_count(m->factor) != 1))
        return false;
    return m->data.rank == 2 && m->data.dtype == VLM_DTYPE_U32 && m->data.shape[0] == m->out
           && m->data.shape[1] == m->in * m->bits / 32;
}

static bool check_matrix(vlm_frame *f, const char *op, const vlm_matrix *m) {
    bool fits = m->out > 0 && m->in > 0;
    if (m->storage != VLM_STORAGE_DENSE)
        fits = fits && check_quantized(m);
    else
        fits = fits && m->data.rank == 2 && vtensor_is_float(m->data.dtype)
               && m->data.shape[0] == (m->across ? m->in : m->out)
               && m->data.shape[1] == (m->across ? m->out : m->in);
    if (!fits)
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: a matrix [%lld, %lld] stored as %s", op,
                       (long long)m->out, (long long)m->in, vtensor_describe(m->data).s);
    return fits;
}

vlm_matrix vlm_matrix_rows(vlm_frame *f, const vlm_matrix *m, int64_t start, int64_t count) {
    vlm_matrix rows = *m;
    rows.out = count;
    if (m->across) { /* whole experts: what is below each other is their inputs */
        start = start / count * m->in;
        count = m->in;
    }
    rows.data = vlm_rows(f, m->data, start, count);
    if (m->scales.rank) rows.scales = vlm_rows(f, m->scales, start, count);
    if (m->biases.rank) rows.biases = vlm_rows(f, m->biases, start, count);
    return rows;
}

static bool check_vector(vlm_frame *f, const char *op, vlm_tensor v, int64_t n) {
    if (v.rank == 0) return true;
    if (v.rank == 1 && v.shape[0] == n && vtensor_is_float(v.dtype)) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "%s: %s where %lld values are needed", op,
                   vtensor_describe(v).s, (long long)n);
    return false;
}

static void note_matrix(vlm_frame *f, const vlm_matrix *m, bool sparse) {
    vtensor_note_read(f, m->data, sparse);
    vtensor_note_read(f, m->scales, sparse);
    vtensor_note_read(f, m->biases, sparse);
}

static void count_linear(vlm_frame *f, vlm_tensor x, const vlm_linear *l) {
    if (f->work)
        f->work->linear += 2 * (uint64_t)vtensor_count(x) * (uint64_t)l->weight.out;
}

/* One linear over x [n, in], of which the work is noted. */
static bool enter_linear(vlm_frame *f, vlm_tensor x, const vlm_linear *l) {
    if (!check_matrix(f, "linear", &l->weight) || !check_vector(f, "linear: bias", l->bias, l->weight.out))
        return false;
    if (x.shape[x.rank - 1] != l->weight.in) return refuse(f, "linear", x, l->weight.data);
    note_matrix(f, &l->weight, false);
    vtensor_note_read(f, l->bias, false);
    count_linear(f, x, l);
    return true;
}

/* What linears make of x, and its rows; false when the frame failed. */
static bool make_outputs(vlm_frame *f, vlm_tensor *y, vlm_tensor *rows, vlm_tensor x,
                         const vlm_linear *const *linears, int n_linears) {
    for (int i = 0; i < n_linears; i++) {
        if (!enter_linear(f, x, linears[i])) return false;
        int64_t shape[VLM_MAX_RANK];
        memcpy(shape, x.shape, sizeof shape);
        shape[x.rank - 1] = linears[i]->weight.out;
        y[i] = vtensor_new(f, VLM_DTYPE_F32, x.rank, shape);
        if (y[i].rank == 0) return false;
        rows[i] = rows_of(y[i]);
    }
    return true;
}

static bool enter_linears(vlm_frame *f, vlm_tensor *y, vlm_tensor x, int n_linears) {
    for (int i = 0; i < n_linears; i++) y[i] = (vlm_tensor) { 0 };
    if (!enter_rows(f, "linear", x)) return false;
    if (n_linears >= 1 && n_linears <= MAX_LINEARS) return true;
    vlm_frame_fail(f, VLM_ERR_ARGUMENT, "linear: %d layers in one step", n_linears);
    return false;
}

void vlm_apply_linears(vlm_frame *f, vlm_tensor *y, vlm_tensor x, const vlm_linear *const *linears,
                       int n_linears) {
    vlm_tensor rows[MAX_LINEARS];
    if (!enter_linears(f, y, x, n_linears) || !make_outputs(f, y, rows, x, linears, n_linears)) return;
    if (vtensor_count(x) == 0) return;
    if (linears[0]->weight.across) {
        if (n_linears > 1 || linears[0]->bias.rank)
            refuse(f, "linear: alone and without bias", linears[0]->weight.data, x);
        else if (VTENSOR_HAS(f, linear_across))
            VTENSOR_RUN(f, linear_across, rows[0], rows_of(x), &linears[0]->weight);
        return;
    }
    if (f->table->linears) {
        VTENSOR_RUN(f, linears, rows, rows_of(x), linears, n_linears);
        return;
    }
    for (int i = 0; i < n_linears; i++) VTENSOR_RUN(f, linear, rows[i], rows_of(x), linears[i]);
}

vlm_tensor vlm_apply_linear(vlm_frame *f, vlm_tensor x, const vlm_linear *linear) {
    vlm_tensor y;
    vlm_apply_linears(f, &y, x, &linear, 1);
    return y;
}

vlm_tensor vlm_embed(vlm_frame *f, const vlm_matrix *table, vlm_tensor ids) {
    if (!vtensor_enter(f) || !check_matrix(f, "embed", table)) return (vlm_tensor) { 0 };
    if (ids.rank != 1 || ids.dtype != VLM_DTYPE_I32)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "embed: ids are %s", vtensor_describe(ids).s);
    note_matrix(f, table, true);
    int64_t shape[] = { ids.shape[0], table->in };
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_F32, 2, shape);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, embed, y, table, ids);
    return y;
}

static vlm_tensor normalise(vlm_frame *f, const char *op, vlm_tensor x, const vlm_norm *norm,
                            bool subtract_mean) {
    if (!enter_rows(f, op, x) || !check_vector(f, op, norm->weight, x.shape[x.rank - 1])
        || !check_vector(f, op, norm->bias, x.shape[x.rank - 1]))
        return (vlm_tensor) { 0 };
    vtensor_note_read(f, norm->weight, false);
    vtensor_note_read(f, norm->bias, false);
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_F32, x.rank, x.shape);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, norm, rows_of(y), rows_of(x), norm, subtract_mean);
    return y;
}

vlm_tensor vlm_rms_norm(vlm_frame *f, vlm_tensor x, const vlm_norm *norm) {
    return normalise(f, "rms_norm", x, norm, false);
}

vlm_tensor vlm_layer_norm(vlm_frame *f, vlm_tensor x, const vlm_norm *norm) {
    return normalise(f, "layer_norm", x, norm, true);
}

/* ---- blocks ---- */
static bool enter_norm(vlm_frame *f, const char *op, vlm_tensor x, const vlm_norm *norm) {
    if (!check_vector(f, op, norm->weight, x.shape[x.rank - 1])) return false;
    vtensor_note_read(f, norm->weight, false);
    return true;
}

void vlm_apply_norm_linears(vlm_frame *f, vlm_tensor *y, vlm_tensor x, const vlm_norm *norm,
                            const vlm_linear *const *linears, int n_linears) {
    vlm_tensor rows[MAX_LINEARS];
    if (!f->table->norm_linears) {
        vlm_apply_linears(f, y, vlm_rms_norm(f, x, norm), linears, n_linears);
        return;
    }
    if (!enter_linears(f, y, x, n_linears) || !enter_norm(f, "rms_norm", x, norm)
        || !make_outputs(f, y, rows, x, linears, n_linears))
        return;
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, norm_linears, rows, rows_of(x), norm, linears, n_linears);
}

/* Whether rows of sum take what a linear makes of the rows of x. */
static bool enter_sum(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *l) {
    if (!enter_rows(f, "add", sum) || !enter_rows(f, "linear", x)) return false;
    int64_t out = sum.shape[sum.rank - 1], in = x.shape[x.rank - 1];
    if (out == l->weight.out && out > 0 && in > 0 && vtensor_count(sum) / out == vtensor_count(x) / in) return true;
    return refuse(f, "add", sum, x);
}

/* A linear whose outputs go into a sum. */
vlm_tensor vtensor_linear_for_sum(vlm_frame *f, vlm_tensor x, const vlm_linear *linear) {
    if (!f->table->linear_for_sum || linear->weight.across) return vlm_apply_linear(f, x, linear);
    vlm_tensor y, rows;
    if (!enter_linears(f, &y, x, 1) || !make_outputs(f, &y, &rows, x, &linear, 1)) return y;
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, linear_for_sum, rows, rows_of(x), linear);
    return y;
}

void vlm_add_normed_linear(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *linear,
                           const vlm_norm *norm) {
    vlm_scope scope = vlm_scope_begin(f);
    vlm_add_to(f, sum, vlm_rms_norm(f, vtensor_linear_for_sum(f, x, linear), norm));
    vlm_scope_end(f, scope);
}

void vlm_add_linear(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *linear) {
    if (!f->table->linear_add) {
        vlm_scope scope = vlm_scope_begin(f);
        vlm_add_to(f, sum, vtensor_linear_for_sum(f, x, linear));
        vlm_scope_end(f, scope);
        return;
    }
    if (!enter_sum(f, sum, x, linear) || !enter_linear(f, x, linear)) return;
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, linear_add, rows_of(sum), rows_of(x), linear);
}

/* The middle of a gated MLP as a shape, for the checks of `down`. */
static vlm_tensor middle_of(vlm_tensor x, int64_t width) {
    x.shape[x.rank - 1] = width;
    return x;
}

void vlm_add_gated(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_norm *norm,
                   const vlm_linear *const *gate_up_down, vlm_activation act) {
    const vlm_linear *gate = gate_up_down[0], *up = gate_up_down[1], *down = gate_up_down[2];
    if (!f->table->gated_add) {
        vlm_tensor h[2];
        vlm_apply_norm_linears(f, h, x, norm, gate_up_down, 2);
        vlm_gate_to(f, h[0], h[1], act);
        vlm_add_linear(f, sum, h[0], down);
        return;
    }
    if (!check_activation(f, act) || !enter_sum(f, sum, x, down) || !enter_norm(f, "rms_norm", x, norm)
        || !enter_linear(f, x, gate) || !enter_linear(f, x, up)
        || !enter_linear(f, middle_of(x, gate->weight.out), down))
        return;
    if (gate->weight.out != up->weight.out)
        refuse(f, "gate", gate->weight.data, up->weight.data);
    else if (vtensor_count(x) > 0)
        VTENSOR_RUN(f, gated_add, rows_of(sum), rows_of(x), norm, gate_up_down, act);
}

vlm_tensor vtensor_argmax(vlm_frame *f, vlm_tensor x) {
    if (!f->table->argmax || !enter_rows(f, "argmax", x)) return (vlm_tensor) { 0 };
    vlm_tensor rows = rows_of(x);
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_I32, 1, rows.shape);
    if (y.rank && vtensor_count(x) > 0) VTENSOR_RUN(f, argmax, y, rows);
    return y;
}

/* ---- rotary positions ---- */
vlm_rope_table vlm_rope_angles(vlm_frame *f, vlm_tensor positions, const float *inv_freq,
                               const uint8_t *axis_of, int half) {
    vlm_rope_table none = { 0 }, y;
    if (!vtensor_enter(f)) return none;
    bool fits = positions.rank == 2 && positions.dtype == VLM_DTYPE_I32 && half >= 1
                && half <= MAX_HEAD_DIM && positions.shape[0] >= 1;
    for (int j = 0; fits && axis_of && j < half; j++) fits = axis_of[j] < positions.shape[0];
    if (!fits) {
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "rope_angles: positions %s, %d frequencies",
                       vtensor_describe(positions).s, half);
        return none;
    }
    int64_t shape[] = { positions.shape[1], half };
    y.cos = vtensor_new(f, VLM_DTYPE_F32, 2, shape);
    y.sin = vtensor_new(f, VLM_DTYPE_F32, 2, shape);
    if (y.cos.rank == 0 || y.sin.rank == 0) return none;
    if (vtensor_count(y.cos) > 0) VTENSOR_RUN(f, rope_angles, &y, positions, inv_freq, axis_of);
    return y;
}

static bool rope_fits(vlm_tensor x, const vlm_rope_table *table) {
    vlm_tensor cos = table->cos, sin = table->sin;
    return x.rank == 3 && x.dtype == VLM_DTYPE_F32 && cos.rank == 2 && cos.dtype == VLM_DTYPE_F32
           && sin.dtype == VLM_DTYPE_F32 && vtensor_same_shape(cos, sin) && cos.shape[0] == x.shape[0]
           && cos.shape[1] <= x.shape[2] / 2;
}

void vlm_rope_to(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table, vlm_rope_pairs pairs) {
    if (!vtensor_enter(f)) return;
    if (!rope_fits(x, table)) {
        refuse(f, "rope", x, table->cos);
        return;
    }
    if (vtensor_count(x) > 0) VTENSOR_RUN(f, rope, x, table, pairs);
}

/* ---- attention ---- */
/* Keys or values of a state, and the scales of quantized ones, for k of this call. */
static bool state_fits(const vlm_kv *kv, vlm_tensor x, vlm_tensor scales, vlm_tensor k) {
    if (x.rank != 3 || x.shape[1] != k.shape[1]) return false;
    if (kv->bits == 0)
        return vtensor_is_float(x.dtype) && x.dtype == kv->k.dtype && x.shape[2] == k.shape[2];
    if ((kv->bits != 8 && kv->bits != 4) || (kv->group != 32 && kv->group != 64)) return false;
    int64_t padded = (k.shape[2] + 15) / 16 * 16, groups = (k.shape[2] + kv->group - 1) / kv->group;
    return x.dtype == VLM_DTYPE_U8 && x.shape[2] == padded * kv->bits / 8 && scales.rank == 4
           && scales.dtype == VLM_DTYPE_BF16 && scales.shape[0] == x.shape[0]
           && scales.shape[1] == k.shape[1] && scales.shape[2] == groups && scales.shape[3] == 2
           && scales.stride[2] == 2;
}

static bool check_state(vlm_frame *f, const vlm_segment *s, vlm_tensor k) {
    if (!state_fits(s->kv, s->kv->k, s->kv->k_scales, k))
        return refuse(f, "attention: state", s->kv->k, k);
    if (!state_fits(s->kv, s->kv->v, s->kv->v_scales, k))
        return refuse(f, "attention: state", s->kv->v, k);
    int64_t capacity =
        s->kv->k.shape[0] < s->kv->v.shape[0] ? s->kv->k.shape[0] : s->kv->v.shape[0];
    if (s->past <= capacity && s->length <= capacity - s->past) return true;
    vlm_frame_fail(f, VLM_ERR_CONTEXT_FULL,
                   "%lld tokens after %lld do not fit a context of %lld tokens",
                   (long long)s->length, (long long)s->past, (long long)capacity);
    return false;
}

static bool check_segment(vlm_frame *f, const vlm_segment *s, int64_t start, vlm_tensor k) {
    bool fits = s->start == start && s->length >= 0 && s->length <= k.shape[0] - start
                && s->past >= 0 && (s->kv || s->past == 0) && s->n_spans >= 0 && s->visible >= 0
                && (s->kv ? s->visible == 0 : s->visible <= s->length);
    for (int i = 0; fits && i < s->n_spans; i++) { /* a span may lie before or behind this call */
        const vlm_span *span = &s->spans[i];
        if (span->begin < 0 || span->begin > span->end) {
            fits = false;
            break;
        }
        bool outside = span->end <= s->past || span->begin - s->past >= s->length;
        bool inside = span->begin >= s->past && span->end - s->past <= s->length;
        fits = outside || inside;
    }
    if (!fits) {
        vlm_frame_fail(f, VLM_ERR_ARGUMENT,
                       "attention: a segment of %lld rows at %lld, past %lld, of %lld rows",
                       (long long)s->length, (long long)s->start, (long long)s->past,
                       (long long)k.shape[0]);
        return false;
    }
    return !s->kv || check_state(f, s, k);
}

vtensor_range vtensor_visible(const vlm_segment *s, const vlm_attention_desc *desc, int64_t row) {
    int64_t at = s->past + row, begin = 0, end = s->past + s->length;
    if (desc->causal) end = at + 1;
    if (desc->window > 0 && at >= desc->window) begin = at - desc->window + 1;
    for (int n = 0; n < s->n_spans; n++) {
        const vlm_span *span = &s->spans[n];
        if (at < span->begin || at >= span->end) continue;
        if (span->begin < begin && !desc->window_in_spans) begin = span->begin;
        if (span->end > end) end = span->end;
    }
    if (s->visible > 0 && end > s->visible) end = s->visible;
    return (vtensor_range) { begin < end ? begin : end, end };
}

static void count_attention(vlm_frame *f, vlm_tensor q, const vlm_segment *s,
                            const vlm_attention_desc *desc) {
    uint64_t pairs = 0;
    int64_t first = s->past + s->length;
    for (int64_t row = 0; row < s->length; row++) {
        vtensor_range seen = vtensor_visible(s, desc, row);
        pairs += (uint64_t)(seen.end - seen.begin);
        if (seen.begin < first) first = seen.begin;
    }
    f->work->attention += 4 * pairs * (uint64_t)(q.shape[1] * q.shape[2]);
    if (!s->kv) return;
    const vlm_tensor *parts[] = { &s->kv->k, &s->kv->v, &s->kv->k_scales, &s->kv->v_scales };
    uint64_t keys = (uint64_t)(s->past + s->length - first);
    for (int i = 0; i < 4; i++)
        if (parts[i]->rank)
            f->work->state_bytes += keys * (uint64_t)(vtensor_count(*parts[i]) / parts[i]->shape[0])
                                    * vtensor_dtype_size(parts[i]->dtype);
}

/* Checks and counts; q and k are rotated where the backend does not. */
static bool enter_attention(vlm_frame *f, vlm_tensor q, vlm_tensor k, vlm_tensor v, const vlm_segment *segments,
                            int n_segments, const vlm_attention_desc *desc) {
    if (!vtensor_enter(f)) return false;
    bool fits = q.rank == 3 && k.rank == 3 && q.dtype == VLM_DTYPE_F32 && k.dtype == VLM_DTYPE_F32
                && v.dtype == VLM_DTYPE_F32 && vtensor_same_shape(k, v) && q.shape[0] == k.shape[0]
                && q.shape[2] == k.shape[2] && k.shape[1] > 0 && q.shape[1] % k.shape[1] == 0
                && q.shape[2] > 0 && q.shape[2] <= MAX_HEAD_DIM && desc->window >= 0;
    if (!fits) return refuse(f, "attention", q, k);
    int64_t start = 0;
    for (int i = 0; i < n_segments; i++) {
        if (!check_segment(f, &segments[i], start, k)) return false;
        if (f->work) count_attention(f, q, &segments[i], desc);
        start += segments[i].length;
    }
    if (start != q.shape[0]) {
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "attention: segments cover %lld of %lld rows", (long long)start,
                       (long long)q.shape[0]);
        return false;
    }
    if (desc->rope && !f->table->attention_rotates) {
        vlm_rope_to(f, q, desc->rope, desc->pairs);
        vlm_rope_to(f, k, desc->rope, desc->pairs);
    } else if (desc->rope && !(rope_fits(q, desc->rope) && rope_fits(k, desc->rope))) {
        refuse(f, "rope", q, desc->rope->cos);
    }
    return vlm_frame_ok(f);
}

vlm_tensor vlm_attention(vlm_frame *f, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                         const vlm_segment *segments, int n_segments,
                         const vlm_attention_desc *desc) {
    if (!enter_attention(f, q, k, v, segments, n_segments, desc)) return (vlm_tensor) { 0 };
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_F32, 3, q.shape);
    if (vtensor_count(y) > 0) VTENSOR_RUN(f, attention, y, q, k, v, segments, n_segments, desc);
    return y;
}

void vlm_add_attention(vlm_frame *f, vlm_tensor sum, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                       const vlm_segment *segments, int n_segments, const vlm_attention_desc *desc,
                       const vlm_linear *linear) {
    if (!f->table->attention_add) {
        vlm_scope scope = vlm_scope_begin(f);
        vlm_tensor y = vlm_attention(f, q, k, v, segments, n_segments, desc);
        if (y.rank) vlm_add_linear(f, sum, vlm_reshape2(f, y, y.shape[0], y.shape[1] * y.shape[2]), linear);
        vlm_scope_end(f, scope);
        return;
    }
    if (!enter_attention(f, q, k, v, segments, n_segments, desc)) return;
    const int64_t dim = q.shape[1] * q.shape[2];
    const vlm_tensor rows = { .dtype = VLM_DTYPE_F32, .rank = 2, .shape = { q.shape[0], dim }, .stride = { dim, 1 } };
    if (!enter_sum(f, sum, rows, linear) || !enter_linear(f, rows, linear)) return;
    if (vtensor_count(rows) > 0) VTENSOR_RUN(f, attention_add, rows_of(sum), q, k, v, segments, n_segments, desc, linear);
}
