/* SPDX-License-Identifier: MIT */
/* Attention against a plain double softmax: segments, grouped heads, causality, windows, spans,
 * soft-cap, state of every float type, decode against full forward, and the bounds of the state. */
#include "attention_check.h"

/* Rows [start, start + n) of an array. */
static vlm_tensor rows_of(const array *a, int64_t start, int64_t n) {
    vlm_tensor t = a->t;
    t.data = (float *)t.data + start * t.stride[0];
    t.shape[0] = n;
    return t;
}

/* Runs positions [0, total) through the state in calls of the given lengths. */
static void check_sequence(vlm_frame *f, vtensor_backend *b, const setup *whole, vlm_dtype dtype,
                           const int64_t *lengths, int calls, double tolerance) {
    setup c = *whole;
    c.n = 0;
    for (int i = 0; i < calls; i++) c.n += lengths[i];
    int64_t kv_shape[] = { c.n, c.kv_heads, c.dim };
    array q = make_array(VLM_DTYPE_F32, 2, 0, 3, (int64_t[]) { c.n, c.heads, c.dim });
    array k = make_array(VLM_DTYPE_F32, 2, 0, 3, kv_shape);
    array v = make_array(VLM_DTYPE_F32, 2, 0, 3, kv_shape);
    size_t count = (size_t)(c.n * c.kv_heads * c.dim), size = vtensor_dtype_size(dtype);
    char *memory = vtensor_memory_new(b, 2 * (count + 64) * size);
    int64_t state_shape[] = { c.n + 1, c.kv_heads, c.dim };
    vlm_kv kv = { .k = vtensor_of(memory, dtype, 3, state_shape),
                  .v = vtensor_of(memory + (count + 64) * size, dtype, 3, state_shape) };
    for (size_t i = 0; i < count; i++) { /* the reference sees what the state can hold */
        char scratch[4];
        k.v[i] = stored(dtype, (float)k.v[i], scratch);
        v.v[i] = stored(dtype, (float)v.v[i], scratch);
    }
    double *want = malloc((size_t)(c.n * c.heads * c.dim) * sizeof *want);
    reference(&c, want, q.v, k.v, v.v);
    int64_t past = 0;
    for (int i = 0; i < calls; past += lengths[i++]) {
        vlm_segment s = { 0, lengths[i], &kv, past, c.spans, c.n_spans, 0 };
        vlm_tensor y = vlm_attention(f, rows_of(&q, past, s.length), rows_of(&k, past, s.length),
                                     rows_of(&v, past, s.length), &s, 1, &c.desc);
        assert_int_equal(y.rank, 3);
        assert_near(y.data, want + past * c.heads * c.dim, (size_t)(s.length * c.heads * c.dim),
                    tolerance, "call %d of %d at %d: heads %d/%d dim %d", i, (int)s.length,
                    (int)past, (int)c.heads, (int)c.kv_heads, (int)c.dim);
    }
    vtensor_memory_free(b, memory);
    free(want);
    free_array(&q);
    free_array(&k);
    free_array(&v);
}

static setup random_setup(void) {
    static const int64_t groups[] = { 1, 1, 2, 3, 7, 8 };
    setup c = { .kv_heads = rng_int(1, 3), .dim = rng_int(1, 5) * 16 + rng_int(-3, 0) };
    c.heads = c.kv_heads * groups[rng() % 6];
    c.desc.scale = 0.3f;
    c.desc.causal = rng() % 3 > 0;
    if (rng() % 3 == 0) c.desc.softcap = 5;
    if (rng() % 3 == 0) c.desc.window = rng_int(1, 90);
    c.desc.window_in_spans = rng() % 2;
    return c;
}

static void one_call_matches(void **state) {
    (void)state;
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int i = 0; i < 60; i++) {
            setup c = random_setup();
            int64_t n = rng_int(1, 230);
            if (c.desc.causal && n > 12) {
                c.spans[0] = (vlm_span) { 2, rng_int(3, n / 2) };
                c.spans[1] = (vlm_span) { n / 2, n - 1 };
                c.n_spans = (int)rng_int(0, 2);
            }
            check_sequence(f, b, &c, VLM_DTYPE_F32, &n, 1, 2e-6);
        }
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

