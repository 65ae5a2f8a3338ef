/* SPDX-License-Identifier: MIT */
/*
 * Reads what the reference gave: cases.json and golden.safetensors of a golden directory
 * (tools/golden/README.md tells of both). A small reader of its own, so that the tests do not trust
 * the code they test.
 */
#ifndef TESTS_SUPPORT_GOLDEN_H
#define TESTS_SUPPORT_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TGOLDEN_RANK 8
#define TGOLDEN_EDGE 16 /* pixels kept from each end of a tensor */

typedef enum { TGOLDEN_F32, TGOLDEN_I64, TGOLDEN_I32 } tgolden_dtype;

typedef struct {
    const char *name; /* "<case>.<name>" */
    tgolden_dtype dtype;
    int rank;
    int64_t shape[TGOLDEN_RANK]; /* outermost first */
    size_t count;                /* elements */
    const void *data;
} tgolden_tensor;

/* One tensor that the reference's processor returned. */
typedef struct {
    const char *name;
    tgolden_dtype dtype;
    int rank;
    int64_t shape[TGOLDEN_RANK];
    char sha256[65]; /* of the little-endian bytes */
    bool stored;     /* whole in golden.safetensors too */
    bool has_edges;  /* first and last are set (pixels) */
    float first[TGOLDEN_EDGE], last[TGOLDEN_EDGE];
} tgolden_output;

/* One input. messages, prompt and neither (a prepared input) exclude each other. */
typedef struct {
    const char *name;
    const char *messages; /* JSON text of the chat, or NULL */
    const char *prompt;   /* the user's text where the family has no template, or NULL */
    const char *text; /* rendered, before media tokens are expanded; NULL for a prepared input */
    size_t picture_count;
    const char **pictures;          /* paths from the repository root */
    const char *frames;             /* directory of a video's frames, or NULL */
    double fps;                     /* of the frames */
    int64_t min_pixels, max_pixels; /* 0: as the checkpoint says */
    bool pan_and_scan;
    bool all_rows;                  /* hidden states and logits hold every row, not only the last */
    int64_t prompt_tokens, image_tokens;
    double bf16_logits_error; /* the reference's own bfloat16 run */
    size_t output_count;
    const tgolden_output *outputs;
} tgolden_case;

typedef struct tgolden tgolden;

/* Opens a golden directory; NULL (and a line on stderr) when it cannot be read. */
tgolden *tgolden_open(const char *dir);
void tgolden_close(tgolden *golden);

size_t tgolden_case_count(const tgolden *golden);
const tgolden_case *tgolden_case_at(const tgolden *golden, size_t index);
const tgolden_case *tgolden_case_named(const tgolden *golden, const char *name);

/* A stored tensor of a case; NULL when there is none of that name (for the typed ones: or of that
 * type). */
const tgolden_tensor *tgolden_find(const tgolden *golden, const tgolden_case *of, const char *name);
const float *tgolden_f32(const tgolden *golden, const tgolden_case *of, const char *name,
                         size_t *count);
const int64_t *tgolden_i64(const tgolden *golden, const tgolden_case *of, const char *name,
                           size_t *count);

/* What the processor returned under a name; NULL when it returned no such tensor. */
const tgolden_output *tgolden_output_named(const tgolden_case *of, const char *name);

/* Writes the case's stored processor tensors as a prepared input (for --input). False on failure.
 */
bool tgolden_write_input(const tgolden *golden, const tgolden_case *of, const char *path);

/* SHA-256 of bytes as 64 hexadecimal digits and a NUL. */
void tgolden_sha256(char out[65], const void *data, size_t bytes);

/* |a - b| / |b| in the 2-norm. */
double tgolden_relative(const float *a, const float *b, size_t count);

#endif
