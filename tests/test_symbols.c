/* SPDX-License-Identifier: MIT */
/* The symbols of both libraries, as nm tells them: what they define, what they call, what they
 * keep. */
#include "support/cm.h"

#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static int lines;

/* Runs nm with options on a library of the build and gives each line to check; counts what it
 * refuses. */
static int nm(const char *options, const char *library, bool (*check)(char *line)) {
    char command[1024], line[4096];
    const char *build = getenv("VLM_BUILD_DIR");
    snprintf(command, sizeof command, "LC_ALL=C nm %s '%s/%s'", options, build ? build : "build",
             library);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    int refused = 0;
    for (lines = 0; fgets(line, sizeof line, f); lines++) {
        line[strcspn(line, "\n")] = 0;
        if (check(line)) continue;
        fprintf(stderr, "%s: %s\n", library, line);
        refused++;
    }
    assert_int_equal(pclose(f), 0);
    return refused;
}

/* The pattern is compiled once for a run of calls with the same one. */
static bool matches(const char *s, const char *pattern) {
    static regex_t regex;
    static const char *compiled;
    if (compiled != pattern) {
        if (compiled) regfree(&regex);
        assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
        compiled = pattern;
    }
    return regexec(&regex, s, 0, NULL, 0) == 0;
}

/* "name type value size", of nm -P; a line that ends with ':' names the member of the archive. */
static bool is_symbol(char *line) {
    if (!strchr(line, ' ')) return false;
    line[strcspn(line, " ")] = 0;
    return true;
}

/* Names that begin with two underscores are the compiler's: the sanitizers put some into a library.
 */
static bool is_public(char *line) {
    return !is_symbol(line) || matches(line, "^(vlm_|__)");
}

static bool is_ours(char *line) {
    return !is_symbol(line)
           || matches(line, "^(vlm_|__|v(core|io|text|media|tensor|cpu|nn|model|engine)_)");
}

/* A library does not end the process, print, read the environment or change what is the process's.
 */
static bool may_be_called(char *line) {
    static const char forbidden[] = "^(_?exit|_Exit|quick_exit|abort|atexit|__assert_fail|(__)?v?f?"
                                    "printf(_chk)?|puts|fputs|putchar|fputc|"
                                    "putc|perror|stdout|stderr|stdin|(secure_)?getenv|setenv|"
                                    "putenv|unsetenv|environ|system|popen|"
                                    "signal|sigaction|sigprocmask|setlocale|umask|chdir|s?rand(om)?"
                                    "|strtok|strerror|localtime|gmtime)$";
    return !is_symbol(line) || !matches(line, forbidden);
}

/* nm -f sysv: name|value|class|type|size|line|section. Constant tables lie in .rodata or
 * .data.rel.ro. */
static bool is_constant(char *line) {
    char name[256] = "", section[256] = "";
    const char *last = strrchr(line, '|');
    if (!last || sscanf(line, " %255[^ |]", name) != 1 || sscanf(last, "| %255s", section) != 1)
        return true;
    if (matches(name, "^(__|\\.L|_?\\.?L?ASAN|_GLOBAL_)")) return true;
    return !matches(section, "^(\\.data|\\.bss|\\.tdata|\\.tbss|\\*COM\\*)")
           || strncmp(section, ".data.rel.ro", 12) == 0;
}

static void shared_library_exports_the_public_names(void **state) {
    (void)state;
    assert_int_equal(nm("-DP --defined-only", "libvlm.so", is_public), 0);
    assert_true(lines > 5);
}

static void static_library_defines_our_names(void **state) {
    (void)state;
    assert_int_equal(nm("-gP --defined-only", "libvlm.a", is_ours), 0);
    assert_true(lines > 50);
}

static void nothing_forbidden_is_called(void **state) {
    (void)state;
    assert_int_equal(nm("-uP", "libvlm.a", may_be_called), 0);
    assert_true(lines > 50);
}

static void no_mutable_globals(void **state) {
    (void)state;
    assert_int_equal(nm("-f sysv --defined-only", "libvlm.a", is_constant), 0);
    assert_true(lines > 50);
}

static void the_checks_see(void **state) {
    (void)state;
    assert_true(is_public((char[]) { "vlm_version T 0 8" }));
    assert_false(is_public((char[]) { "vcore_fail T 0 8" }));
    assert_true(is_ours((char[]) { "vcore_fail T 0 8" }));
    assert_false(is_ours((char[]) { "helper T 0 8" }));
    assert_false(is_ours((char[]) { "vfoo_helper T 0 8" }));
    assert_true(is_ours((char[]) { "libvlm.a[str.c.o]:" }));
    static const char *const bad[] = { "exit",         "abort", "printf", "fprintf",
                                       "__printf_chk", "puts",  "stderr", "getenv",
                                       "sigaction",    "rand",  "srand" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s U", bad[i]);
        assert_false(may_be_called(line));
    }
    assert_true(may_be_called((char[]) { "snprintf U" }));
    assert_true(may_be_called((char[]) { "getrandom U" }));
    assert_false(is_constant((char[]) { "counter |0000|   b  |  OBJECT|0008|     |.bss" }));
    assert_false(is_constant((char[]) { "counter |0000|   d  |  OBJECT|0008|     |.data" }));
    assert_true(
        is_constant((char[]) { "names   |0000|   d  |  OBJECT|0008|     |.data.rel.ro.local" }));
    assert_true(is_constant((char[]) { "walk    |0000|   T  |    FUNC|0008|     |.text" }));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_library_exports_the_public_names),
        cmocka_unit_test(static_library_defines_our_names),
        cmocka_unit_test(nothing_forbidden_is_called),
        cmocka_unit_test(no_mutable_globals),
        cmocka_unit_test(the_checks_see),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
