/* SPDX-License-Identifier: MIT */
/* Compares a family with the reference, seam by seam, over the cases of a golden directory. Owns what is
 * compared and how closely; what the reference gave is read by golden.h. */
#ifndef TESTS_SUPPORT_PARITY_H
#define TESTS_SUPPORT_PARITY_H

#include "support/checkpoint.h"
#include "support/golden.h"
#include "vlm/vlm.h"

/* One checkpoint written from a golden directory and loaded. */
typedef struct tparity {
    tgolden *golden;
    char *dir;            /* temporary checkpoint directory */
    vlm_context *context;
} tparity;

/* Writes and loads; fails the running test when that does not work. */
void tparity_open(tparity *p, const char *golden_dir, const tcheckpoint_options *names,
                  vlm_precision precision, int threads);
void tparity_close(tparity *p);

/* The case's input as a user gives it. */
vlm_input *tparity_input(const tgolden_case *of);
/* Prepared from it; a case that is a prepared input is loaded from a file. */
vlm_prepared *tparity_prepare(const tparity *p, const tgolden_case *of);

/* A tensor of a dump as floats, owned (free); fails the test when the file lacks it. */
float *tparity_read(const char *path, const char *name, size_t *count, size_t *rows);
/* Values of a stage, dumped to a temporary file whose path is owned by the caller. */
char *tparity_dump(const tparity *p, const vlm_prepared *prepared, vlm_stage stage);

/* Largest errors seen over the cases. */
typedef struct tparity_errors {
    double features, layers, logits;
    int cases, greedy_tokens;
} tparity_errors;
/* ids, masks, grids, pixels: identical. */
void tparity_check_processor(const tparity *p, const tgolden_case *of);
/* Features and layers within 1e-5, logits within 1e-4, relative. */
void tparity_check_seams(const tparity *p, const tgolden_case *of, tparity_errors *errors);
/* 32 greedy tokens, as far as the reference's margins are clear of the error. */
void tparity_check_greedy(const tparity *p, const tgolden_case *of, tparity_errors *errors);
/* Generates n tokens with these options; ids in out. Returns how many. */
size_t tparity_generate(vlm_session *session, uint32_t *out, size_t n);

#endif
