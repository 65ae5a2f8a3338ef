/* SPDX-License-Identifier: MIT */
/* Prepared inputs: their arrays, their file in both directions, and files that are none. */
#include <stdlib.h>

#include "models/models.h"
#include "support/dir.h"

static char *path;

static const int64_t ids[] = { 5, 0, 4294967295 }, ones[] = { 1, 1, 1 }, padded[] = { 0, 1, 1 };
static const int64_t negative[] = { 5, -1, 3 }, below_all[] = { 5, -2147483649, 3 };
static const float pixels[] = { 0.5f, -1, 2, 3 };
static const double doubles[] = { 0.25, 1e300 };
static const uint16_t bf16[] = { 0x3f80, 0xc000 }, f16[] = { 0x3c00, 0xc000 };
static const int32_t i32[] = { -7, 8 };
static const uint8_t bools[] = { 1, 0 }, bytes[] = { 200, 3 };

#define T(name, dtype, data, ...)                                                                  \
    { name, dtype, sizeof((int[]) { __VA_ARGS__ }) / sizeof(int), { __VA_ARGS__ }, data }
static vlm_status load(vlm_prepared **p, const vio_out_tensor *list, size_t n, vlm_error *err) {
    *err = (vlm_error)VLM_ERROR_INIT;
    if (vio_safetensors_write(path, list, n, NULL, err) < 0) fail_msg("%s", err->message);
    return vmodel_prepared_load(p, path, NULL, err);
}

static void conversions(void **state) {
    (void)state;
    static const vio_out_tensor list[] = {
        T("input_ids", VIO_I64, ids, 1, 3),
        T("attention_mask", VIO_I64, ones, 1, 3),
        T("pixel_values", VIO_F32, pixels, 1, 2, 2),
        T("seconds", VIO_F64, doubles, 2),
        T("b", VIO_BF16, bf16, 2),
        T("h", VIO_F16, f16, 2),
        T("i", VIO_I32, i32, 2),
        T("t", VIO_BOOL, bools, 2),
        T("u", VIO_U8, bytes, 2),
        T("f8", VIO_F8_E4M3, bytes, 2),
    };
    vlm_prepared *p;
    vlm_error err;
    if (load(&p, list, sizeof list / sizeof list[0], &err) < 0) fail_msg("%s", err.message);
    size_t n;
    const uint32_t *got = vlm_prepared_ids(p, &n);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) assert_int_equal(got[i], (uint32_t)ids[i]);
    assert_null(vlm_prepared_find(p, "input_ids"));
    assert_null(vlm_prepared_find(p, "f8"));
    assert_int_equal(vmodel_prepared_count(p), 7);
    static const int64_t any[] = { -1, 2, -1 }, other[] = { -1, 3, -1 };
    const vlm_array *a;
    assert_int_equal(vlm_prepared_get(&a, p, "pixel_values", VLM_DTYPE_F32, 3, any, &err), VLM_OK);
    assert_memory_equal(a->data, pixels, sizeof pixels);
    const float *b = vlm_prepared_find(p, "b")->data, *h = vlm_prepared_find(p, "h")->data;
    assert_true(b[0] == 1 && b[1] == -2 && h[0] == 1 && h[1] == -2);
    assert_true(((float *)vlm_prepared_find(p, "seconds")->data)[0] == 0.25f);
    const int64_t *i = vlm_prepared_find(p, "i")->data, *t = vlm_prepared_find(p, "t")->data;
    assert_true(i[0] == -7 && i[1] == 8 && t[0] == 1 && t[1] == 0);
    assert_int_equal(((int64_t *)vlm_prepared_find(p, "u")->data)[0], 200);
    assert_int_equal(vlm_prepared_get(&a, p, "pixel_values", VLM_DTYPE_F32, 3, other, &err),
                     VLM_ERR_PROCESSING);
    assert_non_null(strstr(err.message, "'pixel_values' has 2 in dimension 1 instead of 3"));
    assert_null(a);
    assert_int_equal(vlm_prepared_get(&a, p, "i", VLM_DTYPE_F32, 1, any, &err), VLM_ERR_PROCESSING);
    assert_int_equal(vlm_prepared_get(&a, p, "nothing", VLM_DTYPE_F32, 1, any, &err),
                     VLM_ERR_PROCESSING);
    vlm_prepared_free(p);
}

