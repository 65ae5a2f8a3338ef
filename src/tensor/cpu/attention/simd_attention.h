/* SPDX-License-Identifier: MIT */
/* The second part of simd_kernels.h, which includes it: the kernels of attention, for vectors of
 * any width. Not a header to include elsewhere.
 *
 * Wanted besides what simd_kernels.h wants: vf_sums4 (stores the sums of the lanes of four
 * vectors), vf_turn4 (y[i][j] = x[j][i], i and j below 4), vf_exponent (the lowest nine bits of
 * every lane as its sign and exponent), vf_bf16_even and vf_bf16_odd (every
 * second of 2 LANES values), vf_split (two vectors into their even and odd lanes), vf_zip (its
 * reverse), vf_u8 and vf_u4 (LANES codes as floats, the first code in the lowest bits),
 * vf_scale_bias (the two bfloat16 at p, each in all lanes). SCORE_KEYS_8, SCORE_KEYS_4: keys at once
 * for eight and for four queries; MIX_VECTORS_8, MIX_VECTORS: vectors of values at once for them. */

/* 2^x: relative error below 2e-7. Below -126 that of -126 or, if `flush`, 0 (a hidden key must not
 * count); NaN stays. */
INLINE vf vf_exp2(vf x, bool flush) {
    vf low = vf_set1(-126), t = vf_max(low, x);
    /* Adding 1.5 * 2^23 rounds; 127 more, and the lowest bits are the exponent of 2^n. */
    vf rounds = vf_set1(12582912 + 127), moved = t + rounds, r = t - (moved - rounds);
    vf p = vf_set1(0.00132647273f);
    p = vf_fma(p, r, vf_set1(0.00967151279f));
    p = vf_fma(p, r, vf_set1(0.0555073374f));
    p = vf_fma(p, r, vf_set1(0.240222421f));
    p = vf_fma(p, r, vf_set1(0.693146978f));
    p = vf_fma(p, r, vf_set1(1)) * vf_exponent(moved);
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

/* Values [i, i + 2 LANES) of a row as two vectors: the first and the last of them, or, of bfloat16,
 * the even and the odd, which takes no shuffling. */
INLINE vf kv_half(vcpu_kv_type type, const char *row, size_t i, size_t half, vf scale, vf bias) {
    if (type == VCPU_KV_BF16) return half ? vf_bf16_odd(row + 2 * i) : vf_bf16_even(row + 2 * i);
    return kv_load(type, row, i + half * LANES, scale, bias);
}

INLINE size_t kv_bytes(vcpu_kv_type type, size_t n) {
    return type == VCPU_KV_F32 ? 4 * n : type == VCPU_KV_U8 ? n : type == VCPU_KV_U4 ? n / 2 : 2 * n;
}

/* ---- scores of few queries ---- */
/* rows × keys sums at once, as many as the latency of a multiply-add asks for. Keys that stay in
 * the first-level cache while all rows pass: a strip, the next of which is asked for meanwhile. */
enum { MOST_ROWS = 8, MOST_KEYS = 8, SCORE_STRIP = 24, ORDER_DIM = 512 };
typedef struct score_keys {
    const char *row[MOST_KEYS], *scales[MOST_KEYS];
    size_t group, ahead; /* bytes from a key to one that will be wanted soon */
    vf scale[MOST_KEYS], bias[MOST_KEYS];
} score_keys;

INLINE void score_params(vcpu_kv_type type, score_keys *k, int keys, size_t i) {
    if (kv_coded(type) && i % k->group == 0)
        EACH (j, keys) vf_scale_bias(k->scales[j] + i / k->group * 4, &k->scale[j], &k->bias[j]);
}

INLINE void score_sums(vf (*s)[MOST_KEYS], const float *q, size_t q_row, int rows, const vf *kv,
                       int keys) {
    EACH (r, rows) {
        vf x = vf_load(q + r * q_row);
        EACH (j, keys) s[r][j] = vf_fma(x, kv[j], s[r][j]);
    }
}

INLINE void score_step(vcpu_kv_type type, vf (*s)[MOST_KEYS], const float *q, size_t q_row,
                       int rows, score_keys *k, int keys, size_t i) {
    vf kv[MOST_KEYS];
    score_params(type, k, keys, i);
    EACH (half, 2) {
        EACH (j, keys) kv[j] = kv_half(type, k->row[j], i, half, k->scale[j], k->bias[j]);
        score_sums(s, q + i + half * LANES, q_row, rows, kv, keys);
    }
}

/* y [keys][MOST_ROWS] */
INLINE void score_block(vcpu_kv_type type, float *y, const float *q, size_t q_row, int rows,
                        score_keys *k, int keys, size_t dim) {
    vf s[MOST_ROWS][MOST_KEYS], kv[MOST_KEYS];
    size_t i = 0;
    EACH (r, MOST_ROWS)
        EACH (j, keys) s[r][j] = vf_zero();
    EACH (j, keys) k->scale[j] = k->bias[j] = vf_zero();
    for (; i + 4 * LANES <= dim; i += 4 * LANES) {
        EACH (j, keys)
            UNROLL for (size_t line = 0; line < kv_bytes(type, 4 * LANES); line += 64)
                __builtin_prefetch(k->row[j] + k->ahead + kv_bytes(type, i) + line);
        score_step(type, s, q, q_row, rows, k, keys, i);
        score_step(type, s, q, q_row, rows, k, keys, i + 2 * LANES);
    }
    for (; i + 2 * LANES <= dim; i += 2 * LANES) score_step(type, s, q, q_row, rows, k, keys, i);
    if (i < dim) score_params(type, k, keys, i);
    if (i + LANES <= dim) {
        EACH (j, keys) kv[j] = kv_load(type, k->row[j], i, k->scale[j], k->bias[j]);
        score_sums(s, q + i, q_row, rows, kv, keys);
        i += LANES;
    }
    if (i < dim) {
        EACH (j, keys) kv[j] = kv_load_n(type, k->row[j], i, dim - i, k->scale[j], k->bias[j]);
        EACH (r, rows) {
            vf x = vf_load_n(q + r * q_row + i, dim - i);
            EACH (j, keys) s[r][j] = vf_fma(x, kv[j], s[r][j]);
        }
    }
    EACH (j, keys) {
        vf_sums4(y + j * MOST_ROWS, s[0][j], s[1][j], s[2][j], s[3][j]);
        if (rows > 4) vf_sums4(y + j * MOST_ROWS + 4, s[4][j], s[5][j], s[6][j], s[7][j]);
    }
}

/* Behind the last key the last one is taken again. */
INLINE void score_rows(vcpu_kv_type type, float *s, size_t s_row, const float *q, size_t q_row,
                       int rows, const vcpu_kv_rows *k, size_t n, int step, size_t dim, bool add,
                       bool ahead) {
    float y[SCORE_STRIP + MOST_KEYS][MOST_ROWS];
    score_keys at = { .group = k->group, .ahead = ahead ? SCORE_STRIP * k->row_bytes : 0 };
    for (size_t key = 0; key < n; key += (size_t)step) {
        EACH (j, step) {
            size_t one = key + j < n ? key + j : n - 1;
            at.row[j] = k->data + one * k->row_bytes;
            if (kv_coded(type)) at.scales[j] = k->scales + one * k->scales_row_bytes;
        }
        score_block(type, y[key], q, q_row, rows, &at, step, dim);
    }
    size_t key = 0;
    if (rows >= 4 && !add)
        for (; key + 4 <= n; key += 4)
            EACH (r, rows / 4)
                vf_turn4(s + 4 * r * s_row + key, s_row, y[key] + 4 * r, MOST_ROWS);
    for (; key < n; key++)
        EACH (r, rows) s[r * s_row + key] = y[key][r] + (add ? s[r * s_row + key] : 0);
}

/* At most MOST_ROWS rows. */
INLINE void score_strips(vcpu_kv_type type, float *s, size_t s_row, const float *q, size_t q_row,
                         size_t rows, const vcpu_kv_rows *k, size_t keys, size_t dim, bool add,
                         bool ahead) {
    vcpu_kv_rows x = *k;
    for (size_t n; keys > 0; keys -= n, s += n) {
        size_t r = 0;
        n = keys < SCORE_STRIP ? keys : SCORE_STRIP;
        if (rows == 8) {
            score_rows(type, s, s_row, q, q_row, 8, &x, n, SCORE_KEYS_8, dim, add, ahead);
            r = 8;
        } else if (rows >= 4) {
            score_rows(type, s, s_row, q, q_row, 4, &x, n, SCORE_KEYS_4, dim, add, ahead);
            r = 4;
        }
        float *to = s + r * s_row;
        const float *from = q + r * q_row;
        bool first = ahead && r == 0;
        switch (rows - r) {
        case 1: score_rows(type, to, s_row, from, q_row, 1, &x, n, 8, dim, add, first); break;
        case 2: score_rows(type, to, s_row, from, q_row, 2, &x, n, 4, dim, add, first); break;
        case 3: score_rows(type, to, s_row, from, q_row, 3, &x, n, 3, dim, add, first); break;
        }
        x.data += n * x.row_bytes;
        if (kv_coded(type)) x.scales += n * x.scales_row_bytes;
    }
}

/* A row of queries in the order of kv_half. */
INLINE void arrange(float *to, const float *q, size_t dim) {
    size_t i = 0;
    for (; i + 2 * LANES <= dim; i += 2 * LANES) {
        vf even, odd;
        vf_split(vf_load(q + i), vf_load(q + i + LANES), &even, &odd);
        vf_store(to + i, even);
        vf_store(to + i + LANES, odd);
    }
    __builtin_memcpy(to + i, q + i, (dim - i) * sizeof *q);
}

INLINE void scores(vcpu_kv_type type, float *s, size_t s_row, const float *q, size_t q_row,
                   size_t rows, const vcpu_kv_rows *k, size_t keys, size_t dim) {
    float order[MOST_ROWS * (ORDER_DIM + 16)];
    for (size_t r = 0, n; r < rows; r += n) {
        n = rows - r < MOST_ROWS ? rows - r : MOST_ROWS;
        if (type != VCPU_KV_BF16) {
            score_strips(type, s + r * s_row, s_row, q + r * q_row, q_row, n, k, keys, dim, false,
                         r == 0);
            continue;
        }
        vcpu_kv_rows x = *k;
        for (size_t at = 0, part; at < dim; at += part, x.data += 2 * part) {
            part = dim - at < ORDER_DIM ? dim - at : ORDER_DIM;
            for (size_t i = 0; i < n; i++)
                arrange(order + i * (part + 16), q + (r + i) * q_row + at, part);
            score_strips(type, s + r * s_row, s_row, order, part + 16, n, &x, keys, part, at > 0,
                         r == 0);
        }
    }
}

/* ---- weighted sums of values ---- */
/* Two vectors of a row of the result, as kv_half has those of the values, or as they are. */
INLINE void mix_load(vcpu_kv_type type, vf *s, const float *y, int vectors, size_t n) {
    if (n < LANES) {
        s[0] = vf_load_n(y, n);
        return;
    }
    EACH (j, vectors) s[j] = vf_load(y + j * LANES);
    if (type == VCPU_KV_BF16 && vectors > 1)
        UNROLL for (int j = 0; j < vectors; j += 2) vf_split(s[j], s[j + 1], &s[j], &s[j + 1]);
}

INLINE void mix_store(vcpu_kv_type type, float *y, vf *s, int vectors, size_t n) {
    if (n < LANES) {
        vf_store_n(y, s[0], n);
        return;
    }
    if (type == VCPU_KV_BF16 && vectors > 1)
        UNROLL for (int j = 0; j < vectors; j += 2) vf_zip(s[j], s[j + 1], &s[j], &s[j + 1]);
    EACH (j, vectors) vf_store(y + j * LANES, s[j]);
}

/* Vector j of the values from `at` on. */
INLINE vf mix_value(vcpu_kv_type type, const char *row, size_t at, size_t j, int vectors, size_t n,
                    vf scale, vf bias) {
    if (n < LANES) return kv_load_n(type, row, at, n, scale, bias);
    if (type == VCPU_KV_BF16 && vectors > 1)
        return kv_half(type, row, at + j / 2 * 2 * LANES, j % 2, scale, bias);
    return kv_load(type, row, at + j * LANES, scale, bias);
}

/* Values of one strip of keys, and what is asked for meanwhile: `step` bytes with every key, so that
 * the next strip arrives evenly. */
typedef struct mix_values {
    vcpu_kv_rows rows;
    size_t keys, step;
    const char *next;
} mix_values;

/* `vectors` vectors (of bfloat16 one or an even number) of the result of `rows` rows, from value
 * `at` on, stay in registers while the keys pass; of the last vector n lanes count. */
INLINE void mix_strip(vcpu_kv_type type, float *y, size_t y_row, const float *p, size_t p_row,
                      int rows, mix_values *v, size_t at, int vectors, size_t n) {
    vf s[8][4], value[4], scale = vf_zero(), bias = vf_zero();
    size_t group = kv_coded(type) ? at / v->rows.group : 0;
    const char *next = v->next;
    EACH (r, rows) mix_load(type, s[r], y + r * y_row + at, vectors, n);
    for (size_t key = 0; key < v->keys; key++, next += v->step) {
        const char *row = v->rows.data + key * v->rows.row_bytes;
        __builtin_prefetch(next);
        kv_params(type, &v->rows, key, group, &scale, &bias);
        EACH (j, vectors) value[j] = mix_value(type, row, at, j, vectors, n, scale, bias);
        EACH (r, rows) {
            vf weight = vf_set1(p[r * p_row + key]);
            EACH (j, vectors) s[r][j] = vf_fma(value[j], weight, s[r][j]);
        }
    }
    v->next = next;
    EACH (r, rows) mix_store(type, y + r * y_row + at, s[r], vectors, n);
}

INLINE void mix_rows(vcpu_kv_type type, float *y, size_t y_row, const float *p, size_t p_row,
                     int rows, mix_values *v, int vectors, size_t dim) {
    if (type == VCPU_KV_BF16) vectors = vectors / 2 * 2;
    size_t at = 0, group = kv_group(type, &v->rows, dim), step = (size_t)vectors * LANES;
    while (at < dim) {
        size_t end = at + group < dim ? at + group : dim; /* a strip has one scale */
        for (; at + step <= end && at + step + LANES != end; at += step)
            mix_strip(type, y, y_row, p, p_row, rows, v, at, vectors, LANES);
        for (; vectors > 1 && at + 2 * LANES <= end; at += 2 * LANES)
            mix_strip(type, y, y_row, p, p_row, rows, v, at, 2, LANES);
        for (; at + LANES <= end; at += LANES)
            mix_strip(type, y, y_row, p, p_row, rows, v, at, 1, LANES);
        if (at < end) mix_strip(type, y, y_row, p, p_row, rows, v, at, 1, end - at);
        at = end;
    }
}

/* Values that stay in the first-level cache while all rows pass. */
enum { MIX_BYTES = 12300, MIX_LEAST = 16, MIX_MOST = 128 };

INLINE void mix(vcpu_kv_type type, float *y, size_t y_row, const float *p, size_t p_row,
                size_t rows, const vcpu_kv_rows *v, size_t keys, size_t dim) {
    size_t bytes = kv_bytes(type, dim), strip = MIX_BYTES / (bytes + 1), passes = (rows + 3) / 4;
    mix_values at = { .rows = *v };
    strip = strip < MIX_LEAST ? MIX_LEAST : strip > MIX_MOST ? MIX_MOST : strip;
    at.step = bytes / (passes * ((dim + 4 * LANES - 1) / (4 * LANES))) + 1;
    for (; keys > 0; keys -= at.keys, p += at.keys) {
        at.keys = keys < strip ? keys : strip;
        at.next = at.rows.data + at.keys * at.rows.row_bytes;
        size_t r = 0;
        if (kv_coded(type)) /* what takes long to widen serves more rows */
            for (; r + 8 <= rows; r += 8)
                mix_rows(type, y + r * y_row, y_row, p + r * p_row, p_row, 8, &at, MIX_VECTORS_8,
                         dim);
        for (; r + 4 <= rows; r += 4)
            mix_rows(type, y + r * y_row, y_row, p + r * p_row, p_row, 4, &at, MIX_VECTORS, dim);
        float *to = y + r * y_row;
        const float *from = p + r * p_row;
        switch (rows - r) {
        case 1: mix_rows(type, to, y_row, from, p_row, 1, &at, 4, dim); break;
        case 2: mix_rows(type, to, y_row, from, p_row, 2, &at, 4, dim); break;
        case 3: mix_rows(type, to, y_row, from, p_row, 3, &at, MIX_VECTORS, dim); break;
        }
        at.rows.data += at.keys * at.rows.row_bytes;
        if (kv_coded(type)) at.rows.scales += at.keys * at.rows.scales_row_bytes;
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
    int32_t last = masked ? 0 : (int32_t)b->keys; /* behind it nobody sees a key */
    for (size_t i = 0; masked && i < LANES; i++) last = b->hi[q + i] > last ? b->hi[q + i] : last;
    size_t keys = (size_t)last < b->keys ? (size_t)last : b->keys;
    for (size_t j = 0; j < keys; j++) {
        vf v = scored(vf_load(s + j * b->s_row), by, cap, capped);
        if (masked) v = vf_select(vf_in((int32_t)j, b->lo + q, b->hi + q), v, hidden);
        if (masked || capped) vf_store(s + j * b->s_row, v);
        max = vf_max(max, v);
    }
    vf base = vf_select(vf_gt(max, hidden), max, vf_zero()); /* nothing seen so far */
    vf below = vf_zero() - base, factor = by;
    if (masked || capped) factor = vf_set1(1); /* they are scaled already */
    for (size_t j = keys; j < b->keys; j++) vf_store(s + j * b->s_row, vf_zero());
    for (size_t j = 0; j < keys; j++) {
        vf v = vf_load(s + j * b->s_row);
        v = vf_exp2(vf_fma(v, factor, below), masked);
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

INLINE void softmax_row_of(float *s, size_t n, size_t lo, size_t hi, float factor, float softcap_at,
                           bool capped, float *max, float *total) {
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
            float tail[LANES];
            vf_store(tail, v);
            for (size_t i = 0; i < left; i++) greatest = tail[i] > greatest ? tail[i] : greatest;
            if (capped) vf_store_n(s + j, v, left);
        } else {
            if (capped) vf_store(s + j, v);
            m = vf_max(m, v);
        }
    }
    float vectors = vf_greatest(m);
    greatest = vectors > greatest ? vectors : greatest;
    vf below = vf_set1(lo < hi ? -greatest : 0), factored = vf_set1(capped ? 1 : factor * LOG2E);
    for (size_t j = lo; j < hi; j += LANES) {
        size_t left = hi - j;
        if (left < LANES) {
            float tail[LANES] = { 0 };
            vf_store_n(s + j, vf_exp2(vf_fma(vf_load_n(s + j, left), factored, below), false), left);
            __builtin_memcpy(tail, s + j, left * sizeof *tail);
            added = added + vf_load(tail);
        } else {
            vf v = vf_exp2(vf_fma(vf_load(s + j), factored, below), false);
            vf_store(s + j, v);
            added = added + v;
        }
    }
    *max = greatest;
    *total = vf_sum(added);
}

static void softmax_row(float *s, size_t n, size_t lo, size_t hi, float factor, float softcap_at,
                        float *max, float *total) {
    if (softcap_at > 0)
        softmax_row_of(s, n, lo, hi, factor, softcap_at, true, max, total);
    else
        softmax_row_of(s, n, lo, hi, factor, softcap_at, false, max, total);
}

static void fill_attention(vcpu_attention_kernels *k) {
    *k = (vcpu_attention_kernels) {
        VCPU_KV_ENTRIES,
        .softmax_block = softmax_block,
        .softmax_row = softmax_row,
    };
}
