/* SPDX-License-Identifier: MIT */
/* Writes a golden directory as a checkpoint that any program can load: what the tests do in temporary directories, by
 * hand. Used by tools/parity.py. */
#include "support/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int index_of(const char *word, const char *const *words, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0) return i;
    return -1;
}

int main(int argc, char **argv) {
    static const char *const names[] = { "hf", "hf_old", "canonical", "mlx" };
    static const char *const dtypes[] = { "f32", "bf16", "f16" };
    int name = argc > 3 ? index_of(argv[3], names, 4) : 0;
    int dtype = argc > 4 ? index_of(argv[4], dtypes, 3) : 0;
    int shards = argc > 5 ? atoi(argv[5]) : 1;
    if (argc < 3 || argc > 6 || name < 0 || dtype < 0 || shards < 1) {
        fprintf(stderr, "usage: write_checkpoint GOLDEN_DIR OUT_DIR [hf|hf_old|canonical|mlx] [f32|bf16|f16] [SHARDS]\n");
        return 2;
    }
    tcheckpoint_options options = { (tcheckpoint_names)name, (tcheckpoint_dtype)dtype, shards };
    return tcheckpoint_write(argv[1], argv[2], &options) ? 0 : 1;
}
