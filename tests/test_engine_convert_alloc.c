/* SPDX-License-Identifier: MIT */
/* A conversion out of memory at every third allocation: an error that leaves no folder behind, or a whole checkpoint.
 * Leaks are for the address sanitizer to see. */
#include "support/alloc.h"
#include "support/dir.h"
#include "vlm/load/convert.h"

#include <stdlib.h>
#include <unistd.h>

static void a_conversion_runs_out_of_memory(void **state) {
    (void)state;
    char *to = tdir_path("made");
    vlm_load_options load = VLM_LOAD_OPTIONS_INIT;
    vlm_convert_options o = VLM_CONVERT_OPTIONS_INIT;
    load.threads = 1;
    o.weights = VLM_CONVERT_QUANTIZE;
    o.group_size = 32;
    o.load = &load;
    char *dir = tcheckpoint_temp_dir();
    assert_true(tcheckpoint_write("tests/golden/idefics3-split", dir, NULL));
    long failures = 0;
    for (bool reached = true; reached; failures += reached) {
        vlm_error err = VLM_ERROR_INIT;
        talloc_start(3 * failures + 1);
        vlm_status status = vlm_convert(dir, to, &o, &err);
        reached = talloc_stop() > 3 * failures;
        if (status >= 0 && !reached) break;
        if (status >= 0) { /* what failed was not needed */
            tcheckpoint_remove(to);
            continue;
        }
        if (status != VLM_ERR_MEMORY || err.code != status)
            fail_msg("allocation %ld: %d, %s", 3 * failures + 1, (int)status, err.message);
        assert_int_not_equal(access(to, F_OK), 0);
    }
    assert_true(failures > 50);
    assert_int_equal(access(to, F_OK), 0);
    tcheckpoint_remove(dir);
    free(dir), free(to);
}

int main(void) {
    const struct CMUnitTest tests[] = { TDIR_TEST(a_conversion_runs_out_of_memory, NULL) };
    return cmocka_run_group_tests_name("convert, out of memory", tests, NULL, NULL);
}
