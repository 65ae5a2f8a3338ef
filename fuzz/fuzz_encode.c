/* SPDX-License-Identifier: MIT */
/* A small tokenizer and a text, made of the bytes: the library encodes as a slow, obvious encoder
 * does. */
#include "support/slow_encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char why[1 << 15];
    if (!slow_encode_alike(data, size, why, sizeof why)) __builtin_trap();
    return 0;
}
