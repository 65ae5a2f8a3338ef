/* SPDX-License-Identifier: MIT */
/* Which files a load touches, seen from below: the linker sends every call that the library makes to open, list,
 * look at or read a file through here (--wrap, as tests/CMakeLists.txt says). The opened hook must have told of
 * each open just before, in the same order; and constructors do no I/O at all: from the model's stage on there is
 * no such call, and the system is told to give out no descriptor either, to whoever asks. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/checkpoint.h"
#include "support/cm.h"
#include "vlm/extend.h"

enum { MOST = 64 };

static struct {
    bool watching;
    char told[MOST][300]; /* by the hook */
    size_t n_told, n_opened, n_other;
    bool building;        /* the model's stage has begun */
    size_t in_constructors;
    struct rlimit before;
} seen;

static void note_open(const char *path) {
    if (!seen.watching) return;
    seen.in_constructors += seen.building;
    /* What is opened now is what was told of last. */
    if (seen.n_opened >= seen.n_told || strcmp(seen.told[seen.n_opened], path))
        fail_msg("%s is opened, and the hook was not told", path);
    seen.n_opened++;
}

static void note_other(void) {
    if (!seen.watching) return;
    seen.in_constructors += seen.building;
    seen.n_other++;
}

#define WRAP(result, name, args, pass, note)                                                       \
    result __real_##name args;                                                                     \
    result __wrap_##name args;                                                                     \
    result __wrap_##name args {                                                                    \
        note;                                                                                      \
        return __real_##name pass;                                                                 \
    }
/* The third argument of open and openat counts with O_CREAT only, which a load does not ask for. */
WRAP(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode), note_open(path))
WRAP(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode), note_open(path))
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), note_open(path))
WRAP(DIR *, opendir, (const char *path), (path), note_open(path))
WRAP(int, scandir,
     (const char *path, struct dirent ***names, int (*keep)(const struct dirent *),
      int (*order)(const struct dirent **, const struct dirent **)),
     (path, names, keep, order), note_open(path))
WRAP(int, stat, (const char *path, struct stat *st), (path, st), note_other())
WRAP(int, fstat, (int fd, struct stat *st), (fd, st), note_other())
WRAP(int, faccessat, (int dir, const char *path, int mode, int flags), (dir, path, mode, flags), note_other())
WRAP(ssize_t, read, (int fd, void *buffer, size_t n), (fd, buffer, n), note_other())
WRAP(ssize_t, pread, (int fd, void *buffer, size_t n, off_t at), (fd, buffer, n, at), note_other())
WRAP(void *, mmap, (void *at, size_t n, int protection, int flags, int fd, off_t offset),
     (at, n, protection, flags, fd, offset), note_other())

static void opened(void *user, const char *path) {
    (void)user;
    assert_true(seen.n_told < MOST);
    assert_int_equal(seen.n_told, seen.n_opened); /* the one before was opened */
    snprintf(seen.told[seen.n_told++], sizeof seen.told[0], "%s", path);
}

static int progress(void *user, const vlm_load_progress *p) {
    (void)user;
    if (p->stage != VLM_LOAD_MODEL || p->done) return 0;
    seen.building = true;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &seen.before), 0);
    const struct rlimit none = { 0, seen.before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    return 0;
}

/* Loads a golden as a checkpoint, watched. */
static void load_watched(const char *golden, const tcheckpoint_options *names, const vlm_load_options *options) {
    vlm_load_options o = *options;
    vlm_error err = VLM_ERROR_INIT;
    vlm_context *c;
    char *dir = tcheckpoint_temp_dir();
    assert_true(tcheckpoint_write(golden, dir, names));
    o.threads = 1, o.opened = opened, o.progress = progress;
    memset(&seen, 0, sizeof seen);
    seen.watching = true;
    vlm_status status = vlm_context_load(&c, dir, &o, &err);
    seen.watching = false;
    assert_true(seen.building);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &seen.before), 0);
    if (status < 0) fail_msg("%s: %s", golden, err.message);
    vlm_context_free(c);
    tcheckpoint_remove(dir);
    free(dir);
}

static void check(const char *golden, const tcheckpoint_options *names, bool in_memory, vlm_precision precision) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.in_memory = in_memory, o.precision = precision;
    load_watched(golden, names, &o);
    assert_true(seen.n_opened >= 8); /* the wrapping works */
    assert_true(seen.n_other >= 8);
    assert_int_equal(seen.n_told, seen.n_opened);
    assert_int_equal(seen.in_constructors, 0);
    for (size_t i = 0; i < seen.n_told; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(seen.told[i], seen.told[k]); /* each file once */
}

static const char *const goldens[] = { "tests/golden/idefics3-whole", "tests/golden/paligemma2-gemma2",
                                       "tests/golden/qwen2_5_vl-tied" };

static void the_hook_is_told_of_every_open(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) check(goldens[i], NULL, false, VLM_PRECISION_F32);
}

static void constructors_do_no_io(void **state) {
    (void)state;
    const tcheckpoint_options sharded = { .names = TCHECKPOINT_MLX, .dtype = TCHECKPOINT_BF16, .shards = 3 };
    for (size_t i = 0; i < 3; i++)
        for (int in_memory = 0; in_memory < 2; in_memory++)
            check(goldens[i], &sharded, in_memory, VLM_PRECISION_AUTO);
}

/* A constructor that looks at a file, and tries to open one. */
static vlm_status nosy(void **model, vlm_build *build, vlm_error *err) {
    const vlm_model_type *base = vlm_build_user(build);
    struct stat st;
    assert_int_equal(stat(".", &st), 0);
    assert_int_equal(__real_open(".", O_RDONLY | O_DIRECTORY, 0), -1); /* not even past the watch */
    return base->create(model, build, err);
}

static void the_watch_sees(void **state) {
    (void)state;
    vlm_model_registry *models;
    vlm_model_type type = *vlm_model_registry_find(vlm_model_registry_default(), "idefics3");
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    type.user = vlm_model_registry_find(vlm_model_registry_default(), "idefics3");
    type.create = nosy;
    assert_int_equal(vlm_model_registry_with(&models, NULL, (const vlm_model_type *const[]) { &type }, 1, NULL), VLM_OK);
    o.models = models;
    load_watched(goldens[0], NULL, &o);
    assert_int_equal(seen.in_constructors, 1);
    vlm_model_registry_free(models);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hook_is_told_of_every_open),
        cmocka_unit_test(constructors_do_no_io),
        cmocka_unit_test(the_watch_sees),
    };
    return cmocka_run_group_tests_name("opens", tests, NULL, NULL);
}
