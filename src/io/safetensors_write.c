/* SPDX-License-Identifier: MIT */
/* Writes a safetensors file. Owns the layout: widest types first, then by name, as Hugging Face's
 * writer does it, so that every tensor lies at a multiple of its element's size. */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

vlm_status vio_out_tensor_bytes(uint64_t *out, const vio_out_tensor *t, const char *path,
                                vlm_error *err) {
    bool fits = t->rank >= 0 && t->rank <= VIO_MAX_RANK;
    *out = vio_dtype_size(t->dtype);
    for (int i = 0; fits && i < t->rank; i++)
        fits = !__builtin_mul_overflow(*out, t->shape[i], out);
    if (fits && *out <= INT64_MAX) return VLM_OK;
    return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: tensor '%s': impossible shape", path, t->name);
}

static int by_width_and_name(const void *a, const void *b) {
    const vio_out_tensor *x = *(const vio_out_tensor *const *)a,
                         *y = *(const vio_out_tensor *const *)b;
    size_t wx = vio_dtype_size(x->dtype), wy = vio_dtype_size(y->dtype);
    return wx != wy ? (wx < wy ? 1 : -1) : strcmp(x->name, y->name);
}

static vlm_status build_header(vcore_buf *b, const vio_out_tensor *const *order, size_t n,
                               const char *format, const char *path, vlm_error *err) {
    static const char eight[8] = { 0 };
    uint64_t begin = 0, bytes;
    vcore_buf_add(b, eight, 8); /* the length, once it is known */
    vcore_json_open(b, NULL, '{');
    if (format) {
        vcore_json_open(b, "__metadata__", '{');
        vcore_json_put_text(b, "format", format);
        vcore_json_close(b, '}');
    }
    for (size_t i = 0; i < n; i++, begin += bytes) {
        const vio_out_tensor *t = order[i];
        VTRY(vio_out_tensor_bytes(&bytes, t, path, err));
        if (i && strcmp(order[i - 1]->name, t->name) == 0)
            return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: tensor '%s' comes twice", path, t->name);
        vcore_json_open(b, t->name, '{');
        vcore_json_put_text(b, "dtype", vio_dtype_name(t->dtype));
        vcore_json_open(b, "shape", '[');
        for (int k = 0; k < t->rank; k++) vcore_json_put_uint(b, NULL, t->shape[k]);
        vcore_json_close(b, ']');
        vcore_json_open(b, "data_offsets", '[');
        vcore_json_put_uint(b, NULL, begin);
        vcore_json_put_uint(b, NULL, begin + bytes);
        vcore_json_close(b, ']');
        vcore_json_close(b, '}');
    }
    vcore_json_close(b, '}');
    while (b->n % 8 && !b->failed) vcore_buf_puts(b, " ");
    if (b->failed) return vcore_no_memory(err, path);
    uint64_t length = b->n - 8;
    memcpy(b->p, &length, 8);
    return VLM_OK;
}

vlm_status vio_safetensors_header(vcore_buf *head, uint64_t *offsets, const vio_out_tensor *tensors,
                                  size_t n, const char *format_or_null, const char *path,
                                  vlm_error *err) {
    const vio_out_tensor **order = vcore_alloc_array(n ? n : 1, sizeof *order);
    if (!order) return vcore_no_memory(err, path);
    for (size_t i = 0; i < n; i++) order[i] = &tensors[i];
    qsort(order, n, sizeof *order, by_width_and_name);
    vlm_status status = build_header(head, order, n, format_or_null, path, err);
    uint64_t at = head->n, bytes;
    for (size_t i = 0; i < n && status >= 0; i++, at += bytes) {
        offsets[order[i] - tensors] = at;
        status = vio_out_tensor_bytes(&bytes, order[i], path, err);
    }
    vcore_free(order);
    return status;
}

vlm_status vio_write_at(int fd, const void *data, size_t n, uint64_t offset, const char *path,
                        vlm_error *err) {
    for (const char *p = data; n;) {
        ssize_t wrote = pwrite(fd, p, n < 1u << 30 ? n : 1u << 30, (off_t)offset);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return vio_fail_errno(err, path, "write", errno);
        if (wrote == 0) return vio_fail_errno(err, path, "write", ENOSPC);
        p += wrote;
        n -= (size_t)wrote;
        offset += (uint64_t)wrote;
    }
    return VLM_OK;
}

void vio_sync_dir(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

static vlm_status write_all(int fd, const void *data, uint64_t n, const char *path,
                            vlm_error *err) {
    const char *p = data;
    while (n) {
        ssize_t wrote = write(fd, p, n < 1u << 30 ? (size_t)n : 1u << 30);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return vio_fail_errno(err, path, "write", errno);
        p += wrote;
        n -= (uint64_t)wrote;
    }
    return VLM_OK;
}

static vlm_status write_file(const char *path, const char *temporary, const vcore_buf *head,
                             const vio_out_tensor *const *order, size_t n, vlm_error *err) {
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return vio_fail_errno(err, temporary, "create", errno);
    vlm_status status = write_all(fd, head->p, head->n, path, err);
    for (size_t i = 0; i < n && status >= 0; i++) {
        uint64_t bytes;
        status = vio_out_tensor_bytes(&bytes, order[i], path, err);
        if (status >= 0) status = write_all(fd, order[i]->data, bytes, path, err);
    }
    if (close(fd) != 0 && status >= 0) status = vio_fail_errno(err, path, "write", errno);
    if (status >= 0 && rename(temporary, path) != 0)
        status = vio_fail_errno(err, path, "rename to it", errno);
    if (status < 0) unlink(temporary);
    return status;
}

vlm_status vio_safetensors_write(const char *path, const vio_out_tensor *tensors, size_t n,
                                 const char *format_or_null, vlm_error *err) {
    vcore_buf head = { 0 }, temporary = { 0 };
    const vio_out_tensor **order = vcore_alloc_array(n ? n : 1, sizeof *order);
    vcore_buf_printf(&temporary, "%s.%ld.tmp", path, (long)getpid());
    vlm_status status = order && !temporary.failed ? VLM_OK : vcore_no_memory(err, path);
    for (size_t i = 0; order && i < n; i++) order[i] = &tensors[i];
    if (order) qsort(order, n, sizeof *order, by_width_and_name);
    if (status >= 0) status = build_header(&head, order, n, format_or_null, path, err);
    if (status >= 0) status = write_file(path, temporary.p, &head, order, n, err);
    vcore_free(order);
    vcore_buf_free(&head);
    vcore_buf_free(&temporary);
    return status;
}
