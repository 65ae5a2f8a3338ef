/* SPDX-License-Identifier: MIT */
/* JPEG through libjpeg-turbo, with the settings Pillow leaves in place: accurate integer DCT, fancy
 * upsampling, block smoothing. Owns error recovery around the library (longjmp) and the conversion
 * of CMYK, which Pillow takes to be stored inverted, as Adobe does. */
#include "media/media.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

/* Everything that must survive a longjmp. The library hands back pointers to its first members. */
typedef struct reader {
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct jpeg;
    const vmedia_file *file;
    JSAMPARRAY ink; /* a row of CMYK */
    int turn;       /* the orientation */
    uint8_t *strip; /* rows of a picture to be turned, not yet placed */
    uint32_t strip_rows, rows;
    char reason[JMSG_LENGTH_MAX]; /* empty: the error is told already */
    bool damaged;
    vlm_status status;
    vlm_error *err;
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

/* The first damage is what the caller is told. */
static void note_damage(reader *r, const char *reason) {
    if (!r->file->salvage) fail(r, VLM_ERR_IMAGE_PROCESSING, reason);
    if (!r->damaged) snprintf(r->reason, sizeof r->reason, "%s", reason);
    r->damaged = true;
}

/* The library patches over corrupt data with a warning. Some warnings do not mean that anything is
 * lost; those that do are errors here, though not for Pillow. */
static void on_message(j_common_ptr jpeg, int level) {
    if (level >= 0) return;
    switch (jpeg->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC: {
        char reason[JMSG_LENGTH_MAX];
        jpeg->err->format_message(jpeg, reason);
        note_damage((reader *)jpeg->client_data, reason);
    }
    }
}

static void on_progress(j_common_ptr jpeg) {
    reader *r = (reader *)jpeg->client_data;
    uint64_t most = r->file->limits->image_scans;
    if ((uint64_t)((j_decompress_ptr)jpeg)->input_scan_number <= most) return;
    const char *name = r->file->name;
    r->status = vcore_fail_at(r->err, VLM_ERR_LIMIT, (vcore_where) { .file = name, .limit = most },
                              "%s: more than %llu scans", name, (unsigned long long)most);
    longjmp(r->failed, 1);
}

static void no_action(j_decompress_ptr jpeg) {
    (void)jpeg;
}

/* All bytes are in the buffer from the start: they are over. Where that matters not, the library
 * gets the end that is missing, and fills the rest of the picture. */
static boolean no_more_input(j_decompress_ptr jpeg) {
    static const JOCTET end[2] = { 0xFF, JPEG_EOI };
    reader *r = (reader *)jpeg->client_data;
    if (!r->file->salvage) return FALSE;
    note_damage(r, "the file is truncated");
    jpeg->src->next_input_byte = end;
    jpeg->src->bytes_in_buffer = sizeof end;
    return TRUE;
}

static void skip_input(j_decompress_ptr jpeg, long bytes) {
    if (bytes <= 0) return;
    size_t skip = (size_t)bytes;
    if (skip > jpeg->src->bytes_in_buffer) skip = jpeg->src->bytes_in_buffer;
    jpeg->src->next_input_byte += skip;
    jpeg->src->bytes_in_buffer -= skip;
}

static void set_up(reader *r) {
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
    r->source.next_input_byte = r->file->p;
    r->source.bytes_in_buffer = r->file->n;
    r->jpeg.src = &r->source;
    jpeg_save_markers(&r->jpeg, JPEG_APP0 + 1, 0xFFFF);
}

static void truncated(reader *r) {
    fail(r, VLM_ERR_IMAGE_PROCESSING, "the file is truncated");
}

/* One row of inverted CMYK to RGB. */
static void cmyk_row(uint8_t *rgb, const uint8_t *cmyk, uint32_t width) {
    for (uint32_t x = 0; x < width; x++, cmyk += 4, rgb += 3)
        for (int c = 0; c < 3; c++) rgb[c] = vmedia_ink(255 - cmyk[c], cmyk[3]);
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
    r->rows++;
}

static void place_strip(reader *r) {
    vmedia_place_rows(r->image, r->turn,
                      (vlm_size) { r->jpeg.output_width, r->jpeg.output_height }, r->strip,
                      r->rows - r->strip_rows, r->strip_rows);
    r->strip_rows = 0;
}

/* Straight into the picture; a picture to be turned takes its rows from a strip. */
static void read_rows(reader *r) {
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    j_common_ptr common = (j_common_ptr)jpeg;
    if (jpeg->out_color_space == JCS_CMYK)
        r->ink = jpeg->mem->alloc_sarray(common, JPOOL_IMAGE, jpeg->output_width * 4, 1);
    size_t stride = (size_t)jpeg->output_width * 3;
    if (r->turn < 2 || r->turn > 8) {
        while (r->rows < jpeg->output_height) read_row(r, r->image->rgb + r->rows * stride);
        return;
    }
    r->strip = jpeg->mem->alloc_large(common, JPOOL_IMAGE, stride * VMEDIA_STRIP);
    while (r->rows < jpeg->output_height) {
        read_row(r, r->strip + r->strip_rows * stride);
        if (++r->strip_rows == VMEDIA_STRIP) place_strip(r);
    }
    place_strip(r);
}

/* A picture in several scans is kept as coefficients of 16 bits until the last one is read. */
static uint64_t coefficient_bytes(j_decompress_ptr jpeg) {
    uint64_t blocks = 0;
    for (int i = 0; jpeg_has_multiple_scans(jpeg) && i < jpeg->num_components; i++) {
        const jpeg_component_info *c = &jpeg->comp_info[i];
        uint64_t across = c->width_in_blocks + (uint64_t)c->h_samp_factor - 1;
        uint64_t down = c->height_in_blocks + (uint64_t)c->v_samp_factor - 1;
        blocks += across * down;
    }
    return blocks * sizeof(JBLOCK);
}

/* Everything between creation and destruction of the library's state; leaves by longjmp on errors.
 */
static void read_picture(reader *r) {
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    set_up(r);
    int header;
    do header = jpeg_read_header(jpeg, FALSE);
    while (header == JPEG_HEADER_TABLES_ONLY && !r->damaged);
    if (header != JPEG_HEADER_OK) truncated(r);
    if (jpeg->num_components != 1 && jpeg->num_components != 3 && jpeg->num_components != 4)
        fail(r, VLM_ERR_IMAGE_PROCESSING, "neither grey, RGB nor CMYK");
    jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
    r->turn = orientation(r);
    vlm_size size =
        vmedia_oriented_size((vlm_size) { jpeg->image_width, jpeg->image_height }, r->turn);
    r->status = vmedia_begin(&r->image, r->file, size, coefficient_bytes(jpeg), r->err);
    if (r->status != VLM_OK) longjmp(r->failed, 1);
    if (!jpeg_start_decompress(jpeg)) truncated(r);
    read_rows(r);
    /* What follows the pixels must be markers; that it ends with one Pillow does not ask. */
    bool whole = !r->damaged;
    jpeg_finish_decompress(jpeg);
    if (whole) r->damaged = false;
}

static vlm_status jpeg_decode(vlm_image **out, const vmedia_file *file, vlm_error *err) {
    reader *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, file->name);
    r->file = file;
    r->err = err;
    if (setjmp(r->failed) == 0) read_picture(r);
    if (r->strip_rows) place_strip(r);
    vlm_status status = r->status;
    jpeg_destroy_decompress(&r->jpeg);
    *out = r->image;
    if ((status == VLM_ERR_IMAGE_PROCESSING && r->reason[0]) || r->damaged) {
        if (r->rows == 0) {
            vlm_image_free(*out);
            *out = NULL;
        }
        status = vmedia_broken(out, file, "JPEG", r->reason, err);
    } else if (status != VLM_OK) {
        if (r->reason[0]) vcore_fail_field(err, status, file->name, NULL, "%s", r->reason);
        vlm_image_free(*out);
        *out = NULL;
    }
    vcore_free(r);
    return status;
}

static bool is_jpeg(const uint8_t *p, size_t n) {
    return n >= 3 && p[0] == 0xFF && p[1] == 0xD8 && p[2] == 0xFF;
}

const vmedia_decoder vmedia_jpeg = { "JPEG", is_jpeg, jpeg_decode };
