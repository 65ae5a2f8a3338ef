/* SPDX-License-Identifier: MIT */
/* Linear layers, dense and affine, against plain loops in double: random shapes and tails, every instruction set. */
#include "tensor_check.h"

static const vlm_dtype float_types[] = { VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };

/* ---- linear ---- */
static double *reference_linear(const array *x, const array *w, const array *bias, int64_t n,
                                int64_t out, int64_t in) {
    double *y = malloc((size_t)(n * out) * sizeof *y);
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < out; o++) {
            double s = bias->v ? bias->v[o] : 0;
            for (int64_t k = 0; k < in; k++) s += x->v[i * in + k] * w->v[o * in + k];
            y[i * out + o] = s;
        }
    return y;
}

static void check_linear(vlm_frame *f, vlm_dtype dtype, int64_t n, int64_t out, int64_t in,
                         double tolerance) {
    vlm_linear l;
    array w = random_matrix(&l, dtype, out, in), bias = { 0 };
    array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, in });
    if (rng() & 1) {
        bias = make_array(float_types[rng() % 3], 1, 2, 1, &out);
        l.bias = bias.t;
    }
    double *want = reference_linear(&x, &w, &bias, n, out, in);
    vlm_tensor y = vlm_apply_linear(f, x.t, &l);
    assert_int_equal(y.rank, 2);
    assert_near(y.data, want, (size_t)(n * out), tolerance, "linear %s n=%d out=%d in=%d",
                vtensor_dtype_name(dtype), (int)n, (int)out, (int)in);
    free(want);
    free_array(&w);
    free_array(&x);
    free_array(&bias);
}

/* Of random sizes, one draw a statement: the order in which arguments are evaluated is the compiler's. */
static void check_any_linear(vlm_frame *f, vlm_dtype dtype, double tolerance) {
    int64_t in = rng_int(1, 700);
    int64_t out = rng_int(1, 70);
    int64_t n = rng_int(1, 40);
    check_linear(f, dtype, n, out, in, tolerance);
}

static void linear_matches_loops(void **state) {
    (void)state;
    static const int64_t fixed[][3] = { { 1, 1, 1 },     { 1, 64, 576 },  { 2, 33, 31 },
                                        { 3, 7, 129 },   { 4, 16, 64 },   { 5, 1, 1 },
                                        { 5, 17, 3 },    { 6, 16, 256 },  { 7, 31, 257 },
                                        { 14, 32, 512 }, { 15, 33, 513 }, { 64, 48, 1100 },
                                        { 530, 5, 40 },  { 1, 3, 5000 },  { 13, 2, 769 } };
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int type = 0; type < 3; type++) {
            for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
                check_linear(f, float_types[type], fixed[i][0], fixed[i][1], fixed[i][2], 1e-6);
            for (int i = 0; i < 20; i++)
                check_any_linear(f, float_types[type], 1e-6);
        }
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

/* Fast mode may round bfloat16 products' inputs, and nothing else. */
static void fast_linear_is_near(void **state) {
    (void)state;
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_FAST);
        for (int i = 0; i < 30; i++)
            for (int type = 0; type < 3; type++)
                check_any_linear(f, float_types[type], type == 1 ? 4e-3 : 1e-6);
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

static void linears_share_an_input(void **state) {
    (void)state;
    static const int64_t outs[] = { 40, 8, 8, 300, 1 };
    for (int at = 0; at < N_LEVELS; at++)
        for (int64_t n = 1; n <= 24; n += 7) {
            vtensor_backend *b = open_backend(at, 2);
            vlm_frame *f = open_frame(b, VTENSOR_FAST);
            array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, 96 });
            vlm_linear l[5];
            const vlm_linear *pointers[5];
            array w[5];
            vlm_tensor y[5];
            for (int i = 0; i < 5; i++) {
                w[i] = random_matrix(&l[i], float_types[i % 3], outs[i], 96);
                pointers[i] = &l[i];
            }
            vlm_apply_linears(f, y, x.t, pointers, 5);
            for (int i = 0; i < 5; i++) {
                vlm_tensor alone = vlm_apply_linear(f, x.t, &l[i]);
                assert_memory_equal(y[i].data, alone.data, (size_t)(n * outs[i]) * 4);
                free_array(&w[i]);
            }
            free_array(&x);
            end_ok(f);
            vtensor_frame_free(f);
            vtensor_backend_free(b);
        }
}

