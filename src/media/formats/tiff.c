/* SPDX-License-Identifier: MIT */
/* TIFF through libtiff, the first page: strips and tiles, any compression that the library has, in
 * the layouts that Pillow knows (the table below is its). Owns the conversion of samples to RGB as
 * Pillow makes it: what is wider than 8 bits is cut in colour, clamped at 255 in grey; alpha is
 * dropped; premultiplied colours are divided by it. YCbCr is left to the library, CIELAB is
 * refused. */
#include "media/media.h"

#include <stdio.h>

#include <tiffio.h>

enum { ALPHA_NONE = 0, ALPHA_PREMULTIPLIED = 1, ANY_ALPHA = 9 };

/* What a sample or a pixel of the file is. */
typedef enum kind {
    GREY,
    INVERTED,
    WIDE_GREY,
    INTEGER,
    REAL,
    INDEX,
    COLOUR,
    INK,
    LUMA_CHROMA
} kind;

/* A layout that Pillow knows; of extra samples the first counts, the others are said to be nothing.
 */
typedef struct layout {
    uint16_t photometric, format, bits, colours;
    uint16_t most_extras;
    char order;      /* of bytes: 'I', 'M', 0: either */
    bool reversible; /* bits may be stored in reverse */
    kind kind;
} layout;

static const layout layouts[] = {
    { PHOTOMETRIC_MINISWHITE, 1, 1, 1, 0, 0, true, INVERTED },
    { PHOTOMETRIC_MINISWHITE, 1, 2, 1, 0, 0, true, INVERTED },
    { PHOTOMETRIC_MINISWHITE, 1, 4, 1, 0, 0, true, INVERTED },
    { PHOTOMETRIC_MINISWHITE, 1, 8, 1, 0, 0, true, INVERTED },
    { PHOTOMETRIC_MINISWHITE, 1, 16, 1, 0, 'I', false, WIDE_GREY },
    { PHOTOMETRIC_MINISWHITE, 3, 32, 1, 0, 0, false, REAL },
    { PHOTOMETRIC_MINISBLACK, 1, 1, 1, 0, 0, true, GREY },
    { PHOTOMETRIC_MINISBLACK, 1, 2, 1, 0, 0, true, GREY },
    { PHOTOMETRIC_MINISBLACK, 1, 4, 1, 0, 0, true, GREY },
    { PHOTOMETRIC_MINISBLACK, 1, 8, 1, 1, 0, true, GREY },
    { PHOTOMETRIC_MINISBLACK, 2, 8, 1, 0, 0, false, GREY },
    { PHOTOMETRIC_MINISBLACK, 1, 12, 1, 0, 'I', false, WIDE_GREY },
    { PHOTOMETRIC_MINISBLACK, 1, 16, 1, 0, 'I', true, WIDE_GREY },
    { PHOTOMETRIC_MINISBLACK, 1, 16, 1, 0, 'M', false, WIDE_GREY },
    { PHOTOMETRIC_MINISBLACK, 2, 16, 1, 0, 0, false, INTEGER },
    { PHOTOMETRIC_MINISBLACK, 1, 32, 1, 0, 'I', false, INTEGER },
    { PHOTOMETRIC_MINISBLACK, 2, 32, 1, 0, 0, false, INTEGER },
    { PHOTOMETRIC_MINISBLACK, 3, 32, 1, 0, 0, false, REAL },
    { PHOTOMETRIC_RGB, 1, 8, 3, 3, 0, true, COLOUR },
    { PHOTOMETRIC_RGB, 1, 16, 3, 1, 0, false, COLOUR },
    { PHOTOMETRIC_PALETTE, 1, 1, 1, 0, 0, true, INDEX },
    { PHOTOMETRIC_PALETTE, 1, 2, 1, 0, 0, true, INDEX },
    { PHOTOMETRIC_PALETTE, 1, 4, 1, 0, 0, true, INDEX },
    { PHOTOMETRIC_PALETTE, 1, 8, 1, 1, 0, true, INDEX },
    { PHOTOMETRIC_SEPARATED, 1, 8, 4, 2, 0, false, INK },
    { PHOTOMETRIC_SEPARATED, 1, 16, 4, 0, 0, false, INK },
    { PHOTOMETRIC_YCBCR, 1, 8, 1, 0, 0, false, GREY },
    { PHOTOMETRIC_YCBCR, 1, 8, 3, 0, 0, false, LUMA_CHROMA },
};

