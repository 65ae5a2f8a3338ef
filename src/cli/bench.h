/* SPDX-License-Identifier: MIT */
/* `vlm bench`: what is measured (bench.c) and how it is told (bench_report.c). */
#ifndef VLM_CLI_BENCH_H
#define VLM_CLI_BENCH_H

#include "cli/ceilings.h"
#include "cli/cli.h"
#include "vlm/measure.h"

enum { BENCH_LIST = 8, BENCH_ROUNDS = 64, BENCH_ROWS = 2 + BENCH_LIST + BENCH_LIST * BENCH_LIST };

/* Numbers of an option, "512,2048". */
typedef struct bench_list {
    uint32_t at[BENCH_LIST];
    size_t n;
} bench_list;

typedef struct bench_options {
    bench_list prompts, held, batches; /* tokens of prompts, tokens held while decoding, sessions together */
    uint32_t generate, rounds, seconds;
    vlm_size picture; /* one to be made up; zeros: none */
    bool json;
} bench_options;

typedef enum bench_kind { BENCH_VISION, BENCH_FIRST, BENCH_PREFILL, BENCH_DECODE } bench_kind;

/* One piece of work, several times: each between two measurements of the limits, whose mean is beside it. */
typedef struct bench_row {
    bench_kind kind;
    size_t tokens; /* media tokens, prompt tokens, or tokens held */
    size_t batch;
    vlm_work work; /* of one pass; of decoding, the mean of its steps */
    int rounds;
    double seconds[BENCH_ROUNDS]; /* of one pass */
    limits limit[BENCH_ROUNDS];
} bench_row;

typedef struct bench_result {
    const vlm_context_info *info;
    const char *model;
    int threads;
    double load_ms;
    uint64_t kv_bytes; /* of the row that held most */
    bench_row rows[BENCH_ROWS];
    size_t n_rows;
} bench_result;

/* Measures everything. r->info is of the context, which the caller frees. */
vlm_status bench_run(bench_result *r, vlm_context **context, const cli_input *in, const bench_options *o,
                     vlm_error *err);
void bench_print_json(const bench_result *r);
void bench_print_table(const bench_result *r);

#endif
