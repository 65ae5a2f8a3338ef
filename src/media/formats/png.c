/* SPDX-License-Identifier: MIT */
/* PNG through libpng. Owns the conversion of every colour type to RGB as Pillow's convert("RGB")
 * makes it (alpha and tRNS dropped, 16-bit colour cut to its high byte, 16-bit grey clamped at 255,
 * palette entries that are not there black), what counts as damage (checksums of the pixel data
 * that do not fit, unlike for Pillow), and Pillow's tolerance for what follows the last row, unless
 * a chunk there is cut short. */
#include "media/media.h"

#include <stdio.h>

#include <png.h>

/* Of text, which is kept compressed in a thousandth of its length, as much as Pillow takes: 1 MiB in
 * a piece, 64 MiB in all. What is beyond that is passed over. */
enum { TEXT_BYTES = 1 << 20, TEXTS = 64 };

typedef struct reader {
    const vmedia_file *file;
    size_t at;
    char reason[128]; /* empty: the error is told already */
    vlm_status status;
    vlm_error *err;
    vlm_image *image;
    uint64_t rows_left; /* rows of pixel data, over all passes, not yet seen */
    size_t pixels_end;  /* what the library had read when it had the last row */
    uint8_t palette[256][3];
    bool started; /* there is a row */
    bool damaged; /* checksums of pixel data do not fit */
    bool no_memory;
} reader;

static void fail(png_structp png, vlm_status status, const char *reason) {
    reader *r = png_get_error_ptr(png);
    if (!r->damaged) snprintf(r->reason, sizeof r->reason, "%s", reason);
    r->status = status;
    png_longjmp(png, 1);
}

/* A chunk's message begins with its name. */
static bool is_damage(const char *reason) {
    return strcmp(reason, "IDAT: CRC error") == 0
           || strcmp(reason, "IDAT: incorrect data check") == 0;
}

static void note_damage(reader *r, const char *reason) {
    if (!r->damaged) snprintf(r->reason, sizeof r->reason, "%s", reason);
    r->damaged = true;
}

static void on_error(png_structp png, png_const_charp reason) {
    reader *r = png_get_error_ptr(png);
    if (is_damage(reason)) note_damage(r, reason);
    fail(png, r->no_memory ? VLM_ERR_MEMORY : VLM_ERR_IMAGE_PROCESSING, reason);
}

static void on_warning(png_structp png, png_const_charp reason) {
    if (is_damage(reason)) note_damage(png_get_error_ptr(png), reason);
}

/* The library reads much at a time: of a file that is cut off it gets what there is, and zeros. */
static void on_read(png_structp png, png_bytep to, size_t bytes) {
    reader *r = png_get_io_ptr(png);
    size_t left = r->file->n - r->at, n = bytes < left ? bytes : left;
    if (n < bytes) {
        if (n == 0 || !r->file->salvage || !r->image || !r->rows_left)
            png_error(png, "the file is truncated");
        note_damage(r, "the file is truncated");
        memset(to + n, 0, bytes - n);
    }
    memcpy(to, r->file->p + r->at, n);
    r->at += n;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t bytes) {
    reader *r = png_get_mem_ptr(png);
    void *p = vcore_alloc(bytes);
    r->no_memory |= !p;
    return p;
}

static void on_free(png_structp png, png_voidp p) {
    (void)png;
    vcore_free(p);
}

/* The last transformation of a row, in place, so from its end: one value a pixel to three bytes. */
static void on_row(png_structp png, png_row_infop row, png_bytep data) {
    reader *r = png_get_user_transform_ptr(png);
    r->started = true;
    if (--r->rows_left == 0) r->pixels_end = r->at;
    if (row->channels == 3) return;
    for (size_t x = row->width; x-- > 0;) {
        uint8_t *to = data + 3 * x;
        if (row->color_type == PNG_COLOR_TYPE_PALETTE) {
            memcpy(to, r->palette[data[x]], 3);
        } else {
            uint8_t grey = data[x];
            if (row->bit_depth == 16) grey = data[2 * x] ? 255 : data[2 * x + 1];
            to[0] = to[1] = to[2] = grey;
        }
    }
}