typedef struct reader {
    const vmedia_file *file;
    TIFF *tiff;
    toff_t at; /* in the file */
    vlm_image *image;
    layout is;
    vlm_size stored;
    uint16_t samples; /* of a pixel, or of a plane's pixel: 1 */
    uint16_t planes;
    bool premultiplied;
    bool chroma;                        /* the library makes RGBA */
    const uint16_t *red, *green, *blue; /* of the palette, borrowed from the library */
    bool no_memory;
    bool incomplete;  /* a part of the directory lies behind the end of the file */
    char damage[200]; /* what the library complained of while reading pixels */
} reader;

/* ---- the library's side ---- */

static tmsize_t read_bytes(thandle_t handle, void *to, tmsize_t n) {
    reader *r = handle;
    size_t left = r->at < r->file->n ? r->file->n - (size_t)r->at : 0,
           bytes = n > 0 ? (size_t)n : 0;
    if (bytes > left) bytes = left;
    if (bytes) memcpy(to, r->file->p + r->at, bytes);
    r->at += bytes;
    return (tmsize_t)bytes;
}

static toff_t seek_to(thandle_t handle, toff_t offset, int whence) {
    reader *r = handle;
    r->at = offset + (whence == SEEK_CUR ? r->at : whence == SEEK_END ? r->file->n : 0);
    return r->at;
}

static tmsize_t no_write(thandle_t handle, void *from, tmsize_t n) {
    (void)handle, (void)from, (void)n;
    return -1;
}

static int no_close(thandle_t handle) {
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) {
    return ((const reader *)handle)->file->n;
}

/* The file is in memory, so that it is mapped already; only the header is read. */
static int map(thandle_t handle, void **base, toff_t *size) {
    const vmedia_file *file = ((const reader *)handle)->file;
    *base = (void *)(uintptr_t)file->p;
    *size = file->n;
    return 1;
}

static void unmap(thandle_t handle, void *base, toff_t size) {
    (void)handle, (void)base, (void)size;
}

static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args) {
    (void)tiff, (void)module;
    reader *r = user;
    if (!r->damage[0]) vsnprintf(r->damage, sizeof r->damage, format, args);
    return 1;
}

/* Of the warnings those count that a decompressor gives when it patches over lost data, and that a
 * part of the directory is not there: without its palette a picture would be shown in grey. */
static int on_warning(TIFF *tiff, void *user, const char *module, const char *format,
                      va_list args) {
    reader *r = user;
    bool fax = module && strncmp(module, "Fax", 3) == 0;
    bool jpeg = module && strcmp(module, "JPEGLib") == 0 && !strstr(format, "extraneous");
    bool gone = strncmp(format, "IO error", 8) == 0;
    r->incomplete |= gone;
    return fax || jpeg || gone ? on_error(tiff, user, module, format, args) : 1;
}

static TIFF *open_tiff(reader *r) {
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options) return NULL;
    uint64_t most = r->file->limits->image_decode_bytes;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, most < INT64_MAX ? (tmsize_t)most : 0);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, r);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, r);
    TIFF *tiff = TIFFClientOpenExt("page", "rC", r, read_bytes, no_write, seek_to, no_close,
                                   size_of, map, unmap, options);
    TIFFOpenOptionsFree(options);
    return tiff;
}

/* ---- header ---- */

