/* SPDX-License-Identifier: MIT */
/* Every kernel of every instruction set that this CPU has against plain C, over random sizes,
 * tails, strides, alignments and values (support/kernel_case.h says how a case works). A program of
 * libc and threads only, which can be cross-compiled or carried to another machine
 * (tools/build_test_kernels.sh).
 *
 *     test_kernels [--cases N] [--seed S] [--level NAME] [--entry NAME] [--case I]
 *
 * test_kernels_emulated is the same with AVX-512 in plain C (tests/cross/avx512), on any CPU with
 * AVX2.
 *
 * N: cases of each entry at each level (1000); S: 0 for one from the clock (1). --case runs one
 * alone. An entry is added as a function and a line in a list of support/kernel_cases_*.c; a list,
 * as a line below and one in support/kernel_cases.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/core.h"
#include "support/kernel_cases.h"

static const kernel_entry *const lists[] = {
    kernel_cases_values,
    kernel_cases_products,
    kernel_cases_attention,
};

typedef struct choice {
    uint64_t cases, seed;
    const char *level, *entry;
    const char *one; /* number of a case, or NULL */
} choice;

static bool same(const char *wanted, const char *name) {
    return !wanted || strcmp(wanted, name) == 0;
}

/* The number of cases that failed, at most 3: more say no more. */
static int run_entry(const kernel_entry *e, const char *level, const vcpu_kernels *k,
                     const choice *want, uint64_t *done) {
    uint64_t first = want->one ? strtoull(want->one, NULL, 10) : 0;
    uint64_t end = want->one ? first + 1 : want->cases;
    int failed = 0;
    for (uint64_t i = first; i < end && failed < 3; i++) {
        bool absent;
        const char *bad = kernel_case_run(e, k, want->seed, i, &absent);
        if (absent) return 0;
        ++*done;
        if (!bad) continue;
        failed++;
        fprintf(stderr,
                "%s %s: %s\n    test_kernels --level %s --entry %s --seed %llu --case %llu\n",
                level, e->name, bad, level, e->name, (unsigned long long)want->seed,
                (unsigned long long)i);
    }
    return failed;
}

static int run_level(const vcore_cpu_level *level, const choice *want) {
    vcpu_kernels k;
    uint64_t done = 0;
    int failed = 0, entries = 0;
    vcpu_kernels_fill(&k, level->flags);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const kernel_entry *e = lists[i]; e->name; e++) {
            uint64_t before = done;
            if (same(want->entry, e->name)) failed += run_entry(e, level->name, &k, want, &done);
            entries += done > before;
        }
    printf("%-10s %d kernels, %llu cases\n", level->name, entries, (unsigned long long)done);
    return failed;
}

static int usage(void) {
    fprintf(stderr, "usage: test_kernels [--cases N] [--seed S] [--level NAME] [--entry NAME] "
                    "[--case I]\n");
    return 2;
}

int main(int argc, char **argv) {
    choice want = { .cases = 1000, .seed = 1 };
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return usage();
        if (strcmp(argv[i], "--cases") == 0)
            want.cases = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            want.seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--level") == 0)
            want.level = argv[i + 1];
        else if (strcmp(argv[i], "--entry") == 0)
            want.entry = argv[i + 1];
        else if (strcmp(argv[i], "--case") == 0)
            want.one = argv[i + 1];
        else
            return usage();
    }
    if (!want.seed) want.seed = (uint64_t)time(NULL);
    int failed = 0, levels = 0;
    kernel_case_start();
    printf("seed %llu\n", (unsigned long long)want.seed);
    for (const vcore_cpu_level *l = vcore_cpu_levels; l->name; l++) {
        if (!same(want.level, l->name) || !vcore_cpu_level_runs(l)) continue;
        failed += run_level(l, &want);
        levels++;
    }
    if (!levels) fprintf(stderr, "test_kernels: this CPU has no '%s'\n", want.level);
    return failed || !levels;
}