static uint64_t count_rows(vlm_size size, bool interlaced) {
    if (!interlaced) return size.height;
    uint64_t rows = 0;
    for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; pass++)
        if (PNG_PASS_COLS(size.width, pass)) rows += PNG_PASS_ROWS(size.height, pass);
    return rows;
}

static void set_transformations(reader *r, png_structp png, png_infop info) {
    int depth = png_get_bit_depth(png, info), colour = png_get_color_type(png, info);
    png_colorp palette;
    int entries;
    if (png_get_PLTE(png, info, &palette, &entries) && entries <= 256)
        for (int i = 0; i < entries; i++) {
            uint8_t *to = r->palette[i];
            to[0] = palette[i].red, to[1] = palette[i].green, to[2] = palette[i].blue;
        }
    if (colour == PNG_COLOR_TYPE_PALETTE && depth < 8) png_set_packing(png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (colour != PNG_COLOR_TYPE_GRAY && depth == 16) png_set_strip_16(png);
    if (colour & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
    png_set_check_for_invalid_index(png, -1);
    png_set_read_user_transform_fn(png, on_row);
    png_set_user_transform_info(png, r, 8, 3);
}

/* Whether no chunk in front of the pixels claims to be longer than the file: the library takes memory
 * for all of a chunk before it reads any of it. */
static bool head_is_whole(const vmedia_file *file) {
    for (size_t at = 8; at < file->n && file->n - at >= 8;) {
        const uint8_t *chunk = file->p + at;
        size_t length = png_get_uint_32(chunk), left = file->n - at - 8;
        if (memcmp(chunk + 4, "IDAT", 4) == 0) break;
        if (length > left || left - length < 4) return false;
        at += 8 + length + 4;
    }
    return true;
}

/* Chunks before the pixels must be whole and of the right checksum, as for Pillow; of what they can
 * say only the palette, Exif and text matter here. */
static void read_header(reader *r, png_structp png, png_infop info) {
    static const uint8_t unused[] =
        "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tIME\0tRNS";
    png_set_read_fn(png, r, on_read);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_malloc_max(png, TEXT_BYTES);
    png_set_chunk_cache_max(png, TEXTS);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, unused, (int)(sizeof unused / 5));
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    if (!head_is_whole(r->file)) png_error(png, "the file is truncated");
    png_read_info(png, info);
    png_set_crc_action(png, PNG_CRC_WARN_USE, PNG_CRC_QUIET_USE);
}

static void read_pixels(reader *r, png_structp png, png_infop info) {
    vlm_size size = { png_get_image_width(png, info), png_get_image_height(png, info) };
    r->status = vmedia_begin(&r->image, r->file, size, 0, r->err);
    if (r->status != VLM_OK) png_longjmp(png, 1);
    int passes = png_set_interlace_handling(png);
    r->rows_left = count_rows(size, passes > 1);
    set_transformations(r, png, info);
    png_read_update_info(png, info);
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < size.height; y++)
            png_read_row(png, r->image->rgb + (size_t)y * size.width * 3, NULL);
}