static void calls_continue_each_other(void **state) {
    (void)state;
    static const vlm_dtype types[] = { VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int i = 0; i < 12; i++) {
            setup c = random_setup();
            c.desc.causal = true;
            int64_t lengths[] = { rng_int(1, 150), 1, 1, rng_int(1, 6), rng_int(1, 100), 1, 4, 1 };
            check_sequence(f, b, &c, types[i % 3], lengths, 8, 2e-6);
        }
        setup c = { .heads = 4, .kv_heads = 2, .dim = 32, .desc = { 0.3f, 0, true, 0 } };
        int64_t long_past[] = { 1100, 1, 3 };
        check_sequence(f, b, &c, VLM_DTYPE_F32, long_past, 3, 2e-6);
        c.desc.window = 700;
        check_sequence(f, b, &c, VLM_DTYPE_BF16, long_past, 3, 2e-6);
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

static void segments_do_not_mix(void **state) {
    (void)state;
    enum { N = 190, HEADS = 2, DIM = 24 };
    static const int64_t lengths[] = { 100, 1, 0, 64, 3, 22 };
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        array x = make_array(VLM_DTYPE_F32, 2, 0, 2, (int64_t[]) { N, 3 * HEADS * DIM });
        vlm_tensor part[3];
        double *want = malloc(N * HEADS * DIM * sizeof *want);
        for (int i = 0; i < 3; i++) { /* as a fused QKV leaves them: rows 3 * HEADS * DIM apart */
            part[i] = vlm_columns(f, x.t, i * HEADS * DIM, HEADS * DIM);
            part[i] = vlm_reshape3(f, part[i], N, HEADS, DIM);
        }
        vlm_segment s[6] = { { 0 } };
        int64_t start = 0;
        for (int i = 0; i < 6; i++) {
            s[i].start = start;
            s[i].length = lengths[i];
            s[i].visible = lengths[i] * 2 / 3; /* the rest is padding */
            setup c = { lengths[i], HEADS, HEADS, DIM, .desc = { .scale = 0.2f } };
            c.visible = s[i].visible;
            double *rows[3];
            for (int p = 0; p < 3; p++) {
                rows[p] = malloc((size_t)(lengths[i] * HEADS * DIM + 1) * sizeof(double));
                for (int64_t e = 0; e < lengths[i] * HEADS * DIM; e++)
                    rows[p][e] = x.v[(start + e / (HEADS * DIM)) * 3 * HEADS * DIM + p * HEADS * DIM
                                     + e % (HEADS * DIM)];
            }
            reference(&c, want + start * HEADS * DIM, rows[0], rows[1], rows[2]);
            for (int p = 0; p < 3; p++) free(rows[p]);
            start += lengths[i];
        }
        assert_int_equal(start, N);
        vlm_tensor y = vlm_attention(f, part[0], part[1], part[2], s, 6,
                                     &(vlm_attention_desc) { .scale = 0.2f });
        assert_near(y.data, want, N * HEADS * DIM, 2e-6, "segments");
        free(want);
        free_array(&x);
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

/* Several sequences in one step: each as if it were alone, bit for bit, at any number of threads.
 */
static void sequences_in_one_step(void **state) {
    (void)state;
    enum { SEQUENCES = 3, HEADS = 6, KV_HEADS = 2, DIM = 64, CAPACITY = 1500 };
    static const int64_t past[] = { 5, 1300, 700 }, length[] = { 1, 1, 90 };
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        rng_state = 5;
        vtensor_backend *b = open_backend(N_LEVELS - 1, threads);
        vlm_frame *f = open_frame(b, VTENSOR_FAST);
        array q = make_array(VLM_DTYPE_F32, 2, 0, 3, (int64_t[]) { 92, HEADS, DIM });
        array k = make_array(VLM_DTYPE_F32, 2, 0, 3, (int64_t[]) { 92, KV_HEADS, DIM });
        array state_k[SEQUENCES], state_v[SEQUENCES];
        vlm_kv kv[SEQUENCES];
        vlm_segment s[SEQUENCES] = { { 0 } };
        for (int i = 0; i < SEQUENCES; i++) {
            int64_t shape[] = { CAPACITY, KV_HEADS, DIM };
            state_k[i] = make_array(VLM_DTYPE_BF16, 2, 0, 3, shape);
            state_v[i] = make_array(VLM_DTYPE_BF16, 2, 0, 3, shape);
            kv[i] = (vlm_kv) { .k = state_k[i].t, .v = state_v[i].t };
            s[i] = (vlm_segment) { i, length[i], &kv[i], past[i], NULL, 0, 0 };
        }
        vlm_attention_desc desc = { .scale = 0.1f, .causal = true };
        vlm_tensor y = vlm_attention(f, q.t, k.t, k.t, s, SEQUENCES, &desc);
        size_t row = HEADS * DIM;
        for (int i = 0; i < SEQUENCES; i++) {
            vlm_segment alone = s[i];
            alone.start = 0;
            vlm_tensor z = vlm_attention(f, rows_of(&q, i, length[i]), rows_of(&k, i, length[i]),
                                         rows_of(&k, i, length[i]), &alone, 1, &desc);
            assert_memory_equal(z.data, (float *)y.data + (size_t)i * row,
                                (size_t)length[i] * row * sizeof(float));
        }
        if (!first) {
            first = malloc(92 * row * sizeof *first);
            memcpy(first, y.data, 92 * row * sizeof *first);
        }
        assert_memory_equal(first, y.data, 92 * row * sizeof *first);
        end_ok(f);
        free_array(&q);
        free_array(&k);
        for (int i = 0; i < SEQUENCES; i++) {
            free_array(&state_k[i]);
            free_array(&state_v[i]);
        }
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
    free(first);
}

static void wrong_segments_are_errors(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    array x = make_array(VLM_DTYPE_F32, 1, 0, 3, (int64_t[]) { 4, 2, 8 });
    vlm_kv kv = { .k = x.t, .v = x.t };
    vlm_span across = { 1, 3 };
    static const vlm_attention_desc desc = { .scale = 1, .causal = true };
    const struct {
        vlm_segment s;
        vlm_status status;
    } cases[] = {
        { { 0, 3, NULL, 0, NULL, 0, 0 }, VLM_ERR_ARGUMENT },
        { { 1, 3, NULL, 0, NULL, 0, 0 }, VLM_ERR_ARGUMENT },
        { { 0, 5, NULL, 0, NULL, 0, 0 }, VLM_ERR_ARGUMENT },
        { { 0, 4, NULL, 1, NULL, 0, 0 }, VLM_ERR_ARGUMENT },
        { { 0, 4, &kv, 1, NULL, 0, 0 }, VLM_ERR_CONTEXT_FULL },
        { { 0, 4, &kv, INT64_MAX, NULL, 0, 0 }, VLM_ERR_CONTEXT_FULL },
        { { 0, 4, &kv, -1, NULL, 0, 0 }, VLM_ERR_ARGUMENT },
        { { 0, 4, NULL, 0, NULL, 0, 5 }, VLM_ERR_ARGUMENT },
        { { 0, 4, &kv, 0, NULL, 0, 2 }, VLM_ERR_ARGUMENT },
        { { 0, 4, NULL, 0, &(vlm_span) { 3, 2 }, 1, 0 }, VLM_ERR_ARGUMENT },
        { { 0, 4, NULL, 0, &(vlm_span) { 2, 5 }, 1, 0 }, VLM_ERR_ARGUMENT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vtensor_frame_begin(f);
        vlm_tensor y = vlm_attention(f, x.t, x.t, x.t, &cases[i].s, 1, &desc);
        assert_int_equal(y.rank, 0);
        assert_int_equal(vtensor_frame_end(f, NULL), cases[i].status);
    }
    vtensor_frame_begin(f); /* a span may not be cut by a call */
    vlm_segment cut = { 0, 2, &kv, 2, &across, 1, 0 };
    vlm_attention(f, rows_of(&x, 0, 2), rows_of(&x, 0, 2), rows_of(&x, 0, 2), &cut, 1, &desc);
    assert_int_equal(vtensor_frame_end(f, NULL), VLM_ERR_ARGUMENT);
    free_array(&x);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_matches),          cmocka_unit_test(calls_continue_each_other),
        cmocka_unit_test(segments_do_not_mix),       cmocka_unit_test(sequences_in_one_step),
        cmocka_unit_test(wrong_segments_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
