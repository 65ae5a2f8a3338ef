/* SPDX-License-Identifier: MIT */
/* BMP as Pillow reads it: Windows and OS/2 headers, 1 to 32 bits, bit fields, run lengths, rows in
 * either direction. Owns the format, for which Debian has no library of its own, and Pillow's rules
 * for it: a palette of nothing but the greys 0, 1, 2 ... (two colours: black and white) is not
 * asked, and pixels are bytes (bits) then; alpha is not looked at; colours that a palette does not
 * have are black. */
#include "media/media.h"

enum { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3 };

typedef struct reader {
    const uint8_t *p;
    size_t n;
    vlm_size size;
    bool top_down;
    uint32_t bits, compression;
    uint32_t colours, padding; /* palette entries, and the bytes of one */
    size_t palette_at, pixels_at;
    uint32_t masks[4];
    uint8_t palette[256][3];
    uint32_t index_bits;  /* bits of a palette index; 0: pixels are colours */
    int red, green, blue; /* places of the bytes of a 24- or 32-bit pixel */
    bool green_has_six;   /* of a 16-bit pixel */
} reader;

static const char cut[] = "the file is truncated";

static uint32_t get16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t get32(const uint8_t *p) {
    return get16(p) | get16(p + 2) << 16;
}

/* ---- header ---- */

static const char *read_info(reader *r) {
    if (r->n < 18) return cut;
    uint32_t length = get32(r->p + 14);
    const uint8_t *info = r->p + 18; /* behind its own length */
    if (length > r->n - 14) return cut;
    r->palette_at = 14 + (size_t)length;
    if (length == 12) {
        r->size = (vlm_size) { get16(info), get16(info + 2) };
        r->bits = get16(info + 6);
        r->padding = 3;
    } else if (length == 40 || length == 52 || length == 56 || length == 64 || length == 108
               || length == 124) {
        r->top_down = info[7] == 0xFF;
        uint32_t height = get32(info + 4);
        r->size = (vlm_size) { get32(info), r->top_down ? 0u - height : height };
        r->bits = get16(info + 10);
        r->compression = get32(info + 12);
        r->colours = get32(info + 28);
        r->padding = 4;
    } else {
        return "a header of unknown length";
    }
    if (r->compression != BITFIELDS) return NULL;
    /* The short header has the masks behind it. */
    const uint8_t *masks = length >= 52 ? info + 36 : r->p + r->palette_at;
    if (length < 52) r->palette_at += 12;
    if (r->palette_at > r->n) return cut;
    for (int i = 0; i < 3; i++) r->masks[i] = get32(masks + 4 * i);
    r->masks[3] = length >= 56 ? get32(masks + 12) : 0;
    return NULL;
}

/* The layouts that there are, by the masks of red, green, blue and alpha. */
static const char *read_masks(reader *r) {
    static const uint32_t known[][5] = {
        { 32, 0xFF0000, 0xFF00, 0xFF, 0 },
        { 32, 0xFF000000, 0xFF0000, 0xFF00, 0 },
        { 32, 0xFF000000, 0xFF00, 0xFF, 0 },
        { 32, 0xFF000000, 0xFF0000, 0xFF00, 0xFF },
        { 32, 0xFF, 0xFF00, 0xFF0000, 0xFF000000 },
        { 32, 0xFF0000, 0xFF00, 0xFF, 0xFF000000 },
        { 32, 0xFF000000, 0xFF00, 0xFF, 0xFF0000 },
        { 32, 0, 0, 0, 0 },
        { 24, 0xFF0000, 0xFF00, 0xFF, 0 },
        { 16, 0xF800, 0x7E0, 0x1F, 0 },
        { 16, 0x7C00, 0x3E0, 0x1F, 0 },
    };
    if (r->bits != 32) r->masks[3] = 0;
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0] && !found; i++)
        found = known[i][0] == r->bits && memcmp(known[i] + 1, r->masks, sizeof r->masks) == 0;
    if (!found) return "bit fields of an unknown layout";
    r->green_has_six = r->masks[1] == 0x7E0;
    if (r->bits == 16 || r->masks[0] == 0) return NULL;
    r->red = __builtin_ctz(r->masks[0]) / 8;
    r->green = __builtin_ctz(r->masks[1]) / 8;
    r->blue = __builtin_ctz(r->masks[2]) / 8;
    return NULL;
}

