/* SPDX-License-Identifier: MIT */
/* The cache on disk, as huggingface_hub lays it out, so that either finds what the other fetched:
 *   models--org--name/blobs/<etag>                 content
 *   models--org--name/snapshots/<commit>/<file>    relative links to it
 *   models--org--name/refs/<revision>              the commit of a branch or tag
 *   models--org--name/.no_exist/<commit>/<file>    files known not to be
 *   .locks/models--org--name/<etag>.lock           held (flock) while a blob arrives
 * Everything appears by a rename. Nothing here knows the network or which files a model needs. */
#include "io/hub/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

vlm_status vio_hub_cache_open(vio_hub_cache *c, const char *cache_dir, const char *id,
                              vlm_error *err) {
    vcore_buf folder = { 0 }, locks = { 0 };
    vcore_buf_puts(&folder, "models--");
    for (const char *p = id; *p; p++)
        vcore_buf_add(&folder, *p == '/' ? "--" : p, *p == '/' ? 2 : 1);
    vcore_buf_printf(&locks, ".locks/%s", folder.p ? folder.p : "");
    *c = (vio_hub_cache) { .id = id };
    if (!folder.failed && !locks.failed) {
        c->base = vcore_strdup(cache_dir);
        c->root = vio_join(cache_dir, folder.p);
        c->locks = vio_join(cache_dir, locks.p);
    }
    vcore_buf_free(&folder);
    vcore_buf_free(&locks);
    if (c->base && c->root && c->locks) return VLM_OK;
    vio_hub_cache_close(c);
    return vcore_no_memory(err, id);
}

void vio_hub_cache_close(vio_hub_cache *c) {
    vcore_free(c->base);
    vcore_free(c->root);
    vcore_free(c->locks);
    *c = (vio_hub_cache) { 0 };
}

char *vio_hub_cache_path(const vio_hub_cache *c, const char *kind, const char *a, const char *b) {
    vcore_buf path = { 0 };
    vcore_buf_printf(&path, "%s/%s", c->root, kind);
    if (a) vcore_buf_printf(&path, "/%s", a);
    if (b) vcore_buf_printf(&path, "/%s", b);
    return vcore_buf_take(&path);
}

/* ---- directories and small files ---------------------------------------------------------- */

/* Where something is to be made, a place that does not exist is a failure of the cache. */
static vlm_status as_failure(vlm_error *err, vlm_status status) {
    if (status != VLM_ERR_NOT_FOUND) return status;
    if (err) err->code = VLM_ERR_IO;
    return VLM_ERR_IO;
}

/* Makes the directory path[0..n) and those above it. */
static vlm_status make_dirs(const char *path, size_t n, vlm_error *err) {
    char *copy = vcore_strndup(path, n);
    if (!copy) return vcore_no_memory(err, path);
    vlm_status status = VLM_OK;
    for (size_t i = 1; status >= 0 && i <= n; i++) {
        if (i < n && copy[i] != '/') continue;
        copy[i] = 0;
        if (mkdir(copy, 0777) != 0 && !vio_is_dir(copy))
            status =
                vio_fail_errno(err, copy, "make the directory", errno == EEXIST ? ENOTDIR : errno);
        if (i < n) copy[i] = '/';
    }
    vcore_free(copy);
    return as_failure(err, status);
}

static vlm_status make_parent(const char *path, vlm_error *err) {
    return make_dirs(path, (size_t)(strrchr(path, '/') - path), err);
}

/* A name beside path that nobody else has. */
static char *temporary(const char *path) {
    vcore_buf b = { 0 };
    vcore_buf_printf(&b, "%s.%08x.tmp", path, (unsigned)vcore_hash_seed());
    return vcore_buf_take(&b);
}

static vlm_status write_whole(const char *path, const char *text, vlm_error *err) {
    size_t n = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return vio_fail_errno(err, path, "create", errno);
    ssize_t written = write(fd, text, n);
    int number = written < 0 ? errno : ENOSPC;
    if (close(fd) != 0 && written == (ssize_t)n) {
        number = errno;
        written = -1;
    }
    return written == (ssize_t)n ? VLM_OK : vio_fail_errno(err, path, "write", number);
}

