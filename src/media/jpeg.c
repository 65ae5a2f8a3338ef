/* SPDX-License-Identifier: MIT */
/* JPEG through libjpeg-turbo, with the settings Pillow leaves in place: accurate integer DCT, fancy
 * upsampling, block smoothing. Owns error recovery around the library (longjmp) and the conversion
 * of CMYK, which Pillow takes to be stored inverted, as Adobe does. */
#include "media/media.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

/* A progressive file can carry any number of scans, each a pass over the whole picture. */
#define MAX_SCANS 500

/* Everything that must survive a longjmp. The library hands back pointers to its first members. */
typedef struct reader {
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct jpeg;
    JSAMPARRAY ink; /* a row of CMYK */
    char reason[JMSG_LENGTH_MAX];
    vlm_status status;
    uint64_t limit; /* that was crossed; 0: none */
    vlm_image *image;
} reader;

static void fail(reader *r, vlm_status status, const char *reason) {
    r->status = status;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
    longjmp(r->failed, 1);
}

static void on_error(j_common_ptr jpeg) {
    char reason[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, reason);
    bool memory = jpeg->err->msg_code == JERR_OUT_OF_MEMORY;
    fail((reader *)jpeg->client_data, memory ? VLM_ERR_MEMORY : VLM_ERR_IMAGE_PROCESSING, reason);
}

/* Warnings about corrupt data are not errors for Pillow; the library patches over them the same
 * way. */
static void on_message(j_common_ptr jpeg, int level) {
    (void)jpeg;
    (void)level;
}

static void on_progress(j_common_ptr jpeg) {
    if (((j_decompress_ptr)jpeg)->input_scan_number > MAX_SCANS)
        fail((reader *)jpeg->client_data, VLM_ERR_LIMIT, "more than 500 scans");
}

static void no_action(j_decompress_ptr jpeg) {
    (void)jpeg;
}

/* All bytes are in the buffer from the start: the library, asking for more, is told to suspend, and
 * the call that suspended reports the truncation. */
static boolean no_more_input(j_decompress_ptr jpeg) {
    (void)jpeg;
    return FALSE;
}

static void skip_input(j_decompress_ptr jpeg, long bytes) {
    if (bytes <= 0) return;
    size_t skip = (size_t)bytes;
    if (skip > jpeg->src->bytes_in_buffer) skip = jpeg->src->bytes_in_buffer;
    jpeg->src->next_input_byte += skip;
    jpeg->src->bytes_in_buffer -= skip;
}

static void set_up(reader *r, const uint8_t *p, size_t n) {
    r->jpeg.err = jpeg_std_error(&r->errors);
    r->jpeg.client_data = r;
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    jpeg_create_decompress(&r->jpeg);
    r->progress.progress_monitor = on_progress;
    r->jpeg.progress = &r->progress;
    r->source.init_source = no_action;
    r->source.fill_input_buffer = no_more_input;
    r->source.skip_input_data = skip_input;
    r->source.resync_to_restart = jpeg_resync_to_restart;
    r->source.term_source = no_action;
    r->source.next_input_byte = p;
    r->source.bytes_in_buffer = n;
    r->jpeg.src = &r->source;
    jpeg_save_markers(&r->jpeg, JPEG_APP0 + 1, 0xFFFF);
}

static void truncated(reader *r) {
    fail(r, VLM_ERR_IMAGE_PROCESSING, "the file is truncated");
}

/* One row of inverted CMYK to RGB, with Pillow's rounding of x * y / 255. */
static void cmyk_row(uint8_t *rgb, const uint8_t *cmyk, uint32_t width) {
    for (uint32_t x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        int white = cmyk[3];
        for (int c = 0; c < 3; c++) {
            int product = (255 - cmyk[c]) * white + 128;
            int value = white - (((product >> 8) + product) >> 8);
            rgb[c] = (uint8_t)(value < 0 ? 0 : value);
        }
    }
}