static const char *read_palette(reader *r) {
    if (r->colours > 65536) return "a palette of more than 65536 colours";
    size_t left = r->n - r->palette_at, n = (size_t)r->padding * r->colours;
    const uint8_t *from = r->p + r->palette_at;
    bool grey = n <= left;
    for (uint32_t i = 0; grey && i < r->colours; i++) {
        uint8_t value = r->colours == 2 && i ? 255 : (uint8_t)i;
        for (int c = 0; c < 3; c++) grey &= from[(size_t)r->padding * i + (size_t)c] == value;
    }
    r->index_bits = r->bits;
    if (grey) {
        r->index_bits = r->colours <= 2 ? 1 : 8;
        for (int i = 0; i < 256; i++) memset(r->palette[i], r->colours <= 2 && i ? 255 : i, 3);
        return r->index_bits > r->bits ? "greys that do not fit its bits" : NULL;
    }
    size_t entries = (n < left ? n : left) / r->padding;
    if (entries > 256) return "a palette of more than 256 colours";
    for (size_t i = 0; i < entries; i++)
        for (int c = 0; c < 3; c++) r->palette[i][c] = from[r->padding * i + 2 - (size_t)c];
    return NULL;
}

/* Everything before the pixels; NULL or what is wrong. */
static const char *read_header(reader *r) {
    const char *wrong = read_info(r);
    if (wrong) return wrong;
    if (r->bits != 1 && r->bits != 4 && r->bits != 8 && r->bits != 16 && r->bits != 24
        && r->bits != 32)
        return "an unknown number of bits";
    bool indexed = r->bits <= 8, runs = r->compression == RLE8 || r->compression == RLE4;
    if (r->compression > BITFIELDS) return "a compression other than run lengths";
    if (runs && !indexed) return "run lengths of colours";
    if (!r->colours) r->colours = r->bits < 32 ? 1u << r->bits : 0;
    r->red = 2, r->green = 1, r->blue = 0;
    if (r->compression == BITFIELDS && (wrong = read_masks(r)) != NULL) return wrong;
    size_t behind_palette = r->palette_at;
    if (indexed) {
        if ((wrong = read_palette(r)) != NULL) return wrong;
        behind_palette += (size_t)r->padding * r->colours;
    }
    r->pixels_at = get32(r->p + 10);
    if (r->pixels_at == 0 || (indexed && r->pixels_at == r->palette_at))
        r->pixels_at = behind_palette;
    return NULL;
}

/* ---- pixels ---- */

/* Row y of the file, which is counted from below unless the header says otherwise. */
static uint8_t *row_of(const reader *r, vlm_image *image, uint32_t y) {
    size_t row = r->top_down ? y : r->size.height - 1 - y;
    return image->rgb + row * r->size.width * 3;
}

static void unpack_row(const reader *r, uint8_t *rgb, const uint8_t *from) {
    size_t step = r->bits / 8;
    for (size_t x = 0; x < r->size.width; x++, rgb += 3) {
        if (r->index_bits) {
            size_t bit = x * r->index_bits, shift = 8 - r->index_bits - bit % 8;
            memcpy(rgb, r->palette[from[bit / 8] >> shift & ((1u << r->index_bits) - 1)], 3);
        } else if (r->bits == 16) {
            uint32_t pixel = get16(from + 2 * x);
            rgb[0] = (uint8_t)((pixel >> (r->green_has_six ? 11 : 10) & 31) * 255 / 31);
            rgb[1] = (uint8_t)(r->green_has_six ? (pixel >> 5 & 63) * 255 / 63
                                                : (pixel >> 5 & 31) * 255 / 31);
            rgb[2] = (uint8_t)((pixel & 31) * 255 / 31);
        } else {
            rgb[0] = from[step * x + (size_t)r->red];
            rgb[1] = from[step * x + (size_t)r->green];
            rgb[2] = from[step * x + (size_t)r->blue];
        }
    }
}

/* Rows are padded to 32 bits, but for the last one, of which nobody misses the padding. Returns how
 * many there are. */
