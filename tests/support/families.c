/* SPDX-License-Identifier: MIT */
#include "support/families.h"

#include <stdio.h>

const char *const tfamilies[T_N_FAMILIES] = {
    "tests/golden/idefics3-split",
    "tests/golden/paligemma2-gemma2",
    "tests/golden/qwen2_5_vl-tied",
    "tests/golden/lfm2_vl-split",
    "tests/golden/qwen3_vl",
    "tests/golden/gemma3-new",
    "tests/golden/mistral3-ministral3",
};

int tfamilies_run(const char *group, const tcheck *checks, size_t n_checks) {
    enum { MOST = 32 };
    static char names[T_N_FAMILIES * MOST][120];
    struct CMUnitTest tests[T_N_FAMILIES * MOST];
    if (n_checks > MOST) return 1;
    size_t n = 0;
    for (size_t f = 0; f < T_N_FAMILIES; f++)
        for (size_t c = 0; c < n_checks; c++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", tfamilies[f], checks[c].name);
            tests[n] = (struct CMUnitTest) { names[n], checks[c].run, NULL, NULL, (void *)tfamilies[f] };
        }
    return _cmocka_run_group_tests(group, tests, n, NULL, NULL);
}
