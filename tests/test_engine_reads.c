/* SPDX-License-Identifier: MIT */
/* What a load asks of the system. The link wraps every call through which a file could be opened,
 * judged or read (CMakeLists.txt): a file is opened once, not to be waited for, judged by its
 * descriptor and by nothing else, and read up to its cap and one byte more. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"
#include "support/dir.h"
#include "vlm/vlm.h"

#define GOLDEN "tests/golden/idefics3-whole"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- what was called ------------------------------------------------------------------------- */
typedef struct seen {
    char path[200];
    int opens, flags, fd, fstats, maps;
    size_t bytes; /* read */
} seen;

static bool watching;
static seen files[64];
static size_t n_files;
static char by_path[400]; /* what a path was judged by, other than an open: must stay empty */
static long size_told = -1; /* what fstat says instead of the truth; -1: the truth */

static seen *file_of(const char *path) {
    for (size_t i = 0; i < n_files; i++)
        if (!strcmp(files[i].path, path)) return &files[i];
    if (n_files == COUNT(files)) fail_msg("too many files");
    seen *s = &files[n_files++];
    *s = (seen) { .fd = -1 };
    snprintf(s->path, sizeof s->path, "%s", path);
    return s;
}

static seen *file_with(int fd) {
    for (size_t i = 0; i < n_files && fd >= 0; i++)
        if (files[i].fd == fd) return &files[i];
    return NULL;
}

static void note_path(const char *call, const char *path) {
    if (!watching) return;
    size_t used = strlen(by_path);
    snprintf(by_path + used, sizeof by_path - used, "%s(%s) ", call, path);
}

static int opened(const char *path, int flags, int fd) {
    if (watching) {
        seen *s = file_of(path);
        s->opens++;
        s->flags = flags;
        s->fd = fd;
    }
    return fd;
}

/* ---- the wrappers ---------------------------------------------------------------------------- */
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    return opened(path, flags, __real_open(path, flags, 0600));
}
int __real_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...) {
    note_path("openat", path);
    return __real_openat(at, path, flags, 0600);
}
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode) {
    note_path("fopen", path);
    return __real_fopen(path, mode);
}
int __real_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st) {
    note_path("stat", path);
    return __real_stat(path, st);
}
int __real_lstat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st) {
    note_path("lstat", path);
    return __real_lstat(path, st);
}
int __real_fstatat(int at, const char *path, struct stat *st, int flags);
int __wrap_fstatat(int at, const char *path, struct stat *st, int flags);
int __wrap_fstatat(int at, const char *path, struct stat *st, int flags) {
    note_path("fstatat", path);
    return __real_fstatat(at, path, st, flags);
}
int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode) {
    note_path("access", path);
    return __real_access(path, mode);
}
int __real_faccessat(int at, const char *path, int mode, int flags);
int __wrap_faccessat(int at, const char *path, int mode, int flags);
int __wrap_faccessat(int at, const char *path, int mode, int flags) {
    note_path("faccessat", path);
    return __real_faccessat(at, path, mode, flags);
}
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path) {
    note_path("opendir", path);
    return __real_opendir(path);
}
typedef int entry_filter(const struct dirent *entry);
typedef int entry_order(const struct dirent **a, const struct dirent **b);
int __real_scandir(const char *path, struct dirent ***list, entry_filter *filter, entry_order *order);
int __wrap_scandir(const char *path, struct dirent ***list, entry_filter *filter, entry_order *order);
int __wrap_scandir(const char *path, struct dirent ***list, entry_filter *filter, entry_order *order) {
    note_path("scandir", path);
    return __real_scandir(path, list, filter, order);
}
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st) {
    seen *s = watching ? file_with(fd) : NULL;
    int result = __real_fstat(fd, st);
    if (s) {
        assert_int_equal(s->bytes, 0); /* judged before anything is read */
        s->fstats++;
        if (size_told >= 0) st->st_size = size_told;
    }
    return result;
}
ssize_t __real_read(int fd, void *buffer, size_t n);
ssize_t __wrap_read(int fd, void *buffer, size_t n);
ssize_t __wrap_read(int fd, void *buffer, size_t n) {
    ssize_t got = __real_read(fd, buffer, n);
    seen *s = watching ? file_with(fd) : NULL;
    if (s && got > 0) s->bytes += (size_t)got;
    return got;
}
ssize_t __real_pread(int fd, void *buffer, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buffer, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buffer, size_t n, off_t at) {
    note_path("pread", "");
    return __real_pread(fd, buffer, n, at);
}
void *__real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    seen *s = watching ? file_with(fd) : NULL;
    if (s) s->maps++;
    return __real_mmap(at, n, protection, flags, fd, offset);
}
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
    seen *s = watching ? file_with(fd) : NULL;
    if (s) s->fd = -1;
    return __real_close(fd);
}