static uint32_t read_rows(const reader *r, vlm_image *image) {
    uint32_t bits = r->index_bits ? r->index_bits : r->bits;
    size_t stride = ((size_t)r->size.width * r->bits + 31) / 32 * 4;
    size_t used = ((size_t)r->size.width * bits + 7) / 8;
    for (uint32_t y = 0; y < r->size.height; y++) {
        if (r->pixels_at > r->n || (r->n - r->pixels_at) / stride < y
            || r->n - r->pixels_at - stride * y < used)
            return y;
        unpack_row(r, row_of(r, image, y), r->p + r->pixels_at + stride * y);
    }
    return r->size.height;
}

/* A picture that fills up in the order of the file. */
typedef struct filling {
    const reader *r;
    vlm_image *image;
    uint64_t at, all;
    uint32_t column; /* where the next run begins; it may lie beyond the row */
} filling;

static void put(filling *f, uint8_t index, uint64_t times) {
    if (times > f->all - f->at) times = f->all - f->at;
    for (uint64_t i = 0; i < times; i++, f->at++) {
        uint32_t width = f->r->size.width;
        uint8_t *row = row_of(f->r, f->image, (uint32_t)(f->at / width));
        memcpy(row + 3 * (f->at % width), f->r->palette[index], 3);
    }
}

static void put_run(filling *f, uint32_t times, uint8_t byte, bool nibbles) {
    uint32_t width = f->r->size.width;
    if (f->column + times > width) times = f->column < width ? width - f->column : 0;
    for (uint32_t i = 0; nibbles && i < times; i++) put(f, i % 2 ? byte & 15 : byte >> 4, 1);
    if (!nibbles) put(f, byte, times);
    f->column += times;
}

/* Pixels one by one; returns the bytes they took, 0 where they are not all there. */
static size_t put_literally(filling *f, uint32_t times, const uint8_t *from, size_t left,
                            bool nibbles) {
    uint64_t n = times < f->all - f->at ? times : f->all - f->at;
    size_t bytes = (size_t)(nibbles ? (n + 1) / 2 : n);
    for (uint64_t i = 0; i < n; i++) {
        size_t at = (size_t)(nibbles ? i / 2 : i);
        if (at >= left) return 0;
        put(f, !nibbles ? from[at] : i % 2 ? from[at] & 15 : from[at] >> 4, 1);
    }
    f->column += times;
    return bytes;
}

/* Run lengths until the picture is full or the data end; returns the pixels that there are. */
static uint64_t read_runs(filling *f) {
    const reader *r = f->r;
    const bool nibbles = r->compression == RLE4;
    const uint32_t width = r->size.width;
    size_t at = r->pixels_at;
    while (f->at < f->all && at < r->n && r->n - at >= 2) {
        uint32_t times = r->p[at], code = r->p[at + 1];
        at += 2;
        if (times) {
            put_run(f, times, (uint8_t)code, nibbles);
        } else if (code == 0) { /* the end of a row */
            if (f->at % width) put(f, 0, width - f->at % width);
            f->column = 0;
        } else if (code == 1) { /* the end of the picture */
            break;
        } else if (code == 2) { /* a step to the right and up */
            if (r->n - at < 2) break;
            put(f, 0, r->p[at] + (uint64_t)r->p[at + 1] * width);
            f->column = (uint32_t)(f->at % width);
            at += 2;
        } else {
            size_t bytes = put_literally(f, code, r->p + at, r->n - at, nibbles);
            if (bytes == 0) break;
            at += bytes;
            at += at % 2; /* counted from the start of the file */
        }
    }
    return f->at;
}

static vlm_status bmp_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    *out = NULL;
    reader r = { .p = file->p, .n = file->n };
    const char *wrong = read_header(&r);
    if (wrong) return vmedia_broken(out, file, "BMP", wrong, err);
    VTRY(vmedia_begin(out, file, r.size, 0, err));
    uint64_t all = (uint64_t)r.size.width * r.size.height, seen;
    if (r.compression == RLE8 || r.compression == RLE4) {
        filling f = { .r = &r, .image = *out, .all = all };
        seen = read_runs(&f);
    } else {
        seen = (uint64_t)read_rows(&r, *out) * r.size.width;
    }
    if (seen == all) return VLM_OK;
    if (seen == 0) {
        vlm_image_free(*out);
        *out = NULL;
    }
    return vmedia_broken(out, file, "BMP", cut, err);
}

static bool is_bmp(const uint8_t *p, size_t n) {
    return n >= 2 && p[0] == 'B' && p[1] == 'M';
}

const vmedia_decoder vmedia_bmp = { "BMP", is_bmp, bmp_decode };
