/* SPDX-License-Identifier: MIT */
/* Operations that make a row of several others, against plain loops in double: weighted sums, short
 * convolutions whole, in pieces and several sequences at once, depthwise convolutions; what is refused. */
#include "tensor_check.h"

static const vlm_dtype float_types[] = { VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };

static void close_all(vlm_frame *f, vtensor_backend *b) {
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

/* ---- weighted sums ---- */
static void check_blend(vlm_frame *f, vlm_dtype type) {
    const int64_t rows = rng_int(1, 40), dim = rng_int(1, 70), n = rng_int(1, 50), taps = rng_int(1, 17);
    array x = make_array(type, 2, (size_t)rng_int(0, 3), 2, (int64_t[]) { rows, dim });
    array w = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, taps });
    int32_t *index = malloc((size_t)(n * taps) * sizeof *index);
    double *want = calloc((size_t)(n * dim), sizeof *want);
    for (int64_t i = 0; i < n * taps; i++) {
        index[i] = (int32_t)rng_int(0, rows - 1);
        for (int64_t c = 0; c < dim; c++) want[i / taps * dim + c] += w.v[i] * x.v[index[i] * dim + c];
    }
    vlm_tensor at = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { n, taps }, index);
    vlm_tensor y = vlm_blend(f, x.t, at, w.t);
    assert_true(vlm_frame_ok(f) && y.shape[0] == n && y.shape[1] == dim);
    assert_true(distance(y.data, want, (size_t)(n * dim)) < 1e-6);
    free(index);
    free(want);
    free_array(&x);
    free_array(&w);
}

static void weighted_sums_of_rows(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(0, 2);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    for (int i = 0; i < 200; i++) check_blend(f, float_types[i % 3]);
    end_ok(f);
    close_all(f, b);
}

/* ---- short convolutions ---- */
enum { ROWS = 9 }; /* of a state: more than the most taps */

typedef struct conv {
    int64_t dim, taps;
    array weight, bias;
    bool biased;
} conv;

static conv make_conv(vlm_dtype type) {
    conv c = { .dim = rng_int(1, 40), .taps = rng_int(1, 7), .biased = rng_int(0, 1) };
    c.weight = make_array(type, 1, (size_t)rng_int(0, 3), 2, (int64_t[]) { c.dim, c.taps });
    c.bias = make_array(type, 1, 0, 1, (int64_t[]) { c.dim });
    return c;
}

static void free_conv(conv *c) {
    free_array(&c->weight);
    free_array(&c->bias);
}

/* What a sequence [n, dim] becomes. Owned. */
static double *expected(const conv *c, const array *x, int64_t n) {
    double *y = malloc((size_t)(n * c->dim) * sizeof *y);
    for (int64_t t = 0; t < n; t++)
        for (int64_t d = 0; d < c->dim; d++) {
            double sum = c->biased ? c->bias.v[d] : 0;
            for (int64_t k = 0; k < c->taps; k++)
                if (t - c->taps + 1 + k >= 0)
                    sum += c->weight.v[d * c->taps + k] * x->v[(t - c->taps + 1 + k) * c->dim + d];
            y[t * c->dim + d] = sum;
        }
    return y;
}

static vlm_tensor apply(vlm_frame *f, const conv *c, vlm_tensor x, const vlm_segment *s, int n) {
    return vlm_short_conv(f, x, c->weight.t, c->biased ? c->bias.t : (vlm_tensor) { 0 }, s, n);
}

static vlm_kv new_state(float *memory, int64_t dim) {
    for (int64_t i = 0; i < ROWS * dim; i++) memory[i] = NAN; /* what was never written is not read */
    return (vlm_kv) { .k = vtensor_of(memory, VLM_DTYPE_F32, 3, (int64_t[]) { ROWS, 1, dim }) };
}

