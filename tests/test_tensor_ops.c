/* SPDX-License-Identifier: MIT */
/* Every operation against plain loops in double, over random shapes and tails, at every instruction
 * set; and the same bits whatever the number of threads. */
#include "tensor_check.h"
#include "vlm/extend/nn.h"

static const vlm_dtype float_types[] = { VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };

/* ---- elementwise ---- */
static double act(vlm_activation a, double x) {
    switch (a) {
    case VLM_ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
    case VLM_ACT_GELU_TANH: return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case VLM_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case VLM_ACT_SILU: return x / (1 + exp(-x));
    default: return x > 0 ? x : 0;
    }
}

/* Largest |got - want| / |want|, values below 1e-30 counting as that. */
static double worst(const float *got, const double *want, size_t n) {
    double w = 0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs(got[i] - want[i]) / fmax(fabs(want[i]), 1e-30);
        if (!(e <= w)) w = e;
    }
    return w;
}

/* Bounds on the relative error of every single value; exp's argument costs the tanh form its
 * accuracy far out on the negative side, where the value has all but vanished. */
static const double act_bounds[] = { 1e-6, 2e-5, 4e-6, 4e-6, 0 };

static void activations_are_accurate(void **state) {
    (void)state;
    enum { N = 40001 };
    float *x = malloc(N * sizeof *x);
    double *want = malloc(N * sizeof *want);
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int a = VLM_ACT_GELU; a <= VLM_ACT_RELU; a++)
            for (double range = 1e-3; range <= 10; range *= 10) {
                for (int i = 0; i < N; i++) {
                    x[i] = (float)(range * (i - N / 2) / (N / 2));
                    want[i] = act((vlm_activation)a, x[i]);
                }
                vlm_tensor t = vlm_tensor_from(f, VLM_DTYPE_F32, 1, (int64_t[]) { N }, x);
                vlm_activation_to(f, t, (vlm_activation)a);
                double e = worst(t.data, want, N);
                if (!(e <= act_bounds[a]) || distance(t.data, want, N) > 2e-7)
                    fail_msg("%s activation %d range %g: worst %g, norm %g", levels[at].name, a,
                             range, e, distance(t.data, want, N));
            }
        static const float edge[] = { -INFINITY, -1e30f, -200, -100, -89, -88, 0, 88, 89, 1e30f };
        enum { EDGES = sizeof edge / sizeof edge[0] };
        for (int a = VLM_ACT_GELU; a <= VLM_ACT_RELU; a++) {
            vlm_tensor t =
                vlm_tensor_from(f, VLM_DTYPE_F32, 1, (int64_t[]) { EDGES - 1 }, edge + 1);
            vlm_activation_to(f, t, (vlm_activation)a);
            for (int i = 1; i < EDGES; i++) {
                double got = ((float *)t.data)[i - 1], expected = edge[i] > 0 ? edge[i] : 0;
                if (!(fabs(got - expected) <= 1e-6 * fabs(expected) + 1e-30))
                    fail_msg("%s activation %d of %g is %g", levels[at].name, a, edge[i], got);
            }
        }
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
    free(x);
    free(want);
}

static void softcap_is_accurate(void **state) {
    (void)state;
    enum { N = 20001 };
    float *x = malloc(N * sizeof *x);
    double *want = malloc(N * sizeof *want);
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (double range = 1e-2; range <= 1000; range *= 10) {
            for (int i = 0; i < N; i++) {
                x[i] = (float)(range * (i - N / 2) / (N / 2));
                want[i] = 30 * tanh((double)x[i] / 30);
            }
            vlm_tensor t = vlm_tensor_from(f, VLM_DTYPE_F32, 1, (int64_t[]) { N }, x);
            vlm_softcap_to(f, t, 30);
            double e = worst(t.data, want, N);
            if (!(e <= 5e-7)) fail_msg("%s softcap range %g: %g", levels[at].name, range, e);
        }
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
    free(x);
    free(want);
}

