/* SPDX-License-Identifier: MIT */
/* GIF, the first frame, as Pillow shows it: on a canvas of the transparent colour where there is
 * one, else of colour 0; colours that a palette does not have are black; without a palette, or with
 * one that is a ramp of greys, indices are greys. Owns the format: giflib, the library there is,
 * differs in what it refuses and cannot give a part of a frame. */
#include "media/media.h"

#define MAX_CODES 4096

typedef struct reader {
    const uint8_t *p;
    size_t n, at;
    bool salvage, cut; /* a block that is cut off is read as far as it goes */
    vlm_size size;
    uint8_t palette[256][3];
    int transparent; /* index, -1: none */
    bool interlaced;
    int code_bits;                     /* of a colour */
    uint32_t left, top, columns, rows; /* the frame on the canvas */
} reader;

static const char cut[] = "the file is truncated";

static uint32_t get16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static const uint8_t *take(reader *r, size_t n) {
    if (n > r->n - r->at) return NULL;
    r->at += n;
    return r->p + r->at - n;
}

/* The next block of an extension; NULL for the empty one that ends it, and at the end of the file.
 */
static const uint8_t *take_block(reader *r, size_t *n) {
    const uint8_t *length = take(r, 1);
    *n = length ? *length : 0;
    return *n ? take(r, *n) : NULL;
}

/* A ramp of greys is as good as none for Pillow: the palette before it, or greys, stay. */
static bool read_palette(reader *r, int flags) {
    size_t colours = (size_t)2 << (flags & 7);
    const uint8_t *from = take(r, colours * 3);
    if (!from) return false;
    bool ramp = true;
    for (size_t i = 0; i < colours * 3; i++) ramp &= from[i] == i / 3;
    if (ramp) return true;
    memset(r->palette, 0, sizeof r->palette);
    memcpy(r->palette, from, colours * 3);
    return true;
}

/* Only the transparent colour matters here. */
static const char *read_extension(reader *r) {
    const uint8_t *label = take(r, 1);
    if (!label) return cut;
    size_t n;
    const uint8_t *block = take_block(r, &n);
    if (*label == 0xF9 && block) {
        if (n < 4) return "a graphic control extension that is too short";
        if (block[0] & 1) r->transparent = block[3];
    }
    if (*label == 0xFE && !block) return NULL;
    do block = take_block(r, &n);
    while (block);
    return NULL;
}

/* Everything before the pixels; NULL or what is wrong. The canvas grows to hold the frame. */
static const char *read_header(reader *r) {
    const uint8_t *head = take(r, 13), *kind;
    if (!head) return cut;
    r->size = (vlm_size) { get16(head + 6), get16(head + 8) };
    r->transparent = -1;
    for (int i = 0; i < 256; i++) memset(r->palette[i], i, 3);
    if (head[10] & 0x80 && !read_palette(r, head[10])) return cut;
    for (;;) {
        kind = take(r, 1);
        if (!kind || *kind == ';') return "it has no frame";
        if (*kind == ',') break;
        const char *wrong = *kind == '!' ? read_extension(r) : NULL;
        if (wrong) return wrong;
    }
    const uint8_t *frame = take(r, 9);
    if (!frame) return cut;
    r->left = get16(frame), r->top = get16(frame + 2);
    r->columns = get16(frame + 4), r->rows = get16(frame + 6);
    if (r->size.width < r->left + r->columns) r->size.width = r->left + r->columns;
    if (r->size.height < r->top + r->rows) r->size.height = r->top + r->rows;
    r->interlaced = frame[8] & 0x40;
    if (frame[8] & 0x80 && !read_palette(r, frame[8])) return cut;
    const uint8_t *bits = take(r, 1);
    if (!bits) return cut;
    r->code_bits = *bits;
    if (*bits > 12) return "codes of more than 12 bits";
    return r->columns && r->rows ? NULL : "its frame has no pixels";
}

/* ---- pixels, row after row or in four passes ---- */

typedef struct canvas {
    const reader *r;
    vlm_image *image;
    uint32_t x, y;
    int pass; /* of an interlaced frame; 4: the last, or the only one */
    bool full, started;
} canvas;

static void next_row(canvas *c) {
    static const uint8_t first[] = { 0, 4, 2, 1 }, step[] = { 8, 8, 4, 2, 1 };
    c->x = 0;
    c->y += step[c->pass];
    while (c->y >= c->r->rows && !c->full) {
        if (c->pass >= 3)
            c->full = true;
        else
            c->y = first[++c->pass];
    }
}