static uint16_t field(reader *r, uint32_t tag, uint16_t otherwise) {
    uint16_t value;
    return TIFFGetField(r->tiff, tag, &value) ? value : otherwise;
}

static bool find_layout(reader *r, uint16_t samples, const uint16_t *extras, uint16_t n_extras) {
    uint16_t photometric = field(r, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISWHITE);
    if (field(r, TIFFTAG_COMPRESSION, 1) == COMPRESSION_OJPEG) photometric = PHOTOMETRIC_YCBCR;
    uint16_t format = field(r, TIFFTAG_SAMPLEFORMAT, 1), bits = field(r, TIFFTAG_BITSPERSAMPLE, 1);
    bool reversed = field(r, TIFFTAG_FILLORDER, 1) == FILLORDER_LSB2MSB;
    char order = r->file->p[0] == 'M' ? 'M' : 'I';
    /* RGBA that forgets to say so */
    if (photometric == PHOTOMETRIC_RGB && samples == 4) n_extras = 1;
    if (n_extras > samples) return false;
    for (uint16_t i = 1; i < n_extras; i++)
        if (extras[i] != 0) return false;
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        const layout *l = &layouts[i];
        if (l->photometric != photometric || l->format != format || l->bits != bits) continue;
        if (l->colours + n_extras != samples || n_extras > l->most_extras) continue;
        if ((l->order && l->order != order) || (reversed && !l->reversible)) continue;
        r->is = *l;
        return true;
    }
    return false;
}

