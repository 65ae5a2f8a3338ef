/* SPDX-License-Identifier: MIT */
/* Products with quantized weights in fast mode, few rows and many, beside the same product of
 * dequantized weights in double; massive activations; the same bits whatever the threads and, among
 * few rows, whatever the other rows. */
#include "tensor_check.h"

static const vlm_dtype float_types[] = { VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };
/* Of x rounded in groups, to 16 bits or to 8; float32 sums. */
#define TOLERANCE 6e-5
#define TOLERANCE_INT8 1e-2

typedef struct quantized {
    vlm_linear l;
    array scales, biases, bias;
    uint32_t *packed;
} quantized;

static quantized make_quantized(int bits, int group, int64_t out, int64_t in) {
    quantized q = { 0 };
    int64_t groups[] = { out, in / group }, words = out * in * bits / 32;
    q.packed = malloc((size_t)words * sizeof *q.packed);
    for (int64_t i = 0; i < words; i++) q.packed[i] = (uint32_t)rng();
    float scale = 2.0f / (float)(1 << bits); /* values around zero, as a model's are */
    q.scales = make_array(float_types[rng() % 3], scale, 1, 2, groups);
    q.biases = make_array(float_types[rng() % 3], 1, 1, 2, groups);
    q.bias = make_array(float_types[rng() % 3], 1, 1, 1, &out);
    q.l.weight = (vlm_matrix) { .storage = VLM_STORAGE_AFFINE,
                                .out = out,
                                .in = in,
                                .bits = bits,
                                .group = group,
                                .scales = q.scales.t,
                                .biases = q.biases.t };
    q.l.weight.data = vtensor_of(q.packed, VLM_DTYPE_U32, 2, (int64_t[]) { out, in * bits / 32 });
    if (rng() & 1) q.l.bias = q.bias.t;
    return q;
}

static void free_quantized(quantized *q) {
    free(q->packed);
    free_array(&q->scales);
    free_array(&q->biases);
    free_array(&q->bias);
}

/* x Wᵀ + b in double, W's values being those of embed. */
static double *reference(vlm_frame *f, const array *x, const quantized *q, int64_t n) {
    int64_t out = q->l.weight.out, in = q->l.weight.in;
    int32_t *ids = malloc((size_t)out * sizeof *ids);
    for (int64_t o = 0; o < out; o++) ids[o] = (int32_t)o;
    vlm_tensor w = vlm_embed(f, &q->l.weight, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &out, ids));
    double *y = malloc((size_t)(n * out) * sizeof *y);
    for (int64_t r = 0; r < n; r++)
        for (int64_t o = 0; o < out; o++) {
            double s = q->l.bias.rank ? q->bias.v[o] : 0;
            for (int64_t k = 0; k < in; k++)
                s += x->v[r * in + k] * (double)((float *)w.data)[o * in + k];
            y[r * out + o] = s;
        }
    free(ids);
    return y;
}

static void check(vlm_frame *f, int bits, int group, int64_t n, int64_t out, int64_t in,
                  double tolerance) {
    quantized q = make_quantized(bits, group, out, in);
    array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, in });
    double *want = reference(f, &x, &q, n);
    vlm_tensor y = vlm_apply_linear(f, x.t, &q.l);
    assert_near(y.data, want, (size_t)(n * out), tolerance, "%d bits group %d, %d rows, %d x %d",
                bits, group, (int)n, (int)out, (int)in);
    free(want);
    free_array(&x);
    free_quantized(&q);
}

/* A backend that rounds x to 16 bits, or also one that may round many rows, and few rows that meet
 * four bits, to 8. */
static vtensor_backend *open_rounding(int at, bool no_int8) {
    vtensor_cpu_options options = { .threads = 2, .cpu_mask = levels[at].mask };
    options.no_int8_activations = no_int8;
    vtensor_backend *b = NULL;
    assert_int_equal(vtensor_backend_cpu(&b, &options, NULL), VLM_OK);
    return b;
}

