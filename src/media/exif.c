/* SPDX-License-Identifier: MIT */
/* The orientation of a picture: found in Exif or XMP as Pillow finds it, and applied. Owns no other
 * metadata: nothing else of it changes what a model sees. */
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
    const uint8_t *end = p + n;
    while (p && (p = memmem(p, (size_t)(end - p), key, length)) != NULL) {
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

static void swap_pixels(uint8_t *a, uint8_t *b) {
    uint8_t keep[3];
    memcpy(keep, a, 3);
    memcpy(a, b, 3);
    memcpy(b, keep, 3);
}

static void flip_left_right(vlm_image *image) {
    size_t width = image->size.width;
    for (uint32_t y = 0; y < image->size.height; y++) {
        uint8_t *row = image->rgb + y * width * 3;
        for (size_t x = 0; x < width / 2; x++) swap_pixels(row + 3 * x, row + 3 * (width - 1 - x));
    }
}

static void flip_top_bottom(vlm_image *image) {
    size_t stride = (size_t)image->size.width * 3, height = image->size.height;
    for (size_t y = 0; y < height / 2; y++) {
        uint8_t *a = image->rgb + y * stride, *b = image->rgb + (height - 1 - y) * stride;
        for (size_t i = 0; i < stride; i++) {
            uint8_t keep = a[i];
            a[i] = b[i];
            b[i] = keep;
        }
    }
}

/* Exchanges rows and columns, in blocks that stay in the cache; then either axis may run backwards.
 */
static void transpose(vlm_image *to, const vlm_image *from, bool mirror_x, bool mirror_y) {
    enum { BLOCK = 32 };
    size_t width = from->size.width, height = from->size.height;
    for (size_t y0 = 0; y0 < height; y0 += BLOCK)
        for (size_t x0 = 0; x0 < width; x0 += BLOCK)
            for (size_t x = x0; x < width && x < x0 + BLOCK; x++)
                for (size_t y = y0; y < height && y < y0 + BLOCK; y++) {
                    size_t column = mirror_x ? height - 1 - y : y,
                           row = mirror_y ? width - 1 - x : x;
                    memcpy(to->rgb + (row * height + column) * 3, from->rgb + (y * width + x) * 3,
                           3);
                }
}

vlm_status vmedia_orient(vlm_image **image, int orientation, vlm_error *err) {
    vlm_image *from = *image;
    if (orientation == 2 || orientation == 3) flip_left_right(from);
    if (orientation == 3 || orientation == 4) flip_top_bottom(from);
    if (orientation < 5 || orientation > 8) return VLM_OK;
    /* The sides were within the limits already: any picture of the same pixels is. */
    vlm_limits as_large = VLM_LIMITS_INIT;
    as_large.image_pixels = as_large.image_side = UINT64_MAX;
    vlm_image *to;
    vlm_status status =
        vmedia_image_new(&to, (vlm_size){ from->size.height, from->size.width }, &as_large, err);
    if (status == VLM_OK)
        transpose(to, from, orientation == 6 || orientation == 7,
                  orientation == 7 || orientation == 8);
    vlm_image_free(from);
    *image = status == VLM_OK ? to : NULL;
    return status;
}
