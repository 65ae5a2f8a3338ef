/* SPDX-License-Identifier: MIT */
/* Encoding beside a slow, obvious encoder (support/slow_encode.h), over small tokenizers and texts
 * from a seed. */
#include "support/cm.h"
#include "support/slow_encode.h"

enum { CASES = 4000, BYTES = 260 };

static uint64_t random_word(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void as_the_slow_one(void **state) {
    (void)state;
    static char why[1 << 15];
    uint64_t seed = 88172645463325252u;
    uint8_t data[BYTES];
    for (int i = 0; i < CASES; i++) {
        for (size_t k = 0; k < BYTES; k++) data[k] = (uint8_t)(random_word(&seed) >> 32);
        data[0] = (uint8_t)i; /* every shape */
        if (!slow_encode_alike(data, BYTES, why, sizeof why)) fail_msg("case %d: %s", i, why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_the_slow_one) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