/* Row by row or in pieces from the state as whole; a piece that is done again changes nothing. */
static void check_pieces(vlm_frame *f, const conv *c, const array *x, int64_t n, const double *want) {
    float *memory = malloc((size_t)(ROWS * c->dim) * sizeof *memory);
    vlm_kv kv = new_state(memory, c->dim);
    for (int64_t past = 0, step; past < n; past += step) {
        step = rng_int(1, n - past < 14 ? n - past : 14);
        const vlm_segment s = { .length = step, .past = past, .kv = &kv };
        for (int again = 0; again < (step == 1 ? 2 : 1); again++) {
            vlm_tensor y = apply(f, c, vlm_rows(f, x->t, past, step), &s, 1);
            assert_true(vlm_frame_ok(f));
            assert_true(distance(y.data, want + past * c->dim, (size_t)(step * c->dim)) < 1e-6);
        }
    }
    free(memory);
}

static void check_conv(vlm_frame *f, vlm_dtype type) {
    conv c = make_conv(type);
    const int64_t n = rng_int(1, 60);
    array x = make_array(VLM_DTYPE_F32, 2, 0, 2, (int64_t[]) { n, c.dim });
    double *want = expected(&c, &x, n);
    const vlm_segment whole = { .length = n };
    vlm_tensor y = apply(f, &c, x.t, &whole, 1);
    assert_true(vlm_frame_ok(f));
    assert_true(distance(y.data, want, (size_t)(n * c.dim)) < 1e-6);
    check_pieces(f, &c, &x, n, want);
    free(want);
    free_array(&x);
    free_conv(&c);
}

static void short_convolutions_whole_and_in_pieces(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(0, 2);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    for (int i = 0; i < 200; i++) check_conv(f, float_types[i % 3]);
    end_ok(f);
    close_all(f, b);
}

