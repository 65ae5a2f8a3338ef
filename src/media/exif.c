/* SPDX-License-Identifier: MIT */
/* The orientation of a picture, found in Exif or XMP as Pillow finds it. Owns no other metadata:
 * nothing else of it changes what a model sees. */
#include "media/media.h"

#define TAG_ORIENTATION 0x0112

typedef struct tiff {
    const uint8_t *p;
    size_t n;
    bool big_endian;
} tiff;

static uint32_t get16(const tiff *t, size_t at) {
    const uint8_t *p = t->p + at;
    return t->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get32(const tiff *t, size_t at) {
    uint32_t a = get16(t, at), b = get16(t, at + 2);
    return t->big_endian ? a << 16 | b : b << 16 | a;
}

/* The value of an orientation entry: integers of 16 and 32 bits count, the first of several. */
static int orientation_value(const tiff *t, size_t entry) {
    uint32_t type = get16(t, entry + 2), count = get32(t, entry + 4);
    bool is_short = type == 3 || type == 8, is_long = type == 4 || type == 9;
    if (count == 0 || (!is_short && !is_long)) return 0;
    size_t unit = is_short ? 2 : 4, at = entry + 8, bytes;
    if (!vcore_mul(count, unit, &bytes)) return 0;
    if (bytes > 4) {
        at = get32(t, entry + 8);
        if (at > t->n || bytes > t->n - at) return 0;
    }
    uint32_t value = is_short ? get16(t, at) : get32(t, at);
    return value >= 1 && value <= 8 ? (int)value : 0;
}

int vmedia_exif_orientation(const uint8_t *p, size_t n) {
    for (int i = 0; i < 2 && n >= 6 && memcmp(p, "Exif\0\0", 6) == 0; i++) p += 6, n -= 6;
    if (n < 8) return 0;
    tiff t = { p, n, p[0] == 'M' };
    if (memcmp(p, "II\x2A\0", 4) != 0 && memcmp(p, "MM\0\x2A", 4) != 0) return 0;
    size_t at = get32(&t, 4);
    if (at > n || n - at < 2) return 0;
    uint32_t entries = get16(&t, at);
    at += 2;
    for (uint32_t i = 0; i < entries && n - at >= 12; i++, at += 12) {
        if (get16(&t, at) != TAG_ORIENTATION) continue;
        int value = orientation_value(&t, at);
        if (value) return value;
    }
    return 0;
}

int vmedia_xmp_orientation(const uint8_t *p, size_t n) {
    static const char key[] = "tiff:Orientation";
    const size_t length = sizeof key - 1;
    if (n == 0) return 0;
    const uint8_t *end = p + n;
    while ((p = memmem(p, (size_t)(end - p), key, length)) != NULL) {
        p += length;
        size_t left = (size_t)(end - p), skip = 0;
        if (left >= 3 && p[0] == '=' && p[1] == '"')
            skip = 2;
        else if (left >= 2 && p[0] == '>')
            skip = 1;
        if (skip && p[skip] >= '0' && p[skip] <= '9') return p[skip] - '0';
    }
    return 0;
}
