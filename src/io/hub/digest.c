/* SPDX-License-Identifier: MIT */
/* The hash that an etag is. The hub names a large file's blob by the sha256 of its content and a
 * small one's as git does: sha1 of "blob <size>", a zero byte and the content. The hashing is
 * libcrypto's. */
#include "io/hub/hub.h"

#include <openssl/evp.h>
#include <stdio.h>

static vlm_status failed(vlm_error *err) {
    return vcore_fail(err, VLM_ERR_UNSUPPORTED, "libcrypto cannot hash here");
}

vlm_status vio_hub_digest_start(vio_hub_digest *d, const char *etag, uint64_t size,
                                vlm_error *err) {
    size_t n = strlen(etag);
    d->state = NULL;
    if (!vio_hub_is_commit((vcore_str) { etag, n })) return VLM_OK;
    d->state = EVP_MD_CTX_new();
    if (!d->state) return vcore_no_memory(err, etag);
    if (!EVP_DigestInit_ex(d->state, n == 64 ? EVP_sha256() : EVP_sha1(), NULL)) {
        vio_hub_digest_free(d);
        return failed(err);
    }
    if (n == 64) return VLM_OK;
    char header[32];
    int length = snprintf(header, sizeof header, "blob %llu", (unsigned long long)size);
    vlm_status status = vio_hub_digest_add(d, header, (size_t)length + 1, err);
    if (status < 0) vio_hub_digest_free(d);
    return status;
}

vlm_status vio_hub_digest_add(vio_hub_digest *d, const void *p, size_t n, vlm_error *err) {
    return !d->state || EVP_DigestUpdate(d->state, p, n) ? VLM_OK : failed(err);
}

vlm_status vio_hub_digest_end(vio_hub_digest *d, char hex[VIO_HUB_HASH], vlm_error *err) {
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    hex[0] = 0;
    if (!d->state) return VLM_OK;
    bool done = EVP_DigestFinal_ex(d->state, raw, &n) && 2 * n < VIO_HUB_HASH;
    vio_hub_digest_free(d);
    if (!done) return failed(err);
    for (unsigned i = 0; i < n; i++) snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    return VLM_OK;
}

void vio_hub_digest_free(vio_hub_digest *d) {
    EVP_MD_CTX_free(d->state);
    d->state = NULL;
}