static void there_and_back(void **state) {
    (void)state;
    vlm_prepared *p, *q;
    vlm_error err = VLM_ERROR_INIT;
    void *data;
    static const uint32_t list[] = { 7, 8, 9, 4000000000u };
    static const int64_t shape[] = { 2, 2 }, none[] = { 3, 0 }, huge[] = { INT64_MAX, 3 };
    static const int64_t less[] = { -1 };
    assert_int_equal(vmodel_prepared_new(&p, &err), VLM_OK);
    assert_int_equal(vmodel_prepared_set_ids(p, list, 4, &err), VLM_OK);
    assert_int_equal(vlm_prepared_add(p, "pixel_values", VLM_DTYPE_F32, 2, shape, &data, &err),
                     VLM_OK);
    assert_true(((float *)data)[3] == 0);
    memcpy(data, pixels, sizeof pixels);
    assert_int_equal(vlm_prepared_add(p, "grid", VLM_DTYPE_I64, 2, shape, &data, &err), VLM_OK);
    memcpy(data, negative, sizeof negative);
    assert_int_equal(vlm_prepared_add(p, "empty", VLM_DTYPE_F32, 2, none, &data, &err), VLM_OK);
    assert_int_equal(vlm_prepared_add(p, "huge", VLM_DTYPE_F32, 2, huge, &data, &err),
                     VLM_ERR_LIMIT);
    assert_int_equal(vlm_prepared_add(p, "less", VLM_DTYPE_F32, 1, less, &data, &err),
                     VLM_ERR_LIMIT);
    assert_int_equal(vlm_prepared_add(p, "grid", VLM_DTYPE_F32, 1, shape, &data, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_prepared_save(p, path, &err), VLM_OK);
    assert_int_equal(vmodel_prepared_load(&q, path, NULL, &err), VLM_OK);
    size_t n;
    assert_memory_equal(vlm_prepared_ids(q, &n), list, sizeof list);
    assert_int_equal(n, 4);
    assert_int_equal(vmodel_prepared_count(q), 3);
    for (size_t i = 0; i < 3; i++) {
        const vlm_array *a = vmodel_prepared_at(p, i), *b = vlm_prepared_find(q, a->name);
        assert_non_null(b);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->rank, b->rank);
        assert_memory_equal(a->shape, b->shape, sizeof a->shape);
        if (i < 2) assert_memory_equal(a->data, b->data, i ? 32 : 16);
    }
    assert_null(vmodel_prepared_at(p, 3));
    vlm_prepared_free(p);
    vlm_prepared_free(q);
    vlm_prepared_free(NULL);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        vio_out_tensor list[2];
        vlm_status status;
        const char *says;
    } cases[] = {
        { { T("x", VIO_I64, ids, 1, 3), T("y", VIO_I64, ids, 3) }, VLM_ERR_FORMAT, "'input_ids'" },
        { { T("input_ids", VIO_I64, ids, 3, 1), T("y", VIO_I64, ids, 3) },
          VLM_ERR_FORMAT,
          "one sequence" },
        { { T("input_ids", VIO_F32, pixels, 1, 3), T("y", VIO_I64, ids, 3) },
          VLM_ERR_FORMAT,
          "integers" },
        { { T("input_ids", VIO_I64, ids, 1, 0), T("y", VIO_I64, ids, 3) },
          VLM_ERR_FORMAT,
          "'input_ids'" },
        { { T("input_ids", VIO_I64, below_all, 1, 3), T("y", VIO_I64, ids, 3) },
          VLM_ERR_FORMAT,
          "-2147483649" },
        { { T("input_ids", VIO_I64, ids, 1, 3), T("attention_mask", VIO_I64, padded, 1, 3) },
          VLM_ERR_UNSUPPORTED,
          "padding" },
        { { T("input_ids", VIO_I64, ids, 1, 3), T("attention_mask", VIO_I64, ones, 1, 2) },
          VLM_ERR_FORMAT,
          "2 values for 3" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vlm_prepared *p;
        vlm_error err;
        assert_int_equal(load(&p, cases[i].list, 2, &err), cases[i].status);
        assert_null(p);
        if (!strstr(err.message, cases[i].says) || !strstr(err.message, path))
            fail_msg("case %zu: %s", i, err.message);
    }
    vlm_prepared *p;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vmodel_prepared_load(&p, tdir, NULL, &err), VLM_ERR_IO);
    assert_int_equal(vmodel_prepared_load(&p, "/nonexistent/file", NULL, &err), VLM_ERR_NOT_FOUND);
}

static int make(void **state) {
    if (tdir_make(state)) return -1;
    path = tdir_path("input.safetensors");
    return 0;
}

static int unmake(void **state) {
    free(path);
    return tdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
