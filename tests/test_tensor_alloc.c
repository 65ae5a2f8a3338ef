/* SPDX-License-Identifier: MIT */
/* Memory of a pass: a repeated pass allocates nothing and sees the same addresses, and a pass
 * without memory is an error that leaks nothing. */
#include "tensor_pass.h"

#include "support/alloc.h"

static void repeated_passes_allocate_nothing(void **state) {
    (void)state;
    for (int mode = VTENSOR_EXACT; mode <= VTENSOR_FAST; mode++)
        for (int64_t n = 1; n <= 400; n = n * 6 + 5) {
            vtensor_backend *b = open_backend(N_LEVELS - 1, 2);
            vlm_frame *f = open_frame(b, (vtensor_mode)mode);
            layer l = make_layer();
            void *address = NULL;
            for (int pass = 0; pass < 5; pass++) {
                talloc_start(0);
                vtensor_frame_begin(f);
                vlm_tensor y = run_pass(f, &l, 40, n, 600);
                end_ok(f);
                long made = talloc_stop();
                if (pass >= 2) assert_int_equal(made, 0);
                if (pass >= 2) assert_ptr_equal(y.data, address);
                address = y.data;
            }
            /* Steps that grow, as in decode: one size of temporaries, more and more keys. */
            vtensor_frame_begin(f);
            run_pass(f, &l, 1, 1, 700);
            end_ok(f);
            talloc_start(0);
            for (int64_t past = 601; past < 640; past++) {
                vtensor_frame_begin(f);
                run_pass(f, &l, 1, 1, past);
                end_ok(f);
            }
            assert_int_equal(talloc_stop(), 0);
            free_layer(&l);
            vtensor_frame_free(f);
            vtensor_backend_free(b);
        }
}

static void no_memory_is_an_error(void **state) {
    (void)state;
    layer l = make_layer();
    long k = 1;
    for (bool failed = true; failed; k++) {
        vtensor_backend *b = NULL;
        vlm_frame *f = NULL;
        vtensor_cpu_options options = { .threads = 2 };
        talloc_start(k);
        vlm_status status = vtensor_backend_cpu(&b, &options, NULL);
        if (status == VLM_OK) status = vtensor_frame_new(&f, b, VTENSOR_FAST, NULL);
        if (status == VLM_OK) {
            vtensor_frame_begin(f);
            run_pass(f, &l, 2, 50, 0);
            status = vtensor_frame_end(f, NULL);
        }
        failed = talloc_stop() >= k;
        assert_true(status == VLM_OK || status == VLM_ERR_MEMORY);
        if (!failed) assert_int_equal(status, VLM_OK);
        if (status == VLM_OK
            && failed) { /* a pool with fewer threads, or a smaller chunk, did as well */
            vtensor_frame_begin(f);
            run_pass(f, &l, 2, 50, 0);
            end_ok(f);
        }
        vtensor_frame_free(f);
        vtensor_backend_free(b);
    }
    assert_true(k > 5);
    free_layer(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeated_passes_allocate_nothing),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
