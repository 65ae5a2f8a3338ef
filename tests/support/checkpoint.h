/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint directories for the tests: writes one from a golden directory
 * (tests/golden/<variant>), whose weights.json says how each tensor is drawn. Owns the weight
 * generator, the names of the conventions and the safetensors it writes; does not use the library
 * under test. The Python twin is tools/golden/generator.py.
 */
#ifndef TESTS_SUPPORT_CHECKPOINT_H
#define TESTS_SUPPORT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    TCHECKPOINT_HF,        /* as transformers 5.17 saves it */
    TCHECKPOINT_HF_OLD,    /* as published checkpoints have it, with what they store needlessly */
    TCHECKPOINT_CANONICAL, /* the modules' own names, as 4.52 and later saved it */
    TCHECKPOINT_MLX,       /* mlx-vlm: names, convolution layout, `format` "mlx" */
} tcheckpoint_names;

typedef enum { TCHECKPOINT_F32, TCHECKPOINT_BF16, TCHECKPOINT_F16 } tcheckpoint_dtype;

typedef struct {
    tcheckpoint_names names;
    tcheckpoint_dtype dtype;
    int shards; /* 0 and 1: model.safetensors; more: numbered files and an index */
} tcheckpoint_options;

/* Writes the checkpoint into out_dir (which must exist): all small files of golden_dir and the
 * weights. options may be NULL (hf, f32, one file). On failure says why on stderr and returns
 * false. */
bool tcheckpoint_write(const char *golden_dir, const char *out_dir,
                       const tcheckpoint_options *options);

/* Makes a fresh directory below $TMPDIR or /tmp; the path is owned by the caller (free). NULL on
 * failure. */
char *tcheckpoint_temp_dir(void);

/* Removes a directory and everything in it (for what tcheckpoint_temp_dir made). */
void tcheckpoint_remove(const char *dir);

/* The first count values of a tensor: offset + k * 2^exponent, k drawn from [-range, range] by the
 * tensor's canonical name and the index: key = mix(fnv1a64(name) ^ seed), h = mix(key + (i + 1) *
 * 0x9E3779B97F4A7C15), k = ((h >> 32) * (2 * range + 1) >> 32) - range, mix being SplitMix64's
 * finaliser. */
void tcheckpoint_values(float *out, size_t count, const char *name, uint64_t seed, float offset,
                        int exponent, int range);

/* A path, "dir/name"; owned by the caller. */
char *tcheckpoint_path(const char *dir, const char *name);

#endif
