/* SPDX-License-Identifier: MIT */
/* Attention over states of every type, quantized ones too, with random shapes, pasts, windows, spans
 * and caps: against a double softmax over what the state really holds, and bit for bit the same at
 * any number of threads. And what a quantized state holds: values near those stored.
 *
 *     test_tensor_kv [cases]     1,000 by default */
#include "attention_check.h"

static int cases = 1000;

/* ---- a state in memory ---- */
typedef struct state {
    vtensor_kv_form form;
    vlm_kv kv;
    char *memory;
    size_t bytes;
} state;

static state make_state(vlm_dtype dtype, int bits, int64_t capacity, int64_t heads, int64_t dim) {
    state s = { .form = { dtype, bits, capacity, heads, dim } };
    assert_true(vtensor_kv_bytes(&s.bytes, &s.form));
    assert_int_equal(s.bytes % 64, 0);
    s.memory = aligned_alloc(64, s.bytes);
    memset(s.memory, 0xFF, s.bytes); /* NaN, whatever it is read as */
    vtensor_kv_place(&s.kv, &s.form, s.memory);
    return s;
}

static double half_at(vlm_tensor x, int64_t row, int64_t head, int64_t i) {
    uint16_t u;
    memcpy(&u, (char *)x.data + 2 * (row * x.stride[0] + head * x.stride[1] + i), 2);
    return x.dtype == VLM_DTYPE_BF16 ? vcore_bf16_to_f32(u) : vcore_f16_to_f32(u);
}

/* What the state holds. */
static double value_at(const vlm_kv *kv, vlm_tensor x, vlm_tensor scales, int64_t row, int64_t head,
                       int64_t i) {
    if (x.dtype == VLM_DTYPE_F32)
        return ((float *)x.data)[row * x.stride[0] + head * x.stride[1] + i];
    if (!kv->bits) return half_at(x, row, head, i);
    const uint8_t *codes = (uint8_t *)x.data + row * x.stride[0] + head * x.stride[1];
    int code = kv->bits == 8 ? codes[i] : codes[i / 2] >> 4 * (i % 2) & 15;
    int64_t group = i / kv->group;
    return code * half_at(scales, row, head, 2 * group) + half_at(scales, row, head, 2 * group + 1);
}

static void read_state(const state *s, int64_t rows, double *k, double *v) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < s->form.heads; h++)
            for (int64_t i = 0; i < s->form.head_dim; i++) {
                *k++ = value_at(&s->kv, s->kv.k, s->kv.k_scales, r, h, i);
                *v++ = value_at(&s->kv, s->kv.v, s->kv.v_scales, r, h, i);
            }
}

/* ---- random sequences ---- */
static int64_t pick_dim(int bits) {
    static const int64_t usual[] = { 32, 64, 80, 96, 128 };
    int64_t dim = rng() % 3 ? usual[rng() % 5] : rng_int(1, 140);
    return bits && rng() % 2 ? (dim + 31) / 32 * 32 : dim;
}

static setup pick_setup(int bits) {
    static const int64_t groups[] = { 1, 2, 3, 4, 5, 6, 7, 8, 12 };
    setup c = { .kv_heads = rng_int(1, 2), .dim = pick_dim(bits) };
    c.heads = c.kv_heads * groups[rng() % 9];
    c.desc.scale = 0.3f;
    c.desc.causal = rng() % 4 > 0;
    if (rng() % 4 == 0) c.desc.softcap = 5;
    if (rng() % 4 == 0) c.desc.window = rng_int(1, 60);
    c.past = rng() % 3 == 0 ? 0 : rng() % 16 ? rng_int(1, 70) : rng_int(400, 1100);
    c.n = rng() % 3 ? rng_int(1, 5) : rng_int(1, 110);
    if (c.desc.causal && c.n > 4 && rng() % 3 == 0) {
        c.spans[0] = (vlm_span) { c.past + 1, c.past + rng_int(2, c.n) };
        c.n_spans = 1;
    }
    return c;
}

static vlm_tensor run(vlm_frame *f, const setup *c, const state *s, const array *q, const array *k,
                      const array *v) {
    vlm_segment past = { .length = c->past, .kv = &s->kv };
    vlm_segment now = { .length = c->n, .kv = &s->kv, .past = c->past, .spans = c->spans,
                        .n_spans = c->n_spans };
    if (c->past) /* only stored: what comes of it does not matter */
        vlm_attention(f, q[0].t, k[0].t, v[0].t, &past, 1,
                      &(vlm_attention_desc) { .scale = 1, .causal = true, .window = 1 });
    return vlm_attention(f, q[1].t, k[1].t, v[1].t, &now, 1, &c->desc);
}

