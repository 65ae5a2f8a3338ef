/* SPDX-License-Identifier: MIT */
/* Kernels written once for vectors of any width: a file of an instruction set defines the vector
 * and its primitives and then includes this page, which ends in fill_simd(). Not a header to
 * include elsewhere.
 *
 * Wanted from the including file: LANES (a multiple of 4); vf (floats; + - * / work on it), vm (a
 * mask); vf_load/store (any alignment), vf_load_n/store_n (the first n < LANES elements; zeros
 * elsewhere), vf_set1, vf_zero, vf_fma (a * b + c), vf_fnma (c - a * b), vf_max, vf_min (NaN in the
 * second operand stays), vf_sum, vf_greatest (of all lanes), vf_round (to nearest), vf_exp2i (2^x
 * for integral -126 <= x <= 127, infinite for 128), vf_abs, vf_copysign, vf_gt, vf_select (mask ? a
 * : b), vf_in (lanes where lo <= j < hi), vf_bf16, vf_f16 (LANES values widened), vf_to_bf16,
 * vf_to_f16 (stored), vd_square (acc += (x - mean)² in double, both halves of x), vd_total. Tile
 * sizes: TILE_MR rows, TILE_NV vectors, TILE_KC; UNROLL and UNROLL_K, pragmas. DOT_OUTS: outs at
 * once for 3 or 4 rows. PREFETCH_BYTES. */

#define INLINE static inline __attribute__((always_inline))
#define INF __builtin_inff()
/* A loop that is taken apart, so that what it indexes can live in registers. */
#define EACH(i, n) UNROLL for (size_t i = 0; i < (size_t)(n); i++)

/* ---- the first n of LANES 16-bit values, through a buffer ---- */
INLINE vf load16_n(vf (*load)(const void *), const void *p, size_t n) {
    uint16_t buffer[LANES] = { 0 };
    __builtin_memcpy(buffer, p, 2 * n);
    return load(buffer);
}

INLINE void store16_n(void (*store)(void *, vf), void *p, vf v, size_t n) {
    uint16_t buffer[LANES];
    store(buffer, v);
    __builtin_memcpy(p, buffer, 2 * n);
}

/* ---- functions ---- */
/* e^x: relative error below 2e-7; 0 below -87.3, infinite above 88.4. */
INLINE vf vf_exp(vf x) {
    vf low = vf_set1(-87.3f), t = vf_min(vf_set1(89), vf_max(low, x));
    vf n = vf_round(t * vf_set1(1.44269504f));
    vf r = vf_fnma(n, vf_set1(0.693359375f), t); /* ln 2 in two parts, the first exact */
    r = vf_fnma(n, vf_set1(-2.12194440e-4f), r);
    vf p = vf_set1(0.001392625083f);
    p = vf_fma(p, r, vf_set1(0.008363232884f));
    p = vf_fma(p, r, vf_set1(0.04166655421f));
    p = vf_fma(p, r, vf_set1(0.1666657667f));
    p = vf_fma(p, r, vf_set1(0.5f));
    p = vf_fma(p * r, r, r) + vf_set1(1);
    return vf_select(vf_gt(low, x), vf_zero(), p * vf_exp2i(n));
}

/* tanh x: relative error below 3e-7. */
INLINE vf vf_tanh(vf x) {
    vf a = vf_abs(x), z = x * x;
    vf p = vf_set1(-0.006045165091f);
    p = vf_fma(p, z, vf_set1(0.0209613291f));
    p = vf_fma(p, z, vf_set1(-0.05384326317f));
    p = vf_fma(p, z, vf_set1(0.1333271885f));
    p = vf_fma(p, z, vf_set1(-0.3333332843f));
    vf small = vf_fma(p * z, x, x);
    vf large = vf_set1(1) - vf_set1(2) / (vf_set1(1) + vf_exp(a + a));
    return vf_select(vf_gt(vf_set1(0.625f), a), small, vf_copysign(large, x));
}

/* x Φ(x), from the tail Φ(-|x|) = e^(-x²/2) times a smooth function of |x|: accurate on both sides.
 */