static void products_are_near(void **state) {
    (void)state;
    static const int bits[] = { 2, 3, 4, 5, 6, 8 };
    for (int at = 0; at < 2 * N_LEVELS; at++) {
        bool no_int8 = at & 1;
        double tolerance = no_int8 ? TOLERANCE : TOLERANCE_INT8;
        vtensor_backend *b = open_rounding(at / 2, no_int8);
        for (int i = 0; i < 6; i++)
            for (int group = 32; group <= 128; group *= 2)
                for (int round = 0; round < 4; round++) {
                    vlm_frame *f = open_frame(b, VTENSOR_FAST);
                    int64_t in = group * rng_int(1, round ? 9 : 40);
                    int64_t out = rng_int(1, 70);
                    int64_t n = round & 1 ? rng_int(1, 16) : rng_int(17, 70);
                    check(f, bits[i], group, n, out, in,
                          n <= 16 && bits[i] != 4 ? TOLERANCE : tolerance);
                    end_ok(f);
                    vtensor_frame_free(f);
                }
        vlm_frame *f = open_frame(b, VTENSOR_FAST);
        check(f, 4, 64, 530, 20, 128, tolerance); /* more rows than a block */
        check(f, 8, 32, 20, 40, 2080, tolerance);
        check(f, 4, 64, 1, 700, 128, tolerance); /* so many outs that x may become bytes */
        check(f, 4, 32, 40, 700, 128, tolerance);
        check(f, 8, 64, 40, 700, 128, tolerance);
        end_ok(f);
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
}

/* What is added to a state meets x of 16 bits, though the backend may round others to 8. */
static void sums_are_precise(void **state) {
    (void)state;
    enum { OUT = 1100, IN = 256 };
    for (int at = 0; at < N_LEVELS; at++)
        for (int64_t n = 3; n <= 40; n += 37) {
            vtensor_backend *b = open_rounding(at, false);
            vlm_frame *f = open_frame(b, VTENSOR_FAST);
            quantized q = make_quantized(4, 64, OUT, IN);
            array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, IN });
            array sum = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, OUT });
            double *want = reference(f, &x, &q, n);
            vlm_tensor through = vlm_copy(f, sum.t); /* the same through a norm */
            double *normed = malloc((size_t)(n * OUT) * sizeof *normed);
            assert_non_null(normed);
            for (int64_t r = 0; r < n; r++) {
                double squares = 0;
                for (int64_t i = r * OUT; i < (r + 1) * OUT; i++) squares += want[i] * want[i];
                for (int64_t i = r * OUT; i < (r + 1) * OUT; i++)
                    normed[i] = sum.v[i] + want[i] / sqrt(squares / OUT);
            }
            for (int64_t i = 0; i < n * OUT; i++) want[i] += sum.v[i];
            vlm_add_linear(f, sum.t, x.t, &q.l);
            assert_near(sum.t.data, want, (size_t)(n * OUT), TOLERANCE, "a sum of %d rows", (int)n);
            vlm_add_normed_linear(f, through, x.t, &q.l, &(vlm_norm) { .eps = 1e-12f });
            assert_near(through.data, normed, (size_t)(n * OUT), TOLERANCE, "normed, %d rows", (int)n);
            free(want);
            free(normed);
            free_array(&x);
            free_array(&sum);
            free_quantized(&q);
            end_ok(f);
            vtensor_frame_free(f);
            vtensor_backend_free(b);
        }
}

/* One value a thousand times the others' size, as real activations have: only its own group is
 * rounded the worse for it. */
static void massive_activations(void **state) {
    (void)state;
    for (int at = 0; at < 2 * N_LEVELS; at++)
        for (int64_t n = 2; n <= 32; n *= 4) {
            enum { OUT = 1100, IN = 256 };
            vtensor_backend *b = open_rounding(at / 2, at & 1);
            vlm_frame *f = open_frame(b, VTENSOR_FAST);
            quantized q = make_quantized(4, 64, OUT, IN);
            array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, IN });
            for (int64_t r = 0; r < n; r++) {
                int64_t i = r * IN + 64 + (int64_t)(rng() % 64);
                ((float *)x.t.data)[i] = 1000;
                x.v[i] = 1000;
            }
            double *want = reference(f, &x, &q, n);
            vlm_tensor y = vlm_apply_linear(f, x.t, &q.l);
            assert_near(y.data, want, (size_t)(n * OUT), at & 1 ? 2e-4 : 2e-2, "massive, %d rows",
                        (int)n);
            free(want);
            free_array(&x);
            free_quantized(&q);
            end_ok(f);
            vtensor_frame_free(f);
            vtensor_backend_free(b);
        }
}

/* Several linears of mixed bits and groups over one x are what each gives alone; so is each of a
 * few rows; whatever the number of threads. */
static void company_does_not_show(void **state) {
    (void)state;
    enum { LAYERS = 5, IN = 384 };
    static const int bits[LAYERS] = { 4, 4, 8, 6, 4 }, groups[LAYERS] = { 64, 64, 64, 64, 32 };
    for (int at = 0; at < N_LEVELS; at++)
        for (int64_t n = 1; n <= 40; n = n * 3 + 1) {
            quantized q[LAYERS];
            const vlm_linear *pointers[LAYERS];
            vlm_tensor y[LAYERS];
            for (int i = 0; i < LAYERS; i++) {
                q[i] = make_quantized(bits[i], groups[i], rng_int(1, 400), IN);
                pointers[i] = &q[i].l;
            }
            array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, IN });
            vtensor_backend *one = open_backend(at, 1), *three = open_backend(at, 3);
            vlm_frame *f = open_frame(one, VTENSOR_FAST), *g = open_frame(three, VTENSOR_FAST);
            vlm_apply_linears(g, y, x.t, pointers, LAYERS);
            for (int i = 0; i < LAYERS; i++) {
                size_t out = (size_t)q[i].l.weight.out;
                vlm_tensor alone = vlm_apply_linear(f, x.t, &q[i].l);
                assert_memory_equal(y[i].data, alone.data, (size_t)n * out * sizeof(float));
                for (int64_t r = 0; n <= 16 && r < n; r++) {
                    vlm_tensor row = vlm_apply_linear(f, vlm_rows(f, x.t, r, 1), &q[i].l);
                    assert_memory_equal(row.data, (float *)alone.data + (size_t)r * out,
                                        out * sizeof(float));
                }
            }
            for (int i = 0; i < LAYERS; i++) free_quantized(&q[i]);
            free_array(&x);
            end_ok(f);
            end_ok(g);
            vtensor_frame_free(f);
            vtensor_frame_free(g);
            vtensor_backend_free(one);
            vtensor_backend_free(three);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_near),
        cmocka_unit_test(sums_are_precise),
        cmocka_unit_test(massive_activations),
        cmocka_unit_test(company_does_not_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