/* ---- tests ----------------------------------------------------------------------------------- */
static vlm_error err;
static char told[64][200];
static size_t n_told;

static void note_open(void *user, const char *path) {
    (void)user;
    assert_true(n_told < COUNT(told));
    snprintf(told[n_told++], sizeof told[0], "%s", path);
}

static void watch(void) {
    n_files = n_told = 0;
    by_path[0] = 0;
    size_told = -1;
    watching = true;
}

static int unmake(void **state) {
    watching = false;
    return tdir_remove(state);
}

/* The end of `path`'s cap by the defaults of base.h. */
static size_t cap_of(const char *path) {
    const char *name = strrchr(path, '/') + 1;
    vlm_limits l = vcore_limits(NULL);
    if (!strcmp(name, "tokenizer.json") || !strcmp(name, "tokenizer_config.json")
        || !strcmp(name, "special_tokens_map.json"))
        return (size_t)l.tokenizer_bytes;
    if (!strcmp(name, "chat_template.json")) return 2 * (size_t)l.template_bytes;
    if (!strcmp(name, "chat_template.jinja")) return (size_t)l.template_bytes;
    if (!strcmp(name, "model.safetensors.index.json")) return (size_t)l.index_bytes;
    return (size_t)l.config_bytes;
}

/* Every file opened since watch() was opened in the one right way. */
static void assert_opened_well(void) {
    watching = false;
    for (size_t i = 0; i < n_files; i++) {
        const seen *s = &files[i];
        if (s->opens != 1) fail_msg("%s: opened %d times", s->path, s->opens);
        if (s->flags != (O_RDONLY | O_NONBLOCK | O_CLOEXEC)) fail_msg("%s: flags %o", s->path, s->flags);
        if (s->fd >= 0) fail_msg("%s: left open", s->path);
        if (s->maps == 0 && s->bytes > cap_of(s->path) + 1) fail_msg("%s: %zu bytes", s->path, s->bytes);
        bool there = s->bytes || s->maps;
        if (s->fstats != (there ? 1 : 0)) fail_msg("%s: %d fstats", s->path, s->fstats);
    }
}

/* Takes a call that is allowed out of what was seen. */
static void forget(const char *call, const char *path) {
    char text[300];
    snprintf(text, sizeof text, "%s(%s) ", call, path);
    for (char *at; (at = strstr(by_path, text));)
        memmove(at, at + strlen(text), strlen(at + strlen(text)) + 1);
}

/* The folder of further chat templates is read, once, by its own name. */
static void forget_templates(void) {
    char *folder = tdir_path("additional_chat_templates"), *once = strstr(by_path, "scandir(");
    if (once) assert_null(strstr(once + 1, "scandir("));
    forget("scandir", folder);
    free(folder);
}

static void a_load_opens_every_file_once(void **state) {
    (void)state;
    vlm_context *c;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.threads = 1;
    o.opened = note_open;
    watch();
    vlm_status status = vlm_context_load(&c, tdir, &o, &err);
    assert_opened_well();
    if (status < 0) fail_msg("%s", err.message);
    vlm_context_free(c);
    static const char *const must[] = { "config.json", "generation_config.json", "preprocessor_config.json",
                                        "processor_config.json", "tokenizer.json", "tokenizer_config.json",
                                        "chat_template.json", "model.safetensors" };
    for (size_t i = 0; i < COUNT(must); i++) {
        char *path = tdir_path(must[i]);
        seen *s = file_of(path);
        if (s->opens != 1) fail_msg("%s was not opened", path);
        free(path);
    }
    /* The hook is told of each of them, once, and of nothing twice. */
    for (size_t i = 0; i < n_files; i++) {
        int times = 0;
        for (size_t k = 0; k < n_told; k++) times += !strcmp(told[k], files[i].path);
        if (times != 1) fail_msg("%s: told %d times", files[i].path, times);
    }
    for (size_t i = 0; i < n_told; i++)
        for (size_t k = 0; k < i; k++)
            if (!strcmp(told[i], told[k])) fail_msg("told twice: %s", told[i]);
    /* No path is looked at but by opening it. Whether dir is one is asked to tell it from a hub id; which
     * files hold the weights is chosen by their names. */
    forget("stat", tdir);
    forget("opendir", tdir);
    forget("faccessat", "model.safetensors");
    forget_templates();
    assert_string_equal(by_path, "");
}

