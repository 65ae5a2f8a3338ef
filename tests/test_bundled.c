/* SPDX-License-Identifier: MIT */
/* The bundled model through the command: every question of examples/questions.tsv is answered as
 * listed. */
#include <stdio.h>
#include <stdlib.h>

#include "support/cm.h"
#include "support/process.h"

#define LINE 512

/* Splits "picture\tquestion\tanswer\n" in place. */
static void split(char *line, char *field[3]) {
    for (int i = 0; i < 3; i++) {
        size_t n = strcspn(line, "\t\n");

        assert_true(n > 0 && line[n] == (i < 2 ? '\t' : '\n'));
        line[n] = 0;
        field[i] = line;
        line += n + 1;
    }
}

static void test_answers_about_the_examples(void **state) {
    FILE *list = fopen("examples/questions.tsv", "r");
    char line[LINE], picture[LINE + 16];
    int asked = 0;

    (void)state;
    assert_non_null(list);
    while (fgets(line, sizeof line, list)) {
        char *field[3];
        tprocess p;

        split(line, field);
        snprintf(picture, sizeof picture, "examples/%s", field[0]);
        p = tprocess_run((const char *const[]) { "vlm", "generate", "-m", "models/smolscene", "-i",
                                                 picture, "-p", field[1], "--max-tokens", "48",
                                                 NULL },
                         NULL);
        if (p.status != 0) fail_msg("%s: status %d: %s", picture, p.status, p.err);
        p.out[strcspn(p.out, "\n")] = 0;
        assert_string_equal(p.out, field[2]);
        tprocess_free(&p);
        asked++;
    }
    fclose(list);
    assert_true(asked >= 12);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_answers_about_the_examples) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