static const char *read_header(reader *r) {
    uint32_t width = 0, height = 0;
    TIFFGetField(r->tiff, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(r->tiff, TIFFTAG_IMAGELENGTH, &height);
    r->stored = (vlm_size) { width, height };
    uint16_t samples = field(r, TIFFTAG_SAMPLESPERPIXEL, 1), n_extras = 0, *extras = NULL;
    if (!TIFFGetField(r->tiff, TIFFTAG_EXTRASAMPLES, &n_extras, &extras)) n_extras = 0;
    bool separate = field(r, TIFFTAG_PLANARCONFIG, 1) == PLANARCONFIG_SEPARATE && samples > 1;
    uint16_t named = 0; /* extra samples that are something */
    for (uint16_t i = 0; i < n_extras; i++) named |= extras[i];
    if (separate && !named)
        samples = (uint16_t)(samples - (n_extras < samples ? n_extras : 0)), n_extras = 0;
    if (!find_layout(r, samples, extras, n_extras)) return "samples in a layout that is not read";
    uint16_t alpha = n_extras ? extras[0] : 0;
    if (r->is.colours == 1 && n_extras && alpha == ALPHA_PREMULTIPLIED) return "premultiplied grey";
    if (r->is.kind == INDEX
        && !TIFFGetField(r->tiff, TIFFTAG_COLORMAP, &r->red, &r->green, &r->blue))
        return "it has no palette";
    if (separate && r->is.kind != COLOUR && r->is.kind != INK)
        return "planes of other than colours";
    r->premultiplied = r->is.kind == COLOUR && alpha == ALPHA_PREMULTIPLIED && !separate;
    r->planes = separate ? r->is.colours : 1;
    r->samples = separate ? 1 : samples;
    if (r->is.kind != LUMA_CHROMA) return NULL;
    if (field(r, TIFFTAG_COMPRESSION, 1) == COMPRESSION_JPEG && !separate)
        TIFFSetField(r->tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    else
        r->chroma = true;
    return NULL;
}

static int orientation(const reader *r) {
    uint16_t found = 0;
    if (TIFFGetField(r->tiff, TIFFTAG_ORIENTATION, &found) && found) return found;
    uint32_t n;
    const uint8_t *xmp;
    return TIFFGetField(r->tiff, TIFFTAG_XMLPACKET, &n, &xmp) ? vmedia_xmp_orientation(xmp, n) : 0;
}

/* ---- samples to RGB ---- */

static uint8_t clamp(double value) {
    return value >= 255 ? 255 : value > 0 ? (uint8_t)value : 0;
}

/* Sample i of a row as the number it is; the library has brought its bytes into the machine's
 * order. */
static double number_at(const reader *r, const uint8_t *row, size_t i) {
    if (r->is.bits == 12) {
        const uint8_t *p = row + i / 2 * 3;
        return i % 2 ? (p[1] & 15) << 8 | p[2] : p[0] << 4 | p[1] >> 4;
    }
    if (r->is.bits == 16) {
        uint16_t value;
        memcpy(&value, row + 2 * i, 2);
        return r->is.format == 2 ? (double)(int16_t)value : value;
    }
    if (r->is.kind == REAL) {
        float value;
        memcpy(&value, row + 4 * i, 4);
        return value;
    }
    int32_t value; /* without a sign, too: above 2^31 it is negative for Pillow */
    memcpy(&value, row + 4 * i, 4);
    return value;
}

/* Sample i as a byte: of 16 bits the high ones. */
static uint8_t byte_at(const reader *r, const uint8_t *row, size_t i) {
    if (r->is.bits == 8) return row[i];
    uint16_t value;
    memcpy(&value, row + 2 * i, 2);
    return (uint8_t)(value >> 8);
}

static uint8_t bits_at(const reader *r, const uint8_t *row, size_t i) {
    size_t bit = i * r->is.bits;
    return row[bit / 8] >> (8 - r->is.bits - bit % 8) & ((1 << r->is.bits) - 1);
}

static void convert_pixel(const reader *r, uint8_t *rgb, const uint8_t *row, size_t at) {
    const uint8_t full = (uint8_t)((1u << (r->is.bits < 8 ? r->is.bits : 8)) - 1);
    uint8_t value = 0;
    switch (r->is.kind) {
    case GREY: value = (uint8_t)(bits_at(r, row, at) * 255 / full); break;
    case INVERTED: value = (uint8_t)((full - bits_at(r, row, at)) * 255 / full); break;
    case WIDE_GREY:
    case INTEGER:
    case REAL: value = clamp(number_at(r, row, at)); break;
    case INDEX:
        value = bits_at(r, row, at);
        rgb[0] = (uint8_t)(r->red[value] >> 8);
        rgb[1] = (uint8_t)(r->green[value] >> 8);
        rgb[2] = (uint8_t)(r->blue[value] >> 8);
        return;
    case INK: {
        uint8_t white = (uint8_t)(255 - byte_at(r, row, at + 3));
        for (size_t c = 0; c < 3; c++) rgb[c] = vmedia_ink(byte_at(r, row, at + c), white);
        return;
    }
    default: {
        int alpha = r->premultiplied ? byte_at(r, row, at + 3) : 255;
        for (size_t c = 0; c < 3; c++) {
            int colour = byte_at(r, row, at + c) * 255;
            colour = alpha ? colour / alpha : 0;
            rgb[c] = (uint8_t)(colour > 255 ? 255 : colour);
        }
        return;
    }
    }
    rgb[0] = rgb[1] = rgb[2] = value;
}

/* Part of a row of the file to its place; of one plane, its colour alone. Inks come plane by plane
 * and meet at the last one: until then three of them wait in the picture. */
static void convert_row(const reader *r, uint32_t x, uint32_t y, uint32_t columns,
                        const uint8_t *row, uint16_t plane) {
    uint8_t *rgb = r->image->rgb + ((size_t)y * r->stored.width + x) * 3;
    for (size_t i = 0; i < columns; i++, rgb += 3) {
        if (r->planes == 1) {
            convert_pixel(r, rgb, row, i * r->samples);
        } else if (plane < 3) {
            rgb[plane] = byte_at(r, row, i);
        } else {
            uint8_t white = (uint8_t)(255 - byte_at(r, row, i));
            for (int c = 0; c < 3; c++) rgb[c] = vmedia_ink(rgb[c], white);
        }
    }
}

/* ---- pixels ---- */

static size_t row_bytes(const reader *r, uint32_t columns) {
    return ((size_t)columns * r->samples * r->is.bits + 7) / 8;
}

/* Rows one by one; where a strip is broken, those of the next one are tried. */
static bool read_strips(reader *r) {
    uint32_t rows = r->stored.height;
    TIFFGetFieldDefaulted(r->tiff, TIFFTAG_ROWSPERSTRIP, &rows);
    if (rows == 0) rows = 1;
    tmsize_t bytes = TIFFScanlineSize(r->tiff);
    if (bytes <= 0 || (size_t)bytes < row_bytes(r, r->stored.width)) return false;
    uint8_t *row = vcore_alloc((size_t)bytes);
    r->no_memory = !row;
    if (!row) return false;
    bool any = false;
    for (uint16_t plane = 0; plane < r->planes; plane++)
        for (uint32_t y = 0; y < r->stored.height;) {
            if (TIFFReadScanline(r->tiff, row, y, plane) == 1) {
                convert_row(r, 0, y++, r->stored.width, row, plane);
                any = true;
                continue;
            }
            if (!r->file->salvage) goto out;
            y = rows < r->stored.height - y ? (y / rows + 1) * rows : r->stored.height;
        }
out:
    vcore_free(row);
    return any;
}

static bool read_tile(reader *r, uint8_t *tile, uint32_t x, uint32_t y, uint16_t plane,
                      size_t stride) {
    uint32_t width = 0, height = 0;
    TIFFGetField(r->tiff, TIFFTAG_TILEWIDTH, &width);
    TIFFGetField(r->tiff, TIFFTAG_TILELENGTH, &height);
    if (TIFFReadTile(r->tiff, tile, x, y, 0, plane) < 0) return false;
    uint32_t columns = r->stored.width - x < width ? r->stored.width - x : width;
    uint32_t rows = r->stored.height - y < height ? r->stored.height - y : height;
    for (uint32_t k = 0; k < rows; k++) convert_row(r, x, y + k, columns, tile + k * stride, plane);
    return true;
}

static bool read_tiles(reader *r) {
    uint32_t width = 0, height = 0;
    TIFFGetField(r->tiff, TIFFTAG_TILEWIDTH, &width);
    TIFFGetField(r->tiff, TIFFTAG_TILELENGTH, &height);
    tmsize_t bytes = TIFFTileSize(r->tiff), stride = TIFFTileRowSize(r->tiff);
    size_t least;
    if (width == 0 || height == 0 || bytes <= 0 || stride <= 0
        || (size_t)stride < row_bytes(r, width) || !vcore_mul((size_t)stride, height, &least)
        || (size_t)bytes < least)
        return false;
    uint8_t *tile = vcore_alloc((size_t)bytes);
    r->no_memory = !tile;
    if (!tile) return false;
    bool any = false, going = true;
    for (uint16_t plane = 0; going && plane < r->planes; plane++)
        for (uint64_t y = 0; going && y < r->stored.height; y += height)
            for (uint64_t x = 0; going && x < r->stored.width; x += width) {
                bool done = read_tile(r, tile, (uint32_t)x, (uint32_t)y, plane, (size_t)stride);
                any |= done;
                going = done || r->file->salvage;
            }
    vcore_free(tile);
    return any;
}

/* Subsampled colours, through the library's own conversion, a strip or a row of tiles at a time. */
static uint32_t chroma_rows(const reader *r) {
    uint32_t rows = r->stored.height;
    TIFFGetFieldDefaulted(r->tiff, TIFFIsTiled(r->tiff) ? TIFFTAG_TILELENGTH : TIFFTAG_ROWSPERSTRIP,
                          &rows);
    return rows == 0 || rows > r->stored.height ? r->stored.height : rows;
}

static bool read_chroma(reader *r) {
    char reason[1024];
    TIFFRGBAImage from;
    if (!TIFFRGBAImageOK(r->tiff, reason) || !TIFFRGBAImageBegin(&from, r->tiff, 1, reason)) {
        snprintf(r->damage, sizeof r->damage, "%.199s", reason);
        return false;
    }
    from.orientation = from.req_orientation = ORIENTATION_TOPLEFT;
    uint32_t rows = chroma_rows(r), width = r->stored.width;
    uint32_t *block = vcore_alloc_array((size_t)rows * width, sizeof *block);
    bool any = false, going = block;
    r->no_memory = !block;
    for (uint32_t y = 0; going && y < r->stored.height; y += rows) {
        uint32_t n = rows < r->stored.height - y ? rows : r->stored.height - y;
        from.row_offset = (int)y;
        going = TIFFRGBAImageGet(&from, block, width, n);
        for (size_t i = 0; going && i < (size_t)n * width; i++) {
            uint8_t *rgb = r->image->rgb + ((size_t)y * width + i) * 3;
            rgb[0] = TIFFGetR(block[i]), rgb[1] = TIFFGetG(block[i]), rgb[2] = TIFFGetB(block[i]);
        }
        any |= going;
        if (n == r->stored.height - y) break;
    }
    vcore_free(block);
    TIFFRGBAImageEnd(&from);
    if (!going && !r->damage[0])
        snprintf(r->damage, sizeof r->damage, "its pixels cannot be decoded");
    return any;
}

/* Memory besides the picture: a tile, or strips with what the library makes of them. */
static uint64_t scratch_bytes(const reader *r) {
    if (r->chroma) return (uint64_t)chroma_rows(r) * r->stored.width * 8;
    tmsize_t bytes = TIFFIsTiled(r->tiff) ? TIFFTileSize(r->tiff) : TIFFScanlineSize(r->tiff);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

static vlm_status decode_with(reader *r, vlm_error *err) {
    const char *wrong = read_header(r);
    if (wrong) return vmedia_broken(&r->image, r->file, "TIFF", wrong, err);
    VTRY(vmedia_begin(&r->image, r->file, r->stored, scratch_bytes(r), err));
    if (!r->incomplete)
        r->damage[0] = '\0'; /* what else is wrong with a directory does not matter */
    bool any = r->chroma ? read_chroma(r) : TIFFIsTiled(r->tiff) ? read_tiles(r) : read_strips(r);
    if (r->no_memory) return vcore_no_memory(err, r->file->name);
    if (!any && !r->damage[0])
        snprintf(r->damage, sizeof r->damage, "its pixels cannot be decoded");
    if (!any) {
        vlm_image_free(r->image);
        r->image = NULL;
    }
    if (r->image && !vmedia_orient(r->image, orientation(r)))
        return vcore_no_memory(err, r->file->name);
    return r->damage[0] ? vmedia_broken(&r->image, r->file, "TIFF", r->damage, err) : VLM_OK;
}

static vlm_status tiff_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    reader r = { .file = file };
    r.tiff = open_tiff(&r);
    vlm_status status;
    if (r.tiff)
        status = decode_with(&r, err);
    else
        status =
            vmedia_broken(&r.image, file, "TIFF", r.damage[0] ? r.damage : "no directory", err);
    if (r.tiff) TIFFClose(r.tiff);
    if (status < 0) {
        vlm_image_free(r.image);
        r.image = NULL;
    }
    *out = r.image;
    return status;
}

static bool is_tiff(const uint8_t *p, size_t n) {
    static const char *const magic[] = { "II\x2A\0", "MM\0\x2A", "II\x2B\0", "MM\0\x2B" };
    for (size_t i = 0; n >= 4 && i < sizeof magic / sizeof magic[0]; i++)
        if (memcmp(p, magic[i], 4) == 0) return true;
    return false;
}

const vmedia_decoder vmedia_tiff = { "TIFF", is_tiff, tiff_decode };