INLINE vf vf_gelu(vf x) {
    vf a = vf_min(vf_set1(14), vf_abs(x));
    vf t = vf_set1(1) / vf_fma(a, vf_set1(0.2f), vf_set1(1));
    vf p = vf_set1(-0.03920914619f);
    p = vf_fma(p, t, vf_set1(0.124195809f));
    p = vf_fma(p, t, vf_set1(-0.06753135412f));
    p = vf_fma(p, t, vf_set1(0.04612245139f));
    p = vf_fma(p, t, vf_set1(0.09783985164f));
    p = vf_fma(p, t, vf_set1(0.01693622048f));
    p = vf_fma(p, t, vf_set1(0.0897228195f));
    p = vf_fma(p, t, vf_set1(0.07172636266f));
    p = vf_fma(p, t, vf_set1(0.08044592178f));
    p = vf_fma(p, t, vf_set1(0.07975106104f));
    vf s = a * a, half = vf_set1(0.5f), rounding = vf_fma(a, a, vf_zero() - s);
    vf e = vf_exp(vf_zero() - s * half);
    e = vf_fnma(e * half, rounding, e); /* the square's rounding error is large in an exponent */
    vf tail = e * p * t;
    return x * vf_select(vf_gt(x, vf_zero()), vf_set1(1) - tail, tail);
}

/* x / (1 + e^-y) */
INLINE vf vf_sigmoid_of(vf x, vf y) {
    return x / (vf_set1(1) + vf_exp(vf_zero() - y));
}

INLINE vf vf_gelu_tanh(vf x) {
    vf cubic = vf_fma(x * x, vf_set1(0.044715f), vf_set1(1)) * x;
    return vf_sigmoid_of(x, cubic * vf_set1(1.5957691216f));
}

INLINE vf vf_quick_gelu(vf x) {
    return vf_sigmoid_of(x, x * vf_set1(1.702f));
}

INLINE vf vf_silu(vf x) {
    return vf_sigmoid_of(x, x);
}

INLINE vf vf_relu(vf x) {
    return vf_max(vf_zero(), x);
}