static void elementwise_matches_loops(void **state) {
    (void)state;
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int i = 0; i < 60; i++) {
            int64_t n = rng_int(1, 90), dim = rng_int(1, 900), wide = dim + rng_int(0, 3);
            array x = make_array(VLM_DTYPE_F32, 2, 0, 2, (int64_t[]) { n, wide });
            bool row = rng() & 1;
            array y = make_array(float_types[rng() % 3], 2, (size_t)rng_int(0, 3), 2,
                                 (int64_t[]) { row ? 1 : n, dim });
            array up = make_array(VLM_DTYPE_F32, 2, 0, 2, (int64_t[]) { n, dim });
            vlm_tensor t = vlm_columns(f, vlm_copy(f, x.t), wide - dim, dim);
            vlm_mul_to(f, t, y.t);
            vlm_add_to(f, t, row ? vlm_reshape1(f, y.t, dim) : y.t);
            vlm_scale_to(f, t, 0.25f);
            vlm_gate_to(f, t, up.t, VLM_ACT_SILU);
            double *want = malloc((size_t)(n * dim) * sizeof *want);
            for (int64_t r = 0; r < n; r++)
                for (int64_t c = 0; c < dim; c++) {
                    double yv = y.v[(row ? 0 : r * dim) + c];
                    double v = 0.25 * (x.v[r * wide + wide - dim + c] * yv + yv);
                    want[r * dim + c] = act(VLM_ACT_SILU, v) * up.v[r * dim + c];
                }
            assert_near(vlm_copy(f, t).data, want, (size_t)(n * dim), 3e-7, "elementwise");
            free(want);
            free_array(&x);
            free_array(&y);
            free_array(&up);
        }
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

/* ---- norms and rotary positions ---- */
static void norms_match_loops(void **state) {
    (void)state;
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int i = 0; i < 40; i++) {
            int64_t n = rng_int(1, 30), dim = rng_int(1, 1200);
            bool layer = i & 1;
            array x = make_array(VLM_DTYPE_F32, 3, 0, 2, (int64_t[]) { n, dim });
            array w = make_array(float_types[rng() % 3], 1, (size_t)rng_int(0, 3), 1, &dim);
            array bias = make_array(float_types[rng() % 3], 1, (size_t)rng_int(0, 3), 1, &dim);
            vlm_norm norm = { .weight = w.t,
                              .eps = 1e-6f,
                              .offset = layer ? 0 : (float)(i / 2 % 2) };
            if (layer) norm.bias = bias.t;
            double *want = malloc((size_t)(n * dim) * sizeof *want);
            for (int64_t r = 0; r < n; r++) {
                const double *v = x.v + r * dim;
                double mean = 0, var = 0;
                for (int64_t c = 0; layer && c < dim; c++) mean += v[c] / (double)dim;
                for (int64_t c = 0; c < dim; c++)
                    var += (v[c] - mean) * (v[c] - mean) / (double)dim;
                for (int64_t c = 0; c < dim; c++)
                    want[r * dim + c] =
                        (v[c] - mean) / sqrt(var + norm.eps) * ((double)norm.offset + w.v[c])
                        + (layer ? bias.v[c] : 0);
            }
            vlm_tensor y = layer ? vlm_layer_norm(f, x.t, &norm) : vlm_rms_norm(f, x.t, &norm);
            assert_near(y.data, want, (size_t)(n * dim), 2e-7, "norm %d x %d", (int)n, (int)dim);
            free(want);
            free_array(&x);
            free_array(&w);
            free_array(&bias);
        }
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

static void rope_rotates(void **state) {
    (void)state;
    enum { N = 9, HEADS = 3, DIM = 44, HALF = 19 };
    static const int32_t positions[3][N] = { { 0, 1, 2, 3, 700, 5, 6, 7, 100000 },
                                             { 3, 1, 4, 1, 5, 9, 2, 6, 5 },
                                             { 2, 7, 1, 8, 2, 8, 1, 8, 2 } };
    float inv_freq[HALF];
    uint8_t axis_of[HALF];
    for (int j = 0; j < HALF; j++) {
        inv_freq[j] = powf(10000, -(float)j / HALF);
        axis_of[j] = (uint8_t)(j % 3);
    }
    for (int at = 0; at < N_LEVELS; at++)
        for (int pairs = 0; pairs < 2; pairs++) {
            vtensor_backend *b = open_backend(at, 2);
            vlm_frame *f = open_frame(b, VTENSOR_EXACT);
            array x = make_array(VLM_DTYPE_F32, 1, 0, 3, (int64_t[]) { N, HEADS, DIM });
            vlm_tensor p = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { 3, N }, positions);
            vlm_rope_table table = vlm_rope_angles(f, p, inv_freq, axis_of, HALF);
            vlm_tensor y = vlm_copy(f, x.t);
            vlm_rope_to(f, y, &table, (vlm_rope_pairs)pairs);
            for (int i = 0; i < N * HEADS; i++)
                for (int j = 0; j < HALF; j++) {
                    float angle = (float)positions[axis_of[j]][i / HEADS] * inv_freq[j];
                    int a = i * DIM + (pairs ? 2 * j : j),
                        c = i * DIM + (pairs ? 2 * j + 1 : j + HALF);
                    double u = x.v[a], v = x.v[c];
                    x.v[a] = u * cos(angle) - v * sin(angle);
                    x.v[c] = v * cos(angle) + u * sin(angle);
                }
            assert_near(y.data, x.v, N * HEADS * DIM, 2e-7, "rope %d", pairs);
            free_array(&x);
            end_ok(f);
            vtensor_frame_free(f);
            vtensor_backend_free(b);
        }
}