static int hex_digit(int c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ImageMagick's way to keep Exif in a text chunk: three line ends, then hexadecimal digits, which
 * become bytes where they are. */
static int raw_profile_orientation(char *text, size_t n) {
    char *end = text + n;
    for (int lines = 0; lines < 3; lines++) {
        text = memchr(text, '\n', (size_t)(end - text));
        if (!text) return 0;
        text++;
    }
    uint8_t *bytes = (uint8_t *)text;
    size_t digits = 0;
    for (; text < end; text++) {
        int digit = hex_digit((unsigned char)*text);
        if (digit < 0) continue;
        uint8_t *byte = &bytes[digits++ / 2];
        *byte = (uint8_t)(digits % 2 ? digit : *byte << 4 | digit);
    }
    return vmedia_exif_orientation(bytes, digits / 2);
}

static const png_text *find_text(png_structp png, png_infop info, const char *key) {
    png_textp texts;
    int n = png_get_text(png, info, &texts, NULL);
    for (int i = n; i-- > 0;)
        if (strcmp(texts[i].key, key) == 0) return &texts[i];
    return NULL;
}

/* Where Pillow looks, in its order: eXIf, ImageMagick's text, XMP. */
static int find_orientation(png_structp png, png_infop info) {
    png_uint_32 bytes;
    png_bytep exif;
    int found = 0;
    if (png_get_eXIf_1(png, info, &bytes, &exif)) {
        found = vmedia_exif_orientation(exif, bytes);
    } else {
        const png_text *raw = find_text(png, info, "Raw profile type exif");
        if (raw && raw->text) found = raw_profile_orientation(raw->text, strlen(raw->text));
    }
    const png_text *xmp = found ? NULL : find_text(png, info, "XML:com.adobe.xmp");
    if (xmp && xmp->text)
        found = vmedia_xmp_orientation((const uint8_t *)xmp->text, strlen(xmp->text));
    return found;
}

/* Whether no chunk that begins behind the pixels is cut short. The file may end between two. */
static bool tail_is_whole(const reader *r) {
    size_t n = r->file->n;
    for (size_t at = 8; n - at >= 8;) {
        const uint8_t *chunk = r->file->p + at;
        size_t length = png_get_uint_32(chunk), left = n - at - 8;
        if (memcmp(chunk + 4, "IEND", 4) == 0) return true;
        if (length > left) return at < r->pixels_end;
        if (left - length < 4) return true;
        at += 8 + length + 4;
    }
    return true;
}

/* Header and pixels; false when something of them is missing. */
static bool read_picture(reader *r, png_structp png, png_infop info) {
    if (setjmp(png_jmpbuf(png))) {
        /* The library reads on behind the last row; what fails there does not concern the picture.
         */
        if (!r->image || r->rows_left) return false;
        r->status = VLM_OK;
        return true;
    }
    read_header(r, png, info);
    read_pixels(r, png, info);
    return true;
}

static void read_tail(reader *r, png_structp png, png_infop info) {
    if (setjmp(png_jmpbuf(png)) == 0) png_read_end(png, info);
    r->status = VLM_OK;
}

static vlm_status decode_with(reader *r, png_structp png, png_infop info, vlm_error *err) {
    const vmedia_file *file = r->file;
    const char *broken = NULL;
    char reason[sizeof r->reason];
    if (!read_picture(r, png, info)) {
        if (!r->reason[0]) return r->status;
        if (r->status != VLM_ERR_IMAGE_PROCESSING)
            return vcore_fail_field(err, r->status, file->name, NULL, "%s", r->reason);
        broken = r->reason;
    } else if (!tail_is_whole(r)) {
        broken = "the file is truncated";
    } else {
        read_tail(r, png, info);
        if (r->damaged) broken = r->reason;
    }
    if (broken) snprintf(reason, sizeof reason, "%s", broken);
    if (!r->started) {
        vlm_image_free(r->image);
        r->image = NULL;
    }
    vlm_status status = broken ? vmedia_broken(&r->image, file, "PNG", reason, err) : VLM_OK;
    if (r->image && !vmedia_orient(r->image, find_orientation(png, info)))
        return vcore_no_memory(err, file->name);
    return status;
}

static vlm_status png_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    *out = NULL;
    reader *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, file->name);
    r->file = file;
    r->err = err;
    vlm_status status;
    png_structp png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, r, on_error, on_warning, r,
                                               on_malloc, on_free);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (info)
        status = decode_with(r, png, info, err);
    else
        status = vcore_no_memory(err, file->name);
    png_destroy_read_struct(&png, &info, NULL);
    if (status >= 0)
        *out = r->image;
    else
        vlm_image_free(r->image);
    vcore_free(r);
    return status;
}

static bool is_png(const uint8_t *p, size_t n) {
    return n >= 8 && memcmp(p, "\x89PNG\r\n\x1A\n", 8) == 0;
}

const vmedia_decoder vmedia_png = { "PNG", is_png, png_decode };
