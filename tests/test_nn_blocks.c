/* SPDX-License-Identifier: MIT */
/* Shared blocks: walks over rows, patches, pixel shuffle, MLPs, rotary frequencies (figures of
 * torch). */
#include <math.h>

#include "nn/nn.h"
#include "support/cm.h"

static vtensor_backend *backend;
static vlm_frame *frame;

static int make(void **state) {
    (void)state;
    const vtensor_cpu_options options = { .threads = 1 };
    return vtensor_backend_cpu(&backend, &options, NULL) < 0
           || vtensor_frame_new(&frame, backend, VTENSOR_EXACT, NULL) < 0;
}

static int unmake(void **state) {
    (void)state;
    vtensor_frame_free(frame);
    vtensor_backend_free(backend);
    return 0;
}

/* 0, 1, 2, ... in a shape. */
static vlm_tensor iota(int rank, const int64_t *shape) {
    vlm_tensor x = vlm_tensor_new(frame, VLM_DTYPE_F32, rank, shape);
    for (int64_t i = 0; i < vtensor_count(x); i++) ((float *)x.data)[i] = (float)i;
    return x;
}

static void assert_row(vlm_tensor x, int64_t row, const float *want) {
    const float *v = (const float *)x.data + row * x.shape[1];
    for (int64_t i = 0; i < x.shape[1]; i++) assert_float_equal(v[i], want[i], 0);
}

static void patches(void **state) {
    (void)state;
    vtensor_frame_begin(frame);
    vlm_tensor x = vlm_patches(frame, iota(3, (int64_t[]) { 2, 4, 6 }), 2);
    assert_int_equal(vtensor_frame_end(frame, NULL), VLM_OK);
    assert_int_equal(x.shape[0], 6);
    assert_int_equal(x.shape[1], 8);
    assert_row(x, 0, (float[]) { 0, 1, 6, 7, 24, 25, 30, 31 });
    assert_row(x, 2, (float[]) { 4, 5, 10, 11, 28, 29, 34, 35 });
    assert_row(x, 4, (float[]) { 14, 15, 20, 21, 38, 39, 44, 45 });
    vtensor_frame_begin(frame);
    x = vlm_patches(frame, iota(3, (int64_t[]) { 2, 4, 5 }), 2);
    assert_int_equal(x.rank, 0);
    assert_int_equal(vtensor_frame_end(frame, NULL), VLM_ERR_ARGUMENT);
}

static void pixel_shuffle(void **state) {
    (void)state;
    vtensor_frame_begin(frame);
    vlm_tensor x = vlm_pixel_shuffle(frame, iota(2, (int64_t[]) { 24, 2 }), 4, 6, 2);
    assert_int_equal(vtensor_frame_end(frame, NULL), VLM_OK);
    assert_int_equal(x.shape[0], 6);
    assert_int_equal(x.shape[1], 8);
    assert_row(x, 0, (float[]) { 0, 1, 2, 3, 12, 13, 14, 15 });
    assert_row(x, 1, (float[]) { 4, 5, 6, 7, 16, 17, 18, 19 });
    assert_row(x, 3, (float[]) { 24, 25, 26, 27, 36, 37, 38, 39 });
    static const int64_t wrong[][3] = { { 4, 5, 2 }, { 4, 6, 4 }, { 4, 6, 0 }, { 0, 0, 2 } };
    for (int i = 0; i < 4; i++) {
        vtensor_frame_begin(frame);
        x = vlm_pixel_shuffle(frame, iota(2, (int64_t[]) { 24, 2 }), wrong[i][0], wrong[i][1],
                              wrong[i][2]);
        assert_int_equal(vtensor_frame_end(frame, NULL), VLM_ERR_ARGUMENT);
    }
}

