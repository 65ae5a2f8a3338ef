/* SPDX-License-Identifier: MIT */
/* See dir.h. */
#include "support/dir.h"

#include <stdio.h>
#include <stdlib.h>

char *tdir;

static bool make(const char *golden) {
    tdir = tcheckpoint_temp_dir();
    return tdir && (!golden || tcheckpoint_write(golden, tdir, NULL));
}

int tdir_make(void **state) {
    return make(*state) ? 0 : -1;
}

int tdir_remove(void **state) {
    (void)state;
    tcheckpoint_remove(tdir);
    free(tdir);
    tdir = NULL;
    return 0;
}

void tdir_renew(const char *golden) {
    tdir_remove(NULL);
    assert_true(make(golden));
}

void tdir_write(const char *name, const void *bytes, size_t n) {
    assert_true(tedit_write(tdir, name, bytes, n));
}

void tdir_put(const char *name, const char *text) {
    if (text) {
        tdir_write(name, text, strlen(text));
        return;
    }
    char *path = tdir_path(name);
    remove(path);
    free(path);
}

void tdir_edit(tedit one) {
    assert_true(tedit_apply(tdir, &one, 1));
}

char *tdir_path(const char *name) {
    return tcheckpoint_path(tdir, name);
}
