/* SPDX-License-Identifier: MIT */
/* Bytes to floats: the table against what transformers' rescale and normalize give, bit for bit
 * (tests/data/media/floats.txt, made by tools/golden/media.py), and its use on strided planes. */
#include "media/media.h"

#include <stdio.h>
#include <stdlib.h>

#include "support/cm.h"
#include "support/golden.h"

static double number(const char *text) {
    return strcmp(text, "-") == 0 ? 0 : strtod(text, NULL);
}

static void tables_are_transformers(void **state) {
    (void)state;
    FILE *f = fopen("tests/data/media/floats.txt", "r");
    assert_non_null(f);
    char field[7][32], digest[32], actual[65];
    int lines = 0;
    while (fscanf(f, "%31s %31s %31s %31s %31s %31s %31s %31s", field[0], field[1], field[2],
                  field[3], field[4], field[5], field[6], digest) == 8) {
        vmedia_normalize how = { .do_rescale = field[0][0] != '-',
                                 .do_normalize = field[1][0] != '-' };
        how.rescale_factor = number(field[0]);
        for (int c = 0; c < 3; c++)
            how.mean[c] = number(field[1 + c]), how.std[c] = number(field[4 + c]);
        vmedia_float_table table;
        vmedia_float_table_init(&table, &how);
        tgolden_sha256(actual, (const void *)table.of, sizeof table.of);
        actual[16] = '\0';
        assert_string_equal(actual, digest);
        lines++;
    }
    fclose(f);
    assert_int_equal(lines, 7);
}

static void planes_and_strides(void **state) {
    (void)state;
    static const uint8_t rgb[] = { 0, 1, 2, 3, 4, 5, 99, 6, 7, 8, 9, 10, 11, 99 };
    vmedia_normalize how = { 0 };
    vmedia_float_table table;
    vmedia_float_table_init(&table, &how);
    float out[3 * 8];
    for (int i = 0; i < 24; i++) out[i] = -1;
    vmedia_to_planar(out, 3, 8, rgb, 7, (vlm_size){ 2, 2 }, &table);
    static const float expected[] = { 0,  3,  -1, 6,  9, -1, -1, -1, 1,  4,  -1, 7,
                                      10, -1, -1, -1, 2, 5,  -1, 8,  11, -1, -1, -1 };
    assert_memory_equal(out, expected, sizeof expected);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(tables_are_transformers),
                                        cmocka_unit_test(planes_and_strides) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
