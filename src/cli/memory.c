/* SPDX-License-Identifier: MIT */
/* What this process holds in memory, as the system counts it. */
#include "cli/cli.h"

#include <stdio.h>
#include <sys/resource.h>

cli_memory cli_memory_now(void) {
    static const char *const names[] = { "RssAnon:", "RssFile:", "RssShmem:", "VmHWM:" };
    unsigned long long kb[4] = { 0 };
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        for (int i = 0; i < 4; i++)
            if (!strncmp(line, names[i], strlen(names[i])))
                sscanf(line + strlen(names[i]), "%llu", &kb[i]);
    if (f) fclose(f);
    struct rusage usage;
    if (kb[3] == 0
        && getrusage(RUSAGE_SELF, &usage) == 0) /* which counts what ran before exec(), too */
        kb[3] = (unsigned long long)usage.ru_maxrss;
    return (
        cli_memory) { .own = kb[0] * 1024, .files = (kb[1] + kb[2]) * 1024, .peak = kb[3] * 1024 };
}
