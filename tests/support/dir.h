/* SPDX-License-Identifier: MIT */
/* A temporary directory around a test, or around a group of tests: empty, or a checkpoint. Owns the
 * directory, not what is done to a checkpoint in it (edit.h). */
#ifndef TESTS_SUPPORT_DIR_H
#define TESTS_SUPPORT_DIR_H

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/edit.h"

/* Its path, from tdir_make() to tdir_remove(). */
extern char *tdir;

/* Setup and teardown. *state names the golden directory that the checkpoint is written from; NULL: the
 * directory is empty. */
int tdir_make(void **state);
int tdir_remove(void **state);
#define TDIR_TEST(test, golden) \
    cmocka_unit_test_prestate_setup_teardown(test, tdir_make, tdir_remove, golden)

/* In the middle of a test: another directory in its place, made the same way. */
void tdir_renew(const char *golden);

/* A file of it gets these bytes, this text; text NULL: it is removed, if it is there. These fail the
 * running test when they cannot. */
void tdir_write(const char *name, const void *bytes, size_t n);
void tdir_put(const char *name, const char *text);
void tdir_edit(tedit one);
#define EDIT(...) tdir_edit((tedit)__VA_ARGS__)

/* A path in it; owned (free). */
char *tdir_path(const char *name);

#endif