/* Two sequences in one pass, as columns of something wider. */
static void sequences_do_not_see_each_other(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(0, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    conv c = make_conv(VLM_DTYPE_F32);
    const int64_t n[] = { 5, 12 }, dim = c.dim;
    array wide = make_array(VLM_DTYPE_F32, 2, 0, 2, (int64_t[]) { n[0] + n[1], 3 * dim });
    const vlm_segment s[] = { { .length = n[0] }, { .start = n[0], .length = n[1] } };
    vlm_tensor y = apply(f, &c, vlm_columns(f, wide.t, dim, dim), s, 2);
    assert_true(vlm_frame_ok(f));
    for (int i = 0; i < 2; i++) {
        array part = make_array(VLM_DTYPE_F32, 0, 0, 2, (int64_t[]) { n[i], dim });
        for (int64_t k = 0; k < n[i] * dim; k++)
            part.v[k] = wide.v[(s[i].start + k / dim) * 3 * dim + dim + k % dim];
        double *want = expected(&c, &part, n[i]);
        assert_true(distance((float *)y.data + s[i].start * dim, want, (size_t)(n[i] * dim)) < 1e-6);
        free(want);
        free_array(&part);
    }
    end_ok(f);
    free_array(&wide);
    free_conv(&c);
    close_all(f, b);
}

/* ---- depthwise convolutions ---- */
static void check_depthwise(vlm_frame *f, int64_t most) {
    const int64_t height = rng_int(1, 12), width = rng_int(1, 12), in = rng_int(1, most), each = rng_int(1, 3);
    const int64_t side = 2 * rng_int(0, 3) + 1, stride = rng_int(1, 3), out = in * each;
    const int64_t rows = (height + stride - 1) / stride, columns = (width + stride - 1) / stride;
    array wide = make_array(VLM_DTYPE_F32, 2, 0, 2, (int64_t[]) { height * width, in + 3 });
    array w = make_array(VLM_DTYPE_F32, 1, 0, 3, (int64_t[]) { side * side, each, in });
    array bias = make_array(VLM_DTYPE_F32, 1, 0, 1, &out);
    double *want = malloc((size_t)(rows * columns * out) * sizeof *want);
    for (int64_t i = 0; i < rows * columns * out; i++) {
        const int64_t o = i % out, top = i / out / columns * stride - side / 2, left = i / out % columns * stride - side / 2;
        want[i] = bias.v[o];
        for (int64_t k = 0; k < side * side; k++) {
            const int64_t y = top + k / side, x = left + k % side;
            if (y < 0 || y >= height || x < 0 || x >= width) continue;
            want[i] += w.v[(k * each + o % each) * in + o / each] * wide.v[(y * width + x) * (in + 3) + o / each];
        }
    }
    const vlm_depthwise depthwise = { w.t, bias.t };
    vlm_tensor y = vlm_depthwise_conv(f, vlm_columns(f, wide.t, 0, in), width, &depthwise, stride);
    assert_true(vlm_frame_ok(f) && y.shape[0] == rows * columns && y.shape[1] == out);
    assert_true(distance(y.data, want, (size_t)(rows * columns * out)) < 2e-6);
    free(want);
    free_array(&wide);
    free_array(&w);
    free_array(&bias);
}

static void depthwise_convolutions_of_maps(void **state) {
    (void)state;
    for (int l = 0; l < 2; l++)
        for (int threads = 1; threads < 3; threads++) {
            vtensor_backend *b = open_backend(l, threads);
            vlm_frame *f = open_frame(b, VTENSOR_EXACT);
            for (int i = 0; i < 60; i++) check_depthwise(f, i % 6 ? 20 : 300);
            end_ok(f);
            close_all(f, b);
        }
}

/* ---- what is refused ---- */
static void refused(vlm_frame *f, const char *why) {
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vtensor_frame_end(f, &err), VLM_ERR_ARGUMENT);
    if (!strstr(err.message, why)) fail_msg("'%s' lacks '%s'", err.message, why);
    vtensor_frame_begin(f);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(0, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    float memory[64] = { 0 };
    const int32_t beyond[] = { 0, 4 };
    vlm_tensor x = vtensor_of(memory, VLM_DTYPE_F32, 2, (int64_t[]) { 4, 3 });
    vlm_tensor w = vtensor_of(memory, VLM_DTYPE_F32, 2, (int64_t[]) { 1, 2 });
    vlm_tensor at = vtensor_of((void *)(uintptr_t)beyond, VLM_DTYPE_I32, 2, (int64_t[]) { 1, 2 });
    vlm_blend(f, x, at, w);
    refused(f, "index 4 at 1 is outside [0, 4)");
    vlm_blend(f, x, at, x);
    refused(f, "blend: F32 [4, 3]");
    vlm_tensor taps = vtensor_of(memory, VLM_DTYPE_F32, 2, (int64_t[]) { 3, 2 }), none = { 0 };
    const vlm_segment few = { .length = 3 }, past = { .length = 4, .past = 1 };
    vlm_short_conv(f, x, taps, none, &few, 1);
    refused(f, "segments cover 3 of 4 rows");
    vlm_short_conv(f, x, taps, none, &past, 1);
    refused(f, "state none");
    vlm_short_conv(f, x, x, none, &few, 1);
    refused(f, "short_conv: F32 [4, 3] by F32 [4, 3]");
    vlm_kv small = { .k = vtensor_of(memory, VLM_DTYPE_F32, 3, (int64_t[]) { 1, 1, 3 }) };
    const vlm_segment kept = { .length = 4, .kv = &small };
    vlm_short_conv(f, x, taps, none, &kept, 1);
    refused(f, "state F32 [1, 1, 3]");
    const vlm_depthwise even = { vtensor_of(memory, VLM_DTYPE_F32, 3, (int64_t[]) { 4, 1, 3 }),
                                 vtensor_of(memory, VLM_DTYPE_F32, 1, (int64_t[]) { 3 }) };
    vlm_depthwise_conv(f, x, 2, &even, 1); /* of 2 x 2 */
    refused(f, "depthwise_conv: F32 [4, 3] of width 2 by F32 [4, 1, 3]");
    const vlm_depthwise odd = { vtensor_of(memory, VLM_DTYPE_F32, 3, (int64_t[]) { 9, 1, 3 }), even.bias };
    vlm_depthwise_conv(f, x, 3, &odd, 1);
    refused(f, "of width 3");
    close_all(f, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weighted_sums_of_rows),
        cmocka_unit_test(short_convolutions_whole_and_in_pieces),
        cmocka_unit_test(sequences_do_not_see_each_other),
        cmocka_unit_test(depthwise_convolutions_of_maps),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
