/* SPDX-License-Identifier: MIT */
/* From bytes to a picture: which format they are, where they come from (file, memory, data URL),
 * and what becomes of a broken one. Owns the list of decoders; each format has a file of its own.
 */
#include "media/media.h"

#include <strings.h>

static const vmedia_decoder *const decoders[] = { &vmedia_jpeg, &vmedia_png, &vmedia_webp,
                                                  &vmedia_gif,  &vmedia_bmp, &vmedia_tiff,
                                                  &vmedia_avif, &vmedia_heic };
#define DECODERS (sizeof decoders / sizeof decoders[0])

bool vmedia_has_brand(const uint8_t *p, size_t n, const char brand[4]) {
    if (n < 16 || memcmp(p + 4, "ftyp", 4) != 0) return false;
    size_t box = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (box > n) box = n;
    if (memcmp(p + 8, brand, 4) == 0) return true;
    for (size_t at = 16; at + 4 <= box; at += 4)
        if (memcmp(p + at, brand, 4) == 0) return true;
    return false;
}

vlm_status vmedia_begin(vlm_image **out, const vmedia_file *file, vlm_size size, uint64_t scratch,
                        vlm_error *err) {
    *out = NULL;
    vlm_status status = vmedia_check_size(size, scratch, file->limits, err);
    if (status == VLM_ERR_ARGUMENT) status = VLM_ERR_IMAGE_PROCESSING;
    if (status == VLM_OK) status = vmedia_image_new(out, size, file->limits, err);
    if (status != VLM_OK && err) err->code = status;
    return status == VLM_OK ? VLM_OK : vcore_context_file(err, status, file->name);
}

vlm_status vmedia_broken(vlm_image **image, const vmedia_file *file, const char *format,
                         const char *reason, vlm_error *err) {
    bool wanted = file->salvage && *image;
    if (!wanted) {
        vlm_image_free(*image);
        *image = NULL;
    }
    return vcore_fail_field(err, wanted ? VLM_DAMAGED : VLM_ERR_IMAGE_PROCESSING, file->name, NULL,
                            "broken %s: %s", format, reason);
}

static vlm_status unknown_format(const vmedia_file *file, vlm_error *err) {
    if (file->n == 0)
        return vcore_fail_field(err, VLM_ERR_IMAGE_PROCESSING, file->name, NULL,
                                "the file is empty");
    char formats[128] = "";
    for (size_t i = 0, n = 0; i < DECODERS; i++) {
        const char *parts[] = { i ? ", " : "", decoders[i]->name };
        for (int k = 0; k < 2; k++) {
            size_t length = strlen(parts[k]);
            if (n + length >= sizeof formats) break;
            memcpy(formats + n, parts[k], length + 1);
            n += length;
        }
    }
    return vcore_fail_field(err, VLM_ERR_IMAGE_PROCESSING, file->name, NULL,
                            "not a picture that can be read (%s)", formats);
}

static vlm_status file_limit(const char *name, size_t bytes, uint64_t most, vlm_error *err) {
    return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .file = name, .limit = most },
                         "%s: %zu bytes, above the limit of %llu", name, bytes,
                         (unsigned long long)most);
}

static vlm_status decode(vlm_image **out, const void *data, size_t bytes, const char *name,
                         const vlm_limits *limits, bool salvage, vlm_error *err) {
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "decoding a picture: out is NULL");
    *out = NULL;
    if (!data && bytes)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "decoding a picture: data is NULL");
    vlm_limits bound = vcore_limits(limits);
    vmedia_file file = { data, bytes, name ? name : "picture", &bound, salvage };
    if (bytes > bound.image_file_bytes)
        return file_limit(file.name, bytes, bound.image_file_bytes, err);
    for (size_t i = 0; i < DECODERS; i++)
        if (decoders[i]->matches(data, bytes)) return decoders[i]->decode(out, &file, err);
    return unknown_format(&file, err);
}

vlm_status vlm_image_decode(vlm_image **out, const void *data, size_t bytes, const char *name,
                            const vlm_limits *limits, vlm_error *err) {
    return decode(out, data, bytes, name, limits, false, err);
}

vlm_status vlm_image_salvage(vlm_image **out, const void *data, size_t bytes, const char *name,
                             const vlm_limits *limits, vlm_error *err) {
    return decode(out, data, bytes, name, limits, true, err);
}

vlm_status vlm_image_open(vlm_image **out, const char *path, const vlm_limits *limits,
                          vlm_error *err) {
    if (!out || !path) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_open: a NULL argument");
    *out = NULL;
    vio_source from = vio_source_of(limits);
    vio_bytes file = { 0 };
    VTRY(vio_read(&file, path, from.limits.image_file_bytes, &from, err));
    vlm_status status = vlm_image_decode(out, file.p, file.n, path, &from.limits, err);
    vcore_free(file.p);
    return status;
}

/* ---- URLs ---- */

static int base64_digit(int c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Writes at most 3/4 of n bytes; line ends between the digits are passed over. False: not base64.
 */
static bool base64_decode(uint8_t *to, size_t *bytes, const char *text, size_t n) {
    uint32_t bits = 0;
    size_t digits = 0, padding = 0;
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)text[i], digit = base64_digit(c);
        if (c == '\n' || c == '\r' || c == ' ' || c == '\t') continue;
        if (c == '=' && ++padding <= 2) continue;
        if (digit < 0 || padding) return false;
        bits = bits << 6 | (uint32_t)digit;
        if (digits++ % 4 != 0) to[(*bytes)++] = (uint8_t)(bits >> (6 - 2 * ((digits - 1) % 4)));
    }
    return digits % 4 != 1 && (padding == 0 || (digits + padding) % 4 == 0);
}

/* data:[type][;parameters];base64,digits. What the type says is not asked: the bytes say it. */
static vlm_status open_data(vlm_image **out, const char *url, const vlm_limits *limits,
                            vlm_error *err) {
    static const char marker[] = ";base64", name[] = "data URL";
    const char *comma = strchr(url, ',');
    size_t marked = sizeof marker - 1, head = comma ? (size_t)(comma - url) : 0;
    if (head < marked || strncasecmp(comma - marked, marker, marked) != 0)
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "%s: it is not in base64", name);
    vlm_limits bound = vcore_limits(limits);
    size_t digits = strlen(comma + 1), bytes = digits / 4 * 3 + 3;
    if (digits / 4 * 3 > bound.image_file_bytes)
        return file_limit(name, bytes, bound.image_file_bytes, err);
    uint8_t *data = vcore_alloc(bytes);
    if (!data) return vcore_no_memory(err, name);
    vlm_status status;
    if (base64_decode(data, &bytes, comma + 1, digits))
        status = vlm_image_decode(out, data, bytes, name, &bound, err);
    else
        status = vcore_fail(err, VLM_ERR_FORMAT, "%s: what follows the comma is not base64", name);
    vcore_free(data);
    return status;
}

vlm_status vlm_image_open_url(vlm_image **out, const char *url, const vlm_limits *limits,
                              vlm_error *err) {
    if (!out || !url)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_image_open_url: a NULL argument");
    *out = NULL;
    if (strncasecmp(url, "data:", 5) == 0) return open_data(out, url, limits, err);
    if (strncasecmp(url, "file:///", 8) == 0) return vlm_image_open(out, url + 7, limits, err);
    if (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0)
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "%.200s: pictures are not downloaded", url);
    return vlm_image_open(out, url, limits, err);
}
