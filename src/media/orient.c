/* SPDX-License-Identifier: MIT */
/* The orientation of a picture, applied: row by row into a second picture, or to a whole picture in
 * place. The transposition in place is the decomposition of Catanzaro, Keller and Garland (PPoPP
 * 2014): each column rotated, each row permuted, each column permuted. Owns no metadata. */
#include "media/media.h"

#define BLOCK 64 /* columns, and where a picture is turned rows, that are moved together */

/* Where pixel (0, 0) of the stored picture goes, and how far apart two neighbours of its row and of
 * its column come to lie, in pixels of the result. */
typedef struct placement {
    ptrdiff_t start, right, down;
} placement;

static placement place_by(int orientation, vlm_size stored) {
    ptrdiff_t width = stored.width, height = stored.height;
    switch (orientation) {
    case 2: return (placement) { width - 1, -1, width };
    case 3: return (placement) { width * height - 1, -1, -width };
    case 4: return (placement) { width * (height - 1), 1, -width };
    case 5: return (placement) { 0, height, 1 };
    case 6: return (placement) { height - 1, height, -1 };
    case 7: return (placement) { width * height - 1, -height, -1 };
    case 8: return (placement) { height * (width - 1), -height, 1 };
    default: return (placement) { 0, 1, width };
    }
}

vlm_size vmedia_oriented_size(vlm_size stored, int orientation) {
    bool turned = orientation >= 5 && orientation <= 8;
    return turned ? (vlm_size) { stored.height, stored.width } : stored;
}

/* A pixel in the low 24 bits, read as four bytes of a little-endian machine. */
static inline uint64_t load_pixel(const uint8_t *p) {
    uint32_t word;
    memcpy(&word, p, 4);
    return word & 0xFFFFFF;
}

/* n pixels that lie `step` bytes apart, one behind the other, four at a time; nothing at or behind
 * `end` is read. */
static void place_run(uint8_t *to, const uint8_t *from, ptrdiff_t step, uint32_t n,
                      const uint8_t *end) {
    for (; n >= 4; n -= 4, to += 12, from += 4 * step) {
        if ((step < 0 ? from : from + 3 * step) + 4 > end) break;
        uint64_t a = load_pixel(from) | load_pixel(from + step) << 24;
        uint64_t b = load_pixel(from + 2 * step) | load_pixel(from + 3 * step) << 24;
        uint64_t first = a | b << 48;
        uint32_t rest = (uint32_t)(b >> 16);
        memcpy(to, &first, 8);
        memcpy(to + 8, &rest, 4);
    }
    for (; n; n--, to += 3, from += step) memcpy(to, from, 3);
}

/* A block of a picture that is turned, whose pixel (0, 0) goes to `at`: its columns become runs,
 * each begun at the end that comes first in the result. */
static void place_turned(vlm_image *to, placement by, const uint8_t *block, size_t stride,
                         ptrdiff_t at, uint32_t columns, uint32_t rows, const uint8_t *end) {
    ptrdiff_t last = by.down < 0 ? (ptrdiff_t)rows - 1 : 0, step = by.down * (ptrdiff_t)stride;
    for (uint32_t x = 0; x < columns; x++)
        place_run(to->rgb + 3 * (at - last + x * by.right),
                  block + last * (ptrdiff_t)stride + 3 * (size_t)x, step, rows, end);
}

void vmedia_place_rows(vlm_image *to, int orientation, vlm_size stored, const uint8_t *rows,
                       uint32_t first, uint32_t count) {
    placement by = place_by(orientation, stored);
    size_t stride = (size_t)stored.width * 3;
    const uint8_t *end = rows + count * stride;
    if (orientation < 5) {
        ptrdiff_t last = by.right < 0 ? (ptrdiff_t)stored.width - 1 : 0;
        for (uint32_t y = 0; y < count; y++)
            place_run(to->rgb + 3 * (by.start - last + (ptrdiff_t)(first + y) * by.down),
                      rows + y * stride + 3 * last, 3 * by.right, stored.width, end);
        return;
    }
    /* Columns outside and rows inside: what is written lies together. */
    for (uint32_t x0 = 0; x0 < stored.width; x0 += BLOCK)
        for (uint32_t y0 = 0; y0 < count; y0 += BLOCK) {
            uint32_t columns = stored.width - x0, height = count - y0;
            place_turned(to, by, rows + y0 * stride + 3 * (size_t)x0, stride,
                         by.start + x0 * by.right + (ptrdiff_t)(first + y0) * by.down,
                         columns < BLOCK ? columns : BLOCK, height < BLOCK ? height : BLOCK, end);
        }
}

