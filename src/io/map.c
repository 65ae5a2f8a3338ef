/* SPDX-License-Identifier: MIT */
/* Read-only memory maps of whole files. Owns no knowledge of what is in them. */
#include "io/io.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

struct vio_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
};

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
    else if (m && size) {
        data = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) status = vio_fail_errno(err, path, "map", errno);
    }
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
