/* SPDX-License-Identifier: MIT */
/* Bounded reads of small files. Owns the rule that a file is opened once and judged by its
 * descriptor; owns no search order and no meaning. */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

vio_source vio_source_of(const vlm_limits *limits) {
    return (vio_source) { .limits = vcore_limits(limits) };
}

void vio_source_tell(const vio_source *from, const char *path) {
    if (from && from->opened) from->opened(from->opened_user, path);
}

vlm_status vio_fail_errno(vlm_error *err, const char *path, const char *operation, int number) {
    char buffer[128];
    bool absent = number == ENOENT || number == ENOTDIR;
    vcore_where where = { .file = path, .operation = operation, .os_error = number };
    return vcore_fail_at(err, absent ? VLM_ERR_NOT_FOUND : VLM_ERR_IO, where, "%s: cannot %s: %s",
                         path, operation, strerror_r(number, buffer, sizeof buffer));
}

/* O_NONBLOCK: opening a FIFO returns at once, to be refused here, and waits for no writer. */
vlm_status vio_open_regular(int *fd, uint64_t *size, const char *path, const vio_source *from, vlm_error *err) {
    struct stat st;
    *fd = -1;
    vio_source_tell(from, path);
    int opened = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (opened < 0) return vio_fail_errno(err, path, "open", errno);
    vcore_where where = { .file = path, .operation = "open" };
    vlm_status status = VLM_OK;
    if (fstat(opened, &st) != 0)
        status = vio_fail_errno(err, path, "stat", errno);
    else if (S_ISDIR(st.st_mode))
        status = vcore_fail_at(err, VLM_ERR_IO, where, "%s: is a directory, not a file", path);
    else if (!S_ISREG(st.st_mode))
        status = vcore_fail_at(err, VLM_ERR_IO, where, "%s: is not a regular file", path);
    if (status < 0) {
        close(opened);
        return status;
    }
    *fd = opened;
    *size = (uint64_t)st.st_size;
    return VLM_OK;
}

static vlm_status fail_large(const char *path, uint64_t cap, vlm_error *err) {
    vcore_where where = { .file = path, .operation = "read", .limit = cap };
    return vcore_fail_at(err, VLM_ERR_LIMIT, where, "%s: larger than the limit of %llu bytes", path,
                         (unsigned long long)cap);
}

/* Reads to the end of the file; a file that grew since fstat may not pass cap either. */
static vlm_status read_all(vcore_buf *b, int fd, uint64_t size, const char *path, uint64_t cap,
                           vlm_error *err) {
    size_t room = (size_t)size + 1; /* one more byte than expected finds the end in the same call */
    for (;;) {
        if (b->cap - b->n < 2) {
            char *p = vcore_realloc_array(b->p, b->n + room + 1, 1);
            if (!p) return vcore_no_memory(err, path);
            b->p = p;
            b->cap = b->n + room + 1;
            room = 65536;
        }
        size_t want = b->cap - b->n - 1,
               most = (size_t)cap + 1 - b->n; /* never more than cap + 1 */
        ssize_t got = read(fd, b->p + b->n, want < most ? want : most);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return vio_fail_errno(err, path, "read", errno);
        b->n += (size_t)got;
        b->p[b->n] = 0;
        if (b->n > cap) return fail_large(path, cap, err);
        if (got == 0) return VLM_OK;
    }
}

vlm_status vio_read(vio_bytes *out, const char *path, uint64_t cap, const vio_source *from, vlm_error *err) {
    int fd;
    uint64_t size;
    vcore_buf b = { 0 };
    *out = (vio_bytes) { 0 };
    if (cap > SIZE_MAX / 2) cap = SIZE_MAX / 2;
    VTRY(vio_open_regular(&fd, &size, path, from, err));
    vlm_status status =
        size > cap ? fail_large(path, cap, err) : read_all(&b, fd, size, path, cap, err);
    close(fd);
    if (status < 0)
        vcore_buf_free(&b);
    else
        *out = (vio_bytes) { b.p, b.n };
    return status;
}

vlm_status vio_read_text(vio_bytes *out, const char *path, uint64_t cap, const vio_source *from, vlm_error *err) {
    VTRY(vio_read(out, path, cap, from, err));
    if (!vcore_utf8_valid(out->p, out->n)) {
        vcore_free(out->p);
        *out = (vio_bytes) { 0 };
        return vcore_fail_at(err, VLM_ERR_ENCODING, (vcore_where) { .file = path },
                             "%s: is not UTF-8 text", path);
    }
    if (out->n >= 3 && memcmp(out->p, "\xEF\xBB\xBF", 3) == 0) {
        out->n -= 3;
        memmove(out->p, out->p + 3, out->n + 1);
    }
    return VLM_OK;
}

vlm_status vio_read_optional(vio_bytes *out, const char *path, uint64_t cap, const vio_source *from,
                             vlm_error *err) {
    vlm_error why = VLM_ERROR_INIT;
    vlm_status status = vio_read(out, path, cap, from, &why);
    if (status == VLM_ERR_NOT_FOUND) return VLM_OK;
    if (status < 0 && err) *err = why;
    return status;
}

vlm_status vio_read_text_optional(vio_bytes *out, const char *path, uint64_t cap, const vio_source *from, vlm_error *err) {
    vlm_error why = VLM_ERROR_INIT;
    vlm_status status = vio_read_text(out, path, cap, from, &why);
    if (status == VLM_ERR_NOT_FOUND) return VLM_OK;
    if (status < 0 && err) *err = why;
    return status;
}

vlm_status vio_read_json(vcore_json_doc **doc, vio_bytes *text_or_null, const char *path,
                         uint64_t cap, const vio_source *from, vlm_error *err) {
    vio_bytes text;
    *doc = NULL;
    if (text_or_null) *text_or_null = (vio_bytes) { 0 };
    VTRY(vio_read_text(&text, path, cap, from, err));
    if (!text_or_null) return vcore_json_take(doc, text.p, text.n, path, err);
    vlm_status status = vcore_json_parse(doc, text.p, text.n, path, err);
    if (status >= 0)
        *text_or_null = text;
    else
        vcore_free(text.p);
    return status;
}

char *vio_join(const char *dir, const char *name) {
    vcore_buf b = { 0 };
    size_t n = strlen(dir);
    vcore_buf_add(&b, dir, n);
    if (n && dir[n - 1] != '/') vcore_buf_puts(&b, "/");
    vcore_buf_puts(&b, name);
    return vcore_buf_take(&b);
}

bool vio_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
