/* SPDX-License-Identifier: MIT */
/* The second part of simd_kernels.h, which includes it: the kernels of attention, for vectors of
 * any width. Not a header to include elsewhere.
 *
 * Wanted besides what simd_kernels.h wants: vf_sums4 (stores the sums of the lanes of four
 * vectors), vf_u8 and vf_u4 (LANES codes as floats, the first code in the lowest bits),
 * vf_scale_bias (the two bfloat16 at p, each in all lanes). SCORE_KEYS: keys at once for four
 * queries, 2 or 4; MIX_VECTORS: vectors of values at once for them. */

/* 2^x: relative error below 2e-7. Below -126 that of -126 or, if `flush`, 0 (a hidden key must not
 * count); NaN stays. */
INLINE vf vf_exp2(vf x, bool flush) {
    vf low = vf_set1(-126), t = vf_max(low, x), n = vf_round(t), r = t - n;
    vf p = vf_set1(0.00132647273f);
    p = vf_fma(p, r, vf_set1(0.00967151279f));
    p = vf_fma(p, r, vf_set1(0.0555073374f));
    p = vf_fma(p, r, vf_set1(0.240222421f));
    p = vf_fma(p, r, vf_set1(0.693146978f));
    p = vf_fma(p, r, vf_set1(1)) * vf_exp2i(n);
    return flush ? vf_select(vf_gt(low, x), vf_zero(), p) : p;
}

/* ---- keys and values as floats ---- */
/* Values [i, i + LANES) of a row, and [i, i + n) with zeros (or, of codes, padding) behind them. */
INLINE vf kv_load(vcpu_kv_type type, const char *row, size_t i, vf scale, vf bias) {
    switch (type) {
    case VCPU_KV_F32: return vf_f32(row + 4 * i);
    case VCPU_KV_BF16: return vf_bf16(row + 2 * i);
    case VCPU_KV_F16: return vf_f16(row + 2 * i);
    case VCPU_KV_U8: return vf_fma(vf_u8(row + i), scale, bias);
    default: return vf_fma(vf_u4(row + i / 2), scale, bias);
    }
}

INLINE vf kv_load_n(vcpu_kv_type type, const char *row, size_t i, size_t n, vf scale, vf bias) {
    switch (type) {
    case VCPU_KV_F32: return load_n_f32(row + 4 * i, n);
    case VCPU_KV_BF16: return load_n_bf16(row + 2 * i, n);
    case VCPU_KV_F16: return load_n_f16(row + 2 * i, n);
    default: return kv_load(type, row, i, scale, bias);
    }
}

INLINE bool kv_coded(vcpu_kv_type type) {
    return type == VCPU_KV_U8 || type == VCPU_KV_U4;
}

/* The values that share a scale, or all. */
INLINE size_t kv_group(vcpu_kv_type type, const vcpu_kv_rows *x, size_t dim) {
    return kv_coded(type) && x->group < dim ? x->group : dim;
}

INLINE void kv_params(vcpu_kv_type type, const vcpu_kv_rows *x, size_t row, size_t group, vf *scale,
                      vf *bias) {
    if (kv_coded(type)) vf_scale_bias(x->scales + row * x->scales_row_bytes + 4 * group, scale, bias);
}

/* ---- scores of few queries ---- */
/* rows × keys sums at once, as many as the latency of a multiply-add asks for. */
enum { MOST_KEYS = 8 };
typedef struct score_keys {
    const char *row[MOST_KEYS], *scales[MOST_KEYS];
} score_keys;

INLINE void score_step(vcpu_kv_type type, vf (*s)[MOST_KEYS], const float *q, size_t q_row,
                       int rows, const score_keys *k, int keys, size_t i, const vf *scale,
                       const vf *bias) {
    vf kv[MOST_KEYS];
    EACH (j, keys) kv[j] = kv_load(type, k->row[j], i, scale[j], bias[j]);
    EACH (r, rows) {
        vf x = vf_load(q + r * q_row + i);
        EACH (j, keys) s[r][j] = vf_fma(x, kv[j], s[r][j]);
    }
}

