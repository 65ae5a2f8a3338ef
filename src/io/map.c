/* SPDX-License-Identifier: MIT */
/* Whole files as read-only memory, mapped or read. Owns no knowledge of what is in them. */
#include "io/io.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

struct vio_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
};

/* Fills n bytes; a file that became shorter since fstat is an error. */
static vlm_status read_whole(uint8_t *to, size_t n, int fd, const char *path, vlm_error *err) {
    vcore_where where = { .file = path, .operation = "read" };
    for (size_t done = 0; done < n;) {
        ssize_t got = read(fd, to + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return vio_fail_errno(err, path, "read", errno);
        if (got == 0)
            return vcore_fail_at(err, VLM_ERR_IO, where, "%s: became shorter while it was read",
                                 path);
        done += (size_t)got;
    }
    return VLM_OK;
}

/* Pages of our own with the file's bytes in them: from the system like a map, so that both end
 * alike and nothing is zeroed twice. */
static vlm_status read_pages(void **out, size_t size, int fd, const char *path, vlm_error *err) {
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (size > memory) /* a file may claim any size without having it */
        return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .file = path, .limit = memory },
                             "%s: %zu bytes do not fit the machine's memory of %llu", path, size,
                             (unsigned long long)memory);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return vcore_no_memory(err, path);
    madvise(data, size, MADV_HUGEPAGE); /* a wish */
    vlm_status status = read_whole(data, size, fd, path, err);
    if (status >= 0 && mprotect(data, size, PROT_READ) != 0)
        status = vio_fail_errno(err, path, "map", errno);
    if (status < 0)
        munmap(data, size);
    else
        *out = data;
    return status;
}

static vlm_status map_pages(void **out, size_t size, int fd, const char *path, vlm_error *err) {
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return vio_fail_errno(err, path, "map", errno);
    *out = data;
    return VLM_OK;
}

vlm_status vio_map_open(vio_map **out, const char *path, const vio_source *from, vlm_error *err) {
    int fd;
    uint64_t size;
    *out = NULL;
    VTRY(vio_open_regular(&fd, &size, path, from, err));
    vio_map *m = vcore_alloc(sizeof *m);
    void *data = NULL;
    vlm_status status = m ? VLM_OK : vcore_no_memory(err, path);
    if (m && size > SIZE_MAX)
        status = vcore_fail(err, VLM_ERR_LIMIT, "%s: larger than the address space", path);
    else if (m && size)
        status = from && from->in_memory ? read_pages(&data, (size_t)size, fd, path, err)
                                         : map_pages(&data, (size_t)size, fd, path, err);
    close(fd);
    if (status < 0) {
        vcore_free(m);
        return status;
    }
    *m = (vio_map) { data, (size_t)size };
    *out = m;
    return VLM_OK;
}

const uint8_t *vio_map_data(const vio_map *m) {
    return m->data;
}

size_t vio_map_size(const vio_map *m) {
    return m->size;
}

void vio_map_close(vio_map *m) {
    if (!m) return;
    if (m->data) munmap((void *)m->data, m->size);
    vcore_free(m);
}