static void check_case(vlm_frame *const *frames, int i, double tolerance) {
    static const struct {
        vlm_dtype dtype;
        int bits;
    } types[] = { { VLM_DTYPE_F32, 0 }, { VLM_DTYPE_BF16, 0 }, { VLM_DTYPE_F16, 0 },
                  { VLM_DTYPE_U8, 8 },  { VLM_DTYPE_U8, 4 } };
    int type = (int)(rng() % 5);
    setup c = pick_setup(types[type].bits);
    int64_t total = c.past + c.n;
    state s = make_state(types[type].dtype, types[type].bits, total + rng_int(0, 3), c.kv_heads, c.dim);
    array q[2], k[2], v[2];
    for (int p = 0; p < 2; p++) {
        int64_t rows = p ? c.n : c.past;
        q[p] = make_array(VLM_DTYPE_F32, 2, 0, 3, (int64_t[]) { rows, c.heads, c.dim });
        k[p] = make_array(VLM_DTYPE_F32, 2, 0, 3, (int64_t[]) { rows, c.kv_heads, c.dim });
        v[p] = make_array(VLM_DTYPE_F32, 2, 0, 3, (int64_t[]) { rows, c.kv_heads, c.dim });
    }
    size_t stored_values = (size_t)(total * c.kv_heads * c.dim), n = (size_t)(c.n * c.heads * c.dim);
    double *held = malloc((2 * stored_values + n) * sizeof *held), *want = held + 2 * stored_values;
    for (int t = 0; t < 2; t++) vtensor_frame_begin(frames[t]);
    vlm_tensor y = run(frames[0], &c, &s, q, k, v), z = run(frames[1], &c, &s, q, k, v);
    assert_int_equal(y.rank, 3);
    assert_memory_equal(y.data, z.data, n * sizeof(float)); /* one thread or three */
    read_state(&s, total, held, held + stored_values);
    reference(&c, want, q[1].v, held, held + stored_values);
    assert_near(y.data, want, n, tolerance, "case %d: %s %d bits, heads %d/%d dim %d, %d behind %d", i,
                vtensor_dtype_name(s.kv.k.dtype), s.kv.bits, (int)c.heads, (int)c.kv_heads,
                (int)c.dim, (int)c.n, (int)c.past);
    for (int p = 0; p < 2; p++) {
        free_array(&q[p]);
        free_array(&k[p]);
        free_array(&v[p]);
    }
    for (int t = 0; t < 2; t++) end_ok(frames[t]);
    free(held);
    free(s.memory);
}

static void random_states(vtensor_mode mode, int count, double tolerance) {
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b[] = { open_backend(at, 1), open_backend(at, 3) };
        vlm_frame *f[] = { open_frame(b[0], mode), open_frame(b[1], mode) };
        for (int i = 0; i < count / N_LEVELS; i++) check_case(f, i, tolerance);
        for (int t = 0; t < 2; t++) {
            vtensor_frame_free(f[t]);
            vtensor_backend_free(b[t]);
        }
    }
}

static void random_states_match(void **unused) {
    (void)unused;
    random_states(VTENSOR_EXACT, cases, 3e-6);
}

/* Queries and weights may be rounded to bfloat16. */
static void fast_mode_is_near(void **unused) {
    (void)unused;
    random_states(VTENSOR_FAST, cases / 4, 2e-2);
}

/* ---- what quantization keeps ---- */
/* Stores rows of one head; @return the state */
static state stored_rows(vlm_frame *f, int bits, const array *x) {
    int64_t n = x->t.shape[0], dim = x->t.shape[2];
    state s = make_state(VLM_DTYPE_U8, bits, n, 1, dim);
    vlm_segment segment = { .length = n, .kv = &s.kv };
    vlm_attention(f, x->t, x->t, x->t, &segment, 1, &(vlm_attention_desc) { .scale = 1 });
    end_ok(f);
    vtensor_frame_begin(f);
    return s;
}