/* ---- moving elements ---- */
/* ---- blocks ---- */
static void assert_same(vlm_tensor a, vlm_tensor b) {
    assert_int_equal(vtensor_count(a), vtensor_count(b));
    assert_memory_equal(a.data, b.data, (size_t)vtensor_count(a) * sizeof(float));
}

/* A block gives what its parts give in turn: on the CPU in the same bits. */
static void blocks_are_their_parts(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    vlm_linear gate, up, down;
    array wg = random_matrix(&gate, VLM_DTYPE_BF16, 96, 64), wu = random_matrix(&up, VLM_DTYPE_F32, 96, 64);
    array wd = random_matrix(&down, VLM_DTYPE_F16, 64, 96), x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { 5, 64 });
    const vlm_linear *const l[] = { &gate, &up, &down };
    const vlm_norm norm = { .eps = 1e-6f };
    vlm_tensor y[2], want[2], sum = vlm_copy(f, x.t), parts = vlm_copy(f, x.t);
    vlm_apply_norm_linears(f, y, x.t, &norm, l, 2);
    vlm_apply_linears(f, want, vlm_rms_norm(f, x.t, &norm), l, 2);
    assert_same(y[0], want[0]);
    assert_same(y[1], want[1]);
    vlm_add_gated(f, sum, x.t, &norm, l, VLM_ACT_SILU);
    vlm_gate_to(f, want[0], want[1], VLM_ACT_SILU);
    vlm_add_linear(f, parts, want[0], &down);
    assert_same(sum, parts);
    vlm_add_normed_linear(f, sum, want[0], &down, &norm);
    vlm_add_to(f, parts, vlm_rms_norm(f, vlm_apply_linear(f, want[0], &down), &norm));
    assert_same(sum, parts);
    vlm_tensor q = vlm_reshape3(f, vlm_copy(f, x.t), 5, 4, 16), turned = vlm_reshape3(f, vlm_copy(f, x.t), 5, 4, 16);
    float inv_freq[8];
    vlm_rope_frequencies(inv_freq, 16, 1e4);
    vlm_tensor positions = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { 1, 5 }, (int32_t[]) { 3, 4, 5, 6, 7 });
    vlm_rope_table rope = vlm_rope_angles(f, positions, inv_freq, NULL, 8);
    const vlm_segment s = { .length = 5 };
    vlm_attention_desc desc = { .scale = 0.25f, .causal = true };
    vlm_rope_to(f, turned, &rope, VLM_ROPE_HALVES);
    vlm_tensor a = vlm_attention(f, turned, turned, q, &s, 1, &desc);
    desc.rope = &rope;
    vlm_tensor k = vlm_copy(f, q);
    assert_same(a, vlm_attention(f, vlm_copy(f, q), k, q, &s, 1, &desc));
    assert_true(vlm_frame_ok(f));
    vlm_add_linear(f, sum, x.t, &down); /* 64 columns where 96 are needed */
    assert_false(vlm_frame_ok(f));
    vtensor_frame_free(f);
    vtensor_backend_free(b);
    free_array(&wg);
    free_array(&wu);
    free_array(&wd);
    free_array(&x);
}