static void swap_pixels(uint8_t *a, uint8_t *b) {
    uint8_t keep[3];
    memcpy(keep, a, 3);
    memcpy(a, b, 3);
    memcpy(b, keep, 3);
}

static void flip_columns(vlm_image *image) {
    size_t width = image->size.width;
    for (size_t y = 0; y < image->size.height; y++) {
        uint8_t *row = image->rgb + y * width * 3;
        for (size_t x = 0; x < width / 2; x++) swap_pixels(row + 3 * x, row + 3 * (width - 1 - x));
    }
}

static void flip_rows(vlm_image *image) {
    size_t width = image->size.width, height = image->size.height;
    for (size_t y = 0; y < height / 2; y++) {
        uint8_t *a = image->rgb + y * width * 3, *b = image->rgb + (height - 1 - y) * width * 3;
        for (size_t x = 0; x < width; x++) swap_pixels(a + 3 * x, b + 3 * x);
    }
}

/* A picture of `rows` x `columns` in the middle of its transposition. */
typedef struct transposition {
    uint8_t *rgb, *scratch;
    size_t rows, columns;
    size_t row_step, column_step; /* the sides, divided by their greatest common divisor */
} transposition;

static size_t rotated(const transposition *t, size_t i, size_t j) {
    return (i + j / t->column_step) % t->rows;
}

static size_t shuffled(const transposition *t, size_t i, size_t j) {
    return (j + i * t->columns - i / t->row_step) % t->rows;
}

/* Every pixel (i, j) of these columns becomes the one of row from(i, j). */
static void permute_columns(const transposition *t, size_t first,
                            size_t (*from)(const transposition *t, size_t i, size_t j)) {
    size_t n = t->columns - first < BLOCK ? t->columns - first : BLOCK;
    for (size_t i = 0; i < t->rows; i++)
        memcpy(t->scratch + i * BLOCK * 3, t->rgb + (i * t->columns + first) * 3, n * 3);
    for (size_t i = 0; i < t->rows; i++)
        for (size_t k = 0; k < n; k++)
            memcpy(t->rgb + (i * t->columns + first + k) * 3,
                   t->scratch + (from(t, i, first + k) * BLOCK + k) * 3, 3);
}

static void permute_row(const transposition *t, size_t i) {
    uint8_t *row = t->rgb + i * t->columns * 3;
    memcpy(t->scratch, row, t->columns * 3);
    for (size_t j = 0; j < t->columns; j++)
        memcpy(row + (rotated(t, i, j) + j * t->rows) % t->columns * 3, t->scratch + 3 * j, 3);
}

static bool transpose(vlm_image *image) {
    size_t rows = image->size.height, columns = image->size.width, a = rows, b = columns;
    while (b) {
        size_t rest = a % b;
        a = b;
        b = rest;
    }
    size_t block = rows * BLOCK; /* no overflow: sides are 32 bits and the picture is in memory */
    uint8_t *scratch = vcore_alloc_array(block > columns ? block : columns, 3);
    if (!scratch) return false;
    transposition t = { image->rgb, scratch, rows, columns, rows / a, columns / a };
    for (size_t j = 0; a > 1 && j < columns; j += BLOCK) permute_columns(&t, j, rotated);
    for (size_t i = 0; i < rows; i++) permute_row(&t, i);
    for (size_t j = 0; j < columns; j += BLOCK) permute_columns(&t, j, shuffled);
    vcore_free(scratch);
    image->size = (vlm_size) { image->size.height, image->size.width };
    return true;
}

bool vmedia_orient(vlm_image *image, int orientation) {
    if (orientation < 2 || orientation > 8) return true;
    if (orientation >= 5 && !transpose(image)) return false;
    if (orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7)
        flip_columns(image);
    if (orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8)
        flip_rows(image);
    return true;
}