static void pieces(void **state) {
    (void)state;
    static const int64_t widths[] = { 1, 1 << 14, 1 << 16, 1 << 24 };
    static const int64_t most[] = { 1000, 256, 64, 64 };
    for (int w = 0; w < 4; w++) {
        vtensor_frame_begin(frame);
        vlm_tensor x = iota(2, (int64_t[]) { 1000, 3 });
        int64_t seen = 0, longest = 0;
        for (vlm_pieces p = vlm_pieces_of(frame, x, widths[w]); vlm_pieces_next(&p);) {
            assert_float_equal(((float *)p.rows.data)[0], seen * 3, 0);
            seen += p.rows.shape[0];
            if (p.rows.shape[0] > longest) longest = p.rows.shape[0];
            vlm_scale_to(frame, vlm_copy(frame, p.rows), 2);
        }
        assert_int_equal(seen, 1000);
        assert_int_equal(longest, most[w]);
        assert_int_equal(vtensor_frame_end(frame, NULL), VLM_OK);
    }
    vtensor_frame_begin(frame);
    vlm_tensor x = iota(2, (int64_t[]) { 1000, 3 });
    int steps = 0;
    for (vlm_pieces p = vlm_pieces_of(frame, x, 1 << 24); vlm_pieces_next(&p); steps++)
        vlm_frame_fail(frame, VLM_ERR_CANCELLED, "stop");
    assert_int_equal(steps, 1);
    assert_int_equal(vtensor_frame_end(frame, NULL), VLM_ERR_CANCELLED);
    vtensor_frame_begin(frame);
    for (vlm_pieces p = vlm_pieces_of(frame, (vlm_tensor) { 0 }, 4); vlm_pieces_next(&p);)
        fail_msg("a piece of nothing");
    assert_int_equal(vtensor_frame_end(frame, NULL), VLM_OK);
}

static vlm_linear linear(float *w, int64_t out, int64_t in) {
    vlm_linear l = { .weight = { .out = out, .in = in } };
    l.weight.data = vtensor_of(w, VLM_DTYPE_F32, 2, (int64_t[]) { out, in });
    return l;
}

static void mlps(void **state) {
    (void)state;
    float one[] = { 1, -1 }, two[] = { 2, 3 }, sum[] = { 1, 1 };
    vlm_mlp mlp = { linear(one, 2, 1), linear(sum, 1, 2), VLM_ACT_RELU };
    vlm_gated_mlp gated = { linear(one, 2, 1), linear(two, 2, 1), linear(sum, 1, 2), VLM_ACT_RELU };
    vtensor_frame_begin(frame);
    vlm_tensor x = iota(2, (int64_t[]) { 4, 1 });
    vlm_tensor y = vlm_apply_mlp(frame, x, &mlp), z = vlm_apply_gated_mlp(frame, x, &gated);
    assert_int_equal(vtensor_frame_end(frame, NULL), VLM_OK);
    for (int i = 0; i < 4; i++) {
        assert_float_equal(((float *)y.data)[i], i, 0);         /* relu(x) + relu(-x) */
        assert_float_equal(((float *)z.data)[i], 2 * i * i, 0); /* relu(x) 2x + relu(-x) 3x */
    }
}

static void rope_frequencies(void **state) {
    (void)state;
    static const struct {
        int dim;
        double theta;
        float at[5]; /* 0, 1, 2, dim / 4, dim / 2 - 1 */
    } torch[] = {
        { 16, 1e4, { 1, 0.316227764f, 0.100000001f, 0.00999999978f, 0.000316227786f } },
        { 64, 1e5, { 1, 0.697830558f, 0.486967534f, 0.00316227786f, 1.43301268e-05f } },
        { 128, 1e6, { 1, 0.805842221f, 0.649381638f, 0.00100000005f, 1.24093776e-06f } },
    };
    for (int i = 0; i < 3; i++) {
        float f[64];
        const int at[] = { 0, 1, 2, torch[i].dim / 4, torch[i].dim / 2 - 1 };
        vlm_rope_frequencies(f, torch[i].dim, torch[i].theta);
        for (int k = 0; k < 5; k++)
            assert_true(fabsf(f[at[k]] - torch[i].at[k]) <= 1.2e-7f * torch[i].at[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patches), cmocka_unit_test(pixel_shuffle),    cmocka_unit_test(pieces),
        cmocka_unit_test(mlps),    cmocka_unit_test(rope_frequencies),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
