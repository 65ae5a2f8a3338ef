/* SPDX-License-Identifier: MIT */
/* docs/CLI.md names every command and every option that a command takes. */
#include <ctype.h>
#include <stdio.h>

#include "cli_check.h"

static char *read_page(void) {
    FILE *f = fopen("docs/CLI.md", "r");
    assert_non_null(f);
    char *text = calloc(1, 1 << 18);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 18) - 1, f) > 1000);
    fclose(f);
    return text;
}

/* The word is there, and not only as the beginning of a longer one. */
static int has_word(const char *text, const char *word, size_t n) {
    for (const char *at = text; (at = strchr(at, *word)); at++)
        if (strncmp(at, word, n) == 0 && !isalnum((unsigned char)at[n]) && at[n] != '-') return 1;
    return 0;
}

static size_t check_options(const char *page, const char *command) {
    char *help = run((const char *[]) { "vlm", command, "--help", NULL });
    size_t n = 0;
    for (const char *line = help; line; line = strchr(line, '\n')) {
        line += strspn(line, "\n ");
        if (line[0] == '-' && line[1] != '-') line += strcspn(line, " \n"), line += strspn(line, " ");
        if (strncmp(line, "--", 2) != 0) continue;
        size_t length = strcspn(line, " \n");
        if (!has_word(page, line, length)) fail_msg("vlm %s %.*s is not on the page", command, (int)length, line);
        n++;
    }
    free(help);
    return n;
}

static void every_option_is_documented(void **state) {
    (void)state;
    char *page = read_page(), *commands = run((const char *[]) { "vlm", "--help", NULL });
    size_t n = 0, options = 0;
    for (const char *line = strchr(commands, '\n'); line; line = strchr(line + 1, '\n')) {
        char name[32];
        if (sscanf(line, "\n  %31[a-z]", name) != 1 || strncmp(line, "\n  ", 3) != 0) continue;
        if (!has_word(page, name, strlen(name))) fail_msg("vlm %s is not on the page", name);
        options += check_options(page, name);
        n++;
    }
    assert_true(n >= 10 && options > 100);
    free(commands);
    free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_option_is_documented) };
    return cmocka_run_group_tests_name("help", tests, NULL, NULL);
}