INLINE void score_block(vcpu_kv_type type, float *y, size_t y_row, const float *q, size_t q_row,
                        int rows, const score_keys *k, int keys, size_t group, size_t dim) {
    vf s[4][MOST_KEYS], scale[MOST_KEYS], bias[MOST_KEYS];
    size_t i = 0;
    EACH (r, rows)
        EACH (j, keys) s[r][j] = vf_zero();
    EACH (j, keys) scale[j] = bias[j] = vf_zero();
    while (i + LANES <= dim) {
        size_t end = dim;
        if (kv_coded(type)) {
            EACH (j, keys) vf_scale_bias(k->scales[j] + i / group * 4, &scale[j], &bias[j]);
            end = i + group < dim ? i + group : dim;
        }
        for (; i + LANES <= end; i += LANES)
            score_step(type, s, q, q_row, rows, k, keys, i, scale, bias);
    }
    if (i < dim)
        EACH (j, keys) {
            if (kv_coded(type) && i % group == 0)
                vf_scale_bias(k->scales[j] + i / group * 4, &scale[j], &bias[j]);
            vf kv = kv_load_n(type, k->row[j], i, dim - i, scale[j], bias[j]);
            EACH (r, rows) s[r][j] = vf_fma(vf_load_n(q + r * q_row + i, dim - i), kv, s[r][j]);
        }
    if (rows == 4)
        EACH (j, keys) {
            float sums[4];
            vf_sums4(sums, s[0][j], s[1][j], s[2][j], s[3][j]);
            EACH (r, 4) y[r * y_row + j] = sums[r];
        }
    else
        EACH (r, rows)
            UNROLL for (int j = 0; j < keys; j += 4)
                vf_sums4(y + r * y_row + j, s[r][j], s[r][j + 1], s[r][j + 2], s[r][j + 3]);
}

/* Behind the last key the last one is taken again. */
INLINE void score_rows(vcpu_kv_type type, float *s, size_t s_row, const float *q, size_t q_row,
                       int rows, const vcpu_kv_rows *k, size_t first, size_t n, int step,
                       size_t dim) {
    const char *row = k->data + first * k->row_bytes;
    const char *scales = kv_coded(type) ? k->scales + first * k->scales_row_bytes : NULL;
    score_keys at;
    size_t key = 0;
    for (; key + (size_t)step <= n; key += (size_t)step) {
        EACH (j, step) {
            at.row[j] = row;
            at.scales[j] = scales;
            row += k->row_bytes;
            if (kv_coded(type)) scales += k->scales_row_bytes;
        }
        score_block(type, s + key, s_row, q, q_row, rows, &at, step, k->group, dim);
    }
    if (key == n) return;
    float y[4][MOST_KEYS];
    EACH (j, step) {
        size_t last = key + j < n ? j : n - 1 - key;
        at.row[j] = row + last * k->row_bytes;
        if (kv_coded(type)) at.scales[j] = scales + last * k->scales_row_bytes;
    }
    score_block(type, y[0], MOST_KEYS, q, q_row, rows, &at, step, k->group, dim);
    for (size_t j = 0; j < n - key; j++)
        for (int r = 0; r < rows; r++) s[(size_t)r * s_row + key + j] = y[r][j];
}

/* Keys that stay in the first-level cache while all rows pass. */
enum { SCORE_STRIP = 24 };

INLINE void scores(vcpu_kv_type type, float *s, size_t s_row, const float *q, size_t q_row,
                   size_t rows, const vcpu_kv_rows *k, size_t keys, size_t dim) {
    for (size_t key = 0, n; key < keys; key += n) {
        n = keys - key < SCORE_STRIP ? keys - key : SCORE_STRIP;
        size_t r = 0;
        for (; r + 4 <= rows; r += 4)
            score_rows(type, s + r * s_row + key, s_row, q + r * q_row, q_row, 4, k, key, n,
                       SCORE_KEYS, dim);
        float *at = s + r * s_row + key;
        const float *x = q + r * q_row;
        switch (rows - r) {
        case 1: score_rows(type, at, s_row, x, q_row, 1, k, key, n, 8, dim); break;
        case 2: score_rows(type, at, s_row, x, q_row, 2, k, key, n, 4, dim); break;
        case 3: score_rows(type, at, s_row, x, q_row, 3, k, key, n, 4, dim); break;
        }
    }
}