/* Writes text to a temporary name and renames that to path. */
static vlm_status replace(const char *path, const char *text, vlm_error *err) {
    char *fresh = temporary(path);
    if (!fresh) return vcore_no_memory(err, path);
    vlm_status status = write_whole(fresh, text, err);
    if (status >= 0 && rename(fresh, path) != 0)
        status = vio_fail_errno(err, path, "replace", errno);
    if (status < 0) unlink(fresh);
    vcore_free(fresh);
    return as_failure(err, status);
}

/* The tag that tells backup programs to pass by (https://bford.info/cachedir). */
static void tag_cache(const vio_hub_cache *c) {
    char *path = vio_join(c->base, "CACHEDIR.TAG");
    if (path && access(path, F_OK) != 0)
        write_whole(path, "Signature: 8a477f597d28d172789f06886806bc55\n", NULL);
    vcore_free(path);
}

vlm_status vio_hub_cache_make(const vio_hub_cache *c, vlm_error *err) {
    static const char *const kinds[] = { "blobs", "refs", "snapshots" };
    vlm_status status = make_dirs(c->locks, strlen(c->locks), err);
    for (size_t i = 0; status >= 0 && i < sizeof kinds / sizeof kinds[0]; i++) {
        char *path = vio_hub_cache_path(c, kinds[i], NULL, NULL);
        status = path ? make_dirs(path, strlen(path), err) : vcore_no_memory(err, c->root);
        vcore_free(path);
    }
    if (status >= 0) tag_cache(c);
    return status;
}

bool vio_hub_is_file(const char *path, uint64_t size) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode)
           && (size == UINT64_MAX || (uint64_t)st.st_size == size);
}

uint64_t vio_hub_cache_has(const vio_hub_cache *c, const char *etag, uint64_t size) {
    struct stat st;
    vcore_buf path = { 0 };
    uint64_t there = 0;
    vcore_buf_printf(&path, "%s/blobs/%s", c->root, etag);
    if (etag[0] && !path.failed && vio_hub_is_file(path.p, size)) there = size;
    vcore_buf_puts(&path, ".incomplete");
    if (!there && !path.failed && stat(path.p, &st) == 0 && (uint64_t)st.st_size <= size)
        there = (uint64_t)st.st_size;
    vcore_buf_free(&path);
    return there;
}

uint64_t vio_hub_cache_free_bytes(const vio_hub_cache *c) {
    struct statvfs st;
    uint64_t bytes;
    if (statvfs(c->root, &st) != 0 || st.f_blocks == 0) return UINT64_MAX;
    return __builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, &bytes) ? UINT64_MAX
                                                                                        : bytes;
}

/* ---- revisions ---------------------------------------------------------------------------- */

static vlm_status read_ref(const char *path, char commit[VIO_HUB_HASH]) {
    vio_bytes text;
    vlm_status status = vio_read(&text, path, 4096, NULL, NULL);
    if (status < 0) return status == VLM_ERR_MEMORY ? status : VLM_ERR_NOT_FOUND;
    vcore_str s = { text.p, text.n };
    while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == ' ')) s.n--;
    bool good = vio_hub_is_commit(s);
    if (good) {
        memcpy(commit, s.p, s.n);
        commit[s.n] = 0;
    }
    vcore_free(text.p);
    return good ? VLM_OK : VLM_ERR_NOT_FOUND;
}

vlm_status vio_hub_cache_commit(const vio_hub_cache *c, const char *revision,
                                char commit[VIO_HUB_HASH], vlm_error *err) {
    if (vio_hub_is_commit(vcore_str_of(revision))) {
        memcpy(commit, revision, strlen(revision) + 1);
        return VLM_OK;
    }
    char *path = vio_hub_cache_path(c, "refs", revision, NULL);
    vlm_status status = path ? read_ref(path, commit) : VLM_ERR_MEMORY;
    vcore_free(path);
    if (status == VLM_ERR_MEMORY) return vcore_no_memory(err, revision);
    if (status < 0)
        return vcore_fail_at(err, VLM_ERR_NOT_FOUND, (vcore_where) { .file = c->root },
                             "%s: revision '%s' is not in the cache (%s)", c->id, revision,
                             c->root);
    return VLM_OK;
}

