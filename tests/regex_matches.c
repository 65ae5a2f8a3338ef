/* SPDX-License-Identifier: MIT */
/* What tools/compare_regex.py asks: reads lines "P <hex>" (a pattern) and "T <hex>" (a text),
 * answers each with a line: "ok" or "no <status> <error>", and "<begin>-<end> .. steps <n>". */
#include <stdio.h>

#include "text/regex/regex.h"

enum { LINE = 1 << 22 };

static size_t unhex(char *s) {
    size_t n = 0;
    unsigned byte;
    for (; sscanf(s + 2 * n, "%2x", &byte) == 1; n++) s[n] = (char)byte;
    return n;
}

static void answer_text(const vtext_pattern *pattern, const char *p, size_t n) {
    vtext_scan s;
    size_t begin, end;
    vtext_pattern_start(&s, pattern, p, n);
    while (vtext_pattern_next(&s, &begin, &end)) printf("%zu-%zu ", begin, end);
    printf("steps %llu\n", (unsigned long long)s.steps);
    vtext_pattern_done(&s);
}

int main(void) {
    static char line[LINE];
    vcore_arena *arena = vcore_arena_new();
    vtext_pattern pattern = { 0 };
    while (fgets(line, sizeof line, stdin)) {
        size_t n = unhex(line + 2);
        if (line[0] == 'T') {
            answer_text(&pattern, line + 2, n);
        } else {
            vlm_error err = VLM_ERROR_INIT;
            vcore_arena_free(arena);
            arena = vcore_arena_new();
            pattern = (vtext_pattern) { 0 };
            vlm_status status = vtext_regex_parse(&pattern.regex, (vcore_str) { line + 2, n },
                                                  "pattern", arena, &err);
            printf(status < 0 ? "no %d %s\n" : "ok\n", (int)status, err.message);
        }
        fflush(stdout);
    }
    vcore_arena_free(arena);
    return 0;
}
