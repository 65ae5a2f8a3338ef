/* SPDX-License-Identifier: MIT */
/* Idefics3 and SmolVLM against transformers, seam by seam. */
#include "support/cm.h"
#include "support/parity.h"

static const char *const variants[] = {
    "tests/golden/idefics3-split",
    "tests/golden/idefics3-whole",
    "tests/golden/smolvlm-video",
};

static void seams(void **state) {
    tparity worst;
    tparity_check(*state, NULL, &worst);
}

static void layouts(void **state) {
    tparity_check_layouts(*state);
}

static void states(void **state) {
    tparity_check_state(*state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        { "split: seams", seams, NULL, NULL, (void *)variants[0] },
        { "whole: seams", seams, NULL, NULL, (void *)variants[1] },
        { "video: seams", seams, NULL, NULL, (void *)variants[2] },
        { "split: layouts", layouts, NULL, NULL, (void *)variants[0] },
        { "whole: layouts", layouts, NULL, NULL, (void *)variants[1] },
        { "video: layouts", layouts, NULL, NULL, (void *)variants[2] },
        { "split: states", states, NULL, NULL, (void *)variants[0] },
        { "whole: states", states, NULL, NULL, (void *)variants[1] },
        { "video: states", states, NULL, NULL, (void *)variants[2] },
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