static void put(canvas *c, const uint8_t *indices, size_t n) {
    const reader *r = c->r;
    for (size_t i = 0; i < n && !c->full; i++) {
        size_t at = (size_t)(r->top + c->y) * c->image->size.width + r->left + c->x;
        memcpy(c->image->rgb + 3 * at, r->palette[indices[i]], 3);
        if (++c->x == r->columns) next_row(c);
    }
    c->started = true;
}

/* ---- LZW ---- */

typedef struct lzw {
    uint32_t buffer;    /* bits not yet used */
    int have;           /* how many */
    size_t block;       /* bytes left of the current block */
    int width;          /* bits of a code */
    int next;           /* the first free code */
    int last;           /* the code before, -1 behind a clear code */
    uint8_t last_first; /* the first colour of what it stood for */
    uint16_t prefix[MAX_CODES];
    uint8_t colour[MAX_CODES];
    uint8_t stack[MAX_CODES + 1];
} lzw;

/* The next code; -1 where the data end. */
static int take_code(lzw *d, reader *r) {
    while (d->have < d->width) {
        if (d->block == 0) {
            const uint8_t *length = take(r, 1);
            if (!length || *length == 0) return -1;
            r->cut |= *length > r->n - r->at;
            if (r->cut && !r->salvage) return -1;
            d->block = *length;
        }
        const uint8_t *byte = take(r, 1);
        if (!byte) return -1;
        d->block--;
        d->buffer |= (uint32_t)*byte << d->have;
        d->have += 8;
    }
    int code = (int)(d->buffer & ((1u << d->width) - 1));
    d->buffer >>= d->width;
    d->have -= d->width;
    return code;
}

/* What a code stands for, from the end of the stack backwards; its first colour becomes last_first.
 */
static uint8_t *expand(lzw *d, int code, int clear) {
    uint8_t *top = d->stack + sizeof d->stack;
    if (code == d->next) {
        *--top = d->last_first;
        code = d->last;
    }
    for (; code >= clear; code = d->prefix[code]) *--top = d->colour[code];
    d->last_first = (uint8_t)code;
    *--top = d->last_first;
    return top;
}

static void add_code(lzw *d) {
    if (d->next >= MAX_CODES) return;
    d->prefix[d->next] = (uint16_t)d->last;
    d->colour[d->next] = d->last_first;
    if (d->next == (1 << d->width) - 1 && d->width < 12) d->width++;
    d->next++;
}

/* Until the frame is full; NULL or what is wrong. */
static const char *read_pixels(canvas *c, lzw *d, reader *r) {
    static const char bad_code[] = "a code that is not in its table",
                      early[] = "its pixels end early";
    int clear = 1 << r->code_bits;
    d->width = r->code_bits + 1, d->next = clear + 2, d->last = -1;
    while (!c->full) {
        int code = take_code(d, r);
        if (code < 0) return early;
        if (code == clear) {
            d->width = r->code_bits + 1, d->next = clear + 2, d->last = -1;
            continue;
        }
        if (code == clear + 1) return early;
        if (code > (d->last < 0 ? clear - 1 : d->next) || code >= MAX_CODES) return bad_code;
        uint8_t *colours = expand(d, code, clear);
        if (d->last >= 0) add_code(d);
        d->last = code;
        put(c, colours, (size_t)(d->stack + sizeof d->stack - colours));
    }
    return NULL;
}

static vlm_status gif_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    *out = NULL;
    reader r = { .p = file->p, .n = file->n, .salvage = file->salvage };
    const char *wrong = read_header(&r);
    if (wrong) return vmedia_broken(out, file, "GIF", wrong, err);
    VTRY(vmedia_begin(out, file, r.size, 0, err));
    lzw *decoder = vcore_alloc(sizeof *decoder);
    if (!decoder) {
        vlm_image_free(*out);
        *out = NULL;
        return vcore_no_memory(err, file->name);
    }
    size_t pixels = (size_t)r.size.width * r.size.height;
    const uint8_t *behind = r.palette[r.transparent < 0 ? 0 : r.transparent];
    for (size_t i = 0; i < pixels; i++) memcpy((*out)->rgb + 3 * i, behind, 3);
    canvas c = { .r = &r, .image = *out, .pass = r.interlaced ? 0 : 4 };
    wrong = read_pixels(&c, decoder, &r);
    vcore_free(decoder);
    if (!wrong && !r.cut) return VLM_OK;
    if (!wrong) wrong = cut;
    if (!c.started) {
        vlm_image_free(*out);
        *out = NULL;
    }
    return vmedia_broken(out, file, "GIF", wrong, err);
}

static bool is_gif(const uint8_t *p, size_t n) {
    return n >= 6 && (memcmp(p, "GIF87a", 6) == 0 || memcmp(p, "GIF89a", 6) == 0);
}

const vmedia_decoder vmedia_gif = { "GIF", is_gif, gif_decode };