static void permute_and_copy(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 3);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    for (int round = 0; round < 40; round++) {
        int64_t shape[4];
        int axes[4] = { 0, 1, 2, 3 };
        for (int i = 0; i < 4; i++) shape[i] = rng_int(1, round < 35 ? 7 : 20);
        for (int i = 3; i > 0; i--) {
            int j = (int)rng_int(0, i), t = axes[i];
            axes[i] = axes[j];
            axes[j] = t;
        }
        array x = make_array(float_types[round % 3], 1, 1, 4, shape);
        vlm_tensor y = vlm_permute(f, x.t, axes), z = vlm_copy(f, y);
        assert_int_equal(y.dtype, x.t.dtype);
        assert_int_equal(z.dtype, VLM_DTYPE_F32);
        int64_t i[4], at = 0;
        for (i[0] = 0; i[0] < y.shape[0]; i[0]++)
            for (i[1] = 0; i[1] < y.shape[1]; i[1]++)
                for (i[2] = 0; i[2] < y.shape[2]; i[2]++)
                    for (i[3] = 0; i[3] < y.shape[3]; i[3]++) {
                        int64_t from = 0;
                        for (int d = 0; d < 4; d++) {
                            assert_int_equal(y.shape[d], shape[axes[d]]);
                            from += i[d] * x.t.stride[axes[d]];
                        }
                        assert_float_equal(((float *)z.data)[at++], x.v[from], 0);
                    }
        free_array(&x);
    }
    end_ok(f);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

static void gather_scatter_concat_views(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 2);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    array x = make_array(VLM_DTYPE_BF16, 1, 1, 2, (int64_t[]) { 9, 5 });
    int32_t index[] = { 8, 0, 3, 3 };
    vlm_tensor i = vlm_tensor_from(f, VLM_DTYPE_I32, 1, (int64_t[]) { 4 }, index);
    vlm_tensor y = vlm_gather(f, x.t, i);
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 5; c++)
            assert_float_equal(((float *)y.data)[r * 5 + c], x.v[index[r] * 5 + c], 0);

    vlm_tensor z = vlm_copy(f, x.t);
    float rows[20];
    for (int n = 0; n < 20; n++) rows[n] = (float)n + 10;
    vlm_scatter_to(f, z, i, vlm_tensor_from(f, VLM_DTYPE_F32, 2, (int64_t[]) { 4, 5 }, rows));
    assert_float_equal(((float *)z.data)[8 * 5 + 1], 11, 0);
    assert_float_equal(((float *)z.data)[3 * 5 + 4], 29, 0); /* the last of two rows stays */
    assert_float_equal(((float *)z.data)[1], 16, 0);
    assert_float_equal(((float *)z.data)[2 * 5], x.v[10], 0);

    vlm_tensor both = vlm_concat(f, (vlm_tensor[]) { y, vlm_rows(f, x.t, 2, 3) }, 2);
    assert_int_equal(both.shape[0], 7);
    assert_float_equal(((float *)both.data)[6 * 5 + 2], x.v[4 * 5 + 2], 0);
    vlm_copy_to(f, vlm_columns(f, vlm_rows(f, both, 5, 2), 3, 2),
                vlm_columns(f, vlm_rows(f, x.t, 7, 2), 0, 2));
    assert_float_equal(((float *)both.data)[6 * 5 + 4], x.v[8 * 5 + 1], 0);
    assert_float_equal(((float *)both.data)[6 * 5 + 2], x.v[4 * 5 + 2], 0);

    vlm_tensor right = vlm_columns(f, z, 1, 4); /* rows of 4, 5 apart, cut in two heads of 2 */
    vlm_tensor heads = vlm_reshape3(f, right, -1, 2, 2);
    assert_int_equal(heads.shape[0], 9);
    assert_int_equal(heads.stride[0], 5);
    assert_ptr_equal((float *)heads.data + heads.stride[1], (float *)z.data + 3);
    assert_true(vlm_frame_ok(f));
    vlm_reshape1(f, right, -1); /* would have to skip an element in every row */
    assert_int_equal(vtensor_frame_end(f, NULL), VLM_ERR_ARGUMENT);
    free_array(&x);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

/* ---- wrong use ---- */
typedef void misuse(vlm_frame *f, vlm_tensor x, vlm_linear *l);

static void use_id_too_large(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)x;
    int32_t ids[] = { 0, 8 };
    vlm_embed(f, &l->weight, vlm_tensor_from(f, VLM_DTYPE_I32, 1, (int64_t[]) { 2 }, ids));
}
static void use_id_negative(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)x;
    int32_t ids[] = { -1 };
    vlm_embed(f, &l->weight, vlm_tensor_from(f, VLM_DTYPE_I32, 1, (int64_t[]) { 1 }, ids));
}
static void use_gather_outside(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)l;
    int32_t ids[] = { 3 };
    vlm_gather(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 1, (int64_t[]) { 1 }, ids));
}
static void use_wrong_width(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    vlm_apply_linear(f, vlm_columns(f, x, 0, 3), l);
}
static void use_wrong_bits(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    l->weight.storage = VLM_STORAGE_AFFINE;
    l->weight.bits = 7;
    vlm_apply_linear(f, x, l);
}
static void use_wrong_norm(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)l;
    vlm_rms_norm(f, x, &(vlm_norm) { .weight = vlm_reshape1(f, vlm_rows(f, x, 0, 2), 8) });
}
static void use_wrong_add(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)l;
    vlm_add_to(f, x, vlm_rows(f, x, 0, 2));
}
static void use_rows_outside(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)l;
    vlm_rows(f, x, 2, 2);
}
static void use_nothing(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)x;
    vlm_apply_linear(f, (vlm_tensor) { 0 }, l);
}
static void use_wrong_axes(vlm_frame *f, vlm_tensor x, vlm_linear *l) {
    (void)l;
    vlm_permute(f, x, (int[]) { 1, 1 });
}