/* ---- affine matrices ---- */
typedef struct affine {
    vlm_matrix m;
    array scales, biases;
    uint8_t *packed;
    array w; /* dequantized */
} affine;

/* Packs as MLX does: one little-endian stream of bits per row. */
static affine make_affine(int bits, int group, int64_t out, int64_t in, vlm_dtype dtype) {
    affine a = { 0 };
    int64_t groups[] = { out, in / group };
    size_t row_bytes = (size_t)(in * bits / 8);
    a.packed = calloc((size_t)out * row_bytes + 1, 1);
    a.scales = make_array(dtype, 0.1f, 1, 2, groups);
    a.biases = make_array(dtype, 1, 1, 2, groups);
    a.w.v = malloc((size_t)(out * in) * sizeof(double));
    for (int64_t i = 0; i < out * in; i++) {
        unsigned q = (unsigned)(rng() & ((1u << bits) - 1));
        int64_t g = i / in * groups[1] + i % in / group;
        a.w.v[i] = (float)q * (float)a.scales.v[g] + (float)a.biases.v[g];
        for (int bit = 0; bit < bits; bit++) {
            size_t at = (size_t)(i % in) * (size_t)bits + (size_t)bit;
            uint8_t *byte = a.packed + 1 + (size_t)(i / in) * row_bytes + at / 8;
            *byte = (uint8_t)(*byte | (q >> bit & 1) << at % 8);
        }
    }
    a.m = (vlm_matrix) {
        VLM_STORAGE_AFFINE, out,           in, .scales = a.scales.t, .biases = a.biases.t,
        .bits = bits,       .group = group
    };
    a.m.data = vtensor_of(a.packed + 1, VLM_DTYPE_U32, 2, (int64_t[]) { out, in * bits / 32 });
    return a;
}

static void free_affine(affine *a) {
    free_array(&a->scales);
    free_array(&a->biases);
    free_array(&a->w);
    free(a->packed);
}

static void affine_matrices(void **state) {
    (void)state;
    static const int bits[] = { 2, 3, 4, 5, 6, 8 };
    for (int at = 0; at < N_LEVELS; at++) {
        vtensor_backend *b = open_backend(at, 2);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int i = 0; i < 6; i++)
            for (int group = 32; group <= 128; group *= 2) {
                int64_t out = rng_int(1, 40), in = 128 * rng_int(1, 5), n = rng_int(1, 12);
                affine a = make_affine(bits[i], group, out, in, float_types[rng() % 3]);
                array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, in }), none = { 0 };
                double *want = reference_linear(&x, &a.w, &none, n, out, in);
                vlm_tensor y = vlm_apply_linear(f, x.t, &(vlm_linear) { .weight = a.m });
                assert_near(y.data, want, (size_t)(n * out), 1e-6, "affine %d bits group %d",
                            bits[i], group);
                int32_t ids[] = { (int32_t)out - 1, 0 };
                vlm_tensor e = vlm_embed(
                    f, &a.m, vlm_tensor_from(f, VLM_DTYPE_I32, 1, (int64_t[]) { 2 }, ids));
                for (int64_t k = 0; k < in; k++) {
                    assert_float_equal(((float *)e.data)[k], a.w.v[(out - 1) * in + k], 0);
                    assert_float_equal(((float *)e.data)[in + k], a.w.v[k], 0);
                }
                free(want);
                free_affine(&a);
                free_array(&x);
            }
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_matches_loops),
        cmocka_unit_test(fast_linear_is_near),
        cmocka_unit_test(linears_share_an_input),
        cmocka_unit_test(affine_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