vlm_status vio_hub_cache_set_commit(const vio_hub_cache *c, const char *revision,
                                    const char *commit, vlm_error *err) {
    char known[VIO_HUB_HASH];
    if (vio_hub_cache_commit(c, revision, known, NULL) >= 0 && strcmp(known, commit) == 0)
        return VLM_OK;
    char *path = vio_hub_cache_path(c, "refs", revision, NULL);
    if (!path) return vcore_no_memory(err, revision);
    vlm_status status = make_parent(path, err);
    if (status >= 0) status = replace(path, commit, err);
    vcore_free(path);
    return status;
}

void vio_hub_cache_no_exist(const vio_hub_cache *c, const char *commit, const char *name) {
    char *path = vio_hub_cache_path(c, ".no_exist", commit, name);
    if (path && make_parent(path, NULL) >= 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd >= 0) close(fd);
    }
    vcore_free(path);
}

/* ---- locks and links ---------------------------------------------------------------------- */

/* A lock file that was removed or replaced meanwhile locks nothing. */
static bool is_still(int fd, const char *path) {
    struct stat held, named;
    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev
           && held.st_ino == named.st_ino;
}

static vlm_status lock_file(int *fd, const char *path, vlm_error *err) {
    int opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0664);
    if (opened < 0) return vio_fail_errno(err, path, "open", errno);
    if (flock(opened, LOCK_EX | LOCK_NB) == 0) {
        if (!is_still(opened, path)) {
            close(opened);
            return VLM_DONE;
        }
        *fd = opened;
        return VLM_OK;
    }
    int number = errno;
    close(opened);
    if (number == EWOULDBLOCK || number == EACCES || number == EINTR) return VLM_DONE;
    if (number == ENOSYS || number == EOPNOTSUPP || number == ENOLCK || number == EINVAL)
        return VLM_OK;
    return vio_fail_errno(err, path, "lock", number);
}

vlm_status vio_hub_cache_lock(int *fd, const vio_hub_cache *c, const char *etag, vlm_error *err) {
    vcore_buf path = { 0 };
    *fd = -1;
    vcore_buf_printf(&path, "%s/%s.lock", c->locks, etag);
    vlm_status status = path.failed ? vcore_no_memory(err, etag) : lock_file(fd, path.p, err);
    vcore_buf_free(&path);
    return status;
}

static vlm_status link_to(const char *pointer, const char *target, vlm_error *err) {
    if (symlink(target, pointer) == 0) return VLM_OK;
    if (errno != EEXIST) return vio_fail_errno(err, pointer, "link", errno);
    char *fresh = temporary(pointer);
    if (!fresh) return vcore_no_memory(err, pointer);
    vlm_status status = VLM_OK;
    if (symlink(target, fresh) != 0 || rename(fresh, pointer) != 0) {
        status = vio_fail_errno(err, pointer, "link", errno);
        unlink(fresh);
    }
    vcore_free(fresh);
    return status;
}

vlm_status vio_hub_cache_link(const vio_hub_cache *c, const char *commit, const char *name,
                              const char *etag, vlm_error *err) {
    vcore_buf target = { 0 };
    vcore_buf_puts(&target, "../../");
    for (const char *p = name; *p; p++)
        if (*p == '/') vcore_buf_puts(&target, "../");
    vcore_buf_printf(&target, "blobs/%s", etag);
    char *pointer = vio_hub_cache_path(c, "snapshots", commit, name);
    vlm_status status =
        pointer && !target.failed ? make_parent(pointer, err) : vcore_no_memory(err, name);
    if (status >= 0) status = link_to(pointer, target.p, err);
    vcore_buf_free(&target);
    vcore_free(pointer);
    return status;
}
