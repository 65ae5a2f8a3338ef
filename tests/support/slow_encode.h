/* SPDX-License-Identifier: MIT */
/*
 * Encoding done slowly and obviously, beside the library's: small tokenizers and texts made of
 * arbitrary bytes, every step by strings and plain loops. Owns the making and the comparison; the
 * fuzzer and the test bring the bytes. Covers the four models, byte-level words, words between
 * spaces, added tokens and whose text it is; normalizers and the rest have Hugging Face's vectors.
 */
#ifndef TESTS_SUPPORT_SLOW_ENCODE_H
#define TESTS_SUPPORT_SLOW_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False: the library's ids or places differ; why has a line (or the tokenizer.json and both
 * results). */
bool slow_encode_alike(const uint8_t *data, size_t n, char *why, size_t size);

#endif