/* ---- conversions ---- */
#define DEFINE_CONVERSIONS(type)                                                                   \
    static void widen_##type(float *y, const void *x, size_t n) {                                  \
        const char *from = x;                                                                      \
        for (; n >= LANES; n -= LANES, y += LANES, from += 2 * LANES)                              \
            vf_store(y, vf_##type(from));                                                          \
        if (n) vf_store_n(y, load16_n(vf_##type, from, n), n);                                     \
    }                                                                                              \
    static void narrow_##type(void *y, const float *x, size_t n) {                                 \
        char *to = y;                                                                              \
        for (; n >= LANES; n -= LANES, x += LANES, to += 2 * LANES) vf_to_##type(to, vf_load(x));  \
        if (n) store16_n(vf_to_##type, to, vf_load_n(x, n), n);                                    \
    }
DEFINE_CONVERSIONS(bf16)
DEFINE_CONVERSIONS(f16)

/* ---- elementwise ---- */
/* x = f(x); `setup` may define constants. */
#define DEFINE_MAP(name, params, setup, f)                                                         \
    static void name params {                                                                      \
        setup;                                                                                     \
        for (; n >= LANES; n -= LANES, x += LANES) {                                               \
            vf v = vf_load(x);                                                                     \
            vf_store(x, f);                                                                        \
        }                                                                                          \
        if (n) {                                                                                   \
            vf v = vf_load_n(x, n);                                                                \
            vf_store_n(x, f, n);                                                                   \
        }                                                                                          \
    }
DEFINE_MAP(scale, (float *x, float factor, size_t n), vf by = vf_set1(factor), v *by)
DEFINE_MAP(softcap, (float *x, float cap, size_t n), vf c = vf_set1(cap), c *vf_tanh(v / c))
DEFINE_MAP(gelu, (float *x, size_t n), , vf_gelu(v))
DEFINE_MAP(gelu_tanh, (float *x, size_t n), , vf_gelu_tanh(v))
DEFINE_MAP(quick_gelu, (float *x, size_t n), , vf_quick_gelu(v))
DEFINE_MAP(silu, (float *x, size_t n), , vf_silu(v))
DEFINE_MAP(relu, (float *x, size_t n), , vf_relu(v))

#define DEFINE_MAP2(name, op)                                                                      \
    static void name(float *x, const float *y, size_t n) {                                         \
        for (; n >= LANES; n -= LANES, x += LANES, y += LANES)                                     \
            vf_store(x, vf_load(x) op vf_load(y));                                                 \
        if (n) vf_store_n(x, vf_load_n(x, n) op vf_load_n(y, n), n);                               \
    }
DEFINE_MAP2(add, +)
DEFINE_MAP2(mul, *)

/* Columns are summed a few vectors at a time, which stay in registers. */
#define SUM_VECTORS 4
static void sum_products(float *y, const float *init, const float *const *x, const float *const *w,
                         size_t rows, size_t n) {
    size_t i = 0;
    for (; i + SUM_VECTORS * LANES <= n; i += SUM_VECTORS * LANES) {
        vf acc[SUM_VECTORS];
        EACH(v, SUM_VECTORS) acc[v] = init ? vf_load(init + i + v * LANES) : vf_zero();
        for (size_t k = 0; k < rows; k++)
            EACH(v, SUM_VECTORS)
                acc[v] = vf_fma(vf_load(w[k] + i + v * LANES), vf_load(x[k] + i + v * LANES), acc[v]);
        EACH(v, SUM_VECTORS) vf_store(y + i + v * LANES, acc[v]);
    }
    for (; i + LANES <= n; i += LANES) {
        vf acc = init ? vf_load(init + i) : vf_zero();
        for (size_t k = 0; k < rows; k++) acc = vf_fma(vf_load(w[k] + i), vf_load(x[k] + i), acc);
        vf_store(y + i, acc);
    }
    if (i < n) { /* a part of a vector: no load of one takes LANES */
        vf acc = init ? vf_load_n(init + i, n - i) : vf_zero();
        for (size_t k = 0; k < rows; k++) acc = vf_fma(vf_load_n(w[k] + i, n - i), vf_load_n(x[k] + i, n - i), acc);
        vf_store_n(y + i, acc, n - i);
    }
}

/* ---- norms and rotary positions ---- */
static double sum(const float *x, size_t n) {
    double total = 0;
    vd acc = vd_zero();
    for (; n >= LANES; n -= LANES, x += LANES) acc = vd_add(acc, vf_load(x));
    for (size_t i = 0; i < n; i++) total += (double)x[i];
    return total + vd_total(acc);
}

static double sum_squares(const float *x, double mean, size_t n) {
    double total = 0;
    vd acc = vd_zero();
    for (; n >= LANES; n -= LANES, x += LANES) acc = vd_square(acc, vf_load(x), mean);
    for (size_t i = 0; i < n; i++) total += ((double)x[i] - mean) * ((double)x[i] - mean);
    return total + vd_total(acc);
}

INLINE vf normalised(vf x, vf w, vf b, vf mean, vf rstd, vf offset, bool has_w, bool has_b) {
    x = (x - mean) * rstd;
    if (has_w) x = x * (offset + w);
    if (has_b) x = x + b;
    return x;
}

static void normalise(float *y, const float *x, const float *w, const float *b, float mean,
                      float rstd, float offset, size_t n) {
    vf m = vf_set1(mean), r = vf_set1(rstd), o = vf_set1(offset), wv = vf_zero(), bv = vf_zero();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        if (w) wv = vf_load(w + i);
        if (b) bv = vf_load(b + i);
        vf_store(y + i, normalised(vf_load(x + i), wv, bv, m, r, o, w != NULL, b != NULL));
    }
    if (i == n) return;
    if (w) wv = vf_load_n(w + i, n - i);
    if (b) bv = vf_load_n(b + i, n - i);
    vf v = normalised(vf_load_n(x + i, n - i), wv, bv, m, r, o, w != NULL, b != NULL);
    vf_store_n(y + i, v, n - i);
}

static void rotate(float *a, float *b, const float *c, const float *s, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf x = vf_load(a + i), y = vf_load(b + i), cv = vf_load(c + i), sv = vf_load(s + i);
        vf_store(a + i, x * cv - y * sv);
        vf_store(b + i, y * cv + x * sv);
    }
    for (; i < n; i++) {
        float x = a[i], y = b[i];
        a[i] = x * c[i] - y * s[i];
        b[i] = y * c[i] + x * s[i];
    }
}

/* ---- products with few rows ---- */
INLINE vf vf_f32(const void *p) {
    return vf_load(p);
}

INLINE vf load_n_f32(const void *p, size_t n) {
    return vf_load_n(p, n);
}
INLINE vf load_n_bf16(const void *p, size_t n) {
    return load16_n(vf_bf16, p, n);
}
INLINE vf load_n_f16(const void *p, size_t n) {
    return load16_n(vf_f16, p, n);
}

/* rows × outs sums at once: each load of w serves all rows, each load of x all outs; `ahead`: bytes
 * from a load to what will be wanted soon, in this row of w or behind the rows at work. One row
 * of x over long rows of w, which come from memory, reads the rows it has to as some streams side
 * by side, each from one row into the next: that is what memory gives most for. */
