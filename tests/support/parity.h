/* SPDX-License-Identifier: MIT */
/*
 * Parity of a family with the reference, seam by seam, over all cases of a golden directory: ids, pixels,
 * masks and grids equal; features, hidden states, logits within a relative error; the greedy continuation
 * equal. A family's test is a call of these.
 */
#ifndef TESTS_SUPPORT_PARITY_H
#define TESTS_SUPPORT_PARITY_H

#include "support/checkpoint.h"
#include "support/model.h"

/* The largest relative error of every seam. */
typedef struct {
    double features, hidden, logits, greedy_logits;
} tparity;

/* Writes the checkpoint, loads it, runs every case in exact mode and asserts: features and hidden states
 * within 1e-5, logits within 1e-4, everything else equal. options NULL: hf, f32, one file. */
void tparity_check(const char *golden_dir, const tcheckpoint_options *options, tparity *worst);

/* Asserts that the checkpoint gives the same logits, bit for bit, under all names, in shards, in bfloat16 and
 * float16 (the drawn values fit all three), and with one thread. */
void tparity_check_layouts(const char *golden_dir);

/* Asserts that prefill in pieces (unless the prompt is bidirectional) and decode from the state agree with the
 * pass over the whole, within 1e-5, and that two prompts in one batch give what each gives alone. */
void tparity_check_state(const char *golden_dir);

#endif