static void wrong_use_is_an_error(void **state) {
    (void)state;
    static misuse *const uses[] = { use_id_too_large, use_id_negative,  use_gather_outside,
                                    use_wrong_width,  use_wrong_bits,   use_wrong_norm,
                                    use_wrong_add,    use_rows_outside, use_nothing,
                                    use_wrong_axes };
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_FAST);
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        vlm_linear l;
        array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { 3, 4 });
        array w = random_matrix(&l, VLM_DTYPE_F32, 8, 4);
        vlm_error err = VLM_ERROR_INIT;
        vtensor_frame_begin(f);
        uses[i](f, x.t, &l);
        assert_int_equal(vlm_copy(f, x.t).rank, 0); /* nothing runs after an error */
        assert_int_equal(vtensor_frame_end(f, &err), VLM_ERR_ARGUMENT);
        assert_true(strlen(err.message) > 10);
        free_array(&x);
        free_array(&w);
    }
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

/* ---- threads ---- */
/* A small pass through every kind of operation; returns its values. */
static float *pass(int threads, vtensor_mode mode, int64_t n, size_t *count) {
    rng_state = 99;
    vtensor_backend *b = open_backend(N_LEVELS - 1, threads);
    vlm_frame *f = open_frame(b, mode);
    vlm_linear up, gate, down;
    array wu = random_matrix(&up, VLM_DTYPE_BF16, 700, 384);
    array wg = random_matrix(&gate, VLM_DTYPE_F16, 700, 384);
    array wd = random_matrix(&down, VLM_DTYPE_F32, 384, 700);
    array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, 384 });
    vlm_tensor y[2], h = vlm_rms_norm(f, x.t, &(vlm_norm) { .eps = 1e-6f });
    vlm_apply_linears(f, y, h, (const vlm_linear *[]) { &gate, &up }, 2);
    vlm_gate_to(f, y[0], y[1], VLM_ACT_GELU_TANH);
    h = vlm_apply_linear(f, y[0], &down);
    vlm_add_to(f, h, x.t);
    vlm_tensor q = vlm_reshape3(f, h, n, 6, 64);
    vlm_segment s = { .length = n };
    vlm_tensor o = vlm_attention(f, q, q, q, &s, 1, &(vlm_attention_desc) { .scale = 0.1f });
    end_ok(f);
    *count = (size_t)vtensor_count(o);
    float *values = malloc(*count * sizeof *values);
    assert_int_equal(vtensor_read(f, o, values, NULL), VLM_OK);
    free_array(&wu);
    free_array(&wg);
    free_array(&wd);
    free_array(&x);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
    return values;
}

static void threads_do_not_show(void **state) {
    (void)state;
    for (int mode = VTENSOR_EXACT; mode <= VTENSOR_FAST; mode++)
        for (int64_t n = 1; n <= 200; n = n * 5 + 1) {
            size_t count;
            float *one = pass(1, (vtensor_mode)mode, n, &count);
            for (int threads = 2; threads <= 3; threads++) {
                float *many = pass(threads, (vtensor_mode)mode, n, &count);
                assert_memory_equal(one, many, count * sizeof *one);
                free(many);
            }
            free(one);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_accurate),
        cmocka_unit_test(softcap_is_accurate),
        cmocka_unit_test(elementwise_matches_loops),
        cmocka_unit_test(norms_match_loops),
        cmocka_unit_test(rope_rotates),
        cmocka_unit_test(blocks_are_their_parts),
        cmocka_unit_test(permute_and_copy),
        cmocka_unit_test(gather_scatter_concat_views),
        cmocka_unit_test(wrong_use_is_an_error),
        cmocka_unit_test(threads_do_not_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