enum { LONG_BYTES = 1024, SHORT_ROWS = 16, STREAMS = 4, STREAM_AHEAD = 512 };
#define DEFINE_DOT(type, size)                                                                     \
    INLINE void dot_step_##type(vf(*s)[4], const float *x, size_t x_row, int rows, const char *w,  \
                                size_t w_row_bytes, int outs) {                                    \
        vf xv[4];                                                                                  \
        EACH (r, rows) xv[r] = vf_load(x + r * x_row);                                             \
        EACH (o, outs) {                                                                           \
            vf wv = vf_##type(w + o * w_row_bytes);                                                \
            EACH (r, rows) s[r][o] = vf_fma(wv, xv[r], s[r][o]);                                   \
        }                                                                                          \
    }                                                                                              \
    INLINE void dot_block_##type(float *y, size_t y_row, const float *x, size_t x_row, int rows,   \
                                 const char *w, size_t w_row_bytes, int outs, size_t k,            \
                                 size_t ahead) {                                                   \
        vf s[4][4];                                                                                \
        size_t i = 0, line = 64 / size; /* elements of a cache line */                             \
        size_t skip = (size_t)(outs - 1) * w_row_bytes;                                            \
        EACH (r, rows)                                                                             \
            EACH (o, outs) s[r][o] = vf_zero();                                                    \
        for (; i + line <= k; i += line) {                                                         \
            const char *next = w + size * i + ahead + (size * i + ahead < size * k ? 0 : skip);    \
            EACH (o, outs) __builtin_prefetch(next + o * w_row_bytes);                             \
            UNROLL for (size_t j = 0; j < line; j += LANES)                                        \
                dot_step_##type(s, x + i + j, x_row, rows, w + size * (i + j), w_row_bytes, outs); \
        }                                                                                          \
        for (; i + LANES <= k; i += LANES)                                                         \
            dot_step_##type(s, x + i, x_row, rows, w + size * i, w_row_bytes, outs);               \
        if (i < k)                                                                                 \
            EACH (o, outs) {                                                                       \
                vf wv = load_n_##type(w + o * w_row_bytes + size * i, k - i);                      \
                EACH (r, rows) s[r][o] = vf_fma(wv, vf_load_n(x + r * x_row + i, k - i), s[r][o]); \
            }                                                                                      \
        EACH (r, rows)                                                                             \
            EACH (o, outs) y[r * y_row + o] = vf_sum(s[r][o]);                                     \
    }                                                                                              \
    INLINE void dot_rows_##type(float *y, size_t y_row, const float *x, size_t x_row, int rows,    \
                                const char *w, size_t w_row_bytes, size_t outs, size_t k,          \
                                int step) {                                                        \
        size_t o = 0, ahead = PREFETCH_BYTES;                                                      \
        if (size * k < LONG_BYTES) ahead = (SHORT_ROWS - (size_t)step + 1) * w_row_bytes;          \
        for (; o + (size_t)step <= outs; o += (size_t)step)                                        \
            dot_block_##type(y + o, y_row, x, x_row, rows, w + o * w_row_bytes, w_row_bytes, step, \
                             k, ahead);                                                            \
        for (; o < outs; o++)                                                                      \
            dot_block_##type(y + o, y_row, x, x_row, rows, w + o * w_row_bytes, w_row_bytes, 1, k, \
                             ahead);                                                               \
    }                                                                                              \
    INLINE void dot_streams_##type(float *y, const float *x, const char *w, size_t stream_bytes,       \
                                   size_t y_stream, size_t k, int streams) {                       \
        vf s[STREAMS][2];                                                                          \
        size_t i = 0;                                                                              \
        EACH (o, streams) s[o][0] = s[o][1] = vf_zero();                                           \
        for (; i + 64 / size <= k; i += 64 / size) {                                               \
            EACH (o, streams)                                                                      \
                __builtin_prefetch(w + o * stream_bytes + size * i + STREAM_AHEAD);                \
            EACH (j, 64 / size / LANES) {                                                          \
                vf xv = vf_load(x + i + j * LANES);                                                \
                EACH (o, streams) {                                                                \
                    const char *at = w + o * stream_bytes + size * (i + j * LANES);                \
                    s[o][j % 2] = vf_fma(vf_##type(at), xv, s[o][j % 2]);                          \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (; i + LANES <= k; i += LANES) {                                                       \
            vf xv = vf_load(x + i);                                                                \
            EACH (o, streams)                                                                      \
                s[o][0] = vf_fma(vf_##type(w + o * stream_bytes + size * i), xv, s[o][0]);         \
        }                                                                                          \
        if (i < k) {                                                                               \
            vf xv = vf_load_n(x + i, k - i);                                                       \
            EACH (o, streams) {                                                                    \
                vf wv = load_n_##type(w + o * stream_bytes + size * i, k - i);                     \
                s[o][1] = vf_fma(wv, xv, s[o][1]);                                                 \
            }                                                                                      \
        }                                                                                          \
        EACH (o, streams) y[o * y_stream] = vf_sum(s[o][0] + s[o][1]);                             \
    }                                                                                              \
    static void dot_##type(float *y, size_t y_row, const void *x, size_t x_row, int rows,          \
                           const void *w, size_t w_row_bytes, size_t outs, size_t k) {             \
        if (rows == 1 && size * k >= LONG_BYTES) {                                                 \
            size_t each = outs / STREAMS, o = 0;                                                   \
            for (; o < each; o++)                                                                  \
                dot_streams_##type(y + o, x, (const char *)w + o * w_row_bytes,                    \
                                   each * w_row_bytes, each, k, STREAMS);                          \
            for (o = STREAMS * each; o < outs; o++)                                                \
                dot_streams_##type(y + o, x, (const char *)w + o * w_row_bytes, 0, 0, k, 1);       \
            return;                                                                                \
        }                                                                                          \
        switch (rows) {                                                                            \
        case 1: dot_rows_##type(y, y_row, x, x_row, 1, w, w_row_bytes, outs, k, 4); break;         \
        case 2: dot_rows_##type(y, y_row, x, x_row, 2, w, w_row_bytes, outs, k, 4); break;         \
        case 3: dot_rows_##type(y, y_row, x, x_row, 3, w, w_row_bytes, outs, k, DOT_OUTS); break;  \
        default: dot_rows_##type(y, y_row, x, x_row, 4, w, w_row_bytes, outs, k, DOT_OUTS);        \
        }                                                                                          \
    }
DEFINE_DOT(f32, 4)
DEFINE_DOT(bf16, 2)
DEFINE_DOT(f16, 2)

/* ---- products with many rows ---- */
INLINE void tile_body(float *c, size_t c_row, const float *init, size_t init_row, const float *a,
                      size_t a_row, size_t a_k, const float *b, size_t b_k, size_t k) {
    vf s[TILE_MR][TILE_NV];
    EACH (r, TILE_MR) /* wanted at the end; a and b are streams, which the CPU follows unasked */
        EACH (j, TILE_NV * LANES / 16) __builtin_prefetch(c + r * c_row + 16 * j);
    EACH (r, TILE_MR)
        EACH (j, TILE_NV) s[r][j] = vf_zero();
    UNROLL_K for (size_t i = 0; i < k; i++, a += a_k, b += b_k) {
        vf bv[TILE_NV];
        EACH (j, TILE_NV) bv[j] = vf_load(b + j * LANES);
        EACH (r, TILE_MR) {
            vf av = vf_set1(a[r * a_row]);
            EACH (j, TILE_NV) s[r][j] = vf_fma(av, bv[j], s[r][j]);
        }
    }
    EACH (r, TILE_MR)
        EACH (j, TILE_NV)
            vf_store(c + r * c_row + j * LANES, vf_load(init + r * init_row + j * LANES) + s[r][j]);
}

/* Packed operands, whose strides are constants, or any. */
static void tile_f32(float *c, size_t c_row, const float *init, size_t init_row, const void *a,
                     size_t a_row, size_t a_k, const void *b, size_t b_k, size_t k) {
    if (a_row == 1 && a_k == TILE_MR && b_k == TILE_NV * LANES)
        tile_body(c, c_row, init, init_row, a, 1, TILE_MR, b, TILE_NV * LANES, k);
    else if (a_row == 1)
        tile_body(c, c_row, init, init_row, a, 1, a_k, b, b_k, k);
    else
        tile_body(c, c_row, init, init_row, a, a_row, 1, b, b_k, k);
}

#include "tensor/cpu/attention/simd_attention.h"

static void fill_simd(vcpu_kernels *k) {
    k->widen_bf16 = widen_bf16;
    k->widen_f16 = widen_f16;
    k->narrow_bf16 = narrow_bf16;
    k->narrow_f16 = narrow_f16;
    k->add = add;
    k->mul = mul;
    k->sum_products = sum_products;
    k->scale = scale;
    k->softcap = softcap;
    k->activation[0] = gelu;
    k->activation[1] = gelu_tanh;
    k->activation[2] = quick_gelu;
    k->activation[3] = silu;
    k->activation[4] = relu;
    k->sum = sum;
    k->sum_squares = sum_squares;
    k->normalise = normalise;
    k->rotate = rotate;
    k->dot_f32 = dot_f32;
    k->dot_bf16 = dot_bf16;
    k->dot_f16 = dot_f16;
    k->gemm_f32 = (vcpu_gemm) { TILE_MR, TILE_NV * LANES, TILE_KC, tile_f32 };
    fill_attention(&k->attention);
}
