/* SPDX-License-Identifier: MIT */
/*
 * Small changes to a checkpoint directory, as rows of a table: files removed, replaced, cut; values
 * of JSON files set; tensors added, dropped, given other shapes. Owns how each is done, not what is
 * expected of it; does not use the library under test.
 */
#ifndef TESTS_SUPPORT_EDIT_H
#define TESTS_SUPPORT_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    TEDIT_NONE,
    TEDIT_REMOVE,
    TEDIT_WRITE,
    TEDIT_REPEAT,
    TEDIT_REPLACE,
    TEDIT_SET,
    TEDIT_MOVE,
    TEDIT_COPY,
    TEDIT_FIFO,
    TEDIT_DIRECTORY,
    TEDIT_LINK,
    TEDIT_GROW,
    TEDIT_HEADER,
    TEDIT_HEADER_TEXT,
    TEDIT_HEADER_LENGTH,
    TEDIT_TENSOR,
    TEDIT_RENAME,
} tedit_kind;

typedef struct tedit {
    tedit_kind kind;
    const char *file; /* in the directory */
    const char *at, *to;
    int64_t n;
} tedit;

/* The file is removed. */
#define REMOVE(file) { TEDIT_REMOVE, file, NULL, NULL, 0 }
/* The file holds these bytes (a literal, NULs included); text n times. */
#define WRITE(file, bytes) { TEDIT_WRITE, file, bytes, NULL, sizeof(bytes) - 1 }
#define REPEAT(file, text, n) { TEDIT_REPEAT, file, text, NULL, n }
/* The first `from` in the file becomes `to`. */
#define REPLACE(file, from, to) { TEDIT_REPLACE, file, from, to, 0 }
/* In a JSON file, what is at "text_config/hidden_size" becomes the text `json`, verbatim (so it need
 * not be JSON, and "1, \"k\": 2" adds a member); what the path lacks is made. Removed. */
#define SET(file, path, json) { TEDIT_SET, file, path, json, 0 }
#define UNSET(file, path) { TEDIT_SET, file, path, NULL, 0 }
/* The file gets another name; another name gets a copy. */
#define MOVE(file, to) { TEDIT_MOVE, file, NULL, to, 0 }
#define COPY(file, to) { TEDIT_COPY, file, NULL, to, 0 }
/* The file's place is taken by a FIFO, a directory, a symbolic link. */
#define FIFO(file) { TEDIT_FIFO, file, NULL, NULL, 0 }
#define DIRECTORY(file) { TEDIT_DIRECTORY, file, NULL, NULL, 0 }
#define LINK(file, target) { TEDIT_LINK, file, NULL, target, 0 }
/* The file gets n more bytes (zeros), or -n fewer. */
#define GROW(file, n) { TEDIT_GROW, file, NULL, NULL, n }

/* Of a safetensors file. The header's JSON is edited as by SET, or replaced by a text; the data stays.
 * The length in front of the header becomes n; nothing else changes. */
#define HEADER(file, path, json) { TEDIT_HEADER, file, path, json, 0 }
#define HEADER_TEXT(file, text) { TEDIT_HEADER_TEXT, file, text, NULL, sizeof(text) - 1 }
#define HEADER_LENGTH(file, n) { TEDIT_HEADER_LENGTH, file, NULL, NULL, n }
/* A tensor "U32 64 8" of zeros, or of a byte again and again, is added, in the place of one of that
 * name; dropped; renamed. The data is laid out anew. */
#define TENSOR(file, name, type) { TEDIT_TENSOR, file, name, type, 0 }
#define FILLED(file, name, type, byte) { TEDIT_TENSOR, file, name, type, byte }
#define DROP(file, name) { TEDIT_TENSOR, file, name, NULL, 0 }
#define RENAME(file, name, to) { TEDIT_RENAME, file, name, to, 0 }

/* Applies edits up to the first TEDIT_NONE, n at most. False, and a line on stderr, when one cannot be
 * done (a path or text that is not there). */
bool tedit_apply(const char *dir, const tedit *edits, size_t n);

/* The text of a JSON document after SET; owned (free), NULL on failure. */
char *tedit_set(const char *text, const char *path, const char *json);

/* A whole file and a NUL behind it; owned (free), NULL (and a line on stderr) on failure. */
char *tedit_read(const char *dir, const char *name, size_t *n);
bool tedit_write(const char *dir, const char *name, const void *bytes, size_t n);

#endif
