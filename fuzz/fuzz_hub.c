/* SPDX-License-Identifier: MIT */
/* Answers of a hub: a block of headers up to an empty line, then a list of files. Whatever is believed has
 * the form that the disk needs. (Which of them are weights: fuzz_index.) */
#include "io/hub/hub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good) {
    if (!good) __builtin_trap();
}

/* Lines as libcurl gives them; returns where the body begins. */
static size_t read_headers(const char *p, size_t n) {
    vio_hub_headers h = { 0 };
    vlm_error err = VLM_ERROR_INIT;
    uint64_t file;
    size_t at = 0;
    while (at < n) {
        const char *end = memchr(p + at, '\n', n - at);
        size_t length = end ? (size_t)(end - p) + 1 - at : n - at;
        vio_hub_headers_line(&h, p + at, length);
        at += length;
        if (length <= 2) break;
    }
    check(h.bytes == at);
    check(!h.etag[0] || vio_hub_is_etag(vcore_str_of(h.etag)));
    check(!h.commit[0] || vio_hub_is_commit(vcore_str_of(h.commit)));
    vio_hub_headers_size(&h, false, &file);
    check(vio_hub_refused(&err, "org/name", 404, true, &h) < 0 && err.message[0]
          && !strchr(err.message, '\n'));
    return at;
}

static void read_list(const char *p, size_t n) {
    vio_hub_listing l;
    vlm_error err = VLM_ERROR_INIT;
    if (vio_hub_listing_parse(&l, p, n, 1000, "org/name", &err) < 0) {
        check(err.message[0] && !l.arena);
        return;
    }
    check(vio_hub_is_commit(vcore_str_of(l.commit)) && l.n <= 1000);
    for (size_t i = 0; i < l.n; i++) {
        const vio_hub_file *f = &l.files[i];
        check(vio_hub_is_file_name(vcore_str_of(f->name)) && f->name[0] != '/'
              && !strstr(f->name, "/../"));
        check(!f->etag[0] || vio_hub_is_commit(vcore_str_of(f->etag)));
    }
    for (size_t i = 0; i < l.n; i++) vio_hub_role_of(l.files[i].name);
    vio_hub_listing_free(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t body = read_headers((const char *)data, size);
    read_list((const char *)data + body, size - body);
    return 0;
}