static void quantized_values_are_near(void **unused) {
    (void)unused;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    static const int64_t dims[] = { 64, 128, 96, 32, 80, 72, 5 };
    for (int i = 0; i < 140; i++) {
        int bits = i % 2 ? 8 : 4;
        int64_t dim = dims[i % 7], n = 9;
        array x = make_array(VLM_DTYPE_F32, i % 3 ? 3 : 1e-3f, 0, 3, (int64_t[]) { n, 1, dim });
        float shift = i % 5 == 0 ? 100 : 0; /* far from zero */
        for (int64_t e = 0; e < n * dim; e++) {
            float *at = (float *)x.t.data + e;
            if (e < dim) *at = 7.3f; /* a group of one value */
            x.v[e] = *at += shift;
        }
        state s = stored_rows(f, bits, &x);
        for (int64_t e = 0; e < n * dim; e++) {
            int64_t row = e / dim, first = e % dim / s.kv.group * s.kv.group;
            double low = INFINITY, high = -INFINITY;
            for (int64_t k = first; k < dim && k < first + s.kv.group; k++) {
                low = fmin(low, x.v[row * dim + k]);
                high = fmax(high, x.v[row * dim + k]);
            }
            /* the bias lies at most 2^-7 of itself below, the scale 2^-7 of itself above */
            double step = (high - low + fabs(low) / 128) * (1 + 1.0 / 128) / ((1 << bits) - 1);
            double got = value_at(&s.kv, s.kv.k, s.kv.k_scales, row, 0, e % dim);
            assert_true(fabs(got - x.v[e]) <= 0.501 * step);
            assert_true(got == value_at(&s.kv, s.kv.v, s.kv.v_scales, row, 0, e % dim));
        }
        free(s.memory);
        free_array(&x);
    }
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

static void what_is_not_finite_stays_so(void **unused) {
    (void)unused;
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    for (int i = 0; i < 6; i++) {
        array x = make_array(VLM_DTYPE_F32, 1, 0, 3, (int64_t[]) { 1, 1, 128 });
        ((float *)x.t.data)[70] = bad[i / 2];
        state s = stored_rows(f, i % 2 ? 8 : 4, &x);
        assert_true(isfinite(value_at(&s.kv, s.kv.k, s.kv.k_scales, 0, 0, 3)));
        assert_true(isnan(value_at(&s.kv, s.kv.k, s.kv.k_scales, 0, 0, 70)));
        free(s.memory);
        free_array(&x);
    }
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

/* ---- errors ---- */
static void sizes_that_cannot_be(void **unused) {
    (void)unused;
    size_t bytes;
    assert_false(vtensor_kv_bytes(
        &bytes, &(vtensor_kv_form) { VLM_DTYPE_BF16, 0, INT64_MAX / 2, 8, 128, false }));
    assert_false(
        vtensor_kv_bytes(&bytes, &(vtensor_kv_form) { VLM_DTYPE_U8, 4, INT64_MAX / 64, 2, 128, false }));
    assert_true(vtensor_kv_bytes(&bytes, &(vtensor_kv_form) { VLM_DTYPE_U8, 8, 10, 2, 128, false }));
    assert_int_equal(bytes, 2 * (10 * 2 * 128 + 10 * 2 * 2 * 4 + 32)); /* scales fill up a line */
    assert_true(vtensor_kv_bytes(&bytes, &(vtensor_kv_form) { VLM_DTYPE_F32, 0, 19, 1, 40, true }));
    assert_int_equal(bytes, (19 * 40 * 4 + 63) / 64 * 64);
}

static void wrong_states_are_errors(void **unused) {
    (void)unused;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    array x = make_array(VLM_DTYPE_F32, 1, 0, 3, (int64_t[]) { 4, 2, 64 });
    for (int i = 0; i <= 8; i++) {
        state s = make_state(VLM_DTYPE_U8, 8, 4, 2, 64);
        switch (i) {
        case 0: s.kv.bits = 5; break;
        case 1: s.kv.bits = 4; break;
        case 2: s.kv.bits = 0; break;
        case 3: s.kv.group = 48; break;
        case 4: s.kv.group = 32; break;
        case 5: s.kv.k_scales.rank = 0; break;
        case 6: s.kv.v_scales.shape[0] = 3; break;
        case 7: s.kv.v.shape[2] = 63; break;
        default: break;
        }
        vtensor_frame_begin(f);
        vlm_segment segment = { .length = 4, .kv = &s.kv };
        vlm_attention(f, x.t, x.t, x.t, &segment, 1, &(vlm_attention_desc) { .scale = 1 });
        assert_int_equal(vtensor_frame_end(f, NULL), i < 8 ? VLM_ERR_ARGUMENT : VLM_OK);
        free(s.memory);
    }
    free_array(&x);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_states_match),
        cmocka_unit_test(fast_mode_is_near),
        cmocka_unit_test(quantized_values_are_near),
        cmocka_unit_test(what_is_not_finite_stays_so),
        cmocka_unit_test(sizes_that_cannot_be),
        cmocka_unit_test(wrong_states_are_errors),
    };
    if (argc > 1) cases = atoi(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