/* ---- weighted sums of values ---- */
/* `vectors` vectors of the result of `rows` rows, from value `at` on, stay in registers while the
 * keys pass; of the last vector n lanes count. */
INLINE void mix_strip(vcpu_kv_type type, float *y, size_t y_row, const float *p, size_t p_row,
                      int rows, const vcpu_kv_rows *v, size_t first, size_t keys, size_t at,
                      int vectors, size_t n) {
    vf s[4][4], scale = vf_zero(), bias = vf_zero();
    size_t group = kv_coded(type) ? at / v->group : 0;
    EACH (r, rows)
        EACH (j, vectors)
            s[r][j] = n < LANES ? vf_load_n(y + r * y_row + at, n)
                                : vf_load(y + r * y_row + at + j * LANES);
    for (size_t key = 0; key < keys; key++) {
        const char *row = v->data + (first + key) * v->row_bytes;
        kv_params(type, v, first + key, group, &scale, &bias);
        EACH (j, vectors) {
            vf value = n < LANES ? kv_load_n(type, row, at, n, scale, bias)
                                 : kv_load(type, row, at + j * LANES, scale, bias);
            EACH (r, rows) s[r][j] = vf_fma(value, vf_set1(p[r * p_row + key]), s[r][j]);
        }
    }
    EACH (r, rows)
        EACH (j, vectors) {
            float *to = y + r * y_row + at + j * LANES;
            if (n < LANES)
                vf_store_n(to, s[r][j], n);
            else
                vf_store(to, s[r][j]);
        }
}

INLINE void mix_rows(vcpu_kv_type type, float *y, size_t y_row, const float *p, size_t p_row,
                     int rows, const vcpu_kv_rows *v, size_t first, size_t keys, int vectors,
                     size_t dim) {
    size_t at = 0, group = kv_group(type, v, dim), step = (size_t)vectors * LANES;
    while (at < dim) {
        size_t end = at + group < dim ? at + group : dim; /* a strip has one scale */
        for (; at + step <= end && at + step + LANES != end; at += step)
            mix_strip(type, y, y_row, p, p_row, rows, v, first, keys, at, vectors, LANES);
        for (; at + 2 * LANES <= end; at += 2 * LANES)
            mix_strip(type, y, y_row, p, p_row, rows, v, first, keys, at, 2, LANES);
        for (; at + LANES <= end; at += LANES)
            mix_strip(type, y, y_row, p, p_row, rows, v, first, keys, at, 1, LANES);
        if (at < end)
            mix_strip(type, y, y_row, p, p_row, rows, v, first, keys, at, 1, end - at);
        at = end;
    }
}

enum { MIX_STRIP = 32 };

INLINE void mix(vcpu_kv_type type, float *y, size_t y_row, const float *p, size_t p_row,
                size_t rows, const vcpu_kv_rows *v, size_t keys, size_t dim) {
    for (size_t key = 0, n; key < keys; key += n) {
        n = keys - key < MIX_STRIP ? keys - key : MIX_STRIP;
        size_t r = 0;
        for (; r + 4 <= rows; r += 4)
            mix_rows(type, y + r * y_row, y_row, p + r * p_row + key, p_row, 4, v, key, n,
                     MIX_VECTORS, dim);
        float *to = y + r * y_row;
        const float *at = p + r * p_row + key;
        switch (rows - r) {
        case 1: mix_rows(type, to, y_row, at, p_row, 1, v, key, n, 4, dim); break;
        case 2: mix_rows(type, to, y_row, at, p_row, 2, v, key, n, 4, dim); break;
        case 3: mix_rows(type, to, y_row, at, p_row, 3, v, key, n, MIX_VECTORS, dim); break;
        }
    }
}

/* ---- one row as floats ---- */
INLINE void kv_widen(vcpu_kv_type type, float *y, const vcpu_kv_rows *x, size_t row, size_t dim) {
    const char *from = x->data + row * x->row_bytes;
    size_t group = kv_group(type, x, dim);
    vf scale = vf_zero(), bias = vf_zero();
    for (size_t i = 0, g = 0; i < dim; g++) {
        size_t end = i + group < dim ? i + group : dim;
        kv_params(type, x, row, g, &scale, &bias);
        for (; i + LANES <= end; i += LANES) vf_store(y + i, kv_load(type, from, i, scale, bias));
        if (i < end) vf_store_n(y + i, kv_load_n(type, from, i, end - i, scale, bias), end - i);
        i = end;
    }
}

