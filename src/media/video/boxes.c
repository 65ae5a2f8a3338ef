/* SPDX-License-Identifier: MIT */
/* What an mp4 file claims, held against its size before FFmpeg allocates by it: every sample takes a
 * byte at least, so no table may count more of them. Owns no other meaning of a box. */
#include "media/media.h"

#include <errno.h>
#include <unistd.h>

enum { DEEPEST = 8 };

size_t vmedia_video_bytes(vlm_video *v, uint64_t at, void *to, size_t n) {
    if (at >= v->size) return 0;
    if (n > v->size - at) n = (size_t)(v->size - at);
    if (v->data) {
        memcpy(to, v->data + at, n);
        return n;
    }
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(v->fd, (char *)to + got, n - got, (off_t)(at + got));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) v->read_error = errno;
        if (r <= 0) break;
        got += (size_t)r;
    }
    return got;
}

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool is(const uint8_t *p, const char *type) {
    return memcmp(p, type, 4) == 0;
}

static bool is_folder(const uint8_t *type) {
    static const char folders[][5] = { "moov", "trak", "mdia", "minf", "stbl", "moof", "traf" };
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (is(type, folders[i])) return true;
    return false;
}

typedef struct walk {
    vlm_video *video;
    uint64_t samples; /* counted so far */
    uint64_t boxes;
} walk;

static vlm_status lie(walk *w, const char *what, vlm_error *err) {
    return vcore_fail_field(err, VLM_ERR_VIDEO_NOT_DECODABLE, w->video->name, NULL, "%s", what);
}

/* The samples that a stsz, stz2 or trun at [at, end) counts. */
static vlm_status count_samples(walk *w, const uint8_t *type, uint64_t at, uint64_t end,
                                vlm_error *err) {
    uint8_t p[12] = { 0 };
    bool run = is(type, "trun");
    if (vmedia_video_bytes(w->video, at, p, sizeof p) < (run ? 8u : 12u)) return VLM_OK;
    uint32_t count = be32(p + (run ? 4 : 8)), fixed = run ? 0 : be32(p + 4);
    uint64_t bytes = is(type, "stsz") && fixed == 0 ? 4ull * count : 0;
    if (bytes > end - at) return lie(w, "it counts more samples than it has sizes for", err);
    if (is(type, "stsz") && fixed && (uint64_t)fixed * count > w->video->size)
        return lie(w, "it counts more samples than the file could hold", err);
    w->samples += count;
    if (w->samples > w->video->size)
        return lie(w, "it counts more samples than the file has bytes", err);
    if (w->samples / 16 > w->video->limits.video_frames)
        return vcore_fail_limit(err, w->video->name, "samples", w->video->limits.video_frames * 16,
                                "of them");
    return VLM_OK;
}

static vlm_status walk_boxes(walk *w, uint64_t at, uint64_t end, int depth, vlm_error *err) {
    uint8_t p[16];
    while (at < end && vmedia_video_bytes(w->video, at, p, sizeof p) >= 8) {
        uint64_t size = be32(p), head = 8;
        if (size == 1) size = (uint64_t)be32(p + 8) << 32 | be32(p + 12), head = 16;
        if (size == 0) size = end - at;
        if (size < head) return VLM_OK; /* broken: FFmpeg stops here, too */
        uint64_t next = size > end - at ? end : at + size;
        if (++w->boxes > w->video->size / 8) return VLM_OK;
        if (is(p + 4, "cmov")) return lie(w, "its header is compressed, which is not supported", err);
        if (is(p + 4, "stsz") || is(p + 4, "stz2") || is(p + 4, "trun"))
            VTRY(count_samples(w, p + 4, at + head, next, err));
        else if (is_folder(p + 4) && depth < DEEPEST)
            VTRY(walk_boxes(w, at + head, next, depth + 1, err));
        at = next;
    }
    return VLM_OK;
}

vlm_status vmedia_video_check_boxes(vlm_video *v, vlm_error *err) {
    walk w = { .video = v };
    return walk_boxes(&w, 0, v->size, 0, err);
}
