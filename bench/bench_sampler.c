/* SPDX-License-Identifier: MIT */
/* What choosing a token costs: microseconds, median and least, for vocabularies of SmolVLM's and Qwen's size.
 *
 *     bench_sampler */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/machine.h"
#include "engine/session/session.h"

enum { ROUNDS = 101 };

int main(void) {
    static const struct {
        const char *name;
        vlm_sampling how;
    } kinds[] = { { "greedy", { .temperature = 0 } },
                  { "temperature 1", { .temperature = 1 } },
                  { "temperature 0.7, top_p 0.9", { .temperature = 0.7f, .top_p = 0.9f } },
                  { "temperature 0.7, top_k 40", { .temperature = 0.7f, .top_k = 40 } },
                  { "temperature 1, min_p 0.05", { .temperature = 1, .min_p = 0.05f } } };
    static const uint32_t sizes[] = { 49280, 151936 };
    for (size_t v = 0; v < 2; v++) {
        float *logits = malloc(sizes[v] * sizeof *logits);
        if (!logits) return 1;
        uint32_t random = 1;
        for (uint32_t i = 0; i < sizes[v]; i++) { /* nearly normal, and a few tokens that stand out */
            float sum = 0;
            for (int k = 0; k < 12; k++) sum += (float)((random = random * 1664525 + 1013904223) >> 8) * 0x1p-24f;
            logits[i] = 2.5f * (sum - 6) + (i % 9973 == 7 ? 9 : 0);
        }
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            vengine_sampler *s;
            if (vengine_sampler_new(&s, &kinds[k].how, sizes[v], NULL) < 0) return 1;
            double took[ROUNDS];
            for (int i = 0; i < ROUNDS; i++) {
                double start = seconds_of(CLOCK_MONOTONIC);
                vengine_sampler_next(s, logits, NULL, 0);
                took[i] = (seconds_of(CLOCK_MONOTONIC) - start) * 1e6;
            }
            double middle = median(took, ROUNDS); /* sorts */
            printf("%6u tokens, %-28s %9.1f %9.1f\n", sizes[v], kinds[k].name, middle, took[0]);
            vengine_sampler_free(s);
        }
        free(logits);
    }
    return 0;
}