VCPU_DEFINE_KVS

/* ---- softmax, in powers of two ---- */
#define LOG2E 1.44269504f

/* The score times log2 e; `by` has that in it, unless there is a cap. */
INLINE vf scored(vf s, vf by, vf cap, bool capped) {
    s = s * by;
    if (capped) s = vf_set1(LOG2E) * cap * vf_tanh(s / cap);
    return s;
}

/* One vector of queries down all keys. */
INLINE void softmax_column(const vcpu_softmax *b, size_t q, bool masked, bool capped) {
    vf by = vf_set1(capped ? b->scale : b->scale * LOG2E), cap = vf_set1(b->softcap);
    vf hidden = vf_set1(-INF), before = vf_load(b->m + q), max = before, added = vf_zero();
    float *s = b->s + q;
    for (size_t j = 0; j < b->keys; j++) {
        vf v = scored(vf_load(s + j * b->s_row), by, cap, capped);
        if (masked) v = vf_select(vf_in((int32_t)j, b->lo + q, b->hi + q), v, hidden);
        if (masked || capped) vf_store(s + j * b->s_row, v);
        max = vf_max(max, v);
    }
    vf base = vf_select(vf_gt(max, hidden), max, vf_zero()); /* nothing seen so far */
    for (size_t j = 0; j < b->keys; j++) {
        vf v = vf_load(s + j * b->s_row);
        if (!masked && !capped) v = v * by;
        v = vf_exp2(v - base, masked);
        vf_store(s + j * b->s_row, v);
        added = added + v;
    }
    vf correction = vf_exp2(before - base, true);
    vf_store(b->correction + q, correction);
    vf_store(b->l + q, vf_fma(vf_load(b->l + q), correction, added));
    vf_store(b->m + q, max);
}

static void softmax_block(const vcpu_softmax *b) {
    for (size_t q = 0; q < b->queries; q += LANES) {
        if (b->softcap > 0)
            softmax_column(b, q, b->masked, true);
        else if (b->masked)
            softmax_column(b, q, true, false);
        else
            softmax_column(b, q, false, false);
    }
}

static void softmax_row(float *s, size_t n, size_t lo, size_t hi, float factor, float softcap_at,
                        float *max, float *total) {
    bool capped = softcap_at > 0;
    vf by = vf_set1(capped ? factor : factor * LOG2E), cap = vf_set1(softcap_at);
    vf m = vf_set1(-INF), added = vf_zero();
    float greatest = -INF;
    if (lo > hi) lo = hi;
    for (size_t j = 0; j < lo; j++) s[j] = 0;
    for (size_t j = hi; j < n; j++) s[j] = 0;
    for (size_t j = lo; j < hi; j += LANES) {
        size_t left = hi - j;
        vf v = left < LANES ? vf_load_n(s + j, left) : vf_load(s + j);
        v = scored(v, by, cap, capped);
        if (left < LANES) {
            vf_store_n(s + j, v, left);
            for (size_t i = 0; i < left; i++) greatest = s[j + i] > greatest ? s[j + i] : greatest;
        } else {
            vf_store(s + j, v);
            m = vf_max(m, v);
        }
    }
    float vectors = vf_greatest(m);
    greatest = vectors > greatest ? vectors : greatest;
    vf base = vf_set1(lo < hi ? greatest : 0);
    for (size_t j = lo; j < hi; j += LANES) {
        size_t left = hi - j;
        if (left < LANES) {
            float tail[LANES] = { 0 };
            vf_store_n(s + j, vf_exp2(vf_load_n(s + j, left) - base, false), left);
            __builtin_memcpy(tail, s + j, left * sizeof *tail);
            added = added + vf_load(tail);
        } else {
            vf v = vf_exp2(vf_load(s + j) - base, false);
            vf_store(s + j, v);
            added = added + v;
        }
    }
    *max = greatest;
    *total = vf_sum(added);
}

static void fill_attention(vcpu_attention_kernels *k) {
    *k = (vcpu_attention_kernels) {
        VCPU_KV_ENTRIES,
        .softmax_block = softmax_block,
        .softmax_row = softmax_row,
    };
}