/* Orientation from the first Exif segment, else from the last XMP packet. */
static int orientation(const reader *r) {
    static const char exif[] = "Exif\0", xmp[] = "http://ns.adobe.com/xap/1.0/";
    int found = 0;
    for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m && !found; m = m->next)
        if (m->data_length > sizeof exif && memcmp(m->data, exif, sizeof exif) == 0)
            found = vmedia_exif_orientation(m->data, m->data_length);
    if (found) return found;
    for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m; m = m->next)
        if (m->data_length > sizeof xmp && memcmp(m->data, xmp, sizeof xmp) == 0)
            found = vmedia_xmp_orientation(m->data + sizeof xmp, m->data_length - sizeof xmp);
    return found;
}

static void read_row(reader *r, uint8_t *rgb) {
    bool cmyk = r->jpeg.out_color_space == JCS_CMYK;
    if (jpeg_read_scanlines(&r->jpeg, cmyk ? r->ink : &rgb, 1) != 1) truncated(r);
    if (cmyk) cmyk_row(rgb, r->ink[0], r->jpeg.output_width);
}

/* Straight into the picture; a picture to be turned takes its rows from a strip. */
static void read_rows(reader *r, int turn) {
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    j_common_ptr common = (j_common_ptr)jpeg;
    vlm_size stored = { jpeg->output_width, jpeg->output_height };
    if (jpeg->out_color_space == JCS_CMYK)
        r->ink = jpeg->mem->alloc_sarray(common, JPOOL_IMAGE, stored.width * 4, 1);
    size_t stride = (size_t)stored.width * 3;
    if (turn < 2 || turn > 8) {
        for (size_t y = 0; y < stored.height; y++) read_row(r, r->image->rgb + y * stride);
        return;
    }
    uint8_t *strip = jpeg->mem->alloc_large(common, JPOOL_IMAGE, stride * VMEDIA_STRIP);
    for (uint32_t y = 0; y < stored.height; y += VMEDIA_STRIP) {
        uint32_t rows = stored.height - y < VMEDIA_STRIP ? stored.height - y : VMEDIA_STRIP;
        for (uint32_t k = 0; k < rows; k++) read_row(r, strip + k * stride);
        vmedia_place_rows(r->image, turn, stored, strip, y, rows);
    }
}

/* Everything between creation and destruction of the library's state; leaves by longjmp on errors.
 */
static void read_picture(reader *r, const uint8_t *p, size_t n, const vlm_limits *limits) {
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    set_up(r, p, n);
    int header;
    do header = jpeg_read_header(jpeg, FALSE);
    while (header == JPEG_HEADER_TABLES_ONLY);
    if (header == JPEG_SUSPENDED) truncated(r);
    if (jpeg->num_components != 1 && jpeg->num_components != 3 && jpeg->num_components != 4)
        fail(r, VLM_ERR_IMAGE_PROCESSING, "neither grey, RGB nor CMYK");
    jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
    int turn = orientation(r);
    vlm_size stored = { jpeg->image_width, jpeg->image_height };
    vlm_error why = VLM_ERROR_INIT;
    vlm_status status =
        vmedia_image_new(&r->image, vmedia_oriented_size(stored, turn), limits, &why);
    r->limit = why.limit;
    if (status != VLM_OK) fail(r, status, why.message);
    if (!jpeg_start_decompress(jpeg)) truncated(r);
    read_rows(r, turn);
    /* What follows the pixels must be markers; that it ends with one Pillow does not ask. */
    jpeg_finish_decompress(jpeg);
}

static vlm_status jpeg_decode(vlm_image **out, const uint8_t *p, size_t n, const char *name,
                              const vlm_limits *limits, vlm_error *err) {
    *out = NULL;
    reader *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, name);
    if (setjmp(r->failed) == 0) read_picture(r, p, n, limits);
    vlm_status status = r->status;
    jpeg_destroy_decompress(&r->jpeg);
    if (status == VLM_OK) {
        *out = r->image;
    } else {
        bool broken = status == VLM_ERR_IMAGE_PROCESSING;
        vcore_fail_field(err, status, name, NULL, "%s%s", broken ? "broken JPEG: " : "", r->reason);
        if (err) err->limit = r->limit;
        vlm_image_free(r->image);
    }
    vcore_free(r);
    return status;
}

static bool is_jpeg(const uint8_t *p, size_t n) {
    return n >= 3 && p[0] == 0xFF && p[1] == 0xD8 && p[2] == 0xFF;
}

const vmedia_decoder vmedia_jpeg = { "JPEG", is_jpeg, jpeg_decode };