static void the_parts_alone_open_every_file_once(void **state) {
    (void)state;
    vlm_base_config *base;
    vlm_processor_config *processor;
    vlm_tokenizer *tokenizer;
    char *text;
    watch();
    vlm_status status = vlm_base_config_load(&base, tdir, NULL, &err);
    assert_opened_well();
    assert_int_equal(status, VLM_OK);
    assert_string_equal(by_path, "");
    vlm_base_config_free(base);
    watch();
    status = vlm_processor_config_load(&processor, tdir, NULL, NULL, &err);
    assert_opened_well();
    assert_int_equal(status, VLM_OK);
    assert_string_equal(by_path, "");
    vlm_processor_config_free(processor);
    watch();
    status = vlm_tokenizer_load(&tokenizer, tdir, NULL, &err);
    assert_opened_well();
    assert_int_equal(status, VLM_OK);
    assert_string_equal(by_path, "");
    vlm_tokenizer_free(tokenizer);
    watch();
    status = vlm_template_render(&text, tdir, "[]", "{}", NULL, &err);
    assert_opened_well();
    if (status < 0) fail_msg("%s", err.message);
    forget_templates();
    assert_string_equal(by_path, "");
    vlm_string_free(text);
}

static void put(const char *name, size_t n) {
    char *spaces = malloc(n);
    memset(spaces, ' ', n);
    tdir_write(name, spaces, n);
    free(spaces);
}

static vlm_status read_with_cap(const char *name, uint64_t cap, long says) {
    vio_bytes b;
    char *path = tdir_path(name);
    watch();
    size_told = says;
    vlm_status status = vio_read(&b, path, cap, NULL, &err);
    watching = false;
    vcore_free(b.p);
    free(path);
    return status;
}

/* Whatever the size is said to be, a file that grows or lies is not read beyond its cap and one byte. */
static void no_more_than_the_cap_is_read(void **state) {
    (void)state;
    put("data", 300000);
    assert_int_equal(read_with_cap("data", 300000, -1), VLM_OK);
    assert_int_equal(files[0].bytes, 300000);
    assert_int_equal(read_with_cap("data", 299999, -1), VLM_ERR_LIMIT); /* known from fstat */
    assert_int_equal(files[0].bytes, 0);
    assert_int_equal(err.limit, 299999);
    static const long lies[] = { 0, 1, 10, 65535, 199999, 200000 };
    for (size_t i = 0; i < COUNT(lies); i++) {
        assert_int_equal(read_with_cap("data", 200000, lies[i]), VLM_ERR_LIMIT);
        assert_int_equal(files[0].bytes, 200001);
        assert_int_equal(files[0].fstats, 1);
        assert_int_equal(err.limit, 200000);
        assert_int_equal(read_with_cap("data", 300000, lies[i]), VLM_OK);
        assert_int_equal(files[0].bytes, 300000);
    }
    assert_int_equal(read_with_cap("data", 0, 0), VLM_ERR_LIMIT);
    assert_int_equal(files[0].bytes, 1);
    assert_int_equal(read_with_cap("data", 300000, 300000), VLM_OK); /* shrunk: what is there counts */
    put("data", 10);
    assert_int_equal(read_with_cap("data", 300000, 300000), VLM_OK);
    assert_int_equal(files[0].bytes, 10);
}

static void what_is_no_regular_file_is_not_read(void **state) {
    (void)state;
    char *path = tdir_path("fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(read_with_cap("fifo", 10, -1), VLM_ERR_IO);
    assert_true(files[0].opens == 1 && files[0].fstats == 1 && files[0].bytes == 0);
    assert_int_equal(read_with_cap("", 10, -1), VLM_ERR_IO); /* the directory itself */
    assert_true(files[0].opens == 1 && files[0].fstats == 1 && files[0].bytes == 0);
    remove(path);
    put("target", 7);
    assert_int_equal(symlink("target", path), 0); /* the hub's cache is made of links */
    assert_int_equal(read_with_cap("fifo", 10, -1), VLM_OK);
    assert_true(files[0].opens == 1 && files[0].fstats == 1 && files[0].bytes == 7);
    free(path);
}

int main(void) {
#define TEST(name) cmocka_unit_test_prestate_setup_teardown(name, tdir_make, unmake, GOLDEN)
    const struct CMUnitTest tests[] = {
        TEST(a_load_opens_every_file_once),
        TEST(the_parts_alone_open_every_file_once),
        TEST(no_more_than_the_cap_is_read),
        TEST(what_is_no_regular_file_is_not_read),
    };
    return cmocka_run_group_tests_name("opens", tests, NULL, NULL);
}
